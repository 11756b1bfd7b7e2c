//! Between an agent and those who steer it: outputs become reports, commands become input.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cadence_protocol::{
    ApprovalKind, Command, CommandBody, EndReason, EventData, FrameBody, Lease, LiveState, Timestamp, Usage, WaitingFor,
};
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::clock::Clock;
use super::report::{Reporter, insist};
use crate::{Denial, Input, Output, Session, TaskSource, TurnEnd, TurnOutcome};

/// What an agent is told when it goes on without a message of its own.
const GO_ON: &str = "Go on with the task where you left off.";
/// How long an agent may take to end by itself once it has nothing to do.
const GRACE: Duration = Duration::from_secs(10);
/// First wait for a rate limit that names no time; doubles up to the last.
const BACK_OFF: (Duration, Duration) = (Duration::from_secs(15), Duration::from_secs(600));

/// How the agent's work ended.
pub enum Verdict {
    End(EndReason, String),
    /// The session that was to be continued is not there.
    SessionGone,
    /// The runner closes.
    Closing,
}

/// What ended a pause before the agent was started.
pub enum Held {
    Resumed(Option<String>),
    Cancelled(String),
    Closing,
}

pub struct Steering<S> {
    source: Arc<S>,
    lease: Lease,
    inbox: mpsc::Receiver<Command>,
    lost: CancellationToken,
    /// Commands that came too early.
    kept: VecDeque<Command>,
    /// Commands that are dealt with and not acknowledged yet.
    pub settled: Vec<Uuid>,
    pub paused: bool,
}

impl<S: TaskSource> Steering<S> {
    pub fn new(source: Arc<S>, lease: Lease, inbox: mpsc::Receiver<Command>, lost: CancellationToken) -> Self {
        Self { source, lease, inbox, lost, kept: VecDeque::new(), settled: Vec::new(), paused: false }
    }

    /// The next new command; `None` when there will be none.
    pub async fn receive(&mut self) -> Option<Command> {
        self.inbox.recv().await
    }

    pub fn keep(&mut self, command: Command) {
        self.kept.push_back(command);
    }

    pub async fn acknowledge(&self, command: Uuid) {
        insist(&self.lost, "acknowledge", || self.source.acknowledge(&self.lease, command)).await;
    }

    /// Acknowledges what was dealt with while nothing could be waited for.
    pub async fn acknowledge_settled(&mut self) {
        for command in std::mem::take(&mut self.settled) {
            self.acknowledge(command).await;
        }
    }

    /// Waits, without an agent, until the pause ends.
    pub async fn wait_for_resume(&mut self, reporter: &Reporter, closing: &CancellationToken) -> Held {
        loop {
            let command = match self.kept.pop_front() {
                Some(command) => Some(command),
                None => tokio::select! {
                    command = self.inbox.recv() => command,
                    () = closing.cancelled() => return Held::Closing,
                },
            };
            let Some(command) = command else { return Held::Closing };
            self.acknowledge(command.id).await;
            match command.body {
                CommandBody::Resume { text } => {
                    if let Some(text) = &text {
                        reporter.event(EventData::Message { text: text.clone(), from: "user".into() }).await;
                    }
                    self.paused = false;
                    return Held::Resumed(text);
                }
                CommandBody::Message { text, from } => {
                    reporter.event(EventData::Message { text: text.clone(), from }).await;
                    self.paused = false;
                    return Held::Resumed(Some(text));
                }
                CommandBody::Cancel { reason } => return Held::Cancelled(format!("Cancelled {reason}.")),
                CommandBody::Pause | CommandBody::Approval { .. } => {}
            }
        }
    }

