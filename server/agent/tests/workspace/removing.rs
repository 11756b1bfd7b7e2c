use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cadence_agent::workspace::{ApplyMode, Origin, Workspace, WorkspaceError, apply};

use super::Env;
use crate::support::Repo;

async fn with_work(env: &Env, repo: &Repo) -> Workspace {
    let workspace = env.workspace(repo).await;
    env.agent(&workspace).write("work.txt", "work\n");
    workspace.commit_leftovers("work").await.unwrap();
    workspace.publish().await.unwrap();
    workspace
}

#[tokio::test]
async fn work_that_is_nowhere_else_is_kept() {
    let env = Env::new();
    let repo = env.repository("user");
    let workspace = with_work(&env, &repo).await;
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Unmerged { commits: 1, .. }), "{error}");
    assert!(workspace.directory.is_dir());
    repo.git(&["rev-parse", &workspace.branch]);
    env.workspaces.remove(workspace.task_id, true).await.unwrap();
    assert!(!workspace.directory.exists());
    assert!(repo.try_git(&["rev-parse", "--verify", &workspace.branch]).is_err());
    assert!(env.workspaces.open(workspace.task_id).unwrap().is_none());
    env.workspaces.remove(workspace.task_id, false).await.unwrap();
    let left: Vec<_> = fs::read_dir(env.path("data/workspaces")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn what_changed_nothing_can_go() {
    let env = Env::new();
    let repo = env.repository("user");
    let workspace = env.workspace(&repo).await;
    workspace.publish().await.unwrap();
    let agent = env.agent(&workspace);
    // As caches of modules are.
    agent.write("target.log/deep/x", "x");
    fs::set_permissions(agent.root.join("target.log/deep"), fs::Permissions::from_mode(0o555)).unwrap();
    env.workspaces.remove(workspace.task_id, false).await.unwrap();
    assert_eq!(repo.git(&["branch", "--format=%(refname:short)"]), "main");
}

#[tokio::test]
async fn merged_squashed_or_copied_work_can_go() {
    let env = Env::new();
    let repo = env.repository("user");
    let merged = with_work(&env, &repo).await;
    apply(&repo.root, &merged.branch, ApplyMode::Merge).await.unwrap();
    env.workspaces.remove(merged.task_id, false).await.unwrap();

    let squashed = env.workspace(&repo).await;
    env.agent(&squashed).write("more.txt", "1\n");
    squashed.commit_leftovers("1").await.unwrap();
    env.agent(&squashed).write("more.txt", "2\n");
    squashed.commit_leftovers("2").await.unwrap();
    squashed.publish().await.unwrap();
    apply(&repo.root, &squashed.branch, ApplyMode::Squash).await.unwrap();
    // Staged is not committed.
    assert!(env.workspaces.remove(squashed.task_id, false).await.is_err());
    repo.git(&["commit", "-q", "-m", "squashed"]);
    repo.write("later.txt", "later\n");
    repo.commit("later");
    env.workspaces.remove(squashed.task_id, false).await.unwrap();

    let copied = env.workspace(&repo).await;
    env.agent(&copied).write("third.txt", "3\n");
    copied.commit_leftovers("3").await.unwrap();
    copied.publish().await.unwrap();
    repo.git(&["tag", "-a", "-m", "kept", "kept", &copied.branch]);
    env.workspaces.remove(copied.task_id, false).await.unwrap();
}

#[tokio::test]
async fn work_that_was_not_published_is_seen() {
    let env = Env::new();
    let repo = env.repository("user");
    let workspace = env.workspace(&repo).await;
    let agent = env.agent(&workspace);
    agent.write("work.txt", "work\n");
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Uncommitted { files: 1, .. }), "{error}");
    agent.git(&["stash", "-q", "-u"]);
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Uncommitted { .. }), "{error}");
    agent.git(&["stash", "pop", "-q"]);
    agent.git(&["checkout", "-q", "--detach"]);
    agent.commit("detached");
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Unmerged { commits: 1, .. }), "{error}");
    // Also where the user's repository is gone, and where git cannot look.
    fs::rename(&repo.root, env.path("elsewhere")).unwrap();
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Unmerged { .. }), "{error}");
    fs::remove_dir_all(agent.root.join(".git")).unwrap();
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Uncommitted { .. }), "{error}");
    env.workspaces.remove(workspace.task_id, true).await.unwrap();
}

