//! Units whose time ran out: what had been waited for.

use serde_json::{Value, json};

use super::scene::{Scene, at, root, signal, systemd, task_in};
use crate::evidence::{
    Disposition, Fact, Gone, JournalLine, ProcessId, ProcessSnapshot, SignalResult, SignalSent,
    Source, TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death};

const FILE: &str = "/etc/systemd/system/v.service";

fn victim() -> Task {
    task_in(142, "v", "/system.slice/v.service")
}

/// PID 1 logs this of v.service, whose file has these lines, and ends a process of it by this signal.
fn timed_out(
    scene: Scene,
    victim: &Task,
    lines: &[(&str, &str)],
    (message, number): (&str, u8),
) -> Death {
    let mut scene = scene.target(victim, TargetReason::Running);
    for (line, (name, value)) in (2..).zip(lines) {
        scene = scene.setting("v.service", name, value, Some((FILE, line)));
    }
    let line = JournalLine {
        message: format!("v.service: {message}"),
        pid: Some(1),
        uid: Some(0),
        about_unit: Some("v.service".to_owned()),
        ..JournalLine::default()
    };
    scene
        .add(5000, Source::Journal, Fact::Journal(line))
        .signal(5001, signal(number, systemd(), victim.clone()))
        .exit(5002, victim.clone(), u32::from(number), true)
        .death()
}

fn has_setting(death: &Death, name: &str, line: u32) -> bool {
    death.cause.settings.iter().any(|it| it.name == name && it.line == Some(line))
}

#[test]
fn the_command_that_hangs_is_named() {
    let lines =
        [("TimeoutStartSec", "3"), ("ExecStart", "/bin/v"), ("ExecStartPost", "/bin/sleep 60")];
    let told = ("start-post operation timed out. Terminating.", sig::SIGTERM);
    let death = timed_out(Scene::default(), &victim(), &lines, told);
    assert_eq!(death.cause.id, CauseId::UnitStartTimeout, "{death:#?}");
    let text = &death.cause.explanation;
    let words = "What ExecStartPost= runs had not ended (ExecStartPost=/bin/sleep 60, set in /etc/systemd/system/v.service:4).";
    assert!(text.contains(words), "{text}");
    assert!(has_setting(&death, "ExecStartPost", 4), "{death:#?}");
    assert!(death.fixes[0].title.contains("ExecStartPost="), "{death:#?}");
    // Which of several it was is not guessed.
    let two = [("ExecStartPost", "/bin/true"), ("ExecStartPost", "/bin/sleep 60")];
    let death = timed_out(Scene::default(), &victim(), &two, told);
    let text = &death.cause.explanation;
    assert!(text.ends_with("What ExecStartPost= runs had not ended."), "{text}");
}

#[test]
fn what_a_start_waited_for_is_told() {
    let told_with = |control: u32, kind: &str, message: &str| {
        let lines = [("TimeoutStartSec", "3"), ("Type", kind), ("PIDFile", "/run/v.pid")];
        let scene = Scene::default().unit(500, "v.service", &[("ControlPID", json!(control))]);
        timed_out(scene, &victim(), &lines, (message, sig::SIGTERM))
    };
    let told = |kind: &str, message: &str| told_with(77, kind, message);
    let started = "start operation timed out. Terminating.";
    let returned = told_with(0, "forking", started).cause.explanation;
    let words = "had returned: it was waiting for a PID file, it seems (PIDFile=/run/v.pid";
    assert!(returned.contains(words), "{returned}");
    for (kind, words, remedy) in [
        (
            "notify",
            "Nothing had said that it was ready (READY=1, sd_notify(3)), as Type=notify",
            "NotifyAccess=",
        ),
        ("dbus", "It had not taken its name on the bus, as Type=dbus", "BusName="),
        ("forking", "The command that starts it had not returned, as Type=forking", "Type=exec"),
    ] {
        let death = told(kind, started);
        assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
        assert!(has_setting(&death, "Type", 3), "{death:#?}");
        assert!(death.fixes[0].commands.concat().contains(remedy), "{death:#?}");
    }
    let before = told("notify", "start-pre operation timed out. Terminating.");
    assert!(!before.cause.explanation.contains("READY=1"), "{}", before.cause.explanation);
}

