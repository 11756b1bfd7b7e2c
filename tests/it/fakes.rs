//! The scripted model drives the real CLI: what every other story stands on.

use std::time::Duration;

use cadence_fakes::messages::Scenario;
use serde_json::{Value, json};

use crate::support::{Cmd, TestEnv};

const STREAM: [&str; 10] = [
    "-p",
    "--input-format",
    "stream-json",
    "--output-format",
    "stream-json",
    "--verbose",
    "--permission-mode",
    "acceptEdits",
    "--model",
    "sonnet",
];

fn says(text: &str) -> String {
    json!({"type": "user", "message": {"role": "user", "content": text}}).to_string()
}

fn last(cmd: Cmd) -> Value {
    cmd.run().code(0).json_lines().pop().unwrap()
}

#[test]
fn a_script_edits_files_and_counts_tokens() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let result = last(env.claude(STREAM).cwd(repo.path()).stdin(says("go [[scenario:edit]]")));
    assert_eq!(result["result"], "I created `hello.txt`.");
    assert_eq!(result["total_cost_usd"], 0.0156);
    assert_eq!(repo.read("hello.txt"), "hello cadence\n");
    assert_eq!(env.api.requests().len(), 4);
    assert!(env.api.requests()[3].tool_results()[2].contains("hello.txt"));
}

#[test]
fn errors_pass_and_a_cut_stream_is_whole_in_the_end() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let result = last(env.claude(STREAM).cwd(repo.path()).stdin(says("go [[scenario:overloaded-passes]]")));
    assert_eq!((&result["is_error"], &result["result"]), (&json!(false), &json!("Written.")));
    let result = last(env.claude(STREAM).cwd(repo.path()).stdin(says("go [[scenario:cut]]")));
    assert!(result["result"].as_str().unwrap().ends_with("in its middle."), "{result}");
}

#[test]
fn a_gate_holds_the_model_until_the_test_opens_it() {
    let env = TestEnv::new();
    env.api.script("held", Scenario::new().gate("here").text("one two three four five six seven"));
    let mut cmd = env.claude(STREAM).args(["--include-partial-messages"]).start();
    cmd.send(&says("go [[scenario:held]]"));
    env.api.gate("here").wait_reached(Duration::from_secs(60));
    let before = cmd.wait_for("text_delta");
    assert!(!before.contains("seven"), "{before}");
    env.api.gate("here").open();
    assert!(cmd.finish().code(0).stdout.contains("seven"));
}

#[test]
fn without_a_script_the_model_echoes() {
    let env = TestEnv::new();
    let mut cmd = env.claude(STREAM).start();
    cmd.send(&says("first [[scenario:text]]"));
    cmd.wait_for("\"type\":\"result\"");
    cmd.send(&says("second"));
    assert_eq!(cmd.finish().code(0).json_lines().pop().unwrap()["result"], "You said: second");
}
