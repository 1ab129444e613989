//! `killtrace`: attach, follow, tell.

mod child;
mod heirs;
mod hints;
mod left_out;
mod live;
mod roll_call;
mod stops;
mod targets;

use std::collections::BTreeMap;

use anyhow::Context as _;
use tokio::sync::mpsc::unbounded_channel;

use super::limits::{self, Inherited};
use super::plan::{Command, Plan};
use super::{Failure, output, tell};
use crate::cli::TargetSpec;
use crate::evidence::{ATTACHED, CONNECTING};
use crate::kernel::Kernel;
use crate::system::{
    Options, Witnesses, cgroups::Cgroups, give_up, hurry, presence, processes, users,
};
use child::{Child, RunAs};
use live::Live;
use targets::Wanted;

/// Traces until there is no reason to go on; gives the exit status.
///
/// # Errors
/// Where this machine cannot be traced, or what is to be traced does not exist.
pub fn run(plan: &Plan, inherited: &Inherited) -> Result<u8, Failure> {
    presence::proc_works()?;
    limits::suffice()?;
    output::are_distinct(None, &plan.report)?;
    let (plan, threads) = plan.clone().of_processes(processes::process_of_thread);
    let plan = &plan;
    for sentence in threads {
        tell(&sentence);
    }
    // Before anything makes a thread: the command is forked, and waits.
    let child = plan.command.as_ref().map(|command| hold(command, inherited)).transpose()?;
    let wanted = Wanted::new(plan, child.as_ref().map(Child::pid))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the system refused an event loop")?;
    let status = runtime.block_on(async {
        // The witnesses connect while the kernel looks at the programs: neither waits for the other.
        let (sender, heard) = unbounded_channel();
        let witnesses = Witnesses::start(sender, Options::default())?;
        let kernel = Kernel::attach(&wanted.selection(plan), plan.btf.as_deref())
            .map_err(anyhow::Error::from)?;
        hurry();
        let mut live = Live::start(plan, kernel, wanted, child, (witnesses, heard)).await?;
        // Everything is attached, and every file open.
        give_up();
        live.run().await
    })?;
    // The bus and the journal may be in the middle of an answer that nobody waits for.
    runtime.shutdown_background();
    Ok(status)
}

/// Forks the command as the user who is to run it.
fn hold(command: &Command, inherited: &Inherited) -> Result<Child, Failure> {
    let run_as = run_as(command.user.as_deref())?;
    let mut words = vec![command.program.clone()];
    words.extend(command.args.iter().cloned());
    Ok(Child::hold(words, run_as.as_ref(), inherited)?)
}

/// Who runs the command: `-u USER`, else whoever called sudo; `None`: the caller.
fn run_as(user: Option<&str>) -> Result<Option<RunAs>, Failure> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    let (entry, gid) = match (user, number("SUDO_UID")) {
        (Some(name), _) => {
            let by_name = users::by_name(name);
            let entry = by_name.or_else(|| users::by_uid(name.parse().ok()?));
            let entry = entry.ok_or_else(|| {
                Failure::Usage(format!(
                    "there is no user {name}; give -u a name or number that `getent passwd` knows"
                ))
            })?;
            (entry, None)
        }
        (None, Some(uid)) if uid != 0 => match users::by_uid(uid) {
            Some(entry) => (entry, number("SUDO_GID")),
            None => return unknown_caller(uid, number("SUDO_GID")).map(Some),
        },
        (None, _) => return Ok(None),
    };
    let gid = gid.or_else(|| users::primary_group(entry.uid));
    let gid =
        gid.with_context(|| format!("user {} has no group in the user database", entry.name))?;
    let groups = users::groups(&entry.name, gid);
    Ok(Some(RunAs { uid: entry.uid, gid, groups, home: entry.home.map(Into::into) }))
}

