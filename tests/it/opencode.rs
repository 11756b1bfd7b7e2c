//! The real OpenCode, driven over the Agent Client Protocol, against a scripted model.

use std::fs;

use cadence_fakes::messages::Scenario;
use serde_json::json;

use crate::support::{DEADLINE, Repo, TestEnv, assert_whole, of_type};

fn with_opencode() -> (TestEnv, Repo) {
    let env = TestEnv::new();
    env.with_opencode();
    let repo = env.repo("demo");
    (env, repo)
}

const OPENCODE: [&str; 2] = ["--agent", "opencode"];

#[test]
fn an_edit_ends_as_a_commit_and_what_it_asks_for_is_allowed() {
    let (env, repo) = with_opencode();
    let id = env.detach(&repo, "Say hello [[scenario:edit]]", OPENCODE);
    let approval = env.wait_approval(&id);
    env.cadence(["approvals", "ls"]).run().code(0).says("ls -1");
    env.cadence(["approvals", "allow", &approval]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "hello.txt"), "hello cadence");
    let events = env.events(&id);
    assert_whole(&events, 1);
    let edits = of_type(&events, "file_edit");
    assert_eq!((&edits[0]["path"], &edits[0]["action"]), (&json!("hello.txt"), &json!("create")));
    assert_eq!((&edits[1]["path"], &edits[1]["action"]), (&json!("hello.txt"), &json!("edit")));
    assert!(edits[1]["diff"].as_str().unwrap().contains("+hello cadence"), "{edits:?}");
    let commands = of_type(&events, "command_run");
    assert_eq!((&commands[0]["command"], &commands[0]["exitCode"]), (&json!("ls -1"), &json!(0)));
    // Its price list is in its settings: four replies of 1000 tokens in and 50 out.
    let cost = of_type(&events, "task_completed")[0]["costUsd"].as_f64().unwrap();
    assert!((cost - 0.015).abs() < 1e-6, "{cost}");
}

#[test]
fn settings_of_the_repository_are_not_read_and_its_words_are() {
    let (env, repo) = with_opencode();
    repo.write("opencode.json", json!({"model": "scripted/two", "permission": "allow"}).to_string());
    repo.write("AGENTS.md", "Say please in all comments.\n");
    repo.commit("settings");
    let id = env.detach(&repo, "Make it [[scenario:approval]]", OPENCODE);
    let approval = env.wait_approval(&id);
    env.cadence(["approvals", "allow", &approval]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let request = env.api.requests().pop().unwrap().body;
    assert_eq!(request["model"], "one");
    assert!(request.to_string().contains("Say please in all comments."));
}

#[test]
fn what_is_denied_does_not_run_and_it_is_told_why() {
    let (env, repo) = with_opencode();
    let id = env.detach(&repo, "Make it [[scenario:approval]]", OPENCODE);
    let approval = env.wait_approval(&id);
    env.cadence(["approvals", "deny", &approval, "--message", "Not with sh, please"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(5);
    assert!(env.api.requests().iter().any(|r| r.body.to_string().contains("Not with sh, please")), "it never heard");
    assert!(of_type(&env.events(&id), "command_run").is_empty());
}

#[test]
fn a_follow_up_waits_for_the_turn_and_one_after_the_end_goes_on_in_its_session() {
    let (env, repo) = with_opencode();
    env.api.script("held", Scenario::new().gate("here").text("one two three four five six"));
    let id = env.detach(&repo, "Work [[scenario:held]]", OPENCODE);
    env.api.gate("here").wait_reached(DEADLINE);
    env.cadence(["tasks", "send", &id, "and say please"]).run().code(0);
    env.wait_event(&id, "message", "and say please");
    env.api.gate("here").open();
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let heard = |text: &str| env.api.requests().last().unwrap().body.to_string().contains(text);
    assert!(heard("and say please"), "the model never heard it");
    env.cadence(["tasks", "send", &id, "Now write [[scenario:write-only]]"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "hello.txt"), "hello world");
    assert!(heard("[[scenario:held]]"), "the session was not resumed");
    assert_whole(&env.events(&id), 2);
}

#[test]
fn a_paused_task_stops_and_goes_on() {
    let (env, repo) = with_opencode();
    env.api.script("held", Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six"));
    let id = env.detach(&repo, "Work [[scenario:held]]", OPENCODE);
    env.api.gate("here").wait_reached(DEADLINE);
    env.cadence(["tasks", "pause", &id]).run().code(0);
    env.wait_status(&id, &["paused"]);
    env.api.gate("here").open();
    env.api.script("rest", Scenario::new().write("c.txt", "c\n").text("Went on."));
    env.cadence(["tasks", "resume", &id, "go on [[scenario:rest]]"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let branch = &repo.task_branches()[0];
    assert_eq!((repo.show(branch, "a.txt"), repo.show(branch, "c.txt")), ("a".into(), "c".into()));
    assert_whole(&env.events(&id), 1);
}

#[test]
fn an_agent_of_the_settings_works_like_one_that_is_known_and_its_model_is_chosen() {
    let (env, repo) = with_opencode();
    let settings = env.path("config.toml");
    let named = |cmd: crate::support::Cmd| cmd.env("CADENCE_CONFIG", &settings);
    fs::write(&settings, "agent = \"mine\"\n[agents.mine]\nacp = [\"opencode\", \"acp\"]\n").unwrap();
    named(env.cadence(["doctor"])).run().code(0).shows("mine");
    let run = named(env.cadence(["run", "Look [[scenario:text]]", "--json", "--model", "scripted/two"]));
    let events = run.cwd(repo.path()).run().code(0).json_lines();
    assert_eq!(of_type(&events, "task_started")[0]["model"], "scripted/two");
    assert_eq!(env.api.requests().last().unwrap().body["model"], "two");
    let task = env.task(events[0]["taskId"].as_str().unwrap());
    assert_eq!(task["agent"], "mine");
}
