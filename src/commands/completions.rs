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
  cadence completions zsh > ~/.zfunc/_cadence   # with fpath+=(~/.zfunc) before compinit in ~/.zshrc
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
    let script = script(args.shell)?;
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> Result<Vec<u8>, CommandError> {
    let mut script = Vec::new();
    let shells = Shells::builtins();
    let completer = shells
        .completer(shell.name())
        .ok_or_else(|| CommandError::failed(format!("{} is not supported", shell.name())))?;
    completer
        .write_registration("COMPLETE", "cadence", "cadence", "cadence", &mut script)
        .map_err(|error| CommandError::failed("the script cannot be made").caused_by(error))?;
    match shell {
        Shell::Zsh => zsh(script),
        _ => Ok(script),
    }
}

/// Two things that zsh needs beside what is generated: a title may lead to an id, which does not begin like it; and a script
/// that is loaded by the first completion has to do that one, too.
fn zsh(script: Vec<u8>) -> Result<Vec<u8>, CommandError> {
    const CHANGES: [(&str, &str); 2] = [
        (
            "        [[ -n $other ]] && _describe -V 'values' other\n",
            "        if (( ${other[(I)${(b)PREFIX}*]} )); then\n            _describe -V 'values' other\n        \
             elif [[ -n $other ]]; then\n            compstate[insert]=menu\n            \
             _describe -V 'values' other -U\n        fi\n",
        ),
        (
            "compdef _clap_dynamic_completer_cadence cadence\n",
            "if [[ $funcstack[1] == _cadence ]]; then\n    _clap_dynamic_completer_cadence \"$@\"\nelse\n    \
             compdef _clap_dynamic_completer_cadence cadence\nfi\n",
        ),
    ];
    let mut text = String::from_utf8_lossy(&script).into_owned();
    for (from, to) in CHANGES {
        if !text.contains(from) {
            return Err(CommandError::failed("the script for zsh is not as it was"));
        }
        text = text.replace(from, to);
    }
    Ok(text.into_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn the_files_in_completions_are_what_is_printed() {
        for (shell, file) in [
            (Shell::Bash, include_str!("../../completions/cadence.bash")),
            (Shell::Zsh, include_str!("../../completions/_cadence")),
            (Shell::Fish, include_str!("../../completions/cadence.fish")),
            (Shell::Powershell, include_str!("../../completions/_cadence.ps1")),
            (Shell::Elvish, include_str!("../../completions/cadence.elv")),
        ] {
            let name = shell.name();
            let printed = String::from_utf8(script(shell).unwrap()).unwrap();
            assert_eq!(printed, file, "write it anew: cadence completions {name} > completions/…");
        }
        assert_eq!(Shell::value_variants().len(), 5);
    }
}
