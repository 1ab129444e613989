//! A unit that was not stopped in time: which limit ran out, which signals had not helped, and which was the last resort.

use super::{abort_timeout_setting, aborts, is_true, signal_setting, timeout_setting};
use crate::evidence::{Grade, JournalLine, MS, S, SignalResult, Source, sig, signal_name};
use crate::story::case::Case;
use crate::story::halts::Halt;
use crate::story::journal::said_of_run;
use crate::story::manager::main_process::asked_to_end;
use crate::story::manager::{UnitStop, is_last_resort};
use crate::story::units::{in_brackets, unit_setting};
use crate::story::verdict::{DecidingSetting, Fix, Link, LinkEvent};
use crate::story::world::{Seen, SeenSignal};
use crate::story::{fixes, mechanism, signals, words};

/// A unit that was not stopped in time.
#[derive(Debug)]
pub struct Overrun<'a> {
    /// The signal that had not helped: to the victim itself, or only to the unit's main process.
    first: Option<&'a SeenSignal>,
    /// The signal to the unit's main process, where only that was asked to end, as far as it was seen.
    main: Option<&'a SeenSignal>,
    /// The signal that was to abort it when the first had not helped, and did not help either.
    abort: Option<&'a SeenSignal>,
    /// Which limit had run out when the deciding signal came.
    limit: Limit,
    /// What the manager said of it.
    said: Option<&'a Seen<JournalLine>>,
}

/// A limit on how long a unit may take to end (`service_arm_timer` in `src/core/service.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// `TimeoutStopSec=`, after the signal that asks it to end.
    Stop,
    /// `TimeoutAbortSec=`, after the signal that aborts it: the watchdog's, or that of a time-out which aborts.
    Abort,
}

impl<'a> Overrun<'a> {
    /// Where the deciding signal is the last resort of a stop that took too long.
    pub fn of(case: &Case<'a>, stop: &UnitStop<'a>) -> Option<Self> {
        let blow = case.blow.filter(|_| stop.by_command.is_none())?;
        let said = case.world.journal.iter().rev().find(|line| {
            said_of_run(line, stop)
                && line.value.message.contains("timed out")
                && line.ns() <= case.exit.ns()
                && line.ns() + 2 * S >= blow.signal.ns()
        });
        let limit =
            if is_aborted(stop, said, blow.signal.ns()) { Limit::Abort } else { Limit::Stop };
        if stop.escalated {
            let waited = blow.signal.ns().saturating_sub(stop.first.ns());
            // Before the time is up, it was not the manager's own patience that ended.
            let early = limit_ns(stop).is_some_and(|limit| waited.saturating_add(SLACK) < limit);
            let is_it = said.is_some() || !early;
            let abort = aborting_signal(case, stop).filter(|_| limit == Limit::Abort);
            return is_it.then_some(Self {
                first: Some(stop.first),
                main: None,
                abort,
                limit,
                said,
            });
        }
        // With KillMode=mixed only the main process is asked first; the last resort is all that the others get, and what
        // was born meanwhile.
        let timed_out = said?.value.message.contains("State 'stop-sigterm' timed out");
        let number = blow.signal.value.number;
        let last = number == sig::SIGKILL || is_last_resort(stop.history, number);
        let since_ns = stop.job.map(Seen::ns).or(stop.began_unseen.map(|began| began.boot_ns));
        let since_ns = since_ns.filter(|_| timed_out && last)?;
        let main = asked_to_end(case.world, stop.manager, &stop.unit, since_ns, blow.signal);
        Some(Self { first: None, main, abort: None, limit, said })
    }

