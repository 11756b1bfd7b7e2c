//! Everything that the dashboard knows and shows, as plain values.

mod diff;
mod forms;
mod item;
mod layout;
mod list;
mod transcript;
mod walk;

use std::collections::BTreeMap;

use cadence_protocol::{Approval, Task, TaskStatus};
use crossterm::event::KeyEvent;
use time::OffsetDateTime;
use tui_input::Input;
use uuid::Uuid;

use super::keymap::{Action, Keymap, Scope, TABLE};
use super::message::Act;
use super::saved::Saved;
use super::theme::Theme;
use crate::error::Exit;
use crate::talk::session::Session;
use crate::talk::watch::Watch;
use crate::voice::Talk;

pub use diff::{DiffRow, DiffView, FileDiff, MOST as MOST_DIFF, parse as parse_diff};
pub use forms::{AGENTS, Compose, EditInput, Field, PERMISSIONS, TaskForm, Typed, paste_line};
pub use item::{Mode, contains};
pub use layout::Layout;
pub use list::{BEATS, Entry, List, Row, Tab, needs_person};
pub use transcript::{PAGE, Place, Transcript};

/// How the server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    Connecting,
    Live,
    /// The connection is back, and what happened meanwhile is on its way.
    CatchingUp,
    /// It is tried again by itself.
    Lost {
        reason: String,
        since: OffsetDateTime,
    },
    /// It is not tried again: the server does not let this user in, or is gone for good.
    Refused {
        error: String,
        hints: Vec<String>,
    },
}

/// Which half has the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Focus {
    #[default]
    List,
    View,
}

/// What is shown of the open task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    #[default]
    Transcript,
    Diff,
    Events,
    Facts,
}

impl Pane {
    pub const ALL: [Self; 4] = [Self::Transcript, Self::Diff, Self::Events, Self::Facts];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Transcript => "Transcript",
            Self::Diff => "Diff",
            Self::Events => "Events",
            Self::Facts => "Facts",
        }
    }
}

/// A search in a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// In lower case.
    pub words: String,
    /// The event where it was found last, or from where it goes on.
    pub at: u64,
    pub forward: bool,
    /// Events are being looked through that were not here; the page that is awaited.
    pub awaited: Option<u64>,
    pub nowhere: bool,
}

/// A task that is looked at.
#[derive(Debug)]
pub struct TaskView {
    pub id: Uuid,
    pub pane: Pane,
    pub transcript: Transcript,
    pub diff: DiffView,
    pub facts_top: usize,
    pub search: Option<Search>,
}

impl TaskView {
    pub fn new(task: &Task) -> Self {
        Self {
            id: task.id,
            pane: Pane::default(),
            transcript: Transcript::new(task.id, task.last_seq),
            diff: DiffView::default(),
            facts_top: 0,
            search: None,
        }
    }
}

/// A line that is typed at the bottom.
#[derive(Clone, Debug)]
pub struct Prompt {
    pub kind: PromptKind,
    pub input: Input,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptKind {
    Filter,
    Search,
}

/// Something over everything else, that has the keys.
#[derive(Debug)]
pub enum Overlay {
    Help {
        top: usize,
    },
    Palette {
        input: Input,
        selected: usize,
    },
    Inbox {
        selected: usize,
        top: usize,
    },
    New(Box<TaskForm>),
    Message(Box<Compose>),
    /// A question of an agent, or why it is refused what it asked for.
    Answer(Box<crate::follow::prompt::Prompt>),
    Edit(Box<EditInput>),
    Confirm(Confirm),
    Voice(Box<Session>),
}

/// Something that would be lost, asked about once.
#[derive(Clone, Debug)]
pub struct Confirm {
    pub question: String,
    pub act: Act,
    pub tasks: Vec<Uuid>,
}

/// A sentence at the bottom that goes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub number: u64,
    pub text: String,
    pub hint: Option<String>,
    pub bad: bool,
}

/// A command as the palette shows it.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    pub action: Action,
    pub about: &'static str,
}

/// Text that was typed and not sent: it is there again when the same is opened.
#[derive(Debug, Default)]
pub struct Drafts {
    pub task: Option<Box<TaskForm>>,
    pub messages: BTreeMap<Uuid, String>,
    /// To several at once.
    pub several: String,
}

#[derive(Debug)]
pub struct State {
    pub now: OffsetDateTime,
    /// Columns and rows.
    pub size: (u16, u16),
    pub theme: Theme,
    pub keymap: Keymap,
    pub connection: Connection,
    pub list: List,
    pub focus: Focus,
    pub view: Option<TaskView>,
    /// The open task has the whole width.
    pub zoomed: bool,
    /// Share of the list, in percent.
    pub split: u16,
    /// The border between the halves is held by the mouse.
    pub resizing: bool,
    pub approvals: Vec<Approval>,
    pub overlay: Option<Overlay>,
    /// The inbox that is gone back to from what was opened in it: what was selected there.
    pub inbox: Option<usize>,
    pub prompt: Option<Prompt>,
    pub notice: Option<Notice>,
    /// What is said in the top line while it lasts.
    pub trouble: Option<(String, Option<String>)>,
    pub drafts: Drafts,
    /// Where new tasks work when nothing else is said.
    pub place: Option<String>,
    /// Terminal tells when a key is let go.
    pub releases: bool,
    pub push: Talk,
    /// The selection that is to be opened when it has rested.
    pub settling: u64,
    pub settling_for: Option<Uuid>,
    /// Whose events are brought.
    pub followed: BTreeMap<Uuid, u64>,
    pub watch: Watch,
    pub wanted: Option<Uuid>,
    pub approvals_asked: bool,
    /// Number of the newest question for approvals, and of the newest answer.
    pub approvals_number: u64,
    pub approvals_answered: u64,
    /// Something else may be under the key that answers: when it came there.
    pub answers_from: OffsetDateTime,
    /// Keys that were pressed; and how many when a task was last sent off.
    pub pressed: u64,
    pub sent_off: u64,
    pub voice_is_there: bool,
    notices: u64,
    /// How the program ends.
    pub exit: Option<Exit>,
}

