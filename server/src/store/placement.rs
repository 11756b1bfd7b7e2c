//! What waits for a runner, and who has how much.

use std::collections::HashMap;

use cadence_protocol::{EventData, Executor};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::rows::{self, optional_word, word};
use super::{Store, StoreError, now};

/// An attempt that somebody may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its place in the order in which attempts came.
    pub number: i64,
    pub task_id: Uuid,
    pub attempt: u32,
    pub user_id: Uuid,
    pub agent: String,
    pub labels: Vec<String>,
    pub repo_url: Option<String>,
    /// It works for a checkout on the server's own machine.
    pub is_local: bool,
    /// Where it was asked to run.
    pub wanted: Option<Executor>,
    /// Where it ran last.
    pub executor: Executor,
    pub machine_id: Option<Uuid>,
    /// Its workspace is there.
    pub pinned: bool,
    /// Somebody has worked on it.
    pub begun: bool,
    /// Who had it last, and has let its lease expire.
    pub holder: Option<Uuid>,
    /// Why it could not run when it was last looked at.
    pub reason: Option<String>,
}

/// Attempts that are held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    pub by_user: HashMap<Uuid, u32>,
    pub by_holder: HashMap<Uuid, u32>,
    /// Users who may spend nothing more in this month, and what there is to say of it.
    pub exhausted: HashMap<Uuid, String>,
}

const CANDIDATE: &str = "a.rowid AS place, a.task_id, a.number, a.user_id, a.holder, t.agent, t.labels, t.repo_url, \
     t.repo_path IS NOT NULL AS is_local, t.wanted_executor, t.executor, t.machine_id, t.pinned, t.pending_reason, \
     a.state <> 'pending' AS begun";

impl Store {
    /// How many attempts users and holders have at work.
    pub async fn loads(&self) -> Result<Loads, StoreError> {
        let rows: Vec<(Uuid, Option<Uuid>, u32)> = sqlx::query_as(
            "SELECT user_id, holder, count(*) FROM attempts \
             WHERE state IN ('pending', 'running', 'waiting', 'paused') AND state IN ('running', 'waiting') \
             GROUP BY user_id, holder",
        )
        .fetch_all(&self.reads)
        .await?;
        let mut loads = Loads { exhausted: self.exhausted().await?, ..Loads::default() };
        for (user, holder, count) in rows {
            *loads.by_user.entry(user).or_default() += count;
            if let Some(holder) = holder {
                *loads.by_holder.entry(holder).or_default() += count;
            }
        }
        Ok(loads)
    }

    /// Users with attempts that wait for their turn.
    pub async fn waiting_users(&self) -> Result<Vec<Uuid>, StoreError> {
        // From one to the next in the index, whatever number of attempts each has.
        Ok(sqlx::query_scalar(
            "WITH RECURSIVE found (user) AS ( \
                 SELECT min(user_id) FROM attempts WHERE state = 'pending' \
                 UNION ALL \
                 SELECT (SELECT min(user_id) FROM attempts WHERE state = 'pending' AND user_id > found.user) \
                 FROM found WHERE found.user IS NOT NULL) \
             SELECT user FROM found WHERE user IS NOT NULL",
        )
        .fetch_all(&self.reads)
        .await?)
    }

    /// A user's attempts that wait for their turn, the oldest first, after the one with this number.
    pub async fn waiting(&self, user: Uuid, after: i64, limit: u32) -> Result<Vec<Candidate>, StoreError> {
        let sql = format!(
            "SELECT {CANDIDATE} FROM attempts AS a CROSS JOIN tasks AS t ON t.id = a.task_id \
             WHERE a.state = 'pending' AND a.user_id = ? AND a.rowid > ? AND a.lease_until < ? \
             ORDER BY a.rowid LIMIT ?"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(user)
            .bind(after)
            .bind(self.steady.micros())
            .bind(limit)
            .fetch_all(&self.reads)
            .await?;
        rows.iter().map(from_row).collect()
    }

    /// Attempts that somebody ran and let go of, or let the lease of expire, the oldest first. A paused one stays paused
    /// until somebody wants it to go on.
    pub async fn orphaned(&self, limit: u32) -> Result<Vec<Candidate>, StoreError> {
        let sql = format!(
            "SELECT {CANDIDATE} FROM attempts AS a CROSS JOIN tasks AS t ON t.id = a.task_id \
             WHERE a.state IN ('pending', 'running', 'waiting', 'paused') \
                AND a.state IN ('running', 'waiting', 'paused') AND a.lease_until < ? \
                AND (a.state <> 'paused' OR a.wanted) ORDER BY a.rowid LIMIT ?"
        );
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(sql)).bind(self.steady.micros()).bind(limit).fetch_all(&self.reads).await?;
        rows.iter().map(from_row).collect()
    }

    /// Notes why tasks cannot run now, or that they can. Why not is also told in the log.
    pub async fn note_reasons(&self, reasons: Vec<(Uuid, Option<String>)>) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                for (id, reason) in reasons {
                    let Some(task) = rows::task(tx.conn, id).await?.filter(|task| task.pending_reason != reason) else {
                        continue;
                    };
                    sqlx::query("UPDATE tasks SET pending_reason = ? WHERE id = ?")
                        .bind(&reason)
                        .bind(id)
                        .execute(&mut *tx.conn)
                        .await?;
                    tx.changes.tasks.insert(id);
                    if let Some(reason) = reason {
                        let told =
                            EventData::Error { message: format!("It cannot run now: {reason}."), recoverable: true };
                        tx.append(&task, task.attempt, [(now(), told)]).await?;
                    }
                }
                Ok(())
            })
        })
        .await
    }
}

fn from_row(row: &SqliteRow) -> Result<Candidate, StoreError> {
    let labels: String = row.try_get("labels")?;
    Ok(Candidate {
        number: row.try_get("place")?,
        task_id: row.try_get("task_id")?,
        attempt: row.try_get("number")?,
        user_id: row.try_get("user_id")?,
        agent: row.try_get("agent")?,
        labels: serde_json::from_str(&labels).map_err(|e| StoreError::Corrupt(e.to_string()))?,
        repo_url: row.try_get("repo_url")?,
        is_local: row.try_get("is_local")?,
        wanted: optional_word(row, "wanted_executor")?,
        executor: word(row, "executor")?,
        machine_id: row.try_get("machine_id")?,
        pinned: row.try_get("pinned")?,
        begun: row.try_get("begun")?,
        holder: row.try_get("holder")?,
        reason: row.try_get("pending_reason")?,
    })
}
