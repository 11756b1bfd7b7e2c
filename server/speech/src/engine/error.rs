use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

/// Characters of what an endpoint said that are shown.
const MAX_DETAIL: usize = 300;

/// Why an engine gave no text.
///
/// What it shows holds no key: neither the one that was configured, should the endpoint repeat it, nor a URL.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{engine} {kind}{}", .detail.as_ref().map(|detail| format!(": {detail}")).unwrap_or_default())]
pub struct EngineError {
    pub engine: &'static str,
    pub kind: ErrorKind,
    /// In the engine's own words.
    pub detail: Option<String>,
}

/// What kind of failure it is, and so what can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorKind {
    /// HTTP 401 or 403.
    #[error("refused the credentials")]
    Auth,
    /// HTTP 413.
    #[error("takes no recording as large as this")]
    TooLarge,
    /// HTTP 429, or out of quota.
    #[error("has had too many requests")]
    RateLimited {
        /// When to try again, where the endpoint told.
        retry_after: Option<Duration>,
    },
    /// HTTP 5xx, no connection, or one that broke off.
    #[error("is not available")]
    Unavailable,
    #[error("did not answer in time")]
    Timeout,
    #[error("gave an answer that cannot be understood")]
    Garbage,
    /// There is nobody to be heard in the recording.
    #[error("heard nobody speak")]
    Silence,
    /// Another HTTP 4xx: the endpoint, the model or a setting is not what it should be.
    #[error("refused the request")]
    Refused,
    /// The engine cannot run here: no model, or one that cannot be loaded.
    #[error("cannot be used")]
    Unusable,
}

impl EngineError {
    pub fn new(engine: &'static str, kind: ErrorKind) -> Self {
        Self { engine, kind, detail: None }
    }

    /// With what the endpoint or library said, in one line, cut to a readable length and without the key.
    pub fn because(mut self, said: &str, key: Option<&SecretString>) -> Self {
        let key = key.map(|key| key.expose_secret()).filter(|key| !key.is_empty());
        let said = key.map_or_else(|| said.to_owned(), |key| said.replace(key, "[key]"));
        let line = said.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
        let line = line.collect::<Vec<_>>().join(" ");
        let mut detail: String = line.chars().take(MAX_DETAIL).collect();
        if detail.len() < line.len() {
            detail.push('…');
        }
        self.detail = Some(detail).filter(|detail| !detail.is_empty());
        self
    }

    /// What somebody can do about it.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            ErrorKind::Auth => "check the engine's API key and what it may be used for",
            ErrorKind::TooLarge => "say it in shorter parts",
            ErrorKind::RateLimited { .. } => "wait a moment, check the account's quota, or configure a second engine",
            ErrorKind::Unavailable => "check the engine's URL and the network, or configure a second engine",
            ErrorKind::Timeout => "try again, or choose a faster model or engine",
            ErrorKind::Garbage => "check that the URL is that of a transcription API",
            ErrorKind::Silence => "check that the microphone is the right one and not muted, and speak up",
            ErrorKind::Refused => "check the engine's URL, its model and the language",
            ErrorKind::Unusable => "download the model again, or choose another",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{EngineError, ErrorKind};

    #[test]
    fn an_error_is_one_short_line_without_the_key() {
        let key = "sk-very-secret".into();
        let said = format!("Incorrect API key\nprovided:\t\u{1b}[31m sk-very-secret. {}", "more ".repeat(200));
        let error = EngineError::new("openai", ErrorKind::Refused).because(&said, Some(&key));
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("sk-very-secret"), "{shown}");
        assert!(error.to_string().starts_with("openai refused the request: Incorrect API key provided: [31m [key]."));
        assert!(error.to_string().chars().count() < 350 && error.to_string().ends_with('…'));
    }

    #[test]
    fn nothing_said_is_nothing_shown() {
        let error = EngineError::new("deepgram", ErrorKind::Timeout).because(" \n", None);
        assert_eq!(error.to_string(), "deepgram did not answer in time");
    }
}
