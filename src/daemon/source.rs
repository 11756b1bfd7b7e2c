//! The runner's side of the bridge: what it reports is on disk before it goes on, and what it is told comes from the link.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cadence_agent::{SourceError, TaskSource};
use cadence_protocol::{AttemptEnd, Claim, Command, Frame, Held, Lease};
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::spool::{Outcome, Spool};

/// Offers that wait for the runner: it asks for one at a time.
const OFFERS: usize = 4;
/// Variables that say where things are on a machine: a task brings those of another one.
const OURS: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "SSH_AUTH_SOCK"];
/// Pieces of transient text that wait to be sent; more are dropped.
const DELTAS: usize = 256;

/// An attempt that this machine holds.
#[derive(Debug)]
pub struct Attempt {
    pub lease: Lease,
    spool: Mutex<Spool>,
    /// The lease is somebody else's.
    pub lost: CancellationToken,
    commands: watch::Sender<Vec<Command>>,
    /// Milliseconds worked, and whether the server is to be told.
    worked: AtomicU64,
    beats: AtomicBool,
    /// Whether its result is on its way to the server, and whether it is there.
    carried: AtomicBool,
    there: AtomicBool,
}

impl Attempt {
    fn new(spool: Spool) -> Self {
        Self {
            lease: spool.lease,
            spool: Mutex::new(spool),
            lost: CancellationToken::new(),
            commands: watch::Sender::default(),
            worked: AtomicU64::default(),
            beats: AtomicBool::default(),
            carried: AtomicBool::default(),
            there: AtomicBool::default(),
        }
    }

    pub fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its result has still to be handed over; `true` the first time.
    pub fn begins_to_carry(&self) -> bool {
        !self.carried.swap(true, Ordering::AcqRel)
    }

    /// Its result is with the server, or cannot be.
    pub fn is_there(&self) -> bool {
        self.there.load(Ordering::Acquire)
    }

    pub fn carried(&self) {
        self.there.store(true, Ordering::Release);
    }

    /// How long it has worked, where the server is to be told.
    pub fn beat(&self) -> Option<u64> {
        self.beats.swap(false, Ordering::Relaxed).then(|| self.worked.load(Ordering::Relaxed))
    }

    /// Takes a command in; one that came before is passed over.
    pub fn command(&self, command: Command) {
        self.commands.send_if_modified(|all| {
            let is_new = all.iter().all(|known| known.id != command.id);
            if is_new {
                all.push(command);
            }
            is_new
        });
    }
}

type Key = (Uuid, u32);

/// What runner and link share.
#[derive(Debug)]
pub struct Source {
    /// Where spools are.
    root: PathBuf,
    attempts: Mutex<HashMap<Key, Arc<Attempt>>>,
    /// What was taken and could not be kept: the server has it back.
    returned: Mutex<Vec<Lease>>,
    /// The runner could run one more, and how often it has asked.
    wanting: AtomicBool,
    asked: AtomicU64,
    offers: mpsc::Sender<Claim>,
    inbox: tokio::sync::Mutex<mpsc::Receiver<Claim>>,
    deltas: mpsc::Sender<(Uuid, String)>,
    /// Something is to be sent.
    pub wake: Notify,
    /// An attempt is done with.
    gone: Notify,
    /// No more work is taken.
    closing: CancellationToken,
}

impl Source {
    /// Finds what earlier daemons left under `root`: whatever they ran is given back, after its reports. Gives the transient
    /// text to send, too.
    pub fn open(root: &Path, closing: CancellationToken) -> io::Result<(Self, mpsc::Receiver<(Uuid, String)>)> {
        let mut attempts: HashMap<Key, Arc<Attempt>> = HashMap::new();
        for mut spool in Spool::all(root)? {
            if !spool.is_left() {
                spool.leave(Outcome::Release)?;
            }
            let Lease { task_id, attempt, epoch, .. } = spool.lease;
            // Of two leases of one attempt the newer counts.
            match attempts.get(&(task_id, attempt)) {
                Some(other) if other.lease.epoch > epoch => spool.discard()?,
                _ => {
                    if let Some(older) = attempts.insert((task_id, attempt), Arc::new(Attempt::new(spool))) {
                        older.spool().discard()?;
                    }
                }
            }
        }
        let (offers, inbox) = mpsc::channel(OFFERS);
        let (deltas, texts) = mpsc::channel(DELTAS);
        let source = Self {
            root: root.to_owned(),
            attempts: Mutex::new(attempts),
            returned: Mutex::default(),
            wanting: AtomicBool::default(),
            asked: AtomicU64::default(),
            offers,
            inbox: tokio::sync::Mutex::new(inbox),
            deltas,
            wake: Notify::new(),
            gone: Notify::new(),
            closing,
        };
        Ok((source, texts))
    }

    /// Everything that is held, or was.
    pub fn attempts(&self) -> Vec<Arc<Attempt>> {
        self.all().values().cloned().collect()
    }

    pub fn held(&self) -> Vec<Held> {
        self.all().values().map(|a| Held { lease: a.lease, acked: a.spool().acked_seq() }).collect()
    }

    /// Which of its requests the runner waits for, where it wants one more attempt.
    pub fn wants(&self) -> Option<u64> {
        self.wanting.load(Ordering::Acquire).then(|| self.asked.load(Ordering::Acquire))
    }

