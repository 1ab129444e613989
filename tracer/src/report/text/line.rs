//! One line of the text report: coloured pieces, wrapped to the width with a hanging indent.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What a piece of a line is; colour follows meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Nothing special.
    Plain,
    /// Times and other things that are there when looked for.
    Faint,
    /// A process.
    Process,
    /// A signal, or an end, that is fatal.
    Fatal,
    /// A signal that is not.
    Mild,
    /// The verdict.
    Verdict,
    /// Proven by what was seen.
    Observed,
    /// Proven by what something says.
    Reported,
    /// Reasoned.
    Inferred,
    /// The name of a row.
    Label,
    /// A command to type.
    Command,
    /// Something is missing.
    Warning,
}

impl Tone {
    /// Parameters of the SGR sequence; the sixteen colours only, so that every theme stays readable.
    const fn sgr(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Faint => "2",
            Self::Process => "36",
            Self::Fatal => "1;31",
            Self::Mild => "33",
            Self::Verdict | Self::Label => "1",
            Self::Observed => "32",
            Self::Reported => "34",
            Self::Inferred => "35",
            Self::Command => "1;32",
            Self::Warning => "1;33",
        }
    }
}

/// How wide, and whether with colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Columns; `None`: lines are as long as they are.
    pub width: Option<usize>,
    /// With SGR sequences.
    pub colour: bool,
}

/// Pieces of text, each with its tone. They must be escaped already.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pieces: Vec<(Tone, Cow<'static, str>)>,
}

impl Line {
    /// Adds a piece.
    pub fn push(&mut self, tone: Tone, text: impl Into<Cow<'static, str>>) -> &mut Self {
        self.pieces.push((tone, text.into()));
        self
    }

    /// Adds a piece, for chaining.
    #[must_use]
    pub fn with(mut self, tone: Tone, text: impl Into<Cow<'static, str>>) -> Self {
        self.push(tone, text);
        self
    }

    /// Adds the pieces of another line.
    pub fn append(&mut self, other: Self) {
        self.pieces.extend(other.pieces);
    }

    /// Columns that the pieces so far take.
    pub fn width(&self) -> usize {
        self.pieces.iter().map(|(_, text)| text.width()).sum()
    }

    /// Writes the line to `out`, continued with `indent` columns of space where it is too long.
    pub fn write(&self, out: &mut String, layout: Layout, indent: usize) {
        let Some(width) = layout.width else {
            for (tone, text) in &self.pieces {
                paint(out, *tone, text, layout.colour);
            }
            out.push('\n');
            return;
        };
        for (number, row) in self.rows(width, indent).iter().enumerate() {
            if number > 0 {
                out.extend(std::iter::repeat_n(' ', indent));
            }
            for (tone, text) in row {
                paint(out, *tone, text, layout.colour);
            }
            out.push('\n');
        }
    }

    /// Breaks the pieces into rows at spaces, and inside a word only where it is longer than a row.
    fn rows(&self, width: usize, indent: usize) -> Vec<Vec<(Tone, String)>> {
        // Narrower than this nothing can be read; the terminal may wrap by itself then.
        let width = width.max(indent + 16);
        let mut rows = Rows { rows: vec![Vec::new()], column: 0, width, indent };
        for word in self.words() {
            rows.place(&word);
        }
        rows.rows
    }

    /// Words, each with the spaces before it; a word may have several tones.
    fn words(&self) -> Vec<Word> {
        let mut words = vec![Word::default()];
        for (tone, text) in &self.pieces {
            for c in text.chars() {
                if c == ' ' {
                    if words.last().is_some_and(|word| !word.pieces.is_empty()) {
                        words.push(Word::default());
                    }
                    if let Some(word) = words.last_mut() {
                        word.spaces += 1;
                        word.space_tone = *tone;
                    }
                } else if let Some(word) = words.last_mut() {
                    push_char(&mut word.pieces, *tone, c);
                }
            }
        }
        words
    }
}

