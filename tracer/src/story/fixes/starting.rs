//! Remedies where somebody had a unit or a service stopped, or where none was started: start it again, install it again,
//! keep updates from it.

use super::super::verdict::Fix;
use super::unit_at::UnitAt;
use super::{fix, operand, quoted, remark};

/// Why a unit that was stopped does not start by `systemctl start` alone, or not for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Nothing keeps it.
    Free,
    /// Nothing keeps it, but it is no longer started at boot.
    Disabled,
    /// `systemctl mask`: it cannot be started; until the next boot alone where that was asked for.
    Masked { for_now: bool },
    /// Its file is gone.
    Deleted,
    /// It was made for one connection by a socket with `Accept=yes`, and does not start without one.
    OfConnection,
}

/// What was stopped is not gone.
pub fn start_again(at: &UnitAt, kept: Kept) -> Fix {
    let start = at.sudo(&at.about("start"));
    let start_it = "start it again";
    let runs = "the unit runs again; its settings are untouched";
    let (title, commands, effect) = match kept {
        Kept::Free => (start_it, vec![start], runs),
        Kept::Disabled => (
            "start it again, at boot as well",
            vec![at.sudo(&at.about("enable --now"))],
            "the unit runs again, and is started at boot as it was",
        ),
        Kept::Masked { for_now } => {
            let unmask = if for_now { "unmask --runtime" } else { "unmask" };
            let allowed = "the unit is no longer masked, so that it can be started, and runs again";
            (
                "take the mask off and start it again",
                vec![at.sudo(&at.about(unmask)), start],
                allowed,
            )
        }
        Kept::Deleted => (
            "put its file back and start it again",
            vec![
                remark(&format!(
                    "the file of {} is gone; when it is back, from the package or a backup:",
                    at.unit
                )),
                at.sudo(&at.systemctl("daemon-reload")),
                start,
            ],
            "systemd knows the unit again and runs it",
        ),
        Kept::OfConnection => return connect_again(at),
    };
    fix(title, commands, effect)
        .but("whoever stopped it may have had a reason: ask first")
        .check(at.about("status"))
        .see("systemctl(1)")
}

/// It served one connection, and is not to be started without one: its socket makes an instance for each.
fn connect_again(at: &UnitAt) -> Fix {
    let socket = at.unit.replace("@.service", ".socket");
    fix(
        "connect again",
        vec![at.systemctl(&format!("status {}", operand(&socket)))],
        &format!("while {socket} listens (Accept=yes), the client's next connection gets an instance of its own"),
    )
    .but("what that connection had been about is not taken up again unless its client does so")
    .check(at.systemctl(&format!("list-units {}", quoted(&at.unit.replace("@.", "@*.")))))
    .see("systemd.socket(5)")
}

/// The package of the unit was removed by one of these; `package` where its name is known, `os` as in [`PackageTool::of`].
pub fn install_again(
    at: &UnitAt,
    updaters: &[String],
    os: Option<&str>,
    package: Option<&str>,
) -> Fix {
    let install = PackageTool::of(updaters, os).map(|tool| match tool {
        PackageTool::Dnf => "dnf install",
        PackageTool::Zypper => "zypper install",
        PackageTool::Pacman => "pacman -S",
        PackageTool::Apk => "apk add",
        PackageTool::Apt => "apt-get install",
    });
    let command = match (install, package) {
        (Some(install), Some(package)) => format!("sudo {install} {}", operand(package)),
        (Some(install), None) => {
            remark(&format!("with the package that was removed: sudo {install} PACKAGE"))
        }
        (None, _) => remark("install the package that was removed"),
    };
    fix(
        "install its package again",
        vec![command, at.sudo(&at.about("start"))],
        "the package, and with it the unit, is there again",
    )
    .but("whoever removed it may have had a reason: ask first")
    .check(at.about("status"))
    .see("apt-get(8), dnf(8), systemctl(1)")
}

