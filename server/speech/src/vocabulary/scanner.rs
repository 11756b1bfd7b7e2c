//! A tree's vocabulary, kept up to date.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::git::Facts;
use super::index::{File, Index};
use super::read::Reading;
use super::tags::Language;
use super::{Vocabulary, cache, rank, walk};

/// Files that are parsed before the first answer: the hottest ones, as long as they are no more than this together.
const FIRST_FILES: usize = 64;
const FIRST_BYTES: u64 = 512 << 10;
/// Files that count as worked on lately where git does not say it.
const RECENT_FILES: usize = 100;
/// Threads that read at most.
const MOST_THREADS: usize = 16;

/// Why there is no vocabulary, or it was not kept.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    #[error("{0} is not a directory")]
    NotADirectory(PathBuf),
    #[error("{path} cannot be opened: {source}")]
    Root { path: PathBuf, source: std::io::Error },
    /// What was found is right all the same; it will be searched for again next time.
    #[error("the vocabulary cannot be kept at {path}: {source}")]
    Cache { path: PathBuf, source: std::io::Error },
}

/// Keeps the vocabulary of one directory, which is a git checkout or not. All its calls block.
///
/// ```no_run
/// # use std::{path::Path, time::Duration};
/// # use cadence_speech::vocabulary::{Scanner, VocabularyError};
/// # fn main() -> Result<(), VocabularyError> {
/// let mut scanner = Scanner::new(Path::new("."), Path::new("/home/someone/.cache/cadence"))?;
/// let vocabulary = scanner.ready(&["Fix the login".to_owned()])?;
/// println!("{}", vocabulary.prompt(224));
/// // Behind somebody's back, a little at a time:
/// while scanner.complete(Duration::from_millis(200))? > 0 {}
/// // After an edit, or a switch of the branch:
/// let vocabulary = scanner.ready(&[])?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Scanner {
    root: PathBuf,
    cache: PathBuf,
    index: Index,
    facts: Facts,
    /// Whether the tree has been looked at.
    scanned: bool,
    /// Whether the index has what the cache does not.
    unsaved: bool,
    threads: usize,
}

impl Scanner {
    /// For the tree at `root`. What is found is kept below `cache_directory`, which needs not exist; what was kept there for the
    /// same root is used. Nothing of the tree is read yet.
    ///
    /// # Errors
    /// When `root` is not a directory.
    pub fn new(root: &Path, cache_directory: &Path) -> Result<Self, VocabularyError> {
        let root = root.canonicalize().map_err(|source| VocabularyError::Root { path: root.to_owned(), source })?;
        if !root.is_dir() {
            return Err(VocabularyError::NotADirectory(root));
        }
        let cache = cache::place(cache_directory, &root);
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(MOST_THREADS);
        let (index, facts) = (Index::default(), Facts::default());
        Ok(Self { root, cache, index, facts, scanned: false, unsaved: false, threads })
    }

    /// The vocabulary as the tree is now. The first time it reads all files that the cache does not know, later those that have
    /// changed. All words of the tree are in it, and definitions as far as keywords show them; the files that are worked on
    /// are parsed too. For the others see [`complete`](Self::complete).
    ///
    /// `tasks`: titles of tasks, the newest first; what they name counts more.
    ///
    /// # Errors
    /// When the root is gone.
    pub fn ready(&mut self, tasks: &[String]) -> Result<Vocabulary, VocabularyError> {
        if !self.root.is_dir() {
            return Err(VocabularyError::NotADirectory(self.root.clone()));
        }
        let before = self.scanned.then(|| self.facts.clone());
        let root = self.root.clone();
        self.facts = std::thread::scope(|scope| {
            let facts = scope.spawn(|| Facts::read(&root, before.as_ref()));
            self.scan();
            facts.join().unwrap_or_default()
        });
        self.scanned = true;
        let heat = self.heat();
        let mut hottest = self.incomplete(&heat);
        drop(heat);
        let mut left = FIRST_BYTES;
        hottest.retain(|path| {
            let size = self.index.files.get(path).map_or(0, |file| file.stamp.size);
            let fits = size <= left;
            left -= if fits { size } else { 0 };
            fits
        });
        hottest.truncate(FIRST_FILES);
        self.read(&hottest, true, None);
        Ok(self.vocabulary(tasks))
    }

