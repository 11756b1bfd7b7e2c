//! The embedded server, and the one started by hand.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use cadence_fakes::messages::Scenario;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{DEADLINE, TOKEN, TestEnv, assert_whole, of_type, until, until_some};

#[test]
fn it_starts_on_demand_once_for_two_clients_at_once() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let starts: Vec<_> = (0..4)
        .map(|n| {
            let task = format!("Task {n} [[scenario:write-only]]");
            env.cadence(["run", &task, "--json"]).cwd(repo.path()).start()
        })
        .collect();
    for run in starts {
        assert_whole(&run.finish().code(0).json_lines(), 1);
    }
    assert_eq!(repo.task_branches().len(), 4, "one server has all four tasks");
    let list = env.cadence(["tasks", "ls", "--json"]).run().code(0).json();
    assert_eq!(list["tasks"].as_array().unwrap().len(), 4);
}

#[test]
fn its_secrets_are_for_its_user_alone() {
    let env = TestEnv::new();
    env.cadence(["tasks", "ls"]).run().code(0);
    let directory = env.runtime_dir().join("cadence");
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(directory.join("token")), 0o600);
    assert_eq!(mode(directory), 0o700);
    assert_eq!(mode(env.data_dir()), 0o700);
    let state: Value =
        serde_json::from_str(&fs::read_to_string(env.runtime_dir().join("cadence/server.json")).unwrap()).unwrap();
    assert!(state["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{state}");
    let environment = fs::read(format!("/proc/{}/environ", state["pid"])).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("sk-test-key"), "a key is in the server's environment");
}

#[test]
fn status_stop_and_logs() {
    let env = TestEnv::new();
    env.cadence(["server", "status"]).run().code(3);
    env.cadence(["server", "stop"]).run().code(0);
    env.cadence(["tasks", "ls"]).run().code(0);
    let status = env.cadence(["server", "status", "--json"]).run().code(0).json();
    assert!(status["url"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{status}");
    env.cadence(["server", "logs"]).run().code(0);
    env.cadence(["server", "stop"]).run().code(0);
    env.cadence(["server", "status"]).run().code(3);
}

#[test]
fn an_ephemeral_one_ends_with_the_command() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "Write [[scenario:write-only]]", "--ephemeral"]).cwd(repo.path()).run().code(0);
    run.shows("git merge cadence/");
    assert!(!env.runtime_dir().join("cadence/server.json").exists());
    assert_eq!(repo.show(&repo.task_branches()[0], "hello.txt"), "hello world");
    assert_eq!(left_over(&env), Vec::<PathBuf>::new());
    let url = format!("file://{}", repo.arg());
    env.cadence(["run", "Write", "--ephemeral", "--repo", &url]).run().code(2).complains("--ephemeral");
}

/// Data of ephemeral servers that is still there.
fn left_over(env: &TestEnv) -> Vec<PathBuf> {
    let entries = fs::read_dir(env.path("tmp")).unwrap().flatten().map(|entry| entry.path());
    entries.filter(|path| path.join("cadence.db").exists()).collect()
}

#[test]
fn an_ephemeral_one_brings_home_what_was_done_when_its_command_is_killed() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.api.script("held", Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six"));
    let run = env.cadence(["run", "Work [[scenario:held]]", "--ephemeral"]).cwd(repo.path()).start();
    env.api.gate("here").wait_reached(DEADLINE);
    run.signal(Signal::SIGKILL);
    run.finish();
    until("the data is removed", || left_over(&env).is_empty());
    assert_eq!(repo.show(&repo.task_branches()[0], "a.txt"), "a");
    env.api.gate("here").open();
}

#[test]
fn an_ephemeral_one_that_is_terminated_brings_home_what_was_done() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.api.script("held", Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six"));
    let run = env.cadence(["run", "Work [[scenario:held]]", "--ephemeral"]).cwd(repo.path()).start();
    env.api.gate("here").wait_reached(DEADLINE);
    run.signal(Signal::SIGTERM);
    run.finish().code(130);
    assert_eq!(left_over(&env), Vec::<PathBuf>::new());
    assert_eq!(repo.show(&repo.task_branches()[0], "a.txt"), "a");
    env.api.gate("here").open();
}

