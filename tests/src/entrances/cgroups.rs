//! Paths of cgroups, which whoever may make one names as he likes.

use std::path::{Component, Path};
use std::sync::Arc;

use killtrace::evidence::cgroup_path::{
    CgroupOwner, bus_label_escape, bus_label_unescape, is_unit_name, unit_unescape,
};
use killtrace::evidence::{Evidence, Fact, Task};
use killtrace::system::cgroups::Cgroups;

use super::scene::SESSION;
use super::{files, text};

/// A path, a `/proc/PID/cgroup` and a `/proc/self/mountinfo`.
pub fn paths(bytes: &[u8]) {
    let [path, cgroup, mounts] = files(bytes).map(text);
    let owner = CgroupOwner::of(&path);
    is_sound(&owner);
    assert_eq!(bus_label_unescape(&bus_label_escape(&path)), path);
    assert!(unit_unescape(&path).len() <= path.len() * 3, "{path:?}");
    let cgroups = Cgroups::of_mounts(&mounts);
    for read in [cgroups.systemd_path(&cgroup), cgroups.memory_path(&cgroup)].into_iter().flatten()
    {
        assert!(cgroup.contains(&read), "{read:?} is not in {cgroup:?}");
    }
    if let Some(directory) = cgroups.unified_directory(&path) {
        let leads_out = directory.components().skip_while(|part| *part == Component::RootDir);
        let of_mount = mounts.contains("..");
        assert!(
            of_mount || leads_out.clone().all(|part| part != Component::ParentDir),
            "{} leads out of its mount",
            directory.display()
        );
    }
    let normal = cgroups.normalize(&path);
    assert!(Path::new(&normal).is_absolute(), "{normal:?}");
    if owner != CgroupOwner::default() {
        SESSION.tell_changed(|evidence| lives_in(evidence, &path));
    }
}

/// Names of units are what systemd would accept, and name what stands there.
fn is_sound(owner: &CgroupOwner) {
    for unit in [&owner.unit, &owner.user_unit, &owner.slice].into_iter().flatten() {
        assert!(is_unit_name(unit) || unit == "-.slice", "{unit:?}");
    }
    if let Some(session) = &owner.session {
        assert!(session.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{session:?}");
    }
    if let Some(container) = &owner.container {
        assert!(!container.id.is_empty() && !container.id.contains('/'), "{container:?}");
    }
    if let Some(inside) = &owner.inside {
        assert!(owner.container.is_some(), "{owner:?}");
        is_sound(inside);
    }
}

/// Everybody in the story lives in that cgroup.
fn lives_in(evidence: &mut Evidence, path: &str) {
    let mut tasks: Vec<&mut Task> = Vec::new();
    match &mut evidence.fact {
        Fact::Signal(signal) => {
            let signal = Arc::make_mut(signal);
            tasks.extend([&mut signal.sender, &mut signal.target]);
        }
        Fact::Exit(exit) => tasks.push(&mut exit.task),
        Fact::Exec(exec) => tasks.push(&mut exec.task),
        Fact::Process(process) => process.cgroup = Some(path.to_owned()),
        _ => {}
    }
    for task in tasks {
        task.cgroup = Some(path.to_owned());
    }
}
