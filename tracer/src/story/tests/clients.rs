//! Which of several commands can have made a server end somebody, and which cannot.

use super::scene::{Scene, caught, root, signal, task};
use crate::evidence::{
    Ancestor, Disposition, Fact, Grade, ProcessId, ProcessSnapshot, SignalInfo, SignalSent, Source,
    Syscall, TargetReason, Task, sig,
};
use crate::story::verdict::{CauseId, Death, LinkEvent};

/// A terminal's other end is closed by who holds it.
pub(super) fn hangup(holder: &Task, victim: &Task) -> SignalSent {
    let parent = Ancestor { id: task(30, "init").id, comm: "init".to_owned(), uid: 0 };
    SignalSent {
        stack: ["__tty_hangup", "tty_vhangup", "pty_close", "tty_release"]
            .map(str::to_owned)
            .to_vec(),
        info: SignalInfo::Privileged,
        syscall: None,
        ancestors: [parent].into(),
        ..signal(sig::SIGHUP, holder.clone(), victim.clone())
    }
}

pub(super) fn server() -> Task {
    task(50, "tmux: server")
}

/// What `/proc` says of a process that a server has started.
pub(super) fn looked_at(
    task: &Task,
    cmdline: &[&str],
    environment: &[(&str, &str)],
    parents: &[&Task],
) -> Fact {
    Fact::Process(Box::new(ProcessSnapshot {
        pid: task.id.pid,
        start_ns: task.id.start_ns,
        comm: task.comm.clone(),
        exe: Some(format!("/usr/bin/{}", task.comm)),
        cmdline: cmdline.iter().map(|word| (*word).to_owned()).collect(),
        uid: task.uid,
        environment: environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        parents: parents.iter().map(|parent| parent.id).collect(),
        ..ProcessSnapshot::default()
    }))
}

/// A pane of a server started with these words, which hangs up 4 ms after that client was run.
fn pane(server_words: &[&str], client: &Task, words: &[&str], above: &[&Task]) -> Death {
    let victim = task(42, "vim");
    Scene::default()
        .user(1000, "alice")
        .user(0, "root")
        .add(0, Source::Proc, looked_at(&server(), server_words, &[], &[]))
        .add(0, Source::Proc, looked_at(&victim, &["vim"], &[("TMUX_PANE", "%3")], &[&server()]))
        .target(&victim, TargetReason::Pid)
        .exec(5, client.clone(), words, above)
        .signal(9, hangup(&server(), &victim))
        .exit(10, victim, 1, true)
        .death()
}

pub(super) fn names(death: &Death, words: &str) -> bool {
    death.cause.explanation.contains(words)
}

#[test]
fn a_command_is_told_of_the_server_that_it_meant_alone() {
    let (client, shell) = (task(81, "tmux"), task(70, "bash"));
    let root = Task { uid: 0, euid: 0, ..task(81, "tmux") };
    let told = |server: &[&str], client: &Task, words: &[&str]| {
        let death = pane(server, client, &[&["tmux"], words].concat(), &[&shell]);
        assert_eq!(death.cause.id, CauseId::TerminalClosed);
        names(&death, "seems to be what made tmux: server[50] do it")
    };
    let named: &[&str] = &["tmux", "-L", "tA", "new", "-d"];
    let default: &[&str] = &["tmux", "new", "-d"];
    assert!(told(named, &client, &["-L", "tA", "kill-server"]));
    assert!(told(named, &client, &["-2LtA", "kill-server"]));
    assert!(told(named, &root, &["-S", "/tmp/tmux-1000/tA", "kill-server"]));
    assert!(told(default, &client, &["kill-server"]));
    assert!(told(default, &client, &["-L", "default", "kill-server"]));
    assert!(told(&["tmux", "-S", "/run/x"], &client, &["-S", "/run/x", "kill-server"]));
    assert!(told(&["tmux", "-S", "/run/x"], &client, &["-S", "x", "kill-server"]));

    assert!(!told(named, &client, &["-L", "tB", "kill-server"]));
    assert!(!told(named, &client, &["-LtB", "kill-server"]));
    assert!(!told(named, &client, &["kill-server"]));
    assert!(!told(named, &root, &["-L", "tA", "kill-server"]));
    assert!(!told(default, &client, &["-L", "tA", "kill-server"]));
    assert!(!told(default, &root, &["kill-server"]));
    assert!(!told(&["tmux", "-S", "/run/x"], &client, &["-S", "/run/y", "kill-server"]));
    // What it has a window run is no command to it.
    assert!(!told(default, &client, &["new", "-d", "killall", "vim"]));
}

