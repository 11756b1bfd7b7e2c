//! Taking a task's change into the user's checkout.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::finish::is_ancestor;
use super::inspect::{Located, locate};
use super::mirror::resolve;
use super::names::{is_branch_name, is_object_id};
use super::snapshot::quoted;
use super::{Environment, WorkspaceError};
use crate::git::{Git, fields, path_of};

/// How a change is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApplyMode {
    /// With its commits: a merge, or a fast-forward where that is enough.
    Merge,
    /// Its content alone, staged for the user to commit.
    Squash,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The checkout has the change already.
    UpToDate,
    /// `commit` is the new HEAD.
    Merged { commit: String, files: u64 },
    /// Staged, not committed: `git commit` makes the commit, with the task's messages to start from.
    Squashed { files: u64 },
    /// In the working tree, beside the uncommitted changes that the task started from; nothing is staged.
    Patched { files: u64 },
}

/// Takes the change of `branch` into the checkout that `checkout` is in. The user's hooks do not run. Where it cannot be
/// done without loss (conflicts, uncommitted changes in the way) the checkout stays exactly as it is and the error says
/// which files.
pub async fn apply(checkout: &Path, branch: &str, mode: ApplyMode) -> Result<Applied, WorkspaceError> {
    apply_since(checkout, branch, mode, None).await
}

/// As [`apply`], for a task that started from `base`. Where that is a snapshot of uncommitted changes and they still lie in
/// the checkout, only what was done since is taken, onto them.
pub async fn apply_since(
    checkout: &Path,
    branch: &str,
    mode: ApplyMode,
    base: Option<&str>,
) -> Result<Applied, WorkspaceError> {
    if !is_branch_name(branch) {
        return Err(WorkspaceError::BranchName(branch.to_owned()));
    }
    let located = locate(checkout, &Environment::new()).await?;
    let root = located.root.clone().ok_or_else(|| WorkspaceError::Bare(checkout.to_path_buf()))?;
    let git = Git::new(&root, &Environment::new());
    let name = format!("refs/heads/{branch}");
    let origin = root.display().to_string();
    let tip = resolve(&git, &[&name]).await?;
    let tip = tip.ok_or_else(|| WorkspaceError::NoSuchBranch { branch: branch.to_owned(), origin: origin.clone() })?;
    let head = resolve(&git, &["HEAD"]).await?.ok_or(WorkspaceError::NoCommit(origin))?;
    if let Some(what) = in_progress(&located) {
        return Err(WorkspaceError::InProgress { what, path: root });
    }
    if is_ancestor(&git, &tip, &head).await? {
        return Ok(Applied::UpToDate);
    }
    let change = try_merge(&git, &located, &head, &tip).await?;
    if change.all.is_empty() && mode == ApplyMode::Squash {
        return Ok(Applied::UpToDate);
    }
    let strict = mode == ApplyMode::Squash || !is_ancestor(&git, &head, &tip).await?;
    let mut free = refuse_hidden(&root, &change);
    if free.is_ok() {
        free = refuse_overlap(&git, &change.all, strict).await;
    }
    if let Err(error) = free {
        let snapshot = match base {
            Some(base) if is_object_id(base) && !is_ancestor(&git, base, &head).await? => base,
            _ => return Err(error),
        };
        return patch(&git, snapshot, &tip).await;
    }
    let files = change.all.len() as u64;
    let call = git.call("merge").args(["--quiet", "--no-verify", "--no-gpg-sign", "--no-stat"]);
    let merged = match mode {
        ApplyMode::Merge => {
            call.args(["--ff", "--no-edit", "--no-squash"]).args(["-m", &format!("Merge branch '{branch}'")])
        }
        ApplyMode::Squash => call.args(["--ff", "--squash"]),
    };
    let answer = merged.arg(&name).answer().await?;
    if answer.code != Some(0) {
        let unmerged = git.call("diff").args(["--name-only", "-z", "--diff-filter=U"]).run().await?;
        let files: Vec<PathBuf> = fields(&unmerged).map(path_of).collect();
        if files.is_empty() {
            return Err(answer.into_error("merge").into());
        }
        // Only where a merge driver of the user's own decides otherwise than was tried before.
        git.call("reset").args(["--quiet", "--merge", &head]).run().await?;
        return Err(WorkspaceError::Conflict { files });
    }
    Ok(match mode {
        ApplyMode::Squash => Applied::Squashed { files },
        ApplyMode::Merge => {
            let commit = resolve(&git, &["HEAD"]).await?.unwrap_or(tip);
            Applied::Merged { commit, files }
        }
    })
}

/// Takes what lies between two commits into the working tree: all of it or nothing.
async fn patch(git: &Git, base: &str, tip: &str) -> Result<Applied, WorkspaceError> {
    let between = ["--no-ext-diff", "--no-textconv", "--no-renames", base, tip, "--"];
    let names = git.call("diff").args(["--name-only", "-z"]).args(between).run().await?;
    let files: Vec<PathBuf> = fields(&names).map(path_of).collect();
    if files.is_empty() {
        return Ok(Applied::UpToDate);
    }
    let diff = git.call("diff").args(["--binary", "--full-index"]).args(between).run().await?;
    let answer = git.call("apply").args(["--whitespace=nowarn", "-"]).stdin(diff).answer().await?;
    if answer.code == Some(0) {
        return Ok(Applied::Patched { files: files.len() as u64 });
    }
    // What was changed in both since the task began, or is there already.
    Err(WorkspaceError::Overlap { files })
}

