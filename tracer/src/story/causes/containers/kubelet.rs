//! Why the kubelet had a container of a pod ended, as it logged: a probe that failed, a deletion, an eviction.

use crate::evidence::{CgroupOwner, Container, JournalLine, Moment, S, Task};
use crate::story::case::Case;
use crate::story::klog::Line;
use crate::story::verdict::{Fix, Link, LinkEvent};
use crate::story::world::Seen;
use crate::story::{fixes, journal, words};

/// How long before it has a container stopped the kubelet says why: a preStop hook may run first.
const SAID_BEFORE: u64 = 600 * S;

/// How long before the failures of a probe are said that had it restarted, where nothing says that they had.
const FAILED_BEFORE: u64 = 60 * S;

/// As what the kubelet runs: k3s and MicroK8s have it in a process with more.
const KUBELETS: [&str; 5] = ["kubelet", "k3s", "k3s-server", "k3s-agent", "kubelite"];

/// Why, as far as it is logged. `kuberuntime_manager.go`, `eviction_manager.go`, `preemption.go`, `nodeshutdown_manager_linux.go`
/// and `kubelet.go` below pkg/kubelet say so.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    /// A probe, as a pod's specification calls it; whether the kubelet said that it acts on that, and restarts it.
    Probe { kind: &'static str, is_said: bool, is_restarted: bool },
    /// The specification of the container was changed.
    Changed,
    /// The pod was deleted at the API server.
    Deleted,
    /// The node ran out of something: of what, where that is known.
    Evicted(Option<String>),
    /// Room was made for a pod that goes before all.
    Preempted,
    /// The node is going down.
    NodeShutdown,
}

