//! What is too large for the socket: commits that a task starts from come, and what was made of them goes.

use std::path::Path;

use cadence_agent::workspace::{Workspace, WorkspaceError, Workspaces};
use cadence_protocol::Lease;
use uuid::Uuid;

use crate::client::{Rest, socket::back_off};
use crate::error::{CommandError, Exit};

/// Largest diff that is sent, in bytes.
pub const MAX_DIFF: usize = 8 * 1024 * 1024;
/// How often a bundle is asked for before the attempt is given back.
const TRIES: u32 = 6;

/// Brings the commits that a task starts from, unless they are here already.
pub async fn fetch(rest: &Rest, workspaces: &Workspaces, bundle: Uuid) -> Result<(), CommandError> {
    let place = workspaces.bundle_file(bundle);
    if place.is_file() {
        return Ok(());
    }
    let unusable = |error: std::io::Error| {
        CommandError::failed("the commits that the task starts from cannot be kept").caused_by(error)
    };
    if let Some(directory) = place.parent() {
        std::fs::create_dir_all(directory).map_err(unusable)?;
    }
    let staged = place.with_extension(format!("{}.new", Uuid::new_v4().simple()));
    let mut failures = 0;
    loop {
        match rest.bundle(bundle, &staged).await {
            Ok(()) => return std::fs::rename(&staged, &place).map_err(unusable),
            Err(error) => {
                let _ = std::fs::remove_file(&staged);
                failures += 1;
                if failures >= TRIES || !passes(&error) {
                    return Err(error);
                }
                tokio::time::sleep(back_off(failures)).await;
            }
        }
    }
}

/// Hands over what an attempt made, until the server has it or does not want it.
pub async fn hand_over(rest: &Rest, workspaces: &Workspaces, lease: Lease, scratch: &Path) {
    let task = lease.task_id;
    let workspace = match workspaces.open(task) {
        Ok(Some(workspace)) => workspace,
        // It ended before it had one.
        Ok(None) => return,
        Err(error) => return tracing::error!(%error, %task, "the workspace cannot be opened, so its result stays here"),
    };
    let bundle = scratch.join("result.bundle");
    let made = match result(&workspace, &bundle).await {
        Ok(made) => made,
        Err(error) => return tracing::error!(%error, %task, "the result cannot be read, and stays here"),
    };
    let mut failures = 0;
    loop {
        let file = made.has_commits.then_some(bundle.as_path());
        match rest.hand_over(lease, &workspace.base_commit, made.diff.clone(), file).await {
            Ok(()) => break,
            Err(error) if passes(&error) => {
                tracing::debug!(error = error.message(), %task, "the result could not be handed over; it is tried again");
                tokio::time::sleep(back_off(failures)).await;
                failures += 1;
            }
            Err(error) => {
                tracing::error!(error = error.message(), %task, "the server does not take the result; it stays here");
                break;
            }
        }
    }
    let _ = std::fs::remove_file(&bundle);
}

struct Made {
    diff: String,
    has_commits: bool,
}

async fn result(workspace: &Workspace, bundle: &Path) -> Result<Made, WorkspaceError> {
    let diff = workspace.diff(MAX_DIFF).await?;
    let has_commits = workspace.bundle(bundle).await?.is_some();
    Ok(Made { diff, has_commits })
}

/// Whether it may work later: the network, a server that starts, a disk that is full.
fn passes(error: &CommandError) -> bool {
    matches!(error.exit, Exit::Unreachable)
        || error.exit == Exit::Failed && !error.not_found && error.message().contains("cannot keep")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_work_later_is_tried_again() {
        assert!(passes(&CommandError::new(Exit::Unreachable, "the server cannot be reached")));
        assert!(!passes(&CommandError::new(Exit::Usage, "no such task")));
        assert!(!passes(&CommandError::new(Exit::Failed, "the attempt is somebody else's")));
    }
}
