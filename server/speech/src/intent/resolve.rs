//! Which task a reference means.

use std::cell::OnceCell;

use cadence_protocol::{Intent, Task, TaskStatus, WaitingFor};
use uuid::Uuid;

use super::index::Index;
use super::likeness::{NEAR, likenesses};
use super::reference::{Name, Reference};
use super::{AMBIGUOUS, Context, EXACT, NONE, SEVERAL};

/// Most tasks that are looked through; they come newest first.
const MOST_TASKS: usize = 200;
/// Of how many tasks the words count as words of software.
const MOST_KNOWN: usize = 20;
/// Most ids that a command carries.
const MOST_CANDIDATES: usize = 20;

/// What a reference turned out to mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Meant {
    pub agent: Option<Uuid>,
    pub candidates: Vec<Uuid>,
    /// How sure it is, on the scale of [`super::parse`].
    pub confidence: f64,
    /// A task is called so, be it one for which the intent makes sense or not.
    pub known: bool,
}

impl Meant {
    fn one(id: Uuid, confidence: f64) -> Self {
        Self { agent: Some(id), confidence, known: true, ..Self::default() }
    }

    fn none(known: bool) -> Self {
        Self { confidence: NONE, known, ..Self::default() }
    }

    fn several(tasks: &[&Task], confidence: f64) -> Self {
        match tasks {
            [] => Self::none(true),
            [only] => Self::one(only.id, 0.9),
            _ => {
                let candidates = tasks.iter().take(MOST_CANDIDATES).map(|task| task.id).collect();
                Self { candidates, confidence, known: true, ..Self::default() }
            }
        }
    }
}

/// Whether an intent makes sense for a task as it stands.
pub(super) fn is_eligible(task: &Task, intent: Intent) -> bool {
    match intent {
        Intent::PauseAgent => !task.status.is_end() && task.status != TaskStatus::Paused,
        Intent::ResumeAgent => task.status == TaskStatus::Paused,
        Intent::StopAgent => !task.status.is_end(),
        Intent::Approve | Intent::Deny => {
            task.status == TaskStatus::Waiting && task.waiting_for != Some(WaitingFor::RateLimit)
        }
        _ => true,
    }
}

