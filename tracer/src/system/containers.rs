//! What the container runtimes themselves know of a container: its name, its pod.
//!
//! Read from their state on disk, so that no runtime has to be asked and none needs to run. Of each file only what is
//! needed is kept, while it is read.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::files;
use crate::evidence::{Container, Setting};

/// State files larger than this are not read. Docker's are a few KiB for each container, containers/storage has less
/// than one KiB in its list for each.
const MAX_STATE: u64 = 1 << 20;

/// What is longer is no name (NAME_MAX).
const MAX_NAME: usize = 255;

/// Drivers of containers/storage: each keeps its containers in a directory of its own, `DRIVER-containers`
/// (containers-storage.conf(5)).
const STORAGE_DRIVERS: [&str; 5] = ["overlay", "vfs", "btrfs", "zfs", "aufs"];

/// Docker's state of a container (`container.Container` in moby).
#[derive(Deserialize)]
struct DockerState {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "Config")]
    config: Option<DockerConfig>,
}

/// `daemon.json`
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct DockerDaemon {
    data_root: Option<PathBuf>,
}

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(rename = "Labels")]
    labels: Option<Labels>,
    #[serde(rename = "StopSignal")]
    stop_signal: Option<String>,
    #[serde(rename = "StopTimeout")]
    stop_timeout: Option<i64>,
}

/// What docker was told of a container that is not part of its image (`container.HostConfig` in moby).
#[derive(Deserialize)]
struct DockerHostConfig {
    #[serde(rename = "AutoRemove")]
    auto_remove: Option<bool>,
    #[serde(rename = "RestartPolicy")]
    restart: Option<DockerRestart>,
}

#[derive(Deserialize)]
struct DockerRestart {
    #[serde(rename = "Name")]
    name: Option<String>,
}

/// The grace period of `docker stop` where nothing else is set, seconds (`defaultStopTimeout` in moby's
/// `container/container_unix.go`).
const DOCKER_STOP_TIMEOUT: i64 = 10;

/// An OCI configuration.
#[derive(Deserialize)]
struct Bundle {
    annotations: Option<Labels>,
}

/// An entry in the list of containers/storage.
#[derive(Deserialize)]
struct Stored {
    id: String,
    names: Option<Vec<String>>,
}

/// Labels and annotations for name, pod, namespace: of containerd's CRI plugin, CRI-O and dockershim, nerdctl.
#[derive(Deserialize)]
struct Labels {
    #[serde(rename = "io.kubernetes.cri.container-name")]
    cri_name: Option<String>,
    #[serde(rename = "io.kubernetes.container.name")]
    kubernetes_name: Option<String>,
    #[serde(rename = "nerdctl/name")]
    nerdctl_name: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-name")]
    cri_pod: Option<String>,
    #[serde(rename = "io.kubernetes.pod.name")]
    kubernetes_pod: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-namespace")]
    cri_namespace: Option<String>,
    #[serde(rename = "io.kubernetes.pod.namespace")]
    kubernetes_namespace: Option<String>,
}

/// Fills in what can be found out, and tells why that may not be all. `home` is that of the user whose rootless
/// runtime it is, which alone is believed then; without it, it is one of the system's.
pub fn describe(container: &Container, home: Option<&str>) -> (Container, Option<String>) {
    describe_in(Path::new("/"), home.map(PathBuf::from), container)
}

/// How one of the system's docker's containers is stopped, and what becomes of it: `StopTimeout` in seconds, `StopSignal`,
/// `RestartPolicy`, `AutoRemove`. Empty for what is none of these.
pub fn settings(container: &Container) -> Vec<Setting> {
    settings_in(Path::new("/"), container)
}

fn settings_in(root: &Path, container: &Container) -> Vec<Setting> {
    if container.runtime != "docker" || !is_safe(&container.id) {
        return Vec::new();
    }
    let places =
        Places { root: root.to_owned(), home: None, uid: None, missed: RefCell::default() };
    let directory = places.state_of("docker").join("containers").join(&container.id);
    let config_file = directory.join("config.v2.json");
    let host_file = directory.join("hostconfig.json");
    let config = places.json::<DockerState>(&config_file).and_then(|state| state.config);
    let host = places.json::<DockerHostConfig>(&host_file);
    let setting = |name: &str, value: String, file: Option<&Path>| Setting {
        manager: None,
        scope: Setting::of_container(&container.id),
        name: name.to_owned(),
        value,
        file: file.map(|file| file.display().to_string()),
        line: None,
        unread: None,
    };
    let mut found = Vec::new();
    if let Some(config) = config {
        let own = config.stop_timeout.map(|_| config_file.as_path());
        let timeout = config.stop_timeout.unwrap_or(DOCKER_STOP_TIMEOUT);
        found.push(setting("StopTimeout", timeout.to_string(), own));
        let signal = config.stop_signal.filter(|it| !it.is_empty() && it.len() <= MAX_NAME);
        found.extend(signal.map(|signal| setting("StopSignal", signal, Some(&config_file))));
    }
    if let Some(host) = host {
        let policy = host.restart.and_then(|restart| restart.name);
        let policy = policy.filter(|it| !it.is_empty() && it.len() <= MAX_NAME);
        found.extend(policy.map(|policy| setting("RestartPolicy", policy, Some(&host_file))));
        let removed = host.auto_remove.map(|it| it.to_string());
        found.extend(removed.map(|it| setting("AutoRemove", it, Some(&host_file))));
    }
    found
}

