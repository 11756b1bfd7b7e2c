//! A machine that dialled in: from a task's request to its agent at work there, what it reports, and what it costs while
//! nothing is to be done.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::fanout::{connected, run, subscribe};
use crate::place;
use crate::result::{Results, millis, percentile};
use crate::server::{Server, TOKEN};
use crate::workspace::{NOTE, Repository, noted, settle};

const RUNS: usize = 9;
const EVENTS: usize = 50_000;
/// How long one thing may take before the measurement is given up.
const LIMIT: Duration = Duration::from_secs(60);
/// After so long a machine that has nothing to do is at rest.
const REST: Duration = Duration::from_secs(3);

pub fn measure(results: &mut Results) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, all(results));
}

async fn all(results: &mut Results) {
    let directory = place::directory();
    let home = directory.path();
    let repository = Repository::make(home);
    let git = GitServer::start(home);
    let server = Server::start(home, &home.join("server"));

    let idle = Machine::start(home, "idle", &server.url, 0);
    tokio::time::sleep(REST).await;
    let (whole, own) = idle.memory();
    let beside = format!("{own:.1} MB of it its own, the rest the program's file");
    results.at_most("memory of an idle daemon", whole, 15.0, "MB", &beside);
    let ticks = idle.ticks();
    tokio::time::sleep(Duration::from_secs(10)).await;
    results.at_most("processor of an idle daemon in 10 s", (idle.ticks() - ticks) as f64, 1.0, "ticks", "of 10 ms");
    drop(idle);

    let mut floor = Vec::new();
    let machine = Machine::start(home, "cold", &server.url, 0);
    task(&server, &machine, &git).await;
    let mut cold = Vec::new();
    for round in 0..RUNS {
        floor.push(repository.worktree(&format!("git{round}")));
        cold.push(task(&server, &machine, &git).await);
    }
    drop(machine);
    let (floor, cold) = (percentile(&mut floor, 50), percentile(&mut cold, 50));
    let beside = format!("{:.0} ms beside {:.0} ms of git worktree add", millis(cold), millis(floor));
    results.at_most("POST to agent on a daemon, beyond git", millis(cold) - millis(floor), 100.0, "ms", &beside);

    let machine = Machine::start(home, "warm", &server.url, 5);
    task(&server, &machine, &git).await;
    let mut warm = Vec::new();
    for _ in 0..RUNS {
        machine.until_warm().await;
        warm.push(task(&server, &machine, &git).await);
    }
    let longest = format!("longest {:.0} ms", millis(percentile(&mut warm, 100)));
    results.at_most("POST to agent on a daemon, warm, p50", millis(percentile(&mut warm, 50)), 150.0, "ms", &longest);

    let body = body(&format!("[[ask]][[events {EVENTS}]]"), &git);
    let task = server.held_with(&body).await;
    let mut one = connected(&server, 1, None).await;
    subscribe(&mut one, &task).await;
    let (rate, delay) = run(&server, task.id, &mut one).await;
    let beside = format!("{EVENTS} events: spooled, stored, to a subscriber; p99 of the delay {delay:.0} ms");
    results.at_least("events of one daemon, from line to client", rate, 10_000.0, "/s", &beside);
}

fn body(prompt: &str, git: &GitServer) -> Value {
    json!({
        "taskDescription": prompt, "agent": "demo", "executor": "daemon", "repoUrl": git.url(),
        "environment": {"CADENCE_DEMO_SECONDS": "0"},
    })
}

/// Runs a task; gives the time from its request to the first thing that its agent does in the workspace.
async fn task(server: &Server, machine: &Machine, git: &GitServer) -> Duration {
    let body = body(&format!("[[run {NOTE}]]"), git);
    settle();
    let asked = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let task: Value = serde_json::from_str(&server.post("/api/tasks", &body).await).unwrap();
    let id = task["id"].as_str().unwrap().to_owned();
    let given_up = Instant::now() + LIMIT;
    loop {
        let task: Value = serde_json::from_str(&server.get(&format!("/api/tasks/{id}")).await).unwrap();
        if task["status"] == "completed" {
            break;
        }
        assert!(Instant::now() < given_up && task["status"] != "failed", "{task:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    noted(&machine.data, &id) - asked
}

/// `cadence daemon` of the release build, killed when it is dropped.
struct Machine {
    child: Child,
    data: PathBuf,
}

impl Machine {
    fn start(home: &Path, name: &str, url: &str, warm: usize) -> Self {
        let data = home.join(format!("machine-{name}"));
        let settings = home.join(format!("{name}.toml"));
        std::fs::write(&settings, format!("warm_workspaces = {warm}\n")).unwrap();
        let mut child = Command::new(place::built().join("cadence"))
            .args(["daemon", "--name", name, "--server", url, "--data-dir"])
            .arg(&data)
            .env_clear()
            .envs([("HOME", home.as_os_str()), ("PATH", "/usr/bin:/bin".as_ref()), ("CADENCE_TOKEN", TOKEN.as_ref())])
            .env("CADENCE_CONFIG", settings)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("connected to "), "{line}");
        Self { child, data }
    }

    /// Memory that it has, and how much of that no file holds, in MB.
    fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0 / 1e6
        };
        (field("VmRSS:"), field("RssAnon:"))
    }

    /// Processor time that it has used, in the kernel's ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
    }

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
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `git daemon` for the repository.
struct GitServer {
    child: Child,
    port: u16,
}

impl GitServer {
    fn start(home: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new("git")
            .args(["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", "--verbose"])
            .args([format!("--port={port}"), format!("--base-path={}", home.display())])
            .env_clear()
            .envs([("HOME", home.as_os_str()), ("PATH", "/usr/local/bin:/usr/bin:/bin".as_ref())])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("Ready to rumble") {
            line.clear();
            assert!(errors.read_line(&mut line).unwrap() > 0, "the git server ended");
        }
        // It says a line for each that comes.
        std::thread::spawn(move || std::io::copy(&mut errors, &mut std::io::sink()));
        Self { child, port }
    }

    fn url(&self) -> String {
        format!("git://127.0.0.1:{}/repository", self.port)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
