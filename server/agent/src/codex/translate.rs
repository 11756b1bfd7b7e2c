//! Messages of Codex's app server to outputs: a state machine without I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;

use cadence_protocol::{Decision, EventData, Usage};
use serde_json::{Value, json};
use uuid::Uuid;

use super::approvals::Pending;
use super::items;
use super::launch::Plan;
use super::wire::{self, Item, Tokens, TurnError};
use crate::agent::{Denial, Input, Output, SessionStart, TurnEnd, TurnOutcome};
use crate::session::calls::Calls;
use crate::session::consent::{Allowed, is_inside};
use crate::session::jsonrpc::{self, Message, Refusal};
use crate::session::patch::{MAX_TEXT, cap, cap_value};
use crate::session::steps::Steps;
use crate::session::{Action, Dialect};

/// Requests that may wait for an answer at once, and other things that may be open. No agent that works comes near.
pub const MAX_OPEN: usize = 1000;
/// Most bytes of what a denied tool wanted.
const MAX_DENIAL: usize = 200;
/// Threads whose tokens are counted: the session's own and those of its sub-agents.
const MAX_THREADS: usize = 200;

/// The state of one session.
pub struct Translator {
    pub(super) plan: Plan,
    pub(super) ids: Box<dyn FnMut() -> Uuid + Send>,
    /// The workspace, under every name by which Codex may call it.
    roots: Vec<PathBuf>,
    /// The number of our last request.
    last: u64,
    /// Requests of ours that have no answer yet.
    asked: BTreeMap<u64, Asked>,
    thread: Option<String>,
    /// The turn that runs. `None` within `starting` as well.
    running: Option<String>,
    /// A turn was asked for and is not known yet.
    starting: bool,
    /// The turn is to stop as soon as it is known.
    stop: bool,
    /// Messages that Codex was not given yet.
    queue: VecDeque<Sent>,
    /// Messages that it was given and did not take yet.
    sent: Vec<Sent>,
    pub(super) calls: Calls,
    /// Calls that change files of the workspace alone.
    pub(super) inside: BTreeSet<String>,
    pub(super) approvals: BTreeMap<String, Pending>,
    pub(super) allowed: Allowed,
    steps: Steps,
    /// Tokens of each thread: what it had before this process, and what it has.
    tokens: BTreeMap<String, (Tokens, Tokens)>,
    /// Replies of the model in this process.
    replies: u32,
    /// When the account's rate limit passes, in seconds since 1970.
    resets_at: Option<u64>,
    pub(super) turn: Turn,
}

/// What an answer is to.
enum Asked {
    Initialize,
    Thread,
    Turn,
    Steer(Sent),
    /// Nothing follows from it.
    Other,
}

/// A message of the runner's.
#[derive(Clone, Debug)]
struct Sent {
    id: Uuid,
    text: String,
}

/// What is forgotten at the end of a turn.
#[derive(Default)]
pub struct Turn {
    /// The agent's last words.
    text: String,
    denials: Vec<Denial>,
    /// Tools of the model's newest reply that run, and whether it used any.
    open: BTreeSet<String>,
    used: bool,
    /// The model may not reply again.
    exhausted: bool,
    /// It was told to stop for that.
    stopped: bool,
    /// Times that a request to the model's service failed and was tried again.
    retries: u32,
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
            Some(Message::Notification { method, params }) => self.notice(&method, params, &mut actions),
            Some(Message::Request { id, method, params }) => self.request(id, &method, params, &mut actions),
            Some(Message::Response { id, answer }) => {
                if let Some(asked) = self.asked.remove(&id) {
                    self.answered(asked, answer, &mut actions);
                }
            }
            None => {}
        }
        actions
    }

    fn input(&mut self, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Message { id, text } => self.message(Sent { id, text }, &mut actions),
            Input::Interrupt => self.interrupt(&mut actions),
            Input::Approval(body) => self.answer(body, &mut actions),
            Input::Close => actions.push(Action::CloseInput),
            Input::Kill => actions.push(Action::Kill),
        }
        actions
    }

    fn ended(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        self.withdraw_all(&mut actions);
        actions
    }
}

