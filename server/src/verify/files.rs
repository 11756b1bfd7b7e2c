//! The checks of what is outside the storage: workspaces, branches, processes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cadence_agent::git::Git;
use cadence_agent::host;
use cadence_agent::workspace::{Environment, Workspaces};
use uuid::Uuid;

use super::Report;
use super::rows::Known;

/// What there was before storage was read.
pub struct Seen {
    /// Processes with the task and attempt that they are of.
    processes: Vec<(i32, Uuid, u32)>,
    workspaces: Vec<PathBuf>,
}

pub async fn look(data_dir: &Path) -> Seen {
    let directory = data_dir.join("workspaces");
    tokio::task::spawn_blocking(move || Seen {
        processes: host::all_marked(),
        workspaces: std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect(),
    })
    .await
    .unwrap_or(Seen { processes: Vec::new(), workspaces: Vec::new() })
}

pub async fn check(
    data_dir: &Path,
    environment: &Environment,
    seen: Seen,
    tasks: &BTreeMap<Uuid, Known>,
    report: &mut Report,
) {
    for (pid, task, attempt) in seen.processes {
        // Those of other data directories are none of ours.
        let Some(known) = tasks.get(&task) else { continue };
        report.processes += 1;
        if !known.is_live(attempt) {
            report.fault(
                "no process outlives its attempt",
                task,
                format!("process {pid} of attempt {attempt} is alive"),
            );
        }
    }
    for path in seen.workspaces {
        report.workspaces += 1;
        let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| Uuid::try_parse(name).ok());
        // Looked at again: one that is just being removed is none.
        if id.is_none_or(|id| !tasks.contains_key(&id)) && path.exists() {
            report.fault("a workspace has a task", None, format!("{} belongs to none", path.display()));
        }
    }
    let workspaces = Workspaces::new(data_dir);
    let (warm, faults) = workspaces.check_warm(environment).await;
    report.warm_workspaces = warm;
    for fault in faults {
        report.fault(
            "a workspace prepared ahead is whole",
            None,
            format!("{}: {}", fault.path.display(), fault.reason),
        );
    }
    for (id, task) in tasks {
        let there = match workspaces.open(*id) {
            Ok(found) => found.is_some(),
            Err(error) => {
                report.fault("workspaces can be read", *id, error.to_string());
                continue;
            }
        };
        if !there && task.needs_workspace() {
            report.fault("a live task has its workspace", *id, "it is gone");
        }
        if !there && task.changed && task.status.is_end() && !published(task, environment).await {
            let detail = format!("its branch {} and its workspace are gone", task.branch);
            report.fault("work is kept", *id, detail);
        }
    }
}

/// Whether the task's branch is in the user's repository, or that repository is gone as a whole.
async fn published(task: &Known, environment: &Environment) -> bool {
    let Some(path) = task.repo_path.as_deref().map(Path::new).filter(|path| path.exists()) else { return true };
    let reference = format!("refs/heads/{}", task.branch);
    let look = Git::new(path, environment).call("show-ref").args(["--verify", "--quiet", &reference]);
    look.holds().await.unwrap_or(true)
}
