//! The live loop: evidence in from the kernel and the witnesses, records out, until there is a reason
//! to end.

mod following;

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::child::{Child, Ended, Refused};
use super::left_out::WaitingCgroups;
use super::roll_call::RollCall;
use super::stops::{Stops, either, perhaps};
use super::targets::{Running, Wanted};
use super::{say_missing, say_tracing, say_unlikely};
use crate::commands::output::{Output, Reader};
use crate::commands::plan::Plan;
use crate::commands::{Failure, tell};
use crate::evidence::{
    ATTACHED, CgroupOwner, End, Evidence, Fact, Gone, Header, ProcessId, S, SCHEMA, Settled,
    Source, TargetReason,
};
use crate::kernel::{Kernel, LeftOut, function_names};
use crate::recording::Recorder;
use crate::report::redact::Redactor;
use crate::story::Engine;
use crate::story::verdict::{LossRecord, Record};
use crate::system::{Witnesses, clock, machine, users};

/// How long a verdict waits for late witnesses, read by other processes than the one that died.
const SETTLE: Duration = Duration::from_millis(250);

/// How long it waits where the journal may say more, of a service, its manager or a login: journald tells of new lines
/// only every 250 ms (`POST_CHANGE_TIMER_INTERVAL_USEC`), and journalctl takes its time.
const SETTLE_JOURNAL: Duration = Duration::from_millis(600);

/// How long it waits for what is still being looked up by then: the names of users, the unit of a signal's sender, what
/// the journal says while it is still being opened; and for what a daemon logs that kills when memory runs short.
const SETTLE_ASKED: Duration = Duration::from_secs(2);

/// How long after a row of equal signals began the folded ones are shown where nothing else happens: when all of
/// its second are there. Nanoseconds.
const FOLDED_NS: u64 = 1_100_000_000;

/// How long the header waits for the sources of userspace to answer: they have had the time that
/// attaching took, and what they tell later is told in the death.
const SOURCES: Duration = Duration::from_millis(25);

/// How long to wait for the managers and buses of users whose processes are targets: whoever reads that tracing has begun may stop one
/// of their units at once. A connection takes some milliseconds.
const USERS: Duration = Duration::from_millis(500);

/// How long the header waits for PID 1 to say what it runs for the units that are targets.
const UNITS: Duration = Duration::from_millis(500);

/// How often new processes are looked at for a title that is a target's.
const TITLES: Duration = Duration::from_secs(1);

/// How often the time is looked at while something waits for it: a verdict, the end of the command, what is
/// to be recorded.
const TICK: Duration = Duration::from_millis(50);

/// Whoever ends killtrace may be ending its targets as well, a moment before or after, as at the end of a session or of the
/// system: how long it stays at least and, while a target is ending, at most.
const STAYS_AT_LEAST: Duration = Duration::from_millis(100);
const STAYS_AT_MOST: Duration = Duration::from_secs(2);

/// How long ago a target was asked to end that is taken to be ending, nanoseconds.
const ASKED_NS: u64 = 5 * S;

/// How long the end of the command is waited for in the kernel's own words.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A trace under way.
pub struct Live<'a> {
    plan: &'a Plan,
    wanted: Wanted,
    kernel: Kernel,
    witnesses: Witnesses,
    heard: UnboundedReceiver<Evidence>,
    engine: Engine,
    output: Output,
    recorder: Option<Recorder>,
    redactor: Option<Redactor>,
    child: Option<Child>,
    ended: Option<(Ended, Instant)>,
    announced: HashSet<ProcessId>,
    /// What there was no room for, and that was told.
    full: Vec<LeftOut>,
    /// The cgroups among that: they are added when there is room.
    waiting_cgroups: WaitingCgroups,
    roll_call: RollCall,
    stops: Stops,
    reader: Reader,
    /// The report could not be written to its end.
    unwritten: bool,
    /// The recording has a gap, or ends too soon.
    unrecorded: bool,
    /// The command runs.
    released: bool,
    deadline: Option<Instant>,
    /// Why the trace is about to end, and since when.
    leaving: Option<(&'static str, Instant)>,
}

