//! A look at the files of a database before SQLite opens them: what it would pass over or make anew, without a word.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::StoreError;

/// `application_id` in the header of our databases: "cdnc".
pub const APPLICATION_ID: u32 = 0x6364_6e63;

const HEADER: usize = 100;
const WAL_HEADER: usize = 32;

/// The file beside a database that SQLite keeps for it: `-wal` or `-shm`.
pub fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Refuses what is no database of ours, and one that is gone while there is work that belongs to it; says whether there is
/// none yet. A damaged page is found when it is read.
pub fn inspect(database: &Path) -> Result<bool, StoreError> {
    let header = match read_head::<HEADER>(database) {
        Ok(header) => header,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(unreadable(&error)),
    };
    let wal = beside(database, "-wal");
    let log = read_head::<WAL_HEADER>(&wal).unwrap_or_default();
    if header.is_empty() {
        return if has_work(database) || !log.is_empty() { Err(StoreError::Missing) } else { Ok(true) };
    }
    if header.len() < HEADER || !header.starts_with(b"SQLite format 3\0") {
        return Err(StoreError::Damaged(format!("{} is no SQLite database", database.display())));
    }
    // A file that a first start has only begun has no tables yet.
    let owner = word(&header, 68);
    let is_begun = owner == 0 && word(&header, 28) <= 1;
    if owner != APPLICATION_ID && !is_begun {
        let text = format!("{} is of another program, or of a build before the first release", database.display());
        return Err(StoreError::Damaged(text));
    }
    // One that was torn holds nothing that was promised; SQLite passes over any that does not fit, with all that is in it.
    if log.len() == WAL_HEADER && log.iter().any(|byte| *byte != 0) && !is_log(&log) {
        return Err(StoreError::Damaged(format!("its write-ahead log {} is not readable", wal.display())));
    }
    Ok(is_begun)
}

fn unreadable(error: &std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::IsADirectory => {
            StoreError::Unopenable(error.to_string())
        }
        _ => StoreError::Io(error.to_string()),
    }
}

fn read_head<const SIZE: usize>(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(SIZE);
    File::open(path)?.take(SIZE as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Whether workspaces of tasks lie beside the database.
fn has_work(database: &Path) -> bool {
    let entries = database.parent().map(|data| std::fs::read_dir(data.join("workspaces")));
    let mut names = entries.into_iter().flatten().flatten().flatten().map(|entry| entry.file_name());
    names.any(|name| name.to_str().is_some_and(|name| Uuid::try_parse(name).is_ok()))
}

/// A big-endian number in a header.
fn word(header: &[u8], at: usize) -> u32 {
    header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// Whether the header of a write-ahead log has its own checksum (<https://www.sqlite.org/fileformat.html#the_write_ahead_log>).
fn is_log(header: &[u8]) -> bool {
    let big_endian = match word(header, 0) {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return false,
    };
    let number = |at: usize| if big_endian { word(header, at) } else { word(header, at).swap_bytes() };
    let (mut a, mut b) = (0_u32, 0_u32);
    for at in (0..24).step_by(8) {
        a = a.wrapping_add(number(at)).wrapping_add(b);
        b = b.wrapping_add(number(at + 4)).wrapping_add(a);
    }
    (a, b) == (word(header, 24), word(header, 28))
}
