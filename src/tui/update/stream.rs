//! What the server tells.

use std::time::Duration;

use cadence_protocol::{Approval, Event, EventData, Task};
use uuid::Uuid;

use super::super::message::{Effect, Failure, Later, Why};
use super::super::state::{Connection, FileDiff, Focus, Overlay, Pane, State, TaskView};
use super::{SEEN, complain, search};
use crate::client::Item;
use crate::text;

/// How long requests are gathered before they are fetched.
const GATHER: Duration = Duration::from_millis(60);
/// When what failed is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often the diff of a task that works is fetched again.
const DIFF_EVERY: Duration = Duration::from_secs(2);
/// Longest text of what a task does.
const ACTIVITY: usize = 120;

pub fn item(state: &mut State, item: Item) -> Vec<Effect> {
    match item {
        Item::Event(event) => self::event(state, *event),
        Item::Delta { task, text } => {
            if let Some(view) = of(state, task) {
                view.transcript.delta(&text);
            }
            Vec::new()
        }
        Item::Task(task) => snapshot(state, *task),
        Item::Subscribed { task: None, .. } => {
            let first = !std::mem::replace(&mut state.list.loaded, true);
            state.connection = if is_behind(state) { Connection::CatchingUp } else { Connection::Live };
            let mut effects = ask_approvals(state);
            effects.extend(first.then_some(Effect::After(SEEN, Later::Seen)));
            effects
        }
        Item::Subscribed { task: Some(id), last_seq } => {
            if let Some(view) = of(state, id) {
                view.transcript.reaches(last_seq);
            }
            match (&state.connection, is_behind(state)) {
                (Connection::Live, true) => state.connection = Connection::CatchingUp,
                (Connection::CatchingUp, false) if state.list.loaded => state.connection = Connection::Live,
                _ => {}
            }
            Vec::new()
        }
        Item::Lost { reason, .. } => {
            let since = match &state.connection {
                Connection::Lost { since, .. } => *since,
                _ => state.now,
            };
            state.connection = Connection::Lost { reason, since };
            // The server that comes back says it again if it is still so.
            state.trouble = None;
            Vec::new()
        }
        Item::Back => {
            state.connection = Connection::CatchingUp;
            if let Some(view) = &mut state.view {
                view.transcript.try_again();
                view.diff.stale |= view.diff.error.is_some();
            }
            Vec::new()
        }
        Item::Storage { fails, message, hint } => {
            state.trouble = fails.then_some((message, hint));
            Vec::new()
        }
        Item::Failed(error) => {
            let failure = Failure::from(error);
            state.connection = Connection::Refused { error: failure.error, hints: failure.hints };
            Vec::new()
        }
    }
}

/// Whether events of the open task are known of that have not come.
fn is_behind(state: &State) -> bool {
    state.view.as_ref().is_some_and(|view| {
        // One that is not followed, since it is not on the screen, misses nothing.
        state.followed.get(&view.id).is_some_and(|seen| view.transcript.end() > *seen)
    })
}

/// The open task, if it is this one.
fn of(state: &mut State, task: Uuid) -> Option<&mut TaskView> {
    state.view.as_mut().filter(|view| view.id == task)
}

fn event(state: &mut State, event: Event) -> Vec<Effect> {
    let id = event.task_id;
    if let Some(seen) = state.followed.get_mut(&id) {
        *seen = (*seen).max(event.seq);
    }
    if let Some(activity) = activity(&event.data) {
        state.list.set_activity(id, activity);
    }
    let asks = matches!(event.data, EventData::ApprovalRequested { .. } | EventData::ApprovalResolved { .. });
    let edits = matches!(event.data, EventData::FileEdit { .. } | EventData::TaskCompleted { .. });
    let mut effects = if asks { ask_approvals(state) } else { Vec::new() };
    if let Some(view) = of(state, id) {
        view.transcript.live(event);
        if edits && view.pane == Pane::Diff && !view.diff.loading {
            view.diff.loading = true;
            view.diff.stale = true;
            effects.push(Effect::After(DIFF_EVERY, Later::Diff));
        } else if edits {
            view.diff.stale = true;
        }
    }
    if state.connection == Connection::CatchingUp && !is_behind(state) {
        state.connection = Connection::Live;
    }
    effects
}

/// What an agent does now, in a few words.
fn activity(data: &EventData) -> Option<String> {
    let words = match data {
        EventData::ToolUse { tool, input, .. } if tool == "Bash" => {
            format!("$ {}", input.get("command").and_then(|command| command.as_str()).unwrap_or_default())
        }
        EventData::ToolUse { tool, input, .. } => format!("{tool} {}", crate::render::tool_summary(input)),
        EventData::FileEdit { path, .. } => format!("edits {path}"),
        EventData::Output { text } => text.lines().find(|line| !line.trim().is_empty())?.to_owned(),
        EventData::ApprovalRequested { tool, input, .. } => {
            format!("asks: {tool} {}", crate::render::tool_summary(input))
        }
        EventData::Progress { note: Some(note), .. } => note.clone(),
        _ => return None,
    };
    Some(text::cut(&text::clean_line(&words), ACTIVITY))
}

