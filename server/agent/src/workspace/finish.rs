//! After an agent: its work, committed or not, on the task's branch.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::inner::links;
use super::mirror::resolve;
use super::snapshot::nested_links;
use super::{Workspace, WorkspaceError};
use crate::git::{Answer, Git, GitError, bytes_of, fields, path_of};

/// What was done to bring an agent's work together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// The commit of what the agent left uncommitted.
    pub commit: Option<String>,
    /// What a person should know: work that is not on the branch, or came there in an unusual way.
    pub notes: Vec<String>,
}

impl Workspace {
    /// Commits what the agent left uncommitted, and sees to it that the task's branch has its work. Gives the commit of the
    /// leftovers. See [`Workspace::finish`].
    pub async fn commit_leftovers(&self, message: &str) -> Result<Option<String>, WorkspaceError> {
        Ok(self.finish(message).await?.commit)
    }

    /// Commits what the agent left uncommitted, ignored files left out, and brings its final HEAD to the task's branch
    /// where it was on another one or on none. Only for a workspace whose agent is gone, and under [`Workspace::lock`].
    /// Done again, it does nothing.
    ///
    /// `WorkspaceError::Strayed` where the work does not build on the task's start and cannot be merged.
    pub async fn finish(&self, message: &str) -> Result<Finished, WorkspaceError> {
        let mut notes = self.repair().await?;
        let git = self.git();
        let head_ref = git.call("symbolic-ref").args(["--quiet", "HEAD"]).answer().await?;
        let head_ref = String::from_utf8_lossy(&head_ref.stdout).trim().to_owned();
        let tip = resolve(&git, &[&self.branch_ref()]).await?;
        let Some(head) = resolve(&git, &["HEAD"]).await? else {
            // A branch without a commit: the files go onto the task's branch.
            let start = tip.unwrap_or_else(|| self.base_commit.clone());
            git.call("update-ref").args([self.branch_ref(), start]).run().await?;
            git.call("symbolic-ref").args(["HEAD".to_owned(), self.branch_ref()]).run().await?;
            let commit = self.commit_all(&git, message, &mut notes).await?;
            return Ok(Finished { commit, notes });
        };
        if head_ref.is_empty() && self.in_git(&["rebase-merge", "rebase-apply"]) {
            self.keep_rebase(&git, tip, &head, &mut notes).await?;
            return Ok(Finished { commit: None, notes });
        }
        let commit = self.commit_all(&git, message, &mut notes).await?;
        let new = commit.clone().unwrap_or(head);
        let on_branch = head_ref == self.branch_ref();
        let tip = tip.filter(|_| !on_branch).unwrap_or_else(|| self.base_commit.clone());
        let result = self.settle(&git, &new, &tip, on_branch, &mut notes).await?;
        if !on_branch || result != new {
            git.call("update-ref").args([self.branch_ref(), result.clone()]).run().await?;
            let back = git.setting("checkout.workers=0").call("checkout").args(["--quiet", &self.branch, "--"]);
            let back = back.answer().await?;
            if back.code != Some(0) {
                notes.push(format!("The workspace could not be put back on {}: {}", self.branch, back.stderr.trim()));
            }
        }
        Ok(Finished { commit, notes })
    }

