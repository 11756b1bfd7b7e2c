//! The whole diff of a task, by file.

use std::collections::BTreeSet;

use crate::render::Line;

/// Bytes of a diff that are shown.
pub const MOST: usize = 8 << 20;

/// One file of a diff.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileDiff {
    pub path: String,
    pub added: usize,
    pub removed: usize,
    pub lines: Vec<Line>,
}

/// Takes a unified diff as git writes it apart.
pub fn parse(text: &str) -> Vec<FileDiff> {
    let mut starts: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with("diff --git ") {
            starts.push(at);
        }
        at += line.len();
    }
    if starts.is_empty() && !text.trim().is_empty() {
        starts.push(0);
    }
    let ends = starts.iter().skip(1).copied().chain(std::iter::once(text.len()));
    starts.iter().zip(ends).map(|(start, end)| file(&text[*start..end])).collect()
}

fn file(text: &str) -> FileDiff {
    let inside = |mark: char| {
        text.lines().skip_while(|line| !line.starts_with("@@")).filter(|line| line.starts_with(mark)).count()
    };
    FileDiff { path: path(text), added: inside('+'), removed: inside('-'), lines: crate::render::diff(text) }
}

/// The name of the file that a part of a diff is about: the new one, of a deleted file the old.
fn path(text: &str) -> String {
    let name = |prefix: &str| {
        let line =
            text.lines().take_while(|line| !line.starts_with("@@")).find_map(|line| line.strip_prefix(prefix))?;
        let name = line.trim_end_matches('\t').trim_matches('"');
        (name != "/dev/null").then(|| name.get(2..).unwrap_or(name).to_owned())
    };
    let renamed = || text.lines().find_map(|line| line.strip_prefix("rename to ")).map(str::to_owned);
    let heading = || text.lines().next()?.strip_prefix("diff --git a/")?.split(" b/").next().map(str::to_owned);
    let found = name("+++ ").or_else(|| name("--- ")).or_else(renamed).or_else(heading);
    crate::text::clean_line(&found.unwrap_or_else(|| "changes".to_owned()))
}