#[test]
fn why_a_stop_that_hangs_is_aborted_and_who_wanted_it() {
    let lines = [
        ("TimeoutStopSec", "2"),
        ("TimeoutStopFailureMode", "abort"),
        ("ExecStop", "/bin/sleep 60"),
    ];
    let systemctl = root(task_in(90, "systemctl", "/user.slice/x.scope"));
    // A helper of the stop.
    let mut helper = victim();
    helper.id.start_ns = at(3010).boot_ns;
    helper.comm = "sleep".to_owned();
    let told = |heard_ms: u64| {
        let scene = Scene::default()
            .user(0, "root")
            .exec(2990, systemctl.clone(), &["systemctl", "stop", "v"], &[])
            .exec(3010, helper.clone(), &["/bin/sleep", "60"], &[&systemd()])
            .job(heard_ms, 645, "stop", "v.service");
        timed_out(scene, &helper, &lines, ("Stopping timed out. Aborting.", sig::SIGABRT))
    };
    // The job may be heard of when what it led to has begun.
    for death in [3000, 3012].map(told) {
        let find = |words: &str| death.chain.iter().position(|link| link.text.contains(words));
        assert!(find("job 645 stop v.service") < find("for ExecStop= of"), "{death:#?}");
        assert!(find("for ExecStop= of").is_some(), "{death:#?}");
    }
    let death = told(3000);
    assert_eq!(death.cause.id, CauseId::UnitStopTimeout, "{death:#?}");
    let text = &death.cause.explanation;
    for words in [
        "So SIGABRT came (TimeoutStopFailureMode=abort, set in /etc/systemd/system/v.service:3).",
        "The stop was asked for: root ran \"systemctl stop v\"",
    ] {
        assert!(text.contains(words), "{text}");
    }
    assert!(has_setting(&death, "TimeoutStopFailureMode", 3), "{death:#?}");
    assert!(has_setting(&death, "ExecStop", 4), "{death:#?}");
    assert!(death.chain[0].text.contains("systemctl stop v"), "{death:#?}");
}

/// A mode that had no part in it is not told.
#[test]
fn a_mode_of_failure_is_told_where_it_chose_the_signal() {
    let told = |name: &str, mode: &str, message: &str, number: u8| {
        timed_out(Scene::default(), &victim(), &[(name, mode)], (message, number))
    };
    let [start, stop] = ["TimeoutStartFailureMode", "TimeoutStopFailureMode"];
    let killed = told(start, "kill", "start operation timed out. Killing.", sig::SIGKILL);
    assert!(has_setting(&killed, start, 2), "{killed:#?}");
    for (name, mode, message) in [
        (start, "abort", "Reload operation timed out. Killing reload process."),
        (start, "kill", "Reload operation timed out. Killing reload process."),
        // It may have been changed since.
        (start, "abort", "start operation timed out. Killing."),
        (stop, "kill", "State 'final-sigterm' timed out. Killing."),
    ] {
        let death = told(name, mode, message, sig::SIGKILL);
        assert!(!has_setting(&death, name, 2), "{death:#?}");
        assert!(!death.cause.explanation.contains("FailureMode"), "{death:#?}");
    }
}

