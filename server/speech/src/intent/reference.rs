//! Who a phrase is about, as far as its words tell: "it", "task two", "the auth one", "everything but billing".

use super::tokens::Token;

/// Who is spoken of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reference {
    /// The one that is spoken of.
    It,
    /// The one of two that is not spoken of.
    Other,
    All,
    AllBut(Box<Reference>),
    /// Several by name.
    Each(Vec<Reference>),
    /// Its number in the list, from 1; `ordinal` where it was "the second one" and not "task two".
    Number {
        number: usize,
        ordinal: bool,
    },
    /// The end of the list.
    Last,
    /// The most recent, which is the first of the list.
    Newest,
    /// Hexadecimal digits that an id begins with; `certain` where they cannot be a word or a number.
    Id {
        digits: String,
        certain: bool,
    },
    /// What state it is in.
    State {
        state: &'static str,
        several: bool,
    },
    /// By what it is called or does.
    Named(Name),
}

/// Words that describe a task.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Name {
    /// Content words, without articles and the like.
    pub words: Vec<String>,
    /// It says itself that it is about a task: "the … one", "the … agent".
    pub agent: bool,
    /// It is one plain word that no article precedes, as a name is spoken.
    pub bare: bool,
    /// It may be a part of a sentence, and is a name only if a task is called so.
    pub doubtful: bool,
}

impl Reference {
    /// Whether its form alone says that a task is meant.
    pub(super) fn is_explicit(&self) -> bool {
        match self {
            Self::Named(name) => name.agent,
            Self::Id { certain, .. } => *certain,
            Self::Each(each) => each.iter().all(Self::is_explicit),
            _ => true,
        }
    }

    pub(super) fn is_pronoun(&self) -> bool {
        matches!(self, Self::It | Self::All | Self::Other)
    }
}

const ARTICLES: [&str; 12] = ["the", "my", "that", "this", "our", "your", "those", "these", "a", "an", "all", "of"];
/// What a task is called by everybody.
const AGENTS: [&str; 15] = [
    "one", "ones", "task", "tasks", "agent", "agents", "guy", "bot", "agend", "asian", "taskt", "won", "agents'",
    "wan", "subagent",
];
/// What a task may be called, and other things too.
const MAYBE_AGENTS: [&str; 16] = [
    "job",
    "jobs",
    "session",
    "run",
    "worker",
    "thing",
    "work",
    "stuff",
    "branch",
    "repo",
    "repository",
    "project",
    "pr",
    "request",
    "change",
    "changes",
];
/// Words of a sentence; a name has none of them.
const CLAUSE: [&str; 78] = [
    "from", "when", "if", "whether", "so", "because", "should", "must", "is", "are", "was", "were", "be", "been",
    "has", "have", "had", "needs", "need", "does", "do", "did", "will", "can", "could", "would", "after", "before",
    "while", "until", "unless", "instead", "without", "to", "but", "that", "which", "who", "where", "why", "how", "it",
    "them", "i", "you", "we", "they", "not", "by", "into", "than", "whenever", "once", "me", "us", "him", "her", "its",
    "their", "what", "then", "please", "just", "also", "let", "let's", "there", "no", "yes", "with", "now", "later",
    "moment", "bit", "second", "minute", "until", "again",
];
const JOINTS: [&str; 26] = [
    "on", "for", "about", "in", "with", "from", "doing", "working", "that", "is", "which", "who", "does", "handling",
    "fixing", "called", "named", "titled", "running", "adding", "writing", "did", "of", "has", "at", "touching",
];
/// Of no weight in a name.
const LIGHT: [&str; 30] = [
    "the", "a", "an", "my", "our", "your", "this", "that", "these", "those", "on", "for", "about", "in", "with", "of",
    "working", "doing", "is", "which", "who", "called", "named", "titled", "one", "task", "agent", "s", "and", "to",
];

/// Reads the whole phrase, or says that it is no reference.
pub(super) fn read(tokens: &[Token]) -> Option<Reference> {
    if tokens.is_empty() || tokens[..tokens.len() - 1].iter().any(|token| token.stop) && tokens.len() < 3 {
        return None;
    }
    let words: Vec<&str> = tokens.iter().map(|token| token.word.as_str()).collect();
    if let Some(at) = exception(&words) {
        return match (read(&tokens[..at.0])?, read(&tokens[at.1..])?) {
            (Reference::All, but) => Some(Reference::AllBut(Box::new(but))),
            _ => None,
        };
    }
    fixed(&words).or_else(|| state(&words)).or_else(|| number(&words)).or_else(|| id(&words)).or_else(|| name(tokens))
}

