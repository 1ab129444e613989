//! Commands that ask a server to end itself, over its own socket: `redis-cli shutdown`, `mysqladmin shutdown`. No list of
//! them: that they are of the server's kind, their names tell, and what they ask for, their words.

use super::base;
use crate::evidence::{Grade, ProcessId, S, Source, base_name};
use crate::story::actor::Actor;
use crate::story::case::Case;
use crate::story::people::Known;
use crate::story::unit_names::Names;
use crate::story::verdict::{Link, LinkEvent};
use crate::story::words;

/// How long before a server ends itself it was asked to: it may have something to write first.
const RUN_BEFORE: u64 = 3 * S;

/// How long after the end of the one that asked.
const ENDS_AFTER: u64 = S;

/// Words that ask for the end of whom they are said to, where none follows that says of what.
const LAST_WORDS: [&str; 4] = ["stop", "quit", "exit", "terminate"];

/// How many letters the names of a server and of its client begin with alike: `redis-server` and `redis-cli`, `mysqladmin` and
/// `mysql.service`.
const ALIKE: usize = 4;

/// A command that seems to have asked the victim to end itself.
#[derive(Debug)]
pub struct Shutdown {
    client: ProcessId,
    ran_ns: u64,
}

impl Shutdown {
    /// The last one that was run right before, by who may ask for that.
    pub fn of(case: &Case<'_>) -> Option<Self> {
        let names = names(case);
        let asked = case.world.people.iter().filter_map(|(client, known)| {
            let ran_ns = asked_at(case, client, known)?;
            let program = program(known)?;
            names.iter().any(|name| is_alike(name, program)).then_some(Self { client, ran_ns })
        });
        asked.max_by_key(|asked| (asked.ran_ns, asked.client.pid))
    }

    /// How it reads, with a space before it.
    pub fn sentence(&self, case: &Case<'_>) -> String {
        format!(
            " {} before, {}, which seems to be why: what the two said to each other was not seen.",
            words::span(case.struck_ns().saturating_sub(self.ran_ns)),
            self.told(case)
        )
    }

    /// The command; that it led to the end is a conclusion.
    pub fn link(&self, case: &Case<'_>) -> Link {
        let at = case.exit.at.shifted(self.ran_ns);
        let client = Some(case.process_at(self.client, self.ran_ns));
        let link = case.link(at, LinkEvent::Command, Source::Kernel, client, self.told(case));
        Link { evidence: Grade::Inferred, ..link }
    }

    fn told(&self, case: &Case<'_>) -> String {
        Actor::behind_at(case, self.client, case.struck_ns()).told()
    }
}

/// When a process was run that asks something to end, and can have asked the victim.
fn asked_at(case: &Case<'_>, client: ProcessId, known: &Known) -> Option<u64> {
    let struck_ns = case.struck_ns();
    let ran_ns = known.exec_ns.filter(|ran| *ran <= struck_ns && ran + RUN_BEFORE >= struck_ns)?;
    let was_there = known.ended_ns.is_none_or(|ended| ended + ENDS_AFTER >= struck_ns);
    let may_ask = known.uid.is_some_and(|uid| uid == 0 || uid == case.exit.value.task.uid);
    let people = &case.world.people;
    let is_kin = client == case.victim
        || people.parents(case.victim).contains(&client)
        || people.parents(client).contains(&case.victim);
    // One that could not ask, or was refused, says so by its status.
    let failed = case.world.exit_of(client).is_some_and(|exit| exit.value.status != 0);
    let args = known.cmdline.as_deref()?;
    (was_there && may_ask && !is_kin && !failed && asks(args.get(1..)?)).then_some(ran_ns)
}

/// Whether arguments ask for the end of the server itself.
fn asks(args: &[String]) -> bool {
    let said: Vec<String> =
        args.iter().map(|arg| arg.trim_start_matches('-').to_lowercase()).collect();
    let last = said.last().is_some_and(|last| LAST_WORDS.contains(&last.as_str()));
    last || said.iter().any(|arg| arg == "shutdown")
}

/// The name of a program, or of the script that its interpreter runs.
fn program(known: &Known) -> Option<&str> {
    let args = known.cmdline.as_deref()?;
    let comm = known.comm.as_deref()?;
    let mut words = args.iter().take(2).map(|word| base(word));
    // Whom systemctl asks is the service manager, whatever else is named like that; and what an interpreter is called says
    // nothing of what it runs.
    const OTHERS: [&str; 9] =
        ["systemctl", "python", "perl", "ruby", "node", "java", "php", "bash", "dash"];
    let own = words.find(|word| word.starts_with(comm)).unwrap_or(comm);
    let is_other = OTHERS.iter().any(|other| {
        own.strip_prefix(other)
            .is_some_and(|rest| rest.chars().all(|it| !it.is_alphabetic() && it != '-'))
    });
    (!is_other).then_some(own)
}

/// What the victim goes by: its own names, and those of its unit.
fn names(case: &Case<'_>) -> Vec<String> {
    let process = case.victim_process();
    let exe = process.exe.as_deref().map(|exe| base_name(exe).to_owned());
    let own = process.comm.into_iter().chain(exe);
    let units = case.unit().map(|(manager, unit)| Names::of(case.world, manager, unit).0);
    let units = units.into_iter().flatten().filter_map(|unit| unit.strip_suffix(".service"));
    own.chain(units.map(str::to_owned)).collect()
}

/// Whether two names begin alike.
fn is_alike(name: &str, other: &str) -> bool {
    let alike =
        name.chars().zip(other.chars()).take_while(|(one, two)| one.eq_ignore_ascii_case(two));
    alike.count() >= ALIKE
}
