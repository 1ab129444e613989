//! Who asked a service manager for something: over the bus, over its private socket, or by a command whose
//! arguments say so.

use super::actor::Actor;
use super::case::{Case, SEEN_LATE};
use super::ending::call_link;
use super::manager::{self, calls_before, same_unit, signals_which, stops_which, unit_of_call};
use super::people::Known;
use super::units::{command_link, names_of, unit_of_file};
use super::verdict::{Link, LinkEvent};
use super::words;
use super::world::{Seen, World};
use crate::evidence::{
    BusCall, Grade, Job, LossPlace, Manager, ManagerConnection, ProcessId, sig, signal_number,
};

const S: u64 = 1_000_000_000;

/// What can be asked of a service manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Stop or restart a unit.
    Stop,
    /// Start or restart a unit.
    Start,
    /// Start a unit and stop everything that it does not need.
    Isolate,
    /// Have a unit load its configuration again.
    Reload,
    /// Send a signal to the processes of a unit.
    Kill,
}

impl Wish {
    /// Verbs of systemctl, service(8), invoke-rc.d(8) and deb-systemd-invoke(1p) that ask for it.
    const fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::Stop => &[
                "stop",
                "restart",
                "try-restart",
                "reload-or-restart",
                "try-reload-or-restart",
                "force-reload",
                "condrestart",
                "disable",
                "mask",
            ],
            Self::Start => &[
                "start",
                "restart",
                "try-restart",
                "reload-or-restart",
                "try-reload-or-restart",
                "condrestart",
                "enable",
                "reenable",
            ],
            Self::Isolate => &["isolate"],
            Self::Reload => {
                &["reload", "reload-or-restart", "try-reload-or-restart", "force-reload"]
            }
            Self::Kill => &["kill"],
        }
    }

    /// Methods of systemd's manager that start something, and of its units.
    const STARTING: [&'static str; 15] = [
        "StartUnit",
        "StartUnitReplace",
        "StartUnitWithFlags",
        "StartTransientUnit",
        "RestartUnit",
        "RestartUnitWithFlags",
        "TryRestartUnit",
        "ReloadOrRestartUnit",
        "ReloadOrTryRestartUnit",
        "Start",
        "Restart",
        "TryRestart",
        "ReloadOrRestart",
        "ReloadOrTryRestart",
        "EnqueueUnitJob",
    ];

    /// Methods of systemd's manager, and of its units, that reload something.
    const RELOADING: [&'static str; 8] = [
        "ReloadUnit",
        "ReloadOrRestartUnit",
        "ReloadOrTryRestartUnit",
        "EnqueueUnitJob",
        "Reload",
        "ReloadOrRestart",
        "ReloadOrTryRestart",
        "EnqueueJob",
    ];

    fn is_call(self, call: &BusCall, unit: &Names<'_>) -> bool {
        let said = |word: &str| call.args.iter().any(|arg| arg.as_str() == Some(word));
        match self {
            Self::Stop => stops_which(call).is_some_and(|stopped| unit.include(&stopped)),
            Self::Kill => signals_which(call).is_some_and(|struck| unit.include(&struck)),
            Self::Reload => {
                Self::RELOADING.contains(&call.member.as_str())
                    && unit_of_call(call).is_some_and(|reloaded| unit.include(&reloaded))
            }
            Self::Start | Self::Isolate => {
                Self::STARTING.contains(&call.member.as_str())
                    && (self == Self::Start || said("isolate"))
                    && unit_of_call(call).is_some_and(|started| unit.include(&started))
            }
        }
    }

    fn is_command(self, args: &[String], manager: Manager, unit: &Names<'_>) -> bool {
        let of_user = args.iter().any(|arg| arg == "--user");
        of_user == matches!(manager, Manager::User(_)) && self.is_said(args, unit)
    }

    /// Whether a command's arguments say so, of whatever manager here.
    fn is_said(self, args: &[String], unit: &Names<'_>) -> bool {
        if is_elsewhere(args) {
            return false;
        }
        // `systemctl rescue` and its like name no unit.
        let shorthand = self == Self::Isolate
            && ["rescue", "emergency", "default"].iter().any(|verb| {
                args.iter().any(|arg| arg == verb)
                    && (unit.include(&format!("{verb}.target")) || *verb == "default")
            });
        if self == Self::Isolate && runlevel(args).is_some_and(|target| unit.include(target)) {
            return true;
        }
        // systemctl start --job-mode=isolate
        let job_mode = self == Self::Isolate
            && args.iter().any(|arg| arg == "start")
            && args.iter().zip(args.iter().skip(1)).any(|(option, value)| {
                value == "--job-mode=isolate" || option == "--job-mode" && value == "isolate"
            });
        // These alone change what happens at the next boot, or on demand.
        let later = |arg: &str| ["disable", "mask", "enable", "reenable"].contains(&arg);
        let now = args.iter().any(|arg| arg == "--now");
        let asks =
            args.iter().any(|arg| self.verbs().contains(&arg.as_str()) && (now || !later(arg)));
        let asks = asks || job_mode;
        shorthand || asks && args.iter().skip(1).any(|arg| unit.are_meant_by(arg))
    }
}

