//! One attempt from its claim to its end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cadence_protocol::{
    AttemptEnd, Claim, Command, EndReason, EventData, FrameBody, Lease, LiveState, TaskStatus, Timestamp, WaitingFor,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::bounds::{self, Kept};
use super::drive::{Drive, LONGEST_WAIT, Verdict};
use super::report::{Reporter, insist};
use super::slots::Slot;
use super::spending::Spending;
use super::steer::{Held, Steering, Untaken};
use super::{Runner, clock::Clock};
use crate::fault::{self, Point};
use crate::host::{MARKER_VARIABLE, kill_marked, marker};
use crate::workspace::{Lock, Origin, Prepare, Workspace, WorkspaceError};
use crate::{AgentError, Launch, SessionStart, TaskSource};

/// What an agent is told when it goes on after its process was gone.
const CONTINUE: &str = "You were interrupted: the process that you ran in ended. Go on with the task where you left off; \
look at the state of the files first.";

/// What an agent is told when it goes on after a pause, in which none of its processes lived.
const UNPAUSED: &str = "You were interrupted by a pause, and the processes that you had started were ended.";
const GO_ON: &str = "Go on with the task where you left off; look at the state of the files first.";

/// How often an agent that something kills is started again within a time.
const DEATHS: usize = 3;
const DEATHS_WITHIN: Duration = Duration::from_secs(600);

/// How much of the set-up command's output is kept, in bytes.
const SETUP_OUTPUT: usize = 64 * 1024;
/// How long the runner waits for whoever else still works in the workspace.
const LOCK_LIMIT: Duration = Duration::from_secs(30);

/// Tasks of one attempt that end with it.
struct Helpers(Vec<JoinHandle<()>>);

impl Drop for Helpers {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// How an attempt is left.
enum Leave {
    /// The runner closes; the next one goes on.
    Closing,
    End(AttemptEnd),
}

pub async fn run<S: TaskSource>(runner: Arc<Runner<S>>, claim: Claim, slot: Slot) {
    let lease = claim.lease;
    let lost = CancellationToken::new();
    let parked = parked(&claim, Timestamp::now_utc());
    let state = match claim.task.status {
        TaskStatus::Paused => LiveState::Paused,
        _ if parked.is_some() => LiveState::Waiting,
        _ => LiveState::Running,
    };
    let last = claim.last_source_seq;
    let reporter = Reporter::start(runner.source.clone(), lease, last, state, slot, lost.clone());
    let limit = runner.policy.wall_clock(claim.spec.timeout_secs).map(Duration::from_secs);
    let clock = Clock::new(limit, Duration::from_millis(claim.worked_ms));
    let (commands, inbox) = mpsc::channel(64);
    let _helpers = Helpers(vec![
        tokio::spawn(beat(runner.source.clone(), lease, clock.clone(), lost.clone())),
        tokio::spawn(listen(runner.source.clone(), lease, lost.clone(), commands)),
    ]);
    tracing::info!(task = %lease.task_id, attempt = lease.attempt, recovered = claim.recovered, "attempt begins");
    let steering = Steering::new(inbox, state == LiveState::Paused, parked);
    let leave = tokio::select! {
        leave = whole(&runner, claim, &reporter, steering, &clock) => leave,
        () = lost.cancelled() => {
            // Whoever holds it now deals with what is left; the agent went with its session. Where nobody does, because the
            // queue refused a report, it ends here.
            tracing::warn!(task = %lease.task_id, attempt = lease.attempt, "the attempt is left");
            let end = AttemptEnd::new(EndReason::Lost, "cadence could not store what the agent did; its log says more");
            if runner.source.finish(&lease, end).await.is_ok() {
                tracing::error!(task = %lease.task_id, attempt = lease.attempt, "it ended as lost");
            }
            return;
        }
    };
    match leave {
        Leave::Closing => {
            // Its agent is gone before somebody else starts another.
            sweep(lease).await;
            reporter.flush().await;
            // The next runner counts on from here.
            let _ = runner.source.heartbeat(&lease, clock.worked(Instant::now())).await;
            if let Err(error) = runner.source.release(&lease).await {
                tracing::warn!(%error, task = %lease.task_id, "the attempt could not be given back; its lease will expire");
            }
        }
        Leave::End(end) => {
            tracing::info!(task = %lease.task_id, attempt = lease.attempt, reason = %end.reason, "attempt ends");
            reporter.close().await;
            // What it worked since the last beat counts, too.
            let _ = runner.source.heartbeat(&lease, clock.worked(Instant::now())).await;
            insist(&lost, "finish", || runner.source.finish(&lease, end.clone())).await;
            fault::reached(Point::Ended).await;
        }
    }
}

/// Until when an attempt that waited for a rate limit as what ran it died waits on.
fn parked(claim: &Claim, now: Timestamp) -> Option<Instant> {
    let at = claim.task.resume_at.filter(|_| claim.task.waiting_for == Some(WaitingFor::RateLimit))?;
    let left = Duration::try_from(at - now).ok().filter(|left| !left.is_zero())?;
    Some(Instant::now() + left.min(LONGEST_WAIT))
}

/// Kills what is left of an attempt's processes.
async fn sweep(lease: Lease) {
    let swept = tokio::task::spawn_blocking(move || kill_marked(&marker(lease.task_id, lease.attempt))).await;
    if let Ok(found @ 1..) = swept {
        tracing::warn!(task = %lease.task_id, found, "processes of an attempt had outlived their host");
    }
}

/// Extends the lease, and tells how long the attempt has worked.
async fn beat<S: TaskSource>(source: Arc<S>, lease: Lease, clock: Clock, lost: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_secs(u64::from(lease.ttl_secs.max(3)) / 3));
    loop {
        ticks.tick().await;
        if insist(&lost, "heartbeat", || source.heartbeat(&lease, clock.worked(Instant::now()))).await.is_none() {
            return;
        }
    }
}

