//! A task's change, taken into a checkout.

use std::path::{Path, PathBuf};

use cadence_agent::workspace::{self, Applied, ApplyMode, WorkspaceError, Workspaces};
use cadence_protocol::Task;

use crate::checkout::{self, Place};
use crate::client::Client;
use crate::error::CommandError;
use crate::remote;
use crate::text;

/// Takes the change of a task that has ended into the checkout that is named, or the one that it belongs to; none where nothing
/// was changed. A server that shares the disk keeps its workspaces below `data`.
pub async fn apply(
    data: &Path,
    client: &Client,
    task: &Task,
    checkout: Option<PathBuf>,
    mode: ApplyMode,
) -> Result<Option<(PathBuf, Applied)>, CommandError> {
    if !task.status.is_end() {
        return Err(CommandError::failed(format!("task {} has not ended yet: it is {}", task.short_id(), task.status))
            .hint(format!("Wait for it: cadence tasks wait {}", task.short_id())));
    }
    if task.metadata.files_changed == Some(0) {
        return Ok(None);
    }
    let local = client.shares_disk();
    let checkout = target(task.repo_path.as_ref().filter(|_| local), checkout).await?;
    if task.repo_path.is_none() || !local {
        bring(data, client, task, &checkout).await?;
    }
    let base = task.base_commit.as_deref();
    let mut applied = workspace::apply_since(&checkout, &task.branch, mode, base).await;
    if matches!(applied, Err(WorkspaceError::NoSuchBranch { .. })) {
        // Deleted here, or the checkout was moved; the workspace still has it.
        bring(data, client, task, &checkout).await?;
        applied = workspace::apply_since(&checkout, &task.branch, mode, base).await;
    }
    Ok(Some((checkout, applied.map_err(checkout::workspace_error)?)))
}

/// What was done, in a few words.
pub fn words(applied: &Applied) -> String {
    let files = match applied {
        Applied::UpToDate => 0,
        Applied::Merged { files, .. } | Applied::Squashed { files } | Applied::Patched { files } => *files,
    };
    match applied {
        Applied::UpToDate => "the checkout has the change already".to_owned(),
        Applied::Merged { .. } => format!("merged, {}", text::count(files, "file")),
        Applied::Squashed { .. } => format!("staged, {}; `git commit` makes the commit", text::count(files, "file")),
        Applied::Patched { .. } => {
            format!("{} changed, beside the uncommitted changes that it started from", text::count(files, "file"))
        }
    }
}

/// The checkout that was named; else the current directory's, where the task's branch is there; else the task's own.
async fn target(own: Option<&String>, named: Option<PathBuf>) -> Result<PathBuf, CommandError> {
    if let Some(path) = named {
        return Ok(path);
    }
    let own = own.map(PathBuf::from);
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
async fn bring(data: &Path, client: &Client, task: &Task, checkout: &Path) -> Result<(), CommandError> {
    if !client.shares_disk() || task.machine_id.is_some() {
        return remote::bring(&client.rest()?, task, checkout).await.map(drop);
    }
    let id = task.short_id();
    let workspace = Workspaces::new(data).open(task.id).map_err(checkout::workspace_error)?;
    let Some(workspace) = workspace else {
        return Err(CommandError::failed("the task's workspace is not here")
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
