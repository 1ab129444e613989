//! What logind does to sessions and users, on request or by itself.

use super::scene::{Scene, by, logind, root, signal, systemd, task_in};
use crate::evidence::{
    BusPeer, Fact, Grade, Job, JournalLine, Manager, SessionState, SignalSent, Source,
    TargetReason, Task, User, sig,
};
use crate::story::verdict::{CauseId, Death};

const BELOW_MANAGER: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice/w.service";
const MANAGER: &str = "/user.slice/user-1000.slice/user@1000.service/init.scope";
const SCOPE: &str = "/user.slice/user-1000.slice/session-3.scope";

fn loginctl(args: &[&str], scene: Scene, ms: u64) -> (Scene, Task) {
    let loginctl = root(task_in(3000, "loginctl", "/"));
    (scene.exec(ms, loginctl.clone(), args, &[]), loginctl)
}

/// alice lingers, as was read at first.
fn lingering() -> Scene {
    let victim = task_in(2041, "victim", BELOW_MANAGER);
    let alice = User { uid: 1000, name: "alice".to_owned(), home: None, linger: Some(true) };
    Scene::default()
        .user(0, "root")
        .add(0, Source::File, Fact::User(alice))
        .target(&victim, TargetReason::Running)
}

/// logind has the user's manager stopped, which stops its units.
fn user_stopped(scene: Scene, by: BusPeer) -> Death {
    let victim = task_in(2041, "victim", BELOW_MANAGER);
    scene
        .call(5000, by, "StopUnit", &["user@1000.service", "fail"])
        .job(5001, 700, "stop", "user@1000.service")
        .signal(5010, signal(sig::SIGTERM, task_in(812, "systemd", MANAGER), victim.clone()))
        .exit(5011, victim, u32::from(sig::SIGTERM), true)
        .death()
}

fn disabled() -> Scene {
    let (scene, loginctl) = loginctl(&["loginctl", "disable-linger", "alice"], lingering(), 3000);
    scene.calls_logind(
        3010,
        by(&loginctl),
        "SetUserLinger",
        vec![1000.into(), false.into(), true.into()],
    )
}

