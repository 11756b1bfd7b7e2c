//! What can go wrong in the storage: one kind for each thing that somebody can do about it.

use std::path::Path;
use std::sync::Arc;

use sqlx::migrate::MigrateError;

/// Why the storage refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("there is no {0}")]
    NotFound(&'static str),
    /// What was asked for cannot follow from what is.
    #[error("{0}")]
    Conflict(String),
    /// The money of the month is spent.
    #[error("{0}")]
    Exhausted(String),
    /// The lease was lost, or the attempt has ended.
    #[error("the attempt is held by another runner, or has ended")]
    Fenced,
    #[error("the database is closed")]
    Closed,
    #[error("the disk that holds the database is full")]
    DiskFull,
    #[error("the database cannot be written: its file, its directory or its file system is read-only ({0})")]
    ReadOnly(String),
    #[error("the database cannot be opened ({0})")]
    Unopenable(String),
    #[error("the database is locked by another program")]
    Busy,
    /// More was asked at once than can be answered in time.
    #[error("the database does not answer in time")]
    Slow,
    /// A read or write of the file itself failed.
    #[error("the disk that holds the database fails ({0})")]
    Io(String),
    /// The file is not what was written.
    #[error("the database is damaged ({0})")]
    Damaged(String),
    /// It is gone, and what belongs to it is not.
    #[error("the database is missing, and there is work that belongs to it")]
    Missing,
    #[error("the database is of a newer cadence: its schema has version {found}, this one knows version {known}")]
    Newer { found: i64, known: i64 },
    #[error("the database is of another build of cadence, which made version {0} of the schema otherwise")]
    Edited(i64),
    /// A row that says what no cadence writes.
    #[error("the database holds something unreadable: {0}")]
    Corrupt(String),
    #[error("the database failed: {0}")]
    Database(Arc<sqlx::Error>),
}

impl StoreError {
    /// Whether the storage itself fails, and not what was asked of it.
    pub const fn is_trouble(&self) -> bool {
        !matches!(
            self,
            Self::NotFound(_) | Self::Conflict(_) | Self::Exhausted(_) | Self::Fenced | Self::Closed | Self::Corrupt(_)
        )
    }

    /// A word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::Conflict(_) => "conflict",
            Self::Exhausted(_) => "budget_exhausted",
            Self::Fenced => "fenced",
            Self::Closed => "closing",
            Self::DiskFull => "disk_full",
            Self::ReadOnly(_) => "database_read_only",
            Self::Unopenable(_) => "database_unopenable",
            Self::Busy => "database_locked",
            Self::Slow => "database_slow",
            Self::Io(_) => "database_io",
            Self::Damaged(_) => "database_damaged",
            Self::Missing => "database_missing",
            Self::Newer { .. } => "database_newer",
            Self::Edited(_) => "database_edited",
            Self::Corrupt(_) => "unreadable",
            Self::Database(_) => "storage",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotFound(_) | Self::Conflict(_) | Self::Fenced | Self::Closed => return None,
            Self::Exhausted(_) => {
                "Whoever runs the server can raise `month_usd` in the section `[limits]` of its settings; that counts when it is started again. `cadence usage` shows what was spent."
            }
            Self::DiskFull => {
                "Make room on that disk: `cadence tasks rm` removes workspaces, `cadence server prune` what is old."
            }
            Self::ReadOnly(_) => {
                "Give its owner the right to write there, or remount the file system for writing; `cadence serve --data-dir DIR` takes another place."
            }
            Self::Unopenable(_) => "Does it belong to you, is its directory there, and may it be entered?",
            Self::Busy => {
                "See who has it open with `fuser` or `lsof`, and end that program; cadence then goes on by itself."
            }
            Self::Slow => "Try again; the machine or its disk may be overloaded.",
            Self::Io(_) => "Is the disk over a quota, gone, or broken? The system's log (dmesg) says more.",
            Self::Damaged(_) => {
                "Nothing is written any more. `cadence doctor --verify` says what is wrong; stop the server and bring a backup back with `cadence server restore FILE`, which keeps the damaged file aside."
            }
            Self::Missing => {
                "Bring a backup back with `cadence server restore FILE`; or move the directory `workspaces` away to begin anew."
            }
            Self::Newer { .. } => "Install the newest cadence; the database was left as it is.",
            Self::Edited(_) => "Use the build that made it, or move it away to begin anew; it was left as it is.",
            Self::Corrupt(_) => "`cadence doctor --verify` says what else is wrong.",
            Self::Database(_) => "The server's log says more.",
        })
    }

    /// The same, where a look at the disk tells more than SQLite does.
    pub(super) fn seen_at(self, database: &Path) -> Self {
        match self {
            Self::Io(_) | Self::Unopenable(_) | Self::ReadOnly(_) if room(database).is_some_and(|free| free < PAGE) => {
                Self::DiskFull
            }
            other => other,
        }
    }
}

