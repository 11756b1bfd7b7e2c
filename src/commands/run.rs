//! `cadence run`: a task from the request to its end.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use cadence_protocol::{
    Approval, ApprovalKind, CreateTask, EndReason, Executor, MAX_DESCRIPTION, PermissionMode, SandboxMode, Task,
    TaskSourceKind,
};
use tokio::time::Instant;
use uuid::Uuid;

use super::Context;
use super::approvals::short;
use crate::checkout::{self, Place};
use crate::client::{Client, Ephemeral};
use crate::complete;
use crate::error::{CommandError, CommandResult, Exit};
use crate::follow::{self, Followed, Left, Options, Outcome};
use crate::remote;
use crate::render::{BOLD, CYAN, DIM, Line, PLAIN, REQUEST_LINES, Summary, YELLOW, request};
use crate::text;

/// How long the end of a cancelled task is waited for before its server goes.
const CANCEL: Duration = Duration::from_secs(20);

/// Give a task to an agent and follow it
///
/// The agent works in a clone of its own, on a branch of its own; the checkout is not touched. Ctrl-C offers to detach,
/// to pause or to cancel. Without a terminal an interruption cancels the task, and a question ends the command with exit
/// code 6 while the task waits.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence run \"fix the failing test\"
  cadence run --permission all --budget 2 \"update the dependencies\"
  git log -1 --format=%B | cadence run -
  cadence run --repo https://example.org/app.git --branch main \"write a changelog\"
  cadence run --detach --json \"tidy the docs\" | jq -r .id")]
pub struct Args {
    /// What to do; `-` reads it from standard input
    #[arg(value_name = "TASK")]
    task: String,
    /// Repository: a path, or a URL [default: the one of the current directory]
    #[arg(long, value_name = "PATH|URL", value_hint = clap::ValueHint::DirPath)]
    repo: Option<String>,
    /// Branch to start from [default: the one that is checked out]
    #[arg(long)]
    branch: Option<String>,
    /// Model, as the agent names it
    #[arg(long)]
    model: Option<String>,
    /// Agent: claude, codex, opencode, demo (a script without a model), or one of the settings
    #[arg(long, add = complete::agents())]
    agent: Option<String>,
    /// What it may do without asking: nothing but read, edits in its workspace, or everything [default: edits]
    #[arg(long, value_name = "ask|edits|all", value_parser = permission, add = complete::words(&["ask", "edits", "all"]))]
    permission: Option<PermissionMode>,
    /// What of the machine it may touch: its workspace and caches, also read everything else, or all that you may
    /// [default: as the server is set]
    #[arg(long, value_name = "strict|workspace|off", value_parser = sandbox, add = complete::words(SANDBOXES))]
    sandbox: Option<SandboxMode>,
    /// US dollars that it may spend
    #[arg(long, value_name = "USD", value_parser = budget, allow_negative_numbers = true)]
    budget: Option<f64>,
    /// Turns that it may take
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_turns: Option<u32>,
    /// Time that it may run, like 30s, 10m or 2h
    #[arg(long, value_name = "TIME", value_parser = text::parse_duration)]
    timeout: Option<Duration>,
    /// Start it and return; it goes on
    #[arg(long, conflicts_with_all = ["ephemeral", "require_change"])]
    detach: bool,
    /// End with code 1 when nothing was changed
    #[arg(long)]
    require_change: bool,
    /// Start from the checkout as it is, with what is not committed
    #[arg(long)]
    with_changes: bool,
    /// Use a server of its own that ends with the command and leaves only the branch (for CI)
    #[arg(long, conflicts_with = "server")]
    ephemeral: bool,
    /// Run it on a machine with this label (`cadence machines ls`); can be repeated
    #[arg(long = "on", value_name = "LABEL")]
    labels: Vec<String>,
    /// Where it runs: local, daemon, sse; the server chooses unless told
    #[arg(long, value_name = "KIND", value_parser = executor, add = complete::words(EXECUTORS))]
    executor: Option<Executor>,
}

const EXECUTORS: &[&str] = &["local", "daemon", "sse"];

fn executor(text: &str) -> Result<Executor, String> {
    text.parse()
}

fn permission(text: &str) -> Result<PermissionMode, String> {
    text.parse()
}

/// Names of the sandboxes that there are.
pub const SANDBOXES: &[&str] = &["strict", "workspace", "off"];

pub fn sandbox(text: &str) -> Result<SandboxMode, String> {
    text.parse()
}

