//! How long speaking takes: from the last sound to the request at a speech endpoint, and from a recording to what it wants.

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cadence_fakes::messages::{MessagesApi, Scenario};
use cadence_fakes::speech::{Reply, SpeechApi};
use cadence_protocol::{SpokenCommand, Task};
use cadence_speech::audio::{self, Clip, RATE};
use cadence_speech::intent::{self, Context};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use crate::place;
use crate::result::{Results, millis, percentile};
use crate::server::{Server, TOKEN};

/// Seconds that somebody speaks, and samples that a microphone brings at once: 50 ms.
const SPOKEN: usize = 10;
const BLOCK: usize = RATE as usize / 20;
const RECORDINGS: usize = 20;
const TURNS: usize = 10;
/// What is done for the first time is left out.
const FIRST: usize = 2;
/// How long an engine and a model take.
const ENGINE: Duration = Duration::from_millis(300);
const MODEL: Duration = Duration::from_millis(200);
/// Of this the grammar is not sure, so a model is asked.
const UNSURE: &str = "whatever the invoices one was up to";
const CONTROL: [&str; 8] = [
    "pause the auth one",
    "how is it going",
    "tell billing to add tests",
    "stop task two",
    "could you please resume the last one",
    "list my agents",
    "approve it",
    "um hey cadence what is the search thing doing right now",
];

/// Most tasks that the server reads a sentence with.
const TASKS: usize = 100;
/// What the tasks are about that nobody speaks of.
const WORK: [&str; 10] = [
    "Write tests for",
    "Refactor",
    "Add retries with backoff to",
    "Find out why customers complain about",
    "Document",
    "Move to the shared component library:",
    "Harden",
    "Remove what is deprecated from",
    "Measure the latency of",
    "Translate the error messages of",
];
const THINGS: [&str; 10] = [
    "webhook signatures",
    "OAuth callback handler",
    "Postgres connection pool",
    "email templates",
    "useEffect cleanup in the dashboard",
    "feature flags",
    "release pipeline",
    "websocket reconnects",
    "onboarding wizard on small screens",
    "crash reporter",
];

pub async fn measure(results: &mut Results) {
    let directory = place::directory();
    let (home, data) = (directory.path(), directory.path().join("data"));
    std::fs::create_dir(&data).unwrap();
    let server = Server::start(home, &data);
    let speech = speech();
    recordings(results, &server, &speech, home).await;
    turns(results, &server, &speech, home).await;
    grammar(results);
}

/// Ten seconds in which somebody speaks.
fn speech() -> Clip {
    let sentence = audio::decode(include_bytes!("../../fixtures/audio/speech.wav")).unwrap().samples;
    Clip { samples: sentence.into_iter().cycle().take(SPOKEN * RATE as usize).collect() }
}

/// What the server is told of where to ask, and of the repository that is spoken of.
fn context(home: &Path, engine: &SpeechApi, model: Option<&MessagesApi>) -> Value {
    let mut environment = json!({"OPENAI_BASE_URL": format!("{}/v1", engine.url()), "OPENAI_API_KEY": "sk-bench"});
    if let Some(model) = model {
        environment["ANTHROPIC_BASE_URL"] = model.url().into();
        environment["ANTHROPIC_API_KEY"] = "sk-bench".into();
    }
    json!({"language": "en", "repoPath": place::repository(home), "environment": environment})
}

/// From the moment at which the last samples are there to the one at which the whole request is at the endpoint: they go to the
/// server, the silence around what was said is cut off, the rest is compressed and sent.
async fn recordings(results: &mut Results, server: &Server, speech: &Clip, home: &Path) {
    let api = SpeechApi::start();
    let mut start = context(home, &api, None);
    start["type"] = "start".into();
    let mut times = Vec::new();
    for number in 0..FIRST + RECORDINGS {
        let mut stream = stream(server).await;
        stream.send(Message::text(start.to_string())).await.unwrap();
        assert_eq!(answer(&mut stream).await["type"], "ready");
        let blocks: Vec<Message> = speech.samples.chunks(BLOCK).map(block).collect();
        let (last, before) = blocks.split_last().unwrap();
        for block in before {
            stream.send(block.clone()).await.unwrap();
        }
        // People speak slower, so the server has long taken in what came before the last samples.
        sleep(Duration::from_millis(300)).await;
        let ended = Instant::now();
        stream.send(last.clone()).await.unwrap();
        stream.send(Message::text(json!({"type": "end"}).to_string())).await.unwrap();
        let heard = answer(&mut stream).await;
        assert_eq!(heard["type"], "final", "{heard}");
        let requests = api.requests();
        let request = requests.last().unwrap();
        assert!(request.file.as_ref().unwrap().bytes.starts_with(b"fLaC"));
        if number >= FIRST {
            times.push(request.arrived.unwrap().duration_since(ended));
        }
    }
    let beside = format!("{SPOKEN} s of speech, {RECORDINGS} times, the whole request at the endpoint");
    results.at_most("end of speech to request, median", millis(percentile(&mut times, 50)), 30.0, "ms", &beside);
    results.at_most("end of speech to request, p95", millis(percentile(&mut times, 95)), 30.0, "ms", &beside);
}

