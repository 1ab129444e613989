//! What the kernel offers: privileges, types, hooks.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use caps::Capability;

use super::{check, sources::beside};
use crate::evidence::ATTACHED;
use crate::kernel::{
    AttachError, HOOKS, Hook, KERNEL_BTF, Kernel, Missing, Nameless, Place, Selection,
    capabilities, event_on_ends, function_names, privileged,
};
use crate::lent;
use crate::report::checkup::{Check, State};
use crate::system::{cgroups::Cgroups, presence};

/// Capabilities that tracing goes without, what each is for, and what is lost without it.
const USEFUL: &[(Capability, &str, &str)] = &[
    (
        Capability::CAP_SYS_PTRACE,
        "programs and environments of other users' processes",
        "the executables of other users' processes, from where they logged in, and hidden processes stay \
         unknown",
    ),
    (
        Capability::CAP_DAC_READ_SEARCH,
        "files that are not everybody's to read",
        "settings in files that only root may read (sshd's, users' own units) are not found",
    ),
    (
        Capability::CAP_SYSLOG,
        "the kernel's function names, and its log",
        "how the kernel came to a signal is told without its functions, and OOM kills without their numbers",
    ),
];

/// What root does without `CAP_DAC_READ_SEARCH`: its own files it reads all the same.
const OTHERS_FILES: &str =
    "settings in files that only another user may read (users' own units) are not found";

/// What helps against a user namespace.
const ON_HOST: &str = "run killtrace on the host";

/// Attaches everything for a moment, with these types in place of the kernel's own where given.
pub fn checks(btf: Option<&Path>) -> Vec<Check> {
    let nothing = Selection {
        all: true,
        follow: true,
        names: vec!["killtrace".to_owned()],
        ..Selection::default()
    };
    match Kernel::attach(&nothing, btf) {
        Ok(kernel) => {
            let mut checks = vec![enough()];
            checks.extend(privileges());
            let types = btf.map_or_else(
                || "the running kernel tells its types".to_owned(),
                |path| format!("{} describes the running kernel", path.display()),
            );
            checks.push(check("BTF", State::Works, &types));
            checks.extend(lacking(kernel.lacking()));
            checks.extend(hooks(kernel.hooks()));
            checks.extend(event_on_ends().map(tracefs));
            checks.push(names(function_names()));
            checks.push(cgroups(&Cgroups::detect()));
            checks
        }
        Err(error) => {
            let is_namespace = matches!(error, AttachError::UserNamespace);
            without_programs(refusal(&error), is_namespace, btf)
        }
    }
}

/// What is here where limits keep it from being tried.
pub fn under_limits(limits: Check, btf: Option<&Path>) -> Vec<Check> {
    let capabilities = capabilities();
    let is_namespace = matches!(capabilities, Err(AttachError::UserNamespace));
    let mut checks = without_programs(limits, is_namespace, btf);
    let row = capabilities.map_or_else(|error| refusal(&error), |()| enough());
    checks.insert(1, row);
    checks
}

fn enough() -> Check {
    check("capabilities", State::Works, "enough to load programs into the kernel")
}

/// Why nothing can be loaded, and what is here all the same: one obstacle is not to hide the next.
fn without_programs(refusal: Check, is_namespace: bool, btf: Option<&Path>) -> Vec<Check> {
    let mut rest = privileges();
    if is_namespace {
        for check in rest.iter_mut().filter(|check| check.state == State::Works) {
            check.state = State::Missing;
            check.detail = "it is held inside this user namespace only".to_owned();
            check.remedy = Some(ON_HOST.to_owned());
        }
    }
    let file = btf.unwrap_or(Path::new(KERNEL_BTF));
    // A pipe is not waited for.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    rest.push(match lent::without(|| options.open(file)) {
        Ok(_) => check("BTF", State::Works, &format!("{} is there", file.display())),
        Err(error) => Check {
            cost: Some(super::NOTHING.to_owned()),
            remedy: Some("--btf FILE, made for exactly this kernel".to_owned()),
            ..check("BTF", State::Fails, &format!("{}: {error}", file.display()))
        },
    });
    rest.push(Check {
        cost: Some(super::NOTHING.to_owned()),
        remedy: Some(format!("see {}, above", refusal.name)),
        ..check("hooks", State::Missing, "not tried: nothing can be loaded")
    });
    rest.extend(event_on_ends().map(tracefs));
    let mut names = names(function_names());
    if is_namespace {
        names.remedy = Some(ON_HOST.to_owned());
    }
    rest.push(names);
    rest.push(cgroups(&Cgroups::detect()));
    rest.retain(|check| check.name != refusal.name);
    [vec![refusal], rest].concat()
}

