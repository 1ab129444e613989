//! What to do about a stop of a unit that somebody asked for.

use super::logind;
use crate::evidence::cgroup_path::CgroupOwner;
use crate::evidence::{Manager, Process, ProcessId, Setting, template_of};
use crate::story::actor::{Actor, Place, is_titled, script_of};
use crate::story::case::Case;
use crate::story::fixes::{self, Asker, Kept, Whose};
use crate::story::manager::UnitStop;
use crate::story::requests::Request;
use crate::story::verdict::Fix;

/// Keep an updater from it, start the unit again, look at what does so of its own accord.
pub fn of_request(
    case: &Case<'_>,
    stop: &UnitStop<'_>,
    request: Request<'_>,
    stopped: bool,
) -> Vec<Fix> {
    let at = stop.at();
    let actor = request.actor(case);
    let mut remedies = Vec::new();
    let updaters = actor.as_ref().map(|actor| actor.updaters.clone()).unwrap_or_default();
    let removal = request.process.and_then(|id| Removal::by(case, id));
    let package = request.process.and_then(|id| package_of_script(case, id));
    match removal {
        Some(removal) => {
            let package = removal.package.as_deref();
            return vec![fixes::install_again(
                &at,
                &updaters,
                distribution(case).as_deref(),
                package,
            )];
        }
        None if !updaters.is_empty() => {
            let file = stop.history.and_then(|history| history.text("FragmentPath"));
            let (file, package) = (file, package.as_deref());
            remedies.push(fixes::updates(
                &at,
                &updaters,
                distribution(case).as_deref(),
                file,
                package,
            ));
        }
        None => {}
    }
    // What is run after the unit has ended clears away what is left of it.
    let post = stop.by_command.as_ref().filter(|command| command.setting == "ExecStopPost");
    remedies.extend(post.map(|command| fixes::narrower_command(&at, command)));
    // What lives under the user's service manager does not go with the session.
    let session = stop.session_id().filter(|_| stopped);
    remedies.extend(session.map(|session| logind::outside_session(case, session)));
    // Neither a scope nor what a program made can be started again by its name.
    if stopped && !at.transient && !stop.unit.ends_with(".scope") {
        remedies.push(fixes::start_again(&at, kept(case, stop, request)));
    }
    let by_itself = actor.as_ref().and_then(asker);
    // That somebody restarted it was wanted, and it runs again: what is left is to keep them from it.
    if !stopped && remedies.is_empty() && by_itself.is_none() && stop.manager == Manager::System {
        remedies.extend(of_act(actor.as_ref(), MANAGE_UNITS));
        remedies.push(fixes::refuse_manual_stop(&at));
    }
    remedies.extend(by_itself.map(|it| fixes::look_at_asker(&it)));
    remedies
}

/// Which distribution this is, and of whose kind, where it is known: ids of os-release(5), separated by spaces.
fn distribution(case: &Case<'_>) -> Option<String> {
    let told = |name: &str| case.setting(&[Setting::OS_RELEASE], name).map(|it| it.value);
    let ids: Vec<_> = ["ID", "ID_LIKE"].into_iter().filter_map(told).collect();
    (!ids.is_empty()).then(|| ids.join(" "))
}

/// What polkit calls it to have units stopped, restarted or signalled.
pub const MANAGE_UNITS: &str = "org.freedesktop.systemd1.manage-units";

/// About what somebody asked for: look at the job or unit that does so of its own accord, or see who may; `action` is
/// polkit's name for it. Nobody has to be told that root may.
pub fn of_act(actor: Option<&Actor>, action: &str) -> Option<Fix> {
    let Some(actor) = actor else { return Some(fixes::who_may(action, None)) };
    if let Some(asker) = asker(actor) {
        return Some(fixes::look_at_asker(&asker));
    }
    let person = actor.user.as_deref().filter(|user| *user != "root")?;
    Some(fixes::who_may(action, Some(person)))
}

/// What does so of its own accord.
pub fn of_signal(actor: &Actor) -> Option<Fix> {
    asker(actor).map(|asker| fixes::look_at_asker(&asker))
}

/// About a program that sent the deciding signal of its own accord: the job that it is part of, or what it said and where it is
/// written what it does.
pub fn of_sender(case: &Case<'_>, actor: &Actor) -> Option<Fix> {
    let unit = asker(actor);
    if let Some(job @ (Asker::CronJob(_) | Asker::AtJob)) = &unit {
        return Some(fixes::look_at_asker(job));
    }
    let (process, blow) = (&actor.process, case.blow?);
    let executed = case.sender().and_then(|sender| {
        case.world.people.executed_at(sender.id, case.struck_ns()).map(<[String]>::to_vec)
    });
    let has_title = executed.is_none()
        && case.sender().is_some_and(|it| is_titled(case, it.id, case.struck_ns()));
    let args = executed.or_else(|| process.cmdline.clone().filter(|_| !has_title));
    fixes::look_at_sender(&fixes::Sender {
        pid: process.pid,
        unit,
        container: process.container.as_ref(),
        script: args.as_deref().and_then(script_of),
        at: blow.signal.at,
    })
}

