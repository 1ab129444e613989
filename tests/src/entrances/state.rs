//! Files in which others keep their state, and the kernel's log.

use std::cell::LazyCell;
use std::fs;

use killtrace::evidence::{Container, ContainerFound, Fact, Source};
use killtrace::system::entrances;
use tempfile::TempDir;

use super::scene::TERMINATED;
use super::{files, text};

thread_local! {
    static ROOT: LazyCell<TempDir> =
        LazyCell::new(|| tempfile::tempdir().expect("a temporary directory"));
}

/// The container whose state is read.
const ID: &str = "0123456789ab";
/// Where docker, containerd and podman keep theirs.
const STATES: [&str; 3] = [
    "var/lib/docker/containers/0123456789ab/config.v2.json",
    "run/containerd/io.containerd.runtime.v2.task/x/0123456789ab/config.json",
    "home/.local/share/containers/storage/overlay-containers/containers.json",
];

/// A record of the kernel's log, the state of a session, the id of a container, and its state as three
/// runtimes keep it.
pub fn files_of(bytes: &[u8]) {
    let [record, session, id, docker, containerd, podman] = files(bytes);
    let mut facts = Vec::new();
    if let Some((fact, cgroup)) = entrances::kernel_log_record(record) {
        let Fact::KernelLog(line) = &fact else { panic!("{fact:?}") };
        assert!(cgroup.is_none_or(|path| line.message.contains(&path)), "{fact:?}");
        facts.push((Source::KernelLog, fact));
    }
    if !session.is_empty() {
        let session = entrances::session_file("3", &text(session));
        facts.push((Source::File, Fact::Session(session)));
    }
    facts.extend(container(&text(id), [docker, containerd, podman]));
    TERMINATED.tell(facts);
}

fn container(id: &str, states: [&[u8]; 3]) -> Vec<(Source, Fact)> {
    let found = ROOT.with(|root| {
        for (path, bytes) in STATES.iter().zip(states) {
            let path = root.path().join(path);
            let folder = path.parent().expect("a directory");
            if !folder.is_dir() {
                fs::create_dir_all(folder).expect("made");
            }
            fs::write(path, bytes).expect("written");
        }
        [ID, id].map(|id| {
            let container =
                Container { runtime: "docker".into(), id: id.into(), ..Container::default() };
            entrances::container_state(root.path(), root.path().join("home"), &container)
        })
    });
    let cgroup = |container: &Container| format!("/system.slice/docker-{}.scope", container.id);
    let fact = |container: Container| {
        Fact::Container(ContainerFound { cgroup: cgroup(&container), container })
    };
    let told = found.into_iter().filter(|found| found.name.is_some() || found.pod.is_some());
    told.map(|found| (Source::CgroupFs, fact(found))).collect()
}
