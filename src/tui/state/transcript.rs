//! A task's events as a window of items that is moved over them: what is far away is let go, and fetched again.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;

use cadence_protocol::{Event, EventData};
use uuid::Uuid;

use super::item::{Item, Mode, contains, weight};
use crate::render::Line;

/// Events that are fetched at once.
pub const PAGE: u64 = 500;
/// Events that are kept, and bytes of them.
const MOST: usize = 4_000;
const MOST_BYTES: usize = 32 << 20;
/// Bytes of text to come that are shown.
const MOST_DELTA: usize = 32 << 10;
/// Items that are looked at for what an event belongs to: several tools may be under way.
const TOGETHER: usize = 12;

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
    pub(super) mode: Mode,
    pub(super) items: VecDeque<Item>,
    pub(super) count: usize,
    pub(super) bytes: usize,
    /// Number of the newest event that there is.
    pub(super) end: u64,
    pub(super) place: Place,
    /// Items whose folding is not that of the others.
    pub(super) toggled: BTreeSet<u64>,
    pub(super) all_unfolded: bool,
    pub(super) mark: Option<u64>,
    pub(super) delta: String,
    /// The text to come as lines, by its length and the width.
    pub(super) coming: RefCell<Option<Coming>>,
    /// What was asked for and has not come.
    pub(super) wanted: Option<Want>,
    /// The last that was asked for could not be had; it is asked for again when that is said.
    pub(super) stuck: bool,
    /// Events that came since it was scrolled away from the end.
    pub(super) unseen: u64,
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

    pub(super) fn last(&self) -> Option<u64> {
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

    pub(super) fn clear(&mut self) {
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
            item.forget();
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
            first.forget();
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
    pub(super) fn at(&self, seq: u64) -> Option<usize> {
        if self.items.is_empty() {
            return None;
        }
        Some(self.items.partition_point(|item| item.first() <= seq).saturating_sub(1))
    }

    fn is_unfolded(&self, seq: u64) -> bool {
        self.all_unfolded != self.toggled.contains(&seq)
    }

    pub(super) fn lines(&self, index: usize, width: usize) -> Rc<[Line]> {
        let item = &self.items[index];
        item.lines(width, self.is_unfolded(item.first()), self.mode)
    }

    pub(super) fn delta_lines(&self, width: usize) -> Rc<[Line]> {
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
    pub(super) fn top(&self, width: usize, height: usize) -> (usize, usize) {
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

#[cfg(test)]
#[path = "transcript_tests.rs"]
mod tests;
