//! What git knows of a checkout: its branches, what the branch changes, and which files were worked on lately. All of it is
//! help that can be missing: without git, without a repository or where git takes too long there is less of it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(2);
/// Most bytes that are read of one call.
const OUTPUT_LIMIT: u64 = 4 << 20;
/// Commits whose files count as worked on lately.
const COMMITS: &str = "--max-count=200";
/// Files that are remembered of those; what comes after counts no more than others.
const MOST_RECENT: usize = 400;
/// Files that are remembered of what the branch changes, and of what is not committed.
const MOST_CHANGED: usize = 5_000;
/// Branches that are named, by the time of their last commit.
const BRANCHES: &str = "--count=200";

/// What git knows of a checkout. Paths are relative to the root that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// The branch that is checked out.
    pub branch: Option<String>,
    /// All branches, without the remote's name, the last worked on first.
    pub branches: Vec<String>,
    /// Files that are not committed as they are.
    pub edited: Vec<PathBuf>,
    /// Files that the branch changes beside the default branch.
    pub on_branch: Vec<PathBuf>,
    /// Files of the last commits, the last first.
    pub recent: Vec<PathBuf>,
    /// What the refs were when the history was read; where they still are it is not read again.
    refs: Vec<u8>,
    /// The root's path within the repository.
    prefix: Vec<u8>,
}

impl Facts {
    /// What git knows of the tree at `root`. `before`: what it knew when it was last asked.
    pub fn read(root: &Path, before: Option<&Self>) -> Self {
        let git = Git { root };
        // Of a directory within a repository only what is below it counts.
        let prefix = match before.filter(|before| !before.refs.is_empty()) {
            Some(before) => before.prefix.clone(),
            None => match git.run(&["rev-parse", "--show-prefix"]) {
                Some(prefix) => prefix.trim_ascii_end().to_vec(),
                None => return Self::default(),
            },
        };
        std::thread::scope(|scope| {
            let status = scope.spawn(|| {
                git.run(&[
                    "status",
                    "--porcelain=v1",
                    "-z",
                    "--no-renames",
                    "--untracked-files=all",
                    "--ignore-submodules=all",
                    "--",
                    ".",
                ])
            });
            let mut facts = git.history(before);
            let status = status.join().ok().flatten().unwrap_or_default();
            // Each entry is two letters, a space and the path from the repository's root.
            let paths =
                status.split(|byte| *byte == 0).filter_map(|entry| entry.get(3..)?.strip_prefix(prefix.as_slice()));
            facts.edited = paths.filter(|path| !path.is_empty()).take(MOST_CHANGED).map(path_of).collect();
            facts.prefix = prefix;
            facts
        })
    }

    /// How likely a file is spoken of beside one that nobody works on (1): what is not committed 4, what the branch changes 3,
    /// and what was committed lately from 2 down.
    pub fn heat(&self) -> HashMap<&Path, f32> {
        let mut heat = HashMap::new();
        for (at, path) in self.recent.iter().enumerate() {
            heat.insert(path.as_path(), 1.0 + 0.985_f32.powf(at as f32));
        }
        heat.extend(self.on_branch.iter().map(|path| (path.as_path(), 3.0)));
        heat.extend(self.edited.iter().map(|path| (path.as_path(), 4.0)));
        heat
    }
}

struct Git<'a> {
    root: &'a Path,
}

