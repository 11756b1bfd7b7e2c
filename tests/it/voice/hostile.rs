//! Frames and forms that are not as they should be: each is answered with what is wrong, and the server hears the next.

use cadence_fakes::speech::{SENTENCE, SpeechApi};
use reqwest::Method;
use serde_json::{Value, json};

use super::conversation::fixture;
use crate::support::{Server, Socket, TOKEN, TestEnv};

const STREAM: &str = "/api/voice/stream";

/// A server with an engine that hears.
fn server(env: &TestEnv, api: &SpeechApi) -> Server {
    Server::start_with(Server::command(env).env("OPENAI_BASE_URL", format!("{}/v1", api.url())))
}

fn stream(server: &Server) -> Socket {
    Socket::connect_to(server.url(), STREAM, Some(TOKEN)).unwrap()
}

/// A stream that was started and takes samples.
fn started(server: &Server) -> Socket {
    let mut socket = stream(server);
    socket.send(&json!({"type": "start"}));
    assert_eq!(socket.receive(), json!({"type": "ready", "engine": "openai"}));
    socket
}

/// The sentence of the fixtures as samples.
fn sentence() -> Vec<u8> {
    let mut reader = hound::WavReader::open(fixture("speech.wav")).unwrap();
    reader.samples::<i16>().flat_map(|sample| sample.unwrap().to_le_bytes()).collect()
}

/// Says the sentence as it should be said.
#[track_caller]
fn is_heard(server: &Server) {
    let mut socket = started(server);
    for block in sentence().chunks(3_200) {
        socket.send_binary(block.to_vec());
    }
    socket.send(&json!({"type": "end"}));
    assert_eq!(socket.receive()["transcription"]["rawText"], SENTENCE);
    socket.closed();
}

#[track_caller]
fn is_told(mut socket: Socket, code: &str, why: &str) {
    let frame = socket.receive();
    assert_eq!((&frame["type"], &frame["code"]), (&json!("error"), &json!(code)), "{frame}");
    assert!(frame["error"].as_str().unwrap().contains(why), "{why}: {frame}");
    socket.closed();
}

