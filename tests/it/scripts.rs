//! For scripts and CI: JSON, plain output, exit codes.

use serde_json::json;

use crate::support::{Cmd, TestEnv, assert_whole, redacted, snapshots};

#[test]
fn without_a_terminal_there_is_no_colour() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run =
        env.cadence(["run", "Say [[scenario:edit]]"]).env("TERM", "xterm-256color").cwd(repo.path()).run().code(0);
    assert!(!run.stdout.contains(['\u{1b}', '\r']) && !run.stderr.contains(['\u{1b}', '\r']), "{run:?}");
}

#[test]
fn in_a_terminal_there_is_colour() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let terminal = env.terminal(repo.path(), ["run", "Say [[scenario:edit]]"]);
    terminal.wait_for("cadence tasks apply");
    assert!(terminal.raw().contains("\u{1b}["), "no colour at all");
    assert_eq!(terminal.finish(), 0);
}

#[test]
fn a_detached_run_prints_the_task_and_the_log_its_events() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run =
        env.cadence(["run", "Write [[scenario:write-only]]", "--detach", "--json"]).cwd(repo.path()).run().code(0);
    let task = run.json();
    assert_eq!((&task["taskDescription"], &task["agent"]), (&json!("Write [[scenario:write-only]]"), &json!("claude")));
    assert_eq!((&task["source"], &task["repoName"]), (&json!("CLI"), &json!("demo")));
    let id = task["id"].as_str().unwrap();
    let waited = env.cadence(["tasks", "wait", id, "--json"]).run().code(0).json_lines();
    assert!(waited.iter().any(|document| document.to_string().contains(id)), "{waited:?}");
    let log = env.cadence(["tasks", "logs", id, "--json"]).run().code(0).json_lines();
    assert_whole(&log, 1);
    assert_eq!(env.cadence(["tasks", "logs", "-f", id, "--json"]).run().code(0).json_lines(), log);
    let followed = env.cadence(["tasks", "logs", "-f", id]).run().code(0).stdout;
    assert_eq!(followed.to_lowercase().matches("✓ done").count(), 1, "one closing line: {followed}");
    let shown = env.cadence(["tasks", "show", &id[..8], "--json"]).run().code(0).json();
    assert_eq!(shown["id"], id);
    let list = env.cadence(["tasks", "ls", "--json"]).run().code(0).json();
    assert_eq!(list["tasks"][0]["id"], id);
    env.cadence(["tasks", "ls"]).run().code(0).says(&id[..8]).says("completed");
}

#[test]
fn an_id_that_is_not_there_or_not_one_is_refused() {
    let env = TestEnv::new();
    for words in [["tasks", "show"], ["tasks", "logs"], ["tasks", "pause"], ["tasks", "diff"], ["tasks", "wait"]] {
        let [first, second] = words;
        env.cadence([first, second, "ffffffff"]).run().code(2).complains("ffffffff");
        env.cadence([first, second, "../../etc/passwd"]).run().code(2);
    }
    env.cadence(["approvals", "allow", "nonesuch"]).run().code(2).complains("nonesuch");
}

#[test]
fn bad_options_are_two() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    for option in [
        "--budget=-1",
        "--budget=NaN",
        "--budget=much",
        "--max-turns=0",
        "--timeout=never",
        "--permission=root",
        "--agent=nonesuch",
        "--nonsense",
        "--branch=-x",
        "--branch=nonesuch",
        "--model=",
    ] {
        let run = env.cadence(["run", "Write", option]).cwd(repo.path()).run();
        assert_eq!(run.code, Some(2), "{option}: {run:?}");
        assert!(!run.stderr.is_empty(), "{option}");
    }
}

#[test]
fn archived_tasks_leave_the_list() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, "Write [[scenario:write-only]]", []);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    env.cadence(["tasks", "archive", &id]).run().code(0);
    let list = env.cadence(["tasks", "ls", "--json"]).run().code(0).json();
    assert_eq!(list["tasks"], json!([]));
}

#[test]
fn the_doctor_sees_what_is_there() {
    let env = TestEnv::new();
    let report = env.cadence(["doctor", "--json"]).run().code(0).json().to_string();
    for word in ["git", "claude", "2.1."] {
        assert!(report.contains(word), "{word}: {report}");
    }
    assert!(!report.contains("sk-test-key"));
    env.without_claude();
    env.cadence(["doctor"]).run().shows("npm install -g @anthropic-ai/claude-code");
}

#[test]
fn settings_are_read_and_written() {
    let env = TestEnv::new();
    let path = env.cadence(["config", "path"]).run().code(0).stdout;
    assert!(path.trim().ends_with("config.toml"), "{path}");
    env.cadence(["config", "set", "model", "opus"]).run().code(0);
    env.cadence(["config", "get", "model"]).run().code(0).says("opus");
    env.cadence(["config", "set", "no.such.key", "1"]).run().code(2);
    std::fs::write(path.trim(), "this is = = not toml").unwrap();
    env.cadence(["tasks", "ls"]).run().code(2).complains("config.toml");
}

#[test]
fn the_help_is_as_it_was() {
    let env = TestEnv::new();
    snapshots(|| {
        for words in
            [&["--help"][..], &["run", "--help"], &["tasks", "--help"], &["approvals", "--help"], &["serve", "--help"]]
        {
            let help = env.cadence([]).args(words).env("COLUMNS", "100").run().code(0);
            let name = ["help"].iter().chain(&words[..words.len() - 1]).copied().collect::<Vec<_>>().join("-");
            insta::assert_snapshot!(name, help.stdout);
        }
    });
}

#[test]
fn the_closing_words_of_a_run_are_as_they_were() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "Say hello [[scenario:edit]]", "--model", "sonnet"]).cwd(repo.path()).run().code(0);
    redacted(&env, || insta::assert_snapshot!("run-edit", run.stdout));
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let id = env.detach(&repo, "Say hello [[scenario:edit]]", []);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    let script = "{ \"$0\" tasks logs -f last --json; echo $? > code; } | head -n 1";
    let shell = Cmd::new("/bin/sh", env.home()).env("HOME", env.home()).env("XDG_RUNTIME_DIR", env.runtime_dir());
    shell.env("PATH", "/usr/bin:/bin").args(["-c", script, env!("CARGO_BIN_EXE_cadence")]).run().code(0);
    assert_eq!(std::fs::read_to_string(env.home().join("code")).unwrap(), "0\n");
}
