#![allow(clippy::unwrap_used)]

use cadence_protocol::{DecisionRequest, TaskStatus};
use crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use serde_json::json;

use super::super::message::Act;
use super::super::samples::*;
use super::super::state::{Connection, Entry, Mode, Place, Tab};
use super::*;
use crate::client::Item;
use crate::error::{CommandError, Exit};

fn wide() -> State {
    let mut state = state((140, 40));
    day(&mut state);
    state
}

fn acts(effects: &[Effect]) -> Vec<(Act, usize)> {
    effects.iter().filter_map(|e| if let Effect::Act(act, ids) = e { Some((*act, ids.len())) } else { None }).collect()
}

fn pages(effects: &[Effect]) -> Vec<u64> {
    effects.iter().filter_map(|e| if let Effect::Page { after, .. } = e { Some(*after) } else { None }).collect()
}

fn select(state: &mut State, number: u128) {
    assert!(state.list.reveal(id(number)));
    super::open_selected(state);
    happens(state, Message::Tick);
}

/// The server's newest answer.
fn approvals(result: Result<Vec<cadence_protocol::Approval>, Failure>) -> Message {
    Message::Approvals { number: u64::MAX, result }
}

fn said(state: &State) -> &str {
    state.notice.as_ref().map(|notice| notice.text.as_str()).unwrap_or_default()
}

#[test]
fn the_first_that_needs_somebody_is_open_and_its_events_are_fetched() {
    let mut state = state((140, 40));
    let effects = tell(&mut state, [task(1, "x", "waiting", json!({"waitingFor": "approval", "lastSeq": 700}))]);
    assert_eq!(state.view.as_ref().unwrap().id, id(1));
    assert_eq!(pages(&effects), [200]);
    assert!(effects.iter().any(|e| matches!(e, Effect::Follow(task, 700) if *task == id(1))));
    assert_eq!(state.connection, Connection::Live);
}

#[test]
fn a_key_that_is_held_down_fetches_nothing_until_it_rests() {
    let mut state = wide();
    let effects = press(&mut state, "down down down");
    assert!(pages(&effects).is_empty());
    let settled = effects.iter().filter_map(|effect| match effect {
        Effect::After(_, later @ Later::Settled(_)) => Some(*later),
        _ => None,
    });
    let settled: Vec<Later> = settled.collect();
    assert!(!settled.is_empty());
    let open = state.view.as_ref().unwrap().id;
    assert!(pages(&happens(&mut state, Message::Later(settled[0]))).is_empty(), "it did not rest");
    assert_eq!(state.view.as_ref().unwrap().id, open);
    let effects = happens(&mut state, Message::Later(*settled.last().unwrap()));
    assert_eq!(Some(state.view.as_ref().unwrap().id), state.list.selected());
    assert_eq!(pages(&effects), [0]);
}

#[test]
fn what_waits_is_answered_from_the_list() {
    let mut state = wide();
    select(&mut state, 1);
    // What was not on the screen is shown first.
    assert!(press(&mut state, "y").is_empty());
    assert!(matches!(state.overlay, Some(Overlay::Answer(_))));
    press(&mut state, "esc");
    let result = Ok((transcript(id(1)), 12));
    happens(&mut state, Message::Page { task: id(1), after: 0, why: super::super::message::Why::Show, result });
    let effects = press(&mut state, "y");
    let Some(Effect::Decide(approval, decide)) = effects.first() else { panic!("{effects:?}") };
    assert_eq!((approval.id.as_str(), decide.decision), ("a1", DecisionRequest::Allow));
    assert!(state.approvals.is_empty(), "a second press must not answer anything");
    press(&mut state, "y");
    assert_eq!(said(&state), "the task asks for nothing");
}

#[test]
fn a_mark_is_what_is_meant_wherever_the_selection_is() {
    let mut state = wide();
    select(&mut state, 2);
    press(&mut state, "s");
    assert_ne!(state.list.selected(), Some(id(2)));
    press(&mut state, "x");
    let Some(Overlay::Confirm(confirm)) = &state.overlay else { panic!() };
    assert!(confirm.question.contains("Add rate limits"), "{}", confirm.question);
    let effects = press(&mut state, "y");
    assert!(matches!(effects.first(), Some(Effect::Act(Act::Cancel, ids)) if *ids == [id(2)]));
}

