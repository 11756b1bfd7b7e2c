//! A scripted agent between a scripted queue and the runner, in simulated time.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod limits;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cadence_protocol::{
    ApprovalKind, AttemptEnd, AttemptSpec, Claim, Command, CommandBody, Decision, EndReason, EventData, Frame,
    FrameBody, Lease, LiveState, Usage, WaitingFor,
};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::clock::Clock;
use super::drive::{Drive, Verdict};
use super::report::Reporter;
use super::slots::Slots;
use super::spending::Spending;
use super::steer::{Held, Steering, Untaken};
use crate::{Denial, Input, Output, Session, SourceError, TaskSource, TurnEnd, TurnOutcome};

/// A queue that keeps what is reported.
#[derive(Default)]
struct Log(Mutex<Vec<FrameBody>>);

impl TaskSource for Log {
    async fn claim(&self) -> Result<Claim, SourceError> {
        Err(SourceError::Closed)
    }

    async fn report(&self, _: &Lease, frames: Vec<Frame>) -> Result<(), SourceError> {
        self.0.lock().unwrap().extend(frames.into_iter().map(|frame| frame.body));
        Ok(())
    }

    fn delta(&self, _: &Lease, _: String) {}

    async fn heartbeat(&self, _: &Lease, _: Duration) -> Result<(), SourceError> {
        Ok(())
    }

    async fn commands(&self, _: &Lease, _: &[Uuid]) -> Result<Vec<Command>, SourceError> {
        std::future::pending().await
    }

    async fn finish(&self, _: &Lease, _: AttemptEnd) -> Result<(), SourceError> {
        Ok(())
    }

    async fn release(&self, _: &Lease) -> Result<(), SourceError> {
        Ok(())
    }
}

/// What is left of the attempt when its agent is gone.
struct Left {
    verdict: Verdict,
    steering: Steering,
}

struct World {
    log: Arc<Log>,
    commands: mpsc::Sender<Command>,
    say: Option<mpsc::Sender<Output>>,
    heard: mpsc::Receiver<Input>,
    closing: CancellationToken,
    prompt: Uuid,
    driving: JoinHandle<Left>,
}

const LEASE: Lease = Lease { task_id: Uuid::nil(), attempt: 1, epoch: 1, ttl_secs: 30 };

impl World {
    /// An agent that was given its prompt, and with it these messages.
    fn new(limit: Option<u64>, carried: Vec<Untaken>) -> Self {
        Self::bounded(limit, carried, Spending::default())
    }

    fn bounded(limit: Option<u64>, carried: Vec<Untaken>, spending: Spending) -> Self {
        let log = Arc::new(Log::default());
        let (commands, inbox) = mpsc::channel(16);
        let (input, heard) = mpsc::channel(16);
        let (say, output) = mpsc::channel(16);
        let closing = CancellationToken::new();
        let prompt = Uuid::from_u128(1);
        let driving = tokio::spawn({
            let (log, closing) = (log.clone(), closing.clone());
            async move {
                let slot = Slots::new(1).take();
                let lost = CancellationToken::new();
                let reporter = Reporter::start(log.clone(), LEASE, 0, LiveState::Running, slot, lost);
                let clock = Clock::new(limit.map(Duration::from_secs), Duration::ZERO);
                let mut steering = Steering::new(inbox, false, None);
                let first = (prompt, carried);
                let drive = Drive::new(log, LEASE, input.clone(), &reporter, &clock, spending, first);
                let (verdict, _) = steering.drive(Session { input, output }, drive, &closing).await;
                reporter.flush().await;
                Left { verdict, steering }
            }
        });
        Self { log, commands, say: Some(say), heard, closing, prompt, driving }
    }

    /// One that has begun to work.
    async fn working(limit: Option<u64>) -> Self {
        Self::new(limit, Vec::new()).begun().await
    }

    async fn begun(self) -> Self {
        let world = self;
        world.says(Output::Started { session_id: "s".into(), model: None }).await;
        world.says(Output::Taken(world.prompt)).await;
        world.says(words("hello")).await;
        // Heard before anything else is done: outputs and commands come by different ways.
        world.reported(|body| matches!(body, FrameBody::Event { event: EventData::Output { .. } })).await;
        world
    }

    async fn says(&self, output: Output) {
        self.say.as_ref().unwrap().send(output).await.unwrap();
    }

