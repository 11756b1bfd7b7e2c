//! A host of repositories on loopback: git's own `git-http-backend` behind HTTP with a password, and large files (LFS) beside
//! it. It looks at all processes while it answers: whether a token shows in an argument.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt as _;
use tokio_util::io::ReaderStream;

/// The only token that it takes.
pub const TOKEN: &str = "tok-3f9a1c77e5-secret";

pub struct Forge {
    pub address: SocketAddr,
    root: PathBuf,
    seen: Arc<Mutex<Seen>>,
    /// Dropped, it ends the server.
    _open: tokio::sync::oneshot::Sender<()>,
}

#[derive(Default)]
struct Seen {
    requests: Vec<String>,
    /// Command lines of living processes with the token in them, while it was asked.
    exposed: Vec<String>,
    /// Whether it sends the beginning of a large answer, and then no more.
    holding: bool,
}

/// What counts as a large answer, and its beginning, in bytes.
const LARGE: usize = 400 << 10;
const BEGINNING: usize = 300 << 10;

#[derive(Clone)]
struct Site {
    root: PathBuf,
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    expected: String,
}

impl Forge {
    /// With nothing on it; `root` is a new directory of its own.
    pub fn new(root: PathBuf) -> Self {
        fs::create_dir_all(&root).expect("the forge works");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the forge works");
        listener.set_nonblocking(true).expect("the forge works");
        let address = listener.local_addr().expect("the forge works");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let expected = format!("Basic {}", STANDARD.encode(format!("x-access-token:{TOKEN}")));
        let site = Site { root: root.clone(), address, seen: seen.clone(), expected };
        let app = Router::new().fallback(answer).with_state(site);
        let (open, closed) = tokio::sync::oneshot::channel::<()>();
        // Of its own, so that it answers while a test waits for git.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the forge works");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("the forge works");
                tokio::select! {
                    served = axum::serve(listener, app) => served.expect("the forge works"),
                    _ = closed => {}
                }
            });
        });
        Self { address, root, seen, _open: open }
    }

    /// Puts what a repository has checked out onto the branch `main` of `name`; gives the URL.
    pub fn push(&self, repository: &Path, name: &str) -> String {
        let bare = self.repository(name);
        if !bare.exists() {
            git(&self.root, &["init", "-q", "--bare", &bare.to_string_lossy()]);
            git(&bare, &["symbolic-ref", "HEAD", "refs/heads/main"]);
            for setting in ["uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant", "http.receivepack"] {
                git(&bare, &["config", setting, "true"]);
            }
        }
        git(repository, &["push", "-q", "--no-verify", &bare.to_string_lossy(), "HEAD:refs/heads/main"]);
        self.url(name)
    }

    /// Where it lies.
    pub fn repository(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.git"))
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}.git", self.address)
    }

    /// Puts a large file onto it.
    pub fn store_large(&self, object: &str, content: &[u8]) {
        fs::write(self.root.join(object), content).expect("the forge works");
    }

    pub fn requests(&self) -> Vec<String> {
        self.seen.lock().expect("the lock").requests.clone()
    }

    /// From now on no large answer comes to its end, as over a slow line.
    pub fn hold_packs(&self) {
        self.seen.lock().expect("the lock").holding = true;
    }

    /// The token was used, and showed in no process's arguments.
    #[track_caller]
    pub fn assert_kept_secret(&self) {
        let seen = self.seen.lock().expect("the lock");
        assert!(!seen.requests.is_empty(), "nobody came in");
        assert!(seen.exposed.is_empty(), "{:?}", seen.exposed);
    }
}

