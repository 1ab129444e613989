//! Who or what is behind a process that a service manager ran for a unit.

use serde_json::json;

use super::scene::{Scene, at, by, signal, systemd, task, task_in};
use crate::evidence::{
    BusCall, BusPeer, Fact, Grade, JournalLine, Manager, Setting, Source, Task, sig,
};
use crate::story::verdict::{CauseId, Death};

const SESSION: &str = "/user.slice/user-1000.slice/session-c3.scope";

fn root(task: Task) -> Task {
    Task { uid: 0, euid: 0, ..task }
}

fn victim() -> Task {
    task_in(500, "nginx", "/system.slice/nginx.service")
}

/// What systemd ran for a unit, in this cgroup by the time it asks for nginx to be stopped.
fn acting(cgroup: &str) -> Task {
    let task = root(task_in(700, "systemctl", cgroup));
    Task { id: crate::evidence::ProcessId { pid: 700, start_ns: at(1500).boot_ns }, ..task }
}

fn asker(comm: &str) -> Task {
    Task { login_uid: Some(1000), ..task_in(243, comm, SESSION) }
}

/// alice is logged in by ssh, and has run this.
fn asked(args: &[&str]) -> Scene {
    let client = asker(args[0]);
    Scene::watching(&victim()).session("c3", 242).exec(1000, client, args, &[])
}

fn transient(scene: Scene, ms: u64, sender: BusPeer, unit: &str) -> Scene {
    let call = BusCall {
        sender,
        path: "/org/freedesktop/systemd1".to_owned(),
        member: "StartTransientUnit".to_owned(),
        args: vec![json!(unit), json!("fail")],
        granted_ns: Some(at(ms).boot_ns),
        ..BusCall::default()
    };
    scene.add(ms, Source::Bus, Fact::BusCall(call))
}

/// The unit's process has nginx stopped.
fn stopped(scene: Scene, actor: Task) -> Death {
    scene
        .exec(2000, actor, &["/usr/bin/systemctl", "stop", "nginx"], &[&root(systemd())])
        .job(2010, 645, "stop", "nginx.service")
        .signal(2011, signal(sig::SIGTERM, systemd(), victim()))
        .exit(2012, victim(), u32::from(sig::SIGTERM), true)
        .death()
}

#[test]
fn who_called_run0_is_behind_what_it_runs() {
    let scene = asked(&["run0", "systemctl", "stop", "nginx"]);
    let scene = transient(scene, 1200, by(&asker("run0")), "run-p243-i1.service");
    // PAM has moved it into a session of its own.
    let scene = scene.unit(1510, "run-p243-i1.service", &[("MainPID", json!(700))]);
    let death = stopped(scene, acting("/user.slice/user-0.slice/session-c4.scope"));
    let told = &death.cause.explanation;
    let words = "alice ran \"run0 systemctl stop nginx\" (through run-p243-i1.service) in ssh session c3 from 203.0.113.5";
    assert!(told.contains(words), "{told}");
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts[1].contains("StartTransientUnit"), "{texts:?}");
    assert_eq!(texts[2], "run-p243-i1.service ran \"/usr/bin/systemctl stop nginx\"");
    assert!(death.chain[..3].iter().all(|link| link.evidence == Grade::Observed));
}

#[test]
fn a_session_that_no_unit_opened_is_roots() {
    let scene = asked(&["run0", "systemctl", "stop", "nginx"]);
    let scene = transient(scene, 1200, by(&asker("run0")), "run-p243-i1.service");
    let death = stopped(scene, acting("/user.slice/user-0.slice/session-c4.scope"));
    assert!(death.cause.explanation.contains("root ran"), "{}", death.cause.explanation);
}

