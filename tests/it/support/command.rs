//! Programs with a cleared environment, a deadline and their output kept.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use serde_json::de::Deserializer;

use super::wait::within;
use super::{DEADLINE, processes};

/// A program to be started.
#[derive(Debug)]
pub struct Cmd {
    command: Command,
    home: PathBuf,
    stdin: Option<Vec<u8>>,
    timeout: Duration,
}

impl Cmd {
    pub fn new(program: impl AsRef<Path>, home: PathBuf) -> Self {
        let mut command = Command::new(program.as_ref());
        command.env_clear().current_dir(&home);
        Self { command, home, stdin: None, timeout: DEADLINE }
    }

    pub fn args<S: AsRef<std::ffi::OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.command.env(name.into(), value.into());
        self
    }

    pub fn env_remove(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// The working directory; the home directory unless told.
    pub fn cwd(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// What it reads; nothing unless told.
    pub fn stdin(mut self, text: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(text.into());
        self
    }

    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end in time, or leaves somebody behind who holds its output open.
    pub fn run(self) -> Finished {
        self.start().finish()
    }

    /// Runs it to its end, or to its deadline, where it is killed and has no exit code.
    pub fn try_run(self) -> Finished {
        self.start().finish_quietly()
    }

    /// Starts it with an output that nobody reads yet, and no input. Whoever starts it ends it.
    pub fn start_unread(mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        self.command.spawn().unwrap_or_else(|e| panic!("{:?} cannot be started: {e}", self.command))
    }

    /// Starts it, reads the first line of its output, and then neither that nor its errors any more: both are closed.
    pub fn start_unread_after_line(mut self) -> (Child, String) {
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = self.command.spawn().unwrap_or_else(|e| panic!("{:?} cannot be started: {e}", self.command));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        drop(child.stderr.take());
        (child, line)
    }

    /// Starts it.
    pub fn start(mut self) -> Running {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = self.command.spawn().unwrap_or_else(|e| panic!("{:?} cannot be started: {e}", self.command));
        let stdout = Collected::of(child.stdout.take().unwrap());
        let stderr = Collected::of(child.stderr.take().unwrap());
        let mut stdin = child.stdin.take();
        if let Some(mut input) = stdin.take_if(|_| self.stdin.is_some()) {
            // A program that ends before it has read everything breaks the pipe.
            let text = self.stdin.take().unwrap_or_default();
            std::thread::spawn(move || drop(input.write_all(&text)));
        }
        let line = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        let deadline = Instant::now() + self.timeout;
        Running { child, stdin, stdout, stderr, line, deadline, home: self.home }
    }
}

/// A program that runs. Its standard input stays open until it is asked to finish, unless it was given.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    pub stdout: Collected,
    pub stderr: Collected,
    line: String,
    deadline: Instant,
    home: PathBuf,
}

impl Running {
    /// Writes a line to it.
    pub fn send(&mut self, line: &str) {
        let input = self.stdin.as_mut().expect("its input was given from the start");
        writeln!(input, "{line}").and_then(|()| input.flush()).unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }

