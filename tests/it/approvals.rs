//! What an agent may not do by itself is asked for.

use cadence_fakes::messages::Scenario;
use serde_json::json;

use crate::support::{TestEnv, of_type};

const NEEDS: &str = "Make it [[scenario:approval]]";

#[test]
fn an_allowed_command_runs() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, NEEDS, []);
    let approval = env.wait_approval(&id);
    let listed = env.cadence(["approvals", "ls"]).run().code(0);
    listed.says("made.txt");
    env.cadence(["approvals", "allow", &approval]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "made.txt"), "hi");
    let events = env.events(&id);
    assert_eq!(of_type(&events, "approval_resolved")[0]["decision"], "allow");
    env.cadence(["approvals", "allow", &approval]).run().code(1).complains("already allowed by owner");
    env.cadence(["approvals", "deny", &approval[..8]]).run().code(1).complains("already allowed by owner");
    env.cadence(["approvals", "deny", "ffffffff"]).run().code(2).complains("no request");
}

#[test]
fn a_denied_command_does_not_run_and_the_end_says_so() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, NEEDS, []);
    let approval = env.wait_approval(&id);
    env.cadence(["approvals", "deny", &approval, "--message", "Not with sh, please"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(5);
    let task = env.task(&id);
    assert_eq!((&task["status"], &task["endReason"]), (&json!("failed"), &json!("denied")));
    let told = env.api.requests().last().unwrap().tool_results();
    assert!(told[0].contains("Not with sh, please"), "{told:?}");
    let ends = env.events(&id);
    assert_eq!(of_type(&ends, "task_completed")[0]["success"], false);
}

#[test]
fn a_command_can_be_edited_before_it_runs() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, NEEDS, []);
    let approval = env.wait_approval(&id);
    let edited = json!({"command": "sh -c 'echo edited > made.txt'", "description": "Edited"}).to_string();
    env.cadence(["approvals", "allow", &approval, "--edit", &edited]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "made.txt"), "edited");
    let events = env.events(&id);
    assert_eq!(of_type(&events, "command_run")[0]["command"], "sh -c 'echo edited > made.txt'", "what ran is told");
    let answer = &of_type(&events, "approval_resolved")[0]["answer"];
    assert_eq!(answer["updatedInput"]["description"], "Edited");
}

#[test]
fn with_nobody_there_the_run_ends_with_six_and_the_task_waits() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", NEEDS, "--json"]).cwd(repo.path()).run().code(6);
    let events = run.json_lines();
    let id = events[0]["taskId"].as_str().unwrap();
    assert_eq!(env.task(id)["status"], "waiting");
    let approval = env.wait_approval(id);
    run.complains(&format!("cadence approvals allow {}\n", &approval[..8]));
    env.cadence(["approvals", "allow", &approval]).run().code(0);
    env.cadence(["tasks", "wait", id]).run().code(0);
}

#[test]
fn allowed_for_the_session_is_not_asked_again_and_not_written_down() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let command = "sh -c 'echo again >> made.txt'";
    env.api.script("twice", Scenario::new().bash(command).bash(command).text("Twice."));
    let id = env.detach(&repo, "Make it [[scenario:twice]]", []);
    let approval = env.wait_approval(&id);
    env.cadence(["approvals", "allow", &approval, "--always"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let branch = &repo.task_branches()[0];
    assert_eq!(repo.show(branch, "made.txt"), "again\nagain");
    assert_eq!(of_type(&env.events(&id), "approval_requested").len(), 1);
    assert!(!repo.git(["ls-tree", "-r", "--name-only", branch]).contains(".claude"));
}

#[test]
fn with_all_nothing_is_asked() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.cadence(["run", NEEDS, "--permission", "all"]).cwd(repo.path()).run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "made.txt"), "hi");
}

#[test]
fn with_ask_edits_are_asked_for_too() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, "Write [[scenario:write-only]]", ["--permission", "ask"]);
    let approval = env.wait_approval(&id);
    assert_eq!(env.task(&id)["waitingFor"], "approval");
    env.cadence(["approvals", "allow", &approval]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "hello.txt"), "hello world");
}

#[test]
fn a_question_is_answered() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, "Choose [[scenario:question]]", ["--permission", "all"]);
    let approval = env.wait_approval(&id);
    assert_eq!(env.task(&id)["waitingFor"], "answer");
    env.cadence(["approvals", "allow", &approval]).run().code(2).complains("answer");
    env.cadence(["approvals", "answer", &approval, "sqlite"]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let told = env.api.requests().last().unwrap().tool_results();
    assert!(told[0].contains("\"Which database?\"=\"sqlite\""), "{told:?}");
}

#[test]
fn a_person_at_the_terminal_is_asked_and_answers() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let mut terminal = env.terminal(repo.path(), ["run", NEEDS]);
    let screen = terminal.wait_for("[y] yes");
    assert!(screen.contains("echo hi > made.txt"), "{screen}");
    terminal.send("y");
    terminal.wait_for("Done");
    assert_eq!(terminal.finish(), 0);
    assert_eq!(repo.show(&repo.task_branches()[0], "made.txt"), "hi");
}

#[test]
fn a_denial_at_the_terminal_tells_the_agent_why() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let mut terminal = env.terminal(repo.path(), ["run", NEEDS]);
    terminal.wait_for("[y] yes");
    terminal.send("m");
    terminal.wait_for("tell the agent");
    terminal.send("use make instead\r");
    assert_eq!(terminal.finish(), 5);
    let told = env.api.requests().last().unwrap().tool_results();
    assert!(told[0].contains("use make instead"), "{told:?}");
}

#[test]
fn a_question_at_the_terminal_is_answered_by_its_number() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let mut terminal = env.terminal(repo.path(), ["run", "Choose [[scenario:question]]"]);
    let screen = terminal.wait_for("or your own words");
    assert!(screen.contains("Which database?") && screen.contains("2. postgres"), "{screen}");
    terminal.send("2\r");
    assert_eq!(terminal.finish(), 0);
    let told = env.api.requests().last().unwrap().tool_results();
    assert!(told[0].contains("\"Which database?\"=\"postgres\""), "{told:?}");
}

#[test]
fn on_a_narrow_terminal_every_key_is_seen() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let mut terminal = env.terminal_of(40, repo.path(), ["run", NEEDS]);
    let screen = terminal.wait_for("no, with a message");
    for key in ["[y] yes", "[a] always", "[e] edit", "[n] no"] {
        assert!(screen.contains(key), "{key} in\n{screen}");
    }
    terminal.send("m");
    terminal.wait_for("tell the agent");
    terminal.send("use a file of another name, one that says what is in it");
    let screen = terminal.wait_for("is in it▏");
    assert!(!screen.contains("allow it?"), "{screen}");
    terminal.send("\r");
    terminal.wait_for("cadence tasks restart");
    assert_eq!(terminal.finish(), 5);
}
