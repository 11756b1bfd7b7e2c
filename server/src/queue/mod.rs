//! The queue: what waits is given to places that can run it, and a runner on this machine sees it as a [`TaskSource`].

mod dispatch;
mod place;

use std::time::Duration;

use cadence_agent::{SourceError, TaskSource};
use cadence_protocol::{AttemptEnd, Claim, Command, Frame, Lease};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub use self::dispatch::{Dispatcher, Registration};
pub use self::place::Place;
use crate::store::{Store, StoreError};

/// What can be waited for is listened to, and looked at so often all the same.
const POLL: Duration = Duration::from_secs(5);

/// Gives the attempts of a store to a runner in the same process.
pub struct Queue {
    store: Store,
    place: Registration,
    closed: CancellationToken,
}

impl Queue {
    /// `place` is who runs them; `closed` ends the waiting for work.
    pub fn new(store: Store, place: Registration, closed: CancellationToken) -> Self {
        Self { store, place, closed }
    }
}

impl From<StoreError> for SourceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced => Self::LeaseLost,
            StoreError::Closed => Self::Closed,
            StoreError::Corrupt(_) | StoreError::Conflict(_) | StoreError::Exhausted(_) => {
                Self::Refused(error.to_string())
            }
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl TaskSource for Queue {
    async fn claim(&self) -> Result<Claim, SourceError> {
        let wanted = self.place.want();
        tokio::select! {
            claim = wanted => claim.map_err(|_| SourceError::Closed),
            () = self.closed.cancelled() => Err(SourceError::Closed),
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
        commands(&self.store, lease, seen).await
    }

    async fn finish(&self, lease: &Lease, end: AttemptEnd) -> Result<(), SourceError> {
        Ok(self.store.finish(*lease, end).await?)
    }

    async fn release(&self, lease: &Lease) -> Result<(), SourceError> {
        Ok(self.store.release(*lease).await?)
    }
}

/// Waits until there are commands for an attempt that are not acknowledged and not in `seen`, and gives them in order.
pub async fn commands(store: &Store, lease: &Lease, seen: &[Uuid]) -> Result<Vec<Command>, SourceError> {
    let mut told = store.hub().commands();
    loop {
        let open = store.open_commands(lease.task_id, lease.attempt).await;
        let mut open = open.map_err(|error| store.trouble().note(error))?;
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
