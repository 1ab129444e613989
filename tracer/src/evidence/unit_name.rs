//! Names of units (systemd.unit(5)).

use super::cgroup_path::{UNIT_TYPES, is_unit_name, unit_escape};

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

/// Whether it is a pattern of names as systemctl takes it (glob(7)), and can fit one.
pub fn is_unit_pattern(text: &str) -> bool {
    let as_name = text.replace(['*', '?', '[', ']', '!', '^'], "x");
    let has_type = is_unit_name(&as_name) || is_unit_name(&format!("{as_name}.service"));
    text.contains(['*', '?', '[']) && has_type
}

/// The name of a unit as somebody types it, complete as systemctl does it: without a suffix a service is meant, and by a template all that is made of it.
pub fn complete_unit_name(text: &str) -> String {
    let is_type = |(stem, kind): (&str, &str)| !stem.is_empty() && UNIT_TYPES.contains(&kind);
    // A pattern without a suffix fits units of any type (`unit_name_mangle_with_suffix` in `src/basic/unit-name.c`).
    let is_complete = text.rsplit_once('.').is_some_and(is_type) || is_unit_pattern(text);
    let name = if is_complete { text.to_owned() } else { format!("{text}.service") };
    let template = name.rsplit_once('.').filter(|(stem, _)| stem.len() > 1 && stem.ends_with('@'));
    match template {
        Some((stem, kind)) if !is_unit_pattern(&name) => format!("{stem}*.{kind}"),
        _ => name,
    }
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
    fn patterns_of_names() {
        for pattern in ["ssh*", "ssh?.service", "*", "a[0-9]@*.service"] {
            assert!(is_unit_pattern(pattern), "{pattern}");
        }
        for other in ["ssh.service", "ssh", "", "/home/*", "a b*"] {
            assert!(!is_unit_pattern(other), "{other}");
        }
    }

    #[test]
    fn names_are_completed_as_systemctl_does() {
        for (text, name) in [
            ("nginx", "nginx.service"),
            ("a.socket", "a.socket"),
            ("org.example.App", "org.example.App.service"),
            ("getty@", "getty@*.service"),
            ("getty@.service", "getty@*.service"),
            ("getty@tty1", "getty@tty1.service"),
            ("@", "@.service"),
            ("ssh*", "ssh*"),
            ("ssh*.service", "ssh*.service"),
        ] {
            assert_eq!(complete_unit_name(text), name);
        }
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
