//! Keeping the file in shape: checks, the write-ahead log, free pages, marks of what was done when.

use cadence_protocol::Timestamp;

use super::{Store, StoreError, file, from_micros, micros};

/// A write-ahead log that is larger than this is folded into the database and emptied, in bytes. What is written meanwhile
/// is folded bit by bit by SQLite itself, as long as nobody reads without end.
const LARGE_LOG: u64 = 64 << 20;
/// Free pages that are given back to the file system in one transaction.
const PAGES: u32 = 256;
/// Free pages that are kept for what comes.
const KEPT: i64 = 1024;

impl Store {
    /// Reads every page, and notes damage. `Ok(false)` where there is some.
    pub async fn check_pages(&self) -> Result<bool, StoreError> {
        let found = sqlx::query_scalar::<_, String>("PRAGMA quick_check(1)").fetch_one(&self.reads).await;
        let damage = match found.map_err(StoreError::from) {
            Ok(line) if line == "ok" => return Ok(true),
            Ok(line) => StoreError::Damaged(line),
            Err(error) => error,
        };
        match self.trouble.note(damage) {
            StoreError::Damaged(_) => Ok(false),
            error => Err(error),
        }
    }

    /// Writes something that changes nothing: whether the storage takes it again.
    pub async fn try_out(&self) -> Result<(), StoreError> {
        self.write(|tx| {
            Box::pin(async move {
                sqlx::query("UPDATE users SET role = role WHERE rowid = (SELECT min(rowid) FROM users)")
                    .execute(&mut *tx.conn)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Folds a write-ahead log that has become large. Gives its size where somebody who reads keeps it from being emptied.
    pub async fn fold_log(&self) -> Result<Option<u64>, StoreError> {
        let log = file::beside(&self.trouble.database(), "-wal");
        let size = std::fs::metadata(log).map_or(0, |meta| meta.len());
        if size < LARGE_LOG || self.writer.fold().await? {
            return Ok(None);
        }
        Ok(Some(size))
    }

    /// Gives free pages back to the file system. Gives how many bytes.
    pub async fn shrink(&self) -> Result<u64, StoreError> {
        let page: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&self.reads).await?;
        let mut pages = 0;
        loop {
            let free: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&self.reads).await?;
            if free <= KEPT {
                break;
            }
            self.write(move |tx| {
                Box::pin(async move {
                    let sql = sqlx::AssertSqlSafe(format!("PRAGMA incremental_vacuum({PAGES})"));
                    sqlx::query(sql).fetch_all(&mut *tx.conn).await?;
                    Ok(())
                })
            })
            .await?;
            let left: i64 = sqlx::query_scalar("PRAGMA freelist_count").fetch_one(&self.reads).await?;
            if left >= free {
                break;
            }
            pages += free - left;
        }
        if pages > 0 {
            // The file is cut when the log is folded.
            self.writer.fold().await?;
        }
        Ok(pages.unsigned_abs() * page.unsigned_abs())
    }

    pub async fn marked(&self, name: &'static str) -> Result<Option<Timestamp>, StoreError> {
        let at: Option<i64> =
            sqlx::query_scalar("SELECT at FROM upkeep WHERE name = ?").bind(name).fetch_optional(&self.reads).await?;
        Ok(at.map(from_micros))
    }

    pub async fn mark(&self, name: &'static str, at: Timestamp) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let sql =
                    "INSERT INTO upkeep (name, at) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET at = excluded.at";
                sqlx::query(sql).bind(name).bind(micros(at)).execute(&mut *tx.conn).await?;
                Ok(())
            })
        })
        .await
    }
}
