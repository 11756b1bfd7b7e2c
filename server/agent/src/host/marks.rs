//! Which processes of attempts are alive.

use uuid::Uuid;

use super::MARKER_VARIABLE;

/// All processes of this user that carry the marker of an attempt, with the task and the number of the attempt.
///
/// Their hosts do not carry it, nor do processes that cleared their environment.
pub fn all_marked() -> Vec<(i32, Uuid, u32)> {
    if cfg!(target_os = "linux") { from_proc() } else { from_ps() }
}

fn from_proc() -> Vec<(i32, Uuid, u32)> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            // A dead process that nobody has waited for has none.
            let environment = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
            let mut variables = environment.split(|&byte| byte == 0).map(String::from_utf8_lossy);
            let (task, attempt) = variables.find_map(|variable| attempt_of(&variable))?;
            Some((pid, task, attempt))
        })
        .collect()
}

fn from_ps() -> Vec<(i32, Uuid, u32)> {
    let Ok(output) = std::process::Command::new("ps").args(["-xEwwo", "pid=,command="]).output() else {
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let pid = words.next()?.parse().ok()?;
        let (task, attempt) = words.find_map(attempt_of)?;
        Some((pid, task, attempt))
    });
    found.collect()
}

/// The attempt of a variable, where it is the marker.
fn attempt_of(variable: &str) -> Option<(Uuid, u32)> {
    let (task, attempt) = variable.strip_prefix(MARKER_VARIABLE)?.strip_prefix('=')?.split_once(':')?;
    Some((task.parse().ok()?, attempt.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn a_marked_process_is_found() {
        let task = Uuid::new_v4();
        let mut child = std::process::Command::new("cat")
            .env(MARKER_VARIABLE, super::super::marker(task, 3))
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // The system may show an environment a moment after the program has begun.
        let begun = std::time::Instant::now();
        while cfg!(target_os = "linux") && std::fs::read(format!("/proc/{pid}/environ")).unwrap().is_empty() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(60), "it has no environment");
            std::thread::yield_now();
        }
        let found = all_marked();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&(pid, task, 3)), "{found:?}");
        assert!(!all_marked().iter().any(|(_, id, _)| *id == task));
    }

    #[test]
    fn other_variables_are_no_markers() {
        for text in ["CADENCE_ATTEMPT", "CADENCE_ATTEMPT=x", "CADENCE_ATTEMPT=x:1", "CADENCE_ATTEMPTS=x:1", ""] {
            assert_eq!(attempt_of(text), None, "{text}");
        }
    }
}
