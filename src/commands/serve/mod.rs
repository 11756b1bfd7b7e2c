//! `cadence serve`: the server in the foreground.

mod log;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cadence_agent::sandbox::Policy;
use cadence_agent::workspace::{WorkspaceError, Workspaces};
use cadence_protocol::SandboxMode;
use cadence_server::{BUNDLE_LIMIT, Exit as ServerExit, Face, Retention, ServeConfig, ServeError, VoiceReload};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use secrecy::SecretString;
use serde_json::json;
use time::OffsetDateTime;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::Context;
use crate::client::{Announcement, Endpoint, LOG_LIMIT, Rest, Runtime, private_directory, token_file};
use crate::commands::run::{SANDBOXES, sandbox};
use crate::complete;
use crate::config::{Settings, TokenSource, listen_address, process_environment};
use crate::error::{CommandError, CommandResult, Exit};
use crate::text;

const DEFAULT_LISTEN: &str = "127.0.0.1:8383";
/// A server that is started on demand ends after so long without work.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// Repositories with a workspace prepared ahead, unless the settings say.
const WARM_WORKSPACES: usize = 5;
/// How long an agent that was interrupted may take to let go of its workspace.
const LEFT: Duration = Duration::from_secs(10);
/// Open files that the server allows itself, where it may.
const OPEN_FILES: u64 = 65_536;
/// How long the storage may take to open.
const READY: Duration = Duration::from_secs(60);

/// Run the server in the foreground
///
/// Prints one line, `listening on http://ADDR:PORT`, when it is ready; its log goes to standard error (CADENCE_LOG sets
/// what is in it: error, warn, info, debug, or a filter like `cadence_server=debug`). SIGTERM and Ctrl-C end it; what runs
/// is continued by the next server on the same data. Any other address than loopback needs a token.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence serve
  cadence serve --listen 127.0.0.1:0 --data-dir /srv/cadence
  cadence serve --listen 0.0.0.0:8383 --token-file /etc/cadence/token
  cadence serve --bridge https://vps.example.org:8384 --bridge-key-file /etc/cadence/vps-key")]
pub struct Args {
    /// Address and port to listen on; port 0 takes a free one [environment: CADENCE_LISTEN] [default: 127.0.0.1:8383]
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// Where database, workspaces and logs are [environment: CADENCE_DATA_DIR]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,
    /// Tasks that run at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// What of the machine agents may touch, unless a task says [default: workspace, where the machine can enforce it]
    #[arg(long, value_name = "strict|workspace|off", value_parser = sandbox, add = complete::words(SANDBOXES))]
    sandbox: Option<SandboxMode>,
    /// A machine that gets tasks over HTTP, which runs `cadence daemon --listen` [environment: VPS_ENDPOINT]
    #[arg(long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    bridge: Option<String>,
    /// File that holds its key [environment: VPS_API_KEY holds the key itself]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    bridge_key_file: Option<PathBuf>,
    /// Where address and token are said to clients
    #[arg(long, hide = true)]
    runtime_dir: Option<PathBuf>,
    /// Started on demand: a session of its own, an end when idle
    #[arg(long, hide = true)]
    embedded: bool,
    /// Where the log goes, kept small
    #[arg(long, hide = true)]
    log_file: Option<PathBuf>,
    /// End when standard input does
    #[arg(long, hide = true)]
    until_stdin_closes: bool,
    /// Remove the data at the end
    #[arg(long, hide = true, requires = "until_stdin_closes", requires = "data_dir")]
    discard_data: bool,
    /// End after so long without work
    #[arg(long, hide = true, value_parser = text::parse_duration)]
    idle_exit: Option<Duration>,
    /// Seconds from a runner's heartbeat to the expiry of its lease
    #[arg(long, hide = true, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    lease_secs: u32,
}

