//! Git bundles: how commits go between machines that share no disk. Whatever comes in one is first unpacked and checked in a
//! repository that goes away again, and is fetched from there.

mod header;
mod import;
mod result;
mod send;
mod take;
mod unpack;
mod write;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::{WorkspaceError, Workspaces};

pub use header::{BundleError, BundleHead, BundleHeader, MAX_HEADER};
pub use result::ResultBundle;
pub use send::Remote;
pub use take::{Taken, take_bundle};
pub use unpack::{Examined, examine};

impl Workspaces {
    /// Where the bundle of this id is, or is to be put before a workspace is prepared from it.
    pub fn bundle_file(&self, id: Uuid) -> PathBuf {
        self.data.join("bundles").join(format!("{id}.bundle"))
    }
}

impl BundleHeader {
    /// Reads the head of a file.
    pub fn read(path: &Path) -> Result<Self, WorkspaceError> {
        let read = || {
            let mut bytes = Vec::new();
            // With the first bytes of the pack.
            File::open(path)?.take(MAX_HEADER as u64 + 8).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read().map_err(WorkspaceError::io("reading", path))?;
        Ok(Self::parse(&bytes)?.ok_or(BundleError::Truncated)?)
    }
}
