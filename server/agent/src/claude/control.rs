//! What the runner says, as lines for the agent. Only valid JSON on one line is ever written: anything else ends the CLI.

use std::collections::BTreeMap;

use cadence_protocol::{ApprovalKind, CommandBody, Decision};
use serde_json::{Value, json};
use uuid::Uuid;

use super::translate::Translator;
use crate::agent::{Input, Output};
use crate::session::Action;

/// A request of the agent that waits for an answer.
#[derive(Debug)]
pub struct Pending {
    pub kind: ApprovalKind,
    pub input: Value,
    pub suggestions: Option<Vec<Value>>,
    pub tool_use_id: Option<String>,
}

/// A message that the agent has not taken yet.
#[derive(Debug)]
pub struct Unread {
    /// Of the line.
    pub uuid: Uuid,
    /// Of the message.
    pub id: Uuid,
    pub text: String,
}

impl Translator {
    /// Takes in what the runner says.
    pub(super) fn hear(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Message { id, text } => self.message(id, text),
            Input::Interrupt => self.interrupt(),
            Input::Approval(body) => self.answer(body).into_iter().collect(),
            Input::Close => vec![Action::CloseInput],
            Input::Kill => vec![Action::Kill],
        }
    }

    fn message(&mut self, id: Uuid, text: String) -> Vec<Action> {
        // The model's service refuses an empty message, and with it the turn.
        if text.trim().is_empty() {
            return vec![Action::Emit(Output::Taken(id))];
        }
        // A line's id of its own: the CLI passes over one that it has seen, and a message may be given again.
        let uuid = (self.surroundings.ids)();
        let line = json!({
            "type": "user",
            "uuid": uuid,
            "message": {"role": "user", "content": text},
            "parent_tool_use_id": null,
        });
        self.unread.push(Unread { uuid, id, text });
        vec![Action::Write(line.to_string())]
    }

    fn interrupt(&mut self) -> Vec<Action> {
        self.interrupting = true;
        let request_id = (self.surroundings.ids)();
        let line = json!({"type": "control_request", "request_id": request_id, "request": {"subtype": "interrupt"}});
        vec![Action::Write(line.to_string())]
    }

    /// `None` for a request that is not open any more: it was taken back meanwhile.
    fn answer(&mut self, body: CommandBody) -> Option<Action> {
        let CommandBody::Approval { approval_id, decision, always, updated_input, answers, message, .. } = body else {
            return None;
        };
        let pending = self.approvals.remove(&approval_id)?;
        if decision != Decision::Allow {
            self.denied.extend(pending.tool_use_id);
            let message = message.filter(|text| !text.is_empty()).unwrap_or_else(|| "The user denied this.".into());
            return Some(Action::Write(deny(&approval_id, &message)));
        }
        let mut input = updated_input.filter(Value::is_object).unwrap_or(pending.input);
        // What runs is what was allowed, not what was asked for.
        if let Some(call) = pending.tool_use_id.as_ref().and_then(|id| self.calls.get_mut(id)) {
            call.input.clone_from(&input);
        }
        if pending.kind == ApprovalKind::Question {
            add_answers(&mut input, answers.unwrap_or_default());
        }
        let permissions = always.then_some(pending.suggestions).flatten().map(for_this_session);
        Some(Action::Write(allow(&approval_id, input, permissions)))
    }
}

/// The answer that allows a tool. `updatedInput` is required: a bare allow is taken for a denial.
pub fn allow(request_id: &str, input: Value, permissions: Option<Vec<Value>>) -> String {
    let input = if input.is_object() { input } else { json!({}) };
    let mut response = json!({"behavior": "allow", "updatedInput": input});
    if let Some(permissions) = permissions {
        response["updatedPermissions"] = Value::Array(permissions);
    }
    respond(request_id, response)
}

/// The answer that denies a tool.
pub fn deny(request_id: &str, message: &str) -> String {
    respond(request_id, json!({"behavior": "deny", "message": message}))
}

fn respond(request_id: &str, response: Value) -> String {
    json!({
        "type": "control_response",
        "response": {"subtype": "success", "request_id": request_id, "response": response},
    })
    .to_string()
}

fn add_answers(input: &mut Value, answers: BTreeMap<String, String>) {
    if let Some(fields) = input.as_object_mut()
        && !answers.is_empty()
    {
        fields.insert("answers".into(), json!(answers));
    }
}

/// The suggested rules, bound to the session: an answer must never change a settings file. A suggestion to bypass
/// permissions altogether is left out.
fn for_this_session(suggestions: Vec<Value>) -> Vec<Value> {
    let mut suggestions = suggestions;
    suggestions.retain(|suggestion| {
        let mode = suggestion.get("mode").and_then(Value::as_str);
        suggestion.is_object() && mode.is_none_or(|mode| matches!(mode, "acceptEdits" | "default" | "plan"))
    });
    for suggestion in &mut suggestions {
        suggestion["destination"] = json!("session");
    }
    suggestions
}
