//! `cadence tasks show`.

use cadence_protocol::{Task, short_id};

use super::Context;
use crate::client::{Client, Rest};
use crate::complete;
use crate::error::{CommandResult, Exit};
use crate::render::{BOLD, DIM, Line, PLAIN, markdown, status_word};
use crate::text;

/// Show everything about a task
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  cadence tasks show last\n  cadence tasks show 1a2b --json | jq .metadata")]
pub struct Args {
    /// First digits of its id, or `last`
    #[arg(value_name = "ID", add = complete::task_ids())]
    id: String,
}

pub async fn run(context: &Context, client: &Client, args: Args) -> CommandResult {
    let rest = client.rest()?;
    let task = rest.select(&args.id).await?;
    if context.json {
        context.terminal.json(&task)?;
    } else {
        context.terminal.print(&lines(&task, machine(&rest, &task).await, context.terminal.columns()))?;
    }
    Ok(Exit::Done)
}

/// The name of the machine that it runs on, as far as it can be found out.
async fn machine(rest: &Rest, task: &Task) -> Option<String> {
    let id = task.machine_id?;
    let known = rest.machines().await.ok().and_then(|list| list.machines.into_iter().find(|machine| machine.id == id));
    Some(known.map_or_else(|| short_id(id), |machine| text::clean_line(&machine.name)))
}

fn lines(task: &Task, machine: Option<String>, width: Option<usize>) -> Vec<Line> {
    let mut lines: Vec<Line> = text::clean(&task.task_description).lines().map(|line| Line::of(BOLD, line)).collect();
    lines.push(Line::new());
    let (style, word) = status_word(task);
    let mut row = |name: &str, value: Line| lines.push(value.after(Line::of(DIM, format!("{name:<12}"))));
    let plain = |value: String| Line::of(PLAIN, value);
    row("id", plain(task.id.to_string()));
    row("status", Line::of(style, word));
    if let Some(reason) = &task.pending_reason {
        row("waits", plain(text::clean_line(reason)));
    }
    if let Some(when) = task.resume_at {
        row("goes on", plain(text::moment(when)));
    }
    if let Some(reason) = task.end_reason {
        row("ended", plain(crate::render::ended(reason).to_owned()));
    }
    row("attempt", plain(task.attempt.to_string()));
    row("progress", plain(format!("{}%", task.progress)));
    let model = if task.model.is_empty() { String::new() } else { format!(" · {}", task.model) };
    row("agent", plain(format!("{}{model}", task.agent)));
    row("permission", plain(task.permission_mode.to_string()));
    if let Some(sandbox) = &task.sandbox {
        row("sandbox", plain(crate::render::sandbox(sandbox)));
        for weaker in &sandbox.weaker {
            row("", Line::of(DIM, text::clean_line(weaker)));
        }
    }
    row("repository", plain(task.repo_path.clone().or(task.repo_url.clone()).unwrap_or(task.repo_name.clone())));
    row("branch", plain(task.branch.clone()));
    row("base", plain(format!("{} {}", task.base_branch, task.base_commit.as_deref().unwrap_or_default())));
    if let Some(machine) = machine {
        row("machine", plain(machine));
    }
    if !task.labels.is_empty() {
        row("labels", plain(task.labels.join(", ")));
    }
    let data = &task.metadata;
    if let Some(files) = data.files_changed {
        let (added, removed) = (data.lines_added.unwrap_or(0), data.lines_removed.unwrap_or(0));
        row("change", plain(format!("{} +{added} −{removed}", text::count(files, "file"))));
    }
    if let Some(cost) = data.estimated_cost {
        let tokens = format!("{} in, {} out", data.input_tokens.unwrap_or(0), data.output_tokens.unwrap_or(0));
        row("cost", plain(format!("{} · tokens {tokens}", text::money(cost))));
    }
    if let Some(url) = &task.pr_url {
        row("pull request", plain(url.clone()));
    }
    for (name, when) in
        [("created", Some(task.created_at)), ("started", task.started_at), ("ended at", task.completed_at)]
    {
        if let Some(when) = when {
            row(name, plain(text::moment(when)));
        }
    }
    for text in [&task.error, &task.output].into_iter().flatten() {
        lines.push(Line::new());
        lines.extend(markdown(text, width));
    }
    lines
}
