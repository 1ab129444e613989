//! How docker ended a container, by what that was set to and what was asked for: by which signal, after how long, and what
//! becomes of it then.

use super::asked::Asker;
use super::going::UnitGoing;
use crate::evidence::{Container, Manager, S, Setting, sig, signal_name, signal_number};
use crate::story::case::Case;
use crate::story::clients::containers::ContainerOrder;
use crate::story::fixes::{self, Kept, UnitAt};
use crate::story::verdict::{DecidingSetting, Fix};
use crate::story::world::{SeenSignal, World};

/// How much later than its grace period says SIGKILL can come: the runtime is run for it.
const LATE: u64 = 5 * S;

/// What ended it, and its settings, as far as these are known.
pub struct Manner<'a> {
    order: Option<&'a ContainerOrder>,
    /// From the first signal to SIGKILL, nanoseconds; 0 where there was one signal.
    waited_ns: u64,
    /// The grace period.
    timeout: Option<DecidingSetting>,
    /// The signal that it is stopped by, where it was that one, and another than SIGTERM.
    signal: Option<DecidingSetting>,
    /// It is removed when it ends.
    removed: Option<DecidingSetting>,
    /// It is started again with the daemon, whoever had it ended.
    restarted: Option<DecidingSetting>,
    /// It ended with the daemon, and not on request.
    with_daemon: bool,
    /// The unit that it ended with, where that is no daemon's but its own: a quadlet, or one that runs docker's client.
    unit: Option<&'a str>,
    /// The daemon, or the unit, was to be started again then.
    is_back: bool,
}

impl<'a> Manner<'a> {
    /// By these signals, of which the first may be the last.
    pub fn of(
        case: &Case<'_>,
        container: Option<&Container>,
        asker: &'a Asker<'_>,
        last: &SeenSignal,
        first: &SeenSignal,
    ) -> Self {
        let order = asker.order();
        // Whatever else ends it, docker starts it again at once.
        let is_asked =
            matches!(asker, Asker::Clients(..) | Asker::Connected(..) | Asker::Unseen { .. });
        let with_daemon = asker.is_daemons_own();
        let scope = container.map(|container| Setting::of_container(&container.id));
        let setting = |name: &str| case.setting(&[scope.as_deref()?], name);
        let waited_ns = last.ns().saturating_sub(first.ns());
        let number = first.value.number;
        // What was asked for with a time of its own, or by something unseen, waited for that.
        let is_its = |timeout: &DecidingSetting| {
            let own = order.is_none_or(|order| order.patience.is_none());
            let seconds = timeout.value.parse::<u64>().ok();
            own && seconds.is_some_and(|it| is_after(waited_ns, it))
        };
        let is_by_signal = |signal: &DecidingSetting| {
            number != sig::SIGTERM && signal_number(&signal.value) == Some(number)
        };
        let is_kill = order.is_some_and(|order| order.verb.as_deref() == Some("kill"));
        Self {
            order,
            waited_ns,
            timeout: setting("StopTimeout").filter(is_its),
            signal: setting("StopSignal").filter(|it| is_by_signal(it) && !is_kill),
            removed: setting("AutoRemove").filter(|it| it.value == "true"),
            restarted: setting("RestartPolicy").filter(|it| match it.value.as_str() {
                "always" => is_asked || with_daemon,
                "unless-stopped" => with_daemon,
                "on-failure" => with_daemon && case.exit.value.status != 0,
                _ => false,
            }),
            with_daemon,
            unit: asker.going().filter(|going| !going.is_daemons()).map(UnitGoing::unit),
            is_back: asker.going().is_some_and(|going| going.is_restarted(case)),
        }
    }

    /// `, since …`: whose the time was after which SIGKILL came; empty where that is not known.
    pub fn patience_told(&self) -> String {
        let asked = self.order.and_then(|order| order.patience);
        if let Some(seconds) = asked.filter(|seconds| is_after(self.waited_ns, *seconds)) {
            return format!(", since that command gave it {seconds} s");
        }
        match &self.timeout {
            Some(timeout) if timeout.file.is_some() => {
                format!(", since its StopTimeout is {} s", timeout.value)
            }
            Some(timeout) => format!(", since docker's default is {} s", timeout.value),
            None => String::new(),
        }
    }

    /// That it is set to be stopped by another signal than SIGTERM.
    pub fn signal_told(&self) -> String {
        let Some(signal) = &self.signal else { return String::new() };
        let name = signal_number(&signal.value).map_or_else(|| signal.value.clone(), signal_name);
        format!(" {name} is its stop signal (STOPSIGNAL of its image, or --stop-signal).")
    }

    /// What becomes of it.
    pub fn after_told(&self) -> String {
        if let Some(policy) = self.restarted.as_ref().filter(|_| self.with_daemon) {
            return format!(
                " It is started again with docker's daemon (--restart {}).",
                policy.value
            );
        }
        if self.unit.is_some() {
            // Whatever the unit's commands do with it, the unit makes it anew.
            return String::new();
        }
        let told = match self.verb() {
            Some("restart") => "It is started again then.",
            Some("rm" | "remove" | "down") => "It is removed then.",
            _ if self.removed.is_some() => "It is removed when it ends (--rm).",
            // One that ends otherwise docker starts at once.
            _ if self.restarted.is_some() => {
                "Having been ended on request, it stays so until docker's daemon is started anew (--restart always)."
            }
            _ => return String::new(),
        };
        format!(" {told}")
    }

    /// The settings that decided.
    pub fn settings(&self) -> [Option<DecidingSetting>; 4] {
        [&self.timeout, &self.signal, &self.removed, &self.restarted].map(Clone::clone)
    }

    /// To have it again.
    pub fn remedy(&self, world: &World, container: &Container) -> Option<Fix> {
        if container.kubernetes_pod().is_some()
            || !matches!(container.runtime.as_str(), "docker" | "podman")
        {
            return fixes::container_again(container);
        }
        if self.with_daemon {
            return match (self.is_back, self.restarted.is_some()) {
                (true, true) => None,
                (true, false) => fixes::container_again(container),
                // What is started again by itself needs the daemon alone.
                (false, by_itself) => {
                    let owner = container.named_by.filter(|uid| *uid != 0);
                    let user = owner.map(|uid| fixes::Whose::of(world, uid));
                    fixes::container_with_daemon(container, by_itself, user.as_ref())
                }
            };
        }
        if let Some(unit) = self.unit {
            let at = || UnitAt::of(world, Manager::System, unit);
            return (!self.is_back).then(|| fixes::start_again(&at(), Kept::Free));
        }
        match self.verb() {
            Some("restart" | "up") => None,
            Some("rm" | "remove" | "down") => Some(fixes::container_anew(container)),
            _ if self.removed.is_some() => Some(fixes::container_anew(container)),
            _ => fixes::container_again(container),
        }
    }

    fn verb(&self) -> Option<&str> {
        self.order.and_then(|order| order.verb.as_deref())
    }
}

/// Whether so much time is what a grace period of that many seconds takes.
const fn is_after(waited_ns: u64, seconds: u64) -> bool {
    let least_ns = seconds.saturating_mul(S);
    waited_ns > 0 && waited_ns >= least_ns && waited_ns <= least_ns.saturating_add(LATE)
}
