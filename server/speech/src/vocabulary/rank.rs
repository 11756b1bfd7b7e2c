//! Which names come first.
//!
//! The weight of an identifier is
//!
//! ```text
//! difficulty × role × spread × heat × task
//! ```
//!
//! - *difficulty*: how much help it needs to be written right, see [`difficulty`](super::difficulty::difficulty).
//! - *role*: what it is at most anywhere: a type 4, a function or method 3, a constant, field or module 2, a dependency 2, called
//!   1.5, otherwise 1. It is divided by the square root of the number of files that declare it: what each part has its own of
//!   (`as_str`) tells little.
//! - *spread*: `1 + ln(1 + n) / 2` with `n = Σ ln(1 + occurrences in a file)`: ten times as often is a little more. Where it is not
//!   declared here, it is also multiplied by `ln((N + 1) / f) / ln(N + 1)` for `f` of `N` files (but at least 0.05): what is in
//!   every file and comes from elsewhere (`HashMap`, `console`) is known to the engine.
//! - *heat*: the highest of the files that have it, see [`Facts::heat`](super::git::Facts::heat); half of the excess over 1 for
//!   one that only mentions it, and 0.6 of it for tests.
//! - *task*: 2 where the title of a task has it.
//!
//! Files and directories weigh `0.6 × difficulty × heat / number of the same name`, where an ordinary name has a difficulty of
//! 0.3; branches `1.5 × 0.95^place`, the one that is checked out 6; titles of tasks `3 × 0.95^place`.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use foldhash::fast::RandomState;

use super::difficulty::difficulty;
use super::git::Facts;
use super::index::{Index, Role};
use super::tokens::{self, Style};
use super::{Term, TermKind, Vocabulary};

/// Most terms of a vocabulary.
pub const MOST_TERMS: usize = 20_000;
/// Longest title of a task that is taken, in characters.
const LONGEST_TITLE: usize = 120;
/// Longest name of a branch that is taken, in bytes.
const LONGEST_BRANCH: usize = 100;
/// Most titles of tasks.
const MOST_TASKS: usize = 100;

/// What all files together say of one name.
#[derive(Clone, Copy)]
struct Usage {
    occurrences: f32,
    files: u32,
    /// Files that declare it.
    declared: u32,
    role: Role,
    dependency: bool,
    heat: f32,
}

const UNUSED: Usage =
    Usage { occurrences: 0.0, files: 0, declared: 0, role: Role::Mentioned, dependency: false, heat: 0.0 };

/// The vocabulary of what is known. `tasks`: titles, the newest first. `heat`: see [`Facts::heat`].
pub fn vocabulary(index: &Index, facts: &Facts, heat: &HashMap<&Path, f32>, tasks: &[String]) -> Vocabulary {
    let usages = usages(index, heat);
    let titles: Vec<String> = tasks.iter().take(MOST_TASKS).filter_map(|title| clean(title)).collect();
    let mut told = tokens::Names::default();
    titles.iter().for_each(|title| tokens::collect(title.as_bytes(), Style::Code, &mut told));

    let rarest = (index.files.len() as f32 + 1.0).ln().max(f32::EPSILON);
    let weigh = |(number, usage): (u32, &Usage)| {
        let role = match usage.role {
            Role::Type => 4.0,
            Role::Function => 3.0,
            Role::Value | Role::Dependency => 2.0,
            Role::Referenced => 1.5,
            Role::Mentioned => 1.0,
        };
        let role = role / (usage.declared.max(1) as f32).sqrt();
        let mut spread = 1.0 + usage.occurrences.ln_1p() / 2.0;
        if !usage.role.is_declared() {
            spread *= (((index.files.len() as f32 + 1.0) / usage.files as f32).ln() / rarest).max(0.05);
        }
        f32::from(index.names.difficulty(number)) / 100.0 * role * spread * usage.heat
    };
    let mut weights: Vec<(f32, u32)> =
        (0..).zip(&usages).filter(|(_, usage)| usage.files > 0).map(|used| (weigh(used), used.0)).collect();
    for name in told.keys() {
        if let Some(number) = str::from_utf8(name).ok().and_then(|name| index.names.find(name))
            && let Ok(at) = weights.binary_search_by_key(&number, |(_, number)| *number)
            && let Some((weight, _)) = weights.get_mut(at)
        {
            *weight *= 2.0;
        }
    }
    if weights.len() > MOST_TERMS {
        weights.select_nth_unstable_by(MOST_TERMS, |a, b| b.0.total_cmp(&a.0));
        weights.truncate(MOST_TERMS);
    }
    let mut terms: Vec<Term> = Vec::with_capacity(weights.len());
    terms.extend(weights.into_iter().map(|(weight, number)| {
        let dependency = usages.get(number as usize).is_some_and(|usage| usage.dependency && !usage.role.is_declared());
        let kind = if dependency { TermKind::Dependency } else { TermKind::Identifier };
        Term { text: index.names.text(number).to_owned(), kind, weight }
    }));
    terms.extend(paths(index, heat));
    let branches = facts.branches.iter().filter(|name| name.len() <= LONGEST_BRANCH);
    terms.extend(branches.enumerate().map(|(place, name)| {
        let current = facts.branch.as_ref() == Some(name);
        let weight = if current { 6.0 } else { 1.5 * 0.95_f32.powf(place as f32) };
        Term { text: name.clone(), kind: TermKind::Branch, weight }
    }));
    terms.extend(titles.into_iter().enumerate().map(|(place, text)| Term {
        text,
        kind: TermKind::Task,
        weight: 3.0 * 0.95_f32.powf(place as f32),
    }));

    terms.sort_unstable_by(|a, b| b.weight.total_cmp(&a.weight).then_with(|| a.text.cmp(&b.text)));
    // A branch and a directory may have the name of an identifier: the one that weighs most stays.
    let mut seen: HashSet<&str, RandomState> = HashSet::with_capacity_and_hasher(terms.len(), RandomState::default());
    let first: Vec<bool> = terms.iter().map(|term| seen.insert(&term.text)).collect();
    let mut first = first.into_iter();
    terms.retain(|_| first.next().unwrap_or(false));
    terms.truncate(MOST_TERMS);
    Vocabulary { terms }
}

