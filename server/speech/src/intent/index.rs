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
type Answers = HashMap<Asked, Rc<Fits>, RandomState>;

/// How well a word fits each task.
pub(super) struct Fits {
    each: Vec<Fit>,
    /// The tasks that it fits at all: of many mostly few.
    tasks: Vec<usize>,
}

impl Fits {
    fn new(each: Vec<Fit>) -> Self {
        let tasks = each.iter().enumerate().filter(|(_, fit)| fit.score > 0.0).map(|(task, _)| task).collect();
        Self { each, tasks }
    }

    pub(super) fn of(&self, task: usize) -> Fit {
        self.each.get(task).copied().unwrap_or_default()
    }

    pub(super) fn tasks(&self) -> &[usize] {
        &self.tasks
    }
}

/// Bytes of the index's text. Small, as all that there is for each word: what is built for one sentence shall stay in the
/// processor's cache. Names are cut, so there is never more than can be counted.
#[derive(Clone, Copy)]
struct Place {
    start: u32,
    end: u32,
}

impl Place {
    fn new(place: Range<usize>) -> Self {
        Self { start: place.start as u32, end: place.end as u32 }
    }

    fn of(self, text: &str) -> &str {
        &text[self.start as usize..self.end as usize]
    }
}

struct Word {
    place: Place,
    /// The posting that was added last.
    last: Option<u32>,
}

/// That a task has a word.
struct Posting {
    task: u32,
    /// The posting of the same word that was added before.
    before: Option<u32>,
    /// How much the word says of the task, 0 to 1.
    weight: f64,
}

pub(super) struct Index {
    tasks: usize,
    text: String,
    words: Vec<Word>,
    /// How the words begin.
    heads: Vec<u32>,
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
        let (mut words, mut heads, mut postings) = (Vec::<Word>::new(), Vec::new(), Vec::<Posting>::new());
        let mut known: HashMap<&str, u32, RandomState> =
            HashMap::with_capacity_and_hasher(found.len() / 2, RandomState::default());
        for (task, found) in each.into_iter().map(|of| &found[of]).enumerate() {
            let before = postings.len();
            for &(place, weight) in found {
                let text = place.of(&text);
                let word = *known.entry(text).or_insert_with(|| {
                    words.push(Word { place, last: None });
                    heads.push(head(text));
                    (words.len() - 1) as u32
                });
                // What a task is called first weighs most.
                let last = &mut words[word as usize].last;
                let has = last.is_some_and(|last| last as usize >= before);
                if !has && postings.len() - before < MOST_OF_A_TASK {
                    let before = last.replace(postings.len() as u32);
                    postings.push(Posting { task: task as u32, before, weight });
                }
            }
        }
        let (keys, read, heard) = (OnceCell::new(), RefCell::default(), RefCell::default());
        Self { tasks: tasks.len(), text, words, heads, postings, keys, read, heard }
    }

    /// Whether the title, the branch, a label or the repository of one of the first tasks has the word.
    pub(super) fn has(&self, asked: &str, tasks: usize) -> bool {
        let head = head(asked);
        self.begin_with(|of| of == head)
            .filter(|word| self.text(word) == asked)
            .flat_map(|word| self.postings(word))
            .any(|posting| (posting.task as usize) < tasks && posting.weight > 0.85)
    }

    /// How well a word fits each task by how it is written.
    pub(super) fn fits(&self, asked: &Asked) -> Rc<Fits> {
        recalled(&self.read, asked, || {
            let mut fits = vec![Fit::default(); self.tasks];
            self.compare(&asked.word, &mut fits);
            fits
        })
    }

    /// As [`Self::fits`], and by how it sounds for tasks that have no word which is written like it.
    pub(super) fn fits_by_ear(&self, asked: &Asked) -> Rc<Fits> {
        recalled(&self.heard, asked, || {
            let mut fits = self.fits(asked).each.clone();
            if asked.word.len() >= 3 && fits.iter().any(|fit| !fit.exact) {
                self.listen(asked, &mut fits);
            }
            fits
        })
    }

    fn compare(&self, asked: &str, fits: &mut [Fit]) {
        // But for abbreviations, words that are written alike begin alike.
        let (own, others) = (head(asked), abbreviations(asked).map(head).collect::<Vec<_>>());
        for word in self.begin_with(|head| head == own || others.contains(&head)) {
            let alike = written(asked, self.text(word));
            if alike == 0.0 {
                continue;
            }
            for posting in self.postings(word) {
                let (fit, score) = (&mut fits[posting.task as usize], alike * posting.weight);
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
            if !may_be_alike(&asked.key, key) {
                continue;
            }
            let word_text = self.text(word);
            let alike = 0.95 * alike(&asked, &Sounded { word: word_text, key: *key });
            if word_text.len() < 3 || alike < HEARD {
                continue;
            }
            for posting in self.postings(word) {
                let score = alike * posting.weight * less;
                let fit = &mut fits[posting.task as usize];
                if !fit.exact && score > fit.score && score >= HEARD {
                    *fit = Fit { score, exact: false };
                }
            }
        }
    }

    fn text(&self, word: &Word) -> &str {
        word.place.of(&self.text)
    }

    fn begin_with(&self, head: impl Fn(u32) -> bool) -> impl Iterator<Item = &Word> {
        self.heads.iter().zip(&self.words).filter(move |(of, _)| head(**of)).map(|(_, word)| word)
    }

    fn postings(&self, word: &Word) -> impl Iterator<Item = &Posting> {
        let last = word.last.map(|last| &self.postings[last as usize]);
        std::iter::successors(last, |posting| posting.before.map(|before| &self.postings[before as usize]))
    }
}

fn recalled(answers: &RefCell<Answers>, asked: &Asked, answer: impl FnOnce() -> Vec<Fit>) -> Rc<Fits> {
    if let Some(fits) = answers.borrow().get(asked) {
        return Rc::clone(fits);
    }
    let fits = Rc::new(Fits::new(answer()));
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
    found: Vec<(Place, f64)>,
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
            let pair = Place { start: self.found[at - 1].0.start, end: self.found[at].0.end };
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
            self.found.push((Place::new(start..self.text.len()), weight));
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

#[cfg(test)]
mod tests {
    use super::super::tests::tasks;
    use super::{Asked, Index};

    #[test]
    fn a_word_is_found_in_each_task_that_has_it_and_by_ear_where_it_is_not_written() {
        let index = Index::new(&tasks("billing search docs"));
        let asked = |word: &str| Asked { word: word.to_owned(), joined: false };
        // Both are for the repository `shop`.
        assert_eq!(index.fits(&asked("shop")).tasks(), [0, 1]);
        assert_eq!(index.fits(&asked("doc")).tasks(), [2]);
        assert!(index.fits(&asked("billink")).tasks().is_empty());
        let heard = index.fits_by_ear(&asked("billink"));
        assert!(heard.tasks() == [0] && !heard.of(0).exact);
        assert!(index.has("invoices", 1) && !index.has("search", 1) && !index.has("claude", 3));
    }
}
