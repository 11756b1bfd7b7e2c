//! Network, server and machine break in the middle of a task.

use serde_json::{Value, json};

use super::World;
use crate::support::{
    Machine, Proxy, Remote, Server, SmallDisk, assert_whole, clock, fill, of_type, until, until_some,
};

/// A task that stops in its middle until it is answered.
const STOPS: &str = "[[run echo before]] stop [[ask echo asked]] and [[run echo after]]";

fn allow(task: &Remote) {
    let path = format!("/api/tasks/{}/approvals", task.id);
    let approval = until_some("an approval", || {
        let list = task.http.get(&path).status(200).json();
        list["approvals"].as_array().unwrap().iter().find(|a| a.get("decision").is_none()).cloned()
    });
    task.http.post(&format!("{path}/{}", approval["id"].as_str().unwrap()), &json!({"decision": "allow"})).status(200);
}

fn sessions(events: &[Value]) -> Vec<String> {
    let mut all: Vec<_> =
        of_type(events, "task_started").iter().map(|data| data["sessionId"].as_str().unwrap().to_owned()).collect();
    all.dedup();
    all
}

#[test]
fn the_agent_works_on_while_the_network_is_gone() {
    let mut world = World::new();
    world.machine.stop();
    let proxy = Proxy::to(world.server.url());
    let far = Machine::start(&world.env, "far", &proxy.url(), []);
    let gate = world.env.path("gate");
    let task =
        world.task(&format!("[[run while [ ! -e {} ]; do sleep 0.05; done]] and [[run echo after]]", gate.display()));
    task.wait_event("tool_use", "gate");
    // Nobody is told: both sides have to notice.
    proxy.vanish();
    let before = task.events().len();
    std::fs::write(&gate, "").unwrap();
    let spool = far.data().join("spool");
    until("the end, on the disk of the machine", || {
        let spools = std::fs::read_dir(&spool).unwrap().flatten();
        spools.map(|entry| entry.path().join("outcome.json")).any(|path| path.exists())
    });
    assert_eq!(task.events().len(), before, "nothing came through");
    proxy.come_back(world.server.url());
    task.wait_status(&["completed"]);
    assert_whole(&task.events(), 1);
    until("an empty spool", || std::fs::read_dir(&spool).unwrap().next().is_none());
}

#[test]
fn a_server_that_was_killed_finds_the_task_where_it_is() {
    let world = World::new();
    let World { machine, server, git, repo, env } = world;
    let task = Remote::create(server.http(), &git.url(&repo), STOPS, &json!({ "executor": "daemon" }));
    task.wait_status(&["waiting"]);
    let restart = server.kill_to_restart(&env);
    let server = restart();
    let task = Remote { http: server.http(), id: task.id };
    until("the machine", || machine.seen_by(&server.http())["connected"] == true);
    // The request was not withdrawn: the agent never noticed.
    allow(&task);
    task.wait_status(&["completed"]);
    let events = task.events();
    assert_whole(&events, 1);
    assert_eq!(of_type(&events, "approval_requested").len(), 1);
    assert_eq!(sessions(&events).len(), 1);
    drop((machine, server, git));
}

#[test]
fn a_machine_that_was_killed_goes_on_in_the_agents_session() {
    let mut world = World::new();
    let task = world.task(STOPS);
    task.wait_status(&["waiting"]);
    world.machine.kill();
    world.machine.start_again(&world.env);
    world.machine.wait_connected();
    task.wait_event("approval_resolved", "withdrawn");
    allow(&task);
    task.wait_status(&["completed"]);
    let events = task.events();
    assert_whole(&events, 1);
    assert_eq!(sessions(&events).len(), 1, "{events:#?}");
    task.wait_event("command_run", "echo after");
}

#[test]
fn both_are_killed_and_start_in_any_order() {
    for server_first in [true, false] {
        let world = World::new();
        let World { mut machine, server, git, repo, env } = world;
        let task = Remote::create(server.http(), &git.url(&repo), STOPS, &json!({ "executor": "daemon" }));
        task.wait_status(&["waiting"]);
        let restart = server.kill_to_restart(&env);
        machine.kill();
        let server: Server = if server_first {
            let server = restart();
            machine.start_again(&env);
            server
        } else {
            machine.start_again(&env);
            until("a try", || machine.said().contains("cannot be reached"));
            restart()
        };
        let task = Remote { http: server.http(), id: task.id };
        machine.wait_connected();
        task.wait_event("approval_resolved", "withdrawn");
        allow(&task);
        task.wait_status(&["completed"]);
        let events = task.events();
        assert_whole(&events, 1);
        assert_eq!(sessions(&events).len(), 1);
        drop((machine, server, git));
    }
}

