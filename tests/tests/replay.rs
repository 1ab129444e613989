//! Replays every recorded case and compares the three forms of its report with the snapshots beside
//! it. Needs no privileges.
//!
//! A new case: record it in a lab (CONTRIBUTING.md), put the recording into `tests/cases/NAME/` as
//! `evidence.jsonl`, run this with `INSTA_UPDATE=always`, and read what it wrote.

use std::fs;
use std::panic::catch_unwind;

use killtrace::recording::Reader;
use killtrace::report::ReportForm;
use killtrace::story::verdict::{Death, Record};
use killtrace_tests::cases::{self, Case};

/// The width at which most people read.
const COLUMNS: usize = 80;

#[test]
fn each_case_is_told_as_before() {
    let mut failed = Vec::new();
    for case in cases::all().expect("the cases") {
        // Told one by one by insta; all are compared, also after one that differs.
        if catch_unwind(|| compare(&case)).is_err() {
            failed.push(case.name);
        }
    }
    assert!(failed.is_empty(), "told otherwise: {}", failed.join(", "));
}

fn compare(case: &Case) {
    let records = records(case);
    let told = |form, width| cases::report(&records, form, width).expect("a report");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(&case.folder);
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!("text", told(ReportForm::Text, Some(COLUMNS)));
        insta::assert_snapshot!("json", told(ReportForm::Json, None));
        insta::assert_snapshot!("markdown", told(ReportForm::Markdown, None));
    });
}

/// The example of docs/output.md is a case, as it is told.
#[test]
fn the_page_about_the_output_shows_a_case() {
    let cases = cases::all().expect("the cases");
    let case = cases.iter().find(|case| case.name == "logout").expect("the case");
    let told = cases::report(&records(case), ReportForm::Text, Some(COLUMNS)).expect("a report");
    let page = cases::folder().join("../../docs/output.md");
    let page = fs::read_to_string(page).expect("the page");
    let section = page.split_once("\n## Text\n").expect("a section").1;
    let example = section.split("```\n").nth(1).expect("an example");
    assert!(
        told.starts_with(example),
        "the example of docs/output.md is not what `killtrace replay` says of the case logout:\n{told}"
    );
}

fn records(case: &Case) -> Vec<Record> {
    cases::records(&case.recording).unwrap_or_else(|error| panic!("{}: {error:#}", case.name))
}

fn deaths(records: &[Record]) -> impl Iterator<Item = &Death> {
    records.iter().filter_map(|record| match record {
        Record::Death(death) => Some(&**death),
        _ => None,
    })
}

/// Whatever the snapshots say: a verdict names a victim, ends with its death, and lost nothing.
#[test]
fn each_case_has_a_sound_verdict() {
    for case in cases::all().expect("the cases") {
        let records = records(&case);
        assert!(deaths(&records).next().is_some(), "{}: nobody dies", case.name);
        for death in deaths(&records) {
            let times: Vec<u64> = death.chain.iter().map(|link| link.at.boot_ns).collect();
            assert!(times.is_sorted(), "{}: {death:#?}", case.name);
            assert!(death.victim.comm.is_some(), "{}: {death:#?}", case.name);
            assert!(!death.cause.explanation.is_empty(), "{}: {death:#?}", case.name);
        }
        let lost = records.iter().any(|record| matches!(record, Record::Loss(_)));
        assert!(!lost, "{}: events were lost", case.name);
    }
}

/// The same evidence tells the same story, however often it is told.
#[test]
fn a_story_told_twice_is_the_same() {
    for case in cases::all().expect("the cases") {
        assert_eq!(records(&case), records(&case), "{}", case.name);
    }
}

/// No part of a report is obeyed by a terminal.
#[test]
fn no_report_holds_control_characters() {
    for case in cases::all().expect("the cases") {
        let records = records(&case);
        for (form, width) in [(ReportForm::Text, Some(COLUMNS)), (ReportForm::Markdown, None)] {
            let text = cases::report(&records, form, width).expect("a report");
            let harmful = text.chars().find(|c| c.is_control() && *c != '\n');
            assert_eq!(harmful, None, "{}: {text:?}", case.name);
        }
    }
}

/// A recording of somebody's own machine has its name, and whatever ran there.
#[test]
fn each_case_was_recorded_in_a_lab() {
    for case in cases::all().expect("the cases") {
        let opened = Reader::open(&case.recording);
        let (header, _) = opened.unwrap_or_else(|error| panic!("{}: {error:#}", case.name));
        if let Err(why) = cases::of_lab(&header) {
            panic!("{}: {why}", case.name);
        }
    }
}

/// Cases are kept for ever, in every clone.
#[test]
fn cases_are_small() {
    let mut total = 0;
    for case in cases::all().expect("the cases") {
        let size = fs::metadata(&case.recording).expect("the recording").len();
        assert!(size < 100 << 10, "{} has a recording of {size} bytes", case.name);
        for entry in fs::read_dir(&case.folder).expect("the case").flatten() {
            total += entry.metadata().expect("a file").len();
        }
    }
    assert!(total < 3 << 20, "the cases take {total} bytes");
}
