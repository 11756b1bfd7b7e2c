//! Commits in and out as git bundles, for clients and daemons that do not share a disk with the server.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cadence_agent::workspace::{self, BundleError, BundleHeader, MAX_HEADER, WorkspaceError};
use cadence_protocol::{Bundle, BundleRef};
use futures_util::StreamExt;
use tempfile::{NamedTempFile, TempPath};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::App;
use super::auth::{Actor, Caller, Reader, require};
use super::error::{ApiPath, Failure};
use crate::results::StoredResult;
use crate::store::BundleRow;

/// What a bundle is called on the wire; git's own web server calls it so.
const TYPE: &str = "application/x-git-bundle";
/// How long a client may send nothing.
const SILENCE: Duration = Duration::from_secs(30);
/// Bundles that no task uses may together have so many times the size that one may have.
const UNUSED: u64 = 4;

/// Takes commits as a git bundle, for a task to start from: `bundleId` of `POST /api/tasks`. One that no task uses is deleted
/// after a day or two.
#[utoipa::path(post, path = "/api/bundles",
    request_body(content = String, content_type = "application/x-git-bundle", description = "A bundle (gitformat-bundle(5))"),
    responses((status = 201, body = Bundle), (status = 400, description = "It is no bundle"),
        (status = 413, description = "It is larger than the server takes"),
        (status = 422, description = "Its content is damaged, or it brings what is not taken")))]
pub async fn upload(
    State(app): State<App>,
    Actor(who): Actor,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let limit = app.bundle_limit;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let id = Uuid::new_v4();
    let place = app.workspaces.bundle_file(id);
    // Gone with this call unless it is kept at the end.
    let file = private_file(&place)?;
    let size = receive(&file, body, limit).await?;
    let examined =
        workspace::examine(file.path(), &workspace::Environment::new()).await.map_err(|error| refused(&error))?;
    let bundle = Bundle {
        id,
        size,
        heads: examined.header.heads.into_iter().map(|h| BundleRef { name: h.name, commit: h.commit }).collect(),
        prerequisites: examined.header.prerequisites,
    };
    file.as_file().sync_all().map_err(|error| unwritable(&error))?;
    file.persist(&place).map_err(|error| unwritable(&error.error))?;
    let row = BundleRow { user_id: who.user_id, bundle: bundle.clone(), root: examined.root };
    if let Err(error) = app.store.add_bundle(row, limit.saturating_mul(UNUSED)).await {
        let _ = std::fs::remove_file(&place);
        return Err(error.into());
    }
    let location = format!("/api/bundles/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(bundle)).into_response())
}

/// A bundle as it was sent: for its owner, and for machines that run tasks (scope `daemon`).
#[utoipa::path(get, path = "/api/bundles/{id}", params(("id" = Uuid, Path)),
    responses((status = 200, body = String, content_type = "application/x-git-bundle")))]
pub async fn download(
    State(app): State<App>,
    Caller(who): Caller,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Response, Failure> {
    let missing = || Failure::new(StatusCode::NOT_FOUND, "not_found", "there is no such bundle");
    // By name: `*` gives all of a user's own, and not what is others'.
    let is_daemon = who.scopes.iter().any(|scope| scope == "daemon");
    if !is_daemon {
        require(&who, "tasks:read")?;
    }
    let row = app.store.bundle(id).await?.filter(|row| is_daemon || row.user_id == who.user_id);
    row.ok_or_else(missing)?;
    match tokio::fs::File::open(app.workspaces.bundle_file(id)).await {
        Ok(file) => Ok(sent(file).await),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(missing()),
        Err(error) => Err(unreadable(&error)),
    }
}

/// The task's branch as a git bundle: its commits, and the one that it started from.
#[utoipa::path(get, path = "/api/tasks/{id}/bundle", params(("id" = Uuid, Path)),
    responses((status = 200, body = String, content_type = "application/x-git-bundle"),
        (status = 404, description = "No such task, or (`no_result`) it has no commit yet")))]