impl Translator {
    pub fn new(plan: Plan, ids: Box<dyn FnMut() -> Uuid + Send>) -> Self {
        Self {
            roots: vec![plan.directory.clone()],
            plan,
            ids,
            last: 0,
            asked: BTreeMap::new(),
            thread: None,
            running: None,
            starting: false,
            stop: false,
            queue: VecDeque::new(),
            sent: Vec::new(),
            calls: Calls::default(),
            inside: BTreeSet::new(),
            approvals: BTreeMap::new(),
            allowed: Allowed::default(),
            steps: Steps::default(),
            tokens: BTreeMap::new(),
            replies: 0,
            resets_at: None,
            turn: Turn::default(),
        }
    }

    fn ask(&mut self, asked: Asked, method: &str, params: Value, actions: &mut Vec<Action>) {
        self.last += 1;
        self.asked.insert(self.last, asked);
        actions.push(Action::Write(jsonrpc::request(self.last, method, params)));
    }

    fn message(&mut self, message: Sent, actions: &mut Vec<Action>) {
        if message.text.trim().is_empty() {
            actions.push(Action::Emit(Output::Taken(message.id)));
            return;
        }
        self.queue.push_back(message);
        if self.last == 0 {
            // The first message begins it all.
            let client = json!({"name": "cadence", "title": "cadence", "version": env!("CARGO_PKG_VERSION")});
            let capabilities = json!({"experimentalApi": false, "requestAttestation": false});
            let params = json!({"clientInfo": client, "capabilities": capabilities});
            self.ask(Asked::Initialize, "initialize", params, actions);
        }
        self.go_on(actions);
    }

    /// Gives Codex what waits for it: as a new turn, or to the one that runs.
    fn go_on(&mut self, actions: &mut Vec<Action>) {
        let Some(thread) = self.thread.clone() else { return };
        if let Some(turn) = self.running.clone() {
            for message in std::mem::take(&mut self.queue) {
                let mut params = json!({"threadId": thread, "expectedTurnId": turn});
                add_input(&mut params, &message);
                self.sent.push(message.clone());
                self.ask(Asked::Steer(message), "turn/steer", params, actions);
            }
            return;
        }
        if self.starting {
            return;
        }
        let Some(message) = self.queue.pop_front() else { return };
        let mut params = json!({
            "threadId": thread,
            "approvalPolicy": self.plan.approval_policy(),
            "sandboxPolicy": self.plan.sandbox_policy(),
        });
        add_input(&mut params, &message);
        self.sent.push(message);
        self.starting = true;
        self.stop = false;
        self.ask(Asked::Turn, "turn/start", params, actions);
    }

    /// Tells Codex something in the turn that runs, beside the runner's messages.
    pub(super) fn say(&mut self, text: &str, actions: &mut Vec<Action>) {
        let (Some(thread), Some(turn)) = (self.thread.clone(), self.running.clone()) else { return };
        let params = json!({"threadId": thread, "expectedTurnId": turn, "input": [text_input(text)]});
        self.ask(Asked::Other, "turn/steer", params, actions);
    }

    fn interrupt(&mut self, actions: &mut Vec<Action>) {
        match (&self.thread, &self.running) {
            (Some(thread), Some(turn)) => {
                let params = json!({"threadId": thread, "turnId": turn});
                self.ask(Asked::Other, "turn/interrupt", params, actions);
            }
            _ => self.stop = self.starting,
        }
    }