/// `ExecStart=` goes to the background: with its own exit the service is over.
#[test]
fn a_program_that_goes_to_the_background_is_told_as_that() {
    let mut main = task_in(140, "v", "/system.slice/v.service");
    main.id.start_ns = at(0).boot_ns;
    let told_where = |is_seen: bool, kind: &str, session_leader| {
        let mut scene = Scene::default()
            .setting("v.service", "Type", kind, Some((FILE, 2)))
            .target(&victim(), TargetReason::Running)
            .exec(0, main.clone(), &["v"], &[&systemd()])
            .exec(1, victim(), &["v"], &[&main, &systemd()]);
        let snapshot = ProcessSnapshot {
            pid: 142,
            start_ns: victim().id.start_ns,
            comm: "v".to_owned(),
            ppid: 140,
            session_leader,
            cgroup: victim().cgroup,
            ..ProcessSnapshot::default()
        };
        scene = scene.add(2, Source::Proc, Fact::Process(Box::new(snapshot))).unit(
            3,
            "v.service",
            &[("MainPID", Value::from(140))],
        );
        scene = if is_seen {
            scene.exit(900, main.clone(), 0, false)
        } else {
            let gone = Fact::Gone(Gone { id: main.id });
            scene.target(&main, TargetReason::Running).add(900, Source::Proc, gone)
        };
        let ended = scene.signal(901, signal(sig::SIGTERM, systemd(), victim())).exit(
            902,
            victim(),
            u32::from(sig::SIGTERM),
            true,
        );
        ended.deaths().pop().expect("its death")
    };
    let told = |kind: &str, session_leader| told_where(true, kind, session_leader);
    let death = told("simple", 142);
    assert_eq!(death.cause.id, CauseId::UnitMainProcessExited, "{death:#?}");
    let text = &death.cause.explanation;
    assert!(
        text.contains("goes into the background, which ends a service of Type=simple"),
        "{text}"
    );
    assert!(death.fixes[0].commands.concat().contains("Type=forking"), "{death:#?}");
    // How it ended was not seen.
    let lost = told_where(false, "simple", 142);
    for death in [told("simple", 140), told("forking", 142), lost] {
        assert!(!death.cause.explanation.contains("background"), "{}", death.cause.explanation);
    }
}

/// Who cannot run gives no sign of life: who stopped it is the reason.
#[test]
fn a_watchdog_that_barks_at_a_process_that_was_stopped() {
    let stopped = |goes_on: bool, ptraced: bool, message: &str, number: u8| {
        let pkill = root(task_in(90, "pkill", "/user.slice/x.scope"));
        let stop = |number| SignalSent {
            fatal: false,
            ptraced,
            ..signal(number, pkill.clone(), victim())
        };
        let scene = Scene::default()
            .user(0, "root")
            .exec(1990, pkill.clone(), &["pkill", "-STOP", "v"], &[])
            .signal(2000, stop(sig::SIGSTOP));
        let scene = if goes_on { scene.signal(2500, stop(sig::SIGCONT)) } else { scene };
        timed_out(scene, &victim(), &[("WatchdogSec", "3")], (message, number))
    };
    let told = |goes_on, message: &str, number| stopped(goes_on, false, message, number);
    let watchdog = "Watchdog timeout (limit 3s)!";
    let death = told(false, watchdog, sig::SIGABRT);
    assert_eq!(death.cause.id, CauseId::UnitWatchdog, "{death:#?}");
    let words = "v[142] was stopped then, and could do nothing: 3 s before, it had got SIGSTOP from pkill[90]: root ran \
                 \"pkill -STOP v\"";
    let text = &death.cause.explanation;
    assert!(text.contains(words), "{text}");
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts[0].contains("pkill -STOP v") && texts[1].contains("SIGSTOP"), "{texts:?}");
    for death in [
        told(true, watchdog, sig::SIGABRT),
        // A tracer lets it go on without a signal.
        stopped(false, true, watchdog, sig::SIGABRT),
        told(false, "Service reached runtime time limit. Stopping.", sig::SIGTERM),
    ] {
        assert!(!death.cause.explanation.contains("SIGSTOP"), "{death:#?}");
    }
}

#[test]
fn a_limit_that_was_put_off_is_told() {
    let told = |took_ms: u64, access: &str| {
        let born = ProcessId { start_ns: at(5000 - took_ms).boot_ns, ..victim().id };
        let main = Task { id: born, ..victim() };
        let properties = [
            ("Type", json!("notify")),
            ("NotifyAccess", json!(access)),
            ("TimeoutStartUSec", json!(1_500_000)),
            ("MainPID", json!(142)),
        ];
        let scene = Scene::watching(&main).unit(4900, "v.service", &properties);
        let started = ("start operation timed out. Terminating.", sig::SIGTERM);
        timed_out(scene, &main, &[("TimeoutStartSec", "1500ms")], started).cause.explanation
    };
    let words = "It was given 4.3 s, 2.8 s more than that limit: a process of its own may have asked for more time \
                 (EXTEND_TIMEOUT_USEC=, sd_notify(3); NotifyAccess=all), or the machine slept meanwhile.";
    assert!(told(4300, "all").contains(words), "{}", told(4300, "all"));
    for text in [told(1600, "all"), told(4300, "none")] {
        assert!(!text.contains("EXTEND_TIMEOUT_USEC"), "{text}");
    }
}

