//! Events of a task as lines.

use std::collections::HashSet;

use cadence_protocol::{
    ApprovalKind, Decide, Decision, DecisionRequest, EditAction, Event, EventData, TaskStatus, WaitingFor,
};
use serde_json::Value;

use super::{BLUE, BOLD, CYAN, DIM, GREEN, Line, MAGENTA, PLAIN, RED, YELLOW, diff, markdown};
use crate::text;

/// Lines of each part of a request that are shown: as good as all, for a person decides on the ground of it.
pub const REQUEST_LINES: usize = 400;

/// How much of what the agent did is shown.
#[derive(Clone, Copy, Debug)]
struct Limits {
    diff: usize,
    output: usize,
    failed_output: usize,
}

/// Turns events into lines. It remembers which command it has just announced, and nothing else.
#[derive(Debug)]
pub struct EventRenderer {
    width: Option<usize>,
    limits: Limits,
    /// The command that stands in the line above.
    announced: Option<String>,
    /// Requests that are questions: those are answered, not allowed.
    questions: HashSet<String>,
    /// Whether ends and starts are shown: a log shows them, a followed run has its own summary.
    frame: bool,
    /// The attempt that is shown.
    attempt: u32,
}

impl EventRenderer {
    /// Words are broken to `width` columns where one is given.
    pub fn new(width: Option<usize>) -> Self {
        Self {
            width,
            limits: Limits { diff: 24, output: 6, failed_output: 24 },
            announced: None,
            questions: HashSet::new(),
            frame: false,
            attempt: 0,
        }
    }

    /// Folds nothing.
    #[must_use]
    pub fn full(mut self) -> Self {
        self.limits = Limits { diff: usize::MAX - 1, output: usize::MAX, failed_output: usize::MAX };
        self
    }

    /// Shows the end of attempts too.
    #[must_use]
    pub fn framed(mut self) -> Self {
        self.frame = true;
        self
    }

    /// The lines of one event; none for what is of no use to a reader.
    pub fn lines(&mut self, event: &Event) -> Vec<Line> {
        let announced = self.announced.take();
        let mut lines = self.show(event, announced.as_deref());
        // A command that was asked about and allowed stands above already.
        let asked = matches!(
            event.data,
            EventData::ApprovalRequested { .. } | EventData::ApprovalResolved { decision: Decision::Allow, .. }
        );
        if lines.is_empty() || asked {
            self.announced = announced;
        }
        if self.frame && !lines.is_empty() {
            if self.attempt > 0 && event.attempt > self.attempt {
                lines.insert(0, Line::of(DIM, format!("── attempt {} ──", event.attempt)));
            }
            self.attempt = self.attempt.max(event.attempt);
        }
        lines
    }

    fn show(&mut self, event: &Event, announced: Option<&str>) -> Vec<Line> {
        match &event.data {
            EventData::TaskStarted { message, model, .. } => started(message, model.as_deref()),
            EventData::ToolUse { tool, input, .. } => self.tool_use(tool, input),
            EventData::FileEdit { path, action, lines_changed, diff } => {
                self.file_edit(path, *action, *lines_changed, diff.as_deref())
            }
            EventData::CommandRun { command, exit_code, output } => {
                self.command_run(command, *exit_code, output.as_deref(), announced)
            }
            EventData::Output { text } => self.words(text),
            EventData::Error { message, recoverable } => failure(message, *recoverable),
            EventData::TaskCompleted { success, summary, reason, cost_usd, .. } if self.frame => {
                let mut line = if *success {
                    Line::of(GREEN, "✓ done")
                } else {
                    Line::of(RED, format!("✗ ended: {}", super::ended(*reason)))
                };
                if let Some(cost) = cost_usd {
                    line.push(DIM, format!(" · {}", text::money(*cost)));
                }
                let mut lines = vec![line];
                if !success {
                    lines.extend(summary.lines().take(20).map(|l| Line::of(PLAIN, l).indent(2)));
                }
                lines
            }
            EventData::StatusChanged { to, reason, .. } => status(*to, reason.as_deref()),
            EventData::ApprovalRequested { approval_id, kind, tool, input, .. } => {
                if *kind == ApprovalKind::Question {
                    self.questions.insert(approval_id.clone());
                }
                request(*kind, tool, input, REQUEST_LINES)
            }
            EventData::ApprovalResolved { approval_id, decision, by, answer } => {
                let mut line = resolved(*decision, by, self.questions.remove(approval_id));
                if let Some(answer) = answer.as_deref().and_then(answered) {
                    line.push(PLAIN, format!(": {}", text::clean_line(&answer)));
                }
                vec![line]
            }
            EventData::Message { text, from } => {
                let mut lines = text.lines().map(|l| Line::of(MAGENTA, "› ").add(BOLD, l)).collect::<Vec<_>>();
                if let Some(last) = lines.last_mut()
                    && !from.is_empty()
                {
                    last.push(DIM, format!("  ({from})"));
                }
                lines
            }
            EventData::Progress { percent, note: Some(note) } => {
                vec![Line::of(DIM, format!("◦ {percent}% ")).add(PLAIN, text::clean_line(note))]
            }
            EventData::PullRequest { action, number, url, title } => {
                let mut line = Line::of(BLUE, format!("⇄ pull request #{number} {action}"));
                if let Some(title) = title {
                    line.push(PLAIN, format!(" {}", text::clean_line(title)));
                }
                line.push(DIM, format!("  {url}"));
                vec![line]
            }
            EventData::Ci { name, conclusion, .. } => {
                let style = if conclusion == "success" { GREEN } else { RED };
                vec![Line::of(style, format!("⇄ {name}: {conclusion}"))]
            }
            EventData::TaskCompleted { .. } | EventData::Progress { .. } | EventData::Unknown => Vec::new(),
        }
    }

