//! SQLite behind domain transactions. Reads go to a pool; every change goes through one writer, which commits what has
//! gathered in one transaction and only then lets it be seen.

mod attempts;
mod changes;
mod checkpoint;
mod commands;
mod events;
mod frames;
mod leases;
mod list;
mod pages;
mod rows;
mod tasks;
mod tokens;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cadence_protocol::Timestamp;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use self::checkpoint::Checkpoints;
use crate::events::Hub;

pub use attempts::AttemptRow;
pub use changes::Tx;
pub use events::StoredEvent;
pub use rows::{Filter, NewTask, TaskSpec};
pub use tasks::Idempotency;
pub use tokens::{Principal, hash as token_hash};

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Name of the database in a data directory.
pub const FILE: &str = "cadence.db";

/// How many rows may wait for the writer before those who write are made to wait.
const WRITER_QUEUE: usize = 1024;

/// The storage. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    reads: SqlitePool,
    writer: writer::Writer,
    checkpoints: Checkpoints,
    hub: Arc<Hub>,
    pages: Arc<pages::Pages>,
}

/// Why the storage refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no {0}")]
    NotFound(&'static str),
    /// What was asked for cannot follow from what is.
    #[error("{0}")]
    Conflict(String),
    /// The lease was lost, or the attempt has ended.
    #[error("the attempt is held by another runner, or has ended")]
    Fenced,
    #[error("the disk that holds the database is full")]
    DiskFull,
    #[error("the database was written by a newer cadence: {0}")]
    Newer(String),
    #[error("the database is closed")]
    Closed,
    #[error("the database failed: {0}")]
    Database(Arc<sqlx::Error>),
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Database(db) = &error {
            // SQLITE_FULL is 13; SQLITE_IOERR_WRITE (778) is what some file systems answer instead.
            if matches!(db.code().as_deref(), Some("13" | "778")) {
                return Self::DiskFull;
            }
        }
        Self::Database(Arc::new(error))
    }
}

impl Store {
    /// Opens the database of a data directory, and makes or upgrades it.
    pub async fn open(path: &Path, hub: Arc<Hub>) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5))
            .statement_cache_capacity(256)
            // A page of a list or of events comes in one piece.
            .row_buffer_size(256)
            // Where what folds the log beside the writer does not come along, the writer does what is left of it.
            .pragma("wal_autocheckpoint", "4000")
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        if let Err(error) = MIGRATIONS.run_direct(None, &mut connection, false).await {
            let _ = connection.close().await;
            return Err(match error {
                sqlx::migrate::MigrateError::VersionMissing(version) => {
                    StoreError::Newer(format!("its schema has version {version}; install the newest cadence"))
                }
                sqlx::migrate::MigrateError::Execute(error) => error.into(),
                other => StoreError::Corrupt(other.to_string()),
            });
        }
        restrict(path);
        let reads = SqlitePoolOptions::new()
            .max_connections(4)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options.clone().read_only(true).pragma("query_only", "on"))
            .await?;
        let checkpoints = Checkpoints::start(&options).await?;
        let writer = writer::Writer::start(connection, hub.clone(), checkpoints.clone(), WRITER_QUEUE)?;
        Ok(Self { reads, writer, checkpoints, hub, pages: Arc::default() })
    }

    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Whether storage answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.reads).await?;
        Ok(())
    }

    /// Waits for what is being written, then closes.
    pub async fn close(&self) {
        // The last to close folds the write-ahead log into the database, which only the writer may.
        self.reads.close().await;
        self.checkpoints.close().await;
        self.writer.close().await;
    }
}

/// The database may hold secrets that tasks brought: only its owner may read it.
fn restrict(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let file = PathBuf::from(name);
        if file.exists() {
            let _ = std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600));
        }
    }
}

pub(crate) fn micros(at: Timestamp) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX)
}

pub(crate) fn from_micros(micros: i64) -> Timestamp {
    Timestamp::from_unix_timestamp_nanos(i128::from(micros) * 1000).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Now, in the precision that is stored.
pub(crate) fn now() -> Timestamp {
    from_micros(micros(Timestamp::now_utc()))
}
