//! `cadence tasks pause`, `cancel`, `restart`, `archive`, `unarchive`: one word said to some tasks.

use std::time::Duration;

use cadence_protocol::{Task, TaskStatus};
use tokio::time::Instant;

use super::Context;
use crate::client::Client;
use crate::complete;
use crate::error::{CommandError, CommandResult, Exit};
use crate::follow;
use crate::render::{Line, PLAIN, RED};

/// How long the end of cancelled tasks is waited for.
const CANCEL: Duration = Duration::from_secs(20);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// First digits of their ids, or `last`
    #[arg(value_name = "ID", required = true, add = complete::task_ids())]
    ids: Vec<String>,
}

/// The word that is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Pause,
    Cancel,
    Restart,
    Archive,
    Unarchive,
}

pub async fn run(context: &Context, client: &Client, args: Args, what: What) -> CommandResult {
    let rest = client.rest()?;
    // All of them are found before anything is done to one.
    let tasks = rest.select_all(&args.ids).await?;
    let mut done = Vec::with_capacity(tasks.len());
    let mut failed: Option<CommandError> = None;
    for task in tasks {
        let result = match what {
            What::Pause => rest.pause(task.id).await,
            What::Cancel => rest.cancel(task.id).await.map(|cancelled| cancelled.task),
            What::Restart => rest.restart(task.id).await,
            What::Archive => rest.archive(task.id).await,
            What::Unarchive => rest.unarchive(task.id).await,
        };
        match result {
            Ok(task) => done.push(task),
            Err(error) => {
                if let Some(before) = failed.replace(error) {
                    context.terminal.note(&[Line::of(RED.bold(), "error: ").add(PLAIN, before.message())]);
                }
            }
        }
    }
    if what == What::Cancel && !done.is_empty() {
        // What a task did is on its branch, and it can be removed, only when it has ended.
        done = follow::wait(client, done, false, Some(Instant::now() + CANCEL), |_| {}).await?;
    }
    if !done.is_empty() || failed.is_none() {
        super::report_each(context, &done, |task| words(what, task))?;
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(Exit::Done),
    }
}

/// What became of a task. A cancelled one may be slow to end, and one that was done already stays done.
fn words(what: What, task: &Task) -> String {
    match what {
        What::Pause => "pauses".to_owned(),
        What::Cancel if !task.status.is_end() => "is being cancelled".to_owned(),
        What::Cancel if task.status == TaskStatus::Cancelled => "is cancelled".to_owned(),
        What::Cancel => format!("has ended before: {}", crate::render::status_word(task).1),
        What::Restart => "starts again".to_owned(),
        What::Archive => "is archived".to_owned(),
        What::Unarchive => "is back in the lists".to_owned(),
    }
}
