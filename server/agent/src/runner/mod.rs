//! Takes attempts from a queue and runs them: workspace, agent, commit, result. The same for work on the server's own
//! machine and for a remote one; only the [`TaskSource`] differs.

mod allowance;
mod attempt;
mod bounds;
mod clock;
mod drive;
mod report;
mod slots;
mod spending;
mod steer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cadence_protocol::{AttemptEnd, Claim, EndReason};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::allowance::Allowance;
use self::slots::{Slot, Slots};
use crate::fault::{self, Point};
use crate::sandbox::Policy;
use crate::workspace::Workspaces;
use crate::{Agent, AgentError, SourceError, TaskSource};

/// How long the runner waits after the queue could not be reached.
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
    /// What agents are kept to.
    pub policy: Policy,
    /// Attempts that work at once; those that wait or are paused do not count.
    pub limit: usize,
    /// Lets go of running attempts, to be continued by the next runner.
    pub closing: CancellationToken,
}

impl<S: TaskSource> Runner<S> {
    /// Takes attempts and runs them, until the queue closes or the runner is closed; then waits for those that still run.
    pub async fn work(self: Arc<Self>) {
        let slots = Slots::new(self.limit);
        let (workspaces, closing) = (self.workspaces.clone(), self.closing.clone());
        let warm = tokio::spawn(async move { workspaces.keep_warm(&closing).await });
        let mut attempts = JoinSet::new();
        let mut said = String::new();
        loop {
            tokio::select! {
                () = self.closing.cancelled() => break,
                () = slots.free() => {}
            }
            while attempts.try_join_next().is_some() {}
            // Not given up while it waits for the storage: an attempt that was claimed must not be dropped.
            match self.source.claim().await {
                Ok(claim) => {
                    said.clear();
                    fault::reached(Point::Claimed).await;
                    attempts.spawn(guarded(self.clone(), claim, slots.take()));
                }
                Err(SourceError::Closed) => break,
                Err(error) => {
                    // Said once, however long it lasts.
                    let error = error.to_string();
                    if said != error {
                        tracing::warn!(error, "no work could be taken");
                        said = error;
                    }
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
        while attempts.join_next().await.is_some() {}
        // It ends with the closing, too; where only the queue closed, nothing is prepared for anybody.
        warm.abort();
        let _ = warm.await;
    }
}

/// Runs an attempt; a panic ends that attempt, and nothing else.
async fn guarded<S: TaskSource>(runner: Arc<Runner<S>>, claim: Claim, slot: Slot) {
    let (source, lease) = (runner.source.clone(), claim.lease);
    if let Err(error) = tokio::spawn(attempt::run(runner, claim, slot)).await
        && error.is_panic()
    {
        tracing::error!(task = %lease.task_id, %error, "running an attempt failed");
        let end = AttemptEnd::new(EndReason::Failed, "cadence itself failed while it ran this; its log says more");
        report::insist(&CancellationToken::new(), "finish", || source.finish(&lease, end.clone())).await;
    }
}
