//! What engines on the network have in common.

use std::future::Future;
use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Response, StatusCode, redirect};
use secrecy::SecretString;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::{EngineError, ErrorKind};

/// Bytes of an answer that are read: the segments of ten minutes are a few hundred KiB.
const MAX_ANSWER: usize = 8 << 20;

/// How long an engine on the network is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the whole request, its second try included.
    pub limit: Duration,
    /// For a connection.
    pub connect: Duration,
    /// Before the second try, where the endpoint does not tell.
    pub backoff: Duration,
    /// An endpoint that wants a longer wait before the second try gets none.
    pub longest_wait: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            limit: Duration::from_secs(60),
            connect: Duration::from_secs(5),
            backoff: Duration::from_millis(400),
            longest_wait: Duration::from_secs(3),
        }
    }
}

impl Patience {
    /// How long to wait before a second try; `None` where another try is of no use.
    fn before_retry(&self, error: ErrorKind) -> Option<Duration> {
        match error {
            ErrorKind::RateLimited { retry_after: Some(wait) } => Some(wait).filter(|wait| *wait <= self.longest_wait),
            ErrorKind::RateLimited { retry_after: None } | ErrorKind::Unavailable => Some(self.backoff),
            _ => None,
        }
    }

    /// Tries, and once more where the failure may pass, all within the limit.
    pub(super) async fn with<T, F, Try>(&self, engine: &'static str, mut attempt: F) -> Result<T, EngineError>
    where
        F: FnMut() -> Try,
        Try: Future<Output = Result<T, EngineError>>,
    {
        let tries = async {
            match attempt().await {
                Err(error) => match self.before_retry(error.kind) {
                    Some(wait) => {
                        tracing::debug!(%error, ?wait, "an engine is tried again");
                        tokio::time::sleep(wait).await;
                        attempt().await
                    }
                    None => Err(error),
                },
                done => done,
            }
        };
        tokio::time::timeout(self.limit, tries)
            .await
            .unwrap_or_else(|_| Err(EngineError::new(engine, ErrorKind::Timeout)))
    }
}

/// A client whose connections are kept from [`super::Engine::warm_up`] to the request.
///
/// Redirects are not followed: an endpoint that was moved is to be configured, and a recording goes nowhere else.
pub(super) fn client(engine: &'static str, patience: &Patience) -> Result<reqwest::Client, EngineError> {
    reqwest::Client::builder()
        .connect_timeout(patience.connect)
        .pool_idle_timeout(Duration::from_secs(60))
        .redirect(redirect::Policy::none())
        .user_agent(concat!("cadence/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| EngineError::new(engine, ErrorKind::Unusable).because(&told(error), None))
}

/// Takes the answer that came when a connection was opened.
///
/// It is read to its end, or the connection is closed with it. Of refusals only that of the key (401) counts: what was asked for
/// may well not be there, and keys may be good for transcripts alone (403).
pub(super) async fn connected(
    engine: &'static str,
    response: Response,
    key: Option<&SecretString>,
) -> Result<(), EngineError> {
    let (status, headers) = (response.status(), response.headers().clone());
    let body = bytes(engine, response).await?;
    if status == StatusCode::UNAUTHORIZED {
        return Err(refused(engine, status, &headers, &body, key));
    }
    Ok(())
}

/// What went wrong before there was an answer, or in the middle of it.
pub(super) fn broken(engine: &'static str, error: reqwest::Error) -> EngineError {
    let kind = match () {
        () if error.is_timeout() && !error.is_connect() => ErrorKind::Timeout,
        () if error.is_builder() => ErrorKind::Refused,
        () => ErrorKind::Unavailable,
    };
    EngineError::new(engine, kind).because(&told(error), None)
}

/// The innermost cause, which says most, without the URL, which may hold a password.
fn told(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The bytes of an answer of a bounded size.
pub(super) async fn bytes(engine: &'static str, mut response: Response) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| broken(engine, error))? {
        if bytes.len() + piece.len() > MAX_ANSWER {
            return Err(EngineError::new(engine, ErrorKind::Garbage).because("the answer does not end", None));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// The error that a status other than success stands for.
pub(super) fn refused(
    engine: &'static str,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    key: Option<&SecretString>,
) -> EngineError {
    let kind = match status.as_u16() {
        401 | 403 => ErrorKind::Auth,
        413 => ErrorKind::TooLarge,
        429 => ErrorKind::RateLimited { retry_after: retry_after(headers, OffsetDateTime::now_utc()) },
        408 | 500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Refused,
    };
    // What is said of a wrong key holds part of it.
    let said = if kind == ErrorKind::Auth { String::new() } else { complaint(body) };
    EngineError::new(engine, kind).because(&format!("HTTP {} {said}", status.as_u16()), key)
}

/// What an endpoint says of its refusal, in the ways of OpenAI, whisper.cpp, FastAPI and Deepgram; else the text of the body.
pub(super) fn complaint(body: &[u8]) -> String {
    let Ok(document) = serde_json::from_slice::<Value>(body) else {
        let text = String::from_utf8_lossy(body.get(..2_000).unwrap_or(body)).into_owned();
        // A proxy's page says nothing that its status does not.
        return if text.trim_start().starts_with('<') { String::new() } else { text };
    };
    let error = &document["error"];
    let told = [
        &error["message"],
        error,
        &document["err_msg"],
        &document["details"],
        &document["message"],
        &document["detail"],
    ];
    told.into_iter().find_map(Value::as_str).map_or_else(|| document.to_string(), str::to_owned)
}

/// `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: OffsetDateTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = OffsetDateTime::parse(value, &Rfc2822).ok()?;
    Some(Duration::try_from(date - now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().expect("a header"));
        let now = OffsetDateTime::parse("Wed, 25 Nov 2026 12:00:00 GMT", &Rfc2822).expect("a date");
        retry_after(&headers, now)
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        assert_eq!(after("2"), Some(Duration::from_secs(2)));
        assert_eq!(after("0.25"), Some(Duration::from_millis(250)));
        assert_eq!(after("Wed, 25 Nov 2026 12:00:07 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 25 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["soon", "-3", "NaN", "1e300", ""] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_not_after_a_long_wait() {
        let patience = Patience::default();
        let limited = |seconds| ErrorKind::RateLimited { retry_after: Some(Duration::from_secs(seconds)) };
        let table = [
            (ErrorKind::Unavailable, Some(patience.backoff)),
            (ErrorKind::RateLimited { retry_after: None }, Some(patience.backoff)),
            (limited(1), Some(Duration::from_secs(1))),
            (limited(60), None),
            (ErrorKind::Auth, None),
            (ErrorKind::TooLarge, None),
            (ErrorKind::Refused, None),
            (ErrorKind::Silence, None),
            (ErrorKind::Timeout, None),
            (ErrorKind::Garbage, None),
        ];
        for (kind, wait) in table {
            assert_eq!(patience.before_retry(kind), wait, "{kind:?}");
        }
    }

    #[test]
    fn complaints_are_found_in_the_ways_of_each_endpoint() {
        let table = [
            (r#"{"error":{"message":"Invalid file format.","type":"invalid_request_error"}}"#, "Invalid file format."),
            (r#"{"error":"failed to read WAV file"}"#, "failed to read WAV file"),
            (r#"{"detail":"Model not found"}"#, "Model not found"),
            (r#"{"err_code":"Bad Request","err_msg":"corrupt data"}"#, "corrupt data"),
            ("plain words", "plain words"),
            ("<html><h1>502</h1></html>", ""),
            (r#"{"detail":[{"loc":["body"]}]}"#, r#"{"detail":[{"loc":["body"]}]}"#),
        ];
        for (body, said) in table {
            assert_eq!(complaint(body.as_bytes()), said);
        }
    }
}
