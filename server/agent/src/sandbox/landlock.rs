//! Landlock, see landlock(7): a process gives up rights, for itself and all that it starts.

use std::io;
use std::path::{Path, PathBuf};

use ::landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use cadence_protocol::SandboxMode;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set, set_capabilities,
};

use super::Confinement;
use super::around::around;

/// The newest set of rights that is used here. Newer kernels keep to it: what a later one takes away was not tried.
const NEWEST: ABI = ABI::V6;

/// What is left to a process of root.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::NET_BIND_SERVICE);

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
    #[error("capabilities cannot be dropped: {0}")]
    Capabilities(io::Error),
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
    // A device of one's own would be another way to the disk.
    let written = handled & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let write = confinement.write.iter().flat_map(|path| open_to(path, confinement));
    rules = rules.add_rules(path_beneath_rules(write, written))?;
    for port in confinement.ports.iter().flatten() {
        rules = rules.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    if rules.restrict_self()?.ruleset == RulesetStatus::NotEnforced {
        return Err(LandlockError::NotEnforced);
    }
    drop_capabilities().map_err(LandlockError::Capabilities)
}

/// Leaves root what it needs for files and to become another user. The rest goes past what Landlock keeps: mounting, loading
/// modules, looking into other processes. See capabilities(7).
fn drop_capabilities() -> io::Result<()> {
    let had = capabilities(None)?;
    if had.permitted.is_empty() {
        return Ok(());
    }
    for capability in (0..u64::BITS).map(|bit| CapabilitySet::from_bits_retain(1 << bit)) {
        if !KEPT.contains(capability) {
            // Fails for those that this kernel does not know, and where it takes none out: then none can be won, either, for
            // the process may not gain privileges any more.
            let _ = remove_capability_from_bounding_set(capability);
        }
    }
    let sets = CapabilitySets {
        effective: had.effective & KEPT,
        permitted: had.permitted & KEPT,
        inheritable: CapabilitySet::empty(),
    };
    Ok(set_capabilities(None, sets)?)
}

/// What of a place is given. One within a hidden place was named on purpose and is given whole.
fn open_to(path: &Path, confinement: &Confinement) -> Vec<PathBuf> {
    // A link gives what it leads to. What is not there gives nothing.
    let Ok(path) = path.canonicalize() else { return Vec::new() };
    if confinement.hidden.iter().any(|hidden| path.starts_with(hidden)) {
        return vec![path];
    }
    around(&path, &confinement.hidden)
}
