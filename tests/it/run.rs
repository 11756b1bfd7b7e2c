//! `cadence run`: from a sentence to a branch.

use std::fs;

use cadence_fakes::messages::Scenario;
use serde_json::json;

use crate::support::{TestEnv, assert_whole, of_type};

#[test]
fn an_edit_ends_as_a_commit_on_a_branch_of_its_own() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let before = repo.own_state();
    env.cadence(["run", "Say hello [[scenario:edit]]", "--model", "sonnet"])
        .cwd(repo.path())
        .run()
        .code(0)
        .shows("hello.txt")
        .shows("ls -1")
        .shows("I created hello.txt")
        .shows("$0.02")
        .shows("cadence tasks diff")
        .shows("cadence tasks apply");
    assert_eq!(repo.own_state(), before, "the user's checkout is not touched");
    let branches = repo.task_branches();
    assert_eq!(branches.len(), 1, "{branches:?}");
    assert!(branches[0].starts_with("cadence/say-hello-"), "{branches:?}");
    assert_eq!(repo.show(&branches[0], "hello.txt"), "hello cadence");
    assert_eq!(repo.git(["rev-parse", &format!("{}~1", branches[0])]), repo.git(["rev-parse", "main"]));
    assert_eq!(repo.git(["log", "-1", "--format=%an <%ae>", &branches[0]]), "Ada Dev <ada@example.test>");
}

#[test]
fn the_events_tell_what_was_done() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "Say hello [[scenario:edit]]", "--json", "--model", "sonnet"]).cwd(repo.path());
    let events = run.run().code(0).json_lines();
    assert_whole(&events, 1);
    let id = events[0]["taskId"].as_str().unwrap();
    let edits = of_type(&events, "file_edit");
    assert_eq!((&edits[0]["path"], &edits[0]["action"]), (&json!("hello.txt"), &json!("create")));
    assert_eq!((&edits[1]["path"], &edits[1]["action"]), (&json!("hello.txt"), &json!("edit")));
    assert!(edits[1]["diff"].as_str().unwrap().contains("+hello cadence"), "{edits:?}");
    let commands = of_type(&events, "command_run");
    assert_eq!((&commands[0]["command"], &commands[0]["exitCode"]), (&json!("ls -1"), &json!(0)));
    let end = of_type(&events, "task_completed");
    assert_eq!((&end[0]["success"], &end[0]["costUsd"]), (&json!(true), &json!(0.0156)));
    let task = env.task(id);
    assert_eq!((&task["status"], &task["progress"]), (&json!("completed"), &json!(100)));
    assert_eq!((&task["metadata"]["filesChanged"], &task["metadata"]["linesAdded"]), (&json!(1), &json!(1)));
    assert_eq!(task["metadata"]["outputTokens"], 200, "{task}");
}

#[test]
fn a_failing_command_is_shown_and_does_not_end_the_task() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "Look [[scenario:failing-bash]]", "--json"]).cwd(repo.path()).run().code(0);
    let events = run.json_lines();
    let command = of_type(&events, "command_run")[0];
    assert_eq!(command["exitCode"], 1);
    assert!(command["output"].as_str().unwrap().contains("No such file"), "{command}");
    assert_eq!(repo.show(&repo.task_branches()[0], "after.txt"), "went on");
}

#[test]
fn no_change_is_fine_unless_one_is_required() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.cadence(["run", "Look around [[scenario:no-change]]"]).cwd(repo.path()).run().code(0);
    let run = env.cadence(["run", "Look around [[scenario:no-change]]", "--require-change"]).cwd(repo.path());
    run.run().code(1).shows("change");
}

#[test]
fn the_task_can_come_from_standard_input() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run =
        env.cadence(["run", "-", "--repo", repo.arg()]).stdin("Write it\nover two lines [[scenario:write-only]]\n");
    run.run().code(0);
    assert!(repo.task_branches()[0].starts_with("cadence/write-it"), "{:?}", repo.task_branches());
    env.cadence(["run", "-", "--repo", repo.arg()]).stdin(" \n").run().code(2);
}

#[test]
fn commits_of_the_agent_are_kept_as_they_are() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "Commit it [[scenario:agent-commits]]", "--permission", "all"]).cwd(repo.path());
    run.run().code(0);
    let branch = &repo.task_branches()[0];
    assert_eq!(repo.git(["log", "--format=%s", &format!("main..{branch}")]), "Add hello");
}

#[test]
fn work_on_another_branch_of_the_agents_is_not_lost() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "Move [[scenario:switches-branch]]", "--permission", "all"]).cwd(repo.path());
    run.run().code(0);
    let branches = repo.task_branches();
    assert_eq!(branches.len(), 1, "{branches:?}");
    assert_eq!(repo.show(&branches[0], "hello.txt"), "hello");
    assert!(!repo.git_ok(["rev-parse", "--verify", "-q", "elsewhere"]), "the agent's own branch stays its own");
}

