//! What a command ends with: an exit code, and for a failure a sentence, its cause and hints.

use std::error::Error as StdError;
use std::fmt;
use std::process::ExitCode;

use cadence_protocol::{EndReason, Task, TaskStatus};

/// Exit codes of the program. They are part of its interface: see `cadence help`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    Failed,
    /// The command line, a setting, or what they name is wrong.
    Usage,
    /// No server answers.
    Unreachable,
    /// The server does not let this user do it.
    NotAllowed,
    /// Something that the agent needed was denied.
    Denied,
    /// The agent needs an answer and nobody is there to give it.
    InputNeeded,
    /// The budget, or the number of turns, is used up.
    Budget,
    /// Rate limited when the time ended.
    RateLimited,
    TimedOut,
    Interrupted,
}

impl Exit {
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::NotAllowed => 4,
            Self::Denied => 5,
            Self::InputNeeded => 6,
            Self::Budget => 7,
            Self::RateLimited => 8,
            Self::TimedOut => 9,
            Self::Interrupted => 130,
        }
    }

    /// The code of a task that has ended.
    pub const fn of_task(task: &Task) -> Self {
        match (task.status, task.end_reason) {
            (TaskStatus::Completed | TaskStatus::PrOpen, _) => Self::Done,
            (_, Some(reason)) => Self::of_reason(reason),
            (TaskStatus::Cancelled, None) => Self::Interrupted,
            _ => Self::Failed,
        }
    }

    pub const fn of_reason(reason: EndReason) -> Self {
        match reason {
            EndReason::Done => Self::Done,
            EndReason::Denied => Self::Denied,
            EndReason::Budget | EndReason::Turns => Self::Budget,
            EndReason::RateLimited => Self::RateLimited,
            EndReason::TimedOut => Self::TimedOut,
            EndReason::Cancelled => Self::Interrupted,
            EndReason::Failed
            | EndReason::Auth
            | EndReason::AgentUnavailable
            | EndReason::Workspace
            | EndReason::Lost => Self::Failed,
        }
    }

    /// The worse of two: the one that says less was reached. An interruption outweighs everything.
    pub fn worst(self, other: Self) -> Self {
        let rank = |exit: Self| match exit {
            Self::Done => 0,
            Self::Failed => 20,
            other => other.code(),
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// What every command gives back.
pub type CommandResult = Result<Exit, CommandError>;

/// Why a command failed. `exit` is its kind: each kind has its own code.
pub struct CommandError {
    pub exit: Exit,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    hints: Vec<String>,
    /// Whoever read the output went away; nothing is said about it.
    pub quiet: bool,
    /// The failure was looked up and is not there, so that callers may try something else.
    pub not_found: bool,
}

impl CommandError {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), source: None, hints: Vec::new(), quiet: false, not_found: false }
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn hints(&self) -> &[String] {
        &self.hints
    }

    /// The causes, outermost first, each said once.
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next = self.source.as_deref().map(|source| source as &dyn StdError);
        while let Some(cause) = next {
            let text = cause.to_string();
            if !self.message.contains(&text) && !causes.iter().any(|known| known.contains(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {} {:?} {:?}", self.exit, self.message, self.causes(), self.hints)
    }
}

impl StdError for CommandError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// An output that cannot be written. A reader that went away (`| head`) is no failure.
impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Self { quiet: true, ..Self::new(Exit::Done, "the output was closed") };
        }
        Self::failed("the output cannot be written").caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn every_reason_has_the_documented_code() {
        let codes: Vec<(&str, u8)> = EndReason::ALL.iter().map(|r| (r.as_str(), Exit::of_reason(*r).code())).collect();
        assert_eq!(
            codes,
            [
                ("done", 0),
                ("failed", 1),
                ("denied", 5),
                ("budget", 7),
                ("turns", 7),
                ("rate_limited", 8),
                ("timed_out", 9),
                ("cancelled", 130),
                ("auth", 1),
                ("agent_unavailable", 1),
                ("workspace", 1),
                ("lost", 1),
            ]
        );
    }

    #[test]
    fn the_worst_of_several_is_never_done() {
        assert_eq!(Exit::Done.worst(Exit::Denied), Exit::Denied);
        assert_eq!(Exit::Denied.worst(Exit::Failed), Exit::Failed);
        assert_eq!(Exit::Failed.worst(Exit::TimedOut), Exit::Failed);
        assert_eq!(Exit::Failed.worst(Exit::Interrupted), Exit::Interrupted);
        assert_eq!(Exit::Budget.worst(Exit::Done), Exit::Budget);
    }

    #[test]
    fn a_closed_pipe_is_quiet() {
        let error = CommandError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(error.quiet);
        assert_eq!(error.exit, Exit::Done);
    }

    #[test]
    fn causes_are_said_once() {
        let inner = std::io::Error::other("disk is full");
        let error = CommandError::failed("cannot write: disk is full").caused_by(inner);
        assert!(error.causes().is_empty());
    }
}
