//! Leases: who runs an attempt, until when, and what they are handed.

use std::time::Duration;

use cadence_protocol::{AttemptSpec, BundleSource, Claim, Executor, Lease, Task, WaitingFor};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::attempts::attempt_usage;
use super::rows::{self, number, optional_word, word};
use super::spending::budget;
use super::{Store, StoreError, Tx, bundles, micros, now};
use crate::state::AttemptState;

/// Who takes an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Taker {
    pub holder: Uuid,
    pub executor: Executor,
    /// None: the server's own.
    pub machine_id: Option<Uuid>,
    /// Seconds from one heartbeat to the expiry.
    pub lease_secs: u32,
}

impl Store {
    /// Takes the oldest attempt that can be run on the server's own machine: one that waits, or one whose runner let its
    /// lease expire. What the holder itself holds it does not take again.
    pub async fn claim(&self, holder: Uuid, lease_secs: u32) -> Result<Option<Claim>, StoreError> {
        let taker = Taker { holder, executor: Executor::Local, machine_id: None, lease_secs };
        // Others may be faster with all that was found.
        for _ in 0..100 {
            let mut found = self.orphaned(u32::MAX).await?;
            for user in self.waiting_users().await? {
                found.extend(self.waiting(user, 0, 100).await?);
            }
            found.retain(|candidate| candidate.holder != Some(holder) && candidate.machine_id.is_none());
            found.sort_by_key(|candidate| candidate.number);
            if found.is_empty() {
                break;
            }
            for candidate in found {
                if let Some(claim) = self.claim_attempt(candidate.task_id, candidate.attempt, taker).await? {
                    return Ok(Some(claim));
                }
            }
        }
        Ok(None)
    }

    /// Takes this attempt, where nobody has it (any more).
    pub async fn claim_attempt(&self, task: Uuid, attempt: u32, taker: Taker) -> Result<Option<Claim>, StoreError> {
        let (steady, limit) = (self.steady, self.month_usd);
        self.write(move |tx| Box::pin(async move { claim(tx, (task, attempt), taker, steady.micros(), limit).await }))
            .await
    }

    /// Ends the leases that the server's own machine had: for a server that starts, and has the data for itself, so that
    /// nobody else runs anything of it. Gives the attempts, whose processes may still live. Machines go on, and have as
    /// long as a lease lasts to come back.
    pub async fn end_leases(&self, lease_secs: u32) -> Result<Vec<(Uuid, u32)>, StoreError> {
        let until = expiry(self.steady.micros(), lease_secs);
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query("UPDATE attempts SET lease_until = ? WHERE holder IN (SELECT id FROM machines)")
                    .bind(until)
                    .execute(&mut *tx.conn)
                    .await?;
                let ended = sqlx::query_as(
                    "UPDATE attempts SET lease_until = 0, holder = NULL \
                     WHERE state IN ('pending', 'running', 'waiting', 'paused') AND holder IS NOT NULL \
                        AND holder NOT IN (SELECT id FROM machines) \
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
                let (task, _) = tx.leased(&lease).await?;
                tx.count_work(&task, lease.attempt, worked).await?;
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

    /// Gives an attempt back of which nothing has begun: anybody may have it.
    pub async fn decline(&self, lease: Lease, reason: String) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let (task, _) = tx.leased(&lease).await?;
                sqlx::query("UPDATE attempts SET lease_until = 0, holder = NULL WHERE task_id = ? AND number = ?")
                    .bind(lease.task_id)
                    .bind(lease.attempt)
                    .execute(&mut *tx.conn)
                    .await?;
                sqlx::query("UPDATE tasks SET pinned = 0 WHERE id = ?").bind(task.id).execute(&mut *tx.conn).await?;
                tx.changes.work = true;
                tx.transition(&task, AttemptState::Pending, Some(reason)).await
            })
        })
        .await
    }
}

