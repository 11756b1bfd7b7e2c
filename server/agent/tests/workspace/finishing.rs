use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use cadence_agent::workspace::{Workspace, WorkspaceError};
use cadence_protocol::Changes;

use crate::support::{Env, Repo, difference};

struct Story {
    env: Env,
    repo: Repo,
    workspace: Workspace,
    agent: Repo,
}

async fn story() -> Story {
    let env = Env::new();
    let repo = env.repository("user");
    let workspace = env.workspace(&repo).await;
    let agent = env.agent(&workspace);
    Story { env, repo, workspace, agent }
}

impl Story {
    fn tip(&self) -> String {
        self.agent.git(&["rev-parse", &format!("refs/heads/{}", self.workspace.branch)])
    }

    /// What the branch has at `path`.
    fn shown(&self, path: &str) -> String {
        self.agent.git(&["show", &format!("refs/heads/{}:{path}", self.workspace.branch)])
    }

    #[track_caller]
    fn on_branch(&self) {
        assert_eq!(self.agent.git(&["symbolic-ref", "--short", "HEAD"]), self.workspace.branch);
        assert_eq!(self.agent.git(&["status", "--porcelain"]), "");
    }
}

#[tokio::test]
async fn what_is_left_is_committed() {
    let s = story().await;
    let trace = s.agent.add_hooks();
    assert_eq!(s.workspace.commit_leftovers("nothing").await.unwrap(), None);
    s.agent.write("a.txt", "one\n2\nthree\n");
    s.agent.write("new file.txt", "new\n");
    s.agent.write("x.log", "ignored\n");
    fs::remove_file(s.agent.root.join("b.txt")).unwrap();
    let commit = s.workspace.commit_leftovers("# The work\n\nIn detail").await.unwrap().unwrap();
    assert_eq!(commit, s.tip());
    assert_eq!(s.agent.git(&["log", "-1", "--format=%an <%ae> %B"]), "Ada <ada@example.org> # The work\n\nIn detail");
    assert_eq!(s.agent.git(&["show", "--format=", "--name-only"]), "a.txt\nb.txt\nnew file.txt");
    assert_eq!(s.workspace.changes().await.unwrap(), Changes { files: 3, added: 2, removed: 2 });
    assert_eq!(s.workspace.commit_leftovers("again").await.unwrap(), None);
    assert!(!trace.exists(), "a hook ran");
    s.on_branch();
}

#[tokio::test]
async fn programs_that_the_agent_set_do_not_run() {
    let s = story().await;
    let pwned = s.env.path("pwned");
    for key in [
        "filter.evil.clean",
        "filter.evil.smudge",
        "filter.evil.process",
        "merge.evil.driver",
        "diff.evil.textconv",
        "diff.evil.command",
        "diff.external",
        "core.fsmonitor",
        "core.sshCommand",
        "core.alternateRefsCommand",
        "uploadpack.packObjectsHook",
        "gpg.program",
        "core.editor",
    ] {
        s.agent.git(&["config", key, &format!("touch '{}'; cat", pwned.display())]);
    }
    s.agent.git(&["config", "commit.gpgSign", "true"]);
    s.agent.write(".git/info/attributes", "* filter=evil diff=evil merge=evil\n");
    s.agent.write(".gitattributes", "* filter=evil diff=evil merge=evil\n");
    s.agent.write("a.txt", "changed\n");
    s.workspace.diff(1 << 20).await.unwrap();
    assert!(s.workspace.commit_leftovers("x").await.unwrap().is_some());
    s.workspace.changes().await.unwrap();
    s.workspace.publish().await.unwrap();
    s.env.workspaces.remove(s.workspace.task_id, false).await.unwrap_err();
    assert!(!pwned.exists());
    assert_eq!(s.repo.git(&["show", &format!("{}:a.txt", s.workspace.branch)]), "changed");
}

#[tokio::test]
async fn the_agents_own_commits_count() {
    let s = story().await;
    s.agent.write("a.txt", "mine\n");
    let own = s.agent.commit("mine");
    assert_eq!(s.workspace.commit_leftovers("x").await.unwrap(), None);
    assert_eq!(s.tip(), own);
}

