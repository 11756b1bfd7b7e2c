//! The same scripts over OpenAI's APIs: Responses, as Codex speaks it, and Chat Completions, as OpenCode does. Scripts name
//! Claude's tools; here they become those of the program that asks.

use serde_json::{Value, json};

use super::wire::{Api, Asked, Reply, event, marker, pieces, texts};

/// Reads a request of the Responses API.
pub(super) fn read_responses(body: &Value) -> Asked {
    let items = body["input"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut asked = asked(Api::Responses, body);
    // Text, reasoning and calls that come in a row are one reply.
    let mut replying = false;
    for item in items {
        let kind = item["type"].as_str().unwrap_or_default();
        let ours = item["role"] == "assistant" || matches!(kind, "function_call" | "custom_tool_call" | "reasoning");
        if ours && !replying {
            asked.step += 1;
        }
        replying = ours;
        let content = item["content"].as_array().map(Vec::as_slice).unwrap_or_default();
        for text in content.iter().filter_map(|part| part["text"].as_str()) {
            find_directory(text, "<cwd>", "</cwd>", &mut asked);
            if item["role"] == "user" && !text.starts_with('<') {
                hear(text, &mut asked);
            }
        }
    }
    asked
}

/// Reads a request of the Chat Completions API.
pub(super) fn read_chat(body: &Value) -> Asked {
    let mut asked = asked(Api::Chat, body);
    // Requests without tools are for a title.
    asked.auxiliary = body["tools"].as_array().is_none_or(Vec::is_empty);
    for message in body["messages"].as_array().map(Vec::as_slice).unwrap_or_default() {
        if message["role"] == "assistant" {
            asked.step += 1;
        }
        for text in texts(&message["content"]) {
            find_directory(text, "orking directory: ", "\n", &mut asked);
            if message["role"] == "user" && !text.starts_with('<') {
                hear(text, &mut asked);
            }
        }
    }
    asked
}

fn asked(api: Api, body: &Value) -> Asked {
    Asked {
        api,
        scenario: None,
        step: 0,
        said: String::new(),
        session: body["prompt_cache_key"].as_str().unwrap_or_default().to_owned(),
        auxiliary: false,
        stream: true,
        model: body["model"].as_str().unwrap_or("fake").to_owned(),
        cwd: ".".to_owned(),
    }
}

fn find_directory(text: &str, before: &str, after: &str, asked: &mut Asked) {
    let found = text.split_once(before).and_then(|(_, rest)| rest.split_once(after));
    if let Some((path, _)) = found.filter(|(path, _)| path.starts_with('/') && asked.cwd == ".") {
        asked.cwd = path.trim().to_owned();
    }
}

fn hear(text: &str, asked: &mut Asked) {
    text.clone_into(&mut asked.said);
    if let Some(name) = marker(text) {
        asked.scenario = Some(name.to_owned());
        asked.step = 0;
    }
}

/// A reply as events of the Responses API: what comes up to the middle of the text, and the rest.
pub(super) fn responses(reply: &Reply) -> (String, String) {
    let (mut before, mut after) = (String::new(), String::new());
    event(&mut before, json!({"type": "response.created", "response": {"id": reply.id}}));
    if let Some(text) = &reply.text {
        let item = |content: Value| json!({"type": "message", "role": "assistant", "id": reply.id, "content": content});
        let added = json!({"type": "response.output_item.added", "output_index": 0, "item": item(json!([]))});
        event(&mut before, added);
        let pieces = pieces(text);
        for (n, piece) in pieces.iter().enumerate() {
            let out = if n * 2 < pieces.len() { &mut before } else { &mut after };
            event(
                out,
                json!({"type": "response.output_text.delta", "item_id": reply.id, "output_index": 0,
                "content_index": 0, "delta": piece}),
            );
        }
        let whole = item(json!([{"type": "output_text", "text": text}]));
        event(&mut after, json!({"type": "response.output_item.done", "output_index": 0, "item": whole}));
    }
    for (n, (name, input)) in reply.tools.iter().enumerate() {
        let id = reply.tool_id(n);
        let item = match codex_tool(name, input) {
            (name, Value::String(text)) => {
                json!({"type": "custom_tool_call", "id": id, "call_id": id, "name": name, "input": text})
            }
            (name, input) => json!({"type": "function_call", "id": id, "call_id": id, "name": name,
                "arguments": input.to_string()}),
        };
        event(&mut after, json!({"type": "response.output_item.done", "output_index": n + 1, "item": item}));
    }
    let usage = json!({"input_tokens": reply.usage.input, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": reply.usage.output, "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": reply.usage.input + reply.usage.output});
    event(&mut after, json!({"type": "response.completed", "response": {"id": reply.id, "usage": usage}}));
    (before, after)
}

/// A reply as chunks of the Chat Completions API.
pub(super) fn chat(reply: &Reply) -> (String, String) {
    let (mut before, mut after) = (String::new(), String::new());
    let chunk = |out: &mut String, delta: Value, finish: Value, usage: Value| {
        let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
        let data = json!({"id": reply.id, "object": "chat.completion.chunk", "created": 0, "model": reply.model,
            "choices": [choice], "usage": usage});
        out.push_str(&format!("data: {data}\n\n"));
    };
    chunk(&mut before, json!({"role": "assistant", "content": ""}), Value::Null, Value::Null);
    let pieces = pieces(reply.text.as_deref().unwrap_or_default());
    for (n, piece) in pieces.iter().enumerate() {
        let out = if n * 2 < pieces.len() { &mut before } else { &mut after };
        chunk(out, json!({ "content": piece }), Value::Null, Value::Null);
    }
    for (n, (name, input)) in reply.tools.iter().enumerate() {
        let (name, input) = opencode_tool(name, input);
        let function = json!({"name": name, "arguments": input.to_string()});
        let call = json!({"index": n, "id": reply.tool_id(n), "type": "function", "function": function});
        chunk(&mut after, json!({"tool_calls": [call]}), Value::Null, Value::Null);
    }
    let usage = json!({"prompt_tokens": reply.usage.input, "completion_tokens": reply.usage.output,
        "total_tokens": reply.usage.input + reply.usage.output});
    let finish = if reply.tools.is_empty() { "stop" } else { "tool_calls" };
    chunk(&mut after, json!({}), json!(finish), usage);
    after.push_str("data: [DONE]\n\n");
    (before, after)
}

/// Codex's tool for one of Claude's: a text is the input of one that takes no JSON.
fn codex_tool(name: &str, input: &Value) -> (String, Value) {
    let text = |field: &str| input[field].as_str().unwrap_or_default();
    let patch = |path: &str, lines: &str| format!("*** Begin Patch\n{path}\n{lines}*** End Patch\n").into();
    let path = text("file_path");
    match name {
        "Bash" => ("exec_command".to_owned(), json!({"cmd": text("command"), "yield_time_ms": 30_000})),
        "Write" => {
            let lines: String = text("content").lines().map(|line| format!("+{line}\n")).collect();
            ("apply_patch".to_owned(), patch(&format!("*** Add File: {path}"), &lines))
        }
        "Edit" => {
            // A patch is of whole lines.
            let content = std::fs::read_to_string(path).unwrap_or_default();
            let line = content.lines().find(|line| line.contains(text("old_string"))).unwrap_or_default();
            let new = line.replace(text("old_string"), text("new_string"));
            let lines = format!("@@\n-{line}\n+{new}\n");
            ("apply_patch".to_owned(), patch(&format!("*** Update File: {path}"), &lines))
        }
        other => (other.to_owned(), input.clone()),
    }
}

fn opencode_tool(name: &str, input: &Value) -> (String, Value) {
    match name {
        "Bash" => ("bash".to_owned(), input.clone()),
        "Write" => ("write".to_owned(), json!({"filePath": input["file_path"], "content": input["content"]})),
        "Edit" => {
            let (old, new) = (&input["old_string"], &input["new_string"]);
            ("edit".to_owned(), json!({"filePath": input["file_path"], "oldString": old, "newString": new}))
        }
        "Read" => ("read".to_owned(), json!({"filePath": input["file_path"]})),
        other => (other.to_owned(), input.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(role: &str, text: &str) -> Value {
        json!({"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]})
    }

    #[test]
    fn replies_are_counted_since_the_newest_marker() {
        let call = || json!({"type": "function_call", "name": "x"});
        let output = || json!({"type": "function_call_output", "output": "x"});
        let body = json!({"input": [
            said("user", "<environment_context>\n  <cwd>/a b</cwd>\n</environment_context>"),
            said("user", "[[scenario:text]]"), said("assistant", "ok"), said("user", "now [[scenario:edit]]"),
            said("assistant", "both"), call(), call(), output(), output(), call(), output(), said("user", "and more"),
        ]});
        let asked = read_responses(&body);
        let found = (asked.scenario.as_deref(), asked.step, asked.said.as_str(), asked.cwd.as_str());
        assert_eq!(found, (Some("edit"), 2, "and more", "/a b"));
    }

    #[test]
    fn a_chat_is_read_as_well() {
        let body = json!({"tools": [{}], "messages": [
            {"role": "system", "content": "Env\n  Working directory: /w\n"},
            {"role": "user", "content": [{"type": "text", "text": "[[scenario:edit]]"}]},
            {"role": "assistant", "tool_calls": []}, {"role": "tool", "content": "x"},
        ]});
        let asked = read_chat(&body);
        assert_eq!((asked.scenario.as_deref(), asked.step, asked.cwd.as_str()), (Some("edit"), 1, "/w"));
        assert!(!asked.auxiliary);
    }
}
