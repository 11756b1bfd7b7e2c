use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, HeaderMap, RANGE};
use reqwest::{Response, StatusCode, redirect};
use sha2::{Digest, Sha256};

use super::super::http::{broken, refused};
use super::super::{EngineError, ErrorKind};
use super::{Model, ModelError, Models, file_error};

/// By which failures are reported.
const NAME: &str = "the model's repository";

/// Without a byte for so long, a download is given up; what came is kept.
const STALLED: Duration = Duration::from_secs(30);

/// How far a download is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
}

impl Models {
    /// Downloads a model unless it is here, and checks that it is the published one. One that was broken off goes on where it
    /// was. The file appears under its name only when it is complete.
    ///
    /// # Errors
    /// [`ModelError`]. After [`ModelError::Network`], another call goes on.
    pub async fn download(
        &self,
        model: &Model,
        mut progress: impl FnMut(Progress) + Send,
    ) -> Result<PathBuf, ModelError> {
        if self.has(model) {
            return Ok(self.path(model));
        }
        fs::create_dir_all(&self.directory).map_err(file_error(&self.directory))?;
        let mut part = Part::open(self.part(model), model)?;
        progress(part.progress());
        if !part.is_complete() {
            let response = self.ask(model, part.done).await.map_err(ModelError::Network)?;
            part.accept(response.status(), response.headers())?;
            receive(response, &mut part, &mut progress).await?;
        }
        part.publish(&self.path(model))
    }

    async fn ask(&self, model: &Model, from: u64) -> Result<Response, EngineError> {
        // Files are served from another host, to which the repository redirects.
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(STALLED)
            .redirect(redirect::Policy::limited(5))
            .user_agent(concat!("cadence/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| broken(NAME, error))?;
        let url = self
            .repository
            .join(&model.file())
            .map_err(|error| EngineError::new(NAME, ErrorKind::Refused).because(&error.to_string(), None))?;
        let mut get = client.get(url);
        if from > 0 {
            get = get.header(RANGE, format!("bytes={from}-"));
        }
        let response = get.send().await.map_err(|error| broken(NAME, error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(NAME, response.status(), response.headers(), &[], None))
    }
}

async fn receive(
    mut response: Response,
    part: &mut Part,
    progress: &mut (impl FnMut(Progress) + Send),
) -> Result<(), ModelError> {
    let network = |error| ModelError::Network(broken(NAME, error));
    while let Some(piece) = response.chunk().await.map_err(network)? {
        part.append(&piece)?;
        progress(part.progress());
    }
    if part.is_complete() {
        return Ok(());
    }
    let short = format!("the file ends after {} of {} bytes", part.done, part.total);
    Err(ModelError::Network(EngineError::new(NAME, ErrorKind::Unavailable).because(&short, None)))
}

/// A file that is being downloaded; locked, so that two programs do not write it at once.
struct Part {
    path: PathBuf,
    file: File,
    name: &'static str,
    sha256: &'static str,
    hash: Sha256,
    done: u64,
    total: u64,
}

impl Part {
    /// Opens what came before, if anything, and reads it for its hash.
    fn open(path: PathBuf, model: &Model) -> Result<Self, ModelError> {
        let file = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&path);
        let file = file.map_err(file_error(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ModelError::Busy { name: model.name.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(ModelError::File { path, source }),
        }
        let (name, sha256, total) = (model.name, model.sha256, model.bytes);
        let mut part = Self { path, file, name, sha256, hash: Sha256::new(), done: 0, total };
        let mut buffer = vec![0; 1 << 20];
        loop {
            match part.file.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    part.hash.update(&buffer[..read]);
                    part.done += read as u64;
                }
                Err(source) => return Err(ModelError::File { path: part.path, source }),
            }
        }
        if part.done > part.total {
            part.restart()?;
        }
        Ok(part)
    }

    fn is_complete(&self) -> bool {
        self.done == self.total
    }

    fn progress(&self) -> Progress {
        Progress { done: self.done, total: self.total }
    }

    /// Whether what comes goes on where this ends; one that begins anew is written anew.
    fn accept(&mut self, status: StatusCode, headers: &HeaderMap) -> Result<(), ModelError> {
        let range = headers.get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
        let from = range.and_then(|range| range.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok());
        if self.done > 0 && !(status == StatusCode::PARTIAL_CONTENT && from == Some(self.done)) {
            self.restart()?;
            // A part from elsewhere than was asked for is of no use.
            if status == StatusCode::PARTIAL_CONTENT && from != Some(0) {
                let error = EngineError::new(NAME, ErrorKind::Garbage).because("another part than asked for", None);
                return Err(ModelError::Network(error));
            }
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<(), ModelError> {
        self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0))).map_err(file_error(&self.path))?;
        (self.hash, self.done) = (Sha256::new(), 0);
        Ok(())
    }

    fn append(&mut self, piece: &[u8]) -> Result<(), ModelError> {
        if self.done + piece.len() as u64 > self.total {
            return Err(self.wrong());
        }
        self.file.write_all(piece).map_err(file_error(&self.path))?;
        self.hash.update(piece);
        self.done += piece.len() as u64;
        Ok(())
    }

    fn wrong(&self) -> ModelError {
        // It would be gone on with the next time.
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(%error, path = %self.path.display(), "a wrong file cannot be removed");
        }
        ModelError::Wrong { name: self.name.to_owned() }
    }

    fn publish(mut self, path: &Path) -> Result<PathBuf, ModelError> {
        let hash = hex(&std::mem::take(&mut self.hash).finalize());
        if hash != self.sha256 {
            return Err(self.wrong());
        }
        self.file.sync_all().map_err(file_error(&self.path))?;
        fs::rename(&self.path, path).map_err(file_error(path))?;
        Ok(path.to_owned())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