/// What keeps the unit from being started again, by what systemctl was told and what the manager says.
fn kept(case: &Case<'_>, stop: &UnitStop<'_>, request: Request<'_>) -> Kept {
    let args = request.process.and_then(|id| case.process(id).cmdline).unwrap_or_default();
    let said = |word: &str| args.iter().any(|arg| arg == word);
    match stop.history.and_then(|history| history.text("LoadState")) {
        _ if is_of_connection(stop) => Kept::OfConnection,
        _ if said("mask") => Kept::Masked { for_now: said("--runtime") },
        Some("masked") => Kept::Masked { for_now: false },
        Some("not-found") => Kept::Deleted,
        _ if stop.lost_file.is_some() => Kept::Deleted,
        _ if said("disable") => Kept::Disabled,
        _ => Kept::Free,
    }
}

/// Whether the unit is the instance that a socket with `Accept=yes` had made for one connection: it is triggered by the
/// socket of its template's name, where others are by one of their own instance; or it bears the connection's addresses
/// (`instance_from_socket` of systemd's src/core/socket.c).
fn is_of_connection(stop: &UnitStop<'_>) -> bool {
    let Some(template) = template_of(&stop.unit) else { return false };
    let socket = template.replace("@.service", ".socket");
    let triggers = stop.history.and_then(|history| history.now.get("TriggeredBy")?.as_array());
    let by_socket = triggers.is_some_and(|all| all.iter().any(|it| *it == socket.as_str()));
    let instance = stop.unit.split_once('@').map(|(_, instance)| instance);
    let instance = instance.and_then(|instance| instance.strip_suffix(".service"));
    by_socket || instance.is_some_and(names_connection)
}

/// `1-127.0.0.1:7777-127.0.0.1:45426`: its number, and the addresses of both ends.
fn names_connection(instance: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    let is_address = |text: &str| text.rsplit_once(':').is_some_and(|(_, port)| is_number(port));
    let parts: Vec<&str> = instance.split('-').collect();
    match parts.as_slice() {
        [number, .., local, remote] => is_number(number) && is_address(local) && is_address(remote),
        _ => false,
    }
}

/// What had it done without anybody at a keyboard.
fn asker(actor: &Actor) -> Option<Asker<'_>> {
    match actor.place.as_ref()? {
        Place::CronJob => {
            let args = actor.command.cmdline.as_deref()?;
            let by_shell = args.iter().position(|arg| arg == "-c");
            let command = by_shell.and_then(|at| args.get(at + 1)).or(args.first())?;
            Some(Asker::CronJob(command))
        }
        Place::AtJob => Some(Asker::AtJob),
        Place::Unit(unit) => {
            // What systemd-run made is gone, and a scope has no file.
            let has_file = unit.ends_with(".service")
                && !unit.starts_with("run-")
                && !unit.starts_with("user@");
            has_file.then(|| Asker::Unit { unit, user: whose(&actor.command, unit) })
        }
        Place::Container(_) | Place::Session(_) | Place::SshLogin(_) => None,
    }
}

/// The user whose service manager has the unit that a process is in; `None` where that is PID 1.
fn whose(process: &Process, unit: &str) -> Option<Whose> {
    let is_users = process.user_unit.as_deref() == Some(unit);
    let owner = CgroupOwner::of(process.cgroup.as_deref().filter(|_| is_users)?);
    let uid = owner.owner_uid?;
    let own = process.user.as_deref().filter(|_| process.uid == Some(uid));
    Some(Whose::called(uid, own))
}

/// Whose script, run by dpkg, a process is part of: the nearest of it and its parents that is one.
fn package_of_script(case: &Case<'_>, id: ProcessId) -> Option<String> {
    let mut line = std::iter::once(id).chain(case.world.people.parents(id));
    line.find_map(|id| Some(dpkg_script(&case.process(id))?.0.to_owned()))
}

/// The package whose script a process runs, and what for: dpkg runs them with what it is doing (Debian Policy, 6.5).
fn dpkg_script(process: &Process) -> Option<(&str, &str)> {
    let args = process.cmdline.as_deref()?;
    args.windows(2).find_map(|pair| {
        let file = pair[0].strip_prefix("/var/lib/dpkg/info/")?;
        let (package, script) = file.rsplit_once('.')?;
        let package = package.split(':').next()?;
        ["preinst", "postinst", "prerm", "postrm"]
            .contains(&script)
            .then_some((package, pair[1].as_str()))
    })
}

/// A package manager was removing a package.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Removal {
    /// Which, where its own script says so.
    package: Option<String>,
}

impl Removal {
    /// Whether a process is part of one: the nearest of it and its parents that tells what is done.
    fn by(case: &Case<'_>, id: ProcessId) -> Option<Self> {
        let line = std::iter::once(id).chain(case.world.people.parents(id));
        line.map(|id| case.process(id)).find_map(|process| Self::told_by(&process))?
    }

