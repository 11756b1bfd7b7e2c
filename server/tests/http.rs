//! The API as its clients see it: a real server on a real socket. No task is run here: none names a repository that is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use cadence_protocol::{ApiError, ClientFrame, Event, Received, ServerFrame, Task, TaskList, TaskStatus};
use cadence_server::{Exit, Face, Retention, ServeConfig, ServeError, serve};
use futures_util::{SinkExt, StreamExt};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

const TOKEN: &str = "test-token";

struct World {
    address: SocketAddr,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<Result<Exit, ServeError>>,
    home: tempfile::TempDir,
}

fn config(data_dir: PathBuf) -> ServeConfig {
    ServeConfig {
        data_dir,
        token: Some(TOKEN.to_owned().into()),
        program: "/nonexistent/cadence".into(),
        workers: 1,
        labels: Vec::new(),
        warm_workspaces: 0,
        repositories: cadence_agent::workspace::RepositorySettings::default(),
        idle_exit: None,
        lease_secs: 30,
        default_agent: "demo".into(),
        agents: Default::default(),
        month_usd: None,
        retention: Retention::default(),
        policy: cadence_agent::sandbox::Policy::default(),
        bundle_limit: cadence_server::BUNDLE_LIMIT,
        voice: cadence_speech::Settings::default(),
        voice_reload: None,
        voice_environment: std::collections::BTreeMap::new(),
        face: Face::Api,
        environment: std::collections::BTreeMap::new(),
        bridge: None,
    }
}

impl World {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let home = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        let server = tokio::spawn(serve(listener, config(home.path().join("data")), shutdown));
        let client = Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
        Self { address, client, stop: Some(stop), server, home }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(self.url(path)).bearer_auth(TOKEN).send().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        self.client.post(self.url(path)).bearer_auth(TOKEN).json(&body).send().await.unwrap()
    }

    async fn task(&self, description: &str) -> Task {
        let answer = self.post("/api/tasks", request(description)).await;
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.json().await.unwrap()
    }

    /// A task that has ended: nobody serves its repository.
    async fn ended(&self, description: &str) -> Task {
        let task = self.task(description).await;
        let mut stream = self.stream(&task.id.to_string(), 0).await;
        loop {
            if let Received::Event(event) = next(&mut stream).await
                && event.kind == "status_changed"
            {
                let task: Task = self.get(&format!("/api/tasks/{}", task.id)).await.json().await.unwrap();
                if task.status.is_end() {
                    return task;
                }
            }
        }
    }

    async fn connect(&self, token: Option<&str>) -> tungstenite::Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
        let mut request = format!("ws://{}/api/ws/stream", self.address).into_client_request().unwrap();
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Ok(tokio_tungstenite::connect_async(request).await?.0)
    }

    async fn stream(&self, task_id: &str, after: u64) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
        let mut stream = self.connect(Some(TOKEN)).await.unwrap();
        say(&mut stream, &ClientFrame::Subscribe { task_id: task_id.into(), after: Some(after) }).await;
        assert!(matches!(next(&mut stream).await, Received::Frame(ServerFrame::Connected { .. })));
        assert!(matches!(next(&mut stream).await, Received::Frame(ServerFrame::Subscribed { .. })));
        stream
    }
}

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn say(stream: &mut Stream, frame: &ClientFrame) {
    stream.send(Message::text(serde_json::to_string(frame).unwrap())).await.unwrap();
}