impl<'a> Live<'a> {
    /// Writes the header and lets the command go, now that everything listens.
    pub async fn start(
        plan: &'a Plan,
        kernel: Kernel,
        wanted: Wanted,
        child: Option<Child>,
        (witnesses, heard): (Witnesses, UnboundedReceiver<Evidence>),
    ) -> Result<Self, Failure> {
        witnesses.ready(SOURCES).await;
        let mut redactor = plan.report.redact.then(redactor);
        let mut header = header(plan, &kernel, &witnesses);
        if let Some(redactor) = &mut redactor {
            header = redactor.header(header);
        }
        let mut live = Self {
            plan,
            wanted,
            kernel,
            witnesses,
            heard,
            engine: Engine::new(header.clone()),
            output: Output::open(&plan.report)?,
            recorder: None,
            redactor,
            child,
            ended: None,
            announced: HashSet::new(),
            full: Vec::new(),
            waiting_cgroups: WaitingCgroups::default(),
            roll_call: RollCall::default(),
            stops: Stops::new()?,
            reader: Reader::There,
            unwritten: false,
            unrecorded: false,
            released: false,
            deadline: plan.duration.map(|duration| Instant::now() + duration),
            leaving: None,
        };
        // Whoever waits for the header may kill a target the moment it comes: they are looked at first.
        let answers = live.witnesses.ask_of_units(live.wanted.units(), UNITS).await;
        let told = answers.iter().filter_map(|answer| live.wanted.answered(answer));
        let mut told: Vec<String> = told.collect();
        live.witnesses.names_containers(live.wanted.takes_users_containers());
        // What is there by now is new no more; what comes after that may take a title at once.
        if live.wanted.titles.are_wanted() {
            live.look_at_titles()?;
        }
        let (running, seen) = live.look_at_running()?;
        told.append(&mut live.wanted.of_containers.told);
        live.roll_call = RollCall::starting(Instant::now(), running.iter().map(|it| it.id));
        live.witnesses.hear_users(live.owners(&running), USERS).await;
        if let Some(path) = plan.report.record.as_deref() {
            live.recorder = Some(Recorder::create(path, &header)?);
        }
        live.show(&[Record::Header(Box::new(header))])?;
        live.flush()?;
        live.announce(&running, &told);
        for evidence in seen {
            live.take(evidence)?;
        }
        if let Err(failure) = live.release() {
            live.close(End::NOT_STARTED)?;
            return Err(failure);
        }
        for port in live.witnesses.ports() {
            live.kernel.add_port(port).context("cannot watch another port")?;
        }
        Ok(live)
    }

    /// The users in whose slices these are.
    fn owners(&self, running: &[Running]) -> BTreeSet<u32> {
        let owner = |process: &Running| {
            let looked_at = || self.witnesses.process(process.id.pid);
            let cgroup = process.found.clone().or_else(looked_at)?.cgroup?;
            CgroupOwner::of(&cgroup).owner_uid
        };
        running.iter().filter_map(owner).collect()
    }

    /// Says that tracing has begun, and of what.
    fn announce(&mut self, running: &[Running], of_targets: &[String]) {
        let waiting = self.wanted.wait(running);
        let name = |process: &Running| {
            let by_pid = || self.witnesses.process(process.id.pid);
            let is_by_pid = process.reason == TargetReason::Pid;
            let found = process.found.clone().or_else(|| is_by_pid.then(by_pid).flatten())?;
            Some(format!("{}[{}]", found.comm, found.pid))
        };
        let found: Vec<String> = running.iter().filter_map(name).collect();
        say_tracing(&self.engine.header().targets, &found, &waiting);
        for sentence in of_targets {
            tell(sentence);
        }
        say_unlikely(&self.plan.targets);
        if !self.plan.report.quiet {
            say_missing(&self.engine.header().sources);
        }
    }