    /// What a process tells of it: `None` where it is none that would.
    fn told_by(process: &Process) -> Option<Option<Self>> {
        let args = process.cmdline.as_deref()?;
        if let Some((package, what)) = dpkg_script(process) {
            let removes = ["remove", "purge"].contains(&what);
            return Some(removes.then_some(Self { package: Some(package.to_owned()) }));
        }
        // Further letters say how: `pacman -Rns`, `rpm -evh`.
        let short = match process.comm.as_deref()? {
            "rpm" => "-e",
            "pacman" => "-R",
            _ => "",
        };
        let removes: &[&str] = match process.comm.as_deref()? {
            "dpkg" => &["-r", "--remove", "-P", "--purge"],
            "apt" | "apt-get" | "aptitude" => &["remove", "purge", "autoremove"],
            "dnf" | "dnf-3" | "dnf4" | "dnf5" | "yum" | "microdnf" => {
                &["remove", "erase", "autoremove"]
            }
            "rpm" => &["--erase"],
            "zypper" => &["remove", "rm"],
            "pacman" => &["--remove"],
            "apk" => &["del"],
            _ => return None,
        };
        let is_short = |arg: &str| !short.is_empty() && arg.starts_with(short);
        let is_it = args.iter().skip(1).any(|arg| removes.contains(&arg.as_str()) || is_short(arg));
        Some(is_it.then_some(Self { package: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_what_follows_the_options() {
        let of = |line: &str| {
            let args: Vec<String> = line.split(' ').map(str::to_owned).collect();
            script_of(&args).map(str::to_owned)
        };
        for (line, script) in [
            ("/usr/bin/python3 -u /opt/dog.py --pidfile /run/x", Some("/opt/dog.py")),
            ("/bin/sh -e /opt/dog.sh", Some("/opt/dog.sh")),
            ("perl ./dog.pl", Some("./dog.pl")),
            ("python3 -m dog.main /x", None),
            ("bash -c /opt/dog.sh", None),
            ("perl -we /x", None),
            ("/usr/sbin/monit -c /etc/monitrc", None),
            ("bash", None),
            ("node dog.js", None),
        ] {
            assert_eq!(of(line).as_deref(), script, "{line}");
        }
    }

    #[test]
    fn what_is_done_to_a_package_is_told_by_its_own_script() {
        let told = |comm: &str, args: &str| {
            let cmdline = Some(args.split(' ').map(str::to_owned).collect());
            Removal::told_by(&Process {
                comm: Some(comm.to_owned()),
                cmdline,
                ..Process::default()
            })
        };
        let of = |package: &str| Some(Some(Removal { package: Some(package.to_owned()) }));
        assert_eq!(told("v.prerm", "/bin/sh /var/lib/dpkg/info/v:amd64.prerm remove"), of("v"));
        assert_eq!(told("v.prerm", "/bin/sh /var/lib/dpkg/info/v.prerm upgrade 2"), Some(None));
        assert_eq!(told("apt-get", "apt-get -y remove v"), Some(Some(Removal { package: None })));
        assert_eq!(told("dpkg", "dpkg --unpack v.deb"), Some(None));
        for removal in ["pacman -Rns v", "rpm -evh v", "rpm --erase v", "dnf -y remove v"] {
            let comm = removal.split(' ').next().expect("a word");
            assert_eq!(told(comm, removal), Some(Some(Removal { package: None })), "{removal}");
        }
        assert_eq!(told("rpm", "rpm -Uvh --excludedocs v.rpm"), Some(None));
        assert_eq!(told("pacman", "pacman -Syu"), Some(None));
        assert_eq!(told("bash", "bash remove"), None);
    }

    #[test]
    fn the_package_of_a_script_is_in_its_name() {
        let script = |args: &str| {
            let cmdline = Some(args.split(' ').map(str::to_owned).collect());
            let process = Process { cmdline, ..Process::default() };
            dpkg_script(&process).map(|(package, what)| (package.to_owned(), what.to_owned()))
        };
        let of = |package: &str, what: &str| Some((package.to_owned(), what.to_owned()));
        let configure = "/bin/sh /var/lib/dpkg/info/php8.2-fpm.postinst configure 1";
        assert_eq!(script(configure), of("php8.2-fpm", "configure"));
        assert_eq!(
            script("/var/lib/dpkg/info/libc6:amd64.postinst triggered x"),
            of("libc6", "triggered")
        );
        assert_eq!(script("cat /var/lib/dpkg/info/v.list x"), None);
        assert_eq!(script("/home/a/v.postinst configure"), None);
    }

    #[test]
    fn an_instance_of_a_connection_bears_both_addresses() {
        for instance in [
            "1-127.0.0.1:7777-127.0.0.1:45426",
            "0-::1:22-fe80::1:5000",
            "12-345-10.0.0.1:22-10.0.0.2:4000",
        ] {
            assert!(names_connection(instance), "{instance}");
        }
        for instance in ["tty1", "1-2", "web-a:1-b:2", "1-a:x-b:2", "a:1-b:2", ""] {
            assert!(!names_connection(instance), "{instance}");
        }
    }
}