#[test]
fn wrong_frames_are_answered_and_the_server_hears_the_next() {
    let api = SpeechApi::start();
    let env = TestEnv::new();
    let server = server(&env, &api);
    let first = [
        ("this is no JSON", "not understood"),
        ("[]", "not understood"),
        (r#"{"type":"sing"}"#, "unknown variant"),
        (r#"{"type":"start","vocabulary":7}"#, "not understood"),
        (r#"{"type":"end"}"#, "the first frame is `start`"),
        (r#"{"type":"start","repoPath":"/nowhere/at/all"}"#, "nowhere"),
    ];
    for (text, why) in first {
        let mut socket = stream(&server);
        socket.send_text(text);
        is_told(socket, "bad_frame", why);
    }
    let mut early = stream(&server);
    early.send_binary(vec![0; 3_200]);
    is_told(early, "bad_frame", "the first frame is `start`");
    for (text, why) in
        [("{", "not understood"), (r#"{"type":"stop"}"#, "unknown variant"), (r#"{"type":"start"}"#, "started already")]
    {
        let mut socket = started(&server);
        socket.send_text(text);
        is_told(socket, "bad_frame", why);
    }
    let mut odd = started(&server);
    odd.send_binary(vec![0; 3_201]);
    is_told(odd, "bad_frame", "16 bits");
    assert!(Socket::connect_to(server.url(), STREAM, None).is_err(), "nobody without a token is heard");
    assert!(api.requests().is_empty(), "none of it was sent to an engine");
    is_heard(&server);
}

#[test]
fn too_much_is_refused_and_nothing_is_silence() {
    let api = SpeechApi::start();
    let env = TestEnv::new();
    let server = server(&env, &api);
    let mut large = started(&server);
    large.send_binary(vec![0; 1024 * 1024 + 2]);
    is_told(large, "bad_frame", "at most 1 MiB");
    let mut long = started(&server);
    // Ten minutes are 18.3 MiB.
    for _ in 0..19 {
        long.send_binary(vec![0; 1024 * 1024]);
    }
    is_told(long, "bad_frame", "longer than ten minutes");
    let mut silent = started(&server);
    silent.send_binary(vec![0; 64_000]);
    silent.send(&json!({"type": "end"}));
    is_told(silent, "silence", "nobody was heard");
    let mut nothing = started(&server);
    nothing.send(&json!({"type": "end"}));
    is_told(nothing, "silence", "nobody was heard");
    assert!(api.requests().is_empty(), "none of it was sent to an engine");
    is_heard(&server);
}

#[test]
fn who_leaves_in_the_middle_is_not_missed() {
    let api = SpeechApi::start();
    let env = TestEnv::new();
    let server = server(&env, &api);
    drop(stream(&server));
    for _ in 0..10 {
        let mut socket = started(&server);
        socket.send_binary(sentence());
        drop(socket);
    }
    let mut cancelled = started(&server);
    cancelled.send_binary(sentence());
    cancelled.send(&json!({"type": "cancel"}));
    cancelled.closed();
    assert!(api.requests().is_empty(), "what was broken off is sent to no engine");
    is_heard(&server);
}

#[test]
fn without_an_engine_it_is_said_what_to_do() {
    let env = TestEnv::new();
    let server = env.server();
    let mut socket = stream(&server);
    socket.send(&json!({"type": "start"}));
    let frame = socket.receive();
    assert_eq!((&frame["type"], &frame["code"]), (&json!("error"), &json!("no_engine")), "{frame}");
    assert!(frame["hint"].as_str().unwrap().contains("OPENAI_API_KEY"), "{frame}");
    // The same server hears whoever brings an engine along.
    let api = SpeechApi::start();
    let mut socket = stream(&server);
    socket.send(&json!({"type": "start", "environment": {"OPENAI_BASE_URL": format!("{}/v1", api.url())}}));
    assert_eq!(socket.receive()["type"], "ready");
}

/// A form written by hand.
struct Form(Vec<u8>);

impl Form {
    const KIND: &str = "multipart/form-data; boundary=line";

    fn part(mut self, headers: &str, body: &[u8]) -> Self {
        self.0.extend_from_slice(b"--line\r\nContent-Disposition: form-data; ");
        self.0.extend_from_slice(headers.as_bytes());
        self.0.extend_from_slice(b"\r\n\r\n");
        self.0.extend_from_slice(body);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(b"--line--\r\n");
        self.0
    }
}

fn form() -> Form {
    Form(Vec::new())
}

#[track_caller]
fn post(server: &Server, kind: &str, body: Vec<u8>) -> (u16, Value) {
    let request = server.http().request(Method::POST, "/api/voice/transcribe").header("content-type", kind).body(body);
    let answer = server.http().send(request);
    (answer.status, serde_json::from_str(&answer.text).unwrap_or_default())
}

#[test]
fn a_form_is_heard_as_curl_sends_it_and_refused_as_nobody_should() {
    let api = SpeechApi::start();
    let env = TestEnv::new();
    let server = server(&env, &api);
    let audio = std::fs::read(fixture("speech.flac")).unwrap();
    // curl -F file=@memo.bin -F language=en -F model=whisper-1 -F 'vocabulary=["saveUploadedFile"]'
    let file = "name=\"file\"; filename=\"memo.bin\"\r\nContent-Type: application/octet-stream";
    let whole = form().part(file, &audio).part("name=\"language\"", b"en").part("name=\"model\"", b"whisper-1");
    let whole = whole.part("name=\"vocabulary\"", br#"["saveUploadedFile"]"#).end();
    let (status, heard) = post(&server, Form::KIND, whole.clone());
    assert_eq!((status, &heard["text"]), (200, &json!("Add a retry to saveUploadedFile.")), "{heard}");
    let cut = whole[..whole.len() / 2].to_vec();
    let refused = [
        ("no boundary is named", "multipart/form-data", whole.clone(), 400),
        ("another boundary is named", "multipart/form-data; boundary=other", whole, 400),
        ("it ends in the middle of a part", Form::KIND, cut, 400),
        ("it never ends", Form::KIND, form().part(file, &audio).0, 400),
        ("a part has no header", Form::KIND, b"--line\r\n\r\nsomething\r\n--line--\r\n".to_vec(), 400),
        ("it has no recording", Form::KIND, form().part("name=\"language\"", b"en").end(), 422),
        ("it is empty", Form::KIND, form().end(), 422),
        ("the recording is empty", Form::KIND, form().part(file, b"").end(), 422),
        ("the recording is none", Form::KIND, form().part(file, &[7; 5_000]).end(), 415),
        ("the recording is cut", Form::KIND, form().part(file, &audio[..20]).end(), 415),
        ("a list is none", Form::KIND, form().part(file, &audio).part("name=\"vocabulary\"", b"oops").end(), 422),
        ("a language is none", Form::KIND, form().part(file, &audio).part("name=\"language\"", b"english").end(), 422),
        ("a text is none", Form::KIND, form().part(file, &audio).part("name=\"language\"", &[0xff, 0xfe]).end(), 422),
        ("a text has no end", Form::KIND, form().part("name=\"note\"", &vec![b'a'; 2 << 20]).end(), 422),
        ("it is larger than 25 MB", Form::KIND, form().part(file, &vec![0; (25 << 20) + 1]).end(), 413),
        ("it is no form", "text/plain", b"hello".to_vec(), 415),
    ];
    for (why, kind, body, expected) in refused {
        let (status, said) = post(&server, kind, body);
        assert_eq!(status, expected, "{why}: {said}");
        assert!(said["error"].as_str().is_some_and(|error| !error.is_empty()), "{why}: {said}");
    }
    assert_eq!(api.requests().len(), 1, "nothing of that was sent to an engine");
    is_heard(&server);
}
