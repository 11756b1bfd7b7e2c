//! The processes of a story, known by the home directory in their environment.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait::within;

/// Those that are still there after the limit, each with its command line.
pub fn left_of(home: &Path, limit: Duration) -> Vec<String> {
    let none = || all_of(home).is_empty().then(Vec::new);
    within(limit, none).unwrap_or_else(|| all_of(home).into_iter().map(|p| format!("{} {}", p.0, p.1)).collect())
}

/// Kills them all.
pub fn kill_all_of(home: &Path) {
    for (pid, _) in all_of(home) {
        // It may have ended by itself meanwhile.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// Everything that descends from a process: ids and command lines, parents first.
pub fn below(root: i32) -> Vec<(i32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<(i32, i32, String)> = entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some((pid, parent, String::from_utf8_lossy(&line).replace('\0', " ")))
        })
        .collect();
    let mut found: Vec<(i32, String)> = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for (pid, _, line) in all.iter().filter(|process| process.1 == parent) {
            found.push((*pid, line.clone()));
            open.push(*pid);
        }
    }
    found
}

/// Kills a process that may have ended by itself.
pub fn kill_hard(pid: i32) {
    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Ids and command lines. Only Linux tells the environment of a process; elsewhere this finds nothing.
fn all_of(home: &Path) -> Vec<(i32, String)> {
    let wanted = format!("HOME={}", home.display());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(entry.path().join("environ")).ok()?;
            environment.split(|b| *b == 0).find(|v| *v == wanted.as_bytes())?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
        })
        .collect()
}

/// The largest resident memory that a process had until now, in bytes.
///
/// # Panics
/// When there is no such process. Only Linux tells it.
pub fn peak_memory(pid: Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// The processes that a process has started, with their command lines.
pub fn children(pid: Pid) -> Vec<(Pid, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let child: i32 = entry.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            status.lines().find(|line| line.strip_prefix("PPid:").is_some_and(|id| id.trim() == pid.to_string()))?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            Some((Pid::from_raw(child), String::from_utf8_lossy(&line).replace('\0', " ")))
        })
        .collect()
}

/// State of a process: `R` runs, `S` sleeps, `T` is stopped. Only Linux tells it.
///
/// # Panics
/// When there is no such process.
pub fn state(pid: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap()
}
