//! `cadence tasks resume`.

use super::Context;
use crate::client::Client;
use crate::complete;
use crate::error::CommandResult;

/// Let a paused task go on
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cadence tasks resume last\n  cadence tasks resume -f 1a2b \"but leave the API alone\""
)]
pub struct Args {
    /// First digits of its id, or `last`
    #[arg(value_name = "ID", add = complete::task_ids())]
    id: String,
    /// What the agent is told
    text: Option<String>,
    /// Follow it from here to its end
    #[arg(long, short)]
    follow: bool,
}

pub async fn run(context: &Context, client: &Client, args: Args) -> CommandResult {
    let rest = client.rest()?;
    let before = rest.select(&args.id).await?;
    let task = rest.resume(before.id, args.text).await?;
    super::follow_or_report(context, client, task, before.last_seq, args.follow, "goes on").await
}
