//! What ended a login whose processes logind then ended: its shell, or the connection.

use super::scene::{Scene, caught, signal, systemd, task_in};
use crate::evidence::{
    BusPeer, Fact, ProcessId, ProcessSnapshot, SignalInfo, SignalSent, Source, TargetReason, Task,
    TcpChange, TcpState, sig,
};
use crate::story::verdict::{CauseId, Death};

const SCOPE: &str = "/user.slice/user-1000.slice/session-3.scope";
const CLIENT: &str = "203.0.113.5:51276 had closed the ssh connection";

fn root(task: Task) -> Task {
    Task { uid: 0, euid: 0, ..task }
}

fn sshd() -> Task {
    task_in(2033, "sshd", SCOPE)
}

fn shell() -> Task {
    task_in(2034, "bash", SCOPE)
}

/// A login by ssh ends by the FIN of its client at 5.1 s, after, or before, what happens to its shell.
fn login(what: impl FnOnce(Scene) -> Scene) -> Death {
    let monitor = root(task_in(2027, "sshd", SCOPE));
    let victim = task_in(2041, "victim", SCOPE);
    let logind = BusPeer {
        process: Some(ProcessId { pid: 640, start_ns: 6_400_000_000 }),
        uid: Some(0),
        comm: Some("systemd-logind".to_owned()),
        well_known: Some("org.freedesktop.login1".to_owned()),
        ..BusPeer::default()
    };
    let scene = Scene::watching(&victim)
        .target(&victim, TargetReason::Running)
        .session("3", 2027)
        .setting("logind.conf", "KillUserProcesses", "yes", None)
        .exec(1, sshd(), &["sshd: alice@pts/0"], &[&monitor])
        .exec(2, shell(), &["-bash"], &[&sshd(), &monitor]);
    what(scene)
        .tcp_closed_by_peer(5100, task_in(0, "swapper", "/"))
        .exit(5102, sshd(), 255 << 8, false)
        .exit(5103, monitor, 255 << 8, false)
        .call(5104, logind, "StopUnit", &["session-3.scope", "fail"])
        .job(5105, 700, "stop", "session-3.scope")
        .signal(5106, signal(sig::SIGTERM, systemd(), victim.clone()))
        .exit(5107, victim, u32::from(sig::SIGTERM), true)
        .death()
}

fn says(death: &Death, words: &str) {
    assert_eq!(death.cause.id, CauseId::LogindKillUserProcesses, "{death:#?}");
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
}

#[test]
fn a_shell_that_ended_first_is_why_the_client_left() {
    let death = login(|scene| scene.exit(5095, shell(), 1 << 8, false));
    says(
        &death,
        "alice's login had ended (its shell bash[2034] exited with 1; then 203.0.113.5:51276 closed the ssh",
    );
    let texts: Vec<_> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert_eq!(texts[0], "bash[2034] \"-bash\" exited with 1", "{texts:?}");
    assert!(texts[1].contains("closed the connection (FIN)"), "{texts:?}");
}

/// `TMOUT` ended it: what dies with its login is told of that, too.
#[test]
fn a_shell_that_got_no_input_is_why_the_client_left() {
    let death = login(|scene| {
        let alarm = SignalSent {
            info: SignalInfo::Privileged,
            syscall: None,
            stack: vec!["it_real_fn".to_owned()],
            is_target: false,
            ..caught(sig::SIGALRM, task_in(7, "bystander", "/"), shell())
        };
        scene.signal(5094, alarm).exit(5095, shell(), 1 << 8, false)
    });
    says(
        &death,
        "(its shell bash[2034] exited with 1, having got no input for as long as TMOUT says, it seems",
    );
    assert!(death.chain[0].text.contains("SIGALRM"), "{death:#?}");
}

#[test]
fn who_killed_the_shell_is_named() {
    let kill = root(task_in(3000, "pkill", "/"));
    let death = login(|scene| {
        let blow = signal(sig::SIGKILL, kill.clone(), shell());
        scene
            .exec(5090, kill, &["pkill", "-KILL", "-t", "pts/0"], &[])
            .signal(5094, SignalSent { is_target: false, ..blow })
            .exit(5095, shell(), u32::from(sig::SIGKILL), false)
    });
    let words =
        "(its shell bash[2034] was killed by SIGKILL: root ran \"pkill -KILL -t pts/0\"; then";
    says(&death, words);
}