/// The same by what is below that directory.
pub(super) fn describe_in(
    root: &Path,
    home: Option<PathBuf>,
    container: &Container,
) -> (Container, Option<String>) {
    let mut found = container.clone();
    let uid = container.named_by;
    let places = Places { root: root.to_owned(), home, uid, missed: RefCell::default() };
    if is_safe(&container.id) {
        places.describe(&mut found);
    }
    (found, places.missed.into_inner())
}

/// Ids come from cgroup names, which whoever owns the cgroup chooses: they must not lead elsewhere.
fn is_safe(id: &str) -> bool {
    !id.is_empty()
        && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !id.starts_with('.')
}

struct Places {
    root: PathBuf,
    home: Option<PathBuf>,
    /// Whose home that is.
    uid: Option<u32>,
    /// Which file was there and was not read, and why.
    missed: RefCell<Option<String>>,
}

impl Places {
    fn describe(&self, found: &mut Container) {
        let id = found.id.clone();
        let docker = self.state_of("docker").join("containers").join(&id).join("config.v2.json");
        if let Some(state) = self.json::<DockerState>(&docker) {
            let name = state.name.map(|name| name.trim_start_matches('/').to_owned());
            found.name = name.filter(|name| !name.is_empty()).or(found.name.take());
            fill(state.config.and_then(|config| config.labels), found);
        }
        for bundle in self.bundles(&id) {
            fill(self.json::<Bundle>(&bundle).and_then(|bundle| bundle.annotations), found);
        }
        if found.name.is_none() {
            found.name = self.storage_name(&id);
        }
        for name in [&mut found.name, &mut found.pod, &mut found.namespace] {
            name.take_if(|name| name.len() > MAX_NAME);
        }
    }

    /// Where the user's, or the system's, runtime of this name keeps its state.
    fn state_of(&self, runtime: &str) -> PathBuf {
        if runtime == "docker" && self.home.is_none() {
            return self.dockers_state();
        }
        let state = self.home.as_ref().map(|home| home.join(".local/share"));
        state.unwrap_or_else(|| self.root.join("var/lib")).join(runtime)
    }

    /// Where the system's docker keeps its state: as its own configuration has it (`data-root`), or by default.
    fn dockers_state(&self) -> PathBuf {
        let config = self.json::<DockerDaemon>(&self.root.join("etc/docker/daemon.json"));
        let own = config.and_then(|config| config.data_root);
        let below_root = own.as_ref().and_then(|path| path.strip_prefix("/").ok());
        self.root.join(below_root.unwrap_or_else(|| Path::new("var/lib/docker")))
    }

