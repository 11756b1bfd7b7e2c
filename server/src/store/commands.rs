//! Commands to running attempts, and the approvals that they answer.

use cadence_protocol::{
    Approval, AttemptEnd, Command, CommandBody, Decide, Decision, DecisionRequest, EndReason, EventData, Executor,
    Task, TaskStatus,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::changes::to_json;
use super::rows::{self, optional_word, word};
use super::spending::begins;
use super::{Principal, Store, StoreError, Tx, from_micros, micros, now};
use crate::state::AttemptState;

impl Tx<'_> {
    /// Lets an attempt be claimed although it is paused.
    async fn want(&mut self, task: &Task) -> Result<(), StoreError> {
        sqlx::query("UPDATE attempts SET wanted = 1 WHERE task_id = ? AND number = ?")
            .bind(task.id)
            .bind(task.attempt)
            .execute(&mut *self.conn)
            .await?;
        Ok(())
    }

    pub(super) async fn command(&mut self, task: &Task, body: &CommandBody) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO commands (id, task_id, attempt, user_id, body, created_at) VALUES (?, ?, ?, ?, ?, ?)")
            .bind(Uuid::new_v4())
            .bind(task.id)
            .bind(task.attempt)
            .bind(task.user_id)
            .bind(to_json(body)?)
            .bind(micros(now()))
            .execute(&mut *self.conn)
            .await?;
        self.changes.commands.insert(task.id);
        // A paused attempt that nobody runs is claimed for it.
        self.changes.work = true;
        Ok(())
    }
}

/// What cannot follow from the status that a task has.
fn refuse<T>(task: &Task, verb: &str) -> Result<T, StoreError> {
    Err(StoreError::Conflict(format!("a task that is {} cannot be {verb}", task.status)))
}

