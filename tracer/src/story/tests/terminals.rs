//! Terminals that hang up, and why.

use super::scene::{Scene, at, caught, signal, task, task_in, with_connection};
use crate::evidence::{
    Ancestor, Fact, JournalLine, ProcessId, ProcessSnapshot, SignalInfo, SignalSent, Source,
    Syscall, TargetReason, Task, TcpChange, TcpState, sig,
};
use crate::story::verdict::{CauseId, Death};

pub(super) const PEER: &str = "203.0.113.5:51276 had closed the ssh connection";
/// `SSH_CONNECTION` of a login over the connection that a [`Scene`] has the peer close.
pub(super) const OF_PEER: &str = "203.0.113.5 51276 10.0.0.1 22";
const OF_ANOTHER: &str = "203.0.113.9 40000 10.0.0.1 22";

/// A program that runs in an ssh login.
pub(super) fn victim() -> Task {
    task(42, "make")
}

/// The kernel tells whoever is on the terminal that a process has let go of, whose parent is this one.
pub(super) fn hangup(holder: &Task, parent: &Task) -> SignalSent {
    let stack = ["__tty_hangup", "tty_vhangup", "tty_release"].map(str::to_owned).to_vec();
    let parent = Ancestor { id: parent.id, comm: parent.comm.clone(), uid: parent.uid };
    SignalSent {
        stack,
        info: SignalInfo::Privileged,
        syscall: None,
        ancestors: [parent].into(),
        ..signal(sig::SIGHUP, Task { exiting: true, ..holder.clone() }, victim())
    }
}

/// sshd's monitor, which lets a user in.
pub(super) fn monitor() -> Task {
    Task { uid: 0, euid: 0, ..task(29, "sshd") }
}

/// What is in the victim's environment and what happened before its terminal's other end, which this child of
/// that process held, was gone.
fn of(
    holder: &Task,
    parent: &Task,
    connection: &str,
    before: impl FnOnce(Scene) -> Scene,
) -> Death {
    let victim = victim();
    let snapshot = with_connection(&victim, connection);
    let scene = Scene::default().target(&victim, TargetReason::Pid);
    before(scene.add(0, Source::Proc, Fact::Process(Box::new(snapshot))))
        .exit(5, holder.clone(), 255 << 8, false)
        .signal(6, hangup(holder, parent))
        .exit(7, victim, 1, true)
        .death()
}

/// The peer closes its connection while somebody else runs.
pub(super) fn closes(scene: Scene) -> Scene {
    scene.tcp_closed_by_peer(4, task(99, "ksoftirqd/0"))
}

#[test]
fn the_end_of_the_ssh_connection_is_told() {
    let death = of(&task(30, "sshd"), &monitor(), OF_PEER, closes);
    assert_eq!(death.cause.id, CauseId::TerminalClosed, "{death:#?}");
    assert!(death.cause.explanation.contains(PEER), "{}", death.cause.explanation);
    let texts: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts[0].contains("closed the connection (FIN)"), "{texts:?}");
    let ends = texts.iter().filter(|text| text.contains("exited with 255"));
    assert_eq!(ends.count(), 1, "{texts:?}");
}

#[test]
fn a_connection_that_is_not_this_logins_is_not_told() {
    let death = of(&task(30, "sshd"), &monitor(), OF_ANOTHER, closes);
    let told = format!("{}{:?}", death.cause.explanation, death.chain);
    assert!(!told.contains("203.0.113.5"), "{told}");
}

/// A program can call itself sshd; nobody but root can have let the user in.
#[test]
fn who_only_calls_himself_sshd_is_not_believed() {
    for (holder, parent) in
        [("sshd", task(29, "sshd")), ("sshd", task(29, "bash")), ("screen", monitor())]
    {
        let death = of(&task(30, holder), &parent, OF_PEER, closes);
        assert_eq!(death.cause.id, CauseId::TerminalClosed, "{death:#?}");
        assert!(!death.cause.explanation.contains("connection"), "{}", death.cause.explanation);
    }
}

