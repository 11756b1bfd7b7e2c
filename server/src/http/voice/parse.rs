use std::net::SocketAddr;

use axum::Json;
use axum::extract::{ConnectInfo, State};
use cadence_protocol::{MAX_DESCRIPTION, ParseContext, ParseRequest, Parsed};
use cadence_speech::vocabulary::VocabularyError;

use crate::http::App;
use crate::http::auth::Reader;
use crate::http::error::{ApiJson, Failure};
use crate::http::intake;
use crate::voice::spoken_of;

/// What a sentence wants. Nothing is done.
#[utoipa::path(post, path = "/api/voice/parse", request_body = ParseRequest, responses((status = 200, body = Parsed)))]
pub async fn parse(
    State(app): State<App>,
    Reader(who): Reader,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    ApiJson(request): ApiJson<ParseRequest>,
) -> Result<Json<Parsed>, Failure> {
    // Nothing is understood of nothing; that is an answer too.
    if !request.text.trim().is_empty() {
        intake::text("text", &request.text, MAX_DESCRIPTION)?;
    }
    let context = checked(request.context, peer)?;
    let tasks = spoken_of(&app.store, who.user_id).await?;
    let words = app.voice.words(&context, &tasks).await?;
    Ok(Json(app.voice.understand(&request.text, &words, &context, &tasks).await))
}

/// What only this machine may say is taken from nobody else.
pub fn checked(context: ParseContext, peer: SocketAddr) -> Result<ParseContext, Failure> {
    if peer.ip().to_canonical().is_loopback() {
        return Ok(context);
    }
    if context.repo_path.is_some() {
        let why = "it is taken from the server's own machine only; send `vocabulary`";
        return Err(Failure::invalid("repoPath", why));
    }
    if !context.environment.is_empty() {
        return Err(Failure::invalid("environment", "it is taken from the server's own machine only"));
    }
    Ok(context)
}

impl From<VocabularyError> for Failure {
    fn from(error: VocabularyError) -> Self {
        Self::invalid("repoPath", error.to_string())
    }
}
