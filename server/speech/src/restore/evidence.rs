//! What speaks for words being a name, and what against it.

use super::candidates::Candidate;
use super::class::{CLASSES, Class, is_verb};
use super::names::{Name, Names, Style};
use super::prose::PROSE;
use super::words::Word;

/// How many things are looked at.
pub(super) const FEATURES: usize = 27 + 2 * CLASSES + 7;

/// The words around a run of words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Around<'w> {
    pub before: Option<&'w Word>,
    pub after: Option<&'w Word>,
}

impl<'w> Around<'w> {
    pub fn of(words: &'w [Word], candidate: &Candidate) -> Self {
        let before = candidate.from.checked_sub(1).and_then(|before| words.get(before)).filter(|_| words[candidate.from].joins);
        Self { before, after: words.get(candidate.to).filter(|after| after.joins) }
    }

    pub fn classes(&self) -> (Class, Class) {
        let class = |word: Option<&Word>| word.map_or(Class::Edge, |word| Class::of(&word.lower));
        (class(self.before), class(self.after))
    }
}

/// The evidence on a candidate: what the words are, what is around them, and what the name is.
pub(super) fn features(words: &[Word], candidate: &Candidate, name: &Name, rank: u32, names: &Names, covered: bool) -> [f32; FEATURES] {
    let run: Vec<&str> = words[candidate.from..candidate.to].iter().map(|word| word.lower.as_str()).collect();
    let around = Around::of(words, candidate);
    let (left, right) = around.classes();
    let (first, last) = (run.first().copied().unwrap_or_default(), run.last().copied().unwrap_or_default());
    let pairs = run.windows(2).map(|pair| (pair[0], pair[1]));
    let known = pairs.clone().filter(|(a, b)| PROSE.is_pair(a, b)).count() as f32;
    let count = pairs.clone().count().max(1) as f32;
    let inside: f32 = pairs.map(|(a, b)| PROSE.surprise(Some(a), b)).sum::<f32>() / count;
    let rarest = run.iter().map(|word| PROSE.level(word)).fold(f32::MAX, f32::min);
    let letters: usize = run.iter().map(|word| word.chars().count()).sum();
    let verb = is_verb(first);
    let commands = matches!(left, Class::Edge | Class::To | Class::Auxiliary | Class::Particle);
    let flag = |set: bool| if set { 1.0_f32 } else { 0.0 };
    let several = run.len() > 1;
    let own = crate::spoken(&name.text);
    let same = run.iter().filter(|word| own.iter().any(|own| own == *word)).count();

    let mut features = [0.0; FEATURES];
    let mut next = features.iter_mut();
    let mut put = |value: f32| {
        if let Some(place) = next.next() {
            *place = value;
        }
    };
    put(1.0);
    put(flag(run.len() == 1));
    put(flag(run.len() == 2));
    put(flag(run.len() == 3));
    put(flag(run.len() > 4));
    put((letters as f32).ln());
    put(rarest / 10.0);
    put(flag(rarest < 1.0));
    put(inside / 10.0);
    put(known / count);
    put(flag(several && known >= count));
    put(flag(run.len() == 2 && known >= count));
    put(PROSE.surprise(around.before.map(|word| word.lower.as_str()), first) / 10.0);
    put(around.after.map_or(0.0, |after| PROSE.surprise(Some(last), &after.lower)) / 10.0);
    put(flag(around.before.is_some_and(|before| PROSE.is_pair(&before.lower, first))));
    put(flag(around.after.is_some_and(|after| PROSE.is_pair(last, &after.lower))));
    put(flag(Class::of(first).is_function_word()));
    put(flag(Class::of(last).is_function_word()));
    put(flag(run.len() > 2 && run[1..run.len() - 1].iter().any(|word| Class::of(word).is_function_word())));
    put(flag(verb));
    put(flag(verb && several && commands));
    put(flag(verb && several && matches!(left, Class::Determiner | Class::Preposition | Class::Verb | Class::Cue)));
    put(flag(verb && right == Class::Determiner));
    put((rank as f32 + 1.0).ln() / (names.len() as f32 + 2.0).ln());
    put(flag(covered));
    put(flag(candidate.signs > 0));
    put(candidate.aliases as f32);
    for class in [left, right] {
        (0..CLASSES).for_each(|nth| put(flag(class as usize == nth)));
    }
    put(flag(name.words == run.len()));
    put(flag(matches!(name.style, Style::Camel | Style::Snake)));
    put(flag(name.style == Style::Upper));
    put(flag(matches!(name.style, Style::Word | Style::Kebab | Style::Other)));
    put(candidate.apart * 10.0);
    put(if candidate.apart > 0.0 { same as f32 / own.len().max(1) as f32 } else { 0.0 });
    put(if candidate.apart > 0.0 { run.len().abs_diff(own.len()) as f32 } else { 0.0 });
    features
}
