//! Start-up and idleness of the program of the release build.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::api::{Server, TOKEN};
use crate::place;
use crate::result::{Results, millis, percentile};

const RUNS: usize = 40;
/// How long an idle server is looked at.
const IDLE: Duration = Duration::from_secs(5);

pub async fn measure(results: &mut Results) {
    let directory = place::directory();
    let home = directory.path();
    let cadence = place::built().join("cadence");
    let version = median(home, &cadence, &["--version"], &[]);
    let git = median(home, Path::new("git"), &["--version"], &[]);
    let beside = format!("{:.2} ms beside git's {:.2} ms", millis(version), millis(git));
    results.at_most("cadence --version beyond git --version", millis(version.saturating_sub(git)), 5.0, "ms", &beside);

    let mut starts: Vec<Duration> =
        (0..RUNS / 4).map(|n| Server::start(home, &home.join(format!("data{n}"))).took).collect();
    let start = percentile(&mut starts, 50);
    let server = Server::start(home, &home.join("data0"));
    let again = format!("empty data; {:.2} ms with data that is there", millis(server.took));
    results.at_most("server start", millis(start), 50.0, "ms", &again);

    let environment = [("CADENCE_SERVER", server.url.as_str()), ("CADENCE_TOKEN", TOKEN)];
    let list = median(home, &cadence, &["tasks", "ls"], &environment);
    results.at_most("cadence tasks ls, warm server", millis(list), 30.0, "ms", "median");

    let pid = server.child.id();
    let before = ticks(pid);
    tokio::time::sleep(IDLE).await;
    let used = (ticks(pid) - before) as f64;
    results.at_most("idle server, memory", resident(pid), 30.0, "MB", "resident");
    // The clock of the kernel has 100 ticks a second.
    results.at_most(
        "idle server, processor",
        used / IDLE.as_secs_f64(),
        0.5,
        "%",
        &format!("{used} ticks of 10 ms in 5 s"),
    );
}

fn median(home: &Path, program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Duration {
    let mut samples: Vec<Duration> = (0..RUNS)
        .map(|_| {
            let started = Instant::now();
            let status = Command::new(program)
                .args(arguments)
                .env_clear()
                .envs([("HOME", home.as_os_str()), ("PATH", "/usr/bin:/bin".as_ref())])
                .envs(environment.iter().copied())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            assert!(status.unwrap().success(), "{} {arguments:?}", program.display());
            started.elapsed()
        })
        .collect();
    percentile(&mut samples, 50)
}

/// Processor time that a process has used.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("Linux, for the figures of a process");
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

/// Memory of a process, in MB.
fn resident(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1000.0
}
