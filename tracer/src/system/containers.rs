//! What the container runtimes themselves know of a container: its name, its pod.
//!
//! Read from their state on disk, so that no runtime has to be asked and none needs to run.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::files;
use crate::evidence::Container;

/// State files larger than this are not read.
const MAX_STATE: u64 = 8 << 20;

/// Annotations for name, pod, namespace: of containerd's CRI plugin, CRI-O and dockershim, nerdctl.
const NAMES: [&str; 3] =
    ["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"];
const PODS: [&str; 2] = ["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"];
const NAMESPACES: [&str; 2] =
    ["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"];

/// Fills in what can be found out. `home` is that of the user whose rootless runtime it may be.
pub fn describe(container: &Container, home: Option<&str>) -> Container {
    describe_in(Path::new("/"), home.map(PathBuf::from), container)
}

/// The same by what is below that directory.
pub(super) fn describe_in(root: &Path, home: Option<PathBuf>, container: &Container) -> Container {
    let mut found = container.clone();
    if is_safe(&container.id) {
        Places { root: root.to_owned(), home }.describe(&mut found);
    }
    found
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
}

impl Places {
    fn describe(&self, found: &mut Container) {
        let id = found.id.clone();
        for state in self.docker_states(&id) {
            docker(&state, found);
        }
        for config in self.bundles(&id) {
            annotations(&config, found);
        }
        if found.name.is_none() {
            found.name = self.storage_name(&id);
        }
    }

    fn docker_states(&self, id: &str) -> Vec<Value> {
        let system = self.root.join("var/lib/docker");
        let user = self.home.as_ref().map(|home| home.join(".local/share/docker"));
        let directories = std::iter::once(system).chain(user);
        directories
            .filter_map(|it| json(&it.join("containers").join(id).join("config.v2.json")))
            .collect()
    }

    /// The OCI configurations of a container: containerd's tasks, and the storage of podman and CRI-O.
    fn bundles(&self, id: &str) -> Vec<Value> {
        let mut paths = Vec::new();
        for tasks in [
            "run/containerd/io.containerd.runtime.v2.task",
            "run/k3s/containerd/io.containerd.runtime.v2.task",
        ] {
            let namespaces =
                std::fs::read_dir(self.root.join(tasks)).into_iter().flatten().flatten();
            paths.extend(namespaces.map(|namespace| namespace.path().join(id).join("config.json")));
        }
        for storage in ["run/containers/storage", "var/lib/containers/storage"] {
            let container = self.root.join(storage).join("overlay-containers").join(id);
            paths.push(container.join("userdata/config.json"));
        }
        paths.iter().filter_map(|path| json(path)).collect()
    }

    /// The name in the list that containers/storage keeps (podman, CRI-O, buildah).
    fn storage_name(&self, id: &str) -> Option<String> {
        let system = self.root.join("var/lib/containers/storage");
        let user = self.home.as_ref().map(|home| home.join(".local/share/containers/storage"));
        let lists = std::iter::once(system).chain(user);
        lists.into_iter().find_map(|storage| {
            let list = json(&storage.join("overlay-containers/containers.json"))?;
            let entry = list
                .as_array()?
                .iter()
                .find(|entry| entry.get("id").and_then(Value::as_str) == Some(id))?;
            entry.get("names")?.get(0)?.as_str().map(str::to_owned)
        })
    }
}

fn docker(state: &Value, found: &mut Container) {
    let name = state.get("Name").and_then(Value::as_str).map(|name| name.trim_start_matches('/'));
    found.name = name.filter(|name| !name.is_empty()).map(str::to_owned).or(found.name.take());
    if let Some(labels) = state.pointer("/Config/Labels") {
        fill(labels, found);
    }
}

fn annotations(config: &Value, found: &mut Container) {
    if let Some(annotations) = config.get("annotations") {
        fill(annotations, found);
    }
}

fn fill(labels: &Value, found: &mut Container) {
    let first =
        |keys: &[&str]| keys.iter().find_map(|key| labels.get(key)?.as_str().map(str::to_owned));
    found.name = found.name.take().or_else(|| first(&NAMES));
    // The path knows the uid of the pod only; its name says more.
    found.pod = first(&PODS).or(found.pod.take());
    found.namespace = first(&NAMESPACES).or(found.namespace.take());
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&files::read(path, MAX_STATE).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Places) {
        let tree = tempfile::tempdir().expect("temporary directory");
        for (path, text) in files {
            let path = tree.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
            std::fs::write(path, text).expect("file");
        }
        let places = Places { root: tree.path().to_owned(), home: Some(tree.path().join("home")) };
        (tree, places)
    }

    fn described(places: &Places, id: &str) -> Container {
        let mut found =
            Container { id: id.to_owned(), pod: Some("uid".to_owned()), ..Container::default() };
        places.describe(&mut found);
        found
    }

    #[test]
    fn names_come_from_each_runtimes_own_state() {
        let (_tree, places) = tree(&[
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
            ("var/lib/docker/containers/bad/config.v2.json", "{"),
        ]);
        let docker = described(&places, "d1");
        assert_eq!((docker.name.as_deref(), docker.pod.as_deref()), (Some("web"), Some("p")));
        let cri = described(&places, "c1");
        assert_eq!(
            (cri.name.as_deref(), cri.pod.as_deref(), cri.namespace.as_deref()),
            (Some("app"), Some("pod-1"), Some("prod"))
        );
        assert_eq!(described(&places, "p1").name.as_deref(), Some("db"));
        assert_eq!(described(&places, "bad").name, None);
    }

    #[test]
    fn ids_must_not_lead_elsewhere() {
        for id in ["../x", "a/b", "", ".", "..", "a\0b"] {
            assert!(!is_safe(id), "{id:?}");
        }
        assert!(is_safe("0123abc") && is_safe("deb-12"));
    }
}
