//! A home, a data directory and repositories that go away with the test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use cadence_agent::workspace::{Origin, Prepare, Workspace, Workspaces, branch_name};
use uuid::Uuid;

/// `WARM`: what it makes is taken from one that was prepared ahead.
pub struct World<const WARM: bool> {
    pub temp: tempfile::TempDir,
    pub workspaces: Workspaces,
    asked: AtomicUsize,
    taken: AtomicUsize,
}

pub type Env = World<false>;
pub type WarmEnv = World<true>;

impl<const WARM: bool> World<WARM> {
    pub fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let home = temp.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join(".gitconfig"), "[init]\n\tdefaultBranch = main\n[protocol \"file\"]\n\tallow = always\n")
            .unwrap();
        let workspaces = Workspaces::new(&temp.path().join("data")).with_warm(if WARM { 5 } else { 0 });
        Self { temp, workspaces, asked: AtomicUsize::new(0), taken: AtomicUsize::new(0) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().canonicalize().unwrap().join(name)
    }

    pub fn environment(&self) -> BTreeMap<String, String> {
        let path = std::env::var("PATH").unwrap();
        BTreeMap::from([
            ("HOME".to_owned(), self.temp.path().join("home").display().to_string()),
            ("PATH".to_owned(), path),
        ])
    }

    /// A repository that has another one, the library, as its submodule `lib`.
    pub fn with_submodule(&self) -> (Repo, Repo) {
        let library = self.repository("library");
        let repo = self.repository("user");
        repo.git(&["submodule", "--quiet", "add", &library.root.display().to_string(), "lib"]);
        repo.commit("with a library");
        (library, repo)
    }

    /// A repository with two commits: `a.txt`, and `b.txt` and a `.gitignore`.
    pub fn repository(&self, name: &str) -> Repo {
        let root = self.path(name);
        fs::create_dir(&root).unwrap();
        let repo = Repo { root, environment: self.environment() };
        repo.git(&["init", "-q"]);
        repo.git(&["config", "user.name", "Ada"]);
        repo.git(&["config", "user.email", "ada@example.org"]);
        repo.write("a.txt", "one\ntwo\nthree\n");
        repo.commit("first");
        repo.write("b.txt", "b\n");
        repo.write(".gitignore", "*.log\n.env\nsecret/\n");
        repo.commit("second");
        repo
    }

    pub fn request(&self, origin: Origin) -> Prepare {
        let task_id = Uuid::new_v4();
        Prepare {
            task_id,
            repo_name: "repo".into(),
            origin,
            commit: None,
            bundle: None,
            base_branch: None,
            branch: branch_name("Do the work", task_id),
            environment: self.environment(),
        }
    }

    pub async fn workspace(&self, repo: &Repo) -> Workspace {
        self.prepare(&self.request(Origin::Local(repo.root.clone()))).await
    }

    pub async fn prepare(&self, request: &Prepare) -> Workspace {
        self.prepare_told(request).await.0
    }

    /// Also what it said on the way.
    pub async fn prepare_told(&self, request: &Prepare) -> (Workspace, Vec<String>) {
        if WARM {
            self.prepare_ahead(request).await;
            self.asked.fetch_add(1, Ordering::Relaxed);
        }
        let said = Mutex::new(Vec::new());
        let workspace =
            self.workspaces.prepare(request, &|line| said.lock().unwrap().push(line.to_owned())).await.unwrap();
        let said = said.into_inner().unwrap();
        self.taken.fetch_add(usize::from(was_taken(&said)), Ordering::Relaxed);
        (workspace, said)
    }

    /// As another task of the same repository leaves it.
    async fn prepare_ahead(&self, request: &Prepare) {
        let task_id = Uuid::new_v4();
        let other = Prepare { task_id, branch: branch_name("Go before", task_id), ..request.clone() };
        let workspace = self.workspaces.prepare(&other, &|_| ()).await.unwrap();
        self.workspaces.prepare_ahead(&workspace).await.unwrap();
        self.workspaces.remove(task_id, true).await.unwrap();
    }

    /// Git where an agent would use it.
    pub fn agent(&self, workspace: &Workspace) -> Repo {
        Repo { root: workspace.directory.clone(), environment: self.environment() }
    }
}

impl<const WARM: bool> Drop for World<WARM> {
    fn drop(&mut self) {
        let (asked, taken) = (self.asked.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed));
        assert!(std::thread::panicking() || asked == 0 || taken > 0, "no workspace that was prepared ahead was taken");
    }
}

/// Whether the workspace had been prepared ahead, by what was said when it was made.
pub fn was_taken(said: &[String]) -> bool {
    said.iter().any(|line| line.contains("prepared ahead"))
}

#[derive(Clone)]
pub struct Repo {
    pub root: PathBuf,
    pub environment: BTreeMap<String, String>,
}

impl Repo {
    pub fn at(&self, root: &Path) -> Self {
        Self { root: root.to_path_buf(), environment: self.environment.clone() }
    }

    pub fn try_git(&self, arguments: &[&str]) -> Result<String, String> {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(&self.root)
            .env_clear()
            .envs(&self.environment)
            .output()
            .expect("git is needed: sudo apt install git");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    #[track_caller]
    pub fn git(&self, arguments: &[&str]) -> String {
        match self.try_git(arguments) {
            Ok(text) => text,
            Err(error) => panic!("git {arguments:?}: {error}"),
        }
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
        self.head()
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn has(&self, path: &str) -> bool {
        fs::symlink_metadata(self.root.join(path)).is_ok()
    }

    /// Hooks that leave a trace where they run.
    pub fn add_hooks(&self) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;
        let trace = self.root.with_extension("hooked");
        for name in [
            "post-checkout",
            "pre-commit",
            "commit-msg",
            "prepare-commit-msg",
            "post-commit",
            "reference-transaction",
            "post-merge",
            "pre-merge-commit",
            "post-update",
            "update",
            "pre-receive",
            "post-receive",
            "pre-auto-gc",
            "post-index-change",
            "fsmonitor-watchman",
        ] {
            let hook = self.root.join(".git/hooks").join(name);
            fs::create_dir_all(hook.parent().unwrap()).unwrap();
            fs::write(&hook, format!("#!/bin/sh\necho {name} >> '{}'\n", trace.display())).unwrap();
            fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
        }
        trace
    }

    /// Every file of `.git` with its content, time included.
    pub fn listing(&self) -> BTreeMap<PathBuf, String> {
        let git_dir = self.root.join(".git");
        let mut all = BTreeMap::new();
        let mut open = vec![git_dir.clone()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let path = entry.unwrap().path();
                let meta = fs::symlink_metadata(&path).unwrap();
                let relative = path.strip_prefix(&git_dir).unwrap().to_path_buf();
                if meta.is_dir() {
                    all.insert(relative, "directory".into());
                    open.push(path);
                } else {
                    let bytes = fs::read(&path).unwrap();
                    // Git renews the time of an object that it meets again.
                    let time = (!relative.starts_with("objects")).then(|| meta.modified().unwrap());
                    all.insert(relative, format!("{time:?} {} {}", bytes.len(), String::from_utf8_lossy(&bytes)));
                }
            }
        }
        all
    }
}

/// What is new, gone or changed.
pub fn difference(before: &BTreeMap<PathBuf, String>, after: &BTreeMap<PathBuf, String>) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> =
        before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).cloned().collect();
    names.sort();
    names.dedup();
    names
}
