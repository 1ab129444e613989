//! The seed: a small Debian system that every lab starts from, installed once and then only read.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::apt::{self, Archive};
use super::wait::must_succeed;
use crate::vm::apt::tree_of;

/// Environment variable: where seeds and running labs are kept.
const DIRECTORY_VARIABLE: &str = "KILLTRACE_LAB_DIR";
/// Environment variable: the Debian release that the lab is made of, by its code name. Without it, the machine's own.
pub const SUITE_VARIABLE: &str = "KILLTRACE_LAB_SUITE";
const DEFAULT_DIRECTORY: &str = "/var/cache/killtrace-lab";

/// What is installed beside the essential packages.
const PACKAGES: &[&str] = &[
    "at",
    "cron",
    "crun",
    "dbus",
    "dbus-broker",
    "iproute2",
    "libpam-systemd",
    "openssh-client",
    "openssh-server",
    "parallel",
    "polkitd",
    "procps",
    "runc",
    "sudo",
    "systemd",
    "systemd-container",
    "systemd-sysv",
    "tmux",
];

/// OpenRC's, which conflict with systemd's: fetched with the seed, for [`super::Lab::unpack`].
pub const OPENRC: &[&str] = &["openrc", "libeinfo1", "librc1"];

/// A daemon that kills when memory runs short: fetched with the seed, and unpacked where a test is about it.
pub const EARLYOOM: &[&str] = &["earlyoom"];

/// What restarts services after an upgrade, and the modules it needs: kept likewise.
pub const NEEDRESTART: &[&str] = &[
    "needrestart",
    "libintl-perl",
    "libmodule-find-perl",
    "libproc-processtable-perl",
    "libsort-naturally-perl",
    "libterm-readkey-perl",
];

/// Made in the seed once its packages are there. Masked: what belongs to the machine and not to the
/// lab (kernel modules and settings, consoles), and what would start by itself in the midst of a test.
const FINISH: &str = r#"
set -eu
useradd --create-home --shell /bin/bash --uid 1000 --password '*' alice
touch /home/alice/.hushlogin /etc/default/locale
echo 'alice ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/alice
chmod 440 /etc/sudoers.d/alice
cat > /etc/ssh/sshd_config.d/lab.conf <<'END'
AuthorizedKeysFile /etc/ssh/authorized_keys/%u
UseDNS no
END
printf '127.0.0.1 localhost lab\n' > /etc/hosts
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service fstrim.timer motd-news.timer console-getty.service getty@.service \
    systemd-modules-load.service systemd-sysctl.service systemd-remount-fs.service \
    systemd-networkd.service systemd-resolved.service systemd-timesyncd.service \
    dev-hugepages.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
    sys-fs-fuse-connections.mount
