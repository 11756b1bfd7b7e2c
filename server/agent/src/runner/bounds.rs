//! What an attempt is kept to, made from the settings, the machine and the place where it works.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use cadence_protocol::{AttemptSpec, LimitsBy, Sandbox, SandboxLimits, SandboxMode, Task};

use crate::codex;
use crate::host::has_limiting_groups;
use crate::sandbox::{Bounds, CommandLine, Confinement, Decision, Offer, Place, Policy, Unenforceable};
use crate::workspace::Workspace;

/// Variables that name the place for temporary files: for everybody, and what Claude Code takes before that.
const TEMPORARY: [&str; 2] = ["TMPDIR", "CLAUDE_CODE_TMPDIR"];

/// Why Codex is not kept apart unless somebody asks for it.
const OWN: &str = "Codex keeps its commands apart itself, which it cannot do inside another sandbox";

/// The bounds of one attempt, and the directory for its temporary files.
#[derive(Debug)]
pub struct Kept {
    pub bounds: Bounds,
    /// What of it is in force.
    pub facts: Sandbox,
    temporary: Option<Temporary>,
}

/// Why an attempt cannot be kept to what it was to be kept to.
#[derive(Debug, thiserror::Error)]
pub enum BoundsError {
    #[error("{0}")]
    Unenforceable(#[from] Unenforceable),
    #[error("no directory for temporary files can be made in {place}: {error}")]
    Temporary { place: PathBuf, error: io::Error },
    #[error("cadence itself failed: {0}")]
    Broken(String),
}

/// Decides what an attempt is kept to. Nothing is made yet.
pub async fn decide(policy: &Policy, spec: &AttemptSpec, agent: &str) -> Result<(Decision, Sandbox), BoundsError> {
    let limits = SandboxLimits { wall_clock_secs: policy.wall_clock(spec.timeout_secs), ..policy.limits.clone() };
    let wanted = limits.clone();
    let (offer, in_groups) = blocking(move || (Offer::here(), has_limiting_groups(&wanted))).await?;
    let decision = match spec.sandbox.or(policy.mode) {
        None if agent == codex::NAME => Decision { mode: SandboxMode::Off, by: None, weaker: vec![OWN.to_owned()] },
        _ => policy.decide(spec.sandbox, offer)?,
    };
    let by = if in_groups { Some(LimitsBy::Cgroup) } else { cfg!(target_os = "linux").then_some(LimitsBy::Watch) };
    let facts = policy.facts(&decision, limits, by);
    Ok((decision, facts))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, BoundsError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| BoundsError::Broken(error.to_string()))
}

impl Kept {
    /// Prepares them; the environment then names the attempt's own place for temporary files.
    pub async fn prepare(
        policy: &Policy,
        (decision, facts): (Decision, Sandbox),
        (task, program): (&Task, &Path),
        workspace: &Workspace,
        environment: &mut BTreeMap<String, String>,
    ) -> Result<Self, BoundsError> {
        let limits = facts.limits.clone();
        let Some(by) = decision.by else {
            let bounds = Bounds { confinement: None, limits };
            return Ok(Self { bounds, facts, temporary: None });
        };
        let root =
            environment.get(TEMPORARY[0]).filter(|path| path.starts_with('/')).map_or("/tmp".into(), PathBuf::from);
        let (place, id) = (root.clone(), task.short_id());
        let temporary = blocking(move || Temporary::make(&root, &id)).await?;
        let temporary = temporary.map_err(|error| BoundsError::Temporary { place, error })?;
        for name in TEMPORARY {
            environment.insert(name.to_owned(), temporary.0.to_string_lossy().into_owned());
        }
        let place = Place {
            agent: &task.agent,
            program,
            environment,
            workspace: &workspace.directory,
            temporary: &temporary.0,
            borrowed: &workspace.borrowed(),
        };
        let confinement = policy.confinement(decision.mode, by, &place);
        let confinement = blocking(move || {
            confinement.make_directories();
            confinement
        })
        .await?;
        let bounds = Bounds { confinement: Some(confinement), limits };
        Ok(Self { bounds, facts, temporary: Some(temporary) })
    }

    /// The command line of `program`, a program of the repository's own, that runs it within the same bounds.
    pub fn wrap(&self, cadence: &Path, program: CommandLine) -> Result<CommandLine, serde_json::Error> {
        match &self.bounds.confinement {
            Some(confinement) => Confinement::wrap(confinement, cadence, program),
            None => Ok(program),
        }
    }

    /// Leaves the temporary files to whoever goes on.
    pub fn leave(mut self) {
        if let Some(temporary) = self.temporary.take() {
            std::mem::forget(temporary);
        }
    }
}

/// A directory of one task's own, as short as sockets in it want their paths. Removed when dropped.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Temporary {
    /// Makes it in a directory that others may write to, or takes up the one that an attempt before left there.
    fn make(root: &Path, task: &str) -> io::Result<Self> {
        let path = root.canonicalize()?.join(format!("cadence-{task}"));
        match DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let found = fs::symlink_metadata(&path)?;
                let ours =
                    found.is_dir() && found.uid() == nix::unistd::geteuid().as_raw() && found.mode() & 0o077 == 0;
                if !ours {
                    return Err(io::Error::other(format!("{} is somebody else's", path.display())));
                }
            }
            made => made?,
        }
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // What an agent made unwritable for itself stays, as it would without us.
        drop(fs::remove_dir_all(&self.0));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn temporary_files_go_where_nobody_else_waits_for_them() {
        let root = tempfile::tempdir().unwrap();
        let first = Temporary::make(root.path(), "1a2b").unwrap();
        assert_eq!(fs::metadata(&first.0).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(first.0.join("x"), "").unwrap();
        let path = first.0.clone();
        std::mem::forget(first);
        // The next attempt finds what the one before had.
        let second = Temporary::make(root.path(), "1a2b").unwrap();
        assert!(second.0.join("x").exists());
        drop(second);
        assert!(!path.exists());
        symlink(root.path(), &path).unwrap();
        assert!(Temporary::make(root.path(), "1a2b").is_err(), "a link is no directory of ours");
        let open = root.path().join("cadence-3c4d");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(Temporary::make(root.path(), "3c4d").is_err(), "others could have put something there");
    }
}
