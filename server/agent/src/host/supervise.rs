//! `cadence host` itself. No async runtime: one of these runs for each agent, so it has to be small.

use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal, kill};
#[cfg(target_os = "linux")]
use nix::sys::wait::{Id, waitid};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::cgroup::AgentGroup;
use super::limits::{self, LIMIT_MARK, LIMIT_REACHED};
use super::{HostSpec, MARKER_VARIABLE, tree};
use crate::fault::{self, Point};

/// Time between the polite and the hard end of an agent that is to be killed.
const GRACE: Duration = Duration::from_millis(500);
/// How long the workspace's lock is waited for: the host before may still be ending.
const LOCK_WAIT: Duration = Duration::from_secs(5);
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Longest control line: the specification with its environment, or one line for the agent.
const MAX_CONTROL: u64 = 64 << 20;
/// Bytes that may wait for an agent that does not read its stdin.
const MAX_QUEUED: usize = 64 << 20;

/// Exit codes of a host that could not run its agent, as a shell would give them.
const CANNOT_START: i32 = 127;
const BAD_SPEC: i32 = 126;

enum Event {
    /// The agent ended; its exit code.
    Exited(i32),
    /// Kill all, with a word to the agent before.
    Kill,
    /// Whoever started us is gone: kill all, at once.
    Orphaned,
    /// The agent takes more than it may: kill all, at once. Why, in words.
    Beyond(String),
}

/// Runs the host on this process's stdin, stdout and stderr until the agent and all that it started is gone.
pub fn run() -> ExitCode {
    let code = match host() {
        Ok(code) => code,
        Err((code, message)) => {
            say(&message);
            code
        }
    };
    // Not a return from `main`: a thread may be stuck writing to an agent that does not read.
    std::process::exit(code)
}

/// Says something on stderr, which goes to whoever started us, and who may be gone: that must not end the one who says it.
pub(super) fn say(message: &str) {
    drop(writeln!(std::io::stderr(), "cadence host: {message}"));
}

fn host() -> Result<i32, (i32, String)> {
    let mut control = BufReader::new(std::io::stdin());
    let first = control_line(&mut control).map_err(|error| (BAD_SPEC, format!("no specification: {error}")))?;
    let spec: HostSpec = serde_json::from_slice(&first.unwrap_or_default())
        .map_err(|error| (BAD_SPEC, format!("the specification cannot be read: {error}")))?;

    become_subreaper();
    let _held = spec.lock.as_deref().map(hold).transpose().map_err(|message| (CANNOT_START, message))?;
    fault::here(Point::HostStarted);
    let group = AgentGroup::create(&spec.marker, &spec.bounds.limits).map(Arc::new);
    let start = || start_agent(&spec);
    let (agent, stdin) = match &group {
        Some(group) => group.within(start),
        None => start(),
    }
    .map_err(|error| (CANNOT_START, format!("cannot start {}: {error}", spec.program.display())))?;

    fault::here(Point::HostLaunched);
    let (events, inbox) = channel();
    watch_signals(events.clone());
    let gone = Arc::new(Mutex::new(false));
    watch_children(agent, Arc::clone(&gone), events.clone());
    if !group.as_ref().is_some_and(|group| group.is_limited()) {
        watch_limits(&spec, group.clone(), events.clone());
    }
    let queue = Arc::new(Queue::default());
    write_to_agent(stdin, Arc::clone(&queue));
    std::thread::spawn(move || follow_orders(control, &queue, &events));

    let code = supervise(agent, &gone, &inbox);
    fault::here(Point::HostEnding);
    end_tree(&spec, group.as_deref());
    Ok(tell_memory(&spec, group.as_deref(), code))
}

/// Watches what no control group limits.
fn watch_limits(spec: &HostSpec, group: Option<Arc<AgentGroup>>, events: Sender<Event>) {
    let members = move || group.as_ref().and_then(|group| group.members()).unwrap_or_else(tree::descendants);
    limits::watch(spec.bounds.limits.clone(), members, Event::Beyond, events);
}

/// Says when the kernel killed something for its memory. Where that was the agent itself, its end is one by the limit.
fn tell_memory(spec: &HostSpec, group: Option<&AgentGroup>, code: i32) -> i32 {
    match group.map(AgentGroup::killed_for_memory) {
        Some(killed @ 1..) => {
            say_limit(&limits::out_of_memory(killed, spec.bounds.limits.memory_bytes));
            if code == 128 + Signal::SIGKILL as i32 { LIMIT_REACHED } else { code }
        }
        _ => code,
    }
}

