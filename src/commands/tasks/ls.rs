//! `cadence tasks ls`.

use cadence_protocol::{Task, TaskList, TaskQuery, TaskStatus};
use time::OffsetDateTime;

use super::Context;
use crate::client::Client;
use crate::complete;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{BOLD, CYAN, DIM, GREEN, Line, PLAIN, RED, status_word, table};
use crate::text;

/// List tasks, newest first
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence tasks ls
  cadence tasks ls --status running,waiting
  cadence tasks ls --repo app --query parser --json | jq -r '.tasks[].id'")]
pub struct Args {
    /// Only these statuses: pending, running, waiting, paused, pr_open, completed, failed, cancelled
    #[arg(long, value_delimiter = ',', value_parser = status, add = complete::words(STATUSES))]
    status: Vec<TaskStatus>,
    /// Only those of this repository: its name, URL or path
    #[arg(long)]
    repo: Option<String>,
    /// Only those with this text in the description
    #[arg(long, short, value_name = "TEXT")]
    query: Option<String>,
    /// Archived ones: none, only those, or all
    #[arg(long, value_name = "no|only|all", default_value = "no", value_parser = ["no", "only", "all"], num_args = 0..=1, default_missing_value = "only")]
    archived: String,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

const STATUSES: &[&str] = &["pending", "running", "waiting", "paused", "pr_open", "completed", "failed", "cancelled"];

fn status(text: &str) -> Result<TaskStatus, String> {
    text.parse()
}

pub async fn run(context: &Context, client: &Client, args: Args) -> CommandResult {
    let list = collect(client, &args).await?;
    if context.json {
        context.terminal.json(&list)?;
        return Ok(Exit::Done);
    }
    if list.tasks.is_empty() {
        let filtered = !args.status.is_empty() || args.repo.is_some() || args.query.is_some() || args.archived != "no";
        let words = if filtered { "no task fits" } else { "no tasks; start one with `cadence run \"TASK\"`" };
        context.terminal.note(&[Line::of(DIM, words)]);
        return Ok(Exit::Done);
    }
    context.terminal.print(&rows(&list.tasks, OffsetDateTime::now_utc(), context.terminal.columns()))?;
    if list.next_cursor.is_some() {
        context
            .terminal
            .note(&[Line::of(DIM, format!("… older ones are left out; --limit {} shows more", args.limit * 2))]);
    }
    Ok(Exit::Done)
}

async fn collect(client: &Client, args: &Args) -> Result<TaskList, CommandError> {
    let rest = client.rest()?;
    let statuses: Vec<&str> = args.status.iter().map(|status| status.as_str()).collect();
    let mut query = TaskQuery {
        status: (!statuses.is_empty()).then(|| statuses.join(",")),
        repo: args.repo.clone(),
        q: args.query.clone(),
        archived: match args.archived.as_str() {
            "only" => Some("true".into()),
            "all" => Some("all".into()),
            _ => None,
        },
        ..TaskQuery::default()
    };
    let mut list = TaskList::default();
    loop {
        let left = args.limit.saturating_sub(u32::try_from(list.tasks.len()).unwrap_or(u32::MAX));
        query.limit = Some(left.min(200));
        let page = rest.tasks(&query).await?;
        let empty = page.tasks.is_empty();
        list.tasks.extend(page.tasks);
        list.next_cursor = page.next_cursor;
        if empty || list.next_cursor.is_none() || list.tasks.len() >= args.limit as usize {
            return Ok(list);
        }
        query.cursor = list.next_cursor.clone();
    }
}

fn rows(tasks: &[Task], now: OffsetDateTime, width: Option<usize>) -> Vec<Line> {
    let head = ["ID", "STATUS", "AGE", "REPOSITORY", "CHANGE", "COST", "TASK"];
    let mut rows = vec![head.iter().map(|name| Line::of(DIM, name)).collect::<Vec<_>>()];
    for task in tasks {
        let (style, mut word) = status_word(task);
        if !task.status.is_end() && task.progress > 0 {
            word = format!("{word} {}%", task.progress);
        }
        let data = &task.metadata;
        let change = match data.files_changed {
            Some(files) if files > 0 => Line::of(GREEN, format!("+{}", data.lines_added.unwrap_or(0)))
                .add(RED, format!(" −{}", data.lines_removed.unwrap_or(0))),
            _ => Line::of(DIM, "-"),
        };
        rows.push(vec![
            Line::of(CYAN, task.short_id()),
            Line::of(style, word),
            Line::of(DIM, text::age(now - task.created_at)),
            Line::of(PLAIN, text::cut(&text::clean_line(&task.repo_name), 24)),
            change,
            Line::of(DIM, data.estimated_cost.map_or_else(|| "-".to_owned(), text::money)),
            Line::of(BOLD, text::clean_line(&task.title(if width.is_some() { 200 } else { 80 }))),
        ]);
    }
    // What a narrow terminal has no room for goes first: cost, change, repository, age.
    for (least, column) in [(76, 5), (66, 4), (56, 3), (46, 2)] {
        if width.is_some_and(|width| width < least) {
            rows.iter_mut().for_each(|row| drop(row.remove(column)));
        }
    }
    table(rows, width)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn all_statuses_are_completed() {
        assert_eq!(STATUSES, TaskStatus::ALL.iter().map(|status| status.as_str()).collect::<Vec<_>>());
    }
    use crate::render::plain;

    #[test]
    fn tasks_are_a_table() {
        let task = |id: &str, status: &str, more: serde_json::Value| -> Task {
            let mut value = serde_json::json!({
                "id": format!("{id}-0000-4000-8000-000000000000"), "userId": uuid::Uuid::nil(),
                "taskDescription": "fix the parser\nand its tests", "repoName": "app", "branch": "b",
                "baseBranch": "main", "status": status, "progress": 40, "model": "", "agent": "demo", "source": "CLI",
                "executor": "local", "permissionMode": "edits", "attempt": 1, "lastSeq": 1,
                "createdAt": "2026-01-01T10:00:00Z", "updatedAt": "2026-01-01T10:00:00Z"
            });
            value.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(value).unwrap()
        };
        let tasks = [
            task("1a2b3c4d", "running", serde_json::json!({})),
            task("2a2b3c4d", "waiting", serde_json::json!({"waitingFor": "answer"})),
            task(
                "3a2b3c4d",
                "failed",
                serde_json::json!({"endReason": "timed_out", "metadata": {"filesChanged": 1, "linesAdded": 4,
                    "linesRemoved": 2, "estimatedCost": 1.5}}),
            ),
        ];
        let now = tasks[0].created_at + time::Duration::minutes(90);
        insta::assert_snapshot!(plain(&rows(&tasks[..1], now, Some(40))), @r#"
        ID        STATUS       TASK
        1a2b3c4d  running 40%  fix the parser
        "#);
        insta::assert_snapshot!(plain(&rows(&tasks, now, Some(90))), @r#"
        ID        STATUS              AGE  REPOSITORY  CHANGE  COST   TASK
        1a2b3c4d  running 40%         1h   app         -       -      fix the parser
        2a2b3c4d  has a question 40%  1h   app         -       -      fix the parser
        3a2b3c4d  failed (timed out)  1h   app         +4 −2   $1.50  fix the parser
        "#);
    }

    #[test]
    fn ages_have_one_unit() {
        let ages: Vec<String> =
            [-5, 59, 60, 7200, 200_000].iter().map(|s| text::age(time::Duration::seconds(*s))).collect();
        assert_eq!(ages, ["0s", "59s", "1m", "2h", "2d"]);
    }
}