/// The target that telinit(8) isolates.
fn runlevel(args: &[String]) -> Option<&'static str> {
    let (program, rest) = args.split_first()?;
    let program = program.rsplit('/').next();
    if !matches!(program, Some("telinit" | "init")) {
        return None;
    }
    match rest.iter().find(|arg| !arg.starts_with('-'))?.as_str() {
        "1" | "s" | "S" => Some("rescue.target"),
        "2" | "3" | "4" => Some("multi-user.target"),
        "5" => Some("graphical.target"),
        _ => None,
    }
}

/// The names of a unit: its own first, then the other ones that its manager knows it by.
#[derive(Clone, Debug)]
struct Names<'n>(Vec<&'n str>);

impl<'n> Names<'n> {
    fn of(world: &'n World, manager: Manager, unit: &'n str) -> Self {
        Self(names_of(world, manager, unit))
    }

    fn include(&self, said: &str) -> bool {
        self.0.iter().any(|name| same_unit(said, name))
    }

    /// Whether an argument of systemctl means it: one of its names, the path of what it mounts, or a pattern, which
    /// is compared with its own name alone.
    fn are_meant_by(&self, arg: &str) -> bool {
        let by_path = || {
            let unit = arg.starts_with('/').then(|| unit_of_file(arg));
            unit.is_some_and(|unit| self.include(&unit))
        };
        let own = self.0.first().map(|name| name.as_bytes()).unwrap_or_default();
        let is_pattern = arg.contains(['*', '?', '[']);
        self.include(arg) || by_path() || is_pattern && glob(arg.as_bytes(), own)
    }
}

/// Whether a systemctl was told to speak to another machine, or to change files of an image alone.
fn is_elsewhere(args: &[String]) -> bool {
    // `-M alice@` and `-M alice@.host` are a user of this one.
    let is_here = |machine: &str| {
        let host = machine.split_once('@').map_or(machine, |(_, host)| host);
        host == ".host" || host.is_empty() && machine.contains('@')
    };
    let mut rest = args.iter().skip(1);
    while let Some(arg) = rest.next() {
        if arg == "--" {
            return false;
        }
        if let Some(long) = arg.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
            let value = value.or_else(|| rest.clone().next().map(String::as_str));
            match name {
                "host" | "root" | "image" | "capsule" => return true,
                "machine" => return !value.is_some_and(is_here),
                _ => {}
            }
        } else if let Some(letters) = arg.strip_prefix('-') {
            // The first letter that takes a value ends the row of them.
            let Some(at) = letters.find(['H', 'M', 'C', 't', 'p', 'P', 's', 'n', 'o']) else {
                continue;
            };
            let (option, value) = letters[at..].split_at(1);
            let value = Some(value).filter(|value| !value.is_empty());
            let value = value.or_else(|| rest.next().map(String::as_str));
            match option {
                "H" | "C" => return true,
                "M" => return !value.is_some_and(is_here),
                _ => {}
            }
        }
    }
    false
}

/// A request, as far as it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The call on the bus.
    pub call: Option<&'a Seen<BusCall>>,
    /// Who asked.
    pub process: Option<ProcessId>,
    proof: Proof<'a>,
}

