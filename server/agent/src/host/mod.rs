//! The host process: stands between cadence and one agent, and sees to it that nothing of the agent outlives it.
//!
//! `cadence host` is started with three pipes. Its stdin carries control lines, its stdout and stderr are handed on to the
//! agent as they are. The first line is a [`HostSpec`] as JSON; then `i<text>` is a line for the agent's stdin, `c` closes
//! the agent's stdin, `k` kills the agent with all that it started. The end of the pipe means that whoever started the host
//! died, and kills as well. The host ends with the agent's exit code (128 + signal), and only when the whole tree is gone.

mod cgroup;
mod limits;
mod lines;
mod marks;
mod process;
mod supervise;
mod tree;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::sandbox::Bounds;

pub use cgroup::{limits as has_limiting_groups, usable as has_control_groups};
pub use limits::{LIMIT_REACHED, told_limit};
pub use lines::{Line, LineReader, MAX_LINE};
pub use marks::all_marked;
pub use process::{HostExit, HostProcess, StderrSink};
pub use supervise::run;
pub use tree::kill_marked;

/// Variable that marks an agent's processes with the attempt that they belong to.
pub const MARKER_VARIABLE: &str = "CADENCE_ATTEMPT";

/// What a host shall run.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct HostSpec {
    pub program: PathBuf,
    pub args: Vec<String>,
    pub cwd: PathBuf,
    /// The agent's whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// File that is locked (`flock`) while anything of the agent may still write.
    #[serde(default)]
    pub lock: Option<PathBuf>,
    /// Value of [`MARKER_VARIABLE`] in the agent's environment: `<task>:<attempt>`.
    pub marker: String,
    /// What the agent is kept to. Its confinement is on the command line already where a host reads this.
    #[serde(default)]
    pub bounds: Bounds,
}

impl std::fmt::Debug for HostSpec {
    /// Leaves out the values of the environment: they may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostSpec")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("cwd", &self.cwd)
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("marker", &self.marker)
            .finish()
    }
}

/// The marker of an attempt's processes.
pub fn marker(task_id: uuid::Uuid, attempt: u32) -> String {
    format!("{task_id}:{attempt}")
}
