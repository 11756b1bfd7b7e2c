//! Folds the write-ahead log into the database beside the writer, so that no commit has to wait for it.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::StoreError;

/// Who folds.
#[derive(Clone)]
pub(super) struct Checkpoints {
    orders: mpsc::Sender<Order>,
}

enum Order {
    Fold,
    Close(oneshot::Sender<()>),
}

impl Checkpoints {
    pub async fn start(options: &SqliteConnectOptions) -> Result<Self, StoreError> {
        let connection = options.connect().await?;
        let (orders, inbox) = mpsc::channel(1);
        tokio::spawn(run(connection, inbox));
        Ok(Self { orders })
    }

    /// Asks for it. One who is at it already does not have to begin again.
    pub fn ask(&self) {
        let _ = self.orders.try_send(Order::Fold);
    }

    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.orders.send(Order::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

async fn run(mut connection: SqliteConnection, mut inbox: mpsc::Receiver<Order>) {
    let mut closing = None;
    while let Some(order) = inbox.recv().await {
        match order {
            // Passive: it waits for nobody, and takes what is there.
            Order::Fold => {
                if let Err(error) = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&mut connection).await {
                    // The writer does it itself when the log has grown long.
                    tracing::warn!(%error, "the write-ahead log could not be folded into the database");
                }
            }
            Order::Close(done) => {
                closing = Some(done);
                break;
            }
        }
    }
    let _ = connection.close().await;
    if let Some(done) = closing {
        let _ = done.send(());
    }
}
