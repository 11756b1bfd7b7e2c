//! Git as a program: one way to start it, with the same safe settings everywhere.
//!
//! Nothing is inherited but a short list of variables. Hooks, maintenance, prompts, signing and the `ext::` transport are
//! off, and paths and names never reach git where they could be taken for options.

pub mod credentials;
mod defaults;
mod helper;
mod text;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use self::defaults::{PASSED, SETTINGS};
use crate::host::MARKER_VARIABLE;

pub use helper::run as credential_helper;
pub use text::{bytes_of, fields, path_of, redact};

/// Oldest git that has all that is used here (`merge-tree --write-tree`).
pub const OLDEST: (u32, u32) = (2, 38);
/// How long git may take where it talks to another machine, unless told otherwise.
pub const NETWORK_LIMIT: Duration = Duration::from_secs(600);
/// How long git may take on this machine. Generous: large repositories on slow disks.
const LOCAL_LIMIT: Duration = Duration::from_secs(600);
/// Most bytes that are read from one command.
const OUTPUT_LIMIT: usize = 64 << 20;
/// Bytes that are kept of the end of stderr.
const STDERR_KEPT: usize = 8 << 10;
/// How long the end of stderr is waited for after git has ended.
const STDERR_WAIT: Duration = Duration::from_secs(2);

/// Lowest priority of a process (nice value).
const LOWEST: i32 = 19;

/// Why git did not do what it was asked to. Messages hold no credentials.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git was not found in PATH")]
    Missing,
    #[error("the directory {0} is not there")]
    NoDirectory(PathBuf),
    #[error("git did not start: {0}")]
    Start(#[source] std::io::Error),
    /// It ended with an error; `message` is the end of what it wrote.
    #[error("git {command} failed: {message}")]
    Failed { command: String, code: Option<i32>, message: String },
    #[error("git {command} was stopped after {} s", limit.as_secs())]
    TimedOut { command: String, limit: Duration },
    #[error("git {command} wrote more than {limit} bytes")]
    TooLarge { command: String, limit: usize },
    #[error("talking to git {command} failed: {source}")]
    Pipe { command: String, source: std::io::Error },
}

impl GitError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing => {
                Some("install git (Debian, Ubuntu: `sudo apt install git`; macOS: `brew install git`)".into())
            }
            Self::Failed { message, .. } if message.contains("dubious ownership") => Some(
                "the repository belongs to another user; allow it with `git config --global --add safe.directory PATH`"
                    .into(),
            ),
            Self::Failed { message, .. }
                if message.contains("could not read Username")
                    || message.contains("Permission denied (publickey")
                    || message.contains("Authentication failed") =>
            {
                Some(
                    "git has no credentials for it: give a token with CADENCE_GIT_TOKEN or [git.credentials] in the settings, \
                     add an SSH key to the agent, or a credential helper"
                        .into(),
                )
            }
            Self::Failed { message, .. } if message.contains("No space left") => Some("free some disk space".into()),
            _ => None,
        }
    }
}

/// Where git runs, and what it sees.
#[derive(Clone, Debug)]
pub struct Git {
    directory: PathBuf,
    variables: BTreeMap<OsString, OsString>,
    settings: Vec<String>,
}

impl Git {
    /// Git in `directory`, with what it may see of `environment`; what is not in there is taken from this process.
    pub fn new(directory: &Path, environment: &BTreeMap<String, String>) -> Self {
        let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
        for name in PASSED {
            let value = environment.get(*name).map(OsString::from).or_else(|| std::env::var_os(name));
            if let Some(value) = value {
                variables.insert(name.into(), value);
            }
        }
        // What an attempt started is found when whoever ran it is dead, git at work included.
        if let Some(marker) = environment.get(MARKER_VARIABLE) {
            variables.insert(MARKER_VARIABLE.into(), marker.into());
        }
        for (name, value) in [
            ("LANG", "C"),
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_EDITOR", ":"),
            ("GIT_MERGE_AUTOEDIT", "no"),
            ("GIT_DEFAULT_REF_FORMAT", "files"),
            // Whatever ssh would ask is answered with a refusal instead of waiting at a terminal.
            ("SSH_ASKPASS", "false"),
            ("SSH_ASKPASS_REQUIRE", "force"),
        ] {
            variables.insert(name.into(), value.into());
        }
        for (name, value) in credentials::own_variables(environment) {
            variables.insert(name.into(), value.into());
        }
        Self { directory: directory.to_path_buf(), variables, settings: Vec::new() }
    }

