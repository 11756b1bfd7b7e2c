//! What the results of tools tell: commands that ran, files that changed.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use cadence_protocol::{EditAction, EventData};
use serde_json::Value;

use super::patch;

/// A tool that the agent called.
#[derive(Debug)]
pub struct Call {
    pub tool: String,
    pub input: Value,
}

impl Call {
    /// The command, where it runs one.
    pub fn command(&self) -> Option<&str> {
        (self.tool == "Bash").then(|| self.input.get("command")?.as_str())?
    }
}

/// Calls that have no result yet, by id. Where there are too many, or they hold too much, the oldest are forgotten: an agent
/// that works waits for its results.
#[derive(Debug, Default)]
pub struct Calls {
    open: HashMap<String, (Call, usize)>,
    order: VecDeque<String>,
    bytes: usize,
}

/// Most open calls, and most bytes that they hold together.
const MAX_CALLS: usize = 256;
const MAX_BYTES: usize = 16 << 20;

impl Calls {
    pub fn insert(&mut self, id: String, call: Call) {
        self.remove(&id);
        let size = size(&call.input);
        self.bytes += size;
        self.order.push_back(id.clone());
        self.open.insert(id, (call, size));
        while self.open.len() > MAX_CALLS || self.bytes > MAX_BYTES && self.open.len() > 1 {
            let Some(oldest) = self.order.front().cloned() else { return };
            self.remove(&oldest);
        }
    }

    pub fn remove(&mut self, id: &str) -> Option<Call> {
        let (call, size) = self.open.remove(id)?;
        self.bytes -= size;
        self.order.retain(|open| open != id);
        Some(call)
    }

    pub fn get_mut(&mut self, id: &str) -> Option<&mut Call> {
        self.open.get_mut(id).map(|(call, _)| call)
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Bytes that a value takes in memory, about.
pub fn size(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + size(value)).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    };
    inside + size_of::<Value>()
}

/// What came of a call.
#[derive(Debug)]
pub struct Outcome<'a> {
    pub text: String,
    /// `tool_use_result`: an object of the tool's own, or a string where it failed.
    pub details: &'a Value,
    pub is_error: bool,
    /// The call was denied or taken back before it ran.
    pub stopped: bool,
}

/// The event that a result is, where it is one.
pub fn told(call: &Call, outcome: &Outcome<'_>, roots: &[PathBuf], interrupted: bool) -> Option<EventData> {
    match call.tool.as_str() {
        "Bash" => command_run(call.command()?, outcome, interrupted),
        "Write" | "Edit" | "MultiEdit" | "NotebookEdit" if !outcome.is_error => file_edit(call, outcome.details, roots),
        // Denied and withdrawn ones are told where that happened.
        tool if outcome.is_error && !outcome.stopped && !interrupted => {
            let path = call.input.get("file_path").and_then(Value::as_str).map(|path| relative(path, roots));
            let what = path.map(|path| format!(" {path}")).unwrap_or_default();
            let reason =
                outcome.text.trim().trim_start_matches("<tool_use_error>").trim_end_matches("</tool_use_error>");
            let message = patch::cap(format!("{tool}{what} failed: {reason}"));
            Some(EventData::Error { message, recoverable: true })
        }
        _ => None,
    }
}

fn command_run(command: &str, outcome: &Outcome<'_>, interrupted: bool) -> Option<EventData> {
    let (exit_code, output) = if !outcome.is_error {
        (success_code(outcome.details), output(outcome))
    } else if let Some((code, output)) = failure(&outcome.text) {
        (Some(code), output.to_owned())
    } else if interrupted && !outcome.stopped {
        // It ran, and was killed.
        (None, "interrupted".to_owned())
    } else {
        // Denied, or refused before it ran.
        return None;
    };
    let output = (!output.is_empty()).then(|| patch::cap(output));
    Some(EventData::CommandRun { command: command.to_owned(), exit_code, output })
}

/// Zero, unless the CLI says that the command was stopped or read its exit code in a sense of its own.
fn success_code(details: &Value) -> Option<i32> {
    let interrupted = details.get("interrupted").and_then(Value::as_bool).unwrap_or(false);
    let interpreted = details.get("returnCodeInterpretation").is_some_and(|text| !text.is_null());
    (!interrupted && !interpreted).then_some(0)
}

fn output(outcome: &Outcome<'_>) -> String {
    let part = |name: &str| outcome.details.get(name).and_then(Value::as_str).map(str::trim_end).unwrap_or_default();
    match (part("stdout"), part("stderr")) {
        ("", "") if outcome.details.is_object() => String::new(),
        ("", "") => outcome.text.clone(),
        (text, "") | ("", text) => text.to_owned(),
        (stdout, stderr) => format!("{stdout}\n{stderr}"),
    }
}

/// Reads `Exit code 3`, and the output on the lines that follow.
fn failure(text: &str) -> Option<(i32, &str)> {
    let rest = text.strip_prefix("Exit code ")?;
    let (code, output) = rest.split_once('\n').unwrap_or((rest, ""));
    Some((code.trim().parse().ok()?, output))
}

