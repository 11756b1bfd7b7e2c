//! `cadence tasks pause`, `cancel`, `restart`, `archive`, `unarchive`: one word said to some tasks.

use super::Context;
use crate::client::Client;
use crate::complete;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{Line, PLAIN, RED};

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
    let words = match what {
        What::Pause => "pauses",
        What::Cancel => "is cancelled",
        What::Restart => "starts again",
        What::Archive => "is archived",
        What::Unarchive => "is back in the lists",
    };
    if !done.is_empty() || failed.is_none() {
        super::report(context, &done, words)?;
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(Exit::Done),
    }
}
