//! The open task: its transcript, diff, events or facts.

use cadence_protocol::Task;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::list::{agent, changes, machine, mark, status};
use super::{bar, paint};
use crate::render::{DIM, GREEN, Line, PLAIN, RED};
use crate::text::{self, clean_line};
use crate::tui::keymap::Action;
use crate::tui::state::{DiffRow, Focus, Layout, Pane, Place, State, TaskView, elapsed};
use crate::tui::theme::Role;

pub fn draw(buffer: &mut Buffer, layout: &Layout, state: &State) {
    let shown = state.view.as_ref().and_then(|view| Some((view, state.list.get(view.id)?)));
    let Some((view, row)) = shown else { return };
    let area = layout.view;
    heading(buffer, area, layout, &row.task, state);
    panes(buffer, area, layout, view, state);
    match view.pane {
        Pane::Transcript | Pane::Events => transcript(buffer, layout, view, state),
        Pane::Diff => diff(buffer, layout, view, state),
        Pane::Facts => facts(buffer, layout, view, &row.task, state),
    }
    search(buffer, layout, view, state);
    let asked = state.approvals.iter().find(|approval| approval.task_id == view.id);
    if let Some(approval) = asked.filter(|_| layout.ask.height > 0) {
        request_keys(buffer, layout.ask, approval, state);
    }
}

fn heading(buffer: &mut Buffer, area: Rect, layout: &Layout, task: &Task, state: &State) {
    let theme = &state.theme;
    let (sign, role) = mark(task);
    let focused = state.focus == Focus::View;
    let room = area.width.saturating_sub(2);
    paint::text(buffer, area.x + 1, area.y, room, sign, theme.bold(role));
    let mut until = area.right().saturating_sub(1);
    if layout.head < 3 {
        until = paint::right(buffer, until, area.y, 20, status(task), theme.style(role)).saturating_sub(1);
    }
    let style = if focused { theme.bold(Role::Accent) } else { theme.bold(Role::Text) };
    paint::cut(buffer, area.x + 3, area.y, until.saturating_sub(area.x + 3), &clean_line(&task.title(300)), style);
    if layout.head < 3 {
        return;
    }
    let line = Rect { y: area.y + 1, height: 1, ..area };
    let dim = theme.style(Role::Dim);
    let mut until = area.right().saturating_sub(1);
    until = changes(buffer, until, line, task, theme, Style::new());
    let mut facts = Vec::new();
    facts.extend(task.metadata.estimated_cost.filter(|cost| *cost > 0.0).map(text::money));
    facts.extend(elapsed(task, state.now).map(text::duration));
    if !facts.is_empty() {
        let room = until.saturating_sub(area.x + 3);
        until = paint::right(buffer, until, line.y, room, &facts.join(" · "), dim).saturating_sub(1);
    }
    let room = |x: u16| until.saturating_sub(x);
    let x = paint::cut(buffer, area.x + 3, line.y, room(area.x + 3), status(task), theme.style(role));
    let parts: Vec<String> = [clean_line(&task.repo_name), clean_line(&task.branch), agent(task)]
        .into_iter()
        .chain(machine(task))
        .filter(|part| !part.is_empty())
        .collect();
    paint::cut(buffer, x, line.y, room(x), &format!(" · {}", parts.join(" · ")), dim);
}

/// Row of the names of the panes.
fn panes_row(layout: &Layout) -> Option<u16> {
    match layout.head {
        0 | 1 => None,
        2 => Some(layout.view.y + 1),
        _ => Some(layout.view.y + 2),
    }
}

fn pane_places(layout: &Layout) -> Vec<(Pane, u16, u16)> {
    let mut x = layout.view.x + 3;
    let until = layout.view.right();
    Pane::ALL
        .into_iter()
        .map(|pane| {
            let from = x;
            x += text::width(pane.name()) as u16 + 2;
            (pane, from.min(until), (x - 2).min(until))
        })
        .collect()
}

