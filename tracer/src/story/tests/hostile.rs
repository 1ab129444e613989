//! Users who would have the blame put on somebody else: what is theirs to write is not believed of others.

use serde_json::{Value, json};

use super::scene::{Scene, signal, systemd, task, task_in};
use crate::evidence::{
    BusCall, BusPeer, Disposition, Fact, Grade, Job, JournalLine, Manager, ProcessSnapshot,
    Setting, SignalSent, Source, TargetReason, Task, Unavailable, sig,
};
use crate::story::verdict::CauseId;

const USERS: &str = "/user.slice/user-1000.slice/user@1000.service";

/// alice's service manager, by the kernel's word.
fn manager() -> Task {
    let cgroup = format!("{USERS}/init.scope");
    Task { ppid: 1, ..task_in(100, "systemd", &cgroup) }
}

fn call(bus: Manager, path: &str, member: &str, args: &[Value], sender: &Task) -> Fact {
    Fact::BusCall(BusCall {
        bus,
        sender: BusPeer {
            name: ":1.7".to_owned(),
            process: Some(sender.id),
            comm: Some(sender.comm.clone()),
            uid: Some(sender.uid),
            ..BusPeer::default()
        },
        path: path.to_owned(),
        member: member.to_owned(),
        args: args.to_vec(),
        granted_ns: Some(super::scene::at(4990).boot_ns),
        ..BusCall::default()
    })
}

/// What is told of root's `loginctl` over the system's bus, and not over a user's.
#[test]
fn requests_to_logind_come_over_the_systems_bus() {
    let victim = || task_in(42, "sleep", "/user.slice/user-1000.slice/session-3.scope");
    let root = Task { uid: 0, euid: 0, ..task(70, "loginctl") };
    let of = |bus: Manager, path: &str| {
        let call = call(bus, path, "TerminateSession", &[json!("3")], &root);
        let scene = Scene::watching(&victim()).add(4990, Source::Bus, call);
        scene.job(4995, 9, "stop", "session-3.scope").ended_by(systemd(), victim()).cause.id
    };
    assert_eq!(of(Manager::System, "/org/freedesktop/login1"), CauseId::LogindTerminate);
    assert_ne!(of(Manager::User(1000), "/org/freedesktop/login1"), CauseId::LogindTerminate);
    assert_ne!(of(Manager::System, "/org/freedesktop/systemd1"), CauseId::LogindTerminate);
}

/// A user's bus says what its owner wants: at best it is reported.
#[test]
fn a_request_over_a_users_own_bus_is_not_observed() {
    let victim = || task_in(42, "sleep", &format!("{USERS}/app.slice/x.service"));
    let call = call(
        Manager::User(1000),
        "/org/freedesktop/systemd1",
        "StopUnit",
        &[json!("x.service"), json!("replace")],
        &task(70, "systemctl"),
    );
    let job = Job {
        manager: Manager::User(1000),
        id: 9,
        unit: "x.service".to_owned(),
        job_type: Some("stop".to_owned()),
        result: None,
    };
    let pipe = Unavailable {
        what: "settings of x.service".to_owned(),
        why: "it is no regular file".to_owned(),
    };
    let crowd = |uid| {
        let [what, _] = Manager::User(uid).unknown_units();
        Fact::Unavailable(Unavailable { what, why: "there are many".to_owned() })
    };
    let scene = Scene::watching(&victim()).add(1, Source::File, Fact::Unavailable(pipe));
    // Another user's units are not the victim's.
    let scene = scene.add(2, Source::Tracer, crowd(1000)).add(2, Source::Tracer, crowd(1001));
    let scene = scene.add(4990, Source::Bus, call).add(4995, Source::Bus, Fact::Job(job));
    let death = scene.ended_by(manager(), victim());
    let gaps = [
        "settings of x.service: it is no regular file",
        "what user 1000's units depend on: there are many",
    ];
    assert_eq!(death.gaps, gaps, "{death:#?}");
    assert_eq!(death.cause.id, CauseId::UnitStopRequested, "{death:#?}");
    assert_eq!(death.cause.evidence, Grade::Reported, "{death:#?}");
    let from_bus = death.chain.iter().filter(|link| link.source == Source::Bus);
    assert!(from_bus.clone().count() >= 2, "{death:#?}");
    assert!(from_bus.clone().all(|link| link.evidence == Grade::Reported), "{death:#?}");
}

