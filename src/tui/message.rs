//! What happens, and what is to be done about it: plain values between the loop, the state and the outside.

use std::time::Duration;

use cadence_protocol::{Approval, Decide, Event, PermissionMode, Task};
use uuid::Uuid;

use crate::client::Item;
use crate::error::CommandError;
use crate::talk::session;

use super::saved::Saved;
use super::state::FileDiff;

/// Something that happened.
#[derive(Debug)]
pub enum Message {
    /// A key, the mouse, pasted text, or another size.
    Terminal(crossterm::event::Event),
    /// A second has passed while something on the screen tells the time.
    Tick,
    Stream(Item),
    /// Events of a task after one of them, or why they did not come.
    Page {
        task: Uuid,
        after: u64,
        why: Why,
        result: Result<(Vec<Event>, u64), Failure>,
    },
    /// What waits for an answer, with the number of the question for it.
    Approvals {
        number: u64,
        result: Result<Vec<Approval>, Failure>,
    },
    Diff {
        task: Uuid,
        result: Result<(Vec<FileDiff>, bool), Failure>,
    },
    /// Something that was asked for was done, in words, or was not.
    Done(Result<String, Failure>),
    /// Something was told to agents, or could not be: then it is not lost.
    Sent {
        tasks: Vec<Uuid>,
        text: String,
        result: Result<String, Failure>,
    },
    /// A task is not there any more.
    Gone(Uuid),
    Created(Result<Box<Task>, (Failure, Box<NewTask>)>),
    Voice(session::Message),
    /// The repository that the dashboard was opened in.
    Place(Option<String>),
    Later(Later),
}

/// What a page of events is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Show,
    Search,
}

/// What was put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Later {
    /// The selection has rested, if this is still its number.
    Settled(u64),
    /// The notice with this number has been there for long enough.
    Fade(u64),
    Approvals,
    /// Events that could not be had may be there now.
    Retry,
    /// What is selected was seen, and stays so.
    Seen,
    /// The diff of the open task may be fetched again.
    Diff,
}

/// Why something failed: a sentence and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub error: String,
    pub hints: Vec<String>,
    /// What it is about is not there any more.
    pub gone: bool,
}

impl From<CommandError> for Failure {
    fn from(error: CommandError) -> Self {
        let mut hints: Vec<String> = error.causes();
        hints.extend(error.hints().iter().cloned());
        Self { error: error.message().to_owned(), hints, gone: error.not_found }
    }
}

/// A task to be started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewTask {
    pub description: String,
    /// Path or URL; empty: where the dashboard was opened.
    pub repository: String,
    pub agent: Option<String>,
    pub model: Option<String>,
    pub budget: Option<f64>,
    pub permission: Option<PermissionMode>,
}

/// What is done to tasks as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Pause,
    Resume,
    Cancel,
    Restart,
    Archive,
    Unarchive,
}

impl Act {
    /// What it is called while it is asked about, and when it was done.
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Pause => ("pause", "paused"),
            Self::Resume => ("resume", "goes on"),
            Self::Cancel => ("cancel", "cancelled"),
            Self::Restart => ("restart", "begins anew"),
            Self::Archive => ("archive", "archived"),
            Self::Unarchive => ("unarchive", "taken out again"),
        }
    }
}

/// Something to be done outside.
#[derive(Debug)]
pub enum Effect {
    /// Bring the events of a task after this one; or no longer.
    Follow(Uuid, u64),
    Leave(Uuid),
    Page {
        task: Uuid,
        after: u64,
        why: Why,
    },
    Approvals(u64),
    Diff(Uuid),
    Act(Act, Vec<Uuid>),
    Send(Vec<Uuid>, String),
    Decide(Box<Approval>, Box<Decide>),
    Create(Box<NewTask>),
    Apply(Uuid),
    Copy(String),
    OpenUrl(String),
    /// Opens the files of a task in the editor, which gets the terminal meanwhile.
    OpenWorkspace(Box<Task>),
    After(Duration, Later),
    /// A sentence for the desktop and for ears.
    Announce(String),
    Say(String),
    Voice(session::Effect),
    Reconnect,
    Redraw,
    Save(Saved),
    Suspend,
    Quit,
}
