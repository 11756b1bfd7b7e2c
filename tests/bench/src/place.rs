//! Where measurements are made: a directory on the disk of the build, since temporary ones may be in memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use cadence_server::store::NewTask;
use tempfile::TempDir;
use uuid::Uuid;

/// The directory of the built programs.
pub fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

pub fn directory() -> TempDir {
    tempfile::Builder::new().prefix("bench").tempdir_in(built()).unwrap()
}

pub fn new_task(user_id: Uuid, description: String) -> NewTask {
    NewTask {
        repo_path: Some("/nonexistent/app".into()),
        base_branch: "main".into(),
        ..NewTask::new((user_id, "bench"), "demo", "app", description)
    }
}

/// A repository with one commit.
pub fn repository(home: &Path) -> String {
    let path = home.join("repository");
    if !path.exists() {
        std::fs::create_dir(&path).unwrap();
        for arguments in [&["init", "-q", "-b", "main"][..], &["commit", "-q", "--allow-empty", "-m", "start"][..]] {
            let git = Command::new("git")
                .args(["-c", "user.name=bench", "-c", "user.email=bench@localhost"])
                .args(arguments)
                .current_dir(&path)
                .env_clear()
                .envs([("HOME", home.as_os_str()), ("PATH", "/usr/bin:/bin".as_ref())])
                .status();
            assert!(git.unwrap().success());
        }
    }
    path.to_str().unwrap().to_owned()
}
