//! A running agent that speaks lines of JSON: moves them between its host and whoever understands them.

pub(crate) mod calls;
pub(crate) mod consent;
pub(crate) mod jsonrpc;
pub(crate) mod patch;
mod raw_log;
pub(crate) mod steps;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use self::raw_log::RawLog;
use crate::agent::{Input, Launch, Output, Session};
use crate::host::{HostProcess, HostSpec, Line, MAX_LINE};
use cadence_protocol::EventData;

/// Outputs and inputs that may wait in the channels.
const CHANNEL: usize = 16;
/// From this length on, in bytes, a line is read beside what else runs here: it takes its time.
const LONG: usize = 256 << 10;
/// How long pieces of a text that is being written gather, to go on as one, and how many bytes of them.
const GATHER: Duration = Duration::from_millis(50);
const MAX_GATHERED: usize = 16 << 10;

/// What a session does next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Tell the runner.
    Emit(Output),
    /// Write a line to the agent.
    Write(String),
    CloseInput,
    Kill,
}

impl Action {
    pub fn event(data: EventData) -> Self {
        Self::Emit(Output::Event(data))
    }
}

/// What an agent's lines mean, and how it is told what the runner says: a state machine without I/O.
pub trait Dialect: Send + 'static {
    /// A line that was read.
    type Line: Send + 'static;

    /// Reads a line; `None` for what is none of this dialect.
    fn parse(text: &str) -> Option<Self::Line>;

    /// Takes in a line of the agent's stdout; what is none of this dialect gives nothing.
    fn line(&mut self, line: Option<Self::Line>) -> Vec<Action>;

    /// Reads a line and takes it in.
    fn read(&mut self, text: &str) -> Vec<Action> {
        self.line(Self::parse(text))
    }

    /// Takes in what the runner says.
    fn input(&mut self, input: Input) -> Vec<Action>;

    /// Takes in that the process is gone.
    fn ended(&mut self) -> Vec<Action>;

    /// Takes in that a line was too long to be read: so many bytes.
    fn cut_line(&mut self, length: u64) -> Vec<Action> {
        let message = format!(
            "A line of the agent was left out: it had {length} bytes, and lines are read up to {MAX_LINE}. \
             The agent's log has its beginning."
        );
        vec![Action::event(EventData::Error { message, recoverable: true })]
    }
}

/// Starts an agent under its host and gives it the prompt of its launch.
pub async fn start(spec: &HostSpec, dialect: impl Dialect, launch: Launch) -> std::io::Result<Session> {
    let prompt = Input::Message { id: launch.prompt_id, text: launch.prompt };
    let log = Arc::new(Mutex::new(RawLog::open(launch.raw_log.as_deref())));
    let sink = Arc::clone(&log);
    let sink = Arc::new(move |bytes: &[u8]| sink.lock().unwrap_or_else(PoisonError::into_inner).write(bytes));
    let process = HostProcess::spawn(&launch.host, spec, Some(sink)).await?;
    let (input, inputs) = mpsc::channel(CHANNEL);
    let (outputs, output) = mpsc::channel(CHANNEL);
    let driver = Driver { process, dialect, outputs, outbox: VecDeque::new(), text: Gathered::default(), log };
    tokio::spawn(driver.run(prompt, inputs));
    Ok(Session { input, output })
}

/// The next line; once there are no more, waits for the end of the process.
async fn next(process: &mut HostProcess, reading: bool) -> Option<Line> {
    if reading {
        return process.next_line().await.ok().flatten();
    }
    process.ended().await;
    None
}

struct Driver<D> {
    process: HostProcess,
    dialect: D,
    outputs: mpsc::Sender<Output>,
    /// What the runner has not taken yet. No more lines are read before it has: an agent that is read too slowly has to wait.
    outbox: VecDeque<Output>,
    text: Gathered,
    log: Arc<Mutex<RawLog>>,
}