/// `ss -K` aborts it: by its error the kernel tells that from all that the network or sshd does.
#[test]
fn who_destroyed_the_ssh_connection_is_named() {
    let ss = Task { uid: 0, euid: 0, ..task(80, "ss") };
    let tcp = TcpChange {
        local: ([10, 0, 0, 1], 22).into(),
        remote: ([203, 0, 113, 5], 51276).into(),
        from: TcpState::Established,
        to: TcpState::Close,
        error: 103,
        task: ss.clone(),
    };
    let death = of(&task(30, "sshd"), &monitor(), OF_PEER, |scene| {
        let scene = scene.user(0, "root").exec(3, ss, &["ss", "-K", "dst", "203.0.113.5"], &[]);
        scene.add(4, Source::Kernel, Fact::Tcp(tcp))
    });
    let words = "51276 had been destroyed here: root ran \"ss -K dst 203.0.113.5\"";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
}

#[test]
fn what_sshd_did_itself_is_not_called_the_peers_doing() {
    let sshd = task(30, "sshd");
    let killed = of(&sshd, &monitor(), OF_PEER, |scene| {
        let blow = signal(sig::SIGTERM, task(80, "kill"), task(30, "sshd"));
        scene.signal(4, SignalSent { is_target: false, ..blow })
    });
    assert!(!killed.cause.explanation.contains("connection"), "{}", killed.cause.explanation);
}

#[test]
fn a_client_that_is_not_heard_from() {
    let line = JournalLine {
        message: "Timeout, client not responding from user alice 203.0.113.5 port 51276".to_owned(),
        pid: Some(30),
        ..JournalLine::default()
    };
    let death = of(&task(30, "sshd"), &monitor(), OF_PEER, |scene| {
        scene.add(4, Source::Journal, Fact::Journal(line))
    });
    assert!(death.cause.explanation.contains("ClientAliveInterval"), "{}", death.cause.explanation);
}

/// An interactive bash and its job, a group led by a child of it of which this is a grandchild.
pub(super) struct Jobs {
    pub(super) shell: Task,
    pub(super) leader: Task,
    pub(super) victim: Task,
    pub(super) shell_words: &'static [&'static str],
}

impl Jobs {
    pub(super) fn new(shell_words: &'static [&'static str]) -> Self {
        let [shell, leader, victim] =
            [(70, "bash"), (71, "sh"), (72, "sleep")].map(|(pid, comm)| task(pid, comm));
        Self { shell, leader, victim, shell_words }
    }

    pub(super) fn scene(&self) -> Scene {
        Scene::default()
            .target(&self.victim, TargetReason::Pid)
            .exec(1, self.shell.clone(), self.shell_words, &[])
            .exec(2, self.leader.clone(), &["sh", "-c", "sleep 9; true"], &[&self.shell])
            .exec(3, self.victim.clone(), &["sleep", "9"], &[&self.leader, &self.shell])
    }

    /// The shell's signal to the job's group.
    pub(super) fn to_group(&self, number: u8) -> SignalSent {
        let group = u64::from(71_u32.wrapping_neg());
        let syscall = Syscall { name: "kill".to_owned(), args: [group, 0, 0] };
        SignalSent {
            syscall: Some(syscall),
            ..signal(number, self.shell.clone(), self.victim.clone())
        }
    }

    /// What ended it, where the shell sent that signal at 10 ms and ended at that time.
    pub(super) fn cause(&self, scene: Scene, number: u8, shell_ends_ms: Option<u64>) -> Death {
        let scene = scene.signal(10, self.to_group(number));
        let scene = scene.exit(11, self.victim.clone(), u32::from(number), true);
        let scene = match shell_ends_ms {
            Some(ms) => scene.exit(ms, self.shell.clone(), 0, false),
            None => scene,
        };
        scene.settled(3_000, &self.victim).death()
    }
}

