//! Follows a run at an endpoint, from the request that begins it to its end, whatever breaks in between.

use std::sync::Arc;
use std::time::Duration;

use cadence_protocol::RunTask;
use reqwest::Response;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::call::{self, CallError, Calls};
use super::heard::{self, Complete, Heard};
use super::wire::{Item, Message, Parser};

/// How long an endpoint is waited for.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until a run that cannot be reached is given up.
    pub away: Duration,
    /// For the next byte of an endpoint that sends comments meanwhile, and of one that does not.
    pub silent: Duration,
    pub mute: Duration,
    /// First and longest wait before the next try.
    pub back_off: (Duration, Duration),
    /// For the end of a run that was cancelled.
    pub cancel: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            away: Duration::from_secs(15 * 60),
            silent: Duration::from_secs(45),
            mute: Duration::from_secs(10 * 60),
            back_off: (Duration::from_millis(250), Duration::from_secs(15)),
            cancel: Duration::from_secs(30),
        }
    }
}

/// Tries that fail before it is told.
const TOLD_AFTER: u32 = 4;
/// Largest number of an event.
const MAX_SEQ: u64 = 1 << 40;

/// What is told of a run.
#[derive(Debug)]
pub enum Signal {
    /// By which it is followed and cancelled.
    Run(String),
    /// Comes once; the number is that of the endpoint.
    Heard { seq: u64, counted: bool, heard: Heard },
    /// Something that whoever watches should know.
    Note(String),
    /// Nothing follows.
    Over(Over),
}

/// Why nothing more is told.
#[derive(Debug)]
pub enum Over {
    Complete(Box<Complete>),
    /// It was not begun: the endpoint does not take the key.
    Key(String),
    /// It was refused.
    Failed(String),
    Lost(String),
}

/// Numbers of the events that an endpoint tells: their ids, where those are numbers, else their count.
#[derive(Debug, Default)]
pub struct Numbers {
    /// None: not known before the first.
    pub counted: Option<bool>,
    /// The highest that is stored.
    pub last: u64,
    /// Events since the stream began at its beginning.
    count: u64,
    /// What a stream goes on after.
    id: Option<String>,
}

impl Numbers {
    pub fn after(last: u64, counted: bool) -> Self {
        Self { counted: (last > 0).then_some(counted), last, ..Self::default() }
    }

    /// What to send as `Last-Event-ID`; none: the stream begins anew.
    fn resume(&mut self) -> Option<String> {
        if self.counted == Some(false) && self.last > 0 {
            return Some(self.last.to_string());
        }
        if self.id.is_none() {
            self.count = 0;
        }
        self.id.clone()
    }

    /// The number of a message; none for one that came before.
    fn take(&mut self, id: Option<&str>) -> Option<u64> {
        let number = id.and_then(|id| id.parse().ok()).filter(|id| (1..MAX_SEQ).contains(id));
        let counted = *self.counted.get_or_insert(number.is_none());
        if let Some(id) = id.filter(|id| counted && !id.is_empty()) {
            self.id = Some(id.to_owned());
        }
        let seq = match (counted, number) {
            (false, Some(number)) => number,
            // Beside the numbered ones: after the last.
            (false, None) => return Some(self.last),
            (true, _) => {
                self.count += 1;
                self.count
            }
        };
        let is_new = seq > self.last;
        self.last = self.last.max(seq);
        is_new.then_some(seq)
    }
}

/// Follows one run.
pub struct Reader {
    pub calls: Arc<Calls>,
    /// The same for every try, so that the run begins once.
    pub key: String,
    pub task: RunTask,
    pub run: Option<String>,
    pub numbers: Numbers,
    pub patience: Patience,
    pub signals: mpsc::Sender<Signal>,
    /// The endpoint knows no streams.
    pub blocking: bool,
}

/// A connection that ended before the run did.
struct Broken {
    why: String,
    wait: Option<Duration>,
    /// Something new came over it.
    was_good: bool,
}

impl From<CallError> for Broken {
    fn from(error: CallError) -> Self {
        let wait = if let CallError::Passing { wait, .. } = &error { *wait } else { None };
        Self { why: error.to_string(), wait, was_good: false }
    }
}

impl Reader {
    /// Reads to the end. What nobody takes is not read.
    pub async fn read(mut self) {
        let over = self.until_over().await;
        let _ = self.signals.send(Signal::Over(over)).await;
    }

