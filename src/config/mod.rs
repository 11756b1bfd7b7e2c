//! Settings in layers: flags over environment over the settings file. Every error says which of them is wrong.

mod agents;
mod bridge;
mod dashboard;
mod file;
mod isolation;
mod repositories;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cadence_agent::sandbox::Policy;
use cadence_agent::workspace::RepositorySettings;
use cadence_protocol::PermissionMode;
use directories::ProjectDirs;
use secrecy::SecretString;
use url::Url;

use crate::error::CommandError;
pub use agents::AGENTS;
pub use bridge::Bridge;
pub use dashboard::Dashboard;
pub use file::{KEYS, key, set, unset};

/// When colour is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    Always,
    Never,
}

/// What the command line says for every command.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub server: Option<String>,
    pub token_file: Option<PathBuf>,
    pub color: Option<ColorWhen>,
    pub data_dir: Option<PathBuf>,
    /// The server shares no files with this machine.
    pub remote: bool,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag(&'static str),
    Variable(&'static str),
    File(PathBuf),
    /// A value that is about to be set.
    Value,
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "{name}"),
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Value => f.write_str("the new value"),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// The bearer token, or where it is.
#[derive(Clone, Debug)]
pub enum TokenSource {
    Value(SecretString),
    File(PathBuf, Origin),
}

/// Everything that is set, after the layers are laid over each other.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The settings file, there or not.
    pub path: PathBuf,
    pub server: Option<Url>,
    pub server_origin: Origin,
    /// The server shares no files with this machine, wherever its address is.
    pub remote: bool,
    pub token: Option<TokenSource>,
    pub color: ColorWhen,
    pub data_dir: PathBuf,
    /// Whether somebody named it.
    pub data_dir_named: bool,
    /// Where the embedded server's address and token are.
    pub runtime_dir: PathBuf,
    pub listen: Option<(String, Origin)>,
    pub agent: Option<String>,
    /// Agents that the file names, by their name: programs that speak the Agent Client Protocol, with their arguments.
    pub agents: std::collections::BTreeMap<String, Vec<String>>,
    pub model: Option<String>,
    pub permission: Option<PermissionMode>,
    pub budget: Option<f64>,
    pub max_turns: Option<u32>,
    pub timeout: Option<Duration>,
    /// Names of further variables that tasks bring along.
    pub environment: Vec<String>,
    /// What the server keeps agents to.
    pub policy: Policy,
    pub workers: Option<usize>,
    /// What tasks may ask for of this machine.
    pub labels: Vec<String>,
    pub warm_workspaces: Option<usize>,
    /// How long the server keeps archived tasks; none: for ever.
    pub keep_archived: Option<Duration>,
    /// How long it keeps agents' own lines.
    pub keep_logs: Option<Duration>,
    /// Largest bundle of commits that the server takes, in bytes.
    pub max_bundle: Option<u64>,
    /// US dollars that each user of the server may spend in a calendar month.
    pub month_usd: Option<f64>,
    /// How speech is recorded, understood and answered.
    pub voice: cadence_speech::Settings,
    pub dashboard: Dashboard,
    /// How repositories are got and kept on this machine.
    pub repositories: RepositorySettings,
    /// The endpoint that gets tasks of the server, and the key of this machine as one.
    pub bridge: Bridge,
}

/// Looks a variable up; an empty one counts as absent.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The process's own environment.
pub fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

impl Settings {
    /// Reads the file and lays environment and flags over it.
    pub fn load(flags: &Flags, env: Lookup<'_>) -> Result<Self, CommandError> {
        let path = Self::file_path(env)?;
        let file = file::read(&path, env("CADENCE_CONFIG").is_some())?;
        Self::layer(flags, env, path, file, directories()?.data_dir())
    }

    /// How speech is recorded, understood and answered by the file as it is now; none where it cannot be read.
    pub fn voice_now(path: &Path) -> Option<cadence_speech::Settings> {
        file::read(path, false).ok().map(|file| file.voice)
    }

    /// Where the settings file is, or would be.
    pub fn file_path(env: Lookup<'_>) -> Result<PathBuf, CommandError> {
        let path = match env("CADENCE_CONFIG") {
            Some(path) => PathBuf::from(path),
            None => directories()?.config_dir().join("config.toml"),
        };
        std::path::absolute(path)
            .map_err(|error| CommandError::usage("the settings file's path cannot be resolved").caused_by(error))
    }

