//! Keys while something is asked: read on a thread of their own, so that the stream goes on meanwhile.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossterm::event::{Event, KeyEvent, KeyEventKind};
use crossterm::terminal::{Clear, ClearType, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute, queue};
use tokio::sync::mpsc;

use crate::render::Line;
use crate::terminal::error_output;

/// How soon the thread sees that nothing is asked any more.
const TICK: Duration = Duration::from_millis(40);

/// A key, or pasted text.
#[derive(Clone, Debug)]
pub enum Input {
    Key(KeyEvent),
    Paste(String),
    Resize,
}

/// The terminal while something is asked. Dropping it leaves the terminal as it was.
pub struct Keys {
    input: mpsc::UnboundedReceiver<Input>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Columns of each line of the prompt that is on the screen.
    drawn: Vec<usize>,
    color: bool,
}

impl Keys {
    /// `releases`: whether it is told when a key is let go, where the terminal reports it.
    pub fn open(color: bool, releases: bool) -> std::io::Result<Self> {
        enable_raw_mode()?;
        let mut out = error_output();
        let _ = execute!(out, crossterm::event::EnableBracketedPaste, cursor::Hide);
        // What was typed before the question was there is no answer to it.
        while crossterm::event::poll(Duration::ZERO).unwrap_or(false) && crossterm::event::read().is_ok() {}
        let (sender, input) = mpsc::unbounded_channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("keys".into()).spawn(move || read(&sender, &stopped, releases));
        // From here on dropping restores the terminal, whatever fails.
        let mut keys = Self { input, stop, thread: None, drawn: Vec::new(), color };
        keys.thread = Some(thread?);
        Ok(keys)
    }

    /// The next key; none when the terminal is gone.
    pub async fn next(&mut self) -> Option<Input> {
        self.input.recv().await
    }

    /// Draws the prompt in place of what was drawn before.
    pub fn draw(&mut self, lines: impl FnOnce(usize) -> Vec<Line>) -> std::io::Result<()> {
        self.erase()?;
        let columns = columns().saturating_sub(1);
        let mut out = error_output();
        for line in lines(columns) {
            // A line that fits is one row, so that what was drawn can be taken away again.
            for row in line.wrap(columns, 2) {
                let row = row.cut(columns);
                write!(out, "{}\r\n", row.paint(self.color))?;
                self.drawn.push(row.width());
            }
        }
        out.flush()
    }

    /// Takes the prompt away and lets `print` have the terminal for a moment.
    pub fn suspend<T>(&mut self, print: impl FnOnce() -> T) -> T {
        let _ = self.erase();
        let _ = disable_raw_mode();
        let result = print();
        let _ = enable_raw_mode();
        result
    }

    fn erase(&mut self) -> std::io::Result<()> {
        let rows = rows(&std::mem::take(&mut self.drawn), columns());
        if rows == 0 {
            return Ok(());
        }
        let mut out = error_output();
        queue!(out, cursor::MoveUp(rows), cursor::MoveToColumn(0), Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = self.erase();
        let mut out = error_output();
        let _ = execute!(out, crossterm::event::DisableBracketedPaste, cursor::Show);
        let _ = disable_raw_mode();
    }
}

fn columns() -> usize {
    usize::from(crossterm::terminal::size().map_or(80, |(columns, _)| columns)).max(1)
}

/// Rows that lines take on the screen. A terminal that was made narrower since they were drawn has broken them.
fn rows(drawn: &[usize], columns: usize) -> u16 {
    let rows = drawn.iter().map(|width| width.div_ceil(columns).max(1)).sum::<usize>();
    u16::try_from(rows).unwrap_or(u16::MAX)
}

fn read(out: &mpsc::UnboundedSender<Input>, stop: &AtomicBool, releases: bool) {
    while !stop.load(Ordering::Relaxed) {
        match crossterm::event::poll(TICK) {
            Ok(false) => continue,
            Ok(true) => {}
            Err(_) => return,
        }
        let input = match crossterm::event::read() {
            Ok(Event::Key(key)) if releases || key.kind != KeyEventKind::Release => Input::Key(key),
            Ok(Event::Paste(text)) => Input::Paste(text),
            Ok(Event::Resize(..)) => Input::Resize,
            Ok(_) => continue,
            Err(_) => return,
        };
        if out.send(input).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_more_rows_on_a_narrower_terminal() {
        assert_eq!(rows(&[], 80), 0);
        assert_eq!(rows(&[79, 0, 12], 80), 3);
        assert_eq!(rows(&[79, 0, 12], 40), 4);
    }
}
