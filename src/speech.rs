//! What people's words are sent to the server with, and how its answer is shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cadence_protocol::{InputAnswer, Intent, ParseContext, Parsed, Task, TaskDefaults, TaskQuery, TaskSourceKind};
use cadence_speech::vocabulary::Scanner;
use uuid::Uuid;

use crate::checkout::{self, Place};
use crate::client::Client;
use crate::commands::Context;
use crate::error::CommandError;
use crate::render::{BOLD, CYAN, DIM, GREEN, Line, PLAIN, RED, YELLOW};
use crate::text;

/// Names that go to a server on another machine.
const SENT_NAMES: usize = 10_000;
/// Bytes of them.
const SENT_BYTES: usize = 400 * 1024;
/// Longest title in a line.
const TITLE: usize = 60;

/// Where words are spoken: the repository that is named, or the one of the current directory; none outside of any.
pub async fn place(named: Option<&str>) -> Result<Option<Place>, CommandError> {
    match checkout::find(named).await {
        Ok(place) => Ok(Some(place)),
        // What is said may be about tasks alone.
        Err(_) if named.is_none() => Ok(None),
        Err(error) => Err(error),
    }
}

/// What words are understood with. A server on this machine looks at the repository itself; another is sent its names.
pub async fn context(context: &Context, client: &Client, place: Option<&Place>) -> Result<ParseContext, CommandError> {
    let local = client.shares_disk();
    let mut said = ParseContext::default();
    match place {
        None => {}
        Some(Place::Url(url)) => said.repo_url = Some(url.clone()),
        Some(Place::Checkout(checkout)) if local => said.repo_path = Some(path_text(&checkout.root)?),
        Some(Place::Checkout(checkout)) => {
            said.repo_url = checkout.origin_url().await.map_err(checkout::workspace_error)?;
            said.vocabulary = names(checkout.root.clone(), vocabularies(context)).await?;
        }
    }
    if local {
        said.environment = keys();
    }
    Ok(said)
}

/// Where what is found out of repositories is kept.
pub fn vocabularies(context: &Context) -> PathBuf {
    context.settings.data_dir.join("vocabularies")
}

/// Keys and addresses of speech engines and models, for a server on this machine.
pub fn keys() -> BTreeMap<String, String> {
    checkout::environment()
        .filter(|(name, value)| cadence_server::VOICE_VARIABLES.contains(&name.as_str()) && !value.trim().is_empty())
        .collect()
}

async fn names(root: PathBuf, cache: PathBuf) -> Result<Vec<String>, CommandError> {
    let scan = move || {
        let mut scanner = Scanner::new(&root, &cache)?;
        let vocabulary = scanner.ready(&[])?;
        let mut room = SENT_BYTES;
        let fits = |name: &&str| {
            room = room.saturating_sub(name.len() + 3);
            room > 0
        };
        Ok(vocabulary.names().take(SENT_NAMES).take_while(fits).map(str::to_owned).collect())
    };
    tokio::task::spawn_blocking(scan)
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        .map_err(|error: cadence_speech::vocabulary::VocabularyError| {
            CommandError::failed("the repository's words cannot be found out").caused_by(error)
        })
}

/// What new tasks are created with, as `cadence run` would.
pub fn defaults(context: &Context, client: &Client, place: Option<&Place>, source: TaskSourceKind) -> TaskDefaults {
    let settings = &context.settings;
    let branch = match place {
        // A server on this machine sees itself what is checked out.
        Some(Place::Checkout(checkout)) if !client.shares_disk() => checkout.branch.clone(),
        _ => None,
    };
    let environment = if client.shares_disk() {
        checkout::task_environment(checkout::environment(), &settings.environment)
    } else {
        checkout::environment().filter(|(name, _)| settings.environment.contains(name)).collect()
    };
    TaskDefaults {
        branch,
        model: settings.model.clone(),
        agent: settings.agent.clone(),
        permission_mode: settings.permission,
        budget_usd: settings.budget,
        max_turns: settings.max_turns,
        timeout_secs: settings.timeout.map(|timeout| timeout.as_secs().max(1)),
        source: Some(source),
        environment,
        ..TaskDefaults::default()
    }
}

pub fn path_text(path: &Path) -> Result<String, CommandError> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| CommandError::usage(format!("the path {} is not valid UTF-8", path.display())))
}

/// Says what is missing where a task was asked for outside of any repository.
pub fn without_place(error: CommandError, place: Option<&Place>) -> CommandError {
    if place.is_none() && error.message().contains("needs a repository") {
        return CommandError::usage("a new task needs a repository, and this directory is in none")
            .hint("Go into one, or name it with --repo PATH or URL.");
    }
    error
}

