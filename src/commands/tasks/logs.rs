//! `cadence tasks logs`.

use super::Context;
use crate::client::Client;
use crate::complete;
use crate::error::{CommandResult, Exit};
use crate::follow::{self, Followed, Left, Options, Outcome};
use crate::render::{EventRenderer, Summary};
use crate::terminal::Screen;

/// Show what an agent did, and with -f what it does
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence tasks logs last
  cadence tasks logs -f 1a2b
  cadence tasks logs 1a2b --json | jq -r 'select(.type == \"command_run\") | .data.command'")]
pub struct Args {
    /// First digits of its id, or `last`
    #[arg(value_name = "ID", add = complete::task_ids())]
    id: String,
    /// Go on until it ends; Ctrl-C stops the showing, not the task
    #[arg(long, short)]
    follow: bool,
    /// Only events after this number
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    after: u64,
    /// Fold neither output nor diffs
    #[arg(long)]
    full: bool,
}

pub async fn run(context: &Context, client: &Client, args: Args) -> CommandResult {
    let rest = client.rest()?;
    let task = rest.select(&args.id).await?;
    if args.follow {
        let options = Options { json: context.json, full: args.full, attended: false, framed: true, summary: true };
        let followed = vec![Followed::new(task, args.after)];
        return match follow::follow(client, followed, context.terminal, options).await? {
            Outcome::Ended(tasks) => {
                let summary = Summary { ephemeral: false, width: context.terminal.columns() };
                if let Some(task) = tasks.first().filter(|_| !context.json) {
                    context.terminal.print(&summary.lines(task))?;
                }
                Ok(Exit::Done)
            }
            Outcome::Left(Left::Unread) => Ok(Exit::Done),
            Outcome::Left(_) | Outcome::InputNeeded(_) => Ok(Exit::Interrupted),
        };
    }
    let mut screen = Screen::new(context.terminal);
    let renderer = EventRenderer::new(context.terminal.columns()).framed();
    let mut renderer = if args.full { renderer.full() } else { renderer };
    let mut after = args.after;
    // Page by page, so that a long log starts at once.
    loop {
        let page = rest.events(task.id, after).await?;
        let last = page.events.last().map_or(after, |event| event.seq);
        for event in &page.events {
            if context.json {
                screen.json(event)?;
            } else {
                screen.print(&renderer.lines(event))?;
            }
            if screen.closed() {
                return Ok(Exit::Done);
            }
        }
        if last >= page.last_seq || last <= after {
            return Ok(Exit::Done);
        }
        after = last;
    }
}