fn budget(text: &str) -> Result<f64, String> {
    match text.trim_start_matches('$').parse::<f64>() {
        Ok(usd) if usd.is_finite() && usd > 0.0 => Ok(usd),
        _ => Err("it is a number of US dollars, more than nothing".to_owned()),
    }
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    let description = description(&args.task)?;
    let place = checkout::find(args.repo.as_deref()).await?;
    if args.with_changes && matches!(place, Place::Url(_)) {
        return Err(CommandError::usage("--with-changes needs a checkout, and a URL was given"));
    }
    if args.ephemeral && matches!(place, Place::Url(_)) {
        return Err(CommandError::usage(
            "--ephemeral leaves only a branch, and with a URL there is no checkout to leave it in",
        )
        .hint("Clone it first and name the clone, or leave --ephemeral out."));
    }
    if !args.ephemeral {
        let client = context.client().await?;
        return on_server(&context, &args, &client, description, place).await;
    }
    let server = Ephemeral::start().await?;
    let client = Client::ephemeral(&server);
    let result = on_server(&context, &args, &client, description, place).await;
    let stopped = server.stop().await;
    match (result, stopped) {
        (Ok(exit), Ok(())) => Ok(exit),
        (Ok(exit), Err(kept)) => {
            // The code says how the task ended; where that was well, it did not.
            if exit == Exit::Done {
                return Err(kept);
            }
            note_kept(&context, &kept);
            Ok(exit)
        }
        (Err(error), stopped) => {
            if let Err(kept) = stopped {
                note_kept(&context, &kept);
            }
            Err(error)
        }
    }
}

fn note_kept(context: &Context, kept: &CommandError) {
    let mut lines = vec![Line::of(YELLOW, "! ").add(PLAIN, kept.message())];
    lines.extend(kept.hints().iter().map(|hint| Line::of(DIM, format!("  {hint}"))));
    context.terminal.note(&lines);
}

async fn on_server(
    context: &Context,
    args: &Args,
    client: &Client,
    description: String,
    place: Place,
) -> CommandResult {
    let body = body(context, args, description, place.clone(), client).await?;
    let task = client.rest()?.create(&body, Uuid::new_v4()).await?;
    if args.detach {
        return detached(context, &task);
    }
    if !context.json {
        context
            .terminal
            .note(&[Line::of(DIM, format!("task {} · {} · branch {}", task.short_id(), task.agent, task.branch))]);
    }
    let home = match place {
        Place::Checkout(checkout) => Some(checkout.root),
        Place::Url(_) => None,
    };
    follow_to_end(context, client, task, 0, Ending { require_change: args.require_change, home }).await
}

/// Follows one task for a command that is about it, closes with a summary and gives the task's exit code.
pub async fn follow_to_end(
    context: &Context,
    client: &Client,
    task: Task,
    after: u64,
    ending: Ending,
) -> CommandResult {
    let options = Options { json: context.json, full: false, attended: true, framed: false, summary: false };
    let (id, short) = (task.id, task.short_id());
    let followed = vec![Followed::new(task, after)];
    match follow::follow(client, followed, context.terminal, options).await? {
        Outcome::Ended(tasks) => match tasks.first() {
            Some(task) => ended(context, client, task, ending).await,
            None => Ok(Exit::Failed),
        },
        Outcome::Left(left) => {
            if client.is_ephemeral() {
                cancel(client, id).await?;
                context.terminal.note(&[Line::of(YELLOW, "◦ cancelled: its server ends with the command")]);
                return Ok(Exit::Interrupted);
            }
            context.terminal.note(&left_lines(&short, left));
            Ok(Exit::Interrupted)
        }
        Outcome::InputNeeded(approvals) => {
            context.terminal.note(&needed(&approvals, client.is_ephemeral(), context.json));
            if client.is_ephemeral() {
                cancel(client, id).await?;
            }
            Ok(Exit::InputNeeded)
        }
    }
}

/// What is wanted at a task's end.
#[derive(Clone, Debug, Default)]
pub struct Ending {
    /// That nothing was changed is a failure.
    pub require_change: bool,
    /// Checkout that the branch comes to from a server elsewhere; none: the current directory's, if it is the task's.
    pub home: Option<PathBuf>,
}

