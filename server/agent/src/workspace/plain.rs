//! A checkout as most are: one working tree with its repository in `.git`, refs in files. What is asked of it for each task is
//! read here without starting git; of any other, git is asked.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::inspect::{Head, Located};
use super::names::{is_branch_name, is_object_id};

/// Settings under which a repository may be kept in another way, or be somewhere else. None of them is in a plain one.
const UNUSUAL: &[&str] = &["worktree", "extensions", "include", "bare=true", "repositoryformatversion=1"];
/// Most that is read of a file of refs, in bytes.
const MOST: u64 = 64 << 20;

/// The checkout whose top `path` is; none where it is not plain, or belongs to another user, whom git would not trust.
pub(super) fn read(path: &Path) -> Option<Located> {
    let root = path.canonicalize().ok()?;
    let git_dir = root.join(".git");
    for directory in [&root, &git_dir] {
        let meta = fs::symlink_metadata(directory).ok()?;
        if !meta.is_dir() || meta.uid() != nix::unistd::geteuid().as_raw() {
            return None;
        }
    }
    if !git_dir.join("objects").is_dir() || !git_dir.join("refs").is_dir() || git_dir.join("commondir").exists() {
        return None;
    }
    let settings = text(&git_dir, "config")?.to_ascii_lowercase().replace([' ', '\t'], "");
    if UNUSUAL.iter().any(|word| settings.contains(word)) {
        return None;
    }
    let head = text(&git_dir, "HEAD")?;
    let head = match head.strip_prefix("ref: refs/heads/") {
        Some(branch) => {
            let branch = branch.trim_end();
            if !is_branch_name(branch) {
                return None;
            }
            // Git packs a ref before it removes its file.
            let name = format!("refs/heads/{branch}");
            let commit = match text(&git_dir, &name) {
                Some(commit) => commit.trim_end().to_owned(),
                None => packed(&text(&git_dir, "packed-refs")?, &name)?.to_owned(),
            };
            Head { commit, branch: Some(branch.to_owned()) }
        }
        None => Head { commit: head.trim_end().to_owned(), branch: None },
    };
    let head = Some(head).filter(|head| is_object_id(&head.commit))?;
    Some(Located { common: git_dir.clone(), git_dir, root: Some(root), head: Some(head) })
}

/// A file of the repository, and no link.
fn text(git_dir: &Path, name: &str) -> Option<String> {
    let path = git_dir.join(name);
    let meta = fs::symlink_metadata(&path).ok()?;
    if !meta.is_file() || meta.len() > MOST {
        return None;
    }
    fs::read_to_string(path).ok()
}

/// The object of a ref in `packed-refs`.
fn packed<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(_, other)| *other == name)).map(|(object, _)| object)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::process::Command;

    use super::*;

    struct Repo(tempfile::TempDir);

    impl Repo {
        fn new() -> Self {
            let repo = Self(tempfile::tempdir().unwrap());
            repo.git(&["init", "-q", "-b", "main"]);
            repo
        }

        fn git(&self, arguments: &[&str]) -> String {
            let output = Command::new("git")
                .args(["-c", "user.name=a", "-c", "user.email=a@b"])
                .args(arguments)
                .current_dir(self.0.path())
                .env_clear()
                .env("PATH", std::env::var_os("PATH").unwrap())
                .env("HOME", self.0.path())
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
        }

        fn head(&self) -> Option<(String, Option<String>)> {
            read(self.0.path()).and_then(|located| located.head).map(|head| (head.commit, head.branch))
        }
    }

    #[test]
    fn it_says_what_git_says() {
        let repo = Repo::new();
        assert_eq!(repo.head(), None, "there is no commit");
        repo.git(&["commit", "-q", "--allow-empty", "-m", "one"]);
        let main = || Some((repo.git(&["rev-parse", "HEAD"]), Some("main".to_owned())));
        assert_eq!(repo.head(), main());
        repo.git(&["pack-refs", "--all"]);
        assert_eq!(repo.head(), main(), "packed");
        repo.git(&["commit", "-q", "--allow-empty", "-m", "two"]);
        assert_eq!(repo.head(), main(), "the file is newer than the pack");
        repo.git(&["checkout", "-q", "-b", "a/b"]);
        assert_eq!(repo.head().unwrap().1.as_deref(), Some("a/b"));
        repo.git(&["checkout", "-q", "--detach"]);
        assert_eq!(repo.head(), Some((repo.git(&["rev-parse", "HEAD"]), None)));
    }

    #[test]
    fn what_is_not_plain_is_left_to_git() {
        let repo = Repo::new();
        repo.git(&["commit", "-q", "--allow-empty", "-m", "one"]);
        let inside = repo.0.path().join("inside");
        fs::create_dir(&inside).unwrap();
        assert!(read(&inside).is_none(), "not the top");
        repo.git(&["worktree", "add", "-q", "linked"]);
        assert!(read(&repo.0.path().join("linked")).is_none(), "a linked checkout");
        assert!(read(&repo.0.path().join(".git")).is_none(), "the repository itself");
        assert!(read(repo.0.path()).is_some());
        repo.git(&["symbolic-ref", "refs/heads/other", "refs/heads/main"]);
        repo.git(&["symbolic-ref", "HEAD", "refs/heads/other"]);
        assert!(read(repo.0.path()).is_none(), "a branch that is another's name");
        repo.git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
        for setting in ["core.worktree=/elsewhere", "extensions.worktreeConfig=true", "include.path=/x"] {
            let (key, value) = setting.split_once('=').unwrap();
            repo.git(&["config", key, value]);
            assert!(read(repo.0.path()).is_none(), "{setting}");
            let config = repo.0.path().join(".git/config");
            fs::write(config, "[core]\n\trepositoryformatversion = 0\n\tbare = false\n").unwrap();
            assert!(read(repo.0.path()).is_some());
        }
    }
}
