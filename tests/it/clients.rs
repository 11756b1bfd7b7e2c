//! Clients that die, sleep, hang or are slow, and servers that go away under them: every event once, whatever happens.

use std::io::Read;
use std::time::{Duration, Instant};

use cadence_fakes::messages::Scenario;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::{
    Cmd, DEADLINE, Http, Proxy, Repo, Running, Server, TOKEN, TestEnv, assert_whole, children, json_lines, numbers,
    peak_memory, until,
};

/// Starts a task of the demo agent, and gives its id.
fn demo(server: &Server, repo: &Repo, prompt: &str) -> String {
    let body = json!({
        "taskDescription": prompt, "agent": "demo", "repoPath": repo.arg(),
        "environment": {"CADENCE_DEMO_SECONDS": "0", "PATH": "/usr/bin:/bin"},
    });
    let task = server.http().post("/api/tasks", &body).status(201).json();
    task["id"].as_str().unwrap().to_owned()
}

fn follow(env: &TestEnv, url: &str, id: &str, after: u64) -> Cmd {
    let cmd = env.cadence(["tasks", "logs", "-f", id, "--json", "--after", &after.to_string()]);
    cmd.env("CADENCE_SERVER", url).env("CADENCE_TOKEN", TOKEN)
}

/// A file with the token of servers that are started by hand.
fn token_file(env: &TestEnv) -> String {
    let path = env.path("token");
    std::fs::write(&path, TOKEN).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path.display().to_string()
}

fn last_seq(http: &Http, id: &str) -> u64 {
    http.get(&format!("/api/tasks/{id}")).status(200).json()["lastSeq"].as_u64().unwrap()
}

fn until_seq(http: &Http, id: &str, seq: u64) {
    until(&format!("event {seq}"), || last_seq(http, id) >= seq);
}

fn send(http: &Http, id: &str, text: &str) {
    http.post(&format!("/api/tasks/{id}/messages"), &json!({ "text": text })).status(200);
}

/// Asserts that a follower has seen everything once and in order, from the event after `after` to the last.
#[track_caller]
fn assert_all(events: &[Value], after: u64, last: u64) {
    assert_eq!(numbers(events), (after + 1..=last).collect::<Vec<_>>());
}

#[test]
fn a_follower_that_is_killed_goes_on_where_it_was() {
    let env = TestEnv::new();
    let (server, repo) = (env.server(), env.repo("demo"));
    let id = demo(&server, &repo, "[[events 500]] [[sleep 0.5]] [[events 500]] [[sleep 0.5]] [[events 500]]");
    let mut seen: Vec<Value> = Vec::new();
    for round in 1..=3 {
        let mut follower = follow(&env, server.url(), &id, seen.len() as u64).start();
        follower.wait_for("\n");
        until_seq(&server.http(), &id, 400 * round);
        follower.signal(Signal::SIGKILL);
        let out = follower.finish().stdout;
        // The kill may have cut the last line.
        seen.extend(json_lines(&out[..out.rfind('\n').unwrap() + 1]));
        assert_all(&seen, 0, seen.len() as u64);
    }
    seen.extend(follow(&env, server.url(), &id, seen.len() as u64).run().code(0).json_lines());
    assert_all(&seen, 0, last_seq(&server.http(), &id));
    assert_whole(&seen, 1);
}

#[test]
fn a_follower_that_sleeps_while_its_server_is_killed_has_missed_nothing() {
    let env = TestEnv::new();
    let (server, repo) = (env.server(), env.repo("demo"));
    let id = demo(&server, &repo, "[[events 10]] [[sleep 600]]");
    let mut follower = follow(&env, server.url(), &id, 0).start();
    follower.wait_for("Event 10 of 10");
    follower.signal(Signal::SIGSTOP);
    send(&server.http(), &id, "[[events 5000]]");
    let server = server.kill_to_restart(&env)();
    let http = server.http();
    until("the end of the task", || http.get(&format!("/api/tasks/{id}")).status(200).json()["status"] == "completed");
    follower.signal(Signal::SIGCONT);
    let ended = follower.finish().code(0).complains("connection lost").complains("connected again");
    let events = ended.json_lines();
    assert_all(&events, 0, last_seq(&http, &id));
    assert!(events.len() > 5000, "{}", events.len());
    assert_whole(&events, 1);
}

