//! What the kernel offers: privileges, types, hooks.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use caps::Capability;

use super::check;
use crate::kernel::{
    ATTACHED, AttachError, HOOKS, Hook, Kernel, Missing, Place, Selection, setcap,
};
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
            let mut checks = vec![check(
                "capabilities",
                State::Works,
                "enough to load programs into the kernel",
            )];
            checks.extend(privileges());
            let types = btf.map_or_else(
                || "the running kernel tells its types".to_owned(),
                |path| format!("{} describes the running kernel", path.display()),
            );
            checks.push(check("BTF", State::Works, &types));
            checks.extend(lacking(kernel.lacking()));
            checks.extend(hooks(kernel.hooks()));
            checks.push(function_names());
            checks.push(cgroups(&Cgroups::detect()));
            checks
        }
        Err(error) => vec![refusal(&error)],
    }
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
            Check {
                cost: Some((*cost).to_owned()),
                remedy: Some(format!("run it as root, or give it the capability: {}", setcap())),
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
        remedy: Some("a kernel that was built with it".to_owned()),
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
                    "nothing: this kernel forbids it, whatever it was built with".to_owned()
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

/// Whether the kernel tells where its functions are.
fn function_names() -> Check {
    let shown = std::fs::File::open("/proc/kallsyms")
        .is_ok_and(|file| tells_addresses(BufReader::new(file).lines().map_while(Result::ok)));
    Check {
        cost: Some("where the kernel itself decided, its functions are not named".to_owned()),
        remedy: Some(
            "sysctl kernel.kptr_restrict=1, and run it as root or with CAP_SYSLOG".to_owned(),
        ),
        ..check(
            "kallsyms",
            if shown { State::Works } else { State::Missing },
            if shown {
                "names of the kernel's functions"
            } else {
                "/proc/kallsyms does not tell addresses"
            },
        )
    }
}

/// Whether the first function has an address. On x86-64 the list begins with what each CPU has of its own, counted
/// from 0.
fn tells_addresses(lines: impl Iterator<Item = String>) -> bool {
    let mut functions = lines.filter_map(|line| {
        let (address, rest) = line.split_once(' ')?;
        rest.starts_with(['t', 'T']).then(|| address.chars().any(|digit| digit != '0'))
    });
    functions.next() == Some(true)
}

/// Whether cgroups can be told by the ids that the kernel side sees.
fn cgroups(cgroups: &Cgroups) -> Check {
    let mounted = cgroups.is_unified_mounted();
    let detail = match (mounted, cgroups.is_hybrid()) {
        (true, false) => "units, containers and jobs, by cgroup",
        (true, true) => "units, containers and jobs, by cgroup (with cgroup v1 beside it)",
        (false, true) => "cgroup2 is not mounted, cgroup v1 is",
        (false, false) => "no cgroup file system is mounted",
    };
    Check {
        cost: Some(
            "targets by unit, cgroup or container are only found where they run already".to_owned(),
        ),
        remedy: Some(
            "mount -t cgroup2 none /sys/fs/cgroup/unified (an empty folder), or boot with \
             systemd.unified_cgroup_hierarchy=1"
                .to_owned(),
        ),
        ..check("cgroup2", if mounted { State::Works } else { State::Missing }, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_cpu_has_of_its_own_is_no_function_at_zero() {
        let tells = |text: &str| tells_addresses(text.lines().map(str::to_owned));
        let own = "0000000000000000 A fixed_percpu_data\n";
        assert!(tells(&format!("{own}ffffffff81000000 T _stext\n")));
        assert!(tells("ffff800008000000 T _text\n"));
        assert!(!tells(&format!("{own}0000000000000000 T _stext\n")));
        assert!(!tells(own));
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
