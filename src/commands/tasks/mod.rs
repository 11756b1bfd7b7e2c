//! `cadence tasks`: what runs, what ran, and what became of it.

mod act;
mod apply;
mod diff;
mod logs;
mod ls;
mod resume;
mod rm;
mod send;
mod show;
mod wait;

use cadence_protocol::{Task, TaskList};

use super::{Context, run as run_command};
use crate::client::Client;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{DIM, Line, PLAIN};

/// List tasks, look at them, steer them, take their changes
#[derive(Debug, clap::Args)]
#[command(after_help = "A task is named by the first digits of its id, or `last` for the newest.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    #[command(visible_alias = "list")]
    Ls(ls::Args),
    Show(show::Args),
    Logs(logs::Args),
    Wait(wait::Args),
    Send(send::Args),
    /// Stop the agent's turn; it lives on and can be resumed
    #[command(after_help = "Example:\n  cadence tasks pause last")]
    Pause(act::Args),
    Resume(resume::Args),
    /// End a task; what it did stays on its branch
    #[command(after_help = "Examples:\n  cadence tasks cancel last\n  cadence tasks cancel 1a2b 3c4d")]
    Cancel(act::Args),
    /// Begin the request of a task that has ended anew: a new session, on its branch as it is
    #[command(after_help = "Example:\n  cadence tasks restart last")]
    Restart(act::Args),
    /// Leave a task that has ended out of lists
    #[command(after_help = "Example:\n  cadence tasks archive 1a2b 3c4d")]
    Archive(act::Args),
    /// Bring an archived task back into lists
    #[command(after_help = "Example:\n  cadence tasks unarchive 1a2b")]
    Unarchive(act::Args),
    Diff(diff::Args),
    Apply(apply::Args),
    #[command(visible_alias = "remove")]
    Rm(rm::Args),
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    let client = context.client().await?;
    match args.action {
        Action::Ls(args) => ls::run(&context, &client, args).await,
        Action::Show(args) => show::run(&context, &client, args).await,
        Action::Logs(args) => logs::run(&context, &client, args).await,
        Action::Wait(args) => wait::run(&context, &client, args).await,
        Action::Send(args) => send::run(&context, &client, args).await,
        Action::Pause(args) => act::run(&context, &client, args, act::What::Pause).await,
        Action::Resume(args) => resume::run(&context, &client, args).await,
        Action::Cancel(args) => act::run(&context, &client, args, act::What::Cancel).await,
        Action::Restart(args) => act::run(&context, &client, args, act::What::Restart).await,
        Action::Archive(args) => act::run(&context, &client, args, act::What::Archive).await,
        Action::Unarchive(args) => act::run(&context, &client, args, act::What::Unarchive).await,
        Action::Diff(args) => diff::run(&context, &client, args).await,
        Action::Apply(args) => apply::run(&context, &client, args).await,
        Action::Rm(args) => rm::run(&context, &client, args).await,
    }
}

/// Says what became of tasks: as JSON one task, or a list of several; else `words` for each.
fn report(context: &Context, tasks: &[Task], words: &str) -> Result<(), CommandError> {
    report_each(context, tasks, |_| words.to_owned())
}

/// As [`report`], with words for each task.
fn report_each(context: &Context, tasks: &[Task], words: impl Fn(&Task) -> String) -> Result<(), CommandError> {
    if context.json {
        return match tasks {
            [task] => context.terminal.json(task),
            several => context.terminal.json(&TaskList { tasks: several.to_vec(), next_cursor: None }),
        };
    }
    let lines: Vec<Line> = tasks
        .iter()
        .map(|task| {
            Line::of(PLAIN, format!("{} {}", task.short_id(), words(task))).add(DIM, format!("  {}", task.title(60)))
        })
        .collect();
    context.terminal.print(&lines)
}

/// Follows from here on where that is wanted; else says what became of the task.
async fn follow_or_report(
    context: &Context,
    client: &Client,
    task: Task,
    after: u64,
    follow: bool,
    words: &str,
) -> CommandResult {
    if follow {
        return run_command::follow_to_end(context, client, task, after, run_command::Ending::default()).await;
    }
    report(context, std::slice::from_ref(&task), words)?;
    Ok(Exit::Done)
}
