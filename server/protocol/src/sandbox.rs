use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::task::wire_enum;

wire_enum! {
    /// What of the machine an agent may touch.
    SandboxMode, "snake_case" {
        /// Reads system directories, its own program, the workspace and caches; writes the workspace, caches and its own
        /// state; connects to the TCP ports that the settings name.
        Strict = "strict",
        /// Reads everything but what is cadence's own; writes as `strict`.
        Workspace = "workspace",
        /// All that the user may.
        Off = "off",
    }
}

wire_enum! {
    /// What keeps an agent to its bounds.
    SandboxBy, "snake_case" {
        /// The Linux security module: landlock(7).
        Landlock = "landlock",
        /// A mount namespace that bubblewrap makes: bwrap(1).
        Bubblewrap = "bubblewrap",
    }
}

wire_enum! {
    /// What holds an agent to its limits.
    LimitsBy, "snake_case" {
        /// The kernel, in a control group of version 2: cgroups(7).
        Cgroup = "cgroup",
        /// The agent's host, which looks at its processes now and then and ends them.
        Watch = "watch",
    }
}

/// Under what a task's newest attempt runs or ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Sandbox {
    /// The mode in force, which is `off` where the machine has nothing to enforce another with.
    pub mode: SandboxMode,
    /// What enforces it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<SandboxBy>,
    /// What this machine does not keep of it, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weaker: Vec<String>,
    #[serde(default)]
    pub limits: SandboxLimits,
}

/// Bounds of an agent with everything that it starts. What is absent has none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SandboxLimits {
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processors, as a number of whole ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Seconds of work, pauses left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_clock_secs: Option<u64>,
    /// What enforces memory, processors and processes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<LimitsBy>,
}
