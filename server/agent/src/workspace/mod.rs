//! Workspaces: a clone for each task, made from a mirror that cadence keeps of each repository.
//!
//! The user's repository is read, and gains the branch of the task; nothing else in it changes. A workspace borrows the
//! objects of the mirror (what `git clone --shared` does), so making one copies only the working tree.

mod access;
mod apply;
mod bundle;
mod cache;
mod command;
mod dependencies;
mod error;
mod finish;
mod include;
mod inner;
mod inspect;
mod lock;
mod mirror;
mod names;
mod partial;
mod plain;
mod prepare;
mod publish;
mod remove;
mod repair;
mod review;
mod settings;
mod setup;
mod snapshot;
mod submodules;
mod warm;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use access::RepositorySettings;
pub use apply::{Applied, ApplyMode, apply, apply_since};
pub use bundle::{
    BundleError, BundleHead, BundleHeader, Examined, MAX_HEADER, Remote, ResultBundle, Taken, examine, take_bundle,
};
pub use cache::{CacheLimits, CachedRepository};
pub use dependencies::{Installation, Installed};
pub use error::WorkspaceError;
pub use finish::Finished;
pub use inspect::{Checkout, inspect};
pub use lock::Lock;
pub use names::{Origin, branch_name, is_branch_name, repo_name};
pub use partial::Partial;
pub use warm::WarmFault;

use crate::git::credentials::HostCredentials;
use crate::git::{Git, NETWORK_LIMIT};

/// Variables for git and for what runs in a workspace.
pub type Environment = BTreeMap<String, String>;

const RECORD: &str = "workspace.json";
const STAGED: &str = "workspace.json.new";
const LOCK: &str = "lock";
/// Held by the agent's host process for as long as anything of the agent may still write.
const AGENT_LOCK: &str = "agent.lock";
const AGENT_LOG: &str = "agent.log";

/// The workspace's repository as cadence sees it: links to what the agent has, and settings of our own.
const COMMON: &str = "common";

/// All workspaces under one data directory.
#[derive(Clone, Debug)]
pub struct Workspaces {
    data: PathBuf,
    network_limit: Duration,
    /// Repositories that have a workspace kept warm, at most.
    warm: usize,
    in_use: Arc<warm::InUse>,
    /// Program that gives git its credentials.
    helper: Option<PathBuf>,
    credentials: Arc<HostCredentials>,
    cache: CacheLimits,
    partial: Partial,
    /// Whether packages are installed where a repository does not say.
    install: bool,
}

/// What a workspace is made from.
#[derive(Clone, Debug)]
pub struct Prepare {
    pub task_id: Uuid,
    /// Name of the checkout's directory.
    pub repo_name: String,
    pub origin: Origin,
    /// Start from this commit: one of the origin, reachable from a branch or not, or one of [`Workspaces::snapshot`].
    pub commit: Option<String>,
    /// A file that has the commit where the origin may not, see [`Workspaces::bundle_file`].
    pub bundle: Option<PathBuf>,
    /// Branch that the work starts from, and the commit too where none is given. None: the origin's HEAD.
    pub base_branch: Option<String>,
    /// The task's branch, see [`branch_name`].
    pub branch: String,
    /// Where git takes PATH, HOME and its credentials from. Never stored.
    pub environment: Environment,
}

/// The workspace of a task.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub task_id: Uuid,
    /// The checkout, where the agent works.
    pub directory: PathBuf,
    pub base_commit: String,
    /// Empty where the checkout was on no branch.
    pub base_branch: String,
    pub branch: String,
    /// Local paths are those of the repository's top; URLs have no credentials.
    pub origin: Origin,
    /// `<data>/workspaces/<task>`.
    home: PathBuf,
    mirror: PathBuf,
    /// The user's repository itself, where the origin is local.
    repository: Option<PathBuf>,
    identity: Identity,
    environment: Environment,
}

/// Who commits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    name: String,
    email: String,
}

/// A workspace as it is stored. Paths are relative to the data directory where they are in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    version: u32,
    checkout: String,
    mirror: String,
    repository: Option<PathBuf>,
    base_commit: String,
    base_branch: String,
    branch: String,
    origin: Origin,
    identity: Identity,
    /// Where the branch was left in the user's repository; nobody else moved it when it still is there.
    published: Option<String>,
}

impl Workspaces {
    /// Those under `data_dir`. Nothing is made before it is needed.
    pub fn new(data_dir: &Path) -> Self {
        Self {
            data: data_dir.to_path_buf(),
            network_limit: NETWORK_LIMIT,
            warm: 0,
            in_use: Arc::default(),
            helper: None,
            credentials: Arc::default(),
            cache: CacheLimits::default(),
            partial: Partial::default(),
            install: true,
        }
    }

    /// How many repositories may have a workspace prepared ahead; none unless told. See [`Workspaces::keep_warm`].
    #[must_use]
    pub fn with_warm(mut self, repositories: usize) -> Self {
        self.warm = repositories;
        self
    }

    /// How long one command may take that talks to another machine; 10 minutes unless told.
    #[must_use]
    pub fn with_network_limit(mut self, limit: Duration) -> Self {
        self.network_limit = limit;
        self
    }

    fn home(&self, task_id: Uuid) -> PathBuf {
        self.data.join("workspaces").join(task_id.to_string())
    }

    fn mirrors(&self) -> PathBuf {
        self.data.join("mirrors")
    }

    /// The workspace of a task, where there is one.
    pub fn open(&self, task_id: Uuid) -> Result<Option<Workspace>, WorkspaceError> {
        let home = self.home(task_id);
        let Some(record) = Record::read(&home)? else { return Ok(None) };
        Ok(Some(Workspace {
            task_id,
            directory: home.join(&record.checkout),
            base_commit: record.base_commit,
            base_branch: record.base_branch,
            branch: record.branch,
            origin: record.origin,
            mirror: self.mirrors().join(&record.mirror),
            repository: record.repository,
            identity: record.identity,
            environment: Environment::new(),
            home,
        }))
    }
}

