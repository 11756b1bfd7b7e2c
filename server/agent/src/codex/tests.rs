//! Replays recorded sessions of the real program, and throws rubbish at the translator.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use cadence_protocol::{CommandBody, Decision, EventData, PermissionMode};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::launch::Plan;
use super::translate::Translator;
use crate::agent::{Input, Output, SessionStart, TurnEnd, TurnOutcome};
use crate::session::{Action, Dialect};

/// Longest line of a snapshot, in characters.
const SHOWN: usize = 500;

fn plan(permission: PermissionMode) -> Plan {
    Plan {
        directory: "/srv/repos/repo".into(),
        session: SessionStart::New(Uuid::nil()),
        model: None,
        permission,
        budget_usd: None,
        max_turns: None,
    }
}

fn translator(plan: Plan) -> Translator {
    let mut last = 100;
    let ids = move || {
        last += 1;
        Uuid::from_u128(last)
    };
    Translator::new(plan, Box::new(ids))
}

fn recording(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/codex");
    std::fs::read_to_string(path.join(format!("{name}.jsonl"))).unwrap()
}

fn message(number: u128, text: &str) -> Input {
    Input::Message { id: Uuid::from_u128(number), text: text.to_owned() }
}

/// Replays a recording of a task that began with a message; `after` says what the runner says after a line was read.
fn replay(name: &str, plan: Plan, mut after: impl FnMut(&Value, &[Action]) -> Option<Input>) -> Vec<Action> {
    let mut translator = translator(plan);
    let mut actions = translator.input(message(0, "Do it"));
    for line in recording(name).lines() {
        let came = translator.read(line);
        let said = after(&serde_json::from_str(line).unwrap(), &came);
        actions.extend(came);
        if let Some(said) = said {
            actions.extend(translator.input(said));
        }
    }
    actions.extend(translator.ended());
    actions
}

fn quiet(name: &str) -> Vec<Action> {
    replay(name, plan(PermissionMode::Edits), |_, _| None)
}

/// Says something once, after the first line that holds this.
fn once(holds: &'static str, input: Input) -> impl FnMut(&Value, &[Action]) -> Option<Input> {
    let mut input = Some(input);
    move |line, _| line.to_string().contains(holds).then(|| input.take())?
}

fn decide(approval_id: String, decision: Decision, change: impl FnOnce(&mut CommandBody)) -> Input {
    let (updated_input, answers, message) = (None, None, None);
    let by = "dev".to_owned();
    let mut body = CommandBody::Approval { approval_id, decision, always: false, updated_input, answers, message, by };
    change(&mut body);
    Input::Approval(body)
}

/// The id of the request for approval among these.
fn asked(actions: &[Action]) -> Option<String> {
    actions.iter().find_map(|action| match action {
        Action::Emit(Output::Event(EventData::ApprovalRequested { approval_id, .. })) => Some(approval_id.clone()),
        _ => None,
    })
}

/// Answers every request like this.
fn answering(
    decision: Decision,
    mut change: impl FnMut(&mut CommandBody),
) -> impl FnMut(&Value, &[Action]) -> Option<Input> {
    move |_, actions| Some(decide(asked(actions)?, decision, &mut change))
}

fn ends(actions: &[Action]) -> Vec<&TurnEnd> {
    let ends = actions.iter().filter_map(|action| match action {
        Action::Emit(Output::TurnEnd(end)) => Some(end),
        _ => None,
    });
    ends.collect()
}

fn written(actions: &[Action]) -> Vec<Value> {
    let lines = actions.iter().filter_map(|action| match action {
        Action::Write(line) => Some(serde_json::from_str(line).unwrap()),
        _ => None,
    });
    lines.collect()
}

fn methods(actions: &[Action]) -> Vec<String> {
    written(actions).iter().filter_map(|line| Some(line["method"].as_str()?.to_owned())).collect()
}

