//! The queue as a runner on this machine sees it.

use std::time::Duration;

use cadence_agent::{SourceError, TaskSource};
use cadence_protocol::{AttemptEnd, Claim, Command, Frame, Lease};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::store::{Store, StoreError};

/// What can be waited for is listened to, and looked at so often all the same.
const POLL: Duration = Duration::from_secs(5);

/// Gives the attempts of a store to runners in the same process.
#[derive(Clone)]
pub struct Queue {
    store: Store,
    /// This process, for the leases that it has.
    holder: Uuid,
    lease_secs: u32,
    closed: CancellationToken,
}

impl Queue {
    /// `closed` ends the waiting for work.
    pub fn new(store: Store, lease_secs: u32, closed: CancellationToken) -> Self {
        Self { store, holder: Uuid::new_v4(), lease_secs, closed }
    }
}

impl From<StoreError> for SourceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced => Self::LeaseLost,
            StoreError::Closed => Self::Closed,
            StoreError::Corrupt(_) | StoreError::Conflict(_) => Self::Refused(error.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl TaskSource for Queue {
    async fn claim(&self) -> Result<Claim, SourceError> {
        let mut work = self.store.hub().work();
        loop {
            work.borrow_and_update();
            if self.closed.is_cancelled() {
                return Err(SourceError::Closed);
            }
            if let Some(claim) = self.store.claim(self.holder, self.lease_secs).await? {
                return Ok(claim);
            }
            tokio::select! {
                changed = work.changed() => changed.map_err(|_| SourceError::Closed)?,
                () = tokio::time::sleep(POLL) => {}
                () = self.closed.cancelled() => return Err(SourceError::Closed),
            }
        }
    }

    async fn report(&self, lease: &Lease, frames: Vec<Frame>) -> Result<(), SourceError> {
        Ok(self.store.report(*lease, frames).await?)
    }

    fn delta(&self, lease: &Lease, text: String) {
        self.store.hub().delta(lease.task_id, text);
    }

    async fn heartbeat(&self, lease: &Lease, worked: Duration) -> Result<(), SourceError> {
        Ok(self.store.heartbeat(*lease, worked).await?)
    }

    async fn commands(&self, lease: &Lease, seen: &[Uuid]) -> Result<Vec<Command>, SourceError> {
        let mut told = self.store.hub().commands();
        loop {
            let open = self.store.open_commands(lease.task_id, lease.attempt).await;
            let mut open = open.map_err(|error| self.store.trouble().note(error))?;
            open.retain(|command| !seen.contains(&command.id));
            if !open.is_empty() {
                return Ok(open);
            }
            let poll = tokio::time::sleep(POLL);
            tokio::pin!(poll);
            loop {
                tokio::select! {
                    task = told.recv() => match task {
                        Ok(task) if task == lease.task_id => break,
                        Ok(_) => {}
                        Err(RecvError::Lagged(_)) => break,
                        Err(RecvError::Closed) => return Err(SourceError::Closed),
                    },
                    () = &mut poll => break,
                }
            }
        }
    }

    async fn finish(&self, lease: &Lease, end: AttemptEnd) -> Result<(), SourceError> {
        Ok(self.store.finish(*lease, end).await?)
    }

    async fn release(&self, lease: &Lease) -> Result<(), SourceError> {
        Ok(self.store.release(*lease).await?)
    }
}
