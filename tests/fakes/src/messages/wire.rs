//! The Messages API's request, as far as a script needs it, and its replies.

use serde_json::{Value, json};

use super::scenario::{Step, Usage};

/// How the CLI begins what it passes on.
const DURING_A_TURN: &str = "The user sent a new message while you were working:";

/// Whose form a request has, and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    Messages,
    Responses,
    Chat,
}

/// What a script needs to know of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub api: Api,
    /// Name in the newest `[[scenario:NAME]]` of the user's.
    pub scenario: Option<String>,
    /// Replies of the model since then.
    pub step: usize,
    /// What the user said last, without the reminders that the CLI adds.
    pub said: String,
    /// The conversation's session, to tell repeats of one from another.
    pub session: String,
    /// A request of the CLI's own: a title, a check of the quota.
    pub auxiliary: bool,
    pub stream: bool,
    pub model: String,
    pub cwd: String,
}

impl Asked {
    pub fn read(body: &Value) -> Self {
        let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut asked = Self {
            api: Api::Messages,
            scenario: None,
            step: 0,
            said: String::new(),
            session: body["metadata"]["user_id"].as_str().unwrap_or_default().to_owned(),
            auxiliary: body["tools"].as_array().is_none_or(Vec::is_empty),
            stream: body["stream"] == true,
            model: body["model"].as_str().unwrap_or("fake").to_owned(),
            cwd: working_directory(body).unwrap_or_else(|| ".".to_owned()),
        };
        for message in messages {
            if message["role"] == "assistant" {
                asked.step += 1;
                continue;
            }
            for text in said(message) {
                asked.said = text.to_owned();
                if let Some(name) = marker(text) {
                    asked.scenario = Some(name.to_owned());
                    asked.step = 0;
                }
            }
        }
        asked
    }
}

/// The texts of a message's content, which is a string or a list of blocks.
pub(super) fn texts(content: &Value) -> impl Iterator<Item = &str> {
    let blocks = content.as_array().map(Vec::as_slice).unwrap_or_default();
    content.as_str().into_iter().chain(blocks.iter().filter(|b| b["type"] == "text").filter_map(|b| b["text"].as_str()))
}

/// What the user says in a message. The CLI passes on what comes during a turn in its own name.
pub(super) fn said(message: &Value) -> impl Iterator<Item = &str> {
    let user = message["role"] == "user";
    texts(&message["content"]).filter_map(move |text| match text.trim_start().strip_prefix(DURING_A_TURN) {
        Some(rest) => Some(rest.split("\n\nIMPORTANT:").next().unwrap_or(rest).trim()),
        None => Some(text).filter(|text| user && !text.trim_start().starts_with("<system-reminder>")),
    })
}

pub(super) fn marker(text: &str) -> Option<&str> {
    let (_, rest) = text.rsplit_once("[[scenario:")?;
    rest.split_once("]]").map(|(name, _)| name.trim())
}

/// The working directory that the CLI tells the model of.
fn working_directory(body: &Value) -> Option<String> {
    let messages = body["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let all = texts(&body["system"]).chain(messages.iter().flat_map(|m| texts(&m["content"])));
    all.flat_map(str::lines).find_map(|line| {
        let (_, path) = line.split_once("orking directory: ")?;
        path.starts_with('/').then(|| path.trim_end().to_owned())
    })
}

/// A reply, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub id: String,
    pub model: String,
    pub text: Option<String>,
    pub tools: Vec<(String, Value)>,
    pub usage: Usage,
}

impl Reply {
    pub fn of(step: &Step, asked: &Asked, number: u64) -> Self {
        let fill = |text: &str| text.replace("{cwd}", &asked.cwd);
        Self {
            id: format!("msg_fake{number:06}"),
            model: asked.model.clone(),
            text: step.text.as_deref().map(fill),
            tools: step.tools.iter().map(|(name, input)| (name.clone(), map_strings(input, &fill))).collect(),
            usage: step.usage,
        }
    }

    /// A reply without tools, outside any script.
    pub fn saying(text: &str, asked: &Asked, number: u64) -> Self {
        Self::of(&Step { text: Some(text.to_owned()), ..Step::default() }, asked, number)
    }

    pub fn tool_id(&self, index: usize) -> String {
        format!("toolu_{}_{index}", self.id.trim_start_matches("msg_"))
    }

