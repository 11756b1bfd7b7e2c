//! Time for what must not hang on the clock on the wall, which somebody may set and which a machine that wakes up corrects.

use std::time::Instant;

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
