//! Programs of agents: where they are, and which version they have.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::agent::{AgentError, Probe};

/// How long a program may take to tell its version.
const PROBE_TIME: Duration = Duration::from_secs(10);

/// The program of an agent.
#[derive(Clone, Debug)]
pub struct Program {
    /// The agent's name.
    pub agent: &'static str,
    /// What the program is called in `PATH`, or its absolute path.
    pub name: String,
    /// Variable that names another file in its place.
    pub variable: Option<&'static str>,
    /// The command that installs it.
    pub install: String,
}

impl Program {
    /// Finds it in the environment that a task's process would have.
    pub fn find(&self, environment: &BTreeMap<String, String>) -> Result<PathBuf, AgentError> {
        let missing = |program: &str| AgentError::Missing {
            agent: self.agent,
            program: program.to_owned(),
            hint: self.install.clone(),
        };
        let named = self.variable.and_then(|name| environment.get(name)).filter(|program| !program.is_empty());
        let named = named.map(String::as_str).or_else(|| self.name.starts_with('/').then_some(&*self.name));
        if let Some(program) = named {
            return Some(PathBuf::from(program)).filter(|path| is_program(path)).ok_or_else(|| missing(program));
        }
        let path = environment.get("PATH").map(String::as_str).unwrap_or_default();
        // Where installers put things for one user, which not every shell has in its PATH.
        let home = environment.get("HOME").map(|home| Path::new(home).join(".local/bin"));
        // Relative entries would be looked up in the repository.
        std::env::split_paths(path)
            .chain(home)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(&self.name))
            .find(|candidate| is_program(candidate))
            .ok_or_else(|| missing(&self.name))
    }

    /// Finds it and asks it for its version with `--version`, `more` laid over the environment.
    pub async fn probe(
        &self,
        environment: &BTreeMap<String, String>,
        more: &[(&str, &str)],
    ) -> Result<Probe, AgentError> {
        let program = self.find(environment)?;
        let wrong = |reason: String| AgentError::Start { agent: self.agent, reason };
        let call = tokio::process::Command::new(&program)
            .arg("--version")
            .env_clear()
            .envs(environment)
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PROBE_TIME, call)
            .await
            .map_err(|_| wrong(format!("{} --version gave no answer in 10 seconds", program.display())))?
            .map_err(|error| wrong(format!("{}: {error}", program.display())))?;
        match version(&String::from_utf8_lossy(&output.stdout)).filter(|_| output.status.success()) {
            Some(version) => Ok(Probe { version, program }),
            None => Err(wrong(format!("{} --version failed ({})", program.display(), output.status))),
        }
    }
}

/// The word that is a version: programs say `2.1.197 (Claude Code)`, `codex-cli 0.169.0`, `1.18.33` or `v1.2`.
fn version(said: &str) -> Option<String> {
    let word = |word: &str| {
        let bare = word.strip_prefix('v').unwrap_or(word);
        (bare.starts_with(|c: char| c.is_ascii_digit()) && bare.len() <= 100).then(|| bare.to_owned())
    };
    said.lines().take(10).flat_map(str::split_whitespace).find_map(word)
}

/// Refuses what cannot be the name of a model or a session; `what` says which.
pub fn checked<'a>(agent: &'static str, what: &str, name: &'a str) -> Result<&'a str, AgentError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:/@[]".contains(c);
    if name.is_empty() || name.len() > 200 || name.starts_with('-') || !name.chars().all(allowed) {
        let reason = format!("`{}` is no name of a {what}", name.escape_debug());
        return Err(AgentError::Start { agent, reason });
    }
    Ok(name)
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn program(name: &str) -> Program {
        let install = "npm install -g some".to_owned();
        Program { agent: "some", name: name.to_owned(), variable: Some("CADENCE_SOME"), install }
    }

    #[test]
    fn the_program_is_found_where_the_task_would_find_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("some");
        let path = BTreeMap::from([("PATH".to_owned(), directory.path().display().to_string())]);
        let error = program("some").find(&path).unwrap_err();
        assert!(matches!(error, AgentError::Missing { ref hint, .. } if hint.contains("npm install -g")), "{error}");
        std::fs::write(&file, "").unwrap();
        assert!(program("some").find(&path).is_err(), "not executable");
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/bin/sh", &file).unwrap();
        assert_eq!(program("some").find(&path).unwrap(), file);
        let named = BTreeMap::from([("CADENCE_SOME".to_owned(), "/bin/sh".to_owned())]);
        assert_eq!(program("some").find(&named).unwrap(), PathBuf::from("/bin/sh"));
        assert_eq!(program("/bin/sh").find(&BTreeMap::new()).unwrap(), PathBuf::from("/bin/sh"));
        assert!(program("/bin/nonesuch").find(&path).is_err());
        let relative = BTreeMap::from([("PATH".to_owned(), ".".to_owned())]);
        assert!(program("some").find(&relative).is_err());
    }

    #[test]
    fn versions_are_read_as_programs_say_them() {
        let read = |said| version(said).unwrap_or_default();
        assert_eq!(read("2.1.197 (Claude Code)\n"), "2.1.197");
        assert_eq!(read("codex-cli 0.169.0\n"), "0.169.0");
        assert_eq!(read("1.18.33"), "1.18.33");
        assert_eq!(read("some v1.2\n"), "1.2");
        assert_eq!(version("usage: some [OPTIONS]"), None);
        assert_eq!(version(""), None);
    }

    #[test]
    fn names_that_look_like_flags_are_refused() {
        for bad in ["", "--dangerously-skip-permissions", "a b", "x\ny"] {
            assert!(checked("some", "model", bad).is_err(), "{bad}");
        }
        assert!(checked("some", "model", "openai/gpt-5.2:high").is_ok());
    }
}
