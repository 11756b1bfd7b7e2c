//! `cadence server stop`.

use serde_json::json;

use super::super::Context;
use crate::client::{Runtime, embedded};
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{Line, PLAIN, YELLOW};

pub async fn run(context: &Context) -> CommandResult {
    if context.settings.server.is_some() {
        return Err(CommandError::usage(format!(
            "the server named by {} is not yours to stop",
            context.settings.server_origin
        ))
        .hint("`cadence server stop` ends the one that is started on demand."));
    }
    let runtime = Runtime::new(&context.settings.runtime_dir);
    // One that does not answer any more is ended as well.
    let Some(server) = runtime.running() else {
        if context.json {
            context.terminal.json(&json!({ "stopped": false }))?;
        } else {
            context.terminal.note(&[Line::of(YELLOW, "○ not running")]);
        }
        return Ok(Exit::Done);
    };
    embedded::end(&runtime, server.pid).await?;
    if context.json {
        context.terminal.json(&json!({ "stopped": true, "pid": server.pid }))?;
    } else {
        context.terminal.print(&[Line::of(PLAIN, "○ stopped")])?;
    }
    Ok(Exit::Done)
}
