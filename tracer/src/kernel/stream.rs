//! Reading the ring buffer: what happened, in the order in which it happened.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use aya::maps::{MapData, PerCpuArray};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    Kernel,
    decode::Decoder,
    intake::Intake,
    losses::{LeftOut, Losses},
    programs_log::ProgramsLog,
    ring::Ring,
    wire::{self, Counted},
};
use crate::evidence::{Evidence, Fact, Source};

/// Between two looks while something happens. A wake-up from the kernel costs ten times what a record
/// does, so that only what is urgent comes with one.
const BUSY: Duration = Duration::from_millis(10);
/// How long after the last record nothing counts as happening: from then on the next one wakes the reader.
const BUSY_FOR: Duration = Duration::from_millis(30);
/// Between two looks at the counters of losses.
const LOSS_CHECK: Duration = Duration::from_secs(1);
/// Between two looks at anything, when nothing has happened since they were looked at.
const REST: Duration = Duration::from_secs(2);
/// Most records that are taken at once, so that the rest of the program has its turn.
/// What they become takes more room than they do.
const BATCH: usize = 512;

/// A value of the map of repeats, as `aya` wants it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Counters(killtrace_ebpf::Repeats);
// SAFETY: `repr(C)`, made of integers, and its size is asserted to be the sum of theirs.
unsafe impl aya::Pod for Counters {}

/// The records, and what turns them into evidence.
pub struct Stream {
    records: Ring,
    intake: Intake,
    losses: Losses,
    log: Option<ProgramsLog>,
    /// Repeats that the kernel counts while this side is behind.
    counters: PerCpuArray<MapData, Counters>,
    /// Tells when something urgent is there; made when a runtime is there to wait with.
    alarm: Option<AsyncFd<OwnedFd>>,
    last_record: Option<Instant>,
    last_check: Instant,
    /// Whether what the kernel has counted has been taken in since the last record.
    settled: bool,
    /// The hooks stay attached as long as these live.
    _links: Vec<OwnedFd>,
}

impl Stream {
    /// Reads these records.
    pub fn new(
        records: Ring,
        counters: PerCpuArray<MapData, Counters>,
        decoder: Decoder,
        losses: Losses,
        log: Option<ProgramsLog>,
        links: Vec<OwnedFd>,
    ) -> Self {
        Self {
            records,
            intake: Intake::new(decoder),
            losses,
            log,
            counters,
            alarm: None,
            last_record: None,
            last_check: Instant::now(),
            settled: true,
            _links: links,
        }
    }

    /// Takes note of a target that found no room.
    pub const fn left_out(&mut self, what: LeftOut) {
        self.losses.left_out(what);
    }

    /// Takes what is there. True where a target has ended.
    fn take(&mut self, out: &mut Vec<Evidence>) -> io::Result<bool> {
        let mut taken = 0;
        let before = out.len();
        if !self.settled && self.is_quiet() {
            // The last ones of a flood: no record follows that would tell of them.
            take_counted(&mut self.intake, &self.counters)?;
            self.settled = true;
        }
        while taken < BATCH
            && let Some(record) = self.records.next()
        {
            if taken == 0 {
                self.intake.decoder.clock.refresh();
            }
            taken += 1;
            if self.intake.counts(record) {
                continue;
            }
            if wire::ends_target(record) {
                // What it got before it ended is told before its end.
                take_counted(&mut self.intake, &self.counters)?;
            }
            self.intake.take(record, out);
        }
        self.intake.tell(out);
        if taken > 0 {
            self.last_record = Some(Instant::now());
            self.settled = false;
        }
        let ended = |told: &Evidence| matches!(&told.fact, Fact::Exit(exit) if exit.is_target);
        Ok(out.iter().skip(before).any(ended))
    }

    /// Reports losses, before the records that are taken after them.
    fn check(&mut self, out: &mut Vec<Evidence>) -> io::Result<()> {
        self.last_check = Instant::now();
        take_counted(&mut self.intake, &self.counters)?;
        if let Some(log) = &mut self.log {
            log.flush();
        }
        let at = self.intake.decoder.clock.now();
        let lost = self.losses.new_ones(self.intake.malformed())?;
        out.extend(lost.into_iter().map(|lost| Fact::Lost(lost).at(at, Source::Tracer)));
        Ok(())
    }

    /// Takes what is there, and the losses: always with the end of a target, since they decide how much
    /// can be said about it; else now and then.
    fn drain(&mut self, out: &mut Vec<Evidence>) -> io::Result<()> {
        let mut records = Vec::new();
        let ended = self.take(&mut records)?;
        if ended || self.last_check.elapsed() >= LOSS_CHECK {
            self.check(out)?;
        }
        out.append(&mut records);
        Ok(())
    }

    /// Whether nothing happens, so that the next record is to wake the reader.
    fn is_quiet(&self) -> bool {
        self.last_record.is_none_or(|last| last.elapsed() >= BUSY_FOR)
    }

    /// Waits for something urgent, or for the next look.
    async fn wait(&mut self) -> io::Result<()> {
        // What is being written may have been decided before the kernel knew that somebody sleeps: nobody
        // is woken for it. Whatever begins later decides later.
        let rests = self.is_quiet() && !self.records.is_being_written();
        let checked = self.last_record.is_none_or(|last| last < self.last_check);
        let pause = match (rests, checked) {
            (false, _) => BUSY,
            (true, false) => LOSS_CHECK,
            (true, true) => REST,
        };
        let alarm = match &mut self.alarm {
            Some(alarm) => alarm,
            none => {
                let fd = self.records.as_fd().try_clone_to_owned()?;
                // SAFETY: an `OwnedFd` stays open, and the same, for as long as it lives.
                let alarm = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
                none.insert(alarm?)
            }
        };
        tokio::select! {
            ready = alarm.readable() => ready?.clear_ready(),
            () = tokio::time::sleep(pause) => {}
        }
        Ok(())
    }
}

/// Takes in the repeats that the kernel has counted.
fn take_counted(intake: &mut Intake, counters: &PerCpuArray<MapData, Counters>) -> io::Result<()> {
    let cpus = counters.get(&0, 0).map_err(io::Error::other)?;
    for (cpu, Counters(last)) in cpus.iter().enumerate() {
        let counted = Counted { total: last.counted, boot_ns: last.counted_ns };
        intake.counted(cpu, last.recorded_ns, counted);
    }
    Ok(())
}

impl Kernel {
    /// Waits until something has happened, and appends it to `out`. May be dropped while it waits.
    ///
    /// # Errors
    /// Where the kernel's maps cannot be read any more.
    pub async fn next(&mut self, out: &mut Vec<Evidence>) -> io::Result<()> {
        let before = out.len();
        loop {
            self.stream.drain(out)?;
            let known = self.set_asleep(self.stream.is_quiet())?;
            if out.len() > before {
                return Ok(());
            }
            // What came before the kernel knew that it has to wake somebody is there already.
            if known {
                self.stream.wait().await?;
            }
        }
    }

    /// Whether there are records that cannot be taken yet: a program that is not done with one may be waiting for its
    /// CPU.
    pub fn is_behind(&self) -> bool {
        self.stream.records.is_being_written()
    }

    /// Appends what has happened and was not yet taken, without waiting, and the losses so far.
    ///
    /// # Errors
    /// Where the kernel's maps cannot be read any more.
    pub fn drain(&mut self, out: &mut Vec<Evidence>) -> io::Result<()> {
        self.stream.check(out)?;
        let mut taken = usize::MAX;
        while taken > 0 {
            let before = out.len();
            self.stream.drain(out)?;
            taken = out.len() - before;
        }
        Ok(())
    }
}
