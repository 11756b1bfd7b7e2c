//! Keys while something is over everything else.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::super::keymap::{Action, Key};
use super::super::message::Effect;
use super::super::state::{EditInput, Overlay, State, Typed, paste_line, type_key};
use super::act;
use crate::follow::prompt::{Step, allow_with};

/// What a key does there. From what was opened in the inbox it is gone back to what is left there.
pub fn key(state: &mut State, key: KeyEvent) -> Vec<Effect> {
    let effects = take(state, key);
    if state.overlay.is_none()
        && let Some(selected) = state.inbox.take()
        && !state.approvals.is_empty()
    {
        state.overlay = Some(Overlay::Inbox { selected, top: 0 });
    }
    effects
}

fn take(state: &mut State, key: KeyEvent) -> Vec<Effect> {
    let Some(overlay) = state.overlay.take() else { return Vec::new() };
    let leaves =
        key.code == KeyCode::Esc || (key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL));
    // Ctrl-C leaves like Esc, so that what was typed is kept.
    let key = if leaves { KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE) } else { key };
    match overlay {
        Overlay::Help { top } => help(state, top, key),
        Overlay::Inbox { selected, top } => inbox(state, selected, top, key),
        Overlay::Palette { input, selected } => palette(state, input, selected, key),
        Overlay::New(mut form) => match form.key(key) {
            Typed::More => keep(state, Overlay::New(form)),
            Typed::Left => {
                state.drafts.task = (!form.is_empty()).then_some(form);
                Vec::new()
            }
            Typed::Done(task) => {
                state.sent_off = state.pressed;
                vec![Effect::Create(Box::new(task))]
            }
        },
        Overlay::Message(mut compose) => match compose.key(key) {
            Typed::More => keep(state, Overlay::Message(compose)),
            Typed::Left => {
                match compose.tasks.as_slice() {
                    _ if compose.content().trim().is_empty() => {}
                    [task] => drop(state.drafts.messages.insert(*task, compose.content())),
                    _ => state.drafts.several = compose.content(),
                }
                Vec::new()
            }
            Typed::Done(text) => {
                state.list.marked.clear();
                vec![Effect::Send(compose.tasks, text)]
            }
        },
        Overlay::Answer(mut prompt) => {
            if leaves {
                return Vec::new();
            }
            match prompt.key(key) {
                Step::Decide(approval, decide) => {
                    act::decided(state, &approval.id);
                    vec![Effect::Decide(approval, Box::new(decide))]
                }
                Step::Edit(approval) => keep(state, Overlay::Edit(Box::new(EditInput::new(*approval)))),
                _ => keep(state, Overlay::Answer(prompt)),
            }
        }
        Overlay::Edit(mut edit) => match edit.key(key) {
            Typed::More => keep(state, Overlay::Edit(edit)),
            Typed::Left => Vec::new(),
            Typed::Done(input) => {
                act::decided(state, &edit.approval.id);
                vec![Effect::Decide(Box::new(edit.approval), Box::new(allow_with(input)))]
            }
        },
        Overlay::Confirm(confirm) => match key.code {
            // Enter may be held from what led here.
            KeyCode::Char('y' | 'Y') => act::confirmed(state, confirm),
            KeyCode::Char('n' | 'N') | KeyCode::Esc => Vec::new(),
            _ => keep(state, Overlay::Confirm(confirm)),
        },
        // Handled before.
        voice @ Overlay::Voice(_) => keep(state, voice),
    }
}

fn keep(state: &mut State, overlay: Overlay) -> Vec<Effect> {
    state.overlay = Some(overlay);
    Vec::new()
}

/// How far a key scrolls a page of text.
fn scrolled(top: usize, key: KeyEvent) -> Option<usize> {
    Some(match key.code {
        KeyCode::Down | KeyCode::Char('j') => top + 1,
        KeyCode::Up | KeyCode::Char('k') => top.saturating_sub(1),
        KeyCode::PageDown => top + 10,
        KeyCode::PageUp => top.saturating_sub(10),
        KeyCode::Home => 0,
        _ => return None,
    })
}

fn help(state: &mut State, top: usize, key: KeyEvent) -> Vec<Effect> {
    let closes = state.keymap.action(Key::of(&key), state.scopes());
    if key.code == KeyCode::Esc || matches!(closes, Some(Action::Help | Action::Quit)) {
        return Vec::new();
    }
    let most = super::super::view::help_rows(state).saturating_sub(usize::from(state.size.1.saturating_sub(4)));
    keep(state, Overlay::Help { top: scrolled(top, key).unwrap_or(top).min(most) })
}

fn inbox(state: &mut State, selected: usize, top: usize, key: KeyEvent) -> Vec<Effect> {
    state.inbox = None;
    state.overlay = Some(Overlay::Inbox { selected, top });
    if let (KeyCode::PageDown | KeyCode::PageUp, Some(top)) = (key.code, scrolled(top, key)) {
        state.overlay = Some(Overlay::Inbox { selected, top });
        return Vec::new();
    }
    let Some(action) = state.keymap.action(Key::of(&key), state.scopes()) else { return Vec::new() };
    // Of what is not about requests only what leads elsewhere.
    let fits = matches!(
        action,
        Action::InboxDown
            | Action::InboxUp
            | Action::InboxOpen
            | Action::InboxClose
            | Action::Allow
            | Action::AllowAlways
            | Action::Deny
            | Action::EditFirst
            | Action::Message
            | Action::Cancel
            | Action::Pause
            | Action::Help
            | Action::Voice
            | Action::Suspend
            | Action::Redraw
    );
    if fits { act::action(state, action) } else { Vec::new() }
}

fn palette(state: &mut State, mut input: tui_input::Input, selected: usize, key: KeyEvent) -> Vec<Effect> {
    let found = state.commands(input.value());
    let last = found.len().saturating_sub(1);
    match key.code {
        KeyCode::Esc => return Vec::new(),
        KeyCode::Enter => {
            return match found.get(selected.min(last)) {
                Some(command) => act::action(state, command.action),
                None => keep(state, Overlay::Palette { input, selected }),
            };
        }
        KeyCode::Down | KeyCode::Tab => {
            return keep(state, Overlay::Palette { input, selected: (selected + 1).min(last) });
        }
        KeyCode::Up | KeyCode::BackTab => {
            return keep(state, Overlay::Palette { input, selected: selected.min(last).saturating_sub(1) });
        }
        _ => type_key(&mut input, key),
    }
    keep(state, Overlay::Palette { input, selected: 0 })
}

pub fn paste(overlay: &mut Overlay, text: &str) {
    match overlay {
        Overlay::Palette { input, selected } => {
            paste_line(input, text);
            *selected = 0;
        }
        Overlay::New(form) => form.paste(text),
        Overlay::Message(compose) => compose.paste(text),
        Overlay::Answer(prompt) => prompt.paste(text),
        Overlay::Edit(edit) => edit.paste(text),
        Overlay::Help { .. } | Overlay::Inbox { .. } | Overlay::Confirm(_) | Overlay::Voice(_) => {}
    }
}