#[test]
fn a_stop_that_was_put_off_is_told() {
    let told = |access: &str, state: &str| {
        let properties = [("NotifyAccess", json!(access)), ("TimeoutStopUSec", json!(2_000_000))];
        let asked = SignalSent {
            disposition: Some(Disposition::Ignore),
            result: SignalResult::Ignored,
            fatal: false,
            ..signal(sig::SIGTERM, systemd(), victim())
        };
        let line = JournalLine {
            message: format!("v.service: State '{state}' timed out. Killing."),
            pid: Some(1),
            uid: Some(0),
            about_unit: Some("v.service".to_owned()),
            ..JournalLine::default()
        };
        Scene::watching(&victim())
            .unit(1, "v.service", &properties)
            .job(1000, 7, "stop", "v.service")
            .signal(1001, asked)
            .add(6000, Source::Journal, Fact::Journal(line))
            .signal(6001, signal(sig::SIGKILL, systemd(), victim()))
            .exit(6002, victim(), 9, true)
            .death()
            .cause
            .explanation
    };
    let text = told("main", "stop-sigterm");
    assert!(text.contains("It was given 5 s, 3 s more than that limit"), "{text}");
    // What is left after the main process's end has its own time.
    for text in [told("none", "stop-sigterm"), told("main", "final-sigterm")] {
        assert!(!text.contains("more than that limit"), "{text}");
    }
}

/// After SIGTERM systemd sends SIGCONT; who stops it after that keeps it from ending.
#[test]
fn a_process_that_was_stopped_when_it_was_to_end() {
    let told = |goes_on: bool| {
        let sent = |number, sender: Task| SignalSent {
            disposition: Some(Disposition::Handler),
            fatal: false,
            ..signal(number, sender, victim())
        };
        let kill = task_in(90, "kill", "/user.slice/x.scope");
        let scene = Scene::watching(&victim())
            .unit(1, "v.service", &[("TimeoutStopUSec", json!(3_000_000))])
            .job(1000, 7, "stop", "v.service")
            .signal(1001, sent(sig::SIGTERM, systemd()))
            .exec(1100, kill.clone(), &["kill", "-STOP", "142"], &[])
            .signal(1110, sent(sig::SIGSTOP, kill.clone()));
        let scene = if goes_on { scene.signal(1200, sent(sig::SIGCONT, kill)) } else { scene };
        scene
            .signal(4001, signal(sig::SIGKILL, systemd(), victim()))
            .exit(4002, victim(), 9, true)
            .death()
    };
    let death = told(false);
    let words = "v[142] was stopped then, and could do nothing: 2.8 s before, it had got SIGSTOP from kill[90]: alice ran \
                 \"kill -STOP 142\"";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    assert!(death.chain.iter().any(|link| link.text.contains("sent SIGSTOP")), "{death:#?}");
    assert!(!told(true).cause.explanation.contains("SIGSTOP"));
}

/// What was born while the unit was being stopped is aborted with the rest.
#[test]
fn the_mode_that_aborts_is_told_of_what_was_not_asked_before() {
    let told = |then: &str| {
        let mut late = victim();
        late.id.start_ns = at(3000).boot_ns;
        let line = JournalLine {
            message: format!("v.service: State 'stop-sigterm' timed out. {then}."),
            pid: Some(1),
            uid: Some(0),
            about_unit: Some("v.service".to_owned()),
            ..JournalLine::default()
        };
        let death = Scene::watching(&late)
            .unit(1, "v.service", &[("MainPID", json!(140)), ("FinalKillSignal", json!(9))])
            .setting("v.service", "TimeoutStopFailureMode", "abort", Some((FILE, 4)))
            .job(1000, 7, "stop", "v.service")
            .add(5000, Source::Journal, Fact::Journal(line))
            .signal(5001, signal(sig::SIGKILL, systemd(), late.clone()))
            .exit(5002, late, 9, true)
            .death();
        has_setting(&death, "TimeoutStopFailureMode", 4)
    };
    assert!(told("Aborting") && !told("Killing"));
}
