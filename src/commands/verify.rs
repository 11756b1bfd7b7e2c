//! `cadence doctor --verify`: whether what is stored is as it has to be.

use std::path::Path;

use cadence_server::verify::{Report, verify};

use crate::checkout;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{BOLD, DIM, GREEN, Line, PLAIN, RED};
use crate::terminal::Terminal;
use crate::text;

pub async fn run(data_dir: &Path, terminal: Terminal, json: bool) -> CommandResult {
    let environment = checkout::environment().collect();
    let report = verify(data_dir, &environment).await.map_err(|error| {
        let hint = error.hint();
        let failed =
            CommandError::failed(format!("the data in {} cannot be read", data_dir.display())).caused_by(error);
        match hint {
            Some(hint) => failed.hint(hint),
            None => failed,
        }
    })?;
    let ok = report.faults.is_empty();
    if json {
        terminal.json(&serde_json::json!({ "ok": ok, "dataDir": data_dir, "report": report }))?;
    } else {
        terminal.print(&lines(data_dir, &report))?;
    }
    Ok(if ok { Exit::Done } else { Exit::Failed })
}

fn lines(data_dir: &Path, report: &Report) -> Vec<Line> {
    let counts = [
        (report.tasks, "task"),
        (report.attempts, "attempt"),
        (report.events, "event"),
        (report.workspaces, "workspace"),
        (report.warm_workspaces, "warm workspace"),
        (report.processes, "living process"),
    ];
    let read: Vec<_> = counts.iter().map(|(count, what)| plural(*count, what)).collect();
    let mut lines = vec![Line::of(DIM, text::clean_line(&format!("{}: {}", data_dir.display(), read.join(", "))))];
    for fault in &report.faults {
        let line = Line::of(RED, "✗ ").add(BOLD, fault.rule);
        let line = match fault.task_id {
            Some(task) => line.add(DIM, format!("  {task}")),
            None => line,
        };
        lines.push(line);
        lines.push(Line::of(PLAIN, format!("  {}", text::clean_line(&fault.detail))));
    }
    lines.push(match report.faults.len() {
        0 => Line::of(GREEN, "✓ ").add(PLAIN, "everything is as it has to be"),
        count => Line::of(RED, "✗ ").add(
            PLAIN,
            format!("{} found; please report what led to it, with the server's log", plural(count as u64, "fault")),
        ),
    });
    lines
}

fn plural(count: u64, what: &str) -> String {
    match (count, what.strip_suffix("s")) {
        (1, _) => format!("1 {what}"),
        (_, Some(_)) => format!("{count} {what}es"),
        _ => format!("{count} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use cadence_server::verify::Fault;
    use uuid::Uuid;

    use super::*;
    use crate::render::plain;

    #[test]
    fn what_was_read_and_found_is_said() {
        let mut report = Report { tasks: 1, attempts: 2, events: 30, ..Report::default() };
        insta::assert_snapshot!(plain(&lines(Path::new("/data"), &report)), @r#"
        /data: 1 task, 2 attempts, 30 events, 0 workspaces, 0 warm workspaces, 0 living processes
        ✓ everything is as it has to be
        "#);
        report.faults.push(Fault {
            rule: "an attempt ends once",
            task_id: Some(Uuid::nil()),
            detail: "attempt 1".into(),
        });
        report.faults.push(Fault { rule: "the database is sound", task_id: None, detail: "page 7".into() });
        insta::assert_snapshot!(plain(&lines(Path::new("/data"), &report)), @r#"
        /data: 1 task, 2 attempts, 30 events, 0 workspaces, 0 warm workspaces, 0 living processes
        ✗ an attempt ends once  00000000-0000-0000-0000-000000000000
          attempt 1
        ✗ the database is sound
          page 7
        ✗ 2 faults found; please report what led to it, with the server's log
        "#);
    }
}