/// What is not there of what nothing goes without. The sentence says what to do after its semicolon.
fn refusal(error: &AttachError) -> Check {
    let name = match error {
        AttachError::NotPermitted { .. } | AttachError::UserNamespace => "capabilities",
        AttachError::NoBtf { .. }
        | AttachError::NoBtfFile { .. }
        | AttachError::BadBtf { .. }
        | AttachError::ForeignBtf { .. }
        | AttachError::MissingFields { .. } => "BTF",
        AttachError::LockedMemory { .. } => "locked memory",
        AttachError::Lockdown => "lockdown",
        AttachError::NoSys { .. } => "/sys",
        _ => "kernel",
    };
    super::refusal(name, &error.to_string())
}

/// What root may do besides loading programs.
fn privileges() -> Vec<Check> {
    let mut checks: Vec<Check> = USEFUL
        .iter()
        .map(|(capability, shows, cost)| {
            let held = presence::has(*capability);
            let cost = match capability {
                Capability::CAP_DAC_READ_SEARCH if presence::is_root() => OTHERS_FILES,
                _ => cost,
            };
            Check {
                cost: Some(cost.to_owned()),
                remedy: Some(privileged()),
                ..check(
                    &capability.to_string(),
                    if held { State::Works } else { State::Missing },
                    if held { shows } else { "this capability is not held" },
                )
            }
        })
        .collect();
    if !presence::is_root() {
        checks.push(Check {
            cost: Some(
                "the bus lets only root read along: who asked for a stop is not seen".to_owned(),
            ),
            remedy: Some("run it as root".to_owned()),
            ..check("root", State::Missing, "this is another user")
        });
    }
    checks
}

/// Fields that this kernel does not have; several often mean one loss.
fn lacking(missing: &[Missing]) -> Vec<Check> {
    let mut by_loss: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for missing in missing {
        by_loss.entry(missing.without.unwrap_or_default()).or_default().push(&missing.field);
    }
    let check = |(loss, fields): (&str, Vec<&str>)| Check {
        cost: Some(format!("not known: {loss}")),
        remedy: Some(if presence::is_wsl() {
            "a kernel that was built with it, named in .wslconfig (kernel=)".to_owned()
        } else {
            "a kernel that was built with it".to_owned()
        }),
        ..check(
            "kernel fields",
            State::Missing,
            &format!("this kernel has no {}", fields.join(", ")),
        )
    };
    by_loss.into_iter().map(check).collect()
}

/// The hooks, as they were attached.
fn hooks(states: &BTreeMap<String, String>) -> Vec<Check> {
    let check = |hook: &Hook| {
        let state = states.get(hook.name).map_or("not tried", String::as_str);
        let works = state == ATTACHED;
        Check {
            name: hook.name.to_owned(),
            state: match (works, hook.required) {
                (true, _) => State::Works,
                (false, true) => State::Fails,
                (false, false) => State::Missing,
            },
            detail: if works { hook.shows.to_owned() } else { state.to_owned() },
            cost: Some(hook.without.to_owned()),
            remedy: Some(match hook.place {
                Place::Tracepoint => {
                    format!("a kernel that has this tracepoint, as {} and later do", hook.since)
                }
                Place::Function if state.contains("not permitted") => {
                    "the kernel, a security module or a seccomp filter forbids it: only who set that up can allow it"
                        .to_owned()
                }
                Place::Function => format!(
                    "a kernel that has this function and lets programs watch it (BTF of its own, CONFIG_BPF_JIT, \
                     CONFIG_FUNCTION_TRACER and CONFIG_SECURITY_NETWORK), as {} and later can",
                    hook.since
                ),
            }),
        }
    };
    // Programs that hooks lead to are told of where they could not be loaded.
    let others = states.iter().filter(|(name, _)| HOOKS.iter().all(|hook| hook.name != *name));
    let refused = others.map(|(name, state)| Check {
        cost: Some("what a fault hit stays unknown: the file, the heap, the code".to_owned()),
        remedy: Some("please report this, with the kernel's release".to_owned()),
        ..self::check(name, State::Missing, state)
    });
    HOOKS.iter().map(check).chain(refused).collect()
}

