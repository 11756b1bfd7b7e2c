//! What a machine does while nothing breaks.

use serde_json::json;

use super::World;
use crate::support::{Machine, TOKEN, assert_whole, of_type, until, until_some};

#[test]
fn a_task_runs_on_the_machine_from_the_first_command_to_the_diff() {
    let world = World::new();
    let url = world.git.url(&world.repo);
    let run = world.env.cadence(["run", "--executor", "daemon", "--agent", "demo", "--repo", &url, "add a greeting"]);
    let run = run.env("CADENCE_SERVER", world.server.url()).env("CADENCE_TOKEN", TOKEN).run().code(0);
    let run = run.says("I noted the task in cadence-demo.md").says("✓ Done");
    assert!(run.stdout.contains("1 file +1 −0"), "{run:?}");
    let list = world.server.of(world.env.cadence(["tasks", "ls", "--json"])).run().code(0).json();
    let task = &list["tasks"][0];
    assert_eq!(task["executor"], "daemon");
    assert_eq!(task["machineId"], world.machine.seen_by(&world.server.http())["id"]);
    world.server.of(world.env.cadence(["tasks", "show", "last"])).run().code(0).says("machine     box");
    let diff = world.server.of(world.env.cadence(["tasks", "diff", "last"])).run().code(0);
    diff.says("+- A demo agent was asked: add a greeting");
    // Nothing of it is on the server's own disk.
    assert!(!world.env.path("serve/mirrors").join("app.git").exists());
    assert!(!world.env.path("serve/workspaces").join(task["id"].as_str().unwrap()).exists());
}

#[test]
fn as_many_run_at_once_as_the_machine_has_room_for() {
    let world = World::with(["--capacity", "2"]);
    let tasks: Vec<_> = (0..3).map(|n| world.task(&format!("[[ask]] number {n}"))).collect();
    // Those that wait for an answer make room for the third.
    for task in &tasks {
        task.wait_status(&["waiting"]);
    }
    let waiting = world.server.http().get("/api/approvals").status(200).json();
    for approval in waiting["approvals"].as_array().unwrap() {
        let path = format!(
            "/api/tasks/{}/approvals/{}",
            approval["taskId"].as_str().unwrap(),
            approval["id"].as_str().unwrap()
        );
        world.server.http().post(&path, &json!({"decision": "allow"})).status(200);
    }
    for task in &tasks {
        task.wait_status(&["completed"]);
        assert_whole(&task.events(), 1);
    }
}

#[test]
fn what_nobody_can_run_waits_and_says_why_until_somebody_can() {
    let mut world = World::new();
    let task = world.task_with("add a greeting", &json!({ "labels": ["gpu"] }));
    let shown = until_some("a reason", || Some(task.show()).filter(|task| task["pendingReason"].is_string()));
    assert_eq!(shown["pendingReason"], "no machine that is connected has the label `gpu`");
    let list = world.server.of(world.env.cadence(["tasks", "show", &task.id])).run().code(0);
    list.says("no machine that is connected has the label `gpu`");
    let gpu = Machine::start(&world.env, "with-gpu", world.server.url(), ["--label", "gpu"]);
    let done = task.wait_status(&["completed"]);
    assert_eq!(done["machineId"], gpu.seen_by(&world.server.http())["id"]);
    assert!(done.get("pendingReason").is_none(), "{done:#}");
    drop(gpu);
    // A follow-up goes where the work is, whatever labels there are now, and says that it is away.
    task.act("messages", &json!({ "text": "and another" }));
    let shown = until_some("a reason", || Some(task.show()).filter(|task| task["pendingReason"].is_string()));
    assert!(
        shown["pendingReason"].as_str().unwrap().starts_with("the machine that has its workspace is not connected")
    );
    world.machine.stop();
    let _again = Machine::start(&world.env, "with-gpu", world.server.url(), []);
    until("the second end", || of_type(&task.events(), "task_completed").len() == 2);
    assert_whole(&task.events(), 2);
}

#[test]
fn a_draining_machine_ends_what_it_has_and_gets_nothing_new() {
    let world = World::new();
    let begun = world.task("[[ask]] begun");
    begun.wait_status(&["waiting"]);
    world.server.of(world.env.cadence(["machines", "drain", "box"])).run().code(0).says("1 still run on it");
    world.server.of(world.env.cadence(["machines", "ls"])).run().code(0).says("draining");
    let late = world.task("add a greeting");
    let shown = until_some("a reason", || Some(late.show()).filter(|task| task["pendingReason"].is_string()));
    assert_eq!(shown["pendingReason"], "every machine that could run it is draining");
    let path = format!("/api/tasks/{}/approvals", begun.id);
    let approval = world.server.http().get(&path).status(200).json()["approvals"][0]["id"].as_str().unwrap().to_owned();
    world.server.http().post(&format!("{path}/{approval}"), &json!({"decision": "deny"})).status(200);
    begun.wait_status(&["failed", "completed"]);
    let refused = world.server.of(world.env.cadence(["machines", "show", "nobody"])).run().code(2);
    refused.complains("there is no machine `nobody`");
    world.server.of(world.env.cadence(["machines", "drain", "box", "--undo"])).run().code(0).says("takes tasks again");
    late.wait_status(&["completed"]);
}

