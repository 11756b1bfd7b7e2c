//! Tasks: create, read, archive, remove.

use std::collections::BTreeMap;

use cadence_protocol::{EventData, Executor, SandboxMode, Task};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::changes::{bind_events, insert_sql, to_json, write};
use super::events::StoredEvent;
use super::rows::{self, COLUMNS, NewTask};
use super::texts::MAX_WAITING;
use super::{Store, StoreError, Tx, micros, now};

/// What asked for a task with the same key before, and what came of it.
#[derive(Clone, Debug)]
pub struct Idempotency {
    pub key: String,
    /// SHA-256 of the request.
    pub request: Vec<u8>,
}

impl Store {
    /// Stores a task, its first attempt and its first event. The same key gives the same task; `true` means that it is new.
    /// Refused where the user's month is spent: it would wait for weeks.
    pub async fn create_task(&self, new: NewTask, key: Option<Idempotency>) -> Result<(Task, bool), StoreError> {
        self.require_money(new.user_id).await?;
        let at = now();
        let asked = EventData::Message { text: new.description.clone(), from: new.user_name.clone() };
        let written = write(new.id, 1, 1, [(at, asked)])?;
        let once = key.is_none() && written.is_inline();
        let work = self.write_as(once, move |tx| {
            Box::pin(async move {
                if let Some(key) = &key
                    && let Some(task) = repeated(tx.conn, new.user_id, key).await?
                {
                    return Ok((task, false, false));
                }
                let (task, texts_wait) = insert(tx, &new, &written.events, micros(at)).await?;
                if let Some(key) = key {
                    sqlx::query(
                        "INSERT INTO idempotency (user_id, key, request, task_id, created_at) VALUES (?, ?, ?, ?, ?)",
                    )
                    .bind(new.user_id)
                    .bind(key.key)
                    .bind(key.request)
                    .bind(new.id)
                    .bind(micros(at))
                    .execute(&mut *tx.conn)
                    .await?;
                }
                tx.wrote(&task, written).await?;
                tx.changes.work = true;
                Ok((task, true, texts_wait))
            })
        });
        let (task, is_new, texts_wait) = work.await?;
        if texts_wait {
            self.index_texts().await?;
        }
        Ok((task, is_new))
    }

    /// The task that the same request made before.
    pub async fn repeated(&self, user: Uuid, key: &Idempotency) -> Result<Option<Task>, StoreError> {
        repeated(&mut *self.reads.acquire().await?, user, key).await
    }

    pub async fn task(&self, user: Uuid, id: Uuid) -> Result<Task, StoreError> {
        rows::owned(&mut *self.reads.acquire().await?, user, id).await
    }

    /// The variables that a task brought along.
    pub async fn environment(&self, id: Uuid) -> Result<BTreeMap<String, String>, StoreError> {
        let text: Option<String> = sqlx::query_scalar("SELECT environment FROM tasks WHERE id = ?")
            .bind(id)
            .fetch_optional(&mut *self.reads.acquire().await?)
            .await?;
        let text = text.ok_or(StoreError::NotFound("such task"))?;
        serde_json::from_str(&text).map_err(|error| StoreError::Corrupt(error.to_string()))
    }

    /// Puts an ended task away, or takes it out again.
    pub async fn archive(&self, user: Uuid, id: Uuid, archived: bool) -> Result<Task, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let task = rows::owned(tx.conn, user, id).await?;
                if archived && !task.status.is_end() {
                    return Err(StoreError::Conflict(format!("a task that is {} cannot be archived", task.status)));
                }
                if archived != task.archived_at.is_some() {
                    sqlx::query("UPDATE tasks SET archived_at = ?, updated_at = ? WHERE id = ?")
                        .bind(archived.then(|| micros(now())))
                        .bind(micros(now()))
                        .bind(id)
                        .execute(&mut *tx.conn)
                        .await?;
                    tx.changes.tasks.insert(id);
                }
                rows::owned(tx.conn, user, id).await
            })
        })
        .await
    }

    /// Forgets an ended task with all that belongs to it.
    pub async fn delete_task(&self, user: Uuid, id: Uuid) -> Result<(), StoreError> {
        self.write(move |tx| Box::pin(async move { delete(tx.conn, user, id, false).await })).await
    }

    /// As [`Self::delete_task`], where it is archived.
    pub async fn delete_archived(&self, user: Uuid, id: Uuid) -> Result<(), StoreError> {
        self.write(move |tx| Box::pin(async move { delete(tx.conn, user, id, true).await })).await
    }
}