#[test]
fn a_key_that_is_held_answers_one_request() {
    let mut state = wide();
    let request = |id: &str, task| approval(id, super::super::samples::id(task), json!({"command": id}));
    happens(&mut state, approvals(Ok(vec![request("a", 1), request("b", 2), request("c", 3)])));
    let answered = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Decide(..)));
    assert!(answered(&press(&mut state, "i y")));
    assert!(!answered(&press(&mut state, "y y")));
    let later = NOW + time::Duration::seconds(1);
    let key = crossterm::event::KeyEvent::from(crossterm::event::KeyCode::Char('y'));
    assert!(answered(&update(&mut state, Message::Terminal(Event::Key(key)), later)));
    // One that goes elsewhere leaves its place to another, which nobody has read.
    happens(&mut state, approvals(Ok(vec![request("d", 1)])));
    assert!(!answered(&press(&mut state, "y")));
}

#[test]
fn what_could_not_be_sent_is_there_again() {
    let mut state = wide();
    select(&mut state, 2);
    press(&mut state, "m \"a long text\" enter");
    let failure = Failure::from(CommandError::new(Exit::Unreachable, "the server cannot be reached"));
    let sent = Message::Sent { tasks: vec![id(2)], text: "a long text".into(), result: Err(failure) };
    happens(&mut state, sent);
    press(&mut state, "m");
    let Some(Overlay::Message(compose)) = &state.overlay else { panic!() };
    assert_eq!(compose.content(), "a long text");
}

#[test]
fn what_failed_is_not_asked_for_again_at_once() {
    let mut state = wide();
    select(&mut state, 2);
    let failed = || Failure::from(CommandError::new(Exit::Unreachable, "no"));
    let page = Message::Page { task: id(2), after: 0, why: super::super::message::Why::Show, result: Err(failed()) };
    let effects = happens(&mut state, page);
    assert!(pages(&effects).is_empty());
    assert!(effects.iter().any(|effect| matches!(effect, Effect::After(_, Later::Retry))));
    assert_eq!(pages(&happens(&mut state, Message::Later(Later::Retry))), [0]);
}

#[test]
fn a_refusal_says_why() {
    let mut state = wide();
    select(&mut state, 1);
    let effects = press(&mut state, "d \"too slow\" enter");
    let Some(Effect::Decide(_, decide)) = effects.first() else { panic!("{effects:?}") };
    assert_eq!((decide.decision, decide.message.as_deref()), (DecisionRequest::Deny, Some("too slow")));
    let mut state = wide();
    select(&mut state, 1);
    assert!(press(&mut state, "d esc").is_empty());
    assert_eq!(state.approvals.len(), 1);
}

#[test]
fn a_command_is_changed_before_it_is_allowed() {
    let mut state = wide();
    select(&mut state, 1);
    let effects = press(&mut state, "e \" --release\" enter");
    let Some(Effect::Decide(_, decide)) = effects.first() else { panic!("{effects:?}") };
    let command = decide.updated_input.as_ref().unwrap()["command"].as_str().unwrap();
    assert_eq!(command, "cargo test -p user_service -- --nocapture --release");
}

#[test]
fn a_request_that_is_withdrawn_is_said_and_takes_no_keys_away() {
    let mut state = wide();
    select(&mut state, 1);
    press(&mut state, "e");
    happens(&mut state, approvals(Ok(Vec::new())));
    assert_eq!(said(&state), "it was answered elsewhere, or withdrawn; esc closes this");
    // Whoever types goes on typing into it, and not into the dashboard.
    press(&mut state, "\"pq\"");
    assert!(matches!(state.overlay, Some(Overlay::Edit(_))));
}

#[test]
fn the_inbox_stays_with_the_request_that_is_looked_at() {
    let mut state = wide();
    let request = |id: &str, task| approval(id, super::super::samples::id(task), json!({"command": id}));
    happens(&mut state, approvals(Ok(vec![request("b", 1), request("c", 2)])));
    press(&mut state, "i down");
    happens(&mut state, approvals(Ok(vec![request("a", 3), request("b", 1), request("c", 2)])));
    let effects = press(&mut state, "Y");
    let Some(Effect::Decide(approval, decide)) = effects.first() else { panic!("{effects:?}") };
    assert_eq!((approval.id.as_str(), decide.decision), ("c", DecisionRequest::AllowAlways));
    press(&mut state, "enter");
    assert!(state.overlay.is_none());
    assert_eq!(state.focus, Focus::View);
}

#[test]
fn work_is_lost_only_after_a_question() {
    let mut state = wide();
    select(&mut state, 2);
    assert!(acts(&press(&mut state, "x")).is_empty());
    assert!(acts(&press(&mut state, "n")).is_empty());
    assert!(state.overlay.is_none());
    assert_eq!(acts(&press(&mut state, "x y")), [(Act::Cancel, 1)]);
    select(&mut state, 3);
    assert_eq!(acts(&press(&mut state, "R y")), [(Act::Restart, 1)]);
    assert_eq!(acts(&press(&mut state, "A")), [(Act::Archive, 1)]);
}