    fn answered(&mut self, asked: Asked, answer: Result<Value, Refusal>, actions: &mut Vec<Action>) {
        match (asked, answer) {
            (Asked::Initialize, Ok(_)) => {
                actions.push(Action::Write(jsonrpc::notification("initialized", json!({}))));
                let (directory, policy) = (&self.plan.directory, self.plan.approval_policy());
                let mut params = json!({"cwd": directory, "approvalPolicy": policy, "model": self.plan.model});
                let method = match &self.plan.session {
                    SessionStart::New(_) => "thread/start",
                    SessionStart::Resume(session) => {
                        params["threadId"] = json!(session);
                        params["excludeTurns"] = json!(true);
                        "thread/resume"
                    }
                };
                self.ask(Asked::Thread, method, params, actions);
            }
            (Asked::Thread, Ok(answer)) => match wire::read::<wire::ThreadAnswer>(answer) {
                Some(started) => self.started(started, actions),
                None => self.broken("Codex began no session that can be understood.".to_owned(), actions),
            },
            (Asked::Thread, Err(refusal)) if self.is_unknown(&refusal) => {
                self.end(TurnOutcome::ResumeFailed, refusal.message, actions);
                actions.push(Action::CloseInput);
            }
            (Asked::Turn, Ok(answer)) => {
                if let Some(answer) = wire::read::<wire::TurnAnswer>(answer).filter(|_| self.starting) {
                    self.begun(answer.turn.id, actions);
                }
            }
            (Asked::Steer(message), Err(_)) => {
                // The turn has ended meanwhile, or takes nothing; what it did not take follows in the next.
                if let Some(index) = self.sent.iter().position(|sent| sent.id == message.id) {
                    self.sent.remove(index);
                    self.queue.push_back(message);
                    if self.running.is_none() {
                        self.go_on(actions);
                    }
                }
            }
            (Asked::Initialize | Asked::Thread | Asked::Turn, Err(refusal)) => {
                self.starting = false;
                self.broken(format!("Codex refused to begin: {}", refusal.message), actions);
            }
            (Asked::Steer(_), Ok(_)) | (Asked::Other, _) => {}
        }
    }

    /// Whether the session that was to go on is not there.
    fn is_unknown(&self, refusal: &Refusal) -> bool {
        let unknown = ["no rollout found", "thread not found", "invalid thread id", "not found"];
        matches!(self.plan.session, SessionStart::Resume(_))
            && unknown.iter().any(|words| refusal.message.contains(words))
    }

    fn started(&mut self, started: wire::ThreadAnswer, actions: &mut Vec<Action>) {
        let session_id = started.thread.id;
        self.thread = Some(session_id.clone());
        actions.push(Action::Emit(Output::Started { session_id, model: started.model }));
        if let Some(budget) = self.plan.budget_usd {
            let message = format!("Codex does not tell what its work costs: the budget of ${budget:.2} is not kept.");
            actions.push(Action::event(EventData::Error { message, recoverable: true }));
        }
        self.go_on(actions);
    }

    fn begun(&mut self, turn: String, actions: &mut Vec<Action>) {
        self.starting = false;
        self.running = Some(turn);
        if std::mem::take(&mut self.stop) {
            self.interrupt(actions);
        }
        self.go_on(actions);
    }

