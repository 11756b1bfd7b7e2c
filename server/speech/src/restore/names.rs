//! The names that may be spoken of, found by their letters and by their sound.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

use super::sound;

/// Names with fewer consonants than this are not looked for by sound.
const FEWEST_BONES: usize = 3;
/// Fewer consonants than this have to be the same; from here on, one may differ.
const FEWEST_TO_DIFFER: usize = 4;
/// Longer names than this are not spoken.
const LONGEST: usize = 80;
/// Names of more words than this are not looked for by all their words but one.
const MOST_GAPS: usize = 8;
/// Names with the same words but one that are looked at, at most.
const MOST_LACKING: usize = 200;
/// Names of little use differ less in rank than it says.
pub(super) const LEVEL: f32 = 8.0;
/// How much more often a variable is used than the class that is called like it, where the variable is meant before "dot".
const OFTEN: f32 = 7.0;
/// Names with one sound that are looked at, at most.
const MOST_ALIKE: usize = 64;

/// How the words of a name are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// One word in lower case.
    Word,
    /// `userName`
    Camel,
    /// `UserName`, and `User`
    Pascal,
    /// `user_name`
    Snake,
    /// `USER_NAME`
    Upper,
    /// `user-name`
    Kebab,
    /// Anything else: paths and the like.
    Other,
}

#[derive(Debug)]
pub(super) struct Name {
    pub text: Box<str>,
    pub style: Style,
    /// In how many words it is spoken.
    pub words: usize,
    sounds: Range<u32>,
}

/// 64 bits that stand for the letters and digits of a name or of words, in lower case. Fowler, Noll and Vo's hash (FNV-1a).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Letters(u64);