/// The pane whose name is there.
pub fn pane_at(layout: Layout, at: Position) -> Option<Pane> {
    if panes_row(&layout) != Some(at.y) {
        return None;
    }
    pane_places(&layout).into_iter().find(|(_, from, until)| (*from..*until).contains(&at.x)).map(|(pane, _, _)| pane)
}

fn panes(buffer: &mut Buffer, area: Rect, layout: &Layout, view: &TaskView, state: &State) {
    let Some(y) = panes_row(layout) else { return };
    let theme = &state.theme;
    for (pane, from, until) in pane_places(layout) {
        let style = if pane == view.pane {
            theme.bold(Role::Text).add_modifier(ratatui::style::Modifier::UNDERLINED)
        } else {
            theme.style(Role::Dim)
        };
        paint::text(buffer, from, y, until - from, pane.name(), style);
    }
    let words = match view.pane {
        Pane::Transcript | Pane::Events => match view.transcript.place() {
            Place::End => "following".to_owned(),
            Place::Top { seq, .. } => format!("{seq} of {}", view.transcript.end()),
        },
        Pane::Diff => match &view.diff.files {
            Some(files) => text::count(files.len() as u64, "file"),
            None => String::new(),
        },
        Pane::Facts => String::new(),
    };
    let names = pane_places(layout).last().map_or(area.x, |(_, _, until)| *until);
    let room = area.right().saturating_sub(names + 2);
    if usize::from(room) > text::width(&words) {
        paint::right(buffer, area.right().saturating_sub(1), y, room, &words, theme.style(Role::Dim));
    }
}

fn transcript(buffer: &mut Buffer, layout: &Layout, view: &TaskView, state: &State) {
    let (theme, body) = (&state.theme, layout.body);
    let (width, height) = layout.body_size();
    let transcript = &view.transcript;
    let shown = transcript.shown(width, height);
    if shown.is_empty() {
        let words = match (transcript.is_loading(), transcript.end()) {
            (true, _) => "…",
            (_, 0) => "Nothing has happened yet.",
            _ => "",
        };
        paint::text(buffer, body.x + 2, body.y, body.width, words, theme.style(Role::Dim));
        return;
    }
    let words = view.search.as_ref().map(|search| search.words.as_str()).unwrap_or_default();
    for (line, y) in shown.iter().zip(body.y..) {
        if line.marked {
            paint::text(buffer, body.x - 1, y, 1, "▎", theme.style(Role::Accent));
        }
        paint::line(buffer, body.x, y, body.width, &line.line, theme, Style::new());
        paint::found(buffer, body.x, y, body.width, words, theme.style(Role::Found));
    }
    if let Some((first, _)) = transcript.range() {
        let from = shown.first().map(|line| line.seq).filter(|seq| *seq != u64::MAX).unwrap_or(first);
        let until = shown.iter().rev().find(|line| line.seq != u64::MAX).map_or(from, |line| line.seq);
        let place = Rect { x: layout.view.right().saturating_sub(1), width: 1, ..body };
        let all_seen = first == 1 && until >= transcript.end() && shown.len() < height;
        if !all_seen {
            let until = if transcript.place() == Place::End { transcript.end() } else { until };
            bar(buffer, place, from - 1, until, transcript.end(), state);
        }
    }
    if transcript.unseen() > 0 {
        let words = format!(" {} new ↓ {} ", transcript.unseen(), state.keymap.name(Action::End));
        let style = theme.bold(Role::Accent).add_modifier(ratatui::style::Modifier::REVERSED);
        paint::right(buffer, body.right(), body.bottom() - 1, body.width, &words, style);
    }
}

