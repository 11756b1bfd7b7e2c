use std::path::PathBuf;
use std::time::Duration;

use cadence_agent::workspace::RepositorySettings;
use secrecy::SecretString;
use url::Url;

use crate::store::StoreError;

/// What a server needs to know. Nothing here is read from the environment; the program does that.
#[derive(Debug)]
pub struct ServeConfig {
    /// Where the database, mirrors, workspaces and logs are. Made with mode 0700 where it is missing.
    pub data_dir: PathBuf,
    /// Token that is let in with every scope, beside those in the database.
    pub token: Option<SecretString>,
    /// The cadence program itself, which serves as host process of agents.
    pub program: PathBuf,
    /// Attempts that run at once on this machine.
    pub workers: usize,
    /// Labels of this machine, for tasks that ask for them.
    pub labels: Vec<String>,
    /// Repositories that have a workspace prepared ahead, at most; 0 prepares none.
    pub warm_workspaces: usize,
    /// How repositories are got and kept.
    pub repositories: RepositorySettings,
    /// End by itself when for so long nothing was asked and nothing ran.
    pub idle_exit: Option<Duration>,
    /// Seconds from a runner's heartbeat to the expiry of its lease.
    pub lease_secs: u32,
    /// Agent of tasks that name none.
    pub default_agent: String,
    /// Agents beside those that cadence knows by itself, by their name: programs that speak the Agent Client Protocol, with
    /// their arguments.
    pub agents: std::collections::BTreeMap<String, Vec<String>>,
    pub retention: Retention,
    /// What agents are kept to on this machine.
    pub policy: cadence_agent::sandbox::Policy,
    /// Largest bundle of commits that is taken from a client, in bytes.
    pub bundle_limit: u64,
    /// US dollars that each user may spend in a calendar month in UTC, over all agents and machines; none: no limit.
    pub month_usd: Option<f64>,
    pub voice: cadence_speech::Settings,
    /// Reads them again, where people change them while the server runs.
    pub voice_reload: Option<crate::VoiceReload>,
    /// Keys and addresses of speech engines and models ([`crate::VOICE_VARIABLES`]).
    pub voice_environment: std::collections::BTreeMap<String, String>,
    /// What is served.
    pub face: Face,
    /// Variables that every agent on this machine gets, beside those that name its user and programs.
    pub environment: std::collections::BTreeMap<String, String>,
    /// Where tasks are sent to, beside this machine and those that dial in.
    pub bridge: Option<BridgeEndpoint>,
}

/// What a server answers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Face {
    /// The API.
    #[default]
    Api,
    /// What a machine answers to that is reached over HTTP: `/task` and what follows from it. Without a token anybody is let
    /// in, so that it may only be reached from the machine itself.
    Machine,
}

/// An endpoint that runs tasks, reached over HTTP and server-sent events.
#[derive(Clone, Debug)]
pub struct BridgeEndpoint {
    pub url: Url,
    /// Bearer key that it wants.
    pub key: Option<SecretString>,
    /// Tasks that it has at once.
    pub capacity: u32,
    pub labels: Vec<String>,
}

/// How long is kept what nobody needs for the work itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Archived tasks, from when they were archived. None: for ever, for an archive is no bin; whoever wants them gone says
    /// so. What was done and is found nowhere else is kept in any case.
    pub archived: Option<Duration>,
    /// Agents' own lines of tasks at which nobody works. They are for diagnosis: what an agent did is in the events.
    pub logs: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self { archived: None, logs: DAY * 30 }
    }
}

/// Largest bundle that is taken unless the settings say otherwise, in bytes.
pub const BUNDLE_LIMIT: u64 = 512 * 1024 * 1024;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why a server ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Shutdown,
    Idle,
}

/// Why a server cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the data directory {path} cannot be used: {source}")]
    DataDir { path: PathBuf, source: std::io::Error },
    /// Another server works on the same data.
    #[error("another cadence server uses {path}; stop it with `cadence server stop`, or give another --data-dir")]
    InUse { path: PathBuf },
    #[error(transparent)]
    Agent(#[from] cadence_agent::AgentError),
    #[error("{path}: {error}")]
    Storage { path: PathBuf, error: StoreError },
    #[error("the bridge's endpoint cannot be used: {0}")]
    Bridge(String),
    #[error("the listener failed: {0}")]
    Listener(#[from] std::io::Error),
}

impl ServeError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Storage { error, .. } => error.hint().map(str::to_owned),
            Self::DataDir { source, .. } => Some(match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    "Make room on that disk, or name another directory with CADENCE_DATA_DIR.".to_owned()
                }
                _ => "Make it writable, or name another directory with CADENCE_DATA_DIR.".to_owned(),
            }),
            Self::InUse { .. } | Self::Agent(_) | Self::Bridge(_) | Self::Listener(_) => None,
        }
    }
}
