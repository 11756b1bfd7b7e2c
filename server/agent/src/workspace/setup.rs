//! The commands of a repository for its workspaces: what makes a fresh one ready, and what undoes that when it goes.

use std::fs;
use std::path::Path;

use super::command::{Ended, run};
use super::{Environment, Workspace, WorkspaceError, write_file};
use crate::project::{self, Step};
use crate::sandbox::CommandLine;

/// Says that the set-up command succeeded, so that it does not run again.
pub(super) const DONE: &str = "setup.done";
/// The tear-down command as it was before an agent came.
pub(super) const TEARDOWN: &str = "teardown.json";

/// Variables that a tear-down command gets from cadence's own environment where the task's is not known.
const OWN: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG"];

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
        on_line: impl FnMut(&str) + Send,
    ) -> Result<Option<i32>, WorkspaceError> {
        let done = self.home.join(DONE);
        if done.exists() {
            return Ok(None);
        }
        let Some(setup) = project::load(&self.directory)?.setup else { return Ok(None) };
        let mut command = std::process::Command::new(shell);
        command.args(arguments).arg(&setup.command);
        match run(command, &self.directory, environment, setup.limit(), on_line).await? {
            Ended::TimedOut => Err(WorkspaceError::SetupTimedOut(setup.timeout_secs)),
            Ended::Code(code) => {
                if code == 0 {
                    write_file(&done, b"")?;
                }
                Ok(Some(code))
            }
        }
    }

    /// Notes the tear-down command before an agent can change it: it will run when nobody watches.
    pub(super) fn keep_teardown(&self) -> Result<(), WorkspaceError> {
        // A file that cannot be read is said when the set-up command is looked for in it.
        let Some(teardown) = project::load(&self.directory).ok().and_then(|project| project.teardown) else {
            return Ok(());
        };
        let path = self.home.join(TEARDOWN);
        let text = serde_json::to_vec(&teardown)
            .map_err(|error| WorkspaceError::Damaged { path: path.clone(), reason: error.to_string() })?;
        write_file(&path, &text)
    }

    /// Runs the `[teardown]` command that the workspace was made with, with `sh -c`; `environment` is that of its task, none
    /// where it is not known any more. That it fails or takes too long is logged, and keeps nothing from being removed.
    pub(super) async fn tear_down(&self, environment: Option<&Environment>) {
        let Some(teardown) = read(&self.home.join(TEARDOWN)).filter(|_| self.directory.is_dir()) else { return };
        let own = || OWN.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
        let environment = environment.cloned().unwrap_or_else(own);
        let mut last = String::new();
        let keep = |line: &str| line.clone_into(&mut last);
        let ended = run(shell(&teardown), &self.directory, &environment, teardown.limit(), keep).await;
        let task = self.task_id;
        match ended {
            Ok(Ended::Code(0)) => {}
            Ok(Ended::Code(code)) => tracing::warn!(%task, code, last, "the tear-down command failed"),
            Ok(Ended::TimedOut) => {
                tracing::warn!(%task, limit = ?teardown.limit(), "the tear-down command was stopped")
            }
            Err(error) => tracing::warn!(%task, %error, "the tear-down command could not run"),
        }
    }
}

fn shell(step: &Step) -> std::process::Command {
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(&step.command);
    command
}

fn read(path: &Path) -> Option<Step> {
    let text = fs::read(path).ok()?;
    serde_json::from_slice(&text).map_err(|error| tracing::warn!(path = %path.display(), %error, "not readable")).ok()
}