pub fn run(context: &Context, args: Args) -> CommandResult {
    if args.embedded {
        // Ctrl-C and the end of the terminal concern the client alone.
        let _ = nix::unistd::setsid();
    }
    start_log(&context.settings, args.log_file.as_deref())?;
    allow_connections();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::failed("the server cannot be set up").caused_by(error))?;
    let (discard, embedded) = (args.discard_data, args.embedded);
    let result = runtime.block_on(Box::pin(serve(context, args)));
    let home = if discard { runtime.block_on(bring_home(&context.settings.data_dir)) } else { Ok(()) };
    runtime.shutdown_timeout(Duration::from_secs(5));
    match home {
        // Here and not in the command that it belongs to, which may have been killed.
        Ok(()) if discard => drop(std::fs::remove_dir_all(&context.settings.data_dir)),
        Ok(()) => {}
        Err(error) => {
            let place = context.settings.data_dir.display();
            tracing::error!("work could not be brought home, so {place} is kept: {error}");
        }
    }
    if let (Err(error), true) = (&result, embedded) {
        say_failed(error);
    }
    result
}

/// Each connection is an open file, and what shells allow at first is little more than a thousand.
pub(super) fn allow_connections() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| match hard.min(OPEN_FILES) {
        wanted if wanted > soft => setrlimit(Resource::RLIMIT_NOFILE, wanted, hard),
        _ => Ok(()),
    });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

/// For the client that started it and waits for the one line. Nobody listens where it was ready before.
fn say_failed(error: &CommandError) {
    let line = json!({ "error": error.message(), "causes": error.causes(), "hints": error.hints() });
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Brings home what agents left that were interrupted. What fails, or stays in a workspace, is an error: the data that it
/// is in must not be removed.
async fn bring_home(data: &Path) -> Result<(), WorkspaceError> {
    let all = Workspaces::new(data);
    let directory = data.join("workspaces");
    let reading = |source| WorkspaceError::Io { what: "reading", path: directory.clone(), source };
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(reading(error)),
    };
    for entry in entries {
        let name = entry.map_err(reading)?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(workspace) = all.open(id)? else { continue };
        let _held = workspace.lock(LEFT).await?;
        let finished = workspace.finish("Save interrupted work").await?;
        if workspace.has_work().await? {
            workspace.publish().await?;
        }
        if let Some(note) = finished.notes.into_iter().next() {
            return Err(reading(std::io::Error::other(note)));
        }
    }
    Ok(())
}

async fn serve(context: &Context, args: Args) -> CommandResult {
    let settings = &context.settings;
    let address = address(args.listen.as_deref(), settings)?;
    if !args.embedded {
        check_storage(&process_environment)?;
    }
    let runtime = Runtime::new(args.runtime_dir.as_deref().unwrap_or(&settings.runtime_dir));
    private_directory(&settings.data_dir)?;
    runtime.prepare()?;
    let (token, token_path) = token(settings, &runtime, &address, args.embedded)?;

    let listener = bind(&address).await?;
    let local =
        listener.local_addr().map_err(|error| CommandError::failed("the listener has no address").caused_by(error))?;
    let url = url(local)?;
    let config = ServeConfig {
        data_dir: settings.data_dir.clone(),
        token: Some(token.clone()),
        program: std::env::current_exe()
            .map_err(|error| CommandError::failed("cadence does not find its own program").caused_by(error))?,
        workers: args.workers.map(usize::from).or(settings.workers).unwrap_or_else(default_workers),
        labels: settings.labels.clone(),
        // Data that goes with the server has no next task.
        warm_workspaces: if args.discard_data { 0 } else { settings.warm_workspaces.unwrap_or(WARM_WORKSPACES) },
        repositories: settings.repositories.clone(),
        idle_exit: args.idle_exit.or(args.embedded.then_some(IDLE)),
        lease_secs: args.lease_secs,
        default_agent: settings.agent.clone().unwrap_or_else(|| "claude".to_owned()),
        agents: settings.agents.clone(),
        retention: retention(settings),
        policy: policy(settings, args.runtime_dir.as_deref(), args.sandbox),
        bundle_limit: settings.max_bundle.unwrap_or(BUNDLE_LIMIT),
        month_usd: settings.month_usd,
        voice: settings.voice.clone(),
        voice_reload: Some(VoiceReload(Arc::new({
            let path = settings.path.clone();
            move || Settings::voice_now(&path)
        }))),
        voice_environment: crate::speech::keys(),
        face: Face::Api,
        environment: BTreeMap::new(),
        bridge: settings.bridge.resolve(args.bridge.as_deref(), args.bridge_key_file.as_deref())?,
    };
    let shutdown = shutdown(args.until_stdin_closes)?;
    let mut server = tokio::spawn(cadence_server::serve(listener, config, shutdown.clone().cancelled_owned()));

    // Ready is what answers, not what listens.
    let probe = Rest::new(Endpoint { url: url.clone(), token: Some(token) })?;
    tokio::select! {
        ended = &mut server => return finished(ended),
        ready = answers(&probe) => ready?,
    }
    let announcement = Announcement {
        pid: i32::try_from(std::process::id()).unwrap_or(i32::MAX),
        url: url.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: OffsetDateTime::now_utc(),
        embedded: args.embedded,
        token_file: token_path,
    };
    let announced = runtime.announce(&announcement)?;
    say_ready(&local, args.embedded);
    let ended = server.await;
    runtime.withdraw();
    drop(announced);
    finished(ended)
}