    async fn until_over(&mut self) -> Over {
        let (mut failures, mut since) = (0, None);
        loop {
            let broken = match self.connect().await {
                Ok(over) => return over,
                Err(broken) => broken,
            };
            if broken.was_good {
                (failures, since) = (0, None);
            }
            let since: Instant = *since.get_or_insert_with(Instant::now);
            failures += 1;
            tracing::debug!(why = broken.why, failures, "a run at the endpoint is not heard");
            if since.elapsed() >= self.patience.away {
                let secs = self.patience.away.as_secs();
                return Over::Lost(format!(
                    "The endpoint was not heard of for {secs} seconds: {}. What it does is not known.",
                    broken.why
                ));
            }
            if failures == TOLD_AFTER {
                let note = format!("The endpoint is not heard ({}); it is tried again.", broken.why);
                if self.signals.send(Signal::Note(note)).await.is_err() {
                    return Over::Lost(broken.why);
                }
            }
            let wait = back_off(self.patience.back_off, failures);
            tokio::time::sleep(broken.wait.map_or(wait, |asked| asked.max(wait))).await;
        }
    }

    /// One request, and what comes of it.
    async fn connect(&mut self) -> Result<Over, Broken> {
        if let Some(run) = self.run.clone() {
            let after = self.numbers.resume();
            return match self.calls.follow(&run, after.as_deref()).await {
                Ok(response) => self.stream(response).await,
                Err(CallError::Absent(status)) => Ok(Over::Lost(format!(
                    "The endpoint does not know the run any more, or cannot go on with it ({status})."
                ))),
                Err(CallError::Refused(why)) => Ok(Over::Lost(why)),
                // The key may be put right.
                Err(error) => Err(error.into()),
            };
        }
        if self.blocking {
            return match self.calls.run(&self.key, &self.task).await {
                Ok(answer) => Ok(Over::Complete(Box::new(heard::complete(&answer)))),
                Err(error) => self.not_begun(error),
            };
        }
        match self.calls.begin(&self.key, &self.task).await {
            Ok(response) => {
                // Without an id of the run it is told from the beginning, or not at all.
                self.numbers.count = 0;
                self.stream(response).await
            }
            Err(CallError::Absent(status)) => {
                tracing::info!(%status, "the endpoint knows no streams; its answer is waited for");
                self.blocking = true;
                let note = "The endpoint tells nothing while it works; its answer is waited for.".to_owned();
                let _ = self.signals.send(Signal::Note(note)).await;
                Err(Broken { why: "it knows no streams".to_owned(), wait: None, was_good: true })
            }
            Err(error) => self.not_begun(error),
        }
    }

    fn not_begun(&self, error: CallError) -> Result<Over, Broken> {
        match error {
            CallError::Key(status) => Ok(Over::Key(CallError::Key(status).to_string())),
            CallError::Absent(status) => Ok(Over::Failed(format!("The endpoint takes no tasks ({status})."))),
            CallError::Refused(why) => Ok(Over::Failed(why)),
            passing @ CallError::Passing { .. } => Err(passing.into()),
        }
    }

    async fn stream(&mut self, mut response: Response) -> Result<Over, Broken> {
        if !call::is_stream(&response) {
            let answer = call::object(response).await.map_err(Broken::from)?;
            if answer.contains_key("success") {
                return Ok(Over::Complete(Box::new(heard::complete(&answer))));
            }
            return match heard::run_id(&answer).filter(|_| self.run.is_none()) {
                Some(run) => {
                    self.name(run).await;
                    Err(Broken { why: "its answer was no stream".to_owned(), wait: None, was_good: true })
                }
                None => Ok(Over::Failed("The endpoint's answer was neither a stream nor a result.".to_owned())),
            };
        }
        let mut parser = Parser::default();
        let mut items = Vec::new();
        let (mut was_good, mut comments) = (false, false);
        loop {
            let silence = if comments { self.patience.silent } else { self.patience.mute };
            let broken = |why: String| Broken { why, wait: None, was_good };
            match timeout(silence, response.chunk()).await {
                Err(_) => return Err(broken("it is silent".to_owned())),
                Ok(Err(error)) => return Err(broken(call::told(error).to_string())),
                Ok(Ok(None)) => return Err(broken("it closed the stream before the end".to_owned())),
                Ok(Ok(Some(bytes))) => parser.push(&bytes, &mut items),
            }
            for item in items.drain(..) {
                let signal = match item {
                    Item::Comment => {
                        comments = true;
                        continue;
                    }
                    Item::TooLarge(id) => self.numbers.take(id.as_deref()).map(|seq| {
                        let message = "An event of the endpoint is too large, and left out.".to_owned();
                        let heard = Heard::Event(cadence_protocol::EventData::Error { message, recoverable: true });
                        (seq, heard)
                    }),
                    Item::Message(message) => match self.hear(&message).await {
                        Heard::Complete(complete) => return Ok(Over::Complete(complete)),
                        Heard::Run(_) => continue,
                        Heard::Delta(text) => Some((self.numbers.last, Heard::Delta(text))),
                        heard => self.numbers.take(message.id.as_deref()).map(|seq| (seq, heard)),
                    },
                };
                let Some((seq, heard)) = signal else { continue };
                was_good |= !matches!(heard, Heard::Delta(_));
                let counted = self.numbers.counted.unwrap_or_default();
                if self.signals.send(Signal::Heard { seq, counted, heard }).await.is_err() {
                    return Err(Broken { why: "nobody listens".to_owned(), wait: None, was_good });
                }
            }
        }
    }

