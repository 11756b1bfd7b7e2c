//! Identifiers of any text, found without knowing its language: what is written where, how often, and what a keyword before
//! it declares it to be.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::index::Role;

/// Shortest and longest identifier that is taken, in bytes: what is shorter is said as letters, what is longer is data.
pub const LENGTHS: std::ops::RangeInclusive<usize> = 3..=64;
/// Most names that are kept of one file.
pub const MOST_NAMES: usize = 1_024;

/// What kind of text a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Words are identifiers.
    Code,
    /// Words are words, except those that only code has: `snake_case`, `camelCase`.
    Prose,
}

/// Names of one file: how often each occurs, and what it is at most. They are valid UTF-8.
pub type Names<'a> = HashMap<&'a [u8], (u32, Role), RandomState>;

/// Adds the names in `text`, which needs not be valid UTF-8. What follows two slashes in a line of code is prose.
pub fn collect<'a>(text: &'a [u8], style: Style, names: &mut Names<'a>) {
    // As many as a file of some size has; growing costs more than the room.
    names.reserve((text.len() / 32).min(MOST_NAMES));
    let mut at = 0;
    let mut prose_until = if style == Style::Prose { text.len() } else { 0 };
    // What the word before declares, and where that word ended.
    let mut declares: Option<(Role, usize)> = None;
    while let Some(&byte) = text.get(at) {
        let start = at;
        let mut classes = 0;
        while let Some(class @ 1..) = text.get(at).map(|&byte| CLASSES[usize::from(byte)]) {
            classes |= class;
            at += 1;
        }
        if start == at {
            at += 1;
            if byte == b'/' && text.get(at) == Some(&b'/') && at > prose_until {
                let rest = text.get(at..).unwrap_or_default();
                prose_until = rest.iter().position(|byte| *byte == b'\n').map_or(text.len(), |length| at + length);
            }
            continue;
        }
        let Some(word) = text.get(start..at) else { break };
        let mut role = Role::Mentioned;
        if start < prose_until {
            // Most words of prose are neither looked up nor kept.
            let plain = classes & UNDERSCORE == 0 && classes & (LOWER | UPPER) != LOWER | UPPER;
            if plain || !looks_like_code(word) {
                continue;
            }
        } else {
            if let Some(declared) = keyword(word) {
                declares = Some((declared, at));
                continue;
            }
            if let Some((declared, end)) = declares.take()
                && is_gap(text.get(end..start).unwrap_or_default())
            {
                role = declared;
            }
        }
        if LENGTHS.contains(&word.len()) && !byte.is_ascii_digit() {
            let (count, known) = names.entry(word).or_insert((0, role));
            *count = count.saturating_add(1);
            *known = (*known).max(role);
        }
    }
    // Once for each name, and not each time that it occurs.
    names.retain(|word, _| str::from_utf8(word).is_ok_and(is_name));
}

fn is_name(word: &str) -> bool {
    let fine = word.is_ascii() || word.chars().all(|c| c.is_alphanumeric() || c == '_');
    fine && word.bytes().any(|byte| byte != b'_') && !is_data(word)
}

/// Whether letters and digits alternate as in a hash or in base64: nobody says it.
pub fn is_data(name: &str) -> bool {
    let bytes = name.as_bytes();
    if !bytes.iter().any(u8::is_ascii_digit) {
        return false;
    }
    let changes = bytes.windows(2).filter(|pair| matches!(pair, [a, b] if a.is_ascii_digit() != b.is_ascii_digit()));
    changes.count() > 4 || (bytes.len() >= 6 && bytes.iter().all(u8::is_ascii_hexdigit))
}

/// Whether prose would not have it: an underscore or a capital within.
fn looks_like_code(word: &[u8]) -> bool {
    let start = word.iter().position(|byte| *byte != b'_').unwrap_or(word.len());
    let end = word.iter().rposition(|byte| *byte != b'_').map_or(start, |last| last + 1);
    let inner = word.get(start..end).unwrap_or_default();
    let rises = |pair: &[u8]| matches!(pair, [a, b] if a.is_ascii_lowercase() && b.is_ascii_uppercase());
    inner.contains(&b'_') || inner.windows(2).any(rises)
}

const LOWER: u8 = 1;
const UPPER: u8 = 2;
const UNDERSCORE: u8 = 4;
/// Digits, and all of UTF-8 beyond ASCII; [`is_name`] looks closer.
const OTHER: u8 = 8;

/// What kind of part of a word each byte is; 0: none.
static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' => LOWER,
            b'A'..=b'Z' => UPPER,
            b'_' => UNDERSCORE,
            b'0'..=b'9' | 0x80.. => OTHER,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// What may be between a keyword and what it declares: spaces, and the star of `function*`.
fn is_gap(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.len() <= 4 && bytes.iter().all(|byte| matches!(byte, b' ' | b'\t' | b'*'))
}

