//! Which of the candidates are taken.

use super::candidates::{Candidate, candidates};
use super::evidence::{Around, agrees, evidence};
use super::names::{Names, Style};
use super::words::Word;

/// A run of words that is to be written otherwise.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The first of the words.
    pub from: usize,
    /// The one after the last.
    pub to: usize,
    pub text: String,
    /// How sure it is, as the logarithm of the odds.
    pub score: f32,
}

impl Part {
    /// Whatever else may be there.
    pub const CERTAIN: f32 = 1000.0;
}

/// What speaks for one of several names with the same words, as a logarithm of ranks: one that agrees with a cue is preferred to one that
/// is used up to ten times as often.
const CUE: f32 = 2.3;
/// What is spoken of is a type more often than the variable that is called like it.
const TYPE: f32 = 0.7;
/// Words are heard where a name has them: "date time" is `DateTime` rather than `datetime`.
const DIVIDED: f32 = 3.0;
/// Names that begin with an underscore, and paths, are seldom meant where no sign was spoken.
const HIDDEN: f32 = -0.7;
/// Names of little use differ less in rank than it says.
const LEVEL: f32 = 8.0;

/// What may be names, as far as more speaks for it than against it.
pub(super) fn parts(words: &[Word], names: &Names) -> Vec<Part> {
    weighed(words, names)
        .into_iter()
        .filter_map(|(candidate, number, covered)| {
            let score = evidence(words, &candidate, number, names, covered);
            let text = names.get(number)?.text.to_string();
            (score > 0.0).then_some(Part { from: candidate.from, to: candidate.to, text, score })
        })
        .collect()
}

/// The candidates, the spelling that is meant of each, and whether a longer one has the same words and more.
pub(super) fn weighed(words: &[Word], names: &Names) -> Vec<(Candidate, u32, bool)> {
    let candidates = candidates(words, names);
    // How far the longest name reaches from each word.
    let mut reach = vec![0; words.len()];
    for candidate in candidates.iter().filter(|candidate| candidate.apart == 0.0) {
        reach[candidate.from] = candidate.to.max(reach[candidate.from]);
    }
    candidates
        .into_iter()
        .filter_map(|candidate| {
            let number = spelling(words, &candidate, names)?;
            let covered = (0..=candidate.from)
                .rev()
                .take(super::candidates::MOST_WORDS)
                .any(|from| reach[from] >= candidate.to && reach[from] - from > candidate.len());
            Some((candidate, number, covered))
        })
        .collect()
}

/// The likeliest of several names with the same words: the most useful one, unless the words around announce another sort. None
/// where the text has one of them already.
fn spelling(words: &[Word], candidate: &Candidate, names: &Names) -> Option<u32> {
    let sort = Around::of(words, candidate.from, candidate.to).announces();
    let single = words.get(candidate.from).filter(|_| candidate.len() == 1);
    let mut best: Option<(f32, u32)> = None;
    for number in &candidate.names {
        let name = names.get(*number)?;
        if single.is_some_and(|word| *word.lower == *name.text) && sort.is_none_or(|sort| sort == super::class::Sort::Any || agrees(sort, name.style)) {
            return None;
        }
        let cue = sort.is_some_and(|sort| agrees(sort, name.style));
        let hidden = name.text.starts_with('_') || name.style == Style::Other && candidate.signs == 0;
        let score = [
            (cue, CUE),
            (name.style == Style::Pascal, TYPE),
            (candidate.len() > 1 && candidate.apart == 0.0 && name.words == candidate.len(), DIVIDED),
            (hidden, HIDDEN),
        ]
        .into_iter()
        .filter_map(|(holds, worth)| holds.then_some(worth))
        .sum::<f32>()
            - (*number as f32 + LEVEL).ln();
        if best.is_none_or(|(other, _)| score > other) {
            best = Some((score, *number));
        }
    }
    best.map(|(_, number)| number)
}

/// The parts that do not overlap and are the surest together, in the order of the text.
pub(super) fn best(mut parts: Vec<Part>, words: usize) -> Vec<Part> {
    parts.retain(|part| part.from < part.to && part.to <= words);
    parts.sort_by_key(|part| part.to);
    // The best sum up to each word, and the part with which it ends.
    let mut sums: Vec<(f32, Option<usize>)> = vec![(0.0, None); words + 1];
    let mut next = 0;
    for to in 1..=words {
        sums[to] = (sums[to - 1].0, None);
        while let Some(part) = parts.get(next).filter(|part| part.to == to) {
            let sum = sums[part.from].0 + part.score;
            if sum > sums[to].0 {
                sums[to] = (sum, Some(next));
            }
            next += 1;
        }
    }
    let mut chosen = Vec::new();
    let mut to = words;
    while to > 0 {
        match sums[to].1 {
            Some(part) => {
                to = parts[part].from;
                chosen.push(part);
            }
            None => to -= 1,
        }
    }
    chosen.into_iter().rev().filter_map(|part| parts.get(part).cloned()).collect()
}
