use std::time::Duration;

use cadence_fakes::speech::{Reply, SENTENCE, SpeechApi};
use url::Url;

use super::super::test_support::{brisk, request, tls};
use super::{MAX_PROMPT, OpenAi, OpenAiSettings, endpoint, models, prompt};
use crate::audio::{Format, decode};
use crate::engine::{Engine, EngineError, ErrorKind, Request, Transcript};

const KEY: &str = "sk-a-key-that-nobody-may-see";

fn settings(api: &SpeechApi) -> OpenAiSettings {
    let url = Url::parse(&format!("{}/v1", api.url())).expect("a URL");
    OpenAiSettings { key: Some(KEY.into()), patience: brisk(), ..OpenAiSettings::new(url) }
}

fn engine(api: &SpeechApi) -> OpenAi {
    tls();
    OpenAi::new(settings(api)).expect("an engine")
}

fn status(status: u16, retry_after: Option<&str>, body: &str) -> Reply {
    Reply::Status { status, retry_after: retry_after.map(str::to_owned), body: body.to_owned() }
}

async fn asked(api: &SpeechApi) -> Result<Transcript, EngineError> {
    engine(api).transcribe(&request()).await
}

#[tokio::test]
async fn a_sentence_is_sent_as_flac_and_heard() {
    let api = SpeechApi::start();
    let asked = Request {
        language: Some("en".to_owned()),
        prompt: Some("saveUploadedFile, SaveUploadedFile".to_owned()),
        ..request()
    };
    let heard = engine(&api).transcribe(&asked).await.expect("a transcript");
    assert_eq!(heard.text, SENTENCE);
    assert_eq!(
        (heard.engine, heard.model.as_deref(), heard.language.as_deref()),
        ("openai", Some("whisper-1"), Some("en"))
    );
    assert_eq!((heard.segments.len(), heard.segments[0].end), (1, 2.5));

    let requests = api.requests();
    assert_eq!((requests.len(), requests[0].path.as_str()), (1, "/v1/audio/transcriptions"));
    assert_eq!(requests[0].scheme.as_deref(), Some("Bearer"));
    let fields: Vec<_> = requests[0].fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        fields,
        [
            ("language", "en"),
            ("model", "whisper-1"),
            ("prompt", "saveUploadedFile, SaveUploadedFile"),
            ("response_format", "verbose_json"),
            ("temperature", "0"),
        ]
    );
    let file = requests[0].file.as_ref().expect("a file");
    assert_eq!((file.name.as_deref(), file.content_type.as_deref()), (Some("speech.flac"), Some("audio/flac")));
    assert_eq!(Format::sniff(&file.bytes), Some(Format::Flac));
    assert_eq!(decode(&file.bytes).expect("FLAC").samples.len(), asked.clip.samples.len());
}

#[tokio::test]
async fn an_endpoint_that_takes_wav_and_gives_plain_text_only_is_asked_so_from_then_on() {
    let api = SpeechApi::start();
    api.refuse_flac();
    api.refuse_segments();
    let engine = engine(&api);
    for _ in 0..2 {
        assert_eq!(engine.transcribe(&request()).await.expect("a transcript").text, SENTENCE);
    }
    let manners: Vec<_> = api
        .requests()
        .iter()
        .map(|request| {
            let file = request.file.as_ref().and_then(|file| Format::sniff(&file.bytes));
            (file.map(Format::as_str).unwrap_or_default(), request.fields["response_format"].clone())
        })
        .collect();
    let manners: Vec<_> = manners.iter().map(|(file, answer)| (*file, answer.as_str())).collect();
    assert_eq!(manners, [("flac", "verbose_json"), ("flac", "json"), ("wav", "json"), ("wav", "json")]);
}

