//! The mirror of a repository: a bare one of cadence's own, which workspaces borrow objects from. Nothing is ever
//! collected in it; it goes as a whole (see [`super::cache`]).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::inspect::{Located, locate};
use super::lock::{Lock, lock};
use super::names::{is_branch_name, is_object_id, repo_name};
use super::settings::hex;
use super::{Environment, Origin, Prepare, WorkspaceError, Workspaces, cache, partial, private_dir, remove_tree};
use crate::git::{Git, GitError};

/// Serves any commit of the user's repository, also one that no branch leads to any more.
pub(super) const UPLOAD_PACK: &str =
    "--upload-pack=git -c uploadpack.allowAnySHA1InWant=true -c core.hooksPath=/dev/null upload-pack";

/// Says what is going on.
pub(super) type Progress<'a> = &'a (dyn Fn(&str) + Send + Sync);

/// An origin as it was found.
#[derive(Clone, Debug)]
pub(super) enum Source {
    Local(Located),
    Url {
        url: String,
        credentials: Option<(String, String)>,
    },
    /// Nobody can be asked for more of it.
    Sent(String),
}

/// Where work starts.
#[derive(Clone, Debug)]
pub(super) struct Base {
    pub commit: String,
    /// Empty where it is on no branch.
    pub branch: String,
}

pub(super) struct Mirror {
    pub path: PathBuf,
    source: Source,
    git: Git,
    environment: Environment,
    network_limit: Duration,
    /// Whether it was made just now, so that it has what the origin has.
    fresh: bool,
    _lock: Lock,
}

impl Source {
    pub async fn find(origin: &Origin, environment: &Environment) -> Result<Self, WorkspaceError> {
        match origin {
            Origin::Local(path) => Ok(Self::Local(locate(path, environment).await?)),
            Origin::Url(url) => {
                let (url, credentials) = Origin::split_credentials(url);
                Ok(Self::Url { url, credentials })
            }
            Origin::Sent(text) => Ok(Self::Sent(text.clone())),
        }
    }

    pub fn origin(&self) -> Origin {
        match self {
            Self::Local(located) => Origin::Local(located.root.clone().unwrap_or_else(|| located.common.clone())),
            Self::Url { url, .. } => Origin::Url(url.clone()),
            Self::Sent(text) => Origin::Sent(text.clone()),
        }
    }

    /// What the mirror is named after: the same for all checkouts of one repository.
    fn stem(&self) -> Origin {
        match self {
            Self::Local(located) => Origin::Local(located.common.clone()),
            Self::Url { url, .. } => Origin::Url(url.clone()),
            Self::Sent(text) => Origin::Sent(text.clone()),
        }
    }

    /// What git calls it.
    fn place(&self) -> &std::ffi::OsStr {
        match self {
            Self::Local(located) => located.common.as_os_str(),
            Self::Url { url, .. } => url.as_ref(),
            Self::Sent(text) => text.as_ref(),
        }
    }

    /// Text that is the same for all ways to write the same origin.
    fn canonical(&self) -> String {
        match self {
            Self::Local(located) => format!("path {}", located.common.display()),
            Self::Url { url, .. } => {
                let url = url.trim_end_matches('/');
                format!("url {}", url.strip_suffix(".git").unwrap_or(url))
            }
            Self::Sent(text) => format!("sent {text}"),
        }
    }
}

impl Workspaces {
    /// The mirror, made where it is missing. Nobody else uses it until it is dropped.
    pub(super) async fn mirror(
        &self,
        source: Source,
        environment: &Environment,
        progress: Progress<'_>,
    ) -> Result<Mirror, WorkspaceError> {
        let mirrors = self.mirrors();
        private_dir(&mirrors)?;
        let environment = &self.granted(&source, environment)?;
        let name = format!("{}-{}", repo_name(&source.stem()), short_hash(&source.canonical()));
        let path = mirrors.join(format!("{name}.git"));
        let held = lock(&mirrors.join(format!("{name}.lock")), self.network_limit.saturating_mul(2)).await?;
        held.touch();
        let git = Git::new(&mirrors, environment);
        let fresh = !path.is_dir();
        if fresh {
            progress(&format!("Copying {} to a mirror of its own", source.origin()));
            self.create(&git, &source, &name, progress).await?;
        }
        let git = git.repository(&path);
        Ok(Mirror {
            path,
            source,
            git,
            environment: environment.clone(),
            network_limit: self.network_limit,
            fresh,
            _lock: held,
        })
    }
}

