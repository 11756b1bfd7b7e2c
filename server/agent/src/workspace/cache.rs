//! The repositories that are kept for the next task: mirrors of URLs. The least recently used ones go, never one that something
//! borrows objects from or that has work of its own.
//!
//! A mirror of a repository on this machine stays: it is linked to the user's objects and costs next to nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use uuid::Uuid;

use super::lock::lock;
use super::{Environment, Record, STAGED, WorkspaceError, Workspaces, remove_tree, warm};
use crate::git::Git;

/// A mirror that is being removed; something unique follows.
const REMOVED: &str = ".removed-";
/// In a mirror: the branches below `cadence/` that its origin had when it was made, as lines of an object and a name.
const ORIGINS: &str = "origin-branches";

/// How many repositories are kept that no workspace needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheLimits {
    pub keep: usize,
    /// Space of all mirrors together, in bytes.
    pub max_bytes: u64,
}

impl Default for CacheLimits {
    /// Five, of 20 GiB in all.
    fn default() -> Self {
        Self { keep: 5, max_bytes: 20 << 30 }
    }
}

/// A repository that need not be fetched from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachedRepository {
    /// Without credentials.
    pub url: String,
    /// Space that it takes on the disk, in bytes.
    pub bytes: u64,
    /// When a task was prepared from it, or asked for it.
    pub last_used: SystemTime,
}

/// A mirror, as the choice goes by it.
#[derive(Clone, Debug)]
struct Candidate {
    path: PathBuf,
    repository: CachedRepository,
    /// Whether something needs it.
    needed: bool,
}

/// Those that are too many or too large, the least recently used ones first. What is needed counts, and stays.
fn surplus(all: &[Candidate], limits: CacheLimits) -> Vec<&Candidate> {
    let mut count = all.len();
    let mut bytes: u64 = all.iter().map(|one| one.repository.bytes).fold(0, u64::saturating_add);
    let mut free: Vec<&Candidate> = all.iter().filter(|one| !one.needed).collect();
    free.sort_by_key(|one| one.repository.last_used);
    free.retain(|one| {
        let goes = count > limits.keep || bytes > limits.max_bytes;
        if goes {
            count -= 1;
            bytes = bytes.saturating_sub(one.repository.bytes);
        }
        goes
    });
    free
}

impl Workspaces {
    /// How many repositories are kept; [`CacheLimits::default`] unless told.
    #[must_use]
    pub fn with_cache(mut self, limits: CacheLimits) -> Self {
        self.cache = limits;
        self
    }

