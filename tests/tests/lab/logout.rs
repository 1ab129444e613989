//! alice's tmux at the end of her ssh session, with logind in charge.

use killtrace_tests::lab::{CLIENT_ADDRESS, Killtrace, Lab, Login, Options};
use serde_json::Value;

use crate::death::{Death, text};
use crate::units::verdict;
use crate::{
    KILL_USER_PROCESSES_LINE, LOGIND_CONF, kill_user_processes, lab, session_of, start_tmux,
};

const CAUSE: &str = "logind-kill-user-processes";

/// The stop of the scope of a session that has ended. Where the client said goodbye the process of sshd that served
/// alice ends before this; where it did not, sshd's monitor closes the session first.
const STOPPED_BY_LOGIND: [(&str, &str); 3] =
    [("bus-call", "StopUnit"), ("job", "stop"), ("signal", "SIGTERM")];

/// What the journal must and must not say where logind stopped the session's scope.
fn prove_scope_stopped(lab: &Lab, session: &str) {
    let scope = format!("session-{session}.scope");
    lab.wait_for_journal(&format!("Removed session {session}.")).expect("the session ended");
    let journal = lab.journal().expect("a journal");
    assert!(journal.contains(&format!("Stopped {scope}")), "no job stopped {scope}:\n{journal}");
    // logind's words where it leaves the session's processes alone.
    let waited = format!("Session {session} logged out. Waiting for processes to exit.");
    assert!(!journal.contains(&waited), "nobody asked for the stop of {scope}:\n{journal}");
}

