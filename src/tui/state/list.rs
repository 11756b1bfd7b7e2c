//! The list of tasks: which are shown, in what order, and which is selected.

use std::collections::{BTreeMap, BTreeSet};

use cadence_protocol::{Task, TaskStatus, WaitingFor};
use uuid::Uuid;

/// Seconds that one column of the activity line stands for, and how many there are.
const BEAT: i64 = 2;
pub const BEATS: usize = 8;

/// The tabs of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tab {
    /// All that is not archived.
    #[default]
    Active,
    /// Changes to look at.
    Review,
    Archived,
}

impl Tab {
    pub const ALL: [Self; 3] = [Self::Active, Self::Review, Self::Archived];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "Active",
            Self::Review => "Review",
            Self::Archived => "Archived",
        }
    }

    fn shows(self, task: &Task) -> bool {
        match self {
            Self::Active => task.archived_at.is_none(),
            Self::Review => {
                let changed = task.metadata.files_changed.unwrap_or(0) > 0;
                let ended = task.status == TaskStatus::PrOpen || (task.status.is_end() && changed);
                task.archived_at.is_none() && ended
            }
            Self::Archived => task.archived_at.is_some(),
        }
    }
}

/// How many events came lately.
#[derive(Clone, Copy, Debug, Default)]
struct Beats {
    /// The newest stretch of time.
    slot: i64,
    counts: [u32; BEATS],
}

impl Beats {
    fn turn(&mut self, now: i64) {
        let slot = now / BEAT;
        let passed = usize::try_from(slot.saturating_sub(self.slot)).unwrap_or(0).min(BEATS);
        self.counts.rotate_left(passed);
        self.counts[BEATS - passed..].fill(0);
        self.slot = self.slot.max(slot);
    }

    fn add(&mut self, now: i64, events: u64) {
        self.turn(now);
        let newest = &mut self.counts[BEATS - 1];
        *newest = newest.saturating_add(u32::try_from(events).unwrap_or(u32::MAX));
    }

    fn levels(mut self, now: i64) -> [u32; BEATS] {
        self.turn(now);
        self.counts
    }
}

/// A task and what was seen of it.
#[derive(Clone, Debug)]
pub struct Row {
    pub task: Task,
    /// What the agent does now, in a few words.
    pub activity: Option<String>,
    beats: Beats,
}

impl Row {
    /// Events of the last stretches of time, the newest last.
    pub fn levels(&self, now: time::OffsetDateTime) -> [u32; BEATS] {
        self.beats.levels(now.unix_timestamp())
    }

    /// Whether a person has to do something before it goes on.
    pub fn needs_person(&self) -> bool {
        needs_person(&self.task)
    }
}

pub fn needs_person(task: &Task) -> bool {
    task.status == TaskStatus::Waiting && task.waiting_for != Some(WaitingFor::RateLimit)
}

/// Who comes first: what waits for a person, what failed, what runs, what is to be looked at, what has not begun, what is done.
fn rank(task: &Task) -> u8 {
    match task.status {
        TaskStatus::Waiting if needs_person(task) => 0,
        TaskStatus::Failed => 1,
        TaskStatus::Running | TaskStatus::Waiting => 2,
        TaskStatus::Paused => 3,
        TaskStatus::PrOpen => 4,
        TaskStatus::Pending => 5,
        TaskStatus::Completed | TaskStatus::Cancelled => 6,
    }
}

/// A line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Repository(String),
    Task(Uuid),
}

/// All tasks, and the list that is made of them.
#[derive(Debug, Default)]
pub struct List {
    rows: BTreeMap<Uuid, Row>,
    pub tab: Tab,
    pub filter: String,
    pub grouped: bool,
    selected: Option<Uuid>,
    pub marked: BTreeSet<Uuid>,
    entries: Vec<Entry>,
    /// The list is not what it would be if it were made now.
    outdated: bool,
    /// First entry that is on the screen.
    pub top: usize,
    /// The first snapshots have come.
    pub loaded: bool,
    /// Somebody chose, or saw what is selected: until then it is the first.
    pub chosen: bool,
}

