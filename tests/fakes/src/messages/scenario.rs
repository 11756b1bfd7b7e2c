//! What the scripted model says, step by step.

use serde_json::{Value, json};

/// A script: one step for each reply of the model.
///
/// The step of a request is the number of the model's replies since the message that chose the script, so that it does
/// not matter how often a request is repeated. After the last step the model echoes what it was told last.
/// In texts and inputs `{cwd}` stands for the agent's working directory.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    pub(super) steps: Vec<Step>,
    pub(super) repeat_last: bool,
    trouble: Vec<Trouble>,
}

/// One reply, and what goes wrong before it is given.
#[derive(Clone, Debug, Default)]
pub(super) struct Step {
    pub text: Option<String>,
    pub tools: Vec<(String, Value)>,
    pub usage: Usage,
    pub trouble: Vec<Trouble>,
}

/// Tokens of one reply. The CLI makes dollars of them by its own price list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Self { input: 1000, output: 50, cache_read: 500 }
    }
}

#[derive(Clone, Debug)]
pub(super) enum Trouble {
    Error {
        status: u16,
        kind: &'static str,
        times: u32,
        retry_after: Option<u32>,
    },
    /// The connection breaks in the middle of the text.
    Cut {
        times: u32,
    },
    /// Half of the text comes, then nothing.
    Hang,
    /// Half of the text comes, the rest when the test opens the gate.
    Gate(String),
}

/// For ever, as the `times` of [`Scenario::error`].
pub const ALWAYS: u32 = u32::MAX;

impl Scenario {
    pub fn new() -> Self {
        Self::default()
    }

    /// The model says something; without a tool its turn ends with it.
    pub fn text(self, text: &str) -> Self {
        self.step(Some(text), Vec::new())
    }

    /// The model uses a tool.
    pub fn tool(self, name: &str, input: Value) -> Self {
        self.step(None, vec![(name.to_owned(), input)])
    }

    /// The model says something and uses several tools in the same reply.
    pub fn tools<const N: usize>(self, text: &str, tools: [(&str, Value); N]) -> Self {
        let tools = tools.into_iter().map(|(name, input)| (name.to_owned(), input)).collect();
        self.step(Some(text), tools)
    }

    /// The model runs a command.
    pub fn bash(self, command: &str) -> Self {
        self.tool("Bash", json!({ "command": command, "description": "Run a command" }))
    }

    /// The model writes a file, relative to its working directory.
    pub fn write(self, path: &str, content: &str) -> Self {
        self.tool("Write", json!({ "file_path": format!("{{cwd}}/{path}"), "content": content }))
    }

    /// The model replaces text in a file that it has written or read.
    pub fn edit(self, path: &str, old: &str, new: &str) -> Self {
        let path = format!("{{cwd}}/{path}");
        self.tool("Edit", json!({ "file_path": path, "old_string": old, "new_string": new }))
    }

    /// The model reads a file.
    pub fn read(self, path: &str) -> Self {
        self.tool("Read", json!({ "file_path": format!("{{cwd}}/{path}") }))
    }

    /// Before the next step the service answers with an error, so many times.
    pub fn error(self, status: u16, times: u32) -> Self {
        self.trouble(Trouble::Error { status, kind: kind_of(status), times, retry_after: None })
    }

    /// As [`Scenario::error`] with 429, and the seconds after which to try again.
    pub fn rate_limit(self, times: u32, retry_after: u32) -> Self {
        self.trouble(Trouble::Error { status: 429, kind: kind_of(429), times, retry_after: Some(retry_after) })
    }

    /// The stream of the next step breaks in its middle, so many times.
    pub fn cut(self, times: u32) -> Self {
        self.trouble(Trouble::Cut { times })
    }

    /// The stream of the next step never ends.
    pub fn hang(self) -> Self {
        self.trouble(Trouble::Hang)
    }

    /// The stream of the next step waits in its middle until the test opens the gate of this name.
    pub fn gate(self, name: &str) -> Self {
        self.trouble(Trouble::Gate(name.to_owned()))
    }

    /// Tokens of the last step given.
    pub fn usage(mut self, usage: Usage) -> Self {
        self.steps.last_mut().expect("usage() follows a step").usage = usage;
        self
    }

    /// The last step is repeated for ever.
    pub fn repeat_last(mut self) -> Self {
        self.repeat_last = true;
        self
    }

    fn step(mut self, text: Option<&str>, tools: Vec<(String, Value)>) -> Self {
        let trouble = std::mem::take(&mut self.trouble);
        self.steps.push(Step { text: text.map(str::to_owned), tools, usage: Usage::default(), trouble });
        self
    }

    fn trouble(mut self, trouble: Trouble) -> Self {
        self.trouble.push(trouble);
        self
    }

    /// The step of this number, as far as the script goes.
    pub(super) fn at(&self, index: usize) -> Option<&Step> {
        self.steps.get(index).or_else(|| self.steps.last().filter(|_| self.repeat_last))
    }
}

/// The service's own word for an error.
fn kind_of(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}
