//! The executor `sse`: tasks out to an endpoint over HTTP, what it does back as server-sent events.

mod attempt;
mod call;
mod heard;
mod read;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use cadence_protocol::{Claim, Executor};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use url::Url;
use uuid::Uuid;

use self::attempt::Outcome;
use self::call::Calls;
use self::read::{Patience, back_off};
use crate::config::BridgeEndpoint;
use crate::queue::{Dispatcher, Place, Registration};
use crate::store::Store;

/// An endpoint that is there is asked so often whether it still is.
const LOOK: Duration = Duration::from_secs(15);
/// First and longest wait for one that is not.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
/// One that refused the key in earnest is given no work for so long, whatever it says of its health.
const REFUSED: Duration = Duration::from_secs(60);

/// An endpoint that gets tasks of this server.
pub struct Outlet {
    store: Store,
    calls: Arc<Calls>,
    place: Registration,
    name: String,
    capacity: usize,
    closing: CancellationToken,
    attempts: JoinSet<Outcome>,
}

impl Outlet {
    /// Makes the endpoint known; work goes to it when it answers.
    pub fn open(
        config: BridgeEndpoint,
        store: Store,
        dispatcher: &Dispatcher,
        closing: CancellationToken,
    ) -> Result<Self, reqwest::Error> {
        let name = shown(&config.url);
        let place = dispatcher.register(Place {
            holder: Uuid::new_v4(),
            name: name.clone(),
            executor: Executor::Sse,
            machine_id: None,
            labels: config.labels,
            agents: None,
            repositories: Vec::new(),
            capacity: config.capacity,
            draining: false,
            away: Some(format!("the endpoint {name} has not answered yet")),
            serves: None,
        });
        let capacity = usize::try_from(config.capacity).unwrap_or(usize::MAX);
        let calls = Arc::new(Calls::new(config.url, config.key)?);
        Ok(Self { store, calls, place, name, capacity, closing, attempts: JoinSet::new() })
    }

    /// Works until the server closes.
    pub async fn run(mut self) {
        let mut want: Option<oneshot::Receiver<Claim>> = None;
        let (mut failures, mut refused_until) = (0u32, None);
        let mut next_look = Instant::now();
        let mut is_there = false;
        loop {
            if want.is_none() && is_there && self.attempts.len() < self.capacity {
                want = Some(self.place.want());
            }
            let claimed = async {
                match &mut want {
                    Some(want) => want.await.ok(),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.closing.cancelled() => break,
                claim = claimed => {
                    want = None;
                    if let Some(claim) = claim {
                        self.begin(claim);
                    }
                }
                Some(ended) = self.attempts.join_next() => {
                    if let Ok(Outcome::Key(why)) = ended {
                        refused_until = Some(Instant::now() + REFUSED);
                        is_there = false;
                        self.note(Some(why));
                    }
                }
                () = sleep_until(next_look) => {
                    let found = tokio::select! {
                        found = self.calls.health() => found,
                        () = self.closing.cancelled() => break,
                    };
                    is_there = found.is_ok() && refused_until.is_none_or(|until| until <= Instant::now());
                    failures = if found.is_ok() { 0 } else { failures.saturating_add(1) };
                    next_look = Instant::now() + if found.is_ok() { LOOK } else { back_off(AGAIN, failures) };
                    if is_there {
                        refused_until = None;
                        self.note(None);
                    } else if let Err(error) = found {
                        self.note(Some(error.to_string()));
                    }
                }
            }
            if !is_there && let Some(mut given_up) = want.take() {
                given_up.close();
                // It may have been answered meanwhile.
                if let Ok(claim) = given_up.try_recv() {
                    self.begin(claim);
                }
            }
        }
        drop(self.place);
        // Each gives its attempt back; the runs go on.
        while self.attempts.join_next().await.is_some() {}
    }

    fn begin(&mut self, claim: Claim) {
        let (task, attempt) = (claim.task.id, claim.lease.attempt);
        tracing::info!(%task, attempt, endpoint = self.name, "sent to the endpoint");
        let (calls, store, closing) = (self.calls.clone(), self.store.clone(), self.closing.clone());
        self.attempts.spawn(Box::pin(attempt::run(calls, store, claim, Patience::default(), closing)));
    }

    /// Notes why the endpoint gets nothing, or that it does.
    fn note(&self, why: Option<String>) {
        let away = why.map(|why| reason(&self.name, &why));
        self.place.update(|place| {
            if place.away == away {
                return;
            }
            match &away {
                Some(away) => tracing::warn!("{away}"),
                None => tracing::info!(endpoint = place.name, "the endpoint takes tasks"),
            }
            place.away = away;
        });
    }
}

/// An address as people are shown it: what follows the path may be a secret.
fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    shown.as_str().trim_end_matches('/').to_owned()
}

/// What a task that waits for the endpoint says.
fn reason(name: &str, why: &str) -> String {
    let clean: String = why.chars().filter(|c| !c.is_control()).take(300).collect();
    format!("the endpoint {name} takes no tasks now: {clean}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn why_a_task_waits_is_said_in_one_clean_sentence() {
        let name = shown(&"https://vps.example:8384/bridge/?token=secret#x".parse().unwrap());
        let said = reason(&name, "it answered 503\n\u{1b}[31m");
        insta::assert_snapshot!(said, @"the endpoint https://vps.example:8384/bridge takes no tasks now: it answered 503[31m");
    }
}
