use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::{Cmd, Http, Running, TestEnv};

/// Token of the servers that stories start by hand.
pub const TOKEN: &str = "a-token-of-the-tests";

/// `cadence serve` in the foreground.
pub struct Server {
    running: Option<Running>,
    url: String,
}

impl Server {
    pub(super) fn start(env: &TestEnv) -> Self {
        Self::start_at(env, "127.0.0.1:0")
    }

    fn start_at(env: &TestEnv, address: &str) -> Self {
        Self::start_as(Self::command_at(env, address), TOKEN)
    }

    /// The command of a server with data of its own, to be changed before it is started.
    pub fn command(env: &TestEnv) -> Cmd {
        Self::command_at(env, "127.0.0.1:0")
    }

    fn command_at(env: &TestEnv, address: &str) -> Cmd {
        let data = env.path("serve");
        let serve = env.cadence(["serve", "--listen", address, "--data-dir", data.to_str().unwrap()]);
        // What a killed server ran is taken up when its lease has expired.
        serve.args(["--lease-secs", "3"])
    }

    /// Starts a server with a command of one's own.
    pub fn start_with(cmd: Cmd) -> Self {
        Self::start_as(cmd, TOKEN)
    }

    fn start_as(cmd: Cmd, token: &str) -> Self {
        let mut running = cmd.env("CADENCE_TOKEN", token).timeout(Duration::from_secs(300)).start();
        running.wait_for("listening on http://");
        let output = running.wait_for("\n");
        let (_, rest) = output.split_once("listening on ").unwrap();
        let url = rest.split_whitespace().next().unwrap().trim_end_matches('/').to_owned();
        Self { running: Some(running), url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of its API, let in.
    pub fn http(&self) -> Http {
        Http::new(&self.url, Some(TOKEN))
    }

    /// A client of its API without a token.
    pub fn http_without_token(&self) -> Http {
        Http::new(&self.url, None)
    }

    /// Makes a command talk to this server.
    pub fn of(&self, cmd: Cmd) -> Cmd {
        cmd.env("CADENCE_SERVER", &self.url).env("CADENCE_TOKEN", TOKEN)
    }

    pub fn pid(&self) -> Pid {
        self.running.as_ref().unwrap().pid()
    }

    /// Kills it as a power cut does; what is given back starts it again, with its data and at its address.
    pub fn kill_to_restart<'a>(self, env: &'a TestEnv) -> impl FnOnce() -> Self + use<'a> {
        let address = self.url.trim_start_matches("http://").to_owned();
        self.kill();
        move || Self::start_at(env, &address)
    }

    /// Ends it, and starts it again with its data and at its address, for those who have this token.
    pub fn restart_as(self, env: &TestEnv, token: &str) -> Self {
        let address = self.url.trim_start_matches("http://").to_owned();
        self.stop();
        Self::start_as(Self::command_at(env, &address), token)
    }

    /// Ends it as an operator does.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(mut self) {
        let running = self.running.take().unwrap();
        running.signal(Signal::SIGTERM);
        running.finish().code(0);
    }

    /// Kills it as a power cut does.
    pub fn kill(mut self) {
        let running = self.running.take().unwrap();
        running.signal(Signal::SIGKILL);
        running.finish();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.signal(Signal::SIGTERM);
        if std::thread::panicking() {
            eprintln!("--- the server said\n{}\n{}\n---", running.stdout.text(), running.stderr.text());
        } else {
            running.finish().code(0);
        }
    }
}
