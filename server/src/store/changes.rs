use std::collections::BTreeSet;

use cadence_protocol::{EventData, Task, Timestamp};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};
use uuid::Uuid;

use super::events::StoredEvent;
use super::{StoreError, micros};

/// A transaction that remembers what it changed, so that it can be told once it is durable.
pub struct Tx<'c> {
    pub(super) conn: &'c mut SqliteConnection,
    pub(super) changes: &'c mut Changes,
    /// What is to stand before and after the statements of one who goes to the database once, see [`Tx::whole`].
    pub(super) brackets: Option<(&'static str, &'static str)>,
}

/// What a transaction changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub events: Vec<StoredEvent>,
    pub tasks: BTreeSet<Uuid>,
    /// Tasks with a new command.
    pub commands: BTreeSet<Uuid>,
    /// Whether there may be something to claim.
    pub work: bool,
}

impl Changes {
    pub fn merge(&mut self, other: Self) {
        self.events.extend(other.events);
        self.tasks.extend(other.tasks);
        self.commands.extend(other.commands);
        self.work |= other.work;
    }
}

/// Largest JSON of an event's data that is kept in the event itself, in bytes.
const INLINE: usize = 64 * 1024;
/// Events that one statement inserts: the largest of these that there are.
const ROWS: [usize; 4] = [64, 16, 4, 1];
/// What is left of a text in the event where the whole is kept apart, in bytes.
const EXCERPT: usize = 4 * 1024;

impl Tx<'_> {
    /// Statements that are all that this transaction does, as [`super::Store::write_as`] was promised, with what makes them
    /// a transaction: each way to the database's thread and back costs about as much as the statements themselves.
    pub(super) fn whole(&mut self, sql: &str) -> String {
        let (begin, end) = self.brackets.take().unwrap_or_default();
        format!("{begin}{sql}{end}")
    }

    /// Numbers and stores events, in order.
    pub(super) async fn append(
        &mut self,
        task: &Task,
        attempt: u32,
        events: impl IntoIterator<Item = (Timestamp, EventData)>,
    ) -> Result<(), StoreError> {
        let events: Vec<_> = events.into_iter().collect();
        if events.is_empty() {
            return Ok(());
        }
        let last: i64 = sqlx::query_scalar(
            "UPDATE tasks SET last_seq = last_seq + ?, updated_at = ? WHERE id = ? RETURNING last_seq",
        )
        .bind(events.len() as i64)
        .bind(micros(super::now()))
        .bind(task.id)
        .fetch_one(&mut *self.conn)
        .await?;
        let first = last.unsigned_abs() - events.len() as u64 + 1;
        let written = write(task.id, attempt, first, events)?;
        insert_events(self.conn, task.user_id, &written.events).await?;
        self.wrote(task, written).await
    }

    /// Stores the whole of what was too large for the events, which are stored already, and remembers all that is to be told.
    pub(super) async fn wrote(&mut self, task: &Task, written: Written) -> Result<(), StoreError> {
        for (seq, whole) in written.whole {
            sqlx::query("INSERT INTO event_data (task_id, seq, user_id, data) VALUES (?, ?, ?, ?)")
                .bind(task.id)
                .bind(seq as i64)
                .bind(task.user_id)
                .bind(whole)
                .execute(&mut *self.conn)
                .await?;
        }
        self.changes.tasks.insert(task.id);
        self.changes.events.extend(written.events);
        Ok(())
    }
}

/// Numbered events as they are stored.
pub(super) struct Written {
    pub events: Vec<StoredEvent>,
    /// The whole data of those that carry a shortened form.
    whole: Vec<(u64, String)>,
}

impl Written {
    /// Whether the events themselves are all that there is to store.
    pub fn is_inline(&self) -> bool {
        self.whole.is_empty()
    }
}

