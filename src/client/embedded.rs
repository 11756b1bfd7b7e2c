//! The user's own server: found where it runs, started where it does not, replaced where it is older.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use semver::Version;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use url::Url;

use super::runtime::{Announcement, Runtime, alive, open_private_log, private_directory, signal, token_file, unusable};
use super::{Endpoint, Rest};
use crate::config::Settings;
use crate::error::{CommandError, Exit};

/// How long a server may take to say that it is ready; longer than it gives itself.
const READY: Duration = Duration::from_secs(70);
/// How long one look whether a server answers may take.
const HEALTH: Duration = Duration::from_secs(2);
/// How long a server that runs may take to answer: the machine may be busy, or the server about to end.
const PATIENCE: Duration = Duration::from_secs(40);
/// How long a server may take to end; longer than it gives itself.
const END: Duration = Duration::from_secs(40);
/// The same for one that brings work home at its end.
const END_EPHEMERAL: Duration = Duration::from_secs(90);
/// A client waits for another that ends a server and starts one; longer than that one may take.
const LOCK: Duration = Duration::from_secs(160);
/// How often is looked again.
const LOOK: Duration = Duration::from_millis(50);
/// From this size on the log is moved aside.
pub const LOG_LIMIT: u64 = 10 * 1024 * 1024;

/// The user's own server, running. It is started or replaced where that is needed.
pub async fn ensure(settings: &Settings) -> Result<Endpoint, CommandError> {
    if let Some((server, endpoint)) = find(settings).await?
        && !is_older(&server)
    {
        return Ok(endpoint);
    }
    let runtime = Runtime::new(&settings.runtime_dir);
    runtime.prepare()?;
    let _lock = runtime.lock(LOCK).await?;
    // Another client may have done it while this one waited.
    if let Some((server, endpoint)) = find(settings).await? {
        if !is_older(&server) {
            return Ok(endpoint);
        }
        end(&runtime, server.pid).await?;
    }
    start(settings, &runtime).await
}

