//! What is defined and what is referred to, from the syntax tree of a file.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tree_sitter::{ParseOptions, Parser, Query, QueryCursor, QueryCursorOptions, StreamingIterator};

use super::index::Role;
use super::tokens::Names;

/// How long one file may take, to bound what a file made for it could cost.
const LIMIT: Duration = Duration::from_secs(1);
/// Matches that may be open at a time; the queries hardly nest.
const OPEN_MATCHES: u32 = 4_096;

/// A language whose definitions are known by its grammar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Language {
    Rust,
    TypeScript,
    Tsx,
    JavaScript,
    Python,
    Go,
    Java,
}

impl Language {
    pub const ALL: [Self; 7] =
        [Self::Rust, Self::TypeScript, Self::Tsx, Self::JavaScript, Self::Python, Self::Go, Self::Java];

    pub fn of(path: &Path) -> Option<Self> {
        Some(match path.extension()?.to_str()? {
            "rs" => Self::Rust,
            "ts" | "mts" | "cts" => Self::TypeScript,
            "tsx" => Self::Tsx,
            "js" | "mjs" | "cjs" | "jsx" => Self::JavaScript,
            "py" | "pyi" => Self::Python,
            "go" => Self::Go,
            "java" => Self::Java,
            _ => return None,
        })
    }

    fn grammar(self) -> tree_sitter::Language {
        match self {
            Self::Rust => tree_sitter_rust::LANGUAGE.into(),
            Self::TypeScript => tree_sitter_typescript::LANGUAGE_TYPESCRIPT.into(),
            Self::Tsx => tree_sitter_typescript::LANGUAGE_TSX.into(),
            Self::JavaScript => tree_sitter_javascript::LANGUAGE.into(),
            Self::Python => tree_sitter_python::LANGUAGE.into(),
            Self::Go => tree_sitter_go::LANGUAGE.into(),
            Self::Java => tree_sitter_java::LANGUAGE.into(),
        }
    }

    /// What captures the names; the capture's name is the role.
    fn queries(self) -> &'static [&'static str] {
        const JAVASCRIPT: &str = include_str!("queries/javascript.scm");
        const TYPESCRIPT: &str = include_str!("queries/typescript.scm");
        const JSX: &str = include_str!("queries/jsx.scm");
        match self {
            Self::Rust => &[include_str!("queries/rust.scm")],
            Self::TypeScript => &[JAVASCRIPT, TYPESCRIPT],
            Self::Tsx => &[JAVASCRIPT, TYPESCRIPT, JSX],
            Self::JavaScript => &[JAVASCRIPT, include_str!("queries/javascript-classes.scm"), JSX],
            Self::Python => &[include_str!("queries/python.scm")],
            Self::Go => &[include_str!("queries/go.scm")],
            Self::Java => &[include_str!("queries/java.scm")],
        }
    }
}

/// A grammar with its query, and the role of each capture by its number.
struct Tagger {
    language: tree_sitter::Language,
    query: Query,
    roles: Vec<Role>,
}

impl Tagger {
    /// None where the query does not fit the grammar, which a test rules out.
    fn new(language: Language) -> Option<Self> {
        let (language, text) = (language.grammar(), language.queries().concat());
        let query = Query::new(&language, &text).inspect_err(|error| tracing::error!(%error, "query of tags")).ok()?;
        let role = |name: &&str| match *name {
            "type" => Role::Type,
            "function" => Role::Function,
            "value" => Role::Value,
            _ => Role::Referenced,
        };
        let roles = query.capture_names().iter().map(role).collect();
        Some(Self { language, query, roles })
    }

    fn of(language: Language) -> Option<&'static Self> {
        static TAGGERS: [LazyLock<Option<Tagger>>; Language::ALL.len()] = [
            LazyLock::new(|| Tagger::new(Language::Rust)),
            LazyLock::new(|| Tagger::new(Language::TypeScript)),
            LazyLock::new(|| Tagger::new(Language::Tsx)),
            LazyLock::new(|| Tagger::new(Language::JavaScript)),
            LazyLock::new(|| Tagger::new(Language::Python)),
            LazyLock::new(|| Tagger::new(Language::Go)),
            LazyLock::new(|| Tagger::new(Language::Java)),
        ];
        TAGGERS.get(language as usize).and_then(|tagger| tagger.as_ref())
    }
}

thread_local! {
    static TOOLS: RefCell<(Parser, QueryCursor)> = RefCell::new((Parser::new(), QueryCursor::new()));
}

/// Raises the roles of the names in `text` to what its syntax says. What the grammar does not understand, or what takes too
/// long, is left as it is.
pub fn collect<'a>(text: &'a [u8], language: Language, names: &mut Names<'a>) {
    let Some(tagger) = Tagger::of(language) else { return };
    let until = Instant::now() + LIMIT;
    TOOLS.with_borrow_mut(|(parser, cursor)| {
        if parser.set_language(&tagger.language).is_err() {
            return;
        }
        parser.reset();
        let mut late = |_: &tree_sitter::ParseState| stop_after(until);
        let options = ParseOptions::new().progress_callback(&mut late);
        let mut read = |at: usize, _| text.get(at..).unwrap_or_default();
        let Some(tree) = parser.parse_with_options(&mut read, None, Some(options)) else { return };
        cursor.set_match_limit(OPEN_MATCHES);
        let mut late = |_: &tree_sitter::QueryCursorState| stop_after(until);
        let options = QueryCursorOptions::new().progress_callback(&mut late);
        let mut matches = cursor.matches_with_options(&tagger.query, tree.root_node(), text, options);
        while let Some(found) = matches.next() {
            for capture in found.captures() {
                let Some(mut name) = text.get(capture.node.byte_range()) else { continue };
                while let [b'#' | b'$', rest @ ..] = name {
                    name = rest;
                }
                let Some(&role) = tagger.roles.get(capture.index as usize) else { continue };
                // The tokenizer knows what a name may be; what it did not take is none.
                if let Some((_, known)) = names.get_mut(name) {
                    *known = (*known).max(role);
                }
            }
        }
    });
}

