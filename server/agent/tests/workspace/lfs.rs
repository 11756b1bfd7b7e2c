//! Large files, with the real git-lfs.

use std::process::Command;

use cadence_agent::workspace::Origin;

use super::Env;
use crate::support::Repo;

/// A repository with one large file, which is in git as a pointer only.
fn with_large_file(env: &Env) -> Repo {
    let there = Command::new("git-lfs").arg("version").output().is_ok_and(|output| output.status.success());
    assert!(there, "git-lfs is needed: sudo apt install git-lfs, or brew install git-lfs");
    let repo = env.repository("user");
    repo.git(&["lfs", "install", "--local"]);
    repo.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    repo.write("big.bin", "large\n");
    repo.commit("a large file");
    assert!(pointer(&repo, "HEAD", "big.bin"));
    repo
}

fn pointer(repo: &Repo, commit: &str, path: &str) -> bool {
    repo.git(&["cat-file", "-p", &format!("{commit}:{path}")]).starts_with("version https://git-lfs")
}

#[tokio::test]
async fn large_files_come_along_and_new_ones_come_home() {
    let env = Env::new();
    let repo = with_large_file(&env);
    let (workspace, said) = env.prepare_told(&env.request(Origin::Local(repo.root.clone()))).await;
    assert!(!said.iter().any(|line| line.contains("Left out")), "{said:?}");
    let agent = env.agent(&workspace);
    assert_eq!(agent.read("big.bin"), "large\n");

    agent.write("big.bin", "larger\n");
    agent.write("second.bin", "second\n");
    workspace.commit_leftovers("more").await.unwrap();
    workspace.publish().await.unwrap();
    assert!(pointer(&repo, &workspace.branch, "big.bin"));
    repo.git(&["merge", "-q", &workspace.branch]);
    assert_eq!((repo.read("big.bin").as_str(), repo.read("second.bin").as_str()), ("larger\n", "second\n"));
}

#[tokio::test]
async fn a_snapshot_has_the_large_file_as_it_lies_there() {
    let env = Env::new();
    let repo = with_large_file(&env);
    repo.write("big.bin", "not committed\n");
    let mut request = env.request(Origin::Local(repo.root.clone()));
    request.commit = Some(env.workspaces.snapshot(&repo.root, &env.environment()).await.unwrap());
    let workspace = env.prepare(&request).await;
    assert_eq!(env.agent(&workspace).read("big.bin"), "not committed\n");
    assert_eq!(repo.git(&["diff", "--name-only"]), "big.bin");
}
