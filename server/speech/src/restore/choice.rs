//! Which of the candidates are taken.

use super::candidates::{Candidate, MOST_WORDS, candidates};
use super::class::{Class, Sort, is_verb, leaning};
use super::evidence::{Around, Covered, agrees, evidence};
use super::names::{LEVEL, Letters, Names, Style};
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
/// What a sentence begins with that is a verb and its object is what it says.
const TOLD: f32 = 4.0;
/// What follows "dot" is the member of something.
const MEMBER: f32 = 3.0;
/// A single word is the name of a type where it is said to be.
const ANNOUNCED: f32 = 2.5;
/// What comes before "dot" has members.
const OWNER: f32 = 2.0;
/// How far the sound of a word may be away that is very near.
const NEAR: f32 = 0.2;

/// What may be names, as far as more speaks for it than against it.
pub(super) fn parts(words: &[Word], names: &Names) -> Vec<Part> {
    let mut parts: Vec<(bool, Part)> = weighed(words, names)
        .into_iter()
        .filter_map(|(candidate, number, covered)| {
            let name = names.get(number)?;
            let score = evidence(words, &candidate, number, names, covered)
                + dotted(words, &candidate, names)
                + announced(words, &candidate, name.style)
                - commanded(words, &candidate);
            let part = Part { from: candidate.from, to: candidate.to, text: name.text.to_string(), score };
            (score > 0.0).then_some((candidate.apart > 0.0, part))
        })
        .collect();
    // What was heard goes before what only sounds like some of it and of what is beside it: "same site cookie". What begins with a word
    // that holds sentences together may belong to the sentence: `toObject` in "add methods to object util".
    let heard: Vec<(usize, usize)> = parts
        .iter()
        .filter(|(misheard, part)| {
            !misheard && part.to - part.from > 1 && !Class::of(&words[part.from].lower).is_function_word()
        })
        .map(|(_, part)| (part.from, part.to))
        .collect();
    parts.retain(|(misheard, part)| {
        let crosses = |&(from, to): &(usize, usize)| {
            from < part.from && part.from < to && to < part.to || part.from < from && from < part.to && part.to < to
        };
        !misheard || !heard.iter().any(crosses)
    });
    parts.into_iter().map(|(_, part)| part).collect()
}

/// What it is worth that "dot" and another word are beside a candidate.
fn dotted(words: &[Word], candidate: &Candidate, names: &Names) -> f32 {
    let content = |at: Option<usize>| {
        at.and_then(|at| words.get(at)).is_some_and(|word| !Class::of(&word.lower).is_function_word())
    };
    let dot = |at: Option<usize>| at.and_then(|at| words.get(at)).is_some_and(|word| word.lower == "dot" && word.joins);
    let (before, after) = (candidate.from.checked_sub(1), Some(candidate.to));
    let member = dot(before) && words[candidate.from].joins && content(candidate.from.checked_sub(2));
    // A name that was heard right before "dot" is the owner, not a longer one that sounds about like it: "a handler from app dot".
    let heard = || {
        let mut letters = Letters::new();
        letters.push(&words[candidate.to - 1].lower);
        !names.of_letters(letters).is_empty()
    };
    let owner =
        dot(after) && words.get(candidate.to + 1).is_some_and(|word| word.joins) && !(candidate.apart > 0.0 && heard());
    match (member && candidate.len() > 1, owner && candidate.len() > 1) {
        (true, _) => MEMBER,
        (false, true) => OWNER,
        (false, false) => 0.0,
    }
}

/// What it is worth that a single word is said to be the name of a type: "the blueprint class".
fn announced(words: &[Word], candidate: &Candidate, style: Style) -> f32 {
    let around = Around::of(words, candidate.from, candidate.to);
    let (before, after) = (around.before.map(Class::of), around.after);
    let says = after.is_some_and(|after| {
        matches!(after, "class" | "struct" | "trait" | "interface" | "enum" | "component" | "mixin" | "constructor")
    });
    let stands_alone = before.is_none_or(|before| before.is_function_word() || before == Class::Verb);
    if candidate.len() == 1 && candidate.apart == 0.0 && says && stands_alone && style == Style::Pascal {
        ANNOUNCED
    } else {
        0.0
    }
}

/// What speaks against a candidate with which somebody is told what to do: "add user to the group". The sentences of the regression are
/// from histories, which seldom speak to anybody.
fn commanded(words: &[Word], candidate: &Candidate) -> f32 {
    let around = Around::of(words, candidate.from, candidate.to);
    let tells = match around.before {
        Some(before) => matches!(before, "please" | "to" | "you" | "we" | "i" | "let's" | "just" | "then"),
        None => candidate.from == 0,
    };
    let goes_on = around.after.map_or(candidate.to == words.len(), |after| {
        matches!(Class::of(after), Class::To | Class::Preposition | Class::Determiner | Class::Other)
    });
    let verb = words.get(candidate.from).is_some_and(|word| is_verb(&word.lower));
    match (verb && candidate.len() > 1 && tells && goes_on, around.before) {
        (true, None) => TOLD,
        // "a call to get user" is one as well.
        (true, Some(_)) => TOLD / 2.0,
        (false, _) => 0.0,
    }
}

