//! The server goes away, comes back, or does not let anybody in.

use super::{ESCAPE, RECONNECT, open_on, quiet, start_on};
use crate::support::{TOKEN, assert_whole, until_some};

/// Number and type of the events that are on the screen, as the pane of events has them.
fn listed(screen: &vt100::Screen) -> Vec<(u64, String)> {
    let rows = screen.rows(0, screen.size().1.get());
    let events = rows.filter_map(|row| {
        let mut words = row.split_whitespace().skip_while(|word| *word == "▎");
        Some((words.next()?.parse().ok()?, words.next()?.to_owned()))
    });
    events.collect()
}

#[test]
fn nothing_is_missing_or_twice_after_the_server_was_killed() {
    let env = quiet();
    let (server, repo) = (env.server(), env.repo("shop"));
    let id = start_on(&server, &repo, "Count [[events 5]] [[sleep 600]] [[events 5]]");
    let mut screen = open_on(&env, &server, &repo);
    screen.wait_for("Event 5 of 5.");
    screen.send("\r");
    screen.wait_for("esc back");
    screen.send("z3");
    screen.wait_until("the events are listed", |screen| listed(screen).len() > 5);

    let start = server.kill_to_restart(&env);
    screen.wait_for("○ reconnecting");
    screen.wait_for("no connection:");
    // Meanwhile the keys work.
    screen.send("?");
    screen.wait_for("show every key");
    screen.send(ESCAPE);
    screen.wait_gone("show every key");

    let server = start();
    screen.wait_for("● live");
    // The agent goes on where it was, without the rest of its sleep.
    let http = server.http();
    let task = until_some("the end of the task", || {
        let task = http.get(&format!("/api/tasks/{id}")).status(200).json();
        (task["status"] == "completed").then_some(task)
    });
    let stored = http.get(&format!("/api/tasks/{id}/events?limit=1000")).status(200).json();
    let stored = stored["events"].as_array().unwrap();
    assert_whole(stored, usize::try_from(task["attempt"].as_u64().unwrap()).unwrap());
    // In a window in which all of them have room.
    screen.resize(160, u16::try_from(stored.len()).unwrap() + 20);
    let wanted: Vec<(u64, String)> = stored
        .iter()
        .map(|event| (event["seq"].as_u64().unwrap(), event["data"]["type"].as_str().unwrap().to_owned()))
        .collect();
    screen.wait_until(&format!("it lists {wanted:?}"), |screen| listed(screen) == wanted);
    screen.send("q");
    assert_eq!(screen.finish(), 0);
}

#[test]
fn a_server_that_refuses_the_token_is_said_in_words() {
    let env = quiet();
    let (server, repo) = (env.server(), env.repo("shop"));
    let id = start_on(&server, &repo, "Look around");
    let mut screen = open_on(&env, &server, &repo);
    screen.wait_for("w apply");
    let server = server.restart_as(&env, "another-token");
    let refused = screen.wait_for("✗ not connected");
    assert!(refused.contains("the server does not let this token in"), "{refused}");
    // What is known stays, and the keys work.
    screen.send(":");
    screen.wait_for("Commands");
    screen.send(ESCAPE);
    screen.wait_gone("Commands");
    assert!(screen.look(vt100::Screen::contents).contains("Look around"));
    // It is not tried again by itself; a key does it.
    let server = server.restart_as(&env, TOKEN);
    assert!(screen.look(vt100::Screen::contents).contains("✗ not connected"));
    screen.send(RECONNECT);
    screen.wait_for("● live");
    server.http().get(&format!("/api/tasks/{id}")).status(200);
    screen.send("q");
    assert_eq!(screen.finish(), 0);
}
