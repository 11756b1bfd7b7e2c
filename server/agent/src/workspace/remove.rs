//! Removing a workspace, never with work that is found nowhere else.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use uuid::Uuid;

use super::mirror::{Source, resolve};
use super::names::is_object_id;
use super::repair::ASIDE;
use super::snapshot::quoted;
use super::{Environment, Workspace, WorkspaceError, Workspaces, lock, remove_tree};
use crate::git::{Git, fields};

/// How long the agent's end is waited for.
const WAIT: Duration = Duration::from_secs(2);
/// How long a remote is asked whether it has the work by now.
const REMOTE_LIMIT: Duration = Duration::from_secs(30);

impl Workspaces {
    /// Removes the workspace of a task and its branch in the user's repository (in the mirror, for an URL). Nothing there is
    /// fine.
    ///
    /// Refused unless `force`: `WorkspaceError::Unmerged` where commits of the task are on no other branch and merging them
    /// would change something (so a squashed merge counts as merged), `WorkspaceError::Uncommitted` where files are in no
    /// commit, `WorkspaceError::OtherHistory` where other repositories in the workspace have commits of their own. Always refused: `WorkspaceError::Busy` while somebody works in it, `WorkspaceError::CheckedOut`.
    pub async fn remove(&self, task_id: Uuid, force: bool) -> Result<(), WorkspaceError> {
        self.remove_after(task_id, force, None).await
    }

    /// The same; the tear-down command of the workspace, which runs once it is sure that it will be removed, gets this
    /// environment, the task's. Without one it gets the few variables that programs cannot do without.
    pub async fn remove_after(
        &self,
        task_id: Uuid,
        force: bool,
        environment: Option<&Environment>,
    ) -> Result<(), WorkspaceError> {
        let home = self.home(task_id);
        if !home.is_dir() {
            return Ok(());
        }
        let _held = lock::lock(&home.join(super::LOCK), WAIT).await?;
        if let Some(workspace) = self.open(task_id)? {
            drop(lock::lock(&workspace.agent_lock(), WAIT).await?);
            workspace.release(self, force).await?;
            workspace.tear_down(environment).await;
        }
        let trash = self.data.join("workspaces").join(format!(".removed-{}", Uuid::new_v4().simple()));
        std::fs::rename(&home, &trash).map_err(WorkspaceError::io("moving", &home))?;
        let removed = tokio::task::spawn_blocking(move || remove_tree(&trash)).await;
        removed.unwrap_or_else(|error| {
            Err(WorkspaceError::io("removing", &home)(std::io::Error::other(error.to_string())))
        })
    }
}

impl Workspaces {
    /// Whether [`Self::remove`] would remove it without `force`: changes nothing, and gives the same error.
    pub async fn can_remove(&self, task_id: Uuid) -> Result<(), WorkspaceError> {
        match self.open(task_id)? {
            Some(workspace) => workspace.refuse_loss(self, false).await.map(drop),
            None => Ok(()),
        }
    }
}

impl Workspace {
    /// Removes the branch, after it was seen that nothing is lost.
    async fn release(&self, all: &Workspaces, force: bool) -> Result<(), WorkspaceError> {
        if let Some((git, tip)) = self.refuse_loss(all, force).await? {
            git.call("update-ref").args(["--no-deref", "-d", &self.branch_ref(), &tip]).run().await?;
        }
        Ok(())
    }

    /// Refuses where something would be lost, unless `force`; gives the branch that is there, by its commit.
    async fn refuse_loss(&self, all: &Workspaces, force: bool) -> Result<Option<(Git, String)>, WorkspaceError> {
        let target = match self.target() {
            Ok(git) => Some(git),
            // The user's repository is gone, and the branch in it.
            Err(WorkspaceError::NotARepository(_)) => None,
            Err(error) => return Err(error),
        };
        let branch = match &target {
            Some(git) => self.branch_there(git).await?,
            None => None,
        };
        if let Some(path) = branch.as_ref().and_then(|branch| branch.checked_out.clone()) {
            return Err(WorkspaceError::CheckedOut { branch: self.branch.clone(), path });
        }
        if !force {
            self.refuse_aside()?;
            self.refuse_uncommitted().await?;
            self.refuse_inner().await?;
            let mut commits = self.tips().await?;
            commits.extend(branch.as_ref().map(|branch| branch.tip.clone()));
            self.refuse_unmerged(all, target.as_ref(), commits).await?;
        }
        Ok(target.zip(branch.map(|branch| branch.tip)))
    }

