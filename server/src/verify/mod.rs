//! The checker: reads a data directory and says which of the promises it breaks. It changes nothing, and a server may work
//! on the data meanwhile.

mod files;
mod log;
mod rows;

use std::path::Path;

use cadence_agent::workspace::Environment;
use serde::Serialize;
use uuid::Uuid;

use crate::store::StoreError;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    pub rule: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Uuid>,
    pub detail: String,
}

/// What was read, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub tasks: u64,
    pub attempts: u64,
    pub events: u64,
    pub workspaces: u64,
    /// Workspaces that are prepared ahead.
    pub warm_workspaces: u64,
    /// Processes of agents that are alive.
    pub processes: u64,
    pub faults: Vec<Fault>,
}

impl Report {
    fn fault(&mut self, rule: &'static str, task_id: impl Into<Option<Uuid>>, detail: impl Into<String>) {
        self.faults.push(Fault { rule, task_id: task_id.into(), detail: detail.into() });
    }
}

/// Checks the storage, the workspaces and the processes of a data directory.
///
/// # Errors
/// When the storage cannot be read at all. A directory without a database is an empty store. `environment`: where git takes
/// its PATH and HOME from.
pub async fn verify(data_dir: &Path, environment: &Environment) -> Result<Report, StoreError> {
    let mut report = Report::default();
    // Processes and directories first: whatever of them is of an attempt that storage then says is over has outlived it.
    let seen = files::look(data_dir).await;
    let database = data_dir.join(crate::store::FILE);
    if !database.exists() {
        return Ok(report);
    }
    let tasks = rows::check(&database, &mut report).await?;
    files::check(data_dir, environment, seen, &tasks, &mut report).await;
    Ok(report)
}
