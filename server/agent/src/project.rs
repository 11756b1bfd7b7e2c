//! `.cadence.toml`: what a repository says about itself.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Name of the file, at the top of the repository.
pub const FILE: &str = ".cadence.toml";
/// Largest file that is read, in bytes.
const LARGEST: u64 = 64 << 10;
const DAY: u64 = 24 * 60 * 60;
/// Directories with a lock file, at most.
const MOST_DIRECTORIES: usize = 20;

/// The settings of a repository; all may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    #[serde(default)]
    pub setup: Option<Step>,
    #[serde(default)]
    pub teardown: Option<Step>,
    #[serde(default)]
    pub dependencies: Dependencies,
    #[serde(default)]
    pub agent: AgentDefaults,
}

/// A command of the repository: what makes a fresh workspace ready to work in, or what ends what that began when the workspace
/// is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Given to `sh -c` in the workspace.
    pub command: String,
    #[serde(default = "ten_minutes")]
    pub timeout_secs: u64,
}

impl Step {
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout_secs)
    }
}

/// How the packages are installed that lock files name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dependencies {
    /// None: as the machine's settings say, but not where a set-up command sees to it.
    pub install: Option<bool>,
    /// Directories with a lock file, relative to the top.
    pub directories: Vec<PathBuf>,
    /// Whether no agent begins where they cannot be installed.
    pub required: bool,
    /// For each command.
    pub timeout_secs: u64,
}

impl Default for Dependencies {
    fn default() -> Self {
        Self { install: None, directories: vec![PathBuf::from(".")], required: false, timeout_secs: ten_minutes() }
    }
}

impl Dependencies {
    pub fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout_secs)
    }
}

/// What a task gets that does not choose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentDefaults {
    /// Name of an agent: `claude`, `demo`.
    #[serde(default)]
    pub default: Option<String>,
    #[serde(default)]
    pub model: Option<String>,
}

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    #[error("{path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a plain file of at most 64 KiB")]
    NotPlain { path: PathBuf },
    /// `line` and `column` count from 1.
    #[error("{path}:{line}:{column}: {message}")]
    Parse { path: PathBuf, line: usize, column: usize, message: String },
    #[error("{path}: {message}")]
    Value { path: PathBuf, message: String },
}

const fn ten_minutes() -> u64 {
    600
}

/// Reads the file in `dir`; a repository without one has the defaults.
pub fn load(dir: &Path) -> Result<Project, ProjectError> {
    let path = dir.join(FILE);
    let read = |source| ProjectError::Read { path: path.clone(), source };
    let meta = match std::fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Project::default()),
        Err(error) => return Err(read(error)),
    };
    // A link could lead out of the repository.
    if !meta.is_file() || meta.len() > LARGEST {
        return Err(ProjectError::NotPlain { path });
    }
    parse(&std::fs::read_to_string(&path).map_err(read)?, Path::new(FILE))
}

/// Reads `text`; `path` is for messages.
pub fn parse(text: &str, path: &Path) -> Result<Project, ProjectError> {
    let project: Project = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start).min(text.len());
        let before = text.get(..at).unwrap_or_default();
        ProjectError::Parse {
            path: path.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().unwrap_or_default().chars().count() + 1,
            message: error.message().to_owned(),
        }
    })?;
    let value = |message: &str| ProjectError::Value { path: path.to_owned(), message: message.to_owned() };
    for (name, step) in [("setup", &project.setup), ("teardown", &project.teardown)] {
        let Some(step) = step else { continue };
        if step.command.trim().is_empty() || step.command.contains('\0') {
            return Err(value(&format!("`{name}.command` is empty")));
        }
        if !(1..=DAY).contains(&step.timeout_secs) {
            return Err(value(&format!("`{name}.timeout_secs` must be from 1 to 86400")));
        }
    }
    let dependencies = &project.dependencies;
    if !(1..=DAY).contains(&dependencies.timeout_secs) {
        return Err(value("`dependencies.timeout_secs` must be from 1 to 86400"));
    }
    if dependencies.directories.len() > MOST_DIRECTORIES || !dependencies.directories.iter().all(|path| is_inside(path))
    {
        return Err(value("`dependencies.directories` must be at most 20 directories inside the repository"));
    }
    for (name, text) in [("agent.default", &project.agent.default), ("agent.model", &project.agent.model)] {
        if text.as_ref().is_some_and(|t| t.trim().is_empty() || t.starts_with('-') || t.contains(char::is_control)) {
            return Err(value(&format!("`{name}` is not a name")));
        }
    }
    Ok(project)
}