#[test]
fn what_the_agent_left_running_ends_with_it() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "Start it [[scenario:background]]", "--permission", "all"]).cwd(repo.path());
    run.run().code(0);
    let pid: u32 = repo.show(&repo.task_branches()[0], "sleeper.pid").parse().unwrap();
    // Another process may have its number by now; one that is dead and not yet reaped has no command line.
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).replace('\0', " ");
    assert!(!line.contains("sleep 3600"), "process {pid} lives on: {line}");
}

#[test]
fn it_starts_from_the_branch_that_it_is_told() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    repo.git(["switch", "-q", "-c", "release"]);
    repo.write("only-here.txt", "x\n");
    repo.commit("On release");
    repo.git(["switch", "-q", "main"]);
    let run = env.cadence(["run", "Write [[scenario:write-only]]", "--branch", "release"]).cwd(repo.path());
    run.run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "only-here.txt"), "x");
    let run = env.cadence(["run", "Write [[scenario:write-only]]", "--branch", "nonesuch"]).cwd(repo.path());
    run.run().code(2).complains("nonesuch");
}

#[test]
fn uncommitted_work_comes_along_when_asked() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    repo.write("README.md", "# A project\nin progress\n");
    repo.write("new.txt", "not added\n");
    repo.write("staged.txt", "added\n");
    repo.git(["add", "staged.txt"]);
    let before = repo.own_state();
    env.cadence(["run", "Write [[scenario:write-only]]"]).cwd(repo.path()).run().code(0);
    assert!(!repo.git_ok(["cat-file", "-e", &format!("{}:new.txt", repo.task_branches()[0])]));
    let run = env.cadence(["run", "Bring it [[scenario:write-only]]", "--with-changes"]).cwd(repo.path());
    run.run().code(0);
    let branch = repo.task_branches().into_iter().find(|b| b.contains("bring-it")).unwrap();
    assert_eq!(repo.show(&branch, "new.txt"), "not added");
    assert_eq!(repo.show(&branch, "staged.txt"), "added");
    assert!(repo.show(&branch, "README.md").ends_with("in progress"));
    assert_eq!(repo.own_state(), before, "the user's checkout is not touched");
}

#[test]
fn ignored_files_that_are_named_come_along() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    repo.write(".gitignore", ".env\nsecret.key\n");
    repo.write(".worktreeinclude", ".env\n");
    repo.commit("Ignore");
    repo.write(".env", "A=1\n");
    repo.write("secret.key", "k\n");
    env.api.script("env", Scenario::new().bash("cat .env").bash("ls -a").text("Seen."));
    let run = env.cadence(["run", "Read [[scenario:env]]", "--json"]).cwd(repo.path()).run().code(0);
    let events = run.json_lines();
    let commands = of_type(&events, "command_run");
    assert!(commands[0]["output"].as_str().unwrap().contains("A=1"), "{commands:?}");
    assert!(!commands[1]["output"].as_str().unwrap().contains("secret.key"), "{commands:?}");
}

#[test]
fn the_set_up_command_runs_first_and_its_failure_ends_the_task() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    repo.write(".cadence.toml", "[setup]\ncommand = \"echo ready > prepared.txt\"\n");
    repo.commit("Set-up");
    env.cadence(["run", "Write [[scenario:write-only]]"]).cwd(repo.path()).run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "prepared.txt"), "ready");
    repo.write(".cadence.toml", "[setup]\ncommand = \"echo cannot prepare >&2; exit 3\"\n");
    repo.commit("Broken set-up");
    let asked = env.api.requests().len();
    env.cadence(["run", "Write again [[scenario:write-only]]"]).cwd(repo.path()).run().code(1).shows("cannot prepare");
    assert_eq!(env.api.requests().len(), asked, "the agent was not started");
}

#[test]
fn submodules_are_there_for_the_agent() {
    let env = TestEnv::new();
    let (repo, part) = (env.repo("demo"), env.repo("part"));
    repo.git(["-c", "protocol.file.allow=always", "submodule", "add", "-q", part.arg(), "part"]);
    repo.commit("With a part");
    env.api.script("part", Scenario::new().bash("cat part/README.md").text("Seen."));
    let run = env.cadence(["run", "Read [[scenario:part]]", "--json"]).cwd(repo.path()).run().code(0);
    let events = run.json_lines();
    assert_eq!(of_type(&events, "command_run")[0]["exitCode"], 0, "{events:#?}");
}

#[test]
fn a_missing_cli_is_said_with_how_to_install_it() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.without_claude();
    let run = env.cadence(["run", "Write [[scenario:write-only]]"]).cwd(repo.path()).run().code(1);
    run.shows("npm install -g @anthropic-ai/claude-code");
}

#[test]
fn outside_of_a_repository_it_says_so() {
    let env = TestEnv::new();
    env.cadence(["run", "Write"]).run().code(2).complains("repository");
    env.cadence(["run", "Write", "--repo", "/nonexistent/place"]).run().code(2).complains("/nonexistent/place");
    env.cadence(["run"]).run().code(2);
}