impl Store {
    /// Interrupts a running task; one that waits for its turn is held back.
    pub async fn pause(&self, who: Principal, id: Uuid) -> Result<Task, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let task = rows::owned(tx.conn, who.user_id, id).await?;
                match task.status {
                    TaskStatus::Pending => tx.transition(&task, AttemptState::Paused, Some(by(&who))).await?,
                    TaskStatus::Running | TaskStatus::Waiting if task.executor == Executor::Sse => {
                        return Err(StoreError::Conflict(
                            "a task that runs at an endpoint cannot be paused; it can be cancelled".into(),
                        ));
                    }
                    TaskStatus::Running | TaskStatus::Waiting => tx.command(&task, &CommandBody::Pause).await?,
                    TaskStatus::Paused => {}
                    _ => return refuse(&task, "paused"),
                }
                rows::owned(tx.conn, who.user_id, id).await
            })
        })
        .await
    }

    /// Lets a paused task go on, with a message where there is one.
    pub async fn resume(&self, who: Principal, id: Uuid, text: Option<String>) -> Result<Task, StoreError> {
        let limit = self.month_usd;
        self.write(move |tx| {
            Box::pin(async move {
                let task = rows::owned(tx.conn, who.user_id, id).await?;
                if begins(task.status) {
                    tx.require_money(who.user_id, limit).await?;
                }
                match task.status {
                    TaskStatus::Paused => resume(tx, &who, &task, text).await?,
                    // A pause that is still on its way is followed by this resume.
                    TaskStatus::Running | TaskStatus::Waiting => tell(tx, &who, &task, text, true).await?,
                    TaskStatus::Pending if text.is_none() => {}
                    _ => return refuse(&task, "resumed"),
                }
                rows::owned(tx.conn, who.user_id, id).await
            })
        })
        .await
    }

    /// Stops a task for good.
    pub async fn cancel(&self, who: Principal, id: Uuid) -> Result<Task, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let task = rows::owned(tx.conn, who.user_id, id).await?;
                let reason = by(&who);
                if task.status == TaskStatus::Cancelled {
                    return Ok(task);
                }
                if task.status.is_end() {
                    return refuse(&task, "cancelled");
                }
                let attempt = tx.attempt(&task).await?;
                if task.executor == Executor::Sse && attempt.holder.is_none() {
                    // Nothing of it is here that would have to be brought home, and its endpoint may never be back.
                    let mut summary = format!("Cancelled {reason}.");
                    if attempt.lease_epoch > 0 && task.status != TaskStatus::Pending {
                        summary.push_str(" Its endpoint could not be told, and may go on.");
                    }
                    tx.end_attempt(&task, AttemptEnd::new(EndReason::Cancelled, summary)).await?;
                    close(tx.conn, task.id, task.attempt).await?;
                } else if attempt.lease_epoch > 0 {
                    // Also where nobody runs it now: whoever claims it for this brings home what the agent did.
                    tx.want(&task).await?;
                    tx.command(&task, &CommandBody::Cancel { reason }).await?;
                } else {
                    tx.end_attempt(&task, AttemptEnd::new(EndReason::Cancelled, format!("Cancelled {reason}.")))
                        .await?;
                    close(tx.conn, task.id, task.attempt).await?;
                }
                rows::owned(tx.conn, who.user_id, id).await
            })
        })
        .await
    }

    /// A follow-up: to the running agent, or as a new attempt in its session where the last one has ended.
    pub async fn message(&self, who: Principal, id: Uuid, text: String) -> Result<Task, StoreError> {
        let limit = self.month_usd;
        self.write(move |tx| {
            Box::pin(async move {
                let task = rows::owned(tx.conn, who.user_id, id).await?;
                if task.archived_at.is_some() {
                    return Err(StoreError::Conflict("an archived task takes no message; unarchive it first".into()));
                }
                if begins(task.status) {
                    tx.require_money(who.user_id, limit).await?;
                }
                if task.status == TaskStatus::Paused {
                    resume(tx, &who, &task, Some(text)).await?;
                } else if task.status.is_end() {
                    let session = tx.attempt(&task).await?.session();
                    let message = EventData::Message { text: text.clone(), from: who.name.clone() };
                    tx.append(&task, task.attempt + 1, [(now(), message)]).await?;
                    tx.new_attempt(&task, &text, session, "a follow-up").await?;
                } else {
                    tell(tx, &who, &task, Some(text), false).await?;
                }
                rows::owned(tx.conn, who.user_id, id).await
            })
        })
        .await
    }

    /// Begins an ended task anew: the first request, in a new session, on the branch as it is.
    pub async fn restart(&self, who: Principal, id: Uuid) -> Result<Task, StoreError> {
        let limit = self.month_usd;
        self.write(move |tx| {
            Box::pin(async move {
                let task = rows::owned(tx.conn, who.user_id, id).await?;
                if !task.status.is_end() {
                    return refuse(&task, "restarted; cancel it first");
                }
                if task.archived_at.is_some() {
                    return Err(StoreError::Conflict(
                        "an archived task cannot be restarted; unarchive it first".into(),
                    ));
                }
                tx.require_money(who.user_id, limit).await?;
                tx.new_attempt(&task, &task.task_description, None, &format!("restarted {}", by(&who))).await?;
                rows::owned(tx.conn, who.user_id, id).await
            })
        })
        .await
    }

    /// Answers an approval; the first answer counts.
    pub async fn decide(
        &self,
        who: Principal,
        id: Uuid,
        approval: String,
        decide: Decide,
    ) -> Result<Approval, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let task = rows::owned(tx.conn, who.user_id, id).await?;
                let found = read_approval(tx.conn, id, &approval).await?;
                if let Some(decision) = found.decision {
                    let by = found.by.as_deref().unwrap_or("somebody");
                    return Err(StoreError::Conflict(format!("it was already answered: {decision}, by {by}")));
                }
                let decision = if decide.decision == DecisionRequest::Deny { Decision::Deny } else { Decision::Allow };
                tx.resolve_approval(&task, approval.clone(), decision, &who.name, Some(decide.clone())).await?;
                let body = CommandBody::Approval {
                    approval_id: approval.clone(),
                    decision,
                    always: decide.decision == DecisionRequest::AllowAlways,
                    updated_input: decide.updated_input,
                    answers: decide.answers,
                    message: decide.message,
                    by: who.name,
                };
                tx.command(&task, &body).await?;
                read_approval(tx.conn, id, &approval).await
            })
        })
        .await
    }

    /// One approval, answered or not.
    pub async fn approval(&self, user: Uuid, task: Uuid, id: &str) -> Result<Approval, StoreError> {
        let mut conn = self.reads.acquire().await?;
        rows::owned(&mut conn, user, task).await?;
        read_approval(&mut conn, task, id).await
    }

    /// What waits for a person, oldest first; of one task where it is given.
    pub async fn approvals(&self, user: Uuid, task: Option<Uuid>) -> Result<Vec<Approval>, StoreError> {
        let rows = sqlx::query(
            "SELECT * FROM approvals WHERE user_id = ?1 AND decision IS NULL AND (?2 IS NULL OR task_id = ?2) \
             ORDER BY created_at LIMIT 1000",
        )
        .bind(user)
        .bind(task)
        .fetch_all(&self.reads)
        .await?;
        rows.iter().map(approval_from_row).collect()
    }

    /// Approvals whose ids begin so, decided or not, the newest first: at most 100.
    pub async fn approvals_by_id(&self, user: Uuid, prefix: String) -> Result<Vec<Approval>, StoreError> {
        // Ids are the agents' own words: nothing in them stands for something else, as it would with LIKE.
        let end = format!("{prefix}\u{10ffff}");
        let rows = sqlx::query(
            "SELECT * FROM approvals WHERE user_id = ? AND id >= ? AND id < ? ORDER BY created_at DESC LIMIT 100",
        )
        .bind(user)
        .bind(prefix)
        .bind(end)
        .fetch_all(&self.reads)
        .await?;
        rows.iter().map(approval_from_row).collect()
    }

    /// Commands that an attempt has not acknowledged, in the order in which they were given.
    pub async fn open_commands(&self, task: Uuid, attempt: u32) -> Result<Vec<Command>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, body FROM commands WHERE task_id = ? AND attempt = ? AND acked_at IS NULL ORDER BY number",
        )
        .bind(task)
        .bind(attempt)
        .fetch_all(&self.reads)
        .await?;
        rows.iter()
            .map(|row| {
                let body: String = row.try_get("body")?;
                let body = serde_json::from_str(&body).map_err(|e| StoreError::Corrupt(e.to_string()))?;
                Ok(Command { id: row.try_get("id")?, task_id: task, attempt, body })
            })
            .collect()
    }
}

