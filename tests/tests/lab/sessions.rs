//! Sessions and users that logind ends on request or for idleness, and a system that goes down.

use killtrace_tests::lab::{Killtrace, Lab, Login, Options, PATIENCE, wait_for};

use crate::death::Death;
use crate::units::{start, unit, verdict};
use crate::{LOGIND_CONF, kill_user_processes, lab, session_of, start_tmux};

fn tmux(lab: &Lab) -> (Login, u32, String) {
    let mut login = lab.login().expect("alice logs in");
    let session = session_of(&mut login);
    let pid = start_tmux(&mut login);
    (login, pid, session)
}

#[test]
fn a_terminated_user() {
    let lab = lab(&kill_user_processes("no"));
    let (_login, pid, session) = tmux(&lab);
    let death = verdict(&lab, pid, || {
        lab.exec(&["loginctl", "terminate-user", "alice"]).expect("terminated");
    });
    assert_eq!(death.cause(), "logind-terminate", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_chain(&[
        ("command", "loginctl terminate-user alice"),
        ("bus-call", "TerminateUser"),
        ("bus-call", &format!("session-{session}.scope")),
        ("job", "stop"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_says(&["root ran \"loginctl terminate-user alice\" (TerminateUser)"]);
    death.assert_ruled_out("logind-kill-user-processes");
    // Her service manager went as well: only what is not hers stays.
    death.fix_with("sudo systemd-run --uid=alice --unit=my-job");
}

#[test]
fn a_unit_of_a_terminated_user() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    login.run("systemd-run --user --quiet --unit=worker sleep 1000").expect("a unit of hers");
    let pid = lab.pid_of("sleep").expect("its pid");
    let manager = crate::units::main_pid(&lab, "user@1000.service");
    let death = verdict(&lab, pid, || {
        lab.exec(&["loginctl", "terminate-user", "alice"]).expect("terminated");
    });
    assert_eq!(death.cause(), "logind-terminate", "{death}");
    death.assert_killer(manager, "systemd");
    death.assert_chain(&[
        ("command", "loginctl terminate-user"),
        ("bus-call", "TerminateUser"),
        ("job", "stop worker.service"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_says(&["root ran \"loginctl terminate-user alice\" (TerminateUser)"]);
    death.assert_ruled_out("logind-user-stopped");
    death.fix_with("sudo systemd-run --uid=alice --unit=my-job /usr/bin/sleep 1000");
}

/// Of a user is signalled whatever is below the user's slice, units of the user's manager too.
#[test]
fn a_signal_to_a_user() {
    const COMMAND: &str = "loginctl kill-user -s KILL alice";
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    login.run("systemd-run --user --quiet --unit=worker sleep 1000").expect("a unit of hers");
    let pid = lab.pid_of("sleep").expect("its pid");
    // It complains of whoever is gone by the time it comes to them.
    let death = verdict(&lab, pid, || drop(lab.output(&["sh", "-c", COMMAND]).expect("run")));
    assert_eq!(death.cause(), "logind-terminate", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["victim"]["user_unit"], "worker.service", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_says(&["root ran", COMMAND, "(KillUser)"]);
    death.assert_chain(&[("command", COMMAND), ("bus-call", "KillUser"), ("signal", "SIGKILL")]);
    death.fix_with("sudo systemd-run --uid=alice --unit=my-job /usr/bin/sleep 1000");
}

#[test]
fn a_signal_to_a_session() {
    let lab = lab(&kill_user_processes("no"));
    let (_login, pid, session) = tmux(&lab);
    let death = verdict(&lab, pid, || {
        lab.exec(&["loginctl", "kill-session", "-s", "KILL", &session]).expect("killed");
    });
    assert_eq!(death.cause(), "logind-terminate", "{death}");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_chain(&[
        ("command", "loginctl kill-session"),
        ("bus-call", "KillSession"),
        ("signal", "SIGKILL"),
    ]);
    death.assert_killer(1, "systemd");
    death.assert_says(&[&format!(
        "root ran \"loginctl kill-session -s KILL {session}\" (KillSession)"
    )]);
    assert!(!death.explanation().contains("stopped"), "nothing was stopped: {death}");
    death.assert_ruled_out("logind-kill-user-processes");
    death.fix_with("systemd-run --user --scope tmux");
}

/// logind sends that one itself.
#[test]
fn a_signal_to_a_sessions_leader() {
    let lab = lab(&kill_user_processes("no"));
    let script = "su -l alice -c 'tail -f /dev/null' > /dev/null 2>&1 < /dev/null &";
    lab.exec(&["sh", "-c", script]).expect("alice is there by su");
    lab.pid_of("tail").expect("her session");
    let leader = lab.pid_of("su").expect("the leader");
    // Her service manager has a session of its own since systemd 256.
    let kill = "loginctl kill-session --kill-who=leader -s KILL \
                $(loginctl --no-legend list-sessions | awk '/alice/ && !/manager/ {print $1}')";
    let death = verdict(&lab, leader, || drop(lab.exec(&["sh", "-c", kill]).expect("killed")));
    assert_eq!(death.cause(), "logind-terminate", "{death}");
    death.assert_chain(&[
        ("command", "loginctl kill-session"),
        ("bus-call", "KillSession"),
        ("signal", "SIGKILL"),
    ]);
    death.assert_killer(lab.pid_of("systemd-logind").expect("logind"), "systemd-logind");
    death.assert_says(&["signals the leader of session", "root ran", "(KillSession)"]);
    // It was the login itself: nothing would have kept that.
    death.assert_no_fix();
}

/// alice starts tmux at a terminal that logind knows: of those that OpenSSH 10 makes it is not told.
fn tmux_at_a_terminal(lab: &Lab) -> (u32, String) {
    let tell = "tmux new-session -d -s work\n\
                tmux display-message -p \"#{pid} $XDG_SESSION_ID\" > /tmp/told.new && mv /tmp/told.new /tmp/told\n";
    lab.write("/tmp/tell", tell).expect("what she types");
    let terminal = "mkfifo /run/keys\n\
                    setsid script -qfc 'su -l alice' /dev/null <> /run/keys > /dev/null 2>&1 &\n";
    lab.exec(&["sh", "-c", terminal]).expect("a terminal");
    // What is typed before her shell is there is lost.
    let told = wait_for("alice's tmux", PATIENCE, || {
        lab.exec(&["sh", "-c", "echo '. /tmp/tell' > /run/keys"])?;
        Ok(lab.exec(&["cat", "/tmp/told"]).ok())
    })
    .expect("alice types");
    let (pid, session) = told.trim().split_once(' ').expect("a pid and a session");
    (pid.parse().expect("a pid"), session.to_owned())
}

#[test]
fn an_idle_session() {
    // Long enough for killtrace to be there before it is over, on a busy machine as well.
    let lab = lab(&Options::default().file(LOGIND_CONF, "[Login]\nStopIdleSessionSec=20s\n"));
    let (pid, session) = tmux_at_a_terminal(&lab);
    let death = verdict(&lab, pid, || ());
    assert_eq!(death.cause(), "logind-idle-stop", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting("StopIdleSessionSec", "20s", LOGIND_CONF, 2);
    death.assert_chain(&[
        ("timeout", "is idle, stopping"),
        ("bus-call", &format!("session-{session}.scope")),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("StopIdleSessionSec=infinity");
    death.assert_ruled_out("logind-kill-user-processes");
}

/// The verdict has to be out before the machine is gone.
fn assert_goes_down(command: &[&str], target: &str, fate: &str) {
    let sleeps = "[Service]\nExecStart=/bin/sleep 1000\n";
    let lab = lab(&unit(Options::default(), "victim.service", sleeps));
    let pid = start(&lab, &["victim.service"]);
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.output(command).expect("asked");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "system-shutdown", "{death}");
    death.assert_killer(1, "systemd");
    let line = command.join(" ");
    death.assert_chain(&[("command", &line), ("job", target), ("signal", "SIGTERM")]);
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains(fate) && explanation.contains(&line), "{death}");
}

#[test]
fn a_power_off() {
    assert_goes_down(&["systemctl", "poweroff"], "poweroff.target", "is being powered off");
}

#[test]
fn a_reboot_by_shutdown() {
    assert_goes_down(&["shutdown", "-r", "now"], "reboot.target", "is being rebooted");
}

/// Everything but the kernel starts anew. systemd knows it since 254; an older one says that it does not.
#[test]
fn a_soft_reboot() {
    const COMMAND: [&str; 2] = ["systemctl", "soft-reboot"];
    let lab = lab(&Options::default());
    let help = lab.exec(&["systemctl", "--help"]).expect("its help");
    if help.contains("soft-reboot") {
        drop(lab);
        assert_goes_down(&COMMAND, "soft-reboot.target", "is being rebooted without its kernel");
    } else {
        let output = lab.output(&COMMAND).expect("asked");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("Unknown command verb"), "{said}");
    }
}

/// Asked for before, to happen later: logind does it by itself then.
#[test]
fn a_scheduled_reboot() {
    const SCRIPT: &str = "busctl call org.freedesktop.login1 /org/freedesktop/login1 \
        org.freedesktop.login1.Manager ScheduleShutdown st reboot $(($(date +%s%6N) + 3000000))";
    let sleeps = "[Service]\nExecStart=/bin/sleep 1000\n";
    let lab = lab(&unit(Options::default(), "victim.service", sleeps));
    let pid = start(&lab, &["victim.service"]);
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.exec(&["sh", "-c", SCRIPT]).expect("asked");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "system-shutdown", "{death}");
    death.assert_chain(&[
        ("bus-call", "ScheduleShutdown"),
        ("bus-call", "systemd-logind"),
        ("job", "reboot.target"),
        ("signal", "SIGTERM"),
    ]);
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("is being rebooted"), "{death}");
    assert!(explanation.contains("ScheduleShutdown"), "whoever asked is named: {death}");
    death.fix_with("sudo shutdown -c");
    assert!(!explanation.contains("root ran \\\"systemd-logind"), "{death}");
}

/// Of a session on a seat, as a login at the machine itself has one; here PAM is told of it for ssh.
#[test]
fn a_terminated_seat() {
    const SEAT: &str = "XDG_SEAT=seat0\n";
    let pam = "auth sufficient pam_permit.so\naccount required pam_permit.so\n\
               session required pam_env.so envfile=/etc/seat.env\n@include common-session\n";
    let options =
        kill_user_processes("no").file("/etc/seat.env", SEAT).file("/etc/pam.d/sshd", pam);
    let lab = lab(&options);
    let (_login, pid, session) = tmux(&lab);
    let seat = lab.exec(&["loginctl", "show-session", "-p", "Seat", "--value", &session]);
    assert_eq!(seat.expect("asked").trim(), "seat0");
    let death = verdict(&lab, pid, || {
        lab.exec(&["loginctl", "terminate-seat", "seat0"]).expect("terminated");
    });
    assert_eq!(death.cause(), "logind-terminate", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_chain(&[
        ("command", "loginctl terminate-seat seat0"),
        ("bus-call", "TerminateSeat"),
        ("bus-call", &format!("session-{session}.scope")),
        ("job", "stop"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_says(&["root ran \"loginctl terminate-seat seat0\" (TerminateSeat)"]);
    death.assert_ruled_out("logind-kill-user-processes");
    death.fix_with("systemd-run --user --scope tmux");
}

/// Another seat's end is not this session's.
#[test]
fn a_terminated_seat_of_others() {
    let lab = lab(&kill_user_processes("no"));
    let (_login, pid, session) = tmux(&lab);
    lab.exec(&["loginctl", "terminate-seat", "seat0"]).expect("nobody is there");
    assert!(lab.is_alive(pid), "alice's session is on no seat");
    let death = verdict(&lab, pid, || {
        lab.exec(&["loginctl", "terminate-seat", "seat0"]).expect("nobody is there");
        lab.exec(&["loginctl", "terminate-session", &session]).expect("terminated");
    });
    assert_eq!(death.cause(), "logind-terminate", "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("terminate-session"), "{death}");
    assert!(!explanation.contains("terminate-seat"), "{death}");
}

#[test]
fn a_kill_by_a_cron_job() {
    let sleeps = "[Service]\nExecStart=/bin/sleep 1000\n";
    let options = unit(Options::default(), "victim.service", sleeps)
        .file("/etc/cron.d/reaper", "@reboot root /usr/bin/pkill --exact sleep\n");
    let lab = lab(&options);
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "start", "cron.service"]).expect("cron starts");
    });
    assert_eq!(death.cause(), "user-command", "{death}");
    assert_eq!(death.0["killer"]["process"]["comm"], "pkill", "{death}");
    let command = "/usr/bin/pkill --exact sleep";
    death.assert_says(&["root ran", command, "in a cron job"]);
    death.assert_chain(&[("command", command), ("signal", "SIGTERM")]);
    // The remedy finds the line that has it.
    let found = crate::remedies::carried_out(&lab, death.fix_with("cron job that does so"));
    assert!(found.contains(&format!("/etc/cron.d/reaper:1:@reboot root {command}")), "{found}");
}

/// Whose it is cron has told the kernel, though root's processes do it.
#[test]
fn a_restart_by_a_cron_job_that_runs_sudo() {
    let sleeps = "[Service]\nExecStart=/bin/sleep 1000\n";
    let options = unit(Options::default(), "victim.service", sleeps)
        .file("/etc/cron.d/night", "@reboot alice sudo systemctl restart victim\n");
    let lab = lab(&options);
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "start", "cron.service"]).expect("cron starts");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_says(&["alice ran", "sudo systemctl restart victim", "in a cron job"]);
}