    fn notice(&mut self, method: &str, params: Value, actions: &mut Vec<Action>) {
        match method {
            "turn/started" => {
                let note = wire::read::<wire::TurnNote>(params);
                if let Some(note) = note.filter(|note| self.is_own(&note.thread_id) && self.running.is_none()) {
                    self.begun(note.turn.id, actions);
                }
            }
            "item/started" => {
                if let Some(note) = wire::read::<wire::ItemNote>(params) {
                    self.item_started(&note, actions);
                }
            }
            "item/completed" => {
                if let Some(note) = wire::read::<wire::ItemNote>(params) {
                    self.item_completed(note, actions);
                }
            }
            "item/agentMessage/delta" => {
                let note = wire::read::<wire::Delta>(params).filter(|note| self.is_own(&note.thread_id));
                actions.extend(note.map(|note| Action::Emit(Output::Delta(note.delta))));
            }
            "turn/plan/updated" => {
                if let Some(note) = wire::read::<wire::PlanNote>(params).filter(|note| self.is_own(&note.thread_id)) {
                    let status = |status: &str| match status {
                        "completed" => "completed",
                        "inProgress" => "in_progress",
                        _ => "pending",
                    };
                    let steps = note.plan.into_iter().map(|step| (status(&step.status), step.step));
                    actions.extend(self.steps.tell(steps).map(Action::event));
                }
            }
            "thread/tokenUsage/updated" => {
                if let Some(note) = wire::read::<wire::UsageNote>(params) {
                    self.count(note, actions);
                }
            }
            "account/rateLimits/updated" => {
                if let Some(limits) = wire::read::<wire::RateLimits>(params) {
                    let windows = [limits.rate_limits.primary, limits.rate_limits.secondary];
                    let spent = windows.into_iter().flatten().filter(|window| window.used_percent >= 100.0);
                    self.resets_at = spent.filter_map(|window| window.resets_at).max();
                }
            }
            "error" => {
                let note = wire::read::<wire::ErrorNote>(params).filter(|note| self.is_own(&note.thread_id));
                if let Some(note) = note.filter(|note| note.will_retry) {
                    self.retried(&note.error, actions);
                }
            }
            "serverRequest/resolved" => {
                // One that we answered is not open any more.
                if let Some(note) = wire::read::<wire::Resolved>(params) {
                    let open = self.approvals.iter().find(|(_, pending)| pending.is(&note.request_id));
                    if let Some(id) = open.map(|(id, _)| id.clone()) {
                        self.withdraw(&id, actions);
                    }
                }
            }
            "turn/completed" => {
                let note = wire::read::<wire::TurnNote>(params).filter(|note| self.is_own(&note.thread_id));
                if let Some(note) = note {
                    self.completed(note.turn, actions);
                }
            }
            _ => {}
        }
    }

    /// Whether it is the session's own thread; sub-agents have others.
    fn is_own(&self, thread: &str) -> bool {
        self.thread.as_deref() == Some(thread)
    }

    fn item_started(&mut self, note: &wire::ItemNote, actions: &mut Vec<Action>) {
        let own = self.is_own(&note.thread_id);
        if let (true, Item::UserMessage { client_id: Some(id) }) = (own, &note.item) {
            let taken = self.sent.iter().position(|sent| sent.id.to_string() == *id);
            actions.extend(taken.map(|index| Action::Emit(Output::Taken(self.sent.remove(index).id))));
        }
        let Some((id, call)) = items::call(&note.item, &self.roots) else { return };
        if own && self.turn.open.len() < MAX_OPEN {
            self.turn.open.insert(id.clone());
            self.turn.used = true;
        }
        if let Item::FileChange { changes, .. } = &note.item {
            let workspace = &self.plan.directory;
            let moved = |change: &wire::Change| match &change.kind {
                wire::ChangeKind::Update { move_path: Some(to) } => is_inside(to, workspace),
                _ => true,
            };
            if self.inside.len() < MAX_OPEN && changes.iter().all(|c| is_inside(&c.path, workspace) && moved(c)) {
                self.inside.insert(id.clone());
            }
        }
        let mut input = call.input.clone();
        cap_value(&mut input, MAX_TEXT);
        let tool = call.tool.clone();
        actions.push(Action::event(EventData::ToolUse { tool, input, tool_use_id: Some(id.clone()) }));
        self.calls.insert(id, call);
    }