    fn layer(
        flags: &Flags,
        env: Lookup<'_>,
        path: PathBuf,
        file: file::File,
        default_data: &Path,
    ) -> Result<Self, CommandError> {
        let from_file = || Origin::File(path.clone());
        let text = |name: &'static str| match env(name) {
            None => Ok(None),
            Some(value) => value
                .into_string()
                .map(Some)
                .map_err(|_| CommandError::usage(format!("the variable {name} is not valid UTF-8"))),
        };

        let (server, server_origin) = match (&flags.server, text("CADENCE_SERVER")?, file.server) {
            (Some(url), _, _) => (Some(url.clone()), Origin::Flag("--server")),
            (None, Some(url), _) => (Some(url), Origin::Variable("CADENCE_SERVER")),
            (None, None, Some(url)) => (Some(url), from_file()),
            (None, None, None) => (None, Origin::Default),
        };
        let server = server.map(|url| parse_server(&url, &server_origin)).transpose()?;

        let remote = match (flags.remote, text("CADENCE_REMOTE")?, file.remote) {
            (true, ..) => true,
            (false, Some(text), _) => match text.trim() {
                "1" | "true" | "yes" => true,
                "0" | "false" | "no" => false,
                _ => return Err(CommandError::usage("the variable CADENCE_REMOTE is neither `true` nor `false`")),
            },
            (false, None, file) => file.unwrap_or_default(),
        };

        let token = match (&flags.token_file, text("CADENCE_TOKEN")?, file.token_file) {
            (Some(path), _, _) => Some(TokenSource::File(path.clone(), Origin::Flag("--token-file"))),
            (None, Some(token), _) => {
                check_token(&token, &Origin::Variable("CADENCE_TOKEN"))?;
                Some(TokenSource::Value(token.trim().into()))
            }
            (None, None, Some(token_path)) => Some(TokenSource::File(expand(&token_path, env), from_file())),
            (None, None, None) => None,
        };

        let named_data = match (&flags.data_dir, env("CADENCE_DATA_DIR"), file.data_dir) {
            (Some(path), _, _) => Some(path.clone()),
            (None, Some(path), _) => Some(PathBuf::from(path)),
            (None, None, Some(path)) => Some(expand(&path, env)),
            (None, None, None) => None,
        };
        let data_dir_named = named_data.is_some();
        let data_dir = std::path::absolute(named_data.unwrap_or_else(|| default_data.to_owned()))
            .map_err(|error| CommandError::usage("the data directory cannot be resolved").caused_by(error))?;
        // A data directory of one's own has a server of its own.
        let runtime_dir = match env("XDG_RUNTIME_DIR").map(PathBuf::from) {
            Some(dir) if dir.is_absolute() && !data_dir_named => dir.join("cadence"),
            _ => data_dir.join("run"),
        };
        let listen = match (text("CADENCE_LISTEN")?, file.listen) {
            (Some(address), _) => Some((address, Origin::Variable("CADENCE_LISTEN"))),
            (None, Some(address)) => Some((address, from_file())),
            (None, None) => None,
        };
        let policy = file.sandbox.policy(&file.limits, &|path| expand(path, env));
        let (agent, agents) = agents::resolve(file.agent, file.agents)
            .map_err(|why| CommandError::usage(format!("{}: {why}", path.display())))?;
        let vps_key = text("VPS_API_KEY")?;
        if let Some(key) = &vps_key {
            check_token(key, &Origin::Variable("VPS_API_KEY"))?;
        }
        let vps_key = vps_key.map(|key| TokenSource::Value(key.trim().into()));
        let bridge = Bridge::layer((text("VPS_ENDPOINT")?, vps_key), file.bridge, &path, env);
        Ok(Self {
            server,
            server_origin,
            remote,
            token,
            color: flags.color.or(file.color).unwrap_or_default(),
            data_dir,
            data_dir_named,
            runtime_dir,
            listen,
            agent,
            agents,
            model: file.model,
            permission: file.permission,
            budget: file.budget.map(|budget| budget.0),
            max_turns: file.max_turns,
            timeout: file.timeout.map(|timeout| timeout.0),
            environment: file.environment.into_iter().map(|name| name.0).collect(),
            policy,
            workers: file.workers,
            labels: file.labels,
            warm_workspaces: file.warm_workspaces,
            keep_archived: file.keep_archived_days.map(|days| days.0),
            max_bundle: file.max_bundle_mb.map(|bytes| bytes.0),
            keep_logs: file.keep_logs_days.map(|days| days.0),
            month_usd: file.limits.month_usd.as_ref().map(|usd| usd.0),
            voice: file.voice,
            dashboard: file.dashboard,
            repositories: repositories::settings(&file.repositories, &file.dependencies, file.git, |path| {
                expand(path, env)
            }),
            bridge,
            path,
        })
    }

    /// Everything that holds what is stored or lets somebody in: of this server, and of the one that starts on demand.
    pub fn own_places(&self) -> Vec<PathBuf> {
        let usual = directories().ok().map(|usual| usual.data_dir().to_owned());
        let run = process_environment("XDG_RUNTIME_DIR").map(|run| PathBuf::from(run).join("cadence"));
        let own = [self.data_dir.clone(), self.runtime_dir.clone()].into_iter();
        own.chain(usual)
            .chain(run)
            .chain(self.token_path().map(Path::to_owned))
            .filter_map(|path| std::path::absolute(path).ok())
            .collect()
    }

    /// The file that holds the token, where one was named.
    fn token_path(&self) -> Option<&Path> {
        match &self.token {
            Some(TokenSource::File(path, _)) => Some(path),
            _ => None,
        }
    }

    /// The token that was given, where one was.
    pub fn read_token(&self) -> Result<Option<SecretString>, CommandError> {
        self.token.as_ref().map(TokenSource::read).transpose()
    }
}