    /// Sets a variable for all calls.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.insert(name.into(), value.as_ref().to_owned());
        self
    }

    /// Sets `key=value` for all calls.
    #[must_use]
    pub fn setting(mut self, setting: impl Into<String>) -> Self {
        self.settings.push(setting.into());
        self
    }

    /// The repository, named instead of searched for upwards.
    #[must_use]
    pub fn repository(self, git_dir: &Path) -> Self {
        self.env("GIT_DIR", git_dir)
    }

    /// The directory that git runs in.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The variable as git sees it.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str)
    }

    /// A call of a subcommand.
    pub fn call(&self, command: &str) -> Call {
        Call {
            git: self.clone(),
            command: command.to_owned(),
            arguments: Vec::new(),
            stdin: None,
            input: None,
            output: None,
            limit: LOCAL_LIMIT,
            cut: None,
            yields: false,
        }
    }

    /// Its version, and whether it is new enough.
    pub async fn version(&self) -> Result<(String, bool), GitError> {
        let text = self.call("version").text().await?;
        let version = text.trim_start_matches("git version ").split_whitespace().next().unwrap_or_default().to_owned();
        let mut numbers = version.split('.').map(|n| n.parse::<u32>().unwrap_or(0));
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Ok((version, found >= OLDEST))
    }
}

/// One command line of git.
#[derive(Clone, Debug)]
pub struct Call {
    git: Git,
    command: String,
    arguments: Vec<OsString>,
    stdin: Option<Vec<u8>>,
    input: Option<Arc<File>>,
    output: Option<Arc<File>>,
    limit: Duration,
    cut: Option<usize>,
    yields: bool,
}

/// What git answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    /// The end of stderr, without credentials.
    pub stderr: String,
    /// Whether there was more output than was asked for.
    pub cut: bool,
}

impl Call {
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    #[must_use]
    pub fn args<I: IntoIterator<Item = A>, A: AsRef<OsStr>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// What it reads from stdin.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    /// It reads this file from where it stands, instead of bytes: what is large stays out of memory.
    #[must_use]
    pub fn input(mut self, file: File) -> Self {
        self.input = Some(Arc::new(file));
        self
    }

    /// It writes to this file from where it stands, and answers without output.
    #[must_use]
    pub fn output(mut self, file: File) -> Self {
        self.output = Some(Arc::new(file));
        self
    }

