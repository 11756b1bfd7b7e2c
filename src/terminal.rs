//! The terminal: what it can do, and printing to it.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::config::ColorWhen;
use crate::error::CommandError;
use crate::render::Line;

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
        let mut out = std::io::stderr().lock();
        for line in lines {
            let _ = writeln!(out, "{}", line.paint(self.color_err));
        }
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
    bar: ProgressBar,
    /// The last line printed was empty: two are never needed.
    blank: bool,
    /// Output was closed by its reader; what follows goes nowhere.
    closed: bool,
}

impl Screen {
    pub fn new(terminal: Terminal) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        if terminal.status {
            let template = if terminal.color_err { "{spinner:.cyan} {msg:.dim}" } else { "{spinner} {msg}" };
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
            bar.set_style(style);
        }
        Self { terminal, bar, blank: true, closed: false }
    }

    /// Shows the status line, or changes its words.
    pub fn status(&mut self, text: &str) {
        if !self.terminal.status {
            return;
        }
        let columns = usize::from(crossterm::terminal::size().map_or(80, |(columns, _)| columns));
        self.bar.set_message(crate::text::cut(&crate::text::clean_line(text), columns.saturating_sub(4)));
        if self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.bar.enable_steady_tick(Duration::from_millis(120));
        }
    }

    /// Takes the status line away, for a prompt or the end.
    pub fn clear_status(&mut self) {
        if self.terminal.status && !self.bar.is_hidden() {
            self.bar.disable_steady_tick();
            self.bar.set_message("");
            let _ = crossterm::execute!(
                std::io::stderr(),
                crossterm::cursor::MoveToColumn(0),
                crossterm::terminal::Clear(crossterm::terminal::ClearType::CurrentLine)
            );
            self.bar.set_draw_target(ProgressDrawTarget::hidden());
        }
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
        self.bar.suspend(|| terminal.note(lines));
    }

    /// Whether nobody reads the output any more.
    pub fn closed(&self) -> bool {
        self.closed
    }

    fn write(&mut self, print: impl FnOnce() -> Result<(), CommandError>) -> Result<(), CommandError> {
        if self.closed {
            return Ok(());
        }
        match self.bar.suspend(print) {
            Err(error) if error.quiet => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear_status();
    }
}
