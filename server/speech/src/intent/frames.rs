//! The grammar's rules: patterns over words, read once from `grammar.txt`.
//!
//! A pattern is words with `(a|b)` for alternatives, `[a]` for what may be left out, `$name` for a pattern that was given a
//! name before, `@` for who is spoken of and `*` for all that follows. A word with a comma wants a break after it, a comma alone
//! one where it stands.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use cadence_protocol::Intent;

use super::tokens::Token;

/// Most words that name who is spoken of.
const LONGEST_TARGET: usize = 12;
/// Most rules that are taken for one sentence.
const MOST_MATCHES: usize = 64;

#[derive(Debug)]
enum Node {
    Word { text: &'static str, breaks: bool },
    Sequence(Vec<Node>),
    Any(Vec<Node>),
    Maybe(Box<Node>),
    Named(Arc<Node>),
    Break,
    Target,
    Rest,
}

/// What a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    /// Words before what is meant.
    Opener,
    /// Words after what is meant.
    Closer,
    /// What people say that wants nothing.
    Talk,
    /// Words that ask for a task before it is named.
    Create,
    Command(Intent),
}

/// Who a command without a name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The one that is spoken of, or the only one.
    One,
    /// All of them, unless one is evidently spoken of.
    Loose,
    /// All of them.
    All,
}

#[derive(Debug)]
pub(super) struct Rule {
    pub act: Act,
    pub scope: Scope,
    /// Its words also begin ordinary tasks: who is spoken of must be said beyond doubt.
    pub guarded: bool,
    /// Nor does a pronoun say it.
    pub by_name: bool,
    /// The highest confidence that it gives.
    pub most: f64,
    pattern: Node,
}

/// A rule that fits, with the words in its places.
#[derive(Clone, Debug)]
pub(super) struct Match<'g> {
    pub rule: &'g Rule,
    pub target: Option<Range<usize>>,
    pub rest: Option<usize>,
    /// Where it ends.
    pub end: usize,
}

#[derive(Debug, Default)]
pub(super) struct Grammar {
    rules: Vec<Rule>,
}

pub(super) static GRAMMAR: LazyLock<Grammar> = LazyLock::new(|| {
    // A test reads the whole file; a rule that cannot be read is not worth a server that does not start.
    let (grammar, faults) = Grammar::read(include_str!("grammar.txt"));
    for fault in faults {
        tracing::error!("grammar: {fault}");
    }
    grammar
});

impl Grammar {
    /// The rules of a text, and what is wrong in it.
    fn read(text: &'static str) -> (Self, Vec<String>) {
        let (mut grammar, mut names, mut faults) = (Self::default(), HashMap::new(), Vec::new());
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = match (line.strip_prefix('$').and_then(|line| line.split_once(" = ")), line.split_once(": ")) {
                (Some((name, pattern)), _) => Reader::pattern(pattern, &names).map(|node| {
                    names.insert(name, Arc::new(node));
                }),
                (None, Some((head, pattern))) => head_of(head).and_then(|head| {
                    let pattern = Reader::pattern(pattern, &names)?;
                    let Head { act, scope, guarded, by_name, most } = head;
                    grammar.rules.push(Rule { act, scope, guarded, by_name, most, pattern });
                    Ok(())
                }),
                (None, None) => Err("neither a rule nor a name".to_owned()),
            };
            if let Err(fault) = read {
                faults.push(format!("line {}: {fault}", number + 1));
            }
        }
        (grammar, faults)
    }

    /// Commands that the whole sentence is.
    pub(super) fn commands(&self, words: &[Token]) -> Vec<Match<'_>> {
        self.matches(words, |act| matches!(act, Act::Command(_))).filter(|found| found.end == words.len()).collect()
    }

    /// Whether the whole sentence is something that wants nothing.
    pub(super) fn is_talk(&self, words: &[Token]) -> bool {
        self.matches(words, |act| act == Act::Talk).any(|found| found.end == words.len())
    }

    /// Where a named task begins that is asked for in so many words.
    pub(super) fn asks_for_task(&self, words: &[Token]) -> Option<usize> {
        self.matches(words, |act| act == Act::Create).filter_map(|found| found.rest).max()
    }

    /// How many words at the beginning are only manners.
    pub(super) fn opener(&self, words: &[Token]) -> usize {
        self.matches(words, |act| act == Act::Opener).map(|found| found.end).max().unwrap_or(0)
    }

    /// How many words at the end are only manners.
    pub(super) fn closer(&self, words: &[Token]) -> usize {
        (0..words.len())
            .skip(words.len().saturating_sub(6))
            .find(|&from| {
                self.matches(&words[from..], |act| act == Act::Closer).any(|found| found.end == words.len() - from)
            })
            .map_or(0, |from| words.len() - from)
    }

    fn matches(&self, words: &[Token], wanted: impl Fn(Act) -> bool) -> impl Iterator<Item = Match<'_>> {
        let mut found: Vec<Match<'_>> = Vec::new();
        for rule in self.rules.iter().filter(|rule| wanted(rule.act)) {
            rule.pattern.walk(words, 0, Places::default(), &mut |end, places| {
                if found.len() < MOST_MATCHES {
                    found.push(Match { rule, target: places.target, rest: places.rest, end });
                }
            });
        }
        found.into_iter()
    }
}

