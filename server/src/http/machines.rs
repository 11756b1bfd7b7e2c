//! Machines that run agents, and the socket that they dial in to.

use axum::Json;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cadence_protocol::{Drain, MAX_BRIDGE_FRAME, Machine, MachineList};
use uuid::Uuid;

use super::auth::{self, Actor, Reader};
use super::error::{ApiPath, ApiQuery, Failure, OptionalJson};
use super::{App, OpenStream};
use crate::bridge::daemon;

/// WebSocket of daemons. The token needs the scope `daemon`. The first frame is `hello`.
#[utoipa::path(get, path = "/api/ws/daemon", responses((status = 101, description = "WebSocket")))]
pub async fn upgrade(
    State(app): State<App>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Failure> {
    let token = auth::bearer(&headers).ok_or_else(|| {
        Failure::unauthorized("a token is needed").hint("Make one with `cadence tokens create --daemon`.")
    })?;
    let who = app.principal(token).await?;
    auth::require(&who, "daemon")?;
    Ok(upgrade.max_message_size(MAX_BRIDGE_FRAME).max_frame_size(MAX_BRIDGE_FRAME).on_upgrade(
        move |socket| async move {
            let _open = OpenStream::new(&app.activity);
            Box::pin(daemon::serve(app.bridge, socket, who, app.patience)).await;
        },
    ))
}

/// The user's machines.
#[utoipa::path(get, path = "/api/machines", responses((status = 200, body = MachineList)))]
pub async fn list(State(app): State<App>, Reader(who): Reader) -> Result<Json<MachineList>, Failure> {
    let machines = app.store.machines(who.user_id).await?;
    Ok(Json(MachineList { machines: machines.into_iter().map(|machine| shown(&app, machine)).collect() }))
}

/// One machine.
#[utoipa::path(get, path = "/api/machines/{id}", params(("id" = Uuid, Path)), responses((status = 200, body = Machine)))]
pub async fn show(
    State(app): State<App>,
    Reader(who): Reader,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Json<Machine>, Failure> {
    one(&app, who.user_id, id).await.map(Json)
}

/// Gives a machine no new work; what it runs goes on. With `draining: false` it takes work again.
#[utoipa::path(post, path = "/api/machines/{id}/drain", params(("id" = Uuid, Path)), request_body = Option<Drain>,
    responses((status = 200, body = Machine)))]
pub async fn drain(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath(id): ApiPath<Uuid>,
    OptionalJson(body): OptionalJson<Drain>,
) -> Result<Json<Machine>, Failure> {
    let machine = app.store.drain(who.user_id, id, body.draining).await?;
    app.bridge.drain(id, body.draining).await;
    Ok(Json(shown(&app, machine)))
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Force {
    #[serde(default)]
    force: bool,
}

/// Forgets a machine. One that still runs something is kept, unless `force=true`: then it is stopped, and its tasks begin
/// anew elsewhere.
#[utoipa::path(delete, path = "/api/machines/{id}", params(("id" = Uuid, Path), ("force" = Option<bool>, Query)),
    responses((status = 204), (status = 409, description = "It runs something")))]
pub async fn remove(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath(id): ApiPath<Uuid>,
    ApiQuery(query): ApiQuery<Force>,
) -> Result<StatusCode, Failure> {
    let machine = one(&app, who.user_id, id).await?;
    if machine.running > 0 && !query.force {
        let tasks = if machine.running == 1 { "a task" } else { "tasks" };
        let text = format!("{} runs {tasks} still ({})", machine.name, machine.running);
        return Err(Failure::new(StatusCode::CONFLICT, "conflict", text).hint(
            "Drain it and wait, or use `--force`: what it did since the tasks began is then left behind on it.",
        ));
    }
    app.store.remove_machine(who.user_id, id).await?;
    app.bridge.disconnect(id);
    Ok(StatusCode::NO_CONTENT)
}

async fn one(app: &App, user: Uuid, id: Uuid) -> Result<Machine, Failure> {
    let machines = app.store.machines(user).await?;
    let machine = machines.into_iter().find(|machine| machine.id == id);
    Ok(shown(app, machine.ok_or(crate::store::StoreError::NotFound("such machine"))?))
}

fn shown(app: &App, machine: Machine) -> Machine {
    Machine { connected: app.bridge.is_connected(machine.id), ..machine }
}
