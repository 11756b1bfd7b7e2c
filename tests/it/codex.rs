//! The real Codex, driven through its app server, against a scripted model.

use std::fs;

use cadence_fakes::messages::Scenario;
use serde_json::json;

use crate::support::processes::{below, kill_hard};
use crate::support::{DEADLINE, TestEnv, assert_whole, of_type, until};

fn with_codex() -> TestEnv {
    let env = TestEnv::new();
    env.with_codex();
    env
}

const CODEX: [&str; 2] = ["--agent", "codex"];
const ASK: [&str; 4] = ["--agent", "codex", "--permission", "ask"];

#[test]
fn an_edit_ends_as_a_commit_and_the_user_s_settings_stay_as_they_are() {
    let env = with_codex();
    let repo = env.repo("demo");
    let settings = fs::read_to_string(env.codex_settings()).unwrap();
    let run = env.cadence(["run", "Say hello [[scenario:edit]]", "--json"]).args(CODEX).cwd(repo.path());
    let events = run.run().code(0).json_lines();
    assert_whole(&events, 1);
    assert_eq!(repo.show(&repo.task_branches()[0], "hello.txt"), "hello cadence");
    let edits = of_type(&events, "file_edit");
    assert_eq!((&edits[0]["path"], &edits[0]["action"]), (&json!("hello.txt"), &json!("create")));
    assert_eq!((&edits[1]["path"], &edits[1]["action"]), (&json!("hello.txt"), &json!("edit")));
    assert!(edits[1]["diff"].as_str().unwrap().contains("+hello cadence"), "{edits:?}");
    let commands = of_type(&events, "command_run");
    assert_eq!((&commands[0]["command"], &commands[0]["exitCode"]), (&json!("ls -1"), &json!(0)));
    let task = env.task(events[0]["taskId"].as_str().unwrap());
    assert_eq!(task["metadata"]["outputTokens"], 200, "{task}");
    // It tells no dollars, and that is not the same as none.
    assert_eq!(task["metadata"]["estimatedCost"], json!(null), "{task}");
    assert_eq!(of_type(&events, "task_completed")[0]["costUsd"], json!(null));
    // It would note there which directories it trusts.
    assert_eq!(fs::read_to_string(env.codex_settings()).unwrap(), settings);
}

#[test]
fn settings_of_the_repository_are_not_read() {
    let env = with_codex();
    let repo = env.repo("demo");
    fs::create_dir(repo.path().join(".codex")).unwrap();
    repo.write(".codex/config.toml", "model = \"another\"\n");
    repo.commit("settings");
    let run = env.cadence(["run", "Look [[scenario:text]]", "--json"]).args(CODEX).cwd(repo.path()).run().code(0);
    assert_eq!(of_type(&run.json_lines(), "task_started")[0]["model"], "gpt-6.1-sol");
}

