//! From a configuration to a running server, and to its end.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use cadence_agent::Agent;
use cadence_agent::acp::Acp;
use cadence_agent::claude::Claude;
use cadence_agent::codex::Codex;
use cadence_agent::demo::Demo;
use cadence_agent::host::{kill_marked, marker};
use cadence_agent::runner::{Agents, Runner};
use cadence_agent::workspace::Workspaces;
use cadence_protocol::Executor;
use secrecy::ExposeSecret;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bridge::Bridge;
use crate::bridge::sse::Outlet;
use crate::config::{Exit, Face, ServeConfig, ServeError};
use crate::events::Hub;
use crate::http::{Activity, App, Gate, Patience, machine, router};
use crate::queue::{Dispatcher, Place, Queue};
use crate::results::Results;
use crate::store::{Principal, Store, StoreError, file};
use crate::upkeep::Upkeep;
use crate::voice::Voice;

/// Name of the user that the server's own token belongs to.
const OWNER: &str = "owner";
/// How long running attempts may take to let go, and open requests to end.
const CLOSE_LIMIT: Duration = Duration::from_secs(15);
/// A peer that sends nothing for so long is asked whether it is there.
const PEER_ASKED: Duration = Duration::from_secs(30);
/// A peer whose machine has not taken what was sent for so long is gone.
#[cfg(target_os = "linux")]
const PEER_GONE: Duration = Duration::from_secs(60);
/// What the kernel keeps for a peer beside what is on its way, in bytes: one that does not read shall not fill its memory.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;
const IDLE_LOOK: Duration = Duration::from_secs(5);
/// Variables of the service that agents get too; everything else a task brings itself.
const INHERITED: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TMPDIR", "TZ"];

/// Serves until `shutdown` is ready or nothing was asked of it for `config.idle_exit`, then lets running attempts go
/// (they are continued by the next server on the same data) and closes the storage.
pub async fn serve(
    listener: TcpListener,
    config: ServeConfig,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<Exit, ServeError> {
    let agents = agents(&config.agents)?;
    let lock = DataLock::take(&config.data_dir)?;
    let database = config.data_dir.join(crate::store::FILE);
    let storage = |error: StoreError| ServeError::Storage { path: database.clone(), error };
    let broke_off = lock.begin();
    let log = file::beside(&database, "-wal");
    if broke_off && database.exists() && !log.exists() {
        tracing::warn!(log = %log.display(), "the server before broke off, and its log is gone: what it stored last may be missing");
    }
    let store = match Store::open(&database, Arc::new(Hub::default())).await {
        Ok(store) => store.with_month_limit(config.month_usd),
        Err(error) => {
            if !broke_off {
                lock.end();
            }
            return Err(storage(error));
        }
    };
    let user_id = store.ensure_user(OWNER, "admin").await.map_err(storage)?;
    let owner = Principal { user_id, name: OWNER.to_owned(), scopes: vec!["*".to_owned()] };
    let gate = Gate::new(config.token.as_ref().map(|token| (token.expose_secret(), owner.clone())));

    let voice = Voice::new(config.voice, config.voice_reload, config.voice_environment, &config.data_dir);
    let closing = CancellationToken::new();
    let workspaces = Workspaces::new(&config.data_dir)
        .with_warm(config.warm_workspaces)
        .with_helper(&config.program)
        .with_repositories(config.repositories);
    let workspaces = Arc::new(workspaces);
    let activity = Arc::new(Activity::default());
    activity.touch();
    let dispatcher = Dispatcher::new(store.clone(), config.lease_secs);
    let bridge = Bridge::new(store.clone(), dispatcher.clone(), closing.clone());
    let place = dispatcher.register(Place {
        holder: Uuid::new_v4(),
        name: "the server's own machine".to_owned(),
        executor: Executor::Local,
        machine_id: None,
        labels: config.labels,
        agents: Some(agents.names().into_iter().map(str::to_owned).collect()),
        repositories: Vec::new(),
        capacity: u32::try_from(config.workers).unwrap_or(u32::MAX),
        draining: false,
        away: None,
        serves: None,
    });
    let outlet = match config.bridge {
        Some(endpoint) => Some(
            Outlet::open(endpoint, store.clone(), &dispatcher, closing.clone())
                .map_err(|error| ServeError::Bridge(error.to_string()))?,
        ),
        None => None,
    };
    let app = App {
        bridge,
        dispatcher: dispatcher.clone(),
        store: store.clone(),
        gate: Arc::new(gate),
        workspaces: workspaces.clone(),
        activity: activity.clone(),
        voice: Arc::new(voice),
        results: Results::new(&config.data_dir),
        bundle_limit: config.bundle_limit,
        default_agent: config.default_agent.clone(),
        retention: config.retention,
        agents: agents.names(),
        patience: Patience::default(),
        closing: closing.clone(),
    };
    let runner = Arc::new(Runner {
        source: Arc::new(Queue::new(store.clone(), place, closing.clone())),
        agents,
        workspaces: workspaces.clone(),
        program: config.program.clone(),
        policy: config.policy,
        limit: config.workers,
        environment: inherited().into_iter().chain(config.environment).collect(),
        closing: closing.clone(),
    });
    // Whoever had a lease here is dead: the lock says so.
    let orphans = store.end_leases(config.lease_secs).await.map_err(storage)?;
    if broke_off {
        clean_up(orphans, workspaces.clone()).await;
    }
    let dispatcher = tokio::spawn(dispatcher.run(closing.clone()));
    let mut outlet = tokio::spawn(async move {
        if let Some(outlet) = outlet {
            outlet.run().await;
        }
    });
    let mut runner = tokio::spawn(runner.work());
    let upkeep = Upkeep { store: store.clone(), workspaces, retention: config.retention };
    let upkeep = tokio::spawn(upkeep.run(broke_off, closing.clone()));

    let idle = idle(store.clone(), activity, config.idle_exit);
    let stop = closing.clone();
    let (exit, exited) = tokio::sync::oneshot::channel();
    let ended = async move {
        let why = tokio::select! {
            () = shutdown => Exit::Shutdown,
            () = idle => Exit::Idle,
        };
        tracing::info!(?why, "closing");
        stop.cancel();
        let _ = exit.send(why);
    };
    let deny = (config.face == Face::Machine).then(|| tokio::spawn(machine::deny(app.clone(), owner.clone())));
    let service = match config.face {
        Face::Api => router(app),
        Face::Machine => machine::router(app, owner),
    };
    let service = service.into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|socket| prepare(socket));
    let mut server = tokio::spawn(axum::serve(listener, service).with_graceful_shutdown(ended).into_future());
    let exit = tokio::select! {
        // A server that was told to end may have ended by the time that this looks.
        biased;
        exit = exited => exit.unwrap_or(Exit::Shutdown),
        served = &mut server => {
            closing.cancel();
            match served {
                Ok(Err(error)) => return Err(error.into()),
                _ => Exit::Shutdown,
            }
        }
    };
    // A client that holds its request open does not hold up the end.
    let _ = timeout(CLOSE_LIMIT, async {
        let _ = (&mut runner).await;
        let _ = (&mut outlet).await;
        if !server.is_finished() {
            let _ = timeout(Duration::from_secs(2), &mut server).await;
        }
    })
    .await;
    server.abort();
    runner.abort();
    outlet.abort();
    upkeep.abort();
    if let Some(deny) = deny {
        deny.abort();
    }
    dispatcher.abort();
    store.close().await;
    lock.end();
    Ok(exit)
}

