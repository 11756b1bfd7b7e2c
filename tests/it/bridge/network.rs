//! The network breaks, and whoever is at either end dies.

use serde_json::json;

use super::{KEY, Machine, count, ended, events, send, server_for, task, url_of, wait_event};
use crate::support::{Proxy, Server, TestEnv, until, until_some};

/// Why the task waits, once it says so with these words.
#[track_caller]
fn waits(server: &Server, id: &str, words: &str) -> String {
    until_some(&format!("a reason with {words:?}"), || {
        let reason = task(server, id)["pendingReason"].as_str()?.to_owned();
        reason.contains(words).then_some(reason)
    })
}

#[test]
fn a_network_that_breaks_loses_nothing_and_repeats_nothing() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let machine = Machine::start(&env);
    let network = Proxy::to(&machine.url);
    let server = server_for(&env, &network.url());
    let id = send(&server, &repo, "[[run echo once]] [[events 30 10]] Note this");
    wait_event(&server, &id, "command_run", "once");
    for _ in 0..3 {
        let seen = events(&server, &id).len();
        until("news", || events(&server, &id).len() > seen);
        network.cut();
    }
    let (task, here) = ended(&server, &id, 1);
    assert_eq!(task["status"], "completed", "{task:#}");
    assert_eq!(count(&here, "command_run", "once"), 1, "{here:#?}");
    // What the machine has stored is what is stored here: one by one, in order.
    let said = |events: &[serde_json::Value]| -> Vec<_> {
        events.iter().filter(|e| e["type"] == "output").map(|e| e["data"]["text"].clone()).collect()
    };
    let far: Vec<_> = far_events(&machine, &repo, &id);
    let (mut here, far) = (said(&here), said(&far));
    here.retain(|text| !text.as_str().unwrap().starts_with("The work is at the endpoint"));
    assert_eq!(here, far);
    assert!(far.len() >= 30, "{far:?}");
}

/// The events of the run of a task that [`send`] sent, as the machine tells them.
fn far_events(machine: &Machine, repo: &crate::support::Repo, id: &str) -> Vec<serde_json::Value> {
    let body = json!({"task": "[[run echo once]] [[events 30 10]] Note this", "repoUrl": url_of(repo), "agent": "demo",
        "permissionMode": "all"});
    let http = machine.http();
    let request = http.request(reqwest::Method::POST, "/task/stream").header("idempotency-key", format!("{id}-1"));
    let stream = http.send(request.json(&body)).status(200).text;
    super::by_hand::messages(&stream).into_iter().filter(|(id, _)| id.is_some()).map(|(_, data)| data).collect()
}

#[test]
fn both_ends_die_and_the_task_goes_on() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let machine = Machine::start(&env);
    let server = server_for(&env, &machine.url);
    let id = send(&server, &repo, "[[run echo once]] [[sleep 3]] Note this");
    wait_event(&server, &id, "command_run", "once");
    // The server first: the run goes on without it, and is found again.
    server.kill();
    let server = server_for(&env, &machine.url);
    until("the task is taken up", || task(&server, &id)["status"] == "running");
    let machine = machine.kill_and_restart(&env);
    let (done, here) = ended(&server, &id, 1);
    assert_eq!(done["status"], "completed", "{done:#}");
    assert_eq!(count(&here, "command_run", "echo once"), 1, "{here:#?}");
    drop(machine);
}

#[test]
fn a_server_that_is_stopped_gives_the_run_to_the_next() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let machine = Machine::start(&env);
    let server = server_for(&env, &machine.url);
    let id = send(&server, &repo, "[[run echo once]] [[sleep 1]] Note this");
    wait_event(&server, &id, "command_run", "once");
    server.stop();
    // Without an endpoint it waits, and says for what; nobody else begins it anew.
    let without = env.server();
    waits(&without, &id, "this server has none now (`[bridge] endpoint`)");
    without.stop();
    let server = server_for(&env, &machine.url);
    let (done, here) = ended(&server, &id, 1);
    assert_eq!(done["status"], "completed", "{done:#}");
    assert_eq!(count(&here, "command_run", "once"), 1, "{here:#?}");
}

#[test]
fn an_endpoint_that_is_not_there_is_waited_for_and_a_wrong_key_is_said() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let machine = Machine::start(&env);
    let address = machine.url.clone();
    drop(machine);
    let server = server_for(&env, &address);
    let id = send(&server, &repo, "[[run echo at last]] Note this");
    let reason = waits(&server, &id, "takes no tasks now");
    assert!(reason.starts_with(&format!("the endpoint {address} takes no tasks now: ")), "{reason}");
    let machine = Machine::start_at(&env, address.trim_start_matches("http://"));
    let (done, _) = ended(&server, &id, 1);
    assert_eq!(done["status"], "completed", "{done:#}");
    server.stop();

    let keyed = Server::command(&env).env("VPS_ENDPOINT", &machine.url).env("VPS_API_KEY", "a-wrong-key");
    let server = Server::start_with(keyed);
    let id = send(&server, &repo, "Note this");
    let reason = waits(&server, &id, "it refuses the key (401 Unauthorized)");
    assert!(!reason.contains(KEY) && !reason.contains("a-wrong-key"), "{reason}");
    // What nobody has begun can be cancelled without it.
    server.http().delete(&format!("/api/tasks/{id}")).status(200);
    assert_eq!(task(&server, &id)["status"], "cancelled");
}