    fn item_completed(&mut self, note: wire::ItemNote, actions: &mut Vec<Action>) {
        let own = self.is_own(&note.thread_id);
        match note.item {
            Item::AgentMessage { text } if own && !text.is_empty() => {
                let text = cap(text);
                self.turn.text.clone_from(&text);
                actions.push(Action::event(EventData::Output { text }));
            }
            Item::CommandExecution { id, command, status, aggregated_output, exit_code } => {
                self.done(&id);
                // Declined ones did not run.
                if status != "declined" {
                    let output = aggregated_output.map(|text| text.trim_end().to_owned());
                    let output = output.filter(|text| !text.is_empty()).map(cap);
                    let exit_code = exit_code.and_then(|code| i32::try_from(code).ok());
                    let command = items::unwrapped(&command);
                    actions.push(Action::event(EventData::CommandRun { command, exit_code, output }));
                }
            }
            Item::FileChange { id, changes, status } => {
                self.done(&id);
                match status.as_str() {
                    "completed" => {
                        actions.extend(items::edits(&changes, &self.roots).into_iter().map(Action::event));
                    }
                    "failed" => {
                        let paths = items::paths(&changes, &self.roots);
                        let message = cap(format!("The change of {paths} could not be made."));
                        actions.push(Action::event(EventData::Error { message, recoverable: true }));
                    }
                    _ => {}
                }
            }
            Item::McpToolCall { id, server, tool, error, .. } => {
                self.done(&id);
                if let Some(error) = error {
                    let message = cap(format!("{server}.{tool} failed: {}", error.message));
                    actions.push(Action::event(EventData::Error { message, recoverable: true }));
                }
            }
            Item::WebSearch { id, .. } | Item::CollabAgentToolCall { id, .. } => self.done(&id),
            Item::UserMessage { .. } | Item::AgentMessage { .. } | Item::Other => {}
        }
        self.limit(actions);
    }

    fn done(&mut self, id: &str) {
        self.calls.remove(id);
        self.inside.remove(id);
        self.turn.open.remove(id);
    }

    /// Counts tokens. What is told of a session before its first turn here is of processes before this one.
    fn count(&mut self, note: wire::UsageNote, actions: &mut Vec<Action>) {
        let own = self.is_own(&note.thread_id);
        let total = note.token_usage.total;
        if self.tokens.len() >= MAX_THREADS && !self.tokens.contains_key(&note.thread_id) {
            return;
        }
        let idle = own && self.running.is_none();
        let entry = self.tokens.entry(note.thread_id).or_default();
        if idle {
            *entry = (total, total);
            return;
        }
        entry.1 = total;
        let mut usage = Usage::default();
        for (before, now) in self.tokens.values() {
            let spent = |now: u64, before: u64| now.saturating_sub(before);
            usage.input_tokens = usage.input_tokens.saturating_add(spent(now.input_tokens, before.input_tokens));
            usage.output_tokens = usage.output_tokens.saturating_add(spent(now.output_tokens, before.output_tokens));
        }
        actions.push(Action::Emit(Output::Usage(usage)));
        if own {
            self.replies = self.replies.saturating_add(1);
            let used = std::mem::take(&mut self.turn.used);
            self.turn.exhausted |= used && self.plan.max_turns.is_some_and(|most| self.replies >= most);
            self.limit(actions);
        }
    }

    /// Stops the turn where the model may not reply again, once the tools of its last reply have ended.
    fn limit(&mut self, actions: &mut Vec<Action>) {
        let stops = self.turn.exhausted && self.turn.open.is_empty() && self.running.is_some();
        if stops && !std::mem::replace(&mut self.turn.stopped, true) {
            self.interrupt(actions);
        }
    }

    fn retried(&mut self, error: &TurnError, actions: &mut Vec<Action>) {
        self.turn.retries = self.turn.retries.saturating_add(1);
        actions.push(Action::Emit(Output::Retrying { rate_limited: is_rate_limit(error) }));
        // The first, and ever fewer.
        if self.turn.retries.is_power_of_two() {
            let why = error.additional_details.as_deref().unwrap_or(&error.message);
            let message = cap(format!("The model's service failed: {why}. Codex tries again."));
            actions.push(Action::event(EventData::Error { message, recoverable: true }));
        }
    }

