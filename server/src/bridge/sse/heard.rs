//! What an endpoint tells, made into what is stored. Pure. Endpoints are not all cadence: types that are known become
//! events, and everything else is shown as text rather than lost.

use cadence_agent::claude::{cap_to, cap_value, size};
use cadence_protocol::{Changes, EndReason, EventData, Usage};
use serde_json::{Map, Value};

use super::wire::Message;

/// Most bytes of one text of an event, and of the rest of an unknown one.
const MAX_TEXT: usize = 512 * 1024;
const MAX_UNKNOWN: usize = 16 * 1024;
/// Most bytes of a tool's input in all.
const MAX_INPUT: usize = 1024 * 1024;
/// Longest URL and name.
const MAX_NAME: usize = 2000;

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Complete {
    pub success: bool,
    pub output: String,
    pub reason: Option<EndReason>,
    pub pr_url: Option<String>,
    pub branch: Option<String>,
    pub changes: Option<Changes>,
    pub usage: Option<Usage>,
}

/// What one message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// The id of the run.
    Run(String),
    Event(EventData),
    /// Transient text of an `output` to come.
    Delta(String),
    Complete(Box<Complete>),
    /// Nothing that is stored: what this server tells itself.
    Nothing,
}

/// Reads a message.
pub fn read(message: &Message) -> Heard {
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(&message.data) else {
        return match message.data.trim() {
            "" | "[DONE]" => Heard::Nothing,
            text => Heard::Event(EventData::Output { text: cap_to(text.to_owned(), MAX_TEXT) }),
        };
    };
    let named = Some(message.event.as_str()).filter(|name| !matches!(*name, "" | "message"));
    let kind = text(&object, &["type"]).or(named.map(str::to_owned)).unwrap_or_default();
    match kind.as_str() {
        "complete" => Heard::Complete(Box::new(complete(&object))),
        "output_delta" => match text(&object, &["text"]) {
            Some(text) => Heard::Delta(text),
            None => Heard::Nothing,
        },
        "run" | "started" if run_id(&object).is_some() => Heard::Run(run_id(&object).unwrap_or_default()),
        "ping" | "heartbeat" | "keepalive" | "connected" => Heard::Nothing,
        _ => match event(&kind, &object) {
            Some(event) => translate(event),
            None => Heard::Event(EventData::Output { text: unknown(&kind, object) }),
        },
    }
}

/// The id of the run, where a message that may be any of the stream's names it.
pub fn named_run(message: &Message) -> Option<String> {
    match serde_json::from_str(&message.data) {
        Ok(Value::Object(object)) => run_id(&object),
        _ => None,
    }
}

/// The id of a run, in an answer or the first message of a stream.
pub fn run_id(object: &Map<String, Value>) -> Option<String> {
    let id = text(object, &["runId", "taskId", "agentId", "id"])?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    (id.len() <= 200 && id.chars().all(fits) && !id.starts_with('.')).then_some(id)
}

/// The end of a run, from the last message of its stream or the answer to the blocking form.
pub fn complete(object: &Map<String, Value>) -> Complete {
    let number = |name: &str| object.get(name).and_then(Value::as_u64);
    let success = object.get("success").and_then(Value::as_bool).unwrap_or_default();
    let reason = text(object, &["reason"]).and_then(|word| word.parse().ok());
    let output = text(object, &["output", "summary", "result", "error", "message"]).unwrap_or_default();
    let branch = text(object, &["branch"])
        .filter(|name| cadence_agent::workspace::is_branch_name(name) && !name.starts_with('-'));
    let changes = number("filesChanged").map(|files| Changes {
        files,
        added: number("linesAdded").unwrap_or_default(),
        removed: number("linesRemoved").unwrap_or_default(),
    });
    let cost = object.get("costUsd").and_then(Value::as_f64).filter(|usd| usd.is_finite() && (0.0..1e6).contains(usd));
    let tokens = |name: &str| number(name).map(|count| count.min(u64::from(u32::MAX) * 1000));
    let usage = (cost.is_some() || number("inputTokens").is_some()).then(|| Usage {
        cost_usd: cost.unwrap_or_default(),
        input_tokens: tokens("inputTokens").unwrap_or_default(),
        output_tokens: tokens("outputTokens").unwrap_or_default(),
    });
    Complete {
        success,
        output: cap_to(output, MAX_TEXT),
        // What succeeded is done, and what did not is not.
        reason: reason.filter(|reason| (*reason == EndReason::Done) == success),
        pr_url: text(object, &["prUrl"]).filter(|url| is_link(url)),
        branch,
        changes: changes.filter(|c| [c.files, c.added, c.removed].iter().all(|n| *n < 1 << 40)),
        usage,
    }
}

