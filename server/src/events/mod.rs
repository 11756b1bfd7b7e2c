//! Fan-out of what was stored, to whoever listens in this process. Nothing is told before it is durable, and whoever is
//! too slow is told so and reads from storage: listeners never slow the writer.

pub mod feed;
pub mod snapshots;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use axum::extract::ws::Utf8Bytes;
use cadence_protocol::ServerFrame;
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

use self::snapshots::Snapshots;
use crate::store::StoredEvent;

/// Events of one task that a listener may fall behind before it is sent to storage.
const BEHIND: usize = 512;
/// Largest JSON that is handed to listeners itself, in bytes; a larger event they fetch from storage. With [`BEHIND`] it
/// bounds what a listener that does not read makes the server hold.
const DIRECT: usize = 4 * 1024;

/// A stored event as it goes to clients. The JSON is shared by all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventText {
    pub seq: u64,
    pub json: Utf8Bytes,
}

/// What a listener of one task gets.
#[derive(Clone, Debug)]
pub enum Live {
    Event {
        seq: u64,
        /// None where it is large: storage has it.
        json: Option<Utf8Bytes>,
    },
    /// Transient: not stored, and lost to whoever is not there.
    Delta { json: Utf8Bytes },
}

/// The listeners of one process.
#[derive(Debug)]
pub struct Hub {
    tasks: Mutex<HashMap<Uuid, broadcast::Sender<Live>>>,
    snapshots: Snapshots,
    commands: broadcast::Sender<Uuid>,
    work: watch::Sender<u64>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            tasks: Mutex::default(),
            snapshots: Snapshots::default(),
            commands: broadcast::Sender::new(BEHIND),
            work: watch::Sender::new(0),
        }
    }
}

impl Hub {
    /// Listens to a task. Listen before you look: read storage afterwards, and pass over what you already have.
    pub fn subscribe(&self, task: Uuid) -> broadcast::Receiver<Live> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|id, sender| *id == task || sender.receiver_count() > 0);
        tasks.entry(task).or_insert_with(|| broadcast::Sender::new(BEHIND)).subscribe()
    }

    /// Snapshots of tasks that change.
    pub fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// Listens to new commands; gives the id of the task.
    pub fn commands(&self) -> broadcast::Receiver<Uuid> {
        self.commands.subscribe()
    }

    /// Changes when there may be something to claim.
    pub fn work(&self) -> watch::Receiver<u64> {
        self.work.subscribe()
    }

    /// Tells what has just become durable, in the order in which it was stored.
    pub(crate) fn publish(&self, events: &[StoredEvent], commands: BTreeSet<Uuid>, work: bool) {
        for event in events {
            let Some(listeners) = self.listeners(event.task_id) else { continue };
            let json = if event.data.len() > DIRECT { Ok(None) } else { event.text().map(|text| Some(text.into())) };
            match json {
                Ok(json) => drop(listeners.send(Live::Event { seq: event.seq, json })),
                Err(error) => tracing::error!(%error, task = %event.task_id, "an event cannot be written as JSON"),
            }
        }
        for task in commands {
            let _ = self.commands.send(task);
        }
        if work {
            self.work.send_modify(|n| *n += 1);
        }
    }

    /// Tells transient text. Where it is long nobody waits for it: the event that follows brings it.
    pub fn delta(&self, task_id: Uuid, text: String) {
        let Some(listeners) = self.listeners(task_id).filter(|_| text.len() <= DIRECT) else { return };
        if let Ok(json) = serde_json::to_string(&ServerFrame::OutputDelta { task_id, text }) {
            let _ = listeners.send(Live::Delta { json: json.into() });
        }
    }

    fn listeners(&self, task: Uuid) -> Option<broadcast::Sender<Live>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).get(&task).cloned()
    }
}
