//! `cadence confine SANDBOX -- PROGRAM ARGUMENTS…`: gives up rights, then becomes the program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use super::Confinement;

/// Exit codes of what could not become the program, as a shell would give them.
const CANNOT_CONFINE: u8 = 126;
const CANNOT_START: u8 = 127;

/// Runs it with this process's arguments. Comes back only where it failed: nothing runs with more rights than it should.
pub fn run() -> ExitCode {
    let mut arguments = std::env::args_os().skip(2);
    let (sandbox, dashes, program) = (arguments.next(), arguments.next(), arguments.next());
    let (Some(sandbox), Some(program), true) = (sandbox, program, dashes.is_some_and(|dashes| dashes == "--")) else {
        return failed(CANNOT_CONFINE, "a sandbox, `--` and a program are expected");
    };
    if let Err(why) = confine(sandbox) {
        return failed(CANNOT_CONFINE, &why);
    }
    let error = Command::new(&program).args(arguments).exec();
    failed(CANNOT_START, &format!("cannot start {}: {error}", program.display()))
}

fn confine(sandbox: OsString) -> Result<(), String> {
    let text = sandbox.into_string().map_err(|_| "the sandbox is not text".to_owned())?;
    let confinement: Confinement =
        serde_json::from_str(&text).map_err(|error| format!("the sandbox cannot be read: {error}"))?;
    apply(&confinement)
}

#[cfg(target_os = "linux")]
fn apply(confinement: &Confinement) -> Result<(), String> {
    super::landlock::apply(confinement).map_err(|error| format!("the sandbox cannot be set up: {error}"))
}

#[cfg(not(target_os = "linux"))]
fn apply(_: &Confinement) -> Result<(), String> {
    Err("this system has no Landlock".to_owned())
}

fn failed(code: u8, why: &str) -> ExitCode {
    // Whoever would read it may be gone.
    drop(std::io::Write::write_all(&mut std::io::stderr(), format!("cadence confine: {why}\n").as_bytes()));
    ExitCode::from(code)
}
