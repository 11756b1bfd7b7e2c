//! What sounds alike: a phonetic key in the manner of Metaphone, and how near two keys are.
//!
//! Own rules, for English technical words: silent letters go, letters that sound alike fall together, vowels count only at
//! the beginning. See Lawrence Philips, "Hanging on the Metaphone", Computer Language 7 (12), 1990.

/// Longest key, in sounds. Longer words differ early enough.
const LONGEST: usize = 12;

/// Consonants of a word as they sound, one letter each: `A` a vowel at the beginning, `0` th, `X` sh, `J` ch and soft g.
pub(super) fn key(word: &str) -> Vec<u8> {
    let mut letters: Vec<u8> = Vec::new();
    for c in word.chars().flat_map(char::to_lowercase) {
        match c {
            'a'..='z' => letters.push(c as u8),
            '0'..='9' => letters.extend(DIGITS[c as usize - '0' as usize].bytes()),
            'ä' | 'á' | 'à' | 'â' | 'å' => letters.push(b'a'),
            'é' | 'è' | 'ê' | 'ë' => letters.push(b'e'),
            'ö' | 'ó' | 'ô' | 'ø' => letters.push(b'o'),
            'ü' | 'ú' | 'û' => letters.push(b'u'),
            'í' | 'î' | 'ï' => letters.push(b'i'),
            'ç' => letters.push(b's'),
            'ñ' => letters.push(b'n'),
            _ => {}
        }
    }
    let mut sounds: Vec<u8> = Vec::new();
    let mut at = 0;
    while at < letters.len() && sounds.len() < LONGEST {
        let (sound, taken) = sound(&letters, at);
        at += taken;
        if let Some(sound) = sound
            && sounds.last() != Some(&sound)
        {
            sounds.push(sound);
        }
    }
    sounds
}

const DIGITS: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// The sound that begins at a place, if there is one, and how many letters it takes.
fn sound(letters: &[u8], at: usize) -> (Option<u8>, usize) {
    let peek = |ahead: usize| letters.get(at + ahead).copied().unwrap_or(b' ');
    let before = at.checked_sub(1).map_or(b' ', |before| letters[before]);
    let next = peek(1);
    let vowel = |c: u8| matches!(c, b'a' | b'e' | b'i' | b'o' | b'u');
    let first = at == 0;
    match letters[at] {
        b'k' | b'g' | b'p' if first && next == b'n' => (Some(b'N'), 2),
        b'p' if first && next == b's' => (Some(b'S'), 2),
        b'w' if first && next == b'r' => (Some(b'R'), 2),
        b'w' if first && next == b'h' => (Some(b'W'), 2),
        b'a' | b'e' | b'i' | b'o' | b'u' => (first.then_some(b'A'), 1),
        b'b' if before == b'm' && next == b' ' => (None, 1),
        b'c' if next == b'h' && peek(2) == b'r' => (Some(b'K'), 2),
        b'c' if next == b'h' => (Some(b'X'), 2),
        b'c' if next == b'i' && peek(2) == b'a' => (Some(b'X'), 1),
        b'c' if next == b'k' => (Some(b'K'), 2),
        b'c' if matches!(next, b'e' | b'i' | b'y') => (Some(b'S'), 1),
        b'd' if next == b'g' && matches!(peek(2), b'e' | b'i' | b'y') => (Some(b'J'), 2),
        b'g' if next == b'h' && (first || vowel(peek(2))) => (Some(b'K'), 2),
        b'g' if next == b'h' => (None, 2),
        b'g' if before != b'g' && matches!(next, b'e' | b'i' | b'y') => (Some(b'J'), 1),
        // Voiced and unvoiced are the same here: recognisers confuse them.
        b'g' | b'k' | b'q' | b'c' => (Some(b'K'), 1),
        b'h' if vowel(next) && !matches!(before, b'c' | b's' | b'p' | b't' | b'g' | b'r') => (Some(b'H'), 1),
        b'h' => (None, 1),
        b'j' => (Some(b'J'), 1),
        b'p' if next == b'h' => (Some(b'F'), 2),
        b'p' => (Some(b'P'), 1),
        b'b' => (Some(b'B'), 1),
        b's' if next == b'h' => (Some(b'X'), 2),
        b's' if next == b'c' && matches!(peek(2), b'e' | b'i' | b'y') => (Some(b'S'), 2),
        b's' | b't' if next == b'i' && matches!(peek(2), b'o' | b'a') => (Some(b'X'), 2),
        b's' | b'z' => (Some(b'S'), 1),
        b't' if next == b'h' => (Some(b'0'), 2),
        b't' if next == b'c' && peek(2) == b'h' => (Some(b'X'), 3),
        b't' | b'd' => (Some(b'T'), 1),
        b'v' | b'f' => (Some(b'F'), 1),
        b'w' if vowel(next) => (Some(b'W'), 1),
        b'y' if vowel(next) && first => (Some(b'Y'), 1),
        b'w' | b'y' => (None, 1),
        b'x' if first => (Some(b'S'), 1),
        // Two sounds; the second falls together with an s that follows, as in "fixes".
        b'x' => (Some(b'K'), 1),
        b'l' => (Some(b'L'), 1),
        b'm' => (Some(b'M'), 1),
        b'n' => (Some(b'N'), 1),
        b'r' => (Some(b'R'), 1),
        _ => (None, 1),
    }
}