    /// The OCI configurations of one of the system's containers: containerd's tasks, and the storage of podman and
    /// CRI-O.
    fn bundles(&self, id: &str) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        if self.home.is_some() {
            return paths;
        }
        for tasks in [
            "run/containerd/io.containerd.runtime.v2.task",
            "run/k3s/containerd/io.containerd.runtime.v2.task",
        ] {
            let namespaces =
                std::fs::read_dir(self.root.join(tasks)).into_iter().flatten().flatten();
            paths.extend(namespaces.map(|namespace| namespace.path().join(id).join("config.json")));
        }
        for storage in ["run/containers/storage", "var/lib/containers/storage"] {
            paths.extend(STORAGE_DRIVERS.iter().map(|driver| {
                let containers = self.root.join(storage).join(format!("{driver}-containers"));
                containers.join(id).join("userdata/config.json")
            }));
        }
        paths
    }

    /// Where containers/storage keeps what does not outlive a boot (`runroot`), with `transient_store` the lists as well.
    fn passing_storage(&self) -> Option<PathBuf> {
        match (&self.home, self.uid) {
            (None, _) => Some(self.root.join("run/containers/storage")),
            (Some(_), Some(uid)) => Some(self.root.join(format!("run/user/{uid}/containers"))),
            (Some(_), None) => None,
        }
    }

    /// The name in the lists that containers/storage keeps (podman, CRI-O, buildah).
    fn storage_name(&self, id: &str) -> Option<String> {
        // What is removed when it ends (`podman run --rm`, quadlets) is in a list of its own.
        const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];
        let storages = std::iter::once(self.state_of("containers").join("storage"))
            .chain(self.passing_storage());
        let directories: Vec<PathBuf> = storages
            .flat_map(|storage| {
                STORAGE_DRIVERS.map(|driver| storage.join(format!("{driver}-containers")))
            })
            .collect();
        let lists = directories.iter().flat_map(|directory| LISTS.map(|list| directory.join(list)));
        let mut lists = lists;
        lists.find_map(|list| {
            let list: Vec<Stored> = self.json(&list)?;
            list.into_iter().find(|entry| entry.id == id)?.names?.into_iter().next()
        })
    }

    fn json<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        let read = files::read(path, MAX_STATE).inspect_err(|error| {
            if error.kind() != ErrorKind::NotFound {
                self.missed.replace(Some(format!("{}: {error}", path.display())));
            }
        });
        serde_json::from_slice(&read.ok()?).ok()
    }
}