/// The machine of the server is gone without a word, so nothing tells those who listen but the silence.
#[test]
fn a_server_whose_machine_vanishes_is_noticed_and_waited_for() {
    let env = TestEnv::new();
    let (server, repo) = (env.server(), env.repo("demo"));
    let proxy = Proxy::to(server.url());
    let work = "[[events 5]] [[sleep 3]] [[events 1000]]";
    let id = demo(&server, &repo, work);
    let far = |cmd: Cmd| cmd.env("CADENCE_SERVER", proxy.url()).env("CADENCE_TOKEN", TOKEN);
    let mut follower = follow(&env, &proxy.url(), &id, 0).start();
    let waiter = far(env.cadence(["tasks", "wait", &id, "--json"])).start();
    let run = env.cadence(["run", work, "--agent", "demo", "--json"]);
    let mut run = far(run).env("CADENCE_DEMO_SECONDS", "0").cwd(repo.path()).start();
    follower.wait_for("Event 5 of 5");
    let first = run.wait_for("Event 5 of 5");
    let own = json_lines(first.lines().next().unwrap())[0]["taskId"].as_str().unwrap().to_owned();
    let since = Instant::now();
    proxy.vanish();
    for running in [&follower, &waiter, &run] {
        until("the silence is noticed", || running.stderr.text().contains("connection lost"));
        assert!(running.stdout.text().lines().all(|line| line.starts_with('{')));
    }
    assert!(since.elapsed() < Duration::from_secs(45), "{:?}", since.elapsed());
    for id in [&id, &own] {
        // What happened meanwhile is seen afterwards.
        let ended = || server.http().get(&format!("/api/tasks/{id}")).status(200).json()["status"] == "completed";
        until("the end of the task", ended);
    }
    proxy.come_back(server.url());
    for (running, id) in [(follower, &id), (run, &own)] {
        let events = running.finish().code(0).complains("connected again").json_lines();
        assert_all(&events, 0, last_seq(&server.http(), id));
        assert!(events.len() > 1000);
    }
    assert_eq!(waiter.finish().code(0).complains("connected again").json()["exitCode"], 0);
}

#[test]
fn a_follower_that_reads_nothing_holds_nobody_up_and_misses_nothing() {
    let env = TestEnv::new();
    let (server, repo) = (env.server(), env.repo("demo"));
    let id = demo(&server, &repo, "[[events 20]] [[sleep 1]] [[events 20000]]");
    let mut slow = follow(&env, server.url(), &id, 0).start_unread();
    let pid = Pid::from_raw(i32::try_from(slow.id()).unwrap());
    let quick = follow(&env, server.url(), &id, 0).run().code(0).json_lines();
    assert_all(&quick, 0, last_seq(&server.http(), &id));
    assert!(quick.len() > 20_000);
    let peak = peak_memory(pid);
    assert!(peak < 96 << 20, "the one that is not read has grown to {peak} bytes");
    let mut out = String::new();
    slow.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert!(slow.wait().unwrap().success());
    assert_eq!(numbers(&json_lines(&out)), numbers(&quick));
}

