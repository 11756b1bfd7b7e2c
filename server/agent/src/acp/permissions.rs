//! An agent's requests for permission, and their answers.

use cadence_protocol::{ApprovalKind, CommandBody, Decision, EventData, PermissionMode};
use serde_json::{Value, json};

use super::translate::{MAX_OPEN, Translator};
use super::wire::{self, PermissionOption, PermissionRequest};
use crate::agent::Denial;
use crate::session::calls::EDIT;
use crate::session::consent::{is_inside, pushes};
use crate::session::{Action, jsonrpc};

/// A request that waits for an answer.
#[derive(Debug)]
pub struct Pending {
    /// The agent's own id of the request.
    request: Value,
    options: Vec<PermissionOption>,
    /// The call that waits for it.
    call: String,
    tool: String,
    input: Value,
    /// Whether it changes files of the workspace alone.
    inside: bool,
}

impl Translator {
    /// Takes in a request of the agent's.
    pub(super) fn request(&mut self, id: Value, method: &str, params: Value, actions: &mut Vec<Action>) {
        let request =
            (method == "session/request_permission").then(|| wire::read::<PermissionRequest>(params)).flatten();
        let Some(request) = request else {
            // Unanswered, it would wait for ever. Some ask for what was not offered to them, and do it themselves then.
            let message = format!("cadence does not answer {method}");
            actions.push(Action::Write(jsonrpc::refuse(&id, jsonrpc::METHOD_NOT_FOUND, &message)));
            return;
        };
        let call = request.tool_call.tool_call_id.clone();
        let (tool, input, paths, command) = {
            let known = self.call(request.tool_call);
            known.asked = true;
            (known.tool(), known.clone(), known.paths(), known.command())
        };
        let input = input.input(&self.roots);
        self.tell_call(&call, actions);
        let workspace = &self.plan.directory;
        let inside = tool == EDIT && !paths.is_empty() && paths.iter().all(|path| is_inside(path, workspace));
        let pending = Pending { request: id, options: request.options, call, tool, input, inside };
        let push = command.is_some_and(|command| pushes(&command));
        if push || self.approvals.len() >= MAX_OPEN {
            let why = if push { "an agent never pushes" } else { "too many requests wait for an answer" };
            let message = format!("{} was denied: {why}.", pending.tool);
            actions.push(Action::event(EventData::Error { message, recoverable: true }));
            return self.deny(pending, None, actions);
        }
        let granted = match self.plan.permission {
            PermissionMode::All => true,
            PermissionMode::Edits if pending.inside => true,
            _ => self.allowed.holds(&pending.key()) || pending.inside && self.allowed.changes,
        };
        if granted {
            actions.push(Action::Write(pending.granting()));
            return;
        }
        let approval_id = (self.ids)().to_string();
        actions.push(Action::event(EventData::ApprovalRequested {
            approval_id: approval_id.clone(),
            kind: ApprovalKind::Permission,
            tool: pending.tool.clone(),
            // Whole, however long: nobody shall approve what was not shown.
            input: pending.input.clone(),
            suggestions: None,
        }));
        self.approvals.insert(approval_id, pending);
    }

    /// Takes in the answer to a request; one that is not open any more gives nothing.
    pub(super) fn answer(&mut self, body: CommandBody, actions: &mut Vec<Action>) {
        let CommandBody::Approval { approval_id, decision, always, updated_input, message, .. } = body else { return };
        let Some(pending) = self.approvals.remove(&approval_id) else { return };
        if decision != Decision::Allow {
            return self.deny(pending, message, actions);
        }
        if let Some(input) = updated_input.filter(|input| *input != pending.input) {
            let agent = self.plan.agent;
            let message = format!(
                "{agent} cannot be given another input: this one is denied, and it is told what to do instead."
            );
            actions.push(Action::event(EventData::Error { message, recoverable: true }));
            self.stop_call(&pending.call);
            actions.push(Action::Write(pending.denying()));
            let wanted = input.get("command").and_then(Value::as_str).map_or_else(|| input.to_string(), str::to_owned);
            self.say(format!("The user did not allow this as it was. Do this in its place: {wanted}"));
            return;
        }
        if always {
            match pending.inside {
                true => self.allowed.changes = true,
                false => self.allowed.add(pending.key()),
            }
        }
        actions.push(Action::Write(pending.granting()));
    }

    fn deny(&mut self, pending: Pending, message: Option<String>, actions: &mut Vec<Action>) {
        self.stop_call(&pending.call);
        actions.push(Action::Write(pending.denying()));
        let what = ["command", "path"].into_iter().find_map(|field| pending.input.get(field)?.as_str());
        let what = what.map_or_else(|| pending.input.to_string(), str::to_owned);
        self.turn.deny(Denial { tool: pending.tool, what });
        // A denial of the protocol's has no words of its own.
        if let Some(message) = message.filter(|text| !text.trim().is_empty()) {
            self.say(format!("The user denied that: {message}"));
        }
    }

    /// Takes back what waits: the turn ends without it.
    pub(super) fn withdraw_all(&mut self, actions: &mut Vec<Action>) {
        for (approval_id, pending) in std::mem::take(&mut self.approvals) {
            self.stop_call(&pending.call);
            let outcome = json!({"outcome": {"outcome": "cancelled"}});
            actions.push(Action::Write(jsonrpc::answer(&pending.request, outcome)));
            actions.push(Action::event(EventData::ApprovalResolved {
                approval_id,
                decision: Decision::Withdrawn,
                by: "agent".into(),
                answer: None,
            }));
        }
    }
}

impl Pending {
    /// What has to be the same for another request to be allowed with this one.
    fn key(&self) -> Value {
        json!([self.tool, self.input])
    }

    /// Once: what is allowed for longer, an agent may keep for ever.
    fn granting(&self) -> String {
        self.choosing(["allow_once", "allow_always"])
    }

    fn denying(&self) -> String {
        self.choosing(["reject_once", "reject_always"])
    }

    fn choosing(&self, kinds: [&str; 2]) -> String {
        let option = kinds.iter().find_map(|kind| self.options.iter().find(|option| option.kind == *kind));
        let outcome = match option {
            Some(option) => json!({"outcome": "selected", "optionId": option.option_id}),
            None => json!({"outcome": "cancelled"}),
        };
        jsonrpc::answer(&self.request, json!({ "outcome": outcome }))
    }
}
