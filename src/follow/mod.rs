//! Following tasks to their end: events as they come, requests asked at the prompt, Ctrl-C.

mod calls;
mod editor;
pub mod keys;
pub mod prompt;
mod question;
mod steer;
mod view;
mod wait;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cadence_protocol::{Approval, Event, EventData, Task};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};
use uuid::Uuid;

use crate::client::{Client, Item, PATIENCE, Stream};
use crate::error::CommandError;
use crate::render::{DIM, Line, PLAIN, YELLOW};
use crate::terminal::Terminal;
use calls::{Answer, Calls};
use keys::{Input, Keys};
use prompt::{Prompt, Step};
pub use question::{answers, questions};
use view::View;
pub use wait::{Told, wait};

/// How often the status line moves.
const SPIN: Duration = Duration::from_millis(120);
/// How soon the server is asked again what it could not be asked.
const LOOK: Duration = Duration::from_secs(1);

/// A task to follow.
#[derive(Clone, Debug)]
pub struct Followed {
    pub task: Task,
    /// Events up to this number are not shown.
    pub after: u64,
    /// Stands before each of its lines, where several are followed.
    pub label: Option<Line>,
}

impl Followed {
    pub fn new(task: Task, after: u64) -> Self {
        Self { task, after, label: None }
    }
}

/// How the following is done.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// One event a line, as JSON.
    pub json: bool,
    /// Fold nothing.
    pub full: bool,
    /// The command is about the task: it asks, and an interruption concerns the task. Else it only shows.
    pub attended: bool,
    /// Show the end of attempts as lines.
    pub framed: bool,
    /// A summary follows the end and takes the place of its lines.
    pub summary: bool,
}

/// How the following ended.
#[derive(Debug)]
pub enum Outcome {
    /// No attempt is live any more.
    Ended(Vec<Task>),
    /// The person, or a signal, left; the tasks are in the state that `choice` says.
    Left(Left),
    /// Answers are needed and nobody is there to give them.
    InputNeeded(Vec<Approval>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    Detached,
    Paused,
    /// Cancelled, and not waited for.
    Cancelled,
    /// Nobody reads any more what is shown (`| head`); the tasks go on.
    Unread,
}

/// Follows tasks until none of them is live, or nobody wants to any more.
pub async fn follow(
    client: &Client,
    tasks: Vec<Followed>,
    terminal: Terminal,
    options: Options,
) -> Result<Outcome, CommandError> {
    let seen = tasks.iter().map(|followed| (followed.task.id, followed.after));
    let stream = Stream::follow(client.clone(), seen, PATIENCE);
    let fail = |error: std::io::Error| CommandError::failed("signals cannot be listened to").caused_by(error);
    let mut follower = Follower {
        calls: Calls::new(client)?,
        client: client.clone(),
        view: View::new(&tasks, terminal, options),
        tasks: tasks.into_iter().map(|f| (f.task.id, State::new(f))).collect(),
        terminal,
        options,
        queue: VecDeque::new(),
        asking: None,
        look: true,
        decided: BTreeSet::new(),
        cancelling: false,
        uncancelled: BTreeSet::new(),
        pausing: BTreeSet::new(),
        lost: false,
        not_before: None,
        interrupt: signal(SignalKind::interrupt()).map_err(fail)?,
        terminate: signal(SignalKind::terminate()).map_err(fail)?,
        hangup: signal(SignalKind::hangup()).map_err(fail)?,
    };
    follower.run(stream).await
}

struct State {
    task: Task,
    seen: u64,
    /// It looks ended: the server is to be asked.
    check: bool,
    ended: bool,
}

impl State {
    fn new(followed: Followed) -> Self {
        let ended = followed.task.status.is_end() && followed.after >= followed.task.last_seq;
        let check = followed.task.status.is_end();
        Self { task: followed.task, seen: followed.after, check, ended }
    }
}

struct Asking {
    prompt: Prompt,
    keys: Keys,
}

struct Follower {
    client: Client,
    calls: Calls,
    view: View,
    tasks: BTreeMap<Uuid, State>,
    terminal: Terminal,
    options: Options,
    /// What waits for an answer, oldest first.
    queue: VecDeque<Approval>,
    asking: Option<Asking>,
    /// The server is to be asked what waits for an answer.
    look: bool,
    /// Requests that were answered here.
    decided: BTreeSet<String>,
    cancelling: bool,
    /// What is to be cancelled, and the server has not said that it is.
    uncancelled: BTreeSet<Uuid>,
    /// What is being paused, to be left then.
    pausing: BTreeSet<Uuid>,
    /// The connection is lost; the server is asked nothing until it is back.
    lost: bool,
    /// The server could not be asked, and is not before then.
    not_before: Option<Instant>,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What woke the loop.
enum Wake {
    Item(Option<Item>),
    Answer(Answer),
    Input(Option<Input>),
    Interrupt,
    Terminate,
    Hangup,
    Tick,
}

impl Follower {
    async fn run(&mut self, mut stream: Stream) -> Result<Outcome, CommandError> {
        let mut tick = interval(if self.terminal.status { SPIN } else { LOOK });
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let Some(outcome) = self.ended() {
                return Ok(outcome);
            }
            self.call();
            self.ask_next()?;
            let wake = tokio::select! {
                biased;
                input = next_input(&mut self.asking) => Wake::Input(input),
                _ = self.interrupt.recv() => Wake::Interrupt,
                _ = self.terminate.recv() => Wake::Terminate,
                _ = self.hangup.recv() => Wake::Hangup,
                answer = self.calls.next() => Wake::Answer(answer),
                item = stream.next() => Wake::Item(item),
                _ = tick.tick() => Wake::Tick,
            };
            let outcome = match wake {
                Wake::Item(Some(item)) => {
                    self.item(item)?;
                    None
                }
                Wake::Answer(answer) => self.answer(answer)?,
                Wake::Item(None) => return Err(CommandError::failed("the stream of events ended by itself")),
                Wake::Input(input) => self.input(input).await?,
                Wake::Interrupt => self.interrupted()?,
                Wake::Terminate if self.options.attended && !self.terminal.asks => self.cancel_all(),
                Wake::Terminate | Wake::Hangup => Some(Outcome::Left(Left::Detached)),
                Wake::Tick => {
                    self.show_status();
                    None
                }
            };
            if let Some(outcome) = outcome {
                self.asking = None;
                return Ok(outcome);
            }
            // Nobody reads what a command shows that does nothing else.
            if self.view.closed() && !self.options.attended {
                return Ok(Outcome::Left(Left::Unread));
            }
        }
    }

