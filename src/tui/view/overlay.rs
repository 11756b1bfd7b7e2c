//! What is over everything else: help, commands, forms, questions, speaking.

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::widgets::Widget;
use ratatui_textarea::TextArea;
use tui_input::Input;

use super::{cursor_in, paint, window};
use crate::render::{BOLD, CYAN, DIM, Line, PLAIN, REQUEST_LINES, request};
use crate::talk::session::Session;
use crate::talk::view::{Look, lines as talk_lines};
use crate::text::{self, clean_line};
use crate::tui::keymap::{Scope, TABLE};
use crate::tui::state::{AGENTS, Compose, Confirm, EditInput, Field, Overlay, PERMISSIONS, State, TaskForm};
use crate::tui::theme::Role;

/// Draws it; gives where the cursor is.
pub fn draw(buffer: &mut Buffer, area: Rect, state: &State, overlay: &Overlay) -> Option<Position> {
    match overlay {
        Overlay::Help { top } => {
            help(buffer, area, state, *top);
            None
        }
        Overlay::Palette { input, selected } => Some(palette(buffer, area, state, input, *selected)),
        Overlay::New(form) => new_task(buffer, area, state, form),
        Overlay::Message(compose) => {
            message(buffer, area, state, compose);
            None
        }
        Overlay::Edit(edit) => {
            edit_input(buffer, area, state, edit);
            None
        }
        Overlay::Answer(prompt) => {
            answer(buffer, area, state, prompt);
            None
        }
        Overlay::Confirm(confirm) => {
            ask(buffer, area, state, confirm);
            None
        }
        Overlay::Voice(session) => {
            voice(buffer, area, state, session);
            None
        }
        Overlay::Inbox { .. } => None,
    }
}

/// The lines of the help: every key there is, from the table that handles them.
fn help_lines(state: &State) -> Vec<Line> {
    let mut lines = Vec::new();
    for scope in [Scope::Global, Scope::Task, Scope::List, Scope::View, Scope::Inbox] {
        if !lines.is_empty() {
            lines.push(Line::new());
        }
        lines.push(Line::of(BOLD, scope.title()));
        for entry in TABLE.iter().filter(|entry| entry.scope == scope) {
            let keys = state.keymap.names(entry.action).join(" ");
            let keys = if keys.is_empty() { "—".to_owned() } else { keys };
            lines.push(Line::of(CYAN, format!("  {keys:<16} ")).add(PLAIN, entry.about));
        }
    }
    lines.push(Line::new());
    lines.push(Line::of(
        DIM,
        "In forms: enter sends, alt-enter begins a line, tab goes on, esc leaves and keeps the text.",
    ));
    lines.push(Line::of(DIM, "The mouse selects, opens, unfolds, scrolls, and moves the border."));
    lines.push(Line::of(DIM, "Keys are set in the settings: [dashboard.keys] pause = [\"p\", \"ctrl-s\"]"));
    lines
}

pub fn help_rows(state: &State) -> usize {
    help_lines(state).len()
}

fn help(buffer: &mut Buffer, area: Rect, state: &State, top: usize) {
    let inside = window(buffer, area, (84, area.height), "Keys", state);
    let lines = help_lines(state);
    let top = top.min(lines.len().saturating_sub(usize::from(inside.height)));
    for (line, y) in lines.iter().skip(top).zip(inside.y..inside.bottom()) {
        paint::line(buffer, inside.x, y, inside.width, line, &state.theme, Style::new());
    }
    let place = Rect { x: inside.right(), width: 1, ..inside };
    super::bar(buffer, place, top as u64, (top + usize::from(inside.height)) as u64, lines.len() as u64, state);
}

/// A line that is typed; gives where the cursor is.
fn field(buffer: &mut Buffer, area: Rect, input: &Input, state: &State) -> Position {
    let scroll = input.visual_scroll(usize::from(area.width.saturating_sub(1)));
    let shown: String = input.value().chars().skip(scroll).collect();
    paint::text(buffer, area.x, area.y, area.width, &shown, state.theme.base());
    cursor_in(area, input.visual_cursor().saturating_sub(scroll))
}

/// A text of several lines that is typed. What was not typed, like the command of an agent, may hold anything.
fn write_text(buffer: &mut Buffer, area: Rect, text: &TextArea<'_>) {
    Widget::render(text, area, buffer);
    paint::settle(buffer, area.intersection(buffer.area));
}

