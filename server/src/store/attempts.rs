//! Attempts: their states, and their one end.

use cadence_protocol::{
    AttemptEnd, CommandBody, Decide, Decision, EndReason, EventData, Frame, FrameBody, Lease, Task, TaskStatus, Usage,
};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::commands::open_bodies;
use super::rows::{self, number, word};
use super::{Store, StoreError, Tx, micros, now};
use crate::state::{self, AttemptState};

/// An attempt as the queue sees it.
#[derive(Clone, Debug)]
pub struct AttemptRow {
    pub state: AttemptState,
    from_session: Option<String>,
    session_id: Option<String>,
    pub lease_epoch: u64,
    pub last_source_seq: u64,
    /// Who has it, or had it last and let its lease expire.
    pub holder: Option<Uuid>,
}

impl AttemptRow {
    /// The agent's session to go on with.
    pub fn session(self) -> Option<String> {
        self.session_id.or(self.from_session)
    }
}

impl Tx<'_> {
    /// The newest attempt of a task.
    pub(crate) async fn attempt(&mut self, task: &Task) -> Result<AttemptRow, StoreError> {
        attempt(self.conn, task.id, task.attempt).await?.ok_or(StoreError::NotFound("such attempt"))
    }

    /// Brings an attempt into a state, and the task's status with it; a changed status becomes an event.
    pub(crate) async fn transition(
        &mut self,
        task: &Task,
        to: AttemptState,
        reason: Option<String>,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE attempts SET state = ? WHERE task_id = ? AND number = ?")
            .bind(to.as_str())
            .bind(task.id)
            .bind(task.attempt)
            .execute(&mut *self.conn)
            .await?;
        let from: TaskStatus = sqlx::query_scalar::<_, String>("SELECT status FROM tasks WHERE id = ?")
            .bind(task.id)
            .fetch_one(&mut *self.conn)
            .await?
            .parse()
            .map_err(StoreError::Corrupt)?;
        let status = state::status(to, task.pr_state);
        self.changes.tasks.insert(task.id);
        if status == from {
            return Ok(());
        }
        sqlx::query("UPDATE tasks SET status = ?, updated_at = ? WHERE id = ?")
            .bind(status.as_str())
            .bind(micros(now()))
            .bind(task.id)
            .execute(&mut *self.conn)
            .await?;
        self.append(task, task.attempt, [(now(), EventData::StatusChanged { from, to: status, reason })]).await
    }

    /// Begins a new attempt of an ended task.
    pub(crate) async fn new_attempt(
        &mut self,
        task: &Task,
        prompt: &str,
        session_id: Option<String>,
        reason: &str,
    ) -> Result<(), StoreError> {
        let next = task.attempt + 1;
        sqlx::query(
            "INSERT INTO attempts (task_id, number, user_id, state, prompt, from_session, created_at) \
             VALUES (?, ?, ?, 'pending', ?, ?, ?)",
        )
        .bind(task.id)
        .bind(next)
        .bind(task.user_id)
        .bind(prompt)
        .bind(session_id)
        .bind(micros(now()))
        .execute(&mut *self.conn)
        .await?;
        sqlx::query(
            "UPDATE tasks SET attempt = ?, end_reason = NULL, error = NULL, output = NULL, completed_at = NULL, \
             progress = 0, waiting_for = NULL, resume_at = NULL WHERE id = ?",
        )
        .bind(next)
        .bind(task.id)
        .execute(&mut *self.conn)
        .await?;
        self.changes.work = true;
        let task = Task { attempt: next, ..task.clone() };
        self.transition(&task, AttemptState::Pending, Some(reason.to_owned())).await
    }

    /// Ends a live attempt: withdraws what waits, stores its one `task_completed` and the new status.
    pub(crate) async fn end_attempt(&mut self, task: &Task, end: AttemptEnd) -> Result<(), StoreError> {
        let at = now();
        self.withdraw_approvals(task, "server").await?;
        let usage = attempt_usage(self.conn, task.id, task.attempt).await?;
        let success = end.reason == EndReason::Done;
        let completed = EventData::TaskCompleted {
            success,
            summary: end.summary.clone(),
            reason: end.reason,
            pr_url: task.pr_url.clone(),
            // Where nothing was reported, or tokens without a price, it is not known: that is not the same as no cost.
            cost_usd: (usage.cost_usd > 0.0).then_some(usage.cost_usd),
        };
        self.append(task, task.attempt, [(at, completed)]).await?;
        sqlx::query(
            "UPDATE attempts SET ended_at = ?, end_reason = ?, lease_until = 0, holder = NULL WHERE task_id = ? AND number = ?",
        )
        .bind(micros(at))
        .bind(end.reason.as_str())
        .bind(task.id)
        .bind(task.attempt)
        .execute(&mut *self.conn)
        .await?;
        sqlx::query(
            "UPDATE tasks SET end_reason = ?, output = ?, error = ?, completed_at = ?, waiting_for = NULL, \
             resume_at = NULL, progress = CASE WHEN ? THEN 100 ELSE min(progress, 99) END WHERE id = ?",
        )
        .bind(end.reason.as_str())
        .bind(success.then(|| end.summary.clone()))
        .bind((!success).then(|| end.summary.clone()))
        .bind(micros(at))
        .bind(success)
        .bind(task.id)
        .execute(&mut *self.conn)
        .await?;
        if let Some(changes) = end.changes {
            sqlx::query("UPDATE tasks SET files_changed = ?, lines_added = ?, lines_removed = ? WHERE id = ?")
                .bind(changes.files as i64)
                .bind(changes.added as i64)
                .bind(changes.removed as i64)
                .bind(task.id)
                .execute(&mut *self.conn)
                .await?;
        }
        self.transition(task, AttemptState::ended(end.reason), None).await
    }

    /// Resolves what waits for a person and cannot be answered any more.
    pub(super) async fn withdraw_approvals(&mut self, task: &Task, by: &str) -> Result<(), StoreError> {
        let open: Vec<String> =
            sqlx::query_scalar("SELECT id FROM approvals WHERE task_id = ? AND decision IS NULL ORDER BY created_at")
                .bind(task.id)
                .fetch_all(&mut *self.conn)
                .await?;
        for approval_id in open {
            self.resolve_approval(task, approval_id, Decision::Withdrawn, by, None).await?;
        }
        Ok(())
    }

    pub(crate) async fn resolve_approval(
        &mut self,
        task: &Task,
        approval_id: String,
        decision: Decision,
        by: &str,
        answer: Option<Decide>,
    ) -> Result<bool, StoreError> {
        let at = now();
        let done = sqlx::query(
            "UPDATE approvals SET decision = ?, decided_by = ?, decided_at = ? \
             WHERE task_id = ? AND id = ? AND decision IS NULL",
        )
        .bind(decision.as_str())
        .bind(by)
        .bind(micros(at))
        .bind(task.id)
        .bind(&approval_id)
        .execute(&mut *self.conn)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        let resolved =
            EventData::ApprovalResolved { approval_id, decision, by: by.to_owned(), answer: answer.map(Box::new) };
        self.append(task, task.attempt, [(at, resolved)]).await?;
        Ok(true)
    }

    /// The task of a lease that still holds.
    pub(super) async fn leased(&mut self, lease: &Lease) -> Result<(Task, AttemptRow), StoreError> {
        let task = rows::task(self.conn, lease.task_id).await?.ok_or(StoreError::Fenced)?;
        let row = attempt(self.conn, lease.task_id, lease.attempt).await?.ok_or(StoreError::Fenced)?;
        if task.attempt != lease.attempt || row.lease_epoch != lease.epoch || !row.state.is_live() {
            return Err(StoreError::Fenced);
        }
        Ok((task, row))
    }
}

