//! What any client orders is carried out on the machine.

use serde_json::json;

use super::World;
use crate::support::{assert_whole, of_type, until};

#[test]
fn approvals_messages_pause_and_resume_reach_the_agent() {
    let world = World::new();
    let task = world.task("[[ask echo first]] begin");
    task.wait_status(&["waiting"]);
    let path = format!("/api/tasks/{}/approvals", task.id);
    let approval = task.http.get(&path).status(200).json()["approvals"][0]["id"].as_str().unwrap().to_owned();
    // A pause while it waits, and a way out of it.
    task.act("pause", &json!({}));
    task.wait_status(&["paused"]);
    task.act("resume", &json!({}));
    let asked = crate::support::until_some("another request", || {
        let list = task.http.get(&path).status(200).json();
        list["approvals"].as_array().unwrap().iter().find(|a| a["id"] != approval.as_str()).cloned()
    });
    let asked = asked["id"].as_str().unwrap();
    task.act("messages", &json!({ "text": "[[run echo second]]" }));
    task.http.post(&format!("{path}/{asked}"), &json!({"decision": "allow"})).status(200);
    task.wait_event("command_run", "second");
    task.wait_status(&["completed"]);
    assert_whole(&task.events(), 1);
    // After the end a follow-up is an attempt of its own, in the same session.
    task.act("messages", &json!({ "text": "and one more" }));
    until("the second end", || of_type(&task.events(), "task_completed").len() == 2);
    let events = task.events();
    assert_whole(&events, 2);
    let sessions: Vec<_> = of_type(&events, "task_started").iter().map(|data| data["sessionId"].clone()).collect();
    assert!(sessions.windows(2).all(|pair| pair[0] == pair[1]), "{sessions:?}");
}

#[test]
fn a_cancelled_task_leaves_no_process_on_the_machine() {
    let world = World::new();
    let task = world.task("[[run sleep 300]] long");
    task.wait_event("tool_use", "sleep 300");
    task.http.delete(&format!("/api/tasks/{}", task.id)).status(200);
    let ended = task.wait_status(&["cancelled"]);
    assert_eq!(ended["endReason"], "cancelled");
    assert_whole(&task.events(), 1);
    until("no agent", || crate::support::children(world.machine.pid()).is_empty());
}

#[test]
fn what_the_agent_says_is_seen_while_it_says_it() {
    let world = World::new();
    let mut socket = crate::support::Socket::connect(world.server.url(), Some(crate::support::TOKEN)).unwrap();
    let task = world.task("[[ask]] wait [[words 40]]");
    socket.send(&json!({ "type": "subscribe", "taskId": task.id, "after": 0 }));
    task.wait_status(&["waiting"]);
    let path = format!("/api/tasks/{}/approvals", task.id);
    let approval = task.http.get(&path).status(200).json()["approvals"][0]["id"].as_str().unwrap().to_owned();
    task.http.post(&format!("{path}/{approval}"), &json!({"decision": "allow"})).status(200);
    let frames = socket.receive_until("task_completed");
    assert!(frames.iter().any(|frame| frame["type"] == "output_delta"), "{frames:#?}");
}