/// Who called sudo, where only sudo knows: a directory service's user, whom this program cannot look up.
fn unknown_caller(uid: u32, gid: Option<u32>) -> Result<RunAs, Failure> {
    let Some(gid) = gid else {
        return Err(Failure::Usage(format!(
            "who called sudo (uid {uid}) is not known here, nor is their group; say with -u USER who runs CMD"
        )));
    };
    tell(&format!(
        "who called sudo (uid {uid}) is not known here: CMD runs with that uid, in group {gid} and no other"
    ));
    Ok(RunAs { uid, gid, groups: vec![gid], home: std::env::var_os("SUDO_HOME") })
}

/// Says on standard error what is not seen or heard here, and why.
fn say_missing(sources: &BTreeMap<String, String>) {
    let mut by_reason: Vec<(&str, Vec<&str>)> = Vec::new();
    // What is still connecting is told in the verdicts that would have needed it.
    for (name, why) in sources.iter().filter(|(_, why)| ![ATTACHED, CONNECTING].contains(&&***why))
    {
        match by_reason.iter_mut().find(|(known, _)| known == why) {
            Some((_, names)) => names.push(name),
            None => by_reason.push((why, vec![name])),
        }
    }
    if by_reason.is_empty() {
        return;
    }
    tell("not all is seen here (`killtrace doctor` says what that costs, and what to do):");
    for (why, names) in by_reason {
        tell(&format!("{}: {}", names.join(", "), one_line(why)));
    }
}

/// Says on standard error why what is yet to come may never be noticed.
fn say_unlikely(targets: &[TargetSpec]) {
    use TargetSpec::{Cgroup, Container, Unit};
    if targets.iter().any(|target| matches!(target, Unit(_))) && !presence::is_run_by_systemd() {
        tell(&format!(
            "{}, so that no unit is likely to come: Ctrl-C ends this, and `killtrace doctor` says what to do",
            presence::no_systemd()
        ));
    }
    let by_cgroup = targets.iter().any(|it| matches!(it, Unit(_) | Cgroup(_) | Container(_)));
    if by_cgroup && !Cgroups::detect().is_unified_used() {
        tell(
            "cgroup2 is not to be seen: what comes into a unit, a cgroup or a container from now on is not found, but for \
             what systemd calls a unit's main process; `killtrace doctor` says what to do",
        );
    }
}

/// Says on standard error that tracing has begun, in the one line that scripts wait for.
fn say_tracing(targets: &[String], found: &[String], waiting: &[(&str, Option<String>)]) {
    tell(&tracing(targets, found));
    for (name, hint) in waiting {
        tell(&format!("nothing matches {} yet; waiting for it", one_line(name)));
        if let Some(hint) = hint {
            tell(hint);
        }
    }
}

/// That tracing has begun, in one line: scripts wait for it.
fn tracing(targets: &[String], found: &[String]) -> String {
    let now = match found {
        [] => String::new(),
        [one] => format!(": {one}"),
        many if many.len() <= 8 => format!(": {}", many.join(", ")),
        many => format!(": {} processes", many.len()),
    };
    one_line(&format!("tracing {}{now} (Ctrl-C ends it)", targets.join(", ")))
}

/// One line, whatever is in a name or an argument.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_tracing_has_begun_is_one_line() {
        let told = tracing(&["a\nb".to_owned()], &["x\ny[7]".to_owned()]);
        assert_eq!(told, "tracing a\\nb: x\\ny[7] (Ctrl-C ends it)");
    }

    #[test]
    fn who_is_in_no_database_is_taken_by_number_or_not_at_all() {
        let caller = unknown_caller(99_999, Some(88_888)).expect("both are told");
        assert_eq!((caller.uid, caller.gid, caller.groups), (99_999, 88_888, vec![88_888]));
        let refused = unknown_caller(99_999, None).expect_err("the group is not told");
        assert!(refused.status() == 2 && refused.sentence().contains("-u USER"), "{refused:?}");
    }
}
