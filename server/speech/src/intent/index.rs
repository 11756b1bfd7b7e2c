//! An inverted index over what tasks are called: each word once, with the tasks that have it. What is said is compared with a
//! word once, and not with the copy of it in each of a hundred tasks, of which most are about something else.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use cadence_protocol::Task;
use foldhash::fast::RandomState;

use super::lexicon;
use super::likeness::{abbreviations, written};
use super::sound::{Key, Sounded, alike, may_be_alike};

/// Most words of a task's title that are compared.
const MOST_WORDS: usize = 32;
/// Most words of a task that are compared, with pairs of neighbours taken for one.
const MOST_OF_A_TASK: usize = 3 * MOST_WORDS;
/// Most pairs of neighbours in one of a task's names.
const MOST_PAIRS: usize = 16;
/// Longest name that is looked at, in characters.
const LONGEST: usize = 400;
/// Likeness in sound from which a word may have been misheard for another.
const HEARD: f64 = 0.55;

/// How well a word fits a task.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Fit {
    /// 0 to 1.
    pub score: f64,
    /// It was found without listening.
    pub exact: bool,
}

/// A word that is looked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    pub word: String,
    /// It is put together from several that were said.
    pub joined: bool,
}

/// What was answered before: the readings of a sentence ask for the same words again and again.
type Answers = HashMap<Asked, Rc<[Fit]>, RandomState>;

struct Word {
    /// Bytes of the index's text.
    place: Range<usize>,
    head: u32,
    /// The posting that was added last.
    last: Option<usize>,
}

/// That a task has a word.
struct Posting {
    task: usize,
    /// How much the word says of the task, 0 to 1.
    weight: f64,
    /// The posting of the same word that was added before.
    before: Option<usize>,
}

pub(super) struct Index {
    tasks: usize,
    text: String,
    words: Vec<Word>,
    postings: Vec<Posting>,
    /// How the words sound, once somebody has to listen.
    keys: OnceCell<Vec<Key>>,
    read: RefCell<Answers>,
    heard: RefCell<Answers>,
}

impl Index {
    pub(super) fn new(tasks: &[Task]) -> Self {
        let mut names = Names::default();
        let each: Vec<Range<usize>> = tasks.iter().map(|task| names.add_task(task)).collect();
        let Names { text, found, .. } = names;
        let (mut words, mut postings) = (Vec::<Word>::new(), Vec::new());
        let mut known: HashMap<&str, usize, RandomState> =
            HashMap::with_capacity_and_hasher(found.len(), RandomState::default());
        for (task, found) in each.into_iter().map(|of| &found[of]).enumerate() {
            let before = postings.len();
            for (place, weight) in found {
                let word = *known.entry(&text[place.clone()]).or_insert_with(|| {
                    words.push(Word { place: place.clone(), head: head(&text[place.clone()]), last: None });
                    words.len() - 1
                });
                // What a task is called first weighs most.
                let has = words[word].last.is_some_and(|last| last >= before);
                if !has && postings.len() - before < MOST_OF_A_TASK {
                    let last = words[word].last.replace(postings.len());
                    postings.push(Posting { task, weight: *weight, before: last });
                }
            }
        }
        Self {
            tasks: tasks.len(),
            text,
            words,
            postings,
            keys: OnceCell::new(),
            read: RefCell::default(),
            heard: RefCell::default(),
        }
    }

    /// How many tasks there are.
    pub(super) fn tasks(&self) -> usize {
        self.tasks
    }

    /// Whether the title, the branch, a label or the repository of one of the first tasks has the word.
    pub(super) fn has(&self, asked: &str, tasks: usize) -> bool {
        let head = head(asked);
        self.words
            .iter()
            .filter(|word| word.head == head && self.text(word) == asked)
            .flat_map(|word| self.postings(word))
            .any(|posting| posting.task < tasks && posting.weight > 0.85)
    }

    /// How well a word fits each task by how it is written.
    pub(super) fn fits(&self, asked: &Asked) -> Rc<[Fit]> {
        recalled(&self.read, asked, || {
            let mut fits = vec![Fit::default(); self.tasks];
            self.compare(&asked.word, &mut fits);
            fits
        })
    }

    /// As [`Self::fits`], and by how it sounds for tasks that have no word which is written like it.
    pub(super) fn fits_by_ear(&self, asked: &Asked) -> Rc<[Fit]> {
        recalled(&self.heard, asked, || {
            let mut fits = self.fits(asked).to_vec();
            if asked.word.len() >= 3 && fits.iter().any(|fit| !fit.exact) {
                self.listen(asked, &mut fits);
            }
            fits
        })
    }

    fn compare(&self, asked: &str, fits: &mut [Fit]) {
        // But for abbreviations, words that are written alike begin alike.
        let heads: Vec<u32> = abbreviations(asked).map(head).chain([head(asked)]).collect();
        for word in self.words.iter().filter(|word| heads.contains(&word.head)) {
            let alike = written(asked, self.text(word));
            if alike == 0.0 {
                continue;
            }
            for posting in self.postings(word) {
                let (fit, score) = (&mut fits[posting.task], alike * posting.weight);
                if score > fit.score {
                    *fit = Fit { score, exact: true };
                }
            }
        }
    }