    fn in_git(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.git_dir().join(name).exists())
    }

    /// Where the branch shall point, when the agent's work ends at `new` and the branch at `tip`; `tip` is the task's start
    /// where `new` is on the branch.
    async fn settle(
        &self,
        git: &Git,
        new: &str,
        tip: &str,
        on_branch: bool,
        notes: &mut Vec<String>,
    ) -> Result<String, WorkspaceError> {
        let base = &self.base_commit;
        if is_ancestor(git, tip, new).await? {
            return Ok(new.to_owned());
        }
        if is_ancestor(git, new, tip).await? {
            return Ok(tip.to_owned());
        }
        let own = git.call("rev-list").args(["--count", new, "--not", tip, base, "--remotes", "--tags"]).text().await?;
        if own == "0" {
            // It only looked at something else.
            return Ok(tip.to_owned());
        }
        if git.call("merge-base").args([tip, new]).answer().await?.code != Some(0) {
            notes.push("The agent began a history of its own; its files became one commit on the task's branch".into());
            return self.commit_tree(git, &format!("{new}^{{tree}}"), &[tip], "The agent's work").await;
        }
        if on_branch {
            // It amended, for instance. Its files are what it wants them to be; on its start, they can be merged.
            let kept = keep(git, new).await?;
            notes.push(format!(
                "The agent rewrote the commit that the task started from; its files became one commit on top of that, its own \
                 commits are kept as {kept} in the workspace"
            ));
            return self.commit_tree(git, &format!("{new}^{{tree}}"), &[tip], "The agent's work").await;
        }
        let merged = git.call("merge-tree").args(["--write-tree", tip, new]).answer().await?;
        if merged.code == Some(0) {
            notes.push("The agent worked on another branch too; it was merged".into());
            let tree = String::from_utf8_lossy(&merged.stdout).trim().to_owned();
            return self.commit_tree(git, &tree, &[tip, new], "Merge the agent's work").await;
        }
        if is_ancestor(git, base, new).await? {
            let kept = keep(git, tip).await?;
            notes.push(format!("The agent worked on two branches that conflict; the other one is kept as {kept}"));
            return Ok(new.to_owned());
        }
        let kept = keep(git, new).await?;
        Err(WorkspaceError::Strayed { branch: self.branch.clone(), head: short(new).to_owned(), kept })
    }

    /// A rebase that was left half done: the branch still has the commits from before it; the state is kept beside.
    async fn keep_rebase(
        &self,
        git: &Git,
        tip: Option<String>,
        head: &str,
        notes: &mut Vec<String>,
    ) -> Result<(), WorkspaceError> {
        if tip.is_none() {
            let before = ["rebase-merge/orig-head", "rebase-apply/orig-head"]
                .iter()
                .find_map(|name| fs::read_to_string(self.git_dir().join(name)).ok());
            let before = before.unwrap_or_else(|| head.to_owned());
            git.call("update-ref").args([self.branch_ref(), before.trim().to_owned()]).run().await?;
        }
        let index = self.index_copy()?;
        let scratch = git.clone().env("GIT_INDEX_FILE", index.path().join("index"));
        add(&scratch, &["--all"], Vec::new()).await?;
        let tree = scratch.call("write-tree").text().await?;
        let state = self.commit_tree(git, &tree, &[head], "A rebase that was left half done").await?;
        let kept = keep(git, &state).await?;
        notes.push(format!(
            "The agent left a rebase half done: {} has the commits from before it, the half-done state is {kept} in the workspace",
            self.branch
        ));
        Ok(())
    }

    async fn commit_tree(
        &self,
        git: &Git,
        tree: &str,
        parents: &[&str],
        message: &str,
    ) -> Result<String, WorkspaceError> {
        let mut call = git.call("commit-tree").arg(tree);
        for parent in parents {
            call = call.args(["-p", parent]);
        }
        Ok(call.args(["-m", message]).text().await?)
    }

    /// Commits everything that git does not ignore onto HEAD, where there is anything.
    async fn commit_all(
        &self,
        git: &Git,
        message: &str,
        notes: &mut Vec<String>,
    ) -> Result<Option<String>, WorkspaceError> {
        let mut merging = self.in_git(&["MERGE_HEAD"]);
        if self.in_git(&["MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "sequencer"]) {
            self.end_unfinished(git, &mut merging, notes).await?;
        }
        let status = self.status(git).await?;
        let nested: Vec<Vec<u8>> = fields(&status)
            .filter_map(|entry| entry.strip_prefix(b"?? ")?.strip_suffix(b"/"))
            .map(<[u8]>::to_vec)
            .collect();
        if !status.is_empty() {
            let added = add(git, &["--all"], nested.clone()).await?;
            match added.code {
                Some(0) => {}
                Some(1) => notes.push(format!("Not everything could be committed: {}", said(added))),
                _ => return Err(added.into_error("add").into()),
            }
        }
        let mut links: BTreeSet<Vec<u8>> = nested.into_iter().collect();
        links.extend(nested_links(git, &self.base_commit).await?);
        for path in links {
            self.take_in(git, &path, notes).await?;
        }
        self.note_submodules(&status, notes).await?;
        if !merging && git.call("diff-index").args(["--cached", "--quiet", "HEAD", "--"]).holds().await? {
            return Ok(None);
        }
        let message = if message.trim().is_empty() { "Work of the agent" } else { message };
        git.call("commit")
            .args(["--quiet", "--no-verify", "--no-gpg-sign", "--cleanup=whitespace", "--file=-"])
            .stdin(message)
            .run()
            .await?;
        resolve(git, &["HEAD"]).await
    }

    /// What differs from HEAD. An index that cannot be read is made anew from HEAD.
    async fn status(&self, git: &Git) -> Result<Vec<u8>, WorkspaceError> {
        let call = || {
            git.call("status")
                .args(["--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty"])
                .run()
        };
        match call().await {
            Err(GitError::Failed { message, .. }) if message.contains("index") => {
                let index = self.git_dir().join("index");
                fs::rename(&index, self.git_dir().join("index.broken"))
                    .map_err(WorkspaceError::io("moving", &index))?;
                git.call("read-tree").arg("HEAD").run().await?;
                Ok(call().await?)
            }
            other => Ok(other?),
        }
    }

    /// Ends a merge, cherry-pick or revert that is in progress. A merge without conflicts stays one.
    async fn end_unfinished(
        &self,
        git: &Git,
        merging: &mut bool,
        notes: &mut Vec<String>,
    ) -> Result<(), WorkspaceError> {
        let unmerged =
            git.call("diff").args(["--name-only", "-z", "--diff-filter=U", "--ignore-submodules=dirty"]).run().await?;
        let files: Vec<String> =
            fields(&unmerged).map(|path| String::from_utf8_lossy(path).into_owned()).take(20).collect();
        if *merging && files.is_empty() {
            return Ok(());
        }
        *merging = false;
        for name in ["MERGE_HEAD", "MERGE_MODE", "MERGE_MSG", "AUTO_MERGE", "CHERRY_PICK_HEAD", "REVERT_HEAD"] {
            let _ = fs::remove_file(self.git_dir().join(name));
        }
        super::remove_tree(&self.git_dir().join("sequencer"))?;
        if !files.is_empty() {
            notes.push(format!(
                "The agent left conflicts unresolved; they were committed as they are: {}",
                files.join(", ")
            ));
        }
        Ok(())
    }

    /// Puts the files of a repository that lies in the workspace into the index: a link to it would lead nowhere elsewhere.
    async fn take_in(&self, git: &Git, path: &[u8], notes: &mut Vec<String>) -> Result<(), WorkspaceError> {
        let relative = path_of(path);
        let directory = self.directory.join(&relative);
        let inner = directory.join(".git");
        if fs::symlink_metadata(&inner).is_err() {
            notes.push(format!("{} links to another repository, which is not here", relative.display()));
            return Ok(());
        }
        let listed = Git::new(&directory, &self.environment)
            .env("GIT_CEILING_DIRECTORIES", &self.directory)
            .call("ls-files")
            .args(["-z", "--cached", "--others", "--exclude-standard"])
            .answer()
            .await?;
        if listed.code != Some(0) {
            notes.push(format!(
                "{} is a repository that cannot be read; it stays in the workspace only",
                relative.display()
            ));
            return Ok(());
        }
        let mut list = Vec::new();
        let names: BTreeSet<&[u8]> = fields(&listed.stdout).collect();
        for name in names {
            let file = relative.join(path_of(name));
            let kind = fs::symlink_metadata(self.directory.join(&file));
            if kind.is_ok_and(|meta| meta.is_file() || meta.is_symlink()) {
                list.extend_from_slice(bytes_of(&file));
                list.push(0);
            }
        }
        let mut link = path.to_vec();
        link.push(0);
        git.call("update-index").args(["--force-remove", "-z", "--stdin"]).stdin(link).run().await?;
        git.call("update-index").args(["--add", "-z", "--stdin"]).stdin(list).run().await?;
        notes.push(format!(
            "{} is a repository of its own; its files are on the branch, its history stays in the workspace",
            relative.display()
        ));
        Ok(())
    }

    async fn note_submodules(&self, status: &[u8], notes: &mut Vec<String>) -> Result<(), WorkspaceError> {
        let mut changed: BTreeSet<PathBuf> = self.dirty_submodules().await?.into_iter().collect();
        for entry in fields(status) {
            let Some(path) = entry.get(3..).map(path_of) else { continue };
            if entry.get(1) == Some(&b'M') && is_repository(&self.directory.join(&path)) {
                changed.insert(path);
            }
        }
        for path in changed {
            notes.push(format!(
                "Work inside the submodule {} stays in the workspace; only what is committed there is referred to",
                path.display()
            ));
        }
        Ok(())
    }
}

