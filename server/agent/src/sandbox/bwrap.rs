//! bubblewrap, see bwrap(1): a mount namespace in which the rest of the file system is read-only, or not there.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cadence_protocol::SandboxMode;

use super::Confinement;

/// Never looked up in a `PATH`, which may lead into a repository.
pub const PROGRAM: &str = "/usr/bin/bwrap";

/// Sockets of the user's session bus, which would start programs outside.
const SESSIONS: &str = "/run/user";

/// Whether it is there and may make namespaces, which many machines do not allow everybody.
pub fn works() -> bool {
    let mut command = Command::new(PROGRAM);
    command.args(["--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev", "--cap-drop", "ALL", "--", "/bin/true"]);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Arguments up to the `--` before the program. What is not there is left out.
pub fn arguments(confinement: &Confinement) -> Vec<String> {
    let mut arguments: Vec<String> = ["--die-with-parent", "--cap-drop", "ALL"].map(str::to_owned).into();
    let mut mount = |option: &str, paths: &[&Path]| {
        arguments.push(option.to_owned());
        arguments.extend(paths.iter().map(|path| path.to_string_lossy().into_owned()));
    };
    let root = Path::new("/");
    let sessions = PathBuf::from(SESSIONS);
    match confinement.mode {
        // The root is empty unless something is mounted there.
        SandboxMode::Strict => mount("--ro-bind", &[Path::new("/proc"), Path::new("/proc")]),
        SandboxMode::Workspace | SandboxMode::Off => {
            mount("--ro-bind", &[root, root]);
            for hidden in confinement.hidden.iter().chain([&sessions]) {
                if hidden.is_file() {
                    mount("--ro-bind", &[Path::new("/dev/null"), hidden]);
                } else if hidden.is_dir() {
                    mount("--tmpfs", &[hidden]);
                }
            }
        }
    }
    mount("--dev-bind", &[Path::new("/dev"), Path::new("/dev")]);
    let devices = Path::new("/dev");
    for (option, paths) in [("--ro-bind-try", &confinement.read), ("--bind-try", &confinement.write)] {
        // Devices are there already.
        for path in paths.iter().filter(|path| !path.starts_with(devices)) {
            mount(option, &[path, path]);
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use cadence_protocol::SandboxBy;

    use super::*;

    fn confinement(mode: SandboxMode, home: &Path) -> Confinement {
        Confinement {
            mode,
            by: SandboxBy::Bubblewrap,
            read: vec!["/usr".into(), home.join("data/mirrors/a/objects")],
            write: vec![home.join("data/workspaces/1/repo"), "/dev/null".into()],
            hidden: vec![home.join("data"), home.join("token"), home.join("none")],
            ports: None,
            workspace: home.join("data/workspaces/1/repo"),
            make: Vec::new(),
        }
    }

    #[test]
    fn the_rest_is_read_only_or_not_there() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("data")).unwrap();
        std::fs::write(home.path().join("token"), "secret").unwrap();
        let line = |mode| {
            let text = arguments(&confinement(mode, home.path())).join(" ");
            let text = text.replace(&home.path().display().to_string(), "~").replace(" --tmpfs /run/user", "");
            text.replace(" --", "\n--")
        };
        insta::assert_snapshot!(line(SandboxMode::Workspace), @"
        --die-with-parent
        --cap-drop ALL
        --ro-bind / /
        --tmpfs ~/data
        --ro-bind /dev/null ~/token
        --dev-bind /dev /dev
        --ro-bind-try /usr /usr
        --ro-bind-try ~/data/mirrors/a/objects ~/data/mirrors/a/objects
        --bind-try ~/data/workspaces/1/repo ~/data/workspaces/1/repo
        ");
        insta::assert_snapshot!(line(SandboxMode::Strict), @"
        --die-with-parent
        --cap-drop ALL
        --ro-bind /proc /proc
        --dev-bind /dev /dev
        --ro-bind-try /usr /usr
        --ro-bind-try ~/data/mirrors/a/objects ~/data/mirrors/a/objects
        --bind-try ~/data/workspaces/1/repo ~/data/workspaces/1/repo
        ");
    }
}
