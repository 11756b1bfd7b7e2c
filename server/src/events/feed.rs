//! A task's events for one listener: stored ones first, then live ones, each once and in order, however slow it is.

use axum::extract::ws::Utf8Bytes;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use uuid::Uuid;

use super::{EventText, Live};
use crate::store::{Store, StoreError};

/// About how much a listener is given at once, in bytes. It holds no more than that of what it has not taken.
pub const BATCH: usize = 32 * 1024;

/// What a listener gets next.
#[derive(Clone, Debug)]
pub enum Item {
    Event(EventText),
    Delta {
        json: Utf8Bytes,
    },
    /// It was too slow; what follows comes from storage.
    Lagged {
        after: u64,
    },
}

/// The state of one listener. What it has not asked for it does not hold.
pub struct Feed {
    store: Store,
    user: Uuid,
    task: Uuid,
    after: u64,
    live: broadcast::Receiver<Live>,
    catching_up: bool,
    /// Whether what is live follows on what was given, so that transient text is in its place.
    in_step: bool,
}

impl Feed {
    /// Listens from now on, and then looks: nothing after `after` is missed.
    pub fn start(store: Store, user: Uuid, task: Uuid, after: u64) -> Self {
        let live = store.hub().subscribe(task);
        Self { store, user, task, after, live, catching_up: true, in_step: true }
    }

    pub const fn task(&self) -> Uuid {
        self.task
    }

    /// Waits for what comes next: one item or more, about [`BATCH`] bytes at most. May be dropped while it waits without
    /// losing one.
    pub async fn next(&mut self) -> Result<Vec<Item>, StoreError> {
        loop {
            if self.catching_up {
                let events = self.store.event_texts(self.user, self.task, self.after, BATCH).await?;
                if let Some(last) = events.last() {
                    self.after = last.seq;
                    return Ok(events.into_iter().map(Item::Event).collect());
                }
                self.catching_up = false;
            }
            let mut items = Vec::new();
            let mut size = match self.live.recv().await {
                Ok(live) => self.take(live, &mut items),
                Err(RecvError::Lagged(_)) => self.lag(&mut items),
                Err(RecvError::Closed) => return Err(StoreError::Closed),
            };
            while !self.catching_up && size < BATCH {
                match self.live.try_recv() {
                    Ok(live) => size += self.take(live, &mut items),
                    Err(TryRecvError::Lagged(_)) => size += self.lag(&mut items),
                    // That it is closed is seen when it is waited for.
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            if !items.is_empty() {
                return Ok(items);
            }
        }
    }

    /// Takes one in, and gives its size.
    fn take(&mut self, live: Live, items: &mut Vec<Item>) -> usize {
        match live {
            Live::Event { seq, .. } if seq <= self.after => {
                self.in_step |= seq == self.after;
                0
            }
            Live::Event { seq, json: Some(json) } if seq == self.after + 1 => {
                (self.after, self.in_step) = (seq, true);
                let size = json.len();
                items.push(Item::Event(EventText { seq, json }));
                size
            }
            // A large one, or a gap: storage has it.
            Live::Event { .. } => {
                (self.catching_up, self.in_step) = (true, false);
                0
            }
            Live::Delta { json } if self.in_step => {
                let size = json.len();
                items.push(Item::Delta { json });
                size
            }
            Live::Delta { .. } => 0,
        }
    }

    fn lag(&mut self, items: &mut Vec<Item>) -> usize {
        (self.catching_up, self.in_step) = (true, false);
        items.push(Item::Lagged { after: self.after });
        0
    }
}