#[test]
fn all_of_a_job_is_hung_up_by_its_shell_that_ends() {
    let jobs = Jobs::new(&["bash", "-i"]);
    let ended = jobs.cause(jobs.scene(), sig::SIGHUP, Some(12));
    assert_eq!(ended.cause.id, CauseId::SessionLeaderExited, "{ended:#?}");
    assert_eq!(ended.cause.evidence, crate::evidence::Grade::Inferred);
    assert!(ended.cause.explanation.contains("was ending and hung up its jobs (it "), "{ended:#?}");
    assert_eq!(ended.fixes[0].title, "have the shell end without it");
    let to_shell = SignalSent { is_target: false, ..hangup(&task(30, "tmux: server"), &monitor()) };
    let by_handler = caught(sig::SIGHUP, to_shell.sender.clone(), jobs.shell.clone()).disposition;
    let to_shell = SignalSent {
        target: jobs.shell.clone(),
        disposition: by_handler,
        fatal: false,
        ..to_shell
    };
    let hung_up = jobs.cause(jobs.scene().signal(9, to_shell), sig::SIGHUP, None);
    assert!(hung_up.cause.explanation.contains("which hung up its jobs"), "{hung_up:#?}");
    assert_eq!(hung_up.fixes[0].title, "run it detached from the terminal");
    // It was in tmux already.
    assert!(hung_up.fixes[0].commands[0].starts_with("setsid -f "), "{hung_up:#?}");
}

#[test]
fn a_kill_that_was_typed_stays_one() {
    let jobs = Jobs::new(&["bash", "-i"]);
    for ends_ms in [None, Some(2_500)] {
        let death = jobs.cause(jobs.scene(), sig::SIGHUP, ends_ms);
        assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
    }
    // A running job is not ended by its shell's end.
    let death = jobs.cause(jobs.scene(), sig::SIGTERM, Some(12));
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
    // Scripts have no jobs to hang up.
    let script = Jobs::new(&["bash", "stop.sh"]);
    let death = script.cause(script.scene(), sig::SIGHUP, Some(12));
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
    // What the shell did not start is no job of its.
    let stranger = Scene::default().target(&jobs.victim, TargetReason::Pid);
    let stranger = stranger.exec(1, jobs.shell.clone(), &["bash", "-i"], &[]);
    let death = jobs.cause(stranger, sig::SIGHUP, Some(12));
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
}

/// bash sends SIGTERM to stopped jobs at its end.
#[test]
fn a_stopped_job_is_ended_by_its_shell_that_ends() {
    let jobs = Jobs::new(&["-bash"]);
    let stop = SignalSent { fatal: false, ..jobs.to_group(sig::SIGTSTP) };
    let stopped = jobs.cause(jobs.scene().signal(5, stop.clone()), sig::SIGTERM, Some(12));
    assert_eq!(stopped.cause.id, CauseId::SessionLeaderExited, "{stopped:#?}");
    assert!(stopped.cause.explanation.contains("ended its stopped jobs"), "{stopped:#?}");
    // The job can be gone before the shell, which had been hung up.
    let hangup = signal(sig::SIGHUP, task(1, "init"), jobs.shell.clone());
    let hung_up =
        jobs.scene().signal(5, stop.clone()).signal(8, SignalSent { is_target: false, ..hangup });
    let first = jobs.cause(hung_up, sig::SIGTERM, None);
    assert!(first.cause.explanation.contains("ended its stopped jobs"), "{first:#?}");
    let continued = SignalSent { fatal: false, ..jobs.to_group(sig::SIGCONT) };
    let running = jobs.scene().signal(5, stop).signal(6, continued);
    let death = jobs.cause(running, sig::SIGTERM, Some(12));
    assert_eq!(death.cause.id, CauseId::UserCommand, "{death:#?}");
}

/// systemd starts a unit on the victim's terminal, and hangs that up before.
fn taken_over(child: &Task, scene: Scene) -> Death {
    let victim = victim();
    let hangup = SignalSent {
        info: SignalInfo::Privileged,
        stack: ["__tty_hangup", "tty_ioctl"].map(str::to_owned).to_vec(),
        syscall: Some(Syscall { name: "ioctl".to_owned(), args: [3, 0x5437, 0] }),
        ..signal(sig::SIGHUP, child.clone(), victim.clone())
    };
    scene
        .user(0, "root")
        .target(&victim, TargetReason::Pid)
        .signal(100, hangup)
        .exit(101, victim, u32::from(sig::SIGHUP), true)
        .death()
}

