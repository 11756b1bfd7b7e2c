//! Messages of the Agent Client Protocol to outputs: a state machine without I/O.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::PoisonError;

use cadence_protocol::{EventData, PermissionMode, Usage};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Costs;
use super::calls::Call;
use super::permissions::Pending;
use super::wire::{self, Content, Initialized, SessionAnswer, ToolCall, Update};
use crate::agent::{Denial, Input, Output, SessionStart, TurnEnd, TurnOutcome};
use crate::session::consent::Allowed;
use crate::session::jsonrpc::{self, Message, Refusal};
use crate::session::patch::{MAX_TEXT, cap, cap_value};
use crate::session::steps::Steps;
use crate::session::{Action, Dialect};

/// The version of the protocol that is spoken.
const VERSION: u64 = 1;
/// The protocol's error code for an agent that nobody is logged in to.
const AUTH_REQUIRED: i64 = -32000;
/// Requests that may wait for an answer at once.
pub const MAX_OPEN: usize = 1000;
/// Most calls that are open at once, and most bytes that they hold together; no agent that works comes near.
const MAX_CALLS: (usize, usize) = (256, 16 << 20);
/// Most bytes of what a denied tool wanted.
const MAX_DENIAL: usize = 200;
/// Sessions whose costs are remembered.
const MAX_COSTS: usize = 1000;

/// What a session needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    pub agent: &'static str,
    pub directory: PathBuf,
    pub session: SessionStart,
    pub model: Option<String>,
    pub permission: PermissionMode,
    pub budget_usd: Option<f64>,
    pub max_turns: Option<u32>,
}

/// The state of one session.
pub struct Translator {
    pub(super) plan: Plan,
    pub(super) ids: Box<dyn FnMut() -> Uuid + Send>,
    costs: Costs,
    pub(super) roots: Vec<PathBuf>,
    /// The number of our last request, and what is asked and not answered.
    last: u64,
    asked: Option<(u64, Asked)>,
    agent: Initialized,
    session: Option<String>,
    /// The session can be given prompts.
    ready: bool,
    /// What waits for the end of the turn.
    queue: VecDeque<Said>,
    calls: HashMap<String, Call>,
    order: VecDeque<String>,
    pub(super) approvals: std::collections::BTreeMap<String, Pending>,
    pub(super) allowed: Allowed,
    steps: Steps,
    usage: Usage,
    /// What the session had cost before this process, once that is known.
    before: Option<f64>,
    /// It was told that the agent does something without asking; that it tells no costs.
    unasked: bool,
    unpriced: bool,
    pub(super) turn: Turn,
}

/// What an answer is to; there is one request of ours at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Initialize,
    Session,
    Model,
    Prompt,
}

/// Something to tell the agent: a message of the runner's, with its id, or words of ours.
#[derive(Clone, Debug)]
struct Said {
    id: Option<Uuid>,
    text: String,
}

/// What is forgotten at the end of a turn.
#[derive(Default)]
pub struct Turn {
    /// The message that began it, until the agent has taken it.
    untaken: Option<Uuid>,
    /// Of the agent's message that is being written.
    message: Option<String>,
    words: String,
    /// The agent's last words.
    text: String,
    denials: Vec<Denial>,
    interrupted: bool,
    broke: bool,
}

impl Turn {
    pub fn deny(&mut self, mut denial: Denial) {
        let line = denial.what.lines().next().unwrap_or_default();
        denial.what = line[..line.floor_char_boundary(MAX_DENIAL)].to_owned();
        if self.denials.len() < MAX_OPEN {
            self.denials.push(denial);
        }
    }
}

impl Dialect for Translator {
    type Line = Message;

    fn parse(text: &str) -> Option<Message> {
        Message::parse(text)
    }

    fn line(&mut self, line: Option<Message>) -> Vec<Action> {
        let mut actions = Vec::new();
        match line {
            Some(Message::Notification { method, params }) if method == "session/update" => {
                let note = wire::read::<wire::Note>(params);
                // What was said before a session went on is told again while it loads.
                let own = |note: &wire::Note| self.ready && self.session.as_ref() == Some(&note.session_id);
                if let Some(note) = note.filter(own) {
                    self.update(note.update, &mut actions);
                }
            }
            Some(Message::Request { id, method, params }) => self.request(id, &method, params, &mut actions),
            Some(Message::Response { id, answer }) => {
                if let Some((_, asked)) = self.asked.take_if(|(number, _)| *number == id) {
                    self.answered(asked, answer, &mut actions);
                }
            }
            Some(Message::Notification { .. }) | None => {}
        }
        actions
    }

