//! Deaths of what runs in containers.

use super::scene::{Scene, signal, task, task_in};
use crate::evidence::{Fact, JournalLine, Source, TargetReason, Task, sig};
use crate::story::verdict::{CauseId, Death};

const ID: &str = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2";
const POD: &str = "1c2d3e4f-0000-1111-2222-333344445555";

/// The shim of a container of a pod stops it, when kubelet has logged this.
fn stopped(message: &str, from: &str) -> Death {
    let victim = task_in(42, "web", &format!("/kubepods/burstable/pod{POD}/{ID}"));
    let shim = Task { uid: 0, euid: 0, ..task(70, "containerd-shim") };
    let line = JournalLine {
        from_unit: Some(from.to_owned()),
        pid: Some(60),
        uid: Some(0),
        message: message.to_owned(),
        ..JournalLine::default()
    };
    Scene::default()
        .target(&victim, TargetReason::Pid)
        .add(4000, Source::Journal, Fact::Journal(line))
        .signal(5000, signal(sig::SIGTERM, shim, victim.clone()))
        .exit(5002, victim, 15, true)
        .death()
}

#[test]
fn a_failed_probe_is_why_kubernetes_restarts_a_container() {
    const KUBELET: &str = "kubelet.service";
    let killing = |pod: &str| {
        format!(
            "\"Message for Container of pod\" containerName=\"web\" pod=\"shop/web-0\" podUID=\"{pod}\" \
             containerMessage=\"Container web failed liveness probe, will be restarted\""
        )
    };
    let death = stopped(&killing(POD), KUBELET);
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    assert!(death.cause.explanation.contains("failed its liveness probe"), "{death:#?}");
    assert!(death.chain.iter().any(|link| link.text.starts_with("kubelet logged")), "{death:#?}");
    assert!(death.fixes[0].commands[0].contains("livenessProbe"), "{death:#?}");
    // Of another pod, of something else, or by somebody else.
    for (message, from) in [
        (killing("another"), KUBELET),
        (format!("\"SyncLoop\" podUID=\"{POD}\""), KUBELET),
        (killing(POD), "web.service"),
    ] {
        let death = stopped(&message, from);
        assert!(!death.cause.explanation.contains("probe"), "{death:#?}");
        assert!(death.fixes[0].commands[0].starts_with("kubectl describe pod"), "{death:#?}");
    }
}
