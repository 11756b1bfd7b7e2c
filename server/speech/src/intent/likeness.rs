//! How well words describe a task: by what they are, how they begin and how they sound.

use std::cell::OnceCell;

use cadence_protocol::Task;

use super::reference::Name;
use super::sound::{Sounded, alike};

/// Most words of a task that are compared.
const MOST_WORDS: usize = 32;

/// How well a name fits a task.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Likeness {
    /// 0 to 1.
    pub score: f64,
    /// No word had to be guessed from its sound.
    pub exact: bool,
}

/// A task's words.
#[derive(Clone)]
pub(super) struct Described {
    words: Vec<(String, f64)>,
    /// The same words, once somebody has to listen.
    sounds: OnceCell<Vec<Sounded>>,
}

impl Described {
    pub(super) fn new(task: &Task) -> Self {
        let title = task.task_description.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let mut words: Vec<(String, f64)> = Vec::new();
        let mut add = |text: &str, weight: f64, most: usize| {
            let spoken: Vec<String> = text
                .split_whitespace()
                .take(most)
                .flat_map(crate::spoken)
                .filter(|word| !super::lexicon::is_plain(word))
                .take(most)
                .collect();
            // "Userservice" may be heard for "user service".
            let joined: Vec<String> = spoken.windows(2).take(16).map(|pair| pair.concat()).collect();
            let whole = spoken.into_iter().map(|word| (word, weight));
            let joined = joined.into_iter().map(|word| (word, weight * 0.97));
            for (word, weight) in whole.chain(joined) {
                if words.len() < 3 * MOST_WORDS && !words.iter().any(|(known, _)| *known == word) {
                    words.push((word, weight));
                }
            }
        };
        add(bounded(title), 1.0, MOST_WORDS);
        // `cadence/<words of the description>-<short id>`: the words are in the description already.
        let branch = task.branch.strip_prefix("cadence/").map_or(bounded(&task.branch), |_| "");
        add(branch, 0.95, 8);
        for label in task.labels.iter().take(8) {
            add(bounded(label), 0.95, 4);
        }
        // A repository is common to many tasks, what they are called is not.
        add(bounded(&task.repo_name), 0.88, 8);
        add(bounded(&task.agent), 0.8, 2);
        add(bounded(&task.model), 0.8, 4);
        Self { words, sounds: OnceCell::new() }
    }

    pub(super) fn has(&self, asked: &str) -> bool {
        self.words.iter().any(|(word, weight)| *weight > 0.85 && word == asked)
    }

    /// How well a name fits, if it fits at all.
    pub(super) fn likeness(&self, name: &Name) -> Option<Likeness> {
        let asked: Vec<String> = name.words.iter().flat_map(|word| crate::spoken(word)).take(12).collect();
        if asked.is_empty() {
            return None;
        }
        // best[at] is the best that the words from `at` on can do: each for itself, or two or three taken for one ("bill ink").
        let mut best = vec![Fit::default(); asked.len() + 1];
        for at in (0..asked.len()).rev() {
            best[at] = (1..=3.min(asked.len() - at))
                .map(|many| {
                    let (score, exact) = self.word(&asked[at..at + many].concat(), many > 1);
                    best[at + many].and(score, exact, many)
                })
                .max_by(|a, b| a.sum.total_cmp(&b.sum))
                .unwrap_or_default();
        }
        let fit = best[0];
        let likeness = Likeness { score: fit.sum / asked.len() as f64, exact: !fit.guessed };
        let enough = if name.doubtful && !name.agent {
            likeness.exact && likeness.score > 0.9 && asked.len() > 2
        } else if name.agent {
            likeness.score >= 0.5 && fit.lowest >= if asked.len() > 2 { 0.0 } else { 0.45 }
        } else {
            likeness.score >= 0.68 && fit.lowest >= 0.55
        };
        enough.then_some(likeness)
    }

    /// The best score of a word, and whether it was found without listening.
    fn word(&self, asked: &str, joined: bool) -> (f64, bool) {
        let mut best = (0.0, false);
        for (word, weight) in &self.words {
            let score = written(asked, word) * weight;
            if score > best.0 {
                best = (score, true);
            }
        }
        if best.0 > 0.0 || asked.len() < 3 {
            return best;
        }
        let asked = Sounded::new(asked);
        let sounds = self.sounds.get_or_init(|| self.words.iter().map(|(word, _)| Sounded::new(word)).collect());
        for (word, (_, weight)) in sounds.iter().zip(&self.words) {
            let lengths = asked.key.len().abs_diff(word.key.len());
            if word.word.len() < 3 || lengths > 2 || asked.key.first() != word.key.first() && lengths > 0 {
                continue;
            }
            let score = 0.95 * alike(&asked, word) * weight * if joined { 0.97 } else { 1.0 };
            if score > best.0 && score >= 0.55 {
                best = (score, false);
            }
        }
        best
    }
}

#[derive(Clone, Copy, Debug)]
struct Fit {
    sum: f64,
    lowest: f64,
    guessed: bool,
}

impl Default for Fit {
    fn default() -> Self {
        Self { sum: 0.0, lowest: 1.0, guessed: false }
    }
}

impl Fit {
    fn and(self, score: f64, exact: bool, many: usize) -> Self {
        Self {
            sum: self.sum + score * many as f64,
            lowest: self.lowest.min(score),
            guessed: self.guessed || score > 0.0 && !exact,
        }
    }
}

fn bounded(text: &str) -> &str {
    text.char_indices().nth(400).map_or(text, |(end, _)| &text[..end])
}

/// How alike two words are as they are written.
fn written(asked: &str, word: &str) -> f64 {
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

fn abbreviates(short: &str, long: &str) -> bool {
    matches!(
        (short, long),
        ("db", "database" | "databases")
            | ("js", "javascript")
            | ("ts", "typescript")
            | ("py", "python")
            | ("k8s", "kubernetes")
            | ("deps", "dependency" | "dependencies")
            | ("pg", "postgres" | "postgresql")
            | ("env", "environment")
            | ("fe", "frontend")
            | ("i18n", "internationalization")
            | ("pr", "pull")
            | ("login", "signin")
            | ("sql", "sequel")
    )
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