/// Hands on commands, each once.
async fn listen<S: TaskSource>(source: Arc<S>, lease: Lease, lost: CancellationToken, to: mpsc::Sender<Command>) {
    let mut seen = Vec::new();
    while let Some(commands) = insist(&lost, "commands", || source.commands(&lease, &seen)).await {
        for command in commands {
            seen.push(command.id);
            if to.send(command).await.is_err() {
                return;
            }
        }
    }
}

async fn whole<S: TaskSource>(
    runner: &Arc<Runner<S>>,
    claim: Claim,
    reporter: &Reporter,
    mut steering: Steering,
    clock: &Clock,
) -> Leave {
    // A host that was killed could not take its agent along.
    if claim.recovered {
        sweep(claim.lease).await;
    }
    let mut environment = runner.environment.clone();
    environment.extend(claim.spec.environment.clone());
    // Git at work in the workspace and the set-up command are found by it like the agent.
    environment.insert(MARKER_VARIABLE.to_owned(), marker(claim.lease.task_id, claim.lease.attempt));
    // A missing program is said before the repository is cloned for it.
    let found = runner.agents.get(&claim.task.agent);
    let found = found.and_then(|agent| agent.find(&environment).map(|program| (agent.clone(), program)));
    let (agent, program) = match found {
        Ok(found) => found,
        Err(error) => return Leave::End(early(runner, &claim, reporter, unavailable(&error)).await),
    };
    let prepared = tokio::select! {
        prepared = prepare(runner, &claim, (&mut environment, &program), reporter) => prepared,
        (reason, summary) = steering.ended(reporter) => Err(AttemptEnd::new(reason, summary)),
        () = runner.closing.cancelled() => return Leave::Closing,
    };
    // Nobody else writes there until the attempt has ended.
    let (workspace, lock, kept) = match prepared {
        Ok(prepared) => prepared,
        Err(end) => return Leave::End(early(runner, &claim, reporter, end).await),
    };
    // Git of the agent's own finds the token that the task brought.
    let for_git = runner.workspaces.agent_variables(&workspace.origin, &environment);
    environment.extend(for_git);

    let mut spending = Spending::new(&claim);
    // One that was launched has perhaps worked; whether it did, its session says.
    let mut unsure = !claim.begun && claim.launched.is_some();
    let known = if unsure { &claim.launched } else { &claim.session_id };
    let mut session = known.clone().map_or_else(fresh, SessionStart::Resume);
    let mut prompt = if claim.begun || unsure { CONTINUE.to_owned() } else { claim.spec.prompt.clone() };
    let mut deaths = Vec::new();
    let (reason, summary) = loop {
        match steering.hold(reporter, clock, &runner.closing).await {
            // Somebody who says something else than to go on is not contradicted.
            Held::Resumed if prompt == UNPAUSED && steering.messages.is_empty() => {
                prompt = format!("{UNPAUSED} {GO_ON}")
            }
            Held::Resumed => {}
            Held::Ended(reason, summary) => break (reason, summary),
            Held::Closing => {
                kept.leave();
                return Leave::Closing;
            }
        }
        let now = Timestamp::now_utc();
        if spending.is_spent(now) {
            break (EndReason::Budget, spending.sentence(now).unwrap_or_default());
        }
        let prompt_id = Uuid::new_v4();
        let launch = Launch {
            task_id: claim.lease.task_id,
            attempt: claim.lease.attempt,
            directory: workspace.directory.clone(),
            prompt: with_messages(&prompt, &steering.messages),
            prompt_id,
            session: session.clone(),
            model: Some(claim.task.model.clone()).filter(|model| !model.is_empty()),
            permission: claim.spec.permission_mode,
            budget_usd: spending.left(now),
            max_turns: claim.spec.max_turns,
            environment: environment.clone(),
            host: runner.program.clone(),
            lock: Some(workspace.agent_lock()),
            raw_log: Some(workspace.agent_log()),
            bounds: kept.bounds.clone(),
        };
        if let SessionStart::New(id) = &session {
            // Stored before the agent hears anything, so that no work is done that nobody knows of.
            reporter.frame(FrameBody::Launch { session_id: id.to_string() }).await;
            reporter.flush().await;
        }
        let started = match agent.start(launch).await {
            Ok(started) => started,
            Err(error) => {
                let end = unavailable(&error);
                break (end.reason, end.summary);
            }
        };
        fault::reached(Point::Launched).await;
        let first = (prompt_id, std::mem::take(&mut steering.messages));
        let source = runner.source.clone();
        let drive = Drive::new(source, claim.lease, started.input.clone(), reporter, clock, spending, first);
        let (verdict, spent) = steering.drive(started, drive, &runner.closing).await;
        spending = spent;
        let mut paused = None;
        match verdict {
            Verdict::End(reason, summary) => break (reason, summary),
            Verdict::Closing => {
                kept.leave();
                return Leave::Closing;
            }
            Verdict::Died(id, how) => {
                deaths.retain(|at: &Instant| at.elapsed() < DEATHS_WITHIN);
                deaths.push(Instant::now());
                if deaths.len() > DEATHS {
                    break (EndReason::Failed, format!("{how}, as it was {DEATHS} times before in a short time."));
                }
                let message = format!("{how}; it is started again and goes on.");
                reporter.event(EventData::Error { message, recoverable: true }).await;
                go_on(id, &mut session, &mut prompt, CONTINUE);
            }
            Verdict::Held(id, command) => {
                paused = Some(command);
                go_on(id, &mut session, &mut prompt, UNPAUSED);
            }
            Verdict::SessionGone if unsure => {
                unsure = false;
                session = fresh();
                claim.spec.prompt.clone_into(&mut prompt);
            }
            Verdict::SessionGone if matches!(session, SessionStart::Resume(_)) => {
                let message = "The agent's session could not be continued; a new one begins.".to_owned();
                reporter.event(EventData::Error { message, recoverable: true }).await;
                session = fresh();
                prompt = anew(&claim);
            }
            Verdict::SessionGone => break (EndReason::Failed, "The agent lost its session.".to_owned()),
        }
        sweep(claim.lease).await;
        if let Some(command) = paused {
            // Not before nothing runs any more.
            reporter.show(LiveState::Paused, None).await;
            reporter.acknowledge(command).await;
        }
    };
    // Nothing of the agent writes any more when its work is taken.
    sweep(claim.lease).await;
    drop(lock);
    Leave::End(closed(&workspace, &claim, reporter, reason, summary).await)
}