fn stop_after(until: Instant) -> ControlFlow<()> {
    if Instant::now() < until { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::tokens::{self, Style};
    use super::*;

    /// What is found in a text beyond its mentions, by role.
    fn roles(language: Language, text: &str) -> Vec<(Role, String)> {
        let mut names = Names::default();
        tokens::collect(text.as_bytes(), Style::Code, &mut names);
        // What keywords say is for the first pass; here it is the syntax that is asked.
        names.values_mut().for_each(|(_, role)| *role = Role::Mentioned);
        collect(text.as_bytes(), language, &mut names);
        let mut roles: Vec<_> =
            names.into_iter().map(|(name, (_, role))| (role, String::from_utf8_lossy(name).into_owned())).collect();
        roles.retain(|(role, _)| *role > Role::Mentioned);
        roles.sort();
        roles
    }

    fn of(role: Role, found: &[(Role, String)]) -> Vec<&str> {
        found.iter().filter(|(known, _)| *known == role).map(|(_, name)| name.as_str()).collect()
    }

    /// Each query fits its grammar, and each language shows types, functions, values and references.
    #[test]
    fn each_language_has_its_definitions_and_references() {
        let table = [
            (
                Language::Rust,
                "mod fan_out { pub struct TaskStore { leases: u8 } trait Claim { fn claim_next(&self); } const MAX_AGE: u8 = 1;\n\
                 impl TaskStore { fn open() -> Lease { let local_value = spawn_host(); connect.and_then(x) } } }",
                ["Claim", "TaskStore"].as_slice(),
                ["claim_next", "open"].as_slice(),
                ["MAX_AGE", "fan_out", "leases"].as_slice(),
                ["Lease", "and_then", "spawn_host"].as_slice(),
            ),
            (
                Language::TypeScript,
                "export interface TaskStore { leases: number; claimNext(): Lease }\ntype Claim = string;\n\
                 enum Color { Red, Green = 2 }\nexport const maxAge = 1;\nconst useTask = () => { const local = fetchTask(); };",
                &["Claim", "Color", "TaskStore"],
                &["claimNext", "useTask"],
                &["Green", "Red", "leases", "maxAge"],
                &["Lease", "fetchTask"],
            ),
            (
                Language::Tsx,
                "class TaskPane extends Component<Props> { readonly pane = 1; render() { return <StatusBar on={useTask()} />; } }",
                &["TaskPane"],
                &["render"],
                &["pane"],
                &["Props", "StatusBar", "useTask"],
            ),
            (
                Language::JavaScript,
                "class TaskPane { state = 1; draw() { return new Canvas(); } }\nfunction walkTree() {}\nconst LIMIT = 3;\n\
                 module.exports.openStore = () => walkTree();\nconst element = <Meter />;",
                &["TaskPane"],
                &["draw", "openStore", "walkTree"],
                &["LIMIT", "element", "state"],
                &["Canvas", "Meter"],
            ),
            (
                Language::Python,
                "MAX_AGE = 3\n@cached\nclass TaskStore:\n    leases = 1\n    async def claim_next(self):\n        local = open_store()\n        self.host.spawn_host()\n",
                &["TaskStore"],
                &["claim_next"],
                &["MAX_AGE", "leases"],
                &["cached", "open_store", "spawn_host"],
            ),
            (
                Language::Go,
                "package fanout\ntype TaskStore struct { leases int }\ntype Claim interface { ClaimNext() Lease }\nconst MaxAge = 1\n\
                 var (\n\tglobal = 1\n)\nfunc (s *TaskStore) Open() { local := spawnHost(); s.host.Connect(local) }",
                &["Claim", "TaskStore"],
                &["ClaimNext", "Open"],
                &["MaxAge", "fanout", "global", "leases"],
                &["Connect", "Lease", "int", "spawnHost"],
            ),
            (
                Language::Java,
                "class TaskStore { int leases; Lease claimNext() { int local = spawnHost(); return new Claim(); } }\n\
                 enum Color { RED }\ninterface Store {}\nrecord Point(int first) {}",
                &["Color", "Point", "Store", "TaskStore"],
                &["claimNext"],
                &["RED", "leases"],
                &["Claim", "Lease", "spawnHost"],
            ),
        ];
        for (language, text, types, functions, values, references) in table {
            let found = roles(language, text);
            assert_eq!(of(Role::Type, &found), types, "{language:?}");
            assert_eq!(of(Role::Function, &found), functions, "{language:?}");
            assert_eq!(of(Role::Value, &found), values, "{language:?}");
            assert_eq!(of(Role::Referenced, &found), references, "{language:?}");
        }
    }

    #[test]
    fn what_is_no_code_is_survived() {
        let deep = "(".repeat(2_000);
        for language in Language::ALL {
            for text in [deep.as_str(), "}{", "", "class \u{0} fn \u{1f600}", "struct"] {
                roles(language, text);
            }
        }
    }
}
