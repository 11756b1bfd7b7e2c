//! The API of a server of the release build, over loopback.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cadence_server::events::Hub;
use cadence_server::store::{FILE, Store};
use reqwest::Client;
use serde_json::json;

use crate::result::{Results, millis, percentile};
use crate::{floor, place};

pub const TOKEN: &str = "a-token-of-the-bench";
const TASKS: usize = 100_000;
const POSTS: u64 = 1_000;
const LISTS: usize = 300;

/// `cadence serve`, killed when it is dropped.
pub struct Server {
    pub child: Child,
    pub url: String,
    /// From the start of the process to its line that it is ready.
    pub took: Duration,
}

impl Server {
    pub fn start(home: &Path, data: &Path) -> Self {
        let started = Instant::now();
        let mut child = Command::new(place::built().join("cadence"))
            .args(["serve", "--listen", "127.0.0.1:0", "--workers", "1", "--data-dir"])
            .arg(data)
            .env_clear()
            .envs([("HOME", home.as_os_str()), ("PATH", "/usr/bin:/bin".as_ref()), ("CADENCE_TOKEN", TOKEN.as_ref())])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url =
            line.trim().strip_prefix("listening on ").expect("a server that is ready").trim_end_matches('/').to_owned();
        Self { child, url, took: started.elapsed() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub async fn measure(results: &mut Results) {
    let directory = place::directory();
    let (home, data) = (directory.path(), directory.path().join("data"));
    std::fs::create_dir(&data).unwrap();
    // Of the user that the server's own token belongs to.
    let store = Store::open(&data.join(FILE), Arc::new(Hub::default())).await.unwrap();
    let user = store.ensure_user("owner", "admin").await.unwrap();
    let mut first = place::new_task(user, "[[hang]]".into());
    first.repo_path = Some(repository(home));
    store.create_task(first, None).await.unwrap();
    let server = Server::start_after(store, home, &data).await;
    let client = Client::new();
    posts(results, &client, &server, home).await;
    drop(server);

    let store = Store::open(&data.join(FILE), Arc::new(Hub::default())).await.unwrap();
    for chunk in 0..TASKS / 1000 {
        let new = (0..1000).map(|n| store.create_task(place::new_task(user, format!("task {chunk} {n}")), None));
        for made in new.map(|made| async { made.await.unwrap() }).collect::<Vec<_>>() {
            made.await;
        }
    }
    let server = Server::start_after(store, home, &data).await;
    for (name, query) in [
        ("GET /api/tasks of 100,000, p99", "limit=50"),
        ("the same, one status, p99", "limit=50&status=pending"),
        ("the same, three statuses, p99", "limit=50&status=running,waiting,failed"),
        ("the same, a repository that is not there, p99", "limit=50&repo=nonesuch"),
        ("the same, archived ones, p99", "limit=50&archived=only"),
    ] {
        let mut samples = Vec::new();
        for _ in 0..LISTS {
            let started = Instant::now();
            let answer =
                client.get(format!("{}/api/tasks?{query}", server.url)).bearer_auth(TOKEN).send().await.unwrap();
            assert!(answer.status().is_success(), "{}", answer.status());
            answer.bytes().await.unwrap();
            samples.push(started.elapsed());
        }
        let median = format!("median {:.2} ms", millis(percentile(&mut samples, 50)));
        results.at_most(name, millis(percentile(&mut samples, 99)), 10.0, "ms", &median);
    }
}

async fn posts(results: &mut Results, client: &Client, server: &Server, home: &Path) {
    let body = json!({"taskDescription": "one of many", "agent": "demo", "repoPath": repository(home)});
    let started = Instant::now();
    for _ in 0..POSTS {
        let url = format!("{}/api/tasks", server.url);
        let answer = client.post(url).bearer_auth(TOKEN).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap_or_default());
    }
    let rate = POSTS as f64 / started.elapsed().as_secs_f64();
    let bare = POSTS as f64 / floor::inserts(home, POSTS, 1, &body.to_string()).await.as_secs_f64();
    let beside = format!("{rate:.0}/s beside {bare:.0}/s bare commits of one row");
    results.at_least("POST /api/tasks, one after another", rate / bare, 0.5, "of bare", &beside);
}

/// A repository with one commit.
fn repository(home: &Path) -> String {
    let path = home.join("repository");
    if !path.exists() {
        std::fs::create_dir(&path).unwrap();
        for arguments in [&["init", "-q", "-b", "main"][..], &["commit", "-q", "--allow-empty", "-m", "start"][..]] {
            let git = Command::new("git")
                .args(["-c", "user.name=bench", "-c", "user.email=bench@localhost"])
                .args(arguments)
                .current_dir(&path)
                .env_clear()
                .envs([("HOME", home.as_os_str()), ("PATH", "/usr/bin:/bin".as_ref())])
                .status();
            assert!(git.unwrap().success());
        }
    }
    path.to_str().unwrap().to_owned()
}

impl Server {
    async fn start_after(store: Store, home: &Path, data: &Path) -> Self {
        store.close().await;
        Self::start(home, data)
    }
}
