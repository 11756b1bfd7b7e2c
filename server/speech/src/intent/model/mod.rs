//! A language model for what the grammar is not sure of.

mod answer;
#[cfg(test)]
mod tests;
mod wire;

use std::time::{Duration, Instant};

use cadence_protocol::VoiceCommand;
use reqwest::header::HeaderValue;
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};

use super::{Context, SURE, interpret, means_each};

/// Longest answer that is read, in bytes. A right one has less than a hundredth of it, unless it repeats a long text.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Which API a model is spoken to by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Messages API with a forced tool, <https://platform.claude.com/docs/en/api/messages>.
    Anthropic,
    /// Chat completions with a JSON schema, <https://platform.openai.com/docs/api-reference/chat/create>, as llama.cpp's server,
    /// vLLM and Ollama speak it, too.
    OpenAi,
}

/// A language model that tells what a sentence wants.
///
/// Its key is sent in a header that is marked sensitive and is in no error. The client is best one that follows no redirects:
/// they would take the key along.
#[derive(Clone, Debug)]
pub struct Model {
    client: Client,
    dialect: Dialect,
    base: String,
    key: Option<SecretString>,
    model: String,
    timeout: Duration,
}

/// Why a model did not help.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("the model did not answer within {0:?}")]
    Timeout(Duration),
    #[error("the model cannot be reached: {0}")]
    Unreachable(String),
    #[error("the model's API answered {status}{message}")]
    Status { status: StatusCode, message: String },
    #[error("the model's answer broke off: {0}")]
    Cut(String),
    #[error("the model's answer is longer than {LONGEST_ANSWER} bytes")]
    TooLong,
    #[error("the model's answer cannot be used: {0}")]
    Unusable(String),
    #[error("the model's key is none that a header can carry")]
    Key,
}

impl Model {
    pub const ANTHROPIC: &'static str = "https://api.anthropic.com";
    pub const OPENAI: &'static str = "https://api.openai.com/v1";
    /// Small and quick; understanding a sentence needs no more.
    pub const ANTHROPIC_MODEL: &'static str = "claude-haiku-4-5";
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// Anthropic's API at its own address, with [`Self::ANTHROPIC_MODEL`].
    pub fn anthropic(client: Client, key: SecretString) -> Self {
        Self {
            client,
            dialect: Dialect::Anthropic,
            base: Self::ANTHROPIC.to_owned(),
            key: Some(key),
            model: Self::ANTHROPIC_MODEL.to_owned(),
            timeout: Self::TIMEOUT,
        }
    }

    /// An API that is like OpenAI's, at [`Self::OPENAI`] unless another address is given; one on this machine needs no key.
    pub fn openai(client: Client, key: Option<SecretString>, model: impl Into<String>) -> Self {
        Self {
            client,
            dialect: Dialect::OpenAi,
            base: Self::OPENAI.to_owned(),
            key,
            model: model.into(),
            timeout: Self::TIMEOUT,
        }
    }

    /// Where the API is: for Anthropic without, for OpenAI with the version (`/v1`), as `ANTHROPIC_BASE_URL` and `OPENAI_BASE_URL`
    /// have it.
    #[must_use]
    pub fn at(self, base: impl Into<String>) -> Self {
        let base = base.into().trim_end_matches('/').to_owned();
        Self { base, ..self }
    }

    #[must_use]
    pub fn named(self, model: impl Into<String>) -> Self {
        Self { model: model.into(), ..self }
    }

    /// The longest that it may take, from the request to the last byte of the answer.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// The model's word on a sentence. `grammar` is what the grammar made of it.
    async fn ask(&self, grammar: &VoiceCommand, context: &Context<'_>) -> Result<VoiceCommand, ModelError> {
        let body = wire::request(self.dialect, &self.model, &grammar.transcript, context);
        let answer = tokio::time::timeout(self.timeout, self.exchange(&body))
            .await
            .map_err(|_| ModelError::Timeout(self.timeout))??;
        let answer = wire::answer(self.dialect, &answer).map_err(ModelError::Unusable)?;
        answer::check(answer, grammar, context).map_err(ModelError::Unusable)
    }

    async fn exchange(&self, body: &serde_json::Value) -> Result<Vec<u8>, ModelError> {
        let (path, header, scheme) = match self.dialect {
            Dialect::Anthropic => ("/v1/messages", "x-api-key", ""),
            Dialect::OpenAi => ("/chat/completions", "authorization", "Bearer "),
        };
        let mut request = self.client.post(format!("{}{path}", self.base)).json(body);
        if self.dialect == Dialect::Anthropic {
            request = request.header("anthropic-version", "2023-06-01");
        }
        if let Some(key) = &self.key {
            let mut value =
                HeaderValue::from_str(&format!("{scheme}{}", key.expose_secret())).map_err(|_| ModelError::Key)?;
            value.set_sensitive(true);
            request = request.header(header, value);
        }
        // The address may carry credentials of its own.
        let unreachable = |error: reqwest::Error| ModelError::Unreachable(chain(&error.without_url()));
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| ModelError::Cut(chain(&error.without_url())))? {
            if bytes.len() + chunk.len() > LONGEST_ANSWER {
                return Err(ModelError::TooLong);
            }
            bytes.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(bytes);
        }
        let message = wire::fault(&bytes).map(|fault| format!(": {}", self.without_key(&fault))).unwrap_or_default();
        Err(ModelError::Status { status, message })
    }

    /// A server may repeat the key that it does not like.
    fn without_key(&self, text: &str) -> String {
        match &self.key {
            Some(key) if !key.expose_secret().is_empty() => text.replace(key.expose_secret(), "[key]"),
            _ => text.to_owned(),
        }
    }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Who understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Grammar,
    Model,
}

/// What was understood, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Understood {
    pub command: VoiceCommand,
    pub by: By,
    /// Why the model did not help, where one was asked; for people.
    pub note: Option<String>,
}

/// What a sentence wants: the grammar's word where it is sure, else the model's if there is one and it answers as it should.
/// Never fails, since the grammar always has an answer. `text` and `raw` as for [`super::parse`].
pub async fn understand(text: &str, raw: &str, context: &Context<'_>, model: Option<&Model>) -> Understood {
    let began = Instant::now();
    let (command, settled) = interpret(text, raw, context);
    let sure = command.confidence >= SURE || settled || means_each(&command);
    let Some(model) = model.filter(|_| !sure) else {
        return Understood { command, by: By::Grammar, note: None };
    };
    match model.ask(&command, context).await {
        Ok(understood) => {
            let processing_time_ms = began.elapsed().as_secs_f64() * 1000.0;
            let command = VoiceCommand { processing_time_ms, ..understood };
            Understood { command, by: By::Model, note: None }
        }
        Err(error) => {
            tracing::warn!(%error, "a model did not help to understand");
            Understood { command, by: By::Grammar, note: Some(error.to_string()) }
        }
    }
}