/// What installs packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PackageTool {
    Apt,
    Dnf,
    Zypper,
    Pacman,
    Apk,
}

impl PackageTool {
    /// By what was seen at work, rpm works for zypper as for dnf; else by the distribution, `os`, as os-release(5) has its
    /// ids: PackageKit works everywhere.
    fn of(updaters: &[String], os: Option<&str>) -> Option<Self> {
        const TOOLS: [(&str, PackageTool); 20] = [
            ("zypper", PackageTool::Zypper),
            ("transactional-u", PackageTool::Zypper),
            ("pacman", PackageTool::Pacman),
            ("pamac-daemon", PackageTool::Pacman),
            ("apk", PackageTool::Apk),
            ("dnf", PackageTool::Dnf),
            ("dnf-3", PackageTool::Dnf),
            ("dnf4", PackageTool::Dnf),
            ("dnf5", PackageTool::Dnf),
            ("dnf5daemon-serv", PackageTool::Dnf),
            ("dnf-automatic", PackageTool::Dnf),
            ("yum", PackageTool::Dnf),
            ("microdnf", PackageTool::Dnf),
            ("rpm-ostree", PackageTool::Dnf),
            ("rpm", PackageTool::Dnf),
            ("apt", PackageTool::Apt),
            ("apt-get", PackageTool::Apt),
            ("aptitude", PackageTool::Apt),
            ("dpkg", PackageTool::Apt),
            ("unattended-upgr", PackageTool::Apt),
        ];
        let tool = TOOLS.iter().find(|(name, _)| updaters.iter().any(|updater| updater == name));
        let by_os = || os?.split(' ').find_map(Self::of_distribution);
        tool.map(|(_, tool)| *tool).or_else(by_os)
    }

    fn of_distribution(id: &str) -> Option<Self> {
        Some(match id {
            "debian" | "ubuntu" => Self::Apt,
            "fedora" | "rhel" | "centos" => Self::Dnf,
            "suse" | "opensuse" => Self::Zypper,
            "arch" => Self::Pacman,
            "alpine" => Self::Apk,
            _ => return None,
        })
    }
}

/// A package manager, or what works for one, restarted it. `os`: as in [`PackageTool::of`]. `file`: the unit's own file;
/// `package`: whose script did it, where that is known.
pub fn updates(
    at: &UnitAt,
    updaters: &[String],
    os: Option<&str>,
    file: Option<&str>,
    package: Option<&str>,
) -> Fix {
    let is = |name: &str| updaters.iter().any(|updater| updater == name);
    let snap = at.unit.strip_prefix("snap.").and_then(|rest| rest.split('.').next());
    if let Some(snap) = snap.filter(|_| is("snapd") || is("snap")) {
        let snap = operand(snap);
        return fix(
            "choose when the snap is refreshed",
            vec![format!("sudo snap refresh --hold=72h {snap}")],
            "the snap is not refreshed, and its services not restarted, for three days",
        )
        .but("security updates of the snap wait as well")
        .check(format!("snap info {snap}"))
        .see("snap(8)");
    }
    if is("needrestart") && at.user.is_none() {
        // Perl reads the line: as perlfunc's quotemeta, so that a name is nothing but a name to it.
        let escaped = at.unit.chars().flat_map(|c| {
            let plain = c.is_ascii_alphanumeric() || c == '_';
            (!plain).then_some('\\').into_iter().chain([c])
        });
        let pattern: String = escaped.collect();
        let line = format!("$nrconf{{override_rc}}{{qr(^{pattern})}} = 0;");
        // A file for each unit: one remedy does not undo another.
        let file = format!("/etc/needrestart/conf.d/50-killtrace-{}.conf", at.unit);
        return fix(
            "have needrestart leave the unit alone",
            vec![format!("printf '%s\\n' {} | sudo tee {}", quoted(&line), quoted(&file))],
            "needrestart still lists the unit, but does not restart it after upgrades",
        )
        .but("it goes on using the old libraries until you restart it")
        .check("sudo needrestart -r l")
        .see("needrestart(1)");
    }
    let file = file.map_or_else(|| at.unit.clone(), str::to_owned);
    let owner = operand(&file);
    let tool = PackageTool::of(updaters, os);
    let (find, hold, see) = holding(&owner, tool);
    // dpkg's scripts alone tell whose they are.
    let package = package.filter(|_| tool == Some(PackageTool::Apt));
    let commands = match package {
        Some(package) => vec![format!("sudo apt-mark hold {}", operand(package))],
        None => vec![find, format!("# with the package it names: {hold}")],
    };
    fix(
        "choose when its package is upgraded",
        commands,
        "the package stays as it is, so that no upgrade restarts the unit",
    )
    .but(if tool == Some(PackageTool::Apt) {
        "it gets no security updates meanwhile; dpkg itself does not heed a hold, and a shorter restart is often the better cure"
    } else {
        "it gets no security updates meanwhile; a shorter restart is often the better cure"
    })
    .check(at.about("status"))
    .see(see)
}