    pub fn returned(&self) -> Vec<Lease> {
        std::mem::take(&mut *self.returned.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Hands an offer to the runner; one that it does not want goes back.
    pub fn offer(&self, claim: Claim) {
        self.wanting.store(false, Ordering::Release);
        let lease = claim.lease;
        if self.closing.is_cancelled() || self.offers.try_send(claim).is_err() {
            self.give_back(lease);
        }
    }

    /// The server has it back.
    pub fn give_back(&self, lease: Lease) {
        self.returned.lock().unwrap_or_else(PoisonError::into_inner).push(lease);
        self.wake.notify_one();
    }

    /// The attempt, where it is held under this fencing number.
    pub fn find(&self, task: Uuid, attempt: u32, epoch: u64) -> Option<Arc<Attempt>> {
        self.all().get(&(task, attempt)).filter(|found| found.lease.epoch == epoch).cloned()
    }

    /// The attempt is not ours any more: done with, or lost.
    pub fn forget(&self, task: Uuid, attempt: u32, epoch: u64, lost: bool) {
        let found = self.find(task, attempt, epoch);
        let Some(found) = found else { return };
        self.all().remove(&(task, attempt));
        if lost {
            if !found.spool().is_left() {
                tracing::warn!(%task, attempt, "the lease is lost; the run is stopped");
            }
            found.lost.cancel();
        }
        if let Err(error) = found.spool().discard() {
            tracing::warn!(%error, %task, attempt, "a spool that is done with cannot be removed");
        }
        self.gone.notify_one();
    }

    /// Waits until an attempt is done with.
    pub async fn changed(&self) {
        self.gone.notified().await;
    }

    /// What came in the last moment goes back.
    pub async fn close(&self) {
        let mut inbox = self.inbox.lock().await;
        while let Ok(claim) = inbox.try_recv() {
            self.give_back(claim.lease);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Key, Arc<Attempt>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leased(&self, lease: &Lease) -> Result<Arc<Attempt>, SourceError> {
        self.find(lease.task_id, lease.attempt, lease.epoch).ok_or(SourceError::LeaseLost)
    }

    /// Does something with the spool that may take as long as a disk does.
    async fn keep(
        &self,
        lease: &Lease,
        work: impl FnOnce(&mut Spool) -> io::Result<()> + Send + 'static,
    ) -> Result<(), SourceError> {
        let attempt = self.leased(lease)?;
        let kept = tokio::task::spawn_blocking(move || work(&mut attempt.spool())).await;
        match kept {
            Ok(Ok(())) => {
                self.wake.notify_one();
                Ok(())
            }
            Ok(Err(error)) => Err(SourceError::Unavailable(format!("the spool cannot be written: {error}"))),
            Err(error) => Err(SourceError::Refused(error.to_string())),
        }
    }
}

impl TaskSource for Source {
    async fn claim(&self) -> Result<Claim, SourceError> {
        let mut inbox = self.inbox.lock().await;
        self.asked.fetch_add(1, Ordering::AcqRel);
        self.wanting.store(true, Ordering::Release);
        self.wake.notify_one();
        let mut claim = tokio::select! {
            biased;
            () = self.closing.cancelled() => return Err(SourceError::Closed),
            claim = inbox.recv() => claim.ok_or(SourceError::Closed)?,
        };
        claim.spec.environment.retain(|name, _| !OURS.contains(&name.as_str()));
        let (root, lease) = (self.root.clone(), claim.lease);
        let kept = tokio::task::spawn_blocking(move || Spool::create(&root, &claim).map(|spool| (spool, claim))).await;
        match kept {
            Ok(Ok((spool, claim))) => {
                self.all().insert((lease.task_id, lease.attempt), Arc::new(Attempt::new(spool)));
                Ok(claim)
            }
            Ok(Err(error)) => {
                self.give_back(lease);
                Err(SourceError::Unavailable(format!("the spool cannot be written: {error}")))
            }
            Err(error) => {
                self.give_back(lease);
                Err(SourceError::Unavailable(error.to_string()))
            }
        }
    }

    async fn report(&self, lease: &Lease, frames: Vec<Frame>) -> Result<(), SourceError> {
        self.keep(lease, move |spool| spool.append(&frames)).await
    }

    fn delta(&self, lease: &Lease, text: String) {
        if self.deltas.try_send((lease.task_id, text)).is_ok() {
            self.wake.notify_one();
        }
    }

    async fn heartbeat(&self, lease: &Lease, worked: Duration) -> Result<(), SourceError> {
        let attempt = self.leased(lease)?;
        attempt.worked.store(u64::try_from(worked.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        attempt.beats.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        Ok(())
    }

    async fn commands(&self, lease: &Lease, seen: &[Uuid]) -> Result<Vec<Command>, SourceError> {
        let attempt = self.leased(lease)?;
        let mut commands = attempt.commands.subscribe();
        let is_new = |command: &Command| !seen.contains(&command.id);
        tokio::select! {
            biased;
            () = attempt.lost.cancelled() => Err(SourceError::LeaseLost),
            found = commands.wait_for(|all| all.iter().any(is_new)) => match found {
                Ok(all) => Ok(all.iter().filter(|command| is_new(command)).cloned().collect()),
                Err(_) => Err(SourceError::LeaseLost),
            },
        }
    }

    async fn finish(&self, lease: &Lease, end: AttemptEnd) -> Result<(), SourceError> {
        self.keep(lease, move |spool| spool.leave(Outcome::End { end })).await
    }

    async fn release(&self, lease: &Lease) -> Result<(), SourceError> {
        self.keep(lease, move |spool| spool.leave(Outcome::Release)).await
    }
}