#[tokio::test]
async fn the_agent_switched_branch() {
    let s = story().await;
    s.agent.git(&["checkout", "-q", "-b", "feature"]);
    s.agent.write("f.txt", "f\n");
    let own = s.agent.commit("feature");
    assert_eq!(s.workspace.commit_leftovers("x").await.unwrap(), None);
    assert_eq!(s.tip(), own);
    s.on_branch();
    // And renamed it.
    s.agent.git(&["branch", "-M", "other"]);
    s.agent.write("g.txt", "g\n");
    let commit = s.workspace.commit_leftovers("x").await.unwrap().unwrap();
    assert_eq!(s.tip(), commit);
    s.on_branch();
}

#[tokio::test]
async fn the_agent_only_looked_elsewhere() {
    let s = story().await;
    s.agent.write("f.txt", "f\n");
    let own = s.agent.commit("work");
    s.agent.git(&["checkout", "-q", "main"]);
    assert_eq!(s.workspace.finish("x").await.unwrap(), Default::default());
    assert_eq!(s.tip(), own);
    s.on_branch();
    s.agent.git(&["checkout", "-q", "--detach", "HEAD~2"]);
    s.workspace.finish("x").await.unwrap();
    assert_eq!(s.tip(), own);
    s.on_branch();
}

#[tokio::test]
async fn a_detached_head_is_brought_back() {
    let s = story().await;
    s.agent.git(&["checkout", "-q", "--detach"]);
    s.agent.write("f.txt", "f\n");
    let own = s.agent.commit("detached");
    s.agent.write("g.txt", "g\n");
    let commit = s.workspace.commit_leftovers("x").await.unwrap().unwrap();
    assert_eq!(s.tip(), commit);
    assert_eq!(s.agent.git(&["rev-parse", "HEAD^"]), own);
    s.on_branch();
}

#[tokio::test]
async fn work_on_two_branches_is_merged() {
    let s = story().await;
    s.agent.write("f.txt", "f\n");
    s.agent.commit("on the task's branch");
    s.agent.git(&["checkout", "-q", "-b", "other", "main"]);
    s.agent.write("g.txt", "g\n");
    let finished = s.workspace.finish("leftover").await.unwrap();
    assert_eq!(finished.notes.len(), 1, "{:?}", finished.notes);
    assert_eq!((s.shown("f.txt"), s.shown("g.txt")), ("f".into(), "g".into()));
    s.on_branch();
    assert!(s.agent.has("f.txt"));
}

#[tokio::test]
async fn conflicting_branches_keep_both() {
    let s = story().await;
    s.agent.write("a.txt", "task\n");
    let earlier = s.agent.commit("on the task's branch");
    s.agent.git(&["checkout", "-q", "-b", "other", "main"]);
    s.agent.write("a.txt", "other\n");
    let own = s.agent.commit("other");
    let finished = s.workspace.finish("x").await.unwrap();
    assert_eq!(s.tip(), own);
    assert!(finished.notes[0].contains(&earlier[..12]), "{:?}", finished.notes);
    assert!(s.agent.git(&["for-each-ref", "refs/cadence"]).contains(&earlier));
}

#[tokio::test]
async fn work_that_does_not_build_on_the_start_is_explained_and_kept() {
    let s = story().await;
    s.agent.git(&["checkout", "-q", "-b", "old", "main~1"]);
    s.agent.write("b.txt", "not the same b\n");
    let finished = s.workspace.finish("x").await;
    let Err(WorkspaceError::Strayed { kept, .. }) = finished else { panic!("{finished:?}") };
    assert_eq!(s.agent.git(&["show", &format!("{kept}:b.txt")]), "not the same b");
    assert_eq!(s.tip(), s.workspace.base_commit);
    // What can be merged, is.
    s.agent.git(&["checkout", "-q", "-B", "old", "main~1"]);
    s.agent.write("c.txt", "c\n");
    s.workspace.finish("x").await.unwrap();
    assert_eq!((s.shown("b.txt"), s.shown("c.txt")), ("b".into(), "c".into()));
}