/// Whether a path leads to something in the repository and not in `.git`.
fn is_inside(path: &Path) -> bool {
    let inside = |part: Component<'_>| match part {
        Component::Normal(name) => !name.eq_ignore_ascii_case(".git"),
        Component::CurDir => true,
        _ => false,
    };
    !path.as_os_str().is_empty() && path.components().all(inside) && !path.as_os_str().as_encoded_bytes().contains(&0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn parsed(text: &str) -> Result<Project, String> {
        parse(text, Path::new(FILE)).map_err(|error| error.to_string())
    }

    #[test]
    fn all_settings() {
        let text =
            "[setup]\ncommand = \"npm ci\"\ntimeout_secs = 60\n\n[agent]\ndefault = \"claude\"\nmodel = \"opus\"\n";
        let project = parsed(text).unwrap();
        let setup = project.setup.unwrap();
        assert_eq!((setup.command.as_str(), setup.limit()), ("npm ci", Duration::from_secs(60)));
        assert_eq!(project.agent.default.as_deref(), Some("claude"));
        assert_eq!(parsed("[setup]\ncommand = 'x'").unwrap().setup.unwrap().timeout_secs, 600);
        assert_eq!(parsed("").unwrap(), Project::default());
    }

    #[test]
    fn dependencies_are_told_apart() {
        let text =
            "[dependencies]\ninstall = false\ndirectories = ['.', 'web/app']\nrequired = true\ntimeout_secs = 5\n";
        let dependencies = parsed(text).unwrap().dependencies;
        assert_eq!((dependencies.install, dependencies.required, dependencies.timeout_secs), (Some(false), true, 5));
        assert_eq!(dependencies.directories, [".", "web/app"].map(PathBuf::from));
        assert_eq!(parsed("[dependencies]\nrequired = true\n").unwrap().dependencies.install, None);
        for outside in ["..", "/etc", "a/../../b", "", ".git", "a/.GIT/hooks"] {
            let error = parsed(&format!("[dependencies]\ndirectories = ['{outside}']\n")).unwrap_err();
            assert!(error.contains("dependencies.directories"), "{outside}: {error}");
        }
        assert!(parsed("[teardown]\ncommand = ''\n").unwrap_err().contains("teardown.command"));
    }

    #[test]
    fn faults_are_named_with_their_place() {
        let error = parsed("[setup]\ncommand = 'x'\ntimout = 3\n").unwrap_err();
        assert!(error.starts_with(".cadence.toml:3:1: unknown field `timout`"), "{error}");
        let error = parsed("[setup]\ncommand = 3\n").unwrap_err();
        assert!(error.starts_with(".cadence.toml:2:11: "), "{error}");
        assert!(parsed("[other]\n").unwrap_err().starts_with(".cadence.toml:1:2: unknown field `other`"));
        assert!(parsed("[setup\n").unwrap_err().starts_with(".cadence.toml:1:"));
        assert!(parsed("[setup]\ncommand = ' '").unwrap_err().contains("empty"));
        assert!(parsed("[setup]\ncommand = 'x'\ntimeout_secs = 0").unwrap_err().contains("from 1 to"));
        assert!(parsed("[agent]\nmodel = '--x'").unwrap_err().contains("agent.model"));
    }

    #[test]
    fn the_file_may_be_missing_but_not_a_link() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(load(dir.path()).unwrap(), Project::default());
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join(FILE)).unwrap();
        assert!(matches!(load(dir.path()), Err(ProjectError::NotPlain { .. })));
        std::fs::remove_file(dir.path().join(FILE)).unwrap();
        std::fs::write(dir.path().join(FILE), "[agent]\ndefault = \"demo\"\n").unwrap();
        assert_eq!(load(dir.path()).unwrap().agent.default.as_deref(), Some("demo"));
    }
}
