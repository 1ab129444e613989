//! A private view of Debian's archive: packages of other releases than the machine's, through apt, from
//! the mirror that the machine uses, without touching what is installed or configured.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::image::MERGED;
use crate::lab::apt::{Archive, archive_of};
use crate::lab::wait::must_succeed;

/// Apt with lists of its own.
#[derive(Debug)]
pub struct Apt {
    directory: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    /// Apt for these suites of the machine's mirror, and for machines of that architecture, with its files in
    /// `directory`. Nothing counts as installed: it is for downloading.
    ///
    /// # Errors
    /// Where the machine is no Debian with a mirror, or the directory cannot be written.
    pub fn new(directory: &Path, arch: &str, suites: &[&str]) -> Result<Self> {
        let status = directory.join("status");
        let apt = Self::prepare(directory, suites, &status, Some(arch))?;
        fs::write(&status, "").context("cannot write apt's status")?;
        Ok(apt)
    }

    /// The same, but with what is installed on the machine: it can install.
    ///
    /// # Errors
    /// As those of [`Apt::new`].
    pub fn of_this_machine(directory: &Path, suites: &[&str]) -> Result<Self> {
        Self::prepare(directory, suites, Path::new("/var/lib/dpkg/status"), None)
    }

    fn prepare(
        directory: &Path,
        suites: &[&str],
        status: &Path,
        arch: Option<&str>,
    ) -> Result<Self> {
        for below in ["lists/partial", "cache/archives/partial"] {
            let below = directory.join(below);
            fs::create_dir_all(&below)
                .with_context(|| format!("cannot create {}", below.display()))?;
        }
        let directory = directory
            .canonicalize()
            .with_context(|| format!("cannot find {}", directory.display()))?;
        let main = archive_of(Path::new("/etc/apt"), &codename()?)?;
        // Some have a place of their own, as that of security updates; other releases are where the machine's is.
        let lines = suites.iter().map(|suite| {
            source(archive_of(Path::new("/etc/apt"), suite).as_ref().unwrap_or(&main), suite)
        });
        let configuration = directory.join("apt.conf");
        fs::write(directory.join("sources.list"), lines.collect::<String>())
            .context("cannot write apt's sources")?;
        fs::write(&configuration, settings(&directory, status, arch))
            .context("cannot write apt's configuration")?;
        Ok(Self { directory, configuration })
    }

    /// Whether the lists were fetched.
    pub fn has_lists(&self) -> bool {
        let list = |name: &str| name.ends_with("_Packages") || name.contains("_Packages.");
        fs::read_dir(self.directory.join("lists")).is_ok_and(|entries| {
            entries.flatten().any(|entry| list(&entry.file_name().to_string_lossy()))
        })
    }

    /// Fetches the lists.
    ///
    /// # Errors
    /// Where a suite could not be fetched; the others were.
    pub fn update(&self) -> Result<()> {
        must_succeed(self.command("apt-get").args(["--quiet", "update"]), b"").map(drop)
    }

    /// Names of the packages that match a regular expression.
    ///
    /// # Errors
    /// Where apt-cache fails.
    pub fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let mut command = self.command("apt-cache");
        let text = must_succeed(command.args(["search", "--names-only", pattern]), b"")?;
        Ok(text.lines().filter_map(|line| Some(line.split_once(" - ")?.0.to_owned())).collect())
    }

    /// Downloads a package, or `PACKAGE=VERSION`: its file in `into`.
    ///
    /// # Errors
    /// Where it cannot be fetched or apt does not know it.
    pub fn download(&self, package: &str, into: &Path) -> Result<PathBuf> {
        let mut command = self.command("apt-get");
        must_succeed(command.current_dir(into).args(["--quiet", "download", package]), b"")?;
        let name = package.split('=').next().unwrap_or(package);
        let start = format!("{name}_");
        let entries = fs::read_dir(into).with_context(|| format!("{}", into.display()))?;
        let mut files = entries.flatten().map(|entry| entry.path());
        files
            .find(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(&start) && name.ends_with(".deb")
            })
            .with_context(|| format!("apt-get downloaded no {package}"))
    }

    /// Downloads packages and all that they depend on: the files.
    ///
    /// # Errors
    /// Where they cannot be fetched or apt does not know them.
    pub fn download_with_dependencies(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let mut command = self.command("apt-get");
        command.args(["--quiet", "--yes", "--download-only", "--no-install-recommends", "install"]);
        must_succeed(command.args(packages), b"")?;
        let place = self.directory.join("cache/archives");
        let entries = fs::read_dir(&place).with_context(|| format!("{}", place.display()))?;
        let files = entries.flatten().map(|entry| entry.path());
        Ok(files.filter(|path| path.extension().is_some_and(|kind| kind == "deb")).collect())
    }

    /// Installs a package on the machine, preferring that suite.
    ///
    /// # Errors
    /// Without root, or where apt-get fails.
    pub fn install(&self, package: &str, suite: &str) -> Result<()> {
        let mut command = self.command("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.args(["--yes", "--quiet", "--no-install-recommends", "--target-release", suite]);
        must_succeed(command.args(["install", package]), b"").map(drop)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        // What the machine's own configuration says of proxies and the like holds as well.
        command.env("APT_CONFIG", &self.configuration).env("LC_ALL", "C");
        command
    }
}