/// Its call was heard when it had gone: the unit is named after its process.
#[test]
fn a_timer_of_systemd_run_is_whose_ran_that() {
    let args = ["systemd-run", "--on-active=1", "systemctl", "stop", "nginx"];
    let scene = asked(&args);
    let scene = transient(scene, 1200, BusPeer::default(), "run-p243-i1.timer");
    let details = json!([["trigger_unit", "run-p243-i1.timer"]]);
    let scene = scene.unit(1510, "run-p243-i1.service", &[("ActivationDetails", details)]);
    let death = stopped(scene, acting("/system.slice/run-p243-i1.service"));
    let told = &death.cause.explanation;
    assert!(told.contains("alice ran \"systemd-run --on-active=1 systemctl stop nginx\" (through run-p243-i1.timer, it seems) in ssh session c3"), "{told}");
    assert_eq!(death.chain[0].evidence, Grade::Inferred);
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    let started = "run-p243-i1.timer started run-p243-i1.service";
    assert!(texts.contains(&started), "{texts:?}");
}

/// The answer to its own call tells what a job is for.
#[test]
fn a_job_is_of_the_type_that_was_asked_for() {
    let client = asker("systemctl");
    let by_bus = BusPeer { name: ":1.7".to_owned(), ..by(&client) };
    let scene = asked(&["systemctl", "start", "clean"])
        .call(1300, by_bus, "StartUnit", &["clean.service", "replace"])
        .reply(1310, ":1.7", true, Some(600))
        .job_of_type(1400, 600, None, "clean.service");
    let death = stopped(scene, acting("/system.slice/clean.service"));
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts.contains(&"systemd[1] job 600 start clean.service"), "{texts:?}");
}

/// root's systemd-run speaks to PID 1 past every bus.
#[test]
fn the_private_socket_hides_who_made_a_unit_from_the_bus_alone() {
    let sudo = Task { login_uid: Some(1000), ..root(task_in(242, "sudo", SESSION)) };
    let args = ["systemd-run", "-q", "systemctl", "stop", "nginx"];
    let run = Task { login_uid: Some(1000), ..root(task_in(243, "systemd-run", SESSION)) };
    let sudo_args = ["sudo", "systemd-run", "-q", "systemctl", "stop", "nginx"];
    let scene = Scene::watching(&victim())
        .session("c3", 240)
        .exec(990, sudo.clone(), &sudo_args, &[])
        .exec(1000, run.clone(), &args, &[&sudo]);
    let told =
        |scene: Scene| stopped(scene, acting("/system.slice/run-r0123.service")).cause.explanation;
    let concluded = told(scene.clone());
    let words = "alice ran \"sudo systemd-run -q systemctl stop nginx\" (through run-r0123.service, it seems) in ssh session c3";
    assert!(concluded.contains(words), "{concluded}");
    let seen = told(scene.clone().connects(1100, run.clone(), Manager::System));
    assert!(seen.contains("alice ran \"sudo systemd-run") && !seen.contains("seems"), "{seen}");
    // Two can have been it.
    let other = Task { id: task_in(244, "", "").id, ..run };
    let unknown = told(scene.exec(1050, other, &args, &[]));
    assert!(unknown.contains("run-r0123.service ran"), "{unknown}");
}

#[test]
fn machined_opens_shells_for_others() {
    let scene = asked(&["machinectl", "shell", ".host", "/usr/bin/systemctl", "stop", "nginx"]);
    let machined = root(task_in(389, "systemd-machine", "/system.slice/systemd-machined.service"));
    let open = BusCall {
        sender: by(&asker("machinectl")),
        path: "/org/freedesktop/machine1".to_owned(),
        member: "OpenMachineShell".to_owned(),
        args: vec![json!(".host"), json!("root")],
        granted_ns: Some(at(1250).boot_ns),
        ..BusCall::default()
    };
    let well_known = Some("org.freedesktop.machine1".to_owned());
    let by_machined = BusPeer { well_known, ..by(&machined) };
    let scene = scene.add(1100, Source::Bus, Fact::BusCall(open.clone()));
    let shell = "container-shell@0.service";
    let told = |scene: Scene| {
        let scene = transient(scene, 1200, by_machined.clone(), shell);
        stopped(scene, acting("/system.slice/container-shell@0.service")).cause.explanation
    };
    let known = told(scene.clone());
    assert!(known.contains("alice ran \"machinectl shell .host /usr/bin/systemctl stop nginx\" (through container-shell@0.service)"), "{known}");
    let bobs = BusPeer { uid: Some(1001), ..BusPeer::default() };
    let two = told(scene.add(1150, Source::Bus, Fact::BusCall(BusCall { sender: bobs, ..open })));
    assert!(two.contains("container-shell@0.service ran"), "{two}");
}