/// One line for each action; pieces of text are left out.
fn shown(actions: &[Action]) -> String {
    let line = |action: &Action| match action {
        Action::Emit(Output::Event(event)) => format!("event {}", serde_json::to_string(event).unwrap()),
        Action::Emit(other) => format!("{other:?}"),
        Action::Write(line) => format!("write {line}"),
        other => format!("{other:?}"),
    };
    let lines = actions.iter().filter(|action| !matches!(action, Action::Emit(Output::Delta(_)))).map(line);
    let lines = lines.map(|line| match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &line[..end], line.len()),
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n").replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

macro_rules! recorded {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(shown(&quiet(stringify!($name))));
        })+
    };
}

recorded!(text, edit, failbash, bg, err401, err429, err500, nokey);

#[test]
fn a_text_comes_in_pieces_first() {
    let actions = quiet("text");
    let pieces: String = actions
        .iter()
        .filter_map(|action| match action {
            Action::Emit(Output::Delta(text)) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(pieces, "There is nothing to change.");
}

#[test]
fn what_is_asked_is_answered() {
    let actions = replay("edit_asked", plan(PermissionMode::Ask), answering(Decision::Allow, |_| {}));
    insta::assert_snapshot!(shown(&actions));
}

#[test]
fn the_mode_all_allows_each_request_and_asks_nobody() {
    let actions = replay("escalated", plan(PermissionMode::All), |_, _| None);
    assert_eq!(asked(&actions), None);
    assert!(written(&actions).contains(&json!({"jsonrpc": "2.0", "id": 0, "result": {"decision": "accept"}})));
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::Success);
}

#[test]
fn leaving_the_sandbox_is_asked_for() {
    insta::assert_snapshot!(shown(&replay(
        "escalated",
        plan(PermissionMode::Edits),
        answering(Decision::Allow, |_| {})
    )));
}

#[test]
fn what_is_denied_is_told_at_the_end_and_the_words_reach_codex() {
    let words = |body: &mut CommandBody| {
        if let CommandBody::Approval { message, .. } = body {
            *message = Some("not like this".into());
        }
    };
    insta::assert_snapshot!(shown(&replay("declined", plan(PermissionMode::Ask), answering(Decision::Deny, words))));
}

#[test]
fn another_input_is_a_denial_with_words() {
    let other = |body: &mut CommandBody| {
        if let CommandBody::Approval { updated_input, .. } = body {
            *updated_input = Some(json!({"command": "true"}));
        }
    };
    let actions = replay("declined", plan(PermissionMode::Ask), answering(Decision::Allow, other));
    assert!(written(&actions).contains(&json!({"jsonrpc": "2.0", "id": 0, "result": {"decision": "decline"}})));
    assert!(shown(&actions).contains("Do this in its place: true"));
    assert!(shown(&actions).contains("Codex cannot be given another input"));
    assert_eq!(ends(&actions)[0].denials, []);
}

#[test]
fn always_holds_for_edits() {
    let always = |body: &mut CommandBody| {
        if let CommandBody::Approval { always, .. } = body {
            *always = true;
        }
    };
    let mut first = answering(Decision::Allow, always);
    let actions = replay("edit_asked", plan(PermissionMode::Ask), |line, actions| first(line, actions));
    let asked = actions
        .iter()
        .filter(|action| matches!(action, Action::Emit(Output::Event(EventData::ApprovalRequested { .. }))));
    // The first of two edits, and a command.
    assert_eq!(asked.count(), 2);
    assert_eq!(written(&actions).iter().filter(|line| line["result"]["decision"] == "accept").count(), 3);
}

#[test]
fn always_holds_for_the_same_command() {
    let mut translator = translator(plan(PermissionMode::Ask));
    let mut ask = |command: &str, id: u64| {
        let request = json!({"id": id, "method": "item/commandExecution/requestApproval",
            "params": {"itemId": "c", "command": command}});
        let actions = translator.read(&request.to_string());
        let always = |body: &mut CommandBody| {
            if let CommandBody::Approval { always, .. } = body {
                *always = true;
            }
        };
        let asked = asked(&actions);
        if let Some(id) = asked.clone() {
            translator.input(decide(id, Decision::Allow, always));
        }
        asked.is_some()
    };
    assert!(ask("cargo test", 1));
    assert!(!ask("cargo test", 2));
    assert!(ask("cargo test; rm -rf x", 3));
}

#[test]
fn a_question_is_asked_in_every_mode_and_answered() {
    let answer = |body: &mut CommandBody| {
        if let CommandBody::Approval { answers, .. } = body {
            *answers = Some([("Which database?".to_owned(), "sqlite".to_owned())].into());
        }
    };
    let actions = replay("question", plan(PermissionMode::All), answering(Decision::Allow, answer));
    insta::assert_snapshot!(shown(&actions));
}

#[test]
fn interrupted_in_a_text() {
    let actions =
        replay("interrupted_in_a_text", plan(PermissionMode::Edits), once("agentMessage/delta", Input::Interrupt));
    insta::assert_snapshot!(shown(&actions));
}

#[test]
fn interrupted_in_a_tool() {
    let actions =
        replay("interrupted_in_a_tool", plan(PermissionMode::Edits), once("commandExecution", Input::Interrupt));
    insta::assert_snapshot!(shown(&actions));
}

#[test]
fn interrupted_while_an_approval_waits() {
    let after = once("requestApproval", Input::Interrupt);
    insta::assert_snapshot!(shown(&replay("interrupted_while_an_approval_waits", plan(PermissionMode::Ask), after)));
}

#[test]
fn a_message_during_a_turn_is_given_to_it() {
    let after = once("\"type\":\"commandExecution\"", message(1, "and then"));
    insta::assert_snapshot!(shown(&replay("in_midturn", plan(PermissionMode::Edits), after)));
}

#[test]
fn a_message_after_a_turn_begins_another() {
    let after = once("turn/completed", message(1, "more"));
    insta::assert_snapshot!(shown(&replay("in_followup", plan(PermissionMode::Edits), after)));
}

#[test]
fn a_session_goes_on_and_counts_its_own_tokens() {
    let session = SessionStart::Resume("01a2144e-7c9a-7cc1-b01d-ec9377ec026a".into());
    let plan = Plan { session, ..plan(PermissionMode::Edits) };
    insta::assert_snapshot!(shown(&replay("resumed", plan, |_, _| None)));
}

#[test]
fn a_session_that_is_gone_is_told() {
    let session = SessionStart::Resume("00000000-0000-4000-8000-000000000000".into());
    let actions = replay("resume_unknown", Plan { session, ..plan(PermissionMode::Edits) }, |_, _| None);
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::ResumeFailed);
    assert_eq!(actions.last(), Some(&Action::CloseInput));
}

