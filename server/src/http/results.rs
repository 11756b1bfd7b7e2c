//! What a machine made of a task, handed over before the attempt ends.

use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use cadence_protocol::Lease;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use super::App;
use super::auth::{Caller, require};
use super::error::{ApiPath, ApiQuery, Failure};
use crate::results::{NewResult, ResultError};

/// Largest diff that is kept, in bytes.
const MAX_DIFF: usize = 8 * 1024 * 1024;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Of {
    attempt: u32,
    /// Fencing number of the lease.
    epoch: u64,
    /// The commit that the task started from.
    base: String,
}

/// Takes the diff and the commits (a git bundle of the task's branch) of an attempt from the machine that holds it: parts
/// `diff` and, where there are commits, `bundle`. The token needs the scope `daemon`.
#[utoipa::path(put, path = "/api/tasks/{id}/result",
    params(("id" = Uuid, Path), ("attempt" = u32, Query), ("epoch" = u64, Query), ("base" = String, Query)),
    request_body(content = String, content_type = "multipart/form-data"),
    responses((status = 204), (status = 409, description = "The machine does not hold the attempt"),
        (status = 413, description = "It is larger than the server takes")))]
pub async fn put(
    State(app): State<App>,
    Caller(who): Caller,
    ApiPath(id): ApiPath<Uuid>,
    ApiQuery(of): ApiQuery<Of>,
    mut form: Multipart,
) -> Result<StatusCode, Failure> {
    require(&who, "daemon")?;
    let lease = Lease { task_id: id, attempt: of.attempt, epoch: of.epoch, ttl_secs: 0 };
    let task = app.store.held_by(who.user_id, lease).await?;
    let incoming = app.results.incoming().map_err(|error| unkept(&error))?;
    let (mut diff, mut has_bundle) = (Vec::new(), false);
    while let Some(mut field) = form.next_field().await.map_err(|error| broken(&error))? {
        match field.name() {
            Some("diff") => diff = text(&mut field).await?,
            Some("bundle") => {
                has_bundle = true;
                write(&mut field, &incoming, app.bundle_limit).await?;
            }
            _ => return Err(Failure::bad_request("its parts are `diff` and `bundle`")),
        }
    }
    let (results, branch) = (app.results.clone(), task.branch);
    let kept = tokio::task::spawn_blocking(move || {
        let bundle = has_bundle.then(|| incoming.to_path_buf());
        let kept = results.put(id, NewResult { branch, base: of.base, bundle, diff });
        // Moved where it was taken, removed where it was not.
        drop(incoming);
        kept
    });
    match kept.await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(error)) => Err(unkept(&error)),
        Err(error) => Err(Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())),
    }
}

async fn text(field: &mut Field<'_>) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
        if text.len() + chunk.len() > MAX_DIFF {
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the diff is too large"));
        }
        text.extend_from_slice(&chunk);
    }
    Ok(text)
}

async fn write(field: &mut Field<'_>, to: &std::path::Path, limit: u64) -> Result<(), Failure> {
    let unwritable = |error: std::io::Error| unkept(&ResultError::Io { path: to.to_owned(), source: error });
    let mut file = tokio::fs::OpenOptions::new().write(true).truncate(true).open(to).await.map_err(unwritable)?;
    let mut size = 0;
    while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
        size += chunk.len() as u64;
        if size > limit {
            return Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the bundle is larger than is taken"));
        }
        file.write_all(&chunk).await.map_err(unwritable)?;
    }
    file.flush().await.map_err(unwritable)?;
    file.sync_all().await.map_err(unwritable)
}

fn broken(error: &MultipartError) -> Failure {
    Failure::bad_request(format!("the form cannot be read: {error}"))
}

fn unkept(error: &ResultError) -> Failure {
    match error {
        ResultError::Refused { .. } => Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_bundle", error.to_string()),
        ResultError::Io { .. } => {
            tracing::error!(%error, "a result cannot be kept");
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "disk", "the server cannot keep the result")
        }
    }
}