/// Unpacks packages into a new directory whose `/usr` is merged, and removes them.
///
/// # Errors
/// Where one cannot be read, or the directory cannot be made.
pub fn unpack_all(packages: &[PathBuf], into: &Path) -> Result<()> {
    if into.exists() {
        fs::remove_dir_all(into).context("cannot remove what was unpacked before")?;
    }
    for name in MERGED {
        let real = into.join("usr").join(name);
        fs::create_dir_all(&real).with_context(|| format!("cannot create {}", real.display()))?;
        symlink(format!("usr/{name}"), into.join(name))
            .with_context(|| format!("cannot link {name}"))?;
    }
    let content = into.with_extension("tar");
    for package in packages {
        let file = File::create(&content).context("cannot make a file")?;
        let mut read = Command::new("dpkg-deb");
        let status = read.arg("--fsys-tarfile").arg(package).stdout(file).status();
        if !status.is_ok_and(|status| status.success()) {
            bail!("dpkg-deb cannot read {}", package.display());
        }
        // The links stay what they are.
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--keep-directory-symlink").arg("--file").arg(&content);
        must_succeed(tar.arg("--directory").arg(into), b"")?;
        fs::remove_file(package).context("cannot remove a package")?;
    }
    fs::remove_file(&content).context("cannot remove a file")
}

/// A tree with the content of these packages of a Debian release; what is fetched is kept below `directory`.
///
/// # Errors
/// Where one is not there, or cannot be fetched: the message says which are missing.
pub fn tree_of(packages: &[&str], suite: &str, directory: &Path) -> Result<PathBuf> {
    let place = directory.join(format!("packages-{suite}-{}", packages.join("-")));
    if place.is_dir() {
        return Ok(place);
    }
    let files = fetch(packages, suite, directory).with_context(|| {
        format!("{} of {suite} are not there yet, and were not fetched", packages.join(", "))
    })?;
    let unfinished = directory.join(format!("packages-{suite}-unfinished"));
    unpack_all(&files, &unfinished)?;
    fs::rename(&unfinished, &place).context("cannot move the packages into place")?;
    Ok(place)
}

fn fetch(packages: &[&str], suite: &str, directory: &Path) -> Result<Vec<PathBuf>> {
    let apt = Apt::new(&directory.join(format!("apt-{suite}")), debian_architecture(), &[suite])?;
    // Since Debian 13 libraries with times of 64 bits may be called so.
    let one = |package: &&str| {
        let renamed = || apt.download(&format!("{package}t64"), directory);
        apt.download(package, directory).or_else(|error| renamed().map_err(|_| error))
    };
    let download = || packages.iter().map(one).collect();
    if apt.has_lists()
        && let Ok(files) = download()
    {
        return Ok(files);
    }
    // What old lists name may be there no more.
    apt.update()?;
    download()
}

/// What Debian calls this machine's architecture.
const fn debian_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Code name of the machine's release.
///
/// # Errors
/// Where it has none.
pub fn codename() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let value = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let value = value.map(|value| value.trim().trim_matches('"')).filter(|value| !value.is_empty());
    value.map(str::to_owned).context("/etc/os-release has no VERSION_CODENAME: this needs Debian")
}

fn source(archive: &Archive, suite: &str) -> String {
    let option = match &archive.keyring {
        _ if archive.trusted => "[trusted=yes] ".to_owned(),
        Some(keyring) => format!("[signed-by={}] ", keyring.display()),
        None => String::new(),
    };
    format!("deb {option}{} {suite} main\n", archive.uri)
}

fn settings(directory: &Path, status: &Path, arch: Option<&str>) -> String {
    let directory = directory.display();
    let arch = arch.map_or_else(String::new, |arch| {
        format!("APT::Architecture \"{arch}\";\nAPT::Architectures {{ \"{arch}\"; }};\n")
    });
    format!(
        "Dir::State::lists \"{directory}/lists\";\n\
         Dir::State::status \"{}\";\n\
         Dir::Cache \"{directory}/cache\";\n\
         Dir::Etc::sourcelist \"{directory}/sources.list\";\n\
         Dir::Etc::sourceparts \"-\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n{arch}",
        status.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_suites_come_from_the_same_place() {
        let mut archive = Archive {
            uri: "http://one.example/debian".to_owned(),
            suite: "bookworm".to_owned(),
            keyring: Some("/k/a.gpg".into()),
            trusted: false,
        };
        let signed = "deb [signed-by=/k/a.gpg] http://one.example/debian bullseye main\n";
        assert_eq!(source(&archive, "bullseye"), signed);
        archive.trusted = true;
        assert_eq!(
            source(&archive, "sid"),
            "deb [trusted=yes] http://one.example/debian sid main\n"
        );
    }
}
