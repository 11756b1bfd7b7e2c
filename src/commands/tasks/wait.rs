//! `cadence tasks wait`.

use std::collections::HashSet;
use std::time::Duration;

use cadence_protocol::{Task, TaskStatus, WaitingFor};
use serde_json::json;
use tokio::time::Instant;

use super::Context;
use crate::client::Client;
use crate::complete;
use crate::error::{CommandError, CommandResult, Exit};
use crate::follow::{self, Told};
use crate::render::{DIM, Line, PLAIN, YELLOW, status_word};
use crate::text;

/// Wait until tasks have ended
///
/// Ends with the worst code of all: 0 when all are done or have an open pull request. With --timeout, a task that then
/// waits for an answer is 6, one that is rate limited 8, any other 9. A server that goes away is waited for, until the time
/// of --timeout, or for two minutes: then the code is 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence tasks wait 1a2b 3c4d && cadence tasks apply 1a2b
  cadence tasks wait last --timeout 30m
  cadence tasks wait 1a2b 3c4d --any")]
pub struct Args {
    /// First digits of their ids, or `last`
    #[arg(value_name = "ID", required = true, add = complete::task_ids())]
    ids: Vec<String>,
    /// At most so long, like 30s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = text::parse_duration)]
    timeout: Option<Duration>,
    /// Until one of them has ended; its code is the command's
    #[arg(long)]
    any: bool,
}

pub async fn run(context: &Context, client: &Client, args: Args) -> CommandResult {
    let tasks = client.rest()?.select_all(&args.ids).await?;
    let deadline = match args.timeout {
        Some(timeout) => Some(
            Instant::now()
                .checked_add(timeout)
                .ok_or_else(|| CommandError::usage("the time of --timeout is too long"))?,
        ),
        None => None,
    };
    let mut told = HashSet::new();
    let note = |text: String| context.terminal.note(&[Line::of(YELLOW, "! ").add(PLAIN, text)]);
    let tasks = follow::wait(client, tasks, args.any, deadline, |tells| match tells {
        Told::Waiting(task) => {
            let needs = matches!(task.waiting_for, Some(WaitingFor::Approval | WaitingFor::Answer));
            if needs && told.insert((task.id, task.last_seq)) {
                note(format!("task {} needs input: cadence approvals ls", task.short_id()));
            }
        }
        Told::Lost { reason } => note(format!("connection lost ({reason}), trying again")),
        Told::Back => note("connected again".to_owned()),
        Told::Storage(lines) => context.terminal.note(&lines),
    })
    .await?;
    let exit = exit(&tasks, args.any);
    if context.json {
        context.terminal.json(&json!({ "tasks": tasks, "exitCode": exit.code() }))?;
    } else {
        let lines: Vec<Line> = tasks
            .iter()
            .map(|task| {
                let (style, word) = status_word(task);
                Line::of(PLAIN, format!("{}  ", task.short_id()))
                    .add(style, word)
                    .add(DIM, format!("  {}", task.title(60)))
            })
            .collect();
        context.terminal.print(&lines)?;
    }
    Ok(exit)
}

/// The code of all tasks together. With `any`, of those that have ended, where one has.
fn exit(tasks: &[Task], any: bool) -> Exit {
    let ended = tasks.iter().any(|task| task.status.is_end());
    tasks
        .iter()
        .filter(|task| !(any && ended) || task.status.is_end())
        .map(|task| match (task.status, task.waiting_for) {
            (status, _) if status.is_end() => Exit::of_task(task),
            (TaskStatus::Waiting, Some(WaitingFor::RateLimit)) => Exit::RateLimited,
            (TaskStatus::Waiting, _) => Exit::InputNeeded,
            _ => Exit::TimedOut,
        })
        .fold(Exit::Done, Exit::worst)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn task(status: &str, more: serde_json::Value) -> Task {
        let mut value = json!({
            "id": uuid::Uuid::new_v4(), "userId": uuid::Uuid::nil(), "taskDescription": "x", "repoName": "app",
            "branch": "b", "baseBranch": "main", "status": status, "progress": 0, "model": "", "agent": "demo",
            "source": "CLI", "executor": "local", "permissionMode": "edits", "attempt": 1, "lastSeq": 1,
            "createdAt": "2026-01-01T10:00:00Z", "updatedAt": "2026-01-01T10:00:00Z"
        });
        value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_worst_code_counts() {
        let done = || task("completed", json!({"endReason": "done"}));
        let open = || task("pr_open", json!({"endReason": "done"}));
        let budget = || task("failed", json!({"endReason": "budget"}));
        let asks = || task("waiting", json!({"waitingFor": "approval"}));
        let limited = || task("waiting", json!({"waitingFor": "rate_limit"}));
        let runs = || task("running", json!({}));
        assert_eq!(exit(&[done(), open()], false), Exit::Done);
        assert_eq!(exit(&[done(), budget()], false), Exit::Budget);
        assert_eq!(exit(&[done(), asks()], false), Exit::InputNeeded);
        assert_eq!(exit(&[limited()], false), Exit::RateLimited);
        assert_eq!(exit(&[runs(), done()], false), Exit::TimedOut);
        assert_eq!(exit(&[runs(), done()], true), Exit::Done);
        assert_eq!(exit(&[runs(), asks()], true), Exit::TimedOut);
    }
}
