//! Verdicts that say of one more process what has just been said of another: forty workers of a unit that is stopped.

use std::collections::VecDeque;

use crate::report::words;
use crate::story::verdict::{Death, Link};

/// How many verdicts are remembered.
const REMEMBERED: usize = 16;

/// How far apart two ends of one happening may be, nanoseconds.
const TOGETHER: u64 = 1_000_000_000;

/// The verdicts told last, the newest at the end.
#[derive(Debug, Default)]
pub struct Told(VecDeque<Death>);

impl Told {
    /// The verdict that has said all that this one would, but for which process it was.
    pub fn like(&self, death: &Death) -> Option<&Death> {
        self.0.iter().rev().find(|told| is_like(told, death))
    }

    /// Remembers a verdict that was told as a whole.
    pub fn remember(&mut self, death: &Death) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back(death.clone());
    }
}

/// That one ended as another did.
pub fn sentence(told: &Death, death: &Death) -> String {
    let [other, victim] = [told, death].map(|death| words::process(&death.victim));
    let (id, evidence) = (death.cause.id.as_str(), death.cause.evidence.as_str());
    format!("{victim} ended as {other} above did, for the same reason ({id}, {evidence}).")
}

/// What the chain has of the victim itself, which is another's in the verdict told before.
pub fn own_links<'a>(told: &'a Death, death: &'a Death) -> impl Iterator<Item = &'a Link> {
    let both = death.chain.iter().zip(&told.chain);
    both.filter(|(link, other)| link.text != other.text).map(|(link, _)| link)
}

fn is_like(told: &Death, death: &Death) -> bool {
    let who = |death: &Death| {
        let victim = &death.victim;
        (victim.comm.clone(), victim.exe.clone(), victim.cmdline.clone(), victim.uid)
    };
    let killer = |death: &Death| death.killer.process.as_ref().map(|it| (it.pid, it.start_ns));
    let [of_told, of_death] = [told, death].map(|death| words::process(&death.victim));
    let same = |one: &str, other: &str| {
        let [one, other] = [one, other].map(without_moments);
        one.split(of_told.as_str()).eq(other.split(of_death.as_str()))
    };
    let same_link = |(one, other): (&Link, &Link)| {
        one.event == other.event
            && (one.evidence, one.source) == (other.evidence, other.source)
            && one.at.boot_ns.abs_diff(other.at.boot_ns) <= TOGETHER
            && same(&one.text, &other.text)
    };
    let (cause, other) = (&told.cause, &death.cause);
    who(told) == who(death)
        && told.outcome == death.outcome
        && (told.killer.kind, killer(told)) == (death.killer.kind, killer(death))
        && (cause.id, cause.evidence, &cause.settings)
            == (other.id, other.evidence, &other.settings)
        && same(&cause.explanation, &other.explanation)
        && told.chain.len() == death.chain.len()
        && told.chain.iter().zip(&death.chain).all(same_link)
        && told.considered.len() == death.considered.len()
        && told.considered.iter().zip(&death.considered).all(|(one, other)| {
            (one.id, one.ruled_out) == (other.id, other.ruled_out)
                && same(&one.because, &other.because)
        })
        && (&told.fixes, &told.gaps) == (&death.fixes, &death.gaps)
}

/// A text without the lengths of the moments in it, which are each one's own: all that is below a second.
fn without_moments(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        let is_number = word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let unit = words.peek().filter(|_| is_number && !word.is_empty());
        let behind = unit
            .and_then(|next| ["ns", "µs", "ms"].iter().find_map(|unit| next.strip_prefix(unit)));
        match behind.filter(|rest| !rest.starts_with(char::is_alphanumeric)) {
            Some(rest) => {
                kept.push_str("a moment");
                kept.push_str(rest);
                words.next();
            }
            None => kept.push_str(word),
        }
        kept.push(' ');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_left_out_and_nothing_else() {
        for (text, kept) in [
            ("577 µs before, 1.3 ms after", "a moment before, a moment after "),
            ("it took 2.5 ms.", "it took a moment. "),
            ("10 s, 3 msgs, 4 ms2 and a ms", "10 s, 3 msgs, 4 ms2 and a ms "),
            ("x[5] 5  ms", "x[5] 5  ms "),
        ] {
            assert_eq!(without_moments(text), kept);
        }
    }
}
