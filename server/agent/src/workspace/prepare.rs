//! Making a workspace.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use super::mirror::{Base, Mirror, Progress, Source, resolve};
use super::names::{is_branch_name, is_work_branch};
use super::settings::{UserSettings, config_value, user_git};
use super::{
    COMMON, LOCK, Origin, Prepare, Record, Workspace, WorkspaceError, Workspaces, checkout_name, dependencies, include,
    lock, partial, private_dir, remove_tree, submodules, write_file,
};
use crate::fault::{self, Point};
use crate::git::Git;

/// What becomes [`COMMON`] once the workspace is whole.
const STAGED_COMMON: &str = ".common";

/// How long another one that prepares the same task is waited for.
const WAIT: Duration = Duration::from_secs(60);

impl Workspaces {
    /// Makes the workspace of a task, or opens it as it is where it was made before: it is never reset. One whose checkout
    /// somebody deleted is made again, from the task's branch where that was published.
    ///
    /// `progress` is told what takes long or was left out, in sentences for people.
    pub async fn prepare(&self, request: &Prepare, progress: Progress<'_>) -> Result<Workspace, WorkspaceError> {
        if let Some(workspace) = self.reopen(request).await? {
            return Ok(workspace);
        }
        if !is_work_branch(&request.branch) {
            return Err(WorkspaceError::BranchName(request.branch.clone()));
        }
        let home = self.home(request.task_id);
        private_dir(&home)?;
        let _held = lock::lock(&home.join(LOCK), WAIT).await?;
        // Somebody else may have made it meanwhile.
        if let Some(workspace) = self.reopen(request).await? {
            return Ok(workspace);
        }
        let before = Record::read(&home)?;
        let again = before.is_some();
        let source = Source::find(&request.origin, &request.environment).await?;
        let mirror = self.mirror(source, &request.environment, progress).await?;
        fault::reached(Point::Mirrored).await;
        let environment = self.granted(mirror.source(), &request.environment)?;
        let repository = match mirror.source() {
            Source::Local(located) => Some(located.common.clone()),
            Source::Url { .. } | Source::Sent(_) => None,
        };
        if let (Some(bundle), Some(commit)) = (&request.bundle, &request.commit) {
            mirror.import(bundle, commit, progress).await?;
        }
        let user = user_git(mirror.source(), &mirror.path, &request.environment);
        let base = async {
            let base = match &before {
                Some(record) => {
                    mirror.fetch_commit(&record.base_commit, progress).await?;
                    Base { commit: record.base_commit.clone(), branch: record.base_branch.clone() }
                }
                None => mirror.base(request, progress).await?,
            };
            // After what may have been fetched.
            Ok::<_, WorkspaceError>((base, mirror.tags().await?))
        };
        let free = async {
            match &repository {
                Some(repository) if !again => name_is_free(repository, request).await,
                _ => Ok(()),
            }
        };
        let ((base, tags), settings, ()) = tokio::try_join!(base, UserSettings::read(&user), free)?;
        let checkout = checkout_name(&request.repo_name);
        let workspace = Workspace {
            task_id: request.task_id,
            directory: home.join(&checkout),
            base_commit: base.commit,
            base_branch: base.branch,
            branch: request.branch.clone(),
            origin: mirror.source().origin(),
            home: home.clone(),
            mirror: mirror.path.clone(),
            repository,
            identity: settings.identity.clone(),
            environment,
        };
        let start = match &before {
            Some(_) => workspace.published_tip(&mirror, progress).await?,
            None => None,
        };
        let record = Record {
            version: 1,
            checkout,
            mirror: mirror.file_name(),
            repository: workspace.repository.clone(),
            base_commit: workspace.base_commit.clone(),
            base_branch: workspace.base_branch.clone(),
            branch: workspace.branch.clone(),
            origin: workspace.origin.clone(),
            identity: workspace.identity.clone(),
            published: start.clone().or_else(|| before.and_then(|record| record.published)),
        };
        // What lies there was never given to an agent: it would have a record.
        remove_tree(&workspace.directory)?;
        remove_tree(&home.join(COMMON))?;
        let commit = start.as_deref().unwrap_or(&workspace.base_commit);
        mirror.bring_files(commit, progress).await?;
        let source = mirror.source().clone();
        let mut taken = match again {
            false => self.take_ready(&workspace, &mirror, &settings, progress).await?,
            true => None,
        };
        let mut mirror = Some(mirror);
        loop {
            let initial = match &taken {
                Some(initial) => initial.clone(),
                None => workspace.create().await?,
            };
            workspace.configure(&initial, &settings.copied)?;
            workspace.write_refs(&tags)?;
            // What has to be on the disk goes there before the files: after them it would wait for them all.
            workspace.keep_settings()?;
            workspace.keep_known(&tags, false).await?;
            record.stage(&home)?;
            // Others may go on with the mirror.
            drop(mirror.take());
            match workspace.check_out(commit, progress).await {
                Err(error) if taken.is_some() => {
                    tracing::warn!(%error, "a workspace that was prepared ahead could not be used; another is made");
                    taken = None;
                    remove_tree(&workspace.directory)?;
                }
                done => break done?,
            }
        }
        let linked = submodules::update(&workspace, &source, self.network_limit, progress).await?;
        submodules::pull_lfs(&workspace, &source, self.network_limit, progress).await?;
        let copied = match &source {
            Source::Local(located) => include::copy(&workspace, located, progress).await?,
            Source::Url { .. } | Source::Sent(_) => false,
        };
        if linked {
            workspace.keep_settings()?;
        }
        if linked || copied {
            workspace.keep_known(&tags, true).await?;
        }
        fault::reached(Point::CheckedOut).await;
        if start.is_none() {
            // What an agent has not written, and runs without it.
            workspace.keep_teardown()?;
            write_file(&home.join(dependencies::PENDING), b"")?;
        }
        workspace.go_by_kept_settings()?;
        Record::publish(&home)?;
        self.used(&workspace);
        Ok(workspace)
    }

