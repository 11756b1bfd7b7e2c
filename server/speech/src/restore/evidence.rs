//! What speaks for words being a name, and what against it.

use super::candidates::Candidate;
use super::class::{CLASSES, Class, Sort, cue, is_verb};
use super::names::{Letters, Name, Names, Style};
use super::prose::PROSE;
use super::weights::WEIGHTS;
use super::words::Word;

/// How many things are looked at.
pub(super) const FEATURES: usize = 47 + 2 * CLASSES;

/// Whether longer names have the words of a candidate and more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Covered {
    /// One with all their letters.
    pub exact: bool,
    /// One that is very near in sound.
    pub near: bool,
    /// One with all its letters has only some of the words, and others.
    pub crossed: bool,
}

/// The words around a run of words, where nothing separates them from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'w> {
    pub before: Option<&'w str>,
    pub after: Option<&'w str>,
}

impl<'w> Around<'w> {
    pub fn of(words: &'w [Word], from: usize, to: usize) -> Self {
        let joined = words.get(from).is_some_and(|word| word.joins);
        let before = from.checked_sub(1).and_then(|before| words.get(before)).filter(|_| joined);
        let after = words.get(to).filter(|after| after.joins);
        Self { before: before.map(|word| word.lower.as_str()), after: after.map(|word| word.lower.as_str()) }
    }

    /// What sort of name the words around announce, the one after more than the one before: "the user class".
    pub fn announces(&self) -> Option<Sort> {
        self.after.and_then(cue).or_else(|| self.before.and_then(cue))
    }
}

/// Whether a name is written as one of this sort is.
pub(super) fn agrees(sort: Sort, style: Style) -> bool {
    match sort {
        Sort::Type => style == Style::Pascal,
        Sort::Value => matches!(style, Style::Camel | Style::Snake | Style::Word),
        Sort::Constant => style == Style::Upper,
        Sort::Tool => matches!(style, Style::Kebab | Style::Other),
        Sort::Any => false,
    }
}

/// How sure it is that a candidate is this name, as the logarithm of the odds.
pub(super) fn evidence(words: &[Word], candidate: &Candidate, number: u32, names: &Names, covered: Covered) -> f32 {
    let Some(name) = names.get(number) else { return f32::MIN };
    let weights = match (candidate.apart > 0.0, candidate.len()) {
        (true, _) => 2,
        (false, 1) => 0,
        (false, _) => 1,
    };
    features(words, candidate, name, number, names, covered)
        .iter()
        .zip(&WEIGHTS)
        .map(|(feature, weight)| feature * weight[weights])
        .sum()
}