    /// The repositories that are kept, those used last first.
    pub async fn repositories(&self) -> Vec<CachedRepository> {
        let mirrors = self.mirrors();
        let listed = tokio::task::spawn_blocking(move || listed(&mirrors)).await;
        let mut all: Vec<CachedRepository> = listed.unwrap_or_default().into_iter().map(|(_, one)| one).collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.last_used));
        all
    }

    /// Removes what is beyond the limits; gives what was removed. Who uses a mirror just now is not waited for: it stays.
    pub async fn trim_repositories(&self) -> Result<Vec<CachedRepository>, WorkspaceError> {
        let all = self.clone();
        let found = tokio::task::spawn_blocking(move || {
            remove_leftovers(&all.mirrors())?;
            let needed = all.needed();
            let candidate = |(path, repository): (PathBuf, CachedRepository)| {
                let needed = needed.as_ref().is_none_or(|needed| needed.contains(&file_name(&path)));
                Candidate { path, repository, needed }
            };
            Ok::<Vec<Candidate>, WorkspaceError>(listed(&all.mirrors()).into_iter().map(candidate).collect())
        });
        let found = found.await.map_err(|error| self.failed(std::io::Error::other(error)))??;
        let mut found = self.without_own_work(found).await;
        let mut removed = Vec::new();
        loop {
            let next = surplus(&found, self.cache).first().map(|one| (*one).clone());
            let Some(next) = next else { return Ok(removed) };
            if self.remove_mirror(&next.path).await? {
                found.retain(|one| one.path != next.path);
                removed.push(next.repository);
            } else {
                found.iter_mut().filter(|one| one.path == next.path).for_each(|one| one.needed = true);
            }
        }
    }

    fn failed(&self, error: std::io::Error) -> WorkspaceError {
        WorkspaceError::io("looking through", &self.mirrors())(error)
    }

    /// Notes those as needed that have branches of tasks with commits that their origin did not have.
    async fn without_own_work(&self, mut all: Vec<Candidate>) -> Vec<Candidate> {
        for one in &mut all {
            one.needed = one.needed || !matches!(own_work(&one.path).await, Ok(false));
        }
        all
    }

    /// Removes a mirror unless somebody uses it or needs it by now.
    async fn remove_mirror(&self, path: &Path) -> Result<bool, WorkspaceError> {
        let (used, borrowed) = (path.with_extension("lock"), path.with_extension("borrow"));
        let (Ok(_used), Ok(_borrowed)) = (lock(&used, Duration::ZERO).await, lock(&borrowed, Duration::ZERO).await)
        else {
            return Ok(false);
        };
        // Whoever prepares from it has noted so before he let go of it.
        let needed = self.needed().is_none_or(|needed| needed.contains(&file_name(path)));
        if needed || !matches!(own_work(path).await, Ok(false)) {
            return Ok(false);
        }
        warm::put_away(&self.warm_ready(path)).await?;
        let away = self.mirrors().join(format!("{REMOVED}{}", Uuid::new_v4().simple()));
        fs::rename(path, &away).map_err(WorkspaceError::io("moving", path))?;
        let removed = tokio::task::spawn_blocking(move || remove_tree(&away)).await;
        removed.map_err(|error| self.failed(std::io::Error::other(error)))??;
        Ok(true)
    }

    /// Names of the mirrors that a workspace borrows from, or is about to. None where one does not say: it may be any. Blocks.
    fn needed(&self) -> Option<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        let workspaces = self.data.join("workspaces");
        let entries = match fs::read_dir(&workspaces) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Some(all),
            Err(_) => return None,
        };
        for entry in entries {
            let name = entry.ok()?.file_name();
            // The others are on their way out.
            if name.to_str().is_some_and(|name| Uuid::try_parse(name).is_ok()) {
                let home = workspaces.join(&name);
                all.extend(Record::read(&home).ok()?.map(|record| record.mirror));
                all.extend(Record::read_file(&home, STAGED).ok()?.map(|record| record.mirror));
            }
        }
        Some(all)
    }
}

/// Whether a mirror has commits on branches of tasks that nothing of its origin leads to.
async fn own_work(mirror: &Path) -> Result<bool, WorkspaceError> {
    let git = Git::new(mirror, &Environment::new()).repository(mirror);
    let text = git.call("for-each-ref").arg("--format=%(objectname) %(refname)").text().await?;
    let origins = fs::read_to_string(mirror.join(ORIGINS)).unwrap_or_default();
    let origins: BTreeSet<&str> = origins.lines().collect();
    let mut list = String::new();
    let mut any = false;
    for line in text.lines() {
        let Some((object, name)) = line.split_once(' ') else { continue };
        let own = name.starts_with("refs/heads/cadence/") && !origins.contains(line);
        any |= own;
        list.push_str(if own { "" } else { "^" });
        list.push_str(object);
        list.push('\n');
    }
    if !any {
        return Ok(false);
    }
    let count = git.call("rev-list").args(["--count", "--stdin"]).stdin(list).text().await?;
    Ok(count != "0")
}

/// Notes the branches that a new mirror has of its origin, beside which those of tasks will be.
pub(super) async fn note_origins(git: &Git, mirror: &Path) -> Result<(), WorkspaceError> {
    let git = git.clone().repository(mirror);
    let format = "--format=%(objectname) %(refname)";
    let text = git.call("for-each-ref").args([format, "refs/heads/cadence/"]).text().await?;
    let path = mirror.join(ORIGINS);
    fs::write(&path, text).map_err(WorkspaceError::io("writing", &path))
}

/// The mirrors of URLs. Blocks.
fn listed(mirrors: &Path) -> Vec<(PathBuf, CachedRepository)> {
    let entries = fs::read_dir(mirrors).into_iter().flatten().flatten().map(|entry| entry.path());
    let of = |path: PathBuf| {
        if file_name(&path).starts_with('.') || path.extension().is_none_or(|kind| kind != "git") {
            return None;
        }
        let url = url_of(&fs::read_to_string(path.join("config")).ok()?)?;
        // Its lock is touched by whoever takes it.
        let last_used = fs::metadata(path.with_extension("lock")).and_then(|meta| meta.modified());
        let last_used = last_used.unwrap_or(SystemTime::UNIX_EPOCH);
        let bytes = size_of_tree(&path);
        Some((path, CachedRepository { url, bytes, last_used }))
    };
    entries.filter_map(of).collect()
}

