//! Commands that ask a server to end itself, over its own socket: `redis-cli shutdown`, `mysqladmin shutdown`. No list of
//! them: that they are of the server's kind, their names tell, and what they ask for, their words.

use super::address::{Address, Fit};
use super::{Asked, SERVICES, base};
use crate::evidence::{Grade, ProcessId, S, Source, base_name};
use crate::story::actor::{Actor, asks_daemon};
use crate::story::case::Case;
use crate::story::people::Known;
use crate::story::unit_names::Names;
use crate::story::verdict::{Link, LinkEvent};
use crate::story::words;

/// How long before a server ends itself it was asked to: it may have something to write first.
const RUN_BEFORE: u64 = 3 * S;

/// How long after the end of the one that asked.
const ENDS_AFTER: u64 = S;

/// How many of the newest commands are looked at, where most of them may have failed.
const LOOKED_AT: usize = 64;

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
    /// Why it may have asked another server.
    doubt: Option<String>,
}

impl Shutdown {
    /// The last one that was run right before, by who may ask for that, rather one that can have meant no other server.
    pub fn of(case: &Case<'_>) -> Option<Self> {
        let asked = candidates(case);
        let begun = started_by(case, &asked);
        let namesakes = namesakes(case);
        let asked = asked.iter().zip(begun).filter_map(|(asked, begun)| {
            let Candidate { client, known, ran_ns } = *asked;
            if acts_by_signals(case, client, &begun, ran_ns) {
                return None;
            }
            let doubt = match aim(case, client, known, ran_ns, &namesakes) {
                Fit::Other => return None,
                Fit::Open(why) => Some(why),
                Fit::Meant | Fit::Unsaid => None,
            };
            Some(Self { client, ran_ns, doubt })
        });
        asked.max_by_key(|asked| (asked.doubt.is_none(), asked.ran_ns, asked.client.pid))
    }

    /// How it reads, with a space before it.
    pub fn sentence(&self, case: &Case<'_>) -> String {
        let lead = words::span(case.struck_ns().saturating_sub(self.ran_ns));
        let told = self.told(case);
        match &self.doubt {
            None => format!(
                " {lead} before, {told}, which seems to be why: what the two said to each other was not seen."
            ),
            Some(doubt) => format!(
                " {lead} before, {told}, which may be why, or may have meant another server: {doubt}."
            ),
        }
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

/// A command that is of the victim's kind and asks something to end.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    client: ProcessId,
    known: &'a Known,
    ran_ns: u64,
}

/// Those that can have asked the victim; the newest of them, where somebody ran very many.
fn candidates<'a>(case: &Case<'a>) -> Vec<Candidate<'a>> {
    const NEWEST: usize = 16;
    let names = names(case);
    let above = case.world.people.parents(case.victim);
    let asked = case.world.people.iter().filter_map(|(client, known)| {
        let ran_ns = asked_at(case, client, known)?;
        let program = program(known)?;
        let is_its_kind = names.iter().any(|name| is_alike(name, program));
        (is_its_kind && !above.contains(&client)).then_some(Candidate { client, known, ran_ns })
    });
    let mut asked: Vec<_> = asked.collect();
    asked.sort_by_key(|asked| std::cmp::Reverse((asked.ran_ns, asked.client.pid)));
    let can_ask = |asked: &Candidate<'_>| {
        // One that could not ask, or was refused, says so by its status.
        let failed = case.world.exit_of(asked.client).is_some_and(|exit| exit.value.status != 0);
        !failed && !case.world.people.parents(asked.client).contains(&case.victim)
    };
    asked.into_iter().take(LOOKED_AT).filter(can_ask).take(NEWEST).collect()
}

/// What each of these commands started, in one pass over all that are known.
fn started_by(case: &Case<'_>, asked: &[Candidate<'_>]) -> Vec<Vec<ProcessId>> {
    let mut started = vec![Vec::new(); asked.len()];
    if asked.is_empty() {
        return started;
    }
    let people = &case.world.people;
    for (id, _) in people.iter() {
        let parents = people.parents(id);
        for (asked, its) in asked.iter().zip(&mut started) {
            if id == asked.client || parents.contains(&asked.client) {
                its.push(id);
            }
        }
    }
    started
}

/// When a process was run that asks something to end, and can have asked the victim.
fn asked_at(case: &Case<'_>, client: ProcessId, known: &Known) -> Option<u64> {
    let struck_ns = case.struck_ns();
    let ran_ns = known.exec_ns.filter(|ran| *ran <= struck_ns && ran + RUN_BEFORE >= struck_ns)?;
    let was_there = known.ended_ns.is_none_or(|ended| ended + ENDS_AFTER >= struck_ns);
    let may_ask = known.uid.is_some_and(|uid| uid == 0 || uid == case.exit.value.task.uid);
    let args = known.cmdline.as_deref()?;
    (was_there && may_ask && client != case.victim && asks(args.get(1..)?)).then_some(ran_ns)
}

/// Whether a command, or what it runs (`begun`), asks by signals, as `nginx -s quit` does: those to the victim are seen, and
/// there was none of its.
fn acts_by_signals(case: &Case<'_>, client: ProcessId, begun: &[ProcessId], ran_ns: u64) -> bool {
    const SENDERS: [&str; 4] = ["kill", "pkill", "killall", "start-stop-daem"];
    let people = &case.world.people;
    let is_its = |id: ProcessId| id == client || people.parents(id).contains(&client);
    begun.iter().filter_map(|id| Some((*id, people.get(*id)?))).any(|(id, known)| {
        let is_called =
            |names: &[&str]| known.comm.as_deref().is_some_and(|it| names.contains(&it));
        let process = case.process(id);
        // Of others that have such an option it is not known how they ask.
        let is_open = process.cmdline.iter().flatten().any(|word| word == "--stop");
        let signals = asks_daemon(&process) && (!is_open || is_called(&["uwsgi"]));
        let mut sent = case.world.sent_since(id, ran_ns);
        signals || is_called(&SENDERS) || sent.any(|(_, target)| !is_its(target))
    })
}