fn by(who: &Principal) -> String {
    format!("by {}", who.name)
}

async fn resume(tx: &mut Tx<'_>, who: &Principal, task: &Task, text: Option<String>) -> Result<(), StoreError> {
    if tx.attempt(task).await?.lease_epoch == 0 {
        // Held back before anything ran.
        tx.transition(task, AttemptState::Pending, Some(by(who))).await?;
        tx.changes.work = true;
        return match text {
            Some(_) => tell(tx, who, task, text, false).await,
            None => Ok(()),
        };
    }
    tx.want(task).await?;
    tell(tx, who, task, text, true).await
}

/// Orders a live attempt to go on, with a message or without; the message is in the log at once, and once.
async fn tell(
    tx: &mut Tx<'_>,
    who: &Principal,
    task: &Task,
    text: Option<String>,
    resume: bool,
) -> Result<(), StoreError> {
    let from = who.name.clone();
    if let Some(text) = text.clone() {
        let message = EventData::Message { text, from: from.clone() };
        tx.append(task, task.attempt, [(now(), message)]).await?;
    }
    let body = match text {
        Some(text) if !resume => CommandBody::Message { text, from },
        text => CommandBody::Resume { text },
    };
    tx.command(task, &body).await
}

/// What an attempt was told and has not acknowledged, in order.
pub(super) async fn open_bodies(
    conn: &mut SqliteConnection,
    task: Uuid,
    attempt: u32,
) -> Result<Vec<CommandBody>, StoreError> {
    let bodies: Vec<String> = sqlx::query_scalar(
        "SELECT body FROM commands WHERE task_id = ? AND attempt = ? AND acked_at IS NULL ORDER BY number",
    )
    .bind(task)
    .bind(attempt)
    .fetch_all(conn)
    .await?;
    bodies.iter().map(|body| serde_json::from_str(body).map_err(|e| StoreError::Corrupt(e.to_string()))).collect()
}

/// Acknowledges what an ended attempt can no longer carry out.
pub(super) async fn close(conn: &mut SqliteConnection, task: Uuid, attempt: u32) -> Result<(), StoreError> {
    sqlx::query("UPDATE commands SET acked_at = ? WHERE task_id = ? AND attempt = ? AND acked_at IS NULL")
        .bind(micros(now()))
        .bind(task)
        .bind(attempt)
        .execute(conn)
        .await?;
    Ok(())
}

async fn read_approval(conn: &mut SqliteConnection, task: Uuid, id: &str) -> Result<Approval, StoreError> {
    let row = sqlx::query("SELECT * FROM approvals WHERE task_id = ? AND id = ?")
        .bind(task)
        .bind(id)
        .fetch_optional(conn)
        .await?
        .ok_or(StoreError::NotFound("such approval"))?;
    approval_from_row(&row)
}

fn approval_from_row(row: &SqliteRow) -> Result<Approval, StoreError> {
    let json = |text: String| serde_json::from_str(&text).map_err(|e| StoreError::Corrupt(e.to_string()));
    Ok(Approval {
        id: row.try_get("id")?,
        task_id: row.try_get("task_id")?,
        attempt: row.try_get("attempt")?,
        kind: word(row, "kind")?,
        tool: row.try_get("tool")?,
        input: json(row.try_get("input")?)?,
        suggestions: row.try_get::<Option<String>, _>("suggestions")?.map(json).transpose()?,
        created_at: from_micros(row.try_get("created_at")?),
        decision: optional_word(row, "decision")?,
        by: row.try_get("decided_by")?,
    })
}
