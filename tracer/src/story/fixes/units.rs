//! Remedies in the settings of a unit.

use super::super::stopping::Choice;
use super::super::unit_command::UnitCommand;
use super::super::verdict::{DecidingSetting, Fix, counts_from_start};
use super::sessions::multiplexer;
use super::unit_at::{UnitAt, journal};
use super::{LOOKS, fix, operand, quoted, remark, run_by_systemd};
use crate::evidence::Written;

/// `KillMode=process` for a unit.
pub fn kill_mode_process(at: &UnitAt) -> Fix {
    fix(
        "let what the unit started outlive its main process",
        at.set("Service", "KillMode=process"),
        "systemd ends only the main process and leaves the others alone",
    )
    .but("left-over processes run on unmanaged; systemd.kill(5) advises against it")
    .check(at.show("KillMode"))
    .see("systemd.kill(5)")
}

/// A program of supervisord's that somebody stopped; `command` is supervisorctl as it asks that supervisord.
pub fn supervisor_program_again(command: &str, name: &str) -> Fix {
    fix(
        "start the program again",
        vec![format!("{command} start {}", quoted(name))],
        "supervisord runs it, and starts it again where its autorestart= says so",
    )
    .but("whoever stopped it may have had a reason: ask first")
    .check(format!("{command} status {}", quoted(name)))
    .see("http://supervisord.org/running.html")
}

/// A program of supervisord's that is to have more time to end.
pub fn supervisor_patience(command: &str, name: &str) -> Fix {
    let program = name.rsplit(':').next().unwrap_or(name);
    fix(
        "have it end by the first signal, or give it more time",
        vec![
            remark(&format!(
                "in supervisord's configuration, below [program:{program}]:  stopwaitsecs=60, and stopsignal= as it ends by"
            )),
            format!("{command} update"),
        ],
        "SIGKILL follows later, or is not needed",
    )
    .but("supervisorctl update starts anew what is set otherwise now")
    .check(format!("{command} status {}", quoted(name)))
    .see("http://supervisord.org/configuration.html")
}

/// A service of runit's that somebody stopped; `command` is sv with the rights of who runs it.
pub fn runit_service_again(command: &str, service: &str) -> Fix {
    fix(
        "start the service again",
        vec![format!("{command} up {}", operand(service))],
        "runsv runs it, and starts it again when it ends",
    )
    .but("whoever stopped it may have had a reason: ask first")
    .check(format!("{command} status {}", operand(service)))
    .see("sv(8)")
}

/// What the files say by now takes effect.
pub fn reload(at: &UnitAt, name: &str, unread: &Written) -> Fix {
    let title = match at.lost_file {
        Some(_) => "put the unit's file back, and have systemd read it",
        None if counts_from_start(name) => "start the unit anew, with what its files say by now",
        None => "have systemd read the files that have changed",
    };
    let read = at.sudo(&at.systemctl("daemon-reload"));
    let start = counts_from_start(name).then(|| {
        let restart = at.sudo(&at.about("restart"));
        remark(&format!("it counts from the unit's next start on: {restart}"))
    });
    let commands = at.restored().into_iter().chain([read]).chain(start).collect();
    fix(title, commands, &takes_effect(name, unread))
        .but("every other file of a unit that has changed counts from then on, too")
        .check(at.show(
            &name.strip_suffix("Sec").map_or_else(|| name.to_owned(), |it| format!("{it}USec")),
        ))
        .see("systemctl(1)")
}

/// What a reload brings.
pub(super) fn takes_effect(name: &str, unread: &Written) -> String {
    if unread.value.is_empty() {
        return format!("what the files say of {name}= by now counts from then on");
    }
    format!("{name}={} counts from then on", unread.value)
}

