//! What happens changes the state, and says what is to be done outside. Pure: no input, no output, no clock.

mod act;
mod mouse;
mod overlay;
mod search;
mod stream;
mod voice;

use std::time::Duration;

use crossterm::event::{Event, KeyEvent, KeyEventKind};
use time::OffsetDateTime;
use uuid::Uuid;

use super::keymap::Key;
use super::message::{Effect, Failure, Later, Message};
use super::state::{Focus, Notice, Overlay, Pane, PromptKind, State, TaskView, type_key};

/// How long a selection rests before its task is fetched: keys that are held down fetch nothing.
const REST: Duration = Duration::from_millis(120);
/// How long after the start the first of the list is selected, whichever that is then.
const SEEN: Duration = Duration::from_millis(1500);
/// How long a notice stays.
const STAYS: Duration = Duration::from_secs(6);
/// Tasks in the list whose events are brought to say what they do.
const OVERHEARD: usize = 40;

/// Takes in what happened until `now`, and then sees to what follows from it.
pub fn update_all(state: &mut State, messages: impl IntoIterator<Item = Message>, now: OffsetDateTime) -> Vec<Effect> {
    state.now = now;
    let mut effects = Vec::new();
    for message in messages {
        effects.extend(take_in(state, message));
    }
    settle(state, &mut effects);
    effects
}

/// Takes in one thing that happened at `now`.
pub fn update(state: &mut State, message: Message, now: OffsetDateTime) -> Vec<Effect> {
    update_all(state, [message], now)
}

fn take_in(state: &mut State, message: Message) -> Vec<Effect> {
    match message {
        Message::Terminal(event) => terminal(state, event),
        Message::Tick => Vec::new(),
        Message::Stream(item) => stream::item(state, item),
        Message::Page { task, after, why, result } => stream::page(state, task, after, why, result),
        Message::Approvals { number, result } => stream::approvals(state, number, result),
        Message::Diff { task, result } => stream::diff(state, task, result),
        Message::Done(Ok(text)) => say(state, text),
        Message::Done(Err(failure)) => complain(state, failure),
        Message::Sent { result: Ok(words), .. } => say(state, words),
        Message::Sent { tasks, text, result: Err(failure) } => {
            match tasks.as_slice() {
                [one] => drop(state.drafts.messages.insert(*one, text)),
                _ => state.drafts.several = text,
            }
            complain(state, failure)
        }
        Message::Gone(id) => {
            stream::gone(state, id);
            Vec::new()
        }
        Message::Created(result) => created(state, result),
        Message::Voice(message) => voice::message(state, message),
        Message::Place(place) => {
            state.place = place;
            Vec::new()
        }
        Message::Later(later) => put_off(state, later),
    }
}

fn terminal(state: &mut State, event: Event) -> Vec<Effect> {
    match event {
        Event::Key(key) => key_event(state, key),
        Event::Mouse(mouse) => mouse::mouse(state, mouse),
        Event::Paste(text) => paste(state, &text),
        Event::Resize(columns, rows) => {
            state.size = (columns, rows);
            Vec::new()
        }
        Event::FocusGained | Event::FocusLost => Vec::new(),
    }
}

fn key_event(state: &mut State, key: KeyEvent) -> Vec<Effect> {
    state.list.chosen = true;
    state.wanted = None;
    state.pressed += 1;
    if let Some(Overlay::Voice(_)) = state.overlay {
        return voice::key(state, key);
    }
    if key.kind == KeyEventKind::Release {
        return Vec::new();
    }
    if state.overlay.is_some() {
        return overlay::key(state, key);
    }
    if state.prompt.is_some() {
        return prompt_key(state, key);
    }
    match state.keymap.action(Key::of(&key), state.scopes()) {
        Some(action) => act::action(state, action),
        None => Vec::new(),
    }
}

fn paste(state: &mut State, text: &str) -> Vec<Effect> {
    if let Some(Overlay::Voice(_)) = state.overlay {
        return voice::paste(state, text);
    }
    match &mut state.overlay {
        Some(overlay) => overlay::paste(overlay, text),
        None => {
            if let Some(prompt) = &mut state.prompt {
                super::state::paste_line(&mut prompt.input, text);
                if prompt.kind == PromptKind::Filter {
                    state.list.filter = prompt.input.value().to_owned();
                    state.list.arrange();
                }
            }
        }
    }
    Vec::new()
}