    /// A repository that the agent broke may still have anything in it.
    fn refuse_aside(&self) -> Result<(), WorkspaceError> {
        let entries = std::fs::read_dir(&self.home).map_err(WorkspaceError::io("reading", &self.home))?;
        let aside = |name: &std::ffi::OsString| name.to_str().is_some_and(|name| name.starts_with(ASIDE));
        let places: Vec<PathBuf> =
            entries.flatten().filter(|entry| aside(&entry.file_name())).map(|entry| entry.path()).collect();
        self.refuse_kept(places)
    }

    async fn refuse_inner(&self) -> Result<(), WorkspaceError> {
        if !self.directory.is_dir() {
            return Ok(());
        }
        let places = self.inner_with_commits().await?;
        self.refuse_kept(places.into_iter().map(|place| self.directory.join(place)).collect())
    }

    fn refuse_kept(&self, places: Vec<PathBuf>) -> Result<(), WorkspaceError> {
        if places.is_empty() {
            return Ok(());
        }
        Err(WorkspaceError::OtherHistory { branch: self.branch.clone(), places })
    }

    async fn refuse_uncommitted(&self) -> Result<(), WorkspaceError> {
        if !self.directory.is_dir() {
            return Ok(());
        }
        let status = self
            .git()
            .call("status")
            .args(["--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules=dirty"])
            .answer()
            .await?;
        // Where git cannot even look, there may be anything.
        let mut files = if status.code == Some(0) { fields(&status.stdout).count() as u64 } else { 1 };
        if files == 0 {
            files = self.dirty_submodules().await?.len() as u64;
        }
        if files == 0 && resolve(&self.git(), &["refs/stash"]).await?.is_some() {
            files = 1;
        }
        if files > 0 {
            return Err(WorkspaceError::Uncommitted { branch: self.branch.clone(), files });
        }
        Ok(())
    }

    /// All commits that something in the workspace leads to.
    async fn tips(&self) -> Result<BTreeSet<String>, WorkspaceError> {
        if !self.directory.is_dir() {
            return Ok(BTreeSet::new());
        }
        let git = self.git();
        let places = ["--format=%(objectname)", "refs/heads", "refs/cadence"];
        let text = git.call("for-each-ref").args(places).text().await?;
        let mut tips: BTreeSet<String> = text.lines().map(str::to_owned).collect();
        if let Some(known) = self.known()? {
            let tags = git.call("for-each-ref").args(["--format=%(objectname)", "refs/tags"]).text().await?;
            tips.extend(tags.lines().filter(|tag| !known.contains(*tag)).map(str::to_owned));
        }
        tips.extend(resolve(&git, &["HEAD"]).await?);
        // Working trees that the agent added to the workspace, where they are on no branch.
        for entry in std::fs::read_dir(self.git_dir().join("worktrees")).into_iter().flatten().flatten() {
            let head = std::fs::read_to_string(entry.path().join("HEAD")).unwrap_or_default();
            let head = head.trim_end();
            if is_object_id(head) {
                tips.extend(resolve(&git, &[head]).await?);
            }
        }
        tips.remove(&self.base_commit);
        Ok(tips)
    }

    async fn refuse_unmerged(
        &self,
        all: &Workspaces,
        target: Option<&Git>,
        commits: BTreeSet<String>,
    ) -> Result<(), WorkspaceError> {
        if commits.is_empty() {
            return Ok(());
        }
        let own = Git::new(&self.mirror, &self.environment).repository(&self.mirror);
        let git = self.with_objects(target.unwrap_or(&own));
        let mut others = BTreeSet::from([self.base_commit.clone()]);
        if let Some(target) = target {
            others.extend(self.other_tips(target).await?);
        }
        // What the agent pushed.
        others.extend(self.pushed().await?);
        let mut lost = self.lost(&git, &commits, &others).await?;
        if lost > 0 && self.repository.is_none() && !self.base_branch.is_empty() {
            // It may have been merged there meanwhile.
            if let Some(tip) = self.newest_base(all).await {
                others.insert(tip);
                lost = self.lost(&git, &commits, &others).await?;
            }
        }
        if lost == 0 {
            return Ok(());
        }
        Err(WorkspaceError::Unmerged { branch: self.branch.clone(), commits: lost })
    }

