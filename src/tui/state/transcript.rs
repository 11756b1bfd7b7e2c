//! A task's events as a window of items that is moved over them: what is far away is let go, and fetched again.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use cadence_protocol::{Event, EventData};
use uuid::Uuid;

use crate::render::{DIM, EventRenderer, Line, PLAIN};

/// Events that are fetched at once.
pub const PAGE: u64 = 500;
/// Events that are kept, and bytes of them.
const MOST: usize = 4_000;
const MOST_BYTES: usize = 32 << 20;
/// Bytes of text to come that are shown.
const MOST_DELTA: usize = 32 << 10;
/// Items that are looked at for what an event belongs to: several tools may be under way.
const TOGETHER: usize = 12;

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
struct Item {
    events: Vec<Event>,
    /// An empty line stands before it.
    gap: bool,
    look: RefCell<Option<Look>>,
}

#[derive(Debug)]
struct Look {
    width: usize,
    unfolded: bool,
    lines: Rc<[Line]>,
}

impl Item {
    fn of(event: Event) -> Self {
        Self { events: vec![event], gap: false, look: RefCell::default() }
    }

    fn first(&self) -> u64 {
        self.events.first().map_or(0, |event| event.seq)
    }

    /// Whether the event belongs to it.
    fn takes(&self, event: &Event) -> bool {
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
    fn apart(&self) -> bool {
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

    fn lines(&self, width: usize, unfolded: bool, mode: Mode) -> Rc<[Line]> {
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
fn weight(event: &Event) -> usize {
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

/// Where the view is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// At the end, and it goes along with it.
    End,
    /// The topmost line: one of the item that begins with this event.
    Top { seq: u64, line: usize },
}

/// Events that are to be fetched: those after this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    pub after: u64,
}

/// A line on the screen.
#[derive(Clone, Debug)]
pub struct Shown {
    pub line: Line,
    /// The item that it is of.
    pub seq: u64,
    pub marked: bool,
}

/// Length of the text to come, the width, and the lines that it makes.
type Coming = (usize, usize, Rc<[Line]>);

/// The events of one task, as far as they are here.
#[derive(Debug)]
pub struct Transcript {
    pub task: Uuid,
    mode: Mode,
    items: VecDeque<Item>,
    count: usize,
    bytes: usize,
    /// Number of the newest event that there is.
    end: u64,
    place: Place,
    /// Items whose folding is not that of the others.
    toggled: BTreeSet<u64>,
    all_unfolded: bool,
    mark: Option<u64>,
    delta: String,
    /// The text to come as lines, by its length and the width.
    coming: RefCell<Option<Coming>>,
    /// What was asked for and has not come.
    wanted: Option<Want>,
    /// The last that was asked for could not be had; it is asked for again when that is said.
    stuck: bool,
    /// Events that came since it was scrolled away from the end.
    unseen: u64,
}

impl Transcript {
    pub fn new(task: Uuid, end: u64) -> Self {
        Self {
            task,
            mode: Mode::Readable,
            items: VecDeque::new(),
            count: 0,
            bytes: 0,
            end,
            place: Place::End,
            toggled: BTreeSet::new(),
            all_unfolded: false,
            mark: None,
            delta: String::new(),
            coming: RefCell::default(),
            wanted: None,
            stuck: false,
            unseen: 0,
        }
    }

    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn place(&self) -> Place {
        self.place
    }

    pub fn unseen(&self) -> u64 {
        self.unseen
    }

    pub fn mark(&self) -> Option<u64> {
        self.mark
    }

    pub fn is_loading(&self) -> bool {
        self.wanted.is_some()
    }

    /// First and last event that are here.
    pub fn range(&self) -> Option<(u64, u64)> {
        Some((self.first()?, self.last()?))
    }

    fn first(&self) -> Option<u64> {
        self.items.iter().map(Item::first).min()
    }

    fn last(&self) -> Option<u64> {
        self.items.iter().rev().take(TOGETHER + 1).flat_map(|item| item.events.last()).map(|event| event.seq).max()
    }

    pub fn set_mode(&mut self, mode: Mode) {
        if self.mode == mode {
            return;
        }
        self.mode = mode;
        self.toggled.clear();
        self.all_unfolded = false;
        let mut events: Vec<Event> = self.items.drain(..).flat_map(|item| item.events).collect();
        events.sort_by_key(|event| event.seq);
        for event in events {
            self.push(event);
        }
        self.place = match self.place {
            Place::End => Place::End,
            Place::Top { seq, .. } => {
                self.at(seq).map_or(Place::End, |i| Place::Top { seq: self.items[i].first(), line: 0 })
            }
        };
        self.mark = self.mark.and_then(|seq| self.at(seq)).map(|index| self.items[index].first());
    }

    /// There are events up to this one.
    pub fn reaches(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Text of an event to come.
    pub fn delta(&mut self, text: &str) {
        self.delta.push_str(text);
        if self.delta.len() > MOST_DELTA {
            let cut = self.delta.len() - MOST_DELTA / 2;
            let cut = (cut..self.delta.len()).find(|at| self.delta.is_char_boundary(*at)).unwrap_or(0);
            self.delta.drain(..cut);
        }
        self.coming.take();
    }

    /// An event that just happened.
    pub fn live(&mut self, event: Event) {
        if matches!(event.data, EventData::Output { .. } | EventData::TaskCompleted { .. }) {
            self.delta.clear();
            self.coming.take();
        }
        let next = self.last().map_or(self.end + 1, |last| last + 1);
        let is_new = event.seq > self.end;
        self.end = self.end.max(event.seq);
        if self.place != Place::End && is_new {
            self.unseen += 1;
        }
        // Where the window is elsewhere, or its first page is on its way, it is fetched when it is needed.
        if event.seq == next && (!self.items.is_empty() || event.seq == 1) {
            self.push(event);
            self.trim(self.place == Place::End);
        }
    }

    /// Events that were fetched after `after`, where they are still wanted.
    pub fn page(&mut self, after: u64, events: Vec<Event>, end: u64) {
        self.end = self.end.max(end);
        if self.wanted == Some(Want { after }) {
            self.wanted = None;
            self.take(events, end);
        }
    }

    /// Takes events in. Those that do not touch what is here take its place.
    pub fn take(&mut self, events: Vec<Event>, end: u64) {
        self.end = self.end.max(end);
        let (Some(from), Some(until)) = (events.first().map(|e| e.seq), events.last().map(|e| e.seq)) else { return };
        match self.range() {
            Some((first, last)) if from <= last + 1 && until > last => {
                events.into_iter().filter(|event| event.seq > last).for_each(|event| self.push(event));
                let _ = first;
                self.trim(true);
            }
            Some((first, last)) if until + 1 >= first && until <= last => {
                if from < first {
                    self.push_front(events.into_iter().filter(|event| event.seq < first).collect());
                    self.trim(false);
                }
            }
            _ => {
                self.clear();
                events.into_iter().for_each(|event| self.push(event));
            }
        }
    }

    fn clear(&mut self) {
        // What is on its way was asked for from elsewhere.
        self.wanted = None;
        self.items.clear();
        (self.count, self.bytes) = (0, 0);
    }

    fn push(&mut self, event: Event) {
        self.count += 1;
        self.bytes += weight(&event);
        let joins = self.mode == Mode::Readable;
        let taker = joins.then(|| self.items.iter().rev().take(TOGETHER).position(|item| item.takes(&event))).flatten();
        if let Some(back) = taker {
            let index = self.items.len() - 1 - back;
            let item = &mut self.items[index];
            item.events.push(event);
            item.look.take();
            return;
        }
        let mut item = Item::of(event);
        item.gap = joins && self.items.back().is_some_and(|before| before.apart() || item.apart());
        self.items.push_back(item);
    }

    fn push_front(&mut self, events: Vec<Event>) {
        let mut older = Self::new(self.task, 0);
        older.mode = self.mode;
        events.into_iter().for_each(|event| older.push(event));
        // What ends a command may be on this side of the border.
        while let Some(first) = self.items.front()
            && self.mode == Mode::Readable
            && let [event] = first.events.as_slice()
            && older.items.iter().rev().take(TOGETHER).any(|item| item.takes(event))
        {
            let Some(mut item) = self.items.pop_front() else { break };
            if let Some(event) = item.events.pop() {
                (self.count, self.bytes) = (self.count - 1, self.bytes - weight(&event));
                older.push(event);
            }
        }
        if let (Some(before), Some(first)) = (older.items.back(), self.items.front_mut()) {
            first.gap = self.mode == Mode::Readable && (before.apart() || first.apart());
            first.look.take();
        }
        (self.count, self.bytes) = (self.count + older.count, self.bytes + older.bytes);
        for item in older.items.into_iter().rev() {
            self.items.push_front(item);
        }
    }

    /// Lets events go at one end where there are too many.
    fn trim(&mut self, at_front: bool) {
        while (self.count > MOST || self.bytes > MOST_BYTES) && self.items.len() > 1 {
            let gone = if at_front { self.items.pop_front() } else { self.items.pop_back() };
            for event in gone.iter().flat_map(|item| &item.events) {
                self.count -= 1;
                self.bytes -= weight(event);
            }
        }
        if let (Place::Top { seq, .. }, Some(front)) = (self.place, self.items.front())
            && seq < front.first()
        {
            self.place = Place::Top { seq: front.first(), line: 0 };
        }
    }

    /// Index of the item that has an event, or the one before it.
    fn at(&self, seq: u64) -> Option<usize> {
        if self.items.is_empty() {
            return None;
        }
        Some(self.items.partition_point(|item| item.first() <= seq).saturating_sub(1))
    }

    fn is_unfolded(&self, seq: u64) -> bool {
        self.all_unfolded != self.toggled.contains(&seq)
    }

    fn lines(&self, index: usize, width: usize) -> Rc<[Line]> {
        let item = &self.items[index];
        item.lines(width, self.is_unfolded(item.first()), self.mode)
    }

    fn delta_lines(&self, width: usize) -> Rc<[Line]> {
        if self.delta.trim().is_empty() || self.mode == Mode::Raw || self.last().is_none_or(|last| last < self.end) {
            return Rc::new([]);
        }
        if let Some((length, of, lines)) = &*self.coming.borrow()
            && (*length, *of) == (self.delta.len(), width)
        {
            return Rc::clone(lines);
        }
        let words = crate::render::markdown(&self.delta, Some(width));
        let lines: Rc<[Line]> = std::iter::once(Line::new()).chain(words).collect();
        *self.coming.borrow_mut() = Some((self.delta.len(), width, Rc::clone(&lines)));
        lines
    }

    /// The topmost line of a view of this size: an item and a line of it.
    fn top(&self, width: usize, height: usize) -> (usize, usize) {
        match self.place {
            Place::Top { seq, line } => match self.at(seq) {
                Some(index) => (index, line.min(self.lines(index, width).len().saturating_sub(1))),
                None => (0, 0),
            },
            Place::End => {
                let mut left = height.saturating_sub(self.delta_lines(width).len());
                for index in (0..self.items.len()).rev() {
                    let count = self.lines(index, width).len();
                    if count >= left {
                        return (index, count - left);
                    }
                    left -= count;
                }
                (0, 0)
            }
        }
    }

    /// What is on the screen.
    pub fn shown(&self, width: usize, height: usize) -> Vec<Shown> {
        let mut out = Vec::with_capacity(height);
        let (start, skip) = self.top(width, height);
        for index in start..self.items.len() {
            let seq = self.items[index].first();
            let lines = self.lines(index, width);
            let skip = if index == start { skip } else { 0 };
            for line in lines.iter().skip(skip) {
                if out.len() == height {
                    return out;
                }
                out.push(Shown { line: line.clone(), seq, marked: self.mark == Some(seq) });
            }
        }
        let left = height - out.len();
        // The newest of what is coming is what is looked at.
        let coming = self.delta_lines(width);
        let hidden = coming.len().saturating_sub(left);
        let coming = coming.iter().skip(hidden).take(left);
        out.extend(coming.map(|line| Shown { line: line.clone(), seq: u64::MAX, marked: false }));
        out
    }

    /// Moves the view by so many lines. What is to be fetched for that is said by [`Transcript::want`].
    pub fn scroll(&mut self, by: isize, width: usize, height: usize) {
        let (mut index, mut line) = self.top(width, height);
        if self.items.is_empty() {
            return;
        }
        if by < 0 {
            let mut left = by.unsigned_abs();
            while left > line && index > 0 {
                left -= line;
                index -= 1;
                line = self.lines(index, width).len();
            }
            line = line.saturating_sub(left);
        } else {
            let mut left = by.unsigned_abs();
            loop {
                let rest = self.lines(index, width).len().saturating_sub(line);
                if left < rest {
                    line += left;
                    break;
                }
                if index + 1 == self.items.len() {
                    line += rest.saturating_sub(1);
                    break;
                }
                left -= rest;
                (index, line) = (index + 1, 0);
            }
        }
        self.put(index, line, width, height);
    }

    /// Shows a line at the top; near the end of all it is the end.
    fn put(&mut self, index: usize, line: usize, width: usize, height: usize) {
        let here_is_all = self.last().is_some_and(|last| last >= self.end);
        let mut below = self.lines(index, width).len().saturating_sub(line);
        let mut next = index + 1;
        while below <= height && next < self.items.len() {
            below += self.lines(next, width).len();
            next += 1;
        }
        if below + self.delta_lines(width).len() <= height && here_is_all {
            self.follow();
        } else {
            self.place = Place::Top { seq: self.items[index].first(), line };
        }
    }

    fn follow(&mut self) {
        self.place = Place::End;
        self.unseen = 0;
    }

    /// Goes to the end and follows it.
    pub fn jump_to_end(&mut self) {
        self.follow();
        self.mark = None;
        if self.last().is_some_and(|last| last < self.end) {
            self.clear();
        }
    }

    /// Goes to an event, which may have to be fetched first.
    pub fn jump_to(&mut self, seq: u64, width: usize, height: usize) {
        let seq = seq.clamp(1, self.end.max(1));
        if let Some((first, last)) = self.range()
            && (first..=last).contains(&seq)
            && let Some(index) = self.at(seq)
        {
            // A little of what was before it.
            self.put(index, 0, width, height);
            if let Place::Top { .. } = self.place {
                self.scroll(-(height as isize / 4), width, height);
            }
            return;
        }
        self.clear();
        self.place = Place::Top { seq, line: 0 };
    }

    /// Marks the next item, or the one before; with nothing marked, one on the screen.
    pub fn move_mark(&mut self, forward: bool, width: usize, height: usize) {
        let shown = self.shown(width, height);
        let visible = |seq: u64| shown.iter().any(|line| line.seq == seq);
        let index = match self.mark.filter(|mark| visible(*mark)).and_then(|mark| self.at(mark)) {
            Some(index) => {
                let has_lines = |index: &usize| !self.lines(*index, width).is_empty();
                let next = if forward {
                    (index + 1..self.items.len()).find(has_lines)
                } else {
                    (0..index).rev().find(has_lines)
                };
                let Some(next) = next else { return };
                next
            }
            None => {
                let line = if forward { shown.first() } else { shown.iter().rev().find(|line| line.seq != u64::MAX) };
                let Some(index) = line.and_then(|line| self.at(line.seq)) else { return };
                index
            }
        };
        let seq = self.items[index].first();
        self.mark = Some(seq);
        self.reveal(index, width, height);
    }

    /// The item that an event is in.
    pub fn item_of(&self, seq: u64) -> u64 {
        self.at(seq).map_or(seq, |index| self.items[index].first())
    }

    /// Marks an item that is on the screen.
    pub fn mark_at(&mut self, seq: u64) {
        self.mark = Some(seq);
    }

    fn reveal(&mut self, index: usize, width: usize, height: usize) {
        let seq = self.items[index].first();
        let lines = self.lines(index, width).len().min(height);
        let shown = self.shown(width, height);
        let seen = shown.iter().filter(|line| line.seq == seq).count();
        if seen >= lines {
            return;
        }
        let above = shown.first().is_some_and(|line| line.seq >= seq);
        if above {
            self.put(index, 0, width, height);
        } else {
            self.scroll((lines - seen) as isize, width, height);
        }
    }

    /// Unfolds the marked item, or folds it.
    pub fn toggle(&mut self, seq: u64, width: usize, height: usize) {
        if self.items.is_empty() {
            return;
        }
        let top = self.top(width, height);
        if !self.toggled.remove(&seq) {
            self.toggled.insert(seq);
        }
        // What is read stays where it is.
        if self.place != Place::End || self.at(seq).is_some_and(|index| index + 3 < self.items.len()) {
            let (index, line) = top;
            let line = line.min(self.lines(index, width).len().saturating_sub(1));
            self.place = Place::Top { seq: self.items[index].first(), line };
            self.put(index, line, width, height);
        }
    }

    pub fn toggle_all(&mut self) {
        self.toggled.clear();
        self.all_unfolded = !self.all_unfolded;
    }

    /// What is to be fetched for a view of this size; nothing while something is on its way.
    pub fn want(&mut self, width: usize, height: usize) -> Option<Want> {
        if self.wanted.is_some() || self.stuck || self.end == 0 {
            return None;
        }
        let after = match self.range() {
            None => match self.place {
                Place::End => Some(self.end.saturating_sub(PAGE)),
                Place::Top { seq, .. } => Some(seq.saturating_sub(PAGE / 2)),
            },
            Some((first, last)) => {
                let (index, line) = self.top(width, height);
                let mut above = line;
                for before in (0..index).rev() {
                    above += self.lines(before, width).len();
                    if above > height * 2 {
                        break;
                    }
                }
                let mut below = 0;
                for after in index..self.items.len() {
                    below += self.lines(after, width).len();
                    if below > height * 3 + line {
                        break;
                    }
                }
                if above <= height * 2 && first > 1 {
                    Some(first.saturating_sub(1).saturating_sub(PAGE))
                } else if below <= height * 3 + line && last < self.end {
                    Some(last)
                } else {
                    None
                }
            }
        };
        self.wanted = after.map(|after| Want { after });
        self.wanted
    }

    /// What was asked for does not come.
    pub fn give_up(&mut self, after: u64) {
        if self.wanted == Some(Want { after }) {
            (self.wanted, self.stuck) = (None, true);
        }
    }

    /// What could not be had is asked for again.
    pub fn try_again(&mut self) {
        self.stuck = false;
    }

    /// Whether all of a request is on the screen, or as much of it as there is room for.
    pub fn shows_request(&self, id: &str, width: usize, height: usize) -> bool {
        let asks = |item: &Item| {
            let own = |event: &Event| matches!(&event.data, EventData::ApprovalRequested { approval_id, .. } if approval_id == id);
            item.events.iter().any(own)
        };
        let Some(index) = self.items.iter().rposition(asks) else { return false };
        let (seq, lines) = (self.items[index].first(), self.lines(index, width).len());
        let seen = self.shown(width, height).iter().filter(|line| line.seq == seq).count();
        seen > 0 && seen >= lines.min(height)
    }

    /// The text of an item that begins with this event, to copy it.
    pub fn text(&self, seq: u64) -> Option<String> {
        let index = self.at(seq).filter(|index| self.items[*index].first() == seq)?;
        let texts = self.items[index].events.iter().map(|event| match &event.data {
            EventData::Output { text } | EventData::Message { text, .. } => text.clone(),
            EventData::CommandRun { command, output, .. } => {
                format!("$ {command}\n{}", output.as_deref().unwrap_or_default())
            }
            EventData::FileEdit { path, diff, .. } => diff.clone().unwrap_or_else(|| path.clone()),
            EventData::Error { message, .. } => message.clone(),
            EventData::ToolUse { tool, .. } if tool == "Bash" => String::new(),
            data => serde_json::to_string_pretty(data).unwrap_or_default(),
        });
        let text: Vec<String> = texts.filter(|text| !text.is_empty()).collect();
        Some(text.join("\n"))
    }

    /// The next event with these words, in lower case, from `from` on, as far as events are here.
    pub fn find(&self, words: &str, from: u64, forward: bool) -> Option<u64> {
        let has = |event: &&Event| contains(event, words);
        let events = self.items.iter().flat_map(|item| &item.events);
        if forward {
            events.filter(|event| event.seq > from).find(has).map(|event| event.seq)
        } else {
            events.rev().filter(|event| event.seq < from).find(has).map(|event| event.seq)
        }
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

#[cfg(test)]
#[path = "transcript_tests.rs"]
mod tests;
