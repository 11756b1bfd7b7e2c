use cadence_protocol::Segment;
use serde::Deserialize;

use super::super::language::code;

/// What was heard of a recording, or of one passage of a stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Passage {
    pub text: String,
    pub language: Option<String>,
    pub segments: Vec<Segment>,
}

/// A message of a stream.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    /// What is heard so far of the passage that is being said.
    Interim(String),
    /// A passage that will not change any more.
    Final(Passage),
    /// The last message: all was heard.
    Metadata,
    Error(String),
    /// Something that says nothing of the text: the beginning of speech, the end of an utterance.
    Other,
}

#[derive(Deserialize)]
struct Recording {
    results: Results,
}

#[derive(Deserialize)]
struct Results {
    channels: Vec<Channel>,
}

#[derive(Deserialize)]
struct Channel {
    alternatives: Vec<Alternative>,
    detected_language: Option<String>,
}

#[derive(Deserialize)]
struct Alternative {
    #[serde(default)]
    transcript: String,
    #[serde(default)]
    words: Vec<Word>,
    #[serde(default)]
    languages: Vec<String>,
}

#[derive(Deserialize)]
struct Word {
    #[serde(default)]
    word: String,
    punctuated_word: Option<String>,
    start: f64,
    end: f64,
}

#[derive(Deserialize)]
struct StreamMessage {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    is_final: bool,
    channel: Option<serde_json::Value>,
    description: Option<String>,
    message: Option<String>,
}

/// `None` where it is no answer of Deepgram's.
pub(super) fn recording(body: &[u8]) -> Option<Passage> {
    let recording: Recording = serde_json::from_slice(body).ok()?;
    passage(recording.results.channels.into_iter().next()?)
}

/// `None` where it is no message of Deepgram's.
pub(super) fn message(text: &str) -> Option<Message> {
    let message: StreamMessage = serde_json::from_str(text).ok()?;
    match message.kind.as_str() {
        "Results" => {
            let passage = passage(serde_json::from_value(message.channel?).ok()?)?;
            Some(if message.is_final { Message::Final(passage) } else { Message::Interim(passage.text) })
        }
        "Metadata" => Some(Message::Metadata),
        "Error" => Some(Message::Error(message.description.or(message.message).unwrap_or_default())),
        "" => None,
        _ => Some(Message::Other),
    }
}

fn passage(channel: Channel) -> Option<Passage> {
    let best = channel.alternatives.into_iter().next()?;
    let language = channel.detected_language.or_else(|| best.languages.into_iter().next());
    Some(Passage {
        text: best.transcript.trim().to_owned(),
        language: language.as_deref().and_then(code),
        segments: sentences(&best.words),
    })
}

/// Words up to the end of each sentence.
fn sentences(words: &[Word]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut open = false;
    for word in words.iter().filter(|word| word.start.is_finite() && word.end.is_finite()) {
        let text = word.punctuated_word.as_deref().unwrap_or(&word.word);
        match segments.last_mut().filter(|_| open) {
            Some(segment) => {
                segment.text.push(' ');
                segment.text.push_str(text);
                segment.end = word.end;
            }
            None => segments.push(Segment { start: word.start, end: word.end, text: text.to_owned() }),
        }
        open = !text.ends_with(['.', '?', '!']);
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::{Message, message, recording};
    use proptest::prelude::*;

    #[test]
    fn a_recording_is_read_in_sentences() {
        let body = br#"{"metadata":{"request_id":"r","channels":1,"duration":2.6},"results":{"channels":[{
            "detected_language":"en","language_confidence":0.9,"alternatives":[{"transcript":"Add a retry. Then stop.",
            "confidence":0.99,"words":[
            {"word":"add","start":0.1,"end":0.3,"confidence":0.9,"punctuated_word":"Add"},
            {"word":"a","start":0.3,"end":0.4,"confidence":0.9,"punctuated_word":"a"},
            {"word":"retry","start":0.4,"end":0.9,"confidence":0.9,"punctuated_word":"retry."},
            {"word":"then","start":1.0,"end":1.2,"confidence":0.9,"punctuated_word":"Then"},
            {"word":"stop","start":1.2,"end":1.5,"confidence":0.9,"punctuated_word":"stop."}]}]}]}}"#;
        let heard = recording(body).expect("an answer");
        assert_eq!((heard.text.as_str(), heard.language.as_deref()), ("Add a retry. Then stop.", Some("en")));
        let sentences: Vec<_> = heard.segments.iter().map(|s| (s.text.as_str(), s.start, s.end)).collect();
        assert_eq!(sentences, [("Add a retry.", 0.1, 0.9), ("Then stop.", 1.0, 1.5)]);
    }

    #[test]
    fn messages_of_a_stream_are_told_apart() {
        let results = |is_final: bool| {
            format!(
                r#"{{"type":"Results","channel_index":[0,1],"duration":1.0,"start":0.0,"is_final":{is_final},
                "speech_final":false,"channel":{{"alternatives":[{{"transcript":" Add a","confidence":0.9,"words":[]}}]}}}}"#
            )
        };
        assert_eq!(message(&results(false)), Some(Message::Interim("Add a".to_owned())));
        assert!(matches!(message(&results(true)), Some(Message::Final(passage)) if passage.text == "Add a"));
        assert_eq!(message(r#"{"type":"Metadata","request_id":"r","duration":2.0}"#), Some(Message::Metadata));
        assert_eq!(message(r#"{"type":"SpeechStarted","timestamp":0.1}"#), Some(Message::Other));
        let error = r#"{"type":"Error","description":"Could not decode.","variant":"x"}"#;
        assert_eq!(message(error), Some(Message::Error("Could not decode.".to_owned())));
        for text in
            ["", "{}", "[]", "null", r#"{"type":"Results"}"#, r#"{"type":"Results","channel":{"alternatives":[]}}"#]
        {
            assert_eq!(message(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_message_is_read_or_refused(text in "\\PC{0,200}") {
            let _message: Option<Message> = message(&text);
            prop_assert!(recording(text.as_bytes()).is_none());
        }
    }
}