impl List {
    pub fn get(&self, id: Uuid) -> Option<&Row> {
        self.rows.get(&id)
    }

    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn selected(&self) -> Option<Uuid> {
        self.selected
    }

    /// Tasks of a tab, whatever the filter.
    pub fn count(&self, tab: Tab) -> usize {
        self.rows.values().filter(|row| tab.shows(&row.task)).count()
    }

    pub fn needing(&self) -> usize {
        self.rows.values().filter(|row| row.needs_person() && row.task.archived_at.is_none()).count()
    }

    /// The newest snapshot of a task. Gives what was known before.
    pub fn put(&mut self, task: Task, now: time::OffsetDateTime) -> Option<Task> {
        let id = task.id;
        let Some(row) = self.rows.get_mut(&id) else {
            self.rows.insert(id, Row { task, activity: None, beats: Beats::default() });
            self.outdated = true;
            return None;
        };
        // A snapshot may overtake an event, and the other way round.
        let came = task.last_seq.saturating_sub(row.task.last_seq);
        if task.last_seq < row.task.last_seq && task.updated_at < row.task.updated_at {
            return Some(row.task.clone());
        }
        row.beats.add(now.unix_timestamp(), came);
        if task.status.is_end() || task.status == TaskStatus::Paused {
            row.activity = None;
        }
        let key = |task: &Task| {
            (rank(task), task.archived_at.is_some(), task.status, task.metadata.files_changed.unwrap_or(0) > 0)
        };
        let moves = key(&row.task) != key(&task) || !self.filter.is_empty();
        self.outdated |= moves;
        Some(std::mem::replace(&mut row.task, task))
    }

    pub fn remove(&mut self, id: Uuid) {
        self.rows.remove(&id);
        self.marked.remove(&id);
        self.arrange();
    }

    pub fn set_activity(&mut self, id: Uuid, activity: String) {
        if let Some(row) = self.rows.get_mut(&id)
            && !activity.is_empty()
        {
            row.activity = Some(activity);
        }
    }

    /// Makes the list anew, where that is needed.
    pub fn tidy(&mut self) {
        if self.outdated {
            self.arrange();
        }
    }

