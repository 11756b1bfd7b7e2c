//! Lines of the agent to outputs: a state machine without I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use cadence_protocol::{ApprovalKind, Decision, EventData, PermissionMode, Usage};
use serde_json::{Value, json};
use uuid::Uuid;

use super::control::{self, Pending, Unread};
use super::lines::{Block, ControlRequest, Line, Message, RateLimitEvent, System, TurnResult, text_of};
use super::tools;
use crate::agent::{Denial, Input, Output, TurnEnd, TurnOutcome};
use crate::session::calls::{Call, Calls};
use crate::session::patch::{MAX_TEXT, cap, cap_value};
use crate::session::steps::Steps;
use crate::session::{Action, Dialect};

/// Most bytes of what a denied tool wanted.
const MAX_DENIAL: usize = 200;
/// Requests that may wait for an answer at once, and background tasks and commands that are known at once. No agent that
/// works comes near.
const MAX_OPEN: usize = 1000;

/// What the outside world gives a translator.
pub struct Surroundings {
    /// A new id for each message.
    pub ids: Box<dyn FnMut() -> Uuid + Send>,
    /// Seconds since 1970.
    pub now: fn() -> u64,
}

impl Default for Surroundings {
    fn default() -> Self {
        let now = || std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        Self { ids: Box::new(Uuid::new_v4), now }
    }
}

/// The state of one session. `parsed` takes what the agent says, `hear` (in `control`) what the runner says.
pub struct Translator {
    pub(super) surroundings: Surroundings,
    permission: PermissionMode,
    /// The workspace, under every name by which the agent may call it.
    roots: Vec<PathBuf>,
    started: bool,
    /// Calls of tools that have no result yet, by id.
    pub(super) calls: Calls,
    /// Requests that wait for an answer, by request id.
    pub(super) approvals: BTreeMap<String, Pending>,
    /// Calls that did not come to run, because they were denied.
    pub(super) denied: BTreeSet<String>,
    /// Calls that did not come to run, because the agent took its request back. The CLI counts them as denied.
    withdrawn: BTreeSet<String>,
    /// Messages that the agent has not acknowledged.
    pub(super) unread: Vec<Unread>,
    /// Whether the agent acknowledges messages at all; older ones do not.
    acknowledges: bool,
    /// Tasks of the agent's own that run, with the call that started them.
    tasks: BTreeMap<String, Option<String>>,
    /// Commands of calls that went on in the background.
    background: HashMap<String, String>,
    /// An interrupt of ours has not shown its effect yet.
    pub(super) interrupting: bool,
    steps: Steps,
    usage: Usage,
    turn: Turn,
}

/// What is forgotten at the end of a turn.
#[derive(Default)]
struct Turn {
    /// The agent's last words.
    text: String,
    /// Kind of the failed request that ends the turn.
    api_error: Option<String>,
    /// When the rate limit passes, in seconds since 1970.
    resets_at: Option<u64>,
}

impl Dialect for Translator {
    type Line = Line;

    fn parse(text: &str) -> Option<Line> {
        Line::parse(text)
    }

    fn line(&mut self, line: Option<Line>) -> Vec<Action> {
        self.parsed(line)
    }

    fn input(&mut self, input: Input) -> Vec<Action> {
        self.hear(input)
    }

    fn ended(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.withdraw_all(&mut actions);
        actions
    }
}

impl Translator {
    pub fn new(workspace: &Path, permission: PermissionMode, surroundings: Surroundings) -> Self {
        Self {
            surroundings,
            permission,
            roots: vec![workspace.to_owned()],
            started: false,
            calls: Calls::default(),
            approvals: BTreeMap::new(),
            denied: BTreeSet::new(),
            withdrawn: BTreeSet::new(),
            unread: Vec::new(),
            acknowledges: false,
            tasks: BTreeMap::new(),
            background: HashMap::new(),
            interrupting: false,
            steps: Steps::default(),
            usage: Usage::default(),
            turn: Turn::default(),
        }
    }

