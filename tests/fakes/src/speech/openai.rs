use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Multipart, OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::SENTENCE;
use super::server::{Reply, Shared, SpeechRequest, Upload, scheme, trouble};

pub(super) async fn models() -> Json<Value> {
    Json(json!({ "object": "list", "data": [{ "id": "whisper-1", "object": "model" }] }))
}

pub(super) async fn transcribe(
    State(shared): State<Arc<Shared>>,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    mut form: Multipart,
) -> Response {
    let mut request = SpeechRequest {
        method: "POST".to_owned(),
        path: uri.path().to_owned(),
        scheme: scheme(&headers),
        ..SpeechRequest::default()
    };
    while let Ok(Some(field)) = form.next_field().await {
        let name = field.name().unwrap_or_default().to_owned();
        if name == "file" {
            let (file, kind) = (field.file_name().map(str::to_owned), field.content_type().map(str::to_owned));
            let Ok(bytes) = field.bytes().await else { return StatusCode::BAD_REQUEST.into_response() };
            request.file = Some(Upload { name: file, content_type: kind, bytes: bytes.to_vec() });
        } else if let Ok(text) = field.text().await {
            request.fields.insert(name, text);
        }
    }
    request.arrived = Some(Instant::now());
    let flac = request.file.as_ref().is_some_and(|file| file.bytes.starts_with(b"fLaC"));
    let verbose = request.fields.get("response_format").is_some_and(|format| format == "verbose_json");
    let (refusal, reply, delay) = {
        let mut inner = shared.lock();
        inner.requests.push(request);
        let refusal = if inner.refuses_segments && verbose {
            Some("response_format 'verbose_json' is not compatible with model 'gpt-4o-transcribe'. Use 'json' instead.")
        } else if inner.refuses_flac && flac {
            Some("Invalid file format.")
        } else {
            None
        };
        let reply = if refusal.is_some() { None } else { inner.replies.pop_front() };
        (refusal, reply.unwrap_or_else(|| Reply::Text(SENTENCE.to_owned())), inner.delay)
    };
    tokio::time::sleep(delay).await;
    if let Some(message) = refusal {
        let error = json!({ "error": { "message": message, "type": "invalid_request_error", "param": null } });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    if let Some(response) = trouble(&reply).await {
        return response;
    }
    let Reply::Text(text) = reply else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let answer = if verbose {
        json!({
            "task": "transcribe", "language": "english", "duration": 2.6, "text": text,
            "segments": [{
                "id": 0, "seek": 0, "start": 0.0, "end": 2.5, "text": text, "tokens": [50364], "temperature": 0.0,
                "avg_logprob": -0.2, "compression_ratio": 0.9, "no_speech_prob": 0.01,
            }],
        })
    } else {
        json!({ "text": text })
    };
    Json(answer).into_response()
}
