//! Key releases, where the terminal can report them.

use std::io::Write;

use crossterm::event::{KeyboardEnhancementFlags, PopKeyboardEnhancementFlags, PushKeyboardEnhancementFlags};
use crossterm::{execute, terminal};

/// The terminal's keyboard, which reports releases while this lives where it can (kitty's keyboard protocol).
#[derive(Debug)]
pub struct Keyboard {
    releases: bool,
}

impl Keyboard {
    /// Asks the terminal and sets it up. To be called once, in raw mode, before keys are read: a terminal that does not know the
    /// question may take up to 2 s, and counts as one that cannot.
    pub fn set_up() -> Self {
        let releases = terminal::supports_keyboard_enhancement().unwrap_or(false) && push();
        Self { releases }
    }

    /// Sets it up again, of a terminal that is known to be able to.
    pub fn again() -> Self {
        Self { releases: push() }
    }

    /// Whether releases are reported.
    pub const fn releases(&self) -> bool {
        self.releases
    }
}

impl Drop for Keyboard {
    fn drop(&mut self) {
        if self.releases {
            let mut out = std::io::stdout();
            let _ = execute!(out, PopKeyboardEnhancementFlags);
            let _ = out.flush();
        }
    }
}

/// Asks for releases.
fn push() -> bool {
    let flags = KeyboardEnhancementFlags::DISAMBIGUATE_ESCAPE_CODES
            | KeyboardEnhancementFlags::REPORT_EVENT_TYPES
            // Else what is typed with shift would be the key without it.
            | KeyboardEnhancementFlags::REPORT_ALTERNATE_KEYS
            | KeyboardEnhancementFlags::REPORT_ALL_KEYS_AS_ESCAPE_CODES;
    execute!(std::io::stdout(), PushKeyboardEnhancementFlags(flags)).is_ok()
}