#[test]
fn several_are_paused_at_once_and_those_that_it_does_not_fit_are_passed_over() {
    let mut state = wide();
    press(&mut state, "S");
    assert_eq!(acts(&press(&mut state, "p")), [(Act::Pause, 3)]);
    assert!(state.list.marked.is_empty());
    select(&mut state, 3);
    press(&mut state, "p");
    assert_eq!(said(&state), "a task that is failed cannot pause");
}

#[test]
fn a_draft_is_there_again() {
    let mut state = wide();
    press(&mut state, "n \"half a tho\" esc");
    assert!(state.overlay.is_none());
    let effects = press(&mut state, "n \"ught\" enter");
    let Some(Effect::Create(task)) = effects.first() else { panic!("{effects:?}") };
    assert_eq!((task.description.as_str(), task.repository.as_str()), ("half a thought", "/work/shop"));
    select(&mut state, 2);
    press(&mut state, "m \"and \" esc m \"more\"");
    let effects = press(&mut state, "enter");
    assert!(matches!(effects.first(), Some(Effect::Send(to, text)) if *to == [id(2)] && text == "and more"));
}

#[test]
fn a_task_that_could_not_be_created_is_there_to_be_changed() {
    let mut state = wide();
    let Some(Effect::Create(task)) = press(&mut state, "n \"x\" enter").into_iter().next() else { panic!() };
    let failure = Failure::from(CommandError::usage("there is no directory /work/shop"));
    happens(&mut state, Message::Created(Err((failure, task))));
    let Some(Overlay::New(form)) = &state.overlay else { panic!() };
    assert_eq!(form.error.as_deref(), Some("there is no directory /work/shop"));
    assert!(!form.is_empty());
}

#[test]
fn a_new_task_is_selected_and_what_becomes_of_it_is_said_once() {
    let mut state = wide();
    let new = task(9, "New one", "running", json!({}));
    happens(&mut state, Message::Created(Ok(Box::new(new.clone()))));
    assert_eq!(state.list.selected(), Some(id(9)));
    let done = task(9, "New one", "completed", json!({"lastSeq": 9, "metadata": {"filesChanged": 1}}));
    let effects = tell(&mut state, [done.clone(), done]);
    let said: Vec<&String> =
        effects.iter().filter_map(|e| if let Effect::Announce(text) = e { Some(text) } else { None }).collect();
    assert_eq!(said, ["New one is done: one file changed."]);
}

#[test]
fn what_was_so_before_is_no_news() {
    let mut state = state((140, 40));
    let effects = tell(&mut state, [task(1, "x", "waiting", json!({"waitingFor": "approval"}))]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Announce(_))));
}

#[test]
fn the_filter_works_as_it_is_typed_and_goes_with_escape() {
    let mut state = wide();
    press(&mut state, "/ \"flaky\"");
    assert_eq!(state.list.entries(), [Entry::Task(id(1))]);
    press(&mut state, "enter");
    assert!(state.prompt.is_none());
    assert_eq!(state.list.filter, "flaky");
    press(&mut state, "esc");
    assert_eq!(state.list.shown().count(), 7);
    press(&mut state, "/ \"zzz\" esc");
    assert_eq!(state.list.shown().count(), 7);
}

#[test]
fn a_break_is_said_and_what_was_missed_is_caught_up() {
    let mut state = wide();
    select(&mut state, 2);
    happens(
        &mut state,
        Message::Page {
            task: id(2),
            after: 0,
            why: super::super::message::Why::Show,
            result: Ok(((1..=3).map(|seq| words(id(2), seq, "x")).collect(), 3)),
        },
    );
    let lost = |reason: &str| Message::Stream(Item::Lost { reason: reason.into(), wait: REST });
    happens(&mut state, lost("gone"));
    update(&mut state, lost("still gone"), NOW + time::Duration::seconds(5));
    let Connection::Lost { reason, since } = &state.connection else { panic!() };
    assert_eq!((reason.as_str(), *since), ("still gone", NOW));
    happens(&mut state, Message::Stream(Item::Back));
    assert_eq!(state.connection, Connection::CatchingUp);
    happens(&mut state, Message::Stream(Item::Subscribed { task: Some(id(2)), last_seq: 5 }));
    happens(&mut state, Message::Stream(Item::Subscribed { task: None, last_seq: 0 }));
    assert_eq!(state.connection, Connection::CatchingUp);
    brings(&mut state, [words(id(2), 4, "x")]);
    assert_eq!(state.connection, Connection::CatchingUp);
    brings(&mut state, [words(id(2), 5, "x")]);
    assert_eq!(state.connection, Connection::Live);
    assert_eq!(state.view.as_ref().unwrap().transcript.range(), Some((1, 5)));
}

