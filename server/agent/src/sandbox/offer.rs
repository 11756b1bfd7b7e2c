//! What the machine can enforce.

use std::sync::OnceLock;

use cadence_protocol::{SandboxBy, SandboxMode};

use super::bwrap;

/// What keeps agents apart on this machine, and what it leaves open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub by: Option<SandboxBy>,
    /// In words, what is not kept in every mode.
    pub weaker: Vec<String>,
    /// Whether `strict` can name TCP ports.
    pub ports: bool,
}

impl Offer {
    /// Looks once; later calls give the same. Blocks for some milliseconds where bubblewrap has to be tried.
    pub fn here() -> &'static Self {
        static HERE: OnceLock<Offer> = OnceLock::new();
        HERE.get_or_init(|| Self::landlock().or_else(Self::bubblewrap).unwrap_or_else(Self::nothing))
    }

    fn nothing() -> Self {
        let why = if cfg!(target_os = "linux") {
            "the kernel has no Landlock (Linux 5.19), and bubblewrap is not there or may not make namespaces"
        } else {
            "this system has neither Landlock nor bubblewrap"
        };
        Self { by: None, weaker: vec![why.to_owned()], ports: false }
    }

    fn bubblewrap() -> Option<Self> {
        (cfg!(target_os = "linux") && bwrap::works()).then(|| Self {
            by: Some(SandboxBy::Bubblewrap),
            weaker: vec!["other processes can be sent signals".to_owned()],
            ports: false,
        })
    }

    #[cfg(target_os = "linux")]
    fn landlock() -> Option<Self> {
        super::landlock::strength().map(Self::of_landlock)
    }

    #[cfg(target_os = "linux")]
    fn of_landlock(strength: super::landlock::Strength) -> Self {
        let mut weaker = Vec::new();
        if !strength.truncate {
            weaker.push("files elsewhere can be emptied, though not written (before Linux 6.2)".to_owned());
        }
        if !strength.scope {
            weaker.push("other processes can be sent signals (before Linux 6.12)".to_owned());
        }
        Self { by: Some(SandboxBy::Landlock), weaker, ports: strength.ports }
    }

    #[cfg(not(target_os = "linux"))]
    fn landlock() -> Option<Self> {
        None
    }

    /// What it leaves open of a mode.
    pub fn weaker_in(&self, mode: SandboxMode) -> Vec<String> {
        let ports =
            (mode == SandboxMode::Strict && !self.ports).then(|| "every TCP port can be connected to".to_owned());
        self.weaker.iter().cloned().chain(ports).collect()
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::landlock::Strength;
    use super::*;

    #[test]
    fn what_a_kernel_leaves_open_is_said() {
        let all = Offer::of_landlock(Strength { truncate: true, ports: true, scope: true });
        assert_eq!(all.weaker_in(SandboxMode::Strict), Vec::<String>::new());
        let old = Offer::of_landlock(Strength { truncate: false, ports: false, scope: false });
        assert_eq!(old.weaker_in(SandboxMode::Workspace).len(), 2);
        assert_eq!(old.weaker_in(SandboxMode::Strict).len(), 3);
        assert_eq!(Offer::nothing().by, None);
    }
}
