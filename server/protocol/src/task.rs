use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{EndReason, Sandbox, Timestamp};

/// The work of one agent, from the request to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Task {
    pub id: Uuid,
    pub user_id: Uuid,
    /// What was asked for, as it was written or said.
    pub task_description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_url: Option<String>,
    /// Short name of the repository for people.
    pub repo_name: String,
    /// Checkout on the server's own machine that the task works for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_path: Option<String>,
    /// Branch that the agent works on, `cadence/<slug>-<short id>`.
    pub branch: String,
    /// Branch that the work starts from; empty where the checkout was on no branch.
    pub base_branch: String,
    /// Commit that the work starts from, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_commit: Option<String>,
    pub status: TaskStatus,
    /// Steps done over all steps of the agent's own list, in percent; 100 only at success.
    pub progress: u8,
    /// Model that was asked for; empty leaves the choice to the agent.
    pub model: String,
    pub agent: String,
    pub source: TaskSourceKind,
    /// Where it runs, or ran last; before its first attempt was taken, where it was asked to run, or `local`.
    pub executor: Executor,
    #[serde(default)]
    pub labels: Vec<String>,
    pub permission_mode: PermissionMode,
    /// What keeps the newest attempt apart from the rest of the machine; absent before it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Sandbox>,
    /// The machine that runs it, or ran it last; absent where that is the server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<Uuid>,
    /// Why nobody can take it now, in a sentence; absent while it waits for its turn only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_reason: Option<String>,
    /// What the agent said at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Why the newest attempt ended; absent while one is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_reason: Option<EndReason>,
    #[serde(default)]
    pub metadata: TaskMetadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pr_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pr_number: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pr_state: Option<PrState>,
    /// Number of the newest attempt, from 1.
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub resume_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<WaitingFor>,
    /// Number of the newest stored event.
    pub last_seq: u64,
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub updated_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub completed_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "time::serde::rfc3339::option")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub archived_at: Option<Timestamp>,
}

impl Task {
    /// First line of the description, cut to `max` characters: what lists show.
    pub fn title(&self, max: usize) -> String {
        let line = self.task_description.lines().find(|l| !l.trim().is_empty()).unwrap_or_default().trim();
        if line.chars().count() <= max {
            return line.to_owned();
        }
        let mut short: String = line.chars().take(max.saturating_sub(1)).collect();
        short.push('…');
        short
    }

    /// What people type for the id, see [`short_id`].
    pub fn short_id(&self) -> String {
        short_id(self.id)
    }
}

/// The part of an id that people see and type: its first eight hexadecimal digits (ids of tasks are random, UUID v4).
pub fn short_id(id: Uuid) -> String {
    id.simple().to_string()[..8].to_owned()
}

/// What is known of a task's work and cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskMetadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_changed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_added: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_removed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pr_url: Option<String>,
    /// US dollars over all attempts, as the agents reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_cost: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
}

macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident, $case:literal { $($(#[$vmeta:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(rename_all = $case)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $text)] $variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                Self::ALL.iter().copied().find(|v| v.as_str() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|v| v.as_str()).collect();
                    format!("`{text}` is none of {}", known.join(", "))
                })
            }
        }
    };
}
pub(crate) use wire_enum;

wire_enum! {
    /// Derived from the newest attempt and the pull request.
    TaskStatus, "snake_case" {
        /// No attempt has been claimed yet.
        Pending = "pending",
        Running = "running",
        /// An approval or an answer is needed, or a rate limit has to pass.
        Waiting = "waiting",
        Paused = "paused",
        PrOpen = "pr_open",
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
    }
}

impl TaskStatus {
    /// Whether no attempt is live any more.
    pub const fn is_end(self) -> bool {
        matches!(self, Self::PrOpen | Self::Completed | Self::Failed | Self::Cancelled)
    }
}

wire_enum! {
    /// Where a task came from.
    TaskSourceKind, "SCREAMING_SNAKE_CASE" {
        Cli = "CLI",
        Tui = "TUI",
        Voice = "VOICE",
        Api = "API",
        Web = "WEB",
        MobileApp = "MOBILE_APP",
        Github = "GITHUB",
        Linear = "LINEAR",
        Slack = "SLACK",
    }
}

wire_enum! {
    /// Where the agent runs.
    Executor, "snake_case" { Local = "local", Daemon = "daemon", Sse = "sse", Fly = "fly" }
}

wire_enum! {
    /// What the agent may do without asking.
    PermissionMode, "snake_case" {
        /// Reads only.
        Ask = "ask",
        /// Reads, and edits inside the workspace.
        Edits = "edits",
        /// Everything; each request is answered with allow.
        All = "all",
    }
}

wire_enum! {
    PrState, "snake_case" { Open = "open", Merged = "merged", Closed = "closed" }
}

wire_enum! {
    /// What a waiting task waits for.
    WaitingFor, "snake_case" { Approval = "approval", Answer = "answer", RateLimit = "rate_limit" }
}
