//! The budget of a month, as users, runners and machines meet it in the storage.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use cadence_protocol::{
    AttemptEnd, Claim, CommandBody, EndReason, FrameBody, LiveState, MonthUsage, Task, TaskStatus, Usage, WaitingFor,
};
use cadence_server::events::Hub;
use cadence_server::store::{Principal, Store, StoreError, Taker};
use uuid::Uuid;

use support::{frame, new_task};

struct World {
    store: Store,
    ann: Principal,
    ben: Principal,
    _home: tempfile::TempDir,
}

impl World {
    async fn new(month_usd: Option<f64>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("cadence.db"), Arc::new(Hub::default())).await.unwrap();
        let store = store.with_month_limit(month_usd);
        let user = async |name: &'static str, role: &'static str| Principal {
            user_id: store.ensure_user(name, role).await.unwrap(),
            name: name.into(),
            scopes: vec!["*".into()],
        };
        let (ann, ben) = (user("ann", "admin").await, user("ben", "member").await);
        Self { store, ann, ben, _home: home }
    }

    /// A task that somebody works on.
    async fn begun(&self, who: &Principal) -> Claim {
        let (task, _) = self.store.create_task(new_task(who.user_id, "x"), None).await.unwrap();
        self.claim(&task).await.expect("it can be taken")
    }

    async fn claim(&self, task: &Task) -> Option<Claim> {
        let taker = Taker {
            holder: Uuid::new_v4(),
            executor: cadence_protocol::Executor::Local,
            machine_id: None,
            lease_secs: 60,
        };
        self.store.claim_attempt(task.id, task.attempt, taker).await.unwrap()
    }

    async fn costs(&self, claim: &Claim, number: u64, cost_usd: f64) {
        let usage = Usage { cost_usd, input_tokens: 100 * number, output_tokens: 10 * number };
        self.store.report(claim.lease, vec![frame(number, FrameBody::Usage { usage })]).await.unwrap();
    }

    async fn stops(&self, claim: &Claim) -> Vec<String> {
        let open = self.store.open_commands(claim.lease.task_id, claim.lease.attempt).await.unwrap();
        let stops = open.into_iter().filter_map(|command| match command.body {
            CommandBody::Stop { reason: EndReason::Budget, summary } => Some(summary),
            _ => None,
        });
        stops.collect()
    }

    async fn usage(&self, who: &Principal) -> Vec<MonthUsage> {
        self.store.usage(who, 12).await.unwrap().usage
    }
}

#[tokio::test]
async fn two_attempts_share_the_month_and_both_end_with_it_each_told_once() {
    let world = World::new(Some(10.0)).await;
    let (first, second) = (world.begun(&world.ann).await, world.begun(&world.ann).await);
    assert_eq!(second.spec.month.unwrap().left(), 10.0);
    let other = world.begun(&world.ben).await;
    // What is told is the whole of an attempt so far, not what came since.
    world.costs(&first, 1, 4.0).await;
    world.costs(&first, 2, 6.0).await;
    world.costs(&second, 1, 3.5).await;
    assert!(world.stops(&first).await.is_empty());
    world.costs(&second, 2, 4.5).await;
    for claim in [&first, &second] {
        let stops = world.stops(claim).await;
        assert_eq!(stops.len(), 1);
        assert!(stops[0].contains("($10.50 of $10.00)") && stops[0].contains("the next month begins on"), "{stops:?}");
    }
    // What is told by then on changes nothing, and nobody else is stopped.
    world.costs(&first, 3, 7.0).await;
    assert_eq!(world.stops(&first).await.len(), 1);
    assert!(world.stops(&other).await.is_empty());
    let told = world.usage(&world.ann).await;
    let told: Vec<_> = told.iter().map(|one| (one.user.as_str(), one.tasks, one.cost_usd, one.input_tokens)).collect();
    assert_eq!(told, [("ann", 2, 11.5, 500), ("ben", 1, 0.0, 0)]);
}