#[test]
fn a_hundred_followers_see_every_event_once_over_two_kills_of_the_server() {
    let env = TestEnv::new();
    let (mut server, repo) = (env.server(), env.repo("demo"));
    let id = demo(&server, &repo, "[[events 300]] [[sleep 600]]");
    let followers: Vec<Running> =
        (0..100).map(|_| follow(&env, server.url(), &id, 0).timeout(Duration::from_secs(150)).start()).collect();
    for (round, next) in ["[[events 300]] [[sleep 600]]", "[[events 300]]"].into_iter().enumerate() {
        until_seq(&server.http(), &id, 300 * (round as u64 + 1));
        // Some have seen all of it by now, and some are in the middle.
        send(&server.http(), &id, next);
        server = server.kill_to_restart(&env)();
    }
    for follower in followers {
        let ended = follower.finish().code(0);
        let events = ended.json_lines();
        assert_all(&events, 0, last_seq(&server.http(), &id));
        assert!(events.len() > 900, "{}", events.len());
    }
}

#[test]
fn run_logs_and_wait_go_on_over_a_killed_server_that_starts_again_elsewhere() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let script = Scenario::new().write("a.txt", "a\n").gate("here").text("one two three four five six");
    env.api.script("held", script.write("b.txt", "b\n").text("End."));
    let run = env.cadence(["run", "Work [[scenario:held]]", "--json"]).cwd(repo.path()).start();
    env.api.gate("here").wait_reached(DEADLINE);
    let id = json_lines(run.stdout.text().lines().next().unwrap())[0]["taskId"].as_str().unwrap().to_owned();
    let mut logs = env.cadence(["tasks", "logs", "-f", &id, "--json"]).start();
    logs.wait_for("file_edit");
    let mut plain = env.cadence(["tasks", "logs", "-f", &id]).start();
    plain.wait_for("a.txt");
    let wait = env.cadence(["tasks", "wait", &id, "--json"]).start();
    let state = env.runtime_dir().join("cadence/server.json");
    let pid = || -> Pid {
        let state: Value = serde_json::from_str(&std::fs::read_to_string(&state).unwrap()).unwrap();
        Pid::from_raw(i32::try_from(state["pid"].as_i64().unwrap()).unwrap())
    };
    let before = pid();
    // It has to have begun to listen: nobody says so.
    until("all listen", || env.embedded().get("/api/ws/health").status(200).json()["connections"] == 4);
    kill(before, Signal::SIGKILL).unwrap();
    for running in [&run, &logs, &plain, &wait] {
        until("it is back", || running.stderr.text().contains("connected again"));
    }
    env.api.gate("here").open();
    let last = || last_seq(&env.embedded(), &id);
    for running in [run, logs] {
        let ended = running.finish().code(0);
        let notes: Vec<&str> = ended.stderr.lines().collect();
        assert!(notes.len() == 2 && notes[0].starts_with("! connection lost (") && notes[1] == "! connected again");
        assert_all(&ended.json_lines(), 0, last());
    }
    plain.finish().code(0).says("b.txt");
    assert_eq!(wait.finish().code(0).json()["exitCode"], 0);
    assert_ne!(pid(), before);
}

#[test]
fn a_terminal_shows_that_the_server_is_away() {
    let env = TestEnv::new();
    let (server, repo) = (env.server(), env.repo("demo"));
    let id = demo(&server, &repo, "[[events 5]] [[sleep 600]]");
    let token = token_file(&env);
    let proxy = Proxy::to(server.url());
    let url = proxy.url();
    let arguments = ["tasks", "logs", "-f", &id, "--server", &url, "--token-file", &token];
    let mut terminal = env.terminal(repo.path(), arguments);
    terminal.wait_for("Event 5 of 5");
    proxy.vanish();
    proxy.cut();
    terminal.wait_for("! connection lost (");
    // The status line says it, too, for as long as it is so.
    terminal.wait_for("s · connection lost (");
    proxy.come_back(server.url());
    let screen = terminal.wait_for("! connected again");
    assert!(!screen.contains("s · connection lost ("), "{screen}");
    terminal.send("\u{3}");
    assert_eq!(terminal.finish(), 130);
    server.http().delete(&format!("/api/tasks/{id}")).status(200);
    server.of(env.cadence(["tasks", "wait", &id])).run();
}

