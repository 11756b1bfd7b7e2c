//! The queue's promises, told to the storage as a server and its runners would.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use cadence_protocol::{
    ApprovalKind, AttemptEnd, Claim, Command, CommandBody, Decide, Decision, DecisionRequest, EndReason, Event,
    EventData, Frame, FrameBody, LiveState, Task, TaskStatus, Usage, WaitingFor,
};
use cadence_server::events::Hub;
use cadence_server::store::{Filter, Idempotency, NewTask, Principal, Store, StoreError};
use uuid::Uuid;

use support::frame;

struct World {
    store: Store,
    who: Principal,
    _home: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("cadence.db"), Arc::new(Hub::default())).await.unwrap();
        let user_id = store.ensure_user("ann", "admin").await.unwrap();
        let who = Principal { user_id, name: "ann".into(), scopes: vec!["*".into()] };
        Self { store, who, _home: home }
    }

    async fn task(&self, description: &str) -> Task {
        self.store.create_task(self.new_task(description), None).await.unwrap().0
    }

    fn new_task(&self, description: &str) -> NewTask {
        support::new_task(self.who.user_id, description)
    }

    async fn claim(&self) -> Claim {
        self.store.claim(Uuid::new_v4(), 60).await.unwrap().expect("something to claim")
    }

    async fn read(&self, task: &Task) -> Task {
        self.store.task(self.who.user_id, task.id).await.unwrap()
    }

    /// The log, which is gap-free wherever it is read.
    async fn log(&self, task: &Task) -> Vec<Event> {
        let events = self.store.events(self.who.user_id, task.id, 0, 1000).await.unwrap();
        let numbers: Vec<_> = events.iter().map(|e| e.seq).collect();
        assert_eq!(numbers, (1..=events.len() as u64).collect::<Vec<_>>(), "seq has no gap");
        assert_eq!(self.read(task).await.last_seq, events.len() as u64);
        events
    }

    async fn kinds(&self, task: &Task) -> Vec<String> {
        self.log(task).await.into_iter().map(|e| e.kind).collect()
    }

    async fn commands(&self, claim: &Claim) -> Vec<Command> {
        self.store.open_commands(claim.lease.task_id, claim.lease.attempt).await.unwrap()
    }
}

fn said(source_seq: u64, text: &str) -> Frame {
    frame(source_seq, FrameBody::Event { event: EventData::Output { text: text.into() } })
}

fn asked(source_seq: u64, id: &str) -> Frame {
    let event = EventData::ApprovalRequested {
        approval_id: id.into(),
        kind: ApprovalKind::Permission,
        tool: "Bash".into(),
        input: serde_json::json!({ "command": "make" }),
        suggestions: None,
    };
    frame(source_seq, FrameBody::Event { event })
}

fn state(source_seq: u64, state: LiveState, waiting_for: Option<WaitingFor>) -> Frame {
    frame(source_seq, FrameBody::State { state, waiting_for, resume_at: None, reason: None })
}

fn allow() -> Decide {
    Decide { decision: DecisionRequest::Allow, updated_input: None, answers: None, message: None }
}

#[tokio::test]
async fn a_task_runs_from_pending_to_completed() {
    let world = World::new().await;
    let task = world.task("add a flag").await;
    assert_eq!((task.status, task.attempt, task.last_seq), (TaskStatus::Pending, 1, 1));

    let claim = world.claim().await;
    assert_eq!(claim.spec.prompt, "add a flag");
    assert_eq!(claim.spec.budget_usd, Some(1.0));
    assert!(!claim.recovered);
    assert_eq!(world.read(&task).await.status, TaskStatus::Running);
    assert!(world.store.claim(Uuid::new_v4(), 60).await.unwrap().is_none(), "it is held");

    let usage = Usage { cost_usd: 0.25, input_tokens: 10, output_tokens: 5 };
    world.store.report(claim.lease, vec![said(1, "hello"), frame(2, FrameBody::Usage { usage })]).await.unwrap();
    world.store.report(claim.lease, vec![said(3, "bye")]).await.unwrap();
    world.store.finish(claim.lease, AttemptEnd::new(EndReason::Done, "did it")).await.unwrap();

    let task = world.read(&task).await;
    assert_eq!((task.status, task.progress, task.end_reason), (TaskStatus::Completed, 100, Some(EndReason::Done)));
    assert_eq!(task.metadata.estimated_cost, Some(0.25));
    assert_eq!(task.output.as_deref(), Some("did it"));
    assert_eq!(
        world.kinds(&task).await,
        ["message", "status_changed", "output", "output", "task_completed", "status_changed"]
    );
}