#[test]
fn a_budget_that_cannot_be_kept_is_told() {
    let actions = replay("text", Plan { budget_usd: Some(0.5), ..plan(PermissionMode::Edits) }, |_, _| None);
    assert!(shown(&actions).contains("the budget of $0.50 is not kept"));
}

#[test]
fn the_model_is_stopped_after_its_turns() {
    let actions = replay("edit", Plan { max_turns: Some(2), ..plan(PermissionMode::Edits) }, |_, _| None);
    let stop = methods(&actions).iter().filter(|method| *method == "turn/interrupt").count();
    assert_eq!(stop, 1);
    // The recording goes on, as the real one would not.
    let actions = replay("edit", Plan { max_turns: Some(4), ..plan(PermissionMode::Edits) }, |_, _| None);
    assert!(!methods(&actions).contains(&"turn/interrupt".to_owned()), "the last reply used no tool");
}

#[test]
fn a_plan_is_progress() {
    let mut translator = translator(plan(PermissionMode::Edits));
    translator.input(message(0, "x"));
    for line in recording("text").lines().take(5) {
        translator.read(line);
    }
    let thread = translator_thread(&recording("text"));
    let step = |step, status| json!({"step": step, "status": status});
    let note = json!({"method": "turn/plan/updated", "params": {"threadId": thread, "turnId": "t", "explanation": null,
        "plan": [step("One", "completed"), step("Two", "inProgress")]}});
    let progress = EventData::Progress { percent: 50, note: Some("Two".into()) };
    assert_eq!(translator.read(&note.to_string()), [Action::event(progress)]);
}

