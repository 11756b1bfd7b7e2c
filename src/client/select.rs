//! Which task is meant: a whole id, the beginning of one, or `last`.

use cadence_protocol::{Task, TaskQuery};
use uuid::Uuid;

use super::Rest;
use crate::error::CommandError;
use crate::text::{clean_line, cut};

/// Pages that are looked through for a beginning.
const PAGES: usize = 20;

impl Rest {
    /// The task that `text` means.
    pub async fn select(&self, text: &str) -> Result<Task, CommandError> {
        match parse(text)? {
            Wanted::Last => {
                let query = TaskQuery { limit: Some(1), archived: Some("all".into()), ..TaskQuery::default() };
                self.tasks(&query).await?.tasks.into_iter().next().ok_or_else(|| {
                    CommandError::usage("there is no task yet").hint("Start one with `cadence run \"TASK\"`.")
                })
            }
            Wanted::Id(id) => self.task(id).await,
            Wanted::Prefix(prefix) => {
                let mut query = TaskQuery {
                    q: Some(prefix.clone()),
                    archived: Some("all".into()),
                    limit: Some(200),
                    ..TaskQuery::default()
                };
                let mut found = Vec::new();
                for _ in 0..PAGES {
                    let page = self.tasks(&query).await?;
                    found.extend(page.tasks);
                    query.cursor = page.next_cursor;
                    if query.cursor.is_none() {
                        break;
                    }
                }
                pick(&prefix, found)
            }
        }
    }

    /// The tasks that several words mean.
    pub async fn select_all(&self, texts: &[String]) -> Result<Vec<Task>, CommandError> {
        let mut tasks = Vec::with_capacity(texts.len());
        for text in texts {
            tasks.push(self.select(text).await?);
        }
        Ok(tasks)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Last,
    Id(Uuid),
    Prefix(String),
}

fn parse(text: &str) -> Result<Wanted, CommandError> {
    if text == "last" {
        return Ok(Wanted::Last);
    }
    let prefix = text.trim().to_ascii_lowercase();
    if prefix.len() >= 32
        && let Ok(id) = Uuid::parse_str(&prefix)
    {
        return Ok(Wanted::Id(id));
    }
    if prefix.is_empty() || prefix.len() > 36 || !prefix.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        return Err(CommandError::usage(format!("`{}` is no task's id", cut(&clean_line(text), 60)))
            .hint("Give the first digits of an id (`cadence tasks ls` shows them), or `last`."));
    }
    Ok(Wanted::Prefix(prefix))
}

/// The one task whose id begins so.
fn pick(prefix: &str, found: Vec<Task>) -> Result<Task, CommandError> {
    let bare = prefix.replace('-', "");
    let fits = |task: &Task| task.id.to_string().starts_with(prefix) || task.id.simple().to_string().starts_with(&bare);
    let mut fitting: Vec<Task> = found.into_iter().filter(fits).collect();
    match fitting.len() {
        0 => Err(CommandError::usage(format!("there is no task `{prefix}`"))
            .hint("`cadence tasks ls --archived all` shows all.")),
        1 => Ok(fitting.remove(0)),
        count => {
            let error = CommandError::usage(format!("`{prefix}` is the beginning of {count} ids"));
            Err(fitting
                .iter()
                .take(10)
                .fold(error, |error, task| error.hint(format!("{}  {}", task.id, clean_line(&task.title(60))))))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::error::Exit;

    fn task(id: &str) -> Task {
        serde_json::from_value(serde_json::json!({
            "id": id, "userId": Uuid::nil(), "taskDescription": format!("task {id}"), "repoName": "demo",
            "branch": "b", "baseBranch": "main", "status": "running", "progress": 0, "model": "", "agent": "demo",
            "source": "CLI", "executor": "local", "permissionMode": "edits", "attempt": 1, "lastSeq": 1,
            "createdAt": "2026-01-01T10:00:00Z", "updatedAt": "2026-01-01T10:00:00Z"
        }))
        .unwrap()
    }

    const ONE: &str = "1a2b3c4d-0000-4000-8000-000000000001";
    const TWO: &str = "1a2bffff-0000-4000-8000-000000000002";

    #[test]
    fn words_are_understood() {
        assert_eq!(parse("last").unwrap(), Wanted::Last);
        assert_eq!(parse("1A2B").unwrap(), Wanted::Prefix("1a2b".into()));
        assert!(matches!(parse(ONE).unwrap(), Wanted::Id(_)));
        for wrong in ["", "xyz", "../x", "1a2b\u{1b}[31m"] {
            assert_eq!(parse(wrong).unwrap_err().exit, Exit::Usage);
        }
    }

    #[test]
    fn a_beginning_means_one_task_or_none() {
        let all = || vec![task(ONE), task(TWO)];
        assert_eq!(pick("1a2b3", all()).unwrap().id.to_string(), ONE);
        assert_eq!(pick("1a2b3c4d0000", all()).unwrap().id.to_string(), ONE);
        assert!(pick("9", all()).unwrap_err().message().contains("no task"));
        let error = pick("1a2b", all()).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        insta::assert_snapshot!(format!("{}\n{}", error.message(), error.hints().join("\n")), @r#"
        `1a2b` is the beginning of 2 ids
        1a2b3c4d-0000-4000-8000-000000000001  task 1a2b3c4d-0000-4000-8000-000000000001
        1a2bffff-0000-4000-8000-000000000002  task 1a2bffff-0000-4000-8000-000000000002
        "#);
    }
}
