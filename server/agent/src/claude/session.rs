//! A running agent that speaks stream-json: moves lines between its host and the translator.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::raw_log::RawLog;
use super::translate::{Action, Translator};
use crate::agent::{Input, Output, Session};
use crate::host::{HostProcess, HostSpec, Line};

/// Outputs and inputs that may wait in the channels.
const CHANNEL: usize = 64;
/// Outputs that may wait here before no more lines are read: an agent that is read too slowly has to wait.
const OUTBOX: usize = 64;

/// Starts an agent under its host and gives it its first message.
pub async fn start(
    host: &Path,
    spec: &HostSpec,
    translator: Translator,
    prompt: Input,
    raw_log: Option<&Path>,
) -> std::io::Result<Session> {
    let log = Arc::new(Mutex::new(RawLog::open(raw_log)));
    let sink = Arc::clone(&log);
    let sink = Arc::new(move |bytes: &[u8]| sink.lock().unwrap_or_else(PoisonError::into_inner).write(bytes));
    let process = HostProcess::spawn(host, spec, Some(sink)).await?;
    let (input, inputs) = mpsc::channel(CHANNEL);
    let (outputs, output) = mpsc::channel(CHANNEL);
    let driver = Driver { process, translator, outputs, outbox: VecDeque::new(), log };
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

struct Driver {
    process: HostProcess,
    translator: Translator,
    outputs: mpsc::Sender<Output>,
    /// What the runner has not taken yet.
    outbox: VecDeque<Output>,
    log: Arc<Mutex<RawLog>>,
}

impl Driver {
    async fn run(mut self, prompt: Input, mut inputs: mpsc::Receiver<Input>) {
        let first = self.translator.input(prompt);
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
                    let actions = self.translator.input(input.unwrap_or(Input::Close));
                    self.carry_out(actions).await;
                }
                permit = outputs.reserve(), if !self.outbox.is_empty() => {
                    if let (Ok(permit), Some(output)) = (permit, self.outbox.pop_front()) {
                        permit.send(output);
                    }
                }
                line = next(&mut self.process, reading), if !reading || self.outbox.len() < OUTBOX => match line {
                    Some(line) => self.line(line).await,
                    // The agent may close its stdout and live on.
                    None if reading => reading = false,
                    None => break,
                },
            }
        }
        let last = self.translator.ended();
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
            log.write(line.text.as_bytes());
            log.write(b"\n");
        }
        let actions = if line.cut { self.translator.cut_line() } else { self.translator.line(&line.text) };
        self.carry_out(actions).await;
    }

    async fn carry_out(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Emit(output) => self.outbox.push_back(output),
                Action::Write(line) => self.process.write_line(&line).await,
                Action::CloseInput => self.process.close_stdin().await,
                Action::Kill => self.process.kill().await,
            }
        }
    }
}