/// What the kubelet logged of the end of a container.
pub struct Kubelet<'a> {
    /// Why, and where it says so.
    reason: Option<(Reason, &'a Seen<JournalLine>)>,
    /// The namespace and name of the pod, by its words.
    pod: Option<String>,
    /// That it has this very container killed, and how many seconds it gives it.
    killing: Option<(&'a Seen<JournalLine>, Option<u64>)>,
}

impl<'a> Kubelet<'a> {
    /// About a container of a pod, whose process `target` got its first signal at that time.
    pub fn on(
        case: &Case<'a>,
        container: &Container,
        target: &Task,
        stopped: Moment,
    ) -> Option<Self> {
        let pod = Pod::of(case, container, target)?;
        let since = stopped.boot_ns.saturating_sub(SAID_BEFORE).max(target.id.start_ns);
        // journald hears of it a moment later.
        let during = since..=stopped.boot_ns + S;
        let said: Vec<(Line<'a>, &'a Seen<JournalLine>)> = lines(case)
            .filter(|said| during.contains(&said.ns()))
            .filter_map(|said| Some((Line::of(&said.value.message)?, said)))
            .collect();
        let newest = || said.iter().rev();
        let killing = newest().find(|(line, _)| {
            line.message == "Killing container with a grace period" && pod.has_container(line)
        });
        let killing = killing
            .map(|(line, said)| (*said, line.get("gracePeriod").and_then(|it| it.parse().ok())));
        let acted_ns = killing.map_or(u64::MAX, |(said, _)| said.ns());
        let reason = |is_sure: bool| {
            let before = newest().filter(|(_, seen)| seen.ns() <= acted_ns);
            before.into_iter().find_map(|(line, seen)| {
                let reason = reason_of(line, &pod, &said)?;
                let is_recent = seen.ns() + FAILED_BEFORE >= stopped.boot_ns;
                let is_said = !matches!(reason, Reason::Probe { is_said: false, .. });
                (is_said == is_sure && (is_said || is_recent)).then_some((reason, *seen))
            })
        };
        // What it says that it does counts before what may have led to that.
        let reason = reason(true).or_else(|| reason(false));
        (reason.is_some() || killing.is_some()).then_some(Self { reason, pod: pod.name, killing })
    }

    /// Whether it is known that the kubelet had it done.
    pub const fn is_its_doing(&self) -> bool {
        self.killing.is_some()
    }

    /// Whether it is known why.
    pub const fn has_reason(&self) -> bool {
        self.reason.is_some()
    }

    /// ` Kubernetes restarts it, since it had failed its liveness probe.`; empty where nothing says why.
    pub fn sentence(&self) -> String {
        let Some((reason, _)) = &self.reason else { return String::new() };
        let pod = self.pod.as_ref().map(|pod| format!(" {pod}")).unwrap_or_default();
        match reason {
            Reason::Probe { kind, is_restarted, .. } => {
                let does = if *is_restarted { "restarts" } else { "ends" };
                format!(
                    " Kubernetes {does} it, since it had failed its {kind} probe ({kind}Probe of its pod{pod})."
                )
            }
            Reason::Changed => format!(
                " Kubernetes starts it anew, since its specification in its pod{pod} had been changed."
            ),
            Reason::Deleted => format!(
                " Its pod{pod} had been deleted: by whom and why (kubectl delete, a new version, fewer replicas, a drain of the \
                 node) the API server alone knows."
            ),
            Reason::Evicted(of) => {
                let of = of.as_deref().unwrap_or("something");
                format!(
                    " Kubernetes evicted its pod{pod}, since the node was running out of {of} (the thresholds are evictionHard and \
                     evictionSoft of the kubelet's configuration)."
                )
            }
            Reason::Preempted => format!(
                " Kubernetes ended its pod{pod} to make room for a critical one (preemption by priority)."
            ),
            Reason::NodeShutdown => format!(
                " Kubernetes ended its pod{pod}, since the node was going down (shutdownGracePeriod of the kubelet's \
                 configuration)."
            ),
        }
    }

    /// `, since …`: whose the time was after which SIGKILL came, that long after the first signal.
    pub fn patience_told(&self, waited_ns: u64) -> Option<String> {
        const LATE: u64 = 10 * S;
        let (_, seconds) = self.killing?;
        let least_ns = seconds?.saturating_mul(S);
        let is_it = waited_ns >= least_ns && waited_ns <= least_ns.saturating_add(LATE);
        is_it.then(|| {
            format!(
                ", since the kubelet gave it {} s (terminationGracePeriodSeconds of its pod, where nothing had asked for less)",
                least_ns / S
            )
        })
    }

    /// What helps against the reason.
    pub fn remedy(&self, container: &Container) -> Option<Fix> {
        let (reason, _) = self.reason.as_ref()?;
        // By its number alone kubectl finds no pod.
        let (namespace, pod) = self.pod.as_deref()?.split_once('/')?;
        let named = Container {
            pod: Some(pod.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..container.clone()
        };
        match reason {
            Reason::Probe { kind, .. } => Some(fixes::patient_probe(&named, kind)),
            Reason::Evicted(of) => Some(fixes::eviction_of_pod(&named, of.as_deref())),
            Reason::Deleted => Some(fixes::who_deleted_pod(&named)),
            Reason::Changed | Reason::Preempted | Reason::NodeShutdown => None,
        }
    }

    /// What the kubelet logged of it.
    pub fn links(&self, case: &Case<'_>, effect: Moment) -> Vec<Link> {
        let reason = self.reason.as_ref().map(|(_, said)| *said);
        let killing = self.killing.map(|(said, _)| said);
        let said = reason.into_iter().chain(killing);
        let link = |said: &Seen<JournalLine>| {
            let text = format!("kubelet logged {}", words::quotation(&said.value.message));
            case.link(said.at, LinkEvent::Timeout, said.source, None, text).before(effect)
        };
        said.map(link).collect()
    }
}

/// What the kubelet logged.
fn lines<'a>(case: &Case<'a>) -> impl DoubleEndedIterator<Item = &'a Seen<JournalLine>> {
    let is_its = |said: &&Seen<JournalLine>| {
        KUBELETS.iter().any(|kubelet| journal::from_daemon(&said.value, kubelet))
    };
    case.world.journal.iter().filter(is_its)
}

/// Which lines are about a container and its pod.
struct Pod<'c> {
    container: &'c Container,
    uid: Option<String>,
    /// `namespace/name`
    name: Option<String>,
}

impl<'c> Pod<'c> {
    fn of(case: &Case<'_>, container: &'c Container, target: &Task) -> Option<Self> {
        let told = container.kubernetes_pod()?;
        let placed = CgroupOwner::of(target.cgroup.as_deref().unwrap_or_default());
        let placed = placed.innermost_container().and_then(|it| it.pod.clone());
        let named = container.namespace.as_ref().map(|namespace| format!("{namespace}/{told}"));
        let uid = placed.or_else(|| named.is_none().then(|| told.to_owned()));
        let unnamed = Self { container, uid, name: None };
        let logged = || {
            lines(case).rev().find_map(|said| {
                let line = Line::of(&said.value.message)?;
                let is_its = unnamed.has_container(&line) || unnamed.has_uid(&line);
                line.get("pod").filter(|_| is_its).map(str::to_owned)
            })
        };
        let name = named.or_else(logged);
        Some(Self { name, ..unnamed })
    }