#[test]
fn a_terminal_that_was_hung_up_was_not_closed() {
    let of_root = |task: Task| Task { uid: 0, euid: 0, ..task };
    let child = of_root(task_in(161, "(agetty)", "/system.slice/getty@tty1.service"));
    let systemctl = of_root(task(80, "systemctl"));
    let args = ["systemctl", "restart", "getty@tty1"];
    let unit = "getty@tty1.service";
    let file = "/usr/lib/systemd/system/getty@.service";
    let scene = || Scene::default().exec(90, systemctl.clone(), &args, &[]);
    let set = scene().setting(unit, "TTYVHangup", "yes", Some((file, 9)));
    let death = taken_over(&child, set);
    assert_eq!(death.cause.id, CauseId::TerminalClosed, "{death:#?}");
    let told = &death.cause.explanation;
    for words in [
        "(agetty)[161], which systemd[1] had started for getty@tty1.service, hung its terminal up with vhangup(2) \
         (TTYVHangup=yes, set in /usr/lib/systemd/system/getty@.service:9)",
        "root ran \"systemctl restart getty@tty1\" (inferred from its arguments",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(death.chain[0].text.contains("restart getty@tty1"), "{:?}", death.chain);

    // Without that setting, and of a program that anybody can have started.
    let told = taken_over(&child, scene()).cause.explanation;
    assert!(told.contains("for getty@tty1.service") && !told.contains("TTYVHangup"), "{told}");
    let told = taken_over(&task(161, "(agetty)"), scene()).cause.explanation;
    assert!(told.contains("(agetty)[161] hung its terminal up with vhangup(2)."), "{told}");
}

/// Processes of an ssh login, each the child of the one before: root's sshd, the user's, a shell and sudo, which runs a
/// shell at a terminal of its own, with the victim in it.
struct Sudo {
    line: Vec<Task>,
}

impl Sudo {
    fn new() -> Self {
        let of_root = |task: Task| Task { uid: 0, euid: 0, ..task };
        let sudo = |pid| Task { euid: 0, ..task(pid, "sudo") };
        let listener = of_root(task(20, "sshd"));
        let [sshd, shell] = [task(30, "sshd"), task(31, "bash")];
        let last = [of_root(task(34, "bash")), of_root(task(42, "make"))];
        let line = [listener, monitor(), sshd, shell, sudo(32), sudo(33)];
        Self { line: line.into_iter().chain(last).collect() }
    }

    fn of(&self, pid: u32) -> Task {
        self.line.iter().find(|task| task.id.pid == pid).expect("one of them").clone()
    }

    /// All of them, and the address that the shell and sudo name; then the shell's terminal, at 10 ms.
    fn scene(&self) -> Scene {
        let victim = self.of(42);
        let scene = Scene::default().user(0, "root").user(1000, "alice");
        let scene = scene.target(&victim, TargetReason::Pid);
        let words = |pid: u32| match pid {
            31 | 34 => vec!["-bash"],
            32 | 33 => vec!["sudo", "-i"],
            _ => vec!["it"],
        };
        let scene = (2..self.line.len()).fold(scene, |scene, at| {
            let above: Vec<&Task> = self.line[..at].iter().rev().collect();
            scene.exec(1, self.line[at].clone(), &words(self.line[at].id.pid), &above)
        });
        let scene = [31, 32].into_iter().fold(scene, |scene, pid| {
            let of = self.of(pid);
            let parents = self.line.iter().take_while(|task| task.id.pid != pid);
            let snapshot = ProcessSnapshot {
                pid,
                start_ns: of.id.start_ns,
                comm: of.comm,
                uid: of.uid,
                environment: [("SSH_CONNECTION".to_owned(), OF_PEER.to_owned())].into(),
                parents: parents
                    .map(|task| task.id)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect(),
                ..ProcessSnapshot::default()
            };
            scene.add(2, Source::Proc, Fact::Process(Box::new(snapshot)))
        });
        scene.signal(10, self.hang_up(29, 31, false))
    }

    /// The kernel's hangup of the terminal that one of them had let go of, as another is told.
    fn hang_up(&self, holder: u32, told: u32, ends: bool) -> SignalSent {
        let signal = hangup(&self.of(holder), &monitor());
        let sender = Task { exiting: ends, ..self.of(holder) };
        let stack = if ends {
            ["kill_pgrp", "disassociate_ctty", "do_exit"].map(str::to_owned).to_vec()
        } else {
            signal.stack
        };
        let is_target = told == 42;
        let disposition = (!is_target).then_some(crate::evidence::Disposition::Handler);
        let disposition = disposition.or(signal.disposition);
        let target = self.of(told);
        SignalSent { sender, stack, is_target, target, disposition, fatal: is_target, ..signal }
    }
}

const SUDO: &str = "alice ran \"sudo -i\"";

/// sudo sees the hangup of its terminal by itself, and passes it on though no signal had reached it.
#[test]
fn a_sudo_whose_own_terminal_hung_up_is_a_hop() {
    let sudo = Sudo::new();
    let died = |scene: Scene| {
        let victim = sudo.of(42);
        let blow = signal(sig::SIGHUP, sudo.of(32), victim.clone());
        scene.signal(12, blow).exit(13, victim, 1, true).death()
    };
    let death = died(closes(sudo.scene()));
    let told = &death.cause.explanation;
    assert_eq!(death.cause.id, CauseId::TerminalClosed, "{death:#?}");
    assert_eq!(death.cause.evidence, crate::evidence::Grade::Inferred);
    let hop = "sudo[32]'s own terminal had hung up 2 ms before: bash[31] got SIGHUP from the kernel (terminal hangup, through sshd[29])";
    for words in [&format!("which hung up what it ran after {PEER}"), hop] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains(SUDO), "{told}");
    assert!(death.chain[0].text.contains("closed the connection (FIN)"), "{:?}", death.chain);
    assert!(!death.chain.iter().any(|link| link.text.contains(SUDO)), "{:?}", death.chain);
    // Whoever killed sshd's process is told as well.
    let kill = Task { uid: 0, euid: 0, ..task(80, "pkill") };
    let blow = signal(sig::SIGTERM, kill.clone(), sudo.of(30));
    let scene = sudo.scene().exec(6, kill, &["pkill", "-u", "alice", "sshd"], &[]);
    let scene = scene.signal(7, SignalSent { is_target: false, ..blow });
    let death = died(scene.exit(8, sudo.of(30), 15, false));
    let told = &death.cause.explanation;
    let words = "after its sshd[30] was killed by SIGTERM: root ran \"pkill -u alice sshd\"";
    assert!(told.contains(words), "{told}");
    // One of the same name, which is not root's.
    let fake = Task { euid: 1000, ..sudo.of(32) };
    let blow = signal(sig::SIGHUP, fake, sudo.of(42));
    let scene = sudo.scene().signal(12, blow).exit(13, sudo.of(42), 1, true);
    assert_eq!(scene.death().cause.id, CauseId::ProcessSignal);
}