/// Somebody typed it into a shell: nobody ran that to do so. What it does of its own accord is no builtin.
#[test]
fn what_a_shell_did_itself_is_told_as_that() {
    let struck = |number, sender: Task| {
        login(|scene| {
            let blow = signal(number, sender.clone(), shell());
            let scene =
                if sender == shell() { scene } else { scene.exec(3, sender, &["-bash"], &[]) };
            scene.signal(5094, SignalSent { is_target: false, ..blow }).exit(
                5095,
                shell(),
                u32::from(number),
                false,
            )
        })
    };
    let other = root(task_in(3000, "bash", "/"));
    let words = "was killed by SIGKILL: a kill builtin of the shell bash[3000], \"-bash\" (root";
    says(&struck(sig::SIGKILL, other.clone()), words);
    says(&struck(sig::SIGHUP, other), "was killed by SIGHUP from bash[3000]; then");
    says(&struck(sig::SIGKILL, shell()), "was killed by SIGKILL, which it sent itself; then");
    // It may have caught one, and sent it again.
    says(&struck(sig::SIGTERM, shell()), "bash[2034] was killed by SIGTERM; then");
}

/// A shell that catches a signal sends it to itself; what it caught is not recorded of everybody.
#[test]
fn a_command_that_was_aimed_at_the_shell_is_told_as_a_conclusion() {
    let killed = |words: &'static [&'static str]| {
        let kill = root(task_in(3000, "pkill", "/"));
        login(|scene| {
            let blow = signal(sig::SIGHUP, shell(), shell());
            let tty = Some("pts0".to_owned());
            scene
                .exec(5090, kill, words, &[])
                .signal(5094, SignalSent { is_target: false, tty, ..blow })
                .exit(5095, shell(), u32::from(sig::SIGHUP), false)
        })
    };
    let death = killed(&["pkill", "-HUP", "-t", "pts/0"]);
    let words = "which it sent itself; 4 ms before, root ran \"pkill -HUP -t pts/0\", which seems";
    says(&death, words);
    let death = killed(&["pkill", "-HUP", "-t", "pts/7"]);
    assert!(!death.cause.explanation.contains("pkill"), "{}", death.cause.explanation);
}

#[test]
fn a_shell_that_outlived_the_connection_is_not_blamed() {
    says(&login(|scene| scene), CLIENT);
    // Another login over the same connection is still there.
    let other = task_in(2036, "bash", SCOPE);
    let death =
        login(|scene| scene.exec(3, other, &["-bash"], &[&sshd()]).exit(5095, shell(), 0, false));
    says(&death, CLIENT);
    // A client that keeps its connection leaves of its own accord.
    says(&login(|scene| scene.exit(10, shell(), 0, false)), CLIENT);
}

/// By the kernel's events the client went first either way: what it answers to is in the encrypted stream.
#[test]
fn a_client_that_may_have_been_made_to_go_is_not_blamed_alone() {
    let file = Some(("/etc/ssh/sshd_config", 9));
    let death = login(|scene| scene.setting("sshd_config", "ChannelTimeout", "session:*=3s", file));
    says(
        &death,
        "by itself or since sshd had closed its idle channel (ChannelTimeout=session:*=3s",
    );
    let limit = death.cause.settings.iter().find(|setting| setting.name == "ChannelTimeout");
    assert_eq!(limit.and_then(|limit| limit.line), Some(9), "{death:#?}");
    assert!(death.fixes.iter().any(|fix| fix.title == "have sshd close no idle channel"));
    // Of none, of other channels, and of more time than the login lasted (16 min) that cannot be.
    for limit in ["none", "direct-tcpip=3s", "session:*=1h30m"] {
        let death = login(|scene| scene.setting("sshd_config", "ChannelTimeout", limit, file));
        says(&death, "203.0.113.5:51276 had closed the ssh connection)");
        assert!(death.cause.settings.iter().all(|it| it.name != "ChannelTimeout"), "{death:#?}");
    }
}

