//! `GET /api/ws/stream`: events of any number of tasks over one connection.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use cadence_protocol::{ClientFrame, ServerFrame, Task};
use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use super::error::Failure;
use super::{App, OpenStream, auth};
use crate::events::feed::{Feed, Item};
use crate::store::{Filter, Principal, StoreError};

/// Largest frame of a client, in bytes.
const MAX_FRAME: usize = 64 * 1024;
/// Frames that wait for a client before its feeds wait too.
const OUTBOX: usize = 64;
/// A client that has not taken a frame for so long is gone.
const SEND_LIMIT: Duration = Duration::from_secs(30);
const PING_EVERY: Duration = Duration::from_secs(30);
/// A client that has sent nothing for so long, not even a pong, is gone.
const SILENT: Duration = Duration::from_secs(90);
/// How long a client may take to say who it is.
const SIGN_IN: Duration = Duration::from_secs(10);
/// Snapshots of one task: at most one in this time.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(100);
const MAX_SUBSCRIPTIONS: usize = 1000;

/// WebSocket: events of any number of tasks over one connection. The client sends `subscribe` (with a task's id or `*`, and
/// `after`), `unsubscribe` and `ping`; the server `connected`, `subscribed`, the stored events after `after` and then live
/// ones, `task` snapshots under `*`, `output_delta`, `lagged`, `error`, and `storage` where it cannot store what happens.
#[utoipa::path(get, path = "/api/ws/stream", responses((status = 101, description = "WebSocket")))]
pub async fn upgrade(
    State(app): State<App>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    // A wrong token is refused before the upgrade; a missing one may come in the first frame.
    let who = match auth::bearer(&headers) {
        Some(token) => {
            let who = app.principal(token).await?;
            auth::require(&who, "tasks:read")?;
            Some(who)
        }
        None => None,
    };
    Ok(upgrade.max_message_size(MAX_FRAME).max_frame_size(MAX_FRAME).on_upgrade(move |socket| async move {
        let _open = OpenStream::new(&app.activity);
        serve(app, socket, who).await;
    }))
}

async fn serve(app: App, mut socket: WebSocket, who: Option<Principal>) {
    let who = match who {
        Some(who) => who,
        None => match timeout(SIGN_IN, sign_in(&app, &mut socket)).await {
            Ok(Some(who)) => who,
            _ => {
                let _ = send_now(
                    &mut socket,
                    &error(
                        "unauthorized",
                        "a token is needed: send it as a Bearer header, or \
                     first of all as {\"type\":\"authenticate\",\"token\":…}",
                    ),
                )
                .await;
                return;
            }
        },
    };
    let hello = ServerFrame::Connected { connection_id: Uuid::new_v4(), message: format!("Hello, {}.", who.name) };
    if send_now(&mut socket, &hello).await.is_err() {
        return;
    }
    let (sink, mut source) = socket.split();
    let (outbox, frames) = mpsc::channel(OUTBOX);
    let mut sender = tokio::spawn(send_all(sink, frames));
    let mut connection = Connection { app: app.clone(), who, outbox, feeds: HashMap::new() };
    let mut heard = Instant::now();
    let mut pings = interval(PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = app.store.trouble().watch();
    if trouble.borrow_and_update().is_some() {
        trouble.mark_changed();
    }
    loop {
        tokio::select! {
            Ok(()) = trouble.changed() => {
                let frame = storage(trouble.borrow_and_update().as_ref());
                if connection.say(&frame).await.is_err() {
                    break;
                }
            }
            frame = source.next() => {
                heard = Instant::now();
                let answer = match frame {
                    Some(Ok(Message::Text(text))) => connection.take(&text).await,
                    Some(Ok(Message::Binary(_))) => Some(error("bad_frame", "frames are JSON in text")),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => None,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                };
                if let Some(answer) = answer && connection.say(&answer).await.is_err() {
                    break;
                }
            }
            _ = pings.tick() => {
                if heard.elapsed() > SILENT || connection.outbox.send(Message::Ping(Vec::new().into())).await.is_err() {
                    break;
                }
            }
            _ = &mut sender => return,
            () = app.closing.cancelled() => break,
        }
    }
    drop(connection);
    // What is on its way is still sent, for as long as the client takes it.
    let _ = timeout(Duration::from_secs(1), sender).await;
}

async fn sign_in(app: &App, socket: &mut WebSocket) -> Option<Principal> {
    let Some(Ok(Message::Text(text))) = socket.recv().await else { return None };
    let ClientFrame::Authenticate { token } = serde_json::from_str(&text).ok()? else { return None };
    let who = app.principal(&token).await.ok()?;
    auth::require(&who, "tasks:read").ok()?;
    Some(who)
}

async fn send_now(socket: &mut WebSocket, frame: &ServerFrame) -> Result<(), axum::Error> {
    socket.send(Message::Text(json(frame))).await
}

async fn send_all(mut sink: SplitSink<WebSocket, Message>, mut frames: mpsc::Receiver<Message>) {
    while let Some(frame) = frames.recv().await {
        match timeout(SEND_LIMIT, sink.send(frame)).await {
            Ok(Ok(())) => {}
            _ => return,
        }
    }
    let _ = timeout(Duration::from_secs(1), sink.close()).await;
}

fn json(frame: &ServerFrame) -> Utf8Bytes {
    serde_json::to_string(frame).unwrap_or_default().into()
}

fn error(code: &str, error: impl Into<String>) -> ServerFrame {
    ServerFrame::Error { error: error.into(), code: code.to_owned() }
}

/// Says what the storage fails of, or that it works again.
fn storage(trouble: Option<&StoreError>) -> ServerFrame {
    ServerFrame::Storage {
        code: trouble.map(|error| error.code().to_owned()),
        message: trouble.map_or_else(|| "the storage works again".to_owned(), ToString::to_string),
        hint: trouble.and_then(StoreError::hint).map(str::to_owned),
    }
}

struct Connection {
    app: App,
    who: Principal,
    outbox: mpsc::Sender<Message>,
    /// What runs for each subscription.
    feeds: HashMap<String, AbortHandle>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.feeds.values().for_each(AbortHandle::abort);
    }
}