/// Whether a command can have meant the victim, rather than another server.
fn aim(
    case: &Case<'_>,
    client: ProcessId,
    known: &Known,
    ran_ns: u64,
    namesakes: &[ProcessId],
) -> Fit {
    let Some(words) = known.cmdline.as_deref() else { return Fit::Other };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let victim = &case.exit.value.task;
    let is_meant = SERVICES.iter().all(|service| {
        let at = words.iter().take(2).position(|word| base(word) == service.client);
        let Some(at) = at.filter(|_| victim.comm.to_lowercase().starts_with(service.server)) else {
            return true;
        };
        (service.can_mean)(&Asked { case, server: victim, client, known, args: &words[at + 1..] })
    });
    if !is_meant {
        return Fit::Other;
    }
    let program = program(known).unwrap_or_default();
    let asked = Address::asked(program, words.iter().copied().skip(1));
    let fits = |server: ProcessId| {
        let name = words::name_pid(&case.process(server));
        let words = server_words(case, server);
        let comm = case.world.people.get(server).and_then(|it| it.comm.as_deref());
        asked.fit(program, &Address::own(comm.unwrap_or_default(), words.iter().copied()), &name)
    };
    let own = fits(case.victim);
    if matches!(own, Fit::Other | Fit::Meant) {
        return own;
    }
    let others: Vec<(ProcessId, Fit)> = others_of_its_kind(case, client, ran_ns, namesakes)
        .map(|other| (other, fits(other)))
        .filter(|(_, fit)| *fit != Fit::Other)
        .collect();
    if others.iter().any(|(_, fit)| *fit == Fit::Meant) {
        return Fit::Other;
    }
    let container = |id: ProcessId| case.process_at(id, ran_ns).container.map(|it| it.id);
    match (own, others.first()) {
        (Fit::Unsaid, Some((other, _))) => {
            let name = words::name_pid(&case.process_at(*other, ran_ns));
            Fit::Open(format!("{name} was running then, too, and which of them it meant was not seen"))
        }
        (Fit::Unsaid, None) if container(client) != container(case.victim) => {
            Fit::Open("the two were not in the same container, and what leads from one to the other was not seen".to_owned())
        }
        (own, _) => own,
    }
}

/// The arguments that a server was started with, and those that it shows.
fn server_words<'a>(case: &Case<'a>, server: ProcessId) -> Vec<&'a str> {
    let people = &case.world.people;
    let executed = people.executed_at(server, case.struck_ns()).unwrap_or_default();
    let shown = people.get(server).and_then(|known| known.cmdline.as_deref()).unwrap_or_default();
    // A title may be all in one word.
    let shown = shown.iter().flat_map(|word| word.split(' ')).skip(1);
    executed.iter().skip(1).map(String::as_str).chain(shown).collect()
}

/// Others with the victim's name, where that is no interpreter's.
fn namesakes(case: &Case<'_>) -> Vec<ProcessId> {
    let comm = case.exit.value.task.comm.as_str();
    if is_interpreter(comm) {
        return Vec::new();
    }
    let all = case.world.people.iter();
    let others =
        all.filter(|(id, known)| known.comm.as_deref() == Some(comm) && *id != case.victim);
    others.map(|(id, _)| id).collect()
}

/// Other servers with the victim's name that were there when a command was run; their workers are none.
fn others_of_its_kind<'a>(
    case: &Case<'a>,
    client: ProcessId,
    ran_ns: u64,
    namesakes: &'a [ProcessId],
) -> impl Iterator<Item = ProcessId> {
    let people = &case.world.people;
    let victim = case.victim;
    let others = namesakes.iter().filter(move |id| **id != client);
    let there = others.filter_map(|id| Some((*id, people.get(*id)?))).filter(move |(id, known)| {
        id.start_ns < ran_ns && known.ended_ns.is_none_or(|ended| ended >= ran_ns)
    });
    let apart = there.filter(move |(id, known)| {
        let parents = people.parents(*id);
        let above = parents.first().and_then(|parent| people.get(*parent));
        let is_worker = above.is_some_and(|above| above.comm == known.comm);
        let is_kin = parents.contains(&victim) || people.parents(victim).contains(id);
        !is_worker && !is_kin && !parents.contains(&client)
    });
    apart.map(|(id, _)| id)
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
    let own = words.find(|word| word.starts_with(comm)).unwrap_or(comm);
    // Whom systemctl asks is the service manager, whatever else is named like that.
    (own != "systemctl" && !is_interpreter(own)).then_some(own)
}

/// Whether a program is one that runs others: what it is called says nothing of what it runs.
fn is_interpreter(name: &str) -> bool {
    const INTERPRETERS: [&str; 8] =
        ["python", "perl", "ruby", "node", "java", "php", "bash", "dash"];
    INTERPRETERS.iter().any(|known| {
        let rest = name.strip_prefix(known);
        rest.is_some_and(|rest| rest.chars().all(|it| !it.is_alphabetic() && it != '-'))
    })
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
