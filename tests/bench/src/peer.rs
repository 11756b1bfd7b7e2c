//! A WebSocket client that costs little: a socket, its frames counted and looked at no further than it takes to know that
//! none is missing.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cadence_protocol::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use uuid::Uuid;

use crate::server::TOKEN;

/// What the peers of one measurement have in common.
#[derive(Default)]
pub struct Shared {
    /// When each event was reported, in microseconds since 1970.
    reported: RefCell<HashMap<u64, u64>>,
    /// From there to each subscriber.
    pub delays: RefCell<Vec<Duration>>,
    pub deliveries: RefCell<u64>,
    pub last: RefCell<Option<Instant>>,
}

pub struct Peer {
    socket: TcpStream,
    rest: Vec<u8>,
    next: u64,
    ending: bool,
}

impl Peer {
    /// Connects and is let in. `room`: what its kernel takes while it does not read.
    pub async fn connect(url: &str, room: Option<u32>) -> Self {
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(room) = room {
            socket.set_recv_buffer_size(room).unwrap();
        }
        let mut socket = socket.connect(address).await.unwrap();
        let request = format!(
            "GET /api/ws/stream HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let end = loop {
            assert!(socket.read_buf(&mut rest).await.unwrap() > 0, "{}", String::from_utf8_lossy(&rest));
            if let Some(end) = rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
        };
        assert!(rest.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&rest));
        rest.drain(..end);
        Self { socket, rest, next: 1, ending: false }
    }

    /// Subscribes to a task from its beginning.
    pub async fn subscribe(&mut self, task: Uuid) {
        let text = format!("{{\"type\":\"subscribe\",\"taskId\":\"{task}\"}}");
        // Masked, as clients have to; the mask is all zeros.
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        self.socket.write_all(&frame).await.unwrap();
        (self.next, self.ending) = (1, false);
    }

    /// Reads until the events up to `seq` are there; `None`: to the end of the task's first attempt.
    ///
    /// # Panics
    /// When an event is missing, comes twice or out of order, or when the server closes.
    pub async fn read(&mut self, until: Option<u64>, buffer: &RefCell<Vec<u8>>, shared: &Shared) {
        loop {
            if until.is_some_and(|until| self.next > until) {
                return;
            }
            self.socket.readable().await.unwrap();
            let buffer = &mut *buffer.borrow_mut();
            let count = match self.socket.try_read(buffer) {
                Ok(0) => panic!("the server closed the connection at event {}", self.next),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("{error}"),
            };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            let done = if self.rest.is_empty() {
                let (used, done) = self.frames(&buffer[..count], now, shared);
                self.rest.extend_from_slice(&buffer[used..count]);
                done
            } else {
                let mut bytes = std::mem::take(&mut self.rest);
                bytes.extend_from_slice(&buffer[..count]);
                let (used, done) = self.frames(&bytes, now, shared);
                bytes.drain(..used);
                self.rest = bytes;
                done
            };
            if done {
                return;
            }
        }
    }

    /// Takes in whole frames; gives how many bytes they were, and whether the task has ended.
    fn frames(&mut self, bytes: &[u8], now: Duration, shared: &Shared) -> (usize, bool) {
        let mut at = 0;
        let mut done = false;
        while let Some((header, length)) = frame(&bytes[at..]) {
            let Some(payload) = bytes.get(at + header..at + header + length) else { break };
            at += header + length;
            if let Some((kind, seq)) = event(payload) {
                assert_eq!(seq, self.next, "{}", String::from_utf8_lossy(payload));
                self.next += 1;
                done = self.ending;
                self.ending = kind == b"task_completed";
                *shared.deliveries.borrow_mut() += 1;
                if kind == b"output" {
                    let mut reported = shared.reported.borrow_mut();
                    let reported = *reported.entry(seq).or_insert_with(|| timestamp(payload));
                    let delay = now.saturating_sub(Duration::from_micros(reported));
                    shared.delays.borrow_mut().push(delay);
                }
            }
        }
        if at > 0 {
            *shared.last.borrow_mut() = Some(Instant::now());
        }
        (at, done)
    }
}

/// Length of a frame's header and of its payload.
fn frame(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => Some((4, u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap()).into())),
        127 => Some((10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap())).unwrap())),
        length => Some((2, length.into())),
    }
}

/// Kind and number of an event; none for other frames.
fn event(payload: &[u8]) -> Option<(&[u8], u64)> {
    let rest = payload.strip_prefix(b"{\"type\":\"")?;
    let kind = &rest[..rest.iter().position(|&byte| byte == b'"')?];
    let rest = rest[kind.len()..].strip_prefix(b"\",\"taskId\":\"")?.get(36..)?.strip_prefix(b"\",\"attempt\":")?;
    let rest = &rest[rest.iter().position(|&byte| byte == b',')?..];
    let digits = rest.strip_prefix(b",\"seq\":")?.iter().take_while(|byte| byte.is_ascii_digit());
    Some((kind, digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))))
}

fn timestamp(payload: &[u8]) -> u64 {
    let event: Event = serde_json::from_slice(payload).unwrap();
    u64::try_from(event.timestamp.unix_timestamp_nanos() / 1000).unwrap()
}