fn assert_killed_at_logout(lab: &Lab, death: &Death, session: &str) {
    assert_eq!(death.cause(), CAUSE, "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting("KillUserProcesses", "yes", LOGIND_CONF, KILL_USER_PROCESSES_LINE);
    death.assert_chain(&STOPPED_BY_LOGIND);
    // How sshd told logind of the session's end: not over the bus any more in systemd 262.
    let version = lab.exec(&["systemctl", "--version"]).expect("its version");
    let version = version.split_whitespace().nth(1).and_then(|number| number.parse::<u32>().ok());
    if version.expect("a number") < 258 {
        death.assert_chain(&[("bus-call", "ReleaseSession"), ("bus-call", "StopUnit")]);
    }
    death.assert_chain(&[("process-exit", "sshd"), ("bus-call", "StopUnit")]);
    death.assert_ruled_out("sshd-per-connection-unit");
    let victim = &death.0["victim"];
    assert_eq!(victim["user"], "alice", "{death}");
    assert_eq!(victim["unit"], format!("session-{session}.scope"), "{death}");
    assert_eq!(victim["session"]["id"], session, "{death}");
    assert_eq!(victim["session"]["remote_host"], CLIENT_ADDRESS, "{death}");
    let commands = death.fix_with("enable-linger")["commands"].to_string();
    assert!(commands.contains("systemd-run --user --scope"), "linger alone is no fix: {death}");
    assert!(!death.fix_with("KillUserProcesses=no")["side_effect"].is_null(), "{death}");
}

/// Has alice log in and start a tmux; returns its server's pid and her session.
pub fn tmux_in_session(lab: &Lab) -> (Login, u32, String) {
    let mut login = lab.login().expect("alice logs in");
    let session = session_of(&mut login);
    let pid = start_tmux(&mut login);
    let cgroup = lab.read(&format!("/proc/{pid}/cgroup")).expect("tmux's cgroup");
    assert!(cgroup.contains(&format!("/session-{session}.scope")), "{cgroup}");
    (login, pid, session)
}

#[test]
fn a_clean_logout_ends_tmux_where_logind_kills_user_processes() {
    let lab = lab(&kill_user_processes("yes"));
    let mut killtrace = Killtrace::start(&lab, &["--target", "tmux"]).expect("killtrace");
    let (login, pid, session) = tmux_in_session(&lab);
    login.exit().expect("alice logs out");
    lab.wait_until_gone(pid).expect("tmux ends");
    prove_scope_stopped(&lab, &session);

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_killed_at_logout(&lab, &death, &session);
    // tmux catches SIGTERM and exits by itself.
    assert_eq!(death.0["outcome"]["kind"], "exited", "{death}");
    assert_eq!(death.0["signal"]["name"], "SIGTERM", "{death}");
    death.assert_chain(&[("process-exit", "sshd"), ("bus-call", "StopUnit")]);
    // Her shell ends, and the client says goodbye; whose FIN comes first after that, and whether that is before sshd has
    // ended, is a race.
    let said = death.0["cause"]["explanation"].to_string();
    assert!(said.contains(CLIENT_ADDRESS) && said.contains("the ssh connection"), "{death}");
    let [shell, second] = [0, 1].map(|at| &death.chain()[at]);
    assert!(shell["text"].to_string().contains("exited with 0"), "{death}");
    assert!(second["event"] == "tcp-closed" || second["event"] == "ssh-disconnect", "{death}");
    killtrace.stop().expect("killtrace ends");
}

/// A job of a login shell: the kernel tells the shell that the terminal is gone, and the shell its jobs.
#[test]
fn a_job_of_the_login_shell_hears_of_the_lost_connection() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    login.run("{ sleep 4000 & }").expect("a job");
    let pid = lab.pid_of("sleep").expect("its pid");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    login.kill_client().expect("the client is killed");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "session-leader-exited", "{death}");
    let said = death.0["cause"]["explanation"].to_string();
    assert!(said.contains(CLIENT_ADDRESS) && said.contains("closed the ssh connection"), "{death}");
    death.assert_chain(&[("tcp-closed", CLIENT_ADDRESS), ("signal", "SIGHUP")]);
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// What runs below `sudo -i`, at the terminal that sudo made for it: sudo hangs that up when its own one hangs up.
#[test]
fn a_job_of_a_shell_in_sudo_hears_of_the_lost_connection() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    login.become_root().expect("a shell of root's");
    // At its prompt the shell could read the end of its input before it hears of the hangup, and leave its jobs alone.
    login.begin("sleep 4000").expect("a job");
    let pid = lab.pid_of("sleep").expect("its pid");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    login.kill_client().expect("the client is killed");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    let said = death.0["cause"]["explanation"].to_string();
    assert!(said.contains(CLIENT_ADDRESS) && said.contains("closed the ssh connection"), "{death}");
    assert!(!said.contains("alice ran"), "{death}");
    death.assert_chain(&[("tcp-closed", CLIENT_ADDRESS), ("signal", "SIGHUP")]);
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// The logout of alice, whose tmux logind ends, with this line in a drop-in that came after logind had started; and the
/// setting that has not been read, as the verdict has it.
pub fn logout_with_unread(lab: &Lab, name: &str, value: &str) -> (Death, Value) {
    let place = "/etc/systemd/logind.conf.d/90-mine.conf";
    let (login, pid, _) = tmux_in_session(lab);
    lab.write(place, &format!("[Login]\n{name}={value}\n")).expect("written");
    let mut killtrace = Killtrace::start(lab, &["--target", "tmux"]).expect("killtrace");
    killtrace.learns(&[name, "\"unread\""]).expect("what logind goes by");
    login.exit().expect("alice logs out");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    killtrace.stop().expect("killtrace ends");
    assert_eq!(death.cause(), CAUSE, "{death}");
    let setting = death.setting(name).clone();
    let unread = serde_json::json!({"value": value, "file": place, "line": 2});
    assert_eq!(setting["unread"], unread, "{death}");
    let command = "sudo systemctl kill -s HUP systemd-logind";
    assert_eq!(death.0["fixes"][0]["commands"][0], command, "{death}");
    (death, setting)
}

/// Whoever wrote this thinks that alice is spared; logind does not know yet.
#[test]
fn logind_has_not_read_whom_to_spare() {
    let lab = lab(&kill_user_processes("yes"));
    let (death, excluded) = logout_with_unread(&lab, "KillExcludeUsers", "root alice");
    assert_eq!(excluded["value"], "root", "{death}");
    assert_eq!(death.setting("KillUserProcesses")["value"], "yes", "{death}");
    let check = death.0["fixes"][0]["verify"].as_str().unwrap_or_default();
    let running = lab.exec(&["sh", "-c", check]).expect("the remedy's check runs");
    assert!(running.contains("as 0"), "{check}: {running}");
}

/// What it goes by still counts.
#[test]
fn logind_has_not_read_its_files_again() {
    let lab = lab(&kill_user_processes("yes"));
    let (death, decided) = logout_with_unread(&lab, "KillUserProcesses", "no");
    assert_eq!((&decided["value"], &decided["file"]), (&"yes".into(), &Value::Null), "{death}");
}

