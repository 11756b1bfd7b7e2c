//! Reading a task's events.

use cadence_protocol::{Event, EventData};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::{Store, StoreError, from_micros};

impl Store {
    /// Stored events with a `seq` larger than `after`, in order, at most `limit`.
    pub async fn events(&self, user: Uuid, task: Uuid, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, attempt, at, data FROM events WHERE task_id = ?1 AND seq > ?2 AND user_id = ?3 \
             AND NOT EXISTS (SELECT 1 FROM removed WHERE task_id = ?1) ORDER BY seq LIMIT ?4",
        )
        .bind(task)
        .bind(i64::try_from(after).unwrap_or(i64::MAX))
        .bind(user)
        .bind(limit)
        .fetch_all(&self.reads)
        .await?;
        rows.iter().map(|row| from_row(row, task)).collect()
    }

    /// One event with its whole data, also where that is kept apart.
    pub async fn event(&self, user: Uuid, task: Uuid, seq: u64) -> Result<Event, StoreError> {
        let row = sqlx::query(
            "SELECT e.seq AS seq, e.attempt AS attempt, e.at AS at, coalesce(d.data, e.data) AS data FROM events e \
             LEFT JOIN event_data d ON d.task_id = e.task_id AND d.seq = e.seq \
             WHERE e.task_id = ?1 AND e.seq = ?2 AND e.user_id = ?3 \
             AND NOT EXISTS (SELECT 1 FROM removed WHERE task_id = ?1)",
        )
        .bind(task)
        .bind(i64::try_from(seq).unwrap_or(i64::MAX))
        .bind(user)
        .fetch_optional(&self.reads)
        .await?
        .ok_or(StoreError::NotFound("such event"))?;
        from_row(&row, task)
    }
}

fn from_row(row: &SqliteRow, task_id: Uuid) -> Result<Event, StoreError> {
    let data: String = row.try_get("data")?;
    let data: EventData =
        serde_json::from_str(&data).map_err(|e| StoreError::Corrupt(format!("an event of {task_id}: {e}")))?;
    Ok(Event {
        kind: data.kind().to_owned(),
        task_id,
        attempt: row.try_get("attempt")?,
        seq: row.try_get::<i64, _>("seq")?.unsigned_abs(),
        timestamp: from_micros(row.try_get("at")?),
        data,
    })
}