#[tokio::test]
async fn an_amended_start_becomes_a_commit_on_top() {
    let s = story().await;
    s.agent.write("b.txt", "amended\n");
    s.agent.git(&["commit", "-q", "-a", "--amend", "-m", "amended"]);
    let finished = s.workspace.finish("x").await.unwrap();
    assert!(finished.notes[0].contains("rewrote"), "{:?}", finished.notes);
    assert_eq!(s.agent.git(&["rev-parse", "HEAD^"]), s.workspace.base_commit);
    assert_eq!(s.shown("b.txt"), "amended");
    s.on_branch();
}

#[tokio::test]
async fn stale_locks_do_not_matter() {
    let s = story().await;
    for name in ["index.lock", "HEAD.lock", "refs/heads/cadence/x.lock", "config.lock"] {
        s.agent.write(&format!(".git/{name}"), "");
    }
    let branch = format!(".git/refs/heads/{}.lock", s.workspace.branch);
    s.agent.write(&branch, "");
    s.agent.write("f.txt", "f\n");
    assert!(s.workspace.commit_leftovers("x").await.unwrap().is_some());
    s.on_branch();
}

#[tokio::test]
async fn a_broken_index_is_made_anew() {
    let s = story().await;
    s.agent.write("f.txt", "f\n");
    s.agent.write(".git/index", "no index at all, and long enough to be one");
    assert!(s.workspace.commit_leftovers("x").await.unwrap().is_some());
    assert_eq!(s.agent.git(&["show", "--format=", "--name-only"]), "f.txt");
    s.on_branch();
}

#[tokio::test]
async fn unfinished_merges_and_picks() {
    let s = story().await;
    s.agent.git(&["checkout", "-q", "-b", "side", "main"]);
    s.agent.write("a.txt", "side\n");
    let side = s.agent.commit("side");
    s.agent.git(&["checkout", "-q", &s.workspace.branch]);
    s.agent.write("a.txt", "task\n");
    let task = s.agent.commit("task");
    s.agent.try_git(&["merge", "-q", "side"]).unwrap_err();
    let finished = s.workspace.finish("x").await.unwrap();
    assert!(finished.notes[0].contains("a.txt"), "{:?}", finished.notes);
    assert!(s.shown("a.txt").contains("<<<<<<<"));
    assert_eq!(s.agent.git(&["log", "-1", "--format=%P"]), task);
    s.on_branch();

    // One that was resolved stays a merge.
    s.agent.try_git(&["merge", "-q", "side"]).unwrap_err();
    s.agent.write("a.txt", "resolved\n");
    s.agent.git(&["add", "a.txt"]);
    let before = s.tip();
    s.workspace.finish("x").await.unwrap();
    assert_eq!(s.agent.git(&["log", "-1", "--format=%P"]), format!("{before} {side}"));
    s.on_branch();

    s.agent.write("a.txt", "again\n");
    s.agent.commit("again");
    s.agent.try_git(&["cherry-pick", &side]).unwrap_err();
    s.workspace.finish("x").await.unwrap();
    assert!(!s.agent.has(".git/CHERRY_PICK_HEAD"));
    s.on_branch();
}

#[tokio::test]
async fn a_rebase_that_was_left_half_done() {
    let s = story().await;
    s.agent.git(&["checkout", "-q", "-b", "side", "main"]);
    s.agent.write("a.txt", "side\n");
    s.agent.commit("side");
    s.agent.git(&["checkout", "-q", &s.workspace.branch]);
    s.agent.write("a.txt", "task\n");
    let task = s.agent.commit("task");
    s.agent.try_git(&["rebase", "-q", "side"]).unwrap_err();
    let finished = s.workspace.finish("x").await.unwrap();
    assert!(finished.notes[0].contains("rebase"), "{:?}", finished.notes);
    assert_eq!(s.tip(), task);
    s.workspace.publish().await.unwrap();
    // A follow-up can end it.
    s.agent.write("a.txt", "both\n");
    s.agent.git(&["add", "a.txt"]);
    s.agent.git(&["-c", "core.editor=true", "rebase", "--continue"]);
    s.workspace.finish("x").await.unwrap();
    s.workspace.publish().await.unwrap();
    assert_eq!(s.repo.git(&["show", &format!("{}:a.txt", s.workspace.branch)]), "both");
}

