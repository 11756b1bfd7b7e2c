//! Where nobody can use a dashboard, the help takes its place.

use crate::support::TestEnv;

#[test]
fn without_a_terminal_the_help_is_printed() {
    let env = TestEnv::new();
    for arguments in [&[] as &[&str], &["--json"]] {
        let help = env.cadence([]).args(arguments).run().code(0).says("Usage: cadence").says("cadence tasks ls");
        assert!(!help.stdout.contains('\u{1b}') && help.stderr.is_empty(), "{help:?}");
    }
    assert!(!env.runtime_dir().join("cadence/server.json").exists(), "no server was started for it");
}

#[test]
fn who_wants_json_gets_no_dashboard() {
    let env = TestEnv::new();
    let repo = env.repo("shop");
    let mut terminal = env.terminal(repo.path(), ["--json"]);
    assert_eq!(terminal.ended(), 0);
    assert!(terminal.raw().contains("Usage:"));
    assert!(!terminal.raw().contains("\u{1b}[?1049h"), "{:?}", terminal.raw());
}