#[test]
fn tmux_survives_where_logind_does_not_kill() {
    let lab = lab(&kill_user_processes("no"));
    let killtrace = Killtrace::start(&lab, &["--target", "tmux"]).expect("killtrace");
    let (login, pid, session) = tmux_in_session(&lab);
    login.exit().expect("alice logs out");
    lab.wait_for_journal(&format!("Session {session} logged out. Waiting for processes to exit."))
        .expect("logind lets the session go");
    assert!(lab.is_alive(pid), "tmux goes on");

    let report = killtrace.stop().expect("killtrace ends");
    assert!(report.status.success(), "{report:?}");
    assert_eq!(report.of_type("death").len(), 0, "{report:?}");
    let summaries = report.of_type("summary");
    assert_eq!(summaries.len(), 1, "{report:?}");
    assert_eq!(summaries[0]["deaths"], 0, "{report:?}");
    assert!(lab.is_alive(pid), "killtrace harms nobody");
}

/// Who ends later what logind left alone is told, and that line of logind's speaks for it.
#[test]
fn what_logind_left_alone_is_stopped_later() {
    let lab = lab(&kill_user_processes("no"));
    let (login, pid, session) = tmux_in_session(&lab);
    let mut killtrace = Killtrace::start(&lab, &["--target", "tmux"]).expect("killtrace");
    login.exit().expect("alice logs out");
    let waits = format!("Session {session} logged out. Waiting for processes to exit.");
    lab.wait_for_journal(&waits).expect("logind lets the session go");
    lab.exec(&["systemctl", "stop", &format!("session-{session}.scope")]).expect("stopped");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_ruled_out(CAUSE);
    assert!(death.because(CAUSE).contains(&waits), "{death}");
    death.assert_killer(1, "systemd");
    let scope = format!("session-{session}.scope");
    let command = format!("systemctl stop {scope}");
    death.assert_says(&["stopped", &scope, "root ran", &command]);
    death.assert_chain(&[("command", &command), ("job", &scope), ("signal", "SIGTERM")]);
    // What logind leaves alone in a session goes with that all the same.
    death.fix_with("systemd-run --user --scope tmux");
    killtrace.stop().expect("killtrace ends");
}

#[test]
fn a_killed_client_closes_the_connection_without_a_word() {
    let lab = lab(&kill_user_processes("yes"));
    let (login, pid, session) = tmux_in_session(&lab);
    // tmux is already running here when tracing begins.
    let mut killtrace = Killtrace::start(&lab, &["--target", "tmux"]).expect("killtrace");
    login.kill_client().expect("the client is killed");
    lab.wait_until_gone(pid).expect("tmux ends");
    prove_scope_stopped(&lab, &session);
    let journal = lab.journal().expect("a journal");
    assert!(!journal.contains("Received disconnect"), "no goodbye was sent:\n{journal}");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_killed_at_logout(&lab, &death, &session);
    assert_eq!(death.chain()[0]["event"], "tcp-closed", "{death}");
    assert!(text(&death.chain()[0]).contains(CLIENT_ADDRESS), "{death}");
    assert_eq!(death.chain()[0]["evidence"], "observed", "{death}");
    // Later versions of sshd log the end of the connection all the same.
    let said = |link: &Value| {
        link["event"] == "ssh-disconnect" && !text(link).contains("Connection closed by")
    };
    assert!(!death.chain().iter().any(said), "{death}");
    killtrace.stop().expect("killtrace ends");
}

/// A login that sshd ends where its client is silent for two seconds.
fn impatient(options: Options) -> Lab {
    const SILENCE: &str = "ClientAliveInterval 1\nClientAliveCountMax 2\n";
    lab(&options.file("/etc/ssh/sshd_config.d/alive.conf", SILENCE))
}

