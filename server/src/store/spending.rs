//! What users' work takes, by calendar month in UTC, and the limit of a month over all agents and machines.

use std::collections::HashMap;
use std::time::Duration;

use cadence_protocol::{CommandBody, EndReason, Month, MonthBudget, MonthUsage, Task, TaskStatus, Usage, UsageReport};
use sqlx::{Row, SqliteConnection};
use uuid::Uuid;

use super::attempts::attempt_usage;
use super::commands::open_bodies;
use super::rows::{self, number};
use super::{Principal, Store, StoreError, Tx, now};

/// The month that it is. The server's own clock: what a machine says when it was may be wrong.
fn this_month() -> Month {
    Month::of(now())
}

/// What a month is counted up by.
#[derive(Clone, Copy, Debug, Default)]
struct Increase {
    tasks: i64,
    worked_ms: i64,
    usage: Usage,
}

impl Tx<'_> {
    /// Counts that a task began to be worked on.
    pub(super) async fn count_task(&mut self, user: Uuid) -> Result<(), StoreError> {
        self.count(user, Increase { tasks: 1, ..Increase::default() }).await
    }

    /// Counts what an attempt has worked beyond what was known, which is not changed by it.
    pub(super) async fn count_work(&mut self, task: &Task, attempt: u32, worked: Duration) -> Result<(), StoreError> {
        let known: i64 = sqlx::query_scalar("SELECT worked_ms FROM attempts WHERE task_id = ? AND number = ?")
            .bind(task.id)
            .bind(attempt)
            .fetch_one(&mut *self.conn)
            .await?;
        let worked_ms = i64::try_from(worked.as_millis()).unwrap_or(i64::MAX).saturating_sub(known);
        if worked_ms <= 0 {
            return Ok(());
        }
        self.count(task.user_id, Increase { worked_ms, ..Increase::default() }).await
    }

    /// Counts what an attempt has used beyond what was known, which is not changed by it: in the month in which it is told.
    pub(super) async fn count_usage(&mut self, task: &Task, usage: Usage) -> Result<(), StoreError> {
        let known = attempt_usage(self.conn, task.id, task.attempt).await?;
        let more = Usage {
            cost_usd: (usage.cost_usd - known.cost_usd).max(0.0),
            input_tokens: usage.input_tokens.saturating_sub(known.input_tokens),
            output_tokens: usage.output_tokens.saturating_sub(known.output_tokens),
        };
        if more == Usage::default() {
            return Ok(());
        }
        self.count(task.user_id, Increase { usage: more, ..Increase::default() }).await
    }

    async fn count(&mut self, user: Uuid, more: Increase) -> Result<(), StoreError> {
        let tokens = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        sqlx::query(
            "INSERT INTO spending (user_id, month, tasks, worked_ms, cost_usd, input_tokens, output_tokens) \
             VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (user_id, month) DO UPDATE SET \
             tasks = tasks + excluded.tasks, worked_ms = worked_ms + excluded.worked_ms, \
             cost_usd = cost_usd + excluded.cost_usd, input_tokens = input_tokens + excluded.input_tokens, \
             output_tokens = output_tokens + excluded.output_tokens",
        )
        .bind(user)
        .bind(this_month().number())
        .bind(more.tasks)
        .bind(more.worked_ms)
        .bind(more.usage.cost_usd)
        .bind(tokens(more.usage.input_tokens))
        .bind(tokens(more.usage.output_tokens))
        .execute(&mut *self.conn)
        .await?;
        Ok(())
    }

    /// Where the user's month is spent, orders every attempt of his that somebody runs to end. One that is paused costs
    /// nothing, and is not resumed before the month is over.
    pub(super) async fn keep_month(&mut self, user: Uuid, limit: f64) -> Result<(), StoreError> {
        let budget = budget(self.conn, user, limit).await?;
        if !budget.is_spent() {
            return Ok(());
        }
        let running: Vec<Uuid> = sqlx::query_scalar(
            "SELECT task_id FROM attempts WHERE state IN ('pending', 'running', 'waiting', 'paused') \
                AND state IN ('running', 'waiting') AND user_id = ? ORDER BY rowid",
        )
        .bind(user)
        .fetch_all(&mut *self.conn)
        .await?;
        for id in running {
            let task = rows::owned(self.conn, user, id).await?;
            let open = open_bodies(self.conn, id, task.attempt).await?;
            if open.iter().any(|body| matches!(body, CommandBody::Stop { .. } | CommandBody::Cancel { .. })) {
                continue;
            }
            let summary = budget.sentence();
            self.command(&task, &CommandBody::Stop { reason: EndReason::Budget, summary }).await?;
        }
        Ok(())
    }

    /// Refuses where the user's month is spent.
    pub(super) async fn require_money(&mut self, user: Uuid, limit: Option<f64>) -> Result<(), StoreError> {
        require(self.conn, user, limit).await
    }
}