    fn has_container(&self, line: &Line<'_>) -> bool {
        let ids = ["containerID", "containerStatusID"].into_iter().filter_map(|it| line.get(it));
        let mut ids = ids.filter(|_| !self.container.id.is_empty());
        ids.any(|id| id.contains(self.container.id.as_str()))
    }

    fn has_uid(&self, line: &Line<'_>) -> bool {
        line.get("podUID").is_some_and(|uid| self.uid.as_deref() == Some(uid))
    }

    /// Whether a line is about the container, or about its pod as a whole.
    fn is_meant(&self, line: &Line<'_>) -> bool {
        if line.get("containerID").or_else(|| line.get("containerStatusID")).is_some() {
            return self.has_container(line);
        }
        let of_other = line.get("containerName").zip(self.container.name.as_deref());
        if of_other.is_some_and(|(named, name)| !is_name_of(named, name)) {
            return false;
        }
        if line.get("podUID").is_some() && self.uid.is_some() {
            return self.has_uid(line);
        }
        self.is_named(line.get("pod"))
    }

    fn is_named(&self, pod: Option<&str>) -> bool {
        pod.is_some() && pod == self.name.as_deref()
    }
}

/// Whether a container that its runtime calls so is the one of its pod of that name: with Docker and CRI-O it is
/// `k8s_NAME_POD_…`, and no name has an underscore.
fn is_name_of(named: &str, name: &str) -> bool {
    let of_pod = name.strip_prefix("k8s_").and_then(|name| name.split('_').next());
    name == named || of_pod == Some(named)
}

/// Why, where a line says so of this pod.
fn reason_of(
    line: &Line<'_>,
    pod: &Pod<'_>,
    said: &[(Line<'_>, &Seen<JournalLine>)],
) -> Option<Reason> {
    let is_meant = || pod.is_meant(line);
    match &*line.message {
        "Message for Container of pod" if is_meant() => {
            let message = line.get("containerMessage")?;
            let is_restarted = message.ends_with("will be restarted");
            let probe = |kind| Reason::Probe { kind, is_said: true, is_restarted };
            let has = |words: &str| message.contains(words);
            (has("failed liveness probe").then(|| probe("liveness")))
                .or_else(|| has("failed startup probe").then(|| probe("startup")))
                .or_else(|| has("definition changed").then_some(Reason::Changed))
        }
        "Probe failed" if is_meant() => {
            let kind = match line.get("probeType")? {
                "Liveness" => "liveness",
                "Startup" => "startup",
                _ => return None,
            };
            Some(Reason::Probe { kind, is_said: false, is_restarted: true })
        }
        "SyncLoop DELETE" => {
            let is_its = line.list("pods").any(|named| pod.is_named(Some(named)));
            is_its.then_some(Reason::Deleted)
        }
        "Evicting pod" | "Eviction manager: pod is evicted successfully" if is_meant() => {
            Some(Reason::Evicted(reclaimed(said)))
        }
        // It evicts the first that it may.
        "Eviction manager: pods ranked for eviction" => {
            let is_first = pod.is_named(line.list("pods").next());
            is_first.then(|| Reason::Evicted(reclaimed(said)))
        }
        "Preempting pod to free up resources" if is_meant() => Some(Reason::Preempted),
        "Shutdown manager killing pod with gracePeriod" if is_meant() => Some(Reason::NodeShutdown),
        _ => None,
    }
}

/// What the kubelet last said that it must have more of.
fn reclaimed(said: &[(Line<'_>, &Seen<JournalLine>)]) -> Option<String> {
    let resource = said.iter().rev().find_map(|(line, _)| {
        let is_it = line.message == "Eviction manager: must evict pod(s) to reclaim";
        line.get("resourceName").filter(|_| is_it)
    })?;
    // A name such as `memory`, `ephemeral-storage` or `pids`.
    let is_name = resource.bytes().all(|it| it.is_ascii_alphanumeric() || b"-./".contains(&it));
    (is_name && resource.len() <= 64).then(|| resource.to_owned())
}