/// The tasks that can be spoken of.
pub(super) struct Resolver<'a> {
    tasks: &'a [Task],
    current: Option<Uuid>,
    /// What they are called, once it is asked for.
    index: OnceCell<Index>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(context: &Context<'a>) -> Self {
        let tasks = &context.tasks[..context.tasks.len().min(MOST_TASKS)];
        Self { tasks, current: context.current, index: OnceCell::new() }
    }

    fn current(&self) -> Option<&'a Task> {
        self.tasks.iter().find(|task| Some(task.id) == self.current)
    }

    fn eligible(&self, intent: Intent) -> Vec<&'a Task> {
        self.tasks.iter().filter(|task| is_eligible(task, intent)).collect()
    }

    /// As [`Self::eligible`], but without what has ended as long as something has not: nobody names what is over and done by
    /// leaving its name out.
    fn likely(&self, intent: Intent) -> Vec<&'a Task> {
        let eligible = self.eligible(intent);
        let live: Vec<_> = eligible.iter().copied().filter(|task| !task.status.is_end()).collect();
        if live.is_empty() { eligible } else { live }
    }

    /// The one that is evidently spoken of where none is named: the current one, else the only one that lives.
    pub(super) fn evident(&self) -> Option<&'a Task> {
        let mut live = self.tasks.iter().filter(|task| !task.status.is_end());
        self.current().or_else(|| live.next().filter(|_| live.next().is_none()))
    }

    pub(super) fn lives(&self) -> bool {
        self.tasks.iter().any(|task| !task.status.is_end())
    }

    pub(super) fn waits(&self) -> bool {
        self.tasks.iter().any(|task| is_eligible(task, Intent::Approve))
    }

    /// Whether a task's title or repository has the word.
    pub(super) fn knows(&self, word: &str) -> bool {
        word.len() > 3 && !super::lexicon::is_plain(word) && self.index().has(word, MOST_KNOWN)
    }

    fn index(&self) -> &Index {
        self.index.get_or_init(|| Index::new(self.tasks))
    }

    /// Which one is meant where none is named, or only by a pronoun.
    pub(super) fn unnamed(&self, intent: Intent) -> Meant {
        let likely = self.likely(intent);
        let current = self.current().filter(|task| is_eligible(task, intent));
        match (current, &likely[..]) {
            (Some(task), _) => Meant::one(task.id, 0.92),
            (None, [only]) => Meant::one(only.id, if self.current().is_some() { 0.85 } else { 0.9 }),
            (None, several) => Meant::several(several, AMBIGUOUS),
        }
    }

    pub(super) fn resolve(&self, reference: &Reference, intent: Intent) -> Meant {
        match reference {
            Reference::It => self.unnamed(intent),
            Reference::Other => self.other(intent),
            Reference::All => Meant::several(&self.likely(intent), SEVERAL),
            Reference::AllBut(but) => self.all_but(but, intent),
            Reference::Each(each) => self.each(each, intent),
            Reference::Number { number, ordinal } => self.number(*number, *ordinal, intent),
            Reference::Newest => match &self.eligible(intent)[..] {
                [] => Meant::none(true),
                [first, ..] => Meant::one(first.id, if self.tasks[0].id == first.id { 0.93 } else { 0.85 }),
            },
            // The end of the list to one, what was asked for last to another: worth a question.
            Reference::Last => match &self.likely(intent)[..] {
                [] => Meant::none(true),
                [only] => Meant::one(only.id, 0.93),
                [.., last] => Meant::one(last.id, 0.75),
            },
            Reference::Id { digits, .. } => self.id(digits, intent),
            Reference::State { state, several } => {
                let waiting = |task: &Task| *state == "waiting" && is_eligible(task, Intent::Approve);
                let is = |task: &Task| match *state {
                    "waiting" => waiting(task),
                    "completed" => matches!(task.status, TaskStatus::Completed | TaskStatus::PrOpen),
                    state => task.status.as_str() == state,
                };
                let tasks: Vec<_> = self.eligible(intent).into_iter().filter(|task| is(task)).collect();
                Meant::several(&tasks, if *several { SEVERAL } else { AMBIGUOUS })
            }
            Reference::Named(name) => self.named(name, intent),
        }
    }

    fn other(&self, intent: Intent) -> Meant {
        let others: Vec<_> = self
            .likely(intent)
            .into_iter()
            .filter(|task| self.current.is_some() && Some(task.id) != self.current)
            .collect();
        if self.current.is_none() { self.unnamed(intent) } else { Meant::several(&others, AMBIGUOUS) }
    }

    fn all_but(&self, but: &Reference, intent: Intent) -> Meant {
        let spared = self.resolve(but, Intent::CheckStatus);
        let spared: Vec<Uuid> = spared.agent.into_iter().chain(spared.candidates).collect();
        // Whoever cannot be found cannot be spared.
        if spared.is_empty() {
            return Meant::none(true);
        }
        let left: Vec<_> = self.likely(intent).into_iter().filter(|task| !spared.contains(&task.id)).collect();
        Meant::several(&left, SEVERAL)
    }

    fn each(&self, each: &[Reference], intent: Intent) -> Meant {
        let meant: Vec<_> = each.iter().map(|reference| self.resolve(reference, intent)).collect();
        let known = each.iter().zip(&meant).all(|(reference, meant)| meant.known || reference.is_explicit());
        let mut ids: Vec<Uuid> = meant.iter().filter_map(|meant| meant.agent).collect();
        let complete = ids.len() == each.len();
        ids.dedup();
        match &ids[..] {
            [] => Meant::none(known),
            [one] if complete => Meant { known, ..Meant::one(*one, 0.85) },
            _ => {
                let confidence = if complete { SEVERAL } else { AMBIGUOUS };
                Meant { candidates: ids, confidence, known, ..Meant::default() }
            }
        }
    }

    fn number(&self, number: usize, ordinal: bool, intent: Intent) -> Meant {
        match self.tasks.get(number.saturating_sub(1)) {
            Some(task) if is_eligible(task, intent) => Meant::one(task.id, EXACT + 0.01),
            // "The first one" may count only those that it can be about; a number is of the list.
            _ if ordinal => match self.likely(intent).get(number.saturating_sub(1)) {
                Some(task) => Meant::one(task.id, 0.7),
                None => Meant::none(true),
            },
            None if number > 99 => self.id(&number.to_string(), intent),
            _ => Meant::none(true),
        }
    }

    fn id(&self, digits: &str, intent: Intent) -> Meant {
        let begins: Vec<_> =
            self.tasks.iter().filter(|task| task.id.simple().to_string().starts_with(digits)).collect();
        let known = !begins.is_empty();
        let eligible: Vec<_> = begins.into_iter().filter(|task| is_eligible(task, intent)).collect();
        match &eligible[..] {
            [] => Meant::none(known),
            [only] => Meant::one(only.id, 0.98),
            several => Meant::several(several, AMBIGUOUS),
        }
    }

    fn named(&self, name: &Name, intent: Intent) -> Meant {
        let mut like = likenesses(name, self.index());
        like.sort_by(|(_, a), (_, b)| b.score.total_cmp(&a.score));
        let Some(&(_, best)) = like.first() else { return Meant::none(false) };
        let near: Vec<&Task> = like
            .iter()
            .filter(|(_, other)| best.score - other.score < NEAR && (other.exact || !best.exact))
            .map(|(at, _)| &self.tasks[*at])
            .filter(|task| is_eligible(task, intent))
            .collect();
        let sure = match (best.exact, name.agent, best.score >= 0.7) {
            (true, true, _) => EXACT + 0.01,
            (true, false, _) => 0.92,
            (false, _, true) => 0.86,
            (false, ..) => 0.82,
        };
        let live: Vec<&&Task> = near.iter().filter(|task| !task.status.is_end()).collect();
        match (&near[..], &live[..]) {
            ([], _) => Meant::none(true),
            ([only], _) => Meant::one(only.id, sure),
            (_, [only]) => Meant::one(only.id, 0.85),
            _ => {
                let mut several = near.clone();
                // Stable: the current one, then what lives, else as they scored.
                several.sort_by_key(|task| (Some(task.id) != self.current, task.status.is_end()));
                Meant::several(&several, AMBIGUOUS)
            }
        }
    }
}
