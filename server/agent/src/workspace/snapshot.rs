//! A checkout as it is, as a commit in the mirror.

use std::fs;
use std::path::Path;

use super::inspect::Located;
use super::mirror::{Source, resolve};
use super::settings::UserSettings;
use super::{Environment, Identity, Origin, WorkspaceError, Workspaces};
use crate::git::{Git, fields};

impl Workspaces {
    /// Captures the checkout with its uncommitted work, files that git does not know yet included and ignored ones left
    /// out, as a commit in the mirror; gives the commit's id. The HEAD commit itself where there is no uncommitted work.
    /// Changes nothing in the checkout or its repository.
    ///
    /// Uncommitted work inside submodules and in repositories nested in the checkout is left out.
    pub async fn snapshot(&self, checkout: &Path, environment: &Environment) -> Result<String, WorkspaceError> {
        let source = Source::find(&Origin::Local(checkout.to_path_buf()), environment).await?;
        let Source::Local(located) = source.clone() else {
            return Err(WorkspaceError::NotARepository(checkout.to_path_buf()));
        };
        let root = located.root.clone().ok_or_else(|| WorkspaceError::Bare(checkout.to_path_buf()))?;
        let user = Git::new(&root, environment);
        let head = resolve(&user, &["HEAD"]).await?;
        let head = head.ok_or_else(|| WorkspaceError::NoCommit(root.display().to_string()))?;
        let mirror = self.mirror(source, environment, &|_| ()).await?;
        mirror.fetch_commit(&head, &|_| ()).await?;

        // Objects go to a place of their own first: what the user has in his repository, staged for instance, is missing in
        // the mirror and would be passed over.
        let scratch = tempfile::tempdir_in(self.mirrors()).map_err(WorkspaceError::io("making", &mirror.path))?;
        let (git, commit) = capture(user, &located, &head, scratch.path()).await?;
        if commit == head {
            return Ok(head);
        }
        let pack = mirror.path.join("objects/pack/pack");
        git.call("pack-objects")
            .args(["--quiet", "--revs", "--delta-base-offset"])
            .arg(&pack)
            .stdin(format!("{commit}\n^{head}\n"))
            .run()
            .await?;
        mirror.git().call("update-ref").args([&format!("refs/cadence/commits/{commit}"), &commit]).run().await?;
        Ok(commit)
    }
}

/// Captures a checkout on the commit `head`, with objects that go below `scratch`. Gives a git that sees them, and the commit;
/// that is `head` where nothing is uncommitted.
pub(super) async fn capture(
    user: Git,
    located: &Located,
    head: &str,
    scratch: &Path,
) -> Result<(Git, String), WorkspaceError> {
    let objects = scratch.join("objects");
    fs::create_dir(&objects).map_err(WorkspaceError::io("making", &objects))?;
    let index = scratch.join("index");
    copy_index(located, &index)?;
    let identity = UserSettings::read(&user).await?.identity;
    let git = captured(user, located, &objects, &index, &identity);
    let added = git.call("add").args(["--all", "--ignore-errors"]).answer().await?;
    if added.code != Some(0) && added.code != Some(1) {
        return Err(added.into_error("add").into());
    }
    drop_nested(&git, head).await?;
    let tree = git.call("write-tree").text().await?;
    if tree == user_tree(&git, head).await? {
        return Ok((git, head.to_owned()));
    }
    let message = "Uncommitted work at the start of the task";
    let commit = git.call("commit-tree").args([&tree, "-p", head, "-m", message]).text().await?;
    Ok((git, commit))
}

/// Git on the user's checkout, which writes objects and index elsewhere.
fn captured(user: Git, located: &Located, objects: &Path, index: &Path, identity: &Identity) -> Git {
    user.env("GIT_OBJECT_DIRECTORY", objects)
        .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(&located.objects()))
        .env("GIT_INDEX_FILE", index)
        .setting(format!("user.name={}", identity.name))
        .setting(format!("user.email={}", identity.email))
}

/// A path in a list that is separated by colons.
pub(super) fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

fn copy_index(located: &Located, to: &Path) -> Result<(), WorkspaceError> {
    let from = located.git_dir.join("index");
    match fs::copy(&from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(WorkspaceError::io("reading", &from)(error)),
        _ => Ok(()),
    }
}

/// Takes repositories that only lie in the checkout out of the index: their commits are not in this one.
async fn drop_nested(git: &Git, head: &str) -> Result<(), WorkspaceError> {
    let nested = nested_links(git, head).await?;
    if nested.is_empty() {
        return Ok(());
    }
    let mut list = Vec::new();
    for path in nested {
        list.extend_from_slice(&path);
        list.push(0);
    }
    git.call("update-index").args(["--force-remove", "-z", "--stdin"]).stdin(list).run().await?;
    Ok(())
}

/// Paths in the index that link to another repository and did not in `commit`, without those that `.gitmodules` names.
pub(super) async fn nested_links(git: &Git, commit: &str) -> Result<Vec<Vec<u8>>, WorkspaceError> {
    let raw = git
        .call("diff-index")
        .args(["--cached", "--raw", "-z", "--no-renames", "--ignore-submodules=none", commit, "--"])
        .run()
        .await?;
    let mut all = fields(&raw);
    let mut nested = Vec::new();
    while let (Some(change), Some(path)) = (all.next(), all.next()) {
        let mut modes = change.split(|b| *b == b' ');
        let (old, new) = (modes.next().unwrap_or_default(), modes.next().unwrap_or_default());
        if new == b"160000" && old != b":160000" {
            nested.push(path.to_vec());
        }
    }
    if !nested.is_empty() {
        let known = git
            .call("config")
            .args(["--file", ".gitmodules", "-z", "--get-regexp", r"^submodule\..*\.path$"])
            .answer()
            .await?;
        let known: Vec<&[u8]> = fields(&known.stdout).filter_map(|f| f.splitn(2, |b| *b == b'\n').nth(1)).collect();
        nested.retain(|path| !known.contains(&path.as_slice()));
    }
    Ok(nested)
}

async fn user_tree(git: &Git, commit: &str) -> Result<String, WorkspaceError> {
    Ok(git.call("rev-parse").args(["--verify", &format!("{commit}^{{tree}}")]).text().await?)
}