impl Store {
    /// How many attempts wait for a runner or are run; paused ones need nothing.
    pub async fn busy_attempts(&self) -> Result<u64, StoreError> {
        let n: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM attempts \
             WHERE state IN ('pending', 'running', 'waiting', 'paused') AND state <> 'paused'",
        )
        .fetch_one(&self.reads)
        .await?;
        Ok(n.unsigned_abs())
    }

    /// Takes in what a runner tells. Where that spends the user's month, everything that runs for him is ordered to end.
    pub async fn report(&self, lease: Lease, frames: Vec<Frame>) -> Result<(), StoreError> {
        let limit = self.month_usd.filter(|_| frames.iter().any(|f| matches!(f.body, FrameBody::Usage { .. })));
        self.write(move |tx| {
            Box::pin(async move {
                let (task, row) = tx.leased(&lease).await?;
                tx.take_frames(&task, &row, frames).await?;
                match limit {
                    Some(limit) => tx.keep_month(task.user_id, limit).await,
                    None => Ok(()),
                }
            })
        })
        .await
    }

    /// Ends the attempt. Follow-ups that came too late for it begin a new one; a repeat is harmless.
    pub async fn finish(&self, lease: Lease, mut end: AttemptEnd) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let (task, _) = tx.leased(&lease).await?;
                let open = open_bodies(tx.conn, task.id, task.attempt).await?;
                let cancel = open.iter().find_map(|body| match body {
                    CommandBody::Cancel { reason } => Some(format!("Cancelled {reason}.")),
                    _ => None,
                });
                // Whoever cancelled was told that it is; that the work was done at that very moment changes nothing.
                if let Some(summary) = cancel.filter(|_| end.reason != EndReason::Cancelled) {
                    end = AttemptEnd { reason: EndReason::Cancelled, summary, ..end };
                }
                let late: Vec<String> = open
                    .into_iter()
                    .filter_map(|body| match body {
                        CommandBody::Message { text, .. } | CommandBody::Resume { text: Some(text) } => Some(text),
                        _ => None,
                    })
                    .filter(|_| end.reason != EndReason::Cancelled)
                    .collect();
                tx.end_attempt(&task, end).await?;
                if !late.is_empty() {
                    let task = rows::owned(tx.conn, task.user_id, task.id).await?;
                    let session = tx.attempt(&task).await?.session();
                    tx.new_attempt(&task, &late.join("\n\n"), session, "a follow-up came as the attempt ended").await?;
                }
                super::commands::close(tx.conn, task.id, task.attempt).await
            })
        })
        .await
    }
}

