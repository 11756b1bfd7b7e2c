//! The agent's words: markdown as styled lines.

use anstyle::Style;
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::{BOLD, CYAN, DIM, Line, PLAIN, table};

/// Renders markdown. Paragraphs are broken to `width` columns where one is given.
pub fn markdown(text: &str, width: Option<usize>) -> Vec<Line> {
    let text = crate::text::clean(text);
    let mut writer = Writer { width, ..Writer::default() };
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    for event in Parser::new_ext(&text, options) {
        writer.take(event);
    }
    writer.finish()
}

#[derive(Default)]
struct Writer {
    width: Option<usize>,
    lines: Vec<Line>,
    line: Line,
    /// Style of the text that comes, innermost last.
    styles: Vec<Style>,
    /// One for each open list: the next number, or none for bullets.
    lists: Vec<Option<u64>>,
    /// What stands before the next line of a list item, used once.
    marker: Option<Line>,
    quotes: usize,
    code: bool,
    link: Option<String>,
    rows: Vec<Vec<String>>,
    in_table: bool,
}

impl Writer {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(tag) => self.end(tag),
            Event::Text(text) | Event::Html(text) | Event::InlineHtml(text) => self.text(&text),
            Event::Code(code) => self.inline(CYAN, &code),
            Event::SoftBreak if self.in_table => self.text(" "),
            Event::SoftBreak => self.inline(PLAIN, " "),
            Event::HardBreak => self.flush(),
            Event::Rule => {
                self.gap();
                self.lines.push(Line::of(DIM, "─".repeat(self.width.unwrap_or(40).min(40))));
            }
            Event::TaskListMarker(done) => self.inline(PLAIN, if done { "[x] " } else { "[ ] " }),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph if self.marker.is_none() => self.gap(),
            Tag::Heading { level, .. } => {
                self.gap();
                self.styles.push(if (level as usize) < 3 { BOLD.underline() } else { BOLD });
            }
            Tag::BlockQuote(_) => {
                self.gap();
                self.quotes += 1;
            }
            Tag::CodeBlock(kind) => {
                self.flush();
                self.gap();
                self.code = true;
                if let CodeBlockKind::Fenced(name) = kind
                    && !name.is_empty()
                {
                    self.emit(Line::of(DIM, format!("  {name}")));
                }
            }
            Tag::List(first) => {
                self.flush();
                if self.lists.is_empty() {
                    self.gap();
                }
                self.lists.push(first);
            }
            Tag::Item => {
                self.flush();
                let depth = self.lists.len().saturating_sub(1);
                let marker = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "• ".to_owned(),
                };
                self.marker = Some(Line::of(PLAIN, "  ".repeat(depth)).add(DIM, marker));
            }
            Tag::Emphasis => self.styles.push(super::ITALIC),
            Tag::Strong => self.styles.push(BOLD),
            Tag::Strikethrough => self.styles.push(PLAIN.strikethrough()),
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.link = Some(dest_url.into_string());
                self.styles.push(PLAIN.underline());
            }
            Tag::Table(_) => {
                self.gap();
                self.in_table = true;
            }
            Tag::TableHead | Tag::TableRow => self.rows.push(Vec::new()),
            Tag::TableCell => {
                if let Some(row) = self.rows.last_mut() {
                    row.push(String::new());
                }
            }
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Paragraph | TagEnd::Item => self.flush(),
            TagEnd::Heading(_) => {
                self.flush();
                self.styles.pop();
            }
            TagEnd::BlockQuote(_) => {
                self.flush();
                self.quotes = self.quotes.saturating_sub(1);
            }
            TagEnd::CodeBlock => {
                self.flush();
                self.code = false;
            }
            TagEnd::List(_) => {
                self.flush();
                self.lists.pop();
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough => {
                self.styles.pop();
            }
            TagEnd::Link | TagEnd::Image => {
                self.styles.pop();
                if let Some(url) = self.link.take() {
                    let shown = self.line.plain();
                    if !url.is_empty() && !shown.ends_with(url.as_str()) {
                        self.inline(DIM, &format!(" ({url})"));
                    }
                }
            }
            TagEnd::Table => {
                self.in_table = false;
                let rows = std::mem::take(&mut self.rows);
                let rows = rows.into_iter().map(|row| row.into_iter().map(|c| Line::of(PLAIN, c)).collect()).collect();
                for line in table(rows, self.width) {
                    self.emit(line);
                }
            }
            TagEnd::HtmlBlock => self.flush(),
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if self.in_table {
            self.cell(text);
        } else if self.code {
            for line in text.lines() {
                self.emit(Line::of(DIM, "  │ ").add(CYAN, line));
            }
        } else {
            let style = self.style();
            for (index, line) in text.split('\n').enumerate() {
                if index > 0 {
                    self.flush();
                }
                self.line.push(style, line);
            }
        }
    }

    fn inline(&mut self, style: Style, text: &str) {
        if self.in_table {
            self.cell(text);
        } else {
            let style = style | self.style().get_effects();
            self.line.push(style, text);
        }
    }

    fn cell(&mut self, text: &str) {
        if let Some(cell) = self.rows.last_mut().and_then(|row| row.last_mut()) {
            cell.push_str(text);
        }
    }

    fn style(&self) -> Style {
        let effects = self.styles.iter().fold(PLAIN.get_effects(), |all, style| all | style.get_effects());
        PLAIN.effects(effects)
    }

    /// Ends the line that is being written.
    fn flush(&mut self) {
        if self.line == Line::new() && self.marker.is_none() {
            return;
        }
        let line = std::mem::take(&mut self.line);
        match self.marker.take() {
            Some(marker) => {
                let hang = marker.width();
                self.emit_wrapped(line.after(marker), hang);
            }
            None => {
                let inside = self.lists.len() * 2;
                self.emit_wrapped(line.indent(inside), inside);
            }
        }
    }

    fn emit_wrapped(&mut self, line: Line, hang: usize) {
        match self.width {
            Some(width) => {
                for part in line.wrap(width.saturating_sub(self.quotes * 2), hang) {
                    self.emit(part);
                }
            }
            None => self.emit(line),
        }
    }

    fn emit(&mut self, line: Line) {
        let quotes = self.quotes;
        self.lines.push(if quotes > 0 { line.after(Line::of(DIM, "│ ".repeat(quotes))) } else { line });
    }

    /// An empty line between blocks.
    fn gap(&mut self) {
        self.flush();
        if self.lists.len() < 2 && self.lines.last().is_some_and(|line| !line.is_blank()) {
            self.lines.push(Line::new());
        }
    }

    fn finish(mut self) -> Vec<Line> {
        self.flush();
        while self.lines.last().is_some_and(Line::is_blank) {
            self.lines.pop();
        }
        self.lines
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::super::plain;
    use super::*;

    #[test]
    fn blocks_are_laid_out() {
        let text = "# Fixed\n\nThe **parser** dropped the `last` byte; see [the issue](https://x.test/1).\n\n\
                    1. read\n2. write\n   - inner\n   - more\n\n> quoted\n\n```rust\nfn main() {\n}\n```\n\n\
                    | a | b |\n|---|---|\n| one | 2 |\n\n---\n\ndone";
        insta::assert_snapshot!(plain(&markdown(text, Some(60))), @r#"
        Fixed

        The parser dropped the last byte; see the issue
        (https://x.test/1).

        1. read
        2. write
          • inner
          • more

        │ quoted

          rust
          │ fn main() {
          │ }

        a    b
        one  2

        ────────────────────────────────────────

        done
        "#);
    }

    #[test]
    fn words_are_styled() {
        let lines = markdown("a **b** *c* `d`", None);
        insta::assert_snapshot!(lines[0].paint(true).replace('\u{1b}', "^"), @"a ^[1mb^[0m ^[3mc^[0m ^[36md^[0m");
    }

    #[test]
    fn long_items_hang() {
        insta::assert_snapshot!(plain(&markdown("- one two three four five six", Some(16))), @r#"
        • one two three
          four five six
        "#);
    }

    #[test]
    fn escapes_never_reach_the_terminal() {
        let lines = markdown("hi \u{1b}]0;x\u{7}there\n\n```\n\u{1b}[2Jcode\n```", None);
        assert!(lines.iter().all(|line| !line.paint(false).contains('\u{1b}')));
    }
}
