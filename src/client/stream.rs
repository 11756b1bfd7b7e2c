//! Live events over the WebSocket: every event of the tasks that are followed, in order, each once, whatever breaks.

use std::collections::BTreeMap;
use std::time::Duration;

use cadence_protocol::{ClientFrame, Event, Received, ServerFrame, Task};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::socket::{Break, Socket, back_off, lost, open};
use super::{Client, Rest};
use crate::error::{CommandError, Exit};

/// After so long without a word the server is asked for one,
const QUIET: Duration = Duration::from_secs(10);
/// and has so long to answer: a machine that is gone does not say so.
const ANSWER: Duration = Duration::from_secs(10);
/// How often storage is looked at although events come by themselves.
const POLL: Duration = Duration::from_secs(15);
/// How long a server may be away before it is given up.
pub const PATIENCE: Duration = Duration::from_secs(120);
pub(super) const MAX_FRAME: usize = 16 * 1024 * 1024;

/// What the stream tells.
#[derive(Debug)]
pub enum Item {
    Event(Box<Event>),
    /// Text of an output event to come.
    Delta {
        task: Uuid,
        text: String,
    },
    /// The connection is lost; it is tried again after `wait`.
    Lost {
        reason: String,
        wait: Duration,
    },
    /// The connection is back.
    Back,
    /// How a task is; where all are followed.
    Task(Box<Task>),
    /// From here on all tasks are followed, or one, whose newest event has this number. After each break again.
    Subscribed {
        task: Option<Uuid>,
        last_seq: u64,
    },
    /// The server cannot store what happens and tries again, or stores it again.
    Storage {
        fails: bool,
        message: String,
        hint: Option<String>,
    },
    /// The stream ends with this.
    Failed(CommandError),
}

/// What [`Stream::everything`] is asked for.
#[derive(Debug)]
enum Order {
    Follow(Uuid, u64),
    Leave(Uuid),
}

/// Says whose events a stream brings.
#[derive(Clone, Debug)]
pub struct Orders(mpsc::UnboundedSender<Order>);

impl Orders {
    /// Brings the events of a task after this one, too.
    pub fn follow(&self, task: Uuid, after: u64) {
        let _ = self.0.send(Order::Follow(task, after));
    }

    /// Brings them no longer.
    pub fn leave(&self, task: Uuid) {
        let _ = self.0.send(Order::Leave(task));
    }
}

/// Events of some tasks. Dropping it ends the connection.
#[derive(Debug)]
pub struct Stream {
    items: mpsc::Receiver<Item>,
    worker: tokio::task::JoinHandle<()>,
}

impl Stream {
    /// Follows tasks from the event after the number that is given with each. A server that is away for longer than
    /// `patience` is given up.
    pub fn follow(client: Client, tasks: impl IntoIterator<Item = (Uuid, u64)>, patience: Duration) -> Self {
        let (_, orders) = mpsc::unbounded_channel();
        Self::start(client, tasks.into_iter().collect(), patience, false, orders)
    }

    /// Follows how all tasks are, and the events of those that are asked for. A server that is away is waited for.
    pub fn everything(client: Client) -> (Self, Orders) {
        let (orders, receiver) = mpsc::unbounded_channel();
        (Self::start(client, BTreeMap::new(), Duration::MAX, true, receiver), Orders(orders))
    }

    fn start(
        client: Client,
        seen: BTreeMap<Uuid, u64>,
        patience: Duration,
        all: bool,
        orders: mpsc::UnboundedReceiver<Order>,
    ) -> Self {
        let (sender, items) = mpsc::channel(256);
        let worker = Worker { client, seen, out: sender, patience, all, orders, lost_since: None, failures: 0 };
        Self { items, worker: tokio::spawn(worker.run()) }
    }

    /// Takes what has come, at least one and at most `most`; nothing after [`Item::Failed`].
    pub async fn next_many(&mut self, items: &mut Vec<Item>, most: usize) -> usize {
        self.items.recv_many(items, most).await
    }

