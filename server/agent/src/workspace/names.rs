//! Names of repositories and branches: pure functions over text.

use std::fmt;
use std::path::{Component, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::WorkspaceError;
use crate::git::redact;

/// Longest origin that is taken, in bytes.
const LONGEST: usize = 4096;
/// Longest slug of a description in a branch, in characters.
const SLUG: usize = 40;

/// Where a repository comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A repository on this machine; the path may be of a directory in it.
    Local(PathBuf),
    Url(String),
    /// One that is known by what was sent of it alone. The text tells it from others: letters, digits and `-`.
    Sent(String),
}

impl Origin {
    /// Takes what people give git: a path, an URL with http, https, ssh, git or file, or `user@host:path`. Refuses what git
    /// would take for an option or run as a program.
    pub fn parse(text: &str) -> Result<Self, WorkspaceError> {
        let refused = |reason| {
            let shown: String = redact(text).chars().filter(|c| !c.is_control()).take(200).collect();
            Err(WorkspaceError::Origin { origin: shown, reason })
        };
        if text.trim().is_empty() {
            return refused("it is empty");
        }
        if text.len() > LONGEST {
            return refused("it is too long");
        }
        if text.contains(char::is_control) {
            return refused("it has control characters");
        }
        if text.starts_with('-') {
            return refused("it looks like an option");
        }
        if let Some((helper, _)) = text.split_once("::")
            && !helper.contains(['/', '['])
        {
            return refused("it would run a program (a transport helper)");
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            let scheme = scheme.to_ascii_lowercase();
            if !matches!(scheme.as_str(), "http" | "https" | "ssh" | "git" | "file") {
                return refused("its scheme is none of http, https, ssh, git, file");
            }
            let host = rest.split('/').next().unwrap_or_default();
            let host = host.rsplit('@').next().unwrap_or_default();
            if host.starts_with('-') || rest.starts_with('-') {
                return refused("its host looks like an option");
            }
            if scheme == "file" && !rest.starts_with('/')
                || scheme != "file" && (host.is_empty() || host.starts_with(':'))
            {
                return refused("it has no host, or no path");
            }
            return Ok(Self::Url(format!("{scheme}://{rest}")));
        }
        // As git does it: a colon before the first slash means host:path.
        if let Some((host, path)) = text.split_once(':')
            && !host.contains('/')
        {
            let name = host.rsplit('@').next().unwrap_or_default();
            if name.is_empty()
                || name.starts_with('-')
                || host.starts_with('@')
                || path.starts_with('-')
                || path.is_empty()
            {
                return refused("its host or path looks like an option, or is empty");
            }
            return Ok(Self::Url(text.to_owned()));
        }
        Ok(Self::Local(PathBuf::from(text)))
    }

    /// The URL without credentials, and the credentials.
    pub(super) fn split_credentials(url: &str) -> (String, Option<(String, String)>) {
        let Ok(mut parsed) = url::Url::parse(url) else { return (url.to_owned(), None) };
        if !matches!(parsed.scheme(), "http" | "https") || (parsed.username().is_empty() && parsed.password().is_none())
        {
            return (url.to_owned(), None);
        }
        let (user, password) = (decode(parsed.username()), decode(parsed.password().unwrap_or_default()));
        if parsed.set_username("").is_err() || parsed.set_password(None).is_err() {
            return (url.to_owned(), None);
        }
        (parsed.to_string(), Some((user, password)))
    }
}

/// Without credentials.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(&redact(url)),
            Self::Sent(_) => f.write_str("the repository that was sent"),
        }
    }
}

/// Percent-decoding of a user name or password.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok()));
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Short name of a repository for people, and for a directory: its last part, without `.git`.
pub fn repo_name(origin: &Origin) -> String {
    let last = match origin {
        Origin::Local(path) => path
            .components()
            .rev()
            .find_map(|part| match part {
                Component::Normal(name) if name != ".git" => Some(name.to_string_lossy().into_owned()),
                _ => None,
            })
            .unwrap_or_default(),
        Origin::Url(url) => {
            let url = url.split(['?', '#']).next().unwrap_or_default().trim_end_matches('/');
            let url = url.strip_suffix("/.git").unwrap_or(url);
            url.rsplit(['/', ':']).next().unwrap_or_default().to_owned()
        }
        Origin::Sent(_) => "sent".to_owned(),
    };
    directory_name(last.strip_suffix(".git").unwrap_or(&last))
}

/// A name that is safe as one directory's: never hidden, never an option, at most 64 characters of `[A-Za-z0-9._-]`.
pub(super) fn directory_name(text: &str) -> String {
    let name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' })
        .take(64)
        .collect();
    let name = name.trim_matches(['-', '.']);
    if name.is_empty() { "repository".to_owned() } else { name.to_owned() }
}

/// The branch of a task: `cadence/<words of the description>-<short id>`.
pub fn branch_name(description: &str, task_id: Uuid) -> String {
    let mut slug = String::new();
    for word in description.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()) {
        let left = SLUG.saturating_sub(slug.len() + usize::from(!slug.is_empty()));
        if word.len() > left && !slug.is_empty() {
            break;
        }
        if !slug.is_empty() {
            slug.push('-');
        }
        slug.extend(word.chars().take(left).map(|c| c.to_ascii_lowercase()));
    }
    if slug.is_empty() {
        slug.push_str("task");
    }
    format!("cadence/{slug}-{}", cadence_protocol::short_id(task_id))
}

