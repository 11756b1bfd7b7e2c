//! A conversation at a terminal.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{MissedTickBehavior, interval};

use super::{Args, Talk};
use crate::client::Client;
use crate::error::{CommandError, CommandResult, Exit};
use crate::follow::keys::{Input, Keys};
use crate::render::{CYAN, DIM, Line, PLAIN, YELLOW};
use crate::speech;
use crate::talk::hearing::{Hearing, failed};
use crate::talk::session::{Effect, Failed, Manner, Message, Session, State};
use crate::talk::view::{Look, lines};
use crate::talk::watch::Watch;
use crate::text;
use crate::voice::{self, Action, Heard, Key, Keyboard, Options, Recorder, Talk as PushToTalk};

/// How often what is waited for moves.
const SPIN: Duration = Duration::from_millis(120);
/// How often is looked what became of tasks.
const LOOK: Duration = Duration::from_secs(1);

/// What happens beside the session.
enum Outside {
    Session(Message),
    /// What the recording with this number tells.
    Recording(u64, Message),
    Opened(u64, Result<(Recorder, UnboundedReceiver<Heard>), CommandError>),
    News(Vec<String>),
}

struct Screen<'a> {
    talk: Talk,
    args: &'a Args,
    options: Options,
    session: Session,
    push: PushToTalk,
    recorder: Option<Recorder>,
    /// Number of the newest recording. One that was dropped may still tell something, which is no news.
    take: u64,
    keys: Keys,
    tell: UnboundedSender<Outside>,
    watch: std::sync::Arc<std::sync::Mutex<Watch>>,
    /// What is to be said when the microphone is closed.
    held: Vec<String>,
    exit: Option<Exit>,
    /// How the last sentence ended, where there is one only.
    last: Option<Exit>,
}

pub async fn run(talk: Talk, args: &Args, options: Options) -> CommandResult {
    let fail = |error: std::io::Error| CommandError::failed("the terminal cannot be used").caused_by(error);
    let keys = Keys::open(talk.context.terminal.color_err, true).map_err(fail)?;
    // Asked in raw mode.
    let keyboard = Keyboard::set_up();
    let hold = keyboard.releases();
    let manner = Manner { yes: args.yes, once: args.once, continuous: args.continuous };
    let (tell, mut outside) = unbounded_channel();
    let watch = std::sync::Arc::<std::sync::Mutex<Watch>>::default();
    let looking = tokio::spawn(look(talk.client.clone(), watch.clone(), tell.clone()));
    let mut screen = Screen {
        talk,
        args,
        options,
        session: Session::new(manner),
        push: PushToTalk::new(hold),
        recorder: None,
        take: 0,
        keys,
        tell,
        watch,
        held: Vec::new(),
        exit: None,
        last: None,
    };
    if args.continuous || args.once {
        let effects = screen.session.listen();
        screen.perform(effects).await;
    }
    let began = Instant::now();
    let mut spin = interval(SPIN);
    spin.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut frame = 0;
    while screen.exit.is_none() {
        let state = &screen.session.state;
        screen.keys.draw(|_| lines(state, Look { hold, frame })).map_err(fail)?;
        tokio::select! {
            input = screen.keys.next() => match input {
                Some(Input::Key(key)) => screen.key(key, began.elapsed()).await,
                Some(Input::Paste(text)) => {
                    let effects = screen.session.update(Message::Paste(text));
                    screen.perform(effects).await;
                }
                Some(Input::Resize) => {}
                // The terminal is gone.
                None => screen.exit = Some(Exit::Interrupted),
            },
            Some(what) = outside.recv() => screen.take_in(what).await,
            _ = spin.tick() => frame += 1,
        }
    }
    looking.abort();
    drop(keyboard);
    let Screen { keys, talk, recorder, exit, .. } = screen;
    drop((keys, recorder));
    talk.teller.finish().await;
    Ok(exit.unwrap_or(Exit::Done))
}

/// Tells what becomes of tasks.
async fn look(client: Client, watch: std::sync::Arc<std::sync::Mutex<Watch>>, tell: UnboundedSender<Outside>) {
    let mut ticks = interval(LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // A server that is away comes back, or whoever speaks is told.
        let Ok(tasks) = speech::tasks(&client).await else { continue };
        let news = watch.lock().unwrap_or_else(std::sync::PoisonError::into_inner).news(&tasks);
        if !news.is_empty() && tell.send(Outside::News(news)).is_err() {
            return;
        }
    }
}

