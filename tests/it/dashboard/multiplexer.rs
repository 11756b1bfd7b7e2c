//! The dashboard in tmux, a terminal that is not of these tests.

use super::quiet;
use crate::support::{TestEnv, until_some};

struct Tmux<'a> {
    env: &'a TestEnv,
    socket: String,
}

impl Tmux<'_> {
    #[track_caller]
    fn run<const N: usize>(&self, arguments: [&str; N]) -> String {
        let tmux = self.env.program("tmux", ["-f", "/dev/null", "-S", &self.socket]).args(arguments);
        tmux.env("CADENCE_DEMO_SECONDS", "0").run().code(0).stdout
    }

    fn keys(&self, text: &str) {
        self.run(["send-keys", "-l", text]);
    }

    fn key(&self, name: &str) {
        self.run(["send-keys", name]);
    }

    /// Waits until the pane shows the text, and gives the pane.
    #[track_caller]
    fn wait_for(&self, text: &str) -> String {
        until_some(&format!("{text:?} in tmux"), || {
            Some(self.run(["capture-pane", "-p"])).filter(|pane| pane.contains(text))
        })
    }
}

#[test]
fn a_task_is_started_and_allowed_in_tmux() {
    let env = quiet();
    let repo = env.repo("shop");
    let tmux = Tmux { env: &env, socket: env.path("tmux").display().to_string() };
    let work = format!("cd '{}' && '{}'; echo ended with $?; exec cat", repo.arg(), env!("CARGO_BIN_EXE_cadence"));
    tmux.run(["new-session", "-d", "-x", "100", "-y", "30", &work]);
    tmux.wait_for("● live");
    tmux.keys("n");
    tmux.wait_for("what is to be done");
    tmux.keys("Tidy up [[ask touch tidy.txt]]");
    for key in ["Tab", "Tab", "Right", "Right", "Right", "Right", "Enter"] {
        tmux.key(key);
    }
    tmux.wait_for("y allow");
    tmux.keys("y");
    let done = tmux.wait_for("✓ done");
    assert!(done.contains("$ touch tidy.txt"), "{done}");
    let wide: Vec<&str> = done.lines().skip(1).take(28).filter(|line| line.chars().nth(42) != Some('│')).collect();
    assert!(wide.is_empty(), "the border is in its column: {wide:#?}\n{done}");
    tmux.keys("q");
    let left = tmux.wait_for("ended with 0");
    assert!(!left.contains("Tidy up"), "{left}");
    tmux.run(["kill-server"]);
    assert_eq!(repo.show(&repo.task_branches()[0], "tidy.txt"), "");
}
