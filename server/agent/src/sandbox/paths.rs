//! The places and ports that an agent needs, by name. Pure but for looking what is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cadence_protocol::{SandboxBy, SandboxMode};

use super::{Confinement, Policy};

/// Where one attempt works.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The agent's name, by which its own state is known.
    pub agent: &'a str,
    pub program: &'a Path,
    /// The environment of the agent's process.
    pub environment: &'a BTreeMap<String, String>,
    pub workspace: &'a Path,
    /// Directory for temporary files, the attempt's own.
    pub temporary: &'a Path,
    /// Objects of other repositories that the workspace borrows.
    pub borrowed: &'a [PathBuf],
}

/// What every program reads: the system and its settings.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc",
    "/opt",
    "/nix/store",
    "/run/current-system",
    "/gnu/store",
    "/snap",
    "/proc",
    "/sys",
    // What /etc/resolv.conf leads to.
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/mnt/wsl",
];

/// Devices that belong to nobody.
const DEVICES: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
    "/dev/ptmx",
    "/dev/pts",
    "/dev/shm",
];

/// Below the home: toolchains and settings without secrets that `strict` reads.
const TOOLS: &[&str] = &[
    ".gitconfig",
    ".config/git",
    ".cargo/bin",
    ".cargo/config.toml",
    ".cargo/env",
    ".rustup",
    ".local/bin",
    ".local/lib",
    ".local/share/claude",
    ".local/share/mise",
    ".asdf",
    ".nvm",
    ".fnm",
    ".volta",
    ".pyenv",
    ".rbenv",
    ".sdkman",
    ".bun/bin",
    ".deno/bin",
    "go/bin",
];

/// Below the home: what tools keep between runs, and a directory that is there where somebody uses the tool. Only what a tool
/// fetched or built is among it; nothing that it is told what to do by.
const CACHES: &[(&str, &str)] = &[
    (".cache", ""),
    (".npm", ".npm"),
    (".cargo/registry", ".cargo"),
    (".cargo/git", ".cargo"),
    ("go/pkg", "go"),
    (".gradle/caches", ".gradle"),
    (".gradle/daemon", ".gradle"),
    (".gradle/native", ".gradle"),
    (".gradle/wrapper/dists", ".gradle"),
    (".m2/repository", ".m2"),
    (".local/share/pnpm/store", ".local/share/pnpm"),
    (".yarn/berry", ".yarn"),
    (".bun/install/cache", ".bun"),
    ("Library/Caches", "Library"),
];

/// Below the home: locks of tools, where they are there.
const LOCKS: &[&str] = &[".cargo/.package-cache", ".cargo/.package-cache-mutate", ".cargo/.global-cache"];

/// Variables that name a cache elsewhere.
const CACHE_VARIABLES: &[&str] =
    &["XDG_CACHE_HOME", "npm_config_cache", "GOMODCACHE", "GOCACHE", "PIP_CACHE_DIR", "CARGO_TARGET_DIR"];

/// Variables that name certificates.
const CERTIFICATES: &[&str] =
    &["SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"];

/// Ports of HTTPS, HTTP, and of DNS where an answer is long.
const PORTS: &[u16] = &[443, 80, 53];

/// What Claude Code writes while it works, below its own directory: no settings, hooks, commands and plug-ins, which would
/// work outside of every sandbox when the user next starts it.
const CLAUDE_WORK: &[&str] = &[
    "projects",
    "todos",
    "tasks",
    "plans",
    "sessions",
    "session-env",
    "shell-snapshots",
    "file-history",
    "debug",
    "cache",
    "statsig",
    "telemetry",
    "paste-cache",
];

/// What an agent keeps: what it writes, and what it only reads.
#[derive(Debug, Default, PartialEq, Eq)]
struct State {
    write: Vec<PathBuf>,
    read: Vec<PathBuf>,
}