pub async fn result(
    State(app): State<App>,
    Reader(who): Reader,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<Response, Failure> {
    app.store.task(who.user_id, id).await?;
    let nothing = || Failure::new(StatusCode::NOT_FOUND, "no_result", "the task has no commit yet");
    let failed = |error: WorkspaceError| Failure::new(StatusCode::CONFLICT, "workspace", error.to_string());
    if let Some(workspace) = app.workspaces.open(id).map_err(failed)? {
        let file: TempPath = private_file(&app.workspaces.bundle_file(id))?.into_temp_path();
        workspace.bundle(&file).await.map_err(failed)?.ok_or_else(nothing)?;
        // Its name goes; what is open is sent to the end.
        let open = tokio::fs::File::open(&file).await.map_err(|error| unreadable(&error))?;
        return Ok(sent(open).await);
    }
    let bundle = kept(&app, id)?.and_then(|kept| kept.bundle).ok_or_else(nothing)?;
    Ok(sent(tokio::fs::File::open(bundle).await.map_err(|error| unreadable(&error))?).await)
}

/// The diff that a task on another machine left, cut at `most` bytes.
pub async fn kept_diff(app: &App, id: Uuid, most: usize) -> Result<Option<Vec<u8>>, Failure> {
    let Some(kept) = kept(app, id)? else { return Ok(None) };
    let file = tokio::fs::File::open(kept.diff).await.map_err(|error| unreadable(&error))?;
    let mut diff = Vec::new();
    file.take(most as u64).read_to_end(&mut diff).await.map_err(|error| unreadable(&error))?;
    Ok(Some(diff))
}

fn kept(app: &App, id: Uuid) -> Result<Option<StoredResult>, Failure> {
    app.results.get(id).map_err(|error| {
        tracing::error!(%error, "a result cannot be read");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the result cannot be read")
    })
}

/// Writes a body to a file. What cannot be a bundle is refused as soon as that is seen.
async fn receive(file: &NamedTempFile, body: Body, limit: u64) -> Result<u64, Failure> {
    let mut out = tokio::fs::File::from_std(file.reopen().map_err(|error| unwritable(&error))?);
    let mut stream = body.into_data_stream();
    let (mut size, mut head, mut begun) = (0, Vec::new(), false);
    loop {
        let chunk = match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(chunk))) => chunk,
            Ok(Some(Err(_))) => return Err(Failure::bad_request("the bundle was not sent to its end")),
            Err(_) => {
                return Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "timeout", "nothing was sent for too long"));
            }
        };
        size += chunk.len() as u64;
        if size > limit {
            return Err(too_large(limit));
        }
        if !begun {
            head.extend_from_slice(&chunk[..chunk.len().min(MAX_HEADER + 8)]);
            begun = BundleHeader::parse(&head).map_err(|error| refused(&error.into()))?.is_some();
            if begun {
                head = Vec::new();
            }
        }
        out.write_all(&chunk).await.map_err(|error| unwritable(&error))?;
    }
    out.flush().await.map_err(|error| unwritable(&error))?;
    if begun { Ok(size) } else { Err(refused(&BundleError::Truncated.into())) }
}

/// A new file beside `place` that only the server's user can read.
fn private_file(place: &Path) -> Result<NamedTempFile, Failure> {
    let directory: PathBuf = place.parent().unwrap_or(place).to_path_buf();
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.and_then(|()| tempfile::Builder::new().prefix(".part-").tempfile_in(&directory))
        .map_err(|error| unwritable(&error))
}

async fn sent(file: tokio::fs::File) -> Response {
    let length = file.metadata().await.ok().map(|meta| meta.len().to_string());
    let mut response = Body::from_stream(ReaderStream::with_capacity(file, 64 * 1024)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(TYPE));
    if let Some(length) = length.and_then(|length| header::HeaderValue::try_from(length).ok()) {
        response.headers_mut().insert(header::CONTENT_LENGTH, length);
    }
    response
}

fn refused(error: &WorkspaceError) -> Failure {
    let status = match error {
        WorkspaceError::Bundle(error) if error.is_malformed() => StatusCode::BAD_REQUEST,
        WorkspaceError::Bundle(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => {
            tracing::error!(%error, "a bundle could not be looked at");
            let text = "the bundle could not be looked at";
            return Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", text);
        }
    };
    Failure::new(status, "bad_bundle", error.to_string())
        .hint("Make it with `git bundle create`, without --filter, of branches and tags.")
}

fn too_large(limit: u64) -> Failure {
    let text = format!("a bundle may have {} MiB here", limit / (1024 * 1024));
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
        .hint("Push your branch to a remote that the server can reach, so that less has to be sent.")
}

fn unwritable(error: &std::io::Error) -> Failure {
    tracing::error!(%error, "a bundle cannot be stored");
    let full = matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded);
    let code = if full { "disk_full" } else { "data_dir" };
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, code, "the server cannot store the bundle")
        .hint("Nothing was changed.")
}

fn unreadable(error: &std::io::Error) -> Failure {
    tracing::error!(%error, "a bundle cannot be read");
    Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the bundle cannot be read")
}

#[cfg(test)]
#[path = "bundles_tests.rs"]
mod tests;