struct Head {
    act: Act,
    scope: Scope,
    guarded: bool,
    by_name: bool,
    most: f64,
}

/// `stop`, `stop~` (guarded), `message~^` (by name), `status?` (loose), `status*` (all), with a highest confidence or without.
fn head_of(head: &str) -> Result<Head, String> {
    let (name, most) = head.split_once(' ').unwrap_or((head, "1"));
    let most = most.parse().map_err(|_| format!("`{most}` is no number"))?;
    let marks = |c| matches!(c, '~' | '^' | '?' | '*');
    let act = match name.trim_end_matches(marks) {
        "opener" => Act::Opener,
        "closer" => Act::Closer,
        "talk" => Act::Talk,
        "create" => Act::Create,
        "status" => Act::Command(Intent::CheckStatus),
        "list" => Act::Command(Intent::ListAgents),
        "pause" => Act::Command(Intent::PauseAgent),
        "resume" => Act::Command(Intent::ResumeAgent),
        "stop" => Act::Command(Intent::StopAgent),
        "message" => Act::Command(Intent::SendMessage),
        "approve" => Act::Command(Intent::Approve),
        "deny" => Act::Command(Intent::Deny),
        other => return Err(format!("`{other}` is no kind of rule")),
    };
    let scope = match () {
        () if name.contains('*') => Scope::All,
        () if name.contains('?') => Scope::Loose,
        () => Scope::One,
    };
    Ok(Head { act, scope, guarded: name.contains('~'), by_name: name.contains('^'), most })
}

#[derive(Clone, Debug, Default)]
struct Places {
    target: Option<Range<usize>>,
    rest: Option<usize>,
}

impl Node {
    /// Calls `next` with each end that the pattern can have from `at`.
    fn walk(&self, words: &[Token], at: usize, places: Places, next: &mut dyn FnMut(usize, Places)) {
        match self {
            Self::Word { text, breaks } => {
                if let Some(token) = words.get(at)
                    && token.word == *text
                    && !token.quoted
                    && (!breaks || token.stop)
                {
                    next(at + 1, places);
                }
            }
            Self::Sequence(nodes) => sequence(nodes, words, at, places, next),
            Self::Any(nodes) => {
                for node in nodes {
                    node.walk(words, at, places.clone(), next);
                }
            }
            Self::Maybe(node) => {
                node.walk(words, at, places.clone(), next);
                next(at, places);
            }
            Self::Break => {
                if at.checked_sub(1).is_some_and(|before| words[before].stop) {
                    next(at, places);
                }
            }
            Self::Named(node) => node.walk(words, at, places, next),
            Self::Target => {
                for end in at + 1..=words.len().min(at + LONGEST_TARGET) {
                    next(end, Places { target: Some(at..end), ..places.clone() });
                }
            }
            Self::Rest => {
                if at < words.len() {
                    next(words.len(), Places { rest: Some(at), ..places });
                }
            }
        }
    }
}

fn sequence(nodes: &[Node], words: &[Token], at: usize, places: Places, next: &mut dyn FnMut(usize, Places)) {
    match nodes.split_first() {
        None => next(at, places),
        Some((first, others)) => {
            first.walk(words, at, places, &mut |at, places| sequence(others, words, at, places, next));
        }
    }
}

