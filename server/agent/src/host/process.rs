//! The side of whoever starts a host.

use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{HostSpec, Line, LineReader, kill_marked};
use crate::fault;

/// How much of the end of stderr is kept, in bytes.
const STDERR_TAIL: usize = 4 << 10;
/// Lines that may wait to be written; the host itself takes them at once.
const QUEUE: usize = 64;
/// How long a host may take to end once its pipes are closed. It gives up on its processes before.
const PATIENCE: Duration = Duration::from_secs(30);

/// Gets all that the agent and the host write to stderr, for a log.
pub type StderrSink = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// An agent under its host. Dropping it kills the agent's whole tree.
#[derive(Debug)]
pub struct HostProcess {
    child: Child,
    lines: LineReader<ChildStdout>,
    stderr: JoinHandle<Vec<u8>>,
    orders: mpsc::Sender<String>,
    marker: String,
    /// The host's exit code, once it ended; `Some(None)` where it was killed.
    exit: Option<Option<i32>>,
    /// Kills what a killed host left.
    rescue: Option<JoinHandle<usize>>,
}

/// How a host ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostExit {
    /// The agent's exit code, 128 + signal where one killed it; `None` where the host itself was killed.
    pub code: Option<i32>,
    /// The last of what was written to stderr, at most 4 KiB.
    pub stderr: String,
}

impl HostProcess {
    /// Starts `host` (the cadence program) with the subcommand `host`, and the agent under it.
    ///
    /// An agent that cannot be started shows as exit code 127 with the reason on stderr.
    pub async fn spawn(host: &Path, spec: &HostSpec, sink: Option<StderrSink>) -> std::io::Result<Self> {
        let first = serde_json::to_string(&confined(host, spec)?).map_err(std::io::Error::other)?;
        let mut child = Command::new(host)
            .arg("host")
            .env_clear()
            .envs(fault::environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C at our terminal is not for it.
            .process_group(0)
            .spawn()?;
        let (Some(stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(std::io::Error::other("the host has no pipes"));
        };
        let (orders, queue) = mpsc::channel(QUEUE);
        tokio::spawn(write_orders(stdin, first, queue));
        Ok(Self {
            child,
            lines: LineReader::new(stdout),
            stderr: tokio::spawn(keep_tail(stderr, sink)),
            orders,
            marker: spec.marker.clone(),
            exit: None,
            rescue: None,
        })
    }

    /// The host's process id, while it lives.
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The next line of the agent's stdout; `None` when it is closed. Can be cancelled without loss.
    ///
    /// Where the host was killed, this kills what it left, which closes the agent's stdout.
    pub async fn next_line(&mut self) -> std::io::Result<Option<Line>> {
        loop {
            tokio::select! {
                biased;
                line = self.lines.next() => return line,
                status = self.child.wait(), if self.exit.is_none() => self.note_end(status),
            }
        }
    }

    fn note_end(&mut self, status: std::io::Result<ExitStatus>) {
        let code = status.ok().and_then(|status| status.code());
        self.exit = Some(code);
        if code.is_none() {
            let marker = self.marker.clone();
            self.rescue = Some(tokio::task::spawn_blocking(move || kill_marked(&marker)));
        }
    }

    /// Waits until the host has ended. Can be cancelled.
    pub async fn ended(&mut self) {
        if self.exit.is_none() {
            let status = self.child.wait().await;
            self.note_end(status);
        }
    }

    /// Queues a line for the agent's stdin. Line ends within it become spaces.
    pub async fn write_line(&self, line: &str) {
        let line = line.replace(['\n', '\r'], " ");
        self.order(format!("i{line}\n")).await;
    }

    /// Closes the agent's stdin, after what was queued.
    pub async fn close_stdin(&self) {
        self.order("c\n".into()).await;
    }

    /// Kills the agent and all that it started: SIGTERM to the agent first, and half a second later everything.
    pub async fn kill(&self) {
        self.order("k\n".into()).await;
    }

    async fn order(&self, order: String) {
        // Fails only when the host is gone, which `next_line` and `wait` tell.
        drop(self.orders.send(order).await);
    }

    /// Waits for the end of the host, and so of the agent's tree. Where the host was killed, kills what it left.
    ///
    /// What the agent still writes is thrown away; read it with [`Self::next_line`] before. The agent is not told to end.
    pub async fn wait(mut self) -> HostExit {
        // An agent that cannot write does not end.
        while let Ok(Some(_)) = self.next_line().await {}
        self.ended().await;
        self.finish().await
    }

    /// Ends the agent's tree without a word to it, and waits until it is gone.
    pub async fn destroy(mut self) -> HostExit {
        // A closed control pipe is the order.
        self.orders = mpsc::channel(1).0;
        if tokio::time::timeout(PATIENCE, self.ended()).await.is_err() {
            drop(self.child.start_kill());
            self.ended().await;
        }
        self.finish().await
    }

    async fn finish(self) -> HostExit {
        if let Some(rescue) = self.rescue {
            // Survivors also hold the pipes open.
            drop(rescue.await);
        }
        // A process that could not be killed may hold stderr open.
        let tail = tokio::time::timeout(Duration::from_secs(2), self.stderr).await;
        let tail = tail.ok().and_then(Result::ok).unwrap_or_default();
        HostExit { code: self.exit.flatten(), stderr: String::from_utf8_lossy(&tail).into_owned() }
    }
}

/// The same with the command line that confines the agent.
fn confined(host: &Path, spec: &HostSpec) -> std::io::Result<HostSpec> {
    let mut spec = spec.clone();
    if let Some(confinement) = spec.bounds.confinement.take() {
        let line = (spec.program, spec.args);
        (spec.program, spec.args) = confinement.wrap(host, line).map_err(std::io::Error::other)?;
    }
    Ok(spec)
}

async fn write_orders(mut stdin: ChildStdin, first: String, mut queue: mpsc::Receiver<String>) {
    let mut order = first + "\n";
    loop {
        if stdin.write_all(order.as_bytes()).await.is_err() {
            return;
        }
        match queue.recv().await {
            Some(next) => order = next,
            None => return,
        }
    }
}

async fn keep_tail(mut stderr: ChildStderr, sink: Option<StderrSink>) -> Vec<u8> {
    let mut tail = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count) = stderr.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        if let Some(sink) = &sink {
            sink(&buffer[..count]);
        }
        tail.extend_from_slice(&buffer[..count]);
        let surplus = tail.len().saturating_sub(STDERR_TAIL);
        tail.drain(..surplus);
    }
    tail
}
