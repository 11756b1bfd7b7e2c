//! Messages of Codex's app server, as far as they are needed. `codex app-server generate-ts` prints all of them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads parameters; what does not fit is as if it had not come.
pub fn read<T: DeserializeOwned>(params: Value) -> Option<T> {
    serde_json::from_value(params).ok()
}

#[derive(Debug, Deserialize)]
pub struct ThreadAnswer {
    pub thread: Id,
    pub model: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct TurnAnswer {
    pub turn: Id,
}

#[derive(Debug, Deserialize)]
pub struct Id {
    pub id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TurnNote {
    pub thread_id: String,
    pub turn: Turn,
}

#[derive(Debug, Deserialize)]
pub struct Turn {
    pub id: String,
    /// `completed`, `interrupted`, `failed` or `inProgress`.
    pub status: String,
    #[serde(default)]
    pub error: Option<TurnError>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TurnError {
    pub message: String,
    /// A word, or an object of one whose field is the word.
    pub codex_error_info: Value,
    pub additional_details: Option<String>,
}

impl TurnError {
    /// The word that says what kind of error it is.
    pub fn kind(&self) -> &str {
        let first = || self.codex_error_info.as_object()?.keys().next().map(String::as_str);
        self.codex_error_info.as_str().or_else(first).unwrap_or_default()
    }

    /// The status with which the model's service answered, where it did.
    pub fn status(&self) -> Option<u64> {
        self.codex_error_info.get(self.kind())?.get("httpStatusCode")?.as_u64()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorNote {
    pub thread_id: String,
    pub error: TurnError,
    #[serde(default)]
    pub will_retry: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ItemNote {
    pub thread_id: String,
    pub item: Item,
}

/// What a turn consists of.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Item {
    UserMessage {
        #[serde(default)]
        client_id: Option<String>,
    },
    AgentMessage {
        #[serde(default)]
        text: String,
    },
    CommandExecution {
        id: String,
        command: String,
        #[serde(default)]
        status: String,
        #[serde(default)]
        aggregated_output: Option<String>,
        #[serde(default)]
        exit_code: Option<i64>,
    },
    FileChange {
        id: String,
        #[serde(default)]
        changes: Vec<Change>,
        #[serde(default)]
        status: String,
    },
    McpToolCall {
        id: String,
        server: String,
        tool: String,
        #[serde(default)]
        arguments: Value,
        #[serde(default)]
        error: Option<ToolError>,
    },
    WebSearch {
        id: String,
        #[serde(default)]
        query: Option<String>,
    },
    CollabAgentToolCall {
        id: String,
        #[serde(default)]
        tool: Value,
        #[serde(default)]
        prompt: Option<String>,
    },
    #[serde(other)]
    Other,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ToolError {
    pub message: String,
}

/// A file that a patch changes.
#[derive(Debug, Deserialize)]
pub struct Change {
    pub path: String,
    pub kind: ChangeKind,
    /// Hunks of an update; the whole content of a file that comes or goes.
    #[serde(default)]
    pub diff: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum ChangeKind {
    Add,
    Delete,
    Update {
        #[serde(default)]
        move_path: Option<String>,
    },
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Delta {
    pub thread_id: String,
    pub delta: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageNote {
    pub thread_id: String,
    pub token_usage: ThreadUsage,
}

#[derive(Debug, Deserialize)]
pub struct ThreadUsage {
    /// Of the thread since it began, in whatever process.
    pub total: Tokens,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Tokens {
    /// Cached ones included.
    pub input_tokens: u64,
    /// Those of its reasoning included.
    pub output_tokens: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanNote {
    pub thread_id: String,
    pub plan: Vec<PlanStep>,
}

#[derive(Debug, Deserialize)]
pub struct PlanStep {
    pub step: String,
    /// `pending`, `inProgress` or `completed`.
    pub status: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    pub request_id: Value,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RateLimits {
    pub rate_limits: RateLimitWindows,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RateLimitWindows {
    pub primary: Option<RateLimitWindow>,
    pub secondary: Option<RateLimitWindow>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RateLimitWindow {
    pub used_percent: f64,
    /// Seconds since 1970.
    pub resets_at: Option<u64>,
}

/// A request for permission, of whatever kind: the fields of all of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Approval {
    pub item_id: String,
    pub command: Option<String>,
    pub cwd: Option<String>,
    pub reason: Option<String>,
    pub network_approval_context: Option<Value>,
    /// Directory that the agent wants to write to from now on.
    pub grant_root: Option<String>,
    pub permissions: Option<Value>,
    pub questions: Vec<Question>,
    /// Of a tool server's request.
    pub server_name: String,
    pub message: String,
    pub requested_schema: Option<Value>,
    pub url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Question {
    pub id: String,
    pub header: String,
    pub question: String,
    pub options: Option<Vec<BTreeMap<String, Value>>>,
}
