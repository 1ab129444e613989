//! What is told to do about a stop of a unit: commands that work as they stand.

use serde_json::{Value, json};

use super::scene::{Scene, signal, systemd, task_in};
use crate::evidence::{
    Fact, JournalLine, Manager, Setting, SignalSent, Source, TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death};

fn root(pid: u32, comm: &str) -> Task {
    Task { uid: 0, euid: 0, ..task_in(pid, comm, "/user.slice/user-0.slice/session-1.scope") }
}

/// A unit is stopped by a command of root's.
fn stopped(unit: &str, kind: &str, properties: &[(&str, Value)], args: &[&str]) -> Death {
    let victim = task_in(142, "v", &format!("/system.slice/{unit}"));
    Scene::default()
        .user(0, "root")
        .unit(1, unit, properties)
        .target(&victim, TargetReason::Running)
        .exec(1990, root(90, "systemctl"), args, &[])
        .job(1999, 700, kind, unit)
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim, 15, true)
        .death()
}

fn commands(death: &Death) -> Vec<&str> {
    death.fixes.iter().flat_map(|fix| fix.commands.iter().map(String::as_str)).collect()
}

#[test]
fn what_keeps_a_unit_from_being_started_is_taken_away_first() {
    let by = |args: &[&str]| stopped("v.service", "stop", &[], args);
    let start = "sudo systemctl start v.service";
    let death = by(&["systemctl", "mask", "--now", "v"]);
    assert_eq!(commands(&death), ["sudo systemctl unmask v.service", start]);
    let death = by(&["systemctl", "mask", "--now", "--runtime", "v"]);
    assert_eq!(commands(&death), ["sudo systemctl unmask --runtime v.service", start]);
    let death = by(&["systemctl", "disable", "--now", "v"]);
    assert_eq!(commands(&death), ["sudo systemctl enable --now v.service"]);
    assert_eq!(commands(&by(&["systemctl", "stop", "v"])), [start]);
    let gone = [("LoadState", json!("not-found"))];
    let death = stopped("v.service", "stop", &gone, &["systemctl", "stop", "v"]);
    assert!(death.fixes[0].title.contains("put its file back"), "{death:#?}");
}

/// A unit file that was deleted, and not read again: what it had set still counts, and is no default.
#[test]
fn a_unit_whose_file_is_gone_needs_it_back_first() {
    const FILE: &str = "/etc/systemd/system/v.service";
    let victim = task_in(142, "v", "/system.slice/v.service");
    let lost = |name: &str, value: &str| {
        let (scope, name) = ("v.service".to_owned(), name.to_owned());
        let value = value.to_owned();
        let manager = Some(Manager::System);
        let written = Setting { manager, scope, name, value, file: None, line: None, unread: None };
        Fact::Setting(written.outlives(FILE))
    };
    let gone = || {
        Scene::default().user(0, "root").target(&victim, TargetReason::Running).add(
            2,
            Source::BusProperty,
            lost("FragmentPath", FILE),
        )
    };
    let logged = JournalLine {
        message: "v.service: Service reached runtime time limit. Stopping.".to_owned(),
        pid: Some(1),
        about_unit: Some("v.service".to_owned()),
        ..JournalLine::default()
    };
    let death = gone()
        .unit(1, "v.service", &[("RuntimeMaxUSec", json!(3_000_000))])
        .add(2000, Source::Journal, Fact::Journal(logged))
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim.clone(), 15, true)
        .death();
    let text = &death.cause.explanation;
    assert!(
        text.contains(&format!("RuntimeMaxSec=3s; no file sets it any more, since {FILE}")),
        "{text}"
    );
    for fix in &death.fixes {
        assert!(fix.commands[0].contains(&format!("put {FILE} back")), "{fix:#?}");
    }
    let death = gone()
        .exec(1990, root(90, "systemctl"), &["systemctl", "stop", "v"], &[])
        .job(1999, 700, "stop", "v.service")
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim.clone(), 15, true)
        .death();
    assert!(death.fixes[0].title.contains("put its file back"), "{death:#?}");
    // It was put back, and went away only when all was over.
    let there = Setting {
        manager: Some(Manager::System),
        scope: "v.service".to_owned(),
        name: "FragmentPath".to_owned(),
        value: FILE.to_owned(),
        file: Some(FILE.to_owned()),
        line: None,
        unread: None,
    };
    let death = gone()
        .add(3, Source::File, Fact::Setting(there))
        .exec(1990, root(90, "systemctl"), &["systemctl", "stop", "v"], &[])
        .job(1999, 700, "stop", "v.service")
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim.clone(), 15, true)
        .add(2004, Source::BusProperty, lost("FragmentPath", FILE))
        .death();
    assert_eq!(commands(&death), ["sudo systemctl start v.service"]);
    let death = gone()
        .unit(1, "v.service", &[("PartOf", json!(["base.service"]))])
        .add(2, Source::BusProperty, lost("PartOf", "base.service"))
        .exec(1990, root(90, "systemctl"), &["systemctl", "stop", "base"], &[])
        .job(1998, 699, "stop", "base.service")
        .job(1999, 700, "stop", "v.service")
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim.clone(), 15, true)
        .death();
    assert!(death.fixes[0].title.contains("put the unit's file back"), "{death:#?}");
    assert!(!commands(&death).concat().contains("systemctl cat"), "{death:#?}");
}