/// How it is known who asked.
#[derive(Clone, Copy, Debug)]
enum Proof<'a> {
    /// The bus named it.
    Bus,
    /// Its arguments say so, and it connected to the manager's private socket.
    Connection(&'a Seen<ManagerConnection>),
    /// Its arguments say so.
    Arguments,
    /// Its arguments say that it did it itself.
    Deed,
}

impl<'a> Request<'a> {
    /// The request for a unit that came before `at_ns`; none where neither call nor command was seen. Of several
    /// commands one that connected to the manager is likelier.
    pub fn find(
        case: &Case<'a>,
        wish: Wish,
        manager: Manager,
        unit: &str,
        at_ns: u64,
    ) -> Option<Self> {
        Self::find_for(case, wish, (manager, unit), at_ns, None)
    }

    /// The request that a job was made for, which came before `at_ns`: none that systemd answered with another job.
    pub fn for_job(case: &Case<'a>, wish: Wish, job: &Seen<Job>, at_ns: u64) -> Option<Self> {
        let Job { manager, unit, id, .. } = &job.value;
        Self::find_for(case, wish, (*manager, unit), at_ns, Some(*id))
    }

    fn find_for(
        case: &Case<'a>,
        wish: Wish,
        (manager, unit): (Manager, &str),
        at_ns: u64,
        job: Option<u32>,
    ) -> Option<Self> {
        let unit = &Names::of(case.world, manager, unit);
        let mut calls = calls_before(case.world, manager, at_ns).filter(|call| {
            let (Some(asked), Some(made)) = (call.value.job, job) else { return true };
            asked == made
        });
        let call = calls.rfind(|call| wish.is_call(&call.value, unit));
        if let Some(seen) = call {
            let (process, by_name) = who_called(case, seen);
            let proof = if by_name { Proof::Arguments } else { Proof::Bus };
            return Some(Self { call, process, proof });
        }
        let says_so = |seen: &&Seen<ManagerConnection>| {
            let client = case.process_at(seen.value.task.id, seen.ns());
            was_there(case, seen.value.task.id, at_ns)
                && client.cmdline.is_some_and(|args| wish.is_said(&args, unit))
        };
        let connected = connections(case, manager, at_ns, 10 * S).rfind(says_so);
        let process = connected.map(|seen| seen.value.task.id);
        let process = process.or_else(|| command(case, wish, manager, unit, at_ns))?;
        Some(Self::by_command(case, process, manager, at_ns))
    }

    /// The request that a process made before `at_ns`, by its arguments.
    pub fn by_command(case: &Case<'a>, process: ProcessId, manager: Manager, at_ns: u64) -> Self {
        let connection =
            connections(case, manager, at_ns, 10 * S).rfind(|seen| seen.value.task.id == process);
        let proof = connection.map_or(Proof::Arguments, Proof::Connection);
        Self { call: None, process: Some(process), proof }
    }

    /// An umount(8) of what a unit mounts, right before `at_ns`: the kernel tells the manager, nobody asks it.
    pub fn unmounted(case: &Case<'a>, unit: &str, at_ns: u64) -> Option<Self> {
        let recent = case.world.people.iter().filter_map(|(id, known)| {
            let at = known.exec_ns.filter(|at| *at <= at_ns && *at + 5 * S >= at_ns)?;
            let args = known.cmdline.as_deref().filter(|_| known.uid == Some(0))?;
            let is_it = known.comm.as_deref() == Some("umount")
                && was_there(case, id, at_ns)
                && args.iter().skip(1).any(|arg| arg.starts_with('/') && unit_of_file(arg) == unit);
            is_it.then_some((at, id))
        });
        let (_, id) = recent.max_by_key(|(at, _)| *at)?;
        Some(Self { call: None, process: Some(id), proof: Proof::Deed })
    }

    /// Who is behind it.
    pub fn actor(&self, case: &Case<'_>) -> Option<Actor> {
        self.process.map(|id| Actor::behind(case, id))
    }

    /// When the command that made it was executed, where that was seen: the bus is heard a moment late.
    pub fn ran_ns(&self, case: &Case<'_>) -> Option<u64> {
        case.world.people.get(self.process?)?.exec_ns
    }

