//! A task's events for one listener: stored ones first, then live ones, each once and in order, however slow it is.

use std::collections::VecDeque;

use axum::extract::ws::Utf8Bytes;
use tokio::sync::broadcast::{self, error::RecvError};
use uuid::Uuid;

use super::Live;
use crate::store::{Store, StoreError};

/// Events read from storage at once.
const PAGE: u32 = 256;

/// What a listener gets next.
#[derive(Clone, Debug)]
pub enum Item {
    Event {
        seq: u64,
        json: Utf8Bytes,
    },
    Delta {
        json: Utf8Bytes,
    },
    /// It was too slow; what follows comes from storage.
    Lagged {
        after: u64,
    },
}

/// The state of one listener.
pub struct Feed {
    store: Store,
    user: Uuid,
    task: Uuid,
    after: u64,
    live: broadcast::Receiver<Live>,
    pages: VecDeque<Item>,
    catching_up: bool,
}

impl Feed {
    /// Listens from now on, and then looks: nothing after `after` is missed.
    pub fn start(store: Store, user: Uuid, task: Uuid, after: u64) -> Self {
        let live = store.hub().subscribe(task);
        Self { store, user, task, after, live, pages: VecDeque::new(), catching_up: true }
    }

    /// Waits for the next item. May be dropped while it waits without losing one.
    pub async fn next(&mut self) -> Result<Item, StoreError> {
        loop {
            if let Some(item) = self.pages.pop_front() {
                if let Item::Event { seq, .. } = item {
                    self.after = seq;
                }
                return Ok(item);
            }
            if self.catching_up {
                let events = self.store.events(self.user, self.task, self.after, PAGE).await?;
                self.catching_up = events.len() == PAGE as usize;
                for event in events {
                    let json = serde_json::to_string(&event).map_err(|e| StoreError::Corrupt(e.to_string()))?;
                    self.pages.push_back(Item::Event { seq: event.seq, json: json.into() });
                }
                continue;
            }
            match self.live.recv().await {
                Ok(Live::Event { seq, .. }) if seq <= self.after => {}
                // A gap cannot be; if it were, storage has what is missing.
                Ok(Live::Event { seq, .. }) if seq > self.after + 1 => self.catching_up = true,
                Ok(Live::Event { seq, json }) => {
                    self.after = seq;
                    return Ok(Item::Event { seq, json });
                }
                Ok(Live::Delta { json }) => return Ok(Item::Delta { json }),
                Err(RecvError::Lagged(_)) => {
                    self.catching_up = true;
                    return Ok(Item::Lagged { after: self.after });
                }
                Err(RecvError::Closed) => return Err(StoreError::Closed),
            }
        }
    }
}
