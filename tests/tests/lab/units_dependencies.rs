//! One unit pulls another one down: each kind of dependency, the line that set it, and who set it off.

use killtrace_tests::lab::{Lab, Options};

use crate::death::Death;
use crate::units::{assert_default, drop_in, main_pid, start, unit, verdict};
use crate::{kill_user_processes, lab};

const VICTIM: &str = "/etc/systemd/system/victim.service";
const SLEEPS: &str = "[Service]\nExecStart=/bin/sleep 1000\n";

/// A victim that stands in this relation to `base.service`; the relation is on line 2 of its file.
fn related(relation: &str) -> Options {
    let victim = format!("[Unit]\n{relation}=base.service\n{SLEEPS}");
    unit(unit(Options::default(), "base.service", SLEEPS), "victim.service", &victim)
}

fn stop_base(lab: &Lab) -> Death {
    let pid = start(lab, &["victim.service", "base.service"]);
    verdict(lab, pid, || drop(lab.exec(&["systemctl", "stop", "base.service"]).expect("stopped")))
}

fn assert_pulled_down(death: &Death, relation: &str) {
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_killer(1, "systemd");
    death.assert_setting(relation, "base.service", VICTIM, 2);
    death.assert_chain(&[
        ("command", "systemctl stop base.service"),
        ("job", "stop base.service"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_ruled_out("unit-main-process-exited");
    death.fix_with(&format!("{relation}="));
}

#[test]
fn binds_to() {
    assert_pulled_down(&stop_base(&lab(&related("BindsTo"))), "BindsTo");
}

#[test]
fn part_of() {
    assert_pulled_down(&stop_base(&lab(&related("PartOf"))), "PartOf");
}

#[test]
fn requires() {
    assert_pulled_down(&stop_base(&lab(&related("Requires"))), "Requires");
}

#[test]
fn stop_propagated_from() {
    assert_pulled_down(&stop_base(&lab(&related("StopPropagatedFrom"))), "StopPropagatedFrom");
}

#[test]
fn requisite() {
    let lab = lab(&related("Requisite"));
    // That does not start it.
    start(&lab, &["base.service"]);
    assert_pulled_down(&stop_base(&lab), "Requisite");
}

/// What listens for a service is stopped.
#[test]
fn requires_a_socket() {
    let victim = format!("[Unit]\nRequires=victim.socket\n{SLEEPS}");
    let options = unit(Options::default(), "victim.service", &victim);
    let lab = lab(&unit(options, "victim.socket", "[Socket]\nListenStream=/run/victim\n"));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "victim.socket"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_setting("Requires", "victim.socket", VICTIM, 2);
    death.assert_chain(&[
        ("command", "systemctl stop victim.socket"),
        ("job", "stop victim.socket"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("write Wants=victim.socket instead of Requires=victim.socket");
}

/// A oneshot that is done, and forgotten by its manager, before anything of it can be asked.
#[test]
fn conflicts_with_what_is_soon_gone_again() {
    let once = "[Unit]\nConflicts=victim.service\n[Service]\nType=oneshot\nExecStart=/bin/true\n";
    let options = unit(Options::default(), "once.service", once);
    let lab = lab(&unit(options, "victim.service", SLEEPS));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        drop(lab.exec(&["systemctl", "start", "once.service"]).expect("started"));
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_setting("Conflicts", "victim.service", "/etc/systemd/system/once.service", 2);
    death.assert_chain(&[
        ("command", "systemctl start once.service"),
        ("job", "once.service"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_says(&["once.service was started: root ran \"systemctl start once.service\""]);
    death.fix_with("sudo systemctl edit --full once.service");
    death.fix_with("take out Conflicts=victim.service");
}

/// Nobody asks for what a unit has started when it fails.
#[test]
fn conflicts_with_what_a_failure_starts() {
    let bad = "[Unit]\nOnFailure=clean.service\n[Service]\nExecStart=/bin/sleep 1001\n";
    let clean = "[Unit]\nConflicts=victim.service\n[Service]\nType=oneshot\nExecStart=/bin/true\n";
    let options = unit(unit(Options::default(), "bad.service", bad), "clean.service", clean);
    let lab = lab(&unit(options, "victim.service", SLEEPS));
    let pid = start(&lab, &["victim.service", "bad.service"]);
    let kill = format!("/bin/kill -KILL {}", main_pid(&lab, "bad.service"));
    let death = verdict(&lab, pid, || drop(lab.exec(&["sh", "-c", &kill]).expect("killed")));
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    let said = death.0["cause"]["explanation"].to_string();
    let words = "clean.service was started by OnFailure= of bad.service";
    assert!(said.contains(words) && said.contains(&kill), "{death}");
    death.assert_chain(&[
        ("command", &kill),
        ("unit-state", "Triggering OnFailure="),
        ("job", "start clean.service"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_setting("Conflicts", "victim.service", "/etc/systemd/system/clean.service", 2);
    death.fix_with("take out Conflicts=victim.service");
}

/// Of several lines the one that names the other unit decided.
#[test]
fn the_line_that_names_the_other_unit_is_shown() {
    let options = related("PartOf");
    let options =
        drop_in(options, "victim.service", "[Unit]\n\nPartOf=other.service\nAfter=base.service\n");
    let lab = lab(&options);
    assert_pulled_down(&stop_base(&lab), "PartOf");
}

#[test]
fn a_person_behind_the_other_stop_is_named() {
    let options = unit(
        unit(kill_user_processes("no"), "base.service", SLEEPS),
        "victim.service",
        &format!("[Unit]\nPartOf=base.service\n{SLEEPS}"),
    );
    let lab = lab(&options);
    let pid = start(&lab, &["victim.service", "base.service"]);
    let mut login = lab.login().expect("alice logs in");
    let death = verdict(&lab, pid, || {
        login.run("sudo systemctl restart base.service").expect("restarted");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    let person = "alice ran \"sudo systemctl restart base.service\" in ssh session ";
    death.assert_says(&[&format!("base.service was restarted: {person}")]);
    death.assert_setting("PartOf", "base.service", VICTIM, 2);
    death.assert_chain(&[
        ("command", person),
        ("job", "restart base.service"),
        ("job", "restart victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("take out PartOf=base.service");
}

#[test]
fn the_start_of_a_conflicting_unit() {
    let lab = lab(&related("Conflicts"));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "start", "base.service"]).expect("started");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_setting("Conflicts", "base.service", VICTIM, 2);
    death.assert_chain(&[
        ("command", "systemctl start base.service"),
        ("job", "start base.service"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_ruled_out("unit-main-process-exited");
    death.fix_with("Conflicts=");
}

/// The other unit says so, in its own file.
#[test]
fn a_conflict_that_the_other_unit_declares() {
    let base = format!("[Unit]\nConflicts=victim.service\n{SLEEPS}");
    let options = unit(unit(Options::default(), "base.service", &base), "victim.service", SLEEPS);
    let lab = lab(&options);
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "start", "base.service"]).expect("started");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    let base = "/etc/systemd/system/base.service";
    death.assert_setting("Conflicts", "victim.service", base, 2);
    death.assert_chain(&[
        ("command", "systemctl start base.service"),
        ("job", "start base.service"),
    ]);
    // The line to change is in the other's file.
    death.fix_with("base.service");
}

/// Nobody asks for the stop of either: the unit that it is bound to ends by itself.
#[test]
fn bound_to_a_unit_that_ended_by_itself() {
    let base = "[Service]\nExecStartPre=/usr/bin/mkfifo /run/end\n\
                ExecStart=/bin/sh -c 'read end < /run/end'\n";
    let victim = format!("[Unit]\nBindsTo=base.service\nAfter=base.service\n{SLEEPS}");
    let options = unit(unit(Options::default(), "base.service", base), "victim.service", &victim);
    let lab = lab(&options);
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to end");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_setting("BindsTo", "base.service", VICTIM, 2);
    death.assert_chain(&[
        ("process-exit", "exited with 0"),
        ("unit-state", "base.service"),
        ("job", "victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("write Wants=base.service instead of BindsTo=base.service");
}

/// No job for the mount, either: somebody unmounts it.
#[test]
fn bound_to_a_mount_that_is_taken_away() {
    let mount = "[Mount]\nWhat=tmpfs\nWhere=/mnt/x\nType=tmpfs\n";
    let victim = format!("[Unit]\nBindsTo=mnt-x.mount\nAfter=mnt-x.mount\n{SLEEPS}");
    let options = unit(Options::default(), "mnt-x.mount", mount);
    let lab = lab(&unit(options, "victim.service", &victim));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["umount", "/mnt/x"]).expect("unmounted");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_says(&["mnt-x.mount was unmounted: root ran \"umount /mnt/x\""]);
    death.assert_setting("BindsTo", "mnt-x.mount", VICTIM, 2);
    death.assert_chain(&[
        ("command", "umount /mnt/x"),
        ("unit-state", "mnt-x.mount"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("write Wants=mnt-x.mount instead of BindsTo=mnt-x.mount");
}

/// The stop came over a unit between: who asked for it is found behind that.
#[test]
fn over_another_unit() {
    let middle = format!("[Unit]\nPartOf=far.service\n{SLEEPS}");
    let options = unit(unit(related("Requires"), "base.service", &middle), "far.service", SLEEPS);
    let lab = lab(&options);
    let pid = start(&lab, &["victim.service", "far.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "far.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_setting("Requires", "base.service", VICTIM, 2);
    death.assert_setting("PartOf", "far.service", "/etc/systemd/system/base.service", 2);
    death.assert_chain(&[
        ("command", "systemctl stop far.service"),
        ("job", "stop far.service"),
        ("job", "stop base.service"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("write Wants=base.service instead of Requires=base.service");
}

/// What was started only wants a unit that the victim conflicts with.
#[test]
fn a_conflict_with_what_another_unit_wants() {
    let far = format!("[Unit]\nWants=base.service\n{SLEEPS}");
    let lab = lab(&unit(related("Conflicts"), "far.service", &far));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "start", "far.service"]).expect("started");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_setting("Conflicts", "base.service", VICTIM, 2);
    death.assert_chain(&[
        ("command", "systemctl start far.service"),
        ("job", "start far.service"),
        ("job", "start base.service"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_says(&["it is wanted by far.service, and far.service was started: root ran"]);
    death.fix_with("take out Conflicts=base.service");
}

/// The line stands in the other's file.
#[test]
fn a_stop_that_the_other_unit_passes_on() {
    let base = format!("[Unit]\nPropagatesStopTo=victim.service\n{SLEEPS}");
    let options = unit(unit(Options::default(), "base.service", &base), "victim.service", SLEEPS);
    let death = stop_base(&lab(&options));
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    let base = "/etc/systemd/system/base.service";
    death.assert_setting("PropagatesStopTo", "victim.service", base, 2);
    death.assert_chain(&[
        ("command", "systemctl stop base.service"),
        ("job", "stop base.service"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("PropagatesStopTo=");
}

/// The victim's file names the other by another name, and so does whoever stops it.
#[test]
fn a_unit_with_another_name() {
    let victim = format!("[Unit]\nPartOf=second.service\n{SLEEPS}");
    let options =
        unit(unit(Options::default(), "victim.service", &victim), "first.service", SLEEPS)
            .link("/etc/systemd/system/second.service", "first.service")
            .link("/etc/systemd/system/third.service", "first.service");
    let lab = lab(&options);
    let pid = start(&lab, &["victim.service", "second.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "third.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_setting("PartOf", "second.service", VICTIM, 2);
    death.assert_chain(&[
        ("command", "systemctl stop third.service"),
        ("job", "stop first.service"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("take out PartOf=second.service");
}

/// Nobody asks: a timer elapses.
#[test]
fn a_conflict_with_what_a_timer_starts() {
    let timer = "[Timer]\nOnActiveSec=1s\nAccuracySec=1ms\n";
    let lab = lab(&unit(related("Conflicts"), "base.timer", timer));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "start", "base.timer"]).expect("started");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_setting("Conflicts", "base.service", VICTIM, 2);
    death.assert_says(&["base.service was started by base.timer"]);
    death.assert_chain(&[
        ("job", "start base.service"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("take out Conflicts=base.service");
}

#[test]
fn stop_when_unneeded() {
    let victim = format!("[Unit]\nStopWhenUnneeded=yes\n{SLEEPS}");
    let user = format!("[Unit]\nWants=victim.service\nAfter=victim.service\n{SLEEPS}");
    let options = unit(unit(Options::default(), "victim.service", &victim), "user.service", &user);
    let lab = lab(&options);
    lab.exec(&["systemctl", "start", "user.service"]).expect("started");
    let pid = main_pid(&lab, "victim.service");
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "stop", "user.service"]).expect("stopped");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_setting("StopWhenUnneeded", "yes", VICTIM, 2);
    death.assert_chain(&[
        ("command", "systemctl stop user.service"),
        ("job", "stop user.service"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("StopWhenUnneeded=no");
}

/// Nobody asks for anything: the last unit that needed it ends by itself.
#[test]
fn stop_when_unneeded_any_more() {
    let victim = format!("[Unit]\nStopWhenUnneeded=yes\n{SLEEPS}");
    let user = "[Unit]\nWants=victim.service\nAfter=victim.service\n\
                [Service]\nExecStartPre=/usr/bin/mkfifo /run/end\n\
                ExecStart=/bin/sh -c 'read end < /run/end; exit 3'\n";
    let options = unit(unit(Options::default(), "victim.service", &victim), "user.service", user);
    let lab = lab(&options);
    lab.exec(&["systemctl", "start", "user.service"]).expect("started");
    let pid = main_pid(&lab, "victim.service");
    let death = verdict(&lab, pid, || {
        lab.exec(&["sh", "-c", "echo now > /run/end"]).expect("told to end");
    });
    assert_eq!(death.cause(), "unit-dependency", "{death}");
    death.assert_setting("StopWhenUnneeded", "yes", VICTIM, 2);
    death.assert_chain(&[
        ("process-exit", "exited with 3"),
        ("unit-state", "user.service"),
        ("job", "victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.fix_with("StopWhenUnneeded=no");
}

#[test]
fn isolate() {
    let options = unit(Options::default(), "victim.service", SLEEPS);
    let quiet = "[Unit]\nRequires=basic.target dbus.service systemd-journald.service\n\
                 Wants=systemd-logind.service ssh.service\nAllowIsolate=yes\n";
    let lab = lab(&unit(options, "quiet.target", quiet));
    let pid = start(&lab, &["victim.service"]);
    let death = verdict(&lab, pid, || {
        lab.exec(&["systemctl", "isolate", "quiet.target"]).expect("isolated");
    });
    assert_eq!(death.cause(), "unit-stop-requested", "{death}");
    death.assert_chain(&[
        ("command", "systemctl isolate quiet.target"),
        ("job", "stop victim.service"),
        ("signal", "SIGTERM"),
    ]);
    death.assert_says(&["since quiet.target was isolated", "root ran \"systemctl isolate"]);
    assert_default(&death, "IgnoreOnIsolate", "no");
    death.fix_with("IgnoreOnIsolate=yes");
}
