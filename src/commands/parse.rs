//! `cadence parse`: what words would be understood as.

use std::io::BufRead as _;

use cadence_protocol::{MAX_DESCRIPTION, ParseRequest, Parsed};

use super::Context;
use crate::client::Rest;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{DIM, Line, PLAIN};
use crate::speech;

/// Show what words would be understood as, and do nothing
///
/// The words are read as `cadence voice` and `cadence do` read them: the repository's identifiers are restored, the tasks there
/// are are known, and where the grammar is not sure a model is asked, if there is one.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence parse \"pause the auth one\"
  cadence parse --json \"tell billing to add tests\" | jq .intent
  cadence parse --stdin < phrases.txt        a line of JSON for each line")]
pub struct Args {
    /// The words
    #[arg(value_name = "TEXT", required_unless_present = "stdin", conflicts_with = "stdin")]
    text: Vec<String>,
    /// Read a sentence from each line of standard input, and print a line of JSON for each
    #[arg(long)]
    stdin: bool,
    /// Repository that is spoken of: a path, or a URL [default: the one of the current directory]
    #[arg(long, value_name = "PATH|URL", value_hint = clap::ValueHint::DirPath)]
    repo: Option<String>,
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    let client = context.client().await?;
    let place = speech::place(args.repo.as_deref()).await?;
    let mut request =
        ParseRequest { text: String::new(), context: speech::context(&context, &client, place.as_ref()).await? };
    let rest = client.rest()?;
    if args.stdin {
        return lines(&context, &rest, request).await;
    }
    request.text = args.text.join(" ");
    let parsed = rest.parse(&request).await?;
    if context.json {
        context.terminal.json(&parsed)?;
    } else {
        let tasks = speech::tasks(&client).await?;
        context.terminal.print(&shown(&parsed, &tasks))?;
    }
    Ok(Exit::Done)
}

fn shown(parsed: &Parsed, tasks: &[cadence_protocol::Task]) -> Vec<Line> {
    let command = &parsed.command;
    let mut lines = Vec::new();
    if command.transcript != command.raw_transcript {
        lines.push(Line::of(DIM, "  heard   ").add(PLAIN, crate::text::clean_line(&command.raw_transcript)));
        lines.push(Line::of(DIM, "  written ").add(PLAIN, crate::text::clean_line(&command.transcript)));
    }
    lines.extend(speech::plan(parsed, tasks));
    let asks = if parsed.needs_confirmation { ", would be asked for" } else { "" };
    lines.push(Line::of(
        DIM,
        format!(
            "  {} · confidence {:.2}{asks} · {:.1} ms",
            command.intent, command.confidence, command.processing_time_ms
        ),
    ));
    lines
}

/// Each line of standard input, in order. An empty line is one too, so that answers stay beside their lines.
async fn lines(context: &Context, rest: &Rest, mut request: ParseRequest) -> CommandResult {
    for line in std::io::stdin().lock().lines() {
        let line =
            line.map_err(|error| CommandError::usage("standard input cannot be read as text").caused_by(error))?;
        if line.len() > MAX_DESCRIPTION {
            return Err(CommandError::usage(format!("a line is longer than {MAX_DESCRIPTION} bytes")));
        }
        request.text = if line.trim().is_empty() { " ".to_owned() } else { line };
        context.terminal.json(&rest.parse(&request).await?)?;
    }
    Ok(Exit::Done)
}
