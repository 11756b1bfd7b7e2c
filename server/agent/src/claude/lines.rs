//! The lines that Claude Code writes with `--output-format stream-json`.
//!
//! Read leniently: what is missing or of another type takes its default, unknown kinds are passed over. A newer CLI must
//! not stop the work.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// One line.
#[derive(Debug)]
pub enum Line {
    System(System),
    Assistant(Message),
    User(Message),
    StreamEvent(StreamEvent),
    Result(TurnResult),
    ControlRequest(ControlRequest),
    ControlCancelRequest(ControlCancel),
    RateLimitEvent(RateLimitEvent),
    Other,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

impl Line {
    /// `None` for what is no JSON object with a `type`.
    ///
    /// The kind is read first, and then the line as what it is: so nothing is kept in memory that nobody asks for, however
    /// long the line.
    pub fn parse(text: &str) -> Option<Self> {
        fn read<T: DeserializeOwned>(text: &str, line: fn(T) -> Line) -> Option<Line> {
            serde_json::from_str(text).ok().map(line)
        }
        let kind: Kind<'_> = serde_json::from_str(text).ok()?;
        match &*kind.r#type {
            "system" => read(text, Self::System),
            "assistant" => read(text, Self::Assistant),
            "user" => read(text, Self::User),
            "stream_event" => read(text, Self::StreamEvent),
            "result" => read(text, Self::Result),
            "control_request" => read(text, Self::ControlRequest),
            "control_cancel_request" => read(text, Self::ControlCancelRequest),
            "rate_limit_event" => read(text, Self::RateLimitEvent),
            _ => Some(Self::Other),
        }
    }
}

/// `system`: the session's start, retries, and the life of background tasks.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct System {
    #[serde(deserialize_with = "lenient")]
    pub subtype: String,
    #[serde(deserialize_with = "lenient")]
    pub session_id: String,
    #[serde(deserialize_with = "lenient")]
    pub model: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub cwd: String,
    #[serde(deserialize_with = "lenient")]
    pub task_id: String,
    #[serde(deserialize_with = "lenient")]
    pub tool_use_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub summary: String,
    #[serde(deserialize_with = "lenient")]
    pub patch: TaskPatch,
    #[serde(deserialize_with = "lenient")]
    pub attempt: u32,
    #[serde(deserialize_with = "lenient")]
    pub max_retries: u32,
    #[serde(deserialize_with = "lenient")]
    pub error_status: Option<u16>,
    #[serde(deserialize_with = "lenient")]
    pub error: Option<String>,
    /// Of the whole process so far, with the subtype `cost`, which the demo agent writes: Claude Code tells its cost at the
    /// end of a turn.
    #[serde(deserialize_with = "lenient")]
    pub total_cost_usd: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TaskPatch {
    #[serde(deserialize_with = "lenient")]
    pub status: String,
}

/// `assistant` and `user`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Message {
    #[serde(deserialize_with = "lenient")]
    pub message: Body,
    /// Set on the lines of a sub-agent.
    #[serde(deserialize_with = "lenient")]
    pub parent_tool_use_id: Option<String>,
    /// Kind of a failed request to the model's service.
    #[serde(deserialize_with = "lenient")]
    pub error: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub tool_use_result: Value,
    #[serde(deserialize_with = "lenient")]
    pub uuid: Option<String>,
    #[serde(rename = "isReplay", deserialize_with = "lenient")]
    pub is_replay: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Body {
    #[serde(deserialize_with = "lenient")]
    pub model: String,
    #[serde(deserialize_with = "lenient")]
    pub content: Value,
}

