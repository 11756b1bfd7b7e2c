//! How much help a name needs to be written right by an engine that listens.

use std::collections::HashSet;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

/// How much help a name needs, in hundredths of what an ordinary unknown word needs; 0 is none at all, and such a name is not
/// taken into the vocabulary.
///
/// | name | difficulty |
/// |---|---|
/// | one ordinary word in lower case, or a keyword (`queue`, `impl`) | 0 |
/// | one ordinary word with a capital (`Queue`) | 15 |
/// | letters that are spelled, up to three (`ctx`, `TTL`) | 30 |
/// | one word that is not ordinary (`tokio`) | 100 |
/// | several words (`TaskStore`, `claim_next`) | 110, and 15 more for each that is not ordinary, up to 140 |
///
/// Of that a name has three quarters when it is all capitals (`MAX_AGE`), half of it or less when it has more than four
/// words, which nobody says at once, and half when it has digits or begins with an underscore.
pub fn difficulty(name: &str) -> u8 {
    let (mut words, mut unknown) = (0_u32, 0_u32);
    let mut at = 0;
    let bytes = name.as_bytes();
    while let Some((start, end)) = next_word(bytes, at) {
        at = end;
        words += 1;
        unknown += u32::from(!bytes.get(start..end).is_some_and(is_ordinary));
    }
    let inner = name.trim_matches('_');
    let lower = !inner.bytes().any(|byte| byte.is_ascii_uppercase());
    let base = match (words, unknown) {
        (0, _) => return 0,
        (1, 0) if lower => return 0,
        (1, 0) => 15,
        (1, _) if inner.len() <= 3 => 30,
        (1, _) => 100,
        (_, unknown) => (110 + 15 * unknown).min(140),
    };
    let mut value = match words {
        0..=4 => base,
        5..=6 => base / 2,
        _ => base / 5,
    };
    if words > 1 && !inner.bytes().any(|byte| byte.is_ascii_lowercase()) {
        value = value * 3 / 4;
    }
    if name.starts_with('_') || inner.bytes().any(|byte| byte.is_ascii_digit()) {
        value /= 2;
    }
    u8::try_from(value.max(1)).unwrap_or(u8::MAX)
}

/// The next run of letters at or after `at` that is spoken as one word, by the rules of [`spoken`](crate::spoken), digits left
/// out. Over bytes and without a copy, since it runs for every name of a repository.
fn next_word(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    let letter = |at: usize| bytes.get(at).is_some_and(|byte| byte.is_ascii_alphabetic() || *byte >= 0x80);
    let upper = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_uppercase);
    let mut start = at;
    while start < bytes.len() && !letter(start) {
        start += 1;
    }
    if start >= bytes.len() {
        return None;
    }
    let mut end = start + 1;
    while letter(end) {
        let rises = upper(end) && (!upper(end - 1) || (letter(end + 1) && !upper(end + 1)));
        if rises {
            break;
        }
        end += 1;
    }
    Some((start, end))
}

/// Whether a word, in whatever case, is one that everybody writes right.
pub fn is_ordinary(word: &[u8]) -> bool {
    let mut lower = [0_u8; 16];
    let Some(lower) = lower.get_mut(..word.len()) else { return false };
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    str::from_utf8(lower).is_ok_and(|word| word.len() <= 2 || ORDINARY.contains(word))
}

static ORDINARY: LazyLock<HashSet<&'static str, RandomState>> = LazyLock::new(|| {
    let text = include_str!("data/words.txt");
    let words = text.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace);
    words.chain(TERMS_OF_THE_TRADE.split_whitespace()).collect()
});

/// What every engine that was trained on talks about software writes right, and keywords, which are in every file.
const TERMS_OF_THE_TRADE: &str = "
    abstract args argv async await bool boolean boot byte bytes catch char charset cli cmd config configs const constructor continue css
    csv debug def default delete deref dict dir dirs dyn elif else elsif enum env err errno eval except exec export extends
    extern false file filename finally float fmt fn foreach for from func function get getter goto gui hash hex html http
    https id impl import include init inline input instanceof int integer interface io ip java javascript json lambda len
    let lib linux log loop main map match max metadata min mod module msg mut namespace new nil none null num number obj
    object operator output override package param params parse pass path payload pop postgres print private prop props
    protected public pub push python raise ref regex repo require return rust sdk self set setter signed sizeof sql src
    std stderr stdin stdout str string strings struct sub sudo super switch sync syscall template test tests this throw
    throws timestamp todo token tokens trait true try tuple type typedef typeof types typename typescript ui undefined
    union unix unsafe unsigned unwrap url urls use utils val value values var vars vec virtual void volatile where while
    with xml yaml yield
";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_hard_to_write_comes_before_what_is_easy() {
        let order = ["tokioRuntimeFd", "TaskStore", "tokio", "MAX_RETRIES", "kv2x", "ctx", "Queue", "queue"];
        let values: Vec<_> = order.iter().map(|name| difficulty(name)).collect();
        assert!(values.is_sorted_by(|a, b| a > b), "{values:?}");
    }

    #[test]
    fn keywords_and_plain_words_need_no_help() {
        for name in ["self", "impl", "result", "async", "value", "elif", "__", "string", "_", "config_"] {
            assert!(difficulty(name) <= 15, "{name}: {}", difficulty(name));
        }
        assert_eq!(difficulty("queue"), 0);
    }

    #[test]
    fn nobody_says_the_name_of_a_long_test() {
        assert!(difficulty("what_is_hard_to_write_comes_before_what_is_easy") < difficulty("ctx"));
    }

    proptest! {
        #[test]
        fn words_are_those_that_are_spoken(name in "[a-zA-Z_]{0,30}") {
            let (mut at, mut words) = (0, Vec::new());
            while let Some((start, end)) = next_word(name.as_bytes(), at) {
                words.push(name[start..end].to_lowercase());
                at = end;
            }
            prop_assert_eq!(words, crate::spoken(&name));
        }

        #[test]
        fn any_text_has_a_difficulty(name in "\\PC{0,80}") {
            prop_assert!(difficulty(&name) <= 140);
        }
    }
}
