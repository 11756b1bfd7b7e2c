//! One task to many subscribers over WebSocket, from the agent's lines on. The figures of memory are those of the server's
//! own process.

use std::cell::RefCell;
use std::future::Future;
use std::rc::Rc;
use std::time::{Duration, Instant};

use cadence_protocol::Task;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::task::{JoinSet, LocalSet};
use uuid::Uuid;

use crate::peer::{Peer, Shared};
use crate::place;
use crate::result::{Results, millis, percentile};
use crate::server::Server;

const SUBSCRIBERS: usize = 1_000;
/// Of these, how many do not read in the last part.
const SILENT: usize = 100;
/// What the kernel takes for one that does not read, in bytes.
const ROOM: u32 = 16 * 1024;
/// Events to one subscriber alone.
const ALONE: usize = 50_000;
const FLOOD: usize = 4_000;
/// Events a second of the paced parts, and how long those are.
const PACE: usize = 50;
const SECONDS: usize = 8;

pub fn measure(results: &mut Results) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(65_536), hard).unwrap();
    // One thread: the server shall have what it needs of the processor.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, all(results));
}

async fn all(results: &mut Results) {
    let directory = place::directory();
    let home = directory.path();
    let repository = place::repository(home);
    let server = Server::start(home, &home.join("data"));

    let flood = format!("[[events {FLOOD}]]");
    let paced = format!("[[events {} {PACE}]]", PACE * SECONDS);
    let task = server.held(&format!("[[events {ALONE}]]"), &repository).await;
    let mut one = connected(&server, 1, None).await;
    subscribe(&mut one, &task).await;
    let (rate, _) = run(&server, task.id, &mut one).await;
    let beside = format!("{ALONE} events, stored, to one subscriber");
    results.at_least("events of one agent, from line to client", rate, 20_000.0, "/s", &beside);
    drop(one);

    let task = server.held(&flood, &repository).await;
    settle().await;
    let before = server.resident();
    let mut peers = connected(&server, SUBSCRIBERS, None).await;
    subscribe(&mut peers, &task).await;
    settle().await;
    let each = server.resident().saturating_sub(before) / SUBSCRIBERS as u64;
    let beside = format!("{SUBSCRIBERS} that are subscribed and wait");
    results.at_most("memory of a connection", each as f64 / 1024.0, 64.0, "KiB", &beside);

    let (rate, _) = run(&server, task.id, &mut peers).await;
    let beside = format!("{FLOOD} events to each of {SUBSCRIBERS}, all there and in order");
    results.at_least("deliveries in a flood", rate, 300_000.0, "/s", &beside);

    let task = server.held(&paced, &repository).await;
    subscribe(&mut peers, &task).await;
    let (_, all) = run(&server, task.id, &mut peers).await;
    let beside = format!("{} deliveries/s, from the agent's report to the client", PACE * SUBSCRIBERS);
    results.at_most("delay of a delivery, p99", all, 50.0, "ms", &beside);

    // Some that never read, instead of as many that do.
    let task = server.held(&flood, &repository).await;
    peers.truncate(SUBSCRIBERS - SILENT);
    subscribe(&mut peers, &task).await;
    settle().await;
    let before = server.resident();
    let mut silent = connected(&server, SILENT, Some(ROOM)).await;
    for peer in &mut silent {
        peer.subscribe(task.id).await;
    }
    let (rate, _) = run(&server, task.id, &mut peers).await;
    let beside = format!("while {SILENT} more never read");
    results.at_least("deliveries in a flood, to the others", rate, 300_000.0, "/s", &beside);
    let task = server.held(&paced, &repository).await;
    subscribe(&mut peers, &task).await;
    for peer in &mut silent {
        peer.subscribe(task.id).await;
    }
    let (_, others) = run(&server, task.id, &mut peers).await;
    let beside = format!("{all:.1} ms where all read");
    results.at_most("delay of a delivery, p99, to the others", others, 50.0, "ms", &beside);
    let more = server.resident().saturating_sub(before) as f64 / 1024.0 / SILENT as f64;
    results.at_most(
        "memory of one that never reads",
        more,
        128.0,
        "KiB",
        "all that the server has more since they came",
    );
}

/// Lets the server come to rest.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

pub async fn connected(server: &Server, count: usize, room: Option<u32>) -> Vec<Peer> {
    let mut peers = Vec::new();
    for _ in 0..count {
        peers.push(Peer::connect(&server.url, room).await);
    }
    peers
}

/// Subscribes all, and reads what there is.
pub async fn subscribe(peers: &mut Vec<Peer>, task: &Task) {
    for peer in peers.iter_mut() {
        peer.subscribe(task.id).await;
    }
    let there = task.last_seq;
    each(peers, Rc::default(), move |mut peer, buffer, shared| async move {
        peer.read(Some(there), &buffer, &shared).await;
        peer
    })
    .await;
}

/// Lets the task go on, reads it to its end at every subscriber, and gives deliveries a second and the p99 of their delay in
/// milliseconds.
pub async fn run(server: &Server, task: Uuid, peers: &mut Vec<Peer>) -> (f64, f64) {
    let shared = Rc::<Shared>::default();
    server.let_go(task).await;
    let started = Instant::now();
    each(peers, shared.clone(), |mut peer, buffer, shared| async move {
        peer.read(None, &buffer, &shared).await;
        peer
    })
    .await;
    let took = shared.last.borrow().unwrap().duration_since(started);
    let rate = *shared.deliveries.borrow() as f64 / took.as_secs_f64();
    let delay = millis(percentile(&mut shared.delays.borrow_mut(), 99));
    (rate, delay)
}

/// Does something with all peers at once.
async fn each<F>(peers: &mut Vec<Peer>, shared: Rc<Shared>, work: impl Fn(Peer, Rc<RefCell<Vec<u8>>>, Rc<Shared>) -> F)
where
    F: Future<Output = Peer> + 'static,
{
    let buffer = Rc::new(RefCell::new(vec![0; 256 * 1024]));
    let mut all = JoinSet::new();
    for peer in peers.drain(..) {
        all.spawn_local(work(peer, buffer.clone(), shared.clone()));
    }
    *peers = all.join_all().await;
}
