//! Commands of one attempt: taken in before there is an agent, and handed to it once there is one.

use std::collections::VecDeque;
use std::time::Duration;

use cadence_protocol::{Command, CommandBody, EndReason, LiveState};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::clock::Clock;
use super::drive::{Drive, LIMITED, Verdict};
use super::report::Reporter;
use super::spending::Spending;
use crate::{Output, Session, TaskSource};

/// How long an agent may take to end by itself once it has nothing to do.
const GRACE: Duration = Duration::from_secs(10);

/// What an agent is to be told, until it has taken it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untaken {
    pub command: Uuid,
    pub text: String,
}

/// What ended a pause, or a wait for a rate limit, before the agent was started.
pub enum Held {
    Resumed,
    Ended(EndReason, String),
    Closing,
}

pub struct Steering {
    inbox: mpsc::Receiver<Command>,
    /// Commands that were received and not dealt with yet.
    kept: VecDeque<Command>,
    pub paused: bool,
    /// Until when the model's service refuses for its rate; no agent is started before, unless it is told something new.
    pub parked: Option<Instant>,
    /// What the agent that is started next is told beside its prompt.
    pub messages: Vec<Untaken>,
}

impl Steering {
    pub fn new(inbox: mpsc::Receiver<Command>, paused: bool, parked: Option<Instant>) -> Self {
        Self { inbox, kept: VecDeque::new(), paused, parked, messages: Vec::new() }
    }

    /// Deals with commands while there is no agent, until one ends the attempt. May be dropped while it waits: a command stays in
    /// `kept` until it is dealt with, and dealing with it again does no harm.
    pub async fn ended(&mut self, reporter: &Reporter) -> (EndReason, String) {
        loop {
            if let Some(end) = self.deal(reporter).await {
                return end;
            }
            match self.inbox.recv().await {
                Some(command) => self.kept.push_back(command),
                None => std::future::pending().await,
            }
        }
    }

    /// Waits, without an agent, for as long as the attempt is paused, or the model's service refuses for its rate. That wait
    /// is a part of the attempt's time, as it is with an agent.
    pub async fn hold(&mut self, reporter: &Reporter, clock: &Clock, closing: &CancellationToken) -> Held {
        loop {
            if let Some((reason, summary)) = self.deal(reporter).await {
                return Held::Ended(reason, summary);
            }
            self.parked = self.parked.filter(|until| *until > Instant::now());
            match self.parked {
                _ if self.paused => clock.stop(Instant::now()),
                Some(until) => {
                    clock.start(Instant::now());
                    reporter.show_limited(until, None).await;
                }
                None => {
                    reporter.show(LiveState::Running, None).await;
                    return Held::Resumed;
                }
            }
            let parked = self.parked.filter(|_| !self.paused);
            tokio::select! {
                () = until(clock.deadline()) => return Held::Ended(EndReason::RateLimited, LIMITED.to_owned()),
                () = until(parked) => {}
                command = self.inbox.recv() => match command {
                    Some(command) => self.kept.push_back(command),
                    None => return Held::Closing,
                },
                () = closing.cancelled() => return Held::Closing,
            }
        }
    }

    /// Deals with what is kept, in order; gives what ends the attempt, by which it is acknowledged.
    async fn deal(&mut self, reporter: &Reporter) -> Option<(EndReason, String)> {
        while let Some(command) = self.kept.front().cloned() {
            match command.body {
                CommandBody::Cancel { reason } => return Some((EndReason::Cancelled, format!("Cancelled {reason}."))),
                CommandBody::Stop { reason, summary } => return Some((reason, summary)),
                CommandBody::Pause => {
                    self.paused = true;
                    reporter.show(LiveState::Paused, None).await;
                    reporter.acknowledge(command.id).await;
                }
                CommandBody::Resume { text: Some(text) } | CommandBody::Message { text, .. } => {
                    self.paused = false;
                    self.parked = None;
                    reporter.show(LiveState::Running, None).await;
                    self.messages.push(Untaken { command: command.id, text });
                }
                CommandBody::Resume { text: None } => {
                    self.paused = false;
                    match self.parked.filter(|until| *until > Instant::now()) {
                        Some(until) => reporter.show_limited(until, None).await,
                        None => reporter.show(LiveState::Running, None).await,
                    }
                    reporter.acknowledge(command.id).await;
                }
                // Its request went with the process that had it.
                CommandBody::Approval { .. } => reporter.acknowledge(command.id).await,
            }
            self.kept.pop_front();
        }
        None
    }

    /// Drives one agent process until it has ended.
    pub async fn drive<S: TaskSource>(
        &mut self,
        session: Session,
        mut drive: Drive<'_, S>,
        closing: &CancellationToken,
    ) -> (Verdict, Spending) {
        let mut output = session.output;
        let mut end_by: Option<Instant> = None;
        let exit = loop {
            let ready = drive.takes_commands();
            if ready && let Some(command) = self.kept.pop_front() {
                drive.obey(command).await;
                continue;
            }
            let deadline = drive.deadline();
            tokio::select! {
                said = output.recv() => match said {
                    Some(Output::Exited { code, stderr }) => break (code, stderr),
                    Some(said) => drive.hear(said).await,
                    None => break (None, String::new()),
                },
                command = self.inbox.recv() => match command {
                    Some(command) if matches!(command.body, CommandBody::Cancel { .. } | CommandBody::Stop { .. }) => {
                        drive.obey(command).await;
                    }
                    Some(command) => self.kept.push_back(command),
                    None => return (Verdict::Closing, drive.spending().clone()),
                },
                () = until(deadline), if !drive.is_ending() => drive.out_of_time().await,
                () = until(drive.parked()) => drive.unpark().await,
                () = until(drive.kill_at()) => drive.kill().await,
                () = until(drive.background_limit()) => drive.stop_waiting().await,
                () = until(drive.pause_limit()) => {
                    // It does not listen: it is stopped, and started again when the pause ends.
                    tracing::warn!("an agent did not stop its turn; it is ended for the pause");
                    break (None, String::new());
                }
                // Asked to end and did not: dropping the session takes its whole tree down.
                () = until(end_by) => break (None, String::new()),
                () = closing.cancelled() => {
                    if !drive.is_ending() {
                        self.messages = drive.untaken();
                        return (Verdict::Closing, drive.spending().clone());
                    }
                    break (None, String::new());
                }
            }
            if drive.is_ending() && end_by.is_none() {
                end_by = Some(Instant::now() + GRACE);
            }
        };
        let verdict = drive.exited(exit.0, &exit.1).await;
        self.paused = matches!(verdict, Verdict::Held(..));
        self.parked = drive.passes();
        self.messages = drive.untaken();
        (verdict, drive.spending().clone())
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
