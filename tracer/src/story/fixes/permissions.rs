//! How to see, and to restrict, who may have something done: what was asked for needs no other remedy.

use super::super::verdict::Fix;
use super::unit_at::UnitAt;
use super::{LOOKS, fix, operand, quoted, remark};

/// Which rules let somebody do it: `action` is polkit's name for it, `person` who did it, where that is not root.
pub fn who_may(action: &str, person: Option<&str>) -> Fix {
    let by_polkit = format!("pkaction --verbose --action-id {action}");
    let by_sudo = person.map(|person| format!("sudo -l -U {}", quoted(person)));
    let check = by_sudo.clone().unwrap_or_else(|| by_polkit.clone());
    let where_to = "the rules are in /etc/sudoers.d and /etc/polkit-1/rules.d; root may always";
    fix(
        "see who may have this done",
        by_sudo.into_iter().chain([by_polkit, remark(where_to)]).collect(),
        "shows which rule allowed it, and so what to take away from whom",
    )
    .but(LOOKS)
    .check(check)
    .see("sudoers(5), pkaction(1), polkit(8)")
}

/// `RefuseManualStop=yes`
pub fn refuse_manual_stop(at: &UnitAt) -> Fix {
    fix(
        "have systemd refuse to stop or restart it on request",
        at.set("Unit", "RefuseManualStop=yes"),
        "systemctl stop and restart fail, whoever runs them; dependencies and a shutdown still stop it",
    )
    .but("to stop or restart it on purpose, take the line out first; upgrades of its package cannot restart it")
    .check(at.show("RefuseManualStop"))
    .see("systemd.unit(5)")
}

/// An inhibitor lock while a program runs.
pub fn hold_up_shutdown(program: &str) -> Fix {
    fix(
        "hold up a shutdown while it runs",
        vec![format!("systemd-inhibit --what=shutdown --why='it must not be interrupted' {}", operand(program))],
        "systemctl poweroff and reboot are refused meanwhile to whoever does not insist",
    )
    .but("only those wait who ask logind for it: root can go on with --ignore-inhibitors, and systemd's own failure actions do")
    .check("systemd-inhibit --list")
    .see("systemd-inhibit(1)")
}

/// `shutdown -c`
pub fn cancel_shutdown() -> Fix {
    const SHOW: &str = "busctl get-property org.freedesktop.login1 /org/freedesktop/login1 org.freedesktop.login1.Manager ScheduledShutdown";
    fix(
        "see what is planned, and cancel it in time",
        vec![SHOW.to_owned(), "sudo shutdown -c".to_owned()],
        "shows how and when the system is to go down; cancelled, it stays up",
    )
    .but("whoever planned it may have had a reason; everybody at a terminal is told that it is cancelled")
    .check(SHOW)
    .see("shutdown(8), org.freedesktop.login1(5)")
}

/// `FailureAction=none` and its kind, for the unit whose end takes everything down.
pub fn no_end_action(at: &UnitAt, name: &str) -> Fix {
    let unit = &at.unit;
    fix(
        &format!("let nothing else go down with {unit}"),
        at.set("Unit", &format!("{name}=none")),
        &format!("whatever becomes of {unit}, its service manager does nothing more about it"),
    )
    .but("somebody wanted that: a machine that cannot do its work is no longer started anew")
    .check(at.show(name))
    .see("systemd.unit(5)")
}

/// `SurviveFinalKillSignal=yes`
pub fn survive_soft_reboot(at: &UnitAt) -> Fix {
    const THERE: &str = "under [Unit]: DefaultDependencies=no, IgnoreOnIsolate=yes, SurviveFinalKillSignal=yes, Conflicts=reboot.target kexec.target poweroff.target halt.target";
    fix(
        "let the service survive a soft reboot",
        at.edit("", THERE),
        "systemd leaves it running when it reboots without the kernel (systemd 255 and later)",
    )
    .but("it goes on with the files of the old root file system, and has to order itself after what it needs at boot")
    .check(at.show("SurviveFinalKillSignal"))
    .see("systemd-soft-reboot.service(8)")
}