/// The one line for whoever started it. One who does not listen any more is no reason to end.
pub(super) fn say_ready(local: &SocketAddr, embedded: bool) {
    let mut out = std::io::stdout().lock();
    let said = writeln!(out, "listening on http://{local}").and_then(|()| out.flush());
    if let (Err(error), false) = (said, embedded) {
        tracing::warn!(%error, "standard output is closed");
    }
    tracing::info!(%local, version = env!("CARGO_PKG_VERSION"), "ready");
}

async fn answers(probe: &Rest) -> Result<(), CommandError> {
    let deadline = tokio::time::Instant::now() + READY;
    loop {
        match probe.health(Duration::from_secs(5)).await {
            Ok(_) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

pub(super) fn finished(ended: Result<Result<ServerExit, ServeError>, tokio::task::JoinError>) -> CommandResult {
    match ended {
        Ok(Ok(ServerExit::Shutdown)) => {
            tracing::info!("ended");
            Ok(Exit::Done)
        }
        Ok(Ok(ServerExit::Idle)) => {
            tracing::info!("ended, for nothing was to do");
            Ok(Exit::Done)
        }
        Ok(Err(error @ ServeError::Listener(_))) => {
            Err(CommandError::failed("the server cannot go on").caused_by(error))
        }
        Ok(Err(error)) => {
            let failed = CommandError::failed(error.to_string());
            Err(match error.hint() {
                Some(hint) => failed.hint(hint),
                None => failed,
            })
        }
        Err(error) => Err(CommandError::failed("the server broke down").caused_by(error)),
    }
}

/// A database that is named and not used would leave its operator with data in another place than he thinks.
fn check_storage(env: &dyn Fn(&str) -> Option<OsString>) -> Result<(), CommandError> {
    for name in ["DATABASE_URL", "REDIS_URL"] {
        if env(name).is_some_and(|value| !value.is_empty()) {
            return Err(CommandError::usage(format!(
                "{name} is set, and this version keeps everything in SQLite in the data directory"
            ))
            .hint(format!("If it is meant for another program: env -u {name} cadence serve")));
        }
    }
    Ok(())
}

/// What agents are kept to: as it is set, and away from what lets one in here.
pub(super) fn policy(settings: &Settings, runtime: Option<&Path>, flag: Option<SandboxMode>) -> Policy {
    let mut policy = settings.policy.clone();
    policy.mode = flag.or(policy.mode);
    policy.hidden = settings.own_places();
    policy.hidden.extend(runtime.and_then(|runtime| std::path::absolute(runtime).ok()));
    policy
}

pub(super) fn retention(settings: &Settings) -> Retention {
    let usual = Retention::default();
    Retention { archived: settings.keep_archived.or(usual.archived), logs: settings.keep_logs.unwrap_or(usual.logs) }
}

/// Where to listen: the flag, the variable, the settings, the default.
fn address(flag: Option<&str>, settings: &Settings) -> Result<SocketAddr, CommandError> {
    let (text, origin) = match (flag, &settings.listen) {
        (Some(text), _) => (text, "--listen".to_owned()),
        (None, Some((text, origin))) => (text.as_str(), origin.to_string()),
        (None, None) => (DEFAULT_LISTEN, "the default".to_owned()),
    };
    listen_address(text).ok_or_else(|| {
        CommandError::usage(format!("`{}` (from {origin}) is no address to listen on", text::clean_line(text)))
            .hint("Write it like 127.0.0.1:8383 or [::1]:8383.")
    })
}

/// The token that is let in, and where clients on this machine find it. One that was given stays where it is; on loopback
/// one is made.
fn token(
    settings: &Settings,
    runtime: &Runtime,
    address: &SocketAddr,
    embedded: bool,
) -> Result<(SecretString, Option<PathBuf>), CommandError> {
    if embedded {
        let path = runtime.token_path();
        return Ok((token_file(&path)?, Some(path)));
    }
    if let Some(token) = settings.read_token()? {
        let path = match &settings.token {
            Some(TokenSource::File(path, _)) => std::path::absolute(path).ok(),
            _ => None,
        };
        return Ok((token, path));
    }
    if !address.ip().is_loopback() {
        return Err(CommandError::usage(format!("{address} is not loopback, and no token is set")).hint(
            "Make one: (umask 077; openssl rand -hex 32 > token), and give it with --token-file or CADENCE_TOKEN.",
        ));
    }
    let path = settings.data_dir.join("token");
    let token = token_file(&path)?;
    tracing::info!("clients on this machine use the token in {}", path.display());
    Ok((token, Some(path)))
}

pub(super) async fn bind(address: &SocketAddr) -> Result<TcpListener, CommandError> {
    TcpListener::bind(address).await.map_err(|error| {
        CommandError::failed(format!("{address} cannot be listened on"))
            .caused_by(error)
            .hint("Is another server there? --listen takes another port; port 0 takes a free one.")
    })
}

/// The address for clients on this machine.
pub(super) fn url(local: SocketAddr) -> Result<Url, CommandError> {
    let ip = match local.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        other => other,
    };
    Url::parse(&format!("http://{}", SocketAddr::new(ip, local.port())))
        .map_err(|error| CommandError::failed("the listener's address is strange").caused_by(error))
}

pub(super) fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(4, usize::from).clamp(4, 16)
}

/// What ends the server: SIGTERM, Ctrl-C, and for one that belongs to a command the end of that.
pub(super) fn shutdown(until_stdin_closes: bool) -> Result<CancellationToken, CommandError> {
    let token = CancellationToken::new();
    let fail = |error: std::io::Error| CommandError::failed("signals cannot be listened to").caused_by(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(fail)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(fail)?;
    let stop = token.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: ending"),
            _ = interrupt.recv() => tracing::info!("SIGINT: ending"),
        }
        stop.cancel();
        // Who asks twice does not want to wait.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(Exit::Interrupted.code().into());
    });
    if until_stdin_closes {
        let stop = token.clone();
        tokio::spawn(async move {
            let mut input = tokio::io::stdin();
            let mut nothing = [0; 64];
            while matches!(input.read(&mut nothing).await, Ok(count) if count > 0) {}
            stop.cancel();
        });
    }
    Ok(token)
}

