//! Agents that mean harm, and what they are kept to: files, ports, processes, memory, time.

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use cadence_fakes::messages::Scenario;
use serde_json::{Value, json};

use crate::support::{Repo, TestEnv, of_type};

/// What the commands of an agent wrote, by the commands.
struct Said(Vec<(String, String, i64)>);

impl Said {
    /// Runs the demo agent, which does these commands whatever they lead to.
    fn by<const N: usize>(env: &TestEnv, repo: &Repo, mode: &str, commands: [&str; N]) -> Self {
        let words: Vec<String> = commands.iter().map(|command| format!("[[run {command}]]")).collect();
        let sandbox = format!("--sandbox={mode}");
        let options = ["run", "--agent=demo", "--permission=all", "--json", &sandbox, &words.join(" ")];
        let run = env.cadence(options).cwd(repo.path()).run().code(0);
        let events = run.json_lines();
        let ran = of_type(&events, "command_run").into_iter().map(|event| {
            let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            (text("command"), text("output"), event["exitCode"].as_i64().unwrap())
        });
        Self(ran.collect())
    }

    /// Asserts that each was refused.
    #[track_caller]
    fn all_refused(&self) {
        for (command, output, code) in &self.0 {
            assert!(*code != 0, "`{command}` was not refused: {output}");
            let refused =
                ["ermission denied", "not permitted", "ross-device"].iter().any(|words| output.contains(words));
            assert!(refused, "`{command}` failed for another reason: {output}");
        }
    }
}

