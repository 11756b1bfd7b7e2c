//! Which token goes to which host, and how git gets it: through a credential helper, which is this program. A token is in
//! no URL, argument, setting or file that cadence writes; it is in the environment of git and of the helper alone.
//!
//! Source: gitcredentials(7), and `GIT_CONFIG_COUNT` in git-config(1).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Holds what the helper may give, as JSON: a list of [`Credential`].
pub const CREDENTIALS_VARIABLE: &str = "CADENCE_GIT_CREDENTIALS";
/// Path of the program that is the helper, with `git-credential` as its first argument.
pub(super) const HELPER_VARIABLE: &str = "CADENCE_GIT_HELPER";
/// Token for the host of the task's repository, brought by the task.
pub const TOKEN_VARIABLE: &str = "CADENCE_GIT_TOKEN";
/// Token for GitHub, brought by the task.
pub const GITHUB_TOKEN_VARIABLE: &str = "GITHUB_TOKEN";
/// Address of GitHub where it is not `https://github.com`.
const GITHUB_URL_VARIABLE: &str = "GITHUB_URL";

/// The user that goes with a token where none is named: GitHub asks for this one with installation tokens, and other hosts
/// go by the token alone.
const TOKEN_USER: &str = "x-access-token";
/// Largest file of a token that is read, in bytes.
const LARGEST: u64 = 16 << 10;

/// Where a token comes from.
#[derive(Clone, Debug)]
pub enum TokenSource {
    /// First line of a file, read each time, so that somebody can renew it.
    File(PathBuf),
    /// A token that is at hand, until `expires_at` in seconds since 1970 where it says so.
    Fixed { token: SecretString, expires_at: Option<u64> },
}

/// The machine's credentials for one host.
#[derive(Clone, Debug)]
pub struct HostCredential {
    /// User name; none: the one that GitHub expects with a token.
    pub username: Option<String>,
    pub token: TokenSource,
}

/// The machine's credentials, by host, with its port where it is not the usual one.
pub type HostCredentials = BTreeMap<String, HostCredential>;

/// User and password for one site.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Scheme, host and port: `https://github.com`.
    pub site: String,
    pub username: String,
    pub password: String,
    /// Seconds since 1970; it is not given from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

impl std::fmt::Debug for Credential {
    /// Leaves the password out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("site", &self.site).field("expires_at", &self.expires_at).finish()
    }
}

/// Why there are no credentials where there should be some. Holds none itself.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error("the token for {host} in {} cannot be read: {source}", path.display())]
    Read { host: String, path: PathBuf, source: std::io::Error },
    #[error("{} holds no token for {host}: one line of visible characters is expected", path.display())]
    NoToken { host: String, path: PathBuf },
    #[error("the token for {host} has expired")]
    Expired { host: String },
}

/// Scheme, host and port of an http or https URL, as git names them to a helper.
pub fn site_of(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let host = url.host_str().filter(|_| matches!(url.scheme(), "http" | "https"))?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}://{}{port}", url.scheme(), host.to_ascii_lowercase()))
}

/// Whether what is sent there can be read by nobody else: it is encrypted, or stays on this machine.
fn is_private(site: &str) -> bool {
    let Ok(url) = Url::parse(site) else { return false };
    url.scheme() == "https"
        || match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => false,
        }
}

/// What git may use for a task: the credentials that came with its URL first, then `CADENCE_GIT_TOKEN` for the URL's host and
/// `GITHUB_TOKEN` for GitHub, both of the task, then the machine's. A token goes over `http` only within this machine.
///
/// An error where the machine's credentials for the URL's own host cannot be used; those of other hosts are left out then.
pub fn for_task(
    url: Option<&str>,
    embedded: Option<&(String, String)>,
    environment: &BTreeMap<String, String>,
    machine: &HostCredentials,
    now: SystemTime,
) -> Result<Vec<Credential>, CredentialError> {
    let mut all: Vec<Credential> = Vec::new();
    let mut add = |site: String, username: &str, password: &str, expires_at| {
        if !all.iter().any(|known| known.site == site) {
            all.push(Credential { site, username: username.to_owned(), password: password.to_owned(), expires_at });
        }
    };
    let own = url.and_then(site_of);
    if let (Some(site), Some((user, password))) = (&own, embedded) {
        add(site.clone(), user, password, None);
    }
    for credential in from_environment(own.as_deref(), environment) {
        add(credential.site, &credential.username, &credential.password, None);
    }
    for (host, credential) in machine {
        let sites: Vec<String> = [format!("https://{host}"), format!("http://{host}")]
            .iter()
            .filter_map(|site| site_of(site))
            .filter(|site| is_private(site))
            .collect();
        match token(host, &credential.token, now) {
            Ok((token, expires_at)) => {
                let user = credential.username.as_deref().unwrap_or(TOKEN_USER);
                sites.into_iter().for_each(|site| add(site, user, token.expose_secret(), expires_at));
            }
            Err(error) if own.as_ref().is_some_and(|own| sites.contains(own)) => return Err(error),
            Err(error) => tracing::warn!(%error, "git goes without"),
        }
    }
    Ok(all)
}

