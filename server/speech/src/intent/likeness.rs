//! How well what was said describes a task: by what the words are, how they begin and how they sound.

use std::rc::Rc;

use super::index::{Asked, Fit, Fits, Index};
use super::reference::Name;

/// Most words of a name that are compared.
const MOST_ASKED: usize = 12;
/// Most words that are taken for one.
const MOST_JOINED: usize = 3;

/// Fewest words of a part of a sentence that are what a task is called and no chance.
const LEAST_READ: usize = 3;

/// How well a name fits a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Likeness {
    /// 0 to 1.
    pub score: f64,
    /// No word had to be guessed from its sound.
    pub exact: bool,
}

/// How near to the best a task is meant by the same name.
pub(super) const NEAR: f64 = 0.1;

/// The tasks that a name may mean, by their place in the index, and how well it fits them.
pub(super) fn likenesses(name: &Name, index: &Index) -> Vec<(usize, Likeness)> {
    let words: Vec<String> = name.words.iter().flat_map(|word| crate::spoken(word)).take(MOST_ASKED).collect();
    if words.is_empty() || is_read_only(name) && words.len() < LEAST_READ {
        return Vec::new();
    }
    // asked[at][many - 1] are so many words from `at` on, taken for one.
    let asked: Vec<Vec<Asked>> = (0..words.len())
        .map(|at| {
            let most = MOST_JOINED.min(words.len() - at);
            (1..=most).map(|many| Asked { word: words[at..at + many].concat(), joined: many > 1 }).collect()
        })
        .collect();
    // To listen is the most of the work, and often changes nothing.
    let read = sums(&asked, |asked| index.fits(asked));
    let scores = read.iter().map(|(_, sum)| sum.score(words.len()));
    let mut near = scores.filter(|score| 1.0 - score < NEAR).peekable();
    let enough = match near.peek() {
        // Nothing that is heard comes near one that is called exactly so.
        Some(_) => near.all(|score| score >= 1.0),
        None => is_read_only(name),
    };
    let sums = if enough { read } else { sums(&asked, |asked| index.fits_by_ear(asked)) };
    sums.into_iter().filter_map(|(task, sum)| Some((task, likeness(name, sum, words.len())?))).collect()
}

/// Whether words that only sound like those of a task do not make it one that is meant.
fn is_read_only(name: &Name) -> bool {
    name.doubtful && !name.agent
}

/// The best that the words of a name can do for each task that one of them fits: each word for itself, or two or three taken for
/// one ("bill ink").
fn sums(asked: &[Vec<Asked>], fits: impl Fn(&Asked) -> Rc<Fits>) -> Vec<(usize, Sum)> {
    let fits: Vec<Vec<Rc<Fits>>> = asked.iter().map(|from| from.iter().map(&fits).collect()).collect();
    let mut tasks: Vec<usize> = fits.iter().flatten().flat_map(|fits| fits.tasks()).copied().collect();
    tasks.sort_unstable();
    tasks.dedup();
    tasks.into_iter().map(|task| (task, sum(&fits, task))).collect()
}

fn sum(fits: &[Vec<Rc<Fits>>], task: usize) -> Sum {
    // best[at] is that of the words from `at` on.
    let mut best = [Sum::default(); MOST_ASKED + 1];
    for (at, fits) in fits.iter().enumerate().rev() {
        best[at] = (1..)
            .zip(fits)
            .map(|(many, fits)| best[at + many].and(fits.of(task), many))
            .max_by(|a, b| a.sum.total_cmp(&b.sum))
            .unwrap_or_default();
    }
    best[0]
}

/// How well a name of so many words fits a task, if it fits at all.
fn likeness(name: &Name, sum: Sum, words: usize) -> Option<Likeness> {
    let likeness = Likeness { score: sum.score(words), exact: !sum.guessed };
    let enough = if is_read_only(name) {
        likeness.exact && likeness.score > 0.9 && words >= LEAST_READ
    } else if name.agent {
        likeness.score >= 0.5 && sum.lowest >= if words > 2 { 0.0 } else { 0.45 }
    } else {
        likeness.score >= 0.68 && sum.lowest >= 0.55
    };
    enough.then_some(likeness)
}

