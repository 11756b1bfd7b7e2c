//! The words of a transcript and where they stand in it.

use std::ops::Range;

/// A word of a transcript.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Its bytes in the text, without punctuation around it and without a possessive `'s`.
    pub at: Range<usize>,
    /// In lower case.
    pub lower: String,
    /// Only blanks or one hyphen lie between it and the word before: the two may be parts of one name.
    pub joins: bool,
    /// Written as code already: it has signs within, like `a_b`, `src/app.ts` or `v1.2`.
    pub code: bool,
    /// Only a hyphen lies between it and the word before.
    pub hyphen: bool,
    /// Begins with a capital letter and goes on in lower case, within a sentence: a proper name, most often.
    pub capital: bool,
}

/// Splits a text at blanks, and at hyphens within what is otherwise only letters.
pub(super) fn words(text: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    let mut end_of_chunk = 0;
    for chunk in text.split_whitespace() {
        // Where the chunk is, from where it is borrowed: `split_whitespace` gives no positions.
        let start = chunk.as_ptr() as usize - text.as_ptr() as usize;
        let bare_before = text.get(end_of_chunk..start).is_some_and(|gap| gap.chars().all(char::is_whitespace))
            && words.last().is_some_and(|word| word.at.end == end_of_chunk);
        end_of_chunk = start + chunk.len();
        let Some(core) = core(chunk) else { continue };
        let (from, to) = (start + core.start, start + core.end);
        let joins = bare_before && from == start;
        let inner = &text[from..to];
        // "and/or" are two words, "a/b/c" is a path.
        let slash = inner.contains('/');
        let split = if slash && inner.matches('/').count() == 1 && !inner.starts_with('/') { '/' } else { '-' };
        if inner.split(split).all(|part| !part.is_empty() && part.chars().all(is_of_word)) {
            let mut at = from;
            for (nth, part) in inner.split(split).enumerate() {
                words.push(Word {
                    at: at..at + part.len(),
                    lower: part.to_lowercase(),
                    joins: if nth == 0 { joins } else { split == '-' },
                    code: false,
                    hyphen: nth > 0,
                    capital: at > 0 && part.starts_with(char::is_uppercase) && part.ends_with(char::is_lowercase),
                });
                at += part.len() + 1;
            }
        } else {
            words.push(Word {
                at: from..to,
                lower: inner.to_lowercase(),
                joins,
                code: true,
                hyphen: false,
                capital: false,
            });
        }
    }
    words
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '\'' || c == '’'
}

/// A chunk without the punctuation at its ends and without a possessive; nothing where it has neither letter nor digit.
fn core(chunk: &str) -> Option<Range<usize>> {
    let start = chunk.find(char::is_alphanumeric)?;
    let (last, c) = chunk.char_indices().rfind(|(_, c)| c.is_alphanumeric())?;
    let mut end = last + c.len_utf8();
    // What opens with signs that belong to code keeps them: `--verbose`, `_private`, `/etc`.
    let start = chunk[..start]
        .rfind(|c| !matches!(c, '-' | '_' | '/' | '.' | '@' | '$' | '#'))
        .map_or(0, |at| at + chunk[at..].chars().next().map_or(0, char::len_utf8));
    for possessive in ["'s", "’s", "'S", "’S"] {
        if let Some(bare) = chunk[start..end].strip_suffix(possessive).filter(|bare| !bare.is_empty()) {
            end = start + bare.len();
            break;
        }
    }
    Some(start..end)
}

#[cfg(test)]
mod tests {
    use super::words;
    use proptest::prelude::*;

    fn shown(text: &str) -> String {
        let mut shown = String::new();
        for word in words(text) {
            shown.push_str(if word.joins { "+" } else { "|" });
            shown.push_str(&text[word.at.clone()]);
            shown.push_str(if word.code { "!" } else { "" });
        }
        shown
    }

    #[test]
    fn words_are_split_where_a_name_cannot_go_on() {
        let table = [
            ("Fix use effect, please.", "|Fix+use+effect|please"),
            ("the use-effect's (first) call", "|the+use+effect|first|call"),
            ("open src/app.ts now", "|open+src/app.ts!+now"),
            ("run --all \"user name\"", "|run+--all!|user+name"),
            ("don't — stop", "|don't|stop"),
            ("read/write lock, a/b/c", "|read|write+lock|a/b/c!"),
            ("…", ""),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn words_are_in_order_and_in_the_text(text in "\\PC{0,60}") {
            let mut end = 0;
            for word in words(&text) {
                prop_assert!(word.at.start >= end && word.at.end > word.at.start);
                prop_assert_eq!(&text[word.at.clone()].to_lowercase(), &word.lower);
                end = word.at.end;
            }
        }
    }
}
