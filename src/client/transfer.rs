//! Bundles to the server and from it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cadence_protocol::{Bundle, Lease};
use futures_util::StreamExt;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::multipart::{Form, Part};
use reqwest::{Method, RequestBuilder};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::Rest;
use crate::error::CommandError;
use crate::text;

/// Longest time that a bundle may take on its way.
const PATIENCE: Duration = Duration::from_secs(1800);
/// Largest bundle that is taken from a server, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024 * 1024;
/// From this size on it is told how far it is, in bytes.
const LONG: u64 = 8 * 1024 * 1024;

impl Rest {
    /// Sends a bundle. `tell` is told how far it is where it may take long.
    pub async fn upload(&self, bundle: &Path, tell: &(dyn Fn(String) + Send + Sync)) -> Result<Bundle, CommandError> {
        let unreadable = |error: std::io::Error| CommandError::failed("the commits cannot be read").caused_by(error);
        let file = File::open(bundle).await.map_err(unreadable)?;
        let size = file.metadata().await.map_err(unreadable)?.len();
        tell(format!("sending {} of commits that the server cannot fetch", text::bytes(size)));
        let sent = Arc::new(AtomicU64::new(0));
        let counted = sent.clone();
        let stream = ReaderStream::with_capacity(file, 64 * 1024).inspect(move |chunk| {
            if let Ok(chunk) = chunk {
                counted.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        });
        let request = self.request(Method::POST, &["bundles"], &())?.timeout(PATIENCE);
        let request = request
            .header(CONTENT_TYPE, "application/x-git-bundle")
            .header(CONTENT_LENGTH, size)
            .body(reqwest::Body::wrap_stream(stream));
        let answer = self.json(request);
        tokio::pin!(answer);
        let mut quarters = 0;
        let mut look = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                answer = &mut answer => return answer,
                _ = look.tick() => {
                    let now = sent.load(Ordering::Relaxed).saturating_mul(4) / size.max(1);
                    if size >= LONG && now > quarters && now < 4 {
                        quarters = now;
                        tell(format!("{} % are sent", now * 25));
                    }
                }
            }
        }
    }

    /// Writes the bundle of a task's branch to a file.
    pub async fn result(&self, task: Uuid, to: &Path) -> Result<(), CommandError> {
        let request = self.request(Method::GET, &["tasks", &task.to_string(), "bundle"], &())?.timeout(PATIENCE);
        self.write(request, to).await
    }

    async fn write(&self, request: RequestBuilder, to: &Path) -> Result<(), CommandError> {
        let unwritable = |error: std::io::Error| CommandError::failed("the commits cannot be written").caused_by(error);
        let mut response = self.send_request(request).await?;
        let mut file = File::create(to).await.map_err(unwritable)?;
        let mut size = 0;
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(error))? {
            size += chunk.len() as u64;
            if size > LARGEST {
                return Err(CommandError::failed("the server sends commits without end"));
            }
            file.write_all(&chunk).await.map_err(unwritable)?;
        }
        file.flush().await.map_err(unwritable)
    }

    /// Writes the bundle that a task starts from to a file.
    pub async fn bundle(&self, id: Uuid, to: &Path) -> Result<(), CommandError> {
        let request = self.request(Method::GET, &["bundles", &id.to_string()], &())?.timeout(PATIENCE);
        self.write(request, to).await
    }

    /// Hands over what an attempt made: its diff, and its commits where there are some.
    pub async fn hand_over(
        &self,
        lease: Lease,
        base: &str,
        diff: String,
        bundle: Option<&Path>,
    ) -> Result<(), CommandError> {
        let unreadable = |error: std::io::Error| CommandError::failed("the commits cannot be read").caused_by(error);
        let mut form = Form::new().text("diff", diff);
        if let Some(bundle) = bundle {
            let file = File::open(bundle).await.map_err(unreadable)?;
            let size = file.metadata().await.map_err(unreadable)?.len();
            let stream = reqwest::Body::wrap_stream(ReaderStream::with_capacity(file, 64 * 1024));
            form = form.part("bundle", Part::stream_with_length(stream, size).file_name("bundle"));
        }
        let query = serde_json::json!({ "attempt": lease.attempt, "epoch": lease.epoch, "base": base });
        let request = self.request(Method::PUT, &["tasks", &lease.task_id.to_string(), "result"], &query)?;
        self.send_request(request.multipart(form).timeout(PATIENCE)).await.map(drop)
    }
}
