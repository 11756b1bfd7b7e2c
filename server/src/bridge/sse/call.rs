//! The requests to an endpoint, and what their answers mean.

use std::time::Duration;

use cadence_protocol::RunTask;
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use tokio::time::timeout;
use url::{Host, Url};

/// For a connection, and for an answer to begin where it does not wait for an agent.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
/// A peer whose machine is gone is noticed by its silence to the kernel, however long an agent thinks.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Most bytes of an answer that is not a stream.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// Longest wait that an endpoint may ask for.
const MAX_WAIT: Duration = Duration::from_secs(120);

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It does not take the key.
    #[error("it refuses the key ({0})")]
    Key(StatusCode),
    /// There is no such path, or nothing of that id.
    #[error("it does not answer there ({0})")]
    Absent(StatusCode),
    /// It cannot be reached, or is not able to answer now.
    #[error("{text}")]
    Passing { text: String, wait: Option<Duration> },
    /// It will not do it.
    #[error("{0}")]
    Refused(String),
}

impl CallError {
    pub fn passing(text: impl Into<String>) -> Self {
        Self::Passing { text: text.into(), wait: None }
    }
}

/// A client of one endpoint.
#[derive(Debug)]
pub struct Calls {
    client: Client,
    base: Url,
    key: Option<SecretString>,
}

impl Calls {
    pub fn new(base: Url, key: Option<SecretString>) -> Result<Self, reqwest::Error> {
        let mut client = Client::builder()
            .connect_timeout(CONNECT)
            .tcp_keepalive(KEEPALIVE)
            .pool_idle_timeout(Duration::from_secs(60))
            // The key goes nowhere else.
            .redirect(redirect::Policy::none())
            .user_agent(concat!("cadence/", env!("CARGO_PKG_VERSION")));
        let is_local = match base.host() {
            Some(Host::Ipv4(ip)) => ip.is_loopback(),
            Some(Host::Ipv6(ip)) => ip.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if is_local {
            client = client.no_proxy();
        } else if key.is_some() && base.scheme() == "http" {
            tracing::warn!(endpoint = %base, "the key of the endpoint goes over the network as it is; use https");
        }
        Ok(Self { client: client.build()?, base, key })
    }

    /// Whether it is there and takes the key. One that has no `/health` but answers is there.
    pub async fn health(&self) -> Result<(), CallError> {
        match answered(self.request(Method::GET, &["health"]), CONNECT).await {
            Ok(response) => body(response).await.map(drop),
            Err(CallError::Absent(_) | CallError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Begins a run, or finds the one that was begun with the same key, and gives its stream.
    pub async fn begin(&self, key: &str, task: &RunTask) -> Result<Response, CallError> {
        let request = self.request(Method::POST, &["task", "stream"]).header(ACCEPT, "text/event-stream");
        answered(request.header("idempotency-key", key).json(task), ANSWER).await
    }

    /// Begins a run, or finds the one that was begun with the same key, and waits for its end.
    pub async fn run(&self, key: &str, task: &RunTask) -> Result<Map<String, Value>, CallError> {
        let request = self.request(Method::POST, &["task"]).header("idempotency-key", key).json(task);
        let response = checked(request.send().await.map_err(told)?).await?;
        object(response).await
    }

    /// The stream of a run, after an event.
    pub async fn follow(&self, run: &str, after: Option<&str>) -> Result<Response, CallError> {
        let mut request = self.request(Method::GET, &["task", run, "stream"]).header(ACCEPT, "text/event-stream");
        if let Some(id) = after {
            request = request.header("last-event-id", id);
        }
        answered(request, ANSWER).await
    }

    pub async fn cancel(&self, run: &str) -> Result<(), CallError> {
        body(answered(self.request(Method::DELETE, &["task", run]), ANSWER).await?).await.map(drop)
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        let request = self.client.request(method, url);
        match &self.key {
            Some(key) => request.bearer_auth(key.expose_secret()),
            None => request,
        }
    }
}

/// Whether an answer is a stream of events.
pub fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.starts_with("text/event-stream")
}

/// The JSON object of an answer.
pub async fn object(response: Response) -> Result<Map<String, Value>, CallError> {
    match serde_json::from_slice(&body(response).await?) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(CallError::Refused("the endpoint answered something that is no JSON object".to_owned())),
    }
}

async fn answered(request: RequestBuilder, limit: Duration) -> Result<Response, CallError> {
    let sent = timeout(limit, request.send()).await;
    let sent = sent.map_err(|_| CallError::passing("it did not answer in time"))?;
    checked(sent.map_err(told)?).await
}

async fn checked(response: Response) -> Result<Response, CallError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let wait = response.headers().get(RETRY_AFTER).and_then(|wait| wait.to_str().ok()?.trim().parse().ok());
    let wait = wait.map(|secs| Duration::from_secs(secs).min(MAX_WAIT));
    Err(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CallError::Key(status),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED | StatusCode::GONE => {
            CallError::Absent(status)
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            CallError::Passing { text: format!("it answered {status}"), wait }
        }
        _ if status.is_server_error() => CallError::Passing { text: format!("it answered {status}"), wait },
        _ => CallError::Refused(said(response).await),
    })
}

/// The sentence of an error, as cadence writes it, or what there is.
async fn said(response: Response) -> String {
    let status = response.status();
    let Ok(object) = object(response).await else { return format!("the endpoint answered {status}") };
    let of = |name: &str| object.get(name).and_then(Value::as_str).filter(|text| !text.trim().is_empty());
    let text = match (of("error"), of("message")) {
        (Some(error), Some(hint)) => format!("{error}. {hint}"),
        (Some(text), None) | (None, Some(text)) => text.to_owned(),
        (None, None) => return format!("the endpoint answered {status}"),
    };
    let text: String = text.chars().filter(|c| !c.is_control()).take(1000).collect();
    format!("the endpoint refused it: {text}")
}

async fn body(mut response: Response) -> Result<Vec<u8>, CallError> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(told)? {
        if bytes.len() + piece.len() > MAX_ANSWER {
            return Err(CallError::Refused("the endpoint's answer does not end".to_owned()));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The innermost cause, which says most, without the URL.
pub fn told(error: reqwest::Error) -> CallError {
    if error.is_connect() && error.is_timeout() {
        return CallError::passing("it does not answer");
    }
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    CallError::passing(cause.to_string())
}