/// The shell in sudo hangs up no jobs of its own; and root had killed the sshd that held the terminal.
#[test]
fn a_session_in_sudo_ends_with_the_login() {
    let sudo = Sudo::new();
    let died = |scene: Scene| {
        let victim = sudo.of(42);
        scene
            .signal(11, sudo.hang_up(32, 33, false))
            .exit(12, sudo.of(33), 1 << 8, false)
            .signal(12, sudo.hang_up(33, 42, true))
            .exit(13, victim, 1, true)
            .death()
    };
    let death = died(closes(sudo.scene()));
    assert_eq!(death.cause.id, CauseId::SessionLeaderExited, "{death:#?}");
    let told = &death.cause.explanation;
    assert!(told.contains(&format!("ended after {PEER}, and the kernel told")), "{told}");
    assert!(told.contains("sudo[32]'s own terminal had hung up 1 ms before"), "{told}");
    let kill = Task { uid: 0, euid: 0, ..task(80, "kill") };
    let blow = signal(sig::SIGTERM, kill.clone(), monitor());
    let disposition = Some(crate::evidence::Disposition::Handler);
    let blow = SignalSent { is_target: false, fatal: false, disposition, ..blow };
    let scene = sudo.scene().exec(3, kill, &["kill", "29"], &[]).signal(4, blow);
    let death = died(scene);
    let words = "sshd[29] had itself got SIGTERM 6 ms before from kill[80]: root ran \"kill 29\"";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    assert!(death.chain[0].text.contains("root ran \"kill 29\""), "{:?}", death.chain);
}

