//! Large repositories: their mirrors have the history without the content of files ("partial clone"), which is fetched for the
//! commits that tasks start from.
//!
//! How large a repository is, no server tells before it sends it. So one is fetched as a whole until it has grown beyond a
//! limit, and then begun again without the files; what is known to be large is named in the settings.
//!
//! Source: git's `Documentation/technical/partial-clone.txt`, and `--filter` in git-clone(1).

use std::fs;
use std::path::Path;
use std::time::Duration;

use globset::{Glob, GlobSet, GlobSetBuilder};
use uuid::Uuid;

use super::cache::size_of_tree;
use super::mirror::{Mirror, Progress};
use super::{WorkspaceError, Workspaces, remove_tree};
use crate::git::{Call, Git};

/// What is left with the origin until it is needed.
const FILTER: &str = "blob:none";
/// How often is looked how large a repository has become.
const LOOK: Duration = Duration::from_millis(250);

/// Which repositories are fetched without the content of their files.
#[derive(Clone, Debug)]
pub struct Partial {
    /// URLs.
    named: GlobSet,
    /// Those that are larger, in bytes; none: no other.
    above: Option<u64>,
}

impl Default for Partial {
    /// Those of more than 1 GiB.
    fn default() -> Self {
        Self { named: GlobSet::empty(), above: Some(Self::USUAL) }
    }
}

impl Partial {
    /// Size above which nobody wants all of a repository, in bytes.
    pub const USUAL: u64 = 1 << 30;

    /// `urls` are patterns in which `*` stands for any text; `above` a size in bytes. An error names the pattern that is none.
    pub fn new(urls: &[String], above: Option<u64>) -> Result<Self, String> {
        let mut set = GlobSetBuilder::new();
        for url in urls {
            set.add(Glob::new(url).map_err(|error| format!("`{url}` is no pattern: {}", error.kind()))?);
        }
        Ok(Self { named: set.build().map_err(|error| error.kind().to_string())?, above })
    }

    fn names(&self, url: &str) -> bool {
        self.named.is_match(url) || url.strip_suffix(".git").is_some_and(|url| self.named.is_match(url))
    }
}

impl Workspaces {
    /// Which repositories are fetched without their files; see [`Partial::default`].
    #[must_use]
    pub fn with_partial(mut self, partial: Partial) -> Self {
        self.partial = partial;
        self
    }
}

/// Clones an URL: `clone` gives the call, with options of its own before the URL and the directory.
pub(super) async fn clone(
    partial: &Partial,
    url: &str,
    new: &Path,
    progress: Progress<'_>,
    clone: impl Fn(&'static str, &Path) -> Call,
) -> Result<(), WorkspaceError> {
    let filter = "--filter=blob:none";
    if partial.names(url) {
        clone(filter, new).run().await?;
        return Ok(());
    }
    let Some(above) = partial.above else {
        clone("--no-local", new).run().await?;
        return Ok(());
    };
    let first = new.with_extension(Uuid::new_v4().simple().to_string());
    let grown = tokio::select! {
        cloned = clone("--no-local", &first).run() => {
            if let Err(error) = cloned {
                remove_tree(&first)?;
                return Err(error.into());
            }
            false
        }
        () = grows_beyond(&first, above) => true,
    };
    if grown {
        progress(&format!("It is larger than {} MB: copying it again without the content of files", above >> 20));
        clone(filter, new).run().await?;
        // Git was killed, and is gone by now.
        remove_tree(&first)
    } else {
        fs::rename(&first, new).map_err(WorkspaceError::io("moving", &first))
    }
}

async fn grows_beyond(directory: &Path, bytes: u64) {
    loop {
        tokio::time::sleep(LOOK).await;
        let directory = directory.to_path_buf();
        if tokio::task::spawn_blocking(move || size_of_tree(&directory)).await.is_ok_and(|size| size > bytes) {
            return;
        }
    }
}

/// Whether the mirror was made so. Git wrote its settings.
pub(super) fn is_partial(mirror: &Path) -> bool {
    fs::read_to_string(mirror.join("config")).is_ok_and(|text| text.contains("partialclonefilter = "))
}

/// Settings for a repository that borrows from such a mirror: what is missing there comes from the remote `origin`.
pub(super) fn settings(mirror: &Path) -> String {
    match is_partial(mirror) {
        true => format!("\tpromisor = true\n\tpartialclonefilter = {FILTER}\n"),
        false => String::new(),
    }
}

impl Mirror {
    /// Brings the content of a commit's files into the mirror, all at once, where it was left out: so that all workspaces have
    /// it, and none asks for each file by itself.
    pub(super) async fn bring_files(&self, commit: &str, progress: Progress<'_>) -> Result<(), WorkspaceError> {
        if !is_partial(&self.path) {
            return Ok(());
        }
        let git = self.git();
        let list =
            git.call("rev-list").args(["--objects", "--no-object-names", "--no-walk", "--missing=print", commit]);
        let listed = list.run().await?;
        let mut missing = Vec::new();
        for line in listed.split(|byte| *byte == b'\n') {
            if let Some(object) = line.strip_prefix(b"?") {
                missing.extend_from_slice(object);
                missing.push(b'\n');
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        progress(&format!("Fetching {} files", missing.split(|byte| *byte == b'\n').count() - 1));
        fetch_objects(git, missing).limit(self.network_limit()).run().await.map(drop)?;
        Ok(())
    }
}

/// As git itself fetches what is missing (`promisor-remote.c`).
fn fetch_objects(git: &Git, names: Vec<u8>) -> Call {
    let git = git.clone().setting("fetch.negotiationAlgorithm=noop");
    git.call("fetch")
        .args(["--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--recurse-submodules=no"])
        .args(["--filter=blob:none", "--stdin", "--", "origin"])
        .stdin(names)
}