/// Of those that hold the terminal root's process of sshd closes it, and the user's has said why.
#[test]
fn a_job_is_told_that_the_network_was_silent() {
    let lab = impatient(kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    login.run("{ sleep 4000 & }").expect("a job");
    let pid = lab.pid_of("sleep").expect("its pid");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    lab.silence_network().expect("the cable is cut");
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "session-leader-exited", "{death}");
    death.assert_chain(&[
        ("ssh-disconnect", "Timeout, client not responding"),
        ("signal", "SIGHUP"),
    ]);
    assert_eq!(death.setting("ClientAliveInterval")["line"], 1, "{death}");
    assert!(death.0["fixes"].to_string().contains("ServerAliveInterval"), "{death}");
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

#[test]
fn a_silent_network_is_told_apart_from_a_client_that_left() {
    let lab = impatient(kill_user_processes("yes"));
    let mut killtrace = Killtrace::start(&lab, &["--target", "tmux"]).expect("killtrace");
    let (_login, pid, session) = tmux_in_session(&lab);
    lab.silence_network().expect("the cable is cut");
    lab.wait_until_gone(pid).expect("tmux ends");
    prove_scope_stopped(&lab, &session);
    lab.wait_for_journal("Timeout, client not responding").expect("sshd gave up");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_killed_at_logout(&lab, &death, &session);
    let first = &death.chain()[0];
    assert_eq!(first["event"], "ssh-disconnect", "{death}");
    assert_eq!(first["evidence"], "reported", "{death}");
    assert!(text(first).contains("Timeout, client not responding"), "{death}");
    killtrace.stop().expect("killtrace ends");
}

#[test]
fn sigterm_then_sigkill_is_one_story() {
    const STUBBORN: &str = "/usr/local/bin/stubborn.sh";
    const SCOPE_CONF: &str = "/etc/systemd/system/session-.scope.d/60-lab.conf";
    let options = kill_user_processes("yes")
        .file(SCOPE_CONF, "[Scope]\nTimeoutStopSec=1s\n")
        // Waits for what never comes, without a child, and is not to be asked to go.
        .file(STUBBORN, "trap '' TERM HUP\nmkfifo /tmp/never\nexec 3<>/tmp/never\ntouch /tmp/ready\nread -r -u 3\n");
    let lab = lab(&options);
    // A real executable of tmux's name.
    lab.exec(&["mkdir", "/opt/stubborn"]).expect("a directory");
    lab.exec(&["cp", "/bin/bash", "/opt/stubborn/tmux"]).expect("a copy");
    let mut killtrace = Killtrace::start(&lab, &["--target", "tmux"]).expect("killtrace");
    let mut login = lab.login().expect("alice logs in");
    let session = session_of(&mut login);
    let show = format!("systemctl show -p TimeoutStopUSec --value session-{session}.scope");
    assert_eq!(login.run(&show).expect("asked"), "1s");
    login
        .run(&format!("(setsid /opt/stubborn/tmux {STUBBORN} </dev/null >/dev/null 2>&1 &)"))
        .expect("started");
    login.run("until [ -e /tmp/ready ]; do sleep 0.05; done").expect("ready");
    let pid = lab.pid_of("tmux").expect("its pid");
    login.exit().expect("alice logs out");
    lab.wait_until_gone(pid).expect("the stand-in ends");
    prove_scope_stopped(&lab, &session);
    let announced = format!("Killing process {pid} (tmux) with signal SIGKILL");
    lab.wait_for_journal(&announced).expect("systemd lost its patience");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_killed_at_logout(&lab, &death, &session);
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    assert_eq!(death.0["signal"]["name"], "SIGKILL", "{death}");
    death.assert_setting("TimeoutStopSec", "1s", SCOPE_CONF, 2);
    death.assert_chain(&[("signal", "SIGTERM"), ("timeout", ""), ("signal", "SIGKILL")]);
    let report = killtrace.stop().expect("killtrace ends");
    assert_eq!(report.of_type("death").len(), 1, "one story: {report:?}");
}

/// What the shell's end takes along there goes by the session's end, too, which somebody asked for.
#[test]
fn a_job_of_the_shell_of_a_terminated_session() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    let session = session_of(&mut login);
    login.run("{ sleep 4000 & }").expect("a job");
    let pid = lab.pid_of("sleep").expect("its pid");
    let death = verdict(&lab, pid, || {
        lab.exec(&["loginctl", "terminate-session", &session]).expect("root ends the session");
    });
    assert!(death.0["cause"]["explanation"].to_string().contains("terminate-session"), "{death}");
    death.assert_chain(&[("bus-call", "TerminateSession"), ("bus-call", "StopUnit")]);
    let commands = death.chain().iter().filter(|link| link["event"] == "command");
    assert!(commands.into_iter().all(|link| text(link).contains("loginctl")), "{death}");
}

