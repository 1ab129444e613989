//! Limits on CPU time and on the size of files, and who had set them.

use super::scene::{Scene, root, signal, task};
use crate::evidence::{Grade, Limits, Setting, SignalInfo, SignalSent, Task, sig};
use crate::story::verdict::{CauseId, Death};

/// A victim that the kernel ends at 5 s at a limit of this value.
fn at_limit(scene: Scene, victim: &Task, (number, frame): (u8, &str), value: u64) -> Death {
    let sent = SignalSent {
        info: SignalInfo::Privileged,
        syscall: None,
        stack: vec![frame.to_owned()],
        limits: Some(Limits { first: Some(value), real_time: None }),
        ..signal(number, victim.clone(), victim.clone())
    };
    scene.signal(5000, sent).exit(5001, victim.clone(), u32::from(number), true).death()
}

const CPU: (u8, &str) = (sig::SIGKILL, "posix_cpu_timers_work");
const SIZE: (u8, &str) = (sig::SIGXFSZ, "generic_write_check_limits");

#[test]
fn who_set_a_limit_from_outside_is_named() {
    let (victim, prlimit) = (task(42, "busy"), root(task(80, "prlimit")));
    let told = |args: &[&str], value| {
        let scene = Scene::watching(&victim).exec(3000, prlimit.clone(), args, &[]);
        at_limit(scene, &victim, CPU, value)
    };
    let args = ["prlimit", "--pid", "42", "--cpu=1:2"];
    let death = told(&args, 2);
    let text = &death.cause.explanation;
    let words =
        "2 s before, root ran \"prlimit --pid 42 --cpu=1:2\", which seems to have set that limit.";
    assert!(text.contains(words), "{text}");
    assert_eq!(death.chain[0].evidence, Grade::Inferred, "{death:#?}");
    assert!(death.fixes[0].commands[0].contains("prlimit --pid 42"), "{death:#?}");
    assert_eq!(death.fixes.len(), 1, "what a shell starts has nothing to do with it: {death:#?}");
    // Another limit, another process.
    let others = [
        told(&args, 3),
        told(&["prlimit", "--pid", "43", "--cpu=1:2"], 2),
        told(&["prlimit", "--pid", "42", "--fsize=1:2"], 2),
    ];
    for death in others {
        assert!(death.cause.explanation.contains("inherited it"), "{death:#?}");
    }
}

/// What is refused, and what means another process of that number, has set nothing.
#[test]
fn who_could_not_set_a_limit_is_not_named() {
    let args = ["prlimit", "--pid", "42", "--cpu=1:2"];
    let told = |victim: &Task, prlimit: Task| {
        let scene = Scene::watching(victim).exec(3000, prlimit, &args, &[]);
        at_limit(scene, victim, CPU, 2).cause.explanation
    };
    let busy = || task(42, "busy");
    let bob = Task { uid: 1001, euid: 1001, ..task(80, "prlimit") };
    let inside = |pid| Task { ns_pid: 9, ..root(task(pid, "prlimit")) };
    for (victim, prlimit) in [
        (root(busy()), task(80, "prlimit")),
        (busy(), bob),
        (busy(), inside(80)),
        (Task { ns_pid: 7, ..busy() }, inside(80)),
    ] {
        let text = told(&victim, prlimit);
        assert!(text.contains("inherited it"), "{text}");
    }
    // In the same pid namespace it is that one.
    let own = Task { id: task(142, "busy").id, ns_pid: 42, ..busy() };
    for text in [told(&busy(), task(80, "prlimit")), told(&own, inside(80))] {
        assert!(text.contains("which seems to have set that limit"), "{text}");
    }
    let scene = Scene::watching(&busy()).exec(3000, root(task(80, "prlimit")), &args, &[]);
    let scene = scene.exit(3001, root(task(80, "prlimit")), 1 << 8, false);
    let text = at_limit(scene, &busy(), CPU, 2).cause.explanation;
    assert!(text.contains("inherited it"), "it failed: {text}");
}

