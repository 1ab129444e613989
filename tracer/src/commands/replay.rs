//! `killtrace replay FILE`: the same report from a recording, without privileges, on any machine.

use std::path::Path;

use crate::cli::ReportArgs;
use crate::evidence::{Evidence, Fact, Header, LossPlace, Lost, Moment, Source};
use crate::recording::{self, Damage, Recorder, RecordingError};
use crate::report::redact::Redactor;
use crate::story::Engine;
use crate::story::verdict::Record;

use super::output::{Output, Reader, are_distinct};
use super::{Failure, tell};

/// What is said of a recording that is whole as far as it goes, and does not go to the end of its trace.
const BROKEN_OFF: &str = "the recording breaks off here: it does not tell how its trace ended, as where its disk was \
                          full or killtrace was killed; what came later is not told";

/// Reads the file, tells the story, gives the exit status.
///
/// # Errors
/// Where the file cannot be read or is no recording, and where the report cannot be written. A file
/// that is damaged further on is no failure: what comes before is told, with the gap.
pub fn run(file: &Path, args: &ReportArgs) -> Result<u8, Failure> {
    are_distinct(Some(file), args)?;
    let mut redactor = if args.redact { Some(acquainted(file)?) } else { None };
    let (mut header, mut reader) = recording::Reader::open(file)?;
    apply(args, &mut header);
    if let Some(redactor) = &mut redactor {
        header = redactor.header(header);
    }
    let mut next = reader.next_evidence();
    if next.as_ref().is_err_and(|damage| damage.line == 2) && reader.at_report() {
        return Err(RecordingError::Report { path: file.to_owned() }.into());
    }
    let mut recorder = copy(args, &header)?;
    let mut output = Output::open(args)?;
    let mut engine = Engine::new(header.clone());
    let mut last = header.at;
    let mut reading = output.records(&[Record::Header(Box::new(header))])?;
    let mut ended = false;
    while reading == Reader::There {
        let evidence = match next {
            Ok(Some(evidence)) => evidence,
            Ok(None) => {
                if !ended {
                    tell(BROKEN_OFF);
                }
                break;
            }
            Err(damage) => {
                tell(&format!("{damage}; what comes before it is told"));
                reading = output.records(&engine.observe(&gap(&damage, last)))?;
                break;
            }
        };
        let evidence = match &mut redactor {
            Some(redactor) => redactor.evidence(evidence),
            None => evidence,
        };
        last = evidence.at;
        ended |= matches!(evidence.fact, Fact::End(_));
        if let Some((sentence, _)) =
            recorder.as_mut().and_then(|recorder| recorder.evidence(&evidence))
        {
            return Err(anyhow::anyhow!(sentence).into());
        }
        reading = output.records(&engine.observe(&evidence))?;
        next = reader.next_evidence();
    }
    if reading == Reader::There {
        output.records(&engine.finish())?;
    }
    if let Some((sentence, _)) = recorder.as_mut().and_then(|recorder| recorder.flush(last)) {
        return Err(anyhow::anyhow!(sentence).into());
    }
    Ok(0)
}

/// What the user wants to see now, instead of what was wanted when it was recorded.
fn apply(args: &ReportArgs, header: &mut Header) {
    if let Some(signals) = args.signals {
        header.options.hidden_signals = signals.hidden();
    }
    header.options.exits |= args.exits;
}

/// A redactor that knows everybody who is named anywhere in the file.
fn acquainted(file: &Path) -> Result<Redactor, Failure> {
    let mut redactor = Redactor::new();
    if file.as_os_str() == "-" {
        // It can be read once only; names that are told late are then replaced from there on.
        return Ok(redactor);
    }
    let (header, mut reader) = recording::Reader::open(file)?;
    redactor.learn_header(&header);
    // Damage is told when the file is read for its story.
    while let Ok(Some(evidence)) = reader.next_evidence() {
        redactor.learn(&evidence);
    }
    Ok(redactor)
}

/// The recording to be written, where one is asked for.
fn copy(args: &ReportArgs, header: &Header) -> Result<Option<Recorder>, Failure> {
    let Some(to) = &args.record else { return Ok(None) };
    Ok(Some(Recorder::create(to, header)?))
}

