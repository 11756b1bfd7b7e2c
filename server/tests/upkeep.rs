//! What is old goes, bit by bit, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cadence_agent::workspace::Workspaces;
use cadence_protocol::{AttemptEnd, EndReason, EventData, FrameBody, Task, Timestamp};
use cadence_server::Retention;
use cadence_server::events::Hub;
use cadence_server::store::{FILE, Idempotency, Store, StoreError};
use cadence_server::upkeep::{Deleted, Upkeep};
use uuid::Uuid;

use support::{frame, new_task};

const DAY: Duration = Duration::from_secs(24 * 3600);

struct World {
    upkeep: Upkeep,
    user: Uuid,
    home: tempfile::TempDir,
}

impl World {
    async fn new(archived_days: Option<u32>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join(FILE), Arc::new(Hub::default())).await.unwrap();
        let user = store.ensure_user("ann", "admin").await.unwrap();
        let workspaces = Arc::new(Workspaces::new(home.path()));
        let retention = Retention { archived: archived_days.map(|days| DAY * days), ..Retention::default() };
        Self { upkeep: Upkeep { store, workspaces, retention }, user, home }
    }

    fn store(&self) -> &Store {
        &self.upkeep.store
    }

    async fn ended(&self, description: &str, events: u64) -> Task {
        let key = Idempotency { key: description.into(), request: vec![1] };
        let task = self.store().create_task(new_task(self.user, description), Some(key)).await.unwrap().0;
        let claim = self.store().claim(Uuid::new_v4(), 60).await.unwrap().unwrap();
        let said = |n| frame(n, FrameBody::Event { event: EventData::Output { text: "x".repeat(2000) } });
        for first in (1..=events).step_by(250) {
            self.store().report(claim.lease, (first..first + 250).map(said).collect()).await.unwrap();
        }
        self.store().finish(claim.lease, AttemptEnd::new(EndReason::Done, "done")).await.unwrap();
        task
    }

    async fn archived(&self, description: &str, events: u64) -> Task {
        let task = self.ended(description, events).await;
        self.store().archive(self.user, task.id, true).await.unwrap()
    }

    /// Looks on two days after another, that many days from now.
    async fn sweep(&self, days: i64) -> Deleted {
        let at = Timestamp::now_utc() + time::Duration::days(days);
        self.upkeep.sweep(at).await.unwrap();
        self.upkeep.sweep(at + time::Duration::days(1)).await.unwrap()
    }

    async fn is_there(&self, task: &Task) -> bool {
        match self.store().task(self.user, task.id).await {
            Ok(_) => true,
            Err(StoreError::NotFound(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[tokio::test]
async fn archived_tasks_go_when_it_is_wanted_and_their_room_is_given_back() {
    let world = World::new(Some(30)).await;
    let (live, open) = (world.ended("not archived", 1).await, world.archived("archived", 5000).await);
    assert_eq!(world.sweep(20).await, Deleted { rows: 2, ..Deleted::default() }, "keys of requests are old by then");
    assert!(world.is_there(&open).await);
    let events = world.store().events(world.user, open.id, 0, 10).await.unwrap();
    assert_eq!(events.len(), 10);
    let before = size(&world.store().path()) + size(&world.home.path().join("cadence.db-wal"));
    assert_eq!(world.sweep(32).await.tasks, 1);
    assert!(!world.is_there(&open).await);
    assert!(world.is_there(&live).await);
    assert!(world.store().events(world.user, open.id, 0, 10).await.unwrap().is_empty());
    let after = size(&world.store().path()) + size(&world.home.path().join("cadence.db-wal"));
    assert!(after < before / 2, "{after} of {before} bytes are left");
    world.store().close().await;
}

#[tokio::test]
async fn without_the_setting_nothing_of_a_task_goes() {
    let world = World::new(None).await;
    let task = world.archived("archived", 10).await;
    assert_eq!(world.sweep(4000).await.tasks, 0);
    assert!(world.is_there(&task).await);
    world.store().close().await;
}

#[tokio::test]
async fn a_clock_that_jumps_for_a_while_deletes_nothing() {
    let world = World::new(Some(30)).await;
    let task = world.archived("archived", 10).await;
    let now = Timestamp::now_utc();
    for days in [0, 400, 0, 400, 401 - 400] {
        world.upkeep.sweep(now + time::Duration::days(days)).await.unwrap();
    }
    assert!(world.is_there(&task).await);
    world.store().close().await;
}

#[tokio::test]
async fn raw_logs_go_where_nobody_works() {
    let world = World::new(None).await;
    let ended = world.ended("ended", 1).await;
    let waits = world.store().create_task(new_task(world.user, "waits"), None).await.unwrap().0;
    let log = |task: &Task| world.home.path().join("workspaces").join(task.id.to_string()).join("agent.log");
    for task in [&ended, &waits] {
        std::fs::create_dir_all(log(task).parent().unwrap()).unwrap();
        std::fs::write(log(task), "{}\n").unwrap();
        let old = SystemTime::now() - DAY * 40;
        std::fs::File::options().write(true).open(log(task)).unwrap().set_modified(old).unwrap();
    }
    assert_eq!(world.sweep(0).await.logs, 1);
    assert!(!log(&ended).exists() && log(&waits).exists());
    world.store().close().await;
}

#[tokio::test]
async fn the_removal_of_a_large_task_holds_up_nobody() {
    let world = World::new(Some(0)).await;
    let large = world.archived("large", 20_000).await;
    let removing = world.store().delete_task(world.user, large.id);
    removing.await.unwrap();
    let purging = tokio::spawn({
        let store = world.store().clone();
        async move { store.purge().await }
    });
    let mut longest = Duration::ZERO;
    let mut turns = 0;
    while !purging.is_finished() {
        let began = std::time::Instant::now();
        world.store().try_out().await.unwrap();
        longest = longest.max(began.elapsed());
        turns += 1;
    }
    purging.await.unwrap().unwrap();
    assert!(turns > 10, "others got their turn {turns} times");
    assert!(longest < Duration::from_secs(1), "somebody waited for {longest:?}");
    world.store().close().await;
}
