//! What a machine that is reached over HTTP takes and tells: `POST /task`, `POST /task/stream` and what follows from them.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{EndReason, PermissionMode};

/// Body of `POST /task` and `POST /task/stream`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunTask {
    /// What the agent is to do.
    #[serde(alias = "taskDescription")]
    pub task: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_url: Option<String>,
    /// A checkout on the machine itself; taken from there only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo_path: Option<String>,
    /// Branch to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Commit to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permission_mode: Option<PermissionMode>,
    /// US dollars that it may spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_usd: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// Seconds that it may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_secs: Option<u64>,
}

/// What a stream of a run tells of the run itself, beside its events ([`crate::Event`]), whose ids are their `seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum RunNotice {
    /// First in every stream.
    Run {
        /// By which the run is followed and cancelled.
        run_id: Uuid,
    },
    /// Last in every stream, and the answer to `POST /task`.
    Complete(Box<RunComplete>),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunComplete {
    pub run_id: Uuid,
    pub success: bool,
    /// The agent's last words, or what went wrong.
    pub output: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pr_url: Option<String>,
    /// Branch of the machine's own clone that has the work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_changed: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_added: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines_removed: Option<u64>,
    /// US dollars, as the agent reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn notices_are_flat_objects_with_a_type() {
        let run = RunNotice::Run { run_id: Uuid::nil() };
        let text = serde_json::to_string(&run).unwrap();
        assert_eq!(text, r#"{"type":"run","runId":"00000000-0000-0000-0000-000000000000"}"#);
        let complete =
            r#"{"type":"complete","runId":"00000000-0000-0000-0000-000000000000","success":true,"output":"Done."}"#;
        let notice: RunNotice = serde_json::from_str(complete).unwrap();
        assert!(matches!(&notice, RunNotice::Complete(end) if end.success && end.output == "Done."));
        assert_eq!(serde_json::to_string(&notice).unwrap(), complete);
    }
}