fn palette(buffer: &mut Buffer, area: Rect, state: &State, input: &Input, selected: usize) -> Position {
    let found = state.commands(input.value());
    let inside = window(buffer, area, (76, 18), "Commands", state);
    let theme = &state.theme;
    let x = paint::text(buffer, inside.x, inside.y, inside.width, "› ", theme.bold(Role::Accent));
    let line = Rect::new(x, inside.y, inside.right().saturating_sub(x), 1);
    let cursor = field(buffer, line, input, state);
    let body = Rect { y: inside.y + 2, height: inside.height.saturating_sub(2), ..inside };
    if found.is_empty() {
        paint::text(buffer, body.x, body.y, body.width, "No command has these words.", theme.style(Role::Dim));
    }
    let selected = selected.min(found.len().saturating_sub(1));
    let first = (selected + 1).saturating_sub(usize::from(body.height));
    for ((index, command), y) in found.iter().enumerate().skip(first).zip(body.y..body.bottom()) {
        let base = if index == selected { theme.style(Role::Selected) } else { Style::new() };
        buffer.set_style(Rect { y, height: 1, ..body }, base);
        let key = state.keymap.name(command.action);
        let from = paint::right(buffer, body.right(), y, 14, &key, base.patch(theme.style(Role::Accent)));
        let x = paint::text(buffer, body.x, y, 20, command.action.entry().name, base.patch(theme.bold(Role::Text)));
        let x = x.max(body.x + 18) + 1;
        paint::cut(buffer, x, y, from.saturating_sub(x + 1), command.about, base.patch(theme.style(Role::Dim)));
    }
    cursor
}

fn bottom(buffer: &mut Buffer, inside: Rect, words: &str, error: Option<&str>, state: &State) {
    let y = inside.bottom().saturating_sub(1);
    match error {
        Some(error) => {
            let error = clean_line(error);
            paint::cut(buffer, inside.x, y, inside.width, &error, state.theme.style(Role::Bad));
        }
        None => drop(paint::cut(buffer, inside.x, y, inside.width, words, state.theme.style(Role::Dim))),
    }
}

fn new_task(buffer: &mut Buffer, area: Rect, state: &State, form: &TaskForm) -> Option<Position> {
    let inside = window(buffer, area, (88, 20), "New task", state);
    let theme = &state.theme;
    let fields = Field::ALL.len() as u16 - 1;
    let height = inside.height.saturating_sub(fields + 2);
    write_text(buffer, Rect { height, ..inside }, &form.text);
    if form.is_empty() {
        let words = "what is to be done";
        paint::text(buffer, inside.x + 1, inside.y, inside.width.saturating_sub(1), words, theme.style(Role::Dim));
    }
    let mut cursor = None;
    let rows = Field::ALL.iter().skip(1).zip(inside.y + height + 1..inside.bottom().saturating_sub(1));
    for (which, y) in rows {
        let active = form.field == *which;
        let name = match which {
            Field::Text => "",
            Field::Repository => "repository",
            Field::Agent => "agent",
            Field::Model => "model",
            Field::Permission => "permission",
            Field::Budget => "budget $",
        };
        let style = if active { theme.bold(Role::Accent) } else { theme.style(Role::Dim) };
        paint::text(buffer, inside.x, y, inside.width, &format!("{name:<12}"), style);
        let place = Rect::new(inside.x + 12, y, inside.width.saturating_sub(12), 1);
        let typed = match which {
            Field::Repository => Some((&form.repository, "the current directory's")),
            Field::Model => Some((&form.model, "as the agent has it")),
            Field::Budget => Some((&form.budget, "as the settings have it")),
            Field::Text | Field::Agent | Field::Permission => None,
        };
        match typed {
            Some((input, usual)) => {
                let at = field(buffer, place, input, state);
                if input.value().is_empty() {
                    let x = if active { place.x + 1 } else { place.x };
                    paint::cut(buffer, x, y, place.width, usual, theme.style(Role::Dim));
                }
                cursor = if active { Some(at) } else { cursor };
            }
            None => {
                let (names, chosen) =
                    if *which == Field::Agent { (AGENTS, form.agent) } else { (PERMISSIONS, form.permission) };
                let mut x = place.x;
                for (index, name) in names.iter().enumerate() {
                    let style = match (index == chosen, active) {
                        (true, true) => theme.bold(Role::Accent).add_modifier(ratatui::style::Modifier::REVERSED),
                        (true, false) => theme.bold(Role::Text),
                        (false, _) => theme.style(Role::Dim),
                    };
                    x = paint::text(buffer, x, y, place.right().saturating_sub(x), name, style) + 2;
                }
            }
        }
    }
    let words = "enter starts it · alt-enter new line · tab next field · esc leaves, the text stays";
    bottom(buffer, inside, words, form.error.as_deref(), state);
    cursor
}

