//! How a run ended, and where its change is.

use std::time::Duration;

use anstyle::Style;
use cadence_protocol::{EndReason, Task, TaskStatus, WaitingFor};

use super::{BOLD, DIM, GREEN, Line, PLAIN, RED, YELLOW, markdown};
use crate::text;

/// What the end of a run shows beside the task itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// The server ends with the command: what is left is the branch alone.
    pub ephemeral: bool,
    pub width: Option<usize>,
}

/// A reason in words.
pub fn ended(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Done => "done",
        EndReason::Failed => "failed",
        EndReason::Denied => "something that the agent needed was denied",
        EndReason::Budget => "the budget is used up",
        EndReason::Turns => "the turns are used up",
        EndReason::RateLimited => "rate limited until the time ended",
        EndReason::TimedOut => "timed out",
        EndReason::Cancelled => "cancelled",
        EndReason::Auth => "the model's service refused the credentials",
        EndReason::AgentUnavailable => "the agent cannot be started",
        EndReason::Workspace => "the workspace could not be prepared",
        EndReason::Lost => "what ran it died",
    }
}

/// The status in one word, with its colour and what it waits for.
pub fn status_word(task: &Task) -> (Style, String) {
    let style = match task.status {
        TaskStatus::Pending => DIM,
        TaskStatus::Running => super::BLUE,
        TaskStatus::Waiting | TaskStatus::Paused => YELLOW,
        TaskStatus::Completed | TaskStatus::PrOpen => GREEN,
        TaskStatus::Failed => RED,
        TaskStatus::Cancelled => DIM,
    };
    let word = match (task.status, task.waiting_for, task.end_reason) {
        (TaskStatus::Waiting, Some(WaitingFor::Approval), _) => "needs approval".to_owned(),
        (TaskStatus::Waiting, Some(WaitingFor::Answer), _) => "has a question".to_owned(),
        (TaskStatus::Waiting, Some(WaitingFor::RateLimit), _) => "rate limited".to_owned(),
        (TaskStatus::PrOpen, _, _) => "pr open".to_owned(),
        (TaskStatus::Failed, _, Some(reason)) if reason != EndReason::Failed => {
            format!("failed ({})", reason.as_str().replace('_', " "))
        }
        (status, _, _) => status.as_str().to_owned(),
    };
    (style, word)
}

impl Summary {
    /// The closing lines of a run.
    pub fn lines(self, task: &Task) -> Vec<Line> {
        let mut lines = Vec::new();
        let good = matches!(task.status, TaskStatus::Completed | TaskStatus::PrOpen);
        if let Some(error) = task.error.as_deref().filter(|_| !good && task.status.is_end()) {
            let width = self.width.map(|width| width.saturating_sub(2));
            lines.extend(markdown(error, width).into_iter().take(20).map(|line| line.indent(2)));
        }
        lines.insert(0, heading(task));
        lines.extend(self.ways(task));
        lines
    }

    fn ways(self, task: &Task) -> Vec<Line> {
        let id = task.short_id();
        let row = |name: &str, value: String| Line::of(DIM, format!("  {name:<8}")).add(PLAIN, value);
        let mut lines = Vec::new();
        let changed = task.metadata.files_changed.unwrap_or(0) > 0;
        if !changed && task.status.is_end() {
            if task.status == TaskStatus::Completed {
                lines.push(Line::of(DIM, "  nothing was changed"));
            }
        } else if task.status.is_end() {
            lines.push(row("branch", task.branch.clone()));
            if self.ephemeral {
                let base = task.base_commit.as_deref().map_or("HEAD", |commit| commit.get(..12).unwrap_or(commit));
                lines.push(row("see it", format!("git diff {base} {}", task.branch)));
                lines.push(row("take it", format!("git merge {}", task.branch)));
            } else {
                lines.push(row("see it", format!("cadence tasks diff {id}")));
                let place = if task.repo_path.is_none() { "  (in a clone of the repository)" } else { "" };
                lines.push(row("take it", format!("cadence tasks apply {id}")).add(DIM, place));
            }
        }
        if !task.status.is_end() && !self.ephemeral {
            lines.push(row("follow", format!("cadence tasks logs -f {id}")));
        } else if !self.ephemeral && matches!(task.status, TaskStatus::Failed | TaskStatus::Cancelled) {
            lines.push(row("again", format!("cadence tasks restart {id}")));
        }
        lines
    }
}

