//! What a service manager makes for itself while it starts a unit.

use super::scene::{Scene, at, root, signal, systemd, task_in};
use crate::evidence::{Ancestor, Exit, Fact, SignalSent, Source, Syscall, Task, sig};
use crate::story::verdict::{CauseId, Death};

const CGROUP: &str = "/system.slice/v.service";
const EXECUTOR: &str = "/usr/lib/systemd/systemd-executor";

fn ancestor(task: &Task) -> Ancestor {
    Ancestor { id: task.id, comm: task.comm.clone(), uid: task.uid }
}

/// A child of what systemd made for a unit is killed by that, which has run this program.
fn killed(maker: &Task, program: Option<&str>) -> Death {
    let mut child = Task { ppid: maker.id.pid, ..root(task_in(290, "(v)", CGROUP)) };
    child.id.start_ns = at(100).boot_ns;
    let mut scene = Scene::watching(&child).job(10, 7, "start", "v.service");
    if let Some(program) = program {
        scene = scene.exec(20, maker.clone(), &[program, "--deserialize", "61"], &[&systemd()]);
    }
    let blow = signal(sig::SIGKILL, maker.clone(), child.clone());
    let blow = SignalSent {
        ancestors: [ancestor(&systemd())].into(),
        syscall: Some(Syscall { name: "kill".to_owned(), args: [290, 9, 0] }),
        ..blow
    };
    let exit = Exit {
        ancestors: vec![ancestor(maker), ancestor(&systemd())],
        task: child,
        is_target: true,
        status: 9,
        ptracer: None,
        seccomp: 0,
        pending: Vec::new(),
        unseen: false,
    };
    scene.signal(101, blow).add(102, Source::Kernel, Fact::Exit(exit)).death()
}

#[test]
fn a_helper_of_systemds_at_a_units_start_is_no_loss() {
    let maker = root(task_in(289, "(v)", CGROUP));
    // Of systemd before version 255 nothing is executed before the program.
    for program in [Some(EXECUTOR), None] {
        let death = killed(&maker, program);
        let text = &death.cause.explanation;
        let words = "(v)[290] was a helper of systemd's own, and no program of v.service: (v)[289], which systemd[1] had made to \
                     start that unit";
        assert!(text.contains(words), "{text}");
        assert_eq!(death.cause.id, CauseId::ProcessSignal);
        assert_eq!(death.chain.len(), 2, "{:?}", death.chain);
        assert!(death.fixes.is_empty(), "{death:#?}");
    }
}

#[test]
fn what_only_looks_like_a_helper_is_none() {
    let maker = root(task_in(289, "(v)", CGROUP));
    let others = [
        killed(&maker, Some("/usr/bin/v")),
        killed(&Task { comm: "v".to_owned(), ..maker.clone() }, Some(EXECUTOR)),
        killed(&Task { uid: 1000, euid: 1000, ..maker.clone() }, Some(EXECUTOR)),
        killed(&Task { cgroup: Some("/system.slice/w.service".to_owned()), ..maker }, None),
    ];
    for death in others {
        assert!(!death.cause.explanation.contains("helper of systemd"), "{death:#?}");
    }
}
