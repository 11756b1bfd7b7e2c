//! What is known of a tree: its names, and for each file what it says of them.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::difficulty::difficulty;

/// What a name is in a file, the least telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// It occurs.
    Mentioned,
    /// It is called or otherwise referred to.
    Referenced,
    /// A manifest depends on it.
    Dependency,
    /// A constant, field, variant, module or other value is declared with it.
    Value,
    /// A function or method is declared with it.
    Function,
    /// A type is declared with it.
    Type,
}

impl Role {
    pub const ALL: [Self; 6] =
        [Self::Mentioned, Self::Referenced, Self::Dependency, Self::Value, Self::Function, Self::Type];

    pub fn is_declared(self) -> bool {
        self >= Self::Value
    }
}

/// What one file says of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: u32,
    /// How often it occurs there, as far as the number goes.
    pub count: u16,
    pub role: Role,
}

/// SHA-256 of a file's content.
pub type Hash = [u8; 32];

/// By what it is seen that a file has not changed, as git does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stamp {
    pub size: u64,
    /// Of the last change of the content, in nanoseconds since 1970.
    pub modified: i64,
    /// Of the last change of the file itself, which no program can set.
    pub changed: i64,
    pub inode: u64,
}

/// What is known of one file.
#[derive(Clone, Debug)]
pub struct File {
    pub stamp: Stamp,
    pub entries: Arc<[Entry]>,
    /// Of its content; known once it was parsed.
    pub hash: Option<Hash>,
    /// Whether its language has been parsed, or it has none that is.
    pub complete: bool,
}

/// Names by number. A name that needs no help (see [`difficulty`]) has none.
#[derive(Debug, Default)]
pub struct Names {
    texts: Vec<Arc<str>>,
    difficulties: Vec<u8>,
    numbers: HashMap<Arc<str>, Option<u32>, RandomState>,
}

/// Most names of a tree; what comes after is left out. Bounds memory on trees of generated code.
const MOST_NAMES: usize = 1 << 20;

impl Names {
    /// The name's number, a new one where it is new; none where it is not taken.
    pub fn number(&mut self, text: &str) -> Option<u32> {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        if self.numbers.len() >= 2 * MOST_NAMES {
            return None;
        }
        let difficulty = difficulty(text);
        self.add(text.into(), difficulty)
    }

    /// As [`number`](Self::number) for a name whose difficulty is known.
    pub fn insert(&mut self, text: Arc<str>, difficulty: u8) -> Option<u32> {
        match self.numbers.get(&text) {
            Some(number) => *number,
            None => self.add(text, difficulty),
        }
    }

    fn add(&mut self, text: Arc<str>, difficulty: u8) -> Option<u32> {
        let number = u32::try_from(self.texts.len()).ok().filter(|_| difficulty > 0 && self.texts.len() < MOST_NAMES);
        if number.is_some() {
            self.texts.push(text.clone());
            self.difficulties.push(difficulty);
        }
        self.numbers.insert(text, number);
        number
    }

    /// The number of a name that is taken.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.numbers.get(text).copied().flatten()
    }

    pub fn len(&self) -> usize {
        self.texts.len()
    }

    pub fn text(&self, number: u32) -> &str {
        self.texts.get(number as usize).map_or("", |text| text)
    }

    pub fn difficulty(&self, number: u32) -> u8 {
        self.difficulties.get(number as usize).copied().unwrap_or(0)
    }

    /// Takes in the names of `other`: their numbers here by their numbers there.
    pub fn take_in(&mut self, other: Self) -> Vec<Option<u32>> {
        if self.numbers.is_empty() {
            *self = other;
            return (0..).map(Some).take(self.len()).collect();
        }
        let names = other.texts.iter().zip(&other.difficulties);
        names.map(|(text, difficulty)| self.insert(text.clone(), *difficulty)).collect()
    }
}

/// All that is known of a tree. Paths are relative to its root.
#[derive(Debug, Default)]
pub struct Index {
    pub names: Names,
    pub files: BTreeMap<PathBuf, File>,
    /// What parsing gave for contents that no file has now, as after a switch of the branch; the newest last.
    pub former: Vec<(Hash, Arc<[Entry]>)>,
}

/// Most contents that are remembered without a file.
pub const MOST_FORMER: usize = 4_096;

impl Index {
    /// Forgets a file, but not what parsing its content gave.
    pub fn remove(&mut self, path: &std::path::Path) {
        if let Some(file) = self.files.remove(path) {
            self.remember(file);
        }
    }

    /// Puts what is now known of a file in the place of what was.
    pub fn put(&mut self, path: PathBuf, file: File) {
        let hash = file.hash;
        if let Some(old) = self.files.insert(path, file).filter(|old| old.hash != hash) {
            self.remember(old);
        }
    }

    fn remember(&mut self, file: File) {
        if let Some(hash) = file.hash.filter(|_| file.complete) {
            self.former.push((hash, file.entries));
        }
        // Cut back rarely, since it moves all that stays.
        if self.former.len() > 2 * MOST_FORMER {
            self.former.drain(..MOST_FORMER);
        }
    }

    /// What parsing gave for contents, by their hashes.
    pub fn parsed(&self) -> HashMap<Hash, Arc<[Entry]>> {
        let current = self.files.values().filter(|file| file.complete);
        let current = current.filter_map(|file| Some((file.hash?, file.entries.clone())));
        self.former.iter().cloned().chain(current).collect()
    }
}
