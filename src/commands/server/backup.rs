//! `cadence server backup`.

use std::path::PathBuf;

use cadence_server::backup::{BackupError, back_up};
use serde_json::json;

use super::super::Context;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{DIM, GREEN, Line, PLAIN};
use crate::terminal::Screen;
use crate::text;

/// Copy its database to a file, also while it works
///
/// The copy is one moment of the database, checked to its last page, in place at once or not at all, and readable by you
/// alone: it holds what tasks brought for their agents, keys among it. It holds tasks, events and approvals. Finished work is
/// on branches of your repositories; what an agent has not committed yet is in its workspace, below the data directory, and
/// in no backup.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence server backup ~/cadence.db
  cadence server backup --force /backup/cadence.db --json
  cadence server backup /backup/team.db --data-dir /srv/cadence")]
pub struct Args {
    /// File to write
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// Data of another server than the one that is started on demand
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(super) data_dir: Option<PathBuf>,
}

pub async fn run(context: &Context, args: &Args) -> CommandResult {
    let mut screen = Screen::new(context.terminal);
    let done = back_up(&context.settings.data_dir, &args.file, args.force, |written, whole| {
        if context.terminal.status {
            screen.status(&format!("{} of about {}", text::bytes(written), text::bytes(whole)));
        }
    })
    .await;
    screen.clear_status();
    let content = done.map_err(failed)?;
    if context.json {
        context.terminal.json(&json!({ "file": std::path::absolute(&args.file)?, "content": content }))?;
        return Ok(Exit::Done);
    }
    let counts = [text::count(content.tasks, "task"), text::count(content.events, "event"), text::bytes(content.bytes)];
    context.terminal.print(&[
        Line::of(GREEN, "✓ ").add(PLAIN, format!("{}  {}", args.file.display(), counts.join(", "))),
        Line::of(DIM, "  The database alone: what agents have not committed yet is in their workspaces."),
    ])?;
    Ok(Exit::Done)
}

/// What was in the way, and the way out.
pub fn failed(error: BackupError) -> CommandError {
    let exit = match &error {
        BackupError::Exists(_) | BackupError::Directory(_) | BackupError::Itself(_) | BackupError::NoDatabase(_) => {
            Exit::Usage
        }
        _ => Exit::Failed,
    };
    let failed = CommandError::new(exit, error.to_string());
    match error.hint() {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
