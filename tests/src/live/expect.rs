//! What a verdict must say: a comparison that tells every difference at once.

use std::fmt::Write as _;

use killtrace::evidence::{Disposition, Mechanism, Process, SignalResult, WaitStatus};
use killtrace::story::verdict::{CauseId, Death, Killer, KillerKind, LinkEvent, Outcome};

use super::stage::Cast;
use super::trace::Ended;

/// A scene that was played under killtrace.
#[derive(Debug)]
pub struct Played {
    /// What killtrace reported.
    pub trace: Ended,
    cast: Cast,
}

/// Who is to be named as the killer; actors by their name in the scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// That process sent the signal.
    Process(&'static str),
    /// The kernel, led to it by that process.
    KernelFor(&'static str),
    /// The kernel, and nobody else is to be blamed.
    KernelAlone,
    /// The kernel, whoever else may be named.
    Kernel,
    /// The victim.
    Itself,
    /// Nobody.
    Nobody,
}

impl Played {
    /// Checks what holds for every scene: one verdict for each victim, which agrees with `wait(2)`.
    pub fn new(cast: Cast, trace: Ended) -> Self {
        let played = Self { trace, cast };
        for (name, pid) in played.cast.victims() {
            let death = played.death_of(name);
            let meant =
                Outcome::from(WaitStatus(played.cast.scene.ends.wait_status().cast_unsigned()));
            let mut wrong = Differences::default();
            wrong.compare("outcome", &death.outcome, &meant);
            wrong.compare("victim.pid", &death.victim.pid, &pid);
            told_in_full(&mut wrong, "victim", &death.victim);
            let director = played.cast.pid("director");
            let ancestors = &death.victim.ancestors;
            let known = ancestors.iter().any(|parent| Some(parent.pid) == director);
            wrong.demand(known, "the victim's ancestors lead to the director");
            chain_is_sound(&mut wrong, death);
            played.settle(&wrong, death);
        }
        let loss = played.trace.losses().next();
        assert!(loss.is_none(), "{} lost events: {loss:?}", played.cast.scene.name);
        played
    }

    /// Pid of an actor.
    pub fn pid(&self, name: &str) -> u32 {
        let pid = self.cast.pid(name);
        pid.unwrap_or_else(|| panic!("{} has no {name}", self.cast.scene.name))
    }

    /// The one verdict on `victim`.
    pub fn death(&self) -> &Death {
        self.death_of("victim")
    }

    /// The one verdict on that actor.
    pub fn death_of(&self, name: &str) -> &Death {
        let pid = self.pid(name);
        let mut deaths = self.trace.deaths().filter(|death| death.victim.pid == pid);
        let scene = self.cast.scene.name;
        let Some(death) = deaths.next() else {
            panic!("{scene}: no verdict on {name} [{pid}]\n{}", self.trace.complaint())
        };
        assert_eq!(deaths.count(), 0, "{scene}: {name} [{pid}] died more than once");
        death
    }

    /// The victim was killed: in that way, by that killer, for that cause.
    pub fn killed(&self, mechanism: Mechanism, killer: By, cause: CauseId) -> &Death {
        self.verdict("victim", Some(mechanism), killer, cause)
    }

    /// The verdict on that actor; without a mechanism, no signal is to be named.
    pub fn verdict(
        &self,
        name: &str,
        mechanism: Option<Mechanism>,
        killer: By,
        cause: CauseId,
    ) -> &Death {
        let death = self.caused(name, killer, cause);
        let mut wrong = Differences::default();
        let named = death.signal.as_ref().map(|signal| signal.mechanism);
        wrong.compare("signal.mechanism", &named, &mechanism);
        self.settle(&wrong, death);
        death
    }

    /// The verdict on that actor, where no mechanism of the vocabulary fits.
    pub fn caused(&self, name: &str, killer: By, cause: CauseId) -> &Death {
        let death = self.death_of(name);
        let mut wrong = Differences::default();
        wrong.compare("cause.id", &death.cause.id, &cause);
        self.check_killer(&mut wrong, &death.killer, killer);
        if let (Outcome::Signaled { signal, .. }, Some(deciding)) = (&death.outcome, &death.signal)
        {
            wrong.compare("signal.name", &deciding.name, signal);
            let effective = [SignalResult::Delivered, SignalResult::Blocked];
            wrong.demand(effective.contains(&deciding.result), "the deciding signal arrived");
        }
        self.settle(&wrong, death);
        death
    }

    /// The victim ended by itself, although that signal had come to it with that result.
    pub fn unharmed_by(&self, signal: &str, result: SignalResult, stance: Disposition) {
        let death = self.verdict("victim", None, By::Nobody, CauseId::ExitedByItself);
        let pid = self.pid("victim");
        let mut seen = self.trace.signals().filter(|record| record.target.pid == pid);
        let record = seen.find(|record| record.signal.name == signal);
        let mut wrong = Differences::default();
        match record {
            None => wrong.demand(false, &format!("a signal record of {signal}")),
            Some(record) => {
                wrong.compare("signal record's result", &record.signal.result, &result);
                wrong.compare("its disposition", &record.signal.disposition, &Some(stance));
                let sender = record.sender.as_ref().map(|sender| sender.pid);
                wrong.compare("its sender", &sender, &Some(self.pid("sender")));
            }
        }
        self.settle(&wrong, death);
    }

    fn check_killer(&self, wrong: &mut Differences, killer: &Killer, meant: By) {
        let kind = match meant {
            By::Process(_) => KillerKind::Process,
            By::KernelFor(_) | By::KernelAlone | By::Kernel => KillerKind::Kernel,
            By::Itself => KillerKind::Itself,
            By::Nobody => KillerKind::None,
        };
        wrong.compare("killer.kind", &killer.kind, &kind);
        let pid = killer.process.as_ref().map(|process| process.pid);
        match meant {
            By::Process(name) | By::KernelFor(name) => {
                wrong.compare(&format!("killer.process ({name})"), &pid, &Some(self.pid(name)));
                if let Some(process) = &killer.process {
                    told_in_full(wrong, "killer.process", process);
                }
            }
            By::KernelAlone | By::Nobody => wrong.compare("killer.process", &pid, &None),
            By::Itself => {
                let itself = pid.is_none_or(|pid| pid == self.pid("victim"));
                wrong.demand(itself, "killer.process is the victim or null");
            }
            By::Kernel => {}
        }
    }

    /// Fails the test where anything is wrong, with all that is needed to see why.
    fn settle(&self, wrong: &Differences, death: &Death) {
        if wrong.text.is_empty() {
            return;
        }
        let verdict = serde_json::to_string(death).unwrap_or_default();
        panic!(
            "{}: the verdict is wrong\n{}\n{verdict}\n{}",
            self.cast.scene.name,
            wrong.text,
            self.trace.complaint()
        );
    }
}

/// Differences found so far, one a line.
#[derive(Debug, Default)]
struct Differences {
    text: String,
}

impl Differences {
    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, said: &T, meant: &T) {
        if said != meant {
            // Writing to a string does not fail.
            let _ = writeln!(self.text, "  {what}: {said:?}, not {meant:?}");
        }
    }

    fn demand(&mut self, holds: bool, what: &str) {
        if !holds {
            // Writing to a string does not fail.
            let _ = writeln!(self.text, "  not so: {what}");
        }
    }
}

