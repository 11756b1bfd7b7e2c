//! Who a phrase is about, as far as its words tell: "it", "task two", "the auth one", "everything but billing".

use super::counted::{self, cardinal};
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

pub(super) const ARTICLES: [&str; 12] =
    ["the", "my", "that", "this", "our", "your", "those", "these", "a", "an", "all", "of"];
/// What a task is called by everybody.
pub(super) const AGENTS: [&str; 15] = [
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
    fixed(&words)
        .or_else(|| state(&words))
        .or_else(|| counted::number(&words))
        .or_else(|| counted::id(&words))
        .or_else(|| name(tokens))
}

/// Reads the whole phrase as what a task is called.
pub(super) fn read_name(tokens: &[Token]) -> Option<Reference> {
    if tokens.is_empty() { None } else { name(tokens) }
}

/// Reads "auth and billing" as several, each of which is a reference for itself.
pub(super) fn read_several(tokens: &[Token]) -> Option<Reference> {
    let joined = |at: usize| matches!(tokens[at].word.as_str(), "and" | "plus" | "or");
    let mut parts = Vec::new();
    let mut from = usize::from(tokens.first().is_some_and(|token| token.word == "both"));
    for at in from + 1..tokens.len() {
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
    let mut numbered = false;
    let each = parts.into_iter().map(|part| {
        let part = tokens.get(part)?;
        // "Tasks one and two": the label is said once.
        let number = part.first().filter(|_| numbered && part.len() == 1).and_then(|token| cardinal(&token.word));
        let reference = match number {
            Some(number) => Reference::Number { number, ordinal: false },
            None => read(part)?,
        };
        numbered = matches!(reference, Reference::Number { .. });
        Some(reference)
    });
    each.collect::<Option<Vec<_>>>().map(Reference::Each)
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
        | "the running task" | "this job" | "that job" | "the job" | "him" | "her" | "the only one" | "the agent's"
        | "same one" | "this work" | "that work" => Reference::It,
        "the other one" | "the other" | "the other task" | "the other agent" | "other one" => Reference::Other,
        "all"
        | "it all"
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
            if words.iter().any(time) && words.iter().all(plain) {
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

fn name(tokens: &[Token]) -> Option<Reference> {
    let words: Vec<&str> = tokens.iter().map(|token| token.word.as_str()).collect();
    let from = words.iter().take_while(|word| ARTICLES.contains(word)).count();
    // "A task that …" is one that is not there yet.
    if matches!(words[0], "a" | "an" | "another") {
        return None;
    }
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
    let begins_sentence = super::lexicon::is_verb(first) || matches!(*first, "yeah" | "yep" | "nope" | "okay" | "ok");
    let orders = from == 0 && core.len() > 1 && begins_sentence;
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
    if content.len() > 1 && maybe(&content[0].as_str()) && described.get(1).is_some_and(|joint| JOINTS.contains(joint))
    {
        content.remove(0);
    }
    if content.len() > 1 && content.last().is_some_and(|word| maybe(&word.as_str())) {
        content.pop();
    }
    if content.len() > 8 || content.len() > 5 && !agent {
        return None;
    }
    let bare = from == 0 && core.len() == 1;
    Some(Reference::Named(Name { words: content, agent: agent && (joined || !doubtful), bare, doubtful }))
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