fn fill(labels: Option<Labels>, found: &mut Container) {
    let Some(labels) = labels else { return };
    let name = labels.cri_name.or(labels.kubernetes_name).or(labels.nerdctl_name);
    found.name = found.name.take().or(name);
    // The path knows the uid of the pod only; its name says more.
    found.pod = labels.cri_pod.or(labels.kubernetes_pod).or(found.pod.take());
    let namespace = labels.cri_namespace.or(labels.kubernetes_namespace);
    found.namespace = namespace.or(found.namespace.take());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().expect("temporary directory");
        for (path, text) in files {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
            std::fs::write(path, text).expect("file");
        }
        tree
    }

    /// By the system's state, or by that of a user.
    fn described(tree: &tempfile::TempDir, of_user: bool, id: &str) -> Container {
        let home = of_user.then(|| tree.path().join("home"));
        let found =
            Container { id: id.to_owned(), pod: Some("uid".to_owned()), ..Container::default() };
        describe_in(tree.path(), home, &found).0
    }

    #[test]
    fn names_come_from_each_runtimes_own_state() {
        let tree = tree(&[
            (
                "var/lib/docker/containers/d1/config.v2.json",
                r#"{"Name":"/web","Config":{"Labels":{"io.kubernetes.pod.name":"p"}}}"#,
            ),
            (
                "run/containerd/io.containerd.runtime.v2.task/k8s.io/c1/config.json",
                r#"{"annotations":{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.sandbox-name":"pod-1","io.kubernetes.cri.sandbox-namespace":"prod"}}"#,
            ),
            (
                "home/.local/share/containers/storage/overlay-containers/containers.json",
                r#"[{"id":"x"},{"id":"p1","names":["db"]}]"#,
            ),
            (
                "var/lib/containers/storage/vfs-containers/containers.json",
                r#"[{"id":"v1","names":["queue"]}]"#,
            ),
            (
                "var/lib/containers/storage/vfs-containers/volatile-containers.json",
                r#"[{"id":"v2","names":["once"]}]"#,
            ),
            ("var/lib/docker/containers/bad/config.v2.json", "{"),
        ]);
        assert_eq!(described(&tree, false, "v1").name.as_deref(), Some("queue"));
        assert_eq!(described(&tree, false, "v2").name.as_deref(), Some("once"));
        let docker = described(&tree, false, "d1");
        assert_eq!((docker.name.as_deref(), docker.pod.as_deref()), (Some("web"), Some("p")));
        let cri = described(&tree, false, "c1");
        assert_eq!(
            (cri.name.as_deref(), cri.pod.as_deref(), cri.namespace.as_deref()),
            (Some("app"), Some("pod-1"), Some("prod"))
        );
        assert_eq!(described(&tree, true, "p1").name.as_deref(), Some("db"));
        assert_eq!(described(&tree, false, "bad").name, None);
    }

    #[test]
    fn names_that_do_not_outlive_a_boot_are_with_what_does_not() {
        let list = r#"[{"id":"t1","names":["brief"]}]"#;
        let volatile = "overlay-containers/volatile-containers.json";
        let tree = tree(&[
            (&format!("run/user/1000/containers/{volatile}"), list),
            (&format!("run/containers/storage/{volatile}"), &list.replace("brief", "systems")),
        ]);
        let of = |named_by: Option<u32>| {
            let id = "t1".to_owned();
            let found = Container { id, named_by, ..Container::default() };
            let home = named_by.map(|_| tree.path().join("home"));
            describe_in(tree.path(), home, &found).0.name
        };
        assert_eq!(of(Some(1000)).as_deref(), Some("brief"));
        assert_eq!(of(Some(1001)), None);
        assert_eq!(of(None).as_deref(), Some("systems"));
    }

    #[test]
    fn docker_can_keep_its_state_elsewhere() {
        let state = ("srv/docker/containers/d1/config.v2.json", r#"{"Name":"/web"}"#);
        let daemon = |text: &'static str| ("etc/docker/daemon.json", text);
        for (text, name) in [
            (r#"{"data-root":"/srv/docker","iptables":false}"#, Some("web")),
            (r#"{"data-root":"srv/docker"}"#, None),
            ("{}", None),
        ] {
            let tree = tree(&[state, daemon(text)]);
            assert_eq!(described(&tree, false, "d1").name.as_deref(), name, "{text}");
        }
        let tree = tree(&[("var/lib/docker/containers/d1/config.v2.json", r#"{"Name":"/web"}"#)]);
        assert_eq!(described(&tree, false, "d1").name.as_deref(), Some("web"));
    }

    /// As docker 20.10 and 28 write it.
    #[test]
    fn how_docker_stops_a_container_is_in_its_state() {
        let tree = tree(&[
            (
                "var/lib/docker/containers/d1/config.v2.json",
                r#"{"Name":"/web","Config":{"Labels":{},"StopSignal":"QUIT","StopTimeout":2}}"#,
            ),
            (
                "var/lib/docker/containers/d1/hostconfig.json",
                r#"{"RestartPolicy":{"Name":"always","MaximumRetryCount":0},"AutoRemove":false}"#,
            ),
            ("var/lib/docker/containers/d2/config.v2.json", r#"{"Name":"/db","Config":{}}"#),
        ]);
        let told = |runtime: &str, id: &str| {
            let (runtime, id) = (runtime.to_owned(), id.to_owned());
            let container = Container { runtime, id, ..Container::default() };
            let told = settings_in(tree.path(), &container).into_iter();
            told.map(|it| format!("{}={} {}", it.name, it.value, it.file.is_some()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            told("docker", "d1"),
            [
                "StopTimeout=2 true",
                "StopSignal=QUIT true",
                "RestartPolicy=always true",
                "AutoRemove=false true"
            ]
        );
        assert_eq!(told("docker", "d2"), ["StopTimeout=10 false"]);
        assert!(told("podman", "d1").is_empty() && told("docker", "../d1").is_empty());
    }

    #[test]
    fn what_a_user_calls_by_the_id_of_the_systems_is_not_the_systems() {
        let tree = tree(&[
            ("var/lib/docker/containers/d1/config.v2.json", r#"{"Name":"/prod-db"}"#),
            (
                "run/containerd/io.containerd.runtime.v2.task/k8s.io/d1/config.json",
                r#"{"annotations":{"nerdctl/name":"app"}}"#,
            ),
            ("home/.local/share/docker/containers/d2/config.v2.json", r#"{"Name":"/mine"}"#),
        ]);
        assert_eq!(described(&tree, true, "d1").name, None);
        assert_eq!(described(&tree, false, "d1").name.as_deref(), Some("prod-db"));
        assert_eq!(described(&tree, true, "d2").name.as_deref(), Some("mine"));
        assert_eq!(described(&tree, false, "d2").name, None);
    }

    #[test]
    fn what_is_no_state_is_not_read() {
        let tree = tree(&[("var/lib/docker/containers/big/config.v2.json", "{}")]);
        let of = |id: &str| {
            let container = Container { id: id.to_owned(), ..Container::default() };
            describe_in(tree.path(), None, &container).1
        };
        assert_eq!(of("big"), None);
        let directory = tree.path().join("var/lib/docker/containers");
        let big = format!("[{}0]", "{\"\":0},".repeat(150_000));
        std::fs::write(directory.join("big/config.v2.json"), big).expect("file");
        std::fs::create_dir(directory.join("pipe")).expect("directory");
        files::tests::make_fifo(&directory.join("pipe/config.v2.json"));
        assert!(of("big").is_some_and(|why| why.ends_with("it is larger than 1024 KiB")));
        assert!(of("pipe").is_some_and(|why| why.ends_with("it is no regular file")));
    }

    #[test]
    fn ids_must_not_lead_elsewhere() {
        for id in ["../x", "a/b", "", ".", "..", "a\0b"] {
            assert!(!is_safe(id), "{id:?}");
        }
        assert!(is_safe("0123abc") && is_safe("deb-12"));
    }
}