    /// Drives one agent process until it has ended.
    pub async fn drive(
        &mut self,
        session: Session,
        reporter: &Reporter,
        clock: &mut Clock,
        before: Usage,
        closing: &CancellationToken,
    ) -> Verdict {
        clock.start(Instant::now());
        let mut drive = Drive {
            source: self.source.clone(),
            lease: self.lease,
            input: session.input,
            reporter,
            clock,
            before,
            approvals: BTreeMap::new(),
            denials: Vec::new(),
            untaken: Vec::new(),
            pausing: None,
            paused: false,
            turn: true,
            parked: None,
            parks: 0,
            limited: false,
            state: (LiveState::Running, None),
            verdict: None,
        };
        let mut output = session.output;
        let mut end_by: Option<tokio::time::Instant> = None;
        loop {
            let deadline = drive.clock.deadline().map(tokio::time::Instant::from_std);
            let ready = drive.takes_commands();
            if ready && let Some(command) = self.kept.pop_front() {
                self.obey(&mut drive, command).await;
                continue;
            }
            tokio::select! {
                said = output.recv() => match said {
                    Some(Output::Exited { code, stderr }) => return drive.exited(code, &stderr),
                    Some(said) => {
                        for taken in drive.hear(said).await {
                            self.acknowledge(taken).await;
                        }
                    }
                    None => return drive.exited(None, ""),
                },
                command = self.inbox.recv() => match command {
                    Some(command) if ready || matches!(command.body, CommandBody::Cancel { .. }) => {
                        self.obey(&mut drive, command).await;
                    }
                    Some(command) => self.kept.push_back(command),
                    None => return Verdict::Closing,
                },
                () = until(deadline), if drive.verdict.is_none() => drive.out_of_time().await,
                () = until(drive.parked) => drive.unpark().await,
                () = until(end_by) => {
                    // Asked to end and did not: dropping the session takes its whole tree down.
                    return drive.exited(None, "");
                }
                () = closing.cancelled() => return Verdict::Closing,
            }
            if drive.verdict.is_some() && end_by.is_none() {
                end_by = Some(tokio::time::Instant::now() + GRACE);
            }
        }
    }

    async fn obey(&self, drive: &mut Drive<'_, S>, command: Command) {
        if drive.obey(&command).await {
            self.acknowledge(command.id).await;
        }
    }
}

async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// One agent process and what is known of it.
struct Drive<'a, S> {
    source: Arc<S>,
    lease: Lease,
    input: mpsc::Sender<Input>,
    reporter: &'a Reporter,
    clock: &'a mut Clock,
    /// Money and tokens of this attempt's processes before.
    before: Usage,
    approvals: BTreeMap<String, ApprovalKind>,
    denials: Vec<Denial>,
    /// Messages that were sent and not taken yet; acknowledged when they are.
    untaken: Vec<Uuid>,
    /// The pause that waits for the end of the turn.
    pausing: Option<Uuid>,
    paused: bool,
    /// Whether a turn runs.
    turn: bool,
    /// When to go on after a rate limit.
    parked: Option<tokio::time::Instant>,
    parks: u32,
    /// Whether the model's service refused for its rate, and nothing has come from it since.
    limited: bool,
    state: (LiveState, Option<WaitingFor>),
    verdict: Option<(EndReason, String)>,
}