/// Numbers events from `first` on.
pub(super) fn write(
    task_id: Uuid,
    attempt: u32,
    first: u64,
    events: impl IntoIterator<Item = (Timestamp, EventData)>,
) -> Result<Written, StoreError> {
    let mut written = Written { events: Vec::new(), whole: Vec::new() };
    for (seq, (timestamp, event)) in (first..).zip(events) {
        let mut data = to_json(&event)?;
        if data.len() > INLINE {
            let whole = std::mem::replace(&mut data, to_json(&shorten(&event))?);
            written.whole.push((seq, whole));
        }
        written.events.push(StoredEvent { task_id, attempt, seq, timestamp, data });
    }
    Ok(written)
}

/// Inserts events with few statements: each is a way to the database's thread and back.
async fn insert_events(conn: &mut SqliteConnection, user: Uuid, events: &[StoredEvent]) -> Result<(), StoreError> {
    let mut rest = events;
    while !rest.is_empty() {
        // Few lengths, so that the statements are prepared once and found again.
        let rows = ROWS.into_iter().find(|rows| *rows <= rest.len()).unwrap_or(1);
        let (now, later) = rest.split_at(rows);
        let query = sqlx::query(sqlx::AssertSqlSafe(insert_sql(rows)));
        bind_events(query, user, now).execute(&mut *conn).await?;
        rest = later;
    }
    Ok(())
}

/// The statement that inserts so many events.
pub(super) fn insert_sql(rows: usize) -> String {
    let values = vec!["(?, ?, ?, ?, ?, ?)"; rows].join(", ");
    format!("INSERT INTO events (task_id, seq, user_id, attempt, at, data) VALUES {values}")
}

type Query<'q> = sqlx::query::Query<'q, Sqlite, SqliteArguments>;

/// Binds what [`insert_sql`] inserts.
pub(super) fn bind_events<'q>(mut query: Query<'q>, user: Uuid, events: &[StoredEvent]) -> Query<'q> {
    for event in events {
        query = query
            .bind(event.task_id)
            .bind(event.seq as i64)
            .bind(user)
            .bind(event.attempt)
            .bind(micros(event.timestamp))
            .bind(event.data.clone());
    }
    query
}

pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Corrupt(e.to_string()))
}

/// Cuts every long text in an event's data to its beginning and says how long it was.
fn shorten(data: &EventData) -> EventData {
    fn cut(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) if text.len() > EXCERPT => {
                let end = text.floor_char_boundary(EXCERPT);
                *text = format!("{}\n… {} bytes in all; the whole is kept with the event", &text[..end], text.len());
            }
            serde_json::Value::Array(items) => {
                // A long list of short texts is as large as one long text.
                items.truncate(64);
                items.iter_mut().for_each(cut);
            }
            serde_json::Value::Object(fields) => {
                let extra: Vec<_> = fields.keys().skip(64).cloned().collect();
                extra.iter().for_each(|key| drop(fields.remove(key)));
                fields.values_mut().for_each(cut);
            }
            _ => {}
        }
    }
    let shortened = serde_json::to_value(data).and_then(|mut value| {
        cut(&mut value);
        if value.to_string().len() > INLINE
            && let Some(input) = value.get_mut("input")
        {
            *input = serde_json::json!({ "note": "too large to show; the whole is kept with the event" });
        }
        serde_json::from_value(value)
    });
    shortened.unwrap_or_else(|_| data.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_on_a_character() {
        let data = EventData::Output { text: "é".repeat(100_000) };
        let EventData::Output { text } = shorten(&data) else { panic!("still an output") };
        assert!(text.len() < 5_000);
        assert!(text.ends_with("… 200000 bytes in all; the whole is kept with the event"));
    }

    #[test]
    fn deep_inputs_stay_small() {
        let input = serde_json::json!({ "items": vec!["x".repeat(4000); 1000] });
        let data = EventData::ToolUse { tool: "T".into(), input, tool_use_id: None };
        assert!(to_json(&shorten(&data)).unwrap_or_default().len() < INLINE);
    }
}
