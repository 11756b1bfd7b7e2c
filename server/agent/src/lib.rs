//! Running coding agents: workspaces (git), agent processes under a host, and the runner that joins them to a queue.

pub mod acp;
pub mod agent;
pub mod claude;
pub mod codex;
pub mod demo;
pub mod fault;
pub mod git;
pub mod host;
mod program;
pub mod project;
pub mod runner;
pub mod sandbox;
mod session;
pub mod source;
pub mod workspace;

pub use agent::{Agent, AgentError, Denial, Input, Launch, Output, Probe, Session, SessionStart, TurnEnd, TurnOutcome};
pub use source::{SourceError, TaskSource};
