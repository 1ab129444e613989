//! Units that end, or are ended, though nobody asked for it; and what a user's manager could not end.

use serde_json::Value;

use super::scene::{Scene, at, signal, systemd, task_in};
use crate::evidence::{
    Disposition, Fact, JournalLine, ProcessId, SignalResult, SignalSent, Source, Task, sig,
};
use crate::story::verdict::{CauseId, Death};

const CGROUP: &str = "/system.slice/v.service";

fn logged(unit: &str, message: &str) -> Fact {
    Fact::Journal(JournalLine {
        message: format!("{unit}: {message}"),
        identifier: Some("systemd".to_owned()),
        pid: Some(1),
        uid: Some(0),
        comm: Some("systemd".to_owned()),
        from_unit: Some("init.scope".to_owned()),
        about_unit: Some(unit.to_owned()),
        message_id: None,
        fields: std::collections::BTreeMap::default(),
    })
}

fn setting_of(death: &Death, name: &str) -> Option<(Option<String>, Option<u32>)> {
    let setting = death.cause.settings.iter().find(|setting| setting.name == name)?;
    Some((setting.file.clone(), setting.line))
}

/// STOPPING=1 of sd_notify(3): the manager only waits, and asks nothing.
#[test]
fn a_service_that_said_that_it_was_stopping_hangs() {
    let victim = task_in(142, "v", CGROUP);
    let play = |with: fn(Scene) -> Scene| {
        let scene = Scene::watching(&victim)
            .setting("v.service", "TimeoutStopSec", "2", Some(("/etc/v.service", 4)))
            .unit(
                1,
                "v.service",
                &[("MainPID", Value::from(142)), ("SubState", Value::from("running"))],
            )
            .unit(3000, "v.service", &[("SubState", Value::from("stop-sigterm"))]);
        with(scene)
            .add(
                5000,
                Source::Journal,
                logged("v.service", "State 'stop-sigterm' timed out. Killing."),
            )
            .signal(5001, signal(sig::SIGKILL, systemd(), victim.clone()))
            .exit(5003, victim.clone(), 9, true)
            .unit(5004, "v.service", &[("MainPID", Value::from(0))])
            .death()
    };
    let death = play(|scene| scene);
    assert_eq!(death.cause.id, CauseId::UnitStopTimeout, "{death:#?}");
    assert!(death.cause.explanation.contains("STOPPING=1"), "{}", death.cause.explanation);
    assert_eq!(
        setting_of(&death, "TimeoutStopSec"),
        Some((Some("/etc/v.service".to_owned()), Some(4)))
    );
    assert!(death.chain[0].text.contains("began to end"), "{death:#?}");
    assert!(death.fixes[0].commands.concat().contains("TimeoutStopSec"), "{death:#?}");
    assert!(death.gaps.is_empty(), "{death:#?}");
    // Where somebody asked, that is another story.
    let asked = play(|scene| scene.job(2999, 700, "stop", "v.service"));
    assert!(!asked.cause.explanation.contains("STOPPING=1"), "{}", asked.cause.explanation);
}