/// Reads the whole phrase as what a task is called.
pub(super) fn read_name(tokens: &[Token]) -> Option<Reference> {
    if tokens.is_empty() { None } else { name(tokens) }
}

/// Reads "auth and billing" as several, each of which is a reference for itself.
pub(super) fn read_several(tokens: &[Token]) -> Option<Reference> {
    let joined = |at: usize| matches!(tokens[at].word.as_str(), "and" | "plus" | "or");
    let mut parts = Vec::new();
    let mut from = 0;
    for at in 1..tokens.len() {
        if joined(at) {
            if at > from {
                parts.push(from..at);
            }
            from = at + 1;
        } else if tokens[at - 1].stop && !joined(at - 1) && at > from {
            parts.push(from..at);
            from = at;
        }
    }
    parts.push(from..tokens.len());
    if parts.len() < 2 || parts.len() > 6 {
        return None;
    }
    parts.into_iter().map(|part| read(tokens.get(part)?)).collect::<Option<Vec<_>>>().map(Reference::Each)
}

fn exception(words: &[&str]) -> Option<(usize, usize)> {
    words.iter().enumerate().skip(1).find_map(|(at, word)| match (*word, words.get(at + 1).copied()) {
        ("except" | "but" | "excluding", Some("for")) | ("apart" | "aside", Some("from")) | ("other", Some("than")) => {
            Some((at, at + 2))
        }
        ("except" | "but" | "excluding" | "besides" | "minus", Some(_)) => Some((at, at + 1)),
        _ => None,
    })
}

fn fixed(words: &[&str]) -> Option<Reference> {
    let phrase = words.join(" ");
    let phrase = phrase.strip_prefix("just ").unwrap_or(&phrase);
    Some(match phrase {
        "it" | "that" | "this" | "that one" | "this one" | "the one" | "the task" | "the agent" | "this task"
        | "that task" | "this agent" | "that agent" | "the current one" | "the current task" | "the current agent"
        | "current task" | "current one" | "the same one" | "my task" | "my agent" | "the selected one"
        | "the selected task" | "that thing" | "this thing" | "the thing" | "this guy" | "that guy"
        | "the running task" | "this job" | "that job" | "the job" | "him" | "her" | "the only one" | "it all"
        | "the agent's" | "same one" | "this work" | "that work" => Reference::It,
        "the other one" | "the other" | "the other task" | "the other agent" | "other one" => Reference::Other,
        "all"
        | "everything"
        | "all of them"
        | "them all"
        | "all of it"
        | "everyone"
        | "everybody"
        | "them"
        | "they"
        | "both"
        | "both of them"
        | "the lot"
        | "the whole lot"
        | "the whole fleet"
        | "the fleet"
        | "these"
        | "those"
        | "all of these"
        | "all of those"
        | "all of you"
        | "you all"
        | "everything else"
        | "every single one"
        | "each of them"
        | "each one"
        | "all the things"
        | "every one"
        | "every one of them"
        | "anything"
        | "whatever is running"
        | "everything that is running"
        | "everything running"
        | "all running"
        | "all of my stuff"
        | "all work"
        | "all the work"
        | "both tasks"
        | "both agents"
        | "both the tasks"
        | "the two"
        | "those two"
        | "these two"
        | "all three"
        | "all three of them"
        | "all four" => Reference::All,
        "the last one"
        | "the last task"
        | "the last agent"
        | "last one"
        | "last task"
        | "the last"
        | "last agent"
        | "the bottom one"
        | "the last in the list"
        | "the last one in the list"
        | "the one at the bottom" => Reference::Last,
        "the first in the list" | "the first one in the list" | "the top one" | "the one at the top" => {
            Reference::Number { number: 1, ordinal: true }
        }
        _ => {
            let time = |word: &&str| matches!(*word, "latest" | "newest" | "recent" | "youngest");
            let plain = |word: &&str| {
                time(word) || ARTICLES.contains(word) || AGENTS.contains(word) || matches!(*word, "most" | "job")
            };
            if words.iter().any(|word| time(word)) && words.iter().all(|word| plain(word)) {
                return Some(Reference::Newest);
            }
            if phrase.starts_with("the last one i ") || phrase.starts_with("the last task i ") {
                return Some(Reference::Newest);
            }
            return all_agents(words).then_some(Reference::All);
        }
    })
}