    fn parsed(&mut self, line: Option<Line>) -> Vec<Action> {
        let mut actions = Vec::new();
        match line {
            Some(Line::System(system)) => self.system(system, &mut actions),
            Some(Line::Assistant(message)) => self.assistant(message, &mut actions),
            Some(Line::User(message)) => self.user(message, &mut actions),
            Some(Line::StreamEvent(event)) if event.parent_tool_use_id.is_none() => {
                actions.extend(event.text().map(|text| Action::Emit(Output::Delta(text.to_owned()))));
            }
            Some(Line::Result(result)) => self.result(result, &mut actions),
            Some(Line::ControlRequest(request)) => self.request(request, &mut actions),
            Some(Line::ControlCancelRequest(cancel)) => self.withdraw(&cancel.request_id, &mut actions),
            Some(Line::RateLimitEvent(event)) => self.rate_limit(event),
            Some(Line::StreamEvent(_) | Line::Other) | None => {}
        }
        actions
    }

    fn system(&mut self, system: System, actions: &mut Vec<Action>) {
        match system.subtype.as_str() {
            // It comes again with every turn.
            "init" if !self.started => {
                self.started = true;
                if !system.cwd.is_empty() {
                    self.roots.push(system.cwd.into());
                }
                actions.push(Action::Emit(Output::Started { session_id: system.session_id, model: system.model }));
            }
            "cost" => {
                self.cost(system.total_cost_usd);
                actions.push(Action::Emit(Output::Usage(self.usage)));
            }
            "api_retry" => {
                let rate_limited = system.error_status == Some(429);
                actions.push(Action::Emit(Output::Retrying { rate_limited }));
                // The first, and ever fewer.
                if !system.attempt.is_power_of_two() {
                    return;
                }
                let why = system.error.unwrap_or_else(|| "unknown".into());
                let status = system.error_status.map(|status| format!(" ({status})")).unwrap_or_default();
                let (attempt, max) = (system.attempt, system.max_retries);
                let message = format!("The model's service failed: {why}{status}. Retry {attempt} of {max}.");
                actions.push(event(EventData::Error { message, recoverable: true }));
            }
            "task_started" if self.tasks.len() < MAX_OPEN => {
                self.tasks.insert(system.task_id, system.tool_use_id);
            }
            "task_updated" if tools::is_over(&system.patch.status) => {
                self.tasks.remove(&system.task_id);
            }
            "task_notification" => {
                self.tasks.remove(&system.task_id);
                let command = system.tool_use_id.and_then(|id| self.background.remove(&id));
                actions.extend(command.map(|command| {
                    let exit_code = tools::code_in_summary(&system.summary);
                    event(EventData::CommandRun { command, exit_code, output: None })
                }));
            }
            _ => {}
        }
    }

    fn assistant(&mut self, line: Message, actions: &mut Vec<Action>) {
        let main = line.parent_tool_use_id.is_none();
        if line.error.is_some() && main {
            self.turn.api_error = line.error;
        }
        // Written by the CLI about an error, which the turn's result tells as well.
        let synthetic = line.message.model == "<synthetic>";
        for block in line.message.blocks() {
            match block {
                Block::Text { text } if main && !synthetic && !text.is_empty() => {
                    let text = cap(text);
                    self.turn.text.clone_from(&text);
                    actions.push(event(EventData::Output { text }));
                }
                Block::ToolUse { id, name, input } => {
                    let mut input = input;
                    cap_value(&mut input, MAX_TEXT);
                    let tool_use_id = (!id.is_empty()).then(|| id.clone());
                    let tool = name.clone();
                    actions.push(event(EventData::ToolUse { tool, input: input.clone(), tool_use_id }));
                    self.calls.insert(id, Call { tool: name, input });
                }
                _ => {}
            }
        }
    }

    fn user(&mut self, line: Message, actions: &mut Vec<Action>) {
        if line.is_replay {
            let taken = self.acknowledge(line.uuid.as_deref(), &line.message.content);
            actions.extend(taken.map(|id| Action::Emit(Output::Taken(id))));
            return;
        }
        let main = line.parent_tool_use_id.is_none();
        let details = line.tool_use_result;
        for block in line.message.blocks() {
            let Block::ToolResult { tool_use_id, content, is_error } = block else { continue };
            // Results can come out of order, and for calls that we know nothing of.
            let Some(call) = self.calls.remove(&tool_use_id) else { continue };
            let stopped = self.denied.contains(&tool_use_id) || self.withdrawn.contains(&tool_use_id);
            if tools::goes_on(&details) {
                if let Some(command) = call.command().filter(|_| self.background.len() < MAX_OPEN) {
                    self.background.insert(tool_use_id, command.to_owned());
                }
                continue;
            }
            self.tasks.retain(|_, started_by| started_by.as_deref() != Some(&tool_use_id));
            let result = tools::Outcome { text: text_of(&content), details: &details, is_error, stopped };
            let told = tools::told(&call, &result, &self.roots, self.interrupting);
            actions.extend(told.map(event));
            // Sub-agents keep lists of their own.
            if !is_error && main {
                actions.extend(self.steps.apply(&call.tool, &call.input, &details).map(event));
            }
        }
    }

