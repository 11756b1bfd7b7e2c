//! Rows as tasks.

use std::collections::BTreeMap;
use std::str::FromStr;

use cadence_agent::workspace::branch_name;
use cadence_protocol::{
    Executor, PermissionMode, SandboxMode, Task, TaskMetadata, TaskSourceKind, TaskStatus, Timestamp,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::{StoreError, from_micros};

/// A task to be stored.
#[derive(Clone, Debug)]
pub struct NewTask {
    pub id: Uuid,
    pub user_id: Uuid,
    pub user_name: String,
    pub description: String,
    pub repo_url: Option<String>,
    pub repo_name: String,
    pub repo_path: Option<String>,
    pub branch: String,
    pub base_branch: String,
    pub base_commit: Option<String>,
    pub model: String,
    pub agent: String,
    pub source: TaskSourceKind,
    /// Where it is to run; the server chooses where none is given.
    pub executor: Option<Executor>,
    pub labels: Vec<String>,
    pub permission_mode: PermissionMode,
    pub spec: TaskSpec,
}

impl NewTask {
    /// A task with a new id and a branch named after it; what a request may leave open is left open.
    pub fn new((user_id, user_name): (Uuid, &str), agent: &str, repo_name: &str, description: String) -> Self {
        let id = Uuid::new_v4();
        Self {
            id,
            user_id,
            user_name: user_name.to_owned(),
            branch: branch_name(&description, id),
            description,
            repo_url: None,
            repo_name: repo_name.to_owned(),
            repo_path: None,
            base_branch: String::new(),
            base_commit: None,
            model: String::new(),
            agent: agent.to_owned(),
            source: TaskSourceKind::Api,
            executor: None,
            labels: Vec::new(),
            permission_mode: PermissionMode::default(),
            spec: TaskSpec::default(),
        }
    }
}

/// What a task keeps to itself.
#[derive(Clone, Debug, Default)]
pub struct TaskSpec {
    pub budget_usd: Option<f64>,
    pub max_turns: Option<u32>,
    pub timeout_secs: Option<u64>,
    /// What was asked for.
    pub sandbox: Option<SandboxMode>,
    pub environment: BTreeMap<String, String>,
    /// The bundle that it starts from.
    pub bundle: Option<Uuid>,
}

/// Which tasks are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub statuses: Vec<TaskStatus>,
    pub repo: Option<String>,
    pub text: Option<String>,
    /// `None` shows both.
    pub archived: Option<bool>,
    pub limit: u32,
    /// Only tasks that came before the one with this number.
    pub before: Option<i64>,
}

/// The columns that [`from_row`] reads. Kept in one place so that every query gives all of them.
pub(super) const COLUMNS: &str = "id, user_id, description, repo_url, repo_name, repo_path, branch, base_branch, \
     base_commit, status, progress, model, agent, source, executor, labels, permission_mode, sandbox_facts, machine_id, \
     pending_reason, output, error, end_reason, \
     files_changed, lines_added, lines_removed, cost_usd, input_tokens, output_tokens, pr_url, pr_number, pr_state, \
     attempt, resume_at, waiting_for, last_seq, created_at, updated_at, started_at, completed_at, archived_at";

pub(super) fn from_row(row: &SqliteRow) -> Result<Task, StoreError> {
    let pr_url: Option<String> = row.try_get("pr_url")?;
    let resume_at: Option<String> = row.try_get("resume_at")?;
    let labels: String = row.try_get("labels")?;
    let sandbox: Option<String> = row.try_get("sandbox_facts")?;
    Ok(Task {
        id: row.try_get("id")?,
        user_id: row.try_get("user_id")?,
        task_description: row.try_get("description")?,
        repo_url: row.try_get("repo_url")?,
        repo_name: row.try_get("repo_name")?,
        repo_path: row.try_get("repo_path")?,
        branch: row.try_get("branch")?,
        base_branch: row.try_get("base_branch")?,
        base_commit: row.try_get("base_commit")?,
        status: word(row, "status")?,
        progress: row.try_get::<i64, _>("progress")?.clamp(0, 100) as u8,
        model: row.try_get("model")?,
        agent: row.try_get("agent")?,
        source: word(row, "source")?,
        executor: word(row, "executor")?,
        labels: serde_json::from_str(&labels).map_err(|e| StoreError::Corrupt(e.to_string()))?,
        permission_mode: word(row, "permission_mode")?,
        // Facts of another version are no reason to lose the task.
        sandbox: sandbox.and_then(|text| serde_json::from_str(&text).ok()),
        machine_id: row.try_get("machine_id")?,
        pending_reason: row.try_get("pending_reason")?,
        output: row.try_get("output")?,
        error: row.try_get("error")?,
        end_reason: optional_word(row, "end_reason")?,
        metadata: TaskMetadata {
            files_changed: number(row, "files_changed")?,
            lines_added: number(row, "lines_added")?,
            lines_removed: number(row, "lines_removed")?,
            pr_url: pr_url.clone(),
            estimated_cost: row.try_get("cost_usd")?,
            input_tokens: number(row, "input_tokens")?,
            output_tokens: number(row, "output_tokens")?,
        },
        pr_url,
        pr_number: number(row, "pr_number")?,
        pr_state: optional_word(row, "pr_state")?,
        attempt: row.try_get("attempt")?,
        resume_at: resume_at.and_then(|text| Timestamp::parse(&text, &Rfc3339).ok()),
        waiting_for: optional_word(row, "waiting_for")?,
        last_seq: number(row, "last_seq")?.unwrap_or_default(),
        created_at: from_micros(row.try_get("created_at")?),
        updated_at: from_micros(row.try_get("updated_at")?),
        started_at: row.try_get::<Option<i64>, _>("started_at")?.map(from_micros),
        completed_at: row.try_get::<Option<i64>, _>("completed_at")?.map(from_micros),
        archived_at: row.try_get::<Option<i64>, _>("archived_at")?.map(from_micros),
    })
}

pub(super) fn word<T: FromStr<Err = String>>(row: &SqliteRow, column: &str) -> Result<T, StoreError> {
    row.try_get::<String, _>(column)?.parse().map_err(StoreError::Corrupt)
}

pub(super) fn optional_word<T: FromStr<Err = String>>(row: &SqliteRow, column: &str) -> Result<Option<T>, StoreError> {
    row.try_get::<Option<String>, _>(column)?.map(|text| text.parse().map_err(StoreError::Corrupt)).transpose()
}

pub(super) fn number(row: &SqliteRow, column: &str) -> Result<Option<u64>, StoreError> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(i64::unsigned_abs))
}

/// A task by its id, whoever's it is.
pub(super) async fn task(conn: &mut SqliteConnection, id: Uuid) -> Result<Option<Task>, StoreError> {
    let sql = sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM tasks WHERE id = ?"));
    sqlx::query(sql).bind(id).fetch_optional(conn).await?.as_ref().map(from_row).transpose()
}

/// A user's task, or an error that says that there is none.
pub(super) async fn owned(conn: &mut SqliteConnection, user: Uuid, id: Uuid) -> Result<Task, StoreError> {
    task(conn, id).await?.filter(|task| task.user_id == user).ok_or(StoreError::NotFound("such task"))
}