    /// Opens the gate for the command.
    fn release(&mut self) -> Result<(), Failure> {
        let Some(Err(refused)) = self.child.as_mut().map(Child::release) else {
            self.released = self.child.is_some();
            return Ok(());
        };
        let program = self.plan.command.as_ref().map(|command| command.program.clone());
        let program = program.unwrap_or_default().to_string_lossy().into_owned();
        Err(match refused {
            Refused::User(error) => anyhow::anyhow!(
                "cannot run {program} as another user: {error}; run killtrace as root for that"
            ),
            Refused::Program(error) => anyhow::anyhow!("cannot run {program}: {error}"),
        }
        .into())
    }

    /// Runs until there is a reason to end; gives the exit status.
    pub async fn run(&mut self) -> Result<u8, Failure> {
        let mut tick = Instant::now() + TICK;
        let mut titles = Instant::now();
        let mut batch = Vec::new();
        let reason = loop {
            self.flush()?;
            if let Some(reason) = self.reason_to_end() {
                break reason;
            }
            tokio::select! {
                biased;
                () = either(&mut self.stops.interrupt, &mut self.stops.quit) => {
                    // The command gets the key as well; its end is what is waited for.
                    if self.child.is_none() {
                        break "interrupted";
                    }
                }
                _ = self.stops.terminate.recv() => {
                    // Who says it twice means at once.
                    if self.leaving.is_some() {
                        break "terminated";
                    }
                    self.leaving = Some(("terminated", Instant::now()));
                }
                () = perhaps(&mut self.stops.hangup) => {
                    self.leaving.get_or_insert_with(|| ("hung up", Instant::now()));
                }
                result = self.kernel.next(&mut batch) => {
                    result?;
                    self.take_kernels(&mut batch)?;
                }
                Some(evidence) = self.heard.recv() => self.take(evidence)?,
                () = sleep_until(tick), if self.waits() => {}
                () = sleep_until(titles), if self.wanted.titles.are_wanted() => {
                    self.look_at_titles()?;
                    titles = Instant::now() + TITLES;
                }
                () = sleep_until(self.deadline.unwrap_or(tick)), if self.deadline.is_some() => {}
            }
            if Instant::now() >= tick {
                self.settle()?;
                self.call_the_roll()?;
                self.reap()?;
                tick = Instant::now() + TICK;
            }
        };
        self.end(reason, &mut batch)?;
        Ok(self.status(reason))
    }

    /// Whether something is due before anything else happens.
    fn waits(&self) -> bool {
        self.child.is_some()
            || self.leaving.is_some()
            || self.recorder.is_some()
            || self.roll_call.waits()
            || self.engine.pending().next().is_some()
            || self.engine.folded_since().is_some()
    }

    /// The exit status; says so where a command is left behind.
    fn status(&self, reason: &str) -> u8 {
        let status = match (&self.child, self.ended) {
            (_, Some((ended, _))) => ended.exit_code(),
            (None, None) => 0,
            (Some(child), None) => {
                tell(&format!("process {} goes on without being traced", child.pid()));
                // As a shell has it: whoever waits for the command has not seen it end.
                match reason {
                    "terminated" => 128 + libc::SIGTERM as u8,
                    "hung up" => 128 + libc::SIGHUP as u8,
                    _ => 0,
                }
            }
        };
        let incomplete = self.unwritten || self.unrecorded;
        if incomplete && status == 0 { 1 } else { status }
    }

