//! What the state wants done: calls, streams, files, programs. All of it runs beside the loop that draws.

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use cadence_agent::workspace::{ApplyMode, Workspaces};
use cadence_protocol::{CreateTask, Decide, Decision, DecisionRequest, Task, TaskSourceKind};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::message::{Act, Effect, Failure, Message, NewTask};
use super::state::{MOST_DIFF, parse_diff};
use super::voice::Voice;
use crate::checkout::{self, Place};
use crate::client::{Client, Item, Orders, Rest, Stream};
use crate::commands::Context;
use crate::error::CommandError;
use crate::{apply, remote, speech, text};

/// Messages of the stream that are taken at once.
const BATCH: usize = 256;

/// The outside.
pub struct Outside {
    context: Context,
    client: Client,
    /// Where everything runs that is not drawing.
    handle: Handle,
    tell: UnboundedSender<Message>,
    /// Messages of the stream; bounded, so that a slow terminal slows the stream and not the memory.
    stream: Sender<Message>,
    orders: Orders,
    streaming: JoinHandle<()>,
    voice: Voice,
}

impl Outside {
    pub fn start(
        context: Context,
        client: Client,
        handle: Handle,
        tell: UnboundedSender<Message>,
        stream: Sender<Message>,
    ) -> Self {
        let (orders, streaming) = follow(&client, &handle, stream.clone());
        let voice = Voice::start(&context, &client, &handle, tell.clone());
        let outside = Self { context, client, handle, tell, stream, orders, streaming, voice };
        outside.place();
        outside
    }

    /// Finds out where the dashboard was opened.
    fn place(&self) {
        let tell = self.tell.clone();
        self.handle.spawn(async move {
            let place = match checkout::find(None).await {
                Ok(Place::Checkout(checkout)) => Some(checkout.root.to_string_lossy().into_owned()),
                _ => None,
            };
            let _ = tell.send(Message::Place(place));
        });
    }

    /// Does what can be done beside the loop; gives back what only the loop can do.
    pub fn perform(&mut self, effect: Effect) -> Option<Effect> {
        match effect {
            Effect::Follow(task, after) => self.orders.follow(task, after),
            Effect::Leave(task) => self.orders.leave(task),
            Effect::Page { task, after, why } => self.ask(
                move |rest| async move {
                    let page = rest.events(task, after).await?;
                    Ok((page.events, page.last_seq))
                },
                move |result| Message::Page { task, after, why, result },
            ),
            Effect::Approvals(number) => self
                .ask(|rest| async move { rest.approvals().await }, move |result| Message::Approvals { number, result }),
            Effect::Diff(task) => self.ask(
                move |rest| async move {
                    let mut bytes = rest.diff(task).await?;
                    let cut = bytes.len() > MOST_DIFF;
                    bytes.truncate(MOST_DIFF);
                    let parse = move || parse_diff(&String::from_utf8_lossy(&bytes));
                    let files = tokio::task::spawn_blocking(parse).await;
                    Ok((files.map_err(|error| CommandError::failed("the diff cannot be read").caused_by(error))?, cut))
                },
                move |result| Message::Diff { task, result },
            ),
            Effect::Act(what, tasks) => {
                let tell = self.tell.clone();
                self.ask(move |rest| act(rest, what, tasks, tell), Message::Done);
            }
            Effect::Send(tasks, text) => {
                let (tell, to, words) = (self.tell.clone(), tasks.clone(), text.clone());
                self.ask(move |rest| send(rest, to, words, tell), move |result| Message::Sent { tasks, text, result });
            }
            Effect::Decide(approval, decide) => {
                let tell = self.tell.clone();
                self.ask(
                    move |rest| async move {
                        let decided = rest.decide(approval.task_id, &approval.id, &decide).await;
                        // Whatever came of it, what waits is looked at again.
                        let _ = tell.send(Message::Later(super::message::Later::Approvals));
                        decided.map(|decided| decided_words(decided.decision, &decide))
                    },
                    Message::Done,
                );
            }
            Effect::Create(task) => self.create(task),
            Effect::Apply(task) => {
                let (data, client) = (self.context.settings.data_dir.clone(), self.client.clone());
                self.ask(
                    move |rest| async move {
                        let task = rest.task(task).await?;
                        let applied = apply::apply(&data, &client, &task, None, ApplyMode::Merge).await?;
                        Ok(match applied {
                            Some((checkout, applied)) => {
                                format!("{} into {}", apply::words(&applied), checkout.display())
                            }
                            None => "the task changed nothing, so there is nothing to take".to_owned(),
                        })
                    },
                    Message::Done,
                );
            }
            Effect::OpenUrl(url) => self.open_url(url),
            Effect::After(time, later) => {
                let tell = self.tell.clone();
                self.handle.spawn(async move {
                    tokio::time::sleep(time).await;
                    let _ = tell.send(Message::Later(later));
                });
            }
            Effect::Say(sentence) => self.voice.say(sentence),
            Effect::Announce(sentence) => {
                self.voice.announce(sentence.clone());
                return Some(Effect::Announce(sentence));
            }
            Effect::Voice(effect) => self.voice.perform(effect),
            Effect::Reconnect => {
                self.streaming.abort();
                (self.orders, self.streaming) = follow(&self.client, &self.handle, self.stream.clone());
            }
            Effect::Save(saved) => {
                if let Err(error) = super::saved::save(&self.context.settings.data_dir, &saved) {
                    tracing::debug!(%error, "the dashboard's look was not kept");
                }
            }
            for_the_loop @ (Effect::Copy(_)
            | Effect::OpenWorkspace(_)
            | Effect::Redraw
            | Effect::Suspend
            | Effect::Quit) => return Some(for_the_loop),
        }
        None
    }