#[tokio::test]
async fn a_repository_that_the_agent_removed_or_replaced() {
    let s = story().await;
    s.agent.write("f.txt", "f\n");
    s.workspace.commit_leftovers("x").await.unwrap();
    s.workspace.publish().await.unwrap();
    fs::remove_dir_all(s.agent.root.join(".git")).unwrap();
    s.agent.write("g.txt", "g\n");
    let finished = s.workspace.finish("x").await.unwrap();
    assert!(finished.notes[0].contains("removed"), "{:?}", finished.notes);
    assert_eq!(s.agent.git(&["show", "--format=", "--name-only"]), "g.txt");
    s.on_branch();
    s.workspace.publish().await.unwrap();

    fs::remove_dir_all(s.agent.root.join(".git")).unwrap();
    s.agent.git(&["init", "-q"]);
    s.agent.git(&["config", "user.name", "Agent"]);
    s.agent.git(&["config", "user.email", "agent@example.org"]);
    s.agent.write("h.txt", "h\n");
    s.agent.commit("a history of its own");
    let finished = s.workspace.finish("x").await.unwrap();
    assert!(finished.notes[0].contains("history of its own"), "{:?}", finished.notes);
    assert_eq!((s.shown("g.txt"), s.shown("h.txt")), ("g".into(), "h".into()));
    s.on_branch();
    assert_eq!(s.workspace.changes().await.unwrap().files, 3);

    // A file where the directory was.
    fs::rename(s.agent.root.join(".git"), s.env.path("taken")).unwrap();
    s.agent.write(".git", "gitdir: /nowhere\n");
    s.agent.write("i.txt", "i\n");
    s.workspace.finish("x").await.unwrap();
    assert_eq!(s.shown("i.txt"), "i");
    s.on_branch();
}

#[tokio::test]
async fn repositories_inside_the_workspace() {
    let s = story().await;
    for name in ["empty", "with commit", "deep/added"] {
        s.agent.write(&format!("{name}/inner.txt"), "inner\n");
        s.agent.write(&format!("{name}/.gitignore"), "target\n");
        s.agent.write(&format!("{name}/target/x"), "ignored\n");
        let inner = s.agent.at(&s.agent.root.join(name));
        inner.git(&["init", "-q"]);
        inner.git(&["config", "user.name", "Agent"]);
        inner.git(&["config", "user.email", "agent@example.org"]);
        if name != "empty" {
            inner.commit("inner");
        }
    }
    // One was committed by the agent as a link.
    s.agent.git(&["add", "deep"]);
    s.agent.git(&["commit", "-q", "-m", "by the agent"]);
    s.agent.write("with commit/more.txt", "more\n");
    let finished = s.workspace.finish("x").await.unwrap();
    assert_eq!(finished.notes.len(), 3, "{:?}", finished.notes);
    for path in ["empty/inner.txt", "with commit/inner.txt", "with commit/more.txt", "deep/added/inner.txt"] {
        assert!(!s.shown(path).is_empty(), "{path}");
    }
    assert!(!s.agent.git(&["ls-tree", "-r", "HEAD"]).contains("target"));
    assert!(!s.agent.git(&["ls-tree", "-r", "HEAD"]).contains("160000"));
    // And again, with more in there.
    s.agent.write("with commit/inner.txt", "changed\n");
    s.agent.write("with commit/yet.txt", "yet\n");
    s.workspace.finish("x").await.unwrap();
    assert_eq!((s.shown("with commit/inner.txt"), s.shown("with commit/yet.txt")), ("changed".into(), "yet".into()));
    assert_eq!(s.workspace.finish("x").await.unwrap().commit, None);
}

