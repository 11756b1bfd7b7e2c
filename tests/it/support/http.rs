use std::sync::OnceLock;

use reqwest::header::{ACCEPT, HeaderMap};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::DEADLINE;

/// A plain client of the API, which sends what it is told.
pub struct Http {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// What the server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    /// Asserts the status.
    #[track_caller]
    pub fn status(self, expected: u16) -> Self {
        assert_eq!(self.status, expected, "{}", self.text);
        self
    }

    /// The body, which is JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("not JSON ({e}): {}", self.text))
    }
}

/// Asynchronous clients of all stories run on it.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        // Another test of the process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    })
}

impl Http {
    pub fn new(base: &str, token: Option<&str>) -> Self {
        let _guard = runtime().enter();
        let client = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build().unwrap();
        Self { client, base: base.to_owned(), token: token.map(str::to_owned) }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path))
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path))
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body))
    }

    /// The stream of server-sent events, up to the first that holds the text.
    pub fn sse_until(&self, path: &str, text: &str) -> String {
        let request = self.request(Method::GET, path).header(ACCEPT, "text/event-stream");
        runtime().block_on(async {
            let mut response = request.send().await.unwrap();
            let mut all = String::new();
            while !all.contains(text) {
                let chunk = response.chunk().await.unwrap();
                let chunk = chunk.unwrap_or_else(|| panic!("the stream ended before {text:?}: {all}"));
                all.push_str(&String::from_utf8_lossy(&chunk));
            }
            all
        })
    }

    /// A request to be changed before it is sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn send(&self, request: RequestBuilder) -> Answer {
        runtime().block_on(async {
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Answer { status, headers, text: response.text().await.unwrap() }
        })
    }
}
