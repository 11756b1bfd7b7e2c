//! A copy of the database while it is in use, and the way back from one.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cadence_agent::workspace::Workspaces;
use serde::Serialize;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempPath;
use uuid::Uuid;

use crate::config::ServeError;
use crate::events::Hub;
use crate::start::DataLock;
use crate::store::{FILE, HeldBack, Store, StoreError, file, schema_version};

/// How often whoever waits is told how far it is.
const TELL: Duration = Duration::from_millis(200);
/// How long a lock of another program is waited for.
const BUSY: Duration = Duration::from_secs(5);

/// Why there is no copy, or no way back.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("there is no database in {0}")]
    NoDatabase(PathBuf),
    #[error("{0} is there already")]
    Exists(PathBuf),
    #[error("{0} is a directory")]
    Directory(PathBuf),
    /// The file is the database that is worked on.
    #[error("{0} is the database itself")]
    Itself(PathBuf),
    #[error("{what} {path} failed: {source}")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{path}: {error}")]
    Storage { path: PathBuf, error: StoreError },
    #[error(transparent)]
    Data(#[from] ServeError),
}

impl BackupError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoDatabase(_) => Some("Name the data of another server with --data-dir.".to_owned()),
            Self::Exists(_) => Some("--force writes over it.".to_owned()),
            Self::Directory(path) => Some(format!("Name a file in it: {}", path.join("cadence-backup.db").display())),
            Self::Itself(_) => Some("Name another file.".to_owned()),
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some("Make room on that disk, or name a file on another.".to_owned())
            }
            Self::Storage { error: StoreError::DiskFull, .. } => {
                Some("Make room on that disk, or name a file on another.".to_owned())
            }
            Self::Io { .. } => None,
            Self::Storage { error, .. } => error.hint().map(str::to_owned),
            Self::Data(error) => error.hint(),
        }
    }
}

fn io_at(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::Io { what, path: path.to_owned(), source }
}

fn storage_at(path: &Path) -> impl Fn(StoreError) -> BackupError {
    move |error| BackupError::Storage { path: path.to_owned(), error }
}

/// What a database holds that was read to its last page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Content {
    pub tasks: u64,
    pub events: u64,
    pub bytes: u64,
    /// Version of its schema.
    pub schema: i64,
}

/// What was brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    pub content: Content,
    /// Tasks that were under way in the backup, and are paused now.
    pub paused: u64,
    /// The same, where the workspace is gone: they have failed.
    pub lost: u64,
    /// Where the database is that was there before, with the workspaces that the backup knows nothing of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aside: Option<PathBuf>,
    pub workspaces_aside: u64,
}

/// A short look at a database: whether it can be opened, its size in bytes, and the version of its schema. `None` where there
/// is none.
pub async fn glance(database: &Path) -> Result<Option<(u64, i64)>, StoreError> {
    file::inspect(database)?;
    if !database.exists() {
        return Ok(None);
    }
    let mut conn = open(database).await?;
    let schema = schema(&mut conn).await;
    let _ = conn.close().await;
    let Some(schema) = schema? else { return Ok(None) };
    if schema > schema_version() {
        return Err(StoreError::Newer { found: schema, known: schema_version() });
    }
    // What was written last is in the log beside it.
    let files = [database.to_path_buf(), file::beside(database, "-wal")];
    let size = files.iter().map(|path| std::fs::metadata(path).map_or(0, |meta| meta.len())).sum();
    Ok(Some((size, schema)))
}

/// Copies the database of a data directory to `target`, whether a server works on it or not: one moment of it, checked, in
/// place at once or not at all, and readable by its owner alone. `told` hears how many bytes of about how many are written.
pub async fn back_up(
    data_dir: &Path,
    target: &Path,
    force: bool,
    told: impl FnMut(u64, u64),
) -> Result<Content, BackupError> {
    let database = data_dir.join(FILE);
    if !database.exists() {
        return Err(BackupError::NoDatabase(data_dir.to_owned()));
    }
    if target.is_dir() {
        return Err(BackupError::Directory(target.to_owned()));
    }
    if is_same(&database, target) {
        return Err(BackupError::Itself(target.to_owned()));
    }
    if std::fs::symlink_metadata(target).is_ok() && !force {
        return Err(BackupError::Exists(target.to_owned()));
    }
    file::inspect(&database).map_err(storage_at(&database))?;
    let directory = directory_of(target);
    let copy = copy(&database, &directory, told).await?;
    let content = check(&copy).await.map_err(storage_at(&database))?;
    place(copy, target, force)?;
    Ok(content)
}

