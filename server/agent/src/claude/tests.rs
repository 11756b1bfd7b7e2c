//! Replays recorded sessions of the real CLI, and throws rubbish at the translator.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::path::Path;

use cadence_protocol::{CommandBody, Decision, PermissionMode};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::translate::{Surroundings, Translator};
use crate::agent::{Input, Output, TurnEnd, TurnOutcome};
use crate::session::{Action, Dialect};

/// Longest line of a snapshot, in characters.
const SHOWN: usize = 700;

fn translator(permission: PermissionMode) -> Translator {
    let mut last = 0;
    let ids = Box::new(move || {
        last += 1;
        Uuid::from_u128(last)
    });
    Translator::new(Path::new("/srv/repos/repo"), permission, Surroundings { ids, now: || 1_000 })
}

fn recording(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/claude-stream");
    std::fs::read_to_string(path.join(format!("{name}.jsonl"))).unwrap()
}

fn message(text: &str) -> Input {
    Input::Message { id: Uuid::nil(), text: text.to_owned() }
}

/// Replays a recording, the messages that it acknowledges included; `before` says what else the runner says before a line
/// is read.
fn replay(name: &str, permission: PermissionMode, mut before: impl FnMut(&Value) -> Option<Input>) -> Vec<Action> {
    let mut translator = translator(permission);
    let mut actions = Vec::new();
    for (number, line) in recording(name).lines().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap();
        if value["isReplay"] == true {
            let text = value["message"]["content"].as_str().unwrap().to_owned();
            actions.extend(translator.input(message(&text)));
        } else if number == 0 && !recording(name).contains("isReplay") {
            actions.extend(translator.input(message("the prompt")));
        }
        if let Some(input) = before(&value) {
            actions.extend(translator.input(input));
        }
        actions.extend(translator.read(line));
    }
    actions.extend(translator.ended());
    actions
}

fn quiet(name: &str) -> Vec<Action> {
    replay(name, PermissionMode::Edits, |_| None)
}

/// Says something once, before the first line of this kind.
fn once(kind: &'static str, input: Input) -> impl FnMut(&Value) -> Option<Input> {
    let mut input = Some(input);
    move |line| (line["type"] == kind).then(|| input.take())?
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

/// One line for each action.
fn shown(actions: &[Action]) -> String {
    let line = |action: &Action| match action {
        Action::Emit(Output::Event(event)) => format!("event {}", serde_json::to_string(event).unwrap()),
        Action::Emit(other) => format!("{other:?}"),
        Action::Write(line) => format!("write {line}"),
        other => format!("{other:?}"),
    };
    let lines = actions.iter().map(line).map(|line| match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &line[..end], line.len()),
        None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

macro_rules! recorded {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(shown(&quiet(stringify!($name))));
        })+
    };
}

recorded!(
    agent,
    bgbash,
    bigout,
    budget,
    cut_partial,
    default_denied,
    edit,
    err401,
    err429,
    err529,
    failbash,
    flaky529,
    in_followup,
    in_midturn,
    maxturns,
    nokey,
    readgrep,
    resume_unknown,
    tasks,
);

#[test]
fn interrupted_in_a_text() {
    let actions = replay("in_interrupt_text", PermissionMode::Edits, once("control_response", Input::Interrupt));
    insta::assert_snapshot!(shown(&actions));
}

#[test]
fn interrupted_in_a_tool() {
    let actions = replay("in_interrupt_tool", PermissionMode::Edits, once("control_response", Input::Interrupt));
    insta::assert_snapshot!(shown(&actions));
}

#[test]
fn interrupted_in_a_retry() {
    let actions = replay("interrupt_retry", PermissionMode::Edits, once("control_response", Input::Interrupt));
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::Interrupted);
}

#[test]
fn interrupted_while_an_approval_waits() {
    let actions =
        replay("perm_pending_interrupt", PermissionMode::Ask, once("control_cancel_request", Input::Interrupt));
    insta::assert_snapshot!(shown(&actions));
}

#[test]
fn an_interrupt_between_turns_does_not_mark_the_next() {
    let actions = replay("interrupt_idle", PermissionMode::Edits, once("control_response", Input::Interrupt));
    assert!(ends(&actions).iter().all(|end| end.outcome == TurnOutcome::Success));
}

fn approval(id: &str, decision: Decision, always: bool) -> CommandBody {
    CommandBody::Approval {
        approval_id: id.into(),
        decision,
        always,
        updated_input: None,
        answers: None,
        message: None,
        by: "dev".into(),
    }
}

/// Answers each request of a recording, when the line that follows it comes.
fn answer(with: impl Fn(&str) -> CommandBody) -> impl FnMut(&Value) -> Option<Input> {
    let mut open = None;
    move |line| {
        let answer = open.take().map(|id: String| Input::Approval(with(&id)));
        if line["type"] == "control_request" {
            open = line["request_id"].as_str().map(str::to_owned);
        }
        answer
    }
}

