//! What ends what a workspace began.

use std::collections::BTreeMap;
use std::fs;

use cadence_agent::workspace::WorkspaceError;

use crate::support::Env;

#[tokio::test]
async fn the_tear_down_command_runs_when_the_workspace_goes_and_as_the_repository_has_it() {
    let env = Env::new();
    let repo = env.repository("user");
    let seen = env.path("seen");
    repo.write(".cadence.toml", &format!("[teardown]\ncommand = 'echo $NAME $(cat b.txt) >> {}'\n", seen.display()));
    repo.commit("with a tear-down");
    let workspace = env.workspace(&repo).await;
    // What an agent makes of it does not count: nobody watches when it runs.
    let evil = format!("[teardown]\ncommand = 'echo evil >> {}'\n", seen.display());
    env.agent(&workspace).write(".cadence.toml", &evil);
    workspace.finish("x").await.unwrap();
    let error = env.workspaces.remove(workspace.task_id, false).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Unmerged { .. }), "{error}");
    assert!(!seen.exists(), "what stays is not torn down");

    let mut environment = env.environment();
    environment.insert("NAME".to_owned(), "task".to_owned());
    env.workspaces.remove_after(workspace.task_id, true, Some(&environment)).await.unwrap();
    assert_eq!(fs::read_to_string(&seen).unwrap(), "task b\n");
    assert!(!workspace.directory.exists());
}

#[tokio::test]
async fn one_that_fails_or_hangs_keeps_nothing_from_going() {
    let env = Env::new();
    let repo = env.repository("user");
    for command in ["exit 3", "echo $$ > pid; sleep 1000 & wait", "no-such-program"] {
        repo.write(".cadence.toml", &format!("[teardown]\ncommand = '{command}'\ntimeout_secs = 1\n"));
        repo.commit(command);
        let workspace = env.workspace(&repo).await;
        env.workspaces.remove_after(workspace.task_id, false, Some(&BTreeMap::new())).await.unwrap();
        assert!(!workspace.directory.exists(), "{command}");
    }
}
