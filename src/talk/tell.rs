//! Sentences for eyes and ears: printed, spoken one after another, and shown as notices of the desktop.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cadence_speech::Settings;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use crate::terminal::{Terminal, error_output};
use crate::text;
use crate::voice::{Speaker, VoiceError};

/// Sentences that wait to be spoken; what is older is news no more.
const WAITING: usize = 4;

/// What loudspeakers still have in them when a program has said all.
const ECHO: Duration = Duration::from_millis(300);

/// Says things.
pub struct Teller {
    queue: Option<UnboundedSender<Order>>,
    speaking: Option<JoinHandle<()>>,
    /// Sentences so far, and the first that may still be said.
    count: AtomicU64,
    hushed: watch::Sender<u64>,
    notices: bool,
}

enum Order {
    Say {
        sentence: String,
        number: u64,
    },
    /// To be answered when all before is said.
    Silence(oneshot::Sender<()>),
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
        Ok(Self::of(speaker, notices))
    }

    fn of(speaker: Option<Speaker>, notices: bool) -> Self {
        let hushed = watch::Sender::new(0);
        let (queue, speaking) = match speaker {
            Some(speaker) => {
                tracing::debug!(program = speaker.name(), "answers are spoken");
                let (queue, orders) = unbounded_channel();
                (Some(queue), Some(tokio::spawn(speak(speaker, orders, hushed.subscribe()))))
            }
            None => (None, None),
        };
        Self { queue, speaking, count: AtomicU64::new(0), hushed, notices }
    }

    /// Speaks a sentence after those before.
    pub fn say(&self, sentence: &str) {
        if let Some(queue) = &self.queue {
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            let _ = queue.send(Order::Say { sentence: sentence.to_owned(), number });
        }
    }

    /// Has the desktop show it.
    pub fn notify(&self, sentence: &str) {
        if self.notices {
            let mut out = error_output();
            let _ = out.write_all(notice(sentence).as_bytes());
        }
    }

    /// Falls silent: what is being said is broken off, and what waits is not said.
    pub fn hush(&self) {
        self.hushed.send_replace(self.count.load(Ordering::Relaxed));
    }

    /// Ready when all is said and has died away, so that a microphone does not hear it.
    pub fn silence(&self) -> impl Future<Output = ()> + Send + use<> {
        let (tell, told) = oneshot::channel();
        if let Some(queue) = &self.queue {
            let _ = queue.send(Order::Silence(tell));
        }
        async move { told.await.unwrap_or_default() }
    }

    /// Waits until all is said.
    pub async fn finish(mut self) {
        drop(self.queue.take());
        if let Some(speaking) = self.speaking.take() {
            let _ = speaking.await;
        }
    }
}

async fn speak(mut speaker: Speaker, mut orders: UnboundedReceiver<Order>, mut hushed: watch::Receiver<u64>) {
    let mut ended: Option<(Instant, u64)> = None;
    while let Some(order) = orders.recv().await {
        match order {
            Order::Say { number, .. } if number < *hushed.borrow() || orders.len() >= WAITING => {}
            Order::Say { sentence, number } => {
                tokio::select! {
                    said = speaker.say(&sentence) => if let Err(error) = said {
                        tracing::debug!(%error, "a sentence was not spoken");
                    },
                    () = hush_after(number, &mut hushed) => speaker.stop().await,
                }
                ended = Some((Instant::now(), number));
            }
            Order::Silence(tell) => {
                // Whoever broke it off wants to speak at once.
                if let Some((ended, _)) = ended.filter(|(_, number)| *number >= *hushed.borrow()) {
                    sleep_until(ended + ECHO).await;
                }
                let _ = tell.send(());
            }
        }
    }
}

/// Ready when the sentence with this number is not wanted any more.
async fn hush_after(number: u64, hushed: &mut watch::Receiver<u64>) {
    if hushed.wait_for(|first| number < *first).await.is_err() {
        // Whoever could say so is gone, so it is said to its end.
        std::future::pending().await
    }
}

/// A notice of the desktop, as terminals take it: OSC 777 for rxvt, OSC 9 for the others (iTerm2, WezTerm, kitty, foot, Ghostty).
/// Many know both, and would show two.
pub fn notice(sentence: &str) -> String {
    notice_for(sentence, &std::env::var("TERM").unwrap_or_default())
}

fn notice_for(sentence: &str, term: &str) -> String {
    let clean: String = text::clean_line(sentence).replace(';', ",");
    if term.starts_with("rxvt") {
        format!("\u{1b}]777;notify;cadence;{clean}\u{7}")
    } else {
        format!("\u{1b}]9;cadence: {clean}\u{7}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// A program that writes each sentence to a file when it has heard it, and never ends with one that is long.
    fn teller(directory: &std::path::Path) -> Teller {
        let program = directory.join("talker");
        let said = directory.join("said");
        let script = format!(
            "#!/bin/sh\nread -r line\necho \"$line\" >> {}\n[ \"$line\" != long ] || exec sleep 600\n",
            said.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Teller::of(Some(Speaker::find(program.to_str()).unwrap()), false)
    }

    fn said(directory: &std::path::Path) -> String {
        std::fs::read_to_string(directory.join("said")).unwrap_or_default()
    }

    #[tokio::test]
    async fn it_is_silent_when_all_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let teller = teller(directory.path());
        teller.silence().await;
        assert_eq!(said(directory.path()), "");
        teller.say("one");
        teller.say("two");
        teller.silence().await;
        assert_eq!(said(directory.path()), "one\ntwo\n");
        // Nobody who speaks is silent at once.
        Teller::of(None, false).silence().await;
    }

    #[tokio::test]
    async fn who_begins_to_speak_is_not_talked_over() {
        let directory = tempfile::tempdir().unwrap();
        let teller = teller(directory.path());
        teller.say("long");
        teller.say("stale");
        let began = async {
            while said(directory.path()).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), began).await.unwrap();
        teller.hush();
        teller.say("news");
        tokio::time::timeout(Duration::from_secs(60), teller.silence()).await.unwrap();
        assert_eq!(said(directory.path()), "long\nnews\n");
        teller.finish().await;
    }

    #[test]
    fn a_notice_is_one_and_obeys_nobody() {
        assert_eq!(notice_for("a;b\u{7}\u{1b}]0;x\u{7}c", "xterm-256color"), "\u{1b}]9;cadence: a,bc\u{7}");
        assert_eq!(notice_for("done", "rxvt-unicode-256color"), "\u{1b}]777;notify;cadence;done\u{7}");
    }
}
