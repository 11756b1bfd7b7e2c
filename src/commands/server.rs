//! `cadence server`: the user's own server.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::Context;
use crate::client::{Client, Runtime, embedded};
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{DIM, GREEN, Line, PLAIN, YELLOW};
use crate::text;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Look at the server that is started on demand, and stop it
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say whether it runs, where and since when; code 3 where it does not
    #[command(after_help = "Example:\n  cadence server status --json")]
    Status,
    /// End it; what runs is continued by the next one
    #[command(after_help = "Example:\n  cadence server stop")]
    Stop,
    /// Show its log
    #[command(after_help = "Example:\n  cadence server logs -f")]
    Logs {
        /// Go on as it grows
        #[arg(long, short)]
        follow: bool,
        /// Only so many lines from its end
        #[arg(long, short = 'n', value_name = "N", default_value_t = 200)]
        lines: usize,
    },
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    match args.action {
        Action::Status => status(&context).await,
        Action::Stop => stop(&context).await,
        Action::Logs { follow, lines } => logs(&context, follow, lines).await,
    }
}

async fn status(context: &Context) -> CommandResult {
    let settings = &context.settings;
    if let Some(url) = &settings.server {
        let client = Client::connect(settings).await?;
        let health = client.rest()?.health(Duration::from_secs(10)).await?;
        if context.json {
            context.terminal.json(&json!({ "running": true, "url": url, "version": health.version }))?;
        } else {
            let line = Line::of(GREEN, "● ").add(PLAIN, url.as_str()).add(DIM, format!("  version {}", health.version));
            context.terminal.print(&[line])?;
        }
        return Ok(Exit::Done);
    }
    let Some((server, _)) = embedded::find(settings).await? else {
        if context.json {
            context.terminal.json(&json!({ "running": false, "dataDir": settings.data_dir }))?;
        } else {
            let line = Line::of(DIM, "○ not running; the next command that needs it starts it");
            context.terminal.print(&[line])?;
        }
        return Ok(Exit::Unreachable);
    };
    if context.json {
        context.terminal.json(&json!({
            "running": true, "pid": server.pid, "url": server.url, "version": server.version,
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
    Ok(Exit::Done)
}

async fn stop(context: &Context) -> CommandResult {
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

async fn logs(context: &Context, follow: bool, lines: usize) -> CommandResult {
    let path = embedded::log_path(&context.settings);
    if !path.exists() && !follow {
        return Err(CommandError::failed(format!("there is no log yet: {}", path.display()))
            .hint("It is written by the server that is started on demand."));
    }
    let mut place = std::fs::metadata(&path).map_or(0, |meta| meta.len());
    print(&embedded::last_lines(&path, lines))?;
    if !follow {
        return Ok(Exit::Done);
    }
    let mut partial = String::new();
    loop {
        tokio::time::sleep(LOOK).await;
        let (more, next) = read_from(&path, place).unwrap_or_default();
        place = next;
        partial.push_str(&more);
        if let Some(end) = partial.rfind('\n') {
            let whole: String = partial.drain(..=end).collect();
            let lines: Vec<String> = text::clean(&whole).lines().map(str::to_owned).collect();
            print(&lines)?;
        }
    }
}

/// What was written since `place`; from the beginning where the log was moved aside.
fn read_from(path: &Path, place: u64) -> std::io::Result<(String, u64)> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let place = if size < place { 0 } else { place };
    file.seek(SeekFrom::Start(place))?;
    let mut bytes = Vec::new();
    file.take(1024 * 1024).read_to_end(&mut bytes)?;
    Ok((String::from_utf8_lossy(&bytes).into_owned(), place + bytes.len() as u64))
}

fn print(lines: &[String]) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}