#[test]
fn a_machine_that_stops_gives_its_task_back_for_the_next_start() {
    let mut world = World::new();
    let task = world.task(STOPS);
    task.wait_status(&["waiting"]);
    world.machine.stop();
    until("no machine", || world.machine.seen_by(&world.server.http())["connected"] == false);
    assert!(std::fs::read_dir(world.machine.data().join("spool")).unwrap().next().is_none(), "all is reported");
    world.machine.start_again(&world.env);
    task.wait_event("approval_resolved", "withdrawn");
    allow(&task);
    task.wait_status(&["completed"]);
    assert_whole(&task.events(), 1);
}

#[test]
fn a_lease_that_was_lost_is_fenced() {
    let mut world = World::new();
    world.machine.stop();
    let proxy = Proxy::to(world.server.url());
    let far = Machine::start(&world.env, "far", &proxy.url(), []);
    let task = world.task("[[run echo before]] and [[sleep 1]] [[run sleep 300]]");
    task.wait_event("tool_use", "sleep 300");
    proxy.vanish();
    // Somebody gives the machine up.
    let busy = world.server.of(world.env.cadence(["machines", "rm", "far"])).run().code(1);
    busy.complains("far runs a task still");
    world.server.of(world.env.cadence(["machines", "rm", "--force", "far"])).run().code(0).says("far is removed");
    let shown = until_some("a reason", || Some(task.show()).filter(|task| task["pendingReason"].is_string()));
    assert!(shown["pendingReason"].as_str().unwrap().starts_with("no machine of yours is connected"), "{shown:#}");
    proxy.come_back(world.server.url());
    // It is a new one to the server. What it ran is stopped, and begins anew under another lease.
    until("a stopped run", || far.said().contains("the lease is lost; the run is stopped"));
    until("the second agent", || of_type(&task.events(), "task_started").len() == 2);
    task.http.delete(&format!("/api/tasks/{}", task.id)).status(200);
    task.wait_status(&["cancelled"]);
    assert_whole(&task.events(), 1);
    until("nothing kept", || std::fs::read_dir(far.data().join("spool")).unwrap().next().is_none());
}

#[test]
fn a_machine_that_came_back_with_a_copied_identity_takes_the_place_of_the_other() {
    let mut world = World::new();
    let copied = world.env.path("machines/copy");
    std::fs::create_dir_all(&copied).unwrap();
    std::fs::copy(world.machine.data().join("machine.json"), copied.join("machine.json")).unwrap();
    let _copy = Machine::start(&world.env, "copy", world.server.url(), []);
    world.machine.ends().code(1).complains("another daemon with the identity of this machine has connected");
}

#[test]
fn a_machine_whose_disk_is_full_waits_for_room_and_loses_nothing() {
    let mut world = World::new();
    world.machine.stop();
    let place = world.env.path("machines/small");
    let disk = SmallDisk::mount(&place, "24m");
    let small = Machine::start(&world.env, "small", world.server.url(), []);
    let gate = world.env.path("gate");
    let task =
        world.task(&format!("[[run while [ ! -e {} ]; do sleep 0.05; done]] and [[events 300]]", gate.display()));
    task.wait_event("tool_use", "gate");
    let filler = place.join("filler");
    fill(&filler);
    std::fs::write(&gate, "").unwrap();
    until("a full disk that is told", || small.said().contains("the spool cannot be written"));
    assert_ne!(task.show()["status"], "completed");
    std::fs::remove_file(&filler).unwrap();
    task.wait_status(&["completed"]);
    assert_whole(&task.events(), 1);
    drop(small);
    drop(disk);
}

#[cfg(target_os = "linux")]
#[test]
fn a_clock_that_jumps_on_the_machine_changes_nothing() {
    let mut world = World::new();
    world.machine.stop();
    clock::set(&world.env, "+0");
    let mut odd = Machine::start(&world.env, "odd", world.server.url(), []);
    odd.stop();
    odd.start_as(clock::give(&world.env, odd.command(&world.env)));
    odd.wait_connected();
    // For longer than a lease of the server lasts.
    let task = world.task("[[events 80 10]]");
    for (seen, offset) in [(15, "+9h"), (35, "-9d"), (60, "+0")] {
        until("more events", || task.show()["lastSeq"].as_u64().unwrap() > seen);
        clock::set(&world.env, offset);
    }
    task.wait_status(&["completed"]);
    let events = task.events();
    assert_whole(&events, 1);
    assert_eq!(of_type(&events, "task_started").len(), 1);
    assert!(!odd.said().contains("the lease is lost"), "{}", odd.said());
}
