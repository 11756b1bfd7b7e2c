//! The sections `[repositories]`, `[dependencies]` and `[git]` of the settings file: how a machine gets and keeps repositories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cadence_agent::git::credentials::{HostCredential, HostCredentials, TokenSource};
use cadence_agent::workspace::{CacheLimits, Partial, RepositorySettings};
use serde::{Deserialize, Deserializer, de::Error as _};
use url::Url;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Repositories {
    keep: Option<usize>,
    max_size: Option<Bytes>,
    #[serde(default)]
    partial: Patterns,
    partial_above: Option<Bytes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Dependencies {
    install: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Git {
    #[serde(default)]
    credentials: BTreeMap<HostName, Credential>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Credential {
    token_file: PathBuf,
    username: Option<UserName>,
}

/// A host, with its port where that is not the usual one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct HostName(String);

impl<'de> Deserialize<'de> for HostName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?.to_ascii_lowercase();
        // A host alone is written as it is read.
        let url = Url::parse(&format!("http://{text}")).ok();
        match url.filter(|url| url.username().is_empty() && url.as_str() == format!("http://{text}/")) {
            Some(_) => Ok(Self(text)),
            None => Err(D::Error::custom(format!(
                "`{}` is no host; write it like github.com or git.example.org:8443",
                crate::text::clean_line(&text)
            ))),
        }
    }
}

#[derive(Debug)]
struct UserName(String);

impl<'de> Deserialize<'de> for UserName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.is_empty() || text.len() > 255 || text.contains(char::is_control) {
            true => Err(D::Error::custom("a user name has 1 to 255 characters, none of them a control character")),
            false => Ok(Self(text)),
        }
    }
}

/// A size like `20G`, in steps of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bytes(u64);

impl Bytes {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim().to_ascii_uppercase().as_str() {
            "K" | "KIB" => 10,
            "M" | "MIB" => 20,
            "G" | "GIB" => 30,
            "T" | "TIB" => 40,
            _ => return None,
        };
        number.parse::<u64>().ok()?.checked_mul(1 << shift).map(Self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format!("`{}` is no size; write it like 500M or 20G", crate::text::clean_line(&text)))
        })
    }
}

/// Patterns of URLs.
#[derive(Debug, Default)]
struct Patterns(Vec<String>);

impl<'de> Deserialize<'de> for Patterns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let all = Vec::deserialize(deserializer)?;
        Partial::new(&all, None).map_err(|error| D::Error::custom(crate::text::clean_line(&error)))?;
        Ok(Self(all))
    }
}

/// All of it as the workspaces go by it; `expand` makes a path of one that begins with `~`.
pub(super) fn settings(
    repositories: &Repositories,
    dependencies: &Dependencies,
    git: Git,
    expand: impl Fn(&Path) -> PathBuf,
) -> RepositorySettings {
    let usual = CacheLimits::default();
    let above = repositories.partial_above.map_or(Partial::USUAL, |bytes| bytes.0);
    let credential = |(host, credential): (HostName, Credential)| {
        let token = TokenSource::File(expand(&credential.token_file));
        (host.0, HostCredential { username: credential.username.map(|name| name.0), token })
    };
    RepositorySettings {
        cache: CacheLimits {
            keep: repositories.keep.unwrap_or(usual.keep),
            max_bytes: repositories.max_size.map_or(usual.max_bytes, |bytes| bytes.0),
        },
        // They were looked at when they were read; 0 stands for no limit.
        partial: Partial::new(&repositories.partial.0, Some(above).filter(|bytes| *bytes > 0)).unwrap_or_default(),
        credentials: git.credentials.into_iter().map(credential).collect::<HostCredentials>(),
        install: dependencies.install.unwrap_or(true),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct Sections {
        repositories: Repositories,
        dependencies: Dependencies,
        git: Git,
    }

    fn read(text: &str) -> Result<RepositorySettings, String> {
        let Sections { repositories, dependencies, git } =
            toml::from_str(text).map_err(|error| error.message().to_owned())?;
        Ok(settings(&repositories, &dependencies, git, |path| Path::new("/home/dev").join(path)))
    }

    #[test]
    fn all_of_it() {
        let text = r#"
            [repositories]
            keep = 3
            max_size = "500M"
            partial = ["https://github.com/big/*"]
            partial_above = "2G"

            [dependencies]
            install = false

            [git.credentials]
            "GitHub.com" = { token_file = "token" }
            "git.example.org:8443" = { token_file = "/run/token", username = "bot" }
        "#;
        let all = read(text).unwrap();
        assert_eq!((all.cache.keep, all.cache.max_bytes, all.install), (3, 500 << 20, false));
        let hosts: Vec<&str> = all.credentials.keys().map(String::as_str).collect();
        assert_eq!(hosts, ["git.example.org:8443", "github.com"]);
        let TokenSource::File(path) = &all.credentials["github.com"].token else { panic!("{all:?}") };
        assert_eq!(path, Path::new("/home/dev/token"));
        let usual = read("").unwrap();
        assert_eq!((usual.cache, usual.install), (CacheLimits::default(), true));
    }

    #[test]
    fn nonsense_is_refused() {
        for (text, word) in [
            ("[repositories]\nmax_size = '20'\n", "no size"),
            ("[repositories]\nmax_size = '-1G'\n", "no size"),
            ("[repositories]\nmax_size = '99999999999999999999G'\n", "no size"),
            ("[repositories]\npartial = ['a{']\n", "no pattern"),
            ("[git.credentials]\n'https://x' = { token_file = 'x' }\n", "no host"),
            ("[git.credentials]\n'a/b' = { token_file = 'x' }\n", "no host"),
            ("[git.credentials]\n'me@x' = { token_file = 'x' }\n", "no host"),
            ("[git.credentials]\nx = { token_file = 'x', username = '' }\n", "user name"),
            ("[git.credentials]\nx = { token = 'x' }\n", "unknown field"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_size_panics(text in "\\PC{0,24}", number in any::<u64>(), unit in "[KMGTkmgt]") {
            Bytes::parse(&text);
            let bytes = Bytes::parse(&format!("{number}{unit}"));
            prop_assert!(bytes.is_none_or(|bytes| bytes.0 >= number));
        }
    }
}
