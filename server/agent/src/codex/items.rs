//! What Codex's items are as events.

use std::path::PathBuf;

use cadence_protocol::{EditAction, EventData};
use serde_json::{Map, Value, json};

use super::wire::{Change, ChangeKind, Item};
use crate::session::calls::{BASH, Call, EDIT, relative};
use crate::session::patch::{self, Patch};

/// The call of a tool that an item is, with its id.
pub fn call(item: &Item, roots: &[PathBuf]) -> Option<(String, Call)> {
    let (id, tool, input) = match item {
        Item::CommandExecution { id, command, .. } => (id, BASH.to_owned(), json!({"command": unwrapped(command)})),
        Item::FileChange { id, changes, .. } => (id, EDIT.to_owned(), changed(changes, roots)),
        Item::McpToolCall { id, server, tool, arguments, .. } => (id, format!("{server}.{tool}"), arguments.clone()),
        Item::WebSearch { id, query } => (id, "WebSearch".to_owned(), json!({"query": query})),
        Item::CollabAgentToolCall { id, tool, prompt } => {
            let tool = tool.as_str().unwrap_or("Agent").to_owned();
            (id, tool, json!({"prompt": prompt}))
        }
        Item::UserMessage { .. } | Item::AgentMessage { .. } | Item::Other => return None,
    };
    Some((id.clone(), Call { tool, input }))
}

/// The script of `/bin/bash -lc 'script'`; Codex quotes the words of a command so that a shell would read them back.
pub fn unwrapped(command: &str) -> String {
    let words = shlex::split(command).unwrap_or_default();
    match words.as_slice() {
        [shell, flag, script] if shell.ends_with("sh") && matches!(flag.as_str(), "-lc" | "-c") => script.clone(),
        _ => command.to_owned(),
    }
}

/// The input of a change of files: its path where it is one file, and the diff whole, because people decide on its ground.
fn changed(changes: &[Change], roots: &[PathBuf]) -> Value {
    let mut input = Map::new();
    if let [change] = changes {
        input.insert("path".into(), relative(&change.path, roots).into());
    }
    let diffs: String = changes.iter().map(|change| diff(change, roots).diff).collect();
    input.insert("diff".into(), diffs.into());
    Value::Object(input)
}

/// The events of a change that was made.
pub fn edits(changes: &[Change], roots: &[PathBuf]) -> Vec<EventData> {
    let edit = |change: &Change| {
        let action = match change.kind {
            ChangeKind::Add => EditAction::Create,
            ChangeKind::Delete => EditAction::Delete,
            ChangeKind::Update { .. } => EditAction::Edit,
        };
        let Patch { diff, lines_changed } = diff(change, roots);
        let path = relative(target(change), roots);
        EventData::FileEdit { path, action, lines_changed: Some(lines_changed), diff: Some(patch::cap(diff)) }
    };
    changes.iter().map(edit).collect()
}

/// The paths of a change, as seen from the workspace.
pub fn paths(changes: &[Change], roots: &[PathBuf]) -> String {
    changes.iter().map(|change| relative(&change.path, roots)).collect::<Vec<_>>().join(", ")
}

/// Where the file is after the change.
fn target(change: &Change) -> &str {
    match &change.kind {
        ChangeKind::Update { move_path: Some(path) } => path,
        _ => &change.path,
    }
}

fn diff(change: &Change, roots: &[PathBuf]) -> Patch {
    let path = relative(&change.path, roots);
    match &change.kind {
        ChangeKind::Add => patch::of_creation(&path, &change.diff),
        ChangeKind::Delete => patch::of_deletion(&path, &change.diff),
        ChangeKind::Update { .. } => patch::of_hunks(&path, &relative(target(change), roots), &change.diff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_lose_the_shell_around_them() {
        assert_eq!(unwrapped("/bin/bash -lc 'ls -1'"), "ls -1");
        assert_eq!(unwrapped(r#"/bin/bash -lc "sh -c 'echo hi > made.txt'""#), "sh -c 'echo hi > made.txt'");
        assert_eq!(unwrapped("zsh -c ls"), "ls");
        assert_eq!(unwrapped("python3 -c 'print(1)'"), "python3 -c 'print(1)'");
        assert_eq!(unwrapped("/bin/bash -lc 'not closed"), "/bin/bash -lc 'not closed");
    }

    #[test]
    fn changes_are_diffs_of_the_repository() {
        let roots = [PathBuf::from("/w")];
        let change = |path: &str, kind, diff: &str| Change { path: path.into(), kind, diff: diff.into() };
        let changes = [
            change("/w/new.txt", ChangeKind::Add, "a\n"),
            change("/w/old.txt", ChangeKind::Delete, "b\n"),
            change("/w/x", ChangeKind::Update { move_path: Some("/w/y".into()) }, "@@ -1 +1 @@\n-c\n+d\n"),
        ];
        insta::assert_snapshot!(changed(&changes, &roots)["diff"].as_str().unwrap_or_default(), @r"
        --- /dev/null
        +++ b/new.txt
        @@ -0,0 +1,1 @@
        +a
        --- a/old.txt
        +++ /dev/null
        @@ -1,1 +0,0 @@
        -b
        --- a/x
        +++ b/y
        @@ -1 +1 @@
        -c
        +d
        ");
        let told: Vec<_> = edits(&changes, &roots)
            .into_iter()
            .map(|event| match event {
                EventData::FileEdit { path, action, lines_changed, .. } => (path, action, lines_changed),
                other => (other.kind().to_owned(), EditAction::Edit, None),
            })
            .collect();
        let expected = [
            ("new.txt".to_owned(), EditAction::Create, Some(1)),
            ("old.txt".to_owned(), EditAction::Delete, Some(1)),
            ("y".to_owned(), EditAction::Edit, Some(2)),
        ];
        assert_eq!(told, expected);
        assert_eq!(changed(&changes[..1], &roots)["path"], "new.txt");
    }
}
