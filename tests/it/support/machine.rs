//! Machines of a story: daemons with data of their own, and the git server that they clone from.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::{Cmd, Http, Repo, Running, TOKEN, TestEnv, until, until_some};

/// `git daemon` for the repositories of a story.
pub struct GitServer {
    running: Option<Running>,
    port: u16,
}

impl GitServer {
    pub fn start(env: &TestEnv) -> Self {
        // It cannot tell which port it took.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let base = format!("--base-path={}", env.path("repos").display());
        let running = env
            .program("git", ["daemon", "--export-all", "--reuseaddr", "--listen=127.0.0.1", "--verbose"])
            .args([&base, &format!("--port={port}")])
            .timeout(Duration::from_secs(300))
            .start();
        until("the git server", || running.stderr.text().contains("Ready to rumble"));
        Self { running: Some(running), port }
    }

    /// The address of a repository of the story.
    pub fn url(&self, repo: &Repo) -> String {
        let name = repo.path().file_name().unwrap().to_str().unwrap();
        format!("git://127.0.0.1:{}/{name}", self.port)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.signal(Signal::SIGTERM);
            running.finish();
        }
    }
}

/// `cadence daemon`, as on a machine of its own.
pub struct Machine {
    running: Option<Running>,
    pub name: String,
    url: String,
    data: PathBuf,
    more: Vec<String>,
}

impl Machine {
    /// Starts one that dials this address, and waits until it is connected.
    pub fn start<const N: usize>(env: &TestEnv, name: &str, url: &str, more: [&str; N]) -> Self {
        let machine = Self::start_unconnected(env, name, url, more);
        machine.wait_connected();
        machine
    }

    /// Starts one, whether the server is there or not.
    pub fn start_unconnected<const N: usize>(env: &TestEnv, name: &str, url: &str, more: [&str; N]) -> Self {
        let mut machine = Self {
            running: None,
            name: name.to_owned(),
            url: url.to_owned(),
            data: env.path("machines").join(name),
            more: more.iter().map(|&text| text.to_owned()).collect(),
        };
        machine.start_again(env);
        machine
    }

    /// The command of it, to be changed before it is started.
    pub fn command(&self, env: &TestEnv) -> Cmd {
        let data = self.data.to_str().unwrap();
        env.cadence(["daemon", "--name", &self.name, "--server", &self.url, "--data-dir", data])
            .args(&self.more)
            .env("CADENCE_TOKEN", TOKEN)
            .timeout(Duration::from_secs(300))
    }

    /// Starts it where it ended, with its data.
    pub fn start_again(&mut self, env: &TestEnv) {
        self.start_as(self.command(env));
    }

    /// Starts it where it ended, by a command of one's own.
    pub fn start_as(&mut self, cmd: Cmd) {
        assert!(self.running.is_none(), "it runs");
        self.running = Some(cmd.start());
    }

    pub fn wait_connected(&self) {
        let running = self.running.as_ref().expect("it runs");
        until("a connected machine", || running.stdout.text().contains("connected to "));
    }

    /// Kills it as a power cut does.
    pub fn kill(&mut self) {
        let running = self.running.take().unwrap();
        running.signal(Signal::SIGKILL);
        running.finish();
    }

    /// Ends it as a service manager does.
    pub fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.signal(Signal::SIGTERM);
        running.finish().code(0);
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn ends(&mut self) -> super::Finished {
        self.running.take().unwrap().finish()
    }

    pub fn pid(&self) -> Pid {
        self.running.as_ref().unwrap().pid()
    }

    pub fn said(&self) -> String {
        self.running.as_ref().unwrap().stderr.text()
    }

    /// Where its workspaces are.
    pub fn data(&self) -> &PathBuf {
        &self.data
    }

    /// How it is in the server's list.
    pub fn seen_by(&self, http: &Http) -> Value {
        let list = http.get("/api/machines").status(200).json();
        let all = list["machines"].as_array().unwrap();
        all.iter().find(|machine| machine["name"] == self.name.as_str()).cloned().unwrap_or(Value::Null)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.signal(Signal::SIGTERM);
        if std::thread::panicking() {
            eprintln!("--- the machine {} said\n{}\n---", self.name, running.stderr.text());
        } else {
            running.finish().code(0);
        }
    }
}

/// A task of a server that was started by hand.
pub struct Remote {
    pub http: Http,
    pub id: String,
}

impl Remote {
    /// Creates a task of the demo agent for a repository with an address.
    pub fn create(http: Http, url: &str, prompt: &str, more: &Value) -> Self {
        let mut body = json!({
            "taskDescription": prompt, "agent": "demo", "repoUrl": url,
            "environment": { "CADENCE_DEMO_SECONDS": "0" },
        });
        if let Some(more) = more.as_object() {
            body.as_object_mut().unwrap().extend(more.clone());
        }
        let task = http.post("/api/tasks", &body).status(201).json();
        let id = task["id"].as_str().unwrap().to_owned();
        Self { http, id }
    }

    pub fn show(&self) -> Value {
        self.http.get(&format!("/api/tasks/{}", self.id)).status(200).json()
    }

    /// All events so far.
    pub fn events(&self) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let after = events.len();
            let page =
                self.http.get(&format!("/api/tasks/{}/events?limit=1000&after={after}", self.id)).status(200).json();
            let page = page["events"].as_array().unwrap();
            events.extend(page.iter().cloned());
            if page.len() < 1000 {
                return events;
            }
        }
    }

    #[track_caller]
    pub fn wait_status(&self, statuses: &[&str]) -> Value {
        until_some(&format!("a status of {statuses:?}"), || {
            let task = self.show();
            let status = task["status"].as_str().unwrap();
            let ended = ["completed", "failed", "cancelled"].contains(&status);
            assert!(!ended || statuses.contains(&status), "it ended before {statuses:?}: {task:#}");
            statuses.contains(&status).then_some(task)
        })
    }

    /// Waits until an event of this type has these words in its data.
    #[track_caller]
    pub fn wait_event(&self, kind: &str, words: &str) -> Value {
        until_some(&format!("{kind} with {words:?}"), || {
            let events = self.events();
            events.into_iter().map(|e| e["data"].clone()).find(|d| d["type"] == kind && d.to_string().contains(words))
        })
    }

    pub fn act(&self, what: &str, body: &Value) {
        self.http.post(&format!("/api/tasks/{}/{what}", self.id), body).status(200);
    }
}
