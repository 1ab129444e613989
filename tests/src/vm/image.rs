//! What the virtual machine boots into: the machine's own programs and libraries, the programs under
//! test, and nothing else; all in memory.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cpio::Archive;
use super::plan::{self, Plan};
use crate::lab::wait::{must_succeed, output_of};

/// Packages whose programs the tests use, or may want.
pub(super) const PACKAGES: &[&str] =
    &["bash", "bsdutils", "coreutils", "dash", "grep", "iproute2", "mount", "procps", "util-linux"];

/// Directories that a merged `/usr` has links for.
pub(super) const MERGED: &[&str] = &["bin", "sbin", "lib", "lib64"];

/// What nobody reads there.
pub(super) const WITHOUT: &[&str] = &[
    "boot",
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo",
    "var/cache",
    "var/lib/apt",
];

/// Small files that programs look for.
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/bash\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n\
         alice:x:1000:1000:Alice:/home/alice:/bin/bash\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\nalice:x:1000:\n"),
    ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
    ("etc/hosts", "127.0.0.1 localhost\n"),
    ("etc/hostname", concat!("killtrace-vm", "\n")),
];

/// The programs to be tried.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Directory with `killtrace` and `killtrace-fixture`.
    pub built: PathBuf,
    /// The test programs, by the name under which the guest has them.
    pub tests: Vec<(String, PathBuf)>,
}

/// Makes the initramfs: of the tree `userland`, or else of this machine's programs.
///
/// # Errors
/// Where a program is not there, or this is no Debian.
pub fn make(
    programs: &Programs,
    userland: Option<&Path>,
    plan: &Plan,
    scratch: &Path,
) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for name in MERGED {
        archive.directory(&format!("usr/{name}"));
        archive.link(name, &format!("usr/{name}"));
    }
    for place in ["dev", "proc", "sys", "run", "tmp", "root", "home/alice", "var/tmp"] {
        archive.directory(place);
    }
    for (path, content) in FILES {
        archive.file(path, 0o644, content.as_bytes());
    }
    archive.file(plan::PLACE.trim_start_matches('/'), 0o644, &serde_json::to_vec(plan)?);

    if let Some(userland) = userland {
        archive.tree(userland, WITHOUT)?;
        // The libraries are there, and this machine's linker knows nothing of them.
        add_own(&mut archive, None, programs, scratch)?;
    } else {
        let mut libraries = BTreeSet::new();
        for path in packaged_programs()? {
            add(&mut archive, Some(&mut libraries), &path, &merged(&path), &path)?;
        }
        let shell = Path::new("/bin/sh");
        add(&mut archive, Some(&mut libraries), shell, "usr/bin/sh", shell)?;
        add_own(&mut archive, Some(&mut libraries), programs, scratch)?;
    }
    archive.link("init", &format!("{}/killtrace-vm", plan::DIRECTORY));
    Ok(archive.finish())
}

/// Adds the programs to be tried, and the guest; with their libraries where `libraries` is for those that were
/// added.
pub(super) fn add_own(
    archive: &mut Archive,
    mut libraries: Option<&mut BTreeSet<String>>,
    programs: &Programs,
    scratch: &Path,
) -> Result<()> {
    let own = plan::DIRECTORY.trim_start_matches('/');
    for name in ["killtrace", "killtrace-fixture", "killtrace-vm"] {
        let path = programs.built.join(name);
        let lean = stripped(&path, scratch, name)?;
        add(archive, libraries.as_deref_mut(), &lean, &format!("{own}/{name}"), &path)?;
    }
    for (name, path) in &programs.tests {
        let lean = stripped(path, scratch, name)?;
        add(archive, libraries.as_deref_mut(), &lean, &format!("{own}/deps/{name}"), path)?;
    }
    Ok(())
}

/// Adds a program, and the libraries that the dynamic linker says `linked` needs.
fn add(
    archive: &mut Archive,
    libraries: Option<&mut BTreeSet<String>>,
    content: &Path,
    place: &str,
    linked: &Path,
) -> Result<()> {
    let bytes = fs::read(content).with_context(|| format!("cannot read {}", content.display()))?;
    archive.file(place, 0o755, &bytes);
    let Some(libraries) = libraries else { return Ok(()) };
    for library in libraries_of(linked)? {
        if libraries.insert(library.clone()) {
            let path = Path::new(&library);
            let bytes =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            archive.file(&merged(path), 0o755, &bytes);
        }
    }
    Ok(())
}

/// Paths of the programs of [`PACKAGES`].
fn packaged_programs() -> Result<Vec<PathBuf>> {
    let mut query = Command::new("dpkg-query");
    let listed = must_succeed(query.arg("--listfiles").args(PACKAGES), b"")
        .context("the virtual machine is made of Debian's programs")?;
    let paths = listed.lines().map(PathBuf::from).filter(|path| {
        let directory = path.parent().and_then(Path::file_name).unwrap_or_default();
        let program = |data: fs::Metadata| data.is_file() && data.permissions().mode() & 0o111 != 0;
        (directory == "bin" || directory == "sbin") && path.metadata().is_ok_and(program)
    });
    let paths: Vec<PathBuf> = paths.collect();
    if paths.is_empty() {
        bail!("no programs are installed from {}", PACKAGES.join(", "));
    }
    Ok(paths)
}

/// Where a path of the machine is in the archive: below `/usr`, as links make it appear anyway.
fn merged(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = text.trim_start_matches('/');
    let first = text.split('/').next().unwrap_or_default();
    if MERGED.contains(&first) { format!("usr/{text}") } else { text.to_owned() }
}

/// Libraries of a program, and the dynamic linker; none for scripts and static programs.
fn libraries_of(program: &Path) -> Result<Vec<String>> {
    let output = output_of(Command::new("ldd").arg(program), b"")?;
    Ok(paths_in(&String::from_utf8_lossy(&output.stdout)))
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, or the linker's path alone.
fn paths_in(listing: &str) -> Vec<String> {
    let paths = listing.lines().filter_map(|line| {
        let words = line.split_whitespace().collect::<Vec<_>>();
        words.iter().find(|word| word.starts_with('/')).map(|&word| word.to_owned())
    });
    // The first line of a problem with a program is its own path and a colon.
    paths.filter(|path| !path.ends_with(':')).collect()
}

/// A copy without debug information, which is most of a program; the program itself where there is
/// no `strip`.
fn stripped(program: &Path, scratch: &Path, name: &str) -> Result<PathBuf> {
    if !program.is_file() {
        bail!("{} is not there: `cargo xtask vm` builds it", program.display());
    }
    let lean = scratch.join(name);
    let strip = Command::new("strip").arg("-o").arg(&lean).arg(program).status();
    Ok(if strip.is_ok_and(|status| status.success()) { lean } else { program.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_where_links_lead() {
        assert_eq!(merged(Path::new("/bin/bash")), "usr/bin/bash");
        assert_eq!(merged(Path::new("/lib64/ld.so")), "usr/lib64/ld.so");
        assert_eq!(merged(Path::new("/usr/bin/env")), "usr/bin/env");
        assert_eq!(merged(Path::new("/etc/hosts")), "etc/hosts");
    }

    #[test]
    fn libraries_are_read_from_the_linkers_list() {
        let listing = "\tlinux-vdso.so.1 (0x00007ffc)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
            \tlibgone.so => not found\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            paths_in(listing),
            ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]
        );
        assert!(paths_in("\tnot a dynamic executable\n").is_empty());
    }
}
