//! The list of tasks.

use cadence_protocol::{Executor, Task, TaskStatus};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::{LIST_HEAD, bar, paint};
use crate::text::{self, clean_line};
use crate::tui::keymap::Action;
use crate::tui::state::{BEATS, Connection, Entry, Focus, Row, State, Tab, elapsed, needs_person};
use crate::tui::theme::{Role, Theme};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Mark and colour of a status.
pub fn mark(task: &Task) -> (&'static str, Role) {
    match task.status {
        TaskStatus::Waiting if needs_person(task) => ("◆", Role::Warn),
        TaskStatus::Waiting => ("◇", Role::Paused),
        TaskStatus::Failed => ("✗", Role::Bad),
        TaskStatus::Running => ("●", Role::Running),
        TaskStatus::Paused => ("‖", Role::Paused),
        TaskStatus::PrOpen => ("⇄", Role::Review),
        TaskStatus::Pending => ("○", Role::Dim),
        TaskStatus::Completed => ("✓", Role::Good),
        TaskStatus::Cancelled => ("−", Role::Dim),
    }
}

/// The status in words.
pub fn status(task: &Task) -> &'static str {
    use cadence_protocol::WaitingFor;
    match (task.status, task.waiting_for) {
        (TaskStatus::Waiting, Some(WaitingFor::Answer)) => "has a question",
        (TaskStatus::Waiting, Some(WaitingFor::RateLimit)) => "rate limited",
        (TaskStatus::Waiting, _) => "needs approval",
        (TaskStatus::PrOpen, _) => "pull request open",
        (TaskStatus::Completed, _) => "done",
        (status, _) => status.as_str(),
    }
}

pub fn draw(buffer: &mut Buffer, area: Rect, state: &State) {
    head(buffer, Rect { height: LIST_HEAD.min(area.height), ..area }, state);
    let body = Rect {
        y: area.y + LIST_HEAD,
        height: area.height.saturating_sub(LIST_HEAD),
        width: area.width.saturating_sub(1),
        ..area
    };
    let each = state.layout().each;
    let entries = state.list.entries();
    if entries.is_empty() {
        return empty(buffer, body, state);
    }
    let mut y = body.y;
    let mut last = state.list.top;
    for (index, entry) in entries.iter().enumerate().skip(state.list.top) {
        match entry {
            Entry::Repository(name) => {
                if y >= body.bottom() {
                    break;
                }
                let style = state.theme.bold(Role::Accent);
                paint::cut(buffer, body.x + 1, y, body.width.saturating_sub(1), &clean_line(name), style);
                y += 1;
            }
            Entry::Task(id) => {
                let height = each.min(body.bottom().saturating_sub(y));
                let Some(row) = state.list.get(*id).filter(|_| height > 0) else { break };
                task(buffer, Rect { y, height, ..body }, row, state);
                y += height;
            }
        }
        last = index + 1;
    }
    let place = Rect { x: area.right().saturating_sub(1), width: 1, ..body };
    bar(buffer, place, state.list.top as u64, last as u64, entries.len() as u64, state);
}

fn head(buffer: &mut Buffer, area: Rect, state: &State) {
    if state.list.filter.is_empty() && !state.list.grouped {
        return;
    }
    let mut words = Vec::new();
    if !state.list.filter.is_empty() {
        let found = text::count(state.list.shown().count() as u64, "task");
        words.push(format!("“{}”: {found}", clean_line(&state.list.filter)));
    }
    if state.list.grouped {
        words.push("by repository".to_owned());
    }
    let style = state.theme.style(Role::Dim);
    paint::cut(buffer, area.x + 1, area.y, area.width.saturating_sub(2), &words.join(" · "), style);
}

fn empty(buffer: &mut Buffer, area: Rect, state: &State) {
    let key = |action| state.keymap.name(action);
    let words: Vec<String> = match (&state.connection, state.list.tab) {
        (Connection::Connecting, _) => vec!["…".to_owned()],
        (Connection::Refused { error, hints }, _) => std::iter::once(error.clone()).chain(hints.clone()).collect(),
        _ if !state.list.filter.is_empty() => {
            vec!["No task has these words.".to_owned(), format!("{} takes the filter away.", key(Action::Back))]
        }
        (_, Tab::Active) => vec![
            "Nothing to do.".to_owned(),
            format!("{} gives an agent a task,", key(Action::New)),
            format!("{} lets you say it.", key(Action::Voice)),
        ],
        (_, Tab::Review) => vec!["No change waits to be looked at.".to_owned()],
        (_, Tab::Archived) => vec!["Nothing was put away.".to_owned()],
    };
    let lines = words.iter().flat_map(|words| {
        crate::render::Line::of(crate::render::PLAIN, words).wrap(usize::from(area.width.saturating_sub(4)), 0)
    });
    for (line, y) in lines.zip(area.y + 1..area.bottom()) {
        let style = state.theme.style(Role::Dim);
        paint::cut(buffer, area.x + 2, y, area.width.saturating_sub(3), &line.plain(), style);
    }
}