async fn answer(State(site): State<Site>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let authorised = parts.headers.get(header::AUTHORIZATION).is_some_and(|value| value == site.expected.as_str());
    if !authorised {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"forge\"")]).into_response();
    }
    {
        let mut seen = site.seen.lock().expect("the lock");
        seen.requests.push(format!("{} {}", parts.method, parts.uri.path()));
        seen.exposed.extend(exposed());
    }
    let body = to_bytes(body, 64 << 20).await.expect("the forge works");
    let path = parts.uri.path().to_owned();
    let response = if path.ends_with("/info/lfs/objects/batch") {
        batch(&site, &body)
    } else if let Some(object) = path.strip_prefix("/large/") {
        fs::read(site.root.join(object)).map_or(StatusCode::NOT_FOUND.into_response(), IntoResponse::into_response)
    } else {
        backend(&site, parts.method.as_str(), &path, parts.uri.query().unwrap_or_default(), &parts.headers, &body).await
    };
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("the forge works");
    if !site.seen.lock().expect("the lock").holding || body.len() < LARGE {
        return Response::from_parts(parts, Body::from(body));
    }
    let (mut writer, reader) = tokio::io::duplex(BEGINNING);
    tokio::spawn(async move {
        let _ = writer.write_all(&body[..BEGINNING]).await;
        std::future::pending::<()>().await;
    });
    Response::from_parts(parts, Body::from_stream(ReaderStream::new(reader)))
}

/// Command lines of living processes that the token is in.
fn exposed() -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let lines = entries.flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).filter(|line| line.contains(TOKEN)).collect()
}

/// CGI, RFC 3875.
async fn backend(site: &Site, method: &str, path: &str, query: &str, headers: &HeaderMap, body: &Bytes) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let variables = BTreeMap::from([
        ("PATH", search_path()),
        ("GIT_PROJECT_ROOT", site.root.display().to_string()),
        ("GIT_HTTP_EXPORT_ALL", "1".to_owned()),
        ("GIT_PROTOCOL", header("git-protocol")),
        ("HTTP_CONTENT_ENCODING", header("content-encoding")),
        ("CONTENT_TYPE", header("content-type")),
        ("CONTENT_LENGTH", body.len().to_string()),
        ("REQUEST_METHOD", method.to_owned()),
        ("PATH_INFO", path.to_owned()),
        ("QUERY_STRING", query.to_owned()),
        ("REMOTE_USER", "x-access-token".to_owned()),
    ]);
    let mut command = tokio::process::Command::new("git");
    command.arg("http-backend").env_clear().envs(variables).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("git http-backend");
    let mut stdin = child.stdin.take().expect("the forge works");
    let body = body.clone();
    let written = tokio::spawn(async move {
        let _ = stdin.write_all(&body).await;
    });
    let output = child.wait_with_output().await.expect("the forge works").stdout;
    written.await.expect("the forge works");
    let end = output.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("the end of the header");
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").expect("the forge works");
        response = match name {
            "Status" => {
                response.status(value.split(' ').next().expect("the forge works").parse::<u16>().expect("a status"))
            }
            _ => response.header(name, value),
        };
    }
    response.body(Body::from(output[end + 4..].to_vec())).expect("the forge works")
}

/// Where large files are; git-lfs's `docs/api/batch.md`.
fn batch(site: &Site, body: &[u8]) -> Response {
    let asked: serde_json::Value = serde_json::from_slice(body).expect("the forge works");
    let objects = asked["objects"].as_array().expect("the forge works").iter().map(|object| {
        let href = format!("http://{}/large/{}", site.address, object["oid"].as_str().expect("the forge works"));
        serde_json::json!({"oid": object["oid"], "size": object["size"], "actions": {"download": {"href": href}}})
    });
    let answer = serde_json::json!({"transfer": "basic", "objects": objects.collect::<Vec<_>>()});
    ([(header::CONTENT_TYPE, "application/vnd.git-lfs+json")], answer.to_string()).into_response()
}

/// Git with nothing of the user's settings.
fn git(directory: &Path, arguments: &[&str]) {
    let mut command = std::process::Command::new("git");
    command.args(arguments).current_dir(directory).env_clear().env("PATH", search_path()).env("HOME", "/nonexistent");
    let output = command.output().expect("git: sudo apt install git");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn search_path() -> String {
    std::env::var("PATH").expect("PATH")
}

/// Files below a directory that hold the token.
pub fn holding_the_token(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let path = entry.path();
            let kind = entry.file_type().expect("the forge works");
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() {
                let bytes = fs::read(&path).expect("the forge works");
                if bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()) {
                    found.push(path);
                }
            }
        }
    }
    found
}
