//! Brings together attempts that wait and places that could run one more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cadence_protocol::Claim;
use futures_util::future::join_all;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::POLL;
use super::place::{Place, plan};
use crate::store::{Candidate, Store, StoreError, Taker};

/// Attempts of one user, and attempts that somebody let go of, that are looked at together.
const PAGE: u32 = 64;
/// How long it waits after the storage failed.
const RETRY: Duration = Duration::from_secs(1);

/// The places that there are, and what they want. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    store: Store,
    lease_secs: u32,
    open: Arc<Mutex<HashMap<Uuid, Open>>>,
    changed: Arc<Notify>,
}

struct Open {
    place: Place,
    want: Option<oneshot::Sender<Claim>>,
    /// Tells registrations of the same place apart.
    registration: u64,
}

/// A place is there for as long as this is.
pub struct Registration {
    dispatcher: Dispatcher,
    holder: Uuid,
    number: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.dispatcher.open();
        if open.get(&self.holder).is_some_and(|place| place.registration == self.number) {
            open.remove(&self.holder);
        }
        drop(open);
        self.dispatcher.changed.notify_one();
    }
}

impl Registration {
    /// Asks for one more attempt; answered when there is one. Who asks again is answered once.
    pub fn want(&self) -> oneshot::Receiver<Claim> {
        let (send, receive) = oneshot::channel();
        self.change(|open| open.want = Some(send));
        receive
    }

    /// Changes what is known of the place.
    pub fn update(&self, change: impl FnOnce(&mut Place)) {
        self.change(|open| change(&mut open.place));
    }

    fn change(&self, change: impl FnOnce(&mut Open)) {
        if let Some(open) = self.dispatcher.open().get_mut(&self.holder).filter(|o| o.registration == self.number) {
            change(open);
        }
        self.dispatcher.changed.notify_one();
    }
}

impl Dispatcher {
    pub fn new(store: Store, lease_secs: u32) -> Self {
        Self { store, lease_secs, open: Arc::default(), changed: Arc::default() }
    }

    pub fn lease_secs(&self) -> u32 {
        self.lease_secs
    }

    /// Makes a place known. One with the same holder is replaced.
    pub fn register(&self, place: Place) -> Registration {
        let holder = place.holder;
        let mut open = self.open();
        let number = open.get(&holder).map_or(0, |before| before.registration + 1);
        open.insert(holder, Open { place, want: None, registration: number });
        drop(open);
        self.changed.notify_one();
        Registration { dispatcher: self.clone(), holder, number }
    }

    /// Whether anything that is connected could run an agent of this name.
    pub fn has_agent(&self, agent: &str) -> bool {
        self.open().values().any(|open| open.place.agents.as_ref().is_none_or(|all| all.iter().any(|a| a == agent)))
    }

    /// Changes what is known of a place, where it is there.
    pub fn update(&self, holder: Uuid, change: impl FnOnce(&mut Place)) {
        if let Some(open) = self.open().get_mut(&holder) {
            change(&mut open.place);
        }
        self.changed.notify_one();
    }

    fn open(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until the server closes.
    pub async fn run(self, closing: CancellationToken) {
        let mut work = self.store.hub().work();
        let mut said = String::new();
        loop {
            work.borrow_and_update();
            let pause = match self.round().await {
                Ok(true) => continue,
                Ok(false) => {
                    said.clear();
                    POLL
                }
                Err(error) => {
                    // Said once, however long it lasts.
                    let error = self.store.trouble().note(error).to_string();
                    if said != error {
                        tracing::warn!(error, "no work could be given out");
                        said = error;
                    }
                    RETRY
                }
            };
            tokio::select! {
                () = closing.cancelled() => return,
                changed = work.changed(), if pause == POLL => if changed.is_err() { return },
                () = self.changed.notified(), if pause == POLL => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Gives out what can be, and notes why the rest cannot. `true` where something was given out, after which more may be
    /// wanted.
    async fn round(&self) -> Result<bool, StoreError> {
        let (places, mut open): (Vec<Place>, Vec<bool>) = self
            .open()
            .values()
            .map(|open| (open.place.clone(), open.want.as_ref().is_some_and(|want| !want.is_closed())))
            .unzip();
        let loads = self.store.loads().await?;
        let mut given = false;
        let mut pool = self.store.orphaned(PAGE).await?;
        let mut users: Vec<(Uuid, i64)> = self.store.waiting_users().await?.into_iter().map(|user| (user, 0)).collect();
        loop {
            let mut further = Vec::new();
            for (user, after) in users {
                let page = self.store.waiting(user, after, PAGE).await?;
                if let Some(last) = page.last().filter(|_| page.len() == PAGE as usize) {
                    further.push((user, last.number));
                }
                pool.extend(page);
            }
            let plan = plan(&pool, &places, &open, &loads);
            let claims = plan.placed.iter().map(|&(candidate, place)| self.give(&pool[candidate], &places[place]));
            for result in join_all(claims).await {
                given |= result?;
            }
            for &(_, place) in &plan.placed {
                open[place] = false;
            }
            self.note(&pool, plan.stuck).await?;
            // Behind what cannot run may be what can.
            if further.is_empty() || !open.contains(&true) {
                return Ok(given);
            }
            users = further;
            pool.clear();
        }
    }

    /// Takes an attempt for a place. `false` where somebody else was faster.
    async fn give(&self, candidate: &Candidate, place: &Place) -> Result<bool, StoreError> {
        let taker = Taker {
            holder: place.holder,
            executor: place.executor,
            machine_id: place.machine_id,
            lease_secs: self.lease_secs,
        };
        let Some(claim) = self.store.claim_attempt(candidate.task_id, candidate.attempt, taker).await? else {
            return Ok(false);
        };
        let want = self.open().get_mut(&place.holder).and_then(|open| open.want.take());
        let lease = claim.lease;
        if let Some(claim) = match want {
            Some(want) => want.send(claim).err(),
            None => Some(claim),
        } {
            tracing::debug!(task = %claim.task.id, place = place.name, "nobody waits for it any more");
            self.store.release(lease).await?;
        }
        Ok(true)
    }

    async fn note(&self, pool: &[Candidate], stuck: Vec<(usize, String)>) -> Result<(), StoreError> {
        let mut reasons: HashMap<usize, String> = stuck.into_iter().collect();
        let changed: Vec<_> = pool
            .iter()
            .enumerate()
            .filter_map(|(index, candidate)| {
                let reason = reasons.remove(&index);
                (reason != candidate.reason).then_some((candidate.task_id, reason))
            })
            .collect();
        if changed.is_empty() { Ok(()) } else { self.store.note_reasons(changed).await }
    }
}
