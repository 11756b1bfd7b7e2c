use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use cadence_protocol::{Health, Me, StreamHealth};

use super::App;
use super::auth::Reader;
use super::error::Failure;
use crate::store::now;

/// Whether the server answers, and which version it is.
#[utoipa::path(get, path = "/api/health", security(()), responses((status = 200, body = Health)))]
pub async fn health() -> Json<Health> {
    Json(Health { status: "ok".into(), timestamp: now(), version: env!("CARGO_PKG_VERSION").into() })
}

/// How many streams are open.
#[utoipa::path(get, path = "/api/ws/health", responses((status = 200, body = StreamHealth)))]
pub async fn stream_health(State(app): State<App>, _: Reader) -> Json<StreamHealth> {
    Json(StreamHealth { connections: app.activity.streams.load(Ordering::Relaxed), status: "ok".into() })
}

/// Whose token it is.
#[utoipa::path(get, path = "/api/me", responses((status = 200, body = Me)))]
pub async fn me(Reader(who): Reader) -> Json<Me> {
    Json(Me { user_id: who.user_id, name: who.name, scopes: who.scopes })
}

/// The process lives.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// Storage answers and takes what is to be stored; else 503 with the code of what fails.
pub async fn ready(State(app): State<App>) -> Result<&'static str, Failure> {
    // Anybody may ask, so it says what fails and not where.
    app.store.ping().await.map_err(|error| {
        let sentence = format!("the server is not ready: {}", error.code().replace('_', " "));
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, error.code(), sentence)
    })?;
    Ok("ok\n")
}