/// A word and the spaces before it.
#[derive(Debug)]
struct Word {
    spaces: usize,
    space_tone: Tone,
    pieces: Vec<(Tone, String)>,
}

impl Default for Word {
    fn default() -> Self {
        Self { spaces: 0, space_tone: Tone::Plain, pieces: Vec::new() }
    }
}

/// Rows being filled.
struct Rows {
    rows: Vec<Vec<(Tone, String)>>,
    column: usize,
    width: usize,
    indent: usize,
}

impl Rows {
    fn place(&mut self, word: &Word) {
        let wide: usize = word.pieces.iter().map(|(_, text)| text.width()).sum();
        if self.column > self.indent && self.column + word.spaces + wide > self.width {
            self.next_row();
        } else {
            for _ in 0..word.spaces {
                self.put(word.space_tone, ' ');
            }
        }
        for (tone, text) in &word.pieces {
            for c in text.chars() {
                if self.column + c.width().unwrap_or(0) > self.width {
                    self.next_row();
                }
                self.put(*tone, c);
            }
        }
    }

    fn put(&mut self, tone: Tone, c: char) {
        self.column += c.width().unwrap_or(0);
        if let Some(row) = self.rows.last_mut() {
            push_char(row, tone, c);
        }
    }

    fn next_row(&mut self) {
        self.rows.push(Vec::new());
        self.column = self.indent;
    }
}

/// Appends a character to the last piece where the tone is the same.
fn push_char(pieces: &mut Vec<(Tone, String)>, tone: Tone, c: char) {
    match pieces.last_mut() {
        Some((last, text)) if *last == tone => text.push(c),
        _ => pieces.push((tone, c.to_string())),
    }
}

fn paint(out: &mut String, tone: Tone, text: &str, colour: bool) {
    let sgr = tone.sgr();
    if !colour || sgr.is_empty() || text.is_empty() {
        out.push_str(text);
    } else {
        let done = write!(out, "\x1b[{sgr}m{text}\x1b[0m");
        debug_assert!(done.is_ok(), "a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrapped(text: &str, width: usize, indent: usize) -> String {
        let mut out = String::new();
        let layout = Layout { width: Some(width), colour: false };
        Line::default().with(Tone::Plain, text.to_owned()).write(&mut out, layout, indent);
        out
    }

    #[test]
    fn lines_break_at_spaces_and_hang() {
        assert_eq!(wrapped("one two three four five", 18, 2), "one two three four\n  five\n");
        assert_eq!(wrapped("  a  bb", 40, 4), "  a  bb\n");
        assert_eq!(wrapped("", 40, 4), "\n");
    }

    #[test]
    fn a_word_longer_than_a_row_is_broken() {
        assert_eq!(
            wrapped("aaaaaaaaaaaaaaaaaaaaaaaa b", 20, 4),
            "aaaaaaaaaaaaaaaaaaaa\n    aaaa b\n"
        );
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(wrapped("名名名名名名名名名名 x", 20, 2), "名名名名名名名名名名\n  x\n");
    }

    #[test]
    fn no_row_is_wider_than_the_terminal() {
        let text =
            "0123456 89 0123456789012345678901234567890 名名名名名名名名名名名名 end ".repeat(9);
        for width in 20..60 {
            for row in wrapped(&text, width, 4).lines() {
                assert!(row.width() <= width, "{row}");
            }
        }
    }

    #[test]
    fn colour_follows_the_words_across_rows() {
        let mut out = String::new();
        let line =
            Line::default().with(Tone::Plain, "x ").with(Tone::Verdict, "one two three four");
        line.write(&mut out, Layout { width: Some(18), colour: true }, 2);
        assert_eq!(out, "x \u{1b}[1mone two three\u{1b}[0m\n  \u{1b}[1mfour\u{1b}[0m\n");
    }
}