impl TokenSource {
    /// The token itself.
    pub fn read(&self) -> Result<SecretString, CommandError> {
        match self {
            Self::Value(token) => Ok(token.clone()),
            Self::File(path, origin) => read_token_file(path, origin),
        }
    }
}

fn directories() -> Result<ProjectDirs, CommandError> {
    ProjectDirs::from("", "", "cadence").ok_or_else(|| {
        CommandError::usage("the home directory is unknown").hint("Set HOME to a directory that is yours.")
    })
}

/// Reads a bearer token from the first line of a file.
pub fn read_token_file(path: &Path, origin: &Origin) -> Result<SecretString, CommandError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        CommandError::usage(format!("the token file {} (from {origin}) cannot be read", path.display()))
            .caused_by(error)
    })?;
    let token = text.lines().next().unwrap_or_default().trim();
    check_token(token, &Origin::File(path.to_owned()))?;
    Ok(token.into())
}

fn check_token(token: &str, origin: &Origin) -> Result<(), CommandError> {
    let token = token.trim();
    if token.is_empty() || token.len() > 4096 || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(CommandError::usage(format!(
            "{origin} holds no token: one line of visible characters is expected"
        )));
    }
    Ok(())
}

/// An address and a port to listen on; `localhost` stands for 127.0.0.1.
pub fn listen_address(text: &str) -> Option<SocketAddr> {
    text.strip_prefix("localhost:").map_or_else(|| text.parse(), |port| format!("127.0.0.1:{port}").parse()).ok()
}

fn parse_server(text: &str, origin: &Origin) -> Result<Url, CommandError> {
    parse_address(text, origin, "server", "http://127.0.0.1:8383 or https://cadence.example.org").map_err(|error| {
        match origin {
            Origin::File(_) => {
                error.hint("`cadence config set server URL` corrects it, `cadence config unset server` takes it out.")
            }
            _ => error,
        }
    })
}

/// The address of a server that speaks HTTP.
fn parse_address(text: &str, origin: &Origin, what: &str, like: &str) -> Result<Url, CommandError> {
    let wrong = |why: &str| {
        CommandError::usage(format!("the {what}'s address in {origin} is wrong: {why}"))
            .hint(format!("Write it like {like}."))
    };
    let url =
        Url::parse(text.trim()).map_err(|error| wrong(&format!("`{}`: {error}", crate::text::clean_line(text))))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong(&format!("`{}` is not http or https", url.scheme())));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("it names no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let error = wrong("it must hold no user name and no password");
        return Err(match what {
            "server" => error.hint("Use --token-file or CADENCE_TOKEN."),
            _ => error.hint("Use a file with the key, or VPS_API_KEY."),
        });
    }
    Ok(url)
}