/// The keys that answer a request.
fn request_keys(buffer: &mut Buffer, area: Rect, approval: &cadence_protocol::Approval, state: &State) {
    let theme = &state.theme;
    let question = approval.kind == cadence_protocol::ApprovalKind::Question;
    let keys: &[(Action, &str)] = if question {
        &[(Action::Allow, "answer"), (Action::Deny, "refuse")]
    } else {
        &[
            (Action::Allow, "allow"),
            (Action::AllowAlways, "always"),
            (Action::EditFirst, "edit first"),
            (Action::Deny, "deny"),
        ]
    };
    buffer.set_style(area, theme.style(Role::Bar));
    let blank = " ".repeat(usize::from(area.width));
    paint::text(buffer, area.x, area.y, area.width, &blank, theme.style(Role::Bar));
    let base = theme.style(Role::Bar);
    let mut x = paint::text(buffer, area.x, area.y, area.width, "◆ ", base.patch(theme.bold(Role::Warn)));
    for (action, words) in keys {
        let key = state.keymap.name(*action);
        let room = |x: u16| area.right().saturating_sub(x);
        x = paint::text(buffer, x, area.y, room(x), &key, base.patch(theme.bold(Role::Accent)));
        x = paint::text(buffer, x, area.y, room(x), &format!(" {words}  "), base.patch(theme.base()));
    }
}

fn diff(buffer: &mut Buffer, layout: &Layout, view: &TaskView, state: &State) {
    let (theme, body) = (&state.theme, layout.body);
    let dim = theme.style(Role::Dim);
    let words = match (&view.diff.files, &view.diff.error) {
        (_, Some(error)) => clean_line(error),
        (None, None) => "…".to_owned(),
        (Some(files), _) if files.is_empty() => "Nothing has been changed.".to_owned(),
        _ => String::new(),
    };
    paint::cut(buffer, body.x + 1, body.y, body.width, &words, dim);
    let found = view.search.as_ref().map(|search| search.words.as_str()).unwrap_or_default();
    for (row, y) in view.diff.shown(usize::from(body.height)).into_iter().zip(body.y..) {
        match row {
            DiffRow::Heading { file, folded, .. } => {
                let sign = if folded { "▸ " } else { "▾ " };
                let line = Line::of(PLAIN.bold(), sign)
                    .add(PLAIN.bold(), &file.path)
                    .add(GREEN, format!("  +{}", file.added))
                    .add(RED, format!(" −{}", file.removed));
                buffer.set_style(Rect { y, height: 1, ..body }, theme.style(Role::Bar));
                paint::line(buffer, body.x, y, body.width, &line, theme, theme.style(Role::Bar));
            }
            DiffRow::Line(line) => drop(paint::line(buffer, body.x, y, body.width, line, theme, Style::new())),
        }
        paint::found(buffer, body.x, y, body.width, found, theme.style(Role::Found));
    }
    if view.diff.cut {
        let words = " the rest is too long; `cadence tasks diff` has it all ";
        paint::right(buffer, body.right(), body.bottom() - 1, body.width, words, theme.style(Role::Warn));
    }
}

fn facts(buffer: &mut Buffer, layout: &Layout, view: &TaskView, task: &Task, state: &State) {
    let (theme, body) = (&state.theme, layout.body);
    let lines = fact_lines(task, usize::from(body.width), state);
    let top = view.facts_top.min(lines.len().saturating_sub(usize::from(body.height)));
    for (line, y) in lines.iter().skip(top).zip(body.y..body.bottom()) {
        paint::line(buffer, body.x, y, body.width, line, theme, Style::new());
    }
}

/// Lines of the facts of the open task.
pub fn fact_rows(state: &State) -> usize {
    let row = state.view.as_ref().and_then(|view| state.list.get(view.id));
    row.map_or(0, |row| fact_lines(&row.task, usize::from(state.layout().body.width), state).len())
}

