//! What the storage fails of now, for whoever has to know: the writer, `/readyz`, those who wait for a task.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use super::StoreError;
use super::error::room;

/// With less free room the disk still counts as full, in bytes: a row more or less would fit, and the next would not.
const ENOUGH: u64 = 4 << 20;

/// Its clones are the same.
#[derive(Clone, Debug)]
pub struct Trouble {
    database: Arc<Path>,
    now: Arc<watch::Sender<Option<StoreError>>>,
}

impl Trouble {
    pub fn none(database: &Path) -> Self {
        Self { database: database.into(), now: Arc::new(watch::Sender::new(None)) }
    }

    /// What it fails of, and each change of that.
    pub fn watch(&self) -> watch::Receiver<Option<StoreError>> {
        self.now.subscribe()
    }

    pub fn get(&self) -> Option<StoreError> {
        self.now.borrow().clone()
    }

    /// Whether the file is damaged. Then nothing is written any more, until it was replaced and a server started on it.
    pub fn is_damaged(&self) -> bool {
        matches!(*self.now.borrow(), Some(StoreError::Damaged(_)))
    }

    /// Notes an error, if it is one of the storage itself, and gives it as it is to be said.
    pub fn note(&self, error: StoreError) -> StoreError {
        if !error.is_trouble() {
            return error;
        }
        let error = error.seen_at(&self.database);
        let changed = self.now.send_if_modified(|now| {
            let keeps =
                now.as_ref().is_some_and(|now| now.code() == error.code() || matches!(now, StoreError::Damaged(_)));
            if !keeps {
                *now = Some(error.clone());
            }
            !keeps
        });
        if changed {
            let (database, hint) = (self.database.display(), error.hint().unwrap_or_default());
            tracing::error!(%error, code = error.code(), %database, hint, "the storage fails");
        }
        error
    }

    /// Notes that something was written.
    pub fn over(&self) {
        if self.now.borrow().is_none() {
            return;
        }
        let room = room(&self.database);
        let changed = self.now.send_if_modified(|now| {
            let keeps = match now {
                None | Some(StoreError::Damaged(_)) => true,
                Some(StoreError::DiskFull) => room.is_some_and(|free| free < ENOUGH),
                Some(_) => false,
            };
            if !keeps {
                *now = None;
            }
            !keeps
        });
        if changed {
            tracing::info!("the storage works again");
        }
    }

    pub fn database(&self) -> PathBuf {
        self.database.to_path_buf()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_comes_and_goes_and_damage_stays() {
        let home = tempfile::tempdir().unwrap();
        let trouble = Trouble::none(&home.path().join("db"));
        let mut watch = trouble.watch();
        trouble.note(StoreError::Conflict("no".into()));
        assert!(trouble.get().is_none());
        trouble.note(StoreError::Busy);
        assert!(watch.has_changed().unwrap());
        assert_eq!(watch.borrow_and_update().as_ref().unwrap().code(), "database_locked");
        trouble.note(StoreError::Busy);
        assert!(!watch.has_changed().unwrap(), "told once");
        trouble.over();
        assert!(trouble.get().is_none());
        trouble.note(StoreError::Damaged("page 7".into()));
        trouble.note(StoreError::Busy);
        trouble.over();
        assert!(trouble.is_damaged());
    }
}
