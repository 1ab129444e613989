//! What is told to do about a death is done, word for word as it is printed, and that death does not come again.

use std::time::Duration;

use killtrace_tests::lab::{Lab, Login, NEEDRESTART, Options, PATIENCE, wait_for};
use serde_json::Value;

use crate::death::{Death, commands};
use crate::logout::{logout_with_unread, tmux_in_session};
use crate::units::{main_pid, start, unit, verdict};
use crate::{LOGIND_CONF, kill_user_processes, lab, session_of, start_tmux};

/// Runs the commands of a remedy as root; returns what they printed.
pub fn carried_out(lab: &Lab, fix: &Value) -> String {
    let commands = commands(fix);
    assert!(!commands.is_empty(), "nothing to carry out: {fix:#}");
    let run = |command: &&str| lab.exec(&["sh", "-c", command]).expect("the remedy's command");
    commands.iter().map(run).collect()
}

/// Waits until the remedy's own check shows this.
fn shows(lab: &Lab, fix: &Value, word: &str) {
    let check = fix["verify"].as_str().expect("a check");
    wait_for(&format!("{word:?} in what {check:?} shows"), PATIENCE, || {
        Ok(lab.exec(&["sh", "-c", check])?.contains(word).then_some(()))
    })
    .expect("it has taken effect");
}

/// alice's tmux goes with her login.
fn killed_at_logout(lab: &Lab) -> Death {
    let (login, pid, _) = tmux_in_session(lab);
    let death = verdict(lab, pid, || {
        login.exit().expect("alice logs out");
    });
    assert_eq!(death.cause(), "logind-kill-user-processes", "{death}");
    death
}

/// She types what she is told to: there it needs no other rights than hers.
#[test]
fn a_scope_and_lingering_keep_tmux_beyond_the_logout() {
    let lab = lab(&kill_user_processes("yes"));
    let death = killed_at_logout(&lab);
    let fix = death.fix_with("enable-linger");
    let mut login = lab.login().expect("alice logs in again");
    let session = session_of(&mut login);
    let [linger, tmux] = commands(fix)[..] else { panic!("{fix:#}") };
    login.run(linger).expect("alice may linger");
    // Her terminal stays free.
    login.run(&format!("{tmux} new-session -d -s work")).expect("tmux starts");
    let pid = login.run("tmux display-message -p '#{pid}'").expect("tmux answers");
    login.run(fix["verify"].as_str().expect("a check")).expect("she can look at it");
    login.exit().expect("alice logs out");
    lab.wait_for_journal(&format!("Removed session {session}.")).expect("the session ended");
    assert!(lab.is_alive(pid.parse().expect("a pid")), "tmux goes on");
}

/// With this remedy carried out alice's tmux is left alone; its check then shows this.
fn spared_by(remedy: &str, shown: &str) {
    let lab = lab(&kill_user_processes("yes"));
    let death = killed_at_logout(&lab);
    let fix = death.fix_with(remedy);
    carried_out(&lab, fix);
    shows(&lab, fix, shown);
    let (login, pid, session) = tmux_in_session(&lab);
    login.exit().expect("alice logs out");
    lab.wait_for_journal(&format!("Session {session} logged out. Waiting for processes to exit."))
        .expect("logind lets the session go");
    assert!(lab.is_alive(pid), "tmux goes on");
}

#[test]
fn an_excluded_user_keeps_tmux_beyond_the_logout() {
    spared_by("KillExcludeUsers=root alice", "\"alice\"");
}

#[test]
fn without_the_setting_tmux_goes_on_after_the_logout() {
    spared_by("KillUserProcesses=no", "b false");
}

/// What logind had not read yet counts from then on.
#[test]
fn logind_reads_what_it_had_not_read() {
    let lab = lab(&kill_user_processes("yes"));
    let (death, _) = logout_with_unread(&lab, "KillUserProcesses", "no");
    let fix = &death.0["fixes"][0];
    carried_out(&lab, fix);
    shows(&lab, fix, "b false");
    let (login, pid, session) = tmux_in_session(&lab);
    login.exit().expect("alice logs out");
    lab.wait_for_journal(&format!("Session {session} logged out. Waiting for processes to exit."))
        .expect("logind lets the session go");
    assert!(lab.is_alive(pid), "tmux goes on");
}