    fn input(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Message { id, text } if text.trim().is_empty() => actions.push(Action::Emit(Output::Taken(id))),
            Input::Message { id, text } => {
                self.queue.push_back(Said { id: Some(id), text });
                self.go_on(&mut actions);
            }
            Input::Interrupt => {
                // Between turns there is nothing to stop.
                self.turn.interrupted = matches!(self.asked, Some((_, Asked::Prompt)));
                self.cancel(&mut actions);
            }
            Input::Approval(body) => self.answer(body, &mut actions),
            Input::Close => actions.push(Action::CloseInput),
            Input::Kill => actions.push(Action::Kill),
        }
        actions
    }

    fn ended(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.flush(&mut actions);
        self.withdraw_all(&mut actions);
        actions
    }
}

impl Translator {
    pub fn new(plan: Plan, ids: Box<dyn FnMut() -> Uuid + Send>, costs: Costs) -> Self {
        Self {
            roots: vec![plan.directory.clone()],
            plan,
            ids,
            costs,
            last: 0,
            asked: None,
            agent: Initialized::default(),
            session: None,
            ready: false,
            queue: VecDeque::new(),
            calls: HashMap::new(),
            order: VecDeque::new(),
            approvals: std::collections::BTreeMap::new(),
            allowed: Allowed::default(),
            steps: Steps::default(),
            usage: Usage::default(),
            before: None,
            unasked: false,
            unpriced: false,
            turn: Turn::default(),
        }
    }

    fn ask(&mut self, asked: Asked, method: &str, params: Value, actions: &mut Vec<Action>) {
        self.last += 1;
        self.asked = Some((self.last, asked));
        actions.push(Action::Write(jsonrpc::request(self.last, method, params)));
    }

    /// Says something of ours with the next turn.
    pub(super) fn say(&mut self, text: String) {
        self.queue.push_front(Said { id: None, text });
    }

    /// Begins what can be begun: the connection with the first message, a turn with each.
    fn go_on(&mut self, actions: &mut Vec<Action>) {
        if self.last == 0 {
            // Files and terminals are the agent's own, in its workspace and under its host.
            let capabilities = json!({"fs": {"readTextFile": false, "writeTextFile": false}, "terminal": false});
            let client = json!({"name": "cadence", "title": "cadence", "version": env!("CARGO_PKG_VERSION")});
            let params = json!({"protocolVersion": VERSION, "clientCapabilities": capabilities, "clientInfo": client});
            return self.ask(Asked::Initialize, "initialize", params, actions);
        }
        let (true, None, Some(session)) = (self.ready, &self.asked, self.session.clone()) else { return };
        let spent = self.plan.budget_usd.is_some_and(|budget| self.usage.cost_usd >= budget);
        if spent && !self.queue.is_empty() {
            return self.end(TurnOutcome::Budget, "The task's budget is spent.".to_owned(), actions);
        }
        let Some(said) = self.queue.pop_front() else { return };
        self.turn.untaken = said.id;
        let prompt = json!([{"type": "text", "text": said.text}]);
        self.ask(Asked::Prompt, "session/prompt", json!({"sessionId": session, "prompt": prompt}), actions);
    }

    fn cancel(&mut self, actions: &mut Vec<Action>) {
        if let (Some((_, Asked::Prompt)), Some(session)) = (&self.asked, &self.session) {
            actions.push(Action::Write(jsonrpc::notification("session/cancel", json!({"sessionId": session}))));
            // By the protocol, it is the client's to answer what is open.
            self.withdraw_all(actions);
        }
    }

    fn answered(&mut self, asked: Asked, answer: Result<Value, Refusal>, actions: &mut Vec<Action>) {
        match (asked, answer) {
            (Asked::Initialize, Ok(answer)) => {
                self.agent = wire::read(answer).unwrap_or_default();
                if self.agent.protocol_version != VERSION {
                    let (agent, theirs) = (self.plan.agent, self.agent.protocol_version);
                    let why = format!("{agent} speaks version {theirs} of the protocol, and cadence {VERSION}.");
                    return self.end(TurnOutcome::Failed, why, actions);
                }
                self.open(actions);
            }
            (Asked::Session, Ok(answer)) => {
                let answer = wire::read::<SessionAnswer>(answer).unwrap_or_default();
                if let Some(session) = answer.session_id.clone() {
                    self.session = Some(session);
                }
                match self.session.clone() {
                    Some(session) => self.opened(session, answer, actions),
                    None => {
                        let why = format!("{} began no session that can be understood.", self.plan.agent);
                        self.end(TurnOutcome::Failed, why, actions);
                    }
                }
            }
            (Asked::Session, Err(refusal)) if refusal.code != AUTH_REQUIRED && self.resumes() => {
                self.end(TurnOutcome::ResumeFailed, refusal.message, actions);
                actions.push(Action::CloseInput);
            }
            (Asked::Model, Ok(_)) => {
                let model = self.plan.model.clone();
                self.begin(model, actions);
            }
            (Asked::Model, Err(refusal)) => {
                let model = self.plan.model.clone().unwrap_or_default();
                let why = format!("{} does not take the model {model}: {}", self.plan.agent, refusal.message);
                self.end(TurnOutcome::Failed, why, actions);
            }
            (Asked::Prompt, Ok(answer)) => match wire::read::<wire::PromptAnswer>(answer) {
                Some(answer) => self.stopped(answer, actions),
                None => self.end(TurnOutcome::Failed, "The turn ended without a reason.".to_owned(), actions),
            },
            (_, Err(refusal)) => self.failed(&refusal, actions),
        }
    }