#[tokio::test]
async fn a_repeated_report_is_stored_once_and_a_lost_lease_is_refused() {
    let world = World::new().await;
    let task = world.task("x").await;
    let claim = world.store.claim(Uuid::new_v4(), 0).await.unwrap().unwrap();
    for _ in 0..3 {
        world.store.report(claim.lease, vec![said(1, "once"), said(2, "and once")]).await.unwrap();
    }
    assert_eq!(world.kinds(&task).await.iter().filter(|k| *k == "output").count(), 2);

    // The lease of no seconds has expired: another runner takes over and goes on counting.
    let second = world.claim().await;
    assert!(second.recovered);
    assert_eq!(second.last_source_seq, 2);
    assert!(second.lease.epoch > claim.lease.epoch);
    let late = world.store.report(claim.lease, vec![said(3, "too late")]).await;
    assert!(matches!(late, Err(StoreError::Fenced)), "{late:?}");
    assert!(matches!(world.store.heartbeat(claim.lease, Duration::ZERO).await, Err(StoreError::Fenced)));
    let end = AttemptEnd::new(EndReason::Done, "");
    assert!(matches!(world.store.finish(claim.lease, end.clone()).await, Err(StoreError::Fenced)));
    world.store.finish(second.lease, end.clone()).await.unwrap();
    assert!(matches!(world.store.finish(second.lease, end).await, Err(StoreError::Fenced)));
    assert_eq!(world.kinds(&task).await.iter().filter(|k| *k == "task_completed").count(), 1);
}

#[tokio::test]
async fn the_same_key_gives_the_same_task() {
    let world = World::new().await;
    let key = |request: &[u8]| Some(Idempotency { key: "k".into(), request: request.to_vec() });
    let (first, new) = world.store.create_task(world.new_task("one"), key(b"one")).await.unwrap();
    let (again, repeated) = world.store.create_task(world.new_task("one"), key(b"one")).await.unwrap();
    assert!(new && !repeated);
    assert_eq!(first.id, again.id);
    let other = world.store.create_task(world.new_task("two"), key(b"two")).await;
    assert!(matches!(other, Err(StoreError::Conflict(_))));
}

#[tokio::test]
async fn a_hundred_at_once_are_all_stored() {
    let world = World::new().await;
    let all = (0..100).map(|n| world.store.create_task(world.new_task(&format!("task {n}")), None));
    let mut set = tokio::task::JoinSet::new();
    for new in (0..100).map(|n| world.new_task(&format!("more {n}"))) {
        let store = world.store.clone();
        set.spawn(async move { store.create_task(new, None).await.unwrap() });
    }
    for one in all {
        one.await.unwrap();
    }
    set.join_all().await;
    let mut seen = std::collections::BTreeSet::new();
    let mut before = None;
    loop {
        let filter = Filter { limit: 33, before, ..Filter::default() };
        let (tasks, next) = world.store.tasks(world.who.user_id, filter).await.unwrap();
        assert!(tasks.windows(2).all(|w| w[0].created_at >= w[1].created_at), "newest first");
        seen.extend(tasks.iter().map(|t| t.id));
        before = next;
        if before.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 200);
}

