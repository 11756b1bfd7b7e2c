use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use cadence_agent::workspace::{Origin, WorkspaceError, inspect};

use super::Env;
use crate::support::difference;

#[tokio::test]
async fn a_workspace_of_a_local_checkout() {
    let env = Env::new();
    let repo = env.repository("user");
    repo.git(&["tag", "v1"]);
    let workspace = env.workspace(&repo).await;
    let agent = env.agent(&workspace);
    assert_eq!(agent.read("a.txt"), "one\ntwo\nthree\n");
    assert_eq!(agent.head(), repo.head());
    assert_eq!(workspace.base_commit, repo.head());
    assert_eq!(workspace.base_branch, "main");
    assert_eq!(agent.git(&["symbolic-ref", "--short", "HEAD"]), workspace.branch);
    assert_eq!(agent.git(&["status", "--porcelain"]), "");
    assert_eq!(agent.git(&["remote"]), "");
    assert_eq!(agent.git(&["config", "user.name"]), "Ada");
    assert_eq!(agent.git(&["describe", "--tags"]), "v1");
    assert_eq!(agent.git(&["rev-parse", "main"]), repo.head());
    agent.git(&["fsck", "--strict"]);
    let mode = fs::metadata(env.path("data/workspaces")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);

    // Its objects are the mirror's; the user's repository may go.
    fs::rename(&repo.root, env.path("elsewhere")).unwrap();
    agent.git(&["log", "--stat"]);
}

#[tokio::test]
async fn a_workspace_from_a_subdirectory() {
    let env = Env::new();
    let repo = env.repository("user");
    repo.write("deep/er/x", "x");
    repo.commit("third");
    let workspace = env.prepare(&env.request(Origin::Local(repo.root.join("deep/er")))).await;
    assert_eq!(workspace.origin, Origin::Local(repo.root.clone()));
    assert!(env.agent(&workspace).has("deep/er/x"));
    let checkout = inspect(&repo.root.join("deep")).await.unwrap();
    assert_eq!((checkout.root, checkout.name.as_str()), (repo.root.clone(), "user"));
}

#[tokio::test]
async fn the_checkout_is_not_touched() {
    let env = Env::new();
    let repo = env.repository("user");
    let trace = repo.add_hooks();
    repo.write("a.txt", "changed\n");
    repo.write("new.txt", "new\n");
    repo.write("staged.txt", "staged\n");
    repo.git(&["add", "staged.txt"]);
    // Same content, other time: git would like to refresh its index.
    repo.write("b.txt", "b\n");
    fs::remove_file(&trace).unwrap();
    let before = repo.listing();
    inspect(&repo.root).await.unwrap();
    let commit = env.workspaces.snapshot(&repo.root, &env.environment()).await.unwrap();
    let mut request = env.request(Origin::Local(repo.root.clone()));
    env.prepare(&request).await;
    request = env.request(Origin::Local(repo.root.clone()));
    request.commit = Some(commit);
    env.prepare(&request).await;
    assert_eq!(difference(&before, &repo.listing()), Vec::<std::path::PathBuf>::new());
    assert!(!trace.exists(), "a hook ran");
    assert!(repo.git(&["status", "--porcelain"]).contains("A  staged.txt"));
}