/// Says something about limits, by which whoever started us knows it.
fn say_limit(message: &str) {
    drop(writeln!(std::io::stderr(), "{LIMIT_MARK}{message}"));
}

#[cfg(target_os = "linux")]
fn become_subreaper() {
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        say(&format!("cannot become subreaper ({error}); detached processes may survive"));
    }
}

#[cfg(not(target_os = "linux"))]
fn become_subreaper() {}

/// The agent gets SIGKILL at the moment that the host dies, whatever of: it would take the end of its input for an answer,
/// and work on until it is found.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "the only way to a call between fork and exec")]
fn die_with_host(command: &mut Command) {
    let call = || nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(std::io::Error::from);
    // SAFETY: between fork and exec only what is async-signal-safe may be called. This is one system call; it allocates
    // nothing and takes no lock, also where it fails: the error is a number.
    unsafe { command.pre_exec(call) };
}

#[cfg(not(target_os = "linux"))]
fn die_with_host(_: &mut Command) {}

fn start_agent(spec: &HostSpec) -> std::io::Result<(Pid, ChildStdin)> {
    let mut command = Command::new(&spec.program);
    die_with_host(&mut command);
    let mut child = command
        .args(&spec.args)
        .current_dir(&spec.cwd)
        .env_clear()
        .envs(&spec.env)
        .env(MARKER_VARIABLE, &spec.marker)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let stdin = child.stdin.take().ok_or_else(|| std::io::Error::other("no pipe to its stdin"))?;
    let pid = i32::try_from(child.id()).map_err(std::io::Error::other)?;
    Ok((Pid::from_raw(pid), stdin))
}

/// Waits for the end, orders one where it is demanded, and returns the exit code. Once the agent is `gone`, its id may be
/// another process's.
fn supervise(agent: Pid, gone: &Mutex<bool>, inbox: &Receiver<Event>) -> i32 {
    match inbox.recv() {
        Ok(Event::Exited(code)) => code,
        Ok(Event::Kill) => {
            let gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
            if !*gone {
                let _ = kill(agent, Signal::SIGTERM);
                // A stopped agent would not see the signal.
                let _ = kill(agent, Signal::SIGCONT);
            }
            drop(gone);
            exit_code(inbox, GRACE).unwrap_or(128 + Signal::SIGKILL as i32)
        }
        Ok(Event::Beyond(why)) => {
            say_limit(&why);
            LIMIT_REACHED
        }
        Ok(Event::Orphaned) | Err(_) => 128 + Signal::SIGKILL as i32,
    }
}

fn exit_code(inbox: &Receiver<Event>, within: Duration) -> Option<i32> {
    let deadline = Instant::now() + within;
    loop {
        match inbox.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Event::Exited(code)) => return Some(code),
            Ok(Event::Kill | Event::Beyond(_)) => {}
            Ok(Event::Orphaned) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn end_tree(spec: &HostSpec, group: Option<&AgentGroup>) {
    if let Some(group) = group {
        group.kill();
    }
    let mut left = tree::kill_descendants();
    if !cfg!(target_os = "linux") {
        // Without a subreaper, what left its parents is found only by its environment.
        left += tree::kill_marked(&spec.marker).min(1);
    }
    if left > 0 {
        say(&format!("{left} processes of the agent could not be killed"));
    }
}

/// Locks the workspace. The agent and its children inherit the open file, so the lock outlives a host that is killed.
fn hold(path: &Path) -> Result<File, String> {
    let failed = |error: &dyn std::fmt::Display| format!("{} cannot be locked: {error}", path.display());
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = file.map_err(|error| failed(&error))?;
    let deadline = Instant::now() + LOCK_WAIT;
    while let Err(error) = file.try_lock() {
        if matches!(error, TryLockError::Error(_)) || Instant::now() > deadline {
            return Err(failed(&error));
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).map_err(|error| failed(&error))?;
    Ok(file)
}

/// Treats a request to end as one to kill the agent, too: our own death would leave it without anyone to end it. The agent
/// was started before, because it would inherit the blocked signals.
fn watch_signals(events: Sender<Event>) {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT] {
        signals.add(signal);
    }
    if signals.thread_block().is_err() {
        return;
    }
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            if events.send(Event::Kill).is_err() {
                return;
            }
        }
    });
}

