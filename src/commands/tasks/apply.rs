//! `cadence tasks apply`.

use std::path::{Path, PathBuf};

use cadence_agent::workspace::{Applied, ApplyMode};
use cadence_protocol::Task;
use serde_json::json;

use super::Context;
use crate::apply;
use crate::client::Client;
use crate::complete;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{DIM, GREEN, Line, PLAIN};

/// Take a task's change into the checkout
///
/// Merges the task's branch into the branch that is checked out, or with --squash stages the whole change to be committed
/// by you. A conflict is explained, and the checkout left as it was. The branch of a task that was given a URL is first
/// fetched into the checkout.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence tasks apply last
  cadence tasks apply --squash 1a2b && git commit")]
pub struct Args {
    /// First digits of its id, or `last`
    #[arg(value_name = "ID", add = complete::task_ids())]
    id: String,
    /// Stage the change as a whole, without its commits
    #[arg(long)]
    squash: bool,
    /// Checkout to take it into [default: the one of the current directory, if it is of the task's repository]
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::DirPath)]
    repo: Option<PathBuf>,
}

pub async fn run(context: &Context, client: &Client, args: Args) -> CommandResult {
    let task = client.rest()?.select(&args.id).await?;
    let mode = if args.squash { ApplyMode::Squash } else { ApplyMode::Merge };
    let Some((checkout, applied)) = apply::apply(&context.settings.data_dir, client, &task, args.repo, mode).await?
    else {
        return nothing(context, &task).map(|()| Exit::Done);
    };
    report(context, &task, &checkout, &applied)?;
    Ok(Exit::Done)
}

/// There is no branch where nothing was changed; scripts that wait and apply need not care.
fn nothing(context: &Context, task: &Task) -> Result<(), CommandError> {
    if context.json {
        let (id, branch) = (task.id, &task.branch);
        return context.terminal.json(&json!({ "id": id, "branch": branch, "result": "up_to_date", "files": 0 }));
    }
    context.terminal.print(&[Line::of(GREEN, "✓ ").add(PLAIN, "the task changed nothing, so there is nothing to take")])
}

fn report(context: &Context, task: &Task, checkout: &Path, applied: &Applied) -> Result<(), CommandError> {
    let (result, files, commit) = match applied {
        Applied::UpToDate => ("up_to_date", 0, None),
        Applied::Merged { commit, files } => ("merged", *files, Some(commit)),
        Applied::Squashed { files } => ("squashed", *files, None),
        Applied::Patched { files } => ("patched", *files, None),
    };
    if context.json {
        return context.terminal.json(&json!({
            "id": task.id, "branch": task.branch, "checkout": checkout, "result": result, "files": files, "commit": commit,
        }));
    }
    let what = apply::words(applied);
    let line = Line::of(GREEN, "✓ ").add(PLAIN, what).add(DIM, format!("  {}", task.branch));
    context.terminal.print(&[line])
}