    async fn ends_turn(&self, outcome: TurnOutcome, background: usize) {
        self.says(Output::TurnEnd(TurnEnd { outcome, summary: "so".into(), denials: Vec::new(), background })).await;
    }

    async fn order(&self, body: CommandBody) -> Uuid {
        let id = Uuid::new_v4();
        self.commands.send(Command { id, task_id: LEASE.task_id, attempt: 1, body }).await.unwrap();
        id
    }

    /// The next thing that the agent is told. Time runs to whatever comes next.
    async fn hears(&mut self) -> Input {
        self.heard.recv().await.expect("the agent is told something")
    }

    async fn hears_message(&mut self) -> (Uuid, String) {
        match self.hears().await {
            Input::Message { id, text } => (id, text),
            other => panic!("no message but {other:?}"),
        }
    }

    async fn exits(mut self) -> Left {
        self.says(Output::Exited { code: Some(0), stderr: String::new() }).await;
        self.say = None;
        self.driving.await.unwrap()
    }

    /// Waits until this was reported.
    async fn reported(&self, what: impl Fn(&FrameBody) -> bool) {
        for _ in 0..1000 {
            if self.log.0.lock().unwrap().iter().any(&what) {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("not among {:?}", self.log.0.lock().unwrap());
    }

    async fn acknowledged(&self, command: Uuid) {
        self.reported(|body| matches!(body, FrameBody::Ack { command: id } if *id == command)).await;
    }

    fn is_acknowledged(&self, command: Uuid) -> bool {
        let frames = self.log.0.lock().unwrap();
        frames.iter().any(|body| matches!(body, FrameBody::Ack { command: id } if *id == command))
    }

    async fn shows(&self, state: LiveState, waiting: Option<WaitingFor>) {
        self.reported(
            |body| matches!(body, FrameBody::State { state: s, waiting_for: w, .. } if (*s, *w) == (state, waiting)),
        )
        .await;
    }
}

impl World {
    /// Waits until this many waits for a rate limit were reported.
    async fn reports_waits(&self, count: usize) {
        let waits =
            |body: &FrameBody| matches!(body, FrameBody::State { waiting_for: Some(WaitingFor::RateLimit), .. });
        for _ in 0..1000 {
            if self.log.0.lock().unwrap().iter().filter(|body| waits(body)).count() >= count {
                return;
            }
            tokio::task::yield_now().await;
        }
        panic!("not so often in {:?}", self.log.0.lock().unwrap());
    }
}

fn clock() -> Clock {
    Clock::new(None, Duration::ZERO)
}

fn words(text: &str) -> Output {
    Output::Event(EventData::Output { text: text.into() })
}

fn message(text: &str) -> CommandBody {
    CommandBody::Message { text: text.into(), from: "ann".into() }
}

fn done() -> Verdict {
    Verdict::End(EndReason::Done, "so".into())
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_done_is_let_go() {
    let mut world = World::working(None).await;
    world.ends_turn(TurnOutcome::Success, 0).await;
    assert_eq!(world.hears().await, Input::Close);
    assert_eq!(world.exits().await.verdict, done());
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_go_is_left_after_a_while() {
    let mut world = World::working(None).await;
    world.ends_turn(TurnOutcome::Success, 0).await;
    assert_eq!(world.hears().await, Input::Close);
    assert_eq!(world.driving.await.unwrap().verdict, done());
}

#[tokio::test(start_paused = true)]
async fn success_after_a_denial_is_none() {
    let mut world = World::working(None).await;
    let denials = vec![Denial { tool: "Bash".into(), what: "make".into() }];
    // Denied in a turn that another one followed.
    let end = TurnEnd { outcome: TurnOutcome::Success, summary: "so".into(), denials, background: 1 };
    world.says(Output::TurnEnd(end)).await;
    world.says(words("more")).await;
    world.ends_turn(TurnOutcome::Success, 0).await;
    assert_eq!(world.hears().await, Input::Close);
    assert_eq!(world.exits().await.verdict, Verdict::End(EndReason::Denied, "Denied: Bash (make).\nso".into()));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_crosses_the_end_of_a_turn_gets_one_of_its_own() {
    let mut world = World::working(None).await;
    let command = world.order(message("and tests")).await;
    let (id, text) = world.hears_message().await;
    assert_eq!(text, "and tests");
    world.ends_turn(TurnOutcome::Success, 0).await;
    world.shows_nothing_yet(command).await;
    world.says(Output::Taken(id)).await;
    world.acknowledged(command).await;
    world.says(words("tests")).await;
    world.ends_turn(TurnOutcome::Success, 0).await;
    assert_eq!(world.hears().await, Input::Close);
    assert_eq!(world.exits().await.verdict, done());
}

impl World {
    /// Gives everything that is ready the time to happen; the agent must not have been told anything by it.
    async fn hears_nothing_yet(&mut self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(self.heard.try_recv().is_err());
    }

    /// The command must not have been acknowledged either.
    async fn shows_nothing_yet(&mut self, command: Uuid) {
        self.hears_nothing_yet().await;
        assert!(!self.is_acknowledged(command));
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_did_not_take_is_left_over() {
    let carried = Untaken { command: Uuid::from_u128(7), text: "early".into() };
    let mut world = World::new(None, vec![carried.clone()]);
    let command = world.order(message("late")).await;
    world.hears_message().await;
    world.says(Output::Exited { code: Some(1), stderr: "boom\n".into() }).await;
    let left = world.driving.await.unwrap();
    assert_eq!(
        left.verdict,
        Verdict::End(EndReason::Failed, "The agent ended with exit code 1 before it was done: boom".into())
    );
    assert_eq!(left.steering.messages, [carried, Untaken { command, text: "late".into() }]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_lets_the_agent_end_when_its_turn_has_stopped() {
    let mut world = World::working(None).await;
    let pause = world.order(CommandBody::Pause).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    world.shows_nothing_yet(pause).await;
    world.ends_turn(TurnOutcome::Interrupted, 0).await;
    assert_eq!(world.hears().await, Input::Close);
    // A turn that begins by itself, as when a background command ends, is stopped too.
    world.says(words("by myself")).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    world.ends_turn(TurnOutcome::Interrupted, 0).await;
    // Acknowledged by whoever sees that nothing is left of it.
    world.shows_nothing_yet(pause).await;
    let left = world.exits().await;
    assert_eq!(left.verdict, Verdict::Held(Some("s".into()), pause));
    assert!(left.steering.paused);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_end_for_a_pause_is_killed() {
    let mut world = World::working(None).await;
    let pause = world.order(CommandBody::Pause).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    world.ends_turn(TurnOutcome::Interrupted, 0).await;
    assert_eq!(world.hears().await, Input::Close);
    assert_eq!(world.hears().await, Input::Kill);
    assert_eq!(world.driving.await.unwrap().verdict, Verdict::Held(Some("s".into()), pause));
}

#[tokio::test(start_paused = true)]
async fn a_pause_also_stops_the_turn_of_a_message_that_came_before_it() {
    let mut world = World::working(None).await;
    world.order(message("first this")).await;
    let (id, _) = world.hears_message().await;
    world.order(CommandBody::Pause).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    world.ends_turn(TurnOutcome::Interrupted, 0).await;
    world.hears_nothing_yet().await;
    world.says(Output::Taken(id)).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    world.ends_turn(TurnOutcome::Interrupted, 0).await;
    assert_eq!(world.hears().await, Input::Close);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_stop_is_ended_and_held() {
    let mut world = World::working(None).await;
    let pause = world.order(CommandBody::Pause).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    let log = world.log.clone();
    let mut left = world.driving.await.unwrap();
    assert_eq!(left.verdict, Verdict::Held(Some("s".into()), pause));
    assert!(left.steering.paused);

    // It is held until somebody resumes it.
    let reporter = Reporter::start(log, LEASE, 9, LiveState::Paused, Slots::new(1).take(), CancellationToken::new());
    world.commands.send(Command { id: pause, task_id: LEASE.task_id, attempt: 1, body: message("go") }).await.unwrap();
    let held = left.steering.hold(&reporter, &clock(), &CancellationToken::new()).await;
    assert!(matches!(held, Held::Resumed) && !left.steering.paused);
    assert_eq!(left.steering.messages, [Untaken { command: pause, text: "go".into() }]);
}

#[tokio::test(start_paused = true)]
async fn a_resume_that_comes_before_the_agent_has_stopped_ends_the_pause_after_it() {
    let mut world = World::working(None).await;
    let pause = world.order(CommandBody::Pause).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    let resume = world.order(CommandBody::Resume { text: None }).await;
    world.ends_turn(TurnOutcome::Interrupted, 0).await;
    assert_eq!(world.hears().await, Input::Close);
    world.shows_nothing_yet(resume).await;
    let log = world.log.clone();
    let mut left = world.exits().await;
    assert_eq!(left.verdict, Verdict::Held(Some("s".into()), pause));
    let reporter = Reporter::start(log, LEASE, 9, LiveState::Paused, Slots::new(1).take(), CancellationToken::new());
    assert!(matches!(left.steering.hold(&reporter, &clock(), &CancellationToken::new()).await, Held::Resumed));
}

#[tokio::test(start_paused = true)]
async fn a_pause_before_the_prompt_was_taken_begins_the_session_anew() {
    let world = World::new(None, Vec::new());
    world.says(Output::Started { session_id: "s".into(), model: None }).await;
    let pause = world.order(CommandBody::Pause).await;
    assert_eq!(world.driving.await.unwrap().verdict, Verdict::Held(None, pause));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_killed_before_it_has_stopped_is_held_too() {
    let mut world = World::working(None).await;
    let pause = world.order(CommandBody::Pause).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    world.says(Output::Exited { code: Some(137), stderr: String::new() }).await;
    let left = world.driving.await.unwrap();
    assert_eq!(left.verdict, Verdict::Held(Some("s".into()), pause));
    assert!(left.steering.paused);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_gets_through_a_pause_and_is_acknowledged_by_the_end_alone() {
    let mut world = World::working(None).await;
    world.order(CommandBody::Pause).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    let cancel = world.order(CommandBody::Cancel { reason: "by ann".into() }).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    let usage = Usage { cost_usd: 0.5, ..Usage::default() };
    world.says(Output::Usage(usage)).await;
    world.ends_turn(TurnOutcome::Interrupted, 0).await;
    assert_eq!(world.hears().await, Input::Kill);
    world.reported(|body| *body == FrameBody::Usage { usage }).await;
    assert!(!world.is_acknowledged(cancel));
    assert_eq!(world.exits().await.verdict, Verdict::End(EndReason::Cancelled, "Cancelled by ann.".into()));
}

#[tokio::test(start_paused = true)]
async fn what_runs_in_the_background_for_ever_is_not_waited_for_for_ever() {
    let mut world = World::working(None).await;
    world.ends_turn(TurnOutcome::Success, 1).await;
    assert_eq!(world.hears().await, Input::Close);
    world.reported(|body| matches!(body, FrameBody::Event { event: EventData::Error { recoverable: true, .. } })).await;
    assert_eq!(world.exits().await.verdict, done());
}

#[tokio::test(start_paused = true)]
async fn an_approval_is_shown_answered_and_gone() {
    let mut world = World::working(None).await;
    let asked = EventData::ApprovalRequested {
        approval_id: "a".into(),
        kind: ApprovalKind::Permission,
        tool: "Bash".into(),
        input: json!({}),
        suggestions: None,
    };
    world.says(Output::Event(asked)).await;
    world.shows(LiveState::Waiting, Some(WaitingFor::Approval)).await;
    let answer = CommandBody::Approval {
        approval_id: "a".into(),
        decision: Decision::Allow,
        always: false,
        updated_input: None,
        answers: None,
        message: None,
        by: "ann".into(),
    };
    let first = world.order(answer.clone()).await;
    assert_eq!(world.hears().await, Input::Approval(answer.clone()));
    world.acknowledged(first).await;
    world.shows(LiveState::Running, None).await;
    // One that nobody waits for any more is done with.
    let second = world.order(answer).await;
    world.acknowledged(second).await;
    assert!(world.heard.try_recv().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_closes_lets_go_unless_the_end_is_decided() {
    let world = World::working(None).await;
    world.closing.cancel();
    assert_eq!(world.driving.await.unwrap().verdict, Verdict::Closing);

    let mut world = World::working(None).await;
    world.order(CommandBody::Cancel { reason: "by ann".into() }).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    world.closing.cancel();
    assert!(matches!(world.driving.await.unwrap().verdict, Verdict::End(EndReason::Cancelled, _)));
}

#[tokio::test(start_paused = true)]
async fn a_session_that_is_gone_is_told_apart() {
    let mut world = World::new(None, Vec::new());
    world.ends_turn(TurnOutcome::ResumeFailed, 0).await;
    assert_eq!(world.hears().await, Input::Kill);
    assert_eq!(world.exits().await.verdict, Verdict::SessionGone);
}
