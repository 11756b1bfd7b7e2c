//! Agents that speak the Agent Client Protocol: <https://agentclientprotocol.com>, version 1, JSON-RPC on stdio. OpenCode is
//! one that cadence knows how to set up; others come from the settings.
//!
//! The messages have types of their own here, the few that are needed: the protocol's own crate would turn on serde_json's
//! `preserve_order` for all of cadence, and refuses what a newer agent says.

mod calls;
mod opencode;
mod permissions;
#[cfg(test)]
mod tests;
mod translate;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use crate::agent::{Agent, AgentError, BoxFuture, Launch, Probe, Session};
use crate::host::{HostSpec, marker};
use crate::program::{Program, checked};
use crate::session;
use translate::{Plan, Translator};

/// What sessions had cost, by their id, as far as this process knows: an agent tells what a session cost from its beginning.
type Costs = Arc<Mutex<BTreeMap<String, f64>>>;

/// An agent that speaks the Agent Client Protocol.
///
/// The protocol has no word for a message during a turn, so that one waits for its end, and none for a limit of turns, which
/// is said when a session begins. A budget is kept where the agent tells what it spends, and else that is said. What an agent
/// asks for, it decides by its own settings; what it does in the mode `ask` without asking is said.
#[derive(Clone, Debug)]
pub struct Acp {
    name: &'static str,
    program: Program,
    arguments: Vec<String>,
    /// Variables of the agent's for a launch.
    environment: fn(&Launch) -> Vec<(&'static str, String)>,
    costs: Costs,
}

impl Acp {
    /// OpenCode, as `opencode acp`. `opencode run --format json` asks for nothing and takes nothing back.
    pub fn opencode() -> Self {
        Self {
            name: opencode::NAME,
            program: opencode::program(),
            arguments: vec!["acp".to_owned()],
            environment: opencode::environment,
            costs: Costs::default(),
        }
    }

    /// One of the settings. `command` is its program, by its name in `PATH` or its absolute path, and its arguments.
    pub fn new(name: &str, command: &[String]) -> Result<Self, AgentError> {
        let (program, arguments) = command.split_first().ok_or_else(|| AgentError::Unknown(name.to_owned()))?;
        // Agents live as long as the process, and there are a handful.
        let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
        let install = format!("(see the documentation of {program}, which the settings name for {name})");
        let program = Program { agent: name, name: program.clone(), variable: None, install };
        let arguments = arguments.to_vec();
        Ok(Self { name, program, arguments, environment: |_| Vec::new(), costs: Costs::default() })
    }
}

impl Agent for Acp {
    fn name(&self) -> &'static str {
        self.name
    }

    fn find(&self, environment: &BTreeMap<String, String>) -> Result<PathBuf, AgentError> {
        self.program.find(environment)
    }

    fn probe<'a>(&'a self, environment: &'a BTreeMap<String, String>) -> BoxFuture<'a, Result<Probe, AgentError>> {
        Box::pin(async move { self.program.probe(environment, &[]).await })
    }

    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<Session, AgentError>> {
        Box::pin(async move {
            if let Some(model) = launch.model.as_deref().filter(|model| !model.is_empty()) {
                checked(self.name, "model", model)?;
            }
            let mut env = launch.environment.clone();
            if let Some(variable) = self.program.variable {
                env.remove(variable);
            }
            env.extend((self.environment)(&launch).into_iter().map(|(name, value)| (name.to_owned(), value)));
            let spec = HostSpec {
                program: self.program.find(&launch.environment)?,
                args: self.arguments.clone(),
                cwd: launch.directory.clone(),
                lock: launch.lock.clone(),
                env,
                marker: marker(launch.task_id, launch.attempt),
                bounds: launch.bounds.clone(),
            };
            let plan = Plan {
                agent: self.name,
                directory: launch.directory.clone(),
                session: launch.session.clone(),
                model: launch.model.clone().filter(|model| !model.is_empty()),
                permission: launch.permission,
                budget_usd: launch.budget_usd,
                max_turns: launch.max_turns,
            };
            let translator = Translator::new(plan, Box::new(uuid::Uuid::new_v4), self.costs.clone());
            let host = launch.host.clone();
            session::start(&spec, translator, launch).await.map_err(|error| AgentError::Start {
                agent: self.name,
                reason: format!("its host {}: {error}", host.display()),
            })
        })
    }
}