/// Another value of the setting that chose a harsher signal; none where a program made the unit, which may have
/// good reason for it: a login shell ignores SIGTERM and ends by SIGHUP.
pub fn other_choice(at: &UnitAt, choice: &Choice) -> Option<Fix> {
    if at.transient {
        return None;
    }
    Some(match choice {
        Choice::Mixed(_) => fix(
            "ask every process of the unit to end",
            at.set(at.section(), "KillMode=control-group"),
            "SIGTERM goes to all of them; SIGKILL follows only where TimeoutStopSec= runs out",
        )
        .but("the helpers of a main process that ends them itself, in an order of its own, get SIGTERM from systemd as well")
        .check(at.show("KillMode"))
        .see("systemd.kill(5)"),
        Choice::Group(setting) => leave_started(at, setting),
        Choice::Hangup(_) => fix(
            "send it no SIGHUP when the unit is stopped",
            at.set(at.section(), "SendSIGHUP=no"),
            "only SIGTERM (or KillSignal=) asks it to end",
        )
        .but("what ignores that signal, as shells do, is there until SIGKILL follows after TimeoutStopSec=")
        .check(at.show("SendSIGHUP"))
        .see("systemd.kill(5)"),
    })
}

/// What the main process has started is left alone by a stop, as services want it whose work that is: cron, sshd.
fn leave_started(at: &UnitAt, group: &DecidingSetting) -> Fix {
    let drop_in = group.place().filter(|place| place.contains(".d/"));
    let over = drop_in.map(|place| {
        remark(&format!(
            "{place} stands over the unit's own file, which may say otherwise: {}",
            at.systemctl(&format!("cat {}", quoted(&at.unit)))
        ))
    });
    let fix = kill_mode_process(at);
    Fix {
        title: "let what it has started go on when it is stopped".to_owned(),
        commands: over.into_iter().chain(fix.commands).collect(),
        ..fix
    }
}

/// A unit of its own for a helper, which runs as `user` where that is not root. `program`: its name; `command`: what
/// starts it, for a shell.
pub fn own_unit(at: &UnitAt, program: &str, command: &str, user: Option<&str>) -> Fix {
    let user = match user {
        _ if at.user.is_some() => "--user ".to_owned(),
        Some(user) => format!("--uid={} ", quoted(user)),
        None => String::new(),
    };
    // A multiplexer's server calls itself otherwise than the program that starts it, which needs the terminal and does
    // not wait: of a service it would be the main process that ends at once.
    let multiplexer = multiplexer(program);
    let (kind, command) = match multiplexer {
        Some(name) => ("--scope ", name.to_owned()),
        None => ("", run_by_systemd(command)),
    };
    let run = format!("systemd-run {user}{kind}--unit=my-job {command}");
    let run = at.user.as_ref().map_or_else(|| at.sudo(&run), |user| user.command(&run));
    fix(
        "run it as a unit of its own",
        vec![run],
        "it no longer depends on the unit that started it",
    )
    .but("it has none of that unit's settings, as Environment=, WorkingDirectory= and its limits: say what it needs with -p")
    .check(
        at.systemctl(&format!(
            "status my-job{}",
            if multiplexer.is_some() { ".scope" } else { "" }
        )),
    )
    .see("systemd-run(1)")
}

/// An `ExecReload=` that does not end what it is to reload.
pub fn survivable_reload(at: &UnitAt) -> Fix {
    const THERE: &str = "an empty \"ExecReload=\" under [Service] takes the reload away; a second line may say another command or signal";
    let mut commands = vec![at.show("ExecReload")];
    commands.extend(at.edit("", THERE));
    fix(
        "have the reload do what the program understands",
        commands,
        "a reload fails, or reaches the program, instead of ending it",
    )
    .but("without ExecReload= changed configuration takes a restart")
    .check(at.show("CanReload"))
    .see("systemd.service(5)")
}

/// Workers that end in a reload, as those of many servers do, which start others then.
pub fn reload_of_workers(at: &UnitAt) -> Fix {
    const THERE: &str = "under [Service], ExecReload= may run what lets workers finish first, where the program can do that";
    let mut commands = vec![at.about("status"), at.show("ExecReload")];
    commands.extend(at.edit("", THERE));
    fix(
        "see that others have taken its place: many programs read their settings again by starting new workers",
        commands,
        "a unit whose main process goes on works with its new settings",
    )
    .but("whoever was connected to the worker that ended has to connect again")
    .check(at.about("status"))
    .see("systemd.service(5)")
}

/// A signal by which a unit of `Type=notify-reload` is reloaded, and which its program does not handle.
pub fn survivable_reload_signal(at: &UnitAt, signal: &str) -> Fix {
    const THERE: &str = "under [Service], ReloadSignal= may name the signal that the program does understand; with Type=notify nothing is sent";
    let mut commands = vec![at.show("Type,ReloadSignal")];
    commands.extend(at.edit("", THERE));
    fix(
        &format!("have the program handle {signal}, or reload it by another signal, or not at all"),
        commands,
        "a reload fails, or reaches the program, instead of ending it",
    )
    .but("without a reload changed configuration takes a restart")
    .check(at.show("Type,ReloadSignal,CanReload"))
    .see("systemd.service(5)")
}

