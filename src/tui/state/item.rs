//! Events as they are shown: each by itself, or with those that belong to it.

use std::cell::RefCell;
use std::rc::Rc;

use cadence_protocol::{Event, EventData};

use crate::render::{DIM, EventRenderer, Line, PLAIN};

/// How events are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Readable,
    /// As they are stored.
    Raw,
}

/// Something that is shown, and unfolded, as one: a command with its output, a request with its answer.
#[derive(Debug)]
pub struct Item {
    pub events: Vec<Event>,
    /// An empty line stands before it.
    pub gap: bool,
    look: RefCell<Option<Look>>,
}

#[derive(Debug)]
struct Look {
    width: usize,
    unfolded: bool,
    lines: Rc<[Line]>,
}

impl Item {
    pub fn of(event: Event) -> Self {
        Self { events: vec![event], gap: false, look: RefCell::default() }
    }

    pub fn first(&self) -> u64 {
        self.events.first().map_or(0, |event| event.seq)
    }

    /// It looks otherwise than before.
    pub fn forget(&self) {
        self.look.take();
    }

    /// Whether the event belongs to it.
    pub fn takes(&self, event: &Event) -> bool {
        let Some(own) = self.events.first() else { return false };
        let ended = self.events.iter().any(|e| matches!(e.data, EventData::CommandRun { .. }));
        match (&own.data, &event.data) {
            (EventData::ToolUse { tool, input, .. }, EventData::CommandRun { command, .. }) => {
                tool == "Bash" && !ended && input.get("command").and_then(|c| c.as_str()) == Some(command)
            }
            (EventData::ApprovalRequested { approval_id, .. }, EventData::ApprovalResolved { approval_id: id, .. }) => {
                approval_id == id
            }
            _ => false,
        }
    }

    /// Whether it stands apart from what is around it.
    pub fn apart(&self) -> bool {
        self.events.first().is_some_and(|event| {
            matches!(
                event.data,
                EventData::Output { .. }
                    | EventData::Message { .. }
                    | EventData::ApprovalRequested { .. }
                    | EventData::TaskCompleted { .. }
                    | EventData::Error { .. }
            )
        })
    }

    pub fn lines(&self, width: usize, unfolded: bool, mode: Mode) -> Rc<[Line]> {
        if let Some(look) = &*self.look.borrow()
            && look.width == width
            && look.unfolded == unfolded
        {
            return Rc::clone(&look.lines);
        }
        let mut lines = match mode {
            Mode::Readable => self.readable(width, unfolded),
            Mode::Raw => self.events.iter().flat_map(|event| raw(event, width, unfolded)).collect(),
        };
        if self.gap && !lines.is_empty() {
            lines.insert(0, Line::new());
        }
        let lines: Rc<[Line]> = lines.into();
        *self.look.borrow_mut() = Some(Look { width, unfolded, lines: Rc::clone(&lines) });
        lines
    }

    fn readable(&self, width: usize, unfolded: bool) -> Vec<Line> {
        let mut renderer = EventRenderer::new(Some(width)).framed();
        if unfolded {
            renderer = renderer.full();
        }
        let mut lines: Vec<Line> = self.events.iter().flat_map(|event| renderer.lines(event)).collect();
        if let (true, [Event { data: EventData::ToolUse { tool, input, .. }, .. }]) = (unfolded, self.events.as_slice())
            && tool != "Bash"
        {
            if lines.is_empty() {
                lines.push(Line::of(DIM, "● ").add(PLAIN, crate::text::clean_line(tool)));
            }
            let input = serde_json::to_string_pretty(input).unwrap_or_default();
            lines.extend(input.lines().map(|line| Line::of(DIM, "    ").add(DIM, line)));
        }
        let blank = |line: &Line| line.is_blank();
        while lines.last().is_some_and(blank) {
            lines.pop();
        }
        let leading = lines.iter().take_while(|line| blank(line)).count();
        lines.drain(..leading);
        lines.into_iter().flat_map(|line| line.wrap(width, 4)).collect()
    }
}

fn raw(event: &Event, width: usize, unfolded: bool) -> Vec<Line> {
    let head = Line::of(DIM, format!("{:>7} ", event.seq)).add(PLAIN, format!("{:<18} ", event.kind));
    if unfolded {
        let text = serde_json::to_string_pretty(event).unwrap_or_default();
        let lines = text.lines().map(|line| Line::of(PLAIN, line).indent(8)).flat_map(|line| line.wrap(width, 10));
        return std::iter::once(head).chain(lines).collect();
    }
    let text = serde_json::to_string(&event.data).unwrap_or_default();
    vec![head.add(DIM, crate::text::cut(&text, width.saturating_sub(27)))]
}

/// Roughly how much memory it takes.
pub fn weight(event: &Event) -> usize {
    let data = match &event.data {
        EventData::Output { text } | EventData::Message { text, .. } => text.len(),
        EventData::CommandRun { command, output, .. } => command.len() + output.as_ref().map_or(0, String::len),
        EventData::FileEdit { path, diff, .. } => path.len() + diff.as_ref().map_or(0, String::len),
        EventData::ToolUse { input, .. } | EventData::ApprovalRequested { input, .. } => weight_of(input),
        _ => 64,
    };
    data + 160
}

fn weight_of(value: &serde_json::Value) -> usize {
    use serde_json::Value;
    match value {
        Value::String(text) => text.len() + 24,
        Value::Array(values) => values.iter().map(weight_of).sum::<usize>() + 24,
        Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + 48 + weight_of(value)).sum(),
        _ => 24,
    }
}

/// Whether an event has these words, given in lower case, in what is shown of it.
pub fn contains(event: &Event, words: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(words);
    match &event.data {
        EventData::Output { text } | EventData::Message { text, .. } => has(text),
        EventData::CommandRun { command, output, .. } => has(command) || output.as_deref().is_some_and(has),
        EventData::FileEdit { path, diff, .. } => has(path) || diff.as_deref().is_some_and(has),
        EventData::Error { message, .. } => has(message),
        EventData::ToolUse { tool, input, .. } | EventData::ApprovalRequested { tool, input, .. } => {
            has(tool) || has(&input.to_string())
        }
        data => serde_json::to_string(data).is_ok_and(|text| has(&text)),
    }
}
