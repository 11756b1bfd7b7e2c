//! A bundle that somebody sent, brought into the mirror that a workspace is made from.

use std::path::Path;

use super::unpack::Unpacked;
use super::{BundleError, BundleHeader};
use crate::workspace::WorkspaceError;
use crate::workspace::mirror::{Mirror, Progress};

/// Commits that are fetched one by one because a bundle builds on them, at most; one usually brings the others.
const FETCHES: usize = 20;

/// Name of what is fetched out of the unpacked bundle.
const WANTED: &str = "refs/heads/wanted";

impl Mirror {
    /// Brings a commit of a bundle into the mirror with all that it leads to, unless it is there. What it builds on comes
    /// from the origin.
    pub(in crate::workspace) async fn import(
        &self,
        bundle: &Path,
        commit: &str,
        progress: Progress<'_>,
    ) -> Result<(), WorkspaceError> {
        if self.has(commit).await? {
            return Ok(());
        }
        let header = BundleHeader::read(bundle)?;
        if !header.heads.iter().any(|head| head.commit == commit) {
            return Err(BundleError::NoCommit(commit.to_owned()).into());
        }
        self.fetch_prerequisites(&header, progress).await?;
        progress("Unpacking the commits that were sent along");
        let within = self.path.parent().unwrap_or(&self.path);
        let unpacked = Unpacked::over(bundle, header, within, &self.path, self.environment()).await?;
        unpacked.git.call("update-ref").args([WANTED, commit]).run().await?;
        self.git()
            .call("fetch")
            .args(["--quiet", "--no-write-fetch-head", "--no-auto-maintenance", "--no-tags", "--"])
            .arg(unpacked.path())
            .arg(format!("+{WANTED}:refs/cadence/commits/{commit}"))
            .run()
            .await?;
        Ok(())
    }

    async fn fetch_prerequisites(&self, header: &BundleHeader, progress: Progress<'_>) -> Result<(), WorkspaceError> {
        let mut fetched = 0;
        for commit in &header.prerequisites {
            if self.has(commit).await? {
                continue;
            }
            fetched += 1;
            let missing = || WorkspaceError::from(BundleError::Prerequisite(commit.clone()));
            if fetched > FETCHES {
                return Err(missing());
            }
            match self.fetch_commit(commit, progress).await {
                Err(WorkspaceError::NoSuchCommit { .. }) => return Err(missing()),
                other => other?,
            }
        }
        Ok(())
    }
}
