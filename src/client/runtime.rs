//! The runtime directory: where a user's own server says who it is, and the token that it lets in.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cadence_protocol::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::config::{Origin, read_token_file};
use crate::error::CommandError;

/// What a running server says of itself in `server.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announcement {
    pub pid: i32,
    pub url: Url,
    pub version: String,
    #[serde(with = "time::serde::rfc3339")]
    pub started_at: Timestamp,
    /// Started on demand, so that a newer client may replace it.
    #[serde(default)]
    pub embedded: bool,
    /// Where the token is that it lets in; none where that is known to its operator alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
}

/// An announcement that holds.
#[derive(Debug)]
pub struct Announced {
    /// Open with its lock, which the kernel takes away however the process ends.
    _file: File,
}

/// The files of the runtime directory.
#[derive(Clone, Debug)]
pub struct Runtime {
    dir: PathBuf,
}

impl Runtime {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub fn token_path(&self) -> PathBuf {
        self.dir.join("token")
    }

    fn announcement_path(&self) -> PathBuf {
        self.dir.join("server.json")
    }

    /// Makes the directory, or makes sure that it is the user's own.
    pub fn prepare(&self) -> Result<(), CommandError> {
        private_directory(&self.dir)
    }

    /// What a running server says of itself. It holds a lock on the file for as long as it lives, so one that was left
    /// behind says nothing, whoever has its process id or port by now; nor does one of somebody else.
    pub fn running(&self) -> Option<Announcement> {
        let (server, file) = self.announced()?;
        let held = matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock));
        (held && alive(server.pid)).then_some(server)
    }

    /// What the file says, whether that server still runs or not.
    fn announced(&self) -> Option<(Announcement, File)> {
        owned(&self.dir).ok()?;
        let mut text = String::new();
        let path = self.announcement_path();
        owned(&path).ok()?;
        let file = File::open(path).ok()?;
        (&file).take(64 * 1024).read_to_string(&mut text).ok()?;
        Some((serde_json::from_str(&text).ok()?, file))
    }

    /// The token of an announced server, where it can be known.
    pub fn token_of(&self, server: &Announcement) -> Option<SecretString> {
        let path = server.token_file.as_ref()?;
        read_token_file(path, &Origin::Default).ok()
    }

    /// Says who the server is; complete or not at all. It counts as running for as long as what is given back is held.
    pub fn announce(&self, server: &Announcement) -> Result<Announced, CommandError> {
        let fail = |error: std::io::Error| {
            unusable(&format!("{} cannot be written", self.announcement_path().display()), error)
        };
        let text = serde_json::to_vec_pretty(server).map_err(std::io::Error::other).map_err(fail)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.dir).map_err(fail)?;
        file.write_all(&text).map_err(fail)?;
        // Before it is there: who sees it, sees it locked.
        file.as_file().lock().map_err(fail)?;
        let file = file.persist(self.announcement_path()).map_err(|error| fail(error.error))?;
        Ok(Announced { _file: file })
    }

    /// Takes the announcement back, if it is still this process's.
    pub fn withdraw(&self) {
        if self.announced().is_some_and(|(server, _)| u32::try_from(server.pid) == Ok(std::process::id())) {
            let _ = std::fs::remove_file(self.announcement_path());
        }
    }

    /// Takes the lock under which servers are started and replaced; waits for another client that holds it.
    pub async fn lock(&self, patience: Duration) -> Result<Flock<File>, CommandError> {
        let path = self.dir.join("start.lock");
        let fail = |error: std::io::Error| {
            CommandError::failed(format!("the lock {} cannot be taken", path.display())).caused_by(error)
        };
        let deadline = Instant::now() + patience;
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(fail)?;
        loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => return Ok(lock),
                Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < deadline => {
                    file = back;
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
                Err((_, error)) => return Err(fail(error.into())),
            }
        }
    }
}