impl State {
    pub fn new(size: (u16, u16), theme: Theme, keymap: Keymap, saved: &Saved, now: OffsetDateTime) -> Self {
        let mut list = List::default();
        (list.tab, list.grouped) = (saved.tab, saved.grouped);
        Self {
            now,
            size,
            theme,
            keymap,
            connection: Connection::Connecting,
            list,
            focus: Focus::List,
            view: None,
            zoomed: false,
            split: saved.split,
            resizing: false,
            approvals: Vec::new(),
            overlay: None,
            inbox: None,
            prompt: None,
            notice: None,
            trouble: None,
            drafts: Drafts::default(),
            place: None,
            releases: false,
            push: Talk::new(false),
            settling: 0,
            settling_for: None,
            followed: BTreeMap::new(),
            watch: Watch::default(),
            wanted: saved.selected,
            approvals_asked: false,
            approvals_number: 0,
            approvals_answered: 0,
            answers_from: now,
            pressed: 0,
            sent_off: 0,
            voice_is_there: false,
            notices: 0,
            exit: None,
        }
    }

    pub fn saved(&self) -> Saved {
        Saved { tab: self.list.tab, selected: self.list.selected(), grouped: self.list.grouped, split: self.split }
    }

    pub fn layout(&self) -> Layout {
        Layout::of(self)
    }

    /// The places whose keys are in force, the innermost first.
    pub fn scopes(&self) -> &'static [Scope] {
        match (&self.overlay, self.focus) {
            (Some(Overlay::Inbox { .. }), _) => &[Scope::Inbox, Scope::Task, Scope::Global],
            (_, Focus::List) => &[Scope::List, Scope::Task, Scope::Global],
            (_, Focus::View) => &[Scope::View, Scope::Task, Scope::Global],
        }
    }

    /// The task that keys are about: the open one, or the one that is selected.
    pub fn current(&self) -> Option<&Task> {
        let id = match (&self.overlay, self.focus, &self.view) {
            (Some(Overlay::Inbox { selected, .. }), _, _) => self.approvals.get(*selected)?.task_id,
            (_, Focus::View, Some(view)) => view.id,
            _ => self.list.selected()?,
        };
        self.list.get(id).map(|row| &row.task)
    }

    /// Asks for what waits for an answer.
    pub fn ask_approvals(&mut self) -> super::message::Effect {
        self.approvals_number += 1;
        super::message::Effect::Approvals(self.approvals_number)
    }

    /// The tasks that keys are about.
    pub fn targets(&self) -> Vec<Uuid> {
        match (&self.overlay, self.focus) {
            (None, Focus::List) => self.list.targets(),
            _ => self.current().map(|task| task.id).into_iter().collect(),
        }
    }

    /// What a task waits for.
    pub fn approval_of(&self, id: Uuid) -> Option<&Approval> {
        if let Some(Overlay::Inbox { selected, .. }) = &self.overlay {
            return self.approvals.get(*selected).filter(|approval| approval.task_id == id);
        }
        self.approvals.iter().find(|approval| approval.task_id == id)
    }

    pub fn next_number(&mut self) -> u64 {
        self.notices += 1;
        self.notices
    }

    /// Whether something on the screen tells the time.
    pub fn ticks(&self) -> bool {
        let counting = |task: &Task| matches!(task.status, TaskStatus::Running | TaskStatus::Waiting);
        matches!(self.connection, Connection::Lost { .. })
            || self.list.shown().any(|id| self.list.get(id).is_some_and(|row| counting(&row.task)))
    }

    /// The commands that these words find, the best first.
    pub fn commands(&self, words: &str) -> Vec<Command> {
        let words = words.to_lowercase();
        let mut found: Vec<(u8, Command)> = TABLE
            .iter()
            .filter(|entry| self.scopes().contains(&entry.scope))
            .filter(|entry| !matches!(entry.action, Action::Palette))
            .filter_map(|entry| {
                let rank = if entry.name.starts_with(&words) {
                    0
                } else if entry.name.contains(&words) {
                    1
                } else if words.split_whitespace().all(|word| entry.about.to_lowercase().contains(word)) {
                    2
                } else {
                    return None;
                };
                Some((rank, Command { action: entry.action, about: entry.about }))
            })
            .collect();
        found.sort_by_key(|(rank, _)| *rank);
        found.into_iter().map(|(_, command)| command).collect()
    }
}

/// How long a task has worked, or did: in seconds.
pub fn elapsed(task: &Task, now: OffsetDateTime) -> Option<std::time::Duration> {
    let from = task.started_at?;
    let until = match task.status {
        // How long it worked before is not known, and it does not work now.
        TaskStatus::Paused => return None,
        status if status.is_end() => task.completed_at.unwrap_or(now),
        _ => now,
    };
    Some(std::time::Duration::try_from(until - from).unwrap_or_default())
}

/// Types into a line.
pub fn type_key(input: &mut Input, key: KeyEvent) {
    use tui_input::backend::crossterm::EventHandler;
    input.handle_event(&crossterm::event::Event::Key(key));
}
