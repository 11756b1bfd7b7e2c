//! Agents on another machine: `cadence daemon` dials in, and whatever breaks, nothing is lost.

mod breaks;
mod steer;
mod work;

use serde_json::{Value, json};

use crate::support::{GitServer, Machine, Remote, Repo, Server, TestEnv};

/// A server, a repository with an address, and a machine. In this order, so that each ends before what it needs.
struct World {
    machine: Machine,
    server: Server,
    git: GitServer,
    repo: Repo,
    env: TestEnv,
}

impl World {
    fn new() -> Self {
        Self::with([])
    }

    /// With more arguments for the machine.
    fn with<const N: usize>(more: [&str; N]) -> Self {
        let env = TestEnv::new();
        let repo = env.repo("app");
        let git = GitServer::start(&env);
        let server = env.server();
        let machine = Machine::start(&env, "box", server.url(), more);
        Self { machine, server, git, repo, env }
    }

    /// A task of the demo agent that is to run on a daemon.
    fn task(&self, prompt: &str) -> Remote {
        self.task_with(prompt, &json!({ "executor": "daemon" }))
    }

    fn task_with(&self, prompt: &str, more: &Value) -> Remote {
        Remote::create(self.server.http(), &self.git.url(&self.repo), prompt, more)
    }
}
