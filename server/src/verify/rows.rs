//! The checks of the storage: one read transaction, so that it is one moment of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cadence_protocol::{CommandBody, EndReason, EventData, PrState, TaskStatus};
use futures_util::TryStreamExt;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};
use uuid::Uuid;

use super::Report;
use super::log::Log;
use crate::state::{self, AttemptState};
use crate::store::StoreError;

/// What a task is said to be.
#[derive(Debug)]
pub struct Known {
    pub status: TaskStatus,
    pub branch: String,
    pub repo_path: Option<String>,
    /// Whether its attempts ended with changed files.
    pub changed: bool,
    attempt: u32,
    last_seq: u64,
    pr_state: Option<PrState>,
    attempts: BTreeMap<u32, AttemptState>,
    begun: bool,
}

impl Known {
    pub fn is_live(&self, attempt: u32) -> bool {
        self.attempts.get(&attempt).is_some_and(|state| state.is_live())
    }

    /// Whether an agent has worked on it and will go on.
    pub fn needs_workspace(&self) -> bool {
        self.begun && self.is_live(self.attempt)
    }
}

/// Rules that one query each can check: it gives the task and what is wrong.
const QUERIES: &[(&str, &str)] = &[
    (
        "an ended attempt has no lease",
        "SELECT task_id, 'attempt ' || number || ' is held' FROM attempts \
         WHERE state IN ('succeeded', 'failed', 'cancelled') AND (holder IS NOT NULL OR lease_until <> 0)",
    ),
    (
        "an ended attempt says when and why",
        "SELECT task_id, 'attempt ' || number || ' is ' || state FROM attempts \
         WHERE (state IN ('succeeded', 'failed', 'cancelled')) <> (ended_at IS NOT NULL AND end_reason IS NOT NULL)",
    ),
    (
        "a held attempt was claimed",
        "SELECT task_id, 'attempt ' || number || ' has no fencing number' FROM attempts \
         WHERE holder IS NOT NULL AND lease_epoch = 0",
    ),
    (
        "no command is lost",
        "SELECT c.task_id, 'command ' || c.number || ' of attempt ' || c.attempt || ' was never acknowledged' \
         FROM commands c LEFT JOIN attempts a ON a.task_id = c.task_id AND a.number = c.attempt \
         WHERE c.acked_at IS NULL AND (a.state IS NULL OR a.state IN ('succeeded', 'failed', 'cancelled'))",
    ),
    (
        "what waits is of a live attempt",
        "SELECT p.task_id, 'approval ' || p.id || ' of attempt ' || p.attempt || ' still waits' FROM approvals p \
         LEFT JOIN attempts a ON a.task_id = p.task_id AND a.number = p.attempt \
         WHERE p.decision IS NULL AND (a.state IS NULL OR a.state NOT IN ('running', 'waiting', 'paused'))",
    ),
    (
        "a task costs what its attempts cost",
        "SELECT t.id, 'it says ' || coalesce(t.cost_usd, 0) || ', its attempts ' || sum(a.cost_usd) \
         FROM tasks t JOIN attempts a ON a.task_id = t.id \
         GROUP BY t.id HAVING abs(coalesce(t.cost_usd, 0) - sum(a.cost_usd)) > 0.000001",
    ),
    (
        "progress is 100 only on success",
        "SELECT t.id, 'it is ' || t.status || ' at ' || t.progress FROM tasks t \
         JOIN attempts a ON a.task_id = t.id AND a.number = t.attempt \
         WHERE (a.state = 'succeeded') <> (t.progress = 100)",
    ),
    (
        "events belong to a task",
        "SELECT e.task_id, count(*) || ' events are left of a task that is gone' FROM events e \
         WHERE e.task_id NOT IN (SELECT id FROM tasks) AND e.task_id NOT IN (SELECT task_id FROM removed) \
         GROUP BY e.task_id",
    ),
    (
        "everything belongs to the task's owner",
        "SELECT t.id, 'a row belongs to somebody else' FROM tasks t \
         WHERE EXISTS (SELECT 1 FROM attempts x WHERE x.task_id = t.id AND x.user_id <> t.user_id) \
         OR EXISTS (SELECT 1 FROM events x WHERE x.task_id = t.id AND x.user_id <> t.user_id) \
         OR EXISTS (SELECT 1 FROM event_data x WHERE x.task_id = t.id AND x.user_id <> t.user_id) \
         OR EXISTS (SELECT 1 FROM commands x WHERE x.task_id = t.id AND x.user_id <> t.user_id) \
         OR EXISTS (SELECT 1 FROM approvals x WHERE x.task_id = t.id AND x.user_id <> t.user_id)",
    ),
];

