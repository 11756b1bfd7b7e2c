//! The Whisper API, as OpenAI, Groq, speaches, LocalAI and whisper.cpp's server speak it.
//!
//! <https://platform.openai.com/docs/api-reference/audio/createTranscription>

mod answer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use reqwest::header::CONTENT_TYPE;
use reqwest::multipart::{Form, Part};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::http::{broken, bytes, client, complaint, connected, refused};
use super::{BoxFuture, Engine, EngineError, ErrorKind, Patience, Request, Transcript};
use crate::audio::{self, Clip, Format};

const NAME: &str = "openai";

/// Characters of a prompt that are sent. Whisper reads the last 224 tokens, and some endpoints refuse more.
const MAX_PROMPT: usize = 880;

/// Where a compatible endpoint is, and how it is asked.
#[derive(Clone, Debug)]
pub struct OpenAiSettings {
    /// The base, as `https://api.openai.com/v1`, or the whole address of a server whose last part is `transcriptions` or, as
    /// with whisper.cpp's server, `inference`.
    pub url: Url,
    /// None for a server of one's own that wants none.
    pub key: Option<SecretString>,
    pub model: String,
    /// 0 to 1: how freely words are chosen. None takes the likeliest.
    pub temperature: Option<f32>,
    pub patience: Patience,
}

impl OpenAiSettings {
    /// The model `whisper-1`, no key, and the usual [`Patience`].
    pub fn new(url: Url) -> Self {
        Self { url, key: None, model: "whisper-1".to_owned(), temperature: None, patience: Patience::default() }
    }
}

/// A compatible endpoint.
///
/// Recordings go as FLAC, and answers are asked for with their segments. An endpoint that does not take the one or give the
/// other is asked for less, and that is remembered.
#[derive(Debug)]
pub struct OpenAi {
    settings: OpenAiSettings,
    endpoint: Url,
    client: reqwest::Client,
    takes_flac: AtomicBool,
    gives_segments: AtomicBool,
}

/// How a recording is sent and its text asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Manner {
    flac: bool,
    segments: bool,
}

impl Manner {
    /// What to try after a refusal with these words; `None` where nothing simpler is left.
    fn simpler(self, complaint: &str) -> Option<Self> {
        let complaint = complaint.to_lowercase();
        let about_answer = complaint.contains("response_format") || complaint.contains("verbose_json");
        match self {
            Self { segments: true, .. } if about_answer => Some(Self { segments: false, ..self }),
            Self { flac: true, .. } => Some(Self { flac: false, ..self }),
            Self { segments: true, .. } => Some(Self { segments: false, ..self }),
            _ => None,
        }
    }
}

enum Failure {
    /// The endpoint may take the request in another manner; these are its words.
    Manner(EngineError, String),
    Final(EngineError),
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::Final(error)
    }
}

impl OpenAi {
    /// # Errors
    /// [`ErrorKind::Unusable`], when no HTTP client can be made.
    pub fn new(settings: OpenAiSettings) -> Result<Self, EngineError> {
        let client = client(NAME, &settings.patience)?;
        let endpoint = endpoint(&settings.url);
        // The GPT models answer in plain JSON only.
        let gives_segments = !settings.model.starts_with("gpt-");
        Ok(Self {
            settings,
            endpoint,
            client,
            takes_flac: AtomicBool::new(true),
            gives_segments: AtomicBool::new(gives_segments),
        })
    }

    async fn ask(&self, request: &Request) -> Result<Transcript, EngineError> {
        let mut manner = Manner { flac: self.takes_flac.load(Relaxed), segments: self.gives_segments.load(Relaxed) };
        loop {
            match self.ask_in(manner, request).await {
                Ok(transcript) => {
                    self.takes_flac.store(manner.flac, Relaxed);
                    self.gives_segments.store(manner.segments, Relaxed);
                    return Ok(transcript);
                }
                Err(Failure::Manner(error, complaint)) => match manner.simpler(&complaint) {
                    Some(simpler) => manner = simpler,
                    None => return Err(error),
                },
                Err(Failure::Final(error)) => return Err(error),
            }
        }
    }

