#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use cadence_agent::workspace::Workspaces;
use cadence_protocol::{ApiError, Bundle, Task};
use reqwest::{Client, Method, Response};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bridge::Bridge;
use crate::events::Hub;
use crate::http::{Activity, App, Gate, Patience, router};
use crate::queue::Dispatcher;
use crate::results::{NewResult, Results};
use crate::store::{Principal, Store, micros, now, token_hash};
use crate::upkeep::Upkeep;
use crate::voice::Voice;

const ANN: &str = "token-of-ann";
const BEN: &str = "token-of-ben";
const DAEMON: &str = "token-of-a-daemon";

struct World {
    app: App,
    address: SocketAddr,
    client: Client,
    home: TempDir,
}

impl World {
    async fn new(bundle_limit: u64) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let store = Store::open(&data.join(crate::store::FILE), Arc::new(Hub::default())).await.unwrap();
        let user_id = store.ensure_user("ann", "admin").await.unwrap();
        let ann = Principal { user_id, name: "ann".into(), scopes: vec!["*".into()] };
        let ben = store.ensure_user("ben", "member").await.unwrap();
        add_token(&store, ben, BEN, "[\"*\"]").await;
        let machine = store.ensure_user("machine", "member").await.unwrap();
        add_token(&store, machine, DAEMON, "[\"daemon\"]").await;
        let dispatcher = Dispatcher::new(store.clone(), 30);
        let app = App {
            bridge: Bridge::new(store.clone(), dispatcher.clone(), CancellationToken::new()),
            dispatcher,
            store: store.clone(),
            gate: Arc::new(Gate::new(Some((ANN, ann)))),
            workspaces: Arc::new(Workspaces::new(&data)),
            activity: Arc::new(Activity::default()),
            voice: Arc::new(Voice::new(cadence_speech::Settings::default(), None, BTreeMap::new(), &data)),
            results: Results::new(&data),
            bundle_limit,
            default_agent: "demo".into(),
            retention: crate::Retention::default(),
            agents: vec!["demo"],
            patience: Patience::default(),
            closing: CancellationToken::new(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router(app.clone()).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(axum::serve(listener, service).into_future());
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(30)).build().unwrap();
        Self { app, address, client, home }
    }

    async fn call(&self, method: Method, path: &str, token: &str, body: impl Into<reqwest::Body>) -> Response {
        let url = format!("http://{}{path}", self.address);
        self.client.request(method, url).bearer_auth(token).body(body).send().await.unwrap()
    }

    async fn upload(&self, token: &str, bytes: Vec<u8>) -> Response {
        self.call(Method::POST, "/api/bundles", token, bytes).await
    }

    async fn refused(&self, bytes: Vec<u8>) -> (u16, String) {
        let answer = self.upload(ANN, bytes).await;
        let status = answer.status().as_u16();
        (status, answer.json::<ApiError>().await.unwrap().code)
    }

    async fn get(&self, path: &str, token: &str) -> Response {
        self.call(Method::GET, path, token, "").await
    }

    async fn create(&self, token: &str, body: serde_json::Value) -> Response {
        let url = format!("http://{}/api/tasks", self.address);
        self.client.post(url).bearer_auth(token).json(&body).send().await.unwrap()
    }

    /// Files that bundles left in the data directory.
    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.home.path().join("data/bundles")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// A repository of two commits.
    fn repository(&self, name: &str) -> Repo {
        let repo = Repo(self.home.path().join(name));
        std::fs::create_dir(&repo.0).unwrap();
        repo.git(&["init", "-q", "-b", "main"]);
        for text in ["one", "two"] {
            std::fs::write(repo.0.join("file"), text).unwrap();
            repo.git(&["add", "-A"]);
            repo.git(&["commit", "-q", "-m", text]);
        }
        repo
    }
}

