//! A daemon's WebSocket, from its hello to its end.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use cadence_protocol::{
    BRIDGE_VERSION, BridgeFrame, Claim, DaemonFrame, EventData, Executor, Frame, FrameBody, Hello, Lease,
    MAX_BRIDGE_FRAME, MAX_CAPACITY, Timestamp,
};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::attend::{Attendant, Report};
use super::{Bridge, Link};
use crate::http::Patience;
use crate::queue::{Place, Registration};
use crate::store::{NewMachine, Principal, StoreError};

/// Frames that wait to be sent.
const OUTGOING: usize = 256;
const MAX_LIST: usize = 1000;
const MAX_NAME: usize = 200;

/// Serves a daemon until either side ends.
pub async fn serve(bridge: Bridge, mut socket: WebSocket, who: Principal, patience: Patience) {
    let hello = match timeout(patience.sign_in, greeting(&mut socket)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(frame)) => return drop(say(&mut socket, &frame).await),
        Err(_) => return drop(say(&mut socket, &error("no_hello", "the first frame is `hello`, and none came")).await),
    };
    let (machine, name) = (hello.id, hello.name.clone());
    match Connection::begin(&bridge, socket, who, hello, patience).await {
        Ok((connection, incoming)) => {
            tracing::info!(%machine, name, "a machine is connected");
            let why = connection.run(incoming).await;
            tracing::info!(%machine, name, why, "a machine is not connected any more");
            if let Err(error) = bridge.store.machine_seen(machine).await {
                tracing::debug!(%error, "when a machine was last seen could not be stored");
            }
        }
        Err(Some((mut socket, frame))) => drop(say(&mut socket, &frame).await),
        Err(None) => {}
    }
}

async fn greeting(socket: &mut WebSocket) -> Result<Hello, BridgeFrame> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Text(text))) => {
                return match serde_json::from_str(&text) {
                    Ok(DaemonFrame::Hello(hello)) => check(hello),
                    Ok(_) => Err(error("no_hello", "the first frame is `hello`")),
                    Err(reason) => Err(error("bad_frame", format!("the hello was not understood: {reason}"))),
                };
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return Err(error("no_hello", "the first frame is `hello`, as JSON in text")),
        }
    }
}

/// Checks what a daemon says of itself.
fn check(mut hello: Hello) -> Result<Hello, BridgeFrame> {
    if hello.protocol != BRIDGE_VERSION {
        let text = format!(
            "the daemon ({}) speaks version {} of the bridge, and this server ({}) speaks {BRIDGE_VERSION}; install the \
             same version of cadence on both",
            hello.version,
            hello.protocol,
            env!("CARGO_PKG_VERSION"),
        );
        return Err(error("protocol", text));
    }
    hello.name = hello.name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    if hello.name.trim().is_empty() {
        return Err(error("invalid", "the machine has no name"));
    }
    if hello.capacity == 0 || hello.capacity > MAX_CAPACITY {
        return Err(error("invalid", format!("the capacity must be 1 to {MAX_CAPACITY}")));
    }
    let lists = [&hello.labels, &hello.agents, &hello.repositories];
    let plain = |text: &String| (1..=2000).contains(&text.len()) && !text.chars().any(char::is_control);
    if lists.iter().any(|list| list.len() > MAX_LIST || !list.iter().all(plain)) || hello.running.len() > 10_000 {
        return Err(error("invalid", "a list of the hello is too long, or has something in it that is no name"));
    }
    Ok(hello)
}

struct Connection {
    bridge: Bridge,
    machine: Uuid,
    place: Registration,
    link: Link,
    attendants: HashMap<(Uuid, u32), Attendant>,
    want: Option<oneshot::Receiver<Claim>>,
    sender: tokio::task::JoinHandle<()>,
    patience: Patience,
}

type Incoming = futures_util::stream::SplitStream<WebSocket>;

impl Drop for Connection {
    fn drop(&mut self) {
        self.bridge.unlink(self.machine, self.link.id);
    }
}