/// Those that the task's own variables hold; `own` is the site of its repository.
fn from_environment(own: Option<&str>, environment: &BTreeMap<String, String>) -> Vec<Credential> {
    let value = |name: &str| environment.get(name).map(|value| value.trim()).filter(|value| is_token(value));
    let github = environment.get(GITHUB_URL_VARIABLE).and_then(|url| site_of(url));
    let github = github.unwrap_or_else(|| "https://github.com".to_owned());
    [(own.map(str::to_owned), value(TOKEN_VARIABLE)), (Some(github), value(GITHUB_TOKEN_VARIABLE))]
        .into_iter()
        .filter_map(|(site, token)| {
            let (site, password) = (site.filter(|site| is_private(site))?, token?.to_owned());
            Some(Credential { site, username: TOKEN_USER.to_owned(), password, expires_at: None })
        })
        .collect()
}

fn token(host: &str, source: &TokenSource, now: SystemTime) -> Result<(SecretString, Option<u64>), CredentialError> {
    match source {
        TokenSource::Fixed { token, expires_at } => {
            if has_expired(*expires_at, now) {
                return Err(CredentialError::Expired { host: host.to_owned() });
            }
            Ok((token.clone(), *expires_at))
        }
        TokenSource::File(path) => {
            let text = read_start(path).map_err(|source| CredentialError::Read {
                host: host.to_owned(),
                path: path.clone(),
                source,
            })?;
            let line = text.expose_secret().lines().next().unwrap_or_default().trim();
            if !is_token(line) {
                return Err(CredentialError::NoToken { host: host.to_owned(), path: path.clone() });
            }
            Ok((line.into(), None))
        }
    }
}

fn read_start(path: &Path) -> std::io::Result<SecretString> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(LARGEST).read_to_string(&mut text)?;
    Ok(text.into())
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.len() <= 4096 && text.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) fn has_expired(expires_at: Option<u64>, now: SystemTime) -> bool {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    expires_at.is_some_and(|at| at <= now)
}

/// Lays the credentials into variables that [`super::Git`] goes by; `helper` is the program that gives them to git.
pub fn grant(environment: &mut BTreeMap<String, String>, helper: &Path, credentials: &[Credential]) {
    environment.remove(CREDENTIALS_VARIABLE);
    environment.remove(HELPER_VARIABLE);
    // A list of strings and numbers can always be written.
    if let (Ok(text), false) = (serde_json::to_string(credentials), credentials.is_empty()) {
        environment.insert(CREDENTIALS_VARIABLE.to_owned(), text);
        environment.insert(HELPER_VARIABLE.to_owned(), helper.to_string_lossy().into_owned());
    }
}

/// The variables that make any git ask the helper, for those sites alone: what asks elsewhere is left to the user's own helpers.
/// `count` settings are in the environment already.
fn variables(environment: &BTreeMap<String, String>, count: usize) -> Vec<(String, String)> {
    let (Some(text), Some(helper)) = (environment.get(CREDENTIALS_VARIABLE), environment.get(HELPER_VARIABLE)) else {
        return Vec::new();
    };
    let credentials: Vec<Credential> = serde_json::from_str(text).unwrap_or_default();
    let helper = format!("!{} git-credential", quoted(helper));
    let settings = credentials.iter().flat_map(|credential| {
        let key = format!("credential.{}.helper", credential.site);
        // The empty one takes away those that were named before.
        [(key.clone(), String::new()), (key, helper.clone())]
    });
    let mut all = vec![(CREDENTIALS_VARIABLE.to_owned(), text.clone())];
    let mut number = count;
    for (key, value) in settings {
        all.push((format!("GIT_CONFIG_KEY_{number}"), key));
        all.push((format!("GIT_CONFIG_VALUE_{number}"), value));
        number += 1;
    }
    all.push(("GIT_CONFIG_COUNT".to_owned(), number.to_string()));
    all
}

/// For git that cadence starts.
pub(super) fn own_variables(environment: &BTreeMap<String, String>) -> Vec<(String, String)> {
    variables(environment, 0)
}

/// For an agent, and what runs beside it: git there gets the tokens that the task itself brought, and none of the machine's.
/// Gives what is to be added to its environment.
pub fn agent_variables(
    url: Option<&str>,
    environment: &BTreeMap<String, String>,
    helper: &Path,
) -> Vec<(String, String)> {
    let credentials = from_environment(url.and_then(site_of).as_deref(), environment);
    let mut granted = BTreeMap::new();
    grant(&mut granted, helper, &credentials);
    // Not a number: git itself refuses it.
    let count = environment.get("GIT_CONFIG_COUNT").map_or(Some(0), |count| count.parse().ok());
    count.map(|count| variables(&granted, count)).unwrap_or_default()
}

