//! Names that sound like words that have not their letters.
//!
//! They are looked for in two ways: by the sound of all the words together, which finds "fast defy instance", and by all the words but
//! one, which finds "wear in" for `whereIn`, where too little sound is left to look for.

use super::candidates::{Candidate, sign};
use super::names::{Letters, Names, gap};
use super::sound;
use super::words::Word;

/// How far the sound of a name may be away from what was heard, for each sound.
const FURTHEST: f32 = 0.24;
/// How far the sound of one word may be away, for each sound, where the others are the same.
const FURTHEST_WORD: f32 = 0.36;
/// Words that were heard for a name, at most.
const MOST_WORDS: usize = 8;
/// Words that were heard for one word, at most.
const MOST_FOR_ONE: usize = 3;
/// Names that differ in letters and are candidates for the same words, at most.
const MOST_CANDIDATES: usize = 3;
/// Letters of a name that is looked for by its sound, at least.
const FEWEST_LETTERS: usize = 5;
/// What a word is away from itself with another ending.
const INFLECTED: f32 = 0.1;

/// What sounds like a name where no name has the same letters: not at the places of `exact`, which is sorted by them.
pub(super) fn candidates(words: &[Word], names: &Names, exact: &[Candidate]) -> Vec<Candidate> {
    let said: Vec<Vec<u8>> = words
        .iter()
        .map(|word| {
            let mut sounds = Vec::new();
            sound::say(&word.lower, &mut sounds);
            sounds
        })
        .collect();
    let mut found = Vec::new();
    let (mut sounds, mut bones) = (Vec::new(), Vec::new());
    for from in 0..words.len() {
        sounds.clear();
        for to in from + 1..=words.len().min(from + MOST_WORDS) {
            let word = &words[to - 1];
            if word.code || to - 1 > from && !word.joins {
                break;
            }
            sounds.extend_from_slice(&said[to - 1]);
            // What stands between names is no part of one.
            if sign(&word.lower).is_some() || sign(&words[from].lower).is_some() {
                continue;
            }
            if exact.binary_search_by_key(&(from, to), |candidate| (candidate.from, candidate.to)).is_ok() {
                continue;
            }
            sound::skeleton(&sounds, &mut bones);
            let mut alike: Vec<Alike> = names
                .of_sounds(&sounds, &bones, FURTHEST)
                .into_iter()
                .map(|(number, apart)| Alike { number, apart, local: None })
                .collect();
            lacking(words, (from, to), names, &said, &sounds, &mut alike);
            found.extend(grouped(words, (from, to), names, alike));
        }
    }
    found
}

/// A name that sounds like what was heard.
struct Alike {
    number: u32,
    apart: f32,
    /// How far the one word is away that is not the same.
    local: Option<f32>,
}

/// Adds the names of which all words but one were heard.
fn lacking(
    words: &[Word],
    (from, to): (usize, usize),
    names: &Names,
    said: &[Vec<u8>],
    sounds: &[u8],
    alike: &mut Vec<Alike>,
) {
    let letters = |from: usize, to: usize| {
        let mut letters = Letters::new();
        words[from..to].iter().for_each(|word| letters.push(&word.lower));
        letters
    };
    let mut own = Vec::new();
    for start in from..to {
        for end in start + 1..=to.min(start + MOST_FOR_ONE) {
            if (start, end) == (from, to) {
                continue;
            }
            let heard = said[start..end].concat();
            for (number, nth) in names.lacking(gap(letters(from, start), letters(end, to))) {
                let Some(name) = names.get(number) else { continue };
                let Some(word) = crate::spoken(&name.text).into_iter().nth(nth) else { continue };
                own.clear();
                sound::say(&word, &mut own);
                let longest = own.len().max(heard.len()).max(1) as f32;
                let mut local = sound::distance(&own, &heard) / longest;
                if end == start + 1 && inflected(&word, &words[start].lower) {
                    local = local.min(INFLECTED);
                }
                if local > FURTHEST_WORD {
                    continue;
                }
                let apart = local * longest / names.sounds_of(name).len().max(sounds.len()).max(1) as f32;
                match alike.iter_mut().find(|other| other.number == number) {
                    Some(other) => {
                        other.apart = other.apart.min(apart);
                        other.local = Some(other.local.map_or(local, |before| before.min(local)));
                    }
                    None => alike.push(Alike { number, apart, local: Some(local) }),
                }
            }
        }
    }
}

/// Whether two words are one with different endings, about.
fn inflected(one: &str, other: &str) -> bool {
    let (long, short) = if one.len() > other.len() { (one, other) } else { (other, one) };
    let ending = |stem: &str| long.strip_prefix(stem).is_some_and(|end| ENDINGS.contains(&end));
    short.len() > 1 && (ending(short) || short.len() > 3 && short.strip_suffix(['e', 'y']).is_some_and(ending))
}

/// With what words end beyond what they are.
const ENDINGS: [&str; 8] = ["s", "es", "ies", "d", "ed", "ied", "r", "er"];

/// The candidates for some words: one for each group of names with the same letters, the nearest first.
fn grouped(
    words: &[Word],
    (from, to): (usize, usize),
    names: &Names,
    mut alike: Vec<Alike>,
) -> impl Iterator<Item = Candidate> {
    alike.sort_by(|a, b| a.apart.total_cmp(&b.apart).then(a.number.cmp(&b.number)));
    let mut groups: Vec<(String, Candidate)> = Vec::new();
    for near in alike {
        let Some(name) = names.get(near.number) else { continue };
        let letters = crate::spoken(&name.text).concat();
        if letters.len() < FEWEST_LETTERS {
            continue;
        }
        if let Some((_, candidate)) = groups.iter_mut().find(|(own, _)| *own == letters) {
            candidate.names.push(near.number);
        } else if groups.len() < MOST_CANDIDATES {
            let apart = near.apart.max(0.01);
            let local = near.local.unwrap_or_else(|| around(words, (from, to), &name.text)).max(apart);
            groups
                .push((letters, Candidate { from, to, names: vec![near.number], apart, local, aliases: 0, signs: 0 }));
        }
    }
    groups.into_iter().map(|(_, mut candidate)| {
        candidate.names.sort_unstable();
        candidate
    })
}

/// How far the sound of what differs is away, where words at both ends are the same.
fn around(words: &[Word], (from, to): (usize, usize), name: &str) -> f32 {
    let own = crate::spoken(name);
    let heard = &words[from..to];
    let first = own.iter().zip(heard).take_while(|(own, heard)| **own == heard.lower).count();
    let rest = own.len().min(heard.len()) - first;
    let last = own.iter().rev().zip(heard.iter().rev()).take(rest).take_while(|(a, b)| **a == b.lower).count();
    let (mut one, mut other) = (Vec::new(), Vec::new());
    own[first..own.len() - last].iter().for_each(|word| sound::say(word, &mut one));
    heard[first..heard.len() - last].iter().for_each(|word| sound::say(&word.lower, &mut other));
    sound::distance(&one, &other) / one.len().max(other.len()).max(1) as f32
}
