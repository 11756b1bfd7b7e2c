//! A clock on the wall that is set while a server works: the program runs with one that the story sets.
#![cfg(target_os = "linux")]

use std::fs;

use cadence_fakes::messages::Scenario;
use serde_json::{Value, json};

use crate::support::clock::{self, set};
use crate::support::{DEADLINE, Http, Server, TestEnv, assert_whole, of_type, until};

/// A server whose clock is set by what stands in a file, such as `+5h`. The time that goes by evenly is left alone.
fn server(env: &TestEnv) -> Server {
    let data = env.path("serve");
    let serve = env.cadence(["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
    set(env, "+0");
    Server::start_with(clock::give(env, serve.args(["--lease-secs", "3", "--idle-exit", "3h"])))
}

/// The hour that the server takes it to be, counted from 1970.
fn hour(http: &Http) -> i64 {
    let at = http.get("/api/health").status(200).json()["timestamp"].as_str().unwrap().to_owned();
    at.parse::<jiff::Timestamp>().unwrap().as_second() / 3600
}

#[test]
fn a_clock_that_jumps_ends_nothing_and_begins_nothing_anew() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = server(&env);
    let http = server.http();
    env.api.script("held", Scenario::new().write("a.txt", "a\n").gate("here").text("Done."));
    let create = |text: &str| {
        let body = json!({
            "taskDescription": text, "repoPath": repo.arg(), "environment": env.model(), "timeoutSecs": 3600,
        });
        http.post("/api/tasks", &body).status(201).json()["id"].as_str().unwrap().to_owned()
    };
    let list = |query: &str| http.get(&format!("/api/tasks?{query}")).status(200).json();
    let ids = |page: &Value| -> Vec<String> {
        page["tasks"].as_array().unwrap().iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect()
    };
    let held = create("Work [[scenario:held]]");
    env.api.gate("here").wait_reached(DEADLINE);
    let began = hour(&http);
    // Further than its lease, its timeout and the time after which an idle server ends.
    for (offset, hours) in [("+5h", 5), ("-7h", -7), ("+5h", 5)] {
        set(&env, offset);
        assert!((hour(&http) - began - hours).abs() <= 1, "the clock was not set");
        let before = http.get(&format!("/api/tasks/{held}")).status(200).json();
        // Long enough for a heartbeat, and for somebody to claim what looks expired.
        let other = create("Look around [[scenario:write-only]]");
        http.sse_until(&format!("/api/tasks/{other}/events"), "task_completed");
        let task = http.get(&format!("/api/tasks/{held}")).status(200).json();
        assert_eq!((&task["status"], &task["attempt"]), (&json!("running"), &json!(1)), "{before:#}");
        // The newest stands first, and pages lead to all.
        let page = list("limit=1");
        assert_eq!(ids(&page), [other]);
        let next = list(&format!("limit=200&cursor={}", page["nextCursor"].as_str().unwrap()));
        assert_eq!(ids(&next).last(), Some(&held));
    }
    assert_eq!(ids(&list("limit=200")).len(), 4);
    env.api.gate("here").open();
    http.sse_until(&format!("/api/tasks/{held}/events"), "task_completed");
    until("it is completed", || http.get(&format!("/api/tasks/{held}")).status(200).json()["status"] == "completed");
    let events = http.get(&format!("/api/tasks/{held}/events?limit=1000")).status(200).json();
    let events = events["events"].as_array().unwrap();
    assert_whole(events, 1);
    let changes: Vec<_> = of_type(events, "status_changed").iter().map(|data| data["to"].clone()).collect();
    assert_eq!(changes, ["running", "completed"]);
}

#[test]
fn a_spent_month_ends_with_the_month() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let settings = env.home().join(".config/cadence/config.toml");
    fs::create_dir_all(settings.parent().unwrap()).unwrap();
    fs::write(settings, "[limits]\nmonth_usd = 3.0\n").unwrap();
    let server = server(&env);
    let http = server.http();
    let create = |text: &str, status: u16| {
        let body = json!({ "taskDescription": text, "repoPath": repo.arg(), "agent": "demo" });
        http.post("/api/tasks", &body).status(status).json()
    };
    let status = |task: &Value| {
        http.get(&format!("/api/tasks/{}", task["id"].as_str().unwrap())).status(200).json()["status"].clone()
    };
    let waits = create("[[overspend 5]] [[sleep 600]]", 201);
    until("the end of the one that spends it all", || status(&waits) == "failed");
    let refused = create("Note this", 422);
    assert_eq!(refused["code"], "budget_exhausted", "{refused}");
    assert!(refused["error"].as_str().unwrap().contains("the next month begins on"), "{refused}");
    // Whatever day it is, the next month has begun after as many.
    set(&env, "+32d");
    let next = create("Note this", 201);
    until("work in the new month", || status(&next) == "completed");
    let usage = http.get("/api/usage?months=3").status(200).json();
    let months: Vec<_> = usage["usage"].as_array().unwrap().iter().map(|one| one["costUsd"].clone()).collect();
    assert_eq!(months, [json!(0.0), json!(5.0)], "{usage:#}");
    http.get("/api/usage?months=0").status(422);
}
