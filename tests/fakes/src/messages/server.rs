use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::scenario::{Step, Trouble};
use super::wire::{Api, Asked, Reply, error_body, said, texts};
use super::{Gate, Scenario, library, openai};

/// A scripted Messages API, which also speaks those of OpenAI, served from a thread of its own until it is dropped.
#[derive(Debug)]
pub struct MessagesApi {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// A request that came. Headers are not kept: they hold credentials.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub method: String,
    pub path: String,
    pub body: Value,
    /// A request of the CLI's own, such as a title: not part of the task.
    pub auxiliary: bool,
}

impl Recorded {
    /// What the user said, in order.
    pub fn user_texts(&self) -> Vec<String> {
        self.messages().flat_map(said).map(str::to_owned).collect()
    }

    /// The contents of all tool results, in order.
    pub fn tool_results(&self) -> Vec<String> {
        let blocks = self.messages().flat_map(|m| m["content"].as_array().into_iter().flatten());
        blocks
            .filter(|b| b["type"] == "tool_result")
            .map(|b| b["content"].as_str().map_or_else(|| texts(&b["content"]).collect(), str::to_owned))
            .collect()
    }

    fn messages(&self) -> impl Iterator<Item = &Value> {
        self.body["messages"].as_array().into_iter().flatten()
    }
}

#[derive(Debug, Default)]
struct Shared {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    scripts: HashMap<String, Scenario>,
    default: Option<String>,
    gates: HashMap<String, Gate>,
    /// How often a trouble has struck, by session, scenario, step and trouble.
    struck: HashMap<(String, String, usize, usize), u32>,
    requests: Vec<Recorded>,
    forgetful: bool,
    replies: u64,
    /// How long a reply takes to begin.
    delay: Duration,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MessagesApi {
    /// Serves on a free port.
    ///
    /// # Panics
    /// When loopback cannot be listened on.
    pub fn start() -> Self {
        Self::start_on(0).expect("loopback can be listened on")
    }

    /// Serves on this port of 127.0.0.1; 0 is a free one.
    pub fn start_on(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listening socket");
                tokio::select! {
                    result = async { axum::serve(listener, router).await } => result.expect("serving on loopback"),
                    _ = stopped => {}
                }
            });
            // Connections that hang on purpose are not waited for.
            runtime.shutdown_background();
        });
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// What `ANTHROPIC_BASE_URL` has to be.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Adds a script that prompts choose with `[[scenario:NAME]]`; it goes before a built-in one of the same name.
    pub fn script(&self, name: &str, scenario: Scenario) {
        self.shared.lock().scripts.insert(name.to_owned(), scenario);
    }

    /// The script of prompts that choose none. Without it they are echoed.
    pub fn default_scenario(&self, name: &str) {
        self.shared.lock().default = Some(name.to_owned());
    }

    /// Begins each reply so long after its request.
    pub fn answer_after(&self, delay: Duration) {
        self.shared.lock().delay = delay;
    }

    /// The gate of this name, for [`Scenario::gate`].
    pub fn gate(&self, name: &str) -> Gate {
        self.shared.lock().gates.entry(name.to_owned()).or_default().clone()
    }

    /// Keeps no requests from now on. Each holds its whole conversation, so a long run would fill the memory.
    pub fn forget_requests(&self) {
        let mut inner = self.shared.lock();
        inner.forgetful = true;
        inner.requests.clear();
    }

    /// Requests so far, the CLI's own ones left out.
    pub fn requests(&self) -> Vec<Recorded> {
        self.shared.lock().requests.iter().filter(|r| !r.auxiliary).cloned().collect()
    }

    /// All requests so far, of whatever path.
    pub fn all_requests(&self) -> Vec<Recorded> {
        self.shared.lock().requests.clone()
    }
}

impl Drop for MessagesApi {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, body: Body) -> Response {
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let path = uri.path().to_owned();
    let asked = match path.as_str() {
        "/v1/responses" => openai::read_responses(&document),
        "/v1/chat/completions" => openai::read_chat(&document),
        _ => Asked::read(&document),
    };
    let is_message =
        method == Method::POST && matches!(path.as_str(), "/v1/messages" | "/v1/responses" | "/v1/chat/completions");
    let auxiliary = !is_message || asked.auxiliary;
    let delay = {
        let mut inner = shared.lock();
        if !inner.forgetful {
            inner.requests.push(Recorded { method: method.to_string(), path: path.clone(), auxiliary, body: document });
        }
        if is_message { inner.delay } else { Duration::ZERO }
    };
    tokio::time::sleep(delay).await;
    match (method, path.as_str()) {
        _ if is_message => message(&shared, &asked),
        (Method::POST, "/v1/messages/count_tokens") => Json(json!({ "input_tokens": 10 })).into_response(),
        (Method::GET | Method::HEAD, "/") => StatusCode::OK.into_response(),
        _ => (StatusCode::NOT_FOUND, Json(error_body(404, "not_found_error"))).into_response(),
    }
}

