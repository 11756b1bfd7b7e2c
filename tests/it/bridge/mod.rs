//! Tasks at an endpoint over HTTP and server-sent events: a server, a machine that listens, and what is between them.

mod by_hand;
mod foreign;
mod network;

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::{Cmd, Http, Repo, Running, Server, TestEnv, assert_whole, until_some};

/// Key of the machines.
const KEY: &str = "a-key-of-the-tests";

/// `cadence daemon --listen` in the foreground.
struct Machine {
    running: Option<Running>,
    url: String,
}

impl Machine {
    fn start(env: &TestEnv) -> Self {
        Self::start_at(env, "127.0.0.1:0")
    }

    fn start_at(env: &TestEnv, address: &str) -> Self {
        Self::start_with(Self::command(env, address).env("VPS_API_KEY", KEY))
    }

    fn command(env: &TestEnv, address: &str) -> Cmd {
        let data = env.path("machine");
        env.cadence(["daemon", "--listen", address, "--data-dir", data.to_str().unwrap()])
    }

    fn start_with(cmd: Cmd) -> Self {
        let mut running = cmd.timeout(Duration::from_secs(300)).start();
        running.wait_for("listening on http://");
        let output = running.wait_for("\n");
        let (_, rest) = output.split_once("listening on ").unwrap();
        let url = rest.split_whitespace().next().unwrap().to_owned();
        Self { running: Some(running), url }
    }

    fn http(&self) -> Http {
        Http::new(&self.url, Some(KEY))
    }

    /// Kills it as a power cut does, and starts it again with its data and at its address.
    fn kill_and_restart(mut self, env: &TestEnv) -> Self {
        let running = self.running.take().unwrap();
        running.signal(Signal::SIGKILL);
        running.finish();
        Self::start_at(env, self.url.trim_start_matches("http://"))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.signal(Signal::SIGTERM);
        if std::thread::panicking() {
            eprintln!("--- the machine said\n{}\n{}\n---", running.stdout.text(), running.stderr.text());
        } else {
            running.finish().code(0);
        }
    }
}

/// A server that sends tasks there.
fn server_for(env: &TestEnv, endpoint: &str) -> Server {
    Server::start_with(Server::command(env).env("VPS_ENDPOINT", endpoint).env("VPS_API_KEY", KEY))
}

/// Hands in a task for the demo agent at the endpoint, and gives its id.
fn send(server: &Server, repo: &Repo, task: &str) -> String {
    let body = json!({
        "taskDescription": task, "repoUrl": url_of(repo), "agent": "demo", "executor": "sse", "permissionMode": "all",
    });
    server.http().post("/api/tasks", &body).status(201).json()["id"].as_str().unwrap().to_owned()
}

/// Its address as a remote.
fn url_of(repo: &Repo) -> String {
    format!("file://{}", repo.arg())
}

fn task(server: &Server, id: &str) -> Value {
    server.http().get(&format!("/api/tasks/{id}")).status(200).json()
}

fn events(server: &Server, id: &str) -> Vec<Value> {
    let answer = server.http().get(&format!("/api/tasks/{id}/events?limit=1000")).status(200).json();
    answer["events"].as_array().unwrap().clone()
}

/// Waits for the end of the task's newest attempt, and gives the task and its events, which are whole.
#[track_caller]
fn ended(server: &Server, id: &str, attempts: usize) -> (Value, Vec<Value>) {
    let task = until_some("the end of the task", || {
        let task = task(server, id);
        let ended = ["completed", "failed", "cancelled"].contains(&task["status"].as_str().unwrap());
        (ended && task["attempt"] == attempts).then_some(task)
    });
    let events = events(server, id);
    assert_whole(&events, attempts);
    (task, events)
}

/// Waits for an event of this type with these words.
#[track_caller]
fn wait_event(server: &Server, id: &str, kind: &str, words: &str) -> Value {
    until_some(&format!("{kind} with {words:?}"), || {
        let events = events(server, id).into_iter().map(|event| event["data"].clone());
        events.filter(|data| data["type"] == kind).find(|data| data.to_string().contains(words))
    })
}