/// Without PAM a login stays in the cgroup of sshd, and ends with it where its `KillMode=` says so.
#[test]
fn a_login_without_a_session_goes_with_sshd() {
    let told = |pam: &str, mode: &str| {
        let victim = task_in(2041, "tmux", "/system.slice/ssh.service");
        Scene::watching(&victim)
            .setting("sshd_config", "UsePAM", pam, Some(("/etc/ssh/sshd_config", 9)))
            .setting("ssh.service", "KillMode", mode, Some(("/etc/k.conf", 2)))
            .job(5000, 700, "restart", "ssh.service")
            .signal(5001, signal(sig::SIGTERM, systemd(), victim.clone()))
            .exit(5002, victim, u32::from(sig::SIGTERM), true)
            .death()
    };
    let death = told("no", "control-group");
    let words = "It lived in sshd's own ssh.service, all of which is ended (KillMode=control-group, set in /etc/k.conf:2): no session is opened for logins (UsePAM=no, set in /etc/ssh/sshd_config:9).";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
    let commands: Vec<_> = death.fixes.iter().flat_map(|fix| &fix.commands).collect();
    for word in ["UsePAM yes", "KillMode=process"] {
        assert!(commands.iter().any(|line| line.contains(word)), "{commands:?}");
    }
    let death = told("yes", "control-group");
    assert!(!death.cause.explanation.contains("UsePAM"), "{}", death.cause.explanation);
}

/// What processes of the session say of the client, each by its `SSH_CONNECTION`.
fn with_words(said: &[(&Task, u8)]) -> Death {
    let facts = said.iter().map(|(task, last)| {
        let client = format!("203.0.113.{last} 51276 192.0.2.1 22");
        Fact::Process(Box::new(ProcessSnapshot {
            pid: task.id.pid,
            start_ns: task.id.start_ns,
            comm: task.comm.clone(),
            uid: task.uid,
            cgroup: task.cgroup.clone(),
            environment: [("SSH_CONNECTION".to_owned(), client)].into(),
            ..ProcessSnapshot::default()
        }))
    });
    let facts: Vec<Fact> = facts.collect();
    // Another login's connection ends, too.
    let other = TcpChange {
        local: ([10, 0, 0, 1], 22).into(),
        remote: ([203, 0, 113, 6], 51276).into(),
        from: TcpState::Established,
        to: TcpState::CloseWait,
        error: 0,
        task: task_in(0, "swapper", "/"),
    };
    login(|scene| {
        let scene = facts.into_iter().fold(scene, |scene, fact| scene.add(3, Source::Proc, fact));
        scene.add(5099, Source::Kernel, Fact::Tcp(other))
    })
}

/// Anybody in the session can say that it came from elsewhere.
#[test]
fn what_sshd_started_is_believed_before_others() {
    let others: Vec<Task> = (0..4).map(|it| task_in(3000 + it, "bash", SCOPE)).collect();
    let victim = task_in(2041, "victim", SCOPE);
    let of_shell = shell();
    let mut said: Vec<(&Task, u8)> = others.iter().map(|task| (task, 6)).collect();
    said.extend([(&victim, 6), (&of_shell, 5)]);
    says(&with_words(&said), CLIENT);
}

/// Of those in the session some name one client, some another: none is believed.
#[test]
fn what_contradicts_itself_is_not_told() {
    let others: Vec<Task> = (0..8).map(|it| task_in(3000 + it, "bash", SCOPE)).collect();
    let said: Vec<(&Task, u8)> =
        others.iter().zip(0..).map(|(task, number)| (task, 5 + number % 2)).collect();
    let told = with_words(&said).cause.explanation;
    assert!(!told.contains("had closed the ssh connection"), "{told}");
    // Where they agree it is told.
    let said: Vec<(&Task, u8)> = others.iter().map(|task| (task, 5)).collect();
    says(&with_words(&said), CLIENT);
}