/// The whole turn: a recording is posted, an engine hears it, a model is asked what it wants.
async fn turns(results: &mut Results, server: &Server, speech: &Clip, home: &Path) {
    let (engine, model) = (SpeechApi::start(), MessagesApi::start());
    engine.answer_after(ENGINE);
    model.answer_after(MODEL);
    let understood = json!({
        "intent": "create_agent", "tasks": [], "each": false, "taskDescription": UNSURE, "message": null,
        "branch": null, "model": null, "repository": null, "confidence": 0.9,
    });
    model.script("understood", Scenario::new().tool("report_command", understood));
    model.default_scenario("understood");
    let mut body = context(home, &engine, Some(&model));
    body["audio"] = STANDARD.encode(audio::flac(speech).unwrap()).into();
    let mut times = Vec::new();
    for _ in 0..FIRST + TURNS {
        engine.reply(Reply::Text(UNSURE.to_owned()));
        let began = Instant::now();
        let said = server.post("/api/voice/command", &body).await;
        times.push(began.elapsed());
        let said: SpokenCommand = serde_json::from_str(&said).unwrap();
        assert_eq!(said.transcription.raw_text, UNSURE);
    }
    assert_eq!(model.requests().len(), FIRST + TURNS, "the model was asked each time");
    let first = times[0];
    let mut times = times.split_off(FIRST);
    let taken = millis(ENGINE + MODEL);
    let beside =
        format!("of which the engine and the model take {taken:.0} ms; {:.0} ms the first time", millis(first));
    results.at_most("a spoken turn, median", millis(percentile(&mut times, 50)), 600.0, "ms", &beside);
}

/// What the grammar alone answers, with as many tasks as the server hands over: a few that are spoken of among others.
fn grammar(results: &mut Results) {
    let titles = ["Fix the auth flow", "Write billing invoices", "Speed up the search index", "Clean the importer"];
    let others = WORK.iter().flat_map(|work| THINGS.iter().map(move |thing| format!("{work} the {thing}")));
    let titles = titles.into_iter().map(str::to_owned).chain(others);
    let tasks: Vec<Task> = titles.take(TASKS).map(|title| task(&title)).collect();
    assert_eq!(tasks.len(), TASKS);
    let context = Context { tasks: &tasks, current: Some(tasks[0].id), repositories: &[] };
    let mut times = Vec::new();
    for said in CONTROL.iter().cycle().take(CONTROL.len() * 100) {
        let began = Instant::now();
        std::hint::black_box(intent::parse(said, said, &context));
        times.push(began.elapsed());
    }
    let beside = format!("{} phrases, {} tasks, no network", CONTROL.len(), tasks.len());
    results.at_most("time to read a control phrase, p99", millis(percentile(&mut times, 99)), 1.0, "ms", &beside);
}

fn task(title: &str) -> Task {
    serde_json::from_value(json!({
        "id": uuid::Uuid::new_v4(), "userId": uuid::Uuid::nil(), "taskDescription": title, "repoName": "shop",
        "branch": "b", "baseBranch": "main", "status": "running", "progress": 0, "model": "", "agent": "demo",
        "source": "CLI", "executor": "local", "permissionMode": "edits", "attempt": 1, "lastSeq": 1,
        "createdAt": "2026-01-01T10:00:00Z", "updatedAt": "2026-01-01T10:00:00Z"
    }))
    .unwrap()
}

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn stream(server: &Server) -> Stream {
    let url = format!("{}/api/voice/stream", server.url.replacen("http", "ws", 1));
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    // Without Nagle's algorithm, as the client does it.
    connect_async_with_config(request, None, true).await.unwrap().0
}

/// The next that the server says.
async fn answer(stream: &mut Stream) -> Value {
    loop {
        match stream.next().await.unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Close(close) => panic!("the server closed: {close:?}"),
            _ => {}
        }
    }
}

fn block(samples: &[f32]) -> Message {
    let pcm = |sample: &f32| ((sample * f32::from(i16::MAX)) as i16).to_le_bytes();
    Message::binary(samples.iter().flat_map(pcm).collect::<Vec<u8>>())
}
