//! Codex's requests for permission and its questions, and their answers.

use std::collections::BTreeMap;

use cadence_protocol::{ApprovalKind, CommandBody, Decision, EventData, PermissionMode};
use serde_json::{Map, Value, json};

use super::items::unwrapped;
use super::translate::{MAX_OPEN, Translator};
use super::wire::{self, Approval, Question};
use crate::agent::Denial;
use crate::session::calls::{BASH, EDIT};
use crate::session::consent::pushes;
use crate::session::{Action, jsonrpc};

/// A request that waits for an answer.
#[derive(Debug)]
pub struct Pending {
    /// Codex's own id of the request.
    request: Value,
    ask: Ask,
    tool: String,
    input: Value,
    /// The call that waits for it.
    item: String,
}

/// What is asked for, which decides how an answer looks.
#[derive(Debug)]
enum Ask {
    Command,
    /// Whether only files of the workspace are changed.
    Change {
        inside: bool,
    },
    Permissions(Value),
    /// Ids of the questions, by their text.
    Questions(BTreeMap<String, String>),
    /// A tool server's; whether it can be allowed without filling in a form.
    Server {
        bare: bool,
    },
}

impl Translator {
    /// Takes in a request of Codex's.
    pub(super) fn request(&mut self, id: Value, method: &str, params: Value, actions: &mut Vec<Action>) {
        let approval = wire::read::<Approval>(params).unwrap_or_default();
        let item = approval.item_id.clone();
        let (ask, tool, input) = match method {
            "item/commandExecution/requestApproval" => command(&approval),
            "item/fileChange/requestApproval" => self.change(&approval),
            "item/permissions/requestApproval" => {
                let wanted = approval.permissions.clone().unwrap_or_else(|| json!({}));
                let input = with_reason(json!({"permissions": wanted, "directory": approval.cwd}), &approval);
                (Ask::Permissions(wanted), "Permissions".to_owned(), input)
            }
            "item/tool/requestUserInput" => questions(approval.questions),
            "mcpServer/elicitation/request" => server(approval),
            // Of other kinds of clients: unanswered, Codex would wait for ever.
            _ => {
                let message = format!("cadence does not answer {method}");
                actions.push(Action::Write(jsonrpc::refuse(&id, jsonrpc::METHOD_NOT_FOUND, &message)));
                return;
            }
        };
        let pending = Pending { request: id, ask, tool, input, item };
        let push = matches!(pending.ask, Ask::Command)
            && pending.input.get("command").and_then(Value::as_str).is_some_and(pushes);
        if push || self.approvals.len() >= MAX_OPEN {
            let why = if push { "an agent never pushes" } else { "too many requests wait for an answer" };
            let message = format!("{} was denied: {why}.", pending.tool);
            actions.push(Action::event(EventData::Error { message, recoverable: true }));
            return self.deny(pending, None, actions);
        }
        let granted = match pending.ask {
            Ask::Questions(_) => false,
            Ask::Server { bare } => bare && self.plan.permission == PermissionMode::All,
            Ask::Command => self.permits() || self.allowed.holds(&pending.input),
            Ask::Change { inside } => self.permits() || inside && self.allowed.changes,
            Ask::Permissions(_) => self.permits(),
        };
        if granted {
            actions.push(Action::Write(pending.granting(None)));
            return;
        }
        let approval_id = (self.ids)().to_string();
        let kind = match pending.ask {
            Ask::Questions(_) => ApprovalKind::Question,
            _ => ApprovalKind::Permission,
        };
        actions.push(Action::event(EventData::ApprovalRequested {
            approval_id: approval_id.clone(),
            kind,
            tool: pending.tool.clone(),
            // Whole, however long: nobody shall approve what was not shown.
            input: pending.input.clone(),
            suggestions: None,
        }));
        self.approvals.insert(approval_id, pending);
    }

    fn permits(&self) -> bool {
        self.plan.permission == PermissionMode::All
    }

    /// What a change would do is told by the item that it belongs to.
    fn change(&self, approval: &Approval) -> (Ask, String, Value) {
        let call = self.calls.get(&approval.item_id);
        let mut input = call.map_or_else(|| json!({"diff": "Codex did not tell it."}), |call| call.input.clone());
        if let Some(root) = &approval.grant_root {
            input["directory"] = json!(root);
        }
        let inside = approval.grant_root.is_none() && self.inside.contains(&approval.item_id);
        (Ask::Change { inside }, EDIT.to_owned(), with_reason(input, approval))
    }

