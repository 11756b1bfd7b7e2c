//! The file that an agent's own lines and its stderr are kept in, for diagnosis.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// From this size on, in bytes, the file is moved aside to `<name>.1`, over the one before, and a new one begins: the end is
/// what tells why an agent ended.
const MAX_SIZE: u64 = 32 << 20;

/// An append-only file, readable by its owner alone. It never fails: a log that cannot be written must not stop the work.
#[derive(Debug, Default)]
pub struct RawLog {
    path: PathBuf,
    file: Option<File>,
    room: u64,
    /// A line with its end, to be written at once.
    buffer: Vec<u8>,
}

impl RawLog {
    /// Opens the file, or makes it. `None`, or one that cannot be opened, swallows everything.
    pub fn open(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self::default() };
        let mut log = Self { path: path.to_owned(), ..Self::default() };
        log.reopen();
        log
    }

    fn reopen(&mut self) {
        match OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path) {
            Ok(file) => {
                let size = file.metadata().map_or(0, |metadata| metadata.len());
                self.room = MAX_SIZE.saturating_sub(size);
                self.file = Some(file);
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the agent's lines are not kept");
                self.file = None;
            }
        }
    }

    /// Appends a line.
    pub fn line(&mut self, text: &str) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer.extend_from_slice(text.as_bytes());
        buffer.push(b'\n');
        self.write(&buffer);
        // One long line does not make it large for ever.
        buffer.shrink_to(64 << 10);
        self.buffer = buffer;
    }

    /// Appends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        if let Err(error) = file.write_all(bytes) {
            tracing::warn!(%error, "the agent's lines are not kept any more");
            self.file = None;
            return;
        }
        self.room = self.room.saturating_sub(bytes.len() as u64);
        if self.room == 0 {
            self.move_aside();
        }
    }

    fn move_aside(&mut self) {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        if let Err(error) = std::fs::rename(&self.path, name) {
            tracing::warn!(%error, "the agent's lines are not kept any more");
            self.file = None;
            return;
        }
        self.reopen();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_private_and_keeps_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.log");
        RawLog::open(Some(&path)).line("one");
        let mut log = RawLog::open(Some(&path));
        log.write(b"two\n");
        assert_eq!(log.room, MAX_SIZE - 8);
        log.room = 3;
        log.line("three");
        log.line("4");
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!((read("agent.log.1").as_str(), read("agent.log").as_str()), ("one\ntwo\nthree\n", "4\n"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        log.room = 1;
        log.line("5");
        assert_eq!((read("agent.log.1").as_str(), read("agent.log").as_str()), ("4\n5\n", ""));
        RawLog::open(Some(Path::new("/nonexistent/x"))).line("swallowed");
    }
}
