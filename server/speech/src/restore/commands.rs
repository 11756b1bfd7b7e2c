//! Signs and cases that are spoken: "dash dash verbose", "read me dot m d", "camel case user name".

use super::candidates::sign;
use super::choice::Part;
use super::class::{Class, is_verb};
use super::names::{Letters, Names, Style};
use super::words::Word;

/// Signs that are spoken are meant, most often.
const SPOKEN: f32 = 6.0;
/// Words that a case command takes at most where no name tells.
const MOST_WORDS: usize = 3;

/// Endings of files, and how they are spoken when it is not letter by letter.
const EXTENSIONS: [&str; 34] = [
    "c", "conf", "cpp", "cs", "css", "env", "go", "h", "hpp", "html", "ini", "java", "js", "json", "jsx", "kt", "lock",
    "md", "mjs", "php", "py", "rb", "rs", "scss", "sh", "sql", "svg", "swift", "toml", "ts", "tsx", "txt", "yaml",
    "yml",
];

#[derive(Clone, Copy)]
enum Case {
    Camel,
    Pascal,
    Snake,
    Upper,
    Kebab,
}

/// What is spoken with signs or with a case, whether or not a name is known for it.
pub(super) fn parts(text: &str, words: &[Word], names: &Names) -> Vec<Part> {
    (0..words.len())
        .flat_map(|at| [flag(words, at), file(words, at), snake(words, at, names), cased(text, words, at, names)])
        .flatten()
        .collect()
}

/// The words from a place on that may belong together.
fn run(words: &[Word], from: usize) -> &[Word] {
    let rest = words.get(from..).unwrap_or_default();
    let length = rest.iter().enumerate().take_while(|(nth, word)| !word.code && (*nth == 0 || word.joins)).count();
    &rest[..length]
}

fn is(words: &[Word], at: usize, text: &str) -> bool {
    words.get(at).is_some_and(|word| word.lower == text)
}

/// "dash dash dry dash run" is `--dry-run`.
fn flag(words: &[Word], from: usize) -> Option<Part> {
    let run = run(words, from);
    let dash = |at: usize| is(run, at, "dash") || is(run, at, "hyphen");
    if !(dash(0) && dash(1)) {
        return None;
    }
    let name = |at: usize| run.get(at).filter(|_| !dash(at)).map(|word| word.lower.as_str());
    let (mut text, mut length) = (format!("--{}", name(2)?), 3);
    while let Some(word) = name(length + 1).filter(|_| dash(length)) {
        text.push('-');
        text.push_str(word);
        length += 2;
    }
    Some(Part { from, to: from + length, text, score: SPOKEN + length as f32 })
}

/// "source slash app dot t s" is `src/app.ts`, and "read me dot m d" `README.md`.
fn file(words: &[Word], from: usize) -> Option<Part> {
    let run = run(words, from);
    let (mut text, mut at) = (String::new(), 0);
    loop {
        let word = run.get(at).filter(|word| sign(&word.lower).is_none())?;
        if Class::of(&word.lower).is_function_word() {
            return None;
        }
        let slash = is(run, at + 1, "slash");
        match (word.lower.as_str(), slash, is(run, at + 1, "me")) {
            ("source", true, _) => text.push_str("src"),
            ("read", _, true) => {
                text.push_str("README");
                at += 1;
            }
            ("readme", false, _) => text.push_str("README"),
            (word, ..) => text.push_str(word),
        }
        at += 1;
        if is(run, at, "dot") {
            break;
        }
        text.push(match run.get(at)?.lower.as_str() {
            "slash" => '/',
            "dash" | "hyphen" => '-',
            "underscore" => '_',
            _ => return None,
        });
        at += 1;
    }
    let (extension, taken) = extension(&run[at + 1..])?;
    Some(Part { from, to: from + at + 1 + taken, text: format!("{text}.{extension}"), score: SPOKEN + at as f32 })
}

/// The ending of a file that is spoken at the beginning of some words, and in how many: "t s", "json", "jason".
fn extension(words: &[Word]) -> Option<(String, usize)> {
    let known = |text: &str| EXTENSIONS.binary_search(&text).is_ok();
    let letters: String = words
        .iter()
        .take(4)
        .map_while(|word| Some(word.lower.as_str()).filter(|word| word.chars().count() == 1))
        .collect();
    if letters.len() > 1 && known(&letters) {
        return Some((letters.clone(), letters.len()));
    }
    let first = words.first()?;
    let word = match first.lower.as_str() {
        "jason" => "json",
        "pie" => "py",
        word => word,
    };
    known(word).then(|| (word.to_owned(), 1))
}

/// "max underscore retries" is `max_retries`.
fn snake(words: &[Word], from: usize, names: &Names) -> Option<Part> {
    let run = run(words, from);
    let part = |at: usize| {
        run.get(at)
            .map(|word| word.lower.as_str())
            .filter(|word| sign(word).is_none() && !Class::of(word).is_function_word())
    };
    let (mut letters, mut text, mut length) = (Letters::new(), part(0)?.to_owned(), 1);
    letters.push(&text);
    while let Some(word) = part(length + 1).filter(|_| is(run, length, "underscore")) {
        text.push('_');
        text.push_str(word);
        letters.push(word);
        length += 2;
    }
    // "remove underscore prefix" asks for something.
    let asks = length == 3 && is_verb(part(0)?) && names.of_letters(letters).is_empty();
    (length > 1 && !asks).then(|| Part { from, to: from + length, text, score: SPOKEN - 1.0 + length as f32 })
}

