//! Talking to an agent that works, pauses or has ended.

use std::fs;
use std::io::Write;
use std::path::Path;

use cadence_fakes::messages::Scenario;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{TestEnv, assert_whole, of_type, until};

/// Lets the command of `gated-bash` go on.
fn open_fifo(fifo: &Path) {
    fs::OpenOptions::new().write(true).open(fifo).unwrap().write_all(b"go\n").unwrap();
}

#[test]
fn a_follow_up_during_a_turn_reaches_the_agent() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, "Work [[scenario:gated-bash]]", ["--permission", "all"]);
    let fifo = env.wait_for_workspace_file("started").with_file_name("gate");
    env.cadence(["tasks", "send", &id, "and say please"]).run().code(0);
    env.wait_event(&id, "message", "and say please");
    open_fifo(&fifo);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let heard = env.api.requests().iter().any(|r| r.user_texts().iter().any(|t| t.contains("and say please")));
    assert!(heard, "the model never heard it");
    assert_whole(&env.events(&id), 1);
}

#[test]
fn a_follow_up_after_the_end_goes_on_in_the_same_session() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, "Write [[scenario:write-only]]", []);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    env.api.script("more", Scenario::new().read("hello.txt").edit("hello.txt", "world", "again").text("Changed."));
    env.cadence(["tasks", "send", &id, "Now change it [[scenario:more]]"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let task = env.task(&id);
    assert_eq!((&task["attempt"], &task["status"]), (&json!(2), &json!("completed")));
    assert_eq!(repo.show(&repo.task_branches()[0], "hello.txt"), "hello again");
    assert_eq!(repo.task_branches().len(), 1);
    let last = env.api.requests().pop().unwrap();
    assert!(last.user_texts().iter().any(|t| t.contains("[[scenario:write-only]]")), "the session was not resumed");
    assert_whole(&env.events(&id), 2);
}

#[test]
fn a_paused_task_stops_and_goes_on() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.api.script(
        "held",
        Scenario::new()
            .write("a.txt", "a\n")
            .gate("here")
            .text("one two three four five six")
            .write("b.txt", "b\n")
            .text("End."),
    );
    let id = env.detach(&repo, "Work [[scenario:held]]", []);
    env.api.gate("here").wait_reached(crate::support::DEADLINE);
    env.cadence(["tasks", "pause", &id]).run().code(0);
    env.wait_status(&id, &["paused"]);
    env.cadence(["tasks", "pause", &id]).run();
    env.api.gate("here").open();
    env.api.script("rest", Scenario::new().write("c.txt", "c\n").text("Went on."));
    env.cadence(["tasks", "resume", &id, "go on [[scenario:rest]]"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let branch = &repo.task_branches()[0];
    assert_eq!((repo.show(branch, "a.txt"), repo.show(branch, "c.txt")), ("a".into(), "c".into()));
    let events = env.events(&id);
    assert_whole(&events, 1);
    let changes: Vec<_> = of_type(&events, "status_changed").iter().map(|d| d["to"].as_str().unwrap()).collect();
    assert_eq!(changes, ["running", "paused", "running", "completed"]);
}

#[test]
fn a_pause_in_a_command_kills_the_command() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, "Work [[scenario:gated-bash]]", ["--permission", "all"]);
    env.wait_for_workspace_file("started");
    env.cadence(["tasks", "pause", &id]).run().code(0);
    env.wait_status(&id, &["paused"]);
    until("the end of the command", || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let mut lines = processes.filter_map(|p| Some((p.path(), fs::read(p.path().join("cmdline")).ok()?)));
        !lines.any(|(p, l)| {
            l == b"cat\0gate\0" && fs::read_link(p.join("cwd")).is_ok_and(|d| d.starts_with(env.data_dir()))
        })
    });
    env.cadence(["tasks", "cancel", &id]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(130);
    assert_eq!(env.task(&id)["status"], "cancelled");
}

