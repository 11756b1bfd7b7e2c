//! What work may cost, for a task and for a month, and waits for a rate limit.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Repo, TestEnv, assert_whole, of_type, until, until_some};

/// Writes the settings of whoever uses this machine.
fn settings(env: &TestEnv, text: &str) {
    let path = env.home().join(".config/cadence/config.toml");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn demo(env: &TestEnv, repo: &Repo, task: &str) -> String {
    env.detach(repo, task, ["--agent", "demo", "--permission", "all"])
}

/// Waits until the task is seen as rate limited.
fn parked(env: &TestEnv, id: &str) -> Value {
    let task = env.wait_status(id, &["waiting"]);
    assert_eq!(task["waitingFor"], "rate_limit", "{task:#}");
    assert!(task["resumeAt"].is_string(), "{task:#}");
    task
}

#[test]
fn an_agent_that_keeps_no_budget_is_stopped_by_cadence() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "[[overspend 2]] [[sleep 600]]", "--agent", "demo", "--budget", "1.5", "--json"]);
    let events = run.cwd(repo.path()).run().code(7).json_lines();
    assert_whole(&events, 1);
    let end = of_type(&events, "task_completed")[0];
    assert_eq!(end["reason"], "budget");
    assert_eq!(end["summary"], "The budget of the task is spent: $2.00 of $1.50.");
    // A follow-up has nothing left to spend, and says so without an agent.
    let id = events[0]["taskId"].as_str().unwrap();
    env.cadence(["tasks", "send", id, "go on"]).run().code(0);
    env.cadence(["tasks", "wait", id]).run().code(7);
    let all = env.events(id);
    assert_whole(&all, 2);
    assert_eq!(of_type(&all, "task_started").len(), 1);
    assert_eq!(of_type(&all, "task_completed")[1]["summary"], "The budget of the task is spent: $2.00 of $1.50.");
}

#[test]
fn an_agent_that_tells_no_cost_is_told_of_and_goes_on() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "[[tokens 5000]] Note this", "--agent", "demo", "--budget", "1", "--json"]);
    let events = run.cwd(repo.path()).run().code(0).json_lines();
    let warnings = of_type(&events, "error");
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0]["message"], "The agent does not say what it costs; the budget cannot be kept.");
}

#[test]
fn a_month_is_shared_by_all_that_runs_and_ends_it_all() {
    let env = TestEnv::new();
    settings(&env, "workers = 2\n[limits]\nmonth_usd = 3.0\n");
    let repo = env.repo("demo");
    let go = env.path("go");
    let first = demo(&env, &repo, "[[run echo mine >mine.txt]] [[overspend 2]] [[sleep 600]]");
    let wait = format!("[[run until test -e {}; do sleep 0.05; done]] [[overspend 2]] [[sleep 600]]", go.display());
    let second = demo(&env, &repo, &wait);
    env.wait_event(&second, "tool_use", "until test");
    until("the first has told its cost", || env.task(&first)["metadata"]["estimatedCost"] == json!(2.0));
    let third = demo(&env, &repo, "Note this");
    fs::write(&go, "").unwrap();

    for id in [&first, &second] {
        env.cadence(["tasks", "wait", id]).run().code(7);
        let task = env.task(id);
        assert_eq!(task["endReason"], "budget");
        let why = task["error"].as_str().unwrap();
        assert!(why.contains("($4.00 of $3.00)") && why.contains("the next month begins on"), "{why}");
        assert_whole(&env.events(id), 1);
    }
    // The work of those who were stopped is kept.
    let branches = repo.task_branches();
    assert!(branches.iter().any(|branch| repo.git_ok(["cat-file", "-e", &format!("{branch}:mine.txt")])));
    // What waits says why, and what is asked for now is refused and not left to wait for weeks.
    let reason = until_some("why the third waits", || env.task(&third)["pendingReason"].as_str().map(str::to_owned));
    assert!(reason.contains("is spent ($4.00 of $3.00)"), "{reason}");
    env.cadence(["tasks", "show", &third]).run().code(0).says("is spent ($4.00 of $3.00)");
    let refused = env.cadence(["run", "Note that", "--agent", "demo"]).cwd(repo.path()).run().code(7);
    refused.complains("is spent ($4.00 of $3.00)").complains("month_usd");
    env.cadence(["tasks", "restart", &first]).run().code(7).complains("is spent");

    let usage = env.cadence(["usage", "--json"]).run().code(0).json();
    assert_eq!(usage["monthLimitUsd"], 3.0);
    let this = &usage["usage"][0];
    assert_eq!((&this["costUsd"], &this["tasks"]), (&json!(4.0), &json!(2)));
    assert_eq!((&this["month"], this["user"].as_str()), (&usage["month"], Some("owner")));
    env.cadence(["usage"]).run().code(0).says("$4.00").complains("$4.00 of $3.00");

    // A higher limit counts when the server starts again.
    env.cadence(["config", "set", "limits.month_usd", "50"]).run().code(0);
    env.cadence(["server", "stop"]).run().code(0);
    env.cadence(["tasks", "wait", &third]).run().code(0);
}