#[derive(Clone, Copy, Debug)]
struct Sum {
    sum: f64,
    lowest: f64,
    guessed: bool,
}

impl Default for Sum {
    fn default() -> Self {
        Self { sum: 0.0, lowest: 1.0, guessed: false }
    }
}

impl Sum {
    fn score(&self, words: usize) -> f64 {
        self.sum / words as f64
    }

    fn and(self, fit: Fit, many: usize) -> Self {
        Self {
            sum: self.sum + fit.score * many as f64,
            lowest: self.lowest.min(fit.score),
            guessed: self.guessed || fit.score > 0.0 && !fit.exact,
        }
    }
}

/// How alike two words are as they are written.
pub(super) fn written(asked: &str, word: &str) -> f64 {
    if asked == word {
        return 1.0;
    }
    let (short, long) = if asked.len() < word.len() { (asked, word) } else { (word, asked) };
    if stem(asked) == stem(word) {
        return 0.97;
    }
    if abbreviates(short, long) {
        return 0.95;
    }
    match short.len() {
        // "auth" for authentication; the other way round somebody said more than the task does.
        3.. if long.starts_with(short) && long == word => 0.93,
        4.. if long.starts_with(short) => 0.85,
        _ => 0.0,
    }
}

/// Without the endings of plural, tense and doer; no more than is needed to compare.
fn stem(word: &str) -> &str {
    let mut stem = word;
    for end in ["ions", "ion", "ings", "ing", "ors", "ers", "ies", "ed", "es", "er", "or", "s", "y", "e"] {
        if let Some(left) = stem.strip_suffix(end)
            && left.len() >= 3
        {
            stem = left;
            break;
        }
    }
    // "stopped", "running"
    let mut back = stem.chars().rev();
    match (back.next(), back.next()) {
        (Some(a), Some(b)) if a == b && a.is_ascii() && !"aeiousl".contains(a) && stem.len() > 3 => {
            &stem[..stem.len() - 1]
        }
        _ => stem,
    }
}

/// Short forms that are not the beginning of the long one, and what is said for another thing.
const ABBREVIATIONS: [(&str, &str); 16] = [
    ("db", "database"),
    ("db", "databases"),
    ("js", "javascript"),
    ("ts", "typescript"),
    ("py", "python"),
    ("k8s", "kubernetes"),
    ("deps", "dependency"),
    ("deps", "dependencies"),
    ("pg", "postgres"),
    ("pg", "postgresql"),
    ("env", "environment"),
    ("fe", "frontend"),
    ("i18n", "internationalization"),
    ("pr", "pull"),
    ("login", "signin"),
    ("sql", "sequel"),
];

fn abbreviates(short: &str, long: &str) -> bool {
    ABBREVIATIONS.contains(&(short, long))
}

/// What a word abbreviates, and what it is abbreviated to.
pub(super) fn abbreviations(word: &str) -> impl Iterator<Item = &'static str> {
    ABBREVIATIONS.iter().filter_map(move |(short, long)| match word {
        _ if word == *short => Some(*long),
        _ if word == *long => Some(*short),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::{stem, written};

    #[test]
    fn forms_of_a_word_are_one() {
        for (a, b) in [
            ("test", "tests"),
            ("migrating", "migration"),
            ("stopped", "stop"),
            ("query", "queries"),
            ("cache", "caching"),
        ] {
            assert_eq!(stem(a), stem(b), "{a} {b}");
        }
        assert!(written("auth", "authentication") > written("authentication", "auth"));
        assert_eq!(written("cat", "dog"), 0.0);
        assert!(written("db", "database") > 0.9);
    }
}
