//! Keeps what sound libraries print away from the screen.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::terminal::first_stderr;

/// Of what was printed, as much is kept as explains a fault.
const KEPT: u64 = 64 << 10;

static ONE: Mutex<()> = Mutex::new(());

/// While this lives, standard error of the whole process goes to a file without a name; afterwards it is as it was, whatever
/// happened. What came is logged for those who look for a fault. What draws on standard error meanwhile does it through
/// [`crate::terminal::error_output`], which is not moved.
///
/// ALSA itself is silenced where it is loaded, for good and for all threads. This is for its plugins (JACK's, PulseAudio's),
/// which print by themselves while a device is looked up, opened or closed, so it lives for some milliseconds. A panic of
/// another thread in that time is shown afterwards.
pub struct Quiet {
    /// Where standard error goes now.
    moved: Option<File>,
    _one: MutexGuard<'static, ()>,
}

impl Quiet {
    pub fn new() -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self { moved: redirect(), _one: one }
    }
}

/// Where it cannot be done, sound works all the same.
fn redirect() -> Option<File> {
    first_stderr()?;
    let sink = tempfile::tempfile().ok()?;
    nix::unistd::dup2_stderr(&sink).ok()?;
    Some(sink)
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let (Some(mut sink), Some(first)) = (self.moved.take(), first_stderr()) else { return };
        let _ = nix::unistd::dup2_stderr(first);
        let mut printed = Vec::new();
        if sink.rewind().is_err() || sink.take(KEPT).read_to_end(&mut printed).is_err() || printed.is_empty() {
            return;
        }
        let printed = String::from_utf8_lossy(&printed);
        if std::thread::panicking() || printed.contains("panicked at") {
            let _ = std::io::stderr().write_all(printed.as_bytes());
        }
        tracing::debug!(printed = %printed.trim(), "the sound system printed");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Which file standard error is.
    fn standard_error() -> (u64, u64) {
        let found = nix::sys::stat::fstat(std::io::stderr()).unwrap();
        (found.st_dev as u64, found.st_ino as u64)
    }

    #[test]
    fn standard_error_is_as_it_was_afterwards_also_after_a_panic() {
        let before = {
            // Nobody else has it moved meanwhile.
            let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
            standard_error()
        };
        for panics in [false, true] {
            let ended = std::panic::catch_unwind(|| {
                let quiet = Quiet::new();
                assert_ne!(standard_error(), before);
                // What draws is not moved.
                let drawn_on = nix::sys::stat::fstat(first_stderr().unwrap()).unwrap();
                assert_eq!((drawn_on.st_dev as u64, drawn_on.st_ino as u64), before);
                if panics {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
                drop(quiet);
            });
            assert_eq!(ended.is_err(), panics);
            let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
            assert_eq!(standard_error(), before);
        }
    }
}
