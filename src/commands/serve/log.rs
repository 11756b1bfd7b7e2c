//! The log of a server that runs for long: when the file has grown it is moved aside, and a new one begun.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::client::open_private_log;

/// A file of at most about `limit` bytes, and one more of what was before.
#[derive(Debug)]
pub struct RollingLog {
    path: PathBuf,
    limit: u64,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
}

impl RollingLog {
    pub fn open(path: &Path, limit: u64) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), limit, open: Mutex::new(Open::new(path, limit)?) })
    }
}

impl Open {
    fn new(path: &Path, limit: u64) -> io::Result<Self> {
        let file = open_private_log(path, limit)?;
        let size = file.metadata()?.len();
        Ok(Self { file, size })
    }
}

/// One line at a time, as the log's layer writes it.
impl Write for &RollingLog {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.size > self.limit
            && let Ok(new) = Open::new(&self.path, self.limit)
        {
            *open = new;
        }
        // Where it cannot be written, as on a full disk, the server works on without.
        if open.file.write_all(line).is_ok() {
            open.size += line.len() as u64;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn it_stays_small_while_it_is_written() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("server.log");
        let log = RollingLog::open(&path, 100).unwrap();
        for n in 0..100 {
            writeln!(&log, "line {n} of the log").unwrap();
        }
        let sizes = ["server.log", "server.log.1"].map(|name| std::fs::metadata(home.path().join(name)).unwrap().len());
        assert!(sizes.iter().all(|size| (1..=130).contains(size)), "{sizes:?}");
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("line 99 of the log\n"));
    }
}