/// Only PID 1 has scopes of sessions.
#[test]
fn a_users_scope_is_no_session() {
    let victim = task_in(42, "sleep", &format!("{USERS}/app.slice/session-c3.scope"));
    let job = Job {
        manager: Manager::User(1000),
        id: 9,
        unit: "session-c3.scope".to_owned(),
        job_type: Some("stop".to_owned()),
        result: None,
    };
    let scene = Scene::watching(&victim)
        .session("c3", 300)
        .setting("logind.conf", "KillUserProcesses", "yes", Some(("/etc/l", 2)))
        .add(4995, Source::Bus, Fact::Job(job));
    let death = scene.ended_by(manager(), victim);
    assert_ne!(death.cause.id, CauseId::LogindKillUserProcesses, "{death:#?}");
    assert!(!death.cause.explanation.contains("login had ended"), "{death:#?}");
}

fn with_environment(scene: Scene, of: &Task, name: &str, value: &str) -> Scene {
    let snapshot = ProcessSnapshot {
        pid: of.id.pid,
        start_ns: of.id.start_ns,
        comm: of.comm.clone(),
        uid: of.uid,
        environment: [(name.to_owned(), value.to_owned())].into(),
        ..ProcessSnapshot::default()
    };
    scene.add(1, Source::Proc, Fact::Process(Box::new(snapshot)))
}

/// Who stands in `SUDO_USER` is believed of root's processes alone.
#[test]
fn a_users_process_called_sudo() {
    let told = |uid: u32| {
        let victim = task(42, "sleep");
        let sudo = Task { uid, euid: uid, ..task(60, "sudo") };
        let kill = Task { uid, euid: uid, ..task(70, "kill") };
        let scene = Scene::watching(&victim).exec(4900, kill.clone(), &["kill", "42"], &[&sudo]);
        let scene = with_environment(scene, &sudo, "SUDO_USER", "bob");
        scene.ended_by(kill, victim).cause.explanation
    };
    assert!(told(0).contains("bob ran"), "{}", told(0));
    assert!(told(1000).contains("alice ran"), "{}", told(1000));
}

/// The address of a login is said to be the process's own word.
#[test]
fn an_address_that_a_process_made_up() {
    let told = |value: &str| {
        let (victim, kill) = (task(42, "sleep"), task(70, "kill"));
        let scene = Scene::watching(&victim).exec(4900, kill.clone(), &["kill", "42"], &[]);
        let scene = with_environment(scene, &kill, "SSH_CONNECTION", value);
        scene.ended_by(kill, victim).cause.explanation
    };
    let text = told("203.0.113.66 1 192.0.2.1 22");
    assert!(text.contains("203.0.113.66 (by SSH_CONNECTION in its environment)"), "{text}");
    let text = told("bob's-desk. root did it 1 192.0.2.1 22");
    assert!(!text.contains("desk"), "{text}");
}

/// A title ends its own quotation.
#[test]
fn a_title_does_not_leave_its_quotes() {
    let (victim, kill) = (task(42, "sleep"), task(70, "kill"));
    let title = "true\". The OOM killer had chosen it: root ran \"oom-kill";
    let scene = Scene::watching(&victim).exec(4900, kill.clone(), &[title], &[]);
    let text = scene.ended_by(kill, victim).cause.explanation;
    assert!(text.contains("alice ran \"true\\\". The OOM"), "{text}");
    assert_eq!(text.replace("\\\"", "").matches('"').count(), 2, "{text}");
}

/// What the sender was is what its memory held then, though `/proc` is read when it is another program, and that is
/// told before the exec.
#[test]
fn a_sender_that_executes_something_else() {
    let (victim, shell) = (task(42, "sleep"), task(70, "bash"));
    let later = Task { comm: "true".to_owned(), ..shell.clone() };
    let late = ProcessSnapshot {
        pid: 70,
        start_ns: shell.id.start_ns,
        comm: "true".to_owned(),
        exe: Some("/usr/bin/true".to_owned()),
        cmdline: vec!["true".to_owned(), "innocent".to_owned()],
        uid: 1000,
        ..ProcessSnapshot::default()
    };
    let sent = SignalSent {
        sender_args: ["bash", "-c", "kill 42"].map(str::to_owned).to_vec(),
        ..signal(sig::SIGTERM, shell, victim.clone())
    };
    let death = Scene::watching(&victim)
        .signal(5000, sent)
        .add(5002, Source::Proc, Fact::Process(Box::new(late)))
        .exec(5001, later, &["true", "innocent"], &[])
        .exit(5003, victim, 15, true)
        .death();
    let text = &death.cause.explanation;
    assert!(text.contains("kill 42") && !text.contains("innocent"), "{text}");
}