/// A command of a unit's start that fails.
pub fn failing_command(at: &UnitAt, setting: &str) -> Fix {
    let there = format!("in {setting}=, a - before the command has systemd ignore that it fails");
    let mut commands = vec![journal(at)];
    commands.extend(at.edit("--full ", &there));
    fix(
        "find out why the command fails, or let the unit start without it",
        commands,
        "a failure of that command no longer takes the unit down",
    )
    .but("what the command is there for has not been done then")
    .check(at.show(setting))
    .see("systemd.service(5)")
}

/// A command that is to stop a unit, and fails.
pub fn failing_stop(at: &UnitAt) -> Fix {
    const THERE: &str = "ExecStop= is what asks the program to end; it has to wait until that has ended, and exit with 0";
    let mut commands = vec![journal(at)];
    commands.extend(at.edit("--full ", THERE));
    fix(
        "find out why the command that is to stop it fails",
        commands,
        "the program ends as it is meant to, before systemd signals it",
    )
    .but("a command that waits for too long holds the stop up, until TimeoutStopSec= runs out")
    .check(at.show("ExecStop,Result"))
    .see("systemd.service(5)")
}

/// The command that starts a unit, and fails.
pub fn failing_start(at: &UnitAt) -> Fix {
    const THERE: &str = "ExecStart= is what starts the program; it has to exit with 0 once that runs (Type=forking)";
    let mut commands = vec![journal(at)];
    commands.extend(at.edit("--full ", THERE));
    fix(
        "find out why the command that starts it fails",
        commands,
        "what it has started is kept when it succeeds",
    )
    .but("until then the unit stays down, and whatever the command starts is ended with it")
    .check(at.show("ExecStart,Result"))
    .see("systemd.service(5)")
}

/// A command that says whether the unit is to start, and said no.
pub fn condition(at: &UnitAt) -> Fix {
    const THERE: &str = "in ExecCondition=, have the command wait for what it starts: what it leaves running is ended when it says no";
    let mut commands = vec![at.show("ExecCondition"), journal(at)];
    commands.extend(at.edit("--full ", THERE));
    fix(
        "see why the unit's condition said no, and what its command leaves running",
        commands,
        "the unit starts where the condition holds, and nothing is left to be cleaned up where it does not",
    )
    .but("whoever wrote the condition does not want the unit to run where it does not hold")
    .check(at.show("ConditionResult,Result"))
    .see("systemd.service(5)")
}

/// A `Type=` that says how the program really gets ready.
pub fn fitting_type(at: &UnitAt, kind: &str) -> Fix {
    let there = match kind {
        "notify" | "notify-reload" => {
            "NotifyAccess=all where another process than the main one sends READY=1; Type=exec where none does; Type=forking where it goes to the background"
        }
        "forking" => {
            "PIDFile= with the file that the program itself writes, or Type=exec where it can stay in the foreground"
        }
        "simple" | "exec" | "idle" => {
            "Type=forking, and PIDFile= where the program writes one; or ExecStart= with its option to stay in the foreground, as -F, --foreground, --nodaemon"
        }
        _ => {
            "BusName= with the name that the program takes and keeps, or Type=exec where it has none"
        }
    };
    fix(
        "say how the program gets ready",
        at.edit("", there),
        "systemd waits for what the program really does",
    )
    .but("units that are ordered after this one may be started before it can serve them")
    .check(at.show("Type,NotifyAccess,PIDFile,BusName"))
    .see("systemd.service(5), sd_notify(3)")
}

/// A process of the unit reported that it hangs.
pub fn watchdog_request(at: &UnitAt) -> Fix {
    fix(
        "find out what the program had found wrong",
        vec![journal(at), "coredumpctl list".to_owned()],
        "shows what came before WATCHDOG=trigger, and where the processes were when they were aborted",
    )
    .but(LOOKS)
    .check(at.show("WatchdogTimestamp,Result"))
    .see("sd_notify(3), coredumpctl(1)")
}