impl Git<'_> {
    /// Branches, and what commits say; with `before` only where a ref has moved since.
    fn history(&self, before: Option<&Facts>) -> Facts {
        let format = "--format=%(HEAD)%00%(refname)%00%(symref)%00%(objectname)";
        let head = self.run(&["rev-parse", "--verify", "--quiet", "HEAD"]).unwrap_or_default();
        let listed =
            self.run(&["for-each-ref", "--sort=-committerdate", BRANCHES, format, "refs/heads", "refs/remotes"]);
        let refs = [head, listed.unwrap_or_default()].concat();
        if let Some(before) = before.filter(|before| before.refs == refs) {
            return before.clone();
        }
        let mut facts = Facts::default();
        let mut default = None;
        let text = String::from_utf8_lossy(&refs).into_owned();
        for line in text.lines().filter(|line| line.contains('\0')) {
            let mut fields = line.split('\0');
            let (mark, name) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            let symbolic = fields.next().unwrap_or_default();
            if !symbolic.is_empty() {
                // `refs/remotes/origin/HEAD`: what the remote calls its default.
                default = default.or_else(|| Some(symbolic.to_owned()));
                continue;
            }
            let remote = name.strip_prefix("refs/remotes/").and_then(|name| name.split_once('/')).map(|(_, name)| name);
            let Some(short) = name.strip_prefix("refs/heads/").or(remote) else { continue };
            if mark == "*" {
                facts.branch = Some(short.to_owned());
            }
            if !facts.branches.iter().any(|known| known == short) {
                facts.branches.push(short.to_owned());
            }
        }
        let usual = ["refs/heads/main", "refs/heads/master", "refs/remotes/origin/main", "refs/remotes/origin/master"];
        let there = |name: &&str| text.contains(&format!("\0{name}\0"));
        let default = default.or_else(|| usual.iter().find(|name| there(name)).map(|name| (*name).to_owned()));
        std::thread::scope(|scope| {
            let log = scope.spawn(|| {
                self.run(&[
                    "log",
                    COMMITS,
                    "--name-only",
                    "-z",
                    "--format=",
                    "--no-renames",
                    "--no-merges",
                    "--relative",
                    "HEAD",
                    "--",
                ])
            });
            let range = default.map(|default| format!("{default}...HEAD"));
            let diff = range.and_then(|range| {
                self.run(&["diff", "--name-only", "-z", "--no-renames", "--no-ext-diff", "--relative", &range, "--"])
            });
            facts.on_branch = paths(&diff.unwrap_or_default(), MOST_CHANGED);
            facts.recent = paths(&log.join().ok().flatten().unwrap_or_default(), MOST_RECENT);
        });
        facts.refs = refs;
        facts
    }

    /// The standard output of a call that succeeded in time, cut at a limit.
    fn run(&self, arguments: &[&str]) -> Option<Vec<u8>> {
        let mut command = Command::new("git");
        for setting in
            ["core.fsmonitor=false", "core.hooksPath=/dev/null", "log.showSignature=false", "core.quotePath=false"]
        {
            command.args(["-c", setting]);
        }
        command.arg("--no-pager").args(arguments).current_dir(self.root).env_clear();
        for name in ["PATH", "HOME", "XDG_CONFIG_HOME", "USER"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs([
            ("LC_ALL", "C"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("GIT_NO_LAZY_FETCH", "1"),
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().ok()?;
        let stdout = child.stdout.take()?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut output = Vec::new();
            let read = stdout.take(OUTPUT_LIMIT).read_to_end(&mut output);
            let _ = sender.send(read.map(|_| output));
        });
        let output = receiver.recv_timeout(LIMIT);
        let cut =
            output.as_ref().is_ok_and(|output| output.as_ref().is_ok_and(|output| output.len() as u64 >= OUTPUT_LIMIT));
        if output.is_err() || cut {
            // It is not waited for any more; what it has written so far is as good.
            let _ = child.kill();
        }
        let status = child.wait().ok()?;
        let output = output.ok()?.ok()?;
        (status.success() || cut).then_some(output)
    }
}

/// The first paths of those that end with NUL each, each once.
fn paths(output: &[u8], most: usize) -> Vec<PathBuf> {
    let mut seen = std::collections::HashSet::new();
    let paths = output.split(|byte| *byte == 0).map(|path| path.trim_ascii_start()).filter(|path| !path.is_empty());
    paths.filter(|path| seen.insert(path.to_vec())).take(most).map(path_of).collect()
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::new(String::from_utf8_lossy(bytes).as_ref()))
}
