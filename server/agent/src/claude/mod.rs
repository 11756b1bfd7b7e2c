//! Claude Code, driven over stream-json: the real CLI as it is, with its own login and settings.

mod control;
mod launch;
mod lines;
mod patch;
mod raw_log;
pub(crate) mod session;
mod steps;
#[cfg(test)]
mod tests;
mod tools;
pub(crate) mod translate;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

pub use patch::{cap_to, cap_value};
pub use tools::size;

use crate::agent::{Agent, AgentError, BoxFuture, Input, Launch, Probe, Session};
use translate::{Surroundings, Translator};

const NAME: &str = "claude";
/// How long `claude --version` may take.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// The agent `claude`.
///
/// After a turn's end ([`crate::Output::TurnEnd`]) nothing more comes until the next input, unless `background` says that
/// commands still run, or a message was sent that was not taken. An answer to an approval that is not open any more is
/// passed over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Claude;

impl Agent for Claude {
    fn name(&self) -> &'static str {
        NAME
    }

    fn find(&self, environment: &BTreeMap<String, String>) -> Result<PathBuf, AgentError> {
        launch::find(environment)
    }

    fn probe<'a>(&'a self, environment: &'a BTreeMap<String, String>) -> BoxFuture<'a, Result<Probe, AgentError>> {
        Box::pin(async move {
            let program = launch::find(environment)?;
            let version = version(&program, environment).await?;
            Ok(Probe { version, program })
        })
    }

    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<Session, AgentError>> {
        Box::pin(async move {
            let program = launch::find(&launch.environment)?;
            let spec = launch::spec(&launch, program)?;
            let translator = Translator::new(&launch.directory, launch.permission, Surroundings::default());
            let prompt = Input::Message { id: launch.prompt_id, text: launch.prompt };
            session::start(&launch.host, &spec, translator, prompt, launch.raw_log.as_deref())
                .await
                .map_err(|error| start_error(format!("its host {}: {error}", launch.host.display())))
        })
    }
}

/// Asks the program for its version: `2.1.197 (Claude Code)`.
async fn version(program: &Path, environment: &BTreeMap<String, String>) -> Result<String, AgentError> {
    let call = tokio::process::Command::new(program)
        .arg("--version")
        .env_clear()
        .envs(environment)
        .env("DISABLE_AUTOUPDATER", "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PROBE_TIME, call)
        .await
        .map_err(|_| start_error(format!("{} --version gave no answer in 10 seconds", program.display())))?
        .map_err(|error| start_error(format!("{}: {error}", program.display())))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().next().unwrap_or_default();
    if !output.status.success() || !version.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(start_error(format!("{} --version failed ({})", program.display(), output.status)));
    }
    Ok(version.to_owned())
}

fn start_error(reason: String) -> AgentError {
    AgentError::Start { agent: NAME, reason }
}
