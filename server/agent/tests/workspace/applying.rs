use std::path::PathBuf;

use cadence_agent::workspace::{Applied, ApplyMode, Origin, WorkspaceError, apply, apply_since};

use crate::support::{Env, Repo, difference};

/// A checkout, and a published branch that changes `a.txt` and adds `deep/new.txt`.
async fn published(env: &Env) -> (Repo, String) {
    let repo = env.repository("user");
    let workspace = env.workspace(&repo).await;
    let agent = env.agent(&workspace);
    agent.write("a.txt", "one\n2\nthree\n");
    agent.write("deep/new.txt", "new\n");
    workspace.commit_leftovers("work").await.unwrap();
    workspace.publish().await.unwrap();
    (repo, workspace.branch)
}

#[tokio::test]
async fn a_fast_forward_and_nothing_more_to_do() {
    let env = Env::new();
    let (repo, branch) = published(&env).await;
    let trace = repo.add_hooks();
    let applied = apply(&repo.root.join(".git/.."), &branch, ApplyMode::Merge).await.unwrap();
    assert_eq!(applied, Applied::Merged { commit: repo.head(), files: 2 });
    assert_eq!(repo.read("deep/new.txt"), "new\n");
    assert_eq!(repo.head(), repo.git(&["rev-parse", &branch]));
    assert_eq!(apply(&repo.root, &branch, ApplyMode::Merge).await.unwrap(), Applied::UpToDate);
    assert_eq!(apply(&repo.root, &branch, ApplyMode::Squash).await.unwrap(), Applied::UpToDate);
    assert!(!trace.exists(), "a hook ran");
}

#[tokio::test]
async fn a_merge_beside_uncommitted_work() {
    let env = Env::new();
    let (repo, branch) = published(&env).await;
    repo.git(&["config", "merge.ff", "only"]);
    repo.write("b.txt", "moved on\n");
    let head = repo.commit("moved on");
    repo.write("b.txt", "uncommitted\n");
    repo.write("mine.txt", "untracked\n");
    let applied = apply(&repo.root, &branch, ApplyMode::Merge).await.unwrap();
    assert_eq!(applied, Applied::Merged { commit: repo.head(), files: 2 });
    assert_eq!(repo.git(&["rev-parse", "HEAD^1"]), head);
    assert_eq!(repo.git(&["log", "-1", "--format=%s"]), format!("Merge branch '{branch}'"));
    assert_eq!(repo.read("b.txt"), "uncommitted\n");
    assert_eq!(repo.git(&["status", "--porcelain"]), " M b.txt\n?? mine.txt");
}

#[tokio::test]
async fn a_squash_is_staged() {
    let env = Env::new();
    let (repo, branch) = published(&env).await;
    let head = repo.head();
    assert_eq!(apply(&repo.root, &branch, ApplyMode::Squash).await.unwrap(), Applied::Squashed { files: 2 });
    assert_eq!(repo.head(), head);
    assert_eq!(repo.git(&["status", "--porcelain"]), "M  a.txt\nA  deep/new.txt");
    repo.git(&["commit", "-q", "-m", "squashed"]);
    assert_eq!(apply(&repo.root, &branch, ApplyMode::Squash).await.unwrap(), Applied::UpToDate);
}

#[tokio::test]
async fn a_conflict_changes_nothing() {
    let env = Env::new();
    let (repo, branch) = published(&env).await;
    repo.write("a.txt", "one\nzwei\nthree\n");
    repo.write("deep/new.txt", "also new\n");
    repo.commit("in the way");
    repo.write("b.txt", "uncommitted\n");
    let before = repo.listing();
    for mode in [ApplyMode::Merge, ApplyMode::Squash] {
        let error = apply(&repo.root, &branch, mode).await.unwrap_err();
        let WorkspaceError::Conflict { files } = &error else { panic!("{error}") };
        assert_eq!(*files, [PathBuf::from("a.txt"), PathBuf::from("deep/new.txt")]);
        assert!(error.to_string().contains("a.txt, deep/new.txt"));
    }
    assert_eq!(difference(&before, &repo.listing()), Vec::<PathBuf>::new());
    assert_eq!(repo.read("b.txt"), "uncommitted\n");
}

#[tokio::test]
async fn uncommitted_work_in_the_way() {
    let env = Env::new();
    let (repo, branch) = published(&env).await;
    for (path, text) in
        [("a.txt", "mine\n"), ("deep", "a file where a directory must be\n"), ("deep/new.txt", "mine\n")]
    {
        repo.write(path, text);
        let before = repo.listing();
        let error = apply(&repo.root, &branch, ApplyMode::Merge).await.unwrap_err();
        let WorkspaceError::Overlap { files } = &error else { panic!("{error}") };
        assert_eq!(*files, [PathBuf::from(path)]);
        assert_eq!(difference(&before, &repo.listing()), Vec::<PathBuf>::new());
        repo.git(&["reset", "-q", "--hard"]);
        repo.git(&["clean", "-fdq"]);
    }
    repo.write("mine.txt", "staged\n");
    repo.git(&["add", "mine.txt"]);
    let error = apply(&repo.root, &branch, ApplyMode::Squash).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Staged { .. }), "{error}");
    // A fast-forward minds only what it writes.
    apply(&repo.root, &branch, ApplyMode::Merge).await.unwrap();
    assert_eq!(repo.git(&["status", "--porcelain"]), "A  mine.txt");
}

