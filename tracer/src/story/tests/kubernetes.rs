//! Why the kubelet ended a container.

use super::containers::ID;
use super::scene::{Scene, caught, signal, task, task_in};
use crate::evidence::{
    Container, ContainerFound, Fact, Grade, JournalLine, Source, TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death};

const POD: &str = "1c2d3e4f-0000-1111-2222-333344445555";

/// Container `web` of pod `shop/web-0`, which its shim stops at 5 s: what the kubelet logged, and when.
fn stopped(lines: &[(u64, &str)], from: &str) -> Death {
    pod_with(lines, from, &[])
}

/// The same with a SIGKILL at these times after that.
fn pod_with(lines: &[(u64, &str)], from: &str, killed_ms: &[u64]) -> Death {
    pod_in(Scene::default(), lines, from, killed_ms)
}

fn cgroup() -> String {
    format!("/kubepods/burstable/pod{POD}/{ID}")
}

/// The same where more is known.
fn pod_in(scene: Scene, lines: &[(u64, &str)], from: &str, killed_ms: &[u64]) -> Death {
    let victim = task_in(42, "web", &cgroup());
    let shim = Task { uid: 0, euid: 0, ..task(70, "containerd-shim") };
    let mut scene = scene.target(&victim, TargetReason::Pid);
    for (ms, message) in lines {
        let line = JournalLine {
            from_unit: Some(from.to_owned()),
            pid: Some(60),
            uid: Some(0),
            message: (*message).to_owned(),
            ..JournalLine::default()
        };
        scene = scene.add(*ms, Source::Journal, Fact::Journal(line));
    }
    match killed_ms {
        [] => scene
            .signal(5000, signal(sig::SIGTERM, shim, victim.clone()))
            .exit(5002, victim, 15, true)
            .death(),
        [ms, ..] => scene
            .signal(5000, caught(sig::SIGTERM, shim.clone(), victim.clone()))
            .signal(*ms, signal(sig::SIGKILL, shim, victim.clone()))
            .exit(ms + 2, victim, 9, true)
            .death(),
    }
}

/// `I1130 12:00:00.000000     60 x.go:1] "message" …`
fn klog(rest: &str) -> String {
    format!("I1130 12:00:00.000000     60 kubelet.go:2407] {rest}")
}

const KUBELET: &str = "kubelet.service";

/// That kubelet has the container killed, in its words.
fn killing(seconds: u32) -> String {
    klog(&format!(
        "\"Killing container with a grace period\" pod=\"shop/web-0\" podUID=\"{POD}\" containerName=\"web\" \
         containerID=\"containerd://{ID}\" gracePeriod={seconds}"
    ))
}

fn message(id: &str, said: &str) -> String {
    klog(&format!(
        "\"Message for Container of pod\" containerName=\"web\" containerStatusID={{\"Type\":\"containerd\",\"ID\":\"{id}\"}} \
         pod=\"shop/web-0\" containerMessage=\"Container web {said}\""
    ))
}