impl Connection {
    /// Takes a machine in: what it holds still it goes on with, and what it does not know that it holds is free.
    async fn begin(
        bridge: &Bridge,
        socket: WebSocket,
        who: Principal,
        hello: Hello,
        patience: Patience,
    ) -> Result<(Self, Incoming), Option<(WebSocket, BridgeFrame)>> {
        let store = &bridge.store;
        let known = async {
            let machine = store.machine_here(who.user_id, NewMachine::from(&hello)).await?;
            let serves = if store.is_admin(who.user_id).await? { None } else { Some(who.user_id) };
            let listed = hello.running.iter().map(|held| (held.lease.task_id, held.lease.attempt)).collect();
            store.free_unknown(hello.id, listed).await?;
            Ok::<_, StoreError>((machine, serves))
        };
        let (machine, serves) = match known.await {
            Ok(known) => known,
            Err(reason) => {
                let reason = store.trouble().note(reason);
                return Err(Some((socket, error(reason.code(), reason.to_string()))));
            }
        };
        let (sink, incoming) = socket.split();
        let (out, outbox) = mpsc::channel(OUTGOING);
        let end = CancellationToken::new();
        let sender = tokio::spawn(send_all(sink, outbox, patience.send, end.clone()));
        let link = Link { id: Uuid::new_v4(), out: out.clone(), end, diffs: Default::default() };
        if let Some(before) = bridge.link(hello.id, link.clone()) {
            // One that is gone without a word takes nothing; one that lives is told.
            let _ = before.out.try_send(BridgeFrame::Replaced);
            before.end.cancel();
        }
        let place = bridge.dispatcher.register(Place {
            holder: hello.id,
            name: hello.name,
            executor: Executor::Daemon,
            machine_id: Some(hello.id),
            labels: hello.labels,
            agents: Some(hello.agents),
            repositories: hello.repositories,
            capacity: hello.capacity,
            draining: machine.draining,
            away: None,
            serves,
        });
        let mut connection = Self {
            bridge: bridge.clone(),
            machine: hello.id,
            place,
            link,
            attendants: HashMap::new(),
            want: None,
            sender,
            patience,
        };
        let welcome = BridgeFrame::Welcome {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: BRIDGE_VERSION,
            draining: machine.draining,
        };
        out.send(welcome).await.map_err(|_| None)?;
        for held in hello.running {
            match bridge.store.hold(hello.id, held.lease).await {
                Ok(source_seq) => {
                    let Lease { task_id, attempt, epoch, .. } = held.lease;
                    connection.attend(held.lease);
                    out.send(BridgeFrame::Ack { task_id, attempt, epoch, source_seq }).await.map_err(|_| None)?;
                }
                Err(StoreError::Fenced) => connection.lost(held.lease).await,
                // It comes back, and then the storage may work again.
                Err(reason) => {
                    bridge.store.trouble().note(reason);
                    return Err(None);
                }
            }
        }
        Ok((connection, incoming))
    }

    fn attend(&mut self, lease: Lease) {
        let attendant = Attendant::start(self.bridge.store.clone(), lease, self.link.out.clone());
        self.attendants.insert((lease.task_id, lease.attempt), attendant);
    }

    async fn lost(&self, lease: Lease) {
        let Lease { task_id, attempt, epoch, .. } = lease;
        let _ = self.link.out.send(BridgeFrame::Lost { task_id, attempt, epoch }).await;
    }