fn worker(lab: &Lab, login: &mut Login) -> u32 {
    login.run("systemd-run --user --quiet --unit=worker sleep 1000").expect("a unit of hers");
    lab.pid_of("sleep").expect("its pid")
}

/// The units of a user who lingers go on after the last logout.
#[test]
fn lingering_keeps_a_users_units_after_the_last_logout() {
    let lab = lab(&Options::default().file(LOGIND_CONF, "[Login]\nUserStopDelaySec=1\n"));
    let mut login = lab.login().expect("alice logs in");
    let pid = worker(&lab, &mut login);
    let death = verdict(&lab, pid, || {
        login.exit().expect("alice logs out");
    });
    assert_eq!(death.cause(), "logind-user-stopped", "{death}");
    let fix = death.fix_with("enable-linger");
    carried_out(&lab, fix);
    shows(&lab, fix, "Linger=yes");
    let mut login = lab.login().expect("alice logs in again");
    let session = session_of(&mut login);
    let pid = worker(&lab, &mut login);
    login.exit().expect("alice logs out");
    lab.wait_for_journal(&format!("Removed session {session}.")).expect("the session ended");
    // Twice as long as it took before.
    std::thread::sleep(Duration::from_secs(2));
    assert!(lab.is_alive(pid), "her unit goes on");
}

/// What is a unit of the system's outlives all that is the user's.
#[test]
fn a_unit_of_the_system_outlives_its_user() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    let pid = start_tmux(&mut login);
    let terminate = ["loginctl", "terminate-user", "alice"];
    let death = verdict(&lab, pid, || drop(lab.exec(&terminate).expect("terminated")));
    assert_eq!(death.cause(), "logind-terminate", "{death}");
    let fix = death.fix_with("sudo systemd-run --uid=alice");
    carried_out(&lab, fix);
    shows(&lab, fix, "active (running)");
    let pid = lab.pid_of("tmux: server").expect("tmux's server");
    let mut login = lab.login().expect("alice logs in again");
    let session = session_of(&mut login);
    lab.exec(&terminate).expect("terminated");
    lab.wait_for_journal(&format!("Removed session {session}.")).expect("the session ended");
    assert!(lab.is_alive(pid), "tmux goes on");
}

#[test]
fn a_silent_service_has_more_time() {
    let text = "[Service]\nType=notify\nNotifyAccess=all\nWatchdogSec=2\n\
                ExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep 1000'\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "unit-watchdog", "{death}");
    let fix = death.fix_with("WatchdogSec=");
    carried_out(&lab, fix);
    let pid = start(&lab, &["victim.service"]);
    shows(&lab, fix, "WatchdogUSec=5min");
    std::thread::sleep(Duration::from_secs(3));
    assert!(lab.is_alive(pid), "it is left alone");
}

/// needrestart restarts what runs a file that an upgrade has replaced, but for what it is told to leave alone.
#[test]
fn needrestart_leaves_alone_what_it_is_told_of() {
    const RUN: &str = "needrestart -l -r a";
    const UPGRADE: &str = "cp /bin/sleep /opt/worker.new && mv /opt/worker.new /opt/worker";
    let text = "[Service]\nExecStart=/opt/worker 1000\n";
    let lab = lab(&unit(Options::default(), "victim.service", text));
    lab.unpack(NEEDRESTART).expect("needrestart");
    let run = |script: &str| lab.exec(&["sh", "-c", script]).expect("done");
    run(UPGRADE);
    let pid = start(&lab, &["victim.service"]);
    run(UPGRADE);
    let death = verdict(&lab, pid, || drop(run(RUN)));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_says(&["which restarted victim.service: root ran", "needrestart"]);
    death.assert_chain(&[
        ("command", "needrestart"),
        ("job", "restart victim.service"),
        ("signal", "SIGTERM"),
    ]);
    let fix = death.fix_with("have needrestart leave the unit alone");
    carried_out(&lab, fix);
    let pid = main_pid(&lab, "victim.service");
    run(UPGRADE);
    // It still says that the unit ought to be restarted.
    shows(&lab, fix, "victim.service");
    run(RUN);
    assert_eq!(main_pid(&lab, "victim.service"), pid, "it is left alone");
    assert!(lab.is_alive(pid), "it goes on");
}
