//! The index of descriptions, which is brought up to date when somebody looks for a text, or when much has gathered.

use sqlx::SqliteConnection;

use super::{Store, StoreError};

/// How many tasks may wait to be indexed; bounds how long the one who looks for a text waits.
pub(super) const MAX_WAITING: i64 = 512;

/// Indexes what waits.
pub(super) async fn index(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    let sql = "INSERT INTO task_texts (rowid, description) \
               SELECT number, substr(description, 1, 4000) FROM tasks WHERE number > (SELECT upto FROM texts_indexed); \
               UPDATE texts_indexed SET upto = (SELECT coalesce(max(number), 0) FROM tasks)";
    sqlx::query(sql).execute(conn).await?;
    Ok(())
}

impl Store {
    /// Brings the index up to date. Where nothing can be stored now, what is new is not found.
    pub(super) async fn index_texts(&self) -> Result<(), StoreError> {
        let waits = "SELECT EXISTS (SELECT 1 FROM tasks WHERE number > (SELECT upto FROM texts_indexed))";
        if sqlx::query_scalar(waits).fetch_one(&self.reads).await?
            && let Err(error) = self.write(|tx| Box::pin(index(tx.conn))).await
        {
            tracing::warn!(%error, "descriptions of new tasks could not be indexed");
        }
        Ok(())
    }
}
