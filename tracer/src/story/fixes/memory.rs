//! Remedies for a lack of memory.

use super::super::verdict::Fix;
use super::unit_at::UnitAt;
use super::{LOOKS, fix, quoted, remark};
use crate::evidence::{CgroupLimits, Container};

/// Less memory pressure on the machine.
pub fn more_memory() -> Fix {
    fix(
        "find what uses the memory",
        vec!["ps -eo pid,user,rss,comm --sort=-rss | head".to_owned(), "free -h".to_owned()],
        "shows the largest processes; then limit them, or add memory or swap",
    )
    .but(LOOKS)
    .check("free -h; cat /proc/pressure/memory")
    .see("the kernel's log at the time of the kill lists every process with its memory")
}

/// What a daemon that kills when memory runs short has logged by now.
pub fn words_of_oom_daemon(pid: u32) -> Fix {
    fix(
        "read what that daemon logged about it",
        vec![format!("journalctl -b _PID={pid} -n 20")],
        "its lines say how much memory was left, and why it chose this process",
    )
    .but(LOOKS)
    .check("the lines have the time of the kill")
    .see("journalctl(1)")
}

/// A daemon that kills when memory runs short, told to spare a program; `None` where nothing is known of its settings.
pub fn oom_daemon_avoid(daemon: &str, program: &str) -> Option<Fix> {
    // It reads the name as a regular expression.
    let name: String = program
        .chars()
        .flat_map(|c| {
            let plain = c.is_ascii_alphanumeric() || c == '_' || c == '-';
            (!plain).then_some('\\').into_iter().chain([c])
        })
        .collect();
    let (file, there, check, see) = match daemon {
        "earlyoom" => (
            "/etc/default/earlyoom",
            format!(
                "in EARLYOOM_ARGS: --avoid '^({name})$' spares it; --prefer 'NAME' has another go first; a lower -m or -s, in percent, has it act later"
            ),
            "ps -o args -C earlyoom",
            "earlyoom(1)",
        ),
        "nohang" => (
            "/etc/nohang/nohang.conf",
            format!(
                "@BADNESS_ADJ_RE_NAME -500 /// ^{name}$ spares it; lower hard_threshold_min_mem and hard_threshold_min_swap have it act later"
            ),
            "nohang --check --config /etc/nohang/nohang.conf",
            "nohang(8)",
        ),
        _ => return None,
    };
    let spare = fix(
        &format!("have {daemon} choose others first"),
        vec![
            format!("sudoedit {file}"),
            remark(&format!("there, {there}")),
            format!("sudo systemctl restart {daemon}"),
        ],
        "it kills this program only when nothing else is left",
    )
    .but("something else is killed instead")
    .check(check)
    .see(see);
    Some(spare)
}

/// A higher `MemoryMax=` for a unit: twice of what it is, bytes, where that is known.
pub fn memory_limit(at: &UnitAt, max: Option<u64>) -> Fix {
    let name = at.drop_in_name();
    let (value, effect) = match max.map(|max| size(max.saturating_mul(2))) {
        Some(twice) => {
            let effect =
                format!("what is in it may use {twice} together before the kernel kills there");
            (twice, effect)
        }
        None => ("infinity".to_owned(), "it is limited by the machine's memory only".to_owned()),
    };
    fix(
        &format!("raise the memory limit of {name}"),
        at.set(at.section(), &format!("MemoryMax={value}")),
        &effect,
    )
    .but(match max {
        Some(_) => "a leak in it takes as much more from the machine",
        None => "a leak in it can then exhaust the machine; choose a value rather than infinity where you know one",
    })
    .check(at.show("MemoryMax"))
    .see("systemd.resource-control(5)")
}

