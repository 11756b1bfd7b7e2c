//! The top line and the bottom line.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::{cursor_in, paint};
use crate::text;
use crate::tui::keymap::{Action, Scope};
use crate::tui::state::{Connection, Focus, Overlay, Pane, PromptKind, State, Tab};
use crate::tui::theme::Role;

const NAME: &str = " cadence ";

/// The tabs and the columns that each takes.
pub fn tabs(state: &State) -> Vec<(Tab, u16, u16)> {
    let mut x = text::width(NAME) as u16;
    let columns = state.size.0;
    Tab::ALL
        .into_iter()
        .map(|tab| {
            let from = x;
            x += text::width(&tab_text(state, tab)) as u16;
            (tab, from.min(columns), x.min(columns))
        })
        .collect()
}

fn tab_text(state: &State, tab: Tab) -> String {
    match state.list.count(tab) {
        0 => format!(" {} ", tab.name()),
        count => format!(" {} {count} ", tab.name()),
    }
}

pub fn header(buffer: &mut Buffer, area: Rect, state: &State) {
    let theme = &state.theme;
    buffer.set_style(area, theme.style(Role::Bar));
    let base = theme.style(Role::Bar);
    paint::text(buffer, area.x, area.y, area.width, NAME, base.patch(theme.bold(Role::Accent)));
    for (tab, from, until) in tabs(state) {
        let style = if tab == state.list.tab { theme.bold(Role::Text) } else { theme.style(Role::Dim) };
        let style =
            if tab == state.list.tab { style.add_modifier(ratatui::style::Modifier::UNDERLINED) } else { style };
        paint::text(buffer, from, area.y, until - from, &tab_text(state, tab), base.patch(style));
    }
    let left = tabs(state).last().map_or(0, |(_, _, until)| *until);
    let (mark, words, role) = connection(state);
    let mut until = area.right().saturating_sub(1);
    let room = until.saturating_sub(left + 1);
    until = paint::right(buffer, until, area.y, room, &format!("{mark} {words}"), base.patch(theme.style(role)));
    let needing = state.list.needing();
    if needing > 0 {
        let verb = if needing == 1 { "needs" } else { "need" };
        let words = format!("{needing} {verb} you");
        let room = until.saturating_sub(left + 3);
        if usize::from(room) >= text::width(&words) {
            paint::right(buffer, until - 2, area.y, room, &words, base.patch(theme.bold(Role::Warn)));
        }
    }
}

/// How the server is reached: a mark, a word or two, and their colour.
fn connection(state: &State) -> (&'static str, String, Role) {
    match &state.connection {
        Connection::Connecting => ("◌", "connecting".to_owned(), Role::Dim),
        Connection::Live => ("●", "live".to_owned(), Role::Good),
        Connection::CatchingUp => ("◐", "catching up".to_owned(), Role::Warn),
        Connection::Lost { since, .. } => {
            let gone = std::time::Duration::try_from(state.now - *since).unwrap_or_default();
            ("○", format!("reconnecting, {}", text::duration(gone)), Role::Warn)
        }
        Connection::Refused { .. } => ("✗", "not connected".to_owned(), Role::Bad),
    }
}

