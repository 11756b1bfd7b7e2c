//! Attempts: claim under a lease, report, end.

use cadence_protocol::{
    AttemptEnd, AttemptSpec, Claim, CommandBody, Decide, Decision, EndReason, EventData, Frame, FrameBody, Lease,
    LiveState, Task, TaskStatus, Timestamp, Usage, WaitingFor,
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
            // Nothing was reported where the agent was ended in its first turn: that is not the same as no cost.
            cost_usd: (usage != Usage::default()).then_some(usage.cost_usd),
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
    async fn withdraw_approvals(&mut self, task: &Task, by: &str) -> Result<(), StoreError> {
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
    async fn leased(&mut self, lease: &Lease) -> Result<(Task, AttemptRow), StoreError> {
        let task = rows::task(self.conn, lease.task_id).await?.ok_or(StoreError::Fenced)?;
        let row = attempt(self.conn, lease.task_id, lease.attempt).await?.ok_or(StoreError::Fenced)?;
        if task.attempt != lease.attempt || row.lease_epoch != lease.epoch || !row.state.is_live() {
            return Err(StoreError::Fenced);
        }
        Ok((task, row))
    }

    /// Stores frames that were not stored yet. Everything that is in one transaction is seen at once or not at all.
    async fn take_frames(&mut self, task: &Task, row: &AttemptRow, frames: Vec<Frame>) -> Result<(), StoreError> {
        let mut last = row.last_source_seq;
        let mut events = Vec::new();
        for frame in frames {
            if frame.source_seq <= last {
                continue;
            }
            last = frame.source_seq;
            let at = super::from_micros(micros(frame.timestamp));
            match frame.body {
                FrameBody::Event { event } if !matches!(event, EventData::ApprovalResolved { .. }) => {
                    self.note_event(task, &event, at).await?;
                    events.push((at, event));
                }
                body => {
                    // Events before a change of state keep their place before it.
                    self.append(task, task.attempt, std::mem::take(&mut events)).await?;
                    self.take_frame(task, body, at).await?;
                }
            }
        }
        self.append(task, task.attempt, events).await?;
        sqlx::query("UPDATE attempts SET last_source_seq = ? WHERE task_id = ? AND number = ?")
            .bind(last as i64)
            .bind(task.id)
            .bind(task.attempt)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    /// What an event changes beside the log.
    async fn note_event(&mut self, task: &Task, event: &EventData, at: Timestamp) -> Result<(), StoreError> {
        match event {
            EventData::ApprovalRequested { approval_id, kind, tool, input, suggestions } => {
                sqlx::query(
                    "INSERT INTO approvals (task_id, id, user_id, attempt, kind, tool, input, suggestions, created_at) \
                     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (task_id, id) DO UPDATE SET \
                     attempt = excluded.attempt, kind = excluded.kind, tool = excluded.tool, input = excluded.input, \
                     suggestions = excluded.suggestions, created_at = excluded.created_at, decision = NULL, \
                     decided_by = NULL, decided_at = NULL",
                )
                .bind(task.id)
                .bind(approval_id)
                .bind(task.user_id)
                .bind(task.attempt)
                .bind(kind.as_str())
                .bind(tool)
                .bind(input.to_string())
                .bind(suggestions.as_ref().map(ToString::to_string))
                .bind(micros(at))
                .execute(&mut *self.conn)
                .await?;
            }
            EventData::Progress { percent, .. } => {
                // 100 is for success alone.
                sqlx::query("UPDATE tasks SET progress = ? WHERE id = ?")
                    .bind((*percent).min(99))
                    .bind(task.id)
                    .execute(&mut *self.conn)
                    .await?;
            }
            EventData::TaskStarted { .. } => {
                sqlx::query("UPDATE tasks SET started_at = coalesce(started_at, ?) WHERE id = ?")
                    .bind(micros(at))
                    .bind(task.id)
                    .execute(&mut *self.conn)
                    .await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn take_frame(&mut self, task: &Task, body: FrameBody, at: Timestamp) -> Result<(), StoreError> {
        self.changes.tasks.insert(task.id);
        match body {
            FrameBody::Event { event: EventData::ApprovalResolved { approval_id, decision, by, .. } } => {
                self.resolve_approval(task, approval_id, decision, &by, None).await?;
            }
            FrameBody::Event { event } => self.append(task, task.attempt, [(at, event)]).await?,
            FrameBody::State { state, waiting_for, resume_at, reason } => {
                sqlx::query("UPDATE tasks SET waiting_for = ?, resume_at = ? WHERE id = ?")
                    .bind(waiting_for.filter(|_| state == LiveState::Waiting).map(WaitingFor::as_str))
                    .bind(resume_at)
                    .bind(task.id)
                    .execute(&mut *self.conn)
                    .await?;
                self.transition(task, state.into(), reason).await?;
            }
            FrameBody::Session { session_id, model } => {
                sqlx::query("UPDATE attempts SET session_id = ? WHERE task_id = ? AND number = ?")
                    .bind(session_id)
                    .bind(task.id)
                    .bind(task.attempt)
                    .execute(&mut *self.conn)
                    .await?;
                sqlx::query("UPDATE tasks SET model = ? WHERE id = ? AND model = ''")
                    .bind(model.unwrap_or_default())
                    .bind(task.id)
                    .execute(&mut *self.conn)
                    .await?;
            }
            FrameBody::Ack { command } => {
                sqlx::query(
                    "UPDATE commands SET acked_at = ? WHERE id = ? AND task_id = ? AND attempt = ? AND acked_at IS NULL",
                )
                .bind(micros(at))
                .bind(command)
                .bind(task.id)
                .bind(task.attempt)
                .execute(&mut *self.conn)
                .await?;
            }
            FrameBody::Usage { usage } => {
                sqlx::query(
                    "UPDATE attempts SET cost_usd = ?, input_tokens = ?, output_tokens = ? WHERE task_id = ? AND number = ?",
                )
                .bind(usage.cost_usd)
                .bind(usage.input_tokens as i64)
                .bind(usage.output_tokens as i64)
                .bind(task.id)
                .bind(task.attempt)
                .execute(&mut *self.conn)
                .await?;
                sqlx::query(
                    "UPDATE tasks SET (cost_usd, input_tokens, output_tokens) = (SELECT sum(cost_usd), \
                     sum(input_tokens), sum(output_tokens) FROM attempts WHERE task_id = tasks.id) WHERE id = ?",
                )
                .bind(task.id)
                .execute(&mut *self.conn)
                .await?;
            }
            FrameBody::Workspace { base_commit, base_branch, branch } => {
                sqlx::query("UPDATE tasks SET base_commit = ?, base_branch = ?, branch = ? WHERE id = ?")
                    .bind(base_commit)
                    .bind(base_branch)
                    .bind(branch)
                    .bind(task.id)
                    .execute(&mut *self.conn)
                    .await?;
            }
        }
        Ok(())
    }
}

impl Store {
    /// Takes the oldest attempt that can be run: one that waits, or one whose runner let its lease expire. What the holder
    /// itself holds it does not take again, however late it is with its heartbeat (a machine that was suspended).
    pub async fn claim(&self, holder: Uuid, lease_secs: u32) -> Result<Option<Claim>, StoreError> {
        self.write(move |tx| Box::pin(async move { claim(tx, holder, lease_secs).await })).await
    }

    /// Ends all leases: for a server that starts, and has the data for itself, so that nobody else runs anything of it.
    pub async fn end_leases(&self) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                sqlx::query(
                    "UPDATE attempts SET lease_until = 0, holder = NULL \
                     WHERE state IN ('pending', 'running', 'waiting', 'paused') AND holder IS NOT NULL",
                )
                .execute(&mut *tx.conn)
                .await?;
                Ok(())
            })
        })
        .await
    }

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

    pub async fn report(&self, lease: Lease, frames: Vec<Frame>) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let (task, row) = tx.leased(&lease).await?;
                tx.take_frames(&task, &row, frames).await
            })
        })
        .await
    }

    pub async fn heartbeat(&self, lease: Lease) -> Result<(), StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                tx.leased(&lease).await?;
                set_lease(tx.conn, &lease, expiry(lease.ttl_secs)).await
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

