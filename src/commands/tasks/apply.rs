//! `cadence tasks apply`.

use std::path::{Path, PathBuf};

use cadence_agent::workspace::{self, Applied, ApplyMode, WorkspaceError, Workspaces};
use cadence_protocol::Task;
use serde_json::json;

use super::Context;
use crate::checkout::{self, Place};
use crate::client::Client;
use crate::complete;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{DIM, GREEN, Line, PLAIN};
use crate::text;

/// Take a task's change into the checkout
///
/// Merges the task's branch into the branch that is checked out, or with --squash stages the whole change to be committed
/// by you. A conflict is explained, and the checkout left as it was. The branch of a task that was given a URL is first
/// fetched into the checkout.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence tasks apply last
  cadence tasks apply --squash 1a2b && git commit")]
pub struct Args {
    /// First digits of its id, or `last`
    #[arg(value_name = "ID", add = complete::task_ids())]
    id: String,
    /// Stage the change as a whole, without its commits
    #[arg(long)]
    squash: bool,
    /// Checkout to take it into [default: the one of the current directory, if it is of the task's repository]
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::DirPath)]
    repo: Option<PathBuf>,
}

pub async fn run(context: &Context, client: &Client, args: Args) -> CommandResult {
    let task = client.rest()?.select(&args.id).await?;
    if !task.status.is_end() {
        return Err(CommandError::failed(format!("task {} has not ended yet: it is {}", task.short_id(), task.status))
            .hint(format!("Wait for it: cadence tasks wait {}", task.short_id())));
    }
    if task.metadata.files_changed == Some(0) {
        return nothing(context, &task).map(|()| Exit::Done);
    }
    let checkout = target(&task, args.repo).await?;
    if task.repo_path.is_none() {
        bring(context, client, &task, &checkout).await?;
    }
    let mode = if args.squash { ApplyMode::Squash } else { ApplyMode::Merge };
    let base = task.base_commit.as_deref();
    let mut applied = workspace::apply_since(&checkout, &task.branch, mode, base).await;
    if matches!(applied, Err(WorkspaceError::NoSuchBranch { .. })) {
        // Deleted here, or the checkout was moved; the workspace still has it.
        bring(context, client, &task, &checkout).await?;
        applied = workspace::apply_since(&checkout, &task.branch, mode, base).await;
    }
    let applied = applied.map_err(checkout::workspace_error)?;
    report(context, &task, &checkout, &applied)?;
    Ok(Exit::Done)
}

/// The checkout that was named; else the current directory's, where the task's branch is there; else the task's own.
async fn target(task: &Task, named: Option<PathBuf>) -> Result<PathBuf, CommandError> {
    if let Some(path) = named {
        return Ok(path);
    }
    let own = task.repo_path.as_ref().map(PathBuf::from);
    match (checkout::find(None).await, own) {
        // Another worktree of the same repository has the branch too.
        (Ok(Place::Checkout(here)), Some(own)) if here.root == own || same_repository(&here.root, &own) => {
            Ok(here.root)
        }
        (_, Some(own)) => Ok(own),
        (Ok(Place::Checkout(here)), None) => Ok(here.root),
        (Err(error), None) => Err(error),
        (Ok(Place::Url(_)), None) => Err(CommandError::usage("there is no checkout here")),
    }
}