/// How many events of this type have these words.
fn count(events: &[Value], kind: &str, words: &str) -> usize {
    events.iter().filter(|e| e["type"] == kind && e["data"].to_string().contains(words)).count()
}

#[test]
fn a_task_runs_at_the_endpoint_and_every_step_is_told_here() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let machine = Machine::start(&env);
    let server = server_for(&env, &machine.url);
    let id = send(&server, &repo, "[[run echo far away]] Note this");
    let (task, events) = ended(&server, &id, 1);
    assert_eq!((&task["status"], &task["executor"]), (&json!("completed"), &json!("sse")), "{task:#}");
    assert_eq!(count(&events, "command_run", "far away"), 1, "{events:#?}");
    assert_eq!(count(&events, "file_edit", "cadence-demo.md"), 1, "{events:#?}");
    assert_eq!(count(&events, "output", "on its branch `cadence/"), 1, "{events:#?}");
    assert_eq!(task["metadata"]["filesChanged"], 1, "{task:#}");
    // It was asked once, and what it was asked is not told back.
    assert_eq!(count(&events, "message", "Note this"), 1, "{events:#?}");
    let diff = server.http().get(&format!("/api/tasks/{id}/diff")).status(409).json();
    assert!(diff["error"].as_str().unwrap().contains("at the endpoint"), "{diff}");
}

#[test]
fn what_this_bridge_cannot_do_is_refused_or_said() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let machine = Machine::start(&env);
    let server = server_for(&env, &machine.url);
    let id = send(&server, &repo, "[[run echo begun]] [[sleep 2]] Note this");
    wait_event(&server, &id, "command_run", "begun");
    let path = format!("/api/tasks/{id}");
    let refused = server.http().post(&format!("{path}/pause"), &json!({})).status(409).json();
    assert!(refused["error"].as_str().unwrap().contains("at an endpoint cannot be paused"), "{refused}");
    server.http().post(&format!("{path}/messages"), &json!({"text": "[[run echo more]] And this"})).status(200);
    wait_event(&server, &id, "error", "begins a new attempt when this one has ended");
    // It does: with what was asked before, which an endpoint does not remember.
    let (task, events) = ended(&server, &id, 2);
    assert_eq!(task["status"], "completed", "{task:#}");
    assert_eq!(count(&events, "command_run", "echo more"), 1, "{events:#?}");
    // Permission for what was not allowed nobody can give.
    let body = json!({"taskDescription": "[[ask echo may I]]", "repoUrl": url_of(&repo), "agent": "demo",
        "executor": "sse"});
    let asked = server.http().post("/api/tasks", &body).status(201).json()["id"].as_str().unwrap().to_owned();
    let (_, events) = ended(&server, &asked, 1);
    assert_eq!(count(&events, "error", "over this bridge nobody can allow it"), 1, "{events:#?}");
    assert_eq!(count(&events, "output", "that was decided: deny"), 1, "{events:#?}");
    assert_eq!(count(&events, "approval_requested", ""), 0);
}

#[test]
fn a_cancel_reaches_the_endpoint() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let machine = Machine::start(&env);
    let server = server_for(&env, &machine.url);
    let id = send(&server, &repo, "[[run echo begun]] [[hang]]");
    wait_event(&server, &id, "command_run", "begun");
    server.http().delete(&format!("/api/tasks/{id}")).status(200);
    let (task, events) = ended(&server, &id, 1);
    assert_eq!(task["status"], "cancelled", "{task:#}");
    assert_eq!(count(&events, "error", "did not confirm"), 0, "{events:#?}");
    // The run is found by the key that the attempt has.
    let request = machine.http().request(reqwest::Method::POST, "/task");
    let same = json!({"task": "[[run echo begun]] [[hang]]", "repoUrl": url_of(&repo), "agent": "demo",
        "permissionMode": "all"});
    let run = machine.http().send(request.header("idempotency-key", format!("{id}-1")).json(&same)).status(200).json();
    assert_eq!((&run["reason"], &run["success"]), (&json!("cancelled"), &json!(false)), "{run}");
}
