//! What is old: found, and deleted bit by bit, so that nobody who writes waits for long.

use cadence_protocol::Timestamp;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::rows::word;
use super::{Store, StoreError, from_micros, micros};
use crate::state::AttemptState;

/// Rows that are deleted in one transaction.
const BATCH: u32 = 500;
/// Events that are deleted in one transaction; each may have much data.
const EVENTS: u32 = 200;

/// A task that was put away long enough ago.
#[derive(Clone, Debug)]
pub struct Due {
    pub id: Uuid,
    pub user_id: Uuid,
    pub description: String,
    pub archived_at: Timestamp,
}

impl Store {
    /// Ended tasks that were archived before `cutoff`, the oldest first, after the one at `after`; of one user where it is
    /// given.
    pub async fn archived_before(
        &self,
        cutoff: Timestamp,
        user: Option<Uuid>,
        after: Option<(Timestamp, Uuid)>,
        limit: u32,
    ) -> Result<Vec<Due>, StoreError> {
        let (at, id) = after.map_or((i64::MIN, Uuid::nil()), |(at, id)| (micros(at), id));
        let rows = sqlx::query(
            "SELECT id, user_id, description, archived_at FROM tasks \
             WHERE archived_at < ?1 AND (archived_at, id) > (?2, ?3) AND (?4 IS NULL OR user_id = ?4) \
             AND status IN ('completed', 'failed', 'cancelled') ORDER BY archived_at, id LIMIT ?5",
        )
        .bind(micros(cutoff))
        .bind(at)
        .bind(id)
        .bind(user)
        .bind(limit)
        .fetch_all(&self.reads)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(Due {
                    id: row.try_get("id")?,
                    user_id: row.try_get("user_id")?,
                    description: row.try_get("description")?,
                    archived_at: from_micros(row.try_get("archived_at")?),
                })
            })
            .collect()
    }

    /// Whether a task has a live attempt; `None` where there is no such task.
    pub async fn is_live(&self, task: Uuid, user: Option<Uuid>) -> Result<Option<bool>, StoreError> {
        let sql = "SELECT a.state AS state FROM tasks t JOIN attempts a ON a.task_id = t.id AND a.number = t.attempt \
                   WHERE t.id = ?1 AND (?2 IS NULL OR t.user_id = ?2)";
        let row = sqlx::query(sql).bind(task).bind(user).fetch_optional(&self.reads).await?;
        row.map(|row| Ok(word::<AttemptState>(&row, "state")?.is_live())).transpose()
    }

    /// Deletes the events of tasks that were removed.
    pub async fn purge(&self) -> Result<(), StoreError> {
        let removed: Vec<Uuid> = sqlx::query_scalar("SELECT task_id FROM removed").fetch_all(&self.reads).await?;
        for task in removed {
            while self.write(move |tx| Box::pin(purge(tx.conn, task))).await? > 0 {}
        }
        Ok(())
    }

    /// Deletes idempotency keys, and commands that were acknowledged by attempts that have ended, from before `cutoff`.
    /// Gives how many rows there were.
    pub async fn prune_rows(&self, cutoff: Timestamp) -> Result<u64, StoreError> {
        const KEYS: &str = "DELETE FROM idempotency WHERE rowid IN \
                            (SELECT rowid FROM idempotency WHERE created_at < ? LIMIT ?)";
        const COMMANDS: &str = "DELETE FROM commands WHERE number IN (SELECT c.number FROM commands c \
                                JOIN attempts a ON a.task_id = c.task_id AND a.number = c.attempt \
                                WHERE c.acked_at < ? AND a.state IN ('succeeded', 'failed', 'cancelled') LIMIT ?)";
        let mut deleted = 0;
        for sql in [KEYS, COMMANDS] {
            loop {
                let count = self
                    .write(move |tx| {
                        Box::pin(async move {
                            let done = sqlx::query(sql).bind(micros(cutoff)).bind(BATCH).execute(&mut *tx.conn).await?;
                            Ok(done.rows_affected())
                        })
                    })
                    .await?;
                deleted += count;
                if count < u64::from(BATCH) {
                    break;
                }
            }
        }
        Ok(deleted)
    }
}

/// Deletes some events of a removed task, and gives how many; none are left where there was none.
async fn purge(conn: &mut SqliteConnection, task: Uuid) -> Result<u64, StoreError> {
    let sql = "DELETE FROM events WHERE task_id = ?1 AND seq IN (SELECT seq FROM events WHERE task_id = ?1 LIMIT ?2)";
    let deleted = sqlx::query(sql).bind(task).bind(EVENTS).execute(&mut *conn).await?.rows_affected();
    if deleted == 0 {
        sqlx::query("DELETE FROM removed WHERE task_id = ?").bind(task).execute(conn).await?;
    }
    Ok(deleted)
}
