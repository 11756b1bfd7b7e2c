//! The machine as any HTTP client sees it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{KEY, Machine, url_of};
use crate::support::{Http, TestEnv, until};

/// The messages of a stream: ids and data.
pub fn messages(stream: &str) -> Vec<(Option<u64>, Value)> {
    let blocks = stream.split("\n\n").filter(|block| block.lines().any(|line| line.starts_with("data:")));
    let message = |block: &str| {
        let field = |name: &str| {
            block.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim_start().to_owned()))
        };
        (field("id").map(|id| id.parse().unwrap()), serde_json::from_str(&field("data").unwrap()).unwrap())
    };
    blocks.map(message).collect()
}

fn ids(messages: &[(Option<u64>, Value)]) -> Vec<u64> {
    messages.iter().filter_map(|(id, _)| *id).collect()
}

#[test]
fn a_task_is_run_followed_and_found_again_by_its_key() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let machine = Machine::start(&env);
    let http = machine.http();
    assert_eq!(http.get("/health").status(200).json()["status"], "ok");
    let body = json!({"task": "[[run echo hello]] Note this", "repoUrl": url_of(&repo), "agent": "demo",
        "permissionMode": "all"});
    let post = |path: &str| http.request(Method::POST, path).header("idempotency-key", "one");
    let answer = http.send(post("/task/stream").json(&body)).status(200);
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let told = messages(&answer.text);
    let (first, last) = (&told[0].1, &told.last().unwrap().1);
    assert_eq!(first["type"], "run", "{first}");
    assert_eq!((&last["type"], &last["success"]), (&json!("complete"), &json!(true)), "{last}");
    assert!(last["output"].as_str().is_some_and(|text| !text.is_empty()), "{last}");
    let all = ids(&told);
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    assert!(told.iter().any(|(_, data)| data["type"] == "command_run"), "{told:?}");

    // The same key is the same run, also where its end is waited for.
    let waited = http.send(post("/task").json(&body)).status(200).json();
    assert_eq!((&waited["runId"], &waited["output"]), (&first["runId"], &last["output"]));
    let other = json!({"task": "Another", "repoUrl": url_of(&repo), "agent": "demo"});
    let refused = http.send(post("/task").json(&other)).status(409).json();
    assert_eq!(refused["code"], "conflict", "{refused}");

    // A stream goes on after the last event that was seen.
    let path = format!("/task/{}/stream", first["runId"].as_str().unwrap());
    let rest = http.send(http.request(Method::GET, &path).header("last-event-id", "3")).status(200);
    let rest = messages(&rest.text);
    assert_eq!(ids(&rest), all[3..]);
    assert_eq!((&rest[0].1["type"], &rest.last().unwrap().1), (&json!("run"), last));
    let end = http.send(http.request(Method::GET, &path).header("last-event-id", "9999")).status(200);
    assert_eq!(messages(&end.text).len(), 2);
    http.send(http.request(Method::GET, &path).header("last-event-id", "x")).status(400);
}

#[test]
fn who_goes_away_does_not_end_the_task_and_who_cancels_does() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let machine = Machine::start(&env);
    let http = machine.http();
    let body = json!({"task": "[[run echo begun]] [[hang]]", "repoPath": repo.arg(), "agent": "demo",
        "permissionMode": "all"});
    let request = http.request(Method::POST, "/task/stream").json(&body);
    let run = crate::support::runtime().block_on(async {
        let mut response = request.send().await.unwrap();
        let mut text = String::new();
        while !text.contains("\n\n") {
            text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
        }
        messages(text.rsplit_once("\n\n").unwrap().0)[0].1["runId"].as_str().unwrap().to_owned()
    });
    let path = format!("/task/{run}");
    http.sse_until(&format!("{path}/stream"), "command_run");
    assert_eq!(http.delete(&path).status(200).json()["success"], true);
    let end = http.sse_until(&format!("{path}/stream"), "\"complete\"");
    assert!(end.contains("\"reason\":\"cancelled\""), "{end}");
    http.delete(&path).status(200);
}

