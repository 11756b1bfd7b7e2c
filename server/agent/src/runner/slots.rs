//! How many attempts work at once. One that is paused, or waits for a person or a rate limit, does not count: it would keep
//! others from work for as long as nobody looks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

#[derive(Clone, Debug)]
pub struct Slots {
    working: Arc<watch::Sender<usize>>,
    limit: usize,
}

impl Slots {
    pub fn new(limit: usize) -> Self {
        Self { working: Arc::new(watch::Sender::new(0)), limit: limit.max(1) }
    }

    /// Waits until fewer than the limit work.
    pub async fn free(&self) {
        // The sender is ours, so the channel does not close.
        let _ = self.working.subscribe().wait_for(|working| *working < self.limit).await;
    }

    /// A place that counts at once.
    pub fn take(&self) -> Slot {
        let slot = Slot { slots: self.clone(), counts: AtomicBool::new(false) };
        slot.set(true);
        slot
    }
}

/// The place of one attempt.
#[derive(Debug)]
pub struct Slot {
    slots: Slots,
    counts: AtomicBool,
}

impl Slot {
    /// Whether the attempt works. Beginning again does not wait for a free place.
    pub fn set(&self, works: bool) {
        if self.counts.swap(works, Ordering::Relaxed) != works {
            self.slots.working.send_modify(|working| {
                *working = if works { *working + 1 } else { working.saturating_sub(1) };
            });
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn is_free(slots: &Slots) -> bool {
        tokio::time::timeout(Duration::from_millis(1), slots.free()).await.is_ok()
    }

    #[tokio::test]
    async fn only_those_count_that_work() {
        let slots = Slots::new(2);
        let (first, second) = (slots.take(), slots.take());
        assert!(!is_free(&slots).await);
        first.set(false);
        first.set(false);
        assert!(is_free(&slots).await);
        first.set(true);
        assert!(!is_free(&slots).await);
        drop(second);
        assert!(is_free(&slots).await);
    }
}
