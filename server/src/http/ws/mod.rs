//! `GET /api/ws/stream`: events of any number of tasks over one connection.

mod outgoing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use cadence_protocol::{ClientFrame, ServerFrame};
use futures_util::StreamExt;
use futures_util::stream::{AbortHandle, Abortable};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use uuid::Uuid;

use self::outgoing::{Order, Source, Watch, send_all};
use super::error::Failure;
use super::{App, OpenStream, auth};
use crate::events::feed::Feed;
use crate::store::{Principal, StoreError};

/// Largest frame of a client, in bytes.
const MAX_FRAME: usize = 64 * 1024;
/// What is read at once, in bytes: clients say little. Each connection has it.
const READ_BUFFER: usize = 4 * 1024;
/// What is written at once, in bytes; no connection holds much more than this and a frame.
const WRITE_BUFFER: usize = 16 * 1024;
/// Orders that wait for a client before no more of its frames are read.
const ORDERS: usize = 16;
const MAX_SUBSCRIPTIONS: usize = 1000;

/// How long clients of streams are waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// A client that has not taken what was sent for so long is gone.
    pub send: Duration,
    /// From one ping to the next.
    pub ping: Duration,
    /// A client that has sent nothing for so long, not even a pong, is gone.
    pub silent: Duration,
    /// How long a client may take to say who it is.
    pub sign_in: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self { send: secs(30), ping: secs(30), silent: secs(90), sign_in: secs(10) }
    }
}

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
    let upgrade = upgrade
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let _open = OpenStream::new(&app.activity);
        serve(app, socket, who).await;
    }))
}

async fn serve(app: App, mut socket: WebSocket, who: Option<Principal>) {
    let who = match who {
        Some(who) => who,
        None => match timeout(app.patience.sign_in, sign_in(&app, &mut socket)).await {
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
    let (orders, inbox) = mpsc::channel(ORDERS);
    let patience = app.patience;
    let mut sender = tokio::spawn(send_all(sink, inbox, patience.send));
    let mut connection = Connection { app: app.clone(), who, orders, subscriptions: HashMap::new() };
    let mut heard = Instant::now();
    let mut pings = interval(patience.ping);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trouble = app.store.trouble().watch();
    if trouble.borrow_and_update().is_some() {
        trouble.mark_changed();
    }
    loop {
        let order = tokio::select! {
            Ok(()) = trouble.changed() => Some(say(&storage(trouble.borrow_and_update().as_ref()))),
            frame = source.next() => {
                heard = Instant::now();
                match frame {
                    Some(Ok(Message::Text(text))) => connection.take(&text).await,
                    Some(Ok(Message::Binary(_))) => Some(say(&error("bad_frame", "frames are JSON in text"))),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => None,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => break,
                }
            }
            _ = pings.tick() => {
                if heard.elapsed() >= patience.silent {
                    break;
                }
                Some(Order::Say(Message::Ping(Vec::new().into())))
            }
            _ = &mut sender => return,
            () = app.closing.cancelled() => break,
        };
        // The sender ends when the client takes nothing.
        if let Some(order) = order
            && connection.orders.send(order).await.is_err()
        {
            break;
        }
    }
    drop(connection);
    // What is on its way is still sent, for as long as the client takes it.
    if timeout(Duration::from_secs(1), &mut sender).await.is_err() {
        sender.abort();
    }
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

fn say(frame: &ServerFrame) -> Order {
    Order::Say(Message::Text(json(frame)))
}

struct Connection {
    app: App,
    who: Principal,
    orders: mpsc::Sender<Order>,
    /// What ends each subscription.
    subscriptions: HashMap<String, AbortHandle>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.subscriptions.values().for_each(AbortHandle::abort);
    }
}

impl Connection {
    /// Does what a frame asks, and gives what is to be sent for it.
    async fn take(&mut self, text: &str) -> Option<Order> {
        Some(match serde_json::from_str(text) {
            Ok(ClientFrame::Ping) => say(&ServerFrame::Pong),
            Ok(ClientFrame::Authenticate { .. }) => return None,
            Ok(ClientFrame::Unsubscribe { task_id }) => {
                if let Some(subscription) = self.subscriptions.remove(&task_id) {
                    subscription.abort();
                }
                say(&ServerFrame::Unsubscribed { task_id })
            }
            Ok(ClientFrame::Subscribe { task_id, after }) => {
                let subscribed = self.subscribe(task_id, after.unwrap_or_default()).await;
                subscribed.unwrap_or_else(|refusal| say(&refusal))
            }
            Err(reason) => say(&error("bad_frame", format!("this frame was not understood: {reason}"))),
        })
    }

    async fn subscribe(&mut self, task_id: String, after: u64) -> Result<Order, ServerFrame> {
        if self.subscriptions.len() >= MAX_SUBSCRIPTIONS && !self.subscriptions.contains_key(&task_id) {
            return Err(error("too_many", format!("at most {MAX_SUBSCRIPTIONS} subscriptions on one connection")));
        }
        if let Some(before) = self.subscriptions.remove(&task_id) {
            before.abort();
        }
        let (store, user) = (self.app.store.clone(), self.who.user_id);
        let (source, last_seq) = if task_id == "*" {
            (Source::Snapshots(Watch::start(store, user)), 0)
        } else {
            let Ok(id) = Uuid::try_parse(&task_id) else {
                return Err(error("not_found", format!("`{task_id}` is no task's id")));
            };
            // Listen before the answer is given: what is stored from now on is not missed.
            let feed = Feed::start(store, user, id, after);
            match self.app.store.task(user, id).await {
                Ok(task) => (Source::Events(feed), task.last_seq),
                Err(StoreError::NotFound(what)) => return Err(error("not_found", format!("there is no {what}"))),
                Err(reason) => {
                    let reason = self.app.store.trouble().note(reason);
                    return Err(error(reason.code(), "the task cannot be read; the storage fails"));
                }
            }
        };
        let subscribed = json(&ServerFrame::Subscribed { task_id: task_id.clone(), last_seq });
        let (end, ended) = AbortHandle::new_pair();
        self.subscriptions.insert(task_id, end);
        Ok(Order::Subscribe(subscribed, Abortable::new(source.frames(), ended)))
    }
}