#[test]
fn denied() {
    let actions = replay("perm_deny", PermissionMode::Ask, answer(|id| approval(id, Decision::Deny, false)));
    insta::assert_snapshot!(shown(&actions));
}

#[test]
fn a_denial_that_stops_the_turn() {
    let actions = replay("perm_deny_interrupt", PermissionMode::Ask, answer(|id| approval(id, Decision::Deny, false)));
    let outcomes: Vec<_> = ends(&actions).into_iter().map(|end| end.outcome.clone()).collect();
    assert_eq!(outcomes, [TurnOutcome::Interrupted, TurnOutcome::Success]);
}

#[test]
fn allowed_always() {
    let actions = replay("perm_allow_always", PermissionMode::Ask, answer(|id| approval(id, Decision::Allow, true)));
    let response = &written(&actions)[1]["response"]["response"];
    assert_eq!(response["behavior"], "allow");
    assert_eq!(response["updatedInput"]["content"], "hello world\n");
    assert_eq!(
        response["updatedPermissions"],
        json!([{"type":"setMode","mode":"acceptEdits","destination":"session"}])
    );
}

#[test]
fn always_never_reaches_a_settings_file_nor_bypasses() {
    let mut translator = translator(PermissionMode::Ask);
    let request = json!({"type": "control_request", "request_id": "r", "request": {
    "subtype": "can_use_tool", "tool_name": "Bash", "input": {"command": "x"},
    "permission_suggestions": [
        {"type": "addRules", "rules": [], "behavior": "allow", "destination": "localSettings"},
        {"type": "setMode", "mode": "bypassPermissions", "destination": "userSettings"},
        "rubbish",
    ]}});
    translator.read(&request.to_string());
    let actions = translator.input(Input::Approval(approval("r", Decision::Allow, true)));
    let permissions = &written(&actions)[0]["response"]["response"]["updatedPermissions"];
    assert_eq!(*permissions, json!([{"type": "addRules", "rules": [], "behavior": "allow", "destination": "session"}]));
    assert!(translator.input(Input::Approval(approval("r", Decision::Allow, false))).is_empty(), "answered already");
}

#[test]
fn a_question_is_asked_in_every_mode_and_answered() {
    let answers = |id: &str| match approval(id, Decision::Allow, false) {
        CommandBody::Approval { approval_id, decision, always, by, .. } => CommandBody::Approval {
            approval_id,
            decision,
            always,
            updated_input: None,
            answers: Some(BTreeMap::from([("Which DB?".to_owned(), "sqlite".to_owned())])),
            message: None,
            by,
        },
        other => other,
    };
    let actions = replay("perm_ask_question", PermissionMode::All, answer(answers));
    insta::assert_snapshot!(shown(&actions));
}

#[test]
fn the_mode_all_answers_by_itself() {
    let actions = replay("perm_deny", PermissionMode::All, |_| None);
    let response = &written(&actions)[1]["response"];
    assert_eq!(response["response"]["behavior"], "allow");
    assert_eq!(response["response"]["updatedInput"]["content"], "w\n");
    assert!(!shown(&actions).contains("approval_requested"));
}