#[tokio::test]
async fn uncommitted_work_is_brought_along() {
    let env = Env::new();
    let repo = env.repository("user");
    let clean = env.workspaces.snapshot(&repo.root, &env.environment()).await.unwrap();
    assert_eq!(clean, repo.head());
    repo.write("a.txt", "changed\n");
    repo.write("deep/new.txt", "new\n");
    repo.write("x.log", "ignored\n");
    repo.write("private", "excluded\n");
    fs::create_dir_all(repo.root.join(".git/info")).unwrap();
    fs::write(repo.root.join(".git/info/exclude"), "private\n").unwrap();
    repo.write("staged.txt", "only in the user's objects\n");
    repo.git(&["add", "staged.txt"]);
    fs::remove_file(repo.root.join("b.txt")).unwrap();
    repo.write("nested/x", "x");
    repo.at(&repo.root.join("nested")).git(&["init", "-q"]);
    let commit = env.workspaces.snapshot(&repo.root, &env.environment()).await.unwrap();
    assert!(repo.try_git(&["cat-file", "-e", &commit]).is_err(), "it is in the user's repository");
    let mut request = env.request(Origin::Local(repo.root.clone()));
    request.commit = Some(commit.clone());
    request.base_branch = Some("main".into());
    let workspace = env.prepare(&request).await;
    let agent = env.agent(&workspace);
    assert_eq!(agent.read("a.txt"), "changed\n");
    assert_eq!(agent.read("deep/new.txt"), "new\n");
    assert_eq!(agent.read("staged.txt"), "only in the user's objects\n");
    for missing in ["b.txt", "x.log", "private", "nested"] {
        assert!(!agent.has(missing), "{missing}");
    }
    assert_eq!(agent.git(&["rev-parse", "HEAD^"]), repo.head());
    agent.git(&["fsck", "--strict"]);
    assert_eq!(env.workspaces.snapshot(&repo.root, &env.environment()).await.unwrap().len(), 40);
}

#[tokio::test]
async fn a_commit_that_no_branch_leads_to() {
    let env = Env::new();
    let repo = env.repository("user");
    env.workspace(&repo).await;
    repo.write("a.txt", "lost\n");
    let lost = repo.commit("to be amended");
    repo.write("a.txt", "kept\n");
    repo.git(&["commit", "-q", "-a", "--amend", "-m", "amended"]);
    let mut request = env.request(Origin::Local(repo.root.clone()));
    request.commit = Some(lost.clone());
    let workspace = env.prepare(&request).await;
    assert_eq!(env.agent(&workspace).read("a.txt"), "lost\n");
    // A short id will do as well.
    let mut request = env.request(Origin::Local(repo.root.clone()));
    request.commit = Some(lost[..10].to_owned());
    assert_eq!(env.prepare(&request).await.base_commit, lost);
    for none in ["0123456789012345678901234567890123456789", "--all", "HEAD", "zz"] {
        request = env.request(Origin::Local(repo.root.clone()));
        request.commit = Some(none.into());
        let error = env.workspaces.prepare(&request, &|_| ()).await.unwrap_err();
        assert!(matches!(error, WorkspaceError::NoSuchCommit { .. }), "{none}: {error}");
    }
}

#[tokio::test]
async fn branches_with_hostile_names() {
    let env = Env::new();
    let repo = env.repository("user");
    for name in
        ["-x", "--upload-pack=touch", "$(touch${IFS}pwned)", "`touch${IFS}pwned`", "a;touch${IFS}pwned", "ä'\"&|"]
    {
        repo.git(&["update-ref", &format!("refs/heads/{name}"), "HEAD"]);
        let mut request = env.request(Origin::Local(repo.root.clone()));
        request.base_branch = Some(name.into());
        let workspace = env.prepare(&request).await;
        assert_eq!(workspace.base_branch, name);
        workspace.publish().await.unwrap();
        // The same over an URL.
        let mut request = env.request(Origin::Url(format!("file://{}", repo.root.display())));
        request.base_branch = Some(name.into());
        assert_eq!(env.prepare(&request).await.base_commit, repo.head());
    }
    repo.git(&["symbolic-ref", "HEAD", "refs/heads/-x"]);
    assert_eq!(inspect(&repo.root).await.unwrap().branch.as_deref(), Some("-x"));
    assert_eq!(env.workspace(&repo).await.base_branch, "-x");
    for name in ["a b", "a..b", "nothing", "@{-1}", "main~1"] {
        let mut request = env.request(Origin::Local(repo.root.clone()));
        request.base_branch = Some(name.into());
        assert!(env.workspaces.prepare(&request, &|_| ()).await.is_err(), "{name}");
    }
    let mut request = env.request(Origin::Local(repo.root.clone()));
    request.branch = "main".into();
    assert!(matches!(env.workspaces.prepare(&request, &|_| ()).await, Err(WorkspaceError::BranchName(_))));
    let pwned: Vec<_> =
        ["pwned", "user/pwned", "data/pwned"].into_iter().filter(|path| env.path(path).exists()).collect();
    assert!(pwned.is_empty(), "{pwned:?}");
}