    fn listen(&self, asked: &Asked, fits: &mut [Fit]) {
        let less = if asked.joined { 0.97 } else { 1.0 };
        let asked = Sounded::new(&asked.word);
        let keys = self.keys.get_or_init(|| self.words.iter().map(|word| Key::new(self.text(word))).collect());
        for (word, key) in self.words.iter().zip(keys) {
            if word.place.len() < 3 || !may_be_alike(&asked.key, key) {
                continue;
            }
            let alike = 0.95 * alike(&asked, &Sounded { word: self.text(word), key: *key });
            if alike < HEARD {
                continue;
            }
            for posting in self.postings(word) {
                let score = alike * posting.weight * less;
                let fit = &mut fits[posting.task];
                if !fit.exact && score > fit.score && score >= HEARD {
                    *fit = Fit { score, exact: false };
                }
            }
        }
    }

    fn text(&self, word: &Word) -> &str {
        &self.text[word.place.clone()]
    }

    fn postings(&self, word: &Word) -> impl Iterator<Item = &Posting> {
        std::iter::successors(word.last, |at| self.postings[*at].before).map(|at| &self.postings[at])
    }
}

fn recalled(answers: &RefCell<Answers>, asked: &Asked, answer: impl FnOnce() -> Vec<Fit>) -> Rc<[Fit]> {
    if let Some(fits) = answers.borrow().get(asked) {
        return Rc::clone(fits);
    }
    let fits: Rc<[Fit]> = answer().into();
    answers.borrow_mut().insert(asked.clone(), Rc::clone(&fits));
    fits
}

/// The first three bytes. Words of which one is the other with an ending, or begins the other, have them in common.
fn head(word: &str) -> u32 {
    word.bytes().take(3).fold(0, |head, byte| head << 8 | u32::from(byte))
}

/// What a task is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Title,
    Branch,
    Label,
    Repository,
    Agent,
    Model,
}

impl Kind {
    /// How much it says of a task. A repository is common to many, what they are called is not.
    fn weight(self) -> f64 {
        match self {
            Self::Title => 1.0,
            Self::Branch | Self::Label => 0.95,
            Self::Repository => 0.88,
            Self::Agent | Self::Model => 0.8,
        }
    }

    /// Most words of it that are compared.
    fn most(self) -> usize {
        match self {
            Self::Title => MOST_WORDS,
            Self::Branch | Self::Repository => 8,
            Self::Label | Self::Model => 4,
            Self::Agent => 2,
        }
    }
}

/// The words of tasks one after another, with repetitions.
#[derive(Default)]
struct Names<'t> {
    text: String,
    /// Places in the text, with how much the word says of the task.
    found: Vec<(Range<usize>, f64)>,
    /// Where in what was found the words are of names that many tasks have in common.
    common: HashMap<(Kind, &'t str), Range<usize>, RandomState>,
}

impl<'t> Names<'t> {
    /// Adds what a task is called; gives what was found.
    fn add_task(&mut self, task: &'t Task) -> Range<usize> {
        let before = self.found.len();
        let title = task.task_description.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        self.add(Kind::Title, title);
        // `cadence/<words of the description>-<short id>`: the words are in the description already.
        if !task.branch.starts_with("cadence/") {
            self.add(Kind::Branch, &task.branch);
        }
        for label in task.labels.iter().take(8) {
            self.add_common(Kind::Label, label);
        }
        self.add_common(Kind::Repository, &task.repo_name);
        self.add_common(Kind::Agent, &task.agent);
        self.add_common(Kind::Model, &task.model);
        before..self.found.len()
    }

    fn add_common(&mut self, kind: Kind, name: &'t str) {
        if let Some(found) = self.common.get(&(kind, name)) {
            return self.found.extend_from_within(found.clone());
        }
        let before = self.found.len();
        self.add(kind, name);
        self.common.insert((kind, name), before..self.found.len());
    }

    fn add(&mut self, kind: Kind, name: &str) {
        let (first, weight, most) = (self.found.len(), kind.weight(), kind.most());
        for chunk in bounded(name).split_whitespace().take(most) {
            self.add_spoken(chunk, weight);
        }
        self.found.truncate(first + most);
        // "Userservice" may be heard for "user service". The two follow each other in the text.
        for at in (first..self.found.len()).take(MOST_PAIRS + 1).skip(1) {
            let pair = self.found[at - 1].0.start..self.found[at].0.end;
            self.found.push((pair, weight * 0.97));
        }
    }

    /// Adds the words in which a chunk is spoken, but those that have no meaning of their own.
    fn add_spoken(&mut self, chunk: &str, weight: f64) {
        let rest = chunk.strip_prefix(|c: char| c.is_ascii_alphabetic());
        // Most are plain words, of which nothing is to be parted.
        if rest.is_some_and(|rest| rest.bytes().all(|c| c.is_ascii_lowercase())) {
            let start = self.text.len();
            self.text.push_str(chunk);
            self.text[start..].make_ascii_lowercase();
            self.keep_from(start, weight);
            return;
        }
        for word in crate::spoken(chunk) {
            let start = self.text.len();
            self.text.push_str(&word);
            self.keep_from(start, weight);
        }
    }

    fn keep_from(&mut self, start: usize, weight: f64) {
        if lexicon::is_plain(&self.text[start..]) {
            self.text.truncate(start);
        } else {
            self.found.push((start..self.text.len(), weight));
        }
    }
}

fn bounded(text: &str) -> &str {
    // In bytes it is no shorter than in characters.
    if text.len() <= LONGEST {
        return text;
    }
    text.char_indices().nth(LONGEST).map_or(text, |(end, _)| &text[..end])
}