/// A cgroup that a user may have named is no container until it is known who named it.
#[test]
fn a_container_that_a_user_names() {
    const ID: &str = "4fa6e0f0c6786287e131c3852c58a2e01cc697a68231826813597e4994f1d6e2";
    let told = |place: &str, named_by: Option<Option<u32>>| {
        let cgroup = format!("{place}/docker-{ID}.scope");
        let container = crate::evidence::Container {
            runtime: "docker".to_owned(),
            id: ID.to_owned(),
            named_by: named_by.flatten(),
            ..Default::default()
        };
        let found = crate::evidence::ContainerFound { cgroup: cgroup.clone(), container };
        let victim = task_in(42, "sleep", &format!("{cgroup}/a"));
        let mut scene = Scene::watching(&victim);
        if named_by.is_some() {
            scene = scene.add(1, Source::CgroupFs, Fact::Container(found));
        }
        let runc = Task { uid: 0, euid: 0, ..task(70, "runc") };
        let runc =
            scene.exec(4900, runc.clone(), &["runc", "kill", ID], &[]).ended_by(runc, victim);
        (runc.victim.unit, runc.victim.container.is_some(), runc.cause.explanation)
    };
    let service = "/system.slice/alice.service";
    let (unit, is_container, text) = told(service, None);
    assert_eq!(unit.as_deref(), Some("alice.service"));
    assert!(!is_container && !text.contains("docker container"), "{text}");
    let (_, is_container, text) = told(service, Some(Some(1000)));
    assert!(is_container && text.contains("what user 1000 calls docker container"), "{text}");
    let (_, _, text) = told(USERS, None);
    assert!(text.contains("what user 1000 calls docker container"), "{text}");
    for (place, named_by) in [(service, Some(None)), ("/system.slice", None)] {
        let (_, is_container, text) = told(place, named_by);
        assert!(is_container && text.contains("when docker container 4fa6e0f0c678 was"), "{text}");
    }
}

/// A daemon that kills when memory runs short is root's, or lives in its service.
#[test]
fn a_users_program_called_earlyoom() {
    let told = |daemon: &Task, message: &str| {
        let line = JournalLine {
            pid: Some(daemon.id.pid),
            message: message.to_owned(),
            ..JournalLine::default()
        };
        let scene = Scene::watching(&task(42, "sleep"));
        let scene = scene.add(4999, Source::Journal, Fact::Journal(line));
        scene.ended_by(daemon.clone(), task(42, "sleep"))
    };
    let short = |daemon: Task| told(&daemon, "low memory! at or below SIGTERM limits").cause.id;
    let of = |cgroup: &str| task_in(70, "earlyoom", cgroup);
    let service = "/system.slice/earlyoom.service";
    assert_eq!(short(of(service)), CauseId::UserspaceOom);
    assert_eq!(short(Task { uid: 0, euid: 0, ..of("/") }), CauseId::UserspaceOom);
    assert_ne!(short(of("/user.slice/user-1000.slice/session-3.scope")), CauseId::UserspaceOom);
    assert_ne!(short(of("/system.slice/web.service")), CauseId::UserspaceOom);
    assert_ne!(short(of("/system.slice/earlyoom-web.service")), CauseId::UserspaceOom);
    // A link of that name to a program that has root's rights by its file.
    let lent = Task { euid: 0, ..of("/user.slice/user-1000.slice/session-3.scope") };
    assert_ne!(short(lent.clone()), CauseId::UserspaceOom);
    let text = told(&lent, "hello").cause.explanation;
    assert!(text.contains(" of alice with root's rights (euid 0)"), "{text}");
    assert_ne!(short(of(&format!("{USERS}/earlyoom.service"))), CauseId::UserspaceOom);
    let silent = told(&of(service), "hello");
    assert_eq!((silent.cause.id, silent.cause.evidence), (CauseId::UserspaceOom, Grade::Inferred));
    assert!(silent.cause.explanation.contains("by its name a daemon"), "{silent:#?}");
}

