use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cadence_agent::fault::{self, Point};
use cadence_agent::workspace::WorkspaceError;
use cadence_protocol::{
    Cancelled, CreateTask, Executor, MAX_DESCRIPTION, RemoveTask, ResumeTask, SendMessage, Task, TaskList, TaskQuery,
    TaskStatus,
};
use uuid::Uuid;

use super::App;
use super::auth::{Actor, Reader};
use super::error::{ApiJson, ApiPath, ApiQuery, Failure, OptionalJson};
use super::{bundles, intake};
use crate::store::{Filter, Principal};
use crate::upkeep::remove_workspace;

/// Largest diff that is sent, in bytes.
const MAX_DIFF: usize = 8 * 1024 * 1024;

/// Tasks, newest first.
#[utoipa::path(get, path = "/api/tasks", params(TaskQuery), responses((status = 200, body = TaskList)))]
pub async fn list(
    State(app): State<App>,
    Reader(who): Reader,
    ApiQuery(query): ApiQuery<TaskQuery>,
) -> Result<Json<TaskList>, Failure> {
    let (tasks, next) = app.store.tasks(who.user_id, filter(query)?).await?;
    Ok(Json(TaskList { tasks, next_cursor: next.map(cursor) }))
}

fn filter(query: TaskQuery) -> Result<Filter, Failure> {
    let statuses = query.status.iter().flat_map(|list| list.split(',')).map(str::trim).filter(|s| !s.is_empty());
    let limit = query.limit.unwrap_or(50);
    if !(1..=200).contains(&limit) {
        return Err(Failure::invalid("limit", "it must be between 1 and 200"));
    }
    Ok(Filter {
        statuses: statuses
            .map(str::parse::<TaskStatus>)
            .collect::<Result<_, _>>()
            .map_err(|error| Failure::invalid("status", error))?,
        repo: query.repo,
        text: query.q.filter(|q| !q.trim().is_empty()),
        archived: match query.archived.as_deref() {
            None | Some("false") => Some(false),
            Some("true") => Some(true),
            Some("all") => None,
            Some(_) => return Err(Failure::invalid("archived", "it must be `true`, `false` or `all`")),
        },
        limit,
        before: query.cursor.as_deref().map(place).transpose()?,
    })
}

/// A place in a list, as clients give it back.
fn cursor(number: i64) -> String {
    format!("{number:x}")
}

fn place(cursor: &str) -> Result<i64, Failure> {
    i64::from_str_radix(cursor, 16).map_err(|_| Failure::invalid("cursor", "it is not one that this server gave"))
}

/// Creates a task. With an `Idempotency-Key` the same request gives the same task.
#[utoipa::path(post, path = "/api/tasks", request_body = CreateTask,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = Task), (status = 422, description = "Understood, but impossible")))]
pub async fn create(
    State(app): State<App>,
    Actor(who): Actor,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    ApiJson(request): ApiJson<CreateTask>,
) -> Result<Response, Failure> {
    let task = submit(&app, who, peer, &headers, request).await?;
    let location = format!("/api/tasks/{}", task.id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(task)).into_response())
}

pub async fn submit(
    app: &App,
    who: Principal,
    peer: SocketAddr,
    headers: &HeaderMap,
    request: CreateTask,
) -> Result<Task, Failure> {
    let key = intake::idempotency(headers, &request)?;
    // Looked up first: a repeat succeeds although the repository may not be what it was.
    if let Some(key) = &key
        && let Some(task) = app.store.repeated(who.user_id, key).await?
    {
        return Ok(task);
    }
    let new = intake::new_task(app, &who, peer, request).await?;
    let (task, _) = app.store.create_task(new, key).await?;
    fault::reached(Point::Created).await;
    Ok(task)
}

/// One task.
#[utoipa::path(get, path = "/api/tasks/{id}", params(("id" = Uuid, Path)), responses((status = 200, body = Task)))]
pub async fn show(
    State(app): State<App>,
    Reader(who): Reader,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Json<Task>, Failure> {
    Ok(Json(app.store.task(who.user_id, id).await?))
}

/// Cancels a task: its agent ends, with everything that it started.
#[utoipa::path(delete, path = "/api/tasks/{id}", params(("id" = Uuid, Path)),
    responses((status = 200, body = Cancelled), (status = 409, description = "It has ended")))]
pub async fn cancel(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Json<Cancelled>, Failure> {
    Ok(Json(Cancelled { success: true, task: app.store.cancel(who, id).await? }))
}

/// Pauses a task: the agent's turn is interrupted, its session lives.
#[utoipa::path(post, path = "/api/tasks/{id}/pause", params(("id" = Uuid, Path)), responses((status = 200, body = Task)))]
pub async fn pause(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Json<Task>, Failure> {
    Ok(Json(app.store.pause(who, id).await?))
}

/// Lets a paused task go on.
#[utoipa::path(post, path = "/api/tasks/{id}/resume", params(("id" = Uuid, Path)), request_body = Option<ResumeTask>,
    responses((status = 200, body = Task)))]
pub async fn resume(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath(id): ApiPath<Uuid>,
    OptionalJson(body): OptionalJson<ResumeTask>,
) -> Result<Json<Task>, Failure> {
    if let Some(told) = &body.text {
        intake::text("text", told, MAX_DESCRIPTION)?;
    }
    Ok(Json(app.store.resume(who, id, body.text).await?))
}

