//! Replays recorded sessions of the real OpenCode, and throws rubbish at the translator.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use cadence_protocol::{CommandBody, Decision, EventData, PermissionMode};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

use super::translate::{Plan, Translator};
use super::{Acp, Costs};
use crate::agent::{Agent, AgentError, Input, Output, SessionStart, TurnEnd, TurnOutcome};
use crate::session::{Action, Dialect};

/// Longest line of a snapshot, in characters.
const SHOWN: usize = 500;

fn plan_of(permission: PermissionMode) -> Plan {
    Plan {
        agent: "opencode",
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
    Translator::new(plan, Box::new(ids), Costs::default())
}

fn recording(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/acp");
    std::fs::read_to_string(path.join(format!("{name}.jsonl"))).unwrap()
}

fn message(number: u128, text: &str) -> Input {
    Input::Message { id: Uuid::from_u128(number), text: text.to_owned() }
}

/// Replays a recording of a task that began with a message; `after` says what the runner says after a line was read.
fn replay_in(
    mut translator: Translator,
    name: &str,
    mut after: impl FnMut(&Value, &[Action]) -> Option<Input>,
) -> Vec<Action> {
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

fn replay(name: &str, plan: Plan, after: impl FnMut(&Value, &[Action]) -> Option<Input>) -> Vec<Action> {
    replay_in(translator(plan), name, after)
}

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

fn allowing() -> impl FnMut(&Value, &[Action]) -> Option<Input> {
    answering(Decision::Allow, |_| {})
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

/// What a recording gives where every request is allowed.
fn allowed(name: &str, permission: PermissionMode) -> Vec<Action> {
    replay(name, plan_of(permission), allowing())
}

#[track_caller]
fn tells(actions: &[Action], words: &[&str]) {
    let shown = shown(actions);
    for words in words {
        assert!(shown.contains(words), "{words} is not in\n{shown}");
    }
}

#[test]
fn a_text() {
    let actions = allowed("text", PermissionMode::Edits);
    assert_eq!(methods(&actions), ["initialize", "session/new", "session/prompt"]);
    tells(&actions, &[r#"event {"type":"output","text":"There is nothing to change."}"#]);
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::Success);
    assert_eq!(ends(&actions)[0].summary, "There is nothing to change.");
}

#[test]
fn edits_and_a_command() {
    let actions = allowed("edit", PermissionMode::Edits);
    tells(
        &actions,
        &[
            r#"event {"type":"file_edit","path":"hello.txt","action":"create","linesChanged":1"#,
            r#"event {"type":"file_edit","path":"hello.txt","action":"edit","linesChanged":2"#,
            "+hello cadence",
            r#"event {"type":"tool_use","tool":"Bash","input":{"command":"ls -1"}"#,
            r#"event {"type":"command_run","command":"ls -1","exitCode":0,"output":"hello.txt"}"#,
            "cost_usd: 0.015",
        ],
    );
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::Success);
}

#[test]
fn a_command_that_fails() {
    let actions = allowed("failbash", PermissionMode::Edits);
    tells(&actions, &[r#"event {"type":"command_run","command":"cat no-such-file","exitCode":1"#]);
}

#[test]
fn a_list_of_steps_is_progress() {
    let actions = allowed("plan", PermissionMode::Edits);
    tells(&actions, &[r#""percent":0,"note":"One"}"#, r#""percent":50,"note":"Two"}"#]);
}

#[test]
fn what_lies_outside_is_asked_for() {
    assert!(asked(&allowed("outside", PermissionMode::Edits)).is_some());
}

#[test]
fn a_failure_of_the_service() {
    let actions = allowed("err401", PermissionMode::Edits);
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::Failed);
    assert_eq!(ends(&actions)[0].summary, "Internal error: scripted failure");
}

#[test]
fn with_ask_edits_are_asked_for_too() {
    let actions = allowed("edit_asked", PermissionMode::Ask);
    let asked = |action: &&Action| matches!(action, Action::Emit(Output::Event(EventData::ApprovalRequested { .. })));
    assert_eq!(actions.iter().filter(asked).count(), 3);
    tells(&actions, &["+hello world", r#""optionId":"once""#]);
    // It asks that files be written for it, too, which was not offered.
    assert!(written(&actions).iter().any(|line| line["error"]["code"] == -32601));
}

#[test]
fn the_mode_all_allows_each_request_and_asks_nobody() {
    let actions = replay("edit_asked", plan_of(PermissionMode::All), |_, _| None);
    assert_eq!(asked(&actions), None);
    let allowed = written(&actions).iter().filter(|line| line["result"]["outcome"]["optionId"] == "once").count();
    assert_eq!(allowed, 3);
}

#[test]
fn always_holds_for_edits_of_the_workspace_and_stays_with_cadence() {
    let always = |body: &mut CommandBody| {
        if let CommandBody::Approval { always, .. } = body {
            *always = true;
        }
    };
    let actions = replay("edit_asked", plan_of(PermissionMode::Ask), answering(Decision::Allow, always));
    let asked = |action: &&Action| matches!(action, Action::Emit(Output::Event(EventData::ApprovalRequested { .. })));
    assert_eq!(actions.iter().filter(asked).count(), 2, "the first of two edits, and a command");
    assert!(!shown(&actions).contains("\"optionId\":\"always\""), "an agent may keep that for ever");
}

#[test]
fn what_is_denied_is_told_at_the_end_and_the_words_begin_another_turn() {
    let words = |body: &mut CommandBody| {
        if let CommandBody::Approval { message, .. } = body {
            *message = Some("not like this".into());
        }
    };
    let actions = replay("declined", plan_of(PermissionMode::Edits), answering(Decision::Deny, words));
    assert_eq!((ends(&actions)[0].denials.len(), ends(&actions)[0].background), (1, 1));
    assert_eq!(methods(&actions).iter().filter(|method| *method == "session/prompt").count(), 2);
    tells(&actions, &[r#""optionId":"reject""#, "not like this"]);
    assert!(!shown(&actions).contains("command_run"));
}

#[test]
fn another_input_is_a_denial_with_words() {
    let other = |body: &mut CommandBody| {
        if let CommandBody::Approval { updated_input, .. } = body {
            *updated_input = Some(json!({"command": "true"}));
        }
    };
    let actions = replay("declined", plan_of(PermissionMode::Edits), answering(Decision::Allow, other));
    assert!(shown(&actions).contains("opencode cannot be given another input"));
    assert!(shown(&actions).contains("Do this in its place: true"));
    assert_eq!((ends(&actions)[0].denials.len(), ends(&actions)[0].background), (0, 1));
}

#[test]
fn interrupted_in_a_text() {
    let actions =
        replay("interrupted_in_a_text", plan_of(PermissionMode::Edits), once("agent_message_chunk", Input::Interrupt));
    assert_eq!(methods(&actions).last().map(String::as_str), Some("session/cancel"));
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::Interrupted);
    tells(&actions, &[r#"event {"type":"output","text":"This "#]);
}

#[test]
fn interrupted_in_a_tool() {
    let mut allow = allowing();
    let mut interrupt = once("\"command\":\"sleep 3\",\"cwd\"", Input::Interrupt);
    let after = move |line: &Value, actions: &[Action]| allow(line, actions).or_else(|| interrupt(line, actions));
    let actions = replay("interrupted_in_a_tool", plan_of(PermissionMode::Edits), after);
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::Interrupted);
    tells(&actions, &[r#"event {"type":"command_run","command":"sleep 3""#]);
}

#[test]
fn interrupted_while_an_approval_waits() {
    let after = once("request_permission", Input::Interrupt);
    let actions = replay("interrupted_while_an_approval_waits", plan_of(PermissionMode::Edits), after);
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::Interrupted);
    tells(&actions, &[r#""decision":"withdrawn""#, r#"{"outcome":"cancelled"}"#]);
    assert!(!shown(&actions).contains("command_run"));
}

#[test]
fn a_message_waits_for_the_end_of_the_turn() {
    let mut allow = allowing();
    let mut more = once("agent_message_chunk", message(1, "more"));
    let after = move |line: &Value, actions: &[Action]| allow(line, actions).or_else(|| more(line, actions));
    let actions = replay("in_followup", plan_of(PermissionMode::Edits), after);
    let place = |words: &str| shown(&actions).find(words).unwrap();
    assert!(place("TurnEnd") < place("more"), "{}", shown(&actions));
    assert!(place("more") < place(&format!("Taken({})", Uuid::from_u128(1))));
    assert_eq!(ends(&actions).len(), 2);
}

#[test]
fn a_session_goes_on_and_counts_its_own_cost() {
    let session = "ses_deb897336ffeZPcfhQBvBL3aIy";
    let resumed = || Plan { session: SessionStart::Resume(session.into()), ..plan_of(PermissionMode::Edits) };
    let costs = Costs::default();
    costs.lock().unwrap().insert(session.into(), 0.01125);
    let translator_knowing = Translator::new(resumed(), Box::new(Uuid::new_v4), costs);
    let cost = |actions: &[Action]| {
        let mut usages = actions.iter().rev().filter_map(|action| match action {
            Action::Emit(Output::Usage(usage)) => Some(usage.cost_usd),
            _ => None,
        });
        usages.next().unwrap()
    };
    let actions = replay_in(translator_knowing, "resumed", |_, _| None);
    assert!(methods(&actions).contains(&"session/resume".to_owned()));
    assert!((cost(&actions) - 0.00375).abs() < 1e-9, "{}", shown(&actions));
    // Where nobody knows what it had cost, nothing is counted twice.
    assert_eq!(cost(&replay("resumed", resumed(), |_, _| None)), 0.0);
}

#[test]
fn a_session_that_is_gone_is_told() {
    let session = SessionStart::Resume("00000000-0000-4000-8000-000000000000".into());
    let actions = replay("resume_unknown", Plan { session, ..plan_of(PermissionMode::Edits) }, |_, _| None);
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::ResumeFailed);
    assert_eq!(actions.last(), Some(&Action::CloseInput));
}

/// The answers to the first requests of an agent that has these capabilities.
fn begun(plan: Plan, capabilities: Value, session: Value) -> (Translator, Vec<Action>) {
    let mut translator = translator(plan);
    let mut actions = translator.input(message(0, "x"));
    let result = json!({"protocolVersion": 1, "agentCapabilities": capabilities,
        "authMethods": [{"id": "a", "name": "Log in", "description": "Run `x login`"}]});
    actions.extend(translator.read(&json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string()));
    actions.extend(translator.read(&session.to_string()));
    (translator, actions)
}

#[test]
fn what_was_said_before_is_not_told_again_while_a_session_loads() {
    let session = SessionStart::Resume("s".into());
    let (mut translator, _) =
        begun(Plan { session, ..plan_of(PermissionMode::Edits) }, json!({"loadSession": true}), json!({}));
    let chunk = |text: &str| {
        json!({"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "s",
            "update": {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}}})
        .to_string()
    };
    assert_eq!(translator.read(&chunk("old")), []);
    let actions = translator.read(&json!({"jsonrpc": "2.0", "id": 2, "result": {}}).to_string());
    assert_eq!(methods(&actions), ["session/prompt"]);
    assert!(translator.read(&chunk("new")).contains(&Action::Emit(Output::Delta("new".into()))));
}

#[test]
fn an_agent_without_sessions_that_go_on_says_so() {
    let session = SessionStart::Resume("s".into());
    let (_, actions) = begun(Plan { session, ..plan_of(PermissionMode::Edits) }, json!({}), json!({}));
    assert!(shown(&actions).contains("opencode cannot let a session go on"));
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::ResumeFailed);
}

#[test]
fn who_is_not_logged_in_is_told_how() {
    let error = json!({"code": -32000, "message": "Authentication required"});
    let answer = json!({"jsonrpc": "2.0", "id": 2, "error": error});
    let (_, actions) = begun(plan_of(PermissionMode::Edits), json!({}), answer);
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::Auth);
    assert!(ends(&actions)[0].summary.contains("Run `x login`"));
}

#[test]
fn a_model_is_chosen_or_it_is_said_that_none_can_be() {
    let wanting = || Plan { model: Some("scripted/two".into()), ..plan_of(PermissionMode::Edits) };
    let option = json!({"id": "model", "category": "model", "currentValue": "scripted/one", "options": []});
    let session = |more: Value| {
        let mut result = json!({"sessionId": "s"});
        result.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"jsonrpc": "2.0", "id": 2, "result": result})
    };
    let (mut translator, actions) = begun(wanting(), json!({}), session(json!({"configOptions": [option]})));
    let choice = written(&actions).pop().unwrap();
    assert_eq!(
        (choice["method"].as_str(), choice["params"]["value"].as_str()),
        (Some("session/set_config_option"), Some("scripted/two"))
    );
    let actions = translator.read(&json!({"jsonrpc": "2.0", "id": 3, "result": {}}).to_string());
    assert!(
        actions.contains(&Action::Emit(Output::Started { session_id: "s".into(), model: Some("scripted/two".into()) }))
    );
    let models = json!({"models": {"currentModelId": "a", "availableModels": []}});
    assert_eq!(methods(&begun(wanting(), json!({}), session(models)).1).last().unwrap(), "session/set_model");
    let (_, actions) = begun(wanting(), json!({}), session(json!({})));
    assert_eq!(ends(&actions)[0].outcome, TurnOutcome::Failed);
    assert!(ends(&actions)[0].summary.contains("lets nobody choose its model"));
}

#[test]
fn what_is_done_without_asking_is_told_once() {
    let actions = replay("failbash", plan_of(PermissionMode::All), |_, _| None);
    assert!(!shown(&actions).contains("without asking"));
    let started = json!({"jsonrpc": "2.0", "id": 2, "result": {"sessionId": "s"}});
    let (mut translator, _) = begun(plan_of(PermissionMode::Ask), json!({}), started);
    let mut call = |id: &str| {
        let update = json!({"sessionUpdate": "tool_call", "toolCallId": id, "title": "rm x", "kind": "execute", "status": "completed"});
        let note =
            json!({"jsonrpc": "2.0", "method": "session/update", "params": {"sessionId": "s", "update": update}});
        shown(&translator.read(&note.to_string()))
    };
    assert!(call("1").contains("opencode does things without asking"));
    assert!(!call("2").contains("without asking"));
}

#[test]
fn a_budget_is_kept() {
    let plan = Plan { budget_usd: Some(0.001), ..plan_of(PermissionMode::Edits) };
    let actions = replay("edit", plan, allowing());
    assert!(methods(&actions).contains(&"session/cancel".to_owned()), "{}", shown(&actions));
    // OpenCode tells it at the end of a turn: then no other begins.
    let plan = Plan { budget_usd: Some(0.001), ..plan_of(PermissionMode::Edits) };
    let more = once("\"stopReason\"", message(1, "more"));
    let actions = replay("text", plan, more);
    assert_eq!(ends(&actions).last().unwrap().outcome, TurnOutcome::Budget);
    assert_eq!(methods(&actions).iter().filter(|method| *method == "session/prompt").count(), 1);
}

#[test]
fn a_push_is_denied_in_every_mode() {
    for mode in PermissionMode::ALL {
        let mut translator = translator(plan_of(*mode));
        let call = json!({"toolCallId": "c", "title": "x", "kind": "execute", "rawInput": {"command": "git push -f"}});
        let options = json!([{"optionId": "y", "kind": "allow_once", "name": ""}, {"optionId": "n", "kind": "reject_once", "name": ""}]);
        let params = json!({"sessionId": "s", "toolCall": call, "options": options});
        let request = json!({"jsonrpc": "2.0", "id": 3, "method": "session/request_permission", "params": params});
        let actions = translator.read(&request.to_string());
        assert_eq!(asked(&actions), None);
        assert_eq!(written(&actions)[0]["result"]["outcome"]["optionId"], "n");
    }
}

#[test]
fn an_agent_of_the_settings_is_found_and_where_it_is_not_that_is_said() {
    let agent = Acp::new("mine", &["/bin/sh".to_owned(), "--acp".to_owned()]).unwrap();
    assert_eq!((agent.name(), agent.find(&[].into()).unwrap()), ("mine", "/bin/sh".into()));
    let missing = Acp::new("mine", &["nonesuch".to_owned()]).unwrap().find(&[].into());
    assert!(matches!(missing, Err(AgentError::Missing { agent: "mine", .. })));
    assert!(Acp::new("mine", &[]).is_err());
}

fn any_recording() -> impl Strategy<Value = String> {
    const NAMES: &[&str] = &["text", "edit", "edit_asked", "declined", "plan", "outside", "in_followup", "resumed"];
    prop::sample::select(NAMES).prop_map(recording)
}

proptest! {
    /// Real lines in any order, some of them cut, with interrupts and messages between.
    #[test]
    fn lines_in_any_order_are_survived(
        recording in any_recording(),
        order in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..8_u8), 0..60),
    ) {
        let lines: Vec<&str> = recording.lines().collect();
        let mut translator = translator(plan_of(PermissionMode::Ask));
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
        let mut translator = translator(plan_of(PermissionMode::Ask));
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
