//! What keeps agents apart on this machine.

use cadence_agent::host::has_limiting_groups;
use cadence_agent::sandbox::{Offer, Policy};
use cadence_protocol::{SandboxBy, SandboxMode};

use super::{Check, State};
use crate::render::memory;

/// How the sandbox and the limits of the settings are enforced here.
pub fn checks(policy: &Policy) -> Vec<Check> {
    vec![sandbox(policy, Offer::here()), limits(policy, has_limiting_groups(&policy.limits))]
}

fn sandbox(policy: &Policy, offer: &Offer) -> Check {
    const NAME: &str = "sandbox";
    match policy.decide(None, offer) {
        Ok(decision) if decision.mode == SandboxMode::Off && policy.mode.is_some() => {
            Check::new(NAME, State::Ok, "off, as it is set: agents may do what you may")
        }
        Ok(decision) => match decision.by {
            Some(by) => {
                let by = match by {
                    SandboxBy::Landlock => "Landlock",
                    SandboxBy::Bubblewrap => "bubblewrap",
                };
                let check = Check::new(NAME, State::Ok, format!("{} by {by}", decision.mode));
                if decision.weaker.is_empty() { check } else { check.hint(decision.weaker.join("; ")) }
            }
            None => {
                Check::new(NAME, State::Warning, "none: agents may do what you may").hint(decision.weaker.join("; "))
            }
        },
        Err(error) => Check::new(NAME, State::Failed, error.to_string())
            .hint("No task can run so. `cadence config unset sandbox.mode` lets agents run with what there is."),
    }
}

fn limits(policy: &Policy, in_groups: bool) -> Check {
    let limits = &policy.limits;
    let set: Vec<String> = [
        limits.memory_bytes.map(|bytes| format!("{} of memory", memory(bytes))),
        limits.cpus.map(|cpus| format!("{cpus} processors")),
        limits.processes.map(|processes| format!("{processes} processes")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let set = if set.is_empty() { "none".to_owned() } else { set.join(", ") };
    if in_groups {
        return Check::new("limits", State::Ok, format!("{set}, in a control group"));
    }
    if !cfg!(target_os = "linux") {
        return Check::new("limits", State::Warning, "none: this system has no control groups");
    }
    let check = Check::new("limits", State::Ok, format!("{set}, watched"))
        .hint("Where memory, cpu and pids of cgroup v2 are delegated, the kernel keeps them.");
    if limits.cpus.is_none() { check } else { Check { state: State::Warning, ..check } }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::lines;
    use super::*;
    use crate::render::plain;

    #[test]
    fn what_the_machine_has_is_said() {
        let offer = |by| Offer { by, weaker: Vec::new(), ports: true };
        let nothing = Offer { weaker: vec!["there is neither".to_owned()], ..offer(None) };
        let set = |mode| Policy { mode: Some(mode), ..Policy::default() };
        let checks = [
            sandbox(&Policy::default(), &offer(Some(SandboxBy::Landlock))),
            sandbox(&set(SandboxMode::Strict), &offer(Some(SandboxBy::Bubblewrap))),
            sandbox(&set(SandboxMode::Off), &nothing),
            sandbox(&Policy::default(), &nothing),
            sandbox(&set(SandboxMode::Strict), &nothing),
            limits(&Policy::default(), true),
        ];
        insta::assert_snapshot!(plain(&lines(&checks)), @r"
        ✓ sandbox     workspace by Landlock
        ✓ sandbox     strict by bubblewrap
        ✓ sandbox     off, as it is set: agents may do what you may
        ! sandbox     none: agents may do what you may
                      there is neither
        ✗ sandbox     the sandbox `strict` was asked for, and cannot be had: there is neither
                      No task can run so. `cadence config unset sandbox.mode` lets agents run with what there is.
        ✓ limits      none, in a control group
        ");
    }
}