impl Body {
    /// The content's blocks; a plain string is one of text.
    pub fn blocks(self) -> Vec<Block> {
        match self.content {
            Value::String(text) => vec![Block::Text { text }],
            Value::Array(blocks) => {
                blocks.into_iter().map(|block| serde_json::from_value(block).unwrap_or(Block::Other)).collect()
            }
            _ => Vec::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    Text {
        #[serde(default, deserialize_with = "lenient")]
        text: String,
    },
    ToolUse {
        #[serde(default, deserialize_with = "lenient")]
        id: String,
        #[serde(default, deserialize_with = "lenient")]
        name: String,
        #[serde(default)]
        input: Value,
    },
    ToolResult {
        #[serde(default, deserialize_with = "lenient")]
        tool_use_id: String,
        #[serde(default)]
        content: Value,
        #[serde(default, deserialize_with = "lenient")]
        is_error: bool,
    },
    #[serde(other)]
    Other,
}

/// A part of a message that is still being written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct StreamEvent {
    #[serde(deserialize_with = "lenient")]
    pub event: Value,
    #[serde(deserialize_with = "lenient")]
    pub parent_tool_use_id: Option<String>,
}

impl StreamEvent {
    /// New text, where it is that.
    pub fn text(&self) -> Option<&str> {
        let delta = self.event.get("delta")?;
        (delta.get("type")?.as_str()? == "text_delta").then(|| delta.get("text")?.as_str())?
    }
}

/// The end of a turn.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TurnResult {
    #[serde(deserialize_with = "lenient")]
    pub subtype: String,
    #[serde(deserialize_with = "lenient")]
    pub is_error: bool,
    #[serde(deserialize_with = "lenient")]
    pub result: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub errors: Vec<String>,
    #[serde(deserialize_with = "lenient")]
    pub api_error_status: Option<u16>,
    #[serde(deserialize_with = "lenient")]
    pub terminal_reason: String,
    /// Of the whole process.
    #[serde(deserialize_with = "lenient")]
    pub total_cost_usd: Option<f64>,
    /// Of this turn.
    #[serde(deserialize_with = "lenient")]
    pub usage: TurnUsage,
    /// Of the whole process, by model.
    #[serde(rename = "modelUsage", deserialize_with = "lenient")]
    pub model_usage: BTreeMap<String, ModelUsage>,
    #[serde(deserialize_with = "lenient")]
    pub permission_denials: Vec<PermissionDenial>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TurnUsage {
    #[serde(deserialize_with = "lenient")]
    pub input_tokens: u64,
    #[serde(deserialize_with = "lenient")]
    pub cache_creation_input_tokens: u64,
    #[serde(deserialize_with = "lenient")]
    pub cache_read_input_tokens: u64,
    #[serde(deserialize_with = "lenient")]
    pub output_tokens: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ModelUsage {
    #[serde(deserialize_with = "lenient")]
    pub input_tokens: u64,
    #[serde(deserialize_with = "lenient")]
    pub cache_creation_input_tokens: u64,
    #[serde(deserialize_with = "lenient")]
    pub cache_read_input_tokens: u64,
    #[serde(deserialize_with = "lenient")]
    pub output_tokens: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PermissionDenial {
    #[serde(deserialize_with = "lenient")]
    pub tool_use_id: String,
    #[serde(deserialize_with = "lenient")]
    pub tool_name: String,
    #[serde(deserialize_with = "lenient")]
    pub tool_input: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ControlRequest {
    #[serde(deserialize_with = "lenient")]
    pub request_id: String,
    #[serde(deserialize_with = "lenient")]
    pub request: Request,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Request {
    #[serde(deserialize_with = "lenient")]
    pub subtype: String,
    #[serde(deserialize_with = "lenient")]
    pub tool_name: String,
    #[serde(deserialize_with = "lenient")]
    pub input: Value,
    #[serde(deserialize_with = "lenient")]
    pub permission_suggestions: Vec<Value>,
    #[serde(deserialize_with = "lenient")]
    pub tool_use_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ControlCancel {
    #[serde(deserialize_with = "lenient")]
    pub request_id: String,
}

/// The state of a subscription's rate limit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct RateLimitEvent {
    #[serde(deserialize_with = "lenient")]
    pub rate_limit_info: RateLimitInfo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RateLimitInfo {
    #[serde(deserialize_with = "lenient")]
    pub status: String,
    /// Seconds since 1970.
    #[serde(deserialize_with = "lenient")]
    pub resets_at: Option<u64>,
}

/// Takes the default where the value has another type.
fn lenient<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// The text of a tool's result, which is a string or blocks of text.
pub fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts: Vec<_> = blocks.iter().filter_map(|block| block.get("text")?.as_str()).collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn wrong_types_take_defaults() {
        let line = Line::parse(r#"{"type":"result","is_error":"yes","result":7,"modelUsage":[],"total_cost_usd":0.5}"#);
        let Some(Line::Result(result)) = line else { panic!("{line:?}") };
        assert!(!result.is_error);
        assert_eq!(result.result, None);
        assert_eq!(result.total_cost_usd, Some(0.5));
    }

    #[test]
    fn unknown_kinds_and_rubbish_are_told_apart() {
        assert!(matches!(Line::parse(r#"{"type":"bogus","x":1}"#), Some(Line::Other)));
        assert!(Line::parse("not json").is_none());
        assert!(Line::parse("[1]").is_none());
        assert!(Line::parse(r#"{"no":"type"}"#).is_none());
    }
}
