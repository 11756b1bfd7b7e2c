use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::changes::Changes;
use super::{Store, StoreError, Tx, rows};
use crate::events::Hub;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// Tells who asked; called when it is known whether the transaction holds.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Does its part and says whether it holds. What failed is rolled back by itself.
type Job = Box<dyn for<'t, 'c> FnOnce(&'t mut Tx<'c>) -> BoxFuture<'t, (bool, Reply)> + Send>;

/// Most jobs in one commit; bounds how long the first of them waits.
const BATCH: usize = 256;

/// The one who writes. What has gathered while a commit ran goes into the next commit together (group commit).
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Message>,
}

enum Message {
    Job(Job),
    Close(oneshot::Sender<()>),
}

impl Writer {
    pub fn start(connection: SqliteConnection, hub: Arc<Hub>, queue: usize) -> Self {
        let (jobs, inbox) = mpsc::channel(queue);
        tokio::spawn(run(connection, hub, inbox));
        Self { jobs }
    }

    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.jobs.send(Message::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

impl Store {
    /// Runs a domain transaction: all of it holds, durably, or nothing.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t, 'c> FnOnce(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        let (send, receive) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            let future = work(tx);
            Box::pin(async move {
                let result = future.await;
                let holds = result.is_ok();
                let reply: Reply = Box::new(move |committed| {
                    let _ = send.send(committed.and(result));
                });
                (holds, reply)
            })
        });
        self.writer.jobs.send(Message::Job(job)).await.map_err(|_| StoreError::Closed)?;
        receive.await.map_err(|_| StoreError::Closed)?
    }
}

async fn run(mut connection: SqliteConnection, hub: Arc<Hub>, mut inbox: mpsc::Receiver<Message>) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut closing = Vec::new();
    while closing.is_empty() && inbox.recv_many(&mut batch, BATCH).await > 0 {
        let mut jobs = Vec::with_capacity(batch.len());
        for message in batch.drain(..) {
            match message {
                Message::Job(job) => jobs.push(job),
                Message::Close(done) => closing.push(done),
            }
        }
        if !jobs.is_empty() {
            commit(&mut connection, &hub, jobs).await;
        }
    }
    inbox.close();
    let _ = connection.close().await;
    for done in closing {
        let _ = done.send(());
    }
}

async fn commit(connection: &mut SqliteConnection, hub: &Hub, jobs: Vec<Job>) {
    let mut replies = Vec::with_capacity(jobs.len());
    let (outcome, changes, snapshots) = transact(connection, jobs, &mut replies).await;
    match outcome {
        Ok(()) => {
            hub.publish(changes.events, snapshots, changes.commands, changes.work);
            replies.into_iter().for_each(|reply| reply(Ok(())));
        }
        Err(error) => {
            let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
            tracing::error!(%error, "a transaction could not be committed");
            replies.into_iter().for_each(|reply| reply(Err(error.clone())));
        }
    }
}

async fn transact(
    connection: &mut SqliteConnection,
    jobs: Vec<Job>,
    replies: &mut Vec<Reply>,
) -> (Result<(), StoreError>, Changes, Vec<cadence_protocol::Task>) {
    let mut all = Changes::default();
    let mut snapshots = Vec::new();
    let result = async {
        let begun = sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await;
        let alone = jobs.len() == 1;
        let mut failed = begun.err().map(StoreError::from);
        for job in jobs {
            let mut changes = Changes::default();
            if failed.is_none() && !alone {
                failed = sqlx::query("SAVEPOINT job").execute(&mut *connection).await.err().map(StoreError::from);
            }
            let (holds, reply) = job(&mut Tx { conn: connection, changes: &mut changes }).await;
            replies.push(reply);
            if failed.is_some() {
                continue;
            }
            if !holds {
                changes.clear();
            }
            if !alone {
                let end = if holds { "RELEASE job" } else { "ROLLBACK TO job" };
                failed = sqlx::query(end).execute(&mut *connection).await.err().map(StoreError::from);
            } else if !holds {
                sqlx::query("ROLLBACK").execute(&mut *connection).await?;
                return Ok(());
            }
            all.merge(changes);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        for id in &all.tasks {
            if let Some(task) = rows::task(&mut *connection, *id).await? {
                snapshots.push(task);
            }
        }
        sqlx::query("COMMIT").execute(&mut *connection).await?;
        Ok(())
    }
    .await;
    (result, all, snapshots)
}