    /// Makes the list anew. What is selected stays so; where it is gone, its neighbour is.
    pub fn arrange(&mut self) {
        self.outdated = false;
        let place = self.selected.and_then(|id| self.place(id)).unwrap_or(0);
        let words: Vec<String> = self.filter.to_lowercase().split_whitespace().map(str::to_owned).collect();
        let mut shown: Vec<&Task> = self
            .rows
            .values()
            .map(|row| &row.task)
            .filter(|task| self.tab.shows(task) && words.iter().all(|word| has(task, word)))
            .collect();
        shown.sort_by(|a, b| {
            let newest = || b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id));
            rank(a).cmp(&rank(b)).then_with(newest)
        });
        self.entries = if self.grouped {
            let mut groups: Vec<(&str, Vec<Uuid>)> = Vec::new();
            for task in &shown {
                match groups.iter_mut().find(|(name, _)| *name == task.repo_name) {
                    Some((_, ids)) => ids.push(task.id),
                    None => groups.push((&task.repo_name, vec![task.id])),
                }
            }
            let lines = groups.into_iter().flat_map(|(name, ids)| {
                std::iter::once(Entry::Repository(name.to_owned())).chain(ids.into_iter().map(Entry::Task))
            });
            lines.collect()
        } else {
            shown.iter().map(|task| Entry::Task(task.id)).collect()
        };
        let shown: BTreeSet<Uuid> = shown.iter().map(|task| task.id).collect();
        self.marked.retain(|id| shown.contains(id));
        if !self.chosen {
            self.selected = self.nearest(0);
        } else if self.selected.is_none_or(|id| !shown.contains(&id)) {
            self.selected = self.nearest(place);
        }
    }

    fn place(&self, id: Uuid) -> Option<usize> {
        self.entries.iter().position(|entry| *entry == Entry::Task(id))
    }

    fn nearest(&self, place: usize) -> Option<Uuid> {
        let task = |entry: &Entry| match entry {
            Entry::Task(id) => Some(*id),
            Entry::Repository(_) => None,
        };
        let place = place.min(self.entries.len());
        let after = self.entries[place..].iter().find_map(task);
        after.or_else(|| self.entries[..place].iter().rev().find_map(task))
    }

    /// Selects a task, where it is shown.
    pub fn select(&mut self, id: Uuid) -> bool {
        let there = self.place(id).is_some();
        if there {
            (self.selected, self.chosen) = (Some(id), true);
        }
        there
    }

    /// Selects a task, in the tab where it is, without the filter if it hides it.
    pub fn reveal(&mut self, id: Uuid) -> bool {
        let Some(row) = self.rows.get(&id) else { return false };
        if !self.tab.shows(&row.task) {
            self.tab = if row.task.archived_at.is_some() { Tab::Archived } else { Tab::Active };
        }
        self.arrange();
        if self.place(id).is_none() {
            self.filter.clear();
            self.arrange();
        }
        self.select(id)
    }

    /// Selects the task so many further down, or up.
    pub fn step(&mut self, by: isize) {
        let ids: Vec<Uuid> = self.shown().collect();
        let Some(last) = ids.len().checked_sub(1) else { return };
        let now = self.selected.and_then(|id| ids.iter().position(|other| *other == id)).unwrap_or(0);
        self.selected = ids.get(now.saturating_add_signed(by).min(last)).copied();
        self.chosen = true;
    }

    /// The tasks that are in the list, in order.
    pub fn shown(&self) -> impl Iterator<Item = Uuid> {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Task(id) => Some(*id),
            Entry::Repository(_) => None,
        })
    }

    pub fn toggle_mark(&mut self) {
        if let Some(id) = self.selected
            && !self.marked.remove(&id)
        {
            self.marked.insert(id);
        }
    }

    /// Marks all that are shown; where they are, none.
    pub fn toggle_all(&mut self) {
        let all: BTreeSet<Uuid> = self.shown().collect();
        self.marked = if self.marked == all { BTreeSet::new() } else { all };
    }

    /// What a key acts on: those that are marked, else the one that is selected.
    pub fn targets(&self) -> Vec<Uuid> {
        if self.marked.is_empty() {
            return self.selected.into_iter().collect();
        }
        self.shown().filter(|id| self.marked.contains(id)).collect()
    }

    /// Moves the view so that the selected task is in it. `rows`: lines of the view; `each`: lines of a task.
    pub fn scroll_to_selected(&mut self, rows: usize, each: usize) {
        let Some(place) = self.selected.and_then(|id| self.place(id)) else {
            self.top = 0;
            return;
        };
        let height = |entry: &Entry| match entry {
            Entry::Task(_) => each,
            Entry::Repository(_) => 1,
        };
        // The heading above the first task belongs to it.
        let first = if place == 1 { 0 } else { place };
        self.top = self.top.min(first);
        while self.entries[self.top..=place].iter().map(height).sum::<usize>() > rows && self.top < place {
            self.top += 1;
        }
        // No empty space below while there is something above.
        while self.top > 0 && self.entries[self.top - 1..].iter().map(height).sum::<usize>() <= rows {
            self.top -= 1;
        }
    }
}

/// Whether a task has a word, given in lower case, in what is shown of it.
fn has(task: &Task, word: &str) -> bool {
    [
        task.task_description.as_str(),
        &task.repo_name,
        &task.branch,
        &task.agent,
        &task.model,
        task.status.as_str(),
        &task.id.to_string(),
    ]
    .iter()
    .any(|text| text.to_lowercase().contains(word))
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
