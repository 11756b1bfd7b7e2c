//! What a task did, as a bundle for whoever asked for it on another machine.

use std::path::Path;

use super::BundleHead;
use super::write::write;
use crate::workspace::mirror::resolve;
use crate::workspace::{Workspace, WorkspaceError};

/// What a bundle of [`Workspace::bundle`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultBundle {
    /// The newest commit of the task's branch.
    pub tip: String,
    /// The commit that the task started from.
    pub base: String,
}

impl Workspace {
    /// Writes the task's branch as a bundle to the file `to`: its commits, and the one that it started from, which only the
    /// sender may have (a snapshot of uncommitted work). It builds on that one's parents. None, and no file, where the branch
    /// has no commit of its own. What is not committed is left out; see [`Workspace::finish`].
    pub async fn bundle(&self, to: &Path) -> Result<Option<ResultBundle>, WorkspaceError> {
        let git = self.git();
        let base = self.base_commit.clone();
        let tip = resolve(&git, &[&self.branch_ref()]).await?;
        let Some(tip) = tip.filter(|tip| *tip != base) else { return Ok(None) };
        let parents = git.call("rev-list").args(["--parents", "--max-count=1", &base, "--"]).text().await?;
        let parents = parents.split(' ').skip(1).map(str::to_owned).collect();
        write(&git, to, BundleHead { name: self.branch_ref(), commit: tip.clone() }, parents).await?;
        Ok(Some(ResultBundle { tip, base }))
    }
}
