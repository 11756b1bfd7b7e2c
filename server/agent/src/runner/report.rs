//! Reports of one attempt on their way to the queue: numbered, grouped, and held until they are stored.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cadence_protocol::{EventData, Frame, FrameBody, Lease, LiveState, Timestamp, WaitingFor};
use time::format_description::well_known::Rfc3339;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::allowance::{Allowance, weight};
use super::slots::Slot;
use crate::fault::{self, Point};
use crate::{SourceError, TaskSource};

/// Frames that wait to be stored before the agent is made to wait, and the bytes of all of them.
const BUFFER: usize = 512;
const BYTES: usize = 4 << 20;
/// Most frames in one report.
const GROUP: usize = 256;

enum Message {
    /// Holds its bytes until it is stored.
    Frame(FrameBody, Option<OwnedSemaphorePermit>),
    /// Answered when everything before it is stored.
    Flush(oneshot::Sender<()>),
}

/// Takes frames in, and stores them in order.
pub struct Reporter {
    messages: mpsc::Sender<Message>,
    /// Bytes that may still wait.
    room: Arc<Semaphore>,
    /// What of the agent's words may still be kept.
    allowance: Mutex<Allowance>,
    /// The state that was reported last.
    shown: Mutex<(LiveState, Option<WaitingFor>)>,
    slot: Slot,
    task: JoinHandle<()>,
}

impl Reporter {
    /// `last` is the number of the last frame that the queue already has, `state` the state that it shows; `lost` is
    /// cancelled when the lease is lost.
    pub fn start<S: TaskSource>(
        source: Arc<S>,
        lease: Lease,
        last: u64,
        state: LiveState,
        slot: Slot,
        lost: CancellationToken,
    ) -> Self {
        let (messages, inbox) = mpsc::channel(BUFFER);
        let task = tokio::spawn(send(source, lease, last, lost, inbox));
        slot.set(state == LiveState::Running);
        let room = Arc::new(Semaphore::new(BYTES));
        Self { messages, room, allowance: Mutex::default(), shown: Mutex::new((state, None)), slot, task }
    }

    pub async fn frame(&self, body: FrameBody) {
        let bytes = if let FrameBody::Event { event } = &body { weight(event) } else { size_of::<FrameBody>() };
        // One that is larger than all the room has it to itself.
        let bytes = u32::try_from(bytes.min(BYTES)).unwrap_or(u32::MAX);
        let held = self.room.clone().acquire_many_owned(bytes).await.ok();
        // The other side ends only when the lease is lost, and then nothing is to be reported.
        let _ = self.messages.send(Message::Frame(body, held)).await;
    }

    /// Reports what the agent said, as far as it is kept.
    pub async fn said(&self, event: EventData) {
        let kept = self.allowance.lock().unwrap_or_else(PoisonError::into_inner).admit(event, Instant::now());
        for event in kept {
            self.event(event).await;
        }
    }

    /// The agent pauses: tells what of its words was left out.
    pub async fn fell_silent(&self) {
        let told = self.allowance.lock().unwrap_or_else(PoisonError::into_inner).left_out();
        if let Some(event) = told {
            self.event(event).await;
        }
    }

    pub async fn event(&self, event: EventData) {
        self.frame(FrameBody::Event { event }).await;
    }

    pub async fn acknowledge(&self, command: Uuid) {
        self.frame(FrameBody::Ack { command }).await;
    }

    /// Shows a state, unless it is shown already.
    pub async fn show(&self, state: LiveState, waiting_for: Option<WaitingFor>) {
        if *self.shown.lock().unwrap_or_else(PoisonError::into_inner) != (state, waiting_for) {
            self.show_until(state, waiting_for, None, None).await;
        }
    }

    /// Shows a state with the reason for it, and when it is to end.
    pub async fn show_until(
        &self,
        state: LiveState,
        waiting_for: Option<WaitingFor>,
        resume_at: Option<String>,
        reason: Option<String>,
    ) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = (state, waiting_for);
        self.slot.set(state == LiveState::Running);
        self.frame(FrameBody::State { state, waiting_for, resume_at, reason }).await;
    }

    /// Shows that a rate limit is waited for until then, unless that is shown already.
    pub async fn show_limited(&self, until: Instant, reason: Option<String>) {
        let state = (LiveState::Waiting, Some(WaitingFor::RateLimit));
        if *self.shown.lock().unwrap_or_else(PoisonError::into_inner) != state {
            let left = until.saturating_duration_since(Instant::now());
            let resume_at = (Timestamp::now_utc() + left).format(&Rfc3339).ok();
            self.show_until(state.0, state.1, resume_at, reason).await;
        }
    }

    /// Waits until everything so far is stored.
    pub async fn flush(&self) {
        let (done, stored) = oneshot::channel();
        if self.messages.send(Message::Flush(done)).await.is_ok() {
            let _ = stored.await;
        }
    }

    /// Stores what is left.
    pub async fn close(self) {
        drop(self.messages);
        let _ = self.task.await;
    }
}

/// Does it until it succeeds: a queue that cannot be reached for a while loses nothing. `None` when the lease is lost.
pub async fn insist<T, F>(lost: &CancellationToken, what: &'static str, mut call: impl FnMut() -> F) -> Option<T>
where
    F: Future<Output = Result<T, SourceError>>,
{
    let mut delay = Duration::from_millis(50);
    let mut said = String::new();
    loop {
        match call().await {
            Ok(value) => return Some(value),
            Err(SourceError::LeaseLost | SourceError::Closed) => {
                lost.cancel();
                return None;
            }
            Err(SourceError::Refused(reason)) => {
                tracing::error!(reason, what, "the queue refused; the attempt is left");
                lost.cancel();
                return None;
            }
            Err(SourceError::Unavailable(reason)) => {
                // Said once, however long it lasts.
                if said != reason {
                    tracing::warn!(reason, what, "trying again");
                    said = reason;
                }
                tokio::select! {
                    () = tokio::time::sleep(delay) => {}
                    () = lost.cancelled() => return None,
                }
                delay = (delay * 2).min(Duration::from_secs(5));
            }
        }
    }
}

async fn send<S: TaskSource>(
    source: Arc<S>,
    lease: Lease,
    mut last: u64,
    lost: CancellationToken,
    mut inbox: mpsc::Receiver<Message>,
) {
    let mut group = Vec::with_capacity(GROUP);
    while inbox.recv_many(&mut group, GROUP).await > 0 {
        let mut frames = Vec::with_capacity(group.len());
        let mut flushed = Vec::new();
        let mut held = Vec::with_capacity(group.len());
        for message in group.drain(..) {
            match message {
                Message::Frame(body, bytes) => {
                    last += 1;
                    held.push(bytes);
                    frames.push(Frame { source_seq: last, timestamp: Timestamp::now_utc(), body });
                }
                Message::Flush(done) => flushed.push(done),
            }
        }
        if !frames.is_empty() {
            fault::reached(Point::Reporting).await;
            if insist(&lost, "report", || source.report(&lease, frames.clone())).await.is_none() {
                return;
            }
            fault::reached(Point::Reported).await;
        }
        drop(held);
        for done in flushed {
            let _ = done.send(());
        }
    }
}
