//! Everything but some places. Landlock only allows, so that what is not to be read has to be gone around.

use std::path::{Path, PathBuf};

/// What is below `root`, itself included, without the `hidden` places: `root` where it holds none of them, and otherwise
/// what is beside the way to them. Symbolic links are left out: what they lead to counts, wherever that is.
///
/// What comes to be later beside the way, directly in one of its directories, is not among it.
pub fn around(root: &Path, hidden: &[PathBuf]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    collect(root, hidden, &mut found);
    found
}

fn collect(place: &Path, hidden: &[PathBuf], found: &mut Vec<PathBuf>) {
    if hidden.iter().any(|hidden| place.starts_with(hidden)) {
        return;
    }
    if !hidden.iter().any(|hidden| hidden.starts_with(place)) {
        found.push(place.to_owned());
        return;
    }
    // One that cannot be listed has nothing that could be given.
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            collect(&entry.path(), hidden, found);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_hidden_is_gone_around() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().canonicalize().unwrap();
        for directory in ["etc", "home/ann/.local/share/cadence/workspaces", "home/ann/src", "home/bob"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::write(root.join("home/ann/.profile"), "").unwrap();
        // Through it everything would be reached again.
        symlink("/", root.join("home/ann/all")).unwrap();
        let hidden = [root.join("home/ann/.local/share/cadence"), root.join("home/ann/none")];
        let mut found = around(&root, &hidden);
        found.sort();
        let names: Vec<_> = found.iter().map(|path| path.strip_prefix(&root).unwrap().display().to_string()).collect();
        assert_eq!(names, ["etc", "home/ann/.profile", "home/ann/src", "home/bob"]);
        assert_eq!(around(&root.join("etc"), &hidden), [root.join("etc")]);
        assert!(around(&hidden[0].join("workspaces"), &hidden).is_empty());
    }
}
