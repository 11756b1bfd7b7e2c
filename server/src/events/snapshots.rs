//! The newest snapshot of each task that changed lately. Whoever is slow passes over what is outdated, and reads all tasks
//! again only where more have changed than are kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use axum::extract::ws::Utf8Bytes;
use cadence_protocol::{ServerFrame, Task};
use tokio::sync::watch;
use uuid::Uuid;

use crate::store::StoreError;

/// Most snapshots that are kept, and most bytes of them.
const KEPT: usize = 512;
const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Snapshots for the listeners of one process.
#[derive(Debug)]
pub struct Snapshots {
    kept: Mutex<Kept>,
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    /// By the number of the change.
    snapshots: BTreeMap<u64, Snapshot>,
    numbers: HashMap<Uuid, u64>,
    bytes: usize,
    /// The last change that is not kept any more.
    dropped: u64,
}

#[derive(Debug)]
struct Snapshot {
    task: Uuid,
    user: Uuid,
    json: Utf8Bytes,
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { kept: Mutex::default(), newest: watch::Sender::new(0) }
    }
}

impl Snapshots {
    /// Whether somebody listens.
    pub fn wanted(&self) -> bool {
        self.newest.receiver_count() > 0
    }

    pub fn publish(&self, task: Task) {
        let (id, user) = (task.id, task.user_id);
        let json = match serde_json::to_string(&ServerFrame::Task { task: Box::new(task) }) {
            Ok(json) => json,
            Err(error) => return tracing::error!(%error, task = %id, "a task cannot be written as JSON"),
        };
        self.newest.send_modify(|newest| {
            *newest += 1;
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.put(*newest, Snapshot { task: id, user, json: json.into() });
        });
    }

    /// Listens to changes from now on.
    pub fn listen(&self) -> Listener {
        let mut changed = self.newest.subscribe();
        let seen = *changed.borrow_and_update();
        Listener { changed, seen }
    }

    /// The newest snapshots of a user's tasks that changed since the listener's last look, as frames; `None` where not all of
    /// them are kept any more.
    pub fn take(&self, listener: &mut Listener, user: Uuid) -> Option<Vec<Utf8Bytes>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = listener.seen;
        let news = kept.snapshots.range(seen + 1..);
        let frames = news.clone().filter(|(_, s)| s.user == user).map(|(_, s)| s.json.clone()).collect();
        listener.seen = news.map(|(number, _)| *number).next_back().unwrap_or(seen).max(kept.dropped);
        (kept.dropped <= seen).then_some(frames)
    }
}

impl Kept {
    fn put(&mut self, number: u64, snapshot: Snapshot) {
        if let Some(before) = self.numbers.insert(snapshot.task, number) {
            self.bytes -= self.snapshots.remove(&before).map_or(0, |old| old.json.len());
        }
        self.bytes += snapshot.json.len();
        self.snapshots.insert(number, snapshot);
        while self.snapshots.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some((number, old)) = self.snapshots.pop_first() else { return };
            self.numbers.remove(&old.task);
            self.bytes -= old.json.len();
            self.dropped = number;
        }
    }
}

/// One listener.
#[derive(Debug)]
pub struct Listener {
    changed: watch::Receiver<u64>,
    seen: u64,
}

impl Listener {
    /// Waits until something has changed since the last look.
    pub async fn changed(&mut self) -> Result<(), StoreError> {
        let seen = self.seen;
        self.changed.wait_for(|newest| *newest > seen).await.map(drop).map_err(|_| StoreError::Closed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn change(kept: &mut Kept, number: u64, task: Uuid, size: usize) {
        kept.put(number, Snapshot { task, user: Uuid::nil(), json: "x".repeat(size).into() });
    }

    #[test]
    fn only_the_newest_of_a_task_is_kept() {
        let snapshots = Snapshots::default();
        let mut listener = snapshots.listen();
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for (number, task) in [(1, one), (2, two), (3, one)] {
            change(&mut snapshots.kept.lock().unwrap(), number, task, usize::try_from(number).unwrap());
        }
        let sizes = |frames: Vec<Utf8Bytes>| frames.iter().map(|f| f.len()).collect::<Vec<_>>();
        assert_eq!(snapshots.take(&mut listener, Uuid::nil()).map(sizes), Some(vec![2, 3]));
        assert_eq!(snapshots.take(&mut listener, Uuid::nil()).map(sizes), Some(vec![]));
        change(&mut snapshots.kept.lock().unwrap(), 4, two, 4);
        assert_eq!(snapshots.take(&mut listener, Uuid::from_u128(9)).map(sizes), Some(vec![]), "another user's");
    }

    #[test]
    fn what_is_kept_is_bounded_and_whoever_misses_something_is_told() {
        let snapshots = Snapshots::default();
        let mut slow = snapshots.listen();
        for number in 1..=KEPT as u64 + 1 {
            change(&mut snapshots.kept.lock().unwrap(), number, Uuid::from_u128(number.into()), 1);
        }
        assert_eq!(snapshots.take(&mut slow, Uuid::nil()), None);
        assert_eq!(snapshots.take(&mut slow, Uuid::nil()).map(|frames| frames.len()), Some(0));
        let mut kept = snapshots.kept.lock().unwrap();
        for number in 1000..1010 {
            change(&mut kept, number, Uuid::from_u128(number.into()), KEPT_BYTES / 4);
        }
        assert!(kept.bytes <= KEPT_BYTES && kept.snapshots.len() == 4 && kept.numbers.len() == 4);
    }
}