/// The line at the bottom: a filter works as it is typed, a search when it is entered.
fn prompt_key(state: &mut State, key: KeyEvent) -> Vec<Effect> {
    use crossterm::event::{KeyCode, KeyModifiers};
    let Some(mut prompt) = state.prompt.take() else { return Vec::new() };
    let filters = prompt.kind == PromptKind::Filter;
    let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Enter if filters => return Vec::new(),
        KeyCode::Enter => return search::start(state, prompt.input.value()),
        KeyCode::Esc => return dismiss_prompt(state, filters),
        _ if interrupted => return dismiss_prompt(state, filters),
        KeyCode::Down | KeyCode::Up if filters => state.list.step(if key.code == KeyCode::Down { 1 } else { -1 }),
        _ => type_key(&mut prompt.input, key),
    }
    if filters {
        let words = prompt.input.value();
        if words != state.list.filter {
            state.list.filter = words.to_owned();
            state.list.arrange();
        }
    }
    state.prompt = Some(prompt);
    Vec::new()
}

fn dismiss_prompt(state: &mut State, filters: bool) -> Vec<Effect> {
    if filters {
        state.list.filter.clear();
        state.list.arrange();
    }
    Vec::new()
}

fn put_off(state: &mut State, later: Later) -> Vec<Effect> {
    match later {
        Later::Settled(number) if number == state.settling => open_selected(state),
        Later::Fade(number) => {
            if state.notice.as_ref().is_some_and(|notice| notice.number == number) {
                state.notice = None;
            }
            Vec::new()
        }
        Later::Approvals => {
            state.approvals_asked = false;
            vec![state.ask_approvals()]
        }
        Later::Retry => {
            if let Some(view) = &mut state.view {
                view.transcript.try_again();
            }
            Vec::new()
        }
        Later::Seen => {
            state.list.chosen = true;
            Vec::new()
        }
        Later::Diff => {
            if let Some(view) = &mut state.view {
                view.diff.loading = false;
            }
            Vec::new()
        }
        Later::Settled(_) => Vec::new(),
    }
}

fn created(
    state: &mut State,
    result: Result<Box<cadence_protocol::Task>, (Failure, Box<super::message::NewTask>)>,
) -> Vec<Effect> {
    match result {
        Ok(task) => {
            let (id, words) = (task.id, format!("Agent started on {}.", task.repo_name));
            state.watch.begun(&task);
            state.list.put(*task, state.now);
            // Whoever has gone on to something else is not taken away from it.
            if state.pressed == state.sent_off {
                state.list.reveal(id);
            }
            say(state, words)
        }
        // What was written is there again, to be changed.
        Err((failure, task)) => {
            if state.overlay.is_none() && state.pressed == state.sent_off {
                let error = failure.hints.iter().fold(failure.error, |all, hint| format!("{all}; {hint}"));
                state.overlay = Some(Overlay::New(Box::new(super::state::TaskForm::again(&task, error))));
                return Vec::new();
            }
            let form = super::state::TaskForm::again(&task, failure.error.clone());
            state.drafts.task = Some(Box::new(form));
            complain(state, failure)
        }
    }
}

/// Shows a sentence for a while.
pub fn say(state: &mut State, text: impl Into<String>) -> Vec<Effect> {
    notice(state, text.into(), None, false)
}

/// Shows what went wrong for a while.
pub fn complain(state: &mut State, failure: Failure) -> Vec<Effect> {
    let hint = failure.hints.into_iter().next();
    notice(state, failure.error, hint, true)
}

fn notice(state: &mut State, text: String, hint: Option<String>, bad: bool) -> Vec<Effect> {
    let number = state.next_number();
    state.notice = Some(Notice { number, text, hint, bad });
    let stays = if bad { STAYS * 2 } else { STAYS };
    vec![Effect::After(stays, Later::Fade(number))]
}

/// Opens a task in the other half.
pub fn open(state: &mut State, id: Uuid) -> Vec<Effect> {
    if state.view.as_ref().is_some_and(|view| view.id == id) {
        return Vec::new();
    }
    let Some(row) = state.list.get(id) else { return Vec::new() };
    let pane = state.view.as_ref().map(|view| view.pane).unwrap_or_default();
    let mut view = TaskView::new(&row.task);
    // Whoever looks at diffs looks at the next one too.
    view.pane = pane;
    if pane == Pane::Events {
        view.transcript.set_mode(super::state::Mode::Raw);
    }
    state.view = Some(view);
    Vec::new()
}

