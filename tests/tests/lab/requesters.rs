//! Who is behind a stop: an update, an at job, somebody who meant the whole slice or the whole manager, systemd
//! itself after a failure.

use killtrace_tests::lab::{Killtrace, Lab, Options};

use crate::death::Death;
use crate::units::{start, unit, verdict};
use crate::{kill_user_processes, lab};

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

fn with_victim(options: Options) -> Options {
    unit(options, "victim.service", SLEEPS)
}

/// As unattended-upgrades does it: a service of apt's, a package's script, deb-systemd-invoke.
#[test]
fn an_unattended_upgrade_restarts_it() {
    let upgrade = "#!/bin/sh\n/var/lib/dpkg/info/victim.postinst configure 1.0\n";
    let postinst = "#!/bin/sh\ndeb-systemd-invoke restart victim.service\n";
    let options = with_victim(Options::default())
        .file("/usr/bin/unattended-upgrade", upgrade)
        .file("/var/lib/dpkg/info/victim.postinst", postinst);
    let upgrades = "[Service]\nType=oneshot\nExecStartPre=/bin/chmod 755 /usr/bin/unattended-upgrade \
                    /var/lib/dpkg/info/victim.postinst\nExecStart=/usr/bin/unattended-upgrade\n";
    let lab = lab(&unit(options, "upgrades.service", upgrades));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "start", "upgrades.service"]).expect("upgraded");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    for word in ["unattended-upgrade", "restart victim.service", "upgrades.service"] {
        assert!(explanation.contains(word), "{word}: {death}");
    }
    death.assert_killer(1, "systemd");
    death.assert_chain(&[
        ("command", "systemctl start upgrades.service"),
        ("job", "start upgrades.service"),
        ("command", "upgrades.service ran"),
        ("job", "restart victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_ruled_out("unit-dependency");
    death.fix_with("apt-mark hold");
    death.fix_with("journalctl -u upgrades.service");
}

#[test]
fn an_at_job_kills_it() {
    let lab = lab(&with_victim(Options::default()));
    let pid = start(&lab, &["victim.service"]);
    lab.exec(&["systemctl", "start", "atd.service"]).expect("atd starts");
    let death = verdict(&lab, pid, || {
        lab.exec(&["sh", "-c", "echo 'pkill --exact sleep' | at now"]).expect("a job");
    });
    assert_eq!(death.cause(), "user-command", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "pkill", "{death}");
    death.assert_says(&["root ran \"pkill --exact sleep\"", "in an at job"]);
    death.assert_chain(&[("command", "pkill --exact sleep"), ("signal", "SIGTERM")]);
    death.fix_with("sudo atq");
}

/// A process of alice's that outlives nothing: it runs in her session's scope.
fn job_of_alice(lab: &Lab) -> (killtrace_tests::lab::Login, u32) {
    let mut login = lab.login().expect("alice logs in");
    let pid = login.run("(setsid sleep 1000 >/dev/null 2>&1 & echo $!)").expect("a job");
    (login, pid.parse().expect("its pid"))
}

#[test]
fn a_signal_to_a_whole_slice() {
    let lab = lab(&kill_user_processes("no"));
    let (_login, pid) = job_of_alice(&lab);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "kill", "-s", "KILL", "user-1000.slice"]).expect("killed");
    });
    assert_eq!(death.cause(), "systemctl-kill", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_chain(&[
        ("command", "systemctl kill -s KILL user-1000.slice"),
        ("signal", "SIGKILL"),
    ]);
    death.assert_says(&["passed it on to user-1000.slice: root ran"]);
    death.assert_ruled_out("logind-kill-user-processes");
    death.fix_with("sudo systemd-run --uid=alice --unit=my-job sleep");
}

