use std::time::Duration;

use cadence_fakes::speech::{Reply, SENTENCE, Said, SpeechApi};
use url::Url;

use super::super::test_support::{brisk, request, sentence, tls};
use super::{Deepgram, DeepgramSettings, MAX_TERM_CHARACTERS, terms};
use crate::audio::Format;
use crate::engine::{Engine, ErrorKind, Request};

const KEY: &str = "dg-a-key-that-nobody-may-see";

fn engine(api: &SpeechApi) -> Deepgram {
    tls();
    let url = Url::parse(&api.url()).expect("a URL");
    let settings = DeepgramSettings { patience: brisk(), ..DeepgramSettings::new(url, KEY.into()) };
    Deepgram::new(settings).expect("an engine")
}

fn with_terms() -> Request {
    Request {
        language: Some("en".to_owned()),
        keyterms: vec!["saveUploadedFile".to_owned(), "retry & back-off".to_owned()],
        ..request()
    }
}

fn said(steps: &[(usize, Said)]) -> Vec<(usize, Said)> {
    steps.to_vec()
}

#[tokio::test]
async fn a_recording_is_sent_as_flac_with_its_terms() {
    let api = SpeechApi::start();
    let heard = engine(&api).transcribe(&with_terms()).await.expect("a transcript");
    assert_eq!((heard.text.as_str(), heard.engine, heard.model.as_deref()), (SENTENCE, "deepgram", Some("nova-3")));
    assert_eq!((heard.language.as_deref(), heard.segments.len()), (Some("en"), 1));
    let request = &api.requests()[0];
    assert_eq!((request.path.as_str(), request.scheme.as_deref()), ("/v1/listen", Some("Token")));
    let file = request.file.as_ref().expect("a file");
    assert_eq!((Format::sniff(&file.bytes), file.content_type.as_deref()), (Some(Format::Flac), Some("audio/flac")));
    let query: Vec<_> = request.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        query,
        [
            ("model", "nova-3"),
            ("smart_format", "true"),
            ("punctuate", "true"),
            ("language", "en"),
            ("keyterm", "saveUploadedFile"),
            ("keyterm", "retry & back-off"),
        ]
    );
}