/// A higher limit for a cgroup that neither a unit nor a container was made for.
pub fn cgroup_memory(limits: Option<&CgroupLimits>) -> Fix {
    let file = limits.and_then(|limits| Some((limits.limit_file.as_deref()?, limits.memory_max?)));
    let twice = file
        .map(|(file, max)| format!("echo {} | sudo tee {}", max.saturating_mul(2), quoted(file)));
    let by_maker = twice.is_none().then(|| remark("by what made the cgroup: its memory.max"));
    let effect = match twice {
        Some(_) => "the group may use twice as much before the kernel kills in it",
        None => "the group may use more before the kernel kills in it",
    };
    let check = file.map_or_else(
        || "grep . /sys/fs/cgroup/**/memory.max".to_owned(),
        |(file, _)| format!("cat {}", quoted(file)),
    );
    fix("raise the memory limit of the cgroup", twice.into_iter().chain(by_maker).collect(), effect)
        .but("a leak in it takes as much more from the machine; a group that is made anew has its old limit")
        .check(check)
        .see("cgroups(7)")
}

/// A higher limit for a container: twice of what it is, bytes, where that is known.
pub fn container_memory(container: &Container, max: Option<u64>) -> Fix {
    const GIB: u64 = 1 << 30;
    let max = max.map_or(2 * GIB, |max| max.saturating_mul(2));
    let name = container.name.as_deref().unwrap_or(&container.id);
    let how = match container.kubernetes_pod() {
        Some(pod) => in_pod(pod, container.namespace.as_deref(), max),
        None => in_runtime(&container.runtime, &quoted(name), max),
    };
    fix(
        &format!("raise the memory limit of container {name}"),
        how.commands,
        &format!("what is in it may use {} together before the kernel kills there", size(max)),
    )
    .but("a leak in it takes as much more from the machine")
    .check(how.check)
    .see(how.see)
}

/// How a limit is raised by what made a container.
struct Raise {
    commands: Vec<String>,
    check: String,
    see: &'static str,
}

/// A limit of so many bytes for the containers of a pod.
fn in_pod(pod: &str, namespace: Option<&str>, max: u64) -> Raise {
    let namespace = namespace.map(|it| format!(" -n {}", quoted(it))).unwrap_or_default();
    let value = size(max);
    // Kubernetes' units of 1024 have an `i`.
    let binary = if value.ends_with(char::is_alphabetic) { "i" } else { "" };
    Raise {
        commands: vec![remark(&format!(
            "in the pod's template, spec.containers[].resources:  limits: {{memory: {value}{binary}}}"
        ))],
        check: format!(
            "kubectl get pod {}{namespace} -o jsonpath='{{.spec.containers[*].resources}}'",
            quoted(pod)
        ),
        see: "the Kubernetes documentation on resources of containers",
    }
}

/// A limit of so many bytes for the container that a runtime knows by this word.
fn in_runtime(runtime: &str, word: &str, max: u64) -> Raise {
    let value = size(max);
    match runtime {
        "docker" | "podman" => {
            // docker refuses a limit above that of memory and swap together.
            let swap = if runtime == "docker" {
                format!(" --memory-swap={}", size(max.saturating_mul(2)))
            } else {
                String::new()
            };
            let options = format!("--memory={value}{swap}");
            Raise {
                commands: vec![
                    format!("{runtime} update {options} {word}"),
                    remark(&format!(
                        "for one that is made anew: {runtime} run {options} …, or in a compose file: mem_limit: {value}"
                    )),
                ],
                check: format!("{runtime} inspect -f '{{{{.HostConfig.Memory}}}}' {word}"),
                see: "docker-update(1), podman-update(1)",
            }
        }
        "nspawn" => Raise {
            commands: vec![remark(&format!(
                "where it is started: systemd-nspawn --property=MemoryMax={value} …, or MemoryMax= of the service that runs it"
            ))],
            check: format!("machinectl status {word}"),
            see: "systemd-nspawn(1)",
        },
        "lxc" => Raise {
            commands: vec![remark(&format!(
                "in the container's configuration: lxc.cgroup2.memory.max = {value}; of LXD or Incus: limits.memory"
            ))],
            check: format!("lxc-cgroup -n {word} memory.max"),
            see: "lxc.container.conf(5)",
        },
        _ => Raise {
            commands: vec![remark(&format!(
                "by what starts the container: a memory limit of {value}"
            ))],
            check: format!("systemd-cgtop --order=memory | grep {word}"),
            see: "cgroups(7)",
        },
    }
}

/// Bytes as systemd and container runtimes read them: `48M`.
fn size(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    let whole = UNITS.iter().find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    whole.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}
