//! Writing and reading, with everything that can go wrong in between.

use std::io::{Cursor, Read, Write};
use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::evidence::{End, Fact, LossPlace, Source, User};
use crate::report::samples;

fn user(number: u32) -> Evidence {
    let user = User { uid: number, name: format!("user {number}"), home: None, linger: None };
    Fact::User(user).at(samples::at(i64::from(number)), Source::File)
}

fn record(path: &Path, number: u32) -> Vec<u8> {
    let mut recorder = Recorder::create(path, &samples::header()).expect("a recording");
    for number in 0..number {
        assert_eq!(recorder.evidence(&user(number)), None);
        if number % 100 == 0 {
            assert_eq!(recorder.flush(samples::at(i64::from(number))), None);
        }
    }
    assert_eq!(recorder.flush(samples::at(i64::from(0))), None);
    std::fs::read(path).expect("the recording")
}

fn read(bytes: Vec<u8>) -> Result<(Vec<Evidence>, Option<Damage>), RecordingError> {
    let (header, mut reader) = Reader::new(Cursor::new(bytes), "f".as_ref())?;
    assert_eq!(header.schema, crate::evidence::SCHEMA);
    let mut all = Vec::new();
    loop {
        match reader.next_evidence() {
            Ok(Some(evidence)) => all.push(evidence),
            Ok(None) => return Ok((all, None)),
            Err(damage) => {
                assert_eq!(reader.next_evidence(), Ok(None), "nothing comes after damage");
                return Ok((all, Some(damage)));
            }
        }
    }
}

fn refused(bytes: &[u8]) -> String {
    read(bytes.to_vec()).expect_err("refused").to_string()
}

#[test]
fn what_is_written_is_read_plain_and_compressed() {
    let folder = tempfile::tempdir().expect("a folder");
    let expected: Vec<_> = (0..1000).map(user).collect();
    let plain = record(&folder.path().join("a.jsonl"), 1000);
    let compressed = record(&folder.path().join("a.zst"), 1000);
    assert!(compressed.len() * 3 < plain.len(), "{} of {}", compressed.len(), plain.len());
    for bytes in [plain, compressed] {
        let (all, damage) = read(bytes).expect("a recording");
        assert_eq!((all.len(), damage), (1000, None));
        assert!(all == expected);
    }
}

#[test]
fn a_recording_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a");
    let mode = || path.metadata().expect("a file").permissions().mode() & 0o777;
    record(&path, 1);
    assert_eq!(mode(), 0o600);
    // And where it was everybody's before.
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).expect("set");
    record(&path, 1);
    assert_eq!(mode(), 0o600);
}

#[test]
fn whatever_is_cut_off_the_rest_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["a.jsonl", "a.zst"] {
        let whole = record(&folder.path().join(name), 300);
        for length in (0..whole.len()).step_by(97) {
            match read(whole[..length].to_vec()) {
                Ok((all, _)) => {
                    assert!(all.iter().zip(0..).all(|(one, n)| *one == user(n)), "{name} {length}");
                }
                Err(error) => assert!(
                    matches!(
                        error,
                        RecordingError::Empty { .. } | RecordingError::NotARecording { .. }
                    ),
                    "{name} {length}: {error}"
                ),
            }
        }
        let (all, damage) = read(whole[..whole.len() - 5].to_vec()).expect("a recording");
        assert!(all.len() >= 200, "{name}: {}", all.len());
        assert_eq!(damage.map(|damage| damage.line), Some(all.len() as u64 + 2), "{name}");
    }
}

#[test]
fn a_full_disk_is_told_once_and_tracing_goes_on() {
    // /dev/full takes nothing, not even the header.
    let error = Recorder::create("/dev/full".as_ref(), &samples::header()).expect_err("full");
    assert!(error.to_string().contains("No space left"), "{error}");
    // A pipe whose reader has gone takes no more either.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
    assert!(made.success());
    let other_end = {
        let path = path.clone();
        std::thread::spawn(move || {
            let mut first = [0; 64];
            std::fs::File::open(path)
                .and_then(|mut file| file.read_exact(&mut first))
                .expect("the pipe");
        })
    };
    let mut recorder = Recorder::create(&path, &samples::header()).expect("a recording");
    other_end.join().expect("the reader");
    assert_eq!(recorder.evidence(&user(0)), None, "it waits for its block");
    let (sentence, lost) = recorder.flush(samples::at(i64::from(1))).expect("the failure is told");
    assert!(sentence.contains("tracing goes on"), "{sentence}");
    let Fact::Lost(lost) = lost.fact else { panic!("{lost:?}") };
    assert_eq!((lost.dropped, lost.place), (1, LossPlace::Recording));
    assert_eq!(recorder.evidence(&user(2)), None, "it is told once");
    assert_eq!(recorder.flush(samples::at(i64::from(3))), None);
}