/// Whether a name of several words that were heard has some of the words of a candidate and others.
fn crossed(candidate: &Candidate, exact: &[(usize, usize, u32)]) -> bool {
    let first = exact.partition_point(|(from, ..)| from + MOST_WORDS < candidate.from);
    exact[first..].iter().take_while(|(from, ..)| *from < candidate.to).any(|&(from, to, _)| {
        to - from > 1
            && to > candidate.from
            && (from < candidate.from && to < candidate.to || from > candidate.from && to > candidate.to)
    })
}

/// Which candidates are not further away in sound than others for one of their names at some of the same words: of "a polo link" and
/// "polo link", `ApolloLink` is the first.
fn nearest(candidates: &[Candidate]) -> Vec<bool> {
    candidates
        .iter()
        .map(|one| {
            one.apart == 0.0
                || !candidates.iter().any(|other| {
                    other.apart > 0.0
                        && other.apart < one.apart
                        && other.from < one.to
                        && one.from < other.to
                        && one.names.iter().any(|name| other.names.contains(name))
                })
        })
        .collect()
}

/// The candidates, the spelling that is meant of each, and whether a longer one has the same words and more.
pub(super) fn weighed(words: &[Word], names: &Names) -> Vec<(Candidate, u32, Covered)> {
    let candidates = candidates(words, names);
    // How far the longest name reaches from each word, and the longest that is very near in sound.
    let (mut reach, mut reach_near) = (vec![0; words.len()], vec![0; words.len()]);
    // What is told does not hide what it is told of: `queryContext` in "add query context" where there is `addQueryContext`, too.
    for candidate in candidates.iter().filter(|candidate| commanded(words, candidate) <= 0.0) {
        if candidate.apart == 0.0 {
            reach[candidate.from] = candidate.to.max(reach[candidate.from]);
        } else if candidate.local <= NEAR {
            reach_near[candidate.from] = candidate.to.max(reach_near[candidate.from]);
        }
    }
    let exact: Vec<(usize, usize, u32)> = candidates
        .iter()
        .filter(|candidate| candidate.apart == 0.0)
        .flat_map(|candidate| candidate.names.iter().map(|name| (candidate.from, candidate.to, *name)))
        .collect();
    let nearest = nearest(&candidates);
    candidates
        .into_iter()
        .zip(nearest)
        .filter_map(|(candidate, nearest)| Some(candidate).filter(|_| nearest))
        .filter(|candidate| {
            // What sounds like a name within words that have its letters is a part of it: "sink handler" in "a sink handler".
            let first = exact.partition_point(|(from, ..)| from + MOST_WORDS < candidate.from);
            let mut around = exact[first..].iter().take_while(|(from, ..)| *from <= candidate.from);
            candidate.apart == 0.0 || !around.any(|(_, to, name)| *to >= candidate.to && candidate.names.contains(name))
        })
        .filter_map(|candidate| {
            let number = spelling(words, &candidate, names)?;
            let within = |reach: &[usize]| {
                let mut before = (0..=candidate.from).rev().take(MOST_WORDS);
                before.any(|from| reach[from] >= candidate.to && reach[from] - from > candidate.len())
            };
            let covered = Covered {
                exact: within(&reach),
                near: within(&reach_near),
                crossed: candidate.apart > 0.0 && crossed(&candidate, &exact),
            };
            Some((candidate, number, covered))
        })
        .collect()
}

/// The likeliest of several names with the same words: the most useful one, unless the words around announce another sort. None
/// where the text has one of them already.
fn spelling(words: &[Word], candidate: &Candidate, names: &Names) -> Option<u32> {
    let around = Around::of(words, candidate.from, candidate.to);
    let sort = if around.before == Some("dot") { Some(Sort::Value) } else { around.announces() };
    let sort = sort.or_else(|| leaning(around.before, around.after));
    // What begins with a verb is a function rather than a type.
    let acts = candidate.len() > 1 && words.get(candidate.from).is_some_and(|word| is_verb(&word.lower));
    let single = words.get(candidate.from).filter(|_| candidate.len() == 1);
    let mut best: Option<(f32, u32)> = None;
    for number in &candidate.names {
        let name = names.get(*number)?;
        if single.is_some_and(|word| *word.lower == *name.text)
            && sort.is_none_or(|sort| sort == Sort::Any || agrees(sort, name.style))
        {
            return None;
        }
        let cue = sort.is_some_and(|sort| agrees(sort, name.style));
        let hidden = name.text.starts_with('_') || name.style == Style::Other && candidate.signs == 0;
        let score = [
            (cue, CUE),
            (name.style == Style::Pascal && !acts, TYPE),
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