/// Whether `refs/heads/<name>` is a name that git accepts. Says nothing of a leading `-`, which git only minds on its
/// command line.
pub fn is_branch_name(name: &str) -> bool {
    let bad = |c: char| c.is_ascii_control() || " ~^:?*[\\".contains(c);
    !name.is_empty()
        && name.len() <= 1000
        && !name.contains(bad)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
}

/// Whether it is a branch that a task may work on.
pub(super) fn is_work_branch(name: &str) -> bool {
    is_branch_name(name) && name.strip_prefix("cadence/").is_some_and(|rest| !rest.starts_with('-'))
}

/// Whether it is a whole object id, and no other expression.
pub(super) fn is_object_id(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn origins() {
        for url in [
            "https://github.com/a/b.git",
            "http://localhost:3000/x",
            "ssh://git@host:22/x",
            "git://host/x",
            "file:///srv/x.git",
            "git@github.com:a/b.git",
            "host:x",
        ] {
            assert_eq!(Origin::parse(url).unwrap(), Origin::Url(url.to_owned()), "{url}");
        }
        for path in ["/srv/x", ".", "../x y", "./-x", "/a:b", "./a:b", "/a::b"] {
            assert_eq!(Origin::parse(path).unwrap(), Origin::Local(path.into()), "{path}");
        }
        for refused in [
            "",
            "  ",
            "--upload-pack=touch x",
            "-x",
            "ext::sh -c touch% x",
            "fd::3",
            "ssh://-oProxyCommand=x/y",
            "ssh://user@-oProxyCommand=x/y",
            "-oProxyCommand=x:y",
            "user@-oProxyCommand=x:y",
            "host:-x",
            "https://",
            "https:///x",
            "ftp://host/x",
            "a\nb",
            "https://host/x\0",
            "file://host/x",
            ":x",
        ] {
            assert!(Origin::parse(refused).is_err(), "{refused:?}");
        }
        let error = Origin::parse("ftp://me:secret@host/x").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn credentials_are_split_off() {
        let (url, credentials) = Origin::split_credentials("https://me:a%40b@host/x.git");
        assert_eq!((url.as_str(), credentials), ("https://host/x.git", Some(("me".into(), "a@b".into()))));
        assert_eq!(Origin::split_credentials("git@host:x"), ("git@host:x".into(), None));
        assert_eq!(Origin::split_credentials("https://host/x"), ("https://host/x".into(), None));
    }

    #[test]
    fn repository_names() {
        let of = |text: &str| repo_name(&Origin::parse(text).unwrap());
        assert_eq!(of("https://github.com/a/b.git"), "b");
        assert_eq!(of("git@host:tool.git/"), "tool");
        assert_eq!(of("file:///srv/x/.git"), "x");
        assert_eq!(of("/srv/my repo"), "my-repo");
        assert_eq!(of("/srv/x/.git"), "x");
        assert_eq!(of("/srv/.hidden"), "hidden");
        assert_eq!(of("/"), "repository");
        assert_eq!(of("/srv/…"), "repository");
    }

    #[test]
    fn branches() {
        let id = Uuid::from_u128(0x1234_5678_9abc_4def_8000_0000_0000_0000);
        assert_eq!(branch_name("Fix the login, please!", id), "cadence/fix-the-login-please-12345678");
        assert_eq!(branch_name("日本語", id), "cadence/task-12345678");
        assert_eq!(branch_name(&"x".repeat(100), id), format!("cadence/{}-12345678", "x".repeat(40)));
        assert_eq!(
            branch_name("Make the very long description fit into forty characters", id),
            "cadence/make-the-very-long-description-fit-into-12345678"
        );
        for good in ["main", "-x", "$(touch pwned)".replace(' ', "_").as_str(), "a/b.c", "ä", "@", "a;b|c&d'e\"f`g"] {
            assert!(is_branch_name(good), "{good}");
        }
        for bad in ["", "a b", "a..b", "a.lock", "a/.b", "/a", "a/", "a//b", "a~1", "a^", "a:b", "a@{1}", "a\\b", "a."]
        {
            assert!(!is_branch_name(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_description_gives_a_branch(text in "\\PC*", raw in any::<String>(), id in any::<u128>()) {
            for description in [text, raw] {
                let branch = branch_name(&description, Uuid::from_u128(id));
                prop_assert!(is_work_branch(&branch), "{}", branch);
                prop_assert!(branch.len() <= "cadence/".len() + SLUG + 1 + 8);
                prop_assert!(branch.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"/-".contains(&b)));
            }
        }

        #[test]
        fn no_origin_panics(text in any::<String>(), parts in "(-|ext::|ssh://|file://|https://|[a-z@:/%.-]){0,12}") {
            for text in [text, parts] {
                if let Ok(origin) = Origin::parse(&text) {
                    let name = repo_name(&origin);
                    prop_assert!(!name.is_empty() && !name.starts_with(['-', '.']) && !name.contains('/'));
                    prop_assert!(!text.starts_with('-') && !text.starts_with("ext::"));
                    if let Origin::Url(url) = &origin {
                        Origin::split_credentials(url);
                    }
                }
            }
        }
    }
}
