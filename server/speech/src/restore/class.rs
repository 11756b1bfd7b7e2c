//! What part words play in a sentence, as far as a short list can tell.

/// What a word does beside a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// There is no word: the sentence or a part of it begins or ends here.
    Edge,
    Determiner,
    Preposition,
    /// "to", which comes before verbs as well as before nouns.
    To,
    Auxiliary,
    /// Also pronouns, question words and adverbs that are no part of names.
    Particle,
    /// Says what sort of name is beside it: "function", "flag".
    Cue,
    Verb,
    Other,
}

/// How many classes there are.
pub(super) const CLASSES: usize = 9;

const DETERMINERS: [&str; 22] = [
    "a", "all", "an", "another", "any", "each", "every", "its", "my", "new", "no", "old", "other", "our", "several",
    "some", "that", "the", "their", "these", "this", "your",
];

const PREPOSITIONS: [&str; 35] = [
    "about", "after", "against", "as", "at", "before", "behind", "below", "between", "by", "during", "except", "for",
    "from", "in", "inside", "into", "like", "of", "off", "on", "onto", "out", "over", "per", "since", "than",
    "through", "under", "until", "upon", "via", "when", "with", "without",
];

const AUXILIARIES: [&str; 31] = [
    "are", "be", "been", "being", "can", "can't", "cannot", "could", "did", "didn't", "do", "does", "doesn't", "don't",
    "had", "has", "have", "is", "isn't", "may", "might", "must", "no", "not", "now", "should", "was", "were", "will",
    "won't", "would",
];

const PARTICLES: [&str; 39] = [
    "also", "always", "and", "because", "but", "even", "every", "he", "here", "how", "i", "if", "instead", "it",
    "let's", "more", "never", "only", "or", "please", "she", "so", "still", "them", "then", "there", "they", "too",
    "us", "we", "what", "where", "whether", "which", "while", "who", "why", "yet", "you",
];

/// Words that say what sort of name is beside them, and the sort.
const CUES: [(&str, Sort); 50] = [
    ("annotation", Sort::Type),
    ("argument", Sort::Value),
    ("attribute", Sort::Value),
    ("branch", Sort::Tool),
    ("callback", Sort::Value),
    ("called", Sort::Any),
    ("class", Sort::Type),
    ("command", Sort::Tool),
    ("component", Sort::Type),
    ("constant", Sort::Constant),
    ("constructor", Sort::Type),
    ("crate", Sort::Tool),
    ("decorator", Sort::Value),
    ("dependency", Sort::Tool),
    ("endpoint", Sort::Any),
    ("enum", Sort::Type),
    ("error", Sort::Type),
    ("event", Sort::Any),
    ("exception", Sort::Type),
    ("extractor", Sort::Type),
    ("field", Sort::Value),
    ("file", Sort::Any),
    ("flag", Sort::Tool),
    ("function", Sort::Value),
    ("header", Sort::Tool),
    ("helper", Sort::Value),
    ("hook", Sort::Value),
    ("interface", Sort::Type),
    ("keyword", Sort::Value),
    ("macro", Sort::Value),
    ("method", Sort::Value),
    ("middleware", Sort::Any),
    ("mixin", Sort::Type),
    ("module", Sort::Any),
    ("named", Sort::Any),
    ("object", Sort::Type),
    ("option", Sort::Value),
    ("package", Sort::Tool),
    ("param", Sort::Value),
    ("parameter", Sort::Value),
    ("plugin", Sort::Any),
    ("prop", Sort::Value),
    ("property", Sort::Value),
    ("rule", Sort::Tool),
    ("setting", Sort::Any),
    ("struct", Sort::Type),
    ("table", Sort::Value),
    ("trait", Sort::Type),
    ("type", Sort::Type),
    ("variable", Sort::Value),
];

/// Verbs with which commits and requests begin, and functions' names.
const VERBS: [&str; 187] = [
    "abort",
    "accept",
    "add",
    "adjust",
    "align",
    "allow",
    "append",
    "apply",
    "ask",
    "assert",
    "assign",
    "attach",
    "avoid",
    "bind",
    "block",
    "break",
    "bring",
    "build",
    "bump",
    "cache",
    "call",
    "cancel",
    "catch",
    "change",
    "check",
    "choose",
    "clarify",
    "clean",
    "clear",
    "close",
    "collect",
    "compare",
    "compile",
    "compute",
    "configure",
    "connect",
    "consider",
    "convert",
    "copy",
    "correct",
    "count",
    "cover",
    "create",
    "decode",
    "define",
    "delete",
    "deprecate",
    "describe",
    "detect",
    "disable",
    "disallow",
    "display",
    "document",
    "drop",
    "dump",
    "emit",
    "enable",
    "encode",
    "end",
    "enforce",
    "ensure",
    "escape",
    "exclude",
    "execute",
    "exit",
    "expand",
    "expect",
    "explain",
    "export",
    "expose",
    "extend",
    "extract",
    "fail",
    "fetch",
    "fill",
    "filter",
    "find",
    "finish",
    "fix",
    "flush",
    "follow",
    "force",
    "format",
    "generate",
    "get",
    "give",
    "handle",
    "hide",
    "ignore",
    "implement",
    "import",
    "improve",
    "include",
    "init",
    "inline",
    "insert",
    "install",
    "introduce",
    "invoke",
    "join",
    "keep",
    "launch",
    "let",
    "limit",
    "link",
    "list",
    "load",
    "lock",
    "log",
    "look",
    "make",
    "map",
    "mark",
    "match",
    "measure",
    "merge",
    "migrate",
    "mock",
    "move",
    "normalize",
    "notify",
    "open",
    "optimize",
    "override",
    "parse",
    "pass",
    "patch",
    "pause",
    "pick",
    "prefer",
    "prepare",
    "prevent",
    "print",
    "process",
    "propagate",
    "provide",
    "publish",
    "pull",
    "push",
    "put",
    "raise",
    "read",
    "receive",
    "record",
    "reduce",
    "refactor",
    "reject",
    "release",
    "reload",
    "remove",
    "rename",
    "render",
    "replace",
    "report",
    "require",
    "reset",
    "resolve",
    "restore",
    "return",
    "revert",
    "rewrite",
    "run",
    "save",
    "search",
    "send",
    "serialize",
    "set",
    "show",
    "simplify",
    "skip",
    "sort",
    "specify",
    "split",
    "start",
    "stop",
    "store",
    "support",
    "switch",
    "test",
    "throw",
    "track",
    "update",
    "upgrade",
    "use",
    "validate",
    "verify",
    "write",
];

