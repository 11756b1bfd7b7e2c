//! API tokens: made, listed, revoked.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use cadence_protocol::{CreateToken, CreatedToken, Timestamp, TokenList};
use uuid::Uuid;

use super::App;
use super::auth::{Actor, Reader, require};
use super::error::{ApiJson, ApiPath, Failure};
use crate::store::token_hash;

/// Scopes that a token may have.
const SCOPES: &[&str] = &["tasks:read", "tasks:write", "daemon", "*"];
/// Longest life of a token that ends.
const MAX_DAYS: u32 = 3650;

/// The user's tokens that are not revoked, without the tokens themselves.
#[utoipa::path(get, path = "/api/tokens", responses((status = 200, body = TokenList)))]
pub async fn list(State(app): State<App>, Reader(who): Reader) -> Result<Json<TokenList>, Failure> {
    Ok(Json(TokenList { tokens: app.store.tokens(who.user_id).await? }))
}

/// Makes a token. It is in the answer, and never shown again. It may do no more than the one that asks.
#[utoipa::path(post, path = "/api/tokens", request_body = CreateToken, responses((status = 201, body = CreatedToken)))]
pub async fn create(
    State(app): State<App>,
    Actor(who): Actor,
    ApiJson(request): ApiJson<CreateToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Failure> {
    let name = request.name.trim();
    if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
        return Err(Failure::invalid("name", "it must be 1 to 100 bytes of text"));
    }
    if request.scopes.is_empty() {
        return Err(Failure::invalid("scopes", format!("at least one of {}", SCOPES.join(", "))));
    }
    for scope in &request.scopes {
        if !SCOPES.contains(&scope.as_str()) {
            return Err(Failure::invalid("scopes", format!("`{scope}` is none of {}", SCOPES.join(", "))));
        }
        require(&who, scope)?;
    }
    if request.expires_in_days.is_some_and(|days| days == 0 || days > MAX_DAYS) {
        return Err(Failure::invalid("expiresInDays", format!("it must be 1 to {MAX_DAYS}")));
    }
    let expires = request.expires_in_days.map(|days| Timestamp::now_utc() + time::Duration::days(days.into()));
    let token = random().map_err(|error| {
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", format!("no random bytes can be had: {error}"))
    })?;
    let stored =
        app.store.create_token(who.user_id, token_hash(&token), name.to_owned(), request.scopes, expires).await?;
    Ok((StatusCode::CREATED, Json(CreatedToken { token, info: stored })))
}

/// Revokes a token: whoever has it is let in no longer.
#[utoipa::path(delete, path = "/api/tokens/{id}", params(("id" = Uuid, Path)), responses((status = 204)))]
pub async fn revoke(
    State(app): State<App>,
    Actor(who): Actor,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<StatusCode, Failure> {
    app.store.revoke_token(who.user_id, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// 256 random bits, marked so that scanners for secrets know what they found.
fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(format!("cad_{}", hex::encode(bytes)))
}
