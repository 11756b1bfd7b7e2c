use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::unistd::Pid;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::DEADLINE;
use super::wait::until_some;

const ROWS: NonZero<u16> = NonZero::new(30).unwrap();
/// What a VT220 with colours answers to "what are you?" (DA1, xterm's control sequences).
const ATTRIBUTES: &[u8] = b"\x1b[?62;22c";

/// The program in a terminal, with its screen as a person sees it.
pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    writer: Keyboard,
    screen: Arc<(Mutex<Screen>, Condvar)>,
    master: Box<dyn MasterPty + Send>,
    /// Before the program was started.
    modes: String,
}

/// What is typed, and what the terminal itself answers.
type Keyboard = Arc<Mutex<Box<dyn Write + Send>>>;

struct Screen {
    parser: vt100::Parser<Answers>,
    /// Everything that was written, colours left out: what has scrolled away is still in it.
    all: Vec<u8>,
    ended: bool,
}

/// Answers to questions of the program, to be sent.
#[derive(Default)]
struct Answers(Vec<u8>);

impl vt100::Callbacks for Answers {
    fn unhandled_csi(
        &mut self,
        screen: &mut vt100::Screen,
        first: Option<u8>,
        _: Option<u8>,
        parameters: &[&[u16]],
        end: char,
    ) {
        // The question about the keyboard (`CSI ? u`) stays without an answer: this one cannot tell of releases.
        match (first, end, parameters) {
            (None, 'c', _) => self.0.extend_from_slice(ATTRIBUTES),
            (None, 'n', [[6]]) => {
                let (row, column) = screen.cursor_position();
                self.0.extend_from_slice(format!("\x1b[{};{}R", row + 1, column + 1).as_bytes());
            }
            _ => {}
        }
    }
}

impl Terminal {
    pub(super) fn start(
        columns: NonZero<u16>,
        program: &str,
        arguments: &[&str],
        directory: &Path,
        variables: &[(String, String)],
    ) -> Self {
        let pair = native_pty_system().openpty(size(columns.get(), ROWS.get())).unwrap();
        let mut command = CommandBuilder::new(program);
        command.args(arguments);
        command.cwd(directory);
        command.env_clear();
        for (name, value) in variables {
            command.env(name, value);
        }
        command.env("TERM", "xterm-256color");
        let modes = modes(&*pair.master);
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let writer: Keyboard = Arc::new(Mutex::new(pair.master.take_writer().unwrap()));
        let parser = vt100::Parser::new_with_callbacks(ROWS, columns, 1000, Answers::default());
        let screen = Arc::new((Mutex::new(Screen { parser, all: Vec::new(), ended: false }), Condvar::new()));
        let (theirs, answers) = (Arc::clone(&screen), Arc::downgrade(&writer));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            loop {
                // Linux reports an error when the last program has closed the terminal.
                let count = reader.read(&mut chunk).unwrap_or(0);
                let mut screen = theirs.0.lock().unwrap_or_else(PoisonError::into_inner);
                screen.parser.process(&chunk[..count]);
                screen.all.extend_from_slice(&chunk[..count]);
                screen.ended = count == 0;
                let answer = std::mem::take(&mut screen.parser.callbacks_mut().0);
                theirs.1.notify_all();
                if count == 0 {
                    break;
                }
                drop(screen);
                if let Some(keyboard) = answers.upgrade().filter(|_| !answer.is_empty()) {
                    // Whoever asked may have ended.
                    let _ = keyboard.lock().unwrap_or_else(PoisonError::into_inner).write_all(&answer);
                }
            }
        });
        Self { child, writer, screen, master: pair.master, modes }
    }

    /// Types something. Enter is `\r`, Ctrl-C `\u{3}`.
    pub fn send(&mut self, keys: &str) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.write_all(keys.as_bytes()).and_then(|()| writer.flush()).unwrap();
    }

    /// Waits until the screen shows the text, and gives the screen.
    ///
    /// # Panics
    /// When it does not in time, or the program ends before.
    #[track_caller]
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(&format!("it shows {text:?}"), |screen| screen.contents().contains(text))
    }

    /// Waits until the screen does not show the text any more, and gives the screen.
    #[track_caller]
    pub fn wait_gone(&self, text: &str) -> String {
        self.wait_until(&format!("{text:?} is gone"), |screen| !screen.contents().contains(text))
    }

    /// Waits until the screen is so, and gives what it shows.
    ///
    /// # Panics
    /// When it is not in time, or the program ends before.
    #[track_caller]
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&vt100::Screen) -> bool) -> String {
        let holds = |s: &Screen| is_so(s.parser.screen());
        let waited = self.screen.1.wait_timeout_while(self.lock(), DEADLINE, |s| !s.ended && !holds(s));
        let (screen, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let contents = screen.parser.screen().contents();
        assert!(holds(&screen), "the screen never was so that {what}:\n{contents}");
        contents
    }

    /// Looks at the screen as it is now.
    pub fn look<T>(&self, at: impl FnOnce(&vt100::Screen) -> T) -> T {
        at(self.lock().parser.screen())
    }

    /// Makes the window larger or smaller.
    pub fn resize(&self, columns: u16, rows: u16) {
        let (width, height) = (NonZero::new(columns).unwrap(), NonZero::new(rows).unwrap());
        self.lock().parser.set_size(height, width);
        self.master.resize(size(columns, rows)).unwrap();
    }

    /// Everything that was written to the terminal, with its control sequences.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.lock().all).into_owned()
    }

    /// Whether the terminal treats what is typed as it did before the program was started: echo, lines, signals.
    pub fn has_its_modes(&self) -> bool {
        modes(&*self.master) == self.modes
    }

    pub fn pid(&self) -> Pid {
        let pid = self.child.process_id().expect("a program that runs");
        Pid::from_raw(i32::try_from(pid).unwrap())
    }

    /// Waits for the end of the program, and gives its exit code.
    #[track_caller]
    pub fn finish(mut self) -> i32 {
        self.ended()
    }

    /// As [`Self::finish`], to look at what it has left.
    #[track_caller]
    pub fn ended(&mut self) -> i32 {
        let status = until_some("the end of the program in the terminal", || self.child.try_wait().unwrap());
        // What it has written last is on its way.
        let waited = self.screen.1.wait_timeout_while(self.lock(), Duration::from_secs(5), |s| !s.ended);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        i32::try_from(status.exit_code()).unwrap()
    }

    fn lock(&self) -> MutexGuard<'_, Screen> {
        self.screen.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let contents = self.lock().parser.screen().contents();
            eprintln!("--- the screen\n{contents}\n---");
            // It may have ended.
            let _ = self.child.kill();
        }
    }
}

/// What `tcgetattr` tells.
fn modes(master: &dyn MasterPty) -> String {
    format!("{:?}", master.get_termios().expect("the modes of a terminal"))
}

const fn size(columns: u16, rows: u16) -> PtySize {
    PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 }
}