#[tokio::test]
async fn repositories_that_cannot_be_used() {
    let env = Env::new();
    let error = inspect(env.temp.path()).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::NotARepository(_)), "{error}");
    assert!(error.hint().unwrap().contains("git init"));
    let empty = env.repository("empty");
    fs::remove_dir_all(empty.root.join(".git")).unwrap();
    empty.git(&["init", "-q"]);
    let error = inspect(&empty.root).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::NoCommit(_)) && error.hint().unwrap().contains("git commit"), "{error}");
    for origin in [Origin::Local(empty.root.clone()), Origin::Url(format!("file://{}", empty.root.display()))] {
        let error = env.workspaces.prepare(&env.request(origin), &|_| ()).await.unwrap_err();
        assert!(matches!(error, WorkspaceError::NoCommit(_)), "{error}");
    }
    assert!(matches!(env.workspaces.snapshot(&empty.root, &env.environment()).await, Err(WorkspaceError::NoCommit(_))));
    empty.git(&["clone", "-q", "--bare", ".", "../bare.git"]);
    assert!(matches!(inspect(&env.path("bare.git")).await, Err(WorkspaceError::Bare(_))));
    let taken = env.repository("taken");
    taken.git(&["branch", "cadence"]);
    let error = env.workspaces.prepare(&env.request(Origin::Local(taken.root.clone())), &|_| ()).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::NameTaken(_)), "{error}");
    assert!(Origin::parse("--upload-pack=touch x").is_err());
    assert!(Origin::parse("ext::sh -c touch% x").is_err());
    // Even where a caller did not parse it.
    let error = env.workspaces.prepare(&env.request(Origin::Url("ext::sh -c 'touch pwned'".into())), &|_| ()).await;
    assert!(error.unwrap_err().to_string().contains("transport 'ext' not allowed"));
    let error = env.workspaces.prepare(&env.request(Origin::Url("--upload-pack=touch pwned".into())), &|_| ()).await;
    assert!(error.is_err());
    assert!(!env.path("data/mirrors/pwned").exists());
}

#[tokio::test]
async fn two_at_once_share_a_new_mirror() {
    let env = Env::new();
    let repo = env.repository("user");
    let requests: Vec<_> = (0..4).map(|_| env.request(Origin::Local(repo.root.clone()))).collect();
    let (a, b, c, d) = tokio::join!(
        env.prepare(&requests[0]),
        env.prepare(&requests[1]),
        env.prepare(&requests[2]),
        // The same task twice.
        env.prepare(&requests[2]),
    );
    assert_eq!(c.directory, d.directory);
    for workspace in [a, b, c] {
        assert_eq!(env.agent(&workspace).head(), repo.head());
    }
    let mirrors = fs::read_dir(env.path("data/mirrors"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|kind| kind == "git"));
    assert_eq!(mirrors.count(), 1);
}

#[tokio::test]
async fn a_task_comes_back_to_its_workspace() {
    let env = Env::new();
    let repo = env.repository("user");
    let request = env.request(Origin::Local(repo.root.clone()));
    let workspace = env.prepare(&request).await;
    let agent = env.agent(&workspace);
    agent.write("half.txt", "half done\n");
    repo.write("a.txt", "moved on\n");
    repo.commit("third");
    let again = env.prepare(&request).await;
    assert_eq!(again.base_commit, workspace.base_commit);
    assert_eq!(agent.read("half.txt"), "half done\n");
    let opened = env.workspaces.open(request.task_id).unwrap().unwrap();
    assert_eq!((opened.directory, opened.branch), (workspace.directory.clone(), workspace.branch.clone()));
    assert!(env.workspaces.open(uuid::Uuid::new_v4()).unwrap().is_none());

    // One that somebody deleted comes back from what was published.
    workspace.commit_leftovers("half").await.unwrap();
    workspace.publish().await.unwrap();
    fs::remove_dir_all(&workspace.directory).unwrap();
    let again = env.prepare(&request).await;
    assert_eq!(again.base_commit, workspace.base_commit);
    assert_eq!(agent.read("half.txt"), "half done\n");
}