    fn item(&mut self, item: Item) -> Result<(), CommandError> {
        match item {
            Item::Event(event) => return self.event(*event),
            Item::Delta { task, text } => self.view.delta(task, &text),
            Item::Lost { reason, wait } => {
                let text = format!("connection lost ({reason}), trying again in {:.1} s", wait.as_secs_f64());
                if !self.lost {
                    self.note(&text);
                    self.lose();
                }
                self.view.trouble(Some(text));
            }
            Item::Back => {
                self.lost = false;
                self.view.trouble(None);
                self.calls.reconnect()?;
                self.look = true;
                self.note("connected again");
            }
            Item::Storage { fails, message, hint } => self.note_lines(&view::storage(fails, &message, hint)),
            Item::Failed(error) => return Err(error),
            // Of tasks that are not followed.
            Item::Task(_) | Item::Subscribed { .. } => {}
        }
        self.show_status();
        Ok(())
    }

    fn event(&mut self, event: Event) -> Result<(), CommandError> {
        if let Some(state) = self.tasks.get_mut(&event.task_id) {
            state.seen = event.seq;
            match &event.data {
                EventData::StatusChanged { to, .. } => {
                    state.task.status = *to;
                    state.check |= to.is_end();
                }
                EventData::TaskCompleted { .. } => state.check = true,
                EventData::Progress { percent, .. } => state.task.progress = *percent,
                EventData::ApprovalRequested { approval_id, .. } => {
                    self.decided.remove(approval_id);
                    self.look = true;
                }
                EventData::ApprovalResolved { approval_id, .. } => {
                    self.queue.retain(|approval| approval.id != *approval_id);
                    if self.asking.as_ref().is_some_and(|a| a.prompt.approval_id() == Some(approval_id)) {
                        self.asking = None;
                    }
                }
                _ => {}
            }
            // Every later event, too, has to be seen before the end.
            state.check |= state.task.status.is_end();
        }
        let view = &mut self.view;
        match &mut self.asking {
            Some(asking) => {
                asking.keys.suspend(|| view.event(&event))?;
                asking.keys.draw(|columns| asking.prompt.lines(columns))?;
            }
            None => view.event(&event)?,
        }
        self.show_status();
        Ok(())
    }

    /// Opens the next prompt where none is open.
    fn ask_next(&mut self) -> Result<(), CommandError> {
        if self.asking.is_some() || !self.terminal.asks {
            return Ok(());
        }
        // It is asked once its request was shown. One from before what is followed is shown here.
        let ready = |approval: &&Approval| {
            let caught_up = self.tasks.get(&approval.task_id).is_some_and(|state| state.seen >= state.task.last_seq);
            caught_up || self.view.has_shown(&approval.id)
        };
        let Some(approval) = self.queue.iter().find(ready).cloned() else { return Ok(()) };
        self.view.request(&approval)?;
        self.ask(Prompt::of(approval))
    }