#[test]
fn nobody_is_let_in_without_the_key_and_errors_are_those_of_the_api() {
    let env = TestEnv::new();
    let machine = Machine::start(&env);
    let without = Http::new(&machine.url, None);
    without.get("/health").status(200);
    let body = json!({"task": "x", "repoUrl": "https://git.example/x"});
    for path in ["/task", "/task/stream"] {
        let refused = without.post(path, &body).status(401);
        assert_eq!(refused.json()["code"], "unauthorized");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
    }
    let wrong = Http::new(&machine.url, Some("wrong"));
    wrong.get("/health").status(401);
    let id = "00000000-0000-4000-8000-000000000000";
    wrong.delete(&format!("/task/{id}")).status(401);
    let http = machine.http();
    assert_eq!(http.get(&format!("/task/{id}/stream")).status(404).json()["code"], "not_found");
    assert_eq!(http.delete("/task/nonsense").status(404).json()["code"], "not_found");
    let nothing = http.post("/task", &json!({"task": "x"})).status(422).json();
    assert_eq!(nothing["code"], "invalid_request", "{nothing}");
    http.post("/task", &json!({"task": "", "repoUrl": "https://git.example/x"})).status(422);
    http.post("/task", &json!({"task": "x", "repoUrl": "https://me:secret@git.example/x"})).status(422);
    // It is no server: the rest of the API is not there.
    http.get("/api/tasks").status(404);
}

#[test]
fn without_a_key_it_is_for_the_machine_itself() {
    let env = TestEnv::new();
    let open = Machine::command(&env, "0.0.0.0:0").timeout(Duration::from_secs(20)).run();
    open.code(2).complains("is not loopback, and there is no key").complains("VPS_API_KEY");
    env.cadence(["daemon"]).run().code(2).complains("--listen");
    let machine = Machine::start_with(Machine::command(&env, "127.0.0.1:0"));
    let http = Http::new(&machine.url, None);
    let id = "00000000-0000-4000-8000-000000000000";
    http.get(&format!("/task/{id}/stream")).status(404);
    let rebound = http.request(Method::GET, &format!("/task/{id}/stream")).header("host", "rebound.example");
    assert_eq!(http.send(rebound).status(403).json()["code"], "forbidden");
}

#[test]
fn a_machine_that_was_killed_goes_on_and_its_streams_too() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let file = env.path("key");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    let keyed = Machine::command(&env, "127.0.0.1:0").args(["--key-file", file.to_str().unwrap()]);
    let machine = Machine::start_with(keyed);
    let body = json!({"task": "[[run echo once]] [[sleep 2]] Note this", "repoUrl": url_of(&repo), "agent": "demo",
        "permissionMode": "all"});
    let http = machine.http();
    let request = http.request(Method::POST, "/task/stream").json(&body);
    let seen = crate::support::runtime().block_on(async {
        let mut response = request.send().await.unwrap();
        let mut text = String::new();
        while !text.contains("command_run") || !text.ends_with("\n\n") {
            text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
        }
        messages(&text)
    });
    let run = seen[0].1["runId"].as_str().unwrap();
    let machine = machine.kill_and_restart(&env);
    let http = machine.http();
    let last = *ids(&seen).last().unwrap();
    let mut rest = Vec::new();
    until("the stream goes on", || {
        let path = format!("/task/{run}/stream");
        let answer = http.send(http.request(Method::GET, &path).header("last-event-id", last.to_string())).status(200);
        rest = messages(&answer.text);
        rest.last().is_some_and(|(_, data)| data["type"] == "complete")
    });
    let all: Vec<_> = ids(&seen).into_iter().chain(ids(&rest)).collect();
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    assert_eq!(rest.last().unwrap().1["success"], true, "{rest:?}");
}
