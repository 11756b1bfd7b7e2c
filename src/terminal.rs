//! The terminal: what it can do, and printing to it.

use crate::config::ColorWhen;
use crate::error::CommandError;
use crate::render::{CYAN, DIM, Line};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, OnceLock, PoisonError};

const SPINNER: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
/// Back to the start of the line, and nothing on it.
const ERASE: &str = "\r\u{1b}[2K";

/// What standard input, output and error are.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Somebody reads output as it comes.
    pub shows: bool,
    /// Somebody is there to be asked: input and error are a terminal.
    pub asks: bool,
    /// Error is a terminal: a status line can be shown.
    pub status: bool,
    pub color: bool,
    pub color_err: bool,
}

impl Terminal {
    pub fn detect(color: ColorWhen) -> Self {
        let (stdout, stderr) = (std::io::stdout(), std::io::stderr());
        let choose = |auto: anstream::ColorChoice| match color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => auto != anstream::ColorChoice::Never,
        };
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            shows: stdout.is_terminal(),
            asks: std::io::stdin().is_terminal() && stderr.is_terminal() && !dumb,
            status: stderr.is_terminal() && !dumb,
            color: choose(anstream::AutoStream::choice(&stdout)),
            color_err: choose(anstream::AutoStream::choice(&stderr)),
        }
    }

    /// Columns that text is broken to; none where output is no terminal.
    pub fn columns(self) -> Option<usize> {
        self.shows.then(|| usize::from(crossterm::terminal::size().map_or(80, |(columns, _)| columns)).clamp(20, 120))
    }

    pub fn print(self, lines: &[Line]) -> Result<(), CommandError> {
        print(lines.iter().map(|line| line.paint(self.color)))
    }

    /// One JSON document on a line.
    pub fn json<T: serde::Serialize>(self, value: &T) -> Result<(), CommandError> {
        let text = serde_json::to_string(value)
            .map_err(|error| CommandError::failed("the answer cannot be written as JSON").caused_by(error))?;
        print([text])
    }

    /// Prints to standard error; a failure there has nobody to be told to.
    pub fn note(self, lines: &[Line]) {
        let mut out = error_output();
        for line in lines {
            let _ = writeln!(out, "{}", line.paint(self.color_err));
        }
    }
}

/// Standard error as it was when the program began. What draws there goes on drawing while [`crate::voice`] keeps away from it
/// what sound libraries print. None where it is closed.
pub fn first_stderr() -> Option<&'static File> {
    static FIRST: OnceLock<Option<File>> = OnceLock::new();
    FIRST.get_or_init(|| std::io::stderr().as_fd().try_clone_to_owned().ok().map(File::from)).as_ref()
}

/// For what people see on standard error. Its bytes go out together when it is flushed or dropped.
pub fn error_output() -> ErrorOutput {
    ErrorOutput { waiting: Vec::new() }
}

/// See [`error_output`].
pub struct ErrorOutput {
    waiting: Vec<u8>,
}

impl std::io::Write for ErrorOutput {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        static ONE: Mutex<()> = Mutex::new(());
        let bytes = std::mem::take(&mut self.waiting);
        let Some(mut file) = first_stderr() else { return Ok(()) };
        let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&bytes)
    }
}

impl Drop for ErrorOutput {
    fn drop(&mut self) {
        // A failure there has nobody to be told to.
        let _ = self.flush();
    }
}

fn print(lines: impl IntoIterator<Item = String>) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        out.write_all(line.as_bytes())?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(())
}

/// Prints while a status line stays below. The status line is there only on a terminal.
pub struct Screen {
    pub terminal: Terminal,
    /// The words of the status line, while it is on the screen.
    status: Option<String>,
    /// Which of the spinner's frames comes next.
    frame: usize,
    /// The last line printed was empty: two are never needed.
    blank: bool,
    /// Output was closed by its reader; what follows goes nowhere.
    closed: bool,
}

impl Screen {
    pub fn new(terminal: Terminal) -> Self {
        Self { terminal, status: None, frame: 0, blank: true, closed: false }
    }

    /// Shows the status line, or changes its words; each call turns the spinner.
    pub fn status(&mut self, text: &str) {
        if self.terminal.status {
            self.frame = (self.frame + 1) % SPINNER.len();
            self.status = Some(text.to_owned());
            self.draw();
        }
    }

    /// Takes the status line away, for a prompt or the end.
    pub fn clear_status(&mut self) {
        if self.status.take().is_some() {
            erase();
        }
    }

    fn draw(&self) {
        let Some(text) = &self.status else { return };
        let columns = usize::from(crossterm::terminal::size().map_or(80, |(columns, _)| columns));
        // Room is left for the `^C` that the terminal itself writes: on the next line it could not be taken away.
        let line = Line::of(CYAN, SPINNER[self.frame]).add(DIM, format!(" {text}")).cut(columns.saturating_sub(4));
        let mut out = error_output();
        let _ = write!(out, "{ERASE}{}", line.paint(self.terminal.color_err)).and_then(|()| out.flush());
    }

    /// Runs `print` while the status line is away.
    fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        if self.status.is_some() {
            erase();
        }
        let result = print();
        self.draw();
        result
    }

    /// Prints lines above the status line. A reader that went away ends the printing, not the work.
    pub fn print(&mut self, lines: &[Line]) -> Result<(), CommandError> {
        let mut shown = Vec::with_capacity(lines.len());
        for line in lines {
            let blank = line.is_blank();
            if !(blank && self.blank) {
                shown.push(line.clone());
            }
            self.blank = blank;
        }
        let terminal = self.terminal;
        self.write(|| terminal.print(&shown))
    }

    pub fn json<T: serde::Serialize>(&mut self, value: &T) -> Result<(), CommandError> {
        let terminal = self.terminal;
        self.write(|| terminal.json(value))
    }

    /// Says something on standard error.
    pub fn note(&mut self, lines: &[Line]) {
        let terminal = self.terminal;
        self.aside(|| terminal.note(lines));
    }

    /// Whether nobody reads the output any more.
    pub fn closed(&self) -> bool {
        self.closed
    }

    fn write(&mut self, print: impl FnOnce() -> Result<(), CommandError>) -> Result<(), CommandError> {
        if self.closed {
            return Ok(());
        }
        match self.aside(print) {
            Err(error) if error.quiet => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

fn erase() {
    let mut out = error_output();
    let _ = write!(out, "{ERASE}").and_then(|()| out.flush());
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear_status();
    }
}
