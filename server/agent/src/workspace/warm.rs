//! Workspaces that are prepared ahead: one for each repository in use, whole but for what belongs to a task. A task takes it
//! by renaming it into its home, and brings it to its commit; then another is made behind it.
//!
//! Only the tracked files are prepared, in `<data>/warm/<mirror>/ready`. Submodules, large files, `.worktreeinclude` and the
//! set-up command wait for the task: they depend on what the user has at that moment, or run programs.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::lock::share;
use super::mirror::{Mirror, Progress, Source, short_hash};
use super::settings::{UserSettings, user_git};
use super::{Environment, Workspace, WorkspaceError, Workspaces, private_dir, remove_tree, write_file};
use crate::git::{Git, fields};
use crate::host::{MARKER_VARIABLE, kill_marked};

/// What is whole, below the directory of the mirror.
const READY: &str = "ready";
/// Being made, or on its way out; something unique follows.
const UNFINISHED: &str = ".unfinished-";
/// One that was taken, in the home of the task until its files are in place.
pub(super) const TAKEN: &str = ".warm";
/// In each of them: what it is, the settings of its repository as git made them, and the checkout.
const RECORD: &str = "warm.json";
const SETTINGS: &str = "config";
const TREE: &str = "tree";

/// One that was not used for so long goes.
const UNUSED: Duration = Duration::from_secs(24 * 60 * 60);
/// How often is looked for those.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// So many files may always have changed since.
const FEW: usize = 100;
/// Git does not trust what it wrote within the second of its own note about it, and would read all files again.
const SETTLED: Duration = Duration::from_millis(1100);
/// Space on the disk that is left to others, in bytes; a tenth of the disk where that is less.
const SPARED: u64 = 5 << 30;

/// Repositories whose workspaces were used, with the newest of each, for [`Workspaces::keep_warm`].
#[derive(Debug, Default)]
pub(super) struct InUse {
    newest: Mutex<Vec<Workspace>>,
    told: Notify,
}

/// A workspace kept warm that cannot be what it is taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmFault {
    pub path: PathBuf,
    pub reason: String,
}

/// What a workspace was prepared for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    version: u32,
    commit: String,
    /// How many files it has.
    files: usize,
    /// See [`UserSettings::looks`].
    looks: String,
    /// Start of the machine that it was made in. It was never written through to the disk, so no other may trust it.
    boot: String,
}

impl Record {
    fn read(directory: &Path) -> Option<Self> {
        let text = fs::read(directory.join(RECORD)).ok()?;
        serde_json::from_slice(&text).ok().filter(|record: &Self| record.version == 1)
    }

    fn fits(&self, settings: &UserSettings) -> bool {
        self.looks == settings.looks && self.is_of_this_boot()
    }

    fn is_of_this_boot(&self) -> bool {
        self.boot == boot()
    }

    /// Whether going from its commit to another is less work than starting anew, and gives the same files: attributes decide
    /// about files that did not change themselves.
    async fn leads_to(&self, mirror: &Git, commit: &str) -> bool {
        if self.commit == commit {
            return true;
        }
        let changed = mirror.call("diff-tree").args(["-r", "-z", "--name-only", "--no-renames"]);
        // A commit that the mirror does not have any more leads nowhere.
        let Ok(changed) = changed.args([&self.commit, commit]).run().await else { return false };
        let attributes = |path: &[u8]| path.rsplit(|byte| *byte == b'/').next() == Some(b".gitattributes");
        fields(&changed).count() <= FEW.max(self.files / 2) && !fields(&changed).any(attributes)
    }
}

impl Workspaces {
    fn warm_home(&self) -> PathBuf {
        self.data.join("warm")
    }

    /// Value of [`MARKER_VARIABLE`] for what prepares ahead in this directory.
    fn warm_marker(&self) -> String {
        format!("warm:{}", short_hash(&self.data.to_string_lossy()))
    }

    /// What is ready for the next task of a mirror's repository.
    pub(super) fn warm_ready(&self, mirror: &Path) -> PathBuf {
        self.warm_home().join(mirror.file_name().unwrap_or_default()).join(READY)
    }

