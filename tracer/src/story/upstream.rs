//! What ended the process whose end led to this one: one step further up the chain.

use super::actor::{Actor, STARTS, runs_shell};
use super::case::Case;
use super::causes::{KILLERS, logind};
use super::decide::{self, Blow};
use super::idle::{self, idle_alarm};
use super::links::exit_link;
use super::manager::manager_of;
use super::mechanism;
use super::requests::{Request, Wish};
use super::signals;
use super::unit_jobs::stop_job;
use super::units::command_links;
use super::verdict::{Link, Outcome};
use super::windows::{AT_START, END_SEEN_LATE};
use super::words;
use super::world::{Seen, SeenSignal};
use crate::evidence::{
    CgroupOwner, Exit, Grade, Mechanism, Moment, ProcessId, S, Task, base_name, sig, signal_name,
    signal_number,
};

/// Whose end the kernel answered by a signal.
fn ended_before(blow: Blow<'_>) -> Option<&Task> {
    let of_end = matches!(
        blow.mechanism,
        Mechanism::ParentDeathSignal
            | Mechanism::PidNamespaceExit
            | Mechanism::PtraceExitKill
            | Mechanism::TtyHangup
    );
    Some(&blow.signal.value.sender).filter(|sender| of_end && sender.exiting)
}

/// The end of another process, told as something that led to this case.
#[derive(Debug)]
pub struct End<'a> {
    exit: &'a Seen<Exit>,
    blow: Option<Blow<'a>>,
    /// The end of another that the kernel answered by that blow.
    above: Option<Box<Self>>,
    /// The timer by which a shell had ended itself.
    idle: Option<&'a SeenSignal>,
}

/// How far up ends are followed.
const DEPTH: usize = 8;

/// How long before a process ended the command that killed it was run.
const JUST_RUN: u64 = S;

/// The service that a process is the main program of, where it was at its daily work by then: that it had been started
/// some time, perhaps at boot, is no reason for what it did.
pub fn at_its_work(actor: &Actor, at_ns: u64) -> Option<&str> {
    let process = &actor.process;
    let own = actor.command.pid == process.pid && process.ppid == Some(1);
    let began_ns = actor.ran_ns.or(process.start_ns)?;
    let long_ago = began_ns.saturating_add(AT_START) < at_ns;
    let is_it = own && long_ago && actor.is_unstarted_service() && !runs_shell(process);
    process.unit.as_deref().filter(|_| is_it)
}

impl<'a> End<'a> {
    /// The end of a process, where it was seen.
    pub fn of(case: &Case<'a>, id: ProcessId) -> Option<Self> {
        Self::at(case, id, DEPTH)
    }

    fn at(case: &Case<'a>, id: ProcessId, depth: usize) -> Option<Self> {
        let exit = case.world.exit_of(id)?;
        let blow = decide::decide(case.world, exit);
        let above = blow.filter(|_| depth > 0).and_then(|blow| {
            let ended = ended_before(blow).filter(|ended| ended.id != id)?;
            let end = Self::at(case, ended.id, depth - 1)?;
            (end.ns() <= blow.signal.ns() + END_SEEN_LATE).then(|| Box::new(end))
        });
        let by_timer = blow.is_none_or(|blow| blow.mechanism == Mechanism::Timer);
        let idle = idle_alarm(case, exit).filter(|_| by_timer);
        Some(Self { exit, blow, above, idle })
    }

