//! What a backup says runs does not: it is held back until somebody wants it to go on.

use cadence_protocol::{AttemptEnd, EndReason};
use sqlx::Row;
use uuid::Uuid;

use super::rows;
use super::{Store, StoreError};
use crate::state::AttemptState;

/// What became of the work that a backup says is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldBack {
    pub paused: u64,
    /// Ended, for what their agents had done is gone.
    pub lost: u64,
}

impl Store {
    /// Pauses every live attempt; ends those that had begun and have no workspace any more. `has_workspace` says of which
    /// tasks there is one.
    pub async fn hold_back(
        &self,
        has_workspace: impl Fn(Uuid) -> bool + Send + 'static,
    ) -> Result<HeldBack, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                let live = sqlx::query(
                    "SELECT task_id, session_id IS NOT NULL AS begun FROM attempts \
                     WHERE state IN ('pending', 'running', 'waiting', 'paused') ORDER BY rowid",
                )
                .fetch_all(&mut *tx.conn)
                .await?;
                let mut held = HeldBack::default();
                for row in live {
                    let id: Uuid = row.try_get("task_id")?;
                    let task = rows::task(tx.conn, id).await?.ok_or(StoreError::NotFound("such task"))?;
                    if row.try_get::<bool, _>("begun")? && !has_workspace(id) {
                        let summary = "A backup was restored, and the workspace is gone.";
                        tx.end_attempt(&task, AttemptEnd::new(EndReason::Lost, summary)).await?;
                        super::commands::close(tx.conn, id, task.attempt).await?;
                        held.lost += 1;
                        continue;
                    }
                    tx.withdraw_approvals(&task, "server").await?;
                    sqlx::query("UPDATE tasks SET waiting_for = NULL, resume_at = NULL WHERE id = ?")
                        .bind(id)
                        .execute(&mut *tx.conn)
                        .await?;
                    sqlx::query(
                        "UPDATE attempts SET holder = NULL, lease_until = 0, wanted = 0 WHERE task_id = ? AND number = ?",
                    )
                    .bind(id)
                    .bind(task.attempt)
                    .execute(&mut *tx.conn)
                    .await?;
                    tx.transition(&task, AttemptState::Paused, Some("a backup was restored".to_owned())).await?;
                    held.paused += 1;
                }
                Ok(held)
            })
        })
        .await
    }
}
