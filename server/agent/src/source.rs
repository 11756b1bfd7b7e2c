//! Where a runner gets its work and reports it: the queue of the server in the same process, or the bridge to a remote one.

use std::future::Future;
use std::time::Duration;

use cadence_protocol::{AttemptEnd, Claim, Command, Frame, Lease};
use uuid::Uuid;

/// The runner's side of a queue.
pub trait TaskSource: Send + Sync + 'static {
    /// Waits for an attempt that can be run, and takes it under a lease.
    fn claim(&self) -> impl Future<Output = Result<Claim, SourceError>> + Send;

    /// Stores frames. On `Ok` they are durable; a repeat is harmless.
    fn report(&self, lease: &Lease, frames: Vec<Frame>) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Passes on transient text of an `output` event to come. May be lost.
    fn delta(&self, lease: &Lease, text: String);

    /// Extends the lease, and keeps how long the attempt has worked, pauses left out.
    fn heartbeat(&self, lease: &Lease, worked: Duration) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Waits until there are commands for the attempt that are not acknowledged and not in `seen`, and gives them in order.
    fn commands(&self, lease: &Lease, seen: &[Uuid]) -> impl Future<Output = Result<Vec<Command>, SourceError>> + Send;

    /// Ends the attempt. Messages that were not taken begin a new one.
    fn finish(&self, lease: &Lease, end: AttemptEnd) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Gives the attempt back to be continued later, by whoever claims it next.
    fn release(&self, lease: &Lease) -> impl Future<Output = Result<(), SourceError>> + Send;
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Another runner holds the attempt, or it has ended: stop, and report nothing more.
    #[error("the lease of this attempt is lost")]
    LeaseLost,
    /// The queue cannot take this, now or later.
    #[error("the queue refused: {0}")]
    Refused(String),
    /// There will be no more work.
    #[error("the queue is closed")]
    Closed,
    /// It may work later.
    #[error("the queue cannot be reached: {0}")]
    Unavailable(String),
}
