//! The way to the server: dialled, kept, and dialled again. Sends what is in the spools, and hands on what comes.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cadence_agent::workspace::Workspaces;
use cadence_protocol::{BRIDGE_VERSION, BridgeFrame, Claim, DaemonFrame, Hello, MAX_BRIDGE_FRAME};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::value::RawValue;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::carry;
use super::source::{Attempt, Source};
use super::spool::Outcome;
use crate::client::socket::{self, Break, Socket, back_off};
use crate::client::{Endpoint, Rest};
use crate::error::{CommandError, Exit};

/// How long the server may take to answer the hello.
const WELCOME: Duration = Duration::from_secs(15);
/// The server is asked for a sign of life so often,
const PING: Duration = Duration::from_secs(10);
/// and is gone when none came for so long: a machine that is gone does not say so.
const SILENT: Duration = Duration::from_secs(25);
/// How long one frame may take to be taken.
const SEND: Duration = Duration::from_secs(30);
/// Repositories that the server is told of.
const MAX_REPOSITORIES: usize = 1000;

/// Who this machine is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub id: Uuid,
    pub name: String,
    pub capacity: u32,
    pub labels: Vec<String>,
    pub agents: Vec<String>,
}

/// How the link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Dialling,
    Connected,
    /// Not connected, why, and for how many tries.
    Lost(String, u32),
}

pub struct Link {
    pub endpoint: Endpoint,
    /// For what is too large for the socket.
    pub rest: Rest,
    pub identity: Identity,
    pub source: Arc<Source>,
    pub workspaces: Arc<Workspaces>,
    pub deltas: Mutex<mpsc::Receiver<(Uuid, String)>>,
    pub state: watch::Sender<State>,
}

/// A report, with frames that are JSON already.
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    r#type: &'static str,
    task_id: Uuid,
    attempt: u32,
    epoch: u64,
    frames: Vec<&'a RawValue>,
}

type Sink = SplitSink<Socket, Message>;

/// Answers that are to be sent beside what the spools have.
type Answers = mpsc::Sender<DaemonFrame>;