/// What asks for its own unit is not followed for ever.
#[test]
fn a_unit_that_made_itself() {
    let unit = "run-p700-i1.service";
    let actor = acting("/system.slice/run-p700-i1.service");
    let scene = transient(Scene::watching(&victim()), 1200, by(&actor), unit);
    let death = stopped(scene, actor);
    assert!(death.cause.explanation.contains(unit), "{}", death.cause.explanation);
}

#[test]
fn nobody_ran_what_a_timer_did() {
    let details = json!([["trigger_unit", "rot.timer"]]);
    let scene = Scene::watching(&victim());
    let scene = scene.unit(1510, "rot.service", &[("ActivationDetails", details)]);
    let death = stopped(scene, acting("/system.slice/rot.service"));
    let told = &death.cause.explanation;
    let words = "rot.service (started by rot.timer) ran \"/usr/bin/systemctl stop nginx\"";
    assert!(told.contains(words), "{told}");
    assert_eq!(death.chain[0].text, "rot.timer started rot.service");
}

/// The manager goes on telling what had triggered the start before this one.
#[test]
fn a_start_that_somebody_asked_for_is_no_timers() {
    let details = json!([["trigger_unit", "rot.timer"]]);
    let scene = asked(&["ls"])
        .exec(1480, root(task_in(250, "systemctl", SESSION)), &["systemctl", "start", "rot"], &[])
        .job(1490, 640, "start", "rot.service")
        .unit(1510, "rot.service", &[("ActivationDetails", details)]);
    let death = stopped(scene, acting("/system.slice/rot.service"));
    let told = &death.cause.explanation;
    assert!(told.contains("ran \"systemctl start rot\""), "{told}");
    assert!(!told.contains("rot.timer"), "{told}");
}

#[test]
fn what_a_daemon_ran_is_the_daemons() {
    let monit = root(task_in(868, "monit", "/system.slice/monit.service"));
    let death = Scene::watching(&victim())
        .exec(
            2000,
            acting("/system.slice/monit.service"),
            &["/usr/bin/systemctl", "stop", "nginx"],
            &[&monit, &root(systemd())],
        )
        .job(2010, 645, "stop", "nginx.service")
        .signal(2011, signal(sig::SIGTERM, systemd(), victim()))
        .exit(2012, victim(), u32::from(sig::SIGTERM), true)
        .death();
    let told = &death.cause.explanation;
    assert!(told.contains("monit[868] of monit.service ran \"/usr/bin/systemctl stop"), "{told}");
}

fn logged(scene: Scene, ms: u64, unit: &str, message: &str) -> Scene {
    let line = JournalLine {
        message: format!("{unit}: {message}"),
        pid: Some(1),
        about_unit: Some(unit.to_owned()),
        ..JournalLine::default()
    };
    scene.add(ms, Source::Journal, Fact::Journal(line))
}

#[test]
fn a_unit_that_failed_starts_another() {
    let bad = root(task_in(637, "sleep", "/system.slice/bad.service"));
    let bash = root(task_in(662, "bash", "/"));
    let scene = Scene::watching(&victim())
        .exec(1300, bash.clone(), &["bash", "-c", "kill -9 637"], &[])
        .signal(1400, signal(sig::SIGKILL, bash, bad.clone()))
        .exit(1401, bad, u32::from(sig::SIGKILL), false);
    let scene = logged(scene, 1410, "bad.service", "Triggering OnFailure= dependencies.");
    let scene = scene.job(1411, 600, "start", "clean.service");
    let told =
        |scene: Scene| stopped(scene, acting("/system.slice/clean.service")).cause.explanation;
    let one = told(scene.clone());
    assert!(one.contains("clean.service (started, it seems, by OnFailure= of bad.service: sleep[637] was killed by SIGKILL: root ran \"bash -c 'kill -9 637'\") ran \"/usr/bin/systemctl stop nginx\""), "{one}");
    // Which of two it was is not known.
    let two = told(logged(scene, 1412, "worse.service", "Triggering OnFailure= dependencies."));
    assert!(two.contains("clean.service ran \"/usr/bin"), "{two}");
}

