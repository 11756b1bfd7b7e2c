//! `cadence server logs`.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Duration;

use super::super::Context;
use crate::client::embedded;
use crate::error::{CommandError, CommandResult, Exit};
use crate::text;

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Show its log
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  cadence server logs -f")]
pub struct Args {
    /// Go on as it grows
    #[arg(long, short)]
    follow: bool,
    /// Only so many lines from its end
    #[arg(long, short = 'n', value_name = "N", default_value_t = 200)]
    lines: usize,
}

pub async fn run(context: &Context, args: &Args) -> CommandResult {
    let (follow, lines) = (args.follow, args.lines);
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
