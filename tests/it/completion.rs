//! The tab key in real shells, set up as the help of `cadence completions` says.

use crate::support::{Terminal, TestEnv};

/// A machine with one ended task, and the task's short id.
fn with_a_task() -> (TestEnv, String) {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let run = env.cadence(["run", "Look around quietly", "--agent", "demo", "--json"]).cwd(repo.path()).run().code(0);
    let id = run.json_lines()[0]["taskId"].as_str().unwrap()[..8].to_owned();
    (env, id)
}

/// Types, presses the tab key, and waits for what the line becomes.
#[track_caller]
fn completes(shell: &mut Terminal, typed: &str, line: &str) {
    shell.send(&format!("{typed}\t"));
    shell.wait_for(line);
    // The line is given up, and the next prompt is empty.
    shell.send("\u{15}");
}

fn completes_everything(shell: &mut Terminal, id: &str) {
    completes(shell, "cadence appr", "cadence approvals ");
    completes(shell, "cadence tasks cance", "cadence tasks cancel ");
    completes(shell, "cadence run --permission edi", "cadence run --permission edits ");
    completes(shell, "cadence run --agent de", "cadence run --agent demo ");
    completes(shell, "cadence tasks ls --status running,fai", "cadence tasks ls --status running,failed ");
    completes(shell, "cadence config set mod", "cadence config set model ");
    completes(shell, &format!("cadence tasks show {}", &id[..3]), &format!("cadence tasks show {id}"));
    completes(shell, "cadence tasks diff quietl", &format!("cadence tasks diff {id}"));
}

#[test]
fn bash_completes() {
    let (env, id) = with_a_task();
    let mut bash = env.shell("bash", ["--noprofile", "--norc", "-i"]);
    bash.send("PS1='> '; mkdir -p .local/share/bash-completion/completions\r");
    bash.send("cadence completions bash > .local/share/bash-completion/completions/cadence\r");
    // What the package bash-completion does by itself.
    bash.send("source .local/share/bash-completion/completions/cadence && clear && echo it is re''ady\r");
    bash.wait_for("it is ready");
    completes_everything(&mut bash, &id);
    bash.send("exit 0\r");
    assert_eq!(bash.finish(), 0);
}

#[test]
fn zsh_completes() {
    let (env, id) = with_a_task();
    let mut zsh = env.shell("zsh", ["-f", "-i"]);
    zsh.send("PS1='> '; mkdir .zfunc; cadence completions zsh > .zfunc/_cadence\r");
    zsh.send("fpath+=(~/.zfunc); autoload -Uz compinit; compinit && clear && echo it is re''ady\r");
    zsh.wait_for("it is ready");
    completes_everything(&mut zsh, &id);
    zsh.send("exit 0\r");
    assert_eq!(zsh.finish(), 0);
}

#[test]
fn fish_completes() {
    let (env, id) = with_a_task();
    let mut fish = env.shell("fish", ["--no-config", "-i"]);
    fish.send("function fish_prompt; echo '> '; end; mkdir -p .config/fish/completions\r");
    fish.send("cadence completions fish > .config/fish/completions/cadence.fish\r");
    fish.send("source .config/fish/completions/cadence.fish; clear; echo it is re''ady\r");
    fish.wait_for("it is ready");
    completes_everything(&mut fish, &id);
    fish.send("exit 0\r");
    assert_eq!(fish.finish(), 0);
}
