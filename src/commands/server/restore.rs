//! `cadence server restore`.

use std::path::PathBuf;

use cadence_server::backup::{Restored, restore};

use super::super::Context;
use super::backup::failed;
use crate::error::{CommandResult, Exit};
use crate::render::{DIM, GREEN, Line, PLAIN};
use crate::text;

/// Put a backup in the place of its database; the server must be stopped
///
/// The file is checked first. The database that is there, damaged or not, is kept aside in the data directory, with the
/// workspaces of tasks that the backup does not know. Tasks that were under way when the backup was made are paused: nothing
/// begins before you resume it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence server stop && cadence server restore ~/cadence.db
  cadence server restore /backup/team.db --data-dir /srv/cadence")]
pub struct Args {
    /// File that `cadence server backup` wrote
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// Data of another server than the one that is started on demand
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(super) data_dir: Option<PathBuf>,
}

pub async fn run(context: &Context, args: &Args) -> CommandResult {
    let restored = restore(&context.settings.data_dir, &args.file).await.map_err(failed)?;
    if context.json {
        context.terminal.json(&restored)?;
    } else {
        context.terminal.print(&lines(&restored))?;
    }
    Ok(Exit::Done)
}

fn lines(restored: &Restored) -> Vec<Line> {
    let content = &restored.content;
    let counts = format!("{}, {}", text::count(content.tasks, "task"), text::count(content.events, "event"));
    let mut lines = vec![Line::of(GREEN, "✓ ").add(PLAIN, format!("restored  {counts}"))];
    let mut say = |text: String| lines.push(Line::of(DIM, format!("  {text}")));
    if restored.paused > 0 {
        say(format!("{} paused; `cadence tasks resume ID` lets it go on", text::count(restored.paused, "task")));
    }
    if restored.lost > 0 {
        say(format!("{} failed, for the workspace is gone", text::count(restored.lost, "task")));
    }
    if let Some(aside) = &restored.aside {
        let workspaces = match restored.workspaces_aside {
            0 => String::new(),
            count => format!(", and {} that it does not know", text::count(count, "workspace")),
        };
        say(format!("what was there before is in {}{workspaces}", aside.display()));
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use cadence_server::backup::Content;

    use super::*;
    use crate::render::plain;

    #[test]
    fn what_was_done_is_said() {
        let content = Content { tasks: 2, events: 30, bytes: 4096, schema: 1 };
        let mut restored = Restored { content, paused: 0, lost: 0, aside: None, workspaces_aside: 0 };
        insta::assert_snapshot!(plain(&lines(&restored)), @"✓ restored  2 tasks, 30 events");
        restored = Restored {
            paused: 1,
            lost: 1,
            aside: Some("/data/before-restore-1".into()),
            workspaces_aside: 1,
            ..restored
        };
        insta::assert_snapshot!(plain(&lines(&restored)), @r#"
        ✓ restored  2 tasks, 30 events
          1 task paused; `cadence tasks resume ID` lets it go on
          1 task failed, for the workspace is gone
          what was there before is in /data/before-restore-1, and 1 workspace that it does not know
        "#);
    }
}