    /// Notes that a repository is in use.
    pub(super) fn used(&self, workspace: &Workspace) {
        if self.warm > 0 {
            let mut newest = self.in_use.newest.lock().unwrap_or_else(PoisonError::into_inner);
            newest.retain(|other| other.mirror != workspace.mirror);
            let mut like = workspace.clone();
            // What is prepared ahead belongs to no attempt, and is found by the next server where this one is killed.
            like.environment.insert(MARKER_VARIABLE.to_owned(), self.warm_marker());
            newest.push(like);
        }
        self.in_use.told.notify_one();
    }

    /// Prepares a workspace behind each one that is made, and removes those that nobody used for a day, those of more
    /// repositories than may have one, and all where the disk is short of space; and lets go of repositories that are too many
    /// ([`Workspaces::trim_repositories`]). Ends when `closing` is cancelled, and leaves
    /// nothing running then.
    pub async fn keep_warm(&self, closing: &CancellationToken) {
        // Git that outlived a killed server would go on writing into what is removed here.
        let marker = self.warm_marker();
        let swept = tokio::task::spawn_blocking(move || kill_marked(&marker)).await;
        if let Ok(found @ 1..) = swept {
            tracing::warn!(found, "processes that prepared a workspace had outlived their server");
        }
        loop {
            self.tidy_warm().await;
            match self.trim_repositories().await {
                Ok(gone) => gone.iter().for_each(|one| tracing::info!(url = one.url, bytes = one.bytes, "not kept")),
                Err(error) => tracing::warn!(%error, "repositories that are not used any more could not be removed"),
            }
            let waiting = || self.in_use.newest.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let next = async {
                // A newer one takes the place of what waits here, so none is made for nothing.
                if let Some(workspace) = waiting() {
                    return Some(workspace);
                }
                self.in_use.told.notified().await;
                waiting()
            };
            let work = async {
                if let Ok(Some(workspace)) = tokio::time::timeout(LOOK, next).await
                    && let Err(error) = self.prepare_ahead(&workspace).await
                {
                    tracing::warn!(%error, origin = %workspace.origin, "no workspace could be prepared ahead");
                }
            };
            tokio::select! {
                () = closing.cancelled() => return,
                () = work => {}
            }
        }
    }

    /// Prepares a workspace like this one for the next task of its repository, unless there is one. Stopped half-way it leaves
    /// only what nobody takes.
    pub async fn prepare_ahead(&self, like: &Workspace) -> Result<(), WorkspaceError> {
        if self.warm == 0 || is_short(&self.data) {
            return Ok(());
        }
        // The mirror stays meanwhile; where it is on its way out, nobody waits for a workspace of it.
        let Some(_borrowed) = share(&like.mirror.with_extension("borrow"))?.filter(|_| like.mirror.is_dir()) else {
            return Ok(());
        };
        let source = Source::find(&like.origin, &like.environment).await?;
        let settings = UserSettings::read(&user_git(&source, &like.mirror, &like.environment)).await?;
        let place = self.warm_home().join(like.mirror.file_name().unwrap_or_default());
        let ready = place.join(READY);
        let mirror = Git::new(&like.mirror, &like.environment).repository(&like.mirror);
        if let Some(record) = Record::read(&ready).filter(|record| record.fits(&settings))
            && record.leads_to(&mirror, &like.base_commit).await
        {
            return Ok(());
        }
        let new = place.join(format!("{UNFINISHED}{}", Uuid::new_v4().simple()));
        private_dir(&new)?;
        let workspace = Workspace {
            directory: new.join(TREE),
            branch: "cadence/warm".to_owned(),
            identity: settings.identity.clone(),
            home: new.clone(),
            ..like.clone()
        };
        let initial = workspace.create().await?;
        workspace.configure(&initial, &settings.copied)?;
        write_file(&new.join(SETTINGS), initial.as_bytes())?;
        workspace.fill("--reset").await?;
        tokio::time::sleep(SETTLED).await;
        workspace.fill("-m").await?;
        let listed = workspace.git().call("ls-files").arg("-z").yielding().run().await?;
        let record = Record {
            version: 1,
            commit: workspace.base_commit.clone(),
            files: fields(&listed).count(),
            looks: settings.looks,
            boot: boot().to_owned(),
        };
        let text = serde_json::to_vec_pretty(&record)
            .map_err(|error| WorkspaceError::Damaged { path: new.join(RECORD), reason: error.to_string() })?;
        write_file(&new.join(RECORD), &text)?;
        // One that does not suit any more makes room.
        put_away(&ready).await?;
        match fs::rename(&new, &ready) {
            // Somebody else was faster.
            Err(_) if ready.is_dir() => put_away(&new).await,
            moved => moved.map_err(WorkspaceError::io("moving", &new)),
        }
    }