/// Fetches the task's branch out of its workspace into a checkout of its repository.
async fn bring(context: &Context, client: &Client, task: &Task, checkout: &Path) -> Result<(), CommandError> {
    let id = task.short_id();
    let workspace = match client.endpoint().is_local() {
        true => Workspaces::new(&context.settings.data_dir).open(task.id).map_err(checkout::workspace_error)?,
        false => None,
    };
    let Some(workspace) = workspace else {
        return Err(CommandError::failed("the task's branch is with the server, and cannot be reached from here")
            .hint(format!("Take the change alone: cadence tasks diff {id} | git apply --3way")));
    };
    let known = git(checkout, &["merge-base", "HEAD", &workspace.base_commit]).await?;
    if !known.status.success() {
        return Err(CommandError::usage(format!(
            "{} has no history in common with the commit that the task started from",
            checkout.display()
        ))
        .hint("Run it in a clone of the task's repository, after `git fetch`; or name the clone with --repo."));
    }
    let from = workspace.directory.to_string_lossy().into_owned();
    let branch = format!("refs/heads/{0}:refs/heads/{0}", task.branch);
    // No program that an agent wrote into its repository runs, and nothing else changes here.
    let fetched = git(
        checkout,
        &[
            "-c",
            "core.hooksPath=/dev/null",
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
            "--upload-pack=git -c core.hooksPath=/dev/null -c core.fsmonitor=false upload-pack",
            "--",
            &from,
            &branch,
        ],
    )
    .await?;
    if fetched.status.success() {
        return Ok(());
    }
    Err(CommandError::failed(format!("the branch {} cannot be fetched into {}", task.branch, checkout.display()))
        .caused_by(std::io::Error::other(text::clean(String::from_utf8_lossy(&fetched.stderr).trim()))))
}

async fn git(checkout: &Path, arguments: &[&str]) -> Result<std::process::Output, CommandError> {
    let mut command = tokio::process::Command::new("git");
    command.arg("-C").arg(checkout).args(arguments).stdin(std::process::Stdio::null()).env("GIT_TERMINAL_PROMPT", "0");
    command.output().await.map_err(|error| CommandError::failed("git cannot be run").caused_by(error))
}

/// Whether two checkouts share one repository: the directories that git keeps for both are the same.
fn same_repository(one: &std::path::Path, other: &std::path::Path) -> bool {
    let common = |root: &std::path::Path| {
        let dot = root.join(".git");
        if dot.is_dir() {
            return dot.canonicalize().ok();
        }
        // A linked worktree names its own directory, and there the common one.
        let link = std::fs::read_to_string(dot).ok()?;
        let own = root.join(link.strip_prefix("gitdir:")?.trim());
        let shared = std::fs::read_to_string(own.join("commondir")).ok()?;
        own.join(shared.trim()).canonicalize().ok()
    };
    common(one).is_some_and(|dir| common(other) == Some(dir))
}

/// There is no branch where nothing was changed; scripts that wait and apply need not care.
fn nothing(context: &Context, task: &Task) -> Result<(), CommandError> {
    if context.json {
        let (id, branch) = (task.id, &task.branch);
        return context.terminal.json(&json!({ "id": id, "branch": branch, "result": "up_to_date", "files": 0 }));
    }
    context.terminal.print(&[Line::of(GREEN, "✓ ").add(PLAIN, "the task changed nothing, so there is nothing to take")])
}

fn report(context: &Context, task: &Task, checkout: &Path, applied: &Applied) -> Result<(), CommandError> {
    let (result, files, commit) = match applied {
        Applied::UpToDate => ("up_to_date", 0, None),
        Applied::Merged { commit, files } => ("merged", *files, Some(commit)),
        Applied::Squashed { files } => ("squashed", *files, None),
        Applied::Patched { files } => ("patched", *files, None),
    };
    if context.json {
        return context.terminal.json(&json!({
            "id": task.id, "branch": task.branch, "checkout": checkout, "result": result, "files": files, "commit": commit,
        }));
    }
    let what = match applied {
        Applied::UpToDate => "the checkout has the change already".to_owned(),
        Applied::Merged { .. } => format!("merged, {}", text::count(files, "file")),
        Applied::Squashed { .. } => format!("staged, {}; `git commit` makes the commit", text::count(files, "file")),
        Applied::Patched { .. } => {
            format!("{} changed, beside the uncommitted changes that it started from", text::count(files, "file"))
        }
    };
    let line = Line::of(GREEN, "✓ ").add(PLAIN, what).add(DIM, format!("  {}", task.branch));
    context.terminal.print(&[line])
}