fn task(buffer: &mut Buffer, area: Rect, row: &Row, state: &State) {
    let (theme, task) = (&state.theme, &row.task);
    let selected = state.list.selected() == Some(task.id);
    let focused = selected && state.focus == Focus::List;
    let base = if selected { theme.style(Role::Selected) } else { Style::new() };
    // Inverted as a whole would be loud where nobody works.
    let base = if selected && !focused { base.remove_modifier(Modifier::REVERSED) } else { base };
    if selected {
        buffer.set_style(area, base);
    }
    let edge = if focused { "▌" } else { " " };
    paint::text(buffer, area.x, area.y, 1, edge, base.patch(theme.style(Role::Accent)));
    if area.height > 1 {
        paint::text(buffer, area.x, area.y + 1, 1, edge, base.patch(theme.style(Role::Accent)));
    }
    let (mark, role) = mark(task);
    let marked = state.list.marked.contains(&task.id);
    let sign = if marked { ("■", Role::Accent) } else { (mark, role) };
    paint::text(buffer, area.x + 1, area.y, 2, sign.0, base.patch(theme.bold(sign.1)));
    let end = area.right();
    let time = elapsed(task, state.now).map(text::duration).unwrap_or_default();
    let from = paint::right(buffer, end, area.y, 9, &time, base.patch(theme.style(Role::Dim)));
    let room = from.saturating_sub(area.x + 4);
    let loud = needs_person(task) || focused;
    let style = if loud { theme.bold(Role::Text) } else { theme.base() };
    paint::cut(buffer, area.x + 3, area.y, room, &clean_line(&task.title(200)), base.patch(style));
    if area.height > 1 {
        details(
            buffer,
            Rect { x: area.x + 3, y: area.y + 1, width: area.width.saturating_sub(3), height: 1 },
            row,
            state,
            base,
        );
    }
}

/// The second line of a task: what it is about at the left, what it cost and changed at the right.
fn details(buffer: &mut Buffer, area: Rect, row: &Row, state: &State, base: Style) {
    let (theme, task) = (&state.theme, &row.task);
    let dim = base.patch(theme.style(Role::Dim));
    let mut until = area.right();
    let live = matches!(task.status, TaskStatus::Running | TaskStatus::Waiting);
    if live && area.width > 40 {
        until = until.saturating_sub(BEATS as u16);
        paint::text(buffer, until, area.y, BEATS as u16, &spark(row, state), base.patch(theme.style(Role::Running)));
        until = until.saturating_sub(1);
    }
    until = changes(buffer, until, area, task, theme, base);
    if let Some(cost) = task.metadata.estimated_cost.filter(|cost| *cost > 0.0) {
        until = paint::right(buffer, until, area.y, area.width, &text::money(cost), dim).saturating_sub(1);
    }
    let (_, role) = mark(task);
    let mut x = area.x;
    let room = |x: u16| until.saturating_sub(x);
    let word = status(task);
    if task.status != TaskStatus::Running {
        x = paint::cut(buffer, x, area.y, room(x), word, base.patch(theme.style(role)));
        x = paint::cut(buffer, x, area.y, room(x), " · ", dim);
    }
    let error = task.error.as_ref().filter(|_| task.status == TaskStatus::Failed).map(|error| clean_line(error));
    // With little room what it does, or did not, matters more than where.
    if let Some(activity) = row.activity.as_ref().filter(|_| live).or(error.as_ref()).filter(|_| area.width < 70) {
        x = paint::cut(buffer, x, area.y, room(x).min(area.width / 3), &clean_line(&task.repo_name), dim);
        x = paint::cut(buffer, x, area.y, room(x), " · ", dim);
        paint::cut(buffer, x, area.y, room(x), activity, base.patch(theme.base()));
        return;
    }
    let mut parts = vec![clean_line(&task.repo_name), clean_line(&task.branch), agent(task)];
    parts.extend(machine(task));
    parts.extend(row.activity.clone().filter(|_| live).or(error));
    paint::cut(buffer, x, area.y, room(x), &parts.join(" · "), dim);
}

/// The agent and its model.
pub fn agent(task: &Task) -> String {
    let model = clean_line(&task.model);
    if model.is_empty() { clean_line(&task.agent) } else { format!("{} {model}", clean_line(&task.agent)) }
}

/// The machine, where it is not the server's own.
pub fn machine(task: &Task) -> Option<String> {
    match (task.executor, task.machine_id) {
        (Executor::Local, None) => None,
        (executor, None) => Some(executor.to_string()),
        (executor, Some(id)) => Some(format!("{executor} {}", cadence_protocol::short_id(id))),
    }
}

/// Lines that were added and removed, before a column; gives the column before them.
pub fn changes(buffer: &mut Buffer, until: u16, area: Rect, task: &Task, theme: &Theme, base: Style) -> u16 {
    let (added, removed) = (task.metadata.lines_added.unwrap_or(0), task.metadata.lines_removed.unwrap_or(0));
    if added + removed == 0 {
        return until;
    }
    let room = until.saturating_sub(area.x);
    let x = paint::right(buffer, until, area.y, room, &format!("−{removed}"), base.patch(theme.style(Role::Bad)));
    let room = x.saturating_sub(area.x + 1);
    let x = paint::right(
        buffer,
        x.saturating_sub(1),
        area.y,
        room,
        &format!("+{added}"),
        base.patch(theme.style(Role::Good)),
    );
    x.saturating_sub(1)
}

/// How much happened lately.
fn spark(row: &Row, state: &State) -> String {
    let levels = row.levels(state.now);
    // A scale that single events do not fill.
    let most = levels.iter().copied().max().unwrap_or(0).max(8);
    levels
        .iter()
        .map(|level| match level {
            0 => ' ',
            level => BARS[((*level as usize * BARS.len()).div_ceil(most as usize)).clamp(1, BARS.len()) - 1],
        })
        .collect()
}
