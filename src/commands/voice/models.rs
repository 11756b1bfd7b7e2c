//! `cadence voice models`: models of whisper.cpp for the local engine.

use cadence_speech::engine::models::{self, MODELS, Model, ModelError, Models, REPOSITORY};
use serde_json::json;
use url::Url;

use super::super::Context;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{BOLD, DIM, GREEN, Line, PLAIN, table};
use crate::terminal::Screen;
use crate::text;

/// Models for speech that stays on this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List them, and which are here
    #[command(after_help = "Example:\n  cadence voice models ls")]
    Ls,
    /// Download one; what was broken off goes on where it was
    #[command(after_help = "Example:\n  cadence voice models pull base.en")]
    Pull {
        /// Name, as `ls` shows it
        name: String,
        /// Where models come from, a mirror of the usual place [environment: CADENCE_MODELS_URL]
        #[arg(long, value_name = "URL", hide = true)]
        from: Option<Url>,
    },
    /// Remove one
    #[command(after_help = "Example:\n  cadence voice models rm large-v3")]
    Rm { name: String },
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    let directory = context.settings.data_dir.join("models");
    let here = |from: Option<Url>| -> Result<Models, CommandError> {
        let named = std::env::var("CADENCE_MODELS_URL").ok().filter(|url| !url.is_empty());
        let from = match (from, named) {
            (Some(url), _) => url,
            (None, named) => Url::parse(named.as_deref().unwrap_or(REPOSITORY))
                .map_err(|error| CommandError::usage("CADENCE_MODELS_URL is no URL").caused_by(error))?,
        };
        Ok(Models::new(directory.clone(), from))
    };
    match args.action {
        Action::Ls => list(&context, &here(None)?),
        Action::Pull { name, from } => pull(&context, &here(from)?, known(&name)?).await,
        Action::Rm { name } => {
            let model = known(&name)?;
            let removed = here(None)?.remove(model).map_err(failed)?;
            if context.json {
                context.terminal.json(&json!({ "name": model.name, "removed": removed }))?;
            }
            Ok(if removed { Exit::Done } else { Exit::Failed })
        }
    }
}

fn known(name: &str) -> Result<&'static Model, CommandError> {
    models::find(name).ok_or_else(|| {
        let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        CommandError::usage(format!("there is no model `{}`", text::clean_line(name)))
            .hint(format!("There are {}.", names.join(", ")))
    })
}

fn failed(error: ModelError) -> CommandError {
    let hint = match &error {
        ModelError::Network(_) => "Try again: it goes on where it broke off.",
        ModelError::File { .. } => "Is there room on the disk?",
        ModelError::Wrong { .. } => "Try again; where it stays so, the mirror has another file.",
        ModelError::Busy { .. } => "Wait for it.",
    };
    CommandError::failed(error.to_string()).hint(hint)
}

fn list(context: &Context, here: &Models) -> CommandResult {
    if context.json {
        let all: Vec<_> = MODELS
            .iter()
            .map(|model| json!({"name": model.name, "bytes": model.bytes, "here": here.has(model)}))
            .collect();
        context.terminal.json(&json!({ "models": all }))?;
        return Ok(Exit::Done);
    }
    let row = |model: &Model| {
        let mark = if here.has(model) { Line::of(GREEN, "●") } else { Line::of(DIM, "○") };
        vec![mark, Line::of(BOLD, model.name), Line::of(PLAIN, text::bytes(model.bytes))]
    };
    context.terminal.print(&table(MODELS.iter().map(row).collect(), context.terminal.columns()))?;
    if cfg!(not(feature = "local")) {
        context
            .terminal
            .note(&[Line::of(DIM, "This build has no local engine; it is built with the feature `local`.")]);
    }
    Ok(Exit::Done)
}

async fn pull(context: &Context, here: &Models, model: &Model) -> CommandResult {
    let mut screen = Screen::new(context.terminal);
    let downloading = here.download(model, |progress| {
        let percent = progress.done * 100 / progress.total.max(1);
        let bar = "█".repeat((percent / 5) as usize) + &"░".repeat(20 - (percent / 5).min(20) as usize);
        let size = format!("{} of {}", text::bytes(progress.done), text::bytes(progress.total));
        screen.status(&format!("{} {bar} {percent} % · {size}", model.name));
    });
    let path = tokio::select! {
        path = downloading => path.map_err(failed)?,
        _ = tokio::signal::ctrl_c() => {
            context.terminal.note(&[Line::of(DIM, "Broken off; `pull` goes on where it was.")]);
            return Ok(Exit::Interrupted);
        }
    };
    if context.json {
        context.terminal.json(&json!({ "name": model.name, "path": path }))?;
    } else {
        let place = text::clean_line(&path.to_string_lossy());
        context.terminal.print(&[Line::of(GREEN, "✓ ")
            .add(PLAIN, format!("{} is here", model.name))
            .add(DIM, format!("  {place}"))])?;
    }
    Ok(Exit::Done)
}
