//! The API of a server of the release build, over loopback.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cadence_protocol::TaskList;
use cadence_server::events::Hub;
use cadence_server::store::{FILE, Store};
use futures_util::future::join_all;
use serde_json::json;
use sqlx::{Connection, SqliteConnection};
use uuid::Uuid;

use crate::result::{Results, millis, percentile};
use crate::server::{Plain, Server};
use crate::{floor, place};

const TASKS: usize = 100_000;
/// Requests of one after another, in rounds between which the floor is measured: both meet the same disk.
const POSTS: u64 = 250;
const ROUNDS: usize = 7;
/// Requests of each of those at once.
const EACH: u64 = 250;
const AT_ONCE: u64 = 16;
/// Texts of less than three letters have no index: the whole list is looked through, and has a bound of its own.
const SHORT: &str = "limit=50&q=zq";
const LISTS: usize = 300;

pub async fn measure(results: &mut Results) {
    let directory = place::directory();
    let (home, data) = (directory.path(), directory.path().join("data"));
    std::fs::create_dir(&data).unwrap();
    // Of the user that the server's own token belongs to.
    let store = Store::open(&data.join(FILE), Arc::new(Hub::default())).await.unwrap();
    let user = store.ensure_user("owner", "admin").await.unwrap();
    // It keeps the one worker busy, so that the others wait.
    let mut first = place::new_task(user, "[[hang]]".into());
    first.repo_path = Some(place::repository(home));
    store.create_task(first, None).await.unwrap();
    let server = Server::start_after(store, home, &data).await;
    posts(results, &server, home).await;
    drop(server);

    let store = Store::open(&data.join(FILE), Arc::new(Hub::default())).await.unwrap();
    many(&store, user).await;
    store.close().await;
    spread(&data.join(FILE)).await;
    let server = Server::start(home, &data);
    lists(results, &server).await;
}

async fn posts(results: &mut Results, server: &Server, home: &Path) {
    let body = json!({"taskDescription": "one of many", "agent": "demo", "repoUrl": "https://git.invalid/app.git"});
    let post = async |count: u64| {
        let mut connection = Plain::connect(server).await;
        for _ in 0..count {
            connection.post("/api/tasks", &body).await;
        }
    };
    // What is done for the first time is left out.
    post(POSTS).await;
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let bare = POSTS as f64 / floor::inserts(home, POSTS, 1, &body.to_string()).await.as_secs_f64();
        let started = Instant::now();
        post(POSTS).await;
        let rate = POSTS as f64 / started.elapsed().as_secs_f64();
        rounds.push((rate / bare, rate, bare));
    }
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, rate, bare) = rounds[ROUNDS / 2];
    let (least, most) = (rounds[0].0, rounds[ROUNDS - 1].0);
    let beside = format!("{rate:.0}/s beside {bare:.0}/s bare commits of one row; {least:.2} to {most:.2}");
    results.at_least("POST /api/tasks, one after another", ratio, 0.5, "of bare", &beside);

    let started = Instant::now();
    join_all((0..AT_ONCE).map(|_| post(EACH))).await;
    let rate = (AT_ONCE * EACH) as f64 / started.elapsed().as_secs_f64();
    let beside = format!("{rate:.0}/s beside {bare:.0}/s bare commits of one row");
    results.at_least(&format!("POST /api/tasks, {AT_ONCE} at once"), rate / bare, 0.5, "of bare", &beside);
}

/// Stores tasks as they are handed in, and gives them what tells tasks apart.
async fn many(store: &Store, user: Uuid) {
    for chunk in 0..TASKS / 1000 {
        let new = (0..1000).map(|n| {
            let number = chunk * 1000 + n;
            let words = ["parser", "login", "cache", "index"][number % 4];
            let mut new = place::new_task(user, format!("Fix the flaky {words} test of module {number} in the build"));
            new.repo_name = format!("app{}", number % 20);
            new.repo_path = Some(format!("/srv/app{}", number % 20));
            store.create_task(new, None)
        });
        join_all(new).await.into_iter().for_each(|made| drop(made.unwrap()));
    }
}

/// Ends most tasks, and puts half of them away: by hand, since nobody runs a hundred thousand agents for it.
async fn spread(database: &Path) {
    let mut connection = SqliteConnection::connect(database.to_str().unwrap()).await.unwrap();
    for change in [
        "UPDATE tasks SET status = CASE number % 1000 WHEN 0 THEN 'waiting' WHEN 1 THEN 'failed' ELSE 'completed' END, \
         archived_at = CASE WHEN number % 2 THEN created_at END WHERE number > 100",
        "UPDATE attempts SET state = 'succeeded', ended_at = created_at WHERE state = 'pending'",
    ] {
        sqlx::query(change).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
}

async fn lists(results: &mut Results, server: &Server) {
    let deep = deep(server).await;
    for (name, query) in [
        ("GET /api/tasks of 100,000, p99", "limit=50".to_owned()),
        ("the same, far down", format!("limit=50&cursor={deep}")),
        ("the same, one status", "limit=50&status=completed".into()),
        ("the same, a rare status", "limit=50&status=failed".into()),
        ("the same, three statuses", "limit=50&status=running,waiting,failed".into()),
        ("the same, one repository", "limit=50&repo=app7".into()),
        ("the same, one repository, a rare status", "limit=50&repo=/srv/app7&status=failed,paused".into()),
        ("the same, a repository that is not there", "limit=50&repo=nonesuch".into()),
        ("the same, archived ones", "limit=50&archived=true".into()),
        ("the same, archived or not, a rare status", "limit=50&archived=all&status=waiting".into()),
        ("the same, a text that all have", "limit=50&q=flaky".into()),
        ("the same, a text that few have", "limit=50&q=module+7777+in".into()),
        ("the same, a text that none has", "limit=50&q=modules+in+the+flaky+build".into()),
        ("the same, two letters that none has", SHORT.into()),
        ("the same, the beginning of ids", "limit=50&q=ab".into()),
    ] {
        let path = format!("/api/tasks?{query}");
        let mut connection = Plain::connect(server).await;
        let mut samples = Vec::new();
        for _ in 0..LISTS {
            let started = Instant::now();
            connection.get(&path).await;
            samples.push(started.elapsed());
        }
        let median = format!("median {:.2} ms", millis(percentile(&mut samples, 50)));
        let bound = if query == SHORT { 100.0 } else { 10.0 };
        results.at_most(name, millis(percentile(&mut samples, 99)), bound, "ms", &median);
    }
}

/// A cursor 20,000 tasks down.
async fn deep(server: &Server) -> String {
    let mut cursor = String::new();
    for _ in 0..100 {
        let page = server.get(&format!("/api/tasks?limit=200{cursor}")).await;
        let page: TaskList = serde_json::from_str(&page).unwrap();
        cursor = format!("&cursor={}", page.next_cursor.unwrap());
    }
    cursor.trim_start_matches("&cursor=").to_owned()
}