    /// Makes a call and tells what came of it.
    fn ask<T, F>(
        &self,
        call: impl FnOnce(Rest) -> F + Send + 'static,
        message: impl FnOnce(Result<T, Failure>) -> Message + Send + 'static,
    ) where
        F: Future<Output = Result<T, CommandError>> + Send,
        T: Send + 'static,
    {
        let (client, tell) = (self.client.clone(), self.tell.clone());
        self.handle.spawn(async move {
            let result = match client.rest() {
                Ok(rest) => call(rest).await,
                Err(error) => Err(error),
            };
            let _ = tell.send(message(result.map_err(Failure::from)));
        });
    }

    fn create(&self, task: Box<NewTask>) {
        let (context, client, tell) = (self.context.clone(), self.client.clone(), self.tell.clone());
        self.handle.spawn(async move {
            // The same key for a repeat: a task is created once.
            let create = async {
                let body = body(&context, &client, &task).await?;
                client.rest()?.create(&body, Uuid::new_v4()).await
            };
            let result = create.await.map(Box::new).map_err(|error| (Failure::from(error), task));
            let _ = tell.send(Message::Created(result));
        });
    }

    fn open_url(&self, url: String) {
        let tell = self.tell.clone();
        self.handle.spawn(async move {
            let result = open_url(&url).await.map(|()| format!("opened {}", text::clean_line(&url)));
            let _ = tell.send(Message::Done(result.map_err(Failure::from)));
        });
    }

    /// Where the files of a task are, on this machine.
    pub fn workspace(&self, task: &Task) -> Result<PathBuf, CommandError> {
        if !self.client.shares_disk() || task.machine_id.is_some() {
            return Err(CommandError::failed("the task's files are on another machine")
                .hint(format!("Take its change: cadence tasks apply {}", task.short_id())));
        }
        let found =
            Workspaces::new(&self.context.settings.data_dir).open(task.id).map_err(checkout::workspace_error)?;
        let directory = found.map(|workspace| workspace.directory).filter(|directory| directory.is_dir());
        directory.ok_or_else(|| CommandError::failed("the task has no files here: it has not begun, or was removed"))
    }
}

/// Follows how everything is.
fn follow(client: &Client, handle: &Handle, out: Sender<Message>) -> (Orders, JoinHandle<()>) {
    let _inside = handle.enter();
    let (mut stream, orders) = Stream::everything(client.clone());
    let work = async move {
        let mut items: Vec<Item> = Vec::new();
        while stream.next_many(&mut items, BATCH).await > 0 {
            for item in items.drain(..) {
                if out.send(Message::Stream(item)).await.is_err() {
                    return;
                }
            }
        }
    };
    (orders, handle.spawn(work))
}

async fn act(rest: Rest, what: Act, tasks: Vec<Uuid>, tell: UnboundedSender<Message>) -> Result<String, CommandError> {
    let (_, done) = what.words();
    let mut tally = Tally::default();
    for id in tasks {
        let acted = match what {
            Act::Pause => rest.pause(id).await,
            Act::Resume => rest.resume(id, None).await,
            Act::Cancel => rest.cancel(id).await.map(|cancelled| cancelled.task),
            Act::Restart => rest.restart(id).await,
            Act::Archive => rest.archive(id).await,
            Act::Unarchive => rest.unarchive(id).await,
        };
        tally.note(id, acted.map(|task| format!("{done}: {}", text::clean_line(&task.title(48)))), &tell);
    }
    tally.end(done)
}