/// Reaps whatever ends: the agent, which is `gone` from then on, and the orphans that a subreaper inherits.
fn watch_children(agent: Pid, gone: Arc<Mutex<bool>>, events: Sender<Event>) {
    std::thread::spawn(move || {
        loop {
            let ended = until_one_ended().and_then(|()| {
                // Nobody can be about to kill the agent while it is reaped.
                let mut gone = gone.lock().unwrap_or_else(PoisonError::into_inner);
                let status = waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG))?;
                *gone |= matches!(status, WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == agent);
                Ok(status)
            });
            let code = match ended {
                Ok(WaitStatus::Exited(pid, code)) if pid == agent => code,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == agent => 128 + signal as i32,
                Ok(_) | Err(Errno::EINTR) => continue,
                // No child at all; descendants of descendants may still come to us.
                Err(_) => {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                }
            };
            if events.send(Event::Exited(code)).is_err() {
                return;
            }
        }
    });
}

/// Waits until a child has ended, and leaves it unreaped: it keeps its id.
#[cfg(target_os = "linux")]
fn until_one_ended() -> nix::Result<()> {
    waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).map(drop)
}

/// Without a call that leaves it unreaped, look again and again.
#[cfg(not(target_os = "linux"))]
fn until_one_ended() -> nix::Result<()> {
    std::thread::sleep(Duration::from_millis(5));
    Ok(())
}

/// Lines that wait for the agent, so that an agent that does not read never keeps us from hearing `kill`.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    lines: std::collections::VecDeque<Vec<u8>>,
    bytes: usize,
    closed: bool,
}

impl Queue {
    /// Adds a line. `false` where too much waits already.
    fn push(&self, line: Vec<u8>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return true;
        }
        if state.bytes + line.len() > MAX_QUEUED {
            return false;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        self.changed.notify_one();
        true
    }

    fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_one();
    }

    /// Waits for the next line; `None` once closed and empty.
    fn pop(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(line) = state.lines.pop_front() {
                state.bytes -= line.len();
                return Some(line);
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn write_to_agent(mut stdin: ChildStdin, queue: Arc<Queue>) {
    std::thread::spawn(move || {
        while let Some(line) = queue.pop() {
            if stdin.write_all(&line).is_err() {
                return;
            }
        }
    });
}

/// Carries out control lines until the pipe ends.
fn follow_orders(mut control: impl BufRead, queue: &Queue, events: &Sender<Event>) {
    loop {
        let order = match control_line(&mut control) {
            Ok(Some(order)) => order,
            Ok(None) | Err(_) => {
                drop(events.send(Event::Orphaned));
                return;
            }
        };
        let sent = match order.split_first() {
            Some((b'i', line)) => {
                let mut line = line.to_vec();
                line.push(b'\n');
                if queue.push(line) {
                    continue;
                }
                say("the agent does not read its input; it is killed");
                events.send(Event::Kill)
            }
            Some((b'c', _)) => {
                queue.close();
                continue;
            }
            Some((b'k', _)) => events.send(Event::Kill),
            // Of a newer version.
            _ => continue,
        };
        if sent.is_err() {
            return;
        }
    }
}

/// The next control line without its end; `None` at the end of the pipe. A line without an end was cut, and does not count.
fn control_line(control: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    control.take(MAX_CONTROL).read_until(b'\n', &mut line)?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        None => Ok(None),
        Some(_) if line.len() as u64 + 1 >= MAX_CONTROL => Err(std::io::Error::other("a control line is too long")),
        Some(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_queue_has_a_bound_and_an_end() {
        let queue = Queue::default();
        assert!(queue.push(b"a\n".to_vec()));
        assert!(!queue.push(vec![0; MAX_QUEUED]));
        queue.close();
        assert_eq!(queue.pop(), Some(b"a\n".to_vec()));
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn an_agent_that_was_reaped_gets_no_signal() {
        let mut other = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_raw(other.id().cast_signed());
        let (events, inbox) = channel();
        events.send(Event::Kill).unwrap();
        events.send(Event::Exited(3)).unwrap();
        // As if the agent's id had gone to another process.
        assert_eq!(supervise(pid, &Mutex::new(true), &inbox), 3);
        assert_eq!(other.try_wait().unwrap(), None);
        other.kill().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&other.wait().unwrap()), Some(9));
    }

    #[test]
    fn a_cut_control_line_is_no_order() {
        let mut control = BufReader::new(&b"ione\nk"[..]);
        assert_eq!(control_line(&mut control).unwrap(), Some(b"ione".to_vec()));
        assert_eq!(control_line(&mut control).unwrap(), None);
    }
}
