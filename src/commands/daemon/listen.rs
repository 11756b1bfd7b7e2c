//! `cadence daemon --listen`: the machine answers to `/task` over HTTP.
//!
//! It is the server itself, on data of its own and without its API, so that what an agent does is stored before it is
//! told, and a machine that died goes on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cadence_agent::sandbox::Policy;
use cadence_server::{BUNDLE_LIMIT, Face, ServeConfig};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use super::super::serve::{bind, finished, retention, say_ready};
use crate::client::{Endpoint, Rest};
use crate::config::{Settings, listen_address};
use crate::error::{CommandError, Exit};
use crate::text;

/// How long the storage may take to open.
const READY: Duration = Duration::from_secs(60);
/// Seconds from a heartbeat of the machine's own runner to the expiry of its lease.
const LEASE_SECS: u32 = 30;

/// How the machine is reached.
pub struct Listen {
    address: SocketAddr,
    key: Option<SecretString>,
}

impl Listen {
    /// Checks what was given: without a key it is for the machine itself.
    pub fn check(settings: &Settings, address: &str, key_file: Option<&Path>) -> Result<Self, CommandError> {
        let parsed = listen_address(address).ok_or_else(|| {
            CommandError::usage(format!("`{}` is no address to listen on", text::clean_line(address)))
                .hint("Write it like 127.0.0.1:8384 or 0.0.0.0:8384.")
        })?;
        let key = settings.bridge.own_key(key_file)?;
        if key.is_none() && !parsed.ip().is_loopback() {
            return Err(CommandError::usage(format!("{parsed} is not loopback, and there is no key")).hint(
                "Make one: (umask 077; openssl rand -hex 32 > key), and give it with --key-file or VPS_API_KEY.",
            ));
        }
        Ok(Self { address: parsed, key })
    }
}

/// What the machine is.
pub struct Machine {
    pub data_dir: PathBuf,
    pub program: PathBuf,
    pub capacity: u32,
    pub environment: BTreeMap<String, String>,
    pub warm_workspaces: usize,
    /// What agents are kept to.
    pub policy: Policy,
}

/// Answers until it is stopped.
pub async fn serve(
    listen: Listen,
    settings: &Settings,
    machine: Machine,
    stop: CancellationToken,
) -> Result<(), CommandError> {
    let listener = bind(&listen.address).await?;
    let local =
        listener.local_addr().map_err(|error| CommandError::failed("the listener has no address").caused_by(error))?;
    if listen.key.is_some() && !local.ip().is_loopback() {
        tracing::info!("the key goes over the network as it is; put TLS before this port where others may listen");
    }
    let config = ServeConfig {
        data_dir: machine.data_dir,
        token: listen.key,
        program: machine.program,
        workers: usize::try_from(machine.capacity).unwrap_or(usize::MAX),
        labels: Vec::new(),
        warm_workspaces: machine.warm_workspaces,
        idle_exit: None,
        lease_secs: LEASE_SECS,
        default_agent: settings.agent.clone().unwrap_or_else(|| "claude".to_owned()),
        agents: settings.agents.clone(),
        policy: machine.policy,
        repositories: settings.repositories.clone(),
        bundle_limit: settings.max_bundle.unwrap_or(BUNDLE_LIMIT),
        month_usd: settings.month_usd,
        retention: retention(settings),
        voice: settings.voice.clone(),
        voice_reload: None,
        voice_environment: BTreeMap::new(),
        face: Face::Machine,
        environment: machine.environment,
        bridge: None,
    };
    let mut server = tokio::spawn(cadence_server::serve(listener, config, stop.cancelled_owned()));
    let probe = Rest::new(Endpoint { url: super::super::serve::url(local)?, token: None })?;
    tokio::select! {
        ended = &mut server => return finished(ended).map(drop),
        ready = ready(&probe) => ready?,
    }
    say_ready(&local, false);
    finished(server.await).and_then(|exit| match exit {
        Exit::Done => Ok(()),
        _ => Err(CommandError::failed("the machine's server ended")),
    })
}

/// Ready is what answers, not what listens.
async fn ready(probe: &Rest) -> Result<(), CommandError> {
    let deadline = tokio::time::Instant::now() + READY;
    loop {
        match probe.ready(Duration::from_secs(5)).await {
            Ok(()) => return Ok(()),
            Err(error) if tokio::time::Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
