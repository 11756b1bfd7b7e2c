//! Tasks: create, read, list, archive, remove.

use cadence_protocol::{EventData, Task};
use sqlx::{QueryBuilder, Sqlite, SqliteConnection};
use uuid::Uuid;

use super::changes::to_json;
use super::rows::{self, COLUMNS, Filter, NewTask};
use super::{Store, StoreError, micros, now, steady};

/// What asked for a task with the same key before, and what came of it.
#[derive(Clone, Debug)]
pub struct Idempotency {
    pub key: String,
    /// SHA-256 of the request.
    pub request: Vec<u8>,
}

impl Store {
    /// Stores a task, its first attempt and its first event. The same key gives the same task; `true` means that it is new.
    pub async fn create_task(&self, new: NewTask, key: Option<Idempotency>) -> Result<(Task, bool), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                if let Some(key) = &key
                    && let Some(task) = repeated(tx.conn, new.user_id, key).await?
                {
                    return Ok((task, false));
                }
                let at = steady::after(newest(tx.conn, new.user_id).await?, now());
                insert(tx, &new, micros(at)).await?;
                sqlx::query(
                    "INSERT INTO attempts (task_id, number, user_id, state, prompt, created_at) VALUES (?, 1, ?, 'pending', ?, ?)",
                )
                .bind(new.id)
                .bind(new.user_id)
                .bind(&new.description)
                .bind(micros(at))
                .execute(&mut *tx.conn)
                .await?;
                if let Some(key) = key {
                    sqlx::query("INSERT INTO idempotency (user_id, key, request, task_id, created_at) VALUES (?, ?, ?, ?, ?)")
                        .bind(new.user_id)
                        .bind(key.key)
                        .bind(key.request)
                        .bind(new.id)
                        .bind(micros(at))
                        .execute(&mut *tx.conn)
                        .await?;
                }
                let task = rows::owned(tx.conn, new.user_id, new.id).await?;
                let asked = EventData::Message { text: new.description.clone(), from: new.user_name.clone() };
                tx.append(&task, 1, [(at, asked)]).await?;
                tx.changes.work = true;
                Ok((rows::owned(tx.conn, new.user_id, new.id).await?, true))
            })
        })
        .await
    }

    /// The task that the same request made before.
    pub async fn repeated(&self, user: Uuid, key: &Idempotency) -> Result<Option<Task>, StoreError> {
        repeated(&mut *self.reads.acquire().await?, user, key).await
    }

    pub async fn task(&self, user: Uuid, id: Uuid) -> Result<Task, StoreError> {
        rows::owned(&mut *self.reads.acquire().await?, user, id).await
    }

    /// Tasks, newest first, and the place of the last one where there are more.
    pub async fn tasks(&self, user: Uuid, filter: Filter) -> Result<(Vec<Task>, Option<(i64, Uuid)>), StoreError> {
        // What looks like the beginning of an id is looked up as one first: there is an index for that.
        if let Some(hex) = filter.text.as_deref().and_then(id_prefix) {
            let found = self.list(user, &filter, Some(&hex)).await?;
            if !found.0.is_empty() {
                return Ok(found);
            }
        }
        self.list(user, &filter, None).await
    }

    async fn list(
        &self,
        user: Uuid,
        filter: &Filter,
        id_prefix: Option<&str>,
    ) -> Result<(Vec<Task>, Option<(i64, Uuid)>), StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(format!("SELECT {COLUMNS} FROM tasks WHERE user_id = "));
        sql.push_bind(user);
        match filter.archived {
            Some(true) => drop(sql.push(" AND archived_at IS NOT NULL")),
            Some(false) => drop(sql.push(" AND archived_at IS NULL")),
            None => {}
        }
        if !filter.statuses.is_empty() {
            sql.push(" AND status IN (");
            let mut list = sql.separated(", ");
            for status in &filter.statuses {
                list.push_bind(status.as_str());
            }
            sql.push(")");
        }
        if let Some(repo) = &filter.repo {
            sql.push(" AND (repo_name = ").push_bind(repo);
            sql.push(" OR repo_url = ").push_bind(repo);
            sql.push(" OR repo_path = ").push_bind(repo).push(")");
        }
        match (id_prefix, &filter.text) {
            (Some(prefix), _) => {
                // `g` comes after every hexadecimal digit.
                sql.push(" AND hex_id >= ").push_bind(prefix.to_owned());
                sql.push(" AND hex_id < ").push_bind(format!("{prefix}g"));
            }
            (None, Some(text)) => {
                sql.push(" AND description LIKE ").push_bind(format!("%{}%", escape_like(text))).push(" ESCAPE '\\'");
            }
            (None, None) => {}
        }
        if let Some((created, id)) = filter.before {
            sql.push(" AND (created_at, id) < (").push_bind(created).push(", ").push_bind(id).push(")");
        }
        sql.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(i64::from(filter.limit) + 1);
        let found = sql.build().fetch_all(&self.reads).await?;
        let mut tasks = found.iter().map(rows::from_row).collect::<Result<Vec<_>, _>>()?;
        let more = tasks.len() > filter.limit as usize;
        tasks.truncate(filter.limit as usize);
        let next = if more { tasks.last().map(|task| (micros(task.created_at), task.id)) } else { None };
        Ok((tasks, next))
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

/// When the newest task of a user was created.
async fn newest(conn: &mut SqliteConnection, user: Uuid) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT created_at FROM tasks WHERE user_id = ? ORDER BY created_at DESC LIMIT 1";
    Ok(sqlx::query_scalar(sql).bind(user).fetch_optional(conn).await?)
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

async fn insert(tx: &mut super::Tx<'_>, new: &NewTask, at: i64) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tasks (id, user_id, hex_id, description, repo_url, repo_name, repo_path, branch, base_branch, \
         base_commit, status, model, agent, source, executor, labels, permission_mode, budget_usd, max_turns, \
         timeout_secs, environment, attempt, created_at, updated_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)",
    )
    .bind(new.id)
    .bind(new.user_id)
    .bind(new.id.simple().to_string())
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
    .bind(new.executor.as_str())
    .bind(to_json(&new.labels)?)
    .bind(new.permission_mode.as_str())
    .bind(new.spec.budget_usd)
    .bind(new.spec.max_turns)
    .bind(new.spec.timeout_secs.map(|secs| i64::try_from(secs).unwrap_or(i64::MAX)))
    .bind(to_json(&new.spec.environment)?)
    .bind(at)
    .bind(at)
    .execute(&mut *tx.conn)
    .await?;
    Ok(())
}

/// The text as the beginning of an id without hyphens, where it can be one.
fn id_prefix(text: &str) -> Option<String> {
    let hex: String = text.chars().filter(|c| *c != '-').collect::<String>().to_lowercase();
    ((1..=32).contains(&hex.len()) && hex.chars().all(|c| c.is_ascii_hexdigit())).then_some(hex)
}

fn escape_like(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
