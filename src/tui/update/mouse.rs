//! The mouse: select, scroll, resize.

use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::{Position, Rect};

use super::super::message::Effect;
use super::super::state::{Entry, Focus, Overlay, Pane, State, Tab};
use super::super::view;
use super::{act, open_selected};

/// Lines that one notch of the wheel scrolls.
const WHEEL: isize = 3;

pub fn mouse(state: &mut State, mouse: MouseEvent) -> Vec<Effect> {
    let at = Position::new(mouse.column, mouse.row);
    let layout = state.layout();
    match mouse.kind {
        MouseEventKind::ScrollDown => wheel(state, at, WHEEL),
        MouseEventKind::ScrollUp => wheel(state, at, -WHEEL),
        MouseEventKind::Up(MouseButton::Left) => {
            state.resizing = false;
            Vec::new()
        }
        MouseEventKind::Drag(MouseButton::Left) if state.resizing => {
            let columns = u32::from(state.size.0.max(1));
            state.split = ((u32::from(mouse.column) * 100 / columns) as u16).clamp(20, 80);
            Vec::new()
        }
        MouseEventKind::Down(MouseButton::Left) if state.overlay.is_some() => Vec::new(),
        MouseEventKind::Down(MouseButton::Left) => {
            if layout.border.contains(at) {
                state.resizing = true;
            } else if layout.header.contains(at) {
                if let Some(tab) = tab_at(state, mouse.column) {
                    state.list.tab = tab;
                    state.list.arrange();
                    state.focus = Focus::List;
                }
            } else if layout.list.contains(at) {
                return click_list(state, layout.list, layout.each, mouse.row);
            } else if layout.view.contains(at) {
                return click_view(state, at);
            }
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn wheel(state: &mut State, at: Position, by: isize) -> Vec<Effect> {
    match &mut state.overlay {
        Some(Overlay::Help { top } | Overlay::Inbox { top, .. }) => {
            *top = top.saturating_add_signed(by);
            return Vec::new();
        }
        Some(_) => return Vec::new(),
        None => {}
    }
    let layout = state.layout();
    if layout.list.contains(at) {
        state.list.step(by.signum());
    } else if layout.view.contains(at) {
        act::scroll(state, by);
    }
    Vec::new()
}

fn tab_at(state: &State, column: u16) -> Option<Tab> {
    view::tabs(state).into_iter().find(|(_, from, until)| (*from..*until).contains(&column)).map(|(tab, _, _)| tab)
}

fn click_list(state: &mut State, area: Rect, each: u16, row: u16) -> Vec<Effect> {
    let mut left = row.saturating_sub(area.y + view::LIST_HEAD);
    for entry in state.list.entries().iter().skip(state.list.top) {
        let height = match entry {
            Entry::Task(_) => each,
            Entry::Repository(_) => 1,
        };
        if left < height {
            if let Entry::Task(id) = *entry {
                let again = state.list.selected() == Some(id) && state.focus == Focus::List;
                state.list.select(id);
                state.focus = Focus::List;
                // A click on what is selected opens it.
                if again {
                    return act::action(state, super::super::keymap::Action::Open);
                }
                return if state.layout().view.width > 0 { open_selected(state) } else { Vec::new() };
            }
            return Vec::new();
        }
        left -= height;
    }
    state.focus = Focus::List;
    Vec::new()
}

fn click_view(state: &mut State, at: Position) -> Vec<Effect> {
    let layout = state.layout();
    if state.focus == Focus::List {
        // What is looked at becomes what is worked with.
        if let Some(id) = state.view.as_ref().map(|view| view.id) {
            state.list.select(id);
        }
        state.focus = Focus::View;
        return Vec::new();
    }
    let (width, height) = layout.body_size();
    let Some(view) = &mut state.view else { return Vec::new() };
    if !layout.body.contains(at) {
        if let Some(pane) = view::pane_at(layout, at) {
            return act::action(
                state,
                match pane {
                    Pane::Transcript => super::super::keymap::Action::PaneTranscript,
                    Pane::Diff => super::super::keymap::Action::PaneDiff,
                    Pane::Events => super::super::keymap::Action::PaneEvents,
                    Pane::Facts => super::super::keymap::Action::PaneFacts,
                },
            );
        }
        return Vec::new();
    }
    let row = usize::from(at.y - layout.body.y);
    match view.pane {
        Pane::Transcript | Pane::Events => {
            let Some(line) = view.transcript.shown(width, height).into_iter().nth(row) else { return Vec::new() };
            if line.seq == u64::MAX {
                return Vec::new();
            }
            if view.transcript.mark() == Some(line.seq) {
                view.transcript.toggle(line.seq, width, height);
            } else {
                view.transcript.mark_at(line.seq);
            }
        }
        Pane::Diff => {
            if let Some(super::super::state::DiffRow::Heading { index, .. }) = view.diff.shown(height).get(row) {
                let index = *index;
                view.diff.toggle(index, height);
            }
        }
        Pane::Facts => {}
    }
    Vec::new()
}
