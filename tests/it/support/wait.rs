use std::time::{Duration, Instant};

use super::DEADLINE;

/// Waits until the condition holds. The only place that looks again and again; for what announces itself there are better
/// ways (a gate, the end of a process, a line of its output).
///
/// # Panics
/// When it does not hold in time.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// As [`until`], for a value.
pub fn until_some<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    within(DEADLINE, look).unwrap_or_else(|| panic!("waited for {what} in vain"))
}

/// As [`until_some`], with a deadline of its own and no panic.
pub fn within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = look() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}