    /// Who ended first of those whose ends led, one after the other, to this one.
    pub fn first(&self) -> &'a Task {
        self.above.as_ref().map_or(&self.exit.value.task, |above| above.first())
    }

    /// Which process.
    pub const fn process(&self) -> ProcessId {
        self.exit.value.task.id
    }

    /// The other process whose signal ended it.
    pub fn killer(&self) -> Option<&'a Task> {
        self.sender().map(|(task, _)| task)
    }

    /// Whether no signal ended it, as far as its end was seen.
    pub const fn is_by_itself(&self) -> bool {
        self.blow.is_none() && self.exit.value.killed_by().is_none() && !self.exit.value.unseen
    }

    /// The signal by which another process ended it.
    pub fn struck_by(&self) -> Option<&'a SeenSignal> {
        self.sender().and(self.blow).map(|blow| blow.signal)
    }

    /// When it ended, `CLOCK_BOOTTIME` nanoseconds.
    pub const fn ns(&self) -> u64 {
        self.exit.ns()
    }

    /// Its links: the signal that ended it, where one did, and the end itself. None is later than
    /// what it led to.
    pub fn links(&self, case: &Case<'a>, effect: Moment) -> Vec<Link> {
        self.links_within(case, effect, STARTS)
    }

    /// The same with no more than so many starts of units followed up.
    pub fn links_within(&self, case: &Case<'a>, effect: Moment, hops: usize) -> Vec<Link> {
        let struck = self.blow.map(|blow| case.signal_link(blow.signal, blow.mechanism));
        let person = self.sender().filter(|(sender, _)| manager_of(sender).is_none());
        let commands =
            person.map(|(sender, at_ns)| match self.blow.filter(|_| logind::is_logind(sender)) {
                Some(blow) => logind::had_it_signal(case, blow.signal).1,
                None => {
                    let actor = Actor::within(case, sender.id, at_ns, hops);
                    if at_its_work(&actor, at_ns).is_some() || self.is_hung_up_by_shell(&actor) {
                        Vec::new()
                    } else {
                        command_links(case, &actor)
                    }
                }
            });
        let commands = commands.filter(|links| !links.is_empty()).or_else(|| {
            let (killer, _) = self.command_aimed_at_it(case)?;
            let actor = Actor::within(case, killer, self.blow?.signal.ns(), hops);
            let links = command_links(case, &actor);
            Some(links.into_iter().map(|link| Link { evidence: Grade::Inferred, ..link }).collect())
        });
        let above = self.above.iter().flat_map(|end| end.links_within(case, effect, hops));
        let asked = self.passed_on(case).into_iter().flat_map(|asked| asked.links(case, effect));
        let commands = commands.into_iter().flatten().chain(asked);
        let idle = self.idle.filter(|_| self.blow.is_none());
        let idle = idle.map(|alarm| case.signal_link(alarm, Mechanism::Timer));
        let own = commands.chain(struck).chain(idle).chain([exit_link(case, self.exit)]);
        above.chain(own.map(|link| link.before(effect))).collect()
    }

    /// Who had ended it, as a clause that follows its name: ` (which kill[90] had sent SIGKILL)`; empty
    /// where nobody had.
    pub fn by_whom(&self, case: &Case<'_>) -> String {
        let Some(blow) = self.blow else { return String::new() };
        let signal = signal_name(blow.signal.value.number);
        let (_, originator) = signals::originator(&blow.signal.value, blow.mechanism);
        if blow.mechanism.is_kernels_own() {
            let way = mechanism::words(&blow.signal.value, blow.mechanism);
            let through = originator
                .filter(|task| task.id != self.exit.value.task.id)
                .map(|task| {
                    let by_whom = self.above.as_ref().map(|end| end.by_whom(case));
                    let by_whom = by_whom.unwrap_or_default();
                    format!(", through {}{by_whom}", words::name_pid(&case.task(task)))
                })
                .unwrap_or_default();
            return format!(" (to which the kernel had sent {signal}: {way}{through})");
        }
        match originator {
            Some(task) if task.id != self.exit.value.task.id => {
                format!(" (to which {} had sent {signal})", words::name_pid(&case.task(task)))
            }
            _ => String::new(),
        }
    }

    /// The end in words: `sh[84] was killed by SIGKILL: root ran "kill -KILL 84"`.
    pub fn sentence(&self, case: &Case<'a>) -> String {
        self.sentence_within(case, STARTS)
    }

    /// The same with no more than so many starts of units followed up.
    pub fn sentence_within(&self, case: &Case<'a>, hops: usize) -> String {
        let name = words::name_pid(&case.task(&self.exit.value.task));
        let outcome = Outcome::of(&self.exit.value);
        let how = format!("{name} {}", outcome.clause());
        if let Some(alarm) = self.idle {
            let limit = idle::Limit::of(case, &self.exit.value.task, alarm);
            return format!("{how}, having got no input for {limit}, it seems");
        }
        let Some(blow) = self.blow else { return how };
        let signal = signal_name(blow.signal.value.number);
        // An exit after a signal has not named that signal yet.
        let after = match outcome {
            Outcome::Exited { .. } | Outcome::Unknown => format!(" after {signal}"),
            Outcome::Signaled { .. } => String::new(),
        };
        match self.sender() {
            None if blow.mechanism.is_kernels_own() => {
                let way = mechanism::words(&blow.signal.value, blow.mechanism);
                format!("{how}{after} from the kernel, {way}")
            }
            None => match self.command_aimed_at_it(case) {
                Some((killer, ran_ns)) => {
                    let lead = words::span(blow.signal.ns().saturating_sub(ran_ns));
                    let told = Actor::behind_at(case, killer, blow.signal.ns()).told();
                    format!(
                        "{how}{after}, which it sent itself; {lead} before, {told}, which seems to be why"
                    )
                }
                // Others it may have caught before, and sent again to end.
                None if blow.signal.value.number == sig::SIGKILL => {
                    format!("{how}{after}, which it sent itself")
                }
                None => format!("{how}{after}"),
            },
            Some((task, _)) if manager_of(task).is_some() => {
                let asked = self.passed_on(case).and_then(|asked| asked.sentence(case));
                let asked = asked.map(|asked| format!(", which passed it on: {asked}"));
                let name = words::name_pid(&case.task(task));
                format!("{how}{after} from {name}{}", asked.unwrap_or_default())
            }
            Some((task, _)) if logind::is_logind(task) => {
                let name = words::name_pid(&case.task(task));
                format!("{how}{after} from {name}{}", logind::had_it_signal(case, blow.signal).0)
            }
            Some((task, at_ns)) => {
                let actor = Actor::within(case, task.id, at_ns, hops);
                if let Some(unit) = at_its_work(&actor, at_ns) {
                    let name = words::name_pid(&actor.process);
                    return format!(
                        "{how}{after} from {name} of {unit} (what had it do so was not seen)"
                    );
                }
                if self.is_hung_up_by_shell(&actor) {
                    format!("{how}{after} from {}", words::name_pid(&actor.process))
                } else if actor.is_typed_into() {
                    format!("{how}{after}: {}", actor.told())
                } else {
                    format!("{how}{after}: {}", actor.sentence())
                }
            }
        }
    }

    /// Whether a shell that somebody types into hung it up: it does so with its jobs of its own accord, too.
    fn is_hung_up_by_shell(&self, sender: &Actor) -> bool {
        let is_hangup = self.blow.is_some_and(|blow| blow.signal.value.number == sig::SIGHUP);
        is_hangup && sender.is_typed_into()
    }

    /// The command that had just been run to kill it, by its words, and when; where all that was seen is that it ended by
    /// sending itself a signal, as whoever catches one does to end: what it had caught itself is not recorded of everybody.
    fn command_aimed_at_it(&self, case: &Case<'_>) -> Option<(ProcessId, u64)> {
        let blow = self.blow.filter(|blow| !blow.mechanism.is_kernels_own())?;
        let (sent, task) = (&blow.signal.value, &self.exit.value.task);
        if sent.sender.id != task.id || self.exit.value.killed_by() != Some(sent.number) {
            return None;
        }
        let tty = sent.tty.as_deref().map(|tty| tty.replacen("pts", "pts/", 1));
        let user = case.world.user(task.uid).map(|user| user.name.clone());
        let of_all = [tty, user];
        let container = case.process(task.id).container.map(|container| container.id);
        let aimed = case.world.people.iter().filter_map(|(id, known)| {
            let ran_ns = known.exec_ns.filter(|ran| *ran <= blow.signal.ns())?;
            let is_recent = ran_ns + JUST_RUN >= blow.signal.ns();
            let may = known.uid.is_some_and(|uid| uid == 0 || uid == task.uid);
            let (program, args) = (known.comm.as_deref()?, known.cmdline.as_deref()?);
            let sends =
                KILLERS.contains(&program) && asked_signal(program, args) == Some(sent.number);
            if !is_recent || !may || !sends {
                return None;
            }
            // In another container the same number is another's.
            let there = case.process_at(id, blow.signal.ns()).container.map(|it| it.id);
            let pid = if container.is_some() { task.ns_pid } else { task.id.pid };
            let names = [pid.to_string(), task.comm.clone()];
            let is_meant = there == container && is_aimed(args, &names, &of_all);
            is_meant.then_some((id, ran_ns))
        });
        aimed.max_by_key(|(_, ran_ns)| *ran_ns)
    }

    /// The request for that signal, where a service manager sent it and was not stopping the unit (`systemctl kill`).
    fn passed_on(&self, case: &Case<'a>) -> Option<Request<'a>> {
        let (sender, at_ns) = self.sender()?;
        let manager = manager_of(sender)?;
        let struck = &self.blow?.signal.value;
        let owner = CgroupOwner::of(struck.target.cgroup.as_deref()?);
        let unit = owner.unit_of(manager)?;
        let born_ns = struck.target.id.start_ns;
        // A job that was heard of after that end was made since it had ended.
        let job = stop_job(case.world, manager, unit, at_ns, born_ns);
        if job.is_some_and(|job| job.ns() <= self.ns()) {
            return None;
        }
        let request = Request::find(case, Wish::Kill, manager, unit, at_ns)?;
        let number = struck.number;
        request.signal(case).is_none_or(|asked| asked == number).then_some(request)
    }

    /// The other process that sent it the deciding signal, and when.
    fn sender(&self) -> Option<(&'a Task, u64)> {
        let blow = self.blow.filter(|blow| !blow.mechanism.is_kernels_own())?;
        let sender = &blow.signal.value.sender;
        (sender.id != self.exit.value.task.id).then_some((sender, blow.signal.ns()))
    }
}

