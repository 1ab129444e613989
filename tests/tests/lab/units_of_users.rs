//! Units of a user's own, with files in the home directory, and the end of a user's manager that cannot end them.

use killtrace_tests::lab::{Killtrace, Lab, Login, Options};
use serde_json::Value;

use crate::death::Death;
use crate::units::{drop_in, main_pid, verdict};
use crate::{kill_user_processes, lab};

const DIRECTORY: &str = "/home/alice/.config/systemd/user";
const OWN: &str = "/home/alice/.config/systemd/user/own.service";
const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

/// alice, logged in, with these units, which she has started; and her manager.
fn with(options: &Options, units: &[(&str, &str)]) -> (Lab, Login, u32) {
    let lab = lab(options);
    for (name, text) in units {
        lab.write(&format!("{DIRECTORY}/{name}"), text).expect("written");
    }
    lab.exec(&["chown", "-R", "alice:", "/home/alice/.config"]).expect("they are hers");
    let mut login = lab.login().expect("alice logs in");
    let names: Vec<&str> = units.iter().map(|(name, _)| *name).collect();
    login.run(&format!("systemctl --user start {}", names.join(" "))).expect("started");
    let manager = main_pid(&lab, "user@1000.service");
    (lab, login, manager)
}

fn pid_of_own(login: &mut Login) -> u32 {
    let pid = login.run("systemctl --user show -p MainPID --value own.service").expect("asked");
    pid.parse().expect("its pid")
}

#[test]
fn leftovers_of_a_service() {
    let text = "[Service]\nKillMode=mixed\nExecStartPre=/usr/bin/mkfifo %t/end\n\
                ExecStart=/bin/sh -c 'setsid sleep 1000 & read end < %t/end'\n";
    let (lab, mut login, manager) = with(&kill_user_processes("no"), &[("own.service", text)]);
    let pid = lab.pid_of("sleep").expect("the helper's pid");
    let death = verdict(&lab, pid, || {
        login.run("echo now > /run/user/1000/end").expect("told to end");
    });
    assert_eq!(death.cause(), "unit-main-process-exited", "{death}");
    death.assert_killer(manager, "systemd");
    assert_eq!(death.0["victim"]["user_unit"], "own.service", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_setting("KillMode", "mixed", OWN, 2);
    death.assert_chain(&[("process-exit", "exited with 0"), ("signal", "SIGKILL")]);
    death.assert_no_link("job");
    death.fix_with("systemd-run --user --unit=my-job sleep 1000");
    death.fix_with("tee ~alice/.config/systemd/user/own.service.d/zz-killtrace-KillMode.conf");
}

/// Over a bus of her own, as desktops have it, carried by the program that most of them have.
#[test]
fn a_request_over_her_own_bus() {
    let stop = |unit: &str| {
        format!(
            "busctl --user call org.freedesktop.systemd1 /org/freedesktop/systemd1 \
             org.freedesktop.systemd1.Manager StopUnit ss {unit} replace"
        )
    };
    let options = kill_user_processes("no").dbus_broker();
    let units = [("own.service", SLEEPS), ("other.service", SLEEPS)];
    let (lab, mut login, manager) = with(&options, &units);
    let pid = pid_of_own(&mut login);
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    // The first call has that bus started; of what comes before it is read nobody hears.
    let calls = stop("other.service");
    let calls = format!("(for n in $(seq 30); do {calls}; sleep 1; done > /dev/null 2>&1 &)");
    login.run(&calls).expect("asked");
    killtrace.learns(&["bus-call", "other.service"]).expect("her bus is read");
    login.run(&stop("own.service")).expect("asked");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(manager, "systemd");
    death.assert_chain(&[
        ("bus-call", "StopUnit(\"own.service\""),
        ("job", "own.service"),
        ("signal", "SIGTERM"),
    ]);
    let call = death.chain().iter().find(|link| link["event"] == "bus-call");
    assert_eq!(call.expect("asserted")["actor"]["comm"], "busctl", "{death}");
}

/// The fix is for root to follow as it stands, who has another home and another manager.
#[test]
fn a_service_runs_too_long() {
    let text = format!("{SLEEPS}RuntimeMaxSec=3\n");
    let (lab, mut login, manager) = with(&kill_user_processes("no"), &[("own.service", &text)]);
    let pid = pid_of_own(&mut login);
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "unit-runtime-max", "{death}");
    death.assert_killer(manager, "systemd");
    death.assert_setting("RuntimeMaxSec", "3", OWN, 3);
    death.assert_chain(&[
        ("timeout", "own.service: Service reached runtime time limit"),
        ("signal", "SIGTERM"),
    ]);
    let fix = death.fix_with("RuntimeMaxSec=infinity");
    for line in fix["commands"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        lab.exec(&["sh", "-c", line]).expect("done as told");
    }
    let check = fix["verify"].as_str().expect("a check");
    assert_eq!(lab.exec(&["sh", "-c", check]).expect("as told").trim(), "RuntimeMaxUSec=infinity");
    // It is hers to follow as well.
    assert_eq!(login.run(check).expect("as told"), "RuntimeMaxUSec=infinity");
}

#[test]
fn part_of_another() {
    let text = format!("[Unit]\nPartOf=base.service\n{SLEEPS}");
    let units = [("own.service", text.as_str()), ("base.service", SLEEPS)];
    let (lab, mut login, manager) = with(&kill_user_processes("no"), &units);
    let pid = pid_of_own(&mut login);
    let death = verdict(&lab, pid, || {
        login.run("systemctl --user stop base.service").expect("stopped");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_killer(manager, "systemd");
    death.assert_says(&["base.service was stopped: alice ran \"systemctl --user stop base"]);
    death.assert_setting("PartOf", "base.service", OWN, 2);
    death.assert_chain(&[
        ("command", "systemctl --user stop base.service"),
        ("job", "base.service"),
        ("job", "own.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("systemctl --user edit --full own.service");
    death.fix_with("take out PartOf=base.service");
}

/// Her manager cannot end her unit in the time that it has itself: PID 1 ends them all.
#[test]
fn a_manager_that_takes_too_long() {
    const LIMIT: &str = "/etc/systemd/system/user@.service.d/60-lab.conf";
    let options =
        drop_in(kill_user_processes("no"), "user@.service", "[Service]\nTimeoutStopSec=2\n");
    let text = "[Service]\nExecStart=/bin/sh -c 'trap \"\" TERM; exec sleep 1000'\n";
    let (lab, _login, _) = with(&options, &[("own.service", text)]);
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "user@1000.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_says(&["root ran \"systemctl stop user@1000.service\""]);
    death.assert_setting("TimeoutStopSec", "2", LIMIT, 2);
    death.assert_chain(&[
        ("command", "systemctl stop user@1000.service"),
        ("job", "stop user@1000.service"),
        ("signal", "which ignores it"),
        ("timeout", "State 'stop-sigterm' timed out"),
        ("signal", "SIGKILL"),
    ]);
    death.fix_with("TimeoutStopSec=5min");
    // That is what has her own manager end her units.
    assert!(!death.0["fixes"].to_string().contains("KillMode="), "{death}");
}
