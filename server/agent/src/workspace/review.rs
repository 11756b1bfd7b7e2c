//! What a task has changed.

use std::fs;

use cadence_protocol::Changes;
use tempfile::TempDir;

use super::finish::add;
use super::snapshot::quoted;
use super::{Workspace, WorkspaceError};
use crate::git::fields;

impl Workspace {
    /// Size of the change: the task's branch against the commit that it started from.
    pub async fn changes(&self) -> Result<Changes, WorkspaceError> {
        let text = self
            .git()
            .call("diff")
            .args(["--numstat", "-z", "--no-renames", "--no-ext-diff", "--no-textconv"])
            .args([&self.base_commit, &self.branch_ref()])
            .arg("--")
            .run()
            .await?;
        let mut changes = Changes::default();
        for entry in fields(&text) {
            let mut columns = entry.split(|b| *b == b'\t');
            // Binary files have a dash.
            let mut count = || {
                columns
                    .next()
                    .and_then(|n| std::str::from_utf8(n).ok())
                    .and_then(|n| n.parse::<u64>().ok())
                    .unwrap_or(0)
            };
            changes.files += 1;
            changes.added += count();
            changes.removed += count();
        }
        Ok(changes)
    }

    /// Unified diff of the working tree as it is now, uncommitted and new files included, against the commit that the task
    /// started from. The agent may be at work: its index is not touched. Cut after a whole line at `max_bytes`, with a
    /// last line that says so; bytes that are no UTF-8 are replaced.
    pub async fn diff(&self, max_bytes: usize) -> Result<String, WorkspaceError> {
        let scratch = self.index_copy()?;
        let git = self
            .git()
            .env("GIT_INDEX_FILE", scratch.path().join("index"))
            .env("GIT_OBJECT_DIRECTORY", scratch.path())
            .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", quoted(&self.git_dir().join("objects")));
        // New files become known without being stored. What cannot be read is left out.
        add(&git, &["--intent-to-add"], Vec::new()).await?;
        let answer = git
            .call("diff")
            .args(["--no-ext-diff", "--no-textconv", "--no-color", "--find-renames", "--unified=3"])
            // A submodule shows as the commit it is at: git must not go into it, with what its settings name.
            .args(["--ignore-submodules=dirty", "--submodule=short"])
            .args(["--src-prefix=a/", "--dst-prefix=b/"])
            .arg(&self.base_commit)
            .arg("--")
            .cut_at(max_bytes)
            .answer()
            .await?;
        if answer.code != Some(0) && !answer.cut {
            return Err(answer.into_error("diff").into());
        }
        let mut bytes = answer.stdout;
        if !answer.cut {
            return Ok(String::from_utf8_lossy(&bytes).into_owned());
        }
        bytes.truncate(bytes.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1));
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        text.push_str(&format!(
            "[cut after {max_bytes} bytes; all of it: git diff {} {}]\n",
            self.base_commit, self.branch
        ));
        Ok(text)
    }

    /// A directory with a copy of the index, `index`, that can be changed without the agent noticing.
    pub(super) fn index_copy(&self) -> Result<TempDir, WorkspaceError> {
        let scratch =
            tempfile::tempdir_in(&self.home).map_err(WorkspaceError::io("making a directory in", &self.home))?;
        let index = self.git_dir().join("index");
        match fs::copy(&index, scratch.path().join("index")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(WorkspaceError::io("copying", &index)(error))
            }
            _ => Ok(scratch),
        }
    }
}