    /// The agent took a message of ours.
    fn acknowledge(&mut self, uuid: Option<&str>, content: &Value) -> Option<Uuid> {
        self.acknowledges = true;
        let by_id = uuid.and_then(|uuid| self.unread.iter().position(|unread| unread.uuid.to_string() == uuid));
        let text = text_of(content);
        let index = by_id.or_else(|| self.unread.iter().position(|unread| unread.text == text))?;
        Some(self.unread.remove(index).id)
    }

    fn result(&mut self, result: TurnResult, actions: &mut Vec<Action>) {
        self.withdraw_all(actions);
        let turn = std::mem::take(&mut self.turn);
        let outcome = self.outcome(&result, &turn);
        self.interrupting = false;
        self.calls.clear();
        self.denied.clear();
        let withdrawn = std::mem::take(&mut self.withdrawn);

        self.count(&result);
        actions.push(Action::Emit(Output::Usage(self.usage)));

        let summary = cap(match result.result {
            Some(text) if !text.is_empty() => text,
            _ if outcome == TurnOutcome::Interrupted => "Interrupted.".into(),
            _ if !result.errors.is_empty() => result.errors.join("; "),
            _ => turn.text,
        });
        // A session that is not known may never have been: whoever asked for it knows whether that is worth a word.
        if !matches!(outcome, TurnOutcome::Success | TurnOutcome::Interrupted | TurnOutcome::ResumeFailed) {
            let recoverable = matches!(outcome, TurnOutcome::RateLimited { .. });
            actions.push(event(EventData::Error { message: summary.clone(), recoverable }));
        }
        if !self.acknowledges && outcome != TurnOutcome::ResumeFailed {
            actions.extend(self.unread.drain(..).map(|unread| Action::Emit(Output::Taken(unread.id))));
        }
        let denials = result.permission_denials.into_iter().filter(|denial| !withdrawn.contains(&denial.tool_use_id));
        actions.push(Action::Emit(Output::TurnEnd(TurnEnd {
            outcome,
            summary,
            denials: denials.map(|denial| Denial { what: what(&denial.tool_input), tool: denial.tool_name }).collect(),
            background: self.tasks.len(),
        })));
    }

    fn outcome(&self, result: &TurnResult, turn: &Turn) -> TurnOutcome {
        let unknown_session = || result.errors.iter().any(|error| error.contains("No conversation found"));
        let api_error = turn.api_error.as_deref();
        match (result.subtype.as_str(), result.api_error_status) {
            _ if result.terminal_reason.starts_with("aborted") => TurnOutcome::Interrupted,
            // A failed request to the model's service also has the subtype `success`.
            _ if !result.is_error => TurnOutcome::Success,
            ("error_during_execution", _) if !self.started && unknown_session() => TurnOutcome::ResumeFailed,
            ("error_during_execution", _) if self.interrupting => TurnOutcome::Interrupted,
            ("error_max_budget_usd", _) => TurnOutcome::Budget,
            ("error_max_turns", _) => TurnOutcome::Turns,
            (_, Some(401 | 403)) => TurnOutcome::Auth,
            (_, Some(429)) => self.rate_limited(turn),
            (_, None) if api_error == Some("authentication_failed") => TurnOutcome::Auth,
            (_, None) if api_error == Some("rate_limit") => self.rate_limited(turn),
            _ => TurnOutcome::Failed,
        }
    }

    fn rate_limited(&self, turn: &Turn) -> TurnOutcome {
        let retry_after_secs = turn.resets_at.map(|at| at.saturating_sub((self.surroundings.now)()));
        TurnOutcome::RateLimited { retry_after_secs }
    }

