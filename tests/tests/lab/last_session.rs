//! What runs below alice's service manager when her last session ends, and that manager with it.

use killtrace_tests::lab::{CLIENT_ADDRESS, Killtrace, Options};

use crate::death::Death;
use crate::units::verdict;
use crate::{LOGIND_CONF, lab, session_of};

/// The end of alice's last session, and what logind does then: on 252 it stops the unit of her manager, on 257 that of the
/// directory which the manager needs.
const STOPPED_AFTER_THE_LAST: [(&str, &str); 5] = [
    ("process-exit", ""),
    ("session-closed", "of alice ended"),
    ("bus-call", "@1000.service"),
    ("job", "user@1000.service"),
    ("signal", "SIGTERM"),
];

/// Not all who log in come by ssh.
#[test]
fn the_last_session_was_one_of_su() {
    let lab = lab(&Options::default().file(LOGIND_CONF, "[Login]\nUserStopDelaySec=1\n"));
    let own = "systemd-run --user --quiet --unit=worker sleep 4000; tail -f /dev/null";
    let script = format!("su -l alice -c '{own}' > /dev/null 2>&1 < /dev/null &");
    lab.exec(&["sh", "-c", &script]).expect("alice is there by su");
    let pid = lab.pid_of("sleep").expect("its pid");
    let kill = format!("/bin/kill -KILL {}", lab.pid_of("tail").expect("what su waits for"));
    let death = verdict(&lab, pid, || drop(lab.exec(&["sh", "-c", &kill]).expect("killed")));
    assert_eq!(death.cause(), "logind-user-stopped", "{death}");
    let said = death.0["cause"]["explanation"].to_string();
    assert!(said.contains("last session") && said.contains("its command tail["), "{death}");
    // Nobody sits at it: it has no terminal.
    assert!(said.contains(", of su-l in the background, had ended"), "{death}");
    assert!(said.contains(&kill), "{death}");
    death.assert_chain(&[("command", &kill), ("process-exit", "tail"), ("process-exit", "su")]);
    death.assert_chain(&STOPPED_AFTER_THE_LAST);
    death.assert_setting("UserStopDelaySec", "1", LOGIND_CONF, 2);
    death.assert_ruled_out("logind-kill-user-processes");
    death.fix_with("enable-linger");
}

#[test]
fn the_user_manager_takes_its_units_along_after_the_last_logout() {
    let lab = lab(&Options::default().file(LOGIND_CONF, "[Login]\nUserStopDelaySec=1\n"));
    let mut login = lab.login().expect("alice logs in");
    login.run("systemd-run --user --quiet --unit=worker sleep 1000").expect("a unit of hers");
    let pid: u32 = login
        .run("systemctl --user show -p MainPID --value worker")
        .expect("asked")
        .parse()
        .expect("a pid");
    let manager: u32 = lab
        .exec(&["systemctl", "show", "-p", "MainPID", "--value", "user@1000.service"])
        .expect("asked")
        .trim()
        .parse()
        .expect("a pid");
    let mut killtrace = Killtrace::start(&lab, &["-p", &pid.to_string()]).expect("killtrace");
    login.exit().expect("alice logs out");
    lab.wait_until_gone(pid).expect("her unit ends");
    lab.wait_for_journal("Stopped user@1000.service").expect("her manager was stopped");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "logind-user-stopped", "{death}");
    death.assert_killer(manager, "systemd");
    death.assert_setting("UserStopDelaySec", "1", LOGIND_CONF, 2);
    death.assert_chain(&STOPPED_AFTER_THE_LAST);
    // Her shell ended, and with it the connection.
    let said = death.0["cause"]["explanation"].to_string();
    assert!(said.contains("last session") && said.contains("exited with 0"), "{death}");
    assert!(said.contains(CLIENT_ADDRESS), "{death}");
    death.assert_chain(&[("process-exit", "bash"), ("ssh-disconnect", ""), ("session-closed", "")]);
    death.fix_with("enable-linger");
    // It was named by pid, so killtrace ends with it.
    assert!(killtrace.wait().expect("killtrace ends").status.success());
}

/// Nobody is logged in any more, and nobody logs out: lingering alone had kept her manager.
#[test]
fn lingering_is_taken_away() {
    let lab = lab(&Options::default().file(LOGIND_CONF, "[Login]\nUserStopDelaySec=1\n"));
    let mut login = lab.login().expect("alice logs in");
    login.run("sudo loginctl enable-linger alice").expect("alice may linger");
    login.run("systemd-run --user --quiet --unit=worker sleep 1000").expect("a unit of hers");
    let session = session_of(&mut login);
    let pid = lab.pid_of("sleep").expect("its pid");
    login.exit().expect("alice logs out");
    lab.wait_for_journal(&format!("Removed session {session}.")).expect("the session ended");
    let death = verdict(&lab, pid, || {
        lab.exec(&["loginctl", "disable-linger", "alice"]).expect("taken away");
    });
    assert_eq!(death.cause(), "logind-user-stopped", "{death}");
    let said = death.0["cause"]["explanation"].to_string();
    assert!(said.contains("loginctl disable-linger alice"), "{death}");
    death.assert_chain(&[
        ("command", "loginctl disable-linger alice"),
        ("bus-call", "SetUserLinger"),
        ("bus-call", "@1000.service"),
        ("job", "user@1000.service"),
        ("signal", "SIGTERM"),
    ]);
    let linger = death.setting("Linger");
    let place = "/var/lib/systemd/linger/alice";
    assert_eq!((&linger["value"], &linger["file"]), (&"no".into(), &place.into()), "{death}");
    death.fix_with("enable-linger");
}

/// A unit of hers that does not care about SIGTERM has no more time than her whole manager has.
#[test]
fn the_user_manager_has_no_more_time() {
    const DROP_IN: &str = "/etc/systemd/system/user@.service.d/60-lab.conf";
    const STUBBORN: &str = "trap \"\" TERM; mkfifo /tmp/never; exec 3<>/tmp/never; \
                            touch /tmp/ready; while :; do read -r -u 3 x; done";
    let options = Options::default()
        .file(LOGIND_CONF, "[Login]\nUserStopDelaySec=1\n")
        .file(DROP_IN, "[Service]\nTimeoutStopSec=2s\n");
    let lab = lab(&options);
    let mut login = lab.login().expect("alice logs in");
    login
        .run(&format!("systemd-run --user --quiet --unit=worker bash -c '{STUBBORN}'"))
        .expect("a unit of hers");
    login.run("until [ -e /tmp/ready ]; do sleep 0.05; done").expect("ready");
    let pid = login.run("systemctl --user show -p MainPID --value worker").expect("asked");
    let pid = pid.parse().expect("a pid");
    let death = verdict(&lab, pid, || {
        login.exit().expect("alice logs out");
    });
    assert_eq!(death.cause(), "logind-user-stopped", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["outcome"]["signal"], "SIGKILL", "{death}");
    death.assert_setting("UserStopDelaySec", "1", LOGIND_CONF, 2);
    death.assert_setting("TimeoutStopSec", "2s", DROP_IN, 2);
    death.assert_chain(&[
        ("session-closed", "of alice ended"),
        ("job", "user@1000.service"),
        ("signal", "SIGTERM"),
        ("timeout", "timed out"),
        ("signal", "SIGKILL"),
    ]);
    death.fix_with("enable-linger");
    death.fix_with("TimeoutStopSec=");
    // Her manager ends its units in an order of its own.
    assert!(!death.0["fixes"].to_string().contains("KillMode="), "{death}");
}
