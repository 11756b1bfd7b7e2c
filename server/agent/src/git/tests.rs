#![allow(clippy::unwrap_used, clippy::expect_used)]
use super::*;

fn git(directory: &Path) -> Git {
    Git::new(directory, &BTreeMap::from([("HOME".to_owned(), directory.to_string_lossy().into_owned())]))
}

#[tokio::test]
async fn a_failure_says_what_git_said() {
    let dir = tempfile::tempdir().unwrap();
    let error = git(dir.path()).call("rev-parse").args(["--verify", "nothing"]).run().await.unwrap_err();
    assert!(error.to_string().starts_with("git rev-parse failed: fatal:"), "{error}");
}

#[tokio::test]
async fn output_is_cut_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let answer = git(dir.path()).call("help").arg("-a").cut_at(10).answer().await.unwrap();
    assert!(answer.cut);
    assert_eq!(answer.stdout.len(), 10);
}

#[tokio::test]
async fn what_hangs_is_stopped_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let git = git(dir.path()).setting("alias.hang=!sleep 1000 & echo $! > pid; wait");
    let limit = Duration::from_secs(2);
    let error = git.call("hang").limit(limit).run().await.unwrap_err();
    assert!(matches!(error, GitError::TimedOut { .. }), "{error}");
    let pid: i32 = std::fs::read_to_string(dir.path().join("pid")).unwrap().trim().parse().unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    // Killed, it may be a zombie until its new parent reaps it.
    let gone = |pid: i32| match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')),
        Err(_) => nix::sys::signal::kill(Pid::from_raw(pid), None).is_err(),
    };
    while !gone(pid) {
        assert!(std::time::Instant::now() < deadline, "the child outlived git");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn only_listed_variables_are_passed() {
    let dir = tempfile::tempdir().unwrap();
    let environment = BTreeMap::from([("SECRET_THING".to_owned(), "x".to_owned())]);
    let git = Git::new(dir.path(), &environment).setting("alias.env=!env");
    let seen = git.call("env").text().await.unwrap();
    assert!(!seen.contains("SECRET_THING"), "a variable that is not listed got through");
    assert!(git.version().await.unwrap().1);
}

#[tokio::test]
async fn a_missing_directory_is_named() {
    let error = git(Path::new("/nonexistent-cadence")).call("status").run().await.unwrap_err();
    assert!(matches!(error, GitError::NoDirectory(_)));
}
