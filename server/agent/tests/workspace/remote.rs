//! Repositories of another host, which asks who comes.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use cadence_agent::git::credentials::{HostCredential, HostCredentials, TOKEN_VARIABLE, TokenSource};
use cadence_agent::workspace::{CacheLimits, Origin, Partial, Prepare, Workspaces};
use cadence_fakes::forge::{Forge, TOKEN, holding_the_token};
use tokio_util::sync::CancellationToken;

use crate::support::{Env, Repo};
use crate::waiting::{eventually, host_program};

/// A home, a host, and the workspaces of a machine that has nothing of it yet.
struct Scene {
    env: Env,
    forge: Forge,
    all: Workspaces,
}

impl Scene {
    fn new() -> Self {
        let env = Env::new();
        let forge = Forge::new(env.path("forge"));
        let all = env.workspaces.clone().with_helper(&host_program());
        Self { env, forge, all }
    }

    /// A task that brings a token.
    fn request(&self, url: &str) -> Prepare {
        let mut request = self.env.request(Origin::parse(url).unwrap());
        request.environment.insert(TOKEN_VARIABLE.to_owned(), TOKEN.to_owned());
        request
    }

    async fn prepare(&self, url: &str) -> cadence_agent::workspace::Workspace {
        self.all.prepare(&self.request(url), &|line| assert!(!line.contains(TOKEN), "{line}")).await.unwrap()
    }

    fn mirrors(&self) -> Vec<String> {
        let mirrors = fs::read_dir(self.env.path("data/mirrors")).unwrap().flatten();
        let mut names: Vec<String> = mirrors
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| !name.ends_with(".lock") && !name.ends_with(".borrow"))
            .map(|name| name.rsplit_once('-').map_or(name.clone(), |(stem, _)| stem.to_owned()))
            .collect();
        names.sort();
        names
    }

    /// Makes the workspaces of a task for each of the repositories, and removes them again, the first being used the longest
    /// ago.
    async fn used_in_turn(&self, names: &[&str]) {
        let repo = self.env.repository("source");
        for (number, name) in names.iter().enumerate() {
            let workspace = self.prepare(&self.forge.push(&repo.root, name)).await;
            self.all.remove(workspace.task_id, false).await.unwrap();
            let ago = Duration::from_secs(1000 - number as u64);
            self.last_used(name, SystemTime::now() - ago);
        }
    }

    fn last_used(&self, name: &str, at: SystemTime) {
        let entries = fs::read_dir(self.env.path("data/mirrors")).unwrap().flatten().map(|entry| entry.path());
        let lock = entries
            .filter(|path| path.extension().is_some_and(|kind| kind == "lock"))
            .find(|path| path.file_name().unwrap().to_string_lossy().starts_with(&format!("{name}-")));
        fs::File::options().write(true).open(lock.unwrap()).unwrap().set_modified(at).unwrap();
    }
}

fn head_of(workspace: &cadence_agent::workspace::Workspace, env: &Env) -> String {
    env.agent(workspace).head()
}

#[tokio::test]
async fn a_private_repository_opens_with_the_tasks_token_which_shows_nowhere() {
    let s = Scene::new();
    let repo = s.env.repository("user");
    let url = s.forge.push(&repo.root, "private");
    let workspace = s.prepare(&url).await;
    assert_eq!(s.env.agent(&workspace).read("b.txt"), "b\n");
    s.env.agent(&workspace).write("work.txt", "work\n");
    workspace.finish("work").await.unwrap();
    workspace.publish().await.unwrap();

    // The next task sees what the branch is by now.
    repo.write("b.txt", "newer\n");
    let newest = repo.commit("newer");
    s.forge.push(&repo.root, "private");
    let next = s.prepare(&url).await;
    assert_eq!((next.base_commit.as_str(), s.env.agent(&next).read("b.txt").as_str()), (newest.as_str(), "newer\n"));

    s.forge.assert_kept_secret();
    assert_eq!(holding_the_token(&s.env.path("data")), Vec::<PathBuf>::new());
    assert_eq!(holding_the_token(&s.env.path("home")), Vec::<PathBuf>::new());
    assert_eq!(workspace.origin.to_string(), url);
}

#[tokio::test]
async fn without_a_token_or_with_a_wrong_one_it_is_said_what_is_missing() {
    let s = Scene::new();
    let url = s.forge.push(&s.env.repository("user").root, "private");
    for token in [None, Some("wrong-token")] {
        let mut request = s.env.request(Origin::parse(&url).unwrap());
        request.environment.extend(token.map(|token| (TOKEN_VARIABLE.to_owned(), token.to_owned())));
        let error = s.all.prepare(&request, &|_| ()).await.unwrap_err();
        let text = format!("{error} {error:?} {}", error.hint().unwrap());
        assert!(text.contains(TOKEN_VARIABLE), "{text}");
        assert!(!text.contains("wrong-token"), "{text}");
    }
    assert_eq!(s.forge.requests(), Vec::<String>::new());
    assert_eq!(s.mirrors(), Vec::<String>::new(), "nothing is left of it");
}

