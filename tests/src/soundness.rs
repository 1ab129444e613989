//! What holds for every story, whatever evidence it was made of: proven on changed recordings
//! (`tests/mutations.rs`) and on what fuzzers find (`entrances`).

use std::collections::BTreeSet;

use killtrace::evidence::{Evidence, Header};
use killtrace::report::ReportForm;
use killtrace::report::escape::{self, is_unsafe};
use killtrace::story::Engine;
use killtrace::story::verdict::Record;

use crate::{cases, markdown, schema, shell};

/// The records that the evidence makes.
pub fn judge(header: &Header, evidence: &[Evidence]) -> Vec<Record> {
    let mut engine = Engine::new(header.clone());
    let mut records = vec![Record::Header(Box::new(header.clone()))];
    for one in evidence {
        records.extend(engine.observe(one));
    }
    records.extend(engine.finish());
    records
}

/// Checks the records, and each form of their report.
///
/// # Panics
/// Where something does not hold.
pub fn check(records: &[Record]) {
    check_records(records);
    for width in [80, 20] {
        is_harmless(&report(records, ReportForm::Text, Some(width)));
    }
    let text = report(records, ReportForm::Markdown, None);
    is_harmless(&text);
    markdown::check(&text, records).unwrap_or_else(|error| panic!("{error:#} in\n{text}"));
    let json = report(records, ReportForm::Json, None);
    is_harmless(&json);
    for line in json.lines() {
        schema::check_report(line).unwrap_or_else(|error| panic!("{error:#}"));
    }
    let again: Vec<Record> =
        json.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
    assert_eq!(again, records, "what is written is what is read");
}

/// The report in a form; text is of that width.
pub fn report(records: &[Record], form: ReportForm, width: Option<usize>) -> String {
    cases::report(records, form, width).expect("a report")
}

/// Nothing in a report is obeyed by a terminal, or hides in it.
fn is_harmless(report: &str) {
    let harmful = report.chars().find(|c| is_unsafe(*c) && *c != '\n');
    assert_eq!(harmful, None, "{report:?}");
}

/// Checks the records alone.
///
/// # Panics
/// Where something does not hold.
pub fn check_records(records: &[Record]) {
    let mut dead = BTreeSet::new();
    for (at, record) in records.iter().enumerate() {
        match record {
            Record::Death(death) => {
                let times: Vec<u64> = death.chain.iter().map(|link| link.at.boot_ns).collect();
                assert!(times.is_sorted(), "the chain is in order of time: {death:#?}");
                assert!(!death.cause.explanation.is_empty(), "{death:#?}");
                for command in death.fixes.iter().flat_map(|fix| &fix.commands) {
                    for form in [command, &*escape::terminal(command)] {
                        shell::check(form).unwrap_or_else(|error| panic!("{error:#}"));
                    }
                }
                dead.insert((death.victim.pid, death.victim.start_ns));
            }
            Record::Summary(_) => assert_eq!(at + 1, records.len(), "the summary comes last"),
            _ => {}
        }
    }
    assert!(matches!(records.last(), Some(Record::Summary(_))), "there is a summary");
    let exits = records.iter().filter(|record| matches!(record, Record::Exit(_))).count();
    assert!(dead.len() <= exits, "{} died, {exits} ended", dead.len());
}
