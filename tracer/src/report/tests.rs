//! What people see, in every form.

use super::*;
use crate::evidence::{LossPlace, Mechanism, SignalResult};
use crate::story::verdict::{LossRecord, SignalRecord, Summary};

use samples::at;

fn report(options: &ReportOptions, records: &[Record]) -> String {
    let mut out = Vec::new();
    let mut reporter = Reporter::new(&mut out, options);
    for record in records {
        reporter.record(record).expect("a vector takes everything");
    }
    String::from_utf8(out).expect("text")
}

fn text(width: Option<usize>, colour: bool) -> ReportOptions {
    ReportOptions { layout: Layout { width, colour }, ..ReportOptions::default() }
}

/// A Perl script that calls itself PID 1 (`$0 = "systemd[1]"`), and an honest one.
#[test]
fn a_name_that_is_not_the_program_s_is_told_with_the_program() {
    let told = |exe: &str, comm: &str, explanation: &str| {
        let process = crate::evidence::Process {
            pid: 4242,
            comm: Some(comm.into()),
            exe: Some(exe.into()),
            cmdline: Some(vec![comm.into()]),
            ..crate::evidence::Process::default()
        };
        let mut death = samples::death();
        death.cause.explanation = explanation.into();
        death.killer.process = Some(process);
        let text = report(&text(None, false), &[header(), Record::Death(Box::new(death))]);
        text.lines().next().unwrap_or_default().to_owned()
    };
    let perl = "/usr/bin/perl";
    assert_eq!(
        told(
            perl,
            "systemd[1]",
            "web[7] got SIGKILL from \"systemd[1]\"[4242]. \"systemd[1]\"[4242] is gone."
        ),
        "web[7] got SIGKILL from \"systemd[1]\"[4242] (really /usr/bin/perl). \"systemd[1]\"[4242] is gone."
    );
    assert_eq!(
        told(perl, "sshd", "sshd[4242] (alice) was ended by itself."),
        "sshd[4242] (really /usr/bin/perl; alice) was ended by itself."
    );
    // Within another's name, another's words or another word it is not named.
    let others =
        "\"x sshd[4242]\"[9] ran \"a \\\" sshd[4242] x\" in my-sshd[4242] (\"sshd[4242]\")";
    assert_eq!(told(perl, "sshd", others), others);
    assert_eq!(
        told(perl, "sshd", &format!("{others} for its parent (sshd[4242]).")),
        format!("{others} for its parent (sshd[4242] (really /usr/bin/perl)).")
    );
    for honest in ["perl", "perl5.36"] {
        let sentence = format!("{honest}[4242] was ended.");
        assert_eq!(told(perl, honest, &sentence), sentence);
    }
    // It has been said; a path that would read as more.
    let said = "sshd[4242], the program \"/usr/bin/perl\" (which calls itself \"sshd\"), did it.";
    assert_eq!(told(perl, "sshd", said), said);
    assert_eq!(
        told("/tmp/x) was ended by \"root\"", "sshd", "sshd[4242] was ended."),
        "sshd[4242] (really \"/tmp/x) was ended by \\\"root\\\"\") was ended."
    );
}

fn header() -> Record {
    Record::Header(Box::new(samples::header()))
}

fn death(death: crate::story::verdict::Death) -> Record {
    Record::Death(Box::new(death))
}

fn signal(change: impl FnOnce(&mut SignalRecord)) -> Record {
    let mut record = samples::signal();
    change(&mut record);
    Record::Signal(Box::new(record))
}

fn summary(deaths: u64, losses: u64) -> Record {
    Record::Summary(Summary {
        at: at(20_000),
        signals: 14,
        deaths,
        untold: 0,
        losses,
        alive: 1,
        reason: "interrupted".into(),
    })
}

fn logout() -> Vec<Record> {
    vec![
        header(),
        signal(|_| ()),
        Record::Exit(Box::new(samples::exit())),
        death(samples::death()),
        summary(1, 0),
    ]
}

fn storm() -> Vec<Record> {
    let kernel = |number, name: &str, code: &str, mechanism, ms| {
        signal(|record| {
            record.at = at(ms);
            record.signal.number = number;
            record.signal.name = name.into();
            record.signal.si_code = code.into();
            record.signal.mechanism = mechanism;
            record.signal.kernel_path = vec!["__tty_hangup".into(), "tty_vhangup".into()];
        })
    };
    let mut records = vec![header()];
    records.push(signal(|record| {
        record.signal.result = SignalResult::AlreadyPending;
        record.repeated = 4211;
    }));
    records.extend([
        kernel(1, "SIGHUP", "SI_KERNEL", Mechanism::TtyHangup, 600),
        kernel(10, "SIGUSR1", "SI_KERNEL", Mechanism::UnknownKernel, 700),
        kernel(14, "SIGALRM", "SI_TIMER", Mechanism::Timer, 800),
        signal(|record| {
            record.at = at(900);
            record.target_tid = Some(2050);
        }),
        Record::Loss(LossRecord {
            at: at(1000),
            dropped: 1204,
            place: LossPlace::RingBuffer,
            detail: None,
        }),
        summary(0, 1204),
    ]);
    records
}

#[test]
fn text_of_a_logout_80_columns() {
    insta::assert_snapshot!(report(&text(Some(80), false), &logout()));
}

#[test]
fn text_of_a_logout_in_a_pipe() {
    insta::assert_snapshot!(report(&text(None, false), &logout()));
}

#[test]
fn text_of_a_logout_narrow() {
    insta::assert_snapshot!(report(&text(Some(50), false), &logout()));
}

#[test]
fn text_of_a_logout_in_colour() {
    let coloured = report(&text(Some(120), true), &logout());
    insta::assert_snapshot!(coloured.replace('\u{1b}', "␛"));
}