#[test]
fn a_refused_token_is_said_and_tried_again_when_asked() {
    let mut state = wide();
    let error = CommandError::new(Exit::NotAllowed, "the server does not let this token in").hint("Give another.");
    happens(&mut state, Message::Stream(Item::Failed(error)));
    assert!(matches!(&state.connection, Connection::Refused { error, .. } if error.contains("token")));
    let effects = press(&mut state, "ctrl-r");
    assert!(matches!(effects.first(), Some(Effect::Reconnect)));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Follow(..))), "{effects:?}");
}

#[test]
fn the_panes_and_their_keys() {
    let mut state = wide();
    select(&mut state, 1);
    press(&mut state, "enter");
    assert_eq!(state.focus, Focus::View);
    let effects = press(&mut state, "2");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Diff(task) if *task == id(1))));
    assert!(press(&mut state, "down").is_empty(), "it is asked for once");
    press(&mut state, "3");
    assert_eq!(state.view.as_ref().unwrap().pane, Pane::Events);
    press(&mut state, "] ]");
    assert_eq!(state.view.as_ref().unwrap().pane, Pane::Transcript);
    press(&mut state, "esc");
    assert_eq!(state.focus, Focus::List);
    press(&mut state, "z");
    assert_eq!((state.focus, state.layout().list.width), (Focus::View, 0));
    press(&mut state, "esc");
    assert!(state.layout().list.width > 0);
}

#[test]
fn a_search_goes_on_beyond_what_is_here() {
    let mut state = state((140, 40));
    tell(&mut state, [task(1, "x", "running", json!({"lastSeq": 2000}))]);
    let page = |after: u64, odd: u64| {
        let text = move |seq| if seq == odd { "the needle" } else { "hay" };
        let events = (after + 1..=after + 500).map(|seq| words(id(1), seq, text(seq))).collect();
        (events, 2000)
    };
    let answer = |state: &mut State, after, why, odd| {
        happens(state, Message::Page { task: id(1), after, why, result: Ok(page(after, odd)) })
    };
    use super::super::message::Why;
    answer(&mut state, 1500, Why::Show, 0);
    let effects = press(&mut state, "enter / \"Needle\" enter");
    assert_eq!(pages(&effects), [1000]);
    assert!(state.view.as_ref().unwrap().search.as_ref().unwrap().awaited.is_some());
    assert_eq!(pages(&answer(&mut state, 1000, Why::Search, 0)), [500]);
    answer(&mut state, 500, Why::Search, 777);
    let view = state.view.as_ref().unwrap();
    assert_eq!(view.search.as_ref().unwrap().at, 777);
    assert_eq!(view.transcript.mark(), Some(777));
    let (width, height) = state.layout().body_size();
    assert!(view.transcript.shown(width, height).iter().any(|line| line.line.plain().contains("the needle")));
    assert_eq!(pages(&press(&mut state, "n")).last(), Some(&0));
    answer(&mut state, 0, Why::Search, 0);
    assert!(state.view.as_ref().unwrap().search.as_ref().unwrap().nowhere);
    press(&mut state, "esc");
    assert!(state.view.as_ref().unwrap().search.is_none());
}

#[test]
fn copying_neutralises_what_an_agent_wrote() {
    let mut state = wide();
    select(&mut state, 1);
    let result = Ok((vec![words(id(1), 1, "ls\u{1b}]52;c;eA==\u{7}\n\u{202e}rm")], 1));
    happens(&mut state, Message::Page { task: id(1), after: 0, why: super::super::message::Why::Show, result });
    let effects = press(&mut state, "enter K c");
    let copied = effects.iter().find_map(|e| if let Effect::Copy(text) = e { Some(text.as_str()) } else { None });
    assert_eq!(copied, Some("ls\nrm"));
}