    fn rate_limit(&mut self, event: RateLimitEvent) {
        if event.rate_limit_info.status == "rejected" {
            self.turn.resets_at = event.rate_limit_info.resets_at;
        }
    }

    fn cost(&mut self, total: Option<f64>) {
        // An interrupted turn may report less than was told before.
        let told = total.filter(|cost| cost.is_finite());
        self.usage.cost_usd = told.map_or(self.usage.cost_usd, |cost| cost.max(self.usage.cost_usd));
    }

    /// Cost and the models' tokens are those of the whole process; where the latter are missing, turns are added up.
    fn count(&mut self, result: &TurnResult) {
        self.cost(result.total_cost_usd);
        if result.model_usage.is_empty() {
            let turn = &result.usage;
            let input = [turn.input_tokens, turn.cache_creation_input_tokens, turn.cache_read_input_tokens];
            self.usage.input_tokens = input.into_iter().fold(self.usage.input_tokens, u64::saturating_add);
            self.usage.output_tokens = self.usage.output_tokens.saturating_add(turn.output_tokens);
            return;
        }
        let (mut input, mut output) = (0_u64, 0_u64);
        for usage in result.model_usage.values() {
            for tokens in [usage.input_tokens, usage.cache_creation_input_tokens, usage.cache_read_input_tokens] {
                input = input.saturating_add(tokens);
            }
            output = output.saturating_add(usage.output_tokens);
        }
        self.usage.input_tokens = self.usage.input_tokens.max(input);
        self.usage.output_tokens = self.usage.output_tokens.max(output);
    }

    fn request(&mut self, line: ControlRequest, actions: &mut Vec<Action>) {
        let ControlRequest { request_id, request } = line;
        if request.subtype != "can_use_tool" {
            // Unanswered, the agent would wait for ever.
            let error = format!("unsupported request: {}", request.subtype);
            let response = json!({"subtype": "error", "request_id": request_id, "error": error});
            actions.push(Action::Write(json!({"type": "control_response", "response": response}).to_string()));
            return;
        }
        if self.approvals.len() >= MAX_OPEN {
            actions.push(Action::Write(control::deny(&request_id, "Too many requests wait for an answer.")));
            return;
        }
        let question = request.tool_name == "AskUserQuestion";
        if self.permission == PermissionMode::All && !question {
            actions.push(Action::Write(control::allow(&request_id, request.input, None)));
            return;
        }
        let kind = if question { ApprovalKind::Question } else { ApprovalKind::Permission };
        let suggestions = (!request.permission_suggestions.is_empty()).then_some(request.permission_suggestions);
        actions.push(event(EventData::ApprovalRequested {
            approval_id: request_id.clone(),
            kind,
            tool: request.tool_name,
            // Whole, however long: nobody shall approve what was not shown.
            input: request.input.clone(),
            suggestions: suggestions.clone().map(Value::Array),
        }));
        let pending = Pending { kind, input: request.input, suggestions, tool_use_id: request.tool_use_id };
        self.approvals.insert(request_id, pending);
    }

    fn withdraw(&mut self, request_id: &str, actions: &mut Vec<Action>) {
        if let Some(pending) = self.approvals.remove(request_id) {
            self.withdrawn.extend(pending.tool_use_id);
            actions.push(event(EventData::ApprovalResolved {
                approval_id: request_id.to_owned(),
                decision: Decision::Withdrawn,
                by: "agent".into(),
                answer: None,
            }));
        }
    }

    fn withdraw_all(&mut self, actions: &mut Vec<Action>) {
        let open: Vec<_> = self.approvals.keys().cloned().collect();
        for request_id in open {
            self.withdraw(&request_id, actions);
        }
    }
}

fn event(data: EventData) -> Action {
    Action::event(data)
}

/// What a denied tool wanted, in one line.
fn what(input: &Value) -> String {
    let named = ["command", "file_path", "url", "pattern"].into_iter().find_map(|field| input.get(field)?.as_str());
    let text = named.map_or_else(|| input.to_string(), str::to_owned);
    let line = text.lines().next().unwrap_or_default();
    line[..line.floor_char_boundary(MAX_DENIAL)].to_owned()
}
