use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::DEADLINE;
use super::http::runtime;

/// A WebSocket client, which sends what it is told. Dropped, it is gone without a word.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Socket {
    /// Connects to `/api/ws/stream`, with a token in the header where there is one.
    pub fn connect(base: &str, token: Option<&str>) -> Result<Self, Error> {
        Self::connect_to(base, "/api/ws/stream", token)
    }

    /// As [`Self::connect`], to another stream.
    pub fn connect_to(base: &str, path: &str, token: Option<&str>) -> Result<Self, Error> {
        let url = format!("{}{path}", base.replacen("http", "ws", 1));
        let mut request = url.into_client_request()?;
        if let Some(token) = token {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        let (stream, _) = runtime().block_on(connect_async(request))?;
        Ok(Self { stream })
    }

    pub fn send(&mut self, frame: &Value) {
        self.send_text(&frame.to_string());
    }

    pub fn send_text(&mut self, text: &str) {
        runtime().block_on(self.stream.send(Message::text(text))).unwrap();
    }

    pub fn send_binary(&mut self, bytes: Vec<u8>) {
        runtime().block_on(self.stream.send(Message::binary(bytes))).unwrap();
    }

    /// Waits until the server has closed the stream.
    ///
    /// # Panics
    /// When it says something more, or does not close in time.
    #[track_caller]
    pub fn closed(&mut self) {
        runtime().block_on(async {
            while let Some(next) = tokio::time::timeout(DEADLINE, self.stream.next()).await.expect("an end in time") {
                match next {
                    Ok(Message::Text(text)) => panic!("the server goes on: {text}"),
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
    }

    /// The next frame, pings left out.
    ///
    /// # Panics
    /// When there is none in time.
    #[track_caller]
    pub fn receive(&mut self) -> Value {
        runtime().block_on(async {
            loop {
                let next = tokio::time::timeout(DEADLINE, self.stream.next()).await;
                match next.expect("a frame in time").expect("a frame before the end").unwrap() {
                    Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                    Message::Close(close) => panic!("the server closed: {close:?}"),
                    _ => {}
                }
            }
        })
    }

    /// Frames up to the first of this type, and that one.
    #[track_caller]
    pub fn receive_until(&mut self, kind: &str) -> Vec<Value> {
        let mut frames = Vec::new();
        loop {
            frames.push(self.receive());
            if frames.last().unwrap()["type"] == kind {
                return frames;
            }
        }
    }
}