/// Opens the selected task, where there is room for it or it was asked for.
pub fn open_selected(state: &mut State) -> Vec<Effect> {
    match state.list.selected() {
        Some(id) => open(state, id),
        None => {
            state.view = None;
            state.focus = Focus::List;
            Vec::new()
        }
    }
}

/// What follows from how things are now: what is selected is opened, what is open is followed, what is missing is fetched.
fn settle(state: &mut State, effects: &mut Vec<Effect>) {
    state.list.tidy();
    if let Some(id) = state.wanted
        && state.list.select(id)
    {
        state.wanted = None;
    }
    let layout = state.layout();
    state.list.scroll_to_selected(usize::from(layout.list.height.saturating_sub(1)), usize::from(layout.each));
    if let Some(Overlay::Inbox { selected, .. }) = &mut state.overlay {
        *selected = (*selected).min(state.approvals.len().saturating_sub(1));
    }
    // Only what can be seen is fetched.
    let shows_view = layout.view.width > 0;
    let selected = state.list.selected();
    if shows_view && state.focus == Focus::List && state.view.as_ref().map(|view| view.id) != selected {
        match (selected, &state.view) {
            (Some(_), None) => drop(open_selected(state)),
            (Some(_), Some(_)) => {
                let already = effects.iter().any(|effect| matches!(effect, Effect::After(_, Later::Settled(_))));
                if !already && state.settling_for != selected {
                    state.settling_for = selected;
                    state.settling += 1;
                    effects.push(Effect::After(REST, Later::Settled(state.settling)));
                }
            }
            (None, _) => state.view = None,
        }
    } else {
        state.settling_for = None;
    }
    follow(state, shows_view, effects);
    let (width, height) = layout.body_size();
    if let Some(view) = state.view.as_mut().filter(|_| shows_view) {
        match view.pane {
            Pane::Transcript | Pane::Events => {
                if let Some(want) = view.transcript.want(width, height) {
                    effects.push(Effect::Page { task: view.id, after: want.after, why: super::message::Why::Show });
                }
            }
            Pane::Diff => {
                let diff = &mut view.diff;
                let missing = diff.files.is_none() && diff.error.is_none();
                if (missing || diff.stale) && !diff.loading {
                    (diff.loading, diff.stale) = (true, false);
                    effects.push(Effect::Diff(view.id));
                }
            }
            Pane::Facts => {}
        }
    }
}

/// Says whose events are to be brought: those of the open task, and of those in the list that run, to say what they do.
fn follow(state: &mut State, shows_view: bool, effects: &mut Vec<Effect>) {
    let layout = state.layout();
    let mut wanted: Vec<(Uuid, u64)> = Vec::new();
    if let Some(view) = state.view.as_ref().filter(|_| shows_view) {
        wanted.push((view.id, view.transcript.end()));
    }
    if layout.list.width > 0 {
        let seen = usize::from(layout.list.height / layout.each.max(1)).min(OVERHEARD);
        for entry in state.list.entries().iter().skip(state.list.top).take(seen + 1) {
            if let super::state::Entry::Task(id) = entry
                && let Some(row) = state.list.get(*id)
                && matches!(
                    row.task.status,
                    cadence_protocol::TaskStatus::Running | cadence_protocol::TaskStatus::Waiting
                )
                && !wanted.iter().any(|(other, _)| other == id)
            {
                wanted.push((*id, row.task.last_seq.saturating_sub(1)));
            }
        }
    }
    let gone: Vec<Uuid> =
        state.followed.keys().copied().filter(|id| !wanted.iter().any(|(other, _)| other == id)).collect();
    for id in gone {
        state.followed.remove(&id);
        effects.push(Effect::Leave(id));
    }
    for (id, after) in wanted {
        if let std::collections::btree_map::Entry::Vacant(place) = state.followed.entry(id) {
            place.insert(after);
            effects.push(Effect::Follow(id, after));
        }
    }
}

#[cfg(test)]
#[path = "../update_tests.rs"]
mod tests;