/// Less free room than a page of the database is none, in bytes.
const PAGE: u64 = 4096;

/// Free room on the disk of a database, in bytes.
pub(super) fn room(database: &Path) -> Option<u64> {
    let directory = database.parent().unwrap_or(Path::new("."));
    let space = nix::sys::statvfs::statvfs(directory).ok()?;
    Some(wide(space.blocks_available()).saturating_mul(wide(space.fragment_size())))
}

/// These counts are narrower on some systems.
fn wide(value: impl Into<u64>) -> u64 {
    value.into()
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = match &error {
            sqlx::Error::Database(db) => db.code().and_then(|code| code.parse().ok()),
            sqlx::Error::PoolTimedOut => return Self::Slow,
            sqlx::Error::PoolClosed => return Self::Closed,
            _ => None,
        };
        let said = |code: i32| match &error {
            sqlx::Error::Database(db) => format!("{}, code {code}", db.message()),
            other => other.to_string(),
        };
        code.and_then(|code| kind(code, || said(code))).unwrap_or_else(|| Self::Database(Arc::new(error)))
    }
}

/// The kind of a result code of SQLite (<https://www.sqlite.org/rescode.html>), extended or not.
fn kind(code: i32, said: impl FnOnce() -> String) -> Option<StoreError> {
    /// SQLITE_IOERR_SHMSIZE: the index of the write-ahead log cannot grow, which only takes room.
    const SHM_SIZE: i32 = 10 | 19 << 8;
    Some(match (code, code & 0xff) {
        (SHM_SIZE, _) | (_, 13) => StoreError::DiskFull,
        (_, 3 | 8) => StoreError::ReadOnly(said()),
        (_, 5 | 6) => StoreError::Busy,
        (_, 10) => StoreError::Io(said()),
        (_, 11 | 26) => StoreError::Damaged(said()),
        (_, 14) => StoreError::Unopenable(said()),
        _ => return None,
    })
}

impl From<MigrateError> for StoreError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(found) => Self::Newer { found, known: super::schema_version() },
            MigrateError::VersionMismatch(version) => Self::Edited(version),
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn codes_of_sqlite_have_a_kind_and_a_way_out() {
        let codes = [
            (13, "disk_full"),
            (4874, "disk_full"),
            (8, "database_read_only"),
            (1032, "database_read_only"),
            (5, "database_locked"),
            (517, "database_locked"),
            (262, "database_locked"),
            (10, "database_io"),
            (266, "database_io"),
            (778, "database_io"),
            (11, "database_damaged"),
            (267, "database_damaged"),
            (26, "database_damaged"),
            (14, "database_unopenable"),
        ];
        for (code, word) in codes {
            let error = kind(code, || "said".to_owned()).unwrap();
            assert_eq!(error.code(), word, "{code}");
            assert!(error.is_trouble() && error.hint().is_some());
        }
        for code in [1, 19, 787] {
            assert!(kind(code, String::new).is_none(), "{code}");
        }
    }
}
