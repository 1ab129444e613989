//! Who asked a service manager for something: over the bus, over its private socket, or by a command whose
//! arguments say so.

mod marked;

pub use self::marked::was_marked;
use super::actor::Actor;
use super::case::Case;
use super::manager;
use super::manager::calls::{calls_before, likeliest_call};
use super::people::Known;
use super::unit_jobs::had_other_answer;
use super::unit_names::Names;
use super::units::{asking_link, command_links};
use super::verdict::{Link, LinkEvent};
use super::windows::{LOOKED_BACK, SEEN_LATE};
pub use super::wishes::Wish;
use super::wishes::{RUNNERS, can_make, names_unit};
use super::words;
use super::world::Seen;
use crate::evidence::{
    BusCall, Grade, Job, LossPlace, Manager, ManagerConnection, ProcessId, S, base_name, sig,
    signal_number, unit_of_file,
};

/// How long before something happened the client that asked for it was run, or had connected to the manager: it asks at
/// once, and waits until that is done.
const COMMAND_TO_ACT: u64 = 10 * S;

/// A request, as far as it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The call on the bus.
    pub call: Option<&'a Seen<BusCall>>,
    /// Who asked.
    pub process: Option<ProcessId>,
    /// The number of the job that it was for, where it was looked for by that.
    pub job: Option<u32>,
    /// When it had been made, `CLOCK_BOOTTIME` nanoseconds: who made it may have run other programs since.
    made_ns: u64,
    proof: Proof<'a>,
}

