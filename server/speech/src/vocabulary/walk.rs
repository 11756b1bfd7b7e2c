//! The files of a tree that a person works on: what git ignores, what is hidden and what others wrote is left out.

use std::fs::Metadata;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use ignore::{WalkBuilder, WalkState};

use super::index::Stamp;
use super::tokens::Style;

/// Most files that are looked at. A tree with more is taken in as far as that, in no particular order.
pub const MOST_FILES: usize = 100_000;
/// Largest file that is read, in bytes. What is larger is data, or generated.
pub const LARGEST: u64 = 1 << 20;
/// Deepest directory.
const DEEPEST: usize = 128;
/// Directories of what others wrote, also where nothing says that they are ignored.
const FOREIGN: [&str; 4] = ["node_modules", "bower_components", "__pycache__", "site-packages"];

/// A file of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Relative to the root.
    pub path: PathBuf,
    pub stamp: Stamp,
}

/// All files below `root`, in order of their paths. Links are not followed; what cannot be read is left out.
pub fn files(root: &Path, threads: usize) -> Vec<Found> {
    let count = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    let walk = WalkBuilder::new(root)
        .require_git(false)
        .max_depth(Some(DEEPEST))
        .threads(threads)
        .filter_entry(|entry| !entry.file_name().to_str().is_some_and(|name| FOREIGN.contains(&name)))
        .build_parallel();
    walk.run(|| {
        let (sender, count) = (sender.clone(), &count);
        Box::new(move |entry| {
            let Ok(entry) = entry else { return WalkState::Continue };
            if !entry.file_type().is_some_and(|kind| kind.is_file()) {
                return WalkState::Continue;
            }
            let (Ok(metadata), Ok(path)) = (entry.metadata(), entry.path().strip_prefix(root)) else {
                return WalkState::Continue;
            };
            let _ = sender.send(Found { path: path.to_owned(), stamp: stamp(&metadata) });
            if count.fetch_add(1, Ordering::Relaxed) >= MOST_FILES { WalkState::Quit } else { WalkState::Continue }
        })
    });
    drop(sender);
    let mut files: Vec<Found> = receiver.into_iter().collect();
    files.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    files.truncate(MOST_FILES);
    files
}

#[cfg(unix)]
fn stamp(metadata: &Metadata) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Stamp {
        size: metadata.len(),
        modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
    }
}

#[cfg(not(unix))]
fn stamp(metadata: &Metadata) -> Stamp {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let modified = modified.and_then(|time| i64::try_from(time.as_nanos()).ok()).unwrap_or_default();
    Stamp { size: metadata.len(), modified, changed: modified, inode: 0 }
}

/// Reads a file into `buffer`, and gives its stamp as it was before. None where it is gone, too large, or no text.
pub fn read(path: &Path, buffer: &mut Vec<u8>) -> Option<Stamp> {
    buffer.clear();
    let file = std::fs::File::open(path).ok()?;
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file() && metadata.len() <= LARGEST)?;
    file.take(LARGEST + 1).read_to_end(buffer).ok()?;
    let beginning = buffer.get(..buffer.len().min(8 << 10)).unwrap_or_default();
    (buffer.len() as u64 <= LARGEST && !beginning.contains(&0)).then(|| stamp(&metadata))
}