/// Both limits end in the same place of the kernel.
#[test]
fn which_of_two_limits_it_was_is_not_told_by_one_setting() {
    let victim = super::scene::task_in(42, "busy", "/system.slice/v.service");
    let told = |real_time| {
        let sent = SignalSent {
            info: SignalInfo::Privileged,
            syscall: None,
            stack: vec!["posix_cpu_timers_work".to_owned()],
            limits: Some(Limits { first: Some(3600), real_time }),
            ..signal(sig::SIGXCPU, victim.clone(), victim.clone())
        };
        Scene::watching(&victim)
            .setting("v.service", "LimitCPU", "1h", Some(("/etc/v.service", 4)))
            .signal(5000, sent)
            .exit(5001, victim.clone(), u32::from(sig::SIGXCPU), true)
            .death()
    };
    assert_eq!(told(None).cause.settings[0].name, "LimitCPU");
    let death = told(Some(200_000));
    assert!(death.cause.settings.is_empty(), "{death:#?}");
    assert!(
        death.cause.explanation.contains("60 min in all (RLIMIT_CPU), or 200 ms"),
        "{death:#?}"
    );
    assert!(
        death.fixes[0].commands[1].ends_with("--cpu=unlimited --rttime=unlimited"),
        "{death:#?}"
    );
}

/// A child has the limits that its parent had when it was made.
#[test]
fn a_limit_is_inherited_from_a_parent() {
    let (shell, prlimit) = (task(20, "bash"), root(task(80, "prlimit")));
    let victim = |born_ms: u64| {
        let mut victim = task(42, "dd");
        victim.id.start_ns = super::scene::at(born_ms).boot_ns;
        victim
    };
    let told =
        |victim: &Task| {
            let args = ["prlimit", "-p20", "--fsize=500"];
            let scene = Scene::watching(victim)
                .exec(1500, victim.clone(), &["dd"], &[&shell])
                .exec(2000, prlimit.clone(), &args, &[]);
            at_limit(scene, victim, SIZE, 500).cause.explanation
        };
    assert!(told(&victim(2500)).contains("prlimit -p20 --fsize=500"), "{}", told(&victim(2500)));
    assert!(told(&victim(1000)).contains("inherited it"), "{}", told(&victim(1000)));
}

#[test]
fn what_a_command_was_started_with_is_its_limit() {
    let victim = task(42, "dd");
    let scene = Scene::watching(&victim)
        .exec(
            2000,
            Task { comm: "prlimit".to_owned(), ..victim.clone() },
            &["prlimit", "--fsize=500", "dd"],
            &[],
        )
        .exec(2001, victim.clone(), &["dd"], &[]);
    let death = at_limit(scene, &victim, SIZE, 500);
    let words = "alice ran \"prlimit --fsize=500 dd\", which seems to have set that limit";
    assert!(death.cause.explanation.contains(words), "{}", death.cause.explanation);
}

#[test]
fn the_limits_of_logins_are_named() {
    const FILE: &str = "/etc/security/limits.d/90-size.conf";
    let told = |victim: Task, whose: &str, value: u64| {
        let scope = Setting::login_limits_of(whose);
        let scene = Scene::watching(&victim).setting(&scope, "hard fsize", "10", Some((FILE, 1)));
        at_limit(scene, &victim, SIZE, value)
    };
    let alices = || Task { login_uid: Some(1000), ..task(42, "dd") };
    for whose in ["alice", "*"] {
        let death = told(alices(), whose, 10 << 10);
        let words = format!("10 KiB (RLIMIT_FSIZE) (hard fsize=10, set in {FILE}:1).");
        assert!(death.cause.explanation.contains(&words), "{}", death.cause.explanation);
        assert_eq!(death.cause.id, CauseId::FileSizeLimit);
        assert_eq!(death.cause.settings[0].name, "hard fsize");
        assert!(death.fixes[0].commands[0].contains(FILE), "{death:#?}");
    }
    // Of a soft and a hard one the other would be next.
    let scope = Setting::login_limits_of("alice");
    let scene = Scene::watching(&alices())
        .setting(&scope, "soft fsize", "10", Some((FILE, 1)))
        .setting(&Setting::login_limits_of("*"), "hard fsize", "20", Some((FILE, 2)));
    let death = at_limit(scene, &alices(), SIZE, 10 << 10);
    assert_eq!(death.cause.settings[0].name, "soft fsize", "{death:#?}");
    let commands = &death.fixes[0].commands;
    assert!(
        commands[0].starts_with(&format!("# in {FILE}:1: a higher value for \"soft")),
        "{death:#?}"
    );
    assert!(
        commands[1].starts_with(&format!("# in {FILE}:2: a higher value for \"hard")),
        "{death:#?}"
    );
    let others = [
        told(alices(), "bob", 10 << 10),
        told(alices(), "alice", 4096),
        // No login.
        told(task(42, "dd"), "alice", 10 << 10),
        told(root(alices()), "*", 10 << 10),
    ];
    for death in others {
        assert!(death.cause.settings.is_empty(), "{death:#?}");
        assert!(death.cause.explanation.contains("inherited it"), "{death:#?}");
    }
}
