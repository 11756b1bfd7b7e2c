//! `node_modules` as npm made it once, kept for the next workspace with the same lock file.
//!
//! What is kept is a copy, and each workspace gets a copy of it: nothing is linked, so that an agent that writes into its own
//! changes nobody else's. Where the file system can, a copy shares its blocks until one side writes (reflink): `std::fs::copy`
//! sees to that (copy_file_range(2), fclonefileat(2)).

use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::super::settings::hex;

/// What is kept, in its directory.
const TREE: &str = "tree";
/// Touched by whoever takes it.
const USED: &str = "used";
/// Being made, or on its way out; something unique follows.
const UNFINISHED: &str = ".unfinished-";
/// So many are kept, those used last.
const KEPT: usize = 10;
/// Scripts of the package itself that npm runs when it installs: what they do is not all in `node_modules`.
const SCRIPTS: &[&str] =
    &["preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare"];

/// Whether what npm makes depends on nothing but what [`key`] is made of: no scripts of the package itself, no packages of the
/// repository (workspaces), no files or links beside the registry's packages.
pub fn is_plain(package: &str, lock: &str) -> bool {
    let Ok(package) = serde_json::from_str::<serde_json::Value>(package) else { return false };
    let Ok(lock) = serde_json::from_str::<serde_json::Value>(lock) else { return false };
    let scripts = package.get("scripts").and_then(|scripts| scripts.as_object());
    if scripts.is_some_and(|scripts| SCRIPTS.iter().any(|name| scripts.contains_key(*name)))
        || package.get("workspaces").is_some()
    {
        return false;
    }
    // From version 2 on; what an older one means, it does not say for each package.
    let Some(packages) = lock.get("packages").and_then(|packages| packages.as_object()) else { return false };
    packages.iter().filter(|(place, _)| !place.is_empty()).all(|(place, package)| {
        // Its hash says what it is; a link says nothing of what is there.
        place.starts_with("node_modules/") && package.get("link").is_none() && package.get("integrity").is_some()
    })
}

/// What decides about the content of `node_modules`: files, versions and variables, each with its name.
pub fn key(parts: &BTreeMap<String, Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    for text in [std::env::consts::OS, std::env::consts::ARCH] {
        hash.update(text);
        hash.update([0]);
    }
    for (name, content) in parts {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((content.len() as u64).to_le_bytes());
        hash.update(content);
    }
    hex(&hash.finalize()[..16])
}

/// Variables that npm and the scripts of packages go by.
pub fn is_npms(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("npm_config_") || name.starts_with("node_") || matches!(name.as_str(), "cc" | "cxx" | "python")
}

/// Puts the copy of what is kept under `key` at `to`; says whether there was one. Blocks.
pub fn take(home: &Path, key: &str, to: &Path, stop: &CancellationToken) -> std::io::Result<bool> {
    let kept = home.join(key);
    // One that is removed meanwhile gives an error below, and is made again.
    if !kept.join(TREE).is_dir() || fs::symlink_metadata(to).is_ok() {
        return Ok(false);
    }
    fs::File::options().append(true).create(true).open(kept.join(USED))?.set_modified(SystemTime::now())?;
    let copied = copy_tree(&kept.join(TREE), to, stop);
    if copied.is_err() && to.is_dir() {
        fs::remove_dir_all(to)?;
    }
    copied.map(|()| true)
}

/// Keeps a copy of `from` under `key`, and lets go of what was not used for long. Blocks.
pub fn keep(home: &Path, key: &str, from: &Path, stop: &CancellationToken) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(home)?;
    let kept = home.join(key);
    if kept.exists() {
        return Ok(());
    }
    let new = home.join(format!("{UNFINISHED}{}", Uuid::new_v4().simple()));
    fs::DirBuilder::new().mode(0o700).create(&new)?;
    let made = copy_tree(from, &new.join(TREE), stop)
        .and_then(|()| fs::write(new.join(USED), ""))
        .and_then(|()| fs::rename(&new, &kept));
    if made.is_err() {
        fs::remove_dir_all(&new)?;
        // Somebody else was faster.
        if !kept.exists() {
            return made;
        }
    }
    tidy(home)
}