fn file_edit(call: &Call, details: &Value, roots: &[PathBuf]) -> Option<EventData> {
    let field = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let path = field(details, "filePath")
        .or_else(|| field(&call.input, "file_path"))
        .or_else(|| field(&call.input, "notebook_path"))?;
    let path = relative(&path, roots);
    let created = field(details, "type").as_deref() == Some("create");
    let patch = if created {
        let content = field(details, "content").or_else(|| field(&call.input, "content"));
        content.map(|content| patch::of_creation(&path, &content))
    } else {
        details.get("structuredPatch").and_then(|structured| patch::of_edit(&path, structured))
    };
    let action = if created { EditAction::Create } else { EditAction::Edit };
    let (lines_changed, diff) = patch.map(|patch| (patch.lines_changed, patch.diff)).unzip();
    Some(EventData::FileEdit { path, action, lines_changed, diff })
}

/// The path as seen from the workspace; as it is where it lies outside.
fn relative(path: &str, roots: &[PathBuf]) -> String {
    let inside = roots.iter().find_map(|root| Path::new(path).strip_prefix(root).ok());
    inside.map_or_else(|| path.to_owned(), |inside| inside.display().to_string())
}

/// Whether the call returned while what it started goes on.
pub fn goes_on(details: &Value) -> bool {
    details.get("backgroundTaskId").is_some_and(Value::is_string)
        || details.get("status").and_then(Value::as_str) == Some("async_launched")
}

/// Whether a background task with this status has ended.
pub fn is_over(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "killed" | "stopped" | "cancelled")
}

/// Reads `… (exit code 0)`.
pub fn code_in_summary(summary: &str) -> Option<i32> {
    let (_, rest) = summary.rsplit_once("exit code ")?;
    rest.trim_end_matches(')').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bash(text: &str, details: Value, is_error: bool) -> Option<EventData> {
        let call = Call { tool: "Bash".into(), input: json!({"command": "x"}) };
        told(&call, &Outcome { text: text.into(), details: &details, is_error, stopped: false }, &[], false)
    }

    #[test]
    fn what_failed_is_told_unless_it_was_stopped() {
        let told = |stopped, interrupted| {
            let call = Call { tool: "Edit".into(), input: json!({"file_path": "/w/a.txt"}) };
            let text = "<tool_use_error>File has not been read yet.</tool_use_error>".into();
            let outcome = Outcome { text, details: &json!("Error"), is_error: true, stopped };
            told(&call, &outcome, &[PathBuf::from("/w")], interrupted)
        };
        let message = "Edit a.txt failed: File has not been read yet.".to_owned();
        assert_eq!(told(false, false), Some(EventData::Error { message, recoverable: true }));
        assert_eq!((told(true, false), told(false, true)), (None, None));
    }

    fn run(exit_code: Option<i32>, output: Option<&str>) -> Option<EventData> {
        Some(EventData::CommandRun { command: "x".into(), exit_code, output: output.map(str::to_owned) })
    }

    #[test]
    fn commands() {
        assert_eq!(bash("", json!({"stdout": "o\n", "stderr": "e"}), false), run(Some(0), Some("o\ne")));
        assert_eq!(bash("seen", json!("text"), false), run(Some(0), Some("seen")));
        assert_eq!(bash("", json!({"stdout": "", "stderr": ""}), false), run(Some(0), None));
        assert_eq!(bash("", json!({"stdout": "", "returnCodeInterpretation": "No matches"}), false), run(None, None));
        assert_eq!(bash("Exit code 3\no", json!("Error"), true), run(Some(3), Some("o")));
        assert_eq!(bash("Exit code 1", json!("Error"), true), run(Some(1), None));
        assert_eq!(bash("Permission denied by rule", json!("Error"), true), None);
    }

    #[test]
    fn calls_without_a_result_are_forgotten_in_the_end() {
        let mut calls = Calls::default();
        let call = |bytes: usize| Call { tool: "T".into(), input: json!("x".repeat(bytes)) };
        for n in 0..1000 {
            calls.insert(n.to_string(), call(10));
        }
        assert_eq!((calls.open.len(), calls.order.len()), (MAX_CALLS, MAX_CALLS));
        assert!(calls.remove("0").is_none() && calls.remove("999").is_some());
        calls.insert("large".into(), call(MAX_BYTES + 1));
        assert_eq!(calls.open.len(), 1, "all others make room");
        calls.insert("next".into(), call(1));
        assert!(calls.remove("large").is_none() && calls.remove("next").is_some());
        assert_eq!(calls.bytes, 0);
    }

    #[test]
    fn paths_are_those_of_the_repository() {
        let roots = [PathBuf::from("/w"), PathBuf::from("/real/w")];
        assert_eq!(relative("/w/a/b", &roots), "a/b");
        assert_eq!(relative("/real/w/a", &roots), "a");
        assert_eq!(relative("/w2/a", &roots), "/w2/a");
    }

    #[test]
    fn summaries_of_background_commands() {
        assert_eq!(code_in_summary("Background command \"x\" completed (exit code 0)"), Some(0));
        assert_eq!(code_in_summary("Background command \"x\" failed (exit code 12)"), Some(12));
        assert_eq!(code_in_summary("Sleep"), None);
    }
}
