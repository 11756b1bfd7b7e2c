//! What a repository calls things.
//!
//! An engine that has never seen `claim_next` writes "claim next". So the names of the repository are collected, ranked by how
//! likely they are said and how much help they need (see `rank` for the formula), and given to it: as a
//! [prompt](Vocabulary::prompt) to Whisper, as [key terms](Vocabulary::keyterms) to others; and what it wrote in words all the
//! same is restored with their [list](Vocabulary::names).
//!
//! [`Scanner`] collects them. `walk` lists the files, `read` reads them on all cores with `tokens` (any text) and `tags` (by
//! grammar), `manifest` knows dependencies and `git` what is worked on; `index` has what is known, `cache` keeps it.

mod cache;
mod difficulty;
mod git;
mod index;
mod manifest;
mod prompt;
mod rank;
mod read;
mod scanner;
mod tags;
#[cfg(test)]
mod tests;
mod tokens;
mod walk;

pub use prompt::tokens_at_most;
pub use scanner::{Scanner, VocabularyError};

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

/// Tokens that Whisper takes of a prompt; of a longer one it takes the end.
pub const WHISPER_PROMPT: usize = 224;

impl Vocabulary {
    /// A prompt for Whisper: a list of the most useful names, the best last, since the end is what Whisper keeps and heeds most.
    /// It is no more than `max_tokens` tokens, by a count that is never too low (see [`tokens_at_most`]).
    ///
    /// Of paths, branches and titles of tasks there is no more than a fifth each, so that identifiers, which need it most, have
    /// their place.
    pub fn prompt(&self, max_tokens: usize) -> String {
        let mut names: Vec<&str> = Vec::new();
        let mut left = max_tokens;
        let mut shares = std::collections::HashMap::new();
        for term in &self.terms {
            // Whisper puts a space before the prompt; the comma is a token for itself.
            let tokens = tokens_at_most(&format!(" {}", term.text)) + 1;
            let share = match term.kind {
                TermKind::Identifier | TermKind::Dependency => None,
                kind => Some(shares.entry(kind).or_insert(max_tokens / 5)),
            };
            if tokens > left || share.as_ref().is_some_and(|share| tokens > **share) {
                // A long one does not keep out the shorter ones after it; but a few tokens are not worth the search.
                if left < 4 {
                    break;
                }
                continue;
            }
            left -= tokens;
            if let Some(share) = share {
                *share -= tokens;
            }
            names.push(&term.text);
        }
        names.reverse();
        names.join(", ")
    }

    /// The most useful names, at most `max`, for engines that take single terms. Titles of tasks are not among them.
    pub fn keyterms(&self, max: usize) -> Vec<&str> {
        let terms = self.terms.iter().filter(|term| term.kind != TermKind::Task);
        terms.take(max).map(|term| term.text.as_str()).collect()
    }

    /// All names that can be spoken as words, the most useful first. Titles of tasks are sentences, and not among them.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().filter(|term| term.kind != TermKind::Task).map(|term| term.text.as_str())
    }
}
