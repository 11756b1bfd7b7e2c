//! What a server does beside its work: it looks after the storage, and lets go of what is old.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cadence_agent::workspace::{WorkspaceError, Workspaces};
use cadence_protocol::{PrunedTask, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::Retention;
use crate::results::Results;
use crate::start::inherited;
use crate::store::{Store, StoreError, now};

/// The first look at what is old comes when the start is over.
const FIRST: Duration = Duration::from_secs(10);
const DAY: Duration = Duration::from_secs(24 * 3600);
/// How often the storage is looked after, and is tried again where it fails.
const LOOK: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(1);
/// Tasks that are removed at once.
const BATCH: u32 = 20;
/// No further one is begun after so long.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long idempotency keys are good for, and acknowledged commands are kept.
const ROWS: Duration = Duration::from_secs(7 * 24 * 3600);
/// Name of the mark of the last look at what is old.
const MARK: &str = "retention";

/// The one who does it.
#[derive(Clone)]
pub struct Upkeep {
    pub store: Store,
    pub workspaces: Arc<Workspaces>,
    pub retention: Retention,
}

/// What is to be done about what is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing is known of the time that went by: begin to count now.
    Begin,
    Wait,
    /// Delete what was old already at this time.
    Delete(Timestamp),
}

/// Nothing is deleted at the first look that finds it old, but at the next one, a day or more later: a clock that is set
/// wrong for a while deletes nothing.
fn step(mark: Option<Timestamp>, now: Timestamp) -> Step {
    let Some(mark) = mark else { return Step::Begin };
    let passed = now - mark;
    if passed < time::Duration::ZERO || passed > time::Duration::days(7) {
        Step::Begin
    } else if passed < time::Duration::days(1) {
        Step::Wait
    } else {
        Step::Delete(mark)
    }
}

/// What one round deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleted {
    pub tasks: u64,
    pub kept: u64,
    pub rows: u64,
    pub logs: u64,
    pub bundles: u64,
}

/// Removes the workspace of a task; its tear-down command gets the environment that its agent had.
pub async fn remove_workspace(
    store: &Store,
    workspaces: &Workspaces,
    task: Uuid,
    force: bool,
) -> Result<(), WorkspaceError> {
    let mut environment = inherited();
    match store.environment(task).await {
        Ok(own) => environment.extend(own),
        Err(error) => tracing::warn!(%task, %error, "the task's variables are not known any more"),
    }
    workspaces.remove_after(task, force, Some(&environment)).await
}

impl Upkeep {
    /// Works until the server closes. `broke_off`: the server before did not end by itself.
    pub async fn run(self, broke_off: bool, closing: CancellationToken) {
        tokio::select! {
            () = self.work(broke_off) => {}
            () = closing.cancelled() => {}
        }
    }

    async fn work(&self, broke_off: bool) {
        if broke_off && let Err(error) = self.store.check_pages().await {
            tracing::warn!(%error, "the database could not be checked");
        }
        let mut sweep = interval_at(Instant::now() + FIRST, DAY);
        let mut look = interval_at(Instant::now() + LOOK, LOOK);
        for timer in [&mut sweep, &mut look] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        let mut trouble = self.store.trouble().watch();
        let mut large = false;
        loop {
            tokio::select! {
                _ = sweep.tick() => match self.sweep(now()).await {
                    Ok(deleted) if deleted == Deleted::default() => {}
                    Ok(deleted) => tracing::info!(?deleted, "what was old is deleted"),
                    Err(error) => tracing::warn!(%error, "what is old could not be deleted; it is tried again tomorrow"),
                },
                _ = look.tick() => match self.tidy().await {
                    Ok(Some(size)) if !large => {
                        large = true;
                        tracing::warn!(size, "somebody reads the database for long, and its write-ahead log grows meanwhile");
                    }
                    Ok(log) => large = log.is_some(),
                    Err(error) => tracing::debug!(%error, "the storage could not be tidied"),
                },
                () = fails(&mut trouble) => {
                    sleep(RETRY).await;
                    // Notes by itself when it works again.
                    let _ = self.store.try_out().await;
                }
            }
        }
    }

    /// Gives what large log is left that somebody reads.
    async fn tidy(&self) -> Result<Option<u64>, StoreError> {
        self.store.purge().await?;
        self.store.fold_log().await
    }

