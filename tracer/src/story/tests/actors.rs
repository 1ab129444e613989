//! Who is said to have run what: a command and the user that is named belong together.

use super::scene::{Scene, at, signal, systemd, task, task_in};
use crate::evidence::{
    BusPeer, Fact, Grade, ProcessId, ProcessSnapshot, SessionState, SignalSent, Source,
    TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death};

const OPENED: &str = "/user.slice/user-1000.slice/session-c8.scope";

fn root(task: Task) -> Task {
    Task { uid: 0, euid: 0, ..task }
}

/// root's script becomes alice by su(1), which opens a session for her; `asks` is what has nginx stopped.
fn stopped_by(asks: &Task, args: &[&str], parents: &[&Task]) -> String {
    stopped_after(|scene| scene, asks, args, parents)
}

fn stopped_after(
    before: impl FnOnce(Scene) -> Scene,
    asks: &Task,
    args: &[&str],
    parents: &[&Task],
) -> String {
    let victim = task_in(500, "nginx", "/system.slice/nginx.service");
    let session = SessionState {
        id: "c8".to_owned(),
        uid: Some(1000),
        user: Some("alice".to_owned()),
        leader: Some(60),
        service: Some("su".to_owned()),
        ..SessionState::default()
    };
    let client = BusPeer { process: Some(asks.id), uid: Some(asks.uid), ..BusPeer::default() };
    let scene = Scene::default()
        .user(0, "root")
        .user(1000, "alice")
        .add(0, Source::BusProperty, Fact::Session(session))
        .target(&victim, TargetReason::Running)
        .exec(10, script(), &["bash", "/root/s.sh"], &[])
        .exec(20, su(), &["su", "-l", "alice", "-c", "sh x"], &[&script()]);
    before(scene)
        .exec(30, asks.clone(), args, parents)
        .call(40, client, "StopUnit", &["nginx.service", "replace"])
        .job(41, 700, "stop", "nginx.service")
        .signal(42, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(43, victim, u32::from(sig::SIGTERM), true)
        .death()
        .cause
        .explanation
}

fn script() -> Task {
    root(task_in(50, "bash", "/"))
}

fn su() -> Task {
    root(task_in(60, "su", OPENED))
}

#[test]
fn a_script_that_runs_su_is_not_of_the_user_that_it_becomes() {
    let systemctl = task_in(70, "systemctl", OPENED);
    let told = stopped_by(&systemctl, &["systemctl", "stop", "nginx"], &[&su(), &script()]);
    let words = "root ran \"bash /root/s.sh\" (which ran \"systemctl stop nginx\" as alice)";
    assert!(told.contains(words), "{told}");
    assert!(!told.contains("session"), "{told}");
}

#[test]
fn what_is_typed_below_su_is_of_who_ran_su() {
    let (shell, systemctl) = (task_in(65, "bash", OPENED), task_in(70, "systemctl", OPENED));
    let parents = [&shell, &su(), &script()];
    let told = stopped_by(&systemctl, &["systemctl", "stop", "nginx"], &parents);
    assert!(told.contains("root ran \"systemctl stop nginx\" as alice"), "{told}");
    // So it is of what is given to su.
    let sh = task_in(65, "sh", OPENED);
    let said = ["sh", "-c", "systemctl stop nginx; true"];
    let told = stopped_after(
        |scene| scene.exec(25, sh.clone(), &said, &[&su(), &script()]),
        &systemctl,
        &["systemctl", "stop", "nginx"],
        &[&sh, &su(), &script()],
    );
    let words = "which ran \"sh -c 'systemctl stop nginx; true'\", and that \"systemctl stop nginx\" as alice";
    assert!(told.contains("root ran \"su -l alice") && told.contains(words), "{told}");
}

#[test]
fn su_itself_is_of_who_runs_it() {
    let again = Task { id: su().id, ..su() };
    let told = stopped_by(&again, &["su", "alice", "-c", "true"], &[&script()]);
    let words = "root ran \"bash /root/s.sh\" (which ran \"su alice -c true\")";
    assert!(told.contains(words) && !told.contains("session"), "{told}");
}

/// What is said of a kill that these ran, outermost last.
fn killed_by(killer: &Task, args: &[&str], parents: &[(Task, &[&str])]) -> String {
    let victim = task_in(500, "work", "/docker/1b2c");
    let mut scene = Scene::watching(&victim);
    for (at, (task, args)) in parents.iter().enumerate() {
        let above: Vec<&Task> = parents[at + 1..].iter().map(|(task, _)| task).collect();
        scene = scene.exec(10, task.clone(), args, &above);
    }
    let above: Vec<&Task> = parents.iter().map(|(task, _)| task).collect();
    scene
        .exec(4990, killer.clone(), args, &above)
        .ended_by(killer.clone(), victim)
        .cause
        .explanation
}

#[test]
fn the_script_that_has_the_line_is_named() {
    let pkill = task_in(90, "pkill", "/");
    let inner: (Task, &[&str]) =
        (task_in(80, "stop-all.sh", "/"), &["/bin/sh", "/usr/local/bin/stop-all.sh"]);
    let outer: (Task, &[&str]) = (task_in(70, "deploy.sh", "/"), &["/bin/bash", "./deploy.sh"]);
    let shell: (Task, &[&str]) = (task_in(60, "bash", "/"), &["-bash"]);
    let told = killed_by(&pkill, &["pkill", "work"], &[inner.clone(), outer, shell]);
    let words = "alice ran \"pkill work\", part of \"/bin/sh /usr/local/bin/stop-all.sh\", which is part of \"/bin/bash \
                 ./deploy.sh\" from bash[60]";
    assert!(told.contains(words), "{told}");
    // Of a service, whose chain ends in the service manager, the nearest script.
    let told = killed_by(&pkill, &["pkill", "work"], &[inner, (systemd(), &["/sbin/init"])]);
    let words = "alice ran \"pkill work\", part of \"/bin/sh /usr/local/bin/stop-all.sh\"";
    assert!(told.contains(words), "{told}");
}

#[test]
fn the_client_of_a_containers_runtime_is_named() {
    let runc = root(Task { pid_ns: 7, ..task_in(90, "runc", "/") });
    let client: (Task, &[&str]) = (root(task_in(80, "podman", "/")), &["podman", "kill", "web"]);
    let script: (Task, &[&str]) = (root(task_in(70, "bash", "/")), &["bash", "x.sh"]);
    let shell: (Task, &[&str]) = (root(task_in(60, "bash", "/")), &["-bash"]);
    let told = killed_by(&runc, &["runc", "kill", "1b2c", "15"], &[client, script, shell]);
    let words =
        "root ran \"bash x.sh\" (which ran \"podman kill web\", and that \"runc kill 1b2c 15\")";
    assert!(told.contains(words), "{told}");
}

/// `(sleep 1; pkill work) & exec sleep 9`: what the parent has executed since did not run its child.
#[test]
fn what_a_parent_has_become_since_is_not_what_ran_it() {
    let victim = task_in(500, "work", "/");
    let (shell, killer) = (task_in(60, "bash", "/"), task_in(90, "pkill", "/"));
    let became = Task { comm: "sleep".to_owned(), ..shell.clone() };
    let line = ["bash", "-c", "(sleep 1; pkill work) & exec sleep 9"];
    let child = Task { id: ProcessId { pid: 90, start_ns: at(15).boot_ns }, ..killer };
    let death = Scene::watching(&victim)
        .exec(10, shell.clone(), &line, &[])
        .exec(20, became, &["sleep", "9"], &[])
        .exec(4990, child.clone(), &["pkill", "work"], &[&shell])
        .ended_by(child, victim);
    let words = "ran \"pkill work\", part of \"bash -c '(sleep 1; pkill work) & exec sleep 9'\"";
    assert!(death.cause.explanation.contains(words), "{death:#?}");
}

/// A program that gives itself a name and a title was still run as it was.
#[test]
fn a_title_is_not_what_was_run() {
    let victim = task_in(500, "work", "/");
    let told = |comm: &str, args: &[&str], name: &str, title: &[&str]| {
        let shell = task_in(60, "bash", "/");
        let killer = task_in(90, comm, "/");
        let blow = SignalSent {
            sender_args: title.iter().map(|arg| (*arg).to_owned()).collect(),
            ..signal(sig::SIGTERM, Task { comm: name.to_owned(), ..killer.clone() }, victim.clone())
        };
        let scene = Scene::watching(&victim).exec(10, shell.clone(), &["-bash"], &[]);
        let scene = scene.exec(20, killer, args, &[&shell]).signal(30, blow);
        let death = scene.exit(31, victim.clone(), u32::from(sig::SIGTERM), true).death();
        (death.cause.id, death.cause.explanation)
    };
    let (id, words) = told(
        "perl",
        &["perl", "-e", "kill 15, shift", "500"],
        "innocent",
        &["innocent --serve", "    "],
    );
    assert_eq!(id, CauseId::UserCommand);
    assert!(words.contains("ran \"perl -e 'kill 15, shift' 500\" from bash[60]"), "{words}");
    let (_, words) = told("perl", &["perl", "-e", "kill 15, shift", "500"], "bash", &["bash"]);
    assert!(words.contains("ran \"perl -e 'kill 15, shift' 500\" from bash[60]"), "{words}");
    let (_, words) =
        told("fuser", &["fuser", "-k", "80/tcp"], "fuser", &["fuser", "-k", "80", "tcp"]);
    assert!(words.contains("ran \"fuser -k 80/tcp\""), "{words}");
}

/// What a script ran last is what acted: it may have been at work for long before.
#[test]
fn the_link_of_a_command_has_the_time_of_what_acted() {
    let victim = task_in(500, "work", "/");
    let (script, pkill) = (root(task_in(70, "bash", "/")), root(task_in(90, "pkill", "/")));
    let shell = root(task_in(60, "bash", "/"));
    let death = Scene::watching(&victim)
        .exec(1, shell.clone(), &["-bash"], &[])
        .exec(10, script.clone(), &["bash", "x.sh"], &[&shell])
        .exec(4000, pkill.clone(), &["pkill", "work"], &[&script, &shell])
        .ended_by(pkill, victim);
    let link = death.chain.iter().find(|link| link.text.contains("which ran")).expect("a link");
    assert_eq!(link.at.boot_ns, at(4000).boot_ns);
}

/// sudo(8) has a child with its own words that waits for the command.
#[test]
fn no_command_is_part_of_itself() {
    let (outer, inner) = (root(task_in(70, "sudo", "/")), root(task_in(90, "sudo", "/")));
    let shell: (Task, &[&str]) = (task_in(60, "bash", "/"), &["-bash"]);
    let told = killed_by(&inner, &["sudo", "-i"], &[(outer, &["sudo", "-i"]), shell]);
    assert!(told.contains("\"sudo -i\"") && !told.contains("part of"), "{told}");
}

/// A signal that came between fork(2) and execve(2).
#[test]
fn the_victim_has_one_name() {
    let (young, pkill) = (task_in(500, "bash", "/"), task_in(90, "pkill", "/"));
    let victim = Task { comm: "work".to_owned(), ..young.clone() };
    let death = Scene::watching(&young)
        .signal(30, signal(sig::SIGTERM, pkill, young))
        .exec(31, victim.clone(), &["work"], &[])
        .exit(32, victim, u32::from(sig::SIGTERM), true)
        .death();
    assert!(
        death.chain.iter().any(|link| link.text.contains("SIGTERM to work[500]")),
        "{death:#?}"
    );
    assert!(!death.cause.explanation.contains("bash[500]"), "{death:#?}");
}

/// A service that OpenRC, or a script of System V, stops is named, and how it is started again.
#[test]
fn a_service_that_its_init_script_stops_is_told_with_its_remedy() {
    let told = |script: Task, words: &[&str]| {
        let victim = root(task_in(500, "napper", "/"));
        let killer = root(task_in(90, "start-stop-daem", "/"));
        let shell = root(task_in(60, "bash", "/"));
        let death = Scene::watching(&victim)
            .exec(1, shell.clone(), &["-bash"], &[])
            .exec(10, script.clone(), words, &[&shell])
            .exec(4990, killer.clone(), &["start-stop-daemon", "--stop"], &[&script, &shell])
            .ended_by(killer, victim);
        assert_eq!(death.cause.id, CauseId::UserCommand);
        let is_concluded = death.cause.explanation.contains(" So ");
        assert_eq!(death.cause.evidence == Grade::Inferred, is_concluded, "{death:#?}");
        let commands = death.fixes.iter().flat_map(|fix| fix.commands.clone()).collect::<Vec<_>>();
        (death.cause.explanation, commands.join("\n"))
    };
    let script = || root(task_in(70, "openrc-run.sh", "/"));
    let openrc = ["/bin/sh", "/lib/rc/sh/openrc-run.sh", "/etc/init.d/napper", "stop"];
    let (words, commands) = told(script(), &openrc);
    assert!(words.contains("So OpenRC stops its service napper."), "{words}");
    assert!(commands.contains("sudo rc-service napper start"), "{commands}");
    let (words, commands) = told(script(), &["/bin/sh", "/etc/init.d/napper", "stop"]);
    assert!(words.contains("So the init script of napper stops it."), "{words}");
    assert!(commands.contains("sudo service napper start"), "{commands}");
    let (words, _) = told(script(), &["/bin/sh", "-e", "/etc/init.d/napper", "stop"]);
    assert!(words.contains("So the init script of napper stops it."), "{words}");
    // Somebody who looks at the script, and a word of another's.
    for other in [
        ["vim", "/etc/init.d/napper", "stop"].as_slice(),
        &["bash", "-c", "while :; do sleep 1; done", "/etc/init.d/napper", "stop"],
        &["bash", "work.sh", "/etc/init.d/napper", "stop"],
    ] {
        let (words, commands) = told(script(), other);
        assert!(!words.contains("So the init script"), "{words}");
        assert!(!commands.contains("sudo service"), "{commands}");
    }
    // It starts the service itself; a name for a shell; somebody else who calls himself so.
    let theirs = task_in(70, "openrc-run.sh", "/");
    for (script, words) in [
        (script(), ["/bin/sh", "/lib/rc/sh/openrc-run.sh", "/etc/init.d/napper", "restart"]),
        (script(), ["/bin/sh", "/lib/rc/sh/openrc-run.sh", "/etc/init.d/$(reboot)", "stop"]),
        (theirs, openrc),
    ] {
        let (words, commands) = told(script, &words);
        assert!(!words.contains("OpenRC") && !commands.contains("rc-service"), "{commands}");
    }
}

/// What is told of a kill by a process that had been there before tracing began: its name, its executable and its words.
fn killed_by_running(comm: &str, exe: &str, words: &[&str]) -> Death {
    let victim = task_in(500, "work", "/");
    let id = ProcessId { pid: 90, start_ns: at(10).boot_ns };
    let killer = Task { id, ..task_in(90, comm, "/") };
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let snapshot = ProcessSnapshot {
        pid: id.pid,
        start_ns: id.start_ns,
        comm: comm.to_owned(),
        exe: Some(exe.to_owned()),
        cmdline: words.clone(),
        uid: 1000,
        ..ProcessSnapshot::default()
    };
    let blow = signal(sig::SIGTERM, killer, victim.clone());
    Scene::watching(&victim)
        .add(20, Source::Proc, Fact::Process(Box::new(snapshot)))
        .signal(30, SignalSent { sender_args: words, ..blow })
        .exit(31, victim, u32::from(sig::SIGTERM), true)
        .death()
}

/// Where the execution was not seen, the words are the process's own: the kernel only knows which file it runs.
#[test]
fn a_title_that_names_another_program_is_told_as_its_own_word() {
    let python = "/usr/bin/python3.11";
    let death = killed_by_running("pkill", python, &["/usr/bin/pkill", "work"]);
    let words = "alice ran \"/usr/bin/python3.11\" (which calls itself \"/usr/bin/pkill work\")";
    assert!(death.cause.explanation.contains(words), "{death:#?}");
    let link = death.chain.iter().find(|link| link.text.contains(words)).expect("a link");
    assert_eq!(link.evidence, Grade::Reported);
    let death = killed_by_running("innocent", python, &["[kworker/0:1]"]);
    let words =
        "the program \"/usr/bin/python3.11\" (which calls itself \"[kworker/0:1]\") of alice";
    assert!(death.cause.explanation.contains(words), "{death:#?}");
}

#[test]
fn a_link_to_a_program_and_a_script_have_names_of_their_own() {
    for (comm, exe, words) in [
        ("sh", "/usr/bin/dash", ["sh", "-c"].as_slice()),
        ("bash", "/usr/bin/bash", &["-bash"]),
        ("vi", "/usr/bin/vim.basic (deleted)", &["/usr/bin/vi", "x"]),
        ("stop.py", "/usr/bin/python3.11", &["/usr/bin/python3", "/opt/stop.py"]),
        ("stop.sh", "/opt/stop.sh", &["/bin/sh", "-e", "/opt/stop.sh"]),
        ("httpd", "/bin/busybox", &["httpd", "-f"]),
        ("screen", "/usr/bin/screen", &["SCREEN", "-S", "x"]),
        ("nginx", "/usr/sbin/nginx", &["nginx: worker process"]),
        ("my prog", "/opt/a b/my prog", &["/opt/a b/my prog"]),
    ] {
        let death = killed_by_running(comm, exe, words);
        assert!(!death.cause.explanation.contains("calls itself"), "{death:#?}");
    }
}

/// As a container's entrypoint does: what root's shell did is root's, whoever it has become since.
#[test]
fn who_becomes_another_user_did_it_as_who_it_was() {
    let victim = task_in(142, "v", "/user.slice/user-1000.slice/session-3.scope");
    let shell = Task { uid: 0, euid: 0, ..task(90, "bash") };
    let nobody = Task { uid: 65_534, euid: 65_534, comm: "sleep".to_owned(), ..shell.clone() };
    let death = Scene::watching(&victim)
        .user(0, "root")
        .user(65_534, "nobody")
        .exec(1000, shell.clone(), &["bash", "-c", "kill -9 142; exec setpriv sleep 9"], &[])
        .signal(1500, signal(sig::SIGKILL, shell, victim.clone()))
        .exec(1501, nobody, &["sleep", "9"], &[])
        .exit(1502, victim, 9, true)
        .death();
    let text = &death.cause.explanation;
    assert!(text.contains("root") && !text.contains("nobody"), "{text}");
    let told: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(!told.concat().contains("nobody"), "{told:#?}");
}

/// A script that runs `kill` itself, by system(3) with a list of words: no shell is between the two.
#[test]
fn a_script_of_another_language_is_told_with_what_it_ran() {
    let victim = task(42, "sleep");
    let (outer, perl) = (root(task(70, "outer.sh")), root(task(71, "sk.pl")));
    let kill = root(task(80, "kill"));
    let told = |above: &[&Task]| {
        let scene = Scene::watching(&victim)
            .exec(1, outer.clone(), &["/bin/bash", "./outer.sh"], &[])
            .exec(2, perl.clone(), &["/usr/bin/perl", "./sk.pl", "42"], above)
            .exec(4, kill.clone(), &["kill", "42"], &[&[&perl], above].concat());
        let scene = scene.signal(6, signal(sig::SIGTERM, kill.clone(), victim.clone()));
        scene.exit(7, victim.clone(), 15, true).death().cause.explanation
    };
    let text = told(&[&outer]);
    let words = "ran \"kill 42\", part of \"/usr/bin/perl ./sk.pl 42\", which is part of \"/bin/bash ./outer.sh\"";
    assert!(text.contains(words), "{text}");
    // In the background, with nobody above.
    let text = told(&[]);
    assert!(text.contains("ran \"kill 42\", part of \"/usr/bin/perl ./sk.pl 42\""), "{text}");
}