#[test]
fn claude_may_spend_what_is_left_of_the_month_and_no_more() {
    let env = TestEnv::new();
    settings(&env, "[limits]\nmonth_usd = 1.5\n");
    let repo = env.repo("demo");
    let run = env.cadence(["run", "Work [[scenario:budget]]", "--json", "--model", "sonnet", "--budget", "100"]);
    let events = run.cwd(repo.path()).run().code(7).json_lines();
    let end = of_type(&events, "task_completed")[0];
    assert!(end["summary"].as_str().unwrap().starts_with("The budget of 20"), "{end}");
    assert!(end["costUsd"].as_f64().unwrap() < 3.0, "it was let go on: {end}");
    env.cadence(["run", "More", "--detach"]).cwd(repo.path()).run().code(7);
}

#[test]
fn one_that_is_rate_limited_gives_its_place_and_waits_on_whatever_happens() {
    let env = TestEnv::new();
    settings(&env, "workers = 1\n");
    let repo = env.repo("demo");
    let id = demo(&env, &repo, "[[limited 600]] Note this");
    let until = parked(&env, &id)["resumeAt"].clone();
    env.cadence(["tasks", "ls"]).run().code(0).says("rate limited");
    env.cadence(["tasks", "show", &id]).run().code(0).says("rate limited").says("goes on");
    let other = demo(&env, &repo, "Note that");
    env.cadence(["tasks", "wait", &other]).run().code(0);

    // The next server goes on with the wait, and does not ask the service.
    env.cadence(["server", "stop"]).run().code(0);
    env.cadence(["tasks", "ls"]).run().code(0).says("rate limited");
    let seconds = |at: &Value| at.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second();
    let later = seconds(&parked(&env, &id)["resumeAt"]) - seconds(&until);
    assert!(later.abs() <= 1, "it waits {later} s longer");
    // Paused and resumed, it waits on, too.
    env.cadence(["tasks", "pause", &id]).run().code(0);
    env.wait_status(&id, &["paused"]);
    env.cadence(["tasks", "resume", &id]).run().code(0);
    parked(&env, &id);
    // Whoever says something else wants it to be tried.
    env.cadence(["tasks", "send", &id, "go on now"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let events = env.events(&id);
    assert_whole(&events, 1);
    let steps: Vec<_> = of_type(&events, "status_changed").iter().map(|e| e["to"].as_str().unwrap()).collect();
    assert_eq!(steps, ["running", "waiting", "paused", "waiting", "running", "completed"]);
}

#[test]
fn one_that_is_rate_limited_can_be_cancelled_paused_and_left_to_its_time() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let cancelled = demo(&env, &repo, "[[limited 600]] Note this");
    parked(&env, &cancelled);
    env.cadence(["tasks", "cancel", &cancelled]).run().code(0);
    env.cadence(["tasks", "wait", &cancelled]).run().code(130);
    // After a pause no agent is there, and it is cancelled all the same.
    let paused = demo(&env, &repo, "[[limited 600]] Note this");
    parked(&env, &paused);
    env.cadence(["tasks", "pause", &paused]).run().code(0);
    env.wait_status(&paused, &["paused"]);
    env.cadence(["tasks", "resume", &paused]).run().code(0);
    parked(&env, &paused);
    env.cadence(["tasks", "cancel", &paused]).run().code(0);
    env.cadence(["tasks", "wait", &paused]).run().code(130);
    // It passes by itself.
    let passes = demo(&env, &repo, "[[limited 1]] Note this");
    env.cadence(["tasks", "wait", &passes]).run().code(0);
}

#[test]
fn claude_is_parked_and_goes_on_with_what_it_is_told() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, "Work [[scenario:rate-limit]]", ["--permission", "all"]);
    parked(&env, &id);
    env.api.script("now", cadence_fakes::messages::Scenario::new().write("c.txt", "c\n").text("Went on."));
    env.cadence(["tasks", "send", &id, "Now this [[scenario:now]]"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "c.txt"), "c");
    assert_whole(&env.events(&id), 1);
}