/// A command of a unit that ends no more than it should.
pub fn narrower_command(at: &UnitAt, command: &UnitCommand<'_>) -> Fix {
    let setting = command.setting;
    let there = format!(
        "under [Service]: an empty \"{setting}=\" takes away what the unit's own file has; lines after it say what is run instead"
    );
    // What was made by a program has no file any more.
    let mut commands = Vec::new();
    if !at.transient && at.lost_file.is_none() {
        commands.push(at.systemctl(&format!("cat {}", operand(&at.unit))));
    }
    commands.extend(at.edit("", &there));
    fix(
        "have the unit's command end only what it is meant to",
        commands,
        "the command is not run, or chooses by a pid file, a user or a full path rather than by a name that others have, too",
    )
    .but(match setting {
        "ExecStart" => "what the service is there for is not done meanwhile",
        _ => "the unit may rely on it to clear away what is left of an earlier run",
    })
    .check(at.show(setting))
    .see("systemd.service(5), pkill(1)")
}

/// A command that its unit waits for, and that does not end.
pub fn lasting_command(at: &UnitAt, setting: &str) -> Fix {
    let there = format!(
        "under [Service]: an empty \"{setting}=\" takes away what the unit's own file has; lines after it say what is run instead, \
         by timeout(1) where it may take too long"
    );
    fix(
        &format!("have what {setting}= runs come to an end"),
        at.edit("", &there),
        "the unit goes on as soon as that command has ended",
    )
    .but("what the command waited for may not have happened by then")
    .check(at.show(setting))
    .see("systemd.service(5), timeout(1)")
}

/// A longer `TimeoutStopSec=`. `then`: the signal that comes when it has run out.
pub fn stop_timeout(at: &UnitAt, then: &str) -> Fix {
    fix(
        "give it more time to stop",
        at.set(at.section(), "TimeoutStopSec=5min"),
        &format!("{then} follows only after five minutes"),
    )
    .but("stopping and shutting down may take that long; better make the program end on SIGTERM")
    .check(at.show("TimeoutStopUSec"))
    .see("systemd.service(5), systemd.scope(5)")
}

/// An init before a program that is process 1 of a pid namespace and does not get this signal.
pub fn init_in_front(at: &UnitAt, signal: &str) -> Fix {
    let there = "under [Service]: an empty \"ExecStart=\", and then the line again with an init before the program \
                 (ExecStart=/usr/bin/tini -- PROGRAM); or, where PrivatePIDs=yes makes the namespace, PrivatePIDs=no";
    fix(
        &format!("have it end on {signal}, though it is process 1 of its pid namespace"),
        at.edit("", there),
        &format!("{signal} ends it at once: an init gets it and passes it on, or there is no namespace"),
    )
    .but("an init has to be installed; without PrivatePIDs= the service sees the processes of others")
    .check(at.show("ExecStart,PrivatePIDs"))
    .see("pid_namespaces(7), systemd.exec(5), tini(1)")
}

/// A longer `TimeoutAbortSec=`. `then`: the signal that comes when it has run out.
pub fn abort_timeout(at: &UnitAt, then: &str) -> Fix {
    fix(
        "give it more time when it is aborted",
        at.set("Service", "TimeoutAbortSec=5min"),
        &format!("{then} follows the signal that aborts it only after five minutes"),
    )
    .but("one that hangs is there, and not restarted, for that much longer")
    .check(at.show("TimeoutAbortUSec"))
    .see("systemd.service(5)")
}

/// A longer `TimeoutStartSec=`.
pub fn start_timeout(at: &UnitAt) -> Fix {
    fix(
        "give it more time to start",
        at.set("Service", "TimeoutStartSec=5min"),
        "systemd waits five minutes for it to be ready",
    )
    .but("one that never gets ready is noticed later: of Type=notify it has to send READY=1, of Type=forking to return")
    .check(at.show("TimeoutStartUSec"))
    .see("systemd.service(5), sd_notify(3)")
}

/// A longer `TimeoutStartSec=`, which a reload has as well.
pub fn reload_timeout(at: &UnitAt) -> Fix {
    fix(
        "give it more time to reload",
        at.set("Service", "TimeoutStartSec=5min"),
        "systemd waits five minutes for what ExecReload= runs, or for READY=1 of Type=notify-reload",
    )
    .but("its start may take that long, too; a reload that hangs is noticed later")
    .check(at.show("TimeoutStartUSec"))
    .see("systemd.service(5)")
}

