//! What a machine answers to that is reached over HTTP and server-sent events. It runs tasks as any server does: what an
//! agent did is stored before it is told, a stream goes on where it broke off, and a task outlives whoever asked for it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRef, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::sse::{Event as Sse, KeepAlive};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cadence_protocol::{CreateTask, Decide, DecisionRequest, Health, RunComplete, RunNotice, RunTask, Task};
use futures_util::StreamExt;
use futures_util::stream::{self, Stream};
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use uuid::Uuid;

use super::auth::bearer;
use super::error::{self, ApiJson, ApiPath, Failure};
use super::health;
use super::tasks::submit;
use super::{App, BODY_LIMIT, OpenStream};
use crate::events::feed::{Feed, Item};
use crate::store::{Principal, StoreError, now};

/// A comment is sent so often, for whoever waits whether the machine is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How often it is looked for agents that ask, beside whenever a task changes.
const LOOK: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Machine {
    app: App,
    /// Whose tasks all are.
    owner: Principal,
}

impl FromRef<Machine> for App {
    fn from_ref(machine: &Machine) -> Self {
        machine.app.clone()
    }
}

/// Everything that the machine answers to.
pub fn router(app: App, owner: Principal) -> Router {
    Router::new()
        .route("/health", get(show_health))
        .route("/readyz", get(health::ready))
        .route("/task", post(run))
        .route("/task/stream", post(run_stream))
        .route("/task/{id}/stream", get(follow))
        .route("/task/{id}", axum::routing::delete(cancel))
        .layer(RequestBodyLimitLayer::new(BODY_LIMIT))
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(from_fn(error::shape))
        .layer(axum::middleware::from_fn_with_state(app.clone(), super::note))
        .with_state(Machine { app, owner })
}

/// Denies what agents ask for, for over this bridge nobody can be asked. Ends with the server.
pub async fn deny(app: App, owner: Principal) {
    let bridge = Principal { name: "the bridge".to_owned(), ..owner };
    let mut changes = app.store.hub().snapshots().listen();
    loop {
        let asked = app.store.approvals(bridge.user_id, None).await.unwrap_or_default();
        for approval in asked {
            let decide = Decide {
                decision: DecisionRequest::Deny,
                updated_input: None,
                answers: None,
                message: Some(
                    "Nobody can be asked here: this task was sent by a program. Do it another way, or without it."
                        .to_owned(),
                ),
            };
            if let Err(error) = app.store.decide(bridge.clone(), approval.task_id, approval.id, decide).await {
                // Whoever was faster than this has answered, or the agent is gone.
                tracing::debug!(%error, "a request of an agent could not be denied");
            }
        }
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return;
                }
                app.store.hub().snapshots().take(&mut changes, bridge.user_id);
            }
            () = tokio::time::sleep(LOOK) => {}
            () = app.closing.cancelled() => return,
        }
    }
}

/// Somebody who has the key, or is on the machine where there is none.
struct Caller;

impl FromRequestParts<Machine> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, machine: &Machine) -> Result<Self, Failure> {
        if machine.app.gate.is_open() {
            return if is_local_name(&parts.headers) {
                Ok(Self)
            } else {
                let text = "without a key this machine is asked by its own name only, like 127.0.0.1";
                Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", text))
            };
        }
        let key = bearer(&parts.headers)
            .ok_or_else(|| Failure::unauthorized("a key is needed").hint("Send `Authorization: Bearer KEY`."))?;
        // The store's errors are told as they are; whoever has no key learns no more.
        machine.app.principal(key).await.map(|_| Self)
    }
}

