//! Time for what must not hang on the clock on the wall, which somebody may set and which a machine that wakes up corrects.

use std::time::{Duration, Instant};

use cadence_protocol::Timestamp;

use super::{micros, now};

/// A clock that goes on evenly from where the wall clock stood when it was made. Only the server that made it reads it.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    began: i64,
    since: Instant,
}

impl Steady {
    pub fn start() -> Self {
        Self { began: micros(now()), since: Instant::now() }
    }

    /// Microseconds since 1970, as the clock on the wall would show them had nobody set it.
    pub fn micros(&self) -> i64 {
        self.began.saturating_add(i64::try_from(self.since.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

/// How far a clock may be behind what was stored before it is taken for right again.
const BEHIND: Duration = Duration::from_secs(24 * 3600);

/// The time of something that comes after `newest` in a list: now, or just after that where the clock was set back. One
/// that was wrong by more than a day does not drag on.
pub fn after(newest: Option<i64>, now: Timestamp) -> Timestamp {
    let at = micros(now);
    match newest {
        Some(newest) if newest >= at && newest - at < i64::try_from(BEHIND.as_micros()).unwrap_or(i64::MAX) => {
            super::from_micros(newest + 1)
        }
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_is_later_however_the_clock_is_set() {
        let at = |secs: i64| super::super::from_micros(1_800_000_000_000_000 + secs * 1_000_000);
        let newest = Some(micros(at(0)));
        assert_eq!(after(None, at(0)), at(0));
        assert_eq!(after(newest, at(5)), at(5));
        // Five hours back.
        assert_eq!(micros(after(newest, at(-5 * 3600))), micros(at(0)) + 1);
        // Once it was a year ahead.
        assert_eq!(after(newest, at(-365 * 24 * 3600)), at(-365 * 24 * 3600));
    }
}