/// A row of the pane.
#[derive(Clone, Debug)]
pub enum DiffRow<'a> {
    Heading { index: usize, file: &'a FileDiff, folded: bool },
    Line(&'a Line),
}

/// What of a diff is seen.
#[derive(Debug, Default)]
pub struct DiffView {
    pub files: Option<Vec<FileDiff>>,
    /// Why it is not there.
    pub error: Option<String>,
    pub loading: bool,
    /// Something changed since it was fetched.
    pub stale: bool,
    /// The rest was too long.
    pub cut: bool,
    /// By their paths: a diff that is fetched again has others.
    folded: BTreeSet<String>,
    top: usize,
}

impl DiffView {
    fn file(&self, index: usize) -> Option<&FileDiff> {
        self.files.as_ref()?.get(index)
    }

    fn is_folded(&self, index: usize) -> bool {
        self.file(index).is_some_and(|file| self.folded.contains(&file.path))
    }

    fn rows_of(&self, index: usize) -> usize {
        if self.is_folded(index) { 1 } else { self.file(index).map_or(0, |file| file.lines.len()) + 1 }
    }

    fn total(&self) -> usize {
        (0..self.files.as_ref().map_or(0, Vec::len)).map(|index| self.rows_of(index)).sum()
    }

    pub fn scroll(&mut self, by: isize, height: usize) {
        let most = self.total().saturating_sub(height);
        self.top = self.top.saturating_add_signed(by).min(most);
    }

    pub fn jump_to_end(&mut self, height: usize) {
        self.top = self.total().saturating_sub(height);
    }

    /// Row of the heading of a file.
    fn start_of(&self, index: usize) -> usize {
        (0..index).map(|before| self.rows_of(before)).sum()
    }

    /// The file at the top of the view.
    pub fn current(&self) -> usize {
        let count = self.files.as_ref().map_or(0, Vec::len);
        (0..count).rev().find(|index| self.start_of(*index) <= self.top).unwrap_or(0)
    }

    /// Goes to the next file, or the one before.
    pub fn step(&mut self, forward: bool, height: usize) {
        let current = self.current();
        let next = match forward {
            true => current + 1,
            // First to the beginning of this one.
            false if self.start_of(current) < self.top => current,
            false => current.saturating_sub(1),
        };
        if next < self.files.as_ref().map_or(0, Vec::len) {
            self.top = self.start_of(next).min(self.total().saturating_sub(height));
        }
    }

    pub fn toggle(&mut self, index: usize, height: usize) {
        let Some(path) = self.file(index).map(|file| file.path.clone()) else { return };
        if !self.folded.remove(&path) {
            self.folded.insert(path);
            self.top = self.top.min(self.start_of(index));
        }
        self.top = self.top.min(self.total().saturating_sub(height));
    }

    pub fn toggle_all(&mut self) {
        let all: BTreeSet<String> = self.files.iter().flatten().map(|file| file.path.clone()).collect();
        self.folded = if self.folded == all { BTreeSet::new() } else { all };
        self.top = 0;
    }

    /// What is on the screen.
    pub fn shown(&self, height: usize) -> Vec<DiffRow<'_>> {
        let mut out = Vec::with_capacity(height);
        let (mut skip, files) = (self.top, self.files.as_deref().unwrap_or_default());
        for (index, file) in files.iter().enumerate() {
            let rows = self.rows_of(index);
            if skip >= rows {
                skip -= rows;
                continue;
            }
            let folded = self.is_folded(index);
            if skip == 0 {
                out.push(DiffRow::Heading { index, file, folded });
            }
            if !folded {
                let left = height.saturating_sub(out.len());
                out.extend(file.lines.iter().skip(skip.saturating_sub(1)).take(left).map(DiffRow::Line));
            }
            skip = 0;
            if out.len() >= height {
                out.truncate(height);
                break;
            }
        }
        out
    }

    /// The next row with these words, given in lower case.
    pub fn find(&mut self, words: &str, forward: bool, height: usize) -> bool {
        let mut rows = Vec::new();
        for (index, file) in self.files.iter().flatten().enumerate() {
            rows.push(file.path.to_lowercase().contains(words));
            if !self.is_folded(index) {
                rows.extend(file.lines.iter().map(|line| line.plain().to_lowercase().contains(words)));
            }
        }
        let found = if forward {
            (self.top + 1..rows.len()).find(|row| rows[*row])
        } else {
            (0..self.top.min(rows.len())).rev().find(|row| rows[*row])
        };
        if let Some(row) = found {
            self.top = row.min(self.total().saturating_sub(height));
        }
        found.is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TEXT: &str = "diff --git a/one.rs b/one.rs\nindex 1..2 100644\n--- a/one.rs\n+++ b/one.rs\n@@ -1 +1 @@\n-a\n+b\n\
        diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n\
        diff --git a/old name b/new name\nsimilarity index 100%\nrename from old name\nrename to new name\n";

    fn view() -> DiffView {
        DiffView { files: Some(parse(TEXT)), ..DiffView::default() }
    }

    #[test]
    fn files_are_found_with_what_was_added_and_removed() {
        let files = parse(TEXT);
        let facts: Vec<_> = files.iter().map(|file| (file.path.as_str(), file.added, file.removed)).collect();
        assert_eq!(facts, [("one.rs", 1, 1), ("gone", 0, 1), ("new name", 0, 0)]);
        assert!(parse("").is_empty());
        assert_eq!(parse("+only\n").len(), 1);
    }

    #[test]
    fn it_is_walked_by_file_and_folded() {
        let mut view = view();
        view.step(true, 4);
        assert_eq!(view.current(), 1);
        view.step(true, 4);
        assert_eq!(view.current(), 2);
        view.step(false, 4);
        view.step(false, 4);
        assert_eq!(view.current(), 0);
        view.toggle_all();
        assert_eq!(view.shown(10).len(), 3);
        view.toggle(1, 10);
        assert_eq!(view.shown(20).len(), 3 + parse(TEXT)[1].lines.len());
        assert_eq!(view.shown(2).len(), 2);
    }

    #[test]
    fn words_are_found_in_it() {
        let mut view = view();
        assert!(view.find("new name", true, 4));
        assert!(!view.find("nowhere", true, 4));
    }
}
