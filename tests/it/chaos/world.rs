//! The machine that the schedule happens to.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use cadence_fakes::messages::Scenario;
use fastrand::Rng;
use nix::sys::signal::Signal;
use reqwest::{Client, Method};
use serde_json::{Value, json};

use super::far::Far;
use super::schedule::{Blow, Life, Outcome, Schedule, Steer};
use crate::support::processes::{below, kill_hard};
use crate::support::{GitServer, Repo, Running, Server, TOKEN, TestEnv, assert_whole, of_type, runtime, until};

/// Tasks that are under way at once.
const AT_ONCE: usize = 10;
/// A message that leaves a trace in whatever state the agent gets it.
const MESSAGE: &str = "[[run echo told >> told.txt]]";
/// How often the world is looked at.
const TICK: Duration = Duration::from_millis(25);
/// In all this time something has to happen.
const STANDSTILL: Duration = Duration::from_secs(60);
/// A life whose fault does not come ends all the same.
const LONGEST_LIFE: Duration = Duration::from_secs(10);

struct Live {
    /// Its place in the schedule.
    number: usize,
    id: String,
    steered: bool,
    /// Its status, when it was last looked at.
    status: String,
    follower: Option<Running>,
}

pub struct World {
    /// Before what they need.
    machines: Vec<Far>,
    git: Option<GitServer>,
    env: TestEnv,
    repos: Vec<Repo>,
    schedule: Schedule,
    rng: Rng,
    client: Client,
    port: u16,
    tasks: Vec<Live>,
    /// How many times something was killed, for the report.
    lives: usize,
}

impl World {
    pub fn new(schedule: Schedule, seed: u64) -> Self {
        let env = TestEnv::new();
        // A kill takes the tool of its moment along; a real model would see that and use it again.
        let again = (0..4).fold(Scenario::new(), |script, _| script.write("hello.txt", "hello world\n"));
        env.api.script("stubborn", again.text("Written."));
        let repos = (0..3).map(|n| env.repo(&format!("repo{n}"))).collect();
        // Followers find the server again where it was.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let _guard = runtime().enter();
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        let url = format!("http://127.0.0.1:{port}");
        let lives = schedule.machines.iter().cloned().enumerate();
        let machines: Vec<_> = lives.map(|(number, lives)| Far::new(number, &url, lives)).collect();
        let git = (!machines.is_empty()).then(|| GitServer::start(&env));
        let rng = Rng::with_seed(!seed);
        Self { machines, git, env, repos, schedule, rng, client, port, tasks: Vec::new(), lives: 0 }
    }

    /// Goes through the lives of the schedule until every task has ended.
    pub fn run(&mut self) {
        for life in std::mem::take(&mut self.schedule.lives) {
            self.live(&life);
            if self.all_ended() {
                break;
            }
        }
        while !self.all_ended() {
            self.live(&Life { faults: String::new(), blow: Blow::Stop(usize::MAX) });
        }
    }

    fn all_ended(&self) -> bool {
        self.tasks.len() == self.schedule.tasks.len() && self.tasks.iter().all(|task| is_end(&task.status))
    }

    /// One life of the server, to its end or to that of the last task.
    fn live(&mut self, life: &Life) {
        self.lives += 1;
        let listen = format!("127.0.0.1:{}", self.port);
        let data = self.env.path("serve");
        let serve = self.env.cadence(["serve", "--listen", &listen, "--data-dir", data.to_str().unwrap()]);
        let serve = serve.args(["--workers", "8"]).env("CADENCE_FAULTS", &life.faults).timeout(STANDSTILL * 20);
        let mut serve = serve.env("CADENCE_TOKEN", TOKEN).start();
        let begun = Instant::now();
        let before = self.ended();
        let mut blown = false;
        let mut moved = (Instant::now(), self.state());
        while !self.all_ended() && serve.is_running() {
            self.look();
            let all = self.ended();
            self.machines.iter_mut().for_each(|machine| machine.look(&self.env, all));
            let ended = self.ended() - before;
            let old = begun.elapsed() > LONGEST_LIFE;
            let due = |ends: usize| ended >= ends || (old && ends != usize::MAX);
            match life.blow {
                Blow::Fault if old => serve.signal(Signal::SIGKILL),
                Blow::Kill(ends) if due(ends) => serve.signal(Signal::SIGKILL),
                Blow::PowerCut(ends) if due(ends) => {
                    let tree = below(serve.pid().as_raw());
                    serve.signal(Signal::SIGKILL);
                    tree.iter().for_each(|(pid, _)| kill_hard(*pid));
                }
                Blow::Stop(ends) if due(ends) => serve.signal(Signal::SIGTERM),
                Blow::Host(ends) | Blow::Agent(ends) if due(ends) && blown => serve.signal(Signal::SIGTERM),
                Blow::Host(_) if !blown => blown = self.kill_one(serve.pid().as_raw(), " host "),
                Blow::Agent(_) if !blown => blown = self.kill_one(serve.pid().as_raw(), " demo-agent "),
                _ => {}
            }
            if self.state() != moved.1 {
                moved = (Instant::now(), self.state());
            }
            assert!(
                moved.0.elapsed() < STANDSTILL,
                "nothing moves: {:?}\n{}\n{}",
                moved.1,
                serve.stderr.text(),
                self.far_said()
            );
            std::thread::park_timeout(TICK);
        }
        if serve.is_running() {
            serve.signal(Signal::SIGTERM);
        }
        let said = serve.finish();
        assert!(!said.stderr.contains("panicked"), "{life:?}: {}", said.stderr);
    }