    /// Waits until its standard output holds the text, and gives all of it so far.
    ///
    /// # Panics
    /// When it ends before, or does not write it in time.
    pub fn wait_for(&mut self, text: &str) -> String {
        let found = self.stdout.wait_for(text, self.deadline);
        found.unwrap_or_else(|| {
            processes::kill_all_of(&self.home);
            panic!("{} never wrote {text:?}\nstdout: {}\nstderr: {}", self.line, self.stdout.text(), self.stderr.text())
        })
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end in time, or leaves somebody behind who holds its output open.
    pub fn finish(self) -> Finished {
        let (line, done) = (self.line.clone(), self.finish_quietly());
        assert!(done.ended, "{line} did not end in time\n{done:?}");
        assert!(!done.output_held, "{line} ended, but something that it left holds its output open\n{done:?}");
        done
    }

    fn finish_quietly(mut self) -> Finished {
        self.stdin = None;
        let status = within(self.deadline.saturating_duration_since(Instant::now()), || self.child.try_wait().unwrap());
        if status.is_none() {
            processes::kill_all_of(&self.home);
            // The program under test may have died of it, or never have been in that home.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        let eof = Instant::now() + Duration::from_secs(5);
        let output_held = !(self.stdout.wait_end(eof) && self.stderr.wait_end(eof));
        Finished {
            code: status.as_ref().and_then(ExitStatus::code),
            ended: status.is_some(),
            stdout: self.stdout.text(),
            stderr: self.stderr.text(),
            output_held,
            line: self.line,
        }
    }
}

/// A program that has ended.
#[derive(Clone)]
pub struct Finished {
    /// None where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    ended: bool,
    output_held: bool,
    line: String,
}

impl std::fmt::Debug for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, line, .. } = self;
        write!(f, "{line} → {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

impl Finished {
    /// Asserts its exit code.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.code, Some(expected), "{self:?}");
        self
    }

    /// Asserts that standard output holds the text.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "{text:?} is not in the output of {self:?}");
        self
    }

    /// Asserts that one of its outputs holds the text.
    #[track_caller]
    pub fn shows(self, text: &str) -> Self {
        assert!(self.stdout.contains(text) || self.stderr.contains(text), "{text:?} is nowhere in {self:?}");
        self
    }

    /// Asserts that standard error holds the text.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in the errors of {self:?}");
        self
    }

    /// Its output, one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        let mut all = self.json_lines();
        assert_eq!(all.len(), 1, "one document in {self:?}");
        all.remove(0)
    }

    /// Its output, one JSON document on each line.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        json_lines(&self.stdout)
    }
}

/// The documents of a text, one on each line.
#[track_caller]
pub fn json_lines(text: &str) -> Vec<Value> {
    let documents: Result<Vec<Value>, _> = Deserializer::from_str(text).into_iter().collect();
    let documents = documents.unwrap_or_else(|e| panic!("not JSON ({e}): {text}"));
    assert_eq!(documents.len(), text.lines().count(), "one document on each line of {text}");
    documents
}

/// Output that a thread collects.
#[derive(Debug)]
pub struct Collected {
    shared: Arc<(Mutex<Buffer>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    ended: bool,
}

impl Collected {
    fn of(mut source: impl Read + Send + 'static) -> Self {
        let shared = Arc::new((Mutex::new(Buffer::default()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let mut chunk = [0; 16 * 1024];
            loop {
                let count = source.read(&mut chunk).unwrap_or(0);
                let mut buffer = theirs.0.lock().unwrap_or_else(PoisonError::into_inner);
                buffer.bytes.extend_from_slice(&chunk[..count]);
                buffer.ended = count == 0;
                theirs.1.notify_all();
                if count == 0 {
                    break;
                }
            }
        });
        Self { shared, thread: Some(thread) }
    }

    /// What came so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).bytes).into_owned()
    }

    fn wait_for(&self, text: &str, deadline: Instant) -> Option<String> {
        let limit = deadline.saturating_duration_since(Instant::now());
        let has = |b: &Buffer| String::from_utf8_lossy(&b.bytes).contains(text);
        let buffer = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.1.wait_timeout_while(buffer, limit, |b| !b.ended && !has(b));
        let (buffer, _) = waited.unwrap_or_else(PoisonError::into_inner);
        has(&buffer).then(|| String::from_utf8_lossy(&buffer.bytes).into_owned())
    }

    fn wait_end(&mut self, deadline: Instant) -> bool {
        let limit = deadline.saturating_duration_since(Instant::now());
        let buffer = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.shared.1.wait_timeout_while(buffer, limit, |b| !b.ended);
        let ended = waited.unwrap_or_else(PoisonError::into_inner).0.ended;
        if let Some(thread) = self.thread.take_if(|_| ended) {
            // It has said that it ends.
            let _ = thread.join();
        }
        ended
    }
}