#[test]
fn a_client_in_a_pane_means_the_server_of_that_pane() {
    let (client, shell) = (task(81, "tmux"), task(70, "bash"));
    let other = task(51, "tmux: server");
    let words: &[&str] = &["tmux", "kill-session", "-t", "main"];
    let made: &[&str] = &["tmux", "-L", "tA", "new", "-d"];
    assert!(names(&pane(made, &client, words, &[&shell, &server()]), "kill-session"));
    assert!(!names(&pane(made, &client, words, &[&shell, &other]), "kill-session"));
    // Root's own server is meant by what sudo runs.
    let root = Task { uid: 0, euid: 0, ..client };
    assert!(!names(&pane(made, &root, words, &[&shell, &server()]), "kill-session"));
}

#[test]
fn a_command_is_told_of_the_pane_or_session_that_it_meant_alone() {
    let (client, shell) = (task(81, "tmux"), task(70, "bash"));
    let told = |words: &[&str]| {
        let death = pane(&["tmux", "new"], &client, &[&["tmux"], words].concat(), &[&shell]);
        names(&death, "seems to be")
    };
    assert!(told(&["kill-pane", "-t", "%3"]));
    assert!(!told(&["kill-pane", "-t", "%4"]));
    assert!(told(&["kill-pane", "-a", "-t", "%4"]));
    assert!(told(&["kill-session", "-t", "any"]));

    // The session's name is known from the command that made it.
    let made = Task { id: server().id, ..task(50, "tmux: server") };
    let victim = Task {
        id: ProcessId { pid: 42, start_ns: made.id.start_ns + 5_000_000 },
        ..task(42, "vim")
    };
    let told = |target: &str| {
        let death = Scene::default()
            .add(0, Source::Proc, looked_at(&made, &["tmux", "new", "-d", "-s", "alpha"], &[], &[]))
            .add(0, Source::Proc, looked_at(&victim, &["vim"], &[], &[&made]))
            .target(&victim, TargetReason::Pid)
            .exec(5, client.clone(), &["tmux", "kill-session", "-t", target], &[&shell])
            .signal(9, hangup(&made, &victim))
            .exit(10, victim.clone(), 1, true)
            .death();
        names(&death, "seems to be")
    };
    assert!(told("alpha") && told("al") && told("=alpha") && told("$0"));
    assert!(!told("b") && !told("=al"));
}

#[test]
fn that_a_command_led_to_an_act_is_a_conclusion() {
    let death = pane(
        &["tmux", "new"],
        &task(81, "tmux"),
        &["tmux", "kill-session", "-t", "main"],
        &[&task(70, "bash")],
    );
    let link = death.chain.iter().find(|link| link.event == LinkEvent::Command);
    assert_eq!(link.map(|link| link.evidence), Some(Grade::Inferred), "{:#?}", death.chain);
}

/// A client of tmux ends when the server has done what it asked for.
#[test]
fn a_client_that_had_its_answer_long_before_did_not_lead_to_it() {
    let (client, victim) = (task(81, "tmux"), task(42, "vim"));
    let play = |acted_ms: u64| {
        Scene::default()
            .target(&victim, TargetReason::Pid)
            .exec(5, client.clone(), &["tmux", "kill-session"], &[&task(70, "bash")])
            .exit(9, client.clone(), 0, false)
            .signal(acted_ms, hangup(&server(), &victim))
            .exit(acted_ms + 1, victim.clone(), 1, true)
            .death()
    };
    assert!(names(&play(10), "kill-session"));
    assert!(!names(&play(1_010), "kill-session"));
}

