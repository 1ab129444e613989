//! Shells that end themselves since nobody types anything.

use super::plain::alarm;
use super::scene::{Scene, at, caught, task, with_connection};
use crate::evidence::{Fact, Grade, ProcessSnapshot, Source, TargetReason, sig};
use crate::story::verdict::CauseId;

#[test]
fn a_shell_that_got_no_input_is_ended_by_its_own_timer() {
    let ended = |words: &[&str], wait_ms: u64| {
        let shell = task(42, "bash");
        Scene::default()
            .target(&shell, TargetReason::Running)
            .exec(1, shell.clone(), words, &[])
            .signal(5000, alarm(&shell))
            .signal(5001, caught(sig::SIGALRM, shell.clone(), shell.clone()))
            .exit(5000 + wait_ms, shell, 1 << 8, true)
            .death()
    };
    let death = ended(&["-bash"], 5);
    assert_eq!((death.cause.id, death.cause.evidence), (CauseId::TimerExpired, Grade::Inferred));
    assert!(death.cause.explanation.contains("TMOUT"), "{}", death.cause.explanation);
    for death in [ended(&["bash", "x.sh"], 5), ended(&["-bash"], 60_000)] {
        assert!(!death.cause.explanation.contains("TMOUT"), "{}", death.cause.explanation);
    }
}

/// Which line had set how long it waits, as far as that can be told.
#[test]
fn what_made_a_shell_impatient_is_told() {
    const PROFILE: &str = "/etc/profile.d/idle.sh";
    let told = |comm: &str, lines: &[(&str, &str, &str)], inherited: Option<&str>| {
        let mut shell = task(42, comm);
        shell.id.start_ns = at(0).boot_ns;
        let mut scene = Scene::default().target(&shell, TargetReason::Running);
        for ((scope, value, file), line) in lines.iter().zip(3..) {
            scene = scene.setting(scope, "TMOUT", value, Some((file, line)));
        }
        if let Some(value) = inherited {
            let environment = [("TMOUT".to_owned(), value.to_owned())].into();
            scene = scene.add(
                1,
                Source::Proc,
                Fact::Process(Box::new(ProcessSnapshot {
                    environment,
                    ..with_connection(&shell, "")
                })),
            );
        }
        let death = scene
            .exec(1, shell.clone(), &[&format!("-{comm}")], &[])
            .signal(5000, alarm(&shell))
            .signal(5001, caught(sig::SIGALRM, shell.clone(), shell.clone()))
            .exit(5005, shell, 1 << 8, true)
            .death();
        assert_eq!(death.cause.id, CauseId::TimerExpired, "{death:#?}");
        (death.cause.explanation, death.cause.settings.first().and_then(|it| it.line))
    };
    let line = |value| ("shell", value, PROFILE);
    let (text, set) = told("bash", &[line("3")], None);
    let words = "for as long as TMOUT says (TMOUT=3, set in /etc/profile.d/idle.sh:3, the only such line in the files that";
    assert!(text.contains(words) && set == Some(3), "{text}");
    // Neither is one that switches it off, nor one that was not over, nor another user's, nor another shell's.
    let own = ("shell 1000", "2", "/home/alice/.bashrc");
    let others = [line("0"), line("900"), ("shell 1001", "2", "/home/bob/.bashrc"), own];
    assert_eq!(told("bash", &others, None).1, Some(6));
    let (text, set) = told("zsh", &others, None);
    assert!(text.ends_with("for as long as TMOUT says.") && set.is_none(), "{text}");
    let (text, set) = told("bash", &[line("3"), own], None);
    let words = "(2 lines in the files that shells read at their start can have set it, from /etc/profile.d/idle.sh:3 to";
    assert!(text.contains(words) && set.is_none(), "{text}");
    assert!(told("tcsh", &[line("3")], None).0.ends_with("as long as autologout says."));
    // What it was started with.
    assert_eq!(told("bash", &[line("3")], Some("3")).1, Some(3));
    let (text, _) = told("bash", &[], Some("3"));
    assert!(text.contains("(it had TMOUT=3 in its environment when it was started)"), "{text}");
    let (text, set) = told("bash", &[line("3")], Some("4"));
    assert!(text.contains("sets it as well: /etc/profile.d/idle.sh:3)") && set.is_none(), "{text}");
}