/// What sort of name a cue announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// A class or the like.
    Type,
    /// A function, a variable or the like.
    Value,
    Constant,
    /// A command line's or a package's.
    Tool,
    Any,
}

impl Class {
    /// The class of a word in lower case.
    pub fn of(word: &str) -> Self {
        let among = |list: &[&str]| list.binary_search(&word).is_ok();
        if word == "to" {
            Self::To
        } else if among(&DETERMINERS) {
            Self::Determiner
        } else if among(&PREPOSITIONS) {
            Self::Preposition
        } else if among(&AUXILIARIES) {
            Self::Auxiliary
        } else if among(&PARTICLES) {
            Self::Particle
        } else if cue(word).is_some() {
            Self::Cue
        } else if is_verb(word) || stems(word).any(|stem| is_verb(&stem)) {
            Self::Verb
        } else {
            Self::Other
        }
    }

    /// A word that holds sentences together, and names seldom begin or end with.
    pub const fn is_function_word(self) -> bool {
        matches!(self, Self::Determiner | Self::Preposition | Self::To | Self::Auxiliary | Self::Particle)
    }
}

/// Whether a word in lower case is a verb in the form in which functions' names and commits begin.
pub(super) fn is_verb(word: &str) -> bool {
    VERBS.binary_search(&word).is_ok()
}

/// What sort of name a word announces; also in the plural.
pub(super) fn cue(word: &str) -> Option<Sort> {
    let find = |word: &str| {
        CUES.binary_search_by_key(&word, |(cue, _)| cue).ok().and_then(|at| CUES.get(at)).map(|(_, sort)| *sort)
    };
    find(word)
        .or_else(|| find(word.strip_suffix("es")?))
        .or_else(|| find(word.strip_suffix('s')?))
        .or_else(|| find(&format!("{}y", word.strip_suffix("ies")?)))
}

/// What sort of name is meant beside a word that is no cue for there being a name at all.
pub(super) fn leaning(before: Option<&str>, after: Option<&str>) -> Option<Sort> {
    match (after, before) {
        (Some("instance" | "instances" | "subclass" | "subclasses"), _) => Some(Sort::Type),
        (Some("environment"), _) => Some(Sort::Constant),
        (Some("call" | "calls" | "value" | "values"), _) => Some(Sort::Value),
        (_, Some("raise" | "raises" | "raised" | "raising" | "throw" | "throws" | "thrown" | "throwing")) => {
            Some(Sort::Type)
        }
        (_, Some("extend" | "extends" | "extending" | "implement" | "implements" | "implementing")) => Some(Sort::Type),
        (_, Some("call" | "calls" | "calling" | "invoke" | "invokes" | "invoking")) => Some(Sort::Value),
        _ => None,
    }
}

/// What a verb may be a form of: "adding", "added", "adds", "removed", "stopped".
fn stems(word: &str) -> impl Iterator<Item = String> {
    ["ing", "ed", "es", "s"]
        .into_iter()
        .filter_map(|suffix| word.strip_suffix(suffix))
        .filter(|stem| stem.len() > 1)
        .flat_map(|stem| {
            let doubled = stem.as_bytes().last_chunk::<2>().is_some_and(|[a, b]| a == b);
            let single = if doubled { stem.strip_suffix(|_: char| true).unwrap_or(stem) } else { stem };
            [stem.to_owned(), format!("{stem}e"), single.to_owned()]
        })
}

#[cfg(test)]
mod tests {
    use super::{AUXILIARIES, CUES, Class, DETERMINERS, PARTICLES, PREPOSITIONS, Sort, VERBS, cue};

    #[test]
    fn lists_are_sorted() {
        for list in [&DETERMINERS[..], &PREPOSITIONS, &AUXILIARIES, &VERBS] {
            assert!(list.is_sorted(), "{list:?}");
        }
        assert!(CUES.is_sorted_by_key(|(word, _)| *word));
        let mut particles = PARTICLES;
        particles.sort_unstable();
        assert_eq!(particles, PARTICLES);
    }

    #[test]
    fn forms_of_words_are_known() {
        for verb in ["add", "adding", "removed", "stopped", "fixes", "using"] {
            assert_eq!(Class::of(verb), Class::Verb, "{verb}");
        }
        assert_eq!(cue("properties"), Some(Sort::Value));
        assert_eq!(cue("classes"), Some(Sort::Type));
        assert_eq!(Class::of("to"), Class::To);
        assert_eq!(Class::of("banana"), Class::Other);
    }
}
