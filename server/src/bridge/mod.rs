//! Tasks out to machines: daemons that dialled in over a WebSocket, and an endpoint that is reached over HTTP.

mod attend;
pub mod daemon;
pub mod sse;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cadence_protocol::BridgeFrame;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::queue::Dispatcher;
use crate::store::Store;

/// How long a machine may take to give a diff.
const DIFF_LIMIT: Duration = Duration::from_secs(20);

/// The machines that are connected to this server. Cheap to clone.
#[derive(Clone)]
pub struct Bridge {
    store: Store,
    dispatcher: Dispatcher,
    links: Arc<Mutex<HashMap<Uuid, Link>>>,
    requests: Arc<AtomicU64>,
    closing: CancellationToken,
}

/// Who waits for a diff, by the number of the request.
type Asked = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<String, String>>>>>;

/// A connection to a machine.
#[derive(Clone)]
struct Link {
    /// Tells connections of one machine apart.
    id: Uuid,
    out: mpsc::Sender<BridgeFrame>,
    /// Ends the connection.
    end: CancellationToken,
    /// Diffs that were asked for.
    diffs: Asked,
}

/// Why a machine did not answer.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    #[error("the machine that has the workspace is not connected")]
    Away,
    #[error("the machine that has the workspace did not answer in time")]
    Silent,
    #[error("the machine that has the workspace refused: {0}")]
    Refused(String),
}

impl Bridge {
    pub fn new(store: Store, dispatcher: Dispatcher, closing: CancellationToken) -> Self {
        Self { store, dispatcher, links: Arc::default(), requests: Arc::default(), closing }
    }

    pub fn is_connected(&self, machine: Uuid) -> bool {
        self.links().contains_key(&machine)
    }

    /// Lets a machine that is connected know that it is draining, or not any more.
    pub async fn drain(&self, machine: Uuid, draining: bool) {
        self.dispatcher.update(machine, |place| place.draining = draining);
        let link = self.links().get(&machine).cloned();
        if let Some(link) = link {
            let _ = link.out.send(BridgeFrame::Draining { draining }).await;
        }
    }

    /// Ends the connection of a machine that was removed.
    pub fn disconnect(&self, machine: Uuid) {
        if let Some(link) = self.links().get(&machine) {
            link.end.cancel();
        }
    }

    /// The diff of a task's workspace on a machine, as it is now.
    pub async fn diff(&self, machine: Uuid, task_id: Uuid) -> Result<String, BridgeError> {
        let link = self.links().get(&machine).cloned().ok_or(BridgeError::Away)?;
        let request = self.requests.fetch_add(1, Ordering::Relaxed);
        let (send, receive) = oneshot::channel();
        link.diffs.lock().unwrap_or_else(PoisonError::into_inner).insert(request, send);
        let answer = tokio::time::timeout(DIFF_LIMIT, async {
            link.out.send(BridgeFrame::Diff { request, task_id }).await.map_err(|_| BridgeError::Away)?;
            receive.await.map_err(|_| BridgeError::Away)?.map_err(BridgeError::Refused)
        })
        .await;
        link.diffs.lock().unwrap_or_else(PoisonError::into_inner).remove(&request);
        answer.unwrap_or(Err(BridgeError::Silent))
    }

    /// Notes a connection; gives the one that the machine had before.
    fn link(&self, machine: Uuid, link: Link) -> Option<Link> {
        self.links().insert(machine, link)
    }

    fn unlink(&self, machine: Uuid, id: Uuid) {
        let mut links = self.links();
        if links.get(&machine).is_some_and(|link| link.id == id) {
            links.remove(&machine);
        }
    }

    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