/// The tasks that there are, to show which are meant.
pub async fn tasks(client: &Client) -> Result<Vec<Task>, CommandError> {
    Ok(client.rest()?.tasks(&TaskQuery { limit: Some(100), ..TaskQuery::default() }).await?.tasks)
}

/// How a task is named in a line.
pub fn named(id: Uuid, tasks: &[Task]) -> String {
    match tasks.iter().find(|task| task.id == id) {
        Some(task) => format!("{} {}", task.short_id(), text::clean_line(&task.title(TITLE))),
        None => cadence_protocol::short_id(id),
    }
}

/// What will be done, in a line or two.
pub fn plan(parsed: &Parsed, tasks: &[Task]) -> Vec<Line> {
    let command = &parsed.command;
    let entities = &command.entities;
    let target = || match entities.agent_id {
        Some(id) => named(id, tasks),
        None => match command.candidates.as_slice() {
            [] => "no task that is known".to_owned(),
            all if cadence_speech::intent::means_each(command) => format!("{} tasks", all.len()),
            all => format!("one of {} tasks", all.len()),
        },
    };
    let (verb, object) = match command.intent {
        Intent::CreateAgent => {
            let what = entities.task_description.clone().unwrap_or_else(|| command.transcript.clone());
            ("new task", text::clean_line(&what))
        }
        Intent::CheckStatus if entities.agent_id.is_none() => ("status", "of all tasks".to_owned()),
        Intent::CheckStatus => ("status", target()),
        Intent::ListAgents => ("list", "all tasks".to_owned()),
        Intent::PauseAgent => ("pause", target()),
        Intent::ResumeAgent => ("resume", target()),
        Intent::StopAgent => ("cancel", target()),
        Intent::SendMessage => ("tell", target()),
        Intent::Approve => ("allow", target()),
        Intent::Deny => ("deny", target()),
        Intent::Unknown => ("not understood", text::clean_line(&command.transcript)),
    };
    let color = if command.intent == Intent::Unknown { YELLOW } else { CYAN };
    let mut lines = vec![Line::of(color, format!("{verb}  ")).add(BOLD, object)];
    let mut more = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            lines.push(Line::of(DIM, format!("  {name:<8}")).add(PLAIN, text::clean_line(value)));
        }
    };
    more("message", &entities.message);
    more("branch", &entities.branch);
    more("model", &entities.model);
    more("repo", &entities.repo_url);
    if !cadence_speech::intent::means_each(command) {
        let candidates = command.candidates.iter().take(5).enumerate();
        lines.extend(candidates.map(|(n, id)| Line::of(DIM, format!("  {} ", n + 1)).add(PLAIN, named(*id, tasks))));
    }
    if let Some(note) = &parsed.note {
        lines.push(Line::of(DIM, format!("  {}", text::clean_line(note))));
    }
    lines
}

/// What was done, in a sentence for eyes and ears. `stays`: whoever says it is there when the task ends, and tells.
pub fn sentence(answer: &InputAnswer, stays: bool) -> String {
    match (&answer.task, &answer.result) {
        (Some(task), _) if stays => format!("Agent started on {}. I'll tell you when it is done.", task.repo_name),
        (Some(task), _) => format!("Agent started on {}.", task.repo_name),
        (None, Some(result)) => result.message.clone(),
        (None, None) => "Nothing was done.".to_owned(),
    }
}

/// What was done, in lines.
pub fn outcome(answer: &InputAnswer, stays: bool) -> Vec<Line> {
    let mut lines = vec![Line::of(GREEN, "✓ ").add(PLAIN, text::clean_line(&sentence(answer, stays)))];
    if let Some(task) = &answer.task {
        let id = task.short_id();
        lines.push(Line::of(DIM, "  task    ").add(PLAIN, format!("{id} · {} · {}", task.agent, task.branch)));
        lines.push(Line::of(DIM, "  follow  ").add(PLAIN, format!("cadence tasks logs -f {id}")));
    }
    if let Some(result) = &answer.result
        && matches!(answer.command.intent, Intent::ListAgents | Intent::CheckStatus)
    {
        lines.extend(result.tasks.iter().map(task_line));
    }
    lines
}

fn task_line(task: &Task) -> Line {
    let color = if task.status == cadence_protocol::TaskStatus::Failed { RED } else { CYAN };
    Line::of(color, format!("  {}  ", task.short_id()))
        .add(PLAIN, format!("{:<9} ", task.status.to_string()))
        .add(PLAIN, text::clean_line(&task.title(TITLE)))
}
