//! Disks that are full, or cannot be written.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A file system of a few MiB, unmounted when it is dropped.
pub struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    pub fn mount(path: &'a Path, size: &str) -> Self {
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

    /// With another option: `ro`, `rw`.
    pub fn remount(&self, option: &str) {
        let mounted = sudo().args(["mount", "-o", &format!("remount,{option}")]).arg(self.0).status();
        assert!(mounted.is_ok_and(|status| status.success()), "the small disk cannot be mounted with {option}");
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

/// Writes zeros until nothing more fits.
pub fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        let chunk = vec![0_u8; size];
        while file.write_all(&chunk).is_ok() {}
    }
}
