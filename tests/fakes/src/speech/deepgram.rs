use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{FromRequestParts, Query, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::SENTENCE;
use super::server::{Reply, Said, Shared, SpeechRequest, Upload, scheme, trouble};

pub(super) async fn listen(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<Vec<(String, String)>>,
    request: Request,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut recorded = SpeechRequest {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        scheme: scheme(&parts.headers),
        query,
        ..SpeechRequest::default()
    };
    if parts.method != Method::POST {
        let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
            return StatusCode::METHOD_NOT_ALLOWED.into_response();
        };
        if let Some(status) = shared.lock().refuses_streams {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            return (status, Json(json!({ "err_code": "INVALID_AUTH", "err_msg": "Invalid credentials." })))
                .into_response();
        }
        return upgrade.on_upgrade(move |socket| stream(shared, recorded, socket));
    }
    let content_type = parts.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_else(|_| Bytes::new());
    recorded.arrived = Some(Instant::now());
    recorded.file = Some(Upload { name: None, content_type, bytes: bytes.to_vec() });
    let (reply, delay) = {
        let mut inner = shared.lock();
        inner.requests.push(recorded);
        (inner.replies.pop_front().unwrap_or_else(|| Reply::Text(SENTENCE.to_owned())), inner.delay)
    };
    tokio::time::sleep(delay).await;
    if let Some(response) = trouble(&reply).await {
        return response;
    }
    let Reply::Text(text) = reply else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let mut channel = channel(&text);
    channel["detected_language"] = json!("en");
    Json(json!({ "metadata": { "request_id": "fake", "channels": 1 }, "results": { "channels": [channel] } }))
        .into_response()
}

/// Listens until the stream is closed, and says what the script says.
async fn stream(shared: Arc<Shared>, mut recorded: SpeechRequest, mut socket: WebSocket) {
    let mut said: VecDeque<(usize, Said)> = shared.lock().said.clone().into();
    let finished = converse(&mut recorded, &mut socket, &mut said).await;
    shared.lock().requests.push(recorded);
    if finished {
        let metadata = json!({ "type": "Metadata", "request_id": "fake", "duration": 2.6, "channels": 1 });
        // Whoever listens may be gone.
        let _ = socket.send(Message::text(metadata.to_string())).await;
        let _ = socket.send(Message::Close(None)).await;
    }
}

/// Whether the stream came to its proper end.
async fn converse(recorded: &mut SpeechRequest, socket: &mut WebSocket, said: &mut VecDeque<(usize, Said)>) -> bool {
    while let Some(Ok(message)) = socket.recv().await {
        let mut ends = false;
        match message {
            Message::Binary(sound) => recorded.sound += sound.len(),
            Message::Text(text) => {
                ends = text.contains("CloseStream");
                recorded.messages.push(text.to_string());
            }
            _ => continue,
        }
        while let Some((_, what)) = said.pop_front_if(|(after, _)| ends || *after <= recorded.sound) {
            let text = match what {
                Said::Interim(text) => results(&text, false),
                Said::Final(text) => results(&text, true),
                Said::Raw(text) => text,
                Said::Cut => return false,
                Said::Hang => std::future::pending().await,
            };
            if socket.send(Message::text(text)).await.is_err() {
                return false;
            }
        }
        if ends {
            return true;
        }
    }
    false
}

fn results(text: &str, is_final: bool) -> String {
    json!({
        "type": "Results", "channel_index": [0, 1], "duration": 1.0, "start": 0.0, "is_final": is_final,
        "speech_final": is_final, "from_finalize": false, "channel": channel(text),
        "metadata": { "request_id": "fake" },
    })
    .to_string()
}

/// The text with a word each quarter of a second.
fn channel(text: &str) -> Value {
    let words: Vec<Value> = text
        .split_whitespace()
        .enumerate()
        .map(|(index, word)| {
            let start = index as f64 * 0.25;
            json!({ "word": word, "punctuated_word": word, "start": start, "end": start + 0.2, "confidence": 0.99 })
        })
        .collect();
    json!({ "alternatives": [{ "transcript": text, "confidence": 0.99, "words": words }] })
}