impl Workspace {
    /// Takes the workspace for one writer; waits for another one, and for an agent that still lives, at most `wait`.
    pub async fn lock(&self, wait: Duration) -> Result<Lock, WorkspaceError> {
        let held = lock::lock(&self.home.join(LOCK), wait).await?;
        drop(lock::lock(&self.agent_lock(), wait).await?);
        Ok(held)
    }

    /// File that an agent's host locks (`flock`) while anything of the agent may still write; [`Workspace::lock`] waits
    /// for it.
    pub fn agent_lock(&self) -> PathBuf {
        self.home.join(AGENT_LOCK)
    }

    /// Where git in the workspace finds objects that it has not itself: they are read there and not changed.
    pub fn borrowed(&self) -> Vec<PathBuf> {
        vec![self.mirror.join("objects")]
    }

    /// File for the agent's raw log.
    pub fn agent_log(&self) -> PathBuf {
        self.home.join(AGENT_LOG)
    }

    /// Git takes its PATH, HOME and credentials from here; without it, from this process.
    #[must_use]
    pub fn with_environment(mut self, environment: Environment) -> Self {
        self.environment = environment;
        self
    }

    fn git_dir(&self) -> PathBuf {
        self.directory.join(".git")
    }

    /// Git in the workspace. Its repository is named, so that one above is never taken where the agent removed it; and its
    /// settings are those that it was made with, so that no program runs that the agent wrote into them.
    fn git(&self) -> Git {
        let git = Git::new(&self.directory, &self.environment)
            .repository(&self.git_dir())
            .env("GIT_WORK_TREE", &self.directory);
        let common = self.home.join(COMMON);
        let git = if common.join("config").is_file() { git.env("GIT_COMMON_DIR", common) } else { git };
        git.setting(format!("user.name={}", self.identity.name)).setting(format!("user.email={}", self.identity.email))
    }

    fn branch_ref(&self) -> String {
        format!("refs/heads/{}", self.branch)
    }

    /// A note for later, in the record.
    fn record(&self, change: impl FnOnce(&mut Record)) -> Result<(), WorkspaceError> {
        let path = self.home.join(RECORD);
        let mut record = Record::read(&self.home)?
            .ok_or_else(|| WorkspaceError::Damaged { path: path.clone(), reason: "it is gone".into() })?;
        change(&mut record);
        record.write(&self.home)
    }
}

impl Record {
    fn read(home: &Path) -> Result<Option<Self>, WorkspaceError> {
        Self::read_file(home, RECORD)
    }

    fn read_file(home: &Path, name: &str) -> Result<Option<Self>, WorkspaceError> {
        let path = home.join(name);
        let damaged = |reason: String| WorkspaceError::Damaged { path: path.clone(), reason };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(WorkspaceError::io("reading", &path)(error)),
        };
        let record: Self = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let plain = |name: &str| !name.is_empty() && !name.starts_with('.') && !name.contains('/');
        if record.version != 1 || !plain(&record.checkout) || !plain(&record.mirror) {
            return Err(damaged("it is of another version of cadence, or was edited".into()));
        }
        if !names::is_object_id(&record.base_commit) || !names::is_work_branch(&record.branch) {
            return Err(damaged("its commit or branch is none".into()));
        }
        Ok(Some(record))
    }

    fn write(&self, home: &Path) -> Result<(), WorkspaceError> {
        self.stage(home)?;
        Self::publish(home)
    }

    /// On the disk, to be found only after [`Record::publish`].
    fn stage(&self, home: &Path) -> Result<(), WorkspaceError> {
        let path = home.join(STAGED);
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| WorkspaceError::Damaged { path: path.clone(), reason: error.to_string() })?;
        write_file(&path, text.as_bytes())
    }

    /// Puts the staged record in its place.
    fn publish(home: &Path) -> Result<(), WorkspaceError> {
        let path = home.join(RECORD);
        fs::rename(home.join(STAGED), &path).map_err(WorkspaceError::io("writing", &path))
    }
}

/// Name of the checkout's directory, beside which cadence's own files are.
fn checkout_name(repo_name: &str) -> String {
    let name = names::directory_name(repo_name);
    let own = [
        RECORD,
        STAGED,
        LOCK,
        AGENT_LOCK,
        AGENT_LOG,
        COMMON,
        inner::KNOWN,
        setup::DONE,
        setup::TEARDOWN,
        dependencies::PENDING,
    ];
    let own = own.contains(&name.as_str());
    if own || name.starts_with(repair::ASIDE) { format!("{name}-repository") } else { name }
}

/// Writes a private file whole or not at all.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), WorkspaceError> {
    let directory = path.parent().unwrap_or(path);
    let write = || {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(WorkspaceError::io("writing", path))
}

/// Makes a directory, and those above it, that only the user can read.
fn private_dir(path: &Path) -> Result<(), WorkspaceError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(WorkspaceError::io("making", path))
}

/// Removes a directory with everything in it, write-protected directories too. Nothing there is fine. Blocks.
fn remove_tree(path: &Path) -> Result<(), WorkspaceError> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            unprotect(path);
            fs::remove_dir_all(path)
        }
        other => other,
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(WorkspaceError::io("removing", path)(error)),
        _ => Ok(()),
    }
}

fn unprotect(directory: &Path) {
    let _ = fs::set_permissions(directory, fs::Permissions::from_mode(0o700));
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            unprotect(&entry.path());
        }
    }
}