impl Link {
    /// Dials until it is stopped, or the server will not have this machine.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), CommandError> {
        let mut failures = 0;
        loop {
            let end = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                end = self.connect(&mut failures) => end,
            };
            let reason = match end {
                Break::Fatal(error) => return Err(error),
                Break::Lost(reason) => reason,
                Break::Unheard => return Ok(()),
            };
            let wait = back_off(failures);
            failures = failures.saturating_add(1);
            let state = State::Lost(reason.clone(), failures);
            if self.state.send_replace(state) == State::Connected || failures == 1 {
                tracing::warn!(
                    reason,
                    "the server cannot be reached; what is done meanwhile is kept, and it is dialled again"
                );
            } else {
                tracing::debug!(reason, ?wait, "the server still cannot be reached");
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// One connection, until it ends.
    async fn connect(&self, failures: &mut u32) -> Break {
        let mut socket = match socket::open(&self.endpoint, &["api", "ws", "daemon"], MAX_BRIDGE_FRAME).await {
            Ok(socket) => socket,
            Err(end) => return end,
        };
        for attempt in self.source.attempts() {
            attempt.spool().rewind();
        }
        if let Err(end) = self.greet(&mut socket).await {
            return end;
        }
        *failures = 0;
        self.state.send_replace(State::Connected);
        tracing::info!(server = %self.endpoint.url, "connected");
        let (mut sink, stream) = socket.split();
        let (answers, outbox) = mpsc::channel(16);
        tokio::select! {
            end = self.hear(stream, answers) => end,
            end = self.speak(&mut sink, outbox) => end,
        }
    }

    async fn greet(&self, socket: &mut Socket) -> Result<(), Break> {
        let Identity { id, name, capacity, labels, agents } = self.identity.clone();
        let hello = DaemonFrame::Hello(Hello {
            id,
            name,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: BRIDGE_VERSION,
            capacity,
            labels,
            agents,
            repositories: self.repositories().await,
            running: self.source.held(),
        });
        let text = serde_json::to_string(&hello).map_err(|error| Break::Lost(error.to_string()))?;
        socket.send(Message::text(text)).await.map_err(lost)?;
        let welcome = async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                        Ok(BridgeFrame::Welcome { draining, .. }) => return Ok(draining),
                        Ok(BridgeFrame::Error { error, code }) => return Err(refused(&error, &code)),
                        _ => {}
                    },
                    Some(Ok(Message::Close(_))) | None => return Err(Break::Lost("the server closed".to_owned())),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(lost(error)),
                }
            }
        };
        let draining =
            timeout(WELCOME, welcome).await.map_err(|_| Break::Lost("the server did not answer".to_owned()))??;
        if draining {
            tracing::warn!("this machine is draining: it gets no new work");
        }
        Ok(())
    }

    async fn repositories(&self) -> Vec<String> {
        let kept = self.workspaces.repositories().await;
        kept.into_iter().map(|repository| repository.url).take(MAX_REPOSITORIES).collect()
    }

    /// Takes what the server says.
    async fn hear(&self, mut stream: SplitStream<Socket>, answers: Answers) -> Break {
        loop {
            let message = match timeout(SILENT, stream.next()).await {
                Err(_) => return Break::Lost("the server is silent".to_owned()),
                Ok(None) => return Break::Lost("the server closed the connection".to_owned()),
                Ok(Some(Err(error))) => return lost(error),
                Ok(Some(Ok(message))) => message,
            };
            let text = match message {
                Message::Text(text) => text,
                Message::Close(_) => return Break::Lost("the server closed the connection".to_owned()),
                _ => continue,
            };
            // What a newer server may send beside what is known is passed over.
            let Ok(frame) = serde_json::from_str(&text) else { continue };
            match frame {
                BridgeFrame::Task(claim) => {
                    tracing::info!(task = %claim.task.id, attempt = claim.lease.attempt, "taken");
                    self.take(*claim);
                }
                BridgeFrame::Ack { task_id, attempt, epoch, source_seq } => {
                    if let Some(found) = self.source.find(task_id, attempt, epoch) {
                        found.spool().ack(source_seq);
                        self.source.wake.notify_one();
                    }
                }
                BridgeFrame::Ended { task_id, attempt, epoch } => {
                    self.source.forget(task_id, attempt, epoch, false);
                    // What the attempt worked on may be new here.
                    let _ = answers.try_send(DaemonFrame::Repositories { repositories: self.repositories().await });
                }
                BridgeFrame::Lost { task_id, attempt, epoch } => self.source.forget(task_id, attempt, epoch, true),
                BridgeFrame::Command(command) => {
                    let held = self.source.attempts();
                    let found =
                        held.iter().find(|a| (a.lease.task_id, a.lease.attempt) == (command.task_id, command.attempt));
                    if let Some(found) = found {
                        found.command(*command);
                    }
                }
                BridgeFrame::Diff { request, task_id } => {
                    tokio::spawn(diff(self.workspaces.clone(), request, task_id, answers.clone()));
                }
                BridgeFrame::Draining { draining: true } => tracing::warn!("draining: no new work comes"),
                BridgeFrame::Draining { draining: false } => tracing::info!("work is taken again"),
                BridgeFrame::Replaced => {
                    return Break::Fatal(
                        CommandError::failed("another daemon with the identity of this machine has connected").hint(
                            "Each machine has a data directory of its own; one that was copied has to lose its \
                             `machine.json`.",
                        ),
                    );
                }
                BridgeFrame::Error { error, code } => tracing::error!(error, code, "the server did not understand"),
                BridgeFrame::Welcome { .. } => {}
            }
        }
    }

    /// Sends what there is, whenever there is something.
    async fn speak(&self, sink: &mut Sink, mut answers: mpsc::Receiver<DaemonFrame>) -> Break {
        let mut deltas = self.deltas.lock().await;
        let mut pings = tokio::time::interval_at(Instant::now() + PING, PING);
        // On this connection.
        let mut asked = None;
        loop {
            let wanted = self.source.wants();
            let sent = async {
                // The runner may have asked again before this looked.
                if wanted.is_some() && wanted != asked {
                    say(sink, &DaemonFrame::Want).await?;
                }
                for lease in self.source.returned() {
                    let (task_id, attempt, epoch) = (lease.task_id, lease.attempt, lease.epoch);
                    say(sink, &DaemonFrame::Release { task_id, attempt, epoch }).await?;
                }
                for attempt in self.source.attempts() {
                    self.send_attempt(sink, &attempt).await?;
                }
                while let Ok((task_id, text)) = deltas.try_recv() {
                    say(sink, &DaemonFrame::Delta { task_id, text }).await?;
                }
                flush(sink.flush()).await
            };
            if let Err(end) = sent.await {
                return end;
            }
            asked = wanted.or(asked);
            tokio::select! {
                () = self.source.wake.notified() => {}
                answer = answers.recv() => {
                    if let Some(answer) = answer
                        && let Err(end) = say(sink, &answer).await
                    {
                        return end;
                    }
                }
                _ = pings.tick() => {
                    if let Err(end) = flush(sink.send(Message::Ping(Vec::new().into()))).await {
                        return end;
                    }
                }
            }
        }
    }
}