/// An end before the agent was started. Where it had worked before, its work comes home all the same.
async fn early<S: TaskSource>(
    runner: &Arc<Runner<S>>,
    claim: &Claim,
    reporter: &Reporter,
    end: AttemptEnd,
) -> AttemptEnd {
    match runner.workspaces.open(claim.lease.task_id) {
        Ok(Some(workspace)) if claim.begun || claim.recovered => {
            closed(&workspace, claim, reporter, end.reason, end.summary).await
        }
        _ => end,
    }
}

/// The next process goes on in the session with this prompt, where the agent had one that has heard the first.
fn go_on(id: Option<String>, session: &mut SessionStart, prompt: &mut String, with: &str) {
    match id {
        Some(id) => {
            *session = SessionStart::Resume(id);
            with.clone_into(prompt);
        }
        None if matches!(session, SessionStart::New(_)) => *session = fresh(),
        None => {}
    }
}

fn fresh() -> SessionStart {
    SessionStart::New(Uuid::new_v4())
}

/// The prompt and what came while it waited.
fn with_messages(prompt: &str, messages: &[Untaken]) -> String {
    let texts = messages.iter().map(|untaken| untaken.text.as_str());
    std::iter::once(prompt).chain(texts).collect::<Vec<_>>().join("\n\n")
}

