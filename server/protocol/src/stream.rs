//! Frames of the WebSocket `/api/ws/stream`.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Event, Task};

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ClientFrame {
    /// `taskId` is a task's id, or `*` for snapshots of all tasks.
    Subscribe {
        task_id: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
    Unsubscribe {
        task_id: String,
    },
    /// The first frame of a client that cannot set headers.
    Authenticate {
        token: String,
    },
    Ping,
}

/// What the server sends, stored events left out: those come as [`Event`] itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum ServerFrame {
    Connected {
        connection_id: Uuid,
        message: String,
    },
    Subscribed {
        task_id: String,
        #[serde(default)]
        last_seq: u64,
    },
    Unsubscribed {
        task_id: String,
    },
    Task {
        task: Box<Task>,
    },
    /// Transient text; the `output` event that follows replaces it.
    OutputDelta {
        task_id: Uuid,
        text: String,
    },
    /// The client was too slow; it goes on from storage after `after`.
    Lagged {
        task_id: Uuid,
        after: u64,
    },
    Error {
        error: String,
        code: String,
    },
    /// The server cannot store what happens, and tries again: what the client follows stands still. Without a `code` it works
    /// again.
    Storage {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        message: String,
        /// What to do about it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    Pong,
}

/// A frame as a client reads it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Received {
    Event(Event),
    Frame(ServerFrame),
}