/// `tmux kill-session -t none`, `supervisorctl` without a password: it says by its status that nothing came of it.
#[test]
fn a_client_that_had_failed_did_not_lead_to_it() {
    let (client, victim) = (task(81, "tmux"), task(42, "vim"));
    let play = |status: u32, ended_ms: u64| {
        let scene = Scene::default().target(&victim, TargetReason::Pid).exec(
            5,
            client.clone(),
            &["tmux", "kill-session"],
            &[&task(70, "bash")],
        );
        let act = |scene: Scene| scene.signal(10, hangup(&server(), &victim));
        let end = |scene: Scene| scene.exit(ended_ms, client.clone(), status << 8, false);
        let scene = if ended_ms < 10 { act(end(scene)) } else { end(act(scene)) };
        scene.exit(20, victim.clone(), 1, true).death()
    };
    assert!(names(&play(0, 9), "kill-session"));
    assert!(!names(&play(1, 9), "kill-session"));
    // What it says later is of something else: that it took too long, say.
    assert!(names(&play(1, 15), "kill-session"));
}

#[test]
fn who_ended_the_server_is_told_rather_than_an_earlier_command() {
    let (client, victim, shell) = (task(81, "tmux"), task(42, "vim"), task(70, "bash"));
    let killer = task(90, "kill");
    let play = |number: u8| {
        let to_server = if number == sig::SIGKILL { signal } else { caught };
        let holder = Task { exiting: number == sig::SIGKILL, ..server() };
        let scene = Scene::default()
            .user(1000, "alice")
            .target(&victim, TargetReason::Pid)
            .exec(5, client.clone(), &["tmux", "kill-session", "-t", "b"], &[&shell])
            .exec(100, killer.clone(), &["kill", "50"], &[&shell])
            .signal(101, to_server(number, killer.clone(), server()));
        let scene = if holder.exiting {
            scene.exit(102, server(), u32::from(number), false)
        } else {
            scene
        };
        scene.signal(103, hangup(&holder, &victim)).exit(104, victim.clone(), 1, true).death()
    };
    let asked = play(sig::SIGTERM);
    assert!(names(&asked, "tmux: server[50] had itself got SIGTERM 2 ms before"), "{asked:#?}");
    assert!(names(&asked, "alice ran \"kill 50\" from bash[70]"), "{asked:#?}");
    let killed = play(sig::SIGKILL);
    assert!(names(&killed, "to which kill[90] had sent SIGKILL"), "{killed:#?}");
    for death in [asked, killed] {
        assert!(!names(&death, "kill-session"), "{death:#?}");
        let links = death.chain.iter().map(|link| link.text.as_str());
        assert!(!links.clone().any(|text| text.contains("kill-session")), "{death:#?}");
    }
}

/// supervisord gives its programs their names.
#[test]
fn of_two_commands_the_one_for_this_program_is_told() {
    let supervisor = task(50, "supervisord");
    let (victim, shell) = (task(42, "sleep"), task(70, "bash"));
    let play = |environment: &[(&str, &str)]| {
        let mut scene = Scene::default()
            .add(0, Source::Proc, looked_at(&victim, &["sleep", "9"], environment, &[&supervisor]))
            .target(&victim, TargetReason::Pid);
        for (pid, words) in [(81, ["stop", "x"]), (82, ["restart", "y"])] {
            let client = task(pid, "supervisorctl");
            let args = ["python3", "/usr/bin/supervisorctl", words[0], words[1]];
            scene = scene.exec(u64::from(pid) - 76, client, &args, &[&shell]);
        }
        let death = scene
            .signal(9, signal(sig::SIGTERM, supervisor.clone(), victim.clone()))
            .exit(10, victim.clone(), 15, true)
            .death();
        assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
        assert_eq!(death.cause.evidence, Grade::Inferred);
        (names(&death, "supervisorctl stop x"), names(&death, "supervisorctl restart y"))
    };
    assert_eq!(play(&[("SUPERVISOR_PROCESS_NAME", "x")]), (true, false));
    assert_eq!(play(&[("SUPERVISOR_PROCESS_NAME", "y")]), (false, true));
    // Whose name is not known can have been meant by either.
    assert_eq!(play(&[]), (true, true));
}

