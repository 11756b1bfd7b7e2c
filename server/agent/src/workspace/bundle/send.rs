//! What a server on another machine needs of a checkout: where it is published, and a bundle of what is not.

use std::path::Path;

use super::BundleHead;
use super::write::write;
use crate::git::Git;
use crate::workspace::inspect::{Checkout, locate};
use crate::workspace::mirror::is_partial;
use crate::workspace::{Environment, Origin, WorkspaceError, snapshot};

/// A place where the repository is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub name: String,
    /// Without credentials.
    pub url: String,
}

impl Checkout {
    /// The remote that the checked-out branch follows, else `origin`, else the only one; where it has an URL, and not a path of
    /// this machine. Nothing is asked over the network.
    pub async fn remote(&self) -> Result<Option<Remote>, WorkspaceError> {
        let git = self.git();
        let names = git.call("remote").text().await?;
        let names: Vec<&str> = names.lines().collect();
        let followed = match &self.branch {
            Some(branch) => {
                let key = format!("branch.{branch}.remote");
                let answer = git.call("config").args(["--get", &key]).answer().await?;
                String::from_utf8_lossy(&answer.stdout).trim().to_owned()
            }
            None => String::new(),
        };
        let only = names.first().copied().filter(|_| names.len() == 1);
        let chosen = [Some(followed.as_str()), Some("origin"), only];
        let Some(name) = chosen.into_iter().flatten().find(|name| names.contains(name)) else { return Ok(None) };
        // As git would call it, after `url.*.insteadOf`.
        let url = git.call("remote").args(["get-url", "--", name]).text().await?;
        let url = Origin::split_credentials(url.lines().next().unwrap_or_default()).0;
        match Origin::parse(&url) {
            Ok(Origin::Url(url)) => Ok(Some(Remote { name: name.to_owned(), url })),
            _ => Ok(None),
        }
    }

    /// Whether a commit is on a branch of the remote, as far as is known here.
    pub async fn is_pushed(&self, remote: &Remote, commit: &str) -> Result<bool, WorkspaceError> {
        let places = format!("refs/remotes/{}/", remote.name);
        let found = self.git().call("for-each-ref").args(["--count=1", "--contains", commit, &places]).text().await?;
        Ok(!found.is_empty())
    }

    /// Writes a commit as a bundle to the file `to`, with all that it leads to and the remote does not have; without a remote,
    /// with its whole history.
    pub async fn bundle(&self, commit: &str, remote: Option<&Remote>, to: &Path) -> Result<(), WorkspaceError> {
        self.refuse_partial().await?;
        bundle(&self.git(), commit, remote, to).await
    }

    /// As [`Self::bundle`], of the checkout as it is, see [`Workspaces::snapshot`](crate::workspace::Workspaces::snapshot).
    /// Gives the commit of the bundle; none, and no file, where nothing is uncommitted. Nothing is stored in the repository.
    pub async fn bundle_with_changes(
        &self,
        remote: Option<&Remote>,
        to: &Path,
    ) -> Result<Option<String>, WorkspaceError> {
        self.refuse_partial().await?;
        let located = locate(&self.root, &Environment::new()).await?;
        let scratch = tempfile::tempdir().map_err(WorkspaceError::io("making a directory for", &self.root))?;
        let (git, commit) = snapshot::capture(self.git(), &located, &self.head, scratch.path()).await?;
        if commit == self.head {
            return Ok(None);
        }
        bundle(&git, &commit, remote, to).await?;
        Ok(Some(commit))
    }

    /// Whether a commit is in the repository.
    pub async fn has_commit(&self, commit: &str) -> Result<bool, WorkspaceError> {
        let answer = self.git().call("cat-file").args(["-e", &format!("{commit}^{{commit}}")]).answer().await?;
        Ok(answer.code == Some(0))
    }

    fn git(&self) -> Git {
        Git::new(&self.root, &Environment::new())
    }

    async fn refuse_partial(&self) -> Result<(), WorkspaceError> {
        let located = locate(&self.root, &Environment::new()).await?;
        if is_partial(&located.objects()) {
            return Err(WorkspaceError::Partial(self.root.clone()));
        }
        Ok(())
    }
}

async fn bundle(git: &Git, commit: &str, remote: Option<&Remote>, to: &Path) -> Result<(), WorkspaceError> {
    let mut prerequisites = Vec::new();
    if let Some(remote) = remote {
        let listed = git
            .call("rev-list")
            .args(["--boundary", commit, "--not", &format!("--remotes={}", remote.name), "--"])
            .text()
            .await?;
        prerequisites = listed.lines().filter_map(|line| line.strip_prefix('-')).map(str::to_owned).collect();
    }
    write(git, to, BundleHead { name: "HEAD".into(), commit: commit.to_owned() }, prerequisites).await
}
