use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::DEADLINE;
use super::wait::until_some;

const ROWS: NonZero<u16> = NonZero::new(30).unwrap();

/// The program in a terminal, with its screen as a person sees it.
pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    writer: Box<dyn Write + Send>,
    screen: Arc<(Mutex<Screen>, Condvar)>,
    // Closing it hangs the terminal up.
    _master: Box<dyn MasterPty + Send>,
}

struct Screen {
    parser: vt100::Parser,
    /// Everything that was written, colours left out: what has scrolled away is still in it.
    all: Vec<u8>,
    ended: bool,
}

impl Terminal {
    pub(super) fn start(
        columns: NonZero<u16>,
        program: &str,
        arguments: &[&str],
        directory: &Path,
        variables: &[(String, String)],
    ) -> Self {
        let size = PtySize { rows: ROWS.get(), cols: columns.get(), pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(program);
        command.args(arguments);
        command.cwd(directory);
        command.env_clear();
        for (name, value) in variables {
            command.env(name, value);
        }
        command.env("TERM", "xterm-256color");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let writer = pair.master.take_writer().unwrap();
        let parser = vt100::Parser::new(ROWS, columns, 1000);
        let screen = Arc::new((Mutex::new(Screen { parser, all: Vec::new(), ended: false }), Condvar::new()));
        let theirs = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                // Linux reports an error when the last program has closed the terminal.
                let count = reader.read(&mut chunk).unwrap_or(0);
                let mut screen = theirs.0.lock().unwrap_or_else(PoisonError::into_inner);
                screen.parser.process(&chunk[..count]);
                screen.all.extend_from_slice(&chunk[..count]);
                screen.ended = count == 0;
                theirs.1.notify_all();
                if count == 0 {
                    break;
                }
            }
        });
        Self { child, writer, screen, _master: pair.master }
    }

    /// Types something. Enter is `\r`, Ctrl-C `\u{3}`.
    pub fn send(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).and_then(|()| self.writer.flush()).unwrap();
    }

    /// Waits until the screen shows the text, and gives the screen.
    ///
    /// # Panics
    /// When it does not in time, or the program ends before.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        let screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shows = |s: &Screen| s.parser.screen().contents().contains(text);
        let waited = self.screen.1.wait_timeout_while(screen, DEADLINE, |s| !s.ended && !shows(s));
        let (screen, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let contents = screen.parser.screen().contents();
        assert!(shows(&screen), "the screen never showed {text:?}:\n{contents}");
        contents
    }

    /// Everything that was written to the terminal, with its control sequences.
    pub fn raw(&self) -> String {
        let screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&screen.all).into_owned()
    }

    /// Waits for the end of the program, and gives its exit code.
    #[track_caller]
    pub fn finish(mut self) -> i32 {
        let status = until_some("the end of the program in the terminal", || self.child.try_wait().unwrap());
        let screen = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner);
        // What it has written last is on its way.
        let waited = self.screen.1.wait_timeout_while(screen, Duration::from_secs(5), |s| !s.ended);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        i32::try_from(status.exit_code()).unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let contents = self.screen.0.lock().unwrap_or_else(PoisonError::into_inner).parser.screen().contents();
            eprintln!("--- the screen\n{contents}\n---");
            // It may have ended.
            let _ = self.child.kill();
        }
    }
}
