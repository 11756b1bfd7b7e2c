//! What the stories of the storage share.
#![allow(dead_code, reason = "each file of stories uses a part of it")]

use cadence_protocol::{Frame, FrameBody, Timestamp};
use cadence_server::store::{NewTask, TaskSpec};
use uuid::Uuid;

/// A task as a user hands it in.
pub fn new_task(user_id: Uuid, description: &str) -> NewTask {
    NewTask {
        repo_path: Some("/nonexistent/app".into()),
        base_branch: "main".into(),
        labels: vec!["a".into()],
        spec: TaskSpec { budget_usd: Some(1.0), ..TaskSpec::default() },
        ..NewTask::new((user_id, "ann"), "demo", "app", description.into())
    }
}

/// What a runner reports, now.
pub fn frame(source_seq: u64, body: FrameBody) -> Frame {
    Frame { source_seq, timestamp: Timestamp::now_utc(), body }
}
