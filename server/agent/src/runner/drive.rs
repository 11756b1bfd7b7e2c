//! One agent process: its outputs become reports, commands become its input.

mod limits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cadence_protocol::{
    ApprovalKind, Command, CommandBody, Decision, EndReason, EventData, FrameBody, Lease, LiveState, WaitingFor,
};
use tokio::sync::mpsc;
use tokio::time::Instant;
use uuid::Uuid;

use super::clock::Clock;
use super::report::Reporter;
use super::spending::Spending;
use super::steer::Untaken;
use crate::fault::{self, Point};
use crate::host::{LIMIT_REACHED, told_limit};
use crate::{Denial, Input, Output, TaskSource, TurnEnd, TurnOutcome};

pub use limits::{LIMITED, LONGEST_WAIT};

/// How long an agent may take to stop its turn for a pause, and how long to end once it has.
const PAUSE_LIMIT: Duration = Duration::from_secs(10);
/// How long an agent that is to end may take to stop its turn.
const STOP_LIMIT: Duration = Duration::from_secs(2);
/// How long a done agent may be silent while commands of its own still run in the background. A build tells it when it ends;
/// a server that it left running never does.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(300);

/// Exit codes above this stand for a signal that ended the process.
const SIGNALLED: i32 = 128;
/// Most denials that are told at the end.
const MAX_DENIALS: usize = 50;

/// How the agent's work ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    End(EndReason, String),
    /// The session that was to be continued is not there.
    SessionGone,
    /// The agent was ended for a pause, which this command asked for; it is started again in this session.
    Held(Option<String>, Uuid),
    /// Something killed the agent, and this is how; it is started again in this session.
    Died(Option<String>, String),
    /// The runner closes.
    Closing,
}

#[derive(Debug)]
enum Phase {
    Working,
    /// The pause waits for the end of the turn.
    Pausing {
        command: Uuid,
        until: Instant,
    },
    /// The turn has ended, and the process is to: what it left in the background would work on through the pause.
    Leaving {
        command: Uuid,
        until: Instant,
    },
    /// Until a rate limit has passed.
    Parked {
        until: Instant,
    },
    /// It is known how it ends; the process has been told.
    Ending(EndReason, String),
}

/// A message on its way to the agent, and the commands that it carries out.
struct Sent {
    id: Uuid,
    carries: Vec<Untaken>,
}

/// One agent process and what is known of it.
pub struct Drive<'a, S> {
    source: Arc<S>,
    lease: Lease,
    input: mpsc::Sender<Input>,
    reporter: &'a Reporter,
    clock: &'a Clock,
    spending: Spending,
    /// Id and model.
    session: Option<(String, Option<String>)>,
    prompt: Uuid,
    approvals: BTreeMap<String, ApprovalKind>,
    denials: Vec<Denial>,
    /// Messages that the agent has not taken; a turn follows for each.
    sent: Vec<Sent>,
    phase: Phase,
    /// Whether something came from the agent since the last turn's end.
    turn: bool,
    /// Until when a done agent's background commands are waited for, and what it said.
    done: Option<(Instant, String)>,
    kill_at: Option<Instant>,
    parks: u32,
    /// Until when the model's service refuses, where nothing was asked of it since.
    passes: Option<Instant>,
    /// Whether the model's service refused for its rate, and nothing has come from it since.
    limited: bool,
}

impl<'a, S: TaskSource> Drive<'a, S> {
    /// `prompt` is the id of the first message, `carries` what it carries out; `spending` that of the attempt until now.
    pub fn new(
        source: Arc<S>,
        lease: Lease,
        input: mpsc::Sender<Input>,
        reporter: &'a Reporter,
        clock: &'a Clock,
        mut spending: Spending,
        prompt: (Uuid, Vec<Untaken>),
    ) -> Self {
        clock.start(Instant::now());
        spending.begin();
        Self {
            source,
            lease,
            input,
            reporter,
            clock,
            spending,
            session: None,
            prompt: prompt.0,
            approvals: BTreeMap::new(),
            denials: Vec::new(),
            sent: vec![Sent { id: prompt.0, carries: prompt.1 }],
            phase: Phase::Working,
            turn: false,
            done: None,
            kill_at: None,
            parks: 0,
            passes: None,
            limited: false,
        }
    }