/// What damage means for the story: events are missing from here on.
fn gap(damage: &Damage, last: Moment) -> Evidence {
    let lost = Lost { dropped: 0, place: LossPlace::Recording, detail: Some(damage.to_string()) };
    Fact::Lost(lost).at(last, Source::Tracer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Format;
    use crate::evidence::*;
    use crate::report::samples;
    use crate::story::verdict::Outcome;

    fn task(pid: u32, comm: &str) -> Task {
        Task {
            id: ProcessId { pid, start_ns: u64::from(pid) * 10_000_000 },
            tid: pid,
            ns_pid: pid,
            ppid: 1,
            comm: comm.into(),
            uid: 1000,
            euid: 1000,
            login_uid: None,
            audit_session: None,
            cgroup: None,
            pid_ns: 1,
            kernel_thread: false,
            exiting: false,
            io_worker: false,
        }
    }

    /// alice's shell kills her own program.
    fn evidence() -> Vec<Evidence> {
        let (shell, victim) = (task(70, "bash"), task(71, "sleep"));
        let sent = SignalSent {
            number: 9,
            sender: shell,
            ancestors: [].into(),
            sender_args: vec![],
            target: victim.clone(),
            is_target: true,
            to_process: true,
            info: SignalInfo::Real { code: 0, errno: 0, fields: [70, 1000] },
            result: SignalResult::Delivered,
            disposition: Some(Disposition::Default),
            blocked: false,
            fatal: true,
            ptraced: false,
            namespace_init: false,
            syscall: Some(Syscall { name: "kill".into(), args: [71, 9, 0] }),
            written_cgroup: None,
            parent_death_signal: 0,
            tty: None,
            stack: vec![],
            place: None,
            limits: None,
            repeats: 0,
        };
        let exit = Exit {
            task: victim.clone(),
            ancestors: vec![],
            is_target: true,
            status: 9,
            ptracer: None,
            seccomp: 0,
            pending: vec![],
            unseen: false,
        };
        let snapshot = ProcessSnapshot {
            pid: 71,
            start_ns: victim.id.start_ns,
            comm: "sleep".into(),
            cmdline: vec!["sleep".into(), "s3cret".into()],
            uid: 1000,
            ..ProcessSnapshot::default()
        };
        let alice = User { uid: 1000, name: "alice".into(), home: None, linger: None };
        let end = End { reason: "targets gone".into() };
        let at = samples::at;
        vec![
            Fact::Target(Target { id: victim.id, reason: TargetReason::Pid })
                .at(at(0), Source::Tracer),
            Fact::Process(Box::new(snapshot)).at(at(0), Source::Proc),
            Fact::Signal(sent.into()).at(at(10), Source::Kernel),
            Fact::Exit(exit).at(at(11), Source::Kernel),
            Fact::Settled(Settled { id: victim.id }).at(at(12), Source::Tracer),
            Fact::User(alice).at(at(13), Source::File),
            Fact::End(end).at(at(14), Source::Tracer),
        ]
    }

    struct Files {
        folder: tempfile::TempDir,
    }

    impl Files {
        fn new() -> Self {
            Self::of(&samples::header(), evidence())
        }

        fn of(header: &Header, evidence: Vec<Evidence>) -> Self {
            let files = Self { folder: tempfile::tempdir().expect("a folder") };
            let mut recorder = Recorder::create(&files.path("in"), header).expect("a recording");
            for evidence in evidence {
                assert_eq!(recorder.evidence(&evidence), None);
            }
            assert_eq!(recorder.flush(samples::at(20)), None);
            files
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.folder.path().join(name)
        }

        fn replay(&self, name: &str, change: impl FnOnce(&mut ReportArgs)) -> Vec<Record> {
            let mut args = ReportArgs {
                output: Some(self.path("out")),
                format: Format::Json,
                ..ReportArgs::default()
            };
            change(&mut args);
            assert_eq!(run(&self.path(name), &args).expect("a replay"), 0);
            let text = std::fs::read_to_string(self.path("out")).expect("a report");
            text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
        }
    }

    fn kinds(records: &[Record]) -> Vec<&'static str> {
        let kind = |record: &Record| match record {
            Record::Header(_) => "header",
            Record::Signal(_) => "signal",
            Record::Exit(_) => "exit",
            Record::Death(_) => "death",
            Record::Loss(_) => "loss",
            Record::Summary(_) => "summary",
        };
        records.iter().map(kind).collect()
    }

    #[test]
    fn a_recording_tells_its_story_again() {
        let records = Files::new().replay("in", |_| ());
        assert_eq!(kinds(&records), ["header", "signal", "exit", "death", "summary"]);
        let Record::Death(death) = &records[3] else { panic!("{records:?}") };
        assert_eq!(
            death.outcome,
            Outcome::Signaled { signal: "SIGKILL".into(), core_dumped: false }
        );
        assert_eq!(death.killer.process.as_ref().map(|by| by.pid), Some(70));
    }

    #[test]
    fn after_the_one_death_asked_for_only_the_end_is_told() {
        let mut header = samples::header();
        header.options.once = true;
        let mut evidence = evidence();
        let again = evidence[2].clone();
        evidence.insert(5, again);
        let records = Files::of(&header, evidence).replay("in", |_| ());
        assert_eq!(kinds(&records), ["header", "signal", "exit", "death", "summary"]);
        let Record::Summary(summary) = &records[4] else { panic!("{records:?}") };
        assert_eq!((summary.reason.as_str(), summary.at), ("targets gone", samples::at(14)));
    }

    #[test]
    fn signals_can_be_chosen_anew() {
        let hidden =
            |args: &mut ReportArgs| args.signals = Some("signal=!KILL".parse().expect("a set"));
        assert_eq!(
            kinds(&Files::new().replay("in", hidden)),
            ["header", "exit", "death", "summary"]
        );
    }

    #[test]
    fn damage_costs_only_what_comes_after_it() {
        let files = Files::new();
        let text = std::fs::read_to_string(files.path("in")).expect("the recording");
        let lines: Vec<_> = text.lines().collect();
        let torn = format!("{}\n{}", lines[..5].join("\n"), &lines[5][..30]);
        std::fs::write(files.path("torn"), torn).expect("a file");
        let records = files.replay("torn", |_| ());
        assert_eq!(kinds(&records), ["header", "signal", "exit", "loss", "death", "summary"]);
        let Record::Death(death) = &records[4] else { panic!("{records:?}") };
        assert!(death.gaps.iter().any(|gap| gap.contains("line 6")), "{:?}", death.gaps);
    }

    #[test]
    fn a_redacted_copy_holds_no_name_and_tells_the_same() {
        let files = Files::new();
        let copy = files.path("copy.zst");
        let redacted = files.replay("in", |args| {
            args.redact = true;
            args.record = Some(copy.clone());
        });
        let text = std::fs::read_to_string(files.path("out")).expect("a report");
        for secret in ["alice", "web1", "s3cret"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert_eq!(files.replay("copy.zst", |_| ()), redacted);
        // Redacted first, it is given away without anybody's having to trust --redact again.
        let unpacked =
            zstd::decode_all(std::fs::File::open(&copy).expect("the copy")).expect("zstd");
        assert!(!String::from_utf8_lossy(&unpacked).contains("alice"));
    }

    #[test]
    fn what_cannot_be_replayed_is_told() {
        let files = Files::new();
        let fails = |name: &str, args: &ReportArgs| {
            let failure = run(&files.path(name), args).expect_err("refused");
            (failure.status(), failure.sentence())
        };
        let plain = ReportArgs { output: Some(files.path("out")), ..ReportArgs::default() };
        assert_eq!(fails("missing", &plain).0, 1);
        let over = ReportArgs { record: Some(files.path("in")), ..plain.clone() };
        let (status, sentence) = fails("in", &over);
        assert!(status == 2 && sentence.contains("itself"), "{sentence}");
        files.replay("in", |_| ());
        let (status, sentence) =
            fails("out", &ReportArgs { output: Some(files.path("x")), ..plain });
        assert!(status == 1 && sentence.contains("is a report"), "{sentence}");
    }
}