    /// Takes the workspace that was prepared ahead, where there is one that suits: its files are then in `workspace`, at
    /// another commit perhaps. Gives the settings of its repository as git made them.
    pub(super) async fn take_ready(
        &self,
        workspace: &Workspace,
        mirror: &Mirror,
        settings: &UserSettings,
        progress: Progress<'_>,
    ) -> Result<Option<String>, WorkspaceError> {
        let taken = workspace.home.join(TAKEN);
        // Of an attempt to prepare this task that was cut off.
        remove_tree(&taken)?;
        let ready = self.warm_home().join(mirror.file_name()).join(READY);
        let suits = |record: &Record| !mirror.is_fresh() && record.fits(settings);
        let Some(record) = Record::read(&ready).filter(suits) else { return Ok(None) };
        if !record.leads_to(mirror.git(), &workspace.base_commit).await || fs::rename(&ready, &taken).is_err() {
            return Ok(None);
        }
        // It may have become another one just before.
        let initial = fs::read_to_string(taken.join(SETTINGS)).ok().filter(|_| Record::read(&taken) == Some(record));
        let initial = initial.filter(|_| fs::rename(taken.join(TREE), &workspace.directory).is_ok());
        match &initial {
            Some(_) => {
                progress("Taking a workspace that was prepared ahead");
                remove_tree(&taken)?;
            }
            None => put_away(&taken).await?,
        }
        Ok(initial)
    }

    /// Removes what is left of unfinished ones, and what [`Workspaces::keep_warm`] says.
    async fn tidy_warm(&self) {
        let (home, most, data) = (self.warm_home(), self.warm, self.data.clone());
        let tidied = tokio::task::spawn_blocking(move || tidy(&home, if is_short(&data) { 0 } else { most })).await;
        if let Ok(Err(error)) = tidied {
            tracing::warn!(%error, "workspaces that were prepared ahead could not be removed");
        }
    }

    /// Looks at all that are ready: gives how many there are, and what is wrong with them. Changes nothing.
    pub async fn check_warm(&self, environment: &Environment) -> (u64, Vec<WarmFault>) {
        let (mut count, mut faults) = (0, Vec::new());
        for place in entries(&self.warm_home()) {
            for path in entries(&place) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.starts_with(UNFINISHED) {
                    continue;
                }
                let found = match name.as_str() {
                    READY => self.fault_of(&place, &path, environment).await,
                    _ => Some("it is none of cadence's files".to_owned()),
                };
                // Looked at again: one that was taken meanwhile is none.
                if path.exists() {
                    count += u64::from(name == READY);
                    faults.extend(found.map(|reason| WarmFault { path, reason }));
                }
            }
        }
        (count, faults)
    }

    async fn fault_of(&self, place: &Path, ready: &Path, environment: &Environment) -> Option<String> {
        let Some(record) = Record::read(ready) else { return Some("its record cannot be read".to_owned()) };
        if !self.mirrors().join(place.file_name().unwrap_or_default()).is_dir() {
            return Some("its mirror is gone".to_owned());
        }
        if !record.is_of_this_boot() {
            // Nobody takes it; the next server removes it.
            return None;
        }
        let tree = ready.join(TREE);
        let git = Git::new(&tree, environment).repository(&tree.join(".git")).env("GIT_WORK_TREE", &tree);
        let same = git.call("diff").args(["--quiet", "--no-ext-diff", "--ignore-submodules=all", &record.commit, "--"]);
        match same.holds().await {
            Ok(true) => {}
            Ok(false) => return Some(format!("its files are not those of {}", record.commit)),
            Err(error) => return Some(error.to_string()),
        }
        match git.call("ls-files").args(["-z", "--others"]).run().await {
            Ok(others) if others.is_empty() => None,
            Ok(_) => Some("it has files of somebody else".to_owned()),
            Err(error) => Some(error.to_string()),
        }
    }
}

