//! The WebSocket: what was, then what is, in order and each once.

use cadence_fakes::messages::Scenario;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Server, Socket, TOKEN, TestEnv};

fn connect(server: &Server) -> Socket {
    let mut socket = Socket::connect(server.url(), Some(TOKEN)).unwrap();
    assert_eq!(socket.receive()["type"], "connected");
    socket
}

fn numbers(frames: &[Value]) -> Vec<u64> {
    frames.iter().filter_map(|f| f["seq"].as_u64()).collect()
}

#[test]
fn it_replays_and_goes_on_live() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = env.server();
    let script = Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six");
    env.api.script("held", script.write("b.txt", "b\n").text("End."));
    let body = json!({"taskDescription": "Work [[scenario:held]]", "repoPath": repo.arg(), "environment": env.model()});
    let task = server.http().post("/api/tasks", &body).status(201).json();
    env.api.gate("here").wait_reached(DEADLINE);

    let mut early = connect(&server);
    early.send(&json!({"type": "subscribe", "taskId": task["id"]}));
    assert_eq!(early.receive()["type"], "subscribed");
    let first = early.receive_until("file_edit");
    drop(early);
    env.api.gate("here").open();

    let last = *numbers(&first).last().unwrap();
    let mut late = connect(&server);
    late.send(&json!({"type": "subscribe", "taskId": task["id"], "after": last}));
    let rest = late.receive_until("task_completed");
    let all: Vec<_> = numbers(&first).into_iter().chain(numbers(&rest)).collect();
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    late.send(&json!({"type": "unsubscribe", "taskId": task["id"]}));
    late.receive_until("unsubscribed");
}

#[test]
fn everything_can_be_watched_at_once() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = env.server();
    let body = json!({"taskDescription": "Look [[scenario:text]]", "repoPath": repo.arg(), "environment": env.model()});
    let first = server.http().post("/api/tasks", &body).status(201).json();
    let mut socket = connect(&server);
    socket.send(&json!({"type": "subscribe", "taskId": "*"}));
    let snapshot = socket.receive_until("task").pop().unwrap();
    assert_eq!(snapshot["task"]["id"], first["id"]);
    let second = server.http().post("/api/tasks", &body).status(201).json();
    let mut done = Vec::new();
    while done.len() < 2 {
        let frame = socket.receive_until("task").pop().unwrap();
        let task = &frame["task"];
        assert!(task["lastSeq"].as_u64().is_some(), "{task}");
        if task["status"] == "completed" && !done.contains(&task["id"]) {
            done.push(task["id"].clone());
        }
    }
    assert!(done.contains(&first["id"]) && done.contains(&second["id"]));
}

#[test]
fn frames_that_make_no_sense_are_answered_and_the_connection_stays() {
    let env = TestEnv::new();
    let server = env.server();
    let mut socket = connect(&server);
    for nonsense in
        ["{", "[]", "{\"type\":\"dance\"}", "{\"type\":\"subscribe\"}", "{\"type\":\"subscribe\",\"taskId\":\"x\"}"]
    {
        socket.send_text(nonsense);
        let answer = socket.receive();
        assert_eq!(answer["type"], "error", "{nonsense}: {answer}");
        assert!(answer["code"].is_string(), "{answer}");
    }
    socket.send(&json!({"type": "ping"}));
    assert_eq!(socket.receive()["type"], "pong");
    assert_eq!(server.http().get("/api/ws/health").status(200).json()["connections"], 1);
}

#[test]
fn without_a_token_nothing_is_seen() {
    let env = TestEnv::new();
    let server = env.server();
    // Either the handshake is refused, or the first frame has to bring the token.
    let Ok(mut socket) = Socket::connect(server.url(), None) else { return };
    socket.send(&json!({"type": "subscribe", "taskId": "*"}));
    let answer = socket.receive();
    assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("unauthorized")));
}