/// The agents that there are: cadence's own, and those of the settings.
pub fn agents(settings: &BTreeMap<String, Vec<String>>) -> Result<Agents, ServeError> {
    let mut all: Vec<Arc<dyn Agent>> =
        vec![Arc::new(Claude), Arc::new(Codex), Arc::new(Acp::opencode()), Arc::new(Demo)];
    for (name, command) in settings {
        all.push(Arc::new(Acp::new(name, command)?));
    }
    Ok(Agents::new(all))
}

/// After a server that broke off: what it ran is ended, and the locks that git left in mirrors go, since nobody holds them.
async fn clean_up(orphans: Vec<(Uuid, u32)>, workspaces: Arc<Workspaces>) {
    let cleaned = tokio::task::spawn_blocking(move || {
        for (task, attempt) in orphans {
            kill_marked(&marker(task, attempt));
        }
        workspaces.unlock_mirrors()
    });
    match cleaned.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "locks that git left behind could not be removed"),
        Err(error) => tracing::error!(%error, "what a server left behind could not be cleaned up"),
    }
}

pub fn inherited() -> BTreeMap<String, String> {
    INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect()
}

/// What is small goes out at once, and a peer that is gone without a word is noticed.
fn prepare(socket: &TcpStream) {
    let keepalive = TcpKeepalive::new().with_time(PEER_ASKED).with_interval(PEER_ASKED / 3).with_retries(3);
    let kept = socket.set_nodelay(true).and_then(|()| SockRef::from(socket).set_tcp_keepalive(&keepalive));
    // Where something is on its way to it, the kernel would ask on for a quarter of an hour.
    #[cfg(target_os = "linux")]
    let kept = kept
        .and_then(|()| SockRef::from(socket).set_tcp_user_timeout(Some(PEER_GONE)))
        .and_then(|()| SockRef::from(socket).set_tcp_notsent_lowat(UNSENT));
    if let Err(error) = kept {
        // The peer may be gone already.
        tracing::debug!(%error, "a connection cannot be prepared");
    }
}

/// A data directory that is taken: nobody else works on it. The kernel lets go of it however the process ends.
#[derive(Debug)]
pub struct DataLock(File);

/// Stands in the lock's file while a server works.
const WORKING: &[u8] = b"a server works here\n";

impl DataLock {
    /// Makes the data directory, for its owner alone, and takes it.
    pub fn take(directory: &Path) -> Result<Self, ServeError> {
        let unusable = |source| ServeError::DataDir { path: directory.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unusable)?;
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).map_err(unusable)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(directory.join("server.lock")).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(ServeError::InUse { path: directory.to_owned() }),
            Err(TryLockError::Error(error)) => Err(unusable(error)),
        }
    }

    /// Notes that work begins, and tells whether that of the server before broke off. A note that cannot be made, as on a
    /// full disk, costs a check after a crash.
    fn begin(&self) -> bool {
        let mut before = Vec::new();
        let read = (&self.0).take(64).read_to_end(&mut before);
        let _ = self.0.set_len(0).and_then(|()| self.0.write_all_at(WORKING, 0));
        read.is_ok() && before.starts_with(WORKING)
    }

    /// Notes that nothing is left to do.
    fn end(&self) {
        let _ = self.0.set_len(0);
    }
}

/// Ready when nothing was asked and nothing ran for so long.
async fn idle(store: Store, activity: Arc<Activity>, limit: Option<Duration>) {
    let Some(limit) = limit else { return std::future::pending().await };
    loop {
        tokio::time::sleep(IDLE_LOOK.min(limit)).await;
        match store.busy_attempts().await {
            Ok(0) if activity.idle() >= limit => return,
            Ok(0) => {}
            // What runs is as good as a request.
            _ => activity.touch(),
        }
    }
}