async fn require(conn: &mut SqliteConnection, user: Uuid, limit: Option<f64>) -> Result<(), StoreError> {
    match limit {
        Some(limit) => match budget(conn, user, limit).await? {
            budget if budget.is_spent() => Err(StoreError::Exhausted(budget.reason())),
            _ => Ok(()),
        },
        None => Ok(()),
    }
}

/// What a user may spend in this month, and has spent.
pub(super) async fn budget(conn: &mut SqliteConnection, user: Uuid, limit_usd: f64) -> Result<MonthBudget, StoreError> {
    let month = this_month();
    let spent: Option<f64> = sqlx::query_scalar("SELECT cost_usd FROM spending WHERE user_id = ? AND month = ?")
        .bind(user)
        .bind(month.number())
        .fetch_optional(conn)
        .await?;
    Ok(MonthBudget { month, limit_usd, spent_usd: spent.unwrap_or_default() })
}

impl Store {
    /// The same storage, in which nobody spends more than so many US dollars in a calendar month; none: no limit.
    #[must_use]
    pub const fn with_month_limit(mut self, usd: Option<f64>) -> Self {
        self.month_usd = usd;
        self
    }

    /// Refuses where the user's month is spent.
    pub async fn require_money(&self, user: Uuid) -> Result<(), StoreError> {
        require(&mut *self.reads.acquire().await?, user, self.month_usd).await
    }

    /// Users whose month is spent, and what there is to say of it.
    pub(super) async fn exhausted(&self) -> Result<HashMap<Uuid, String>, StoreError> {
        let Some(limit_usd) = self.month_usd else { return Ok(HashMap::new()) };
        let month = this_month();
        let rows: Vec<(Uuid, f64)> =
            sqlx::query_as("SELECT user_id, cost_usd FROM spending WHERE month = ? AND cost_usd >= ?")
                .bind(month.number())
                .bind(limit_usd)
                .fetch_all(&self.reads)
                .await?;
        Ok(rows
            .into_iter()
            .map(|(user, spent_usd)| (user, MonthBudget { month, limit_usd, spent_usd }.reason()))
            .collect())
    }

    /// What work took in so many months, this one included: a user's, or everybody's for an administrator.
    pub async fn usage(&self, who: &Principal, months: u32) -> Result<UsageReport, StoreError> {
        let month = this_month();
        let first = month.back(months.saturating_sub(1));
        let rows = sqlx::query(
            "SELECT s.*, u.name FROM spending AS s JOIN users AS u ON u.id = s.user_id \
             WHERE s.month BETWEEN ?1 AND ?2 \
                AND (s.user_id = ?3 OR (SELECT role FROM users WHERE id = ?3) = 'admin') \
             ORDER BY s.month DESC, s.cost_usd DESC, u.name",
        )
        .bind(first.number())
        .bind(month.number())
        .bind(who.user_id)
        .fetch_all(&self.reads)
        .await?;
        let usage = rows.iter().map(|row| {
            Ok(MonthUsage {
                month: Month::from_number(row.try_get("month")?)
                    .ok_or_else(|| StoreError::Corrupt("a month that there is not".into()))?,
                user_id: row.try_get("user_id")?,
                user: row.try_get("name")?,
                tasks: number(row, "tasks")?.unwrap_or_default(),
                minutes: Duration::from_millis(number(row, "worked_ms")?.unwrap_or_default()).as_secs_f64() / 60.0,
                input_tokens: number(row, "input_tokens")?.unwrap_or_default(),
                output_tokens: number(row, "output_tokens")?.unwrap_or_default(),
                cost_usd: row.try_get("cost_usd")?,
            })
        });
        Ok(UsageReport {
            month,
            month_limit_usd: self.month_usd,
            resets_at: month.next().begins(),
            usage: usage.collect::<Result<_, StoreError>>()?,
        })
    }
}

/// Whether a task that is told something is begun anew by it, or waits for nothing else: then it costs again.
pub(super) const fn begins(status: TaskStatus) -> bool {
    status.is_end() || matches!(status, TaskStatus::Paused)
}