pub(super) fn start_log(settings: &Settings, file: Option<&Path>) -> Result<(), CommandError> {
    let filter = match crate::config::process_environment("CADENCE_LOG") {
        None => "info".to_owned(),
        Some(filter) => {
            filter.into_string().map_err(|_| CommandError::usage("the variable CADENCE_LOG is not text"))?
        }
    };
    let filter = tracing_subscriber::EnvFilter::try_new(&filter).map_err(|error| {
        CommandError::usage(format!("the variable CADENCE_LOG is wrong: `{}`", text::clean_line(&filter)))
            .caused_by(error)
            .hint("Write it like info, debug, or warn,cadence_server=debug.")
    })?;
    // Nobody may be left who reads it. To say that on standard error, as it would, would end whatever was told of.
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false);
    // One that cannot be written is no reason not to work.
    let started = match file.and_then(|path| log::RollingLog::open(path, LOG_LIMIT).ok()) {
        Some(log) => subscriber.with_writer(Arc::new(log)).with_ansi(false).try_init(),
        None => {
            let color = crate::terminal::Terminal::detect(settings.color).color_err;
            subscriber.with_writer(std::io::stderr).with_ansi(color).try_init()
        }
    };
    started.map_err(|error| CommandError::failed("the log cannot be started").caused_by(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn clients_are_told_an_address_that_they_can_reach() {
        let text = |local: &str| url(local.parse().unwrap()).unwrap().to_string();
        assert_eq!(text("127.0.0.1:80"), "http://127.0.0.1/");
        assert_eq!(text("0.0.0.0:8383"), "http://127.0.0.1:8383/");
        assert_eq!(text("[::]:8383"), "http://[::1]:8383/");
        assert_eq!(text("192.0.2.1:8383"), "http://192.0.2.1:8383/");
    }
}
