//! SQLite behind domain transactions. Reads go to a pool; every change goes through one writer, which commits what has
//! gathered in one transaction and only then lets it be seen.

mod attempts;
mod bundles;
mod changes;
mod checkpoint;
mod commands;
mod error;
mod events;
pub(crate) mod file;
mod frames;
mod leases;
mod list;
mod machines;
mod pages;
mod placement;
mod prune;
mod restored;
mod rows;
mod spending;
mod steady;
mod tasks;
mod texts;
mod tokens;
mod trouble;
mod upkeep;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cadence_protocol::Timestamp;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteAutoVacuum, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use self::checkpoint::Checkpoints;
use crate::events::Hub;

pub use attempts::AttemptRow;
pub use bundles::BundleRow;
pub use changes::Tx;
pub use error::StoreError;
pub use events::StoredEvent;
pub use leases::Taker;
pub use machines::NewMachine;
pub use placement::{Candidate, Loads};
pub use prune::Due;
pub use restored::HeldBack;
pub use rows::{Filter, NewTask, TaskSpec};
pub use tasks::Idempotency;
pub use tokens::{Principal, hash as token_hash};
pub use trouble::Trouble;

use steady::Steady;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// Name of the database in a data directory.
pub const FILE: &str = "cadence.db";

/// How many rows may wait for the writer before those who write are made to wait.
const WRITER_QUEUE: usize = 1024;

/// How long a lock of another program is waited for.
const BUSY: Duration = Duration::from_secs(5);

/// Version of the schema that this program writes.
pub fn schema_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// The storage. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    reads: SqlitePool,
    writer: writer::Writer,
    checkpoints: Checkpoints,
    hub: Arc<Hub>,
    pages: Arc<pages::Pages>,
    trouble: Trouble,
    /// For leases.
    steady: Steady,
    /// US dollars that each user may spend in a calendar month.
    month_usd: Option<f64>,
}

impl Store {
    /// Opens the database of a data directory, and makes or upgrades it.
    pub async fn open(path: &Path, hub: Arc<Hub>) -> Result<Self, StoreError> {
        let trouble = Trouble::none(path);
        let seen = |error: StoreError| error.seen_at(path);
        let is_new = file::inspect(path)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .statement_cache_capacity(256)
            // A page of a list or of events comes in one piece.
            .row_buffer_size(256)
            // Where what folds the log beside the writer does not come along, the writer does what is left of it.
            .pragma("wal_autocheckpoint", "4000")
            .disable_statement_logging();
        // Both are kept in the file, and setting them again would write to it.
        let writing = match is_new {
            true => options
                .clone()
                .auto_vacuum(SqliteAutoVacuum::Incremental)
                .pragma("application_id", file::APPLICATION_ID.to_string()),
            false => options.clone(),
        };
        let mut connection = writing.connect().await.map_err(|error| seen(error.into()))?;
        if let Err(error) = MIGRATIONS.run_direct(None, &mut connection, false).await {
            let _ = connection.close().await;
            return Err(seen(error.into()));
        }
        restrict(path);
        let reads = SqlitePoolOptions::new()
            .max_connections(4)
            .min_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            // A file does not hang up; to ask whether it is there costs as much as what is read.
            .test_before_acquire(false)
            .connect_with(options.clone().read_only(true).pragma("query_only", "on"))
            .await
            .map_err(|error| seen(error.into()))?;
        let checkpoints = Checkpoints::start(&options).await.map_err(|error| error.seen_at(path))?;
        let writer =
            writer::Writer::start(connection, hub.clone(), trouble.clone(), checkpoints.clone(), WRITER_QUEUE)?;
        let (pages, steady) = (Arc::default(), Steady::start());
        Ok(Self { reads, writer, checkpoints, hub, pages, trouble, steady, month_usd: None })
    }

    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// What the storage fails of now, if it does.
    pub const fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// Whether storage answers, and takes what is to be stored.
    pub async fn ping(&self) -> Result<(), StoreError> {
        if let Some(error) = self.trouble.get() {
            return Err(error);
        }
        let read = sqlx::query("SELECT count(*) FROM sqlite_schema").execute(&self.reads).await;
        read.map(drop).map_err(|error| self.trouble.note(error.into()))
    }

    /// The database's file.
    pub fn path(&self) -> std::path::PathBuf {
        self.trouble.database()
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
        let file = file::beside(path, suffix);
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
