//! Workspaces that are prepared ahead.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use cadence_agent::workspace::{Origin, Prepare, Workspace, Workspaces};
use tokio_util::sync::CancellationToken;

use crate::support::{Env, Repo, difference, was_taken};
use crate::waiting::eventually;

struct Story {
    env: Env,
    repo: Repo,
    all: Workspaces,
}

impl Story {
    fn new() -> Self {
        let env = Env::new();
        let repo = env.repository("user");
        let all = env.workspaces.clone().with_warm(5);
        Self { env, repo, all }
    }

    fn request(&self) -> Prepare {
        self.env.request(Origin::Local(self.repo.root.clone()))
    }

    /// Whether the workspace had been prepared ahead.
    async fn prepare(&self, request: &Prepare) -> (Workspace, bool) {
        let said = Mutex::new(Vec::new());
        let workspace = self.all.prepare(request, &|line| said.lock().unwrap().push(line.to_owned())).await.unwrap();
        (workspace, was_taken(&said.into_inner().unwrap()))
    }

    /// A task of the repository at this commit, and a workspace behind it.
    async fn used_at(&self, commit: &str) -> Workspace {
        let workspace = self.prepare(&Prepare { commit: Some(commit.to_owned()), ..self.request() }).await.0;
        self.all.prepare_ahead(&workspace).await.unwrap();
        workspace
    }

    async fn used(&self) -> Workspace {
        self.used_at(&self.repo.head()).await
    }

    fn warm(&self) -> PathBuf {
        self.env.path("data/warm")
    }

    /// The one that is ready.
    fn ready(&self) -> PathBuf {
        let place = fs::read_dir(self.warm()).unwrap().next().unwrap().unwrap().path();
        place.join("ready")
    }

    async fn faults(&self) -> Vec<String> {
        let (_, faults) = self.all.check_warm(&self.env.environment()).await;
        faults.into_iter().map(|fault| fault.reason).collect()
    }
}

/// What an agent finds: each file with its kind, rights and content, and what git says of it.
fn found(agent: &Repo, base: &str) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![PathBuf::new()];
    while let Some(relative) = open.pop() {
        for entry in fs::read_dir(agent.root.join(&relative)).unwrap() {
            let name = relative.join(entry.unwrap().file_name());
            let path = agent.root.join(&name);
            let meta = fs::symlink_metadata(&path).unwrap();
            let content = match () {
                () if name == Path::new(".git") => continue,
                () if meta.is_dir() => {
                    open.push(name.clone());
                    String::new()
                }
                () if meta.is_symlink() => fs::read_link(&path).unwrap().display().to_string(),
                () => {
                    assert_eq!(meta.nlink(), 1, "{} is shared", path.display());
                    String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
                }
            };
            all.insert(name, format!("{:o} {content}", meta.permissions().mode()));
        }
    }
    for arguments in [
        &["status", "--porcelain", "--ignored"][..],
        &["for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/tags", base],
        &["reflog", "--format=%H %gs"],
        &["rev-parse", "HEAD"],
        &["config", "--local", "--list"],
        &["stash", "list"],
        &["fsck", "--strict"],
    ] {
        all.insert(PathBuf::from(arguments.join(" ")), agent.git(arguments));
    }
    let git_dir = fs::read_dir(agent.root.join(".git")).unwrap();
    let mut names: Vec<_> = git_dir.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    all.insert("names in .git".into(), format!("{names:?}"));
    all
}

