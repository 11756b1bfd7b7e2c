//! Submodules and large files (LFS) of a workspace.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::inspect::Located;
use super::mirror::{Progress, Source};
use super::{Workspace, WorkspaceError};
use crate::git::{Answer, Git, fields, path_of};

/// For a machine without git-lfs: pointer files stay as they are, whatever the user's own settings ask for.
const NO_LFS: &str = "[filter \"lfs\"]\n\tclean = \"\"\n\tsmudge = \"\"\n\tprocess = \"\"\n\trequired = false\n";
const LFS: &str = "[filter \"lfs\"]\n\tclean = git-lfs clean -- %f\n\tsmudge = git-lfs smudge -- %f\n\tprocess = git-lfs \
                   filter-process\n\trequired = true\n";

struct Submodule {
    name: String,
    path: PathBuf,
}

/// Fetches the submodules. From a local checkout those that the user has there, out of the user's own copies, so that nothing
/// is loaded twice; from an URL all of them. Says whether the repository has any.
pub(super) async fn update(
    workspace: &Workspace,
    source: &Source,
    network_limit: Duration,
    progress: Progress<'_>,
) -> Result<bool, WorkspaceError> {
    let file = workspace.directory.join(".gitmodules");
    if !fs::symlink_metadata(&file).is_ok_and(|meta| meta.is_file()) {
        return Ok(false);
    }
    // The submodule helper finds the repository from the directory.
    let git = Git::new(&workspace.directory, &workspace.environment).env("GIT_CEILING_DIRECTORIES", &workspace.home);
    progress("Fetching submodules");
    match source {
        Source::Sent(_) => {
            let update = git.clone().setting("protocol.file.allow=never").call("submodule");
            let update = update.args(["--quiet", "update", "--init", "--jobs=4", "--recursive"]).limit(network_limit);
            let all = update.answer().await?;
            if all.code != Some(0) {
                left_out("those that were not sent along", all, progress);
            }
        }
        Source::Local(located) => {
            for submodule in list(&git).await? {
                if !copy_one(workspace, &git, located, &submodule, network_limit, progress).await? {
                    progress(&format!("Left out the submodule {}: your checkout does not have it", submodule.name));
                }
            }
        }
        Source::Url { url, .. } => {
            let is_file = url.starts_with("file://");
            let update = |files: &str| {
                let git = git.clone().setting(format!("protocol.file.allow={files}"));
                git.call("submodule").args(["--quiet", "update", "--init", "--jobs=4"]).limit(network_limit)
            };
            if is_file {
                // A repository that itself is a file may name others; what those name is not the user's choice.
                update("always").run().await?;
            }
            let all = update("never").arg("--recursive").answer().await?;
            match all.code {
                Some(0) => {}
                _ if is_file => left_out("those of the repository", all, progress),
                _ => return Err(all.into_error("submodule").into()),
            }
        }
    }
    Ok(true)
}

fn left_out(inside: &str, answer: Answer, progress: Progress<'_>) {
    progress(&format!("Left out submodules inside {inside}: {}", answer.into_error("submodule")));
}

async fn list(git: &Git) -> Result<Vec<Submodule>, WorkspaceError> {
    let answer = git
        .call("config")
        .args(["--file", ".gitmodules", "-z", "--get-regexp", r"^submodule\..*\.path$"])
        .answer()
        .await?;
    let entry = |field: &[u8]| {
        let split = field.iter().position(|b| *b == b'\n')?;
        let key = std::str::from_utf8(&field[..split]).ok()?;
        let name = key.strip_prefix("submodule.")?.strip_suffix(".path")?.to_owned();
        // As git itself refuses them: the name becomes a directory.
        let safe =
            !name.is_empty() && !name.split(['/', '\\']).any(|part| part == "..") && !name.starts_with(['-', '/']);
        safe.then(|| Submodule { name, path: path_of(&field[split + 1..]) })
    };
    Ok(fields(&answer.stdout).filter_map(entry).collect())
}

/// Whether the user has it.
async fn copy_one(
    workspace: &Workspace,
    git: &Git,
    located: &Located,
    submodule: &Submodule,
    network_limit: Duration,
    progress: Progress<'_>,
) -> Result<bool, WorkspaceError> {
    let copy = located.common.join("modules").join(&submodule.name);
    if !copy.join("HEAD").is_file() {
        return Ok(false);
    }
    let key = format!("submodule.{}.url", submodule.name);
    git.call("config").arg(&key).arg(&copy).run().await?;
    git.clone()
        .setting("protocol.file.allow=always")
        .call("submodule")
        .args(["--quiet", "update", "--init", "--"])
        .arg(&submodule.path)
        .run()
        .await?;
    // The agent must not push into the user's copy.
    let url = Git::new(&copy, &workspace.environment)
        .repository(&copy)
        .call("config")
        .args(["--get", "remote.origin.url"])
        .answer()
        .await?;
    let url = String::from_utf8_lossy(&url.stdout).trim().to_owned();
    let inner = Git::new(&workspace.directory.join(&submodule.path), &workspace.environment);
    if url.is_empty() {
        inner.call("remote").args(["remove", "origin"]).run().await?;
        git.call("config").args(["--unset", &key]).answer().await?;
    } else {
        inner.call("config").args(["remote.origin.url", &url]).run().await?;
        git.call("config").args([&key, &url]).run().await?;
    }
    if workspace.directory.join(&submodule.path).join(".gitmodules").is_file() {
        // What it names is not the user's choice, so it must not be a repository on this machine.
        let own = inner
            .env("GIT_CEILING_DIRECTORIES", &workspace.home)
            .setting("protocol.file.allow=never")
            .call("submodule")
            .args(["--quiet", "update", "--init", "--recursive", "--jobs=4"]);
        let own = own.limit(network_limit).answer().await?;
        if own.code != Some(0) {
            left_out(&submodule.name, own, progress);
        }
    }
    Ok(true)
}