#[test]
fn what_it_asks_for_is_allowed_once_or_always_or_denied_with_a_word() {
    let env = with_codex();
    let repo = env.repo("demo");
    let command = "sh -c 'echo again >> made.txt'";
    env.api.script("thrice", Scenario::new().bash(command).bash(command).bash("touch other.txt").text("Done."));
    let id = env.detach(&repo, "Make it [[scenario:thrice]]", ASK);
    let approval = env.wait_approval(&id);
    env.cadence(["approvals", "ls"]).run().code(0).says("made.txt");
    env.cadence(["approvals", "allow", &approval, "--always"]).run().code(0);
    env.wait_event(&id, "approval_requested", "touch other.txt");
    let approval = env.wait_approval(&id);
    // Codex goes on while a command of its own still runs, and what is denied ends the turn with all that does.
    until("both commands", || of_type(&env.events(&id), "command_run").len() == 2);
    env.cadence(["approvals", "deny", &approval, "--message", "No more files, please"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(5);
    let branch = &repo.task_branches()[0];
    assert_eq!(repo.show(branch, "made.txt"), "again\nagain");
    let events = env.events(&id);
    assert_eq!(of_type(&events, "approval_requested").len(), 2, "the second time it was not asked for");
    assert_eq!(of_type(&events, "command_run").len(), 2);
    assert!(env.api.requests().iter().any(|r| r.body.to_string().contains("No more files, please")), "it never heard");
    assert!(!env.home().join(".codex/rules").exists(), "what is allowed for a session is not written down");
}

#[test]
fn leaving_the_workspace_is_asked_for_and_the_mode_all_allows_it() {
    let env = with_codex();
    let repo = env.repo("demo");
    let outside = env.home().join("outside.txt");
    let command = format!("touch {}", outside.display());
    let input = json!({"cmd": command, "sandbox_permissions": "require_escalated", "justification": "It is needed."});
    env.api.script("outside", Scenario::new().tool("exec_command", input).text("Done."));
    let id = env.detach(&repo, "Touch [[scenario:outside]]", CODEX);
    let approval = env.wait_approval(&id);
    env.cadence(["approvals", "ls"]).run().code(0).says("It is needed.");
    env.cadence(["approvals", "deny", &approval]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(5);
    assert!(!outside.exists());
    let all = ["--agent", "codex", "--permission", "all"];
    let run = env.cadence(["run", "Touch [[scenario:outside]]", "--json"]).args(all).cwd(repo.path()).run().code(0);
    assert!(outside.exists());
    assert!(of_type(&run.json_lines(), "approval_requested").is_empty());
}

#[test]
fn a_follow_up_during_a_turn_reaches_it_and_one_after_the_end_goes_on_in_its_session() {
    let env = with_codex();
    let repo = env.repo("demo");
    env.api.script(
        "held",
        Scenario::new().bash("echo x > started && while [ ! -e go ]; do sleep 0.1; done").text("Done."),
    );
    let id = env.detach(&repo, "Work [[scenario:held]]", CODEX);
    let started = env.wait_for_workspace_file("started");
    env.cadence(["tasks", "send", &id, "and say please"]).run().code(0);
    env.wait_event(&id, "message", "and say please");
    fs::write(started.with_file_name("go"), "").unwrap();
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let heard = |text: &str| env.api.requests().last().unwrap().body.to_string().contains(text);
    assert!(heard("and say please"), "the model never heard it");
    env.cadence(["tasks", "send", &id, "Now write [[scenario:write-only]]"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "hello.txt"), "hello world");
    assert!(heard("[[scenario:held]]"), "the session was not resumed");
    let events = env.events(&id);
    assert_whole(&events, 2);
    let sessions: Vec<_> = of_type(&events, "task_started").iter().map(|d| d["sessionId"].clone()).collect();
    assert_eq!(sessions[0], sessions[1]);
    // Four replies of 50 tokens, each counted once although the session tells them all again.
    assert_eq!(env.task(&id)["metadata"]["outputTokens"], 200);
}

#[test]
fn a_paused_task_stops_and_goes_on() {
    let env = with_codex();
    let repo = env.repo("demo");
    env.api.script(
        "held",
        Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six").text("End."),
    );
    let id = env.detach(&repo, "Work [[scenario:held]]", CODEX);
    env.api.gate("here").wait_reached(DEADLINE);
    env.cadence(["tasks", "pause", &id]).run().code(0);
    env.wait_status(&id, &["paused"]);
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
fn killed_it_is_started_again_in_its_session() {
    let env = with_codex();
    let repo = env.repo("demo");
    env.api.script("held", Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six"));
    let id = env.detach(&repo, "Work [[scenario:held]]", CODEX);
    env.api.gate("here").wait_reached(DEADLINE);
    let server: i32 = env.cadence(["server", "status", "--json"]).run().code(0).json()["pid"].as_i64().unwrap() as i32;
    let (codex, _) = below(server).into_iter().find(|(_, line)| line.contains("app-server")).expect("Codex runs");
    env.api.gate("here").open();
    kill_hard(codex);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let events = env.events(&id);
    assert_whole(&events, 1);
    assert!(of_type(&events, "error").iter().any(|e| e["message"].as_str().unwrap().contains("started again")));
    let sessions: Vec<_> = of_type(&events, "task_started").iter().map(|d| d["sessionId"].clone()).collect();
    assert_eq!(sessions.len(), 2);
    assert_eq!(sessions[0], sessions[1]);
}

#[test]
fn refused_credentials_rates_and_turns_end_it_as_what_they_are() {
    let env = with_codex();
    let repo = env.repo("demo");
    let end = |scenario: &str, options: &[&str], code: i32| {
        let task = format!("Try [[scenario:{scenario}]]");
        let run = env.cadence(["run", &task, "--json"]).args(CODEX).args(options).cwd(repo.path()).run().code(code);
        let end = of_type(&run.json_lines(), "task_completed")[0].clone();
        assert_eq!(end["success"], false);
        end["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(end("error-401", &[], 1), "auth");
    assert_eq!(end("rate-limit", &["--timeout", "8s"], 8), "rate_limited");
    assert_eq!(end("many-turns", &["--max-turns", "3"], 7), "turns");
}

#[test]
fn a_budget_that_it_cannot_keep_is_told() {
    let env = with_codex();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "Look [[scenario:text]]", "--budget", "1", "--json"]).args(CODEX).cwd(repo.path());
    let events = run.run().code(0).json_lines();
    let told = of_type(&events, "error");
    assert!(told[0]["message"].as_str().unwrap().contains("the budget of $1.00 is not kept"), "{told:?}");
    assert_eq!(told[0]["recoverable"], true);
}

#[test]
fn where_it_is_missing_it_is_said_how_to_install_it() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "Look"]).args(CODEX).cwd(repo.path()).run().code(1);
    run.shows("npm install -g @openai/codex");
    env.cadence(["doctor"]).run().code(0).shows("npm install -g @openai/codex");
    env.with_codex();
    env.cadence(["doctor"]).run().code(0).shows("bin/codex");
}
