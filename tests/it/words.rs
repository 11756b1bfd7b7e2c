//! What people say in their own words: read, asked for, done.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Repo, Server, TestEnv, assert_whole, until_some};

/// A repository, and live tasks of demo agents.
struct Story {
    env: TestEnv,
    repo: Repo,
}

impl Story {
    fn new() -> Self {
        let env = TestEnv::new();
        let repo = env.repo("shop");
        env.cadence(["config", "set", "agent", "demo"]).run().code(0);
        Self { env, repo }
    }

    /// Starts a task that is at work until something is said to it.
    fn live(&self, title: &str) -> String {
        let task = format!("{title}\n[[sleep 600]]");
        let id = self.env.detach(&self.repo, &task, []);
        self.env.wait_status(&id, &["running"]);
        id
    }

    fn parse(&self, text: &str) -> Value {
        self.env.cadence(["parse", "--json", text]).cwd(self.repo.path()).run().code(0).json()
    }

    fn does(&self, text: &str) -> Value {
        self.env.cadence(["do", "--json", text]).cwd(self.repo.path()).run().code(0).json()
    }

    fn tasks(&self) -> usize {
        let list = self.env.cadence(["tasks", "ls", "--json"]).run().code(0).json_lines();
        list.iter().map(|line| line["tasks"].as_array().map_or(1, Vec::len)).sum()
    }
}

#[test]
fn a_sentence_becomes_a_task_that_is_done() {
    let story = Story::new();
    let run =
        story.env.cadence(["do", "--follow", "um, could you please fix the login page"]).cwd(story.repo.path()).run();
    run.code(0);
    let branch = &story.repo.task_branches()[0];
    assert_eq!(story.repo.show(branch, "cadence-demo.md"), "- A demo agent was asked: fix the login page");
}

#[test]
fn tasks_are_steered_by_what_they_are_about() {
    let story = Story::new();
    let auth = story.live("Fix the auth middleware");
    let billing = story.live("Move billing to the new API");
    // By text, and by sound.
    let answer = story.does("pause the auth one");
    assert_eq!(answer["result"]["tasks"][0]["id"], auth, "{answer:#}");
    story.env.wait_status(&auth, &["paused"]);
    let answer = story.does("resume the off one");
    assert_eq!(answer["result"]["tasks"][0]["id"], auth, "{answer:#}");
    let told = story.does("tell billing to add tests");
    assert_eq!(told["result"]["tasks"][0]["id"], billing, "{told:#}");
    story.env.wait_event(&billing, "message", "add tests");
    let status = story.does("how is it going?");
    assert_eq!(status["result"]["tasks"].as_array().unwrap().len(), 2, "{status:#}");
    assert!(status["result"]["message"].as_str().unwrap().starts_with("2 tasks"), "{status:#}");
}

#[test]
fn what_would_destroy_work_is_not_done_unasked() {
    let story = Story::new();
    let auth = story.live("Fix the auth middleware");
    let asked = story.env.cadence(["do", "stop it"]).cwd(story.repo.path()).run();
    asked.code(6).complains("Nothing was done").complains("Fix the auth middleware");
    assert_eq!(story.env.task(&auth)["status"], "running");
    let json =
        story.env.cadence(["do", "--json", "kill the middleware thing"]).cwd(story.repo.path()).run().code(6).json();
    assert_eq!(json["needsConfirmation"], true);
    story.env.cadence(["do", "--yes", "stop it"]).cwd(story.repo.path()).run().code(0);
    story.env.wait_status(&auth, &["cancelled"]);
}

#[test]
fn somebody_at_a_terminal_is_asked_which_one_is_meant() {
    let story = Story::new();
    let first = story.live("Fix the parser of dates");
    let second = story.live("Fix the parser of numbers");
    let mut terminal = story.env.terminal(story.repo.path(), ["do", "pause", "the", "parser", "one"]);
    let screen = terminal.wait_for("Which one?");
    let number = screen.lines().find(|line| line.contains("of dates")).unwrap().trim().chars().next().unwrap();
    terminal.send(&format!("{number}\r"));
    assert_eq!(terminal.finish(), 0);
    story.env.wait_status(&first, &["paused"]);
    assert_eq!(story.env.task(&second)["status"], "running");
}

#[test]
fn all_of_them_are_asked_for_and_then_paused() {
    let story = Story::new();
    let ids = [story.live("Fix the parser"), story.live("Write the docs")];
    story.env.cadence(["do", "pause everything"]).cwd(story.repo.path()).run().code(6);
    story.env.cadence(["do", "--yes", "pause everything"]).cwd(story.repo.path()).run().code(0);
    for id in &ids {
        story.env.wait_status(id, &["paused"]);
    }
}

#[test]
fn an_approval_is_given_in_words() {
    let story = Story::new();
    let id = story.env.detach(&story.repo, "Fix the login\n[[ask echo allowed]]", []);
    story.env.wait_approval(&id);
    let answer = story.does("approve it");
    assert_eq!(answer["command"]["intent"], "approve", "{answer:#}");
    story.env.cadence(["tasks", "wait", &id]).run().code(0);
    assert_whole(&story.env.events(&id), 1);
}