/// "all my agents", "every task", "the agents", "agents".
fn all_agents(words: &[&str]) -> bool {
    let Some((last, before)) = words.split_last() else { return false };
    let plural = matches!(*last, "agents" | "tasks" | "jobs" | "ones" | "sessions" | "runs" | "workers" | "bots");
    let single = matches!(*last, "agent" | "task" | "job" | "one")
        && before.first().is_some_and(|word| matches!(*word, "every" | "each"));
    (plural || single)
        && before.iter().all(|word| {
            ARTICLES.contains(word)
                || matches!(
                    *word,
                    "every"
                        | "each"
                        | "single"
                        | "running"
                        | "active"
                        | "live"
                        | "current"
                        | "open"
                        | "coding"
                        | "both"
                        | "other"
                )
        })
}

fn state(words: &[&str]) -> Option<Reference> {
    let content: Vec<&str> = words.iter().copied().filter(|word| !ARTICLES.contains(word)).collect();
    let (state, head) = match content[..] {
        [state, head] if AGENTS.contains(&head) || matches!(head, "job" | "session") => (state, head),
        [head, "that", "is" | "are", state] if AGENTS.contains(&head) => (state, head),
        ["whatever" | "what" | "whoever", "is", state] => (state, "one"),
        [head, "is", state] if AGENTS.contains(&head) && words.contains(&"that") => (state, head),
        [head, "waiting", "for", "me" | "approval"] | [head, "waiting", "on", "me"] if AGENTS.contains(&head) => {
            ("waiting", head)
        }
        _ => return None,
    };
    let state = match state {
        "paused" | "suspended" | "frozen" | "sleeping" => "paused",
        "waiting" | "blocked" | "asking" => "waiting",
        "running" | "active" | "working" | "busy" | "live" => "running",
        "pending" | "queued" => "pending",
        "failed" | "failing" | "broken" | "crashed" => "failed",
        "finished" | "completed" | "done" | "complete" | "merged" => "completed",
        "cancelled" | "stopped" | "canceled" => "cancelled",
        _ => return None,
    };
    Some(Reference::State { state, several: head.ends_with('s') })
}

