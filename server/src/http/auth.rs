//! Who asks: bearer tokens.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use secrecy::{ExposeSecret, SecretSlice};
use subtle::ConstantTimeEq;

use super::App;
use super::error::Failure;
use crate::store::{Principal, token_hash};

/// Lets tokens in.
pub struct Gate {
    /// The token that the server was started with, as a hash.
    own: Option<(SecretSlice<u8>, Principal)>,
}

impl Gate {
    pub fn new(own: Option<(&str, Principal)>) -> Self {
        Self { own: own.map(|(token, principal)| (SecretSlice::from(token_hash(token)), principal)) }
    }

    /// Whether no token was given at the start.
    pub const fn is_open(&self) -> bool {
        self.own.is_none()
    }
}

impl App {
    /// Whose token it is.
    pub async fn principal(&self, token: &str) -> Result<Principal, Failure> {
        let hash = token_hash(token);
        if let Some((own, principal)) = &self.gate.own
            && bool::from(own.expose_secret().ct_eq(&hash))
        {
            return Ok(principal.clone());
        }
        match self.store.principal(&hash).await {
            Ok(Some(principal)) => Ok(principal),
            Ok(None) => Err(Failure::unauthorized("the token is not known, was revoked or has expired")),
            Err(error) => Err(Failure::from(error)),
        }
    }
}

/// A token for reading.
pub struct Reader(pub Principal);

/// A token for reading and changing.
pub struct Actor(pub Principal);

/// A token of whatever scopes; the handler looks at them.
pub struct Caller(pub Principal);

impl FromRequestParts<App> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        known(parts, app).await.map(Self)
    }
}

impl FromRequestParts<App> for Reader {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        allowed(parts, app, "tasks:read").await.map(Self)
    }
}

impl FromRequestParts<App> for Actor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        allowed(parts, app, "tasks:write").await.map(Self)
    }
}

async fn allowed(parts: &Parts, app: &App, scope: &str) -> Result<Principal, Failure> {
    let principal = known(parts, app).await?;
    require(&principal, scope)?;
    Ok(principal)
}

async fn known(parts: &Parts, app: &App) -> Result<Principal, Failure> {
    let token = bearer(&parts.headers)
        .ok_or_else(|| Failure::unauthorized("a token is needed").hint("Send `Authorization: Bearer TOKEN`."))?;
    app.principal(token).await
}

/// Whether a principal has a scope; writing includes reading.
pub fn require(principal: &Principal, scope: &str) -> Result<(), Failure> {
    if principal.may(scope) || (scope == "tasks:read" && principal.may("tasks:write")) {
        return Ok(());
    }
    Err(Failure::new(StatusCode::FORBIDDEN, "forbidden", format!("the token has no scope `{scope}`")))
}

/// The token of an `Authorization` header (RFC 6750, section 2.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim()).filter(|token| !token.is_empty())
}