    /// The signal that was asked for, of `systemctl kill` and its methods; SIGTERM where none was named.
    pub fn signal(&self, case: &Case<'_>) -> Option<u8> {
        if let Some(call) = self.call {
            // KillUnit(unit, whom, signal), Kill(whom, signal), QueueSignal(whom, signal, value)
            let number = call.value.args.iter().find_map(serde_json::Value::as_u64)?;
            return u8::try_from(number).ok();
        }
        let args = case.world.people.get(self.process?)?.cmdline.as_deref()?;
        signal_named(args)
    }

    /// How well it is proven who asked: a command that names the unit at the right time is a conclusion, unless it
    /// also spoke to the manager then.
    pub fn grade(&self) -> Grade {
        match self.proof {
            Proof::Bus => self.call.map_or(Grade::Observed, |call| call.value.bus.grade()),
            Proof::Connection(_) => Grade::Observed,
            Proof::Arguments | Proof::Deed => Grade::Inferred,
        }
    }

    /// Who is behind it and how that is known, as a clause.
    pub fn sentence(&self, case: &Case<'_>) -> Option<String> {
        Some(format!("{}{}", self.actor(case)?.sentence(), self.hint()))
    }

    /// How it is known who asked, for the end of a sentence; empty where the bus said so.
    const fn hint(&self) -> &'static str {
        match self.proof {
            Proof::Bus => "",
            Proof::Connection(_) => " (it asked over systemd's private socket)",
            Proof::Arguments => by_arguments(self.call.is_some()),
            Proof::Deed => " (by its arguments)",
        }
    }

    /// The connection to the manager's private socket.
    pub fn connection_link(&self, case: &Case<'_>) -> Option<Link> {
        match self.proof {
            Proof::Connection(seen) => Some(connection_link(case, seen)),
            Proof::Bus | Proof::Arguments | Proof::Deed => None,
        }
    }

    /// The command, the connection and the call, none later than what they led to.
    pub fn links(&self, case: &Case<'a>, effect: crate::evidence::Moment) -> Vec<Link> {
        let command = self.actor(case).and_then(|actor| command_link(case, &actor));
        let links = command
            .into_iter()
            .chain(self.connection_link(case))
            .chain(self.call.map(|call| call_link(case, call)));
        links.map(|link| link.before(effect)).collect()
    }
}

/// The label, for the end of a sentence, of a requester that was concluded from its arguments: with `call`
/// the request was seen and its maker was not, without it neither was.
pub const fn by_arguments(call: bool) -> &'static str {
    if call {
        " (by its arguments; it was gone before the bus could name it)"
    } else {
        " (by its arguments; the request itself was not seen)"
    }
}

/// Who made a call on the bus. A client may be gone before the bus can name its process: it is then a program
/// of the same user whose arguments say what was called. The second value tells that it is such a conclusion.
pub fn who_called(case: &Case<'_>, call: &Seen<BusCall>) -> (Option<ProcessId>, bool) {
    const BUS_CLIENTS: [&str; 8] = [
        "systemctl",
        "loginctl",
        "machinectl",
        "busctl",
        "dbus-send",
        "gdbus",
        "systemd-run",
        "shutdown",
    ];
    if let Some(process) = case.caller_named_by_bus(call) {
        return (Some(process), false);
    }
    let member = call.value.member.as_str();
    let verb = verb_of(member);
    let subject = call.value.args.first().and_then(|arg| arg.as_str());
    let says_so = |args: &[String]| {
        let named = args.iter().any(|arg| *arg == verb || arg.ends_with(member));
        // dbus-send says `string:nginx.service`, gdbus takes `'nginx.service'`.
        let bare = |arg: &str| -> String {
            let value = arg.split_once(':').filter(|(kind, _)| *kind == "string");
            value.map_or(arg, |(_, value)| value).trim_matches(['\'', '"']).to_owned()
        };
        let about = subject.is_none_or(|subject| {
            args.iter().any(|arg| Names(vec![subject]).are_meant_by(&bare(arg)))
        });
        named && about
    };
    let found = case.world.people.iter().filter_map(|(id, known)| {
        let at = known.exec_ns?;
        let client = BUS_CLIENTS.contains(&known.comm.as_deref()?);
        let own = call.value.sender.uid.is_none_or(|uid| known.uid == Some(uid));
        let in_time = at <= call.ns() && at + 10 * S >= call.ns();
        // What is on the bus is seen late, never early.
        let gone = known.ended_ns.is_some_and(|ended| ended + SEEN_LATE < call.ns());
        (client && own && in_time && !gone && says_so(known.cmdline.as_deref()?))
            .then_some((at, id))
    });
    (found.max_by_key(|(at, _)| *at).map(|(_, id)| id), true)
}