fn number(words: &[&str]) -> Option<Reference> {
    let content: Vec<&str> = words.iter().copied().filter(|word| !ARTICLES.contains(word)).collect();
    let labels = |word: &str| {
        matches!(
            word,
            "task" | "agent" | "number" | "job" | "no" | "nr" | "num" | "item" | "session" | "run" | "nummer" | "tasks"
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

const CARDINALS: [&str; 20] = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

fn cardinal(word: &str) -> Option<usize> {
    let digits = word.trim_start_matches('#');
    if let Some(at) = CARDINALS.iter().position(|name| *name == digits) {
        return Some(at + 1);
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
fn id(words: &[&str]) -> Option<Reference> {
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

fn name(tokens: &[Token]) -> Option<Reference> {
    let words: Vec<&str> = tokens.iter().map(|token| token.word.as_str()).collect();
    let from = words.iter().take_while(|word| ARTICLES.contains(word)).count();
    let core = &words[from..];
    let (first, last) = (core.first()?, core.last()?);
    if matches!(
        *last,
        "for" | "on" | "in" | "of" | "about" | "with" | "at" | "to" | "from" | "and" | "or" | "but" | "the"
    ) {
        return None;
    }
    // "agent billing", "the one on billing", "the auth one", "the auth agent on staging".
    let begins = AGENTS.contains(first) && core.len() > 1;
    // "Tasks from other users" are not ours.
    let called = from > 0 || *first == "one";
    let joined = begins && called && !first.ends_with('s') && JOINTS.contains(&core[1]) && core.len() > 2;
    let ends = AGENTS.contains(last) && core.len() > 1 && !tokens.last()?.quoted;
    let middle = core.iter().position(|word| AGENTS.contains(word)).filter(|at| {
        *at > 0
            && core
                .get(at + 1)
                .is_some_and(|joint| matches!(*joint, "in" | "on" | "for" | "about" | "of" | "from" | "at"))
    });
    let agent = joined || ends || middle.is_some();
    let mut described = core;
    if begins {
        described = &core[1..];
    } else if ends {
        described = &core[..core.len() - 1];
    }
    let clause = if joined { &described[1..] } else { described };
    let orders = from == 0 && core.len() > 1 && super::lexicon::is_verb(first);
    let doubtful = orders || clause.iter().any(|word| CLAUSE.contains(word)) || tokens.iter().any(|token| token.quoted);
    let maybe = |word: &&str| MAYBE_AGENTS.contains(word);
    let mut content: Vec<String> = described
        .iter()
        .filter(|word| !LIGHT.contains(word) && !AGENTS.contains(word))
        .map(|word| (*word).to_owned())
        .collect();
    let person = |word: &String| {
        matches!(
            word.as_str(),
            "me" | "us"
                | "you"
                | "user"
                | "users"
                | "people"
                | "customers"
                | "someone"
                | "somebody"
                | "him"
                | "i"
                | "we"
                | "u"
        )
    };
    if content.is_empty() || content.iter().all(person) {
        return None;
    }
    // "the billing job", "the auth branch": the last word says only what kind of thing it is.
    if content.len() > 1 && content.last().is_some_and(|word| maybe(&word.as_str())) {
        content.pop();
    }
    if content.len() > 8 || content.len() > 5 && !agent {
        return None;
    }
    let bare = from == 0 && core.len() == 1;
    Some(Reference::Named(Name { words: content, agent: agent && !(doubtful && !joined), bare, doubtful }))
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::{Name, Reference, read, read_several};

    fn of(text: &str) -> Option<Reference> {
        read(&tokens(text))
    }

    fn named(text: &str) -> (String, bool) {
        match of(text) {
            Some(Reference::Named(Name { words, agent, .. })) => (words.join(" "), agent),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn tasks_are_spoken_of_by_number_and_time() {
        let plain = |number| Some(Reference::Number { number, ordinal: false });
        let ordinal = |number| Some(Reference::Number { number, ordinal: true });
        for text in ["task two", "agent number 2", "#2", "number two", "the task two", "task to", "2", "Task 2."] {
            assert_eq!(of(text), plain(2), "{text}");
        }
        for text in ["the second one", "the second", "2nd task", "the second agent"] {
            assert_eq!(of(text), ordinal(2), "{text}");
        }
        for text in ["the newest one", "the most recent task", "the latest", "the last one i started"] {
            assert_eq!(of(text), Some(Reference::Newest), "{text}");
        }
        assert_eq!(of("the last one"), Some(Reference::Last));
    }

    #[test]
    fn ids_are_written_or_spelled() {
        for text in ["a1b2c3d4", "task a1b2c3d4", "a 1 b 2 c 3 d 4", "alpha one bravo two charlie three delta four"] {
            assert_eq!(of(text), Some(Reference::Id { digits: "a1b2c3d4".to_owned(), certain: true }), "{text}");
        }
        assert_eq!(of("cafe"), Some(Reference::Id { digits: "cafe".to_owned(), certain: false }));
    }

    #[test]
    fn names_say_whether_they_are_of_agents() {
        assert_eq!(named("the auth one"), ("auth".to_owned(), true));
        assert_eq!(named("agent billing"), ("billing".to_owned(), false));
        assert_eq!(named("the one working on the login page"), ("login page".to_owned(), true));
        assert_eq!(named("billing"), ("billing".to_owned(), false));
        assert_eq!(named("the task that fixes the flaky test"), ("fixes flaky test".to_owned(), true));
        assert_eq!(named("the server from crashing"), ("server from crashing".to_owned(), false));
        assert_eq!(of("the user"), None);
    }

    #[test]
    fn all_but_some_and_several_are_told_apart() {
        assert_eq!(of("all my running agents"), Some(Reference::All));
        assert_eq!(of("everything except it"), Some(Reference::AllBut(Box::new(Reference::It))));
        assert!(matches!(read_several(&tokens("auth and billing")), Some(Reference::Each(each)) if each.len() == 2));
        assert!(
            matches!(read_several(&tokens("task one, task two and task 3")), Some(Reference::Each(each)) if each.len() == 3)
        );
    }
}