/// A command of an ssh login without a terminal writes to its sshd, which is gone.
#[test]
fn a_broken_pipe_of_an_ssh_login_is_told_with_its_end() {
    let victim = victim();
    let sshd = task(30, "sshd");
    let play = |monitor: &Task, tty: Option<&str>| {
        let snapshot = ProcessSnapshot {
            pid: victim.id.pid,
            start_ns: victim.id.start_ns,
            comm: victim.comm.clone(),
            uid: victim.uid,
            tty: tty.map(str::to_owned),
            environment: [("SSH_CONNECTION".to_owned(), OF_PEER.to_owned())].into(),
            ..ProcessSnapshot::default()
        };
        let pipe = SignalSent {
            info: SignalInfo::None,
            syscall: Some(Syscall { name: "write".to_owned(), args: [0; 3] }),
            ..signal(sig::SIGPIPE, victim.clone(), victim.clone())
        };
        let scene = Scene::default()
            .target(&victim, TargetReason::Pid)
            .exec(1, sshd.clone(), &["sshd: alice@notty"], &[monitor])
            .exec(1, victim.clone(), &["make"], &[&sshd, monitor])
            .add(2, Source::Proc, Fact::Process(Box::new(snapshot)));
        let scene = closes(scene).exit(5, sshd.clone(), 255 << 8, false);
        scene.signal(200, pipe).exit(201, victim.clone(), 13, true).death()
    };
    let death = play(&monitor(), None);
    assert_eq!(death.cause.id, CauseId::BrokenPipe, "{death:#?}");
    let clause = format!("(perhaps its ssh login's: {PEER})");
    assert!(death.cause.explanation.contains(&clause), "{}", death.cause.explanation);
    assert_eq!(death.chain[0].evidence, crate::evidence::Grade::Inferred, "{death:#?}");
    assert!(death.fixes[0].commands[0].contains("nohup make"), "{death:#?}");
    // Who only calls himself sshd, and what is on a terminal.
    for death in [play(&task(29, "sshd"), None), play(&monitor(), Some("/dev/pts/0"))] {
        assert!(!death.cause.explanation.contains("perhaps"), "{}", death.cause.explanation);
    }
}

/// The child of sshd that let the user in had ended before the login had begun.
#[test]
fn the_sshd_that_let_the_user_in_is_no_part_of_the_end() {
    let (before_login, shell) = (task(31, "sshd"), task(35, "bash"));
    let mut victim = victim();
    victim.id.start_ns = at(3).boot_ns;
    let shell = Task { id: ProcessId { start_ns: at(3).boot_ns, ..shell.id }, ..shell };
    let parents = vec![shell.id, monitor().id];
    let snapshot = ProcessSnapshot { parents, ..with_connection(&victim, OF_PEER) };
    let snapshot = ProcessSnapshot { start_ns: victim.id.start_ns, ..snapshot };
    let blow = SignalSent {
        sender: monitor(),
        target: victim.clone(),
        ..hangup(&monitor(), &task(20, "sshd"))
    };
    let listed = |ms: u64| {
        let scene = Scene::watching(&victim)
            .exec(1, before_login.clone(), &["sshd: alice [net]"], &[&monitor()])
            .exit(ms, before_login.clone(), 0, false)
            .exec(4, shell.clone(), &["-bash"], &[&monitor()])
            .add(5, Source::Proc, Fact::Process(Box::new(snapshot.clone())));
        let death = scene.signal(50, blow.clone()).exit(51, victim.clone(), 1, true).death();
        death.chain.iter().any(|link| link.text.contains("sshd[31]"))
    };
    assert!(!listed(2), "it had ended before");
    assert!(listed(40));
}
