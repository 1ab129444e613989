//! That monit had run what ended a process, or asked for that, and why, as far as that was seen.

use super::actor::Actor;
use super::case::Case;
use super::causes::Finding;
use super::clients::{Order, monit};
use super::verdict::{CauseId, Link, LinkEvent};
use super::world::Seen;
use super::{fixes, journal, words};
use crate::evidence::{Grade, JournalLine, ProcessId, S, Source};

/// Stories of what somebody's program did or asked for.
const TELLING: [CauseId; 4] = [
    CauseId::UserCommand,
    CauseId::ProcessSignal,
    CauseId::UnitStopRequested,
    CauseId::SystemctlKill,
];

/// How long before it runs its program monit says why.
const SAID_BEFORE: u64 = 5 * S;

/// How long after its start a program acts: monit gives it 30 s where nothing else is set. What it started as a service acts
/// for reasons of its own.
const ACTS_WITHIN: u64 = 60 * S;

/// A monit and the program that it ran.
struct Monit<'a> {
    daemon: ProcessId,
    /// It is no daemon, but was run to do just this.
    is_client: bool,
    service: Option<&'a str>,
    ran_ns: u64,
    orders: Vec<Order>,
}

impl<'a> Monit<'a> {
    /// Above one of those who acted: the sender of the signal, and who asked for it.
    fn of(case: &Case<'a>, finding: &Finding) -> Option<Self> {
        let people = &case.world.people;
        let sender = case.blow?.signal.value.sender.id;
        let asked = finding.links.iter().filter(|link| {
            matches!(link.event, LinkEvent::Command | LinkEvent::BusCall)
                && link.at.boot_ns <= case.struck_ns()
        });
        let asked = asked.filter_map(|link| {
            let actor = link.actor.as_ref()?;
            Some(ProcessId { pid: actor.pid, start_ns: actor.start_ns? })
        });
        std::iter::once(sender).chain(asked).find_map(|id| {
            let line: Vec<ProcessId> = std::iter::once(id).chain(people.parents(id)).collect();
            let is_it = |pair: &&[ProcessId]| people.get(pair[1]).is_some_and(monit::is_monit);
            let pair = line.windows(2).find(is_it)?;
            let (program, daemon) = (pair[0], pair[1]);
            let exec_ns = people.get(program).and_then(|known| known.exec_ns);
            let ran_ns = exec_ns.unwrap_or(program.start_ns).min(case.struck_ns());
            let is_recent = ran_ns.saturating_add(ACTS_WITHIN) >= case.struck_ns();
            if !is_recent || monit::is_start(case, program) {
                return None;
            }
            let is_client = people.get(daemon).is_some_and(monit::is_client);
            let orders =
                if is_client { Vec::new() } else { monit::orders(case, daemon, program, ran_ns) };
            Some(Self { is_client, daemon, service: monit::service(case, program), ran_ns, orders })
        })
    }

    /// What monit logged of the service last before that, where it logs to the journal: not what it does, but why.
    fn said(&self, case: &Case<'a>) -> Option<&'a Seen<JournalLine>> {
        const DOES: [&str; 4] = ["trying to ", "stop: ", "start: ", "restart: "];
        let about = format!("'{}' ", self.service?);
        let recent = self.ran_ns.saturating_sub(SAID_BEFORE)..=self.ran_ns + S / 10;
        case.world.journal.iter().rfind(|line| {
            let said = line.value.message.strip_prefix(about.as_str());
            let is_why = said.is_some_and(|said| {
                !said.ends_with("action done") && !DOES.iter().any(|does| said.starts_with(does))
            });
            is_why && recent.contains(&line.ns()) && journal::from_daemon(&line.value, "monit")
        })
    }

    /// Who asked it to, and what it said of that.
    fn why(&self, case: &Case<'a>, daemon: &str) -> String {
        let told = |order: &Order| {
            let lead = words::span(self.ran_ns.saturating_sub(order.ran_ns));
            format!("{lead} before that, {}", Actor::behind(case, order.client).told())
        };
        let sentences: Vec<String> = self.orders.iter().map(told).collect();
        let seems = if self.service.is_some() { "seems to be" } else { "may be" };
        if let Some(said) = self.said(case) {
            let said = words::quotation(&said.value.message);
            let asked = if sentences.is_empty() {
                String::new()
            } else {
                format!(". {}", words::list(&sentences))
            };
            return format!(", and had logged {said}{asked}");
        }
        match sentences.len() {
            0 => ", for a rule of its settings, or since somebody asked it to (on its web page, say): its log says which".to_owned(),
            1 => format!(". {}, which {seems} what made {daemon} do it", sentences[0]),
            _ => format!(
                ". {}; one of these {seems} what made {daemon} do it",
                words::list(&sentences)
            ),
        }
    }

    fn links(&self, case: &Case<'a>) -> Vec<Link> {
        let ran = self.orders.iter().map(|order| {
            let at = case.exit.at.shifted(order.ran_ns);
            let client = Some(case.process(order.client));
            let told = Actor::behind(case, order.client).told();
            let link = case.link(at, LinkEvent::Command, Source::Kernel, client, told);
            Link { evidence: Grade::Inferred, ..link }
        });
        let effect = case.exit.at.shifted(self.ran_ns);
        let said = self.said(case).map(|said| {
            let text = format!("monit logged {}", words::quotation(&said.value.message));
            case.link(said.at, LinkEvent::Command, said.source, None, text).before(effect)
        });
        ran.chain(said).collect()
    }
}

/// Adds to a story that monit had run what acted.
pub fn tell(case: &Case<'_>, finding: &mut Finding) {
    if !TELLING.contains(&finding.id) {
        return;
    }
    let Some(monit) = Monit::of(case, finding) else { return };
    let daemon = words::name_pid(&case.process(monit.daemon));
    let service = monit.service.map(|name| format!(" for its service {}", words::quotation(name)));
    let service = service.unwrap_or_default();
    let why = if monit.is_client {
        format!(": {}", Actor::behind(case, monit.daemon).told())
    } else {
        monit.why(case, &daemon)
    };
    finding.explanation.push_str(&format!(" {daemon} had run that{service}{why}."));
    if monit.is_client {
        return;
    }
    finding.links.extend(monit.links(case));
    let is_rule =
        monit.said(case).is_some_and(|said| !said.value.message.ends_with("on user request"));
    if monit.orders.is_empty() && !is_rule {
        finding.gaps.push(format!(
            "why {daemon} ran that, or who asked it to, was not seen: its log says it"
        ));
    }
    let is_roots = case.world.people.get(monit.daemon).and_then(|known| known.uid) == Some(0);
    if is_roots {
        let file = monit::settings_of(case, monit.daemon);
        finding.fixes.push(fixes::monit_log(monit.service, file));
    }
}
