//! The task's branch, brought to where the user finds it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finish::is_ancestor;
use super::lock::lock;
use super::mirror::resolve;
use super::{Record, Workspace, WorkspaceError, submodules};
use crate::git::{Git, GitError, path_of};

/// How long somebody else who uses the mirror is waited for.
const WAIT: Duration = Duration::from_secs(600);

/// A branch in the user's repository.
pub(super) struct Branch {
    pub tip: String,
    /// The checkout that is on it.
    pub checked_out: Option<PathBuf>,
}

impl Workspace {
    /// Whether the task's branch has commits of its own, or was published before: then it is to be published.
    pub async fn has_work(&self) -> Result<bool, WorkspaceError> {
        let tip = resolve(&self.git(), &[&self.branch_ref()]).await?;
        let published = Record::read(&self.home)?.and_then(|record| record.published);
        Ok(published.is_some() || tip.is_some_and(|tip| tip != self.base_commit))
    }

    /// Fetches the task's branch into the user's repository, or into the mirror for an URL. Only this branch changes there,
    /// with no hooks and no maintenance. A branch that the user moved on is left alone: `WorkspaceError::Diverged`; so is
    /// one that is checked out: `WorkspaceError::CheckedOut`.
    pub async fn publish(&self) -> Result<(), WorkspaceError> {
        let own = self.git();
        let tip = resolve(&own, &[&self.branch_ref()]).await?;
        let tip = tip.ok_or_else(|| WorkspaceError::NoSuchBranch {
            branch: self.branch.clone(),
            origin: "the workspace".into(),
        })?;
        let _held = match &self.repository {
            Some(_) => None,
            None => Some(lock(&self.mirror.with_extension("lock"), WAIT).await?),
        };
        let git = self.target()?;
        let there = self.branch_there(&git).await?;
        if let Some(branch) = &there {
            if branch.tip == tip {
                return self.record(|record| record.published = Some(tip));
            }
            if let Some(path) = &branch.checked_out {
                return Err(WorkspaceError::CheckedOut { branch: self.branch.clone(), path: path.clone() });
            }
            let published = Record::read(&self.home)?.and_then(|record| record.published);
            let known = resolve(&own, &[&branch.tip]).await?.is_some();
            if published.as_ref() != Some(&branch.tip) && !(known && is_ancestor(&own, &branch.tip, &tip).await?) {
                return Err(WorkspaceError::Diverged { branch: self.branch.clone(), tip: branch.tip.clone() });
            }
        }
        if let Some(repository) = &self.repository {
            submodules::publish_lfs(self, repository)?;
        }
        let fetched = git
            .setting("core.logAllRefUpdates=false")
            .call("fetch")
            .args(["--quiet", "--no-write-fetch-head", "--no-auto-maintenance", "--no-tags", "--no-recurse-submodules"])
            .arg("--upload-pack=git -c core.hooksPath=/dev/null upload-pack")
            .arg("--")
            .arg(&self.directory)
            .arg(format!("+{0}:{0}", self.branch_ref()))
            .run()
            .await;
        match fetched {
            Ok(_) => self.record(|record| record.published = Some(tip)),
            Err(GitError::Failed { message, .. }) if message.contains("refs/heads/cadence' exists") => {
                Err(WorkspaceError::NameTaken(self.branch.clone()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Git where the branch is published.
    pub(super) fn target(&self) -> Result<Git, WorkspaceError> {
        let directory: &Path = self.repository.as_deref().unwrap_or(&self.mirror);
        if !directory.is_dir() {
            return Err(WorkspaceError::NotARepository(directory.to_path_buf()));
        }
        Ok(Git::new(directory, &self.environment).repository(directory))
    }

    /// The task's branch where it is published.
    pub(super) async fn branch_there(&self, git: &Git) -> Result<Option<Branch>, WorkspaceError> {
        find_branch(git, &self.branch_ref()).await
    }
}

/// The branch whose full name this is, where it is there.
pub(super) async fn find_branch(git: &Git, full_name: &str) -> Result<Option<Branch>, WorkspaceError> {
    let format = "--format=%(refname)%00%(objectname)%00%(worktreepath)";
    let text = git.call("for-each-ref").args([format, full_name]).run().await?;
    for line in text.split(|b| *b == b'\n') {
        let mut parts = line.splitn(3, |b| *b == 0);
        if let (Some(name), Some(tip), Some(path)) = (parts.next(), parts.next(), parts.next())
            && name == full_name.as_bytes()
        {
            let checked_out = (!path.is_empty()).then(|| path_of(path));
            return Ok(Some(Branch { tip: String::from_utf8_lossy(tip).into_owned(), checked_out }));
        }
    }
    Ok(None)
}