/// What a failure with a file means, and the way out where there is one.
pub fn unusable(what: &str, error: std::io::Error) -> CommandError {
    use std::io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    let hint = match error.kind() {
        StorageFull | QuotaExceeded => {
            Some("The disk is full: make room on it, or name another directory with CADENCE_DATA_DIR.")
        }
        ReadOnlyFilesystem | PermissionDenied => {
            Some("Make it writable, or name another directory with CADENCE_DATA_DIR.")
        }
        _ => None,
    };
    let failed = CommandError::failed(what).caused_by(error);
    match hint {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}

/// A 256-bit token in a file of mode 0600: the one that is there, or a new one. Gives the token.
pub fn token_file(path: &Path) -> Result<SecretString, CommandError> {
    let fail = |error: std::io::Error| unusable(&format!("the token file {} cannot be made", path.display()), error);
    let dir = path.parent().unwrap_or(Path::new("."));
    let made = std::fs::symlink_metadata(path).err().map(|_| write_token(dir, path));
    match made.unwrap_or_else(|| Err(std::io::ErrorKind::AlreadyExists.into())) {
        Ok(token) => Ok(token.into()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            owned(path).map_err(fail)?;
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(fail)?;
            read_token_file(path, &Origin::Default)
                .map_err(|error| error.hint(format!("Remove {}, then a new one is made.", path.display())))
        }
        Err(error) => Err(fail(error)),
    }
}

/// A new token, in place at once or not at all; never over another.
fn write_token(dir: &Path, path: &Path) -> std::io::Result<String> {
    let mut random = [0; 32];
    getrandom::fill(&mut random)?;
    let token = hex::encode(random);
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(format!("{token}\n").as_bytes())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(token)
}

/// Makes a directory that only this user can look into, or makes sure that an existing one is.
pub fn private_directory(path: &Path) -> Result<(), CommandError> {
    let fail = |error: std::io::Error| unusable(&format!("the directory {} cannot be used", path.display()), error);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(fail)?;
    owned(path).map_err(fail)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).map_err(fail)
}

/// Opens a log for appending; one that grew beyond `limit` bytes is first moved to `<name>.1`.
pub fn open_private_log(path: &Path, limit: u64) -> std::io::Result<File> {
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.len() > limit) {
        std::fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Refuses what belongs to somebody else, and links.
fn owned(path: &Path) -> std::io::Result<()> {
    let meta = std::fs::symlink_metadata(path)?;
    if meta.file_type().is_symlink() || meta.uid() != geteuid().as_raw() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            "it is a link, or belongs to another user",
        ));
    }
    Ok(())
}

/// Whether a process of this user has this id.
pub fn alive(pid: i32) -> bool {
    if pid <= 1 || kill(Pid::from_raw(pid), None).is_err() {
        return false;
    }
    // One that ended and was not waited for yet is no longer alive.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
}

/// Asks a process to end.
pub fn signal(pid: i32) -> std::io::Result<()> {
    if pid <= 1 {
        return Err(std::io::Error::other("not a server's process id"));
    }
    kill(Pid::from_raw(pid), Signal::SIGTERM).map_err(std::io::Error::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use secrecy::ExposeSecret;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_token_is_made_once_and_kept_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let first = token_file(&path).unwrap();
        let second = token_file(&path).unwrap();
        assert_eq!(first.expose_secret(), second.expose_secret());
        assert!(first.expose_secret().len() >= 64);
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn directories_are_private_and_links_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("run");
        private_directory(&own).unwrap();
        assert_eq!(mode(&own), 0o700);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&own, &link).unwrap();
        assert!(private_directory(&link).is_err());
    }

    #[test]
    fn an_announcement_is_withdrawn_only_by_its_own_process() {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new(dir.path());
        let mut server = Announcement {
            pid: 1,
            url: Url::parse("http://127.0.0.1:1").unwrap(),
            version: "0.1.0".into(),
            started_at: Timestamp::UNIX_EPOCH,
            embedded: true,
            token_file: None,
        };
        let held = runtime.announce(&server).unwrap();
        runtime.withdraw();
        assert!(runtime.announced().is_some());
        assert!(runtime.running().is_none(), "no server has this process id");
        drop(held);
        server.pid = i32::try_from(std::process::id()).unwrap();
        let held = runtime.announce(&server).unwrap();
        assert!(runtime.running().is_some());
        drop(held);
        assert!(runtime.running().is_none(), "left behind, with the number of a process that lives");
        runtime.withdraw();
        assert!(runtime.announced().is_none());
    }

    #[test]
    fn a_grown_log_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.log");
        open_private_log(&path, 10).unwrap().write_all(b"more than ten bytes").unwrap();
        open_private_log(&path, 10).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
        assert!(dir.path().join("server.log.1").exists());
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn nobody_is_never_signalled() {
        assert!(signal(0).is_err());
        assert!(signal(-1).is_err());
        assert!(!alive(0));
        assert!(alive(i32::try_from(std::process::id()).unwrap()));
    }
}
