//! Codex, driven over its app server (`codex app-server`, JSON-RPC on stdio), with its own login and settings.
//!
//! `codex exec --json` prints events of a single turn and takes nothing back. The app server has what a supervised task
//! needs as well: requests for approval, messages during a turn (`turn/steer`), the interruption of a turn, and sessions
//! that go on in another process (`thread/resume`).

mod approvals;
mod items;
mod launch;
#[cfg(test)]
mod tests;
mod translate;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::agent::{Agent, AgentError, BoxFuture, Launch, Probe, Session};
use crate::session;
use translate::Translator;

pub(crate) const NAME: &str = "codex";

/// The agent `codex`.
///
/// It tells tokens and no dollars, so that a budget cannot be kept; that is said when the session begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct Codex;

impl Agent for Codex {
    fn name(&self) -> &'static str {
        NAME
    }

    fn find(&self, environment: &BTreeMap<String, String>) -> Result<PathBuf, AgentError> {
        launch::program().find(environment)
    }

    fn probe<'a>(&'a self, environment: &'a BTreeMap<String, String>) -> BoxFuture<'a, Result<Probe, AgentError>> {
        Box::pin(async move { launch::program().probe(environment, &[]).await })
    }

    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<Session, AgentError>> {
        Box::pin(async move {
            let program = launch::program().find(&launch.environment)?;
            let spec = launch::spec(&launch, program)?;
            let translator = Translator::new(launch::plan(&launch), Box::new(uuid::Uuid::new_v4));
            let host = launch.host.clone();
            session::start(&spec, translator, launch)
                .await
                .map_err(|error| start_error(format!("its host {}: {error}", host.display())))
        })
    }
}

fn start_error(reason: String) -> AgentError {
    AgentError::Start { agent: NAME, reason }
}
