//! What the stories stand on: a home of their own, a scripted model, real repositories, the built program.

mod agents;
mod claude;
pub mod clock;
mod command;
mod disk;
mod http;
mod machine;
pub mod processes;
mod proxy;
mod redact;
mod repo;
mod server;
mod socket;
mod task;
mod terminal;
mod verify;
mod wait;

use std::fs;
use std::num::NonZero;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cadence_fakes::messages::MessagesApi;
use tempfile::TempDir;

pub use command::{Cmd, Finished, Running, json_lines};
pub use disk::{SmallDisk, fill};
pub use http::{Http, runtime};
pub use machine::{GitServer, Machine, Remote};
pub use processes::{children, peak_memory};
pub use proxy::Proxy;
pub use redact::{redacted, snapshots};
pub use repo::Repo;
pub use server::{Server, TOKEN};
pub use socket::Socket;
pub use task::{assert_whole, numbers, of_type};
pub use terminal::Terminal;
pub use wait::{until, until_some, within};

/// Longest that anything in a story may take.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// A machine of its own for a story: home, runtime directory, model, programs on the path. When it is dropped the server
/// that it started is stopped, and nothing that ran in it may be left.
pub struct TestEnv {
    root: TempDir,
    pub api: MessagesApi,
}

impl TestEnv {
    pub fn new() -> Self {
        // Sockets have short paths, so `TMPDIR` of some systems is too long.
        let root = tempfile::Builder::new().prefix("cad").tempdir_in("/tmp").unwrap();
        let env = Self { root, api: MessagesApi::start() };
        for directory in [env.home(), env.runtime_dir(), env.bin(), env.path("tmp")] {
            fs::create_dir(&directory).unwrap();
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
        }
        symlink(claude::program(), env.bin().join("claude")).unwrap();
        symlink(git_program(), env.bin().join("git")).unwrap();
        let settings = env.home().join(".claude/settings.json");
        fs::create_dir(settings.parent().unwrap()).unwrap();
        fs::write(
            settings,
            serde_json::json!({ "env": claude::quiet().collect::<serde_json::Map<_, _>>() }).to_string(),
        )
        .unwrap();
        env
    }

    /// The built program with these arguments.
    pub fn cadence<const N: usize>(&self, arguments: [&str; N]) -> Cmd {
        let mut cmd = Cmd::new(env!("CARGO_BIN_EXE_cadence"), self.home());
        for (name, value) in self.variables() {
            cmd = cmd.env(name, value);
        }
        cmd.args(arguments)
    }

