//! alice's tmux at the end of her ssh session, where sshd runs as one unit per connection and nobody
//! tells logind: systemd cleans up the unit.

use killtrace_tests::lab::{Killtrace, Options};

use crate::death::Death;
use crate::{lab, start_tmux};

/// `name`: what the distribution calls the units.
fn tmux_ends_with_its_connection(name: &str) {
    let lab = lab(&Options::default().ssh_per_connection(name).without_pam_systemd());
    let mut killtrace = Killtrace::start(&lab, &["--target", "tmux"]).expect("killtrace");
    let mut login = lab.login().expect("alice logs in");
    assert_eq!(login.run("echo -$XDG_SESSION_ID-").expect("asked"), "--", "no session of logind's");
    let pid = start_tmux(&mut login);
    let cgroup = lab.read(&format!("/proc/{pid}/cgroup")).expect("tmux's cgroup");
    let unit = cgroup.trim().rsplit('/').next().unwrap_or_default().to_owned();
    assert!(unit.starts_with(&format!("{name}@")) && unit.ends_with(".service"), "{cgroup}");
    assert_eq!(
        lab.exec(&["systemctl", "show", "-p", "KillMode", "--value", &unit]).expect("asked").trim(),
        "control-group"
    );
    login.exit().expect("alice logs out");
    lab.wait_until_gone(pid).expect("tmux ends");
    lab.wait_for_journal(&format!("{unit}: Deactivated successfully")).expect("the unit ended");
    let journal = lab.journal().expect("a journal");
    assert!(!journal.contains(&format!("Stopping {unit}")), "no job stopped it:\n{journal}");

    let death = Death(killtrace.death_of(pid).expect("a verdict"));
    assert_eq!(death.cause(), "sshd-per-connection-unit", "{death}");
    death.assert_killer(1, "systemd");
    assert_eq!(death.0["victim"]["unit"], unit, "{death}");
    assert_eq!(death.0["signal"]["name"], "SIGTERM", "{death}");
    death.assert_chain(&[("process-exit", "sshd"), ("signal", "SIGTERM")]);
    death.assert_chain(&[("unit-state", &unit)]);
    death.assert_no_link("job");
    death.assert_no_link("bus-call");
    death.assert_ruled_out("logind-kill-user-processes");
    let service = format!("{name}.service");
    for fix in ["KillMode=process", &service, "pam_systemd"] {
        let side_effect = &death.fix_with(fix)["side_effect"];
        assert!(side_effect.as_str().is_some_and(|text| !text.is_empty()), "{fix}: {death}");
    }
    killtrace.stop().expect("killtrace ends");
}

#[test]
fn one_unit_per_connection_as_debian_calls_it() {
    tmux_ends_with_its_connection("ssh");
}

#[test]
fn one_unit_per_connection_as_others_call_it() {
    tmux_ends_with_its_connection("sshd");
}
