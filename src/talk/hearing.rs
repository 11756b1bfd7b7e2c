//! A recording and what the server makes of it.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use cadence_protocol::{VoiceAnswer, VoiceStart};
use cadence_speech::audio::wav;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::session::{Failed, Message};
use crate::client::{Client, Speech};
use crate::error::CommandError;
use crate::speech;
use crate::text;
use crate::voice::{Heard, Take, Trouble};

/// The loudness that fills the meter, and the one that leaves it empty, in dBFS.
const LOUD: f32 = -12.0;
const QUIET: f32 = -60.0;

/// A recording on its way.
pub struct Hearing {
    pub client: Client,
    pub start: VoiceStart,
    /// Where the recording is kept, too.
    pub save: Option<PathBuf>,
}

impl Hearing {
    /// Sends what is heard as it is heard, and tells how it goes. It ends with what was said, or with why that is not known.
    pub async fn run(self, mut heard: UnboundedReceiver<Heard>, tell: UnboundedSender<Message>) {
        let told = match self.follow(&mut heard, &tell).await {
            Ok(message) => message,
            Err(error) => Message::Failed(failed(&error)),
        };
        // Nobody may listen any more.
        let _ = tell.send(told);
    }

    async fn follow(
        &self,
        heard: &mut UnboundedReceiver<Heard>,
        tell: &UnboundedSender<Message>,
    ) -> Result<Message, CommandError> {
        let mut seconds = 0.0;
        // What is said before the connection is there waits in the channel.
        let mut stream = Speech::start(&self.client.endpoint(), self.start.clone()).await?;
        let take = loop {
            tokio::select! {
                what = heard.recv() => match what {
                    Some(Heard::Samples(samples)) => {
                        seconds += samples.len() as f64 / f64::from(cadence_speech::audio::RATE);
                        stream.samples(&samples).await?;
                    }
                    Some(Heard::Level(level)) => {
                        let loud = (level.rms - QUIET) / (LOUD - QUIET);
                        let _ = tell.send(Message::Level(loud, level.clipped > 0.0, seconds));
                    }
                    Some(Heard::SpeechBegan(_)) => drop(tell.send(Message::Began)),
                    Some(Heard::Ended(take)) => break take,
                    // Cancelled.
                    None => return Err(CommandError::failed("the recording was dropped")),
                },
                answer = stream.next() => match answer? {
                    VoiceAnswer::Interim { text } => drop(tell.send(Message::Interim(text))),
                    VoiceAnswer::Ready { .. } => {}
                    VoiceAnswer::Error { code, error, hint } => return Err(refused(&code, &error, hint)),
                    VoiceAnswer::Final { .. } => return Err(CommandError::failed("the server ended the recording")),
                },
            }
        };
        let _ = tell.send(Message::Ended);
        let usable = usable(&take);
        if usable.is_ok() {
            stream.end().await?;
        }
        // While it is listened to.
        if let Some(path) = &self.save {
            write(path, &take)?;
        }
        usable?;
        loop {
            match stream.next().await? {
                VoiceAnswer::Final { transcription, parsed } => {
                    let tasks = speech::tasks(&self.client).await?;
                    return Ok(Message::Heard(transcription, parsed, tasks));
                }
                VoiceAnswer::Error { code, error, hint } => return Err(refused(&code, &error, hint)),
                VoiceAnswer::Ready { .. } | VoiceAnswer::Interim { .. } => {}
            }
        }
    }
}

/// Only its owner may hear it.
pub fn write(path: &Path, take: &Take) -> Result<(), CommandError> {
    let fail = |error: std::io::Error| {
        CommandError::failed(format!("{} cannot be written", text::clean_line(&path.to_string_lossy())))
            .caused_by(error)
    };
    let mut out =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path).map_err(fail)?;
    out.write_all(&wav(&take.clip)).map_err(fail)
}

/// What nobody can be heard in is not sent.
fn usable(take: &Take) -> Result<(), CommandError> {
    match take.trouble() {
        Some(trouble @ (Trouble::Silent | Trouble::NoSpeech)) => {
            Err(CommandError::failed(trouble.to_string()).hint(trouble.hint()))
        }
        Some(trouble @ Trouble::Lost(_)) if take.speech.is_none() => {
            Err(CommandError::failed(trouble.to_string()).hint(trouble.hint()))
        }
        _ => Ok(()),
    }
}

fn refused(code: &str, error: &str, hint: Option<String>) -> CommandError {
    let error = match code {
        "bad_frame" => CommandError::usage(error.to_owned()),
        _ => CommandError::failed(error.to_owned()),
    };
    hint.into_iter().fold(error, CommandError::hint)
}

/// An error as the conversation shows it.
pub fn failed(error: &CommandError) -> Failed {
    let mut hints: Vec<String> = error.causes();
    hints.extend(error.hints().iter().cloned());
    Failed { error: error.message().to_owned(), hints }
}
