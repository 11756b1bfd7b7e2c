//! References by number and by id, written, spoken and spelled.

use super::reference::{AGENTS, ARTICLES, Reference};
use crate::numerals::small;

/// A number or an ordinal: "task two", "#2", "the second one".
pub(super) fn number(words: &[&str]) -> Option<Reference> {
    let content: Vec<&str> = words.iter().copied().filter(|word| !ARTICLES.contains(word)).collect();
    let labels = |word: &str| {
        matches!(
            word,
            "task"
                | "agent"
                | "number"
                | "job"
                | "no"
                | "nr"
                | "num"
                | "item"
                | "session"
                | "run"
                | "nummer"
                | "tasks"
                | "agents"
                | "numbers"
                | "jobs"
        )
    };
    let labelled = content.iter().take_while(|word| labels(word)).count();
    match content[labelled..] {
        [digits] => {
            let (plain, ordinal) = (cardinal(digits), ordinal(digits));
            // "task to" is how an engine hears "task two".
            let heard = if labelled > 0 { misheard(digits) } else { None };
            let number = match (plain, ordinal) {
                (Some(number), _) if labelled > 0 || digits.starts_with('#') || digits.parse::<usize>().is_ok() => {
                    number
                }
                (_, Some(number)) => return Some(Reference::Number { number, ordinal: true }),
                _ => heard?,
            };
            Some(Reference::Number { number, ordinal: false })
        }
        [which, head] if labelled == 0 && (AGENTS.contains(&head) || matches!(head, "job" | "session")) => {
            ordinal(which).map(|number| Reference::Number { number, ordinal: true })
        }
        [which, head, "in", "list"] if labelled == 0 && AGENTS.contains(&head) => {
            ordinal(which).map(|number| Reference::Number { number, ordinal: true })
        }
        _ => None,
    }
}

pub(super) fn cardinal(word: &str) -> Option<usize> {
    let digits = word.trim_start_matches('#');
    if let Some(number) = small(digits).filter(|number| *number > 0) {
        return usize::try_from(number).ok();
    }
    if digits == "twenty" {
        return Some(20);
    }
    digits.parse().ok().filter(|number| (1..=999).contains(number))
}

fn ordinal(word: &str) -> Option<usize> {
    const ORDINALS: [&str; 12] = [
        "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
        "twelfth",
    ];
    ORDINALS.iter().position(|name| *name == word).map(|at| at + 1).or_else(|| {
        let digits = ["st", "nd", "rd", "th"].iter().find_map(|end| word.strip_suffix(end))?;
        digits.parse().ok().filter(|number| (1..=999).contains(number))
    })
}

/// Whether it is a word that may have been a number.
pub(super) fn is_misheard(word: &str) -> bool {
    misheard(word).is_some()
}

fn misheard(word: &str) -> Option<usize> {
    match word {
        "won" => Some(1),
        "to" | "too" => Some(2),
        "tree" | "free" => Some(3),
        "for" | "fore" => Some(4),
        "sex" | "sicks" => Some(6),
        "ate" => Some(8),
        _ => None,
    }
}

/// An id, written or spelled: `a1b2c3d4`, "a 1 b 2", "alpha one bravo two".
pub(super) fn id(words: &[&str]) -> Option<Reference> {
    let content: Vec<&str> = words
        .iter()
        .copied()
        .skip_while(|word| {
            ARTICLES[..6].contains(word)
                || matches!(*word, "task" | "agent" | "id" | "number" | "one" | "job" | "with" | "task's")
        })
        .collect();
    let labelled = content.len() < words.len() && words.iter().any(|word| matches!(*word, "task" | "agent" | "id"));
    let mut digits = String::new();
    for word in &content {
        let word = word.trim_start_matches('#');
        let spelled = match word {
            "zero" | "oh" => "0",
            "alpha" | "alfa" => "a",
            "bravo" => "b",
            "charlie" => "c",
            "delta" => "d",
            "echo" => "e",
            "foxtrot" => "f",
            "be" | "bee" => "b",
            "see" | "sea" => "c",
            "dee" => "d",
            "ef" | "eff" => "f",
            "ay" => "a",
            _ => "",
        };
        match (cardinal(word).filter(|number| *number < 10), spelled) {
            (Some(number), _) => digits.push_str(&number.to_string()),
            (None, "") if word.chars().all(|c| c.is_ascii_hexdigit() || c == '-') => {
                digits.extend(word.chars().filter(|c| *c != '-'));
            }
            (None, "") => return None,
            (None, letter) => digits.push_str(letter),
        }
    }
    let mixed = digits.contains(|c: char| c.is_ascii_digit()) && digits.contains(|c: char| c.is_ascii_alphabetic());
    let certain = mixed && digits.len() >= 4 || labelled && digits.len() >= 4;
    ((3..=32).contains(&digits.len())).then_some(Reference::Id { digits, certain })
}
