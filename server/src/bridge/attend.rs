//! One attempt that a machine runs: its reports are stored in order and acknowledged, its commands are sent to it.

use std::time::Duration;

use cadence_agent::SourceError;
use cadence_protocol::{AttemptEnd, BridgeFrame, EndReason, Frame, Lease};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::queue::commands;
use crate::store::{Store, StoreError};

/// Reports that wait to be stored before no more of the machine's frames are read, and most that are stored together.
const WAITING: usize = 64;
/// First and longest wait after the storage failed.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// What a machine reports of an attempt.
#[derive(Debug)]
pub enum Report {
    Frames(Vec<Frame>),
    Heartbeat(Duration),
    End(AttemptEnd),
    Release,
}

/// Attends to one attempt until it is dropped, or the attempt has left the machine.
#[derive(Debug)]
pub struct Attendant {
    pub lease: Lease,
    reports: mpsc::Sender<Report>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Attendant {
    pub fn start(store: Store, lease: Lease, out: mpsc::Sender<BridgeFrame>) -> Self {
        let (reports, inbox) = mpsc::channel(WAITING);
        let tasks =
            [tokio::spawn(take(store.clone(), lease, inbox, out.clone())), tokio::spawn(command(store, lease, out))];
        Self { lease, reports, tasks }
    }

    /// Hands a report on; waits while many are to be stored. What comes after the end is dropped.
    pub async fn report(&self, report: Report) {
        let _ = self.reports.send(report).await;
    }

    /// Whether the attempt has left the machine.
    pub fn is_over(&self) -> bool {
        self.tasks[0].is_finished()
    }
}

async fn take(store: Store, lease: Lease, mut inbox: mpsc::Receiver<Report>, out: mpsc::Sender<BridgeFrame>) {
    let Lease { task_id, attempt, epoch, .. } = lease;
    let mut reports = Vec::with_capacity(WAITING);
    while inbox.recv_many(&mut reports, WAITING).await > 0 {
        let mut frames = Vec::new();
        let mut rest = Vec::new();
        for report in reports.drain(..) {
            match report {
                // Frames come before the end: nothing follows it.
                Report::Frames(more) => frames.extend(more),
                other => rest.push(other),
            }
        }
        let last = frames.last().map(|frame| frame.source_seq);
        let stored = async {
            if let Some(source_seq) = last {
                insist(&store, || store.report(lease, frames.clone())).await?;
                let _ = out.send(BridgeFrame::Ack { task_id, attempt, epoch, source_seq }).await;
            }
            for report in rest {
                match report {
                    Report::Heartbeat(worked) => insist(&store, || store.heartbeat(lease, worked)).await?,
                    Report::End(end) => {
                        insist(&store, || store.finish(lease, end.clone())).await?;
                        return Ok(true);
                    }
                    Report::Release => {
                        insist(&store, || store.release(lease)).await?;
                        return Ok(true);
                    }
                    Report::Frames(_) => {}
                }
            }
            Ok(false)
        };
        match stored.await {
            Ok(false) => {}
            Ok(true) => {
                let _ = out.send(BridgeFrame::Ended { task_id, attempt, epoch }).await;
                return;
            }
            Err(error) => {
                if !matches!(error, StoreError::Fenced) {
                    tracing::error!(%error, task = %task_id, attempt, "a report was refused; the attempt ends as lost");
                    let end = AttemptEnd::new(
                        EndReason::Lost,
                        "cadence could not store what the agent did; its log says more",
                    );
                    let _ = store.finish(lease, end).await;
                }
                let _ = out.send(BridgeFrame::Lost { task_id, attempt, epoch }).await;
                return;
            }
        }
    }
}

/// Does it until it succeeds or cannot: storage that fails for a while loses nothing, for the machine keeps what is not
/// acknowledged.
pub(super) async fn insist<T, F: Future<Output = Result<T, StoreError>>>(
    store: &Store,
    mut call: impl FnMut() -> F,
) -> Result<T, StoreError> {
    let mut delay = BACK_OFF.0;
    loop {
        match call().await {
            Err(error) if matches!(SourceError::from(error.clone()), SourceError::Unavailable(_)) => {
                store.trouble().note(error);
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(BACK_OFF.1);
            }
            other => return other,
        }
    }
}

/// Sends what is ordered; what the machine had before it came back is sent again, and known there by its id.
async fn command(store: Store, lease: Lease, out: mpsc::Sender<BridgeFrame>) {
    let mut seen = Vec::new();
    loop {
        match commands(&store, &lease, &seen).await {
            Ok(found) => {
                for command in found {
                    seen.push(command.id);
                    if out.send(BridgeFrame::Command(Box::new(command))).await.is_err() {
                        return;
                    }
                }
            }
            Err(SourceError::Unavailable(_)) => tokio::time::sleep(BACK_OFF.1).await,
            Err(_) => return,
        }
    }
}
