//! Endpoints of somebody else: other words, other ids, no streams, garbage.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::{KEY, count, ended, send, server_for, wait_event};
use crate::support::TestEnv;

/// A request that came.
#[derive(Clone, Debug)]
struct Request {
    line: String,
    headers: HashMap<String, String>,
    body: String,
}

/// A server that answers by hand, one request on a connection. It ends with the process.
struct Foreign {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Foreign {
    fn start(answer: impl Fn(&Request, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (theirs, answer) = (asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (asked, answer) = (theirs.clone(), answer.clone());
                std::thread::spawn(move || {
                    let Some(request) = read(&stream) else { return };
                    asked.lock().unwrap().push(request.clone());
                    // Whoever asked may be gone.
                    let mut stream = stream;
                    let _ = answer(&request, &mut stream);
                });
            }
        });
        Self { address, asked }
    }

    fn url(&self) -> String {
        format!("http://{}/bridge/", self.address)
    }

    fn asked(&self, line: &str) -> Vec<Request> {
        self.asked.lock().unwrap().iter().filter(|request| request.line.starts_with(line)).cloned().collect()
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|count| *count > 0)?;
    let mut headers = HashMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) => drop(headers.insert(name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { line, headers, body: String::from_utf8(body).ok()? })
}

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\nconnection: close\r\n\r\n";

fn json_answer(to: &mut (impl Write + ?Sized), status: &str, body: &Value) -> std::io::Result<()> {
    let text = body.to_string();
    write!(
        to,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}",
        text.len()
    )
}

#[test]
fn what_it_says_in_its_own_words_is_kept_and_a_stream_that_breaks_off_goes_on() {
    let foreign = Foreign::start(|request, stream| {
        if request.line.starts_with("POST /bridge/task/stream ") {
            stream.write_all(STREAM)?;
            stream.write_all(
                b": hello\nid: a-1\nevent: started\ndata: {\"taskId\":\"run-7\",\"message\":\"off we go\"}\n\n",
            )?;
            stream.write_all(b"id: a-2\ndata: {\"type\":\"command_run\",\"command\":\"make\",\"exitCode\":0}\n\n")?;
            stream.write_all(b"nonsense\n\x00\xff\xfe\n:\nid: a-3\nevent: thought\ndata: {\"content\":\"hmm\"}\n\n")?;
            // One that is too large, and one that breaks off.
            stream.write_all(b"id: a-4\ndata: ")?;
            for _ in 0..5 {
                stream.write_all(&[b'x'; 1 << 20])?;
            }
            stream.write_all(b"\n\nid: a-5\ndata: {\"type\":\"output\",\"te")
        } else if request.line.starts_with("GET /bridge/task/run-7/stream ") {
            stream.write_all(STREAM)?;
            assert_eq!(request.headers["last-event-id"], "a-4");
            stream.write_all(b"id: a-5\r\ndata: {\"type\":\"output\",\"text\":\"whole \xe2\x9c\x93\"}\r\n\r\n")?;
            let end = json!({"type": "complete", "success": true, "output": "All done.",
                "prUrl": "https://git.example/team/app/pull/12"});
            write!(stream, "data: {end}\n\n")
        } else {
            json_answer(stream, "404 Not Found", &json!({}))
        }
    });
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = server_for(&env, &foreign.url());
    let id = send(&server, &repo, "Do something");
    let (task, events) = ended(&server, &id, 1);
    assert_eq!((&task["status"], &task["output"]), (&json!("completed"), &json!("All done.")), "{task:#}");
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    insta::assert_snapshot!(kinds.join(" "), @"message status_changed command_run output error output pull_request task_completed status_changed");
    assert_eq!(count(&events, "output", "thought: hmm"), 1, "{events:#?}");
    assert_eq!(count(&events, "error", "is too large, and left out"), 1, "{events:#?}");
    assert_eq!(count(&events, "output", "whole ✓"), 1, "{events:#?}");
    assert_eq!(count(&events, "pull_request", "\"number\":12"), 1, "{events:#?}");
    let begun = foreign.asked("POST /bridge/task/stream");
    assert_eq!(begun.len(), 1, "{begun:#?}");
    assert_eq!(begun[0].headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(begun[0].headers["idempotency-key"], format!("{id}-1"));
    let asked: Value = serde_json::from_str(&begun[0].body).unwrap();
    assert_eq!((&asked["task"], &asked["repoUrl"]), (&json!("Do something"), &json!(super::url_of(&repo))));
}

#[test]
fn one_that_knows_no_streams_is_waited_for() {
    let foreign = Foreign::start(|request, stream| match request.line.as_str() {
        line if line.starts_with("POST /bridge/task ") => {
            let answer = json!({"success": false, "error": "the tests fail"});
            json_answer(stream, "200 OK", &answer)
        }
        _ => json_answer(stream, "404 Not Found", &json!({})),
    });
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = server_for(&env, &foreign.url());
    let id = send(&server, &repo, "Do something");
    let (task, events) = ended(&server, &id, 1);
    assert_eq!((&task["status"], &task["error"]), (&json!("failed"), &json!("the tests fail")), "{task:#}");
    assert_eq!(count(&events, "error", "tells nothing while it works"), 1, "{events:#?}");
    assert_eq!(foreign.asked("POST /bridge/task ").len(), 1);
}

#[test]
fn one_that_never_ends_is_cancelled_and_one_that_refuses_is_quoted() {
    let stopped = Arc::new(AtomicBool::new(false));
    let theirs = stopped.clone();
    let foreign = Foreign::start(move |request, stream| {
        if request.line.starts_with("DELETE /bridge/task/endless ") {
            theirs.store(true, Ordering::SeqCst);
            json_answer(stream, "200 OK", &json!({"success": true}))
        } else if request.line.starts_with("POST /bridge/task/stream ") {
            if request.body.contains("Refuse this") {
                let error = json!({"error": "there is no disk\u{1b}[31m", "message": "Buy one."});
                return json_answer(stream, "422 Unprocessable Entity", &error);
            }
            stream.write_all(STREAM)?;
            stream.write_all(b"data: {\"type\":\"run\",\"runId\":\"endless\"}\n\n")?;
            let mut number = 0;
            while !theirs.load(Ordering::SeqCst) {
                number += 1;
                write!(stream, "id: {number}\ndata: {{\"type\":\"output\",\"text\":\"again\"}}\n\n")?;
            }
            stream.write_all(b"data: {\"type\":\"complete\",\"success\":false,\"output\":\"stopped\"}\n\n")
        } else {
            json_answer(stream, "404 Not Found", &json!({}))
        }
    });
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = server_for(&env, &foreign.url());
    let id = send(&server, &repo, "Do something");
    wait_event(&server, &id, "output", "again");
    server.http().delete(&format!("/api/tasks/{id}")).status(200);
    let task = crate::support::until_some("the cancel", || {
        let task = super::task(&server, &id);
        (task["status"] == "cancelled").then_some(task)
    });
    assert_eq!(task["endReason"], "cancelled", "{task:#}");
    assert!(stopped.load(Ordering::SeqCst));

    let refused = send(&server, &repo, "Refuse this");
    let (task, _) = ended(&server, &refused, 1);
    insta::assert_snapshot!(task["error"].as_str().unwrap(), @"the endpoint refused it: there is no disk[31m. Buy one.");
}
