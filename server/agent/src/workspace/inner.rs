//! Repositories inside a workspace: submodules, and those that an agent made or cloned there.
//!
//! The agent can write their settings, filters that run programs among them. So git looks at each with settings of our own,
//! and never goes from one into another by itself (`--ignore-submodules=dirty`).

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::mirror::resolve;
use super::remove::count;
use super::{Workspace, WorkspaceError, write_file};
use crate::git::{Git, bytes_of, fields, path_of};

/// Object ids that were there before the agent, one in a line.
pub(super) const KNOWN: &str = "known";

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inner {
    /// Where its files are, in the workspace; none where only its history is left.
    pub tree: Option<PathBuf>,
    git_dir: PathBuf,
    /// Whether the workspace's commits link to it, instead of having its files.
    pub submodule: bool,
}

impl Workspace {
    /// All that are here.
    pub(super) async fn inner(&self) -> Result<Vec<Inner>, WorkspaceError> {
        let directory = self.directory.clone();
        let found = tokio::task::spawn_blocking(move || find(&directory)).await;
        let mut found = found.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        if let Ok(all) = &mut found {
            // What lies in a submodule is no file of the workspace either.
            let mut linked: Vec<PathBuf> =
                links(&self.git()).await?.iter().map(|path| self.directory.join(path_of(path))).collect();
            linked.extend(all.iter().filter(|inner| inner.submodule).filter_map(|inner| inner.tree.clone()));
            for inner in all {
                let within = |tree: &PathBuf| linked.iter().any(|link| tree.starts_with(link));
                inner.submodule |= inner.tree.as_ref().is_some_and(within);
            }
        }
        found.map_err(WorkspaceError::io("looking for repositories in", &self.directory))
    }

    /// Submodules with changes that are in no commit of theirs; those too that git cannot read.
    pub(super) async fn dirty_submodules(&self) -> Result<Vec<PathBuf>, WorkspaceError> {
        let mut dirty = Vec::new();
        for inner in self.inner().await? {
            let Some(tree) = inner.tree.clone().filter(|_| inner.submodule) else { continue };
            let (git, _settings) = self.inner_git(&inner).await?;
            let status = git
                .call("status")
                .args(["--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty"])
                .answer()
                .await?;
            if status.code != Some(0) || !status.stdout.is_empty() {
                dirty.push(tree.strip_prefix(&self.directory).unwrap_or(&tree).to_path_buf());
            }
        }
        Ok(dirty)
    }

    /// Notes what the tags and the submodules have now, before an agent comes: none of it is the agent's. `tags` are lines
    /// of an object and a name; `inside` tells whether there may be repositories in the workspace.
    pub(super) async fn keep_known(&self, tags: &str, inside: bool) -> Result<(), WorkspaceError> {
        let mut known = String::new();
        for tag in tags.lines().filter_map(|line| line.split(' ').next()) {
            known.push_str(tag);
            known.push('\n');
        }
        let inner = if inside { self.inner().await? } else { Vec::new() };
        for inner in inner {
            let (git, _settings) = self.inner_git(&inner).await?;
            for tip in all_tips(&git).await? {
                known.push_str(&tip);
                known.push('\n');
            }
        }
        write_file(&self.home.join(KNOWN), known.as_bytes())
    }

    /// See [`Workspace::keep_known`]. None for a workspace that was made before there were such notes.
    pub(super) fn known(&self) -> Result<Option<BTreeSet<String>>, WorkspaceError> {
        let path = self.home.join(KNOWN);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(WorkspaceError::io("reading", &path)(error)),
        }
    }

    /// Repositories with commits that none of their remotes has, and that were not there from the start; those too that git
    /// cannot read. Nested ones that git ignores are passed over, as ignored files are.
    pub(super) async fn inner_with_commits(&self) -> Result<Vec<PathBuf>, WorkspaceError> {
        let known = self.known()?.unwrap_or_default();
        let (mut found, mut nested) = (Vec::new(), Vec::new());
        for inner in self.inner().await? {
            let place = inner.tree.as_ref().unwrap_or(&inner.git_dir);
            let place = place.strip_prefix(&self.directory).unwrap_or(place).to_path_buf();
            let (git, _settings) = self.inner_git(&inner).await?;
            if !matches!(commits_alone(&git, &known).await, Ok(0)) {
                if inner.submodule { found.push(place) } else { nested.push(place) }
            }
        }
        let mut list = Vec::new();
        for path in &nested {
            list.extend_from_slice(bytes_of(path));
            list.push(0);
        }
        let ignored = match list.is_empty() {
            true => Vec::new(),
            // By the patterns alone: the files of a nested one may be in the index.
            false => {
                self.git().call("check-ignore").args(["--no-index", "-z", "--stdin"]).stdin(list).answer().await?.stdout
            }
        };
        let ignored: BTreeSet<PathBuf> = fields(&ignored).map(path_of).collect();
        found.extend(nested.into_iter().filter(|path| !ignored.contains(path)));
        Ok(found)
    }

    /// Git on one of them, with no setting of its own but the kind of its names; works while the directory is kept.
    async fn inner_git(&self, inner: &Inner) -> Result<(Git, TempDir), WorkspaceError> {
        let scratch =
            tempfile::tempdir_in(&self.home).map_err(WorkspaceError::io("making a directory in", &self.home))?;
        // A linked working tree has its history elsewhere.
        let common = match fs::read_to_string(inner.git_dir.join("commondir")) {
            Ok(path) => inner.git_dir.join(path.trim_end()),
            Err(_) => inner.git_dir.clone(),
        };
        for name in ["objects", "refs", "packed-refs", "info", "shallow", "modules", "worktrees", "lfs"] {
            let link = scratch.path().join(name);
            symlink(common.join(name), &link).map_err(WorkspaceError::io("making", &link))?;
        }
        let at = inner.tree.as_deref().unwrap_or(&self.home);
        let git = Git::new(at, &self.environment);
        let format = git.call("config").arg("--file").arg(common.join("config"));
        let format = format.args(["--no-includes", "--get", "extensions.objectformat"]).answer().await?;
        let settings = match format.stdout.trim_ascii() {
            b"sha256" => "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = sha256\n",
            _ => "[core]\n\trepositoryformatversion = 0\n",
        };
        write_file(&scratch.path().join("config"), settings.as_bytes())?;
        let git = git.repository(&inner.git_dir).env("GIT_COMMON_DIR", scratch.path());
        Ok((git.env("GIT_WORK_TREE", at), scratch))
    }
}