#[test]
fn the_time_of_wait_ends_it_although_the_server_is_gone() {
    let env = TestEnv::new();
    let (server, repo) = (env.server(), env.repo("demo"));
    let id = demo(&server, &repo, "[[sleep 600]]");
    let wait = server.of(env.cadence(["tasks", "wait", &id, "--timeout", "6s", "--json"])).start();
    until("it listens", || server.http().get("/api/ws/health").status(200).json()["connections"] == 1);
    let start = server.kill_to_restart(&env);
    let ended = wait.finish().code(9).complains("connection lost");
    assert_eq!(ended.json()["exitCode"], 9);
    let server = start();
    server.http().delete(&format!("/api/tasks/{id}")).status(200);
    server.of(env.cadence(["tasks", "wait", &id])).run().code(130);
}

#[test]
fn a_prompt_goes_with_its_server_and_is_asked_again() {
    let env = TestEnv::new();
    let (server, repo) = (env.server(), env.repo("demo"));
    let token = token_file(&env);
    // The agent that goes on after the break wants to run it again.
    env.api.script(
        "asks",
        Scenario::new().bash("sh -c 'echo hi > one.txt'").bash("sh -c 'echo hi > two.txt'").text("End."),
    );
    let arguments = ["run", "Make it [[scenario:asks]]", "--server", server.url(), "--token-file", &token];
    let mut terminal = env.terminal(repo.path(), arguments);
    terminal.wait_for("allow it?");
    let start = server.kill_to_restart(&env);
    terminal.wait_for("connection lost");
    // Nobody is there to take the answer.
    terminal.send("y");
    terminal.wait_for("asked again when it is back");
    let _server = start();
    terminal.wait_for("connected again");
    terminal.wait_for("two.txt");
    terminal.wait_for("allow it?");
    terminal.send("y");
    assert_eq!(terminal.finish(), 0);
    assert!(!repo.git_ok(["cat-file", "-e", &format!("{}:one.txt", repo.task_branches()[0])]));
    assert_eq!(repo.show(&repo.task_branches()[0], "two.txt"), "hi");
}

#[test]
fn ctrl_c_is_heard_while_the_server_is_away() {
    let env = TestEnv::new();
    let (server, repo) = (env.server(), env.repo("demo"));
    let proxy = Proxy::to(server.url());
    let run = env.cadence(["run", "[[events 5]] [[sleep 600]]", "--agent", "demo", "--json"]).cwd(repo.path());
    let run = run.env("CADENCE_SERVER", proxy.url()).env("CADENCE_TOKEN", TOKEN).env("CADENCE_DEMO_SECONDS", "0");
    let mut run = run.start();
    let out = run.wait_for("Event 5 of 5");
    let id = json_lines(out.lines().next().unwrap())[0]["taskId"].as_str().unwrap().to_owned();
    proxy.vanish();
    proxy.cut();
    until("it is noticed", || run.stderr.text().contains("connection lost"));
    run.signal(Signal::SIGINT);
    until("it is heard", || run.stderr.text().contains("cancelled when it is back"));
    proxy.come_back(server.url());
    let events = run.finish().code(130).json_lines();
    assert_all(&events, 0, last_seq(&server.http(), &id));
    assert_eq!(server.http().get(&format!("/api/tasks/{id}")).status(200).json()["status"], "cancelled");
}

#[test]
fn an_ephemeral_server_that_dies_is_not_waited_for() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "[[events 5]] [[sleep 600]]", "--agent", "demo", "--ephemeral", "--json"]);
    let mut run = run.env("CADENCE_DEMO_SECONDS", "0").cwd(repo.path()).timeout(Duration::from_secs(30)).start();
    run.wait_for("Event 5 of 5");
    let server = children(run.pid()).into_iter().find(|(_, line)| line.contains(" serve ")).unwrap().0;
    kill(server, Signal::SIGKILL).unwrap();
    let ended = run.finish().code(3).complains("the server of this command has ended");
    // What the agent did is not home.
    assert!(ended.stderr.contains(env.path("tmp").to_str().unwrap()), "{ended:?}");
}