    /// Everything that a program of this machine has in its environment.
    fn variables(&self) -> Vec<(String, String)> {
        let path = format!("{}:/usr/bin:/bin", self.bin().display());
        let own = [
            ("HOME", self.home().display().to_string()),
            ("PATH", path),
            ("TMPDIR", self.path("tmp").display().to_string()),
            ("XDG_RUNTIME_DIR", self.runtime_dir().display().to_string()),
            ("ANTHROPIC_BASE_URL", self.api.url()),
            ("ANTHROPIC_API_KEY", "sk-test-key".to_owned()),
            ("GIT_CONFIG_NOSYSTEM", "1".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
        ];
        let quiet = claude::quiet().map(|(name, value)| (name, value.as_str().unwrap_or_default().to_owned()));
        own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(quiet).collect()
    }

    /// What a task brings, so that its agent finds the scripted model.
    pub fn model(&self) -> serde_json::Value {
        let ours = self.variables().into_iter().filter(|(name, _)| name.starts_with("ANTHROPIC_"));
        ours.map(|(name, value)| (name, value.into())).collect::<serde_json::Map<_, _>>().into()
    }

    /// The real Claude Code CLI with these arguments.
    pub fn claude<const N: usize>(&self, arguments: [&str; N]) -> Cmd {
        let mut cmd = Cmd::new(self.bin().join("claude"), self.home());
        for (name, value) in self.variables() {
            cmd = cmd.env(name, value);
        }
        cmd.args(arguments)
    }

    /// A new git repository with one commit on `main`.
    pub fn repo(&self, name: &str) -> Repo {
        Repo::create(self.path("repos").join(name), self)
    }

    /// Starts `cadence serve` by hand, with data of its own. It is stopped when it is dropped.
    pub fn server(&self) -> Server {
        Server::start(self)
    }

    /// Starts the program in a terminal of 100 columns and 30 rows.
    pub fn terminal<const N: usize>(&self, directory: &Path, arguments: [&str; N]) -> Terminal {
        self.terminal_of(100, directory, arguments)
    }

    /// Starts the program in a terminal of so many columns and 30 rows.
    pub fn terminal_of<const N: usize>(&self, columns: u16, directory: &Path, arguments: [&str; N]) -> Terminal {
        let columns = NonZero::new(columns).unwrap();
        Terminal::start(columns, env!("CARGO_BIN_EXE_cadence"), &arguments, directory, &self.variables())
    }

    /// As [`Self::terminal`], with these in the program's environment as well.
    pub fn terminal_with<const N: usize>(
        &self,
        more: &[(&str, &str)],
        directory: &Path,
        arguments: [&str; N],
    ) -> Terminal {
        let mut variables = self.variables();
        variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let columns = NonZero::new(100).unwrap();
        Terminal::start(columns, env!("CARGO_BIN_EXE_cadence"), &arguments, directory, &variables)
    }

    /// Starts a shell in a terminal of 200 columns, with the built program and the machine's on its path.
    ///
    /// # Panics
    /// When the shell is not installed.
    pub fn shell<const N: usize>(&self, name: &str, arguments: [&str; N]) -> Terminal {
        let program = self.bin().join("cadence");
        if !program.exists() {
            symlink(env!("CARGO_BIN_EXE_cadence"), program).unwrap();
        }
        let shell = installed(name);
        let columns = NonZero::new(200).unwrap();
        Terminal::start(columns, shell.to_str().unwrap(), &arguments, &self.home(), &self.variables())
    }

    /// A program that is installed, with these arguments, on this machine.
    ///
    /// # Panics
    /// When it is not installed.
    pub fn program<const N: usize>(&self, name: &str, arguments: [&str; N]) -> Cmd {
        let cmd = Cmd::new(installed(name), self.home());
        self.variables().into_iter().fold(cmd, |cmd, (name, value)| cmd.env(name, value)).args(arguments)
    }

    /// Takes the agent's program away.
    pub fn without_claude(&self) {
        fs::remove_file(self.bin().join("claude")).unwrap();
    }

    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Where the embedded server keeps its data when it is not told.
    pub fn data_dir(&self) -> PathBuf {
        let below = if cfg!(target_os = "macos") { "Library/Application Support" } else { ".local/share" };
        self.home().join(below).join("cadence")
    }

    pub fn runtime_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// A path in the directory of the story.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The checkouts in which agents of the embedded server work or have worked.
    pub fn workspaces(&self) -> Vec<PathBuf> {
        let tasks = fs::read_dir(self.data_dir().join("workspaces")).into_iter().flatten().flatten();
        let inside = tasks.flat_map(|task| fs::read_dir(task.path()).into_iter().flatten().flatten());
        inside.map(|entry| entry.path()).filter(|path| path.join(".git").exists()).collect()
    }

    /// Waits for this file in the workspace of some agent, and gives its path.
    pub fn wait_for_workspace_file(&self, name: &str) -> PathBuf {
        until_some(&format!("{name} in a workspace"), || {
            self.workspaces().into_iter().map(|w| w.join(name)).find(|path| path.exists())
        })
    }

    fn bin(&self) -> PathBuf {
        self.path("bin")
    }

    fn server_runs(&self) -> bool {
        self.runtime_dir().join("cadence/server.json").exists()
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        let failing = std::thread::panicking();
        if self.server_runs() {
            if failing {
                print_tail(&self.data_dir().join("logs/server.log"));
            }
            let stop = self.cadence(["server", "stop"]).timeout(Duration::from_secs(30)).try_run();
            if !failing && stop.code != Some(0) {
                processes::kill_all_of(&self.home());
                panic!("`cadence server stop` failed: {stop:?}");
            }
        }
        let faults = if failing { Vec::new() } else { verify::faults(self) };
        let left = processes::left_of(&self.home(), Duration::from_secs(10));
        processes::kill_all_of(&self.home());
        assert!(failing || left.is_empty(), "processes are left: {left:#?}");
        assert!(failing || faults.is_empty(), "the checker found: {}", faults.join("\n"));
    }
}

fn print_tail(log: &Path) {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    eprintln!("--- the end of {}\n{}\n---", log.display(), lines[lines.len().saturating_sub(40)..].join("\n"));
}

/// The git that the tests were started with.
fn git_program() -> PathBuf {
    on_path("git").expect("git is needed: run `make tools`")
}

fn installed(name: &str) -> PathBuf {
    on_path(name).unwrap_or_else(|| panic!("{name} is needed: run `.ci/tools test`"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}