/// All three ways to take a change in; for a true merge, the user's branch has moved on.
const MODES: [(ApplyMode, bool); 3] = [(ApplyMode::Merge, false), (ApplyMode::Merge, true), (ApplyMode::Squash, false)];

#[tokio::test]
async fn ignored_files_in_the_way() {
    for (mode, moved_on) in MODES {
        // What the user has, and what the task adds.
        for (mine, added) in [(".env", ".env"), ("x.log", "x.log/deep"), ("dir/deep/x.log", "dir")] {
            let env = Env::new();
            let repo = env.repository("user");
            let workspace = env.workspace(&repo).await;
            let agent = env.agent(&workspace);
            agent.write(added, "the task's\n");
            agent.git(&["add", "-f", added]);
            agent.git(&["commit", "-q", "-m", "work"]);
            workspace.finish("work").await.unwrap();
            workspace.publish().await.unwrap();
            if moved_on {
                repo.write("b.txt", "moved on\n");
                repo.commit("moved on");
            }
            repo.write(mine, "mine\n");
            assert_eq!(repo.git(&["status", "--porcelain"]), "");
            let before = repo.listing();
            let error = apply(&repo.root, &workspace.branch, mode).await.unwrap_err();
            let WorkspaceError::Overlap { files } = &error else { panic!("{error}") };
            assert_eq!(*files, [PathBuf::from(mine)]);
            assert_eq!(repo.read(mine), "mine\n");
            assert_eq!(difference(&before, &repo.listing()), Vec::<PathBuf>::new());
        }
    }
}

#[tokio::test]
async fn a_directory_becomes_a_file_and_the_other_way_round() {
    for (mode, moved_on) in MODES {
        let env = Env::new();
        let repo = env.repository("user");
        repo.write("dir/deep/x", "x\n");
        repo.commit("a directory");
        let workspace = env.workspace(&repo).await;
        let agent = env.agent(&workspace);
        agent.git(&["rm", "-q", "-r", "dir", "a.txt"]);
        agent.write("dir", "a file\n");
        agent.write("a.txt/x", "in a directory\n");
        workspace.finish("work").await.unwrap();
        workspace.publish().await.unwrap();
        if moved_on {
            repo.write("b.txt", "moved on\n");
            repo.commit("moved on");
        }
        apply(&repo.root, &workspace.branch, mode).await.unwrap();
        assert_eq!((repo.read("dir"), repo.read("a.txt/x")), ("a file\n".into(), "in a directory\n".into()));
    }
}

#[tokio::test]
async fn what_cannot_be_applied_is_named() {
    let env = Env::new();
    let (repo, branch) = published(&env).await;
    let error = apply(&repo.root, "cadence/nothing", ApplyMode::Merge).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::NoSuchBranch { .. }), "{error}");
    assert!(matches!(apply(&repo.root, "a b", ApplyMode::Merge).await, Err(WorkspaceError::BranchName(_))));
    repo.git(&["checkout", "-q", "-b", "side"]);
    repo.write("a.txt", "side\n");
    repo.commit("side");
    repo.git(&["checkout", "-q", "main"]);
    repo.write("a.txt", "main\n");
    repo.commit("main");
    repo.try_git(&["merge", "-q", "side"]).unwrap_err();
    let error = apply(&repo.root, &branch, ApplyMode::Merge).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::InProgress { what: "merge", .. }), "{error}");
}

#[tokio::test]
async fn what_was_done_on_uncommitted_changes_is_taken_onto_them() {
    let env = Env::new();
    let repo = env.repository("user");
    repo.write("a.txt", "one, not committed\ntwo\nthree\n");
    repo.write("new.txt", "not committed\n");
    let mut request = env.request(Origin::Local(repo.root.clone()));
    request.commit = Some(env.workspaces.snapshot(&repo.root, &env.environment()).await.unwrap());
    let workspace = env.prepare(&request).await;
    let agent = env.agent(&workspace);
    agent.write("a.txt", "one, not committed\ntwo\nthree, by the agent\n");
    agent.write("agent.txt", "by the agent\n");
    workspace.commit_leftovers("work").await.unwrap();
    workspace.publish().await.unwrap();

    let head = repo.head();
    for mode in [ApplyMode::Merge, ApplyMode::Squash] {
        let refused = apply(&repo.root, &workspace.branch, mode).await;
        assert!(matches!(refused, Err(WorkspaceError::Overlap { .. })), "{refused:?}");
    }
    let base = Some(workspace.base_commit.as_str());
    let applied = apply_since(&repo.root, &workspace.branch, ApplyMode::Merge, base).await.unwrap();
    assert_eq!(applied, Applied::Patched { files: 2 });
    assert_eq!(repo.read("a.txt"), "one, not committed\ntwo\nthree, by the agent\n");
    assert_eq!((repo.read("new.txt").as_str(), repo.read("agent.txt").as_str()), ("not committed\n", "by the agent\n"));
    assert_eq!(repo.head(), head);
    assert_eq!(repo.git(&["diff", "--cached", "--name-only"]), "");

    // Again, it is in the way of itself, and nothing changes.
    let again = apply_since(&repo.root, &workspace.branch, ApplyMode::Merge, base).await;
    assert!(matches!(again, Err(WorkspaceError::Overlap { .. })), "{again:?}");
    assert_eq!(repo.read("a.txt"), "one, not committed\ntwo\nthree, by the agent\n");
}
