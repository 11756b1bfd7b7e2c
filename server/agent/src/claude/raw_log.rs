//! The file that an agent's own lines and its stderr are kept in, for diagnosis.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Largest size of the file, in bytes. What comes after is left out.
const MAX_SIZE: u64 = 64 << 20;

/// An append-only file, readable by its owner alone. It never fails: a log that cannot be written must not stop the work.
#[derive(Debug, Default)]
pub struct RawLog {
    file: Option<File>,
    room: u64,
}

impl RawLog {
    /// Opens the file, or makes it. `None`, or one that cannot be opened, swallows everything.
    pub fn open(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self::default() };
        match OpenOptions::new().append(true).create(true).mode(0o600).open(path) {
            Ok(file) => {
                let size = file.metadata().map_or(0, |metadata| metadata.len());
                Self { file: Some(file), room: MAX_SIZE.saturating_sub(size) }
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the agent's lines are not kept");
                Self::default()
            }
        }
    }

    /// Appends bytes as they are.
    pub fn write(&mut self, bytes: &[u8]) {
        let Some(file) = &mut self.file else { return };
        let length = bytes.len() as u64;
        let result = if length > self.room {
            file.write_all(b"\n[the log is full; the rest is left out]\n")
                .and_then(|()| Err(std::io::ErrorKind::FileTooLarge.into()))
        } else {
            self.room -= length;
            file.write_all(bytes)
        };
        if let Err(error) = result {
            tracing::warn!(%error, "the agent's lines are not kept any more");
            self.file = None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn is_private_and_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.log");
        RawLog::open(Some(&path)).write(b"one\n");
        let mut log = RawLog::open(Some(&path));
        log.write(b"two\n");
        assert_eq!(log.room, MAX_SIZE - 8);
        log.room = 3;
        log.write(b"three\n");
        log.write(b"4\n");
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "one\ntwo\n\n[the log is full; the rest is left out]\n");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        RawLog::open(Some(Path::new("/nonexistent/x"))).write(b"swallowed");
    }
}
