//! Money, time, and a service that refuses for its rate.

use tokio::time::Instant;

use super::*;

/// The task of a claim that may still spend so much.
fn bounded(budget_usd: Option<f64>) -> Spending {
    let task = json!({
        "id": Uuid::nil(), "userId": Uuid::nil(), "taskDescription": "x", "repoName": "app", "branch": "b",
        "baseBranch": "main", "status": "running", "progress": 0, "model": "", "agent": "demo", "source": "CLI",
        "executor": "local", "labels": [], "permissionMode": "edits", "attempt": 1, "lastSeq": 1,
        "metadata": { "estimatedCost": 1.5 },
        "createdAt": "2026-11-25T00:00:00Z", "updatedAt": "2026-11-25T00:00:00Z",
    });
    Spending::new(&Claim {
        task: serde_json::from_value(task).unwrap(),
        lease: LEASE,
        spec: AttemptSpec { budget_usd, ..AttemptSpec::default() },
        session_id: None,
        begun: false,
        launched: None,
        recovered: false,
        last_source_seq: 0,
        usage: Usage::default(),
        worked_ms: 0,
    })
}

impl World {
    /// One that works, and may spend so much.
    async fn spending(budget_usd: f64) -> Self {
        Self::bounded(None, Vec::new(), bounded(Some(budget_usd))).begun().await
    }

    async fn costs(&self, cost_usd: f64) {
        self.says(Output::Usage(Usage { cost_usd, ..Usage::default() })).await;
    }

