//! What a service manager runs for a unit beside its main process, and whom that ends: `ExecStartPre=`,
//! `ExecStopPost=` and their kind; and workers that go by themselves when their main process is gone.

use killtrace_tests::lab::{Killtrace, Lab, Options, PATIENCE, wait_for};

use crate::death::Death;
use crate::lab;
use crate::units::{main_pid, start, unit, verdict};

const VICTIM: &str = "/etc/systemd/system/victim.service";
const OTHER: &str = "/etc/systemd/system/other.service";
const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep 1000\n";
/// A main process that ends when it is told to, and a helper; the manager leaves the helper alone.
const WITH_HELPER: &str =
    "[Service]\nKillMode=process\nExecStart=/bin/sh -c 'setsid sleep 1000 & read end < /run/end'\n";

fn victim(text: &str) -> Options {
    // Made at boot: a command of the unit's own would be one more.
    let fifo = "p /run/end 0600 root root -\n";
    unit(Options::default(), "victim.service", text).file("/etc/tmpfiles.d/lab.conf", fifo)
}

fn with_other(text: &str) -> Options {
    unit(victim(SLEEPS), "other.service", &format!("[Service]\n{text}"))
}

fn start_other(lab: &Lab) {
    lab.exec(&["systemctl", "start", "other.service"]).expect("it starts");
}

fn end_main_process(lab: &Lab) {
    lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to end");
}

fn explanation(death: &Death) -> String {
    death.0["cause"]["explanation"].to_string()
}

/// Asserts that a command of a unit did it, which the test's own pkill is.
fn assert_by_command(death: &Death, setting: &str, value: &str, file: &str, line: u32) {
    assert_eq!(death.cause(), "unit-command", "{death}");
    assert_by_line(death, setting, value, file, line);
}

fn assert_by_line(death: &Death, setting: &str, value: &str, file: &str, line: u32) {
    assert_eq!(death.0["killer"]["kind"], "process", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "pkill", "{death}");
    death.assert_setting(setting, value, file, line);
    assert!(explanation(death).contains(&format!("for {setting}= of ")), "{death}");
    assert!(
        !explanation(death).contains("root ran \\\"/usr/bin/pkill"),
        "nobody typed it: {death}"
    );
    death.fix_with(&format!("{setting}="));
}

#[test]
fn a_command_before_the_start_ends_another_units_process() {
    let lab = lab(&with_other(
        "ExecStartPre=/usr/bin/pkill --exact sleep\nExecStart=/usr/bin/tail -f /dev/null\n",
    ));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || start_other(&lab));
    assert_by_command(&death, "ExecStartPre", "/usr/bin/pkill --exact sleep", OTHER, 2);
    death.assert_chain(&[
        ("command", "systemctl start other.service"),
        ("job", "start other.service"),
        ("command", "for ExecStartPre= of other.service"),
        ("signal", "SIGTERM"),
    ]);
    assert!(explanation(&death).contains("systemctl start other.service"), "{death}");
}

#[test]
fn a_command_after_the_start_ends_another_units_process() {
    let lab = lab(&with_other(
        "ExecStart=/usr/bin/tail -f /dev/null\nExecStartPost=/bin/sh -c 'pkill --exact sleep; true'\n",
    ));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || start_other(&lab));
    let line = "/bin/sh -c 'pkill --exact sleep; true'";
    assert_by_command(&death, "ExecStartPost", line, OTHER, 3);
    assert!(explanation(&death).contains("part of"), "{death}");
}

/// Not a stop: systemd has left the helper alone, and the next start clears it away.
#[test]
fn a_restart_clears_away_what_an_earlier_run_has_left() {
    let lab = lab(&victim(&format!("{WITH_HELPER}ExecStartPre=-/usr/bin/pkill --exact sleep\n")));
    start(&lab, &["victim.service"]);
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "restart", "victim.service"]).expect("restarted");
    });
    assert_by_command(&death, "ExecStartPre", "-/usr/bin/pkill --exact sleep", VICTIM, 4);
    death.assert_chain(&[
        ("command", "systemctl restart victim.service"),
        ("job", "victim.service"),
        ("command", "for ExecStartPre= of victim.service"),
        ("signal", "SIGTERM"),
    ]);
}

/// The stop was asked for, and it was the command after it, not the one for it, that ended the helper.
#[test]
fn a_stop_clears_away_by_a_command() {
    let text = format!(
        "{WITH_HELPER}ExecStop=/bin/kill $MAINPID\nExecStopPost=/usr/bin/pkill --exact sleep\n"
    );
    let lab = lab(&victim(&text));
    start(&lab, &["victim.service"]);
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "pkill", "{death}");
    death.assert_setting("ExecStopPost", "/usr/bin/pkill --exact sleep", VICTIM, 5);
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("job", "stop victim.service"),
        ("command", "for ExecStopPost= of victim.service"),
        ("signal", "SIGTERM"),
    ]);
    assert!(!explanation(&death).contains("ExecStop= of"), "{death}");
    death.fix_with("ExecStopPost=");
}