async fn next(stream: &mut Stream) -> Received {
    let limit = Duration::from_secs(20);
    loop {
        match tokio::time::timeout(limit, stream.next()).await.expect("a frame in time").unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn request(description: &str) -> Value {
    // Port 9 (discard) is not served: the clone fails at once.
    json!({ "taskDescription": description, "repoUrl": "http://127.0.0.1:9/nobody/app.git" })
}

async fn error(answer: Response) -> (StatusCode, ApiError) {
    let status = answer.status();
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let error: ApiError = answer.json().await.unwrap();
    assert_eq!(error.request_id, id, "the error names the request");
    (status, error)
}

#[tokio::test]
async fn every_error_has_one_shape() {
    let world = World::new().await;
    let client = &world.client;
    let nobody = client.get(world.url("/api/tasks")).send().await.unwrap();
    assert_eq!(nobody.headers()["www-authenticate"], "Bearer");
    assert_eq!(error(nobody).await.1.code, "unauthorized");
    let wrong = client.get(world.url("/api/tasks")).bearer_auth("wrong").send().await.unwrap();
    assert_eq!(error(wrong).await.0, StatusCode::UNAUTHORIZED);

    let cases = [
        (world.get("/api/nothing").await, 404, "not_found"),
        (world.get("/api/tasks/no-id").await, 404, "not_found"),
        (world.get("/api/tasks/00000000-0000-4000-8000-000000000000").await, 404, "not_found"),
        (world.get("/api/tasks?limit=0").await, 422, "invalid_request"),
        (world.get("/api/tasks?limit=x").await, 400, "bad_request"),
        (world.get("/api/tasks?status=odd").await, 422, "invalid_request"),
        (world.get("/api/tasks?cursor=odd").await, 422, "invalid_request"),
        (world.get("/api/tasks?colour=red").await, 400, "bad_request"),
        (world.post("/api/tasks", json!({})).await, 422, "invalid_request"),
        (world.post("/api/tasks", json!({ "task": "x" })).await, 422, "invalid_request"),
        (world.post("/api/tasks", json!({ "task": " ", "repoUrl": "https://h/x.git" })).await, 422, "invalid_request"),
        (world.post("/api/tasks", json!({ "task": "x", "repoUrl": "ext::sh -c x" })).await, 422, "invalid_request"),
        (world.post("/api/tasks", json!({ "task": "x", "repoUrl": "--upload-pack=x" })).await, 422, "invalid_request"),
        (
            world.post("/api/tasks", json!({ "task": "x", "repoUrl": "https://t0ken@h/x.git" })).await,
            422,
            "invalid_request",
        ),
        (world.post("/api/tasks", json!({ "task": "x", "repoPath": "/nonexistent" })).await, 422, "invalid_request"),
        (world.post("/api/tasks", json!({ "task": "x", "colour": "red" })).await, 422, "invalid_request"),
        (world.post("/api/tasks", json!([1])).await, 422, "invalid_request"),
    ];
    for (n, (answer, status, code)) in cases.into_iter().enumerate() {
        let (found, error) = error(answer).await;
        assert_eq!((found.as_u16(), error.code.as_str()), (status, code), "case {n}: {error:?}");
        assert!(!error.error.is_empty());
    }
    let post = |body: &'static str, kind: &str| {
        let request = client.post(world.url("/api/tasks")).bearer_auth(TOKEN).header("content-type", kind);
        request.body(body).send()
    };
    assert_eq!(error(post("{", "application/json").await.unwrap()).await.0, StatusCode::BAD_REQUEST);
    let text = error(post("{}", "text/plain").await.unwrap()).await;
    assert_eq!(text.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let put = client.request(Method::PUT, world.url("/api/tasks")).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(error(put).await.1.code, "method_not_allowed");
    let large = json!({ "task": "x".repeat(2_000_000), "repoUrl": "https://h/x.git" });
    assert_eq!(error(world.post("/api/tasks", large).await).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let long = json!({ "task": "x".repeat(200_000), "repoUrl": "https://h/x.git" });
    assert_eq!(error(world.post("/api/tasks", long).await).await.1.details[0].path, "taskDescription");
}

#[tokio::test]
async fn health_needs_no_token_and_says_little() {
    let world = World::new().await;
    for path in ["/healthz", "/readyz", "/api/health"] {
        let answer = world.client.get(world.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    let health: Value = world.get("/api/health").await.json().await.unwrap();
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    let me: Value = world.get("/api/me").await.json().await.unwrap();
    assert_eq!(me["scopes"], json!(["*"]));
}

#[tokio::test]
async fn the_served_document_describes_every_path() {
    let world = World::new().await;
    let document: Value = world.client.get(world.url("/api/openapi.json")).send().await.unwrap().json().await.unwrap();
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
    insta::assert_json_snapshot!(paths);
    assert_eq!(
        document["components"]["schemas"]["Task"]["properties"]["status"]["$ref"],
        "#/components/schemas/TaskStatus"
    );
}

#[tokio::test]
async fn an_idempotency_key_makes_one_task() {
    let world = World::new().await;
    let send = |body: Value| {
        let request = world.client.post(world.url("/api/tasks")).bearer_auth(TOKEN).header("idempotency-key", "k1");
        request.json(&body).send()
    };
    let first: Task = send(request("one")).await.unwrap().json().await.unwrap();
    let (a, b) = tokio::join!(send(request("one")), send(request("one")));
    for again in [a.unwrap(), b.unwrap()] {
        assert_eq!(again.status(), StatusCode::CREATED);
        assert_eq!(again.json::<Task>().await.unwrap().id, first.id);
    }
    assert_eq!(error(send(request("two")).await.unwrap()).await.0, StatusCode::CONFLICT);
    let list: TaskList = world.get("/api/tasks").await.json().await.unwrap();
    assert_eq!(list.tasks.len(), 1);
}

#[tokio::test]
async fn pages_show_every_task_once() {
    let world = World::new().await;
    for n in 0..7 {
        world.task(&format!("task {n}")).await;
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page: TaskList = world.get(&format!("/api/tasks?limit=3{cursor}")).await.json().await.unwrap();
        seen.extend(page.tasks.into_iter().map(|task| task.task_description));
        let Some(next) = page.next_cursor else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(seen, (0..7).rev().map(|n| format!("task {n}")).collect::<Vec<_>>());
    let found: TaskList = world.get("/api/tasks?q=task%203").await.json().await.unwrap();
    assert_eq!(found.tasks.len(), 1);
}

#[tokio::test]
async fn a_task_without_a_repository_fails_with_the_reason_and_can_be_put_away() {
    let world = World::new().await;
    let task = world.ended("x").await;
    assert_eq!(task.status, TaskStatus::Failed);
    assert!(task.error.as_deref().is_some_and(|text| text.contains("127.0.0.1")), "{:?}", task.error);
    let path = format!("/api/tasks/{}", task.id);
    let refused = error(world.post(&format!("{path}/pause"), json!({})).await).await;
    assert_eq!((refused.0, refused.1.error.as_str()), (StatusCode::CONFLICT, "a task that is failed cannot be paused"));
    let archived: Task = world.post(&format!("{path}/archive"), json!({})).await.json().await.unwrap();
    assert!(archived.archived_at.is_some());
    let listed: TaskList = world.get("/api/tasks").await.json().await.unwrap();
    assert!(listed.tasks.is_empty());
    assert_eq!(world.post(&format!("{path}/unarchive"), json!({})).await.status(), StatusCode::OK);
    assert_eq!(world.post(&format!("{path}/remove"), json!({})).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(world.get(&path).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn commands_go_through_one_entry_too() {
    let world = World::new().await;
    let made: Value = world
        .post(
            "/api/input/command",
            json!({ "action": "create_task", "taskDescription": "x", "repoUrl": "https://127.0.0.1:9/x.git" }),
        )
        .await
        .json()
        .await
        .unwrap();
    let id = made["task"]["id"].as_str().unwrap().to_owned();
    let command = async |action: &str| {
        let answer = world.post("/api/input/command", json!({ "action": action, "taskId": id })).await;
        answer.json::<Value>().await.unwrap()
    };
    assert_eq!(command("get_status").await["task"]["id"], id.as_str());
    assert_eq!(command("list_tasks").await["tasks"].as_array().unwrap().len(), 1);
    assert_eq!(command("send_message").await["details"][0]["path"], "message");
    assert_eq!(command("dance").await["code"], "invalid_request");
}

#[tokio::test]
async fn a_follower_sees_every_event_once_and_in_order() {
    let world = World::new().await;
    let task = world.ended("x").await;
    let id = task.id.to_string();
    let stored: Value = world.get(&format!("/api/tasks/{id}/events")).await.json().await.unwrap();
    let last = stored["lastSeq"].as_u64().unwrap();
    let mut whole = world.stream(&id, 0).await;
    let mut rest = world.stream(&id, 2).await;
    for seq in 1..=last {
        let Received::Event(event) = next(&mut whole).await else { panic!("an event") };
        assert_eq!(event.seq, seq);
    }
    for seq in 3..=last {
        let Received::Event(event) = next(&mut rest).await else { panic!("an event") };
        assert_eq!(event.seq, seq);
    }
    // What comes next is live, and reaches both.
    world.post(&format!("/api/tasks/{id}/messages"), json!({ "text": "again" })).await;
    for stream in [&mut whole, &mut rest] {
        let Received::Event(event) = next(stream).await else { panic!("an event") };
        assert_eq!((event.seq, event.kind.as_str(), event.attempt), (last + 1, "message", 2));
    }
}

#[tokio::test]
async fn a_connection_survives_what_it_does_not_understand() {
    let world = World::new().await;
    let mut stream = world.connect(Some(TOKEN)).await.unwrap();
    assert!(matches!(next(&mut stream).await, Received::Frame(ServerFrame::Connected { .. })));
    for text in ["", "null", "{}", "{\"type\":\"dance\"}", "{\"type\":\"subscribe\",\"taskId\":\"no-id\"}"] {
        stream.send(Message::text(text)).await.unwrap();
        assert!(matches!(next(&mut stream).await, Received::Frame(ServerFrame::Error { .. })), "{text:?}");
    }
    say(&mut stream, &ClientFrame::Ping).await;
    assert!(matches!(next(&mut stream).await, Received::Frame(ServerFrame::Pong)));
    say(&mut stream, &ClientFrame::Subscribe { task_id: "*".into(), after: None }).await;
    assert!(matches!(next(&mut stream).await, Received::Frame(ServerFrame::Subscribed { .. })));
    let task = world.task("seen by others").await;
    let Received::Frame(ServerFrame::Task { task: seen }) = next(&mut stream).await else { panic!("a snapshot") };
    assert_eq!(seen.id, task.id);
    say(&mut stream, &ClientFrame::Unsubscribe { task_id: "*".into() }).await;
    while !matches!(next(&mut stream).await, Received::Frame(ServerFrame::Unsubscribed { .. })) {}
    let health: Value = world.get("/api/ws/health").await.json().await.unwrap();
    assert_eq!(health["connections"], 1);
}

#[tokio::test]
async fn a_token_is_taken_as_a_header_or_in_the_first_frame() {
    let world = World::new().await;
    let refused = world.connect(Some("wrong")).await;
    assert!(matches!(&refused, Err(tungstenite::Error::Http(answer)) if answer.status() == 401), "{refused:?}");
    let mut browser = world.connect(None).await.unwrap();
    say(&mut browser, &ClientFrame::Authenticate { token: TOKEN.into() }).await;
    assert!(matches!(next(&mut browser).await, Received::Frame(ServerFrame::Connected { .. })));
    let mut stranger = world.connect(None).await.unwrap();
    say(&mut stranger, &ClientFrame::Authenticate { token: "wrong".into() }).await;
    assert!(
        matches!(next(&mut stranger).await, Received::Frame(ServerFrame::Error { code, .. }) if code == "unauthorized")
    );
}

#[tokio::test]
async fn an_event_stream_goes_on_after_the_last_id() {
    let world = World::new().await;
    let task = world.ended("x").await;
    let request = world.client.get(world.url(&format!("/api/tasks/{}/events", task.id)));
    let answer = request
        .bearer_auth(TOKEN)
        .header("accept", "text/event-stream")
        .header("last-event-id", "1")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    let mut body = answer.bytes_stream();
    while !text.contains(&format!("id: {}\n", task.last_seq)) {
        text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
    }
    let events: Vec<Event> =
        text.lines().filter_map(|l| l.strip_prefix("data: ")).map(|json| serde_json::from_str(json).unwrap()).collect();
    assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), (2..=task.last_seq).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_data_directory_has_one_server() {
    let mut world = World::new().await;
    world.get("/api/health").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = serve(listener, config(world.home.path().join("data")), std::future::pending()).await;
    assert!(matches!(second, Err(ServeError::InUse { .. })), "{second:?}");
    let _ = world.stop.take().unwrap().send(());
    assert_eq!((&mut world.server).await.unwrap().unwrap(), Exit::Shutdown);
}

#[tokio::test]
async fn a_server_that_nobody_needs_ends_by_itself() {
    let home = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = ServeConfig { idle_exit: Some(Duration::from_millis(50)), ..config(home.path().join("data")) };
    assert_eq!(serve(listener, config, std::future::pending()).await.unwrap(), Exit::Idle);
}
