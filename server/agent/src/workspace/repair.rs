//! A workspace's repository made usable again, whatever an agent did to it. Nothing is deleted that could be work.

use std::fs;
use std::path::{Path, PathBuf};

use super::mirror::{UPLOAD_PACK, resolve};
use super::{Record, Workspace, WorkspaceError};

/// Files of git that say "somebody is writing"; with the agent gone they say nothing.
const LOCKS: &[&str] =
    &["index.lock", "HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock", "MERGE_HEAD.lock"];

/// A broken repository that is kept in the workspace's home; a number follows.
pub(super) const ASIDE: &str = "git-aside-";

impl Workspace {
    /// Removes locks that were left behind and puts a missing or broken `.git` right. Gives what was done, for people.
    /// Only for a workspace whose agent is gone.
    pub(super) async fn repair(&self) -> Result<Vec<String>, WorkspaceError> {
        let git_dir = self.git_dir();
        if !fs::symlink_metadata(&git_dir).is_ok_and(|meta| meta.is_dir()) {
            let gone = fs::symlink_metadata(&git_dir).is_err();
            self.start_over().await?;
            let what = if gone { "removed" } else { "replaced" };
            return Ok(vec![format!(
                "The agent {what} the repository (.git); it was made again, with the files as they are"
            )]);
        }
        for name in LOCKS {
            let _ = fs::remove_file(git_dir.join(name));
        }
        remove_locks(&git_dir.join("refs"));
        self.borrow_objects()?;
        if !git_dir.join("HEAD").is_file() {
            let head = git_dir.join("HEAD");
            let text = format!("ref: {}\n", self.branch_ref());
            fs::write(&head, text).map_err(WorkspaceError::io("writing", &head))?;
        }
        if resolve(&self.git(), &[&self.base_commit]).await?.is_some() {
            return Ok(Vec::new());
        }
        self.start_over().await?;
        Ok(vec!["The workspace's repository was broken; it was made again, with the files as they are".into()])
    }

    /// A new repository around the files. One that is there is kept beside the checkout.
    async fn start_over(&self) -> Result<(), WorkspaceError> {
        let git_dir = self.git_dir();
        if fs::symlink_metadata(&git_dir).is_ok() {
            let aside = free_name(&self.home);
            fs::rename(&git_dir, &aside).map_err(WorkspaceError::io("moving", &git_dir))?;
        }
        self.init().await?;
        let mut tip = self.base_commit.clone();
        if let Some(published) = Record::read(&self.home)?.and_then(|record| record.published)
            && self.bring(&published).await?
        {
            tip = published;
        }
        let git = self.git();
        git.call("update-ref").args([self.branch_ref(), tip.clone()]).run().await?;
        git.call("read-tree").arg(&tip).run().await?;
        Ok(())
    }

    /// Fetches a commit back that was published; says whether it is there now.
    async fn bring(&self, commit: &str) -> Result<bool, WorkspaceError> {
        let git = self.git();
        if resolve(&git, &[commit]).await?.is_none()
            && let Some(repository) = &self.repository
        {
            let fetch = git.call("fetch").args(["--quiet", "--no-write-fetch-head", "--no-tags", UPLOAD_PACK, "--"]);
            fetch.arg(repository).arg(commit).answer().await?;
        }
        Ok(resolve(&git, &[commit]).await?.is_some())
    }
}

fn free_name(home: &Path) -> PathBuf {
    let mut number = 1;
    loop {
        let path = home.join(format!("{ASIDE}{number}"));
        if fs::symlink_metadata(&path).is_err() {
            return path;
        }
        number += 1;
    }
}

fn remove_locks(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_locks(&path);
        } else if path.extension().is_some_and(|kind| kind == "lock") {
            let _ = fs::remove_file(path);
        }
    }
}
