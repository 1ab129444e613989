//! The scopes that tmux has its panes moved to, each by the user's service manager: tmux 3.4 and later does so itself where it
//! was built with libsystemd. The lab's tmux is older, so its panes start with a command that has the same done.

use killtrace_tests::lab::{Killtrace, Lab, Login, Options, PATIENCE, wait_for};

use crate::death::Death;
use crate::units::{main_pid, verdict};
use crate::{
    KILL_USER_PROCESSES_LINE, LOGIND_CONF, kill_user_processes, lab, session_of, start_tmux,
};

const SCOPE: &str = "tmux-spawn-1d2c3b4a-0000-4000-8000-0123456789ab.scope";

/// Has alice's tmux open a window that runs sleep in a pane's scope; returns the pid of sleep.
fn pane(lab: &Lab, login: &mut Login, properties: &str) -> u32 {
    let run = format!(
        "exec systemd-run --user --scope --quiet --unit={SCOPE} --slice=app-tmux.slice --collect \
         -p SendSIGHUP=yes {properties} sleep 1000"
    );
    login.run(&format!("tmux new-window -d '{run}'")).expect("a window");
    wait_for("the pane's scope", PATIENCE, || {
        let Ok(pid) = lab.pid_now("sleep") else { return Ok(None) };
        let cgroup = lab.read(&format!("/proc/{pid}/cgroup"))?;
        Ok(cgroup.contains(SCOPE).then_some(pid))
    })
    .expect("the pane's process")
}

/// alice with a tmux in her session, one pane of which is in its own scope.
fn tmux_with_pane(lab: &Lab, properties: &str) -> (Login, u32, u32) {
    let mut login = lab.login().expect("alice logs in");
    let server = start_tmux(&mut login);
    let pane = pane(lab, &mut login, properties);
    (login, server, pane)
}

fn manager(lab: &Lab) -> u32 {
    main_pid(lab, "user@1000.service")
}

