//! Work with a server that shares no disk with this machine: commits go there as a URL or a bundle, and come back as a bundle.

use std::path::{Path, PathBuf};

use cadence_agent::workspace::{self, Checkout, Taken};
use cadence_protocol::{CreateTask, Task};

use crate::checkout::{self, Place, workspace_error};
use crate::client::{Client, Rest};
use crate::error::CommandError;
use crate::text;

/// Says what takes long; may be called from another thread.
pub type Tell = dyn Fn(String) + Send + Sync;

/// Lets a new task start from a commit of a checkout: by its URL where it is pushed, else by a bundle that is sent first, which
/// is of what the remote lacks, or of everything where there is no remote. `changes`: with uncommitted work.
pub async fn start_from(
    client: &Client,
    checkout: &Checkout,
    changes: bool,
    body: &mut CreateTask,
    tell: &Tell,
) -> Result<(), CommandError> {
    let commit = match &body.branch {
        Some(branch) if checkout.branch.as_ref() != Some(branch) => {
            checkout.commit_of(branch).await.map_err(workspace_error)?
        }
        _ => checkout.head.clone(),
    };
    let remote = checkout.remote().await.map_err(workspace_error)?;
    // A file of this machine is none of the server's.
    let remote = remote.filter(|remote| !remote.url.starts_with("file:") || client.endpoint().is_local());
    body.repo_url = remote.as_ref().map(|remote| remote.url.clone());
    let scratch = tempfile::tempdir()
        .map_err(|error| CommandError::failed("there is no room for the commits to be sent").caused_by(error))?;
    let file = scratch.path().join("bundle");
    let captured = match changes {
        true => checkout.bundle_with_changes(remote.as_ref(), &file).await.map_err(workspace_error)?,
        false => None,
    };
    if captured.is_none() {
        if let Some(remote) = &remote
            && checkout.is_pushed(remote, &commit).await.map_err(workspace_error)?
        {
            body.commit = Some(commit);
            return Ok(());
        }
        checkout.bundle(&commit, remote.as_ref(), &file).await.map_err(workspace_error)?;
    }
    let bundle = client.rest()?.upload(&file, tell).await?;
    body.bundle_id = Some(bundle.id);
    body.commit = Some(captured.unwrap_or(commit));
    if body.repo_url.is_none() {
        body.repo_name = Some(checkout.name.clone());
    }
    Ok(())
}

/// Brings a task's branch into the repository of a checkout.
pub async fn bring(rest: &Rest, task: &Task, checkout: &Path) -> Result<Taken, CommandError> {
    let scratch = tempfile::tempdir()
        .map_err(|error| CommandError::failed("there is no room for the task's commits").caused_by(error))?;
    let file = scratch.path().join("bundle");
    rest.result(task.id, &file).await?;
    let taken = workspace::take_bundle(checkout, &task.branch, task.base_commit.as_deref(), &file).await;
    taken.map_err(|error| {
        let place = format!("{} into {}", task.branch, checkout.display());
        let told = workspace_error(error);
        let hints = told.hints().to_vec();
        let whole = CommandError::new(told.exit, format!("{place}: {}", text::clean_line(told.message())));
        hints.into_iter().fold(whole, CommandError::hint)
    })
}

/// Brings the branch of a task that has ended home, where the current directory, or the checkout that was named, is of its
/// repository. Gives the checkout, where there is one and something was done.
pub async fn bring_home(client: &Client, task: &Task, named: Option<&Path>) -> Result<Option<PathBuf>, CommandError> {
    let here = client.shares_disk() && task.machine_id.is_none();
    if here || !task.status.is_end() || task.metadata.files_changed.unwrap_or(0) == 0 {
        return Ok(None);
    }
    let root = match named {
        Some(root) => root.to_path_buf(),
        None => match checkout::find(None).await {
            Ok(Place::Checkout(here)) => here.root,
            _ => return Ok(None),
        },
    };
    bring(&client.rest()?, task, &root).await.map(|_| Some(root))
}