/// Begins an ended task anew, as a new attempt.
#[utoipa::path(post, path = "/api/tasks/{id}/restart", params(("id" = Uuid, Path)), responses((status = 200, body = Task)))]
pub async fn restart(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Json<Task>, Failure> {
    Ok(Json(app.store.restart(who, id).await?))
}

/// Puts an ended task away.
#[utoipa::path(post, path = "/api/tasks/{id}/archive", params(("id" = Uuid, Path)), responses((status = 200, body = Task)))]
pub async fn archive(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Json<Task>, Failure> {
    Ok(Json(app.store.archive(who.user_id, id, true).await?))
}

/// Takes an archived task out again.
#[utoipa::path(post, path = "/api/tasks/{id}/unarchive", params(("id" = Uuid, Path)),
    responses((status = 200, body = Task)))]
pub async fn unarchive(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Json<Task>, Failure> {
    Ok(Json(app.store.archive(who.user_id, id, false).await?))
}

/// Removes an ended task with its workspace and branch; refused where its commits are found nowhere else.
#[utoipa::path(post, path = "/api/tasks/{id}/remove", params(("id" = Uuid, Path)), request_body = Option<RemoveTask>,
    responses((status = 204), (status = 409, description = "Its work would be lost, or it has not ended")))]
pub async fn remove(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath(id): ApiPath<Uuid>,
    OptionalJson(body): OptionalJson<RemoveTask>,
) -> Result<StatusCode, Failure> {
    let task = app.store.task(who.user_id, id).await?;
    if !task.status.is_end() {
        let text = format!("a task that is {} cannot be removed; cancel it first", task.status);
        return Err(Failure::new(StatusCode::CONFLICT, "conflict", text));
    }
    // An archived task takes no message, so nothing begins while its workspace goes.
    app.store.archive(who.user_id, id, true).await?;
    let removed = remove_workspace(&app.store, &app.workspaces, id, body.force).await;
    if removed.is_err() && task.archived_at.is_none() {
        app.store.archive(who.user_id, id, false).await?;
    }
    match removed {
        Ok(()) => {}
        Err(
            error @ (WorkspaceError::Unmerged { .. }
            | WorkspaceError::Uncommitted { .. }
            | WorkspaceError::OtherHistory { .. }),
        ) => {
            return Err(Failure::new(StatusCode::CONFLICT, "unmerged", error.to_string())
                .hint("Take it with `cadence tasks apply`, or remove it with `--force`."));
        }
        Err(error) => return Err(workspace_failure(&error)),
    }
    app.store.delete_task(who.user_id, id).await?;
    if let Err(error) = app.results.remove(id) {
        tracing::warn!(%error, "a result is left of a removed task");
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A follow-up: to the running agent, or as a new attempt in its session where the last one has ended.
#[utoipa::path(post, path = "/api/tasks/{id}/messages", params(("id" = Uuid, Path)), request_body = SendMessage,
    responses((status = 200, body = Task)))]
pub async fn message(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath(id): ApiPath<Uuid>,
    ApiJson(body): ApiJson<SendMessage>,
) -> Result<Json<Task>, Failure> {
    intake::text("text", &body.text, MAX_DESCRIPTION)?;
    Ok(Json(app.store.message(who, id, body.text).await?))
}

/// Unified diff of the task's work against what it started from.
#[utoipa::path(get, path = "/api/tasks/{id}/diff", params(("id" = Uuid, Path)),
    responses((status = 200, body = String, content_type = "text/plain")))]
pub async fn diff(
    State(app): State<App>,
    Reader(who): Reader,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Response, Failure> {
    let task = app.store.task(who.user_id, id).await?;
    if task.executor == Executor::Sse {
        let text = "its work is at the endpoint that runs it, which tells no diff but that of each edit";
        return Err(Failure::new(StatusCode::CONFLICT, "no_workspace", text));
    }
    let diff = match task.machine_id {
        Some(machine) => far_diff(&app, machine, id).await?,
        None => near_diff(&app, id).await?,
    };
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], diff).into_response())
}

/// The diff of a task on a machine: as it is now where that is connected, else as it was at the end of the last attempt.
async fn far_diff(app: &App, machine: Uuid, id: Uuid) -> Result<Vec<u8>, Failure> {
    let away = match app.bridge.diff(machine, id).await {
        Ok(diff) => return Ok(diff.into_bytes()),
        Err(error) => error,
    };
    bundles::kept_diff(app, id, MAX_DIFF)
        .await?
        .ok_or_else(|| Failure::new(StatusCode::CONFLICT, "machine", away.to_string()))
}

async fn near_diff(app: &App, id: Uuid) -> Result<Vec<u8>, Failure> {
    match app.workspaces.open(id).map_err(|error| workspace_failure(&error))? {
        Some(workspace) => Ok(workspace.diff(MAX_DIFF).await.map_err(|error| workspace_failure(&error))?.into_bytes()),
        None => bundles::kept_diff(app, id, MAX_DIFF).await?.ok_or_else(|| {
            let text = "the task has no workspace yet, so there is nothing to see";
            Failure::new(StatusCode::CONFLICT, "no_workspace", text)
        }),
    }
}

fn workspace_failure(error: &WorkspaceError) -> Failure {
    let failure = Failure::new(StatusCode::CONFLICT, "workspace", error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
