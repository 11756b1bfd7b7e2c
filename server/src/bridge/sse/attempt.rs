//! One attempt that an endpoint runs: what is told of it is stored, its lease is kept, and it is cancelled where somebody
//! wants that.

use std::sync::Arc;
use std::time::Duration;

use cadence_agent::SourceError;
use cadence_agent::runner::Allowance;
use cadence_protocol::{
    AttemptEnd, Claim, Command, CommandBody, EndReason, EventData, Frame, FrameBody, Lease, RunTask, Timestamp,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::super::attend::insist;
use super::call::{CallError, Calls};
use super::heard::{Complete, Heard, pull_request};
use super::read::{Numbers, Over, Patience, Reader, Signal, back_off};
use crate::queue::commands;
use crate::store::{Store, StoreError};

/// Messages that wait to be stored before no more is read, and most that are stored together.
const WAITING: usize = 64;
/// How long after its time an endpoint may take to end a run by itself.
const GRACE: Duration = Duration::from_secs(60);

/// Frames are numbered by the endpoint's events, with room between them for what this server adds: the number of the event
/// in the upper bits, whether it is an id or a count in the next, and a count of what was added after it in the rest.
const SHIFT: u32 = 16;
const COUNTED: u64 = 1 << (SHIFT - 1);

/// What became of an attempt here.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ended, was given back, or is somebody else's.
    Left,
    /// The endpoint does not take the key: it was given back, for nothing of it has begun.
    Key(String),
}

/// Runs an attempt to its end, or until the server closes: then it goes on with the next.
pub async fn run(
    calls: Arc<Calls>,
    store: Store,
    claim: Claim,
    patience: Patience,
    closing: CancellationToken,
) -> Outcome {
    let lease = claim.lease;
    let work = Work::new(calls, store.clone(), claim, patience);
    match work.run(closing).await {
        Ok(outcome) => outcome,
        Err(StoreError::Fenced | StoreError::Closed) => Outcome::Left,
        Err(error) => {
            let (task, attempt) = (lease.task_id, lease.attempt);
            tracing::error!(%error, %task, attempt, "what an endpoint told was refused; the attempt ends as lost");
            let end = AttemptEnd::new(EndReason::Lost, "cadence could not store what the agent did; its log says more");
            let _ = store.finish(lease, end).await;
            Outcome::Left
        }
    }
}

/// What an attempt asks of an endpoint.
pub fn request(claim: &Claim) -> RunTask {
    let (task, spec) = (&claim.task, &claim.spec);
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    // An endpoint begins each run anew: to a follow-up alone it could not relate.
    let prompt = match claim.lease.attempt {
        1 => spec.prompt.clone(),
        _ if spec.prompt == task.task_description => spec.prompt.clone(),
        _ => format!("{}\n\nThis was asked before. Now there is more to do:\n\n{}", task.task_description, spec.prompt),
    };
    RunTask {
        task: prompt,
        repo_url: task.repo_url.clone(),
        repo_path: None,
        branch: given(&task.base_branch),
        commit: task.base_commit.clone(),
        model: given(&task.model),
        agent: given(&task.agent),
        permission_mode: Some(spec.permission_mode),
        budget_usd: spec.budget_usd,
        max_turns: spec.max_turns,
        timeout_secs: spec.timeout_secs,
    }
}

struct Cancel {
    reason: String,
    end: EndReason,
    /// When it is no longer waited for.
    until: Instant,
}

struct Work {
    calls: Arc<Calls>,
    store: Store,
    lease: Lease,
    request: RunTask,
    patience: Patience,
    run: Option<String>,
    /// Number of the last frame that is stored or about to be.
    last: u64,
    allowance: Allowance,
    cancel: Option<Cancel>,
    /// Whether the endpoint was told to cancel.
    cancelled: bool,
    worked: Duration,
    started: Instant,
    helpers: JoinSet<()>,
}

impl Work {
    fn new(calls: Arc<Calls>, store: Store, claim: Claim, patience: Patience) -> Self {
        Self {
            request: request(&claim),
            run: claim.session_id.filter(|_| claim.begun),
            calls,
            store,
            lease: claim.lease,
            patience,
            last: claim.last_source_seq,
            allowance: Allowance::default(),
            cancel: None,
            cancelled: false,
            worked: Duration::from_millis(claim.worked_ms),
            started: Instant::now(),
            helpers: JoinSet::new(),
        }
    }