#[test]
fn a_package_that_was_removed_is_installed_again() {
    let victim = task_in(142, "v", "/system.slice/v.service");
    let play = |what: &str| {
        let apt = root(80, "apt-get");
        let script = root(85, "v.prerm");
        let file = "/var/lib/dpkg/info/vpkg.prerm";
        Scene::default()
            .user(0, "root")
            .target(&victim, TargetReason::Running)
            .exec(1900, apt.clone(), &["apt-get", "install", "other"], &[])
            .exec(1950, script.clone(), &["/bin/sh", file, what], &[&apt])
            .exec(1990, root(90, "systemctl"), &["systemctl", "stop", "v"], &[&script, &apt])
            .job(1999, 700, "stop", "v.service")
            .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(2003, victim.clone(), 15, true)
            .death()
    };
    let start = "sudo systemctl start v.service";
    assert_eq!(commands(&play("remove")), ["sudo apt-get install vpkg", start]);
    assert!(commands(&play("upgrade")).contains(&"sudo apt-mark hold vpkg"));
}

#[test]
fn an_instance_has_the_properties_and_its_template_the_files() {
    let victim = task_in(142, "v", "/system.slice/worker@a.service");
    let file = "/etc/systemd/system/worker@.service";
    let play = |name: &str, line: &str| {
        Scene::default()
            .user(0, "root")
            .unit(1, "worker@a.service", &[(name, json!(["base.service"]))])
            .setting("worker@a.service", name, line, Some((file, 3)))
            .target(&victim, TargetReason::Running)
            .exec(1990, root(90, "systemctl"), &["systemctl", "stop", "base"], &[])
            .job(1999, 700, "stop", "base.service")
            .job(1999, 701, "stop", "worker@a.service")
            .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(2003, victim.clone(), 15, true)
            .death()
    };
    let death = play("PartOf", "base.service");
    let fix = &death.fixes[0];
    assert_eq!(fix.commands[0], "sudo systemctl edit --full worker@.service");
    assert_eq!(fix.verify.as_deref(), Some("systemctl show -p PartOf worker@a.service"));
    // PartOf= starts nothing, BindsTo= does.
    assert_eq!(fix.commands[1], "# there, take out PartOf=base.service");
    let death = play("BindsTo", "base.service");
    assert!(death.fixes[0].commands[1].contains("write Wants=base.service instead"), "{death:#?}");
}

#[test]
fn what_a_program_made_has_no_files_to_look_at() {
    let args = ["systemctl", "stop", "job.scope"];
    let death = stopped("job.scope", "stop", &[("Transient", json!(true))], &args);
    assert_eq!(commands(&death), [""; 0]);
}

#[test]
fn a_restart_that_was_asked_for_is_no_matter_of_dependencies() {
    let death = stopped("v.service", "restart", &[], &["systemctl", "restart", "v"]);
    assert!(!commands(&death).concat().contains("list-dependencies"), "{death:#?}");
}

#[test]
fn a_cron_job_is_looked_for_by_its_command() {
    let victim = task_in(142, "v", "/system.slice/v.service");
    let (cron, shell) = (root(70, "cron"), root(80, "sh"));
    let death = Scene::default()
        .user(0, "root")
        .target(&victim, TargetReason::Running)
        .exec(1, cron.clone(), &["/usr/sbin/CRON", "-f"], &[])
        .exec(1980, shell.clone(), &["/bin/sh", "-c", "systemctl restart v"], &[&cron])
        .exec(1990, root(90, "systemctl"), &["systemctl", "restart", "v"], &[&shell, &cron])
        .job(1999, 700, "restart", "v.service")
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim, 15, true)
        .death();
    let found = commands(&death);
    assert!(
        found[0].starts_with("sudo grep -srnF -e 'systemctl restart v' /etc/*cron* "),
        "{death:#?}"
    );
}