/// What a new session is told when the old one is gone.
fn anew(claim: &Claim) -> String {
    let (task, prompt) = (&claim.task.task_description, &claim.spec.prompt);
    if prompt == task {
        return format!("{task}\n\n(Work on this may have begun already; look at the state of the repository first.)");
    }
    format!("Earlier, in this repository, you were asked: {task}\n\nThat work is in the files. Now: {prompt}")
}

fn unavailable(error: &AgentError) -> AttemptEnd {
    let text = match error {
        AgentError::Missing { hint, .. } => format!("{error}. Install it with: {hint}"),
        _ => error.to_string(),
    };
    AttemptEnd::new(EndReason::AgentUnavailable, text)
}

async fn prepare<S: TaskSource>(
    runner: &Arc<Runner<S>>,
    claim: &Claim,
    (environment, program): (&mut BTreeMap<String, String>, &Path),
    reporter: &Reporter,
) -> Result<(Workspace, Lock, Kept), AttemptEnd> {
    let task = &claim.task;
    // Said before the repository is cloned for it.
    let decided = bounds::decide(&runner.policy, &claim.spec, &claim.task.agent).await;
    let decided = decided.map_err(|error| AttemptEnd::new(EndReason::Failed, format!("{error}.")))?;
    let failed = |error: &dyn std::fmt::Display| AttemptEnd::new(EndReason::Workspace, error.to_string());
    let broken = |error: WorkspaceError| AttemptEnd::new(EndReason::Workspace, explained(&error));
    let bundle = claim.spec.bundle.as_ref();
    let origin = match (&task.repo_path, &task.repo_url, bundle) {
        (Some(path), ..) => Origin::Local(PathBuf::from(path)),
        (None, Some(url), _) => Origin::parse(url).map_err(broken)?,
        (None, None, Some(bundle)) => Origin::Sent(bundle.repository.clone()),
        (None, None, None) => return Err(failed(&"the task names no repository")),
    };
    let request = Prepare {
        task_id: task.id,
        repo_name: task.repo_name.clone(),
        origin,
        commit: task.base_commit.clone(),
        bundle: bundle.map(|bundle| runner.workspaces.bundle_file(bundle.id)),
        base_branch: Some(task.base_branch.clone()).filter(|branch| !branch.is_empty()),
        branch: task.branch.clone(),
        environment: environment.clone(),
    };
    let note = |text: &str| tracing::info!(task = %task.id, "{text}");
    let workspace = runner.workspaces.prepare(&request, &note).await.map_err(broken)?;
    fault::reached(Point::Prepared).await;
    let lock = workspace.lock(LOCK_LIMIT).await.map_err(broken)?;
    reporter
        .frame(FrameBody::Workspace {
            base_commit: workspace.base_commit.clone(),
            base_branch: workspace.base_branch.clone(),
            branch: workspace.branch.clone(),
        })
        .await;
    let installed = runner.workspaces.install(&workspace, environment).await.map_err(broken)?;
    for ran in installed.ran {
        let (exit_code, output) = (ran.exit_code, Some(ran.output));
        reporter.event(EventData::CommandRun { command: ran.command, exit_code, output }).await;
    }
    for path in installed.copied {
        tracing::info!(task = %task.id, lock = %path.display(), "the packages were installed before, and copied");
    }
    for message in installed.notes {
        reporter.event(EventData::Error { message, recoverable: true }).await;
    }
    if let Some(why) = installed.failed {
        return Err(failed(&format!("the packages that .cadence.toml requires could not be installed: {why}")));
    }
    let kept = Kept::prepare(&runner.policy, decided, (task, program), &workspace, environment).await;
    let kept = kept.map_err(|error| failed(&error))?;
    reporter.frame(FrameBody::Sandbox { sandbox: kept.facts.clone() }).await;
    let mut output = String::new();
    let keep = |line: &str| {
        if output.len() < SETUP_OUTPUT {
            output.push_str(line);
            output.push('\n');
        }
    };
    let shell = kept.wrap(&runner.program, ("sh".into(), vec!["-c".to_owned()])).map_err(|error| failed(&error))?;
    let ran = workspace.run_setup_by(&shell, environment, keep).await;
    match ran {
        Ok(None) => Ok((workspace, lock, kept)),
        Ok(Some(code)) => {
            let command = "set-up command of .cadence.toml".to_owned();
            reporter.event(EventData::CommandRun { command, exit_code: Some(code), output: Some(output) }).await;
            if code == 0 {
                Ok((workspace, lock, kept))
            } else {
                Err(failed(&format!("the set-up command of .cadence.toml ended with exit code {code}")))
            }
        }
        Err(error) => Err(broken(error)),
    }
}