#[test]
fn an_ephemeral_one_keeps_what_cannot_be_brought_home() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    env.api.script("held", Scenario::new().write("a.txt", "a\n").gate("here").text("Done."));
    let run = env.cadence(["run", "Work [[scenario:held]]", "--ephemeral"]).cwd(repo.path()).start();
    env.api.gate("here").wait_reached(DEADLINE);
    // No branch of this name can be made any more.
    repo.git(["branch", "cadence"]);
    env.api.gate("here").open();
    let ended = run.finish().code(1);
    let kept = left_over(&env);
    assert_eq!(kept.len(), 1, "{kept:?}");
    ended.complains(kept[0].to_str().unwrap());
}

#[test]
fn what_a_dead_server_left_behind_leads_nowhere() {
    let env = TestEnv::new();
    env.cadence(["tasks", "ls"]).run().code(0);
    let path = env.runtime_dir().join("cadence/server.json");
    let mut state: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    env.cadence(["server", "stop"]).run().code(0);
    // By now another process has its number, and another one its port.
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    stranger.set_nonblocking(true).unwrap();
    let mut other = Command::new("sleep").arg("600").spawn().unwrap();
    state["pid"] = json!(other.id());
    state["url"] = json!(format!("http://{}", stranger.local_addr().unwrap()));
    fs::write(&path, state.to_string()).unwrap();
    env.cadence(["server", "status"]).run().code(3);
    env.cadence(["server", "stop"]).run().code(0).complains("not running");
    assert!(stranger.accept().is_err(), "a stranger was asked");
    assert!(other.try_wait().unwrap().is_none(), "a stranger was ended");
    env.cadence(["tasks", "ls"]).run().code(0);
    assert!(stranger.accept().is_err(), "a stranger was asked");
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn started_by_hand_it_says_where_it_listens_and_ends_cleanly() {
    let env = TestEnv::new();
    let server = env.server();
    let health = server.http_without_token().get("/api/health").status(200).json();
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    server.of(env.cadence(["tasks", "ls"])).run().code(0);
    server.stop();
}

#[test]
fn started_by_hand_it_works_and_ends_although_nobody_reads_its_log_any_more() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let data = env.path("serve");
    let serve = env.cadence(["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
    let (mut server, url) = serve.env("CADENCE_TOKEN", TOKEN).start_unread_after_line();
    let url = url.trim().strip_prefix("listening on ").unwrap();
    let run = env.cadence(["run", "Note it", "--agent", "demo", "--server", url]).env("CADENCE_TOKEN", TOKEN);
    run.env("CADENCE_DEMO_SECONDS", "0").cwd(repo.path()).run().code(0);
    kill(Pid::from_raw(i32::try_from(server.id()).unwrap()), Signal::SIGTERM).unwrap();
    let ended = until_some("its end", || server.try_wait().unwrap());
    assert!(ended.success(), "{ended}");
}

#[test]
fn a_task_runs_on_a_server_started_by_hand() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = env.server();
    let run = env.cadence(["run", "Write [[scenario:write-only]]"]).cwd(repo.path());
    server.of(run).run().code(0);
    assert_eq!(repo.show(&repo.task_branches()[0], "hello.txt"), "hello world");
    assert!(!env.runtime_dir().join("cadence/server.json").exists(), "no embedded server was started");
}

#[test]
fn it_is_not_open_to_others() {
    let env = TestEnv::new();
    let data = env.path("serve");
    let data = data.to_str().unwrap();
    let open =
        env.cadence(["serve", "--listen", "0.0.0.0:0", "--data-dir", data]).timeout(Duration::from_secs(20)).run();
    open.code(2).complains("loopback");
    let server = env.server();
    for path in ["/api/tasks", "/api/approvals", "/api/tasks/00000000-0000-4000-8000-000000000000"] {
        let answer = server.http_without_token().get(path).status(401).json();
        assert_eq!(answer["code"], "unauthorized", "{answer}");
    }
    server.of(env.cadence(["tasks", "ls"])).env("CADENCE_TOKEN", "wrong").run().code(4);
    let file = env.path("token");
    fs::write(&file, TOKEN).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let with_file = env.cadence(["tasks", "ls", "--token-file", file.to_str().unwrap()]);
    with_file.env("CADENCE_SERVER", server.url()).run().code(0);
}

#[test]
fn a_server_that_is_not_there_is_three() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let nowhere = "http://127.0.0.1:9";
    env.cadence(["tasks", "ls", "--server", nowhere]).run().code(3).complains("127.0.0.1:9");
    env.cadence(["run", "Write", "--server", nowhere]).cwd(repo.path()).run().code(3);
    env.cadence(["tasks", "ls", "--server", "not a url"]).run().code(2);
}

