//! `cadence voice`: the microphone.

mod devices;
mod record;

use super::Context;
use crate::error::CommandResult;

/// Look for microphones, and try one
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Devices(devices::Args),
    Record(record::Args),
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    match args.action {
        Action::Devices(args) => devices::run(&context, &args),
        Action::Record(args) => record::run(&context, args).await,
    }
}