    /// Gives why it ended.
    async fn run(mut self, mut incoming: Incoming) -> &'static str {
        let mut heard = Instant::now();
        let mut pings = interval(self.patience.ping);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wanted = async {
                match &mut self.want {
                    Some(want) => want.await.ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                claim = wanted => {
                    self.want = None;
                    if let Some(claim) = claim {
                        self.attend(claim.lease);
                        if self.link.out.send(BridgeFrame::Task(Box::new(claim))).await.is_err() {
                            return "it takes nothing";
                        }
                    }
                }
                message = incoming.next() => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => self.hear(&text).await,
                        Some(Ok(Message::Binary(_))) => self.object("bad_frame", "frames are JSON in text").await,
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Close(_))) => return "it said goodbye",
                        Some(Err(_)) | None => return "the connection broke",
                    }
                }
                _ = pings.tick() => {
                    if heard.elapsed() >= self.patience.silent {
                        return "it is silent";
                    }
                    self.attendants.retain(|_, attendant| !attendant.is_over());
                    if self.bridge.store.machine_seen(self.machine).await.is_err() {
                        tracing::debug!("when a machine was last seen could not be stored");
                    }
                }
                _ = &mut self.sender => return "it takes nothing",
                () = self.link.end.cancelled() => {
                    // What it is to be told is still sent.
                    let _ = timeout(Duration::from_secs(1), &mut self.sender).await;
                    return "it was replaced or removed";
                }
                () = self.bridge.closing.cancelled() => return "the server closes",
            }
        }
    }

    async fn object(&self, code: &str, text: impl Into<String>) {
        let _ = self.link.out.send(error(code, text)).await;
    }

    /// The attendant of an attempt, where this connection holds it.
    async fn attendant(&self, task: Uuid, attempt: Option<u32>, epoch: Option<u64>) -> Option<&Attendant> {
        let found = match attempt {
            Some(attempt) => self.attendants.get(&(task, attempt)),
            None => self.attendants.values().find(|attendant| attendant.lease.task_id == task),
        };
        let found = found.filter(|attendant| epoch.is_none_or(|epoch| epoch == attendant.lease.epoch));
        if found.is_none() {
            self.lost(Lease {
                task_id: task,
                attempt: attempt.unwrap_or_default(),
                epoch: epoch.unwrap_or_default(),
                ttl_secs: 0,
            })
            .await;
        }
        found
    }

    async fn hear(&mut self, text: &str) {
        let frame = match serde_json::from_str(text) {
            Ok(frame) => frame,
            Err(reason) => return self.object("bad_frame", format!("this frame was not understood: {reason}")).await,
        };
        let event = |source_seq, timestamp: Option<Timestamp>, event| Frame {
            source_seq,
            timestamp: timestamp.unwrap_or_else(Timestamp::now_utc),
            body: FrameBody::Event { event },
        };
        let (task, attempt, epoch, report) = match frame {
            DaemonFrame::Hello(_) => return self.object("bad_frame", "hello was said already").await,
            DaemonFrame::Want => {
                if self.want.is_none() {
                    self.want = Some(self.place.want());
                }
                return;
            }
            DaemonFrame::Delta { task_id, text } => {
                if self.attendants.values().any(|attendant| attendant.lease.task_id == task_id) {
                    self.bridge.store.hub().delta(task_id, text);
                }
                return;
            }
            DaemonFrame::Diff { request, diff, error } => {
                let asked = self.link.diffs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&request);
                if let Some(asked) = asked {
                    let _ = asked.send(match (diff, error) {
                        (Some(diff), _) => Ok(diff),
                        (None, error) => Err(error.unwrap_or_else(|| "it gave none".to_owned())),
                    });
                }
                return;
            }
            DaemonFrame::Repositories { mut repositories } => {
                repositories.truncate(MAX_LIST);
                self.place.update(|place| place.repositories.clone_from(&repositories));
                if let Err(reason) = self.bridge.store.machine_has(self.machine, repositories).await {
                    self.bridge.store.trouble().note(reason);
                }
                return;
            }
            DaemonFrame::Report { task_id, attempt, epoch, frames } => {
                (task_id, Some(attempt), Some(epoch), Report::Frames(frames))
            }
            DaemonFrame::Event { task_id, attempt, source_seq, timestamp, event: data } => {
                (task_id, attempt, None, Report::Frames(vec![event(source_seq, timestamp, data)]))
            }
            DaemonFrame::Progress { task_id, attempt, source_seq, percent, note } => {
                let data = EventData::Progress { percent, note };
                (task_id, attempt, None, Report::Frames(vec![event(source_seq, None, data)]))
            }
            DaemonFrame::Heartbeat { task_id, attempt, worked_ms } => {
                (task_id, attempt, None, Report::Heartbeat(Duration::from_millis(worked_ms)))
            }
            DaemonFrame::Completed { task_id, attempt, epoch, end } => (task_id, attempt, epoch, Report::End(end)),
            DaemonFrame::Release { task_id, attempt, epoch } => (task_id, Some(attempt), Some(epoch), Report::Release),
        };
        if let Some(attendant) = self.attendant(task, attempt, epoch).await {
            attendant.report(report).await;
        }
    }
}

/// Sends what is to be sent, until nobody takes it.
async fn send_all(
    mut sink: SplitSink<WebSocket, Message>,
    mut outbox: mpsc::Receiver<BridgeFrame>,
    limit: Duration,
    end: CancellationToken,
) {
    let mut pings = interval(limit);
    loop {
        let message = tokio::select! {
            biased;
            frame = outbox.recv() => match frame {
                Some(frame) => text(&frame),
                None => break,
            },
            () = end.cancelled() => break,
            _ = pings.tick() => Message::Ping(Vec::new().into()),
        };
        if !matches!(timeout(limit, sink.send(message)).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(Duration::from_secs(1), sink.close()).await;
}

async fn say(socket: &mut WebSocket, frame: &BridgeFrame) -> Result<(), axum::Error> {
    socket.send(text(frame)).await
}

fn text(frame: &BridgeFrame) -> Message {
    let json = serde_json::to_string(frame).unwrap_or_default();
    debug_assert!(json.len() <= MAX_BRIDGE_FRAME);
    Message::Text(json.into())
}

fn error(code: &str, error: impl Into<String>) -> BridgeFrame {
    BridgeFrame::Error { error: error.into(), code: code.to_owned() }
}
