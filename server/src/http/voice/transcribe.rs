use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::HeaderMap;
use cadence_protocol::{SpokenCommand, TaskDefaults, TranscribeRequest, Transcription};
use serde::Deserialize;

use super::checked;
use super::sound::Sound;
use crate::http::App;
use crate::http::auth::{Actor, Reader};
use crate::http::error::{ApiQuery, Failure};
use crate::http::input::{Said, answer};
use crate::voice::spoken_of;

/// What a recording says, with the repository's identifiers written as it writes them.
#[utoipa::path(post, path = "/api/voice/transcribe", request_body = TranscribeRequest,
    responses((status = 200, body = Transcription),
        (status = 413, description = "Larger than 25 MB"), (status = 415, description = "No audio of a known kind"),
        (status = 422, description = "Nobody was heard to speak"), (status = 502, description = "No engine could hear it"),
        (status = 503, description = "No engine is set up, or none is there now")))]
pub async fn transcribe(
    State(app): State<App>,
    Reader(who): Reader,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    sound: Sound,
) -> Result<Json<Transcription>, Failure> {
    let context = checked(sound.context, peer)?;
    let tasks = spoken_of(&app.store, who.user_id).await?;
    let words = app.voice.words(&context, &tasks).await?;
    Ok(Json(app.voice.transcribe(sound.file, sound.language, &context, words).await?))
}

/// Query of `POST /api/voice/command`.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CommandQuery {
    /// Also does what is wanted, unless somebody has to see it first.
    #[serde(default)]
    pub execute: bool,
}

/// What a recording says, and what that wants.
#[utoipa::path(post, path = "/api/voice/command", params(CommandQuery), request_body = TranscribeRequest,
    responses((status = 200, body = SpokenCommand)))]
pub async fn command(
    State(app): State<App>,
    Actor(who): Actor,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    ApiQuery(query): ApiQuery<CommandQuery>,
    sound: Sound,
) -> Result<Json<SpokenCommand>, Failure> {
    let context = checked(sound.context, peer)?;
    let tasks = spoken_of(&app.store, who.user_id).await?;
    let words = app.voice.words(&context, &tasks).await?;
    let transcription = app.voice.transcribe(sound.file, sound.language, &context, words.clone()).await?;
    let parsed = app.voice.understand(&transcription.raw_text, &words, &context, &tasks).await;
    let command = parsed.command.clone();
    let done = if query.execute {
        let said = Said { who, peer, headers, context, defaults: TaskDefaults::default(), source: "voice" };
        Some(answer(&app, said, parsed.command, parsed.note, parsed.needs_confirmation).await?)
    } else {
        None
    };
    Ok(Json(SpokenCommand { transcription, command, answer: done }))
}
