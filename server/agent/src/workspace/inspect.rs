//! What is known of a repository where it lies.

use std::path::{Path, PathBuf};

use super::mirror::resolve;
use super::names::is_branch_name;
use super::{Environment, Origin, WorkspaceError, repo_name};
use crate::git::{Git, fields};

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
    /// URL of the remote `origin`, without credentials.
    pub origin_url: Option<String>,
    /// Whether there is uncommitted work, files that git does not know yet included.
    pub dirty: bool,
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
}

impl Located {
    pub fn objects(&self) -> PathBuf {
        self.common.join("objects")
    }
}

/// Looks at the repository that `path` is in. Changes nothing, not even git's cache of file times.
pub async fn inspect(path: &Path) -> Result<Checkout, WorkspaceError> {
    let environment = Environment::new();
    let located = locate(path, &environment).await?;
    let root = located.root.ok_or_else(|| WorkspaceError::Bare(path.to_path_buf()))?;
    let git = Git::new(&root, &environment);
    let status = git
        .call("status")
        .args(["--porcelain=v2", "--branch", "-z", "--untracked-files=normal", "--ignore-submodules=none"])
        .run()
        .await?;
    let (mut head, mut branch, mut dirty) = (None, None, false);
    for field in fields(&status) {
        let line = String::from_utf8_lossy(field);
        if let Some(oid) = line.strip_prefix("# branch.oid ") {
            head = (oid != "(initial)").then(|| oid.to_owned());
        } else if let Some(name) = line.strip_prefix("# branch.head ") {
            branch = (name != "(detached)").then(|| name.to_owned());
        } else if !line.starts_with("# ") {
            dirty = true;
        }
    }
    let head = head.ok_or_else(|| WorkspaceError::NoCommit(root.display().to_string()))?;
    let url = git.call("config").args(["--get", "remote.origin.url"]).answer().await?;
    let url = String::from_utf8_lossy(&url.stdout).trim().to_owned();
    Ok(Checkout {
        name: repo_name(&Origin::Local(root.clone())),
        branch,
        head,
        origin_url: (!url.is_empty()).then(|| Origin::split_credentials(&url).0),
        dirty,
        root,
    })
}

impl Checkout {
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
    let answer = Git::new(path, environment)
        .call("rev-parse")
        .args(["--path-format=absolute", "--git-common-dir", "--absolute-git-dir", "--show-toplevel"])
        .answer()
        .await?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let mut lines = text.lines();
    match (lines.next(), lines.next(), lines.next(), answer.code) {
        (Some(common), Some(git_dir), root, _) => {
            let common = Path::new(common);
            Ok(Located {
                common: common.canonicalize().map_err(WorkspaceError::io("opening", common))?,
                git_dir: PathBuf::from(git_dir),
                root: root.map(PathBuf::from),
            })
        }
        _ if answer.stderr.contains("not a git repository") => Err(WorkspaceError::NotARepository(path.to_path_buf())),
        _ => Err(answer.into_error("rev-parse").into()),
    }
}
