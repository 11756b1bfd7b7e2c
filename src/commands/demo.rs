//! `cadence demo`: the whole way once, with no account and no key.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use cadence_agent::workspace::{self, ApplyMode};
use cadence_protocol::{CreateTask, ParseContext, Parsed, PermissionMode, Task, TaskSourceKind, TaskStatus};
use serde_json::json;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use super::Context;
use crate::checkout;
use crate::client::{Client, Ephemeral};
use crate::error::{CommandError, CommandResult, Exit};
use crate::follow::{self, Followed, Options, Outcome};
use crate::render::{BLUE, BOLD, DIM, GREEN, Line, MAGENTA, PLAIN, RED, YELLOW, diff};
use crate::speech;
use crate::text::{self, clean_line};

const TASKS: [(&str, &str); 3] = [
    ("fix", "Fix the failing test"),
    ("version", "Add a version command"),
    ("docs", "Document the commands in the README"),
];

/// "Fix the failing test", spoken by flite.
const SENTENCE: &[u8] = include_bytes!("demo/fix-the-failing-test.flac");
/// How long the sentence may take to be heard.
const HEARING: Duration = Duration::from_secs(15);

/// How long a test of the scratch repository, or a call of git, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Watch three scripted agents work on a scratch repository
///
/// No model is asked, and nothing needs an account: the agents are a script, but what they do is real. They edit files and
/// run commands in workspaces of their own, three at once, and their changes are taken into a repository with a failing
/// test. Everything is in a temporary directory that is gone afterwards. At a terminal they are watched in the dashboard.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence demo
  CADENCE_DEMO_SECONDS=20 cadence demo      slower, to watch
  cadence demo --plain                      printed, without the dashboard")]
pub struct Args {
    /// Print what happens instead of opening the dashboard
    #[arg(long)]
    plain: bool,
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    let fail = |error: std::io::Error| CommandError::failed("the scratch repository cannot be made").caused_by(error);
    let server = Ephemeral::start().await?;
    let repository = server.scratch().join("calc");
    std::fs::create_dir_all(&repository).map_err(fail)?;
    prepare(&repository).await?;
    let client = Client::ephemeral(&server);
    let mut context = context;
    // Its workspaces, and how the dashboard was left, are the demo's own.
    context.settings.data_dir = server.data().to_owned();
    let watched = !args.plain && !context.json && context.terminal.shows && context.terminal.asks;
    let result = show(&context, &client, &repository, watched).await;
    let stopped = server.stop().await;
    let exit = result?;
    stopped?;
    Ok(exit)
}

async fn show(context: &Context, client: &Client, repository: &Path, watched: bool) -> CommandResult {
    say(
        context,
        &[
            Line::of(
                BOLD,
                "A scratch repository with a failing test, and three scripted agents (no model, no account).",
            ),
            Line::of(DIM, "  $ sh test.sh"),
        ],
    )?;
    let (passes, output) = test(repository).await?;
    say(context, &output.lines().map(|line| Line::of(DIM, "  │ ").add(PLAIN, line)).collect::<Vec<_>>())?;
    if passes {
        return Err(CommandError::failed("the scratch repository's test passes, and it should not"));
    }
    say(context, &[Line::new()])?;
    spoken(context, client, repository).await?;

    let mut followed = Vec::new();
    for ((name, description), style) in TASKS.into_iter().zip([BLUE, MAGENTA, GREEN]) {
        let task = client.rest()?.create(&request(repository, description)?, Uuid::new_v4()).await?;
        let label = Line::of(style, format!("{name:>8}")).add(DIM, " │ ");
        say(context, &[Line::of(BOLD, description).add(DIM, format!("  {}", task.branch)).after(label.clone())])?;
        followed.push(Followed { label: Some(label), ..Followed::new(task, 0) });
    }
    let order: Vec<Uuid> = followed.iter().map(|followed| followed.task.id).collect();
    if watched {
        return watch(context, client, repository, &order).await;
    }
    let options = Options { json: context.json, full: false, attended: true, framed: true, summary: false };
    let tasks = match follow::follow(client, followed, context.terminal, options).await? {
        Outcome::Ended(tasks) => tasks,
        Outcome::Left(_) => {
            context.terminal.note(&[Line::of(YELLOW, "◦ the demo was left; nothing of it remains")]);
            return Ok(Exit::Interrupted);
        }
        Outcome::InputNeeded(_) => return Err(CommandError::failed("a scripted agent asked something")),
    };
    if tasks.iter().any(|task| task.status == TaskStatus::Cancelled) {
        return Ok(interrupted(context));
    }
    let tasks: Vec<&Task> = order.iter().filter_map(|id| tasks.iter().find(|task| task.id == *id)).collect();
    close(context, repository, &tasks).await
}

