//! Exclusive locks on files. A lock ends with the process that holds it.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::WorkspaceError;

/// Longest time between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// Held until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Notes on the file when it was taken last.
    pub(super) fn touch(&self) {
        // Where that fails, it counts as used earlier than it was.
        let _ = self.file.set_modified(SystemTime::now());
    }
}

/// Takes a share of the lock, which others may have too; none where somebody has it for himself.
pub(super) fn share(path: &Path) -> Result<Option<Lock>, WorkspaceError> {
    let file = open(path)?;
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(Lock { file })),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(WorkspaceError::io("locking", path)(error)),
    }
}

fn open(path: &Path) -> Result<File, WorkspaceError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(WorkspaceError::io("opening the lock", path))
}

/// Takes the lock of the file, which is made where it is missing; `WorkspaceError::Busy` when somebody else still holds it
/// after `wait`.
pub(super) async fn lock(path: &Path, wait: Duration) -> Result<Lock, WorkspaceError> {
    let file = open(path)?;
    let (start, mut pause) = (Instant::now(), Duration::from_millis(5));
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Lock { file }),
            Err(TryLockError::WouldBlock) if start.elapsed() >= wait => {
                return Err(WorkspaceError::Busy(path.parent().unwrap_or(path).to_path_buf()));
            }
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(WorkspaceError::io("locking", path)(error)),
        }
        tokio::time::sleep(pause.min(wait)).await;
        pause = (pause * 2).min(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn one_holder_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path, Duration::ZERO).await.unwrap();
        assert!(matches!(lock(&path, Duration::from_millis(1)).await, Err(WorkspaceError::Busy(_))));
        let waiting = tokio::spawn({
            let path = path.clone();
            async move { lock(&path, Duration::from_secs(20)).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(held);
        assert!(waiting.await.unwrap());
    }
}
