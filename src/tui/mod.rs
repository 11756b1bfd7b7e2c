//! The dashboard: watch, steer and review many agents. What happens becomes a [`message`], which changes the [`state`] and
//! gives effects ([`update`]); the [`view`] draws the state; [`effects`] do what is to be done outside.

mod effects;
mod keymap;
mod message;
#[cfg(test)]
mod samples;
mod saved;
mod screen;
mod state;
mod theme;
mod update;
mod view;
mod voice;

use std::time::Duration;

use cadence_agent::fault::{self, Point};
use crossterm::event::{Event, EventStream};
use futures_util::StreamExt;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use time::OffsetDateTime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, channel, unbounded_channel};
use tokio::time::{Instant, sleep_until};

use self::effects::Outside;
use self::keymap::Keymap;
use self::message::{Effect, Failure, Message};
use self::screen::Screen;
use self::state::State;
use self::theme::{Depth, Theme};
use crate::client::Client;
use crate::commands::Context;
use crate::config::{ColorWhen, Settings};
use crate::error::{CommandError, CommandResult, Exit};

pub use self::theme::ThemeName;

/// Least time between two pictures: a screen shows no more than sixty a second.
const FRAME: Duration = Duration::from_millis(16);
/// How often what tells the time is drawn.
const TICK: Duration = Duration::from_secs(1);
/// Messages of the stream that wait.
const WAITING: usize = 2048;
/// Messages that are taken in before the next picture.
const BATCH: usize = 1024;

/// Opens the dashboard and stays until it is left. What is said at first stands in the bottom line.
pub async fn run(context: Context, client: Client, first: Option<&str>) -> CommandResult {
    let (theme, keymap) = (theme(&context.settings)?, keymap(&context.settings)?);
    let fail = |error: std::io::Error| CommandError::failed("the terminal cannot be used").caused_by(error);
    let beside = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("dashboard")
        .enable_all()
        .build()
        .map_err(|error| CommandError::failed("the program cannot be set up").caused_by(error))?;
    let signals = Signals::new().map_err(fail)?;
    let screen = Screen::open(context.settings.dashboard.mouse.unwrap_or(true)).map_err(fail)?;
    let saved = saved::load(&context.settings.data_dir);
    let mut state = State::new(screen.size(), theme, keymap, &saved, OffsetDateTime::now_utc());
    state.voice_is_there = cfg!(feature = "voice");
    state.notice = first.map(|words| state::Notice { number: 0, text: words.to_owned(), hint: None, bad: false });
    let (tell, told) = unbounded_channel();
    let (stream, streamed) = channel(WAITING);
    let notify = context.settings.dashboard.notify.unwrap_or(true);
    let outside = Outside::start(context, client, beside.handle().clone(), tell, stream);
    let mut dashboard = Dashboard { state, screen, outside, notify };
    let result = dashboard.work(signals, told, streamed).await;
    // Whatever is still under way has nobody to tell; the terminal is given back first.
    drop(dashboard);
    beside.shutdown_background();
    result.map_err(fail)
}

/// Colours as the settings and the terminal have them.
fn theme(settings: &Settings) -> Result<Theme, CommandError> {
    let env = |name: &str| std::env::var(name).ok();
    let depth = match settings.color {
        ColorWhen::Never => Depth::None,
        ColorWhen::Always => Depth::detect(|name| env(name).filter(|_| name != "NO_COLOR")).max(Depth::Ansi),
        ColorWhen::Auto => Depth::detect(env),
    };
    let own = &settings.dashboard;
    Theme::new(own.theme.unwrap_or_default(), &own.colors, depth)
        .map_err(|error| wrong(settings, "dashboard.colors", &error))
}

fn keymap(settings: &Settings) -> Result<Keymap, CommandError> {
    let keys = settings.dashboard.keys.iter().map(|(name, keys)| (name.clone(), keys.all())).collect();
    Keymap::with(&keys).map_err(|error| wrong(settings, "dashboard.keys", &error))
}

fn wrong(settings: &Settings, section: &str, error: &str) -> CommandError {
    CommandError::usage(format!("{}, [{section}]: {error}", settings.path.display()))
        .hint("Correct the file; `cadence config path` says where it is.")
}