pub(super) async fn attempt(
    conn: &mut SqliteConnection,
    task: Uuid,
    attempt: u32,
) -> Result<Option<AttemptRow>, StoreError> {
    let row = sqlx::query(
        "SELECT state, from_session, session_id, lease_epoch, last_source_seq, holder FROM attempts WHERE task_id = ? AND number = ?",
    )
    .bind(task)
    .bind(attempt)
    .fetch_optional(conn)
    .await?;
    row.map(|row| {
        Ok(AttemptRow {
            state: word(&row, "state")?,
            from_session: row.try_get("from_session")?,
            session_id: row.try_get("session_id")?,
            lease_epoch: number(&row, "lease_epoch")?.unwrap_or_default(),
            last_source_seq: number(&row, "last_source_seq")?.unwrap_or_default(),
            holder: row.try_get("holder")?,
        })
    })
    .transpose()
}

pub(super) async fn attempt_usage(conn: &mut SqliteConnection, task: Uuid, attempt: u32) -> Result<Usage, StoreError> {
    let row =
        sqlx::query("SELECT cost_usd, input_tokens, output_tokens FROM attempts WHERE task_id = ? AND number = ?")
            .bind(task)
            .bind(attempt)
            .fetch_one(conn)
            .await?;
    Ok(Usage {
        cost_usd: row.try_get("cost_usd")?,
        input_tokens: number(&row, "input_tokens")?.unwrap_or_default(),
        output_tokens: number(&row, "output_tokens")?.unwrap_or_default(),
    })
}
