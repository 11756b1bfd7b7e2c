//! What calls of tools are as events.

use std::path::PathBuf;

use cadence_protocol::{EditAction, EventData};
use serde_json::{Value, json};

use super::wire::{Location, ToolCall};
use crate::session::calls::{BASH, EDIT, relative};
use crate::session::patch::{self, Patch};

/// A call as far as it is known.
#[derive(Clone, Debug, Default)]
pub struct Call {
    title: String,
    pub kind: String,
    pub status: String,
    locations: Vec<Location>,
    raw_input: Value,
    raw_output: Value,
    content: Vec<Value>,
    /// Its `ToolUse` was told.
    pub told: bool,
    /// It was asked for.
    pub asked: bool,
    /// It was denied or taken back, so that it did not run.
    pub stopped: bool,
}

/// A change of a file that a call makes.
struct Change<'a> {
    path: &'a str,
    old: Option<&'a str>,
    new: &'a str,
}

impl Call {
    /// Takes in what is new.
    pub fn update(&mut self, new: ToolCall) {
        fn set<T>(field: &mut T, new: Option<T>) {
            if let Some(new) = new {
                *field = new;
            }
        }
        set(&mut self.title, new.title.filter(|title| !title.is_empty()));
        set(&mut self.kind, new.kind);
        set(&mut self.status, new.status);
        set(&mut self.locations, new.locations.filter(|locations| !locations.is_empty()));
        set(
            &mut self.raw_input,
            new.raw_input.filter(|input| input.as_object().is_none_or(|fields| !fields.is_empty())),
        );
        set(&mut self.raw_output, new.raw_output);
        set(&mut self.content, new.content.filter(|content| !content.is_empty()));
    }

    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "completed" | "failed")
    }

    /// Whether it is known well enough to be told: many agents say first that there is a call, and then what it is.
    pub fn is_known(&self) -> bool {
        self.status != "pending" || (self.kind == "execute" && self.raw_command().is_some())
    }

    /// Whether it changes something.
    pub fn acts(&self) -> bool {
        matches!(self.kind.as_str(), "edit" | "delete" | "move" | "execute")
    }

    fn raw_command(&self) -> Option<String> {
        match self.raw_input.get("command").or_else(|| self.raw_input.get("cmd"))? {
            Value::String(command) => Some(command.clone()),
            Value::Array(words) => {
                let words: Option<Vec<&str>> = words.iter().map(Value::as_str).collect();
                shlex::try_join(words?).ok()
            }
            _ => None,
        }
    }

    /// The command, where it runs one.
    pub fn command(&self) -> Option<String> {
        (self.kind == "execute").then(|| self.raw_command().unwrap_or_else(|| self.title.clone()))
    }

    /// What the tool is called in events.
    pub fn tool(&self) -> String {
        match self.kind.as_str() {
            "execute" => BASH.to_owned(),
            "edit" | "delete" | "move" => EDIT.to_owned(),
            "read" => "Read".to_owned(),
            "search" => "Search".to_owned(),
            "fetch" => "Fetch".to_owned(),
            _ if self.title.is_empty() => "Tool".to_owned(),
            _ => self.title.clone(),
        }
    }

    /// Its input in events and requests, whole.
    pub fn input(&self, roots: &[PathBuf]) -> Value {
        if let Some(command) = self.command() {
            return json!({ "command": command });
        }
        let path = self.locations.first().map(|location| relative(&location.path, roots));
        let changes = self.changes();
        if !changes.is_empty() {
            let diff: String = changes.iter().map(|change| diff(change, roots).diff).collect();
            return json!({"path": path.unwrap_or_else(|| relative(changes[0].path, roots)), "diff": diff});
        }
        match (&self.raw_input, path) {
            (Value::Null, Some(path)) => json!({ "path": path }),
            (Value::Null, None) => json!({"title": self.title}),
            (input, _) => input.clone(),
        }
    }

    fn changes(&self) -> Vec<Change<'_>> {
        let diffs = self.content.iter().filter(|item| item.get("type").and_then(Value::as_str) == Some("diff"));
        diffs
            .filter_map(|item| {
                let path = item.get("path")?.as_str()?;
                let old = item.get("oldText").and_then(Value::as_str).filter(|old| !old.is_empty());
                Some(Change { path, old, new: item.get("newText")?.as_str()? })
            })
            .collect()
    }

    /// Paths of files that it changes, as the agent tells them.
    pub fn paths(&self) -> Vec<String> {
        let changed = self.changes();
        let changed = changed.iter().map(|change| change.path.to_owned());
        changed.chain(self.locations.iter().map(|location| location.path.clone())).collect()
    }

    /// What its end tells.
    pub fn ended(&self, roots: &[PathBuf], interrupted: bool) -> Vec<EventData> {
        if self.stopped {
            return Vec::new();
        }
        let failed = self.status == "failed";
        if let Some(command) = self.command() {
            let output = Some(self.text()).filter(|text| !text.is_empty()).map(patch::cap);
            let output = if interrupted && output.is_none() { Some("interrupted".to_owned()) } else { output };
            let exit_code = self.exit_code().or((failed && !interrupted).then_some(1));
            return vec![EventData::CommandRun { command, exit_code, output }];
        }
        if failed {
            if interrupted {
                return Vec::new();
            }
            let message = patch::cap(format!("{} failed: {}", self.title, self.text()));
            return vec![EventData::Error { message, recoverable: true }];
        }
        match self.kind.as_str() {
            "edit" => self.edits(roots),
            "delete" => {
                let deleted = |location: &Location| EventData::FileEdit {
                    path: relative(&location.path, roots),
                    action: EditAction::Delete,
                    lines_changed: None,
                    diff: None,
                };
                self.locations.iter().map(deleted).collect()
            }
            _ => Vec::new(),
        }
    }

    fn edits(&self, roots: &[PathBuf]) -> Vec<EventData> {
        let event = |path: &str, action, patch: Option<Patch>| {
            let (lines_changed, diff) = patch.map(|patch| (patch.lines_changed, patch::cap(patch.diff))).unzip();
            EventData::FileEdit { path: relative(path, roots), action, lines_changed, diff }
        };
        let changes = self.changes();
        if !changes.is_empty() {
            // OpenCode's diff knows the lines around the change.
            let whole =
                self.raw_output.pointer("/metadata/diff").and_then(Value::as_str).filter(|_| changes.len() == 1);
            let whole = whole.and_then(|diff| diff.find("\n@@").map(|at| &diff[at + 1..]));
            return changes
                .iter()
                .map(|change| {
                    let action = if change.old.is_none() { EditAction::Create } else { EditAction::Edit };
                    let path = relative(change.path, roots);
                    let patch = match whole.filter(|_| change.old.is_some()) {
                        Some(hunks) => patch::of_hunks(&path, &path, hunks),
                        None => diff(change, roots),
                    };
                    event(change.path, action, Some(patch))
                })
                .collect();
        }
        let Some(location) = self.locations.first() else { return Vec::new() };
        let content = self.raw_input.get("content").and_then(Value::as_str);
        let new = self.raw_output.pointer("/metadata/exists") == Some(&Value::Bool(false));
        match content.filter(|_| new) {
            Some(content) => {
                let patch = patch::of_creation(&relative(&location.path, roots), content);
                vec![event(&location.path, EditAction::Create, Some(patch))]
            }
            None => vec![event(&location.path, EditAction::Edit, None)],
        }
    }

    /// Where agents put the exit code of a command; the protocol has no place for it.
    fn exit_code(&self) -> Option<i32> {
        let places = ["/metadata/exit", "/metadata/exitCode", "/exitCode", "/exit_code"];
        let code = places.iter().find_map(|place| self.raw_output.pointer(place)?.as_i64())?;
        i32::try_from(code).ok()
    }

    /// The text of its content.
    pub fn text(&self) -> String {
        let output = self.raw_output.pointer("/metadata/output").and_then(Value::as_str);
        let texts = self.content.iter().filter_map(|item| item.pointer("/content/text")?.as_str());
        let text = texts.collect::<Vec<_>>().join("\n");
        // OpenCode says so of a command without output.
        let text = if text.is_empty() { output.unwrap_or_default().to_owned() } else { text };
        if text == "(no output)" { String::new() } else { text.trim_end().to_owned() }
    }

    /// The list of steps that it writes, where it is a tool for that.
    pub fn steps(&self) -> Option<&Value> {
        self.raw_input.get("todos").filter(|_| self.status == "completed").map(|_| &self.raw_input)
    }

    /// Bytes that it takes in memory, about.
    pub fn size(&self) -> usize {
        use crate::session::calls::size;
        size(&self.raw_input) + size(&self.raw_output) + self.content.iter().map(size).sum::<usize>()
    }
}

fn diff(change: &Change<'_>, roots: &[PathBuf]) -> Patch {
    let path = relative(change.path, roots);
    match change.old {
        None => patch::of_creation(&path, change.new),
        Some(old) => patch::of_texts(&path, old, change.new),
    }
}