#[test]
fn an_unknown_request_is_refused_and_not_left_open() {
    let mut translator = translator(PermissionMode::Ask);
    let actions =
        translator.read(r#"{"type":"control_request","request_id":"h","request":{"subtype":"hook_callback"}}"#);
    assert_eq!(written(&actions)[0]["response"]["subtype"], "error");
}

#[test]
fn each_message_is_told_when_it_is_taken() {
    let mut translator = translator(PermissionMode::Edits);
    let (one, two, empty) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
    let taken = |actions: &[Action]| match actions {
        [Action::Emit(Output::Taken(id))] => Some(*id),
        _ => None,
    };
    let first = written(&translator.input(Input::Message { id: one, text: "one".into() }));
    translator.input(Input::Message { id: two, text: "two\nlines".into() });
    // There is nothing in it to be taken.
    assert_eq!(taken(&translator.input(Input::Message { id: empty, text: "  ".into() })), Some(empty));
    let replay = json!({"type": "user", "isReplay": true, "uuid": first[0]["uuid"], "message": {"content": "one"}});
    assert_eq!(taken(&translator.read(&replay.to_string())), Some(one));
    let end = r#"{"type":"result","subtype":"success","is_error":false,"result":"ok"}"#;
    assert!(!translator.read(end).contains(&Action::Emit(Output::Taken(two))));
    let replay = json!({"type": "user", "isReplay": true, "message": {"content": "two\nlines"}});
    assert_eq!(taken(&translator.read(&replay.to_string())), Some(two));
}

#[test]
fn an_agent_that_acknowledges_nothing_has_taken_all_at_the_end_of_its_turn() {
    let mut translator = translator(PermissionMode::Edits);
    translator.input(message("one"));
    let actions = translator.read(r#"{"type":"result","subtype":"success","is_error":false,"result":"ok"}"#);
    assert!(actions.contains(&Action::Emit(Output::Taken(Uuid::nil()))));
}

#[test]
fn what_is_written_is_one_line_of_json() {
    let mut translator = translator(PermissionMode::Edits);
    let actions = translator.input(message("a\nb\r\u{2028}\u{0}\""));
    let [Action::Write(line)] = actions.as_slice() else { panic!("{actions:?}") };
    assert!(!line.contains(['\n', '\r']));
    let value: Value = serde_json::from_str(line).unwrap();
    assert_eq!(value["message"]["content"], "a\nb\r\u{2028}\u{0}\"");
}

#[test]
fn a_rate_limit_tells_when_it_passes() {
    let mut translator = translator(PermissionMode::Edits);
    translator.read(r#"{"type":"rate_limit_event","rate_limit_info":{"status":"rejected","resetsAt":1600}}"#);
    let actions = translator.read(r#"{"type":"result","subtype":"success","is_error":true,"api_error_status":429}"#);
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::RateLimited { retry_after_secs: Some(600) });
}

#[test]
fn failures_of_the_service_are_told_apart() {
    for (name, outcome) in [
        ("err401", TurnOutcome::Auth),
        ("err403", TurnOutcome::Auth),
        ("err429", TurnOutcome::RateLimited { retry_after_secs: None }),
        ("err529", TurnOutcome::Failed),
        ("hang", TurnOutcome::Failed),
        ("refused", TurnOutcome::Failed),
    ] {
        let actions = quiet(name);
        assert_eq!(ends(&actions)[0].outcome, outcome, "{name}");
        assert!(!shown(&actions).contains(r#"event {"type":"output""#), "{name}: told twice");
    }
}

/// JSON that is likely to be taken for a line of the protocol.
fn likely_line() -> impl Strategy<Value = Value> {
    const KEYS: [&str; 28] = [
        "type",
        "subtype",
        "message",
        "content",
        "id",
        "name",
        "input",
        "tool_use_id",
        "is_error",
        "tool_use_result",
        "filePath",
        "structuredPatch",
        "lines",
        "uuid",
        "isReplay",
        "result",
        "errors",
        "modelUsage",
        "request",
        "request_id",
        "tool_name",
        "permission_suggestions",
        "task_id",
        "patch",
        "status",
        "event",
        "delta",
        "text",
    ];
    const WORDS: [&str; 20] = [
        "system",
        "assistant",
        "user",
        "result",
        "stream_event",
        "control_request",
        "can_use_tool",
        "tool_use",
        "tool_result",
        "text",
        "text_delta",
        "Bash",
        "Write",
        "TodoWrite",
        "TaskCreate",
        "init",
        "task_started",
        "task_notification",
        "success",
        "Exit code 99999999999",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        proptest::sample::select(WORDS.as_slice()).prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(5, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(proptest::sample::select(KEYS.as_slice()), inner, 0..8)
                .prop_map(|fields| fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ]
    });
    (proptest::sample::select(WORDS.as_slice()), value).prop_map(|(kind, mut value)| {
        if let Some(fields) = value.as_object_mut() {
            fields.insert("type".into(), kind.into());
        }
        value
    })
}

proptest! {
    #[test]
    fn any_text_is_survived(lines in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
        let mut translator = translator(PermissionMode::All);
        for line in lines {
            translator.read(&String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn any_json_is_survived(lines in prop::collection::vec(likely_line(), 0..12)) {
        let mut translator = translator(PermissionMode::Ask);
        for line in lines {
            for written in written(&translator.read(&line.to_string())) {
                prop_assert_eq!(&written["type"], "control_response");
            }
        }
        translator.ended();
    }

    #[test]
    fn a_recording_with_a_field_of_another_kind_is_survived(
        name in proptest::sample::select(vec!["edit", "bgbash", "perm_deny", "tasks", "budget", "partial"]),
        line in any::<prop::sample::Index>(),
        field in any::<prop::sample::Index>(),
        other in likely_line(),
    ) {
        let mut lines: Vec<Value> =
            recording(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let line = line.get_mut(&mut lines);
        let pointers = pointers(line);
        let pointer: &String = field.get(&pointers);
        if let Some(value) = line.pointer_mut(pointer) {
            *value = other;
        }
        let mut translator = translator(PermissionMode::Edits);
        for line in &lines {
            translator.read(&line.to_string());
        }
    }
}

/// Pointers to all values within.
fn pointers(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let children: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(index, item)| (index.to_string(), item)).collect(),
        _ => Vec::new(),
    };
    for (key, child) in children {
        let key = key.replace('~', "~0").replace('/', "~1");
        found.extend(pointers(child).into_iter().map(|pointer| format!("/{key}{pointer}")));
    }
    found
}