/// No `RuntimeMaxSec=`.
pub fn runtime_max(at: &UnitAt) -> Fix {
    fix(
        "let it run for as long as it wants",
        at.set(at.section(), "RuntimeMaxSec=infinity"),
        "systemd no longer ends it for its age",
    )
    .but("somebody set the limit on purpose: one that hangs is no longer ended")
    .check(at.show("RuntimeMaxUSec"))
    .see("systemd.service(5), systemd.scope(5)")
}

/// A longer `WatchdogSec=`.
pub fn watchdog(at: &UnitAt) -> Fix {
    fix(
        "find out why it was silent, or give it more time between its signs of life",
        at.set("Service", "WatchdogSec=5min"),
        "systemd ends it only when it has sent no WATCHDOG=1 for five minutes",
    )
    .but("one that hangs is noticed later; SIGABRT leaves a core dump, which shows where it hung")
    .check(at.show("WatchdogUSec"))
    .see("systemd.service(5), sd_watchdog_enabled(3), coredumpctl(1)")
}

/// `OOMPolicy=continue`
pub fn oom_policy(at: &UnitAt) -> Fix {
    fix(
        "let the unit go on when one of its processes is killed for memory",
        at.set(at.section(), "OOMPolicy=continue"),
        "systemd leaves the other processes of the unit alone",
    )
    .but("the unit runs on without the process that was killed")
    .check(at.show("OOMPolicy"))
    .see("systemd.service(5)")
}

/// `ManagedOOMPreference=avoid`
pub fn oomd_avoid(at: &UnitAt) -> Fix {
    fix(
        "have systemd-oomd choose others first",
        at.set(at.section(), "ManagedOOMPreference=avoid"),
        "systemd-oomd kills this unit only when nothing else is left",
    )
    .but("something else is killed instead; it counts for this unit's own cgroup, not for those below it")
    .check(at.show("ManagedOOMPreference"))
    .see("systemd.resource-control(5)")
}

/// systemd-oomd does not watch a unit; `switch` is the setting that has it do so.
pub fn oomd_unwatched(at: &UnitAt, switch: &str) -> Fix {
    fix(
        &format!("have systemd-oomd leave {} alone", at.unit),
        at.set(at.section(), &format!("{switch}=auto")),
        "systemd-oomd no longer kills in it for that reason",
    )
    .but("what uses up the memory goes on, until the kernel's OOM killer chooses somebody")
    .check(at.show(switch))
    .see("systemd.resource-control(5), oomd.conf(5)")
}

/// A higher resource limit in a unit's own file.
pub fn unit_limit(at: &UnitAt, name: &str) -> Fix {
    fix(
        &format!("raise {name}= of {}", at.unit),
        at.set("Service", &format!("{name}=infinity")),
        "the limit no longer applies to what the unit starts",
    )
    .but(
        "what runs wild is no longer ended; choose a value rather than infinity where you know one",
    )
    .check(at.show(name))
    .see("systemd.exec(5), setrlimit(2)")
}

/// `IgnoreSIGPIPE=yes`, which is the default.
pub fn ignore_broken_pipes(at: &UnitAt) -> Fix {
    fix(
        "have a broken pipe be an error instead",
        at.set("Service", "IgnoreSIGPIPE=yes"),
        "writing to a pipe without a reader fails, and the process goes on",
    )
    .but("programs that rely on being ended by it, as parts of pipelines, may run on")
    .check(at.show("IgnoreSIGPIPE"))
    .see("systemd.exec(5)")
}

/// A system call that fails instead of ending the process.
pub fn system_call_fails(at: &UnitAt) -> Fix {
    let mut commands = at.set("Service", "SystemCallErrorNumber=EPERM");
    commands.push(remark("or allow what it needs, there: SystemCallFilter= with the call or its group (systemd-analyze syscall-filter)"));
    fix(
        "let a forbidden system call fail instead",
        commands,
        "the call returns an error, which the program may cope with",
    )
    .but("a program that is attacked goes on running")
    .check(at.show("SystemCallFilter,SystemCallErrorNumber"))
    .see("systemd.exec(5), seccomp(2)")
}