#[tokio::test]
async fn an_approval_is_answered_once_and_reaches_the_runner() {
    let world = World::new().await;
    let task = world.task("x").await;
    let claim = world.claim().await;
    let frames = vec![asked(1, "a1"), state(2, LiveState::Waiting, Some(WaitingFor::Approval))];
    world.store.report(claim.lease, frames).await.unwrap();
    let waiting = world.read(&task).await;
    assert_eq!((waiting.status, waiting.waiting_for), (TaskStatus::Waiting, Some(WaitingFor::Approval)));
    assert_eq!(world.store.approvals(world.who.user_id, None).await.unwrap().len(), 1);

    let answered = world.store.decide(world.who.clone(), task.id, "a1".into(), allow()).await.unwrap();
    assert_eq!(answered.decision, Some(Decision::Allow));
    let again = world.store.decide(world.who.clone(), task.id, "a1".into(), allow()).await;
    assert!(matches!(again, Err(StoreError::Conflict(_))));
    assert!(world.store.approvals(world.who.user_id, None).await.unwrap().is_empty());

    let commands = world.commands(&claim).await;
    assert!(matches!(&commands[..], [Command { body: CommandBody::Approval { decision: Decision::Allow, .. }, .. }]));
    let ack = frame(3, FrameBody::Ack { command: commands[0].id });
    world.store.report(claim.lease, vec![ack]).await.unwrap();
    assert!(world.commands(&claim).await.is_empty());
    world.store.report(claim.lease, vec![state(4, LiveState::Running, None)]).await.unwrap();
    assert_eq!(world.read(&task).await.status, TaskStatus::Running);
}

#[tokio::test]
async fn what_waited_for_a_runner_that_died_is_withdrawn() {
    let world = World::new().await;
    let task = world.task("x").await;
    let claim = world.store.claim(Uuid::new_v4(), 0).await.unwrap().unwrap();
    let session = FrameBody::Session { session_id: "s-1".into(), model: Some("m".into()) };
    let frames = vec![frame(1, session), asked(2, "a1"), state(3, LiveState::Waiting, Some(WaitingFor::Approval))];
    world.store.report(claim.lease, frames).await.unwrap();

    let second = world.claim().await;
    assert!(second.recovered);
    assert_eq!(second.session_id.as_deref(), Some("s-1"));
    let resolved = world.log(&task).await.into_iter().find_map(|e| match e.data {
        EventData::ApprovalResolved { decision, .. } => Some(decision),
        _ => None,
    });
    assert_eq!(resolved, Some(Decision::Withdrawn));
    let task = world.read(&task).await;
    assert_eq!((task.status, task.waiting_for), (TaskStatus::Running, None));
}

#[tokio::test]
async fn a_follow_up_that_comes_as_the_attempt_ends_is_not_lost() {
    let world = World::new().await;
    let task = world.task("x").await;
    let claim = world.claim().await;
    let session = FrameBody::Session { session_id: "s-1".into(), model: None };
    world.store.report(claim.lease, vec![frame(1, session)]).await.unwrap();
    world.store.message(world.who.clone(), task.id, "and tests".into()).await.unwrap();
    world.store.finish(claim.lease, AttemptEnd::new(EndReason::Done, "done")).await.unwrap();

    let after = world.read(&task).await;
    assert_eq!((after.status, after.attempt), (TaskStatus::Pending, 2));
    let next = world.claim().await;
    assert_eq!((next.spec.prompt.as_str(), next.session_id.as_deref()), ("and tests", Some("s-1")));
    assert!(world.commands(&claim).await.is_empty(), "the ended attempt has no open commands");
}

#[tokio::test]
async fn a_follow_up_to_an_ended_task_begins_an_attempt_in_its_session() {
    let world = World::new().await;
    let task = world.task("x").await;
    let claim = world.claim().await;
    let session = FrameBody::Session { session_id: "s-1".into(), model: None };
    let usage = FrameBody::Usage { usage: Usage { cost_usd: 0.75, ..Usage::default() } };
    world.store.report(claim.lease, vec![frame(1, session), frame(2, usage)]).await.unwrap();
    world.store.finish(claim.lease, AttemptEnd::new(EndReason::Failed, "no")).await.unwrap();
    let task = world.read(&task).await;
    assert_eq!((task.status, task.error.as_deref()), (TaskStatus::Failed, Some("no")));

    let task = world.store.message(world.who.clone(), task.id, "try again".into()).await.unwrap();
    assert_eq!((task.status, task.attempt, task.error.as_deref()), (TaskStatus::Pending, 2, None));
    let next = world.claim().await;
    assert_eq!(next.spec.budget_usd, Some(0.25), "the budget is the task's, not the attempt's");
    assert_eq!(next.session_id.as_deref(), Some("s-1"));
    let log = world.log(&task).await;
    assert!(log.iter().any(|e| matches!(&e.data, EventData::Message { text, .. } if text == "try again")));
    assert!(
        log.iter().any(|e| matches!(
            e.data,
            EventData::StatusChanged { from: TaskStatus::Failed, to: TaskStatus::Pending, .. }
        ))
    );
}

