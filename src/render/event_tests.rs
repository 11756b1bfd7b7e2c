#![allow(clippy::unwrap_used, clippy::expect_used)]

use cadence_protocol::EndReason;
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::plain;
use super::*;

fn event(data: EventData) -> Event {
    Event {
        kind: data.kind().to_owned(),
        task_id: Uuid::nil(),
        attempt: 1,
        seq: 1,
        timestamp: OffsetDateTime::UNIX_EPOCH,
        data,
    }
}

fn show(data: Vec<EventData>) -> String {
    let mut renderer = EventRenderer::new(Some(60)).framed();
    data.into_iter()
        .map(|data| plain(&renderer.lines(&event(data))))
        .filter(|t| !t.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

fn tool(tool: &str, input: Value) -> EventData {
    EventData::ToolUse { tool: tool.into(), input, tool_use_id: None }
}

fn run(command: &str, exit: Option<i32>, output: &str) -> EventData {
    EventData::CommandRun { command: command.into(), exit_code: exit, output: Some(output.into()) }
}

#[test]
fn a_run_reads_from_top_to_bottom() {
    let diff = "--- a/src/lib.rs\n+++ b/src/lib.rs\n@@ -1,3 +1,3 @@\n fn add(a: u8, b: u8) -> u8 {\n-    a - b\n+    a + b\n }\n";
    let shown = show(vec![
        EventData::TaskStarted { message: "claude started".into(), session_id: None, model: Some("sonnet".into()) },
        EventData::Output { text: "I look at the **failing** test first.".into() },
        tool("Read", json!({"file_path": "src/lib.rs"})),
        tool("Edit", json!({"file_path": "src/lib.rs", "old_string": "a - b"})),
        EventData::FileEdit {
            path: "src/lib.rs".into(),
            action: EditAction::Edit,
            lines_changed: Some(2),
            diff: Some(diff.into()),
        },
        tool("Bash", json!({"command": "cargo test"})),
        run("cargo test", Some(0), "running 1 test\ntest ok\n"),
        EventData::Progress { percent: 50, note: Some("tests pass".into()) },
        EventData::Message { text: "also the docs".into(), from: "dev".into() },
        EventData::TaskCompleted {
            success: true,
            summary: "fixed".into(),
            reason: EndReason::Done,
            pr_url: None,
            cost_usd: Some(0.12),
        },
    ]);
    insta::assert_snapshot!(shown, @r#"
    ▸ claude started · sonnet

    I look at the failing test first.

    ● Read  src/lib.rs
    ~ Edit  src/lib.rs  +1 −1
        @@ -1,3 +1,3 @@
         fn add(a: u8, b: u8) -> u8 {
        -    a - b
        +    a + b
         }
    $ cargo test
      │ running 1 test
      │ test ok
      └ exit 0
    ◦ 50% tests pass
    › also the docs  (dev)
    ✓ done · $0.12
    "#);
}

#[test]
fn failures_and_waits() {
    let shown = show(vec![
        run("false", Some(3), "out\nerr"),
        EventData::Error { message: "overloaded, trying again in 2 s".into(), recoverable: true },
        EventData::Error { message: "the service refused the key\nsign in again".into(), recoverable: false },
        EventData::StatusChanged {
            from: TaskStatus::Running,
            to: TaskStatus::Waiting,
            reason: Some("rate_limit".into()),
        },
        EventData::StatusChanged { from: TaskStatus::Running, to: TaskStatus::Paused, reason: None },
        EventData::TaskCompleted {
            success: false,
            summary: "the budget is spent".into(),
            reason: EndReason::Budget,
            pr_url: None,
            cost_usd: None,
        },
    ]);
    insta::assert_snapshot!(shown, @r#"
    $ false
      │ out
      │ err
      └ exit 3
    ! overloaded, trying again in 2 s
    ✗ the service refused the key
      sign in again
    ◦ waiting · rate_limit
    ◦ paused
    ✗ ended: the budget is used up
      the budget is spent
    "#);
}

#[test]
fn requests_show_everything_that_is_wanted() {
    let shown = show(vec![
        EventData::ApprovalRequested {
            approval_id: "r1".into(),
            kind: ApprovalKind::Permission,
            tool: "Bash".into(),
            input: json!({"command": "rm -rf build\ncargo build", "timeout": 5}),
            suggestions: None,
        },
        EventData::ApprovalResolved {
            approval_id: "r1".into(),
            decision: Decision::Deny,
            by: "dev".into(),
            answer: None,
        },
        EventData::ApprovalRequested {
            approval_id: "r2".into(),
            kind: ApprovalKind::Question,
            tool: "AskUserQuestion".into(),
            input: json!({"questions": [{"question": "Which one?", "header": "Kind", "multiSelect": false,
                "options": [{"label": "Red", "description": "like fire"}, {"label": "Blue"}]}]}),
            suggestions: None,
        },
        EventData::ApprovalResolved {
            approval_id: "r2".into(),
            decision: Decision::Withdrawn,
            by: String::new(),
            answer: None,
        },
    ]);
    insta::assert_snapshot!(shown, @r#"
    ? Bash wants permission
        command: rm -rf build
          cargo build
        timeout: 5
    ✗ denied by dev
    ? Which one?
        1. Red   like fire
        2. Blue
    ◦ request withdrawn
    "#);
}

#[test]
fn long_output_is_folded_and_can_be_had_in_full() {
    let output: String = (1..=40).map(|n| format!("line {n}\n")).collect();
    let folded = EventRenderer::new(None).lines(&event(run("seq 40", Some(0), &output)));
    insta::assert_snapshot!(plain(&folded), @r#"
    $ seq 40
      │ … 34 earlier lines
      │ line 35
      │ line 36
      │ line 37
      │ line 38
      │ line 39
      │ line 40
      └ exit 0
    "#);
    let full = EventRenderer::new(None).full().lines(&event(run("seq 40", Some(0), &output)));
    assert_eq!(full.len(), 42);
}

#[test]
fn commands_side_by_side_are_told_apart() {
    let shown = show(vec![
        tool("Bash", json!({"command": "sleep 2"})),
        tool("Bash", json!({"command": "ls"})),
        run("ls", Some(0), "a"),
        run("sleep 2", None, ""),
    ]);
    insta::assert_snapshot!(shown, @r#"
    $ sleep 2
    $ ls
      │ a
      └ exit 0
    $ sleep 2
      └ no exit code
    "#);
}

#[test]
fn paths_in_a_workspace_start_at_its_checkout() {
    let show = |path: &str| tool_summary(&json!({"file_path": path}));
    let id = "2b5d1935-40c9-4c4b-8839-c76da5d6f675";
    assert_eq!(show(&format!("/data/workspaces/{id}/calc/src/a.rs")), "src/a.rs");
    assert_eq!(show(&format!("/data/workspaces/{id}/calc")), format!("/data/workspaces/{id}/calc"));
    assert_eq!(show("/data/workspaces/mine/calc/a.rs"), "/data/workspaces/mine/calc/a.rs");
    assert_eq!(show("src/a.rs"), "src/a.rs");
}

#[test]
fn hostile_text_is_harmless() {
    let shown = show(vec![
        tool("Read\u{1b}[2J", json!({"file_path": "\u{1b}]0;owned\u{7}x"})),
        run("echo \u{1b}[31m", Some(0), "\u{1b}[2J\u{1b}[H\u{9b}31mred\u{202e}evil"),
        EventData::FileEdit {
            path: "a\n\u{1b}[1mb".into(),
            action: EditAction::Create,
            lines_changed: None,
            diff: Some("@@\n+\u{1b}]52;c;eA==\u{7}x".into()),
        },
        EventData::Output { text: "\u{1b}[?1049h".into() },
        EventData::Unknown,
    ]);
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    insta::assert_snapshot!(shown, @r#"
    ● Read  x
    $ echo \u{1b}[31m
      │ redevil
      └ exit 0
    + Create  a b  +1 −0
        @@
        +x
    "#);
}

#[test]
fn a_wanted_edit_is_shown_as_a_change() {
    let path = "/data/workspaces/2b5d1935-40c9-4c4b-8839-c76da5d6f675/calc/src/a.rs";
    let edit = json!({"file_path": path, "old_string": "a\nb\nc", "new_string": "a\nx\u{1b}\nc", "replace_all": true});
    let mut lines = request(ApprovalKind::Permission, "Edit", &edit, 400);
    lines.extend(request(ApprovalKind::Permission, "Write", &json!({"file_path": "/etc/x", "content": "1\n2\n3"}), 2));
    insta::assert_snapshot!(plain(&lines), @r#"
    ? Edit wants permission
        src/a.rs
          a
        - b
        + x\u{1b}
          c
        replace_all: true
    ? Write wants permission
        /etc/x
        + 1
        + 2
          … 1 more lines are not shown
    "#);
}

#[test]
fn an_allowed_command_is_shown_once() {
    let shown = show(vec![
        tool("Bash", json!({"command": "make"})),
        EventData::ApprovalRequested {
            approval_id: "r1".into(),
            kind: ApprovalKind::Permission,
            tool: "Bash".into(),
            input: json!({"command": "make"}),
            suggestions: None,
        },
        serde_json::from_value(
            json!({"type": "approval_resolved", "approvalId": "r1", "decision": "allow", "by": "dev"}),
        )
        .unwrap(),
        run("make", Some(0), "made"),
    ]);
    insta::assert_snapshot!(shown, @r#"
    $ make
    ? Bash wants permission
        command: make
    ✓ allowed by dev
      │ made
      └ exit 0
    "#);
}

#[test]
fn a_new_attempt_is_set_apart() {
    let mut renderer = EventRenderer::new(None).framed();
    let mut again = event(EventData::Output { text: "again".into() });
    assert!(!plain(&renderer.lines(&again)).contains("attempt"));
    again.attempt = 2;
    assert!(plain(&renderer.lines(&again)).starts_with("── attempt 2 ──"));
    assert!(!plain(&renderer.lines(&again)).contains("attempt"));
}
