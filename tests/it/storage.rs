//! The database: locked, damaged, gone; copied and brought back; old things in it.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use cadence_fakes::messages::Scenario;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use serde_json::json;

use crate::support::{DEADLINE, TestEnv, until};

/// A lock as SQLite takes it, of another program than the server.
struct Locked(#[allow(dead_code, reason = "the lock is there as long as it is open")] File);

impl Locked {
    fn take(path: &Path, start: i64, length: i64) -> Self {
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let kind = i16::try_from(libc::F_WRLCK).unwrap();
        let lock = libc::flock { l_type: kind, l_whence: 0, l_start: start, l_len: length, l_pid: 0 };
        // A server looks for work every now and then, and has it meanwhile.
        until("a lock that nobody holds", || fcntl(&file, FcntlArg::F_SETLK(&lock)).is_ok());
        Self(file)
    }
}

/// Where SQLite's lock of those who write is, in the index of the write-ahead log.
const WRITE_LOCK: i64 = 120;
/// Where those who read mark a database, and how many places there are.
const SHARED: (i64, i64) = (0x4000_0002, 510);

#[test]
fn a_database_that_is_locked_while_a_server_works_is_said_and_waited_for() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = env.server();
    let body =
        json!({"taskDescription": "Write [[scenario:write-only]]", "repoPath": repo.arg(), "environment": env.model()});
    server.http_without_token().get("/readyz").status(200);
    let lock = Locked::take(&env.path("serve").join("cadence.db-shm"), WRITE_LOCK, 1);
    let refused = server.http().post("/api/tasks", &body).status(503).json();
    assert_eq!(refused["code"], "database_locked", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("lsof"), "{refused}");
    let ready = server.http_without_token().get("/readyz").status(503).json();
    assert_eq!(ready["code"], "database_locked", "{ready}");
    // What is there can be read meanwhile.
    server.http().get("/api/tasks").status(200);
    drop(lock);
    until("it works again", || server.http_without_token().get("/readyz").status == 200);
    let task = server.http().post("/api/tasks", &body).status(201).json();
    server.http().sse_until(&format!("/api/tasks/{}/events", task["id"].as_str().unwrap()), "task_completed");
}

#[test]
fn a_database_that_is_locked_at_the_start_is_said() {
    let env = TestEnv::new();
    env.cadence(["tasks", "ls"]).run().code(0);
    env.cadence(["server", "stop"]).run().code(0);
    let lock = Locked::take(&env.data_dir().join("cadence.db"), SHARED.0, SHARED.1);
    let refused = env.cadence(["tasks", "ls"]).run().code(3);
    refused.complains("locked by another program").complains("lsof");
    drop(lock);
    env.cadence(["tasks", "ls"]).run().code(0);
}

#[test]
fn a_damaged_database_is_kept_and_a_backup_brings_back() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let copy = env.path("copy.db");
    let copy = copy.to_str().unwrap();
    env.cadence(["run", "Write [[scenario:write-only]]"]).cwd(repo.path()).run().code(0);
    env.cadence(["server", "backup", copy]).run().code(0).says("1 task");
    assert_eq!(fs::metadata(copy).unwrap().permissions().mode() & 0o777, 0o600);
    env.cadence(["server", "backup", copy]).run().code(2).complains("--force");
    let again = env.cadence(["server", "backup", copy, "--force", "--json"]).run().code(0).json();
    assert_eq!(again["content"]["tasks"], 1, "{again}");
    env.cadence(["run", "And more [[scenario:write-only]]"]).cwd(repo.path()).run().code(0);
    env.cadence(["server", "restore", copy]).run().code(1).complains("cadence server stop");
    env.cadence(["server", "stop"]).run().code(0);

    let database = env.data_dir().join("cadence.db");
    OpenOptions::new().write(true).open(&database).unwrap().write_all_at(b"garbage all over", 0).unwrap();
    let damaged = fs::read(&database).unwrap();
    let refused = env.cadence(["tasks", "ls"]).run().code(3);
    refused.complains("damaged").complains("cadence server restore").complains("cadence.db");
    env.cadence(["doctor"]).run().code(1).says("cadence server restore");
    env.cadence(["doctor", "--verify"]).run().code(1).complains("damaged");
    env.cadence(["server", "backup", env.path("bad.db").to_str().unwrap()]).run().code(1).complains("damaged");
    assert!(!env.path("bad.db").exists());
    assert_eq!(fs::read(&database).unwrap(), damaged, "it is left as it is");

    let restored = env.cadence(["server", "restore", copy, "--json"]).run().code(0).json();
    let aside = Path::new(restored["aside"].as_str().unwrap());
    assert_eq!(fs::read(aside.join("cadence.db")).unwrap(), damaged);
    assert_eq!(restored["workspacesAside"], 1, "{restored}");
    let list = env.cadence(["tasks", "ls", "--json"]).run().code(0).json();
    assert_eq!(list["tasks"].as_array().unwrap().len(), 1, "{list}");
}

