//! Ends that are not the agent's own: money, turns, time, and a service that refuses.

use cadence_fakes::messages::Scenario;
use serde_json::{Value, json};

use crate::support::{TestEnv, assert_whole, of_type};

/// Runs a scenario to its end and gives the task and its events.
fn run_to<const N: usize>(env: &TestEnv, scenario: &str, options: [&str; N], code: i32) -> (Value, Vec<Value>) {
    let repo = env.repo("demo");
    let task = format!("Work [[scenario:{scenario}]]");
    let run = env.cadence(["run", &task, "--json", "--model", "sonnet"]).args(options).cwd(repo.path()).run();
    let events = run.code(code).json_lines();
    assert_whole(&events, 1);
    (env.task(events[0]["taskId"].as_str().unwrap()), events)
}

fn ended(task: &Value) -> (&str, &str) {
    (task["status"].as_str().unwrap(), task["endReason"].as_str().unwrap())
}

#[test]
fn the_budget_ends_it_with_seven() {
    let env = TestEnv::new();
    let (task, events) = run_to(&env, "budget", ["--budget", "1.5"], 7);
    assert_eq!(ended(&task), ("failed", "budget"));
    assert!(task["metadata"]["estimatedCost"].as_f64().unwrap() >= 1.5, "{task}");
    assert_eq!(of_type(&events, "task_completed")[0]["success"], false);
}

#[test]
fn the_turns_end_it_with_seven() {
    let env = TestEnv::new();
    let (task, _) = run_to(&env, "many-turns", ["--max-turns", "3"], 7);
    assert_eq!(ended(&task), ("failed", "turns"));
    assert_eq!(env.api.requests().len(), 3);
}

#[test]
fn its_time_ends_it_with_nine() {
    let env = TestEnv::new();
    let (task, _) = run_to(&env, "hang", ["--timeout", "3s"], 9);
    assert_eq!(ended(&task), ("failed", "timed_out"));
}

#[test]
fn refused_credentials_are_said_and_not_shown() {
    for (scenario, code) in [("error-401", 1), ("error-403", 1)] {
        let env = TestEnv::new();
        let (task, events) = run_to(&env, scenario, [], code);
        assert_eq!(ended(&task), ("failed", "auth"), "{scenario}");
        assert!(task["error"].as_str().unwrap().len() > 20, "{task}");
        assert!(!json!([task, events]).to_string().contains("sk-test-key"));
    }
}

#[test]
fn a_rate_limit_that_passes_is_only_slow() {
    let env = TestEnv::new();
    let (task, events) = run_to(&env, "rate-limit-passes", [], 0);
    assert_eq!(task["status"], "completed");
    assert!(of_type(&events, "error").iter().all(|e| e["recoverable"] == true), "{events:#?}");
}

#[test]
fn a_rate_limit_at_the_end_of_the_time_is_eight() {
    let env = TestEnv::new();
    let (task, _) = run_to(&env, "rate-limit", ["--timeout", "6s"], 8);
    assert_eq!(ended(&task), ("failed", "rate_limited"));
}

#[test]
fn an_overloaded_service_that_recovers_is_only_slow() {
    let env = TestEnv::new();
    let (task, events) = run_to(&env, "overloaded-passes", [], 0);
    assert_eq!(task["status"], "completed");
    let warnings = of_type(&events, "error");
    assert!(warnings.iter().any(|e| e["recoverable"] == true), "{events:#?}");
}

#[test]
fn a_service_that_stays_broken_fails_the_task() {
    for scenario in ["overloaded", "error-500", "error-400"] {
        let env = TestEnv::new();
        let (task, events) = run_to(&env, scenario, [], 1);
        assert_eq!(task["status"], "failed", "{scenario}");
        assert_eq!(of_type(&events, "task_completed")[0]["success"], false);
    }
}

#[test]
fn a_cut_stream_is_whole_in_the_end() {
    let env = TestEnv::new();
    let (_, events) = run_to(&env, "cut", [], 0);
    let words = of_type(&events, "output");
    assert_eq!(words.len(), 1, "{words:?}");
    assert_eq!(words[0]["text"], "All of this sentence arrives, although the stream was cut in its middle.");
}

#[test]
fn forty_megabytes_of_output_are_cut_to_what_can_be_read() {
    let env = TestEnv::new();
    let (_, events) = run_to(&env, "big-output", ["--permission", "all"], 0);
    let command = of_type(&events, "command_run")[0];
    assert_eq!(command["exitCode"], 0);
    assert!(command["output"].as_str().unwrap().len() < 200_000);
}

#[test]
fn output_that_is_not_text_is_shown_as_far_as_it_is() {
    let env = TestEnv::new();
    let (_, events) = run_to(&env, "invalid-utf8", ["--permission", "all"], 0);
    let output = of_type(&events, "command_run")[0]["output"].as_str().unwrap();
    assert!(output.starts_with("ok ") && output.ends_with(" end"), "{output:?}");
}

#[test]
fn an_edit_of_a_file_that_is_not_text_keeps_the_file() {
    let env = TestEnv::new();
    let script = Scenario::new().bash("printf '\\377\\376\\000bin' > blob.bin").text("Made.");
    env.api.script("blob", script);
    let (task, _) = run_to(&env, "blob", ["--permission", "all"], 0);
    let id = task["id"].as_str().unwrap();
    env.cadence(["tasks", "diff", id]).run().code(0).says("blob.bin");
}
