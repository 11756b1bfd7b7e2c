//! What goes out over one connection. It is asked for when the client has taken what came before: nothing gathers for a
//! client that does not read.

use std::pin::Pin;
use std::time::Duration;

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use cadence_protocol::{ServerFrame, Task};
use futures_util::stream::{self, Abortable, SelectAll, SplitSink, Stream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use uuid::Uuid;

use super::{error, json};
use crate::events::feed::{Feed, Item};
use crate::events::snapshots::Listener;
use crate::store::{Filter, Store, StoreError};

/// Snapshots of one task: at most one in this time.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(100);
/// Tasks of a list that are written at once.
const LISTED: u32 = 32;

/// Frames of one subscription, as they are there.
type Frames = Pin<Box<dyn Stream<Item = Vec<Utf8Bytes>> + Send>>;

/// What the other half of a connection wants sent.
pub enum Order {
    Say(Message),
    /// A subscription's first frame, and what follows.
    Subscribe(Utf8Bytes, Abortable<Frames>),
}

/// Sends until there are no more orders, or until the client has not taken anything for `limit`.
pub async fn send_all(mut sink: SplitSink<WebSocket, Message>, mut orders: mpsc::Receiver<Order>, limit: Duration) {
    let mut subscriptions = SelectAll::new();
    loop {
        let messages: Vec<Message> = tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Order::Say(message)) => vec![message],
                Some(Order::Subscribe(first, frames)) => {
                    subscriptions.push(frames);
                    vec![Message::Text(first)]
                }
                None => break,
            },
            Some(frames) = subscriptions.next(), if !subscriptions.is_empty() => {
                frames.into_iter().map(Message::Text).collect()
            }
        };
        let written = async {
            for message in messages {
                sink.feed(message).await?;
            }
            sink.flush().await
        };
        if !matches!(timeout(limit, written).await, Ok(Ok(()))) {
            return;
        }
    }
    let _ = timeout(Duration::from_secs(1), sink.close()).await;
}

/// Where a subscription's frames come from.
pub enum Source {
    Events(Feed),
    Snapshots(Watch),
}

impl Source {
    /// Its frames. An error is the last of them.
    pub fn frames(self) -> Frames {
        Box::pin(stream::unfold(Some(self), |source| async {
            let mut source = source?;
            match source.next().await {
                Ok(frames) => Some((frames, Some(source))),
                Err(reason) => {
                    tracing::warn!(error = %reason, "a subscription ended");
                    Some((vec![json(&error(reason.code(), "the storage cannot be read; subscribe again"))], None))
                }
            }
        }))
    }

    async fn next(&mut self) -> Result<Vec<Utf8Bytes>, StoreError> {
        match self {
            Self::Events(feed) => {
                let task_id = feed.task();
                let items = feed.next().await?;
                let text = |item| match item {
                    Item::Event(event) => event.json,
                    Item::Delta { json } => json,
                    Item::Lagged { after } => json(&ServerFrame::Lagged { task_id, after }),
                };
                Ok(items.into_iter().map(text).collect())
            }
            Self::Snapshots(watch) => watch.next().await,
        }
    }
}

/// A snapshot of each task of a user, then of each that changes: the newest at most so often, the last one always.
pub struct Watch {
    store: Store,
    user: Uuid,
    listener: Listener,
    /// All tasks are to be listed, from the newest or from the one before this.
    list: Option<Option<i64>>,
    earliest: Instant,
}

impl Watch {
    pub fn start(store: Store, user: Uuid) -> Self {
        let listener = store.hub().snapshots().listen();
        Self { store, user, listener, list: Some(None), earliest: Instant::now() }
    }

    async fn next(&mut self) -> Result<Vec<Utf8Bytes>, StoreError> {
        loop {
            while let Some(before) = self.list {
                let filter = Filter { limit: LISTED, before, ..Filter::default() };
                let (tasks, next) = self.store.tasks(self.user, filter).await?;
                self.list = next.map(Some);
                if !tasks.is_empty() {
                    let frame = |task: Task| json(&ServerFrame::Task { task: Box::new(task) });
                    return Ok(tasks.into_iter().map(frame).collect());
                }
            }
            self.listener.changed().await?;
            sleep_until(self.earliest).await;
            self.earliest = Instant::now() + SNAPSHOT_EVERY;
            match self.store.hub().snapshots().take(&mut self.listener, self.user) {
                Some(frames) if frames.is_empty() => {}
                Some(frames) => return Ok(frames),
                None => self.list = Some(None),
            }
        }
    }
}
