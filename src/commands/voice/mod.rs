//! `cadence voice`: spoken instead of written.

mod devices;
mod listen;
mod models;
mod record;

use super::Context;
use crate::error::CommandResult;

/// Speak to your agents
///
/// Hold Space (or press it to begin and again to end) and say what shall be done: "fix the flaky test in user service", "pause
/// the auth one", "how is it going?". What was understood can be changed before it goes. Without a terminal one sentence is
/// recorded until a pause, and what is not clear is not done.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:
  cadence voice
  cadence voice --once --yes
  cadence voice --continuous                listens again after each answer
  cadence voice --file memo.m4a --json
  cadence voice devices"
)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    listen: listen::Args,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Devices(devices::Args),
    Record(record::Args),
    Models(models::Args),
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    match args.action {
        Some(Action::Devices(args)) => devices::run(&context, &args),
        Some(Action::Record(args)) => record::run(&context, args).await,
        Some(Action::Models(args)) => models::run(context, args).await,
        None => listen::run(context, args.listen).await,
    }
}