/// Checks all rows, and gives the tasks for the checks of what is outside.
pub async fn check(database: &Path, report: &mut Report) -> Result<BTreeMap<Uuid, Known>, StoreError> {
    let options = SqliteConnectOptions::new().filename(database).read_only(true).disable_statement_logging();
    let mut conn = options.connect().await?;
    sqlx::query("BEGIN").execute(&mut conn).await?;
    integrity(&mut conn, report).await?;
    for (rule, sql) in QUERIES {
        for row in sqlx::query(*sql).fetch_all(&mut conn).await? {
            report.fault(rule, row.try_get::<Uuid, _>(0)?, row.try_get::<String, _>(1)?);
        }
    }
    commands(&mut conn, report).await?;
    let mut tasks = known(&mut conn, report).await?;
    events(&mut conn, &mut tasks, report).await?;
    sqlx::query("COMMIT").execute(&mut conn).await?;
    conn.close().await?;
    Ok(tasks)
}

async fn integrity(conn: &mut SqliteConnection, report: &mut Report) -> Result<(), StoreError> {
    for line in sqlx::query_scalar::<_, String>("PRAGMA integrity_check(20)").fetch_all(&mut *conn).await? {
        if line != "ok" {
            report.fault("the database is sound", None, line);
        }
    }
    for row in sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *conn).await? {
        let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        report.fault("the database is sound", None, format!("a row of {table} belongs to no row of {parent}"));
    }
    Ok(())
}

async fn commands(conn: &mut SqliteConnection, report: &mut Report) -> Result<(), StoreError> {
    let mut rows = sqlx::query("SELECT task_id, number, body FROM commands").fetch(conn);
    while let Some(row) = rows.try_next().await? {
        let body: String = row.try_get(2)?;
        if let Err(error) = serde_json::from_str::<CommandBody>(&body) {
            let (task, number): (Uuid, i64) = (row.try_get(0)?, row.try_get(1)?);
            report.fault("commands can be read", task, format!("command {number}: {error}"));
        }
    }
    Ok(())
}

async fn known(conn: &mut SqliteConnection, report: &mut Report) -> Result<BTreeMap<Uuid, Known>, StoreError> {
    let mut tasks = BTreeMap::new();
    let sql = "SELECT id, status, branch, repo_path, coalesce(files_changed, 0) > 0 AS changed, attempt, last_seq, \
               pr_state FROM tasks";
    let mut rows = sqlx::query(sql).fetch(&mut *conn);
    while let Some(row) = rows.try_next().await? {
        let id: Uuid = row.try_get("id")?;
        report.tasks += 1;
        let status: String = row.try_get("status")?;
        let pr_state: Option<String> = row.try_get("pr_state")?;
        let Ok(status) = status.parse() else {
            report.fault("words are known", id, format!("`{status}` is no status"));
            continue;
        };
        let known = Known {
            status,
            branch: row.try_get("branch")?,
            repo_path: row.try_get("repo_path")?,
            changed: row.try_get("changed")?,
            attempt: row.try_get("attempt")?,
            last_seq: row.try_get::<i64, _>("last_seq")?.unsigned_abs(),
            pr_state: pr_state.and_then(|state| state.parse().ok()),
            attempts: BTreeMap::new(),
            begun: false,
        };
        tasks.insert(id, known);
    }
    drop(rows);
    let sql = "SELECT task_id, number, state, end_reason, session_id IS NOT NULL AS begun FROM attempts ORDER BY 1, 2";
    let mut rows = sqlx::query(sql).fetch(conn);
    while let Some(row) = rows.try_next().await? {
        report.attempts += 1;
        let id: Uuid = row.try_get("task_id")?;
        let Some(task) = tasks.get_mut(&id) else { continue };
        let (number, state): (u32, String) = (row.try_get("number")?, row.try_get("state")?);
        let Ok(state) = state.parse::<AttemptState>() else {
            report.fault("words are known", id, format!("`{state}` is no state of an attempt"));
            continue;
        };
        let reason: Option<String> = row.try_get("end_reason")?;
        if let Some(Ok(reason)) = reason.map(|reason| reason.parse::<EndReason>())
            && AttemptState::ended(reason) != state
        {
            let detail = format!("attempt {number} is {state} and ended with {reason}");
            report.fault("an attempt's state follows from its end", id, detail);
        }
        if state.is_live() && number != task.attempt {
            report.fault(
                "only the newest attempt is live",
                id,
                format!("attempt {number} of {} is {state}", task.attempt),
            );
        }
        task.begun |= row.try_get::<bool, _>("begun")?;
        task.attempts.insert(number, state);
    }
    for (id, task) in &tasks {
        if !task.attempts.keys().copied().eq(1..=task.attempt) {
            let has: Vec<_> = task.attempts.keys().collect();
            report.fault("attempts are counted", *id, format!("the newest is {}, there are {has:?}", task.attempt));
        }
        if let Some(newest) = task.attempts.get(&task.attempt)
            && state::status(*newest, task.pr_state) != task.status
        {
            let detail = format!("it is {} while its newest attempt is {newest}", task.status);
            report.fault("a task's status follows from its newest attempt", *id, detail);
        }
    }
    Ok(tasks)
}