#[test]
fn a_panes_scope_is_stopped() {
    let lab = lab(&kill_user_processes("no"));
    let (mut login, server, pane) = tmux_with_pane(&lab, "");
    let death = verdict(&lab, pane, || {
        login.run(&format!("systemctl --user stop {SCOPE}")).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_killer(manager(&lab), "systemd");
    assert_eq!(death.0["victim"]["user_unit"], SCOPE, "{death}");
    let command = format!("systemctl --user stop {SCOPE}");
    death.assert_chain(&[("command", &command), ("job", SCOPE), ("signal", "SIGTERM")]);
    death.assert_says(&["a tmux pane's", "alice ran", &command, "in ssh session"]);
    death.assert_no_fix();
    assert!(lab.is_alive(server), "the server is in another unit");
}

/// The server of a tmux that runs in a unit of its own, and a pane.
fn tmux_in_unit(lab: &Lab, properties: &str) -> (Login, u32) {
    let mut login = lab.login().expect("alice logs in");
    login
        .run("systemd-run --user --quiet --unit=server --service-type=forking tmux new-session -d -s work")
        .expect("a server in a unit of its own");
    let pane = pane(lab, &mut login, properties);
    (login, pane)
}

/// tmux 3.7 and later makes a pane's scope part of the unit that the server is in, and has it stopped after that one:
/// the server's end, which closes the terminal, is first.
#[test]
fn a_pane_goes_with_the_unit_of_its_server() {
    let lab = lab(&kill_user_processes("no"));
    let (mut login, pane) = tmux_in_unit(&lab, "-p PartOf=server.service -p Before=server.service");
    let death = verdict(&lab, pane, || {
        login.run("systemctl --user stop server.service").expect("stopped");
    });
    assert_eq!(death.cause(), "terminal-closed", "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("which stopped server.service"), "{death}");
    assert!(explanation.contains("systemctl --user stop server.service"), "{death}");
    death.assert_chain(&[
        ("command", "systemctl --user stop server.service"),
        ("job", "server.service"),
        ("signal", "SIGTERM to tmux: server"),
        ("terminal", "tmux: server"),
        ("signal", "SIGHUP"),
    ]);
}

/// Where it is stopped together with the server's unit, and does not hear of the terminal.
#[test]
fn a_pane_is_part_of_the_unit_of_its_server() {
    let lab = lab(&kill_user_processes("no"));
    let (mut login, pane) = tmux_in_unit(&lab, "-p PartOf=server.service -p After=server.service");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pane.to_string()]).expect("killtrace");
    killtrace.learns(&[SCOPE, "PartOf"]).expect("the user's manager tells");
    login.run("systemctl --user stop server.service").expect("stopped");
    let death = Death(killtrace.death_of(pane).expect("a verdict"));
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_killer(manager(&lab), "systemd");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(
        explanation.contains("(by its name, a tmux pane's) is part of server.service"),
        "{death}"
    );
    assert!(explanation.contains("systemctl --user stop server.service"), "{death}");
    death.assert_chain(&[("job", "server.service"), ("job", SCOPE), ("signal", "SIGTERM")]);
    let file = format!("/run/user/1000/systemd/transient/{SCOPE}");
    let settings = death.0["cause"]["settings"].as_array().into_iter().flatten();
    let part: Vec<_> = settings.filter(|setting| setting["name"] == "PartOf").collect();
    assert_eq!(part.len(), 1, "{death}");
    assert_eq!((&part[0]["value"], &part[0]["file"]), (&"server.service".into(), &file.into()));
}

/// The server in the session's scope is ended by PID 1; the pane, which is below the user's manager, by the
/// terminal that the server closes.
#[test]
fn a_pane_goes_when_logind_ends_its_server() {
    let lab = lab(&kill_user_processes("yes"));
    let (mut login, server, pane) = tmux_with_pane(&lab, "");
    let session = session_of(&mut login);
    let death = verdict(&lab, pane, || {
        login.exit().expect("alice logs out");
        lab.wait_until_gone(server).expect("the server ends");
    });
    assert_eq!(death.cause(), "terminal-closed", "{death}");
    assert_eq!(death.0["killer"]["kind"], "kernel", "{death}");
    assert_eq!(death.0["killer"]["process"]["pid"], server, "{death}");
    assert_eq!(death.0["signal"]["name"], "SIGHUP", "{death}");
    // What had ended the server is told as well, and what to do about that.
    death.assert_chain(&[
        ("bus-call", &format!("session-{session}.scope")),
        ("job", &format!("session-{session}.scope")),
        ("signal", "SIGTERM to tmux: server"),
        ("terminal", "tmux: server"),
        ("signal", "SIGHUP"),
    ]);
    death.assert_setting("KillUserProcesses", "yes", LOGIND_CONF, KILL_USER_PROCESSES_LINE);
    death.fix_with("enable-linger");
}

/// All of the user's is ended at once: whether the user's manager gets to the pane before the server has closed its
/// terminal is a race. Why either happened is the same.
#[test]
fn a_pane_of_a_terminated_user() {
    let lab = lab(&kill_user_processes("no"));
    let (_login, pane) = tmux_in_unit(&lab, "");
    let death = verdict(&lab, pane, || {
        lab.exec(&["loginctl", "terminate-user", "alice"]).expect("terminated");
    });
    assert!(["logind-terminate", "terminal-closed"].contains(&death.cause()), "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("loginctl terminate-user alice"), "{death}");
    death.assert_chain(&[
        ("command", "loginctl terminate-user alice"),
        ("bus-call", "TerminateUser"),
        ("signal", "SIG"),
    ]);
}

/// Of two commands at the same time the one is told that was for this server.
#[test]
fn a_pane_of_one_of_two_servers() {
    let lab = lab(&kill_user_processes("no"));
    let mut login = lab.login().expect("alice logs in");
    let server = start_tmux(&mut login);
    login.run("tmux -L other new-session -d").expect("another server");
    login.run("tmux new-window -d 'exec sleep 1000'").expect("a window");
    let find = || lab.pid_now("sleep").map(Some).or(Ok(None));
    let pane = wait_for("the pane's process", PATIENCE, find).expect("the pane's process");
    let death = verdict(&lab, pane, || {
        login.run("tmux kill-session -t work; tmux -L other kill-server").expect("done");
    });
    assert_eq!(death.cause(), "terminal-closed", "{death}");
    assert_eq!(death.0["killer"]["process"]["pid"], server, "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    assert!(explanation.contains("tmux kill-session -t work"), "{death}");
    assert!(!explanation.contains("kill-server"), "{death}");
    death.assert_chain(&[("command", "tmux kill-session -t work"), ("terminal", "tmux: server")]);
}

/// tmux writes the key into the pane's terminal, as a command has it do.
#[test]
fn a_key_is_sent_to_a_pane() {
    let lab = lab(&Options::default());
    let mut login = lab.login().expect("alice logs in");
    login.run("tmux new-session -d -s work 'sleep 1000'").expect("tmux starts");
    let pid = wait_for("the pane's process", PATIENCE, || Ok(lab.pid_now("sleep").ok()));
    let pid = pid.expect("sleep");
    let death = verdict(&lab, pid, || {
        login.run("tmux send-keys -t work C-c").expect("sent");
    });
    assert_eq!(death.cause(), "terminal-interrupt", "{death}");
    assert_eq!(death.0["cause"]["evidence"], "inferred", "{death}");
    let explanation = death.0["cause"]["explanation"].to_string();
    for words in ["tmux: server[", "alice ran", "tmux send-keys -t work C-c", "seems to be why"] {
        assert!(explanation.contains(words), "{words}: {death}");
    }
}