#[tokio::test]
async fn a_branch_that_is_checked_out_stays() {
    let env = Env::new();
    let repo = env.repository("user");
    let workspace = with_work(&env, &repo).await;
    repo.git(&["checkout", "-q", &workspace.branch]);
    for force in [false, true] {
        let error = env.workspaces.remove(workspace.task_id, force).await.unwrap_err();
        assert!(matches!(error, WorkspaceError::CheckedOut { .. }), "{error}");
    }
    assert!(workspace.directory.is_dir());
}

#[tokio::test]
async fn the_users_own_commits_on_the_branch_count() {
    let env = Env::new();
    let repo = env.repository("user");
    let workspace = with_work(&env, &repo).await;
    apply(&repo.root, &workspace.branch, ApplyMode::Merge).await.unwrap();
    repo.git(&["checkout", "-q", &workspace.branch]);
    repo.write("mine.txt", "mine\n");
    repo.commit("mine");
    repo.git(&["checkout", "-q", "main"]);
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Unmerged { commits: 1, .. }), "{error}");
}

#[tokio::test]
async fn work_for_an_url_can_go_when_it_is_there() {
    let env = Env::new();
    let repo = env.repository("remote");
    let origin = Origin::Url(format!("file://{}", repo.root.display()));
    let mut request = env.request(origin);
    request.base_branch = Some("main".into());
    let workspace = env.prepare(&request).await;
    let agent = env.agent(&workspace);
    agent.write("work.txt", "work\n");
    workspace.commit_leftovers("work").await.unwrap();
    workspace.publish().await.unwrap();
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Unmerged { commits: 1, .. }), "{error}");
    // Merged there, by squash.
    repo.write("work.txt", "work\n");
    repo.commit("squashed");
    env.workspaces.remove(workspace.task_id, false).await.unwrap();
}

#[tokio::test]
async fn one_that_was_never_finished_can_go() {
    let env = Env::new();
    let id = uuid::Uuid::new_v4();
    let half = env.path(&format!("data/workspaces/{id}/repo"));
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("x"), "x").unwrap();
    env.workspaces.remove(id, false).await.unwrap();
    assert!(!half.exists());
}

/// The workspace of a repository with the submodule `lib`.
async fn with_submodule(env: &Env) -> Workspace {
    let library = env.repository("library");
    library.git(&["tag", "old", "HEAD^"]);
    // On no branch, and so not known to a clone of the user's copy.
    library.git(&["checkout", "-q", "--detach"]);
    library.write("deep.txt", "x\n");
    library.commit("detached");
    library.git(&["tag", "-a", "-m", "tagged", "tagged"]);
    let repo = env.repository("user");
    repo.git(&["submodule", "--quiet", "add", &library.root.display().to_string(), "lib"]);
    repo.commit("with a library");
    repo.git(&["tag", "-a", "-m", "mine", "mine"]);
    env.workspace(&repo).await
}

async fn refused(env: &Env, workspace: &Workspace) -> Vec<PathBuf> {
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    let WorkspaceError::OtherHistory { places, .. } = error else { panic!("{error}") };
    places.into_iter().map(|place| place.strip_prefix(&workspace.directory).unwrap_or(&place).to_path_buf()).collect()
}

