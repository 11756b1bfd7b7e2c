//! A server of a few lines for tests: it answers what it is told, and fails when it is told.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cadence_protocol::{Approval, ApprovalKind};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::{Client, Endpoint, Origin};

#[derive(Debug, Default)]
struct Shared {
    tasks: Mutex<BTreeMap<Uuid, Value>>,
    /// Sent to every connection once it has subscribed.
    events: Mutex<Vec<Value>>,
    approvals: Mutex<Vec<Value>>,
    /// Calls that are still to fail.
    fail: AtomicU32,
    /// Connections for events that are still to be closed before they say anything.
    hang_up: AtomicU32,
}

pub struct Stub {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
    worker: tokio::task::JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Stub {
    pub async fn start() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let worker = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let shared = Arc::clone(&theirs);
                tokio::spawn(async move { drop(serve(socket, &shared).await) });
            }
        });
        Self { shared, address, worker }
    }

    pub fn client(&self) -> Client {
        let url = url::Url::parse(&format!("http://{}", self.address)).unwrap();
        Client::of(Endpoint { url, token: None }, Origin::Named)
    }

    /// Adds a task.
    pub fn task(&self, status: &str, last_seq: u64) -> Uuid {
        let id = Uuid::new_v4();
        self.task_is(id, status, last_seq);
        id
    }

    pub fn task_is(&self, id: Uuid, status: &str, last_seq: u64) {
        let task = json!({
            "id": id, "userId": Uuid::nil(), "taskDescription": "x", "repoName": "demo", "branch": "b",
            "baseBranch": "main", "status": status, "progress": 0, "model": "", "agent": "demo", "source": "CLI",
            "executor": "local", "permissionMode": "edits", "attempt": 1, "lastSeq": last_seq,
            "createdAt": "2026-01-01T10:00:00Z", "updatedAt": "2026-01-01T10:00:00Z"
        });
        held(&self.shared.tasks).insert(id, task);
    }

    pub fn event(&self, event: Value) {
        held(&self.shared.events).push(event);
    }

    pub fn approval(&self, approval: Value) {
        held(&self.shared.approvals).push(approval);
    }

    /// The next calls fail, as those of a server that is overloaded.
    pub fn fail_next(&self, calls: u32) {
        self.shared.fail.store(calls, Ordering::SeqCst);
    }

    pub fn left_to_fail(&self) -> u32 {
        self.shared.fail.load(Ordering::SeqCst)
    }

    /// The next connections for events are closed at once.
    pub fn hang_up_next(&self, connections: u32) {
        self.shared.hang_up.store(connections, Ordering::SeqCst);
    }
}

/// The event of a task's end.
pub fn ended(task: Uuid, seq: u64) -> Value {
    event(task, seq, &json!({"type": "task_completed", "success": true, "summary": "", "reason": "done"}))
}

/// A request that waits.
pub fn approval(id: &str, kind: ApprovalKind, input: Value) -> Approval {
    Approval {
        id: id.into(),
        task_id: Uuid::nil(),
        attempt: 1,
        kind,
        tool: "Bash".into(),
        input,
        suggestions: None,
        created_at: time::OffsetDateTime::UNIX_EPOCH,
        decision: None,
        by: None,
    }
}

/// An event as a server sends it.
pub fn event(task: Uuid, seq: u64, data: &Value) -> Value {
    json!({"type": data["type"], "taskId": task, "attempt": 1, "seq": seq, "timestamp": "2026-01-01T10:00:00Z",
        "data": data})
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes one off, if there is one.
fn take_one(count: &AtomicU32) -> bool {
    count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| count.checked_sub(1)).is_ok()
}

async fn serve(mut socket: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut head = [0; 4096];
    let count = socket.peek(&mut head).await?;
    let path = String::from_utf8_lossy(&head[..count]).split(' ').nth(1).unwrap_or_default().to_owned();
    if path == "/api/ws/stream" {
        return events(socket, shared).await;
    }
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await?);
    }
    let id = path.rsplit('/').next().and_then(|id| id.parse::<Uuid>().ok());
    let (status, body) = if take_one(&shared.fail) {
        ("503 Service Unavailable", json!({"error": "busy", "code": "busy", "requestId": "r"}))
    } else if path == "/api/approvals" {
        ("200 OK", json!({ "approvals": *held(&shared.approvals) }))
    } else if let Some(task) = id.and_then(|id| held(&shared.tasks).get(&id).cloned()) {
        ("200 OK", task)
    } else {
        ("404 Not Found", json!({"error": "nothing here", "code": "not_found", "requestId": "r"}))
    };
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    socket.write_all(format!("{head}{body}").as_bytes()).await
}

async fn events(socket: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut socket = tokio_tungstenite::accept_async(socket).await.map_err(std::io::Error::other)?;
    if take_one(&shared.hang_up) {
        return Ok(());
    }
    while let Some(Ok(frame)) = socket.next().await {
        let subscribes = frame.to_text().is_ok_and(|text| text.contains("subscribe"));
        if !subscribes {
            continue;
        }
        let frame: Value = serde_json::from_str(frame.to_text().unwrap()).unwrap();
        let mut all = vec![json!({"type": "subscribed", "taskId": frame["taskId"], "lastSeq": 0})];
        all.extend(held(&shared.events).clone());
        for value in all {
            socket.send(Message::text(value.to_string())).await.map_err(std::io::Error::other)?;
        }
    }
    Ok(())
}