    /// Parses files that are not yet, those that are worked on first, for about as long as `budget`; gives how many are left.
    /// With none left, what was found is saved.
    ///
    /// # Errors
    /// When it cannot be saved.
    pub fn complete(&mut self, budget: Duration) -> Result<usize, VocabularyError> {
        let until = Instant::now() + budget;
        let files = self.incomplete(&self.heat());
        self.read(&files, true, Some(until));
        let left = self.index.files.values().filter(|file| !file.complete).count();
        if left == 0 {
            self.save()?;
        }
        Ok(left)
    }

    /// The vocabulary as the tree was when it was last looked at.
    pub fn vocabulary(&self, tasks: &[String]) -> Vocabulary {
        rank::vocabulary(&self.index, &self.facts, &self.heat(), tasks)
    }

    /// Keeps what was found for the next program, if there is anything new.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&mut self) -> Result<(), VocabularyError> {
        if self.unsaved {
            cache::save(&self.cache, &self.index)
                .map_err(|source| VocabularyError::Cache { path: self.cache.clone(), source })?;
            self.unsaved = false;
        }
        Ok(())
    }

    /// Looks at all files, and reads those that are not as they were.
    fn scan(&mut self) {
        let kept = std::thread::scope(|scope| {
            let kept = (!self.scanned).then(|| scope.spawn(|| cache::load(&self.cache)));
            let found = walk::files(&self.root, self.threads);
            (kept.and_then(|kept| kept.join().ok().flatten()), found)
        });
        let (kept, found) = kept;
        if let Some(kept) = kept {
            self.index = kept;
        }
        let mut changed = Vec::new();
        let mut gone: Vec<PathBuf> = Vec::new();
        let mut known = self.index.files.iter().peekable();
        for file in &found {
            // Both are in order.
            while let Some((path, _)) = known.next_if(|(path, _)| **path < file.path) {
                gone.push(path.clone());
            }
            let same =
                known.next_if(|(path, _)| **path == file.path).is_some_and(|(_, known)| known.stamp == file.stamp);
            if !same {
                changed.push(file);
            }
        }
        gone.extend(known.map(|(path, _)| path.clone()));
        gone.iter().for_each(|path| self.index.remove(path));
        self.unsaved |= !gone.is_empty() || !changed.is_empty();
        let mut paths = Vec::new();
        for file in changed {
            let readable = walk::style(&file.path).is_some() && file.stamp.size <= walk::LARGEST;
            if readable {
                paths.push(file.path.clone());
            }
            if !readable || !self.index.files.contains_key(&file.path) {
                let empty = File { stamp: file.stamp, entries: [].into(), hash: None, complete: true };
                self.index.put(file.path.clone(), empty);
            }
        }
        self.read(&paths, false, None);
    }

    fn read(&mut self, files: &[PathBuf], parse: bool, until: Option<Instant>) {
        self.unsaved |= !files.is_empty();
        Reading { root: &self.root, threads: self.threads, parse, until }.run(files, &mut self.index);
    }

    /// How likely each file is spoken of; those that are not in it: 1.
    fn heat(&self) -> HashMap<&Path, f32> {
        let heat = self.facts.heat();
        if !heat.is_empty() {
            return heat;
        }
        // No history: what was written last is what is worked on.
        let mut files: Vec<_> =
            self.index.files.iter().map(|(path, file)| (file.stamp.modified, path.as_path())).collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        let place = |(place, (_, path)): (usize, (i64, _))| (path, 1.0 + 0.97_f32.powf(place as f32));
        files.into_iter().take(RECENT_FILES).enumerate().map(place).collect()
    }

    /// Files that are to be parsed, the hottest first.
    fn incomplete(&self, heat: &HashMap<&Path, f32>) -> Vec<PathBuf> {
        let files = self.index.files.iter().filter(|(path, file)| !file.complete && Language::of(path).is_some());
        let mut files: Vec<_> =
            files.map(|(path, _)| (heat.get(path.as_path()).copied().unwrap_or(1.0), path)).collect();
        files.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        files.into_iter().map(|(_, path)| path.clone()).collect()
    }
}
