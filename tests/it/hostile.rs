//! Repositories and input that mean harm, or are merely odd.

use cadence_fakes::messages::Scenario;

use crate::support::TestEnv;

#[test]
fn hooks_of_the_repository_do_not_run() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let trap = env.path("trap");
    let script = format!("#!/bin/sh\necho \"$0\" >> {}\n", trap.display());
    for hook in ["post-checkout", "pre-commit", "commit-msg", "post-commit", "reference-transaction", "post-merge"] {
        repo.write(&format!(".git/hooks/{hook}"), &script);
        repo.write(&format!("hooks/{hook}"), &script);
        for path in [format!(".git/hooks/{hook}"), format!("hooks/{hook}")] {
            let path = repo.path().join(path);
            std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        }
    }
    repo.git(["-c", "core.hooksPath=/dev/null", "add", "-A"]);
    repo.git(["-c", "core.hooksPath=/dev/null", "commit", "-q", "-m", "Hooks"]);
    repo.git(["-c", "core.hooksPath=/dev/null", "config", "core.hooksPath", "hooks"]);
    // A monitor that git would start for any look at the checkout.
    repo.git(["-c", "core.hooksPath=/dev/null", "config", "core.fsmonitor", "hooks/post-commit"]);
    std::fs::remove_file(&trap).unwrap_or_default();
    env.cadence(["run", "Write [[scenario:write-only]]", "--with-changes"]).cwd(repo.path()).run().code(0);
    let sprung = std::fs::read_to_string(&trap).unwrap_or_default();
    assert_eq!(sprung, "", "code of the repository ran");
}

#[test]
fn hooks_that_an_agent_makes_do_not_run_outside_of_its_workspace() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let before = repo.own_state();
    let plant = "mkdir -p .git/hooks && printf '#!/bin/sh\\necho sprung > sprung.txt\\n' > .git/hooks/pre-commit && \
                 chmod +x .git/hooks/pre-commit && git config core.fsmonitor ./evil && \
                 git config core.hooksPath .git/hooks && touch x.txt";
    env.api.script("plant", Scenario::new().bash(plant).text("Planted."));
    env.cadence(["run", "Work [[scenario:plant]]", "--permission", "all"]).cwd(repo.path()).run().code(0);
    assert_eq!(repo.own_state(), before);
    let files = repo.git(["ls-tree", "-r", "--name-only", &repo.task_branches()[0]]);
    assert_eq!(files, "README.md\nx.txt");
}

#[test]
fn a_branch_with_a_hostile_name_is_only_a_name() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let name = "x;touch${IFS}sprung;--upload-pack=touch&$(touch${IFS}sprung)'\"";
    repo.git(["update-ref", &format!("refs/heads/{name}"), "HEAD"]);
    repo.git(["symbolic-ref", "HEAD", &format!("refs/heads/{name}")]);
    let before = repo.own_state();
    env.cadence(["run", "Write [[scenario:write-only]]"]).cwd(repo.path()).run().code(0);
    assert_eq!(repo.own_state(), before);
    let branch = repo.task_branches().remove(0);
    assert_eq!(repo.show(&branch, "hello.txt"), "hello world");
    for entry in walk(env.path("").as_path()) {
        assert!(!entry.ends_with("sprung"), "{entry}");
    }
}

#[test]
fn a_task_full_of_control_characters_is_only_text() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let words = "Do \u{1b}]0;title\u{7}\u{1b}[2J $(touch sprung) `id` ../../etc \u{202e} [[scenario:write-only]]";
    let run = env.cadence(["run", words]).cwd(repo.path()).run().code(0);
    assert!(!run.stdout.contains('\u{1b}'), "{run:?}");
    let list = env.cadence(["tasks", "ls"]).run().code(0);
    assert!(!list.stdout.contains(['\u{1b}', '\u{7}']), "{list:?}");
    let branch = repo.task_branches().remove(0);
    assert!(branch.chars().all(|c| c.is_ascii_alphanumeric() || "/-".contains(c)), "{branch}");
}

#[test]
fn options_do_not_hide_in_urls() {
    let env = TestEnv::new();
    let sprung = env.path("sprung");
    let command = format!("touch {}", sprung.display());
    let urls = [
        format!("--upload-pack={command}"),
        format!("ext::sh -c {}", command.replace(' ', "% ")),
        format!("-oProxyCommand={command}"),
        format!("ssh://-oProxyCommand={command}/x"),
        "fd::17".to_owned(),
    ];
    for url in urls {
        let run = env.cadence(["run", "Write", &format!("--repo={url}")]).run();
        assert_eq!(run.code, Some(2), "{url}: {run:?}");
    }
    let server = env.server();
    for url in ["--upload-pack=x", "ext::sh -c true", "ssh://-oProxyCommand=x/y", "file:///etc\n"] {
        let body = serde_json::json!({"taskDescription": "Write", "repoUrl": url});
        let answer = server.http().post("/api/tasks", &body);
        assert!([400, 422].contains(&answer.status), "{url}: {answer:?}");
    }
    assert!(!sprung.exists());
}

#[test]
fn a_repository_can_have_any_path_and_any_file_names() {
    let env = TestEnv::new();
    let repo = env.repo("sp ace 'quote\" $HOME ünï");
    repo.write("tab\tand\nline.txt", "odd\n");
    repo.write("-dash", "odd\n");
    repo.commit("Odd names");
    let id = env.detach(&repo, "Write [[scenario:write-only]]", []);
    env.cadence(["tasks", "wait", &id]).run().code(0);
    env.cadence(["tasks", "diff", &id]).run().code(0).says("hello.txt");
    env.cadence(["tasks", "apply", &id]).cwd(repo.path()).run().code(0);
    assert!(repo.has("hello.txt"));
}

#[test]
fn a_repository_without_a_commit_is_refused() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    repo.git(["update-ref", "-d", "HEAD"]);
    env.cadence(["run", "Write"]).cwd(repo.path()).run().code(2).complains("commit");
}

fn walk(directory: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths
        .flat_map(|path| {
            let inside = if path.is_dir() && !path.is_symlink() { walk(&path) } else { Vec::new() };
            inside.into_iter().chain([path.display().to_string()])
        })
        .collect()
}
