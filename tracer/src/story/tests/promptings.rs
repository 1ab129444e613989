//! What had prompted a program to end its child: its timer, another child, a child that failed, or what it was told.

use super::scene::{Scene, at, caught, signal, task};
use crate::evidence::{Grade, SignalInfo, SignalSent, TargetReason, Task, sig};
use crate::story::verdict::Death;

/// A program that ends its child 2 s after what happened to it.
struct Program {
    program: Task,
    child: Task,
    other: Task,
}

impl Program {
    fn new(child_born_ms: u64) -> Self {
        let mut child = Task { ppid: 60, ..task(42, "sleep") };
        child.id.start_ns = at(child_born_ms).boot_ns;
        let mut other = Task { ppid: 60, ..task(43, "sh") };
        other.id.start_ns = at(1).boot_ns;
        Self { program: task(60, "python3"), child, other }
    }

    fn told(&self, happened: impl FnOnce(Scene) -> Scene) -> Death {
        let scene = Scene::default()
            .user(1000, "alice")
            .target(&self.child, TargetReason::Pid)
            .exec(1, self.program.clone(), &["python3", "jobs.py"], &[])
            .exec(2, self.other.clone(), &["sh", "-c", "kill -USR1 60"], &[&self.program])
            .exec(2, self.child.clone(), &["sleep", "9"], &[&self.program]);
        happened(scene)
            .signal(2_000, signal(sig::SIGTERM, self.program.clone(), self.child.clone()))
            .exit(2_001, self.child.clone(), 15, true)
            .death()
    }

    /// The program catches that.
    fn caught(&self, number: u8, sender: &Task) -> SignalSent {
        let sent = caught(number, sender.clone(), self.program.clone());
        SignalSent { is_target: false, ..sent }
    }

    fn alarm(&self) -> SignalSent {
        let info = SignalInfo::Real { code: -2, errno: 0, fields: [0, 0] };
        SignalSent { info, syscall: None, ..self.caught(sig::SIGALRM, &self.program) }
    }
}

fn words(death: &Death) -> &str {
    &death.cause.explanation
}

#[test]
fn a_timer_of_its_own_outweighs_what_it_was_told_before() {
    let of = Program::new(1);
    let outsider = task(90, "kill");
    let told = |alarms: &[u64]| {
        of.told(|mut scene| {
            scene = scene.signal(500, of.caught(sig::SIGTERM, &outsider));
            for ms in alarms {
                scene = scene.signal(*ms, of.alarm());
            }
            scene
        })
    };
    let death = told(&[1_999]);
    assert!(words(&death).contains("1 ms before, a timer of python3[60] had run out (SIGALRM)"));
    assert!(!words(&death).contains("had itself got SIGTERM"), "{}", words(&death));
    // Long before, or a clock that ticks.
    for alarms in [&[1_000][..], &[1_700, 1_800, 1_900, 1_999]] {
        let death = told(alarms);
        assert!(words(&death).contains("had itself got SIGTERM 1.5 s before"), "{}", words(&death));
        assert!(words(&death).contains("may have passed it on"), "{}", words(&death));
    }
}

#[test]
fn nobody_tells_a_program_to_end_what_it_starts_only_then() {
    let of = Program::new(1_000);
    let outsider = task(90, "kill");
    let told = |ms| of.told(|scene| scene.signal(ms, of.caught(sig::SIGTERM, &outsider)));
    assert!(!words(&told(500)).contains("had itself got"));
    assert!(words(&told(1_500)).contains("had itself got SIGTERM 500 ms before"));
}

#[test]
fn what_a_child_told_it_right_before_is_told_rather_than_a_siblings_failure() {
    let of = Program::new(1);
    let grep = Task { ppid: 60, ..task(44, "grep") };
    let play = |signalled_ms: u64, failed_ms: u64| {
        of.told(|scene| {
            scene
                .exec(failed_ms - 5, grep.clone(), &["grep", "-q", "x"], &[&of.program])
                .exit(failed_ms, grep.clone(), 1 << 8, false)
                .signal(signalled_ms, of.caught(sig::SIGUSR1, &of.other))
        })
    };
    let death = play(1_999, 1_980);
    let clause = "1 ms before, python3[60] had caught SIGUSR1 from sh[43]: a kill builtin";
    assert!(words(&death).contains(clause), "{}", words(&death));
    assert!(!words(&death).contains("sibling"), "{}", words(&death));
    assert!(death.chain.iter().any(|link| link.text == "sh[43] sent SIGUSR1 to python3[60]"));
    let death = play(1_000, 1_990);
    assert!(words(&death).contains("its sibling grep[44]"), "{}", words(&death));
    assert!(!words(&death).contains("SIGUSR1"), "{}", words(&death));
}

/// What failed a while before is told as no more than that, and only of what may have been a job.
#[test]
fn a_failure_a_while_before_is_no_link() {
    let of = Program::new(1);
    let play = |born_ms: u64, status: u32, ended_ms: u64| {
        let mut sibling = Task { ppid: 60, ..task(44, "job") };
        sibling.id.start_ns = at(born_ms).boot_ns;
        of.told(|scene| {
            scene
                .exec(born_ms + 1, sibling.clone(), &["job"], &[&of.program])
                .exit(ended_ms, sibling, status, false)
        })
    };
    let told = "had exited with 1.";
    let job = play(2, 1 << 8, 1_800);
    assert!(words(&job).contains("200 ms before that, its sibling job[44]"), "{}", words(&job));
    assert!(words(&job).contains(told) && !words(&job).contains("may be why"), "{}", words(&job));
    assert!(job.chain.iter().all(|link| link.evidence == Grade::Observed), "{:#?}", job.chain);
    let asked = play(1_700, 1 << 8, 1_800);
    assert!(!words(&asked).contains("sibling"), "{}", words(&asked));
    let right_before = play(1_900, 1 << 8, 1_990);
    assert!(words(&right_before).contains("had exited with 1, which may be why"));
}

/// `timeout`, whose command somebody else ended, ends by the same signal.
#[test]
fn a_program_that_ends_as_its_child_is_told_with_the_childs_end() {
    let (timeout, pkill) = (task(60, "timeout"), task(80, "pkill"));
    let child = Task { ppid: 60, ..task(42, "sleep") };
    let told = |number: u8| {
        let killed = signal(number, pkill.clone(), child.clone());
        let own = signal(sig::SIGTERM, timeout.clone(), timeout.clone());
        Scene::default()
            .user(1000, "alice")
            .target(&timeout, TargetReason::Pid)
            .exec(1, timeout.clone(), &["timeout", "9", "sleep", "45"], &[])
            .exec(2, child.clone(), &["sleep", "45"], &[&timeout])
            .exec(900, pkill.clone(), &["pkill", "sleep"], &[])
            .signal(1_000, SignalSent { is_target: false, ..killed })
            .exit(1_001, child.clone(), u32::from(number), false)
            .signal(1_002, own)
            .exit(1_003, timeout.clone(), 15, true)
            .death()
    };
    let death = told(sig::SIGTERM);
    let clause = "seems to end as what it ran had ended: sleep[42] was killed by SIGTERM: alice ran \"pkill sleep\"";
    assert!(words(&death).contains(clause), "{}", words(&death));
    assert_eq!(death.cause.evidence, Grade::Inferred);
    assert!(death.chain.iter().any(|link| link.text.contains("pkill[80] sent SIGTERM")));
    assert!(!words(&told(sig::SIGKILL)).contains("seems to end"));
}
