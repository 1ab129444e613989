//! Which process of a unit gets which signal when it is stopped: `KillMode=`, `SendSIGKILL=`, `SendSIGHUP=`, and
//! whom systemd leaves alone.

use anyhow::Context as _;
use killtrace_tests::lab::{Killtrace, Lab, Options, PATIENCE, wait_for};

use crate::death::Death;
use crate::lab;
use crate::units::{main_pid, unit, verdict};

const VICTIM: &str = "/etc/systemd/system/victim.service";

/// A main process that ends by SIGTERM, and a helper.
const WITH_HELPER: &str = "ExecStartPre=/usr/bin/mkfifo /run/never\n\
     ExecStart=/bin/sh -c 'setsid sleep 1000 & read never < /run/never'\n";
/// Does not care about SIGTERM.
const STUBBORN: &str = "ExecStartPre=/usr/bin/mkfifo /run/never\n\
     ExecStart=/bin/sh -c 'trap \"\" TERM; while :; do read x < /run/never; done'\n";

/// A running `victim.service` with these lines in its section `[Service]`; its main process.
fn with(text: &str) -> (Lab, u32) {
    let lab = lab(&unit(Options::default(), "victim.service", &format!("[Service]\n{text}")));
    lab.exec(&["systemctl", "start", "victim.service"]).expect("it starts");
    let pid = main_pid(&lab, "victim.service");
    (lab, pid)
}

fn stop(lab: &Lab) {
    lab.exec(&["systemctl", "stop", "victim.service"]).expect("stopped");
}

fn explanation(death: &Death) -> String {
    death.0["cause"]["explanation"].to_string()
}

/// The signals that a process got, by name, as the report has them.
fn signals_to(report: &killtrace_tests::lab::Report, pid: u32) -> Vec<String> {
    report
        .of_type("signal")
        .into_iter()
        .filter(|record| record["target"]["pid"] == pid)
        .map(|record| record["signal"]["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Each kind of process in turn: whom systemd leaves alone gets nothing, and lives.
fn stop_both(mode: &str) -> (Lab, u32, u32, killtrace_tests::lab::Report) {
    let (lab, main) = with(&format!("KillMode={mode}\n{WITH_HELPER}"));
    let helper = lab.pid_of("sleep").expect("the helper's pid");
    let (first, second) = (main.to_string(), helper.to_string());
    let mut killtrace = Killtrace::start(&lab, &["-p", &first, "-p", &second]).expect("killtrace");
    stop(&lab);
    if !lab.is_alive(main) {
        killtrace.death_of(main).expect("a verdict");
    }
    let report = killtrace.stop().expect("killtrace ends");
    (lab, main, helper, report)
}

#[test]
fn process_spares_the_others() {
    let (lab, main, helper, report) = stop_both("process");
    assert_eq!(signals_to(&report, main), ["SIGTERM"], "{report:?}");
    assert!(signals_to(&report, helper).is_empty(), "{report:?}");
    assert!(lab.is_alive(helper), "it was left alone");
    let deaths = report.of_type("death");
    assert_eq!(deaths.len(), 1, "{report:?}");
    let death = Death(deaths[0].clone());
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
}

#[test]
fn none_spares_all() {
    let (lab, main, helper, report) = stop_both("none");
    assert!(signals_to(&report, main).is_empty(), "{report:?}");
    assert!(signals_to(&report, helper).is_empty(), "{report:?}");
    assert!(lab.is_alive(main) && lab.is_alive(helper), "both were left alone");
    assert!(report.of_type("death").is_empty(), "{report:?}");
    // Whoever ends it then has done so: not the stop that was before.
    let death = verdict(&lab, main, || {
        lab.exec(&["/bin/kill", "-TERM", &main.to_string()]).expect("killed");
    });
    assert_eq!(death.cause(), "user-command", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "kill", "{death}");
    death.assert_no_link("job");
}

/// What units of this mode usually have: a command that ends it.
#[test]
fn of_mode_none_its_own_command_ends_it() {
    let (lab, pid) =
        with("KillMode=none\nExecStart=/bin/sleep 1000\nExecStop=/bin/kill -QUIT $MAINPID\n");
    let death = verdict(&lab, pid, || stop(&lab));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "kill", "{death}");
    death.assert_setting("ExecStop", "/bin/kill -QUIT $MAINPID", VICTIM, 4);
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("command", "for ExecStop= of victim.service"),
        ("signal", "SIGQUIT"),
    ]);
}