/// `terminate-user` of `TerminateUser`, `stop` of `StopUnit`, `terminate` of `TerminateMachine`: the tools' verbs
/// are made that way.
fn verb_of(member: &str) -> String {
    let mut verb = String::new();
    for (at, letter) in member.trim_end_matches("Unit").trim_end_matches("Machine").char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            verb.push('-');
        }
        verb.push(letter.to_ascii_lowercase());
    }
    verb
}

/// The signal that systemctl or loginctl is told to have sent, by its arguments; SIGTERM where none is named.
fn signal_named(args: &[String]) -> Option<u8> {
    let named = args.iter().enumerate().find_map(|(at, arg)| match arg.as_str() {
        "-s" | "--signal" => args.get(at + 1).map(String::as_str),
        other => other.strip_prefix("--signal=").or_else(|| other.strip_prefix("-s")),
    });
    named.map_or(Some(sig::SIGTERM), signal_number)
}

/// A loginctl that was told to end or to signal a session or a user, where its call was not seen. What was signalled is
/// struck at once, and by that signal.
pub fn loginctl(
    case: &Case<'_>,
    session: Option<&str>,
    user: Option<&str>,
    at_ns: u64,
) -> Option<(ProcessId, String)> {
    let seat = session.and_then(|id| case.world.session(id)?.seat);
    let verb = |args: &[String]| -> Option<String> {
        let has = |word: Option<&str>| args.iter().any(|arg| Some(arg.as_str()) == word);
        args.iter()
            .find(|arg| match arg.as_str() {
                "terminate-session" | "kill-session" => has(session),
                "terminate-user" | "kill-user" => has(user),
                "terminate-seat" => seat.is_some() && has(seat.as_deref()),
                _ => false,
            })
            .cloned()
    };
    let found = case.world.people.iter().filter_map(|(id, known)| {
        let at = known.exec_ns?;
        let fits = known.comm.as_deref() == Some("loginctl") && at <= at_ns && at + 10 * S >= at_ns;
        let args = known.cmdline.as_deref()?;
        let verb = verb(args)?;
        let struck = case.blow.map(|blow| blow.signal.value.number);
        let strikes = || signal_named(args) == struck && at + 2 * S >= case.struck_ns();
        let fits = fits && (!verb.starts_with("kill-") || strikes());
        fits.then_some((at, id, verb))
    });
    found.max_by_key(|(at, ..)| *at).map(|(_, id, verb)| (id, verb))
}

/// Connections to a manager's private socket up to `at_ns`, none longer ago than `age_ns`; without those that it
/// turns down: it serves root and its own user alone (systemd's `bus_check_peercred`).
fn connections<'a>(
    case: &Case<'a>,
    manager: Manager,
    at_ns: u64,
    age_ns: u64,
) -> impl DoubleEndedIterator<Item = &'a Seen<ManagerConnection>> {
    case.world.connections.iter().filter(move |seen| {
        let euid = seen.value.task.euid;
        seen.value.manager == manager
            && (euid == 0 || manager == Manager::User(euid))
            && seen.ns() <= at_ns
            && seen.ns().saturating_add(age_ns) >= at_ns
    })
}

/// The one process that spoke to the manager over its private socket right before `at_ns`, and is none of which it is
/// known what it asks. What it asked for is not known.
pub fn only_connected<'a>(
    case: &Case<'a>,
    manager: Manager,
    at_ns: u64,
) -> Option<&'a Seen<ManagerConnection>> {
    let mut connected = connections(case, manager, at_ns, 2 * S);
    let last = connected.next_back()?;
    let client = case.process_at(last.value.task.id, last.ns());
    // A systemctl that had asked for this would have said so, and the others only read.
    const KNOWN: [&str; 4] = ["systemctl", "systemd-analyze", "systemd-cgls", "killtrace"];
    let may_ask = !client.comm.as_deref().is_some_and(|comm| KNOWN.contains(&comm));
    let alone = connected.all(|other| other.value.task.id == last.value.task.id);
    (alone && may_ask).then_some(last)
}