#[tokio::test]
async fn credentials_in_an_url_are_taken_out_of_it() {
    let s = Scene::new();
    let url = s.forge.push(&s.env.repository("user").root, "private");
    let with = url.replace("http://", &format!("http://x-access-token:{TOKEN}@"));
    let workspace = s.all.prepare(&s.env.request(Origin::parse(&with).unwrap()), &|_| ()).await.unwrap();
    assert_eq!(workspace.origin, Origin::Url(url));
    s.forge.assert_kept_secret();
    assert_eq!(holding_the_token(&s.env.path("data")), Vec::<PathBuf>::new());
    // Who could give them to git is not there.
    let bare = Workspaces::new(&s.env.path("other"));
    let error = bare.prepare(&s.env.request(Origin::parse(&with).unwrap()), &|_| ()).await.unwrap_err();
    assert!(error.to_string().contains("user name or password") && !error.to_string().contains(TOKEN), "{error}");
}

#[tokio::test]
async fn the_machines_token_is_for_its_host_alone_and_not_for_the_agent() {
    let s = Scene::new();
    let url = s.forge.push(&s.env.repository("user").root, "private");
    let file = s.env.path("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let machine = |host: String| {
        HostCredentials::from([(host, HostCredential { username: None, token: TokenSource::File(file.clone()) })])
    };
    let origin = Origin::parse(&url).unwrap();
    let elsewhere = s.all.clone().with_credentials(machine("127.0.0.1:1".to_owned()));
    assert!(elsewhere.prepare(&s.env.request(origin.clone()), &|_| ()).await.is_err());
    let here = s.all.clone().with_credentials(machine(s.forge.address.to_string()));
    let workspace = here.prepare(&s.env.request(origin.clone()), &|_| ()).await.unwrap();
    s.forge.assert_kept_secret();
    assert_eq!(here.agent_variables(&origin, &s.env.environment()), []);
    let agent = s.env.agent(&workspace);
    let refused = agent.try_git(&["-c", "core.askPass=false", "ls-remote", "origin"]).unwrap_err();
    assert!(refused.contains("could not read") || refused.contains("Authentication"), "{refused}");
}

