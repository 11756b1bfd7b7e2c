use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::task::wire_enum;
use crate::{
    BundleSource, Decision, EventData, MonthBudget, PermissionMode, Sandbox, SandboxMode, Task, Timestamp, WaitingFor,
};

wire_enum! {
    /// Why an attempt ended.
    EndReason, "snake_case" {
        Done = "done",
        Failed = "failed",
        /// A tool that the agent wanted was denied.
        Denied = "denied",
        /// The money that it was allowed to spend is spent.
        Budget = "budget",
        /// The turns that it was allowed are taken.
        Turns = "turns",
        /// Its time ended while the model's service refused it for its rate.
        RateLimited = "rate_limited",
        TimedOut = "timed_out",
        Cancelled = "cancelled",
        /// The model's service refused the credentials.
        Auth = "auth",
        /// The agent's program is not installed, or does not start.
        AgentUnavailable = "agent_unavailable",
        /// The repository could not be prepared, or its set-up command failed.
        Workspace = "workspace",
        /// What ran it died, and it could not be continued.
        Lost = "lost",
    }
}

/// How an attempt ended. Each attempt has exactly one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptEnd {
    pub reason: EndReason,
    /// The agent's last words, or what went wrong.
    pub summary: String,
    pub changes: Option<Changes>,
}

impl AttemptEnd {
    pub fn new(reason: EndReason, summary: impl Into<String>) -> Self {
        Self { reason, summary: summary.into(), changes: None }
    }
}

/// Size of a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Changes {
    pub files: u64,
    pub added: u64,
    pub removed: u64,
}

/// Money and tokens that an attempt has used so far (not since the last report).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    pub cost_usd: f64,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// An attempt handed to a runner under a lease.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    pub task: Task,
    pub lease: Lease,
    pub spec: AttemptSpec,
    /// Session of the agent to go on with, where there is one.
    pub session_id: Option<String>,
    /// Whether that session is this attempt's own, so that the agent knows what it was asked.
    pub begun: bool,
    /// Session that an agent was to begin when what ran the attempt died, where it is not known whether it did.
    pub launched: Option<String>,
    /// Whether the attempt already ran and what ran it died.
    pub recovered: bool,
    /// Number of the last frame that the server has of this attempt.
    pub last_source_seq: u64,
    /// Money and tokens that this attempt had used before.
    pub usage: Usage,
    /// Milliseconds that it had worked before, pauses left out: they count towards its timeout.
    pub worked_ms: u64,
}

/// The right to report for an attempt, until it expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    pub task_id: Uuid,
    pub attempt: u32,
    /// Fencing number: a newer lease of the same attempt has a larger one.
    pub epoch: u64,
    /// Seconds from one heartbeat to the expiry.
    pub ttl_secs: u32,
}

/// What the agent is asked to do, and within which bounds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptSpec {
    pub prompt: String,
    pub permission_mode: PermissionMode,
    /// What was asked for; absent: as whoever runs it is set.
    #[serde(default)]
    pub sandbox: Option<SandboxMode>,
    /// US dollars that the task may still spend, less than nothing where it spent more than it might; `None` for no bound.
    pub budget_usd: Option<f64>,
    /// The month of the user, as it was when the attempt was handed out; `None` for no bound.
    #[serde(default)]
    pub month: Option<MonthBudget>,
    pub max_turns: Option<u32>,
    pub timeout_secs: Option<u64>,
    /// Variables that the task brought, beside those that the service has. They may hold secrets.
    pub environment: BTreeMap<String, String>,
    /// Has the commit that the task starts from, where the repository's URL may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<BundleSource>,
}

impl Default for PermissionMode {
    /// Edits inside the workspace are the work itself; everything else asks.
    fn default() -> Self {
        Self::Edits
    }
}

/// One report of a runner. `sourceSeq` counts from 1 for each attempt, so that a repeat is seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frame {
    pub source_seq: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub timestamp: Timestamp,
    pub body: FrameBody,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum FrameBody {
    /// To be numbered and stored.
    Event {
        event: EventData,
    },
    /// The attempt's state changed; the server stores a `status_changed` with it.
    State {
        state: LiveState,
        waiting_for: Option<WaitingFor>,
        resume_at: Option<String>,
        reason: Option<String>,
    },
    /// An agent is about to be started with a session of this id, which may come to be without anyone being told.
    Launch {
        session_id: String,
    },
    /// The agent's session, by which it can be continued.
    Session {
        session_id: String,
        model: Option<String>,
    },
    Usage {
        usage: Usage,
    },
    /// A command was carried out; it is not delivered again.
    Ack {
        command: Uuid,
    },
    /// Where the work is and what it starts from.
    Workspace {
        base_commit: String,
        base_branch: String,
        branch: String,
    },
    /// Under what the agent runs from now on.
    Sandbox {
        sandbox: Sandbox,
    },
}

wire_enum! {
    /// State of an attempt that has not ended.
    LiveState, "snake_case" { Running = "running", Waiting = "waiting", Paused = "paused" }
}

/// An order for a running attempt: stored, delivered to whoever holds the lease, acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    pub id: Uuid,
    pub task_id: Uuid,
    pub attempt: u32,
    pub body: CommandBody,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum CommandBody {
    Pause,
    /// Go on, with a message where there is one.
    Resume {
        text: Option<String>,
    },
    Message {
        text: String,
        from: String,
    },
    Approval {
        approval_id: String,
        decision: Decision,
        /// Allow every request of this kind in this attempt's session.
        always: bool,
        updated_input: Option<Value>,
        answers: Option<BTreeMap<String, String>>,
        message: Option<String>,
        by: String,
    },
    Cancel {
        reason: String,
    },
    /// End for this reason, which nobody chose: a limit of the server was reached.
    Stop {
        reason: EndReason,
        summary: String,
    },
}
