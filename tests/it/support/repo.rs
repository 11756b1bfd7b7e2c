use std::fs;
use std::path::{Path, PathBuf};

use super::{Cmd, TestEnv};

/// A real git repository of a story's user.
#[derive(Debug)]
pub struct Repo {
    path: PathBuf,
    home: PathBuf,
    variables: Vec<(String, String)>,
}

impl Repo {
    pub(super) fn create(path: PathBuf, env: &TestEnv) -> Self {
        fs::create_dir_all(&path).unwrap();
        let repo = Self { path, home: env.home(), variables: env.variables() };
        repo.git(["init", "-q", "-b", "main"]);
        repo.git(["config", "user.name", "Ada Dev"]);
        repo.git(["config", "user.email", "ada@example.test"]);
        repo.write("README.md", "# A project\n");
        repo.commit("Start");
        repo
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path as text, for arguments.
    pub fn arg(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Runs git in it and gives what it says, without the last line feed.
    #[track_caller]
    pub fn git<const N: usize>(&self, arguments: [&str; N]) -> String {
        self.command(arguments).run().code(0).stdout.trim_end().to_owned()
    }

    /// Whether git ends well.
    pub fn git_ok<const N: usize>(&self, arguments: [&str; N]) -> bool {
        self.command(arguments).run().code == Some(0)
    }

    fn command<const N: usize>(&self, arguments: [&str; N]) -> Cmd {
        let variables = self.variables.iter();
        let cmd = variables.fold(Cmd::new("git", self.home.clone()), |cmd, (name, value)| cmd.env(name, value));
        cmd.cwd(&self.path).args(arguments)
    }

    /// Writes a file in the checkout.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Reads a file of the checkout.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap()
    }

    pub fn has(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    /// Commits everything in the checkout.
    pub fn commit(&self, message: &str) {
        self.git(["add", "-A"]);
        self.git(["commit", "-q", "-m", message]);
    }

    /// A file of a branch.
    #[track_caller]
    pub fn show(&self, branch: &str, file: &str) -> String {
        self.git(["show", &format!("{branch}:{file}")])
    }

    /// The branches that cadence made.
    pub fn task_branches(&self) -> Vec<String> {
        let names = self.git(["for-each-ref", "--format=%(refname:short)", "refs/heads/cadence/"]);
        names.lines().map(str::to_owned).collect()
    }

    /// Everything in it that belongs to its user: checkout, index, HEAD, configuration, hooks, refs but for those that
    /// cadence adds.
    pub fn own_state(&self) -> String {
        let status = self.git(["status", "--porcelain=v2", "--branch", "--ignored"]);
        let refs = self.git(["for-each-ref", "--format=%(refname) %(objectname)"]);
        let refs: Vec<_> = refs.lines().filter(|line| !line.starts_with("refs/heads/cadence/")).collect();
        let config = fs::read_to_string(self.path.join(".git/config")).unwrap();
        let head = fs::read_to_string(self.path.join(".git/HEAD")).unwrap();
        let stash = self.git(["stash", "list"]);
        let worktrees = self.git(["worktree", "list", "--porcelain"]);
        let mut hooks: Vec<_> = fs::read_dir(self.path.join(".git/hooks")).into_iter().flatten().flatten().collect();
        hooks.sort_by_key(fs::DirEntry::file_name);
        format!("{status}\n{}\n{config}\n{head}\n{stash}\n{worktrees}\n{hooks:?}", refs.join("\n"))
    }
}
