//! The dashboard of the release build, in a terminal: how soon it is there, how smoothly it moves, and what it costs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cadence_protocol::{AttemptEnd, EndReason, EventData, Frame, FrameBody, Timestamp};
use cadence_server::events::Hub;
use cadence_server::store::{FILE, Store};
use serde_json::json;
use uuid::Uuid;

use crate::place;
use crate::result::{Results, millis, percentile};
use crate::server::Server;
use crate::terminal::{ROWS, Terminal};

/// Events of the long task.
const MANY: u64 = 1_000_000;
const GROUP: u64 = 1_000;
const STARTS: usize = 15;
const OPENS: usize = 9;
const SCROLLS: usize = 600;
/// Tasks that run at once, and events a second of each.
const RUNNING: usize = 200;
const RATE: usize = 10;
/// How long the idle dashboard is looked at.
const IDLE: Duration = Duration::from_secs(10);
/// Between two keys, so that the least time between two pictures is over.
const BETWEEN: Duration = Duration::from_millis(25);
const ENTER: &str = "\r";
const PAGE_UP: &str = "\x1b[5~";

pub async fn measure(results: &mut Results) {
    let directory = place::directory();
    let (home, data) = (directory.path(), directory.path().join("data"));
    std::fs::create_dir(&data).unwrap();
    let store = Store::open(&data.join(FILE), Arc::new(Hub::default())).await.unwrap();
    let user = store.ensure_user("owner", "admin").await.unwrap();
    ended(&store, user, "The long one", MANY).await;
    ended(&store, user, "The short one", 300).await;
    let server = Server::start_after(store, home, &data).await;
    tokio::task::block_in_place(|| {
        starts(results, home, &server);
        long(results, home, &server);
        idle(results, home, &server);
    });
    drop(server);
    running(results, home).await;
}

/// A task that said so many things and is done.
async fn ended(store: &Store, user: Uuid, name: &str, events: u64) {
    store.create_task(place::new_task(user, name.into()), None).await.unwrap();
    let claim = store.claim(Uuid::new_v4(), 600).await.unwrap().unwrap();
    let mut said = 0;
    while said < events {
        let frame = |n| {
            let text =
                format!("Step {n} of many: the quick brown fox jumps over the lazy dog, and `code` is **bold**.");
            let body = FrameBody::Event { event: EventData::Output { text } };
            Frame { source_seq: n, timestamp: Timestamp::now_utc(), body }
        };
        let frames: Vec<Frame> = (said + 1..=(said + GROUP).min(events)).map(frame).collect();
        said += frames.len() as u64;
        store.report(claim.lease, frames).await.unwrap();
    }
    store.finish(claim.lease, AttemptEnd::new(EndReason::Done, "The end of all steps")).await.unwrap();
}

fn shows(words: &str) -> impl Fn(&vt100::Screen) -> bool {
    move |screen| screen.contents().contains(words)
}

fn starts(results: &mut Results, home: &Path, server: &Server) {
    let full = |screen: &vt100::Screen| {
        let text = screen.contents();
        text.contains("● live") && text.contains("The long one") && text.contains("Step 300 of many")
    };
    let mut samples: Vec<Duration> = (0..STARTS)
        .map(|_| {
            let mut terminal = Terminal::open(home, server);
            terminal.wait("the whole picture", full).duration_since(terminal.started)
        })
        .collect();
    let (half, most) = (percentile(&mut samples, 50), percentile(&mut samples, 99));
    let beside = format!("list and open task, warm server; at most {:.0} ms", millis(most));
    results.at_most("dashboard, start to the full picture", millis(half), 100.0, "ms", &beside);
}

