//! The set-up command of a repository.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe::Receiver;
use uuid::Uuid;

use super::{Environment, Workspace, WorkspaceError, write_file};
use crate::project;
use crate::sandbox::CommandLine;

/// Says that the command succeeded, so that it does not run again.
pub(super) const DONE: &str = "setup.done";
/// Longest line that is passed on, in bytes; longer ones come in parts.
const LONGEST_LINE: usize = 16 << 10;
/// Variable that all processes of one set-up have, by which they are found.
const MARK: &str = "CADENCE_SETUP";

impl Workspace {
    /// Runs the `[setup]` command of `.cadence.toml` with `sh -c` in the workspace, unless it succeeded there before. Its
    /// environment is `environment` and nothing else; `on_line` gets its output, stdout and stderr. Gives the exit code
    /// (128 + signal where one ended it), or none where there was nothing to run. Whatever it started is killed at its
    /// end, at its time limit (`WorkspaceError::SetupTimedOut`), and when this future is dropped.
    pub async fn run_setup(
        &self,
        environment: &Environment,
        on_line: impl FnMut(&str) + Send,
    ) -> Result<Option<i32>, WorkspaceError> {
        self.run_setup_by(&("sh".into(), vec!["-c".to_owned()]), environment, on_line).await
    }

    /// As [`Workspace::run_setup`], by this command line, to which the command is added.
    pub async fn run_setup_by(
        &self,
        (shell, arguments): &CommandLine,
        environment: &Environment,
        mut on_line: impl FnMut(&str) + Send,
    ) -> Result<Option<i32>, WorkspaceError> {
        let done = self.home.join(DONE);
        if done.exists() {
            return Ok(None);
        }
        let Some(setup) = project::load(&self.directory)?.setup else { return Ok(None) };
        let start = |source| WorkspaceError::io("starting the set-up command in", &self.directory)(source);
        let (reader, writer) = std::io::pipe().map_err(start)?;
        let mark = Uuid::new_v4().to_string();
        let mut command = std::process::Command::new(shell);
        command.args(arguments).arg(&setup.command).current_dir(&self.directory).env_clear().envs(environment);
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
        let Ok(ended) = tokio::time::timeout(setup.limit(), run).await else {
            drop(tree);
            return Err(WorkspaceError::SetupTimedOut(setup.timeout_secs));
        };
        drop(tree);
        let status = ended.map_err(WorkspaceError::io("running the set-up command in", &self.directory))?;
        let code = status
            .code()
            .unwrap_or_else(|| 128 + std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or_default());
        if code == 0 {
            write_file(&done, b"")?;
        }
        Ok(Some(code))
    }
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

/// Everything that a set-up started; killed when dropped.
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
