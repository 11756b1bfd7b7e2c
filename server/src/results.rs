//! What tasks did on other machines, kept for whoever asks: a bundle of the branch and the diff of each task.
//!
//! `results/<task>/` in the data directory holds `result.bundle` (where there are commits), `diff.patch` and `base`, the commit
//! that the task started from.

use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cadence_agent::workspace::{BundleHeader, WorkspaceError};
use uuid::Uuid;

const BUNDLE: &str = "result.bundle";
const DIFF: &str = "diff.patch";
const BASE: &str = "base";

/// Why a result is not kept, or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ResultError {
    #[error("the result of task {task} cannot be used: {reason}")]
    Refused { task: Uuid, reason: String },
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

/// What a machine hands over.
#[derive(Clone, Debug)]
pub struct NewResult {
    /// The task's branch, as the bundle has to name it.
    pub branch: String,
    /// The commit that the task started from.
    pub base: String,
    /// A file in the data directory, which is moved; none where nothing is committed.
    pub bundle: Option<PathBuf>,
    /// Unified diff against the base.
    pub diff: Vec<u8>,
}

/// What is kept of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredResult {
    pub base: String,
    pub bundle: Option<PathBuf>,
    pub diff: PathBuf,
}

/// The store. Its calls block.
#[derive(Clone, Debug)]
pub struct Results {
    directory: PathBuf,
}

impl Results {
    /// Those of a data directory. Nothing is made before it is needed.
    pub fn new(data_dir: &Path) -> Self {
        Self { directory: data_dir.join("results") }
    }

    /// A new file that a machine's bundle can be written to before it is handed over; it goes away unless it is.
    pub fn incoming(&self) -> Result<tempfile::TempPath, ResultError> {
        self.make()?;
        let file = tempfile::Builder::new().prefix(".incoming-").tempfile_in(&self.directory);
        Ok(file.map_err(|source| io(&self.directory, source))?.into_temp_path())
    }

    /// Keeps a result, in place of an older one of the task. Its bundle must name the task's branch and nothing else;
    /// whoever takes it checks the objects.
    pub fn put(&self, task: Uuid, new: NewResult) -> Result<(), ResultError> {
        let refused = |reason: String| ResultError::Refused { task, reason };
        if !matches!(new.base.len(), 40 | 64) || !new.base.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refused("its base is no commit".into()));
        }
        if let Some(bundle) = &new.bundle {
            let header = BundleHeader::read(bundle).map_err(|error: WorkspaceError| refused(error.to_string()))?;
            let name = format!("refs/heads/{}", new.branch);
            if header.heads.len() != 1 || header.heads.iter().any(|head| head.name != name) {
                return Err(refused("its bundle has other references than the task's branch".into()));
            }
        }
        self.make()?;
        let staged = tempfile::Builder::new().prefix(".new-").tempdir_in(&self.directory);
        let staged = staged.map_err(|source| io(&self.directory, source))?;
        write(&staged.path().join(DIFF), &new.diff)?;
        write(&staged.path().join(BASE), new.base.as_bytes())?;
        if let Some(bundle) = &new.bundle {
            std::fs::rename(bundle, staged.path().join(BUNDLE)).map_err(|source| io(bundle, source))?;
        }
        let place = self.place(task);
        self.remove(task)?;
        std::fs::rename(staged.path(), &place).map_err(|source| io(&place, source))
    }

    /// What is kept of a task, if anything is.
    pub fn get(&self, task: Uuid) -> Result<Option<StoredResult>, ResultError> {
        let place = self.place(task);
        let base = match std::fs::read_to_string(place.join(BASE)) {
            Ok(base) => base,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io(&place, source)),
        };
        let bundle = Some(place.join(BUNDLE)).filter(|bundle| bundle.is_file());
        Ok(Some(StoredResult { base, bundle, diff: place.join(DIFF) }))
    }

    /// Forgets a task's result; nothing there is fine.
    pub fn remove(&self, task: Uuid) -> Result<(), ResultError> {
        let place = self.place(task);
        match std::fs::remove_dir_all(&place) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(&place, error)),
            _ => Ok(()),
        }
    }

    fn place(&self, task: Uuid) -> PathBuf {
        self.directory.join(task.to_string())
    }

    fn make(&self) -> Result<(), ResultError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(|source| io(&self.directory, source))
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ResultError> {
    let write = || {
        let mut file = std::fs::File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| io(path, source))
}

fn io(path: &Path, source: std::io::Error) -> ResultError {
    ResultError::Io { path: path.to_path_buf(), source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const BASE_COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn bundle(results: &Results, branch: &str) -> PathBuf {
        let file = results.incoming().unwrap().keep().unwrap();
        let text = format!("# v2 git bundle\n{BASE_COMMIT} refs/heads/{branch}\n\nPACK\0\0\0\x02\0\0\0\0");
        std::fs::write(&file, text).unwrap();
        file
    }

    #[test]
    fn a_newer_result_takes_the_place_of_an_older_one() {
        let data = tempfile::tempdir().unwrap();
        let results = Results::new(data.path());
        let task = Uuid::new_v4();
        assert_eq!(results.get(task).unwrap(), None);
        for diff in ["one", "two"] {
            let bundle = Some(bundle(&results, "cadence/x-1"));
            let new = NewResult { branch: "cadence/x-1".into(), base: BASE_COMMIT.into(), bundle, diff: diff.into() };
            results.put(task, new).unwrap();
            let kept = results.get(task).unwrap().unwrap();
            assert_eq!(std::fs::read_to_string(kept.diff).unwrap(), diff);
            assert!(kept.bundle.is_some());
        }
        results.remove(task).unwrap();
        assert_eq!(results.get(task).unwrap(), None);
        assert_eq!(std::fs::read_dir(data.path().join("results")).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_result_of_another_branch_is_refused() {
        let data = tempfile::tempdir().unwrap();
        let results = Results::new(data.path());
        let task = Uuid::new_v4();
        let other = bundle(&results, "main");
        let new = |bundle| NewResult {
            branch: "cadence/x-1".into(),
            base: BASE_COMMIT.into(),
            bundle: Some(bundle),
            diff: Vec::new(),
        };
        assert!(matches!(results.put(task, new(other.clone())), Err(ResultError::Refused { .. })));
        std::fs::write(&other, "no bundle").unwrap();
        assert!(matches!(results.put(task, new(other)), Err(ResultError::Refused { .. })));
        let none = NewResult { branch: "x".into(), base: "HEAD".into(), bundle: None, diff: Vec::new() };
        assert!(matches!(results.put(task, none), Err(ResultError::Refused { .. })));
        assert_eq!(results.get(task).unwrap(), None);
    }
}
