//! Which names the words of a transcript may stand for.

use std::collections::HashMap;

use super::misheard;
use super::names::{Letters, Names};
use super::numbers;
use super::words::Word;

/// Words that one name takes at most, as it is spoken.
pub(super) const MOST_WORDS: usize = 10;
/// Readings of the words from one place on that are looked at, at most: numbers and abbreviations multiply them.
const MOST_READINGS: usize = 400;

/// A run of words, and the names that it may stand for.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    /// The first of the words.
    pub from: usize,
    /// The one after the last.
    pub to: usize,
    /// Numbers of the names, the likeliest first.
    pub names: Vec<u32>,
    /// How far their sound is away, for each sound; 0 where the letters are the same.
    pub apart: f32,
    /// How far the sound of what was misheard is away, for each of its sounds.
    pub local: f32,
    /// Words that were taken for something else: "jason" for `json`.
    pub aliases: usize,
    /// Signs that were spoken: "dot", "slash".
    pub signs: usize,
}

impl Candidate {
    pub const fn len(&self) -> usize {
        self.to - self.from
    }
}

/// What transcribers write, and what is meant by it in names. In order of the first.
const ALIASES: [(&str, &str); 34] = [
    ("a p i", "api"),
    ("a sink", "async"),
    ("attribute", "attr"),
    ("bite", "byte"),
    ("bites", "bytes"),
    ("c l i", "cli"),
    ("car", "char"),
    ("cash", "cache"),
    ("care", "char"),
    ("e num", "enum"),
    ("get hub", "github"),
    ("i d", "id"),
    ("in it", "init"),
    ("jason", "json"),
    ("jay son", "json"),
    ("knows", "nulls"),
    ("know", "null"),
    ("oh auth", "oauth"),
    ("pie", "py"),
    ("post gress", "postgres"),
    ("reg x", "regex"),
    ("right", "write"),
    ("sequel", "sql"),
    ("sink", "sync"),
    ("source", "src"),
    ("standard error", "stderr"),
    ("standard in", "stdin"),
    ("standard out", "stdout"),
    ("to pull", "tuple"),
    ("too", "to"),
    ("u r l", "url"),
    ("write", "right"),
    ("you id", "uuid"),
    ("you are l", "url"),
];

/// The sign that a word stands for when it is part of a name.
pub(super) fn sign(word: &str) -> Option<char> {
    Some(match word {
        "dot" | "point" => '.',
        "slash" => '/',
        "dash" | "hyphen" => '-',
        "underscore" => '_',
        "colon" => ':',
        "at" => '@',
        _ => return None,
    })
}

/// All runs of words that may stand for names, each once.
pub(super) fn candidates(words: &[Word], names: &Names) -> Vec<Candidate> {
    let mut found = Vec::new();
    for from in 0..words.len() {
        let mut search = Search { words, names, from, readings: 0, found: HashMap::new() };
        search.go_on(from, &Reading { letters: Letters::new(), aliases: 0, signs: String::new() });
        found.extend(search.found.into_values());
    }
    found.sort_unstable_by_key(|candidate| (candidate.from, candidate.to));
    let misheard = misheard::candidates(words, names, &found);
    found.extend(misheard);
    found
}

/// What words were read as so far.
#[derive(Clone)]
struct Reading {
    letters: Letters,
    aliases: usize,
    signs: String,
}

struct Search<'a> {
    words: &'a [Word],
    names: &'a Names,
    from: usize,
    readings: usize,
    found: HashMap<usize, Candidate>,
}

impl Search<'_> {
    /// Reads on at a word in every way in which it can be read.
    fn go_on(&mut self, at: usize, reading: &Reading) {
        let Some(word) = self.words.get(at) else { return };
        self.readings += 1;
        if word.code || at > self.from && !word.joins || at - self.from >= MOST_WORDS || self.readings > MOST_READINGS {
            return;
        }
        self.with(at + 1, reading, &word.lower, 0);
        if let Some(sign) = sign(&word.lower) {
            let mut reading = reading.clone();
            reading.signs.push(sign);
            self.look_up(at + 1, &reading);
            self.go_on(at + 1, &reading);
        }
        let joined =
            1 + self.words[at + 1..].iter().take(MOST_WORDS).take_while(|word| word.joins && !word.code).count();
        let rest = &self.words[at..at + joined];
        if let Some((digits, taken)) = numbers::number(rest.iter().map(|word| word.lower.as_str())) {
            self.with(at + taken, reading, &digits, 0);
        }
        if let Some(word) = numbers::digit(&word.lower) {
            self.with(at + 1, reading, word, 0);
        }
        for (heard, meant) in ALIASES {
            let mut length = 0;
            let fits = heard.split(' ').all(|part| {
                length += 1;
                rest.get(length - 1).is_some_and(|word| word.lower == part)
            });
            if fits {
                self.with(at + length, reading, meant, 1);
            }
        }
    }

    fn with(&mut self, to: usize, reading: &Reading, text: &str, aliases: usize) {
        let mut reading = reading.clone();
        reading.letters.push(text);
        reading.aliases += aliases;
        self.look_up(to, &reading);
        self.go_on(to, &reading);
    }

    fn look_up(&mut self, to: usize, reading: &Reading) {
        let names = self.names.of_letters(reading.letters);
        if names.is_empty() {
            return;
        }
        let names: Vec<u32> = names.iter().copied().filter(|name| self.has_signs(*name, &reading.signs)).collect();
        let signs = reading.signs.chars().count();
        let better = self.found.get(&to).is_none_or(|other| (other.aliases, signs) < (reading.aliases, other.signs));
        let better = better || self.found.get(&to).is_some_and(|other| reading.aliases < other.aliases);
        if !names.is_empty() && better {
            let candidate =
                Candidate { from: self.from, to, names, apart: 0.0, local: 0.0, aliases: reading.aliases, signs };
            self.found.insert(to, candidate);
        }
    }

    /// Whether a name has these signs, in this order.
    fn has_signs(&self, name: u32, signs: &str) -> bool {
        let mut own = self.names.get(name).map_or("", |name| &name.text).chars();
        signs.chars().all(|sign| own.any(|c| c == sign))
    }
}