async fn events(
    conn: &mut SqliteConnection,
    tasks: &mut BTreeMap<Uuid, Known>,
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut waiting: BTreeMap<Uuid, BTreeSet<String>> = BTreeMap::new();
    let mut rows = sqlx::query("SELECT task_id, id FROM approvals WHERE decision IS NULL").fetch(&mut *conn);
    while let Some(row) = rows.try_next().await? {
        waiting.entry(row.try_get(0)?).or_default().insert(row.try_get(1)?);
    }
    drop(rows);
    let mut unread: BTreeSet<Uuid> = tasks.keys().copied().collect();
    let mut current: Option<(Uuid, Log)> = None;
    let mut rows = sqlx::query("SELECT task_id, seq, attempt, data FROM events ORDER BY task_id, seq").fetch(conn);
    while let Some(row) = rows.try_next().await? {
        report.events += 1;
        let id: Uuid = row.try_get(0)?;
        if current.as_ref().is_none_or(|(reading, _)| *reading != id)
            && let Some((done, log)) = current.replace((id, Log::default()))
        {
            close(done, log, tasks, &waiting, report);
        }
        unread.remove(&id);
        let Some((_, log)) = &mut current else { continue };
        let (seq, data): (i64, String) = (row.try_get(1)?, row.try_get(3)?);
        match serde_json::from_str::<EventData>(&data) {
            Ok(data) => log.read(seq.unsigned_abs(), row.try_get(2)?, &data),
            Err(error) => {
                log.last_seq = seq.unsigned_abs();
                report.fault("events can be read", id, format!("event {seq}: {error}"));
            }
        }
    }
    if let Some((done, log)) = current {
        close(done, log, tasks, &waiting, report);
    }
    for id in unread {
        report.fault("events are gap-free", id, "it has no event");
    }
    Ok(())
}

/// Compares a log that was read to its end with its task.
fn close(
    id: Uuid,
    mut log: Log,
    tasks: &BTreeMap<Uuid, Known>,
    waiting: &BTreeMap<Uuid, BTreeSet<String>>,
    report: &mut Report,
) {
    let Some(task) = tasks.get(&id) else { return };
    log.check_ends(&task.attempts.iter().filter(|(_, state)| !state.is_live()).map(|(number, _)| *number).collect());
    if log.last_seq != task.last_seq {
        let detail = format!("the last event is {}, the task says {}", log.last_seq, task.last_seq);
        report.fault("events are gap-free", id, detail);
    }
    if log.status() != task.status {
        let detail = format!("the events lead to {}, the task is {}", log.status(), task.status);
        report.fault("statuses are a chain", id, detail);
    }
    let asked: BTreeSet<String> = log.open.keys().cloned().collect();
    let none = BTreeSet::new();
    let stored = waiting.get(&id).unwrap_or(&none);
    if asked != *stored {
        let detail = format!("the events say that {asked:?} wait, the approvals {stored:?}");
        report.fault("approvals agree with the events", id, detail);
    }
    for (rule, detail) in log.faults {
        report.fault(rule, id, detail);
    }
}