#[test]
fn a_recording_that_is_removed_is_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.jsonl");
    let mut recorder = Recorder::create(&path, &samples::header()).expect("a recording");
    assert_eq!(recorder.evidence(&user(0)), None, "it waits for its block");
    assert_eq!(recorder.flush(samples::at(0)), None);
    std::fs::remove_file(&path).expect("it is there");
    assert_eq!(recorder.evidence(&user(1)), None, "it waits for its block");
    let (sentence, lost) = recorder.flush(samples::at(1)).expect("the failure is told");
    assert!(sentence.ends_with(
        "cannot be written (it has been removed): tracing goes on without it; trace anew to have another"
    ), "{sentence}");
    let Fact::Lost(lost) = lost.fact else { panic!("{lost:?}") };
    assert_eq!((lost.dropped, lost.place), (1, LossPlace::Recording));
}

#[test]
fn what_is_no_recording_is_refused_with_a_remedy() {
    insta::assert_snapshot!(
        [
            &b""[..],
            b"\n",
            b"\x7fELF\x02\x01",
            b"{\"type\":\"death\"}\n",
            b"{\"type\":\"header\",\"schema\":1,\"vers",
            b"{\"type\":\"header\",\"schema\":99,\"version\":\"9.9\x1b\",\"new\":true}\n",
            b"{\"type\":\"header\",\"schema\":99,\"version\":\"9.9\",\"new\":true}\n",
            b"{\"type\":\"header\",\"schema\":1,\"version\":\"0.1\"}\n",
            b"\x28\xb5\x2f\xfdgarbage",
            b"[[[[[",
        ]
        .map(refused)
        .join("\n")
    );
    assert!(Reader::open("/".as_ref()).expect_err("a folder").to_string().contains("directory"));
    assert!(
        Reader::open("/no/such".as_ref())
            .expect_err("nothing")
            .to_string()
            .contains("No such file")
    );
}

fn with_header(lines: &[u8]) -> Vec<u8> {
    let line = RecordingLine::Header(Box::new(samples::header()));
    let mut bytes = serde_json::to_vec(&line).expect("JSON");
    bytes.push(b'\n');
    bytes.extend_from_slice(lines);
    bytes
}

#[test]
fn damage_is_told_with_its_line() {
    let good = serde_json::to_string(&RecordingLine::Evidence(Box::new(user(7)))).expect("JSON");
    let damage = |lines: &str| {
        let (all, damage) = read(with_header(lines.as_bytes())).expect("a recording");
        format!(
            "{} read, {}",
            all.len(),
            damage.map_or_else(|| "whole".to_owned(), |d| d.to_string())
        )
    };
    let header =
        serde_json::to_string(&RecordingLine::Header(Box::new(samples::header()))).expect("JSON");
    insta::assert_snapshot!(
        [
            damage(&format!("{good}\n{good}\n")),
            damage(&format!("{good}\n{good}")),
            damage(&format!("{good}\n\n{good}\n")),
            damage(&format!("{good}\n{{\"type\":\"evidence\"}}\n{good}\n")),
            damage(&format!("{good}\n{}\n{good}\n", &good[..40])),
            damage(&format!("{good}\n{}", &good[..40])),
            damage(&format!("{good}\n{header}\n")),
            damage("{\"type\":\"evidence\",\"time\":\"x\",\"boot_ns\":1}\n"),
            damage(&format!("{}\n", "[".repeat(100_000))),
        ]
        .join("\n")
    );
}

#[test]
fn a_report_is_told_apart_from_a_recording() {
    let bytes = with_header(b"{\"type\":\"signal\",\"time\":\"\"}\n");
    let (_, mut reader) = Reader::new(Cursor::new(bytes), "f".as_ref()).expect("a header");
    assert_eq!(reader.next_evidence().expect_err("a report").line, 2);
    assert!(reader.at_report());
}

#[test]
fn a_line_without_end_takes_no_memory_without_end() {
    let endless = Cursor::new(with_header(b"")).chain(io::repeat(b'x'));
    let (_, mut reader) = Reader::new(endless, "f".as_ref()).expect("a header");
    let damage = reader.next_evidence().expect_err("too long");
    assert!(damage.to_string().contains("line 2: it is longer than"), "{damage}");
    // A few kilobytes that unpack to more than is ever read.
    let mut bomb = zstd::Encoder::new(Vec::new(), 3).expect("zstd");
    bomb.write_all(&with_header(b"")).expect("zstd");
    for _ in 0..64 {
        bomb.write_all(&vec![b'x'; 1 << 20]).expect("zstd");
    }
    let bytes = bomb.finish().expect("zstd");
    assert!(bytes.len() < 64 << 10);
    let (all, damage) = read(bytes).expect("a header");
    assert!(all.is_empty() && damage.is_some_and(|damage| damage.why.contains("longer than")));
}