#[tokio::test]
async fn pending_work_is_held_back_and_cancelled_without_a_runner() {
    let world = World::new().await;
    let held = world.task("held").await;
    world.store.pause(world.who.clone(), held.id).await.unwrap();
    assert!(world.store.claim(Uuid::new_v4(), 60).await.unwrap().is_none());
    let resumed = world.store.resume(world.who.clone(), held.id, None).await.unwrap();
    assert_eq!(resumed.status, TaskStatus::Pending);
    let cancelled = world.store.cancel(world.who.clone(), held.id).await.unwrap();
    assert_eq!((cancelled.status, cancelled.end_reason), (TaskStatus::Cancelled, Some(EndReason::Cancelled)));
    assert!(world.store.claim(Uuid::new_v4(), 60).await.unwrap().is_none());
    assert_eq!(world.kinds(&held).await.iter().filter(|k| *k == "task_completed").count(), 1);
    // Cancelling what is cancelled changes nothing.
    world.store.cancel(world.who.clone(), held.id).await.unwrap();
    let refused = world.store.pause(world.who.clone(), held.id).await;
    assert!(matches!(refused, Err(StoreError::Conflict(text)) if text == "a task that is cancelled cannot be paused"));
}

#[tokio::test]
async fn a_paused_attempt_without_a_runner_is_taken_up_when_something_is_wanted_of_it() {
    let world = World::new().await;
    let task = world.task("x").await;
    let claim = world.claim().await;
    world.store.report(claim.lease, vec![state(1, LiveState::Paused, None)]).await.unwrap();
    world.store.release(claim.lease).await.unwrap();
    assert!(world.store.claim(Uuid::new_v4(), 60).await.unwrap().is_none(), "it stays paused");
    world.store.resume(world.who.clone(), task.id, Some("go".into())).await.unwrap();
    let next = world.claim().await;
    assert_eq!(next.task.status, TaskStatus::Paused);
    assert_eq!(world.commands(&next).await.len(), 1);
}

#[tokio::test]
async fn cancelling_what_nobody_runs_lets_a_runner_bring_the_work_home() {
    let world = World::new().await;
    let task = world.task("x").await;
    let claim = world.claim().await;
    world.store.report(claim.lease, vec![state(1, LiveState::Paused, None)]).await.unwrap();
    world.store.release(claim.lease).await.unwrap();
    world.store.cancel(world.who.clone(), task.id).await.unwrap();
    let next = world.claim().await;
    assert!(matches!(&world.commands(&next).await[..], [Command { body: CommandBody::Cancel { .. }, .. }]));
    // Whatever the runner makes of it, it was cancelled.
    world.store.finish(next.lease, AttemptEnd::new(EndReason::Done, "done")).await.unwrap();
    assert_eq!(world.read(&task).await.status, TaskStatus::Cancelled);
}

#[tokio::test]
async fn nobody_takes_over_from_himself_and_a_new_server_from_all() {
    let world = World::new().await;
    world.task("x").await;
    let me = Uuid::new_v4();
    let claim = world.store.claim(me, 0).await.unwrap().unwrap();
    assert!(world.store.claim(me, 0).await.unwrap().is_none(), "late with the heartbeat, as after a suspension");
    world.store.heartbeat(claim.lease, Duration::from_secs(7)).await.unwrap();
    world.store.end_leases(30).await.unwrap();
    let again = world.store.claim(Uuid::new_v4(), 60).await.unwrap().unwrap();
    assert!(again.recovered && again.lease.epoch > claim.lease.epoch);
    assert_eq!(again.worked_ms, 7000, "its timeout does not begin again");
}

