//! What the state looks like. Nothing here changes it.

mod inbox;
mod list;
mod overlay;
mod paint;
mod status;
mod task;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::widgets::{Clear, Widget};

use super::state::{Overlay, State};
use super::theme::Role;

pub use overlay::help_rows;
pub use status::tabs;
pub use task::{fact_rows, pane_at};

/// Lines above the first task of the list.
pub const LIST_HEAD: u16 = 1;

/// Smallest screen that is drawn.
const LEAST: (u16, u16) = (40, 8);

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let area = frame.area();
    // The terminal has become another one since; it says so in a moment.
    if (area.width, area.height) != state.size {
        return;
    }
    let buffer = frame.buffer_mut();
    buffer.set_style(area, state.theme.base());
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("{}×{} is too small", area.width, area.height);
        buffer.set_stringn(area.x, area.y, text, usize::from(area.width), state.theme.base());
        return;
    }
    let layout = state.layout();
    status::header(buffer, layout.header, state);
    if layout.list.width > 0 {
        list::draw(buffer, layout.list, state);
    }
    if layout.border.width > 0 {
        let style = state.theme.style(if state.resizing { Role::Accent } else { Role::Border });
        for y in layout.border.top()..layout.border.bottom() {
            buffer.set_string(layout.border.x, y, "│", style);
        }
    }
    if layout.view.width > 0 {
        task::draw(buffer, &layout, state);
    }
    let mut cursor = status::footer(buffer, layout.footer, state);
    if let Some(overlay) = &state.overlay {
        cursor = match overlay {
            Overlay::Inbox { selected, top } => {
                inbox::draw(buffer, area, state, *selected, *top);
                None
            }
            other => overlay::draw(buffer, area, state, other),
        };
    }
    if let Some(cursor) = cursor.filter(|at| area.contains(*at)) {
        frame.set_cursor_position(cursor);
    }
}

/// A box in the middle of everything, empty, with a title. Gives its inside.
fn window(buffer: &mut Buffer, area: Rect, size: (u16, u16), title: &str, state: &State) -> Rect {
    let width = size.0.min(area.width.saturating_sub(2)).max(1);
    let height = size.1.min(area.height.saturating_sub(2)).max(1);
    let place = Rect::new(area.x + (area.width - width) / 2, area.y + (area.height - height) / 2, width, height);
    // A character of two columns that reaches over the edge would take the border's place.
    for y in place.top()..place.bottom() {
        if place.x > area.x && crate::text::width(buffer[(place.x - 1, y)].symbol()) > 1 {
            buffer[(place.x - 1, y)].set_symbol(" ");
        }
    }
    Clear.render(place, buffer);
    buffer.set_style(place, state.theme.base());
    let border = ratatui::widgets::Block::bordered()
        .border_type(ratatui::widgets::BorderType::Rounded)
        .border_style(state.theme.style(Role::Accent))
        .title(ratatui::text::Span::styled(format!(" {title} "), state.theme.bold(Role::Accent)));
    let inside = border.inner(place);
    border.render(place, buffer);
    Rect::new(inside.x + 1, inside.y, inside.width.saturating_sub(2), inside.height)
}

/// A scroll bar: `from` to `until` of `whole` are seen.
fn bar(buffer: &mut Buffer, area: Rect, from: u64, until: u64, whole: u64, state: &State) {
    if area.width == 0 || area.height == 0 || until.saturating_sub(from) >= whole {
        return;
    }
    let rows = u64::from(area.height);
    let size = ((until - from) * rows / whole).clamp(1, rows);
    let start = if until >= whole { rows - size } else { (from * rows / whole).min(rows - size) };
    for row in 0..rows {
        let inside = (start..start + size).contains(&row);
        let (mark, role) = if inside { ("┃", Role::Dim) } else { ("│", Role::Border) };
        buffer.set_string(area.x, area.y + row as u16, mark, state.theme.style(role));
    }
}

/// Where the cursor is in a line of so many columns, of which the end is shown.
fn cursor_in(area: Rect, column: usize) -> Position {
    Position::new(area.x + (column as u16).min(area.width.saturating_sub(1)), area.y)
}

#[cfg(test)]
#[path = "../view_tests.rs"]
mod tests;