    /// Whether a command can be carried out now: not while a pause waits for the agent to stop.
    pub fn takes_commands(&self) -> bool {
        !matches!(self.phase, Phase::Pausing { .. } | Phase::Leaving { .. } | Phase::Ending(..))
    }

    pub fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(..))
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.clock.deadline()
    }

    pub fn pause_limit(&self) -> Option<Instant> {
        match self.phase {
            Phase::Pausing { until, .. } | Phase::Leaving { until, .. } => Some(until),
            _ => None,
        }
    }

    pub fn background_limit(&self) -> Option<Instant> {
        let works = matches!(self.phase, Phase::Working) && !self.turn && self.sent.is_empty();
        self.done.as_ref().filter(|_| works).map(|(until, _)| *until)
    }

    /// The background commands are not waited for any longer.
    pub async fn stop_waiting(&mut self) {
        if let Some((_, summary)) = self.done.take() {
            let message = "The agent left commands running in the background; they are ended.".to_owned();
            self.reporter.event(EventData::Error { message, recoverable: true }).await;
            self.finished(summary).await;
        }
    }

    pub fn spending(&self) -> &Spending {
        &self.spending
    }

    /// What the agent was to be told and has not taken.
    pub fn untaken(&mut self) -> Vec<Untaken> {
        self.sent.drain(..).flat_map(|sent| sent.carries).collect()
    }

    async fn send(&self, input: Input) {
        // An agent that is gone says so on its other side.
        let _ = self.input.send(input).await;
    }

    async fn end(&mut self, reason: EndReason, summary: String) {
        if self.is_ending() {
            return;
        }
        if let Phase::Pausing { command, .. } | Phase::Leaving { command, .. } = self.phase {
            // It ended before it could be paused.
            self.reporter.acknowledge(command).await;
        }
        self.phase = Phase::Ending(reason, summary);
        if matches!(reason, EndReason::Done | EndReason::Denied) {
            self.send(Input::Close).await;
        } else if self.turn {
            // Killed in its turn, it could still begin another step while its tool dies, and would never tell what it cost.
            self.kill_at = Some(Instant::now() + STOP_LIMIT);
            self.send(Input::Interrupt).await;
        } else {
            self.send(Input::Kill).await;
        }
    }

    /// When an agent that was told to stop its turn is killed all the same.
    pub fn kill_at(&self) -> Option<Instant> {
        self.kill_at
    }

    pub async fn kill(&mut self) {
        if self.kill_at.take().is_some() {
            self.send(Input::Kill).await;
        }
    }

    /// Shows what the approvals say: a question is waited for before a permission.
    async fn show_approvals(&self) {
        if !matches!(self.phase, Phase::Working | Phase::Pausing { .. }) {
            return;
        }
        let question = self.approvals.values().any(|kind| *kind == ApprovalKind::Question);
        match self.approvals.is_empty() {
            true => self.reporter.show(LiveState::Running, None).await,
            false if question => self.reporter.show(LiveState::Waiting, Some(WaitingFor::Answer)).await,
            false => self.reporter.show(LiveState::Waiting, Some(WaitingFor::Approval)).await,
        }
    }

    /// Takes in what the agent said.
    pub async fn hear(&mut self, said: Output) {
        match said {
            Output::Event(event) => {
                self.stir().await;
                match &event {
                    EventData::ApprovalRequested { approval_id, kind, .. } => {
                        self.approvals.insert(approval_id.clone(), *kind);
                    }
                    EventData::ApprovalResolved { approval_id, .. } => drop(self.approvals.remove(approval_id)),
                    EventData::Error { .. } => {}
                    _ => self.limited = false,
                }
                let approval =
                    matches!(event, EventData::ApprovalRequested { .. } | EventData::ApprovalResolved { .. });
                let point = match &event {
                    EventData::ApprovalRequested { .. } => Some(Point::Asked),
                    EventData::ToolUse { .. } => Some(Point::InTool),
                    _ => None,
                };
                fault::reached(Point::Heard).await;
                self.reporter.said(event).await;
                if approval {
                    self.show_approvals().await;
                }
                if let Some(point) = point {
                    fault::reached(point).await;
                }
            }
            Output::Delta(text) => {
                self.stir().await;
                self.source.delta(&self.lease, text);
            }
            Output::Started { session_id, model } => {
                self.session = Some((session_id.clone(), model.clone()));
                self.note_session().await;
                let message = "The agent has started.".to_owned();
                self.reporter.event(EventData::TaskStarted { message, session_id: Some(session_id), model }).await;
            }
            Output::Taken(id) => {
                let taken: Vec<_> = self.sent.extract_if(.., |sent| sent.id == id).collect();
                for untaken in taken.into_iter().flat_map(|sent| sent.carries) {
                    self.reporter.acknowledge(untaken.command).await;
                }
                if id == self.prompt {
                    self.note_session().await;
                }
                self.stir().await;
            }
            Output::Usage(usage) => self.used(usage).await,
            Output::Retrying { rate_limited } => self.limited = rate_limited,
            Output::TurnEnd(end) => self.turn_end(end).await,
            Output::Exited { .. } => {}
        }
    }

    /// Reports the session once it can be continued: before it has taken the prompt, there is nothing in it.
    async fn note_session(&self) {
        if let Some((session_id, model)) = self.begun().cloned() {
            self.reporter.frame(FrameBody::Session { session_id, model }).await;
        }
    }

    fn begun(&self) -> Option<&(String, Option<String>)> {
        self.session.as_ref().filter(|_| self.sent.iter().all(|sent| sent.id != self.prompt))
    }

    /// Notes that a turn runs. One that begins while the agent is to stop, by itself or for a message that came before the
    /// pause, is stopped.
    async fn stir(&mut self) {
        self.done = None;
        let stops = matches!(self.phase, Phase::Pausing { .. } | Phase::Leaving { .. });
        if !std::mem::replace(&mut self.turn, true) && stops {
            self.send(Input::Interrupt).await;
        }
    }

    async fn turn_end(&mut self, end: TurnEnd) {
        self.turn = false;
        self.approvals.clear();
        self.reporter.fell_silent().await;
        self.denials.extend(end.denials);
        self.denials.truncate(MAX_DENIALS);
        let follows = !self.sent.is_empty() || end.background > 0;
        self.say_blind(end.outcome == TurnOutcome::Success).await;
        let pausing = match &self.phase {
            Phase::Ending(EndReason::Budget, why) if end.outcome == TurnOutcome::Success && !follows => {
                return self.done_by_then(why.clone(), end.summary).await;
            }
            Phase::Ending(..) => return self.kill().await,
            Phase::Leaving { .. } => return,
            Phase::Pausing { command, .. } => Some(*command),
            Phase::Working | Phase::Parked { .. } => None,
        };
        match (pausing, end.outcome) {
            // What it was told before the pause still begins a turn, which is stopped as well.
            (Some(_), TurnOutcome::Success | TurnOutcome::Interrupted) if !self.sent.is_empty() => {}
            (Some(command), TurnOutcome::Interrupted) => self.pause(command).await,
            (Some(command), TurnOutcome::RateLimited { retry_after_secs }) => {
                self.refused(retry_after_secs);
                self.pause(command).await;
            }
            (Some(command), TurnOutcome::Success) if follows => self.pause(command).await,
            (_, TurnOutcome::Success | TurnOutcome::Interrupted) if !self.sent.is_empty() => {
                self.show_approvals().await
            }
            (_, TurnOutcome::Success) if follows => {
                self.done = Some((Instant::now() + BACKGROUND_LIMIT, end.summary));
                self.show_approvals().await;
            }
            (_, TurnOutcome::Success) => self.finished(end.summary).await,
            (_, TurnOutcome::Interrupted) => {
                self.end(EndReason::Failed, "The agent's turn was interrupted.".into()).await;
            }
            (_, TurnOutcome::Budget) => self.end(EndReason::Budget, end.summary).await,
            (_, TurnOutcome::Turns) => self.end(EndReason::Turns, end.summary).await,
            (_, TurnOutcome::Auth) => self.end(EndReason::Auth, end.summary).await,
            (_, TurnOutcome::ResumeFailed) => self.end(EndReason::Lost, end.summary).await,
            (_, TurnOutcome::Failed) => self.end(EndReason::Failed, end.summary).await,
            (_, TurnOutcome::RateLimited { retry_after_secs }) => self.park(retry_after_secs, end.summary).await,
        }
    }

    /// The agent says that it is done; what it was denied says otherwise.
    async fn finished(&mut self, summary: String) {
        if self.denials.is_empty() {
            return self.end(EndReason::Done, summary).await;
        }
        let mut what: Vec<_> = self.denials.iter().map(|d| format!("{} ({})", d.tool, d.what)).collect();
        what.dedup();
        self.end(EndReason::Denied, format!("Denied: {}.\n{summary}", what.join(", "))).await;
    }

    /// Lets the agent's process end; the pause is there when it has.
    async fn pause(&mut self, command: Uuid) {
        let now = Instant::now();
        self.clock.stop(now);
        self.phase = Phase::Leaving { command, until: now + PAUSE_LIMIT };
        self.kill_at = Some(now + STOP_LIMIT);
        self.send(Input::Close).await;
    }

    /// Sends a message: taken in the turn that runs, or the beginning of a new one.
    async fn tell(&mut self, text: String, carries: Vec<Untaken>) {
        if !matches!(self.phase, Phase::Working) {
            self.phase = Phase::Working;
            self.clock.start(Instant::now());
            self.reporter.show(LiveState::Running, None).await;
        }
        self.passes = None;
        let id = Uuid::new_v4();
        self.sent.push(Sent { id, carries });
        self.send(Input::Message { id, text }).await;
    }

    /// Carries out a command.
    pub async fn obey(&mut self, command: Command) {
        fault::reached(Point::Commanded).await;
        match command.body {
            // Acknowledged by the attempt's end, so that it is not lost before that.
            CommandBody::Cancel { reason } => self.end(EndReason::Cancelled, format!("Cancelled {reason}.")).await,
            CommandBody::Stop { reason, summary } => self.end(reason, summary).await,
            CommandBody::Pause if self.turn || !self.sent.is_empty() => {
                let until = Instant::now() + PAUSE_LIMIT;
                self.phase = Phase::Pausing { command: command.id, until };
                if self.turn {
                    self.send(Input::Interrupt).await;
                }
            }
            CommandBody::Pause => self.pause(command.id).await,
            CommandBody::Resume { text: Some(text) } | CommandBody::Message { text, .. } => {
                self.tell(text.clone(), vec![Untaken { command: command.id, text }]).await;
            }
            CommandBody::Resume { text: None } => self.reporter.acknowledge(command.id).await,
            CommandBody::Approval { ref approval_id, .. } => {
                // An answer to a request that was withdrawn is done with.
                if self.approvals.remove(approval_id).is_some() {
                    self.send(Input::Approval(command.body)).await;
                    self.show_approvals().await;
                }
                self.reporter.acknowledge(command.id).await;
            }
        }
    }

    /// Nobody is there any more to hear the answers.
    async fn withdraw_approvals(&mut self) {
        for approval_id in std::mem::take(&mut self.approvals).into_keys() {
            let (decision, by) = (Decision::Withdrawn, "agent".to_owned());
            self.reporter.event(EventData::ApprovalResolved { approval_id, decision, by, answer: None }).await;
        }
    }

    /// The process is gone: how it ended.
    pub async fn exited(&mut self, code: Option<i32>, stderr: &str) -> Verdict {
        self.reporter.fell_silent().await;
        self.clock.stop(Instant::now());
        let session = self.begun().map(|(session, _)| session.clone());
        let beyond = told_limit(stderr);
        if let Some(message) = beyond.clone().filter(|_| code != Some(LIMIT_REACHED)) {
            // It went on without what was killed.
            self.reporter.event(EventData::Error { message, recoverable: true }).await;
        }
        match std::mem::replace(&mut self.phase, Phase::Working) {
            Phase::Ending(EndReason::Lost, _) => Verdict::SessionGone,
            Phase::Ending(reason, summary) => Verdict::End(reason, summary),
            Phase::Leaving { command, .. } => Verdict::Held(session, command),
            // It did not stop and is killed, or something else killed it.
            Phase::Pausing { command, .. } if code.is_none_or(|code| code > SIGNALLED) => {
                self.withdraw_approvals().await;
                Verdict::Held(session, command)
            }
            _ => {
                let last = stderr.trim().lines().last().unwrap_or_default();
                let colon = if last.is_empty() { "" } else { ": " };
                match (code, beyond) {
                    // Started again, it would do the same.
                    (Some(LIMIT_REACHED), Some(why)) => Verdict::End(EndReason::Failed, why),
                    (Some(code), _) if code <= SIGNALLED => {
                        let how = format!("The agent ended with exit code {code} before it was done{colon}{last}");
                        Verdict::End(EndReason::Failed, how)
                    }
                    _ => {
                        self.withdraw_approvals().await;
                        Verdict::Died(session, format!("The agent was killed{colon}{last}"))
                    }
                }
            }
        }
    }
}
