//! `cadence server prune`.

use std::time::Duration;

use cadence_protocol::{Prune, Pruned, PrunedTask};

use super::super::Context;
use crate::error::{CommandResult, Exit};
use crate::render::{DIM, GREEN, Line, PLAIN, YELLOW};
use crate::text;

const DAY: u64 = 24 * 3600;

/// Delete what is old: archived tasks, agents' raw logs, and the room that they took in the database
///
/// A task is removed as `cadence tasks rm` removes it, with its workspace and branch: one with work that is found nowhere else
/// is kept, and said. The server does the same each day with what the settings keep_archived_days and keep_logs_days say;
/// archived tasks are kept for ever where the first is not set.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence server prune --dry-run
  cadence server prune --archived 90d
  cadence config set keep_archived_days 90")]
pub struct Args {
    /// Tasks that were archived so long ago, in whole days like 90d [default: the setting keep_archived_days]
    #[arg(long, value_name = "TIME", value_parser = days)]
    archived: Option<u32>,
    /// Agents' raw logs to which nothing was added for so long [default: the setting keep_logs_days, or 30d]
    #[arg(long, value_name = "TIME", value_parser = days)]
    logs: Option<u32>,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

/// Whole days, as `90d`; `0d` stands for everything.
fn days(text: &str) -> Result<u32, String> {
    if text.trim() == "0d" {
        return Ok(0);
    }
    let time: Duration = text::parse_duration(text)?;
    match u32::try_from(time.as_secs() / DAY) {
        Ok(days @ 1..=36_500) if time.as_secs().is_multiple_of(DAY) => Ok(days),
        _ => Err(format!("`{}` is no number of days; write it like 90d", text::clean_line(text))),
    }
}

pub async fn run(context: &Context, args: &Args) -> CommandResult {
    let rest = context.client().await?.rest()?;
    let mut request = Prune { archived_days: args.archived, logs_days: args.logs, dry_run: args.dry_run, cursor: None };
    let mut all = Pruned::default();
    loop {
        let step = rest.prune(&request).await?;
        if !context.json {
            context.terminal.print(&step.tasks.iter().map(|task| line(task, args.dry_run)).collect::<Vec<_>>())?;
        }
        all.tasks.extend(step.tasks);
        all.logs += step.logs;
        all.bytes += step.bytes;
        request.cursor = step.next_cursor;
        if request.cursor.is_none() {
            break;
        }
    }
    if context.json {
        context.terminal.json(&all)?;
    } else {
        context.terminal.print(&[summary(&all, args.dry_run)])?;
    }
    Ok(Exit::Done)
}

fn line(task: &PrunedTask, dry_run: bool) -> Line {
    let id = task.id.simple().to_string();
    let title = text::cut(&text::clean_line(&task.task_description), 60);
    match &task.kept {
        Some(reason) => Line::of(YELLOW, "! ")
            .add(PLAIN, format!("{} is kept  {}", &id[..8], text::clean_line(reason)))
            .add(DIM, format!("  {title}")),
        None => {
            let done = if dry_run { "would be removed" } else { "is removed" };
            Line::of(PLAIN, format!("{} {done}", &id[..8])).add(DIM, format!("  {title}"))
        }
    }
}

fn summary(all: &Pruned, dry_run: bool) -> Line {
    let tasks = all.tasks.iter().filter(|task| task.kept.is_none()).count() as u64;
    let what = format!("{}, {}", text::count(tasks, "task"), text::count(all.logs, "raw log"));
    if dry_run {
        return Line::of(DIM, "○ ").add(PLAIN, format!("would be deleted: {what}"));
    }
    Line::of(GREEN, "✓ ").add(PLAIN, format!("deleted: {what}; {} given back", text::bytes(all.bytes)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn days_are_read() {
        assert_eq!(days("90d"), Ok(90));
        assert_eq!(days("48h"), Ok(2));
        assert_eq!(days("0d"), Ok(0));
        for text in ["0", "1h", "36501d", "x", "-1d"] {
            assert!(days(text).is_err(), "{text}");
        }
    }
}