async fn claim(tx: &mut Tx<'_>, holder: Uuid, lease_secs: u32) -> Result<Option<Claim>, StoreError> {
    // A paused attempt whose runner died stays paused until somebody wants it to go on. The states are named as the index
    // has them, without which every attempt there ever was would be looked at.
    let found = sqlx::query(
        "UPDATE attempts SET lease_epoch = lease_epoch + 1, lease_until = ?1, started_at = coalesce(started_at, ?2), \
         holder = ?3, wanted = 0 \
         WHERE rowid = (SELECT rowid FROM attempts AS a \
             WHERE a.state IN ('pending', 'running', 'waiting', 'paused') AND a.lease_until < ?2 \
                AND a.holder IS NOT ?3 AND (a.state <> 'paused' OR a.wanted) \
             ORDER BY a.created_at LIMIT 1) \
         RETURNING task_id, number, state, prompt, from_session, session_id, lease_epoch, last_source_seq",
    )
    .bind(expiry(lease_secs))
    .bind(micros(now()))
    .bind(holder)
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
        session_id: own.or(row.try_get("from_session")?),
        recovered,
        last_source_seq: number(&row, "last_source_seq")?.unwrap_or_default(),
        usage,
        task: rows::task(tx.conn, task_id).await?.ok_or(StoreError::NotFound("such task"))?,
    }))
}