/// How the file is to be read; none where it is not text, or is written by programs.
pub fn style(path: &Path) -> Option<Style> {
    let name = path.file_name()?.to_str()?;
    if name.ends_with(".min.js") || name.ends_with(".min.css") || name.ends_with(".bundle.js") {
        return None;
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match name {
        "package-lock.json" | "pnpm-lock.yaml" | "go.sum" | "npm-shrinkwrap.json" => return None,
        "Makefile" | "Dockerfile" | "Justfile" | "Rakefile" | "Vagrantfile" => return Some(Style::Code),
        _ => {}
    }
    Some(match extension {
        "lock" | "map" | "svg" | "png" | "jpg" | "jpeg" | "gif" | "ico" | "webp" | "bmp" | "pdf" | "zip" | "gz"
        | "xz" | "bz2" | "zst" | "tar" | "jar" | "class" | "o" | "a" | "so" | "dylib" | "dll" | "lib" | "exe"
        | "wasm" | "pyc" | "woff" | "woff2" | "ttf" | "otf" | "eot" | "mp3" | "mp4" | "wav" | "ogg" | "webm"
        | "mov" | "bin" | "dat" | "db" | "sqlite" | "csv" | "tsv" | "log" | "patch" | "diff" | "snap" => return None,
        "rs" | "ts" | "mts" | "cts" | "tsx" | "js" | "mjs" | "cjs" | "jsx" | "py" | "pyi" | "go" | "java" | "c"
        | "h" | "cc" | "cpp" | "cxx" | "hh" | "hpp" | "hxx" | "m" | "mm" | "cs" | "rb" | "php" | "swift" | "kt"
        | "kts" | "scala" | "sh" | "bash" | "zsh" | "fish" | "ps1" | "sql" | "vue" | "svelte" | "astro" | "lua"
        | "ex" | "exs" | "erl" | "hrl" | "hs" | "ml" | "mli" | "fs" | "clj" | "cljs" | "dart" | "zig" | "nim"
        | "jl" | "r" | "R" | "pl" | "pm" | "proto" | "graphql" | "gql" | "tf" | "nix" | "groovy" | "gradle" | "elm"
        | "sol" | "v" | "sv" | "vhd" | "cu" | "glsl" | "wgsl" | "prisma" => Style::Code,
        _ => Style::Prose,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn names(root: &Path) -> Vec<String> {
        files(root, 2).iter().map(|file| file.path.to_string_lossy().into_owned()).collect()
    }

    fn write(root: &Path, path: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "text").unwrap();
    }

    #[test]
    fn what_is_ignored_hidden_or_foreign_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for path in [
            "src/a.rs",
            "target/b.rs",
            "app/out/c.js",
            "app/kept/d.js",
            ".env",
            ".git/config",
            "node_modules/e/f.js",
            "g.log",
        ] {
            write(root, path);
        }
        std::fs::write(root.join(".gitignore"), "/target\n*.log\n").unwrap();
        std::fs::write(root.join("app/.gitignore"), "out/\n").unwrap();
        assert_eq!(names(root), ["app/kept/d.js", "src/a.rs"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let (directory, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = directory.path();
        write(root, "src/a.rs");
        write(outside.path(), "secret.rs");
        std::os::unix::fs::symlink(root, root.join("src/loop")).unwrap();
        std::os::unix::fs::symlink(outside.path(), root.join("outside")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret.rs"), root.join("secret.rs")).unwrap();
        assert_eq!(names(root), ["src/a.rs"]);
    }

    #[test]
    fn what_is_too_large_binary_or_gone_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file.rs");
        let mut buffer = Vec::new();
        assert_eq!(read(&path, &mut buffer), None);
        assert_eq!(read(directory.path(), &mut buffer), None);
        std::fs::write(&path, "let x;").unwrap();
        assert_eq!(read(&path, &mut buffer).unwrap().size, 6);
        std::fs::write(&path, b"let\0x").unwrap();
        assert_eq!(read(&path, &mut buffer), None);
        std::fs::write(&path, vec![b'x'; LARGEST as usize + 1]).unwrap();
        assert_eq!(read(&path, &mut buffer), None);
    }

    #[test]
    fn programs_write_some_files() {
        for path in ["Cargo.lock", "web/package-lock.json", "app.min.js", "logo.svg", "a/b.png"] {
            assert_eq!(style(Path::new(path)), None, "{path}");
        }
        assert_eq!(style(Path::new("src/a.rs")), Some(Style::Code));
        assert_eq!(style(Path::new("README")), Some(Style::Prose));
    }
}
