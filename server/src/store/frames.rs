//! What a runner reports: frames, stored once and in order.

use cadence_protocol::{EventData, Frame, FrameBody, LiveState, Task, Timestamp, WaitingFor};

use super::attempts::AttemptRow;
use super::changes::to_json;
use super::{StoreError, Tx, micros};

impl Tx<'_> {
    /// Stores frames that were not stored yet. Everything that is in one transaction is seen at once or not at all.
    pub(super) async fn take_frames(
        &mut self,
        task: &Task,
        row: &AttemptRow,
        frames: Vec<Frame>,
    ) -> Result<(), StoreError> {
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
            FrameBody::Launch { session_id } => {
                sqlx::query("UPDATE attempts SET launched = ? WHERE task_id = ? AND number = ?")
                    .bind(session_id)
                    .bind(task.id)
                    .bind(task.attempt)
                    .execute(&mut *self.conn)
                    .await?;
            }
            FrameBody::Session { session_id, model } => {
                sqlx::query("UPDATE attempts SET session_id = ?, launched = NULL WHERE task_id = ? AND number = ?")
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
                self.count_usage(task, usage).await?;
                sqlx::query(
                    "UPDATE attempts SET cost_usd = max(cost_usd, ?), input_tokens = max(input_tokens, ?), \
                     output_tokens = max(output_tokens, ?) WHERE task_id = ? AND number = ?",
                )
                .bind(usage.cost_usd)
                .bind(usage.input_tokens as i64)
                .bind(usage.output_tokens as i64)
                .bind(task.id)
                .bind(task.attempt)
                .execute(&mut *self.conn)
                .await?;
                sqlx::query(
                    // Tokens without a price: what they cost is not known.
                    "UPDATE tasks SET (cost_usd, input_tokens, output_tokens) = (SELECT \
                     CASE WHEN sum(cost_usd) = 0 AND sum(output_tokens) > 0 THEN NULL ELSE sum(cost_usd) END, \
                     sum(input_tokens), sum(output_tokens) FROM attempts WHERE task_id = tasks.id) WHERE id = ?",
                )
                .bind(task.id)
                .execute(&mut *self.conn)
                .await?;
            }
            FrameBody::Workspace { base_commit, base_branch, branch } => {
                sqlx::query("UPDATE tasks SET base_commit = ?, base_branch = ?, branch = ?, pinned = 1 WHERE id = ?")
                    .bind(base_commit)
                    .bind(base_branch)
                    .bind(branch)
                    .bind(task.id)
                    .execute(&mut *self.conn)
                    .await?;
            }
            FrameBody::Sandbox { sandbox } => {
                sqlx::query("UPDATE tasks SET sandbox_facts = ? WHERE id = ?")
                    .bind(to_json(&sandbox)?)
                    .bind(task.id)
                    .execute(&mut *self.conn)
                    .await?;
            }
        }
        Ok(())
    }
}
