//! What an agent is kept to, in words.

use cadence_protocol::{LimitsBy, Sandbox, SandboxBy};

use crate::text;

/// One line for people: the mode, who enforces it, and the limits.
pub fn sandbox(sandbox: &Sandbox) -> String {
    let by = match sandbox.by {
        Some(SandboxBy::Landlock) => " by Landlock",
        Some(SandboxBy::Bubblewrap) => " by bubblewrap",
        None => "",
    };
    let mut line = format!("{}{by}", sandbox.mode);
    let limits = &sandbox.limits;
    let mut bounds = Vec::new();
    bounds.extend(limits.memory_bytes.map(|bytes| format!("{} of memory", memory(bytes))));
    bounds.extend(limits.cpus.map(|cpus| format!("{cpus} processors")));
    bounds.extend(limits.processes.map(|processes| format!("{processes} processes")));
    if !bounds.is_empty() {
        let by = match limits.by {
            Some(LimitsBy::Cgroup) => " by cgroup",
            Some(LimitsBy::Watch) => " watched",
            None => "",
        };
        line = format!("{line} · at most {}{by}", bounds.join(", "));
    }
    if let Some(secs) = limits.wall_clock_secs {
        line = format!("{line} · {} to work", text::duration(std::time::Duration::from_secs(secs)));
    }
    line
}

/// A limit of memory, in the units in which it is set.
pub fn memory(bytes: u64) -> String {
    match bytes {
        bytes if bytes.is_multiple_of(1 << 30) => format!("{} GiB", bytes >> 30),
        bytes => format!("{} MiB", bytes.div_ceil(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use cadence_protocol::{SandboxLimits, SandboxMode};

    use super::*;

    #[test]
    fn what_is_in_force_is_a_line() {
        let limits = SandboxLimits {
            memory_bytes: Some(4 << 30),
            cpus: Some(1.5),
            processes: Some(512),
            wall_clock_secs: Some(7200),
            by: Some(LimitsBy::Cgroup),
        };
        let all = Sandbox { mode: SandboxMode::Strict, by: Some(SandboxBy::Landlock), weaker: Vec::new(), limits };
        insta::assert_snapshot!(sandbox(&all), @"strict by Landlock · at most 4 GiB of memory, 1.5 processors, 512 processes by cgroup · 2h 00m to work");
        let weaker = vec!["there is none".to_owned()];
        let none = Sandbox { mode: SandboxMode::Off, by: None, weaker, limits: SandboxLimits::default() };
        insta::assert_snapshot!(sandbox(&none), @"off");
        assert_eq!(memory(512 << 20), "512 MiB");
    }
}
