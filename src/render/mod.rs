//! What people see, as values: events, words, diffs and tables become lines of styled text. Nothing here prints.

mod diff;
mod event;
mod isolation;
mod markdown;
mod summary;
mod table;

use anstyle::{AnsiColor, Style};
use unicode_width::UnicodeWidthChar;

use crate::text;

pub use diff::diff;
pub use event::{EventRenderer, REQUEST_LINES, request, tool_summary};
pub use isolation::{memory, sandbox};
pub use markdown::markdown;
pub use summary::{Summary, ended, status_word};
pub use table::table;

pub const PLAIN: Style = Style::new();
pub const BOLD: Style = Style::new().bold();
pub const DIM: Style = Style::new().dimmed();
pub const ITALIC: Style = Style::new().italic();
pub const RED: Style = AnsiColor::Red.on_default();
pub const GREEN: Style = AnsiColor::Green.on_default();
pub const YELLOW: Style = AnsiColor::Yellow.on_default();
pub const BLUE: Style = AnsiColor::Blue.on_default();
pub const MAGENTA: Style = AnsiColor::Magenta.on_default();
pub const CYAN: Style = AnsiColor::Cyan.on_default();

/// Text of one style. It holds nothing that a terminal obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Span {
    style: Style,
    text: String,
}

/// One line to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    spans: Vec<Span>,
}

impl Line {
    pub fn new() -> Self {
        Self::default()
    }

    /// A line of one style.
    pub fn of(style: Style, text: impl AsRef<str>) -> Self {
        Self::new().add(style, text)
    }

    /// Adds text. Whatever a terminal would obey is taken out, line ends included.
    #[must_use]
    pub fn add(mut self, style: Style, text: impl AsRef<str>) -> Self {
        self.push(style, text);
        self
    }

    pub fn push(&mut self, style: Style, text: impl AsRef<str>) {
        let text = text::clean(text.as_ref()).replace('\n', " ").replace('\t', "    ");
        if text.is_empty() {
            return;
        }
        match self.spans.last_mut() {
            Some(last) if last.style == style => last.text.push_str(&text),
            _ => self.spans.push(Span { style, text }),
        }
    }

    /// Puts another line before this one.
    #[must_use]
    pub fn after(self, mut before: Self) -> Self {
        before.spans.extend(self.spans);
        before
    }

    #[must_use]
    pub fn indent(self, columns: usize) -> Self {
        self.after(Self::of(PLAIN, " ".repeat(columns)))
    }

    pub fn is_blank(&self) -> bool {
        self.spans.iter().all(|span| span.text.trim().is_empty())
    }

    /// Its parts, each of one style.
    pub fn parts(&self) -> impl Iterator<Item = (Style, &str)> {
        self.spans.iter().map(|span| (span.style, span.text.as_str()))
    }

    /// The text alone.
    pub fn plain(&self) -> String {
        self.spans.iter().map(|span| span.text.as_str()).collect()
    }

    pub fn width(&self) -> usize {
        self.spans.iter().map(|span| text::width(&span.text)).sum()
    }

    /// The line for a terminal: with colour, or the text alone.
    pub fn paint(&self, color: bool) -> String {
        if !color {
            return self.plain().trim_end().to_owned();
        }
        let mut out = String::new();
        for span in &self.spans {
            if span.style == PLAIN {
                out.push_str(&span.text);
            } else {
                out.push_str(&format!("{}{}{:#}", span.style, span.text, span.style));
            }
        }
        out
    }

    /// Cuts the line to so many columns.
    #[must_use]
    pub fn cut(self, max: usize) -> Self {
        if self.width() <= max {
            return self;
        }
        let mut out = Self::new();
        let mut left = max;
        for span in self.spans {
            let columns = text::width(&span.text);
            if columns < left {
                left -= columns;
                out.push(span.style, &span.text);
                continue;
            }
            out.push(span.style, text::cut(&format!("{}…", span.text), left));
            break;
        }
        out
    }

    /// Breaks the line at spaces so that each part fits; parts after the first are moved in by `hang` columns.
    pub fn wrap(self, max: usize, hang: usize) -> Vec<Self> {
        let max = max.max(hang + 8);
        if self.width() <= max {
            return vec![self];
        }
        let characters: Vec<(char, Style)> =
            self.spans.iter().flat_map(|span| span.text.chars().map(|c| (c, span.style))).collect();
        let mut lines = Vec::new();
        let mut start = 0;
        while start < characters.len() {
            let room = if lines.is_empty() { max } else { max - hang };
            let (end, next) = break_at(&characters[start..], room);
            let mut line = Self::of(PLAIN, " ".repeat(if lines.is_empty() { 0 } else { hang }));
            for (character, style) in &characters[start..start + end] {
                line.push(*style, character.encode_utf8(&mut [0; 4]));
            }
            lines.push(line);
            start += next;
        }
        lines
    }
}

/// How many characters fit, and where the next line starts.
fn break_at(characters: &[(char, Style)], room: usize) -> (usize, usize) {
    let mut columns = 0;
    let mut space = None;
    for (index, (character, _)) in characters.iter().enumerate() {
        columns += character.width().unwrap_or(0);
        if *character == ' ' && index > 0 {
            space = Some(index);
        }
        if columns > room {
            // A space at the edge may hang over it; else the last space is where the line ends.
            let leading = characters.iter().take_while(|(c, _)| *c == ' ').count();
            return match space {
                Some(at) if at > leading => (at, at + 1),
                _ => (index.max(1), index.max(1)),
            };
        }
    }
    (characters.len(), characters.len())
}

/// Lines as text, for snapshots.
#[cfg(test)]
pub fn plain(lines: &[Line]) -> String {
    lines.iter().map(|line| line.paint(false)).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn colour_is_there_only_where_it_is_wanted() {
        let line = Line::of(RED, "no").add(PLAIN, " yes").add(BOLD, "!");
        assert_eq!(line.paint(false), "no yes!");
        assert_eq!(line.paint(true), "\u{1b}[31mno\u{1b}[0m yes\u{1b}[1m!\u{1b}[0m");
    }

    #[test]
    fn a_line_never_obeys_what_it_shows() {
        assert_eq!(Line::of(PLAIN, "a\u{1b}[2Jb\u{7}\nc").paint(true), "ab c");
    }

    #[test]
    fn lines_wrap_at_spaces_and_hang() {
        let lines = Line::of(PLAIN, "• one two three four five").wrap(12, 2);
        assert_eq!(plain(&lines), "• one two\n  three four\n  five");
        let long = Line::of(PLAIN, "abcdefghijklmnopqrst").wrap(10, 0);
        assert_eq!(plain(&long), "abcdefghij\nklmnopqrst");
    }

    #[test]
    fn lines_are_cut_with_their_styles() {
        let line = Line::of(RED, "abc").add(GREEN, "defg").cut(5);
        assert_eq!(line.plain(), "abcd…");
    }

    proptest! {
        #[test]
        fn wrapping_fits_and_loses_no_letter(text in "[a-z 日本]{0,80}", max in 12usize..40, hang in 0usize..4) {
            let lines = Line::of(PLAIN, &text).wrap(max, hang);
            let letters = |s: &str| s.chars().filter(|c| *c != ' ').collect::<String>();
            prop_assert_eq!(lines.iter().map(|l| letters(&l.plain())).collect::<String>(), letters(&text));
            for line in lines {
                prop_assert!(text::width(line.plain().trim_end()) <= max);
            }
        }
    }
}