#[tokio::test]
async fn the_diff_shows_what_is_there_now() {
    let s = story().await;
    s.agent.write("a.txt", "one\n2\nthree\n");
    s.agent.commit("committed");
    s.agent.write("b.txt", "staged\n");
    s.agent.git(&["add", "b.txt"]);
    s.agent.write("b.txt", "and changed\n");
    s.agent.write("deep/new.txt", "new\n");
    s.agent.write("x.log", "ignored\n");
    s.agent.git(&["config", "diff.external", "touch pwned"]);
    s.agent.git(&["config", "diff.noprefix", "true"]);
    let before = s.agent.listing();
    let diff = s.workspace.diff(1 << 20).await.unwrap();
    for part in ["-two\n+2\n", "diff --git a/b.txt b/b.txt", "-b\n+and changed\n", "+++ b/deep/new.txt", "+new\n"] {
        assert!(diff.contains(part), "{part:?} is missing in:\n{diff}");
    }
    assert!(!diff.contains("x.log"));
    assert_eq!(difference(&before, &s.agent.listing()), Vec::<std::path::PathBuf>::new());
    let cut = s.workspace.diff(200).await.unwrap();
    let (body, note) = cut.trim_end().rsplit_once('\n').unwrap();
    assert!(diff.starts_with(body) && body.len() < 200 && note.starts_with("[cut after 200 bytes"), "{cut}");
    assert!(!s.agent.has("pwned"));
    s.agent.write("bytes", "");
    fs::write(s.agent.root.join("bytes"), b"caf\xe9\n").unwrap();
    assert!(s.workspace.diff(1 << 20).await.unwrap().contains("+caf\u{fffd}"));
}

#[tokio::test]
async fn the_set_up_runs_once_it_succeeded() {
    let s = story().await;
    let environment = s.env.environment();
    assert_eq!(s.workspace.run_setup(&environment, |_| ()).await.unwrap(), None);
    s.agent.write(".cadence.toml", "[setup]\ncommand = \"echo out; echo err >&2; env > seen; exit $(cat code)\"\n");
    s.agent.write("code", "3");
    let mut lines = Vec::new();
    let code = s.workspace.run_setup(&environment, |line| lines.push(line.to_owned())).await.unwrap();
    assert_eq!((code, lines), (Some(3), vec!["out".to_owned(), "err".to_owned()]));
    s.agent.write("code", "0");
    assert_eq!(s.workspace.run_setup(&environment, |_| ()).await.unwrap(), Some(0));
    assert_eq!(s.workspace.run_setup(&environment, |_| ()).await.unwrap(), None);
    let seen: BTreeMap<String, String> = s
        .agent
        .read("seen")
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .filter(|(name, _)| !matches!(name.as_str(), "PWD" | "OLDPWD" | "_" | "SHLVL" | "CADENCE_SETUP"))
        .collect();
    assert_eq!(seen, environment);
}

fn alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_set_up_that_hangs_is_killed_with_all_it_started() {
    let s = story().await;
    let command = "setsid sh -c 'echo $$ > pid; exec sleep 1000' & while [ ! -s pid ]; do :; done; echo started; wait";
    s.agent.write(".cadence.toml", &format!("[setup]\ncommand = \"{command}\"\ntimeout_secs = 2\n"));
    let error = s.workspace.run_setup(&s.env.environment(), |_| ()).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::SetupTimedOut(2)), "{error}");
    let pid = s.agent.read("pid");
    until("the set-up's child lives", || !alive(&pid)).await;

    // The same for what it leaves behind, and when nobody waits any more.
    fs::remove_file(s.agent.root.join("pid")).unwrap();
    let left = "sh -c 'echo $$ > pid; exec sleep 1000' & while [ ! -s pid ]; do :; done";
    s.agent.write(".cadence.toml", &format!("[setup]\ncommand = \"{left}\"\n"));
    assert_eq!(s.workspace.run_setup(&s.env.environment(), |_| ()).await.unwrap(), Some(0));
    let pid = s.agent.read("pid");
    until("what was left behind lives", || !alive(&pid)).await;
}

#[tokio::test]
async fn a_set_up_ends_with_the_one_who_waits() {
    let s = story().await;
    s.agent.write(".cadence.toml", "[setup]\ncommand = \"echo $$; exec sleep 1000\"\n");
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let (workspace, environment) = (s.workspace.clone(), s.env.environment());
    let waiting = tokio::spawn(async move {
        workspace.run_setup(&environment, |line| drop(sender.send(line.to_owned()))).await.unwrap()
    });
    let pid = receiver.recv().await.unwrap();
    waiting.abort();
    until("the set-up lives", || !alive(&pid)).await;
}