/// Pages of the web reach loopback under names of their own (DNS rebinding); they say so in `Host`.
fn is_local_name(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether the machine answers, and takes the key where one is sent.
async fn show_health(State(machine): State<Machine>, headers: HeaderMap) -> Result<Json<Health>, Failure> {
    if let Some(key) = bearer(&headers).filter(|_| !machine.app.gate.is_open()) {
        machine.app.principal(key).await?;
    }
    Ok(Json(Health { status: "ok".into(), timestamp: now(), version: env!("CARGO_PKG_VERSION").into() }))
}

/// Runs a task, and answers when it has ended. Whoever goes away does not end it.
async fn run(
    State(machine): State<Machine>,
    _: Caller,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    ApiJson(request): ApiJson<RunTask>,
) -> Result<Response, Failure> {
    let task = machine.submit(peer, &headers, request).await?;
    let mut told = std::pin::pin!(machine.follow(task, u64::MAX));
    loop {
        match told.next().await {
            Some(Told::End(task)) => return Ok(Json(complete(&task)).into_response()),
            Some(_) => {}
            None => return Err(Failure::from(StoreError::Closed)),
        }
    }
}

/// Runs a task, and tells what happens.
async fn run_stream(
    State(machine): State<Machine>,
    _: Caller,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    ApiJson(request): ApiJson<RunTask>,
) -> Result<Response, Failure> {
    let after = last_event_id(&headers)?;
    let task = machine.submit(peer, &headers, request).await?;
    Ok(machine.stream(task, after))
}

/// Tells what happens in a run, from the beginning or after `Last-Event-ID`.
async fn follow(
    State(machine): State<Machine>,
    _: Caller,
    ApiPath(id): ApiPath<Uuid>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let after = last_event_id(&headers)?;
    let task = machine.app.store.task(machine.owner.user_id, id).await.map_err(unknown)?;
    Ok(machine.stream(task, after))
}

/// Cancels a run; one that has been cancelled stays so.
async fn cancel(
    State(machine): State<Machine>,
    _: Caller,
    Path(id): Path<String>,
) -> Result<Json<serde_json::Value>, Failure> {
    let id = Uuid::try_parse(&id).map_err(|_| unknown(StoreError::NotFound("such run")))?;
    let task = machine.app.store.cancel(machine.owner.clone(), id).await.map_err(unknown)?;
    Ok(Json(json!({ "success": true, "runId": task.id, "status": task.status })))
}

fn unknown(error: StoreError) -> Failure {
    match error {
        StoreError::NotFound(_) => {
            Failure::new(StatusCode::NOT_FOUND, "not_found", "this machine knows no run of that id")
        }
        other => other.into(),
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<u64, Failure> {
    let Some(value) = headers.get("last-event-id") else { return Ok(0) };
    let id = value.to_str().ok().map(str::trim);
    let id = id.and_then(|id| if id.is_empty() { Some(0) } else { id.parse().ok() });
    id.ok_or_else(|| Failure::bad_request("`Last-Event-ID` is no id of an event of this run"))
}

/// What a stream tells next.
enum Told {
    Event(crate::events::EventText),
    Delta(axum::extract::ws::Utf8Bytes),
    /// The last.
    End(Box<Task>),
}

/// Where a stream is.
struct Following {
    feed: Feed,
    _open: OpenStream,
    after: u64,
    ended: bool,
}

impl Machine {
    async fn submit(&self, peer: SocketAddr, headers: &HeaderMap, request: RunTask) -> Result<Task, Failure> {
        let create = CreateTask {
            task_description: request.task,
            repo_url: request.repo_url,
            repo_path: request.repo_path,
            branch: request.branch,
            commit: request.commit,
            model: request.model,
            agent: request.agent,
            permission_mode: request.permission_mode,
            budget_usd: request.budget_usd,
            max_turns: request.max_turns,
            timeout_secs: request.timeout_secs,
            ..CreateTask::default()
        };
        submit(&self.app, self.owner.clone(), peer, headers, create).await
    }

    fn stream(&self, task: Task, after: u64) -> Response {
        let first = notice(&RunNotice::Run { run_id: task.id });
        let rest = self.follow(task, after).map(|told| match told {
            Told::Event(event) => Sse::default().id(event.seq.to_string()).data(event.json.as_str()),
            Told::Delta(json) => Sse::default().event("output_delta").data(json.as_str()),
            Told::End(task) => notice(&complete(&task)),
        });
        let events = stream::iter([first]).chain(rest).map(Ok::<_, Infallible>);
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
        // A proxy that gathers what it is sent would hold back what happens.
        ([("x-accel-buffering", "no")], axum::response::Sse::new(events).keep_alive(keep_alive)).into_response()
    }

    /// What happens in a run after an event, and its end; after `u64::MAX` its end alone. Ends early where the server stops.
    fn follow(&self, task: Task, after: u64) -> impl Stream<Item = Told> + Send + use<> {
        let (app, user, id) = (self.app.clone(), self.owner.user_id, task.id);
        let only_end = after == u64::MAX;
        let after = after.min(task.last_seq);
        let feed = Feed::start(app.store.clone(), user, id, after);
        let open = OpenStream::new(&app.activity);
        let closing = app.closing.clone();
        let state = Following { feed, _open: open, after, ended: false };
        let batches = stream::unfold((app, state), move |(app, mut state)| async move {
            if state.ended {
                return None;
            }
            // Listened to before it is looked at: what ends after this look is told by the feed.
            let end = match app.store.task(user, id).await {
                Ok(task) => (task.status.is_end() && task.last_seq <= state.after).then_some(task),
                Err(_) => return None,
            };
            if let Some(task) = end {
                state.ended = true;
                return Some((vec![Told::End(Box::new(task))], (app, state)));
            }
            let items = match state.feed.next().await {
                Ok(items) => items,
                Err(error) => {
                    tracing::warn!(%error, "a stream of a run ended");
                    return None;
                }
            };
            let mut told = Vec::with_capacity(items.len());
            for item in items {
                match item {
                    Item::Event(event) => {
                        state.after = event.seq;
                        told.push(Told::Event(event));
                    }
                    Item::Delta { json } => told.push(Told::Delta(json)),
                    Item::Lagged { .. } => {}
                }
            }
            told.retain(|_| !only_end);
            Some((told, (app, state)))
        });
        batches.flat_map(stream::iter).take_until(closing.cancelled_owned())
    }
}

fn notice(notice: &RunNotice) -> Sse {
    // Plain fields: it cannot fail, and were it to, the stream would be without it.
    Sse::default().data(serde_json::to_string(notice).unwrap_or_default())
}

fn complete(task: &Task) -> RunNotice {
    let success = task.end_reason == Some(cadence_protocol::EndReason::Done);
    let metadata = &task.metadata;
    RunNotice::Complete(Box::new(RunComplete {
        run_id: task.id,
        success,
        output: task.output.clone().or_else(|| task.error.clone()).unwrap_or_default(),
        reason: task.end_reason,
        pr_url: task.pr_url.clone(),
        branch: Some(task.branch.clone()).filter(|_| metadata.files_changed.is_some_and(|count| count > 0)),
        files_changed: metadata.files_changed,
        lines_added: metadata.lines_added,
        lines_removed: metadata.lines_removed,
        cost_usd: metadata.estimated_cost,
        input_tokens: metadata.input_tokens,
        output_tokens: metadata.output_tokens,
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_machine_without_a_key_is_asked_by_its_own_name() {
        let local = |host: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            is_local_name(&headers)
        };
        for host in ["127.0.0.1:8384", "localhost", "LOCALHOST:80", "[::1]:8384", "127.8.8.8"] {
            assert!(local(host), "{host}");
        }
        for host in ["rebound.example:8384", "192.0.2.1", "127.0.0.1.example", "localhost.example:80", "", "[::2]:1"] {
            assert!(!local(host), "{host}");
        }
        assert!(!is_local_name(&HeaderMap::new()));
    }
}