    fn resumes(&self) -> bool {
        matches!(self.plan.session, SessionStart::Resume(_))
    }

    /// Begins a session, or lets one go on, where the agent can.
    fn open(&mut self, actions: &mut Vec<Action>) {
        let mut params = json!({"cwd": self.plan.directory, "mcpServers": []});
        let SessionStart::Resume(session) = self.plan.session.clone() else {
            return self.ask(Asked::Session, "session/new", params, actions);
        };
        params["sessionId"] = json!(session);
        let capabilities = &self.agent.agent_capabilities;
        let method = match (&capabilities.session_capabilities.resume, capabilities.load_session) {
            (Some(_), _) => "session/resume",
            (None, true) => "session/load",
            (None, false) => {
                let why = format!("{} cannot let a session go on.", self.plan.agent);
                actions.push(Action::event(EventData::Error { message: why.clone(), recoverable: true }));
                self.end(TurnOutcome::ResumeFailed, why, actions);
                actions.push(Action::CloseInput);
                return;
            }
        };
        self.session = Some(session);
        self.ask(Asked::Session, method, params, actions);
    }

    /// The session is there; its model is chosen where one is wanted.
    fn opened(&mut self, session: String, answer: SessionAnswer, actions: &mut Vec<Action>) {
        let option = answer.config_options.iter().find(|option| option.category.as_deref() == Some("model"));
        let current = option.and_then(|option| option.current_value.as_str().map(str::to_owned));
        let current = current.or_else(|| Some(answer.models.as_ref()?.current_model_id.clone()));
        let Some(model) = self.plan.model.clone().filter(|model| current.as_ref() != Some(model)) else {
            return self.begin(current, actions);
        };
        if let Some(option) = option {
            let params = json!({"sessionId": session, "configId": option.id, "value": model});
            self.ask(Asked::Model, "session/set_config_option", params, actions);
        } else if answer.models.is_some() {
            let params = json!({"sessionId": session, "modelId": model});
            self.ask(Asked::Model, "session/set_model", params, actions);
        } else {
            let why = format!("{} lets nobody choose its model; start it without {model}.", self.plan.agent);
            self.end(TurnOutcome::Failed, why, actions);
        }
    }

    fn begin(&mut self, model: Option<String>, actions: &mut Vec<Action>) {
        let Some(session_id) = self.session.clone() else { return };
        self.ready = true;
        if !self.resumes() {
            self.before = Some(0.0);
        } else {
            let costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
            self.before = costs.get(&session_id).copied();
        }
        actions.push(Action::Emit(Output::Started { session_id, model }));
        if let Some(turns) = self.plan.max_turns {
            let message = format!("{} cannot be held to {turns} turns: it does not tell them.", self.plan.agent);
            actions.push(Action::event(EventData::Error { message, recoverable: true }));
        }
        self.go_on(actions);
    }

    fn update(&mut self, update: Update, actions: &mut Vec<Action>) {
        let working = matches!(self.asked, Some((_, Asked::Prompt)));
        let tells = !matches!(update, Update::Other | Update::UsageUpdate(_));
        if working && tells {
            actions.extend(self.turn.untaken.take().map(|id| Action::Emit(Output::Taken(id))));
        }
        match update {
            Update::AgentMessageChunk(chunk) => {
                if chunk.message_id != self.turn.message {
                    self.flush(actions);
                    self.turn.message = chunk.message_id;
                }
                if let Content::Text { text } = chunk.content
                    && !text.is_empty()
                    && self.turn.words.len() < MAX_TEXT
                {
                    self.turn.words.push_str(&text);
                    actions.push(Action::Emit(Output::Delta(text)));
                }
            }
            Update::ToolCall(call) | Update::ToolCallChange(call) => {
                self.flush(actions);
                self.tool_call(call, actions);
            }
            Update::Plan { entries } => {
                let status = |status: &str| match status {
                    "completed" => "completed",
                    "in_progress" => "in_progress",
                    _ => "pending",
                };
                let steps = entries.into_iter().map(|entry| (status(&entry.status), entry.content));
                actions.extend(self.steps.tell(steps).map(Action::event));
            }
            Update::UsageUpdate(usage) => self.count(usage, actions),
            Update::AgentThoughtChunk {} | Update::Other => {}
        }
    }

