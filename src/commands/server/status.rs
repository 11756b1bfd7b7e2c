//! `cadence server status`.

use std::time::Duration;

use serde_json::json;

use super::super::Context;
use crate::client::{Client, Rest, embedded};
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{DIM, GREEN, Line, PLAIN, YELLOW};
use crate::text;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(context: &Context) -> CommandResult {
    let settings = &context.settings;
    if let Some(url) = &settings.server {
        let client = Client::connect(settings).await?;
        let rest = client.rest()?;
        let health = rest.health(PATIENCE).await?;
        let ready = rest.ready(PATIENCE).await;
        if context.json {
            context.terminal.json(&json!({
                "running": true, "url": url, "version": health.version, "ready": ready.is_ok(),
            }))?;
        } else {
            let line = Line::of(GREEN, "● ").add(PLAIN, url.as_str()).add(DIM, format!("  version {}", health.version));
            context.terminal.print(&[line])?;
            context.terminal.print(&fault(ready.err()))?;
        }
        return Ok(Exit::Done);
    }
    let Some((server, endpoint)) = embedded::find(settings).await? else {
        if context.json {
            context.terminal.json(&json!({ "running": false, "dataDir": settings.data_dir }))?;
        } else {
            let line = Line::of(DIM, "○ not running; the next command that needs it starts it");
            context.terminal.print(&[line])?;
        }
        return Ok(Exit::Unreachable);
    };
    let ready = Rest::new(endpoint)?.ready(PATIENCE).await;
    if context.json {
        context.terminal.json(&json!({
            "running": true, "ready": ready.is_ok(), "pid": server.pid, "url": server.url, "version": server.version,
            "startedAt": server.started_at.format(&time::format_description::well_known::Rfc3339).ok(),
            "embedded": server.embedded, "dataDir": settings.data_dir, "log": embedded::log_path(settings),
        }))?;
        return Ok(Exit::Done);
    }
    let age = Duration::try_from(time::OffsetDateTime::now_utc() - server.started_at).unwrap_or_default();
    let row = |name: &str, value: String| Line::of(DIM, format!("  {name:<9}")).add(PLAIN, value);
    context.terminal.print(&[
        Line::of(GREEN, "● ").add(PLAIN, format!("running for {}", text::duration(age))),
        row("address", server.url.to_string()),
        row("version", server.version),
        row("process", server.pid.to_string()),
        row("data", settings.data_dir.display().to_string()),
        row("log", embedded::log_path(settings).display().to_string()),
    ])?;
    context.terminal.print(&fault(ready.err()))?;
    Ok(Exit::Done)
}

/// What keeps it from its work.
fn fault(error: Option<CommandError>) -> Vec<Line> {
    let line = |error: CommandError| Line::of(YELLOW, "! ").add(PLAIN, error.message());
    error.into_iter().map(line).collect()
}