    fn stop_reason(&self) -> &'static str {
        if self.tools.is_empty() { "end_turn" } else { "tool_use" }
    }

    fn usage(&self, output: u64) -> Value {
        json!({"input_tokens": self.usage.input, "output_tokens": output,
               "cache_creation_input_tokens": 0, "cache_read_input_tokens": self.usage.cache_read})
    }

    /// The whole reply as one document.
    pub fn json(&self) -> Value {
        let mut content = Vec::new();
        content.extend(self.text.as_ref().map(|text| json!({"type": "text", "text": text})));
        for (index, (name, input)) in self.tools.iter().enumerate() {
            content.push(json!({"type": "tool_use", "id": self.tool_id(index), "name": name, "input": input}));
        }
        json!({"id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
               "stop_reason": self.stop_reason(), "stop_sequence": null, "usage": self.usage(self.usage.output)})
    }

    /// The reply as server-sent events: what comes up to the middle of the text, and the rest.
    pub fn events(&self) -> (String, String) {
        let mut before = String::new();
        let mut message = self.json();
        message["content"] = json!([]);
        message["stop_reason"] = Value::Null;
        message["usage"] = self.usage(1);
        event(&mut before, json!({"type": "message_start", "message": message}));
        let mut after = String::new();
        let mut index = 0;
        if let Some(text) = &self.text {
            let start = json!({"type": "text", "text": ""});
            event(&mut before, json!({"type": "content_block_start", "index": 0, "content_block": start}));
            let pieces = pieces(text);
            for (n, piece) in pieces.iter().enumerate() {
                let delta = json!({"type": "text_delta", "text": piece});
                let out = if n * 2 < pieces.len() { &mut before } else { &mut after };
                event(out, json!({"type": "content_block_delta", "index": 0, "delta": delta}));
            }
            event(&mut after, json!({"type": "content_block_stop", "index": 0}));
            index = 1;
        }
        for (n, (name, input)) in self.tools.iter().enumerate() {
            let block = json!({"type": "tool_use", "id": self.tool_id(n), "name": name, "input": {}});
            let delta = json!({"type": "input_json_delta", "partial_json": input.to_string()});
            event(&mut after, json!({"type": "content_block_start", "index": index + n, "content_block": block}));
            event(&mut after, json!({"type": "content_block_delta", "index": index + n, "delta": delta}));
            event(&mut after, json!({"type": "content_block_stop", "index": index + n}));
        }
        let end = json!({"stop_reason": self.stop_reason(), "stop_sequence": null});
        event(&mut after, json!({"type": "message_delta", "delta": end, "usage": self.usage(self.usage.output)}));
        event(&mut after, json!({"type": "message_stop"}));
        (before, after)
    }
}

pub(super) fn event(out: &mut String, data: Value) {
    let kind = data["type"].as_str().unwrap_or_default();
    out.push_str(&format!("event: {kind}\ndata: {data}\n\n"));
}

/// The text in pieces of a few words, as a model streams it.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let words: Vec<_> = text.split_inclusive(' ').collect();
    words.chunks(3).map(|chunk| chunk.concat()).collect()
}

fn map_strings(value: &Value, change: &impl Fn(&str) -> String) -> Value {
    match value {
        Value::String(text) => Value::String(change(text)),
        Value::Array(items) => items.iter().map(|item| map_strings(item, change)).collect(),
        Value::Object(fields) => fields.iter().map(|(k, v)| (k.clone(), map_strings(v, change))).collect(),
        other => other.clone(),
    }
}

/// The body of an error.
pub(super) fn error_body(status: u16, kind: &str) -> Value {
    let message = match status {
        401 => "invalid x-api-key",
        403 => "Your API key does not have permission to use the specified resource.",
        429 => "This request would exceed your account's rate limit.",
        529 => "Overloaded",
        _ => "The scripted service fails.",
    };
    json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(content: Value) -> Value {
        json!({"role": "user", "content": content})
    }

    #[test]
    fn the_step_counts_replies_since_the_newest_marker() {
        let body = json!({"tools": [{}], "messages": [
            user(json!("[[scenario:text]] first")),
            {"role": "assistant", "content": [{"type": "text", "text": "ok"}]},
            user(json!([{"type": "text", "text": "<system-reminder>[[scenario:no]]"}, {"type": "text", "text": "then [[scenario:edit]]"}])),
            {"role": "assistant", "content": []},
            user(json!([{"type": "tool_result", "content": "x"}, {"type": "text", "text": "and go on"}])),
        ]});
        let asked = Asked::read(&body);
        assert_eq!((asked.scenario.as_deref(), asked.step, asked.said.as_str()), (Some("edit"), 1, "and go on"));
        assert!(!asked.auxiliary);
    }

    #[test]
    fn what_is_said_during_a_turn_counts() {
        let text = format!("{DURING_A_TURN}\nand [[scenario:more]]\n\nIMPORTANT: do it");
        let body = json!({"tools": [{}], "messages": [
            user(json!("start")), {"role": "system", "content": "skills"}, {"role": "system", "content": text},
        ]});
        let asked = Asked::read(&body);
        assert_eq!((asked.scenario.as_deref(), asked.said.as_str()), (Some("more"), "and [[scenario:more]]"));
    }

    #[test]
    fn requests_without_tools_are_auxiliary() {
        assert!(Asked::read(&json!({"messages": [user(json!("quota"))], "max_tokens": 1})).auxiliary);
    }

    #[test]
    fn the_working_directory_comes_from_the_system_prompt() {
        let body = json!({"system": [{"type": "text", "text": "Env:\n - Primary working directory: /a b/c\nx"}]});
        assert_eq!(Asked::read(&body).cwd, "/a b/c");
    }
}