    /// The signal that had not helped, where the victim does not get it as process 1 of a pid namespace; a container has its
    /// own story.
    fn deaf_to(&self) -> Option<&'a SeenSignal> {
        self.first.filter(|first| {
            first.value.namespace_init && first.value.result == SignalResult::Ignored
        })
    }

    /// How long the last signal but one had been given.
    fn waited(&self, case: &Case<'_>) -> Option<String> {
        let blow = case.blow?;
        let asked = self.abort.or(self.first)?;
        Some(words::span(blow.signal.ns().saturating_sub(asked.ns())))
    }

    /// Whether it came sooner than the manager's limit is as far as is known: one that was changed meanwhile ran out.
    fn is_early(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> bool {
        let limit_us = || stop.history?.now.get("TimeoutStopUSec")?.as_u64();
        let waited = || Some(case.blow?.signal.ns().saturating_sub(self.first?.ns()));
        let early = waited().zip(limit_us());
        early.is_some_and(|(ns, us)| ns.saturating_add(SLACK) < us.saturating_mul(1_000))
    }

    /// The limit that ran out.
    fn setting(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Option<DecidingSetting> {
        match self.limit {
            Limit::Stop if self.is_early(case, stop) => None,
            Limit::Stop => timeout_setting(case, stop),
            Limit::Abort => abort_timeout_setting(case, stop),
        }
    }

    /// What decided when and by which signal it was to end in the end.
    pub fn settings(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Vec<DecidingSetting> {
        let mut found = Vec::new();
        if self.abort.is_some() {
            found.extend(timeout_setting(case, stop));
        }
        // Of the others it may be the first that they got.
        let is_aborting =
            |said: &Seen<JournalLine>| said.value.message.contains("timed out. Aborting");
        if self.first.is_none() && self.said.is_some_and(is_aborting) {
            found.extend(aborts(case, stop, "TimeoutStopFailureMode"));
        }
        // By a watchdog a unit is aborted that nobody stops.
        if self.abort.is_some() || self.limit == Limit::Abort && stop.job.is_some() {
            found.extend(aborts(case, stop, "TimeoutStopFailureMode"));
        }
        found.extend(self.setting(case, stop));
        let namespace = self.deaf_to().and_then(|_| {
            unit_setting(case, stop, "PrivatePIDs", "PrivatePIDs").filter(|it| is_true(&it.value))
        });
        found.extend(namespace);
        let last = case.blow.map(|blow| blow.signal.value.number);
        let chosen = last.filter(|last| *last != sig::SIGKILL && self.first.is_none());
        found.extend(chosen.and_then(|last| signal_setting(case, stop, "FinalKillSignal", last)));
        if self.limit == Limit::Abort {
            let aborting = self.abort.or(self.first);
            let number = aborting.map(|signal| signal.value.number);
            found.extend(number.and_then(|it| signal_setting(case, stop, "WatchdogSignal", it)));
        }
        found
    }

    /// How to give it more time.
    pub fn fixes(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Vec<Fix> {
        let Some(last) = case.blow.map(|blow| name(blow.signal)) else { return Vec::new() };
        let at = stop.at();
        match (self.limit, self.abort, self.deaf_to()) {
            // No time is long enough.
            (Limit::Stop, None, Some(first)) => vec![fixes::init_in_front(&at, &name(first))],
            (Limit::Stop, ..) => vec![fixes::stop_timeout(&at, &last)],
            (Limit::Abort, None, _) => vec![fixes::abort_timeout(&at, &last)],
            (Limit::Abort, Some(abort), _) => {
                vec![fixes::stop_timeout(&at, &name(abort)), fixes::abort_timeout(&at, &last)]
            }
        }
    }

    /// That the process which was asked to end had been stopped since.
    pub fn halt(&self, case: &Case<'a>) -> Option<Halt<'a>> {
        let asked = self.abort.or(self.first).or(self.main)?;
        let until_ns = case.blow?.signal.ns().saturating_sub(1);
        Halt::of(case, [asked.value.target.id], until_ns)
    }

    /// That the limit of the stop had been put off.
    pub fn extended(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Option<String> {
        let plain = self.limit == Limit::Stop && self.abort.is_none();
        // After the main process's end the clock begins anew for what is left.
        let is_it = self.said?.value.message.contains("State 'stop-sigterm' timed out");
        let struck_ns = case.blow?.signal.ns();
        let asked = case.world.signals_to(case.victim).iter().rev().find(|signal| {
            signal.ns() < struck_ns
                && signal.value.number != sig::SIGCONT
                && signal.value.sender.id == stop.first.value.sender.id
        });
        let asked = asked.filter(|_| plain && is_it)?;
        let waited_ns = struck_ns.saturating_sub(asked.ns());
        super::extended(stop, waited_ns / 1_000, "TimeoutStopUSec")
    }

    /// How it reads: ` It had not ended 90 s after SIGTERM, so SIGKILL followed (TimeoutStopSec=1min 30s, …).`
    pub fn clause(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> Option<String> {
        let last = signal_name(case.blow?.signal.value.number);
        let limit = in_brackets(self.setting(case, stop).as_ref());
        Some(match (self.first, self.abort, self.waited(case)) {
            (Some(first), Some(abort), Some(waited)) => format!(
                " It had not ended {} after {}, so {} followed{}, nor {waited} after that, so {last} did{limit}.",
                span_between(first, abort),
                name(first),
                name(abort),
                in_brackets(timeout_setting(case, stop).as_ref()),
            ),
            (Some(first), None, Some(waited)) => {
                let unheard = signals::unheard(&first.value);
                let changed = if self.limit == Limit::Stop && self.is_early(case, stop) {
                    " That is sooner than TimeoutStopSec= as it is known here: it was another then, it seems."
                } else {
                    ""
                };
                format!(
                    " It had not ended {waited} after {}{unheard}, so {last} followed{limit}.{changed}",
                    name(first)
                )
            }
            _ if stop.began_unseen.is_some() => {
                format!(
                    " It had not ended in the time that it had to stop, so {last} followed{limit}."
                )
            }
            _ => format!(
                " The unit's main process had not ended in the time that it had to stop, so {last} went to \
                 everything in the unit{limit}."
            ),
        })
    }

    /// That it hung, in the middle of a sentence: `had not ended 90 s after SIGTERM (TimeoutStopSec=…)`
    pub fn hung(&self, case: &Case<'_>, stop: &UnitStop<'_>) -> String {
        let waited = self.waited(case).unwrap_or_default();
        let limit = in_brackets(self.setting(case, stop).as_ref());
        let first = self.first.unwrap_or(stop.first);
        match self.abort {
            Some(abort) => format!(
                "had not ended {} after {}{}, nor {waited} after {}{limit}",
                span_between(first, abort),
                name(first),
                in_brackets(timeout_setting(case, stop).as_ref()),
                name(abort),
            ),
            None => format!(
                "had not ended {waited} after {}{}{limit}",
                name(first),
                signals::unheard(&first.value)
            ),
        }
    }

    /// The signals that had not helped, and that the time ran out.
    pub fn links(&self, case: &Case<'a>, stop: &UnitStop<'a>) -> Vec<Link> {
        let Some(blow) = case.blow else { return Vec::new() };
        let asked = [self.first, self.main, self.abort].into_iter().flatten();
        let mut links: Vec<Link> =
            asked.map(|signal| case.signal_link(signal, mechanism::of(&signal.value))).collect();
        let waited = self.waited(case);
        match self.said {
            Some(line) => {
                let later = waited.map(|waited| format!(", {waited} later")).unwrap_or_default();
                let text =
                    format!("systemd logged {}{later}", words::quotation(&line.value.message));
                let link = case.link(line.at, LinkEvent::Timeout, line.source, None, text);
                links.push(link.before(blow.signal.at));
            }
            None => {
                let waited = waited.unwrap_or_default();
                let which = if self.abort.is_some() { "second" } else { "first" };
                let text = format!("{} had not ended {waited} after the {which} signal", stop.unit);
                let at = blow.signal.at;
                let mut link = case.link(at, LinkEvent::Timeout, Source::Kernel, None, text);
                link.evidence = Grade::Inferred;
                links.push(link);
            }
        }
        links
    }
}

fn name(signal: &SeenSignal) -> String {
    signal_name(signal.value.number)
}

fn span_between(first: &SeenSignal, second: &SeenSignal) -> String {
    words::span(second.ns().saturating_sub(first.ns()))
}

/// How much earlier than its limit a time-out may seem to come.
const SLACK: u64 = 50 * MS;

/// The shortest time after which the manager resorts to more than asking, nanoseconds, as it says itself.
fn limit_ns(stop: &UnitStop<'_>) -> Option<u64> {
    let micros = |name: &str| stop.history?.now.get(name)?.as_u64();
    let limits = ["TimeoutStopUSec", "TimeoutAbortUSec"].map(micros);
    limits.into_iter().flatten().min().map(|micros| micros.saturating_mul(1_000))
}

/// Whether the unit was being aborted when its time ran out: by what the manager logged, else by the state in which it
/// last was.
fn is_aborted(stop: &UnitStop<'_>, said: Option<&Seen<JournalLine>>, struck_ns: u64) -> bool {
    const STATES: [&str; 2] = ["stop-watchdog", "final-watchdog"];
    if let Some(line) = said {
        return STATES.iter().any(|state| line.value.message.contains(&format!("'{state}'")));
    }
    let changes = stop.history.into_iter().flat_map(|history| history.changes.iter().rev());
    let mut states = changes
        .filter(|change| change.ns() < struck_ns)
        .filter_map(|change| change.value.get("SubState")?.as_str());
    states.next().is_some_and(|state| STATES.contains(&state))
}

/// The manager's last signal to the victim between its first one and the deciding one, where that has another number:
/// it was to abort what the first had not ended.
fn aborting_signal<'a>(case: &Case<'a>, stop: &UnitStop<'a>) -> Option<&'a SeenSignal> {
    let blow = case.blow?;
    let plain = [stop.first.value.number, blow.signal.value.number, sig::SIGCONT, sig::SIGHUP];
    case.world.signals_to(case.victim).iter().rev().find(|signal| {
        signal.value.sender.id == blow.signal.value.sender.id
            && (stop.first.ns()..blow.signal.ns()).contains(&signal.ns())
            && !plain.contains(&signal.value.number)
    })
}