async fn ended(context: &Context, client: &Client, task: &Task, ending: Ending) -> CommandResult {
    let home = remote::bring_home(client, task, ending.home.as_deref()).await;
    let summary = Summary { ephemeral: client.is_ephemeral(), width: context.terminal.columns() };
    if !context.json {
        // The work is done whether somebody still reads or not.
        match context.terminal.print(&summary.lines(task)) {
            Err(error) if error.quiet => {}
            other => other?,
        }
    }
    let exit = Exit::of_task(task);
    if exit == Exit::Failed && task.end_reason == Some(EndReason::AgentUnavailable) && !context.json {
        context.terminal.note(&[Line::of(DIM, "`cadence doctor` shows which agents can be used.")]);
    }
    match home {
        Ok(Some(root)) if !context.json => {
            let place = format!("  {} is in {}", task.branch, root.display());
            context.terminal.note(&[Line::of(DIM, place)]);
        }
        Ok(_) => {}
        // The task is done all the same, and its branch is with the server.
        Err(error) => {
            let hint = format!("  Try again in a checkout of its repository: cadence tasks apply {}", task.short_id());
            let mut lines = vec![
                Line::of(YELLOW, "! ").add(PLAIN, format!("the branch was not brought here: {}", error.message())),
            ];
            lines.extend(error.hints().iter().map(|hint| Line::of(DIM, format!("  {hint}"))));
            lines.push(Line::of(DIM, hint));
            context.terminal.note(&lines);
        }
    }
    if exit == Exit::Done && ending.require_change && task.metadata.files_changed.unwrap_or(0) == 0 {
        return Err(CommandError::failed("the agent changed nothing, and --require-change was given"));
    }
    Ok(exit)
}

/// Cancels a task and waits for its end, so that what it did is on its branch.
async fn cancel(client: &Client, id: Uuid) -> Result<(), CommandError> {
    let rest = client.rest()?;
    match rest.cancel(id).await {
        Ok(cancelled) => {
            let deadline = Some(Instant::now() + CANCEL);
            follow::wait(client, vec![cancelled.task], false, deadline, |_| {}).await?;
            Ok(())
        }
        // It ended in between.
        Err(error) if error.exit == Exit::Failed => Ok(()),
        Err(error) => Err(error),
    }
}

fn detached(context: &Context, task: &Task) -> CommandResult {
    if context.json {
        context.terminal.json(task)?;
    } else {
        let id = task.short_id();
        context.terminal.print(&[
            Line::of(CYAN, &id).add(PLAIN, format!("  {}", task.title(70))),
            Line::of(DIM, "  follow  ").add(PLAIN, format!("cadence tasks logs -f {id}")),
        ])?;
    }
    Ok(Exit::Done)
}

fn left_lines(id: &str, left: Left) -> Vec<Line> {
    let row = |name: &str, command: String| Line::of(DIM, format!("  {name:<8}")).add(PLAIN, command);
    match left {
        Left::Detached | Left::Unread => vec![
            Line::of(YELLOW, format!("◦ left; task {id} goes on")),
            row("follow", format!("cadence tasks logs -f {id}")),
            row("cancel", format!("cadence tasks cancel {id}")),
        ],
        Left::Paused => vec![
            Line::of(YELLOW, format!("◦ task {id} is paused")),
            row("resume", format!("cadence tasks resume -f {id}")),
        ],
        Left::Cancelled => vec![Line::of(YELLOW, format!("◦ task {id} is cancelled"))],
    }
}

/// What is needed, and the command that answers it.
pub fn needed(approvals: &[Approval], ephemeral: bool, json: bool) -> Vec<Line> {
    let mut lines = Vec::new();
    for approval in approvals {
        if json {
            lines.extend(request(approval.kind, &approval.tool, &approval.input, REQUEST_LINES));
        }
        if ephemeral {
            continue;
        }
        let row = |name: &str, command: String| Line::of(DIM, format!("  {name:<8}")).add(PLAIN, command);
        let id = short(&approval.id, approvals);
        match approval.kind {
            ApprovalKind::Permission => {
                lines.push(row("allow", format!("cadence approvals allow {id}")));
                lines.push(row("deny", format!("cadence approvals deny {id}")));
            }
            ApprovalKind::Question => {
                let answers: Vec<String> =
                    (1..=follow::questions(&approval.input).len()).map(|n| format!("{n}=ANSWER")).collect();
                let answers = if answers.len() > 1 { answers.join(" ") } else { "ANSWER".to_owned() };
                lines.push(row("answer", format!("cadence approvals answer {id} {answers}")));
            }
        }
    }
    if let Some(first) = approvals.first().filter(|_| !ephemeral) {
        let id = cadence_protocol::short_id(first.task_id);
        lines.push(Line::of(DIM, "  follow  ").add(PLAIN, format!("cadence tasks logs -f {id}")));
    }
    let what = if ephemeral {
        "input is needed and nobody is there to ask; the task is cancelled, since its server ends with the command"
    } else {
        "input is needed and nobody is there to ask; the task waits"
    };
    lines.insert(0, Line::of(YELLOW, "! ").add(BOLD, what));
    lines
}