#[test]
fn a_job_that_was_not_named_was_not_cancelled() {
    let cgroup = "/system.slice/slurmstepd.scope/job_17/step_0";
    let step = Task { uid: 0, ..task(50, "slurmstepd") };
    let victim = super::scene::task_in(42, "sleep", cgroup);
    let told = |args: &[&str]| {
        let death = Scene::default()
            .target(&victim, TargetReason::Pid)
            .exec(5, task(81, "scancel"), &[&["scancel"], args].concat(), &[&task(70, "bash")])
            .signal(9, signal(sig::SIGTERM, step.clone(), victim.clone()))
            .exit(10, victim.clone(), 15, true)
            .death();
        names(&death, "scancel")
    };
    assert!(told(&["17"]) && told(&["-s", "9", "17.0"]) && told(&["-u", "alice"]));
    assert!(!told(&["18"]));
}

/// What happened to a program in a terminal's window before the terminal emulator let go of it.
fn in_window(emulator: &str, before: impl FnOnce(Scene) -> Scene) -> Death {
    let (holder, victim) = (task(50, emulator), task(42, "vim"));
    let scene = before(Scene::default().user(1000, "alice").target(&victim, TargetReason::Pid));
    scene.signal(300, hangup(&holder, &victim)).exit(301, victim, 1, true).death()
}

#[test]
fn a_command_that_closes_a_window_is_told_of() {
    let closes = |emulator: &str, words: &[&str]| {
        in_window(emulator, |scene| scene.exec(290, task(81, words[0]), words, &[]))
    };
    let death = closes("xterm", &["xkill", "-id", "0x40000c"]);
    assert!(names(&death, "alice ran \"xkill -id 0x40000c\""), "{death:#?}");
    assert!(names(&death, "which seems to be what made xterm[50] do it"), "{death:#?}");
    assert!(names(&closes("kitty", &["wmctrl", "-ic", "0x4"]), "wmctrl"));
    assert!(!names(&closes("kitty", &["wmctrl", "-l"]), "wmctrl"));
    assert!(!names(&closes("expect", &["xkill", "-id", "0x40000c"]), "xkill"));
}

#[test]
fn the_end_of_the_x_server_is_told_of() {
    let server = task(60, "Xvfb");
    let ended = |emulator: &str, ms: u64| {
        in_window(emulator, |scene| {
            let blow = signal(sig::SIGTERM, task(90, "kill"), server.clone());
            scene.signal(ms - 1, blow).exit(ms, server.clone(), u32::from(sig::SIGTERM), false)
        })
    };
    let death = ended("xterm", 290);
    let said = "About then, what may have shown its window ended: Xvfb[60] was killed by SIGTERM";
    assert!(names(&death, said), "{death:#?}");
    assert!(death.chain.iter().any(|link| link.text.contains("Xvfb[60]")), "{death:#?}");
    assert!(!names(&ended("xterm", 20), "Xvfb"));
    assert!(!names(&ended("script", 290), "Xvfb"));
}