impl Workspaces {
    /// Removes the locks that git leaves behind in mirrors when it is killed, and waits for in vain later. Only where nobody
    /// uses them: for a server that starts after one that broke off. Blocks.
    pub fn unlock_mirrors(&self) -> Result<(), WorkspaceError> {
        for entry in fs::read_dir(self.mirrors()).into_iter().flatten().flatten() {
            let mirror = entry.path();
            if mirror.extension().is_some_and(|extension| extension == "git") {
                unlock(&mirror, false)?;
                unlock(&mirror.join("refs"), true)?;
            }
        }
        Ok(())
    }
}

fn unlock(directory: &Path, deep: bool) -> Result<(), WorkspaceError> {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let kind = entry.file_type().map_err(WorkspaceError::io("reading", &path))?;
        if deep && kind.is_dir() {
            unlock(&path, true)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(&path).map_err(WorkspaceError::io("removing", &path))?;
        }
    }
    Ok(())
}

impl Workspaces {
    /// Clones beside, then moves into place, so that a mirror that is there is whole.
    async fn create(
        &self,
        git: &Git,
        source: &Source,
        name: &str,
        progress: Progress<'_>,
    ) -> Result<(), WorkspaceError> {
        let mirrors = &self.mirrors();
        let prefix = format!(".{name}.");
        for entry in fs::read_dir(mirrors).map_err(WorkspaceError::io("reading", mirrors))?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                remove_tree(&entry.path())?;
            }
        }
        let new = mirrors.join(format!("{prefix}{}", Uuid::new_v4().simple()));
        let clone_to = |how: &'static str, to: &Path| {
            git.call("clone")
                .args(["--quiet", "--bare", "--template=", how])
                .args([
                    "--config",
                    "gc.auto=0",
                    "--config",
                    "maintenance.auto=false",
                    "--config",
                    "gc.pruneExpire=never",
                ])
                .arg("--")
                .arg(source.place())
                .arg(to)
        };
        let clone = |how| clone_to(how, &new);
        let made = match source {
            Source::Local(located) => {
                if is_partial(&located.objects()) {
                    return Err(WorkspaceError::Partial(source_path(located)));
                }
                // Hard links are fast and safe, as git never changes an object. Borrowed objects would have to stay forever.
                let made = if located.objects().join("info/alternates").exists() {
                    clone("--no-local").run().await
                } else {
                    clone("--local").run().await
                };
                match made {
                    // It may have been repacked meanwhile.
                    Err(GitError::Failed { .. }) => {
                        remove_tree(&new)?;
                        clone("--no-local").run().await
                    }
                    other => other,
                }
                .map(drop)
                .map_err(WorkspaceError::from)
            }
            Source::Url { url, .. } => {
                let clone = |how, to: &Path| clone_to(how, to).limit(self.network_limit);
                partial::clone(&self.partial, url, &new, progress, clone).await
            }
            // Filled by what is sent.
            Source::Sent(text) => {
                let sha256 = text.rsplit('-').next().is_some_and(|root| root.len() == 64);
                let format = if sha256 { "--object-format=sha256" } else { "--object-format=sha1" };
                let settings = ["gc.auto=0", "maintenance.auto=false", "gc.pruneExpire=never"];
                let init = git.call("init").args(["--quiet", "--bare", "--template=", format, "--"]).arg(&new);
                let made = match init.run().await {
                    Ok(_) => write_settings(&git.clone().repository(&new), &settings).await.map(drop),
                    Err(error) => Err(error),
                };
                made.map_err(WorkspaceError::from)
            }
        };
        let made = match made {
            Ok(()) => cache::note_origins(git, &new).await,
            Err(error) => Err(error),
        };
        if let Err(error) = made {
            remove_tree(&new)?;
            return Err(error);
        }
        let path = mirrors.join(format!("{name}.git"));
        fs::rename(&new, &path).map_err(WorkspaceError::io("moving the mirror to", &path))
    }
}

/// Where a branch or tag of an origin is kept as it was fetched last.
fn fetched(name: &str) -> String {
    format!("refs/cadence/fetched/{}", short_hash(name))
}

async fn write_settings(git: &Git, settings: &[&str]) -> Result<Vec<u8>, GitError> {
    for (name, value) in settings.iter().filter_map(|setting| setting.split_once('=')) {
        git.call("config").args([name, value]).run().await?;
    }
    Ok(Vec::new())
}

