//! Messages of the Agent Client Protocol, as far as they are needed: <https://agentclientprotocol.com/protocol/schema>.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads parameters or a result; what does not fit is as if it had not come.
pub fn read<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Initialized {
    pub protocol_version: u64,
    pub agent_capabilities: Capabilities,
    pub auth_methods: Vec<AuthMethod>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Capabilities {
    pub load_session: bool,
    pub session_capabilities: SessionCapabilities,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct SessionCapabilities {
    /// There where sessions go on without telling what was said before.
    pub resume: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuthMethod {
    pub name: String,
    pub description: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SessionAnswer {
    pub session_id: Option<String>,
    pub config_options: Vec<ConfigOption>,
    pub models: Option<Models>,
}

/// Something that a client may choose for a session.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConfigOption {
    pub id: String,
    /// `model` for the model.
    pub category: Option<String>,
    pub current_value: Value,
}

/// The older way to choose a model.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Models {
    pub current_model_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    pub session_id: String,
    pub update: Update,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "sessionUpdate", rename_all = "snake_case")]
pub enum Update {
    AgentMessageChunk(Chunk),
    AgentThoughtChunk {},
    ToolCall(ToolCall),
    #[serde(rename = "tool_call_update")]
    ToolCallChange(ToolCall),
    Plan {
        entries: Vec<PlanEntry>,
    },
    UsageUpdate(UsageUpdate),
    #[serde(other)]
    Other,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chunk {
    #[serde(default)]
    pub message_id: Option<String>,
    pub content: Content,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    Text {
        text: String,
    },
    #[serde(other)]
    Other,
}

/// A call of a tool, or what is new of it: a field that is absent has not changed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ToolCall {
    pub tool_call_id: String,
    pub title: Option<String>,
    /// `read`, `edit`, `delete`, `move`, `search`, `execute`, `think`, `fetch`, `switch_mode` or `other`.
    pub kind: Option<String>,
    /// `pending`, `in_progress`, `completed` or `failed`.
    pub status: Option<String>,
    pub locations: Option<Vec<Location>>,
    pub raw_input: Option<Value>,
    pub raw_output: Option<Value>,
    pub content: Option<Vec<Value>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Location {
    pub path: String,
}

#[derive(Debug, Deserialize)]
pub struct PlanEntry {
    pub content: String,
    /// `pending`, `in_progress` or `completed`.
    pub status: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct UsageUpdate {
    pub cost: Option<Cost>,
}

/// Of the session from its beginning.
#[derive(Debug, Deserialize)]
pub struct Cost {
    pub amount: f64,
    pub currency: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PromptAnswer {
    /// `end_turn`, `max_tokens`, `max_turn_requests`, `refusal` or `cancelled`.
    pub stop_reason: String,
    #[serde(default)]
    pub usage: Option<PromptUsage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PromptUsage {
    pub input_tokens: u64,
    pub output_tokens: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermissionRequest {
    pub tool_call: ToolCall,
    pub options: Vec<PermissionOption>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PermissionOption {
    pub option_id: String,
    /// `allow_once`, `allow_always`, `reject_once` or `reject_always`.
    pub kind: String,
}
