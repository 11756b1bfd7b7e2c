//! Finding and killing processes: descendants of this one, and those that carry an attempt's marker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::MARKER_VARIABLE;

/// How long to try to get rid of processes before giving up on those that will not die (uninterruptible, or another user's).
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

/// One living process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: i32,
    /// Tells a process from a later one with the same id, where the system says when it started.
    started: u64,
}

/// All living processes that can be seen. Zombies are left out: they are dead.
fn processes() -> BTreeMap<i32, Process> {
    if cfg!(target_os = "linux") { linux_processes() } else { ps_processes() }
}

fn linux_processes() -> BTreeMap<i32, Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return BTreeMap::new() };
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parse_stat(&String::from_utf8_lossy(&stat))?))
        })
        .collect()
}

/// Reads `/proc/<pid>/stat`. The name, in parentheses, can hold anything.
fn parse_stat(stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    let started = fields.nth(17)?.trim().parse().ok()?;
    (state != "Z" && state != "X").then_some(Process { parent, started })
}

fn ps_processes() -> BTreeMap<i32, Process> {
    let Ok(output) = std::process::Command::new("ps").args(["-axo", "pid=,ppid=,state="]).output() else {
        return BTreeMap::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (pid, parent) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            (!fields.next()?.starts_with('Z')).then_some((pid, Process { parent, started: 0 }))
        })
        .collect()
}

/// What descends from the roots, the roots themselves left out.
fn below(all: &BTreeMap<i32, Process>, roots: &[i32]) -> BTreeMap<i32, Process> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (&pid, process) in all {
        children.entry(process.parent).or_default().push(pid);
    }
    let mut found = BTreeMap::new();
    let mut open = roots.to_vec();
    while let Some(parent) = open.pop() {
        for &pid in children.get(&parent).into_iter().flatten() {
            if let Some(&process) = all.get(&pid)
                && !roots.contains(&pid)
                && found.insert(pid, process).is_none()
            {
                open.push(pid);
            }
        }
    }
    found
}

/// Kills every descendant of this process, and waits until none is left. Says how many would not die.
///
/// As subreaper this process inherits what leaves its parents, so descendants are all that an agent ever started, whatever
/// session or group they are in. They are stopped before they are killed, so that none can start another meanwhile.
pub(super) fn kill_descendants() -> usize {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    kill_until_none(|| below(&processes(), &[own]))
}

/// Every descendant of this process.
pub(super) fn descendants() -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    below(&processes(), &[own]).into_keys().collect()
}

fn kill_until_none(find: impl Fn() -> BTreeMap<i32, Process>) -> usize {
    let deadline = Instant::now() + PATIENCE;
    let mut refused = BTreeSet::new();
    loop {
        let mut targets = find();
        targets.retain(|pid, _| !refused.contains(pid));
        if targets.is_empty() || Instant::now() > deadline {
            return targets.len() + refused.len();
        }
        for &pid in targets.keys() {
            if kill(Pid::from_raw(pid), Signal::SIGSTOP) == Err(Errno::EPERM) {
                refused.insert(pid);
            }
        }
        // A stopped process keeps its id: what is still the same now can be killed for certain.
        let confirmed = find();
        for (&pid, process) in &targets {
            let same = confirmed.get(&pid).is_some_and(|now| now.started == process.started);
            let signal = if same { Signal::SIGKILL } else { Signal::SIGCONT };
            let _ = kill(Pid::from_raw(pid), signal);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Kills what is left of an attempt whose host was killed: all processes of this user that carry the marker in their
/// environment, and what descends from them. Returns how many were found.
///
/// A process that cleared its environment and left its parents is found only where control groups could be used.
/// Blocks for as long as processes take to die, at most 10 seconds.
pub fn kill_marked(marker: &str) -> usize {
    super::cgroup::kill_left_behind(marker);
    let found = marked(marker);
    kill_until_none(|| marked(marker));
    found.len()
}

fn marked(marker: &str) -> BTreeMap<i32, Process> {
    let all = processes();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let with_marker = if cfg!(target_os = "linux") { linux_marked(&all, marker) } else { ps_marked(marker) };
    let roots: Vec<i32> = with_marker.into_iter().filter(|&pid| pid != own).collect();
    let mut found = below(&all, &roots);
    found.remove(&own);
    found.extend(roots.iter().filter_map(|pid| Some((*pid, *all.get(pid)?))));
    found
}

fn linux_marked(all: &BTreeMap<i32, Process>, marker: &str) -> Vec<i32> {
    let wanted = format!("{MARKER_VARIABLE}={marker}").into_bytes();
    all.keys()
        .copied()
        .filter(|pid| {
            // Only processes of the same user can be read, unless we are root.
            std::fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(|variable| variable == wanted))
        })
        .collect()
}

fn ps_marked(marker: &str) -> Vec<i32> {
    let wanted = format!("{MARKER_VARIABLE}={marker}");
    let Ok(output) = std::process::Command::new("ps").args(["-xEwwo", "pid=,command="]).output() else {
        return Vec::new();
    };
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.split_whitespace().any(|word| word == wanted))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_stat_of_processes_with_odd_names() {
        let stat = "42 (a) R 1 (b) S 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 999 1 1";
        assert_eq!(parse_stat(stat), Some(Process { parent: 7, started: 999 }));
        assert_eq!(parse_stat("42 (x) Z 7 42 42 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 999 1 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn descendants_of_descendants_are_found() {
        let process = |parent| Process { parent, started: 0 };
        let all = BTreeMap::from([(1, process(0)), (2, process(1)), (3, process(2)), (4, process(1)), (5, process(3))]);
        assert_eq!(below(&all, &[2]).into_keys().collect::<Vec<_>>(), [3, 5]);
        assert_eq!(below(&all, &[2, 3]).into_keys().collect::<Vec<_>>(), [5]);
        assert!(below(&all, &[5]).is_empty());
    }

    #[test]
    fn sees_itself() {
        let all = processes();
        assert!(all.contains_key(&i32::try_from(std::process::id()).unwrap()));
    }
}
