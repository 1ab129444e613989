//! A recorded story with something in it that came in through an entrance: told plainly and redacted.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use killtrace::evidence::{Evidence, Fact, Header, Moment, SessionState, Source};
use killtrace::recording::Reader;
use killtrace::report::ReportForm;
use killtrace::report::redact::Redactor;
use killtrace::story::verdict::Record;
use serde_json::Value;

use crate::cases;
use crate::soundness::{check, check_records, judge, report};

/// The user of the recorded stories, who must not be in a redacted one.
const USER: &str = "alice";
/// What is put where her name is part of another word, which is not hers.
const OTHER: &str = "ecila";

/// A recorded story, to be told with more evidence in it.
pub struct Scene {
    header: Header,
    before: Vec<Evidence>,
    after: Vec<Evidence>,
    at: Moment,
}

/// alice's tmux is ended by her own `kill`, over ssh.
pub static SESSION: LazyLock<Scene> = LazyLock::new(|| Scene::of("kill-over-ssh"));
/// A service is stopped by systemctl.
pub static SERVICE: LazyLock<Scene> = LazyLock::new(|| Scene::of("systemctl-stop"));
/// alice's session is terminated.
pub static TERMINATED: LazyLock<Scene> = LazyLock::new(|| Scene::of("terminate-session"));

impl Scene {
    /// That of a recorded case.
    fn of(case: &str) -> Self {
        let case = cases::all().expect("the cases").into_iter().find(|found| found.name == case);
        let (header, mut reader) =
            Reader::open(&case.expect("a case").recording).expect("a recording");
        let mut before = Vec::new();
        while let Some(one) = reader.next_evidence().expect("whole") {
            before.push(one);
        }
        // What comes in is known before the victim ends.
        let end = before.iter().position(|one| victim(one).is_some());
        let after = before.split_off(end.expect("a target that is ended"));
        Self { header, at: after[0].at, before, after }
    }

    /// Who dies in it.
    pub fn victim(&self) -> u32 {
        self.after.first().and_then(victim).expect("a signal to the victim")
    }

    /// Tells the story with these facts in it, all ways, and checks it.
    pub fn tell(&self, facts: impl IntoIterator<Item = (Source, Fact)>) {
        let facts: Vec<Evidence> =
            facts.into_iter().map(|(source, fact)| fact.at(self.at, source)).collect();
        if facts.is_empty() {
            return;
        }
        let all = |facts: &[Evidence]| [&self.before[..], facts, &self.after].concat();
        check(&judge(&self.header, &all(&facts)));
        let facts: Vec<Evidence> = facts.into_iter().map(without_half_names).collect();
        tell_redacted(&self.header, all(&facts));
    }

    /// The same with all evidence changed by `change`.
    pub fn tell_changed(&self, mut change: impl FnMut(&mut Evidence)) {
        let mut evidence = [&self.before[..], &self.after].concat();
        evidence.iter_mut().for_each(&mut change);
        tell(&self.header, evidence);
    }
}

/// To which target a signal was sent.
fn victim(evidence: &Evidence) -> Option<u32> {
    match &evidence.fact {
        Fact::Signal(signal) if signal.is_target => Some(signal.target.id.pid),
        _ => None,
    }
}

/// Tells a story plainly and redacted, and checks both.
pub fn tell(header: &Header, evidence: Vec<Evidence>) {
    check(&judge(header, &evidence));
    let mut header = header.clone();
    for text in [&mut header.version, &mut header.arch].into_iter().chain(&mut header.systemd) {
        *text = text.replace(USER, OTHER);
    }
    let mut value = serde_json::to_value(&header).expect("JSON");
    change_texts(&mut value);
    let header: Header = serde_json::from_value(value).expect("still a header");
    tell_redacted(&header, evidence.into_iter().map(without_half_names).collect());
}

fn tell_redacted(header: &Header, evidence: Vec<Evidence>) {
    let addresses: Vec<IpAddr> = evidence.iter().flat_map(addresses).collect();
    let mut redactor = Redactor::new();
    redactor.learn_user(USER, Some(1000), Some("/home/alice"));
    redactor.learn_header(header);
    evidence.iter().for_each(|one| redactor.learn(one));
    let header = redactor.header(header.clone());
    let redacted: Vec<Evidence> = evidence.into_iter().map(|one| redactor.evidence(one)).collect();
    let records = judge(&header, &redacted);
    check_records(&records);
    is_redacted(&redacted, &records, &addresses);
}

/// Neither the copy of a recording nor a report names alice, or an address that stood in its own field.
fn is_redacted(evidence: &[Evidence], records: &[Record], addresses: &[IpAddr]) {
    for one in evidence {
        let line = serde_json::to_string(one).expect("JSON");
        assert!(!unescaped(&line).contains(USER), "{USER} in {line}");
        for address in self::addresses(one) {
            assert!(!addresses.contains(&address), "{address} in {line}");
        }
    }
    for form in [ReportForm::Text, ReportForm::Markdown, ReportForm::Json] {
        let text = report(records, form, None);
        assert!(!unescaped(&text).contains(USER), "{USER} in {text}");
    }
}