/// A process that took part is told with all that identifies it, even when it is long gone.
fn told_in_full(wrong: &mut Differences, what: &str, process: &Process) {
    let has_words = |words: &Vec<String>| !words.is_empty();
    let known = [
        ("pid", process.pid > 0),
        ("start_ns", process.start_ns.is_some()),
        ("comm", process.comm.is_some()),
        ("exe", process.exe.is_some()),
        ("cmdline", process.cmdline.as_ref().is_some_and(has_words)),
        ("uid", process.uid.is_some()),
        ("user", process.user.is_some()),
        ("ppid", process.ppid.is_some()),
        ("ancestors", !process.ancestors.is_empty()),
    ];
    for (field, there) in known {
        wrong.demand(there, &format!("{what}.{field} is known"));
    }
}

/// The chain is in order of time and ends with the death; words are there to be read.
fn chain_is_sound(wrong: &mut Differences, death: &Death) {
    let times: Vec<u64> = death.chain.iter().map(|link| link.at.boot_ns).collect();
    wrong.demand(times.is_sorted(), "the chain is in order of time");
    let last = death.chain.last().map(|link| link.event);
    wrong.compare("the chain's last event", &last, &Some(LinkEvent::Death));
    wrong.demand(death.chain.iter().all(|link| !link.text.is_empty()), "each link has a text");
    wrong.demand(!death.cause.explanation.is_empty(), "the cause has an explanation");
}
