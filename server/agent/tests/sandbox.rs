//! The program that gives up rights and becomes an agent, with the kernel's own enforcement.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cadence_agent::sandbox::{Confinement, Offer};
use cadence_protocol::{SandboxBy, SandboxMode};
use support::{environment, host_program};
use tempfile::TempDir;

/// A home with a secret in a place that is hidden, beside a workspace and what that borrows.
struct World {
    home: TempDir,
}

impl World {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for directory in ["data/workspaces/1/repo", "data/workspaces/2/repo", "data/mirror/objects", "src"] {
            fs::create_dir_all(home.path().join(directory)).unwrap();
        }
        for file in ["data/db", "data/workspaces/2/repo/file", "data/mirror/objects/file", "src/file"] {
            fs::write(home.path().join(file), "content\n").unwrap();
        }
        Self { home }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().canonicalize().unwrap().join(name)
    }

    fn confinement(&self, mode: SandboxMode) -> Confinement {
        let system = ["/usr", "/bin", "/lib", "/lib64", "/etc", "/proc"].map(PathBuf::from);
        let strict = system.into_iter().filter(|_| mode == SandboxMode::Strict);
        Confinement {
            mode,
            by: SandboxBy::Landlock,
            read: strict.chain([self.path("data/mirror/objects")]).collect(),
            write: vec![self.path("data/workspaces/1/repo"), "/dev/null".into()],
            hidden: vec![self.path("data")],
            ports: None,
            workspace: self.path("data/workspaces/1/repo"),
            make: Vec::new(),
        }
    }

    fn run(&self, confinement: &Confinement, program: &str, arguments: &[&str]) -> Output {
        let line = (program.into(), arguments.iter().map(|text| (*text).to_owned()).collect());
        let (starter, line) = confinement.wrap(&host_program(), line).unwrap();
        let mut command = Command::new(starter);
        command.args(line).env_clear().envs(environment(self.home.path()));
        command.current_dir(self.path("data/workspaces/1/repo")).output().unwrap()
    }

    /// Whether a shell can do this.
    fn may(&self, mode: SandboxMode, script: &str) -> bool {
        self.run(&self.confinement(mode), "/bin/sh", &["-c", script]).status.success()
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn files_are_given_as_the_mode_says() {
    assert_eq!(
        Offer::here().by,
        Some(SandboxBy::Landlock),
        "the tests need a kernel with Landlock: Linux 6.7 or newer"
    );
    let world = World::new();
    for mode in [SandboxMode::Workspace, SandboxMode::Strict] {
        let can = |script: &str| world.may(mode, script);
        assert!(can("echo one > new && mkdir deep && mv new deep/ && rm -r deep"));
        assert!(can(&format!("cat {}", text(&world.path("data/mirror/objects/file")))));
        assert!(!can(&format!("echo x > {}", text(&world.path("data/mirror/objects/file")))));
        assert!(!can(&format!("cat {}", text(&world.path("data/db")))));
        assert!(!can(&format!("cat {}", text(&world.path("data/workspaces/2/repo/file")))));
        assert!(!can(&format!("echo x > {}", text(&world.path("src/file")))));
        assert!(!can(&format!("rm {}", text(&world.path("src/file")))));
        let read = can(&format!("cat {}", text(&world.path("src/file"))));
        assert_eq!(read, mode == SandboxMode::Workspace);
        // A child cannot have more than its parent, whatever it asks for.
        let more = Confinement { write: vec!["/".into()], hidden: Vec::new(), ..world.confinement(mode) };
        let (starter, line) =
            more.wrap(&host_program(), ("/bin/cat".into(), vec![text(&world.path("data/db"))])).unwrap();
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        assert!(!world.run(&world.confinement(mode), starter.to_str().unwrap(), &line).status.success());
    }
    assert_eq!(fs::read_to_string(world.path("src/file")).unwrap(), "content\n");
}

#[test]
fn what_cannot_be_confined_is_not_run() {
    let world = World::new();
    let usual = world.confinement(SandboxMode::Workspace);
    let gone = Confinement { workspace: world.path("gone"), ..usual.clone() };
    let done = world.run(&gone, "/bin/sh", &["-c", "echo ran"]);
    assert_eq!((done.status.code(), done.stdout.len()), (Some(126), 0));
    assert!(String::from_utf8_lossy(&done.stderr).contains("is not there"), "{done:?}");
    assert_eq!(world.run(&usual, "/nonexistent/agent", &[]).status.code(), Some(127));
    for line in [vec!["confine"], vec!["confine", "{}", "--", "/bin/true"], vec!["confine", "x", "/bin/true"]] {
        let done = Command::new(host_program()).args(&line).env_clear().output().unwrap();
        assert_eq!(done.status.code(), Some(126), "{line:?}");
    }
}