/// How it is known who asked.
#[derive(Clone, Copy, Debug)]
enum Proof<'a> {
    /// The bus named it.
    Bus,
    /// Its arguments say so, and it connected to the manager's private socket.
    Connection(&'a Seen<ManagerConnection>),
    /// Its arguments say so, no other's did, and it was still there: what is granted, such a program waits for.
    Waiting,
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
        let Job { manager, unit, .. } = &job.value;
        Self::find_for(case, wish, (*manager, unit), at_ns, Some(&job.value))
    }

    fn find_for(
        case: &Case<'a>,
        wish: Wish,
        (manager, unit): (Manager, &str),
        at_ns: u64,
        made: Option<&Job>,
    ) -> Option<Self> {
        let name = (manager, unit);
        let job = made.map(|job| job.id);
        let kind = made.and_then(|job| job.job_type.as_deref()).unwrap_or_default();
        let unit = &Names::of(case.world, manager, unit);
        // One that is gone had its answer: an earlier job than this where there was one, and none where this was made later.
        let had_its_own = |id: ProcessId| {
            let known = case.world.people.get(id);
            let ended_ns = known.and_then(|known| known.ended_ns).filter(|ended| *ended < at_ns);
            let (Some(ended_ns), Some(job)) = (ended_ns, job) else { return false };
            let ran_ns = known.and_then(|known| known.exec_ns).unwrap_or(id.start_ns);
            had_other_answer(case.world, name, job, ran_ns..ended_ns, at_ns)
        };
        let calls =
            calls_before(case.world, manager, at_ns).filter(|call| wish.is_call(&call.value, unit));
        let call = likeliest_call(calls, job, at_ns);
        if let Some(seen) = call {
            return Some(Self::of_call(case, seen, job));
        }
        let says_so = |seen: &&Seen<ManagerConnection>| {
            let client = case.process_at(seen.value.task.id, seen.ns());
            was_there(case, seen.value.task.id, at_ns)
                && !had_its_own(seen.value.task.id)
                && client
                    .cmdline
                    .is_some_and(|args| wish.is_said(&args, unit) && can_make(&args, kind))
        };
        let connected = connections(case, manager, at_ns, COMMAND_TO_ACT).rfind(says_so);
        if let Some(seen) = connected {
            return Some(Self::by_command(case, seen.value.task.id, manager, at_ns));
        }
        let says = |id: ProcessId, args: &[String]| {
            wish.is_command(args, manager, unit) && can_make(args, kind) && !had_its_own(id)
        };
        let (process, alone) = command(case, manager, at_ns, says)?;
        let request = Self::by_command(case, process, manager, at_ns);
        match request.proof {
            Proof::Arguments if alone => Some(Self { proof: Proof::Waiting, ..request }),
            _ => Some(request),
        }
    }

    /// The request that a call is, for a job.
    pub fn of_call(case: &Case<'a>, seen: &'a Seen<BusCall>, job: Option<u32>) -> Self {
        let (process, by_name) = who_called(case, seen);
        let proof = if by_name { Proof::Arguments } else { Proof::Bus };
        Self { call: Some(seen), process, job, made_ns: seen.ns(), proof }
    }

    /// The systemd-run(1) that had a manager make this unit and run `first` in it, where no bus heard that: the only one
    /// whose arguments or whose process id tell the unit's name, else whose arguments are what was run.
    pub fn for_transient(
        case: &Case<'a>,
        manager: Manager,
        unit: &str,
        first: ProcessId,
    ) -> Option<Self> {
        let run = case.world.people.get(first)?.cmdline.as_deref().unwrap_or_default();
        let (program, rest) =
            run.split_first().map_or(("", run), |(program, rest)| (program, rest));
        let is_run = |args: &[String]| {
            let own = args.len().checked_sub(run.len()).filter(|own| *own > 0 && !run.is_empty());
            own.is_some_and(|own| {
                args[own + 1..] == *rest && base_name(&args[own]) == base_name(program)
            })
        };
        let nameless = TRANSIENT.iter().any(|stem| unit.starts_with(stem));
        let mut found = case.world.people.iter().filter_map(|(id, known)| {
            let at = known.exec_ns.filter(|at| *at <= first.start_ns)?;
            let args = known.cmdline.as_deref()?;
            let may_ask = match manager {
                Manager::System => known.uid == Some(0),
                Manager::User(uid) => known.uid == Some(uid) || known.uid == Some(0),
            };
            let is_it = RUNNERS.contains(&known.comm.as_deref()?)
                && at.saturating_add(LOOKED_BACK) >= first.start_ns
                && may_ask
                && (names_unit(args, unit)
                    || is_maker(id, known, unit)
                    || nameless && is_run(args));
            is_it.then_some(id)
        });
        let process = found.next().filter(|_| found.next().is_none())?;
        Some(Self::by_command(case, process, manager, first.start_ns))
    }

    /// The request that a process made before `at_ns`, by its arguments.
    pub fn by_command(case: &Case<'a>, process: ProcessId, manager: Manager, at_ns: u64) -> Self {
        let connection = connections(case, manager, at_ns, COMMAND_TO_ACT)
            .rfind(|seen| seen.value.task.id == process);
        let proof = connection.map_or(Proof::Arguments, Proof::Connection);
        Self { call: None, process: Some(process), job: None, made_ns: at_ns, proof }
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
        let proof = Proof::Deed;
        Some(Self { call: None, process: Some(id), job: None, made_ns: at_ns, proof })
    }

    /// Who is behind it.
    pub fn actor(&self, case: &Case<'_>) -> Option<Actor> {
        self.process.map(|id| Actor::behind_at(case, id, self.made_ns))
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
            Proof::Waiting | Proof::Arguments | Proof::Deed => Grade::Inferred,
        }
    }

    /// Who is behind it and how that is known, as a clause.
    pub fn sentence(&self, case: &Case<'_>) -> Option<String> {
        Some(format!("{}{}", self.actor(case)?.sentence(), self.hint()))
    }

    /// How it is known who asked, for the end of a sentence; empty where the bus said so.
    pub const fn hint(&self) -> &'static str {
        match self.proof {
            Proof::Bus => "",
            Proof::Connection(_) => " (it asked over systemd's private socket)",
            Proof::Waiting => " (inferred from its arguments and the timing)",
            Proof::Arguments => by_arguments(self.call.is_some()),
            Proof::Deed => " (by its arguments)",
        }
    }

    /// The connection to the manager's private socket.
    pub fn connection_link(&self, case: &Case<'_>) -> Option<Link> {
        match self.proof {
            Proof::Connection(seen) => Some(connection_link(case, seen)),
            Proof::Bus | Proof::Waiting | Proof::Arguments | Proof::Deed => None,
        }
    }

    /// The command, the connection and the call, none later than what they led to.
    pub fn links(&self, case: &Case<'a>, effect: crate::evidence::Moment) -> Vec<Link> {
        let commands = self.actor(case).map(|actor| command_links(case, &actor));
        let links = commands.into_iter().flatten().chain(self.connection_link(case));
        let call = self.call.map(|call| asking_link(case, call, self.job, effect));
        links.map(|link| link.before(effect)).chain(call).collect()
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

/// How the names of units begin that such a program names itself (`make_unit_name` in `src/run/run.c`).
const TRANSIENT: [&str; 3] = ["run-p", "run-u", "run-r"];

/// Whether a unit is named after the process that had it made: `run-p243-i1764902.service`.
fn is_maker(id: ProcessId, known: &Known, unit: &str) -> bool {
    let pid = unit.strip_prefix("run-p").and_then(|rest| rest.split('-').next()?.parse().ok());
    pid.is_some_and(|pid: u32| known.ns_pid.unwrap_or(id.pid) == pid)
}

/// Who made a call on the bus. A client may be gone before the bus can name its process: it is then a program
/// of the same user whose arguments say what was called. The second value tells that it is such a conclusion.
pub fn who_called(case: &Case<'_>, call: &Seen<BusCall>) -> (Option<ProcessId>, bool) {
    const BUS_CLIENTS: [&str; 9] = [
        "systemctl",
        "loginctl",
        "machinectl",
        "busctl",
        "dbus-send",
        "gdbus",
        "systemd-run",
        "run0",
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
    // systemd-run has no verb, and does not say what it calls the unit.
    let makes = |id: ProcessId, known: &Known, args: &[String]| {
        let unit = subject.filter(|_| member == "StartTransientUnit");
        unit.is_some_and(|unit| names_unit(args, unit) || is_maker(id, known, unit))
    };
    let found = case.world.people.iter().filter_map(|(id, known)| {
        let at = known.exec_ns?;
        let client = BUS_CLIENTS.contains(&known.comm.as_deref()?);
        let own = call.value.sender.uid.is_none_or(|uid| known.uid == Some(uid));
        let in_time = at <= call.ns() && at + COMMAND_TO_ACT >= call.ns();
        // What is on the bus is seen late, never early.
        let gone = known.ended_ns.is_some_and(|ended| ended + SEEN_LATE < call.ns());
        let args = known.cmdline.as_deref()?;
        (client && own && in_time && !gone && (says_so(args) || makes(id, known, args)))
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
/// struck at once, and by that signal. Root may ask for all, others for what is their own; what is in a container has a logind
/// of its own.
pub fn loginctl(
    case: &Case<'_>,
    session: Option<&str>,
    user: Option<&str>,
    at_ns: u64,
) -> Option<(ProcessId, String)> {
    let seat = session.and_then(|id| case.world.session(id)?.seat);
    let owner = session.and_then(|id| case.world.session(id)?.uid).or(case.placement.owner_uid);
    let may_ask = |known: &Known| known.uid.is_some_and(|uid| uid == 0 || Some(uid) == owner);
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
        let in_time = at <= at_ns && at + COMMAND_TO_ACT >= at_ns;
        let fits = known.comm.as_deref() == Some("loginctl") && in_time && may_ask(known);
        let args = known.cmdline.as_deref()?;
        let verb = verb(args)?;
        let struck = case.blow.map(|blow| blow.signal.value.number);
        let strikes = || signal_named(args) == struck && at + 2 * S >= case.struck_ns();
        let fits = fits
            && (!verb.starts_with("kill-") || strikes())
            && case.process_at(id, at_ns).container.is_none();
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
    case.world.manager_connections.iter().filter(move |seen| {
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

/// Whether a client that had asked for something was there until it happened, or has ended only just now; and not because
/// that was refused (`RefuseManualStop=`, polkit): what is granted, such a program waits for.
fn was_there(case: &Case<'_>, id: ProcessId, at_ns: u64) -> bool {
    let known = case.world.people.get(id);
    let ended_ns = known.and_then(|known| known.ended_ns);
    let args = known.and_then(|known| known.cmdline.as_deref()).unwrap_or_default();
    let waits = !args.iter().any(|arg| arg == "--no-block");
    let refused = case.world.exit_of(id).filter(|exit| exit.ns() < at_ns && waits);
    let refused = refused.is_some_and(|exit| exit.value.status != 0);
    !refused && ended_ns.is_none_or(|ended| ended + SEEN_LATE >= at_ns)
}

/// Whether it was still there at that time.
fn waited(case: &Case<'_>, id: ProcessId, at_ns: u64) -> bool {
    let ended_ns = case.world.people.get(id).and_then(|known| known.ended_ns);
    ended_ns.is_none_or(|ended| ended >= at_ns)
}

/// Whether the kernel's events were all heard from one time to another: losses are heard of a moment later.
pub fn is_kernel_heard(case: &Case<'_>, from_ns: u64, until_ns: u64) -> bool {
    let around = from_ns..=until_ns.saturating_add(S);
    let mut lost = case.world.losses.iter().filter(|loss| {
        loss.value.dropped > 0 && loss.value.place.is_in_kernel() && around.contains(&loss.ns())
    });
    lost.next().is_none()
}

/// Whether the system's bus was read all the time.
fn is_bus_heard(case: &Case<'_>) -> bool {
    let unread = case.world.unavailable.iter().any(|gone| gone.value.what == "bus");
    let lost = case.world.losses.iter().any(|loss| loss.value.place == LossPlace::Bus);
    !unread && !lost
}

/// root's systemctl speaks to its manager over a private socket, as does everybody's to the own user
/// manager: no bus sees it. What it asks for its arguments say, seen when it was executed. The second value tells that it waited
/// for that, and that nothing speaks for another: but for those that had it ask, no other's arguments say the same, the
/// bus and the kernel were heard all the while, and connections to the manager could not be seen. Where they can be, one
/// that had asked would have been seen to connect.
fn command(
    case: &Case<'_>,
    manager: Manager,
    at_ns: u64,
    says: impl Fn(ProcessId, &[String]) -> bool,
) -> Option<(ProcessId, bool)> {
    const COMMANDS: [&str; 8] = [
        "systemctl",
        "service",
        "invoke-rc.d",
        "deb-systemd-invo",
        "systemd-run",
        // systemd-update-helper, which packages run.
        "systemd-update-",
        "telinit",
        "init",
    ];
    let may_ask = |known: &Known| match manager {
        // Who is not root can ask PID 1 over the bus alone, where it is seen.
        Manager::System => known.uid == Some(0) || !is_bus_heard(case),
        Manager::User(uid) => known.uid.is_none_or(|own| own == uid || own == 0),
    };
    let found = case.world.people.iter().filter_map(|(id, known)| {
        // Who had been run before tracing began, and waits, may have asked then.
        let since = known.exec_ns.map_or(id.start_ns, |ran| ran.saturating_add(COMMAND_TO_ACT));
        let recent = since >= at_ns || known.exec_ns.is_none() && waited(case, id, at_ns);
        let at = known.exec_ns.unwrap_or(id.start_ns);
        let args = known.cmdline.as_deref()?;
        let asks = COMMANDS.contains(&known.comm.as_deref()?) && may_ask(known);
        let in_time = at <= at_ns && recent && was_there(case, id, at_ns);
        // What is in a container has a manager of its own.
        let is_it =
            asks && in_time && says(id, args) && case.process_at(id, at_ns).container.is_none();
        is_it.then_some((at, id))
    });
    let found: Vec<_> = found.collect();
    let (ran_ns, last) = found.iter().max_by_key(|(at, _)| *at).copied()?;
    let parents = case.world.people.parents(last);
    let alone = found.iter().all(|(_, id)| *id == last || parents.contains(id))
        && waited(case, last, at_ns)
        && is_bus_heard(case)
        && is_kernel_heard(case, ran_ns, at_ns)
        && !case.world.sees_connections
        && connections(case, manager, at_ns, COMMAND_TO_ACT).next().is_none();
    Some((last, alone))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_of_methods() {
        assert_eq!(verb_of("TerminateUser"), "terminate-user");
        assert_eq!(verb_of("StopUnit"), "stop");
        assert_eq!(verb_of("TerminateMachine"), "terminate");
        assert_eq!(verb_of("KillSession"), "kill-session");
    }
}