async fn delete(conn: &mut SqliteConnection, user: Uuid, id: Uuid, archived: bool) -> Result<(), StoreError> {
    let task = rows::owned(conn, user, id).await?;
    if !task.status.is_end() {
        let text = format!("a task that is {} cannot be removed; cancel it first", task.status);
        return Err(StoreError::Conflict(text));
    }
    if archived && task.archived_at.is_none() {
        return Err(StoreError::Conflict("it is no longer archived".into()));
    }
    // Its events, which may be many, go bit by bit: see `Store::purge`.
    sqlx::query("INSERT OR IGNORE INTO removed (task_id) VALUES (?)").bind(id).execute(&mut *conn).await?;
    sqlx::query("DELETE FROM tasks WHERE id = ?").bind(id).execute(conn).await?;
    Ok(())
}

async fn repeated(conn: &mut SqliteConnection, user: Uuid, key: &Idempotency) -> Result<Option<Task>, StoreError> {
    let before: Option<(Uuid, Vec<u8>)> =
        sqlx::query_as("SELECT task_id, request FROM idempotency WHERE user_id = ? AND key = ?")
            .bind(user)
            .bind(&key.key)
            .fetch_optional(&mut *conn)
            .await?;
    match before {
        Some((_, request)) if request != key.request => Err(StoreError::Conflict(
            "this Idempotency-Key was used for another request; use a new key for each request".into(),
        )),
        Some((id, _)) => Ok(Some(rows::owned(conn, user, id).await?)),
        None => Ok(None),
    }
}

/// Stores a task with its first attempt and events, by one way to the database's thread and back. Tells whether many texts
/// wait to be indexed.
async fn insert(tx: &mut Tx<'_>, new: &NewTask, events: &[StoredEvent], at: i64) -> Result<(Task, bool), StoreError> {
    let sql = tx.whole(&format!(
        "INSERT INTO tasks (id, user_id, description, repo_url, repo_name, repo_path, branch, base_branch, \
         base_commit, status, model, agent, source, executor, wanted_executor, labels, permission_mode, sandbox, \
         budget_usd, max_turns, \
         timeout_secs, environment, bundle_id, attempt, last_seq, created_at, updated_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?) \
         RETURNING {COLUMNS}, number - (SELECT upto FROM texts_indexed) AS texts_waiting; \
         INSERT INTO attempts (task_id, number, user_id, state, prompt, created_at) VALUES (?, 1, ?, 'pending', ?, ?); \
         {}",
        insert_sql(events.len())
    ));
    let query = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(new.id)
        .bind(new.user_id)
        .bind(&new.description)
        .bind(&new.repo_url)
        .bind(&new.repo_name)
        .bind(&new.repo_path)
        .bind(&new.branch)
        .bind(&new.base_branch)
        .bind(&new.base_commit)
        .bind(&new.model)
        .bind(&new.agent)
        .bind(new.source.as_str())
        .bind(new.executor.unwrap_or(Executor::Local).as_str())
        .bind(new.executor.map(Executor::as_str))
        .bind(to_json(&new.labels)?)
        .bind(new.permission_mode.as_str())
        .bind(new.spec.sandbox.map(SandboxMode::as_str))
        .bind(new.spec.budget_usd)
        .bind(new.spec.max_turns)
        .bind(new.spec.timeout_secs.map(|secs| i64::try_from(secs).unwrap_or(i64::MAX)))
        .bind(to_json(&new.spec.environment)?)
        .bind(new.spec.bundle)
        .bind(events.len() as i64)
        .bind(at)
        .bind(at)
        .bind(new.id)
        .bind(new.user_id)
        .bind(&new.description)
        .bind(at);
    // All rows, so that all of it is done.
    let rows = bind_events(query, new.user_id, events).fetch_all(&mut *tx.conn).await?;
    let row = rows.first().ok_or(StoreError::NotFound("such task"))?;
    Ok((rows::from_row(row)?, row.try_get::<i64, _>("texts_waiting")? >= MAX_WAITING))
}
