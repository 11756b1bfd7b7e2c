//! `cadence man`: manual pages, made from the description of the command line.

use std::io::Write as _;
use std::path::PathBuf;

use clap_mangen::Man;

use crate::error::{CommandError, CommandResult, Exit};

/// Print the manual page, or write the pages of all commands
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence man | man -l -
  cadence man --dir ~/.local/share/man/man1")]
pub struct Args {
    /// Write a page for each command into this directory
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

pub fn run(args: &Args) -> CommandResult {
    let mut command = crate::cli::command();
    command.build();
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        std::io::stdout().lock().write_all(&page)?;
        return Ok(Exit::Done);
    };
    let fail = |error: std::io::Error| {
        CommandError::failed(format!("the pages cannot be written to {}", dir.display())).caused_by(error)
    };
    std::fs::create_dir_all(dir).map_err(fail)?;
    write(&command, "cadence", dir).map_err(fail)?;
    Ok(Exit::Done)
}

fn write(command: &clap::Command, name: &str, dir: &std::path::Path) -> std::io::Result<()> {
    let mut page = Vec::new();
    // Built, `cadence tasks ls` calls itself so, and its page cadence-tasks-ls(1).
    Man::new(command.clone()).render(&mut page)?;
    std::fs::write(dir.join(format!("{name}.1")), page)?;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        write(sub, &format!("{name}-{}", sub.get_name()), dir)?;
    }
    Ok(())
}