/// A condition is not a failure, whatever its command leaves running.
#[test]
fn a_condition_that_says_no_is_no_failure() {
    let command = Task { uid: 0, euid: 0, ppid: 1, ..task_in(150, "sh", CGROUP) };
    let victim = Task { ppid: 150, ..task_in(151, "helper", CGROUP) };
    let play = |status: u32| {
        let line = "/bin/sh -c 'helper & exit 1'";
        Scene::watching(&victim)
            .setting("v.service", "ExecCondition", line, Some(("/etc/v.service", 2)))
            .exec(100, command.clone(), &["/bin/sh", "-c", "helper & exit 1"], &[&systemd()])
            .unit(
                101,
                "v.service",
                &[("ControlPID", Value::from(150)), ("SubState", Value::from("condition"))],
            )
            .exit(2000, command.clone(), status, false)
            .signal(2002, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(2003, victim.clone(), 15, true)
            .death()
    };
    let death = play(1 << 8);
    assert_eq!(death.cause.id, CauseId::UnitFailed, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("its condition said no") && !text.contains("the start of"), "{text}");
    assert!(!death.fixes[0].commands.concat().contains("ignore"), "{death:#?}");
    assert!(play(255 << 8).cause.explanation.contains("the start of v.service failed"));
}

/// A user's manager cannot end one of its units in time; PID 1 ends them all then.
#[test]
fn what_a_users_manager_could_not_end() {
    const BELOW: &str = "/user.slice/user-1000.slice/user@1000.service";
    let manager = Task { ppid: 1, ..task_in(90, "systemd", &format!("{BELOW}/init.scope")) };
    let victim = task_in(142, "v", &format!("{BELOW}/app.slice/v.service"));
    let in_vain = SignalSent {
        disposition: Some(Disposition::Ignore),
        result: SignalResult::Ignored,
        fatal: false,
        ..signal(sig::SIGTERM, manager.clone(), victim.clone())
    };
    let unit = "user@1000.service";
    let play = |timed_out: bool| {
        let mut scene = Scene::watching(&victim)
            .setting(unit, "KillMode", "mixed", Some(("/lib/user@.service", 23)))
            .setting(unit, "TimeoutStopSec", "3s", Some(("/etc/t.conf", 2)))
            .unit(1, unit, &[("MainPID", Value::from(90))])
            .signal(1001, signal(sig::SIGTERM, systemd(), manager.clone()))
            .job(1002, 700, "stop", unit)
            .signal(1003, in_vain.clone());
        if timed_out {
            scene = scene
                .add(
                    4000,
                    Source::Journal,
                    logged(unit, "State 'stop-sigterm' timed out. Killing."),
                )
                .signal(4000, signal(sig::SIGKILL, systemd(), manager.clone()));
        }
        scene
            .exit(4001, manager.clone(), if timed_out { 9 } else { 0 }, false)
            .signal(4003, signal(sig::SIGKILL, systemd(), victim.clone()))
            .exit(4004, victim.clone(), 9, true)
            .death()
    };
    let death = play(true);
    let text = &death.cause.explanation;
    assert!(!text.contains("when it had"), "{text}");
    assert!(
        text.contains("alice's systemd --user had sent it SIGTERM to stop v.service"),
        "{text}"
    );
    assert!(death.chain.iter().any(|link| link.text.contains("which ignores it")), "{death:#?}");
    // Of a mixed unit the main process alone is asked, for a job that may be heard of later.
    let place = |text: &str| death.chain.iter().position(|link| link.text.contains(text));
    let (job, asked) = (place("job 700"), place("systemd[1] sent SIGTERM to systemd[90]"));
    assert!(job.is_some() && job < asked, "{death:#?}");
    let harmful =
        |death: &Death| death.fixes.iter().any(|fix| fix.commands.concat().contains("KillMode="));
    let in_time = play(false);
    assert!(!in_time.cause.explanation.contains("had sent it"), "{in_time:#?}");
    assert!(!harmful(&death) && !harmful(&in_time), "{death:#?}");
}

/// `ExecStop=` fails, and the signals that follow do its work.
#[test]
fn a_command_that_is_to_stop_it_fails() {
    let victim = task_in(142, "v", CGROUP);
    let command = Task { uid: 0, euid: 0, ppid: 1, ..task_in(150, "sh", CGROUP) };
    let play = |line: &str| {
        Scene::watching(&victim)
            .setting("v.service", "ExecStop", line, Some(("/etc/v.service", 3)))
            .unit(1, "v.service", &[("MainPID", Value::from(142))])
            .job(4000, 700, "stop", "v.service")
            .exec(4001, command.clone(), &["/bin/sh", "-c", "exit 3"], &[&systemd()])
            .unit(
                4002,
                "v.service",
                &[("ControlPID", Value::from(150)), ("SubState", Value::from("stop"))],
            )
            .exit(4010, command.clone(), 3 << 8, false)
            .signal(4011, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(4013, victim.clone(), 15, true)
            .death()
    };
    let death = play("/bin/sh -c 'exit 3'");
    let text = &death.cause.explanation;
    let words = "What it is stopped with had failed before (ExecStop= of v.service): sh[150] exited with 3 (ExecStop=/bin/sh -c 'exit 3', set in /etc/v.service:3)";
    assert!(text.contains(words), "{text}");
    assert_eq!(setting_of(&death, "ExecStop"), Some((Some("/etc/v.service".to_owned()), Some(3))));
    assert!(!play("-/bin/sh -c 'exit 3'").cause.explanation.contains("had failed"));
}

/// `ExecStop=` does not end in time; what it runs, and what was there before, gets SIGTERM then.
#[test]
fn a_command_that_is_to_stop_it_runs_out_of_time() {
    let victim = task_in(142, "v", CGROUP);
    let mut command = Task { uid: 0, euid: 0, ppid: 1, ..task_in(150, "sleep", CGROUP) };
    command.id.start_ns = at(4001).boot_ns;
    let line = JournalLine {
        message: "v.service: Stopping timed out. Terminating.".to_owned(),
        pid: Some(1),
        uid: Some(0),
        about_unit: Some("v.service".to_owned()),
        ..JournalLine::default()
    };
    let play = |logged: bool| {
        let scene = Scene::watching(&victim)
            .setting("v.service", "ExecStop", "/bin/sleep 900", Some(("/etc/v.service", 3)))
            .setting("v.service", "TimeoutStopSec", "70", Some(("/etc/v.service", 4)))
            .unit(1, "v.service", &[("MainPID", Value::from(142))])
            .job(4000, 700, "stop", "v.service")
            .exec(4001, command.clone(), &["/bin/sleep", "900"], &[&systemd()])
            .unit(
                4002,
                "v.service",
                &[("ControlPID", Value::from(150)), ("SubState", Value::from("stop"))],
            );
        let said = Fact::Journal(line.clone());
        let scene = if logged { scene.add(74_000, Source::Journal, said) } else { scene };
        scene
            .signal(74_001, signal(sig::SIGTERM, systemd(), victim.clone()))
            .signal(74_001, signal(sig::SIGTERM, systemd(), command.clone()))
            .exit(74_002, command.clone(), u32::from(sig::SIGTERM), false)
            .exit(74_003, victim.clone(), u32::from(sig::SIGTERM), true)
            .death()
    };
    let death = play(true);
    let text = &death.cause.explanation;
    let words = "systemd[1] had run \"/bin/sleep 900\" for ExecStop= of v.service (ExecStop=/bin/sleep 900, set in /etc/v.service:3); \
                 it had not ended 70 s later, when its time was up (TimeoutStopSec=70, set in /etc/v.service:4), so signals followed.";
    assert!(text.contains(words), "{text}");
    assert_eq!(
        setting_of(&death, "TimeoutStopSec"),
        Some((Some("/etc/v.service".to_owned()), Some(4)))
    );
    assert!(death.chain.iter().any(|link| link.text.contains("Stopping timed out")), "{death:#?}");
    assert!(
        death.fixes.iter().any(|fix| fix.title == "have what ExecStop= runs come to an end"),
        "{death:#?}"
    );
    // Something else may have had it signalled then.
    assert!(!play(false).cause.explanation.contains("its time was up"));
}

/// `ExecStop=` takes its time: what happened between the job and the first signal is told.
#[test]
fn a_command_that_is_to_stop_it_takes_long() {
    let victim = task_in(142, "v", CGROUP);
    let mut command = Task { uid: 0, euid: 0, ppid: 1, ..task_in(150, "sleep", CGROUP) };
    command.id.start_ns = at(4001).boot_ns;
    let play = |ends_ms: u64| {
        Scene::watching(&victim)
            .setting("v.service", "ExecStop", "/bin/sleep 70", Some(("/etc/v.service", 3)))
            .unit(1, "v.service", &[("MainPID", Value::from(142))])
            .job(4000, 700, "stop", "v.service")
            .exec(4001, command.clone(), &["/bin/sleep", "70"], &[&systemd()])
            .unit(
                4002,
                "v.service",
                &[("ControlPID", Value::from(150)), ("SubState", Value::from("stop"))],
            )
            .exit(ends_ms, command.clone(), 0, false)
            .signal(ends_ms + 1, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(ends_ms + 2, victim.clone(), 15, true)
            .death()
    };
    let death = play(74_001);
    let text = &death.cause.explanation;
    let words = "Before its first signal, systemd[1] had run \"/bin/sleep 70\" for ExecStop= of v.service, which took 70 s \
                 (ExecStop=/bin/sleep 70, set in /etc/v.service:3).";
    assert!(text.contains(words), "{text}");
    assert_eq!(setting_of(&death, "ExecStop"), Some((Some("/etc/v.service".to_owned()), Some(3))));
    let texts: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    let place = |words: &str| texts.iter().position(|text| text.contains(words));
    let ran = place("systemd[1] ran \"/bin/sleep 70\" for ExecStop= of v.service");
    let ended = place("sleep[150] \"/bin/sleep 70\" exited with 0");
    assert!(ran.is_some() && ran < ended && ended < place("sent SIGTERM"), "{texts:?}");
    assert!(!play(4100).cause.explanation.contains("Before its first signal"));
}

/// The command that starts a service of `Type=forking` fails: what it had started is ended, and a main process there
/// never was.
#[test]
fn a_start_that_fails_is_no_end_of_a_main_process() {
    let command = Task { uid: 0, euid: 0, ppid: 1, ..task_in(150, "sh", CGROUP) };
    let victim = Task { ppid: 150, ..task_in(151, "helper", CGROUP) };
    let line = "/bin/sh -c \"helper & sleep 1; exit 1\"";
    let play = |kind: &str| {
        let named = [
            ("Type", Value::from(kind)),
            ("MainPID", Value::from(0)),
            ("ControlPID", Value::from(150)),
        ];
        Scene::watching(&victim)
            .setting("v.service", "ExecStart", line, Some(("/etc/v.service", 3)))
            .exec(
                100,
                command.clone(),
                &["/bin/sh", "-c", "helper & sleep 1; exit 1"],
                &[&systemd()],
            )
            .unit(101, "v.service", &named)
            // What had been before is told first.
            .unit(102, "v.service", &[("SubState", Value::from("dead"))])
            .unit(103, "v.service", &[("SubState", Value::from("start"))])
            .exit(2000, command.clone(), 1 << 8, false)
            .signal(2002, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(2003, victim.clone(), 15, true)
            .death()
    };
    let death = play("forking");
    assert_eq!(death.cause.id, CauseId::UnitFailed, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("the start of v.service failed"), "{text}");
    assert!(text.contains("for ExecStart=") && text.contains("sh[150] exited with 1"), "{text}");
    assert!(!text.contains("main process"), "{text}");
    assert_eq!(setting_of(&death, "ExecStart"), Some((Some("/etc/v.service".to_owned()), Some(3))));
    let fixes = death.fixes.iter().flat_map(|fix| &fix.commands);
    assert!(!fixes.clone().any(|line| line.contains("KillMode")), "{death:#?}");
    // No other kind of service is started by a control process.
    assert_ne!(play("simple").cause.id, CauseId::UnitFailed);
}

/// What was run to stop it is ended for its time; whoever had it stopped is told all the same, long after.
#[test]
fn who_asked_for_the_stop_that_took_too_long_is_told() {
    let id = ProcessId { pid: 160, start_ns: at(2001).boot_ns };
    let helper = Task { id, ..task_in(160, "sleep", CGROUP) };
    let root = Task { uid: 0, euid: 0, ..task_in(90, "systemctl", "/user.slice/x.scope") };
    let death = Scene::watching(&helper)
        .exec(1990, root, &["systemctl", "stop", "v"], &[])
        .job(2000, 700, "stop", "v.service")
        .add(92_000, Source::Journal, logged("v.service", "Stopping timed out. Terminating."))
        .signal(92_001, signal(sig::SIGTERM, systemd(), helper.clone()))
        .exit(92_003, helper, 15, true)
        .death();
    assert_eq!(death.cause.id, CauseId::UnitStopTimeout, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(text.contains("The stop was asked for: root ran \"systemctl stop v\""), "{text}");
    assert!(death.chain[0].text.contains("systemctl stop v"), "{death:#?}");
}