impl Mirror {
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    pub fn git(&self) -> &Git {
        &self.git
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    pub fn file_name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub async fn has(&self, commit: &str) -> Result<bool, WorkspaceError> {
        let answer = self.git.call("cat-file").args(["-e", &format!("{commit}^{{commit}}")]).answer().await?;
        Ok(answer.code == Some(0))
    }

    pub fn network_limit(&self) -> Duration {
        self.network_limit
    }

    /// Whether it was made just now.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Its tags, as lines of an object and a name.
    pub async fn tags(&self) -> Result<String, WorkspaceError> {
        let format = "--format=%(objectname) %(refname)";
        Ok(self.git.call("for-each-ref").args([format, "refs/tags"]).text().await?)
    }

    /// Finds out where the work starts, and brings it into the mirror.
    pub async fn base(&self, request: &Prepare, progress: Progress<'_>) -> Result<Base, WorkspaceError> {
        if let Some(name) = &request.base_branch
            && !name.is_empty()
            && !is_branch_name(name)
        {
            return Err(WorkspaceError::BranchName(name.clone()));
        }
        let named = request.base_branch.as_deref().filter(|name| !name.is_empty());
        match &self.source {
            Source::Local(located) => {
                let git = Git::new(located.root.as_ref().unwrap_or(&located.common), &self.environment)
                    .repository(&located.git_dir);
                self.local_base(&git, request, named, progress).await
            }
            Source::Url { .. } | Source::Sent(_) => self.remote_base(request, named, progress).await,
        }
    }

    async fn local_base(
        &self,
        user: &Git,
        request: &Prepare,
        named: Option<&str>,
        progress: Progress<'_>,
    ) -> Result<Base, WorkspaceError> {
        let origin = self.source.origin().to_string();
        let branch = match (named, &request.base_branch) {
            (Some(name), _) => name.to_owned(),
            // Asked for on no branch.
            (None, Some(_)) => String::new(),
            (None, None) => {
                let head = user.call("symbolic-ref").args(["--quiet", "HEAD"]).answer().await?;
                let head = String::from_utf8_lossy(&head.stdout).trim().to_owned();
                head.strip_prefix("refs/heads/").unwrap_or_default().to_owned()
            }
        };
        let commit = match (&request.commit, named) {
            (Some(commit), _) if is_object_id(commit) => commit.clone(),
            (Some(commit), _) => {
                let hex = commit.len() >= 4 && commit.bytes().all(|b| b.is_ascii_hexdigit());
                let found = if hex { resolve(user, &[commit]).await? } else { None };
                found.ok_or_else(|| WorkspaceError::NoSuchCommit { commit: commit.clone(), origin: origin.clone() })?
            }
            (None, Some(name)) => resolve(
                user,
                &[&format!("refs/heads/{name}"), &format!("refs/tags/{name}"), &format!("refs/remotes/origin/{name}")],
            )
            .await?
            .ok_or_else(|| WorkspaceError::NoSuchBranch { branch: name.to_owned(), origin: origin.clone() })?,
            (None, None) => resolve(user, &["HEAD"]).await?.ok_or_else(|| WorkspaceError::NoCommit(origin.clone()))?,
        };
        self.fetch_commit(&commit, progress).await?;
        Ok(Base { commit, branch })
    }

    async fn remote_base(
        &self,
        request: &Prepare,
        named: Option<&str>,
        progress: Progress<'_>,
    ) -> Result<Base, WorkspaceError> {
        let origin = self.source.origin().to_string();
        if let Some(commit) = &request.commit {
            let hex = commit.len() >= 4 && commit.bytes().all(|b| b.is_ascii_hexdigit());
            let missing = || WorkspaceError::NoSuchCommit { commit: commit.clone(), origin: origin.clone() };
            if !hex {
                return Err(missing());
            }
            let known = resolve(&self.git, &[commit]).await?;
            let commit = match known {
                Some(commit) => commit,
                None if is_object_id(commit) => {
                    self.fetch_commit(commit, progress).await?;
                    commit.clone()
                }
                None => return Err(missing()),
            };
            return Ok(Base { commit, branch: named.unwrap_or_default().to_owned() });
        }
        if matches!(self.source, Source::Sent(_)) {
            return Err(WorkspaceError::NoCommit(origin));
        }
        let name = match named {
            Some(name) => name.to_owned(),
            None if self.fresh => {
                let head = self.git.call("symbolic-ref").args(["--quiet", "HEAD"]).text().await?;
                head.strip_prefix("refs/heads/").unwrap_or_default().to_owned()
            }
            None => {
                let text = self
                    .git
                    .call("ls-remote")
                    .args(["--symref", "--"])
                    .arg(self.source.place())
                    .arg("HEAD")
                    .limit(self.network_limit)
                    .text()
                    .await?;
                let head = text.lines().find_map(|line| line.strip_prefix("ref: refs/heads/")?.strip_suffix("\tHEAD"));
                let name = head.ok_or_else(|| WorkspaceError::NoCommit(origin.clone()))?.to_owned();
                // What is here already is not asked for again: that is a second way over the network.
                let there = text.lines().find_map(|line| line.strip_suffix("\tHEAD").filter(|id| is_object_id(id)));
                for kept in [fetched(&name), format!("refs/heads/{name}")] {
                    if let Some(commit) = resolve(&self.git, &[&kept]).await?
                        && there == Some(commit.as_str())
                    {
                        return Ok(Base { commit, branch: name });
                    }
                }
                name
            }
        };
        if self.fresh
            && let Some(commit) =
                resolve(&self.git, &[&format!("refs/heads/{name}"), &format!("refs/tags/{name}")]).await?
        {
            return Ok(Base { commit, branch: name });
        }
        progress(&format!("Fetching {name} from {origin}"));
        let to = fetched(&name);
        for from in [format!("refs/heads/{name}"), format!("refs/tags/{name}")] {
            match self.fetch(&[], &format!("+{from}:{to}")).await {
                Ok(()) => {
                    let commit = resolve(&self.git, &[&to]).await?;
                    let missing = WorkspaceError::NoSuchBranch { branch: name.clone(), origin };
                    return Ok(Base { commit: commit.ok_or(missing)?, branch: name });
                }
                Err(GitError::Failed { message, .. }) if message.contains("couldn't find remote ref") => {}
                Err(error) => return Err(error.into()),
            }
        }
        if named.is_none() {
            return Err(WorkspaceError::NoCommit(origin));
        }
        Err(WorkspaceError::NoSuchBranch { branch: name, origin })
    }

    /// Brings a commit of the origin into the mirror, unless it is there.
    pub async fn fetch_commit(&self, commit: &str, progress: Progress<'_>) -> Result<(), WorkspaceError> {
        if self.has(commit).await? {
            return Ok(());
        }
        let origin = self.source.origin().to_string();
        progress(&format!("Fetching {} from {origin}", &commit[..commit.len().min(12)]));
        let refspec = format!("+{commit}:refs/cadence/commits/{commit}");
        let fetched = match &self.source {
            Source::Local(located) => {
                if is_partial(&located.objects()) {
                    return Err(WorkspaceError::Partial(source_path(located)));
                }
                self.fetch(&[UPLOAD_PACK, "--update-shallow"], &refspec).await
            }
            Source::Sent(_) => return Err(WorkspaceError::NoSuchCommit { commit: commit.to_owned(), origin }),
            // Some servers give no single commit; it may be in one of their branches.
            Source::Url { .. } => match self.fetch(&[], &refspec).await {
                Err(GitError::Failed { .. }) => self.fetch(&[], "+refs/heads/*:refs/cadence/heads/*").await,
                other => other,
            },
        };
        let missing = || WorkspaceError::NoSuchCommit { commit: commit.to_owned(), origin };
        match fetched {
            Ok(()) if self.has(commit).await? => Ok(()),
            Ok(()) => Err(missing()),
            Err(GitError::Failed { message, .. })
                if message.contains("not our ref") || message.contains("no such remote ref") =>
            {
                Err(missing())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Fetches the newest state of a branch, to see what it has by now; gives its commit.
    pub async fn fetch_branch(&self, name: &str) -> Result<Option<String>, WorkspaceError> {
        if matches!(self.source, Source::Sent(_)) {
            return Ok(None);
        }
        let to = format!("refs/cadence/fetched/{}", short_hash(name));
        self.fetch(&[], &format!("+refs/heads/{name}:{to}")).await?;
        resolve(&self.git, &[&to]).await
    }

    async fn fetch(&self, options: &[&str], refspec: &str) -> Result<(), GitError> {
        self.git
            .call("fetch")
            .args(["--quiet", "--no-write-fetch-head", "--no-auto-maintenance"])
            .args(options)
            .arg("--")
            // By its name, so that what was left out at first is left out now.
            .arg(if partial::is_partial(&self.path) { "origin".as_ref() } else { self.source.place() })
            .arg(refspec)
            .limit(self.network_limit)
            .run()
            .await
            .map(drop)
    }
}

/// The commit that the first of the names has that is there.
pub(super) async fn resolve(git: &Git, names: &[&str]) -> Result<Option<String>, WorkspaceError> {
    for name in names {
        let answer = git
            .call("rev-parse")
            .args(["--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")])
            .answer()
            .await?;
        if answer.code == Some(0) {
            return Ok(Some(String::from_utf8_lossy(&answer.stdout).trim().to_owned()));
        }
    }
    Ok(None)
}

fn source_path(located: &Located) -> PathBuf {
    located.root.clone().unwrap_or_else(|| located.common.clone())
}

/// Whether objects are left with a remote ("partial clone").
pub(super) fn is_partial(objects: &Path) -> bool {
    fs::read_dir(objects.join("pack")).is_ok_and(|mut entries| {
        entries.any(|entry| entry.is_ok_and(|e| e.path().extension().is_some_and(|kind| kind == "promisor")))
    })
}

pub(super) fn short_hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes())[..8])
}
