//! Whatever stops a task leaves nothing of it running, and neither does its own end.

use std::fs;
use std::path::PathBuf;

use cadence_fakes::messages::Scenario;

use crate::support::{Repo, TestEnv, assert_whole, processes, until_some};

/// Leaves two processes behind that no group and no parent leads to: one in a session of its own, one that was forked twice,
/// leads its session no more and has nothing in its environment that tells where it came from. Ends once both run.
const LEAVE: &str = r#"setsid -f sh -c 'echo $$ >.git/session; exec sleep 600' </dev/null >/dev/null 2>&1; \
setsid -f env -i PATH="$PATH" sh -c 'sh -c "echo \$\$ >.git/forked; exec sleep 600" &' </dev/null >/dev/null 2>&1; \
until test -s .git/session && test -s .git/forked; do sleep 0.01; done"#;

/// A story in which something is left behind.
struct Story {
    env: TestEnv,
    repo: Repo,
}

impl Story {
    fn new() -> Self {
        let env = TestEnv::new();
        let repo = env.repo("demo");
        Self { env, repo }
    }

    /// Starts a demo agent that leaves these processes and then does this.
    fn begin<const N: usize>(&self, and: &str, options: [&str; N]) -> String {
        let prompt = format!("[[run {LEAVE}]] [[daemonize]] {and} Note this");
        let run = self.env.cadence(["run", &prompt, "--agent", "demo", "--detach", "--json"]);
        let run = run.args(options).cwd(self.repo.path()).run().code(0);
        run.json()["id"].as_str().unwrap().to_owned()
    }

    /// Waits until both run, and gives their ids.
    fn left(&self) -> Vec<i32> {
        let id = |name: &str| -> Option<i32> { self.aside(name)?.trim().parse().ok() };
        until_some("what is left behind", || Some(vec![id("session")?, id("forked")?]))
    }

    /// The content of a file in the workspace that is not of the work.
    fn aside(&self, name: &str) -> Option<String> {
        let workspaces = self.env.workspaces().into_iter();
        let mut files = workspaces.map(|workspace| workspace.join(".git").join(name)).filter(|file| file.exists());
        fs::read_to_string(files.next()?).ok()
    }

    /// As [`Self::left`], while the agent works.
    fn leaving(&self) -> Vec<i32> {
        let left = self.left();
        assert_eq!(alive(&left), left);
        left
    }

    /// The hosts of the server, and what is under them.
    fn hosts(&self) -> Vec<(i32, String)> {
        let directory: PathBuf = self.env.runtime_dir().join("cadence/server.json");
        let document: serde_json::Value = serde_json::from_slice(&fs::read(directory).unwrap()).unwrap();
        processes::below(i32::try_from(document["pid"].as_i64().unwrap()).unwrap())
    }

    /// Nothing of the agent runs, at this moment.
    #[track_caller]
    fn nothing_runs(&self, left: &[i32]) {
        assert_eq!(alive(left), [0; 0], "of the processes that were left behind");
        assert_eq!(self.hosts(), [], "under the server");
    }

    fn ends(&self, id: &str, code: i32, left: &[i32]) {
        self.env.cadence(["tasks", "wait", id]).run().code(code);
        self.nothing_runs(left);
        assert_whole(&self.env.events(id), 1);
    }
}

fn alive(pids: &[i32]) -> Vec<i32> {
    let lives = |pid: &&i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
    };
    pids.iter().filter(lives).copied().collect()
}

#[test]
fn a_pause_leaves_nothing_running_and_the_work_goes_on() {
    let story = Story::new();
    // Long the first time only.
    let id = story.begin("[[run test -e .git/begun || { touch .git/begun; sleep 600; }]]", []);
    let left = story.leaving();
    until_some("the long command", || story.aside("begun"));
    story.env.cadence(["tasks", "pause", &id]).run().code(0);
    story.env.wait_status(&id, &["paused"]);
    story.nothing_runs(&left);
    story.env.cadence(["tasks", "resume", &id]).run().code(0);
    story.ends(&id, 0, &left);
    let branch = &story.repo.task_branches()[0];
    assert_eq!(story.repo.show(branch, "cadence-demo.md"), "- A demo agent was asked: Note this");
}

#[test]
fn a_pause_leaves_nothing_of_claude_running_and_its_session_goes_on() {
    let story = Story::new();
    let env = &story.env;
    env.api.script("leave", Scenario::new().bash(LEAVE).gate("here").text("one two three four five six"));
    env.api.script("rest", Scenario::new().write("c.txt", "c\n").text("Went on."));
    let id = env.detach(&story.repo, "Work [[scenario:leave]]", ["--permission", "all"]);
    let left = story.leaving();
    env.api.gate("here").wait_reached(crate::support::DEADLINE);
    env.cadence(["tasks", "pause", &id]).run().code(0);
    env.wait_status(&id, &["paused"]);
    story.nothing_runs(&left);
    env.api.gate("here").open();
    env.cadence(["tasks", "resume", &id, "Now this [[scenario:rest]]"]).run().code(0);
    story.ends(&id, 0, &left);
    assert_eq!(story.repo.show(&story.repo.task_branches()[0], "c.txt"), "c");
    let last = env.api.requests().pop().unwrap();
    assert!(last.user_texts().iter().any(|t| t.contains("[[scenario:leave]]")), "the session was not resumed");
    // Told something else, it is not told to go on as well.
    let told = last.user_texts().into_iter().find(|text| text.contains("[[scenario:rest]]")).unwrap();
    assert!(told.contains("interrupted by a pause") && !told.contains("Go on"), "{told}");
}

#[test]
fn a_cancel_leaves_nothing_running() {
    let story = Story::new();
    let id = story.begin("[[sleep 600]]", []);
    let left = story.leaving();
    story.env.cadence(["tasks", "cancel", &id]).run().code(0);
    story.ends(&id, 130, &left);
}

#[test]
fn a_cancel_of_what_listens_to_nothing_leaves_nothing_running() {
    let story = Story::new();
    let id = story.begin("[[hang]]", []);
    let left = story.leaving();
    story.env.cadence(["tasks", "cancel", &id]).run().code(0);
    story.ends(&id, 130, &left);
}

#[test]
fn the_end_of_its_time_leaves_nothing_running() {
    let story = Story::new();
    let id = story.begin("[[sleep 600]]", ["--timeout", "5s"]);
    story.ends(&id, 9, &story.left());
}

#[test]
fn the_end_of_its_budget_leaves_nothing_running() {
    let story = Story::new();
    let id = story.begin("[[spend 5]]", ["--budget", "1"]);
    story.ends(&id, 7, &story.left());
}

#[test]
fn its_own_end_leaves_nothing_running() {
    let story = Story::new();
    let id = story.begin("", []);
    story.ends(&id, 0, &story.left());
}