    async fn ask_in(&self, manner: Manner, request: &Request) -> Result<Transcript, Failure> {
        let form = self.form(manner, request).await?;
        let mut post = self.client.post(self.endpoint.clone()).multipart(form);
        if let Some(key) = &self.settings.key {
            post = post.bearer_auth(key.expose_secret());
        }
        let response = post.send().await.map_err(|error| broken(NAME, error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = bytes(NAME, response).await?;
        if !status.is_success() {
            let error = refused(NAME, status, &headers, &body, self.settings.key.as_ref());
            return Err(match status.as_u16() {
                400 | 415 | 422 => Failure::Manner(error, complaint(&body)),
                _ => Failure::Final(error),
            });
        }
        match answer::read(&body) {
            Some(answer::Answer::Text { text, language, segments }) => Ok(Transcript {
                text,
                language: language.or_else(|| request.language.clone()),
                segments,
                engine: NAME,
                model: Some(self.settings.model.clone()),
            }),
            // Older whisper.cpp servers answer a file that they cannot read so, with status 200.
            Some(answer::Answer::Error(said)) => {
                let error = EngineError::new(NAME, ErrorKind::Refused).because(&said, self.settings.key.as_ref());
                Err(Failure::Manner(error, said))
            }
            Some(answer::Answer::Silence) => Err(EngineError::new(NAME, ErrorKind::Silence).into()),
            None => {
                let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("no content type");
                Err(EngineError::new(NAME, ErrorKind::Garbage)
                    .because(&format!("{} bytes, {kind}", body.len()), None)
                    .into())
            }
        }
    }

    async fn form(&self, manner: Manner, request: &Request) -> Result<Form, EngineError> {
        let (format, file) = encoded(Arc::clone(&request.clip), manner.flac).await?;
        let part = Part::bytes(file)
            .file_name(format!("speech.{format}"))
            .mime_str(format.media_type())
            .map_err(|error| broken(NAME, error))?;
        let answer = if manner.segments { "verbose_json" } else { "json" };
        let mut form = Form::new()
            .part("file", part)
            .text("model", self.settings.model.clone())
            .text("response_format", answer)
            .text("temperature", self.settings.temperature.unwrap_or_default().to_string());
        if let Some(language) = &request.language {
            form = form.text("language", language.clone());
        }
        if let Some(prompt) = prompt(request) {
            form = form.text("prompt", prompt);
        }
        Ok(form)
    }

    /// Opens a connection with a request that costs nothing; whatever is answered but a refusal, the connection is there.
    async fn connect(&self) -> Result<(), EngineError> {
        let mut get = self.client.get(models(&self.endpoint)).timeout(self.settings.patience.connect);
        if let Some(key) = &self.settings.key {
            get = get.bearer_auth(key.expose_secret());
        }
        let response = get.send().await.map_err(|error| broken(NAME, error))?;
        connected(NAME, response, self.settings.key.as_ref()).await
    }
}

impl Engine for OpenAi {
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

/// The clip as a file: FLAC where it is wanted and works, else WAV. Minutes of sound take a while, so not on the event loop.
pub(super) async fn encoded(clip: Arc<Clip>, flac: bool) -> Result<(Format, Vec<u8>), EngineError> {
    let encode = move || {
        let compressed = if flac { audio::flac(&clip).ok() } else { None };
        compressed.map_or_else(|| (Format::Wav, audio::wav(&clip)), |file| (Format::Flac, file))
    };
    tokio::task::spawn_blocking(encode)
        .await
        .map_err(|error| EngineError::new(NAME, ErrorKind::Unusable).because(&error.to_string(), None))
}

/// The end of the prompt, from a whole word on; the terms where there is none.
fn prompt(request: &Request) -> Option<String> {
    let terms = || Some(request.keyterms.join(", ")).filter(|terms| !terms.is_empty());
    let prompt = request.prompt.clone().filter(|prompt| !prompt.trim().is_empty()).or_else(terms)?;
    let characters = prompt.chars().count();
    if characters <= MAX_PROMPT {
        return Some(prompt);
    }
    let end: String = prompt.chars().skip(characters - MAX_PROMPT).collect();
    Some(end.split_once(char::is_whitespace).map_or_else(|| end.clone(), |(_, whole)| whole.to_owned()))
}

fn endpoint(base: &Url) -> Url {
    let path = base.path().trim_end_matches('/');
    if path.ends_with("/transcriptions") || path.ends_with("/inference") {
        return base.clone();
    }
    let mut endpoint = base.clone();
    endpoint.set_path(&format!("{path}/audio/transcriptions"));
    endpoint
}

/// The list of models beside an endpoint; the root of a server that has none.
fn models(endpoint: &Url) -> Url {
    let mut models = endpoint.clone();
    let path = endpoint.path().strip_suffix("/audio/transcriptions").map(|base| format!("{base}/models"));
    models.set_path(path.as_deref().unwrap_or("/"));
    models.set_query(None);
    models
}

#[cfg(test)]
#[path = "openai_tests.rs"]
mod tests;