/// Signals that the terminal has to be given back for.
struct Signals {
    end: [Signal; 3],
    stop: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let end = [signal(SignalKind::terminate())?, signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?];
        Ok(Self { end, stop: signal(SignalKind::from_raw(nix::libc::SIGTSTP))? })
    }

    /// Whether it is the end; otherwise the program is to stop for a while.
    async fn next(&mut self) -> bool {
        let [terminate, hangup, interrupt] = &mut self.end;
        tokio::select! {
            _ = terminate.recv() => true,
            _ = hangup.recv() => true,
            _ = interrupt.recv() => true,
            _ = self.stop.recv() => false,
        }
    }
}

struct Dashboard {
    state: State,
    screen: Screen,
    outside: Outside,
    notify: bool,
}

impl Dashboard {
    /// Takes in what happens, and draws where something changed. It waits for nothing else.
    async fn work(
        &mut self,
        mut signals: Signals,
        mut told: UnboundedReceiver<Message>,
        mut streamed: tokio::sync::mpsc::Receiver<Message>,
    ) -> std::io::Result<Exit> {
        self.screen.draw(&self.state)?;
        let mut drawn = Instant::now();
        // What a key does is not kept waiting by what happens beside it.
        let mut drawn_for_key = drawn;
        let mut urgent = false;
        // The terminal is asked what it can while the picture is there already.
        let mut keyboard = tokio::task::spawn_blocking(crate::voice::Keyboard::set_up);
        let mut asked = false;
        let mut keys: Option<EventStream> = None;
        let mut changed = false;
        let mut tick = Instant::now() + TICK;
        let mut batch = Vec::new();
        loop {
            let draw_at = if urgent { drawn_for_key } else { drawn } + FRAME;
            let ticks = self.state.ticks();
            tokio::select! {
                biased;
                ends = signals.next() => {
                    if ends {
                        self.outside.perform(Effect::Save(self.state.saved()));
                        return Ok(Exit::Interrupted);
                    }
                    drop(keys.take());
                    self.suspend()?;
                    keys = Some(EventStream::new());
                    changed = true;
                }
                () = sleep_until(draw_at), if changed => {
                    fault::here(Point::Drawing);
                    self.fit();
                    self.screen.draw(&self.state)?;
                    drawn = Instant::now();
                    drawn_for_key = if urgent { drawn } else { drawn_for_key };
                    (urgent, changed) = (false, false);
                    continue;
                }
                event = next_event(&mut keys), if asked => match event {
                    Some(Ok(event)) => {
                        batch.push(Message::Terminal(event));
                        urgent = true;
                    }
                    // The terminal is gone.
                    Some(Err(_)) | None => return Ok(Exit::Interrupted),
                },
                set = &mut keyboard, if !asked => {
                    asked = true;
                    if let Ok(keyboard) = set {
                        self.state.releases = keyboard.releases();
                        if keyboard.releases() {
                            self.screen.releases();
                        }
                        // It is given back with the screen.
                        std::mem::forget(keyboard);
                    }
                    keys = Some(EventStream::new());
                    changed = true;
                }
                Some(message) = told.recv() => batch.push(message),
                count = streamed.recv_many(&mut batch, BATCH) => if count == 0 { std::future::pending::<()>().await },
                () = sleep_until(tick), if ticks => batch.push(Message::Tick),
            }
            if !batch.is_empty() {
                changed = true;
            }
            let now = OffsetDateTime::now_utc();
            tick = if Instant::now() >= tick { Instant::now() + TICK } else { tick };
            for effect in update::update_all(&mut self.state, batch.drain(..), now) {
                let Some(effect) = self.outside.perform(effect) else { continue };
                let takes_terminal = matches!(effect, Effect::Suspend | Effect::OpenWorkspace(_));
                if takes_terminal {
                    keys = None;
                }
                if let Some(exit) = self.own(effect)? {
                    return Ok(exit);
                }
                if takes_terminal {
                    keys = Some(EventStream::new());
                    // What was meant for the editor is not for the dashboard.
                    signals = Signals::new()?;
                }
            }
        }
    }

