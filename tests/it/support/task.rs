//! Tasks of the embedded server, followed over its API.

use std::fs;

use serde_json::Value;

use super::{Http, Repo, TestEnv, until_some};

impl TestEnv {
    /// Starts a task in the background with `cadence run --detach`, and gives its id.
    #[track_caller]
    pub fn detach<const N: usize>(&self, repo: &Repo, task: &str, options: [&str; N]) -> String {
        let run = self.cadence(["run", task, "--detach", "--json"]).args(options).cwd(repo.path()).run().code(0);
        run.json()["id"].as_str().expect("the id of a task").to_owned()
    }

    /// A client of the embedded server, which must run.
    pub fn embedded(&self) -> Http {
        let directory = self.runtime_dir().join("cadence");
        let document = fs::read_to_string(directory.join("server.json")).expect("an embedded server runs");
        let document: Value = serde_json::from_str(&document).unwrap();
        let token = fs::read_to_string(directory.join("token")).unwrap();
        Http::new(document["url"].as_str().unwrap().trim_end_matches('/'), Some(token.trim()))
    }

    pub fn task(&self, id: &str) -> Value {
        self.embedded().get(&format!("/api/tasks/{id}")).status(200).json()
    }

    /// All events of a task so far.
    pub fn events(&self, id: &str) -> Vec<Value> {
        let answer = self.embedded().get(&format!("/api/tasks/{id}/events?limit=1000")).status(200).json();
        answer["events"].as_array().unwrap().clone()
    }

    /// Waits until the task has one of these statuses, and gives it.
    #[track_caller]
    pub fn wait_status(&self, id: &str, statuses: &[&str]) -> Value {
        let http = self.embedded();
        until_some(&format!("a status of {statuses:?}"), || {
            let task = http.get(&format!("/api/tasks/{id}")).status(200).json();
            let status = task["status"].as_str().unwrap();
            let ended = ["completed", "failed", "cancelled"].contains(&status);
            assert!(!ended || statuses.contains(&status), "it ended before {statuses:?}: {task:#}");
            statuses.contains(&status).then_some(task)
        })
    }

    /// Waits until an event of this type has these words in its data, and gives the data.
    #[track_caller]
    pub fn wait_event(&self, id: &str, kind: &str, words: &str) -> Value {
        until_some(&format!("{kind} with {words:?}"), || {
            let events = self.events(id);
            events.into_iter().map(|e| e["data"].clone()).find(|d| d["type"] == kind && d.to_string().contains(words))
        })
    }

    /// Waits for the approval that the task needs, and gives its id.
    #[track_caller]
    pub fn wait_approval(&self, id: &str) -> String {
        self.wait_status(id, &["waiting"]);
        let waiting = until_some("an approval", || {
            let list = self.embedded().get("/api/approvals").status(200).json();
            list["approvals"].as_array().unwrap().iter().find(|a| a["taskId"] == id).cloned()
        });
        waiting["id"].as_str().unwrap().to_owned()
    }
}

/// The data of the events of one type.
pub fn of_type<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().map(|e| &e["data"]).filter(|d| d["type"] == kind).collect()
}

/// The numbers of events, in their order.
pub fn numbers(events: &[Value]) -> Vec<u64> {
    events.iter().filter_map(|event| event["seq"].as_u64()).collect()
}

/// Asserts that the numbers of the events have no gap, and that each attempt ends once.
#[track_caller]
pub fn assert_whole(events: &[Value], attempts: usize) {
    assert_eq!(numbers(events), (1..=events.len() as u64).collect::<Vec<_>>());
    assert_eq!(of_type(events, "task_completed").len(), attempts, "{events:#?}");
}
