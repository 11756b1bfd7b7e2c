//! A recording in the body of a request.

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::{StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cadence_protocol::{ParseContext, TranscribeRequest};

use super::LARGEST;
use crate::http::error::{ApiJson, Failure};

/// Largest text in a form, in bytes.
const MAX_TEXT: usize = 1024 * 1024;

/// A recording, and what it is listened to with. It comes as JSON with the file in base64, or as a form with the file in
/// `audio` (or `file`, as Whisper's API has it), `language`, `repoPath`, `repoUrl`, `vocabulary` (a JSON array) and `context`
/// (all of them as JSON).
pub struct Sound {
    pub file: Bytes,
    pub language: Option<String>,
    pub context: ParseContext,
}

impl<S: Send + Sync> FromRequest<S> for Sound {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let kind =
            request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let sound = if kind.to_ascii_lowercase().starts_with("multipart/form-data") {
            let form = Multipart::from_request(request, state).await;
            let form = form.map_err(|rejection| Failure::bad_request(rejection.body_text()))?;
            from_form(form).await?
        } else {
            let ApiJson(request) = ApiJson::<TranscribeRequest>::from_request(request, state).await?;
            let file = STANDARD
                .decode(request.audio.trim())
                .map_err(|error| Failure::invalid("audio", format!("it is not base64: {error}")))?;
            Self { file: file.into(), language: request.language, context: request.context }
        };
        if sound.file.is_empty() {
            return Err(Failure::invalid("audio", "there is no recording"));
        }
        if sound.file.len() > LARGEST {
            return Err(too_large());
        }
        if let Some(language) = &sound.language
            && !(2..=3).contains(&language.len())
        {
            return Err(Failure::invalid("language", "it is a code like `en`"));
        }
        Ok(sound)
    }
}

fn too_large() -> Failure {
    let text = format!("the recording is larger than {} MB", LARGEST / (1024 * 1024));
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text).hint("Say it in shorter parts, or send FLAC or MP3.")
}

async fn from_form(mut form: Multipart) -> Result<Sound, Failure> {
    let mut sound = Sound { file: Bytes::new(), language: None, context: ParseContext::default() };
    while let Some(field) = form.next_field().await.map_err(|error| broken(&error))? {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "audio" | "file" => sound.file = field.bytes().await.map_err(|error| broken(&error))?,
            "language" => sound.language = Some(text(field).await?).filter(|text| !text.is_empty()),
            "repoPath" => sound.context.repo_path = Some(text(field).await?),
            "repoUrl" => sound.context.repo_url = Some(text(field).await?),
            "vocabulary" => sound.context.vocabulary = json(&name, &text(field).await?)?,
            "context" => sound.context = json(&name, &text(field).await?)?,
            // Forms of other programs have more.
            _ => drop(text(field).await?),
        }
    }
    Ok(sound)
}

async fn text(mut field: Field<'_>) -> Result<String, Failure> {
    let name = field.name().unwrap_or_default().to_owned();
    let mut bytes = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_TEXT {
            return Err(Failure::invalid(&name, "it is too long"));
        }
    }
    String::from_utf8(bytes).map_err(|_| Failure::invalid(&name, "it is no text"))
}

fn json<T: serde::de::DeserializeOwned>(name: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::invalid(name, error.to_string()))
}

fn broken(error: &MultipartError) -> Failure {
    match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Failure::bad_request(error.body_text()),
    }
}