    /// Deletes what is older than the settings say, at the second look.
    pub async fn sweep(&self, now: Timestamp) -> Result<Deleted, StoreError> {
        let cutoff = match step(self.store.marked(MARK).await?, now) {
            Step::Wait => return Ok(Deleted::default()),
            Step::Begin => {
                self.store.mark(MARK, now).await?;
                return Ok(Deleted::default());
            }
            Step::Delete(cutoff) => cutoff,
        };
        let mut deleted = Deleted { rows: self.store.prune_rows(cutoff - ROWS).await?, ..Deleted::default() };
        deleted.bundles = self.prune_bundles(cutoff).await?;
        deleted.logs = self.prune_logs(cutoff - self.retention.logs, None, false).await?;
        if let Some(age) = self.retention.archived {
            let mut after = None;
            loop {
                let (tasks, next) = self.prune_tasks(cutoff - age, None, after, false).await?;
                let kept = tasks.iter().filter(|task| task.kept.is_some()).count() as u64;
                deleted.kept += kept;
                deleted.tasks += tasks.len() as u64 - kept;
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        self.store.mark(MARK, now).await?;
        self.give_back().await?;
        Ok(deleted)
    }

    /// Gives the room of what was deleted back to the file system.
    pub async fn give_back(&self) -> Result<u64, StoreError> {
        self.store.purge().await?;
        self.store.shrink().await
    }

    /// Removes some of the tasks that were archived before `cutoff`, with their workspaces and branches as `cadence tasks rm`
    /// does: one with work that is found nowhere else is kept. Gives where to go on, until there are no more.
    pub async fn prune_tasks(
        &self,
        cutoff: Timestamp,
        user: Option<Uuid>,
        after: Option<(Timestamp, Uuid)>,
        dry_run: bool,
    ) -> Result<(Vec<PrunedTask>, Option<(Timestamp, Uuid)>), StoreError> {
        let began = Instant::now();
        let due = self.store.archived_before(cutoff, user, after, BATCH).await?;
        let mut next = due.last().filter(|_| due.len() == BATCH as usize).map(|task| (task.archived_at, task.id));
        let mut pruned: Vec<PrunedTask> = Vec::with_capacity(due.len());
        for task in due {
            // Remotes that are asked for the work may be slow, and somebody waits for the answer.
            if let Some(last) = pruned.last().filter(|_| began.elapsed() > PATIENCE) {
                next = Some((last.archived_at, last.id));
                break;
            }
            let held = match dry_run {
                true => self.workspaces.can_remove(task.id).await,
                false => remove_workspace(&self.store, &self.workspaces, task.id, false).await,
            };
            let mut kept = held.err().map(|error| error.to_string());
            if kept.is_none() && !dry_run {
                match self.store.delete_archived(task.user_id, task.id).await {
                    Ok(()) => self.forget_result(task.id),
                    // Somebody took it out again, or removed it himself.
                    Err(error @ (StoreError::Conflict(_) | StoreError::NotFound(_))) => kept = Some(error.to_string()),
                    Err(error) => return Err(error),
                }
            }
            pruned.push(PrunedTask {
                id: task.id,
                task_description: task.description,
                archived_at: task.archived_at,
                kept,
            });
        }
        Ok((pruned, next))
    }

    /// What a task did on another machine goes with the task.
    fn forget_result(&self, task: Uuid) {
        let data = self.store.path();
        let removed = data.parent().map_or(Ok(()), |data| Results::new(data).remove(task));
        if let Err(error) = removed {
            tracing::warn!(%error, "a result is left of a removed task");
        }
    }

    /// Deletes bundles that came before `cutoff` and that no task uses, and what is left of some that never came whole. Gives
    /// how many.
    async fn prune_bundles(&self, cutoff: Timestamp) -> Result<u64, StoreError> {
        let unused = self.store.prune_bundles(cutoff).await?;
        let parts = self.store.path().with_file_name("bundles");
        let files: Vec<PathBuf> = unused.iter().map(|id| self.workspaces.bundle_file(*id)).collect();
        let cutoff = SystemTime::from(cutoff);
        let removed = tokio::task::spawn_blocking(move || {
            let left = files.into_iter().chain(old_parts(&parts, cutoff));
            left.filter(|path| remove(path).is_ok()).count() as u64
        });
        Ok(removed.await.unwrap_or_default())
    }

    /// Deletes agents' own lines that nobody added to since `cutoff`, of tasks at which nobody works. Gives how many files.
    pub async fn prune_logs(&self, cutoff: Timestamp, user: Option<Uuid>, dry_run: bool) -> Result<u64, StoreError> {
        let directory = self.store.path().with_file_name("workspaces");
        let cutoff = SystemTime::from(cutoff);
        let old = tokio::task::spawn_blocking(move || old_logs(directory, cutoff)).await.unwrap_or_default();
        let mut deleted = 0;
        for (task, path) in old {
            if self.store.is_live(task, user).await? == Some(false) && (dry_run || std::fs::remove_file(path).is_ok()) {
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}

/// Waits until the storage fails of something that may pass.
async fn fails(trouble: &mut watch::Receiver<Option<StoreError>>) {
    let passing = |now: &Option<StoreError>| matches!(now, Some(error) if !matches!(error, StoreError::Damaged(_)));
    if trouble.wait_for(passing).await.is_err() {
        std::future::pending().await
    }
}

/// What a server that was killed left of bundles on their way.
fn old_parts(directory: &Path, cutoff: SystemTime) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let parts = entries.filter(|entry| {
        let is_part = entry.file_name().to_str().is_some_and(|name| name.starts_with('.'));
        is_part && entry.metadata().and_then(|meta| meta.modified()).is_ok_and(|changed| changed < cutoff)
    });
    parts.map(|entry| entry.path()).collect()
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
}

fn old_logs(directory: PathBuf, cutoff: SystemTime) -> Vec<(Uuid, PathBuf)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let logs = entries.filter_map(|entry| {
        let task = Uuid::try_parse(entry.file_name().to_str()?).ok()?;
        let path = entry.path().join("agent.log");
        let changed = std::fs::symlink_metadata(&path).ok()?.modified().ok()?;
        (changed < cutoff).then_some((task, path))
    });
    logs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_deletes_nothing() {
        let day = |n: i64| Timestamp::UNIX_EPOCH + time::Duration::days(20_000 + n);
        assert_eq!(step(None, day(0)), Step::Begin);
        assert_eq!(step(Some(day(0)), day(0) + time::Duration::hours(23)), Step::Wait);
        // What counts is what was old when it was looked at before.
        assert_eq!(step(Some(day(0)), day(1)), Step::Delete(day(0)));
        assert_eq!(step(Some(day(0)), day(1) + time::Duration::hours(30)), Step::Delete(day(0)));
        // Years ahead, and back again.
        assert_eq!(step(Some(day(0)), day(4000)), Step::Begin);
        assert_eq!(step(Some(day(4000)), day(0)), Step::Begin);
    }
}
