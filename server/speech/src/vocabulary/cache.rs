//! The index on disk, so that the next program need not read the tree again.
//!
//! One file for each root: a line with the format and the version of this package, the SHA-256 of what follows, then names,
//! files and former contents in a plain binary form. Whatever is not exactly that is taken as no cache at all.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::index::{Entry, File, Hash, Index, MOST_FORMER, Role, Stamp};

/// First line of a file. The rules of what is taken change with the version, and with them what is in it.
const HEADER: &str = concat!("cadence vocabulary 1 ", env!("CARGO_PKG_VERSION"), "\n");
/// Largest file that is read.
const LARGEST: u64 = 512 << 20;

/// Where the index of `root`, an absolute path, is kept below `directory`.
pub fn place(directory: &Path, root: &Path) -> PathBuf {
    let hash = Sha256::digest(bytes_of(root));
    let name: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    directory.join("vocabulary").join(name)
}

/// The index that was kept, or none where there is no sound one.
pub fn load(path: &Path) -> Option<Index> {
    let file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes).ok()?;
    let rest = bytes.strip_prefix(HEADER.as_bytes())?;
    let (sum, body) = rest.split_at_checked(32)?;
    if Sha256::digest(body).as_slice() != sum {
        return None;
    }
    decode(body)
}

/// Keeps the index. What was there stays whole until the new one is.
pub fn save(path: &Path, index: &Index) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let body = encode(index);
    // Only its owner may read it: it says what private code is called.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(HEADER.as_bytes())?;
    file.write_all(&Sha256::digest(&body))?;
    file.write_all(&body)?;
    file.persist(path)?;
    Ok(())
}

fn encode(index: &Index) -> Vec<u8> {
    let former = index.former.get(index.former.len().saturating_sub(MOST_FORMER)..).unwrap_or_default();
    // Names that no file has any more are left out: the others get new numbers.
    let mut numbers: Vec<Option<u64>> = vec![None; index.names.len()];
    let mut names = Vec::new();
    let all = index.files.values().map(|file| &file.entries).chain(former.iter().map(|(_, entries)| entries));
    for entry in all.flat_map(|entries| entries.iter()) {
        if let Some(number @ None) = numbers.get_mut(entry.name as usize) {
            *number = Some(names.len() as u64);
            names.push(entry.name);
        }
    }
    let mut out = Vec::new();
    number(&mut out, names.len() as u64);
    for name in names {
        out.push(index.names.difficulty(name));
        text(&mut out, index.names.text(name).as_bytes());
    }
    let entries = |out: &mut Vec<u8>, entries: &[Entry]| {
        number(out, entries.len() as u64);
        for entry in entries {
            number(out, numbers.get(entry.name as usize).copied().flatten().unwrap_or(u64::MAX));
            number(out, u64::from(entry.count));
            out.push(entry.role as u8);
        }
    };
    number(&mut out, index.files.len() as u64);
    for (path, file) in &index.files {
        text(&mut out, &bytes_of(path));
        let Stamp { size, modified, changed, inode } = file.stamp;
        for field in [size, modified.cast_unsigned(), changed.cast_unsigned(), inode] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        out.push(u8::from(file.complete) | u8::from(file.hash.is_some()) << 1);
        out.extend_from_slice(file.hash.as_ref().map_or(&[], |hash| hash.as_slice()));
        entries(&mut out, &file.entries);
    }
    number(&mut out, former.len() as u64);
    for (hash, former) in former {
        out.extend_from_slice(hash);
        entries(&mut out, former);
    }
    out
}

fn decode(body: &[u8]) -> Option<Index> {
    let mut reader = Reader(body);
    let mut index = Index::default();
    for _ in 0..reader.number()? {
        let difficulty = reader.byte()?;
        let name = str::from_utf8(reader.text()?).ok()?;
        index.names.insert(name.into(), difficulty)?;
    }
    let names = index.names.len() as u64;
    for _ in 0..reader.number()? {
        let path = path_of(reader.text()?)?;
        let stamp = Stamp {
            size: reader.fixed()?,
            modified: reader.fixed()?.cast_signed(),
            changed: reader.fixed()?.cast_signed(),
            inode: reader.fixed()?,
        };
        let flags = reader.byte()?;
        let hash = if flags & 2 != 0 { Some(reader.hash()?) } else { None };
        let entries = reader.entries(names)?;
        index.files.insert(path, File { stamp, entries, hash, complete: flags & 1 != 0 });
    }
    for _ in 0..reader.number()? {
        let hash = reader.hash()?;
        index.former.push((hash, reader.entries(names)?));
    }
    reader.0.is_empty().then_some(index)
}

