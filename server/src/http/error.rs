//! One shape for every error, whoever made it: a handler, an extractor or a layer.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cadence_protocol::{ApiError, ErrorDetail};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::store::StoreError;

/// An error on its way to the client.
#[derive(Clone, Debug)]
pub struct Failure {
    status: StatusCode,
    error: Box<ApiError>,
}

impl Failure {
    pub fn new(status: StatusCode, code: &str, error: impl Into<String>) -> Self {
        let error = ApiError { error: error.into(), code: code.to_owned(), ..ApiError::default() };
        Self { status, error: Box::new(error) }
    }

    /// Adds what to do about it.
    pub fn hint(mut self, message: impl Into<String>) -> Self {
        self.error.message = Some(message.into());
        self
    }

    pub fn bad_request(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", error)
    }

    /// Understood, but a field asks for what cannot be.
    pub fn invalid(path: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut failure =
            Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", format!("`{path}`: {message}"));
        failure.error.details = vec![ErrorDetail { path: path.to_owned(), message }];
        failure
    }

    /// What went wrong, for people.
    pub fn sentence(&self) -> &str {
        &self.error.error
    }

    pub fn unauthorized(error: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::NotFound(_) => StatusCode::NOT_FOUND,
            StoreError::Conflict(_) | StoreError::Fenced => StatusCode::CONFLICT,
            StoreError::Exhausted(_) => StatusCode::UNPROCESSABLE_ENTITY,
            StoreError::Closed => StatusCode::SERVICE_UNAVAILABLE,
            StoreError::Corrupt(_) | StoreError::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        let text = match &error {
            StoreError::Closed => "the server is stopping".to_owned(),
            // What went wrong inside is for the log, not for the client.
            StoreError::Corrupt(_) | StoreError::Database(_) => {
                tracing::error!(%error, "storage failed");
                "the storage failed".to_owned()
            }
            error => error.to_string(),
        };
        let failure = Self::new(status, error.code(), text);
        match error.hint() {
            Some(hint) if status == StatusCode::SERVICE_UNAVAILABLE => {
                failure.hint(format!("Nothing was changed. {hint}"))
            }
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

/// The code of an error, for the layers around.
#[derive(Clone, Debug)]
pub struct Code(pub String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(*self.error);
        response
    }
}

/// Gives every request an id and every error its shape.
pub async fn shape(request: Request, next: Next) -> Response {
    let id = request
        .headers()
        .get("x-request-id")
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
    let mut response = next.run(request).await;
    if response.status().is_client_error() || response.status().is_server_error() {
        response = with_error_body(response, &id);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-request-id", value);
    }
    response
}

fn with_error_body(mut response: Response, id: &str) -> Response {
    let status = response.status();
    let mut error = response.extensions_mut().remove::<ApiError>().unwrap_or_else(|| {
        let (code, sentence) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this path does not answer to this method"),
            StatusCode::PAYLOAD_TOO_LARGE => ("too_large", "the request is too large"),
            StatusCode::SERVICE_UNAVAILABLE => ("timeout", "the server took too long"),
            StatusCode::UPGRADE_REQUIRED => ("upgrade_required", "this path wants a WebSocket"),
            _ if status.is_client_error() => ("bad_request", "the request was not understood"),
            _ => ("internal", "the server failed"),
        };
        ApiError { error: sentence.into(), code: code.into(), ..ApiError::default() }
    });
    error.request_id = id.to_owned();
    let code = Code(error.code.clone());
    let mut shaped = (status, Json(error)).into_response();
    shaped.extensions_mut().insert(code);
    for name in [header::RETRY_AFTER, header::ALLOW, header::WWW_AUTHENTICATE] {
        if let Some(value) = response.headers().get(&name) {
            shaped.headers_mut().insert(name, value.clone());
        }
    }
    if status == StatusCode::UNAUTHORIZED {
        shaped.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    shaped
}

/// What a handler's panic becomes.
pub fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> axum::http::Response<Body> {
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed").into_response()
}

/// JSON of a body, with our errors.
pub struct ApiJson<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for ApiJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        match Json::<T>::from_request(request, state).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(refused(&rejection)),
        }
    }
}

/// A body that may be left out.
pub struct OptionalJson<T>(pub T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let empty = request.headers().get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
            && request.headers().get(header::TRANSFER_ENCODING).is_none();
        if empty {
            return Ok(Self(T::default()));
        }
        ApiJson::from_request(request, state).await.map(|ApiJson(value)| Self(value))
    }
}

fn refused(rejection: &JsonRejection) -> Failure {
    let text = rejection.body_text();
    match rejection {
        JsonRejection::JsonDataError(_) => {
            let message = text.strip_prefix("Failed to deserialize the JSON body into the target type: ");
            let (path, message) = message.unwrap_or(&text).split_once(": ").unwrap_or(("body", &text));
            // Without a path serde's message begins at once, and is a sentence of its own.
            if path.contains(' ') {
                Failure::invalid("body", message.to_owned())
            } else {
                Failure::invalid(path, message)
            }
        }
        JsonRejection::MissingJsonContentType(_) => {
            Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "the body is not JSON")
                .hint("Send it with `Content-Type: application/json`.")
        }
        _ if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large")
        }
        _ => Failure::bad_request(text),
    }
}

/// Parameters of a query, with our errors.
pub struct ApiQuery<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Query::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let rejection: QueryRejection = rejection;
                Err(Failure::bad_request(rejection.body_text()))
            }
        }
    }
}

/// Parts of a path, with our errors: an id that is none is an id of nothing.
pub struct ApiPath<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for ApiPath<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) => {
                let rejection: PathRejection = rejection;
                Err(Failure::new(StatusCode::NOT_FOUND, "not_found", "there is nothing of that id")
                    .hint(rejection.body_text()))
            }
        }
    }
}