impl<S: TaskSource> Drive<'_, S> {
    fn takes_commands(&self) -> bool {
        self.pausing.is_none() && self.verdict.is_none()
    }

    async fn send(&self, input: Input) {
        // An agent that is gone says so on its other side.
        let _ = self.input.send(input).await;
    }

    async fn show(&mut self, state: LiveState, waiting_for: Option<WaitingFor>) {
        if self.state != (state, waiting_for) {
            self.state = (state, waiting_for);
            self.reporter.state(state, waiting_for, None).await;
        }
    }

    /// Shows what the approvals say: a question is waited for before a permission.
    async fn show_approvals(&mut self) {
        let question = self.approvals.values().any(|kind| *kind == ApprovalKind::Question);
        match self.approvals.is_empty() {
            true => self.show(LiveState::Running, None).await,
            false if question => self.show(LiveState::Waiting, Some(WaitingFor::Answer)).await,
            false => self.show(LiveState::Waiting, Some(WaitingFor::Approval)).await,
        }
    }

    async fn decide(&mut self, reason: EndReason, summary: String) {
        self.verdict.get_or_insert((reason, summary));
        let input = if reason == EndReason::Done || reason == EndReason::Denied { Input::Close } else { Input::Kill };
        self.send(input).await;
    }

    /// Takes in what the agent said; gives the messages that it has taken.
    async fn hear(&mut self, said: Output) -> Vec<Uuid> {
        match said {
            Output::Event(event) => {
                match &event {
                    EventData::ApprovalRequested { approval_id, kind, .. } => {
                        self.approvals.insert(approval_id.clone(), *kind);
                        self.reporter.event(event).await;
                        self.show_approvals().await;
                        return Vec::new();
                    }
                    EventData::ApprovalResolved { approval_id, .. } => {
                        self.approvals.remove(approval_id);
                        self.reporter.event(event).await;
                        self.show_approvals().await;
                        return Vec::new();
                    }
                    EventData::Error { .. } => {}
                    _ => self.limited = false,
                }
                self.reporter.event(event).await;
            }
            Output::Delta(text) => self.source.delta(&self.lease, text),
            Output::Started { session_id, model } => {
                self.reporter.frame(FrameBody::Session { session_id: session_id.clone(), model: model.clone() }).await;
                let message = "The agent has started.".to_owned();
                self.reporter.event(EventData::TaskStarted { message, session_id: Some(session_id), model }).await;
            }
            Output::Usage(usage) => {
                let usage = Usage {
                    cost_usd: self.before.cost_usd + usage.cost_usd,
                    input_tokens: self.before.input_tokens + usage.input_tokens,
                    output_tokens: self.before.output_tokens + usage.output_tokens,
                };
                self.reporter.frame(FrameBody::Usage { usage }).await;
            }
            Output::Retrying { rate_limited } => self.limited = rate_limited,
            Output::TurnEnd(end) => return self.turn_end(end).await,
            Output::Exited { .. } => {}
        }
        Vec::new()
    }

    async fn turn_end(&mut self, end: TurnEnd) -> Vec<Uuid> {
        self.turn = end.pending_messages > 0;
        self.approvals.clear();
        let taken = if end.pending_messages == 0 { std::mem::take(&mut self.untaken) } else { Vec::new() };
        if self.verdict.is_some() {
            return taken;
        }
        if let Some(pause) = self.pausing.take() {
            self.parked = None;
            if end.outcome != TurnOutcome::Success || end.background > 0 || end.pending_messages > 0 {
                self.pause().await;
                return [taken, vec![pause]].concat();
            }
            // It was done before it could be paused.
            self.finished(end).await;
            return [taken, vec![pause]].concat();
        }
        match end.outcome {
            TurnOutcome::Success if end.pending_messages > 0 || end.background > 0 => {
                self.denials.extend(end.denials);
                self.show_approvals().await;
            }
            TurnOutcome::Success => self.finished(end).await,
            _ if end.pending_messages > 0 && end.outcome == TurnOutcome::Interrupted => {}
            TurnOutcome::Interrupted => {
                self.decide(EndReason::Failed, "The agent's turn was interrupted.".into()).await
            }
            TurnOutcome::Budget => self.decide(EndReason::Budget, end.summary).await,
            TurnOutcome::Turns => self.decide(EndReason::Turns, end.summary).await,
            TurnOutcome::Auth => self.decide(EndReason::Auth, end.summary).await,
            TurnOutcome::ResumeFailed => self.decide(EndReason::Lost, end.summary).await,
            TurnOutcome::Failed => self.decide(EndReason::Failed, end.summary).await,
            TurnOutcome::RateLimited { retry_after_secs } => self.park(retry_after_secs, &end.summary).await,
        }
        taken
    }

    /// The agent says that it is done; what it was denied says otherwise.
    async fn finished(&mut self, end: TurnEnd) {
        self.denials.extend(end.denials);
        if self.denials.is_empty() {
            return self.decide(EndReason::Done, end.summary).await;
        }
        let mut what: Vec<_> = self.denials.iter().map(|d| format!("{} ({})", d.tool, d.what)).collect();
        what.dedup();
        let summary = format!("Denied: {}.\n{}", what.join(", "), end.summary);
        self.decide(EndReason::Denied, summary).await;
    }

    async fn pause(&mut self) {
        self.paused = true;
        self.clock.stop(Instant::now());
        self.show(LiveState::Paused, None).await;
    }

    /// Waits until the model's service takes requests again.
    async fn park(&mut self, retry_after_secs: Option<u64>, why: &str) {
        self.limited = true;
        let wait = retry_after_secs
            .map_or_else(|| (BACK_OFF.0 * 2u32.saturating_pow(self.parks)).min(BACK_OFF.1), Duration::from_secs);
        self.parks += 1;
        self.parked = Some(tokio::time::Instant::now() + wait);
        let resume_at = (Timestamp::now_utc() + wait).format(&Rfc3339).ok();
        self.state = (LiveState::Waiting, Some(WaitingFor::RateLimit));
        self.reporter
            .frame(FrameBody::State {
                state: LiveState::Waiting,
                waiting_for: Some(WaitingFor::RateLimit),
                resume_at,
                reason: Some(why.to_owned()),
            })
            .await;
    }

    async fn unpark(&mut self) {
        self.parked = None;
        self.go_on(GO_ON.to_owned()).await;
    }

    /// Begins a turn with a message.
    async fn go_on(&mut self, text: String) {
        self.parked = None;
        self.paused = false;
        self.turn = true;
        self.clock.start(Instant::now());
        self.show(LiveState::Running, None).await;
        self.send(Input::Message(text)).await;
    }

    /// Carries out a command; `true` when it is done with, `false` when it is acknowledged later.
    async fn obey(&mut self, command: &Command) -> bool {
        match &command.body {
            CommandBody::Pause if self.paused => {}
            CommandBody::Pause if self.turn => {
                self.pausing = Some(command.id);
                self.send(Input::Interrupt).await;
                return false;
            }
            CommandBody::Pause => {
                self.parked = None;
                self.pause().await;
            }
            CommandBody::Resume { text } => {
                if let Some(text) = text {
                    self.reporter.event(EventData::Message { text: text.clone(), from: "user".into() }).await;
                }
                match text {
                    Some(text) => self.message(command.id, text.clone()).await,
                    None if self.paused => self.go_on(GO_ON.to_owned()).await,
                    None => {}
                }
                return text.is_none();
            }
            CommandBody::Message { text, from } => {
                self.reporter.event(EventData::Message { text: text.clone(), from: from.clone() }).await;
                self.message(command.id, text.clone()).await;
                return false;
            }
            CommandBody::Approval { approval_id, .. } => {
                // An answer to a request of a process that is gone is done with.
                if self.approvals.remove(approval_id).is_some() {
                    self.send(Input::Approval(command.body.clone())).await;
                    self.show_approvals().await;
                }
            }
            CommandBody::Cancel { reason } => self.decide(EndReason::Cancelled, format!("Cancelled {reason}.")).await,
        }
        true
    }

    async fn message(&mut self, command: Uuid, text: String) {
        self.untaken.push(command);
        if self.turn {
            self.send(Input::Message(text)).await;
        } else {
            self.go_on(text).await;
        }
    }

    async fn out_of_time(&mut self) {
        let (reason, text) = if self.limited {
            (EndReason::RateLimited, "The time ended while the model's service refused requests for their rate.")
        } else {
            (EndReason::TimedOut, "The time ended.")
        };
        self.clock.stop(Instant::now());
        self.decide(reason, text.into()).await;
    }

    fn exited(&mut self, code: Option<i32>, stderr: &str) -> Verdict {
        match self.verdict.take() {
            Some((EndReason::Lost, _)) => Verdict::SessionGone,
            Some((reason, summary)) => Verdict::End(reason, summary),
            None => {
                let how = code.map_or_else(|| "was killed".to_owned(), |code| format!("ended with exit code {code}"));
                let last = stderr.trim().lines().last().unwrap_or_default();
                let colon = if last.is_empty() { "" } else { ": " };
                Verdict::End(EndReason::Failed, format!("The agent {how} before it was done{colon}{last}"))
            }
        }
    }
}
