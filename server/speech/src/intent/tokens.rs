//! The words of a sentence, each with its place in it.

use std::ops::Range;

/// A word as the grammar sees it. What is kept of a sentence is cut from the text by the places, never put together from
/// words, so it survives unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// Lower case, without the punctuation around it.
    pub word: String,
    /// Bytes of the text with the punctuation around it.
    pub outer: Range<usize>,
    /// Bytes of the text without it.
    pub inner: Range<usize>,
    /// Punctuation that ends a phrase follows.
    pub stop: bool,
    /// It stands in quotation marks or backticks: named, not meant.
    pub quoted: bool,
    /// It had an `'s` that is no `is`.
    pub possessive: bool,
}

/// Words of the text, short forms written out (`what's` gives two words in one place).
pub(super) fn tokens(text: &str) -> Vec<Token> {
    let mut found: Vec<Token> = Vec::new();
    let mut quote: Option<char> = None;
    for outer in chunks(text) {
        let chunk = &text[outer.clone()];
        let opened = quote.is_none().then(|| opening(chunk)).flatten();
        let quoted = quote.is_some() || opened.is_some();
        quote = quote.or(opened).filter(|mark| !closes(chunk, *mark, opened.is_some()));
        let inner = trimmed(chunk, outer.start);
        let stop = text[inner.end..outer.end].contains(['.', ',', ';', ':', '!', '?', '…', '—', '–']);
        if inner.is_empty() {
            if let Some(last) = found.last_mut() {
                last.stop = true;
            }
            continue;
        }
        let word = text[inner.clone()].to_lowercase().replace(['’', 'ʼ'], "'");
        let mut push = |word: &str, stop, possessive| {
            let (outer, inner) = (outer.clone(), inner.clone());
            found.push(Token { word: word.to_owned(), outer, inner, stop, quoted, possessive });
        };
        if let Some((first, second)) = written_out(&word) {
            push(first, false, false);
            push(second, stop, false);
        } else if let Some(owner) = word.strip_suffix("'s").filter(|owner| !owner.is_empty() && *owner != "let") {
            push(owner, stop, true);
        } else {
            push(if word == "lets" { "let's" } else { &word }, stop, false);
        }
    }
    found
}

/// Places of what whitespace parts.
fn chunks(text: &str) -> impl Iterator<Item = Range<usize>> + '_ {
    text.split_whitespace().map(|chunk| {
        let start = chunk.as_ptr() as usize - text.as_ptr() as usize;
        start..start + chunk.len()
    })
}

fn trimmed(chunk: &str, at: usize) -> Range<usize> {
    let around = |c: char| {
        matches!(
            c,
            '"' | '\'' | '`' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | '“' | '”' | '‘' | '’' | '«' | '»'
        ) || matches!(c, ',' | ';' | ':' | '!' | '?' | '…' | '—' | '–' | '*' | '¿' | '¡')
    };
    if !chunk.contains(char::is_alphanumeric) {
        return at..at;
    }
    let start = chunk.len() - chunk.trim_start_matches(around).len();
    let end = start + chunk[start..].trim_end_matches(|c| around(c) || c == '.').len();
    at + start..at + end
}

fn opening(chunk: &str) -> Option<char> {
    let first = chunk.trim_start_matches(['(', '[', '{']).chars().next()?;
    match first {
        '"' | '`' | '\'' => Some(first),
        '“' => Some('”'),
        '‘' => Some('’'),
        '«' => Some('»'),
        _ => None,
    }
}

fn closes(chunk: &str, mark: char, opens_too: bool) -> bool {
    let ends = chunk.trim_end_matches(|c: char| c != mark && !c.is_alphanumeric());
    ends.ends_with(mark) && (!opens_too || ends.chars().count() > 1)
}

/// Short forms whose second half the grammar looks at.
fn written_out(word: &str) -> Option<(&str, &'static str)> {
    let whole = match word {
        "whats" => ("what", "is"),
        "hows" => ("how", "is"),
        "wheres" => ("where", "is"),
        "thats" => ("that", "is"),
        "dont" => ("do", "not"),
        "doesnt" => ("does", "not"),
        "didnt" => ("did", "not"),
        "isnt" => ("is", "not"),
        "cannot" | "can't" | "cant" => ("can", "not"),
        "won't" | "wont" => ("will", "not"),
        "gimme" => ("give", "me"),
        "lemme" => ("let", "me"),
        "wanna" => ("want", "to"),
        "gotta" => ("have", "to"),
        _ => ("", ""),
    };
    if !whole.0.is_empty() {
        return Some(whole);
    }
    let (first, second) = word.split_once('\'')?;
    match (first, second) {
        ("what" | "how" | "where" | "who" | "when" | "that" | "it" | "there" | "here" | "he" | "she" | "why", "s") => {
            Some((first, "is"))
        }
        ("i", "m") => Some((first, "am")),
        ("i" | "we" | "you" | "they" | "it" | "that", "d") => Some((first, "would")),
        ("i" | "we" | "you" | "they" | "it" | "that" | "what" | "who", "ll") => Some((first, "will")),
        ("i" | "we" | "you" | "they" | "what", "ve") => Some((first, "have")),
        ("we" | "you" | "they" | "what" | "how" | "where", "re") => Some((first, "are")),
        (_, "t") => first.strip_suffix('n').filter(|verb| !verb.is_empty()).map(|verb| (verb, "not")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::tokens;
    use proptest::prelude::*;

    fn words(text: &str) -> String {
        tokens(text).iter().map(|token| token.word.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_are_without_case_and_punctuation() {
        assert_eq!(words("Hey Cadence, what's the auth one doing?!"), "hey cadence what is the auth one doing");
        assert_eq!(words("Don’t touch `src/app.ts` — please."), "do not touch src/app.ts please");
        assert_eq!(words("isn't let's can't .env #2 auth's ..."), "is not let's can not .env #2 auth");
        assert_eq!(words("n't 't 's ' \" - "), "n't t s");
    }

    #[test]
    fn what_is_quoted_is_known_and_ends() {
        let quoted = |text: &str| {
            tokens(text).into_iter().filter(|token| token.quoted).map(|token| token.word).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(quoted("rename \"stop all\" to `halt` now"), "stop all halt");
        assert_eq!(quoted("print “how is it going”, please"), "how is it going");
        assert_eq!(quoted("the users' tests don't pass"), "");
    }

    proptest! {
        #[test]
        fn places_are_of_the_text(text in "\\PC{0,60}") {
            for token in tokens(&text) {
                prop_assert!(text.get(token.inner.clone()).is_some_and(|inner| !inner.is_empty()));
                prop_assert!(token.outer.start <= token.inner.start && token.inner.end <= token.outer.end);
            }
        }
    }
}
