//! What the settings of git say where the user works, as far as a workspace goes by them.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::mirror::Source;
use super::{Environment, Identity, WorkspaceError, submodules};
use crate::git::{Git, fields};

/// Settings that are read: who commits, and all that decides how files look in a checkout.
const READ: &str = r"^(user\.(name|email)|core\.(autocrlf|eol|safecrlf|attributesfile|symlinks)|filter\..*)$";
/// Those that a workspace needs to see the files as the user does.
const COPIED: &[&str] = &["core.autocrlf", "core.eol", "core.safecrlf"];
/// Most that is read of a file of attributes, in bytes.
const MOST: u64 = 1 << 20;

#[derive(Clone, Debug)]
pub(super) struct UserSettings {
    pub identity: Identity,
    /// Text for the workspace's own settings.
    pub copied: String,
    /// Hash of all that decides how files look in a checkout, besides the commit itself.
    pub looks: String,
}

impl UserSettings {
    pub async fn read(user: &Git) -> Result<Self, WorkspaceError> {
        let answer = user.call("config").args(["-z", "--get-regexp", READ]).answer().await?;
        let (mut name, mut email, mut copied, mut attributes) = (None, None, String::new(), None);
        let mut looks = Sha256::new();
        let mut filters = false;
        for field in fields(&answer.stdout) {
            let text = String::from_utf8_lossy(field);
            let (key, value) = text.split_once('\n').unwrap_or((&text, "true"));
            match key {
                "user.name" => name = Some(plain(value)),
                "user.email" => email = Some(plain(value)),
                _ => {
                    looks.update(field);
                    looks.update([0]);
                    filters |= key.starts_with("filter.") && !key.starts_with("filter.lfs.");
                    if key == "core.attributesfile" {
                        attributes = Some(value.to_owned());
                    }
                    if COPIED.contains(&key) {
                        let key = key.trim_start_matches("core.");
                        let _ = write!(copied, "[core]\n\t{key} = {}\n", config_value(value));
                    }
                }
            }
        }
        for path in [attributes_file(user, attributes.as_deref()), Some(PathBuf::from("/etc/gitattributes"))] {
            looks.update(path.as_deref().map(start_of).unwrap_or_default());
            looks.update([0]);
        }
        looks.update(submodules::lfs_settings(user));
        if filters {
            // The programs that filter are found there.
            looks.update(user.variable("PATH").map(std::os::unix::ffi::OsStrExt::as_bytes).unwrap_or_default());
        }
        let filled = |value: Option<String>, or: &str| value.filter(|v| !v.is_empty()).unwrap_or_else(|| or.to_owned());
        let identity = Identity { name: filled(name, "cadence"), email: filled(email, "cadence@localhost") };
        Ok(Self { identity, copied, looks: hex(&looks.finalize()) })
    }
}

/// Git where the user's settings are: in his repository, else in the mirror.
pub(super) fn user_git(source: &Source, mirror: &Path, environment: &Environment) -> Git {
    match source {
        Source::Local(located) => {
            Git::new(located.root.as_ref().unwrap_or(&located.common), environment).repository(&located.git_dir)
        }
        Source::Url { .. } | Source::Sent(_) => Git::new(mirror, environment).repository(mirror),
    }
}

/// The user's own file of attributes. See `core.attributesFile` in git's manual.
fn attributes_file(git: &Git, named: Option<&str>) -> Option<PathBuf> {
    let home = git.variable("HOME").map(Path::new);
    match named {
        Some(path) => match path.strip_prefix("~/") {
            Some(rest) => home.map(|home| home.join(rest)),
            None => Some(git.directory().join(path)),
        },
        None => {
            let config = git.variable("XDG_CONFIG_HOME").filter(|path| !path.is_empty()).map(PathBuf::from);
            config.or_else(|| home.map(|home| home.join(".config"))).map(|config| config.join("git/attributes"))
        }
    }
}

fn start_of(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    // One that cannot be read is none for git either.
    let _ = fs::File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut bytes));
    bytes
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What git accepts in a person's name.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !matches!(c, '<' | '>')).collect::<String>().trim().to_owned()
}

/// A value as it stands in git's configuration files.
pub(super) fn config_value(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\t', "\\t");
    format!("\"{}\"", escaped.replace(|c: char| c.is_control(), ""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    struct Home(tempfile::TempDir);

    impl Home {
        async fn looks(&self, path: &str) -> String {
            let home = self.0.path();
            let environment = Environment::from([
                ("HOME".to_owned(), home.display().to_string()),
                ("XDG_CONFIG_HOME".to_owned(), home.join(".config").display().to_string()),
                ("PATH".to_owned(), format!("{path}:{}", std::env::var("PATH").unwrap())),
            ]);
            UserSettings::read(&Git::new(home, &environment)).await.unwrap().looks
        }

        fn write(&self, path: &str, text: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    #[tokio::test]
    async fn what_changes_the_look_of_files_changes_the_hash() {
        let home = Home(tempfile::tempdir().unwrap());
        let mut seen = vec![home.looks("/a").await];
        home.write(".gitconfig", "[user]\n\tname = Ada\n[pull]\n\trebase = true\n");
        assert_eq!(home.looks("/b").await, seen[0], "who commits, or where programs are, is no matter of looks");
        for (file, text) in [
            (".gitconfig", "[core]\n\tautocrlf = true\n"),
            (".gitconfig", "[core]\n\tautocrlf = input\n"),
            (".config/git/attributes", "*.txt eol=crlf\n"),
            (".gitconfig", "[core]\n\tautocrlf = input\n\tattributesFile = ~/mine\n"),
            ("mine", "*.c text\n"),
            (".gitconfig", "[filter \"x\"]\n\tsmudge = cat\n"),
        ] {
            home.write(file, text);
            let looks = home.looks("/a").await;
            assert!(!seen.contains(&looks), "{file}: {text}");
            seen.push(looks);
        }
        // A filter may be another program there.
        assert!(!seen.contains(&home.looks("/b").await));
    }
}
