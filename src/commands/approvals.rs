//! `cadence approvals`: what agents wait for, and the answers.

use std::collections::BTreeMap;
use std::time::Duration;

use cadence_protocol::{Approval, ApprovalKind, ApprovalList, Decide, Decision, DecisionRequest, Task};
use uuid::Uuid;

use super::Context;
use crate::client::Rest;
use crate::complete;
use crate::error::{CommandError, CommandResult, Exit};
use crate::follow::{answers, questions};
use crate::render::{DIM, GREEN, Line, PLAIN, RED, REQUEST_LINES, request};
use crate::text::{self, clean_line, cut};

/// See what agents wait for, and answer
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A request is named by the beginning of its id, or by its task's id where only one waits there. \
                        It may be left out where only one waits at all."
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List what waits, oldest first
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  cadence approvals ls\n  cadence approvals ls --json | jq -r '.approvals[].id'"
    )]
    Ls,
    /// Let the agent do it
    #[command(after_help = "Examples:
  cadence approvals allow 1a2b
  cadence approvals allow --always 1a2b
  cadence approvals allow 1a2b --edit '{\"command\": \"make test\"}'")]
    Allow {
        #[arg(value_name = "ID", add = complete::approval_ids())]
        id: Option<String>,
        /// And whatever is like it, for as long as this attempt goes on
        #[arg(long)]
        always: bool,
        /// With another input than it asked for: a JSON object
        #[arg(long, value_name = "JSON", value_parser = object)]
        edit: Option<serde_json::Value>,
    },
    /// Refuse it
    #[command(after_help = "Example:\n  cadence approvals deny 1a2b --message \"use the test database\"")]
    Deny {
        #[arg(value_name = "ID", add = complete::approval_ids())]
        id: Option<String>,
        /// What the agent is told
        #[arg(long, short)]
        message: Option<String>,
    },
    /// Answer a question: an option by its number or label, or words of your own
    #[command(after_help = "Examples:
  cadence approvals answer 1a2b 2
  cadence approvals answer 1a2b \"the second one, but later\"
  cadence approvals answer 1a2b \"Which colour?=Blue\" \"Which size?=Small\"")]
    Answer {
        #[arg(value_name = "ID", add = complete::approval_ids())]
        id: String,
        /// The answer; with several questions `question=answer` or `number=answer` for each
        #[arg(value_name = "ANSWER", required = true)]
        answers: Vec<String>,
    },
}

fn object(text: &str) -> Result<serde_json::Value, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if value.is_object() { Ok(value) } else { Err("a tool's input is a JSON object".to_owned()) }
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    let rest = context.client().await?.rest()?;
    let waiting = rest.approvals().await?;
    let decide = |decision| Decide { decision, updated_input: None, answers: None, message: None };
    match args.action {
        Action::Ls => list(&context, &rest, waiting).await,
        Action::Allow { id, always, edit } => {
            let approval = find(&rest, id.as_deref(), waiting).await?;
            if approval.kind == ApprovalKind::Question && edit.is_none() && !questions(&approval.input).is_empty() {
                return Err(CommandError::usage("it is a question: it needs an answer")
                    .hint(format!("cadence approvals answer {} ANSWER", approval.id)));
            }
            let decision = if always { DecisionRequest::AllowAlways } else { DecisionRequest::Allow };
            send(&context, &rest, &approval, Decide { updated_input: edit, ..decide(decision) }).await
        }
        Action::Deny { id, message } => {
            let approval = find(&rest, id.as_deref(), waiting).await?;
            send(&context, &rest, &approval, Decide { message, ..decide(DecisionRequest::Deny) }).await
        }
        Action::Answer { id, answers: given } => {
            let approval = find(&rest, Some(&id), waiting).await?;
            let asked = questions(&approval.input);
            if asked.is_empty() {
                return Err(CommandError::usage("it is no question: allow or deny it")
                    .hint(format!("cadence approvals allow {}", approval.id)));
            }
            let answers = answers(&asked, &given).map_err(|error| CommandError::usage(clean_line(&error)))?;
            let decide = Decide { answers: Some(answers), ..decide(DecisionRequest::Allow) };
            send(&context, &rest, &approval, decide).await
        }
    }
}

async fn send(context: &Context, rest: &Rest, approval: &Approval, decide: Decide) -> CommandResult {
    let decided = rest.decide(approval.task_id, &approval.id, &decide).await?;
    if context.json {
        context.terminal.json(&decided)?;
    } else {
        let (mark, words) = match decide.decision {
            DecisionRequest::Deny => (Line::of(RED, "✗ "), "denied"),
            _ if decide.answers.is_some() => (Line::of(GREEN, "✓ "), "answered"),
            DecisionRequest::Allow => (Line::of(GREEN, "✓ "), "allowed"),
            DecisionRequest::AllowAlways => (Line::of(GREEN, "✓ "), "allowed, from now on"),
        };
        context.terminal.print(&[mark.add(PLAIN, words).add(DIM, format!("  {}", title(approval)))])?;
    }
    Ok(Exit::Done)
}