do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
# Tests that are about the other bus choose it.
rm -f /etc/systemd/system/dbus.service
# Tests that are about cron or at start them.
rm -f /etc/systemd/system/multi-user.target.wants/cron.service
rm -f /etc/systemd/system/multi-user.target.wants/atd.service
rm -rf /var/cache/apt/archives/*.deb /var/lib/apt/lists/* /var/log/*.log
"#;

/// Where the lab keeps what it needs: `$KILLTRACE_LAB_DIR`, else below `/var/cache`.
pub fn lab_directory() -> PathBuf {
    std::env::var_os(DIRECTORY_VARIABLE)
        .filter(|value| !value.is_empty())
        .map_or_else(|| PathBuf::from(DEFAULT_DIRECTORY), PathBuf::from)
}

/// The seed's directory; installs it first where it is not there yet. Takes a minute or two then.
///
/// # Errors
/// Without root, debootstrap or a usable apt source.
pub fn ensure() -> Result<PathBuf> {
    require_root()?;
    let own = own_suite()?;
    let suite = suite()?;
    let directory = lab_directory();
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let seed = directory.join(format!("seed-{suite}-{:016x}", recipe()));
    // Two test programs may come here at the same time: the second waits for the first.
    let lock =
        File::create(directory.join("seed.lock")).context("cannot create the seed's lock")?;
    lock.lock().context("cannot lock the seed")?;
    if !seed.exists() {
        // One archive has all releases.
        let archive = apt::archive_of(Path::new("/etc/apt"), &own)?;
        let archive = Archive { suite, ..archive };
        let unfinished = directory.join("seed-unfinished");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).context("cannot remove an unfinished seed")?;
        }
        install(&archive, &unfinished)?;
        fs::rename(&unfinished, &seed).context("cannot move the finished seed into place")?;
        // Where they cannot be fetched, the test that needs them says so.
        for packages in [OPENRC, EARLYOOM, NEEDRESTART] {
            let _ = tree_of(packages, &archive.suite, &directory);
        }
    }
    Ok(seed)
}

/// Code name of the release that the lab is made of.
pub(super) fn suite() -> Result<String> {
    let asked = std::env::var(SUITE_VARIABLE).unwrap_or_default();
    if asked.is_empty() { own_suite() } else { Ok(asked) }
}

/// Code name of the machine's own release.
fn own_suite() -> Result<String> {
    let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let own = codename(&release).context(
        "/etc/os-release has no VERSION_CODENAME: the lab is installed from a Debian release",
    )?;
    Ok(own.to_owned())
}

fn install(archive: &Archive, target: &Path) -> Result<()> {
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.arg("--variant=minbase").arg(format!("--include={}", PACKAGES.join(",")));
    if archive.trusted {
        debootstrap.arg("--no-check-gpg");
    } else if let Some(keyring) = archive.keyring.as_ref().filter(|path| path.exists()) {
        debootstrap.arg(format!("--keyring={}", keyring.display()));
    }
    debootstrap.arg(&archive.suite).arg(target).arg(&archive.uri);
    debootstrap.env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C");
    if let Some(proxy) = apt_proxy() {
        debootstrap.env("http_proxy", &proxy).env("https_proxy", &proxy);
    }
    must_succeed(&mut debootstrap, b"").with_context(|| {
        "cannot install the lab's system (is debootstrap there? `cargo xtask setup` installs it)"
    })?;
    must_succeed(
        Command::new("chroot").arg(target).args(["/bin/sh", "-s"]).env("LC_ALL", "C"),
        FINISH.as_bytes(),
    )
    .context("cannot finish the lab's system")?;
    Ok(())
}

/// The proxy apt is told to use: debootstrap does not ask apt.
fn apt_proxy() -> Option<String> {
    let shell = must_succeed(
        Command::new("apt-config").args(["shell", "proxy", "Acquire::http::Proxy"]),
        b"",
    )
    .ok()?;
    let value = shell.trim().strip_prefix("proxy='")?.strip_suffix('\'')?;
    (value.starts_with("http://") || value.starts_with("https://")).then(|| value.to_owned())
}

/// Changes whenever the seed has to be made anew (FNV-1a, which does not depend on the toolchain).
fn recipe() -> u64 {
    let text = PACKAGES.iter().flat_map(|package| package.bytes()).chain(FINISH.bytes());
    text.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn codename(os_release: &str) -> Option<&str> {
    let value = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="))?;
    let value = value.trim().trim_matches('"');
    (!value.is_empty()).then_some(value)
}

/// # Errors
/// Where the effective user is not root.
pub(super) fn require_root() -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    // /proc/self belongs to the effective user.
    let uid = fs::metadata("/proc/self").context("cannot read /proc/self")?.uid();
    if uid != 0 {
        bail!("the lab needs root for its namespaces: run this with sudo");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_found_with_and_without_quotes() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n"), Some("bookworm"));
        assert_eq!(codename("VERSION_CODENAME=\"noble\"\n"), Some("noble"));
        assert_eq!(codename("VERSION_CODENAME=\nID=arch\n"), None);
    }
}
