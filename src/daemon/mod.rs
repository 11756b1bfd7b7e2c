//! The remote worker: takes attempts from a server over the bridge, runs them here, and reports every event back.

mod carry;
mod link;
mod notify;
mod source;
mod spool;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cadence_agent::host::{kill_marked, marker};
use cadence_agent::runner::{Agents, Runner};
use cadence_agent::sandbox::Policy;
use cadence_agent::workspace::{RepositorySettings, Workspaces};
use cadence_server::{DataLock, ServeError};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::link::{Identity, Link, State};
use self::source::Source;
use crate::client::{Endpoint, Rest};
use crate::error::CommandError;

/// How long what runs may take to let go, and to be reported.
const CLOSE_LIMIT: Duration = Duration::from_secs(15);
const REPORT_LIMIT: Duration = Duration::from_secs(5);
const IDENTITY: &str = "machine.json";

/// What a daemon needs to know.
pub struct Config {
    pub endpoint: Endpoint,
    /// Where mirrors, workspaces and spools are. No server works on it.
    pub data_dir: PathBuf,
    pub name: String,
    pub capacity: u32,
    pub labels: Vec<String>,
    pub agents: Agents,
    pub program: PathBuf,
    /// What agents are kept to.
    pub policy: Policy,
    /// How repositories are got and kept.
    pub repositories: RepositorySettings,
    /// What every agent gets; what a task brings lies over it.
    pub environment: BTreeMap<String, String>,
    pub warm_workspaces: usize,
}

/// The machine as it is remembered.
#[derive(Serialize, Deserialize)]
struct Machine {
    id: Uuid,
}

/// Works until `stop` is cancelled or the server does not take this machine. What runs then is given back, to be continued.
pub async fn run(config: Config, stop: CancellationToken, ready: impl FnOnce() + Send) -> Result<(), CommandError> {
    let _lock = DataLock::take(&config.data_dir).map_err(taken)?;
    let id = identity(&config.data_dir)?;
    let closing = CancellationToken::new();
    let unusable = |error: std::io::Error| {
        CommandError::failed(format!("{} cannot be used", config.data_dir.display())).caused_by(error)
    };
    let (source, deltas) = Source::open(&config.data_dir.join("spool"), closing.clone()).map_err(unusable)?;
    let source = Arc::new(source);
    let workspaces = Workspaces::new(&config.data_dir)
        .with_warm(config.warm_workspaces)
        .with_helper(&config.program)
        .with_repositories(config.repositories);
    let workspaces = Arc::new(workspaces);
    clean_up(&source, &workspaces).await;
    let identity = Identity {
        id,
        name: config.name,
        capacity: config.capacity,
        labels: config.labels,
        agents: installed(&config.agents, &config.environment),
    };
    let runner = Arc::new(Runner {
        source: source.clone(),
        agents: config.agents,
        workspaces: workspaces.clone(),
        program: config.program,
        policy: config.policy,
        environment: config.environment,
        limit: config.capacity as usize,
        closing: closing.clone(),
    });
    let state = watch::Sender::new(State::Dialling);
    let states = state.subscribe();
    let link = Arc::new(Link {
        rest: Rest::new(config.endpoint.clone())?,
        endpoint: config.endpoint,
        identity,
        source: source.clone(),
        workspaces,
        deltas: Mutex::new(deltas),
        state,
    });
    let unlinked = CancellationToken::new();
    let mut linked = tokio::spawn({
        let (link, unlinked) = (link.clone(), unlinked.clone());
        async move { link.run(&unlinked).await }
    });
    let mut runner = tokio::spawn(runner.work());
    let supervisor = tokio::spawn(notify::run(states.clone(), source.clone()));
    let connected = tokio::spawn(connected(states));
    let mut ready = Some(ready);
    tokio::pin!(connected);
    let ended = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            _ = &mut connected, if ready.is_some() => ready.take().map_or((), |ready| ready()),
            ended = &mut linked => {
                break ended.unwrap_or_else(|error| Err(CommandError::failed("the link broke down").caused_by(error)));
            }
        }
    };
    notify::stopping();
    closing.cancel();
    // Each lets its agent go, and gives its attempt back.
    let _ = tokio::time::timeout(CLOSE_LIMIT, &mut runner).await;
    runner.abort();
    source.close().await;
    if ended.is_ok() {
        // What cannot be reported now is in the spools.
        let _ = tokio::time::timeout(REPORT_LIMIT, reported(&source)).await;
    }
    unlinked.cancel();
    linked.abort();
    supervisor.abort();
    ended
}

/// Names of the agents whose programs are here.
fn installed(agents: &Agents, environment: &BTreeMap<String, String>) -> Vec<String> {
    let names = agents.names().into_iter();
    let here = names.filter(|name| agents.get(name).is_ok_and(|agent| agent.find(environment).is_ok()));
    here.map(|name| name.to_owned()).collect()
}

/// Ready when the server has taken this machine for the first time.
async fn connected(mut states: watch::Receiver<State>) {
    let _ = states.wait_for(|state| *state == State::Connected).await;
}

/// Ready when nothing is left to report.
async fn reported(source: &Source) {
    while !source.attempts().is_empty() {
        source.changed().await;
    }
}

/// After a daemon that broke off: what it ran is ended, and the locks that git left in mirrors go.
async fn clean_up(source: &Arc<Source>, workspaces: &Arc<Workspaces>) {
    let orphans: Vec<_> = source.attempts().iter().map(|a| (a.lease.task_id, a.lease.attempt)).collect();
    let workspaces = workspaces.clone();
    let cleaned = tokio::task::spawn_blocking(move || {
        for (task, attempt) in orphans {
            kill_marked(&marker(task, attempt));
        }
        workspaces.unlock_mirrors()
    });
    if let Ok(Err(error)) = cleaned.await {
        tracing::warn!(%error, "locks that git left behind could not be removed");
    }
}

/// The machine's id, made at the first start.
fn identity(data: &Path) -> Result<Uuid, CommandError> {
    let path = data.join(IDENTITY);
    let unusable =
        |error: std::io::Error| CommandError::failed(format!("{} cannot be used", path.display())).caused_by(error);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let machine: Machine = serde_json::from_slice(&bytes).map_err(|error| {
                CommandError::failed(format!("{} cannot be read", path.display()))
                    .caused_by(error)
                    .hint("Without the file the machine is a new one to the server, and its tasks are left behind.")
            })?;
            Ok(machine.id)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let machine = Machine { id: Uuid::new_v4() };
            let bytes = serde_json::to_vec(&machine).map_err(std::io::Error::other).map_err(unusable)?;
            let staged = path.with_extension("new");
            let mut options = std::fs::OpenOptions::new();
            let file = options.write(true).create(true).truncate(true).mode(0o600).open(&staged);
            file.and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
                .and_then(|()| std::fs::rename(&staged, &path))
                .map_err(unusable)?;
            Ok(machine.id)
        }
        Err(error) => Err(unusable(error)),
    }
}

fn taken(error: ServeError) -> CommandError {
    match error {
        ServeError::InUse { path } => CommandError::failed(format!("another cadence works on {}", path.display()))
            .hint("Give this one another --data-dir, or stop the other."),
        other => CommandError::failed(other.to_string()),
    }
}
