use std::fs;

use cadence_agent::workspace::WorkspaceError;

use super::Env;

#[tokio::test]
async fn work_in_submodules_is_noted() {
    let env = Env::new();
    let (_library, repo) = env.with_submodule();
    let workspace = env.workspace(&repo).await;
    env.agent(&workspace).write("lib/a.txt", "changed\n");
    let finished = workspace.finish("x").await.unwrap();
    assert!(finished.notes[0].contains("submodule lib"), "{:?}", finished.notes);
    assert_eq!(finished.commit, None);
    // It is still work.
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Uncommitted { .. }), "{error}");
}

#[tokio::test]
async fn programs_in_the_settings_of_a_submodule_do_not_run() {
    let env = Env::new();
    let (_library, repo) = env.with_submodule();
    let workspace = env.workspace(&repo).await;
    let agent = env.agent(&workspace);
    let inner = agent.at(&agent.root.join("lib"));
    let trace = env.path("ran");
    inner.git(&["config", "filter.x.clean", &format!("touch '{}'; cat", trace.display())]);
    inner.git(&["config", "core.fsmonitor", &format!("touch '{}'", trace.display())]);
    inner.write(".gitattributes", "b.txt filter=x\n");
    // Of the same size, so that git has to read it.
    inner.write("b.txt", "c\n");
    agent.write("new.txt", "new\n");
    let diff = workspace.diff(1 << 20).await.unwrap();
    assert!(diff.contains("+++ b/new.txt"), "{diff}");
    let finished = workspace.finish("x").await.unwrap();
    assert!(finished.commit.is_some());
    assert!(finished.notes.iter().any(|note| note.contains("submodule lib")), "{:?}", finished.notes);
    workspace.publish().await.unwrap();
    repo.git(&["merge", "-q", &workspace.branch]);
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Uncommitted { files: 1, .. }), "{error}");
    assert!(!trace.exists(), "a program of the submodule ran");
    // The very same command, asked for by the agent, does run it.
    agent.git(&["status"]);
    assert!(trace.exists());
}

#[tokio::test]
async fn commits_in_submodules_are_referred_to() {
    let env = Env::new();
    let library = env.repository("library");
    let repo = env.repository("user");
    for path in ["lib", "gone"] {
        repo.git(&["submodule", "--quiet", "add", &library.root.display().to_string(), path]);
    }
    repo.commit("with libraries");
    let workspace = env.workspace(&repo).await;
    let agent = env.agent(&workspace);
    let inner = agent.at(&agent.root.join("lib"));
    inner.write("a.txt", "changed\n");
    inner.git(&["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "-a", "-m", "inside"]);
    fs::remove_dir_all(agent.root.join("gone")).unwrap();
    assert!(workspace.diff(1 << 20).await.unwrap().contains(&format!("+Subproject commit {}", inner.head())));
    workspace.finish("x").await.unwrap().commit.unwrap();
    assert_eq!(agent.git(&["rev-parse", "HEAD:lib"]), inner.head());
    assert_eq!(agent.git(&["ls-tree", "HEAD", "gone"]), "");
    assert_eq!(workspace.finish("x").await.unwrap().commit, None);
}