    fn tool_use(&mut self, tool: &str, input: &Value) -> Vec<Line> {
        match tool {
            // Shown by the events that follow them.
            "Edit" | "Write" | "MultiEdit" | "NotebookEdit" | "TodoWrite" | "AskUserQuestion" => Vec::new(),
            "Bash" => {
                let Some(command) = input.get("command").and_then(Value::as_str) else {
                    return vec![Line::of(CYAN, "● Bash")];
                };
                self.announced = Some(command.to_owned());
                command_lines(command)
            }
            _ => {
                let mut line = Line::of(CYAN, "● ").add(BOLD, text::clean_line(tool));
                let what = tool_summary(input);
                if !what.is_empty() {
                    line.push(PLAIN, format!("  {what}"));
                }
                vec![line.cut(self.width.unwrap_or(160))]
            }
        }
    }

    fn file_edit(&self, path: &str, action: EditAction, changed: Option<u64>, edit: Option<&str>) -> Vec<Line> {
        let (mark, word, style) = match action {
            EditAction::Create => ("+", "Create", GREEN),
            EditAction::Edit => ("~", "Edit", YELLOW),
            EditAction::Delete => ("-", "Delete", RED),
        };
        let mut heading =
            Line::of(style, format!("{mark} ")).add(BOLD, word).add(PLAIN, format!("  {}", text::clean_line(path)));
        let (added, removed) = edit.map_or((0, 0), count_lines);
        if added + removed > 0 {
            heading.push(GREEN, format!("  +{added}"));
            heading.push(RED, format!(" −{removed}"));
        } else if let Some(changed) = changed.filter(|changed| *changed > 0) {
            heading.push(DIM, format!("  {}", text::count(changed, "line")));
        }
        let mut lines = vec![heading];
        if let Some(edit) = edit.filter(|_| action != EditAction::Delete) {
            lines.extend(diff::edit(&text::clean(edit), self.limits.diff).into_iter().map(|line| line.indent(4)));
        }
        lines
    }

    fn command_run(
        &self,
        command: &str,
        exit: Option<i32>,
        output: Option<&str>,
        announced: Option<&str>,
    ) -> Vec<Line> {
        // With several under way, or words in between, it must be said which one ended.
        let mut lines = if announced == Some(command) { Vec::new() } else { command_lines(command) };
        let failed = exit.is_some_and(|code| code != 0);
        let limit = if failed { self.limits.failed_output } else { self.limits.output };
        let output = text::clean(output.unwrap_or_default());
        let body: Vec<&str> = output.trim_end().lines().collect();
        let skipped = body.len().saturating_sub(limit);
        // One line more is not worth a fold.
        let skipped = if skipped == 1 { 0 } else { skipped };
        if skipped > 0 {
            lines.push(Line::of(DIM, format!("  │ … {}", text::count(skipped as u64, "earlier line"))));
        }
        lines.extend(body[skipped..].iter().map(|line| Line::of(DIM, "  │ ").add(PLAIN, text::cut(line, 2000))));
        lines.push(match exit {
            Some(0) => Line::of(DIM, "  └ ").add(GREEN, "exit 0"),
            Some(code) => Line::of(DIM, "  └ ").add(RED, format!("exit {code}")),
            None => Line::of(DIM, "  └ no exit code"),
        });
        lines
    }