/// Who starts a service by hand has it do what it does at once.
#[test]
fn a_service_that_somebody_started() {
    let client = Task { login_uid: Some(1000), ..root(task_in(243, "systemctl", SESSION)) };
    let scene = Scene::watching(&victim())
        .session("c3", 240)
        .exec(1300, client, &["systemctl", "start", "clean"], &[])
        .job(1400, 600, "start", "clean.service");
    let death = stopped(scene, acting("/system.slice/clean.service"));
    let told = &death.cause.explanation;
    assert!(told.contains("clean.service (started, it seems, as alice ran \"systemctl start clean\" in ssh session c3 from 203.0.113.5) ran"), "{told}");
}

/// What had an earlier run of the unit says nothing of this one, and a unit that failed meanwhile need not have started it.
#[test]
fn a_later_run_is_whose_asked_for_that() {
    let details = json!([["trigger_unit", "clean.timer"]]);
    let client = Task { login_uid: Some(1000), ..root(task_in(243, "systemctl", SESSION)) };
    let scene = Scene::watching(&victim())
        .session("c3", 240)
        .job(300, 590, "start", "clean.service")
        .unit(310, "clean.service", &[("ActivationDetails", details)])
        .exec(1300, client, &["systemctl", "start", "clean"], &[])
        .job(1400, 600, "start", "clean.service");
    let scene = logged(scene, 1390, "bad.service", "Triggering OnFailure= dependencies.");
    let told = stopped(scene, acting("/system.slice/clean.service")).cause.explanation;
    assert!(
        told.contains("clean.service (started, it seems, as alice ran \"systemctl start clean\""),
        "{told}"
    );
}

/// What a target wants is started with it.
#[test]
fn a_target_that_somebody_started_wants_it() {
    let client = Task { login_uid: Some(1000), ..root(task_in(243, "systemctl", SESSION)) };
    let scene = Scene::watching(&victim())
        .session("c3", 240)
        .exec(1300, client, &["systemctl", "start", "my.target"], &[])
        .job(1400, 600, "start", "my.target")
        .job(1401, 601, "start", "clean.service");
    let wanted = |by: &str| {
        let scene = scene.clone().unit(1500, "clean.service", &[("WantedBy", json!([by]))]);
        stopped(scene, acting("/system.slice/clean.service"))
    };
    let death = wanted("my.target");
    let told = &death.cause.explanation;
    assert!(told.contains("clean.service (wanted by my.target, which was started, it seems, as alice ran \"systemctl start my.target\" in ssh session c3 from 203.0.113.5) ran"), "{told}");
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(
        texts[1].contains("start my.target") && texts[2].contains("clean.service"),
        "{texts:?}"
    );
    assert!(death.gaps.is_empty(), "{death:#?}");
    // Nothing is concluded from the time alone.
    let death = wanted("other.target");
    assert!(!death.cause.explanation.contains("alice"), "{}", death.cause.explanation);
    assert!(
        death.gaps[0].contains("who or what had clean.service started was not seen"),
        "{death:#?}"
    );
}