#[test]
fn the_mouse_selects_scrolls_and_resizes() {
    let mut state = wide();
    let mouse = |kind, column, row| {
        let modifiers = crossterm::event::KeyModifiers::NONE;
        Message::Terminal(Event::Mouse(MouseEvent { kind, column, row, modifiers }))
    };
    let down = MouseEventKind::Down(MouseButton::Left);
    happens(&mut state, mouse(down, 5, 4));
    let second = state.list.shown().nth(1);
    assert_eq!(state.list.selected(), second);
    happens(&mut state, mouse(down, 5, 4));
    assert_eq!(state.focus, Focus::View, "a second click opens it");
    happens(&mut state, mouse(MouseEventKind::ScrollDown, 5, 4));
    assert_eq!(state.list.selected(), state.list.shown().nth(2));
    let border = state.layout().border.x;
    happens(&mut state, mouse(down, border, 10));
    happens(&mut state, mouse(MouseEventKind::Drag(MouseButton::Left), 70, 10));
    happens(&mut state, mouse(MouseEventKind::Up(MouseButton::Left), 70, 10));
    assert_eq!(state.split, 50);
    happens(&mut state, mouse(MouseEventKind::Drag(MouseButton::Left), 20, 10));
    assert_eq!(state.split, 50);
    happens(&mut state, mouse(down, 22, 0));
    assert_eq!(state.list.tab, Tab::Review);
}

#[test]
fn quitting_keeps_the_look() {
    let mut state = wide();
    press(&mut state, "2 > b");
    let effects = press(&mut state, "q");
    let saved = effects.iter().find_map(|e| if let Effect::Save(saved) = e { Some(saved.clone()) } else { None });
    let saved = saved.unwrap();
    assert_eq!((saved.tab, saved.split, saved.grouped), (Tab::Review, 46, true));
    assert!(matches!(effects.last(), Some(Effect::Quit)));
    let mut again = State::new((140, 40), state.theme.clone(), state.keymap.clone(), &saved, NOW);
    day(&mut again);
    assert_eq!(again.list.selected(), state.list.selected());
}

#[test]
fn a_command_is_found_by_its_name() {
    let mut state = wide();
    select(&mut state, 5);
    let effects = press(&mut state, ": \"open-pull\" enter");
    assert!(matches!(effects.first(), Some(Effect::OpenUrl(url)) if url.ends_with("/pull/7")));
}

#[test]
fn the_raw_events_stay_where_the_transcript_was() {
    let mut state = wide();
    select(&mut state, 1);
    let result = Ok((transcript(id(1)), 12));
    happens(&mut state, Message::Page { task: id(1), after: 0, why: super::super::message::Why::Show, result });
    press(&mut state, "enter g 3");
    let view = state.view.as_ref().unwrap();
    let (width, height) = state.layout().body_size();
    assert_eq!(view.transcript.shown(width, height).len(), 12);
    assert_eq!(view.transcript.place(), Place::End);
    let _ = Mode::Raw;
}

#[test]
fn somebody_elses_task_appears_by_itself_and_a_removed_one_goes() {
    let mut state = wide();
    let before = state.list.shown().count();
    tell(&mut state, [task(9, "From another client", "pending", json!({}))]);
    assert_eq!(state.list.shown().count(), before + 1);
    select(&mut state, 9);
    let gone = Failure { error: "there is no such task".into(), hints: Vec::new(), gone: true };
    happens(
        &mut state,
        Message::Page { task: id(9), after: 0, why: super::super::message::Why::Show, result: Err(gone) },
    );
    assert_eq!(state.list.shown().count(), before);
    assert!(state.list.get(id(9)).is_none());
}

#[test]
fn what_is_said_selects_a_task() {
    use crate::talk::session;
    let mut state = wide();
    let effects = press(&mut state, "space");
    assert!(matches!(effects.as_slice(), [Effect::Voice(session::Effect::Record), ..]), "{effects:?}");
    let parsed: cadence_protocol::Parsed = serde_json::from_value(json!({
        "id": id(77), "transcript": "show me the payment one", "rawTranscript": "show me the payment one",
        "intent": "check_status", "entities": {"agentId": id(3)}, "confidence": 0.9, "processingTimeMs": 0.1,
        "timestamp": "2026-01-01T10:00:00Z", "needsConfirmation": false,
    }))
    .unwrap();
    let transcription = serde_json::from_value(json!({
        "text": "x", "rawText": "x", "duration": 1.0, "language": "en", "engine": "openai",
    }))
    .unwrap();
    happens(&mut state, Message::Voice(session::Message::Ended));
    let tasks = vec![state.list.get(id(3)).unwrap().task.clone()];
    happens(&mut state, Message::Voice(session::Message::Heard(Box::new(transcription), Box::new(parsed), tasks)));
    press(&mut state, "enter");
    assert!(state.overlay.is_none());
    assert_eq!((state.list.selected(), state.view.as_ref().unwrap().id), (Some(id(3)), id(3)));
    assert_eq!(state.list.get(id(3)).unwrap().task.status, TaskStatus::Failed);
}
