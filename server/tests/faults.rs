//! What goes wrong with the file under the storage is told apart, and nothing is made anew over it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cadence_protocol::{EventData, FrameBody};
use cadence_server::backup::glance;
use cadence_server::events::Hub;
use cadence_server::store::{FILE, Store, StoreError, schema_version};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use uuid::Uuid;

async fn open(database: &Path) -> Result<Store, StoreError> {
    Store::open(database, Arc::new(Hub::default())).await
}

/// A database with a task, closed.
async fn stored() -> (TempDir, PathBuf, Uuid) {
    let home = tempfile::tempdir().unwrap();
    let database = home.path().join(FILE);
    let store = open(&database).await.unwrap();
    let user = store.ensure_user("ann", "admin").await.unwrap();
    let task = store.create_task(support::new_task(user, "first"), None).await.unwrap().0;
    let claim = store.claim(Uuid::new_v4(), 60).await.unwrap().unwrap();
    let said = FrameBody::Event { event: EventData::Output { text: "hello".into() } };
    store.report(claim.lease, vec![support::frame(1, said)]).await.unwrap();
    store.close().await;
    (home, database, task.id)
}

/// Another program at the same file.
async fn stranger(database: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(database).connect().await.unwrap()
}

/// Refused, and left as it was, byte for byte.
async fn refused(database: &Path) -> StoreError {
    let before = std::fs::read(database).unwrap_or_default();
    let error = open(database).await.err().expect("it is refused");
    assert_eq!(std::fs::read(database).unwrap_or_default(), before, "{error}");
    assert!(error.hint().is_some(), "{error}");
    error
}

#[tokio::test]
async fn a_newer_and_an_edited_schema_are_told_apart() {
    let (_home, database, _) = stored().await;
    let mut other = stranger(&database).await;
    sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00'").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    assert!(matches!(refused(&database).await, StoreError::Edited(1)));

    let mut other = stranger(&database).await;
    sqlx::query(
        "INSERT INTO _sqlx_migrations SELECT 99, 'later', installed_on, 1, checksum, 0 FROM _sqlx_migrations LIMIT 1",
    )
    .execute(&mut other)
    .await
    .unwrap();
    other.close().await.unwrap();
    let error = refused(&database).await;
    assert!(matches!(error, StoreError::Newer { found: 99, known } if known == schema_version()), "{error}");
    assert!(matches!(glance(&database).await, Err(StoreError::Newer { found: 99, .. })));
}

#[tokio::test]
async fn what_is_no_database_of_ours_is_refused() {
    let (home, database, _) = stored().await;
    let whole = std::fs::read(&database).unwrap();
    for (bytes, what) in
        [(b"hello".to_vec(), "too short"), (vec![7; 8192], "no database"), (whole[..whole.len() / 2].to_vec(), "cut")]
    {
        std::fs::write(&database, bytes).unwrap();
        assert!(matches!(refused(&database).await, StoreError::Damaged(_)), "{what}");
    }
    // Another program's.
    let foreign = home.path().join("foreign.db");
    let mut other = SqliteConnectOptions::new().filename(&foreign).create_if_missing(true).connect().await.unwrap();
    sqlx::query("CREATE TABLE theirs (a)").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    let error = refused(&foreign).await;
    assert!(error.to_string().contains("another program"), "{error}");
}

#[tokio::test]
async fn one_that_is_gone_is_not_made_anew_over_the_work() {
    let (home, database, task) = stored().await;
    std::fs::remove_file(&database).unwrap();
    std::fs::create_dir_all(home.path().join("workspaces").join(task.to_string())).unwrap();
    assert!(matches!(refused(&database).await, StoreError::Missing));
    std::fs::write(&database, b"").unwrap();
    assert!(matches!(refused(&database).await, StoreError::Missing));
    // Without work a new one is made, as at the first start.
    std::fs::remove_dir_all(home.path().join("workspaces")).unwrap();
    open(&database).await.unwrap().close().await;
}

#[tokio::test]
async fn a_damaged_write_ahead_log_is_not_passed_over() {
    let (_home, database, _) = stored().await;
    let log = database.with_file_name("cadence.db-wal");
    let store = open(&database).await.unwrap();
    store.ensure_user("bob", "member").await.unwrap();
    // As a crash leaves it.
    let (left, data) = (std::fs::read(&log).unwrap(), std::fs::read(&database).unwrap());
    store.close().await;
    std::fs::write(&database, data).unwrap();
    let mut broken = left.clone();
    broken[18] ^= 1;
    std::fs::write(&log, broken).unwrap();
    let error = refused(&database).await;
    assert!(error.to_string().contains("cadence.db-wal"), "{error}");
    std::fs::write(&log, left).unwrap();
    let store = open(&database).await.unwrap();
    store.close().await;
    let mut other = stranger(&database).await;
    let users: i64 = sqlx::query_scalar("SELECT count(*) FROM users").fetch_one(&mut other).await.unwrap();
    assert_eq!(users, 2, "what was in the log is there");
}

#[tokio::test]
async fn a_damaged_page_stops_all_writing() {
    let (_home, database, task) = stored().await;
    let mut other = stranger(&database).await;
    let page: i64 = sqlx::query_scalar("SELECT rootpage FROM sqlite_schema WHERE name = 'events'")
        .fetch_one(&mut other)
        .await
        .unwrap();
    let size: i64 = sqlx::query_scalar("PRAGMA page_size").fetch_one(&mut other).await.unwrap();
    other.close().await.unwrap();
    let file = OpenOptions::new().write(true).open(&database).unwrap();
    file.write_all_at(&[0xff; 512], u64::try_from((page - 1) * size).unwrap()).unwrap();

    let store = open(&database).await.unwrap();
    let user = store.ensure_user("ann", "admin").await.unwrap();
    assert!(matches!(store.events(user, task, 0, 10).await, Err(StoreError::Damaged(_))));
    assert!(!store.check_pages().await.unwrap());
    assert_eq!(store.ping().await.unwrap_err().code(), "database_damaged");
    assert!(matches!(store.ensure_user("bob", "member").await, Err(StoreError::Damaged(_))));
    // What can be read still is.
    assert_eq!(store.task(user, task).await.unwrap().id, task);
    store.close().await;
}

#[tokio::test]
async fn a_lock_of_another_program_is_waited_for_and_said() {
    let (_home, database, _) = stored().await;
    let store = open(&database).await.unwrap();
    let mut other = stranger(&database).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let mut trouble = store.trouble().watch();
    assert!(matches!(store.ensure_user("bob", "member").await, Err(StoreError::Busy)));
    assert_eq!(store.ping().await.unwrap_err().code(), "database_locked");
    assert!(trouble.borrow_and_update().is_some());
    sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    store.try_out().await.unwrap();
    store.ping().await.unwrap();
    assert!(trouble.borrow_and_update().is_none());
    store.close().await;
}