#[test]
fn a_database_that_is_gone_is_not_made_anew_beside_its_work() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let copy = env.path("copy.db");
    env.cadence(["run", "Write [[scenario:write-only]]"]).cwd(repo.path()).run().code(0);
    env.cadence(["server", "backup", copy.to_str().unwrap()]).run().code(0);
    env.cadence(["server", "stop"]).run().code(0);
    let database = env.data_dir().join("cadence.db");
    fs::remove_file(&database).unwrap();
    env.cadence(["tasks", "ls"]).run().code(3).complains("missing").complains("cadence server restore");
    assert!(!database.exists());
    env.cadence(["server", "restore", copy.to_str().unwrap()]).run().code(0);
    env.cadence(["tasks", "ls"]).run().code(0).says("Write");
}

#[test]
fn a_backup_of_what_is_under_way_begins_nothing_by_itself() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let script = Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six");
    env.api.script("held", script.text("End."));
    let id = env.detach(&repo, "Work [[scenario:held]]", []);
    env.api.gate("here").wait_reached(DEADLINE);
    let copy = env.path("copy.db");
    env.cadence(["server", "backup", copy.to_str().unwrap()]).run().code(0);
    env.cadence(["server", "stop"]).run().code(0);
    env.cadence(["server", "restore", copy.to_str().unwrap()]).run().code(0).says("1 task paused");
    env.api.gate("here").open();
    let list = env.cadence(["tasks", "ls", "--json"]).run().code(0).json();
    assert_eq!(list["tasks"][0]["status"], "paused", "{list}");
    env.cadence(["tasks", "resume", &id]).run();
    env.cadence(["tasks", "wait", &id]).run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "a.txt"), "a");
}

#[test]
fn what_is_old_and_taken_is_pruned_and_what_is_not_taken_is_kept() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.api.script("look", Scenario::new().text("There is nothing to do."));
    for task in ["Write [[scenario:write-only]]", "Look [[scenario:look]]"] {
        env.cadence(["run", task]).cwd(repo.path()).run().code(0);
    }
    let list = env.cadence(["tasks", "ls", "--json"]).run().code(0).json();
    let ids: Vec<_> = list["tasks"].as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap().to_owned()).collect();
    for id in &ids {
        env.cadence(["tasks", "archive", id]).run().code(0);
    }
    // Nobody has said that archived tasks are to go.
    let nothing = env.cadence(["server", "prune", "--json"]).run().code(0).json();
    assert_eq!(nothing["tasks"], json!([]), "{nothing}");
    let would = env.cadence(["server", "prune", "--archived", "0d", "--dry-run"]).run().code(0);
    would.says("would be removed").says("is kept");
    assert_eq!(env.workspaces().len(), 2);
    let done = env.cadence(["server", "prune", "--archived", "0d", "--json"]).run().code(0).json();
    let kept: Vec<_> = done["tasks"].as_array().unwrap().iter().filter(|t| t["kept"].is_string()).collect();
    assert_eq!(kept.len(), 1, "{done}");
    assert_eq!(env.workspaces().len(), 1, "{done}");
    let branches = repo.task_branches();
    repo.git(["merge", "-q", &branches[0]]);
    env.cadence(["server", "prune", "--archived", "0d"]).run().code(0).says("deleted: 1 task");
    assert!(env.workspaces().is_empty());
    env.cadence(["server", "prune", "--archived", "1h"]).run().code(2).complains("90d");
}
