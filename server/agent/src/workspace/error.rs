use std::path::{Path, PathBuf};

use super::bundle::BundleError;
use crate::git::GitError;
use crate::git::credentials::CredentialError;
use crate::project::ProjectError;

/// Why something could not be done with a repository or a workspace. [`WorkspaceError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("{what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error("the bundle cannot be used: {0}")]
    Bundle(#[from] BundleError),
    #[error("`{origin}` is not a repository that can be used: {reason}")]
    Origin { origin: String, reason: &'static str },
    #[error("{} is not in a git repository", .0.display())]
    NotARepository(PathBuf),
    #[error("{} is a bare repository, without a working tree", .0.display())]
    Bare(PathBuf),
    #[error("{0} has no commit yet")]
    NoCommit(String),
    #[error("{origin} has no branch or tag `{branch}`")]
    NoSuchBranch { branch: String, origin: String },
    #[error("{origin} has no commit {commit}")]
    NoSuchCommit { commit: String, origin: String },
    #[error("`{0}` is not a name that a branch can have")]
    BranchName(String),
    #[error("{} is a partial clone: objects are missing in it", .0.display())]
    Partial(PathBuf),
    #[error("the repository has a branch named `cadence`, so it cannot have `{0}`")]
    NameTaken(String),
    #[error("the branch `{branch}` is checked out in {}", path.display())]
    CheckedOut { branch: String, path: PathBuf },
    #[error("the branch `{branch}` has commits that the task does not know, up to {tip}")]
    Diverged { branch: String, tip: String },
    /// Its commits are found nowhere else.
    #[error("the branch `{branch}` has {commits} commit(s) that are found nowhere else")]
    Unmerged { branch: String, commits: u64 },
    #[error("the workspace of `{branch}` has {files} file(s) with changes that are in no commit")]
    Uncommitted { branch: String, files: u64 },
    /// Other repositories in the workspace: submodules, nested ones, one that the agent broke.
    #[error("the workspace of `{branch}` has commits that are found nowhere else in {}", list(.places))]
    OtherHistory { branch: String, places: Vec<PathBuf> },
    #[error("the change conflicts with the checkout in {}; nothing was changed", list(.files))]
    Conflict { files: Vec<PathBuf> },
    #[error("uncommitted changes are in the way in {}; nothing was changed", list(.files))]
    Overlap { files: Vec<PathBuf> },
    #[error("changes are staged in {}; nothing was changed", list(.files))]
    Staged { files: Vec<PathBuf> },
    #[error("a {what} is in progress in {}", path.display())]
    InProgress { what: &'static str, path: PathBuf },
    #[error("{} is in use", .0.display())]
    Busy(PathBuf),
    /// The agent ended somewhere that does not build on the task's start; its work is kept under `kept`.
    #[error(
        "the agent ended on {head}, which does not build on the commit that the task started from and cannot be merged with \
         `{branch}`; its work is kept in the workspace as {kept}"
    )]
    Strayed { branch: String, head: String, kept: String },
    #[error("the set-up command was stopped after {0} s")]
    SetupTimedOut(u64),
    #[error("{} cannot be read: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
}

impl WorkspaceError {
    /// For `map_err` after I/O on `path`; `what` is a verb: "writing".
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Git(error) => return error.hint(),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "free some disk space".into()
            }
            Self::Bundle(BundleError::Prerequisite(_)) => {
                "the repository is another one, or does not have these commits yet: try again after `git fetch`".into()
            }
            Self::Origin { .. } => "give a path, or a URL with https, ssh, git or file".into(),
            Self::NotARepository(_) => "go to a repository, name one with --repo, or make one with `git init`".into(),
            Self::Bare(_) => "go to a checkout of it, or give its URL with --repo".into(),
            Self::NoCommit(_) => "make one: `git add -A && git commit -m start`".into(),
            Self::Partial(_) => {
                "fetch the rest with `git fetch --refetch --no-filter`, or give its URL with --repo".into()
            }
            Self::NameTaken(_) => "rename your branch: `git branch -m cadence OTHER`".into(),
            Self::CheckedOut { branch, .. } => format!("switch to another branch than {branch} there and try again"),
            Self::Diverged { branch, .. } => {
                format!("keep them under another name: `git branch -m {branch} OTHER`, then try again")
            }
            Self::Unmerged { branch, .. } => format!("merge {branch} first, or remove it with --force"),
            Self::Uncommitted { .. } => "continue the task, or remove it with --force".into(),
            Self::OtherHistory { .. } => {
                "push or copy what you need from there, or remove the task with --force".into()
            }
            Self::Conflict { .. } => "commit, then `git merge` the branch yourself and resolve the conflicts".into(),
            Self::Overlap { .. } => "commit, stash or move these files away first".into(),
            Self::Staged { .. } => "commit or stash your changes first".into(),
            Self::InProgress { what, .. } => format!("finish or abort the {what} first"),
            Self::Busy(_) => "wait until it is done, or cancel the task".into(),
            Self::SetupTimedOut(_) => "give it more time with timeout_secs in [setup] of .cadence.toml".into(),
            _ => return None,
        })
    }
}

fn list(files: &[PathBuf]) -> String {
    let mut text: Vec<String> = files.iter().take(10).map(|f| f.display().to_string()).collect();
    if files.len() > 10 {
        text.push(format!("{} more", files.len() - 10));
    }
    text.join(", ")
}