    /// Tells the whole of the text that was written.
    fn flush(&mut self, actions: &mut Vec<Action>) {
        let words = std::mem::take(&mut self.turn.words);
        self.turn.message = None;
        if !words.trim().is_empty() {
            let text = cap(words);
            self.turn.text.clone_from(&text);
            actions.push(Action::event(EventData::Output { text }));
        }
    }

    /// The call that is spoken of, with what is new of it.
    pub(super) fn call(&mut self, new: ToolCall) -> &mut Call {
        let id = new.tool_call_id.clone();
        if !self.calls.contains_key(&id) {
            self.order.push_back(id.clone());
            let held = |calls: &HashMap<String, Call>| calls.values().map(Call::size).sum::<usize>();
            while self.calls.len() >= MAX_CALLS.0 || held(&self.calls) > MAX_CALLS.1 {
                let Some(oldest) = self.order.pop_front() else { break };
                self.calls.remove(&oldest);
            }
        }
        let call = self.calls.entry(id).or_default();
        call.update(new);
        call
    }

    /// It will not run.
    pub(super) fn stop_call(&mut self, id: &str) {
        if let Some(call) = self.calls.get_mut(id) {
            call.stopped = true;
        }
    }

    /// Tells a call, once.
    pub(super) fn tell_call(&mut self, id: &str, actions: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(id) else { return };
        if !std::mem::replace(&mut call.told, true) {
            let mut input = call.input(&self.roots);
            cap_value(&mut input, MAX_TEXT);
            let (tool, tool_use_id) = (call.tool(), Some(id.to_owned()).filter(|id| !id.is_empty()));
            actions.push(Action::event(EventData::ToolUse { tool, input, tool_use_id }));
        }
    }

    fn tool_call(&mut self, new: ToolCall, actions: &mut Vec<Action>) {
        let id = new.tool_call_id.clone();
        let (known, over) = {
            let call = self.call(new);
            (call.is_known(), call.is_over())
        };
        if known {
            self.tell_call(&id, actions);
        }
        if !over {
            return;
        }
        let Some(call) = self.calls.remove(&id) else { return };
        self.order.retain(|open| *open != id);
        if let Some(steps) = call.steps() {
            actions.extend(self.steps.apply("TodoWrite", steps, &Value::Null).map(Action::event));
        }
        let asks = match self.plan.permission {
            PermissionMode::Ask => call.acts(),
            PermissionMode::Edits => call.acts() && call.kind != "edit",
            PermissionMode::All => false,
        };
        if asks && !call.asked && !call.stopped && !std::mem::replace(&mut self.unasked, true) {
            let agent = self.plan.agent;
            let message =
                format!("{agent} does things without asking: what it asks for is decided by its own settings.");
            actions.push(Action::event(EventData::Error { message, recoverable: true }));
        }
        actions.extend(call.ended(&self.roots, self.turn.interrupted).into_iter().map(Action::event));
    }

    /// Counts what the session has cost since this process began.
    fn count(&mut self, usage: wire::UsageUpdate, actions: &mut Vec<Action>) {
        let Some(cost) = usage.cost.filter(|cost| cost.currency == "USD" && cost.amount.is_finite()) else { return };
        if let Some(session) = &self.session {
            let mut costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
            if costs.len() < MAX_COSTS || costs.contains_key(session) {
                costs.insert(session.clone(), cost.amount);
            }
        }
        // Of a session that another process began, the first figure is all that is known.
        let before = *self.before.get_or_insert(cost.amount);
        self.usage.cost_usd = (cost.amount - before).max(self.usage.cost_usd);
        self.unpriced = true;
        actions.push(Action::Emit(Output::Usage(self.usage)));
        let spent = self.plan.budget_usd.is_some_and(|budget| self.usage.cost_usd >= budget);
        if spent && !std::mem::replace(&mut self.turn.broke, true) {
            self.cancel(actions);
        }
    }