fn settings(env: &TestEnv, text: &str) {
    let file = env.home().join(".config/cadence/config.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, text).unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn an_agent_reads_no_secrets_and_writes_nothing_outside() {
    let env = TestEnv::new();
    let (repo, other) = (env.repo("demo"), env.repo("other"));
    let bashrc = env.home().join(".bashrc");
    fs::write(&bashrc, "# mine\n").unwrap();
    fs::create_dir(env.home().join(".config")).unwrap();
    let id = env.detach(&other, "[[run echo private > private.txt]]", ["--agent", "demo", "--permission", "all"]);
    env.wait_status(&id, &["completed"]);
    let private = env.wait_for_workspace_file("private.txt");
    let (before, private) = (repo.own_state(), private.display().to_string());
    let server = fs::read_to_string(env.runtime_dir().join("cadence/server.json")).unwrap();
    let server = &serde_json::from_str::<Value>(&server).unwrap()["pid"];
    let checkout = repo.path().display().to_string();
    let data = env.data_dir().display().to_string();
    for mode in ["workspace", "strict"] {
        let said = Said::by(
            &env,
            &repo,
            mode,
            [
                &format!("cat {data}/cadence.db"),
                &format!("cat {}/cadence/token", env.runtime_dir().display()),
                &format!("cat {private}"),
                &format!("cat /proc/{server}/environ"),
                &format!("cat /proc/{server}/root{private}"),
                &format!("kill -9 {server}"),
                "echo planted >> $HOME/.bashrc",
                "ln -s $HOME/.bashrc way && echo planted >> way",
                "ln $HOME/.bashrc hard && echo planted >> hard",
                "mv $HOME/.bashrc .",
                &format!("echo planted > {checkout}/README.md"),
                &format!("truncate -s 0 {checkout}/README.md"),
                &format!("touch {checkout}/.git/hooks/pre-commit"),
                &format!("rm -r {checkout}"),
                "echo 1 > /proc/sys/kernel/printk",
                "mkdir $HOME/.config/autostart",
                "mknod disk b 8 0",
                "unshare -m true",
            ],
        );
        assert_eq!(said.0.len(), 18, "{:?}", said.0);
        said.all_refused();
    }
    assert_eq!(fs::read_to_string(&bashrc).unwrap(), "# mine\n");
    assert_eq!(repo.own_state(), before);
    // The same where nobody is kept to anything: the commands above are no idle threats.
    let free = Said::by(&env, &repo, "off", [&format!("head -c 6 {data}/cadence.db"), &format!("cat {private}")]);
    assert_eq!(free.0.iter().map(|(_, output, _)| output.trim()).collect::<Vec<_>>(), ["SQLite", "private"]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_strict_agent_reads_only_what_it_works_with_and_calls_only_named_ports() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let (named, other) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let extra = env.path("extra");
    fs::create_dir(&extra).unwrap();
    fs::write(extra.join("note"), "given\n").unwrap();
    fs::write(env.home().join("diary"), "secret\n").unwrap();
    settings(&env, &format!("[sandbox]\nread = [{:?}]\nports = [{}]\n", extra.display().to_string(), port(&named)));
    let call = |listener: &TcpListener| format!("bash -c 'exec 3<>/dev/tcp/127.0.0.1/{}'", port(listener));
    let (diary, refused, allowed) = ("cat $HOME/diary".to_owned(), call(&other), call(&named));
    let listing = format!("ls {}", env.home().display());
    Said::by(&env, &repo, "strict", [&diary, &refused, &listing]).all_refused();
    let note = format!("cat {}", extra.join("note").display());
    let work = "git log --oneline && echo new > new.txt && git add new.txt && echo x > $TMPDIR/x && cat $TMPDIR/x";
    let done = Said::by(&env, &repo, "strict", [&allowed, &note, work]);
    assert!(done.0.iter().all(|(.., code)| *code == 0), "{:?}", done.0);
    // Reading is free in the other.
    let read = Said::by(&env, &repo, "workspace", [&diary, &refused, &listing]);
    assert!(read.0.iter().all(|(.., code)| *code == 0), "{:?}", read.0);
}

#[test]
#[cfg(target_os = "linux")]
fn claude_works_within_each_sandbox_and_cannot_change_its_settings() {
    for mode in ["workspace", "strict"] {
        let env = TestEnv::new();
        let repo = env.repo("demo");
        let own = env.home().join(".claude/settings.json");
        let before = fs::read_to_string(&own).unwrap();
        let plant = "echo '{\"hooks\":{}}' > $HOME/.claude/settings.json";
        let scenario =
            Scenario::new().write("hello.txt", "hello\n").bash("cat hello.txt; mktemp").bash(plant).text("Done.");
        env.api.script("tries", scenario);
        let line = ["run", "Work [[scenario:tries]]", "--json", "--permission=all", &format!("--sandbox={mode}")];
        let events = env.cadence(line).cwd(repo.path()).run().code(0).json_lines();
        let ran = of_type(&events, "command_run");
        let output = ran[0]["output"].as_str().unwrap();
        assert!(output.starts_with("hello\n") && output.contains("/tmp/cadence-"), "{output}");
        assert_ne!(ran[1]["exitCode"], 0, "{}", ran[1]);
        assert_eq!(fs::read_to_string(&own).unwrap(), before);
        assert_eq!(repo.show(&repo.task_branches()[0], "hello.txt"), "hello");
        let task = env.task(events[0]["taskId"].as_str().unwrap());
        assert_eq!((&task["sandbox"]["mode"], &task["sandbox"]["by"]), (&json!(mode), &json!("landlock")));
        assert_eq!(task["sandbox"]["limits"]["processes"], 4096);
        let shown = env.cadence(["tasks", "show", "last"]).run().code(0);
        shown.says(&format!("{mode} by Landlock"));
        // Nothing temporary is left.
        let left: Vec<_> = fs::read_dir(env.path("tmp")).unwrap().flatten().map(|entry| entry.file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("cadence-")), "{left:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_set_up_command_of_a_repository_is_kept_as_its_agent_is() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    repo.write(".cadence.toml", "[setup]\ncommand = \"echo ready > ready.txt; echo planted > $HOME/planted\"\n");
    repo.commit("Set up");
    let run = env.cadence(["run", "--agent=demo", "[[run true]]"]).cwd(repo.path()).run().code(1);
    run.shows("set-up command");
    assert!(!env.home().join("planted").exists());
    env.cadence(["run", "--agent=demo", "--sandbox=off", "[[run true]]"]).cwd(repo.path()).run().code(0);
    assert!(env.home().join("planted").exists());
}

/// Runs the demo agent under these settings, and gives its task.
fn limited(env: &TestEnv, limits: &str, task: &str, code: i32) -> Value {
    let repo = env.repo("demo");
    settings(env, &format!("[limits]\n{limits}\n"));
    let run =
        env.cadence(["run", "--agent=demo", "--permission=all", "--json", task]).cwd(repo.path()).run().code(code);
    env.task(run.json_lines()[0]["taskId"].as_str().unwrap())
}

#[test]
#[cfg(target_os = "linux")]
fn an_agent_that_starts_ever_more_processes_is_ended_and_says_why() {
    let env = TestEnv::new();
    let bomb = "[[run i=0; while [ $i -lt 400 ]; do sleep 300 & i=$((i+1)); done; wait]]";
    let task = limited(&env, "processes = 100", bomb, 1);
    let error = task["error"].as_str().unwrap();
    assert!(error.contains("processes and threads, more than the 100 that it may have"), "{task}");
    assert_eq!((&task["endReason"], &task["attempt"]), (&json!("failed"), &json!(1)));
    assert_eq!(task["sandbox"]["limits"]["processes"], 100);
}

#[test]
#[cfg(target_os = "linux")]
fn an_agent_that_takes_too_much_memory_is_ended_and_says_why() {
    let env = TestEnv::new();
    // `tail` keeps all of a line that does not end.
    let hog = "[[run (head -c 400000000 /dev/zero; sleep 300) | tail -n 1 | wc -c]]";
    let task = limited(&env, "memory = \"256M\"", hog, 1);
    assert!(task["error"].as_str().unwrap().contains("MiB of memory, more than the 256 MiB"), "{task}");
}

#[test]
fn no_task_runs_longer_than_the_settings_allow() {
    let env = TestEnv::new();
    let task = limited(&env, "wall_clock = \"2s\"", "[[hang]]", 9);
    assert_eq!(task["endReason"], "timed_out");
    assert_eq!(task["sandbox"]["limits"]["wallClockSecs"], 2);
}

#[test]
fn git_settings_that_an_agent_makes_run_nothing_outside() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let trap = env.path("trap");
    let program = env.path("evil");
    fs::write(&program, format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", trap.display())).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let evil = program.display();
    let plant = [
        format!("git config filter.evil.clean {evil}"),
        format!("git config filter.evil.process {evil}"),
        "git config filter.evil.required true".to_owned(),
        format!("git config diff.evil.textconv {evil}"),
        format!("git config diff.evil.command {evil}"),
        format!("git config diff.external {evil}"),
        format!("git config merge.evil.driver {evil}"),
        format!("git config core.sshCommand {evil}"),
        format!("git config core.fsmonitor {evil}"),
        format!("git config core.pager {evil}"),
        format!("git config core.editor {evil}"),
        format!("git config credential.helper {evil}"),
        format!("git config gpg.program {evil}"),
        "git config commit.gpgSign true".to_owned(),
        format!("git config uploadpack.packObjectsHook {evil}"),
        format!(
            "printf '[core]\\n\\thooksPath = {}\\n' > .git/more && git config include.path more",
            env.path("").display()
        ),
        format!("mkdir -p .git/hooks && cp {evil} .git/hooks/pre-commit && cp {evil} .git/hooks/reference-transaction"),
        // Not before the rest: git of the agent itself would run them.
        "echo '* filter=evil diff=evil merge=evil' > .gitattributes".to_owned(),
        "echo work > work.txt".to_owned(),
    ];
    let script = plant.join(" && ");
    env.cadence(["run", "--agent=demo", "--permission=all", "--sandbox=off", &format!("[[run {script}]]")])
        .cwd(repo.path())
        .run()
        .code(0);
    env.cadence(["tasks", "diff", "last"]).run().code(0).says("work.txt");
    env.cadence(["tasks", "apply", "last"]).cwd(repo.path()).run().code(0);
    assert_eq!(repo.read("work.txt"), "work\n");
    assert_eq!(fs::read_to_string(&trap).unwrap_or_default(), "", "what the agent set was run");
    assert!(Path::new(&program).exists());
}