/// A text without the numbers of its characters: `\u001a` before `lice` names nobody.
fn unescaped(text: &str) -> String {
    let mut parts = text.split("\\u");
    let first = parts.next().unwrap_or_default().to_owned();
    let number = |part: &str| part.chars().take_while(char::is_ascii_hexdigit).take(4).count();
    parts.fold(first, |read, part| match number(part) {
        4 => read + "\u{fffd}" + &part[4..],
        _ => read + "\\u" + part,
    })
}

/// The addresses of a connection that tell of somebody and are not the redactor's own.
fn addresses(evidence: &Evidence) -> Vec<IpAddr> {
    let Fact::Tcp(tcp) = &evidence.fact else { return Vec::new() };
    let ends = [tcp.local.ip().to_canonical(), tcp.remote.ip().to_canonical()];
    let tells = |address: &IpAddr| {
        let text = address.to_string();
        let documentation = ["192.0.2.", "198.51.100.", "203.0.113.", "198.18.", "198.19."];
        !address.is_loopback()
            && !address.is_unspecified()
            && !text.starts_with("2001:db8:")
            && !documentation.iter().any(|block| text.starts_with(block))
    };
    ends.into_iter().filter(tells).collect()
}

/// The evidence with alice's name only where it is hers: in `malice` it is not, nor in words of the kernel's or a
/// program's own.
fn without_half_names(mut evidence: Evidence) -> Evidence {
    for text in own_words(&mut evidence.fact) {
        *text = text.replace(USER, OTHER);
    }
    let mut value = serde_json::to_value(&evidence).expect("JSON");
    if !change_texts(&mut value) {
        return evidence;
    }
    // A text may be part of something that has a form of its own.
    serde_json::from_value(value).unwrap_or(evidence)
}

/// Texts in which no user's name stands, and which `--redact` therefore leaves alone.
fn own_words(fact: &mut Fact) -> Vec<&mut String> {
    match fact {
        Fact::Signal(signal) => {
            let signal = Arc::make_mut(signal);
            let syscall = signal.syscall.as_mut().map(|call| &mut call.name);
            signal.stack.iter_mut().chain(syscall).chain(&mut signal.tty).collect()
        }
        Fact::Process(process) => process.tty.as_mut().into_iter().collect(),
        Fact::BusCall(call) => {
            vec![&mut call.sender.name, &mut call.destination.name, &mut call.member]
        }
        Fact::BusReply(reply) => vec![&mut reply.caller],
        Fact::Job(job) => job.job_type.as_mut().into_iter().chain(&mut job.result).collect(),
        Fact::Session(session) => {
            let SessionState { id, tty, service, class, state, .. } = session;
            [Some(id), tty.as_mut(), service.as_mut(), class.as_mut(), state.as_mut()]
                .into_iter()
                .flatten()
                .collect()
        }
        Fact::Setting(setting) => vec![&mut setting.name],
        Fact::Journal(line) => line.message_id.as_mut().into_iter().collect(),
        Fact::Container(found) => vec![&mut found.container.runtime],
        Fact::Terminal(terminal) => vec![&mut terminal.tty],
        Fact::End(end) => vec![&mut end.reason],
        _ => Vec::new(),
    }
}

/// Changes texts and the names of fields; true where there was something to change.
fn change_texts(value: &mut Value) -> bool {
    match value {
        Value::String(text) => {
            let whole = whole_names(text);
            let changed = whole != *text;
            *text = whole;
            changed
        }
        Value::Array(values) => {
            values.iter_mut().fold(false, |changed, value| change_texts(value) | changed)
        }
        Value::Object(fields) => {
            let mut changed = fields.keys().any(|name| name.contains(USER));
            if changed {
                let all = std::mem::take(fields).into_iter();
                *fields = all.map(|(name, value)| (name.replace(USER, OTHER), value)).collect();
            }
            for value in fields.values_mut() {
                changed |= change_texts(value);
            }
            changed
        }
        _ => false,
    }
}

fn whole_names(text: &str) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(USER) {
        let (head, tail) = rest.split_at(at);
        out.push_str(head);
        rest = &tail[USER.len()..];
        let alone = !out.ends_with(is_word) && !rest.starts_with(is_word);
        out.push_str(if alone { USER } else { OTHER });
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_within_words_are_nobodys() {
        assert_eq!(
            whole_names("malice alice_ alice's alicealice"),
            "mecila ecila_ alice's ecilaecila"
        );
    }

    #[test]
    fn a_story_with_a_leak_is_found() {
        let line = SESSION
            .before
            .iter()
            .find(|one| serde_json::to_string(one).expect("JSON").contains(USER));
        let line = line.expect("alice is in it").clone();
        let leak = std::panic::catch_unwind(|| is_redacted(&[line], &[], &[]));
        assert!(leak.is_err());
    }

    #[test]
    fn every_scene_is_told_as_it_was_recorded() {
        for scene in [&SESSION, &SERVICE, &TERMINATED] {
            scene.tell_changed(|_| ());
        }
    }
}
