//! Whatever is killed, in whatever phase of a task: the next start goes on where it was.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use cadence_fakes::messages::Scenario;
use serde_json::{Value, json};

use crate::support::processes::{below, kill_hard};
use crate::support::{DEADLINE, Repo, Server, TestEnv, assert_whole, of_type, runtime, until, until_some};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Server,
    /// The process between the server and the agent.
    Host,
    Agent,
    /// All at once, as in a power cut.
    Everything,
}

const SERVER_SIDE: &[Victim] = &[Victim::Server, Victim::Everything];
const ALL: &[Victim] = &[Victim::Server, Victim::Host, Victim::Agent, Victim::Everything];

/// A server whose first life stops at a point of the code, and the one task that it runs.
struct Story {
    /// Before the rest, which has to be whole when it has ended.
    server: Server,
    env: TestEnv,
    repo: Repo,
    halts: PathBuf,
    point: &'static str,
    id: String,
}

impl Story {
    fn begin(point: &'static str, prompt: &str) -> Self {
        Self::begin_in(TestEnv::new(), point, json!({"taskDescription": prompt, "agent": "demo"}))
    }

    fn begin_in(env: TestEnv, point: &'static str, mut body: Value) -> Self {
        let repo = env.repo("demo");
        let halts = env.path("halts");
        fs::create_dir(&halts).unwrap();
        let server = Server::command(&env).env("CADENCE_FAULTS", format!("{point}=wait:{}", halts.display()));
        let server = Server::start_with(server);
        body["repoPath"] = repo.arg().into();
        let mut environment = env.model();
        environment["CADENCE_DEMO_SECONDS"] = "0".into();
        body["environment"] = environment;
        let task = server.http().post("/api/tasks", &body).status(201).json();
        let id = task["id"].as_str().unwrap().to_owned();
        Self { server, env, repo, halts, point, id }
    }

    fn wait_reached(&self) {
        until(self.point, || self.halts.join(self.point).exists());
    }

    /// Kills it at its point, lets the rest go on, and starts the server again where it is gone.
    fn kill(self, victim: Victim) -> Self {
        self.wait_reached();
        self.kill_now(victim)
    }

    fn kill_now(mut self, victim: Victim) -> Self {
        let tree = below(self.server.pid().as_raw());
        match victim {
            Victim::Host => kill_named(&tree, " host "),
            Victim::Agent => {
                kill_named(&tree, " demo-agent ");
                kill_named(&tree, "--input-format");
            }
            Victim::Server => kill_hard(self.server.pid().as_raw()),
            Victim::Everything => {
                kill_hard(self.server.pid().as_raw());
                tree.iter().for_each(|(pid, _)| kill_hard(*pid));
            }
        }
        self.release();
        if SERVER_SIDE.contains(&victim) {
            self.server.kill();
            self.server = self.env.server();
        }
        self
    }

    /// Lets what waits at the point go on.
    fn release(&self) {
        fs::write(self.halts.join(format!("{}.go", self.point)), "").unwrap();
    }

    fn answer(&self, id: &str, decision: &str) {
        let path = format!("/api/tasks/{}/approvals/{id}", self.id);
        self.server.http().post(&path, &json!({"decision": decision})).status(200);
    }

    /// The one request that waits, once there is one that is not `before`.
    fn asked(&self, before: &str) -> String {
        until_some("a request for approval", || {
            let open = self.server.http().get("/api/approvals").status(200).json();
            let id = open["approvals"].as_array()?.first()?["id"].as_str()?.to_owned();
            (id != before).then_some(id)
        })
    }

    /// Waits for the end, with this exit code, and gives the events.
    fn ends(&self, code: i32) -> Vec<Value> {
        let wait = self.server.of(self.env.cadence(["tasks", "wait", &self.id]));
        wait.run().code(code);
        let events = self.events();
        assert_whole(&events, 1);
        events
    }

    fn events(&self) -> Vec<Value> {
        let path = format!("/api/tasks/{}/events?limit=1000", self.id);
        self.server.http().get(&path).status(200).json()["events"].as_array().unwrap().clone()
    }

    /// What the agent wrote, on the branch in the user's repository.
    fn written(&self) -> String {
        let branches = self.repo.task_branches();
        assert_eq!(branches.len(), 1, "{branches:?}");
        self.repo.show(&branches[0], "cadence-demo.md")
    }
}

