//! What the stories of the storage share.
#![allow(dead_code, reason = "each file of stories uses a part of it")]

use cadence_protocol::{Executor, Frame, FrameBody, PermissionMode, TaskSourceKind, Timestamp};
use cadence_server::store::{NewTask, TaskSpec};
use uuid::Uuid;

/// A task as a user hands it in.
pub fn new_task(user_id: Uuid, description: &str) -> NewTask {
    NewTask {
        id: Uuid::new_v4(),
        user_id,
        user_name: "ann".into(),
        description: description.into(),
        repo_url: None,
        repo_name: "app".into(),
        repo_path: Some("/nonexistent/app".into()),
        branch: "cadence/x".into(),
        base_branch: "main".into(),
        base_commit: None,
        model: String::new(),
        agent: "demo".into(),
        source: TaskSourceKind::Cli,
        executor: Executor::Local,
        labels: vec!["a".into()],
        permission_mode: PermissionMode::Edits,
        spec: TaskSpec { budget_usd: Some(1.0), ..TaskSpec::default() },
    }
}

/// What a runner reports, now.
pub fn frame(source_seq: u64, body: FrameBody) -> Frame {
    Frame { source_seq, timestamp: Timestamp::now_utc(), body }
}
