//! From a task's request to its agent at work in a workspace, beside git's own way to a second checkout of the same files.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use reqwest::Client;
use serde_json::{Value, json};

use crate::place;
use crate::result::{Results, millis, percentile};
use crate::server::{Server, TOKEN};

const FILES: usize = 5_000;
const BYTES: usize = 4_096;
const RUNS: usize = 5;
/// How long one thing may take before the measurement is given up.
const LIMIT: Duration = Duration::from_secs(60);

pub async fn measure(results: &mut Results) {
    let directory = place::directory();
    let home = directory.path();
    std::fs::create_dir_all(home.join(".config/cadence")).unwrap();
    let repository = Repository::make(home);
    let keep = |workspaces: usize| {
        let settings = format!("warm_workspaces = {workspaces}\n");
        std::fs::write(home.join(".config/cadence/config.toml"), settings).unwrap();
    };

    keep(0);
    let (mut floor, mut first, mut cold) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        floor.push(repository.worktree(&format!("first-git{run}")));
        let place = Place::new(home, &format!("first{run}"), &repository);
        first.push(place.task().await);
    }
    let place = Place::new(home, "cold", &repository);
    place.task().await;
    for run in 0..RUNS {
        floor.push(repository.worktree(&format!("cold-git{run}")));
        cold.push(place.task().await);
    }
    drop(place);
    let floor = percentile(&mut floor, 50);
    for (name, samples) in [("no workspace, first use", &mut first), ("no workspace, a mirror", &mut cold)] {
        let median = percentile(samples, 50);
        let beside = format!("{:.0} ms beside {:.0} ms of git worktree add", millis(median), millis(floor));
        results.at_most(
            &format!("POST to agent, {name}, beyond git"),
            millis(median) - millis(floor),
            100.0,
            "ms",
            &beside,
        );
    }

    keep(5);
    let place = Place::new(home, "warm", &repository);
    place.task().await;
    let (mut same, mut moved) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        place.until_warm().await;
        same.push(place.task().await);
    }
    for run in 0..RUNS {
        repository.commit(run);
        place.until_warm().await;
        moved.push(place.task().await);
    }
    for (name, samples) in [("a warm workspace", &mut same), ("a warm one, ten files on", &mut moved)] {
        let longest = format!("longest {:.0} ms", millis(percentile(samples, 100)));
        results.at_most(&format!("POST to agent, {name}, p50"), millis(percentile(samples, 50)), 150.0, "ms", &longest);
    }
}

/// A repository of 5,000 files and 20 MB, as a clone has it: in one pack.
pub struct Repository {
    path: PathBuf,
    home: PathBuf,
}

impl Repository {
    pub fn make(home: &Path) -> Self {
        let repository = Self { path: home.join("repository"), home: home.to_owned() };
        std::fs::create_dir(&repository.path).unwrap();
        repository.git(&["init", "-q", "-b", "main"]);
        for number in 0..FILES {
            repository.write(number, 0);
        }
        repository.git(&["add", "-A"]);
        repository.git(&["commit", "-q", "-m", "start"]);
        repository.git(&["repack", "-q", "-a", "-d"]);
        repository
    }

    /// Text that no other file has.
    fn write(&self, number: usize, version: usize) {
        let directory = self.path.join(format!("part{}/{}", number / 500, number / 50));
        std::fs::create_dir_all(&directory).unwrap();
        let (mut text, mut state) = (String::new(), (number * 1_000 + version) as u64);
        while text.len() < BYTES {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            writeln!(text, "let value_{} = {};", state >> 44, state >> 33).unwrap();
        }
        std::fs::write(directory.join(format!("file{number}.rs")), text).unwrap();
    }

    /// Changes ten files.
    fn commit(&self, run: usize) {
        (0..10).for_each(|number| self.write(number * 100 + run, run + 1));
        self.git(&["commit", "-q", "-a", "-m", "ten files"]);
    }

    /// What `git worktree add` takes. Nothing is removed before the end: ext4 looks long for a number for a new file where
    /// many were given back in the last minutes.
    pub fn worktree(&self, name: &str) -> Duration {
        let path = self.home.join(name);
        let path = path.to_str().unwrap();
        settle();
        let started = Instant::now();
        self.git(&["worktree", "add", "-q", "--detach", path]);
        started.elapsed()
    }

    fn git(&self, arguments: &[&str]) {
        let status = Command::new("git")
            .args(["-c", "user.name=bench", "-c", "user.email=bench@localhost", "-c", "gc.auto=0"])
            .args(arguments)
            .current_dir(&self.path)
            .env_clear()
            .envs([("HOME", self.home.as_os_str()), ("PATH", "/usr/bin:/bin".as_ref())])
            .status();
        assert!(status.unwrap().success(), "git {arguments:?}");
    }
}

/// What an agent does first: it notes the time where it may write, in its workspace.
pub const NOTE: &str = "date +%s%N > .git/noted";

/// When the agent of a task noted the time, since 1970.
pub fn noted(data: &Path, task: &str) -> Duration {
    let place = data.join("workspaces").join(task);
    let mut inside = std::fs::read_dir(place).unwrap().flatten().map(|entry| entry.path().join(".git/noted"));
    let text = std::fs::read_to_string(inside.find(|note| note.is_file()).expect("the agent was there")).unwrap();
    Duration::from_nanos(text.trim().parse().unwrap())
}

/// What was measured before leaves files that the disk has yet to get. Whoever commits next would wait for it.
pub fn settle() {
    assert!(Command::new("sync").status().unwrap().success());
}

/// A server with data of its own.
struct Place {
    data: PathBuf,
    server: Server,
    client: Client,
    repository: PathBuf,
}

impl Place {
    fn new(home: &Path, name: &str, repository: &Repository) -> Self {
        let data = home.join(name);
        let server = Server::start(home, &data);
        Self { data, server, client: Client::new(), repository: repository.path.clone() }
    }

    /// Runs a task; gives the time from its request to the first thing that its agent does in the workspace.
    async fn task(&self) -> Duration {
        let body = json!({
            "taskDescription": format!("[[run {NOTE}]]"), "agent": "demo", "repoPath": self.repository,
            "environment": {"CADENCE_DEMO_SECONDS": "0"},
        });
        settle();
        let asked = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let request = self.client.post(format!("{}/api/tasks", self.server.url)).bearer_auth(TOKEN).json(&body);
        let task: Value = request.send().await.unwrap().json().await.unwrap();
        let id = task["id"].as_str().unwrap_or_else(|| panic!("{task}"));
        let given_up = Instant::now() + LIMIT;
        while self.get(&format!("/api/tasks/{id}")).await["status"] != "completed" {
            assert!(Instant::now() < given_up, "{}", self.get(&format!("/api/tasks/{id}/events")).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        noted(&self.data, id) - asked
    }

    /// Waits until a workspace is ready for the next task.
    async fn until_warm(&self) {
        let given_up = Instant::now() + LIMIT;
        let ready = || {
            let mut places = std::fs::read_dir(self.data.join("warm")).into_iter().flatten().flatten();
            places.any(|place| place.path().join("ready").is_dir())
        };
        while !ready() {
            assert!(Instant::now() < given_up, "no workspace is kept warm");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn get(&self, path: &str) -> Value {
        let request = self.client.get(format!("{}{path}", self.server.url)).bearer_auth(TOKEN);
        request.send().await.unwrap().json().await.unwrap()
    }
}
