//! `cadence tasks send`.

use super::Context;
use crate::client::Client;
use crate::commands::run::description;
use crate::complete;
use crate::error::CommandResult;

/// Tell the agent something more
///
/// A running agent gets it at the next boundary of its work, a paused one goes on with it, and one that has ended starts
/// again in the same workspace and session.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence tasks send last \"also update the docs\"
  cadence tasks send -f 1a2b - < review.txt")]
pub struct Args {
    /// First digits of its id, or `last`
    #[arg(value_name = "ID", add = complete::task_ids())]
    id: String,
    /// What to tell it; `-` reads it from standard input
    text: String,
    /// Follow it from here to its end
    #[arg(long, short)]
    follow: bool,
}

pub async fn run(context: &Context, client: &Client, args: Args) -> CommandResult {
    let text = description(&args.text)?;
    let rest = client.rest()?;
    let before = rest.select(&args.id).await?;
    let task = rest.send(before.id, text).await?;
    super::follow_or_report(context, client, task, before.last_seq, args.follow, "was told").await
}