/// The signal that the arguments of such a command ask for; `None` where they ask for none, or somebody chooses it in the program.
fn asked_signal(program: &str, args: &[String]) -> Option<u8> {
    const LISTS_OR_INVERTS: [&str; 7] =
        ["-l", "-L", "--list", "--table", "-v", "--inverse", "--help"];
    let by_default = match program {
        "fuser" => sig::SIGKILL,
        // What is done in them their arguments do not say.
        "xkill" | "htop" | "top" => return None,
        _ => sig::SIGTERM,
    };
    if args.iter().any(|arg| LISTS_OR_INVERTS.contains(&arg.as_str())) {
        return None;
    }
    let named = args.iter().enumerate().skip(1).find_map(|(at, arg)| match arg.as_str() {
        "-s" | "-n" | "--signal" => signal_number(args.get(at + 1)?),
        other => other
            .strip_prefix("--signal=")
            .or_else(|| other.strip_prefix('-'))
            .and_then(signal_number),
    });
    Some(named.unwrap_or(by_default))
}

/// Whether a command's operands name one of these; or where it has none but options that name all of a user or a terminal,
/// one of those.
fn is_aimed(args: &[String], names: &[String], of_all: &[Option<String>]) -> bool {
    const ALL_OF: [&str; 6] = ["-u", "-U", "-t", "--euid", "--uid", "--terminal"];
    const WITH_VALUE: [&str; 4] = ["-s", "-G", "-P", "--signal"];
    let follows = |at: usize, options: &[&str]| at > 0 && options.contains(&args[at - 1].as_str());
    let is_value = |at: usize| follows(at, &ALL_OF) || follows(at, &WITH_VALUE);
    let words = || args.iter().enumerate().skip(1);
    let mut operands = words().filter(|(at, arg)| !arg.starts_with('-') && !is_value(*at));
    let Some(first) = operands.next() else {
        let mut chosen = words().filter(|(at, _)| follows(*at, &ALL_OF)).map(|(_, arg)| arg);
        return chosen.any(|arg| of_all.iter().flatten().any(|all| all == arg));
    };
    // `skill` has a terminal or a user as its operand.
    let by_all =
        args.first().is_some_and(|program| ["skill", "slay"].contains(&base_name(program)));
    let named = |arg: &String| {
        names.contains(arg) || by_all && of_all.iter().flatten().any(|all| all == arg)
    };
    std::iter::once(first).chain(operands).any(|(_, arg)| named(arg))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_command_says_which_signal_it_sends() {
        for (line, number) in [
            ("kill 1250", Some(sig::SIGTERM)),
            ("kill -9 1250", Some(sig::SIGKILL)),
            ("pkill -HUP tee", Some(sig::SIGHUP)),
            ("pkill -0 tee", Some(0)),
            ("killall -s INT tee", Some(sig::SIGINT)),
            ("pkill --signal=USR1 tee", Some(sig::SIGUSR1)),
            ("pkill -x tee", Some(sig::SIGTERM)),
            ("fuser -k /tmp/x", Some(sig::SIGKILL)),
            ("htop", None),
            ("kill -l 1250", None),
            ("pkill -HUP -v bash", None),
        ] {
            let args = args(line);
            assert_eq!(asked_signal(&args[0], &args), number, "{line}");
        }
    }

    #[test]
    fn a_command_is_aimed_at_what_its_operands_name() {
        let names = ["1250".to_owned(), "tee".to_owned()];
        let of_all = [Some("pts/3".to_owned()), Some("alice".to_owned())];
        let aimed = |line: &str| is_aimed(&args(line), &names, &of_all);
        for line in [
            "kill 1250",
            "kill -9 7 1250",
            "pkill -x tee",
            "pkill -u alice",
            "pkill -t pts/3",
            "pkill -u alice tee",
            "skill alice",
        ] {
            assert!(aimed(line), "{line}");
        }
        for line in [
            "pkill -u alice firefox",
            "pkill -u bob",
            "kill 12",
            "kill",
            "pkill alice",
            "pkill -n alice",
        ] {
            assert!(!aimed(line), "{line}");
        }
    }
}