impl Policy {
    /// What the attempt is kept to. Some places of it may not be there, see [`Confinement::make`].
    pub fn confinement(&self, mode: SandboxMode, by: SandboxBy, place: &Place<'_>) -> Confinement {
        let variable =
            |name: &str| place.environment.get(name).filter(|value| value.starts_with('/')).map(PathBuf::from);
        let home = variable("HOME");
        let state = home.as_deref().map(|home| state_of(place, home, mode)).unwrap_or_default();
        let caches = home.iter().flat_map(|home| caches(home));
        let mut make: Vec<PathBuf> =
            caches.chain(CACHE_VARIABLES.iter().filter_map(|name| variable(name))).chain(state.write).collect();
        let mut write: Vec<PathBuf> = vec![place.workspace.to_owned(), place.temporary.to_owned()];
        write.extend(DEVICES.iter().map(PathBuf::from));
        write.extend(make.iter().cloned());
        write.extend(home.iter().flat_map(|home| LOCKS.iter().map(|name| home.join(name))));
        write.extend(self.write.iter().cloned());
        let mut read = place.borrowed.to_vec();
        if mode == SandboxMode::Strict {
            read.extend(SYSTEM.iter().map(PathBuf::from));
            read.extend(home.iter().flat_map(|home| TOOLS.iter().map(|name| home.join(name))));
            read.extend(CERTIFICATES.iter().filter_map(|name| variable(name)));
            read.extend(programs(place, home.as_deref()));
            read.extend(state.read);
            read.extend(self.read.iter().cloned());
        }
        let ports = (mode == SandboxMode::Strict).then(|| ports(&self.ports, place.environment));
        let hidden: Vec<PathBuf> =
            self.hidden.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).collect();
        // Of what is hidden only the attempt's own is given, whatever its variables name.
        let own = |path: &PathBuf| {
            let own = path == place.workspace || path == place.temporary || place.borrowed.contains(path);
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            own || !hidden.iter().any(|hidden| real.starts_with(hidden))
        };
        make.retain(own);
        write.retain(own);
        read.retain(own);
        Confinement { mode, by, read, write, hidden, ports, workspace: place.workspace.to_owned(), make }
    }
}

fn caches(home: &Path) -> Vec<PathBuf> {
    CACHES.iter().filter(|(_, used)| home.join(used).is_dir()).map(|(cache, _)| home.join(cache)).collect()
}

/// The state of an agent that is known by name. Another one's is named in the settings.
fn state_of(place: &Place<'_>, home: &Path, mode: SandboxMode) -> State {
    let below = |names: &[&str]| names.iter().map(|name| home.join(name)).collect();
    // An agent of the settings is called as somebody likes; what its program keeps is where that keeps it.
    let program = place.program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let known = ["claude", "codex", "opencode", "gemini", "goose"].contains(&place.agent);
    match if known { place.agent } else { program } {
        "claude" => {
            let named = place.environment.get("CLAUDE_CONFIG_DIR").filter(|path| path.starts_with('/'));
            let own = named.map_or_else(|| home.join(".claude"), PathBuf::from);
            let read = vec![own.clone(), home.join(".claude.json")];
            // A login is renewed with files that are made beside it, and an attempt that cannot do that ends with it.
            let wide = mode == SandboxMode::Workspace && own.join(".credentials.json").exists();
            let write = if wide { vec![own] } else { CLAUDE_WORK.iter().map(|name| own.join(name)).collect() };
            State { write, read }
        }
        "codex" => State { write: below(&[".codex"]), read: Vec::new() },
        "opencode" => State {
            write: below(&[".local/share/opencode", ".local/state/opencode"]),
            read: below(&[".config/opencode"]),
        },
        "gemini" => State { write: below(&[".gemini"]), read: Vec::new() },
        "goose" => {
            State { write: below(&[".local/share/goose", ".local/state/goose"]), read: below(&[".config/goose"]) }
        }
        _ => State::default(),
    }
}

/// The agent's program with what belongs to it, and the directories in which it finds others.
fn programs(place: &Place<'_>, home: Option<&Path>) -> Vec<PathBuf> {
    let whole = place.program.canonicalize().unwrap_or_else(|_| place.program.to_owned());
    let mut found = vec![place.program.to_owned(), belongs_to(&whole)];
    let path = place.environment.get("PATH").map(String::as_str).unwrap_or_default();
    found.extend(std::env::split_paths(path));
    // One that holds the home would open all of it.
    let narrow = |path: &PathBuf| path.is_absolute() && home.is_none_or(|home| !home.starts_with(path));
    found.into_iter().filter(narrow).collect()
}

/// A program's directory, or all packages among which it is installed.
fn belongs_to(program: &Path) -> PathBuf {
    let packages =
        program.ancestors().filter(|path| path.file_name().is_some_and(|name| name == "node_modules")).last();
    packages.or_else(|| program.parent()).unwrap_or(program).to_owned()
}

