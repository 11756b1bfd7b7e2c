//! Tasks, events and states for tests.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use cadence_protocol::{Approval, ApprovalKind, Event, EventData, Task};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use super::keymap::{Key, Keymap};
use super::message::{Effect, Message};
use super::saved::Saved;
use super::state::State;
use super::theme::{Depth, Theme, ThemeName};
use super::update::update;
use crate::client::Item;

pub const NOW: OffsetDateTime = datetime!(2026-01-01 10:30:00 UTC);

pub fn id(number: u128) -> Uuid {
    Uuid::from_u128(number << 96 | number)
}

/// A task; `more` is laid over it.
pub fn task(number: u128, description: &str, status: &str, more: Value) -> Task {
    let mut value = json!({
        "id": id(number), "userId": Uuid::nil(), "taskDescription": description, "repoName": "shop",
        "repoPath": "/work/shop", "branch": format!("cadence/task-{number}"), "baseBranch": "main", "status": status,
        "progress": 0, "model": "sonnet", "agent": "claude", "source": "CLI", "executor": "local",
        "permissionMode": "ask", "attempt": 1, "lastSeq": 3,
        "createdAt": format!("2026-01-01T10:0{}:00Z", number % 10), "startedAt": "2026-01-01T10:20:00Z",
        "updatedAt": "2026-01-01T10:29:30Z",
    });
    for (name, field) in more.as_object().into_iter().flatten() {
        value[name] = field.clone();
    }
    serde_json::from_value(value).unwrap()
}

pub fn event(task: Uuid, seq: u64, data: Value) -> Event {
    let data: EventData = serde_json::from_value(data).unwrap();
    Event { kind: data.kind().into(), task_id: task, attempt: 1, seq, timestamp: NOW, data }
}

/// Words of an agent.
pub fn words(task: Uuid, seq: u64, text: &str) -> Event {
    event(task, seq, json!({"type": "output", "text": text}))
}

pub fn approval(id: &str, task: Uuid, input: Value) -> Approval {
    Approval { task_id: task, created_at: NOW, ..crate::client::stub::approval(id, ApprovalKind::Permission, input) }
}

/// An empty dashboard.
pub fn state(size: (u16, u16)) -> State {
    themed(size, ThemeName::Dark, Depth::True)
}

pub fn themed(size: (u16, u16), theme: ThemeName, depth: Depth) -> State {
    let theme = Theme::new(theme, &BTreeMap::new(), depth).unwrap();
    let mut state = State::new(size, theme, Keymap::default(), &Saved::default(), NOW);
    state.voice_is_there = true;
    state.place = Some("/work/shop".into());
    state
}

/// What happens, now.
pub fn happens(state: &mut State, message: Message) -> Vec<Effect> {
    update(state, message, NOW)
}

/// The server tells of these tasks, and is live.
pub fn tell(state: &mut State, tasks: impl IntoIterator<Item = Task>) -> Vec<Effect> {
    let mut effects = Vec::new();
    for task in tasks {
        effects.extend(happens(state, Message::Stream(Item::Task(Box::new(task)))));
    }
    effects.extend(happens(state, Message::Stream(Item::Subscribed { task: None, last_seq: 0 })));
    effects
}

/// Events come over the stream.
pub fn brings(state: &mut State, events: impl IntoIterator<Item = Event>) -> Vec<Effect> {
    let stream = |event| Message::Stream(Item::Event(Box::new(event)));
    events.into_iter().flat_map(|event| happens(state, stream(event))).collect()
}

/// Presses keys as the settings write them; a text in quotes is typed.
pub fn press(state: &mut State, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for part in keys.split_inclusive('"').collect::<Vec<_>>().chunks(2) {
        for key in part[0].trim_matches('"').split_whitespace() {
            effects.extend(happens(state, Message::Terminal(crossterm::event::Event::Key(event_of(key)))));
        }
        for character in part.get(1).into_iter().flat_map(|text| text.trim_end_matches('"').chars()) {
            let key = KeyEvent::new(KeyCode::Char(character), KeyModifiers::NONE);
            effects.extend(happens(state, Message::Terminal(crossterm::event::Event::Key(key))));
        }
    }
    effects
}

