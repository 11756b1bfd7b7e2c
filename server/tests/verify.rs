//! The checker finds each way in which a data directory can break a promise.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cadence_protocol::{ApprovalKind, AttemptEnd, EndReason, EventData, FrameBody, Usage};
use cadence_server::events::Hub;
use cadence_server::store::{FILE, Store};
use cadence_server::verify::{Report, verify};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;
use uuid::Uuid;

use support::frame;

/// A data directory with a task that is done and one that waits for an approval.
async fn stored() -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(&home.path().join(FILE), Arc::new(Hub::default())).await.unwrap();
    let user_id = store.ensure_user("ann", "admin").await.unwrap();
    for description in ["first", "second"] {
        let new = support::new_task(user_id, description);
        store.create_task(new, None).await.unwrap();
    }
    let claim = store.claim(Uuid::new_v4(), 60).await.unwrap().unwrap();
    let usage = Usage { cost_usd: 0.25, input_tokens: 1, output_tokens: 1 };
    store.report(claim.lease, vec![frame(1, FrameBody::Usage { usage })]).await.unwrap();
    store.finish(claim.lease, AttemptEnd::new(EndReason::Done, "done")).await.unwrap();
    let claim = store.claim(Uuid::new_v4(), 60).await.unwrap().unwrap();
    let event = EventData::ApprovalRequested {
        approval_id: "r1".into(),
        kind: ApprovalKind::Permission,
        tool: "Bash".into(),
        input: serde_json::json!({}),
        suggestions: None,
    };
    store.report(claim.lease, vec![frame(1, FrameBody::Event { event })]).await.unwrap();
    store.close().await;
    home
}

async fn open(home: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(home.join(FILE)).foreign_keys(false).connect().await.unwrap()
}

async fn look(home: &Path) -> Report {
    let environment = BTreeMap::from([("PATH".to_owned(), std::env::var("PATH").unwrap())]);
    verify(home, &environment).await.unwrap()
}

#[tokio::test]
async fn a_good_store_has_no_faults() {
    let home = stored().await;
    let report = look(home.path()).await;
    assert_eq!((report.tasks, report.attempts, report.events), (2, 2, 7));
    assert_eq!(report.faults, []);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(look(empty.path()).await, Report::default());
}

