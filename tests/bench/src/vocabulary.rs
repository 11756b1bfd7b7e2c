//! From a checkout that nobody has seen to its ranked vocabulary, beside universal-ctags on the same files; and what an edit
//! costs then.
//!
//! The tree is the source of the crates that cargo has unpacked to build this program, so every machine has it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use cadence_speech::vocabulary::Scanner;

use crate::place;
use crate::result::{Results, millis, percentile};

/// How many files the tree has, if there are as many.
const FILES: usize = 6_000;
/// What is copied: files that both read, so that neither has less to do.
const EXTENSIONS: [&str; 14] =
    ["rs", "c", "h", "cpp", "hpp", "py", "js", "ts", "tsx", "go", "java", "toml", "md", "sh"];
/// Largest file of the tree, in bytes: larger ones are not read for a vocabulary.
const LARGEST: u64 = 1 << 20;
const RUNS: usize = 7;
const EDITS: usize = 20;

pub fn measure(results: &mut Results) {
    let directory = place::directory();
    let tree = Tree::make(&directory.path().join("tree"));
    let cache = |name: &str| directory.path().join(name);

    let (mut ctags, mut first) = (Vec::new(), Vec::new());
    for run in 0..=RUNS {
        let (theirs, ours) = (tree.ctags(), ready(&tree.path, &cache(&format!("first{run}"))));
        // The first run only brings the files into memory.
        if run > 0 {
            ctags.push(theirs);
            first.push(ours);
        }
    }
    let (theirs, ours) = (percentile(&mut ctags, 50), percentile(&mut first, 50));
    let size = format!("{} files, {:.0} MB", tree.files, tree.bytes as f64 / 1e6);
    let beside = format!("{:.0} ms beside {:.0} ms of ctags -R; {size}", millis(ours), millis(theirs));
    results.at_least(
        "vocabulary ready, as fast as ctags",
        theirs.as_secs_f64() / ours.as_secs_f64(),
        3.0,
        "times",
        &beside,
    );

    let mut scanner = Scanner::new(&tree.path, &cache("kept")).unwrap();
    scanner.ready(&[]).unwrap();
    let started = Instant::now();
    while scanner.complete(Duration::from_secs(1)).unwrap() > 0 {}
    let complete = started.elapsed();
    let mut edits: Vec<Duration> = (0..EDITS).map(|number| tree.edit(&mut scanner, number)).collect();
    let (median, longest) = (percentile(&mut edits, 50), percentile(&mut edits, 100));
    let beside = format!("longest {:.0} ms; all parsed {:.0} ms after ready", millis(longest), millis(complete));
    results.at_most("vocabulary, an edit is in, p50", millis(median), 100.0, "ms", &beside);

    scanner.save().unwrap();
    let mut kept: Vec<Duration> = (0..RUNS).map(|_| ready(&tree.path, &cache("kept"))).collect();
    let beside = format!("another program; longest {:.0} ms", millis(percentile(&mut kept, 100)));
    results.at_most("vocabulary ready from its cache, p50", millis(percentile(&mut kept, 50)), 250.0, "ms", &beside);
}

/// How long the first answer takes.
fn ready(root: &Path, cache: &Path) -> Duration {
    let started = Instant::now();
    let vocabulary = Scanner::new(root, cache).unwrap().ready(&[]).unwrap();
    let took = started.elapsed();
    assert!(vocabulary.terms.len() > 1_000 && !vocabulary.prompt(224).is_empty());
    took
}

struct Tree {
    path: PathBuf,
    /// Universal-ctags.
    program: &'static str,
    files: usize,
    bytes: u64,
}

impl Tree {
    /// A repository of one commit.
    fn make(path: &Path) -> Self {
        let mut tree = Self { path: path.to_owned(), program: universal_ctags(), files: 0, bytes: 0 };
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        let home = home.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cargo"));
        for registry in sorted(&home.join("registry/src")) {
            for package in sorted(&registry) {
                tree.copy(&package, &path.join(package.file_name().unwrap()));
            }
        }
        assert!(tree.files >= 5_000, "only {} files in {}: `cargo fetch` gets them", tree.files, home.display());
        tree.git(&["init", "-q", "-b", "main"]);
        tree.git(&["add", "-A", "-f"]);
        tree.git(&["commit", "-q", "-m", "start"]);
        tree
    }

    fn copy(&mut self, from: &Path, to: &Path) {
        for entry in sorted(from) {
            let name = entry.file_name().unwrap();
            let metadata = entry.symlink_metadata().unwrap();
            let hidden = name.as_encoded_bytes().starts_with(b".");
            let wanted = entry.extension().and_then(OsStr::to_str).is_some_and(|end| EXTENSIONS.contains(&end));
            if metadata.is_dir() && !hidden && name != "node_modules" {
                self.copy(&entry, &to.join(name));
            } else if metadata.is_file() && wanted && !hidden && metadata.len() <= LARGEST && self.files < FILES {
                std::fs::create_dir_all(to).unwrap();
                std::fs::copy(&entry, to.join(name)).unwrap();
                self.files += 1;
                self.bytes += metadata.len();
            }
        }
    }

    fn git(&self, arguments: &[&str]) {
        let mut git = Command::new("git");
        git.args([
            "-c",
            "user.name=bench",
            "-c",
            "user.email=bench@localhost",
            "-c",
            "gc.auto=0",
            "-c",
            "core.autocrlf=false",
        ]);
        git.args(arguments).current_dir(&self.path).env_clear();
        git.envs([("HOME", self.path.as_os_str()), ("PATH", "/usr/bin:/bin".as_ref())]);
        assert!(git.status().unwrap().success(), "git {arguments:?}");
    }

    /// How long ctags takes to write its tags of all files.
    fn ctags(&self) -> Duration {
        let tags = self.path.with_extension("tags");
        let started = Instant::now();
        let mut ctags = Command::new(self.program);
        ctags.arg("-R").arg("-f").arg(&tags).arg(".").current_dir(&self.path).stderr(Stdio::null());
        let status = ctags.status().unwrap();
        let took = started.elapsed();
        assert!(status.success());
        let text = std::fs::read(&tags).unwrap();
        assert!(text.iter().filter(|byte| **byte == b'\n').count() > 10_000, "ctags found little");
        took
    }

    /// Writes a name into a file; how long it takes until the vocabulary has it.
    fn edit(&self, scanner: &mut Scanner, number: usize) -> Duration {
        let mut packages = sorted(&self.path).into_iter().filter(|path| !path.ends_with(".git"));
        let directory = packages.nth(number).unwrap();
        let name = format!("FreshlyWrittenName{}", char::from(b'A' + u8::try_from(number).unwrap()));
        std::fs::write(directory.join("fresh.rs"), format!("pub struct {name};\n")).unwrap();
        let started = Instant::now();
        let vocabulary = scanner.ready(&[]).unwrap();
        let took = started.elapsed();
        assert!(vocabulary.names().any(|known| known == name), "{name} is not in");
        took
    }
}

/// The name that universal-ctags has here; another program may be called `ctags`.
fn universal_ctags() -> &'static str {
    let universal = |name: &&str| {
        let version = Command::new(name).arg("--version").stderr(Stdio::null()).output();
        version.is_ok_and(|version| version.stdout.starts_with(b"Universal Ctags"))
    };
    let found = ["ctags-universal", "ctags"].into_iter().find(universal);
    found.expect("universal-ctags is needed: apt-get install universal-ctags, brew install universal-ctags")
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}