/// How alike two words sound, 0 to 1: mostly their keys, a little their letters.
pub(super) fn alike(a: &Sounded, b: &Sounded) -> f64 {
    if a.key.is_empty() || b.key.is_empty() {
        return 0.0;
    }
    let keys = nearness(&a.key, &b.key, exchanged);
    // The letters cannot lift a sum that the keys have lost.
    if keys < 0.5 {
        return keys * 0.8;
    }
    let letters = nearness(a.word.as_bytes(), b.word.as_bytes(), |a, b| if a == b { 0.0 } else { 1.0 });
    0.8 * keys + 0.2 * letters
}

/// A word with its key.
#[derive(Clone, Debug)]
pub(super) struct Sounded {
    pub word: String,
    pub key: Vec<u8>,
}

impl Sounded {
    pub(super) fn new(word: &str) -> Self {
        Self { word: word.to_owned(), key: key(word) }
    }
}

/// Cost of one sound heard for another.
fn exchanged(a: u8, b: u8) -> f64 {
    let pair = if a < b { (a, b) } else { (b, a) };
    match pair {
        _ if a == b => 0.0,
        (b'0', b'F') | (b'M', b'N') | (b'B', b'P') | (b'J', b'X') | (b'S', b'X') | (b'0', b'T') | (b'0', b'S') => 0.4,
        (b'B', b'F') | (b'A', b'H') | (b'K', b'T') | (b'L', b'R') | (b'J', b'T') => 0.6,
        _ => 1.0,
    }
}

/// One minus the edit distance (Levenshtein) over the longer length.
fn nearness(a: &[u8], b: &[u8], cost: impl Fn(u8, u8) -> f64) -> f64 {
    let longer = a.len().max(b.len());
    if longer == 0 {
        return 1.0;
    }
    // Words are short; what is not is not a word.
    if longer > 48 {
        return if a == b { 1.0 } else { 0.0 };
    }
    let mut row: Vec<f64> = (0..=b.len()).map(|n| n as f64).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = (i + 1) as f64;
        for (j, &y) in b.iter().enumerate() {
            let best = (diagonal + cost(x, y)).min(row[j] + 1.0).min(row[j + 1] + 1.0);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    1.0 - row[b.len()] / longer as f64
}

#[cfg(test)]
mod tests {
    use super::{Sounded, alike, key};
    use proptest::prelude::*;

    fn likeness(a: &str, b: &str) -> f64 {
        alike(&Sounded::new(a), &Sounded::new(b))
    }

    #[test]
    fn words_that_sound_the_same_have_one_key() {
        for (a, b) in [
            ("cash", "cache"),
            ("jason", "json"),
            ("cue", "queue"),
            ("rite", "write"),
            ("fone", "phone"),
            ("nife", "knife"),
            ("root", "route"),
        ] {
            assert_eq!(key(a), key(b), "{a} {b}");
        }
    }

    #[test]
    fn what_is_misheard_is_nearer_than_what_is_another_word() {
        for (heard, meant, other) in [
            ("off", "auth", "billing"),
            ("billink", "billing", "auth"),
            ("dogs", "docs", "cache"),
            ("bayment", "payment", "parser"),
            ("serge", "search", "schema"),
        ] {
            assert!(likeness(heard, meant) > 0.5, "{heard} {meant} {}", likeness(heard, meant));
            assert!(likeness(heard, meant) > likeness(heard, other) + 0.1, "{heard} {meant} {other}");
        }
    }

    proptest! {
        #[test]
        fn likeness_is_a_share_and_has_no_direction(a in "\\PC{0,30}", b in "\\PC{0,30}") {
            let (one, other) = (likeness(&a, &b), likeness(&b, &a));
            prop_assert!((0.0..=1.0).contains(&one));
            prop_assert!((one - other).abs() < 1e-9);
        }
    }
}