/// apache2 that is asked to stop tells its whole group to end.
#[test]
fn apache_that_ends_its_group_had_been_asked_to_by_the_same_configuration() {
    let told = |configuration: &str| {
        let [server, client] = [50, 60].map(|pid| root(task(pid, "apache2")));
        let asks = ["apache2", "-f", configuration, "-k", "graceful-stop"];
        let group = u64::from(50_u32.wrapping_neg());
        let blow = SignalSent {
            syscall: Some(Syscall { name: "kill".to_owned(), args: [group, 15, 0] }),
            ..caught(sig::SIGTERM, server.clone(), server.clone())
        };
        Scene::watching(&server)
            .exec(1, server.clone(), &["apache2", "-f", "/w/ap.conf", "-k", "start"], &[])
            .exec(1000, client, &asks, &[])
            .signal(2000, blow)
            .exit(2016, server, 0, true)
            .death()
            .cause
            .explanation
    };
    let itself = "apache2[50] sent SIGTERM to its own whole process group, and so to itself and to what it had started there (kill -- -50).";
    let asked = "1 s before that, root ran \"apache2 -f /w/ap.conf -k graceful-stop\", which seems to be what made";
    let words = told("/w/ap.conf");
    assert!(words.contains(itself) && words.contains(asked), "{words}");
    let words = told("/w/other.conf");
    assert!(words.contains(itself) && !words.contains("graceful-stop"), "{words}");
}

/// What is run to have a daemon end is somebody's command, as kill(1) is.
#[test]
fn a_daemons_own_command_to_stop_is_a_command() {
    for (comm, words, is_command) in [
        ("nginx", ["nginx", "-s", "quit"], true),
        ("pg_ctl", ["pg_ctl", "stop", "-D"], true),
        ("uwsgi", ["uwsgi", "--stop", "x.pid"], true),
        ("flatpak", ["flatpak", "kill", "org.x.App"], true),
        ("flatpak", ["flatpak", "run", "org.x.App"], false),
        ("nginx", ["nginx", "-g", "quit"], false),
        ("uvicorn", ["uvicorn", "--reload", "x"], false),
    ] {
        let (victim, client) = (root(task(42, "server")), root(task(60, comm)));
        let scene = Scene::watching(&victim).exec(4990, client.clone(), &words, &[]);
        let death = scene.ended_by(client, victim);
        assert_eq!(death.cause.id == CauseId::UserCommand, is_command, "{death:#?}");
        assert!(death.cause.explanation.contains(&words.join(" ")), "{death:#?}");
    }
}

/// `trap 'kill 0' EXIT` in a script: what is said of the shell itself, and of what it had started.
#[test]
fn a_script_that_signals_its_own_group() {
    let (shell, child) = (task(50, "bash"), task(51, "sleep"));
    let blow = |target: &Task| SignalSent {
        syscall: Some(Syscall { name: "kill".to_owned(), args: [0, 15, 0] }),
        ..signal(sig::SIGTERM, shell.clone(), target.clone())
    };
    let death = |victim: &Task, own: bool| {
        let scene = Scene::watching(victim).exec(1, shell.clone(), &["bash", "job.sh"], &[]);
        let scene =
            if own { scene } else { scene.exec(2, child.clone(), &["sleep", "9"], &[&shell]) };
        scene.signal(2000, blow(victim)).exit(2001, victim.clone(), 15, true).death()
    };
    let itself = death(&shell, true);
    let words = "bash[50] sent SIGTERM to its own whole process group, and so to itself and to what it had started there \
                 (kill 0), as scripts often do in a trap on EXIT.";
    assert!(itself.cause.explanation.contains(words), "{itself:#?}");
    assert_eq!(itself.fixes[0].title, "have the script end only what it has started");
    // bash has a handler there, and ends itself after that.
    let caught_first =
        SignalSent { disposition: Some(Disposition::Handler), fatal: false, ..blow(&shell) };
    let reraised = Scene::watching(&shell)
        .exec(1, shell.clone(), &["bash", "job.sh"], &[])
        .signal(2000, caught_first)
        .signal(2001, signal(sig::SIGTERM, shell.clone(), shell.clone()))
        .exit(2002, shell.clone(), 15, true)
        .death();
    assert!(reraised.cause.explanation.contains(words), "{reraised:#?}");
    let other = death(&child, false);
    let words = "It went to the sender's whole process group (kill 0, which scripts often have in a trap on EXIT).";
    assert!(other.cause.explanation.contains(words), "{other:#?}");
    assert_eq!(other.killer.process.as_ref().map(|it| it.pid), Some(50), "{other:#?}");
}