    /// How many of the commits none of the others has, neither itself nor its content.
    async fn lost(
        &self,
        git: &Git,
        commits: &BTreeSet<String>,
        others: &BTreeSet<String>,
    ) -> Result<u64, WorkspaceError> {
        let mut alone = Vec::new();
        for commit in commits {
            if count(git, std::iter::once(commit), others).await? > 0 && !self.is_contained(git, commit, others).await?
            {
                alone.push(commit);
            }
        }
        if alone.is_empty() { Ok(0) } else { count(git, alone.into_iter(), others).await }
    }

    /// Whether merging the commit into HEAD or into the branch that the task started from would change nothing there.
    async fn is_contained(&self, git: &Git, commit: &str, others: &BTreeSet<String>) -> Result<bool, WorkspaceError> {
        let base = format!("refs/heads/{}", self.base_branch);
        let mut places: BTreeSet<String> = BTreeSet::new();
        if self.repository.is_some() {
            for name in ["HEAD", base.as_str()] {
                places.extend(resolve(git, &[name]).await?);
            }
        } else {
            places.extend(others.iter().filter(|tip| **tip != self.base_commit).take(20).cloned());
        }
        for place in places {
            let merged = git.call("merge-tree").args(["--write-tree", &place, commit]).answer().await?;
            if merged.code != Some(0) {
                continue;
            }
            let tree = git.call("rev-parse").args(["--verify", &format!("{place}^{{tree}}")]).text().await?;
            if String::from_utf8_lossy(&merged.stdout).lines().next() == Some(tree.as_str()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Commits that the other branches, tags and remotes there lead to.
    async fn other_tips(&self, git: &Git) -> Result<Vec<String>, WorkspaceError> {
        let text =
            git.call("for-each-ref").args(["--format=%(refname) %(objecttype) %(objectname) %(*objectname)"]).text();
        let own = self.branch_ref();
        let mut tips: Vec<String> = text
            .await?
            .lines()
            .filter_map(|line| {
                let mut parts = line.split(' ');
                let (name, kind, object, peeled) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
                // The mirror's own notes are no copies that anybody would find.
                let counts = name != own && !name.starts_with("refs/cadence/");
                let commit = if kind == "commit" { Some(object) } else { peeled.filter(|p| !p.is_empty()) };
                commit.filter(|_| counts).map(str::to_owned)
            })
            .collect();
        // HEAD, where it is on no branch.
        if self.repository.is_some()
            && git.call("symbolic-ref").args(["--quiet", "HEAD"]).answer().await?.code != Some(0)
        {
            tips.extend(resolve(git, &["HEAD"]).await?);
        }
        Ok(tips)
    }

    async fn pushed(&self) -> Result<Vec<String>, WorkspaceError> {
        if self.repository.is_some() || !self.directory.is_dir() {
            return Ok(Vec::new());
        }
        let text = self.git().call("for-each-ref").args(["--format=%(objectname)", "refs/remotes"]).text().await?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    async fn newest_base(&self, all: &Workspaces) -> Option<String> {
        let source = Source::find(&self.origin, &self.environment).await.ok()?;
        let limited = all.clone().with_network_limit(REMOTE_LIMIT);
        let mirror = limited.mirror(source, &self.environment, &|_| ()).await.ok()?;
        mirror.fetch_branch(&self.base_branch).await.ok()?
    }

    /// Git there, which also sees the workspace's objects and writes none of its own.
    fn with_objects(&self, git: &Git) -> Git {
        let mut others = vec![quoted(&self.mirror.join("objects"))];
        others.extend(self.repository.iter().map(|repository| quoted(&repository.join("objects"))));
        let own = self.git_dir().join("objects");
        let git = git.clone();
        let git = if own.is_dir() { git.env("GIT_OBJECT_DIRECTORY", own) } else { git };
        git.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", others.join(":"))
    }
}

/// How many commits some lead to and the others do not.
pub(super) async fn count(
    git: &Git,
    commits: impl Iterator<Item = &String>,
    others: &BTreeSet<String>,
) -> Result<u64, WorkspaceError> {
    let mut list = String::new();
    for commit in commits {
        list.push_str(commit);
        list.push('\n');
    }
    for other in others {
        list.push('^');
        list.push_str(other);
        list.push('\n');
    }
    let text = git.call("rev-list").args(["--count", "--ignore-missing", "--stdin"]).stdin(list).text().await?;
    text.parse().map_err(|_| WorkspaceError::Damaged { path: git.directory().to_path_buf(), reason: text })
}
