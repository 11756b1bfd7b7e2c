//! Commits that go to another machine and come back, as bundles.

use std::fs;
use std::path::{Path, PathBuf};

use cadence_agent::workspace::{
    Applied, ApplyMode, BundleError, BundleHeader, Origin, Prepare, Remote, Taken, Workspace, WorkspaceError,
    apply_since, examine, inspect, take_bundle,
};

use crate::support::{Env, Repo, difference};

/// A clone of a published repository, with a commit that is not pushed.
struct Clone {
    repo: Repo,
    url: String,
}

fn clone_with_commit(env: &Env) -> Clone {
    let published = env.repository("published");
    let url = format!("file://{}", published.root.display());
    let root = env.path("clone");
    published.git(&["clone", "-q", &url, root.to_str().unwrap()]);
    let repo = published.at(&root);
    repo.git(&["config", "user.name", "Ada"]);
    repo.git(&["config", "user.email", "ada@example.org"]);
    repo.write("mine.txt", "not pushed\n");
    repo.commit("mine");
    Clone { repo, url }
}

async fn refused(bundle: &Path, env: &Env) -> BundleError {
    match examine(bundle, &env.environment()).await {
        Err(WorkspaceError::Bundle(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// A commit of a checkout as a file.
async fn sent(env: &Env, repo: &Repo, remote: Option<&Remote>, name: &str) -> PathBuf {
    let checkout = inspect(&repo.root).await.unwrap();
    let file = directory(env).join(name);
    checkout.bundle(&repo.head(), remote, &file).await.unwrap();
    file
}

/// A repository that has no commit of another one.
fn stranger(env: &Env) -> Repo {
    let repo = env.repository("stranger");
    repo.git(&["checkout", "-q", "--orphan", "alone"]);
    repo.git(&["branch", "-q", "-D", "main"]);
    repo.commit("Another start");
    repo.git(&["reflog", "expire", "--expire=now", "--all"]);
    repo.git(&["gc", "-q", "--prune=now"]);
    repo
}

fn directory(env: &Env) -> PathBuf {
    let path = env.path("bundles");
    fs::create_dir_all(&path).unwrap();
    path
}

/// What lies beside bundles after they were looked at.
fn names(env: &Env) -> Vec<String> {
    let entries = fs::read_dir(directory(env)).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn start(env: &Env, origin: Origin, bundle: &Path, commit: &str) -> Workspace {
    let request = env.request(origin);
    env.prepare(&Prepare { commit: Some(commit.to_owned()), bundle: Some(bundle.to_path_buf()), ..request }).await
}

/// Does a task's work and writes its bundle.
async fn work(env: &Env, workspace: &Workspace, text: &str) -> PathBuf {
    env.agent(workspace).write("work.txt", text);
    workspace.commit_leftovers("work").await.unwrap();
    workspace.publish().await.unwrap();
    let file = directory(env).join("result");
    workspace.bundle(&file).await.unwrap().unwrap();
    file
}

#[tokio::test]
async fn what_is_not_pushed_goes_along_and_the_branch_comes_back() {
    let env = Env::new();
    let Clone { repo, url } = clone_with_commit(&env);
    let checkout = inspect(&repo.root).await.unwrap();
    let remote = checkout.remote().await.unwrap().unwrap();
    assert_eq!(remote, Remote { name: "origin".into(), url: url.clone() });
    assert!(!checkout.is_pushed(&remote, &repo.head()).await.unwrap());
    assert!(checkout.is_pushed(&remote, &repo.git(&["rev-parse", "HEAD^"])).await.unwrap());
    let bundle = sent(&env, &repo, Some(&remote), "mine").await;
    let examined = examine(&bundle, &env.environment()).await.unwrap();
    assert_eq!(examined.header.prerequisites, [repo.git(&["rev-parse", "HEAD^"])]);
    assert_eq!((examined.header.heads[0].commit.clone(), examined.root), (repo.head(), None));

    let workspace = start(&env, Origin::Url(url), &bundle, &repo.head()).await;
    assert_eq!(env.agent(&workspace).read("mine.txt"), "not pushed\n");
    assert!(workspace.bundle(&env.path("nothing")).await.unwrap().is_none(), "nothing is done yet");
    let result = work(&env, &workspace, "done\n").await;

    let trace = repo.add_hooks();
    let before = repo.listing();
    let taken = take_bundle(&repo.root, &workspace.branch, Some(&workspace.base_commit), &result).await.unwrap();
    assert_eq!(taken, Taken::Fetched(env.agent(&workspace).head()));
    assert_eq!(repo.git(&["show", &format!("{}:work.txt", workspace.branch)]), "done");
    let branch = Path::new("refs/heads").join(&workspace.branch);
    let others: Vec<_> = difference(&before, &repo.listing())
        .into_iter()
        .filter(|path| !path.starts_with("objects") && *path != branch && path != Path::new("refs/heads/cadence"))
        .collect();
    assert!(others.is_empty() && !trace.exists(), "{others:?}");
    let again = take_bundle(&repo.root, &workspace.branch, Some(&workspace.base_commit), &result).await.unwrap();
    assert_eq!(again, Taken::UpToDate);
}

#[tokio::test]
async fn a_repository_without_a_remote_is_sent_whole_and_its_mirror_used_again() {
    let env = Env::new();
    let repo = env.repository("alone");
    let checkout = inspect(&repo.root).await.unwrap();
    assert_eq!(checkout.remote().await.unwrap(), None);
    let bundle = sent(&env, &repo, None, "whole").await;
    let examined = examine(&bundle, &env.environment()).await.unwrap();
    assert!(examined.header.is_complete());
    let root = examined.root.unwrap();
    assert_eq!(root, repo.git(&["rev-list", "--max-parents=0", "HEAD"]));
    let origin = Origin::Sent(format!("user-{root}"));
    let first = start(&env, origin.clone(), &bundle, &repo.head()).await;
    let result = work(&env, &first, "one\n").await;
    take_bundle(&repo.root, &first.branch, Some(&first.base_commit), &result).await.unwrap();

    repo.write("more.txt", "more\n");
    repo.commit("more");
    let bundle = sent(&env, &repo, None, "whole-again").await;
    let second = start(&env, origin, &bundle, &repo.head()).await;
    assert_eq!(env.agent(&second).read("more.txt"), "more\n");
    let mirrors = fs::read_dir(env.path("data/mirrors")).unwrap().flatten();
    let mirrors: Vec<_> =
        mirrors.map(|entry| entry.file_name()).filter(|name| !name.to_string_lossy().ends_with(".lock")).collect();
    assert_eq!(mirrors.len(), 1, "one mirror, and no scratch beside it: {mirrors:?}");
}

#[tokio::test]
async fn uncommitted_work_goes_along_and_the_change_comes_back_onto_it() {
    let env = Env::new();
    let Clone { repo, url } = clone_with_commit(&env);
    let checkout = inspect(&repo.root).await.unwrap();
    let remote = checkout.remote().await.unwrap().unwrap();
    let file = directory(&env).join("changes");
    assert_eq!(checkout.bundle_with_changes(Some(&remote), &file).await.unwrap(), None, "nothing is uncommitted");
    repo.write("a.txt", "changed\n");
    repo.write("new.txt", "new\n");
    let before = repo.listing();
    let commit = checkout.bundle_with_changes(Some(&remote), &file).await.unwrap().unwrap();
    assert_eq!(difference(&before, &repo.listing()), Vec::<PathBuf>::new(), "the checkout is not touched");
    examine(&file, &env.environment()).await.unwrap();
    let workspace = start(&env, Origin::Url(url), &file, &commit).await;
    assert_eq!(env.agent(&workspace).read("new.txt"), "new\n");
    let result = work(&env, &workspace, "done\n").await;
    assert!(!checkout.has_commit(&commit).await.unwrap());
    take_bundle(&repo.root, &workspace.branch, Some(&commit), &result).await.unwrap();
    let applied = apply_since(&repo.root, &workspace.branch, ApplyMode::Merge, Some(&commit)).await.unwrap();
    assert_eq!(applied, Applied::Patched { files: 1 });
    assert_eq!((repo.read("work.txt"), repo.read("a.txt")), ("done\n".into(), "changed\n".into()));
}

#[tokio::test]
async fn a_bundle_that_git_makes_is_taken_with_its_thin_pack() {
    let env = Env::new();
    let Clone { repo, url } = clone_with_commit(&env);
    let long: String = (0..3000).map(|n| format!("line {n}\n")).collect();
    repo.write("long.txt", &long);
    repo.commit("long");
    repo.git(&["push", "-q", "origin", "HEAD:refs/heads/other"]);
    repo.write("long.txt", &format!("{long}one more\n"));
    repo.commit("longer");
    let file = directory(&env).join("thin");
    repo.git(&["bundle", "create", "-q", file.to_str().unwrap(), "HEAD", "--not", "--remotes"]);
    assert!(fs::metadata(&file).unwrap().len() < 2000, "it has deltas against what it leaves out");
    examine(&file, &env.environment()).await.unwrap();
    let workspace = start(&env, Origin::Url(url), &file, &repo.head()).await;
    assert!(env.agent(&workspace).read("long.txt").ends_with("one more\n"));
    assert_eq!(names(&env), ["thin"]);
}

#[tokio::test]
async fn damaged_and_hostile_content_is_refused_and_leaves_nothing() {
    let env = Env::new();
    let repo = env.repository("alone");
    let whole = fs::read(sent(&env, &repo, None, "bundle").await).unwrap();
    let file = directory(&env).join("bundle");
    for cut in [whole.len() - 1, whole.len() - 25, whole.len() / 2] {
        fs::write(&file, &whole[..cut]).unwrap();
        assert!(matches!(refused(&file, &env).await, BundleError::Content(_)), "{cut}");
    }
    fs::write(&file, &whole[..30]).unwrap();
    assert_eq!(refused(&file, &env).await, BundleError::Truncated);
    let mut flipped = whole.clone();
    let at = flipped.len() - 40;
    flipped[at] ^= 0x55;
    fs::write(&file, &flipped).unwrap();
    assert!(matches!(refused(&file, &env).await, BundleError::Content(_)));

    // A head whose commit is not in the pack.
    let header = BundleHeader::parse(&whole).unwrap().unwrap();
    let pack = &whole[usize::try_from(header.length).unwrap()..];
    let mut lying = header.clone();
    lying.heads[0].commit = "0123456789abcdef0123456789abcdef01234567".into();
    fs::write(&file, [lying.text().as_bytes(), pack].concat()).unwrap();
    assert!(matches!(refused(&file, &env).await, BundleError::NoCommit(_)));

    // A history with a hole.
    fs::write(&file, [header.text().as_bytes(), &hole(&repo)].concat()).unwrap();
    assert!(matches!(refused(&file, &env).await, BundleError::Content(_)));
    assert_eq!(names(&env), ["bundle"]);
}

/// A pack of HEAD alone, without what it builds on.
fn hole(repo: &Repo) -> Vec<u8> {
    let list = repo.root.with_extension("list");
    fs::write(&list, format!("{}\n^{}\n", repo.head(), repo.git(&["rev-parse", "HEAD^"]))).unwrap();
    packed(repo, &list)
}

fn packed(repo: &Repo, list: &Path) -> Vec<u8> {
    let output = std::process::Command::new("git")
        .args(["pack-objects", "-q", "--revs", "--stdout"])
        .current_dir(&repo.root)
        .env_clear()
        .envs(&repo.environment)
        .stdin(fs::File::open(list).unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

#[tokio::test]
async fn a_tree_that_would_write_into_git_is_refused_alone_and_on_top_of_others() {
    let env = Env::new();
    let repo = env.repository("user");
    let blob = repo.git(&["rev-parse", "HEAD:a.txt"]);
    let mut tree = b"100644 .git\0".to_vec();
    tree.extend((0..20).map(|n| u8::from_str_radix(&blob[2 * n..2 * n + 2], 16).unwrap()));
    let file = repo.root.with_extension("tree");
    fs::write(&file, tree).unwrap();
    let tree = repo.git(&["hash-object", "-t", "tree", "--literally", "-w", file.to_str().unwrap()]);
    for parent in [None, Some(repo.head())] {
        let mut commit = vec!["commit-tree", &tree, "-m", "evil"];
        commit.extend(parent.iter().flat_map(|parent| ["-p", parent.as_str()]));
        let evil = repo.git(&commit);
        let list = repo.root.with_extension("list");
        fs::write(&list, format!("{evil}\n{}", parent.iter().map(|p| format!("^{p}\n")).collect::<String>())).unwrap();
        let needs = parent.iter().map(|p| format!("-{p}\n")).collect::<String>();
        let head = format!("# v2 git bundle\n{needs}{evil} HEAD\n\n");
        let bundle = directory(&env).join("evil");
        fs::write(&bundle, [head.as_bytes(), &packed(&repo, &list)].concat()).unwrap();
        assert!(matches!(refused(&bundle, &env).await, BundleError::Content(text) if text.contains("hasDotgit")));
    }
}

#[tokio::test]
async fn only_the_tasks_branch_is_taken_and_only_into_its_repository() {
    let env = Env::new();
    let Clone { repo, url } = clone_with_commit(&env);
    let checkout = inspect(&repo.root).await.unwrap();
    let remote = checkout.remote().await.unwrap();
    let bundle = sent(&env, &repo, remote.as_ref(), "mine").await;
    let workspace = start(&env, Origin::Url(url), &bundle, &repo.head()).await;
    let result = work(&env, &workspace, "one\n").await;
    let base = Some(workspace.base_commit.as_str());
    let other = stranger(&env);
    let error = take_bundle(&other.root, &workspace.branch, base, &result).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Bundle(BundleError::Prerequisite(_))), "{error}");
    let error = take_bundle(&repo.root, "cadence/another-12345678", base, &result).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Bundle(BundleError::Reference(_))), "{error}");
    let error = take_bundle(&repo.root, "main", base, &result).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::BranchName(_)), "{error}");

    take_bundle(&repo.root, &workspace.branch, base, &result).await.unwrap();
    let first = repo.git(&["rev-parse", &workspace.branch]);
    let result = work(&env, &workspace, "two\n").await;
    repo.git(&["checkout", "-q", &workspace.branch]);
    let error = take_bundle(&repo.root, &workspace.branch, base, &result).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::CheckedOut { .. }), "{error}");
    repo.write("own.txt", "of the user\n");
    let own = repo.commit("own");
    repo.git(&["checkout", "-q", "-"]);
    let error = take_bundle(&repo.root, &workspace.branch, base, &result).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Diverged { .. }), "{error}");
    assert_eq!(repo.git(&["rev-parse", &workspace.branch]), own);
    repo.git(&["update-ref", &format!("refs/heads/{}", workspace.branch), &first]);
    take_bundle(&repo.root, &workspace.branch, base, &result).await.unwrap();
    assert_eq!(repo.git(&["show", &format!("{}:work.txt", workspace.branch)]), "two");
}

