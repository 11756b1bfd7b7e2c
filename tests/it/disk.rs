//! A disk that is full.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::TestEnv;

/// A file system of a few MiB, unmounted when it is dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path, size: &str) -> Self {
        fs::create_dir_all(path).unwrap();
        let options = format!("size={size},mode=0700");
        let mounted = sudo().args(["mount", "-t", "tmpfs", "-o", &options, "cadence-test"]).arg(path).status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "a small disk cannot be mounted: run the tests as root, with sudo that asks no password, or in a container with CAP_SYS_ADMIN"
        );
        if !nix::unistd::geteuid().is_root() {
            let owner = format!("{}:{}", nix::unistd::geteuid(), nix::unistd::getegid());
            assert!(sudo().args(["chown", &owner]).arg(path).status().unwrap().success());
        }
        Self(path)
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        // Lazily, so that a process that a failed test left does not keep it.
        let status = sudo().args(["umount", "-l"]).arg(self.0).status();
        assert!(
            std::thread::panicking() || status.is_ok_and(|status| status.success()),
            "the small disk stays mounted"
        );
    }
}

fn sudo() -> Command {
    let mut command = Command::new("env");
    if !nix::unistd::geteuid().is_root() {
        command.args(["sudo", "-n"]);
    }
    command
}

#[test]
fn a_full_disk_is_said_and_loses_nothing() {
    let env = TestEnv::new();
    let repo = env.repo("demo");
    let place = env.path("small");
    let disk = SmallDisk::mount(&place, "24m");
    let data = place.join("data");
    let on_disk = |cmd: crate::support::Cmd| cmd.env("CADENCE_DATA_DIR", &data);
    on_disk(env.cadence(["run", "Write [[scenario:write-only]]"])).cwd(repo.path()).run().code(0);
    let filler = place.join("filler");
    fill(&filler);
    let before = repo.own_state();
    let full = on_disk(env.cadence(["run", "Write more [[scenario:write-only]]"])).cwd(repo.path()).run();
    assert!(matches!(full.code, Some(1 | 3)), "{full:?}");
    assert!(format!("{full:?}").to_lowercase().contains("space") || format!("{full:?}").contains("full"), "{full:?}");
    assert_eq!(repo.own_state(), before);
    fs::remove_file(&filler).unwrap();
    on_disk(env.cadence(["run", "Write again [[scenario:write-only]]"])).cwd(repo.path()).run().code(0);
    let list = on_disk(env.cadence(["tasks", "ls"])).run().code(0);
    list.says("Write");
    on_disk(env.cadence(["server", "stop"])).run().code(0);
    drop(disk);
}

/// Writes zeros until nothing more fits.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        let chunk = vec![0_u8; size];
        while file.write_all(&chunk).is_ok() {}
    }
}
