//! A clock on the wall that a story sets. The time that goes by evenly is left alone.

use std::fs;
use std::path::PathBuf;

use super::{Cmd, TestEnv};

/// The library that stands between a program and the clock.
fn library() -> PathBuf {
    let places =
        fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    places.into_iter().find(|path| path.is_file()).expect("libfaketime is needed: run `make tools`")
}

/// Gives a program the clock of the story.
pub fn give(env: &TestEnv, cmd: Cmd) -> Cmd {
    cmd.env("LD_PRELOAD", library())
        .env("FAKETIME_TIMESTAMP_FILE", env.path("clock"))
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
}

/// Sets it, such as `+5h`.
pub fn set(env: &TestEnv, offset: &str) {
    let new = env.path("clock.new");
    fs::write(&new, format!("{offset}\n")).unwrap();
    fs::rename(new, env.path("clock")).unwrap();
}
