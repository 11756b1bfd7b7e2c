//! Speaking and being spoken to, beside the loop that draws.

use cadence_protocol::ParseRequest;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::message::Message;
use crate::client::Client;
use crate::commands::Context;
use crate::error::CommandError;
use crate::speech;
use crate::talk::Talk;
use crate::talk::hearing::{Hearing, failed};
use crate::talk::session::{self, Effect, Failed};
use crate::voice::{self, Heard, Options, Recorder};

enum Order {
    Session(Effect),
    Say(String),
    /// Said unless the settings keep it quiet.
    Announce(String),
    /// The recording with this number is open, or could not be opened.
    Opened(u64, Result<(Recorder, UnboundedReceiver<Heard>), CommandError>),
    /// What the recording with this number tells.
    Recording(u64, session::Message),
}

/// Takes orders for the microphone and the loudspeaker.
pub struct Voice(UnboundedSender<Order>);

impl Voice {
    pub fn start(context: &Context, client: &Client, handle: &Handle, tell: UnboundedSender<Message>) -> Self {
        let (orders, receiver) = unbounded_channel();
        let worker = Worker {
            context: context.clone(),
            client: client.clone(),
            talk: None,
            recorder: None,
            take: 0,
            itself: orders.clone(),
            tell,
        };
        handle.spawn(worker.run(receiver));
        Self(orders)
    }

    pub fn perform(&self, effect: Effect) {
        let _ = self.0.send(Order::Session(effect));
    }

    pub fn say(&self, sentence: String) {
        let _ = self.0.send(Order::Say(sentence));
    }

    pub fn announce(&self, sentence: String) {
        let _ = self.0.send(Order::Announce(sentence));
    }
}

struct Worker {
    context: Context,
    client: Client,
    /// Made when it is needed first: it looks at the repository.
    talk: Option<Talk>,
    recorder: Option<Recorder>,
    /// Number of the newest recording. One that was dropped may still tell something, which is no news.
    take: u64,
    itself: UnboundedSender<Order>,
    tell: UnboundedSender<Message>,
}

impl Worker {
    async fn run(mut self, mut orders: UnboundedReceiver<Order>) {
        while let Some(order) = orders.recv().await {
            match order {
                Order::Session(effect) => self.session(effect).await,
                Order::Say(sentence) => self.say(&sentence).await,
                Order::Announce(sentence) => {
                    if self.context.settings.dashboard.speak.unwrap_or(true) {
                        self.say(&sentence).await;
                    }
                }
                Order::Opened(take, _) | Order::Recording(take, _) if take != self.take => {}
                Order::Opened(_, Ok((recorder, heard))) => self.hear(recorder, heard).await,
                Order::Opened(_, Err(error)) => self.fail(&error),
                Order::Recording(_, message) => {
                    if matches!(message, session::Message::Heard(..) | session::Message::Failed(_)) {
                        self.recorder = None;
                    }
                    self.message(message);
                }
            }
        }
    }

    fn message(&self, message: session::Message) {
        let _ = self.tell.send(Message::Voice(message));
    }

    fn fail(&self, error: &CommandError) {
        self.message(session::Message::Failed(failed(error)));
    }

    /// The conversation, which begins with the first that is said.
    async fn talk(&mut self) -> Result<&mut Talk, CommandError> {
        if self.talk.is_none() {
            self.talk = Some(Talk::open(self.context.clone(), self.client.clone(), None, false).await?);
        }
        self.talk.as_mut().ok_or_else(|| CommandError::failed("there is no conversation"))
    }

    async fn say(&mut self, sentence: &str) {
        match self.talk().await {
            Ok(talk) => talk.teller.say(sentence),
            Err(error) => tracing::debug!(error = error.message(), "a sentence was not spoken"),
        }
    }

    async fn session(&mut self, effect: Effect) {
        match effect {
            Effect::Record => {
                self.take += 1;
                // Whoever speaks has heard enough, and nobody else is to be heard.
                let silence = self.talk.as_ref().map(|talk| {
                    talk.teller.hush();
                    talk.teller.silence()
                });
                let settings = &self.context.settings.voice;
                let usual = Options::default();
                let options = Options {
                    device: settings.device.clone(),
                    limit: settings.limit.unwrap_or(usual.limit),
                    pause: settings.pause.or(usual.pause),
                };
                let (itself, take) = (self.itself.clone(), self.take);
                tokio::spawn(async move {
                    if let Some(silence) = silence {
                        silence.await;
                    }
                    tokio::task::spawn_blocking(move || {
                        let _ = itself.send(Order::Opened(take, voice::start(options).map_err(CommandError::from)));
                    });
                });
            }
            Effect::Finish => match &self.recorder {
                Some(recorder) => recorder.stop(),
                None => {
                    self.take += 1;
                    let why = "the key was let go before the microphone was open; hold it while you speak";
                    self.message(session::Message::Failed(Failed { error: why.to_owned(), hints: Vec::new() }));
                }
            },
            Effect::Drop | Effect::Dismissed | Effect::Quit => {
                self.take += 1;
                self.recorder = None;
            }
            Effect::Read(text) => {
                let said = match self.talk().await {
                    Ok(talk) => talk.said.clone(),
                    Err(error) => return self.fail(&error),
                };
                let (client, tell) = (self.client.clone(), self.tell.clone());
                tokio::spawn(async move {
                    let read = async {
                        let parsed = client.rest()?.parse(&ParseRequest { text, context: said }).await?;
                        Ok::<_, CommandError>((parsed, speech::tasks(&client).await?))
                    };
                    let message = match read.await {
                        Ok((parsed, tasks)) => session::Message::Read(Box::new(parsed), tasks),
                        Err(error) => session::Message::Failed(failed(&error)),
                    };
                    let _ = tell.send(Message::Voice(message));
                });
            }
            Effect::Do(command) => {
                let done = match self.talk().await {
                    Ok(talk) => talk.act(*command).await,
                    Err(error) => Err(error),
                };
                match done {
                    Ok(answer) => {
                        if let Some(talk) = &mut self.talk {
                            talk.spoke_of(&answer);
                        }
                        self.message(session::Message::Done(Box::new(answer)));
                    }
                    Err(error) => self.fail(&error),
                }
            }
            // The dashboard shows these itself.
            Effect::Tell(_) | Effect::Complain(_) => {}
        }
    }

    async fn hear(&mut self, recorder: Recorder, heard: UnboundedReceiver<Heard>) {
        self.recorder = Some(recorder);
        let start = match self.talk().await {
            Ok(talk) => talk.start(),
            Err(error) => return self.fail(&error),
        };
        let hearing = Hearing { client: self.client.clone(), start, save: None };
        let (tell, mut messages) = unbounded_channel();
        tokio::spawn(hearing.run(heard, tell));
        let (itself, take) = (self.itself.clone(), self.take);
        tokio::spawn(async move {
            while let Some(message) = messages.recv().await {
                if itself.send(Order::Recording(take, message)).is_err() {
                    return;
                }
            }
        });
    }
}
