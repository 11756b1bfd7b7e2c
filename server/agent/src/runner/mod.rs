//! Takes attempts from a queue and runs them: workspace, agent, commit, result. The same for work on the server's own
//! machine and for a remote one; only the [`TaskSource`] differs.

mod attempt;
mod clock;
mod report;
mod steer;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::workspace::Workspaces;
use crate::{Agent, AgentError, SourceError, TaskSource};

/// How long a worker waits after the queue could not be reached.
const RETRY: Duration = Duration::from_secs(1);

/// The agents of a machine.
#[derive(Clone)]
pub struct Agents {
    all: Vec<Arc<dyn Agent>>,
}

impl Agents {
    pub fn new(all: Vec<Arc<dyn Agent>>) -> Self {
        Self { all }
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.all.iter().map(|agent| agent.name()).collect()
    }

    pub fn get(&self, name: &str) -> Result<&Arc<dyn Agent>, AgentError> {
        self.all.iter().find(|agent| agent.name() == name).ok_or_else(|| AgentError::Unknown(name.to_owned()))
    }
}

/// What all attempts of a machine share.
pub struct Runner<S> {
    pub source: Arc<S>,
    pub agents: Agents,
    pub workspaces: Arc<Workspaces>,
    /// The cadence program, which serves as host process.
    pub program: PathBuf,
    /// Variables that every agent gets, beneath those that its task brings.
    pub environment: BTreeMap<String, String>,
    /// Lets go of running attempts, to be continued by the next runner.
    pub closing: CancellationToken,
}

impl<S: TaskSource> Runner<S> {
    /// Takes and runs one attempt after the other until the queue closes or the runner is closed.
    pub async fn work(self: Arc<Self>) {
        loop {
            let claim = tokio::select! {
                claim = self.source.claim() => claim,
                () = self.closing.cancelled() => return,
            };
            match claim {
                Ok(claim) => attempt::run(&self, claim).await,
                Err(SourceError::Closed) => return,
                Err(error) => {
                    tracing::warn!(%error, "no work could be taken");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}