fn tidy(home: &Path) -> std::io::Result<()> {
    let day = std::time::Duration::from_secs(24 * 3600);
    let mut all = Vec::new();
    for entry in fs::read_dir(home)? {
        let path = entry?.path();
        let unfinished = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(UNFINISHED));
        let place = if unfinished { path.clone() } else { path.join(USED) };
        let used = fs::metadata(&place).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        match unfinished {
            // Perhaps at work just now.
            true if used.elapsed().unwrap_or_default() < day => {}
            true => fs::remove_dir_all(&path)?,
            false => all.push((used, path)),
        }
    }
    all.sort();
    let surplus = all.len().saturating_sub(KEPT);
    for (_, path) in all.into_iter().take(surplus) {
        let away = home.join(format!("{UNFINISHED}{}", Uuid::new_v4().simple()));
        fs::rename(&path, &away)?;
        fs::remove_dir_all(&away)?;
    }
    Ok(())
}

/// Copies files, directories and links with their modes and times. An error where a link leads out of the tree, or where there
/// is something else.
fn copy_tree(from: &Path, to: &Path, stop: &CancellationToken) -> std::io::Result<()> {
    let mut open = vec![PathBuf::new()];
    let mut made = Vec::new();
    while let Some(relative) = open.pop() {
        let source = from.join(&relative);
        let meta = fs::symlink_metadata(&source)?;
        if !meta.is_dir() {
            return Err(Error::new(ErrorKind::NotADirectory, format!("{} is no directory", source.display())));
        }
        fs::DirBuilder::new().mode(0o700).create(to.join(&relative))?;
        for entry in fs::read_dir(&source)? {
            if stop.is_cancelled() {
                return Err(ErrorKind::Interrupted.into());
            }
            let entry = entry?;
            let path = relative.join(entry.file_name());
            let (kind, target) = (entry.file_type()?, to.join(&path));
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_symlink() {
                let link = fs::read_link(entry.path())?;
                if !stays_inside(&relative, &link) {
                    let text = format!("{} leads out of {}", entry.path().display(), from.display());
                    return Err(Error::new(ErrorKind::InvalidData, text));
                }
                symlink(link, target)?;
            } else if kind.is_file() {
                copy_file(&entry.path(), &target)?;
            } else {
                let text = format!("{} is no plain file", entry.path().display());
                return Err(Error::new(ErrorKind::InvalidData, text));
            }
        }
        made.push((relative, meta));
    }
    // Last, for each entry changes the time of its directory: npm trusts its own list only where it is the newest.
    for (relative, meta) in made.into_iter().rev() {
        let path = to.join(relative);
        fs::File::open(&path)?.set_modified(meta.modified()?)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(meta.permissions().mode() | 0o700))?;
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::copy(from, to)?;
    let meta = fs::metadata(from)?;
    let mode = meta.permissions().mode();
    // One's own files, so that they can be opened for their time, and removed.
    fs::set_permissions(to, fs::Permissions::from_mode(mode | 0o600))?;
    fs::File::options().append(true).open(to)?.set_modified(meta.modified()?)?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
}