fn long(results: &mut Results, home: &Path, server: &Server) {
    let mut terminal = Terminal::open(home, server);
    terminal.wait("the short task", shows("Step 300 of many"));
    terminal.rest(Duration::from_millis(300));
    let before = terminal.resident();
    let last = format!("Step {MANY} of many");
    let mut opens = Vec::new();
    for _ in 0..OPENS {
        // Down to the long one, and into it at once.
        let pressed = Instant::now();
        terminal.send("j\r");
        opens.push(terminal.wait("the end of the long task", shows(&last)).duration_since(pressed));
        terminal.send("\x1b");
        terminal.wait("the list", shows("enter open"));
        terminal.send("k");
        terminal.wait("the short task", shows("Step 300 of many"));
    }
    let beside = format!("{MANY} events, from the key to the picture of its end");
    results.at_most("dashboard, a long task opens", millis(percentile(&mut opens, 50)), 300.0, "ms", &beside);

    terminal.send("j");
    terminal.send(ENTER);
    terminal.wait("the end of the long task", shows(&last));
    let mut frames = Vec::new();
    let top = |screen: &vt100::Screen| screen.rows(0, crate::terminal::COLUMNS).skip(6).take(3).collect::<Vec<_>>();
    for _ in 0..SCROLLS {
        terminal.rest(BETWEEN);
        frames.push(terminal.press(PAGE_UP, |before, after| top(before) != top(after)));
    }
    let (half, most) = (millis(percentile(&mut frames, 50)), millis(percentile(&mut frames, 99)));
    let beside = format!("median {half:.1} ms; {SCROLLS} pages of {ROWS} rows up, from the key to the whole picture");
    results.at_most("dashboard, scrolling it, p99", most, 8.0, "ms", &beside);
    let more = terminal.resident().saturating_sub(before) as f64 / 1e6;
    let beside = format!("{:.0} MB in all", terminal.resident() as f64 / 1e6);
    results.at_most("dashboard, memory for the long task", more, 48.0, "MB more", &beside);
}

fn idle(results: &mut Results, home: &Path, server: &Server) {
    let mut terminal = Terminal::open(home, server);
    // Whichever was looked at last is open.
    terminal.wait("the tasks", shows("● live"));
    terminal.rest(Duration::from_secs(3));
    let (ticks, bytes) = (terminal.ticks(), terminal.bytes);
    terminal.rest(IDLE);
    let used = (terminal.ticks() - ticks) as f64 / IDLE.as_secs_f64();
    // A tick is 10 ms, and one may fall on anything.
    results.at_most("dashboard, idle, processor", used, 0.1, "%", "nothing runs");
    results.at_most("dashboard, idle, written", (terminal.bytes - bytes) as f64, 0.0, "bytes", "no redraw");
}

/// Real agents, each of which says something ten times a second.
async fn running(results: &mut Results, home: &Path) {
    let server = Server::with_workers(home, &home.join("running"), RUNNING);
    let repository = place::repository(home);
    for number in 0..RUNNING {
        let body = json!({
            "taskDescription": format!("Task {number} [[events 1000000 {RATE}]]"), "agent": "demo", "repoPath": repository,
            "environment": {"CADENCE_DEMO_SECONDS": "0"},
        });
        server.post("/api/tasks", &body).await;
    }
    let started = Instant::now();
    loop {
        let list: cadence_protocol::TaskList =
            serde_json::from_str(&server.get("/api/tasks?status=running&limit=200").await).unwrap();
        if list.tasks.len() == RUNNING {
            break;
        }
        assert!(started.elapsed() < Duration::from_secs(180), "only {} run", list.tasks.len());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let events = async || {
        let list: cadence_protocol::TaskList =
            serde_json::from_str(&server.get("/api/tasks?status=running&limit=200").await).unwrap();
        list.tasks.iter().map(|task| task.last_seq).sum::<u64>()
    };
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (before, since) = (events().await, Instant::now());
    let (mut keys, pictures) = tokio::task::block_in_place(|| {
        let mut terminal = Terminal::open(home, &server);
        terminal.wait("the agents", shows("● live"));
        terminal.rest(Duration::from_secs(2));
        let drawn = (terminal.pictures, Instant::now());
        let mut keys = Vec::new();
        let edge = |screen: &vt100::Screen| {
            screen.rows(0, crate::terminal::COLUMNS).position(|row| row.starts_with('▌')).unwrap_or(0)
        };
        for number in 0..200 {
            terminal.rest(BETWEEN);
            let key = if number / 10 % 2 == 0 { "j" } else { "k" };
            keys.push(terminal.press(key, |before, after| edge(before) != edge(after)));
        }
        let rate = (terminal.pictures - drawn.0) as f64 / drawn.1.elapsed().as_secs_f64();
        (keys, rate)
    });
    let rate = (events().await - before) as f64 / since.elapsed().as_secs_f64();
    let (half, most) = (millis(percentile(&mut keys, 50)), millis(percentile(&mut keys, 99)));
    let beside = format!(
        "{RUNNING} agents, {rate:.0} events/s, {pictures:.0} pictures/s; median {half:.1} ms from a key to its picture"
    );
    results.at_most("dashboard, many agents, a key is shown, p99", most, 16.0, "ms", &beside);
}