#[test]
fn the_stop_of_a_whole_slice() {
    let lab = lab(&kill_user_processes("no"));
    let (_login, pid) = job_of_alice(&lab);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "user-1000.slice"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("lives in user-1000.slice"), "{death}");
    death.assert_chain(&[
        ("command", "systemctl stop user-1000.slice"),
        ("job", "user-1000.slice"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_ruled_out("logind-kill-user-processes");
    // logind writes that line for the session, since 256 systemd ships it for the user's directory that a session needs.
    let slice = death.setting("Slice");
    assert!(slice["file"].is_string() && slice["line"].is_u64(), "{death}");
    death.fix_with("sudo systemd-run --uid=alice");
}

/// A unit goes with the slice that its own slice is in.
#[test]
fn the_stop_of_a_slice_around_its_slice() {
    let in_slice = "[Service]\nSlice=my-x.slice\nExecStart=/bin/sleep 1000\n";
    let lab = lab(&unit(Options::default(), "victim.service", in_slice));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "my.slice"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    let words =
        ["lives in my-x.slice", "it lives in my.slice", "root ran \"systemctl stop my.slice"];
    death.assert_says(&words);
    death.assert_setting("Slice", "my-x.slice", "/etc/systemd/system/victim.service", 2);
    death.assert_chain(&[
        ("command", "systemctl stop my.slice"),
        ("job", "stop my.slice"),
        ("job", "stop my-x.slice"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("choose another slice instead of Slice=my-x.slice");
}

/// Who starts a target has everything started that it wants.
#[test]
fn what_a_target_wants_stops_it() {
    let cleans = "[Service]\nType=oneshot\nExecStart=/bin/systemctl stop victim.service\n";
    let options = unit(with_victim(Options::default()), "clean.service", cleans);
    let lab = lab(&unit(options, "my.target", "[Unit]\nWants=clean.service\n"));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "start", "my.target"]).expect("started");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    for words in ["clean.service (wanted by my.target", "systemctl start my.target"] {
        assert!(explanation.contains(words), "{words}: {death}");
    }
}

#[test]
fn a_user_has_the_own_manager_exit() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    login.run("systemd-run --user --quiet --unit=worker sleep 1000").expect("a unit of hers");
    let pid = lab.pid_of("sleep").expect("its pid");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    // Her manager is gone in a moment: what is to be heard from it has to be listened to before.
    killtrace.learns(&["\"unit\":\"worker.service\"", "\"properties\""]).expect("the unit");
    // The manager may be gone before it has answered.
    login.run("systemctl --user start exit.target || true").expect("asked");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert!(killtrace.wait().expect("killtrace ends").status.success());
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_chain(&[
        ("command", "systemctl --user start exit.target"),
        ("job", ".target"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_says(&["which was told to exit", "alice ran", "in ssh session"]);
    death.assert_ruled_out("logind-user-stopped");
    death.fix_with("sudo systemd-run --uid=alice --unit=my-job /usr/bin/sleep 1000");
}

/// polkit lets alice do what she likes, and she has the victim's unit stopped by this command.
fn alice_may_and_runs(command: &str) -> Death {
    let rule = "polkit.addRule(function(action, subject) {\n\
                \x20 if (subject.user == \"alice\") return polkit.Result.YES;\n});\n";
    let options = with_victim(kill_user_processes("no"))
        .file("/usr/share/polkit-1/rules.d/10-lab.rules", rule);
    let lab = lab(&options);
    let pid = start(&lab, &["victim.service"]);
    let mut login = lab.login().expect("alice logs in");
    let death = verdict(&lab, pid, || drop(login.run(command).expect("stopped")));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death
}

/// No root, no private socket: polkit lets alice, and the bus shows her call.
#[test]
fn polkit_lets_a_user_stop_it() {
    let death = alice_may_and_runs("systemctl stop victim.service");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("alice ran"), "{death}");
    assert!(explanation.contains("in ssh session"), "{death}");
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("bus-call", "StopUnit"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("systemctl start victim.service");
}

/// PID 1 runs it as root, for her: she is behind it, as behind what sudo runs.
#[test]
fn a_user_has_systemd_run_what_stops_it() {
    let death = alice_may_and_runs("systemd-run --quiet --wait systemctl stop victim.service");
    let explanation = death.0["cause"]["explanation"].to_string();
    for word in ["alice ran", "systemd-run --quiet --wait", "(through run-", "in ssh session"] {
        assert!(explanation.contains(word), "{word}: {death}");
    }
    death.assert_chain(&[
        ("command", "systemd-run --quiet --wait"),
        ("bus-call", "StartTransientUnit"),
        ("command", "systemctl stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
}

/// A unit fails, and what it starts then stops the victim's.
#[test]
fn what_a_failed_unit_starts_stops_it() {
    let fails = "[Unit]\nOnFailure=clean.service\n[Service]\nExecStart=/bin/false\n";
    let clean = "[Service]\nType=oneshot\nExecStart=/bin/systemctl stop victim.service\n";
    let options = unit(with_victim(Options::default()), "fails.service", fails);
    let lab = lab(&unit(options, "clean.service", clean));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.output(&["systemctl", "start", "fails.service"]).expect("started");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    let words = "clean.service (started by OnFailure= of fails.service";
    assert!(explanation.contains(words), "{death}");
}

/// A system that goes down without anybody having asked for it, by this setting of a unit.
fn goes_down_by(unit_text: &str, name: &str, value: &str, event: (&str, &str)) -> Death {
    let lab = lab(&unit(with_victim(Options::default()), "other.service", unit_text));
    let pid = start(&lab, &["victim.service"]);
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.output(&["systemctl", "start", "--no-block", "other.service"]).expect("asked");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "system-shutdown", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting(name, value, "/etc/systemd/system/other.service", 2);
    death.assert_chain(&[event, ("job", "poweroff.target"), ("signal", "SIGTERM")]);
    assert!(!death.0["gaps"].to_string().contains("who asked"), "{death}");
    death.fix_with(&format!("{name}=none"));
    death
}

/// Nobody asks: a unit's failure takes the system down, as its settings have it.
#[test]
fn a_failure_takes_the_system_down() {
    let fails =
        "[Unit]\nFailureAction=poweroff\n[Service]\nExecStart=/bin/sh -c 'sleep 1; exit 3'\n";
    goes_down_by(fails, "FailureAction", "poweroff", ("unit-state", "other.service"));
}

#[test]
fn a_success_takes_the_system_down() {
    let ends = "[Unit]\nSuccessAction=poweroff\n[Service]\nExecStart=/bin/sleep 1\n";
    goes_down_by(ends, "SuccessAction", "poweroff", ("unit-state", "other.service"));
}

#[test]
fn too_many_starts_take_the_system_down() {
    let fails = "[Unit]\nStartLimitAction=poweroff\nStartLimitBurst=2\n\
                 [Service]\nRestart=always\nExecStart=/bin/false\n";
    goes_down_by(fails, "StartLimitAction", "poweroff", ("unit-state", "other.service"));
}

#[test]
fn a_job_that_takes_too_long_takes_the_system_down() {
    let slow = "[Unit]\nJobTimeoutAction=poweroff\nJobTimeoutSec=2\n[Service]\nType=oneshot\nExecStart=/bin/sleep 100\n";
    let death = goes_down_by(slow, "JobTimeoutAction", "poweroff", ("timeout", "other.service"));
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("the job for other.service had just timed out"), "{death}");
}

/// The machine's init is nspawn's; what it runs goes with it when machined is told to end the machine.
fn machine_ended_by(lab: &Lab, command: &[&str]) -> Death {
    let make = "for d in usr bin sbin lib lib64 etc; do mkdir -p /run/box/$d && mount --bind /$d /run/box/$d || exit 1; done; \
                cd /run/box && mkdir -p proc sys dev run tmp var root; \
                systemd-run --quiet --unit=box systemd-nspawn --quiet -D /run/box -M box --as-pid2 /bin/sleep 1000";
    lab.exec(&["sh", "-c", make]).expect("a machine");
    let pid = lab.pid_of("sleep");
    verdict(lab, pid.expect("its pid"), || drop(lab.exec(command).expect("ended")))
}

#[test]
fn a_machine_is_terminated() {
    let lab = lab(&Options::default());
    let death = machine_ended_by(&lab, &["machinectl", "terminate", "box"]);
    assert_eq!(death.cause(), "container-stop", "{death}");
    assert_eq!(death.0["victim"]["container"]["name"], "box", "{death}");
    death.assert_says(&["container box was terminated: root ran \"machinectl terminate box\""]);
    death.assert_chain(&[
        ("command", "machinectl terminate box"),
        ("bus-call", "TerminateMachine"),
        ("signal", "SIGKILL to sleep"),
    ]);
    // systemd-nspawn kills the machine's init, or has systemd kill all of the machine (seen on 262).
    if death.0["signal"]["mechanism"] == "pid-namespace-exit" {
        death.assert_chain(&[("bus-call", "TerminateMachine"), ("signal", "systemd-nspawn")]);
    } else {
        death.assert_killer(1, "systemd");
    }
    // It had been started by hand.
    death.assert_no_fix();
}

fn explanation(death: &Death) -> &str {
    death.0["cause"]["explanation"].as_str().unwrap_or_default()
}

/// machined has systemd pass it on.
#[test]
fn a_machine_gets_a_signal() {
    let lab = lab(&Options::default());
    let death = machine_ended_by(&lab, &["machinectl", "kill", "-s", "TERM", "box"]);
    assert_eq!(death.cause(), "container-stop", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_says(&["was told to end: root ran \"machinectl kill -s TERM box\""]);
    death.assert_ruled_out("systemctl-kill");
    death.assert_no_fix();
    death.assert_chain(&[
        ("command", "machinectl kill"),
        ("bus-call", "KillMachine"),
        ("signal", "SIGTERM"),
    ]);
}

/// By the unit that runs it, and by its own scope, of which systemd-nspawn hears without a signal.
#[test]
fn a_machine_ends_with_its_unit() {
    for of_scope in [false, true] {
        let lab = lab(&Options::default());
        let version = lab.exec(&["systemctl", "--version"]).expect("its version");
        let version = version.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok());
        // Seen on systemd 262, and not on 257.
        let is_named_alone = version.is_some_and(|version| version >= 262);
        let (unit, cause) = match (of_scope, is_named_alone) {
            (false, _) => ("box.service", "container-stop"),
            (true, false) => ("machine-box.scope", "container-stop"),
            // systemd kills what is in the scope itself there.
            (true, true) => ("box.scope", "unit-stop-requested"),
        };
        let death = machine_ended_by(&lab, &["systemctl", "stop", unit]);
        assert_eq!(death.cause(), cause, "{death}");
        let asked = format!("systemctl stop {unit}");
        assert!(explanation(&death).contains(&asked), "{death}");
        death.assert_chain(&[("command", &asked), ("job", unit), ("signal", "SIGKILL")]);
    }
}

/// As the triggers of Fedora's and openSUSE's packages do it.
#[test]
fn an_upgrade_restarts_what_it_has_marked() {
    let helper = "/usr/lib/systemd/systemd-update-helper";
    let upgrade = format!(
        "#!/bin/sh\nsystemctl set-property --runtime victim.service Markers=+needs-restart\n{helper}\ntrue\n"
    );
    let options = with_victim(Options::default())
        .file("/usr/bin/dnf", &upgrade)
        .file(helper, "#!/bin/bash\nsystemctl reload-or-restart --marked\ntrue\n");
    let lab = lab(&options);
    lab.exec(&["chmod", "755", "/usr/bin/dnf", helper]).expect("programs");
    let pid = start(&lab, &["victim.service"]);
    let mut login = lab.login().expect("alice logs in");
    let death = verdict(&lab, pid, || drop(login.run("sudo dnf -y upgrade").expect("upgraded")));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    for words in ["alice ran \"sudo dnf -y upgrade\"", "victim.service had been marked"] {
        assert!(explanation(&death).contains(words), "{words}: {death}");
    }
    death.assert_chain(&[("command", "dnf"), ("job", "victim.service"), ("signal", "SIGTERM")]);
    death.fix_with("versionlock");
}

/// What ends what a batch job has left when that ran out of time, and says so; as a program of Slurm's name does it here.
#[test]
fn a_batch_job_runs_out_of_time() {
    const DAEMON: &str = "/usr/sbin/slurmstepd";
    let steps = "#!/usr/bin/perl\n$| = 1;\nmy $job = fork;\n\
        if (!$job) { $ENV{SLURM_JOB_ID} = 5; exec '/bin/sleep', '1000' }\n\
        open my $end, '<', '/run/end'; <$end>;\n\
        print \"*** JOB 5 ON lab CANCELLED AT 2026-11-29T22:28:01 DUE TO TIME LIMIT ***\\n\";\n\
        kill 'TERM', $job;\nwaitpid $job, 0;\nsleep 1000;\n";
    let service = format!("[Service]\nExecStartPre=/usr/bin/mkfifo /run/end\nExecStart={DAEMON}\n");
    let lab = lab(&unit(Options::default().file(DAEMON, steps), "slurmd.service", &service));
    start(&lab, &["slurmd.service"]);
    let pid = lab.pid_of("sleep").expect("its job");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("its time is over");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert!(killtrace.wait().expect("killtrace ends").status.success());
    assert_eq!(death.cause(), "batch-job-ended", "{death}");
    assert_eq!(death.0["cause"]["evidence"], "reported", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "slurmstepd", "{death}");
    death.assert_says(&["slurm job 5 was ended", "it ran out of the time that it was given"]);
    death.assert_chain(&[("timeout", "DUE TO TIME LIMIT"), ("signal", "SIGTERM")]);
    death.fix_with("sacct -j 5");
}
