//! Writing a bundle without a reference for it in the repository, which `git bundle create` would need.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{BundleHead, BundleHeader};
use crate::git::Git;
use crate::workspace::WorkspaceError;

/// Writes `head`'s commit, with all that it leads to and the `prerequisites` do not, to a new private file, or over one.
/// Deltas have their bases in it, so that all of it can be checked without the repository that it builds on.
pub(super) async fn write(
    git: &Git,
    to: &Path,
    head: BundleHead,
    prerequisites: Vec<String>,
) -> Result<(), WorkspaceError> {
    let mut wanted = format!("{}\n", head.commit);
    for commit in &prerequisites {
        wanted.push('^');
        wanted.push_str(commit);
        wanted.push('\n');
    }
    let header = BundleHeader { heads: vec![head], prerequisites, length: 0 };
    let file = create(to, header.text().as_bytes()).map_err(WorkspaceError::io("writing", to))?;
    let pack = git.call("pack-objects").args(["--quiet", "--revs", "--stdout", "--delta-base-offset"]);
    pack.stdin(wanted).output(file).run().await?;
    Ok(())
}

/// The file, standing behind what is written.
fn create(to: &Path, text: &[u8]) -> std::io::Result<File> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    file.write_all(text)?;
    Ok(file)
}