/// Whether tracefs shows the event on ends, which Linux 7 needs: a program on it cannot be preempted.
fn tracefs(opened: io::Result<()>) -> Check {
    let (state, detail, remedy) = match opened {
        Ok(()) => (State::Works, "ends of processes, seen a second way".to_owned(), None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (
            State::Missing,
            "tracefs is not mounted, or does not show sched_process_exit".to_owned(),
            Some("mount -t tracefs none /sys/kernel/tracing".to_owned()),
        ),
        Err(error) => (State::Missing, error.to_string(), Some(privileged())),
    };
    Check {
        cost: Some(
            "this kernel may pass over ends of processes while it is busy: each is watched twice over all the same, \
             and what both miss is told as lost"
                .to_owned(),
        ),
        remedy,
        ..check("tracefs", state, &detail)
    }
}

/// Whether the kernel's functions have names here.
fn names(told: Result<(), Nameless>) -> Check {
    let (state, detail) = match told {
        Ok(()) => (State::Works, "names of the kernel's functions".to_owned()),
        Err(nameless) => (State::Missing, nameless.to_string()),
    };
    Check {
        cost: Some(
            "how the kernel came to a signal stays unknown where only its functions tell: hangups of terminals, keys \
             typed there, ends of pid namespaces and tracers, hard limits of CPU time"
                .to_owned(),
        ),
        remedy: told.err().map(names_remedy),
        ..check("kallsyms", state, &detail)
    }
}

/// How the kernel's functions come to have names.
pub fn names_remedy(nameless: Nameless) -> String {
    match nameless {
        Nameless::Restricted if presence::has(Capability::CAP_SYSLOG) => {
            "sysctl kernel.kptr_restrict=1".to_owned()
        }
        Nameless::Restricted => {
            format!("sysctl kernel.kptr_restrict=1, and {}", privileged())
        }
        Nameless::NotPermitted => privileged(),
        Nameless::NoList if presence::is_proc_of_processes_alone() => {
            "run killtrace where all of /proc is to be seen: in a unit, without ProcSubset=pid; elsewhere `mount -t \
             proc proc /proc`"
                .to_owned()
        }
        Nameless::NoList => "mount -t proc proc /proc, or a kernel with CONFIG_KALLSYMS".to_owned(),
    }
}

/// Whether cgroups can be told by the ids that the kernel side sees.
fn cgroups(cgroups: &Cgroups) -> Check {
    let used = cgroups.is_unified_used();
    let hidden = cgroups.hidden().map(|(point, cover)| {
        let (point, cover) = (point.display(), cover.display());
        format!("cgroup2 is mounted on {point}, and hidden by what is mounted on {cover}")
    });
    let detail = match (used, cgroups.is_hybrid(), &hidden) {
        (true, false, _) => "units, containers and jobs, by cgroup",
        (true, true, _) => "units, containers and jobs, by cgroup (with cgroup v1 beside it)",
        (false, ..) if cgroups.keeps_units_in_v1() => "the units are in cgroup v1",
        (false, ..) if cgroups.is_private() => presence::PRIVATE_CGROUPS,
        (false, _, Some(hidden)) => hidden,
        (false, true, None) => "cgroup2 is not mounted, cgroup v1 is",
        (false, false, None) => "no cgroup file system is mounted",
    };
    Check {
        cost: Some(
            "what comes into a unit, a cgroup or a container later is not found as a target, but for what systemd \
             calls a unit's main process; the limits behind out-of-memory kills stay unknown where there is no \
             cgroup v1 either"
                .to_owned(),
        ),
        remedy: Some(show_cgroup2(cgroups)),
        ..check("cgroup2", if used { State::Works } else { State::Missing }, detail)
    }
}

/// How cgroup2 comes to be seen: on a folder that is there, or can be made. Where the units are not in it, it has to be
/// used first.
fn show_cgroup2(cgroups: &Cgroups) -> String {
    if cgroups.keeps_units_in_v1() && presence::is_wsl() {
        return "kernelCommandLine=cgroup_no_v1=all below [wsl2] in .wslconfig, then `wsl --shutdown`".to_owned();
    }
    if cgroups.keeps_units_in_v1() {
        return "boot the machine with systemd.unified_cgroup_hierarchy=1 on the kernel's command line".to_owned();
    }
    if cgroups.is_private() {
        return beside();
    }
    if let Some((_, cover)) = cgroups.hidden() {
        return format!("umount {}", cover.display());
    }
    let usual = Path::new("/sys/fs/cgroup");
    let (make, folder) = match (usual.is_dir(), cgroups.is_hybrid()) {
        (true, false) => ("", "/sys/fs/cgroup"),
        (true, true) if usual.join("unified").is_dir() => ("", "/sys/fs/cgroup/unified"),
        _ => ("mkdir /run/cgroup2 && ", "/run/cgroup2"),
    };
    format!("{make}mount -t cgroup2 none {folder}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_function_names_have_the_remedy_that_helps() {
        assert_eq!(names(Ok(())).state, State::Works);
        for nameless in [Nameless::Restricted, Nameless::NotPermitted, Nameless::NoList] {
            let row = names(Err(nameless));
            assert_eq!((row.state, row.detail), (State::Missing, nameless.to_string()));
            let sysctl = row.remedy.expect("what to do").contains("kptr_restrict");
            assert_eq!(sysctl, nameless == Nameless::Restricted, "{nameless}");
        }
    }

    #[test]
    fn hooks_are_judged_by_the_table() {
        let mut states: BTreeMap<_, _> =
            HOOKS.iter().map(|hook| (hook.name.to_owned(), ATTACHED.to_owned())).collect();
        assert!(hooks(&states).iter().all(|check| check.state == State::Works));
        for (name, state) in [("mark_victim", State::Missing), ("signal_generate", State::Fails)] {
            states.insert(name.to_owned(), "not in this kernel".to_owned());
            let checks = hooks(&states);
            let check = checks.iter().find(|check| check.name == name).expect("the hook");
            assert_eq!((check.state, check.detail.as_str()), (state, "not in this kernel"));
        }
    }

    #[test]
    fn a_refusal_says_what_to_do_apart_from_what_is_wrong() {
        let error = AttachError::UserNamespace;
        let check = refusal(&error);
        assert_eq!((check.name.as_str(), check.state), ("capabilities", State::Fails));
        assert!(check.remedy.is_some_and(|remedy| remedy.contains("on the host")));
        assert!(!check.detail.contains(';'), "{}", check.detail);
        let log = "0: r1\n1: r2".to_owned();
        let refused = io::Error::from_raw_os_error(libc::EINVAL);
        let error = AttachError::Program { hook: "signal_generate", error: refused, log };
        let remedy = refusal(&error).remedy.expect("what to do");
        assert!(remedy.ends_with("0: r1 1: r2") && !remedy.contains('\n'), "{remedy}");
    }

    #[test]
    fn one_obstacle_does_not_hide_the_rest() {
        let rows = without_programs(refusal(&AttachError::UserNamespace), true, None);
        let named = |name: &str| rows.iter().filter(|row| row.name == name).collect::<Vec<_>>();
        assert!(named("capabilities")[0].state == State::Fails && rows[0].name == "capabilities");
        for name in ["CAP_SYSLOG", "BTF", "hooks", "kallsyms", "cgroup2"] {
            assert_eq!(named(name).len(), 1, "{name}");
        }
        assert!(named("CAP_SYSLOG")[0].state == State::Missing);
        assert!(named("hooks")[0].detail.starts_with("not tried"));
        let path = "/no/such/file".into();
        let error = io::ErrorKind::NotFound.into();
        let no_types = refusal(&AttachError::NoBtfFile { path, error });
        assert!(no_types.remedy.is_some(), "{no_types:?}");
        let rows = without_programs(no_types, false, None);
        assert_eq!(rows.iter().filter(|row| row.name == "BTF").count(), 1);
        let limits = check("limits", State::Fails, "too few");
        let rows = under_limits(limits, None);
        assert!(rows[0].name == "limits" && rows[1].name == "capabilities", "{rows:?}");
    }

    #[test]
    fn tracefs_is_mounted_where_ends_need_it() {
        assert_eq!(tracefs(Ok(())).state, State::Works);
        let lacking = tracefs(Err(io::ErrorKind::NotFound.into()));
        assert!(lacking.remedy.is_some_and(|remedy| remedy.starts_with("mount -t tracefs")));
        let refused = tracefs(Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!((refused.state, refused.remedy), (State::Missing, Some(privileged())));
    }

    #[test]
    fn cgroup2_is_mounted_where_it_can_be() {
        let hidden = Cgroups::default();
        assert!(show_cgroup2(&hidden).contains("mount -t cgroup2 none /"));
    }

    #[test]
    fn fields_with_one_loss_are_one_row() {
        let field = |name: &str, without| Missing { field: name.to_owned(), without };
        let audit = Some("login uid (CONFIG_AUDIT)");
        let rows = lacking(&[
            field("task_struct.loginuid", audit),
            field("task_struct.sessionid", audit),
            field("sock.sk_err", Some("ends of TCP connections")),
        ]);
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().any(|row| row.detail.contains("loginuid, task_struct.sessionid")));
    }
}
