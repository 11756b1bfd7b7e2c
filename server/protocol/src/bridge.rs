//! Frames of the WebSocket `/api/ws/daemon`, over which a machine takes attempts and reports them, and what the REST API
//! tells of machines.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{AttemptEnd, Claim, Command, EventData, Frame, Lease, Timestamp};

/// Version of the frames below. A server takes daemons of its own version only, and says so.
pub const BRIDGE_VERSION: u32 = 1;
/// Largest frame on the bridge in either direction, in bytes.
pub const MAX_BRIDGE_FRAME: usize = 16 * 1024 * 1024;
/// Most attempts that a machine may run at once.
pub const MAX_CAPACITY: u32 = 256;

/// Who a daemon is, and what it can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// The machine; kept in its data directory.
    pub id: Uuid,
    /// What people call it: its host name, unless told otherwise.
    pub name: String,
    /// Version of the program.
    pub version: String,
    /// [`BRIDGE_VERSION`].
    pub protocol: u32,
    /// Attempts that it runs at once.
    pub capacity: u32,
    #[serde(default)]
    pub labels: Vec<String>,
    pub agents: Vec<String>,
    /// URLs of the repositories that it keeps a mirror of.
    #[serde(default)]
    pub repositories: Vec<String>,
    /// Attempts that it runs, or has reports of that the server may not have.
    #[serde(default)]
    pub running: Vec<Held>,
}

/// An attempt that a daemon holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    #[serde(flatten)]
    pub lease: Lease,
    /// Number of the last frame that the server acknowledged.
    #[serde(default)]
    pub acked: u64,
}

/// What a daemon sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum DaemonFrame {
    /// The first frame.
    Hello(Hello),
    /// One more attempt could be run. Answered, when there is one, with [`BridgeFrame::Task`]; a repeat is harmless.
    Want,
    /// Frames of an attempt, in order.
    Report { task_id: Uuid, attempt: u32, epoch: u64, frames: Vec<Frame> },
    /// One event, for those who write a daemon of their own: a [`DaemonFrame::Report`] of one.
    Event {
        #[serde(alias = "agentId")]
        task_id: Uuid,
        #[serde(default)]
        attempt: Option<u32>,
        source_seq: u64,
        #[serde(default, with = "time::serde::rfc3339::option")]
        timestamp: Option<Timestamp>,
        event: EventData,
    },
    /// How far the agent's own list of steps is done.
    Progress {
        #[serde(alias = "agentId")]
        task_id: Uuid,
        #[serde(default)]
        attempt: Option<u32>,
        source_seq: u64,
        percent: u8,
        #[serde(default)]
        note: Option<String>,
    },
    /// Transient text of an `output` event to come. May be lost.
    Delta { task_id: Uuid, text: String },
    /// The attempt is alive, and has worked for so long, pauses left out.
    Heartbeat {
        #[serde(alias = "agentId")]
        task_id: Uuid,
        #[serde(default)]
        attempt: Option<u32>,
        #[serde(default)]
        worked_ms: u64,
    },
    /// The attempt has ended; every frame before was sent. Answered with [`BridgeFrame::Ended`].
    Completed {
        #[serde(alias = "agentId")]
        task_id: Uuid,
        #[serde(default)]
        attempt: Option<u32>,
        #[serde(default)]
        epoch: Option<u64>,
        #[serde(flatten)]
        end: AttemptEnd,
    },
    /// The attempt is given back, to be continued. Answered with [`BridgeFrame::Ended`].
    Release { task_id: Uuid, attempt: u32, epoch: u64 },
    /// The answer to [`BridgeFrame::Diff`].
    Diff {
        request: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// What it keeps a mirror of has changed.
    Repositories { repositories: Vec<String> },
}