impl Workspace {
    /// Brings the files to the commit, as `git checkout` does, without a branch, and yields to all else on the machine.
    async fn fill(&self, how: &str) -> Result<(), WorkspaceError> {
        let git = self.git().env("GIT_LFS_SKIP_SMUDGE", "1").setting("checkout.workers=1");
        git.call("read-tree").args([how, "-u", &self.base_commit]).yielding().run().await?;
        Ok(())
    }
}

/// Removes a directory that nobody shall find any more from this moment.
pub(super) async fn put_away(directory: &Path) -> Result<(), WorkspaceError> {
    let parent = directory.parent().unwrap_or(directory);
    let away = parent.join(format!("{UNFINISHED}{}", Uuid::new_v4().simple()));
    match fs::rename(directory, &away) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        renamed => renamed.map_err(WorkspaceError::io("moving", directory))?,
    }
    let removed = tokio::task::spawn_blocking(move || remove_tree(&away)).await;
    removed.unwrap_or_else(|error| Err(WorkspaceError::io("removing", directory)(std::io::Error::other(error))))
}

/// Removes all but the newest `most` that are ready and were used within a day. Blocks.
fn tidy(home: &Path, most: usize) -> Result<(), WorkspaceError> {
    let mut kept = Vec::new();
    for place in entries(home) {
        for path in entries(&place) {
            let made = fs::metadata(path.join(RECORD)).and_then(|meta| meta.modified());
            let fresh = made.ok().filter(|made| SystemTime::now().duration_since(*made).unwrap_or_default() < UNUSED);
            let usable = Record::read(&path).is_some_and(|record| record.is_of_this_boot());
            match fresh.filter(|_| usable && path.file_name().is_some_and(|name| name == READY)) {
                Some(made) => kept.push((made, path)),
                None => remove_tree(&path)?,
            }
        }
    }
    kept.sort();
    let surplus = kept.len().saturating_sub(most);
    for (_, path) in kept.drain(..surplus) {
        remove_tree(&path)?;
    }
    // Those that are empty now; the others do not let themselves be removed.
    let places: BTreeSet<PathBuf> = entries(home).into_iter().collect();
    places.iter().for_each(|place| drop(fs::remove_dir(place)));
    Ok(())
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

/// Whether the disk has no space to spare.
#[allow(clippy::useless_conversion, reason = "macOS counts blocks with fewer bits")]
fn is_short(path: &Path) -> bool {
    let Ok(disk) = statvfs(path) else { return true };
    let unit = u64::from(disk.fragment_size());
    let (whole, free) = (u64::from(disk.blocks()) * unit, u64::from(disk.blocks_available()) * unit);
    free < SPARED.min(whole / 10)
}

/// What tells one start of the machine from another; where it does not say, one start of this program.
fn boot() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        id.map_or_else(|_| Uuid::new_v4().to_string(), |id| id.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn what_a_killed_server_left_at_work_is_ended_before_its_files_go() {
        let data = tempfile::tempdir().unwrap();
        let workspaces = Workspaces::new(data.path());
        let half = workspaces.warm_home().join("demo.git").join(format!("{UNFINISHED}1"));
        fs::create_dir_all(&half).unwrap();
        // Writes as fast as it can, as git does.
        let mut left = std::process::Command::new("sh")
            .args(["-c", "i=0; while :; do i=$((i+1)); mkdir -p \"$0/$i\"; done", half.to_str().unwrap()])
            .env(MARKER_VARIABLE, workspaces.warm_marker())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while !half.join("100").exists() {
            assert!(begun.elapsed() < Duration::from_secs(60) && left.try_wait().unwrap().is_none());
            tokio::task::yield_now().await;
        }
        let closing = CancellationToken::new();
        let gone = async {
            while half.exists() {
                assert!(begun.elapsed() < Duration::from_secs(90), "it is still there");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            closing.cancel();
        };
        tokio::join!(workspaces.keep_warm(&closing), gone);
        assert!(!left.wait().unwrap().success());
    }
}