    /// Why the trace is over, where it is.
    fn reason_to_end(&self) -> Option<&'static str> {
        // A command goes on without a reader, and its status is still wanted.
        let recorded = self.unwritten && self.recorder.is_some();
        if self.reader == Reader::Gone && self.child.is_none() && !recorded {
            return Some("nobody reads the report");
        }
        if self.engine.is_over() {
            return Some("once");
        }
        if let Some((reason, since)) = self.leaving {
            let stayed = since.elapsed();
            let asked_ns = clock::now().boot_ns.saturating_sub(ASKED_NS);
            let awaits =
                || self.engine.pending().next().is_some() || self.engine.is_target_ending(asked_ns);
            if stayed >= STAYS_AT_MOST || stayed >= STAYS_AT_LEAST && !awaits() {
                return Some(reason);
            }
        }
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Some("duration");
        }
        if self.engine.pending().next().is_some() {
            return None;
        }
        if let (Some((_, at)), Some(id)) = (self.ended, self.wanted.command) {
            let told = !self.engine.alive().any(|alive| alive == id);
            return (told || at.elapsed() > LAST_WORDS).then_some("command ended");
        }
        let over = self.wanted.only_pids() && self.engine.alive().next().is_none();
        over.then_some("targets gone")
    }

    /// Takes what the kernel saw, with what userspace can add at once going before each.
    fn take_kernels(&mut self, batch: &mut Vec<Evidence>) -> Result<(), Failure> {
        for mut evidence in std::mem::take(batch) {
            self.new_target(&mut evidence)?;
            self.witnesses.consider(&evidence);
            while let Ok(heard) = self.heard.try_recv() {
                self.take(heard)?;
            }
            self.take(evidence)?;
        }
        Ok(())
    }

    /// Keeps a piece of evidence and reports what follows from it.
    fn take(&mut self, mut evidence: Evidence) -> Result<(), Failure> {
        self.roll_call.consider(&evidence.fact, Instant::now());
        if let Fact::Terminal(terminal) = &mut evidence.fact {
            terminal.watched = self.watch_all(&terminal.holders);
        }
        let mut elsewhere = self.run_elsewhere(&evidence.fact)?;
        elsewhere.extend(self.named_otherwise(&evidence.fact)?);
        elsewhere.extend(self.called_by_user(&evidence.fact)?);
        let evidence = match &mut self.redactor {
            Some(redactor) => redactor.evidence(evidence),
            None => evidence,
        };
        let trouble = self.recorder.as_mut().and_then(|recorder| recorder.evidence(&evidence));
        let records = self.engine.observe(&evidence);
        self.show(&records)?;
        self.trouble(trouble)?;
        for process in elsewhere {
            for evidence in self.target(process.id(), TargetReason::Matched) {
                self.take(evidence)?;
            }
        }
        Ok(())
    }

    /// The recording could not be written: told once.
    fn trouble(&mut self, trouble: Option<(String, Evidence)>) -> Result<(), Failure> {
        let Some((sentence, lost)) = trouble else { return Ok(()) };
        tell(&sentence);
        self.unrecorded = true;
        // The trace itself has seen everything: no verdict of it is weaker for it.
        let Fact::Lost(loss) = lost.fact else { return Ok(()) };
        let record = LossRecord {
            at: lost.at,
            dropped: loss.dropped,
            place: loss.place,
            detail: loss.detail,
        };
        self.show(&[Record::Loss(record)])
    }

    /// Lets the reader see what is written: whenever there is nothing to do but wait.
    fn flush(&mut self) -> Result<(), Failure> {
        if self.reader == Reader::There {
            let written = self.output.flush();
            self.written(written)?;
        }
        Ok(())
    }

    /// Takes note of whether the report could be written. Where it could not, what else the trace is for goes
    /// on: a recording, a command that runs already.
    fn written(&mut self, written: anyhow::Result<Reader>) -> Result<(), Failure> {
        match written {
            Ok(reader) => self.reader = reader,
            Err(error) if self.released || self.recorder.is_some() => {
                tell(&format!("{error:#}; the trace goes on without a report"));
                (self.reader, self.unwritten) = (Reader::Gone, true);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn show(&mut self, records: &[Record]) -> Result<(), Failure> {
        if self.reader == Reader::There && !records.is_empty() {
            let written = self.output.collect(records);
            self.written(written)?;
        }
        Ok(())
    }

    /// Declares the verdicts due whose witnesses have had their time.
    fn settle(&mut self) -> Result<(), Failure> {
        let opens_journal = self.witnesses.opens_journal();
        let before: Vec<ProcessId> = self.engine.pending().map(|pending| pending.id).collect();
        let asked: HashSet<ProcessId> =
            before.into_iter().filter(|id| self.witnesses.are_asked(*id)).collect();
        while let Ok(heard) = self.heard.try_recv() {
            self.take(heard)?;
        }
        let now = clock::now();
        let due: Vec<ProcessId> = self
            .engine
            .pending()
            .filter(|pending| {
                let waited = Duration::from_nanos(now.boot_ns.saturating_sub(pending.ended_ns));
                let patience = if pending.needs_journal { SETTLE_JOURNAL } else { SETTLE };
                let is_awaited = asked.contains(&pending.id)
                    || pending.awaits_word
                    || opens_journal && pending.needs_journal;
                let is_time = waited >= patience && (!is_awaited || waited >= SETTLE_ASKED);
                is_time || pending.in_haste
            })
            .map(|pending| pending.id)
            .collect();
        for id in due {
            if self.engine.is_over() {
                break;
            }
            self.witnesses.settled(id);
            self.take(Fact::Settled(Settled { id }).at(now, Source::Tracer))?;
        }
        let folded = self.engine.folded_since();
        if folded.is_some_and(|since| now.boot_ns.saturating_sub(since) > FOLDED_NS) {
            self.take(Fact::Quiet.at(now, Source::Tracer))?;
        }
        let trouble = self.recorder.as_mut().and_then(|recorder| recorder.flush(now));
        self.trouble(trouble)
    }

    /// Looks whether the targets are still there, where the end of one may have been lost.
    fn call_the_roll(&mut self) -> Result<(), Failure> {
        // The end of who is gone may be among what is still to be read.
        if self.kernel.is_behind() {
            return Ok(());
        }
        let is_gone = |id| self.witnesses.is_gone(id);
        for id in self.roll_call.gone(Instant::now(), self.engine.alive(), is_gone) {
            self.announced.remove(&id);
            self.take(Fact::Gone(Gone { id }).at(clock::now(), Source::Proc))?;
        }
        Ok(())
    }

    /// Looks whether the command has ended.
    fn reap(&mut self) -> Result<(), Failure> {
        if let Some(child) = &self.child
            && self.ended.is_none()
            && let Some(ended) = child.ended()?
        {
            self.ended = Some((ended, Instant::now()));
        }
        Ok(())
    }

    /// Takes what has come meanwhile, and closes the report.
    fn end(&mut self, reason: &str, batch: &mut Vec<Evidence>) -> Result<(), Failure> {
        self.await_command()?;
        self.kernel.drain(batch)?;
        if !self.engine.is_over() {
            self.take_kernels(batch)?;
        }
        self.close(reason)
    }

    /// Ends the report and the recording.
    fn close(&mut self, reason: &str) -> Result<(), Failure> {
        let now = clock::now();
        self.take(Fact::End(End { reason: reason.to_owned() }).at(now, Source::Tracer))?;
        let trouble = self.recorder.as_mut().and_then(|recorder| recorder.flush(now));
        self.trouble(trouble)?;
        self.flush()
    }

    /// Gives the command the time to end as well: who ends the tracer may be ending it, and the kernel tells of an end
    /// before it can be waited for.
    fn await_command(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + TICK;
        self.reap()?;
        while self.child.is_some() && self.ended.is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
            self.reap()?;
        }
        Ok(())
    }
}

/// A redactor that knows the users of this machine from the start.
fn redactor() -> Redactor {
    let mut redactor = Redactor::new();
    for user in users::local() {
        redactor.learn_user(&user.name, Some(user.uid), user.home.as_deref());
    }
    redactor
}

fn header(plan: &Plan, kernel: &Kernel, witnesses: &Witnesses) -> Header {
    let machine = machine::Machine::here();
    let mut sources = witnesses.sources();
    let names = function_names().map_or_else(|why| why.to_string(), |()| ATTACHED.to_owned());
    sources.insert("kallsyms".to_owned(), names);
    Header {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: clock::now(),
        kernel: machine.kernel,
        arch: machine.arch,
        hostname: machine.hostname,
        boot_id: machine.boot_id,
        systemd: machine::systemd_version(),
        targets: plan.target_words(),
        hooks: kernel.hooks().clone(),
        sources,
        options: plan.options.clone(),
        utc_offset: machine.utc_offset,
    }
}