#[test]
fn end_and_losses_survive_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.zst");
    let end = Fact::End(End { reason: "interrupted".into() }).at(samples::at(9), Source::Tracer);
    let mut recorder = Recorder::create(&path, &samples::header()).expect("a recording");
    assert_eq!(recorder.evidence(&end), None);
    assert_eq!(recorder.flush(samples::at(9)), None);
    let (header, mut reader) = Reader::open(&path).expect("a recording");
    assert_eq!(header, samples::header());
    assert_eq!(reader.next_evidence(), Ok(Some(end)));
    assert_eq!(reader.next_evidence(), Ok(None));
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok((all, _)) = read(with_header(&bytes)) {
            prop_assert!(all.is_empty());
        }
        prop_assert!(read(bytes).is_err());
    }
}

fn line(fact: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut bytes = record(&folder.path().join("a.jsonl"), 0);
    let time = serde_json::to_string(&user(0)).expect("JSON");
    let head = time.split(r#""fact":"#).next().expect("the time");
    let head = head.strip_prefix('{').expect("an object");
    bytes.extend(format!(r#"{{"type":"evidence",{head}"fact":{fact}}}"#).bytes());
    bytes.push(b'\n');
    bytes
}

fn snapshot(lines: &str) -> crate::evidence::ProcessSnapshot {
    let fact = format!(
        r#"{{"kind":"process","pid":7,"start_ns":1,"ppid":1,"exe":null,"uid":0,"ns_pids":[],"cgroup":null,
        "tty":null,"session_leader":0,"process_group":0,"parents":[],{lines}}}"#
    );
    let (mut all, damage) = read(line(&fact.replace('\n', ""))).expect("a recording");
    assert_eq!(damage, None);
    let Some(Fact::Process(process)) = all.pop().map(|evidence| evidence.fact) else {
        panic!("{all:?}")
    };
    *process
}

#[test]
fn a_line_says_no_more_than_live_evidence_can() {
    let long = "\u{e4}".repeat(500_000);
    let process = snapshot(&format!(
        r#""comm":"{long}","cmdline":["a","{long}","{long}"],"environment":{{"STY":"{long}"}}"#
    ));
    assert_eq!(process.comm.len(), 32 << 10);
    assert_eq!(process.cmdline.iter().map(String::len).sum::<usize>(), (32 << 10) - 1);
    assert_eq!(process.environment["STY"].len(), 32 << 10);
    // Many small ones, and what is in lists in lists.
    let many = vec![r#""""#; 1 << 20].join(",");
    let process = snapshot(&format!(r#""comm":"x","environment":{{}},"cmdline":[{many}]"#));
    assert!(process.cmdline.len() <= 32 << 10, "{}", process.cmdline.len());
    let lists = vec!["[[]]"; 1 << 20].join(",");
    let call = format!(
        r#"{{"kind":"bus-call","bus":"system","sender":{{"name":"","process":null,"uid":null,"comm":null,
        "well_known":null}},"destination":{{"name":"","process":null,"uid":null,"comm":null,
        "well_known":null}},"path":"/","interface":null,"member":"x","args":[{lists}]}}"#
    );
    let (all, damage) = read(line(&call.replace('\n', ""))).expect("a recording");
    assert_eq!((all.len(), damage), (1, None));
    assert!(serde_json::to_string(&all).expect("JSON").len() < 1 << 20);
    // Too many members are no evidence any more, but cost nothing.
    let members: Vec<_> = (0..300_000).map(|number| format!(r#""{number}":{{}}"#)).collect();
    let fact = format!(r#"{{{},"kind":"quiet"}}"#, members.join(","));
    let (all, damage) = read(line(&fact)).expect("a recording");
    assert!(all.is_empty() && damage.is_some());
}

#[test]
fn what_live_evidence_says_is_read_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    let process = crate::evidence::ProcessSnapshot {
        comm: "x".into(),
        cmdline: vec!["sh".into(), "\u{1}".repeat((32 << 10) - 4)],
        environment: [("SUDO_COMMAND".into(), "y".repeat(32 << 10))].into(),
        ..Default::default()
    };
    let evidence = Fact::Process(Box::new(process)).at(samples::at(1), Source::Proc);
    let path = folder.path().join("a");
    let mut recorder = Recorder::create(&path, &samples::header()).expect("a recording");
    assert_eq!(recorder.evidence(&evidence), None);
    assert_eq!(recorder.flush(samples::at(2)), None);
    let (all, damage) = read(std::fs::read(&path).expect("the recording")).expect("a recording");
    assert!(damage.is_none() && all == [evidence]);
}