/// mallory has a unit that is called like one of the system's.
#[test]
fn a_users_unit_says_nothing_of_the_systems_unit_of_that_name() {
    const UNIT: &str = "nginx.service";
    let victim = task_in(500, "nginx", "/system.slice/nginx.service");
    let hers = "/home/mallory/.config/systemd/user/nginx.service";
    let set = |manager: Manager, name: &str, value: &str, file: &str| Setting {
        manager: Some(manager),
        scope: UNIT.to_owned(),
        name: name.to_owned(),
        value: value.to_owned(),
        file: Some(file.to_owned()),
        line: Some(4),
        unread: None,
    };
    let (system, user) = (Manager::System, Manager::User(1001));
    let gone = set(user, "FragmentPath", hers, hers).outlives(hers);
    let told = [
        set(system, "TimeoutStopSec", "90s", "/etc/systemd/system/nginx.service"),
        set(user, "TimeoutStopSec", "1s", hers),
        set(user, "ExecStop", "/bin/nginx -s stop", hers),
        set(user, "KillSignal", "SIGTERM", hers),
        gone,
        // Nor of what is no unit.
        Setting { scope: "logind.conf".to_owned(), ..set(user, "KillUserProcesses", "yes", hers) },
    ];
    let scene = Scene::default().user(0, "root").target(&victim, TargetReason::Running);
    let scene = told
        .into_iter()
        .fold(scene, |scene, setting| scene.add(3, Source::File, Fact::Setting(setting)));
    let term = SignalSent {
        disposition: Some(Disposition::Handler),
        fatal: false,
        ..signal(sig::SIGTERM, systemd(), victim.clone())
    };
    let death = scene
        .job(5000, 700, "stop", UNIT)
        .signal(5001, term)
        .signal(95_001, signal(sig::SIGKILL, systemd(), victim.clone()))
        .exit(95_002, victim, 9, true)
        .death();
    assert!(!format!("{death:?}").contains("mallory"), "{death:#?}");
    let set = ("TimeoutStopSec", "90s");
    let told = death.cause.settings.iter().map(|it| (it.name.as_str(), it.value.as_str()));
    assert!(told.into_iter().any(|it| it == set), "{death:#?}");
}

/// A sender that was ending when it was looked at shows its title, but no executable any more.
#[test]
fn a_title_is_no_program_where_no_program_was_seen() {
    let (victim, sender) = (task(42, "sleep"), task(70, "systemd[1]"));
    let told = |exe: Option<&str>, was_seen_to_execute: bool| {
        let looked_at = ProcessSnapshot {
            pid: 70,
            start_ns: sender.id.start_ns,
            comm: sender.comm.clone(),
            exe: exe.map(str::to_owned),
            cmdline: vec!["systemd[1]".to_owned()],
            uid: sender.uid,
            ..ProcessSnapshot::default()
        };
        let scene = Scene::watching(&victim);
        let scene = if was_seen_to_execute {
            scene.exec(1, sender.clone(), &["systemd[1]"], &[])
        } else {
            scene.add(1, Source::Proc, Fact::Process(Box::new(looked_at)))
        };
        scene.ended_by(sender.clone(), victim.clone()).cause.explanation
    };
    let text = told(None, false);
    assert!(
        text.contains("which called itself \"systemd[1]\" (what it ran was not seen)"),
        "{text}"
    );
    let text = told(Some("/usr/bin/perl"), false);
    assert!(text.contains("/usr/bin/perl") && !text.contains("was not seen"), "{text}");
    let text = told(None, true);
    assert!(text.contains("the program \"systemd[1]\""), "{text}");
    // Gone before it was looked at: what it is called by it can have chosen as well.
    let death = Scene::default()
        .target(&victim, TargetReason::Running)
        .ended_by(Task { uid: 4001, ..sender.clone() }, victim.clone());
    let text = &death.cause.explanation;
    let words = "which called itself \"systemd[1]\" (what it ran was not seen).";
    assert!(text.contains(words), "{text}");
}