/// Brings the work home: commits what is left, counts it, and publishes the branch. Work is kept however the attempt ended.
async fn closed(
    workspace: &Workspace,
    claim: &Claim,
    reporter: &Reporter,
    reason: EndReason,
    summary: String,
) -> AttemptEnd {
    let mut end = AttemptEnd::new(reason, summary);
    // A disk that is too full for what the agent said is so for its commit, too: both wait for room.
    reporter.flush().await;
    let kept: Result<_, WorkspaceError> = async {
        // Also waits until the agent's host has let go.
        let _lock = workspace.lock(LOCK_LIMIT).await?;
        fault::reached(Point::Finishing).await;
        for note in workspace.finish(&commit_message(claim)).await?.notes {
            reporter.event(EventData::Error { message: note, recoverable: true }).await;
        }
        fault::reached(Point::Committed).await;
        let changes = workspace.changes().await?;
        // Also where the work has come to nothing in the end: what was published before would be taken for it.
        if workspace.has_work().await? {
            workspace.publish().await?;
        }
        fault::reached(Point::Published).await;
        Ok(changes)
    }
    .await;
    match kept {
        Ok(changes) => end.changes = Some(changes),
        Err(error) => {
            let place = workspace.directory.display();
            let message = format!("The work could not be brought home: {}. It is kept in {place}.", explained(&error));
            reporter.event(EventData::Error { message: message.clone(), recoverable: false }).await;
            if end.reason == EndReason::Done {
                end = AttemptEnd::new(EndReason::Workspace, message);
            }
        }
    }
    end
}

/// An error with what can be done about it.
fn explained(error: &WorkspaceError) -> String {
    match error.hint() {
        Some(hint) => format!("{error} ({hint})"),
        None => error.to_string(),
    }
}

fn commit_message(claim: &Claim) -> String {
    let title = claim.task.title(72);
    format!("{title}\n\nLeft uncommitted by {} in cadence task {}.\n", claim.task.agent, claim.task.short_id())
}
