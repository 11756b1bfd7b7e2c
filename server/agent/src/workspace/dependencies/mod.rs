//! The packages that a repository's lock files name, installed before the agent begins.

mod detect;
mod share;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use self::detect::Tool;
use super::command::{Ended, run};
use super::prepare::stays_inside;
use super::{Environment, Workspace, WorkspaceError, Workspaces, include};
use crate::project::{self, Dependencies};

/// Says that nobody has installed anything yet, and that no agent has been there.
pub(super) const PENDING: &str = "dependencies.pending";
/// How much of a command's output is kept, in bytes: its end.
const OUTPUT: usize = 64 << 10;
/// Largest manifest or lock file that is looked into, in bytes.
const LARGEST: u64 = 32 << 20;
/// How long a program may take to tell its version.
const VERSION_LIMIT: Duration = Duration::from_secs(30);

/// A command that was run to install something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// As a person would write it, with the directory it ran in where that is not the top.
    pub command: String,
    /// None where it was stopped at its time limit.
    pub exit_code: Option<i32>,
    /// The end of what it wrote.
    pub output: String,
}

/// What became of the dependencies of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Installed {
    pub ran: Vec<Installation>,
    /// Lock files whose packages had been installed before and were copied.
    pub copied: Vec<PathBuf>,
    /// What a person should know: programs and directories that are not there.
    pub notes: Vec<String>,
    /// What did not succeed, where the repository says that no agent begins without it.
    pub failed: Option<String>,
}

/// How one directory's installation ended.
enum Outcome {
    Done,
    Failed(String),
}

impl Workspaces {
    /// Whether packages are installed where a repository's `.cadence.toml` does not say; they are unless told.
    #[must_use]
    pub fn with_dependencies(mut self, install: bool) -> Self {
        self.install = install;
        self
    }

    /// Installs what the lock files of a fresh workspace name, in the task's environment. A program that is not there, or that
    /// fails, is told in what is given back; where `failed` says so, no agent is to begin, and this can be tried again.
    ///
    /// It is done once, before an agent comes: from then on the manifests may be the agent's, and package managers run what is
    /// in them.
    pub async fn install(&self, workspace: &Workspace, environment: &Environment) -> Result<Installed, WorkspaceError> {
        let mut installed = Installed::default();
        let pending = workspace.home.join(PENDING);
        if !pending.exists() {
            return Ok(installed);
        }
        let project = project::load(&workspace.directory)?;
        if project.dependencies.install.unwrap_or(self.install && project.setup.is_none()) {
            self.install_all(workspace, environment, &project.dependencies, &mut installed).await?;
        }
        if installed.failed.is_none() {
            fs::remove_file(&pending).map_err(WorkspaceError::io("removing", &pending))?;
        }
        Ok(installed)
    }