fn event_of(key: &str) -> KeyEvent {
    let (code, control, alt) = Key::parse(key).unwrap().parts();
    let mut modifiers = KeyModifiers::NONE;
    modifiers.set(KeyModifiers::CONTROL, control);
    modifiers.set(KeyModifiers::ALT, alt);
    KeyEvent::new(code, modifiers)
}

/// A working day: something of everything.
pub fn day(state: &mut State) {
    let tasks = [
        task(1, "Fix the flaky test in user service", "waiting", json!({"waitingFor": "approval", "lastSeq": 12})),
        task(
            2,
            "Add rate limits to the public API",
            "running",
            json!({"repoName": "gateway", "metadata": {"estimatedCost": 0.42, "linesAdded": 120, "linesRemoved": 14}}),
        ),
        task(
            3,
            "Upgrade the payment client",
            "failed",
            json!({"error": "tests fail", "completedAt": "2026-01-01T10:25:12Z", "model": "opus"}),
        ),
        task(
            4,
            "日本語の説明を README に追加する 👩\u{200d}💻",
            "completed",
            json!({"completedAt": "2026-01-01T10:22:00Z", "metadata": {"filesChanged": 2, "linesAdded": 30}}),
        ),
        task(
            5,
            "Document the deployment",
            "pr_open",
            json!({"prUrl": "https://github.com/x/y/pull/7", "completedAt": "2026-01-01T11:21:00Z",
                   "metadata": {"filesChanged": 1, "linesAdded": 9, "linesRemoved": 2}}),
        ),
        task(6, "Wait for a slot", "pending", json!({"startedAt": null})),
        task(7, "Look at the slow query", "paused", json!({"executor": "daemon", "machineId": id(9)})),
        task(8, "Something of last week", "completed", json!({"archivedAt": "2026-01-01T09:00:00Z"})),
    ];
    tell(state, tasks);
    happens(
        state,
        Message::Approvals {
            number: u64::MAX,
            result: Ok(vec![approval("a1", id(1), json!({"command": "cargo test -p user_service -- --nocapture"}))]),
        },
    );
}

/// What the agent of the first task did.
pub fn transcript(task: Uuid) -> Vec<Event> {
    let data = [
        json!({"type": "message", "text": "Fix the flaky test in user service", "from": "ann"}),
        json!({"type": "task_started", "message": "The agent has started.", "model": "sonnet"}),
        json!({"type": "output", "text": "I look at the **test** first; it waits for `sleep(1)`."}),
        json!({"type": "tool_use", "tool": "Read", "input": {"file_path": "src/user/service.rs"}}),
        json!({"type": "tool_use", "tool": "Bash", "input": {"command": "cargo test -p user_service"}}),
        json!({"type": "command_run", "command": "cargo test -p user_service", "exitCode": 101,
               "output": "running 3 tests\ntest create ... ok\ntest expire ... FAILED\n"}),
        json!({"type": "file_edit", "path": "src/user/service.rs", "action": "edit", "diff":
               "--- a/src/user/service.rs\n+++ b/src/user/service.rs\n@@ -10,2 +10,2 @@ fn expire()\n-    sleep(1);\n+    clock.advance(1);\n"}),
        json!({"type": "error", "message": "rate limited, going on in 3 s", "recoverable": true}),
        json!({"type": "progress", "percent": 60, "note": "Run the test again"}),
        json!({"type": "output", "text": "Now I run it again:\n\n1. once\n2. a hundred times"}),
        json!({"type": "approval_requested", "approvalId": "a1", "kind": "permission", "tool": "Bash",
               "input": {"command": "cargo test -p user_service -- --nocapture"}}),
        json!({"type": "status_changed", "from": "running", "to": "waiting", "reason": "approval"}),
    ];
    data.into_iter().zip(1..).map(|(data, seq)| event(task, seq, data)).collect()
}
