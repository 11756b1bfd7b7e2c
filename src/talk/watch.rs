//! What becomes of tasks, told in one sentence each, once.

use std::collections::HashMap;

use cadence_protocol::{Task, TaskStatus, WaitingFor};
use uuid::Uuid;

/// Longest title that is said, in characters.
const TITLE: usize = 48;

/// How tasks were when they were last looked at.
#[derive(Debug, Default)]
pub struct Watch {
    known: HashMap<Uuid, (TaskStatus, Option<WaitingFor>, u32)>,
    looked: bool,
}

impl Watch {
    /// What is to be said now. The first time nothing is: what was so before is no news.
    pub fn news(&mut self, tasks: &[Task]) -> Vec<String> {
        let mut said = Vec::new();
        for task in tasks {
            let now = (task.status, task.waiting_for, task.attempt);
            let before = self.known.insert(task.id, now);
            if self.looked && before != Some(now) {
                said.extend(sentence(task));
            }
        }
        self.looked = true;
        said
    }

    /// How a task is now; gives what is to be said of it, where that is news.
    pub fn changed(&mut self, task: &Task, news: bool) -> Option<String> {
        let now = (task.status, task.waiting_for, task.attempt);
        let before = self.known.insert(task.id, now);
        (before != Some(now) && (news || before.is_some())).then(|| sentence(task)).flatten()
    }

    /// A task that was begun here: what becomes of it is news.
    pub fn begun(&mut self, task: &Task) {
        self.known.entry(task.id).or_insert((TaskStatus::Pending, None, task.attempt));
    }
}

fn sentence(task: &Task) -> Option<String> {
    let name = task.title(TITLE);
    Some(match task.status {
        TaskStatus::Completed => match task.metadata.files_changed {
            Some(1) => format!("{name} is done: one file changed."),
            Some(files @ 2..) => format!("{name} is done: {files} files changed."),
            _ => format!("{name} is done: nothing changed."),
        },
        TaskStatus::PrOpen => format!("{name} has a pull request open."),
        TaskStatus::Failed => format!("{name} has failed."),
        TaskStatus::Waiting => match task.waiting_for {
            Some(WaitingFor::Answer) => format!("{name} has a question for you."),
            Some(WaitingFor::RateLimit) => return None,
            _ => format!("{name} needs your approval."),
        },
        TaskStatus::Cancelled | TaskStatus::Pending | TaskStatus::Running | TaskStatus::Paused => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cadence_protocol::TaskMetadata;

    use super::*;

    fn task(status: &str) -> Task {
        serde_json::from_value(serde_json::json!({
            "id": Uuid::new_v4(), "userId": Uuid::nil(), "taskDescription": "x", "repoName": "demo", "branch": "b",
            "baseBranch": "main", "status": status, "progress": 0, "model": "", "agent": "demo", "source": "CLI",
            "executor": "local", "permissionMode": "edits", "attempt": 1, "lastSeq": 1,
            "createdAt": "2026-01-01T10:00:00Z", "updatedAt": "2026-01-01T10:00:00Z"
        }))
        .unwrap()
    }

    #[test]
    fn each_thing_is_said_once() {
        let mut watch = Watch::default();
        let mut one = task("running");
        one.task_description = "Fix the login".into();
        assert!(watch.news(std::slice::from_ref(&one)).is_empty());
        (one.status, one.waiting_for) = (TaskStatus::Waiting, Some(WaitingFor::Approval));
        assert_eq!(watch.news(std::slice::from_ref(&one)), ["Fix the login needs your approval."]);
        assert!(watch.news(std::slice::from_ref(&one)).is_empty());
        (one.status, one.waiting_for) = (TaskStatus::Running, None);
        assert!(watch.news(std::slice::from_ref(&one)).is_empty());
        one.status = TaskStatus::Completed;
        one.metadata = TaskMetadata { files_changed: Some(3), ..TaskMetadata::default() };
        assert_eq!(watch.news(std::slice::from_ref(&one)), ["Fix the login is done: 3 files changed."]);
        // Again, with a follow-up.
        one.attempt = 2;
        assert_eq!(watch.news(std::slice::from_ref(&one)).len(), 1);
    }

    #[test]
    fn what_was_so_before_is_no_news_but_what_was_begun_here_is() {
        let mut watch = Watch::default();
        let done = task("completed");
        let quick = task("failed");
        watch.begun(&quick);
        assert!(watch.news(&[done.clone(), quick.clone()]).is_empty(), "it was not looked at before");
        let mut next = task("failed");
        next.id = Uuid::from_u128(9);
        watch.begun(&next);
        assert_eq!(watch.news(&[done, quick, next]).len(), 1);
    }
}