/// The event for a pull request, where its address says which it is.
pub fn pull_request(url: &str) -> Option<EventData> {
    let parsed = url::Url::parse(url).ok()?;
    let mut parts = parsed.path_segments()?.rev().filter(|part| !part.is_empty());
    let number = parts.next()?.parse().ok()?;
    matches!(parts.next()?, "pull" | "pulls" | "merge_requests" | "pull-requests").then(|| EventData::PullRequest {
        action: "opened".to_owned(),
        number,
        url: url.to_owned(),
        title: None,
    })
}

/// An event of a type that is known: as cadence writes it, with `data` around its fields, or flat.
fn event(kind: &str, object: &Map<String, Value>) -> Option<EventData> {
    let fields = match object.get("data") {
        Some(Value::Object(data)) => data,
        _ => object,
    };
    let mut fields = fields.clone();
    fields.insert("type".to_owned(), kind.into());
    match serde_json::from_value(Value::Object(fields)) {
        Ok(EventData::Unknown) | Err(_) => None,
        Ok(event) => Some(event),
    }
}

fn translate(mut event: EventData) -> Heard {
    let cut = |text: &mut String| *text = cap_to(std::mem::take(text), MAX_TEXT);
    match &mut event {
        // This server makes these itself, and ends an attempt with the last message.
        EventData::TaskCompleted { .. } | EventData::StatusChanged { .. } | EventData::Message { .. } => {
            return Heard::Nothing;
        }
        EventData::ApprovalRequested { tool, input, .. } => {
            let input = cap_to(input.to_string(), 500);
            return Heard::Event(EventData::Error {
                message: format!(
                    "The agent at the endpoint wants to use {}, and over this bridge nobody can allow it: {input}",
                    cap_to(std::mem::take(tool), 100)
                ),
                recoverable: true,
            });
        }
        EventData::ApprovalResolved { decision, .. } => {
            return Heard::Event(EventData::Output { text: format!("At the endpoint that was decided: {decision}.") });
        }
        // A session there is none here.
        EventData::TaskStarted { message, session_id, .. } => {
            *session_id = None;
            cut(message);
        }
        EventData::ToolUse { tool, input, tool_use_id } => {
            *tool = cap_to(std::mem::take(tool), MAX_NAME);
            cap_value(input, MAX_TEXT);
            let bytes = size(input);
            if bytes > MAX_INPUT {
                *input = serde_json::json!({ "note": format!("{bytes} bytes left out") });
            }
            tool_use_id.take_if(|id| id.len() > MAX_NAME);
        }
        EventData::FileEdit { path, diff, .. } => {
            *path = cap_to(std::mem::take(path), MAX_NAME);
            diff.iter_mut().for_each(cut);
        }
        EventData::CommandRun { command, output, .. } => {
            cut(command);
            output.iter_mut().for_each(cut);
        }
        EventData::Output { text } => cut(text),
        EventData::Error { message, .. } => cut(message),
        EventData::Progress { percent, note } => {
            *percent = (*percent).min(100);
            note.iter_mut().for_each(cut);
        }
        EventData::PullRequest { url, title, action, .. } => {
            title.take_if(|title| title.len() > MAX_NAME);
            if !is_link(url) || action.len() > 100 {
                return Heard::Event(EventData::Output { text: cap_to(format!("{action}: {url}"), MAX_UNKNOWN) });
            }
        }
        EventData::Ci { name, conclusion, url } => {
            url.take_if(|url| !is_link(url));
            [name, conclusion].into_iter().for_each(|text| *text = cap_to(std::mem::take(text), MAX_NAME));
        }
        EventData::Unknown => return Heard::Nothing,
    }
    Heard::Event(event)
}

/// The words of a message of an unknown type, or the whole of it.
fn unknown(kind: &str, object: Map<String, Value>) -> String {
    let words = |object: &Map<String, Value>| text(object, &["text", "message", "content", "output"]);
    let inside = object.get("data").and_then(|data| match data {
        Value::String(text) => Some(text.clone()),
        Value::Object(data) => words(data),
        _ => None,
    });
    let said = words(&object).or(inside).unwrap_or_else(|| Value::Object(object).to_string());
    let said = cap_to(said, MAX_UNKNOWN);
    if kind.is_empty() { said } else { format!("{}: {said}", cap_to(kind.to_owned(), 100)) }
}

/// The first of these fields that is a text.
fn text(object: &Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| object.get(*name).and_then(Value::as_str)).map(str::to_owned)
}

