//! The agent `demo`: no model, a script. It really edits files and runs commands in its workspace, so that cadence can be
//! tried and tested with no account.
//!
//! It is a process of its own (`cadence demo-agent`) under the same host as every agent, and speaks the stream-json of
//! Claude Code, so that the same session code drives it. What it does is chosen by words of the prompt, see [`script`];
//! directives like `[[ask]]` make it do more.

mod edit;
mod memory;
mod perform;
mod program;
mod scratch;
pub mod script;
mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;

use cadence_protocol::PermissionMode;

use crate::agent::{Agent, AgentError, BoxFuture, Launch, Probe, Session, SessionStart};
use crate::claude::translate::{Surroundings, Translator};
use crate::host::{HostSpec, marker};
use crate::session;

pub use program::{SECONDS_VARIABLE, run};
pub use scratch::scratch_repository;

const NAME: &str = "demo";

/// The agent `demo`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demo;

impl Agent for Demo {
    fn name(&self) -> &'static str {
        NAME
    }

    fn find(&self, _: &BTreeMap<String, String>) -> Result<PathBuf, AgentError> {
        std::env::current_exe().map_err(|error| start_error(error.to_string()))
    }

    fn probe<'a>(&'a self, environment: &'a BTreeMap<String, String>) -> BoxFuture<'a, Result<Probe, AgentError>> {
        Box::pin(async {
            let program = self.find(environment)?;
            Ok(Probe { version: env!("CARGO_PKG_VERSION").to_owned(), program })
        })
    }

    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<Session, AgentError>> {
        Box::pin(async move {
            let spec = spec(&launch);
            let translator = Translator::new(&launch.directory, launch.permission, Surroundings::default());
            let host = launch.host.clone();
            session::start(&spec, translator, launch)
                .await
                .map_err(|error| start_error(format!("its host {}: {error}", host.display())))
        })
    }
}

fn spec(launch: &Launch) -> HostSpec {
    let mode = match launch.permission {
        PermissionMode::Ask => "default",
        PermissionMode::Edits | PermissionMode::All => "acceptEdits",
    };
    let mut args = vec!["demo-agent".to_owned(), format!("--permission-mode={mode}")];
    args.push(match &launch.session {
        SessionStart::New(id) => format!("--session-id={id}"),
        SessionStart::Resume(session) => format!("--resume={session}"),
    });
    args.extend(launch.max_turns.map(|turns| format!("--max-turns={turns}")));
    args.extend(launch.budget_usd.map(|budget| format!("--max-budget-usd={budget}")));
    HostSpec {
        program: launch.host.clone(),
        args,
        cwd: launch.directory.clone(),
        lock: launch.lock.clone(),
        env: launch.environment.clone(),
        marker: marker(launch.task_id, launch.attempt),
        bounds: launch.bounds.clone(),
    }
}

fn start_error(reason: String) -> AgentError {
    AgentError::Start { agent: NAME, reason }
}
