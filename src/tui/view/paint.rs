//! Text into the grid: cut to its place, in the theme's colours, and of a width on which all terminals agree.

use std::borrow::Cow;

use ratatui::buffer::Buffer;
use ratatui::style::Style;

use crate::render::Line;
use crate::text;
use crate::tui::theme::Theme;

/// Takes out what terminals do not agree about the width of: characters that join or vary others. An emoji of several is then
/// several emojis of two columns each, everywhere.
pub fn steady(text: &str) -> Cow<'_, str> {
    let unsteady = |c: char| {
        matches!(c,
            '\u{fe00}'..='\u{fe0f}' | '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}' | '\u{1f3fb}'..='\u{1f3ff}'
            | '\u{e0000}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}' | '\u{20e3}' | '\u{ad}')
    };
    if text.contains(unsteady) { Cow::Owned(text.replace(unsteady, "")) } else { Cow::Borrowed(text) }
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
}