fn is_link(url: &str) -> bool {
    url.len() <= MAX_NAME
        && url::Url::parse(url)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.password().is_none())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn heard(data: &Value) -> Heard {
        read(&Message { data: data.to_string(), ..Message::default() })
    }

    fn said(text: &str) -> Heard {
        Heard::Event(EventData::Output { text: text.into() })
    }

    #[test]
    fn events_of_cadence_and_flat_ones_are_the_same() {
        let whole = json!({"type": "command_run", "taskId": "x", "seq": 4, "attempt": 1,
            "data": {"type": "command_run", "command": "make", "exitCode": 2}});
        let flat = json!({"type": "command_run", "command": "make", "exitCode": 2});
        let command = EventData::CommandRun { command: "make".into(), exit_code: Some(2), output: None };
        assert_eq!(heard(&whole), Heard::Event(command.clone()));
        assert_eq!(heard(&flat), Heard::Event(command));
        let named = Message { event: "output".into(), data: r#"{"text":"hello"}"#.into(), id: None };
        assert_eq!(read(&named), said("hello"));
    }

    #[test]
    fn what_is_not_known_is_shown_as_text() {
        assert_eq!(heard(&json!({"type": "thought", "content": "hmm"})), said("thought: hmm"));
        assert_eq!(heard(&json!({"type": "log", "data": "line"})), said("log: line"));
        assert_eq!(heard(&json!({"a": 1})), said(r#"{"a":1}"#));
        assert_eq!(read(&Message { data: "plain words".into(), ..Message::default() }), said("plain words"));
        // Of a known type, but with fields of its own.
        assert_eq!(heard(&json!({"type": "tool_use", "message": "ls"})), said("tool_use: ls"));
        assert_eq!(heard(&json!({"type": "ping"})), Heard::Nothing);
    }

    #[test]
    fn nobody_is_asked_what_he_cannot_answer() {
        let asked = json!({"type": "approval_requested", "approvalId": "a", "kind": "permission", "tool": "Bash",
            "input": {"command": "rm"}});
        let Heard::Event(EventData::Error { message, recoverable: true }) = heard(&asked) else { panic!() };
        insta::assert_snapshot!(message, @r#"The agent at the endpoint wants to use Bash, and over this bridge nobody can allow it: {"command":"rm"}"#);
        let ended = json!({"type": "task_completed", "success": true, "summary": "x", "reason": "done"});
        assert_eq!(heard(&ended), Heard::Nothing);
    }

    #[test]
    fn the_end_is_read_and_checked() {
        let end = json!({"type": "complete", "success": true, "output": "Done.", "prUrl": "https://git.example/a/b/pull/7",
            "reason": "done", "costUsd": 0.5, "inputTokens": 3, "branch": "cadence/x", "filesChanged": 1});
        let Heard::Complete(end) = heard(&end) else { panic!() };
        assert_eq!((end.success, end.reason, end.output.as_str()), (true, Some(EndReason::Done), "Done."));
        let pull = pull_request(end.pr_url.as_deref().unwrap()).unwrap();
        assert!(matches!(pull, EventData::PullRequest { number: 7, .. }));
        let hostile = json!({"type": "complete", "success": false, "reason": "done", "prUrl": "javascript:alert(1)",
            "costUsd": -1, "branch": "--upload-pack=x", "error": "broke"});
        let Heard::Complete(end) = heard(&hostile) else { panic!() };
        let expected = Complete { output: "broke".into(), ..Complete::default() };
        assert_eq!(*end, expected);
        assert_eq!(pull_request("https://git.example/a/b/issues/7"), None);
    }

    #[test]
    fn a_run_is_named_by_what_can_stand_in_a_path() {
        assert_eq!(heard(&json!({"type": "run", "runId": "abc-1"})), Heard::Run("abc-1".into()));
        assert_eq!(run_id(json!({"id": "../x"}).as_object().unwrap()), None);
        assert_eq!(run_id(json!({"id": "a/b"}).as_object().unwrap()), None);
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(|n| json!(n)),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map("(type|data|text|input|path|success|runId|[a-z]{1,4})", inner, 0..6)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn nothing_that_is_told_panics(kind in "(output|tool_use|progress|complete|run|ci|pull_request|[a-z]{0,6})",
            value in json_value(), raw in any::<String>()) {
            read(&Message { event: kind.clone(), data: raw, id: None });
            let mut object = json!({ "type": kind, "data": value.clone() });
            read(&Message { data: object.to_string(), ..Message::default() });
            if let (Value::Object(fields), Value::Object(more)) = (&mut object, value) {
                fields.extend(more);
            }
            read(&Message { data: object.to_string(), ..Message::default() });
        }
    }
}
