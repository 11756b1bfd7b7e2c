//! Every story ends with the checker: what it leaves in storage has to be as promised.

use std::fs;
use std::path::{Path, PathBuf};

use super::TestEnv;

/// How deep below a story's directory data directories are.
const DEPTH: usize = 6;

/// Checks all data directories of a story. Gives what is wrong with them.
pub fn faults(env: &TestEnv) -> Vec<String> {
    let mut found = Vec::new();
    databases(&env.path(""), DEPTH, &mut found);
    let checks = found.iter().map(|data| {
        let check = env.cadence(["doctor", "--verify", "--data-dir", data.to_str().unwrap()]).try_run();
        (check.code != Some(0)).then(|| format!("{}{}", check.stdout, check.stderr))
    });
    checks.flatten().collect()
}

fn databases(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name() == "cadence.db" {
            found.push(directory.to_owned());
        } else if entry.file_name().to_string_lossy().starts_with("before-restore-") {
            // What was put aside belongs to what lies beside another database by now.
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            databases(&entry.path(), depth - 1, found);
        }
    }
}