fn commit_in(repo: &Repo) {
    repo.git(&["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "inside"]);
}

#[tokio::test]
async fn submodules_as_they_came_can_go() {
    let env = Env::new();
    let workspace = with_submodule(&env).await;
    env.workspaces.remove(workspace.task_id, false).await.unwrap();
}

#[tokio::test]
async fn commits_in_a_submodule_are_kept() {
    let env = Env::new();
    let workspace = with_submodule(&env).await;
    let agent = env.agent(&workspace);
    let inner = agent.at(&agent.root.join("lib"));
    let start = inner.head();
    inner.git(&["checkout", "-q", "-b", "side"]);
    commit_in(&inner);
    inner.git(&["checkout", "-q", &start]);
    // Nothing that the workspace's own status shows.
    assert_eq!(agent.git(&["status", "--porcelain"]), "");
    assert_eq!(refused(&env, &workspace).await, [PathBuf::from("lib")]);
    // Also where its files are gone.
    agent.git(&["submodule", "--quiet", "deinit", "lib"]);
    assert_eq!(refused(&env, &workspace).await, [PathBuf::from(".git/modules/lib")]);
    let inner = agent.at(&agent.root.join(".git/modules/lib"));
    inner.git(&["--work-tree=.", "push", "-q", "origin", "side"]);
    env.workspaces.remove(workspace.task_id, false).await.unwrap();
}

#[tokio::test]
async fn history_of_nested_repositories_is_kept() {
    let env = Env::new();
    let repo = env.repository("user");
    let library = env.repository("library");
    let workspace = env.workspace(&repo).await;
    let agent = env.agent(&workspace);
    for (name, commits) in [("own", true), ("secret/ignored", true), ("empty", false)] {
        agent.git(&["init", "-q", name]);
        if commits {
            commit_in(&agent.at(&agent.root.join(name)));
        }
        agent.write(&format!("{name}/file"), "x\n");
    }
    agent.git(&["clone", "-q", &library.root.display().to_string(), "cloned"]);
    workspace.finish("work").await.unwrap();
    workspace.publish().await.unwrap();
    apply(&repo.root, &workspace.branch, ApplyMode::Merge).await.unwrap();
    assert_eq!(refused(&env, &workspace).await, [PathBuf::from("own")]);
    fs::remove_dir_all(agent.root.join("own/.git")).unwrap();
    env.workspaces.remove(workspace.task_id, false).await.unwrap();
}

#[tokio::test]
async fn a_repository_that_was_put_aside_is_kept() {
    let env = Env::new();
    let repo = env.repository("user");
    let workspace = env.workspace(&repo).await;
    fs::rename(workspace.directory.join(".git"), env.path("broken")).unwrap();
    fs::write(workspace.directory.join(".git"), "no repository").unwrap();
    workspace.finish("work").await.unwrap();
    let places = refused(&env, &workspace).await;
    assert!(places[0].ends_with("git-aside-1"), "{places:?}");
    env.workspaces.remove(workspace.task_id, true).await.unwrap();
}

#[tokio::test]
async fn commits_that_only_a_tag_or_a_working_tree_has_are_kept() {
    let env = Env::new();
    let repo = env.repository("user");
    repo.git(&["tag", "-a", "-m", "mine", "mine", "HEAD^"]);
    let workspace = env.workspace(&repo).await;
    repo.git(&["tag", "-d", "mine"]);
    let agent = env.agent(&workspace);
    agent.git(&["checkout", "-q", "--detach"]);
    agent.write("x.txt", "x\n");
    agent.commit("detached");
    agent.git(&["tag", "-a", "-m", "x", "x"]);
    agent.git(&["checkout", "-q", &workspace.branch]);
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Unmerged { commits: 1, .. }), "{error}");
    agent.git(&["worktree", "add", "-q", "--detach", "secret/tree", "x"]);
    agent.git(&["tag", "-d", "x"]);
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Unmerged { commits: 1, .. }), "{error}");
    agent.git(&["worktree", "remove", "secret/tree"]);
    env.workspaces.remove(workspace.task_id, false).await.unwrap();
}
