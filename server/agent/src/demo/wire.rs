//! The stream-json of the demo agent: what it reads and writes.

use std::io::{BufRead, BufWriter, Write};
use std::sync::mpsc::Sender;

use serde_json::{Value, json};

/// What comes in.
#[derive(Debug)]
pub enum Incoming {
    Message {
        uuid: Value,
        text: String,
    },
    Interrupt {
        request_id: Value,
    },
    /// The answer to a request of ours.
    Answer {
        request_id: String,
        response: Value,
    },
    /// The end of stdin.
    Closed,
    /// Something that is no line of the protocol, which ends the agent, as it ends Claude Code.
    Malformed,
}

/// Reads lines until the end of the input.
pub fn read(input: impl BufRead, inbox: &Sender<Incoming>) {
    for line in input.lines() {
        let Some(incoming) = line.ok().and_then(|line| parse(&line)) else {
            drop(inbox.send(Incoming::Malformed));
            return;
        };
        if inbox.send(incoming).is_err() {
            return;
        }
    }
    drop(inbox.send(Incoming::Closed));
}

fn parse(line: &str) -> Option<Incoming> {
    let mut value: Value = serde_json::from_str(line).ok()?;
    match value["type"].as_str()? {
        "user" => {
            let text = value["message"]["content"].as_str()?.to_owned();
            Some(Incoming::Message { uuid: value["uuid"].take(), text })
        }
        "control_request" => Some(Incoming::Interrupt { request_id: value["request_id"].take() }),
        "control_response" => {
            let request_id = value["response"]["request_id"].as_str()?.to_owned();
            Some(Incoming::Answer { request_id, response: value["response"]["response"].take() })
        }
        _ => None,
    }
}

/// Writes lines to stdout. A reader that is gone ends the process: nobody is left to work for.
#[derive(Debug)]
pub struct Wire {
    pub session: String,
}

impl Wire {
    /// Writes a line of the session.
    pub fn line(&self, mut value: Value) {
        value["session_id"] = json!(self.session);
        self.bytes(value.to_string().as_bytes());
    }

    /// Writes a line as it is.
    pub fn bytes(&self, line: &[u8]) {
        let mut out = std::io::stdout().lock();
        if out.write_all(line).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
    }

    /// Writes so many lines as fast as they are taken.
    pub fn flood(&self, lines: u64, mut line: impl FnMut(&mut dyn Write, u64) -> std::io::Result<()>) {
        let mut out = BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
        let mut write = |number| line(&mut out, number).and_then(|()| out.write_all(b"\n"));
        if (0..lines).try_for_each(&mut write).and_then(|()| out.flush()).is_err() {
            std::process::exit(1);
        }
    }

    /// A message of the agent.
    pub fn assistant(&self, block: Value) {
        let message = json!({"role": "assistant", "model": "demo", "content": [block]});
        self.line(json!({"type": "assistant", "message": message, "parent_tool_use_id": null}));
    }

    /// A text, first word by word.
    pub fn say(&self, text: &str) {
        for word in text.split_inclusive(' ') {
            let event = json!({
                "type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word},
            });
            self.line(json!({"type": "stream_event", "event": event, "parent_tool_use_id": null}));
        }
        self.assistant(json!({"type": "text", "text": text}));
    }

    /// The result of a tool.
    pub fn tool_result(&self, id: &str, content: &str, is_error: bool, details: Value) {
        let block = json!({"type": "tool_result", "tool_use_id": id, "content": content, "is_error": is_error});
        self.line(json!({
            "type": "user", "message": {"role": "user", "content": [block]}, "parent_tool_use_id": null,
            "tool_use_result": details,
        }));
    }

    /// The acknowledgement of a message.
    pub fn replay(&self, uuid: &Value, text: &str) {
        self.line(json!({
            "type": "user", "message": {"role": "user", "content": text}, "parent_tool_use_id": null, "uuid": uuid,
            "isReplay": true,
        }));
    }

    /// The answer to an interrupt.
    pub fn acknowledge(&self, request_id: &Value) {
        let response = json!({"subtype": "success", "request_id": request_id});
        self.bytes(json!({"type": "control_response", "response": response}).to_string().as_bytes());
    }
}
