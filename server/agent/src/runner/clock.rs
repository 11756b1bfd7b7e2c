//! How long an attempt has worked, pauses left out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Its clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    limit: Option<Duration>,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    used: Duration,
    since: Option<Instant>,
}

impl State {
    fn worked(self, now: Instant) -> Duration {
        self.used + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl Clock {
    /// Stands still until it is started. `used`: what was worked before, by a runner that is gone.
    pub fn new(limit: Option<Duration>, used: Duration) -> Self {
        Self { limit, state: Arc::new(Mutex::new(State { used, since: None })) }
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn start(&self, now: Instant) {
        self.with(|state| state.since = state.since.or(Some(now)));
    }

    pub fn stop(&self, now: Instant) {
        self.with(|state| *state = State { used: state.worked(now), since: None });
    }

    pub fn worked(&self, now: Instant) -> Duration {
        self.with(|state| state.worked(now))
    }

    /// When the limit is reached, if nothing stops the clock before.
    pub fn deadline(&self) -> Option<Instant> {
        let limit = self.limit?;
        self.with(|state| Some(state.since? + limit.saturating_sub(state.used)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_do_not_count() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let clock = Clock::new(Some(Duration::from_secs(10)), Duration::ZERO);
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
    fn what_was_worked_before_counts() {
        let start = Instant::now();
        let clock = Clock::new(Some(Duration::from_secs(10)), Duration::from_secs(7));
        clock.start(start);
        assert_eq!(clock.deadline(), Some(start + Duration::from_secs(3)));
        assert_eq!(clock.clone().worked(start + Duration::from_secs(1)), Duration::from_secs(8));
    }

    #[test]
    fn without_a_limit_there_is_no_deadline() {
        let clock = Clock::new(None, Duration::ZERO);
        clock.start(Instant::now());
        assert_eq!(clock.deadline(), None);
    }
}
