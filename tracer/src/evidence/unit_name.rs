//! Names of units (systemd.unit(5)).

use super::cgroup_path::unit_escape;

/// The template that a unit is an instance of: `sshd@.service` of `sshd@x.service`. `None` where it is no instance.
pub fn template_of(unit: &str) -> Option<String> {
    let (stem, kind) = unit.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{kind}"))
}

/// The name of what can be edited: of an instance its template, else the unit itself.
pub fn unit_template(unit: &str) -> String {
    template_of(unit).unwrap_or_else(|| unit.to_owned())
}

/// The unit that systemd makes of a path: what is mounted there, or the device (`unit_name_from_path`).
pub fn unit_of_file(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let kind = match parts.first() {
        Some(&("dev" | "sys")) => "device",
        _ => "mount",
    };
    // A slash is `\x2f` by now, and nothing else is.
    let name = unit_escape(&parts.join("/")).replace("\\x2f", "-");
    if name.is_empty() { format!("-.{kind}") } else { format!("{name}.{kind}") }
}

/// Whether a path is, or is below, what a unit mounts.
pub fn needs_mount(path: &str, unit: &str) -> bool {
    let ends = path.char_indices().filter(|(_, letter)| *letter == '/').map(|(at, _)| at);
    path.starts_with('/') && ends.chain([path.len()]).any(|end| unit_of_file(&path[..end]) == unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_of_instances() {
        assert_eq!(template_of("ssh@1-2.service").as_deref(), Some("ssh@.service"));
        assert_eq!(template_of("a@x.y.service").as_deref(), Some("a@.service"));
        assert_eq!(template_of("ssh@.service"), None);
        assert_eq!(template_of("plain.service"), None);
        assert_eq!(template_of("no-type@x"), None);
    }

    #[test]
    fn units_of_paths() {
        assert_eq!(unit_of_file("/m/data/"), "m-data.mount");
        assert_eq!(unit_of_file("/dev/sda1"), "dev-sda1.device");
        assert_eq!(unit_of_file("/"), "-.mount");
        assert_eq!(unit_of_file("/.a/b-c"), "\\x2ea-b\\x2dc.mount");
    }

    #[test]
    fn mounts_that_a_path_needs() {
        assert!(needs_mount("/m/data", "m.mount"));
        assert!(needs_mount("/m/data", "m-data.mount"));
        assert!(needs_mount("/m/data", "-.mount"));
        assert!(!needs_mount("/m/data", "m-da.mount"));
        assert!(!needs_mount("m/data", "m.mount"));
    }
}
