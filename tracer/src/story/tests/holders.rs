//! What held the other end of a terminal that hung up, and who ended that.

use super::scene::{Scene, root, signal, task, with_connection};
use super::terminals::{OF_PEER, PEER, closes, hangup, monitor, victim};
use crate::evidence::{Disposition, Fact, ProcessSnapshot, SignalSent, Source, Syscall, Task, sig};

/// A shell in an ssh login hangs up its jobs and ends: one of them, as systemd-run does for a unit, held the terminal of a
/// program that is no child of that shell's.
#[test]
fn the_login_of_the_shell_that_hung_up_a_terminals_holder_is_told() {
    let (shell, holder) = (task(31, "bash"), task(32, "systemd-run"));
    let parents = vec![monitor().id];
    let snapshot = ProcessSnapshot { parents, ..with_connection(&shell, OF_PEER) };
    let told = |shell_status: u32| {
        let of = |target: &Task, aim: u32| SignalSent {
            is_target: false,
            syscall: Some(Syscall { name: "kill".to_owned(), args: [u64::from(aim), 1, 0] }),
            ..signal(sig::SIGHUP, shell.clone(), target.clone())
        };
        let scene = Scene::watching(&victim())
            .exec(1, shell.clone(), &["-bash"], &[&monitor()])
            .exec(2, holder.clone(), &["systemd-run", "--pty", "make"], &[&shell, &monitor()])
            .add(3, Source::Proc, Fact::Process(Box::new(snapshot.clone())));
        closes(scene)
            .signal(5, of(&holder, 32_u32.wrapping_neg()))
            .signal(5, of(&shell, 31))
            .exit(5, shell.clone(), shell_status, false)
            .exit(6, holder.clone(), 1, false)
            .signal(6, hangup(&holder, &shell))
            .exit(7, victim(), 1, true)
            .death()
    };
    let death = told(u32::from(sig::SIGHUP));
    let words = format!(
        "systemd-run[32] (to which bash[31] had sent SIGHUP), which held the other end of its terminal, had ended \
         after {PEER}"
    );
    assert!(death.cause.explanation.contains(&words), "{death:#?}");
    let texts: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    assert!(texts[0].contains("closed the connection (FIN)"), "{texts:?}");
    // Nobody had typed anything.
    assert!(!texts.iter().any(|text| text.contains("ran \"-bash\"")), "{texts:?}");
    assert!(!told(0).cause.explanation.contains("connection"), "it had got no hangup itself");
}

/// Somebody kills what holds a terminal; the shell there passes its hangup on to a job, which is on no terminal's foreground.
#[test]
fn who_killed_the_holder_of_a_shells_terminal_is_told() {
    let (shell, holder) = (task(31, "bash"), task(32, "script"));
    let killer = root(task(40, "kill"));
    let told = |killed: bool| {
        let scene = Scene::watching(&victim())
            .exec(1, holder.clone(), &["script", "-q", "/dev/null"], &[])
            .exec(2, shell.clone(), &["bash"], &[&holder])
            .exec(4, killer.clone(), &["kill", "-KILL", "32"], &[]);
        let struck =
            SignalSent { is_target: false, ..signal(sig::SIGKILL, killer.clone(), holder.clone()) };
        let scene = if killed { scene.signal(5, struck) } else { scene };
        let status = if killed { u32::from(sig::SIGKILL) } else { 0 };
        let hung_up = SignalSent {
            is_target: false,
            target: shell.clone(),
            ..hangup(&holder, &task(1, "systemd"))
        };
        scene
            .exit(6, holder.clone(), status, false)
            .signal(6, SignalSent { disposition: Some(Disposition::Handler), ..hung_up })
            .signal(8, signal(sig::SIGHUP, shell.clone(), victim()))
            .exit(8, shell.clone(), u32::from(sig::SIGHUP), false)
            .exit(9, victim(), u32::from(sig::SIGHUP), true)
            .death()
    };
    let death = told(true);
    let text = &death.cause.explanation;
    let words = "script[32] was killed by SIGKILL: root ran \"kill -KILL 32\"";
    assert_eq!(text.matches(words).count(), 1, "{text}");
    let texts: Vec<&str> = death.chain.iter().map(|link| link.text.as_str()).collect();
    let place = |words: &str| texts.iter().position(|text| text.contains(words));
    let (ran, ended) = (place("ran \"kill -KILL 32\""), place("\" was killed by SIGKILL"));
    assert!(ran.is_some() && ran < ended && ended < place("terminal hangup"), "{texts:?}");
    let text = told(false).cause.explanation;
    assert!(!text.contains("kill -KILL") && !text.contains("script[32] exited"), "{text}");
}
