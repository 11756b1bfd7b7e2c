//! A disk that is full, or cannot be written.

use std::fs;
use std::path::{Path, PathBuf};

use cadence_fakes::messages::Scenario;

use crate::support::{Cmd, DEADLINE, SmallDisk, TestEnv, fill, until};

/// The data of a story on a small disk.
struct OnDisk<'a> {
    env: &'a TestEnv,
    data: PathBuf,
    filler: PathBuf,
}

impl<'a> OnDisk<'a> {
    fn new(env: &'a TestEnv, place: &Path) -> Self {
        Self { env, data: place.join("data"), filler: place.join("filler") }
    }

    fn cadence<const N: usize>(&self, arguments: [&str; N]) -> Cmd {
        self.env.cadence(arguments).env("CADENCE_DATA_DIR", &self.data)
    }

    fn fill(&self) {
        fill(&self.filler);
    }

    fn make_room(&self) {
        fs::remove_file(&self.filler).unwrap();
    }
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let place = env.path("small");
    let disk = SmallDisk::mount(&place, "24m");
    let on = OnDisk::new(&env, &place);
    on.cadence(["run", "Write [[scenario:write-only]]"]).cwd(repo.path()).run().code(0);
    on.fill();
    let before = repo.own_state();
    let full = on.cadence(["run", "Write more [[scenario:write-only]]"]).cwd(repo.path()).run();
    assert!(matches!(full.code, Some(1 | 3)), "{full:?}");
    full.complains("full").complains("Make room");
    assert_eq!(repo.own_state(), before);
    let doctor = on.cadence(["doctor", "--json"]).run().json();
    let check = |name: &str| doctor["checks"].as_array().unwrap().iter().find(|c| c["name"] == name).unwrap().clone();
    assert_eq!(check("data")["state"], "failed", "{doctor:#}");
    on.make_room();
    on.cadence(["run", "Write again [[scenario:write-only]]"]).cwd(repo.path()).run().code(0);
    let list = on.cadence(["tasks", "ls"]).run().code(0);
    list.says("Write");
    on.cadence(["server", "stop"]).run().code(0);
    drop(disk);
}

#[test]
fn a_server_does_not_start_on_a_full_disk_and_says_why() {
    let env = TestEnv::new();
    let place = env.path("small");
    let disk = SmallDisk::mount(&place, "24m");
    let on = OnDisk::new(&env, &place);
    on.cadence(["tasks", "ls"]).run().code(0);
    on.cadence(["server", "stop"]).run().code(0);
    on.fill();
    let refused = on.cadence(["tasks", "ls"]).run();
    assert!(matches!(refused.code, Some(1 | 3)), "{refused:?}");
    refused.complains("full").complains("ake room");
    let data = on.data.to_str().unwrap();
    let serve = env.cadence(["serve", "--listen", "127.0.0.1:0", "--data-dir", data]).run().code(1);
    serve.complains("full").complains("ake room");
    on.make_room();
    on.cadence(["tasks", "ls"]).run().code(0);
    on.cadence(["server", "stop"]).run().code(0);
    drop(disk);
}

#[test]
fn a_disk_that_fills_up_under_an_agent_is_waited_for() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let place = env.path("small");
    let disk = SmallDisk::mount(&place, "24m");
    let on = OnDisk::new(&env, &place);
    let words = "This is said while nothing can be stored.";
    env.api.script("held", Scenario::new().write("a.txt", "a\n").gate("here").text(words));
    let run = on.cadence(["run", "Work [[scenario:held]]"]).cwd(repo.path()).start();
    env.api.gate("here").wait_reached(DEADLINE);
    on.fill();
    env.api.gate("here").open();
    until("the one who waits is told why", || run.stderr.text().contains("is full"));
    let asked = on.cadence(["server", "status"]).run().code(0);
    asked.says("disk full");
    on.make_room();
    let done = run.finish().code(0);
    done.complains("the storage works again").says(words);
    assert_eq!(repo.show(&repo.task_branches()[0], "a.txt"), "a");
    on.cadence(["server", "stop"]).run().code(0);
    drop(disk);
}

#[test]
fn a_file_system_that_cannot_be_written_is_said() {
    let env = TestEnv::new();
    let place = env.path("small");
    let disk = SmallDisk::mount(&place, "24m");
    let on = OnDisk::new(&env, &place);
    on.cadence(["tasks", "ls"]).run().code(0);
    on.cadence(["server", "stop"]).run().code(0);
    disk.remount("ro");
    let refused = on.cadence(["tasks", "ls"]).run();
    assert!(matches!(refused.code, Some(1 | 3)), "{refused:?}");
    refused.complains("ead-only").complains("CADENCE_DATA_DIR");
    let doctor = on.cadence(["doctor"]).run().code(1);
    doctor.says("cannot be written");
    disk.remount("rw");
    on.cadence(["tasks", "ls"]).run().code(0);
    on.cadence(["server", "stop"]).run().code(0);
    drop(disk);
}