/// Who had asked for a shell before anybody looked is no parent of it.
#[test]
fn a_session_that_run0_had_opened() {
    let session = |service: &str| {
        let state = crate::evidence::SessionState {
            id: "c5".to_owned(),
            uid: Some(0),
            user: Some("root".to_owned()),
            leader: Some(238),
            tty: Some("pts/2".to_owned()),
            service: Some(service.to_owned()),
            ..crate::evidence::SessionState::default()
        };
        Fact::Session(state)
    };
    let told = |service: &str, shell: &str, variables: &[(&str, &str)]| {
        let cgroup = "/user.slice/user-0.slice/session-c5.scope";
        let shell = root(task_in(238, shell, cgroup));
        let snapshot = crate::evidence::ProcessSnapshot {
            pid: 238,
            start_ns: shell.id.start_ns,
            comm: shell.comm.clone(),
            cgroup: shell.cgroup.clone(),
            environment: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..crate::evidence::ProcessSnapshot::default()
        };
        let client = root(task_in(273, "systemctl", cgroup));
        Scene::watching(&victim())
            .add(0, Source::File, session(service))
            .add(1, Source::Proc, Fact::Process(Box::new(snapshot)))
            .exec(2000, client, &["systemctl", "stop", "nginx"], &[&shell, &root(systemd())])
            .job(2010, 645, "stop", "nginx.service")
            .signal(2011, signal(sig::SIGTERM, systemd(), victim()))
            .exit(2012, victim(), u32::from(sig::SIGTERM), true)
            .death()
    };
    let death = told("systemd-run0", "bash", &[("SUDO_USER", "alice")]);
    let words = "root ran \"systemctl stop nginx\" in session c5 on pts/2, which run0 had opened for alice (by SUDO_USER in its environment)";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    assert!(death.gaps[0].contains("session c5 was opened by run0"), "{death:#?}");
    let death = told("login", "bash", &[("SUDO_USER", "alice")]);
    assert!(!death.cause.explanation.contains("alice"), "{}", death.cause.explanation);
    assert!(death.gaps[0].contains("session c5 was opened by systemd"), "{death:#?}");
    // login(1) has asked itself who is there.
    assert!(told("login", "login", &[]).gaps.is_empty());
}

/// What somebody had a unit run is a script that runs another one: that one holds the line.
#[test]
fn the_script_in_a_unit_that_somebody_had_made() {
    let deploy = Task { login_uid: Some(1000), ..root(task_in(242, "deploy", SESSION)) };
    let run = Task { login_uid: Some(1000), ..root(task_in(243, "systemd-run", SESSION)) };
    let cgroup = "/system.slice/nightly.service";
    let nightly = root(task_in(690, "nightly", cgroup));
    let nightly =
        Task { id: crate::evidence::ProcessId { pid: 690, start_ns: at(1400).boot_ns }, ..nightly };
    let reaper = root(task_in(695, "reaper", cgroup));
    let pkill = root(task_in(700, "pkill", cgroup));
    let death = Scene::watching(&victim())
        .session("c3", 240)
        .exec(900, deploy.clone(), &["/bin/sh", "/deploy"], &[])
        .exec(1000, run, &["systemd-run", "--unit=nightly", "/sbin/nightly"], &[&deploy])
        .exec(1500, nightly.clone(), &["/bin/sh", "/sbin/nightly"], &[&root(systemd())])
        .exec(1600, reaper.clone(), &["/bin/sh", "/sbin/reaper"], &[&nightly, &root(systemd())])
        .exec(2000, pkill.clone(), &["pkill", "nginx"], &[&reaper, &nightly, &root(systemd())])
        .ended_by(pkill, victim());
    let told = &death.cause.explanation;
    let words = "alice ran \"pkill nginx\", part of \"/bin/sh /sbin/reaper\", which is part of \"/bin/sh /deploy\" through nightly.service";
    assert!(told.contains(words), "{told}");
}

/// alice's systemd --user, which nobody has looked at, runs pkill for a unit of hers.
fn tidied(scene: Scene) -> Death {
    const TIDY: &str = "/user.slice/user-1000.slice/user@1000.service/app.slice/tidy.service";
    let manager = task(103, "systemd");
    let pkill = Task { login_uid: Some(1000), ppid: 103, ..task_in(700, "pkill", TIDY) };
    let args = ["/usr/bin/pkill", "-x", "nginx"];
    scene.exec(4000, pkill.clone(), &args, &[&manager, &systemd()]).ended_by(pkill, victim())
}

