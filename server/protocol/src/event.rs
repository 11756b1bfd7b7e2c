use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::task::wire_enum;
use crate::{Decide, EndReason, TaskStatus, Timestamp};

/// A stored event of a task. `seq` counts 1, 2, 3 … per task without a gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The same as `data.type`.
    #[serde(rename = "type")]
    pub kind: String,
    pub task_id: Uuid,
    /// The attempt that it belongs to.
    pub attempt: u32,
    pub seq: u64,
    #[serde(with = "time::serde::rfc3339")]
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub timestamp: Timestamp,
    pub data: EventData,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum EventData {
    TaskStarted {
        message: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        model: Option<String>,
    },
    ToolUse {
        tool: String,
        input: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tool_use_id: Option<String>,
    },
    FileEdit {
        /// Relative to the repository.
        path: String,
        action: EditAction,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lines_changed: Option<u64>,
        /// Unified diff of this edit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
    },
    CommandRun {
        command: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    Output {
        text: String,
    },
    Error {
        message: String,
        recoverable: bool,
    },
    /// The end of an attempt; exactly one for each.
    TaskCompleted {
        success: bool,
        summary: String,
        reason: EndReason,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pr_url: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_usd: Option<f64>,
    },
    StatusChanged {
        from: TaskStatus,
        to: TaskStatus,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    ApprovalRequested {
        approval_id: String,
        kind: ApprovalKind,
        tool: String,
        input: Value,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        suggestions: Option<Value>,
    },
    ApprovalResolved {
        approval_id: String,
        decision: Decision,
        by: String,
        /// What exactly was answered; absent where it was withdrawn.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answer: Option<Box<Decide>>,
    },
    /// A follow-up that the agent was given.
    Message {
        text: String,
        from: String,
    },
    Progress {
        percent: u8,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    PullRequest {
        action: String,
        number: u64,
        url: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    Ci {
        name: String,
        conclusion: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
    /// Of a newer version: passed over.
    #[serde(other)]
    Unknown,
}

impl EventData {
    /// The word on the wire.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TaskStarted { .. } => "task_started",
            Self::ToolUse { .. } => "tool_use",
            Self::FileEdit { .. } => "file_edit",
            Self::CommandRun { .. } => "command_run",
            Self::Output { .. } => "output",
            Self::Error { .. } => "error",
            Self::TaskCompleted { .. } => "task_completed",
            Self::StatusChanged { .. } => "status_changed",
            Self::ApprovalRequested { .. } => "approval_requested",
            Self::ApprovalResolved { .. } => "approval_resolved",
            Self::Message { .. } => "message",
            Self::Progress { .. } => "progress",
            Self::PullRequest { .. } => "pull_request",
            Self::Ci { .. } => "ci",
            Self::Unknown => "unknown",
        }
    }
}

wire_enum! {
    EditAction, "snake_case" { Create = "create", Edit = "edit", Delete = "delete" }
}

wire_enum! {
    /// Whether a tool wants permission or the agent asks something.
    ApprovalKind, "snake_case" { Permission = "permission", Question = "question" }
}

wire_enum! {
    /// What became of an approval.
    Decision, "snake_case" {
        Allow = "allow",
        Deny = "deny",
        /// The agent took its request back, or died.
        Withdrawn = "withdrawn",
    }
}
