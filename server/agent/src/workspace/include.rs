//! `.worktreeinclude`: files that git ignores and a workspace needs all the same, `.env` for instance.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::inspect::Located;
use super::mirror::Progress;
use super::prepare::stays_inside;
use super::{Workspace, WorkspaceError};
use crate::git::{Git, bytes_of, fields, path_of};

/// Its patterns are those of `.gitignore`.
const FILE: &str = ".worktreeinclude";

/// Copies the files of the user's checkout that git ignores there and that match a pattern. Nothing in the workspace is
/// replaced, and no link is followed. Says whether anything was copied.
pub(super) async fn copy(
    workspace: &Workspace,
    located: &Located,
    progress: Progress<'_>,
) -> Result<bool, WorkspaceError> {
    let Some(root) = &located.root else { return Ok(false) };
    let patterns = root.join(FILE);
    if !fs::symlink_metadata(&patterns).is_ok_and(|meta| meta.is_file()) {
        return Ok(false);
    }
    let git = Git::new(root, &workspace.environment);
    let matching = git
        .call("ls-files")
        .args(["-z", "--others", "--ignored"])
        .arg(format!("--exclude-from={}", patterns.display()))
        .run()
        .await?;
    if matching.is_empty() {
        return Ok(false);
    }
    let ignored = git.call("check-ignore").args(["-z", "--stdin"]).stdin(matching).answer().await?;
    let paths: Vec<PathBuf> = fields(&ignored.stdout).map(path_of).collect();
    let (from, to) = (root.clone(), workspace.directory.clone());
    // There may be a lot of it, `node_modules` for instance.
    let stop = CancellationToken::new();
    let _stopped_when_dropped = stop.clone().drop_guard();
    let copies = tokio::task::spawn_blocking(move || copy_all(&from, &to, paths, &stop)).await;
    let (copied, left_out) =
        copies.unwrap_or_else(|error| Err(WorkspaceError::io("copying", root)(std::io::Error::other(error))))?;
    exclude(workspace, &copied)?;
    if !copied.is_empty() {
        progress(&format!("Copied {} file(s) named in {FILE}", copied.len()));
    }
    for path in left_out {
        progress(&format!("Left out {} of {FILE}: it is there already, no plain file, or leads out", path.display()));
    }
    Ok(!copied.is_empty())
}

/// Those that were copied, and those that were not. Blocks; ends early when nobody waits for it any more.
fn copy_all(
    from: &Path,
    to: &Path,
    paths: Vec<PathBuf>,
    stop: &CancellationToken,
) -> Result<(Vec<PathBuf>, Vec<PathBuf>), WorkspaceError> {
    let (mut copied, mut left_out) = (Vec::new(), Vec::new());
    for path in paths {
        if stop.is_cancelled() {
            break;
        }
        match copy_one(from, to, &path) {
            Ok(true) => copied.push(path),
            Ok(false) => left_out.push(path),
            Err(error) => return Err(WorkspaceError::io("copying", &from.join(&path))(error)),
        }
    }
    Ok((copied, left_out))
}

/// Whether it was copied.
fn copy_one(from: &Path, to: &Path, path: &Path) -> std::io::Result<bool> {
    let (source, target) = (from.join(path), to.join(path));
    let kind = fs::symlink_metadata(&source)?.file_type();
    if !stays_inside(to, path) || !stays_inside(from, path) || fs::symlink_metadata(&target).is_ok() {
        return Ok(false);
    }
    let parent = target.parent().unwrap_or(to);
    if kind.is_symlink() {
        let leads_to = fs::read_link(&source)?;
        if !leads_inside(path, &leads_to) {
            return Ok(false);
        }
        fs::create_dir_all(parent)?;
        symlink(leads_to, target)?;
    } else if kind.is_file() {
        fs::create_dir_all(parent)?;
        fs::copy(&source, &target)?;
    } else {
        return Ok(false);
    }
    Ok(true)
}

/// Whether a link at `path` that holds `target` stays in the tree.
fn leads_inside(path: &Path, target: &Path) -> bool {
    let mut depth = path.components().count().saturating_sub(1);
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

/// Keeps them out of commits, also where the agent changes `.gitignore`.
pub(super) fn exclude(workspace: &Workspace, files: &[PathBuf]) -> Result<(), WorkspaceError> {
    if files.is_empty() {
        return Ok(());
    }
    let info = workspace.git_dir().join("info");
    fs::create_dir_all(&info).map_err(WorkspaceError::io("making", &info))?;
    let path = info.join("exclude");
    let mut list = Vec::new();
    for file in files {
        // A line cannot hold a line end.
        if !bytes_of(file).contains(&b'\n') {
            list.extend_from_slice(&pattern(bytes_of(file)));
            list.push(b'\n');
        }
    }
    let write = || fs::OpenOptions::new().create(true).append(true).open(&path)?.write_all(&list);
    write().map_err(WorkspaceError::io("writing", &path))
}

/// The pattern that matches this path alone.
fn pattern(path: &[u8]) -> Vec<u8> {
    let mut out = vec![b'/'];
    for byte in path {
        if b"\\*?[ ".contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_out() {
        let inside = |path: &str, target: &str| leads_inside(Path::new(path), Path::new(target));
        assert!(inside("a/b", "c"));
        assert!(inside("a/b", "../c"));
        assert!(!inside("a/b", "../../c"));
        assert!(!inside("b", "../c"));
        assert!(!inside("b", "/etc/passwd"));
        assert!(!inside("b", "x/../../c"));
    }

    #[test]
    fn patterns_match_one_path() {
        assert_eq!(pattern(b"a*/b c"), b"/a\\*/b\\ c");
        assert_eq!(pattern(b"#x"), b"/#x");
    }
}