/// The link of a connection to a manager's private socket.
pub fn connection_link(case: &Case<'_>, seen: &Seen<ManagerConnection>) -> Link {
    let client = case.process_at(seen.value.task.id, seen.ns());
    let manager = manager::name_of(case.world, seen.value.manager);
    let text = format!("{} connected to {manager}'s private socket", words::name_pid(&client));
    case.link(seen.at, LinkEvent::ManagerConnection, seen.source, Some(client), text)
}

/// Whether a client that had asked for something was there until it happened, or has ended only just now.
fn was_there(case: &Case<'_>, id: ProcessId, at_ns: u64) -> bool {
    let ended_ns = case.world.people.get(id).and_then(|known| known.ended_ns);
    ended_ns.is_none_or(|ended| ended + SEEN_LATE >= at_ns)
}

/// Whether the system's bus was read all the time.
fn is_bus_heard(case: &Case<'_>) -> bool {
    let unread = case.world.unavailable.iter().any(|gone| gone.value.what == "bus");
    let lost = case.world.losses.iter().any(|loss| loss.value.place == LossPlace::Bus);
    !unread && !lost
}

/// root's systemctl speaks to its manager over a private socket, as does everybody's to the own user
/// manager: no bus sees it. Its arguments, seen when it was executed, name the unit.
fn command(
    case: &Case<'_>,
    wish: Wish,
    manager: Manager,
    unit: &Names<'_>,
    at_ns: u64,
) -> Option<ProcessId> {
    const COMMANDS: [&str; 7] = [
        "systemctl",
        "service",
        "invoke-rc.d",
        "deb-systemd-invo",
        "systemd-run",
        "telinit",
        "init",
    ];
    let may_ask = |known: &Known| match manager {
        // Who is not root can ask PID 1 over the bus alone, where it is seen.
        Manager::System => known.uid == Some(0) || !is_bus_heard(case),
        Manager::User(uid) => known.uid.is_none_or(|own| own == uid || own == 0),
    };
    case.world
        .people
        .iter()
        .filter_map(|(id, known)| {
            let at = known.exec_ns?;
            let args = known.cmdline.as_deref()?;
            let asks = COMMANDS.contains(&known.comm.as_deref()?) && may_ask(known);
            let in_time = at <= at_ns && at + 10 * S >= at_ns && was_there(case, id, at_ns);
            (asks && in_time && wish.is_command(args, manager, unit)).then_some((at, id))
        })
        .max_by_key(|(at, _)| *at)
        .map(|(_, id)| id)
}

