//! What was understood, carried out.

use cadence_protocol::{
    Approval, ApprovalKind, Decide, DecisionRequest, InputOutcome, Intent, Task, TaskStatus, VoiceCommand,
};
use cadence_speech::intent;
use uuid::Uuid;

use crate::store::{Filter, Principal, Store, StoreError};

/// Tasks that can be spoken of.
const SPOKEN_OF: u32 = 100;
/// Longest title in a sentence, in characters.
const TITLE: usize = 48;

/// Why it was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    #[error("{0}")]
    Unclear(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The tasks that can be spoken of, newest first: those that live, and those that ended lately.
pub async fn spoken_of(store: &Store, user: Uuid) -> Result<Vec<Task>, StoreError> {
    let filter = Filter { archived: Some(false), limit: SPOKEN_OF, ..Filter::default() };
    Ok(store.tasks(user, filter).await?.0)
}

/// Carries out everything but a new task.
pub async fn carry_out(store: &Store, who: &Principal, command: &VoiceCommand) -> Result<InputOutcome, CarryError> {
    match command.intent {
        Intent::ListAgents => {
            let tasks = spoken_of(store, who.user_id).await?;
            let live: Vec<Task> = tasks.into_iter().filter(lives).collect();
            Ok(InputOutcome { message: overview(&live), tasks: live, approval: None })
        }
        Intent::CheckStatus if targets(command).is_empty() => {
            let tasks = spoken_of(store, who.user_id).await?;
            let live: Vec<Task> = tasks.iter().filter(|task| lives(task)).cloned().collect();
            let shown = if live.is_empty() { tasks.into_iter().take(1).collect() } else { live };
            Ok(InputOutcome { message: statuses(&shown), tasks: shown, approval: None })
        }
        Intent::CreateAgent | Intent::Unknown => {
            Err(CarryError::Unclear("it was not understood; say it in other words".to_owned()))
        }
        intent => {
            let targets = decided(command)?;
            let mut outcome = InputOutcome::default();
            let mut told = Vec::new();
            for id in targets {
                let task = store.task(who.user_id, id).await?;
                let name = name(&task);
                let (task, approval) = one(store, who, command, intent, task).await?;
                told.push(sentence(intent, &task, &name));
                outcome.tasks.push(task);
                outcome.approval = approval.or(outcome.approval);
            }
            outcome.message = told.join(" ");
            Ok(outcome)
        }
    }
}

/// Whether something is still to come of it.
fn lives(task: &Task) -> bool {
    !task.status.is_end() || task.status == TaskStatus::PrOpen
}

fn targets(command: &VoiceCommand) -> Vec<Uuid> {
    match command.entities.agent_id {
        Some(id) => vec![id],
        None if intent::means_each(command) => command.candidates.clone(),
        None => Vec::new(),
    }
}

fn decided(command: &VoiceCommand) -> Result<Vec<Uuid>, CarryError> {
    let targets = targets(command);
    if !targets.is_empty() {
        return Ok(targets);
    }
    Err(CarryError::Unclear(match command.candidates.len() {
        0 => "it is not clear which task is meant; name it by its title, its number or its id".to_owned(),
        n => format!("{n} tasks may be meant; name one by its number or its id"),
    }))
}

async fn one(
    store: &Store,
    who: &Principal,
    command: &VoiceCommand,
    intent: Intent,
    task: Task,
) -> Result<(Task, Option<Approval>), CarryError> {
    let (who, id) = (who.clone(), task.id);
    let message = || command.entities.message.clone();
    Ok(match intent {
        Intent::PauseAgent => (store.pause(who, id).await?, None),
        Intent::ResumeAgent => (store.resume(who, id, message()).await?, None),
        Intent::StopAgent => (store.cancel(who, id).await?, None),
        Intent::SendMessage => {
            let text = message().ok_or_else(|| CarryError::Unclear("what shall it be told?".to_owned()))?;
            (store.message(who, id, text).await?, None)
        }
        Intent::Approve | Intent::Deny => {
            let user = who.user_id;
            let open = store.approvals(user, Some(id)).await?;
            let asked = open
                .into_iter()
                .next()
                .ok_or_else(|| CarryError::Unclear(format!("{} asks for nothing now", name(&task))))?;
            if asked.kind == ApprovalKind::Question && intent == Intent::Approve {
                return Err(CarryError::Unclear(format!(
                    "{} asks a question, which a yes does not answer; see `cadence approvals ls`",
                    name(&task)
                )));
            }
            let decision = if intent == Intent::Approve { DecisionRequest::Allow } else { DecisionRequest::Deny };
            let decide = Decide { decision, updated_input: None, answers: None, message: message() };
            let approval = store.decide(who, id, asked.id, decide).await?;
            (store.task(user, id).await?, Some(approval))
        }
        _ => (task, None),
    })
}

/// How a task is spoken of.
pub fn name(task: &Task) -> String {
    format!("“{}”", task.title(TITLE))
}

fn sentence(intent: Intent, task: &Task, name: &str) -> String {
    match intent {
        Intent::PauseAgent => format!("{name} pauses."),
        Intent::ResumeAgent => format!("{name} goes on."),
        Intent::StopAgent => format!("{name} is stopped."),
        Intent::SendMessage => format!("{name} was told."),
        Intent::Approve => format!("{name} may do it."),
        Intent::Deny => format!("{name} may not do it."),
        _ => status(task),
    }
}

/// A sentence on how a task is doing.
pub fn status(task: &Task) -> String {
    let name = name(task);
    let progress = if task.progress > 0 { format!(", {} percent done", task.progress) } else { String::new() };
    match task.status {
        TaskStatus::Pending => format!("{name} has not begun."),
        TaskStatus::Running => format!("{name} is running{progress}."),
        TaskStatus::Waiting => match task.waiting_for {
            Some(cadence_protocol::WaitingFor::RateLimit) => format!("{name} waits for a rate limit to pass."),
            Some(cadence_protocol::WaitingFor::Answer) => format!("{name} has a question for you."),
            _ => format!("{name} waits for your approval."),
        },
        TaskStatus::Paused => format!("{name} is paused{progress}."),
        TaskStatus::PrOpen => format!("{name} has a pull request open."),
        TaskStatus::Completed => format!("{name} is done."),
        TaskStatus::Failed => format!("{name} has failed."),
        TaskStatus::Cancelled => format!("{name} was cancelled."),
    }
}

fn statuses(tasks: &[Task]) -> String {
    match tasks {
        [] => "There are no tasks.".to_owned(),
        [one] => status(one),
        many => format!("{} {}", overview(many), many.iter().take(3).map(status).collect::<Vec<_>>().join(" ")),
    }
}

fn overview(live: &[Task]) -> String {
    if live.is_empty() {
        return "Nothing is running.".to_owned();
    }
    let count = |status: TaskStatus| live.iter().filter(|task| task.status == status).count();
    let parts: Vec<String> = [
        (TaskStatus::Waiting, "waiting for you"),
        (TaskStatus::Running, "running"),
        (TaskStatus::PrOpen, "with a pull request open"),
        (TaskStatus::Paused, "paused"),
        (TaskStatus::Pending, "pending"),
    ]
    .into_iter()
    .filter_map(|(status, words)| Some((count(status), words)).filter(|(n, _)| *n > 0))
    .map(|(n, words)| format!("{n} {words}"))
    .collect();
    let tasks = if live.len() == 1 { "task" } else { "tasks" };
    format!("{} {tasks}: {}.", live.len(), parts.join(", "))
}