impl Link {
    /// Hands an offer to the runner, when the commits that it starts from are here.
    fn take(&self, claim: Claim) {
        let Some(bundle) = claim.spec.bundle.as_ref().map(|bundle| bundle.id) else { return self.source.offer(claim) };
        let (source, workspaces, rest) = (self.source.clone(), self.workspaces.clone(), self.rest.clone());
        tokio::spawn(async move {
            match carry::fetch(&rest, &workspaces, bundle).await {
                Ok(()) => source.offer(claim),
                Err(error) => {
                    tracing::warn!(error = error.message(), task = %claim.task.id, "its commits cannot be had; it is given back");
                    source.give_back(claim.lease);
                }
            }
        });
    }

    /// Hands over what an attempt made, once; its end is sent after that.
    fn carry(&self, attempt: &Arc<Attempt>) {
        if !attempt.begins_to_carry() {
            return;
        }
        let (source, workspaces, rest, attempt) =
            (self.source.clone(), self.workspaces.clone(), self.rest.clone(), attempt.clone());
        tokio::spawn(async move {
            let scratch = attempt.spool().directory().to_owned();
            tokio::select! {
                () = carry::hand_over(&rest, &workspaces, attempt.lease, &scratch) => {}
                () = attempt.lost.cancelled() => {}
            }
            attempt.carried();
            source.wake.notify_one();
        });
    }

    /// What an attempt's spool has to send.
    async fn send_attempt(&self, sink: &mut Sink, attempt: &Arc<Attempt>) -> Result<(), Break> {
        let (task_id, number, epoch) = (attempt.lease.task_id, attempt.lease.attempt, attempt.lease.epoch);
        if let Some(worked_ms) = attempt.beat() {
            say(sink, &DaemonFrame::Heartbeat { task_id, attempt: Some(number), worked_ms }).await?;
        }
        loop {
            let batch = attempt.spool().batch();
            let batch = match batch {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(error) => return Err(Break::Lost(format!("the spool cannot be read: {error}"))),
            };
            let frames: Result<Vec<&RawValue>, _> =
                batch.frames.iter().map(|json| serde_json::from_str(json)).collect();
            let broken = |error: serde_json::Error| Break::Lost(format!("the spool cannot be read: {error}"));
            let frames = frames.map_err(broken)?;
            let report = Report { r#type: "report", task_id, attempt: number, epoch, frames };
            let text = serde_json::to_string(&report).map_err(broken)?;
            flush(sink.feed(Message::text(text))).await?;
        }
        if attempt.spool().end_is_due() && !attempt.is_there() {
            self.carry(attempt);
            return Ok(());
        }
        let outcome = attempt.spool().outcome().cloned();
        match outcome {
            Some(Outcome::End { end }) => {
                say(sink, &DaemonFrame::Completed { task_id, attempt: Some(number), epoch: Some(epoch), end }).await
            }
            Some(Outcome::Release) => say(sink, &DaemonFrame::Release { task_id, attempt: number, epoch }).await,
            None => Ok(()),
        }
    }
}

async fn diff(workspaces: Arc<Workspaces>, request: u64, task: Uuid, answers: Answers) {
    let diff = match workspaces.open(task) {
        Ok(Some(workspace)) => workspace.diff(carry::MAX_DIFF).await.map_err(|error| error.to_string()),
        Ok(None) => Err("the task has no workspace yet, so there is nothing to see".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let answer = match diff {
        Ok(diff) => DaemonFrame::Diff { request, diff: Some(diff), error: None },
        Err(error) => DaemonFrame::Diff { request, diff: None, error: Some(error) },
    };
    let _ = answers.send(answer).await;
}

async fn say(sink: &mut Sink, frame: &DaemonFrame) -> Result<(), Break> {
    let text = serde_json::to_string(frame).map_err(|error| Break::Lost(error.to_string()))?;
    flush(sink.send(Message::text(text))).await
}

/// A server that takes nothing is gone.
async fn flush(sending: impl Future<Output = Result<(), SocketError>>) -> Result<(), Break> {
    match timeout(SEND, sending).await {
        Ok(sent) => sent.map_err(lost),
        Err(_) => Err(Break::Lost("the server takes nothing".to_owned())),
    }
}

fn lost(error: SocketError) -> Break {
    Break::Lost(error.to_string())
}

/// Why the server does not take this machine.
fn refused(error: &str, code: &str) -> Break {
    let error = crate::text::clean_line(error);
    match code {
        "protocol" | "invalid" | "conflict" | "bad_frame" => {
            Break::Fatal(CommandError::new(Exit::NotAllowed, format!("the server does not take this machine: {error}")))
        }
        _ => Break::Lost(error),
    }
}