    /// Takes in the answer to a request; one that is not open any more gives nothing.
    pub(super) fn answer(&mut self, body: CommandBody, actions: &mut Vec<Action>) {
        let CommandBody::Approval { approval_id, decision, always, updated_input, answers, message, .. } = body else {
            return;
        };
        let Some(pending) = self.approvals.remove(&approval_id) else { return };
        if decision != Decision::Allow {
            return self.deny(pending, message, actions);
        }
        if let Ask::Questions(ids) = &pending.ask {
            let given = answers.unwrap_or_default();
            let answers: Map<String, Value> = given
                .into_iter()
                .filter_map(|(question, answer)| Some((ids.get(&question)?.clone(), json!({"answers": [answer]}))))
                .collect();
            actions.push(Action::Write(jsonrpc::answer(&pending.request, json!({ "answers": answers }))));
            return;
        }
        let changed = updated_input.filter(|input| *input != pending.input);
        if let (Some(input), Ask::Command | Ask::Change { .. } | Ask::Permissions(_)) = (&changed, &pending.ask) {
            return self.replace(&pending, input, actions);
        }
        if always {
            match pending.ask {
                Ask::Command => self.allowed.add(pending.input.clone()),
                Ask::Change { inside } => self.allowed.changes |= inside,
                _ => {}
            }
        }
        actions.push(Action::Write(pending.granting(changed)));
    }

    /// Codex runs what it asked for or nothing: it is denied, and told what is wanted in its place.
    fn replace(&mut self, pending: &Pending, input: &Value, actions: &mut Vec<Action>) {
        let message = "Codex cannot be given another input: this one is denied, and it is told what to do instead.";
        actions.push(Action::event(EventData::Error { message: message.to_owned(), recoverable: true }));
        actions.push(Action::Write(pending.denying()));
        let wanted = input.get("command").and_then(Value::as_str).map_or_else(|| input.to_string(), str::to_owned);
        self.say(&format!("The user did not allow this as it was. Do this in its place: {wanted}"), actions);
    }

    fn deny(&mut self, pending: Pending, message: Option<String>, actions: &mut Vec<Action>) {
        actions.push(Action::Write(pending.denying()));
        let command = pending.input.get("command").or_else(|| pending.input.get("path")).and_then(Value::as_str);
        let what = command.map_or_else(|| pending.input.to_string(), str::to_owned);
        if !matches!(pending.ask, Ask::Questions(_)) {
            self.turn.deny(Denial { tool: pending.tool, what });
        }
        // A denial of Codex's has no words of its own.
        if let Some(message) = message.filter(|text| !text.trim().is_empty()) {
            self.say(&format!("The user denied this: {message}"), actions);
        }
    }
}

impl Pending {
    /// Whether it is this request of Codex's.
    pub fn is(&self, request: &Value) -> bool {
        self.request == *request
    }

    pub fn belongs_to(&self, call: &str) -> bool {
        self.item == call
    }

    fn granting(&self, content: Option<Value>) -> String {
        let result = match &self.ask {
            Ask::Command | Ask::Change { .. } => json!({"decision": "accept"}),
            Ask::Permissions(wanted) => json!({"permissions": wanted, "scope": "turn"}),
            Ask::Questions(_) => json!({"answers": {}}),
            Ask::Server { .. } => {
                let content = content.and_then(|mut content| content.get_mut("content").map(Value::take));
                json!({"action": "accept", "content": content.unwrap_or_else(|| json!({})), "_meta": null})
            }
        };
        jsonrpc::answer(&self.request, result)
    }

    fn denying(&self) -> String {
        let result = match &self.ask {
            Ask::Command | Ask::Change { .. } => json!({"decision": "decline"}),
            Ask::Permissions(_) => json!({"permissions": {}, "scope": "turn"}),
            Ask::Questions(_) => json!({"answers": {}}),
            Ask::Server { .. } => json!({"action": "decline", "content": null, "_meta": null}),
        };
        jsonrpc::answer(&self.request, result)
    }
}

fn command(approval: &Approval) -> (Ask, String, Value) {
    let mut input = json!({});
    if let Some(command) = &approval.command {
        input["command"] = json!(unwrapped(command));
    }
    if let Some(network) = &approval.network_approval_context {
        input["network"] = network.clone();
    }
    (Ask::Command, BASH.to_owned(), with_reason(input, approval))
}

/// In the form of Claude's questions, which clients know.
fn questions(questions: Vec<Question>) -> (Ask, String, Value) {
    let ids = questions.iter().map(|question| (question.question.clone(), question.id.clone())).collect();
    let shown = |question: Question| {
        let options = question.options.unwrap_or_default();
        json!({"question": question.question, "header": question.header, "multiSelect": false, "options": options})
    };
    let input = json!({"questions": questions.into_iter().map(shown).collect::<Vec<_>>()});
    (Ask::Questions(ids), "AskUserQuestion".to_owned(), input)
}

fn server(approval: Approval) -> (Ask, String, Value) {
    let schema = approval.requested_schema.unwrap_or_else(|| json!({}));
    let required = schema.get("required").and_then(Value::as_array).is_some_and(|fields| !fields.is_empty());
    let bare = !required && approval.url.is_none();
    let mut input = json!({"message": approval.message});
    if let Some(url) = approval.url {
        input["url"] = json!(url);
    }
    if required {
        input["schema"] = schema;
    }
    (Ask::Server { bare }, approval.server_name, input)
}

fn with_reason(mut input: Value, approval: &Approval) -> Value {
    if let Some(reason) = approval.reason.as_deref().filter(|reason| !reason.is_empty()) {
        input["reason"] = json!(reason);
    }
    input
}