/// No stop was asked for: the main process ended by itself.
#[test]
fn a_command_clears_away_after_the_main_process() {
    let lab = lab(&victim(&format!("{WITH_HELPER}ExecStopPost=/usr/bin/pkill --exact sleep\n")));
    start(&lab, &["victim.service"]);
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || end_main_process(&lab));
    assert_by_command(&death, "ExecStopPost", "/usr/bin/pkill --exact sleep", VICTIM, 4);
    death.assert_chain(&[
        ("process-exit", "sh"),
        ("command", "for ExecStopPost= of victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_no_link("job");
    assert!(explanation(&death).contains("exited with 0"), "{death}");
}

#[test]
fn a_command_after_the_end_takes_too_long() {
    let lab = lab(&victim(
        "[Service]\nTimeoutStopSec=4\nExecStart=/usr/bin/tail -f /dev/null\nExecStopPost=/bin/sleep 1000\n",
    ));
    start(&lab, &["victim.service"]);
    lab.exec(&["systemctl", "stop", "--no-block", "victim.service"]).expect("stopping");
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "unit-stop-timeout", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting("TimeoutStopSec", "4", VICTIM, 2);
    death.assert_setting("ExecStopPost", "/bin/sleep 1000", VICTIM, 4);
    death.assert_chain(&[
        ("command", "for ExecStopPost= of victim.service"),
        ("timeout", "State 'stop-post' timed out"),
        ("signal", "SIGTERM"),
    ]);
    assert!(explanation(&death).contains("ExecStopPost="), "{death}");
    death.fix_with("TimeoutStopSec=");
}

/// What clears up every night: nobody typed it, and the timer is named.
#[test]
fn a_timers_service_ends_it() {
    let options = with_other("Type=oneshot\nExecStart=/usr/bin/pkill --exact sleep\n");
    let timer = "[Timer]\nOnActiveSec=100ms\nAccuracySec=1ms\n";
    let lab = lab(&unit(options, "other.timer", timer));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "start", "other.timer"]).expect("started");
    });
    assert_eq!(death.cause(), "user-command", "{death}");
    assert_by_line(&death, "ExecStart", "/usr/bin/pkill --exact sleep", OTHER, 3);
    assert!(explanation(&death).contains("other.timer"), "{death}");
    death.assert_chain(&[
        ("job", "other.service"),
        ("command", "for ExecStart= of other.service"),
        ("signal", "SIGTERM"),
    ]);
}

/// What alice's own manager runs she has not typed either.
#[test]
fn a_users_timers_service_ends_it() {
    let tidy = "[Service]\nType=oneshot\nExecStart=/usr/bin/pkill --exact sleep\n";
    let options = Options::default()
        .file("/etc/systemd/user/tidy.service", tidy)
        .file("/etc/systemd/user/tidy.timer", "[Timer]\nOnActiveSec=100ms\nAccuracySec=1ms\n");
    let lab = lab(&options);
    let mut login = lab.login().expect("alice logs in");
    // A manager may find it by the link in /etc/xdg that Debian has.
    let file = login.run("systemctl --user show -P FragmentPath tidy.service").expect("its file");
    let pid = login.run("(setsid sleep 1000 >/dev/null 2>&1 & echo $!)");
    let pid: u32 = pid.expect("a victim").parse().expect("its pid");
    let death = verdict(&lab, pid, || {
        login.run("systemctl --user start tidy.timer").expect("started");
    });
    assert_eq!(death.cause(), "user-command", "{death}");
    assert_by_line(&death, "ExecStart", "/usr/bin/pkill --exact sleep", file.trim(), 3);
    let told = explanation(&death);
    let words = "alice's systemd --user ran for ExecStart= of tidy.service";
    assert!(told.contains(words) && told.contains("tidy.timer"), "{death}");
}

/// A worker that ends when its main process is gone, which it notices by a pipe.
const MASTER: &str = "#!/bin/bash\nmkfifo /run/alive\n(exec -a worker bash -c 'read x < /run/alive; exit 7') &\n\
     exec 9> /run/alive\nread end < /run/end\nexit 3\n";

/// The lab, the main process, the worker and killtrace, which traces the worker.
fn worker(end: impl FnOnce(&Lab)) -> (Death, u32) {
    let text = "[Service]\nKillMode=process\nExecStart=/usr/local/bin/master\n";
    let lab = lab(&victim(text).file("/usr/local/bin/master", MASTER));
    start(&lab, &["victim.service"]);
    let main = main_pid(&lab, "victim.service");
    let found = wait_for("the worker", PATIENCE, || {
        let found = lab.output(&["pgrep", "--full", "^worker -c"])?;
        Ok(String::from_utf8_lossy(&found.stdout).trim().parse::<u32>().ok())
    });
    let pid = found.expect("its pid");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    end(&lab);
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.0["killer"]["kind"], "none", "{death}");
    assert_eq!(death.0["outcome"]["status"], 7, "{death}");
    assert_eq!(death.0["cause"]["evidence"], "inferred", "{death}");
    (death, main)
}

#[test]
fn a_worker_goes_when_its_main_process_has_ended() {
    let (death, main) = worker(end_main_process);
    assert_eq!(death.cause(), "exited-by-itself", "{death}");
    assert!(explanation(&death).contains("main process of victim.service had ended"), "{death}");
    death.assert_chain(&[("process-exit", &format!("master[{main}]"))]);
}

#[test]
fn a_worker_goes_when_its_main_process_was_killed() {
    let (death, main) = worker(|lab| {
        let pid = main_pid(lab, "victim.service").to_string();
        lab.exec(&["/bin/kill", "-KILL", &pid]).expect("killed");
    });
    assert_eq!(death.cause(), "exited-by-itself", "{death}");
    assert!(explanation(&death).contains("/bin/kill -KILL"), "{death}");
    death.assert_chain(&[
        ("command", "/bin/kill -KILL"),
        ("signal", "SIGKILL"),
        ("process-exit", &format!("master[{main}]")),
    ]);
}

#[test]
fn a_worker_goes_when_its_unit_is_stopped() {
    let (death, _) = worker(|lab| {
        lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert!(explanation(&death).contains("systemctl stop victim.service"), "{death}");
    death.assert_chain(&[("command", "systemctl stop"), ("job", "victim.service")]);
}