    fn words(&self, words: &str) -> Vec<Line> {
        let mut lines = markdown(words, self.width);
        if !lines.is_empty() {
            lines.insert(0, Line::new());
            lines.push(Line::new());
        }
        lines
    }
}

fn started(message: &str, model: Option<&str>) -> Vec<Line> {
    let mut line = Line::of(BLUE, "▸ ").add(PLAIN, text::clean_line(message));
    if let Some(model) = model.filter(|model| !model.is_empty() && !message.contains(model)) {
        line.push(DIM, format!(" · {}", text::clean_line(model)));
    }
    vec![line]
}

fn failure(message: &str, recoverable: bool) -> Vec<Line> {
    let (mark, style) = if recoverable { ("! ", YELLOW) } else { ("✗ ", RED) };
    let message = text::clean(message);
    let mut lines = message.lines().filter(|line| !line.trim().is_empty());
    let mut out = vec![Line::of(style, mark).add(style, lines.next().unwrap_or("an error without words"))];
    out.extend(lines.take(20).map(|line| Line::of(PLAIN, line).indent(2)));
    out
}

fn status(to: TaskStatus, reason: Option<&str>) -> Vec<Line> {
    let reason = reason.map(text::clean_line).filter(|reason| !reason.is_empty());
    match to {
        // What they wait for is said by the request itself.
        TaskStatus::Waiting
            if reason
                .as_deref()
                .is_none_or(|r| r == WaitingFor::Approval.as_str() || r == WaitingFor::Answer.as_str()) =>
        {
            Vec::new()
        }
        TaskStatus::Waiting | TaskStatus::Paused | TaskStatus::Cancelled => {
            let mut line = Line::of(YELLOW, format!("◦ {to}"));
            if let Some(reason) = reason {
                line.push(DIM, format!(" · {reason}"));
            }
            vec![line]
        }
        _ => Vec::new(),
    }
}

fn command_lines(command: &str) -> Vec<Line> {
    let command = text::reveal(command);
    let mut lines = command.trim_end().lines();
    let mut out = vec![Line::of(CYAN, "$ ").add(BOLD, lines.next().unwrap_or_default())];
    out.extend(lines.take(12).map(|line| Line::of(BOLD, line).indent(2)));
    let left = command.trim_end().lines().count().saturating_sub(13);
    if left > 0 {
        out.push(Line::of(DIM, format!("  … {}", text::count(left as u64, "more line"))));
    }
    out
}

fn resolved(decision: Decision, by: &str, question: bool) -> Line {
    let by = text::clean_line(by);
    let by = if by.is_empty() { String::new() } else { format!(" by {by}") };
    match decision {
        Decision::Allow if question => Line::of(GREEN, "✓ ").add(DIM, format!("answered{by}")),
        Decision::Allow => Line::of(GREEN, "✓ ").add(DIM, format!("allowed{by}")),
        Decision::Deny => Line::of(RED, "✗ ").add(DIM, format!("denied{by}")),
        Decision::Withdrawn => Line::of(DIM, "◦ request withdrawn"),
    }
}

/// What the agent wants, or asks, in full: a person decides on the ground of it.
pub fn request(kind: ApprovalKind, tool: &str, input: &Value, max_lines: usize) -> Vec<Line> {
    if kind == ApprovalKind::Question {
        return questions(input);
    }
    let mut lines = vec![Line::of(YELLOW, "? ").add(BOLD, text::clean_line(tool)).add(YELLOW, " wants permission")];
    match input.as_object() {
        Some(fields) => {
            let change = change(tool, fields);
            let shown = if change.is_some() { CHANGE_FIELDS } else { &[] };
            if let Some((path, rows)) = change {
                lines.push(Line::of(DIM, "    ").add(BOLD, path));
                let count = rows.len().min(max_lines);
                let left = rows.len() - count;
                lines.extend(rows.into_iter().take(count).map(|row| row.indent(4)));
                if left > 0 {
                    lines.push(Line::of(YELLOW, format!("      … {left} more lines are not shown")));
                }
            }
            for (name, value) in fields.iter().filter(|(name, _)| !shown.contains(&name.as_str())) {
                let value = match value {
                    Value::String(text) => text::reveal(text),
                    other => text::reveal(&other.to_string()),
                };
                let mut rows = value.lines();
                lines.push(
                    Line::of(DIM, format!("    {}: ", text::clean_line(name)))
                        .add(PLAIN, rows.next().unwrap_or_default()),
                );
                let rest: Vec<&str> = rows.collect();
                let shown = rest.len().min(max_lines);
                lines.extend(rest[..shown].iter().map(|row| Line::of(PLAIN, row).indent(6)));
                if shown < rest.len() {
                    lines.push(Line::of(YELLOW, format!("      … {} more lines are not shown", rest.len() - shown)));
                }
            }
        }
        None => lines.push(Line::of(PLAIN, text::reveal(&input.to_string())).indent(4)),
    }
    lines
}

