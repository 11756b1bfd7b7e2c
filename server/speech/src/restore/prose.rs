//! What ordinary technical prose looks like: how common words are, and which words commonly follow one another.
//!
//! `prose.txt` has a line for each word: the word with the binary logarithm of how often it occurs, then the words that follow it
//! at least three times as often as chance would have it, each with the logarithm of how often they do. It was counted in 4.8
//! million words of documentation; tests/fixtures/speech/README.md says of which.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Binary logarithm of how many words were counted.
const TOTAL: f32 = 22.2;
/// Bits that a pair costs which was not counted, beyond what its second word costs.
const UNSEEN: f32 = 1.0;

pub(super) struct Prose {
    words: HashMap<&'static str, (u16, f32)>,
    pairs: HashMap<(u16, u16), f32>,
}

pub(super) static PROSE: LazyLock<Prose> = LazyLock::new(|| Prose::read(include_str!("prose.txt")));

impl Prose {
    fn read(table: &'static str) -> Self {
        let mut words = HashMap::with_capacity(10_000);
        for (id, line) in (0..u16::MAX).zip(table.lines()) {
            if let Some((word, level)) = line.split(' ').next().and_then(leveled) {
                words.insert(word, (id, level));
            }
        }
        let mut pairs = HashMap::with_capacity(20_000);
        for (id, line) in (0..u16::MAX).zip(table.lines()) {
            for (follower, level) in line.split(' ').skip(1).filter_map(leveled) {
                if let Some((follower, _)) = words.get(follower) {
                    pairs.insert((id, *follower), level);
                }
            }
        }
        Self { words, pairs }
    }

    /// How common a word is: the binary logarithm of how often it was counted; 0 for one that is not known.
    pub fn level(&self, word: &str) -> f32 {
        self.words.get(word).map_or(0.0, |(_, level)| *level)
    }

    /// Whether one word was counted after the other more often than chance would have it.
    pub fn is_pair(&self, first: &str, second: &str) -> bool {
        self.pair(first, second).is_some()
    }

    /// How surprising a word is after another one (or without one), in bits.
    pub fn surprise(&self, before: Option<&str>, word: &str) -> f32 {
        match before.and_then(|before| self.pair(before, word)) {
            Some((level, pair)) => level - pair,
            None => TOTAL - self.level(word) + if before.is_some() { UNSEEN } else { 0.0 },
        }
    }

    /// How often the first was counted, and how often with the second after it.
    fn pair(&self, first: &str, second: &str) -> Option<(f32, f32)> {
        let (first, level) = self.words.get(first)?;
        let (second, _) = self.words.get(second)?;
        Some((*level, *self.pairs.get(&(*first, *second))?))
    }
}

fn leveled(entry: &str) -> Option<(&str, f32)> {
    let digits = entry.find(|c: char| c.is_ascii_digit())?;
    let (word, level) = entry.split_at(digits);
    Some((word, f32::from(level.parse::<u8>().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::PROSE;

    #[test]
    fn common_words_and_pairs_are_known() {
        assert!(PROSE.level("the") > PROSE.level("user"));
        assert!(PROSE.level("user") > PROSE.level("checkout"));
        assert!(PROSE.level("fastify") == 0.0);
        assert!(PROSE.is_pair("error", "message") && PROSE.is_pair("status", "code"));
        assert!(!PROSE.is_pair("use", "effect"));
        assert!(PROSE.surprise(Some("error"), "message") < PROSE.surprise(Some("user"), "message"));
        assert!(PROSE.surprise(None, "zyzzyva") > PROSE.surprise(None, "the"));
    }
}
