use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use cadence_protocol::{CreateTask, InputAction, InputCommand, InputResult, MAX_DESCRIPTION, Task};
use uuid::Uuid;

use super::App;
use super::auth::Actor;
use super::error::{ApiJson, Failure};
use super::{intake, tasks};
use crate::store::Filter;

/// One entry for programs that know commands rather than paths.
#[utoipa::path(post, path = "/api/input/command", request_body = InputCommand,
    responses((status = 200, body = InputResult)))]
pub async fn command(
    State(app): State<App>,
    Actor(who): Actor,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    ApiJson(input): ApiJson<InputCommand>,
) -> Result<Json<InputResult>, Failure> {
    let action = input.action;
    let one = |task: Task| Ok(Json(InputResult { action, task: Some(task), tasks: None }));
    let id = || {
        let text = input.task_id.as_deref().ok_or_else(|| Failure::invalid("taskId", "this action needs it"))?;
        Uuid::try_parse(text).map_err(|_| Failure::invalid("taskId", "it is not an id"))
    };
    match action {
        InputAction::CreateTask => {
            let fields = serde_json::Value::Object(input.fields.into_iter().collect());
            let request: CreateTask =
                serde_json::from_value(fields).map_err(|error| Failure::invalid("body", error.to_string()))?;
            one(tasks::submit(&app, who, peer, &headers, request).await?)
        }
        InputAction::CancelTask => one(app.store.cancel(who, id()?).await?),
        InputAction::GetStatus => one(app.store.task(who.user_id, id()?).await?),
        InputAction::PauseTask => one(app.store.pause(who, id()?).await?),
        InputAction::ResumeTask => {
            let id = id()?;
            if let Some(told) = &input.message {
                intake::text("message", told, MAX_DESCRIPTION)?;
            }
            one(app.store.resume(who, id, input.message).await?)
        }
        InputAction::SendMessage => {
            let id = id()?;
            let text = input.message.ok_or_else(|| Failure::invalid("message", "this action needs it"))?;
            intake::text("message", &text, MAX_DESCRIPTION)?;
            one(app.store.message(who, id, text).await?)
        }
        InputAction::ListTasks => {
            let filter = Filter { archived: Some(false), limit: 50, ..Filter::default() };
            let (tasks, _) = app.store.tasks(who.user_id, filter).await?;
            Ok(Json(InputResult { action, task: None, tasks: Some(tasks) }))
        }
    }
}
