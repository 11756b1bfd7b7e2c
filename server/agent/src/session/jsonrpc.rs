//! JSON-RPC 2.0, a message on each line: <https://www.jsonrpc.org/specification>. Codex leaves `jsonrpc` out, so nothing
//! is expected of it here.

use serde::Deserialize;
use serde_json::{Value, json};

/// A message that came.
#[derive(Debug, PartialEq)]
pub enum Message {
    /// Wants an answer with this id, which is the other side's own: a number or a text.
    Request {
        id: Value,
        method: String,
        params: Value,
    },
    Notification {
        method: String,
        params: Value,
    },
    /// The answer to a request of ours.
    Response {
        id: u64,
        answer: Result<Value, Refusal>,
    },
}

/// An error as an answer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Refusal {
    pub code: i64,
    pub message: String,
    pub data: Value,
}

/// The error code for a method that is not there.
pub const METHOD_NOT_FOUND: i64 = -32601;

#[derive(Deserialize)]
struct Wire {
    id: Option<Value>,
    method: Option<String>,
    #[serde(default)]
    params: Value,
    result: Option<Value>,
    error: Option<Refusal>,
}

impl Message {
    /// Reads a line; `None` for what is no message.
    pub fn parse(line: &str) -> Option<Self> {
        let Wire { id, method, params, result, error } = serde_json::from_str(line).ok()?;
        let id = id.filter(|id| id.is_u64() || id.is_i64() || id.is_string());
        Some(match (id, method) {
            (Some(id), Some(method)) => Self::Request { id, method, params },
            (None, Some(method)) => Self::Notification { method, params },
            // Ours are numbers.
            (Some(id), None) => {
                let answer = error.map_or_else(|| Ok(result.unwrap_or_default()), Err);
                Self::Response { id: id.as_u64()?, answer }
            }
            (None, None) => return None,
        })
    }
}

/// A request of ours.
pub fn request(id: u64, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

pub fn notification(method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
}

/// The answer to a request of the other side's.
pub fn answer(id: &Value, result: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}

/// The answer that refuses a request: unanswered, the other side would wait for ever.
pub fn refuse(id: &Value, code: i64, message: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let request = Message::Request { id: json!(0), method: "m".into(), params: json!({"a": 1}) };
        assert_eq!(Message::parse(r#"{"id":0,"method":"m","params":{"a":1}}"#), Some(request));
        let note = Message::Notification { method: "m".into(), params: Value::Null };
        assert_eq!(Message::parse(r#"{"jsonrpc":"2.0","method":"m"}"#), Some(note));
        let response = Message::Response { id: 7, answer: Ok(json!({})) };
        assert_eq!(Message::parse(r#"{"id":7,"result":{}}"#), Some(response));
        let nothing = Message::Response { id: 7, answer: Ok(Value::Null) };
        assert_eq!(Message::parse(r#"{"id":7,"result":null}"#), Some(nothing));
        let refusal = Refusal { code: -32600, message: "no".into(), data: Value::Null };
        let refused = Message::Response { id: 7, answer: Err(refusal) };
        assert_eq!(Message::parse(r#"{"error":{"code":-32600,"message":"no"},"id":7}"#), Some(refused));
        for nonsense in ["", "7", "[]", "{}", r#"{"id":{},"result":1}"#, r#"{"id":"x","result":1}"#, r#"{"method":7}"#]
        {
            assert_eq!(Message::parse(nonsense), None, "{nonsense}");
        }
    }
}
