//! How long an attempt has worked, pauses left out.

use std::time::Duration;

use tokio::time::Instant;

#[derive(Debug)]
pub struct Clock {
    limit: Option<Duration>,
    used: Duration,
    since: Option<Instant>,
}

impl Clock {
    /// Stands still until it is started.
    pub fn new(limit: Option<Duration>) -> Self {
        Self { limit, used: Duration::ZERO, since: None }
    }

    pub fn start(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    pub fn stop(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.used += now.saturating_duration_since(since);
        }
    }

    /// When the limit is reached, if nothing stops the clock before.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.since? + self.limit?.saturating_sub(self.used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_do_not_count() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut clock = Clock::new(Some(Duration::from_secs(10)));
        assert_eq!(clock.deadline(), None);
        clock.start(at(0));
        assert_eq!(clock.deadline(), Some(at(10)));
        clock.stop(at(4));
        assert_eq!(clock.deadline(), None);
        clock.start(at(100));
        clock.start(at(105));
        assert_eq!(clock.deadline(), Some(at(106)));
    }

    #[test]
    fn without_a_limit_there_is_no_deadline() {
        let mut clock = Clock::new(None);
        clock.start(Instant::now());
        assert_eq!(clock.deadline(), None);
    }
}
