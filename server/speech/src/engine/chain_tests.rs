use std::sync::{Arc, Mutex};

use cadence_protocol::Segment;

use super::super::test_support::sentence;
use super::{Engines, EnginesError};
use crate::audio::{Clip, RATE};
use crate::engine::{BoxFuture, Engine, EngineError, ErrorKind, Request, Transcript};

/// An engine that answers what it was told, and remembers what it was asked.
struct Told {
    name: &'static str,
    answer: Result<&'static str, ErrorKind>,
    asked: Mutex<Vec<usize>>,
}

impl Told {
    fn new(name: &'static str, answer: Result<&'static str, ErrorKind>) -> Arc<Self> {
        Arc::new(Self { name, answer, asked: Mutex::default() })
    }

    fn times(&self) -> usize {
        self.asked.lock().expect("no panic").len()
    }
}

impl Engine for Told {
    fn name(&self) -> &'static str {
        self.name
    }

    fn transcribe<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Transcript, EngineError>> {
        self.asked.lock().expect("no panic").push(request.clip.samples.len());
        let answer = self.answer.map_err(|kind| EngineError::new(self.name, kind)).map(|text| Transcript {
            text: text.to_owned(),
            segments: vec![Segment { start: 0.5, end: 2.0, text: text.to_owned() }],
            engine: self.name,
            ..Transcript::default()
        });
        Box::pin(std::future::ready(answer))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        self.asked.lock().expect("no panic").push(0);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The sentence after five seconds of silence, and before three.
fn request() -> Request {
    let mut samples = vec![0.0; 5 * RATE as usize];
    samples.extend(sentence().samples);
    samples.extend(vec![0.0; 3 * RATE as usize]);
    Request { clip: Arc::new(Clip { samples }), ..Request::default() }
}

fn chain(engines: &[&Arc<Told>]) -> Engines {
    Engines::new(engines.iter().map(|engine| Arc::clone(engine) as Arc<dyn Engine>).collect())
}

#[tokio::test]
async fn the_next_engine_is_asked_when_one_fails_and_the_answer_says_so() {
    let (first, second) =
        (Told::new("openai", Err(ErrorKind::Unavailable)), Told::new("deepgram", Err(ErrorKind::Auth)));
    let (third, fourth) = (Told::new("local", Ok("Stop the agent.")), Told::new("other", Ok("no")));
    let engines = chain(&[&first, &second, &third, &fourth]);
    assert_eq!(engines.names(), ["openai", "deepgram", "local", "other"]);
    let heard = engines.transcribe(&request()).await.expect("a transcript");
    assert_eq!((heard.transcript.text.as_str(), heard.transcript.engine), ("Stop the agent.", "local"));
    let failed: Vec<_> = heard.failed.iter().map(|error| (error.engine, error.kind)).collect();
    assert_eq!(failed, [("openai", ErrorKind::Unavailable), ("deepgram", ErrorKind::Auth)]);
    assert_eq!(fourth.times(), 0);
}

#[tokio::test]
async fn when_all_fail_each_says_why() {
    let (first, second) =
        (Told::new("openai", Err(ErrorKind::Timeout)), Told::new("deepgram", Err(ErrorKind::Garbage)));
    let error = chain(&[&first, &second]).transcribe(&request()).await.expect_err("no transcript");
    assert_eq!(error.to_string(), "openai did not answer in time; deepgram gave an answer that cannot be understood");
    assert_eq!(Engines::default().transcribe(&request()).await, Err(EnginesError::None));
}

#[tokio::test]
async fn silence_is_sent_to_nobody_and_ends_the_search() {
    let (first, second) = (Told::new("openai", Err(ErrorKind::Silence)), Told::new("local", Ok("Stop.")));
    let engines = chain(&[&first, &second]);
    let silent = Request { clip: Arc::new(Clip { samples: vec![0.0; 80_000] }), ..Request::default() };
    assert_eq!(engines.transcribe(&silent).await, Err(EnginesError::Silence));
    assert_eq!(engines.transcribe(&Request::default()).await, Err(EnginesError::Silence));
    assert_eq!((first.times(), second.times()), (0, 0));
    assert_eq!(engines.transcribe(&request()).await, Err(EnginesError::Silence));
    assert_eq!((first.times(), second.times()), (1, 0));
}

#[tokio::test]
async fn what_an_engine_made_up_is_silence() {
    let first = Told::new("openai", Ok("Subtitles by the Amara.org community"));
    assert_eq!(chain(&[&first]).transcribe(&request()).await, Err(EnginesError::Silence));
}

#[tokio::test]
async fn silence_around_a_sentence_is_not_sent_and_times_stay_those_of_the_recording() {
    let first = Told::new("openai", Ok("Add a retry."));
    let heard = chain(&[&first]).transcribe(&request()).await.expect("a transcript");
    let sent = first.asked.lock().expect("no panic")[0];
    assert!(sent < sentence().samples.len() + RATE as usize, "{sent} samples were sent");
    let start = heard.transcript.segments[0].start;
    assert!((5.0..6.0).contains(&start), "the segment begins at {start}");
    assert!((heard.transcript.segments[0].end - start - 1.5).abs() < 1e-9);
}

#[tokio::test]
async fn the_first_engine_is_warmed_up() {
    let (first, second) = (Told::new("openai", Ok("x")), Told::new("local", Ok("y")));
    chain(&[&first, &second]).warm_up().await;
    assert_eq!((first.times(), second.times()), (1, 0));
}
