use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// A point at which a script waits for the test. The test waits until it is reached, looks around, and opens it.
#[derive(Clone, Debug)]
pub struct Gate {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    open: watch::Sender<bool>,
    reached: Mutex<usize>,
    changed: Condvar,
}

impl Default for Gate {
    fn default() -> Self {
        let state = State { open: watch::Sender::new(false), reached: Mutex::new(0), changed: Condvar::new() };
        Self { state: Arc::new(state) }
    }
}

impl Gate {
    /// Blocks until a script waits here, or has.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub fn wait_reached(&self, within: Duration) {
        let reached = self.state.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.state.changed.wait_timeout_while(reached, within, |count| *count == 0);
        let (_guard, result) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(!result.timed_out(), "no request reached the gate within {within:?}");
    }

    /// Lets the script go on, now and whenever it comes here again.
    pub fn open(&self) {
        self.state.open.send_replace(true);
    }

    /// The script's side: says that it is here and waits.
    pub(super) async fn pass(&self) {
        *self.state.reached.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.state.changed.notify_all();
        // The sender lives as long as the gate does.
        let _ = self.state.open.subscribe().wait_for(|open| *open).await;
    }
}