fn usages(index: &Index, heat: &HashMap<&Path, f32>) -> Vec<Usage> {
    // Logarithms of the usual counts, since there are millions.
    let logarithms: Vec<f32> = (0..64).map(|count| (count as f32).ln_1p()).collect();
    let mut usages = vec![UNUSED; index.names.len()];
    for (path, file) in &index.files {
        let heat = heat.get(path.as_path()).copied().unwrap_or(1.0);
        let share = if is_test(path) { 0.6 } else { 1.0 };
        for entry in file.entries.iter() {
            let Some(usage) = usages.get_mut(entry.name as usize) else { continue };
            let count = logarithms.get(usize::from(entry.count)).copied();
            usage.occurrences += count.unwrap_or_else(|| f32::from(entry.count).ln_1p());
            usage.files += 1;
            usage.declared += u32::from(entry.role.is_declared());
            usage.role = usage.role.max(entry.role);
            usage.dependency |= entry.role == Role::Dependency;
            let heat = if entry.role.is_declared() { heat } else { 1.0 + (heat - 1.0) / 2.0 };
            usage.heat = usage.heat.max(heat * share);
        }
    }
    usages
}

/// Whether a file tests others, by what such are called in the usual languages.
fn is_test(path: &Path) -> bool {
    let mut parts = path.iter().rev().filter_map(|part| part.to_str());
    let name = parts.next().unwrap_or_default();
    let (stem, _) = name.rsplit_once('.').unwrap_or((name, ""));
    let file = stem == "tests"
        || stem.starts_with("test_")
        || [".test", ".spec", "_test", "Test"].iter().any(|end| stem.ends_with(end));
    file || parts.any(|part| matches!(part, "test" | "tests" | "__tests__" | "spec" | "testdata" | "fixtures"))
}

/// Files by their names, and directories.
fn paths(index: &Index, heat: &HashMap<&Path, f32>) -> Vec<Term> {
    let mut names: HashMap<&str, (u32, f32), RandomState> = HashMap::default();
    let mut directories: HashSet<&Path, RandomState> = HashSet::default();
    for path in index.files.keys() {
        let warmth = heat.get(path.as_path()).copied().unwrap_or(1.0);
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| is_said(name));
        if let Some(name) = name {
            let (count, hottest) = names.entry(name).or_insert((0, warmth));
            *count += 1;
            *hottest = hottest.max(warmth);
        }
        let mut directory = path.parent();
        while let Some(path) = directory.filter(|path| !path.as_os_str().is_empty() && directories.insert(path)) {
            if let Some(name) = path.file_name().and_then(|name| name.to_str()).filter(|name| is_said(name)) {
                names.entry(name).or_insert((0, 1.0)).0 += 1;
            }
            directory = path.parent();
        }
    }
    let weigh = |(name, (count, heat)): (&str, (u32, f32))| {
        let stem = name.split_once('.').map_or(name, |(stem, _)| stem);
        let difficulty = f32::from(difficulty(stem).max(30)) / 100.0;
        Term { text: name.to_owned(), kind: TermKind::Path, weight: 0.6 * difficulty * heat / count as f32 }
    };
    let mut terms: Vec<Term> = names.into_iter().map(weigh).collect();
    if terms.len() > MOST_TERMS {
        terms
            .select_nth_unstable_by(MOST_TERMS, |a, b| b.weight.total_cmp(&a.weight).then_with(|| a.text.cmp(&b.text)));
        terms.truncate(MOST_TERMS);
    }
    terms
}

/// Whether somebody may say the name of a file.
fn is_said(name: &str) -> bool {
    tokens::LENGTHS.contains(&name.len())
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '@' | '[' | ']'))
        && !name.split(['.', '-', '_']).any(tokens::is_data)
}

/// A title in one line without control characters, of bounded length; none where nothing is left.
fn clean(title: &str) -> Option<String> {
    let words: Vec<&str> =
        title.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()).collect();
    let title: String = words.join(" ").chars().take(LONGEST_TITLE).collect();
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_known_by_what_they_are_called() {
        for path in [
            "tests/it/main.rs",
            "a/b_test.go",
            "web/app.spec.ts",
            "test_app.py",
            "src/StoreTest.java",
            "src/queue/tests.rs",
        ] {
            assert!(is_test(Path::new(path)), "{path}");
        }
        for path in ["src/testing.rs", "latest.go", "src/contest/a.py", "attestation.ts"] {
            assert!(!is_test(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_title_is_one_line_of_text() {
        assert_eq!(clean(" a\tb\n\u{1b}c ").as_deref(), Some("a b c"));
        assert_eq!(clean("\0 \n"), None);
        assert_eq!(clean(&"x".repeat(1_000)).map(|title| title.len()), Some(LONGEST_TITLE));
    }
}