/// The session's end is told by its leader's, and that by who killed it.
#[test]
fn the_leader_of_the_session_is_killed() {
    let lab = lab(&kill_user_processes("yes"));
    let script = "su -l alice -c 'sleep 4000 & tail -f /dev/null' > /dev/null 2>&1 < /dev/null &";
    lab.exec(&["sh", "-c", script]).expect("alice is there by su");
    let pid = lab.pid_of("sleep").expect("its pid");
    let kill = format!("/bin/kill -KILL {}", lab.pid_of("su").expect("the leader"));
    let death = verdict(&lab, pid, || drop(lab.exec(&["sh", "-c", &kill]).expect("killed")));
    assert_eq!(death.cause(), CAUSE, "{death}");
    assert!(death.0["cause"]["explanation"].to_string().contains(&kill), "{death}");
    death.assert_chain(&[("command", &kill), ("signal", "SIGKILL"), ("process-exit", "su")]);
    death.assert_chain(&STOPPED_BY_LOGIND);
    death.assert_setting("KillUserProcesses", "yes", LOGIND_CONF, KILL_USER_PROCESSES_LINE);
    death.fix_with("systemd-run --user --scope sleep");
}

/// Whom the settings spare logind leaves alone, also where it does not say so: of a session of su's it logs that for
/// debugging alone.
#[test]
fn a_spared_user_was_ended_by_somebody_else() {
    let spares = "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=root alice\n";
    let lab = lab(&Options::default().file(LOGIND_CONF, spares));
    let script = "su -l alice -c 'sleep 4000 & tail -f /dev/null' > /dev/null 2>&1 < /dev/null &";
    lab.exec(&["sh", "-c", script]).expect("alice is there by su");
    let pid = lab.pid_of("sleep").expect("its pid");
    let leader = lab.pid_of("su").expect("the leader");
    let cgroup = lab.read(&format!("/proc/{pid}/cgroup")).expect("its cgroup");
    let scope = cgroup.trim().rsplit('/').next().expect("its scope");
    let death = verdict(&lab, pid, || {
        lab.exec(&["pkill", "--exact", "tail"]).expect("her command ends");
        lab.wait_until_gone(leader).expect("and her session");
        assert!(lab.is_alive(pid), "she is spared");
        lab.exec(&["systemctl", "stop", scope]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(1, "systemd");
    let command = format!("systemctl stop {scope}");
    death.assert_says(&["stopped", scope, "root ran", &command]);
    death.assert_chain(&[("command", &command), ("job", scope), ("signal", "SIGTERM")]);
    death.assert_ruled_out(CAUSE);
    let because = death.because(CAUSE);
    assert!(
        because.contains("KillExcludeUsers=root alice") && because.contains(LOGIND_CONF),
        "{death}"
    );
    death.fix_with("systemd-run --user --scope sleep");
}

#[test]
fn a_terminated_session_names_who_had_it_terminated() {
    let lab = lab(&kill_user_processes("no"));
    let (_login, pid, session) = tmux_in_session(&lab);
    let mut killtrace = Killtrace::start(&lab, &["--target", "tmux"]).expect("killtrace");
    lab.exec(&["loginctl", "terminate-session", &session]).expect("root ends the session");
    lab.wait_until_gone(pid).expect("tmux ends");
    prove_scope_stopped(&lab, &session);

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "logind-terminate", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_chain(&[("bus-call", "TerminateSession"), ("bus-call", "StopUnit")]);
    death.assert_says(&[
        "root ran",
        &format!("loginctl terminate-session {session}"),
        "(TerminateSession)",
    ]);
    death.assert_ruled_out(CAUSE);
    death.fix_with("systemd-run --user --scope tmux");
    killtrace.stop().expect("killtrace ends");
}

/// The general setting says no, the list of users yes.
#[test]
fn only_listed_users_are_ended() {
    let text = "[Login]\nKillUserProcesses=no\nKillOnlyUsers=alice\n";
    let lab = lab(&Options::default().file(LOGIND_CONF, text));
    let (login, pid, session) = tmux_in_session(&lab);
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    login.exit().expect("alice logs out");
    lab.wait_until_gone(pid).expect("tmux ends");
    prove_scope_stopped(&lab, &session);
    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), CAUSE, "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting("KillOnlyUsers", "alice", LOGIND_CONF, 3);
    death.assert_chain(&STOPPED_BY_LOGIND);
    death.assert_chain(&[("process-exit", "sshd"), ("bus-call", "StopUnit")]);
    death.fix_with("KillExcludeUsers=root alice");
    // Of those who are listed the general setting is not asked.
    assert!(!death.0["fixes"].to_string().contains("KillUserProcesses=no"), "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("because KillOnlyUsers=alice"), "{death}");
    assert!(!explanation.contains("KillUserProcesses=no"), "{death}");
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}
