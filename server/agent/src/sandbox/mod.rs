//! Keeping agents to their workspace: what they may read, write and connect to, and how much of the machine they may take.
//!
//! [`Policy`] is what the settings say, [`Offer`] what the machine can enforce, [`Place`] where one attempt works; together
//! they give its [`Bounds`]. The files and ports of a [`Confinement`] are enforced by Landlock, in a program of ours that
//! becomes the agent (`cadence confine`), or by bubblewrap; the limits by the host process.

#[cfg(target_os = "linux")]
mod landlock;

mod around;
mod bwrap;
mod confine;
mod offer;
mod paths;
mod policy;

use std::path::{Path, PathBuf};

use cadence_protocol::{SandboxBy, SandboxLimits, SandboxMode};
use serde::{Deserialize, Serialize};

pub use confine::run;
pub use offer::Offer;
pub use paths::Place;
pub use policy::{Decision, Policy, Unenforceable};

/// What one agent is kept to. The default is no bounds at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    pub confinement: Option<Confinement>,
    pub limits: SandboxLimits,
}

/// What of the file system and the network an agent may touch, and who sees to it. All paths are absolute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confinement {
    /// Never [`SandboxMode::Off`].
    pub mode: SandboxMode,
    pub by: SandboxBy,
    /// What is read beside what is written: in `strict` nothing else, in `workspace` beside everything that is not hidden.
    pub read: Vec<PathBuf>,
    /// What is read and written. Only the workspace has to be there.
    pub write: Vec<PathBuf>,
    /// What is not read, unless it is named above.
    pub hidden: Vec<PathBuf>,
    /// TCP ports that may be connected to; none leaves all.
    pub ports: Option<Vec<u16>>,
    pub workspace: PathBuf,
    /// Directories among `write` that a tool or the agent makes where it first needs them. They cannot be given before they
    /// are there, so they are made ahead.
    #[serde(skip)]
    pub make: Vec<PathBuf>,
}

/// A command line: the program and its arguments.
pub type CommandLine = (PathBuf, Vec<String>);

impl Confinement {
    /// Makes the directories of `make`. What cannot be made is left: then the agent could not, either.
    pub fn make_directories(&self) {
        for path in self.make.iter().filter(|path| !path.exists()) {
            drop(std::fs::create_dir_all(path));
        }
    }

    /// The command line that runs this one confined. `cadence` is the program with the subcommand `confine`.
    pub fn wrap(&self, cadence: &Path, (program, arguments): CommandLine) -> Result<CommandLine, serde_json::Error> {
        let mut line = match self.by {
            SandboxBy::Landlock => vec!["confine".to_owned(), serde_json::to_string(self)?],
            SandboxBy::Bubblewrap => bwrap::arguments(self),
        };
        line.extend(["--".to_owned(), program.to_string_lossy().into_owned()]);
        line.extend(arguments);
        let starter = match self.by {
            SandboxBy::Landlock => cadence.to_owned(),
            SandboxBy::Bubblewrap => PathBuf::from(bwrap::PROGRAM),
        };
        Ok((starter, line))
    }
}
