use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use cadence_agent::fault::{self, Point};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::changes::Changes;
use super::checkpoint::Checkpoints;
use super::{BUSY, Store, StoreError, Trouble, Tx, rows};
use crate::events::Hub;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// Tells who asked; called when it is known whether the transaction holds.
type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// What a job made of its part: why it does not hold, and whom to tell.
type Done = (Result<(), StoreError>, Reply);
/// Does its part in the transaction, or is told why there is none. What fails is rolled back by itself.
type Work = Box<dyn for<'t, 'c> FnOnce(Result<&'t mut Tx<'c>, StoreError>) -> BoxFuture<'t, Done> + Send>;

struct Job {
    work: Work,
    /// Whether it goes to the database once, with statements that [`Tx::whole`] has put in brackets.
    once: bool,
}

/// Most jobs in one commit; bounds how long the first of them waits.
const BATCH: usize = 256;
/// About what a commit adds to the write-ahead log beside the events, and after how much of both the log is folded into the
/// database, in bytes.
const COMMIT: usize = 16 * 1024;
const FOLD_EVERY: usize = 2 * 1024 * 1024;

/// The one who writes. What has gathered while a commit ran goes into the next commit together (group commit).
#[derive(Clone)]
pub(super) struct Writer {
    jobs: mpsc::Sender<Message>,
}