async fn add_token(store: &Store, user: Uuid, token: &str, scopes: &str) {
    let insert = "INSERT INTO tokens (id, user_id, name, hash, scopes, created_at) VALUES (?, ?, 'a token', ?, ?, ?)";
    let options = SqliteConnectOptions::new().filename(store.path()).busy_timeout(Duration::from_secs(5));
    let mut connection = options.connect().await.unwrap();
    let query = sqlx::query(insert).bind(Uuid::new_v4()).bind(user).bind(token_hash(token)).bind(scopes);
    query.bind(micros(now())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

struct Repo(PathBuf);

impl Repo {
    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.org"])
            .args(arguments)
            .current_dir(&self.0)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", &self.0)
            .output()
            .expect("git is needed: sudo apt install git");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    fn bundle(&self, what: &[&str]) -> Vec<u8> {
        let file = self.0.with_extension("bundle");
        self.git(&[&["bundle", "create", "-q", file.to_str().unwrap()], what].concat());
        std::fs::read(file).unwrap()
    }
}

#[tokio::test]
async fn a_bundle_is_its_owners_and_machines_may_fetch_it() {
    let world = World::new(1 << 20).await;
    let repo = world.repository("repo");
    let bytes = repo.bundle(&["HEAD", "main"]);
    let answer = world.upload(ANN, bytes.clone()).await;
    assert_eq!(answer.status(), 201);
    let bundle: Bundle = answer.json().await.unwrap();
    assert_eq!((bundle.size, bundle.prerequisites.len()), (bytes.len() as u64, 0));
    assert_eq!(bundle.heads.iter().map(|head| head.name.as_str()).collect::<Vec<_>>(), ["HEAD", "refs/heads/main"]);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&world.files()[0]).unwrap().permissions().mode();
    assert_eq!((world.files().len(), mode & 0o777), (1, 0o600));

    let path = format!("/api/bundles/{}", bundle.id);
    for token in [ANN, DAEMON] {
        let answer = world.get(&path, token).await;
        assert_eq!(answer.headers()["content-type"], "application/x-git-bundle");
        assert_eq!(answer.bytes().await.unwrap(), bytes);
    }
    assert_eq!(world.get(&path, BEN).await.status(), 404);
    let task = |more: serde_json::Value| {
        let mut body = json!({ "task": "Do it", "agent": "demo", "bundleId": bundle.id });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    assert_eq!(world.create(BEN, task(json!({}))).await.status(), 422);
    assert_eq!(world.create(ANN, task(json!({ "commit": "0".repeat(40) }))).await.status(), 422);
    assert_eq!(world.create(ANN, task(json!({ "repoPath": "/tmp" }))).await.status(), 422);
    let answer = world.create(ANN, task(json!({ "repoName": "shop", "branch": "main" }))).await;
    assert_eq!(answer.status(), 201);
    let made: Task = answer.json().await.unwrap();
    assert_eq!((made.repo_name.as_str(), made.base_commit), ("shop", Some(repo.git(&["rev-parse", "HEAD"]))));
    let claim = world.app.store.claim(Uuid::new_v4(), 60).await.unwrap().unwrap();
    let source = claim.spec.bundle.unwrap();
    assert_eq!(source.id, bundle.id);
    assert!(source.repository.ends_with(&repo.git(&["rev-list", "--max-parents=0", "HEAD"])));
}

#[tokio::test]
async fn a_bundle_on_top_of_others_needs_the_url_of_those() {
    let world = World::new(1 << 20).await;
    let repo = world.repository("repo");
    let bundle: Bundle = world.upload(ANN, repo.bundle(&["main", "--not", "main^"])).await.json().await.unwrap();
    assert_eq!(bundle.prerequisites, [repo.git(&["rev-parse", "main^"])]);
    let body = json!({ "task": "Do it", "agent": "demo", "bundleId": bundle.id });
    assert_eq!(world.create(ANN, body.clone()).await.status(), 422);
    let mut body = body;
    body["repoUrl"] = "https://example.test/shop.git".into();
    assert_eq!(world.create(ANN, body).await.status(), 201);
}

#[tokio::test]
async fn hostile_bundles_are_refused_and_leave_nothing() {
    let world = World::new(1 << 20).await;
    let repo = world.repository("repo");
    let whole = repo.bundle(&["main"]);
    let bad = |status| (status, "bad_bundle".to_owned());
    assert_eq!(world.refused(Vec::new()).await, bad(400));
    assert_eq!(world.refused(b"PK\x03\x04 a zip".to_vec()).await, bad(400));
    assert_eq!(world.refused(whole[..20].to_vec()).await, bad(400));
    assert_eq!(world.refused(whole[..whole.len() - 10].to_vec()).await, bad(422));
    let mut flipped = whole.clone();
    let at = flipped.len() - 30;
    flipped[at] ^= 1;
    assert_eq!(world.refused(flipped).await, bad(422));
    let endless = format!("# v2 git bundle\n-{} ", "0".repeat(40)).into_bytes();
    assert_eq!(world.refused([endless, vec![b'x'; (1 << 20) - 100]].concat()).await, bad(400));
    repo.git(&["update-ref", "refs/hidden/x", "main"]);
    assert_eq!(world.refused(repo.bundle(&["refs/hidden/x"])).await, bad(422));
    assert_eq!(world.refused(vec![b'#'; (1 << 20) + 1]).await, (413, "too_large".into()));
    let open = reqwest::Body::wrap_stream(futures_util::stream::iter(
        std::iter::once(whole.clone()).chain((0..20).map(|_| vec![0; 1 << 17])).map(Ok::<_, std::io::Error>),
    ));
    assert_eq!(world.call(Method::POST, "/api/bundles", ANN, open).await.status(), 413, "without a length");
    assert_eq!(world.files(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn what_is_broken_off_leaves_nothing() {
    let world = World::new(1 << 20).await;
    let whole = world.repository("repo").bundle(&["main"]);
    let mut socket = TcpStream::connect(world.address).await.unwrap();
    let head = format!(
        "POST /api/bundles HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {ANN}\r\nContent-Length: {}\r\n\r\n",
        whole.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&whole[..100]).await.unwrap();
    socket.shutdown().await.unwrap();
    let _ = socket.read_to_end(&mut Vec::new()).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !world.files().is_empty() {
        assert!(std::time::Instant::now() < deadline, "{:?}", world.files());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn bundles_that_no_task_uses_have_their_bounds_in_room_and_time() {
    let world = World::new(2000).await;
    let repo = world.repository("repo");
    let bytes = repo.bundle(&["main"]);
    let fitting = 8000 / bytes.len();
    let mut ids = Vec::new();
    for _ in 0..fitting {
        let bundle: Bundle = world.upload(ANN, bytes.clone()).await.json().await.unwrap();
        ids.push(bundle.id);
    }
    assert_eq!(world.upload(ANN, bytes.clone()).await.status(), 409);
    assert_eq!(world.upload(BEN, bytes).await.status(), 201, "others have room of their own");
    let body = json!({ "task": "Do it", "agent": "demo", "bundleId": ids[0] });
    assert_eq!(world.create(ANN, body).await.status(), 201);
    let (store, workspaces) = (world.app.store.clone(), world.app.workspaces.clone());
    let upkeep = Upkeep { store, workspaces, retention: crate::Retention::default() };
    let day = |n| now() + time::Duration::days(n);
    assert_eq!(upkeep.sweep(day(0)).await.unwrap().bundles, 0, "nothing goes at the first look");
    assert_eq!(upkeep.sweep(day(1)).await.unwrap().bundles, fitting as u64);
    assert_eq!(world.files(), [world.app.workspaces.bundle_file(ids[0])], "the one of the task stays");
}

#[tokio::test]
async fn what_a_task_did_on_another_machine_is_handed_on() {
    let world = World::new(1 << 20).await;
    let repo = world.repository("repo");
    let body = json!({ "task": "Do it", "agent": "demo", "repoUrl": "https://example.test/shop.git" });
    let task: Task = world.create(ANN, body).await.json().await.unwrap();
    let path = format!("/api/tasks/{}/bundle", task.id);
    let nothing: ApiError = world.get(&path, ANN).await.json().await.unwrap();
    assert_eq!(nothing.code, "no_result");
    repo.git(&["branch", "-q", &task.branch]);
    let bytes = repo.bundle(&[&format!("{}^..{}", task.branch, task.branch)]);
    let file = world.app.results.incoming().unwrap().keep().unwrap();
    std::fs::write(&file, &bytes).unwrap();
    let base = repo.git(&["rev-parse", "main^"]);
    let new = NewResult { branch: task.branch.clone(), base, bundle: Some(file), diff: b"the diff\n".to_vec() };
    world.app.results.put(task.id, new).unwrap();
    assert_eq!(world.get(&path, ANN).await.bytes().await.unwrap(), bytes);
    assert_eq!(world.get(&path, BEN).await.status(), 404);
    let diff = world.get(&format!("/api/tasks/{}/diff", task.id), ANN).await;
    assert_eq!(diff.text().await.unwrap(), "the diff\n");
}
