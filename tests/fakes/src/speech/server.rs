use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::serve::ListenerExt;
use futures_util::stream;
use tokio::sync::oneshot;

use super::{deepgram, openai};

/// The scripted APIs, served from a thread of their own until dropped.
#[derive(Debug)]
pub struct SpeechApi {
    address: SocketAddr,
    pub(super) shared: Arc<Shared>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// An answer to one request for a transcript.
#[derive(Clone, Debug)]
pub enum Reply {
    /// This text, in the form that was asked for.
    Text(String),
    /// This body, with status 200.
    Body(String),
    Status {
        status: u16,
        retry_after: Option<String>,
        body: String,
    },
    /// The beginning of an answer, and then the connection is torn down.
    Cut,
    /// Nothing, for ever.
    Hang,
}

/// What a stream says.
#[derive(Clone, Debug)]
pub enum Said {
    Interim(String),
    Final(String),
    /// A message as it is.
    Raw(String),
    /// The connection is torn down.
    Cut,
    /// The end of the stream is not answered.
    Hang,
}

/// A request that came. Of its credentials only the kind is kept.
#[derive(Clone, Debug, Default)]
pub struct SpeechRequest {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    /// The scheme of `Authorization`: `Bearer`, `Token`.
    pub scheme: Option<String>,
    /// Of `Range`.
    pub range: Option<String>,
    /// The text parts of a form.
    pub fields: BTreeMap<String, String>,
    pub file: Option<Upload>,
    /// Text messages of a stream.
    pub messages: Vec<String>,
    /// Bytes of sound of a stream.
    pub sound: usize,
    /// When the whole of it was there; none for a stream and a download.
    pub arrived: Option<Instant>,
}

/// A file that came.
#[derive(Clone, Debug, Default)]
pub struct Upload {
    pub name: Option<String>,
    pub content_type: Option<String>,
    pub bytes: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    connections: AtomicUsize,
}

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub replies: VecDeque<Reply>,
    /// How long a transcript takes.
    pub delay: Duration,
    pub refuses_keys: bool,
    pub refuses_flac: bool,
    pub refuses_segments: bool,
    /// Steps of streams: after so many bytes of sound this is said.
    pub said: Vec<(usize, Said)>,
    pub refuses_streams: Option<u16>,
    pub files: HashMap<String, Bytes>,
    /// The next download breaks off after so many bytes.
    pub cut_file: Option<usize>,
    pub ignores_ranges: bool,
    pub requests: Vec<SpeechRequest>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SpeechApi {
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
        let router = Router::new()
            .route("/v1/audio/transcriptions", post(openai::transcribe))
            .route("/inference", post(openai::transcribe))
            .route("/v1/models", get(openai::models))
            .route("/v1/listen", any(deepgram::listen))
            .route("/files/{name}", get(file))
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), keys))
            .with_state(Arc::clone(&shared));
        let counted = Arc::clone(&shared);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listening socket");
                let listener = listener.tap_io(move |_| {
                    counted.connections.fetch_add(1, Ordering::SeqCst);
                });
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

    /// The root: `DEEPGRAM_URL`, and before `/v1` `OPENAI_BASE_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers the next request that has no answer yet with this; without one, [`super::SENTENCE`] is heard.
    pub fn reply(&self, reply: Reply) {
        self.shared.lock().replies.push_back(reply);
    }

    /// Answers the next request with this status.
    pub fn fail(&self, status: u16) {
        self.reply(Reply::Status { status, retry_after: None, body: String::new() });
    }

    /// Answers each recording so long after the whole of it was there.
    pub fn answer_after(&self, delay: Duration) {
        self.shared.lock().delay = delay;
    }

    /// Lets nobody in from now on, and repeats the key that it does not like.
    pub fn refuse_keys(&self) {
        self.shared.lock().refuses_keys = true;
    }

    /// Takes no FLAC from now on.
    pub fn refuse_flac(&self) {
        self.shared.lock().refuses_flac = true;
    }

    /// Gives plain JSON only from now on.
    pub fn refuse_segments(&self) {
        self.shared.lock().refuses_segments = true;
    }

    /// What streams say: each after so many bytes of sound, or at the end of the stream.
    pub fn say(&self, said: Vec<(usize, Said)>) {
        self.shared.lock().said = said;
    }

    /// Refuses streams with this status.
    pub fn refuse_streams(&self, status: u16) {
        self.shared.lock().refuses_streams = Some(status);
    }

    /// Offers a file for download at `/files/NAME`.
    pub fn file(&self, name: &str, bytes: Vec<u8>) {
        self.shared.lock().files.insert(name.to_owned(), bytes.into());
    }

    /// Breaks the next download off after so many bytes.
    pub fn cut_file(&self, after: usize) {
        self.shared.lock().cut_file = Some(after);
    }

    /// Answers a wish for a part of a file with the whole.
    pub fn ignore_ranges(&self) {
        self.shared.lock().ignores_ranges = true;
    }

    /// Requests so far, but those that only open a connection.
    pub fn requests(&self) -> Vec<SpeechRequest> {
        self.shared.lock().requests.clone()
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for SpeechApi {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            let _ = thread.join();
        }
    }
}