/// What a keyword of any of the usual languages declares. By length and first letter, since it is asked for every word.
fn keyword(word: &[u8]) -> Option<Role> {
    let (keyword, role): (&[u8], Role) = match (word.len(), word.first()?) {
        (2, b'f') => (b"fn", Role::Function),
        (3, b'd') => (b"def", Role::Function),
        (3, b'f') => (b"fun", Role::Function),
        (3, b's') => (b"sub", Role::Function),
        (4, b'd') => (b"defp", Role::Function),
        (4, b'f') => (b"func", Role::Function),
        (8, b'f') => (b"function", Role::Function),
        (4, b'e') => (b"enum", Role::Type),
        (4, b't') => (b"type", Role::Type),
        (5, b'c') if word.get(1) == Some(&b'l') => (b"class", Role::Type),
        (5, b't') => (b"trait", Role::Type),
        (5, b'u') => (b"union", Role::Type),
        (6, b'r') => (b"record", Role::Type),
        (6, b's') if word.get(2) == Some(&b'r') => (b"struct", Role::Type),
        (8, b'p') => (b"protocol", Role::Type),
        (9, b'i') => (b"interface", Role::Type),
        (3, b'm') => (b"mod", Role::Value),
        (5, b'c') => (b"const", Role::Value),
        (6, b'm') => (b"module", Role::Value),
        (6, b's') => (b"static", Role::Value),
        (7, b'p') => (b"package", Role::Value),
        (9, b'n') => (b"namespace", Role::Value),
        _ => return None,
    };
    (word == keyword).then_some(role)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn text_of(name: &[u8]) -> String {
        str::from_utf8(name).unwrap().to_owned()
    }

    fn names(text: &str, style: Style) -> Vec<(String, u32, Role)> {
        let mut names = Names::default();
        collect(text.as_bytes(), style, &mut names);
        let mut names: Vec<_> = names.into_iter().map(|(name, (count, role))| (text_of(name), count, role)).collect();
        names.sort();
        names
    }

    #[test]
    fn a_keyword_says_what_is_declared() {
        let text = "pub(crate) async fn claim_task(store: &TaskStore) {}\nstruct TaskStore;\nfunction* walkTree() {}\nconst MAX_AGE = 1;";
        let found = names(text, Style::Code);
        let role = |name: &str| found.iter().find(|found| found.0 == name).map(|found| (found.1, found.2));
        assert_eq!(role("claim_task"), Some((1, Role::Function)));
        assert_eq!(role("TaskStore"), Some((2, Role::Type)));
        assert_eq!(role("walkTree"), Some((1, Role::Function)));
        assert_eq!(role("MAX_AGE"), Some((1, Role::Value)));
        assert_eq!(role("store"), Some((1, Role::Mentioned)));
        assert_eq!(role("fn"), None);
    }

    #[test]
    fn prose_gives_only_what_looks_like_code() {
        let text = "The queue calls `claim_next` on SQLite; see fanOut and the Server. __ A_";
        let found: Vec<_> = names(text, Style::Prose).into_iter().map(|found| found.0).collect();
        assert_eq!(found, ["claim_next", "fanOut"]);
    }

    #[test]
    fn a_comment_in_code_is_prose() {
        let text = "let tokio = spawn(); // calls serde and claim_next\nlet axum = 1;\n/// A HeartBeat of hyper";
        let mut found: Vec<_> = names(text, Style::Code).into_iter().map(|found| found.0).collect();
        found.retain(|name| name != "let" && name != "spawn");
        assert_eq!(found, ["HeartBeat", "axum", "claim_next", "tokio"]);
    }

    #[test]
    fn data_is_no_name() {
        for data in ["deadbeef01", "a1b2c3d4", "x9f8e7d6c5b4", &"a".repeat(65), "ab", "___", "9lives"] {
            assert_eq!(names(data, Style::Code), [], "{data}");
        }
        assert_eq!(names("utf8_to_utf16 größe sha256", Style::Code).len(), 3);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_names_are_bounded_words_that_occur(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for style in [Style::Code, Style::Prose] {
                let mut names = Names::default();
                collect(&bytes, style, &mut names);
                for (name, (count, _)) in names {
                    let name = text_of(name);
                    prop_assert!(LENGTHS.contains(&name.len()));
                    prop_assert!(name.chars().all(|c| c.is_alphanumeric() || c == '_'));
                    let occurrences = bytes.windows(name.len()).filter(|window| *window == name.as_bytes()).count();
                    prop_assert!(count >= 1 && count as usize <= occurrences);
                }
            }
        }

        #[test]
        fn every_identifier_of_code_is_found(words in proptest::collection::vec("[g-z][g-z_]{2,20}[A-Z]", 1..20)) {
            let text = words.join(" + ");
            let mut names = Names::default();
            collect(text.as_bytes(), Style::Code, &mut names);
            for word in &words {
                let times = words.iter().filter(|other| *other == word).count();
                prop_assert_eq!(names.get(word.as_bytes()).map(|found| found.0 as usize), Some(times));
            }
        }
    }
}