/// As one word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn sites(url: &str, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let all = for_task(Some(url), None, &environment(pairs), &BTreeMap::new(), SystemTime::now()).unwrap();
        all.into_iter().map(|credential| (credential.site, credential.password)).collect()
    }

    fn pair(site: &str, token: &str) -> (String, String) {
        (site.to_owned(), token.to_owned())
    }

    #[test]
    fn a_token_goes_to_its_host_and_nowhere_else() {
        let both = [(TOKEN_VARIABLE, "own"), (GITHUB_TOKEN_VARIABLE, "hub")];
        assert_eq!(
            sites("https://git.example.org/a/b.git", &both),
            [pair("https://git.example.org", "own"), pair("https://github.com", "hub")]
        );
        // The more special one wins.
        assert_eq!(sites("https://GitHub.com/a/b", &both), [pair("https://github.com", "own")]);
        assert_eq!(sites("https://host:8443/x", &both[..1]), [pair("https://host:8443", "own")]);
        assert_eq!(sites("git@github.com:a/b", &both[..1]), []);
        let enterprise = [(GITHUB_TOKEN_VARIABLE, "hub"), ("GITHUB_URL", "https://github.example.org/")];
        assert_eq!(sites("ssh://git@x/y", &enterprise), [pair("https://github.example.org", "hub")]);
    }

    #[test]
    fn a_token_is_not_sent_in_the_clear() {
        assert_eq!(sites("http://git.example.org/x", &[(TOKEN_VARIABLE, "own")]), []);
        for site in ["http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost:8080"] {
            assert_eq!(sites(&format!("{site}/x"), &[(TOKEN_VARIABLE, "own")]), [pair(site, "own")]);
        }
        assert_eq!(sites("https://host/x", &[(TOKEN_VARIABLE, "two\nlines")]), []);
        assert_eq!(sites("https://host/x", &[(TOKEN_VARIABLE, " ")]), []);
    }

    #[test]
    fn the_machines_tokens_are_read_when_they_are_needed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let machine = HostCredentials::from([(
            "git.example.org".to_owned(),
            HostCredential { username: Some("bot".to_owned()), token: TokenSource::File(file.clone()) },
        )]);
        let none = BTreeMap::new();
        let ask = |url: &str| for_task(Some(url), None, &none, &machine, SystemTime::now());
        let error = ask("https://git.example.org/x").unwrap_err().to_string();
        assert!(error.contains("git.example.org") && error.contains("token"), "{error}");
        assert_eq!(ask("https://other.example.org/x").unwrap(), [], "another host's trouble");
        std::fs::write(&file, "first\n").unwrap();
        assert_eq!(ask("https://git.example.org/x").unwrap()[0].password, "first");
        std::fs::write(&file, "renewed\n").unwrap();
        let all = ask("https://git.example.org/x").unwrap();
        assert_eq!((all[0].username.as_str(), all[0].password.as_str(), all.len()), ("bot", "renewed", 1));
        assert!(!format!("{all:?}").contains("renewed"));
        std::fs::write(&file, "\n").unwrap();
        assert!(matches!(ask("https://git.example.org/x"), Err(CredentialError::NoToken { .. })));
    }

    #[test]
    fn a_token_that_has_expired_is_said() {
        let now = UNIX_EPOCH + std::time::Duration::from_secs(1000);
        let ask = |expires_at| {
            let token = TokenSource::Fixed { token: "t".into(), expires_at };
            let machine = HostCredentials::from([("host".to_owned(), HostCredential { username: None, token })]);
            for_task(Some("https://host/x"), None, &BTreeMap::new(), &machine, now)
        };
        assert_eq!(ask(Some(1001)).unwrap()[0].expires_at, Some(1001));
        assert!(matches!(ask(Some(1000)), Err(CredentialError::Expired { .. })));
    }

    #[test]
    fn an_agent_gets_what_its_task_brought() {
        let with = environment(&[(TOKEN_VARIABLE, "own"), ("GIT_CONFIG_COUNT", "2")]);
        let all: BTreeMap<_, _> =
            agent_variables(Some("https://host/x"), &with, Path::new("/it's/cadence")).into_iter().collect();
        assert_eq!(all["GIT_CONFIG_COUNT"], "4");
        assert_eq!(all["GIT_CONFIG_KEY_2"], "credential.https://host.helper");
        assert_eq!(all["GIT_CONFIG_VALUE_2"], "");
        assert_eq!(all["GIT_CONFIG_VALUE_3"], r"!'/it'\''s/cadence' git-credential");
        assert_eq!(agent_variables(Some("https://host/x"), &BTreeMap::new(), Path::new("/c")), []);
    }

    proptest! {
        #[test]
        fn no_url_panics(url in any::<String>(), host in "[a-z.:\\[\\]@/0-9]{0,12}", token in "\\PC{0,8}") {
            for url in [url, format!("https://{host}"), format!("http://{host}")] {
                let with = environment(&[(TOKEN_VARIABLE, &token)]);
                for credential in for_task(Some(&url), None, &with, &BTreeMap::new(), SystemTime::now()).unwrap() {
                    prop_assert!(is_private(&credential.site));
                    prop_assert_eq!(site_of(&credential.site), Some(credential.site));
                }
            }
        }
    }
}
