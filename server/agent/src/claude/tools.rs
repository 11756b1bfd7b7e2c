//! What the results of tools tell: commands that ran, files that changed.

use std::path::PathBuf;

use cadence_protocol::{EditAction, EventData};
use serde_json::Value;

use crate::session::calls::{Call, relative};
use crate::session::patch;

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
    let (lines_changed, diff) = patch.map(|patch| (patch.lines_changed, patch::cap(patch.diff))).unzip();
    Some(EventData::FileEdit { path, action, lines_changed, diff })
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
    fn summaries_of_background_commands() {
        assert_eq!(code_in_summary("Background command \"x\" completed (exit code 0)"), Some(0));
        assert_eq!(code_in_summary("Background command \"x\" failed (exit code 12)"), Some(12));
        assert_eq!(code_in_summary("Sleep"), None);
    }
}
