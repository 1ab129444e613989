//! Remedies around containers and pid namespaces.

use super::super::verdict::Fix;
use super::{LOOKS, Whose, fix, operand, quoted, remark};
use crate::evidence::Container;

/// A container that somebody stopped is not gone; a pod tells why.
pub fn container_again(container: &Container) -> Option<Fix> {
    if container.kubernetes_pod().is_some() {
        return Some(look_at_pod(container));
    }
    let name = container.name.as_deref().unwrap_or(&container.id);
    let word = operand(name);
    let (start, check, see) = match container.runtime.as_str() {
        runtime @ ("docker" | "podman") => (
            format!("{runtime} start {word}"),
            format!("{runtime} ps --filter {}", quoted(&format!("name={name}"))),
            "docker-start(1), podman-start(1)",
        ),
        "nspawn" => (
            format!("sudo machinectl start {word}"),
            format!("machinectl status {word}"),
            "machinectl(1)",
        ),
        "lxc" => (
            format!("sudo lxc-start -n {}", quoted(name)),
            format!("sudo lxc-info -n {}", quoted(name)),
            "lxc-start(1)",
        ),
        _ => return None,
    };
    let again = fix("start the container again", vec![start], "it runs again, with what it had")
        .but("whoever stopped it may have had a reason: ask first; one that was removed has to be made anew")
        .check(check)
        .see(see);
    Some(again)
}

/// One of a user's that ended with the user's service manager.
pub fn container_of_user(container: &Container) -> Fix {
    let name = container.name.as_deref().unwrap_or(&container.id);
    fix(
        "start the container again",
        vec![
            format!("podman start {}", operand(name)),
            remark(
                "to have it started at boot, too: a file NAME.container in ~/.config/containers/systemd, and lingering",
            ),
        ],
        "it runs again, with what it had",
    )
    .but("without lingering it ends again with the last logout, whatever its --restart says")
    .check(format!("podman ps --filter {}", quoted(&format!("name={name}"))))
    .see("podman-start(1), podman-systemd.unit(5)")
}

/// One that was stopped since docker's daemon was, root's or a user's own; some are started again with that by themselves.
pub fn container_with_daemon(
    container: &Container,
    by_itself: bool,
    user: Option<&Whose>,
) -> Option<Fix> {
    let again = container_again(container)?;
    let start = "start docker.service";
    let mut commands =
        vec![user.map_or_else(|| format!("sudo systemctl {start}"), |user| user.systemctl(start))];
    if !by_itself {
        commands.extend(again.commands.iter().cloned());
    }
    Some(Fix { commands, ..again })
}

/// One that is gone, or will be as soon as it ends, cannot be started.
pub fn container_anew(container: &Container) -> Fix {
    let name = container.name.as_deref().unwrap_or(&container.id);
    let runtime = if container.runtime == "podman" { "podman" } else { "docker" };
    let filter = quoted(&format!("container={name}"));
    fix(
        "make the container anew: it was removed when it had ended",
        vec![
            format!("{runtime} events --since 1h --until 0s --filter {filter}"),
            remark(&format!(
                "the same {runtime} run again, with --name {}, and without --rm where it is to stay; or, where compose made it: {runtime} compose up -d",
                quoted(name)
            )),
        ],
        "shows what was done to it, of which image it was; then it runs again, without what it had written outside of volumes",
    )
    .but("whoever ended it may have had a reason: ask first")
    .check(format!("{runtime} ps --all --filter {}", quoted(&format!("name={name}"))))
    .see("docker-run(1), podman-run(1)")
}

/// Who may speak with docker's daemon.
pub fn who_asked_docker(container: &Container) -> Option<Fix> {
    if container.runtime != "docker" || container.kubernetes_pod().is_some() {
        return None;
    }
    let name = container.name.as_deref().unwrap_or(&container.id);
    let filter = quoted(&format!("container={name}"));
    let looks = fix(
        "see what docker was asked, and who can ask it",
        vec![
            format!("docker events --since 1h --until 0s --filter {filter}"),
            "docker ps -q | xargs -r docker inspect -f '{{.Name}} {{range .Mounts}}{{.Source}} {{end}}' | grep docker.sock".to_owned(),
            "sudo ss -xp | grep docker.sock".to_owned(),
            "getent group docker".to_owned(),
        ],
        "shows when it was killed, stopped or removed; the containers that have docker's socket (watchtower, Portainer, …); \
         who is connected to it now; and the users who may",
    )
    .but(LOOKS)
    .check(format!("docker inspect -f '{{{{.State.Status}}}} {{{{.State.FinishedAt}}}}' {}", operand(name)))
    .see("docker-events(1)");
    Some(looks)
}

