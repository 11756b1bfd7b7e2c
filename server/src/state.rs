//! What may follow what, and how a task's status follows from its newest attempt and its pull request. Pure.

use std::fmt;
use std::str::FromStr;

use cadence_protocol::{EndReason, LiveState, PrState, TaskStatus};

/// State of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptState {
    Pending,
    Running,
    Waiting,
    Paused,
    Succeeded,
    Failed,
    Cancelled,
}

impl AttemptState {
    pub const ALL: [Self; 7] =
        [Self::Pending, Self::Running, Self::Waiting, Self::Paused, Self::Succeeded, Self::Failed, Self::Cancelled];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub const fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Running | Self::Waiting | Self::Paused)
    }

    /// The state in which an attempt ends for a reason.
    pub const fn ended(reason: EndReason) -> Self {
        match reason {
            EndReason::Done => Self::Succeeded,
            EndReason::Cancelled => Self::Cancelled,
            _ => Self::Failed,
        }
    }
}

impl From<LiveState> for AttemptState {
    fn from(state: LiveState) -> Self {
        match state {
            LiveState::Running => Self::Running,
            LiveState::Waiting => Self::Waiting,
            LiveState::Paused => Self::Paused,
        }
    }
}

impl fmt::Display for AttemptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AttemptState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| format!("`{text}` is no state of an attempt"))
    }
}

/// The status of a task whose newest attempt and pull request are in these states.
pub fn status(attempt: AttemptState, pull_request: Option<PrState>) -> TaskStatus {
    match (attempt, pull_request) {
        (AttemptState::Pending, _) => TaskStatus::Pending,
        (AttemptState::Running, _) => TaskStatus::Running,
        (AttemptState::Waiting, _) => TaskStatus::Waiting,
        (AttemptState::Paused, _) => TaskStatus::Paused,
        (_, Some(PrState::Merged)) => TaskStatus::Completed,
        (_, Some(PrState::Closed)) => TaskStatus::Cancelled,
        (AttemptState::Succeeded, Some(PrState::Open)) => TaskStatus::PrOpen,
        (AttemptState::Succeeded, None) => TaskStatus::Completed,
        (AttemptState::Failed, _) => TaskStatus::Failed,
        (AttemptState::Cancelled, _) => TaskStatus::Cancelled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_live_attempt_decides_alone() {
        for pull_request in [None, Some(PrState::Open), Some(PrState::Merged), Some(PrState::Closed)] {
            for state in AttemptState::ALL.into_iter().filter(|s| s.is_live()) {
                assert_eq!(status(state, pull_request).as_str(), state.as_str());
                assert!(!status(state, pull_request).is_end());
            }
        }
    }

    #[test]
    fn an_ended_attempt_yields_to_what_became_of_its_pull_request() {
        use AttemptState::{Cancelled, Failed, Succeeded};
        let table = [
            (Succeeded, None, TaskStatus::Completed),
            (Succeeded, Some(PrState::Open), TaskStatus::PrOpen),
            (Succeeded, Some(PrState::Merged), TaskStatus::Completed),
            (Succeeded, Some(PrState::Closed), TaskStatus::Cancelled),
            (Failed, None, TaskStatus::Failed),
            (Failed, Some(PrState::Open), TaskStatus::Failed),
            (Failed, Some(PrState::Merged), TaskStatus::Completed),
            (Cancelled, None, TaskStatus::Cancelled),
            (Cancelled, Some(PrState::Merged), TaskStatus::Completed),
        ];
        for (attempt, pull_request, expected) in table {
            assert_eq!(status(attempt, pull_request), expected, "{attempt} with {pull_request:?}");
        }
    }

    #[test]
    fn words_are_read_back() {
        for state in AttemptState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }
}
