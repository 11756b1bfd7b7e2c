//! What every agent offers the runner, whatever program is behind it.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;

use cadence_protocol::{CommandBody, EventData, PermissionMode, Usage};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::sandbox::Bounds;

/// A future that can be kept in a box; agents are chosen at run time.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A coding agent.
pub trait Agent: Send + Sync {
    /// The name by which tasks choose it: `claude`, `demo`.
    fn name(&self) -> &'static str;

    /// Where its program is; cheap, so that a missing one is said before anything is prepared for it.
    fn find(&self, environment: &BTreeMap<String, String>) -> Result<PathBuf, AgentError>;

    /// Whether its program runs, and which version it is. `environment` is what a task's process would have.
    fn probe<'a>(&'a self, environment: &'a BTreeMap<String, String>) -> BoxFuture<'a, Result<Probe, AgentError>>;

    /// Starts a session in the workspace and gives it the prompt.
    fn start(&self, launch: Launch) -> BoxFuture<'_, Result<Session, AgentError>>;
}

/// What is known of an installed agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub version: String,
    pub program: PathBuf,
}

/// How a session is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The attempt that it is for; marks the agent's processes.
    pub task_id: Uuid,
    pub attempt: u32,
    /// Working directory: the workspace's checkout.
    pub directory: PathBuf,
    /// First message to the agent.
    pub prompt: String,
    /// What [`Output::Taken`] says when the agent has taken it.
    pub prompt_id: Uuid,
    pub session: SessionStart,
    pub model: Option<String>,
    pub permission: PermissionMode,
    /// US dollars that this process may still spend.
    pub budget_usd: Option<f64>,
    pub max_turns: Option<u32>,
    /// The whole environment of the agent's process; nothing else is inherited.
    pub environment: BTreeMap<String, String>,
    /// The cadence program itself, which serves as host process (`cadence host`).
    pub host: PathBuf,
    /// File that the host process locks while anything of the agent may still write.
    pub lock: Option<PathBuf>,
    /// File that the agent's raw lines and its stderr are appended to, for diagnosis.
    pub raw_log: Option<PathBuf>,
    /// What the agent's process is kept to: goes into its [`HostSpec`](crate::host::HostSpec) as it is.
    pub bounds: Bounds,
}

/// Whether a session is new or goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionStart {
    /// A new one, with this id where the agent lets us choose it.
    New(Uuid),
    /// Continue this session of the agent's own.
    Resume(String),
}

/// A running agent. Dropping it kills the agent's whole process tree.
#[derive(Debug)]
pub struct Session {
    pub input: mpsc::Sender<Input>,
    /// Ends with [`Output::Exited`].
    pub output: mpsc::Receiver<Output>,
}

/// What the runner tells an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A follow-up: taken at the next boundary during a turn, else the start of a new turn.
    Message { id: Uuid, text: String },
    /// Stop the turn; the session lives and a message goes on. The next [`Output::TurnEnd`] is the answer, whatever its
    /// outcome (the turn may just have ended). Between turns it has no effect and no answer.
    Interrupt,
    /// The answer to an [`EventData::ApprovalRequested`]; always a [`CommandBody::Approval`].
    Approval(CommandBody),
    /// No more input: end when what runs has ended.
    Close,
    /// End now, with everything that it started.
    Kill,
}

/// What an agent tells the runner.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Something to store. Approvals come as `ApprovalRequested`; one that the agent takes back as `ApprovalResolved`
    /// with `withdrawn`. Never `TaskCompleted` or `StatusChanged`: those are the server's.
    Event(EventData),
    /// Transient text of the `Output` event that follows.
    Delta(String),
    /// The agent has taken this message; one that was sent and not taken is still to come, and a turn with it.
    Taken(Uuid),
    /// The agent's session is known.
    Started { session_id: String, model: Option<String> },
    /// Total of this process so far.
    Usage(Usage),
    /// The agent tries a request again that the model's service refused.
    Retrying { rate_limited: bool },
    /// A turn ended; the agent waits for input or a background command of its own.
    TurnEnd(TurnEnd),
    /// The process is gone, and everything that it started.
    Exited { code: Option<i32>, stderr: String },
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnEnd {
    pub outcome: TurnOutcome,
    /// The agent's last words, or what went wrong.
    pub summary: String,
    /// What it was denied in this turn.
    pub denials: Vec<Denial>,
    /// Background commands of the agent's own that still run; another turn follows when they end.
    pub background: usize,
}

/// A tool that the agent wanted and did not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    pub tool: String,
    pub what: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TurnOutcome {
    Success,
    /// By [`Input::Interrupt`], or a denial that stops the turn.
    Interrupted,
    Budget,
    Turns,
    /// The model's service refuses for its rate; try again after so many seconds, where it said so.
    RateLimited {
        retry_after_secs: Option<u64>,
    },
    /// The model's service refused the credentials.
    Auth,
    /// The agent does not know the session of [`SessionStart::Resume`]; start a new one. The process ends.
    ResumeFailed,
    Failed,
}

/// Why an agent cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// Its program is not there. `hint` is the command that installs it.
    #[error("{agent} is not installed: {program} was not found")]
    Missing { agent: &'static str, program: String, hint: String },
    #[error("{agent} did not start: {reason}")]
    Start { agent: &'static str, reason: String },
    #[error("there is no agent `{0}`")]
    Unknown(String),
}