fn translator_thread(recording: &str) -> String {
    let lines = recording.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter_map(|line| Some(line["result"]["thread"]["id"].as_str()?.to_owned())).next().unwrap()
}

#[test]
fn a_push_is_denied_in_every_mode() {
    for mode in PermissionMode::ALL {
        let mut translator = translator(plan(*mode));
        let request = json!({"id": 3, "method": "item/commandExecution/requestApproval",
            "params": {"itemId": "c", "command": "/bin/bash -lc 'git push origin main'"}});
        let actions = translator.read(&request.to_string());
        assert_eq!(asked(&actions), None);
        assert_eq!(written(&actions)[0]["result"]["decision"], "decline");
        assert!(shown(&actions).contains("an agent never pushes"));
    }
}

#[test]
fn a_message_that_an_interrupted_turn_did_not_take_begins_the_next() {
    let mut translator = translator(plan(PermissionMode::Edits));
    translator.input(message(0, "x"));
    let lines: Vec<String> = recording("interrupted_in_a_tool").lines().map(str::to_owned).collect();
    let (last, first) = lines.split_last().unwrap();
    for line in first {
        translator.read(line);
    }
    assert_eq!(methods(&translator.input(message(1, "also"))), ["turn/steer"]);
    translator.input(Input::Interrupt);
    let actions = translator.read(last);
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::Interrupted);
    assert_eq!(methods(&actions), ["turn/start"]);
    assert!(written(&actions)[0].to_string().contains("also"));
}

#[test]
fn other_requests_are_refused_and_not_left_open() {
    let mut translator = translator(plan(PermissionMode::All));
    let actions = translator.read(r#"{"id":"a","method":"attestation/generate","params":{}}"#);
    assert_eq!(written(&actions)[0]["error"]["code"], -32601);
    assert_eq!(written(&actions)[0]["id"], "a");
}

fn any_recording() -> impl Strategy<Value = String> {
    const NAMES: &[&str] =
        &["text", "edit", "edit_asked", "in_midturn", "declined", "question", "err401", "bg", "resumed"];
    prop::sample::select(NAMES).prop_map(recording)
}

proptest! {
    #[test]
    fn rubbish_is_survived(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..20)) {
        let mut translator = translator(plan(PermissionMode::Ask));
        translator.input(message(0, "x"));
        for line in lines {
            translator.read(&String::from_utf8_lossy(&line));
        }
    }

    /// Real lines in any order, some of them cut, with interrupts and messages between.
    #[test]
    fn lines_in_any_order_are_survived(
        recording in any_recording(),
        order in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8_u8), 0..60),
    ) {
        let lines: Vec<&str> = recording.lines().collect();
        let mut translator = translator(plan(PermissionMode::Ask));
        for (index, cut, what) in order {
            let line = index.get(&lines);
            let actions = match what {
                0 => translator.input(Input::Interrupt),
                1 => translator.input(message(1, "more")),
                2 => translator.read(&line[..line.floor_char_boundary(cut.index(line.len()))]),
                _ => translator.read(line),
            };
            for line in written(&actions) {
                prop_assert!(line.is_object());
            }
        }
    }

    /// Whatever fields have whatever values.
    #[test]
    fn fields_of_other_types_are_survived(recording in any_recording(), at in any::<prop::sample::Index>(), with in 0..4_u8) {
        let value = match with { 0 => json!(null), 1 => json!("x"), 2 => json!(-1), _ => json!([{}]) };
        let mut translator = translator(plan(PermissionMode::Ask));
        translator.input(message(0, "x"));
        for line in recording.lines() {
            let mut line: Value = serde_json::from_str(line).unwrap();
            let mut paths = Vec::new();
            collect(&line, String::new(), &mut paths);
            if let Some(place) = line.pointer_mut(at.get::<String>(&paths)) {
                *place = value.clone();
            }
            translator.read(&line.to_string());
        }
    }
}

/// Pointers to all values in a value.
fn collect(value: &Value, path: String, paths: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| collect(field, format!("{path}/{name}"), paths))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| collect(item, format!("{path}/{i}"), paths))
        }
        _ => {}
    }
    paths.push(path);
}