#[tokio::test]
async fn failures_have_their_kind_and_never_show_the_key() {
    let status = |status, body: &str| Reply::Status { status, retry_after: None, body: body.to_owned() };
    let table = [
        (vec![status(401, KEY)], ErrorKind::Auth),
        (vec![status(400, &format!(r#"{{"err_code":"Bad Request","err_msg":"no {KEY}"}}"#))], ErrorKind::Refused),
        (vec![status(413, "")], ErrorKind::TooLarge),
        (vec![status(502, ""), status(502, "")], ErrorKind::Unavailable),
        (vec![Reply::Cut, Reply::Cut], ErrorKind::Unavailable),
        (vec![Reply::Body("{}".to_owned())], ErrorKind::Garbage),
        (vec![Reply::Text(String::new())], ErrorKind::Silence),
    ];
    for (replies, kind) in table {
        let api = SpeechApi::start();
        let expected = replies.len();
        replies.into_iter().for_each(|reply| api.reply(reply));
        let error = engine(&api).transcribe(&request()).await.expect_err("a failure");
        assert_eq!(error.kind, kind);
        assert!(!format!("{error} {error:?}").contains(KEY), "{error:?}");
        assert_eq!(api.requests().len(), expected);
    }
}

#[tokio::test]
async fn words_are_heard_while_they_are_said() {
    let api = SpeechApi::start();
    api.say(said(&[
        (1, Said::Interim("add a".to_owned())),
        (20_000, Said::Raw(r#"{"type":"SpeechStarted","channel":[0],"timestamp":0.2}"#.to_owned())),
        (30_000, Said::Final("Add a retry".to_owned())),
        (40_000, Said::Interim("to save".to_owned())),
        (usize::MAX, Said::Final("to save uploaded file.".to_owned())),
    ]));
    let live = engine(&api).live(&with_terms()).await.expect("a stream");
    let mut interim = live.interim();
    let sentence = sentence();
    let (first, rest) = sentence.samples.split_at(160);
    live.send(first).expect("sent");
    interim.wait_for(|text| text == "add a").await.expect("the first words");
    for piece in rest.chunks(160) {
        live.send(piece).expect("sent");
    }
    interim.wait_for(|text| text == "Add a retry to save").await.expect("more words");
    let heard = live.finish().await.expect("a transcript");
    assert_eq!(heard.text, "Add a retry to save uploaded file.");
    assert_eq!((heard.language.as_deref(), heard.segments.len()), (Some("en"), 2));

    let request = &api.requests()[0];
    assert_eq!((request.sound, request.scheme.as_deref()), (sentence.samples.len() * 2, Some("Token")));
    assert_eq!(request.messages, [r#"{"type":"CloseStream"}"#]);
    let asked = |name: &str| {
        request.query.iter().filter(|(asked, _)| asked == name).map(|(_, value)| value.as_str()).collect::<Vec<_>>()
    };
    assert_eq!((asked("encoding"), asked("sample_rate")), (vec!["linear16"], vec!["16000"]));
    assert_eq!((asked("interim_results"), asked("keyterm").len()), (vec!["true"], 2));
}

#[tokio::test]
async fn a_stream_that_fails_says_how() {
    let raw = |text: &str| Said::Raw(text.to_owned());
    let table = [
        (vec![(1, Said::Interim("add".to_owned())), (2, Said::Cut)], ErrorKind::Unavailable),
        (vec![(usize::MAX, Said::Cut)], ErrorKind::Unavailable),
        (vec![(1, raw(r#"{"type":"Error","description":"Could not decode the audio."}"#))], ErrorKind::Unavailable),
        (vec![(1, raw("<html>"))], ErrorKind::Garbage),
        (vec![(usize::MAX, Said::Final(String::new()))], ErrorKind::Silence),
        (vec![], ErrorKind::Silence),
    ];
    for (steps, kind) in table {
        let api = SpeechApi::start();
        let told = format!("{steps:?}");
        api.say(steps);
        let live = engine(&api).live(&request()).await.expect("a stream");
        live.send(&[0.1; 320]).expect("sent");
        let error = live.finish().await.expect_err(&told);
        assert_eq!(error.kind, kind, "{told}: {error}");
    }
}

#[tokio::test]
async fn a_stream_that_is_over_takes_no_more() {
    let api = SpeechApi::start();
    api.say(said(&[(1, Said::Cut)]));
    let live = engine(&api).live(&request()).await.expect("a stream");
    let mut interim = live.interim();
    live.send(&[0.1; 320]).expect("sent");
    // The channel of interim texts closes with the stream.
    while interim.changed().await.is_ok() {}
    assert_eq!(live.send(&[0.1; 320]).expect_err("over").kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_stream_on_which_nobody_speaks_is_kept_alive() {
    let api = SpeechApi::start();
    api.say(said(&[(1, Said::Interim("add".to_owned())), (usize::MAX, Said::Final("Add.".to_owned()))]));
    let live = engine(&api).live(&request()).await.expect("a stream");
    live.send(&[0.1; 320]).expect("sent");
    let mut interim = live.interim();
    interim.wait_for(|text| text == "add").await.expect("the first word");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(9)).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    tokio::time::resume();
    live.finish().await.expect("a transcript");
    assert_eq!(api.requests()[0].messages, [r#"{"type":"KeepAlive"}"#, r#"{"type":"CloseStream"}"#]);
}

#[tokio::test]
async fn a_stream_with_a_wrong_key_is_refused_at_once() {
    let api = SpeechApi::start();
    api.refuse_streams(401);
    let error = engine(&api).live(&request()).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Auth);
    assert!(!format!("{error} {error:?}").contains(KEY), "{error:?}");
}

#[tokio::test]
async fn the_connection_is_opened_while_somebody_still_speaks() {
    let api = SpeechApi::start();
    let engine = engine(&api);
    engine.warm_up().await;
    engine.transcribe(&request()).await.expect("a transcript");
    assert_eq!((api.connections(), api.requests().len()), (1, 1));
    api.refuse_keys();
    assert_eq!(engine.ready().await.expect_err("a refusal").kind, ErrorKind::Auth);
}

#[test]
fn the_most_useful_terms_are_sent_and_no_more_than_are_taken() {
    let many: Vec<String> = (0..300).map(|number| format!("term{number}")).collect();
    assert_eq!(terms(&many).count(), 100);
    let long: Vec<String> = (0..300).map(|number| format!("a_very_long_identifier_number_{number}")).collect();
    let sent: Vec<&str> = terms(&long).collect();
    assert!(sent.iter().map(|term| term.len()).sum::<usize>() <= MAX_TERM_CHARACTERS && sent.len() > 40);
    assert_eq!(sent[0], long[0]);
    let blank = [" ".to_owned(), "useEffect ".to_owned()];
    assert_eq!(terms(&blank).collect::<Vec<_>>(), ["useEffect"]);
}