#[test]
fn a_failed_probe_is_why_kubernetes_restarts_a_container() {
    let failed = message(ID, "failed liveness probe, will be restarted");
    let death = stopped(&[(4000, &failed)], KUBELET);
    assert_eq!(death.cause.id, CauseId::ContainerStop, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(
        text.contains("containerd had it do for the kubelet. Kubernetes restarts it, since"),
        "{text}"
    );
    assert!(text.contains("failed its liveness probe") && death.gaps.is_empty(), "{death:#?}");
    assert!(death.chain.iter().any(|link| link.text.starts_with("kubelet logged")), "{death:#?}");
    assert!(death.fixes[0].commands[0].contains("livenessProbe"), "{death:#?}");
    // k3s has it in its own service; and a probe that failed can be all that is logged.
    let probe = klog(&format!(
        "\"Probe failed\" probeType=\"Startup\" pod=\"shop/web-0\" podUID=\"{POD}\" containerName=\"web\""
    ));
    let of_k3s = stopped(&[(4000, &probe)], "k3s.service");
    assert!(of_k3s.cause.explanation.contains("failed its startup probe"), "{of_k3s:#?}");
    // Of another container of the pod, of another pod, of something else, or by somebody else.
    let other = message(&"0".repeat(64), "failed liveness probe, will be restarted");
    let forged = klog(&format!("\"x\" output=\"podUID=\\\"{POD}\\\" \\\"Probe failed\\\"\""));
    for (said, from) in [
        (other, KUBELET),
        (probe.replace(POD, "another"), KUBELET),
        (klog(&format!("\"SyncLoop\" podUID=\"{POD}\"")), KUBELET),
        (forged, KUBELET),
        (failed, "web.service"),
    ] {
        let death = stopped(&[(4000, &said)], from);
        let text = &death.cause.explanation;
        assert!(!text.contains("probe (") && text.contains("kubelet's request"), "{said}: {text}");
        assert!(death.fixes[0].commands[0].starts_with("kubectl describe pod"), "{death:#?}");
    }
}

/// kubectl finds no pod by its number.
#[test]
fn a_pod_whose_name_was_not_seen_is_not_looked_for() {
    let probe = |pod: &str| {
        let failed = klog(&format!(
            "\"Probe failed\" probeType=\"Liveness\" {pod}podUID=\"{POD}\" containerName=\"web\""
        ));
        stopped(
            &[(4000, &failed), (4998, &killing(30).replace("pod=\"shop/web-0\" ", ""))],
            KUBELET,
        )
    };
    let is_more_patient = |death: &Death| {
        death.fixes.iter().any(|fix| fix.title.contains("to answer its liveness probe"))
    };
    let named = probe("pod=\"shop/web-0\" ");
    assert!(is_more_patient(&named), "{named:#?}");
    let unnamed = probe("");
    assert!(unnamed.cause.explanation.contains("liveness probe"), "{unnamed:#?}");
    assert!(!is_more_patient(&unnamed), "{unnamed:#?}");
}

#[test]
fn why_kubernetes_ended_a_pod_is_told() {
    let killing = killing(30);
    let deleted = klog("\"SyncLoop DELETE\" source=\"api\" pods=[\"shop/db-0\",\"shop/web-0\"]");
    let ranked =
        klog("\"Eviction manager: pods ranked for eviction\" pods=[\"shop/web-0\",\"shop/db-0\"]");
    let reclaim =
        klog("\"Eviction manager: must evict pod(s) to reclaim\" resourceName=\"memory\"");
    let going =
        klog("\"Shutdown manager killing pod with gracePeriod\" pod=\"shop/web-0\" gracePeriod=10");
    let preempts = klog(&format!(
        "\"Preempting pod to free up resources\" pod=\"shop/web-0\" podUID=\"{POD}\""
    ));
    let changed = message(ID, "definition changed, will be restarted");
    for (lines, words, remedy) in [
        (
            &[&deleted][..],
            "Its pod shop/web-0 had been deleted: by whom",
            "kubectl get events -n shop --field",
        ),
        (
            &[&reclaim, &ranked],
            "evicted its pod shop/web-0, since the node was running out of memory (the thresholds are evictionHard",
            "kubectl describe node",
        ),
        (&[&ranked], "running out of something", "kubectl describe node"),
        (&[&going], "since the node was going down (shutdownGracePeriod", "kubectl describe pod"),
        (&[&preempts], "to make room for a critical one", "kubectl describe pod"),
        (
            &[&changed],
            "its specification in its pod shop/web-0 had been changed",
            "kubectl describe pod",
        ),
    ] {
        let lines: Vec<(u64, &str)> =
            lines.iter().map(|it| (4000, it.as_str())).chain([(4998, killing.as_str())]).collect();
        let death = stopped(&lines, KUBELET);
        let text = &death.cause.explanation;
        assert!(
            text.contains(words) && text.contains("had it do for the kubelet. "),
            "{words}: {text}"
        );
        assert_eq!(death.cause.evidence, Grade::Inferred);
        assert!(death.fixes[0].commands[0].starts_with(remedy), "{death:#?}");
        assert!(death.gaps.is_empty(), "{death:#?}");
    }
    // Others of the same words, and what came when that was under way.
    let other = deleted.replace("web-0", "web-1");
    let first = ranked.replace("shop/web-0", "shop/web-1");
    for lines in [
        &[(4000, other.as_str()), (4998, &killing)][..],
        &[(4000, &first), (4998, &killing)],
        &[(4998, &killing), (5100, &deleted)],
    ] {
        let death = stopped(lines, KUBELET);
        let text = &death.cause.explanation;
        assert!(text.contains("had it do for the kubelet; why that asked"), "{text}");
        assert!(text.contains("was not found in the journal"), "{text}");
        assert!(!death.gaps.is_empty(), "{death:#?}");
    }
}

/// Of two containers of a pod one's name can be a part of the other's.
#[test]
fn the_probe_of_another_container_is_not_why() {
    let probe = |of: &str| {
        klog(&format!(
            "\"Probe failed\" probeType=\"Liveness\" pod=\"shop/web-0\" podUID=\"{POD}\" containerName=\"{of}\""
        ))
    };
    let is_why = |called: &str, of: &str| {
        let container = Container {
            runtime: "containerd".to_owned(),
            id: ID.to_owned(),
            name: Some(called.to_owned()),
            pod: Some("web-0".to_owned()),
            namespace: Some("shop".to_owned()),
            named_by: None,
        };
        let found = ContainerFound { cgroup: cgroup(), container };
        let scene = Scene::default().add(0, Source::CgroupFs, Fact::Container(found));
        let death = pod_in(scene, &[(4000, &probe(of))], KUBELET, &[]);
        death.cause.explanation.contains("failed its liveness probe")
    };
    for called in ["app", "k8s_app_web-0_shop_1c2d_0"] {
        assert!(is_why(called, "app"), "{called}");
    }
    for called in
        ["app-proxy", "my-app", "k8s_app-proxy_web-0_shop_1c2d_0", "k8s_my-app_app_x_1c2d_0"]
    {
        assert!(!is_why(called, "app"), "{called}");
    }
}

/// The kubelet logs what a probe's command wrote, each line with a tabulator before it, and journald takes each for an entry.
#[test]
fn what_a_probe_wrote_is_not_the_kubelets_word() {
    let deleted = klog("\"SyncLoop DELETE\" source=\"api\" pods=[\"shop/web-0\"]");
    let told = |said: &str| {
        stopped(&[(3900, said), (4000, &killing(30))], KUBELET)
            .cause
            .explanation
            .contains("deleted")
    };
    assert!(told(&deleted));
    for before in ["\t", " ", "\u{b}", "> "] {
        assert!(!told(&format!("{before}{deleted}")), "{before:?}");
    }
}

#[test]
fn the_grace_period_that_the_kubelet_gave_is_told() {
    let told = |seconds: u32| {
        let death = pod_with(&[(4998, &killing(seconds))], KUBELET, &[35_010]);
        death.cause.explanation
    };
    let words = ", since the kubelet gave it 30 s (terminationGracePeriodSeconds of its pod";
    assert!(told(30).contains(words), "{}", told(30));
    assert!(!told(60).contains("the kubelet gave it"), "{}", told(60));
}

/// The same words from a kubelet that logs JSON (`--logging-format=json`).
#[test]
fn what_the_kubelet_logs_as_json_is_read() {
    let json = |message: &str, fields: &str| {
        format!(
            "{{\"ts\":1714900000123.4567,\"caller\":\"kubelet/kubelet.go:2407\",\"msg\":\"{message}\",\"v\":2,{fields}}}"
        )
    };
    let pod = r#""pod":{"name":"web-0","namespace":"shop"}"#;
    let killing = json(
        "Killing container with a grace period",
        &format!(
            r#"{pod},"podUID":"{POD}","containerName":"web","containerID":"containerd://{ID}","gracePeriod":30"#
        ),
    );
    let deleted = json(
        "SyncLoop DELETE",
        r#""source":"api","pods":[{"name":"db-0","namespace":"shop"},{"name":"web-0","namespace":"shop"}]"#,
    );
    let failed = |id: &str| {
        json(
            "Message for Container of pod",
            &format!(
                r#""containerName":"web","containerStatusID":{{"Type":"containerd","ID":"{id}"}},{pod},"containerMessage":"Container web failed liveness probe, will be restarted""#
            ),
        )
    };
    let reclaim =
        json("Eviction manager: must evict pod(s) to reclaim", r#""resourceName":"memory""#);
    let ranked = json(
        "Eviction manager: pods ranked for eviction",
        r#""pods":[{"name":"web-0","namespace":"shop"},{"name":"db-0","namespace":"shop"}]"#,
    );
    let told = |lines: &[&str]| {
        let lines: Vec<(u64, &str)> =
            lines.iter().map(|it| (4000, *it)).chain([(4998, killing.as_str())]).collect();
        stopped(&lines, KUBELET).cause.explanation
    };
    for (lines, words) in [
        (&[deleted.as_str()][..], "Its pod shop/web-0 had been deleted: by whom"),
        (&[&failed(ID)], "failed its liveness probe (livenessProbe of its pod shop/web-0)"),
        (&[&reclaim, &ranked], "the node was running out of memory (the thresholds"),
    ] {
        let text = told(lines);
        assert!(text.contains("had it do for the kubelet. ") && text.contains(words), "{text}");
    }
    let patience = pod_with(&[(4998, &killing)], KUBELET, &[35_010]);
    let words = ", since the kubelet gave it 30 s";
    assert!(patience.cause.explanation.contains(words), "{patience:#?}");
    // Of others, or what others wrote.
    let inside = json("x", &format!("\"output\":{:?}", format!("\n{deleted}")));
    let other = failed(&"0".repeat(64));
    for said in [&deleted.replace("web-0", "web-1"), &other, &inside, &format!("\t{deleted}")] {
        let text = told(&[said]);
        assert!(text.contains("why that asked"), "{said}: {text}");
    }
}
