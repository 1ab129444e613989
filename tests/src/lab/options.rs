//! What is special about one lab: files laid over the seed before it boots.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};

/// How a lab differs from the seed.
#[derive(Clone, Debug, Default)]
pub struct Options {
    files: Vec<(String, Content)>,
    without_pam_systemd: bool,
}

#[derive(Clone, Debug)]
enum Content {
    Text(String),
    Link(String),
}

impl Options {
    /// A text file at an absolute path of the lab; executable where it begins with `#!`.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.push((path.to_owned(), Content::Text(text.to_owned())));
        self
    }

    /// A symbolic link at an absolute path of the lab.
    #[must_use]
    pub fn link(mut self, path: &str, to: &str) -> Self {
        self.files.push((path.to_owned(), Content::Link(to.to_owned())));
        self
    }

    /// A unit that is never to start.
    #[must_use]
    pub fn mask(self, unit: &str) -> Self {
        self.link(&format!("/etc/systemd/system/{unit}"), "/dev/null")
    }

    /// sshd behind a socket, one instance of a service for each connection (`Accept=yes`). `name` is
    /// `ssh` as Debian calls the units, or `sshd` as others do. The unit is as distributions ship it:
    /// it does not set `KillMode=`.
    #[must_use]
    pub fn ssh_per_connection(self, name: &str) -> Self {
        self.mask("ssh.service")
            .file(
                &format!("/etc/systemd/system/{name}.socket"),
                "[Unit]\nDescription=Secure shell connections\n\n\
                 [Socket]\nListenStream=22\nAccept=yes\n\n[Install]\nWantedBy=sockets.target\n",
            )
            .link(
                &format!("/etc/systemd/system/sockets.target.wants/{name}.socket"),
                &format!("/etc/systemd/system/{name}.socket"),
            )
            .file(
                &format!("/etc/systemd/system/{name}@.service"),
                "[Unit]\nDescription=One secure shell connection\n\n\
                 [Service]\nExecStart=-/usr/sbin/sshd -i\nStandardInput=socket\n\
                 RuntimeDirectory=sshd\nRuntimeDirectoryMode=0755\nRuntimeDirectoryPreserve=yes\n",
            )
    }

    /// Logins are not told to logind.
    #[must_use]
    pub fn without_pam_systemd(mut self) -> Self {
        self.without_pam_systemd = true;
        self
    }

    /// dbus-broker carries the system's bus and those of users, as on Fedora and Arch, where the test has not chosen
    /// another bus itself.
    #[must_use]
    pub fn dbus_broker(mut self) -> Self {
        let links = [
            ("/etc/systemd/system/dbus.service", "/lib/systemd/system/dbus-broker.service"),
            ("/etc/systemd/user/dbus.service", "/usr/lib/systemd/user/dbus-broker.service"),
            ("/etc/systemd/user/sockets.target.wants/dbus.socket", "/etc/systemd/user/dbus.socket"),
        ];
        let chosen = |path: &str| self.files.iter().any(|(other, _)| other == path);
        let links: Vec<_> = links.into_iter().filter(|(path, _)| !chosen(path)).collect();
        for (path, to) in links {
            self = self.link(path, to);
        }
        self.file(
            "/etc/systemd/user/dbus.socket",
            "[Unit]\nDescription=D-Bus User Message Bus Socket\n\n[Socket]\nListenStream=%t/bus\n\n\
             [Install]\nWantedBy=sockets.target\n",
        )
    }

    /// Writes the layer that is laid over `seed`.
    pub(super) fn write_layer(&self, layer: &Path, seed: &Path) -> Result<()> {
        for (path, content) in &self.files {
            put(layer, path, content)?;
        }
        if self.without_pam_systemd {
            let path = "/etc/pam.d/common-session";
            let file = seed.join(path.trim_start_matches('/'));
            let shipped = fs::read_to_string(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            put(layer, path, &Content::Text(without_line(&shipped, "pam_systemd.so")))?;
        }
        Ok(())
    }
}

fn without_line(text: &str, word: &str) -> String {
    text.lines().filter(|line| !line.contains(word)).flat_map(|line| [line, "\n"]).collect()
}

/// Puts one file, and the directories above it, with modes that do not depend on the umask.
fn put(layer: &Path, path: &str, content: &Content) -> Result<()> {
    let relative = Path::new(path.trim_start_matches('/'));
    let mut directory = layer.to_path_buf();
    for part in relative.parent().into_iter().flat_map(Path::components) {
        directory.push(part);
        if !directory.exists() {
            fs::create_dir(&directory).with_context(|| format!("cannot create {path}"))?;
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        }
    }
    let file = layer.join(relative);
    match content {
        Content::Text(text) => {
            fs::write(&file, text).with_context(|| format!("cannot write {path}"))?;
            let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
            fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
        }
        Content::Link(to) => {
            symlink(to, &file).with_context(|| format!("cannot link {path}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_holds_files_programs_and_links() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let layer = directory.path();
        Options::default()
            .file("/etc/a/b.conf", "text\n")
            .file("/usr/local/bin/tool", "#!/bin/sh\n")
            .mask("dbus.service")
            .write_layer(layer, Path::new("/nonexistent"))
            .expect("written");
        let mode = |path: &str| {
            fs::metadata(layer.join(path)).expect("there").permissions().mode() & 0o777
        };
        assert_eq!(mode("etc/a/b.conf"), 0o644);
        assert_eq!(mode("usr/local/bin/tool"), 0o755);
        assert_eq!(mode("etc/a"), 0o755);
        let link = fs::read_link(layer.join("etc/systemd/system/dbus.service")).expect("a link");
        assert_eq!(link, Path::new("/dev/null"));
    }

    #[test]
    fn a_test_that_chooses_its_bus_keeps_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let layer = directory.path();
        Options::default()
            .mask("dbus.service")
            .dbus_broker()
            .write_layer(layer, Path::new("/nonexistent"))
            .expect("written");
        let link = |path: &str| fs::read_link(layer.join(path)).expect("a link");
        assert_eq!(link("etc/systemd/system/dbus.service"), Path::new("/dev/null"));
        let of_users = link("etc/systemd/user/dbus.service");
        assert_eq!(of_users, Path::new("/usr/lib/systemd/user/dbus-broker.service"));
    }

    #[test]
    fn pam_systemd_alone_is_taken_out() {
        let shipped = "session required pam_unix.so\nsession optional\tpam_systemd.so\n# end\n";
        assert_eq!(
            without_line(shipped, "pam_systemd.so"),
            "session required pam_unix.so\n# end\n"
        );
    }
}