#[test]
fn what_a_users_manager_ran_nobody_typed() {
    let death = tidied(Scene::watching(&victim()));
    let (told, words) =
        (&death.cause.explanation, "alice's tidy.service ran \"/usr/bin/pkill -x nginx\"");
    assert!(told.contains(words) && !told.contains("alice ran"), "{told}");
    // A user can put what is theirs into any unit of theirs.
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::UserCommand, Grade::Reported));
    assert_eq!((death.chain[0].text.as_str(), death.chain[0].evidence), (words, Grade::Reported));
}

/// What the unit's file says is there before its manager has answered.
#[test]
fn a_users_oneshot_is_known_by_its_file_alone() {
    const FILE: &str = "/home/alice/.config/systemd/user/tidy.service";
    let of_file = |name: &str, value: &str, line| {
        Fact::Setting(Setting {
            manager: Some(Manager::User(1000)),
            scope: "tidy.service".to_owned(),
            name: name.to_owned(),
            value: value.to_owned(),
            file: Some(FILE.to_owned()),
            line: Some(line),
            unread: None,
        })
    };
    let scene = Scene::watching(&victim())
        .add(4500, Source::File, of_file("Type", "oneshot", 2))
        .add(4500, Source::File, of_file("ExecStart", "/usr/bin/pkill -x nginx", 3));
    let death = tidied(scene);
    let told = &death.cause.explanation;
    let words = format!(
        "pkill[700], a command that alice's systemd --user ran for ExecStart= of tidy.service (ExecStart=/usr/bin/pkill -x nginx, \
         set in {FILE}:3)"
    );
    assert!(told.contains(&words), "{told}");
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::UserCommand, Grade::Inferred));
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    let ran =
        "alice's systemd --user ran \"/usr/bin/pkill -x nginx\" for ExecStart= of tidy.service";
    assert!(texts.contains(&ran), "{texts:?}");
}

/// The unit had been started before tracing began, and is restarted right after.
#[test]
fn a_restart_that_was_asked_for_later_did_not_start_it() {
    let death = |ran_ms: u64| {
        let actor = acting("/system.slice/rot.service");
        let restart = root(task_in(800, "systemctl", "/"));
        let scene = Scene::watching(&victim())
            .exec(ran_ms, restart, &["systemctl", "restart", "rot.service"], &[])
            .job(1600, 640, "restart", "rot.service");
        stopped(scene, actor)
    };
    let text = death(1490).cause.explanation;
    assert!(text.contains("systemctl restart rot.service"), "{text}");
    let text = death(1550).cause.explanation;
    assert!(!text.contains("systemctl restart rot.service"), "{text}");
}

/// PID 1 has taken in what a daemon's script left behind: it is not what the daemon's line runs.
#[test]
fn the_line_of_a_daemon_is_not_that_of_an_orphan_of_its() {
    let told = |line: &str| {
        let cgroup = "/system.slice/d.service";
        let pkill = Task { ppid: 1, ..root(task_in(700, "pkill", cgroup)) };
        let death = Scene::watching(&victim())
            .setting("d.service", "ExecStart", line, Some(("/etc/d.service", 2)))
            .exec(2000, pkill.clone(), &["/usr/bin/pkill", "nginx"], &[&root(systemd())])
            .signal(2011, signal(sig::SIGTERM, pkill, victim()))
            .exit(2012, victim(), u32::from(sig::SIGTERM), true)
            .death();
        death.cause.settings.iter().any(|setting| setting.name == "ExecStart")
    };
    assert!(told("-/usr/bin/pkill nginx"));
    assert!(!told("/usr/sbin/daemon"));
}

