//! Agents that print without end: memory and disk stay bounded, what is left out is told, and nobody else is held up.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cadence_fakes::messages::Scenario;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{
    Repo, Server, Socket, TOKEN, TestEnv, children, numbers, of_type, peak_memory, until, until_some, within,
};

/// What the server may need beyond what it needs at rest, in bytes, whatever an agent prints.
const GROWTH: u64 = 96 << 20;
/// What a host may need in all: it does not touch what its agent prints.
const HOST: u64 = 24 << 20;
/// Largest size of an agent's log: two files.
const LOG: u64 = 2 * (33 << 20);

const EVENTS: u64 = 1_000_000;
const WORDS: u64 = 200_000;
/// How long a flood may last: a program that is built for tests is slow, and others run beside it.
const LONGEST: Duration = Duration::from_secs(300);

/// A server with a task that floods.
struct Flood {
    // Ends before its environment is looked at.
    server: Server,
    env: TestEnv,
    repo: Repo,
    id: String,
    at_rest: u64,
    /// How long a small task takes when nobody floods.
    alone: Duration,
}

impl Flood {
    /// Of the demo agent.
    fn start(prompt: &str) -> Self {
        let mut flood = Self::new();
        flood.id = flood.task(prompt);
        flood
    }

    fn new() -> Self {
        let env = TestEnv::new();
        let (server, repo) = (env.server(), env.repo("demo"));
        let mut flood = Self { server, env, repo, id: String::new(), at_rest: 0, alone: Duration::ZERO };
        flood.alone = flood.small();
        flood.at_rest = peak_memory(flood.server.pid());
        flood
    }

    fn task(&self, prompt: &str) -> String {
        self.task_of("demo", prompt, &json!({"CADENCE_DEMO_SECONDS": "0", "PATH": "/usr/bin:/bin"}))
    }

    fn task_of(&self, agent: &str, prompt: &str, environment: &Value) -> String {
        let body = json!({
            "taskDescription": prompt, "agent": agent, "repoPath": self.repo.arg(), "environment": environment,
            "permissionMode": "all",
        });
        self.server.http().post("/api/tasks", &body).status(201).json()["id"].as_str().unwrap().to_owned()
    }

    /// Runs a small task to its end.
    fn small(&self) -> Duration {
        let since = Instant::now();
        let id = self.task("[[events 20]] [[sleep 0.1]] [[run echo one]] [[sleep 0.1]] [[events 20]]");
        self.until_end(&id);
        since.elapsed()
    }

    fn status(&self, id: &str) -> Value {
        self.server.http().get(&format!("/api/tasks/{id}")).status(200).json()
    }

    fn until_end(&self, id: &str) -> Value {
        let task = within(LONGEST, || {
            let task = self.status(id);
            let ended = ["completed", "failed", "cancelled"].contains(&task["status"].as_str().unwrap());
            ended.then_some(task)
        });
        task.unwrap_or_else(|| panic!("it does not end: {:#}", self.status(id)))
    }

    fn directory(&self) -> PathBuf {
        self.env.path("serve").join("workspaces").join(&self.id)
    }

    fn log_size(&self) -> u64 {
        let size = |name: &str| fs::metadata(self.directory().join(name)).map_or(0, |meta| meta.len());
        size("agent.log") + size("agent.log.1")
    }

    fn host(&self) -> Option<Pid> {
        let mut hosts = children(self.server.pid()).into_iter();
        hosts.find_map(|(pid, line)| line.trim_end().ends_with(" host").then_some(pid))
    }

    /// While it floods another task works as usual; afterwards all is within its bounds. Gives the last events, a thousand
    /// at most.
    fn finish(self) -> (Vec<Value>, Self) {
        let host = until_some("its host", || self.host());
        until("it floods", || self.log_size() > 2_000 || self.status(&self.id)["lastSeq"].as_u64() > Some(100));
        let beside = self.small();
        let host = fs::exists(format!("/proc/{host}")).unwrap().then(|| peak_memory(host));
        let task = self.until_end(&self.id);
        assert_eq!(task["status"], "completed", "{task:#}");
        let growth = peak_memory(self.server.pid()).saturating_sub(self.at_rest);
        let log = self.log_size();
        let mebibytes = |bytes: u64| bytes / (1 << 20);
        eprintln!(
            "server at rest {} MiB, and {} MiB more at most; host {:?} MiB; log {} MiB; a small task alone {:?}, beside {beside:?}",
            mebibytes(self.at_rest),
            mebibytes(growth),
            host.map(mebibytes),
            mebibytes(log),
            self.alone,
        );
        assert!(growth < GROWTH, "the server has grown by {growth} bytes");
        assert!(host.is_none_or(|peak| peak < HOST), "the host has grown to {host:?} bytes");
        assert!(log < LOG, "the agent's log has {log} bytes");
        assert!(beside < self.alone * 4 + Duration::from_secs(3), "alone {:?}, beside {beside:?}", self.alone);
        (self.events(), self)
    }

