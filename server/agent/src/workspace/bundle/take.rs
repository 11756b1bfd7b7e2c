//! A task's result, taken out of a bundle into the user's repository.

use std::path::Path;

use super::unpack::Unpacked;
use super::{BundleError, BundleHeader};
use crate::git::Git;
use crate::workspace::finish::is_ancestor;
use crate::workspace::inspect::locate;
use crate::workspace::mirror::resolve;
use crate::workspace::names::{is_object_id, is_work_branch};
use crate::workspace::publish::find_branch;
use crate::workspace::{Environment, WorkspaceError};

/// What became of a task's branch here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was here already, as it is there.
    UpToDate,
    /// It is at this commit now.
    Fetched(String),
}

/// Fetches the branch of a task, which started from the commit `base`, out of a bundle into the repository of a checkout. Only
/// that branch changes there, and only forward: `WorkspaceError::Diverged` where it has commits that the bundle does not
/// know, `WorkspaceError::CheckedOut` where somebody is on it, `BundleError::Prerequisite` where the repository is another
/// one, or is behind.
pub async fn take_bundle(
    checkout: &Path,
    branch: &str,
    base: Option<&str>,
    bundle: &Path,
) -> Result<Taken, WorkspaceError> {
    if !is_work_branch(branch) {
        return Err(WorkspaceError::BranchName(branch.to_owned()));
    }
    let name = format!("refs/heads/{branch}");
    let header = BundleHeader::read(bundle)?;
    let tip = match header.heads.as_slice() {
        [head] if head.name == name => head.commit.clone(),
        [head] => return Err(BundleError::Reference(head.name.clone()).into()),
        _ => return Err(BundleError::TooMany.into()),
    };
    let environment = Environment::new();
    let located = locate(checkout, &environment).await?;
    let git = Git::new(&located.common, &environment).repository(&located.common);
    refuse_stranger(&git, base, &header).await?;
    let there = find_branch(&git, &name).await?;
    if there.as_ref().is_some_and(|there| there.tip == tip) {
        return Ok(Taken::UpToDate);
    }
    let scratch = tempfile::tempdir().map_err(WorkspaceError::io("making a directory for", &located.common))?;
    let unpacked = Unpacked::over(bundle, header, scratch.path(), &located.common, &environment).await?;
    if let Some(there) = there {
        if !is_ancestor(&unpacked.git, &there.tip, &tip).await? {
            return Err(WorkspaceError::Diverged { branch: branch.to_owned(), tip: there.tip });
        }
        if let Some(path) = there.checked_out {
            return Err(WorkspaceError::CheckedOut { branch: branch.to_owned(), path });
        }
    }
    unpacked.git.call("update-ref").args([&name, &tip]).run().await?;
    git.setting("core.logAllRefUpdates=false")
        .call("fetch")
        .args([
            "--quiet",
            "--no-write-fetch-head",
            "--no-auto-maintenance",
            "--no-tags",
            "--no-recurse-submodules",
            "--",
        ])
        .arg(unpacked.path())
        .arg(format!("{name}:{name}"))
        .run()
        .await?;
    Ok(Taken::Fetched(tip))
}

/// The repository is the task's where it has the commit that the task started from, or, where only the task has that, the
/// ones before it.
async fn refuse_stranger(git: &Git, base: Option<&str>, header: &BundleHeader) -> Result<(), WorkspaceError> {
    if let Some(base) = base
        && is_object_id(base)
        && resolve(git, &[base]).await?.is_some()
    {
        return Ok(());
    }
    for commit in &header.prerequisites {
        if resolve(git, &[commit]).await?.is_none() {
            return Err(BundleError::Prerequisite(commit.clone()).into());
        }
    }
    if header.is_complete() {
        let start = base.unwrap_or("that the task started from").to_owned();
        return Err(BundleError::Prerequisite(start).into());
    }
    Ok(())
}
