//! `cadence tasks rm`.

use serde_json::json;

use super::Context;
use crate::client::Client;
use crate::complete;
use crate::error::{CommandResult, Exit};
use crate::render::{DIM, Line, PLAIN};

/// Remove tasks with their workspaces and branches
///
/// A task whose branch holds commits that are found nowhere else is kept, unless --force is given.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cadence tasks rm 1a2b\n  cadence tasks rm --force last")]
pub struct Args {
    /// First digits of their ids, or `last`
    #[arg(value_name = "ID", required = true, add = complete::task_ids())]
    ids: Vec<String>,
    /// Remove it although its commits are found nowhere else
    #[arg(long)]
    force: bool,
}

pub async fn run(context: &Context, client: &Client, args: Args) -> CommandResult {
    let rest = client.rest()?;
    let tasks = rest.select_all(&args.ids).await?;
    let mut removed = Vec::new();
    let mut result = Ok(Exit::Done);
    for task in &tasks {
        if let Err(error) = rest.remove(task.id, args.force).await {
            result = Err(error);
            break;
        }
        removed.push(task.id);
        if !context.json {
            let line = Line::of(PLAIN, format!("{} is removed", task.short_id()));
            context.terminal.print(&[line.add(DIM, format!("  {}", task.title(60)))])?;
        }
    }
    if context.json {
        context.terminal.json(&json!({ "removed": removed }))?;
    }
    result
}