fn snapshot(state: &mut State, task: Task) -> Vec<Effect> {
    let id = task.id;
    let before = state.list.put(task.clone(), state.now);
    let mut effects = Vec::new();
    let waits = |task: &Task| (task.status, task.waiting_for);
    if before.as_ref().map(waits) != Some(waits(&task)) {
        let asked = task.waiting_for.is_some() || before.as_ref().is_some_and(|task| task.waiting_for.is_some());
        if asked {
            effects.extend(ask_approvals(state));
        }
        if let Some(sentence) = state.watch.changed(&task, state.list.loaded && is_new(state, &task)) {
            effects.push(Effect::Announce(sentence));
        }
    } else {
        state.watch.changed(&task, false);
    }
    if let Some(view) = of(state, id) {
        view.transcript.reaches(task.last_seq);
        if before.is_some_and(|before| before.metadata != task.metadata) {
            view.diff.stale = true;
        }
    }
    effects
}

/// Whether what is so with a task became so lately: after a start all that is told is old.
fn is_new(state: &State, task: &Task) -> bool {
    state.now - task.updated_at < time::Duration::minutes(1)
}

pub fn ask_approvals(state: &mut State) -> Vec<Effect> {
    if std::mem::replace(&mut state.approvals_asked, true) {
        return Vec::new();
    }
    vec![Effect::After(GATHER, Later::Approvals)]
}

pub fn approvals(state: &mut State, number: u64, result: Result<Vec<Approval>, Failure>) -> Vec<Effect> {
    // An older answer may come later.
    if number < state.approvals_answered {
        return Vec::new();
    }
    let Ok(mut approvals) = result else {
        return if std::mem::replace(&mut state.approvals_asked, true) {
            Vec::new()
        } else {
            vec![Effect::After(AGAIN, Later::Approvals)]
        };
    };
    state.approvals_answered = number;
    approvals.sort_by(|a, b| a.created_at.cmp(&b.created_at).then_with(|| a.id.cmp(&b.id)));
    let about = match &state.overlay {
        Some(Overlay::Inbox { selected, .. }) => state.approvals.get(*selected).map(|approval| approval.id.clone()),
        _ => None,
    };
    let answered = |id: &str| !approvals.iter().any(|approval| approval.id == id);
    let gone = match &state.overlay {
        Some(Overlay::Answer(prompt)) => prompt.approval_id().is_some_and(answered),
        Some(Overlay::Edit(edit)) => answered(&edit.approval.id),
        _ => false,
    };
    if let (Some(id), Some(Overlay::Inbox { selected, .. })) = (about, &mut state.overlay) {
        match approvals.iter().position(|approval| approval.id == id) {
            Some(place) => *selected = place,
            // Another one is there now: a key that is under way is not for it.
            None => state.answers_from = state.now + super::act::GUARD,
        }
    }
    state.approvals = approvals;
    if gone {
        // It stays open: the keys of whoever types into it would do other things.
        return super::say(state, "it was answered elsewhere, or withdrawn; esc closes this");
    }
    Vec::new()
}

/// Somebody removed a task.
pub fn gone(state: &mut State, task: Uuid) {
    state.list.remove(task);
    if state.view.as_ref().is_some_and(|view| view.id == task) {
        state.view = None;
        state.focus = Focus::List;
    }
}

pub fn page(
    state: &mut State,
    task: Uuid,
    after: u64,
    why: Why,
    result: Result<(Vec<Event>, u64), Failure>,
) -> Vec<Effect> {
    if why == Why::Search {
        return search::page(state, task, after, result);
    }
    let Some(view) = of(state, task) else { return Vec::new() };
    match result {
        Ok((events, end)) => {
            view.transcript.page(after, events, end);
            Vec::new()
        }
        Err(failure) if failure.gone => {
            gone(state, task);
            complain(state, failure)
        }
        Err(failure) => {
            view.transcript.give_up(after);
            let mut effects = vec![Effect::After(AGAIN, Later::Retry)];
            // A connection that is lost is said already.
            if !matches!(state.connection, Connection::Lost { .. } | Connection::Refused { .. }) {
                effects.extend(complain(state, failure));
            }
            effects
        }
    }
}

pub fn diff(state: &mut State, task: Uuid, result: Result<(Vec<FileDiff>, bool), Failure>) -> Vec<Effect> {
    let (_, height) = state.layout().body_size();
    let Some(view) = of(state, task) else { return Vec::new() };
    view.diff.loading = false;
    match result {
        Ok((files, cut)) => {
            view.diff.files = Some(files);
            view.diff.scroll(0, height);
            view.diff.cut = cut;
            view.diff.error = None;
        }
        Err(failure) => view.diff.error = Some(failure.error),
    }
    Vec::new()
}
