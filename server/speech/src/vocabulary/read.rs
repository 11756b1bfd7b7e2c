//! Files read on all cores, each to what it says of its names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

use super::index::{Entry, File, Hash, Index, Names, Role, Stamp};
use super::tags::{self, Language};
use super::tokens::{self, MOST_NAMES};
use super::{manifest, walk};

/// How a number of files is read.
pub struct Reading<'a> {
    pub root: &'a Path,
    pub threads: usize,
    /// Whether what has a known language is parsed.
    pub parse: bool,
    /// When no further file is begun.
    pub until: Option<Instant>,
}

/// What one worker has found: entries have its own numbers, but those known before.
#[derive(Default)]
struct Share {
    names: Names,
    files: Vec<(usize, Contents)>,
}

/// What was found in one file.
enum Contents {
    /// It is gone, or no text.
    Nothing,
    /// It was parsed before, in whatever file.
    Known(Stamp, Hash, Arc<[Entry]>),
    New {
        stamp: Stamp,
        hash: Option<Hash>,
        complete: bool,
        entries: Vec<Entry>,
    },
}

impl Reading<'_> {
    /// Reads the files into the index. Those that were not begun in time stay as they were.
    pub fn run(&self, files: &[PathBuf], index: &mut Index) {
        if files.is_empty() {
            return;
        }
        let parsed = index.parsed();
        let next = AtomicUsize::new(0);
        let work = || {
            let (mut share, mut buffer) = (Share::default(), Vec::new());
            while self.until.is_none_or(|until| Instant::now() < until) {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(path) = files.get(number) else { break };
                let contents = self.contents(path, &parsed, &mut share.names, &mut buffer);
                share.files.push((number, contents));
            }
            share
        };
        let mut shares: Vec<Share> = std::thread::scope(|scope| {
            // No more threads than there is work for: one changed file is read here.
            let others: Vec<_> = (1..self.threads.min(files.len())).map(|_| scope.spawn(work)).collect();
            let mine = work();
            others.into_iter().filter_map(|thread| thread.join().ok()).chain([mine]).collect()
        });
        // The largest first: into an empty index its names go as they are.
        shares.sort_unstable_by_key(|share| std::cmp::Reverse(share.names.len()));
        for share in shares {
            let numbers = index.names.take_in(share.names);
            for (number, contents) in share.files {
                let Some(path) = files.get(number) else { continue };
                let file = match contents {
                    Contents::Nothing => match index.files.get(path) {
                        // Its name is still there to be spoken of.
                        Some(file) => File { entries: [].into(), hash: None, complete: true, ..file.clone() },
                        None => continue,
                    },
                    Contents::Known(stamp, hash, entries) => File { stamp, entries, hash: Some(hash), complete: true },
                    Contents::New { stamp, hash, complete, entries } => {
                        let entries = entries.into_iter().filter_map(|entry| {
                            Some(Entry { name: numbers.get(entry.name as usize).copied().flatten()?, ..entry })
                        });
                        File { stamp, entries: entries.collect(), hash, complete }
                    }
                };
                index.put(path.clone(), file);
            }
        }
    }

    fn contents(
        &self,
        path: &Path,
        parsed: &HashMap<Hash, Arc<[Entry]>>,
        names: &mut Names,
        buffer: &mut Vec<u8>,
    ) -> Contents {
        let Some(style) = walk::style(path) else { return Contents::Nothing };
        let before = SystemTime::now();
        let Some(stamp) = walk::read(&self.root.join(path), buffer) else { return Contents::Nothing };
        let stamp = settled(stamp, before);
        let language = Language::of(path);
        // Only what is parsed is worth a hash: reading words takes no longer than hashing.
        let hash = language.filter(|_| self.parse || !parsed.is_empty()).map(|_| Hash::from(Sha256::digest(&buffer)));
        if let Some(hash) = hash
            && let Some(entries) = parsed.get(&hash)
        {
            return Contents::Known(stamp, hash, entries.clone());
        }
        let mut found = tokens::Names::default();
        let dependencies = manifest::dependencies(path, buffer);
        if let Some(dependencies) = &dependencies {
            found.extend(dependencies.iter().map(|name| (name.as_bytes(), (1, Role::Dependency))));
        } else {
            tokens::collect(buffer, style, &mut found);
            if let Some(language) = language.filter(|_| self.parse) {
                tags::collect(buffer, language, &mut found);
            }
        }
        let complete = language.is_none() || self.parse;
        let entries = entries(found, names);
        Contents::New { stamp, hash: hash.filter(|_| complete), complete, entries }
    }
}

/// What is kept of a file's names: all, or of very many those that tell most.
fn entries(found: tokens::Names<'_>, names: &mut Names) -> Vec<Entry> {
    let mut entries: Vec<Entry> = found
        .into_iter()
        .filter_map(|(name, (count, role))| {
            Some(Entry {
                name: names.number(str::from_utf8(name).ok()?)?,
                count: u16::try_from(count).unwrap_or(u16::MAX),
                role,
            })
        })
        .collect();
    if entries.len() > MOST_NAMES {
        entries.sort_unstable_by_key(|entry| std::cmp::Reverse((entry.role, entry.count)));
        entries.truncate(MOST_NAMES);
        entries.shrink_to_fit();
    }
    entries
}

/// The stamp, or one that no file has where the file changed so shortly before it was read that another change might not
/// show: clocks of file systems go in steps of up to 10 ms, and some in whole seconds.
fn settled(stamp: Stamp, read: SystemTime) -> Stamp {
    let read = read.duration_since(UNIX_EPOCH).ok().and_then(|time| i64::try_from(time.as_nanos()).ok()).unwrap_or(0);
    let step = if stamp.changed % 1_000_000_000 == 0 { 2_000_000_000 } else { 20_000_000 };
    if stamp.changed.max(stamp.modified) > read.saturating_sub(step) { Stamp::default() } else { stamp }
}