/// Commits that change files in every way.
fn with_history(repo: &Repo) -> Vec<String> {
    // Those that stay.
    (0..40).for_each(|number| repo.write(&format!("many/{number}.txt"), "x\ny\n"));
    let mut commits = vec![repo.commit("many files")];
    repo.write("deep/a/b", "1\n");
    repo.write("deep/a/c", "1\n");
    repo.write("run", "#!/bin/sh\n");
    symlink("a.txt", repo.root.join("link")).unwrap();
    commits.push(repo.commit("a directory, a link"));
    fs::remove_dir_all(repo.root.join("deep")).unwrap();
    repo.write("deep", "a file now\n");
    fs::set_permissions(repo.root.join("run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::remove_file(repo.root.join("link")).unwrap();
    repo.write("link", "a file now\n");
    repo.git(&["mv", "b.txt", "B.txt"]);
    commits.push(repo.commit("files in their places"));
    fs::remove_file(repo.root.join("a.txt")).unwrap();
    repo.write("a.txt/inside", "a directory now\n");
    repo.write("ä \t\"x\"", "an odd name\n");
    repo.git(&["tag", "-a", "-m", "one", "v1"]);
    commits.push(repo.commit("a directory in the place of a file"));
    repo.write(".gitattributes", "*.txt text eol=crlf\n");
    repo.git(&["add", "--renormalize", "."]);
    commits.push(repo.commit("other line ends"));
    commits
}

#[tokio::test]
async fn what_is_taken_is_what_would_have_been_made() {
    let s = Story::new();
    let commits = with_history(&s.repo);
    let mut made = Vec::new();
    for commit in &commits {
        let request = Prepare { commit: Some(commit.clone()), ..s.request() };
        let workspace = s.env.prepare(&request).await;
        made.push(found(&s.env.agent(&workspace), "refs/heads/main"));
    }
    let last = commits.len() - 1;
    for (from, to) in [(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (4, 3), (3, 2), (2, 1), (1, 0), (0, 3), (3, 0)] {
        s.used_at(&commits[from]).await;
        let (workspace, taken) = s.prepare(&Prepare { commit: Some(commits[to].clone()), ..s.request() }).await;
        // Where attributes differ, files change that did not, so it is made.
        assert_eq!(taken, (from == last) == (to == last), "from {from} to {to}");
        let agent = s.env.agent(&workspace);
        assert_eq!(agent.git(&["symbolic-ref", "--short", "HEAD"]), workspace.branch);
        assert_eq!(found(&agent, "refs/heads/main"), made[to], "from {from} to {to}");
        s.all.remove(workspace.task_id, false).await.unwrap();
    }
}

#[tokio::test]
async fn two_that_come_at_once_have_one_each() {
    let s = Story::new();
    s.used().await;
    let requests = [s.request(), s.request()];
    let ((first, one), (second, other)) = tokio::join!(s.prepare(&requests[0]), s.prepare(&requests[1]));
    assert!(one != other, "one is taken, one is made");
    assert_ne!(first.directory, second.directory);
    for workspace in [&first, &second] {
        assert_eq!(s.env.agent(workspace).git(&["status", "--porcelain"]), "");
    }
    // Two that prepare leave one.
    let (a, b) = tokio::join!(s.all.prepare_ahead(&first), s.all.prepare_ahead(&second));
    a.and(b).unwrap();
    let place = s.ready().parent().unwrap().to_path_buf();
    assert_eq!(fs::read_dir(place).unwrap().count(), 1);
    assert!(s.prepare(&s.request()).await.1);
    assert!(!s.prepare(&s.request()).await.1);
}

#[tokio::test]
async fn the_checkout_is_not_touched() {
    let s = Story::new();
    let trace = s.repo.add_hooks();
    s.repo.write("a.txt", "changed\n");
    s.repo.write("b.txt", "b\n");
    let before = s.repo.listing();
    s.used().await;
    assert!(s.prepare(&s.request()).await.1);
    assert_eq!(difference(&before, &s.repo.listing()), Vec::<PathBuf>::new());
    assert!(!trace.exists(), "a hook ran");
    let mode = fs::metadata(s.warm()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test]
async fn what_the_user_has_now_counts() {
    let s = Story::new();
    s.repo.write(".worktreeinclude", ".env\n");
    s.repo.write(".cadence.toml", "[setup]\ncommand = 'echo old > .setup'\n");
    s.repo.commit("settings");
    s.repo.write(".env", "old\n");
    s.used().await;
    // Nothing ran, and nothing was copied ahead.
    let tree = s.ready().join("tree");
    assert!(!tree.join(".env").exists() && !tree.join(".setup").exists());
    s.repo.write(".env", "new\n");
    s.repo.write(".cadence.toml", "[setup]\ncommand = 'echo new > .setup'\n");
    s.repo.commit("other settings");
    s.repo.git(&["config", "user.name", "Grace"]);
    let (workspace, taken) = s.prepare(&s.request()).await;
    assert!(taken);
    let agent = s.env.agent(&workspace);
    assert_eq!(workspace.run_setup(&s.env.environment(), |_| ()).await.unwrap(), Some(0));
    assert_eq!((agent.read(".env").as_str(), agent.read(".setup").as_str()), ("new\n", "new\n"));
    assert_eq!(agent.git(&["config", "user.name"]), "Grace");
}

#[tokio::test]
async fn other_settings_of_line_ends_need_another_one() {
    let s = Story::new();
    s.used().await;
    s.repo.git(&["config", "core.autocrlf", "true"]);
    let (workspace, taken) = s.prepare(&s.request()).await;
    assert!(!taken);
    assert_eq!(s.env.agent(&workspace).read("b.txt"), "b\r\n");
    s.all.prepare_ahead(&workspace).await.unwrap();
    let (workspace, taken) = s.prepare(&s.request()).await;
    assert!(taken);
    assert_eq!(s.env.agent(&workspace).read("b.txt"), "b\r\n");
}

#[tokio::test]
async fn a_repository_that_became_another_one_starts_anew() {
    let s = Story::new();
    s.used().await;
    for name in 0..150 {
        s.repo.write(&format!("{name}"), "new\n");
    }
    s.repo.commit("much");
    assert!(!s.prepare(&s.request()).await.1, "to make one is less work");
    // Another repository in the same place.
    fs::remove_dir_all(s.repo.root.join(".git")).unwrap();
    s.repo.git(&["init", "-q"]);
    s.repo.git(&["config", "user.name", "Ada"]);
    s.repo.git(&["config", "user.email", "ada@example.org"]);
    s.repo.commit("from the beginning");
    let (workspace, _) = s.prepare(&s.request()).await;
    assert_eq!(s.env.agent(&workspace).git(&["status", "--porcelain"]), "");
    fs::remove_dir_all(s.env.path("data/mirrors")).unwrap();
    let (workspace, taken) = s.prepare(&s.request()).await;
    assert!(!taken, "its objects went with the mirror");
    s.env.agent(&workspace).git(&["fsck", "--strict"]);
}

#[tokio::test]
async fn what_is_not_whole_is_not_taken_and_goes() {
    let s = Story::new();
    s.used().await;
    let place = s.ready().parent().unwrap().to_path_buf();
    type Damage = fn(&Path);
    let halves: [(&str, Damage); 4] = [
        ("still being made", |place| fs::rename(place.join("ready"), place.join(".unfinished-1")).unwrap()),
        ("without a record", |place| fs::remove_file(place.join("ready/warm.json")).unwrap()),
        ("with half a record", |place| fs::write(place.join("ready/warm.json"), "{\"version\": 1").unwrap()),
        ("of another start of the machine", |place| {
            let path = place.join("ready/warm.json");
            let text = fs::read_to_string(&path).unwrap();
            let (before, _) = text.split_once("\"boot\"").unwrap();
            fs::write(path, format!("{before}\"boot\": \"another\"}}")).unwrap();
        }),
    ];
    for (what, damage) in halves {
        damage(&place);
        let (workspace, taken) = s.prepare(&s.request()).await;
        assert!(!taken, "{what}");
        tidied(&s.all).await;
        assert!(!place.exists(), "{what}");
        s.all.prepare_ahead(&workspace).await.unwrap();
        assert!(place.join("ready").exists());
    }
    // Files that are missing, or an index that cannot be read, are seen when it is brought to its commit.
    fs::remove_file(place.join("ready/tree/a.txt")).unwrap();
    let (workspace, taken) = s.prepare(&s.request()).await;
    assert!(taken && s.env.agent(&workspace).has("a.txt"));
    s.all.prepare_ahead(&workspace).await.unwrap();
    fs::write(place.join("ready/tree/.git/index"), "no index").unwrap();
    let (workspace, _) = s.prepare(&s.request()).await;
    assert_eq!(s.env.agent(&workspace).git(&["status", "--porcelain"]), "");
}

#[tokio::test]
async fn a_task_that_was_cut_off_while_it_took_one_begins_again() {
    let s = Story::new();
    s.used().await;
    let request = s.request();
    let home = s.env.path("data/workspaces").join(request.task_id.to_string());
    fs::create_dir_all(&home).unwrap();
    fs::rename(s.ready(), home.join(".warm")).unwrap();
    let (workspace, taken) = s.prepare(&request).await;
    assert!(!taken && !home.join(".warm").exists());
    // The files alone, in place but at no commit yet.
    s.all.prepare_ahead(&workspace).await.unwrap();
    let request = s.request();
    let home = s.env.path("data/workspaces").join(request.task_id.to_string());
    fs::create_dir_all(&home).unwrap();
    fs::rename(s.ready().join("tree"), home.join("repo")).unwrap();
    let (workspace, _) = s.prepare(&request).await;
    assert_eq!(s.env.agent(&workspace).git(&["status", "--porcelain"]), "");
    s.all.remove(request.task_id, false).await.unwrap();
    assert!(!home.exists());
}

/// Lets the keeper look once.
async fn tidied(all: &Workspaces) {
    // It tidies before it listens to anything else.
    let closing = CancellationToken::new();
    closing.cancel();
    all.keep_warm(&closing).await;
}

#[tokio::test]
async fn there_are_no_more_than_there_may_be() {
    let s = Story::new();
    let two = s.env.workspaces.clone().with_warm(2);
    for name in ["one", "two", "three"] {
        let repo = s.env.repository(name);
        let workspace = two.prepare(&s.env.request(Origin::Local(repo.root)), &|_| ()).await.unwrap();
        two.prepare_ahead(&workspace).await.unwrap();
    }
    let names = || {
        let mut names: Vec<String> = fs::read_dir(s.warm())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().split('-').next().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    tidied(&two).await;
    assert_eq!(names(), ["three", "two"], "those that were used last");
    // One that nobody used for a day.
    let old = fs::read_dir(s.warm()).unwrap().flatten().find(|e| e.file_name().to_string_lossy().starts_with("two"));
    let record = fs::File::options().write(true).open(old.unwrap().path().join("ready/warm.json")).unwrap();
    record.set_modified(SystemTime::now() - Duration::from_secs(25 * 60 * 60)).unwrap();
    tidied(&two).await;
    assert_eq!(names(), ["three"]);
    tidied(&s.env.workspaces).await;
    assert_eq!(names(), [""; 0], "none where it is turned off");
    let workspace = s.env.workspace(&s.repo).await;
    s.env.workspaces.prepare_ahead(&workspace).await.unwrap();
    assert_eq!(names(), [""; 0]);
}

#[tokio::test]
async fn the_keeper_makes_one_behind_each_and_ends_at_once() {
    let s = Story::new();
    let closing = CancellationToken::new();
    let keeper = tokio::spawn({
        let (all, closing) = (s.all.clone(), closing.clone());
        async move { all.keep_warm(&closing).await }
    });
    for taken in [false, true, true] {
        assert_eq!(s.prepare(&s.request()).await.1, taken);
        until(|| fs::read_dir(s.warm()).is_ok_and(|mut all| all.next().is_some()) && s.ready().exists()).await;
    }
    let place = s.ready().parent().unwrap().to_path_buf();
    s.prepare(&s.request()).await;
    let unfinished =
        || fs::read_dir(&place).unwrap().flatten().any(|e| e.file_name().to_string_lossy().starts_with(".unfinished"));
    until(unfinished).await;
    let asked = Instant::now();
    closing.cancel();
    keeper.await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(unfinished() && !place.join("ready").exists());
    let (count, faults) = s.all.check_warm(&s.env.environment()).await;
    assert_eq!((count, faults), (0, vec![]), "what is unfinished is no fault");
    // Nothing that it started is left.
    let data = s.env.path("data").display().to_string();
    until(|| {
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut lines = processes.filter_map(|entry| fs::read(entry.path().join("environ")).ok());
        !lines.any(|line| String::from_utf8_lossy(&line).contains(&data))
    })
    .await;
    tidied(&s.all).await;
    assert!(!place.exists());
}

/// Waits until it holds.
async fn until(holds: impl Fn() -> bool) {
    eventually("what is to hold", || holds().then_some(())).await;
}

#[tokio::test]
async fn the_checker_tells_whole_from_broken() {
    let s = Story::new();
    s.used().await;
    let (count, faults) = s.all.check_warm(&s.env.environment()).await;
    assert_eq!((count, faults), (1, vec![]));
    let ready = s.ready();
    let tree = ready.join("tree");
    // The same bytes at another time are the same.
    fs::write(tree.join("a.txt"), "one\ntwo\nthree\n").unwrap();
    assert_eq!(s.faults().await, [""; 0]);
    fs::write(tree.join("a.txt"), "one\ntwo\nfour!\n").unwrap();
    assert_eq!(s.faults().await, [format!("its files are not those of {}", s.repo.head())]);
    fs::write(tree.join("a.txt"), "one\ntwo\nthree\n").unwrap();
    fs::write(tree.join("x.log"), "ignored").unwrap();
    assert_eq!(s.faults().await, ["it has files of somebody else"]);
    fs::remove_file(tree.join("x.log")).unwrap();
    fs::write(ready.parent().unwrap().join("stray"), "").unwrap();
    assert_eq!(s.faults().await, ["it is none of cadence's files"]);
    fs::remove_file(ready.parent().unwrap().join("stray")).unwrap();
    fs::rename(tree.join(".git/index"), ready.join("index")).unwrap();
    assert_eq!(s.faults().await, [format!("its files are not those of {}", s.repo.head())]);
    fs::rename(ready.join("index"), tree.join(".git/index")).unwrap();
    assert_eq!(s.faults().await, [""; 0]);
    fs::rename(s.env.path("data/mirrors"), s.env.path("data/elsewhere")).unwrap();
    assert_eq!(s.faults().await, ["its mirror is gone"]);
    fs::rename(s.env.path("data/elsewhere"), s.env.path("data/mirrors")).unwrap();
    fs::write(ready.join("warm.json"), "").unwrap();
    assert_eq!(s.faults().await, ["its record cannot be read"]);
}
