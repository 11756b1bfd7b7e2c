//! The smallest program that can serve as host: what `cadence host`, `cadence confine`, `cadence demo-agent` and
//! `cadence git-credential` are in the real one. The package's tests use it.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("host") => cadence_agent::host::run(),
        Some("confine") => cadence_agent::sandbox::run(),
        Some("demo-agent") => cadence_agent::demo::run(),
        Some("git-credential") => cadence_agent::git::credential_helper(),
        _ => {
            eprintln!("usage: agent-host host | confine … | demo-agent … | git-credential ACTION");
            ExitCode::from(2)
        }
    }
}
