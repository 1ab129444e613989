//! Probes of Kubernetes that a container failed.

use crate::evidence::{Container, JournalLine, Moment, S};
use crate::story::case::Case;
use crate::story::verdict::{Fix, Link, LinkEvent};
use crate::story::world::Seen;
use crate::story::{fixes, journal, words};

/// A probe that a container failed, as kubelet logged right before it had the container stopped.
pub struct Probe<'a> {
    /// As a pod's specification calls it.
    kind: &'static str,
    said: &'a Seen<JournalLine>,
}

impl<'a> Probe<'a> {
    /// The newest in the minute before the container was `stopped`.
    pub fn failed(case: &Case<'a>, container: &Container, stopped: Moment) -> Option<Self> {
        const RECENT: u64 = 60 * S;
        // `computePodActions` in pkg/kubelet/kuberuntime/kuberuntime_manager.go, `probe` in pkg/kubelet/prober/prober.go.
        const WORDS: [(&str, &str); 4] = [
            ("liveness", "failed liveness probe"),
            ("liveness", "probeType=\"Liveness\""),
            ("startup", "failed startup probe"),
            ("startup", "probeType=\"Startup\""),
        ];
        let pod = container.kubernetes_pod()?;
        let is_its = |message: &str| {
            let of_pod = [format!("/{pod}\""), format!("podUID=\"{pod}\"")];
            // Another container of the same pod.
            let named =
                message.split_once("containerName=\"").and_then(|(_, it)| it.split('"').next());
            let of_other = named.zip(container.name.as_deref());
            message.contains(&container.id)
                || of_pod.iter().any(|pod| message.contains(pod))
                    && of_other.is_none_or(|(named, name)| name.contains(named))
        };
        case.world.journal.iter().rev().find_map(|said| {
            let message = &said.value.message;
            let recent = said.ns() <= stopped.boot_ns + S && said.ns() + RECENT >= stopped.boot_ns;
            let kind = WORDS.iter().find(|(_, words)| message.contains(words))?.0;
            let its = recent && journal::from_daemon(&said.value, "kubelet") && is_its(message);
            its.then_some(Self { kind, said })
        })
    }

    /// ` Kubernetes restarts it, since it had failed its liveness probe.`
    pub fn sentence(&self) -> String {
        format!(" Kubernetes restarts it, since it had failed its {} probe.", self.kind)
    }

    /// To have the probe wait for longer.
    pub fn remedy(&self, container: &Container) -> Fix {
        fixes::patient_probe(container, self.kind)
    }

    /// What kubelet logged of it.
    pub fn link(&self, case: &Case<'_>, effect: Moment) -> Link {
        let text = format!("kubelet logged {}", words::quotation(&self.said.value.message));
        let Seen { at, source, .. } = *self.said;
        case.link(at, LinkEvent::Timeout, source, None, text).before(effect)
    }
}