/// Refuses every key, where it was told to.
async fn keys(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    if !shared.lock().refuses_keys {
        return next.run(request).await;
    }
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let message = format!("Incorrect API key provided: {given}");
    (StatusCode::UNAUTHORIZED, axum::Json(serde_json::json!({ "error": { "message": message } }))).into_response()
}

/// The scheme of the credentials.
pub(super) fn scheme(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    value.split_once(' ').map(|(scheme, _)| scheme.to_owned())
}

/// A status, a cut or silence; `None` for a reply that depends on the API.
pub(super) async fn trouble(reply: &Reply) -> Option<Response> {
    match reply {
        Reply::Text(_) => None,
        Reply::Body(body) => Some(body.clone().into_response()),
        Reply::Status { status, retry_after, body } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut response = (status, body.clone()).into_response();
            if let Some(value) = retry_after.as_ref().and_then(|value| value.parse().ok()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            Some(response)
        }
        Reply::Cut => Some(Body::from_stream(torn(Bytes::from_static(b"{\"text\": \"Add a re"))).into_response()),
        Reply::Hang => std::future::pending().await,
    }
}

/// These bytes, and then an error, at which the connection is torn down.
fn torn(bytes: Bytes) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold(Some(Some(bytes)), |state| async move {
        match state? {
            Some(bytes) => Some((Ok(bytes), Some(None))),
            None => {
                // Lets the first part be sent before.
                tokio::task::yield_now().await;
                Some((Err(io::Error::from(io::ErrorKind::ConnectionReset)), None))
            }
        }
    })
}

async fn file(State(shared): State<Arc<Shared>>, Path(name): Path<String>, headers: HeaderMap) -> Response {
    let range = headers.get(header::RANGE).and_then(|range| range.to_str().ok()).map(str::to_owned);
    let mut inner = shared.lock();
    inner.requests.push(SpeechRequest {
        method: "GET".to_owned(),
        path: format!("/files/{name}"),
        range: range.clone(),
        ..SpeechRequest::default()
    });
    let Some(bytes) = inner.files.get(&name).cloned() else { return StatusCode::NOT_FOUND.into_response() };
    let cut = inner.cut_file.take();
    let from = range
        .filter(|_| !inner.ignores_ranges)
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    drop(inner);
    let total = bytes.len();
    if from.is_some_and(|from| from >= total) {
        return (StatusCode::RANGE_NOT_SATISFIABLE, [(header::CONTENT_RANGE, format!("bytes */{total}"))])
            .into_response();
    }
    let part = bytes.slice(from.unwrap_or(0)..);
    let length = [(header::CONTENT_LENGTH, part.len().to_string())];
    let body = match cut {
        Some(after) => Body::from_stream(torn(part.slice(..after.min(part.len())))),
        None => Body::from(part),
    };
    match from {
        Some(from) => {
            let range = [(header::CONTENT_RANGE, format!("bytes {from}-{}/{total}", total - 1))];
            (StatusCode::PARTIAL_CONTENT, length, range, body).into_response()
        }
        None => (length, body).into_response(),
    }
}