fn message(buffer: &mut Buffer, area: Rect, state: &State, compose: &Compose) {
    let inside = window(buffer, area, (84, 12), &format!("Message {}", compose.title), state);
    let body = Rect { height: inside.height.saturating_sub(2), ..inside };
    write_text(buffer, body, &compose.text);
    bottom(buffer, inside, "enter sends · alt-enter new line · esc leaves, the text stays", None, state);
}

fn edit_input(buffer: &mut Buffer, area: Rect, state: &State, edit: &EditInput) {
    let what = if edit.is_command { "command" } else { "input, as JSON" };
    let title = format!("{}: change the {what}", clean_line(&edit.approval.tool));
    let inside = window(buffer, area, (96, 22), &title, state);
    let body = Rect { height: inside.height.saturating_sub(2), ..inside };
    write_text(buffer, body, &edit.text);
    let words = "enter allows it like this · alt-enter new line · esc leaves it as it was";
    bottom(buffer, inside, words, edit.error.as_deref(), state);
}

fn answer(buffer: &mut Buffer, area: Rect, state: &State, prompt: &crate::follow::prompt::Prompt) {
    let approval = prompt.approval_id().and_then(|id| state.approvals.iter().find(|approval| approval.id == id));
    let width = 92.min(usize::from(area.width.saturating_sub(6)));
    let mut lines: Vec<Line> = approval
        .map(|approval| request(approval.kind, &approval.tool, &approval.input, REQUEST_LINES))
        .unwrap_or_default()
        .into_iter()
        .flat_map(|line| line.wrap(width, 6))
        .collect();
    let asked: Vec<Line> = prompt.lines(width).into_iter().flat_map(|line| line.wrap(width, 2)).collect();
    let room = usize::from(area.height).saturating_sub(6 + asked.len());
    if lines.len() > room {
        let left = lines.len() - room;
        lines.truncate(room);
        lines.push(Line::of(DIM, format!("… {} more in the inbox", text::count(left as u64, "line"))));
    }
    lines.push(Line::new());
    lines.extend(asked);
    let size = (width as u16 + 4, lines.len() as u16 + 2);
    let inside = window(buffer, area, size, "An agent asks", state);
    for (line, y) in lines.iter().zip(inside.y..inside.bottom()) {
        paint::line(buffer, inside.x, y, inside.width, line, &state.theme, Style::new());
    }
}

fn ask(buffer: &mut Buffer, area: Rect, state: &State, confirm: &Confirm) {
    let width = 66.min(usize::from(area.width.saturating_sub(6)));
    let mut lines = Line::of(BOLD, clean_line(&confirm.question)).wrap(width, 0);
    lines.push(Line::new());
    lines.push(Line::of(CYAN, "y").add(PLAIN, " yes   ").add(CYAN, "n").add(PLAIN, " no"));
    let inside = window(buffer, area, (width as u16 + 4, lines.len() as u16 + 2), "Sure?", state);
    for (line, y) in lines.iter().zip(inside.y..inside.bottom()) {
        paint::line(buffer, inside.x, y, inside.width, line, &state.theme, Style::new());
    }
}

fn voice(buffer: &mut Buffer, area: Rect, state: &State, session: &Session) {
    let width = 84.min(usize::from(area.width.saturating_sub(6)));
    let look = Look { hold: state.releases, frame: 0 };
    let mut lines: Vec<Line> = Vec::new();
    for line in talk_lines(&session.state, look) {
        lines.extend(line.wrap(width, 2));
    }
    let inside = window(buffer, area, (width as u16 + 4, lines.len().max(3) as u16 + 2), "Speak", state);
    for (line, y) in lines.iter().zip(inside.y..inside.bottom()) {
        paint::line(buffer, inside.x, y, inside.width, line, &state.theme, Style::new());
    }
}