/// The line is gone from the file, and systemd has not read it again.
#[test]
fn a_forgotten_reload_is_told() {
    let victim = task_in(142, "v", "/system.slice/v.service");
    let bound = [("BindsTo", json!(["base.service"])), ("NeedDaemonReload", json!(true))];
    let death = Scene::default()
        .user(0, "root")
        .unit(1, "v.service", &bound)
        .target(&victim, TargetReason::Running)
        .exec(1990, root(90, "systemctl"), &["systemctl", "stop", "base"], &[])
        .job(1999, 700, "stop", "base.service")
        .job(1999, 701, "stop", "v.service")
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim, 15, true)
        .death();
    let text = &death.cause.explanation;
    assert!(text.contains("BindsTo=base.service; no file sets it any more"), "{text}");
    assert_eq!(death.fixes[0].commands, ["sudo systemctl daemon-reload"]);
}

/// systemd-run(1) goes on as what it runs in a scope, as another user: who ran it is told all the same.
#[test]
fn who_made_a_scope_with_a_time_limit_is_told() {
    const SCOPE: &str = "/system.slice/run-r61.scope";
    let shell = root(60, "bash");
    let runner = Task { cgroup: Some("/".to_owned()), ..root(150, "systemd-run") };
    let victim = task_in(150, "work", SCOPE);
    let logged = JournalLine {
        message: "run-r61.scope: Scope reached runtime time limit. Stopping.".to_owned(),
        pid: Some(1),
        about_unit: Some("run-r61.scope".to_owned()),
        ..JournalLine::default()
    };
    let command = ["systemd-run", "--scope", "--uid=alice", "-p", "RuntimeMaxSec=1", "work"];
    let death = Scene::default()
        .user(0, "root")
        .user(1000, "alice")
        .exec(1, shell.clone(), &["-bash"], &[])
        .exec(10, runner, &command, &[&shell])
        .exec(20, victim.clone(), &["work"], &[&shell])
        .target(&victim, TargetReason::Running)
        .add(2000, Source::Journal, Fact::Journal(logged))
        .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(2003, victim, 15, true)
        .death();
    let text = &death.cause.explanation;
    assert!(text.contains("root ran \"systemd-run --scope --uid=alice"), "{text}");
    assert!(death.chain[0].text.contains("systemd-run"), "{death:#?}");
}

/// It runs again: what is left to be told is how to keep people from it.
#[test]
fn a_restart_can_be_refused_from_now_on() {
    let death = stopped("v.service", "restart", &[], &["systemctl", "restart", "v"]);
    let [fix] = &death.fixes[..] else { panic!("{death:#?}") };
    assert!(fix.commands[1].contains("[Unit]\\nRefuseManualStop=yes"), "{death:#?}");
    assert!(fix.commands[1].contains("/etc/systemd/system/v.service.d"), "{death:#?}");
}