fn is_repository(directory: &Path) -> bool {
    directory.is_dir() && fs::symlink_metadata(directory.join(".git")).is_ok()
}

/// Adds what lies in the working tree, without the paths in `not`, to the index. Links to repositories are brought up to date
/// on their own: `git add` would run git in each, with what its settings name.
pub(super) async fn add(git: &Git, arguments: &[&str], mut not: Vec<Vec<u8>>) -> Result<Answer, WorkspaceError> {
    let links = links(git).await?;
    let mut update = Vec::new();
    for path in links.iter().filter(|path| !not.contains(path)) {
        update.extend_from_slice(path);
        update.push(0);
    }
    not.extend(links);
    let mut list = b":/\0".to_vec();
    for path in not {
        list.extend_from_slice(b":(top,exclude,literal)");
        list.extend_from_slice(&path);
        list.push(0);
    }
    let call =
        git.call("add").args(arguments).args(["--ignore-errors", "--pathspec-from-file=-", "--pathspec-file-nul"]);
    let added = call.stdin(list).answer().await?;
    if added.code == Some(0) && !update.is_empty() {
        let updated = git.call("update-index").args(["--remove", "-z", "--stdin"]).stdin(update).answer().await?;
        // As `add` says that not all could be added.
        let code = updated.code.map(|code| code.min(1));
        return Ok(Answer { code, ..updated });
    }
    Ok(added)
}

fn said(answer: Answer) -> String {
    match answer.into_error("add") {
        GitError::Failed { message, .. } => message,
        other => other.to_string(),
    }
}

/// A reference that keeps a commit which is on no branch.
async fn keep(git: &Git, commit: &str) -> Result<String, WorkspaceError> {
    let name = format!("refs/cadence/kept/{}", short(commit));
    git.call("update-ref").args([&name, commit]).run().await?;
    Ok(name)
}

pub(super) async fn is_ancestor(git: &Git, old: &str, new: &str) -> Result<bool, WorkspaceError> {
    Ok(git.call("merge-base").args(["--is-ancestor", old, new]).holds().await?)
}

fn short(commit: &str) -> &str {
    &commit[..commit.len().min(12)]
}
