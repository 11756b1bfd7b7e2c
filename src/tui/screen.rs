//! The terminal as the dashboard has it, and as it was before: given back at the end, after a panic, and meanwhile.

use std::io::{Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use crossterm::event::{
    DisableBracketedPaste, DisableMouseCapture, EnableBracketedPaste, EnableMouseCapture, PopKeyboardEnhancementFlags,
};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use crossterm::{cursor, execute, queue};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;

use super::state::State;
use super::view;

/// Whether the terminal is the dashboard's, for whoever has to give it back.
static HELD: AtomicBool = AtomicBool::new(false);
/// Whether the keyboard tells of releases.
static RELEASES: AtomicBool = AtomicBool::new(false);

/// Longest text that is put on the clipboard, in bytes: terminals take no more.
const CLIPBOARD: usize = 74_000;

pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    mouse: bool,
}

impl Screen {
    /// Takes the terminal. It is given back when this is dropped, or the program panics.
    pub fn open(mouse: bool) -> std::io::Result<Self> {
        static HOOK: std::sync::Once = std::sync::Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            let drawing = std::thread::current().id();
            std::panic::set_hook(Box::new(move |panic| {
                // What goes wrong beside the loop is told by whoever waits for it; printed, it would be in the picture.
                if std::thread::current().id() != drawing && HELD.load(Ordering::SeqCst) {
                    tracing::error!(%panic, "something beside the dashboard failed");
                    return;
                }
                give_back();
                before(panic);
            }));
        });
        // Whoever fails from here on gives back what was taken.
        let mut screen = Self { terminal: Terminal::new(CrosstermBackend::new(std::io::stdout()))?, mouse };
        screen.take()?;
        Ok(screen)
    }

    fn take(&mut self) -> std::io::Result<()> {
        enable_raw_mode()?;
        HELD.store(true, Ordering::SeqCst);
        execute!(std::io::stdout(), EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)?;
        if self.mouse {
            execute!(std::io::stdout(), EnableMouseCapture)?;
        }
        Ok(())
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        crossterm::terminal::size().unwrap_or((80, 24))
    }

    /// Draws what changed, all at once where the terminal can.
    pub fn draw(&mut self, state: &State) -> std::io::Result<()> {
        queue!(std::io::stdout(), BeginSynchronizedUpdate)?;
        self.terminal.draw(|frame| view::draw(frame, state))?;
        execute!(std::io::stdout(), EndSynchronizedUpdate)
    }

    /// The next picture is drawn whole.
    pub fn forget(&mut self) -> std::io::Result<()> {
        // `Terminal::clear` would ask for the cursor's place, and whoever reads keys meanwhile would get the answer.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Releases of keys are told from now on.
    pub fn releases(&self) {
        RELEASES.store(true, Ordering::SeqCst);
    }

    /// Lets somebody else have the terminal.
    pub fn aside<T>(&mut self, work: impl FnOnce() -> T) -> std::io::Result<T> {
        let releases = RELEASES.load(Ordering::SeqCst);
        give_back();
        let result = work();
        self.take()?;
        if releases {
            std::mem::forget(crate::voice::Keyboard::again());
            self.releases();
        }
        self.forget()?;
        Ok(result)
    }

    /// Puts text on the clipboard (OSC 52): the terminal's own, over SSH too. Whether it was short enough.
    pub fn copy(&self, text: &str) -> std::io::Result<bool> {
        let fits = text.len() <= CLIPBOARD;
        if fits {
            let encoded = base64::engine::general_purpose::STANDARD.encode(text);
            self.write(&format!("\u{1b}]52;c;{encoded}\u{7}"))?;
        }
        Ok(fits)
    }

    /// Writes a control sequence of our own.
    pub fn write(&self, sequence: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(sequence.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Makes the terminal what it was, if it is not.
fn give_back() {
    if !HELD.swap(false, Ordering::SeqCst) {
        return;
    }
    let mut out = std::io::stdout();
    if RELEASES.swap(false, Ordering::SeqCst) {
        let _ = execute!(out, PopKeyboardEnhancementFlags);
    }
    let _ = execute!(
        out,
        EndSynchronizedUpdate,
        DisableMouseCapture,
        DisableBracketedPaste,
        LeaveAlternateScreen,
        cursor::Show
    );
    let _ = disable_raw_mode();
}
