//! What a repository calls things.

/// What a term names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TermKind {
    Identifier,
    Path,
    Dependency,
    Branch,
    Task,
}

/// A name that may be spoken of.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Term {
    pub text: String,
    pub kind: TermKind,
    /// How likely it is spoken of, beside the others; no unit.
    pub weight: f32,
}

/// The names of a repository, the most useful first.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Vocabulary {
    pub terms: Vec<Term>,
}
