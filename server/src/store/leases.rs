//! Leases: who runs an attempt, until when, and what they are handed.

use std::time::Duration;

use cadence_protocol::{AttemptSpec, BundleSource, Claim, Lease, Task};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::attempts::attempt_usage;
use super::rows::{self, number, word};
use super::{Store, StoreError, Tx, bundles, micros, now};
use crate::state::AttemptState;

impl Store {
    /// Takes the oldest attempt that can be run: one that waits, or one whose runner let its lease expire. What the holder
    /// itself holds it does not take again, however late it is with its heartbeat (a machine that was suspended).
    pub async fn claim(&self, holder: Uuid, lease_secs: u32) -> Result<Option<Claim>, StoreError> {
        let steady = self.steady;
        self.write(move |tx| Box::pin(async move { claim(tx, holder, steady.micros(), lease_secs).await })).await
    }

    /// Ends all leases: for a server that starts, and has the data for itself, so that nobody else runs anything of it. Gives
    /// the attempts, whose processes may still live.
    pub async fn end_leases(&self) -> Result<Vec<(Uuid, u32)>, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let ended = sqlx::query_as(
                    "UPDATE attempts SET lease_until = 0, holder = NULL \
                     WHERE state IN ('pending', 'running', 'waiting', 'paused') AND holder IS NOT NULL \
                     RETURNING task_id, number",
                )
                .fetch_all(&mut *tx.conn)
                .await?;
                Ok(ended)
            })
        })
        .await
    }

    /// Extends the lease, and keeps how long the attempt has worked so far.
    pub async fn heartbeat(&self, lease: Lease, worked: Duration) -> Result<(), StoreError> {
        let steady = self.steady;
        self.write(move |tx| {
            Box::pin(async move {
                tx.leased(&lease).await?;
                set_lease(tx.conn, &lease, steady.micros(), worked).await
            })
        })
        .await
    }

    /// Lets an attempt go on where it was: the next who claims it continues it.
    pub async fn release(&self, lease: Lease) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let (task, _) = tx.leased(&lease).await?;
                sqlx::query("UPDATE attempts SET lease_until = 0, holder = NULL WHERE task_id = ? AND number = ?")
                    .bind(lease.task_id)
                    .bind(lease.attempt)
                    .execute(&mut *tx.conn)
                    .await?;
                tx.changes.work = true;
                tx.changes.tasks.insert(task.id);
                Ok(())
            })
        })
        .await
    }
}

async fn claim(tx: &mut Tx<'_>, holder: Uuid, at: i64, lease_secs: u32) -> Result<Option<Claim>, StoreError> {
    // A paused attempt whose runner died stays paused until somebody wants it to go on. The states are named as the index
    // has them, without which every attempt there ever was would be looked at. The oldest is the one that was stored first,
    // whatever the clock on the wall showed then.
    let found = sqlx::query(
        "UPDATE attempts SET lease_epoch = lease_epoch + 1, lease_until = ?1, started_at = coalesce(started_at, ?4), \
         holder = ?3, wanted = 0 \
         WHERE (task_id, number) = (SELECT a.task_id, a.number FROM attempts AS a \
             WHERE a.state IN ('pending', 'running', 'waiting', 'paused') AND a.lease_until < ?2 \
                AND a.holder IS NOT ?3 AND (a.state <> 'paused' OR a.wanted) \
             ORDER BY a.rowid LIMIT 1) \
         RETURNING task_id, number, state, prompt, from_session, session_id, launched, lease_epoch, last_source_seq, worked_ms",
    )
    .bind(expiry(at, lease_secs))
    .bind(at)
    .bind(holder)
    .bind(micros(now()))
    .fetch_optional(&mut *tx.conn)
    .await?;
    let Some(row) = found else { return Ok(None) };
    let task_id: Uuid = row.try_get("task_id")?;
    let task = rows::task(tx.conn, task_id).await?.ok_or(StoreError::NotFound("such task"))?;
    let was: AttemptState = word(&row, "state")?;
    let recovered = was != AttemptState::Pending;
    if recovered {
        tx.withdraw_approvals(&task, "server").await?;
    }
    if was != AttemptState::Paused {
        sqlx::query("UPDATE tasks SET waiting_for = NULL, resume_at = NULL WHERE id = ?")
            .bind(task_id)
            .execute(&mut *tx.conn)
            .await?;
        let reason = recovered.then(|| "continued after what ran it was gone".to_owned());
        tx.transition(&task, AttemptState::Running, reason).await?;
    }
    let usage = attempt_usage(tx.conn, task_id, task.attempt).await?;
    let spec = spec(tx.conn, &task, row.try_get("prompt")?).await?;
    let own: Option<String> = row.try_get("session_id")?;
    Ok(Some(Claim {
        lease: Lease {
            task_id,
            attempt: row.try_get("number")?,
            epoch: number(&row, "lease_epoch")?.unwrap_or_default(),
            ttl_secs: lease_secs,
        },
        spec,
        begun: own.is_some(),
        launched: row.try_get("launched")?,
        session_id: own.or(row.try_get("from_session")?),
        recovered,
        last_source_seq: number(&row, "last_source_seq")?.unwrap_or_default(),
        usage,
        worked_ms: number(&row, "worked_ms")?.unwrap_or_default(),
        task: rows::task(tx.conn, task_id).await?.ok_or(StoreError::NotFound("such task"))?,
    }))
}

/// What is left of the task's bounds for this attempt.
async fn spec(conn: &mut SqliteConnection, task: &Task, prompt: String) -> Result<AttemptSpec, StoreError> {
    let row = sqlx::query(
        "SELECT budget_usd, max_turns, timeout_secs, environment, bundle_id, bundles.root AS root FROM tasks \
         LEFT JOIN bundles ON bundles.id = tasks.bundle_id WHERE tasks.id = ?",
    )
    .bind(task.id)
    .fetch_one(conn)
    .await?;
    let budget: Option<f64> = row.try_get("budget_usd")?;
    let environment: String = row.try_get("environment")?;
    let bundle: Option<Uuid> = row.try_get("bundle_id")?;
    let root: Option<String> = row.try_get("root")?;
    Ok(AttemptSpec {
        prompt,
        permission_mode: task.permission_mode,
        budget_usd: budget.map(|usd| (usd - task.metadata.estimated_cost.unwrap_or_default()).max(0.0)),
        max_turns: row.try_get("max_turns")?,
        timeout_secs: number(&row, "timeout_secs")?,
        environment: serde_json::from_str(&environment).map_err(|e| StoreError::Corrupt(e.to_string()))?,
        bundle: bundle.map(|id| BundleSource { id, repository: bundles::repository(task.user_id, root.as_deref()) }),
    })
}

async fn set_lease(conn: &mut SqliteConnection, lease: &Lease, at: i64, worked: Duration) -> Result<(), StoreError> {
    sqlx::query("UPDATE attempts SET lease_until = ?, worked_ms = max(worked_ms, ?) WHERE task_id = ? AND number = ?")
        .bind(expiry(at, lease.ttl_secs))
        .bind(i64::try_from(worked.as_millis()).unwrap_or(i64::MAX))
        .bind(lease.task_id)
        .bind(lease.attempt)
        .execute(conn)
        .await?;
    Ok(())
}

/// When a lease expires, on the steady clock of the server that gave it: nobody's expires because the clock on the wall was
/// set. What an earlier server gave was ended when this one started.
const fn expiry(at: i64, ttl_secs: u32) -> i64 {
    at + ttl_secs as i64 * 1_000_000
}