/// Words for an agent, `-` for those on standard input.
pub fn description(text: &str) -> Result<String, CommandError> {
    let text = if text == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .take(MAX_DESCRIPTION as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| CommandError::failed("standard input cannot be read").caused_by(error))?;
        String::from_utf8(bytes).map_err(|_| CommandError::usage("the task on standard input is not valid UTF-8"))?
    } else {
        text.to_owned()
    };
    if text.len() > MAX_DESCRIPTION {
        return Err(CommandError::usage(format!("the task is longer than {}", text::bytes(MAX_DESCRIPTION as u64)))
            .hint("Put the details into a file of the repository and name it."));
    }
    if text.trim().is_empty() {
        return Err(
            CommandError::usage("the task is empty").hint("Say what is to be done: cadence run \"fix the test\".")
        );
    }
    Ok(text.trim().to_owned())
}

/// The request for a task.
async fn body(
    context: &Context,
    args: &Args,
    description: String,
    place: Place,
    client: &Client,
) -> Result<CreateTask, CommandError> {
    let settings = &context.settings;
    // A path of this machine means nothing to another.
    let elsewhere = !args.labels.is_empty() || args.executor.is_some_and(|executor| executor != Executor::Local);
    let local = client.shares_disk() && !elsewhere;
    let mut body = CreateTask {
        task_description: description,
        model: args.model.clone().or_else(|| settings.model.clone()),
        agent: args.agent.clone().or_else(|| settings.agent.clone()),
        labels: args.labels.clone(),
        executor: args.executor,
        permission_mode: args.permission.or(settings.permission),
        sandbox: args.sandbox,
        budget_usd: args.budget.or(settings.budget),
        max_turns: args.max_turns.or(settings.max_turns),
        timeout_secs: args.timeout.or(settings.timeout).map(|timeout| timeout.as_secs().max(1)),
        source: Some(TaskSourceKind::Cli),
        with_changes: args.with_changes && local,
        branch: args.branch.clone(),
        ..CreateTask::default()
    };
    match place {
        Place::Url(url) => body.repo_url = Some(url),
        Place::Checkout(checkout) => {
            if args.with_changes && args.branch.is_some() && !local {
                return Err(CommandError::usage(
                    "--with-changes starts from what is checked out, and not from --branch",
                ));
            }
            if body.branch.is_none() {
                body.branch = checkout.branch.clone();
                body.commit = Some(checkout.head.clone());
            }
            if local {
                body.repo_path = Some(path_text(&checkout.root)?);
            } else {
                let (terminal, quiet) = (context.terminal, context.json);
                let tell = move |text: String| {
                    if !quiet {
                        terminal.note(&[Line::of(DIM, text)]);
                    }
                };
                remote::start_from(client, &checkout, args.with_changes, &mut body, &tell).await?;
            }
        }
    }
    // Another machine has its own paths, and gets only what the settings name.
    body.environment = if local {
        checkout::task_environment(checkout::environment(), &settings.environment)
    } else {
        checkout::environment().filter(|(name, _)| settings.environment.contains(name)).collect()
    };
    Ok(body)
}

fn path_text(path: &std::path::Path) -> Result<String, CommandError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| CommandError::usage(format!("the path {} is not valid UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;
    use crate::client::stub::approval;
    use crate::render::plain;

    #[test]
    fn what_is_needed_comes_with_the_command_that_gives_it() {
        let question = |text: &str| json!({"question": text, "options": []});
        let approvals = [
            approval("0123456789ab", ApprovalKind::Permission, json!({"command": "make"})),
            approval("fedcba98-7654", ApprovalKind::Question, json!({"questions": [question("a?"), question("b?")]})),
        ];
        insta::assert_snapshot!(plain(&needed(&approvals, false, false)), @r#"
        ! input is needed and nobody is there to ask; the task waits
          allow   cadence approvals allow 01234567
          deny    cadence approvals deny 01234567
          answer  cadence approvals answer fedcba98 1=ANSWER 2=ANSWER
          follow  cadence tasks logs -f 00000000
        "#);
        insta::assert_snapshot!(plain(&needed(&approvals[..1], true, true)), @r#"
        ! input is needed and nobody is there to ask; the task is cancelled, since its server ends with the command
        ? Bash wants permission
            command: make
        "#);
    }

    #[test]
    fn descriptions_are_checked() {
        assert_eq!(description("  fix it\n").unwrap(), "fix it");
        assert_eq!(description(" ").unwrap_err().exit, Exit::Usage);
        assert_eq!(description(&"x".repeat(MAX_DESCRIPTION + 1)).unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn budgets_are_money() {
        assert_eq!(budget("2.50"), Ok(2.5));
        assert_eq!(budget("$2"), Ok(2.0));
        for wrong in ["0", "-1", "inf", "NaN", "x"] {
            assert!(budget(wrong).is_err(), "{wrong}");
        }
    }
}
