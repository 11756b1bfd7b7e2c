//! The host process with real process trees.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cadence_agent::host::{HostProcess, HostSpec, MAX_LINE, has_control_groups, kill_marked};
use cadence_agent::sandbox::Bounds;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{alive, environment, eventually, host_program, pid_in};
use tempfile::TempDir;

/// Leaves a process in a session of its own, its parents gone, its environment empty, and its id in the file `pid`.
const DAEMON: &str =
    r#"env -i PATH="$PATH" setsid sh -c '(sleep 600 & echo $! > pid.new; mv pid.new pid) >/dev/null 2>&1 &'"#;
/// The same with its environment.
const MARKED_DAEMON: &str = r#"setsid sh -c '(sleep 600 & echo $! > pid.new; mv pid.new pid) >/dev/null 2>&1 &'"#;

fn spec(directory: &Path, script: &str) -> HostSpec {
    HostSpec {
        lock: None,
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        cwd: directory.into(),
        env: environment(directory),
        marker: format!("{}:1", uuid::Uuid::new_v4()),
        bounds: Bounds::default(),
    }
}

async fn host(spec: &HostSpec) -> HostProcess {
    HostProcess::spawn(&host_program(), spec, None).await.unwrap()
}

async fn line(host: &mut HostProcess) -> String {
    tokio::time::timeout(Duration::from_secs(20), host.next_line())
        .await
        .expect("a line in time")
        .unwrap()
        .unwrap()
        .text
}

/// Whether somebody holds the lock on a file.
fn locked(path: &Path) -> bool {
    matches!(std::fs::File::open(path).unwrap().try_lock(), Err(std::fs::TryLockError::WouldBlock))
}