/// What is typed, what was said, what is wrong, or the keys of this place; gives where the cursor is.
pub fn footer(buffer: &mut Buffer, area: Rect, state: &State) -> Option<Position> {
    let theme = &state.theme;
    let base = theme.style(Role::Bar);
    buffer.set_style(area, base);
    let dim = base.patch(theme.style(Role::Dim));
    if let Some(prompt) = &state.prompt {
        let name = match prompt.kind {
            PromptKind::Filter => " filter ",
            PromptKind::Search => " search ",
        };
        let x = paint::text(buffer, area.x, area.y, area.width, name, base.patch(theme.bold(Role::Accent)));
        let room = area.right().saturating_sub(x);
        let scroll = prompt.input.visual_scroll(usize::from(room.saturating_sub(1)));
        let shown: String = prompt.input.value().chars().skip(scroll).collect();
        paint::text(buffer, x, area.y, room, &shown, base.patch(theme.base()));
        let field = Rect::new(x, area.y, room, 1);
        return Some(cursor_in(field, prompt.input.visual_cursor().saturating_sub(scroll)));
    }
    let (mark, words, hint, role) = if let Some(notice) = &state.notice {
        let mark = if notice.bad { "✗" } else { "✓" };
        (mark, notice.text.clone(), notice.hint.clone(), if notice.bad { Role::Bad } else { Role::Good })
    } else if let Some((message, hint)) = &state.trouble {
        ("!", format!("the server cannot store what happens: {message}"), hint.clone(), Role::Bad)
    } else if let Connection::Refused { error, hints } = &state.connection {
        ("✗", error.clone(), hints.last().cloned(), Role::Bad)
    } else if let Connection::Lost { reason, .. } = &state.connection {
        ("○", format!("no connection: {reason}"), Some("agents go on".to_owned()), Role::Warn)
    } else {
        hints(buffer, area, state);
        return None;
    };
    let x = paint::text(buffer, area.x + 1, area.y, 2, mark, base.patch(theme.style(role)));
    let room = |x: u16| area.right().saturating_sub(x + 1);
    let x = paint::cut(buffer, x + 1, area.y, room(x), &text::clean_line(&words), base.patch(theme.base()));
    if let Some(hint) = hint.filter(|_| room(x) > 12) {
        paint::cut(buffer, x + 2, area.y, room(x + 2), &text::clean_line(&hint), dim);
    }
    None
}

/// The keys that matter here, as many as there is room for.
fn hints(buffer: &mut Buffer, area: Rect, state: &State) {
    let theme = &state.theme;
    let base = theme.style(Role::Bar);
    let mut x = area.x + 1;
    if !state.list.marked.is_empty() && state.focus == Focus::List {
        let words = format!("{} marked  ", state.list.marked.len());
        x = paint::text(buffer, x, area.y, area.width, &words, base.patch(theme.bold(Role::Accent)));
    }
    for action in useful(state) {
        let entry = action.entry();
        let key = state.keymap.name(action);
        if key.is_empty() {
            continue;
        }
        let width = (text::width(&key) + 1 + text::width(entry.hint) + 2) as u16;
        if x + width > area.right() {
            break;
        }
        x = paint::text(buffer, x, area.y, width, &key, base.patch(theme.style(Role::Accent)));
        x = paint::text(buffer, x + 1, area.y, width, entry.hint, base.patch(theme.style(Role::Dim))) + 2;
    }
}

fn useful(state: &State) -> Vec<Action> {
    use cadence_protocol::TaskStatus;
    let mut out = Vec::new();
    if let Some(Overlay::Inbox { .. }) = state.overlay {
        return vec![Action::Allow, Action::AllowAlways, Action::Deny, Action::EditFirst, Action::InboxOpen];
    }
    match state.focus {
        Focus::List => out.push(Action::Open),
        Focus::View => out.push(Action::Close),
    }
    if let Some(task) = state.current() {
        if state.approval_of(task.id).is_some() {
            out.extend([Action::Allow, Action::Deny]);
        }
        out.push(Action::Message);
        match task.status {
            TaskStatus::Paused => out.push(Action::Resume),
            status if status.is_end() => out.push(Action::Apply),
            _ => out.push(Action::Pause),
        }
        if !task.status.is_end() {
            out.push(Action::Cancel);
        } else if state.focus == Focus::List {
            out.push(Action::Archive);
        }
    }
    match (state.focus, state.view.as_ref().map(|view| view.pane)) {
        (Focus::View, Some(Pane::Transcript | Pane::Events)) => {
            out.extend([Action::Toggle, Action::Search, Action::End, Action::PaneNext]);
        }
        (Focus::View, _) => out.extend([Action::Search, Action::PaneNext]),
        (Focus::List, _) => out.extend([Action::New, Action::Voice, Action::Inbox, Action::Filter, Action::Mark]),
    }
    out.extend([Action::Palette, Action::Help, Action::Quit]);
    // What another key hides here is not offered.
    let hidden = |action: &Action| {
        let scope = action.entry().scope;
        scope == Scope::Global && state.focus == Focus::View && *action == Action::New
    };
    out.retain(|action| !hidden(action) && !action.entry().hint.is_empty());
    out
}