/// What ends with a login, and with all that is a user's, is told where it would outlive that.
#[test]
fn what_was_ended_with_a_login_is_started_outside_of_it() {
    const SCOPE: &str = "session-3.scope";
    let victim = task_in(142, "v", "/user.slice/user-1000.slice/session-3.scope");
    let play = |args: &[&str]| {
        let scene = Scene::watching(&victim).exec(1990, root(90, args[0]), args, &[]);
        let ended = scene
            .job(1999, 700, "stop", SCOPE)
            .signal(2001, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(2003, victim.clone(), 15, true);
        commands(&ended.death()).iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()
    };
    let outside = ["loginctl enable-linger alice", "systemd-run --user --scope v …"];
    assert_eq!(play(&["systemctl", "stop", SCOPE]), outside);
    assert_eq!(play(&["loginctl", "terminate-session", "3"]), outside);
    let kills = |args: &[&str]| {
        let scene = Scene::watching(&victim).exec(1990, root(90, args[0]), args, &[]);
        let killed = scene.signal(2001, signal(sig::SIGKILL, systemd(), victim.clone())).exit(
            2003,
            victim.clone(),
            9,
            true,
        );
        commands(&killed.death()).iter().map(|it| (*it).to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kills(&["systemctl", "kill", "-s", "KILL", SCOPE]), outside);
    assert_eq!(kills(&["loginctl", "kill-session", "-s", "KILL", "3"]), outside);
    // Her service manager goes as well.
    let of_system = ["sudo systemd-run --uid=alice --unit=my-job v …"];
    assert_eq!(play(&["loginctl", "terminate-user", "alice"]), of_system);
    assert_eq!(kills(&["systemctl", "kill", "-s", "KILL", "user-1000.slice"]), of_system);
}

/// What nobody typed, and comes again by itself, is to be looked for.
#[test]
fn what_kills_by_itself_is_looked_at() {
    let victim = task_in(142, "v", "/user.slice/user-1000.slice/session-3.scope");
    let by_job = |daemon: &str, script: &[&str]| {
        let (daemon, shell) = (root(70, daemon), root(80, "sh"));
        let pkill = root(90, "pkill");
        Scene::watching(&victim)
            .exec(1, daemon.clone(), &["/usr/sbin/daemon", "-f"], &[])
            .exec(1980, shell.clone(), script, &[&daemon])
            .exec(1990, pkill.clone(), &["pkill", "v"], &[&shell, &daemon])
            .ended_by(pkill, victim.clone())
    };
    let cron = by_job("cron", &["/bin/sh", "-c", "pkill v"]);
    assert!(
        commands(&cron)[0].starts_with("sudo grep -srnF -e 'pkill v' /etc/*cron* "),
        "{cron:#?}"
    );
    assert_eq!(commands(&by_job("atd", &["sh"]))[0], "sudo atq");
    let by_unit = |cgroup: &str| {
        let reaper = task_in(90, "reaper", cgroup);
        Scene::watching(&victim)
            .exec(1, reaper.clone(), &["reaper"], &[])
            .ended_by(reaper, victim.clone())
    };
    let own = by_unit("/user.slice/user-1000.slice/user@1000.service/app.slice/tidy.service");
    // What it said in the minute before, and a little after.
    let span = "--since @1699999945 --until @1700000015";
    assert_eq!(
        commands(&own)[0],
        format!(
            "journalctl {span} _UID=1000 _SYSTEMD_USER_UNIT=tidy.service + _UID=1000 USER_UNIT=tidy.service"
        )
    );
    let of_system = by_unit("/system.slice/tidy.service");
    assert_eq!(commands(&of_system)[0], format!("journalctl -u tidy.service {span}"));
    assert!(commands(&by_unit("/")).is_empty(), "nothing is known of where it comes from");
}

/// A script is where it is written when it kills, wherever it was started.
#[test]
fn a_script_that_kills_is_looked_into() {
    let cgroup = "/user.slice/user-1000.slice/session-3.scope";
    let victim = task_in(142, "v", cgroup);
    let by = |words: &[&str]| {
        let dog = task_in(90, "dog.py", cgroup);
        let death =
            Scene::watching(&victim).exec(1, dog.clone(), words, &[]).ended_by(dog, victim.clone());
        assert_eq!(death.cause.id, CauseId::ProcessSignal, "{death:#?}");
        commands(&death).iter().map(|it| (*it).to_owned()).collect::<Vec<String>>()
    };
    let script = "# the script that did it: /opt/dog.py";
    assert_eq!(by(&["/usr/bin/python3", "-u", "/opt/dog.py", "--pidfile=/run/v.pid"]), [script]);
    assert!(by(&["/opt/dog", "/opt/dog.py"]).is_empty(), "it is a program");
    // It shows a title instead of what it was executed with, which was seen.
    let unit = "/system.slice/dog.service";
    let dog = task_in(90, "dog.py", unit);
    let words = vec!["dog: watching".to_owned()];
    let blow = signal(sig::SIGKILL, dog.clone(), victim.clone());
    let death = Scene::watching(&victim)
        .exec(1, dog, &["/usr/bin/python3", "/opt/dog.py"], &[])
        .signal(20, SignalSent { sender_args: words, ..blow })
        .exit(21, victim.clone(), u32::from(sig::SIGKILL), true)
        .death();
    let told = commands(&death);
    assert!(told[0].starts_with("journalctl -u dog.service --since @"), "{told:?}");
    assert_eq!(told.last().copied(), Some(script));
}

/// A socket with `Accept=yes` makes a unit for each connection, which is not to be started without one.
#[test]
fn what_served_one_connection_is_not_started_again() {
    let by = |unit: &str, triggered_by: Value| {
        let properties = [("TriggeredBy", triggered_by)];
        stopped(unit, "stop", &properties, &["systemctl", "stop", unit])
    };
    let told = [
        by("echo@1-127.0.0.1:7777-127.0.0.1:45426.service", Value::Null),
        by("echo@3-812-1000.service", json!(["echo.socket"])),
    ];
    for death in &told {
        let all = commands(death);
        assert_eq!(all[0], "systemctl status echo.socket", "{all:?}");
        assert!(all.iter().all(|command| !command.contains("systemctl start")), "{all:?}");
        assert_eq!(death.fixes[0].verify.as_deref(), Some("systemctl list-units 'echo@*.service'"));
    }
    for (unit, triggered_by) in
        [("echo@a.service", json!(["echo@a.socket"])), ("echo.service", json!(["echo.socket"]))]
    {
        let death = by(unit, triggered_by);
        assert_eq!(commands(&death), [format!("sudo systemctl start {unit}")]);
    }
}
