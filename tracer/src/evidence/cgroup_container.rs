//! How container runtimes and batch systems name their cgroups.
//!
//! Each rule names the runtime it was taken from. Text only; see [`super::cgroup_path`].

use super::cgroup_path::{unescape, unit_unescape};
use super::{BatchJob, Container};

/// Scope or directory prefix to runtime: `docker-<id>.scope`, `libpod-<id>`.
const PREFIXES: [(&str, &str); 8] = [
    ("docker-", "docker"),
    ("libpod-payload-", "podman"),
    ("libpod-", "podman"),
    ("cri-containerd-", "containerd"),
    ("crio-", "cri-o"),
    ("nerdctl-", "nerdctl"),
    ("buildah-", "buildah"),
    ("containerd-", "containerd"),
];

/// The monitors of containers live beside them, in cgroups of a similar name.
const MONITORS: [&str; 3] = ["libpod-conmon-", "crio-conmon-", "cri-conmon-"];

/// Finds the outermost container, and what follows it in the path.
pub(super) fn container<'a, 'p>(parts: &'a [&'p str]) -> Option<(Container, &'a [&'p str])> {
    let mut pod = None;
    for (at, part) in parts.iter().enumerate() {
        let part = unescape(part);
        pod = pod_uid(part).or(pod);
        let parent = at.checked_sub(1).map(|above| unescape(parts[above]));
        let below = parts.get(at + 1).copied();
        let found = by_name(part, parent, at, pod.is_some());
        let Some(mut found) = found.or_else(|| plain_nspawn(part, parent, below)) else {
            continue;
        };
        found.pod = pod;
        return Some((found, &parts[at + 1..]));
    }
    None
}

fn by_name(part: &str, parent: Option<&str>, depth: usize, in_pod: bool) -> Option<Container> {
    let stem = part.strip_suffix(".scope").unwrap_or(part);
    if MONITORS.iter().any(|prefix| stem.starts_with(prefix)) {
        return None;
    }
    if let Some(named) = nspawn(part).or_else(|| lxc(part, parent)) {
        return Some(named);
    }
    for (prefix, runtime) in PREFIXES {
        if let Some(id) = stem.strip_prefix(prefix)
            && is_hex_id(id)
        {
            return Some(new(runtime, id));
        }
    }
    // A systemd-style name that the runtime's cgroupfs driver used as it stood: slice:prefix:id.
    if let Some((_, tail)) = part.split_once(':')
        && let Some((prefix, id)) = tail.split_once(':')
        && is_hex_id(id)
    {
        let runtime = PREFIXES.iter().find(|(known, _)| known.strip_suffix('-') == Some(prefix));
        return Some(new(runtime.map_or(prefix, |(_, runtime)| runtime), id));
    }
    if part.len() == 64 && is_hex_id(part) {
        // cgroupfs drivers: /docker/<id>, /kubepods/…/pod<uid>/<id>, /ecs/<task>/<id>
        let runtime = match parent {
            Some("docker") => "docker",
            _ if in_pod => "kubernetes",
            _ => "oci",
        };
        return Some(new(runtime, part));
    }
    // ctr(8) puts its containers into a directory named after the containerd namespace.
    (depth == 1 && parent == Some("default")).then(|| new("containerd", part))
}

fn new(runtime: &str, id: &str) -> Container {
    Container { runtime: runtime.to_owned(), id: id.to_owned(), ..Container::default() }
}

/// Ids are 64 hexadecimal digits; some tools shorten them, none below 12.
fn is_hex_id(id: &str) -> bool {
    (12..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `lxc.payload.<name>` (LXC 4 and later, Incus, LXD), `lxc/<name>` (older, Proxmox).
fn lxc(part: &str, parent: Option<&str>) -> Option<Container> {
    let name = part.strip_prefix("lxc.payload.");
    let name = name.or_else(|| matches!(parent, Some("lxc" | "lxc.payload")).then_some(part));
    name.filter(|name| !name.is_empty())
        .map(|name| Container { name: Some(name.to_owned()), ..new("lxc", name) })
}

/// `machine-<name>.scope` of systemd-nspawn and others that register with machined.
fn nspawn(part: &str) -> Option<Container> {
    let name = machine(part)?;
    // libvirt registers its machines as qemu-<n>-<name> and lxc-<pid>-<name>.
    let runtime = match name.split_once('-') {
        Some(("qemu", rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => "qemu",
        Some(("lxc", rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => "libvirt-lxc",
        _ => "nspawn",
    };
    Some(Container { name: Some(name.clone()), ..new(runtime, &name) })
}

/// `machine.slice/<name>.scope/payload`: how systemd-nspawn itself names the scope that it makes, without machined (seen
/// on 262).
fn plain_nspawn(part: &str, parent: Option<&str>, below: Option<&str>) -> Option<Container> {
    let is_its_own = parent == Some("machine.slice") && below == Some("payload");
    let name = part.strip_suffix(".scope").filter(|_| is_its_own).map(unit_unescape)?;
    (!name.is_empty() && !name.contains('/'))
        .then(|| Container { name: Some(name.clone()), ..new("nspawn", &name) })
}

/// The machine whose scope or service the unit is (`nspawn-register.c`, `systemd-nspawn@.service`).
pub(super) fn machine(unit: &str) -> Option<String> {
    let by_scope = unit.strip_prefix("machine-").and_then(|rest| rest.strip_suffix(".scope"));
    let by_service =
        || unit.strip_prefix("systemd-nspawn@").and_then(|rest| rest.strip_suffix(".service"));
    let escaped = by_scope.or_else(by_service)?;
    let name = unit_unescape(escaped);
    (!name.is_empty() && !name.contains('/')).then_some(name).or_else(|| {
        // Old versions did not escape the dashes in the name.
        (!escaped.contains('\\')).then(|| escaped.to_owned())
    })
}

/// The pod in `kubepods-burstable-pod<uid>.slice`, `kubelet-kubepods-pod<uid>.slice`, `pod<uid>`, `machine-libpod_pod_<id>.slice`.
fn pod_uid(part: &str) -> Option<String> {
    if let Some(stem) = part.strip_suffix(".slice") {
        if let Some(id) = stem
            .strip_prefix("machine-libpod_pod_")
            .or_else(|| stem.strip_prefix("user-libpod_pod_"))
        {
            return Some(id.to_owned());
        }
        // kubelet may have a root of its own, which comes first: kind's is `/kubelet`.
        let (above, uid) = stem.rsplit_once("-pod")?;
        if !above.split('-').any(|word| word == "kubepods") {
            return None;
        }
        return Some(uid.replace('_', "-"));
    }
    let uid = part.strip_prefix("pod")?;
    let like_uid =
        uid.len() >= 32 && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    like_uid.then(|| uid.to_owned())
}

/// Slurm: `slurmstepd.scope/job_J/step_S/…` (cgroup2), `slurm/uid_U/job_J/step_S` (v1), behind that many slices.
pub(super) fn batch_job(parts: &[&str], slices: usize) -> Option<BatchJob> {
    let root = unescape(parts.get(slices)?);
    if !root.ends_with("slurmstepd.scope") && root != "slurm" && !root.starts_with("slurm_") {
        return None;
    }
    let id = parts[slices + 1..].iter().find_map(|part| part.strip_prefix("job_"))?;
    let id = id.chars().all(|c| c.is_ascii_digit() || c == '_').then_some(id)?;
    Some(BatchJob { manager: "slurm".to_owned(), id: id.to_owned() })
}