/// How the package is found that a file is of, and how it is kept as it is, for a shell; and the manuals of that.
fn holding(owner: &str, tool: Option<PackageTool>) -> (String, &'static str, &'static str) {
    match tool {
        Some(PackageTool::Dnf) => {
            (format!("rpm -qf {owner}"), "sudo dnf versionlock add PACKAGE", "dnf(8), rpm(8)")
        }
        Some(PackageTool::Zypper) => {
            (format!("rpm -qf {owner}"), "sudo zypper addlock PACKAGE", "zypper(8), rpm(8)")
        }
        Some(PackageTool::Pacman) => (
            format!("pacman -Qo {owner}"),
            "in /etc/pacman.conf, under [options]: IgnorePkg = PACKAGE",
            "pacman(8), pacman.conf(5)",
        ),
        Some(PackageTool::Apk) => (
            format!("apk info --who-owns {owner}"),
            "sudo apk add 'PACKAGE=VERSION', with the version that is installed",
            "apk(8), apk-world(5)",
        ),
        Some(PackageTool::Apt) => (
            format!("dpkg -S {owner}"),
            "sudo apt-mark hold PACKAGE",
            "apt-mark(8), unattended-upgrade(8)",
        ),
        // Which of them is there is not known.
        None => (
            format!("rpm -qf {owner} || dpkg -S {owner} || pacman -Qo {owner}"),
            "dnf versionlock add PACKAGE, apt-mark hold PACKAGE, or IgnorePkg in /etc/pacman.conf",
            "dnf(8), apt-mark(8), pacman.conf(5)",
        ),
    }
}

/// Where systemd does not start services; `is_openrcs`: OpenRC does.
pub fn start_service_again(service: &str, is_openrcs: bool) -> Fix {
    let name = operand(service);
    let (program, manual) =
        if is_openrcs { ("rc-service", "rc-service(8)") } else { ("service", "service(8)") };
    fix(
        "start the service again",
        vec![format!("sudo {program} {name} start")],
        &format!("{service} runs again, as its init script starts it"),
    )
    .check(format!("{program} {name} status"))
    .see(manual)
}

/// What a device needs running is a service of its own.
pub fn udev_unit() -> Fix {
    fix(
        "have the device's rule start a service instead",
        vec![
            "grep -rns 'RUN' /etc/udev/rules.d /run/udev/rules.d /usr/lib/udev/rules.d".to_owned(),
            remark("in that rule, for a NAME.service of yours in place of RUN: TAG+=\"systemd\", ENV{SYSTEMD_WANTS}+=\"NAME.service\""),
            "sudo udevadm control --reload".to_owned(),
        ],
        "systemd runs it in a unit of its own, which outlives udev's work on the device",
    )
    .but("udev no longer waits for it, and it is not started again while it runs")
    .check("systemctl status NAME.service")
    .see("udev(7), systemd.device(5)")
}
