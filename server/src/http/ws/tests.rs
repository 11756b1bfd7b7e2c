//! Peers that are there no more, or do not read.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderValue;
use cadence_agent::workspace::Workspaces;
use cadence_protocol::{ClientFrame, EventData, Frame, FrameBody, Received, ServerFrame, Timestamp};
use futures_util::{SinkExt, StreamExt};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::Patience;
use crate::bridge::Bridge;
use crate::events::Hub;
use crate::http::{Activity, App, Gate, router};
use crate::queue::Dispatcher;
use crate::store::{NewTask, Principal, Store};
use crate::voice::Voice;

const TOKEN: &str = "t";
const LIMIT: Duration = Duration::from_secs(20);

struct World {
    store: Store,
    activity: Arc<Activity>,
    address: SocketAddr,
    who: Principal,
    _home: TempDir,
}

impl World {
    async fn new(patience: Patience) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("db"), Arc::new(Hub::default())).await.unwrap();
        let user_id = store.ensure_user("ann", "admin").await.unwrap();
        let who = Principal { user_id, name: "ann".into(), scopes: vec!["*".into()] };
        let activity = Arc::new(Activity::default());
        let dispatcher = Dispatcher::new(store.clone(), 30);
        let app = App {
            bridge: Bridge::new(store.clone(), dispatcher.clone(), CancellationToken::new()),
            dispatcher,
            store: store.clone(),
            gate: Arc::new(Gate::new(Some((TOKEN, who.clone())))),
            workspaces: Arc::new(Workspaces::new(home.path())),
            activity: activity.clone(),
            voice: Arc::new(Voice::new(cadence_speech::Settings::default(), None, BTreeMap::new(), home.path())),
            results: crate::results::Results::new(home.path()),
            bundle_limit: crate::BUNDLE_LIMIT,
            default_agent: "demo".into(),
            retention: crate::Retention::default(),
            agents: vec!["demo"],
            patience,
            closing: CancellationToken::new(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = router(app).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(axum::serve(listener, service).into_future());
        Self { store, activity, address, who, _home: home }
    }

    /// A connection that was upgraded by hand: it answers nothing by itself.
    async fn raw(&self) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET /api/ws/stream HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(socket.read_u8().await.unwrap());
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        socket
    }

    async fn client(&self) -> WebSocketStream<MaybeTlsStream<TcpStream>> {
        let mut request = format!("ws://{}/api/ws/stream", self.address).into_client_request().unwrap();
        let bearer = HeaderValue::try_from(format!("Bearer {TOKEN}")).unwrap();
        request.headers_mut().insert("authorization", bearer);
        connect_async(request).await.unwrap().0
    }

    fn open(&self) -> usize {
        self.activity.streams.load(std::sync::atomic::Ordering::Relaxed)
    }
}

fn subscription(task: Uuid) -> Message {
    let frame = ClientFrame::Subscribe { task_id: task.to_string(), after: None };
    Message::text(serde_json::to_string(&frame).unwrap())
}

/// A masked frame, as a client sends it; the mask is all zeros.
fn masked(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(text.as_bytes());
    frame
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_closed_and_one_that_does_stays() {
    let millis = Duration::from_millis;
    let world = World::new(Patience { ping: millis(100), silent: millis(500), ..Patience::default() }).await;
    let mut alive = world.client().await;
    let started = Instant::now();
    let mut dead = world.raw().await;
    let mut heard = Vec::new();
    // Pongs are sent while the client reads.
    let reading = async { while let Some(Ok(_)) = alive.next().await {} };
    tokio::select! {
        () = reading => panic!("the one that answers was closed"),
        closed = timeout(LIMIT, dead.read_to_end(&mut heard)) => drop(closed.unwrap()),
    }
    assert!(started.elapsed() >= millis(500));
    let pings = heard.windows(2).filter(|bytes| *bytes == [0x89, 0]).count();
    assert!(pings >= 3, "{pings} pings in {heard:?}");
    alive.send(Message::text("{\"type\":\"ping\"}")).await.unwrap();
    loop {
        let frame = timeout(LIMIT, alive.next()).await.unwrap().unwrap().unwrap();
        if frame.to_text().is_ok_and(|text| text.contains("pong")) {
            break;
        }
    }
    assert_eq!(world.open(), 1);
}

#[tokio::test]
async fn a_peer_that_does_not_read_is_closed_and_the_others_get_everything() {
    const EVENTS: u64 = 4_000;
    let world = World::new(Patience { send: Duration::from_millis(500), ..Patience::default() }).await;
    let task = world.store.create_task(new_task(&world.who), None).await.unwrap().0;
    let claim = world.store.claim(Uuid::new_v4(), 60).await.unwrap().unwrap();
    let mut stuck = world.raw().await;
    stuck.write_all(&masked(&format!("{{\"type\":\"subscribe\",\"taskId\":\"{}\"}}", task.id))).await.unwrap();
    let mut reader = world.client().await;
    reader.send(subscription(task.id)).await.unwrap();

    // More than the kernel takes for a peer that does not read.
    let text = "x".repeat(8_000);
    let flood = async {
        for seq in 1..=EVENTS {
            let body = FrameBody::Event { event: EventData::Output { text: text.clone() } };
            let frame = Frame { source_seq: seq, timestamp: Timestamp::now_utc(), body };
            world.store.report(claim.lease, vec![frame]).await.unwrap();
        }
    };
    let read = async {
        let mut last = 0;
        // The message, the change of state, and what is reported.
        while last < EVENTS + 2 {
            let frame = timeout(LIMIT, reader.next()).await.unwrap().unwrap().unwrap();
            let Message::Text(text) = frame else { continue };
            match serde_json::from_str(&text).unwrap() {
                Received::Event(event) => {
                    assert_eq!(event.seq, last + 1);
                    last = event.seq;
                }
                Received::Frame(ServerFrame::Error { error, .. }) => panic!("{error}"),
                Received::Frame(_) => {}
            }
        }
    };
    tokio::join!(flood, read);
    let gone = async {
        while world.open() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LIMIT, gone).await.unwrap();
    drop(stuck);
}

fn new_task(who: &Principal) -> NewTask {
    NewTask::new((who.user_id, &who.name), "demo", "app", "x".into())
}