/// The main process ends as it is asked to; the helper is not asked.
#[test]
fn mixed_kills_the_others_when_the_main_process_has_ended() {
    let (lab, _) = with(&format!("KillMode=mixed\n{WITH_HELPER}"));
    let helper = lab.pid_of("sleep").expect("the helper's pid");
    let death = verdict(&lab, helper, || stop(&lab));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_setting("KillMode", "mixed", VICTIM, 2);
    assert!(explanation(&death).contains("only the main process is asked to end"), "{death}");
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("job", "stop victim.service"),
        ("process-exit", "sh"),
        ("signal", "SIGKILL"),
    ]);
    death.assert_no_link("timeout");
    death.assert_ruled_out("unit-main-process-exited");
    death.fix_with("KillMode=control-group");
}

#[test]
fn mixed_asks_the_main_process() {
    let (lab, pid) = with(&format!("KillMode=mixed\n{WITH_HELPER}"));
    let death = verdict(&lab, pid, || stop(&lab));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGTERM", "{death}");
    assert!(!explanation(&death).contains("KillMode"), "{death}");
}

/// systemd gives up on it; what ends it later is another story.
#[test]
fn without_sigkill_it_is_left_after_the_time_limit() {
    let (lab, pid) = with(&format!("SendSIGKILL=no\nTimeoutStopSec=1\n{STUBBORN}"));
    let pid_text = pid.to_string();
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid_text]).expect("killtrace");
    stop(&lab);
    lab.wait_for_journal("timed out. Skipping SIGKILL").expect("systemd gave up");
    assert!(lab.is_alive(pid), "it was left");
    lab.exec(&["/bin/kill", "-KILL", &pid_text]).expect("killed");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "user-command", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "kill", "{death}");
    let report = killtrace.wait().expect("killtrace ends");
    assert_eq!(signals_to(&report, pid)[0], "SIGTERM", "{report:?}");
    assert_eq!(signals_to(&report, pid).last().map(String::as_str), Some("SIGKILL"));
}

#[test]
fn sighup_ends_what_ignores_sigterm() {
    let (lab, pid) = with(&format!("SendSIGHUP=yes\n{STUBBORN}"));
    let death = verdict(&lab, pid, || stop(&lab));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["outcome"]["signal"], "SIGHUP", "{death}");
    death.assert_setting("SendSIGHUP", "yes", VICTIM, 2);
    assert!(explanation(&death).contains("SIGTERM had not ended it"), "{death}");
    death.assert_chain(&[
        ("command", "systemctl stop victim.service"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
        ("signal", "SIGHUP"),
    ]);
    death.fix_with("SendSIGHUP=no");
}

/// A login's own shell ignores SIGTERM: logind has every session's scope send SIGHUP as well.
#[test]
fn sighup_ends_a_login_shell() {
    let lab = lab(&crate::kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    let session = crate::session_of(&mut login);
    // One without a terminal, which would hang up when sshd has ended.
    let shell = "mkfifo lines && sh -c 'setsid bash -i <>lines >/dev/null 2>&1 & echo $!'";
    let shell: u32 = login.run(shell).expect("asked").parse().expect("its pid");
    wait_for("the shell to be ready", PATIENCE, || {
        let status = lab.read(&format!("/proc/{shell}/status"))?;
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:\t"));
        let ignored = u64::from_str_radix(ignored.context("SigIgn of proc(5)")?, 16)?;
        Ok((ignored & 1 << (libc::SIGTERM - 1) != 0).then_some(()))
    })
    .expect("it ignores SIGTERM");
    let death = verdict(&lab, shell, || {
        lab.exec(&["loginctl", "terminate-session", &session]).expect("terminated");
    });
    assert_eq!(death.cause(), "logind-terminate", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGHUP", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_chain(&[
        ("bus-call", "TerminateSession"),
        ("job", "stop"),
        ("signal", "which ignores it"),
        ("signal", "SIGHUP"),
    ]);
    // logind says so when it has the scope made.
    let settings = death.0["cause"]["settings"].as_array().into_iter().flatten();
    let hangup: Vec<_> = settings.filter(|setting| setting["name"] == "SendSIGHUP").collect();
    let file = format!("/run/systemd/transient/session-{session}.scope");
    assert_eq!(hangup.len(), 1, "{death}");
    assert_eq!((&hangup[0]["value"], &hangup[0]["file"]), (&"yes".into(), &file.into()), "{death}");
}
