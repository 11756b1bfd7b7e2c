//! Listening: at a terminal as a conversation, elsewhere one recording after another.

mod plain;
mod screen;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cadence_speech::settings::parse_time;

use super::super::Context;
use crate::error::{CommandError, CommandResult};
use crate::talk::Talk;
use crate::voice::Options;

/// Largest recording that is sent, in bytes: what the server takes.
const LARGEST: u64 = 25 * 1024 * 1024;

#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// A recording instead of the microphone: wav, mp3, m4a, flac, ogg, webm; `-` is standard input
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with_all = ["save", "device", "continuous"])]
    file: Option<PathBuf>,
    /// Keep the recording as a WAV file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    save: Option<PathBuf>,
    /// Name or id of the microphone, as `cadence voice devices` shows it
    #[arg(long, value_name = "NAME", add = crate::complete::microphones())]
    device: Option<String>,
    /// Longest recording [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    limit: Option<Duration>,
    /// Silence that ends a recording [default: 1.2s]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pause: Option<Duration>,
    /// Language that is spoken, like en [default: the engine finds out]
    #[arg(long, value_name = "CODE")]
    language: Option<String>,
    /// Repository that is spoken of: a path, or a URL [default: the one of the current directory]
    #[arg(long, value_name = "PATH|URL", value_hint = clap::ValueHint::DirPath)]
    repo: Option<String>,
    /// Do what is understood without asking
    #[arg(long, short)]
    yes: bool,
    /// One sentence, its answer, and the end
    #[arg(long)]
    once: bool,
    /// Listen again after each answer, without a key
    #[arg(long, conflicts_with = "once")]
    continuous: bool,
    /// Speak nothing
    #[arg(long, short)]
    quiet: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    parse_time(text)
}

pub async fn run(context: Context, args: Args) -> CommandResult {
    let client = context.client().await?;
    let settings = context.settings.voice.clone();
    let mut talk = Talk::open(context, client, args.repo.as_deref(), args.quiet).await?;
    talk.language = args.language.clone().or(talk.language);
    if let Some(file) = &args.file {
        let recording = read(file)?;
        return plain::file(talk, &args, recording).await;
    }
    let usual = Options::default();
    let options = Options {
        device: args.device.clone().or(settings.device),
        limit: args.limit.or(settings.limit).unwrap_or(usual.limit),
        pause: args.pause.or(settings.pause).or(usual.pause),
    };
    if talk.context.json || !talk.context.terminal.asks {
        return plain::microphone(talk, &args, options).await;
    }
    screen::run(talk, &args, options).await
}

fn read(path: &Path) -> Result<Vec<u8>, CommandError> {
    let fail = |error: std::io::Error| {
        CommandError::usage(format!("{} cannot be read", crate::text::clean_line(&path.to_string_lossy())))
            .caused_by(error)
    };
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
    };
    read.map_err(fail)?;
    if bytes.is_empty() {
        return Err(CommandError::usage("there is nothing in the recording"));
    }
    if bytes.len() as u64 > LARGEST {
        return Err(CommandError::usage("the recording is larger than 25 MB")
            .hint("Say it in shorter parts, or as FLAC or MP3."));
    }
    Ok(bytes)
}
