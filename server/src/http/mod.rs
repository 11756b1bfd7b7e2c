//! The API over HTTP and WebSocket.

mod approvals;
mod auth;
mod bundles;
mod docs;
mod error;
mod events;
mod health;
mod input;
mod intake;
pub mod machine;
mod machines;
mod prune;
mod results;
mod tasks;
mod tokens;
mod usage;
mod voice;
mod ws;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use cadence_agent::workspace::Workspaces;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use auth::Gate;
pub use ws::Patience;

use crate::bridge::Bridge;
use crate::config::Retention;
use crate::queue::Dispatcher;
use crate::results::Results;
use crate::store::{Store, StoreError};
use crate::voice::Voice;

/// Largest body of a request, in bytes.
const BODY_LIMIT: usize = 1024 * 1024;
/// Longest time that an answer may take, streams left out.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Largest body with a recording, in bytes: one of [`voice::LARGEST`] in base64, and what is said beside it.
const SOUND_LIMIT: usize = voice::LARGEST / 3 * 4 + 2 * BODY_LIMIT;
/// Longest time that a recording may take: engines are given a minute each.
const SOUND_TIMEOUT: Duration = Duration::from_secs(180);

/// Longest time that a bundle may take to come or to be made.
const BUNDLE_TIMEOUT: Duration = Duration::from_secs(1800);

/// What the handlers share.
#[derive(Clone)]
pub struct App {
    pub store: Store,
    pub gate: Arc<Gate>,
    pub workspaces: Arc<Workspaces>,
    pub activity: Arc<Activity>,
    pub voice: Arc<Voice>,
    pub bridge: Bridge,
    pub dispatcher: Dispatcher,
    /// What tasks did on other machines.
    pub results: Results,
    /// Largest bundle that is taken, in bytes.
    pub bundle_limit: u64,
    pub default_agent: String,
    pub retention: Retention,
    /// Names of the agents that run here.
    pub agents: Vec<&'static str>,
    pub patience: Patience,
    /// Ends the streams when the server stops.
    pub closing: CancellationToken,
}

/// When something was last asked of the server, and how many streams are open.
#[derive(Debug)]
pub struct Activity {
    /// Of a clock that nobody sets.
    last: Mutex<Instant>,
    pub streams: AtomicUsize,
}

impl Default for Activity {
    fn default() -> Self {
        Self { last: Mutex::new(Instant::now()), streams: AtomicUsize::new(0) }
    }
}

impl Activity {
    pub fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// For how long nothing was asked; zero while a stream is open.
    pub fn idle(&self) -> Duration {
        if self.streams.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

/// Counts a stream for as long as it lives.
pub struct OpenStream(Arc<Activity>);

impl OpenStream {
    pub fn new(activity: &Arc<Activity>) -> Self {
        activity.streams.fetch_add(1, Ordering::Relaxed);
        Self(activity.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.touch();
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "cadence", description = "Runs coding agents, stores what they do, and streams it."),
    components(schemas(cadence_protocol::ApiError, cadence_protocol::Event)),
    security(("token" = [])),
    modifiers(&BearerToken)
)]
struct Document;

struct BearerToken;

impl utoipa::Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        document.components.get_or_insert_default().add_security_scheme("token", scheme);
    }
}

fn api() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::health))
        .routes(routes!(health::stream_health))
        .routes(routes!(health::me))
        .routes(routes!(tasks::list, tasks::create))
        .routes(routes!(tasks::show, tasks::cancel))
        .routes(routes!(tasks::pause))
        .routes(routes!(tasks::resume))
        .routes(routes!(tasks::restart))
        .routes(routes!(tasks::archive))
        .routes(routes!(tasks::unarchive))
        .routes(routes!(tasks::remove))
        .routes(routes!(tasks::message))
        .routes(routes!(tasks::diff))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::list_of_task))
        .routes(routes!(approvals::decide))
        .routes(routes!(events::one))
        .routes(routes!(input::command))
        .routes(routes!(input::text))
        .routes(routes!(voice::parse))
        .routes(routes!(prune::prune))
        .routes(routes!(machines::list))
        .routes(routes!(machines::show, machines::remove))
        .routes(routes!(machines::drain))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(usage::report))
}

/// What lasts as long as the client wants.
fn streams() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(events::list))
        .routes(routes!(ws::upgrade))
        .routes(routes!(machines::upgrade))
        .routes(routes!(voice::stream))
}

/// What carries commits.
fn bundles() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(bundles::upload))
        .routes(routes!(bundles::download))
        .routes(routes!(bundles::result))
        .routes(routes!(results::put))
}

/// What takes recordings.
fn sound() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(voice::transcribe)).routes(routes!(voice::command))
}

/// The OpenAPI document, generated from the handlers.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let (_, mut document) = api().merge(streams()).merge(sound()).merge(bundles()).split_for_parts();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document
}

/// Everything that is served.
pub fn router(app: App) -> Router {
    let (answers, _) = api().split_for_parts();
    let (streams, _) = streams().split_for_parts();
    // The address of older daemons.
    let streams = streams.route("/ws/daemon", get(machines::upgrade));
    let answers = answers
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/api/openapi.json", get(|| async { Json(openapi()) }))
        .route("/api/docs", get(docs::page))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, TIMEOUT));
    let (sound, _) = sound().split_for_parts();
    let sound = sound
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, SOUND_TIMEOUT))
        .layer(RequestBodyLimitLayer::new(SOUND_LIMIT));
    let (bundles, _) = bundles().split_for_parts();
    // The largest body is the handler's business: it is no one number.
    let bundles = bundles.layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, BUNDLE_TIMEOUT));
    answers
        .merge(streams)
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT))
        .merge(sound)
        .merge(bundles)
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn(error::shape))
        .layer(from_fn_with_state(app.clone(), note))
        .with_state(app)
}

/// Notes that something was asked, and logs what took part in it, without headers.
async fn note(State(app): State<App>, request: Request, next: Next) -> Response {
    app.activity.touch();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let started = Instant::now();
    let mut response = next.run(request).await;
    // Who reads meets a damaged page as well as who writes.
    if let Some(error::Code(code)) = response.extensions().get()
        && code == "database_damaged"
        && !app.store.trouble().is_damaged()
    {
        app.store.trouble().note(StoreError::Damaged("a page could not be read".to_owned()));
    }
    let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(%method, path, status = response.status().as_u16(), millis, "answered");
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, header::HeaderValue::from_static("nosniff"));
    response
}