#[test]
fn what_makes_no_sense_does_nothing_and_says_so() {
    let story = Story::new();
    for text in ["hmm", "thank you", "the"] {
        let refused = story.env.cadence(["do", text]).cwd(story.repo.path()).run();
        refused.code(2).complains("not understood");
    }
    assert_eq!(story.tasks(), 0);
    let outside = story.env.cadence(["do", "fix the failing test"]).cwd(story.env.home()).run();
    outside.code(2).complains("in none").complains("--repo");
    story.env.cadence(["do", "pause the auth one"]).cwd(story.repo.path()).run().code(6);
}

#[test]
fn the_repositorys_identifiers_are_written_as_it_writes_them() {
    let story = Story::new();
    story.repo.write("src/upload.go", "package main\n\nfunc SaveUploadedFile(name string) error { return nil }\n");
    story.repo.write("src/app.ts", "export function useEffect() {}\nexport const streamWithContext = 1;\n");
    story.repo.commit("Add code");
    let parsed = story.parse("make save uploaded file return early and document use effect");
    assert_eq!(parsed["transcript"], "make SaveUploadedFile return early and document useEffect");
    assert_eq!(parsed["rawTranscript"], "make save uploaded file return early and document use effect");
    assert_eq!(parsed["intent"], "create_agent");
    assert_eq!(parsed["entities"]["taskDescription"], "make SaveUploadedFile return early and document useEffect");
    // An edit is known at once to whoever starts anew, and soon to a server that has looked.
    story.repo.write("src/app.ts", "export function renderSidebarPanel() {}\n");
    until_some("the edit", || {
        let parsed = story.parse("fix render sidebar panel");
        (parsed["transcript"] == "fix renderSidebarPanel").then_some(())
    });
    let vocabulary = story.env.cadence(["vocab", "--json"]).cwd(story.repo.path()).run().code(0).json();
    let names: Vec<_> =
        vocabulary["terms"].as_array().unwrap().iter().map(|term| term["text"].as_str().unwrap()).collect();
    assert!(names.contains(&"renderSidebarPanel") && names.contains(&"SaveUploadedFile"), "{names:?}");
    let prompt = story.env.cadence(["vocab", "--prompt"]).cwd(story.repo.path()).run().code(0);
    prompt.says("renderSidebarPanel");
}

#[test]
fn many_lines_are_read_in_their_order() {
    let story = Story::new();
    story.live("Fix the auth middleware");
    let phrases = ["pause the auth one", "", "what's running", "add 3 tests for \"GET /users\"", "thanks a lot"];
    let lines: String = (0..40).map(|n| format!("{}\n", phrases[n % phrases.len()])).collect();
    let parsed = story.env.cadence(["parse", "--stdin"]).cwd(story.repo.path()).stdin(lines).run().code(0).json_lines();
    assert_eq!(parsed.len(), 40);
    let intents = ["pause_agent", "unknown", "list_agents", "create_agent", "unknown"];
    for (n, line) in parsed.iter().enumerate() {
        assert_eq!(line["intent"], intents[n % intents.len()], "{n}: {line:#}");
        assert_eq!(line["rawTranscript"].as_str().unwrap().trim(), phrases[n % phrases.len()]);
    }
    assert_eq!(parsed[3]["entities"]["taskDescription"], "add 3 tests for \"GET /users\"");
}

#[test]
fn the_api_does_what_is_confirmed_and_nothing_else() {
    let env = TestEnv::new();
    let repo = env.repo("shop");
    let server = Server::start_with(Server::command(&env));
    let http = server.http();
    let body = json!({"text": "fix the login page", "repoPath": repo.arg(), "task": {"agent": "demo"}});
    let made = http.post("/api/input/text", &body).status(201).json();
    assert_eq!((&made["source"], &made["task"]["agent"]), (&json!("text"), &json!("demo")));
    let id = made["task"]["id"].as_str().unwrap();
    server.of(env.cadence(["tasks", "wait", id])).run().code(0);

    // A task that is asked for, and then for sure.
    let busy = json!({"taskDescription": "Fix it [[sleep 600]]", "agent": "demo", "repoPath": repo.arg()});
    let busy = http.post("/api/tasks", &busy).status(201).json()["id"].clone();
    let asked = http.post("/api/input/text", &json!({"text": "cancel it"})).status(200).json();
    assert_eq!((&asked["needsConfirmation"], &asked["result"]), (&json!(true), &Value::Null));
    let sure = json!({"text": "cancel it", "confirmed": true, "command": asked["command"]});
    let done = http.post("/api/input/text", &sure).status(200).json();
    assert_eq!(done["result"]["tasks"][0]["id"], busy);

    let parsed = http.post("/api/voice/parse", &json!({"text": "fix use effect", "vocabulary": ["useEffect"]}));
    assert_eq!(parsed.status(200).json()["transcript"], "fix useEffect");
    for (body, path) in [
        (json!({"text": ""}), "text"),
        (json!({"text": "fix the flaky test", "repoPath": "/nonexistent"}), "repoPath"),
        (json!({"text": "fix the flaky test"}), "repoUrl"),
    ] {
        let refused = http.post("/api/input/text", &body).status(422).json();
        assert_eq!(refused["details"][0]["path"], path, "{refused:#}");
    }
}

/// Nothing of a repository is kept in a place that others could read, or within it.
#[test]
fn words_are_kept_beside_the_data_and_not_in_the_repository() {
    let story = Story::new();
    let before = story.repo.own_state();
    story.parse("fix the failing test");
    assert_eq!(story.repo.own_state(), before);
    assert!(fs::read_dir(story.env.data_dir().join("vocabularies")).is_ok());
}