/// "snake case user name" is `user_name`. Without a name that tells how many words are meant, it is those up to the next that
/// belongs to the sentence.
fn cased(text: &str, words: &[Word], from: usize, names: &Names) -> Option<Part> {
    let run = run(words, from);
    let (case, said) = case(run)?;
    let content = &run[said..];
    let free = content
        .iter()
        .take_while(|word| !Class::of(&word.lower).is_function_word() && sign(&word.lower).is_none())
        .count();
    let mut known = 0;
    let mut letters = Letters::new();
    for (nth, word) in content.iter().take(8).enumerate() {
        letters.push(&word.lower);
        if !names.of_letters(letters).is_empty() && nth > 0 {
            known = nth + 1;
        }
    }
    // "convert the keys to camel case names" speaks of the case.
    let before = from.checked_sub(1).and_then(|before| words.get(before)).filter(|_| run[0].joins);
    let of_the_case = before.is_some_and(|word| {
        matches!(
            word.lower.as_str(),
            "to" | "in"
                | "into"
                | "use"
                | "uses"
                | "using"
                | "from"
                | "as"
                | "be"
                | "is"
                | "and"
                | "or"
                | "support"
                | "the"
        )
    });
    let length = if known > 0 { known } else { free.min(MOST_WORDS) };
    if length == 0 || known == 0 && (of_the_case || length < 2) {
        return None;
    }
    let written = write(case, content[..length].iter().filter_map(|word| text.get(word.at.clone())));
    Some(Part { from, to: from + said + length, text: written, score: SPOKEN + 2.0 * length as f32 })
}

/// The case with which some words begin, and in how many words it is said.
fn case(words: &[Word]) -> Option<(Case, usize)> {
    let first = words.first()?;
    if is(words, 1, "case") {
        let case = match first.lower.as_str() {
            "camel" => Case::Camel,
            "pascal" => Case::Pascal,
            "snake" => Case::Snake,
            "kebab" | "kebob" | "dash" => Case::Kebab,
            "constant" | "screaming" => Case::Upper,
            _ => return None,
        };
        return Some((case, 2));
    }
    (first.lower == "screaming" && is(words, 1, "snake") && is(words, 2, "case")).then_some((Case::Upper, 3))
}

fn write<'t>(case: Case, words: impl Iterator<Item = &'t str>) -> String {
    let mut written = String::new();
    for (nth, word) in words.enumerate() {
        let lower = word.to_lowercase();
        match case {
            Case::Snake | Case::Upper if nth > 0 => written.push('_'),
            Case::Kebab if nth > 0 => written.push('-'),
            _ => {}
        }
        match case {
            Case::Upper => written.push_str(&word.to_uppercase()),
            Case::Pascal => written.push_str(&capitalized(&lower)),
            Case::Camel if nth > 0 => written.push_str(&capitalized(&lower)),
            _ => written.push_str(&lower),
        }
    }
    written
}

fn capitalized(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

/// Puts together what was said with "dot" between: "app dot test client" is `app.test_client` where both sides are names.
pub(super) fn joined(words: &[Word], parts: Vec<Part>, names: &Names) -> Vec<Part> {
    let mut done: Vec<Part> = Vec::with_capacity(parts.len());
    let mut parts = parts.into_iter().peekable();
    let mut at = 0;
    while at < words.len() {
        let part = match parts.next_if(|part| part.from == at) {
            Some(part) => part,
            None => {
                // A word that is no part may still be a name as it stands, or one that only begins with a capital.
                let known = words.get(at).filter(|word| !word.code && sign(&word.lower).is_none());
                let Some(word) = known.and_then(|word| as_name(names, word, is(words, at + 1, "dot"))) else {
                    at += 1;
                    continue;
                };
                Part { from: at, to: at + 1, text: word.to_owned(), score: 0.0 }
            }
        };
        at = part.to;
        let dotted = |left: &&mut Part| {
            let dot =
                left.to + 1 == part.from && is(words, left.to, "dot") && words[left.to].joins && words[part.from].joins;
            // "the dot and the line" has none.
            dot && !(left.to - left.from == 1
                && matches!(Class::of(&words[left.from].lower), Class::Determiner | Class::Preposition | Class::To))
        };
        match done.last_mut().filter(dotted) {
            Some(left) if part.score < Part::CERTAIN && left.score < Part::CERTAIN => {
                left.text = format!("{}.{}", left.text, part.text);
                left.to = part.to;
                left.score += SPOKEN;
            }
            _ => done.push(part),
        }
    }
    done.retain(|part| part.score > 0.0);
    done
}

/// The name that a single word is beside "dot": for what has members the class, unless the variable is used much more often
/// (`Request.get_json`, but `app.route`), and for a member the one in lower case. A special method of Python is spoken without its
/// underscores.
fn as_name<'n>(names: &'n Names, word: &Word, has_members: bool) -> Option<&'n str> {
    let mut letters = Letters::new();
    letters.push(&word.lower);
    let all = names.of_letters(letters);
    let own = || {
        all.iter()
            .filter_map(|number| Some((*number, names.get(*number)?)))
            .filter(|(_, name)| name.text.to_lowercase() == word.lower)
    };
    let special = || {
        all.iter().filter_map(|number| names.get(*number)).find(|name| {
            name.text.strip_prefix("__").and_then(|text| text.strip_suffix("__")) == Some(word.lower.as_str())
        })
    };
    let Some((rank, first)) = own().next() else { return Some(&special().filter(|_| !has_members)?.text) };
    let other = if has_members {
        own().find(|(_, name)| name.style == Style::Pascal).filter(|(other, _)| names.is_class(rank, *other))
    } else {
        own().find(|(_, name)| *name.text == *word.lower)
    };
    Some(&other.map_or(first, |(_, name)| name).text)
}
