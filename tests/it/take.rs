//! `cadence tasks diff|apply|rm`: to look at a change, to take it, to drop it.

use crate::support::{Repo, TestEnv};

/// A finished task that writes `hello.txt`.
fn written(env: &TestEnv, repo: &Repo) -> String {
    let id = env.detach(repo, "Write [[scenario:write-only]]", []);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    id
}

#[test]
fn a_change_is_shown_and_merged() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = written(&env, &repo);
    let diff = env.cadence(["tasks", "diff", &id]).run().code(0);
    diff.says("hello.txt").says("+hello world");
    repo.write("README.md", "# A project\nuncommitted\n");
    env.cadence(["tasks", "apply", &id]).cwd(repo.path()).run().code(0).shows("1 file");
    assert_eq!(repo.read("hello.txt"), "hello world\n");
    assert!(repo.read("README.md").ends_with("uncommitted\n"), "uncommitted work is kept");
    assert!(repo.git(["branch", "--merged", "main"]).contains("cadence/"));
}

#[test]
fn a_branch_that_was_deleted_is_brought_back() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = written(&env, &repo);
    repo.git(["branch", "-q", "-D", &repo.task_branches()[0]]);
    env.cadence(["tasks", "apply", &id]).cwd(repo.path()).run().code(0);
    assert_eq!(repo.read("hello.txt"), "hello world\n");
}

#[test]
fn where_nothing_was_changed_there_is_nothing_to_take() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, "Say [[scenario:text]]", []);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    env.cadence(["tasks", "apply", &id]).cwd(repo.path()).run().code(0).shows("nothing to take");
}

#[test]
fn work_on_uncommitted_changes_comes_back_onto_them() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    repo.write("README.md", "# A project\nuncommitted\n");
    let head = repo.git(["rev-parse", "HEAD"]);
    env.cadence(["run", "Write [[scenario:write-only]]", "--with-changes"]).cwd(repo.path()).run().code(0);
    env.cadence(["tasks", "apply", "last"]).cwd(repo.path()).run().code(0).shows("1 file changed");
    assert_eq!(repo.read("hello.txt"), "hello world\n");
    assert!(repo.read("README.md").ends_with("uncommitted\n"));
    assert_eq!(repo.git(["rev-parse", "HEAD"]), head);
}

#[test]
fn squashed_it_is_staged_to_be_committed_by_the_user() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = written(&env, &repo);
    env.cadence(["tasks", "apply", &id, "--squash"]).cwd(repo.path()).run().code(0);
    assert_eq!(repo.read("hello.txt"), "hello world\n");
    assert!(!repo.git(["branch", "--merged", "main"]).contains("cadence/"), "no merge");
    assert_eq!(repo.git(["diff", "--cached", "--name-status"]), "A\thello.txt");
    assert_eq!(repo.git(["rev-list", "--count", "main"]), "1");
}

#[test]
fn a_conflict_is_explained_and_undone() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = written(&env, &repo);
    repo.write("hello.txt", "something else\n");
    repo.commit("In the way");
    let before = repo.own_state();
    env.cadence(["tasks", "apply", &id]).cwd(repo.path()).run().code(1).complains("hello.txt").complains("conflict");
    assert_eq!(repo.own_state(), before, "nothing is left of the attempt");
    env.cadence(["tasks", "apply", &id, "--squash"]).cwd(repo.path()).run().code(1).complains("hello.txt");
    assert_eq!(repo.own_state(), before, "nothing is left of the attempt");
}

#[test]
fn uncommitted_work_in_the_way_is_not_overwritten() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = written(&env, &repo);
    repo.write("hello.txt", "mine, not committed\n");
    env.cadence(["tasks", "apply", &id]).cwd(repo.path()).run().code(1).complains("hello.txt");
    assert_eq!(repo.read("hello.txt"), "mine, not committed\n");
}

#[test]
fn only_what_is_found_elsewhere_is_removed() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = written(&env, &repo);
    let branch = repo.task_branches().remove(0);
    env.cadence(["tasks", "rm", &id]).run().code(1).complains("--force");
    assert_eq!(repo.task_branches(), [branch], "it is still there");
    env.cadence(["tasks", "show", &id]).run().code(0);
    env.cadence(["tasks", "apply", &id]).cwd(repo.path()).run().code(0);
    env.cadence(["tasks", "rm", &id]).run().code(0);
    assert!(env.workspaces().is_empty(), "{:?}", env.workspaces());
    env.cadence(["tasks", "show", &id]).run().code(2).complains("no such task");
}

#[test]
fn forced_it_is_gone() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = written(&env, &repo);
    env.cadence(["tasks", "rm", &id, "--force"]).run().code(0);
    assert!(repo.task_branches().is_empty() && env.workspaces().is_empty());
}

#[test]
fn a_running_task_is_not_removed() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, "Wait [[scenario:hang]]", []);
    env.wait_status(&id, &["running"]);
    env.cadence(["tasks", "rm", &id]).run().code(1);
    env.cadence(["tasks", "cancel", &id]).run().code(0);
    env.cadence(["tasks", "wait", &id]).run().code(130);
    env.cadence(["tasks", "rm", &id]).run().code(0);
}

#[test]
fn the_work_on_a_url_is_taken_into_a_clone() {
    let env = TestEnv::new();
    let (repo, other) = (env.repo("demo"), env.repo("other"));
    let url = format!("file://{}", repo.arg());
    let run = env.cadence(["run", "Write [[scenario:write-only]]", "--repo", &url]).run().code(0);
    run.shows("in a clone of the repository");
    assert!(repo.task_branches().is_empty(), "nobody pushed anything");
    let clone = env.path("clone");
    repo.git(["clone", "-q", &url, clone.to_str().unwrap()]);
    other.write("of-its-own.txt", "x\n");
    other.git(["commit", "-q", "--amend", "-m", "Another start"]);
    env.cadence(["tasks", "apply", "last"]).cwd(other.path()).run().code(2).complains("git fetch");
    env.cadence(["tasks", "apply", "last"]).cwd(&clone).run().code(0).shows("merged");
    assert_eq!(std::fs::read_to_string(clone.join("hello.txt")).unwrap().trim_end(), "hello world");
    env.cadence(["tasks", "apply", "last", "--repo", clone.to_str().unwrap()]).run().code(0).shows("already");
}