/// Finds the step that a request is at, and plays it.
fn message(shared: &Shared, asked: &Asked) -> Response {
    let mut inner = shared.lock();
    inner.replies += 1;
    let number = inner.replies;
    if asked.auxiliary {
        return reply(asked, &Reply::saying("ok", asked, number), None);
    }
    let name = asked.scenario.clone().or_else(|| inner.default.clone());
    let script = name.as_ref().map(|n| inner.scripts.get(n).cloned().or_else(|| library::scenario(n)).ok_or(n));
    let step = match script {
        Some(Err(name)) => {
            let text = format!("There is no scenario `{name}`.");
            return reply(asked, &Reply::saying(&text, asked, number), None);
        }
        Some(Ok(scenario)) => scenario.at(asked.step).cloned(),
        None => None,
    };
    let Some(step) = step else {
        let text = format!("You said: {}", asked.said);
        return reply(asked, &Reply::saying(&text, asked, number), None);
    };
    let trouble = inner.next_trouble(asked, name.unwrap_or_default(), &step);
    let answer = Reply::of(&step, asked, number);
    let gate = match &trouble {
        Some(Trouble::Error { status, kind, retry_after, .. }) => return error(*status, kind, *retry_after),
        Some(Trouble::Gate(name)) => Pause::Gate(inner.gates.entry(name.clone()).or_default().clone()),
        Some(Trouble::Cut { .. }) => Pause::Cut,
        Some(Trouble::Hang) => Pause::Hang,
        None => return reply(asked, &answer, None),
    };
    reply(asked, &answer, Some(gate))
}

impl Inner {
    /// What goes wrong this time, if anything.
    fn next_trouble(&mut self, asked: &Asked, name: String, step: &Step) -> Option<Trouble> {
        for (index, trouble) in step.trouble.iter().enumerate() {
            let times = match trouble {
                Trouble::Error { times, .. } | Trouble::Cut { times } => *times,
                Trouble::Hang | Trouble::Gate(_) => return Some(trouble.clone()),
            };
            let struck = self.struck.entry((asked.session.clone(), name.clone(), asked.step, index)).or_default();
            if *struck < times {
                *struck += 1;
                return Some(trouble.clone());
            }
        }
        None
    }
}

/// What happens in the middle of a reply.
enum Pause {
    Cut,
    Hang,
    Gate(Gate),
}

fn reply(asked: &Asked, reply: &Reply, pause: Option<Pause>) -> Response {
    type Piece = Result<Bytes, io::Error>;
    let (kind, before, after) = if asked.stream {
        let (before, after) = match asked.api {
            Api::Messages => reply.events(),
            Api::Responses => openai::responses(reply),
            Api::Chat => openai::chat(reply),
        };
        ("text/event-stream; charset=utf-8", before, after)
    } else {
        ("application/json", String::new(), reply.json().to_string())
    };
    let body: BoxStream<'static, Piece> = stream::iter([before, after])
        .enumerate()
        .zip(stream::repeat(Arc::new(pause)))
        .then(|((index, text), pause)| async move {
            match (index, pause.as_ref()) {
                (1, Some(Pause::Cut)) => {
                    // Lets the first half be sent before the connection is torn down.
                    tokio::task::yield_now().await;
                    return Err(io::Error::from(io::ErrorKind::ConnectionReset));
                }
                (1, Some(Pause::Hang)) => std::future::pending().await,
                (1, Some(Pause::Gate(gate))) => gate.pass().await,
                _ => {}
            }
            Ok(Bytes::from(text))
        })
        .boxed();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::HeaderName::from_static("request-id"), HeaderValue::from_static("req_fake")),
    ];
    (headers, Body::from_stream(body)).into_response()
}

fn error(status: u16, kind: &str, retry_after: Option<u32>) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    let status_code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status_code, headers, Json(error_body(status, kind))).into_response()
}