/// `~/x` in the settings file means the home directory, as a shell would have made of it.
fn expand(path: &Path, env: Lookup<'_>) -> PathBuf {
    match (path.strip_prefix("~"), env("HOME")) {
        (Ok(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn load(flags: &Flags, env: &[(&str, &str)], text: &str) -> Result<Settings, CommandError> {
        let path = PathBuf::from("/home/dev/.config/cadence/config.toml");
        let file = file::parse(&path, text)?;
        let lookup = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
        Settings::layer(flags, &lookup, path, file, Path::new("/home/dev/.local/share/cadence"))
    }

    #[test]
    fn flags_come_before_environment_before_file() {
        let text = "server = \"http://file:1\"\n";
        let env = [("CADENCE_SERVER", "http://env:1")];
        let flags = Flags { server: Some("http://flag:1".into()), ..Flags::default() };
        let host = |s: Settings| s.server.unwrap().host_str().unwrap().to_owned();
        assert_eq!(host(load(&flags, &env, text).unwrap()), "flag");
        assert_eq!(host(load(&Flags::default(), &env, text).unwrap()), "env");
        assert_eq!(host(load(&Flags::default(), &[], text).unwrap()), "file");
        assert!(load(&Flags::default(), &[], "").unwrap().server.is_none());
    }

    #[test]
    fn the_runtime_directory_follows_the_data_directory() {
        let env = [("XDG_RUNTIME_DIR", "/run/user/1000")];
        let own = load(&Flags::default(), &env, "").unwrap();
        assert_eq!(own.runtime_dir, Path::new("/run/user/1000/cadence"));
        let named = load(&Flags { data_dir: Some("/srv/data".into()), ..Flags::default() }, &env, "").unwrap();
        assert_eq!(named.runtime_dir, Path::new("/srv/data/run"));
        let without = load(&Flags::default(), &[], "").unwrap();
        assert_eq!(without.runtime_dir, Path::new("/home/dev/.local/share/cadence/run"));
    }

    #[test]
    fn errors_name_the_layer() {
        let error = load(&Flags::default(), &[("CADENCE_SERVER", "ftp://x")], "").unwrap_err();
        assert_eq!(error.exit, crate::error::Exit::Usage);
        insta::assert_snapshot!(error.message(), @"the server's address in the variable CADENCE_SERVER is wrong: `ftp` is not http or https");
        let flags = Flags { server: Some("http://u:p@x".into()), ..Flags::default() };
        let error = load(&flags, &[], "").unwrap_err();
        insta::assert_snapshot!(error.message(), @"the server's address in --server is wrong: it must hold no user name and no password");
        let error = load(&Flags::default(), &[("CADENCE_TOKEN", "a b")], "").unwrap_err();
        insta::assert_snapshot!(error.message(), @"the variable CADENCE_TOKEN holds no token: one line of visible characters is expected");
    }

    #[test]
    fn an_endpoint_is_named_by_flag_environment_or_file() {
        let text = "[bridge]\nendpoint = \"http://file:1\"\ncapacity = 2\nlabels = [\"gpu\"]\n";
        let env = [("VPS_ENDPOINT", "http://env:1"), ("VPS_API_KEY", "sesame")];
        let host =
            |s: &Settings, flag| s.bridge.resolve(flag, None).unwrap().unwrap().url.host_str().unwrap().to_owned();
        let all = load(&Flags::default(), &env, text).unwrap();
        assert_eq!((host(&all, Some("http://flag:1")).as_str(), host(&all, None).as_str()), ("flag", "env"));
        let file = load(&Flags::default(), &[], text).unwrap();
        let endpoint = file.bridge.resolve(None, None).unwrap().unwrap();
        assert_eq!(
            (endpoint.url.host_str(), endpoint.capacity, endpoint.labels),
            (Some("file"), 2, vec!["gpu".to_owned()])
        );
        assert!(endpoint.key.is_none() && file.bridge.own_key(None).unwrap().is_none());
        let keyed = all.bridge.resolve(None, None).unwrap().unwrap();
        assert!(keyed.key.is_some() && !format!("{keyed:?} {all:?}").contains("sesame"));
        // A key alone is that of this machine.
        assert!(load(&Flags::default(), &env[1..], "").unwrap().bridge.resolve(None, None).unwrap().is_none());
        let wrong = load(&Flags::default(), &[("VPS_ENDPOINT", "http://me:pw@x")], "").unwrap();
        let error = wrong.bridge.resolve(None, None).unwrap_err();
        insta::assert_snapshot!(error.message(), @"the endpoint's address in the variable VPS_ENDPOINT is wrong: it must hold no user name and no password");
        assert!(
            load(&Flags::default(), &[], "[bridge]\ncapacity = 0\nendpoint = \"http://x\"\n")
                .unwrap()
                .bridge
                .resolve(None, None)
                .is_err()
        );
        assert!(load(&Flags::default(), &[], "[bridge]\nkey = \"secret\"\n").is_err(), "a key is in no settings file");
    }

    #[test]
    fn a_home_in_the_file_is_expanded() {
        let settings = load(&Flags::default(), &[("HOME", "/home/dev")], "data_dir = \"~/work\"\n").unwrap();
        assert_eq!(settings.data_dir, Path::new("/home/dev/work"));
    }
}