impl Connection {
    async fn say(&self, frame: &ServerFrame) -> Result<(), ()> {
        self.outbox.send(Message::Text(json(frame))).await.map_err(drop)
    }

    /// Does what a frame asks, and gives the answer that it has by itself.
    async fn take(&mut self, text: &str) -> Option<ServerFrame> {
        match serde_json::from_str(text) {
            Ok(ClientFrame::Ping) => Some(ServerFrame::Pong),
            Ok(ClientFrame::Authenticate { .. }) => None,
            Ok(ClientFrame::Unsubscribe { task_id }) => {
                if let Some(feed) = self.feeds.remove(&task_id) {
                    feed.abort();
                }
                Some(ServerFrame::Unsubscribed { task_id })
            }
            Ok(ClientFrame::Subscribe { task_id, after }) => self.subscribe(task_id, after.unwrap_or_default()).await,
            Err(reason) => Some(error("bad_frame", format!("this frame was not understood: {reason}"))),
        }
    }

    async fn subscribe(&mut self, task_id: String, after: u64) -> Option<ServerFrame> {
        if self.feeds.len() >= MAX_SUBSCRIPTIONS && !self.feeds.contains_key(&task_id) {
            return Some(error("too_many", format!("at most {MAX_SUBSCRIPTIONS} subscriptions on one connection")));
        }
        if let Some(before) = self.feeds.remove(&task_id) {
            before.abort();
        }
        let (app, user, outbox) = (self.app.clone(), self.who.user_id, self.outbox.clone());
        let feed = if task_id == "*" {
            tokio::spawn(async move {
                if let Err(error) = snapshots(app, user, outbox).await {
                    tracing::warn!(%error, "a stream of snapshots ended");
                }
            })
        } else {
            let Ok(id) = Uuid::try_parse(&task_id) else {
                return Some(error("not_found", format!("`{task_id}` is no task's id")));
            };
            // Listen before the answer is given: what is stored from now on is not missed.
            let feed = Feed::start(app.store.clone(), user, id, after);
            let last_seq = match app.store.task(user, id).await {
                Ok(task) => task.last_seq,
                Err(StoreError::NotFound(what)) => return Some(error("not_found", format!("there is no {what}"))),
                Err(reason) => {
                    let reason = app.store.trouble().note(reason);
                    return Some(error(reason.code(), "the task cannot be read; the storage fails"));
                }
            };
            let subscribed = ServerFrame::Subscribed { task_id: task_id.clone(), last_seq };
            tokio::spawn(async move {
                if outbox.send(Message::Text(json(&subscribed))).await.is_ok() {
                    events(feed, id, outbox).await;
                }
            })
        };
        self.feeds.insert(task_id, feed.abort_handle());
        None
    }
}

async fn events(mut feed: Feed, task_id: Uuid, outbox: mpsc::Sender<Message>) {
    loop {
        let item = match feed.next().await {
            Ok(item) => item,
            Err(reason) => {
                tracing::warn!(error = %reason, "a stream of events ended");
                let _ = outbox.send(Message::Text(json(&error(reason.code(), "the events cannot be read")))).await;
                return;
            }
        };
        let text = match item {
            Item::Event { json, .. } => json,
            Item::Delta { json } => {
                // Transient text never makes anybody wait.
                let _ = outbox.try_send(Message::Text(json));
                continue;
            }
            Item::Lagged { after } => json(&ServerFrame::Lagged { task_id, after }),
        };
        if outbox.send(Message::Text(text)).await.is_err() {
            return;
        }
    }
}

/// A snapshot of each task, then of each that changes: the newest at most so often, the last one always.
async fn snapshots(app: App, user: Uuid, outbox: mpsc::Sender<Message>) -> Result<(), StoreError> {
    let mut live = app.store.hub().snapshots();
    let say = async |task: Task| {
        let frame = ServerFrame::Task { task: Box::new(task) };
        outbox.send(Message::Text(json(&frame))).await.is_ok()
    };
    let subscribed = ServerFrame::Subscribed { task_id: "*".into(), last_seq: 0 };
    let _ = outbox.send(Message::Text(json(&subscribed))).await;
    let mut waiting: HashMap<Uuid, Task> = HashMap::new();
    let mut tick = interval(SNAPSHOT_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut all = true;
    loop {
        if std::mem::take(&mut all) {
            waiting.clear();
            let mut before = None;
            loop {
                let filter = Filter { limit: 200, before, ..Filter::default() };
                let (tasks, next) = app.store.tasks(user, filter).await?;
                for task in tasks {
                    if !say(task).await {
                        return Ok(());
                    }
                }
                before = next;
                if before.is_none() {
                    break;
                }
            }
        }
        tokio::select! {
            changed = live.recv() => match changed {
                Ok(task) if task.user_id == user => drop(waiting.insert(task.id, Task::clone(&task))),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => all = true,
                Err(RecvError::Closed) => return Ok(()),
            },
            _ = tick.tick(), if !waiting.is_empty() => {
                for (_, task) in waiting.drain() {
                    if !say(task).await {
                        return Ok(());
                    }
                }
            }
        }
    }
}