async fn list(context: &Context, rest: &Rest, waiting: Vec<Approval>) -> CommandResult {
    if context.json {
        context.terminal.json(&ApprovalList { approvals: waiting })?;
        return Ok(Exit::Done);
    }
    if waiting.is_empty() {
        context.terminal.note(&[Line::of(DIM, "nothing waits for an answer")]);
    }
    let mut tasks: BTreeMap<Uuid, Task> = BTreeMap::new();
    for approval in &waiting {
        if !tasks.contains_key(&approval.task_id)
            && let Ok(task) = rest.task(approval.task_id).await
        {
            tasks.insert(task.id, task);
        }
    }
    for approval in &waiting {
        let mut heading = Line::of(PLAIN, short(&approval.id, &waiting));
        let waits = Duration::try_from(time::OffsetDateTime::now_utc() - approval.created_at).unwrap_or_default();
        let waits = text::duration(Duration::from_secs(waits.as_secs().max(1)));
        heading.push(DIM, format!("  task {} waits for {waits}", cadence_protocol::short_id(approval.task_id)));
        if let Some(task) = tasks.get(&approval.task_id) {
            let what = format!("  {} · {}", clean_line(&task.repo_name), clean_line(&task.title(60)));
            heading.push(DIM, what);
        }
        let mut lines = vec![heading];
        lines.extend(
            request(approval.kind, &approval.tool, &approval.input, REQUEST_LINES)
                .into_iter()
                .map(|line| line.indent(2)),
        );
        context.terminal.print(&lines)?;
    }
    Ok(Exit::Done)
}

fn title(approval: &Approval) -> String {
    let what = format!("{} {}", approval.tool, crate::render::tool_summary(&approval.input));
    cut(&clean_line(&what), 80)
}

/// The beginning of an id that means it alone among those that wait: 8 characters where that is enough.
pub fn short<'a>(id: &'a str, waiting: &[Approval]) -> &'a str {
    let alone = |end: &usize| {
        id.get(..*end).is_some_and(|start| waiting.iter().filter(|other| other.id.starts_with(start)).count() == 1)
    };
    (8..id.len()).find(alone).and_then(|end| id.get(..end)).unwrap_or(id)
}

/// The one request that is meant. One that was decided before is told as such.
async fn find(rest: &Rest, id: Option<&str>, waiting: Vec<Approval>) -> Result<Approval, CommandError> {
    let error = match (pick(id, waiting), id) {
        (Err(error), Some(_)) => error,
        (picked, _) => return picked,
    };
    let wanted = id.unwrap_or_default();
    if wanted.len() < 4 {
        return Err(error);
    }
    let decided = rest.approvals_by_id(wanted).await?;
    let Some((decision, by)) = decided.first().and_then(|a| Some((a.decision?, a.by.as_deref()))) else {
        return Err(error);
    };
    let word = match decision {
        Decision::Allow => "allowed",
        Decision::Deny => "denied",
        Decision::Withdrawn => "withdrawn",
    };
    let by = by.map(|by| format!(" by {}", clean_line(by))).unwrap_or_default();
    Err(CommandError::failed(format!("it was already {word}{by}")))
}

/// The one request that is meant, of those that wait.
fn pick(id: Option<&str>, waiting: Vec<Approval>) -> Result<Approval, CommandError> {
    let fits = |approval: &Approval| match id {
        None => true,
        Some(id) => approval.id.starts_with(id) || approval.task_id.to_string().starts_with(&id.to_lowercase()),
    };
    if let Some(exact) = waiting.iter().find(|approval| Some(approval.id.as_str()) == id) {
        return Ok(exact.clone());
    }
    let mut fitting: Vec<Approval> = waiting.into_iter().filter(fits).collect();
    match (fitting.len(), id) {
        (1, _) => Ok(fitting.remove(0)),
        (0, None) => Err(CommandError::usage("nothing waits for an answer")),
        (0, Some(id)) => {
            Err(CommandError::usage(format!("no request `{}` waits for an answer", cut(&clean_line(id), 60)))
                .hint("`cadence approvals ls` shows what waits."))
        }
        (count, _) => {
            let error = CommandError::usage(format!("{count} requests are meant by that; name one"));
            Err(fitting.iter().take(10).fold(error, |error, a| error.hint(format!("{}  {}", a.id, title(a)))))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use crate::client::stub;

    fn approval(id: &str, task: u128) -> Approval {
        let asked = stub::approval(id, ApprovalKind::Permission, serde_json::json!({"command": "make"}));
        Approval { task_id: Uuid::from_u128(task << 96), ..asked }
    }

    #[test]
    fn one_request_is_picked_or_none() {
        let all = || vec![approval("req-1", 0xaaaa_0000), approval("req-12", 0xbbbb_0000), approval("x", 0xbbbb_0000)];
        assert_eq!(pick(Some("req-1"), all()).unwrap().id, "req-1");
        assert_eq!(pick(Some("req-12"), all()).unwrap().id, "req-12");
        assert_eq!(pick(Some("AAAA"), all()).unwrap().id, "req-1");
        assert_eq!(pick(None, all()[..1].to_vec()).unwrap().id, "req-1");
        assert!(pick(Some("bbbb"), all()).unwrap_err().message().contains("2 requests"));
        assert!(pick(Some("none"), all()).is_err());
        assert!(pick(None, all()).is_err());
        assert!(pick(None, Vec::new()).is_err());
    }

    #[test]
    fn an_edited_input_is_an_object() {
        assert!(object("{\"command\": \"x\"}").is_ok());
        assert!(object("[]").is_err());
        assert!(object("{").is_err());
    }
}