impl Letters {
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub fn push(&mut self, text: &str) {
        for byte in text.bytes().filter(|&byte| byte != b'\'') {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Hashes what is a hash already.
#[derive(Default)]
struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

type ByHash<T> = HashMap<u64, T, BuildHasherDefault<Ready>>;

/// The names of a repository. What is more useful has the smaller number.
#[derive(Debug, Default)]
pub(super) struct Names {
    all: Vec<Name>,
    /// Values are in snake case, most often.
    snake: bool,
    /// Numbers of the names in groups of the same letters, the more useful first.
    same: Vec<u32>,
    by_letters: ByHash<Range<u32>>,
    /// The sounds of all names, one after the other.
    sounds: Vec<u8>,
    /// Hash of half a skeleton and number of a name, sorted.
    halves: Vec<(u64, u32)>,
    /// The letters around a word of a name, the number of the name, and which of its words it is; sorted.
    gaps: Vec<(u64, u32, u8)>,
}

/// Stands for the letters on both sides of a word that may have been misheard.
pub(super) fn gap(before: Letters, after: Letters) -> u64 {
    before.0.rotate_left(23) ^ after.0
}

impl Names {
    pub fn new(names: &[String]) -> Self {
        let mut all = Self { all: Vec::with_capacity(names.len()), ..Self::default() };
        let mut letters: Vec<(u64, u32)> = Vec::with_capacity(names.len());
        let (mut word, mut bones, mut spoken) = (String::new(), Vec::new(), Vec::new());
        for text in names.iter().filter(|name| name.len() <= LONGEST) {
            let Ok(number) = u32::try_from(all.all.len()) else { break };
            let (start, mut key, mut letters_of) = (all.sounds.len(), Letters::new(), String::new());
            spoken.clear();
            each_word(text, &mut word, |word| {
                key.push(word);
                sound::say(word, &mut all.sounds);
                let at = letters_of.len();
                letters_of.push_str(word);
                spoken.push(at..letters_of.len());
            });
            let words = spoken.len();
            if words == 0 {
                continue;
            }
            if (2..=MOST_GAPS).contains(&words) {
                for (nth, word) in (0..).zip(&spoken) {
                    let (mut before, mut after) = (Letters::new(), Letters::new());
                    before.push(&letters_of[..word.start]);
                    after.push(&letters_of[word.end..]);
                    all.gaps.push((gap(before, after), number, nth));
                }
            }
            letters.push((key.0, number));
            sound::skeleton(&all.sounds[start..], &mut bones);
            if bones.len() >= FEWEST_BONES {
                all.halves.extend(halves(&bones, bones.len()).map(|half| (half, number)));
            }
            let sounds = u32::try_from(start).unwrap_or(u32::MAX)..u32::try_from(all.sounds.len()).unwrap_or(u32::MAX);
            all.all.push(Name { text: text.as_str().into(), style: style(text), words, sounds });
        }
        let count = |style| all.all.iter().filter(|name| name.style == style).count();
        all.snake = count(Style::Snake) > 2 * count(Style::Camel);
        letters.sort_unstable();
        all.halves.sort_unstable();
        all.gaps.sort_unstable();
        all.same = letters.iter().map(|(_, number)| *number).collect();
        let mut start = 0;
        for group in letters.chunk_by(|a, b| a.0 == b.0) {
            let end = start + group.len() as u32;
            all.by_letters.insert(group[0].0, start..end);
            start = end;
        }
        all
    }

    pub fn get(&self, number: u32) -> Option<&Name> {
        self.all.get(number as usize)
    }

    /// The names with just these letters, the more useful first.
    pub fn of_letters(&self, letters: Letters) -> &[u32] {
        let range = self.by_letters.get(&letters.0).cloned().unwrap_or_default();
        self.same.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    /// Whether what has members is the class rather than the variable that is called like it, by the rank of both. Where values are in
    /// snake case, as in Python, documents speak of `Request.get_json`; where they are in camel case, of `options.fetchPolicy`.
    pub fn is_class(&self, value: u32, class: u32) -> bool {
        self.snake && class as f32 + LEVEL < OFTEN * (value as f32 + LEVEL)
    }

    /// The names that sound about like this, with how far they are away for each of their sounds, at most `furthest`.
    pub fn of_sounds(&self, sounds: &[u8], bones: &[u8], furthest: f32) -> Vec<(u32, f32)> {
        let mut found = Vec::new();
        if bones.len() < FEWEST_BONES {
            return found;
        }
        let differ = bones.len() >= FEWEST_TO_DIFFER;
        for length in bones.len() - usize::from(differ)..=bones.len() + usize::from(differ) {
            for half in halves(bones, length) {
                let start = self.halves.partition_point(|(hash, _)| *hash < half);
                for (_, number) in self.halves[start..].iter().take_while(|(hash, _)| *hash == half).take(MOST_ALIKE) {
                    if found.iter().any(|(other, _)| other == number) {
                        continue;
                    }
                    let own = self.get(*number).map_or(&[][..], |name| self.sounds_of(name));
                    let longest = own.len().max(sounds.len()) as f32;
                    // Each sound more or less costs 0.3 at least.
                    if own.len().abs_diff(sounds.len()) as f32 * 0.3 > furthest * longest {
                        continue;
                    }
                    let apart = sound::distance(own, sounds) / longest;
                    if apart <= furthest {
                        found.push((*number, apart));
                    }
                }
            }
        }
        found
    }

    /// The names that have these letters around one of their words, and which word that is.
    pub fn lacking(&self, gap: u64) -> impl Iterator<Item = (u32, usize)> {
        let start = self.gaps.partition_point(|(own, ..)| *own < gap);
        let found = self.gaps[start..].iter().take_while(move |(own, ..)| *own == gap).take(MOST_LACKING);
        found.map(|(_, number, nth)| (*number, usize::from(*nth)))
    }

    pub fn sounds_of(&self, name: &Name) -> &[u8] {
        self.sounds.get(name.sounds.start as usize..name.sounds.end as usize).unwrap_or_default()
    }
}

/// Hashes of the first and the second half of a skeleton, as one of `length` has them: two skeletons that differ in one place agree
/// in one of them.
fn halves(bones: &[u8], length: usize) -> impl Iterator<Item = u64> {
    let (first, second) = (length / 2, length - length / 2);
    let hash = |half: Option<&[u8]>, side: &str| {
        let mut letters = Letters::new();
        letters.push(side);
        letters.push(std::str::from_utf8(half?).ok()?);
        // The length belongs to it.
        letters.push(&char::from_u32(length as u32)?.to_string());
        Some(letters.0)
    };
    [hash(bones.get(..first), "<"), hash(bones.len().checked_sub(second).and_then(|from| bones.get(from..)), ">")]
        .into_iter()
        .flatten()
}

/// Calls back with each word in which a name is spoken, in lower case; `word` is room to put it.
fn each_word(name: &str, word: &mut String, mut call: impl FnMut(&str)) {
    word.clear();
    let mut characters = name.chars().peekable();
    let mut before: Option<char> = None;
    while let Some(c) = characters.next() {
        let after = characters.peek();
        let begins = before.is_some_and(|before| {
            (c.is_uppercase() && before.is_lowercase())
                || (c.is_uppercase() && before.is_uppercase() && after.is_some_and(|after| after.is_lowercase()))
                || (c.is_numeric() != before.is_numeric())
        });
        if (!c.is_alphanumeric() || begins) && !word.is_empty() {
            call(word);
            word.clear();
        }
        if c.is_alphanumeric() {
            word.extend(c.to_lowercase());
        }
        before = Some(c);
    }
    if !word.is_empty() {
        call(word);
    }
}

fn style(name: &str) -> Style {
    let (mut upper, mut lower, mut inner_upper) = (false, false, false);
    for (at, c) in name.char_indices() {
        upper |= c.is_uppercase();
        lower |= c.is_lowercase();
        inner_upper |= at > 0 && c.is_uppercase();
    }
    let inner = name.trim_matches('_');
    if name.chars().any(|c| !c.is_alphanumeric() && c != '_') {
        let kebab = name.chars().all(|c| c.is_alphanumeric() || c == '-') && !upper;
        return if kebab { Style::Kebab } else { Style::Other };
    }
    match (upper, lower, inner.contains('_')) {
        (true, false, _) => Style::Upper,
        (false, _, true) => Style::Snake,
        (false, _, false) => Style::Word,
        (true, true, true) => Style::Other,
        (true, true, false) if inner.starts_with(char::is_uppercase) => Style::Pascal,
        (true, true, false) if inner_upper => Style::Camel,
        (true, true, false) => Style::Pascal,
    }
}

#[cfg(test)]
mod tests {
    use super::{Letters, Names, Style, each_word, sound, style};
    use proptest::prelude::*;

    #[test]
    fn names_are_found_by_letters_in_order_of_use() {
        let names = Names::new(&["userName", "other", "user_name", "UserName"].map(String::from));
        let mut letters = Letters::new();
        letters.push("user");
        letters.push("name");
        assert_eq!(names.of_letters(letters), [0, 2, 3]);
        letters.push("s");
        assert!(names.of_letters(letters).is_empty());
    }

    #[test]
    fn names_are_found_by_sound() {
        let names = Names::new(&["FastifyInstance", "useEffect", "SaveUploadedFile"].map(String::from));
        for (number, heard) in [(0, "fast defy instance"), (1, "use affect"), (2, "safe up loaded vile")] {
            let (mut sounds, mut bones) = (Vec::new(), Vec::new());
            heard.split(' ').for_each(|word| sound::say(word, &mut sounds));
            sound::skeleton(&sounds, &mut bones);
            let found = names.of_sounds(&sounds, &bones, 0.25);
            assert_eq!(found.first().map(|found| found.0), Some(number), "{heard} {sounds:?}");
        }
    }

    #[test]
    fn styles_are_told_apart() {
        let table = [
            ("user", Style::Word),
            ("userName", Style::Camel),
            ("User", Style::Pascal),
            ("HTTPServer", Style::Pascal),
            ("_user_name", Style::Snake),
            ("MAX_RETRIES", Style::Upper),
            ("kebab-case", Style::Kebab),
            ("src/app.ts", Style::Other),
        ];
        for (name, expected) in table {
            assert_eq!(style(name), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn words_are_those_that_are_spoken(name in "\\PC{0,40}") {
            let mut words = Vec::new();
            each_word(&name, &mut String::new(), |word| words.push(word.to_owned()));
            prop_assert_eq!(words, crate::spoken(&name));
        }
    }
}
