//! Landlock, see landlock(7): a process gives up rights, for itself and all that it starts.

use std::path::{Path, PathBuf};

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use cadence_protocol::SandboxMode;

use super::Confinement;
use super::around::around;

/// The newest set of rights that is used here. Newer kernels keep to it: what a later one takes away was not tried.
const NEWEST: ABI = ABI::V6;

/// What Landlock keeps on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strength {
    /// Files elsewhere cannot be emptied (Linux 6.2).
    pub truncate: bool,
    /// TCP ports can be named (Linux 6.7).
    pub ports: bool,
    /// Processes outside get no signal, their abstract sockets no connection (Linux 6.12).
    pub scope: bool,
}

/// What it keeps; `None` where the kernel has no Landlock, or one in which files cannot be moved between directories
/// (before Linux 5.19), with which many programs do not work.
pub fn strength() -> Option<Strength> {
    let has = |abi: ABI| {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(abi))
            .is_ok()
    };
    let strict = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    has(ABI::V2).then(|| Strength {
        truncate: has(ABI::V3),
        ports: strict().handle_access(AccessNet::ConnectTcp).is_ok(),
        scope: strict().scope(Scope::from_all(NEWEST)).is_ok(),
    })
}

/// Why a process could not be confined.
#[derive(Debug, thiserror::Error)]
pub enum LandlockError {
    #[error("the rules cannot be made: {0}")]
    Rules(#[from] RulesetError),
    #[error("the workspace {0} is not there")]
    NoWorkspace(PathBuf),
    #[error("the kernel does not enforce it")]
    NotEnforced,
}

/// Confines this process, from now on and for ever. Call it where there is no other thread: those keep their rights.
pub fn apply(confinement: &Confinement) -> Result<(), LandlockError> {
    if !confinement.workspace.is_dir() {
        return Err(LandlockError::NoWorkspace(confinement.workspace.clone()));
    }
    let strict = confinement.mode == SandboxMode::Strict;
    let all = AccessFs::from_all(NEWEST);
    // The ways around what is hidden cannot be named as directories to be listed: that would go for all below. So names are
    // seen, and contents are not.
    let handled = if strict { all } else { all & !AccessFs::ReadDir };
    let mut ruleset = Ruleset::default().handle_access(handled)?.scope(Scope::from_all(NEWEST))?;
    if confinement.ports.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    let everything = PathBuf::from("/");
    let read = (!strict).then_some(&everything).into_iter().chain(&confinement.read);
    let mut rules = ruleset.create()?;
    rules = rules.add_rules(path_beneath_rules(
        read.flat_map(|path| open_to(path, confinement)),
        AccessFs::from_read(NEWEST) & handled,
    ))?;
    rules = rules
        .add_rules(path_beneath_rules(confinement.write.iter().flat_map(|path| open_to(path, confinement)), handled))?;
    for port in confinement.ports.iter().flatten() {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err(LandlockError::NotEnforced),
    }
}

/// What of a place is given. One within a hidden place was named on purpose and is given whole.
fn open_to(path: &Path, confinement: &Confinement) -> Vec<PathBuf> {
    if confinement.hidden.iter().any(|hidden| path.starts_with(hidden)) {
        return vec![path.to_owned()];
    }
    around(path, &confinement.hidden)
}
