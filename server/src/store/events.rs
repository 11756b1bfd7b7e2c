//! A task's events: how one is written, and reading them.

use cadence_protocol::{Event, EventData, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::borrow::Cow;
use uuid::Uuid;

use super::{Store, StoreError, from_micros};

/// An event as it is stored.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    pub task_id: Uuid,
    pub attempt: u32,
    pub seq: u64,
    pub timestamp: Timestamp,
    /// JSON of its data.
    pub data: String,
}

/// An [`Event`] whose data is written already.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    #[serde(rename = "type")]
    kind: Cow<'a, str>,
    task_id: Uuid,
    attempt: u32,
    seq: u64,
    #[serde(with = "time::serde::rfc3339")]
    timestamp: Timestamp,
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

impl StoredEvent {
    /// The JSON of the [`Event`]. Its data is checked to be JSON and taken as it is.
    pub fn text(&self) -> Result<String, StoreError> {
        let written = || {
            let Kind { kind } = serde_json::from_str(&self.data)?;
            let data = serde_json::from_str(&self.data)?;
            let Self { task_id, attempt, seq, timestamp, .. } = *self;
            serde_json::to_string(&Written { kind, task_id, attempt, seq, timestamp, data })
        };
        written().map_err(|error: serde_json::Error| self.corrupt(&error))
    }

    fn event(self) -> Result<Event, StoreError> {
        let data: EventData = serde_json::from_str(&self.data).map_err(|error| self.corrupt(&error))?;
        let Self { task_id, attempt, seq, timestamp, .. } = self;
        Ok(Event { kind: data.kind().to_owned(), task_id, attempt, seq, timestamp, data })
    }

    fn corrupt(&self, error: &serde_json::Error) -> StoreError {
        StoreError::Corrupt(format!("event {} of {}: {error}", self.seq, self.task_id))
    }
}

impl Store {
    /// Stored events with a `seq` larger than `after`, in order, at most `limit`.
    pub async fn events(&self, user: Uuid, task: Uuid, after: u64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.stored_events(user, task, after, limit).await?.into_iter().map(StoredEvent::event).collect()
    }

    pub(super) async fn stored_events(
        &self,
        user: Uuid,
        task: Uuid,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoredEvent>, StoreError> {
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
        from_row(&row, task)?.event()
    }
}

fn from_row(row: &SqliteRow, task_id: Uuid) -> Result<StoredEvent, StoreError> {
    Ok(StoredEvent {
        task_id,
        attempt: row.try_get("attempt")?,
        seq: row.try_get::<i64, _>("seq")?.unsigned_abs(),
        timestamp: from_micros(row.try_get("at")?),
        data: row.try_get("data")?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_text_is_the_event() {
        let data = EventData::Output { text: "a \"word\"\nand é".into() };
        let stored = StoredEvent {
            task_id: Uuid::from_u128(7),
            attempt: 2,
            seq: 9,
            timestamp: from_micros(1_700_000_000_123_456),
            data: serde_json::to_string(&data).unwrap(),
        };
        let event = stored.clone().event().unwrap();
        assert_eq!(stored.text().unwrap(), serde_json::to_string(&event).unwrap());
        assert!(matches!(StoredEvent { data: "{".into(), ..stored }.text(), Err(StoreError::Corrupt(_))));
    }
}
