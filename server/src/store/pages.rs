//! Events as texts, in pages that all who read the same place share: a thousand listeners who are behind read once. Only
//! what is stored is in a page, and stored events do not change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as AsyncMutex;
use uuid::Uuid;

use super::{Store, StoreError};
use crate::events::EventText;

/// Events in a page.
const PAGE: u64 = 64;
/// Most bytes of pages that are kept.
const KEPT: usize = 8 * 1024 * 1024;
/// What an event takes beside its JSON, and a page beside its events.
const OVERHEAD: usize = 96;

/// User, task, and number of the page.
type Key = (Uuid, Uuid, u64);
type Page = Arc<AsyncMutex<Vec<EventText>>>;

#[derive(Debug, Default)]
pub(super) struct Pages(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    pages: HashMap<Key, Entry>,
    bytes: usize,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    page: Page,
    bytes: usize,
    used: u64,
}

impl Pages {
    fn get(&self, key: Key) -> Page {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.clock += 1;
        let used = kept.clock;
        if !kept.pages.contains_key(&key) {
            kept.bytes += OVERHEAD;
        }
        let new = || Entry { page: Page::default(), bytes: OVERHEAD, used };
        let entry = kept.pages.entry(key).or_insert_with(new);
        entry.used = used;
        entry.page.clone()
    }

    /// Notes how large a page has become, and lets go of those that were not used for longest.
    fn grown(&self, key: Key, bytes: usize) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = kept.pages.get_mut(&key) else { return };
        let before = std::mem::replace(&mut entry.bytes, bytes);
        kept.bytes = kept.bytes + bytes - before;
        while kept.bytes > KEPT {
            let Some(oldest) = kept.pages.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key) else {
                return;
            };
            kept.bytes -= kept.pages.remove(&oldest).map_or(0, |entry| entry.bytes);
        }
    }
}

impl Store {
    /// Stored events with a `seq` larger than `after`, in order: at least one where there are any, about `bytes` at most.
    pub async fn event_texts(
        &self,
        user: Uuid,
        task: Uuid,
        after: u64,
        bytes: usize,
    ) -> Result<Vec<EventText>, StoreError> {
        let number = after / PAGE;
        let key = (user, task, number);
        let shared = self.pages.get(key);
        // Held while it is read, so that the others wait for it instead of reading too.
        let mut page = shared.lock().await;
        let last = page.last().map_or(number * PAGE, |event| event.seq);
        if last <= after && (page.len() as u64) < PAGE {
            let missing = u32::try_from(PAGE - page.len() as u64).unwrap_or(u32::MAX);
            for event in self.stored_events(user, task, last, missing).await? {
                page.push(EventText { seq: event.seq, json: event.text()?.into() });
            }
            self.pages.grown(key, OVERHEAD + page.iter().map(|event| event.json.len() + OVERHEAD).sum::<usize>());
        }
        let first = page.partition_point(|event| event.seq <= after);
        let mut room = bytes;
        let fits = |event: &&EventText| {
            let fits = room > 0;
            room = room.saturating_sub(event.json.len());
            fits
        };
        Ok(page[first..].iter().take_while(fits).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cadence_protocol::{EventData, Frame, FrameBody, Lease, Timestamp};

    use super::*;
    use crate::events::Hub;
    use crate::store::NewTask;

    async fn world() -> (Store, Uuid, Lease, tempfile::TempDir) {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("db"), Arc::new(Hub::default())).await.unwrap();
        let user_id = store.ensure_user("ann", "admin").await.unwrap();
        let new = NewTask::new((user_id, "ann"), "demo", "app", "x".into());
        store.create_task(new, None).await.unwrap();
        let lease = store.claim(Uuid::new_v4(), 60).await.unwrap().unwrap().lease;
        (store, user_id, lease, home)
    }

    async fn say(store: &Store, lease: Lease, numbers: std::ops::RangeInclusive<u64>, size: usize) {
        let body = FrameBody::Event { event: EventData::Output { text: "x".repeat(size) } };
        let frame = |source_seq| Frame { source_seq, timestamp: Timestamp::now_utc(), body: body.clone() };
        store.report(lease, numbers.map(frame).collect()).await.unwrap();
    }

    /// All that is read from the beginning, and how often it was asked for.
    async fn all(store: &Store, user: Uuid, task: Uuid) -> (Vec<EventText>, usize) {
        let (mut all, mut times) = (Vec::<EventText>::new(), 0);
        loop {
            let after = all.last().map_or(0, |event| event.seq);
            let more = store.event_texts(user, task, after, 4096).await.unwrap();
            if more.is_empty() {
                return (all, times);
            }
            times += 1;
            let before_last: usize = more[..more.len() - 1].iter().map(|event| event.json.len()).sum();
            assert!(before_last < 4096, "{before_last}");
            all.extend(more);
        }
    }

    #[tokio::test]
    async fn what_is_read_in_parts_is_what_is_stored_also_where_it_grows() {
        let (store, user, lease, _home) = world().await;
        let mut reported = 0;
        for count in [1, 130, 300] {
            say(&store, lease, reported + 1..=reported + count, 100).await;
            reported += count;
            let (texts, times) = all(&store, user, lease.task_id).await;
            let stored = store.events(user, lease.task_id, 0, 1000).await.unwrap();
            let written: Vec<_> = stored.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
            assert_eq!(texts.iter().map(|text| text.json.as_str()).collect::<Vec<_>>(), written);
            assert!(texts.iter().map(|text| text.seq).eq(1..=reported + 2));
            assert!(times >= texts.len() * 200 / 4096);
        }
        assert!(store.event_texts(Uuid::new_v4(), lease.task_id, 0, 4096).await.unwrap().is_empty(), "of another user");
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let (store, user, lease, _home) = world().await;
        let count = 3 * KEPT as u64 / 60_000;
        for start in (1..=count).step_by(64) {
            say(&store, lease, start..=(start + 63).min(count), 60_000).await;
        }
        all(&store, user, lease.task_id).await;
        let kept = store.pages.0.lock().unwrap();
        let counted: usize = kept.pages.values().map(|entry| entry.bytes).sum();
        assert_eq!(kept.bytes, counted);
        assert!((1..=KEPT).contains(&kept.bytes), "{}", kept.bytes);
    }
}