    /// Kills some process below the server.
    fn kill_one(&mut self, server: i32, words: &str) -> bool {
        let found: Vec<_> = below(server).into_iter().filter(|(_, line)| line.contains(words)).collect();
        if found.is_empty() {
            return false;
        }
        kill_hard(found[self.rng.usize(..found.len())].0);
        true
    }

    fn far_said(&self) -> String {
        self.machines.iter().map(Far::said).collect::<Vec<_>>().join("\n---\n")
    }

    fn ended(&self) -> usize {
        self.tasks.iter().filter(|task| is_end(&task.status)).count()
    }

    /// What shows that something happens.
    fn state(&self) -> Vec<(usize, String)> {
        self.tasks.iter().filter(|t| !is_end(&t.status)).map(|t| (t.number, t.status.clone())).collect()
    }

    /// Submits, steers and answers, as far as the server lives.
    fn look(&mut self) -> Option<()> {
        while self.tasks.len() < self.schedule.tasks.len() && self.tasks.len() - self.ended() < AT_ONCE {
            self.submit()?;
        }
        let open = self.get("/api/approvals")?;
        for approval in open["approvals"].as_array().into_iter().flatten() {
            let (task, id) = (approval["taskId"].as_str()?, approval["id"].as_str()?);
            let mut answer = json!({"decision": "allow"});
            if approval["kind"] == "question" {
                answer["answers"] = json!({"Which way?": "left"});
            }
            self.post(&format!("/api/tasks/{task}/approvals/{id}"), &answer, None)?;
        }
        for index in 0..self.tasks.len() {
            if is_end(&self.tasks[index].status) {
                continue;
            }
            let id = self.tasks[index].id.clone();
            let task = self.get(&format!("/api/tasks/{id}"))?;
            self.tasks[index].status = task["status"].as_str()?.to_owned();
            self.steer(index)?;
        }
        Some(())
    }

    fn submit(&mut self) -> Option<()> {
        let number = self.tasks.len();
        let plan = self.schedule.tasks[number].clone();
        let mut environment = self.env.model();
        environment["CADENCE_DEMO_SECONDS"] = "0".into();
        let repo = &self.repos[plan.repo];
        let mut body = json!({ "taskDescription": plan.prompt, "agent": plan.agent, "environment": environment });
        match self.git.as_ref().filter(|_| plan.far) {
            Some(git) => {
                body["repoUrl"] = git.url(repo).into();
                body["executor"] = "daemon".into();
            }
            None => body["repoPath"] = repo.arg().into(),
        }
        let task = self.post("/api/tasks", &body, Some(&format!("task {number}")))?;
        let id = task["id"].as_str()?.to_owned();
        let follower = plan.followed.then(|| {
            let follow = self.env.cadence(["tasks", "logs", "-f", "--json", &id]);
            let follow = follow.env("CADENCE_SERVER", format!("http://127.0.0.1:{}", self.port));
            follow.env("CADENCE_TOKEN", TOKEN).timeout(STANDSTILL * 20).start()
        });
        self.tasks.push(Live { number, id, steered: false, status: "pending".into(), follower });
        Some(())
    }

    /// What a person does, when it is time for it.
    fn steer(&mut self, index: usize) -> Option<()> {
        let task = &self.tasks[index];
        let (path, running) = (format!("/api/tasks/{}", task.id), task.status == "running");
        if task.status == "paused" {
            self.post(&format!("{path}/resume"), &json!({}), None)?;
            return Some(());
        }
        if task.steered || !running {
            return Some(());
        }
        match self.schedule.tasks[task.number].steer {
            Steer::Nothing => {}
            Steer::Pause => drop(self.post(&format!("{path}/pause"), &json!({}), None)?),
            Steer::Message => {
                let key = format!("message {}", task.number);
                self.post(&format!("{path}/messages"), &json!({"text": MESSAGE}), Some(&key))?;
            }
            Steer::Cancel => drop(self.call(Method::DELETE, &path, None, None)?),
        }
        self.tasks[index].steered = true;
        Some(())
    }

    fn get(&self, path: &str) -> Option<Value> {
        self.call(Method::GET, path, None, None)
    }

    fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Option<Value> {
        self.call(Method::POST, path, Some(body), key)
    }