fn fact_lines(task: &Task, width: usize, state: &State) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: String| {
        if !value.trim().is_empty() {
            let line = Line::of(DIM, format!("{name:<13}")).add(PLAIN, clean_line(&value));
            lines.extend(line.wrap(width, 13));
        }
    };
    let percent = |done: u8| if done > 0 { format!(", {done} %") } else { String::new() };
    fact("status", format!("{}{}", status(task), percent(task.progress)));
    fact("id", task.id.to_string());
    fact(
        "repository",
        task.repo_path.clone().or_else(|| task.repo_url.clone()).unwrap_or_else(|| task.repo_name.clone()),
    );
    fact("branch", task.branch.clone());
    fact(
        "from",
        match &task.base_commit {
            Some(commit) => format!("{} at {}", task.base_branch, commit.get(..12).unwrap_or(commit)),
            None => task.base_branch.clone(),
        },
    );
    fact("agent", agent(task));
    fact("permission", task.permission_mode.to_string());
    fact("sandbox", task.sandbox.as_ref().map(crate::render::sandbox).unwrap_or_default());
    fact("", task.sandbox.as_ref().map(|sandbox| sandbox.weaker.join("; ")).unwrap_or_default());
    fact("machine", machine(task).unwrap_or_else(|| "the server's own".to_owned()));
    if let Some(reason) = &task.pending_reason {
        fact("waits", clean_line(reason));
    }
    fact("source", task.source.to_string().to_lowercase());
    fact("labels", task.labels.join(", "));
    fact("attempt", task.attempt.to_string());
    fact("created", text::moment(task.created_at));
    fact("started", task.started_at.map(text::moment).unwrap_or_default());
    fact("ended", task.completed_at.map(text::moment).unwrap_or_default());
    fact("held back", task.pending_reason.as_deref().map(text::clean_line).unwrap_or_default());
    fact("goes on", task.resume_at.map(text::moment).unwrap_or_default());
    fact("time", elapsed(task, state.now).map(text::duration).unwrap_or_default());
    fact("cost", task.metadata.estimated_cost.map(text::money).unwrap_or_default());
    let tokens = |tokens: Option<u64>| tokens.unwrap_or(0);
    if tokens(task.metadata.input_tokens) + tokens(task.metadata.output_tokens) > 0 {
        let (read, written) = (tokens(task.metadata.input_tokens), tokens(task.metadata.output_tokens));
        fact("tokens", format!("{read} read, {written} written"));
    }
    if let Some(files) = task.metadata.files_changed {
        let (added, removed) = (task.metadata.lines_added.unwrap_or(0), task.metadata.lines_removed.unwrap_or(0));
        fact("change", format!("{}, +{added} −{removed}", text::count(files, "file")));
    }
    fact("pull request", task.pr_url.clone().unwrap_or_default());
    fact("events", task.last_seq.to_string());
    fact("error", task.error.clone().unwrap_or_default());
    lines.push(Line::new());
    let words = text::clean(&task.task_description);
    lines.extend(words.lines().flat_map(|line| Line::of(PLAIN, line).wrap(width, 0)));
    if let Some(output) = &task.output {
        lines.push(Line::new());
        lines.extend(crate::render::markdown(output, Some(width)));
    }
    lines
}

fn search(buffer: &mut Buffer, layout: &Layout, view: &TaskView, state: &State) {
    let Some(search) = view.search.as_ref().filter(|search| !search.words.is_empty()) else { return };
    let theme = &state.theme;
    let body = layout.body;
    let (next, before) = (state.keymap.name(Action::ItemNext), state.keymap.name(Action::ItemBefore));
    let words = match (search.awaited.is_some(), search.nowhere) {
        (true, _) => format!(" looking for “{}”, event {} … ", clean_line(&search.words), search.at),
        (_, true) => format!(" no more “{}” ", clean_line(&search.words)),
        _ => format!(" “{}” · {next} next, {before} back ", clean_line(&search.words)),
    };
    let role = if search.nowhere { Role::Warn } else { Role::Accent };
    let style = theme.style(role).add_modifier(ratatui::style::Modifier::REVERSED);
    if body.height > 2 {
        paint::right(buffer, body.right(), body.y, body.width, &words, style);
    }
}