struct Reader<'n> {
    left: &'static str,
    names: &'n HashMap<&'static str, Arc<Node>>,
}

impl<'n> Reader<'n> {
    fn pattern(text: &'static str, names: &'n HashMap<&'static str, Arc<Node>>) -> Result<Node, String> {
        let mut reader = Self { left: text.trim(), names };
        let node = reader.any()?;
        if reader.left.is_empty() { Ok(node) } else { Err(format!("`{}` is too much", reader.left)) }
    }

    fn any(&mut self) -> Result<Node, String> {
        let mut ways = vec![self.sequence()?];
        while self.takes("|") {
            ways.push(self.sequence()?);
        }
        Ok(if ways.len() == 1 { ways.remove(0) } else { Node::Any(ways) })
    }

    fn sequence(&mut self) -> Result<Node, String> {
        let mut nodes = Vec::new();
        loop {
            self.left = self.left.trim_start();
            if self.left.is_empty() || self.left.starts_with(['|', ')', ']']) {
                break;
            }
            let node = if self.takes("(") {
                let node = self.any()?;
                self.wants(")")?;
                node
            } else if self.takes("[") {
                let node = self.any()?;
                self.wants("]")?;
                Node::Maybe(Box::new(node))
            } else if self.takes("@") {
                Node::Target
            } else if self.takes("*") {
                Node::Rest
            } else if self.takes(",") {
                Node::Break
            } else {
                let end = self.left.find([' ', '(', ')', '[', ']', '|']).unwrap_or(self.left.len());
                let (word, left) = self.left.split_at(end);
                self.left = left;
                match (word.strip_prefix('$'), word.strip_suffix(',')) {
                    (Some(name), _) => Node::Named(self.names.get(name).ok_or(format!("no `${name}` yet"))?.clone()),
                    (None, Some(text)) => Node::Word { text, breaks: true },
                    (None, None) => Node::Word { text: word, breaks: false },
                }
            };
            nodes.push(node);
        }
        match nodes.len() {
            0 => Err("an empty pattern".to_owned()),
            1 => Ok(nodes.remove(0)),
            _ => Ok(Node::Sequence(nodes)),
        }
    }

    fn takes(&mut self, mark: &str) -> bool {
        self.left = self.left.trim_start();
        let left = self.left.strip_prefix(mark);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    fn wants(&mut self, mark: &str) -> Result<(), String> {
        if self.takes(mark) { Ok(()) } else { Err(format!("`{mark}` is missing before `{}`", self.left)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tokens::tokens;
    use super::{Act, Grammar, Intent};

    #[test]
    fn the_grammar_can_be_read() {
        let (grammar, faults) = Grammar::read(include_str!("grammar.txt"));
        assert_eq!(faults, [""; 0]);
        for intent in Intent::ALL.into_iter().filter(|i| !matches!(i, Intent::Unknown | Intent::CreateAgent)) {
            assert!(grammar.rules.iter().any(|rule| rule.act == Act::Command(intent)), "{intent} has no rule");
        }
    }

    #[test]
    fn faults_are_told_by_line() {
        let (_, faults) = Grammar::read("stop: (stop\nfly: up\n$a = $b\nstop many: halt\nstop:  [ ]\nhalt");
        let lines: Vec<_> = faults.iter().map(|fault| fault.split(':').next().unwrap()).collect();
        assert_eq!(lines, ["line 1", "line 2", "line 3", "line 4", "line 5", "line 6"], "{faults:?}");
    }

    #[test]
    fn places_are_found_and_quoted_words_are_no_verbs() {
        let (grammar, faults) = Grammar::read("$do = (stop|shut down)\nstop: $do [@]\nmessage: tell @ to *");
        assert_eq!(faults, [""; 0]);
        let found =
            |text: &str| grammar.commands(&tokens(text)).iter().map(|m| (m.target.clone(), m.rest)).collect::<Vec<_>>();
        assert_eq!(found("shut down"), [(None, None)]);
        assert_eq!(found("Stop the auth one!"), [(Some(1..4), None)]);
        assert_eq!(found("tell a to b to c"), [(Some(1..2), Some(3)), (Some(1..4), Some(5))]);
        assert_eq!(found("\"stop\" it"), []);
        assert_eq!(found("tell a to"), []);
    }
}