    async fn hear(&mut self, message: &Message) -> Heard {
        let heard = heard::read(message);
        if self.run.is_none() {
            let named = match &heard {
                Heard::Run(run) => Some(run.clone()),
                _ => heard::named_run(message),
            };
            if let Some(run) = named {
                self.name(run).await;
            }
        }
        heard
    }

    async fn name(&mut self, run: String) {
        self.run = Some(run.clone());
        let _ = self.signals.send(Signal::Run(run)).await;
    }
}

/// Twice as long each time, and spread, so that not all come back at once.
pub fn back_off((first, longest): (Duration, Duration), failures: u32) -> Duration {
    let whole = first.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(longest);
    let random = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
    whole.mul_f64(0.75 + 0.25 * random)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn take(numbers: &mut Numbers, ids: &[Option<&str>]) -> Vec<Option<u64>> {
        ids.iter().map(|id| numbers.take(*id)).collect()
    }

    #[test]
    fn ids_that_are_numbers_number_the_events() {
        let mut numbers = Numbers::default();
        assert_eq!(take(&mut numbers, &[Some("1"), Some("2"), None, Some("4")]), [Some(1), Some(2), Some(2), Some(4)]);
        assert_eq!(numbers.resume().as_deref(), Some("4"));
        assert_eq!(take(&mut numbers, &[Some("3"), Some("4"), Some("5")]), [None, None, Some(5)], "repeats");
        let mut later = Numbers::after(5, false);
        assert_eq!(later.resume().as_deref(), Some("5"));
        assert_eq!(take(&mut later, &[Some("5"), Some("6")]), [None, Some(6)]);
    }

    #[test]
    fn others_are_counted() {
        let mut numbers = Numbers::default();
        assert_eq!(take(&mut numbers, &[None, None]), [Some(1), Some(2)]);
        assert_eq!(numbers.resume(), None);
        assert_eq!(take(&mut numbers, &[None, None, None]), [None, None, Some(3)], "it was told from the beginning");
        let mut opaque = Numbers::default();
        assert_eq!(take(&mut opaque, &[Some("a-1"), Some("a-2")]), [Some(1), Some(2)]);
        assert_eq!(opaque.resume().as_deref(), Some("a-2"));
        assert_eq!(take(&mut opaque, &[Some("a-3")]), [Some(3)]);
        let mut later = Numbers::after(3, true);
        assert_eq!(later.resume(), None);
        assert_eq!(
            take(&mut later, &[Some("a-1"), Some("a-2"), Some("a-3"), Some("a-4")]),
            [None, None, None, Some(4)]
        );
    }

    #[tokio::test]
    async fn a_run_that_is_not_heard_of_is_told_and_then_given_up() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let patience = Patience {
            away: Duration::from_millis(200),
            back_off: (Duration::from_millis(1), Duration::from_millis(5)),
            ..Patience::default()
        };
        let (signals, mut told) = mpsc::channel(8);
        let reader = Reader {
            // Nobody listens on the port that discards.
            calls: Arc::new(Calls::new("http://127.0.0.1:9".parse().unwrap(), None).unwrap()),
            key: "a".to_owned(),
            task: RunTask::default(),
            run: Some("r".to_owned()),
            numbers: Numbers::default(),
            patience,
            signals,
            blocking: false,
        };
        tokio::spawn(reader.read());
        let Some(Signal::Note(note)) = told.recv().await else { panic!("nothing was told") };
        assert!(note.starts_with("The endpoint is not heard ("), "{note}");
        let Some(Signal::Over(Over::Lost(why))) = told.recv().await else { panic!("it was not given up") };
        assert!(why.starts_with("The endpoint was not heard of for 0 seconds"), "{why}");
    }

    #[test]
    fn waits_grow_and_end() {
        let limits = (Duration::from_millis(250), Duration::from_secs(15));
        assert!(back_off(limits, 1) <= limits.0);
        assert!(back_off(limits, u32::MAX) <= limits.1 && back_off(limits, 9) > Duration::from_secs(11));
    }
}