/// A script is shown with its interpreter, and a shell executes the last command of its line in its own place.
#[test]
fn the_line_of_a_script_is_that_of_what_it_does() {
    let told = |line: &str, made_by: &str, programs: &[&[&str]]| {
        let cgroup = "/system.slice/d.service";
        let daemon = root(task_in(690, made_by, cgroup));
        let parent = if made_by == "systemd" { root(systemd()) } else { daemon };
        let born = Task { ppid: 1, ..root(task_in(700, made_by, cgroup)) };
        let fork = |scene: Scene| {
            let child = born.clone();
            let fork = crate::evidence::Fork { child, parent: parent.id, is_target: false };
            scene.add(1905, Source::Kernel, Fact::Fork(fork))
        };
        let scene = Scene::watching(&victim())
            .setting("d.service", "ExecStart", line, Some(("/etc/d.service", 2)))
            .exec(1900, parent.clone(), &[&format!("/usr/sbin/{made_by}")], &[]);
        let (mut scene, mut sender) = (fork(scene), born.clone());
        for (ms, args) in (2000..).zip(programs) {
            sender.comm = args[0].rsplit('/').next().unwrap_or_default().to_owned();
            scene = scene.exec(ms, sender.clone(), args, &[&root(systemd())]);
        }
        let death = scene
            .signal(2011, signal(sig::SIGTERM, sender, victim()))
            .exit(2012, victim(), u32::from(sig::SIGTERM), true)
            .death();
        death.cause.settings.iter().any(|setting| setting.name == "ExecStart")
    };
    let line = "/bin/sh -c 'sleep 5; pkill nginx'";
    let (shell, pkill) = (["/bin/sh", "-c", "sleep 5; pkill nginx"], ["pkill", "nginx"]);
    assert!(told(line, "systemd", &[&shell, &pkill]), "in the shell's place");
    assert!(told("/opt/dog.sh -v", "systemd", &[&["/bin/sh", "/opt/dog.sh", "-v"]]), "a script");
    assert!(!told("/opt/cat.sh", "systemd", &[&["/bin/sh", "/opt/dog.sh"]]), "another");
    assert!(
        !told(line, "systemd", &[&["/bin/sh", "-c", "pkill nginx"]]),
        "another line of a shell"
    );
    assert!(!told("/usr/sbin/daemon", "daemon", &[&pkill]), "an orphan of the daemon's");
}

/// `Accept=yes`: the name of the instance has both ends of the connection.
#[test]
fn an_instance_that_a_connection_started() {
    let told = |instance: &str| {
        let unit = format!("ks@{instance}.service");
        let cgroup = format!("/system.slice/system-ks.slice/{unit}");
        let pkill = Task { ppid: 1, ..root(task_in(700, "pkill", &cgroup)) };
        let start_ns = at(1990).boot_ns;
        let pkill = Task { id: crate::evidence::ProcessId { start_ns, ..pkill.id }, ..pkill };
        let place = Some(("/etc/systemd/system/ks@.service", 2));
        Scene::watching(&victim())
            .setting(&unit, "ExecStart", "/usr/bin/pkill nginx", place)
            .job(1990, 960, "start", &unit)
            .exec(2000, pkill.clone(), &["/usr/bin/pkill", "nginx"], &[&root(systemd())])
            .signal(2011, signal(sig::SIGTERM, pkill, victim()))
            .exit(2012, victim(), u32::from(sig::SIGTERM), true)
            .death()
    };
    for (instance, peer) in [
        ("0-127.0.0.1:7777-127.0.0.1:50964", "127.0.0.1:50964"),
        ("17-fe80::1:22-2001:db8::7:50964", "[2001:db8::7]:50964"),
    ] {
        let death = told(instance);
        let text = &death.cause.explanation;
        let words = format!("started by ks.socket, it seems, for a connection from {peer}");
        assert!(text.contains(&words), "{text}");
        assert!(death.chain[0].text.contains(&format!("a connection from {peer}")), "{death:#?}");
        assert!(death.gaps.is_empty(), "{death:#?}");
        assert_eq!(death.cause.settings[0].name, "ExecStart", "{death:#?}");
    }
    for instance in ["x", "0-a-b", "0-127.0.0.1:7777", "0-1:2-127.0.0.1:1-127.0.0.1:2"] {
        let death = told(instance);
        assert!(!death.cause.explanation.contains("ks.socket"), "{death:#?}");
    }
}