    async fn reopen(&self, request: &Prepare) -> Result<Option<Workspace>, WorkspaceError> {
        let workspace = self.open(request.task_id)?.filter(|workspace| workspace.directory.is_dir());
        let Some(workspace) = workspace else { return Ok(None) };
        let environment = match &request.origin {
            Origin::Url(_) => {
                let source = Source::find(&request.origin, &request.environment).await?;
                self.granted(&source, &request.environment)?
            }
            Origin::Local(_) | Origin::Sent(_) => request.environment.clone(),
        };
        Ok(Some(workspace.with_environment(environment)))
    }
}

impl Workspace {
    /// The task's branch where it was published, brought into the mirror.
    async fn published_tip(&self, mirror: &Mirror, progress: Progress<'_>) -> Result<Option<String>, WorkspaceError> {
        let git = match &self.repository {
            Some(repository) => Git::new(repository, &self.environment).repository(repository),
            None => mirror.git().clone(),
        };
        let tip = resolve(&git, &[&self.branch_ref()]).await?;
        if let Some(tip) = &tip {
            mirror.fetch_commit(tip, progress).await?;
        }
        Ok(tip)
    }

    /// Puts HEAD on the task's branch, which is not born yet, beside the mirror's tags and the branch that the work starts
    /// from: what `git clone --shared` makes, without the branches of other people and of other tasks. `tags` are lines of
    /// an object and a name.
    fn write_refs(&self, tags: &str) -> Result<(), WorkspaceError> {
        let mut refs = tags.to_owned();
        if !refs.is_empty() {
            refs.push('\n');
        }
        if is_branch_name(&self.base_branch) && self.base_branch != "cadence" && self.base_branch != self.branch {
            let _ = writeln!(refs, "{} refs/heads/{}", self.base_commit, self.base_branch);
            if matches!(self.origin, Origin::Url(_)) {
                let _ = writeln!(refs, "{} refs/remotes/origin/{}", self.base_commit, self.base_branch);
            }
        }
        for (name, text) in [("packed-refs", refs), ("HEAD", format!("ref: {}\n", self.branch_ref()))] {
            let path = self.git_dir().join(name);
            fs::write(&path, text).map_err(WorkspaceError::io("writing", &path))?;
        }
        Ok(())
    }

    /// The `.git` directory, with HEAD on the task's branch.
    pub(super) async fn init(&self) -> Result<(), WorkspaceError> {
        let initial = self.create().await?;
        self.configure(&initial, "")
    }

    /// An empty repository; gives its settings as git made them.
    pub(super) async fn create(&self) -> Result<String, WorkspaceError> {
        let format = if self.base_commit.len() == 64 { "sha256" } else { "sha1" };
        Git::new(&self.home, &self.environment)
            .call("init")
            .args(["--quiet", "--template=", &format!("--object-format={format}")])
            .arg(format!("--initial-branch={}", self.branch))
            .arg("--")
            .arg(&self.directory)
            .run()
            .await?;
        let config = self.git_dir().join("config");
        fs::read_to_string(&config).map_err(WorkspaceError::io("reading", &config))
    }

