//! Candidates for the shell: ids and titles of tasks, of a server that already runs, and microphones.

use std::ffi::OsStr;
use std::time::Duration;

use cadence_protocol::TaskQuery;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};

use crate::client::Client;
use crate::config::{Flags, Settings, process_environment};
use crate::error::CommandError;

/// A shell that waits is worse than one without candidates.
const PATIENCE: Duration = Duration::from_millis(800);

/// Completes ids of tasks, with their titles beside them.
pub fn task_ids() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| candidates(current, tasks))
}

/// Completes ids of requests that wait for an answer.
pub fn approval_ids() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| candidates(current, approvals))
}

/// Completes names of settings.
pub fn setting_names() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let current = current.to_string_lossy();
        crate::config::KEYS
            .iter()
            .filter(|key| key.name.starts_with(current.as_ref()))
            .map(|key| CompletionCandidate::new(key.name).help(Some(key.about.into())))
            .collect()
    })
}

/// Completes ids of microphones, with their names beside them: a name leads to its id, which no shell has to quote.
pub fn microphones() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let (told, devices) = std::sync::mpsc::channel();
        // A sound server that hangs is left behind with its thread.
        std::thread::spawn(move || told.send(crate::voice::devices()));
        let Some(current) = current.to_str() else { return Vec::new() };
        let devices = devices.recv_timeout(PATIENCE).ok().and_then(Result::ok).unwrap_or_default();
        let known = devices.into_iter().map(|device| (device.bare_id().to_owned(), device.name)).collect();
        matching(current, known)
            .into_iter()
            .map(|(id, name)| CompletionCandidate::new(id).help(Some(name.into())))
            .collect()
    })
}

/// Completes names of agents: cadence's own, and those of the settings.
pub fn agents() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let current = current.to_string_lossy();
        let settings = Settings::load(&Flags::default(), &process_environment).ok();
        let own = settings.into_iter().flat_map(|settings| settings.agents.into_keys());
        let all = crate::config::AGENTS.iter().map(|name| (*name).to_owned()).chain(own);
        all.filter(|name| name.starts_with(current.as_ref())).map(CompletionCandidate::new).collect()
    })
}

/// Completes words of a fixed set.
pub fn words(words: &'static [&'static str]) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let current = current.to_string_lossy();
        words.iter().filter(|word| word.starts_with(current.as_ref())).map(CompletionCandidate::new).collect()
    })
}

fn candidates<F>(current: &OsStr, ask: fn(Client) -> F) -> Vec<CompletionCandidate>
where
    F: Future<Output = Result<Vec<(String, String)>, CommandError>>,
{
    let Some(current) = current.to_str() else { return Vec::new() };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let known = runtime.block_on(async {
        let work = async {
            let settings = Settings::load(&Flags::default(), &process_environment).ok()?;
            ask(Client::find(&settings).await.ok()??).await.ok()
        };
        tokio::time::timeout(PATIENCE, work).await.ok().flatten()
    });
    matching(current, known.unwrap_or_default())
        .into_iter()
        .map(|(id, title)| CompletionCandidate::new(id).help(Some(title.into())))
        .collect()
}

async fn tasks(client: Client) -> Result<Vec<(String, String)>, CommandError> {
    let query = TaskQuery { limit: Some(100), ..TaskQuery::default() };
    let list = client.rest()?.tasks(&query).await?;
    Ok(list
        .tasks
        .iter()
        .map(|task| (task.short_id(), crate::text::clean_line(&format!("{}: {}", task.status, task.title(60)))))
        .collect())
}

async fn approvals(client: Client) -> Result<Vec<(String, String)>, CommandError> {
    let list = client.rest()?.approvals().await?;
    Ok(list
        .into_iter()
        .map(|approval| {
            let what = format!("{} {}", approval.tool, crate::render::tool_summary(&approval.input));
            (approval.id, crate::text::clean_line(&what))
        })
        .collect())
}

/// What begins as typed, or has it in its title: a title leads to its id.
fn matching(current: &str, known: Vec<(String, String)>) -> Vec<(String, String)> {
    let lower = current.to_lowercase();
    let by_id: Vec<_> = known.iter().filter(|(id, _)| id.starts_with(current)).cloned().collect();
    if !by_id.is_empty() {
        return by_id;
    }
    known.into_iter().filter(|(_, title)| title.to_lowercase().contains(&lower)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn ids_and_titles_lead_to_ids() {
        let known =
            || vec![("1a2b".to_owned(), "running: Fix it".to_owned()), ("9f".to_owned(), "done: Docs".to_owned())];
        let ids = |text: &str| matching(text, known()).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        assert_eq!(ids(""), ["1a2b", "9f"]);
        assert_eq!(ids("1a"), ["1a2b"]);
        assert_eq!(ids("docs"), ["9f"]);
        assert!(ids("none").is_empty());
    }
}
