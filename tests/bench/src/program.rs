//! Start-up and idleness of the program of the release build.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::place;
use crate::result::{Results, millis, percentile};
use crate::server::{Server, TOKEN};

const RUNS: usize = 40;
/// How long an idle server is looked at.
const IDLE: Duration = Duration::from_secs(10);

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

    let before = server.ticks();
    tokio::time::sleep(IDLE).await;
    let used = (server.ticks() - before) as f64;
    results.at_most("idle server, memory", server.resident() as f64 / 1e6, 30.0, "MB", "resident");
    // A tick is 10 ms, and one may fall on anything.
    let beside = format!("{used} ticks of 10 ms in {} s", IDLE.as_secs());
    results.at_most("idle server, processor", used / IDLE.as_secs_f64(), 0.2, "%", &beside);
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
