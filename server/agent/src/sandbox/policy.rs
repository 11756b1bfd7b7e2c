//! What the settings say, and what becomes of it on a machine.

use std::path::PathBuf;

use cadence_protocol::{LimitsBy, Sandbox, SandboxBy, SandboxLimits, SandboxMode};

use super::Offer;

/// What holds for all agents of a machine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// The mode of tasks that ask for none. Absent: `workspace`, where the machine can enforce it.
    pub mode: Option<SandboxMode>,
    /// What is read in `strict`, beside what is usual.
    pub read: Vec<PathBuf>,
    /// What is read and written beside what is usual.
    pub write: Vec<PathBuf>,
    /// TCP ports that `strict` lets agents connect to, beside what is usual.
    pub ports: Vec<u16>,
    /// What is cadence's own: data, addresses, tokens.
    pub hidden: Vec<PathBuf>,
    pub limits: SandboxLimits,
}

/// The mode of an attempt, and what enforces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub mode: SandboxMode,
    /// Absent when, and only when, the mode is `off`.
    pub by: Option<SandboxBy>,
    pub weaker: Vec<String>,
}

/// A mode was asked for that this machine cannot enforce.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox `{mode}` was asked for, and cannot be had: {why}")]
pub struct Unenforceable {
    pub mode: SandboxMode,
    pub why: String,
}

impl Policy {
    /// What an attempt runs under. What somebody asked for, with the task or in the settings, is never less than that.
    pub fn decide(&self, asked: Option<SandboxMode>, offer: &Offer) -> Result<Decision, Unenforceable> {
        let asked = asked.or(self.mode);
        let mode = asked.unwrap_or(SandboxMode::Workspace);
        match (mode, offer.by) {
            (SandboxMode::Off, _) => Ok(Decision { mode, by: None, weaker: Vec::new() }),
            (_, Some(by)) => Ok(Decision { mode, by: Some(by), weaker: offer.weaker_in(mode) }),
            (_, None) if asked.is_none() => {
                Ok(Decision { mode: SandboxMode::Off, by: None, weaker: offer.weaker.clone() })
            }
            (_, None) => Err(Unenforceable { mode, why: offer.weaker.join("; ") }),
        }
    }

    /// Seconds that an attempt may work: what its task says, and no more than the limit.
    pub fn wall_clock(&self, asked: Option<u64>) -> Option<u64> {
        match (asked, self.limits.wall_clock_secs) {
            (Some(asked), Some(limit)) => Some(asked.min(limit)),
            (one, other) => one.or(other),
        }
    }

    /// The facts of an attempt: the decision, and what of the limits is kept by whom.
    pub fn facts(&self, decision: &Decision, mut limits: SandboxLimits, by: Option<LimitsBy>) -> Sandbox {
        let Decision { mode, by: enforcer, mut weaker } = decision.clone();
        let mut unkept = Vec::new();
        if by != Some(LimitsBy::Cgroup) && limits.cpus.take().is_some() {
            unkept.push("processors");
        }
        if by.is_none() {
            unkept.extend(limits.memory_bytes.take().map(|_| "memory"));
            unkept.extend(limits.processes.take().map(|_| "processes"));
        }
        if !unkept.is_empty() {
            weaker.push(format!("no limit of {}: no control group that has one is delegated", unkept.join(", ")));
        }
        let any = limits.memory_bytes.is_some() || limits.cpus.is_some() || limits.processes.is_some();
        limits.by = by.filter(|_| any);
        Sandbox { mode, by: enforcer, weaker, limits }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn offer(by: Option<SandboxBy>) -> Offer {
        Offer { by, weaker: if by.is_none() { vec!["there is none".into()] } else { Vec::new() }, ports: true }
    }

    #[test]
    fn what_was_asked_for_is_kept_or_refused() {
        let (with, without) = (offer(Some(SandboxBy::Landlock)), offer(None));
        let usual = Policy::default();
        assert_eq!(usual.decide(None, &with).unwrap().mode, SandboxMode::Workspace);
        assert_eq!(usual.decide(Some(SandboxMode::Strict), &with).unwrap().mode, SandboxMode::Strict);
        let open = usual.decide(None, &without).unwrap();
        assert_eq!((open.mode, open.weaker), (SandboxMode::Off, vec!["there is none".to_owned()]));
        let set = Policy { mode: Some(SandboxMode::Strict), ..Policy::default() };
        assert_eq!(set.decide(None, &without).unwrap_err().mode, SandboxMode::Strict);
        assert_eq!(usual.decide(Some(SandboxMode::Workspace), &without).unwrap_err().mode, SandboxMode::Workspace);
        assert_eq!(set.decide(Some(SandboxMode::Off), &without).unwrap().by, None);
    }

    #[test]
    fn facts_claim_no_limit_that_nobody_keeps() {
        let limits =
            SandboxLimits { cpus: Some(2.0), processes: Some(9), wall_clock_secs: Some(60), ..Default::default() };
        let policy = Policy { limits, ..Policy::default() };
        assert_eq!(
            (policy.wall_clock(None), policy.wall_clock(Some(90)), policy.wall_clock(Some(5))),
            (Some(60), Some(60), Some(5))
        );
        let decision = policy.decide(Some(SandboxMode::Off), &offer(None)).unwrap();
        let facts = |by| policy.facts(&decision, policy.limits.clone(), by);
        let kept = facts(Some(LimitsBy::Cgroup));
        assert_eq!((kept.limits.cpus, kept.limits.processes, kept.weaker.len()), (Some(2.0), Some(9), 0));
        let watched = facts(Some(LimitsBy::Watch));
        assert_eq!((watched.limits.cpus, watched.limits.by, watched.weaker.len()), (None, Some(LimitsBy::Watch), 1));
        let nobody = facts(None).limits;
        assert_eq!((nobody.processes, nobody.wall_clock_secs, nobody.by), (None, Some(60), None));
        let none = policy.facts(&decision, SandboxLimits::default(), Some(LimitsBy::Cgroup));
        assert_eq!(none.limits, SandboxLimits::default());
    }
}