#[tokio::test]
async fn each_broken_promise_is_found() {
    let done = "(SELECT id FROM tasks WHERE description = 'first')";
    let live = "(SELECT id FROM tasks WHERE description = 'second')";
    let damages = [
        ("events are gap-free", format!("DELETE FROM events WHERE task_id = {done} AND seq = 2")),
        ("events are gap-free", format!("DELETE FROM events WHERE task_id = {done} AND seq = 4")),
        ("events are gap-free", format!("DELETE FROM events WHERE task_id = {live}")),
        ("events can be read", format!("UPDATE events SET data = '{{}}' WHERE task_id = {done} AND seq = 1")),
        (
            "an attempt ends once",
            format!(
                "UPDATE events SET data = (SELECT data FROM events e WHERE e.task_id = {done} AND e.seq = 3) WHERE task_id = {live} AND seq = 1"
            ),
        ),
        (
            "statuses are a chain",
            format!("UPDATE events SET data = replace(data, 'pending', 'paused') WHERE task_id = {done} AND seq = 2"),
        ),
        (
            "statuses are a chain",
            format!("UPDATE events SET data = replace(data, 'running', 'paused') WHERE task_id = {live} AND seq = 2"),
        ),
        (
            "a task's status follows from its newest attempt",
            format!("UPDATE tasks SET status = 'failed' WHERE id = {done}"),
        ),
        (
            "only the newest attempt is live",
            format!(
                "INSERT INTO attempts (task_id, number, user_id, state, prompt, created_at) SELECT task_id, 7, user_id, 'running', '', 0 FROM attempts WHERE task_id = {live}"
            ),
        ),
        ("attempts are counted", format!("UPDATE tasks SET attempt = 2 WHERE id = {done}")),
        (
            "an attempt's state follows from its end",
            format!("UPDATE attempts SET state = 'failed' WHERE task_id = {done}"),
        ),
        ("an ended attempt has no lease", format!("UPDATE attempts SET holder = x'00' WHERE task_id = {done}")),
        ("an ended attempt says when and why", format!("UPDATE attempts SET ended_at = NULL WHERE task_id = {done}")),
        ("a held attempt was claimed", format!("UPDATE attempts SET lease_epoch = 0 WHERE task_id = {live}")),
        (
            "no command is lost",
            format!(
                "INSERT INTO commands (id, task_id, attempt, user_id, body, created_at) SELECT id, id, 1, user_id, '{{\"kind\":\"pause\"}}', 0 FROM tasks WHERE id = {done}"
            ),
        ),
        (
            "commands can be read",
            format!(
                "INSERT INTO commands (id, task_id, attempt, user_id, body, created_at) SELECT id, id, 1, user_id, 'x', 0 FROM tasks WHERE id = {live}"
            ),
        ),
        ("what waits is of a live attempt", format!("UPDATE approvals SET task_id = {done}")),
        ("approvals agree with the events", "DELETE FROM approvals".to_owned()),
        ("a task costs what its attempts cost", format!("UPDATE tasks SET cost_usd = 7 WHERE id = {done}")),
        ("progress is 100 only on success", format!("UPDATE tasks SET progress = 100 WHERE id = {live}")),
        ("everything belongs to the task's owner", "UPDATE events SET user_id = x'00'".to_owned()),
        ("words are known", format!("UPDATE tasks SET status = 'x' WHERE id = {done}")),
        ("words are known", format!("UPDATE attempts SET state = 'x' WHERE task_id = {live}")),
        (
            "the database is sound",
            "INSERT INTO event_data (task_id, seq, user_id, data) VALUES (x'00', 1, x'00', '')".to_owned(),
        ),
    ];
    let good = stored().await;
    for (rule, damage) in damages {
        let home = tempfile::tempdir().unwrap();
        std::fs::copy(good.path().join(FILE), home.path().join(FILE)).unwrap();
        let mut conn = open(home.path()).await;
        let changed = sqlx::query(sqlx::AssertSqlSafe(damage.clone())).execute(&mut conn).await.unwrap();
        assert_ne!(changed.rows_affected(), 0, "{damage}");
        conn.close().await.unwrap();
        let found: Vec<_> = look(home.path()).await.faults.into_iter().map(|fault| fault.rule).collect();
        assert!(found.contains(&rule), "{rule}: {damage} gave {found:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_outside_of_storage_is_found() {
    let home = stored().await;
    let orphan = home.path().join("workspaces").join(Uuid::new_v4().to_string());
    std::fs::create_dir_all(&orphan).unwrap();
    let mut conn = open(home.path()).await;
    let done: Uuid =
        sqlx::query_scalar("SELECT id FROM tasks WHERE description = 'first'").fetch_one(&mut conn).await.unwrap();
    conn.close().await.unwrap();
    let mut left = std::process::Command::new("cat")
        .env("CADENCE_ATTEMPT", format!("{done}:1"))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // The system may show an environment a moment after the program has begun.
    let environ = format!("/proc/{}/environ", left.id());
    let begun = std::time::Instant::now();
    while cfg!(target_os = "linux") && std::fs::read(&environ).unwrap().is_empty() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it has no environment");
        tokio::task::yield_now().await;
    }
    let half = home.path().join("warm/app-0.git/ready");
    std::fs::create_dir_all(&half).unwrap();
    let report = look(home.path()).await;
    left.kill().unwrap();
    left.wait().unwrap();
    let mut found: Vec<_> = report.faults.iter().map(|fault| (fault.rule, fault.detail.clone())).collect();
    found.sort();
    let pid = left.id();
    assert_eq!(
        found,
        [
            ("a workspace has a task", format!("{} belongs to none", orphan.display())),
            ("a workspace prepared ahead is whole", format!("{}: its record cannot be read", half.display())),
            ("no process outlives its attempt", format!("process {pid} of attempt 1 is alive")),
        ]
    );
}