fn kill_named(tree: &[(i32, String)], words: &str) {
    tree.iter().filter(|(_, line)| line.contains(words)).for_each(|(pid, _)| kill_hard(*pid));
}

/// The same story with each victim, at once.
fn each(victims: &[Victim], story: impl Fn(Victim) + Sync) {
    let story = &story;
    std::thread::scope(|scope| {
        for &victim in victims {
            let name = format!("{victim:?}");
            std::thread::Builder::new().name(name).spawn_scoped(scope, move || story(victim)).unwrap();
        }
    });
}

/// One task for each victim, killed at this point, which does what it was told once, and ends once.
fn survives(point: &'static str, victims: &[Victim]) {
    each(victims, |victim| {
        let story = Story::begin(point, "[[run echo once]] Note this").kill(victim);
        story.ends(0);
        assert_eq!(story.written(), "- A demo agent was asked: Note this", "{point}");
    });
}

#[test]
fn a_kill_after_the_claim() {
    survives("claimed", SERVER_SIDE);
}

#[test]
fn a_kill_in_the_clone() {
    survives("mirrored", SERVER_SIDE);
    survives("checked-out", SERVER_SIDE);
    survives("prepared", SERVER_SIDE);
}

#[test]
fn a_kill_in_the_start() {
    survives("host-started", &[Victim::Server, Victim::Host, Victim::Everything]);
    survives("host-launched", ALL);
    survives("launched", ALL);
}

#[test]
fn a_kill_in_the_turn() {
    survives("heard", ALL);
    survives("reporting", ALL);
    survives("reported", ALL);
}

#[test]
fn a_kill_in_a_tool() {
    // What it leaves behind has a session of its own and no parent. The command is long the first time only.
    let prompt = "[[daemonize]] [[run test -e .git/begun || { touch .git/begun; sleep 600; }]] Note this";
    each(ALL, |victim| {
        let story = Story::begin("ended", prompt);
        let tasks = story.env.path("serve/workspaces");
        until("the command runs", || {
            let inside = |task: fs::DirEntry| fs::read_dir(task.path()).into_iter().flatten().flatten();
            let tasks = fs::read_dir(&tasks).into_iter().flatten().flatten();
            tasks.flat_map(inside).any(|entry| entry.path().join(".git/begun").exists())
        });
        let story = story.kill_now(victim);
        story.release();
        story.ends(0);
        assert_eq!(story.written(), "- A demo agent was asked: Note this");
    });
}

#[test]
fn a_kill_while_an_approval_is_pending() {
    each(ALL, |victim| {
        let story = Story::begin("asked", "[[ask echo allowed]] Note this");
        let first = story.asked("");
        let story = story.kill(victim);
        let second = story.asked(&first);
        // The answer to what was withdrawn reaches nobody.
        let late = format!("/api/tasks/{}/approvals/{first}", story.id);
        story.server.http().post(&late, &json!({"decision": "deny"})).status(409);
        story.answer(&second, "allow");
        let events = story.ends(0);
        let decisions: Vec<_> = of_type(&events, "approval_resolved")
            .iter()
            .map(|event| event["decision"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(decisions, ["withdrawn", "allow"]);
        assert_eq!(story.written(), "- A demo agent was asked: Note this");
    });
}

#[test]
fn a_kill_after_the_agent() {
    for point in ["host-ending", "finishing", "committed", "published", "ended"] {
        survives(point, SERVER_SIDE);
    }
}

#[test]
fn a_message_that_was_not_acknowledged_is_delivered_after_a_kill() {
    each(ALL, |victim| {
        let story = Story::begin("commanded", "[[sleep 60]] First");
        story.server.http().sse_until(&format!("/api/tasks/{}/events", story.id), "task_started");
        let path = format!("/api/tasks/{}/messages", story.id);
        story.server.http().post(&path, &json!({"text": "Second"})).status(200);
        let story = story.kill(victim);
        story.ends(0);
        let written = story.written();
        let mut lines: Vec<_> = written.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, ["- A demo agent was asked: First", "- A demo agent was asked: Second"]);
    });
}

#[test]
fn a_cancel_that_was_not_carried_out_is_after_a_kill() {
    for victim in [Victim::Server, Victim::Everything] {
        let story = Story::begin("commanded", "[[sleep 60]] First");
        story.server.http().sse_until(&format!("/api/tasks/{}/events", story.id), "task_started");
        story.server.http().delete(&format!("/api/tasks/{}", story.id)).status(200);
        story.kill(victim).ends(130);
    }
}

#[test]
fn what_was_stored_and_answered_to_nobody_is_there_once() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = Server::start_with(Server::command(&env).env("CADENCE_FAULTS", "created=kill"));
    let body = json!({"taskDescription": "Note this", "agent": "demo", "repoPath": repo.arg()});
    let post = |server: &Server| {
        let request = server.http().request(reqwest::Method::POST, "/api/tasks");
        request.header("Idempotency-Key", "one").json(&body)
    };
    let answer = runtime().block_on(async { post(&server).send().await });
    assert!(answer.is_err(), "{answer:?}");
    server.kill();
    let server = env.server();
    let task = server.http().send(post(&server)).status(201).json();
    let all = server.http().get("/api/tasks").status(200).json();
    assert_eq!(all["tasks"].as_array().unwrap().len(), 1);
    server.of(env.cadence(["tasks", "wait", task["id"].as_str().unwrap()])).run().code(0);
}

