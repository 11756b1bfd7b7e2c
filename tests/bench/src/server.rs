//! `cadence serve` of the release build, and what is asked of it.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cadence_protocol::{ApprovalList, Task, TaskStatus};
use cadence_server::store::Store;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::place;

pub const TOKEN: &str = "a-token-of-the-bench";

/// A server, killed when it is dropped.
pub struct Server {
    pub child: Child,
    pub url: String,
    /// From the start of the process to its line that it is ready.
    pub took: Duration,
    client: Client,
}

impl Server {
    pub fn start(home: &Path, data: &Path) -> Self {
        Self::with_workers(home, data, 1)
    }

    /// One that works on so many tasks at once.
    pub fn with_workers(home: &Path, data: &Path, workers: usize) -> Self {
        let started = Instant::now();
        let mut child = Command::new(place::built().join("cadence"))
            .args(["serve", "--listen", "127.0.0.1:0", "--workers", &workers.to_string(), "--data-dir"])
            .arg(data)
            .env_clear()
            .envs([("HOME", home.as_os_str()), ("PATH", "/usr/bin:/bin".as_ref()), ("CADENCE_TOKEN", TOKEN.as_ref())])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let took = started.elapsed();
        let url =
            line.trim().strip_prefix("listening on ").expect("a server that is ready").trim_end_matches('/').to_owned();
        Self { child, url, took, client: Client::builder().no_proxy().build().unwrap() }
    }

    /// Starts on data that a store was prepared with.
    pub async fn start_after(store: Store, home: &Path, data: &Path) -> Self {
        store.close().await;
        Self::start(home, data)
    }

    pub async fn get(&self, path: &str) -> String {
        let answer = self.client.get(format!("{}{path}", self.url)).bearer_auth(TOKEN).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {text}");
        text
    }

    pub async fn post(&self, path: &str, body: &Value) -> String {
        let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(TOKEN).json(body);
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {text}");
        text
    }

    /// Hands the demo agent a script that waits for [`Self::let_go`] before it begins.
    pub async fn held(&self, script: &str, repository: &str) -> Task {
        let body = json!({
            "taskDescription": format!("[[ask]]{script}"), "agent": "demo", "repoPath": repository,
            "environment": {"CADENCE_DEMO_SECONDS": "0"},
        });
        self.held_with(&body).await
    }

    /// Creates a task that asks, and waits until it does.
    pub async fn held_with(&self, body: &Value) -> Task {
        let task: Task = serde_json::from_str(&self.post("/api/tasks", body).await).unwrap();
        loop {
            let now: Task = serde_json::from_str(&self.get(&format!("/api/tasks/{}", task.id)).await).unwrap();
            if now.status == TaskStatus::Waiting {
                return now;
            }
            assert!(!now.status.is_end(), "{now:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn waiting(&self, task: Uuid) -> Option<String> {
        let list: ApprovalList = serde_json::from_str(&self.get("/api/approvals").await).unwrap();
        list.approvals.into_iter().find(|approval| approval.task_id == task).map(|approval| approval.id)
    }

    pub async fn let_go(&self, task: Uuid) {
        let approval = self.waiting(task).await.unwrap();
        self.post(&format!("/api/tasks/{task}/approvals/{approval}"), &json!({"decision": "allow"})).await;
    }

    /// Memory that its process has, in bytes.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Processor time that its process has used, in the kernel's ticks of 10 ms.
    pub fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, rest) = stat.rsplit_once(") ").unwrap();
        rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
    }
}

/// A connection to a server that costs little, so that the server's own time is measured.
pub struct Plain {
    stream: TcpStream,
    host: String,
    answer: Vec<u8>,
}

impl Plain {
    pub async fn connect(server: &Server) -> Self {
        let host = server.url.strip_prefix("http://").unwrap().to_owned();
        let stream = TcpStream::connect(&host).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, host, answer: Vec::new() }
    }

    pub async fn get(&mut self, path: &str) {
        self.send(&format!("GET {path} HTTP/1.1\r\n"), "").await;
    }

    pub async fn post(&mut self, path: &str, body: &Value) {
        self.send(&format!("POST {path} HTTP/1.1\r\nContent-Type: application/json\r\n"), &body.to_string()).await;
    }

    /// Sends a request and waits for its answer.
    async fn send(&mut self, head: &str, body: &str) {
        let (host, length) = (&self.host, body.len());
        let request =
            format!("{head}Host: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {length}\r\n\r\n{body}");
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.answer.clear();
        let mut whole = None;
        while whole.is_none_or(|whole| self.answer.len() < whole) {
            assert!(self.stream.read_buf(&mut self.answer).await.unwrap() > 0, "the server closed the connection");
            if whole.is_none()
                && let Some(end) = self.answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")
            {
                let head = String::from_utf8_lossy(&self.answer[..end]).to_lowercase();
                let (_, rest) = head.split_once("content-length: ").expect("the length of the answer");
                let length: usize = rest.split_whitespace().next().unwrap().parse().unwrap();
                whole = Some(end + 4 + length);
            }
        }
        assert!(self.answer.starts_with(b"HTTP/1.1 20"), "{}", String::from_utf8_lossy(&self.answer));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