/// Puts a copy that [`back_up`] made in the place of the database of a data directory, in which no server may run. What was
/// there is kept aside, and what was under way in the copy does not go on by itself.
pub async fn restore(data_dir: &Path, source: &Path) -> Result<Restored, BackupError> {
    let _lock = DataLock::take(data_dir)?;
    let database = data_dir.join(FILE);
    if is_same(&database, source) {
        return Err(BackupError::Itself(source.to_owned()));
    }
    File::open(source).map_err(io_at("opening", source))?;
    if file::inspect(source).map_err(storage_at(source))? {
        let empty = StoreError::Damaged("it is empty".to_owned());
        return Err(storage_at(source)(empty));
    }
    let staged = copy(source, data_dir, |_, _| ()).await?;
    let content = check(&staged).await.map_err(storage_at(source))?;
    let known = tasks(&staged).await.map_err(storage_at(source))?;
    let held = hold_back(data_dir, &staged).await.map_err(storage_at(source))?;

    // From here on there is either the old one, or none and a server that says so, or the new one.
    let mut aside = Aside::of(data_dir);
    for name in ["", "-wal", "-shm"] {
        aside.take(&file::beside(&database, name))?;
    }
    place(staged, &database, false)?;
    let mut workspaces_aside = 0;
    let entries = std::fs::read_dir(data_dir.join("workspaces")).into_iter().flatten().flatten();
    for entry in entries {
        let id = entry.file_name().to_str().and_then(|name| Uuid::try_parse(name).ok());
        if id.is_some_and(|id| !known.contains(&id)) {
            aside.take_workspace(&entry.path())?;
            workspaces_aside += 1;
        }
    }
    let (paused, lost) = (held.paused, held.lost);
    Ok(Restored { content, paused, lost, aside: aside.made, workspaces_aside })
}

/// The place for what is not needed any more, made with the first of it.
struct Aside {
    directory: PathBuf,
    made: Option<PathBuf>,
}

impl Aside {
    fn of(data_dir: &Path) -> Self {
        let at = crate::store::now().unix_timestamp();
        let names =
            (0..).map(|n| if n == 0 { format!("before-restore-{at}") } else { format!("before-restore-{at}-{n}") });
        let mut directories = names.map(|name| data_dir.join(name));
        let directory =
            directories.find(|directory| !directory.exists()).unwrap_or_else(|| data_dir.join("before-restore"));
        Self { directory, made: None }
    }

    fn take(&mut self, path: &Path) -> Result<(), BackupError> {
        let directory = self.directory.clone();
        self.take_into(&directory, path)
    }

    fn take_workspace(&mut self, path: &Path) -> Result<(), BackupError> {
        let directory = self.directory.join("workspaces");
        self.take_into(&directory, path)
    }

    fn take_into(&mut self, directory: &Path, path: &Path) -> Result<(), BackupError> {
        let Some(name) = path.file_name().filter(|_| std::fs::symlink_metadata(path).is_ok()) else { return Ok(()) };
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(io_at("making", directory))?;
        std::fs::rename(path, directory.join(name)).map_err(io_at("moving", path))?;
        self.made = Some(self.directory.clone());
        Ok(())
    }
}

async fn hold_back(data_dir: &Path, staged: &Path) -> Result<HeldBack, StoreError> {
    let workspaces = Workspaces::new(data_dir);
    // Opened as a server opens it, which also brings it to the schema of this program.
    let store = Store::open(staged, Arc::new(Hub::default())).await?;
    let held = store.hold_back(move |task| matches!(workspaces.open(task), Ok(Some(_)))).await;
    store.close().await;
    held
}

async fn tasks(database: &Path) -> Result<Vec<Uuid>, StoreError> {
    let mut conn = open(database).await?;
    let tasks = sqlx::query_scalar("SELECT id FROM tasks").fetch_all(&mut conn).await;
    let _ = conn.close().await;
    Ok(tasks?)
}

async fn open(database: &Path) -> Result<SqliteConnection, StoreError> {
    let options = SqliteConnectOptions::new().filename(database).read_only(true).busy_timeout(BUSY);
    Ok(options.disable_statement_logging().connect().await?)
}

