use cadence_protocol::Segment;
use serde::Deserialize;

use super::super::language::code;

/// Segments above the first and below the second are silence to Whisper itself (`no_speech_threshold` and `logprob_threshold`
/// of its `transcribe`).
const NO_SPEECH: f64 = 0.6;
const UNSURE: f64 = -1.0;

#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    Text {
        text: String,
        language: Option<String>,
        segments: Vec<Segment>,
    },
    /// An error that came with the status of success.
    Error(String),
    Silence,
}

#[derive(Deserialize)]
struct Wire {
    text: Option<String>,
    language: Option<String>,
    segments: Option<Vec<WireSegment>>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct WireSegment {
    #[serde(default)]
    start: f64,
    #[serde(default)]
    end: f64,
    #[serde(default)]
    text: String,
    no_speech_prob: Option<f64>,
    avg_logprob: Option<f64>,
}

impl WireSegment {
    fn is_silence(&self) -> bool {
        self.no_speech_prob.is_some_and(|likely| likely > NO_SPEECH)
            && self.avg_logprob.is_some_and(|sure| sure < UNSURE)
    }
}

/// `None` where it is no answer of a transcription API.
pub(super) fn read(body: &[u8]) -> Option<Answer> {
    let wire: Wire = serde_json::from_slice(body).ok()?;
    let Some(text) = wire.text else {
        return match wire.error? {
            serde_json::Value::String(said) => Some(Answer::Error(said)),
            error => Some(Answer::Error(error["message"].as_str().unwrap_or("an unknown error").to_owned())),
        };
    };
    let mut segments = wire.segments.unwrap_or_default();
    let before = segments.len();
    segments.retain(|segment| !segment.is_silence());
    let text =
        if segments.len() == before { text } else { segments.iter().map(|segment| segment.text.as_str()).collect() };
    let text = text.trim().to_owned();
    if text.is_empty() {
        return Some(Answer::Silence);
    }
    let segments = segments
        .into_iter()
        .filter(|segment| segment.start.is_finite() && segment.end.is_finite())
        .map(|segment| Segment { start: segment.start, end: segment.end, text: segment.text.trim().to_owned() })
        .collect();
    Some(Answer::Text { text, language: wire.language.as_deref().and_then(code), segments })
}

#[cfg(test)]
mod tests {
    use super::{Answer, read};
    use proptest::prelude::*;

    #[test]
    fn text_language_and_segments_are_read() {
        let body = br#"{"task":"transcribe","language":"english","duration":2.6,"text":" Add a retry.",
            "segments":[{"id":0,"seek":0,"start":0.0,"end":2.5,"text":" Add a retry.","tokens":[1],"temperature":0.0,
            "avg_logprob":-0.2,"compression_ratio":0.8,"no_speech_prob":0.01}]}"#;
        let Some(Answer::Text { text, language, segments }) = read(body) else { panic!("an answer") };
        assert_eq!((text.as_str(), language.as_deref()), ("Add a retry.", Some("en")));
        assert_eq!((segments[0].text.as_str(), segments[0].end), ("Add a retry.", 2.5));
    }

    #[test]
    fn segments_that_whisper_takes_for_silence_are_left_out() {
        let body = br#"{"text":" Fix it. Thanks for watching!","segments":[
            {"start":0,"end":1,"text":" Fix it.","avg_logprob":-0.2,"no_speech_prob":0.7},
            {"start":1,"end":9,"text":" Thanks for watching!","avg_logprob":-1.4,"no_speech_prob":0.9}]}"#;
        let Some(Answer::Text { text, segments, .. }) = read(body) else { panic!("an answer") };
        assert_eq!((text.as_str(), segments.len()), ("Fix it.", 1));
    }

    #[test]
    fn silence_errors_and_other_documents_are_told_apart() {
        assert_eq!(read(br#"{"text":"  "}"#), Some(Answer::Silence));
        assert_eq!(
            read(br#"{"error":"failed to read WAV data"}"#),
            Some(Answer::Error("failed to read WAV data".into()))
        );
        for body in [&b"[]"[..], b"{}", b"<html>", b"", b"null", br#"{"text":7}"#] {
            assert_eq!(read(body), None);
        }
    }

    proptest! {
        #[test]
        fn any_answer_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _answer: Option<Answer> = read(&body);
        }
    }
}