/// Git at work when the server is killed would work on in the workspace that the next one makes.
#[test]
fn git_does_not_outlive_the_server_that_started_it() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let (git, reached) = (env.path("bin/git"), env.path("reached"));
    let real = fs::read_link(&git).unwrap();
    fs::remove_file(&git).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in *clone*) touch '{}'; exec sleep 600 ;; esac\nexec '{}' \"$@\"\n",
        reached.display(),
        real.display()
    );
    fs::write(&git, script).unwrap();
    fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
    let server = env.server();
    let id = note(&env, &server, &repo, "First");
    until("git is at work", || reached.exists());
    server.kill();
    fs::remove_file(&git).unwrap();
    symlink(real, &git).unwrap();
    let server = env.server();
    server.of(env.cadence(["tasks", "wait", &id])).run().code(0);
}

/// A git that is killed leaves its locks, and every git after it fails of them.
#[test]
fn locks_that_git_left_in_a_mirror_are_no_obstacle() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = env.server();
    let first = note(&env, &server, &repo, "First");
    server.of(env.cadence(["tasks", "wait", &first])).run().code(0);
    server.kill();
    let mirrors = fs::read_dir(env.path("serve/mirrors")).unwrap().flatten().map(|entry| entry.path());
    let mirror = mirrors.into_iter().find(|path| path.extension().is_some_and(|e| e == "git")).unwrap();
    for name in ["packed-refs.lock", "shallow.lock", "refs/heads/main.lock"] {
        fs::create_dir_all(mirror.join(name).parent().unwrap()).unwrap();
        fs::write(mirror.join(name), "").unwrap();
    }
    let server = env.server();
    repo.git(["commit", "-q", "--allow-empty", "-m", "another"]);
    let second = note(&env, &server, &repo, "Second");
    server.of(env.cadence(["tasks", "wait", &second])).run().code(0);
    assert!(!mirror.join("packed-refs.lock").exists());
}

/// A task of the demo agent.
fn note(env: &TestEnv, server: &Server, repo: &Repo, task: &str) -> String {
    let mut environment = env.model();
    environment["CADENCE_DEMO_SECONDS"] = "0".into();
    let body = json!({"taskDescription": task, "agent": "demo", "repoPath": repo.arg(), "environment": environment});
    server.http().post("/api/tasks", &body).status(201).json()["id"].as_str().unwrap().to_owned()
}

/// The real CLI goes on in its own session: what it was told and did before is in what the model is asked next.
#[test]
fn claude_goes_on_in_its_session() {
    each(ALL, |victim| {
        let env = TestEnv::new();
        let script = Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six");
        env.api.script("held", script.write("b.txt", "b\n").text("End."));
        let body = json!({"taskDescription": "Work [[scenario:held]]", "agent": "claude"});
        let story = Story::begin_in(env, "ended", body);
        story.env.api.gate("here").wait_reached(DEADLINE);
        let story = story.kill_now(victim);
        story.env.api.gate("here").open();
        story.release();
        let events = story.ends(0);
        assert_eq!(story.repo.show(&story.repo.task_branches()[0], "a.txt"), "a");
        let sessions: BTreeSet<_> =
            of_type(&events, "task_started").iter().map(|event| event["sessionId"].to_string()).collect();
        assert_eq!(sessions.len(), 1, "{sessions:?}");
    });
}
