//! `cadence tasks diff`.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use super::Context;
use crate::client::Client;
use crate::complete;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{DIM, Line, diff};

/// Show what a task changed, against what it started from
///
/// In a pipe it is a plain unified diff, as `git apply` takes it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence tasks diff last
  cadence tasks diff 1a2b | git apply --check
  cadence tasks diff 1a2b --no-pager")]
pub struct Args {
    /// First digits of its id, or `last`
    #[arg(value_name = "ID", add = complete::task_ids())]
    id: String,
    /// Print it at once, whatever PAGER says
    #[arg(long)]
    no_pager: bool,
}

pub async fn run(context: &Context, client: &Client, args: Args) -> CommandResult {
    let rest = client.rest()?;
    let task = rest.select(&args.id).await?;
    let bytes = rest.diff(task.id).await?;
    if context.json {
        let text = String::from_utf8_lossy(&bytes);
        context.terminal.json(&json!({ "id": task.id, "branch": task.branch, "diff": text }))?;
        return Ok(Exit::Done);
    }
    if !context.terminal.shows {
        // Byte for byte: it may be applied.
        let mut out = std::io::stdout().lock();
        out.write_all(&bytes)?;
        out.flush()?;
        return Ok(Exit::Done);
    }
    let lines = diff(&String::from_utf8_lossy(&bytes));
    if lines.is_empty() {
        context.terminal.note(&[Line::of(DIM, "nothing is changed")]);
    } else if args.no_pager || !page(&lines, context.terminal.color)? {
        context.terminal.print(&lines)?;
    }
    Ok(Exit::Done)
}

/// Shows lines in the pager; false where there is none.
fn page(lines: &[Line], color: bool) -> Result<bool, CommandError> {
    let pager = ["CADENCE_PAGER", "PAGER"].iter().find_map(|name| std::env::var(name).ok()).unwrap_or("less".into());
    if pager.trim().is_empty() || pager.trim() == "cat" {
        return Ok(false);
    }
    // A pager may be given with arguments; the shell takes it apart, as git has it.
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {pager}")]).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // End where it fits on a page, show colour, leave it on the screen.
        command.env("LESS", "FRX");
    }
    let Ok(mut child) = command.spawn() else { return Ok(false) };
    if let Some(mut input) = child.stdin.take() {
        for line in lines {
            // The pager may be left before the end.
            if writeln!(input, "{}", line.paint(color)).is_err() {
                break;
            }
        }
    }
    let status = child.wait().map_err(|error| CommandError::failed("the pager failed").caused_by(error))?;
    // 127: the shell did not find it.
    Ok(status.code() != Some(127))
}
