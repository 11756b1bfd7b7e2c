//! Workspaces that the server prepares ahead.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Repo, Server, TestEnv, until, until_some};

struct Story {
    env: TestEnv,
    repo: Repo,
}

impl Story {
    fn new() -> Self {
        let env = TestEnv::new();
        let repo = env.repo("demo");
        Self { env, repo }
    }

    fn warm(&self) -> Vec<PathBuf> {
        let places = fs::read_dir(self.env.path("serve/warm")).into_iter().flatten().flatten();
        places.flat_map(|place| fs::read_dir(place.path()).into_iter().flatten().flatten()).map(|e| e.path()).collect()
    }

    /// The one that is ready, once there is one.
    fn ready(&self) -> PathBuf {
        until_some("a workspace that is ready", || self.warm().into_iter().find(|path| path.ends_with("ready")))
    }

    /// Runs a task of the demo agent; gives its checkout.
    fn task(&self, server: &Server) -> PathBuf {
        let body = json!({
            "task": "Say something", "agent": "demo", "repoPath": self.repo.arg(),
            "environment": {"CADENCE_DEMO_SECONDS": "0"},
        });
        let task: Value = server.http().post("/api/tasks", &body).status(201).json();
        let id = task["id"].as_str().unwrap();
        until("the end of the task", || {
            let task = server.http().get(&format!("/api/tasks/{id}")).status(200).json();
            assert_ne!(task["status"], "failed", "{task}");
            task["status"] == "completed"
        });
        self.env.path("serve/workspaces").join(id).join("demo")
    }
}

#[test]
fn the_next_task_of_a_repository_takes_a_workspace_that_is_ready() {
    let s = Story::new();
    let server = s.env.server();
    s.task(&server);
    for change in ["one", "two"] {
        let ahead = fs::metadata(s.ready().join("tree")).unwrap().ino();
        s.repo.write("new.txt", change);
        s.repo.commit(change);
        let checkout = s.task(&server);
        assert_eq!(fs::metadata(&checkout).unwrap().ino(), ahead, "it was made anew");
        assert_eq!(fs::read_to_string(checkout.join("new.txt")).unwrap(), change);
    }
    s.ready();
    let checked = s.env.cadence(["doctor", "--verify", "--data-dir", s.env.path("serve").to_str().unwrap()]);
    checked.run().code(0).shows("1 warm workspace");
    // It outlives the server.
    server.stop();
    let ahead = fs::metadata(s.ready().join("tree")).unwrap().ino();
    let server = s.env.server();
    let checkout = s.task(&server);
    assert_eq!(fs::metadata(checkout).unwrap().ino(), ahead);
}

#[test]
fn what_a_killed_server_left_half_made_goes() {
    let s = Story::new();
    let server = s.env.server();
    s.task(&server);
    let half = until_some("one that is being made", || {
        s.warm().into_iter().find(|path| path.join("tree").is_dir() && !path.ends_with("ready"))
    });
    server.kill();
    assert!(half.exists(), "it was whole already");
    let server = s.env.server();
    until("it is removed", || !half.exists());
    s.task(&server);
    s.ready();
}

#[test]
fn none_is_prepared_where_the_settings_say_so() {
    let s = Story::new();
    let server = s.env.server();
    s.task(&server);
    s.ready();
    server.stop();
    s.env.cadence(["config", "set", "warm_workspaces", "0"]).run().code(0);
    let server = s.env.server();
    until("the one that is there is removed", || s.warm().is_empty());
    s.task(&server);
    // Ends when all that it does has ended.
    server.stop();
    assert_eq!(s.warm(), Vec::<PathBuf>::new());
}
