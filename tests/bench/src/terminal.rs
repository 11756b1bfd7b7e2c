//! The dashboard of the release build in a terminal that answers as terminals do, and notes when each picture was whole.

use std::io::{Read, Write};
use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use crate::place;
use crate::server::{Server, TOKEN};

/// What the program asks a terminal for, and what one that knows no more than the VT220 says.
const QUESTION: &[u8] = b"\x1b[c";
const ANSWER: &[u8] = b"\x1b[?62;22c";
/// The end of a picture: a synchronised update is over.
const WHOLE: &[u8] = b"\x1b[?2026l";
const PATIENCE: Duration = Duration::from_secs(60);

pub const COLUMNS: u16 = 160;
pub const ROWS: u16 = 50;

pub struct Terminal {
    child: Box<dyn Child + Send + Sync>,
    writer: Box<dyn Write + Send>,
    output: Receiver<(Instant, Vec<u8>)>,
    parser: vt100::Parser,
    pub started: Instant,
    /// When the newest picture was whole, and whether it still is.
    whole: Instant,
    is_whole: bool,
    pub bytes: usize,
    pub pictures: usize,
    _master: Box<dyn MasterPty + Send>,
}

impl Terminal {
    pub fn open(home: &Path, server: &Server) -> Self {
        Self::sized(home, server, (COLUMNS, ROWS))
    }

    /// One of so many columns and rows.
    pub fn sized(home: &Path, server: &Server, (columns, rows): (u16, u16)) -> Self {
        let size = PtySize { rows, cols: columns, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(place::built().join("cadence"));
        command.cwd(home);
        command.env_clear();
        for (name, value) in [
            ("HOME", home.to_str().unwrap()),
            ("PATH", "/usr/bin:/bin"),
            ("TERM", "xterm-256color"),
            ("COLORTERM", "truecolor"),
            ("CADENCE_SERVER", &server.url),
            ("CADENCE_TOKEN", TOKEN),
        ] {
            command.env(name, value);
        }
        let started = Instant::now();
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut chunk = vec![0; 1 << 16];
            while let Ok(count @ 1..) = reader.read(&mut chunk) {
                if send.send((Instant::now(), chunk[..count].to_vec())).is_err() {
                    return;
                }
            }
        });
        let writer = pair.master.take_writer().unwrap();
        let parser = vt100::Parser::new(NonZero::new(rows).unwrap(), NonZero::new(columns).unwrap(), 0);
        let (whole, master) = (started, pair.master);
        Self { child, writer, output, parser, started, whole, is_whole: false, bytes: 0, pictures: 0, _master: master }
    }

    pub fn send(&mut self, keys: &str) {
        self.writer.write_all(keys.as_bytes()).and_then(|()| self.writer.flush()).unwrap();
    }

    /// Takes what comes until then. Whether something did.
    fn take(&mut self, until: Instant) -> bool {
        let (at, bytes) = match self.output.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(taken) => taken,
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => panic!("the dashboard ended:\n{}", self.screen()),
        };
        self.bytes += bytes.len();
        let has = |part: &[u8]| bytes.windows(part.len()).filter(|window| *window == part).count();
        if has(QUESTION) > 0 {
            self.writer.write_all(ANSWER).unwrap();
        }
        let pictures = has(WHOLE);
        self.is_whole = bytes.ends_with(WHOLE);
        if self.is_whole {
            self.whole = at;
        }
        self.pictures += pictures;
        self.parser.process(&bytes);
        true
    }

    /// Reads what comes for so long.
    pub fn rest(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while self.take(until) {}
    }

    /// Waits until a whole picture shows what is looked for; gives when that was.
    pub fn wait(&mut self, what: &str, shows: impl Fn(&vt100::Screen) -> bool) -> Instant {
        let until = Instant::now() + PATIENCE;
        loop {
            if self.is_whole && shows(self.parser.screen()) {
                return self.whole;
            }
            assert!(self.take(until), "{what} was never shown:\n{}", self.screen());
        }
    }

    /// Presses a key and waits until the picture is another one; gives how long that took.
    pub fn press(&mut self, key: &str, changed: impl Fn(&vt100::Screen, &vt100::Screen) -> bool) -> Duration {
        while self.take(Instant::now()) {}
        let before = self.parser.screen().clone();
        let pressed = Instant::now();
        self.send(key);
        self.wait("another picture", |screen| changed(&before, screen)).saturating_duration_since(pressed)
    }

    /// What is on the screen, with its colours.
    pub fn picture(&self) -> &vt100::Screen {
        self.parser.screen()
    }

    pub fn screen(&self) -> String {
        self.parser.screen().contents()
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.process_id().unwrap())).unwrap()
    }

    /// Memory that it has, in bytes.
    pub fn resident(&self) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Processor time that it has used, in the kernel's ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = self.read("stat");
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
