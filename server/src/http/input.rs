use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use cadence_protocol::{
    CreateTask, InputAction, InputAnswer, InputCommand, InputResult, InputText, Intent, MAX_DESCRIPTION, ParseContext,
    Parsed, Task, TaskDefaults, TaskSourceKind, VoiceCommand,
};
use cadence_speech::intent::needs_confirmation;
use uuid::Uuid;

use super::App;
use super::auth::Actor;
use super::error::{ApiJson, Failure};
use super::{intake, tasks, voice};
use crate::store::{Filter, Principal};
use crate::voice::{CarryError, carry_out, spoken_of};

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

/// One entry for people's words: what they want is read from them and done, unless it is not clear or would destroy work; then
/// nothing is done until the same comes `confirmed`.
#[utoipa::path(post, path = "/api/input/text", request_body = InputText,
    responses((status = 200, body = InputAnswer), (status = 201, body = InputAnswer, description = "A task was created")))]
pub async fn text(
    State(app): State<App>,
    Actor(who): Actor,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    ApiJson(input): ApiJson<InputText>,
) -> Result<Response, Failure> {
    intake::text("text", &input.text, MAX_DESCRIPTION)?;
    let context = voice::checked(input.context, peer)?;
    let Parsed { command, needs_confirmation, note } = match input.command.filter(|_| input.confirmed) {
        Some(command) => Parsed { needs_confirmation: needs_confirmation(&command), command, note: None },
        None => {
            let known = spoken_of(&app.store, who.user_id).await?;
            let words = app.voice.words(&context, &known).await?;
            app.voice.understand(&input.text, &words, &context, &known).await
        }
    };
    let asks = needs_confirmation && !input.confirmed;
    let from = Said { who, peer, headers, context, defaults: input.task.unwrap_or_default(), source: "text" };
    let answer = answer(&app, from, command, note, asks).await?;
    let status = if answer.task.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(answer)).into_response())
}

/// Who said something, and where.
pub struct Said {
    pub who: Principal,
    pub peer: SocketAddr,
    pub headers: HeaderMap,
    pub context: ParseContext,
    pub defaults: TaskDefaults,
    /// `text` or `voice`.
    pub source: &'static str,
}

/// Does what was understood, or says that somebody has to see it first.
pub async fn answer(
    app: &App,
    said: Said,
    command: VoiceCommand,
    note: Option<String>,
    asks: bool,
) -> Result<InputAnswer, Failure> {
    let source = said.source.to_owned();
    let mut answer = InputAnswer { command, task: None, result: None, needs_confirmation: asks, note, source };
    if asks {
        return Ok(answer);
    }
    if answer.command.intent == Intent::CreateAgent {
        let request = new_task(&answer.command, &said)?;
        answer.task = Some(tasks::submit(app, said.who, said.peer, &said.headers, request).await?);
    } else {
        answer.result = Some(carry_out(&app.store, &said.who, &answer.command).await?);
    }
    Ok(answer)
}

/// The task that was asked for; what was said counts more than what is usual.
fn new_task(command: &VoiceCommand, said: &Said) -> Result<CreateTask, Failure> {
    let (entities, defaults) = (&command.entities, said.defaults.clone());
    let description = entities.task_description.clone().unwrap_or_else(|| command.transcript.clone());
    let named = entities.repo_url.clone().filter(|url| said.context.repo_url.as_ref() != Some(url));
    let repo_path = said.context.repo_path.clone().filter(|_| named.is_none());
    let repo_url = named.or_else(|| said.context.repo_url.clone().filter(|_| repo_path.is_none()));
    if repo_path.is_none() && repo_url.is_none() {
        return Err(Failure::invalid("repoUrl", "a task needs a repository: send `repoUrl` or `repoPath`"));
    }
    let source = if said.source == "voice" { TaskSourceKind::Voice } else { TaskSourceKind::Api };
    Ok(CreateTask {
        task_description: description,
        repo_url,
        repo_path,
        branch: entities.branch.clone().or(defaults.branch),
        model: entities.model.clone().or(defaults.model),
        agent: defaults.agent,
        labels: defaults.labels,
        permission_mode: defaults.permission_mode,
        sandbox: defaults.sandbox,
        budget_usd: defaults.budget_usd,
        max_turns: defaults.max_turns,
        timeout_secs: defaults.timeout_secs,
        source: defaults.source.or(Some(source)),
        environment: defaults.environment,
        ..CreateTask::default()
    })
}

impl From<CarryError> for Failure {
    fn from(error: CarryError) -> Self {
        match error {
            CarryError::Store(error) => error.into(),
            CarryError::Unclear(why) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unclear", why),
        }
    }
}
