use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

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
    /// End by itself when for so long nothing was asked and nothing ran.
    pub idle_exit: Option<Duration>,
    /// Seconds from a runner's heartbeat to the expiry of its lease.
    pub lease_secs: u32,
    /// Agent of tasks that name none.
    pub default_agent: String,
    pub retention: Retention,
    /// US dollars that each user may spend in a calendar month in UTC, over all agents and machines; none: no limit.
    pub month_usd: Option<f64>,
    pub voice: cadence_speech::Settings,
    /// Reads them again, where people change them while the server runs.
    pub voice_reload: Option<crate::VoiceReload>,
    /// Keys and addresses of speech engines and models ([`crate::VOICE_VARIABLES`]).
    pub voice_environment: std::collections::BTreeMap<String, String>,
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
    #[error("{path}: {error}")]
    Storage { path: PathBuf, error: StoreError },
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
            Self::InUse { .. } | Self::Listener(_) => None,
        }
    }
}