/// What is left of the task's bounds for this attempt.
async fn spec(conn: &mut SqliteConnection, task: &Task, prompt: String) -> Result<AttemptSpec, StoreError> {
    let row = sqlx::query("SELECT budget_usd, max_turns, timeout_secs, environment FROM tasks WHERE id = ?")
        .bind(task.id)
        .fetch_one(conn)
        .await?;
    let budget: Option<f64> = row.try_get("budget_usd")?;
    let environment: String = row.try_get("environment")?;
    Ok(AttemptSpec {
        prompt,
        permission_mode: task.permission_mode,
        budget_usd: budget.map(|usd| (usd - task.metadata.estimated_cost.unwrap_or_default()).max(0.0)),
        max_turns: row.try_get("max_turns")?,
        timeout_secs: number(&row, "timeout_secs")?,
        environment: serde_json::from_str(&environment).map_err(|e| StoreError::Corrupt(e.to_string()))?,
    })
}

pub(super) async fn attempt(
    conn: &mut SqliteConnection,
    task: Uuid,
    attempt: u32,
) -> Result<Option<AttemptRow>, StoreError> {
    let row = sqlx::query(
        "SELECT state, from_session, session_id, lease_epoch, last_source_seq FROM attempts WHERE task_id = ? AND number = ?",
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
        })
    })
    .transpose()
}

async fn attempt_usage(conn: &mut SqliteConnection, task: Uuid, attempt: u32) -> Result<Usage, StoreError> {
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

async fn set_lease(conn: &mut SqliteConnection, lease: &Lease, until: i64) -> Result<(), StoreError> {
    sqlx::query("UPDATE attempts SET lease_until = ? WHERE task_id = ? AND number = ?")
        .bind(until)
        .bind(lease.task_id)
        .bind(lease.attempt)
        .execute(conn)
        .await?;
    Ok(())
}

fn expiry(ttl_secs: u32) -> i64 {
    micros(now()) + i64::from(ttl_secs) * 1_000_000
}
