//! From a request to a task that can be stored. Everything that comes from outside is checked here.

use std::net::SocketAddr;
use std::path::Path;

use axum::http::{HeaderMap, StatusCode};
use cadence_agent::project::{self, AgentDefaults};
use cadence_agent::workspace::{self, Origin, WorkspaceError};
use cadence_protocol::{CreateTask, Executor, MAX_DESCRIPTION, TaskSourceKind};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::App;
use super::error::Failure;
use crate::store::{Idempotency, NewTask, Principal, TaskSpec};

/// Checks a request and fills in what it leaves open.
pub async fn new_task(app: &App, who: &Principal, peer: SocketAddr, request: CreateTask) -> Result<NewTask, Failure> {
    check(&request)?;
    if request.executor == Some(Executor::Fly) {
        return Err(Failure::invalid("executor", "this server runs agents as `local`, `daemon` or `sse`"));
    }
    let mut defaults = AgentDefaults::default();
    let mut base_branch = request.branch.clone().unwrap_or_default();
    let mut base_commit = request.commit.clone();
    if let Some(id) = request.bundle_id {
        base_commit = Some(start_of(app, who, id, &request).await?);
    }
    let (repo_name, repo_path) = if let Some(path) = &request.repo_path {
        if request.executor.is_some_and(|executor| executor != Executor::Local) {
            let text = "a checkout on the server's own machine is worked on there (`local`)";
            return Err(Failure::invalid("executor", text).hint("Send `repoUrl` instead of `repoPath`."));
        }
        if !is_here(peer) {
            return Err(Failure::invalid("repoPath", "it is taken from the server's own machine only; send `repoUrl`"));
        }
        let checkout = workspace::inspect(Path::new(path)).await.map_err(|error| refused("repoPath", &error))?;
        let project = project::load(&checkout.root);
        defaults = project.map_err(|error| Failure::invalid("repoPath", error.to_string()))?.agent;
        if request.with_changes {
            let commit = app.workspaces.snapshot(&checkout.root, &request.environment).await;
            base_commit = Some(commit.map_err(|error| refused("withChanges", &error))?);
        }
        if request.branch.is_none() {
            base_branch = checkout.branch.clone().unwrap_or_default();
            base_commit = base_commit.or_else(|| Some(checkout.head.clone()));
        } else if base_commit.is_none() {
            // The task starts from what the branch is now, however long it has to wait.
            base_commit = Some(checkout.commit_of(&base_branch).await.map_err(|error| refused("branch", &error))?);
        }
        (checkout.name, Some(checkout.root.to_string_lossy().into_owned()))
    } else if let Some(url) = &request.repo_url {
        let origin = Origin::parse(url).map_err(|error| refused("repoUrl", &error))?;
        if matches!(origin, Origin::Local(_)) {
            return Err(Failure::invalid("repoUrl", "it is a path; send it as `repoPath`"));
        }
        if url.starts_with("file:") && !is_here(peer) {
            return Err(Failure::invalid("repoUrl", "a file URL is taken from the server's own machine only"));
        }
        if carries_secret(url) {
            return Err(Failure::invalid("repoUrl", "it holds a user or password, which would be stored and shown")
                .hint("Leave it out; git asks its credential helper, or takes an SSH key."));
        }
        if request.with_changes {
            return Err(Failure::invalid("withChanges", "there is no checkout without `repoPath`"));
        }
        (workspace::repo_name(&origin), None)
    } else if request.bundle_id.is_some() {
        let name = request.repo_name.clone().unwrap_or_else(|| "repository".to_owned());
        (workspace::repo_name(&Origin::Local(name.into())), None)
    } else {
        return Err(Failure::invalid("repoPath", "a task needs `repoPath`, `repoUrl` or `bundleId`"));
    };
    let agent = request.agent.or(defaults.default).unwrap_or_else(|| app.default_agent.clone());
    if !app.agents.contains(&agent.as_str()) && !app.dispatcher.has_agent(&agent) {
        return Err(Failure::invalid("agent", format!("`{agent}` is none of {}", app.agents.join(", "))));
    }
    Ok(NewTask {
        repo_url: request.repo_url,
        repo_path,
        base_branch,
        base_commit,
        model: request.model.or(defaults.model).unwrap_or_default(),
        source: request.source.unwrap_or(TaskSourceKind::Api),
        executor: request.executor,
        labels: request.labels,
        permission_mode: request.permission_mode.unwrap_or_default(),
        spec: TaskSpec {
            budget_usd: request.budget_usd,
            max_turns: request.max_turns,
            timeout_secs: request.timeout_secs,
            sandbox: request.sandbox,
            environment: request.environment,
            bundle: request.bundle_id,
        },
        ..NewTask::new((who.user_id, &who.name), &agent, &repo_name, request.task_description)
    })
}

