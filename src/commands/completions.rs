//! `cadence completions`: what a shell needs to complete commands, options, ids and titles.

use std::io::Write as _;

use clap::ValueEnum;
use clap_complete::env::Shells;

use crate::error::{CommandError, CommandResult, Exit};

/// Print the completions for a shell
///
/// The script asks `cadence` itself for candidates, so that ids and titles of tasks are completed too.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cadence completions bash > ~/.local/share/bash-completion/completions/cadence
  cadence completions zsh > ~/.zfunc/_cadence
  cadence completions fish > ~/.config/fish/completions/cadence.fish")]
pub struct Args {
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    #[value(alias = "pwsh")]
    Powershell,
    Elvish,
}

impl Shell {
    const fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Zsh => "zsh",
            Self::Fish => "fish",
            Self::Powershell => "powershell",
            Self::Elvish => "elvish",
        }
    }
}

pub fn run(args: &Args) -> CommandResult {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let shell = shells
        .completer(args.shell.name())
        .ok_or_else(|| CommandError::failed(format!("{} is not supported", args.shell.name())))?;
    shell
        .write_registration("COMPLETE", "cadence", "cadence", "cadence", &mut script)
        .map_err(|error| CommandError::failed("the script cannot be made").caused_by(error))?;
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn every_shell_has_completions() {
        for shell in Shell::value_variants() {
            assert!(Shells::builtins().completer(shell.name()).is_some(), "{}", shell.name());
        }
    }
}
