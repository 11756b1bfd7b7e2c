//! `cadence voice record`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cadence_speech::audio::Level;
use serde_json::json;

use super::super::Context;
use crate::error::{CommandError, CommandResult, Exit};
use crate::render::{DIM, GREEN, Line, PLAIN, YELLOW};
use crate::talk::hearing;
use crate::terminal::Screen;
use crate::text;
use crate::voice::{self, End, Heard, Options, Take};

/// Record the microphone into a WAV file, to hear what it hears
///
/// The file is 16 kHz mono, as engines get it. It ends after the seconds, with Ctrl-C, or with --until-pause when somebody
/// spoke and then paused. Code 1 where nothing was heard or the microphone went away; what was heard is in the file.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  cadence voice record test.wav\n  cadence voice record test.wav --seconds 30 --device Headset\n  \
                  cadence voice record test.wav --until-pause"
)]
pub struct Args {
    /// File to write; one that is there is replaced
    #[arg(value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Longest that is recorded, in seconds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Name or id of the microphone, as `cadence voice devices` shows it
    #[arg(long, value_name = "NAME", add = crate::complete::microphones())]
    device: Option<String>,
    /// End when somebody spoke and then paused
    #[arg(long)]
    until_pause: bool,
}

pub async fn run(context: &Context, args: Args) -> CommandResult {
    let options = Options {
        device: args.device,
        limit: Duration::from_secs(args.seconds),
        pause: if args.until_pause { Options::default().pause } else { None },
    };
    let open = tokio::task::spawn_blocking(move || voice::start(options)).await;
    let (recorder, mut heard) =
        open.map_err(|error| CommandError::failed("the microphone failed").caused_by(error))??;
    let mut screen = Screen::new(context.terminal);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut stopped = false;
    let take = loop {
        let event = tokio::select! {
            event = heard.recv() => event,
            _ = &mut interrupted, if !stopped => {
                stopped = true;
                recorder.stop();
                continue;
            }
        };
        match event {
            Some(Heard::Level(level)) => screen.status(&format!("{} {}", meter(level), recorder.device())),
            Some(Heard::Ended(take)) => break take,
            Some(Heard::SpeechBegan(_) | Heard::Samples(_)) => {}
            None => return Err(CommandError::failed("the microphone failed")),
        }
    };
    screen.clear_status();
    hearing::write(&args.file, &take)?;
    report(context, &args.file, &take)
}

fn report(context: &Context, file: &Path, take: &Take) -> CommandResult {
    let trouble = take.trouble();
    let exit = match &trouble {
        Some(trouble) if trouble.is_fatal() => Exit::Failed,
        _ => Exit::Done,
    };
    if context.json {
        context.terminal.json(&json!({
            "file": file, "seconds": take.clip.duration().as_secs_f64(), "device": take.device, "end": take.end.as_str(),
            "speechAfter": take.speech.map(|speech| speech.as_secs_f64()), "peak": take.level.peak, "level": take.level.rms,
            "clipped": take.level.clipped, "dropped": take.dropped, "overruns": take.overruns,
            "trouble": trouble.as_ref().map(ToString::to_string),
        }))?;
    } else {
        let seconds = format!("{:.1} s", take.clip.duration().as_secs_f64());
        let line =
            Line::of(GREEN, "✓ ").add(PLAIN, format!("{seconds} in {}", text::clean_line(&file.to_string_lossy())));
        context.terminal.print(&[line.add(DIM, format!("  {}, loudest {:.0} dBFS", take.device, take.level.peak))])?;
    }
    match trouble {
        Some(trouble) if trouble.is_fatal() => {
            let error = CommandError::failed(trouble.to_string()).hint(trouble.hint());
            Err(match &take.end {
                End::Lost(reason) => error.caused_by(reason.clone()),
                _ => error,
            })
        }
        Some(trouble) => {
            let said = Line::of(YELLOW, "! ").add(PLAIN, trouble.to_string());
            context.terminal.note(&[said, Line::of(DIM, "  hint: ").add(PLAIN, trouble.hint())]);
            Ok(exit)
        }
        None => Ok(exit),
    }
}

/// Twenty steps from -60 dBFS to 0.
fn meter(level: Level) -> String {
    let steps = ((level.rms + 60.0) / 3.0).clamp(0.0, 20.0) as usize;
    format!("{}{}", "█".repeat(steps), "░".repeat(20 - steps))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_has_an_end_on_both_sides() {
        let level = |rms| meter(Level { peak: rms, rms, clipped: 0.0 });
        assert_eq!(level(-120.0), "░".repeat(20));
        assert_eq!(level(-30.0), format!("{}{}", "█".repeat(10), "░".repeat(10)));
        assert_eq!(level(3.0), "█".repeat(20));
    }
}
