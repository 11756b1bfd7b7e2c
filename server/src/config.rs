use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

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
    /// Repositories that have a workspace prepared ahead, at most; 0 prepares none.
    pub warm_workspaces: usize,
    /// End by itself when for so long nothing was asked and nothing ran.
    pub idle_exit: Option<Duration>,
    /// Seconds from a runner's heartbeat to the expiry of its lease.
    pub lease_secs: u32,
    /// Agent of tasks that name none.
    pub default_agent: String,
}

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
    #[error("the database cannot be opened: {0}")]
    Storage(String),
    #[error("the listener failed: {0}")]
    Listener(#[from] std::io::Error),
}
