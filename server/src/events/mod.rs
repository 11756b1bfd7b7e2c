//! Fan-out of what was stored, to whoever listens in this process. Nothing is told before it is durable, and whoever is
//! too slow is told so and reads from storage: listeners never slow the writer.

pub mod feed;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::ws::Utf8Bytes;
use cadence_protocol::{Event, ServerFrame, Task};
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

/// Events of one task that a listener may fall behind before it is sent to storage.
const BEHIND: usize = 1024;

/// What a listener of one task gets. The JSON is shared by all of them.
#[derive(Clone, Debug)]
pub enum Live {
    Event {
        seq: u64,
        json: Utf8Bytes,
    },
    /// Transient: not stored, and lost to whoever is not there.
    Delta {
        json: Utf8Bytes,
    },
}

/// The listeners of one process.
#[derive(Debug)]
pub struct Hub {
    tasks: Mutex<HashMap<Uuid, broadcast::Sender<Live>>>,
    snapshots: broadcast::Sender<Arc<Task>>,
    commands: broadcast::Sender<Uuid>,
    work: watch::Sender<u64>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            tasks: Mutex::default(),
            snapshots: broadcast::Sender::new(BEHIND),
            commands: broadcast::Sender::new(BEHIND),
            work: watch::Sender::new(0),
        }
    }
}

impl Hub {
    /// Listens to a task. Listen before you look: read storage afterwards, and pass over what you already have.
    pub fn subscribe(&self, task: Uuid) -> broadcast::Receiver<Live> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.retain(|_, sender| sender.receiver_count() > 0);
        tasks.entry(task).or_insert_with(|| broadcast::Sender::new(BEHIND)).subscribe()
    }

    /// Listens to snapshots of all tasks that change.
    pub fn snapshots(&self) -> broadcast::Receiver<Arc<Task>> {
        self.snapshots.subscribe()
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
    pub(crate) fn publish(&self, events: Vec<Event>, tasks: Vec<Task>, commands: BTreeSet<Uuid>, work: bool) {
        for event in events {
            let Some(listeners) = self.listeners(event.task_id) else { continue };
            match serde_json::to_string(&event) {
                Ok(json) => drop(listeners.send(Live::Event { seq: event.seq, json: json.into() })),
                Err(error) => tracing::error!(%error, task = %event.task_id, "an event cannot be written as JSON"),
            }
        }
        for task in tasks {
            let _ = self.snapshots.send(Arc::new(task));
        }
        for task in commands {
            let _ = self.commands.send(task);
        }
        if work {
            self.work.send_modify(|n| *n += 1);
        }
    }

    /// Tells transient text.
    pub fn delta(&self, task_id: Uuid, text: String) {
        let Some(listeners) = self.listeners(task_id) else { return };
        if let Ok(json) = serde_json::to_string(&ServerFrame::OutputDelta { task_id, text }) {
            let _ = listeners.send(Live::Delta { json: json.into() });
        }
    }

    fn listeners(&self, task: Uuid) -> Option<broadcast::Sender<Live>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).get(&task).cloned()
    }
}