/// Whether a link in the directory `relative` of a tree leads to something in that tree.
fn stays_inside(relative: &Path, link: &Path) -> bool {
    let mut depth = relative.components().count();
    for part in link.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use super::*;

    struct Place {
        temp: tempfile::TempDir,
        stop: CancellationToken,
    }

    impl Place {
        fn new() -> Self {
            let place = Self { temp: tempfile::tempdir().unwrap(), stop: CancellationToken::new() };
            place.write("from/dep/index.js", "1");
            place.write("from/dep/deep/x", "x");
            fs::create_dir(place.path("from/.bin")).unwrap();
            symlink("../dep/index.js", place.path("from/.bin/dep")).unwrap();
            fs::set_permissions(place.path("from/dep/index.js"), fs::Permissions::from_mode(0o755)).unwrap();
            place
        }

        fn path(&self, name: &str) -> PathBuf {
            self.temp.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
            fs::write(self.path(name), text).unwrap();
        }

        fn keep(&self, key: &str) -> std::io::Result<()> {
            keep(&self.path("kept"), key, &self.path("from"), &self.stop)
        }

        fn take(&self, key: &str, to: &str) -> bool {
            take(&self.path("kept"), key, &self.path(to), &self.stop).unwrap()
        }
    }

    #[test]
    fn what_an_agent_writes_into_its_copy_is_its_own() {
        let p = Place::new();
        let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        fs::File::options().append(true).open(p.path("from/dep/index.js")).unwrap().set_modified(old).unwrap();
        assert!(!p.take("k", "one"), "nothing is kept yet");
        p.keep("k").unwrap();
        assert!(p.take("k", "one") && p.take("k", "two"));
        let meta = fs::metadata(p.path("one/dep/index.js")).unwrap();
        assert_eq!((meta.nlink(), meta.mode() & 0o777, meta.modified().unwrap()), (1, 0o755, old));
        assert_eq!(fs::read_to_string(p.path("one/.bin/dep")).unwrap(), "1");
        // In place, as a hard link would show it to all.
        p.write("one/dep/index.js", "broken");
        p.write("from/dep/index.js", "broken");
        assert_eq!(fs::read_to_string(p.path("two/dep/index.js")).unwrap(), "1");
        assert!(p.take("k", "three"));
        assert_eq!(fs::read_to_string(p.path("three/dep/index.js")).unwrap(), "1");
        assert!(!p.take("k", "three"), "what is there is not touched");
    }

    #[test]
    fn a_link_that_leads_out_keeps_it_from_being_kept() {
        for target in ["/etc/passwd", "../../package.json", "../x/../../y"] {
            let p = Place::new();
            symlink(target, p.path("from/.bin/out")).unwrap();
            p.keep("k").unwrap_err();
            assert!(!p.take("k", "one"), "{target}");
            assert_eq!(fs::read_dir(p.path("kept")).unwrap().count(), 0, "nothing is left of it");
        }
    }

    #[test]
    fn those_used_last_are_kept() {
        let p = Place::new();
        for number in 0..KEPT {
            p.keep(&format!("k{number}")).unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + number as u64);
            let used = p.path(&format!("kept/k{number}/{USED}"));
            fs::File::options().append(true).open(used).unwrap().set_modified(at).unwrap();
        }
        assert!(p.take("k0", "one"));
        p.keep("new").unwrap();
        assert!(p.path("kept/k0").exists() && p.path("kept/new").exists() && !p.path("kept/k1").exists());
        assert_eq!(fs::read_dir(p.path("kept")).unwrap().count(), KEPT);
    }

    #[test]
    fn only_what_the_lock_file_tells_all_of_is_kept() {
        let lock = r#"{"packages": {"": {"name": "x"}, "node_modules/a": {"integrity": "sha512-x"}}}"#;
        assert!(is_plain("{}", lock));
        assert!(is_plain(r#"{"scripts": {"test": "x"}}"#, lock));
        for package in [r#"{"scripts": {"postinstall": "x"}}"#, r#"{"workspaces": ["a"]}"#, "", "["] {
            assert!(!is_plain(package, lock), "{package}");
        }
        for lock in [
            r#"{"packages": {"node_modules/a": {"link": true, "integrity": "x"}}}"#,
            r#"{"packages": {"lib": {"integrity": "x"}}}"#,
            r#"{"packages": {"node_modules/a": {"resolved": "git+ssh://x"}}}"#,
            r#"{"dependencies": {}}"#,
            "",
        ] {
            assert!(!is_plain("{}", lock), "{lock}");
        }
    }

    #[test]
    fn the_key_tells_parts_apart() {
        let of = |parts: &[(&str, &str)]| {
            key(&parts.iter().map(|(n, c)| ((*n).to_owned(), c.as_bytes().to_vec())).collect())
        };
        assert_eq!(of(&[("a", "bc")]), of(&[("a", "bc")]));
        assert_ne!(of(&[("a", "bc")]), of(&[("ab", "c")]));
        assert_ne!(of(&[("a", "b"), ("c", "d")]), of(&[("a", "bcd")]));
        assert!(
            is_npms("npm_config_registry") && is_npms("NPM_CONFIG_CACHE") && is_npms("NODE_ENV") && !is_npms("HOME")
        );
    }
}
