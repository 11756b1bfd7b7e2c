//! A command that runs in a workspace for its task: what it says is passed on, and nothing of it outlives it.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use uuid::Uuid;

use super::{Environment, WorkspaceError};

/// Longest line that is passed on, in bytes; longer ones come in parts.
const LONGEST_LINE: usize = 16 << 10;
/// Variable that all processes of one command have, by which they are found.
const MARK: &str = "CADENCE_SETUP";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With this exit code; 128 + signal where one ended it.
    Code(i32),
    TimedOut,
}

/// Runs a command in `directory`. Its environment is `environment` and nothing else; `on_line` gets its output, stdout and
/// stderr. Whatever it started is killed at its end, after `limit`, and when this future is dropped.
pub(super) async fn run(
    mut command: Command,
    directory: &Path,
    environment: &Environment,
    limit: Duration,
    mut on_line: impl FnMut(&str) + Send,
) -> Result<Ended, WorkspaceError> {
    let start = |source| WorkspaceError::io("starting a command in", directory)(source);
    let (reader, writer) = std::io::pipe().map_err(start)?;
    let mark = Uuid::new_v4().to_string();
    command.current_dir(directory).env_clear().envs(environment);
    command.env(MARK, &mark).process_group(0).stdin(Stdio::null());
    command.stdout(writer.try_clone().map_err(start)?).stderr(writer);
    let mut command = tokio::process::Command::from(command);
    let mut child = command.kill_on_drop(true).spawn().map_err(start)?;
    // It holds the writing ends.
    drop(command);
    let mut tree = Tree { group: child.id(), mark };
    let reader = Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(start)?;
    let mut reader = BufReader::with_capacity(LONGEST_LINE, reader);

    let run = async {
        let lines = pass_lines(&mut reader, &mut on_line);
        tokio::pin!(lines);
        let status = tokio::select! {
            // All output was closed; it may still run.
            read = &mut lines => {
                read?;
                child.wait().await?
            }
            status = child.wait() => {
                // What it left in the background holds the output open.
                tree.kill();
                lines.await?;
                status?
            }
        };
        Ok::<_, std::io::Error>(status)
    };
    let ended = tokio::time::timeout(limit, run).await;
    drop(tree);
    let Ok(ended) = ended else { return Ok(Ended::TimedOut) };
    let status = ended.map_err(WorkspaceError::io("running a command in", directory))?;
    Ok(Ended::Code(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())))
}

async fn pass_lines(reader: &mut (impl AsyncBufRead + Unpin), on_line: &mut impl FnMut(&str)) -> std::io::Result<()> {
    let mut line: Vec<u8> = Vec::new();
    loop {
        let chunk = reader.fill_buf().await?;
        if chunk.is_empty() {
            break;
        }
        let end = chunk.iter().position(|b| *b == b'\n');
        let take = end.map_or(chunk.len(), |end| end + 1);
        line.extend_from_slice(&chunk[..take]);
        reader.consume(take);
        if end.is_some() || line.len() >= LONGEST_LINE {
            on_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']));
            line.clear();
        }
    }
    if !line.is_empty() {
        on_line(&String::from_utf8_lossy(&line));
    }
    Ok(())
}

/// Everything that a command started; killed when dropped.
struct Tree {
    /// None once it was killed: the number may belong to others then.
    group: Option<u32>,
    mark: String,
}

impl Tree {
    fn kill(&mut self) {
        if let Some(group) = self.group.take().and_then(|pid| i32::try_from(pid).ok()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        // Those that made a group of their own still have the mark. New ones may appear while we look.
        for _ in 0..100 {
            let found = marked(&self.mark);
            if found.is_empty() {
                break;
            }
            for pid in found {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Living processes with the mark in their environment. Only where there is `/proc`.
fn marked(mark: &str) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let wanted = format!("{MARK}={mark}");
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| {
            // Empty for those that have ended and only wait to be reaped.
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|text| text.split(|b| *b == 0).any(|entry| entry == wanted.as_bytes()))
        })
        .map(Pid::from_raw)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_group_is_killed_once() {
        let mut child = std::process::Command::new("sleep").arg("600").process_group(0).spawn().unwrap();
        let mut tree = Tree { group: Some(child.id()), mark: Uuid::new_v4().to_string() };
        tree.kill();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
        // From here on the number may be anybody's.
        assert_eq!(tree.group, None);
    }
}
