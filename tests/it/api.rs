//! The API as others see it, byte by byte.

use std::io::{Read, Write};
use std::net::TcpStream;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{DEADLINE, Repo, Server, TOKEN, TestEnv, until_some};

fn create(env: &TestEnv, server: &Server, repo: &Repo, task: &str) -> Value {
    let body = json!({"task": task, "repoPath": repo.arg(), "environment": env.model()});
    server.http().post("/api/tasks", &body).status(201).json()
}

fn wait_completed(server: &Server, id: &str) -> Value {
    until_some("the end of the task", || {
        let task = server.http().get(&format!("/api/tasks/{id}")).status(200).json();
        ["completed", "failed"].contains(&task["status"].as_str().unwrap()).then_some(task)
    })
}

#[test]
fn a_task_is_made_watched_and_looked_at() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = env.server();
    let task = create(&env, &server, &repo, "Write [[scenario:write-only]]");
    let id = task["id"].as_str().unwrap();
    assert_eq!((&task["status"], &task["source"], &task["attempt"]), (&json!("pending"), &json!("API"), &json!(1)));
    let stream = server.http().sse_until(&format!("/api/tasks/{id}/events"), "task_completed");
    let ids: Vec<u64> =
        stream.lines().filter_map(|l| l.strip_prefix("id:")).map(|n| n.trim().parse().unwrap()).collect();
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    assert_eq!(wait_completed(&server, id)["status"], "completed");
    let diff = server.http().get(&format!("/api/tasks/{id}/diff")).status(200);
    assert!(diff.text.contains("+hello world"), "{diff:?}");
    let page = server.http().get(&format!("/api/tasks/{id}/events?after=2&limit=1")).status(200).json();
    assert_eq!(page["events"][0]["seq"], 3);
}

#[test]
fn the_same_key_is_the_same_task() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = env.server();
    let body =
        json!({"taskDescription": "Write [[scenario:write-only]]", "repoPath": repo.arg(), "environment": env.model()});
    let send = |body: &Value| {
        let request = server.http().request(Method::POST, "/api/tasks").header("Idempotency-Key", "k-1").json(body);
        server.http().send(request)
    };
    let first = send(&body).status(201).json();
    let again = send(&body);
    assert!([200, 201].contains(&again.status), "{again:?}");
    assert_eq!(again.json()["id"], first["id"]);
    wait_completed(&server, first["id"].as_str().unwrap());
}

#[test]
fn pages_follow_each_other() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = env.server();
    let mut made: Vec<String> = (0..5)
        .map(|n| {
            create(&env, &server, &repo, &format!("Task {n} [[scenario:text]]"))["id"].as_str().unwrap().to_owned()
        })
        .collect();
    made.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.http().get(&format!("/api/tasks?limit=2{cursor}")).status(200).json();
        seen.extend(page["tasks"].as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, made);
    for id in &made {
        wait_completed(&server, id);
    }
}

#[test]
fn errors_have_one_shape() {
    let env = TestEnv::new();
    let server = env.server();
    let http = server.http();
    let none = "00000000-0000-4000-8000-000000000000";
    let raw = |body: &'static str, kind: &'static str| {
        http.send(http.request(Method::POST, "/api/tasks").header("content-type", kind).body(body))
    };
    let cases = [
        (http.get(&format!("/api/tasks/{none}")), 404),
        (http.get("/api/tasks/not-an-id"), 404),
        (http.get("/api/nonesuch"), 404),
        (http.get("/api/tasks?limit=0"), 400),
        (http.get("/api/tasks?cursor=%00"), 400),
        (http.get("/api/tasks?nonsense=1"), 400),
        (http.delete("/api/tasks"), 405),
        (raw("{", "application/json"), 400),
        (raw("{}", "text/plain"), 415),
        (raw("{\"taskDescription\": 7}", "application/json"), 400),
        (http.post("/api/tasks", &json!({"taskDescription": "  "})), 400),
        (http.post("/api/tasks", &json!({"taskDescription": "x", "surprise": 1})), 400),
        (http.post(&format!("/api/tasks/{none}/messages"), &json!({"text": "x"})), 404),
    ];
    for (answer, status) in cases {
        // 422 says that it was understood: fine for what is well formed.
        assert!(answer.status == status || (status == 400 && answer.status == 422), "{status}: {answer:?}");
        let error = answer.json();
        assert!(error["error"].as_str().unwrap().len() > 3 && error["code"].is_string(), "{error}");
        let request_id = answer.headers.get("x-request-id").map(|id| id.to_str().unwrap().to_owned());
        assert_eq!(error["requestId"].as_str().map(str::to_owned), request_id, "{answer:?}");
    }
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let env = TestEnv::new();
    let server = env.server();
    for path in ["/api/tasks", "/api/voice/transcribe", "/api/voice/command"] {
        let mut stream = TcpStream::connect(server.url().strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: cadence\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\
             Content-Length: 1000000000\r\nConnection: close\r\n\r\n{{"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 16];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413 Pay", "{path}");
    }
}

#[test]
fn what_cannot_follow_is_refused() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = env.server();
    let task = create(&env, &server, &repo, "Look [[scenario:text]]");
    let id = task["id"].as_str().unwrap();
    wait_completed(&server, id);
    for action in ["pause", "resume"] {
        let answer = server.http().post(&format!("/api/tasks/{id}/{action}"), &json!({})).status(409).json();
        assert!(answer["error"].as_str().unwrap().contains("completed"), "{answer}");
    }
    server.http().delete(&format!("/api/tasks/{id}")).status(409);
}

#[test]
fn commands_in_words_do_the_same() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = env.server();
    let body = json!({"action": "create_task", "taskDescription": "Look [[scenario:text]]", "repoPath": repo.arg(), "environment": env.model()});
    let made = server.http().post("/api/input/command", &body);
    assert!([200, 201].contains(&made.status), "{made:?}");
    let id = made.json()["task"]["id"].as_str().unwrap().to_owned();
    wait_completed(&server, &id);
    let list = server.http().post("/api/input/command", &json!({"action": "list_tasks"})).status(200).json();
    assert_eq!(list["tasks"][0]["id"], id.as_str());
    server.http().post("/api/input/command", &json!({"action": "dance"})).status(422);
}

#[test]
fn it_documents_itself() {
    let env = TestEnv::new();
    let server = env.server();
    let document = server.http().get("/api/openapi.json").status(200).json();
    for path in ["/api/tasks", "/api/tasks/{id}", "/api/tasks/{id}/events", "/api/approvals", "/api/input/command"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    server.http().get("/api/docs").status(200);
    server.http_without_token().get("/healthz").status(200);
    server.http_without_token().get("/readyz").status(200);
}