    /// The next item; none after [`Item::Failed`].
    pub async fn next(&mut self) -> Option<Item> {
        self.items.recv().await
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

struct Worker {
    client: Client,
    /// The last number that was given out, for each task.
    seen: BTreeMap<Uuid, u64>,
    out: mpsc::Sender<Item>,
    patience: Duration,
    /// Whether it is told how all tasks are.
    all: bool,
    orders: mpsc::UnboundedReceiver<Order>,
    /// Since when nothing was heard, and how often it was tried in vain.
    lost_since: Option<Instant>,
    failures: u32,
}

impl From<mpsc::error::SendError<Item>> for Break {
    fn from(_: mpsc::error::SendError<Item>) -> Self {
        Self::Unheard
    }
}

impl Worker {
    async fn run(mut self) {
        loop {
            let end = match self.connect().await {
                Ok(mut socket) => match self.pump(&mut socket).await {
                    Ok(()) => Break::Lost("the server closed the connection".to_owned()),
                    Err(end) => end,
                },
                Err(end) => end,
            };
            let reason = match end {
                Break::Unheard => return,
                Break::Fatal(error) => return drop(self.out.send(Item::Failed(error)).await),
                Break::Lost(reason) => reason,
            };
            let since = *self.lost_since.get_or_insert_with(Instant::now);
            if since.elapsed() > self.patience {
                let error = CommandError::new(Exit::Unreachable, "the connection to the server was lost for too long")
                    .caused_by(std::io::Error::other(reason))
                    .hint("The task goes on; follow it again with `cadence tasks logs -f`.");
                return drop(self.out.send(Item::Failed(error)).await);
            }
            let wait = back_off(self.failures);
            self.failures = self.failures.saturating_add(1);
            if self.out.send(Item::Lost { reason, wait }).await.is_err() {
                return;
            }
            let waited = tokio::time::sleep(wait);
            tokio::pin!(waited);
            loop {
                tokio::select! {
                    () = &mut waited => break,
                    Some(order) = self.orders.recv() => drop(self.note(&order)),
                }
            }
        }
    }

    /// Takes an order down; gives what the server is to be told.
    fn note(&mut self, order: &Order) -> ClientFrame {
        match *order {
            Order::Follow(task, after) => {
                self.seen.insert(task, after);
                ClientFrame::Subscribe { task_id: task.to_string(), after: Some(after) }
            }
            Order::Leave(task) => {
                self.seen.remove(&task);
                ClientFrame::Unsubscribe { task_id: task.to_string() }
            }
        }
    }

    async fn connect(&self) -> Result<Socket, Break> {
        if self.lost_since.is_some() {
            if self.client.is_gone() {
                let error =
                    CommandError::new(Exit::Unreachable, "the server of this command has ended, and the task with it");
                return Err(Break::Fatal(error));
            }
            // Where the user's own server is gone, another is started; where that fails it is tried again.
            self.client.refresh().await.map_err(|error| match error.exit {
                Exit::Unreachable | Exit::Failed => Break::Lost(error.message().to_owned()),
                _ => Break::Fatal(error),
            })?;
        }
        open(&self.client.endpoint(), &["api", "ws", "stream"], MAX_FRAME).await
    }

    /// Subscribes, and gives out what comes until the connection ends.
    async fn pump(&mut self, socket: &mut Socket) -> Result<(), Break> {
        let rest = Rest::for_stream(self.client.endpoint()).map_err(Break::Fatal)?;
        let all = self.all.then(|| ClientFrame::Subscribe { task_id: "*".to_owned(), after: None });
        let subscribe =
            |(task, seen): (&Uuid, &u64)| ClientFrame::Subscribe { task_id: task.to_string(), after: Some(*seen) };
        for frame in all.into_iter().chain(self.seen.iter().map(subscribe)) {
            say(socket, &frame).await?;
        }
        let mut poll = tokio::time::interval_at(Instant::now() + POLL, POLL);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // When the server is asked for a sign of life, and when it has to have given one.
        let mut ask = Instant::now() + QUIET;
        let mut answer_by = None;
        loop {
            tokio::select! {
                // What has come is looked at before the clock is: this process may have been stopped for a while, or
                // whoever takes the events may have been slow.
                biased;
                message = socket.next() => {
                    match message {
                        None => return Ok(()),
                        Some(Err(error)) => return Err(lost(error)),
                        Some(Ok(Message::Text(text))) => self.take(&rest, text.as_str()).await?,
                        Some(Ok(Message::Close(_))) => return Ok(()),
                        Some(Ok(_)) => {}
                    }
                    (ask, answer_by) = (Instant::now() + QUIET, None);
                }
                Some(order) = self.orders.recv() => {
                    let frame = self.note(&order);
                    say(socket, &frame).await?;
                }
                () = tokio::time::sleep_until(answer_by.unwrap_or(ask)) => {
                    if answer_by.is_some() {
                        return Err(Break::Lost("the server is silent".to_owned()));
                    }
                    answer_by = Some(Instant::now() + ANSWER);
                    socket.send(Message::Ping(Vec::new().into())).await.map_err(lost)?;
                }
                _ = poll.tick(), if answer_by.is_none() => {
                    for task in self.seen.keys().copied().collect::<Vec<_>>() {
                        self.catch_up(&rest, task).await?;
                    }
                }
            }
        }
    }

    async fn take(&mut self, rest: &Rest, text: &str) -> Result<(), Break> {
        // What a newer server may send beside what is known is passed over.
        let Ok(received) = serde_json::from_str::<Received>(text) else { return Ok(()) };
        // A connection that is made and closed again is none: the server has to say something about the tasks.
        if !matches!(
            received,
            Received::Frame(ServerFrame::Connected { .. } | ServerFrame::Error { .. } | ServerFrame::Storage { .. })
        ) {
            self.failures = 0;
            if self.lost_since.take().is_some() {
                self.out.send(Item::Back).await?;
            }
        }
        match received {
            Received::Event(event) => self.give(rest, event).await,
            Received::Frame(ServerFrame::OutputDelta { task_id, text }) if self.seen.contains_key(&task_id) => {
                Ok(self.out.send(Item::Delta { task: task_id, text }).await?)
            }
            Received::Frame(ServerFrame::Task { task }) if self.all => Ok(self.out.send(Item::Task(task)).await?),
            Received::Frame(ServerFrame::Subscribed { task_id, last_seq }) if self.all => {
                let task = task_id.parse().ok();
                Ok(self.out.send(Item::Subscribed { task, last_seq }).await?)
            }
            // A task that was removed meanwhile is no reason to see nothing of the others.
            Received::Frame(ServerFrame::Error { code, .. }) if self.all && code == "not_found" => Ok(()),
            Received::Frame(ServerFrame::Lagged { task_id, .. }) => self.catch_up(rest, task_id).await,
            Received::Frame(ServerFrame::Error { error, code }) => Err(refused(&error, &code)),
            Received::Frame(ServerFrame::Storage { code, message, hint }) => {
                let hint = hint.map(|hint| crate::text::clean_line(&hint));
                let message = crate::text::clean_line(&message);
                Ok(self.out.send(Item::Storage { fails: code.is_some(), message, hint }).await?)
            }
            Received::Frame(_) => Ok(()),
        }
    }

    /// Gives an event out, after those before it that did not come.
    async fn give(&mut self, rest: &Rest, event: Event) -> Result<(), Break> {
        let Some(seen) = self.seen.get(&event.task_id).copied() else { return Ok(()) };
        if event.seq > seen + 1 {
            self.catch_up(rest, event.task_id).await?;
        }
        match self.seen.get_mut(&event.task_id) {
            Some(seen) if event.seq > *seen => *seen = event.seq,
            _ => return Ok(()),
        }
        Ok(self.out.send(Item::Event(Box::new(event))).await?)
    }

    /// Gives out what storage has and the connection did not bring.
    async fn catch_up(&mut self, rest: &Rest, task: Uuid) -> Result<(), Break> {
        let Some(mut seen) = self.seen.get(&task).copied() else { return Ok(()) };
        loop {
            let page = match rest.events(task, seen).await {
                Ok(page) => page,
                Err(error) if self.all && error.not_found => return Ok(()),
                Err(error) if matches!(error.exit, Exit::NotAllowed | Exit::Usage) => return Err(Break::Fatal(error)),
                Err(error) => return Err(Break::Lost(error.message().to_owned())),
            };
            let before = seen;
            for event in page.events.into_iter().filter(|event| event.seq > before) {
                seen = event.seq;
                self.seen.insert(task, seen);
                self.out.send(Item::Event(Box::new(event))).await?;
            }
            if seen >= page.last_seq || seen == before {
                return Ok(());
            }
        }
    }
}

async fn say(socket: &mut Socket, frame: &ClientFrame) -> Result<(), Break> {
    let text = serde_json::to_string(frame).map_err(|error| Break::Lost(error.to_string()))?;
    socket.send(Message::text(text)).await.map_err(lost)
}

fn refused(error: &str, code: &str) -> Break {
    let message = crate::text::clean_line(error);
    match code {
        "unauthorized" | "forbidden" => Break::Fatal(CommandError::new(Exit::NotAllowed, message)),
        "not_found" => Break::Fatal(CommandError::usage(message)),
        _ => Break::Lost(message),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::client::stub::{self, Stub};

    #[test]
    fn waits_grow_to_a_limit() {
        let waits: Vec<u128> = (0..20).map(|n| back_off(n).as_millis()).collect();
        assert!((187..=250).contains(&waits[0]), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= 8000));
        assert!(waits[19] >= 6000);
    }

    #[tokio::test]
    async fn connections_that_bring_nothing_are_tried_ever_more_slowly() {
        let server = Stub::start().await;
        let id = server.task("running", 1);
        server.event(stub::ended(id, 1));
        server.hang_up_next(3);
        let mut stream = Stream::follow(server.client(), [(id, 0)], PATIENCE);
        let mut waits = Vec::new();
        while waits.len() < 3 {
            match stream.next().await {
                Some(Item::Lost { wait, .. }) => waits.push(wait.as_millis()),
                other => panic!("{other:?}"),
            }
        }
        assert!(waits[0] <= 250 && waits[1] >= 375 && waits[2] >= 750, "{waits:?}");
        assert!(matches!(stream.next().await, Some(Item::Back)));
        assert!(matches!(stream.next().await, Some(Item::Event(event)) if event.seq == 1));
    }

    #[tokio::test]
    async fn a_server_that_stays_away_is_given_up() {
        let server = Stub::start().await;
        let (id, client) = (server.task("running", 1), server.client());
        drop(server);
        let mut stream = Stream::follow(client, [(id, 0)], Duration::from_millis(300));
        let mut tries = 0;
        let error = loop {
            match stream.next().await {
                Some(Item::Lost { .. }) => tries += 1,
                Some(Item::Failed(error)) => break error,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(error.exit, Exit::Unreachable);
        assert!((2..=3).contains(&tries), "{tries}");
        assert!(stream.next().await.is_none());
    }
}
