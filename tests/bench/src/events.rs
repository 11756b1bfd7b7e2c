//! Events of one agent, durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cadence_protocol::{EventData, Frame, FrameBody, Timestamp};
use cadence_server::events::Hub;
use cadence_server::store::{FILE, Store};
use uuid::Uuid;

use crate::result::{Results, millis, percentile};
use crate::{floor, place};

const EVENTS: u64 = 100_000;
/// What a runner sends at once when the agent is faster than the storage.
const GROUP: u64 = 256;
/// Events in a report of the part at 20,000 a second, and such reports a second.
const MANY: u64 = 100;
const MANY_RATE: f64 = 200.0;

pub async fn measure(results: &mut Results) {
    let directory = place::directory();
    let store = Store::open(&directory.path().join(FILE), Arc::new(Hub::default())).await.unwrap();
    let user = store.ensure_user("bench", "admin").await.unwrap();
    store.create_task(place::new_task(user, "events".into()), None).await.unwrap();
    let claim = store.claim(Uuid::new_v4(), 600).await.unwrap().unwrap();
    let event = EventData::Output { text: "The quick brown fox jumps over the lazy dog. ".repeat(4) };
    let data = serde_json::to_string(&event).unwrap();
    let mut seq = 0;
    let mut report = async |count: u64| {
        let body = FrameBody::Event { event: event.clone() };
        let frame = |n| Frame { source_seq: n, timestamp: Timestamp::now_utc(), body: body.clone() };
        let frames = (seq + 1..=seq + count).map(frame).collect();
        seq += count;
        let arrived = Instant::now();
        store.report(claim.lease, frames).await.unwrap();
        arrived.elapsed()
    };

    let mut commits = Vec::new();
    let started = Instant::now();
    let mut left = EVENTS;
    while left > 0 {
        commits.push(report(GROUP.min(left)).await);
        left = left.saturating_sub(GROUP);
    }
    let rate = EVENTS as f64 / started.elapsed().as_secs_f64();
    let mut pace = async |count: u64, times: u64, rate: f64| {
        let mut samples = Vec::new();
        let started = tokio::time::Instant::now();
        for n in 0..times {
            tokio::time::sleep_until(started + Duration::from_secs_f64(n as f64 / rate)).await;
            samples.push(report(count).await);
        }
        samples
    };
    let mut many = pace(MANY, 800, MANY_RATE).await;
    let mut single = pace(1, 2_000, 500.0).await;
    store.close().await;

    let bare = EVENTS as f64 / floor::inserts(directory.path(), EVENTS, GROUP, &data).await.as_secs_f64();
    let (half, most) = (millis(percentile(&mut commits, 50)), millis(percentile(&mut commits, 99)));
    let beside = format!(
        "{:.1} times {bare:.0}/s bare inserts in groups of {GROUP}; commits {half:.1} ms, p99 {most:.1} ms",
        rate / bare
    );
    results.at_least("events of one agent, durable, in a flood", rate, 20_000.0, "/s", &beside);
    for (name, samples) in
        [("arrival to commit at 20,000 events/s, p99", &mut many), ("the same, 500 single events/s", &mut single)]
    {
        let beside = format!("median {:.2} ms", millis(percentile(samples, 50)));
        results.at_most(name, millis(percentile(samples, 99)), 10.0, "ms", &beside);
    }
}