    /// Writes the repository's settings, those of [`Workspace::create`] first, and borrows the mirror's objects.
    pub(super) fn configure(&self, initial: &str, settings: &str) -> Result<(), WorkspaceError> {
        let git_dir = self.git_dir();
        let mut text = initial.to_owned();
        text.push_str(settings);
        let _ = write!(
            text,
            "[user]\n\tname = {}\n\temail = {}\n[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n",
            config_value(&self.identity.name),
            config_value(&self.identity.email)
        );
        if let Origin::Url(url) = &self.origin {
            let url = config_value(url);
            let _ = write!(text, "[remote \"origin\"]\n\turl = {url}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n");
            text.push_str(&partial::settings(&self.mirror));
        }
        text.push_str(submodules::lfs_settings(&self.git()));
        write_file(&git_dir.join("config"), text.as_bytes())?;
        self.borrow_objects()?;
        let shallow = self.mirror.join("shallow");
        if shallow.is_file() {
            fs::copy(&shallow, git_dir.join("shallow")).map_err(WorkspaceError::io("copying", &shallow))?;
        }
        Ok(())
    }

    /// From now on the agent can write the settings, filters that run programs among them; so cadence goes by a copy. See
    /// `GIT_COMMON_DIR` in git's manual.
    fn go_by_kept_settings(&self) -> Result<(), WorkspaceError> {
        let common = self.home.join(COMMON);
        remove_tree(&common)?;
        fs::rename(self.home.join(STAGED_COMMON), &common).map_err(WorkspaceError::io("making", &common))
    }

    /// Makes the copy for [`Workspace::go_by_kept_settings`].
    fn keep_settings(&self) -> Result<(), WorkspaceError> {
        let common = self.home.join(STAGED_COMMON);
        remove_tree(&common)?;
        private_dir(&common)?;
        for name in ["objects", "refs", "packed-refs", "logs", "info", "shallow", "modules", "worktrees", "lfs"] {
            let link = common.join(name);
            symlink(self.git_dir().join(name), &link).map_err(WorkspaceError::io("making", &link))?;
        }
        let config = self.git_dir().join("config");
        let text = fs::read(&config).map_err(WorkspaceError::io("reading", &config))?;
        write_file(&common.join("config"), &text)
    }

    /// Lets the repository find the mirror's objects, whatever became of that.
    pub(super) fn borrow_objects(&self) -> Result<(), WorkspaceError> {
        let info = self.git_dir().join("objects/info");
        fs::create_dir_all(&info).map_err(WorkspaceError::io("making", &info))?;
        let path = info.join("alternates");
        let line = self.mirror.join("objects").display().to_string();
        let mut text = fs::read_to_string(&path).unwrap_or_default();
        if text.lines().any(|known| known == line) {
            return Ok(());
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&line);
        text.push('\n');
        fs::write(&path, text).map_err(WorkspaceError::io("writing", &path))
    }

    async fn check_out(&self, commit: &str, progress: Progress<'_>) -> Result<(), WorkspaceError> {
        progress(&format!("Checking out {} on {}", &commit[..commit.len().min(12)], self.branch));
        // On a branch that is not born yet, this is `checkout -b`, and uses all cores.
        self.git()
            .env("GIT_LFS_SKIP_SMUDGE", "1")
            .setting("checkout.workers=0")
            .call("reset")
            .args(["--quiet", "--hard", commit, "--"])
            .run()
            .await?;
        Ok(())
    }
}

/// Whether a file can be written inside `root` at `relative` without leaving it over a link.
pub(super) fn stays_inside(root: &Path, relative: &Path) -> bool {
    let mut at = root.to_path_buf();
    let mut parts = relative.components().peekable();
    while let Some(part) = parts.next() {
        let std::path::Component::Normal(name) = part else { return false };
        at.push(name);
        if parts.peek().is_some() && fs::symlink_metadata(&at).is_ok_and(|meta| !meta.is_dir()) {
            return false;
        }
    }
    true
}

/// `refs/heads/cadence/x` cannot be beside `refs/heads/cadence`; better to know before an agent has worked.
async fn name_is_free(repository: &Path, request: &Prepare) -> Result<(), WorkspaceError> {
    let git = Git::new(repository, &request.environment).repository(repository);
    let taken = git.call("for-each-ref").args(["--format=%(refname)", "refs/heads/cadence"]).text().await?;
    if taken.lines().any(|name| name == "refs/heads/cadence") {
        return Err(WorkspaceError::NameTaken(request.branch.clone()));
    }
    Ok(())
}