#[test]
fn a_cancelled_task_keeps_its_work_and_can_be_restarted() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.api.script("held", Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six"));
    let id = env.detach(&repo, "Work [[scenario:held]]", []);
    env.api.gate("here").wait_reached(crate::support::DEADLINE);
    env.cadence(["tasks", "cancel", &id]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(130);
    assert_eq!(repo.show(&repo.task_branches()[0], "a.txt"), "a");
    env.cadence(["tasks", "pause", &id]).run().code(1).complains("cancelled");
    env.api.gate("here").open();
    env.cadence(["tasks", "restart", &id]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    assert_eq!(env.task(&id)["attempt"], 2);
    assert_whole(&env.events(&id), 2);
}

#[test]
fn a_cancelled_agent_takes_no_other_step_and_tells_what_it_cost() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, "Work [[scenario:gated-bash]]", ["--permission", "all"]);
    env.wait_for_workspace_file("started");
    env.cadence(["tasks", "cancel", &id]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(130);
    let events = env.events(&id);
    assert_eq!(of_type(&events, "tool_use").len(), 1, "it went on after it was cancelled: {events:#?}");
    assert!(env.task(&id)["metadata"]["estimatedCost"].as_f64().is_some_and(|usd| usd > 0.0));
    assert_whole(&events, 1);
}

#[test]
fn a_tool_that_failed_is_told() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    // The CLI refuses to edit what it has not read.
    env.api.script("edit-unread", Scenario::new().edit("README.md", "A project", "x").text("Done."));
    let id = env.detach(&repo, "Edit [[scenario:edit-unread]]", ["--permission", "all"]);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let events = env.events(&id);
    let told = of_type(&events, "error");
    assert!(told.iter().any(|e| e["message"].as_str().unwrap().starts_with("Edit README.md failed: ")), "{told:?}");
}

#[test]
fn an_interrupted_script_cancels_and_ends_with_130() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let mut run = env.cadence(["run", "Wait [[scenario:hang]]", "--json"]).cwd(repo.path()).start();
    let first = run.wait_for("task_started");
    let first: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    run.signal(Signal::SIGINT);
    run.finish().code(130);
    let id = first["taskId"].as_str().unwrap();
    env.wait_status(id, &["cancelled", "running", "paused"]);
    env.cadence(["tasks", "cancel", id]).run();
    env.wait_status(id, &["cancelled"]);
}

#[test]
fn ctrl_c_in_a_terminal_offers_to_detach_and_the_work_goes_on() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.api.script("long", Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six"));
    let mut terminal = env.terminal(repo.path(), ["run", "Work [[scenario:long]]"]);
    env.api.gate("here").wait_reached(crate::support::DEADLINE);
    terminal.wait_for("a.txt");
    terminal.send("\u{3}");
    let screen = terminal.wait_for("[d] detach");
    assert!(screen.contains("[p] pause") && screen.contains("[c] cancel"), "{screen}");
    terminal.send("d");
    assert_eq!(terminal.finish(), 130);
    env.api.gate("here").open();
    let list = env.cadence(["tasks", "ls", "--json"]).run().code(0).json();
    let id = list["tasks"][0]["id"].as_str().unwrap();
    env.cadence(["tasks", "wait", id]).run().code(0);
}

#[test]
fn a_cancelled_task_has_ended_and_can_be_removed() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.api.script("held", Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six"));
    let id = env.detach(&repo, "Work [[scenario:held]]", []);
    env.api.gate("here").wait_reached(crate::support::DEADLINE);
    let cancelled = env.cadence(["tasks", "cancel", &id, "--json"]).run().code(0);
    assert_eq!(cancelled.json()["status"], "cancelled");
    env.cadence(["tasks", "rm", "--force", &id]).run().code(0);
}

#[test]
fn a_token_file_that_is_not_there_is_told() {
    let env = TestEnv::new();
    env.cadence(["tasks", "ls", "--token-file", "/nowhere/token"]).run().code(2).complains("/nowhere/token");
}

#[test]
fn wrong_settings_are_refused_and_can_be_mended() {
    let env = TestEnv::new();
    env.cadence(["config", "set", "server", "foo"]).run().code(2).complains("http://127.0.0.1:8383");
    env.cadence(["config", "set", "agent", "foo"]).run().code(2).complains("claude, codex, opencode, demo");
    let file = env.path("config.toml");
    std::fs::write(&file, "server = \"foo\"\n").unwrap();
    let config = |arguments: [&str; 3]| env.cadence(arguments).env("CADENCE_CONFIG", &file).run();
    config(["tasks", "ls", "--json"]).code(2).complains("config unset server");
    config(["config", "get", "server"]).code(0).says("foo");
    config(["config", "unset", "server"]).code(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
}