/// Settings for LFS, for a workspace that may need it.
pub(super) fn lfs_settings(git: &Git) -> &'static str {
    if has_lfs(git) { LFS } else { NO_LFS }
}

fn has_lfs(git: &Git) -> bool {
    git.variable("PATH").is_some_and(|path| std::env::split_paths(path).any(|dir| dir.join("git-lfs").is_file()))
}

/// Fetches large files, where the repository has them.
pub(super) async fn pull_lfs(
    workspace: &Workspace,
    source: &Source,
    network_limit: Duration,
    progress: Progress<'_>,
) -> Result<(), WorkspaceError> {
    let git = workspace.git();
    if !uses_lfs(workspace, &git).await? {
        return Ok(());
    }
    if !has_lfs(&git) {
        progress("Left out large files (LFS): git-lfs is not installed, so they are pointer files");
        return Ok(());
    }
    if matches!(source, Source::Sent(_)) {
        progress("Left out large files (LFS): they are not sent along, so they are pointer files");
        return Ok(());
    }
    progress("Fetching large files (LFS)");
    match source {
        Source::Sent(_) => {}
        Source::Url { .. } => drop(git.call("lfs").arg("pull").limit(network_limit).run().await?),
        Source::Local(located) => {
            let listed = git.call("lfs").args(["ls-files", "--long"]).run().await?;
            let names: Vec<_> = String::from_utf8_lossy(&listed).lines().filter_map(object_path).collect();
            let (from, to) = (located.common.join("lfs/objects"), workspace.git_dir().join("lfs/objects"));
            let mut missing = false;
            for name in names {
                if from.join(&name).is_file() {
                    copy_object(&from, &to, &name)?;
                } else {
                    missing = true;
                }
            }
            if missing {
                fetch_missing(workspace, located, &git, network_limit, progress).await?;
            }
            git.call("lfs").arg("checkout").run().await?;
        }
    }
    Ok(())
}

/// The user's checkout may not have all large files either: those come from where it has its own from.
async fn fetch_missing(
    workspace: &Workspace,
    located: &Located,
    git: &Git,
    network_limit: Duration,
    progress: Progress<'_>,
) -> Result<(), WorkspaceError> {
    let place = located.root.as_ref().unwrap_or(&located.common);
    let config = Git::new(place, &workspace.environment).call("config").args(["--get", "remote.origin.url"]);
    let url = String::from_utf8_lossy(&config.answer().await?.stdout).trim().to_owned();
    let fetched = match url.is_empty() {
        true => Err("the checkout does not have them, and no remote `origin`".to_owned()),
        false => {
            let git = git.clone().setting(format!("remote.origin.url={url}"));
            git.call("lfs").arg("fetch").limit(network_limit).run().await.map_err(|error| error.to_string())
        }
    };
    if let Err(reason) = fetched {
        progress(&format!("Left out large files (LFS) that could not be fetched: {reason}"));
    }
    Ok(())
}

/// Where the large file of a line of `git lfs ls-files --long` (`<oid> * <path>`) is kept, below `lfs/objects`.
fn object_path(line: &str) -> Option<PathBuf> {
    let oid = line.split(' ').next().filter(|oid| oid.len() == 64 && oid.bytes().all(|b| b.is_ascii_hexdigit()))?;
    Some(Path::new(&oid[..2]).join(&oid[2..4]).join(oid))
}

/// Copies a large file from one store to another, which has it whole or not at all.
fn copy_object(from: &Path, to: &Path, name: &Path) -> Result<(), WorkspaceError> {
    let target = to.join(name);
    if target.exists() {
        return Ok(());
    }
    let parent = target.parent().unwrap_or(to);
    fs::create_dir_all(parent).map_err(WorkspaceError::io("making", parent))?;
    let place = tempfile::NamedTempFile::new_in(parent).map_err(WorkspaceError::io("writing", parent))?;
    fs::copy(from.join(name), place.path()).map_err(WorkspaceError::io("copying", name))?;
    place.persist(&target).map_err(|e| WorkspaceError::io("writing", &target)(e.error))?;
    Ok(())
}

async fn uses_lfs(workspace: &Workspace, git: &Git) -> Result<bool, WorkspaceError> {
    let files = git.call("ls-files").args(["-z", "--", ":(glob)**/.gitattributes"]).run().await?;
    Ok(fields(&files).map(path_of).any(|path| {
        let path = workspace.directory.join(path);
        fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() < 1 << 20)
            && fs::read(&path).is_ok_and(|text| String::from_utf8_lossy(&text).contains("filter=lfs"))
    }))
}

/// Copies large files that the workspace has and the user's repository does not. Like git's objects, they are named by
/// their content, and nothing refers to them but the published branch.
pub(super) fn publish_lfs(workspace: &Workspace, repository: &Path) -> Result<(), WorkspaceError> {
    let from = workspace.git_dir().join("lfs/objects");
    let to = repository.join("lfs/objects");
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        let Ok(entries) = fs::read_dir(from.join(&relative)) else { continue };
        for entry in entries.flatten() {
            let path = relative.join(entry.file_name());
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && path.components().count() < 3 {
                open.push(path);
            } else if kind.is_file() && path.components().count() == 3 {
                copy_object(&from, &to, &path)?;
            }
        }
    }
    Ok(())
}