enum Message {
    Job(Job),
    /// Folds the write-ahead log into the database, and tells whether nothing is left in it.
    Fold(oneshot::Sender<Result<bool, StoreError>>),
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// Starts it on a thread of its own: a statement does not wait behind a thousand listeners that are to be told something.
    pub fn start(
        connection: SqliteConnection,
        hub: Arc<Hub>,
        trouble: Trouble,
        checkpoints: Checkpoints,
        queue: usize,
    ) -> Result<Self, StoreError> {
        let (jobs, inbox) = mpsc::channel(queue);
        let failed = |error: std::io::Error| StoreError::Database(Arc::new(error.into()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
        let work = move || runtime.block_on(run(connection, hub, trouble, checkpoints, inbox));
        std::thread::Builder::new().name("writer".into()).spawn(work).map_err(failed)?;
        Ok(Self { jobs })
    }

    pub async fn fold(&self) -> Result<bool, StoreError> {
        let (done, folded) = oneshot::channel();
        self.jobs.send(Message::Fold(done)).await.map_err(|_| StoreError::Closed)?;
        folded.await.map_err(|_| StoreError::Closed)?
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
        self.write_as(false, work).await
    }

    /// As [`Self::write`]; one that goes to the database `once` is a single query, whose text comes from [`Tx::whole`].
    pub(super) async fn write_as<T, F>(&self, once: bool, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t, 'c> FnOnce(&'t mut Tx<'c>) -> BoxFuture<'t, Result<T, StoreError>> + Send + 'static,
    {
        let (send, receive) = oneshot::channel();
        let work: Work = Box::new(move |tx| {
            let reply = |result: Result<T, StoreError>| -> Done {
                let holds = result.as_ref().map(|_| ()).map_err(Clone::clone);
                let reply: Reply = Box::new(move |committed| {
                    // Nobody may wait for it any more.
                    let _ = send.send(committed.and(result));
                });
                (holds, reply)
            };
            match tx {
                Ok(tx) => {
                    let future = work(tx);
                    Box::pin(async move { reply(future.await) })
                }
                Err(error) => Box::pin(async move { reply(Err(error)) }),
            }
        });
        self.writer.jobs.send(Message::Job(Job { work, once })).await.map_err(|_| StoreError::Closed)?;
        receive.await.map_err(|_| StoreError::Closed)?
    }
}

async fn run(
    mut connection: SqliteConnection,
    hub: Arc<Hub>,
    trouble: Trouble,
    checkpoints: Checkpoints,
    mut inbox: mpsc::Receiver<Message>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    let mut closing = Vec::new();
    let mut written = 0;
    while closing.is_empty() && inbox.recv_many(&mut batch, BATCH).await > 0 {
        let mut jobs = Vec::with_capacity(batch.len());
        for message in batch.drain(..) {
            match message {
                Message::Job(job) => jobs.push(job),
                Message::Fold(done) => {
                    drop(done.send(fold(&mut connection).await.map_err(|error| trouble.note(error))))
                }
                Message::Close(done) => closing.push(done),
            }
        }
        if !jobs.is_empty() {
            written += COMMIT + commit(&mut connection, &hub, &trouble, jobs).await;
            if written >= FOLD_EVERY {
                written = 0;
                checkpoints.ask();
            }
        }
    }
    inbox.close();
    let _ = connection.close().await;
    for done in closing {
        let _ = done.send(());
    }
}

/// Commits jobs together, and gives how many bytes of events there were.
async fn commit(connection: &mut SqliteConnection, hub: &Hub, trouble: &Trouble, jobs: Vec<Job>) -> usize {
    let mut replies = Vec::with_capacity(jobs.len());
    let (outcome, changes) = transact(connection, trouble, jobs, &mut replies).await;
    match outcome {
        Ok(()) => {
            fault::reached(Point::Stored).await;
            trouble.over();
            hub.publish(&changes.events, changes.commands, changes.work);
            replies.into_iter().for_each(|reply| reply(Ok(())));
            publish_snapshots(connection, hub, changes.tasks).await;
            changes.events.iter().map(|event| event.data.len()).sum()
        }
        Err(error) => {
            let _ = sqlx::query("ROLLBACK").execute(&mut *connection).await;
            let error = trouble.note(error);
            replies.into_iter().for_each(|reply| reply(Err(error.clone())));
            0
        }
    }
}

/// Tells how changed tasks are now. Whoever begins to listen after this looked reads storage after the commit.
async fn publish_snapshots(connection: &mut SqliteConnection, hub: &Hub, tasks: BTreeSet<Uuid>) {
    if !hub.snapshots().wanted() {
        return;
    }
    for id in tasks {
        match rows::task(connection, id).await {
            Ok(task) => task.into_iter().for_each(|task| hub.snapshots().publish(task)),
            Err(error) => tracing::error!(%error, task = %id, "a task that changed cannot be read"),
        }
    }
}

async fn transact(
    connection: &mut SqliteConnection,
    trouble: &Trouble,
    jobs: Vec<Job>,
    replies: &mut Vec<Reply>,
) -> (Result<(), StoreError>, Changes) {
    let mut all = Changes::default();
    let result = async {
        let alone = jobs.len() == 1;
        // One who is alone and goes to the database once begins and commits by itself.
        let by_itself = alone && jobs.iter().all(|job| job.once);
        // What the whole transaction failed of; the jobs that are left are only told.
        let mut failed = match trouble.get().filter(|_| trouble.is_damaged()) {
            Some(damage) => Some(damage),
            None if by_itself => fault::fails(Point::Storing).then_some(StoreError::DiskFull),
            None => run_sql(connection, "BEGIN IMMEDIATE").await.err(),
        };
        for Job { work, once } in jobs {
            if failed.is_none() && !alone && !once {
                failed = run_sql(connection, "SAVEPOINT job").await.err();
            }
            let brackets = match alone {
                _ if !once => None,
                true => Some(("BEGIN IMMEDIATE; ", "; COMMIT")),
                false => Some(("SAVEPOINT job; ", "; RELEASE job")),
            };
            let mut changes = Changes::default();
            let mut tx = Tx { conn: connection, changes: &mut changes, brackets };
            let (holds, reply) = work(failed.clone().map_or(Ok(&mut tx), Err)).await;
            let untouched = tx.brackets.is_some();
            replies.push(reply);
            if failed.is_some() {
                continue;
            }
            match holds {
                Ok(()) if alone || once => all.merge(changes),
                Ok(()) => match run_sql(connection, "RELEASE job").await {
                    Ok(()) => all.merge(changes),
                    Err(error) => failed = Some(error),
                },
                // A full disk has rolled back everything already, the savepoint with it: then nothing of this holds.
                Err(error) if alone => failed = Some(error),
                Err(error) if !untouched && run_sql(connection, "ROLLBACK TO job; RELEASE job").await.is_err() => {
                    failed = Some(error);
                }
                Err(error) => drop(trouble.note(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if by_itself {
            return Ok(());
        }
        if fault::fails(Point::Storing) {
            return Err(StoreError::DiskFull);
        }
        run_sql(connection, "COMMIT").await
    }
    .await;
    (result, all)
}

async fn run_sql(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::query(sql).execute(connection).await?;
    Ok(())
}

/// Folds what is in the write-ahead log into the database, and empties the log. Whoever reads from it is waited for shortly:
/// everybody who writes waits too.
async fn fold(connection: &mut SqliteConnection) -> Result<bool, StoreError> {
    /// Milliseconds.
    const PATIENCE: u128 = 100;
    let patience = |millis: u128| sqlx::AssertSqlSafe(format!("PRAGMA busy_timeout = {millis}"));
    sqlx::query(patience(PATIENCE)).execute(&mut *connection).await?;
    let folded = sqlx::query_scalar::<_, i64>("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut *connection).await;
    sqlx::query(patience(BUSY.as_millis())).execute(&mut *connection).await?;
    Ok(folded? == 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::events::Hub;

    async fn insert(store: &Store, name: String, size: usize) -> Result<(), StoreError> {
        store
            .write(move |tx| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO users (id, name, role, created_at) VALUES (randomblob(16), ?, ?, 0)")
                        .bind(name)
                        .bind("r".repeat(size))
                        .execute(&mut *tx.conn)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// A database that is full is what a full disk is: SQLite rolls back the whole transaction by itself.
    #[tokio::test]
    async fn what_a_full_disk_took_along_is_told_and_nothing_is_half_written() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("db"), Arc::new(Hub::default())).await.unwrap();
        let limit = |pages: &'static str| {
            store.write(move |tx| {
                Box::pin(async move {
                    sqlx::query(pages).execute(&mut *tx.conn).await?;
                    Ok(())
                })
            })
        };
        limit("PRAGMA max_page_count = 60").await.unwrap();
        assert!(matches!(insert(&store, "alone".into(), 1 << 20).await, Err(StoreError::DiskFull)));

        // Many at once are one transaction: all of a batch fail with the one that does not fit, and say why.
        let jobs = (0..40).map(|n| insert(&store, format!("user {n}"), if n == 20 { 1 << 20 } else { 1 }));
        let told = futures_util::future::join_all(jobs).await;
        let mut kept = 0;
        for (n, told) in told.iter().enumerate() {
            let there: i64 = sqlx::query_scalar("SELECT count(*) FROM users WHERE name = ?")
                .bind(format!("user {n}"))
                .fetch_one(&store.reads)
                .await
                .unwrap();
            match told {
                Ok(()) => assert_eq!(there, 1, "user {n}"),
                Err(error) => {
                    assert!(matches!(error, StoreError::DiskFull), "user {n}: {error}");
                    assert_eq!(there, 0, "user {n}");
                }
            }
            kept += there;
        }
        assert!(kept < 40);

        // With room again, it goes on.
        limit("PRAGMA max_page_count = 100000").await.unwrap();
        insert(&store, "later".into(), 1 << 20).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_is_refused_takes_nobody_along() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("db"), Arc::new(Hub::default())).await.unwrap();
        let told = futures_util::future::join_all((0..40).map(|n| insert(&store, format!("user {}", n % 30), 1))).await;
        assert_eq!(told.iter().filter(|told| told.is_ok()).count(), 30);
        let there: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&store.reads).await.unwrap();
        assert_eq!(there, 30);
    }

    async fn pragma(store: &Store, sql: &'static str) {
        let set = store.write(move |tx| {
            Box::pin(async move {
                sqlx::query(sql).execute(&mut *tx.conn).await?;
                Ok(())
            })
        });
        set.await.unwrap();
    }

    #[tokio::test]
    async fn one_that_cannot_be_written_is_said() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("db"), Arc::new(Hub::default())).await.unwrap();
        pragma(&store, "PRAGMA query_only = on").await;
        let error = insert(&store, "ann".into(), 1).await.unwrap_err();
        assert!(matches!(error, StoreError::ReadOnly(_)), "{error}");
        assert_eq!(store.ping().await.unwrap_err().code(), "database_read_only");
        assert!(matches!(insert(&store, "bob".into(), 1).await, Err(StoreError::ReadOnly(_))));
    }

    #[tokio::test]
    async fn a_log_is_emptied_and_a_reader_does_not_hold_up_those_who_write() {
        let home = tempfile::tempdir().unwrap();
        let database = home.path().join("db");
        let store = Store::open(&database, Arc::new(Hub::default())).await.unwrap();
        insert(&store, "ann".into(), 1 << 20).await.unwrap();
        let log = || std::fs::metadata(home.path().join("db-wal")).unwrap().len();
        assert!(log() > 1 << 20);
        let mut reader = store.reads.acquire().await.unwrap();
        sqlx::query("BEGIN").execute(&mut *reader).await.unwrap();
        sqlx::query("SELECT count(*) FROM users").execute(&mut *reader).await.unwrap();
        insert(&store, "bob".into(), 1).await.unwrap();
        let began = std::time::Instant::now();
        assert!(!store.writer.fold().await.unwrap());
        assert!(began.elapsed().as_secs() < 3, "{:?}", began.elapsed());
        insert(&store, "cid".into(), 1).await.unwrap();
        sqlx::query("COMMIT").execute(&mut *reader).await.unwrap();
        assert!(store.writer.fold().await.unwrap());
        assert_eq!(log(), 0);
    }
}
