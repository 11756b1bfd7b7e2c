//! Unpacking what came from outside: in a repository of its own, where nothing is lost when it is hostile.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{BundleError, BundleHeader};
use crate::git::{Git, GitError};
use crate::workspace::mirror::resolve;
use crate::workspace::{Environment, WorkspaceError};

/// Faults that real histories have from old tools, and that hurt nobody; GitLab's Gitaly lets the same pass.
const HARMLESS: &str = "badTimezone=ignore,missingSpaceBeforeDate=ignore,zeroPaddedFilemode=ignore";
/// Most memory that git may take for one object, in bytes: a small pack can claim to hold a huge one.
const LARGEST_OBJECT: &str = "1g";

/// What is known of a bundle after it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Examined {
    pub header: BundleHeader,
    /// The oldest commit of a complete history, which all clones of the repository share; the smallest id of several.
    pub root: Option<String>,
}

/// The objects of a bundle in a repository that goes away when this is dropped.
pub(super) struct Unpacked {
    pub header: BundleHeader,
    pub git: Git,
    directory: TempDir,
}

/// How far the content can be checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Each object, and that whatever it leads to is there.
    Whole,
    /// Each object alone.
    Alone,
}

/// Checks a bundle as far as it can be done without the repository that it builds on: each object of a complete one with
/// all that it leads to, else each object by itself. Only deltas against objects that the bundle leaves out ("thin") are left
/// for [`Workspaces::prepare`](crate::workspace::Workspaces::prepare). Scratch files go below the bundle's directory.
pub async fn examine(bundle: &Path, environment: &Environment) -> Result<Examined, WorkspaceError> {
    let header = BundleHeader::read(bundle)?;
    let beside = bundle.parent().unwrap_or(bundle);
    let complete = header.is_complete();
    let unpacked = Unpacked::make(header, beside, None, environment).await?;
    match unpacked.fill(bundle, if complete { Check::Whole } else { Check::Alone }).await {
        Err(WorkspaceError::Bundle(BundleError::Content(text))) if !complete && text.contains("unresolved delta") => {
            return Ok(Examined { header: unpacked.header, root: None });
        }
        other => other?,
    }
    for head in &unpacked.header.heads {
        let known = unpacked.header.prerequisites.contains(&head.commit);
        if !known && resolve(&unpacked.git, &[&head.commit]).await?.is_none() {
            return Err(BundleError::NoCommit(head.commit.clone()).into());
        }
    }
    let mut root = None;
    if let Some(head) = unpacked.header.heads.first().filter(|_| complete) {
        let roots = unpacked.git.call("rev-list").args(["--max-parents=0", &head.commit, "--"]).text().await?;
        root = roots.lines().min().map(str::to_owned);
    }
    Ok(Examined { header: unpacked.header, root })
}

impl Unpacked {
    /// Unpacks over the objects of the repository `common`, below `within`. All is checked.
    pub async fn over(
        bundle: &Path,
        header: BundleHeader,
        within: &Path,
        common: &Path,
        environment: &Environment,
    ) -> Result<Self, WorkspaceError> {
        let unpacked = Self::make(header, within, Some(common), environment).await?;
        unpacked.fill(bundle, Check::Whole).await?;
        Ok(unpacked)
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    async fn make(
        header: BundleHeader,
        within: &Path,
        common: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self, WorkspaceError> {
        let directory = tempfile::Builder::new().prefix(".unpacked-").tempdir_in(within);
        let directory = directory.map_err(WorkspaceError::io("making a directory in", within))?;
        let path = directory.path();
        let git = Git::new(path, environment);
        let format = format!("--object-format={}", header.object_format());
        git.call("init").args(["--quiet", "--bare", "--template=", &format, "--"]).arg(path).run().await?;
        if let Some(common) = common {
            borrow(path, common).map_err(WorkspaceError::io("writing", path))?;
        }
        Ok(Self { header, git: git.repository(path).env("GIT_ALLOC_LIMIT", LARGEST_OBJECT), directory })
    }

    async fn fill(&self, bundle: &Path, check: Check) -> Result<(), WorkspaceError> {
        let open = || {
            let mut file = File::open(bundle)?;
            file.seek(SeekFrom::Start(self.header.length))?;
            Ok(file)
        };
        let file = open().map_err(WorkspaceError::io("reading", bundle))?;
        let strict = format!("--strict={HARMLESS}");
        let whole = [strict.as_str(), "--fix-thin", "--stdin"];
        let index = self.git.call("index-pack").args(match check {
            Check::Whole => whole.as_slice(),
            Check::Alone => &["--fsck-objects", "--stdin"],
        });
        match index.input(file).yielding().run().await {
            Ok(_) => Ok(()),
            Err(GitError::Failed { message, .. }) if !message.contains("No space left") => {
                Err(BundleError::Content(message).into())
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Lets a repository see the objects of another one, and know what that lacks on purpose.
fn borrow(own: &Path, common: &Path) -> std::io::Result<()> {
    let objects: PathBuf = common.join("objects");
    let info = own.join("objects/info");
    fs::create_dir_all(&info)?;
    fs::write(info.join("alternates"), format!("{}\n", objects.display()))?;
    match fs::copy(common.join("shallow"), own.join("shallow")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