    /// How long it may take.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Take the first `bytes` of its output and stop it there, instead of failing on more.
    #[must_use]
    pub fn cut_at(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// Lets everything else on the machine go first.
    #[must_use]
    pub fn yielding(mut self) -> Self {
        self.yields = true;
        self
    }

    /// Runs it; any exit code is an answer.
    pub async fn answer(self) -> Result<Answer, GitError> {
        let (limit, command) = (self.limit, self.command.clone());
        match tokio::time::timeout(limit, Box::pin(self.talk())).await {
            Ok(answer) => answer,
            Err(_) => Err(GitError::TimedOut { command, limit }),
        }
    }

    /// Runs it; an exit code other than 0 is an error. Gives stdout.
    pub async fn run(self) -> Result<Vec<u8>, GitError> {
        let command = self.command.clone();
        let answer = self.answer().await?;
        if answer.code == Some(0) || answer.cut { Ok(answer.stdout) } else { Err(answer.into_error(command)) }
    }

    /// Like [`Call::run`], as text without the line end.
    pub async fn text(self) -> Result<String, GitError> {
        let bytes = self.run().await?;
        Ok(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']).to_owned())
    }

    /// For questions: 0 is yes, 1 is no, everything else an error.
    pub async fn holds(self) -> Result<bool, GitError> {
        let command = self.command.clone();
        let answer = self.answer().await?;
        match answer.code {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(answer.into_error(command)),
        }
    }

    async fn talk(self) -> Result<Answer, GitError> {
        let name = self.command.clone();
        let pipe = |source| GitError::Pipe { command: name.clone(), source };
        let mut command = tokio::process::Command::new("git");
        command.current_dir(&self.git.directory).env_clear().envs(&self.git.variables).process_group(0);
        for setting in SETTINGS.iter().copied().chain(self.git.settings.iter().map(String::as_str)) {
            command.arg("-c").arg(setting);
        }
        command.arg(&self.command).args(&self.arguments).kill_on_drop(true);
        command.stdin(match &self.input {
            Some(file) => Stdio::from(file.try_clone().map_err(pipe)?),
            None if self.stdin.is_some() => Stdio::piped(),
            None => Stdio::null(),
        });
        command.stdout(match &self.output {
            Some(file) => Stdio::from(file.try_clone().map_err(pipe)?),
            None => Stdio::piped(),
        });
        command.stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound if !self.git.directory.is_dir() => {
                GitError::NoDirectory(self.git.directory.clone())
            }
            std::io::ErrorKind::NotFound => GitError::Missing,
            _ => GitError::Start(error),
        })?;
        let mut group = Group(child.id());
        if self.yields {
            yield_to_others(child.id());
        }
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let most = self.cut.unwrap_or(OUTPUT_LIMIT);
        let input = self.stdin.unwrap_or_default();
        let write = async {
            if let Some(mut stdin) = stdin {
                // Git may have read enough before the end; its exit code tells.
                let _ = stdin.write_all(&input).await;
            }
        };
        let mut errors = tokio::spawn(tail(stderr, STDERR_KEPT));
        let read = async {
            let mut bytes = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(most as u64 + 1).read_to_end(&mut bytes).await?;
            }
            if bytes.len() > most {
                group.kill();
            }
            Ok::<_, std::io::Error>(bytes)
        };
        let ((), stdout) = tokio::join!(write, read);
        let mut stdout = stdout.map_err(pipe)?;
        let status = child.wait().await.map_err(pipe)?;
        group.0 = None;
        // A shared ssh connection that stays for later calls holds stderr open.
        let stderr = match tokio::time::timeout(STDERR_WAIT, &mut errors).await {
            Ok(kept) => kept.unwrap_or_else(|_| Ok(Vec::new())).map_err(pipe)?,
            Err(_) => {
                errors.abort();
                Vec::new()
            }
        };
        let cut = stdout.len() > most;
        if cut && self.cut.is_none() {
            return Err(GitError::TooLarge { command: name, limit: most });
        }
        stdout.truncate(most);
        Ok(Answer { code: status.code(), stdout, stderr: redact(&String::from_utf8_lossy(&stderr)), cut })
    }
}

impl Answer {
    /// The error that this answer is.
    pub fn into_error(self, command: impl Into<String>) -> GitError {
        let lines: Vec<&str> =
            self.stderr.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("hint:")).collect();
        let message = match (lines.is_empty(), self.code) {
            (false, _) => lines[lines.len().saturating_sub(6)..].join("; "),
            (true, Some(code)) => format!("exit code {code}"),
            (true, None) => "it was killed".to_owned(),
        };
        GitError::Failed { command: command.into(), code: self.code, message }
    }
}

/// Gives a process, and what it will start, the lowest priority. Where that fails it has the usual one.
fn yield_to_others(pid: Option<u32>) {
    let pid = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::setpriority_process(Some(pid), LOWEST);
    }
}

/// Kills git with what it started, unless it has ended.
struct Group(Option<u32>);

impl Group {
    fn kill(&self) {
        if let Some(pid) = self.0.and_then(|pid| i32::try_from(pid).ok()) {
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn tail(from: Option<impl AsyncRead + Unpin + Send>, keep: usize) -> std::io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut from) = from else { return Ok(kept) };
    let mut chunk = [0; 4096];
    loop {
        let count = from.read(&mut chunk).await?;
        if count == 0 {
            return Ok(kept);
        }
        kept.extend_from_slice(&chunk[..count]);
        if kept.len() > 2 * keep {
            kept.drain(..kept.len() - keep);
        }
    }
}

#[cfg(test)]
mod tests;
