//! A system that goes down, or to fewer units: who asked for it, and what is left for the last signals.

use killtrace_tests::lab::{Killtrace, Lab, Options};

use crate::death::Death;
use crate::units::{assert_default, start, unit};
use crate::{kill_user_processes, lab};

const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

/// Everything is stopped that a target does not need, which this command isolates.
fn isolated_by(command: &[&str], target: &str) {
    let lab = lab(&unit(Options::default(), "victim.service", SLEEPS));
    let pid = start(&lab, &["victim.service"]);
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.output(command).expect("asked");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(1, "systemd");
    let line = command.join(" ");
    let isolated = format!("since {target} was isolated");
    death.assert_says(&[&isolated, &format!("root ran \"{line}\"")]);
    assert_default(&death, "IgnoreOnIsolate", "no");
    death.assert_chain(&[
        ("command", &line),
        ("job", target),
        ("job", "victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("IgnoreOnIsolate=yes");
}

#[test]
fn to_rescue_mode() {
    isolated_by(&["systemctl", "rescue", "--no-block"], "rescue.target");
}

#[test]
fn to_an_emergency() {
    isolated_by(&["systemctl", "emergency", "--no-block"], "emergency.target");
}

#[test]
fn to_a_target_by_the_mode_of_its_job() {
    let command = ["systemctl", "start", "--job-mode=isolate", "--no-block", "rescue.target"];
    isolated_by(&command, "rescue.target");
}

/// It is no unit's own affair: what alice has left running goes, and what would hold that up is told.
#[test]
fn a_job_of_a_login_goes_with_the_system() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    let pid = login.run("(setsid sleep 1000 >/dev/null 2>&1 & echo $!)").expect("a job");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid]).expect("killtrace");
    login.begin("sudo systemctl poweroff").expect("asked");
    let pid = pid.parse().expect("its pid");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "system-shutdown", "{death}");
    death.assert_killer(1, "systemd");
    let person = "alice ran \"sudo systemctl poweroff\" in ssh session ";
    death.assert_says(&["the system is being powered off", person]);
    death.assert_chain(&[("command", person), ("job", "poweroff.target"), ("signal", "SIGTERM")]);
    death.fix_with("systemd-inhibit --what=shutdown");
    death.fix_with("sudo -l -U alice");
}

/// A unit that nothing stops, and whose stop sends nothing: it is left for the last signals.
fn left(options: Options, name: &str, command: &str) -> Options {
    let text = "[Unit]\nDefaultDependencies=no\n[Service]\nKillMode=none\n";
    unit(options, name, &format!("{text}ExecStart={command}\n"))
}

/// What is left over when this command takes the system down, and what is told of its end.
fn left_over(command: &[&str], target: &str, fate: &str, sender: &str) -> Death {
    let options = left(Options::default(), "victim.service", "/bin/sleep 1000");
    // Holds the rest of it up.
    let stubborn = "/bin/sh -c 'trap \"\" TERM; exec tail -f /dev/null'";
    let lab = lab(&left(options, "stubborn.service", stubborn));
    let pid = start(&lab, &["victim.service", "stubborn.service"]);
    let killtrace = Killtrace::start_spared(&lab, &["-p", &pid.to_string()]);
    let mut killtrace = killtrace.expect("killtrace");
    lab.output(command).expect("asked");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "system-shutdown", "{death}");
    death.assert_killer(1, sender);
    let line = command.join(" ");
    death.assert_says(&[fate, &format!("root ran \"{line}\"")]);
    death.assert_chain(&[
        ("command", &line),
        ("bus-call", "of systemd[1]"),
        ("job", target),
        ("signal", sender),
    ]);
    death
}

/// systemd has become the program that ends what is left, unmounts and switches off.
#[test]
fn what_is_left_over_at_a_power_off() {
    let command = ["systemctl", "poweroff"];
    let death = left_over(&command, "poweroff.target", "is being powered off", "systemd-shutdow");
    assert_eq!(death.0["outcome"]["signal"], "SIGTERM", "{death}");
}

/// systemd itself ends what is left, and does not wait between SIGTERM and SIGKILL. It knows that since 254, and refuses it
/// before.
#[test]
fn what_is_left_over_at_a_soft_reboot() {
    const COMMAND: [&str; 2] = ["systemctl", "soft-reboot"];
    let asked: Lab = lab(&Options::default());
    if !asked.exec(&["systemctl", "--help"]).expect("its help").contains(COMMAND[1]) {
        let output = asked.output(&COMMAND).expect("asked");
        assert!(!output.status.success(), "{output:?}");
        return;
    }
    drop(asked);
    let fate = "is being rebooted without its kernel";
    let death = left_over(&COMMAND, "soft-reboot.target", fate, "systemd");
    death.fix_with("SurviveFinalKillSignal=yes");
}
