//! Shared by the package's tests: the host program, and waiting for what is to come.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The example `agent-host`, which cargo builds together with the tests.
pub fn host_program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let program = test.parent().and_then(Path::parent).unwrap().join("examples").join("agent-host");
    assert!(program.exists(), "{} is missing: cargo build -p cadence-agent --examples", program.display());
    program
}

/// All that a process under test needs of the environment.
pub fn environment(home: &Path) -> BTreeMap<String, String> {
    BTreeMap::from([("PATH".into(), std::env::var("PATH").unwrap()), ("HOME".into(), home.display().to_string())])
}

/// Polls until `done` gives something; panics after 20 seconds.
pub async fn eventually<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process lives (a zombie does not).
pub fn alive(pid: i32) -> bool {
    let output = std::process::Command::new("ps").args(["-o", "state=", "-p", &pid.to_string()]).output();
    let state = String::from_utf8(output.expect("ps: install procps").stdout).unwrap();
    !state.trim().is_empty() && !state.trim().starts_with('Z')
}

/// Waits for a file that holds a process id and a line end.
pub async fn pid_in(file: &Path) -> i32 {
    eventually("a process id", || {
        let text = std::fs::read_to_string(file).ok()?;
        text.strip_suffix('\n')?.parse().ok()
    })
    .await
}