impl Screen<'_> {
    async fn key(&mut self, key: crossterm::event::KeyEvent, now: Duration) {
        let speaks = matches!(self.session.state, State::Ready | State::Listening(_));
        if speaks && let Some((name, kind)) = Key::of(&key) {
            let effects = match self.push.key(name, kind, now) {
                Some(Action::Start) => {
                    // Whoever speaks has heard enough.
                    self.talk.teller.hush();
                    self.session.listen()
                }
                Some(Action::Stop) => self.session.finish(),
                Some(Action::Cancel) => self.session.update(Message::Key(key)),
                None => Vec::new(),
            };
            return self.perform(effects).await;
        }
        if key.kind != crossterm::event::KeyEventKind::Release {
            let effects = self.session.update(Message::Key(key));
            self.perform(effects).await;
        }
    }

    async fn take_in(&mut self, what: Outside) {
        let message = match what {
            Outside::News(news) => {
                for sentence in &news {
                    self.print(&[Line::of(YELLOW, "◆ ").add(PLAIN, text::clean_line(sentence))]);
                    self.talk.teller.notify(sentence);
                }
                self.held.extend(news);
                return self.say_held().await;
            }
            Outside::Opened(take, _) if take != self.take => return,
            Outside::Opened(_, Ok((recorder, heard))) => {
                if matches!(self.session.state, State::Listening(_)) {
                    self.hear(recorder, heard);
                }
                return;
            }
            Outside::Opened(_, Err(error)) => Message::Failed(failed(&error)),
            Outside::Recording(take, _) if take != self.take => return,
            Outside::Recording(_, message) | Outside::Session(message) => message,
        };
        if matches!(message, Message::Ended | Message::Heard(..) | Message::Failed(_)) {
            self.push.ended();
        }
        let effects = self.session.update(message);
        self.perform(effects).await;
        self.say_held().await;
    }

    /// Says what became of tasks, but not into a microphone: whoever speaks is not talked over, and nobody is heard but them.
    async fn say_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let again = match self.session.state {
            State::Listening(_) if !self.args.continuous => return,
            State::Listening(_) => match self.session.listen_anew() {
                Some(effects) => effects,
                None => return,
            },
            _ => Vec::new(),
        };
        for sentence in self.held.drain(..) {
            self.talk.teller.say(&sentence);
        }
        self.perform(again).await;
    }

    fn hear(&mut self, recorder: Recorder, heard: UnboundedReceiver<Heard>) {
        self.recorder = Some(recorder);
        let hearing =
            Hearing { client: self.talk.client.clone(), start: self.talk.start(), save: self.args.save.clone() };
        let (tell, mut messages) = unbounded_channel();
        tokio::spawn(hearing.run(heard, tell));
        let (out, take) = (self.tell.clone(), self.take);
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                if out.send(Outside::Recording(take, message)).is_err() {
                    return;
                }
            }
        });
    }

    async fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Record => {
                    self.take += 1;
                    let (options, tell, take) = (self.options.clone(), self.tell.clone(), self.take);
                    let silence = self.talk.teller.silence();
                    tokio::spawn(async move {
                        silence.await;
                        tokio::task::spawn_blocking(move || {
                            let _ = tell.send(Outside::Opened(take, voice::start(options).map_err(CommandError::from)));
                        });
                    });
                }
                Effect::Finish => match &self.recorder {
                    Some(recorder) => recorder.stop(),
                    // It was let go before the microphone was open.
                    None => {
                        let why = "the key was let go before the microphone was open; hold it while you speak";
                        let failed = Failed { error: why.to_owned(), hints: Vec::new() };
                        let _ = self.tell.send(Outside::Session(Message::Failed(failed)));
                    }
                },
                Effect::Drop => {
                    self.take += 1;
                    self.recorder = None;
                }
                Effect::Read(text) => self.read(text),
                Effect::Do(command) => {
                    let (act, tell) = (self.talk.act(*command), self.tell.clone());
                    tokio::spawn(async move {
                        let message = match act.await {
                            Ok(answer) => Message::Done(Box::new(answer)),
                            Err(error) => Message::Failed(failed(&error)),
                        };
                        let _ = tell.send(Outside::Session(message));
                    });
                }
                Effect::Tell(answer) => {
                    self.talk.spoke_of(&answer);
                    if let Some(task) = &answer.task {
                        self.watch.lock().unwrap_or_else(std::sync::PoisonError::into_inner).begun(task);
                    }
                    self.recorder = None;
                    let stays = !self.args.once;
                    let heard = text::clean_line(&answer.command.transcript);
                    let mut lines = vec![Line::of(CYAN, "› ").add(DIM, heard)];
                    lines.extend(speech::outcome(&answer, stays));
                    self.print(&lines);
                    self.talk.teller.say(&speech::sentence(&answer, stays));
                    self.exit_code(Exit::Done);
                }
                Effect::Complain(failed) => {
                    self.recorder = None;
                    let mut lines = vec![Line::of(YELLOW, "! ").add(PLAIN, text::clean_line(&failed.error))];
                    lines
                        .extend(failed.hints.iter().map(|hint| Line::of(DIM, format!("  {}", text::clean_line(hint)))));
                    self.print(&lines);
                    self.exit_code(Exit::Failed);
                }
                Effect::Dismissed => {
                    self.print(&[Line::of(DIM, "dropped")]);
                    self.exit_code(Exit::Interrupted);
                }
                Effect::Quit => {
                    self.recorder = None;
                    // The one sentence that was asked for is answered; who leaves a conversation has heard enough.
                    if !self.args.once {
                        self.talk.teller.hush();
                    }
                    self.exit = Some(self.last.unwrap_or(Exit::Done));
                }
            }
        }
    }

    fn read(&self, text: String) {
        let (client, context, tell) = (self.talk.client.clone(), self.talk.said.clone(), self.tell.clone());
        tokio::spawn(async move {
            let read = async {
                let parsed = client.rest()?.parse(&cadence_protocol::ParseRequest { text, context }).await?;
                Ok::<_, CommandError>((parsed, speech::tasks(&client).await?))
            };
            let message = match read.await {
                Ok((parsed, tasks)) => Message::Read(Box::new(parsed), tasks),
                Err(error) => Message::Failed(failed(&error)),
            };
            let _ = tell.send(Outside::Session(message));
        });
    }

    fn print(&mut self, lines: &[Line]) {
        let terminal = self.talk.context.terminal;
        self.keys.suspend(|| terminal.note(lines));
    }

    /// What the command ends with, if it ends with this sentence.
    fn exit_code(&mut self, exit: Exit) {
        self.last = self.args.once.then_some(exit);
    }
}