#[test]
fn a_token_for_daemons_lets_in_daemons_and_nobody_else() {
    let world = World::new();
    let created = world.server.of(world.env.cadence(["tokens", "create", "--daemon", "box-two"])).run().code(0);
    let token = created.stdout.trim().to_owned();
    assert!(token.starts_with("cad_"), "{created:?}");
    // It is in no file of the server but as a hash.
    let list = world.server.of(world.env.cadence(["tokens", "ls"])).run().code(0).says("box-two");
    assert!(!list.stdout.contains(&token));
    let tasks =
        world.env.cadence(["tasks", "ls"]).env("CADENCE_SERVER", world.server.url()).env("CADENCE_TOKEN", &token);
    tasks.run().code(4).complains("the token has no scope `tasks:read`");
    let file = world.env.path("token");
    std::fs::write(&file, &token).unwrap();
    let data = world.env.path("machines/two");
    let daemon = |server: &str| {
        world
            .env
            .cadence(["daemon", "--name", "two", "--server", server, "--data-dir", data.to_str().unwrap()])
            .args(["--token-file", file.to_str().unwrap()])
    };
    let mut two = daemon(world.server.url()).start();
    two.wait_for("connected to ");
    two.signal(nix::sys::signal::Signal::SIGTERM);
    two.finish().code(0);
    world.server.of(world.env.cadence(["tokens", "revoke", "box-two"])).run().code(0).says("box-two is revoked");
    daemon(world.server.url()).run().code(4).complains("the server does not let this token in");
}

#[test]
fn a_daemon_that_is_wrong_says_what_is_missing() {
    let world = World::new();
    let daemon = || world.env.cadence(["daemon"]);
    daemon().run().code(2).complains("which server to work for").complains("--server URL");
    let named = daemon().args(["--server", "http://127.0.0.1:9"]);
    named.run().code(2).complains("no token").complains("cadence tokens create --daemon");
    let data = world.machine.data().to_str().unwrap();
    let twice = daemon().args(["--server", world.server.url(), "--data-dir", data]).env("CADENCE_TOKEN", TOKEN);
    twice.run().code(1).complains("another cadence works on");
    let unit = daemon().args(["--print-unit", "systemd", "--server", "https://c.example"]).run().code(0);
    unit.says("Type=notify").says("WatchdogSec=").says("daemon --server https://c.example/ --token-file");
}

#[test]
fn what_is_not_pushed_goes_to_the_machine_and_what_it_made_comes_back() {
    let mut world = World::new();
    // Nobody can fetch this one, and its newest commit is nowhere else.
    let repo = world.env.repo("private");
    repo.write("only-here.txt", "mine\n");
    repo.commit("Only here");
    let run = world.env.cadence(["run", "--executor", "daemon", "--agent", "demo", "add a greeting"]);
    world.server.of(run).cwd(repo.path()).run().code(0).says("✓ Done");
    let branches = repo.task_branches();
    assert_eq!(branches.len(), 1, "{branches:?}");
    assert!(repo.show(&branches[0], "cadence-demo.md").contains("add a greeting"));
    assert_eq!(repo.show(&branches[0], "only-here.txt").trim(), "mine");
    // The machine is off, and what it made is there all the same.
    world.machine.stop();
    until("no machine", || world.machine.seen_by(&world.server.http())["connected"] == false);
    let diff = world.server.of(world.env.cadence(["tasks", "diff", "last"])).run().code(0);
    diff.says("+- A demo agent was asked: add a greeting");
    world.server.of(world.env.cadence(["tasks", "apply", "last"])).cwd(repo.path()).run().code(0);
    assert!(repo.read("cadence-demo.md").contains("add a greeting"));
}

#[test]
fn a_result_is_taken_from_the_machine_that_holds_the_attempt_alone() {
    let world = World::new();
    let task = world.task("[[ask]] wait");
    task.wait_status(&["waiting"]);
    let part = "--x\r\nContent-Disposition: form-data; name=\"diff\"\r\n\r\nnot mine\r\n--x--\r\n";
    let put = |query: &str| {
        let request =
            world.server.http().request(reqwest::Method::PUT, &format!("/api/tasks/{}/result?{query}", task.id));
        let request = request.header("Content-Type", "multipart/form-data; boundary=x").body(part);
        world.server.http().send(request)
    };
    let base = "0".repeat(40);
    put(&format!("attempt=1&epoch=7&base={base}")).status(409);
    put("attempt=1&epoch=1&base=--x").status(422);
    put("attempt=1").status(400);
    task.http.delete(&format!("/api/tasks/{}", task.id)).status(200);
    task.wait_status(&["cancelled"]);
    put(&format!("attempt=1&epoch=1&base={base}")).status(409);
}