/// All that refs, remotes' left out, and HEAD lead to.
async fn all_tips(git: &Git) -> Result<BTreeSet<String>, WorkspaceError> {
    let text = git.call("for-each-ref").args(["--format=%(objectname) %(refname)"]).text().await?;
    let refs = text.lines().filter_map(|line| line.split_once(' '));
    let mut tips: BTreeSet<String> =
        refs.filter(|(_, name)| !name.starts_with("refs/remotes/")).map(|(tip, _)| tip.to_owned()).collect();
    tips.extend(resolve(git, &["HEAD"]).await?);
    Ok(tips)
}

/// How many commits no remote has, nor leads anything known to.
async fn commits_alone(git: &Git, known: &BTreeSet<String>) -> Result<u64, WorkspaceError> {
    let tips: BTreeSet<String> = all_tips(git).await?.into_iter().filter(|tip| !known.contains(tip)).collect();
    if tips.is_empty() {
        return Ok(0);
    }
    let remotes = git.call("for-each-ref").args(["--format=%(objectname)", "refs/remotes"]).text().await?;
    let mut others = known.clone();
    others.extend(remotes.lines().map(str::to_owned));
    count(git, tips.iter(), &others).await
}

/// Paths in the index that link to a repository.
pub(super) async fn links(git: &Git) -> Result<Vec<Vec<u8>>, WorkspaceError> {
    let staged = git.call("ls-files").args(["-z", "--stage"]).run().await?;
    let link = |entry: &[u8]| Some(entry.strip_prefix(b"160000 ")?.splitn(2, |b| *b == b'\t').nth(1)?.to_vec());
    let mut links: Vec<Vec<u8>> = fields(&staged).filter_map(link).collect();
    links.dedup();
    Ok(links)
}

/// Looks through the files and through the workspace's `.git/modules`. Links are not followed. Blocks.
fn find(root: &Path) -> std::io::Result<Vec<Inner>> {
    let real = root.canonicalize()?;
    let modules = real.join(".git/modules");
    let mut found: Vec<Inner> = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in entries(&directory)? {
            let path = entry.path();
            if entry.file_name() != ".git" {
                if entry.file_type()?.is_dir() {
                    open.push(path);
                }
                continue;
            }
            // One outside stays when the workspace goes; a working tree of the workspace's own has no history.
            let inside = |git_dir: &PathBuf| {
                directory != root && git_dir.starts_with(&real) && !git_dir.starts_with(real.join(".git/worktrees"))
            };
            if let Some(git_dir) = repository_of(&path).filter(inside) {
                let submodule = git_dir.starts_with(&modules);
                found.push(Inner { tree: Some(directory.clone()), git_dir, submodule });
            }
        }
    }
    // Submodules whose files are gone still have their history.
    let mut open = vec![modules];
    while let Some(directory) = open.pop() {
        let git_dir = directory.join("HEAD").is_file() && directory.join("objects").is_dir();
        if git_dir {
            if found.iter().all(|inner| inner.git_dir != directory) {
                found.push(Inner { tree: None, git_dir: directory.clone(), submodule: true });
            }
            open.push(directory.join("modules"));
            continue;
        }
        for entry in entries(&directory)? {
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(found)
}

/// What a directory has; nothing where it is not there, or closed to us.
fn entries(directory: &Path) -> std::io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.collect(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The repository that a `.git` is or leads to.
fn repository_of(path: &Path) -> Option<PathBuf> {
    let real = path.canonicalize().ok()?;
    if real.is_dir() {
        return Some(real);
    }
    let text = fs::read_to_string(&real).ok()?;
    path.parent()?.join(text.strip_prefix("gitdir:")?.trim()).canonicalize().ok().filter(|path| path.is_dir())
}
