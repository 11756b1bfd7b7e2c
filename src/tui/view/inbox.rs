//! What waits for an answer, over all tasks.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::{paint, window};
use crate::render::{Line, PLAIN, REQUEST_LINES, request};
use crate::text::{self, clean_line};
use crate::tui::keymap::Action;
use crate::tui::state::State;
use crate::tui::theme::Role;

pub fn draw(buffer: &mut Buffer, area: Rect, state: &State, selected: usize, top: usize) {
    let count = state.approvals.len();
    let title = match count {
        0 => "Inbox".to_owned(),
        1 => "Inbox: one request".to_owned(),
        count => format!("Inbox: {count} requests"),
    };
    let inside = window(buffer, area, (110, area.height), &title, state);
    let theme = &state.theme;
    if count == 0 {
        paint::text(buffer, inside.x, inside.y + 1, inside.width, "Nothing waits for you.", theme.style(Role::Dim));
        return;
    }
    let rows = (count as u16).min((inside.height / 3).max(1));
    let first = selected.saturating_sub(usize::from(rows) - 1);
    for (index, y) in (first..count).zip(inside.y..inside.y + rows) {
        let approval = &state.approvals[index];
        let chosen = index == selected;
        let base = if chosen { theme.style(Role::Selected) } else { Style::new() };
        buffer.set_style(Rect { y, height: 1, ..inside }, base);
        let waits = std::time::Duration::try_from(state.now - approval.created_at).unwrap_or_default();
        let from =
            paint::right(buffer, inside.right(), y, 10, &text::duration(waits), base.patch(theme.style(Role::Dim)));
        let x = paint::text(buffer, inside.x, y, 2, "◆ ", base.patch(theme.bold(Role::Warn)));
        let what = format!("{} {}", clean_line(&approval.tool), crate::render::tool_summary(&approval.input));
        let room = from.saturating_sub(x + 1);
        let x = paint::cut(buffer, x, y, room / 2, &what, base.patch(theme.bold(Role::Text)));
        if let Some(row) = state.list.get(approval.task_id) {
            let of = format!("  {} · {}", clean_line(&row.task.repo_name), clean_line(&row.task.title(80)));
            paint::cut(buffer, x, y, from.saturating_sub(x + 1), &of, base.patch(theme.style(Role::Dim)));
        }
    }
    let Some(approval) = state.approvals.get(selected) else { return };
    let line = inside.y + rows;
    paint::text(
        buffer,
        inside.x,
        line,
        inside.width,
        &"─".repeat(usize::from(inside.width)),
        theme.style(Role::Border),
    );
    let body = Rect { y: line + 1, height: (inside.bottom() - 1).saturating_sub(line + 1), ..inside };
    let lines: Vec<Line> = request(approval.kind, &approval.tool, &approval.input, REQUEST_LINES)
        .into_iter()
        .flat_map(|line| line.wrap(usize::from(body.width), 6))
        .collect();
    let most = lines.len().saturating_sub(usize::from(body.height));
    let top = top.min(most);
    for (line, y) in lines.iter().skip(top).zip(body.y..body.bottom()) {
        paint::line(buffer, body.x, y, body.width, line, theme, Style::new());
    }
    let more = most - top;
    let mut x = inside.x;
    let y = inside.bottom() - 1;
    for (action, words) in [
        (Action::Allow, "allow or answer"),
        (Action::AllowAlways, "always"),
        (Action::EditFirst, "edit first"),
        (Action::Deny, "deny"),
        (Action::InboxOpen, "open the task"),
        (Action::InboxClose, "back"),
    ] {
        let room = |x: u16| inside.right().saturating_sub(x);
        x = paint::text(buffer, x, y, room(x), &state.keymap.name(action), theme.style(Role::Accent));
        x = paint::text(buffer, x, y, room(x), &format!(" {words}  "), theme.style(Role::Dim));
    }
    if more > 0 {
        let words = Line::of(PLAIN, format!(" {} below · pagedown ", text::count(more as u64, "line")));
        paint::right(buffer, inside.right(), body.bottom() - 1, inside.width, &words.plain(), theme.bold(Role::Warn));
    }
}
