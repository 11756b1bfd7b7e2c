//! A server that shares no disk with its client, though it is on loopback: `CADENCE_REMOTE`.

use std::fs;
use std::path::Path;

use crate::support::{Cmd, Repo, Server, TestEnv};

/// A server whose home is not the client's.
fn server(env: &TestEnv) -> Server {
    let home = env.path("home-of-the-server");
    fs::create_dir(&home).unwrap();
    Server::start_with(Server::command(env).env("HOME", home))
}

fn of<const N: usize>(env: &TestEnv, server: &Server, directory: &Path, arguments: [&str; N]) -> Cmd {
    server.of(env.cadence(arguments)).env("CADENCE_REMOTE", "1").cwd(directory)
}

/// A commit that is nowhere else.
fn calculator(repo: &Repo) {
    repo.write("calc.sh", "add() { echo $(($1 - $2)); }\n");
    repo.commit("A calculator, not pushed");
}

/// A clone of a published repository with a commit of its own.
fn unpushed(env: &TestEnv) -> Repo {
    let published = env.path("published.git");
    let repo = env.repo("demo");
    repo.git(["clone", "-q", "--bare", repo.arg(), published.to_str().unwrap()]);
    repo.git(["remote", "add", "origin", &format!("file://{}", published.display())]);
    repo.git(["fetch", "-q", "origin"]);
    calculator(&repo);
    repo
}

fn bundles(env: &TestEnv) -> usize {
    fs::read_dir(env.path("serve/bundles")).into_iter().flatten().count()
}

#[test]
fn what_is_not_pushed_is_sent_and_the_branch_comes_back() {
    let env = TestEnv::new();
    let server = server(&env);
    let repo = unpushed(&env);
    let before = repo.own_state();
    let run = of(&env, &server, repo.path(), ["run", "--agent", "demo", "Fix the calculator"]).run().code(0);
    run.complains("sending").complains("is in");
    assert_eq!(repo.own_state(), before, "nothing but the branch has come");
    assert_eq!(repo.task_branches().len(), 1);
    assert!(!repo.show(&repo.task_branches()[0], "cadence-demo.md").is_empty());
    assert!(!repo.show(&repo.task_branches()[0], "calc.sh").is_empty(), "on top of what was not pushed");
    assert_eq!(bundles(&env), 1);
    let diff = of(&env, &server, repo.path(), ["tasks", "diff", "last"]).run().code(0);
    let diff = diff.says("diff --git");
    assert!(!diff.stdout.contains("calc.sh"), "what was there before is no change: {}", diff.stdout);
    let task = server.http().get("/api/tasks").status(200).json()["tasks"][0].clone();
    assert!(task.get("repoPath").is_none(), "{task}");
    of(&env, &server, repo.path(), ["tasks", "apply", "last"]).run().code(0).shows("merged");
    of(&env, &server, repo.path(), ["tasks", "apply", "last"]).run().code(0).shows("already");
}

#[test]
fn what_is_pushed_is_not_sent() {
    let env = TestEnv::new();
    let server = server(&env);
    let repo = unpushed(&env);
    repo.git(["push", "-q", "origin", "main"]);
    of(&env, &server, repo.path(), ["run", "--agent", "demo", "Fix it"]).run().code(0);
    assert_eq!((bundles(&env), repo.task_branches().len()), (0, 1));
}

#[test]
fn a_repository_without_a_remote_goes_with_its_uncommitted_work() {
    let env = TestEnv::new();
    let server = server(&env);
    let repo = env.repo("alone");
    calculator(&repo);
    repo.write("README.md", "# Not committed\n");
    let before = repo.own_state();
    let run = ["run", "--agent", "demo", "--with-changes", "Fix the calculator", "--detach", "--json"];
    let task = of(&env, &server, repo.path(), run).run().code(0).json();
    assert_eq!(task["repoName"], "alone");
    let id = task["id"].as_str().unwrap();
    of(&env, &server, repo.path(), ["tasks", "wait", id]).run().code(0);
    assert_eq!(repo.own_state(), before);
    let base = task["baseCommit"].as_str().unwrap();
    assert!(!repo.git_ok(["cat-file", "-e", base]), "the snapshot is in no repository of the user");
    of(&env, &server, repo.path(), ["tasks", "apply", id]).run().code(0);
    assert_eq!(repo.read("README.md"), "# Not committed\n");
    let elsewhere = env.repo("elsewhere");
    elsewhere.git(["commit", "-q", "--amend", "-m", "Another start"]);
    let error = of(&env, &server, elsewhere.path(), ["tasks", "apply", id]).run();
    assert_ne!(error.code, Some(0));
    error.complains("builds on");
    assert!(elsewhere.task_branches().is_empty());
}

#[test]
fn a_branch_that_was_moved_on_here_is_left_alone() {
    let env = TestEnv::new();
    let server = server(&env);
    let repo = unpushed(&env);
    of(&env, &server, repo.path(), ["run", "--agent", "demo", "Fix the calculator"]).run().code(0);
    let branch = repo.task_branches().remove(0);
    let own = repo.git(["commit-tree", "-p", "main", "-m", "Mine", "main^{tree}"]);
    repo.git(["update-ref", &format!("refs/heads/{branch}"), &own]);
    let apply = of(&env, &server, repo.path(), ["tasks", "apply", "last"]).run().code(1);
    apply.complains("has commits that the task does not know").complains("git branch -m");
    assert_eq!(repo.git(["rev-parse", &branch]), own);
}

#[test]
fn the_dashboard_takes_the_change_of_a_server_elsewhere() {
    let env = TestEnv::new();
    let server = server(&env);
    let repo = unpushed(&env);
    let run = ["run", "--agent", "demo", "Fix the calculator", "--detach", "--json"];
    let id = of(&env, &server, repo.path(), run).run().code(0).json()["id"].as_str().unwrap().to_owned();
    of(&env, &server, &env.home(), ["tasks", "wait", &id]).run().code(0);
    assert!(repo.task_branches().is_empty(), "nobody brought it here");
    let more = [("CADENCE_SERVER", server.url()), ("CADENCE_TOKEN", crate::support::TOKEN), ("CADENCE_REMOTE", "1")];
    let mut terminal = env.terminal_with(&more, repo.path(), []);
    terminal.wait_for("Fix the calculator");
    terminal.send("w");
    terminal.wait_for("merged");
    terminal.send("q");
    assert_eq!(terminal.finish(), 0);
    assert_eq!(repo.task_branches().len(), 1);
}