fn heading(task: &Task) -> Line {
    let (style, mark) = match task.status {
        TaskStatus::Completed | TaskStatus::PrOpen => (GREEN, "✓"),
        TaskStatus::Failed => (RED, "✗"),
        _ => (YELLOW, "◦"),
    };
    let word = match (task.status, task.end_reason) {
        (TaskStatus::Completed | TaskStatus::PrOpen, _) => "Done".to_owned(),
        (TaskStatus::Failed, Some(EndReason::Failed) | None) => "Failed".to_owned(),
        (TaskStatus::Failed, Some(reason)) => format!("Failed: {}", ended(reason)),
        (status, _) => {
            let mut word = status.as_str().to_owned();
            if let Some(first) = word.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            word
        }
    };
    let mut line = Line::of(style, format!("{mark} ")).add(BOLD, word);
    let data = &task.metadata;
    if let Some(files) = data.files_changed.filter(|files| *files > 0) {
        line.push(PLAIN, format!(" · {}", text::count(files, "file")));
        line.push(GREEN, format!(" +{}", data.lines_added.unwrap_or(0)));
        line.push(RED, format!(" −{}", data.lines_removed.unwrap_or(0)));
    }
    if let Some(cost) = data.estimated_cost {
        line.push(PLAIN, format!(" · {}", text::money(cost)));
    }
    if let (Some(start), Some(end)) = (task.started_at, task.completed_at) {
        let taken = Duration::try_from(end - start).unwrap_or_default();
        line.push(PLAIN, format!(" · {}", text::duration(taken)));
    }
    line.push(DIM, format!("  {}", task.short_id()));
    line
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::super::plain;
    use super::*;

    fn task(status: &str, more: serde_json::Value) -> Task {
        let mut task = serde_json::json!({
            "id": "1a2b3c4d-0000-4000-8000-000000000000", "userId": "00000000-0000-4000-8000-000000000000",
            "taskDescription": "fix it", "repoName": "demo", "repoPath": "/home/ada/demo", "branch": "cadence/fix-it-1a2b3c4d",
            "baseBranch": "main", "baseCommit": "0123456789abcdef0123456789abcdef01234567", "status": status,
            "progress": 0, "model": "", "agent": "claude", "source": "CLI", "executor": "local",
            "permissionMode": "edits", "attempt": 1, "lastSeq": 9, "createdAt": "2026-01-01T10:00:00Z",
            "updatedAt": "2026-01-01T10:02:00Z", "startedAt": "2026-01-01T10:00:00Z",
            "completedAt": "2026-01-01T10:01:12Z"
        });
        if let (Some(task), serde_json::Value::Object(more)) = (task.as_object_mut(), more) {
            task.extend(more);
        }
        serde_json::from_value(task).unwrap()
    }

    #[test]
    fn a_change_is_there_to_see_and_take() {
        let task = task(
            "completed",
            serde_json::json!({"endReason": "done", "metadata": {"filesChanged": 3, "linesAdded": 10,
                "linesRemoved": 2, "estimatedCost": 0.42}}),
        );
        insta::assert_snapshot!(plain(&Summary::default().lines(&task)), @r#"
        ✓ Done · 3 files +10 −2 · $0.42 · 1m 12s  1a2b3c4d
          branch  cadence/fix-it-1a2b3c4d
          see it  cadence tasks diff 1a2b3c4d
          take it cadence tasks apply 1a2b3c4d
        "#);
        let elsewhere = Task { repo_path: None, ..task.clone() };
        assert!(plain(&Summary::default().lines(&elsewhere)).contains("tasks apply 1a2b3c4d  (in a clone"));
        let ephemeral = Summary { ephemeral: true, ..Summary::default() };
        insta::assert_snapshot!(plain(&ephemeral.lines(&task)), @r#"
        ✓ Done · 3 files +10 −2 · $0.42 · 1m 12s  1a2b3c4d
          branch  cadence/fix-it-1a2b3c4d
          see it  git diff 0123456789ab cadence/fix-it-1a2b3c4d
          take it git merge cadence/fix-it-1a2b3c4d
        "#);
    }

    #[test]
    fn an_end_without_change_says_so() {
        let task = task("completed", serde_json::json!({"endReason": "done"}));
        insta::assert_snapshot!(plain(&Summary::default().lines(&task)), @r#"
        ✓ Done · 1m 12s  1a2b3c4d
          nothing was changed
        "#);
    }

    #[test]
    fn a_failure_says_why() {
        let task = task(
            "failed",
            serde_json::json!({"endReason": "budget", "error": "The limit of $0.10 was reached.",
                "metadata": {"estimatedCost": 0.11}}),
        );
        insta::assert_snapshot!(plain(&Summary::default().lines(&task)), @r#"
        ✗ Failed: the budget is used up · $0.11 · 1m 12s  1a2b3c4d
          The limit of $0.10 was reached.
          again   cadence tasks restart 1a2b3c4d
        "#);
    }

    #[test]
    fn what_still_runs_can_be_followed() {
        let mut task = task("waiting", serde_json::json!({"waitingFor": "approval"}));
        task.completed_at = None;
        insta::assert_snapshot!(plain(&Summary::default().lines(&task)), @r#"
        ◦ Waiting  1a2b3c4d
          follow  cadence tasks logs -f 1a2b3c4d
        "#);
        assert_eq!(status_word(&task).1, "needs approval");
    }
}