async fn send(
    rest: Rest,
    tasks: Vec<Uuid>,
    words: String,
    tell: UnboundedSender<Message>,
) -> Result<String, CommandError> {
    let mut tally = Tally::default();
    for id in tasks {
        let sent = rest.send(id, words.clone()).await;
        tally.note(id, sent.map(|_| "the agent is told".to_owned()), &tell);
    }
    tally.end("told")
}

/// What became of something that was done to several tasks: none keeps it from the others.
#[derive(Default)]
struct Tally {
    count: usize,
    last: String,
    failures: Vec<CommandError>,
}

impl Tally {
    fn note(&mut self, task: Uuid, result: Result<String, CommandError>, tell: &UnboundedSender<Message>) {
        self.count += 1;
        match result {
            Ok(words) => self.last = words,
            Err(error) => {
                if error.not_found {
                    let _ = tell.send(Message::Gone(task));
                }
                self.failures.push(error);
            }
        }
    }

    fn end(self, done: &str) -> Result<String, CommandError> {
        let (count, failed) = (self.count, self.failures.len());
        match self.failures.into_iter().next() {
            None if count == 1 => Ok(self.last),
            None => Ok(format!("{count} tasks: {done}")),
            Some(error) if count == 1 => Err(error),
            Some(error) => {
                let words = format!("{} of {count} {done}; {failed} not: {}", count - failed, error.message());
                Err(CommandError::new(error.exit, words))
            }
        }
    }
}

fn decided_words(decision: Option<Decision>, decide: &Decide) -> String {
    match (decision, decide.decision) {
        (Some(Decision::Withdrawn), _) => "it was withdrawn before",
        (_, DecisionRequest::Deny) => "denied",
        _ if decide.answers.is_some() => "answered",
        _ if decide.updated_input.is_some() => "allowed as changed",
        (_, DecisionRequest::Allow) => "allowed",
        (_, DecisionRequest::AllowAlways) => "allowed, from now on",
    }
    .to_owned()
}

/// The request for a task, as `cadence run` makes it.
async fn body(context: &Context, client: &Client, task: &NewTask) -> Result<CreateTask, CommandError> {
    let named = Some(task.repository.as_str()).filter(|named| !named.is_empty());
    let place = checkout::find(named).await?;
    let local = client.shares_disk();
    let defaults = speech::defaults(context, client, Some(&place), TaskSourceKind::Tui);
    let mut body = CreateTask {
        task_description: task.description.clone(),
        branch: defaults.branch,
        model: task.model.clone().or(defaults.model),
        agent: task.agent.clone().or(defaults.agent),
        permission_mode: task.permission.or(defaults.permission_mode),
        budget_usd: task.budget.or(defaults.budget_usd),
        max_turns: defaults.max_turns,
        timeout_secs: defaults.timeout_secs,
        source: defaults.source,
        environment: defaults.environment,
        ..CreateTask::default()
    };
    match place {
        Place::Url(url) => body.repo_url = Some(url),
        Place::Checkout(checkout) if local => {
            body.branch = checkout.branch.clone();
            body.commit = Some(checkout.head.clone());
            body.repo_path = Some(speech::path_text(&checkout.root)?);
        }
        Place::Checkout(checkout) => {
            body.branch = checkout.branch.clone();
            remote::start_from(client, &checkout, false, &mut body, &|_| ()).await?;
        }
    }
    Ok(body)
}

/// Opens an address in the browser. Only the web's: whatever else an address could start, it does not.
async fn open_url(url: &str) -> Result<(), CommandError> {
    let parsed = url::Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let Some(parsed) = parsed else {
        return Err(CommandError::failed(format!("{} is no address of the web", text::clean_line(url))));
    };
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let mut command = tokio::process::Command::new(program);
    command.arg(parsed.as_str()).stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let hint = format!("The address is {}", text::clean_line(parsed.as_str()));
    let run = tokio::time::timeout(Duration::from_secs(10), command.status());
    match run.await {
        Ok(Ok(status)) if status.success() => Ok(()),
        // Some stay with the browser that they started.
        Err(_) => Ok(()),
        Ok(Ok(_)) => Err(CommandError::failed(format!("{program} could not open it")).hint(hint)),
        Ok(Err(error)) => Err(CommandError::failed(format!("{program} cannot be run")).caused_by(error).hint(hint)),
    }
}