#[test]
fn two_servers_do_not_share_their_data() {
    let env = TestEnv::new();
    let _first = env.server();
    let data = env.path("serve");
    let second = env.cadence(["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()]);
    second.timeout(Duration::from_secs(30)).run().code(1).complains("another");
}

#[test]
fn a_server_that_was_killed_leaves_nothing_running_and_the_next_goes_on() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let script = Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six");
    env.api.script("held", script.write("b.txt", "b\n").text("End."));
    let id = env.detach(&repo, "Work [[scenario:held]]", []);
    env.api.gate("here").wait_reached(DEADLINE);
    let state = fs::read_to_string(env.runtime_dir().join("cadence/server.json")).unwrap();
    let pid = serde_json::from_str::<Value>(&state).unwrap()["pid"].as_i64().unwrap();
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    env.api.gate("here").open();
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let events = env.events(&id);
    assert_whole(&events, 1);
    assert_eq!(env.task(&id)["status"], json!("completed"));
    assert_eq!(repo.show(&repo.task_branches()[0], "a.txt"), "a");
}

#[test]
fn a_server_that_is_stopped_lets_the_next_go_on() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let script = Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six");
    env.api.script("held", script);
    let id = env.detach(&repo, "Work [[scenario:held]]", []);
    env.api.gate("here").wait_reached(DEADLINE);
    env.cadence(["server", "stop"]).run().code(0);
    env.api.gate("here").open();
    env.cadence(["tasks", "wait", &id]).run().code(0);
    assert_whole(&env.events(&id), 1);
}

#[test]
fn a_run_goes_on_over_the_stop_of_its_server() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let script = Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six");
    env.api.script("held", script.write("b.txt", "b\n").text("End."));
    let run = env.cadence(["run", "Work [[scenario:held]]", "--json"]).cwd(repo.path()).start();
    env.api.gate("here").wait_reached(DEADLINE);
    env.cadence(["server", "stop"]).run().code(0);
    env.api.gate("here").open();
    let events = run.finish().code(0).json_lines();
    let numbers: Vec<u64> = events.iter().filter_map(|event| event["seq"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert_eq!(of_type(&events, "task_completed").len(), 1);
}

#[test]
fn what_was_stored_is_there_after_a_power_cut() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let server = env.server();
    let body = json!({"taskDescription": "Wait [[scenario:hang]]", "repoPath": repo.arg(), "environment": env.model()});
    let task = server.http().post("/api/tasks", &body).status(201).json();
    let id = task["id"].as_str().unwrap();
    let path = format!("/api/tasks/{id}/events");
    server.http().sse_until(&path, "task_started");
    let before = server.http().get(&path).status(200).json();
    server.kill();
    let next = env.server();
    let after = next.http().get(&path).status(200).json();
    let stored = before["events"].as_array().unwrap();
    assert_eq!(after["events"].as_array().unwrap()[..stored.len()], stored[..]);
    next.http().delete(&format!("/api/tasks/{id}")).status(200);
    next.http().sse_until(&path, "task_completed");
}

#[test]
fn a_database_that_it_cannot_use_is_refused_and_not_passed_over() {
    let env = TestEnv::new();
    for (name, url) in [("DATABASE_URL", "postgres://me:secret@db/cadence"), ("REDIS_URL", "redis://cache")] {
        let serve = env.cadence(["serve", "--listen", "127.0.0.1:0"]).env(name, url);
        let refused = serve.timeout(Duration::from_secs(20)).run().code(2).complains(name).complains("env -u");
        assert!(!refused.stderr.contains("secret"), "the address may hold a password");
        // Of the program that is worked on, and no concern of a server that starts on demand.
        env.cadence(["tasks", "ls"]).env(name, url).run().code(0);
    }
}