/// `kubectl describe pod`
fn look_at_pod(container: &Container) -> Fix {
    let pod = quoted(container.pod.as_deref().unwrap_or_default());
    let namespace = container.namespace.as_ref().map(|it| format!(" -n {}", quoted(it)));
    let namespace = namespace.unwrap_or_default();
    fix(
        "see why Kubernetes ended the container",
        vec![
            format!("kubectl describe pod{namespace} {pod}"),
            format!("kubectl get events{namespace} --sort-by=.lastTimestamp"),
            format!("sudo journalctl -u kubelet -u k3s -u k3s-agent --since -1h --grep={pod}"),
        ],
        "shows whether it was deleted, evicted, replaced by a new version, or failed a probe",
    )
    .but(LOOKS)
    .check(format!("kubectl get pod{namespace} {pod}"))
    .see("the Kubernetes documentation on the termination of pods")
}

/// The pod of a container, as kubectl is told which: its name and `-n NAMESPACE`.
fn kubectl_names(container: &Container) -> (String, String) {
    let namespace = container.namespace.as_ref().map(|it| format!(" -n {}", quoted(it)));
    (quoted(container.pod.as_deref().unwrap_or("POD")), namespace.unwrap_or_default())
}

/// Who deleted a pod, which by then is gone.
pub fn who_deleted_pod(container: &Container) -> Fix {
    let (pod, namespace) = kubectl_names(container);
    fix(
        "see who deleted the pod",
        vec![
            format!("kubectl get events{namespace} --field-selector involvedObject.name={pod}"),
            format!("kubectl get deployments,replicasets,statefulsets,daemonsets,jobs,hpa{namespace} -o wide"),
            remark(&format!(
                "in the API server's audit log, where there is one: verb delete, resource pods, name {pod}"
            )),
        ],
        "shows what else was done then: a new version, fewer replicas, a drain of the node; the audit log has the user",
    )
    .but(LOOKS)
    .check(format!("kubectl get pods{namespace} -o wide"))
    .see("the Kubernetes documentation on auditing and on the termination of pods")
}

/// A pod that is evicted later than others, and a node with more to give.
pub fn eviction_of_pod(container: &Container, resource: Option<&str>) -> Fix {
    let (pod, namespace) = kubectl_names(container);
    let resource = resource.unwrap_or("memory");
    fix(
        "have the pod evicted later than others, or the node run out later",
        vec![
            "kubectl describe node | grep -A8 -e Conditions: -e Allocatable:".to_owned(),
            remark(&format!(
                "in the pod's template, spec.containers[].resources.requests:  {resource}: as much as it uses; or a priorityClassName"
            )),
            remark("in the kubelet's configuration: evictionHard:, evictionSoft:; logs and images take up a disk that is full"),
        ],
        "pods that use more than they request, and those of a lower priority, go first",
    )
    .but("the scheduler places it only where that much is free")
    .check(format!("kubectl get pod{namespace} {pod} -o jsonpath='{{.status.reason}}: {{.status.message}}'"))
    .see("the Kubernetes documentation on node-pressure eviction")
}

/// A probe that is less strict.
pub fn patient_probe(container: &Container, probe: &str) -> Fix {
    let namespace = container.namespace.as_ref().map(|it| format!(" -n {}", quoted(it)));
    let pod = quoted(container.pod.as_deref().unwrap_or("POD"));
    fix(
        &format!("give the container more time to answer its {probe} probe"),
        vec![remark(&format!(
            "in the pod's template, spec.containers[].{probe}Probe:  timeoutSeconds: 5, failureThreshold: 6; for a slow start, a startupProbe"
        ))],
        "kubelet restarts it only after more failures in a row",
    )
    .but("one that hangs is restarted later")
    .check(format!(
        "kubectl get pod{} {pod} -o jsonpath='{{.spec.containers[*].{probe}Probe}}'",
        namespace.unwrap_or_default()
    ))
    .see("the Kubernetes documentation on liveness, readiness and startup probes")
}

/// A first process of a pid namespace that stays for as long as the others.
pub fn lasting_init() -> Fix {
    fix(
        "have the namespace's first process wait for the others",
        vec![
            remark("where that is a script, as its last line: wait"),
            remark("else have it start the program by exec, so that the program is the first process itself"),
        ],
        "the namespace, and what is in it, lasts until all have ended",
    )
    .but("a container then runs for as long as any of them, and is seen as failed or done only after that")
    .check("lsns -t pid")
    .see("pid_namespaces(7)")
}
