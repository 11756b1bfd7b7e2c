//! Machines that run some of the tasks, and the links between them and the server.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::schedule::{Blow, FarLife};
use crate::support::processes::{below, kill_hard};
use crate::support::{Proxy, Running, TOKEN, TestEnv};

/// How long a link that is gone without a word stays so.
const GONE: Duration = Duration::from_secs(2);
/// A life whose fault does not come ends all the same.
const LONGEST_LIFE: Duration = Duration::from_secs(8);

/// A machine, from one life to the next.
pub struct Far {
    name: String,
    proxy: Proxy,
    server: String,
    lives: Vec<FarLife>,
    life: FarLife,
    running: Option<Running>,
    begun: Instant,
    /// Tasks that had ended when this life began.
    before: usize,
    blown: bool,
    back: Option<Instant>,
    pub count: usize,
}

impl Far {
    pub fn new(number: usize, server: &str, lives: Vec<FarLife>) -> Self {
        Self {
            name: format!("far{number}"),
            proxy: Proxy::to(server),
            server: server.to_owned(),
            lives,
            life: FarLife::quiet(),
            running: None,
            begun: Instant::now(),
            before: 0,
            blown: false,
            back: None,
            count: 0,
        }
    }

    fn start(&mut self, env: &TestEnv, ended: usize) {
        self.life = self.lives.pop().unwrap_or_else(FarLife::quiet);
        let data = env.path("machines").join(&self.name);
        let url = self.proxy.url();
        let daemon = env.cadence(["daemon", "--name", &self.name, "--server", &url, "--capacity", "4"]);
        let daemon = daemon.args(["--data-dir", data.to_str().unwrap()]).env("CADENCE_TOKEN", TOKEN);
        let daemon = daemon.env("CADENCE_FAULTS", &self.life.faults).timeout(Duration::from_secs(1200));
        self.running = Some(daemon.start());
        (self.begun, self.before, self.blown) = (Instant::now(), ended, false);
        self.count += 1;
    }

    /// Starts it where it is down, and does to it what is due.
    pub fn look(&mut self, env: &TestEnv, ended: usize) {
        if self.back.is_some_and(|at| at <= Instant::now()) {
            self.back = None;
            self.proxy.come_back(&self.server);
        }
        if self.running.as_mut().is_some_and(|running| !running.is_running()) {
            self.over();
        }
        let Some(running) = &self.running else { return self.start(env, ended) };
        let since = ended - self.before;
        let old = self.begun.elapsed() > LONGEST_LIFE;
        let due = |ends: usize| since >= ends || (old && ends != usize::MAX);
        match self.life.blow {
            Blow::Fault if old => running.signal(Signal::SIGKILL),
            Blow::Kill(ends) if due(ends) => running.signal(Signal::SIGKILL),
            Blow::Stop(ends) if due(ends) => running.signal(Signal::SIGTERM),
            Blow::PowerCut(ends) if due(ends) => {
                let tree = below(running.pid().as_raw());
                running.signal(Signal::SIGKILL);
                tree.iter().for_each(|(pid, _)| kill_hard(*pid));
            }
            Blow::Cut(ends) if due(ends) && !self.blown => {
                self.proxy.cut();
                self.blown = true;
            }
            Blow::Vanish(ends) if due(ends) && !self.blown => {
                self.proxy.vanish();
                self.back = Some(Instant::now() + GONE);
                self.blown = true;
            }
            Blow::Cut(_) | Blow::Vanish(_) if old && self.blown && self.back.is_none() && !self.lives.is_empty() => {
                // The link is what breaks next, or the machine itself.
                self.life = self.lives.pop().unwrap_or_else(FarLife::quiet);
                (self.begun, self.before, self.blown) = (Instant::now(), ended, false);
            }
            _ => {}
        }
    }

    fn over(&mut self) {
        let Some(running) = self.running.take() else { return };
        let said = running.finish();
        assert!(!said.stderr.contains("panicked"), "{:?}: {}", self.life, said.stderr);
    }

    /// What it said so far, for a report.
    pub fn said(&self) -> String {
        self.running.as_ref().map(|running| running.stderr.text()).unwrap_or_default()
    }

    /// Runs on without anything that breaks.
    pub fn calm(&mut self, env: &TestEnv, ended: usize) {
        self.lives.clear();
        self.life = FarLife::quiet();
        if self.back.take().is_some() {
            self.proxy.come_back(&self.server);
        }
        self.look(env, ended);
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        running.signal(Signal::SIGTERM);
        running.finish();
    }
}
