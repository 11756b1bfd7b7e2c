//! A control group of the agent's own, where the machine lets us make one: `cgroup.kill` then kills the tree at one blow, and
//! the kernel holds it to its limits where the controllers for them are ours. See the kernel's cgroup-v2.rst and, for who may
//! make groups where, systemd's CGROUP_DELEGATION.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use cadence_protocol::SandboxLimits;

use super::limits::{controllers, group_settings};

/// A control group (version 2) for one agent. Removed when dropped.
#[derive(Debug)]
pub struct AgentGroup {
    directory: PathBuf,
    /// The group that the host itself is in.
    home: PathBuf,
    /// Whether the kernel holds what is in it to the limits.
    limited: bool,
}

impl AgentGroup {
    /// Makes a group below our own, or beside it where that is how limits can be kept. `None` where control groups are of
    /// version 1 or not ours to change.
    pub fn create(marker: &str, limits: &SandboxLimits) -> Option<Self> {
        let home = own_group()?;
        let wanted = controllers(limits);
        let limiting = if wanted.is_empty() { None } else { limiting_parent(&home, &wanted, is_delegated) };
        let directory = limiting.as_ref().unwrap_or(&home).join(group_name(marker));
        match fs::create_dir(&directory) {
            Ok(()) => {}
            // A host that was killed leaves an empty one behind.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(_) => return None,
        }
        let set = |(file, value): (&str, String)| fs::write(directory.join(file), value).is_ok();
        let limited = limiting.is_some() && group_settings(limits).into_iter().all(set);
        if limited {
            // Else the limit would only move memory to the disk. Not there where nothing is swapped.
            drop(fs::write(directory.join("memory.swap.max"), "0"));
        }
        let group = Self { directory, home, limited };
        // Kernels before 5.14 have no `cgroup.kill`.
        group.directory.join("cgroup.kill").exists().then_some(group)
    }

    pub fn is_limited(&self) -> bool {
        self.limited
    }

    /// The processes in it.
    pub fn members(&self) -> Option<Vec<i32>> {
        let members = fs::read_to_string(self.directory.join("cgroup.procs")).ok()?;
        Some(members.lines().filter_map(|pid| pid.parse().ok()).collect())
    }

    /// How many of its processes the kernel killed because their memory was at its limit.
    pub fn killed_for_memory(&self) -> u64 {
        let events = fs::read_to_string(self.directory.join("memory.events")).unwrap_or_default();
        counted(&events, "oom_kill")
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
    AgentGroup::create(&format!("probe-{}", std::process::id()), &SandboxLimits::default()).is_some()
}

/// Whether the kernel can hold agents to these limits on this machine. Makes a group to see, and removes it.
pub fn limits(limits: &SandboxLimits) -> bool {
    // Attempts look at the same time.
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    let marker = format!("limits-{}-{}", std::process::id(), LOOKS.fetch_add(1, Ordering::Relaxed));
    AgentGroup::create(&marker, limits).is_some_and(|group| group.is_limited())
}

/// Kills what a dead host left in the group of `marker`.
pub fn kill_left_behind(marker: &str) {
    let Some(home) = own_group() else { return };
    for parent in [Some(home.as_path()), home.parent()].into_iter().flatten() {
        let directory = parent.join(group_name(marker));
        if directory.exists() {
            kill_group(&directory);
            drop(fs::remove_dir(&directory));
        }
    }
}

/// The group below which groups have these controllers: our own, or the one above where systemd gave us that
/// (`DelegateSubgroup=`). A group with processes in it, as ours, gives its controllers to none below it; only the root does.
fn limiting_parent(home: &Path, wanted: &[&str], delegated: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let above = home.parent().filter(|above| delegated(above));
    [Some(home), above].into_iter().flatten().find(|group| gives(group, wanted)).map(Path::to_owned)
}

/// Whether groups below have these controllers, made so where it can be.
fn gives(group: &Path, wanted: &[&str]) -> bool {
    let file = group.join("cgroup.subtree_control");
    let missing = || -> Option<Vec<&str>> {
        let given = fs::read_to_string(&file).ok()?;
        Some(wanted.iter().copied().filter(|wanted| !given.split_whitespace().any(|given| given == *wanted)).collect())
    };
    match missing() {
        None => false,
        Some(missing) if missing.is_empty() => true,
        Some(more) => {
            let text = more.iter().map(|name| format!("+{name}")).collect::<Vec<_>>().join(" ");
            fs::write(&file, text).is_ok() && missing().is_some_and(|missing| missing.is_empty())
        }
    }
}

/// Whether systemd says that a group is whoever's runs in it to divide.
#[cfg(target_os = "linux")]
fn is_delegated(group: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].into_iter().any(|name| {
        let mut value = [0; 8];
        matches!(rustix::fs::getxattr(group, name, &mut value), Ok(1)) && value[0] == b'1'
    })
}

#[cfg(not(target_os = "linux"))]
fn is_delegated(_: &Path) -> bool {
    false
}

/// The number beside a name, in a file with one of each on a line.
fn counted(text: &str, name: &str) -> u64 {
    let values = text.lines().filter_map(|line| line.split_once(' '));
    values.filter(|(key, _)| *key == name).find_map(|(_, value)| value.trim().parse().ok()).unwrap_or_default()
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
    #![allow(clippy::unwrap_used)]
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

    /// A directory tree like that of control groups, in which controllers cannot be turned on: files take everything.
    fn tree(given: &[(&str, &str)]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        for (group, controllers) in given {
            fs::create_dir_all(tree.path().join(group)).unwrap();
            fs::write(tree.path().join(group).join("cgroup.subtree_control"), controllers).unwrap();
        }
        tree
    }

    #[test]
    fn limits_are_kept_where_controllers_are_given() {
        let wanted = ["memory", "pids"];
        let tree = tree(&[("service", "cpu memory pids\n"), ("service/server", ""), ("root", "memory pids")]);
        let (service, server, root) =
            (tree.path().join("service"), tree.path().join("service/server"), tree.path().join("root"));
        assert_eq!(limiting_parent(&server, &wanted, |group| group == service), Some(service.clone()));
        // Not told to be ours, it is somebody else's.
        assert_eq!(limiting_parent(&server, &wanted, |_| false), None);
        assert_eq!(limiting_parent(&root, &wanted, |_| false), Some(root));
        assert_eq!(limiting_parent(&service, &["io"], |_| true), None);
        assert_eq!(limiting_parent(&tree.path().join("none"), &wanted, |_| false), None);
        assert!(!is_delegated(&service));
    }

    #[test]
    fn counts_are_read_by_their_names() {
        let text = "low 0\nhigh 3\nmax 12\noom 2\noom_kill 4\noom_group_kill 0\n";
        assert_eq!((counted(text, "oom_kill"), counted(text, "oom"), counted(text, "none")), (4, 2, 0));
        assert_eq!(counted("oom_kill many", "oom_kill"), 0);
    }

    #[test]
    fn names_of_groups_hold_no_path() {
        assert_eq!(group_name("../a b:1"), "cadence-___a_b_1");
    }
}