/// The URL that a mirror's settings, as git wrote them, name as its origin; none where it is a path.
fn url_of(config: &str) -> Option<String> {
    let mut in_origin = false;
    for line in config.lines() {
        if line.starts_with('[') {
            in_origin = line == "[remote \"origin\"]";
        } else if let Some(value) = line.trim_start().strip_prefix("url = ").filter(|_| in_origin) {
            let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            let url = quoted.unwrap_or(value).replace("\\\"", "\"").replace("\\\\", "\\");
            return (!url.starts_with('/')).then_some(url);
        }
    }
    None
}

/// Space on the disk, in bytes.
pub(super) fn size_of_tree(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size_of_tree(&entry.path()),
        // The size of a block as stat(2) counts them.
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(size).fold(0, u64::saturating_add)
}

/// What was left when somebody was killed while he removed it. Blocks.
fn remove_leftovers(mirrors: &Path) -> Result<(), WorkspaceError> {
    for entry in fs::read_dir(mirrors).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(REMOVED) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    fn candidate((at, bytes, needed): (u64, u64, bool)) -> Candidate {
        let last_used = SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        let repository = CachedRepository { url: at.to_string(), bytes, last_used };
        Candidate { path: at.to_string().into(), repository, needed }
    }

    fn gone(all: &[(u64, u64, bool)], keep: usize, max_bytes: u64) -> Vec<u64> {
        let all: Vec<Candidate> = all.iter().copied().map(candidate).collect();
        surplus(&all, CacheLimits { keep, max_bytes }).iter().map(|one| one.repository.url.parse().unwrap()).collect()
    }

    #[test]
    fn the_least_recently_used_goes() {
        let all = [(3, 10, false), (1, 10, false), (2, 10, false)];
        assert_eq!(gone(&all, 3, 30), [0; 0]);
        assert_eq!(gone(&all, 2, 30), [1]);
        assert_eq!(gone(&all, 3, 15), [1, 2]);
        assert_eq!(gone(&all, 0, 30), [1, 2, 3]);
    }

    #[test]
    fn what_is_needed_stays_and_counts() {
        assert_eq!(gone(&[(1, 10, true), (2, 10, true), (3, 10, false)], 2, 100), [3]);
        assert_eq!(gone(&[(1, 50, true), (2, 10, false), (3, 10, false)], 5, 60), [2]);
        assert_eq!(gone(&[(1, 50, true)], 0, 0), [0; 0]);
    }

    #[test]
    fn the_origin_is_read_as_git_wrote_it() {
        let config = |url: &str| format!("[core]\n\turl = no\n[remote \"origin\"]\n\turl = {url}\n[gc]\n\tauto = 0\n");
        assert_eq!(url_of(&config("https://host/x.git")).as_deref(), Some("https://host/x.git"));
        assert_eq!(url_of(&config("\"https://host/x#1\"")).as_deref(), Some("https://host/x#1"));
        assert_eq!(url_of(&config("/srv/x")), None);
        assert_eq!(url_of("[core]\n\tbare = true\n"), None);
    }

    proptest! {
        #[test]
        fn limits_are_kept_wherever_they_can_be(
            all in proptest::collection::vec((0..1000_u64, 0..100_u64, any::<bool>()), 0..12),
            keep in 0..8_usize,
            max_bytes in 0..300_u64,
        ) {
            let all: Vec<Candidate> = all.into_iter().map(candidate).collect();
            let gone = surplus(&all, CacheLimits { keep, max_bytes });
            prop_assert!(gone.iter().all(|one| !one.needed));
            let free = all.iter().filter(|one| !one.needed).count();
            let bytes = |list: &mut dyn Iterator<Item = &Candidate>| list.map(|one| one.repository.bytes).sum::<u64>();
            let left = bytes(&mut all.iter()) - bytes(&mut gone.iter().copied());
            prop_assert!(gone.len() == free || (all.len() - gone.len() <= keep && left <= max_bytes));
            // Nothing goes without need.
            if let Some(last) = gone.last() {
                let before = gone.len() - 1;
                prop_assert!(all.len() - before > keep || left + last.repository.bytes > max_bytes);
            }
        }
    }
}