/// Fields that [`change`] shows.
const CHANGE_FIELDS: &[&str] = &["file_path", "old_string", "new_string", "content"];

/// What an edit or a new file would change: its path, and the lines that go and come. None where the input is not of
/// that kind.
fn change(tool: &str, fields: &serde_json::Map<String, Value>) -> Option<(String, Vec<Line>)> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let (old, new) = match tool {
        "Edit" if !fields.contains_key("content") => (text("old_string")?, text("new_string")?),
        "Write" if !fields.contains_key("old_string") && !fields.contains_key("new_string") => ("", text("content")?),
        _ => return None,
    };
    let path = in_workspace(text("file_path")?);
    let (old, new) = (text::reveal(old), text::reveal(new));
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let same = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let after = old[same..].iter().rev().zip(new[same..].iter().rev()).take_while(|(a, b)| a == b).count();
    let context = |row: &&str| Line::of(PLAIN, format!("  {row}"));
    let mut rows: Vec<Line> = old[..same].iter().map(context).collect();
    rows.extend(old[same..old.len() - after].iter().map(|row| Line::of(RED, format!("- {row}"))));
    rows.extend(new[same..new.len() - after].iter().map(|row| Line::of(GREEN, format!("+ {row}"))));
    rows.extend(old[old.len() - after..].iter().map(context));
    Some((text::reveal(path), rows))
}

fn questions(input: &Value) -> Vec<Line> {
    let mut lines = Vec::new();
    for question in crate::follow::questions(input) {
        lines.push(Line::of(YELLOW, "? ").add(BOLD, text::clean_line(&question.text)));
        let rows = question.options.iter().enumerate().map(|(index, option)| {
            vec![
                Line::of(CYAN, format!("{:>5}. ", index + 1)).add(PLAIN, text::clean_line(&option.label)),
                Line::of(DIM, text::clean_line(&option.description)),
            ]
        });
        lines.extend(super::table(rows.collect(), None));
    }
    if lines.is_empty() {
        lines.push(Line::of(YELLOW, "? ").add(BOLD, "the agent asks: ").add(PLAIN, input.to_string()));
    }
    lines
}

/// The one thing of a tool's input that says what it does.
pub fn tool_summary(input: &Value) -> String {
    const TELLING: [&str; 10] =
        ["command", "file_path", "path", "pattern", "query", "url", "notebook_path", "description", "prompt", "skill"];
    let Some(fields) = input.as_object() else {
        return if input.is_null() { String::new() } else { text::cut(&text::clean_line(&input.to_string()), 120) };
    };
    let telling = TELLING.iter().find_map(|name| fields.get(*name).and_then(Value::as_str));
    let first = || fields.values().find_map(Value::as_str);
    text::cut(in_workspace(&text::clean_line(telling.or_else(first).unwrap_or_default())), 120)
}

/// A path inside a workspace, from its checkout on: where workspaces are is of no use to a reader.
fn in_workspace(path: &str) -> &str {
    const ID: usize = 36;
    let relative = || {
        let (_, after) = path.split_once("/workspaces/")?;
        let (id, after) = (after.get(..ID)?, after.get(ID..)?.strip_prefix('/')?);
        let (_, inside) = after.split_once('/')?;
        (path.starts_with('/') && uuid::Uuid::parse_str(id).is_ok() && !inside.is_empty()).then_some(inside)
    };
    relative().unwrap_or(path)
}

fn count_lines(diff: &str) -> (usize, usize) {
    let inside: Vec<&str> = diff.lines().skip_while(|line| !line.starts_with("@@")).collect();
    let starting = |mark: char| inside.iter().filter(|line| line.starts_with(mark)).count();
    (starting('+'), starting('-'))
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;

/// What was answered beyond yes and no.
fn answered(answer: &Decide) -> Option<String> {
    let answers = answer.answers.iter().flat_map(|answers| answers.values().cloned());
    let edited = answer.updated_input.as_ref().map(|input| match input.get("command").and_then(Value::as_str) {
        Some(command) => format!("as {command}"),
        None => "with another input".to_owned(),
    });
    let always = (answer.decision == DecisionRequest::AllowAlways).then(|| "always".to_owned());
    let parts: Vec<_> = answers.chain(always).chain(edited).chain(answer.message.clone()).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}
