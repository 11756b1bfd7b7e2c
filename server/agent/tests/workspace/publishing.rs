use std::fs;
use std::path::Path;

use cadence_agent::workspace::{Origin, WorkspaceError};

use crate::support::{Env, difference};

#[tokio::test]
async fn only_the_branch_appears_in_the_users_repository() {
    let env = Env::new();
    let repo = env.repository("user");
    let trace = repo.add_hooks();
    for setting in ["fetch.prune", "fetch.writeCommitGraph", "core.logAllRefUpdates", "submodule.recurse"] {
        repo.git(&["config", setting, "true"]);
    }
    let _ = fs::remove_file(&trace);
    let workspace = env.workspace(&repo).await;
    let agent = env.agent(&workspace);
    let before = repo.listing();
    for round in ["one", "two"] {
        agent.write("work.txt", round);
        workspace.commit_leftovers(round).await.unwrap();
        workspace.publish().await.unwrap();
        assert_eq!(repo.git(&["rev-parse", &workspace.branch]), agent.head());
    }
    workspace.publish().await.unwrap();
    let branch = Path::new("refs/heads").join(&workspace.branch);
    let others: Vec<_> = difference(&before, &repo.listing())
        .into_iter()
        .filter(|path| !path.starts_with("objects") && *path != branch && path != Path::new("refs/heads/cadence"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
    let infos: Vec<_> =
        difference(&before, &repo.listing()).into_iter().filter(|path| path.starts_with("objects/info")).collect();
    assert!(infos.is_empty(), "{infos:?}");
    assert!(!trace.exists(), "a hook ran: {}", fs::read_to_string(&trace).unwrap_or_default());

    env.workspaces.remove(workspace.task_id, true).await.unwrap();
    let rest: Vec<_> =
        difference(&before, &repo.listing()).into_iter().filter(|path| !path.starts_with("objects")).collect();
    assert!(rest.is_empty(), "{rest:?}");
    assert!(!trace.exists(), "a hook ran");
}

#[tokio::test]
async fn a_branch_that_is_checked_out_or_moved_on_is_left_alone() {
    let env = Env::new();
    let repo = env.repository("user");
    let workspace = env.workspace(&repo).await;
    let agent = env.agent(&workspace);
    agent.write("work.txt", "one\n");
    workspace.commit_leftovers("one").await.unwrap();
    workspace.publish().await.unwrap();
    repo.git(&["checkout", "-q", &workspace.branch]);
    agent.write("work.txt", "two\n");
    workspace.commit_leftovers("two").await.unwrap();
    let error = workspace.publish().await.unwrap_err();
    let WorkspaceError::CheckedOut { path, .. } = &error else { panic!("{error}") };
    assert_eq!(*path, repo.root);
    assert_eq!(repo.git(&["status", "--porcelain"]), "");

    repo.write("mine.txt", "mine\n");
    let mine = repo.commit("mine");
    repo.git(&["checkout", "-q", "main"]);
    let error = workspace.publish().await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Diverged { .. }), "{error}");
    assert_eq!(repo.git(&["rev-parse", &workspace.branch]), mine);
    // As the hint says.
    repo.git(&["branch", "-m", &workspace.branch, "other"]);
    workspace.publish().await.unwrap();

    // What nobody else moved, the agent may rewrite.
    agent.git(&["commit", "-q", "--amend", "-m", "amended"]);
    workspace.publish().await.unwrap();
    assert_eq!(repo.git(&["log", "-1", "--format=%s", &workspace.branch]), "amended");
}

#[tokio::test]
async fn the_result_of_an_url_goes_to_the_mirror() {
    let env = Env::new();
    let repo = env.repository("remote");
    let before = repo.listing();
    let origin = Origin::Url(format!("file://{}", repo.root.display()));
    let workspace = env.prepare(&env.request(origin.clone())).await;
    let agent = env.agent(&workspace);
    agent.write("work.txt", "one\n");
    workspace.commit_leftovers("one").await.unwrap();
    workspace.publish().await.unwrap();
    assert!(difference(&before, &repo.listing()).is_empty());
    let mirror =
        fs::read_dir(env.path("data/mirrors")).unwrap().map(|entry| entry.unwrap().path()).find(|p| p.is_dir());
    assert_eq!(repo.at(&mirror.unwrap()).git(&["rev-parse", &workspace.branch]), agent.head());
    // It does not get in the way of the next one.
    env.prepare(&env.request(origin)).await;
}

#[tokio::test]
async fn a_repository_that_is_gone_is_named() {
    let env = Env::new();
    let repo = env.repository("user");
    let workspace = env.workspace(&repo).await;
    fs::rename(&repo.root, env.path("elsewhere")).unwrap();
    let error = workspace.publish().await.unwrap_err();
    assert!(error.to_string().contains("user/.git is not in a git repository"), "{error}");
}
