//! A control group of the agent's own, where the machine lets us make one: `cgroup.kill` then kills the tree at one blow.

use std::fs;
use std::path::{Path, PathBuf};

/// A control group (version 2) for one agent. Removed when dropped.
#[derive(Debug)]
pub struct AgentGroup {
    directory: PathBuf,
    /// The group that the host itself is in.
    home: PathBuf,
}

impl AgentGroup {
    /// Makes a group below our own. `None` where control groups are of version 1 or not ours to change.
    pub fn create(marker: &str) -> Option<Self> {
        let home = own_group()?;
        let directory = home.join(group_name(marker));
        match fs::create_dir(&directory) {
            Ok(()) => {}
            // A host that was killed leaves an empty one behind.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(_) => return None,
        }
        let group = Self { directory, home };
        // Kernels before 5.14 have no `cgroup.kill`.
        group.directory.join("cgroup.kill").exists().then_some(group)
    }

    /// Runs `start` while we are in the group ourselves, so that what it starts is in it from its first moment.
    pub fn within<T>(&self, start: impl FnOnce() -> T) -> T {
        let own = std::process::id().to_string();
        // On failure the agent runs in our own group, and the walk of the process tree finds it.
        let entered = fs::write(self.directory.join("cgroup.procs"), &own);
        let result = start();
        if entered.is_ok() && fs::write(self.home.join("cgroup.procs"), &own).is_err() {
            // We could not leave: `kill` must not hit ourselves.
            super::supervise::say("cannot leave the agent's control group; the process tree is walked instead");
        }
        result
    }

    /// Kills all that is in the group, unless we are in it ourselves.
    pub fn kill(&self) {
        let own = std::process::id().to_string();
        let Ok(members) = fs::read_to_string(self.directory.join("cgroup.procs")) else { return };
        if members.lines().any(|pid| pid == own) {
            return;
        }
        kill_group(&self.directory);
    }
}

impl Drop for AgentGroup {
    fn drop(&mut self) {
        // Fails as long as something is in it; a later host of the same attempt takes it over.
        drop(fs::remove_dir(&self.directory));
    }
}

/// Whether agents get control groups on this machine. Makes one to see, and removes it.
pub fn usable() -> bool {
    AgentGroup::create(&format!("probe-{}", std::process::id())).is_some()
}

/// Kills what a dead host left in the group of `marker`.
pub fn kill_left_behind(marker: &str) {
    let Some(home) = own_group() else { return };
    let directory = home.join(group_name(marker));
    if directory.exists() {
        kill_group(&directory);
        drop(fs::remove_dir(&directory));
    }
}

fn kill_group(directory: &Path) {
    // What cannot be killed this way is found by walking the process tree.
    drop(fs::write(directory.join("cgroup.kill"), "1"));
}

fn group_name(marker: &str) -> String {
    let safe: String = marker.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    format!("cadence-{safe}")
}

/// Directory of the control group that this process is in.
fn own_group() -> Option<PathBuf> {
    if !cfg!(target_os = "linux") {
        return None;
    }
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let directory = group_directory(&membership, &mounts)?;
    directory.join("cgroup.procs").exists().then_some(directory)
}

/// Reads `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn group_directory(membership: &str, mounts: &str) -> Option<PathBuf> {
    let path = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    let mount = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        (kind.split(' ').next()? == "cgroup2").then_some((root, point))
    })?;
    let (root, point) = mount;
    // In a container the mount may show only a part of the tree.
    let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
    Some(Path::new(point).join(below.trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_own_group() {
        let mounts = "24 30 0:22 / /proc rw,nosuid shared:5 - proc proc rw\n\
                      30 1 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let group = group_directory("0::/user.slice/app.slice/x.service\n", mounts);
        assert_eq!(group, Some(PathBuf::from("/sys/fs/cgroup/user.slice/app.slice/x.service")));
        assert_eq!(group_directory("0::/\n", mounts), Some(PathBuf::from("/sys/fs/cgroup")));
        assert_eq!(group_directory("3:cpu:/x\n", mounts), None);
        assert_eq!(group_directory("0::/a\n", "24 30 0:22 / /proc rw - proc proc rw\n"), None);
        let part = "30 1 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(group_directory("0::/docker/ab/c\n", part), Some(PathBuf::from("/sys/fs/cgroup/c")));
    }

    #[test]
    fn names_of_groups_hold_no_path() {
        assert_eq!(group_name("../a b:1"), "cadence-___a_b_1");
    }
}