#[tokio::test]
async fn the_workspace_is_locked_while_anything_of_the_agent_lives() {
    let home = TempDir::new().unwrap();
    let lock = home.path().join("lock");
    let daemon = format!("{MARKED_DAEMON}; while [ ! -e pid ]; do :; done; echo ready; read end");
    let spec = HostSpec { lock: Some(lock.clone()), ..spec(home.path(), &daemon) };
    let mut first = host(&spec).await;
    assert_eq!(line(&mut first).await, "ready");
    assert!(locked(&lock));
    let mut second = host(&spec).await;
    assert_eq!(second.next_line().await.unwrap(), None);
    assert!(second.wait().await.stderr.contains("cannot be locked"));

    // A host that is killed leaves its agent, and with it the lock; the sweep frees it.
    kill(Pid::from_raw(first.id().unwrap().cast_signed()), Signal::SIGKILL).unwrap();
    first.wait().await;
    kill_marked(&spec.marker);
    eventually("the lock is free", || (!locked(&lock)).then_some(())).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_host_waits_for_the_one_before() {
    let home = TempDir::new().unwrap();
    let lock = home.path().join("lock");
    let held = std::fs::File::create(&lock).unwrap();
    held.lock().unwrap();
    let spec = HostSpec { lock: Some(lock.clone()), ..spec(home.path(), "echo ready") };
    let mut waiting = host(&spec).await;
    let open = format!("/proc/{}/fd", waiting.id().unwrap());
    eventually("the host to open the lock", || {
        let mut files = std::fs::read_dir(&open).ok()?.flatten();
        files.find(|file| std::fs::read_link(file.path()).is_ok_and(|path| path.ends_with("lock")))
    })
    .await;
    let early = tokio::time::timeout(Duration::from_millis(200), waiting.next_line()).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    drop(held);
    assert_eq!(line(&mut waiting).await, "ready");
    assert_eq!(waiting.wait().await.code, Some(0));
}

#[tokio::test]
async fn relays_lines_and_the_exit_code() {
    let home = TempDir::new().unwrap();
    let mut host = host(&spec(home.path(), "read a; echo \"got $a\"; cat >&2; echo $CADENCE_ATTEMPT; exit 7")).await;
    host.write_line("one\ntwo").await;
    assert_eq!(line(&mut host).await, "got one two");
    host.write_line("to stderr").await;
    host.close_stdin().await;
    assert!(line(&mut host).await.ends_with(":1"));
    assert_eq!(host.next_line().await.unwrap(), None);
    let exit = host.wait().await;
    assert_eq!(exit.code, Some(7));
    assert_eq!(exit.stderr, "to stderr\n");
}

#[tokio::test]
async fn says_when_the_agent_cannot_start() {
    let home = TempDir::new().unwrap();
    let mut spec = spec(home.path(), "");
    spec.program = "/nonexistent/agent".into();
    let exit = host(&spec).await.wait().await;
    assert_eq!(exit.code, Some(127));
    assert!(exit.stderr.contains("cannot start /nonexistent/agent"), "{}", exit.stderr);
}

#[tokio::test]
async fn gives_nothing_but_the_environment_of_the_specification() {
    let home = TempDir::new().unwrap();
    let mut host = host(&spec(home.path(), "env | cut -d= -f1 | sort | tr '\\n' ' '")).await;
    assert_eq!(line(&mut host).await, "CADENCE_ATTEMPT HOME PATH PWD ");
    host.wait().await;
}

#[tokio::test]
async fn a_daemon_dies_with_the_end_of_the_agent() {
    let home = TempDir::new().unwrap();
    let host = host(&spec(home.path(), &format!("{DAEMON}; until [ -e pid ]; do sleep 0.01; done; exit 3"))).await;
    let daemon = pid_in(&home.path().join("pid")).await;
    assert_eq!(host.wait().await.code, Some(3));
    assert!(!alive(daemon));
}

#[tokio::test]
async fn a_daemon_dies_when_killed() {
    let home = TempDir::new().unwrap();
    let host = host(&spec(home.path(), &format!("{DAEMON}; exec sleep 600"))).await;
    let daemon = pid_in(&home.path().join("pid")).await;
    host.kill().await;
    assert_eq!(host.wait().await.code, Some(128 + Signal::SIGTERM as i32));
    assert!(!alive(daemon));
}

#[tokio::test]
async fn a_daemon_dies_when_the_server_does() {
    let home = TempDir::new().unwrap();
    let host = host(&spec(home.path(), &format!("{DAEMON}; exec sleep 600"))).await;
    let daemon = pid_in(&home.path().join("pid")).await;
    assert!(alive(daemon));
    drop(host);
    eventually("the daemon's death", || (!alive(daemon)).then_some(())).await;
}

#[tokio::test]
async fn what_a_killed_host_left_is_found_by_its_marker() {
    let home = TempDir::new().unwrap();
    let spec = spec(home.path(), &format!("{MARKED_DAEMON}; exec sleep 600"));
    let host = host(&spec).await;
    let daemon = pid_in(&home.path().join("pid")).await;
    kill(Pid::from_raw(i32::try_from(host.id().unwrap()).unwrap()), Signal::SIGKILL).unwrap();
    let exit = host.wait().await;
    assert_eq!(exit.code, None);
    assert!(!alive(daemon));
    let marker = spec.marker;
    assert_eq!(tokio::task::spawn_blocking(move || kill_marked(&marker)).await.unwrap(), 0);
}

/// Without a control group nothing tells such a process from any other; with one, it cannot leave.
#[tokio::test]
async fn what_cleared_its_environment_is_found_by_its_control_group() {
    let home = TempDir::new().unwrap();
    let spec = spec(home.path(), &format!("{DAEMON}; exec sleep 600"));
    let host = host(&spec).await;
    let daemon = pid_in(&home.path().join("pid")).await;
    kill(Pid::from_raw(host.id().unwrap().cast_signed()), Signal::SIGKILL).unwrap();
    host.wait().await;
    let survived = alive(daemon);
    if survived {
        kill(Pid::from_raw(daemon), Signal::SIGKILL).unwrap();
    }
    assert_eq!(survived, !has_control_groups());
}

#[tokio::test]
async fn an_agent_that_ignores_the_signal_dies() {
    let home = TempDir::new().unwrap();
    let mut host = host(&spec(home.path(), "trap '' TERM INT HUP; echo ready; while :; do sleep 1; done")).await;
    assert_eq!(line(&mut host).await, "ready");
    host.kill().await;
    assert_eq!(host.wait().await.code, Some(128 + Signal::SIGKILL as i32));
}

#[tokio::test]
async fn processes_that_fork_on_and_on_are_caught() {
    let home = TempDir::new().unwrap();
    let storm = "spawn() { (sleep 0.02; spawn) & }; spawn; spawn; spawn; echo ready; exec sleep 600";
    let mut host = host(&spec(home.path(), storm)).await;
    assert_eq!(line(&mut host).await, "ready");
    let marker = host.destroy().await;
    assert!(!marker.stderr.contains("could not be killed"), "{}", marker.stderr);
}

#[tokio::test]
async fn a_host_that_is_told_to_end_takes_the_agent_along() {
    let home = TempDir::new().unwrap();
    let mut host = host(&spec(home.path(), "echo $$; exec sleep 600")).await;
    let agent: i32 = line(&mut host).await.parse().unwrap();
    // Should the signal come before the host has blocked it, the host dies, and the agent is found by its marker.
    let pid = Pid::from_raw(i32::try_from(host.id().unwrap()).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    host.wait().await;
    assert!(!alive(agent));
}

#[tokio::test]
async fn an_agent_that_never_reads_can_be_killed() {
    let home = TempDir::new().unwrap();
    let mut host = host(&spec(home.path(), "echo ready; exec sleep 600")).await;
    assert_eq!(line(&mut host).await, "ready");
    let long = "x".repeat(1 << 20);
    for _ in 0..8 {
        host.write_line(&long).await;
    }
    host.kill().await;
    assert_eq!(host.wait().await.code, Some(128 + Signal::SIGTERM as i32));
}

#[tokio::test]
async fn forty_megabytes_arrive() {
    let home = TempDir::new().unwrap();
    let script = "i=0; while [ $i -lt 40 ]; do head -c 1048575 /dev/zero | tr '\\0' x; echo; i=$((i+1)); done";
    let mut host = host(&spec(home.path(), script)).await;
    let mut bytes = 0;
    while let Some(line) = host.next_line().await.unwrap() {
        assert_eq!(line.left_out, 0);
        bytes += line.text.len() + 1;
    }
    assert_eq!(bytes, 40 << 20);
    assert_eq!(host.wait().await.code, Some(0));
}

#[tokio::test]
async fn a_line_of_a_hundred_megabytes_is_cut() {
    let home = TempDir::new().unwrap();
    let mut host = host(&spec(home.path(), "head -c 104857600 /dev/zero | tr '\\0' x; echo; echo next")).await;
    let first = host.next_line().await.unwrap().unwrap();
    assert_eq!(first.text.len() as u64 + first.left_out, 104_857_600);
    assert!(first.text.len() < MAX_LINE);
    assert_eq!(line(&mut host).await, "next");
    host.wait().await;
}

#[tokio::test]
async fn only_the_end_of_stderr_is_kept_and_all_is_handed_on() {
    let home = TempDir::new().unwrap();
    let spec = spec(home.path(), "head -c 100000 /dev/zero | tr '\\0' e >&2; echo last >&2");
    let seen = Arc::new(Mutex::new(0));
    let sink = Arc::clone(&seen);
    let sink = Arc::new(move |bytes: &[u8]| *sink.lock().unwrap() += bytes.len());
    let exit = HostProcess::spawn(&host_program(), &spec, Some(sink)).await.unwrap().wait().await;
    assert_eq!(exit.stderr.len(), 4096);
    assert!(exit.stderr.ends_with("last\n"));
    assert_eq!(*seen.lock().unwrap(), 100_005);
}