/// The commit of a bundle that a task starts from. The bundle has to be the user's own.
async fn start_of(app: &App, who: &Principal, id: Uuid, request: &CreateTask) -> Result<String, Failure> {
    let wrong = |text: &str| Err(Failure::invalid("bundleId", text));
    if request.repo_path.is_some() {
        return wrong("`repoPath` is given already");
    }
    let row = app.store.bundle(id).await?.filter(|row| row.user_id == who.user_id);
    let Some(row) = row.filter(|_| app.workspaces.bundle_file(id).is_file()) else {
        return wrong("there is no such bundle, or it is deleted by now; send it again");
    };
    if request.repo_url.is_none() && row.root.is_none() {
        return wrong("it does not have the whole history, so it needs the `repoUrl` that it builds on");
    }
    let heads = row.bundle.heads;
    let start = match &request.commit {
        Some(commit) => heads.into_iter().find(|head| head.commit == *commit),
        None => heads.into_iter().next(),
    };
    match start {
        Some(head) => Ok(head.commit),
        None => Err(Failure::invalid("commit", "it is none of the bundle's references")),
    }
}

fn is_here(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

/// Whether an URL holds a token: any user of an http URL may be one, and a password always is.
fn carries_secret(text: &str) -> bool {
    url::Url::parse(text).is_ok_and(|url| {
        url.password().is_some() || (matches!(url.scheme(), "http" | "https") && !url.username().is_empty())
    })
}

fn refused(path: &str, error: &WorkspaceError) -> Failure {
    let failure = Failure::invalid(path, error.to_string());
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// The checks that need nothing but the request.
fn check(request: &CreateTask) -> Result<(), Failure> {
    text("taskDescription", &request.task_description, MAX_DESCRIPTION)?;
    if request.repo_path.is_some() && request.repo_url.is_some() {
        return Err(Failure::invalid("repoUrl", "`repoPath` is given already"));
    }
    if let Some(branch) = &request.branch
        && !workspace::is_branch_name(branch)
    {
        return Err(Failure::invalid("branch", format!("`{branch}` is not a name that a branch can have")));
    }
    if let Some(name) = &request.repo_name {
        text("repoName", name, 200)?;
    }
    if let Some(commit) = &request.commit
        && !((4..=64).contains(&commit.len()) && commit.bytes().all(|b| b.is_ascii_hexdigit()))
    {
        return Err(Failure::invalid("commit", "it must be the hexadecimal id of a commit"));
    }
    if let Some(model) = &request.model {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/[]@".contains(&b);
        if model.is_empty() || model.len() > 100 || model.starts_with('-') || !model.bytes().all(fits) {
            return Err(Failure::invalid("model", "it must be a model's name, like `sonnet`"));
        }
    }
    if request.budget_usd.is_some_and(|usd| !usd.is_finite() || usd <= 0.0) {
        return Err(Failure::invalid("budgetUsd", "it must be more than 0"));
    }
    if request.max_turns == Some(0) {
        return Err(Failure::invalid("maxTurns", "it must be at least 1"));
    }
    if request.timeout_secs.is_some_and(|secs| secs == 0 || secs > 30 * 24 * 3600) {
        return Err(Failure::invalid("timeoutSecs", "it must be between 1 and 2592000 (30 days)"));
    }
    if request.labels.len() > 20 || request.labels.iter().any(|label| label.is_empty() || label.len() > 50) {
        return Err(Failure::invalid("labels", "at most 20 labels of 1 to 50 bytes"));
    }
    for (name, value) in &request.environment {
        let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !named || value.contains('\0') || value.len() > 128 * 1024 {
            return Err(Failure::invalid("environment", "a name or value is not one of a variable"));
        }
    }
    Ok(())
}

/// A text that must say something, and not too much.
pub fn text(path: &str, value: &str, max: usize) -> Result<(), Failure> {
    if value.trim().is_empty() {
        return Err(Failure::invalid(path, "it is empty"));
    }
    if value.len() > max {
        return Err(Failure::invalid(path, format!("it is longer than {max} bytes")));
    }
    if value.contains('\0') {
        return Err(Failure::invalid(path, "it contains a NUL character"));
    }
    Ok(())
}

/// The `Idempotency-Key` of a request (IETF draft-ietf-httpapi-idempotency-key-header).
pub fn idempotency(headers: &HeaderMap, request: &CreateTask) -> Result<Option<Idempotency>, Failure> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let key = key.to_str().ok().filter(|key| (1..=255).contains(&key.len()));
    let key = key.ok_or_else(|| Failure::bad_request("`Idempotency-Key` must be 1 to 255 ASCII characters"))?;
    let body = serde_json::to_vec(request)
        .map_err(|error| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()))?;
    Ok(Some(Idempotency { key: key.to_owned(), request: Sha256::digest(&body).to_vec() }))
}