/// What is usual, what the settings name, and where the agent was told to find models and proxies.
fn ports(more: &[u16], environment: &BTreeMap<String, String>) -> Vec<u16> {
    let lower = |name: &str| name.to_ascii_lowercase();
    let services =
        environment.iter().filter(|(name, _)| lower(name).ends_with("_base_url") || lower(name).ends_with("_proxy"));
    let named = services.filter_map(|(_, value)| url::Url::parse(value).ok()?.port_or_known_default());
    let mut ports: Vec<u16> = PORTS.iter().chain(more).copied().chain(named).collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use super::*;

    /// The confinement of an agent in a home with these directories and files.
    fn confinement(mode: SandboxMode, agent: &str, there: &[&str]) -> (tempfile::TempDir, Confinement) {
        let home = tempfile::tempdir().unwrap();
        for name in there {
            let path = home.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            if name.ends_with('/') { fs::create_dir(&path).unwrap() } else { fs::write(&path, "").unwrap() }
        }
        let text = |path: &Path| path.display().to_string();
        let environment = BTreeMap::from([
            ("HOME".to_owned(), text(home.path())),
            ("PATH".to_owned(), format!("/usr/bin:bin:{}:{}", text(&home.path().join("bin")), text(home.path()))),
            ("ANTHROPIC_BASE_URL".to_owned(), "http://127.0.0.1:4001/v1".to_owned()),
            ("https_proxy".to_owned(), "http://proxy.example.org:3128".to_owned()),
        ]);
        let policy = Policy { write: vec!["/srv/shared".into()], ports: vec![3000], ..Policy::default() };
        let place = Place {
            agent,
            program: &home.path().join("pkg/node_modules/@a/b/node_modules/c/agent"),
            environment: &environment,
            workspace: Path::new("/data/w/repo"),
            temporary: Path::new("/tmp/cadence-1"),
            borrowed: &["/data/mirrors/m/objects".into()],
        };
        let confinement = policy.confinement(mode, SandboxBy::Landlock, &place);
        (home, confinement)
    }

    #[test]
    fn claude_writes_its_settings_in_no_sandbox() {
        for mode in [SandboxMode::Workspace, SandboxMode::Strict] {
            let (home, kept) = confinement(mode, "claude", &[".claude/"]);
            let own = home.path().join(".claude");
            assert!(kept.write.contains(&own.join("projects")));
            let settings = own.join("settings.json");
            assert!(!kept.write.iter().any(|path| settings.starts_with(path)), "{:?}", kept.write);
            assert!(!kept.write.iter().any(|path| home.path().join(".claude.json").starts_with(path)));
        }
        // Where it is logged in, it could not renew that.
        let (home, kept) = confinement(SandboxMode::Workspace, "claude", &[".claude/.credentials.json"]);
        assert!(kept.write.contains(&home.path().join(".claude")));
        let (home, kept) = confinement(SandboxMode::Strict, "claude", &[".claude/.credentials.json"]);
        assert!(!kept.write.contains(&home.path().join(".claude")));
    }

    #[test]
    fn caches_are_those_of_tools_that_are_used() {
        let (home, kept) = confinement(SandboxMode::Workspace, "demo", &[".cargo/"]);
        let has = |name: &str| kept.write.contains(&home.path().join(name));
        assert!(has(".cache") && has(".cargo/registry") && has(".cargo/.package-cache"));
        assert!(!has(".npm") && !has("go/pkg"));
        assert!(kept.write.contains(&"/srv/shared".into()) && kept.write.contains(&"/data/w/repo".into()));
        assert_eq!((kept.read, kept.ports), (vec!["/data/mirrors/m/objects".into()], None));
        assert!(!kept.make.contains(&"/srv/shared".into()), "what somebody names is theirs to make");
    }

    #[test]
    fn strict_reads_the_program_and_not_the_home() {
        let (home, kept) = confinement(SandboxMode::Strict, "demo", &["pkg/node_modules/@a/b/node_modules/c/agent"]);
        let packages = home.path().canonicalize().unwrap().join("pkg/node_modules");
        assert!(kept.read.contains(&packages), "{:?}", kept.read);
        assert!(kept.read.contains(&home.path().join("bin")));
        assert!(!kept.read.iter().any(|path| home.path().starts_with(path)), "{:?}", kept.read);
        assert!(!kept.read.iter().any(|path| path.is_relative()));
        assert_eq!(kept.ports, Some(vec![53, 80, 443, 3000, 3128, 4001]));
    }
}
