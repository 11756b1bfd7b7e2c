//! Text into the grid: cut to its place, in the theme's colours, and of a width on which all terminals agree.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthChar;

use crate::render::Line;
use crate::text;
use crate::tui::theme::Theme;

/// Marks that one letter may have: what people write has fewer, and a heap of them grows over the lines around it.
const MOST_MARKS: usize = 4;

/// Takes out what terminals do not agree about the width of: characters that join or vary others, flags, and heaps of accents.
/// An emoji of several is then several emojis of two columns each, everywhere, and a flag is its two letters.
pub fn steady(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut marks = 0;
    if text.chars().all(|c| steadied(&mut marks, c) == Some(c)) {
        return Cow::Borrowed(text);
    }
    marks = 0;
    Cow::Owned(text.chars().filter_map(|c| steadied(&mut marks, c)).collect())
}

/// What is written in the place of a character, after so many marks.
fn steadied(marks: &mut usize, c: char) -> Option<char> {
    *marks = if c.width() == Some(0) { *marks + 1 } else { 0 };
    match c {
        _ if *marks > MOST_MARKS => None,
        '\u{fe00}'..='\u{fe0f}'
        | '\u{200b}'..='\u{200d}'
        | '\u{2060}'
        | '\u{feff}'
        | '\u{1f3fb}'..='\u{1f3ff}'
        | '\u{e0000}'..='\u{e007f}'
        | '\u{e0100}'..='\u{e01ef}'
        | '\u{20e3}'
        | '\u{ad}' => None,
        '\u{2028}' | '\u{2029}' => Some(' '),
        '\u{1f1e6}'..='\u{1f1ff}' => char::from_u32(c as u32 - 0x1f1e6 + 'A' as u32),
        c => Some(c),
    }
}

/// Makes what a widget has written as steady as [`text`] does: each cell keeps what fits into its place.
pub fn settle(buffer: &mut Buffer, area: Rect) {
    for (y, x) in area.rows().flat_map(|row| (row.left()..row.right()).map(move |x| (row.y, x))) {
        let symbol = buffer[(x, y)].symbol().to_owned();
        let clean = text::clean_line(&symbol);
        let steady = steady(&clean);
        if symbol == " " || *steady == symbol {
            continue;
        }
        // The letter, and the accents that it keeps.
        let end = steady.char_indices().skip(1).find(|(_, c)| c.width() != Some(0)).map_or(steady.len(), |(at, _)| at);
        let kept = if end == 0 { " " } else { &steady[..end] };
        buffer[(x, y)].set_symbol(kept);
        let free = x + text::width(kept).max(1) as u16..x + text::width(&symbol) as u16;
        for x in free.start..free.end.min(area.right()) {
            buffer[(x, y)].set_symbol(" ");
        }
    }
}

/// Writes text that holds nothing a terminal obeys; gives the column after it.
pub fn text(buffer: &mut Buffer, x: u16, y: u16, room: u16, text: &str, style: Style) -> u16 {
    if room == 0 {
        return x;
    }
    buffer.set_stringn(x, y, steady(text), usize::from(room), style).0
}

/// Writes text, with `…` where it is cut.
pub fn cut(buffer: &mut Buffer, x: u16, y: u16, room: u16, words: &str, style: Style) -> u16 {
    if room == 0 {
        return x;
    }
    text(buffer, x, y, room, &text::cut(&steady(words), usize::from(room)), style)
}

/// Writes text that ends at a column; gives the column where it begins.
pub fn right(buffer: &mut Buffer, until: u16, y: u16, room: u16, words: &str, style: Style) -> u16 {
    let words = text::cut(&steady(words), usize::from(room));
    let x = until.saturating_sub(text::width(&words) as u16);
    text(buffer, x, y, room, &words, style);
    x
}

/// Writes a line, in the theme's colours over `base`; gives the column after it.
pub fn line(buffer: &mut Buffer, x: u16, y: u16, room: u16, line: &Line, theme: &Theme, base: Style) -> u16 {
    let (mut x, until) = (x, x + room);
    for (style, part) in line.parts() {
        if x >= until {
            break;
        }
        x = text(buffer, x, y, until - x, part, base.patch(theme.of(style)));
    }
    x
}

/// Shows where these words, given in lower case, are in a row that is written.
pub fn found(buffer: &mut Buffer, x: u16, y: u16, room: u16, words: &str, style: Style) {
    if words.is_empty() {
        return;
    }
    let cells: Vec<(u16, String)> =
        (x..x + room).map(|x| (x, buffer[(x, y)].symbol().to_lowercase())).filter(|(_, s)| !s.is_empty()).collect();
    let mut row = String::new();
    let mut columns = Vec::new();
    for (column, symbol) in &cells {
        columns.extend(std::iter::repeat_n(*column, symbol.len()));
        row.push_str(symbol);
    }
    for (at, _) in row.match_indices(words) {
        for column in &columns[at..(at + words.len()).min(columns.len())] {
            buffer[(*column, y)].set_style(style);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_emojis_fall_apart() {
        assert_eq!(steady("👩\u{200d}💻 ⚠\u{fe0f} 👍\u{1f3fd}"), "👩💻 ⚠ 👍");
        assert!(matches!(steady("日本語 ok"), Cow::Borrowed(_)));
    }

    #[test]
    fn flags_are_their_letters() {
        assert_eq!(steady("🇩🇪, 🇯"), "DE, J");
        assert_eq!(steady("one\u{2028}two"), "one two");
    }

    #[test]
    fn what_a_widget_wrote_keeps_its_columns() {
        let area = Rect::new(0, 0, 12, 1);
        let mut buffer = Buffer::empty(area);
        buffer.set_string(0, 0, "👩\u{200d}👧|🇩🇪|1\u{fe0f}\u{20e3}|日|e\u{301}", Style::new());
        settle(&mut buffer, area);
        let row: Vec<&str> = (0..12).map(|x| buffer[(x, 0)].symbol()).collect();
        let at = |symbol: &str| row.iter().position(|cell| *cell == symbol);
        assert_eq!((at("👩"), at("D"), at("日"), at("e\u{301}")), (Some(0), Some(3), Some(9), None), "{row:?}");
        assert!(row.iter().all(|symbol| *steady(symbol) == **symbol), "{row:?}");
    }

    #[test]
    fn accents_stay_and_heaps_of_them_do_not() {
        assert!(matches!(steady("ế e\u{302}\u{301}"), Cow::Borrowed(_)));
        assert_eq!(steady(&format!("a{}b", "\u{301}".repeat(100_000))), "a\u{301}\u{301}\u{301}\u{301}b");
    }
}