    fn completed(&mut self, turn: wire::Turn, actions: &mut Vec<Action>) {
        let interrupted = turn.status == "interrupted";
        // Commands that were not told to have ended: an interrupt kills them, others run on and end with the process.
        for id in std::mem::take(&mut self.turn.open) {
            let command = self.calls.remove(&id).and_then(|call| call.command().map(str::to_owned));
            let how = if interrupted { "interrupted" } else { "still running when the turn ended" };
            let run = |command| EventData::CommandRun { command, exit_code: None, output: Some(how.to_owned()) };
            // One that waited for permission never ran, and that it does not come to run is told as its withdrawal.
            let waited = self.approvals.values().any(|pending| pending.belongs_to(&id));
            actions.extend(command.filter(|_| !waited).map(run).map(Action::event));
        }
        let error = turn.error.unwrap_or_default();
        let outcome = match turn.status.as_str() {
            "completed" => TurnOutcome::Success,
            "interrupted" if self.turn.exhausted => TurnOutcome::Turns,
            "interrupted" => TurnOutcome::Interrupted,
            _ => self.failure(&error),
        };
        let summary = match outcome {
            TurnOutcome::Success => self.turn.text.clone(),
            TurnOutcome::Interrupted => "Interrupted.".to_owned(),
            TurnOutcome::Turns => format!("Codex has taken its {} turns.", self.replies),
            _ if error.message.is_empty() => "Codex gave no reason.".to_owned(),
            _ => error.message,
        };
        self.end(outcome, summary, actions);
    }

    fn failure(&self, error: &TurnError) -> TurnOutcome {
        match (error.kind(), error.status()) {
            (_, Some(401 | 403)) | ("unauthorized", _) => TurnOutcome::Auth,
            // The variable that its settings name for the key.
            _ if error.message.starts_with("Missing environment variable") => TurnOutcome::Auth,
            ("sessionBudgetExceeded", _) => TurnOutcome::Budget,
            _ if is_rate_limit(error) => {
                let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
                TurnOutcome::RateLimited { retry_after_secs: self.resets_at.map(|at| at.saturating_sub(now)) }
            }
            _ => TurnOutcome::Failed,
        }
    }

    /// Codex does not do what it has to.
    fn broken(&mut self, why: String, actions: &mut Vec<Action>) {
        self.end(TurnOutcome::Failed, why, actions);
    }

    fn end(&mut self, outcome: TurnOutcome, summary: String, actions: &mut Vec<Action>) {
        self.withdraw_all(actions);
        let turn = std::mem::take(&mut self.turn);
        self.running = None;
        self.starting = false;
        self.stop = false;
        self.calls.clear();
        self.inside.clear();
        // What was said during the turn and not taken is lost to it.
        self.queue = self.sent.drain(..).chain(std::mem::take(&mut self.queue)).collect();
        let summary = cap(summary);
        // A session that is not known may never have been: whoever asked for it knows whether that is worth a word.
        if !matches!(outcome, TurnOutcome::Success | TurnOutcome::Interrupted | TurnOutcome::ResumeFailed) {
            let recoverable = matches!(outcome, TurnOutcome::RateLimited { .. });
            actions.push(Action::event(EventData::Error { message: summary.clone(), recoverable }));
        }
        let follows = matches!(outcome, TurnOutcome::Success | TurnOutcome::Interrupted);
        actions.push(Action::Emit(Output::TurnEnd(TurnEnd { outcome, summary, denials: turn.denials, background: 0 })));
        // After a failure, only what comes then begins a turn again.
        if follows {
            self.go_on(actions);
        }
    }

    fn withdraw(&mut self, approval_id: &str, actions: &mut Vec<Action>) {
        if self.approvals.remove(approval_id).is_some() {
            actions.push(Action::event(EventData::ApprovalResolved {
                approval_id: approval_id.to_owned(),
                decision: Decision::Withdrawn,
                by: "agent".into(),
                answer: None,
            }));
        }
    }

    fn withdraw_all(&mut self, actions: &mut Vec<Action>) {
        let open: Vec<_> = self.approvals.keys().cloned().collect();
        for approval_id in open {
            self.withdraw(&approval_id, actions);
        }
    }
}

fn is_rate_limit(error: &TurnError) -> bool {
    error.status() == Some(429) || matches!(error.kind(), "usageLimitExceeded" | "rateLimitExceeded")
}

fn add_input(params: &mut Value, message: &Sent) {
    params["clientUserMessageId"] = json!(message.id);
    params["input"] = json!([text_input(&message.text)]);
}

fn text_input(text: &str) -> Value {
    json!({"type": "text", "text": text, "text_elements": []})
}