/// Shows the agents in the dashboard. When it is left after they are done, their changes are taken.
async fn watch(context: &Context, client: &Client, repository: &Path, order: &[Uuid]) -> CommandResult {
    let words = "three scripted agents work; when they are done, q takes their changes and runs the test again";
    let exit = crate::tui::run(context.clone(), client.clone(), Some(words)).await?;
    let rest = client.rest()?;
    let mut tasks = Vec::new();
    for id in order {
        tasks.push(rest.task(*id).await?);
    }
    if exit == Exit::Interrupted || tasks.iter().any(|task| !task.status.is_end()) {
        context.terminal.note(&[Line::of(YELLOW, "◦ the demo was left; nothing of it remains")]);
        return Ok(exit);
    }
    if tasks.iter().any(|task| task.status == TaskStatus::Cancelled) {
        return Ok(interrupted(context));
    }
    close(context, repository, &tasks.iter().collect::<Vec<_>>()).await
}

async fn close(context: &Context, repository: &Path, tasks: &[&Task]) -> CommandResult {
    let fail = |error: std::io::Error| CommandError::failed("signals cannot be listened to").caused_by(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    tokio::select! {
        result = finish(context, repository, tasks) => result,
        _ = interrupt.recv() => Ok(interrupted(context)),
        _ = terminate.recv() => Ok(interrupted(context)),
    }
}

/// Has a recorded sentence heard, where a speech engine is set up. What comes of it changes nothing of what follows.
async fn spoken(context: &Context, client: &Client, repository: &Path) -> Result<(), CommandError> {
    let said = ParseContext {
        repo_path: repository.to_str().map(str::to_owned),
        environment: speech::keys(),
        ..ParseContext::default()
    };
    let rest = client.rest()?;
    let heard = tokio::time::timeout(HEARING, rest.hear(SENTENCE.to_vec(), Some("en"), &said)).await;
    let lines = match heard {
        Ok(Ok(heard)) => {
            let engine = clean_line(&heard.transcription.engine);
            let parsed = Parsed { command: heard.command, needs_confirmation: false, note: None };
            let mut lines = vec![
                Line::of(BOLD, "A recorded sentence")
                    .add(DIM, format!("  {engine} hears: "))
                    .add(PLAIN, clean_line(&heard.transcription.text)),
            ];
            lines.extend(speech::plan(&parsed, &[]).into_iter().map(|line| line.indent(2)));
            lines
        }
        Ok(Err(error)) if error.message().contains("no speech engine") => vec![
            Line::of(DIM, "No speech engine is set up, so nothing is spoken here; `cadence voice` needs one:"),
            Line::of(DIM, "  OPENAI_API_KEY, DEEPGRAM_API_KEY, or a server of your own in voice.openai.base_url"),
        ],
        Ok(Err(error)) => vec![Line::of(YELLOW, "! ").add(PLAIN, format!("nothing was heard: {}", error.message()))],
        Err(_) => vec![Line::of(YELLOW, "! ").add(PLAIN, "nothing was heard: the speech engine takes too long")],
    };
    say(context, &lines)?;
    say(context, &[Line::new()])
}

fn interrupted(context: &Context) -> Exit {
    context.terminal.note(&[Line::of(YELLOW, "◦ interrupted; nothing of the demo remains")]);
    Exit::Interrupted
}

/// Takes the three changes into the repository and runs its test once more.
async fn finish(context: &Context, repository: &Path, tasks: &[&Task]) -> CommandResult {
    let mut exit = tasks.iter().map(|task| Exit::of_task(task)).fold(Exit::Done, Exit::worst);
    say(context, &[Line::new(), Line::of(BOLD, "Taking the changes into the repository")])?;
    for (task, (name, _)) in tasks.iter().zip(TASKS) {
        let line = match workspace::apply(repository, &task.branch, ApplyMode::Merge).await {
            Ok(_) => {
                let data = &task.metadata;
                Line::of(GREEN, "  ✓ ")
                    .add(PLAIN, format!("{name:<8} {}", text::count(data.files_changed.unwrap_or(0), "file")))
                    .add(GREEN, format!(" +{}", data.lines_added.unwrap_or(0)))
                    .add(RED, format!(" −{}", data.lines_removed.unwrap_or(0)))
                    .add(DIM, format!("  git merge {}", task.branch))
            }
            Err(error) => {
                exit = exit.worst(Exit::Failed);
                Line::of(RED, "  ✗ ").add(PLAIN, format!("{name:<8} {error}"))
            }
        };
        say(context, &[line])?;
    }
    if let Some(fix) = tasks.first() {
        let change = git(repository, &["diff", "HEAD~", "HEAD", "--", "."]).await.ok();
        let first = git(repository, &["diff", &format!("{}~", fix.branch), &fix.branch]).await.ok().or(change);
        let lines = diff(&first.unwrap_or_default());
        let hunk = lines.into_iter().skip_while(|line| !line.plain().starts_with("@@"));
        say(context, &hunk.take(14).map(|line| line.indent(4)).collect::<Vec<_>>())?;
    }
    say(context, &[Line::of(DIM, "  $ sh test.sh")])?;
    let (passes, output) = test(repository).await?;
    say(context, &output.lines().map(|line| Line::of(DIM, "  │ ").add(PLAIN, line)).collect::<Vec<_>>())?;
    if !passes {
        exit = exit.worst(Exit::Failed);
    }
    if context.json {
        context.terminal.json(&json!({ "tasks": tasks, "testPasses": passes, "exitCode": exit.code() }))?;
        return Ok(exit);
    }
    let heading = if exit == Exit::Done {
        Line::of(GREEN, "✓ ").add(BOLD, "Three agents, three branches, and the test passes.")
    } else {
        Line::of(RED, "✗ ").add(BOLD, "The demo did not come to its end as it should.")
    };
    let row = |what: &str, command: &str| Line::of(DIM, format!("  {what:<26}")).add(PLAIN, command);
    say(
        context,
        &[
            Line::new(),
            heading,
            row("in a repository of yours", "cadence run \"fix the failing test\""),
            row("which needs Claude Code", "cadence doctor"),
        ],
    )?;
    Ok(exit)
}

/// Prints for people; with --json only the events and the end are told.
fn say(context: &Context, lines: &[Line]) -> Result<(), CommandError> {
    if context.json {
        return Ok(());
    }
    context.terminal.print(lines)
}

fn request(repository: &Path, description: &str) -> Result<CreateTask, CommandError> {
    let path = repository.to_str().ok_or_else(|| CommandError::failed("the temporary directory's name is not text"))?;
    Ok(CreateTask {
        task_description: description.to_owned(),
        repo_path: Some(path.to_owned()),
        agent: Some("demo".to_owned()),
        source: Some(TaskSourceKind::Cli),
        permission_mode: Some(PermissionMode::All),
        environment: checkout::task_environment(checkout::environment(), &[]),
        ..CreateTask::default()
    })
}

async fn prepare(repository: &Path) -> Result<(), CommandError> {
    cadence_agent::demo::scratch_repository(repository)
        .map_err(|error| CommandError::failed("the scratch repository cannot be written").caused_by(error))?;
    git(repository, &["init", "--quiet", "--initial-branch=main"]).await?;
    git(repository, &["config", "user.name", "cadence demo"]).await?;
    git(repository, &["config", "user.email", "demo@cadence.invalid"]).await?;
    git(repository, &["config", "commit.gpgSign", "false"]).await?;
    git(repository, &["add", "--all"]).await?;
    git(repository, &["commit", "--quiet", "--no-verify", "--message", "A calculator"]).await?;
    Ok(())
}

async fn git(repository: &Path, arguments: &[&str]) -> Result<String, CommandError> {
    let mut command = Command::new("git");
    command.arg("-C").arg(repository).args(arguments);
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    let (success, output) = call(command, "git").await?;
    if !success {
        return Err(CommandError::failed(format!("git {} failed: {}", arguments[0], output.trim())));
    }
    Ok(output)
}

async fn test(repository: &Path) -> Result<(bool, String), CommandError> {
    let mut command = Command::new("sh");
    command.arg("test.sh").current_dir(repository);
    call(command, "the test").await
}

async fn call(mut command: Command, name: &str) -> Result<(bool, String), CommandError> {
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, run)
        .await
        .map_err(|_| CommandError::failed(format!("{name} took too long")))?
        .map_err(|error| {
            CommandError::failed(format!("{name} cannot be run")).caused_by(error).hint("Is git installed?")
        })?;
    let mut all = text::clean(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        all.push_str(&text::clean(&String::from_utf8_lossy(&output.stderr)));
    }
    Ok((output.status.success(), all))
}