    fn stopped(&mut self, answer: wire::PromptAnswer, actions: &mut Vec<Action>) {
        if let Some(usage) = answer.usage {
            self.usage.input_tokens = self.usage.input_tokens.saturating_add(usage.input_tokens);
            self.usage.output_tokens = self.usage.output_tokens.saturating_add(usage.output_tokens);
            actions.push(Action::Emit(Output::Usage(self.usage)));
        }
        self.flush(actions);
        let outcome = match answer.stop_reason.as_str() {
            "cancelled" if self.turn.broke && !self.turn.interrupted => TurnOutcome::Budget,
            "cancelled" => TurnOutcome::Interrupted,
            "end_turn" => TurnOutcome::Success,
            "max_turn_requests" => TurnOutcome::Turns,
            _ => TurnOutcome::Failed,
        };
        let agent = self.plan.agent;
        let summary = match outcome {
            TurnOutcome::Success => self.turn.text.clone(),
            TurnOutcome::Interrupted => "Interrupted.".to_owned(),
            TurnOutcome::Budget => "The task's budget is spent.".to_owned(),
            TurnOutcome::Turns => format!("{agent} has taken its turns."),
            _ if answer.stop_reason == "refusal" => format!("{agent} refuses to go on."),
            _ if answer.stop_reason == "max_tokens" => "The model's reply was cut at its greatest length.".to_owned(),
            _ => format!("{agent} stopped: {}.", answer.stop_reason),
        };
        if self.plan.budget_usd.is_some() && !std::mem::replace(&mut self.unpriced, true) {
            let message = format!("{agent} does not tell what its work costs: the budget is not kept.");
            actions.push(Action::event(EventData::Error { message, recoverable: true }));
        }
        self.end(outcome, summary, actions);
    }

    fn failed(&mut self, refusal: &Refusal, actions: &mut Vec<Action>) {
        self.flush(actions);
        let details = refusal.data.as_str().or_else(|| refusal.data.get("details").and_then(Value::as_str));
        let mut summary = match details.filter(|details| !refusal.message.contains(*details)) {
            Some(details) => format!("{}: {details}", refusal.message),
            None => refusal.message.clone(),
        };
        let outcome = outcome_of(refusal.code, &summary);
        if outcome == TurnOutcome::Auth {
            let ways = self.agent.auth_methods.iter().map(|way| way.description.as_deref().unwrap_or(&way.name));
            let ways: Vec<_> = ways.filter(|way| !way.is_empty()).collect();
            if !ways.is_empty() {
                summary = format!("{summary} ({})", ways.join("; or: "));
            }
        }
        self.end(outcome, summary, actions);
    }

    fn end(&mut self, outcome: TurnOutcome, summary: String, actions: &mut Vec<Action>) {
        self.withdraw_all(actions);
        let interrupted = self.turn.interrupted;
        // Calls whose end was not told: commands were killed.
        for id in std::mem::take(&mut self.order) {
            let call = self.calls.remove(&id).filter(|call| call.told && call.command().is_some());
            actions.extend(call.into_iter().flat_map(|call| call.ended(&self.roots, interrupted)).map(Action::event));
        }
        self.calls.clear();
        let mut turn = std::mem::take(&mut self.turn);
        // It may have said nothing at all.
        actions.extend(turn.untaken.take().map(|id| Action::Emit(Output::Taken(id))));
        let summary = cap(summary);
        if !matches!(outcome, TurnOutcome::Success | TurnOutcome::Interrupted | TurnOutcome::ResumeFailed) {
            let recoverable = matches!(outcome, TurnOutcome::RateLimited { .. });
            actions.push(Action::event(EventData::Error { message: summary.clone(), recoverable }));
        }
        let follows = matches!(outcome, TurnOutcome::Success | TurnOutcome::Interrupted);
        // Words of ours that wait: the runner knows nothing of the turn that follows for them.
        let background = usize::from(follows && self.queue.front().is_some_and(|said| said.id.is_none()));
        actions.push(Action::Emit(Output::TurnEnd(TurnEnd { outcome, summary, denials: turn.denials, background })));
        if follows {
            self.go_on(actions);
        }
    }
}

/// What an error of a turn is. The protocol has a code for one that is not logged in, and for others agents have their words.
fn outcome_of(code: i64, message: &str) -> TurnOutcome {
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    match code {
        AUTH_REQUIRED | 401 | 403 => TurnOutcome::Auth,
        429 => TurnOutcome::RateLimited { retry_after_secs: None },
        _ if says(&["rate limit", "too many requests", "quota", "429"]) => {
            TurnOutcome::RateLimited { retry_after_secs: None }
        }
        _ if says(&["unauthorized", "api key", "authentication", "401"]) => TurnOutcome::Auth,
        _ => TurnOutcome::Failed,
    }
}