    fn warnings(&self) -> Vec<String> {
        let frames = self.log.0.lock().unwrap();
        let warnings = frames.iter().filter_map(|body| match body {
            FrameBody::Event { event: EventData::Error { message, recoverable: true } } => Some(message.clone()),
            _ => None,
        });
        warnings.collect()
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_spends_more_than_it_may_is_stopped_whatever_it_does_itself() {
    let mut world = World::spending(0.5).await;
    world.costs(0.25).await;
    world.hears_nothing_yet().await;
    world.costs(0.75).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    world.ends_turn(TurnOutcome::Interrupted, 0).await;
    assert_eq!(world.hears().await, Input::Kill);
    let summary = "The budget of the task is spent: $2.25 of $2.00.".to_owned();
    assert_eq!(world.exits().await.verdict, Verdict::End(EndReason::Budget, summary));
}

#[tokio::test(start_paused = true)]
async fn whoever_does_not_listen_is_killed_for_it() {
    let mut world = World::spending(0.5).await;
    world.costs(0.5).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    assert_eq!(world.hears().await, Input::Kill);
    assert!(matches!(world.exits().await.verdict, Verdict::End(EndReason::Budget, _)));
}

#[tokio::test(start_paused = true)]
async fn work_that_is_done_counts_although_it_cost_too_much() {
    let mut world = World::spending(0.5).await;
    world.costs(0.75).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    world.ends_turn(TurnOutcome::Success, 0).await;
    assert_eq!(world.hears().await, Input::Close);
    assert_eq!(world.warnings(), ["The budget of the task is spent: $2.25 of $2.00. The agent was done by then."]);
    assert_eq!(world.exits().await.verdict, done());

    // One that would go on is not done.
    let mut world = World::spending(0.5).await;
    world.costs(0.75).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    world.ends_turn(TurnOutcome::Success, 1).await;
    assert_eq!(world.hears().await, Input::Kill);
    assert!(matches!(world.exits().await.verdict, Verdict::End(EndReason::Budget, _)));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_does_not_say_what_it_costs_is_told_of_once() {
    let mut world = World::spending(0.5).await;
    for tokens in [10, 20] {
        world.says(Output::Usage(Usage { input_tokens: tokens, ..Usage::default() })).await;
    }
    world.hears_nothing_yet().await;
    assert_eq!(world.warnings(), ["The agent does not say what it costs; the budget cannot be kept."]);
    world.ends_turn(TurnOutcome::Success, 0).await;
    assert_eq!(world.hears().await, Input::Close);
    assert_eq!(world.warnings().len(), 1);
    assert_eq!(world.exits().await.verdict, done());

    // Without a budget it is nobody's concern.
    let mut world = World::working(None).await;
    world.ends_turn(TurnOutcome::Success, 0).await;
    assert_eq!(world.hears().await, Input::Close);
    assert!(world.warnings().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_limit_of_the_server_ends_it_also_while_it_is_to_pause() {
    let mut world = World::working(None).await;
    let pause = world.order(CommandBody::Pause).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    let stop = CommandBody::Stop { reason: EndReason::Budget, summary: "The month is spent.".into() };
    let stop = world.order(stop).await;
    world.acknowledged(pause).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    world.ends_turn(TurnOutcome::Interrupted, 0).await;
    assert_eq!(world.hears().await, Input::Kill);
    // By the end alone, so that it is not lost before that.
    assert!(!world.is_acknowledged(stop));
    let verdict = world.exits().await.verdict;
    assert_eq!(verdict, Verdict::End(EndReason::Budget, "The month is spent.".into()));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_is_waited_for_and_the_work_goes_on() {
    let mut world = World::working(None).await;
    let began = tokio::time::Instant::now();
    world.ends_turn(TurnOutcome::RateLimited { retry_after_secs: Some(120) }, 0).await;
    world.shows(LiveState::Waiting, Some(WaitingFor::RateLimit)).await;
    world.hears_message().await;
    assert_eq!(began.elapsed().as_secs(), 120);
    world.shows(LiveState::Running, None).await;
    // Whatever time the service names, it is neither hammered nor waited for beyond reason.
    for (named, waited) in [(0, 15), (u64::MAX, 7 * 24 * 3600)] {
        let began = tokio::time::Instant::now();
        world.ends_turn(TurnOutcome::RateLimited { retry_after_secs: Some(named) }, 0).await;
        world.hears_message().await;
        assert_eq!(began.elapsed().as_secs(), waited);
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_and_a_pause_end_the_wait_for_a_rate_limit() {
    let mut world = World::working(None).await;
    let limited = TurnOutcome::RateLimited { retry_after_secs: Some(3600) };
    world.ends_turn(limited.clone(), 0).await;
    world.shows(LiveState::Waiting, Some(WaitingFor::RateLimit)).await;
    world.order(message("now")).await;
    let (id, text) = world.hears_message().await;
    assert_eq!(text, "now");
    world.says(Output::Taken(id)).await;
    world.ends_turn(limited, 0).await;
    world.reports_waits(2).await;
    let pause = world.order(CommandBody::Pause).await;
    assert_eq!(world.hears().await, Input::Close);
    assert_eq!(world.exits().await.verdict, Verdict::Held(Some("s".into()), pause));
}

#[tokio::test(start_paused = true)]
async fn the_time_ends_it_and_says_whether_the_rate_was_the_reason() {
    let mut world = World::working(Some(60)).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    // It does not stop, and is killed.
    assert_eq!(world.hears().await, Input::Kill);
    assert_eq!(world.exits().await.verdict, Verdict::End(EndReason::TimedOut, "The time ended.".into()));

    let mut world = World::working(Some(60)).await;
    world.says(Output::Retrying { rate_limited: true }).await;
    assert_eq!(world.hears().await, Input::Interrupt);
    assert_eq!(world.hears().await, Input::Kill);
    assert!(matches!(world.exits().await.verdict, Verdict::End(EndReason::RateLimited, _)));
}

/// Waits without an agent.
async fn hold(steering: &mut Steering, log: Arc<Log>, clock: &Clock, state: LiveState) -> Held {
    let slots = Slots::new(1);
    let reporter = Reporter::start(log, LEASE, 9, state, slots.take(), CancellationToken::new());
    let held = steering.hold(&reporter, clock, &CancellationToken::new()).await;
    reporter.flush().await;
    held
}

#[tokio::test(start_paused = true)]
async fn a_pause_of_one_that_is_rate_limited_does_not_make_it_hammer() {
    let mut world = World::working(None).await;
    world.ends_turn(TurnOutcome::RateLimited { retry_after_secs: Some(3600) }, 0).await;
    world.shows(LiveState::Waiting, Some(WaitingFor::RateLimit)).await;
    let began = Instant::now();
    world.order(CommandBody::Pause).await;
    assert_eq!(world.hears().await, Input::Close);
    let (log, commands) = (world.log.clone(), world.commands.clone());
    let mut left = world.exits().await;
    // Resumed long before the limit has passed, it waits on; nobody has to look after it.
    let resume =
        Command { id: Uuid::new_v4(), task_id: LEASE.task_id, attempt: 1, body: CommandBody::Resume { text: None } };
    commands.send(resume).await.unwrap();
    assert!(matches!(hold(&mut left.steering, log.clone(), &clock(), LiveState::Paused).await, Held::Resumed));
    assert_eq!(began.elapsed().as_secs(), 3600);
    let shown: Vec<_> = log
        .0
        .lock()
        .unwrap()
        .iter()
        .filter_map(|body| match body {
            FrameBody::State { state, resume_at, .. } => Some((*state, resume_at.is_some())),
            _ => None,
        })
        .collect();
    assert_eq!(shown[shown.len() - 2..], [(LiveState::Waiting, true), (LiveState::Running, false)]);
}

fn waiting(secs: u64) -> (Steering, mpsc::Sender<Command>) {
    let (commands, inbox) = mpsc::channel(4);
    (Steering::new(inbox, false, Some(Instant::now() + Duration::from_secs(secs))), commands)
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_an_agent_ends_with_the_time_with_a_word_and_with_a_cancel() {
    // Its time goes on, as it does beside an agent.
    let (mut steering, _commands) = waiting(3600);
    let clock = Clock::new(Some(Duration::from_secs(60)), Duration::ZERO);
    let held = hold(&mut steering, Arc::default(), &clock, LiveState::Waiting).await;
    assert!(matches!(held, Held::Ended(EndReason::RateLimited, _)));

    let order = |body| Command { id: Uuid::new_v4(), task_id: LEASE.task_id, attempt: 1, body };
    let began = Instant::now();
    let (mut steering, commands) = waiting(3600);
    commands.send(order(message("try now"))).await.unwrap();
    let held = hold(&mut steering, Arc::default(), &super::clock(), LiveState::Waiting).await;
    assert!(matches!(held, Held::Resumed));
    assert_eq!(steering.messages[0].text, "try now");

    let (mut steering, commands) = waiting(3600);
    commands.send(order(CommandBody::Pause)).await.unwrap();
    commands.send(order(CommandBody::Cancel { reason: "by ann".into() })).await.unwrap();
    let held = hold(&mut steering, Arc::default(), &super::clock(), LiveState::Waiting).await;
    assert!(matches!(held, Held::Ended(EndReason::Cancelled, _)));
    assert_eq!(began.elapsed().as_secs(), 0);
}