#[tokio::test]
async fn a_second_writer_is_kept_out() {
    let env = Env::new();
    let workspace = env.workspace(&env.repository("user")).await;
    let held = workspace.lock(Duration::ZERO).await.unwrap();
    assert!(matches!(workspace.lock(Duration::from_millis(1)).await, Err(WorkspaceError::Busy(_))));
    assert!(matches!(env.workspaces.remove(workspace.task_id, true).await, Err(WorkspaceError::Busy(_))));
    drop(held);
    // The agent's host may outlive the one that started it.
    let host = fs::File::create(workspace.agent_lock()).unwrap();
    host.lock().unwrap();
    assert!(matches!(workspace.lock(Duration::from_millis(1)).await, Err(WorkspaceError::Busy(_))));
    drop(host);
    drop(workspace.lock(Duration::ZERO).await.unwrap());
}

#[tokio::test]
async fn files_named_in_worktreeinclude() {
    let env = Env::new();
    let repo = env.repository("user");
    fs::write(env.path("outside"), "outside").unwrap();
    repo.write(".worktreeinclude", ".env\nsecret/\na.txt\nplain.txt\n*.log\n!not.log\n");
    repo.git(&["add", ".worktreeinclude"]);
    repo.git(&["commit", "-q", "-m", "include"]);
    repo.write(".env", "KEY=1\n");
    fs::set_permissions(repo.root.join(".env"), fs::Permissions::from_mode(0o600)).unwrap();
    repo.write("secret/deep/key", "k");
    repo.write("x.log", "x");
    repo.write("not.log", "x");
    repo.write("plain.txt", "matches, but git does not ignore it");
    symlink(env.path("outside"), repo.root.join("out.log")).unwrap();
    symlink("x.log", repo.root.join("in.log")).unwrap();
    let status = repo.git(&["status", "--porcelain"]);
    let (workspace, said) = env.prepare_told(&env.request(Origin::Local(repo.root.clone()))).await;
    let agent = env.agent(&workspace);
    assert_eq!(agent.read(".env"), "KEY=1\n");
    assert_eq!(fs::metadata(agent.root.join(".env")).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(agent.read("secret/deep/key"), "k");
    assert_eq!(agent.read("in.log"), "x");
    for missing in ["not.log", "plain.txt", "out.log"] {
        assert!(!agent.has(missing), "{missing}");
    }
    assert!(said.iter().any(|line| line.contains("out.log")), "{said:?}");
    assert_eq!(repo.git(&["status", "--porcelain"]), status);
    // They are not committed, whatever happens to .gitignore.
    agent.write(".gitignore", "\n");
    workspace.commit_leftovers("work").await.unwrap().unwrap();
    assert_eq!(agent.git(&["show", "--format=", "--name-only", "HEAD"]), ".gitignore");

    // A link in the tree is not followed on the way in.
    fs::remove_dir_all(repo.root.join("secret")).unwrap();
    symlink(env.path("home"), repo.root.join("secret")).unwrap();
    repo.git(&["add", "-f", "secret"]);
    let linked = repo.commit("secret is a link");
    repo.git(&["rm", "-q", "secret"]);
    repo.commit("no link");
    repo.write("secret/evil", "e");
    let mut request = env.request(Origin::Local(repo.root.clone()));
    request.commit = Some(linked);
    let (_, said) = env.prepare_told(&request).await;
    assert!(said.iter().any(|line| line.contains("secret/evil")), "{said:?}");
    assert!(!env.path("home/evil").exists());
}

#[tokio::test]
async fn submodules_come_from_the_users_copies() {
    let env = Env::new();
    let (library, repo) = env.with_submodule();
    let workspace = env.workspace(&repo).await;
    let agent = env.agent(&workspace);
    assert_eq!(agent.read("lib/b.txt"), "b\n");
    assert_eq!(agent.git(&["status", "--porcelain"]), "");
    let url = agent.at(&agent.root.join("lib")).git(&["config", "remote.origin.url"]);
    assert_eq!(url, library.root.display().to_string());

    // From a file, an URL may name files; and a checkout without the submodule does without.
    let url = Origin::Url(format!("file://{}", repo.root.display()));
    assert!(env.agent(&env.prepare(&env.request(url)).await).has("lib/b.txt"));
    fs::remove_dir_all(repo.root.join(".git/modules")).unwrap();
    let (workspace, said) = env.prepare_told(&env.request(Origin::Local(repo.root.clone()))).await;
    assert!(!env.agent(&workspace).has("lib/b.txt"));
    assert!(said.iter().any(|line| line.contains("submodule lib")), "{said:?}");
}

#[tokio::test]
async fn submodules_of_submodules_cannot_name_repositories_on_this_machine() {
    let env = Env::new();
    let secret = env.repository("secret");
    let library = env.repository("library");
    library.git(&["submodule", "--quiet", "add", &secret.root.display().to_string(), "stolen"]);
    library.commit("with a secret");
    let repo = env.repository("user");
    repo.git(&["submodule", "--quiet", "add", &library.root.display().to_string(), "lib"]);
    repo.commit("with a library");
    for origin in [Origin::Local(repo.root.clone()), Origin::Url(format!("file://{}", repo.root.display()))] {
        let (workspace, said) = env.prepare_told(&env.request(origin)).await;
        let agent = env.agent(&workspace);
        assert_eq!(agent.read("lib/b.txt"), "b\n");
        assert!(!agent.has("lib/stolen/a.txt"));
        assert!(said.iter().any(|line| line.contains("inside") && line.contains("not allowed")), "{said:?}");
    }
}

#[tokio::test]
async fn a_shallow_source() {
    let env = Env::new();
    let full = env.repository("full");
    full.git(&["clone", "-q", "--depth=1", &format!("file://{}", full.root.display()), "../shallow"]);
    let repo = full.at(&env.path("shallow"));
    repo.git(&["config", "user.name", "Ada"]);
    repo.git(&["config", "user.email", "ada@example.org"]);
    let workspace = env.workspace(&repo).await;
    let agent = env.agent(&workspace);
    assert_eq!(agent.git(&["rev-list", "--count", "HEAD"]), "1");
    agent.write("new.txt", "new\n");
    workspace.commit_leftovers("work").await.unwrap().unwrap();
    workspace.publish().await.unwrap();
    assert_eq!(repo.git(&["rev-parse", &workspace.branch]), agent.head());
    repo.git(&["fsck"]);
    // The mirror goes on with it.
    repo.write("a.txt", "next\n");
    repo.commit("next");
    assert_eq!(env.workspace(&repo).await.base_commit, repo.head());
}

#[tokio::test]
async fn a_source_that_borrows_objects_itself() {
    let env = Env::new();
    let full = env.repository("full");
    full.git(&["clone", "-q", "--shared", ".", "../borrower"]);
    let repo = full.at(&env.path("borrower"));
    let workspace = env.workspace(&repo).await;
    fs::remove_dir_all(&full.root).unwrap();
    fs::remove_dir_all(&repo.root).unwrap();
    env.agent(&workspace).git(&["fsck", "--strict"]);
}

#[tokio::test]
async fn a_linked_checkout_shares_the_mirror() {
    let env = Env::new();
    let repo = env.repository("user");
    repo.git(&["worktree", "add", "-q", "-b", "side", "../linked"]);
    let linked = repo.at(&env.path("linked"));
    linked.write("side.txt", "s\n");
    linked.commit("on the side");
    linked.write("side.txt", "uncommitted\n");
    let commit = env.workspaces.snapshot(&linked.root, &env.environment()).await.unwrap();
    let mut request = env.request(Origin::Local(linked.root.clone()));
    let workspace = env.prepare(&request).await;
    assert_eq!((workspace.base_branch.as_str(), workspace.base_commit), ("side", linked.head()));
    request = env.request(Origin::Local(linked.root.clone()));
    request.commit = Some(commit);
    assert_eq!(env.agent(&env.prepare(&request).await).read("side.txt"), "uncommitted\n");
    env.workspace(&repo).await;
    let mirrors = fs::read_dir(env.path("data/mirrors")).unwrap();
    assert_eq!(mirrors.filter(|entry| entry.as_ref().unwrap().path().is_dir()).count(), 1);
}

#[tokio::test]
async fn an_url_is_cloned_once_and_fetched_after() {
    let env = Env::new();
    let repo = env.repository("remote");
    repo.git(&["branch", "cadence/theirs"]);
    let origin = Origin::parse(&format!("file://{}", repo.root.display())).unwrap();
    let workspace = env.prepare(&env.request(origin.clone())).await;
    let agent = env.agent(&workspace);
    assert_eq!((workspace.base_branch.as_str(), agent.head()), ("main", repo.head()));
    assert_eq!(agent.git(&["config", "remote.origin.url"]), format!("file://{}", repo.root.display()));
    assert_eq!(agent.git(&["rev-parse", "origin/main"]), repo.head());
    agent.git(&["fetch", "-q"]);

    repo.git(&["checkout", "-q", "-b", "next"]);
    repo.write("next.txt", "n\n");
    let next = repo.commit("next");
    repo.git(&["tag", "v2"]);
    // The default branch is what the remote's HEAD says now; a branch and a tag can be named.
    assert_eq!(env.prepare(&env.request(origin.clone())).await.base_branch, "next");
    for name in ["next", "v2"] {
        let mut request = env.request(origin.clone());
        request.base_branch = Some(name.into());
        assert_eq!(env.prepare(&request).await.base_commit, next, "{name}");
    }
    let mut request = env.request(origin.clone());
    request.base_branch = Some("nothing".into());
    let error = env.workspaces.prepare(&request, &|_| ()).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::NoSuchBranch { .. }), "{error}");
    repo.write("next.txt", "m\n");
    let mut request = env.request(origin);
    request.commit = Some(repo.commit("again"));
    assert_eq!(env.agent(&env.prepare(&request).await).read("next.txt"), "m\n");
}