/// What the server sends to a daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum BridgeFrame {
    /// The answer to [`DaemonFrame::Hello`]: what it holds it holds still, but for what [`BridgeFrame::Lost`] names.
    Welcome {
        version: String,
        protocol: u32,
        /// Whether it gets no new work until somebody says otherwise.
        draining: bool,
    },
    /// An attempt to run, under its lease.
    Task(Box<Claim>),
    /// Every frame of the attempt up to this number is durable.
    Ack {
        task_id: Uuid,
        attempt: u32,
        epoch: u64,
        source_seq: u64,
    },
    /// The end of the attempt, or its release, is durable.
    Ended {
        task_id: Uuid,
        attempt: u32,
        epoch: u64,
    },
    /// The lease is somebody else's, or the attempt has ended: stop it, and report nothing more.
    Lost {
        task_id: Uuid,
        attempt: u32,
        epoch: u64,
    },
    /// A command for a running attempt; sent until a frame acknowledges it.
    Command(Box<Command>),
    /// Asks for the diff of a task's workspace as it is now.
    Diff {
        request: u64,
        task_id: Uuid,
    },
    Draining {
        draining: bool,
    },
    /// Another connection of the same machine took the place of this one; do not come back.
    Replaced,
    Error {
        error: String,
        code: String,
    },
}

/// A machine that runs agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    pub id: Uuid,
    pub user_id: Uuid,
    pub name: String,
    /// Version of its program, as it said last.
    pub version: String,
    pub connected: bool,
    /// Whether it gets no new work.
    pub draining: bool,
    /// Attempts that it runs at once.
    pub capacity: u32,
    /// Attempts that it holds now.
    pub running: u32,
    pub labels: Vec<String>,
    pub agents: Vec<String>,
    /// URLs of the repositories that it keeps a mirror of.
    pub repositories: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When it was last heard of.
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub last_seen_at: Timestamp,
}

/// Answer of `GET /api/machines`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MachineList {
    pub machines: Vec<Machine>,
}

/// Body of `POST /api/machines/{id}/drain`; may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Drain {
    /// `false` lets it take work again.
    #[serde(default = "yes")]
    pub draining: bool,
}

impl Default for Drain {
    fn default() -> Self {
        Self { draining: true }
    }
}

const fn yes() -> bool {
    true
}

/// A token of the API, without itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TokenInfo {
    pub id: Uuid,
    pub name: String,
    /// `tasks:read`, `tasks:write`, `daemon`, or `*` for all.
    pub scopes: Vec<String>,
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub expires_at: Option<Timestamp>,
}

/// Answer of `GET /api/tokens`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TokenList {
    pub tokens: Vec<TokenInfo>,
}

/// Body of `POST /api/tokens`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateToken {
    pub name: String,
    pub scopes: Vec<String>,
    /// Days after which it is refused; none: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_days: Option<u32>,
}

/// Answer of `POST /api/tokens`. The token itself is shown this once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CreatedToken {
    pub token: String,
    #[serde(flatten)]
    pub info: TokenInfo,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;
    use crate::EndReason;

    #[test]
    fn frames_are_read_as_they_are_written() {
        let id = Uuid::nil();
        let lease = Lease { task_id: id, attempt: 1, epoch: 2, ttl_secs: 30 };
        let frames = [
            DaemonFrame::Want,
            DaemonFrame::Release { task_id: id, attempt: 1, epoch: 2 },
            DaemonFrame::Completed {
                task_id: id,
                attempt: Some(1),
                epoch: Some(2),
                end: AttemptEnd::new(EndReason::Done, "done"),
            },
            DaemonFrame::Hello(Hello {
                id,
                name: "box".into(),
                version: "0.1.0".into(),
                protocol: BRIDGE_VERSION,
                capacity: 2,
                labels: vec!["gpu".into()],
                agents: vec!["demo".into()],
                repositories: Vec::new(),
                running: vec![Held { lease, acked: 7 }],
            }),
        ];
        for frame in frames {
            let text = serde_json::to_string(&frame).unwrap();
            assert_eq!(serde_json::from_str::<DaemonFrame>(&text).unwrap(), frame, "{text}");
        }
    }

    #[test]
    fn a_daemon_of_somebody_else_may_say_agent_id() {
        let event = json!({ "type": "event", "agentId": Uuid::nil(), "sourceSeq": 1,
            "event": { "type": "output", "text": "hello" } });
        let DaemonFrame::Event { attempt, source_seq, event, .. } = serde_json::from_value(event).unwrap() else {
            panic!("an event")
        };
        assert_eq!((attempt, source_seq, event), (None, 1, EventData::Output { text: "hello".into() }));
    }
}
