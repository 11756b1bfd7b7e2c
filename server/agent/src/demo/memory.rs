//! What a session has left to do, kept in the workspace's `.git` so that a later process can go on with it. Where the
//! directory is no repository, nothing is kept.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::program::Work;

#[derive(Debug)]
pub struct Memory {
    file: Option<PathBuf>,
}

impl Memory {
    pub fn of(session: &str, directory: &Path) -> Self {
        let git = directory.join(".git");
        let plain = session.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        Self { file: (plain && git.is_dir()).then(|| git.join(format!("cadence-demo-{session}.json"))) }
    }

    /// Keeps it, whole or not at all. Where that fails, a later process goes on with less.
    pub fn keep(&self, work: &Work) {
        let Some((file, directory)) = self.file.as_deref().and_then(|file| Some((file, file.parent()?))) else {
            return;
        };
        let keep = || -> std::io::Result<()> {
            let mut new = tempfile::NamedTempFile::new_in(directory)?;
            new.write_all(&serde_json::to_vec(work)?)?;
            new.persist(file)?;
            Ok(())
        };
        if let Err(error) = keep() {
            eprintln!("cadence demo-agent: what is left to do could not be kept: {error}");
        }
    }

    pub fn recall(&self) -> Option<Work> {
        serde_json::from_slice(&std::fs::read(self.file.as_deref()?).ok()?).ok()
    }

    /// Whether a session that is to go on would have left something here.
    pub fn is_kept(&self) -> bool {
        self.file.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_kept_is_recalled() {
        let place = tempfile::tempdir().unwrap();
        assert!(Memory::of("a-1", place.path()).file.is_none());
        std::fs::create_dir(place.path().join(".git")).unwrap();
        let memory = Memory::of("a-1", place.path());
        memory.keep(&Work::of("[[run true]] [[fail]]"));
        assert_eq!(memory.recall(), Some(Work::of("[[run true]] [[fail]]")));
        assert_eq!(Memory::of("a-2", place.path()).recall(), None);
        assert!(Memory::of("../a", place.path()).file.is_none());
    }
}
