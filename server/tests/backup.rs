//! A backup is one moment of the database, and the way back loses nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cadence_protocol::{AttemptEnd, EndReason, EventData, FrameBody, TaskStatus};
use cadence_server::DataLock;
use cadence_server::backup::{BackupError, back_up, restore};
use cadence_server::events::Hub;
use cadence_server::store::{FILE, Filter, Store, StoreError};
use cadence_server::verify::verify;
use tempfile::TempDir;
use uuid::Uuid;

use support::{frame, new_task};

async fn open(data: &Path) -> Store {
    Store::open(&data.join(FILE), Arc::new(Hub::default())).await.unwrap()
}

fn said(source_seq: u64, size: usize) -> cadence_protocol::Frame {
    frame(source_seq, FrameBody::Event { event: EventData::Output { text: "x".repeat(size) } })
}

async fn assert_sound(data: &Path) {
    let environment = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    let report = verify(data, &environment).await.unwrap();
    assert!(report.faults.is_empty(), "{:#?}", report.faults);
}

/// Whoever creates, runs and ends tasks until it is told to stop.
async fn write(store: Store, user: Uuid, stop: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    while !stop.load(Ordering::Relaxed) {
        store.create_task(new_task(user, "load"), None).await.unwrap();
        let claim = store.claim(Uuid::new_v4(), 60).await.unwrap().expect("what was just created, or another");
        store.report(claim.lease, vec![said(1, 100), said(2, 70_000), said(3, 10)]).await.unwrap();
        store.finish(claim.lease, AttemptEnd::new(EndReason::Done, "done")).await.unwrap();
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_is_one_moment() {
    let (home, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(home.path()).await;
    let user = store.ensure_user("ann", "admin").await.unwrap();
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = |_| tokio::spawn(write(store.clone(), user, stop.clone(), count.clone()));
    let writers: Vec<_> = (0..4).map(load).collect();
    let (mut seen, mut n) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(60);
    // Until it was written while a copy was made, which takes as long as the machine likes.
    let mut during = false;
    while n < 5 || !during {
        assert!(Instant::now() < deadline, "nothing is written while it is copied");
        let before = count.load(Ordering::Relaxed);
        let copy = copies.path().join(format!("{n}/{FILE}"));
        std::fs::create_dir(copy.parent().unwrap()).unwrap();
        let content = back_up(home.path(), &copy, false, |_, _| ()).await.unwrap();
        assert!(content.tasks >= seen);
        seen = content.tasks;
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(copy.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        during |= seen > 0 && count.load(Ordering::Relaxed) > before;
        assert_sound(copy.parent().unwrap()).await;
        n += 1;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    store.close().await;
    // And where no server works on it.
    let content = back_up(home.path(), &copies.path().join("last.db"), false, |_, _| ()).await.unwrap();
    assert_eq!(content.tasks, count.load(Ordering::Relaxed));
}

#[tokio::test]
async fn nothing_is_written_over_by_accident() {
    let home = TempDir::new().unwrap();
    let store = open(home.path()).await;
    let database = home.path().join(FILE);
    let target = home.path().join("copy.db");
    std::fs::write(&target, "precious").unwrap();
    let refused = back_up(home.path(), &target, false, |_, _| ()).await;
    assert!(matches!(refused, Err(BackupError::Exists(_))));
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "precious");
    back_up(home.path(), &target, true, |_, _| ()).await.unwrap();
    for itself in [database.clone(), home.path().join("cadence.db-wal")] {
        let refused = back_up(home.path(), &itself, true, |_, _| ()).await;
        assert!(matches!(refused, Err(BackupError::Itself(_))), "{refused:?}");
    }
    assert!(matches!(back_up(home.path(), home.path(), true, |_, _| ()).await, Err(BackupError::Directory(_))));
    let empty = TempDir::new().unwrap();
    assert!(matches!(back_up(empty.path(), &target, true, |_, _| ()).await, Err(BackupError::NoDatabase(_))));
    store.ping().await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn what_was_under_way_is_held_back_and_what_was_there_is_kept_aside() {
    let (home, copies) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let data = home.path().join("data");
    let lock = DataLock::take(&data).unwrap();
    let store = open(&data).await;
    let user = store.ensure_user("ann", "admin").await.unwrap();
    let running = store.create_task(new_task(user, "running"), None).await.unwrap().0;
    let claim = store.claim(Uuid::new_v4(), 60).await.unwrap().unwrap();
    let session = FrameBody::Session { session_id: "s".into(), model: None };
    store.report(claim.lease, vec![frame(1, session), said(2, 10)]).await.unwrap();
    let waiting = store.create_task(new_task(user, "waiting for its turn"), None).await.unwrap().0;
    let copy = copies.path().join("copy.db");
    back_up(&data, &copy, false, |_, _| ()).await.unwrap();
    let later = store.create_task(new_task(user, "later"), None).await.unwrap().0;
    std::fs::create_dir_all(data.join("workspaces").join(later.id.to_string())).unwrap();
    store.close().await;

    let refused = restore(&data, &copy).await;
    assert!(refused.unwrap_err().to_string().contains("another cadence server uses"));
    drop(lock);
    let refused = restore(&data, &copies.path().join("none.db")).await;
    assert!(matches!(refused, Err(BackupError::Io { .. })), "{refused:?}");
    std::fs::write(copies.path().join("wrong.db"), "no database").unwrap();
    let refused = restore(&data, &copies.path().join("wrong.db")).await;
    assert!(matches!(refused, Err(BackupError::Storage { error: StoreError::Damaged(_), .. })), "{refused:?}");
    assert!(data.join(FILE).exists(), "what is refused changes nothing");

    let restored = restore(&data, &copy).await.unwrap();
    // The workspace of what had begun is not there.
    assert_eq!((restored.content.tasks, restored.paused, restored.lost), (2, 1, 1));
    let aside = restored.aside.unwrap();
    assert!(aside.join(FILE).exists());
    assert!(aside.join("workspaces").join(later.id.to_string()).is_dir());
    assert_eq!(restored.workspaces_aside, 1);
    assert_sound(&data).await;
    let store = open(&data).await;
    let status = async |id| store.task(user, id).await.map(|task| task.status);
    assert_eq!(status(running.id).await.unwrap(), TaskStatus::Failed);
    assert_eq!(status(waiting.id).await.unwrap(), TaskStatus::Paused);
    assert!(matches!(status(later.id).await, Err(StoreError::NotFound(_))));
    assert!(store.claim(Uuid::new_v4(), 60).await.unwrap().is_none(), "nothing begins by itself");
    store.close().await;

    // And back again.
    std::fs::remove_dir_all(data.join("workspaces")).ok();
    restore(&data, &aside.join(FILE)).await.unwrap();
    let store = open(&data).await;
    assert_eq!(store.tasks(user, Filter { limit: 10, ..Filter::default() }).await.unwrap().0.len(), 3);
    store.close().await;
    let hidden =
        std::fs::read_dir(&data).unwrap().flatten().filter(|e| e.file_name().to_string_lossy().starts_with('.'));
    assert_eq!(hidden.count(), 0, "nothing is left beside it");
}