    async fn run(mut self, closing: CancellationToken) -> Result<Outcome, StoreError> {
        let (signals, mut told) = mpsc::channel(WAITING);
        let reader = Reader {
            calls: self.calls.clone(),
            key: format!("{}-{}", self.lease.task_id, self.lease.attempt),
            task: self.request.clone(),
            run: self.run.clone(),
            numbers: Numbers::after(self.last >> SHIFT, self.last & COUNTED != 0),
            patience: self.patience,
            signals,
            blocking: false,
        };
        self.helpers.spawn(reader.read());
        let (orders, mut ordered) = mpsc::channel(WAITING);
        self.helpers.spawn(listen(self.store.clone(), self.lease, orders));
        let mut beats = interval(Duration::from_secs(u64::from(self.lease.ttl_secs)).div_f64(3.0));
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut batch = Vec::with_capacity(WAITING);
        loop {
            let given_up = async {
                match &self.cancel {
                    Some(cancel) => tokio::time::sleep_until(cancel.until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = closing.cancelled() => {
                    // The run goes on, and so does the attempt when there is a server again.
                    self.store.release(self.lease).await?;
                    return Ok(Outcome::Left);
                }
                count = told.recv_many(&mut batch, WAITING) => {
                    if count == 0 {
                        let over = Over::Lost("What followed the run broke down.".to_owned());
                        return self.over(over).await;
                    }
                    let (frames, over) = self.take(batch.drain(..));
                    self.report(frames).await?;
                    if let Some(over) = over {
                        return self.over(over).await;
                    }
                }
                command = ordered.recv() => {
                    let frames = command.map(|command| self.obey(command)).unwrap_or_default();
                    self.report(frames).await?;
                }
                _ = beats.tick() => self.beat().await?,
                () = given_up => return self.end_unheard().await,
            }
        }
    }

    /// Numbers and bounds what was told.
    fn take(&mut self, signals: impl Iterator<Item = Signal>) -> (Vec<Frame>, Option<Over>) {
        let mut frames = Vec::new();
        for signal in signals {
            match signal {
                Signal::Run(run) => {
                    if self.run.is_none() {
                        let body = FrameBody::Session { session_id: run.clone(), model: None };
                        frames.push(self.frame(body));
                        self.run = Some(run);
                        self.tell_cancel();
                    }
                }
                Signal::Heard { heard: Heard::Delta(text), .. } => self.store.hub().delta(self.lease.task_id, text),
                Signal::Heard { heard: Heard::Event(event), seq, counted } => {
                    let number = (seq << SHIFT) | if counted { COUNTED } else { 0 };
                    let kept = self.allowance.admit(event, Instant::now());
                    if !kept.is_empty() {
                        // What this server adds comes after the number of the event.
                        self.last = self.last.max(number.saturating_sub(1));
                    }
                    frames.extend(kept.into_iter().map(|event| self.frame(FrameBody::Event { event })));
                }
                Signal::Heard { .. } => {}
                Signal::Note(note) => frames.push(self.note(note)),
                Signal::Over(over) => return (frames, Some(over)),
            }
        }
        (frames, None)
    }

    fn frame(&mut self, body: FrameBody) -> Frame {
        self.last += 1;
        Frame { source_seq: self.last, timestamp: Timestamp::now_utc(), body }
    }

    fn note(&mut self, message: String) -> Frame {
        self.frame(FrameBody::Event { event: EventData::Error { message, recoverable: true } })
    }

    /// Carries out what can be; what cannot is said.
    fn obey(&mut self, command: Command) -> Vec<Frame> {
        let done = FrameBody::Ack { command: command.id };
        match command.body {
            CommandBody::Cancel { reason } => {
                self.begin_cancel(reason, EndReason::Cancelled);
                Vec::new()
            }
            CommandBody::Stop { reason, summary } => {
                self.begin_cancel(summary, reason);
                Vec::new()
            }
            // Not acknowledged: what is left at the end of an attempt begins the next.
            CommandBody::Message { .. } | CommandBody::Resume { text: Some(_) } => {
                let note = "At an endpoint an agent cannot be told anything while it works; what was said begins a new \
                            attempt when this one has ended.";
                vec![self.note(note.to_owned())]
            }
            CommandBody::Pause => {
                let note = "At an endpoint an agent cannot be paused; it goes on. It can be cancelled.";
                vec![self.note(note.to_owned()), self.frame(done)]
            }
            CommandBody::Approval { .. } => {
                let note = "At an endpoint nothing can be approved.";
                vec![self.note(note.to_owned()), self.frame(done)]
            }
            CommandBody::Resume { text: None } => vec![self.frame(done)],
        }
    }

    fn begin_cancel(&mut self, reason: String, end: EndReason) {
        if self.cancel.is_none() {
            self.cancel = Some(Cancel { reason, end, until: Instant::now() + self.patience.cancel });
            self.tell_cancel();
        }
    }

    /// Tells the endpoint, once it is known what.
    fn tell_cancel(&mut self) {
        let Some(run) = self.run.clone().filter(|_| self.cancel.is_some() && !self.cancelled) else { return };
        self.cancelled = true;
        let (calls, patience) = (self.calls.clone(), self.patience);
        self.helpers.spawn(async move {
            let mut failures = 0;
            while let Err(error @ (CallError::Passing { .. } | CallError::Key(_))) = calls.cancel(&run).await {
                failures += 1;
                tracing::debug!(%error, run, "a run could not be cancelled; it is tried again");
                tokio::time::sleep(back_off(patience.back_off, failures)).await;
            }
        });
    }

    async fn report(&self, frames: Vec<Frame>) -> Result<(), StoreError> {
        if frames.is_empty() {
            return Ok(());
        }
        insist(&self.store, || self.store.report(self.lease, frames.clone())).await
    }

    fn worked(&self) -> Duration {
        self.worked + self.started.elapsed()
    }

    /// Keeps the lease, and sees to it that the time that the attempt has is kept.
    async fn beat(&mut self) -> Result<(), StoreError> {
        insist(&self.store, || self.store.heartbeat(self.lease, self.worked())).await?;
        if let Some(secs) = self.request.timeout_secs
            && self.worked() > Duration::from_secs(secs).saturating_add(GRACE)
        {
            self.begin_cancel("because its time was over".to_owned(), EndReason::TimedOut);
        }
        Ok(())
    }

    /// After a cancel that the endpoint did not confirm.
    async fn end_unheard(mut self) -> Result<Outcome, StoreError> {
        let why = match &self.run {
            Some(run) => format!("The endpoint did not confirm that the run {run} is cancelled; it may go on there."),
            None => "The endpoint never said how to cancel the run; it may go on there.".to_owned(),
        };
        let mut frames = self.left_out();
        frames.push(self.note(why));
        self.report(frames).await?;
        let end = self.ended(AttemptEnd::new(EndReason::Cancelled, ""));
        self.finish(end).await
    }

    /// Tells what was told and is not kept.
    fn left_out(&mut self) -> Vec<Frame> {
        let left_out = self.allowance.left_out();
        left_out.into_iter().map(|event| self.frame(FrameBody::Event { event })).collect()
    }

    async fn over(mut self, over: Over) -> Result<Outcome, StoreError> {
        let frames = self.left_out();
        self.report(frames).await?;
        let end = match over {
            Over::Complete(complete) => {
                let frames = self.last_words(&complete);
                self.report(frames).await?;
                let usual = if complete.success { EndReason::Done } else { EndReason::Failed };
                AttemptEnd {
                    reason: complete.reason.unwrap_or(usual),
                    summary: complete.output,
                    changes: complete.changes,
                }
            }
            Over::Key(why) if self.run.is_none() && self.cancel.is_none() => {
                let reason = format!("the endpoint was not let to begin it: {why}");
                insist(&self.store, || self.store.decline(self.lease, reason.clone())).await?;
                return Ok(Outcome::Key(why));
            }
            Over::Key(why) => AttemptEnd::new(EndReason::Failed, format!("The endpoint does not do it: {why}")),
            Over::Failed(why) => AttemptEnd::new(EndReason::Failed, why),
            Over::Lost(why) => AttemptEnd::new(EndReason::Lost, why),
        };
        let end = self.ended(end);
        self.finish(end).await
    }

    fn last_words(&mut self, complete: &Complete) -> Vec<Frame> {
        let mut events = Vec::new();
        if let Some(url) = &complete.pr_url {
            events
                .push(pull_request(url).unwrap_or_else(|| EventData::Output { text: format!("Pull request: {url}") }));
        } else if let Some(branch) = &complete.branch {
            events.push(EventData::Output { text: format!("The work is at the endpoint, on its branch `{branch}`.") });
        }
        let usage = complete.usage.map(|usage| FrameBody::Usage { usage });
        let bodies = events.into_iter().map(|event| FrameBody::Event { event }).chain(usage);
        bodies.map(|body| self.frame(body)).collect()
    }

    /// An end as it is told: what somebody cancelled is cancelled.
    fn ended(&self, end: AttemptEnd) -> AttemptEnd {
        match &self.cancel {
            Some(cancel) if end.reason != EndReason::Done => {
                let summary = match cancel.end {
                    EndReason::Cancelled | EndReason::TimedOut => format!("Cancelled {}.", cancel.reason),
                    _ => cancel.reason.clone(),
                };
                AttemptEnd { reason: cancel.end, summary, ..end }
            }
            _ => end,
        }
    }

    async fn finish(self, end: AttemptEnd) -> Result<Outcome, StoreError> {
        insist(&self.store, || self.store.finish(self.lease, end.clone())).await?;
        Ok(Outcome::Left)
    }
}

/// Hands on what is ordered.
async fn listen(store: Store, lease: Lease, orders: mpsc::Sender<Command>) {
    let mut seen = Vec::new();
    loop {
        match commands(&store, &lease, &seen).await {
            Ok(found) => {
                for command in found {
                    seen.push(command.id);
                    if orders.send(command).await.is_err() {
                        return;
                    }
                }
            }
            Err(SourceError::Unavailable(_)) => tokio::time::sleep(Duration::from_secs(5)).await,
            Err(_) => return,
        }
    }
}