/// One moment of a database as a file of its own, which is removed unless it is put into place.
async fn copy(database: &Path, directory: &Path, mut told: impl FnMut(u64, u64)) -> Result<TempPath, BackupError> {
    let made = tempfile::Builder::new().prefix(".cadence-").suffix(".db").tempfile_in(directory);
    let path = made.map_err(io_at("writing into", directory))?.into_temp_path();
    let text = path.to_str().map(str::to_owned).ok_or_else(|| {
        io_at("writing into", directory)(io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8"))
    })?;
    let mut conn = open(database).await.map_err(storage_at(database))?;
    let whole = size(&mut conn).await.map_err(storage_at(database))?;
    let copied = {
        let copying = sqlx::query("VACUUM INTO ?").bind(text).execute(&mut conn);
        tokio::pin!(copying);
        loop {
            tokio::select! {
                copied = &mut copying => break copied,
                () = tokio::time::sleep(TELL) => told(std::fs::metadata(&path).map_or(0, |meta| meta.len()), whole),
            }
        }
    };
    let _ = conn.close().await;
    // What fails is more often the new file than the old one; damage is of the old one.
    copied.map_err(|error| match StoreError::from(error) {
        error @ (StoreError::Damaged(_) | StoreError::Busy) => storage_at(database)(error),
        error => storage_at(directory)(error),
    })?;
    Ok(path)
}

/// About how large a copy will be, in bytes.
async fn size(conn: &mut SqliteConnection) -> Result<u64, StoreError> {
    let sql = "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, \
               pragma_page_size";
    let size: i64 = sqlx::query_scalar(sql).fetch_one(conn).await?;
    Ok(size.unsigned_abs())
}

/// `None` where a first start has not come so far.
async fn schema(conn: &mut SqliteConnection) -> Result<Option<i64>, StoreError> {
    let there = sqlx::query("SELECT 1 FROM sqlite_schema WHERE name = '_sqlx_migrations'");
    if there.fetch_optional(&mut *conn).await?.is_none() {
        return Ok(None);
    }
    Ok(sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(conn).await?)
}

/// Reads a copy to its last page.
async fn check(copy: &Path) -> Result<Content, StoreError> {
    file::inspect(copy)?;
    let mut conn = open(copy).await?;
    let content = content(&mut conn).await;
    let _ = conn.close().await;
    Ok(Content { bytes: std::fs::metadata(copy).map_or(0, |meta| meta.len()), ..content? })
}

async fn content(conn: &mut SqliteConnection) -> Result<Content, StoreError> {
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut *conn).await?;
    if found != "ok" {
        return Err(StoreError::Damaged(found));
    }
    if sqlx::query("PRAGMA foreign_key_check").fetch_optional(&mut *conn).await?.is_some() {
        return Err(StoreError::Damaged("rows belong to rows that are gone".to_owned()));
    }
    let schema = schema(conn).await?.ok_or_else(|| StoreError::Damaged("it is empty".to_owned()))?;
    if schema > schema_version() {
        return Err(StoreError::Newer { found: schema, known: schema_version() });
    }
    let count = async |conn: &mut SqliteConnection, sql: &'static str| -> Result<u64, StoreError> {
        Ok(sqlx::query_scalar::<_, i64>(sql).fetch_one(conn).await?.unsigned_abs())
    };
    let tasks = count(&mut *conn, "SELECT count(*) FROM tasks").await?;
    let events = count(&mut *conn, "SELECT count(*) FROM events").await?;
    Ok(Content { tasks, events, bytes: 0, schema })
}

/// Makes a file durable, and gives it its name at once.
fn place(from: TempPath, target: &Path, force: bool) -> Result<(), BackupError> {
    File::open(&from).and_then(|file| file.sync_all()).map_err(io_at("writing", &from))?;
    let placed = match force {
        true => from.persist(target).map_err(|error| error.error),
        false => from.persist_noclobber(target).map_err(|error| error.error),
    };
    placed.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists(target.to_owned()),
        _ => io_at("writing", target)(error),
    })?;
    let directory = directory_of(target);
    File::open(&directory).and_then(|directory| directory.sync_all()).map_err(io_at("writing into", &directory))
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Whether a path leads to the database, or to a file that SQLite keeps for it.
fn is_same(database: &Path, path: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    let wanted = id(path);
    let own = ["", "-wal", "-shm"].map(|suffix| id(&file::beside(database, suffix)));
    wanted.is_some() && own.contains(&wanted)
        || std::path::absolute(path).ok().is_some_and(|path| {
            ["-wal", "-shm"]
                .iter()
                .any(|suffix| std::path::absolute(file::beside(database, suffix)).is_ok_and(|own| own == path))
        })
}