    /// What only the loop can do, since the terminal is its own.
    fn own(&mut self, effect: Effect) -> std::io::Result<Option<Exit>> {
        match effect {
            Effect::Quit => return Ok(Some(self.state.exit.unwrap_or(Exit::Done))),
            Effect::Suspend if is_orphaned() => {
                let error = "there is no shell to go to: nobody could bring it back".to_owned();
                self.complain(Failure { error, hints: Vec::new(), gone: false });
            }
            Effect::Suspend => self.suspend()?,
            Effect::Redraw => self.screen.forget()?,
            Effect::Copy(text) => {
                let fits = self.screen.copy(&text)?;
                if !fits {
                    let error = "it is too long for the clipboard of a terminal".to_owned();
                    self.complain(Failure { error, hints: Vec::new(), gone: false });
                }
            }
            Effect::Announce(sentence) if self.notify => self.screen.write(&crate::talk::tell::notice(&sentence))?,
            Effect::OpenWorkspace(task) => match self.outside.workspace(&task) {
                Ok(directory) => {
                    let edited = self.screen.aside(|| edit(&directory))?;
                    if let Err(error) = edited {
                        self.complain(error.into());
                    }
                }
                Err(error) => self.complain(error.into()),
            },
            _ => {}
        }
        Ok(None)
    }

    fn complain(&mut self, failure: Failure) {
        self.take_in(Message::Done(Err(failure)));
    }

    /// Takes in something that is nothing but news.
    fn take_in(&mut self, message: Message) {
        let effects = update::update(&mut self.state, message, OffsetDateTime::now_utc());
        effects.into_iter().for_each(|effect| drop(self.outside.perform(effect)));
    }

    /// The picture is made for the terminal as it is now: it may have become another one, and not said so yet.
    fn fit(&mut self) {
        let (columns, rows) = self.screen.size();
        if self.state.size != (columns, rows) {
            self.take_in(Message::Terminal(Event::Resize(columns, rows)));
        }
    }

    /// Stops like a program that the shell stops, and goes on with `fg`.
    fn suspend(&mut self) -> std::io::Result<()> {
        self.screen.aside(stop)?;
        self.fit();
        Ok(())
    }
}

async fn next_event(keys: &mut Option<EventStream>) -> Option<std::io::Result<Event>> {
    match keys {
        Some(keys) => keys.next().await,
        None => std::future::pending().await,
    }
}

/// Stops until somebody says that it goes on. Its own handler would take SIGTSTP.
fn stop() {
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
}

/// Whether no shell would know that it stopped: nobody of its session is above it, in a group of its own.
fn is_orphaned() -> bool {
    use nix::unistd::{getpgid, getpgrp, getpid, getppid, getsid};
    if getsid(None) == Ok(getpid()) {
        return true;
    }
    let above = getppid();
    getsid(Some(above)) != getsid(None) || getpgid(Some(above)) == Ok(getpgrp())
}

/// Opens a directory in the person's editor, and waits for it.
fn edit(directory: &std::path::Path) -> Result<(), CommandError> {
    let editor = ["VISUAL", "EDITOR"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|editor| !editor.trim().is_empty()))
        .unwrap_or_else(|| "vi".to_owned());
    // An editor may be given with arguments; the shell takes it apart, as git has it.
    let child = std::process::Command::new("sh")
        .args(["-c", &format!("{editor} \"$1\""), "cadence"])
        .arg(directory)
        .current_dir(directory)
        .spawn()
        .map_err(|error| CommandError::failed("the editor cannot be started").caused_by(error))?;
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
    loop {
        match waitpid(pid, Some(WaitPidFlag::WUNTRACED)) {
            // Whoever stops the editor wants the shell: it goes on with the editor, by `fg`.
            Ok(WaitStatus::Stopped(..)) if !is_orphaned() => stop(),
            Ok(WaitStatus::Exited(_, 0)) => return Ok(()),
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) | Err(_) => break,
            Ok(_) => {}
        }
    }
    Err(CommandError::failed(format!("the editor `{}` failed", crate::text::clean_line(&editor))))
}
