//! Events of one agent, durable.

use std::sync::Arc;
use std::time::Instant;

use cadence_protocol::{EventData, Frame, FrameBody, Timestamp};
use cadence_server::events::Hub;
use cadence_server::store::{FILE, Store};
use uuid::Uuid;

use crate::result::{Results, millis, percentile};
use crate::{floor, place};

const EVENTS: u64 = 100_000;
/// What a runner sends at once when the agent is faster than the storage.
const GROUP: u64 = 256;

pub async fn measure(results: &mut Results) {
    let directory = place::directory();
    let store = Store::open(&directory.path().join(FILE), Arc::new(Hub::default())).await.unwrap();
    let user = store.ensure_user("bench", "admin").await.unwrap();
    store.create_task(place::new_task(user, "events".into()), None).await.unwrap();
    let claim = store.claim(Uuid::new_v4(), 600).await.unwrap().unwrap();
    let event = EventData::Output { text: "The quick brown fox jumps over the lazy dog. ".repeat(4) };
    let data = serde_json::to_string(&event).unwrap();
    let mut commits = Vec::new();
    let started = Instant::now();
    let mut seq = 0;
    while seq < EVENTS {
        let frames = (0..GROUP.min(EVENTS - seq))
            .map(|n| Frame {
                source_seq: seq + n + 1,
                timestamp: Timestamp::now_utc(),
                body: FrameBody::Event { event: event.clone() },
            })
            .collect();
        seq += GROUP;
        let arrived = Instant::now();
        store.report(claim.lease, frames).await.unwrap();
        commits.push(arrived.elapsed());
    }
    let rate = EVENTS as f64 / started.elapsed().as_secs_f64();
    store.close().await;
    let bare = EVENTS as f64 / floor::inserts(directory.path(), EVENTS, GROUP, &data).await.as_secs_f64();
    let beside = format!("{:.2} of {bare:.0}/s bare inserts in groups of {GROUP}", rate / bare);
    results.at_least("events of one agent, durable", rate, 20_000.0, "/s", &beside);
    let median = millis(percentile(&mut commits, 50));
    let beside = format!("median {median:.2} ms, groups of {GROUP} in a flood");
    results.at_most("from arrival to commit, p99", millis(percentile(&mut commits, 99)), 10.0, "ms", &beside);
}
