//! Search in the open task, beyond the events that are here.

use cadence_protocol::Event;
use uuid::Uuid;

use super::super::message::{Effect, Failure, Why};
use super::super::state::{PAGE, Pane, Place, Search, State, contains};
use super::complain;

/// Begins a search: backwards from what is seen, for what is looked for was mostly just there.
pub fn start(state: &mut State, words: &str) -> Vec<Effect> {
    let words = words.trim().to_lowercase();
    let Some(view) = &mut state.view else { return Vec::new() };
    if words.is_empty() {
        view.search = None;
        return Vec::new();
    }
    let from = match view.transcript.place() {
        Place::End => view.transcript.end() + 1,
        Place::Top { seq, .. } => view.transcript.mark().unwrap_or(seq) + 1,
    };
    view.search = Some(Search { words, at: from, forward: false, awaited: None, nowhere: false });
    step(state, true)
}

/// Goes to the next place, in the direction of the search or against it.
pub fn step(state: &mut State, same: bool) -> Vec<Effect> {
    let (width, height) = state.layout().body_size();
    let Some(view) = &mut state.view else { return Vec::new() };
    let Some(search) = &mut view.search else { return Vec::new() };
    search.forward = !same;
    search.nowhere = false;
    // What is looked through is of another direction, or place.
    search.awaited = None;
    if view.pane == Pane::Diff {
        search.nowhere = !view.diff.find(&search.words, same, height);
        return Vec::new();
    }
    if let Some(found) = view.transcript.find(&search.words, search.at, search.forward) {
        search.at = found;
        view.transcript.jump_to(found, width, height);
        let item = view.transcript.item_of(found);
        view.transcript.mark_at(item);
        return Vec::new();
    }
    let (first, last) = view.transcript.range().unwrap_or((1, 0));
    let end = view.transcript.end();
    let after = if search.forward { last.max(search.at) } else { first.min(search.at).saturating_sub(1 + PAGE) };
    if (search.forward && after >= end) || (!search.forward && first.min(search.at) <= 1) {
        search.nowhere = true;
        return Vec::new();
    }
    search.awaited = Some(after);
    vec![Effect::Page { task: view.id, after, why: Why::Search }]
}

/// A page that was fetched to look through it.
pub fn page(state: &mut State, task: Uuid, after: u64, result: Result<(Vec<Event>, u64), Failure>) -> Vec<Effect> {
    let (width, height) = state.layout().body_size();
    let Some(view) = state.view.as_mut().filter(|view| view.id == task) else { return Vec::new() };
    let Some(search) = view.search.as_mut().filter(|search| search.awaited == Some(after)) else { return Vec::new() };
    let (events, end) = match result {
        Ok(page) => page,
        Err(failure) => {
            search.awaited = None;
            return complain(state, failure);
        }
    };
    let limit = search.at;
    let mut hits = events.iter().filter(|event| contains(event, &search.words)).map(|event| event.seq);
    let found = if search.forward { hits.next() } else { hits.rfind(|seq| *seq < limit) };
    if let Some(found) = found {
        (search.awaited, search.at) = (None, found);
        // The page that it is in is shown.
        view.transcript.jump_to(found, width, height);
        view.transcript.take(events, end);
        view.transcript.jump_to(found, width, height);
        let item = view.transcript.item_of(found);
        view.transcript.mark_at(item);
        return Vec::new();
    }
    let last = events.last().map_or(end, |event| event.seq);
    let next =
        if search.forward { (last < end).then_some(last) } else { (after > 0).then(|| after.saturating_sub(PAGE)) };
    search.at = if search.forward { last } else { after + 1 };
    search.awaited = next;
    match next {
        Some(after) => vec![Effect::Page { task, after, why: Why::Search }],
        None => {
            search.nowhere = true;
            Vec::new()
        }
    }
}