#[tokio::test]
async fn a_shallow_clone_takes_a_result_too() {
    let env = Env::new();
    let published = env.repository("published");
    let url = format!("file://{}", published.root.display());
    let root = env.path("shallow");
    published.git(&["clone", "-q", "--depth=1", &url, root.to_str().unwrap()]);
    let repo = published.at(&root);
    let workspace = env.prepare(&env.request(Origin::Url(url))).await;
    assert_eq!(workspace.base_commit, repo.head());
    let result = work(&env, &workspace, "done\n").await;
    take_bundle(&repo.root, &workspace.branch, Some(&workspace.base_commit), &result).await.unwrap();
    assert_eq!(repo.git(&["show", &format!("{}:work.txt", workspace.branch)]), "done");
}

#[tokio::test]
async fn what_a_bundle_builds_on_and_nobody_has_is_named() {
    let env = Env::new();
    let Clone { repo, .. } = clone_with_commit(&env);
    let remote = inspect(&repo.root).await.unwrap().remote().await.unwrap();
    let bundle = sent(&env, &repo, remote.as_ref(), "mine").await;
    let elsewhere = stranger(&env);
    let wrong = Origin::Url(format!("file://{}", elsewhere.root.display()));
    let request = Prepare { commit: Some(repo.head()), bundle: Some(bundle), ..env.request(wrong) };
    let error = env.workspaces.prepare(&request, &|_| ()).await.unwrap_err();
    assert!(matches!(error, WorkspaceError::Bundle(BundleError::Prerequisite(_))), "{error}");
}