#[track_caller]
fn says(death: &Death, id: CauseId, grade: Grade, words: &[&str]) {
    assert_eq!(death.cause.id, id, "{death:#?}");
    assert_eq!(death.cause.evidence, grade, "{death:#?}");
    let text = &death.cause.explanation;
    for part in words {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn who_took_lingering_away_is_named() {
    let death = user_stopped(disabled(), logind());
    let words = ["who had no session", "root ran \"loginctl disable-linger alice\""];
    says(&death, CauseId::LogindUserStopped, Grade::Observed, &words);
    let setting = &death.cause.settings[0];
    assert_eq!((setting.name.as_str(), setting.value.as_str()), ("Linger", "no"));
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts[0].contains("disable-linger"), "{texts:?}");
    assert!(texts[1].contains("SetUserLinger"), "{texts:?}");

    // alice was there then, and has logged out since.
    let session = |ms, removed| {
        let id = "3".to_owned();
        let session = SessionState { id, uid: Some(1000), removed, ..SessionState::default() };
        move |scene: Scene| scene.add(ms, Source::Bus, Fact::Session(session))
    };
    let death = user_stopped(session(4500, true)(session(100, false)(disabled())), logind());
    let words =
        ["alice's last session 3 had ended, alice did not linger any more", "disable-linger alice"];
    says(&death, CauseId::LogindUserStopped, Grade::Observed, &words);
}

#[test]
fn what_no_bus_heard_of_lingering_is_concluded() {
    let (scene, _) = loginctl(&["loginctl", "disable-linger", "alice"], lingering(), 3000);
    let death = user_stopped(scene, logind());
    let words = ["disable-linger alice", "by its arguments"];
    says(&death, CauseId::LogindUserStopped, Grade::Inferred, &words);

    // Another user's is none of it, but logind would not have stopped one who lingers.
    let (scene, _) = loginctl(&["loginctl", "disable-linger", "bob"], lingering(), 3000);
    let death = user_stopped(scene, logind());
    says(&death, CauseId::LogindUserStopped, Grade::Inferred, &["seems not to linger any more"]);
    assert!(!death.cause.explanation.contains("bob"), "{}", death.cause.explanation);
    assert!(death.gaps.iter().any(|gap| gap.contains("lingered")), "{:?}", death.gaps);
}

#[test]
fn lingering_that_was_given_back_speaks_against_logind() {
    let systemctl = root(task_in(3001, "systemctl", "/"));
    let scene = disabled().calls_logind(
        3020,
        by(&systemctl),
        "SetUserLinger",
        vec![1000.into(), true.into(), true.into()],
    );
    let death = user_stopped(
        scene.exec(4990, systemctl.clone(), &["systemctl", "stop", "user@1000"], &[]),
        by(&systemctl),
    );
    assert_ne!(death.cause.id, CauseId::LogindUserStopped, "{death:#?}");
    let user = death.considered.iter().find(|it| it.id == CauseId::LogindUserStopped);
    assert!(user.is_some_and(|it| it.because.contains("lingers")), "{:?}", death.considered);
}

/// alice logs out, some time after somebody had logind signal her session.
fn logged_out_after(number: u8, asked_ms: u64, seen_by_bus: bool) -> Death {
    let victim = task_in(2041, "victim", SCOPE);
    let scene = Scene::default()
        .user(1000, "alice")
        .user(0, "root")
        .session("3", 2027)
        .setting("logind.conf", "KillUserProcesses", "yes", None)
        .target(&victim, TargetReason::Running);
    let named = number.to_string();
    let args = ["loginctl", "kill-session", "3", "-s", &named];
    let (mut scene, loginctl) = loginctl(&args, scene, asked_ms);
    if seen_by_bus {
        let args = vec!["3".into(), "all".into(), number.into()];
        scene = scene.calls_logind(asked_ms + 10, by(&loginctl), "KillSession", args);
    }
    scene
        .call(5000, logind(), "StopUnit", &["session-3.scope", "fail"])
        .job(5001, 700, "stop", "session-3.scope")
        .signal(5002, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(5003, victim, u32::from(sig::SIGTERM), true)
        .death()
}

#[test]
fn a_signal_that_did_no_harm_is_not_blamed_for_the_logout() {
    for by_bus in [true, false] {
        for (number, ms) in [(sig::SIGCONT, 4900), (28, 3000), (sig::SIGTERM, 1000)] {
            let death = logged_out_after(number, ms, by_bus);
            assert_eq!(death.cause.id, CauseId::LogindKillUserProcesses, "{number} {death:#?}");
        }
    }
    let death = logged_out_after(sig::SIGTERM, 4900, true);
    says(&death, CauseId::LogindTerminate, Grade::Observed, &["kill-session 3 -s 15"]);
    let death = logged_out_after(sig::SIGTERM, 4900, false);
    says(&death, CauseId::LogindTerminate, Grade::Inferred, &["kill-session 3 -s 15"]);
}

/// alice's session ends since su(1), which opened it, has ended; the kernel's events are those of `ends`.
fn session_of_su_ended(ends: impl FnOnce(Scene, Task) -> Scene) -> Death {
    session_of_su_ended_where("yes", ends)
}

/// The same where `KillUserProcesses=` is this.
fn session_of_su_ended_where(kills: &str, ends: impl FnOnce(Scene, Task) -> Scene) -> Death {
    let victim = task_in(2041, "victim", SCOPE);
    let scene = Scene::default()
        .user(1000, "alice")
        .user(0, "root")
        .session("3", 2027)
        .setting("logind.conf", "KillUserProcesses", kills, None)
        .target(&victim, TargetReason::Running);
    ends(scene, root(task_in(2027, "su", SCOPE)))
        .call(5000, logind(), "StopUnit", &["session-3.scope", "fail"])
        .job(5001, 700, "stop", "session-3.scope")
        .signal(5002, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(5003, victim, u32::from(sig::SIGTERM), true)
        .death()
}

#[test]
fn who_killed_the_sessions_leader_is_named() {
    let death = session_of_su_ended(|scene, su| {
        let kill = root(task_in(3000, "kill", "/"));
        let blow = signal(sig::SIGKILL, kill.clone(), su.clone());
        scene
            .exec(4980, kill, &["kill", "-9", "2027"], &[])
            .signal(4990, SignalSent { is_target: false, ..blow })
            .exit(4991, su, u32::from(sig::SIGKILL), false)
    });
    let words = [
        "alice's login had ended (its leader su[2027] was killed by SIGKILL: root ran \"kill -9 2027\"), and",
    ];
    says(&death, CauseId::LogindKillUserProcesses, Grade::Observed, &words);
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts.contains(&"kill[3000] sent SIGKILL to su[2027]"), "{texts:?}");
    assert!(texts.contains(&"su[2027] was killed by SIGKILL"), "{texts:?}");
}

#[test]
fn what_the_users_own_record_says_counts() {
    let death = session_of_su_ended_where("no", |scene, su| {
        let file = Some(("/var/lib/systemd/home/alice.identity", 15));
        scene.setting("user record 1000", "killProcesses", "true", file).exit(4991, su, 0, false)
    });
    let words =
        ["because killProcesses=true (/var/lib/systemd/home/alice.identity:15), alice's own"];
    says(&death, CauseId::LogindKillUserProcesses, Grade::Observed, &words);
    let commands: Vec<_> = death.fixes.iter().flat_map(|fix| &fix.commands).collect();
    let has = |part: &str| commands.iter().any(|command| command.contains(part));
    assert!(has("homectl update alice --kill-processes=no"), "{commands:?}");
    assert!(!has("KillExcludeUsers"), "it would change nothing: {commands:?}");

    let death = session_of_su_ended_where("yes", |scene, su| {
        scene.setting("user record 1001", "killProcesses", "false", None).exit(4991, su, 0, false)
    });
    let words = ["because KillUserProcesses=yes"];
    says(&death, CauseId::LogindKillUserProcesses, Grade::Observed, &words);
}

#[test]
fn a_login_that_ended_unseen_is_said_once() {
    let death = session_of_su_ended(|scene, su| scene.exit(4991, su, 0, false));
    let words = ["alice's login had ended (its leader su[2027] exited with 0), and session"];
    says(&death, CauseId::LogindKillUserProcesses, Grade::Observed, &words);
    let death = session_of_su_ended(|scene, _| scene);
    let words = [": alice's login had ended, and session 3's scope was stopped"];
    says(&death, CauseId::LogindKillUserProcesses, Grade::Observed, &words);
}

/// A signal by which a user's manager is told to end what it runs, unless PID 1 sent it for the stop of its unit.
#[test]
fn who_signalled_a_users_manager_asked_for_the_stop() {
    let manager = Task { ppid: 1, ..task_in(812, "systemd", MANAGER) };
    let victim = task_in(2041, "victim", BELOW_MANAGER);
    let told_by = |number: u8, sender: Task| {
        let job = |id: u32, unit: &str, kind: &str| {
            Fact::Job(Job {
                manager: Manager::User(1000),
                id,
                unit: unit.to_owned(),
                job_type: Some(kind.to_owned()),
                result: None,
            })
        };
        let told = signal(number, sender.clone(), manager.clone());
        Scene::watching(&victim)
            .exec(4990, sender, &["pkill", "-x", "systemd"], &[])
            .signal(4995, SignalSent { is_target: false, blocked: true, fatal: false, ..told })
            .add(4998, Source::Bus, job(15, "exit.target", "start"))
            .add(4998, Source::Bus, job(19, "w.service", "stop"))
            .ended_by(manager.clone(), victim.clone())
    };
    let words = [
        "to stop all its units and exit: 5 ms before, it had got SIGTERM from pkill[90]: alice ran",
    ];
    let death = told_by(sig::SIGTERM, task_in(90, "pkill", "/"));
    says(&death, CauseId::UnitStopRequested, Grade::Inferred, &words);
    assert!(death.gaps.is_empty(), "{:?}", death.gaps);
    for (number, sender) in [(sig::SIGHUP, task_in(90, "pkill", "/")), (sig::SIGTERM, systemd())] {
        let explanation = told_by(number, sender).cause.explanation;
        let words = "nobody was seen to ask for it. Right before, there were jobs of other units";
        assert!(explanation.contains(words), "{explanation}");
    }
}

/// `loginctl kill-session --kill-whom=leader`: sshd passes the end of the session on by its terminal.
#[test]
fn who_had_logind_signal_the_leader_is_named() {
    let [leader, victim] =
        [(29, "sshd"), (42, "make")].map(|(pid, comm)| task_in(pid, comm, SCOPE));
    let leader = root(leader);
    let own = "/system.slice/systemd-logind.service";
    let daemon = root(task_in(640, "systemd-logind", own));
    let died = |scene: Scene| {
        let struck = SignalSent {
            disposition: Some(crate::evidence::Disposition::Handler),
            fatal: false,
            is_target: false,
            ..signal(sig::SIGTERM, daemon.clone(), leader.clone())
        };
        let hangup = SignalSent {
            stack: ["__tty_hangup", "tty_vhangup", "tty_release"].map(str::to_owned).to_vec(),
            info: crate::evidence::SignalInfo::Privileged,
            syscall: None,
            ..signal(sig::SIGHUP, leader.clone(), victim.clone())
        };
        let scene = scene.target(&victim, TargetReason::Running);
        scene
            .exec(2, daemon.clone(), &["/usr/lib/systemd/systemd-logind"], &[&systemd()])
            .signal(5010, struck)
            .signal(5020, hangup)
            .exit(5021, leader.clone(), 255 << 8, false)
            .exit(5030, victim.clone(), 1, true)
            .settled(5200, &victim)
            .death()
    };
    let words = ["loginctl", "kill-session", "--kill-whom=leader", "-s", "TERM", "3"];
    let users = || Scene::default().user(0, "root").user(1000, "alice");
    let (ran, client) = loginctl(&words, users(), 5000);
    let got = "sshd[29] had itself got SIGTERM 10 ms before from systemd-logind[640]";
    let ran_by = "root ran \"loginctl kill-session --kill-whom=leader -s TERM 3\"";
    let args = vec!["3".into(), "leader".into(), 15.into()];
    let called = ran.clone().calls_logind(5005, by(&client), "KillSession", args.clone());
    let by_hint = " (by its arguments; the request itself was not seen)";
    for (scene, hint) in [(called, " (KillSession)"), (ran, by_hint)] {
        let death = died(scene);
        let told = &death.cause.explanation;
        assert!(told.contains(&format!("{got}: {ran_by}{hint}.")), "{told}");
        assert!(death.chain[0].text.contains(ran_by), "{:?}", death.chain);
        assert!(!death.chain.iter().any(|link| link.text.contains("service ran")), "{death:#?}");
    }
    // Of another session, and of another signal.
    let (other, client) = loginctl(&["loginctl", "kill-session", "-s", "TERM", "4"], users(), 5000);
    let args = vec!["4".into(), "leader".into(), 15.into()];
    let other = other.calls_logind(5005, by(&client), "KillSession", args);
    let told = died(other).cause.explanation;
    assert!(told.contains(&format!("{got}; who had it do so was not seen.")), "{told}");
    assert!(!told.contains("loginctl"), "{told}");
}

#[test]
fn logind_signals_the_leader_itself_and_on_request_alone() {
    let victim = root(task_in(2027, "su", SCOPE));
    let daemon = root(task_in(640, "systemd-logind", "/system.slice/systemd-logind.service"));
    let killed = |called: bool| {
        let scene = Scene::watching(&victim).session("3", 2027);
        let words = ["loginctl", "kill-session", "--kill-whom=leader", "-s", "KILL", "3"];
        let (scene, loginctl) = loginctl(&words, scene, 4900);
        let args = vec!["3".into(), "leader".into(), 9.into()];
        let scene = match called {
            true => scene.calls_logind(4950, by(&loginctl), "KillSession", args),
            false => scene,
        };
        scene
            .signal(5000, signal(sig::SIGKILL, daemon.clone(), victim.clone()))
            .exit(5001, victim.clone(), u32::from(sig::SIGKILL), true)
            .death()
    };
    let words = ["session 3", "root ran \"loginctl kill-session"];
    says(&killed(true), CauseId::LogindTerminate, Grade::Observed, &words);
    says(&killed(false), CauseId::LogindTerminate, Grade::Inferred, &words);
}

/// PID 1 tells logind that it failed, since somebody else in the slice was gone already; it had struck all the same.
#[test]
fn a_signal_to_a_user_that_did_not_reach_all() {
    let victim = task_in(142, "v", BELOW_MANAGER);
    let loginctl = task_in(90, "loginctl", "/user.slice/user-0.slice/session-1.scope");
    let failed = JournalLine {
        message: "user-1000.slice: Failed to send signal SIGKILL to auxiliary processes on client request: No such device"
            .to_owned(),
        pid: Some(1),
        about_unit: Some("user-1000.slice".to_owned()),
        ..JournalLine::default()
    };
    let told = |loginctl: &Task| {
        Scene::watching(&victim)
            .exec(1990, loginctl.clone(), &["loginctl", "kill-user", "-s", "KILL", "alice"], &[])
            .signal(2001, signal(sig::SIGKILL, systemd(), victim.clone()))
            .add(2002, Source::Journal, Fact::Journal(failed.clone()))
            .exit(2003, victim.clone(), 9, true)
            .death()
    };
    for loginctl in [root(loginctl.clone()), loginctl.clone()] {
        let death = told(&loginctl);
        assert_eq!(death.cause.id, CauseId::LogindTerminate, "{death:#?}");
        assert!(death.cause.explanation.contains("loginctl kill-user -s KILL alice"), "{death:#?}");
    }
    // Who may not, and who asks another logind.
    let bob = Task { uid: 1001, euid: 1001, ..loginctl.clone() };
    let container = format!("/system.slice/docker-{}.scope", "0123456789abcdef".repeat(4));
    for loginctl in [bob, root(Task { cgroup: Some(container), ..loginctl })] {
        let death = told(&loginctl);
        assert_eq!(death.cause.id, CauseId::SystemctlKill, "{death:#?}");
        assert!(!death.cause.explanation.contains("loginctl"), "{death:#?}");
    }
}
