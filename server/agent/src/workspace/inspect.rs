//! What is known of a repository where it lies.

use std::path::{Path, PathBuf};

use super::mirror::resolve;
use super::names::is_branch_name;
use super::{Environment, Origin, WorkspaceError, plain, repo_name};
use crate::git::Git;

/// A repository that a command was started in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// Its top directory.
    pub root: PathBuf,
    pub name: String,
    /// None where HEAD is on no branch.
    pub branch: Option<String>,
    /// Commit that is checked out.
    pub head: String,
}

/// Where a repository's parts are.
#[derive(Clone, Debug)]
pub(super) struct Located {
    /// The repository itself; that of the main checkout for a linked one.
    pub common: PathBuf,
    /// What belongs to this checkout alone: HEAD, index.
    pub git_dir: PathBuf,
    /// The checkout's top; none for a bare repository.
    pub root: Option<PathBuf>,
    /// None where there is no commit yet, and for a bare repository.
    pub head: Option<Head>,
}

/// What is checked out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub commit: String,
    /// None where it is on no branch.
    pub branch: Option<String>,
}

impl Located {
    pub fn objects(&self) -> PathBuf {
        self.common.join("objects")
    }
}

/// Looks at the repository that `path` is in. Changes nothing, not even git's cache of file times.
pub async fn inspect(path: &Path) -> Result<Checkout, WorkspaceError> {
    let located = locate(path, &Environment::new()).await?;
    let root = located.root.ok_or_else(|| WorkspaceError::Bare(path.to_path_buf()))?;
    let head = located.head.ok_or_else(|| WorkspaceError::NoCommit(root.display().to_string()))?;
    Ok(Checkout { name: repo_name(&Origin::Local(root.clone())), branch: head.branch, head: head.commit, root })
}

impl Checkout {
    /// URL of the remote `origin`, without credentials.
    pub async fn origin_url(&self) -> Result<Option<String>, WorkspaceError> {
        let git = Git::new(&self.root, &Environment::new());
        let answer = git.call("config").args(["--get", "remote.origin.url"]).answer().await?;
        let url = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
        Ok((!url.is_empty()).then(|| Origin::split_credentials(&url).0))
    }

    /// The commit of a branch of this repository, of one that was fetched from `origin`, or of a tag.
    pub async fn commit_of(&self, branch: &str) -> Result<String, WorkspaceError> {
        if !is_branch_name(branch) {
            return Err(WorkspaceError::BranchName(branch.to_owned()));
        }
        let git = Git::new(&self.root, &Environment::new());
        let names = ["refs/heads/", "refs/remotes/origin/", "refs/tags/"].map(|prefix| format!("{prefix}{branch}"));
        resolve(&git, &names.each_ref().map(String::as_str)).await?.ok_or_else(|| WorkspaceError::NoSuchBranch {
            branch: branch.to_owned(),
            origin: self.root.display().to_string(),
        })
    }
}

/// Finds the repository that `path` is in.
pub(super) async fn locate(path: &Path, environment: &Environment) -> Result<Located, WorkspaceError> {
    if !path.is_dir() {
        return Err(WorkspaceError::NotARepository(path.to_path_buf()));
    }
    if let Some(located) = plain::read(path) {
        return Ok(located);
    }
    let answer = Git::new(path, environment)
        .call("rev-parse")
        .args(["--path-format=absolute", "--git-common-dir", "--absolute-git-dir", "--show-toplevel"])
        .args(["HEAD", "--symbolic-full-name", "HEAD"])
        .answer()
        .await?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let mut lines = text.lines();
    match (lines.next(), lines.next(), lines.next(), answer.code) {
        (Some(common), Some(git_dir), root, code) => {
            let common = Path::new(common);
            let head = match (lines.next(), lines.next(), code) {
                (Some(commit), Some(name), Some(0)) => Some(Head {
                    commit: commit.to_owned(),
                    branch: name.strip_prefix("refs/heads/").map(str::to_owned),
                }),
                _ => None,
            };
            Ok(Located {
                common: common.canonicalize().map_err(WorkspaceError::io("opening", common))?,
                git_dir: PathBuf::from(git_dir),
                root: root.map(PathBuf::from),
                head,
            })
        }
        _ if answer.stderr.contains("not a git repository") => Err(WorkspaceError::NotARepository(path.to_path_buf())),
        _ => Err(answer.into_error("rev-parse").into()),
    }
}
