//! How much of what was said is restored, and how much is changed that should not be, on sentences from real projects.
//! tests/fixtures/speech/README.md tells where they are from. The benchmark has this file, too.

use std::path::Path;

use serde::Deserialize;

use super::Lexicon;

/// Sentences of a project, with what it calls things.
#[derive(Deserialize)]
pub struct Project {
    pub project: String,
    pub part: String,
    pub names: Vec<String>,
    exact: Vec<Sentence>,
    misheard: Vec<Sentence>,
    /// Sentences without an identifier that speak of what has one.
    mentions: Vec<String>,
    pub ordinary: Vec<String>,
}

#[derive(Deserialize)]
struct Sentence {
    said: String,
    /// The names that it should have again.
    names: Vec<String>,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    pub hits: usize,
    pub of: usize,
}

impl Share {
    pub fn percent(self) -> f64 {
        100.0 * self.hits as f64 / self.of.max(1) as f64
    }

    const fn and(self, other: Self) -> Self {
        Self { hits: self.hits + other.hits, of: self.of + other.of }
    }

    fn add(&mut self, hit: bool) {
        self.hits += usize::from(hit);
        self.of += 1;
    }
}

/// What came of one part of the projects.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Names of several words that were heard as they are spoken, and restored.
    pub exact: Share,
    /// Names of one word that are not in lower case ("blueprint" for `Blueprint`).
    pub single: Share,
    /// Names in which words were misheard.
    pub misheard: Share,
    /// Names of several words, heard as they are spoken or misheard.
    pub together: Share,
    /// Sentences of other projects that were changed: nothing in them can be meant.
    pub changed: Share,
    /// Ordinary sentences of the same project that were changed.
    pub changed_at_home: Share,
    /// Sentences of the same project that were changed and speak of what has a name ("fix the response writer"): that is neither right nor
    /// wrong.
    pub mentions: Share,
}

pub fn projects() -> Vec<Project> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .find(|path| path.join("tests/fixtures/speech").is_dir())
        .unwrap();
    let mut paths: Vec<_> = std::fs::read_dir(directory.join("tests/fixtures/speech/restore"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()).collect()
}

/// The figures of the projects of a part: "tuning", "held out" or "untouched".
pub fn measure(projects: &[Project], part: &str) -> Figures {
    let mut figures = Figures::default();
    let projects: Vec<_> = projects.iter().filter(|project| project.part == part).collect();
    for project in &projects {
        let lexicon = Lexicon::new(&project.names, &[]);
        for sentence in &project.exact {
            let restored = lexicon.restore(&sentence.said).text;
            for name in &sentence.names {
                let several = words(name) > 1;
                if several {
                    figures.exact.add(has(&restored, name, &sentence.names));
                } else {
                    figures.single.add(has(&restored, name, &sentence.names));
                }
            }
        }
        for sentence in &project.misheard {
            let restored = lexicon.restore(&sentence.said).text;
            sentence.names.iter().for_each(|name| figures.misheard.add(has(&restored, name, &sentence.names)));
        }
        for other in &projects {
            let home = other.project == project.project;
            for sentence in &other.ordinary {
                let changed = lexicon.restore(sentence).text != *sentence;
                if home { figures.changed_at_home.add(changed) } else { figures.changed.add(changed) }
            }
            for sentence in &other.mentions {
                let changed = lexicon.restore(sentence).text != *sentence;
                if home { figures.mentions.add(changed) } else { figures.changed.add(changed) }
            }
        }
    }
    figures.together = figures.exact.and(figures.misheard);
    figures
}

/// In how many words a name is spoken, about.
fn words(name: &str) -> usize {
    let mut before = '_';
    let begins = |c: char| {
        let begins = c.is_alphanumeric()
            && (!before.is_alphanumeric()
                || c.is_uppercase() && before.is_lowercase()
                || c.is_numeric() != before.is_numeric());
        before = c;
        begins
    };
    name.chars().map(begins).filter(|begins| *begins).count()
}

/// Whether a text has a name as a word of its own as often as it should.
fn has(text: &str, name: &str, names: &[String]) -> bool {
    let wanted = names.iter().filter(|other| *other == name).count();
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let found = text
        .match_indices(name)
        .filter(|(at, _)| !text[..*at].ends_with(part) && !text[at + name.len()..].starts_with(part))
        .count();
    found >= wanted
}
