//! Sentences for eyes and ears: printed, spoken one after another, and shown as notices of the desktop.

use std::io::Write as _;

use cadence_speech::Settings;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use crate::terminal::Terminal;
use crate::text;
use crate::voice::{Speaker, VoiceError};

/// Sentences that wait to be spoken; what is older is news no more.
const WAITING: usize = 4;

/// Says things.
pub struct Teller {
    queue: Option<UnboundedSender<String>>,
    speaking: Option<JoinHandle<()>>,
    notices: bool,
}

impl Teller {
    /// As the settings say. Where nothing that speaks is installed, nothing is spoken, unless it was asked for by name.
    pub fn new(settings: &Settings, quiet: bool, terminal: Terminal) -> Result<Self, VoiceError> {
        let notices = terminal.status && settings.notify.unwrap_or(true);
        let named = settings.speak.as_deref().unwrap_or("auto");
        let speaker = match named {
            _ if quiet => None,
            "off" => None,
            "auto" => Speaker::find(None).ok(),
            named => Some(Speaker::find(Some(named))?),
        };
        let Some(speaker) = speaker else { return Ok(Self { queue: None, speaking: None, notices }) };
        tracing::debug!(program = speaker.name(), "answers are spoken");
        let (queue, sentences) = unbounded_channel();
        Ok(Self { queue: Some(queue), speaking: Some(tokio::spawn(speak(speaker, sentences))), notices })
    }

    /// Speaks a sentence after those before.
    pub fn say(&self, sentence: &str) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(sentence.to_owned());
        }
    }

    /// Speaks it, and has the desktop show it.
    pub fn announce(&self, sentence: &str) {
        self.say(sentence);
        if self.notices {
            let mut out = std::io::stderr().lock();
            let _ = out.write_all(notice(sentence).as_bytes()).and_then(|()| out.flush());
        }
    }

    /// Waits until all is said.
    pub async fn finish(mut self) {
        drop(self.queue.take());
        if let Some(speaking) = self.speaking.take() {
            let _ = speaking.await;
        }
    }
}

async fn speak(mut speaker: Speaker, mut sentences: UnboundedReceiver<String>) {
    let mut waiting = Vec::new();
    while sentences.recv_many(&mut waiting, usize::MAX).await > 0 {
        let skipped = waiting.len().saturating_sub(WAITING);
        for sentence in waiting.drain(..).skip(skipped) {
            if let Err(error) = speaker.say(&sentence).await {
                tracing::debug!(%error, "a sentence was not spoken");
            }
        }
    }
}

/// A notice of the desktop, as terminals take it: OSC 9 (iTerm2, Windows Terminal, WezTerm) and OSC 777 (rxvt, foot, kitty).
pub fn notice(sentence: &str) -> String {
    let clean: String = text::clean_line(sentence).replace(';', ",");
    format!("\u{1b}]9;cadence: {clean}\u{7}\u{1b}]777;notify;cadence;{clean}\u{7}")
}
