//! Recorded cases with something changed at random: whatever stands in a recording, reading it,
//! judging it, redacting it and reporting it ends without a panic, and what is said stays sound.
//!
//! `PROPTEST_CASES=100000 cargo test -p killtrace-tests --test mutations` looks for longer.

use std::io::Cursor;
use std::path::Path;
use std::sync::LazyLock;

use killtrace::evidence::{Evidence, Header};
use killtrace::recording::{Reader, RecordingLine};
use killtrace::report::redact::Redactor;
use killtrace_tests::cases;
use killtrace_tests::soundness::{check, judge};
use proptest::prelude::*;
use serde_json::{Number, Value};

/// Texts that a careless program would trip over.
const TEXTS: [&str; 14] = [
    "",
    "\u{1b}[31m\n\r\0",
    "+++ exited with 0 +++",
    "`|<b>|`\n```\n# x",
    "a\u{202e}b\u{feff}\u{301}\u{fffd}",
    "../../../../etc/passwd",
    "session-.scope",
    "user@4294967295.service",
    "/user.slice/user-0.slice/user@.service/app.slice/a@b@c.service",
    "\\x2f\\x\\xzz\\",
    "Received disconnect from  port :",
    "a=b=c;d\"e'f $(g) `h`",
    "2026-02-30T25:61:61.9999999999Z",
    "-1",
];

/// Numbers at which arithmetic ends.
const NUMBERS: [u64; 12] = [
    0,
    1,
    2,
    9,
    127,
    255,
    65_535,
    u32::MAX as u64 - 1,
    u32::MAX as u64,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];

/// A recording, unpacked.
struct Recording {
    name: String,
    header: Header,
    evidence: Vec<Evidence>,
}

static RECORDINGS: LazyLock<Vec<Recording>> = LazyLock::new(|| {
    let cases = cases::all().expect("the cases");
    cases.into_iter().map(|case| unpack(case.name, &case.recording)).collect()
});

fn unpack(name: String, file: &Path) -> Recording {
    let (header, mut reader) = Reader::open(file).expect("a recording");
    let mut evidence = Vec::new();
    while let Some(one) = reader.next_evidence().expect("whole") {
        evidence.push(one);
    }
    Recording { name, header, evidence }
}

/// A source of decisions: splitmix64 (Steele, Lea, Flood 2014). The same seed decides the same.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit.max(1) as u64).unwrap_or_default()
    }

    fn one_of<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// Changes one leaf of a value. What it becomes may not fit its type.
fn change(value: &mut Value, dice: &mut Dice) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            let at = dice.below(fields.len());
            if let Some(field) = fields.values_mut().nth(at) {
                change(field, dice);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            let at = dice.below(values.len());
            match dice.below(8) {
                0 => values.clear(),
                1 => {
                    let again = values[at].clone();
                    values.extend(std::iter::repeat_n(again, 300));
                }
                _ => change(&mut values[at], dice),
            }
        }
        Value::Number(_) => {
            let number = match dice.below(8) {
                0 => dice.next(),
                _ => *dice.one_of(&NUMBERS),
            };
            *value = Value::Number(Number::from(number));
        }
        Value::String(_) => {
            let text = *dice.one_of(&TEXTS);
            let times = [1, 1, 1, 1, 2000][dice.below(5)];
            *value = text.repeat(times).into();
        }
        Value::Bool(flag) => *flag = !*flag,
        _ => *value = if dice.below(2) == 0 { Value::Null } else { dice.next().into() },
    }
}

/// One piece of evidence with some leaves changed, where it stays one.
fn changed(evidence: &Evidence, dice: &mut Dice) -> Evidence {
    let mut value = serde_json::to_value(evidence).expect("JSON");
    for _ in 0..=dice.below(3) {
        let before = value.clone();
        change(&mut value, dice);
        if serde_json::from_value::<Evidence>(value.clone()).is_err() {
            value = before;
        }
    }
    serde_json::from_value(value).expect("checked")
}

/// Drops, repeats, moves and changes evidence.
fn mutate(evidence: &mut Vec<Evidence>, dice: &mut Dice) {
    for _ in 0..=dice.below(24) {
        if evidence.is_empty() {
            return;
        }
        let (at, to) = (dice.below(evidence.len()), dice.below(evidence.len()));
        match dice.below(10) {
            0 => drop(evidence.remove(at)),
            1 => evidence.swap(at, to),
            2 => evidence.insert(to, evidence[at].clone()),
            3 => {
                // Something of another story.
                let other = dice.one_of(&RECORDINGS);
                evidence.insert(to, dice.one_of(&other.evidence).clone());
            }
            _ => evidence[at] = changed(&evidence[at], dice),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_evidence_makes_the_engine_panic(seed: u64) {
        let mut dice = Dice(seed);
        let recording = dice.one_of(&RECORDINGS);
        let mut evidence = recording.evidence.clone();
        mutate(&mut evidence, &mut dice);
        check(&judge(&recording.header, &evidence));
    }

    #[test]
    fn no_evidence_makes_the_redactor_panic(seed: u64) {
        let mut dice = Dice(seed);
        let recording = dice.one_of(&RECORDINGS);
        let mut evidence = recording.evidence.clone();
        mutate(&mut evidence, &mut dice);
        let mut redactor = Redactor::new();
        let header = redactor.header(recording.header.clone());
        let evidence: Vec<Evidence> =
            evidence.into_iter().map(|one| redactor.evidence(one)).collect();
        check(&judge(&header, &evidence));
    }

    #[test]
    fn no_damage_makes_the_reader_panic(seed: u64) {
        let mut dice = Dice(seed);
        let recording = dice.one_of(&RECORDINGS);
        let mut bytes = Vec::new();
        let header = RecordingLine::Header(Box::new(recording.header.clone()));
        let evidence = recording.evidence.iter().take(30);
        let lines = evidence.map(|one| RecordingLine::Evidence(Box::new(one.clone())));
        for line in std::iter::once(header).chain(lines) {
            serde_json::to_writer(&mut bytes, &line).expect("JSON");
            bytes.push(b'\n');
        }
        if dice.below(2) == 0 {
            bytes = zstd::bulk::compress(&bytes, 3).expect("zstd");
        }
        for _ in 0..=dice.below(4) {
            let at = dice.below(bytes.len());
            match dice.below(4) {
                0 => bytes.truncate(at),
                1 => drop(bytes.splice(at..at, [b'\n', 0xff, b'{'])),
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << dice.below(8);
                    }
                }
            }
        }
        let Ok((header, mut reader)) = Reader::new(Cursor::new(bytes), Path::new("x")) else {
            return Ok(());
        };
        let mut evidence = Vec::new();
        while let Ok(Some(one)) = reader.next_evidence() {
            evidence.push(one);
        }
        prop_assert!(evidence.len() <= 40);
        check(&judge(&header, &evidence));
    }
}

#[test]
fn the_same_seed_changes_the_same() {
    let recording = &RECORDINGS[0];
    let told = |seed| {
        let mut evidence = recording.evidence.clone();
        mutate(&mut evidence, &mut Dice(seed));
        evidence
    };
    assert!(told(1) == told(1), "{}", recording.name);
    assert!(told(1) != told(2), "{}", recording.name);
}