    fn events(&self) -> Vec<Value> {
        let last = self.status(&self.id)["lastSeq"].as_u64().unwrap();
        let after = last.saturating_sub(1000);
        let path = format!("/api/tasks/{}/events?limit=1000&after={after}", self.id);
        let page = self.server.http().get(&path).status(200).json();
        let events = page["events"].as_array().unwrap().clone();
        assert_eq!(numbers(&events), (after + 1..=last).collect::<Vec<_>>());
        events
    }
}

/// The messages of errors that do not end the task.
fn told(events: &[Value]) -> Vec<&str> {
    of_type(events, "error").into_iter().map(|event| event["message"].as_str().unwrap()).collect()
}

#[test]
fn a_gigabyte_of_noise() {
    let (events, _flood) = Flood::start("[[noise 1000000000]]").finish();
    assert_eq!(of_type(&events, "task_completed").len(), 1);
}

#[test]
fn a_gigabyte_on_standard_error() {
    let (events, _flood) = Flood::start("[[stderr 1000000000]]").finish();
    assert_eq!(of_type(&events, "task_completed").len(), 1);
}

#[test]
fn a_line_of_a_hundred_megabytes() {
    let (events, _flood) = Flood::start("[[line 100000000]] [[line 10000000]] [[events 200]] [[sleep 1]]").finish();
    let told = told(&events);
    assert!(told.len() == 1 && told[0].starts_with("A line of the agent was left out: it had 1000000"), "{told:?}");
    let said: Vec<usize> = of_type(&events, "output").iter().map(|e| e["text"].as_str().unwrap().len()).collect();
    assert!(said.iter().all(|length| *length < 10_000), "{said:?}");
    let words = of_type(&events, "output");
    let kept = words.iter().find(|event| event["text"].as_str().unwrap().starts_with("xxxx")).unwrap();
    assert!(kept["text"].as_str().unwrap().contains("bytes in all"), "what can be read is kept apart");
}

/// Each of them is kept, or told as left out.
#[test]
fn a_million_small_events() {
    let (events, _flood) = Flood::start(&format!("[[events {EVENTS}]]")).finish();
    let told = told(&events);
    assert!(told[0].starts_with("The agent says more than is kept"), "{told:?}");
    let left_out = told.iter().filter_map(|text| text.split_once(" events of the agent")?.0.parse::<u64>().ok());
    let stored = *numbers(&events).last().unwrap();
    // Beside them there are the task's own events, and what tells of those that were left out.
    let all = stored + left_out.sum::<u64>();
    assert!((EVENTS + 10..EVENTS + 1_000).contains(&all), "{all}");
    assert!((100_000..101_000).contains(&stored), "{stored}");
}

#[test]
fn commands_that_print_without_end() {
    let (events, _flood) = Flood::start("[[output 100000000]]").finish();
    let commands = of_type(&events, "command_run");
    assert_eq!(commands.len(), 24);
    for command in commands {
        let output = command["output"].as_str().unwrap();
        assert!(output.len() < 10_000 && output.contains("bytes in all"), "{}", output.len());
    }
}

/// Words that are being written are shown and not stored: whoever listens gets them in pieces.
#[test]
fn words_of_a_sentence_that_never_ends() {
    let flood = Flood::start(&format!("[[sleep 0.5]] [[words {WORDS}]]"));
    let mut socket = Socket::connect(flood.server.url(), Some(TOKEN)).unwrap();
    socket.send(&json!({"type": "subscribe", "taskId": flood.id}));
    let listener = std::thread::spawn(move || socket.receive_until("task_completed"));
    let (events, _flood) = flood.finish();
    until("the listener's end", || listener.is_finished());
    let frames = listener.join().unwrap();
    assert_eq!(numbers(&frames), numbers(&events)[..numbers(&frames).len()]);
    let deltas: Vec<_> = frames.iter().filter(|frame| frame["type"] == "output_delta").collect();
    let longest = deltas.iter().map(|frame| frame["text"].as_str().unwrap().len()).max().unwrap();
    assert!(!deltas.is_empty() && (deltas.len() as u64) < WORDS / 100, "{} pieces", deltas.len());
    assert!(longest <= 32 << 10, "{longest}");
}

/// The real CLI keeps to itself what a command prints beyond what its model is shown.
#[test]
fn a_command_of_the_real_agent_that_prints_a_gigabyte() {
    let mut flood = Flood::new();
    let print = "yes 'a line of a build that says too much' | head -c 1000000000";
    flood.env.api.script("much", Scenario::new().bash(print).text("That was much."));
    flood.id = flood.task_of("claude", "Print [[scenario:much]]", &flood.env.model());
    let (events, _flood) = flood.finish();
    let command = of_type(&events, "command_run")[0];
    assert!(command["output"].as_str().unwrap().len() < 300_000, "{}", command["output"].as_str().unwrap().len());
}
