//! The repository that a command is about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cadence_agent::workspace::{self, Checkout, Origin, WorkspaceError};

use crate::error::{CommandError, Exit};

/// Where a task works.
#[derive(Clone, Debug)]
pub enum Place {
    Checkout(Box<Checkout>),
    Url(String),
}

/// The repository that was named, or the one of the current directory.
pub async fn find(named: Option<&str>) -> Result<Place, CommandError> {
    let path = match named {
        None => PathBuf::from("."),
        // What is there as a directory is one, whatever it looks like.
        Some(text) if Path::new(text).is_dir() && !text.starts_with('-') => PathBuf::from(text),
        Some(text) => match Origin::parse(text).map_err(workspace_error)? {
            Origin::Url(url) => return url_place(url),
            Origin::Local(path) if path.exists() => path,
            Origin::Local(path) => {
                return Err(CommandError::usage(format!("there is no directory {}", path.display()))
                    .hint("Give a path, or a URL with https, ssh, git or file."));
            }
            // No text means one.
            Origin::Sent(name) => return Err(CommandError::usage(format!("`{name}` is no repository"))),
        },
    };
    let path = path
        .canonicalize()
        .map_err(|error| CommandError::usage(format!("{} cannot be opened", path.display())).caused_by(error))?;
    workspace::inspect(&path).await.map(|checkout| Place::Checkout(Box::new(checkout))).map_err(workspace_error)
}

/// A URL must bring no secret along: it would be in the process list, in the shell's history and in what is stored.
fn url_place(text: String) -> Result<Place, CommandError> {
    refuse_secrets(&text)?;
    Ok(Place::Url(text))
}

/// Refuses URLs that hold a password, and http URLs with any user: a token stands in that place too.
fn refuse_secrets(text: &str) -> Result<(), CommandError> {
    let Ok(url) = url::Url::parse(text) else { return Ok(()) };
    let web = matches!(url.scheme(), "http" | "https");
    if url.password().is_none() && (!web || url.username().is_empty()) {
        return Ok(());
    }
    Err(CommandError::usage("the repository's URL holds a user or password, which would be stored and shown")
        .hint("Leave it out; git's credential helpers and SSH keys are used."))
}

/// Most of what is wrong with a repository is wrong with what was typed.
pub fn workspace_error(error: WorkspaceError) -> CommandError {
    let exit = match error {
        WorkspaceError::Origin { .. }
        | WorkspaceError::NotARepository(_)
        | WorkspaceError::Bare(_)
        | WorkspaceError::NoCommit(_)
        | WorkspaceError::NoSuchBranch { .. }
        | WorkspaceError::BranchName(_) => Exit::Usage,
        _ => Exit::Failed,
    };
    let hint = error.hint();
    let told = CommandError::new(exit, crate::text::clean(&error.to_string()));
    match hint {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// The variables that a task on this machine brings along: what agents and git need, and what the settings name.
pub fn task_environment(
    all: impl IntoIterator<Item = (String, String)>,
    further: &[String],
) -> BTreeMap<String, String> {
    const NAMES: [&str; 27] = [
        "PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "SHELL",
        "USER",
        "LOGNAME",
        "TMPDIR",
        "TZ",
        "SSH_AUTH_SOCK",
        "API_TIMEOUT_MS",
        "DISABLE_TELEMETRY",
        "DISABLE_AUTOUPDATER",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NODE_EXTRA_CA_CERTS",
        "CADENCE_DEMO_SECONDS",
        "CADENCE_CLAUDE",
        "CADENCE_GIT_TOKEN",
        "CADENCE_CODEX",
        "CADENCE_OPENCODE",
    ];
    const PREFIXES: [&str; 6] = ["LC_", "ANTHROPIC_", "OPENAI_", "CLAUDE_", "CODEX_", "OPENCODE_"];
    const IDENTITY: [&str; 4] = ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];
    all.into_iter()
        .filter(|(name, _)| {
            let wanted = NAMES.contains(&name.as_str())
                || IDENTITY.contains(&name.as_str())
                || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
                || further.iter().any(|more| more == name);
            wanted && name != "IS_SANDBOX"
        })
        .collect()
}

/// This process's environment as far as it is text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn only_what_is_listed_goes_along() {
        let all = [
            "PATH",
            "ANTHROPIC_API_KEY",
            "CLAUDE_CONFIG_DIR",
            "AWS_SECRET_ACCESS_KEY",
            "IS_SANDBOX",
            "NPM_TOKEN",
            "LC_ALL",
            "CADENCE_TOKEN",
            "GITHUB_TOKEN",
        ];
        let pairs = || all.iter().map(|name| ((*name).to_owned(), "x".to_owned()));
        let names = |further: &[String]| task_environment(pairs(), further).into_keys().collect::<Vec<_>>();
        assert_eq!(names(&[]), ["ANTHROPIC_API_KEY", "CLAUDE_CONFIG_DIR", "LC_ALL", "PATH"]);
        let further = ["NPM_TOKEN".to_owned(), "IS_SANDBOX".to_owned()];
        assert_eq!(names(&further), ["ANTHROPIC_API_KEY", "CLAUDE_CONFIG_DIR", "LC_ALL", "NPM_TOKEN", "PATH"]);
    }

    #[tokio::test]
    async fn hostile_and_secret_origins_are_refused() {
        for origin in [
            "--upload-pack=touch x",
            "ext::sh -c id",
            "https://user:secret@host/x.git",
            "https://secret@host/x.git",
            "ssh://git:secret@host/x.git",
            "no/such/dir",
        ] {
            let error = find(Some(origin)).await.unwrap_err();
            assert_eq!(error.exit, Exit::Usage, "{origin}");
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
        for origin in ["https://host/x.git", "ssh://git@host/x.git", "git@host:x.git"] {
            assert!(matches!(find(Some(origin)).await.unwrap(), Place::Url(_)), "{origin}");
        }
    }
}