#[tokio::test]
async fn an_error_with_the_status_of_success_is_a_refusal_of_the_file() {
    let api = SpeechApi::start();
    api.reply(Reply::Body(r#"{"error":"failed to read WAV file"}"#.to_owned()));
    assert_eq!(asked(&api).await.expect("a transcript").text, SENTENCE);
    let second = api.requests()[1].file.clone().expect("a file");
    assert_eq!(Format::sniff(&second.bytes), Some(Format::Wav));
}

#[tokio::test]
async fn a_request_that_is_wrong_in_any_manner_is_refused_in_the_endpoints_words() {
    let api = SpeechApi::start();
    for _ in 0..3 {
        api.reply(status(400, None, r#"{"error":{"message":"Language 'xx' is not supported."}}"#));
    }
    let error = asked(&api).await.expect_err("a refusal");
    assert_eq!(error.kind, ErrorKind::Refused);
    assert_eq!(error.to_string(), "openai refused the request: HTTP 400 Language 'xx' is not supported.");
    assert_eq!(api.requests().len(), 3);
}

#[tokio::test]
async fn failures_have_their_kind_and_never_show_the_key() {
    let repeats_key = format!(r#"{{"error":{{"message":"bad: {KEY}"}}}}"#);
    let table = [
        (status(401, None, &repeats_key), ErrorKind::Auth, 1),
        (status(403, None, &repeats_key), ErrorKind::Auth, 1),
        (status(404, None, &repeats_key), ErrorKind::Refused, 1),
        (status(302, None, ""), ErrorKind::Refused, 1),
        (status(413, None, "<html>Request Entity Too Large</html>"), ErrorKind::TooLarge, 1),
        (
            status(429, Some("60"), &repeats_key),
            ErrorKind::RateLimited { retry_after: Some(Duration::from_secs(60)) },
            1,
        ),
        (Reply::Body("<html>Welcome</html>".to_owned()), ErrorKind::Garbage, 1),
        (Reply::Body("{}".to_owned()), ErrorKind::Garbage, 1),
        (Reply::Body(String::new()), ErrorKind::Garbage, 1),
        (Reply::Text("  ".to_owned()), ErrorKind::Silence, 1),
    ];
    for (reply, kind, requests) in table {
        let api = SpeechApi::start();
        let told = format!("{reply:?}");
        api.reply(reply);
        let error = asked(&api).await.expect_err("a failure");
        assert_eq!(error.kind, kind, "{told}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(KEY) && !error.hint().is_empty(), "{shown}");
        assert_eq!(api.requests().len(), requests, "{told}");
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_once_more() {
    for trouble in
        [status(500, None, ""), status(503, None, ""), status(429, None, ""), status(429, Some("0"), ""), Reply::Cut]
    {
        let api = SpeechApi::start();
        let told = format!("{trouble:?}");
        api.reply(trouble);
        assert_eq!(asked(&api).await.expect(&told).text, SENTENCE);
        assert_eq!(api.requests().len(), 2, "{told}");
    }
}

#[tokio::test]
async fn what_does_not_pass_is_not_tried_a_third_time() {
    let table = [
        (status(500, None, r#"{"error":{"message":"overloaded"}}"#), ErrorKind::Unavailable),
        (status(429, Some("0"), ""), ErrorKind::RateLimited { retry_after: Some(Duration::ZERO) }),
        (Reply::Cut, ErrorKind::Unavailable),
    ];
    for (trouble, kind) in table {
        let api = SpeechApi::start();
        for _ in 0..3 {
            api.reply(trouble.clone());
        }
        assert_eq!(asked(&api).await.expect_err("a failure").kind, kind);
        assert_eq!(api.requests().len(), 2);
    }
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_is_given_up_in_time() {
    tls();
    let api = SpeechApi::start();
    api.reply(Reply::Hang);
    let mut settings = settings(&api);
    settings.patience.limit = Duration::from_millis(200);
    let error = OpenAi::new(settings).expect("an engine").transcribe(&request()).await.expect_err("no answer");
    assert_eq!(error.kind, ErrorKind::Timeout);
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_said_without_its_address() {
    tls();
    let gone = SpeechApi::start();
    let mut settings = settings(&gone);
    drop(gone);
    settings.url.set_username("user").expect("a user");
    settings.url.set_password(Some("secret-word")).expect("a password");
    let engine = OpenAi::new(settings).expect("an engine");
    engine.warm_up().await;
    let error = engine.transcribe(&request()).await.expect_err("nobody there");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(!format!("{error} {error:?}").contains("secret-word"), "{error:?}");
}

#[tokio::test]
async fn the_connection_is_opened_while_somebody_still_speaks() {
    let api = SpeechApi::start();
    let engine = engine(&api);
    engine.warm_up().await;
    engine.warm_up().await;
    assert_eq!((api.connections(), api.requests().len()), (1, 0));
    engine.transcribe(&request()).await.expect("a transcript");
    assert_eq!((api.connections(), api.requests().len()), (1, 1));
}

#[tokio::test]
async fn it_says_beforehand_that_its_key_is_refused_or_nobody_is_there() {
    let api = SpeechApi::start();
    let engine = engine(&api);
    assert_eq!(engine.ready().await, Ok(()));
    api.refuse_keys();
    let error = engine.ready().await.expect_err("a refusal");
    assert_eq!(error.kind, ErrorKind::Auth);
    assert!(!format!("{error} {error:?}").contains(KEY), "{error:?}");
    drop(api);
    assert_eq!(engine.ready().await.expect_err("nobody").kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn whisper_cpps_server_is_asked_at_its_own_address() {
    tls();
    let api = SpeechApi::start();
    let url = Url::parse(&format!("{}/inference", api.url())).expect("a URL");
    let engine = OpenAi::new(OpenAiSettings { patience: brisk(), ..OpenAiSettings::new(url) }).expect("an engine");
    engine.warm_up().await;
    assert_eq!(engine.transcribe(&request()).await.expect("a transcript").text, SENTENCE);
    assert_eq!((api.requests()[0].path.as_str(), api.requests()[0].scheme.as_deref()), ("/inference", None));
}

#[test]
fn addresses_are_completed() {
    let table = [
        (
            "https://api.openai.com/v1",
            "https://api.openai.com/v1/audio/transcriptions",
            "https://api.openai.com/v1/models",
        ),
        (
            "https://api.groq.com/openai/v1/",
            "https://api.groq.com/openai/v1/audio/transcriptions",
            "https://api.groq.com/openai/v1/models",
        ),
        ("http://gpu:8080/inference", "http://gpu:8080/inference", "http://gpu:8080/"),
        ("http://gpu/x/audio/transcriptions?v=1", "http://gpu/x/audio/transcriptions?v=1", "http://gpu/x/models"),
    ];
    for (base, expected, list) in table {
        let endpoint = endpoint(&Url::parse(base).expect("a URL"));
        assert_eq!((endpoint.as_str(), models(&endpoint).as_str()), (expected, list));
    }
}

#[test]
fn a_long_prompt_keeps_its_end_from_a_whole_word_on() {
    let asked = |prompt: Option<String>, keyterms: Vec<String>| Request { prompt, keyterms, ..Request::default() };
    let long = "ünïcode words ".repeat(200);
    let kept = prompt(&asked(Some(long.clone()), vec![])).expect("a prompt");
    assert!(kept.chars().count() <= MAX_PROMPT && long.ends_with(&kept), "{kept}");
    assert!(kept.starts_with("words") || kept.starts_with("ünïcode"), "{kept}");
    assert_eq!(prompt(&asked(Some("short".into()), vec!["x".into()])).as_deref(), Some("short"));
    assert_eq!(
        prompt(&asked(Some(" ".into()), vec!["useEffect".into(), "axum".into()])).as_deref(),
        Some("useEffect, axum")
    );
    assert_eq!(prompt(&asked(None, vec![])), None);
}