#[tokio::test]
async fn an_agent_fetches_and_pushes_with_the_token_that_its_task_brought() {
    let s = Scene::new();
    let repo = s.env.repository("user");
    let url = s.forge.push(&repo.root, "private");
    let bare = s.forge.repository("private");
    let workspace = s.prepare(&url).await;
    let mut agent = s.env.agent(&workspace);
    let brought = s.request(&url).environment;
    agent.environment.extend(s.all.agent_variables(&workspace.origin, &brought));
    agent.git(&["ls-remote", "origin"]);
    agent.write("c.txt", "c\n");
    agent.git(&["add", "c.txt"]);
    agent.git(&["commit", "-q", "-m", "c"]);
    agent.git(&["push", "-q", "origin", "HEAD:refs/heads/mine"]);
    assert_eq!(repo.git(&["--git-dir", bare.to_str().unwrap(), "rev-parse", "mine"]), head_of(&workspace, &s.env));
    s.forge.assert_kept_secret();
    assert_eq!(holding_the_token(&s.env.path("data")), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn submodules_and_large_files_come_with_the_same_token() {
    let there =
        std::process::Command::new("git-lfs").arg("version").output().is_ok_and(|output| output.status.success());
    assert!(there, "git-lfs is needed: sudo apt install git-lfs, or brew install git-lfs");
    let s = Scene::new();
    let library = s.env.repository("library");
    let library_url = s.forge.push(&library.root, "library");
    let repo = s.env.repository("user");
    repo.git(&["submodule", "--quiet", "add", &library.root.display().to_string(), "lib"]);
    repo.git(&["config", "--file", ".gitmodules", "submodule.lib.url", "../library.git"]);
    repo.git(&["lfs", "install", "--local"]);
    repo.write(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n");
    repo.write("big.bin", "large\n");
    repo.commit("a library and a large file");
    let object = repo.git(&["lfs", "ls-files", "--long"]).split(' ').next().unwrap().to_owned();
    s.forge.store_large(&object, b"large\n");
    let url = s.forge.push(&repo.root, "private");

    let workspace = s.prepare(&url).await;
    let agent = s.env.agent(&workspace);
    assert_eq!((agent.read("lib/b.txt").as_str(), agent.read("big.bin").as_str()), ("b\n", "large\n"));
    assert_eq!(agent.git(&["config", "submodule.lib.url"]), library_url);
    s.forge.assert_kept_secret();
    assert_eq!(holding_the_token(&s.env.path("data")), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn the_repositories_used_last_are_kept() {
    let s = Scene::new();
    s.used_in_turn(&["one", "two", "three"]).await;
    let urls: Vec<String> = s.all.repositories().await.into_iter().map(|one| one.url).collect();
    assert_eq!(urls, ["three", "two", "one"].map(|name| s.forge.url(name)));
    assert_eq!(s.all.trim_repositories().await.unwrap(), [], "five may stay");

    // Using one makes it the newest.
    let workspace = s.prepare(&s.forge.url("one")).await;
    s.all.remove(workspace.task_id, false).await.unwrap();
    let two = s.all.clone().with_cache(CacheLimits { keep: 2, max_bytes: u64::MAX });
    let gone = two.trim_repositories().await.unwrap();
    assert_eq!(gone.iter().map(|one| one.url.as_str()).collect::<Vec<_>>(), [s.forge.url("two")]);
    assert!(gone[0].bytes > 4096, "{gone:?}");
    assert_eq!(s.mirrors(), ["one", "three"]);
    // What is gone is fetched again.
    let again = s.prepare(&s.forge.url("two")).await;
    assert_eq!(s.env.agent(&again).read("b.txt"), "b\n");
}

#[tokio::test]
async fn what_a_workspace_borrows_from_or_work_is_in_is_never_removed() {
    let s = Scene::new();
    s.used_in_turn(&["borrowed", "worked", "idle"]).await;
    let none = s.all.clone().with_cache(CacheLimits { keep: 0, max_bytes: 0 });
    let borrowing = s.prepare(&s.forge.url("borrowed")).await;
    let working = s.prepare(&s.forge.url("worked")).await;
    s.env.agent(&working).write("work.txt", "work\n");
    working.finish("work").await.unwrap();
    working.publish().await.unwrap();
    // Somebody removed the workspace by hand: the mirror has the only copy of the work.
    fs::remove_dir_all(s.env.path("data/workspaces").join(working.task_id.to_string())).unwrap();
    let gone = none.trim_repositories().await.unwrap();
    assert_eq!(gone.iter().map(|one| one.url.as_str()).collect::<Vec<_>>(), [s.forge.url("idle")]);
    assert_eq!(s.mirrors(), ["borrowed", "worked"]);
    assert_eq!(s.env.agent(&borrowing).git(&["show", "HEAD:b.txt"]), "b");

    // Once nothing borrows, it may go.
    s.all.remove(borrowing.task_id, false).await.unwrap();
    none.trim_repositories().await.unwrap();
    assert_eq!(s.mirrors(), ["worked"]);
    // A workspace whose record says nothing may be borrowing from any.
    let other = s.prepare(&s.forge.url("idle")).await;
    let record = s.env.path("data/workspaces").join(other.task_id.to_string()).join("workspace.json");
    fs::write(record, "?").unwrap();
    assert_eq!(none.trim_repositories().await.unwrap(), []);
}

#[tokio::test]
async fn a_server_lets_go_of_what_is_too_many_when_another_is_used() {
    let s = Scene::new();
    s.used_in_turn(&["one"]).await;
    let all = s.all.clone().with_cache(CacheLimits { keep: 1, max_bytes: u64::MAX });
    let closing = CancellationToken::new();
    let work = async {
        let url = s.forge.push(&s.env.path("source"), "two");
        let workspace = all.prepare(&s.request(&url), &|_| ()).await.unwrap();
        eventually("the first mirror to be gone", || (s.mirrors() == ["two"]).then_some(())).await;
        closing.cancel();
        workspace
    };
    let (workspace, ()) = tokio::join!(work, all.keep_warm(&closing));
    assert_eq!(s.env.agent(&workspace).git(&["show", "HEAD:b.txt"]), "b");
}

#[tokio::test]
async fn branches_of_tasks_that_the_origin_had_do_not_keep_a_mirror() {
    let s = Scene::new();
    let repo = s.env.repository("user");
    repo.git(&["checkout", "-q", "-b", "cadence/earlier"]);
    repo.write("c.txt", "c\n");
    repo.commit("pushed by an earlier task");
    let bare = s.forge.repository("private");
    repo.git(&["checkout", "-q", "main"]);
    let url = s.forge.push(&repo.root, "private");
    repo.git(&["push", "-q", bare.to_str().unwrap(), "cadence/earlier"]);
    let workspace = s.prepare(&url).await;
    s.all.remove(workspace.task_id, false).await.unwrap();
    let none = s.all.clone().with_cache(CacheLimits { keep: 0, max_bytes: 0 });
    assert_eq!(none.trim_repositories().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_mirror_that_is_prepared_from_stays() {
    let s = Scene::new();
    s.used_in_turn(&["one"]).await;
    let none = s.all.clone().with_cache(CacheLimits { keep: 0, max_bytes: 0 });
    let lock = |kind: &str| {
        let mut entries = fs::read_dir(s.env.path("data/mirrors")).unwrap().flatten().map(|entry| entry.path());
        let git = entries.find(|path| path.extension().is_some_and(|kind| kind == "git")).unwrap();
        let file = fs::File::options().create(true).append(true).open(git.with_extension(kind)).unwrap();
        file.lock_shared().unwrap();
        file
    };
    for kind in ["lock", "borrow"] {
        let held = lock(kind);
        assert_eq!(none.trim_repositories().await.unwrap(), [], "{kind}");
        drop(held);
    }
    assert_eq!(none.trim_repositories().await.unwrap().len(), 1);
}

/// A repository with a history of files that no work needs.
fn with_history(env: &Env) -> Repo {
    let repo = env.repository("user");
    for number in 0..6_u64 {
        // Nothing that git could make smaller.
        let mut state = number + 1;
        let noise: String = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{:x}", state >> 12)
        })
        .take(20_000)
        .collect();
        repo.write("large.txt", &noise);
        repo.commit("another state");
    }
    repo.write("large.txt", "small now\n");
    repo.commit("small");
    repo
}

async fn works_as_a_partial_clone(s: &Scene, all: &Workspaces, url: &str, repo: &Repo) {
    let workspace = all.prepare(&s.request(url), &|_| ()).await.unwrap();
    let mut agent = s.env.agent(&workspace);
    assert_eq!(agent.read("large.txt"), "small now\n");
    let missing = |repo: &Repo| {
        let listed = repo.git(&["rev-list", "--objects", "--missing=print", "HEAD"]);
        listed.lines().filter(|line| line.starts_with('?')).count()
    };
    assert!(missing(&agent) >= 6, "it has everything");
    // All that the commit has came at once, so that neither cadence nor the agent asks for it again.
    let before = s.forge.requests().len();
    agent.git(&["grep", "-q", "small now", "HEAD"]);
    agent.git(&["status", "--porcelain"]);
    assert_eq!(s.forge.requests().len(), before);
    // What is older comes when it is asked for, with the task's token.
    agent.environment.extend(all.agent_variables(&workspace.origin, &s.request(url).environment));
    assert!(agent.git(&["show", "HEAD~1:large.txt"]).len() > 200_000);
    assert!(s.forge.requests().len() > before);

    agent.write("work.txt", "work\n");
    workspace.finish("work").await.unwrap().commit.unwrap();
    assert!(workspace.diff(1 << 20).await.unwrap().contains("+++ b/work.txt"));
    workspace.publish().await.unwrap();
    repo.write("b.txt", "newer\n");
    let newest = repo.commit("newer");
    s.forge.push(&repo.root, "large");
    let next = all.prepare(&s.request(url), &|_| ()).await.unwrap();
    assert_eq!((next.base_commit.as_str(), s.env.agent(&next).read("b.txt").as_str()), (newest.as_str(), "newer\n"));
    assert!(missing(&s.env.agent(&next)) >= 5, "the second fetch brought what the first left out");
    s.forge.assert_kept_secret();
    assert_eq!(holding_the_token(&s.env.path("data")), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_repository_that_is_named_is_fetched_without_its_old_files() {
    let s = Scene::new();
    let repo = with_history(&s.env);
    let url = s.forge.push(&repo.root, "large");
    let pattern = format!("http://{}/*", s.forge.address);
    let all = s.all.clone().with_partial(Partial::new(&[pattern], None).unwrap());
    works_as_a_partial_clone(&s, &all, &url, &repo).await;
    assert!(Partial::new(&["a{".to_owned()], None).is_err());
}

#[tokio::test]
async fn one_that_shows_to_be_large_is_begun_again_without_them() {
    let s = Scene::new();
    let repo = with_history(&s.env);
    let url = s.forge.push(&repo.root, "large");
    s.forge.hold_packs();
    let all = s.all.clone().with_partial(Partial::new(&[], Some(64 << 10)).unwrap());
    works_as_a_partial_clone(&s, &all, &url, &repo).await;
    // One that stays below has all.
    let small = s.forge.push(&s.env.repository("small").root, "small");
    let workspace = all.prepare(&s.request(&small), &|_| ()).await.unwrap();
    let listed = s.env.agent(&workspace).git(&["rev-list", "--objects", "--missing=print", "HEAD"]);
    assert!(!listed.contains('?'), "{listed}");
}