fn in_progress(located: &Located) -> Option<&'static str> {
    [
        ("MERGE_HEAD", "merge"),
        ("rebase-merge", "rebase"),
        ("rebase-apply", "rebase"),
        ("CHERRY_PICK_HEAD", "cherry-pick"),
        ("REVERT_HEAD", "revert"),
    ]
    .into_iter()
    .find_map(|(file, what)| located.git_dir.join(file).exists().then_some(what))
}

/// Files that a merge would change.
#[derive(Default)]
struct Change {
    all: BTreeSet<PathBuf>,
    added: BTreeSet<PathBuf>,
    removed: BTreeSet<PathBuf>,
}

/// Merges beside the checkout, with objects of its own that are thrown away; gives what would change.
async fn try_merge(git: &Git, located: &Located, head: &str, tip: &str) -> Result<Change, WorkspaceError> {
    let scratch = tempfile::tempdir().map_err(WorkspaceError::io("making a directory for", &located.common))?;
    let git = git
        .clone()
        .env("GIT_OBJECT_DIRECTORY", scratch.path())
        .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(&located.objects()));
    let answer =
        git.call("merge-tree").args(["--write-tree", "--no-messages", "--name-only", "-z", head, tip]).answer().await?;
    let mut parts = fields(&answer.stdout);
    let tree = String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let files: BTreeSet<PathBuf> = parts.map(path_of).collect();
    match answer.code {
        Some(0) => {}
        Some(1) => {
            return Err(WorkspaceError::Conflict { files: files.into_iter().collect() });
        }
        _ => return Err(answer.into_error("merge").into()),
    }
    let listed =
        git.call("diff-tree").args(["-r", "-z", "--name-status", "--no-renames", head, &tree, "--"]).run().await?;
    let mut change = Change::default();
    let mut parts = fields(&listed);
    while let (Some(kind), Some(path)) = (parts.next(), parts.next().map(path_of)) {
        match kind {
            b"A" => drop(change.added.insert(path.clone())),
            b"D" => drop(change.removed.insert(path.clone())),
            _ => {}
        }
        change.all.insert(path);
    }
    Ok(change)
}

/// Refuses where something lies that HEAD does not have and the change would write. The status does not show ignored
/// files, and git overwrites them without a word.
fn refuse_hidden(root: &Path, change: &Change) -> Result<(), WorkspaceError> {
    let mut files = BTreeSet::new();
    for path in &change.added {
        in_the_way(root, path, &change.removed, &mut files)
            .map_err(|error| WorkspaceError::io("looking at", &root.join(path))(error))?;
    }
    if files.is_empty() {
        return Ok(());
    }
    Err(WorkspaceError::Overlap { files: files.into_iter().collect() })
}

/// What lies where the new file `path` shall be, and is not among the `removed`: a file there or in place of a directory
/// above it, or the files of a directory that it would replace.
fn in_the_way(
    root: &Path,
    path: &Path,
    removed: &BTreeSet<PathBuf>,
    files: &mut BTreeSet<PathBuf>,
) -> std::io::Result<()> {
    let mut above: Vec<&Path> = path.ancestors().filter(|part| !part.as_os_str().is_empty()).collect();
    above.reverse();
    for part in above {
        match fs::symlink_metadata(root.join(part)) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => {
                if !removed.contains(part) {
                    files.insert(part.to_path_buf());
                }
                return Ok(());
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    let mut open = vec![path.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let inner = directory.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                open.push(inner);
            } else if !removed.contains(&inner) {
                files.insert(inner);
            }
        }
    }
    Ok(())
}

/// Refuses where uncommitted work, new files included but not ignored ones, lies where the change wants to write, and, with
/// `clean_index`, where anything is staged.
async fn refuse_overlap(git: &Git, changed: &BTreeSet<PathBuf>, clean_index: bool) -> Result<(), WorkspaceError> {
    let status = git
        .call("status")
        .args(["--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=all"])
        .run()
        .await?;
    let (mut staged, mut overlap) = (Vec::new(), Vec::new());
    for entry in fields(&status) {
        let Some(path) = entry.get(3..).map(path_of) else { continue };
        if !matches!(entry[0], b' ' | b'?') {
            staged.push(path.clone());
        }
        // A new file is also in the way of a directory, and the other way round.
        if changed.iter().any(|file| file.starts_with(&path) || path.starts_with(file)) {
            overlap.push(path);
        }
    }
    if !overlap.is_empty() {
        return Err(WorkspaceError::Overlap { files: overlap });
    }
    if clean_index && !staged.is_empty() {
        return Err(WorkspaceError::Staged { files: staged });
    }
    Ok(())
}