    fn ask(&mut self, prompt: Prompt) -> Result<(), CommandError> {
        self.view.clear_status();
        let mut keys = match self.asking.take() {
            Some(asking) => asking.keys,
            None => Keys::open(self.terminal.color_err, false)
                .map_err(|error| CommandError::failed("the terminal cannot be asked").caused_by(error))?,
        };
        keys.draw(|columns| prompt.lines(columns))?;
        self.asking = Some(Asking { prompt, keys });
        Ok(())
    }

    async fn input(&mut self, input: Option<Input>) -> Result<Option<Outcome>, CommandError> {
        let Some(asking) = &mut self.asking else { return Ok(None) };
        let step = match input {
            None => return Ok(Some(Outcome::Left(Left::Detached))),
            Some(Input::Key(key)) => asking.prompt.key(key),
            Some(Input::Paste(text)) => {
                asking.prompt.paste(&text);
                Step::Stay
            }
            Some(Input::Resize) => Step::Stay,
        };
        match step {
            Step::Stay => asking.keys.draw(|columns| asking.prompt.lines(columns))?,
            Step::Interrupt => self.ask(self.leaving())?,
            Step::Decide(approval, decide) => self.decide(&approval, decide),
            Step::Edit(approval) => {
                self.asking = None;
                match editor::edit(&approval).await {
                    Ok(Some(input)) => self.decide(&approval, prompt::allow_with(input)),
                    Ok(None) => self.view.note(&[Line::of(DIM, "  the input was left as it is")]),
                    Err(error) => self.note(error.message()),
                }
            }
            Step::Choose(choice) => {
                self.asking = None;
                return Ok(self.choose(choice));
            }
        }
        Ok(None)
    }

    /// What Ctrl-C asks.
    fn leaving(&self) -> Prompt {
        Prompt::Interrupt { only_cancel: self.client.is_ephemeral() }
    }

    fn interrupted(&mut self) -> Result<Option<Outcome>, CommandError> {
        if !self.options.attended {
            return Ok(Some(Outcome::Left(Left::Detached)));
        }
        if !self.terminal.asks {
            return Ok(self.cancel_all());
        }
        if matches!(self.asking, Some(Asking { prompt: Prompt::Interrupt { .. }, .. })) {
            return Ok(Some(Outcome::Left(Left::Detached)));
        }
        self.ask(self.leaving())?;
        Ok(None)
    }

    fn live(&self) -> Vec<Uuid> {
        self.tasks.values().filter(|state| !state.ended).map(|state| state.task.id).collect()
    }

    /// Says something that is no event, beside the prompt where one is open.
    fn note(&mut self, text: &str) {
        self.note_lines(&[Line::of(YELLOW, "! ").add(PLAIN, text)]);
    }

    fn note_lines(&mut self, lines: &[Line]) {
        let view = &mut self.view;
        match &mut self.asking {
            Some(asking) => {
                asking.keys.suspend(|| view.note(lines));
                let _ = asking.keys.draw(|columns| asking.prompt.lines(columns));
            }
            None => view.note(lines),
        }
    }

    fn show_status(&mut self) {
        if self.asking.is_none() {
            let live: Vec<&Task> = self.tasks.values().filter(|state| !state.ended).map(|state| &state.task).collect();
            self.view.status(&live);
        }
    }
}

/// The next key where something is asked; else it waits for ever.
async fn next_input(asking: &mut Option<Asking>) -> Option<Input> {
    match asking {
        Some(asking) => asking.keys.next().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use serde_json::json;

    use super::*;
    use crate::client::stub::{self, Stub};

    #[tokio::test]
    async fn a_request_is_seen_although_the_first_look_failed() {
        let server = Stub::start().await;
        let id = server.task("running", 1);
        let client = server.client();
        let task = client.rest().unwrap().task(id).await.unwrap();
        let data = json!({"type": "approval_requested", "approvalId": "r1", "kind": "permission", "tool": "Bash", "input": {}});
        server.event(stub::event(id, 2, &data));
        server.approval(
            json!({"id": "r1", "taskId": id, "attempt": 1, "kind": "permission", "tool": "Bash", "input": {},
            "createdAt": "2026-01-01T10:00:00Z"}),
        );
        // The look at the start, and the one of the event.
        server.fail_next(2);
        let options = Options { json: true, full: false, attended: true, framed: false, summary: false };
        let terminal = Terminal { shows: false, asks: false, status: false, color: false, color_err: false };
        let followed = follow(&client, vec![Followed::new(task, 1)], terminal, options);
        let outcome = tokio::time::timeout(Duration::from_secs(30), followed).await.unwrap().unwrap();
        assert!(matches!(&outcome, Outcome::InputNeeded(all) if all[0].id == "r1"), "{outcome:?}");
    }
}