    async fn install_all(
        &self,
        workspace: &Workspace,
        environment: &Environment,
        wanted: &Dependencies,
        installed: &mut Installed,
    ) -> Result<(), WorkspaceError> {
        for directory in &wanted.directories {
            let parts = directory.components().filter(|part| !matches!(part, Component::CurDir));
            let directory: PathBuf = parts.collect();
            let place = workspace.directory.join(&directory);
            let inside = directory.as_os_str().is_empty() || stays_inside(&workspace.directory, &directory);
            // No link: it could lead out of the repository.
            if !inside || !fs::symlink_metadata(&place).is_ok_and(|meta| meta.is_dir()) {
                installed.notes.push(format!("There is no directory {} to install packages in", directory.display()));
                continue;
            }
            for tool in found(&place) {
                let fills: Vec<PathBuf> = tool.fills.iter().map(|name| directory.join(name)).collect();
                include::exclude(workspace, &fills)?;
                let one =
                    One { all: self, tool, place: &place, directory: &directory, environment, limit: wanted.limit() };
                if let Outcome::Failed(why) = one.install(installed).await?
                    && wanted.required
                {
                    installed.failed = Some(why);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn kept_dependencies(&self) -> PathBuf {
        self.data.join("dependencies")
    }
}

/// One package manager in one directory.
struct One<'a> {
    all: &'a Workspaces,
    tool: &'static Tool,
    place: &'a Path,
    /// Relative to the top; empty for the top.
    directory: &'a Path,
    environment: &'a Environment,
    limit: Duration,
}

impl One<'_> {
    async fn install(&self, installed: &mut Installed) -> Result<Outcome, WorkspaceError> {
        let first = self.tool.commands[0][0];
        let Some(program) = find(first, self.environment) else {
            let note = format!(
                "{first} is not installed on this machine, so the packages of {} are not either",
                self.directory.join(self.lock()).display()
            );
            installed.notes.push(note.clone());
            return Ok(Outcome::Failed(note));
        };
        let mut environment = self.environment.clone();
        for (name, value) in self.tool.variables {
            environment.entry((*name).to_owned()).or_insert_with(|| (*value).to_owned());
        }
        let key = if self.tool.kept { self.key(&program, &environment).await? } else { None };
        if let Some(key) = &key
            && self.copied("taking", key).await
        {
            installed.copied.push(self.directory.join(self.lock()));
            return Ok(Outcome::Done);
        }
        for line in self.tool.commands {
            let ran = self.run(line, &environment).await?;
            let failed = (ran.exit_code != Some(0)).then(|| match ran.exit_code {
                Some(code) => format!("`{}` ended with exit code {code}", ran.command),
                None => format!("`{}` was stopped after {} s", ran.command, self.limit.as_secs()),
            });
            installed.ran.push(ran);
            if let Some(why) = failed {
                return Ok(Outcome::Failed(why));
            }
        }
        if let Some(key) = &key {
            self.copied("keeping", key).await;
        }
        Ok(Outcome::Done)
    }

    /// The lock file that is there.
    fn lock(&self) -> &'static str {
        self.tool.locks.iter().find(|name| is_plain_file(&self.place.join(name))).unwrap_or(&self.tool.locks[0])
    }

    async fn run(&self, line: &[&str], environment: &Environment) -> Result<Installation, WorkspaceError> {
        let mut command = match line[0].contains('/') {
            true => Command::new(self.place.join(line[0])),
            false => Command::new(line[0]),
        };
        command.args(&line[1..]);
        let mut output = String::new();
        let keep = |text: &str| {
            output.push_str(text);
            output.push('\n');
            if output.len() > 2 * OUTPUT {
                shorten(&mut output);
            }
        };
        let ended = run(command, self.place, environment, self.limit, keep).await?;
        shorten(&mut output);
        let exit_code = match ended {
            Ended::Code(code) => Some(code),
            Ended::TimedOut => None,
        };
        let command = match self.directory.as_os_str().is_empty() {
            true => line.join(" "),
            false => format!("cd {} && {}", self.directory.display(), line.join(" ")),
        };
        Ok(Installation { command, exit_code, output })
    }

    /// Under what it is kept; none where that would be too little to go by.
    async fn key(&self, program: &Path, environment: &Environment) -> Result<Option<String>, WorkspaceError> {
        let read = |name: &str| read(&self.place.join(name));
        let (Some(package), Some(lock)) = (read("package.json"), read(self.lock())) else { return Ok(None) };
        if !share::is_plain(&package, &lock) {
            return Ok(None);
        }
        let mut parts = BTreeMap::from([
            ("file package.json".to_owned(), package.into_bytes()),
            (format!("file {}", self.lock()), lock.into_bytes()),
            ("file .npmrc".to_owned(), read(".npmrc").unwrap_or_default().into_bytes()),
        ]);
        for (name, value) in environment.iter().filter(|(name, _)| share::is_npms(name)) {
            parts.insert(format!("variable {name}"), value.clone().into_bytes());
        }
        // Asked there: what stands in front of them (nvm, asdf, volta) goes by the directory.
        for program in [program, Path::new("node")] {
            let mut command = Command::new(program);
            command.arg("--version");
            let mut version = String::new();
            let keep = |line: &str| version.push_str(line);
            if run(command, self.place, environment, VERSION_LIMIT, keep).await? != Ended::Code(0) {
                return Ok(None);
            }
            parts.insert(format!("version {}", program.display()), version.into_bytes());
        }
        Ok(Some(share::key(&parts)))
    }

    /// Copies what is kept into the workspace, or the other way. That it fails costs nothing but time.
    async fn copied(&self, what: &'static str, key: &str) -> bool {
        let (home, key, place) = (self.all.kept_dependencies(), key.to_owned(), self.place.join(self.tool.fills[0]));
        let stop = CancellationToken::new();
        let _stopped_when_dropped = stop.clone().drop_guard();
        let copied = tokio::task::spawn_blocking(move || match what {
            "taking" => share::take(&home, &key, &place, &stop),
            _ => share::keep(&home, &key, &place, &stop).map(|()| true),
        });
        match copied.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(done) => done,
            Err(error) => {
                tracing::warn!(%error, place = %self.place.display(), "{what} installed packages failed");
                false
            }
        }
    }
}

/// The package managers that a directory is meant for.
fn found(place: &Path) -> Vec<&'static Tool> {
    let names: BTreeSet<String> =
        detect::names().into_iter().filter(|name| is_plain_file(&place.join(name))).map(str::to_owned).collect();
    let package = names.contains("package.json").then(|| read(&place.join("package.json"))).flatten();
    let package = package.and_then(|text| serde_json::from_str::<serde_json::Value>(&text).ok());
    let manager = package.as_ref().and_then(|package| package.get("packageManager")?.as_str());
    detect::detect(&names, manager)
}

/// No link: it could lead out of the repository.
fn is_plain_file(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file())
}

fn read(path: &Path) -> Option<String> {
    let meta = fs::symlink_metadata(path).ok()?;
    if !meta.is_file() || meta.len() > LARGEST {
        return None;
    }
    fs::read_to_string(path).ok()
}

/// A program in the task's PATH.
fn find(name: &str, environment: &Environment) -> Option<PathBuf> {
    let runs =
        |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    std::env::split_paths(environment.get("PATH")?).map(|directory| directory.join(name)).find(runs)
}

/// Keeps the end.
fn shorten(text: &mut String) {
    let mut cut = text.len().saturating_sub(OUTPUT);
    while !text.is_char_boundary(cut) {
        cut += 1;
    }
    text.drain(..cut);
}
