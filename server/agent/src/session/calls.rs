//! Calls of tools that have no result yet.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};

use serde_json::Value;

/// What a tool that runs a command in a shell is called in events, whatever the agent calls it: its input has a `command`.
pub const BASH: &str = "Bash";
/// What a tool that changes files is called.
pub const EDIT: &str = "Edit";

/// A tool that the agent called.
#[derive(Debug)]
pub struct Call {
    pub tool: String,
    pub input: Value,
}

impl Call {
    /// The command, where it runs one.
    pub fn command(&self) -> Option<&str> {
        (self.tool == BASH).then(|| self.input.get("command")?.as_str())?
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

    pub fn get(&self, id: &str) -> Option<&Call> {
        self.open.get(id).map(|(call, _)| call)
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

/// The path as seen from the workspace; as it is where it lies outside.
pub fn relative(path: &str, roots: &[PathBuf]) -> String {
    let inside = roots.iter().find_map(|root| Path::new(path).strip_prefix(root).ok());
    inside.map_or_else(|| path.to_owned(), |inside| inside.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
}