#[tokio::test]
async fn a_spent_month_begins_nothing_and_says_so() {
    let world = World::new(Some(1.0)).await;
    let running = world.begun(&world.ann).await;
    let (waits, _) = world.store.create_task(new_task(world.ann.user_id, "later"), None).await.unwrap();
    let (held, _) = world.store.create_task(new_task(world.ann.user_id, "held"), None).await.unwrap();
    world.store.pause(world.ann.clone(), held.id).await.unwrap();
    world.costs(&running, 1, 1.0).await;
    // What has not begun cannot be taken, whoever wants it.
    assert!(world.claim(&waits).await.is_none());
    world.store.finish(running.lease, AttemptEnd::new(EndReason::Budget, "spent")).await.unwrap();
    let id = running.lease.task_id;
    let refusals = [
        world.store.create_task(new_task(world.ann.user_id, "more"), None).await.map(|_| ()),
        world.store.restart(world.ann.clone(), id).await.map(|_| ()),
        world.store.message(world.ann.clone(), id, "go on".into()).await.map(|_| ()),
        world.store.resume(world.ann.clone(), held.id, None).await.map(|_| ()),
        world.store.message(world.ann.clone(), held.id, "go on".into()).await.map(|_| ()),
    ];
    for refusal in refusals {
        let error = refusal.unwrap_err();
        assert!(matches!(&error, StoreError::Exhausted(why) if why.contains("$1.00 of $1.00")), "{error}");
        assert!(error.hint().unwrap().contains("month_usd") && !error.is_trouble());
    }
    // Others are not concerned, and what has ended can be put away and removed; what was spent stays spent.
    world.begun(&world.ben).await;
    world.store.delete_task(world.ann.user_id, id).await.unwrap();
    assert!(matches!(world.store.require_money(world.ann.user_id).await, Err(StoreError::Exhausted(_))));
    // With a higher limit, which the next start brings, it goes on.
    let raised = world.store.clone().with_month_limit(Some(2.0));
    raised.resume(world.ann.clone(), held.id, None).await.unwrap();
    let taken = World { store: raised, ..world }.claim(&waits).await.unwrap();
    assert_eq!(taken.spec.month.unwrap().left(), 1.0);
}

#[tokio::test]
async fn what_had_begun_is_taken_all_the_same_so_that_its_work_comes_home() {
    let world = World::new(Some(1.0)).await;
    let claim = world.begun(&world.ann).await;
    world.costs(&claim, 1, 1.5).await;
    world.store.release(claim.lease).await.unwrap();
    let task = world.store.task(world.ann.user_id, claim.lease.task_id).await.unwrap();
    let again = world.claim(&task).await.unwrap();
    assert!(again.recovered && again.spec.month.unwrap().is_spent());
    assert_eq!(world.stops(&again).await.len(), 1, "the order is still there");
}

#[tokio::test]
async fn a_member_sees_his_own_usage_and_minutes_are_counted_once() {
    let world = World::new(None).await;
    let (ann, ben) = (world.begun(&world.ann).await, world.begun(&world.ben).await);
    for secs in [30, 90, 60] {
        world.store.heartbeat(ben.lease, Duration::from_secs(secs)).await.unwrap();
    }
    world.costs(&ben, 1, 2.0).await;
    // An agent that takes something back has spent it all the same.
    world.costs(&ben, 2, 1.0).await;
    world.costs(&ann, 1, 1.0).await;
    let own = world.usage(&world.ben).await;
    assert_eq!(own.len(), 1);
    assert_eq!((own[0].minutes, own[0].cost_usd, own[0].tasks), (1.5, 2.0, 1));
    assert_eq!(world.usage(&world.ann).await.len(), 2);
    assert_eq!(world.store.usage(&world.ben, 1).await.unwrap().month_limit_usd, None);
    assert!(ann.spec.month.is_none());
}

#[tokio::test]
async fn one_that_waits_for_a_rate_limit_waits_on_whoever_takes_it() {
    let world = World::new(None).await;
    let claim = world.begun(&world.ann).await;
    let limited = |number, resume_at: &str| {
        frame(
            number,
            FrameBody::State {
                state: LiveState::Waiting,
                waiting_for: Some(WaitingFor::RateLimit),
                resume_at: Some(resume_at.into()),
                reason: None,
            },
        )
    };
    world.store.report(claim.lease, vec![limited(1, "2999-01-01T00:00:00Z")]).await.unwrap();
    world.store.release(claim.lease).await.unwrap();
    let task = world.store.task(world.ann.user_id, claim.lease.task_id).await.unwrap();
    let again = world.claim(&task).await.unwrap();
    let shown = |task: &Task| (task.status, task.waiting_for, task.resume_at.is_some());
    assert_eq!(shown(&again.task), (TaskStatus::Waiting, Some(WaitingFor::RateLimit), true));
    // Once it has passed, it works.
    world.store.report(again.lease, vec![limited(2, "2001-01-01T00:00:00Z")]).await.unwrap();
    world.store.release(again.lease).await.unwrap();
    let last = world.claim(&task).await.unwrap();
    assert_eq!(shown(&last.task), (TaskStatus::Running, None, false));
}