/// The evidence on a candidate: what the words are, what is around them, and what the name is. In the order of [`WEIGHTS`].
fn features(
    words: &[Word],
    candidate: &Candidate,
    name: &Name,
    number: u32,
    names: &Names,
    covered: Covered,
) -> [f32; FEATURES] {
    let own_words = &words[candidate.from..candidate.to];
    let run: Vec<&str> = own_words.iter().map(|word| word.lower.as_str()).collect();
    let around = Around::of(words, candidate.from, candidate.to);
    let class = |word: Option<&str>| word.map_or(Class::Edge, Class::of);
    let (mut left, right) = (class(around.before), class(around.after));
    if left == Class::Auxiliary && asks(words, candidate.from) {
        left = Class::Particle;
    }
    let (first, last) = (run.first().copied().unwrap_or_default(), run.last().copied().unwrap_or_default());
    let several = run.len() > 1;
    let pairs = run.windows(2).map(|pair| (pair[0], pair[1]));
    let known = pairs.clone().filter(|(a, b)| PROSE.is_pair(a, b)).count();
    let surprise = PROSE.surprise(None, first) + pairs.map(|(a, b)| PROSE.surprise(Some(a), b)).sum::<f32>();
    let rarest = run.iter().map(|word| PROSE.level(word)).fold(f32::MAX, f32::min);
    let letters: usize = run.iter().map(|word| word.chars().count()).sum();
    let verb = is_verb(first);
    let commands = matches!(left, Class::Edge | Class::To | Class::Auxiliary | Class::Particle);
    let misheard = candidate.apart > 0.0;
    let (same, own, differ) = if misheard { shared(&run, &name.text) } else { (0, 0, &run[..0]) };
    let flag = |set: bool| if set { 1.0_f32 } else { 0.0 };

    let mut features = [0.0; FEATURES];
    let own_features = [
        1.0,
        flag(run.len() == 1),
        flag(run.len() == 2),
        flag(run.len() == 3),
        (letters as f32).ln(),
        rarest / 10.0,
        flag(rarest < 1.0),
        surprise / 10.0,
        surprise / 10.0 / run.len() as f32,
        known as f32 / (run.len() - 1).max(1) as f32,
        flag(run.len() == 2 && known == 1),
        flag(around.before.is_some_and(|before| PROSE.is_pair(before, first))),
        flag(around.after.is_some_and(|after| PROSE.is_pair(last, after))),
        flag(Class::of(first).is_function_word()),
        flag(Class::of(last).is_function_word()),
        flag(run.len() > 2 && run[1..run.len() - 1].iter().any(|word| Class::of(word).is_function_word())),
        flag(verb),
        flag(verb && several && commands),
        flag(verb && several && commands && !matches!(right, Class::Auxiliary | Class::Verb | Class::Particle)),
        flag(last.ends_with('s') && !last.ends_with("ss")),
        own_words[1..].iter().filter(|word| word.hyphen).count() as f32,
        own_words.iter().filter(|word| word.capital).count() as f32,
        flag(candidate.signs > 0),
        candidate.aliases as f32,
        flag(covered.exact),
        // The first few do not differ.
        (number as f32 + 50.0).ln() / 10.0,
        flag(name.words == run.len() || candidate.aliases > 0),
        flag(around.announces().is_some_and(|sort| agrees(sort, name.style))),
        candidate.apart * 10.0,
        if misheard { same as f32 / own.max(1) as f32 } else { 0.0 },
        if misheard { run.len().abs_diff(own) as f32 } else { 0.0 },
        candidate.local * 10.0,
        flag(name.text.starts_with('_') || name.style == Style::Other && candidate.signs == 0),
        flag(several && cue(last).is_some()),
        flag(several && cue(last).is_some() && is_name(&run[..run.len() - 1], names)),
        flag(several && name.text.starts_with('_') && is_name(&run[..run.len() - 1], names)),
        flag(several && run.len() > 2 && is_name(&run[1..], names)),
        flag(run.len() > 2 && Class::of(first).is_function_word() && is_name(&run[1..], names)),
        flag(covered.near),
        flag(covered.crossed),
        flag(several && own_words[1..].iter().all(|word| word.capital)),
        flag(differ.len() == 1 && Class::of(differ[0]).is_function_word()),
        flag(differ.iter().any(|word| PROSE.level(word) > 11.0)),
        flag(misheard && candidate.local > 0.095 && candidate.local < 0.105),
        if misheard { (name.text.len() as f32).ln() } else { 0.0 },
        if misheard { as_heard(words, candidate, name, number, names, covered) / 10.0 } else { 0.0 },
        // "object to primitive value" has no `toPrimitive`, which "the to primitive method" may have.
        flag(Class::of(first).is_function_word() && matches!(left, Class::Cue | Class::Verb | Class::Other)),
    ];
    let classes = [left, right].into_iter().flat_map(|side| (0..CLASSES).map(move |nth| flag(side as usize == nth)));
    for (feature, value) in features.iter_mut().zip(own_features.into_iter().chain(classes)) {
        *feature = value;
    }
    features
}

/// Whether words have the letters of a name.
fn is_name(run: &[&str], names: &Names) -> bool {
    let mut letters = Letters::new();
    run.iter().for_each(|word| letters.push(word));
    !names.of_letters(letters).is_empty()
}

/// How sure it would be that a candidate is this name if its words had been heard.
fn as_heard(words: &[Word], candidate: &Candidate, name: &Name, number: u32, names: &Names, covered: Covered) -> f32 {
    let start = candidate.from.saturating_sub(3);
    let mut heard = words[start..candidate.from].to_vec();
    let from = heard.len();
    let own = words.get(candidate.from).cloned();
    heard.extend(crate::spoken(&name.text).into_iter().zip(own.iter().cycle()).enumerate().map(
        |(nth, (lower, own))| Word { lower, joins: nth > 0 || own.joins, hyphen: false, capital: false, ..own.clone() },
    ));
    let to = heard.len();
    heard.extend(words[candidate.to..].iter().take(1).cloned());
    let candidate = Candidate { from, to, names: Vec::new(), apart: 0.0, local: 0.0, aliases: 0, signs: 0 };
    evidence(&heard, &candidate, number, names, covered)
}

/// Whether the word before one opens a question, so that what follows is not what is done: "why does use effect run twice".
fn asks(words: &[Word], from: usize) -> bool {
    let before = from.checked_sub(2).and_then(|at| words.get(at)).filter(|_| words[from - 1].joins);
    before.is_none_or(|word| matches!(word.lower.as_str(), "why" | "how" | "when" | "where" | "what" | "and" | "so"))
}

/// How many of these words a name has, how many it has in all, and the words between those at both ends that it has, too.
fn shared<'r, 'w>(run: &'r [&'w str], name: &str) -> (usize, usize, &'r [&'w str]) {
    let own = crate::spoken(name);
    let same = run.iter().filter(|word| own.iter().any(|own| own == *word)).count();
    let first = own.iter().zip(run).take_while(|(own, heard)| own == *heard).count();
    let most = own.len().min(run.len()) - first;
    let last = own.iter().rev().zip(run.iter().rev()).take(most).take_while(|(own, heard)| own == *heard).count();
    (same, own.len(), &run[first..run.len() - last])
}
