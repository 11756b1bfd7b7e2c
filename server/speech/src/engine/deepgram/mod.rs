//! Deepgram: a recording over REST, or a stream while somebody speaks.
//!
//! <https://developers.deepgram.com/reference/speech-to-text/listen-pre-recorded> and `…/listen-streaming`.

mod live;
mod wire;

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::http::{broken, bytes, client, connected, refused};
use super::openai::encoded;
use super::{BoxFuture, Engine, EngineError, ErrorKind, Patience, Request, Transcript};

pub use live::Live;

const NAME: &str = "deepgram";

/// Terms that are sent. Deepgram takes 100 with 500 tokens together; a stream with more stops without an error, so the tokens
/// are estimated high: three characters each.
const MAX_TERMS: usize = 100;
const MAX_TERM_CHARACTERS: usize = 1_500;

/// How Deepgram is asked.
#[derive(Clone, Debug)]
pub struct DeepgramSettings {
    /// `https://api.deepgram.com`, or that of a region or proxy.
    pub url: Url,
    pub key: SecretString,
    pub model: String,
    pub patience: Patience,
}

impl DeepgramSettings {
    /// The model `nova-3` and the usual [`Patience`].
    pub fn new(url: Url, key: SecretString) -> Self {
        Self { url, key, model: "nova-3".to_owned(), patience: Patience::default() }
    }
}

/// Deepgram.
#[derive(Debug)]
pub struct Deepgram {
    settings: DeepgramSettings,
    client: reqwest::Client,
}

impl Deepgram {
    /// # Errors
    /// [`ErrorKind::Unusable`], when no HTTP client can be made.
    pub fn new(settings: DeepgramSettings) -> Result<Self, EngineError> {
        let client = client(NAME, &settings.patience)?;
        Ok(Self { settings, client })
    }

    /// Opens a stream for what somebody is about to say. The request's clip is not looked at.
    ///
    /// # Errors
    /// When there is no connection, or the credentials are refused.
    pub async fn live(&self, request: &Request) -> Result<Live, EngineError> {
        let mut url = self.listen(request, true);
        let scheme = if url.scheme() == "http" { "ws" } else { "wss" };
        url.set_scheme(scheme).map_err(|()| EngineError::new(NAME, ErrorKind::Refused).because("no such URL", None))?;
        Live::open(url, self.authorization()?, &self.settings, request.language.clone()).await
    }

    fn authorization(&self) -> Result<HeaderValue, EngineError> {
        let mut value =
            HeaderValue::from_str(&format!("Token {}", self.settings.key.expose_secret())).map_err(|_| {
                EngineError::new(NAME, ErrorKind::Auth).because("the key has characters that no key has", None)
            })?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn listen(&self, request: &Request, live: bool) -> Url {
        let mut url = self.settings.url.clone();
        let base = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        url.set_path(&format!("{base}/v1/listen"));
        let model = &self.settings.model;
        let nova_3 = model.starts_with("nova-3");
        let mut query = url.query_pairs_mut();
        query.append_pair("model", model).append_pair("smart_format", "true").append_pair("punctuate", "true");
        match &request.language {
            Some(language) => query.append_pair("language", language),
            // A stream is not searched for its language; nova-3 knows several at once.
            None if live && nova_3 => query.append_pair("language", "multi"),
            None if live => &mut query,
            None => query.append_pair("detect_language", "true"),
        };
        if live {
            query.append_pair("encoding", "linear16").append_pair("sample_rate", "16000").append_pair("channels", "1");
            query.append_pair("interim_results", "true");
        }
        // Older models have the same by another name.
        let parameter = if nova_3 { "keyterm" } else { "keywords" };
        for term in terms(&request.keyterms) {
            query.append_pair(parameter, term);
        }
        drop(query);
        url
    }

    async fn ask(&self, request: &Request) -> Result<Transcript, EngineError> {
        let (format, file) = encoded(Arc::clone(&request.clip), true).await?;
        let post = self
            .client
            .post(self.listen(request, false))
            .header(AUTHORIZATION, self.authorization()?)
            .header(CONTENT_TYPE, format.media_type())
            .body(file);
        let response = post.send().await.map_err(|error| broken(NAME, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = bytes(NAME, response).await?;
        if !status.is_success() {
            return Err(refused(NAME, status, &headers, &body, Some(&self.settings.key)));
        }
        let heard = wire::recording(&body).ok_or_else(|| {
            EngineError::new(NAME, ErrorKind::Garbage).because(&format!("{} bytes", body.len()), None)
        })?;
        if heard.text.is_empty() {
            return Err(EngineError::new(NAME, ErrorKind::Silence));
        }
        Ok(Transcript {
            text: heard.text,
            language: heard.language.or_else(|| request.language.clone()),
            segments: heard.segments,
            engine: NAME,
            model: Some(self.settings.model.clone()),
        })
    }

    /// Opens a connection; the endpoint takes no such request, but looks at the key before it says so.
    async fn connect(&self) -> Result<(), EngineError> {
        let mut url = self.listen(&Request::default(), false);
        url.set_query(None);
        let get = self.client.get(url).header(AUTHORIZATION, self.authorization()?);
        let response = get.timeout(self.settings.patience.connect).send().await.map_err(|error| broken(NAME, error))?;
        connected(NAME, response, Some(&self.settings.key)).await
    }
}

impl Engine for Deepgram {
    fn name(&self) -> &'static str {
        NAME
    }

    fn transcribe<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Transcript, EngineError>> {
        Box::pin(self.settings.patience.with(NAME, || self.ask(request)))
    }

    fn ready(&self) -> BoxFuture<'_, Result<(), EngineError>> {
        Box::pin(self.connect())
    }
}

/// The terms that Deepgram takes, the first first.
fn terms(terms: &[String]) -> impl Iterator<Item = &str> {
    let mut characters = 0;
    terms.iter().map(|term| term.trim()).filter(|term| !term.is_empty()).take(MAX_TERMS).take_while(move |term| {
        characters += term.chars().count();
        characters <= MAX_TERM_CHARACTERS
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