/// A number in groups of seven bits, the lowest first (LEB128).
fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    number(out, text.len() as u64);
    out.extend_from_slice(text);
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn fixed(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn hash(&mut self) -> Option<Hash> {
        self.take(32)?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        self.take(length)
    }

    fn entries(&mut self, names: u64) -> Option<Arc<[Entry]>> {
        let count = usize::try_from(self.number()?).ok()?;
        // Each takes three bytes at least, which bounds what is set aside for them.
        let mut entries = Vec::with_capacity(count.min(self.0.len() / 3));
        for _ in 0..count {
            let name = u32::try_from(self.number().filter(|name| *name < names)?).ok()?;
            let count = u16::try_from(self.number()?).ok()?;
            let role = *Role::ALL.get(usize::from(self.byte()?))?;
            entries.push(Entry { name, count, role });
        }
        Some(entries.into())
    }
}

#[cfg(unix)]
fn bytes_of(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere not all bytes are a path")]
fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(bytes)))
}

#[cfg(not(unix))]
fn bytes_of(path: &Path) -> Vec<u8> {
    path.to_string_lossy().into_owned().into_bytes()
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    str::from_utf8(bytes).ok().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn sample() -> Index {
        let mut index = Index::default();
        let names: Vec<u32> =
            ["TaskStore", "claim_next", "gone_name"].iter().filter_map(|name| index.names.number(name)).collect();
        let entry = |name: usize, role| Entry { name: names[name], count: 300, role };
        let stamp = Stamp { size: 1 << 40, modified: -5, changed: i64::MAX, inode: 7 };
        let entries = [entry(0, Role::Type), entry(1, Role::Mentioned)];
        let file = File { stamp, entries: entries.into(), hash: Some([7; 32]), complete: true };
        index.files.insert("src/a.rs".into(), file);
        let empty = File { stamp: Stamp::default(), entries: [].into(), hash: None, complete: false };
        index.files.insert("b \n.txt".into(), empty);
        index.former.push(([9; 32], [entry(1, Role::Function)].into()));
        index
    }

    #[test]
    fn an_index_comes_back_as_it_was_without_unused_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = place(directory.path(), Path::new("/home/someone/app"));
        let index = sample();
        save(&path, &index).unwrap();
        let back = load(&path).unwrap();
        let plain = |index: &Index| {
            let entries = |entries: &[Entry]| -> Vec<_> {
                entries.iter().map(|entry| (index.names.text(entry.name).to_owned(), entry.count, entry.role)).collect()
            };
            let files = index.files.iter();
            files
                .map(|(path, file)| (path.clone(), file.stamp, file.hash, file.complete, entries(&file.entries)))
                .collect::<Vec<_>>()
        };
        assert_eq!(plain(&back), plain(&index));
        assert_eq!(back.former.len(), 1);
        assert_eq!((index.names.len(), back.names.len()), (3, 2));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = place(directory.path(), Path::new("/app"));
        save(&path, &sample()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn another_version_is_no_cache() {
        let directory = tempfile::tempdir().unwrap();
        let path = place(directory.path(), Path::new("/app"));
        save(&path, &sample()).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER.len() - 2] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(load(&path).is_none());
    }

    proptest! {
        /// Also what has a right sum by chance is only taken whole.
        #[test]
        fn a_damaged_body_is_refused_or_sound(at in 0_usize..400, change in 1_u8.., cut in 0_usize..400) {
            let mut body = encode(&sample());
            body.truncate(body.len().saturating_sub(cut).max(1));
            let at = at % body.len();
            body[at] ^= change;
            if let Some(index) = decode(&body) {
                let entries = index.files.values().flat_map(|file| file.entries.iter());
                prop_assert!(entries.into_iter().all(|entry| (entry.name as usize) < index.names.len()));
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