/// The user's own server where it runs and answers. One that runs and is slow is waited for: another one beside it could
/// not use its data.
pub async fn find(settings: &Settings) -> Result<Option<(Announcement, Endpoint)>, CommandError> {
    let runtime = Runtime::new(&settings.runtime_dir);
    let deadline = Instant::now() + PATIENCE;
    while let Some(server) = runtime.running() {
        let Some(endpoint) = endpoint_of(settings, &runtime, &server)? else { return Ok(None) };
        let health = Rest::new(Endpoint { token: None, ..endpoint.clone() })?.health(HEALTH).await;
        match health {
            Ok(_) => return Ok(Some((server, endpoint))),
            Err(error) if Instant::now() > deadline => {
                return Err(error.hint(format!("Process {} runs and does not answer.", server.pid)));
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
    Ok(None)
}

fn endpoint_of(
    settings: &Settings,
    runtime: &Runtime,
    server: &Announcement,
) -> Result<Option<Endpoint>, CommandError> {
    let token = match runtime.token_of(server) {
        Some(token) => Some(token),
        None => settings.read_token()?,
    };
    let endpoint = Endpoint { url: server.url.clone(), token };
    // A token goes to this machine only: the file could have been written by hand.
    Ok(endpoint.is_local().then_some(endpoint))
}

/// Whether the server was started on demand by an older client than this one.
fn is_older(server: &Announcement) -> bool {
    server.embedded && newer(env!("CARGO_PKG_VERSION"), &server.version)
}

fn newer(own: &str, other: &str) -> bool {
    match (Version::parse(own), Version::parse(other)) {
        (Ok(own), Ok(other)) => own > other,
        _ => false,
    }
}

/// Asks the server that runs as `pid` to end and waits until it has.
pub async fn end(runtime: &Runtime, pid: i32) -> Result<(), CommandError> {
    if runtime.running().is_none_or(|server| server.pid != pid) {
        return Ok(());
    }
    signal(pid).map_err(|error| CommandError::failed(format!("the server {pid} cannot be ended")).caused_by(error))?;
    let deadline = Instant::now() + END;
    while alive(pid) {
        if Instant::now() > deadline {
            return Err(CommandError::failed(format!("the server {pid} does not end"))
                .hint("Look into its log with `cadence server logs`."));
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    Ok(())
}

pub fn log_path(settings: &Settings) -> PathBuf {
    settings.data_dir.join("logs").join("server.log")
}

async fn start(settings: &Settings, runtime: &Runtime) -> Result<Endpoint, CommandError> {
    let log = log_path(settings);
    let mut command = server_command(&settings.data_dir, &settings.runtime_dir, &log)?;
    command.stdin(Stdio::null());
    let mut child = spawn(&mut command)?;
    match ready(&mut child, &log).await {
        Ok(url) => Ok(Endpoint { url, token: Some(token_file(&runtime.token_path())?) }),
        Err(error) => {
            // One that was started in between and is just getting ready uses the data; it is the one to talk to.
            let deadline = Instant::now() + READY;
            loop {
                if let Some((_, endpoint)) = find(settings).await? {
                    return Ok(endpoint);
                }
                if !in_use(&settings.data_dir) || Instant::now() > deadline {
                    return Err(error);
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// Whether a server has taken the data for itself.
fn in_use(data: &Path) -> bool {
    let lock = std::fs::File::open(data.join("server.lock"));
    lock.is_ok_and(|file| matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
}

/// `cadence serve` as it is started on demand, with the environment of a service.
fn server_command(data: &Path, runtime: &Path, log: &Path) -> Result<Command, CommandError> {
    private_directory(data)?;
    if let Some(logs) = log.parent() {
        private_directory(logs)?;
    }
    let log_file = open_private_log(log, LOG_LIMIT)
        .map_err(|error| unusable(&format!("the server's log {} cannot be written", log.display()), error))?;
    let program = std::env::current_exe()
        .map_err(|error| CommandError::failed("cadence does not find its own program").caused_by(error))?;
    let mut command = Command::new(program);
    command
        .args(["serve", "--embedded", "--listen", "127.0.0.1:0"])
        .arg("--data-dir")
        .arg(data)
        .arg("--runtime-dir")
        .arg(runtime)
        .arg("--log-file")
        .arg(log)
        .env_clear()
        .envs(service_environment(std::env::vars_os()))
        .current_dir("/")
        .stdout(Stdio::piped())
        .stderr(log_file);
    // It works elsewhere, so a relative path would mean something else to it.
    if let Some(path) = std::env::var_os("CADENCE_CONFIG").filter(|path| !path.is_empty()) {
        command.env("CADENCE_CONFIG", std::path::absolute(&path).unwrap_or_else(|_| path.into()));
    }
    Ok(command)
}

/// What of the user's environment a server gets. Secrets are not among it: a task brings its own.
fn service_environment(all: impl IntoIterator<Item = (OsString, OsString)>) -> Vec<(OsString, OsString)> {
    const KEPT: [&str; 9] = ["HOME", "PATH", "LANG", "LANGUAGE", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ"];
    const OWN_CONNECTION: [&str; 4] = ["CADENCE_TOKEN", "CADENCE_SERVER", "CADENCE_LISTEN", "CADENCE_DATA_DIR"];
    all.into_iter()
        .filter(|(name, _)| {
            let Some(name) = name.to_str() else { return false };
            let kept =
                KEPT.contains(&name) || ["LC_", "XDG_", "CADENCE_"].iter().any(|prefix| name.starts_with(prefix));
            kept && !OWN_CONNECTION.contains(&name)
        })
        .collect()
}

fn spawn(command: &mut Command) -> Result<Child, CommandError> {
    command.spawn().map_err(|error| CommandError::failed("the server cannot be started").caused_by(error))
}

/// What a server says that cannot start.
#[derive(Debug, serde::Deserialize)]
struct Failure {
    error: String,
    causes: Vec<String>,
    hints: Vec<String>,
}

impl From<Failure> for CommandError {
    fn from(failure: Failure) -> Self {
        let said = std::iter::once(&failure.error).chain(&failure.causes).map(|text| crate::text::clean_line(text));
        let text = format!("the server cannot start: {}", said.collect::<Vec<_>>().join(": "));
        failure
            .hints
            .iter()
            .fold(Self::new(Exit::Unreachable, text), |error, hint| error.hint(crate::text::clean_line(hint)))
    }
}

/// Waits for the one line that says where the server listens.
async fn ready(child: &mut Child, log: &Path) -> Result<Url, CommandError> {
    let stdout = child.stdout.take().ok_or_else(|| CommandError::failed("the server has no output"))?;
    let mut line = String::new();
    let mut reader = BufReader::new(stdout.take(4096));
    let failed = |what: String| {
        let mut error = CommandError::new(Exit::Unreachable, what);
        for line in last_lines(log, 5) {
            error = error.hint(line);
        }
        error.hint(format!("The whole log is {}.", log.display()))
    };
    match tokio::time::timeout(READY, reader.read_line(&mut line)).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(failed("the server cannot be heard".to_owned()).caused_by(error)),
        Err(_) => {
            let _ = child.start_kill();
            return Err(failed(format!("the server was not ready within {} s", READY.as_secs())));
        }
    }
    if let Some(url) = line.trim().strip_prefix("listening on ").and_then(|url| Url::parse(url).ok()) {
        return Ok(url);
    }
    if let Ok(failure) = serde_json::from_str::<Failure>(&line) {
        return Err(failure.into());
    }
    let status = tokio::time::timeout(Duration::from_secs(2), child.wait()).await;
    let how = match status {
        Ok(Ok(status)) => format!(" ({status})"),
        _ => String::new(),
    };
    Err(failed(format!("the server ended while it started{how}")))
}

/// The last lines of a log, safe to print.
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    use std::io::{Read, Seek, SeekFrom};
    let mut text = Vec::new();
    if let Ok(mut file) = std::fs::File::open(path) {
        let size = file.metadata().map_or(0, |meta| meta.len());
        let _ = file.seek(SeekFrom::Start(size.saturating_sub(64 * 1024)));
        let _ = file.take(64 * 1024).read_to_end(&mut text);
    }
    let text = crate::text::clean(&String::from_utf8_lossy(&text));
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

/// A server of one command's own, with data of its own that is gone afterwards.
#[derive(Debug)]
pub struct Ephemeral {
    pub endpoint: Endpoint,
    child: Child,
    /// The server ends when this closes, however this process ends.
    stdin: Option<ChildStdin>,
    data: PathBuf,
}

impl Ephemeral {
    pub async fn start() -> Result<Self, CommandError> {
        let temporary = tempfile::Builder::new()
            .prefix("cadence-")
            .tempdir()
            .map_err(|error| CommandError::failed("no temporary directory can be made").caused_by(error))?;
        let data = temporary.path().to_owned();
        let runtime = Runtime::new(&data.join("run"));
        runtime.prepare()?;
        let log = data.join("logs").join("server.log");
        let mut command = server_command(&data, &data.join("run"), &log)?;
        command.args(["--until-stdin-closes", "--discard-data"]).stdin(Stdio::piped()).kill_on_drop(true);
        let mut child = spawn(&mut command)?;
        let stdin = child.stdin.take();
        let url = ready(&mut child, &log).await?;
        let token = Some(token_file(&runtime.token_path())?);
        // From here on there may be work in it: the server removes it when all of that is home.
        let data = temporary.keep();
        Ok(Self { endpoint: Endpoint { url, token }, child, stdin, data })
    }

    /// Ends the server, which removes its data unless that has work which could not be brought home: then the error says
    /// where it is.
    pub async fn stop(mut self) -> Result<(), CommandError> {
        drop(self.stdin.take());
        if tokio::time::timeout(END_EPHEMERAL, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        let data = &self.data;
        if !data.exists() {
            return Ok(());
        }
        let log = last_lines(&data.join("logs").join("server.log"), 1);
        let error = CommandError::failed("not all of the work could be brought home, so it is kept")
            .hint(format!("It is in {}; remove that when you have what you need.", data.display()));
        Err(log.into_iter().fold(error, CommandError::hint))
    }

    /// Its process; 0 where it has ended.
    pub fn pid(&self) -> i32 {
        self.child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or(0)
    }

    /// Where its data is.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A directory that goes with the server.
    pub fn scratch(&self) -> PathBuf {
        self.data.join("scratch")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn only_newer_clients_replace() {
        assert!(newer("0.2.0", "0.1.9"));
        assert!(newer("1.0.0", "1.0.0-rc.1"));
        assert!(!newer("0.1.0", "0.1.0"));
        assert!(!newer("0.1.0", "0.2.0"));
        assert!(!newer("0.1.0", "strange"));
    }

    #[test]
    fn a_server_gets_no_secrets() {
        let env = [
            "HOME",
            "PATH",
            "LC_ALL",
            "XDG_DATA_HOME",
            "CADENCE_LOG",
            "CADENCE_TOKEN",
            "ANTHROPIC_API_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "GITHUB_TOKEN",
            "CADENCE_DATA_DIR",
        ];
        let kept = service_environment(env.map(|name| (OsString::from(name), OsString::from("x"))));
        let names: Vec<_> = kept.iter().map(|(name, _)| name.to_str().unwrap()).collect();
        assert_eq!(names, ["HOME", "PATH", "LC_ALL", "XDG_DATA_HOME", "CADENCE_LOG"]);
    }

    #[test]
    fn the_end_of_a_log_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, "one\n\ntwo\n\u{1b}[31mthree\n").unwrap();
        assert_eq!(last_lines(&path, 2), ["two", "three"]);
        assert!(last_lines(&dir.path().join("none"), 2).is_empty());
    }
}