#[tokio::test]
async fn only_ended_tasks_are_archived_and_removed() {
    let world = World::new().await;
    let task = world.task("x").await;
    assert!(matches!(world.store.archive(world.who.user_id, task.id, true).await, Err(StoreError::Conflict(_))));
    assert!(matches!(world.store.delete_task(world.who.user_id, task.id).await, Err(StoreError::Conflict(_))));
    world.store.cancel(world.who.clone(), task.id).await.unwrap();
    assert!(world.store.archive(world.who.user_id, task.id, true).await.unwrap().archived_at.is_some());
    let listed = |archived| Filter { limit: 10, archived, ..Filter::default() };
    let count = async |archived| world.store.tasks(world.who.user_id, listed(archived)).await.unwrap().0.len();
    assert_eq!((count(Some(false)).await, count(Some(true)).await, count(None).await), (0, 1, 1));
    assert!(matches!(world.store.message(world.who.clone(), task.id, "x".into()).await, Err(StoreError::Conflict(_))));
    world.store.delete_task(world.who.user_id, task.id).await.unwrap();
    assert!(matches!(world.store.task(world.who.user_id, task.id).await, Err(StoreError::NotFound(_))));
    assert!(world.store.events(world.who.user_id, task.id, 0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn nobody_sees_the_tasks_of_others() {
    let world = World::new().await;
    let task = world.task("secret").await;
    let bob = Principal { user_id: world.store.ensure_user("bob", "member").await.unwrap(), ..world.who.clone() };
    assert!(matches!(world.store.task(bob.user_id, task.id).await, Err(StoreError::NotFound(_))));
    assert!(matches!(world.store.cancel(bob.clone(), task.id).await, Err(StoreError::NotFound(_))));
    assert!(world.store.events(bob.user_id, task.id, 0, 10).await.unwrap().is_empty());
    let all = Filter { limit: 10, ..Filter::default() };
    assert!(world.store.tasks(bob.user_id, all).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn search_takes_ids_and_texts_literally() {
    let world = World::new().await;
    let task = world.task("100% of the _ cases").await;
    world.task("1000 cases").await;
    let find = async |text: &str| {
        let filter = Filter { limit: 10, text: Some(text.into()), ..Filter::default() };
        world.store.tasks(world.who.user_id, filter).await.unwrap().0.into_iter().map(|t| t.id).collect::<Vec<_>>()
    };
    assert_eq!(find("100%").await, [task.id]);
    assert_eq!(find("_ cases").await, [task.id]);
    assert_eq!(find(&task.short_id()).await, [task.id]);
    assert_eq!(find(&task.id.to_string()[..13]).await, [task.id]);
    assert!(find("'; DROP TABLE tasks; --").await.is_empty());
}

#[tokio::test]
async fn what_is_too_large_for_an_event_is_kept_beside_it() {
    let world = World::new().await;
    let task = world.task("x").await;
    let claim = world.claim().await;
    let long = "line\n".repeat(100_000);
    world.store.report(claim.lease, vec![said(1, &long)]).await.unwrap();
    let last = world.log(&task).await.pop().unwrap();
    let EventData::Output { text } = &last.data else { panic!("an output") };
    assert!(text.len() < 5000, "{} bytes", text.len());
    let whole = world.store.event(world.who.user_id, task.id, last.seq).await.unwrap();
    assert_eq!(whole.data, EventData::Output { text: long });
}

#[tokio::test]
async fn what_is_committed_is_there_after_the_storage_was_closed() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("cadence.db");
    let mut world = World::new().await;
    world.store = Store::open(&path, Arc::new(Hub::default())).await.unwrap();
    world.who.user_id = world.store.ensure_user("ann", "admin").await.unwrap();
    let task = world.task("x").await;
    world.store.close().await;
    assert!(!path.with_extension("db-wal").exists(), "the log is folded into the database");
    assert!(matches!(world.store.cancel(world.who.clone(), task.id).await, Err(StoreError::Closed)));
    world.store = Store::open(&path, Arc::new(Hub::default())).await.unwrap();
    assert_eq!(world.read(&task).await.task_description, "x");
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