#[test]
fn text_of_a_logout_verbose() {
    let options = ReportOptions { verbosity: Verbosity::Verbose, ..text(Some(110), false) };
    insta::assert_snapshot!(report(&options, &logout()));
}

#[test]
fn text_of_a_logout_quiet_with_relative_times() {
    let options = ReportOptions {
        verbosity: Verbosity::Quiet,
        clock: ClockStyle::Relative,
        ..text(Some(100), false)
    };
    insta::assert_snapshot!(report(&options, &logout()));
}

#[test]
fn text_of_a_storm() {
    insta::assert_snapshot!(report(&text(Some(100), false), &storm()));
}

#[test]
fn text_of_other_deaths() {
    let records = [header(), death(samples::crash()), death(samples::unknown()), summary(2, 0)];
    insta::assert_snapshot!(report(&text(Some(90), false), &records));
}

#[test]
fn text_of_hostile_names() {
    let shown = report(&text(Some(90), false), &[header(), death(samples::hostile())]);
    assert!(!shown.lines().any(|line| line.contains(escape::is_unsafe)), "{shown:?}");
    insta::assert_snapshot!(shown);
}

#[test]
fn markdown_of_a_logout() {
    let options = ReportOptions { form: ReportForm::Markdown, ..ReportOptions::default() };
    insta::assert_snapshot!(report(&options, &logout()));
}

#[test]
fn markdown_of_hostile_names() {
    let options = ReportOptions { form: ReportForm::Markdown, ..ReportOptions::default() };
    let shown = report(&options, &[header(), death(samples::hostile()), death(samples::unknown())]);
    assert!(!shown.lines().any(|line| line.contains(escape::is_unsafe)), "{shown:?}");
    insta::assert_snapshot!(shown);
}

#[test]
fn markdown_without_deaths_and_with_losses() {
    let options = ReportOptions { form: ReportForm::Markdown, ..ReportOptions::default() };
    insta::assert_snapshot!(report(&options, &storm()));
}

#[test]
fn json_of_a_logout() {
    let options = ReportOptions { form: ReportForm::Json, ..ReportOptions::default() };
    let shown = report(&options, &logout());
    for line in shown.lines() {
        let back: Record = serde_json::from_str(line).expect("a record");
        assert_eq!(json::record(&back).expect("JSON"), format!("{line}\n"), "reads back as itself");
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn json_of_hostile_names_is_safe_on_a_terminal() {
    let options = ReportOptions { form: ReportForm::Json, ..ReportOptions::default() };
    let shown = report(&options, &[death(samples::hostile())]);
    assert!(!shown.trim_end().contains(escape::is_unsafe), "{shown:?}");
    assert_eq!(
        serde_json::from_str::<Record>(&shown).expect("a record"),
        death(samples::hostile())
    );
}

#[test]
fn a_reader_that_went_away_is_told_apart() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let error = Reporter::new(Gone, &text(None, false)).record(&signal(|_| ())).expect_err("gone");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

/// The sample's death for another process of the same program.
fn of_another(pid: u32, later_ns: u64) -> crate::story::verdict::Death {
    let mut death = samples::death();
    let (name, other) = ("tmux: server[2041]", format!("tmux: server[{pid}]"));
    death.victim.pid = pid;
    death.cause.explanation = death.cause.explanation.replace(name, &other);
    for link in &mut death.chain {
        link.text = link.text.replace(name, &other);
        link.at = link.at.shifted(link.at.boot_ns + later_ns);
    }
    death
}

#[test]
fn what_is_said_of_one_is_not_said_of_each_of_forty() {
    let told = |second: crate::story::verdict::Death, options: &ReportOptions| {
        report(options, &[header(), death(samples::death()), death(second)])
    };
    let plain = text(None, false);
    let folded = told(of_another(2050, 700_000), &plain);
    let more = "tmux: server[2050] ended as tmux: server[2041] above did, for the same reason \
                (logind-kill-user-processes, reported).";
    assert!(folded.contains(more), "{folded}");
    assert!(folded.contains("sent SIGTERM to tmux: server[2050]"), "{folded}");
    assert_eq!(folded.matches("StopUnit").count(), 1, "{folded}");
    assert_eq!(folded.matches("enable-linger").count(), 1, "{folded}");
    let pasted = told(
        of_another(2050, 700_000),
        &ReportOptions { form: ReportForm::Markdown, ..ReportOptions::default() },
    );
    assert!(pasted.contains("ended as tmux: server\\[2041\\] above did"), "{pasted}");
    assert_eq!(pasted.matches("### What to do").count(), 1, "{pasted}");
    assert_eq!(pasted.matches("<summary>Evidence").count(), 2, "{pasted}");
    // Who wants all gets all; and what differs is told.
    let verbose = ReportOptions { verbosity: Verbosity::Verbose, ..plain };
    assert!(!told(of_another(2050, 0), &verbose).contains("above"));
    let differing: [&dyn Fn(&mut crate::story::verdict::Death); 7] = [
        &|it| it.cause.settings[0].line = Some(13),
        &|it| it.cause.explanation.push_str(" It was late."),
        &|it| it.chain[0].text.push('x'),
        &|it| it.gaps.push("something was lost".into()),
        &|it| it.victim.cmdline = Some(vec!["tmux".into(), "new".into()]),
        &|it| it.killer.process = Some(samples::process("systemd", 99)),
        &|it| it.considered.clear(),
    ];
    for (number, change) in differing.into_iter().enumerate() {
        let mut second = of_another(2050, 0);
        change(&mut second);
        assert!(!told(second, &plain).contains("above"), "{number}");
    }
    assert!(!told(of_another(2050, 2_000_000_000), &plain).contains("above"));
}
