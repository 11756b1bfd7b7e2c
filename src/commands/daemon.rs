//! `cadence daemon`: runs agents on this machine for a server elsewhere.

use std::io::Write as _;
use std::path::PathBuf;

use cadence_protocol::SandboxMode;
use nix::unistd::gethostname;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use self::listen::{Listen, Machine};
use super::Context;
use super::run::{SANDBOXES, sandbox};
use super::serve::{allow_connections, default_workers, policy, shutdown, start_log};
use crate::checkout;
use crate::client::Endpoint;
use crate::complete;
use crate::config::Settings;
use crate::daemon::{self, Config};
use crate::error::{CommandError, CommandResult, Exit};

mod listen;
mod unit;

/// Repositories with a workspace prepared ahead, unless the settings say.
const WARM_WORKSPACES: usize = 5;

/// Run agents on this machine for a server elsewhere
///
/// Dials out to the server, so the machine needs no open port. Repositories stay cloned, and a task starts at once. What
/// agents do is kept on disk until the server has it: the network may go, the server or this program may die, and nothing is
/// lost. The log goes to standard error (CADENCE_LOG sets what is in it). SIGTERM gives running tasks back, to be
/// continued by the next daemon on the same data.
///
/// With --listen it answers over HTTP too, or only: POST /task (waits for the end), POST /task/stream (server-sent events),
/// GET /task/ID/stream (goes on after Last-Event-ID), DELETE /task/ID and GET /health.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence tokens create --daemon build-box > token      on the side of the server
  cadence daemon --server https://cadence.example.org --token-file token
  cadence daemon --capacity 4 --label gpu --label linux
  cadence daemon --listen 0.0.0.0:8384 --key-file key   for a server with VPS_ENDPOINT, or any HTTP client
  cadence daemon --print-unit systemd | sudo tee /etc/systemd/system/cadence-daemon.service")]
pub struct Args {
    /// What people call this machine [default: its host name]
    #[arg(long)]
    name: Option<String>,
    /// Tasks that run at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    capacity: Option<u16>,
    /// What tasks may ask for with `--on`; may be given several times
    #[arg(long = "label", value_name = "LABEL")]
    labels: Vec<String>,
    /// What of the machine agents may touch, unless a task says [default: workspace, where the machine can enforce it]
    #[arg(long, value_name = "strict|workspace|off", value_parser = sandbox, add = complete::words(SANDBOXES))]
    sandbox: Option<SandboxMode>,
    /// Where mirrors, workspaces and spools are [environment: CADENCE_DATA_DIR]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub data_dir: Option<PathBuf>,
    /// Also answer to `/task` over HTTP, on this address and port; any other than loopback needs a key
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<String>,
    /// File that holds the bearer key for that [environment: VPS_API_KEY holds the key itself]
    #[arg(long, value_name = "FILE", requires = "listen", value_hint = clap::ValueHint::FilePath)]
    key_file: Option<PathBuf>,
    /// Print a unit for the service manager, and end
    #[arg(long, value_name = "KIND", value_enum, num_args = 0..=1, default_missing_value = unit::DEFAULT)]
    print_unit: Option<unit::Kind>,
}

pub fn run(context: &Context, args: Args) -> CommandResult {
    let program = std::env::current_exe()
        .map_err(|error| CommandError::failed("cadence does not find its own program").caused_by(error))?;
    let settings = &context.settings;
    if let Some(kind) = args.print_unit {
        let server = settings.server.as_ref().map(ToString::to_string);
        std::io::stdout().lock().write_all(unit::text(kind, &program, server.as_deref()).as_bytes())?;
        return Ok(Exit::Done);
    }
    let listen = args.listen.as_deref().map(|address| Listen::check(settings, address, args.key_file.as_deref()));
    let listen = listen.transpose()?;
    let endpoint = match settings.server.clone() {
        Some(url) => Some(Endpoint { url, token: Some(token(settings)?) }),
        None if listen.is_some() => None,
        None => {
            return Err(CommandError::usage("the daemon does not know which server to work for")
                .hint("Name it with --server URL, CADENCE_SERVER or `cadence config set server URL`.")
                .hint("One that is only reached over HTTP is started with --listen ADDR:PORT."));
        }
    };
    start_log(settings, None)?;
    allow_connections();
    let labels = if args.labels.is_empty() { settings.labels.clone() } else { args.labels };
    if let Some(label) = labels.iter().find(|label| label.is_empty() || label.len() > 50) {
        return Err(CommandError::usage(format!("`{}` is no label: 1 to 50 bytes", crate::text::clean_line(label))));
    }
    // A server that the same user starts on demand has a directory of its own.
    let data_dir = if settings.data_dir_named { settings.data_dir.clone() } else { settings.data_dir.join("daemon") };
    let host = || gethostname().ok().and_then(|name| name.into_string().ok());
    let capacity = args.capacity.map(u32::from).or(settings.workers.and_then(|n| u32::try_from(n).ok()));
    let capacity = capacity.unwrap_or_else(|| u32::try_from(default_workers()).unwrap_or(4));
    let environment = checkout::task_environment(checkout::environment(), &settings.environment);
    let warm_workspaces = settings.warm_workspaces.unwrap_or(WARM_WORKSPACES);
    let policy = policy(settings, Some(&data_dir), args.sandbox);
    let machine = listen.map(|listen| {
        let machine = Machine {
            data_dir: data_dir.join("listen"),
            program: program.clone(),
            capacity,
            environment: environment.clone(),
            warm_workspaces,
            policy: policy.clone(),
        };
        (listen, machine)
    });
    let agents = cadence_server::agents(&settings.agents).map_err(|error| CommandError::usage(error.to_string()))?;
    let config = endpoint.map(|endpoint| Config {
        endpoint,
        data_dir,
        name: args.name.or_else(host).unwrap_or_else(|| "a machine".to_owned()),
        capacity,
        labels,
        agents,
        program,
        repositories: settings.repositories.clone(),
        policy,
        environment,
        warm_workspaces,
    });
    // Little is to be done here: agents are processes of their own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CommandError::failed("the daemon cannot be set up").caused_by(error))?;
    let ended = runtime.block_on(Box::pin(work(settings, config, machine)));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    ended.map(|()| Exit::Done)
}

fn token(settings: &Settings) -> Result<SecretString, CommandError> {
    settings.read_token()?.ok_or_else(|| {
        CommandError::usage("the daemon has no token for the server").hint(
            "Make one where the server is with `cadence tokens create --daemon NAME`, and give it with --token-file or \
             CADENCE_TOKEN.",
        )
    })
}

/// Works for the server, answers over HTTP, or both; when one cannot go on, the other ends too.
async fn work(
    settings: &Settings,
    config: Option<Config>,
    machine: Option<(Listen, Machine)>,
) -> Result<(), CommandError> {
    let stop: CancellationToken = shutdown(false)?;
    let dialled = async {
        let Some(config) = config else { return Ok(()) };
        let (url, name) = (config.endpoint.url.clone(), config.name.clone());
        let ready = move || {
            let line =
                format!("connected to {} as {}", url.as_str().trim_end_matches('/'), crate::text::clean_line(&name));
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        };
        daemon::run(config, stop.clone(), ready).await.inspect_err(|_| stop.cancel())
    };
    let answering = async {
        let Some((listen, machine)) = machine else { return Ok(()) };
        listen::serve(listen, settings, machine, stop.clone()).await.inspect_err(|_| stop.cancel())
    };
    let (dialled, answering) = tokio::join!(Box::pin(dialled), Box::pin(answering));
    dialled.and(answering)
}
