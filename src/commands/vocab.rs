//! `cadence vocab`: what a repository calls things.

use std::path::PathBuf;
use std::time::Duration;

use cadence_speech::vocabulary::{Scanner, Vocabulary, VocabularyError};

use super::Context;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{CYAN, DIM, Line, PLAIN};
use crate::speech;
use crate::text;

/// Tokens that Whisper reads of a prompt.
const PROMPT_TOKENS: usize = 224;
/// How long is parsed at once.
const SLICE: Duration = Duration::from_secs(1);

/// Show the words of a repository that speech is recognised with
///
/// Identifiers, paths, dependencies and branches, the most useful first: what was worked on lately, what is declared, and what
/// nobody would write as it is spoken.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence vocab
  cadence vocab --limit 20 ~/src/app
  cadence vocab --prompt                     what a Whisper-like engine is told
  cadence vocab --json | jq -r '.terms[].text'")]
pub struct Args {
    /// A directory [default: the current one]
    #[arg(value_name = "PATH", value_hint = clap::ValueHint::DirPath)]
    path: Option<PathBuf>,
    /// Only so many of them
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// The prompt for a Whisper-like engine, at most 224 tokens
    #[arg(long)]
    prompt: bool,
    /// At once, although some files are not parsed yet
    #[arg(long)]
    quick: bool,
}

pub fn run(context: &Context, args: &Args) -> CommandResult {
    let path = args.path.clone().unwrap_or_else(|| PathBuf::from("."));
    let mut vocabulary = scan(context, args, &path).map_err(|error| {
        CommandError::usage(format!("the words of {} cannot be found out", path.display())).caused_by(error)
    })?;
    if args.prompt {
        let prompt = vocabulary.prompt(PROMPT_TOKENS);
        if context.json {
            context.terminal.json(&serde_json::json!({ "prompt": prompt }))?;
        } else {
            context.terminal.print(&[Line::of(PLAIN, prompt)])?;
        }
        return Ok(Exit::Done);
    }
    vocabulary.terms.truncate(args.limit.unwrap_or(usize::MAX));
    if context.json {
        context.terminal.json(&vocabulary)?;
    } else {
        let lines: Vec<Line> = vocabulary
            .terms
            .iter()
            .map(|term| {
                let kind = serde_json::to_value(term.kind).ok().and_then(|kind| kind.as_str().map(str::to_owned));
                Line::of(CYAN, text::clean_line(&term.text)).add(DIM, format!("  {}", kind.unwrap_or_default()))
            })
            .collect();
        context.terminal.print(&lines)?;
    }
    Ok(Exit::Done)
}

fn scan(context: &Context, args: &Args, path: &std::path::Path) -> Result<Vocabulary, VocabularyError> {
    let mut scanner = Scanner::new(path, &speech::vocabularies(context))?;
    let vocabulary = scanner.ready(&[])?;
    if args.quick {
        return Ok(vocabulary);
    }
    loop {
        match scanner.complete(SLICE) {
            Ok(0) => return Ok(scanner.vocabulary(&[])),
            Ok(_) => {}
            // What was found is right although it could not be kept.
            Err(VocabularyError::Cache { .. }) => return Ok(scanner.vocabulary(&[])),
            Err(error) => return Err(error),
        }
    }
}