/// fnmatch(3); linear but for one place to come back to.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        let step = match pattern.get(p) {
            Some(b'*') => {
                back = Some((p, t));
                p += 1;
                continue;
            }
            Some(b'[') => in_brackets(&pattern[p..], text[t]),
            Some(&c) => (c == b'?' || c == text[t]).then_some(1),
            None => None,
        };
        if let Some(step) = step {
            p += step;
            t += 1;
        } else {
            let Some((star, from)) = back else { return false };
            back = Some((star, from + 1));
            p = star + 1;
            t = from + 1;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

/// How long an expression in brackets is, where it is one and holds this byte: `[vw]`, `[!a-z]`. One that is not
/// closed stands for the bracket itself.
fn in_brackets(pattern: &[u8], byte: u8) -> Option<usize> {
    let not = matches!(pattern.get(1), Some(b'!' | b'^'));
    let from = if not { 2 } else { 1 };
    // A closing bracket that comes first is one of the set.
    let close = pattern.iter().skip(from + 1).position(|c| *c == b']').map(|at| at + from + 1);
    let Some(close) = close else { return (byte == b'[').then_some(1) };
    let mut set = &pattern[from..close];
    let mut found = false;
    while let [first, rest @ ..] = set {
        if let [b'-', last, after @ ..] = rest {
            found |= (*first..=*last).contains(&byte);
            set = after;
        } else {
            found |= *first == byte;
            set = rest;
        }
    }
    (found != not).then_some(close + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn commands_that_name_the_unit() {
        let a = Names(vec!["a.service", "b-alias.service"]);
        let stops = |line: &str| Wish::Stop.is_command(&args(line), Manager::System, &a);
        assert!(stops("systemctl stop a"));
        assert!(stops("systemctl --no-block restart b.service a.service"));
        assert!(stops("/usr/sbin/service a restart"));
        assert!(stops("systemctl stop a*"));
        assert!(stops("systemctl stop ?.service"));
        assert!(!stops("systemctl stop b"));
        assert!(!stops("systemctl status a"));
        assert!(!stops("systemctl --user stop a"));
        assert!(!stops("systemctl stop b*"));
        assert!(stops("systemctl stop b-alias"));
        assert!(stops("systemctl stop [ab].service"));
        // Patterns get no ending.
        assert!(!stops("systemctl stop ?"));
    }

    #[test]
    fn commands_for_elsewhere() {
        let stops = |line: &str| {
            let a = Names(vec!["a.service"]);
            Wish::Stop.is_command(&args(line), Manager::System, &a)
        };
        for options in
            ["-H node2", "-qHnode2", "--host=node2", "--host node2", "-M web", "--root=/x"]
        {
            assert!(!stops(&format!("systemctl {options} stop a")), "{options}");
        }
        for options in ["--no-block", "-M .host", "-M root@", "-sTERM", "-p H", "--"] {
            assert!(stops(&format!("systemctl {options} stop a")), "{options}");
        }
    }

    #[test]
    fn units_of_paths() {
        assert!(Names(vec!["m.mount"]).are_meant_by("/m"));
    }

    #[test]
    fn each_wish_has_its_words() {
        let line = args("systemctl isolate rescue.target");
        assert!(Wish::Isolate.is_command(&line, Manager::System, &Names(vec!["rescue.target"])));
        assert!(!Wish::Stop.is_command(&line, Manager::System, &Names(vec!["rescue.target"])));
        let line = args("systemctl rescue");
        assert!(Wish::Isolate.is_command(&line, Manager::System, &Names(vec!["rescue.target"])));
        assert!(!Wish::Isolate.is_command(
            &line,
            Manager::System,
            &Names(vec!["emergency.target"])
        ));
        let line = args("systemctl --user start a.service");
        assert!(Wish::Start.is_command(&line, Manager::User(1000), &Names(vec!["a.service"])));
        assert!(!Wish::Start.is_command(&line, Manager::System, &Names(vec!["a.service"])));
    }

    #[test]
    fn other_ways_to_isolate() {
        let isolates = |line: &str, unit: &str| {
            Wish::Isolate.is_command(&args(line), Manager::System, &Names(vec![unit]))
        };
        assert!(isolates("systemctl start --job-mode=isolate a.target", "a.target"));
        assert!(isolates("systemctl --job-mode isolate start a.target", "a.target"));
        assert!(!isolates("systemctl start --job-mode=fail a.target", "a.target"));
        assert!(isolates("/sbin/telinit 1", "rescue.target"));
        assert!(!isolates("telinit 1", "multi-user.target"));
        assert!(!isolates("telinit q", "rescue.target"));
    }

    #[test]
    fn verbs_of_methods() {
        assert_eq!(verb_of("TerminateUser"), "terminate-user");
        assert_eq!(verb_of("StopUnit"), "stop");
        assert_eq!(verb_of("TerminateMachine"), "terminate");
        assert_eq!(verb_of("KillSession"), "kill-session");
    }

    #[test]
    fn patterns() {
        assert!(glob(b"*", b""));
        assert!(glob(b"a*b*c", b"aXbYbZc"));
        assert!(!glob(b"a*b", b"abc"));
        assert!(glob(b"a**", b"a"));
        assert!(!glob(b"?", b""));
        assert!(glob(b"[vw].s", b"w.s"));
        assert!(glob(b"*[!a-c]", b"xd"));
        assert!(!glob(b"[!a-c]", b"b"));
        assert!(glob(b"[]]", b"]"));
        assert!(glob(b"a[", b"a["));
        assert!(!glob(b"[", b"a"));
    }
}
