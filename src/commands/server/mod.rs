//! `cadence server`: the user's own server and its data.

mod backup;
mod logs;
mod prune;
mod restore;
mod status;
mod stop;

use std::path::Path;

use super::Context;
use crate::error::CommandResult;

/// Look at the server that is started on demand, stop it, and look after its data
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

impl Args {
    /// The data directory that is named.
    pub fn data_dir(&self) -> Option<&Path> {
        match &self.action {
            Action::Backup(args) => args.data_dir.as_deref(),
            Action::Restore(args) => args.data_dir.as_deref(),
            _ => None,
        }
    }
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say whether it runs, where and since when; code 3 where it does not
    #[command(after_help = "Example:\n  cadence server status --json")]
    Status,
    /// End it; what runs is continued by the next one
    #[command(after_help = "Example:\n  cadence server stop")]
    Stop,
    Logs(logs::Args),
    Backup(backup::Args),
    Restore(restore::Args),
    Prune(prune::Args),
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    match args.action {
        Action::Status => status::run(&context).await,
        Action::Stop => stop::run(&context).await,
        Action::Logs(args) => logs::run(&context, &args).await,
        Action::Backup(args) => backup::run(&context, &args).await,
        Action::Restore(args) => restore::run(&context, &args).await,
        Action::Prune(args) => prune::run(&context, &args).await,
    }
}
