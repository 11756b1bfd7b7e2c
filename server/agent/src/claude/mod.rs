//! Claude Code, driven over stream-json: the real CLI as it is, with its own login and settings.

mod control;
mod launch;
mod lines;
#[cfg(test)]
mod tests;
mod tools;
pub(crate) mod translate;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use crate::session::calls::size;
pub use crate::session::patch::{cap_to, cap_value};

use crate::agent::{Agent, AgentError, BoxFuture, Launch, Probe, Session};
use crate::session;
use translate::{Surroundings, Translator};

const NAME: &str = "claude";

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
        launch::program().find(environment)
    }

    fn probe<'a>(&'a self, environment: &'a BTreeMap<String, String>) -> BoxFuture<'a, Result<Probe, AgentError>> {
        Box::pin(async move { launch::program().probe(environment, &[("DISABLE_AUTOUPDATER", "1")]).await })
    }

    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<Session, AgentError>> {
        Box::pin(async move {
            let program = launch::program().find(&launch.environment)?;
            let spec = launch::spec(&launch, program)?;
            let translator = Translator::new(&launch.directory, launch.permission, Surroundings::default());
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
