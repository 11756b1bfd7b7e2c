//! What following shows: lines of events, and one line of status.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use cadence_protocol::{Approval, Event, EventData, Task, TaskStatus, WaitingFor};
use uuid::Uuid;

use super::{Followed, Options};
use crate::error::CommandError;
use crate::render::{DIM, EventRenderer, Line, PLAIN, REQUEST_LINES, YELLOW, request, tool_summary};
use crate::terminal::{Screen, Terminal};
use crate::text;

pub struct View {
    screen: Screen,
    options: Options,
    renderers: BTreeMap<Uuid, (EventRenderer, Option<Line>)>,
    descriptions: BTreeMap<Uuid, String>,
    started: Instant,
    /// What happens now, in a few words.
    activity: String,
    /// What is wrong, while it is.
    trouble: Option<String>,
    /// The words that the agent is writing.
    delta: String,
    shown: HashSet<String>,
    /// The lines of an end: shown only when more follows it.
    end: Vec<Line>,
}

/// That the server cannot store what happens, or can again.
pub fn storage(fails: bool, message: &str, hint: Option<String>) -> Vec<Line> {
    let text = if fails { format!("the server waits: {message}") } else { message.to_owned() };
    let mut lines = vec![Line::of(YELLOW, "! ").add(PLAIN, text)];
    lines.extend(hint.map(|hint| Line::of(DIM, format!("  {hint}"))));
    lines
}

impl View {
    pub fn new(tasks: &[Followed], terminal: Terminal, options: Options) -> Self {
        let label_width = tasks.iter().filter_map(|f| f.label.as_ref()).map(Line::width).max().unwrap_or(0);
        let width = terminal.columns().map(|columns| columns.saturating_sub(label_width).max(20));
        let renderer = || {
            let renderer = EventRenderer::new(width);
            let renderer = if options.full { renderer.full() } else { renderer };
            if options.framed { renderer.framed() } else { renderer }
        };
        Self {
            screen: Screen::new(terminal),
            options,
            renderers: tasks.iter().map(|f| (f.task.id, (renderer(), f.label.clone()))).collect(),
            descriptions: tasks.iter().map(|f| (f.task.id, f.task.task_description.clone())).collect(),
            started: Instant::now(),
            activity: String::new(),
            trouble: None,
            delta: String::new(),
            shown: HashSet::new(),
            end: Vec::new(),
        }
    }

    pub fn event(&mut self, event: &Event) -> Result<(), CommandError> {
        match &event.data {
            // With JSON on standard output, the request is shown when it is asked.
            EventData::ApprovalRequested { approval_id, .. }
                if !self.options.json && !self.shown.insert(approval_id.clone()) =>
            {
                return Ok(());
            }
            EventData::ToolUse { tool, input, .. } => {
                self.activity = format!("{tool} {}", tool_summary(input));
            }
            EventData::Output { .. } | EventData::TaskStarted { .. } | EventData::Message { .. } => {
                self.delta.clear();
                self.activity = "thinking".to_owned();
            }
            EventData::FileEdit { .. } | EventData::CommandRun { .. } => self.activity = "thinking".to_owned(),
            EventData::Progress { note: Some(note), .. } => self.activity.clone_from(note),
            _ => {}
        }
        if self.options.json {
            return self.screen.json(event);
        }
        if self.is_said_elsewhere(event) {
            return Ok(());
        }
        let Some((renderer, label)) = self.renderers.get_mut(&event.task_id) else { return Ok(()) };
        let mut lines = renderer.lines(event);
        if let Some(label) = label {
            // Side by side, empty lines around words would only tear apart what belongs together.
            while lines.last().is_some_and(Line::is_blank) {
                lines.pop();
            }
            let blank = lines.iter().take_while(|line| line.is_blank()).count();
            lines.drain(..blank);
            lines = lines.into_iter().map(|line| line.after(label.clone())).collect();
        }
        let ends = match &event.data {
            EventData::TaskCompleted { .. } => true,
            EventData::StatusChanged { to, .. } => to.is_end(),
            _ => false,
        };
        self.end.extend(lines);
        if ends && self.options.summary {
            return Ok(());
        }
        let lines = std::mem::take(&mut self.end);
        self.screen.print(&lines)
    }

    /// Whoever typed the task knows it, and the status line says how far it is.
    fn is_said_elsewhere(&self, event: &Event) -> bool {
        match &event.data {
            EventData::Message { text, .. } => {
                self.options.attended && self.descriptions.get(&event.task_id).is_some_and(|known| known == text)
            }
            EventData::Progress { .. } => self.screen.terminal.status,
            _ => false,
        }
    }

    /// Shows a request, if it is not on the screen yet.
    pub fn request(&mut self, approval: &Approval) -> Result<(), CommandError> {
        if !self.shown.insert(approval.id.clone()) {
            return Ok(());
        }
        let lines = request(approval.kind, &approval.tool, &approval.input, REQUEST_LINES);
        if self.options.json {
            self.screen.note(&lines);
            return Ok(());
        }
        self.screen.print(&lines)
    }

    /// Whether the request of this approval is on the screen.
    pub fn has_shown(&self, approval: &str) -> bool {
        self.shown.contains(approval)
    }

    pub fn delta(&mut self, _task: Uuid, text: &str) {
        self.delta.push_str(text);
        // Only the end is ever seen.
        if self.delta.len() > 4096 {
            let cut = self.delta.len() - 1024;
            let cut = (cut..self.delta.len()).find(|at| self.delta.is_char_boundary(*at)).unwrap_or(0);
            self.delta.drain(..cut);
        }
    }

    /// Says what is wrong, until it is not any more.
    pub fn trouble(&mut self, text: Option<String>) {
        self.trouble = text;
    }

    /// Draws the status line for the tasks that are live.
    pub fn status(&mut self, live: &[&Task]) {
        let elapsed = text::duration(Duration::from_secs(self.started.elapsed().as_secs().max(1)));
        let what = match live {
            [] => return,
            [task] => one(task),
            several => format!("{} tasks run", several.len()),
        };
        let words = self.delta.lines().rfind(|line| !line.trim().is_empty()).unwrap_or(&self.activity);
        let mut line = format!("{what} · {elapsed}");
        if let Some(trouble) = &self.trouble {
            line = format!("{line} · {trouble}");
        } else if !words.is_empty() && live.len() == 1 {
            line = format!("{line} · {words}");
        }
        self.screen.status(&line);
    }

    pub fn clear_status(&mut self) {
        self.screen.clear_status();
    }

    pub fn note(&mut self, lines: &[Line]) {
        self.screen.note(lines);
    }

    pub fn closed(&self) -> bool {
        self.screen.closed()
    }
}

fn one(task: &Task) -> String {
    let word = match (task.status, task.waiting_for) {
        (TaskStatus::Waiting, Some(WaitingFor::RateLimit)) => "rate limited".to_owned(),
        (status, _) => status.to_string(),
    };
    if task.progress > 0 { format!("{word} {}%", task.progress) } else { word }
}