async fn claim(
    tx: &mut Tx<'_>,
    (task_id, attempt): (Uuid, u32),
    taker: Taker,
    at: i64,
    month_usd: Option<f64>,
) -> Result<Option<Claim>, StoreError> {
    if let Some(limit) = month_usd {
        // One that nobody has begun is not begun, so that it does not end for money that it has not spent.
        let waits: Option<Uuid> =
            sqlx::query_scalar("SELECT user_id FROM attempts WHERE task_id = ? AND number = ? AND state = 'pending'")
                .bind(task_id)
                .bind(attempt)
                .fetch_optional(&mut *tx.conn)
                .await?;
        if let Some(user) = waits
            && budget(tx.conn, user, limit).await?.is_spent()
        {
            return Ok(None);
        }
    }
    // A paused attempt whose runner died stays paused until somebody wants it to go on.
    let found = sqlx::query(
        "UPDATE attempts SET lease_epoch = lease_epoch + 1, lease_until = ?1, started_at = coalesce(started_at, ?4), \
         holder = ?3, wanted = 0 \
         WHERE task_id = ?5 AND number = ?6 AND state IN ('pending', 'running', 'waiting', 'paused') \
            AND lease_until < ?2 AND holder IS NOT ?3 AND (state <> 'paused' OR wanted) \
         RETURNING task_id, number, state, prompt, from_session, session_id, launched, lease_epoch, last_source_seq, worked_ms",
    )
    .bind(expiry(at, taker.lease_secs))
    .bind(at)
    .bind(taker.holder)
    .bind(micros(now()))
    .bind(task_id)
    .bind(attempt)
    .fetch_optional(&mut *tx.conn)
    .await?;
    let Some(row) = found else { return Ok(None) };
    let was: AttemptState = word(&row, "state")?;
    let epoch = number(&row, "lease_epoch")?.unwrap_or_default();
    // What is at an endpoint runs there whatever becomes of this server, and so is nobody else's.
    sqlx::query(
        "UPDATE tasks SET executor = ?, machine_id = ?, pending_reason = NULL, pinned = pinned OR ? WHERE id = ?",
    )
    .bind(taker.executor.as_str())
    .bind(taker.machine_id)
    .bind(taker.executor == Executor::Sse)
    .bind(task_id)
    .execute(&mut *tx.conn)
    .await?;
    let task = rows::task(tx.conn, task_id).await?.ok_or(StoreError::NotFound("such task"))?;
    if (attempt, epoch) == (1, 1) {
        tx.count_task(task.user_id).await?;
    }
    let recovered = was != AttemptState::Pending;
    if recovered {
        tx.withdraw_approvals(&task, "server").await?;
    }
    // One that waits for a rate limit waits on: whoever takes it does not ask before that has passed.
    let parked = was == AttemptState::Waiting
        && task.waiting_for == Some(WaitingFor::RateLimit)
        && task.resume_at.is_some_and(|until| until > now());
    if was != AttemptState::Paused && !parked {
        sqlx::query("UPDATE tasks SET waiting_for = NULL, resume_at = NULL WHERE id = ?")
            .bind(task_id)
            .execute(&mut *tx.conn)
            .await?;
        let reason = recovered.then(|| "continued after what ran it was gone".to_owned());
        tx.transition(&task, AttemptState::Running, reason).await?;
    }
    let usage = attempt_usage(tx.conn, task_id, task.attempt).await?;
    let month = match month_usd {
        Some(limit) => Some(budget(tx.conn, task.user_id, limit).await?),
        None => None,
    };
    let spec = AttemptSpec { month, ..spec(tx.conn, &task, row.try_get("prompt")?).await? };
    let own: Option<String> = row.try_get("session_id")?;
    Ok(Some(Claim {
        lease: Lease { task_id, attempt: row.try_get("number")?, epoch, ttl_secs: taker.lease_secs },
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
        "SELECT budget_usd, max_turns, timeout_secs, sandbox, environment, bundle_id, bundles.root AS root FROM tasks \
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
        sandbox: optional_word(&row, "sandbox")?,
        budget_usd: budget.map(|usd| usd - task.metadata.estimated_cost.unwrap_or_default()),
        max_turns: row.try_get("max_turns")?,
        timeout_secs: number(&row, "timeout_secs")?,
        month: None,
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
pub(super) const fn expiry(at: i64, ttl_secs: u32) -> i64 {
    at + ttl_secs as i64 * 1_000_000
}