impl<D: Dialect> Driver<D> {
    async fn run(mut self, prompt: Input, mut inputs: mpsc::Receiver<Input>) {
        let first = self.dialect.input(prompt);
        self.carry_out(first).await;
        let outputs = self.outputs.clone();
        let mut listening = true;
        let mut reading = true;
        loop {
            tokio::select! {
                biased;
                // Nobody is interested any more.
                () = outputs.closed() => {
                    self.process.destroy().await;
                    return;
                }
                // Heard before all else, and also while outputs wait: a kill must get through.
                input = inputs.recv(), if listening => {
                    listening = input.is_some();
                    let actions = self.dialect.input(input.unwrap_or(Input::Close));
                    self.carry_out(actions).await;
                }
                permit = outputs.reserve(), if !self.outbox.is_empty() => {
                    if let (Ok(permit), Some(output)) = (permit, self.outbox.pop_front()) {
                        permit.send(output);
                    }
                }
                () = tokio::time::sleep_until(self.text.until), if !self.text.text.is_empty() => {
                    self.outbox.extend(self.text.take());
                }
                line = next(&mut self.process, reading), if !reading || self.outbox.is_empty() => match line {
                    Some(line) => self.line(line).await,
                    // The agent may close its stdout and live on.
                    None if reading => reading = false,
                    None => break,
                },
            }
        }
        self.outbox.extend(self.text.take());
        let last = self.dialect.ended();
        self.carry_out(last).await;
        let exit = self.process.wait().await;
        self.outbox.push_back(Output::Exited { code: exit.code, stderr: exit.stderr });
        for output in self.outbox {
            if self.outputs.send(output).await.is_err() {
                return;
            }
        }
    }

    async fn line(&mut self, line: Line) {
        {
            let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.line(&line.text);
        }
        let length = line.text.len();
        let actions = if line.left_out > 0 {
            self.dialect.cut_line(length as u64 + line.left_out)
        } else if length < LONG {
            self.dialect.read(&line.text)
        } else {
            let parsed = tokio::task::spawn_blocking(move || D::parse(&line.text)).await;
            self.dialect.line(parsed.ok().flatten())
        };
        self.carry_out(actions).await;
    }

    async fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Emit(Output::Delta(text)) => self.text.add(&text),
                Action::Emit(output) => {
                    // Each thing in its order.
                    self.outbox.extend(self.text.take());
                    self.outbox.push_back(output);
                }
                Action::Write(line) => self.process.write_line(&line).await,
                Action::CloseInput => self.process.close_stdin().await,
                Action::Kill => self.process.kill().await,
            }
        }
    }
}

/// Pieces of a text that is being written. They are shown and not stored: of more than fit, the beginning goes.
struct Gathered {
    text: String,
    /// When they go on.
    until: Instant,
}

impl Default for Gathered {
    fn default() -> Self {
        Self { text: String::new(), until: Instant::now() }
    }
}

impl Gathered {
    fn add(&mut self, piece: &str) {
        if self.text.is_empty() {
            self.until = Instant::now() + GATHER;
        }
        self.text.push_str(piece);
        if self.text.len() > 2 * MAX_GATHERED {
            let cut = self.text.ceil_char_boundary(self.text.len() - MAX_GATHERED);
            self.text.drain(..cut);
        }
    }

    fn take(&mut self) -> Option<Output> {
        (!self.text.is_empty()).then(|| Output::Delta(std::mem::take(&mut self.text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_go_on_as_one_and_never_become_many() {
        let mut text = Gathered::default();
        assert_eq!(text.take(), None);
        text.add("one ");
        text.add("two");
        assert_eq!(text.take(), Some(Output::Delta("one two".into())));
        for _ in 0..100_000 {
            text.add("ä");
            assert!(text.text.len() <= 2 * MAX_GATHERED + 2);
        }
        text.add("end");
        assert!(matches!(text.take(), Some(Output::Delta(text)) if text.ends_with("äend")));
        assert_eq!(text.take(), None);
    }
}