    /// A request; `None` where there was no answer, or none that counts (the storage fails). What came too late is fine.
    fn call(&self, method: Method, path: &str, body: Option<&Value>, key: Option<&str>) -> Option<Value> {
        let mut request = self.client.request(method.clone(), format!("http://127.0.0.1:{}{path}", self.port));
        request = request.bearer_auth(TOKEN);
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        let (status, text) = runtime().block_on(async {
            let response = request.send().await.ok()?;
            Some((response.status().as_u16(), response.text().await.ok()?))
        })?;
        match status {
            200..300 | 409 => Some(serde_json::from_str(&text).unwrap_or_default()),
            500..600 => None,
            _ => panic!("{method} {path}: {status} {text}"),
        }
    }
}

fn is_end(status: &str) -> bool {
    matches!(status, "completed" | "failed" | "cancelled")
}

impl World {
    /// After it all: every task is as it would be without it, and nobody missed anything.
    pub fn check(self) {
        let Self { mut machines, git, env, repos, schedule, port, tasks, lives, .. } = self;
        let listen = format!("127.0.0.1:{port}");
        let data = env.path("serve");
        let serve = env.cadence(["serve", "--listen", &listen, "--data-dir", data.to_str().unwrap()]);
        let server = Server::start_with(serve);
        for machine in &mut machines {
            machine.calm(&env, tasks.len());
        }
        until("all machines", || {
            let list = server.http().get("/api/machines").status(200).json();
            list["machines"].as_array().unwrap().iter().filter(|m| m["connected"] == true).count() == machines.len()
        });
        let mut attempts = 0;
        for live in tasks {
            let plan = &schedule.tasks[live.number];
            let task = server.http().get(&format!("/api/tasks/{}", live.id)).status(200).json();
            let events = all_events(&server, &live.id);
            let what = || format!("task {} {} {plan:?}\n{task:#}\n{events:#?}", live.number, live.id);
            assert_whole(&events, usize::try_from(task["attempt"].as_u64().unwrap()).unwrap());
            attempts += task["attempt"].as_u64().unwrap();
            let status = task["status"].as_str().unwrap();
            let expected = match plan.outcome {
                Outcome::Completed => "completed",
                Outcome::Failed => "failed",
                Outcome::Cancelled => "cancelled",
            };
            // A cancel may come too late.
            let late = plan.outcome == Outcome::Cancelled && status != "cancelled";
            // Told something else, one that was to fail does that, and nothing of what it was to do at first.
            let told = plan.steer == Steer::Message && plan.outcome == Outcome::Failed && status == "completed";
            assert!(status == expected || late || told, "{}", what());
            let branch = task["branch"].as_str().unwrap();
            let repo = &repos[plan.repo];
            if status == "completed" && !told {
                let file = if plan.agent == "claude" { "hello.txt" } else { "cadence-demo.md" };
                let text = match plan.far {
                    true => server.http().get(&format!("/api/tasks/{}/diff", live.id)).status(200).text,
                    false => repo.show(branch, file),
                };
                let wanted =
                    if plan.agent == "claude" { "hello world".into() } else { format!("asked: Note {}", live.number) };
                assert!(text.contains(&wanted), "{text:?}: {}", what());
            }
            if plan.steer == Steer::Message && status == "completed" {
                let told = of_type(&events, "message").iter().filter(|e| e["text"] == MESSAGE).count();
                assert!(told <= 1, "{}", what());
                if told == 1 {
                    let text = match plan.far {
                        true => server.http().get(&format!("/api/tasks/{}/diff", live.id)).status(200).text,
                        false => repo.show(branch, "told.txt"),
                    };
                    assert!(text.contains("told"), "{}", what());
                }
            }
            if let Some(follower) = live.follower {
                let mut followed = follower.finish();
                if followed.code == Some(3) && followed.stdout.is_empty() {
                    // The server died before it was reached.
                    followed = server.of(env.cadence(["tasks", "logs", "-f", "--json", &live.id])).run();
                }
                let followed = followed.json_lines();
                let numbers: Vec<_> = followed.iter().filter_map(|event| event["seq"].as_u64()).collect();
                assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{}", what());
                assert_eq!(numbers.len(), events.len(), "{}", what());
            }
        }
        for repo in &repos {
            assert_eq!(repo.git(["status", "--porcelain"]), "");
            assert_eq!(repo.git(["rev-list", "--count", "main"]).trim(), "1");
        }
        let far: usize = machines.iter().map(|machine| machine.count).sum();
        eprintln!(
            "chaos: {} tasks in {attempts} attempts over {lives} lives of the server and {far} of machines",
            schedule.tasks.len()
        );
        drop((machines, server, git));
    }
}

fn all_events(server: &Server, id: &str) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let path = format!("/api/tasks/{id}/events?limit=1000&after={}", all.len());
        let page = server.http().get(&path).status(200).json();
        let events = page["events"].as_array().unwrap();
        if events.is_empty() {
            return all;
        }
        all.extend(events.iter().cloned());
    }
}