#[tokio::test]
async fn large_files_without_git_lfs_are_said_to_be_missing() {
    let env = Env::new();
    let repo = env.repository("user");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n";
    repo.write("big.bin", pointer);
    repo.commit("pointer");
    repo.write("deep/.gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    repo.commit("attributes");
    let mut request = env.request(Origin::Local(repo.root.clone()));
    // A PATH with git alone; the user's settings ask for git-lfs all the same.
    let bin = env.path("bin");
    fs::create_dir(&bin).unwrap();
    let git =
        std::env::split_paths(&std::env::var_os("PATH").unwrap()).map(|dir| dir.join("git")).find(|p| p.is_file());
    symlink(git.unwrap(), bin.join("git")).unwrap();
    request.environment.insert("PATH".into(), bin.display().to_string());
    let config = fs::read_to_string(env.path("home/.gitconfig")).unwrap();
    let lfs = "[filter \"lfs\"]\n\tsmudge = git-lfs smudge\n\tprocess = git-lfs filter-process\n\trequired = true\n";
    fs::write(env.path("home/.gitconfig"), config + lfs).unwrap();
    let (workspace, said) = env.prepare_told(&request).await;
    assert_eq!(env.agent(&workspace).read("big.bin"), pointer);
    assert!(said.iter().any(|line| line.contains("git-lfs is not installed")), "{said:?}");
}
